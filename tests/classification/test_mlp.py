"""MLPRatio against known ratios, and what holds to the bit."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from skdre import ClassifierRatio, MLPRatio, pool
from skdre._core.folds import member_folds
from skdre._core.samples import PooledRows
from skdre._nn.networks import network_inputs
from skdre.base import split_samples
from skdre.datasets import make_warped_shift
from skdre.metrics import log_ratio_mse, ratio_log_loss

QUICK = {
    "hidden_features": (16, 16),
    "n_estimators": 2,
    "max_iter": 150,
    "random_state": 0,
}


def quick(**params):
    return MLPRatio(**QUICK | params)


def brief():
    """The usual network, trained by few and large steps."""
    return MLPRatio(max_iter=200, learning_rate=0.006, n_estimators=2, random_state=0)


def banana(n_samples=300, random_state=0):
    return make_warped_shift(n_samples, 2, warp="banana", random_state=random_state)


def ring(n_samples, seed):
    """Radius N(3, 0.5) at a random angle, over N(0, 4 I): no plug-in sees it."""
    rng = np.random.default_rng(seed)
    radius, angle = rng.normal(3, 0.5, n_samples), rng.uniform(0, 2 * np.pi, n_samples)
    p = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    q = rng.normal(0, 2, (n_samples, 2))

    def log_ratio(X):
        r = np.linalg.norm(X, axis=1)
        log_p = norm.logpdf(r, 3, 0.5) - np.log(2 * np.pi * r)
        return log_p - norm.logpdf(X, 0, 2).sum(axis=1)

    return p, q, log_ratio


def change_of_scale(n_samples, seed):
    rng = np.random.default_rng(seed)
    p, q = rng.normal(0, 1, (n_samples, 3)), rng.normal(0, 1.7, (n_samples, 3))
    return p, q, lambda X: (norm.logpdf(X) - norm.logpdf(X, 0, 1.7)).sum(axis=1)


def shifted(n_samples, seed):
    shift = banana(n_samples, seed)
    return shift.numerator, shift.denominator, shift.log_ratio


def clipped_error(problem, model, n_samples):
    p, q, log_ratio = problem(n_samples, 0)
    model.fit(*pool(numerator=p, denominator=q))
    X = np.concatenate(problem(2000, 1)[:2])
    truth, found = (
        np.clip(values, -8, 8) for values in (log_ratio(X), model.decision_function(X))
    )
    # Twice or half the log ratio must not do: it is off by half its size or more.
    return log_ratio_mse(truth, found), np.mean(truth**2)


@pytest.mark.parametrize(
    # Half as much again as the errors of two seeds, at most.
    ("problem", "bound"),
    [(shifted, 0.1), (change_of_scale, 0.15), (ring, 0.7)],
)
def test_finds_the_true_ratio(problem, bound):
    model = MLPRatio((32, 32), max_iter=250, learning_rate=0.01, random_state=0)
    error, size = clipped_error(problem, model, 2000)
    assert error < bound < size / 8


def test_beats_the_gaussian_plug_in_where_nothing_is_gaussian():
    gaussian = ClassifierRatio(QuadraticDiscriminantAnalysis())
    plug_in, _ = clipped_error(ring, gaussian, 1000)
    error, _ = clipped_error(ring, brief(), 1000)
    assert error < 0.5 * plug_in


def test_samples_of_one_distribution():
    X = np.random.default_rng(0).normal(size=(1200, 5))
    ratio = brief()
    ratio.fit(*pool(numerator=X[:400], denominator=X[400:800]))
    assert np.mean(ratio.decision_function(X[800:]) ** 2) < 0.05
    assert ratio.best_validation_score_ == pytest.approx(-math.log(2), abs=0.02)


@pytest.mark.parametrize("sizes", [(2000, 100), (100, 2000)])
def test_sizes_do_not_scale_the_ratio(sizes):
    shift = make_warped_shift(sizes, 2, mean_shift=0.5, random_state=0)
    ratio = brief().fit(*shift.pool())
    X, _ = make_warped_shift(1000, 2, mean_shift=0.5, random_state=1).pool()
    error = ratio.decision_function(X) - shift.log_ratio(X)
    assert abs(np.median(error)) < 0.3  # log 20 = 3 if sizes counted


def test_order_repetition_and_absence_change_nothing_at_all():
    X, y = banana().pool()
    X_new, _ = banana(random_state=1).pool()
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, len(y))
    expected = quick().fit(X, y, counts).decision_function(X_new)
    for rows in (
        np.repeat(np.arange(len(y)), counts),
        rng.permutation(np.repeat(np.arange(len(y)), counts)),
    ):
        found = quick().fit(X[rows], y[rows]).decision_function(X_new)
        assert_array_equal(found, expected)
    kept = counts > 0
    found = quick().fit(X[kept], y[kept], counts[kept]).decision_function(X_new)
    assert_array_equal(found, expected)
    assert not np.allclose(quick().fit(X, y).decision_function(X_new), expected)


def test_weights_move_the_ratio_as_they_should():
    """Weights exp(x_1 - 1/2) turn N(0, I) into N(e_1, I)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8000, 2))
    y = np.repeat([1, 0], 4000)
    weight = np.where(y == 1, np.exp(X[:, 0] - 0.5), 1.0)
    ratio = brief().fit(X, y, weight)
    X_new = rng.normal([0.5, 0], size=(1000, 2))
    error = ratio.decision_function(X_new) - (X_new[:, 0] - 0.5)
    assert np.mean(error**2) < 0.05


def test_log_ratio_is_the_mean_of_the_members():
    X, y = banana().pool()
    ratio = quick(n_estimators=3).fit(X, y)
    Z = network_inputs(X, ratio.center_, ratio.scale_)
    with torch.no_grad():
        members = ratio.network_(torch.tensor(Z))[..., 0].numpy()
    assert members.shape == (len(X), 3)
    assert members.dtype == np.float64
    assert_allclose(ratio.decision_function(X), members.mean(axis=1), rtol=1e-12)
    assert members.std(axis=1).mean() > 0.01


def test_one_member():
    X, y = banana().pool()
    ratio = quick(n_estimators=1).fit(X, y)
    assert ratio.network_.n_members == 1
    assert ratio.score(X, y) > -0.65


@pytest.mark.parametrize("n_members", [1, 4, 6])
def test_members_hold_out_folds_of_their_own(n_members):
    shift = banana((200, 80))
    samples = split_samples(quick(), *shift.pool())
    rows = PooledRows.of(samples)
    n_denominator = rows.n_denominator
    held_out = member_folds(rows, n_members)
    assert held_out.shape == (n_members, 280)
    assert held_out.sum(axis=0).max() == 1
    n_folds = max(n_members, 4)
    for domain, size in ((slice(n_denominator), 80), (slice(n_denominator, None), 200)):
        found = held_out[:, domain].sum(axis=1)
        assert ((found >= size // n_folds) & (found <= -(-size // n_folds))).all()


def test_members_do_not_learn_what_they_hold_out():
    """On labels that are noise the held-out loss is no better than that of r = 1."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 10)), rng.permutation(np.arange(300) % 2)
    ratio = quick(hidden_features=(64, 64), max_iter=800, patience=10**6).fit(X, y)
    assert ratio.loss_curve_[-1] < 0.3
    assert ratio.validation_scores_[-1] < -math.log(2) - 0.2
    assert ratio.score(X, y) < -0.6


def test_far_from_all_data_it_grows_slowly():
    X, y = banana().pool()
    ratio = quick().fit(X, y)
    far = np.array([[1.0], [-1.0]]) * np.array([1.0, 1.0])
    values = [ratio.decision_function(far * s) for s in (1e2, 1e8, 1e150, 1e308)]
    assert np.isfinite(values).all()
    assert np.abs(values[1]).max() < 200
    assert np.abs(values[3]).max() < 1e4


def test_samples_that_hardly_overlap():
    rng = np.random.default_rng(0)
    p, q = rng.normal(20, 1, (200, 2)), rng.normal(0, 1, (150, 2))
    ratio = MLPRatio(max_iter=300, n_estimators=2, random_state=0)
    with pytest.warns(UserWarning, match=r"separates the two samples.*hardly overlap"):
        ratio.fit(*pool(numerator=p, denominator=q))
    log_p, log_q = ratio.decision_function(p), ratio.decision_function(q)
    assert np.isfinite(log_p).all()
    assert log_p.min() > 1 > -1 > log_q.max()
    X, y = banana().pool()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        quick().fit(X, y)


def test_running_out_of_steps_is_said():
    X, y = make_warped_shift(300, 2, mean_shift=4.0, random_state=0).pool()
    with pytest.warns(ConvergenceWarning, match=r"still fell.*max_iter=150"):
        quick(learning_rate=0.001).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        brief().fit(X, y)


@pytest.mark.parametrize(("max_iter", "n_epochs"), [(1, 1), (25, 1), (40, 2), (75, 3)])
def test_steps_and_curves(max_iter, n_epochs):
    X, y = banana().pool()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ratio = quick(max_iter=max_iter).fit(X, y)
    assert ratio.n_iter_ == max_iter
    assert ratio.loss_curve_.shape == ratio.validation_scores_.shape == (n_epochs,)
    assert ratio.best_validation_score_ >= ratio.validation_scores_.max()


def test_patience_stops_the_training():
    X = np.random.default_rng(0).normal(size=(300, 3))
    y = np.arange(300) % 2
    ratio = quick(max_iter=5000, patience=100).fit(X, y)
    assert ratio.n_iter_ < 2500


def test_validation_score_is_that_of_held_out_rows():
    """As good as the score at new rows, and in the same units."""
    X, y = banana(4000).pool()
    ratio = MLPRatio(max_iter=500, n_estimators=1, random_state=0).fit(X, y)
    X_new, y_new = banana(4000, random_state=1).pool()
    found = ratio.best_validation_score_
    assert found == pytest.approx(ratio.score(X_new, y_new), abs=0.015)
    truth = -ratio_log_loss(y_new, banana().log_ratio(X_new))
    assert found == pytest.approx(truth, abs=0.02)


def test_repeats_to_the_bit():
    X, y = banana().pool()
    first, second, other = (
        quick(random_state=seed).fit(X, y).decision_function(X) for seed in (0, 0, 1)
    )
    assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_pickle_and_clone():
    X, y = banana().pool()
    ratio = quick().fit(X, y)
    again = pickle.loads(pickle.dumps(ratio))
    assert_array_equal(again.decision_function(X), ratio.decision_function(X))
    assert not hasattr(clone(ratio), "network_")


def test_pickles_hold_no_tensor_of_a_gpu():
    # Stand in for a GPU with torch's "meta" device: what is pickled must be on the CPU.
    class Moved(torch.nn.Linear):
        def cpu(self):
            return "on the CPU"

    ratio = quick(max_iter=1).fit(*banana().pool())
    ratio.network_ = Moved(1, 1, device="meta")
    assert ratio.__getstate__()["network_"] == "on the CPU"
    assert isinstance(ratio.network_, Moved)


def test_skorch_callbacks_and_verbose(capsys):
    losses = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            losses.append(net.history[-1, "valid_loss"])

    X, y = banana().pool()
    ratio = quick(callbacks=[Watch()]).fit(X, y)
    assert capsys.readouterr().out == ""
    assert_allclose(ratio.validation_scores_, np.negative(losses))
    ratio.set_params(verbose=1).fit(X, y)
    assert "valid_loss" in capsys.readouterr().out


def test_scikit_learn_callbacks():
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
            return context.task_id == 3

    assert isinstance(Watch(), callback.FitCallback)
    X, y = banana().pool()
    ratio = quick().set_callbacks(Watch()).fit(X, y)
    assert begun == ["fit", *["epoch"] * 4, "torn down"]
    assert ratio.n_iter_ == 100
    # What is seen is the average so far; what is kept, the best of each member.
    assert len(scores) == 4
    assert scores[3] > scores[0]
    assert scores[3] == pytest.approx(ratio.score(X, y), abs=0.02)


@pytest.mark.parametrize("training", [True, False])
def test_interrupt_keeps_the_best_networks(training):
    class Interrupt(Callback):
        def on_batch_begin(self, net, training=None, **kwargs):
            if training is self.when and len(net.history) == 3:
                raise KeyboardInterrupt

    interrupt = Interrupt()
    interrupt.when = training
    X, y = banana().pool()
    ratio = quick(max_iter=1000, callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 3"):
        ratio.fit(X, y)
    assert len(ratio.validation_scores_) == 2
    assert -ratio.best_validation_score_ < math.log(2)
    assert ratio.score(X, y) > -0.67


def test_warm_start():
    X, y = banana().pool()
    ratio = quick(warm_start=True, max_iter=300).fit(X, y)
    first, scale = ratio.best_validation_score_, ratio.scale_
    network = copy.deepcopy(ratio.network_)
    ratio.set_params(max_iter=50, learning_rate=1e-9).fit(2 * X, y)
    assert_array_equal(ratio.scale_, scale)
    for name, value in ratio.network_.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[name], atol=1e-5, rtol=0)
    ratio.fit(X, y)
    assert ratio.best_validation_score_ == pytest.approx(first, abs=1e-4)
    with pytest.raises(ValueError, match="X has 1 features, but MLPRatio"):
        ratio.fit(X[:, :1], y)
    assert ratio.n_features_in_ == 2
    ratio.set_params(warm_start=False).fit(X[:, :1], y)
    assert ratio.n_features_in_ == 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"hidden_features": (16, 0)},
            "hidden_features must be a sequence of pos",
        ),
        ({"hidden_features": (1.5,)}, "hidden_features must be a sequence of pos"),
        ({"hidden_features": 16}, "'hidden_features' parameter"),
        ({"activation": "relu6"}, "'activation' parameter"),
        ({"n_estimators": 0}, "'n_estimators' parameter"),
        ({"batch_size": 1}, "'batch_size' parameter"),
        ({"learning_rate": 0}, "'learning_rate' parameter"),
        ({"device": "gpu"}, "device must be 'auto'"),
    ],
)
def test_bad_parameters(params, message):
    ratio = quick(**params)
    with pytest.raises(ValueError, match=message):
        ratio.fit(*banana().pool())
    assert not hasattr(ratio, "n_features_in_")
