"""Moments, lengths and times of waymarks against integrals and Gaussians."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.stats import multivariate_normal

from skdre._core.moments import JointMoments, joint_moments
from skdre._core.rows import discrete_columns
from skdre.paths import PATHS, BridgePath, TrigonometricPath, check_path
from skdre.waymarks._placement import (
    discriminants,
    path_coefficients,
    path_length,
    path_speeds,
    waymark_times,
)

M_Q, M_P = np.array([1.0, 2.0]), np.array([3.0, -1.0])
ROOT_Q, ROOT_P = np.array([[1.0, 0.5], [0.0, 1.0]]), np.diag([0.6, 1.4])


def gaussians(n=20_000, seed=0):
    rng = np.random.default_rng(seed)
    return (
        M_Q + rng.normal(size=(n, 2)) @ ROOT_Q,
        M_P + rng.normal(size=(n, 2)) @ ROOT_P,
    )


def length_between(q, p, weights=(None, None)):
    return path_length(TrigonometricPath(), joint_moments(q, p, weights))


def diagonal(shift, q, p, noise=None):
    """Moments in units where they are as they are."""
    d = len(shift)
    components = np.eye(d) if noise is None else np.linalg.cholesky(noise).T
    shift = np.asarray(shift, float)
    return JointMoments(
        means=np.stack([-shift / 2, shift / 2]),
        covariances=np.stack([np.diag(np.asarray(each, float)) for each in (q, p)]),
        center=np.zeros(d),
        components=components,
        shift=shift,
        denominator=np.asarray(q, float),
        numerator=np.asarray(p, float),
    )


def test_moments_are_those_of_the_samples_in_other_coordinates():
    q, p = gaussians()
    moments = joint_moments(q, p)
    for rows, variance, sign in (
        (q, moments.denominator, -0.5),
        (p, moments.numerator, 0.5),
    ):
        u = (rows - moments.center) @ moments.components
        assert_allclose(u.mean(axis=0), sign * moments.shift, atol=2e-3)
        assert_allclose(np.cov(u.T), np.diag(variance), atol=5e-3)
    assert_allclose(moments.denominator + moments.numerator, 2)
    # Noise of unit variance in the rows' own coordinates.
    assert_allclose(moments.noise, moments.components.T @ moments.components)


def test_moments_with_weights_are_those_of_repeated_rows():
    q, p = gaussians(50)
    counts = np.random.default_rng(0).integers(1, 4, (2, 50))
    one = joint_moments(q, p, counts.astype(float))
    rows = [np.repeat(each, k, axis=0) for each, k in zip((q, p), counts, strict=True)]
    other = joint_moments(*rows)
    assert_allclose(one.denominator, other.denominator, rtol=1e-9)
    assert length_between(q, p, counts) == pytest.approx(
        length_between(*rows), rel=1e-9
    )


@pytest.mark.parametrize("n_features", [2, 20, 150])
def test_length_is_small_where_there_is_no_distance(n_features):
    """Also with more columns than rows, where plain moments are far apart."""
    q, p = np.random.default_rng(0).normal(size=(2, 100, n_features))
    assert length_between(q, p) < 1.0


@pytest.mark.parametrize(
    ("shift", "scale", "length"),
    [
        # Means alone: their distance. Variances alone: |log of their ratio| / sqrt 2
        # a column, or half of it times sqrt(2) in deviations.
        (3.0, 1.0, 3.0),
        (0.0, 0.1, np.log(10) * np.sqrt(2)),
        (0.0, 10.0, np.log(10) * np.sqrt(2)),
    ],
)
def test_length_of_known_paths(shift, scale, length):
    rng = np.random.default_rng(0)
    q, p = rng.normal(size=(20_000, 1)), shift + scale * rng.normal(size=(20_000, 1))
    assert length_between(q, p) == pytest.approx(length, rel=0.03)


def test_length_does_not_depend_on_linear_maps():
    q, p = gaussians(500)
    A = np.array([[1e6, 0.0], [3.0, 1e-3]])
    expected = length_between(q, p)
    assert length_between(q @ A + 7, p @ A + 7) == pytest.approx(expected, rel=0.05)
    assert length_between(p, q) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", sorted(PATHS))
def test_speed_is_the_fisher_information_of_the_time(name):
    """Its square is the mean of (d/dt log p_t)^2, by quadrature in one dimension."""
    path = check_path(name)
    moments = diagonal([1.5], [0.4], [1.6], noise=np.array([[0.3]]))

    def log_density(x, t):
        a, b, s = path.coefficients(t)
        variance = 0.4 * a**2 + 1.6 * b**2 + 0.3 * s**2
        return -0.5 * ((x - 1.5 * t) ** 2 / variance + np.log(2 * np.pi * variance))

    def integrand(x, t, h=1e-5):
        slope = (log_density(x, t + h) - log_density(x, t - h)) / (2 * h)
        return np.exp(log_density(x, t)) * slope**2

    times = np.array([0.2, 0.5, 0.9])
    expected = [quad(integrand, -12, 12, (t,), points=(0, 1.5))[0] for t in times]
    assert_allclose(path_speeds(path, moments, times) ** 2, expected, rtol=1e-4)


def test_speed_with_correlated_noise():
    """The general form against that of diagonal matrices."""
    path = BridgePath(sigma=0.8)
    rotation = np.array([[0.8, 0.6], [-0.6, 0.8]])
    noise = rotation @ np.diag([0.5, 2.0]) @ rotation.T
    t = np.array([0.3])
    a, b, s = path.coefficients(t)
    da, db, ds = path.derivatives(t)
    shift, q, p = np.array([1.0, -0.5]), np.array([0.7, 1.2]), np.array([1.3, 0.8])
    S = a**2 * np.diag(q) + b**2 * np.diag(p) + s**2 * noise
    dS = 2 * (a * da * np.diag(q) + b * db * np.diag(p) + s * ds * noise)
    inverse = np.linalg.inv(S)
    expected = shift @ inverse @ shift + np.trace(inverse @ dS @ inverse @ dS) / 2
    moments = diagonal(shift, q, p, noise)
    assert path_speeds(path, moments, t)[0] ** 2 == pytest.approx(expected)


@pytest.mark.parametrize("path", ["trigonometric", "linear", "vpsde", "bridge"])
def test_waymarks_at_equal_lengths(path):
    path, moments = check_path(path), diagonal([2.0, 0.0], [1.9, 1.0], [0.1, 1.0])
    times = waymark_times(path, "path-length", 5, moments)
    assert (times[0], times[-1]) == (0, 1)
    lengths = [
        quad(lambda t: path_speeds(path, moments, np.array([t]))[0], *ends)[0]
        for ends in pairwise(times)
    ]
    assert_allclose(lengths, np.mean(lengths), rtol=0.03)
    assert sum(lengths) == pytest.approx(path_length(path, moments), rel=0.01)
    # The narrow end takes more waymarks than equal times would give it.
    if path == TrigonometricPath():
        assert times[1] > 0.25


def test_other_spacings():
    path, moments = TrigonometricPath(), diagonal([0.0], [1.0], [1.0])
    for spacing, expected in (
        ("linear", [0, 0.25, 0.5, 0.75, 1]),
        ("quadratic", [0, 1 / 16, 0.25, 9 / 16, 1]),
        ("path-length", [0, 0.25, 0.5, 0.75, 1]),  # of a path of no length
        ([0, 0.1, 0.2, 0.9, 1.0], [0, 0.1, 0.2, 0.9, 1.0]),
    ):
        assert_allclose(waymark_times(path, spacing, 4, moments), expected)


@pytest.mark.parametrize("name", sorted(PATHS))
def test_the_outer_waymarks_are_the_samples(name):
    a, b, s = path_coefficients(check_path(name), np.array([0.0, 0.4, 1.0]))
    assert_array_equal((a[[0, -1]], b[[0, -1]], s[[0, -1]]), ([1, 0], [0, 1], [0, 0]))
    expected = check_path(name).coefficients(0.4)
    assert_allclose((a[1], b[1], s[1]), expected)


def test_discriminants_are_the_ratios_of_gaussians():
    path, times = TrigonometricPath(), np.array([0.0, 0.3, 0.7, 1.0])
    a, b, _ = path_coefficients(path, times)
    moments = joint_moments(*gaussians(200_000))
    X = np.random.default_rng(1).normal(size=(6, 2)) + 1
    S_q, S_p = ROOT_Q.T @ ROOT_Q, ROOT_P.T @ ROOT_P
    means = [(1 - t) * M_Q + t * M_P for t in times]
    covariances = [a[k] ** 2 * S_q + b[k] ** 2 * S_p for k in range(4)]

    def log_ratio(k, S_low, S_high):
        return multivariate_normal(means[k + 1], S_high).logpdf(
            X
        ) - multivariate_normal(means[k], S_low).logpdf(X)

    for quadratic in (False, True):
        W, slope, offset = discriminants(path, moments, times, quadratic=quadratic)
        found = np.einsum("ni,kij,nj->nk", X, W, X) + X @ slope + offset
        for k in range(3):
            S_low, S_high = covariances[k : k + 2]
            if not quadratic:
                S_low = S_high = (S_low + S_high) / 2
            assert_allclose(found[:, k], log_ratio(k, S_low, S_high), atol=0.1)


def test_moments_of_degenerate_samples():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    constant = np.insert(X, 1, 7.0, axis=1)
    assert length_between(constant[:15], constant[15:]) == pytest.approx(
        length_between(X[:15], X[15:]), abs=0.3
    )
    for q, p in (
        (X[:1], X[1:]),
        (X[:1], X[1:2]),
        (np.ones((5, 2)), np.ones((4, 2))),
        (np.zeros((5, 2)), np.ones((4, 2))),
        (X * 1e-150, X * 1e-150 + 1e-150),
        (X * 1e150, X * 1e150 + 1e150),
    ):
        length = length_between(q, p)
        assert np.isfinite(length)
        assert np.isfinite(joint_moments(q, p).components).all()
    assert length_between(np.ones((5, 2)), np.ones((4, 2))) < 1e-9


def test_discrete_columns():
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [
            rng.integers(0, 2, 300),
            rng.normal(size=300),
            rng.integers(0, 200, 300),
            np.full(300, 3.0),
            rng.integers(0, 15, 300),
        ]
    )
    assert_array_equal(
        discrete_columns(X, np.ones(300)), [True, False, False, False, True]
    )
    # Two points that stand many times; and few rows, which may be of anything.
    assert discrete_columns(np.array([[0.0], [1.0]]), np.array([50.0, 70.0])).all()
    assert not discrete_columns(X[:8, :1], np.ones(8)).any()
