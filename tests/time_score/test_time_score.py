"""TimeScoreRatio against known ratios, and what it promises about its fits."""

import copy
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from skdre import GaussianRatio, TimeScoreRatio, pool
from skdre._core.samples import PooledRows
from skdre._core.scales import column_scales
from skdre.paths import BridgePath, VPSDEPath
from skdre.time_score import RK45, GaussLegendre
from skdre.time_score._networks import GaussianScore, SumOfScores, TimeMLP
from skdre.time_score._objectives import OBJECTIVES
from skdre.time_score._scaling import fit_scaling

MEAN = np.array([1.5, -1.0])
SD = np.array([0.7, 1.2])


def gaussians(n_p=600, n_q=None, seed=0):
    rng = np.random.default_rng(seed)
    numerator = rng.normal(MEAN, SD, (n_p, 2))
    return numerator, rng.normal(size=(n_q or n_p, 2))


def log_ratio(X):
    terms = X**2 - ((X - MEAN) / SD) ** 2 - 2 * np.log(SD)
    return terms.sum(axis=1) / 2


P, Q = gaussians()
X, Y = pool(numerator=P, denominator=Q)
NEW = np.concatenate(gaussians(400, seed=1))
TRUTH = log_ratio(NEW)


def quick(objective="tsm", **params):
    defaults = {"hidden_features": (32, 32), "max_iter": 150, "learning_rate": 0.004}
    return TimeScoreRatio(objective, **defaults | {"random_state": 0} | params)


def error_of(ratio, rows=NEW, truth=TRUTH):
    return np.mean((ratio.decision_function(rows) - truth) ** 2)


# For those that 150 large steps are too few for.
MORE = {"max_iter": 250, "learning_rate": 0.02}
LONG = {"max_iter": 350, "learning_rate": 0.015}


# A constant is off by 10, half the log ratio by 2.5, an inverted one by 40.
BOUNDS = [
    ({}, 0.1),
    ({"base_score": None}, 0.8),
    ({"objective": "velocity", "base_score": None}, 0.8),
    ({"objective": "joint", "base_score": None}, 0.8),
    ({"objective": "joint", "base_score": None, "path": "bridge"}, 1.2),
    ({"objective": "ctsm", "path": "bridge"}, 1.2),
    ({"objective": "ctsm-v", "path": "bridge"}, 1.2),
    (
        {"objective": "ctsm", "denominator": "gaussian", "base_score": None} | MORE,
        0.8,
    ),
    ({"objective": "ctsm-v", "denominator": "gaussian"} | MORE, 0.8),
    (
        {
            "objective": "fokker-planck",
            "denominator": "gaussian",
            "path": "vpsde",
            "base_score": None,
            **LONG,
        },
        1.0,
    ),
    (
        {
            "objective": "fokker-planck-sliced",
            "denominator": "gaussian",
            "path": "vpsde",
            "learning_rate": 0.002,
        },
        0.4,
    ),
    (
        {"objective": "joint-sliced", "denominator": "gaussian", "base_score": None},
        1.2,
    ),
    ({"time_sampling": "importance", "base_score": None}, 0.8),
    ({"weighting": "parabolic", "base_score": None}, 0.8),
    ({"time_features": 16, "base_score": None}, 0.8),
    ({"path": VPSDEPath(), "center": False, "base_score": None} | LONG, 1.0),
]


@pytest.mark.parametrize(("params", "bound"), BOUNDS, ids=str)
def test_finds_the_true_ratio(params, bound):
    ratio = quick(**{"max_iter": 150, "learning_rate": 0.03} | params)
    assert np.mean(TRUTH**2) > 10 > 2.5 > 2 * bound
    assert error_of(ratio.fit(X, Y)) < bound


def test_no_objective_is_left_out():
    named = {params.get("objective", "tsm") for params, _ in BOUNDS}
    assert named == set(OBJECTIVES)


def ring(n_samples, seed):
    """A ring around the centre of a Gaussian."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, n_samples), rng.normal(3, 0.5, n_samples)
    numerator = np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None]
    return numerator, rng.normal(0, 1.5, (n_samples, 2))


def ring_log_ratio(rows):
    radius = np.linalg.norm(rows, axis=1)
    numerator = -0.5 * ((radius - 3) / 0.5) ** 2 - np.log(0.5 * math.sqrt(2 * np.pi))
    denominator = -0.5 * radius**2 / 1.5**2 - np.log(2 * np.pi * 1.5**2)
    return numerator - np.log(2 * np.pi * radius) - denominator


def test_learns_what_is_not_gaussian():
    p, q = ring(1500, 0)
    rows = np.concatenate(ring(500, 1))
    truth = np.clip(ring_log_ratio(rows), -8, 8)
    pooled = pool(numerator=p, denominator=q)

    def clipped_error(ratio):
        found = np.clip(ratio.fit(*pooled).decision_function(rows), -8, 8)
        return np.mean((found - truth) ** 2)

    plug_in = clipped_error(GaussianRatio())
    network = quick(hidden_features=(64, 64), max_iter=250, learning_rate=0.02)
    assert clipped_error(network) < 0.3 * plug_in
    assert network.best_validation_score_ > 1


@pytest.mark.parametrize("denominator", ["sample", "gaussian"])
def test_pathwise(denominator):
    params = {"denominator": denominator, "max_iter": 60}
    along = quick("joint", n_anchors=3, **params).fit(X, Y)
    at_x = quick("joint", **params).fit(X, Y)
    assert along.anchors_.shape == (3, 2)
    assert error_of(along) < 0.1
    assert error_of(at_x) < 0.1
    assert error_of(along) != error_of(at_x)


class TrueScore(torch.nn.Module):
    """The time score of the path of the standardised rows, and nothing to learn."""

    def __init__(self, scaling, path):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.path = path
        self.means = [(m - scaling.center) / scaling.scale for m in (0 * MEAN, MEAN)]
        self.variances = [(sd / scaling.scale) ** 2 for sd in (0 * SD + 1, SD)]

    def forward(self, x, t):
        a, b, _ = self.path.coefficients(t)
        da, db, _ = self.path.derivatives(t)
        (m0, m1), (v0, v1) = (
            [torch.as_tensor(each).to(x) for each in pair]
            for pair in (self.means, self.variances)
        )
        v, dv = a**2 * v0 + b**2 * v1, 2 * (a * da * v0 + b * db * v1)
        e = x - (1 - t) * m0 - t * m1
        terms = dv / (2 * v) * (e**2 / v - 1) + e * (m1 - m0) / v
        return terms.sum(dim=1, keepdim=True) + self.unused


@pytest.mark.parametrize("integrator", [GaussLegendre(16), RK45(1e-9)], ids=str)
def test_the_true_score_gives_the_true_ratio(integrator):
    rows = PooledRows(
        np.concatenate([Q, P]), np.ones(1200), np.zeros(1200, bool), len(Q)
    )
    scaling = fit_scaling(rows, column_scales(rows.samples()))
    ratio = quick(
        integrator=integrator,
        base_score=None,
        network=TrueScore(scaling, quick().fit(X, Y).path_),
        max_iter=1,
        learning_rate=1e-12,
    ).fit(X, Y)
    # Rows whose standardised values are not drawn in.
    rows = NEW[(np.abs(scaling.transform(NEW)) < scaling.limit).all(axis=1)][:5]
    assert_allclose(ratio.decision_function(rows), log_ratio(rows), atol=1e-6)
    assert ratio.integration_error(rows).max() < 1e-6


def test_standardised_rows():
    scaling = quick(max_iter=1).fit(X, Y).scaling_
    Z_p, Z_q = scaling.transform(P), scaling.transform(Q)
    # Within the samples, not over both: the means lie more than 1 apart.
    assert_allclose((Z_p.var(axis=0) + Z_q.var(axis=0)) / 2, 1, rtol=1e-3)
    assert_allclose(Z_p.mean(axis=0), -Z_q.mean(axis=0), atol=1e-3)
    whitened = quick(denominator="gaussian", max_iter=1).fit(X, Y).scaling_
    assert_allclose(np.cov(whitened.transform(Q).T, bias=True), np.eye(2), atol=1e-8)
    far = np.array([[1e308, -1e308]])
    for each in (scaling, whitened):
        assert np.isfinite(each.transform(far)).all()


def test_initial_network_is_the_gaussian_plug_in():
    ratio = quick(max_iter=1, learning_rate=1e-12).fit(X, Y)
    plug_in = GaussianRatio().fit(X, Y)
    assert_allclose(
        ratio.decision_function(NEW), plug_in.decision_function(NEW), atol=0.3
    )
    base = ratio.network_.base
    assert isinstance(base, GaussianScore)
    assert base.means.dtype == torch.float64
    # In full precision, not a copy of the one that was trained with.
    assert not torch.equal(base.means, base.means.float().double())
    assert quick(base_score=None, max_iter=1).fit(X, Y).network_.base is None
    assert quick("joint", path="bridge", max_iter=1).fit(X, Y).network_.base is None


def test_answers_do_not_depend_on_the_batch():
    for params in (
        {},
        {"integrator": "rk45"},
        {"objective": "joint", "n_anchors": 4},
    ):
        ratio = quick(max_iter=20, **params).fit(X, Y)
        rows = NEW[:12]
        together = ratio.decision_function(rows)
        order = np.random.default_rng(0).permutation(12)
        assert_allclose(ratio.decision_function(rows[order]), together[order], 1e-12)
        alone = [ratio.decision_function(rows[k : k + 1])[0] for k in range(12)]
        assert_allclose(alone, together, rtol=1e-10, atol=1e-12)


def test_integrators_agree():
    ratio = quick(base_score=None, max_iter=100).fit(X, Y)
    fixed = ratio.decision_function(NEW[:30])
    error = ratio.integration_error(NEW[:30])
    assert error.max() < 1e-4
    adaptive = ratio.decision_function(NEW[:30], integrator="rk45")
    assert_allclose(adaptive, fixed, atol=1e-3)
    assert ratio.integration_error(NEW[:30], integrator="rk45").max() < 1e-3
    # The settings are the fit's, or a prediction's.
    assert (ratio.decision_function(NEW[:30]) == fixed).all()
    rough = ratio.decision_function(NEW[:30], integrator=RK45(0.1))
    assert 1e-6 < abs(rough - adaptive).max() < 1
    assert ratio.integrator_.get_params() == {"n_nodes": 16}


def test_an_integrator_is_copied_and_searched():
    integrator = GaussLegendre(4)
    ratio = quick(max_iter=1, integrator=integrator).fit(X, Y)
    expected = ratio.decision_function(NEW, integrator=GaussLegendre(4))
    ratio.set_params(integrator__n_nodes=2)
    assert integrator.n_nodes == 2
    assert_array_equal(ratio.decision_function(NEW), expected)
    assert clone(ratio).integrator is not integrator
    grid = [{"integrator": [RK45(0.1)]}, {"integrator__n_nodes": [3, 5]}]
    search = GridSearchCV(ratio, grid, cv=2, error_score="raise").fit(X[::9], Y[::9])
    assert len(search.cv_results_["params"]) == 3
    assert isinstance(search.best_estimator_.integrator_, GaussLegendre | RK45)


@pytest.mark.parametrize(
    ("integrator", "message"),
    [
        (GaussLegendre(1), "'n_nodes' parameter of GaussLegendre"),
        (GaussLegendre(2.5), "'n_nodes' parameter of GaussLegendre"),
        (RK45(0), "'tol' parameter of RK45"),
        ("euler", "'integrator' parameter of TimeScoreRatio"),
        (16, "'integrator' parameter of TimeScoreRatio"),
    ],
    ids=str,
)
def test_bad_integrators(integrator, message):
    ratio = quick(max_iter=1).fit(X, Y)
    for predict in (ratio.decision_function, ratio.integration_error):
        with pytest.raises(ValueError, match=message):
            predict(NEW, integrator=integrator)
    with pytest.raises(ValueError, match=message):
        quick(integrator=integrator).fit(X, Y)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"objective": "ctsm-v", "path": "bridge"},
        {"objective": "fokker-planck", "path": "vpsde", "denominator": "gaussian"},
    ],
    ids=lambda params: params.get("objective", "tsm"),
)
def test_the_time_score_integrates_to_the_log_ratio(params):
    ratio = quick(base_score="auto", max_iter=20, **params).fit(X, Y)
    nodes, weights = np.polynomial.legendre.leggauss(48)
    score = ratio.time_score(NEW[:50], (nodes + 1) / 2)
    assert score.shape == (50, 48)
    log_ratio = ratio.decision_function(NEW[:50], integrator=GaussLegendre(48))
    assert_allclose(score @ weights / 2, log_ratio, rtol=1e-3, atol=1e-3)


def test_time_score_of_gaussians():
    """Against differences of log p_t, which is Gaussian on a straight way."""
    numerator, denominator = gaussians(20_000)
    # One step: the base score alone.
    ratio = quick(max_iter=1, learning_rate=1e-9)
    ratio.fit(*pool(numerator=numerator, denominator=denominator))

    def log_density(t):
        a, b = np.cos(np.pi * t / 2), np.sin(np.pi * t / 2)
        sd = np.sqrt(a**2 + (b * SD) ** 2)
        return norm.logpdf(NEW[:100], t * MEAN, sd).sum(axis=1)

    for t in (0.1, 0.5, 0.8):
        slope = (log_density(t + 1e-5) - log_density(t - 1e-5)) / 2e-5
        found = ratio.time_score(NEW[:100], [t])[:, 0]
        # The size of the score is 3.
        assert np.sqrt(np.mean((found - slope) ** 2)) < 0.1
    # At the ends too, where the path's coefficients stand still or are steep.
    assert np.isfinite(ratio.time_score(NEW, [0.0, 1.0])).all()


@pytest.mark.parametrize("times", [[-0.1], [1.1], [[0.5]], [np.nan], 0.5])
def test_times_outside_of_the_path(times):
    ratio = quick(max_iter=1).fit(X, Y)
    with pytest.raises(ValueError, match="times"):
        ratio.time_score(NEW, times)


def test_too_few_nodes_are_said():
    ratio = quick(max_iter=100, path="vpsde", integrator=GaussLegendre(2))
    ratio.fit(X, Y)
    message = r"not accurate: with GaussLegendre\(n_nodes=2\) .* Increase n_nodes"
    with pytest.warns(UserWarning, match=message):
        rough = ratio.decision_function(NEW)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fine = ratio.decision_function(NEW, integrator=GaussLegendre(40))
    error = ratio.integration_error(NEW)
    assert np.corrcoef(error, abs(rough - fine))[0, 1] > 0.7
    assert error.max() > 0.05


class Linear(torch.nn.Module):
    """A user's network, without a derivative of its own."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(n_features + 1, 32),
            torch.nn.Tanh(),
            torch.nn.Linear(32, n_outputs),
        )

    def forward(self, x, t):
        return self.layers(torch.cat([x, t], dim=1))


def test_own_network():
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        network = Linear(2, 1)
    before = copy.deepcopy(network.state_dict())
    ratio = quick(
        network=network, base_score=None, max_iter=300, learning_rate=0.03
    ).fit(X, Y)
    assert error_of(ratio) < 1.2
    assert isinstance(ratio.network_.network, Linear)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(ValueError, match=r"must give a tensor of shape \(2, 3\)"):
        quick("joint", network=network).fit(X, Y)


def test_order_repetition_and_absence_change_nothing_at_all():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, len(Y))
    params = {"max_iter": 30}
    expected = quick(**params).fit(X, Y, counts).decision_function(NEW)
    repeated = rng.permutation(np.repeat(np.arange(len(Y)), counts))
    kept = np.flatnonzero(counts)
    for rows, weight in ((repeated, None), (kept, counts[kept])):
        found = quick(**params).fit(X[rows], Y[rows], weight).decision_function(NEW)
        assert_array_equal(found, expected)
    found = quick(**params).fit(X, Y).decision_function(NEW)
    assert not np.allclose(found, expected)


def test_weights_move_the_ratio_as_they_should():
    """Weights exp(x_1 - 1/2) turn N(0, I) into N(e_1, I)."""
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(6000, 2)), np.repeat([1, 0], 3000)
    weight = np.where(y == 1, np.exp(rows[:, 0] - 0.5), 1.0)
    new = rng.normal([0.5, 0], size=(1000, 2))
    for base_score in ("gaussian", None):
        ratio = quick(base_score=base_score).fit(rows, y, weight)
        assert error_of(ratio, new, new[:, 0] - 0.5) < 0.1


@pytest.mark.parametrize("sizes", [(1500, 60), (60, 1500)])
def test_sizes_do_not_scale_the_ratio(sizes):
    p, q = gaussians(*sizes)
    ratio = quick(base_score=None).fit(*pool(numerator=p, denominator=q))
    found = ratio.decision_function(NEW) - TRUTH
    assert abs(np.median(found)) < 0.6  # log 25 = 3.2 if sizes counted


def test_samples_of_one_distribution():
    rows = np.random.default_rng(0).normal(size=(1200, 5))
    ratio = quick().fit(*pool(numerator=rows[:400], denominator=rows[400:800]))
    assert np.mean(ratio.decision_function(rows[800:]) ** 2) < 0.05


def test_far_apart():
    """Sixty standard deviations: no warning, finite, and not off by a tenth."""
    rng = np.random.default_rng(0)
    p, q = rng.normal(60, 1, (300, 1)), rng.normal(0, 1, (200, 1))
    ratio = quick(max_iter=100).fit(*pool(numerator=p, denominator=q))
    rows = np.concatenate([p, q])
    truth = 60 * rows[:, 0] - 1800
    assert_allclose(ratio.decision_function(rows), truth, rtol=0.15, atol=200)
    far = np.array([[1e10], [-1e300], [1e308]])
    assert np.isfinite(ratio.decision_function(far)).all()


def test_many_columns_few_rows():
    rng = np.random.default_rng(0)
    p, q = rng.normal(0.2, 1, (250, 100)), rng.normal(0, 1, (250, 100))
    ratio = quick(max_iter=200).fit(*pool(numerator=p, denominator=q))
    rows = rng.normal(0.1, 1, (500, 100))
    found, truth = ratio.decision_function(rows), 0.2 * (rows.sum(axis=1) - 10)
    assert np.corrcoef(found, truth)[0, 1] > 0.6
    assert np.mean((found - truth) ** 2) < np.mean(truth**2)


def test_discrete_columns():
    rng = np.random.default_rng(0)
    p, q = (
        np.column_stack([rng.random(1000) < share, rng.normal(shift, 1, 1000)])
        for share, shift in ((0.2, 1.0), (0.6, 0.0))
    )
    pooled = pool(numerator=p.astype(float), denominator=q.astype(float))
    ratio = quick(max_iter=200, learning_rate=0.02).fit(*pooled)
    rows = np.concatenate([p, q]).astype(float)[::4]
    truth = np.where(rows[:, 0] > 0.5, np.log(0.2 / 0.6), np.log(0.8 / 0.4))
    truth = truth + rows[:, 1] - 0.5
    assert error_of(ratio, rows, truth) < 0.15
    with pytest.warns(UserWarning, match=r"Columns \[0\] hold a few values"):
        quick("velocity", max_iter=10).fit(*pooled)
    table = pd.DataFrame(pooled[0], columns=["kind", "size"])
    with pytest.warns(UserWarning, match=r"Columns \['kind'\] hold a few values"):
        quick("velocity", max_iter=10).fit(table, pooled[1])


def test_records():
    ratio = quick(max_iter=450, patience=10_000).fit(X, Y)
    assert ratio.n_iter_ == 450
    assert ratio.loss_curve_.shape == ratio.validation_scores_.shape == (5,)
    assert ratio.best_validation_score_ >= ratio.validation_scores_.max()
    # The initial weights, which add nothing, are a candidate.
    assert ratio.best_validation_score_ >= -0.05
    ratio = quick(max_iter=3000, patience=200).fit(X, Y)
    assert ratio.n_iter_ < 2000


def test_held_out_loss_is_that_of_new_rows():
    """Twice the draws of other rows: the loss of the truth is minus its square."""
    p, q = gaussians(4000)
    ratio = quick(base_score=None, max_iter=350, learning_rate=0.02)
    ratio.fit(*pool(numerator=p, denominator=q))
    with torch.no_grad():
        rng = np.random.default_rng(5)
        t = rng.uniform(0.0, 1.0, (20_000, 1))
        Z_p, Z_q = (
            ratio.scaling_.transform(each) for each in gaussians(20_000, seed=6)
        )
        centers = [ratio.scaling_.transform(each).mean(axis=0) for each in (q, p)]
        rows = ratio.path_.interpolate(Z_q, Z_p, t, centers=centers)
        score = ratio.network_(torch.tensor(rows), torch.tensor(t))
    assert ratio.best_validation_score_ == pytest.approx(
        (score**2).mean().item(), rel=0.08
    )


def test_repeats_to_the_bit():
    first, second, other = (
        quick(random_state=seed, max_iter=30, time_sampling="importance")
        .fit(X, Y)
        .decision_function(NEW)
        for seed in (0, 0, 1)
    )
    assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_pickle_and_clone():
    ratio = quick(max_iter=20).fit(X, Y)
    again = pickle.loads(pickle.dumps(ratio))
    assert_array_equal(again.decision_function(NEW), ratio.decision_function(NEW))
    own = quick(network=TimeMLP(2, 1, (4,)), path=BridgePath(0.7), weighting=torch.exp)
    copied = clone(own)
    assert copied.path == own.path
    assert copied.fit(X, Y).path_ == BridgePath(0.7)
    assert isinstance(copied.network_, SumOfScores)


def test_interrupt_keeps_the_best_network():
    class Interrupt(Callback):
        def on_batch_begin(self, net, training=None, **kwargs):
            if training and len(net.history) == 3:
                raise KeyboardInterrupt

    ratio = quick(max_iter=1000, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 3"):
        ratio.fit(X, Y)
    assert len(ratio.validation_scores_) == 2
    assert error_of(ratio) < 0.1


def test_scikit_learn_callbacks():
    callback = pytest.importorskip("sklearn.callback")
    seen = []

    class Watch:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator=None):
            if context.task_name != "epoch":
                return False
            seen.append(fitted_estimator.score(X, y))
            return context.task_id == 1

    assert isinstance(Watch(), callback.FitCallback)
    ratio = quick(max_iter=500).set_callbacks(Watch()).fit(X, Y)
    assert ratio.n_iter_ == 200
    assert seen[1] == pytest.approx(ratio.score(X, Y), abs=0.05)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"objective": "ctsm"}, r"objective='ctsm' needs .*TrigonometricPath"),
        ({"objective": "ctsm-v", "path": "linear"}, "'ctsm-v' needs .*LinearPath"),
        ({"objective": "fokker-planck"}, r"'fokker-planck' needs .*Trigonometric"),
        (
            {
                "objective": "fokker-planck",
                "path": "bridge",
                "denominator": "gaussian",
            },
            "'fokker-planck' needs a path without noise .*BridgePath",
        ),
        ({"n_anchors": 4}, r"n_anchors=4 needs .*got objective='tsm'"),
        ({"n_anchors": 0}, "'n_anchors' parameter"),
        ({"base_score": "gaussian", "path": "bridge"}, "base_score='gaussian' needs"),
        ({"objective": "nce"}, "'objective' parameter"),
        ({"path": "straight"}, "'path' parameter"),
        ({"weighting": "none"}, "'weighting' parameter"),
        ({"network": "mlp"}, "'network' parameter"),
        ({"hidden_features": (16, 0)}, "hidden_features must be a sequence of pos"),
        ({"device": "gpu"}, "device must be 'auto'"),
    ],
    ids=str,
)
def test_bad_parameters(params, message):
    ratio = quick(**params)
    with pytest.raises(ValueError, match=message):
        ratio.fit(X, Y)
    assert not hasattr(ratio, "n_features_in_")


def test_gaussian_denominator_needs_full_rank():
    flat = np.column_stack([X, X[:, 0] * 2])
    with pytest.raises(ValueError, match=r"denominator='gaussian' needs .* singular"):
        quick(denominator="gaussian").fit(flat, Y)
    assert np.isfinite(quick(max_iter=10).fit(flat, Y).decision_function(flat)).all()


def test_whitening_leaves_each_column_where_it_is():
    """Networks of images would not survive a rotation of the pixels."""
    rng = np.random.default_rng(0)
    mixing = np.eye(5) + 0.2 * rng.normal(size=(5, 5))
    q = rng.normal(size=(4000, 5)) @ mixing.T
    X, y = pool(numerator=q[:100] + 1, denominator=q)
    ratio = quick("ctsm", denominator="gaussian", max_iter=1).fit(X, y)
    Z = ratio.scaling_.transform(q)
    assert_allclose(np.cov(Z.T), np.eye(5), atol=1e-2)
    # Of all whitening maps the symmetric one is the nearest to the standardised rows.
    across = np.corrcoef(Z.T, q.T)[:5, 5:]
    assert np.diagonal(across).min() > 0.9
    assert_allclose(ratio.scaling_.matrix, ratio.scaling_.matrix.T, atol=1e-12)
