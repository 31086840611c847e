"""FlowClassifierRatio: ratios and densities against oracles, the three strategies."""

import functools
import itertools
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.integrate import trapezoid
from scipy.special import log_expit
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from skorch.callbacks import Callback

from skdre import FlowClassifierRatio, pool
from skdre._nn.networks import EnsembleMLP, network_inputs
from skdre.datasets import make_warped_shift
from skdre.flows import _classifier
from skdre.flows._classifier_training import FlowClassifier, joint_loss
from skdre.flows._flows import FLOWS, build_flow
from skdre.metrics import log_ratio_mse

# Most networks here are trained as briefly as their test allows.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The held-out l.* still (rose|fell):sklearn.exceptions.ConvergenceWarning"
)

STRATEGIES = ["joint", "discriminative", "separate"]


def quick(strategy="joint", **params):
    """A ratio for tests that need one, but not a good one."""
    params = {
        "n_transforms": 2,
        "flow_hidden_features": (16,),
        "hidden_features": (16, 16),
        "n_estimators": 2,
        "marginals": "standardize",
        "max_iter": 75,
        "batch_size": 64,
    } | params
    return FlowClassifierRatio(strategy, **{"random_state": 0} | params)


@functools.cache
def banana(n_samples=300, random_state=0):
    return make_warped_shift(n_samples, 2, warp="banana", random_state=random_state)


@functools.cache
def fitted(strategy, alpha=0.9):
    params = {"max_iter": 400, "learning_rate": 0.005, "hidden_features": (32, 32)}
    ratio = quick(strategy, alpha=alpha, **params)
    return ratio.fit(*banana(1500).pool())


def change_of_scale(n_samples, seed):
    rng = np.random.default_rng(seed)
    p, q = rng.normal(0, 1, (n_samples, 3)), rng.normal(0, 1.7, (n_samples, 3))
    X, y = pool(numerator=p, denominator=q)
    return X, y, (stats.norm.logpdf(X) - stats.norm.logpdf(X, 0, 1.7)).sum(axis=1)


# The ratio --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "alpha"),
    [("joint", 0.1), ("joint", 0.9), ("discriminative", 0.9), ("separate", 0.9)],
)
def test_finds_the_ratio_behind_a_warp(strategy, alpha):
    X, _ = banana(2000, 1).pool()
    truth = banana().log_ratio(X)
    found = fitted(strategy, alpha).decision_function(X)
    # Inverted, constant, doubled or halved it would be off by an eighth or more.
    assert log_ratio_mse(truth, found) < 0.1 < np.mean(truth**2) / 8
    assert spearmanr(truth, found).statistic > 0.95


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_finds_the_ratio_of_gaussians(strategy):
    X, y, _ = change_of_scale(1000, 0)
    X_new, _, truth = change_of_scale(1000, 1)
    ratio = quick(strategy, max_iter=75, learning_rate=0.01).fit(X, y)
    found = ratio.decision_function(X_new)
    assert log_ratio_mse(truth, found) < 0.25 * np.var(truth)
    assert spearmanr(truth, found).statistic > 0.95
    assert abs(np.mean(found - truth)) < 0.25


def test_samples_of_one_distribution():
    X = np.random.default_rng(0).normal(size=(1200, 4))
    ratio = quick().fit(*pool(numerator=X[:400], denominator=X[400:800]))
    assert np.mean(ratio.decision_function(X[800:]) ** 2) < 0.05
    assert ratio.best_validation_score_ == pytest.approx(-math.log(2), abs=0.02)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sizes_do_not_scale_the_ratio(strategy):
    shift = make_warped_shift((1500, 100), 2, mean_shift=0.5, random_state=0)
    ratio = quick(strategy, max_iter=75, learning_rate=0.01).fit(*shift.pool())
    X, _ = make_warped_shift(1000, 2, mean_shift=0.5, random_state=1).pool()
    error = ratio.decision_function(X) - shift.log_ratio(X)
    assert abs(np.median(error)) < 0.4  # log 15 = 2.7 if sizes counted


@pytest.mark.parametrize("strategy", ["joint", "separate"])
def test_order_repetition_and_absence_change_nothing_at_all(strategy):
    X, y = banana().pool()
    X_new, _ = banana(300, 1).pool()
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, len(y))
    ratio = quick(strategy, max_iter=25, marginals="gaussianize")
    expected = clone(ratio).fit(X, y, counts)
    rows = rng.permutation(np.repeat(np.arange(len(y)), counts))
    kept = counts > 0
    for data in ((X[rows], y[rows]), (X[kept], y[kept], 2.0 * counts[kept])):
        found = clone(ratio).fit(*data)
        assert_array_equal(found.transform(X_new), expected.transform(X_new))
        assert_array_equal(
            found.decision_function(X_new), expected.decision_function(X_new)
        )
    plain = clone(ratio).fit(X, y).decision_function(X_new)
    assert not np.allclose(plain, expected.decision_function(X_new))


def test_weights_move_the_ratio_as_they_should():
    """Weights exp(x_1 - 1/2) turn N(0, I) into N(e_1, I)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 2))
    y = np.repeat([1, 0], 3000)
    weight = np.where(y == 1, np.exp(X[:, 0] - 0.5), 1.0)
    ratio = quick(max_iter=100, learning_rate=0.01).fit(X, y, weight)
    X_new = rng.normal([0.5, 0], size=(1000, 2))
    error = ratio.decision_function(X_new) - (X_new[:, 0] - 0.5)
    assert np.mean(error**2) < 0.1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_far_from_all_data_it_is_finite(strategy):
    ratio = fitted(strategy)
    directions = np.random.default_rng(0).normal(size=(100, 2))
    for distance in (10, 1e6, 1e200, 1e300):
        rows = distance * directions
        assert np.isfinite(ratio.transform(rows)).all()
        assert np.isfinite(ratio.score_samples(rows)).all()
        assert np.abs(ratio.decision_function(rows)).max() < 1e3


# The flow ---------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_flow_is_invertible(strategy):
    ratio = fitted(strategy)
    X, _ = banana(200, 1).pool()
    rows = np.concatenate([X, X.mean(0) + 5 * (X - X.mean(0))])
    assert_allclose(ratio.inverse_transform(ratio.transform(rows)), rows, atol=1e-5)
    Z = np.random.default_rng(0).normal(size=(200, 2))
    assert_allclose(ratio.transform(ratio.inverse_transform(Z)), Z, atol=1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_log_density_is_the_change_of_variables(strategy):
    """The log determinant against that of autograd's Jacobian."""
    ratio = fitted(strategy)
    X, _ = banana(10, 1).pool()
    U, log_det_maps = ratio.marginal_maps_.forward(X)
    transform = ratio.flow_().transform
    expected = []
    for u in torch.as_tensor(U):
        jacobian = torch.autograd.functional.jacobian(transform, u)
        z = transform(u).detach().numpy()
        log_det = np.linalg.slogdet(jacobian.numpy())[1]
        expected.append(stats.norm.logpdf(z).sum() + log_det)
    assert_allclose(ratio.score_samples(X), np.add(expected, log_det_maps), rtol=1e-8)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_density_integrates_to_one(strategy):
    """Also of the flow that is no model of the data."""
    ratio = fitted(strategy)
    X = ratio.sample(2000, random_state=0)
    low, high = X.min(axis=0), X.max(axis=0)
    margin = (high - low) / 2
    axes = [
        np.linspace(a - m, b + m, 401)
        for a, b, m in zip(low, high, margin, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    density = np.exp(ratio.score_samples(grid.reshape(-1, 2))).reshape(401, 401)
    total = trapezoid(trapezoid(density, axes[1]), axes[0])
    assert total == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ratio_is_a_function_of_the_features(strategy):
    """Lemma 1: the classifier sees z only, and its log ratio of z is that of x."""
    ratio = fitted(strategy)
    Z = np.random.default_rng(0).normal(size=(50, 2))
    with torch.no_grad():
        members = ratio.network_(torch.as_tensor(network_inputs(Z, 0, 1)))[..., 0]
    assert members.shape == (50, 2)
    found = ratio.decision_function(ratio.inverse_transform(Z))
    assert_allclose(found, members.mean(dim=1).numpy(), atol=1e-6)


def test_likelihood_makes_the_features_normal():
    X, _ = banana(2000, 1).pool()
    likelihood = {
        "separate": fitted("separate").score_samples(X).mean(),
        "joint, 0.1": fitted("joint", 0.1).score_samples(X).mean(),
        "joint, 0.9": fitted("joint", 0.9).score_samples(X).mean(),
        "discriminative": fitted("discriminative").score_samples(X).mean(),
    }
    # The truth: in z half N(0, I), half N(mu, I), and a map with determinant 1.
    ratio = np.exp(banana().log_ratio(X))
    Z = banana().inverse(X)
    truth = np.mean(stats.norm.logpdf(Z).sum(axis=1) + np.log((1 + ratio) / 2))
    for name in ("separate", "joint, 0.1", "joint, 0.9"):
        assert -0.02 < truth - likelihood[name] < 0.3, name
    assert likelihood["discriminative"] < truth - 0.5
    Z = fitted("joint", 0.1).transform(X)
    assert_allclose(Z.mean(axis=0), 0, atol=0.15)
    assert_allclose(np.cov(Z.T), np.eye(2), atol=0.25)


# The strategies ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "strategy"), [(1, "discriminative"), (0, "separate"), (0.0, "separate")]
)
def test_ends_of_alpha(alpha, strategy):
    X, y = banana().pool()
    ratio = quick("joint", alpha=alpha, max_iter=50).fit(X, y)
    other = quick(strategy, alpha=0.3, max_iter=50).fit(X, y)
    assert_array_equal(ratio.decision_function(X), other.decision_function(X))
    assert_array_equal(ratio.transform(X), other.transform(X))


def test_alpha_is_used():
    X, y = banana().pool()
    found = [
        quick(alpha=alpha, max_iter=50).fit(X, y).decision_function(X)
        for alpha in (0.01, 0.5, 0.99)
    ]
    for one, other in itertools.pairwise(found):
        assert not np.allclose(one, other, atol=1e-3)


def network(alpha, n_members=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = build_flow("maf", 2, n_transforms=2, hidden_features=(8,))
        for parameter in flow.parameters():
            parameter.data = 0.3 * torch.randn_like(parameter)
        classifier = EnsembleMLP(n_members, 2, (8,))
        return FlowClassifier(flow, [0.0, 0.0], classifier, alpha).double()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_joint_loss_is_equation_1(alpha):
    rng = np.random.default_rng(0)
    u, log_det_map = rng.normal(size=(6, 2)), rng.normal(size=6)
    sign = np.array([1, -1, -1, 1, 1, -1])
    weight = rng.uniform(0.5, 2, size=6)
    module = network(alpha)
    rows = torch.as_tensor(np.column_stack([u, log_det_map]))[:, None]
    targets = torch.as_tensor(sign)[:, None], torch.as_tensor(weight)[:, None]
    loss = joint_loss(module(rows), targets, alpha)

    expected = 0
    for k in range(6):
        x = torch.as_tensor(u[k])
        z = module.flow().transform(x)
        jacobian = torch.autograd.functional.jacobian(module.flow().transform, x)
        z = z.detach().numpy()
        log_density = stats.norm.logpdf(z).sum() + log_det_map[k]
        log_density += np.linalg.slogdet(jacobian.numpy())[1]
        log_loss = 0
        if alpha:
            heads = module.classifier(torch.as_tensor(network_inputs(z[None], 0, 1)))
            log_loss = -np.mean(log_expit(sign[k] * heads.detach().numpy()))
        expected += weight[k] * (alpha * log_loss - (1 - alpha) * log_density) / 6
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_what_is_trained_and_what_judges():
    rows = torch.randn(5, 1, 3, dtype=torch.float64)
    parts = {
        (alpha, training): [
            part is not None for part in network(alpha).train(training)(rows)
        ]
        for alpha in (0.0, 0.5, 1.0)
        for training in (True, False)
    }
    log_ratio, log_density = [True, False], [False, True]
    assert parts == {
        (0.0, True): log_density,
        (0.0, False): log_density,
        (0.5, True): [True, True],
        (0.5, False): log_ratio,
        (1.0, True): log_ratio,
        (1.0, False): log_ratio,
    }
    targets = torch.ones(5, 1), torch.ones(5, 1)
    for alpha in (0.0, 0.5, 1.0):
        module = network(alpha)
        joint_loss(module(rows), targets, alpha).backward()
        assert {
            name.partition(".")[0]
            for name, parameter in module.named_parameters()
            if parameter.grad.any()
        } == ({"flow", "classifier"} if alpha else {"flow"})


@pytest.mark.parametrize("strategy", ["joint", "discriminative"])
def test_held_out_rows_judge_and_are_not_learnt(strategy, monkeypatch):
    """On labels that are noise their loss is no better than that of r = 1."""
    seen = {}

    def spy(network, rows, n_denominator, weight, held_out, **params):
        seen.update(rows=rows, held_out=held_out, n_denominator=n_denominator)
        return train(network, rows, n_denominator, weight, held_out, **params)

    train = _classifier.train_jointly
    monkeypatch.setattr(_classifier, "train_jointly", spy)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 8)), rng.permutation(np.arange(300) % 2)
    ratio = quick(
        strategy,
        alpha=0.9,
        hidden_features=(64, 64),
        max_iter=300,
        learning_rate=0.005,
        patience=10**6,
        validation_fraction=0.2,
    ).fit(X, y)
    assert ratio.validation_scores_[-1] < -math.log(2) - 0.1
    assert ratio.validation_scores_.shape == ratio.loss_curve_.shape == (12,)
    held_out = seen["held_out"] > 0
    domain = np.arange(300) >= seen["n_denominator"]
    assert held_out[domain].sum() == held_out[~domain].sum() == 30
    # The score that is kept is the balanced log loss there, a mean over the members.
    U = seen["rows"].tensors[0][:, :-1].numpy().astype(float)[held_out]
    Z = ratio.transform(ratio.marginal_maps_.inverse(U))
    with torch.no_grad():
        heads = ratio.network_(torch.as_tensor(network_inputs(Z, 0, 1)))[..., 0]
    sign = np.where(domain[held_out], 1, -1)[:, None]
    expected = np.mean(log_expit(sign * heads.numpy()))
    assert ratio.best_validation_score_ == pytest.approx(expected, abs=1e-4)
    assert ratio.best_validation_score_ >= ratio.validation_scores_.max() - 1e-6


def test_separate_trains_one_after_the_other(monkeypatch):
    order = []

    def spy_on(name, train):
        def spy(module, *args, **params):
            before = {k: v.clone() for k, v in module.state_dict().items()}
            result = train(module, *args, **params)
            after = module.state_dict()
            order.append((name, {k for k in before if (after[k] != before[k]).any()}))
            return result

        return spy

    for name in ("train_jointly", "train_members"):
        monkeypatch.setattr(_classifier, name, spy_on(name, getattr(_classifier, name)))
    ratio = quick("separate", max_iter=50).fit(*banana().pool())
    (first, flow), (second, classifier) = order
    assert (first, second) == ("train_jointly", "train_members")
    assert flow
    assert {name.partition(".")[0] for name in flow} == {"flow"}
    assert classifier
    assert ratio.n_iter_ == 100
    assert len(ratio.validation_scores_) == 2


def test_auto_keeps_the_better_marginals():
    shift = make_warped_shift(500, 2, warp="exp", random_state=0)
    for strategy in ("joint", "separate"):
        ratio = quick(strategy, marginals="auto", max_iter=50).fit(*shift.pool())
        scores = ratio.marginal_scores_
        assert set(scores) == {"standardize", "gaussianize"}
        assert ratio.marginals_ == max(scores, key=scores.get)
        again = quick(strategy, marginals=ratio.marginals_, max_iter=50)
        again.fit(*shift.pool())
        assert_array_equal(
            again.transform(shift.numerator), ratio.transform(shift.numerator)
        )
    assert ratio.marginals_ == "gaussianize"


# Flows by name ----------------------------------------------------------------------


@pytest.mark.parametrize("n_features", [1, 3])
@pytest.mark.parametrize("flow", sorted(FLOWS))
def test_every_flow(flow, n_features):
    shift = make_warped_shift(150, n_features, random_state=0)
    X, y = shift.pool()
    n_steps = 5 if flow == "ffjord" else 30
    ratio = quick(flow=flow, max_iter=n_steps, learning_rate=0.01, marginals="auto")
    ratio.fit(X, y)
    assert spearmanr(ratio.decision_function(X), shift.log_ratio(X)).statistic > 0.5
    Z = ratio.transform(X)
    assert_allclose(ratio.inverse_transform(Z), X, atol=1e-3)
    assert np.isfinite(ratio.score_samples(X)).all()


@pytest.mark.parametrize("strategy", ["joint", "separate"])
def test_closed_form_is_where_a_gaussian_flow_starts(strategy):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 3)) @ rng.normal(size=(3, 3)) + 5
    y = (X[:, 0] + rng.normal(size=2000) > 5).astype(int)
    ratio = quick(strategy, flow="gaussian", max_iter=1).fit(X, y)
    weight = np.where(y == 1, 1 / y.sum(), 1 / (1 - y).sum()) / 2
    Z = ratio.transform(X)
    assert_allclose(np.average(Z, axis=0, weights=weight), 0, atol=0.1)
    assert_allclose(np.cov(Z.T, aweights=weight), np.eye(3), atol=0.15)
    if strategy == "separate":
        assert ratio.n_iter_ == 1  # of the classifier


def test_callable_flow():
    X, y = banana().pool()
    ratio = quick(flow=lambda n: FLOWS["realnvp"].build(n, 1, (8,)), max_iter=25).fit(
        X, y
    )
    assert np.isfinite(ratio.decision_function(X)).all()
    with pytest.raises(TypeError, match=r"flow must be a callable.*Linear"):
        quick(flow=lambda n: torch.nn.Linear(n, n)).fit(X, y)


# Bad input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alpha": -0.1}, r"'alpha' parameter.*\[0.0, 1.0\].*-0.1"),
        ({"alpha": 1.1}, r"'alpha' parameter.*\[0.0, 1.0\].*1.1"),
        ({"alpha": math.nan}, "'alpha' parameter"),
        ({"alpha": "half"}, "'alpha' parameter"),
        ({"strategy": "jointly"}, "'strategy' parameter.*discriminative"),
        ({"marginals": "none"}, "'marginals' parameter"),
        ({"hidden_features": (0,)}, "^hidden_features must be"),
        ({"flow_hidden_features": (1.5,)}, "flow_hidden_features must be"),
        ({"n_estimators": 0}, "'n_estimators'"),
        ({"max_iter": 0}, "'max_iter'"),
        ({"batch_size": 1}, "'batch_size'"),
        ({"learning_rate": 0}, "'learning_rate'"),
        ({"validation_fraction": 0.6}, "'validation_fraction'"),
        ({"validation_fraction": 0}, "'validation_fraction'"),
        ({"patience": 0}, "'patience'"),
        ({"device": "gpu"}, "device must be"),
    ],
)
def test_bad_parameters(params, message):
    ratio = quick().set_params(**params)
    with pytest.raises(ValueError, match=message):
        ratio.fit(*banana().pool())
    assert not hasattr(ratio, "n_features_in_")


def test_known_flows_are_named():
    with pytest.raises(ValueError) as error:
        quick(flow="mfa").fit(*banana().pool())
    assert all(repr(name) in str(error.value) for name in FLOWS)


def test_not_fitted():
    for method in (
        "decision_function",
        "transform",
        "inverse_transform",
        "score_samples",
    ):
        with pytest.raises(NotFittedError):
            getattr(quick(), method)(np.eye(2))
    with pytest.raises(NotFittedError):
        quick().sample()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_columns_that_carry_nothing(strategy):
    X, y = banana().pool()
    X = np.column_stack([X, np.full(len(X), 3.0), X[:, 0]])
    ratio = quick(strategy, max_iter=150).fit(X, y)
    X_new, _ = banana(300, 1).pool()
    truth = banana().log_ratio(X_new)
    rows = np.column_stack([X_new, np.full(len(X_new), 3.0), X_new[:, 0]])
    assert spearmanr(ratio.decision_function(rows), truth).statistic > 0.7
    rows[:, 2] = 4.0
    assert np.isfinite(ratio.decision_function(rows)).all()
    assert np.isfinite(ratio.score_samples(rows)).all()


def test_samples_that_hardly_overlap():
    rng = np.random.default_rng(0)
    p, q = rng.normal(20, 1, (200, 2)), rng.normal(0, 1, (150, 2))
    for strategy in STRATEGIES:
        with pytest.warns(UserWarning, match=r"FlowClassifierRatio separates the two"):
            ratio = quick(strategy).fit(*pool(numerator=p, denominator=q))
        found = ratio.decision_function(p), ratio.decision_function(q)
        assert np.isfinite(found[0]).all()
        assert found[0].min() > 0.1 > -0.1 > found[1].max()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        quick(max_iter=25).fit(*banana().pool())


# scikit-learn and skorch ------------------------------------------------------------


def test_score_is_that_of_a_ratio():
    ratio = fitted("joint")
    X, y = banana(2000, 1).pool()
    found = ratio.decision_function(X)
    expected = (log_expit(found[y == 1]).mean() + log_expit(-found[y == 0]).mean()) / 2
    assert ratio.score(X, y) == pytest.approx(expected, rel=1e-12)
    assert ratio.score(X, y) > -0.6


def test_features_come_in_data_frames_when_asked():
    X, y = banana().pool()
    frame = pd.DataFrame(X, columns=["a", "b"])
    ratio = quick(max_iter=25).set_output(transform="pandas").fit(frame, y)
    Z = ratio.transform(frame)
    names = ["flowclassifierratio0", "flowclassifierratio1"]
    assert list(Z.columns) == list(ratio.get_feature_names_out()) == names
    plain = quick(max_iter=25).fit(X, y)
    assert_array_equal(Z.to_numpy(), plain.transform(X))
    assert_array_equal(ratio.decision_function(frame), plain.decision_function(X))


def test_repeats_to_the_bit_and_leaves_the_seeds_alone():
    X, y = banana().pool()
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second, other = (
        quick(max_iter=25, random_state=seed).fit(X, y).decision_function(X)
        for seed in (0, 0, 1)
    )
    assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_pickle_and_clone():
    ratio = fitted("separate")
    X, _ = banana().pool()
    copy = pickle.loads(pickle.dumps(ratio))
    assert_array_equal(copy.decision_function(X), ratio.decision_function(X))
    assert_array_equal(copy.score_samples(X), ratio.score_samples(X))
    assert not hasattr(clone(ratio), "flow_")


def test_skorch_callbacks_and_verbose(capsys):
    losses = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            losses.append(net.history[-1, "valid_loss"])

    X, y = banana().pool()
    ratio = quick(callbacks=[Watch()]).fit(X, y)
    assert capsys.readouterr().out == ""
    assert_allclose(ratio.validation_scores_, np.negative(losses))
    ratio.set_params(verbose=1, max_iter=25).fit(X, y)
    assert "valid_loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("strategy", "marginals", "tasks"),
    [
        ("joint", "auto", ["standardize", "gaussianize"]),
        ("separate", "standardize", ["standardize", "classifier"]),
    ],
)
def test_scikit_learn_callbacks(strategy, marginals, tasks):
    callback = pytest.importorskip("sklearn.callback")
    begun, scores = [], []

    class Watch:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            begun.append("torn down")

        def on_fit_task_begin(self, estimator, context):
            begun.append(context.task_name)

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator=None):
            if context.task_name != "epoch":
                return False
            scores.append(fitted_estimator.score(X, y))
            return context.task_id == 1

    assert isinstance(Watch(), callback.FitCallback)
    X, y = banana().pool()
    ratio = quick(strategy, marginals=marginals).set_callbacks(Watch()).fit(X, y)
    first, second = tasks
    epochs = ["epoch"] * 2
    assert begun == ["fit", first, *epochs, second, *epochs, "torn down"]
    assert ratio.n_iter_ == (100 if strategy == "separate" else 50)
    assert len(scores) == 4
    if strategy == "separate":
        # The classifier starts near r = 1, and waits for the flow.
        assert_allclose(scores[:2], -math.log(2), atol=0.01)
        assert scores[3] > scores[1] + 0.01


@pytest.mark.parametrize("strategy", ["joint", "separate"])
def test_interrupt_keeps_the_best_networks(strategy):
    class Interrupt(Callback):
        def on_batch_begin(self, net, training=False, **kwargs):
            if training and len(net.history) == 3:
                raise KeyboardInterrupt

    X, y = banana().pool()
    ratio = quick(strategy, marginals="auto", max_iter=500, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 3"):
        ratio.fit(X, y)
    assert list(ratio.marginal_scores_) == ["standardize"]
    assert len(ratio.validation_scores_) == 2
    if strategy == "joint":
        assert ratio.score(X, y) > -0.67
    else:  # the classifier has waited for the flow
        assert ratio.score(X, y) == pytest.approx(-math.log(2), abs=0.01)


@pytest.mark.parametrize("when", [2, 3])
def test_interrupt_of_a_later_stage_keeps_the_earlier(when):
    class Interrupt(Callback):
        n_trainings = 0

        def on_train_begin(self, net, **kwargs):
            self.n_trainings += 1
            if self.n_trainings == when:
                raise KeyboardInterrupt

    X, y = banana().pool()
    ratio = quick("separate", marginals="auto", max_iter=50, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        ratio.fit(X, y)
    assert list(ratio.marginal_scores_) == ["standardize", "gaussianize"][: when - 1]
    assert ratio.score(X, y) == pytest.approx(-math.log(2), abs=0.01)


@pytest.mark.parametrize("strategy", ["joint", "separate"])
def test_warm_start(strategy):
    X, y = banana().pool()
    ratio = quick(strategy, warm_start=True, max_iter=100).fit(X, y)
    first, maps = ratio.decision_function(X), ratio.marginal_maps_
    Z = ratio.transform(X)
    ratio.set_params(max_iter=10, learning_rate=1e-9).fit(X, y)
    assert ratio.marginal_maps_ is maps
    assert_allclose(ratio.decision_function(X), first, atol=1e-4)
    assert_allclose(ratio.transform(X), Z, atol=1e-4)
    with pytest.raises(ValueError, match="X has 1 features, but FlowClassifierRatio"):
        ratio.fit(X[:, :1], y)
    assert ratio.n_features_in_ == 2


def test_running_out_of_steps_is_said():
    X, y = make_warped_shift(300, 2, mean_shift=4.0, random_state=0).pool()
    with pytest.warns(ConvergenceWarning, match=r"still fell.*max_iter=75"):
        quick(learning_rate=0.001).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"the flow still rose.*max_iter=75"):
        quick("separate", learning_rate=0.003).fit(*banana().pool())
