"""The moments of two samples, and their shrinkage, against formulas and sampling."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import sqrtm
from scipy.stats import multivariate_normal
from sklearn.covariance import oas

from skdre._core.moments import _shrunk, _signal_share, _whitening_of, joint_moments


def covariance(X):
    return np.cov(X.T, ddof=0).reshape(X.shape[1], X.shape[1])


def share_by_hand(total, noise, error):
    """What is left of a sum of squares, `noise` of which is noise, give or take."""
    deviations = (total - noise) / (error * noise)
    # Three deviations on top, of which from 4.5 to 9 nothing is left.
    if deviations >= 9:
        extra = 0.0
    elif deviations <= 4.5:
        extra = 3.0
    else:
        extra = 3 * (9 - deviations) / 4.5
    return np.sqrt(max(0.0, total - noise - extra * error * noise) / total)


def shrinkage_by_hand(q, p):
    """Shares of the difference of the means, and of the covariances, that are kept."""
    d, rate = q.shape[1], 1 / len(q) + 1 / len(p)
    S_q, S_p = covariance(q), covariance(p)
    unit = np.sqrt((np.diag(S_q) + np.diag(S_p)) / 2)
    S_q, S_p = S_q / np.outer(unit, unit), S_p / np.outer(unit, unit)
    shift = (p.mean(axis=0) - q.mean(axis=0)) / unit
    # Oracle-approximating shrinkage, of as many rows as the mean covariance is worth.
    pooled, n = (S_q + S_p) / 2, 4 / rate
    mean, square = np.trace(pooled) / d, np.mean(pooled**2)
    weight = (square + mean**2) / ((n + 1) * (square - mean**2 / d))
    weight = min(weight, 1.0)
    pooled = (1 - weight) * pooled + weight * mean * np.eye(d)
    root = np.linalg.inv(np.real(sqrtm(pooled)))
    half = root @ (S_p - S_q) @ root / 2
    doubt = 1 + d * rate
    of_covariances = share_by_hand(
        np.sum(half**2), d * (d + 1) / 4 * rate, doubt * np.sqrt(2 / (d * (d + 1) / 2))
    )
    mixed = [of_covariances * S + (1 - of_covariances) * pooled for S in (S_q, S_p)]
    root = np.linalg.inv(np.real(sqrtm(sum(mixed) / 2)))
    of_means = share_by_hand(
        np.sum((root @ shift) ** 2), d * rate, doubt * np.sqrt(2 / d)
    )
    return of_means, of_covariances


@pytest.mark.parametrize("apart", [0.1, 0.35, 0.6, 3.0])
@pytest.mark.parametrize("stretch", [1.0, 1.4, 1.6, 4.0])
def test_shrinkage_is_the_formula(apart, stretch):
    rng = np.random.default_rng(4)
    mix = rng.normal(size=(3, 3)) + 2 * np.eye(3)
    q = rng.normal(size=(90, 3)) @ mix
    p = (rng.normal(size=(130, 3)) * [1, stretch, 1] + apart) @ mix
    moments = joint_moments(q, p)
    assert_allclose(moments.shrinkage, shrinkage_by_hand(q, p), rtol=1e-8, atol=1e-12)
    # The middle stays, and the difference is that of the samples, times the share.
    of_means, of_covariances = moments.shrinkage
    assert_allclose(moments.means.mean(axis=0), (q.mean(axis=0) + p.mean(axis=0)) / 2)
    difference = moments.means[1] - moments.means[0]
    assert_allclose(difference, of_means * (p.mean(axis=0) - q.mean(axis=0)))
    difference = moments.covariances[1] - moments.covariances[0]
    assert_allclose(difference, of_covariances * (covariance(p) - covariance(q)))
    assert moments.covariances.mean(axis=0) == pytest.approx(
        moments.covariances.mean(axis=0).T
    )


def test_shares_of_the_formula_are_all_kinds():
    """Nothing kept, some of it with a full and with a falling allowance, and all."""
    noise, error = 0.2, 0.5
    shares = [_signal_share(each, noise, error) for each in
              (0.1, 0.4, 0.51, 0.7, 1.0, 1.2, 50.0)]  # fmt: skip
    expected = [share_by_hand(each, noise, error)
                for each in (0.1, 0.4, 0.51, 0.7, 1.0, 1.2, 50.0)]  # fmt: skip
    assert_allclose(shares, expected)
    assert shares[0] == shares[1] == 0 < shares[2] < shares[3]
    assert shares[-1] == pytest.approx(np.sqrt(1 - 0.2 / 50))


def test_noise_terms_are_what_sampling_adds():
    """The two sums of squares of the docstring, over draws from one Gaussian."""
    d, n_q, n_p = 3, 400, 250
    rate = 1 / n_q + 1 / n_p
    rng = np.random.default_rng(0)
    of_means, of_covariances = [], []
    for _ in range(400):
        q, p = rng.normal(size=(n_q, d)), rng.normal(size=(n_p, d))
        of_means.append(np.sum((p.mean(axis=0) - q.mean(axis=0)) ** 2))
        of_covariances.append(np.sum(((covariance(p) - covariance(q)) / 2) ** 2))
    assert np.mean(of_means) == pytest.approx(d * rate, rel=0.15)
    assert np.mean(of_covariances) == pytest.approx(d * (d + 1) / 4 * rate, rel=0.15)
    # The allowance in units of the noise's own standard deviation.
    assert np.std(of_means) / (d * rate) == pytest.approx(np.sqrt(2 / d), rel=0.15)
    relative = np.std(of_covariances) / (d * (d + 1) / 4 * rate)
    assert relative == pytest.approx(np.sqrt(2 / (d * (d + 1) / 2)), rel=0.15)


@pytest.mark.parametrize("n", [4, 12, 200])
def test_a_pooled_covariance_is_shrunk_as_scikit_learn_does(n):
    X = np.random.default_rng(n).normal(size=(n, 5)) * [1, 1, 2, 3, 1]
    expected, _ = oas(X)
    assert_allclose(_shrunk(covariance(X), n), expected)
    assert_allclose(_shrunk(np.zeros((2, 2)), n), np.eye(2))
    with np.errstate(all="raise"):  # one column is a multiple of the identity
        assert_allclose(_shrunk(np.array([[2.0]]), n), [[2]])


def test_samples_that_are_alike_need_no_shrinkage():
    X = np.random.default_rng(0).normal(size=(20, 2))
    with np.errstate(all="raise"):
        moments = joint_moments(X, X)
    assert moments.shrinkage == (1.0, 1.0)
    assert_allclose(moments.shift, 0, atol=1e-12)
    assert_allclose(moments.numerator, 1)


@pytest.mark.parametrize("shrink", [True, False])
def test_coordinates_make_both_gaussians_diagonal(shrink):
    rng = np.random.default_rng(0)
    q = rng.normal(size=(80, 3)) * [1, 2, 30] + 5
    p = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3)) * [1, 2, 30]
    moments = joint_moments(q, p, shrink=shrink)
    V = moments.components
    for variances, S in zip(
        (moments.denominator, moments.numerator), moments.covariances, strict=True
    ):
        assert_allclose(V.T @ S @ V, np.diag(variances), atol=1e-8)
    assert_allclose(moments.denominator + moments.numerator, 2)
    ends = moments.coordinates(moments.means)
    assert_allclose(ends[1] - ends[0], moments.shift)
    assert_allclose(ends.mean(axis=0), 0, atol=1e-10)
    assert_allclose(moments.noise, V.T @ V)
    of_p, of_q = (
        multivariate_normal(mean, S).logpdf(p)
        for mean, S in zip(moments.means[::-1], moments.covariances[::-1], strict=True)
    )
    assert_allclose(moments.log_ratio(p), of_p - of_q, rtol=1e-6, atol=1e-6)


def test_log_density_on_the_way():
    rng = np.random.default_rng(0)
    q, p = rng.normal(size=(80, 2)), rng.normal(size=(60, 2)) * [1, 3] + 1
    moments = joint_moments(q, p, shrink=False)
    Z = rng.normal(size=(5, 2))
    mean, a, b = 0.3, 0.8, 0.6
    gaussian = multivariate_normal(
        (mean - 0.5) * moments.shift,
        np.diag(a**2 * moments.denominator + b**2 * moments.numerator),
    )
    expected = gaussian.logpdf(Z) + 2 * np.log(2 * np.pi) / 2
    assert_allclose(moments.log_density(Z, (mean, a, b)), expected)


def test_a_direction_of_one_sample_alone_keeps_some_variance():
    """A share of 1e-6 of the mean of both, the least that is assumed."""
    rng = np.random.default_rng(0)
    q, p = rng.normal(size=(50, 2)), rng.normal(size=(50, 2)) * [1, 0]
    moments = joint_moments(q, p, shrink=False)
    assert moments.numerator.min() == pytest.approx(1e-6)
    assert moments.denominator.max() == pytest.approx(2 - 1e-6)


def test_far_rows_have_finite_coordinates():
    rng = np.random.default_rng(0)
    moments = joint_moments(rng.normal(size=(9, 2)), rng.normal(size=(9, 2)))
    Z = moments.coordinates(np.array([[1e300, 0.0], [1e308, -1e308]]))
    assert np.abs(Z).max() == 1e100
    assert np.isfinite(moments.log_ratio(np.full((1, 2), 1e300))).all()


def test_directions_that_are_rounding_errors_are_left_out():
    """Variances below 1e-10 of the widest direction's."""
    whiten = _whitening_of(*np.linalg.eigh(np.diag([4.0, 5e-10, 3e-10])))
    sizes = np.sort(np.abs(whiten).max(axis=0))
    assert_allclose(sizes, [0, 1 / 2, 5e-10**-0.5])
    assert_allclose(_whitening_of(*np.linalg.eigh(np.zeros((2, 2)))), np.eye(2))
