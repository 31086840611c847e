"""AutoRatio: its evidence against formulas, and its choices where they are known."""

import warnings

import numpy as np
import pytest
from scipy.stats import norm, t

from skdre import (
    AutoRatio,
    GaussianRatio,
    MLPRatio,
    TelescopingRatio,
    pool,
    two_sample_test,
)
from skdre.auto._evidence import (
    compare,
    compare_on_bridges,
    log_losses,
    tail_length,
)
from skdre.datasets import make_known_ratio, make_warped_shift
from skdre.metrics import log_ratio_mse, ratio_log_loss

SMALL = {"hidden_features": (32, 32), "n_estimators": 2, "max_iter": 300}
NEAR = MLPRatio(**SMALL)
FAR = TelescopingRatio(n_bridges=4, **SMALL)
quiet = pytest.mark.filterwarnings(
    "ignore:.*separates", "ignore:.*still fell:sklearn.exceptions.ConvergenceWarning"
)


def auto(**params):
    return AutoRatio(near=NEAR, far=FAR, random_state=0, **params)


def error(ratio, shift, new):
    X, _ = new.pool()
    truth = np.clip(shift.log_ratio(X), -15, 15)
    return log_ratio_mse(truth, np.clip(ratio.decision_function(X), -15, 15))


# --- evidence ---------------------------------------------------------------------


def test_tail_length_against_quantiles():
    u = (np.arange(20_000) + 0.5) / 20_000
    columns = [norm.ppf(u), t(3).ppf(u), u, np.exp(norm.ppf(u)), np.ones_like(u)]

    def expected(law):
        low, first, third, high = law.ppf([0.005, 0.25, 0.75, 0.995])
        return (high - low) / (third - first) / 3.82

    found = tail_length(np.column_stack(columns) * 1e3 + 5, np.ones(len(u)))
    np.testing.assert_allclose(found[0], 1.0, atol=2e-3)
    np.testing.assert_allclose(found[1], expected(t(3)), rtol=1e-2)
    np.testing.assert_allclose(found[2], 0.99 / 0.5 / 3.82, rtol=1e-2)
    assert found[3] > 2
    assert found[4] == 1


def test_tail_length_counts_weights_as_repeats():
    rng = np.random.default_rng(0)
    X, weight = rng.standard_t(3, (300, 2)), rng.integers(0, 5, 300)
    repeated = np.repeat(X, weight, axis=0)
    np.testing.assert_array_equal(
        tail_length(X, weight), tail_length(repeated, np.ones(len(repeated)))
    )


def test_comparison_is_that_of_the_balanced_log_loss():
    rng = np.random.default_rng(0)
    weight = rng.integers(1, 4, 70).astype(float)
    y = np.repeat([0, 1], [50, 20])
    first, second = rng.normal(size=(2, 70)) + 2 * y - 1
    losses = [log_losses(each, 50) for each in (first, second)]
    found = compare(*losses, weight, 50)
    expected = [
        ratio_log_loss(y, each, sample_weight=weight) for each in (first, second)
    ]
    np.testing.assert_allclose([found.loss, found.other], expected)
    # z by rows that stand as often as their weight says.
    d = np.repeat(losses[0] - losses[1], weight.astype(int))
    q, p = np.split(d, [int(weight[:50].sum())])
    deviation = np.sqrt(q.var(ddof=1) / len(q) + p.var(ddof=1) / len(p))
    np.testing.assert_allclose(found.z, (q.mean() + p.mean()) / deviation)


@pytest.mark.parametrize("scale", [0.5, 0.0, -1.0])
def test_bridges_tell_the_true_log_ratio(scale):
    """N(0, 1), N(3, 1) and N(6, 1): whoever knows their ratios has the smaller loss."""
    rng = np.random.default_rng(0)
    means = np.array([0.0, 3.0, 6.0])
    rows = rng.normal(size=(3, 500, 1)) + means[:, None, None]

    def truth(X):
        return X * 3 - (means[1:] ** 2 - means[:-1] ** 2) / 2

    weights, pairs = [np.ones(500)] * 2, [np.arange(500)] * 2
    found = compare_on_bridges(rows, pairs, lambda X: scale * truth(X), truth, weights)
    assert found.loss > found.other
    assert found.z > 4
    same = compare_on_bridges(rows, pairs, truth, truth, weights)
    assert (same.z, same.loss) == (0.0, same.other)


def test_error_on_bridges_is_that_of_the_rows():
    """z has unit variance when neither is better, however often rows are paired."""
    z = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        q, p = rng.normal(size=(80, 1)), rng.normal(size=(40, 1))
        pairs = [np.tile(rng.permutation(80), 5), rng.integers(40, size=400)]
        rows = np.stack([q[pairs[0]], p[pairs[1]]])
        # At x = 0 both are right; to the left and right they err alike.
        found = compare_on_bridges(
            rows, pairs, lambda X: X, lambda X: -X, [np.ones(80), np.ones(40)]
        )
        z.append(found.z)
    assert abs(np.mean(z)) < 0.25
    assert 0.75 < np.std(z) < 1.15


# --- choices ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["far_gaussians_d2", "scale_d10", "narrow_d3"])
@quiet
def test_plug_in_on_gaussians(name):
    shift, new = (make_known_ratio(name, 400, random_state=seed) for seed in (0, 1))
    X, y = shift.pool()
    ratio = auto().fit(X, y)
    assert ratio.choice_ == "gaussian"
    assert ratio.marginals_ is None
    np.testing.assert_allclose(
        ratio.decision_function(X),
        GaussianRatio().fit(X, y).decision_function(X),
        rtol=1e-9,
    )
    assert "Chosen: the Gaussian plug-in." in ratio.report_
    assert error(ratio, shift, new) < 1


@quiet
def test_network_where_samples_overlap():
    shift, new = (
        make_known_ratio("funnel_d6", 800, random_state=seed) for seed in (0, 1)
    )
    X, y = shift.pool()
    ratio = auto().fit(X, y)
    assert ratio.choice_ == "near"
    assert isinstance(ratio.estimator_, MLPRatio)
    assert error(ratio, shift, new) < error(GaussianRatio().fit(X, y), shift, new) / 5


@quiet
def test_bridges_where_samples_hardly_overlap():
    shift, new = (
        make_known_ratio("lumps_d1", 600, random_state=seed) for seed in (0, 1)
    )
    X, y = shift.pool()
    ratio = auto().fit(X, y)
    assert ratio.choice_ == "far"
    assert isinstance(ratio.estimator_, TelescopingRatio)
    assert ratio.divergence_ > 2
    assert "hardly overlap" in ratio.report_
    assert error(ratio, shift, new) < error(GaussianRatio().fit(X, y), shift, new) / 3


@quiet
def test_long_tails_are_made_normal_first():
    shift, new = (make_known_ratio("exp_d6", 600, random_state=seed) for seed in (0, 1))
    X, y = shift.pool()
    ratio = auto().fit(X, y)
    assert ratio.tail_length_.min() > 1.5
    assert "made normal first" in ratio.report_
    raw = GaussianRatio().fit(X, y)
    assert error(ratio, shift, new) < error(raw, shift, new) / 10
    assert error(ratio, shift, new) < 0.5


@quiet
def test_nothing_to_tell():
    """A ratio is chosen by mistake now and then, in a fifteenth of all draws."""
    constant, near = 0, MLPRatio(hidden_features=(8,), n_estimators=2, max_iter=75)
    for seed in range(6):
        X, y = make_warped_shift(120, 3, mean_shift=0, random_state=seed).pool()
        ratio = AutoRatio(near=near, random_state=0).fit(X, y)
        constant += ratio.choice_ == "constant"
        if ratio.choice_ == "constant":
            assert ratio.estimator_ is None
            assert (ratio.decision_function(X) == 0).all()
    assert constant >= 5


# --- the rest ---------------------------------------------------------------------


@quiet
def test_weights_are_repeats():
    X, y = make_warped_shift(60, 2, random_state=0).pool()
    weight = np.random.default_rng(0).integers(0, 3, len(X))
    weighted = auto().fit(X, y, sample_weight=weight)
    repeated = auto().fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert weighted.report_ == repeated.report_
    np.testing.assert_allclose(
        weighted.decision_function(X), repeated.decision_function(X), atol=1e-9
    )


@quiet
def test_single_row():
    rng = np.random.default_rng(0)
    X, y = pool(numerator=[[3.0, 3.0]], denominator=rng.normal(size=(50, 2)))
    ratio = auto().fit(X, y)
    assert ratio.choice_ == "gaussian"
    assert "single row" in ratio.report_
    assert ratio.decision_function([[3.0, 3.0]]) > ratio.decision_function([[0.0, 0.0]])


@quiet
def test_losses_are_those_of_held_out_rows():
    """An estimator that knows its rows by heart is not taken for it."""
    X, y = make_warped_shift(200, 2, random_state=0).pool()
    ratio = auto(validation_fraction=0.5).fit(X, y)
    assert set(ratio.validation_losses_) >= {"constant", "gaussian", "near"}
    assert ratio.validation_losses_["constant"] == pytest.approx(np.log(2))
    assert ratio.validation_losses_["gaussian"] < np.log(2)


def test_given_estimators_keep_their_parameters():
    X, y = make_warped_shift(60, 2, random_state=0).pool()
    near = MLPRatio(hidden_features=(4,), n_estimators=2, max_iter=50)
    AutoRatio(near=near, far=FAR, random_state=0).fit(X, y)
    assert near.random_state is None
    assert not hasattr(near, "network_")


@pytest.mark.parametrize("fraction", [0.0, 0.6, "half"])
def test_bad_fraction(fraction):
    X, y = make_warped_shift(30, 2, random_state=0).pool()
    with pytest.raises(ValueError, match="validation_fraction"):
        AutoRatio(validation_fraction=fraction).fit(X, y)


def test_perfect_evidence_is_evidence():
    """N(20, 1) against N(0, 1): log r = 20 x - 200, and no loss at any held-out row."""
    rng = np.random.default_rng(0)
    X, y = pool(
        numerator=rng.normal(20, 1, (200, 1)), denominator=rng.normal(size=(200, 1))
    )
    far = TelescopingRatio(
        hidden_features=(8,), n_estimators=2, max_iter=50, random_state=0
    )
    near = MLPRatio(hidden_features=(8,), n_estimators=2, max_iter=50, random_state=0)
    ratio = AutoRatio(near=near, far=far, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log_ratio = ratio.fit(X, y).decision_function([[0.0], [10.0], [20.0]])
        result = two_sample_test(ratio, X, y, n_permutations=99, random_state=0)
    np.testing.assert_allclose(log_ratio, [-200, 0, 200], atol=60)
    assert result.pvalue == 0.01


def test_certain_gains_and_losses():
    constant = np.full(8, 0.7)
    assert compare(constant, np.zeros(8), np.ones(8), 4).z == np.inf
    assert compare(np.zeros(8), constant, np.ones(8), 4).z == -np.inf
    assert compare(constant, constant, np.ones(8), 4).z == 0
