"""GaussianRatio against formulas, and its shrinkage against sampling noise."""

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

from skdre import ClassifierRatio, GaussianRatio, pool
from skdre.metrics import log_ratio_mse

MEAN = np.array([1.0, -0.5, 0.0])
COV_P = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, 0.2], [0.0, 0.2, 0.5]])
COV_Q = np.diag([1.0, 1.5, 1.0])


def two_gaussians(n_p, n_q, seed=0):
    rng = np.random.default_rng(seed)
    numerator = rng.multivariate_normal(MEAN, COV_P, n_p)
    return numerator, rng.multivariate_normal(np.zeros(3), COV_Q, n_q)


def two_pool(numerator, denominator):
    return pool(numerator=numerator, denominator=denominator)


def true_log_ratio(X):
    p, q = multivariate_normal(MEAN, COV_P), multivariate_normal(np.zeros(3), COV_Q)
    return p.logpdf(X) - q.logpdf(X)


def test_sample_moments_against_the_formula():
    numerator, denominator = two_gaussians(80, 50)
    ratio = GaussianRatio(shrink=False).fit(*two_pool(numerator, denominator))
    new = two_gaussians(20, 20, seed=1)[0]
    p, q = (
        multivariate_normal(X.mean(axis=0), np.cov(X.T, ddof=0))
        for X in (numerator, denominator)
    )
    np.testing.assert_allclose(
        ratio.decision_function(new), p.logpdf(new) - q.logpdf(new), rtol=1e-8
    )
    np.testing.assert_allclose(ratio.means_[1], numerator.mean(axis=0))
    np.testing.assert_allclose(ratio.covariances_[0], np.cov(denominator.T, ddof=0))
    assert ratio.shrinkage_ == (1.0, 1.0)


@pytest.mark.parametrize(("n", "bound"), [(300, 0.2), (3000, 0.02), (30000, 0.002)])
def test_error_falls_as_one_over_n(n, bound):
    numerator, denominator = two_gaussians(n, 2 * n)
    ratio = GaussianRatio().fit(*two_pool(numerator, denominator))
    new = np.concatenate(two_gaussians(1000, 1000, seed=1))
    assert log_ratio_mse(true_log_ratio(new), ratio.decision_function(new)) < bound


@pytest.mark.parametrize(("d", "share"), [(1, 0.75), (5, 0.3), (40, 0.1)])
def test_equal_distributions_are_found_equal(d, share):
    """Without shrinkage the noise of d (d + 3) / 2 moments is taken for a shift."""
    errors = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        root = np.linalg.cholesky(toeplitz(0.5 ** np.arange(d)))
        X, y = two_pool(*(rng.standard_normal((2, 300, d)) @ root.T))
        errors.append(
            [
                np.mean(
                    GaussianRatio(shrink=shrink).fit(X, y).decision_function(X) ** 2
                )
                for shrink in (True, False)
            ]
        )
    shrunk, plain = np.mean(errors, axis=0)
    # What is left of k noisy squares is E (chi^2_k - k)_+ / k: 0.5 for one of them,
    # 0.15 for the 15 of a covariance in 5 dimensions.
    assert shrunk < share * plain


def test_as_good_as_quadratic_discriminant_analysis():
    """Where there are two covariances little is shrunk."""
    errors = []
    for seed in range(5):
        X, y = two_pool(*two_gaussians(200, 200, seed))
        new = np.concatenate(two_gaussians(500, 500, seed=100 + seed))
        errors.append(
            [
                log_ratio_mse(
                    true_log_ratio(new), each.fit(X, y).decision_function(new)
                )
                for each in (
                    GaussianRatio(),
                    ClassifierRatio(QuadraticDiscriminantAnalysis()),
                )
            ]
        )
    ours, plain = np.mean(errors, axis=0)
    assert ours < 1.1 * plain


def test_mean_shift_in_many_dimensions():
    """Fewer rows than columns: one covariance is all that can be told."""
    d, rng = 100, np.random.default_rng(0)
    X, y = two_pool(rng.standard_normal((80, d)) + 0.3, rng.standard_normal((80, d)))
    ratio = GaussianRatio().fit(X, y)
    new = np.concatenate(
        [rng.standard_normal((500, d)) + 0.3, rng.normal(size=(500, d))]
    )
    truth = 0.3 * new.sum(axis=1) - d * 0.045
    found = ratio.decision_function(new)
    assert log_ratio_mse(truth, found) < 0.4 * truth.var()
    assert np.corrcoef(truth, found)[0, 1] > 0.8


def test_weights_are_repeats():
    numerator, denominator = two_gaussians(30, 40)
    X, y = two_pool(numerator, denominator)
    weight = np.random.default_rng(0).integers(0, 4, len(X))
    weighted = GaussianRatio().fit(X, y, sample_weight=weight)
    repeated = GaussianRatio().fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(
        weighted.decision_function(X), repeated.decision_function(X), rtol=1e-9
    )


def test_units_do_not_matter():
    X, y = two_pool(*two_gaussians(50, 60))
    expected = GaussianRatio().fit(X, y).decision_function(X)
    scaled = X * [1e150, 1e-150, 1.0] + [0.0, 0.0, 1e3]
    found = GaussianRatio().fit(scaled, y).decision_function(scaled)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shrink", [True, False])
def test_degenerate_columns_give_finite_ratios(shrink):
    """Constant, repeated, and constant at two values."""
    numerator, denominator = two_gaussians(40, 40)
    X, y = two_pool(numerator, denominator)
    for extra in (np.ones(len(X)), X[:, 0], y.astype(float)):
        ratio = GaussianRatio(shrink=shrink).fit(np.column_stack([X, extra]), y)
        found = ratio.decision_function(np.column_stack([X, extra]))
        assert np.isfinite(found).all()
        assert np.corrcoef(found, y)[0, 1] > 0.3
    far = ratio.decision_function(np.full((1, 4), 1e300))
    assert np.isfinite(far).all()


def test_more_columns_than_rows_of_one_distribution():
    """The log loss at new rows was 1.0 here, and log 2 is that of r = 1."""
    scores = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        ratio = GaussianRatio().fit(
            *two_pool(rng.normal(size=(40, 100)), rng.normal(size=(60, 100)))
        )
        scores.append(ratio.score(rng.normal(size=(400, 100)), np.arange(400) % 2))
    assert np.min(scores) > -np.log(2) - 0.05
