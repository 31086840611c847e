"""RatioDensity against densities that are known, and the gradients of its ratios."""

import pickle

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import kstest, multivariate_normal, norm, skewnorm
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from skdre import (
    ClassifierRatio,
    Dequantizer,
    FlowFeaturizer,
    GaussianRatio,
    LSIFRatio,
    MLPRatio,
    RatioDensity,
    TelescopingRatio,
    TimeScoreRatio,
    annealed_importance_sampling,
    pool,
    raise_bound,
)
from skdre.base import DensityRatioMixin, split_samples
from skdre.density._targets import ratio_target
from skdre.time_score import RK45, GaussLegendre

SKEW = skewnorm(3)
RNG = np.random.default_rng(0)
X = np.exp(SKEW.rvs((400, 1), random_state=RNG))


def skewed_log_ratio(Z):
    """Of a skew normal of slope 3 to N(0, 1)."""
    return np.log(2) + norm.logcdf(3 * Z[:, 0])


class KnownRatio(DensityRatioMixin, BaseEstimator):
    """A log ratio that was given, times a factor, plus a constant."""

    def __init__(self, log_ratio=skewed_log_ratio, factor=1.0, constant=0.0):
        self.log_ratio = log_ratio
        self.factor = factor
        self.constant = constant

    def fit(self, X, y, sample_weight=None):
        self.classes_ = split_samples(self, X, y, sample_weight).classes
        self.seen_ = X, y
        return self

    def decision_function(self, X):
        return self.factor * self.log_ratio(np.asarray(X)) + self.constant


class LogNormal(TransformerMixin, BaseEstimator):
    """The base x = exp(z) with z standard normal, on the positive half line."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(X)

    def inverse_transform(self, Z):
        return np.exp(Z)

    def score_samples(self, X):
        Z = self.transform(X)
        return np.where(X > 0, norm.logpdf(Z) - Z, -np.inf).sum(axis=1)


def known(**params):
    ratio = KnownRatio(**params.pop("ratio", {}))
    return RatioDensity(ratio, LogNormal(), random_state=0, **params)


def log_truth(X):
    z = np.log(X[:, 0])
    return SKEW.logpdf(z) - z


# --- the density ------------------------------------------------------------------


@pytest.mark.parametrize("normalizer", ["mean", "annealing", None])
def test_density_is_base_times_ratio(normalizer):
    constant = 0.0 if normalizer is None else 2.0
    density = known(normalizer=normalizer, ratio={"constant": constant}).fit(X)
    error = density.log_normalizer_std_
    assert abs(density.log_normalizer_ - constant) <= 3 * error
    assert error <= 0.05
    off = log_truth(X) - density.score_samples(X)
    np.testing.assert_allclose(off, density.log_normalizer_ - constant, atol=1e-9)
    assert density.score(X) == pytest.approx(density.score_samples(X).mean())
    x = np.geomspace(1e-3, 1e3, 4001)
    total = trapezoid(np.exp(density.score_samples(x[:, None])), x)
    assert abs(total - 1) < 4 * error + 1e-3


def test_the_ratio_is_of_features_to_draws():
    density = known(n_draws=1000).fit(X)
    Z, y = density.ratio_.seen_
    np.testing.assert_array_equal(Z[y == 1], np.log(X))
    assert kstest(Z[y == 0][:, 0], "norm").pvalue > 0.01
    assert np.sum(y == 0) == 1000
    assert np.sum(known().fit(X).ratio_.seen_[1] == 0) == len(X)


def test_samples_are_those_of_the_density():
    density = known(n_steps=20).fit(X)
    rows = density.sample(1000, random_state=0)
    assert rows.shape == (1000, 1)
    assert kstest(np.log(rows[:, 0]), SKEW.cdf).pvalue > 0.01
    assert kstest(np.log(rows[:, 0]), "norm").pvalue < 1e-10
    assert len(np.unique(rows)) == 1000
    assert density.sample(random_state=0).shape == (1, 1)
    assert abs(np.corrcoef(rows[:, 0], np.arange(1000))[0, 1]) < 0.15


def test_a_wrong_ratio_is_found_out():
    """Scaled by 3, or half as steep again: annealing and RAISE say how wrong."""
    truth = log_truth(X)
    for wrong in ({"constant": np.log(3)}, {"factor": 1.5}):
        density = known(normalizer=None, ratio=wrong).fit(X)
        direct = density.score_samples(X)
        forward = annealed_importance_sampling(density, n_steps=60, random_state=0)
        bound = raise_bound(density, X, schedule=forward, random_state=0)
        z = np.linspace(-8, 8, 4001)
        factor, constant = wrong.get("factor", 1), wrong.get("constant", 0)
        log_ratio = factor * skewed_log_ratio(z[:, None]) + constant
        log_z = np.log(trapezoid(np.exp(norm.logpdf(z) + log_ratio), z))
        assert abs(log_z) > 0.2
        assert abs(forward.log_normalizer - log_z) < 3 * forward.standard_error < 0.1
        assert abs(bound.value - (direct.mean() - log_z)) < 0.1
    # And the true one is not.
    right = known(normalizer=None).fit(X)
    forward = annealed_importance_sampling(right, n_steps=60, random_state=0)
    bound = raise_bound(right, X, schedule=forward, random_state=0)
    assert abs(forward.log_normalizer) < 3 * forward.standard_error < 0.1
    assert abs(bound.value - truth.mean()) < 0.1


def test_a_gaussian_without_torch():
    mean, covariance = np.array([1.0, -2]), np.array([[2.0, 1.2], [1.2, 1.0]])
    rows = np.random.default_rng(0).multivariate_normal(mean, covariance, size=3000)
    density = RatioDensity(GaussianRatio(), random_state=0).fit(rows)
    fitted = multivariate_normal(rows.mean(axis=0), np.cov(rows.T, ddof=0))
    found = density.base_.score_samples(rows)
    np.testing.assert_allclose(found, fitted.logpdf(rows), rtol=0.01, atol=0.02)
    truth = multivariate_normal(mean, covariance).logpdf(rows)
    assert abs(np.mean(density.score_samples(rows) - truth)) < 0.01
    sampled = density.base_.sample(4000, random_state=0)
    np.testing.assert_allclose(np.cov(sampled.T), covariance, atol=0.15)
    np.testing.assert_allclose(
        density.base_.inverse_transform(density.base_.transform(rows)), rows
    )
    # Columns that determine each other, one that is constant, and few rows.
    for part in (rows[:, [0, 1, 0]], rows[:3, [0, 1, 0]]):
        part = np.column_stack([part, np.full(len(part), 7.0)])
        base = RatioDensity(KnownRatio(plain), random_state=0).fit(part).base_
        assert np.isfinite(base.score_samples(part)).all()
        assert base.covariance_[3, 3] == pytest.approx(1)


def test_bits_per_dimension():
    digits = load_digits().data[:600, 18:30]
    pixels = Dequantizer(n_levels=17, alpha=0.05, random_state=0).fit(digits)
    Y = pixels.transform(digits)
    flow = FlowFeaturizer("gaussian", random_state=0)
    density = RatioDensity(GaussianRatio(), flow, random_state=0).fit(Y)
    bits = pixels.bits_per_dimension(Y, density.score_samples(Y))
    plain = pixels.bits_per_dimension(Y, density.base_.score_samples(Y))
    assert abs(bits.mean() - plain.mean()) < 0.05
    assert bits.mean() < np.log2(17)


def test_in_a_search():
    """The true ratio scores above one that is too steep, and above a constant."""
    search = GridSearchCV(known(), {"ratio__factor": [0.0, 1.0, 3.0]}, cv=3)
    assert search.fit(X).best_params_ == {"ratio__factor": 1.0}
    scores = search.cv_results_["mean_test_score"]
    assert scores[1] == pytest.approx(log_truth(X).mean(), abs=0.05)


def test_frozen_parts_and_seeds():
    flow = FlowFeaturizer("copula", random_state=0).fit(X)
    density = RatioDensity(LSIFRatio(), FrozenEstimator(flow), random_state=0)
    one, two = clone(density).fit(X), clone(density).fit(X)
    np.testing.assert_array_equal(one.score_samples(X), two.score_samples(X))
    np.testing.assert_array_equal(
        one.sample(20, random_state=0), two.sample(20, random_state=0)
    )
    other = clone(density).set_params(random_state=1).fit(X)
    assert one.log_normalizer_ != other.log_normalizer_
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(one.score_samples(X), again.score_samples(X))


# --- gradients of ratios ----------------------------------------------------------

P = np.random.default_rng(1).normal(size=(200, 3)) * [1, 2, 0.5] + 0.5
Q = np.random.default_rng(2).normal(size=(200, 3))
TINY = {"hidden_features": (8,), "max_iter": 40, "random_state": 0}
TIMES = TINY | {"hidden_features": (8, 8), "integrator": GaussLegendre(6)}


@pytest.mark.filterwarnings("ignore:.*still (fell|rose):Warning")
@pytest.mark.filterwarnings("ignore:.*integral over time")
@pytest.mark.parametrize(
    "ratio",
    [
        GaussianRatio(),
        FrozenEstimator(MLPRatio(n_estimators=2, **TINY)),
        TelescopingRatio(n_estimators=2, n_bridges=2, **TINY),
        TimeScoreRatio(**TIMES),
        TimeScoreRatio("ctsm-v", denominator="gaussian", path="vpsde", **TIMES),
        TimeScoreRatio("joint", denominator="gaussian", path="vpsde", **TIMES),
        TimeScoreRatio(**TIMES | {"integrator": RK45(1e-7)}),
        GridSearchCV(GaussianRatio(), {"shrink": [True]}),
    ],
    ids=lambda each: type(each).__name__,
)
def test_gradients_of_ratios(ratio):
    fitting = ratio.estimator if isinstance(ratio, FrozenEstimator) else ratio
    fitting.fit(*pool(numerator=P, denominator=Q))
    target = ratio_target(None, ratio, 3)
    assert target.has_gradient
    # Far out tails are drawn in.
    Z = np.concatenate([P[:5], 8 * Q[:5]])
    value, gradient = target.log_ratio_and_gradient(Z)
    np.testing.assert_allclose(value, target.log_ratio(Z), rtol=1e-5, atol=1e-6)
    step = 1e-5
    for k, direction in enumerate(step * np.eye(3)):
        up, _ = target.log_ratio_and_gradient(Z + direction)
        down, _ = target.log_ratio_and_gradient(Z - direction)
        np.testing.assert_allclose(
            gradient[:, k], (up - down) / (2 * step), rtol=1e-4, atol=1e-5
        )


@pytest.mark.filterwarnings("ignore:.*still (fell|rose):Warning")
@pytest.mark.parametrize(
    "ratio",
    [
        ClassifierRatio(),
        TelescopingRatio(GaussianRatio(), n_bridges=2),
        TimeScoreRatio("joint", n_anchors=2, **TIMES),
        TimeScoreRatio("fokker-planck", denominator="gaussian", path="vpsde", **TIMES),
    ],
    ids=["classifier", "bridges", "anchors", "fokker-planck"],
)
def test_ratios_without_gradients(ratio):
    ratio.fit(*pool(numerator=P, denominator=Q))
    assert not ratio_target(None, ratio, 3).has_gradient


# --- bad input and interruption ---------------------------------------------------


def test_a_base_without_a_density():
    with pytest.raises(TypeError, match=r"base must have transform, a map.*Kernel"):
        RatioDensity(GaussianRatio(), KernelDensity()).fit(X)
    with pytest.raises(TypeError, match="base must have score_samples, the log dens"):
        RatioDensity(GaussianRatio(), Dequantizer()).fit(X)
    with pytest.raises(ValueError, match="ratio must be a density-ratio estimator"):
        RatioDensity(KernelDensity()).fit(X)


def test_rows_outside_the_support():
    bad = np.concatenate([X[:20], [[-1.0]]])
    with pytest.raises(ValueError, match=r"1 of 21 rows of X lie outside.*row 20"):
        known().fit(bad)
    density = known().fit(X)
    found = density.score_samples(bad)
    assert found[20] == -np.inf
    assert np.isfinite(found[:20]).all()


def steep(Z):
    return np.where(Z[:, 0] > 1.5, np.nan, 0.0)


def nothing(Z):
    return np.full(len(Z), -np.inf)


def plain(Z):
    return np.zeros(len(Z))


def narrow(Z):
    return -50 * (Z[:, 0] - 4) ** 2


def test_ratios_that_are_not_numbers():
    with pytest.raises(ValueError, match=r"log ratio gives nan at \d+ of .*z = \["):
        known(ratio={"log_ratio": steep}).fit(X)
    with pytest.raises(ValueError, match="ratio is 0 at all of 10000 draws"):
        known(ratio={"log_ratio": nothing}).fit(X)
    with pytest.warns(UserWarning, match="rests on an effective .* of 10000 draws"):
        density = known(ratio={"log_ratio": narrow}).fit(X)
    # By completing the square.
    truth = -8 / 1.01 - 0.5 * np.log(101)
    off = abs(density.log_normalizer_ - truth)
    assert 0.2 < off < 2 * density.log_normalizer_std_


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_draws": 0}, "'n_draws' parameter of RatioDensity"),
        ({"normalizer": "exact"}, "'normalizer' parameter"),
        ({"n_chains": 19}, "'n_chains' parameter"),
        ({"n_steps": 0}, "'n_steps' parameter"),
        ({"kernel": "gibbs"}, "'kernel' parameter"),
        ({"kernel": "hmc", "normalizer": "annealing"}, "needs the gradient"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        known(**params).fit(X)


@pytest.mark.parametrize("n_samples", [0, 2.0, "many"])
def test_bad_n_samples(n_samples):
    with pytest.raises(ValueError, match="n_samples must be an integer >= 1, got"):
        known().fit(X).sample(n_samples)


def test_a_failed_fit_changes_nothing():
    density = known().fit(X)
    before = vars(density).copy()
    with pytest.raises(ValueError, match="contains NaN"):
        density.fit(np.full((9, 1), np.nan))
    density.set_params(ratio__log_ratio=steep)
    with pytest.raises(ValueError, match="gives nan"):
        density.fit(np.column_stack([X, X]))
    assert {name: vars(density)[name] for name in before} == before


class Interrupted(KnownRatio):
    """Ctrl-C reaches its fit, before or after it has set its results."""

    def __init__(self, late=True):
        super().__init__()
        self.late = late

    def fit(self, X, y, sample_weight=None):
        if self.late:
            super().fit(X, y, sample_weight)
        raise KeyboardInterrupt


def test_interrupted():
    density = RatioDensity(Interrupted(), LogNormal(), random_state=0)
    with pytest.raises(KeyboardInterrupt):
        density.fit(X)
    np.testing.assert_allclose(density.score_samples(X), log_truth(X), atol=0.05)
    density = RatioDensity(Interrupted(late=False), LogNormal())
    with pytest.raises(KeyboardInterrupt):
        density.fit(X)
    assert not hasattr(density, "base_")
    assert not hasattr(density, "n_features_in_")
