"""TelescopingRatio against known ratios, by networks and by given estimators."""

import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from joblib import parallel_backend
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from skorch.callbacks import Callback

from skdre import (
    ClassifierRatio,
    KMMRatio,
    LSIFRatio,
    MLPRatio,
    TelescopingRatio,
    make_pipeline,
    pool,
)
from skdre._core.samples import PooledRows
from skdre.datasets import make_known_ratio, make_warped_shift
from skdre.metrics import log_ratio_mse
from skdre.paths import BridgePath, LinearPath, TrigonometricPath
from skdre.waymarks._networks import BridgeEnsemble, ratio_losses
from skdre.waymarks._problem import Problem
from skdre.waymarks._sampling import HeldOutPairs, Waymarks, draw_pairs, sample_shares

QUICK = {
    "hidden_features": (16, 16),
    "n_estimators": 2,
    "max_iter": 75,
    "learning_rate": 0.004,
    "random_state": 0,
}
# The usual network, trained by few and large steps.
BRIEF = {"max_iter": 150, "learning_rate": 0.005, "n_estimators": 2, "random_state": 0}
GAUSSIAN = ClassifierRatio(QuadraticDiscriminantAnalysis())


def brief(**params):
    return TelescopingRatio(**BRIEF | params)


def quick(**params):
    return TelescopingRatio(**QUICK | params)


def banana(n_samples=300, random_state=0):
    return make_warped_shift(n_samples, 2, warp="banana", random_state=random_state)


def far(n_samples=1000, seed=0, distance=4.0):
    """N((4, 4), I) against N(0, I)."""
    rng = np.random.default_rng(seed)
    q, p = rng.normal(size=(2, n_samples, 2))
    X, y = pool(numerator=p + distance, denominator=q)
    return X, y, distance * X.sum(axis=1) - distance**2


def error_at_new_rows(ratio, problem, n_samples, bound=15.0):
    shift = make_known_ratio(problem, n_samples, random_state=0)
    ratio.fit(*shift.pool())
    X, _ = make_known_ratio(problem, 2000, random_state=1).pool()
    truth, found = (
        np.clip(each, -bound, bound)
        for each in (shift.log_ratio(X), ratio.decision_function(X))
    )
    return log_ratio_mse(truth, found), np.mean(truth**2)


def test_far_gaussians():
    """Where a plain classifier knows the sign only; not clipped."""
    X, y, _ = far()
    X_new, _, truth = far(2000, seed=1)
    ratio = brief().fit(X, y)
    assert log_ratio_mse(truth, ratio.decision_function(X_new)) < 1.0
    assert np.mean(truth**2) > 200
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = MLPRatio(max_iter=150, n_estimators=2, random_state=0).fit(X, y)
    assert log_ratio_mse(truth, plain.decision_function(X_new)) > 10


@pytest.mark.parametrize(
    ("problem", "bound"), [("far_moons", 6.0), ("narrow_d3", 0.5), ("same_d5", 0.05)]
)
def test_finds_the_true_ratio(problem, bound):
    ratio = brief(max_iter=250)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        error, size = error_at_new_rows(ratio, problem, 1000)
    assert error < bound
    if problem != "same_d5":
        # Twice or half the log ratio must not do.
        assert bound < size / 8


def test_quadratic_heads_without_a_trunk_are_exact_for_gaussians():
    rng = np.random.default_rng(0)
    q = rng.normal(size=(4000, 2)) @ [[1.0, 0.6], [0.0, 0.8]]
    p = rng.normal([2.0, -1.0], [0.5, 1.5], size=(4000, 2))
    ratio = TelescopingRatio(
        hidden_features=(),
        head="quadratic",
        **BRIEF,
    ).fit(*pool(numerator=p, denominator=q))
    X = rng.normal(0, 2, size=(500, 2))
    u = X @ np.linalg.inv([[1.0, 0.6], [0.0, 0.8]])
    truth = norm.logpdf(X, [2.0, -1.0], [0.5, 1.5]).sum(axis=1) - (
        norm.logpdf(u).sum(axis=1) - np.log(0.8)
    )
    assert np.corrcoef(truth, ratio.decision_function(X))[0, 1] > 0.999
    assert log_ratio_mse(truth, ratio.decision_function(X)) < 0.02 * np.var(truth)


def test_heads_learn_what_they_do_not_start_from():
    """From zero, linear heads come to the slopes of Gaussians by themselves."""
    torch.manual_seed(0)
    n = 4000
    Z = (
        torch.randn(2 * n, 1)
        + torch.repeat_interleave(torch.tensor([0.0, 2.0]), n)[:, None]
    )
    network = BridgeEnsemble(1, 1, (), 2)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=100)
    waymarks = waymarks_of(Z, n, times=[0, 0.5, 1])
    shares = sample_shares(np.ones((1, 2 * n)), n)
    in_q, in_p = (each[0] for each in draw_pairs(shares, n, 1, 1))
    rows = waymarks.rows(in_q, in_p)

    def closure():
        optimizer.zero_grad()
        loss = ratio_losses(network(rows)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    # From 0 to 1 and from 1 to 2, all of unit variance.
    assert_allclose(network.linear.weight.detach().squeeze(), [1, 1], atol=0.1)
    assert_allclose(network.linear.bias.detach().squeeze(), [-0.5, -1.5], atol=0.15)


def test_log_ratios_are_those_of_the_bridges():
    """Each near the truth, the denominator's first; and they add up."""
    X, y, _ = far(2000)
    ratio = brief(n_bridges=3).fit(X, y)
    found = ratio.log_ratios(X)
    assert found.shape == (len(X), 3)
    assert_allclose(found.sum(axis=1), ratio.decision_function(X))
    assert_allclose(ratio.times_, [0, 1 / 3, 2 / 3, 1], atol=0.01)
    # Waymarks are N(4 t, I): from 4 t to 4 t + 4 / 3 in both columns.
    for k in range(3):
        truth = 4 / 3 * (X.sum(axis=1) - 2 * (4 * k / 3 + 2 / 3))
        assert np.mean((found[:, k] - truth) ** 2) < 0.3


def waymarks_of(Z, n_denominator, *, times, path=None, coupled=True):
    Z = np.asarray(Z)
    rows = PooledRows(Z, np.ones(len(Z)), np.zeros(len(Z), bool), n_denominator)
    path = TrigonometricPath() if path is None else path
    problem = Problem(rows, path, times, len(times) - 1)
    return Waymarks(torch.as_tensor(Z), problem, coupled)


@pytest.mark.parametrize("coupled", [True, False])
def test_rows_of_waymarks(coupled):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(7, 2))
    times, path = [0, 0.3, 1], BridgePath(sigma=0.5)
    waymarks = waymarks_of(Z, 3, times=times, path=path, coupled=coupled)
    n_draws = 1 if coupled else 3
    in_q = torch.tensor(rng.integers(0, 3, (5, n_draws, 2)))
    in_p = torch.tensor(rng.integers(0, 4, (5, n_draws, 2)))
    noise, switch = waymarks.randomness(in_q.shape)
    assert switch is None
    # numpy below 2 would go on in the noise's single precision.
    noise = noise.double()
    found = waymarks.rows(in_q, in_p, noise).numpy()
    assert found.shape == (5, 3, 2, 2)
    centers = Z[:3].mean(axis=0), Z[3:].mean(axis=0)
    for k, t in enumerate(times):
        draw = 0 if coupled else k
        q, p = Z[in_q[:, draw]], Z[in_p[:, draw] + 3]
        expected = path.interpolate(q, p, t, noise[:, draw].numpy(), centers=centers)
        assert_allclose(found[:, k], expected, atol=1e-12)
    assert_allclose(found[:, 0], Z[in_q[:, 0]], atol=1e-12)


def test_discrete_columns_are_mixed():
    n = 20_000
    rng = np.random.default_rng(0)
    Z = np.column_stack([rng.integers(0, 2, 2 * n), rng.normal(size=2 * n)])
    Z[n:, 0] = 2.0
    waymarks = waymarks_of(Z, n, times=[0, 0.3, 1])
    index = torch.arange(n)[:, None, None]
    rows = waymarks.rows(index, index, *waymarks.randomness(index.shape))[:, :, 0]
    assert set(rows[:, :, 0].unique().tolist()) == {0.0, 1.0, 2.0}
    shares = (rows[:, :, 0] == 2).double().mean(dim=0)
    assert_allclose(shares, [0, 0.3, 1], atol=0.02)
    assert len(rows[:, 1, 1].unique()) == n


def test_pairs_are_random_and_stratified():
    shares = sample_shares(np.ones((2, 300)), 100)
    torch.manual_seed(0)
    in_q, in_p = draw_pairs(shares, 100, 50, 1)
    assert in_q.shape == in_p.shape == (50, 100, 1, 2)
    # Each row of the denominator once in every batch; of the numerator every second.
    assert (in_q.sort(dim=1).values == torch.arange(100)[:, None, None]).all()
    assert (in_p.sort(dim=1).values // 2 == torch.arange(100)[:, None, None]).all()
    correlation = np.corrcoef(in_q.ravel().numpy(), in_p.ravel().numpy())[0, 1]
    assert abs(correlation) < 0.05
    # Weights are shares of the draws, and a weight of zero is never drawn.
    weight = np.array([[1.0, 3.0, 0.0, 2.0]])
    in_q, in_p = draw_pairs(sample_shares(weight, 2), 400, 1, 1)
    assert_array_equal(np.bincount(in_q.ravel()), [100, 300])
    assert set(in_p.ravel().tolist()) == {1}


def test_held_out_pairs_know_no_other_rows():
    waymarks = waymarks_of(np.arange(20.0)[:, None], 10, times=[0, 0.5, 1])
    held_out = np.zeros((2, 20))
    held_out[0, [1, 2, 11]] = held_out[1, [5, 15, 16]] = 1
    pairs = HeldOutPairs(waymarks, held_out)
    rows = pairs.take(torch.arange(len(pairs)))[0][..., 0]
    for member, (q, p) in enumerate([({1, 2}, {11}), ({5}, {15, 16})]):
        assert set(rows[:, 0, member].tolist()) == q
        assert set(rows[:, 2, member].tolist()) == p


def test_losses_are_log_losses():
    output = torch.randn(30, 3, 2, 2, dtype=torch.float64)
    found = ratio_losses(output)
    assert found.shape == (2,)
    for member in range(2):
        expected = 0.0
        for k in range(2):
            high, low = output[:, k + 1, member, k], output[:, k, member, k]
            expected += torch.cat([-high, low]).exp().log1p().mean().item() / 2
        assert found[member].item() == pytest.approx(expected)


def test_ensemble_is_each_member_by_itself():
    torch.manual_seed(0)
    network = BridgeEnsemble(3, 4, (8,), 2, head="quadratic").double()
    network.skip.weight.data.normal_()
    # Within the range where inputs are not drawn in.
    x = torch.rand(5, 4, dtype=torch.float64) - 0.5
    found = network(x)
    assert found.shape == (5, 3, 2)
    first, act = network.trunk
    for member in range(3):
        h = act(x @ first.weight[member] + first.bias[member])
        W = network.quadratic.weight[member].unflatten(-1, (2, 8))
        for k in range(2):
            expected = (
                ((h @ W[:, k]) * h).sum(dim=1)
                + h @ network.linear.weight[member, :, k]
                + network.linear.bias[member, 0, k]
                + x @ network.skip.weight[member, :, k]
            )
            torch.testing.assert_close(found[:, member, k], expected)
    # Rows of their own for each member, and of several waymarks.
    many = torch.randn(6, 2, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(network(many)[:, 1, 2], network(many[:, 1, 2])[:, 2])


@pytest.mark.parametrize("estimator", [GAUSSIAN, make_pipeline(ClassifierRatio())])
def test_given_estimators_on_far_gaussians(estimator):
    X, y, _ = far()
    X_new, _, truth = far(2000, seed=1)
    ratio = TelescopingRatio(estimator, random_state=0).fit(X, y)
    assert len(ratio.estimators_) == 4
    assert not hasattr(estimator, "classes_")
    assert log_ratio_mse(truth, ratio.decision_function(X_new)) < 2.0
    found = ratio.log_ratios(X_new)
    assert_array_equal(found[:, 1], ratio.estimators_[1].decision_function(X_new))
    assert_allclose(found.sum(axis=1), ratio.decision_function(X_new))


@pytest.mark.parametrize(
    ("estimator", "distance"), [(KMMRatio(), 2.5), (LSIFRatio(), 1.8)], ids=str
)
def test_kernels_reach_further_with_bridges(estimator, distance):
    """Their ratio has a floor, and a bridge each."""
    X, y, _ = far(300, distance=distance)
    X_new, _, truth = far(1000, seed=1, distance=distance)
    ratio = TelescopingRatio(estimator, random_state=0).fit(X, y)
    error = log_ratio_mse(truth, ratio.decision_function(X_new))
    plain = clone(estimator).set_params(random_state=0).fit(X, y)
    assert error < 0.7 * log_ratio_mse(truth, plain.decision_function(X_new))
    assert np.isfinite(ratio.decision_function(1e6 * X_new)).all()


def test_parallel_fits_are_the_same():
    X, y = banana().pool()
    # Threads, for processes take long to start.
    with parallel_backend("threading"):
        one, other, third = (
            TelescopingRatio(LSIFRatio(), n_jobs=n_jobs, random_state=seed)
            .fit(X, y)
            .decision_function(X)
            for n_jobs, seed in ((None, 0), (2, 0), (None, 1))
        )
    assert_array_equal(one, other)
    assert not np.array_equal(one, third)


def test_random_states_are_dealt_out():
    X, y = banana().pool()
    forest = ClassifierRatio(RandomForestClassifier(5))
    first, second = (
        TelescopingRatio(forest, n_bridges=2, random_state=0).fit(X, y)
        for _ in range(2)
    )
    assert_array_equal(first.decision_function(X), second.decision_function(X))
    seeds = {each.get_params()["estimator__random_state"] for each in first.estimators_}
    assert len(seeds) == 2
    assert forest.get_params()["estimator__random_state"] is None
    given = ClassifierRatio(RandomForestClassifier(5, random_state=3))
    ratio = TelescopingRatio(given, n_bridges=2).fit(X, y)
    assert ratio.estimators_[0].get_params()["estimator__random_state"] == 3


@pytest.mark.parametrize("params", [{}, {"estimator": GAUSSIAN}])
def test_order_repetition_and_absence_change_nothing_at_all(params):
    X, y = banana().pool()
    X_new, _ = banana(random_state=1).pool()
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    if params:
        # QuadraticDiscriminantAnalysis takes no weights.
        params = {"estimator": LSIFRatio(gamma=0.5, ridge=0.1)}
    expected = quick(**params).fit(X, y, counts).decision_function(X_new)
    repeats = np.repeat(np.arange(len(y)), counts)
    for rows in (repeats, np.random.default_rng(0).permutation(repeats)):
        found = quick(**params).fit(X[rows], y[rows]).decision_function(X_new)
        assert_array_equal(found, expected)
    kept = counts > 0
    found = quick(**params).fit(X[kept], y[kept], counts[kept])
    assert_array_equal(found.decision_function(X_new), expected)
    without = quick(**params).fit(X, y).decision_function(X_new)
    assert not np.allclose(without, expected)


def test_weights_move_the_ratio_as_they_should():
    """Weights exp(x_1 - 1/2) turn N(0, I) into N(e_1, I)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 2))
    y = np.repeat([1, 0], 3000)
    weight = np.where(y == 1, np.exp(X[:, 0] - 0.5), 1.0)
    X_new = rng.normal([0.5, 0], size=(1000, 2))
    for params in ({}, {"estimator": ClassifierRatio()}):
        ratio = quick(n_bridges=2, **params).fit(X, y, weight)
        error = ratio.decision_function(X_new) - (X_new[:, 0] - 0.5)
        assert np.mean(error**2) < 0.1


def test_an_estimator_that_takes_no_weights():
    X, y = banana().pool()
    neighbors = ClassifierRatio(KNeighborsClassifier(5))
    ratio = TelescopingRatio(neighbors, n_bridges=2, random_state=0)
    assert np.isfinite(ratio.fit(X, y).decision_function(X)).all()
    with pytest.raises(ValueError, match=r"whole numbers|sample_weight|weight"):
        ratio.fit(X, y, np.linspace(0.5, 1.5, len(y)))


@pytest.mark.parametrize("sizes", [(2000, 60), (60, 2000)])
@pytest.mark.parametrize("params", [{}, {"estimator": ClassifierRatio()}])
def test_sizes_do_not_scale_the_ratio(sizes, params):
    shift = make_warped_shift(sizes, 2, mean_shift=0.5, random_state=0)
    ratio = quick(n_bridges=2, **params).fit(*shift.pool())
    X, _ = make_warped_shift(1000, 2, mean_shift=0.5, random_state=1).pool()
    error = ratio.decision_function(X) - shift.log_ratio(X)
    assert abs(np.median(error)) < 0.4  # log 33 = 3.5 if sizes counted


@pytest.mark.parametrize("params", [{}, {"estimator": ClassifierRatio()}])
def test_bridges_that_are_too_long(params):
    X, y, _ = far(200, distance=40.0)
    with pytest.warns(
        UserWarning, match=r"separates neighbouring waymarks.*1, 2 of 2.*Increase n_br"
    ):
        ratio = quick(n_bridges=2, **params).fit(X, y)
    found = ratio.decision_function(X)
    assert np.isfinite(found).all()
    assert found[y == 1].min() > 1 > -1 > found[y == 0].max()
    assert ratio.path_length_ == pytest.approx(40 * math.sqrt(2), rel=0.1)
    X, y = banana().pool()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        quick(n_bridges=2, **params).fit(X, y)


def test_warnings_of_bridges_name_them():
    X, y, _ = far(200, distance=40.0)
    with pytest.warns(UserWarning, match=r"Bridge 1, 2 of 2: LogisticRegression sep"):
        TelescopingRatio(
            ClassifierRatio(LogisticRegression()), n_bridges=2, random_state=0
        ).fit(X, y)


def test_two_values_in_a_column():
    """Interpolated, a binary column would give the waymarks away."""
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 1500, 2))
    p[:, 0], q[:, 0] = rng.random(1500) < 0.8, rng.random(1500) < 0.3
    p[:, 1] += 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ratio = brief()
        ratio.fit(*pool(numerator=p, denominator=q))
    X = np.column_stack([np.tile([0.0, 1.0], 50), np.linspace(-1, 2, 100)])
    odds = np.where(X[:, 0] == 1, math.log(0.8 / 0.3), math.log(0.2 / 0.7))
    error = ratio.decision_function(X) - odds - (X[:, 1] - 0.5)
    assert np.mean(error**2) < 0.1


def test_far_from_all_data_it_is_finite():
    ratio = quick().fit(*banana().pool())
    for size in (1e2, 1e8, 1e150, 1e308):
        assert np.isfinite(ratio.decision_function([[size, -size], [size, 1]])).all()
    bent = quick(hidden_features=(), head="quadratic").fit(*banana().pool())
    assert np.isfinite(bent.decision_function([[1e308, -1e308], [-1e308, 1]])).all()


@pytest.mark.parametrize(
    "params",
    [
        {"path": "vpsde"},
        {"path": BridgePath(sigma=0.5)},
        {"path": LinearPath(), "spacing": "linear"},
        {"path": "arithmetic", "spacing": [0, 0.2, 0.5, 0.7, 1]},
        {"coupled": False, "spacing": "quadratic"},
        {"head": "quadratic"},
        {"n_bridges": 1, "activation": "tanh"},
    ],
    ids=str,
)
def test_other_settings_find_the_ratio(params):
    X, y = make_warped_shift(1000, 2, mean_shift=1.5, random_state=0).pool()
    shift = make_warped_shift(1000, 2, mean_shift=1.5, random_state=1)
    X_new, _ = shift.pool()
    ratio = quick(max_iter=150, **params).fit(X, y)
    truth = shift.log_ratio(X_new)
    assert log_ratio_mse(truth, ratio.decision_function(X_new)) < 0.1 * np.mean(
        truth**2
    )
    if np.ndim(params.get("spacing", 0)) == 1:
        assert_array_equal(ratio.times_, params["spacing"])


def test_records_of_the_training():
    X, y = banana().pool()
    ratio = quick(max_iter=100).fit(X, y)
    assert ratio.n_iter_ == 100
    assert ratio.loss_curve_.shape == ratio.validation_scores_.shape == (4,)
    # Both are means of single precision.
    assert ratio.best_validation_score_ > ratio.validation_scores_.max() - 1e-6
    assert -math.log(2) < ratio.best_validation_score_ < -0.5
    assert len(ratio.times_) == 5
    assert not hasattr(ratio.set_params(estimator=GAUSSIAN).fit(X, y), "network_")
    assert not hasattr(ratio.set_params(estimator=None).fit(X, y), "estimators_")


def test_patience_stops_the_training():
    X = np.random.default_rng(0).normal(size=(200, 3))
    ratio = quick(max_iter=5000, patience=50, n_bridges=2)
    assert ratio.fit(X, np.arange(200) % 2).n_iter_ < 2500


def test_interrupt_keeps_the_best_networks():
    class Interrupt(Callback):
        def on_batch_begin(self, net, training=None, **kwargs):
            if training and len(net.history) == 3:
                raise KeyboardInterrupt

    X, y, truth = far(300)
    ratio = quick(max_iter=1000, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 3"):
        ratio.fit(X, y)
    assert np.corrcoef(truth, ratio.decision_function(X))[0, 1] > 0.95


def test_repeats_to_the_bit_and_pickles():
    X, y = banana().pool()
    first, second, other = (quick(random_state=seed).fit(X, y) for seed in (0, 0, 1))
    found = first.decision_function(X)
    assert_array_equal(found, second.decision_function(X))
    assert not np.array_equal(found, other.decision_function(X))
    again = pickle.loads(pickle.dumps(first))
    assert_array_equal(again.decision_function(X), found)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_bridges": 0}, "'n_bridges' parameter"),
        ({"path": "straight"}, "'path' parameter"),
        ({"spacing": "even"}, "'spacing' parameter"),
        ({"spacing": [0, 0.5, 1]}, r"n_bridges \+ 1 = 5 increasing numbers"),
        ({"spacing": [0, 0.5, 0.4, 0.9, 1]}, "increasing numbers, the first 0"),
        ({"spacing": [0.1, 0.3, 0.5, 0.7, 1]}, "the first 0 and the last 1"),
        ({"spacing": list("abcde")}, "increasing numbers"),
        ({"head": "cubic"}, "'head' parameter"),
        ({"hidden_features": (0,)}, "hidden_features must be a sequence of pos"),
        ({"estimator": LogisticRegression()}, "must be a density-ratio estimator"),
        ({"estimator": "KMMRatio"}, "'estimator' parameter"),
        ({"n_jobs": 1.5}, "'n_jobs' parameter"),
        ({"device": "gpu"}, "device must be 'auto'"),
    ],
)
def test_bad_parameters(params, message):
    ratio = quick(**params)
    with pytest.raises(ValueError, match=message):
        ratio.fit(*banana().pool())
    assert not hasattr(ratio, "n_features_in_")


def test_the_log_ratio_is_the_mean_of_the_members():
    X, y = banana().pool()
    ratio = quick(n_bridges=3).fit(X, y)
    found = ratio._member_bridges(X)
    assert found.shape == (len(X), 2, 3)
    assert_allclose(found.mean(axis=1), ratio.log_ratios(X))
    assert_allclose(found.sum(axis=2), ratio._member_log_ratios(X))
