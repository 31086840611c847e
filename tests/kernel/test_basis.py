"""The shared kernel parts against brute force."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdre import KMMRatio, pool
from skdre.base import split_samples
from skdre.kernel._basis import (
    NystroemFeatures,
    gaussian_kernel,
    kernel_product,
    median_gamma,
    pivoted_cholesky_landmarks,
    scale_gamma,
    standardize,
)


def samples_of(numerator, denominator, p_weight=None, q_weight=None):
    X, y = pool(numerator=numerator, denominator=denominator)
    weights = [
        np.ones(len(rows)) if weight is None else weight
        for rows, weight in ((numerator, p_weight), (denominator, q_weight))
    ]
    return split_samples(KMMRatio(), X, y, np.concatenate(weights))


def brute_kernel(X, Y, gamma):
    return np.array([[np.exp(-gamma * np.sum((x - y) ** 2)) for y in Y] for x in X])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gaussian_kernel(rng, dtype):
    X, Y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    K = gaussian_kernel(X, Y, 0.7, dtype)
    assert K.dtype == dtype
    assert_allclose(K, brute_kernel(X, Y, 0.7), rtol=50 * np.finfo(dtype).eps)


def test_gaussian_kernel_is_at_most_one_and_finite_far_away(rng):
    X = 1e4 + rng.normal(size=(50, 2)) * 1e-9
    assert gaussian_kernel(X, X, 1.0).max() <= 1
    far = standardize(np.array([[1e300, -1e300]]), np.zeros(2), np.full(2, 1e-9))
    assert_allclose(gaussian_kernel(far, X, 1.0), 0, atol=0)


def test_kernel_product_is_the_same_in_blocks(rng):
    X, Y, coef = (
        rng.normal(size=(3000, 2)),
        rng.normal(size=(900, 2)),
        rng.normal(size=900),
    )
    assert_allclose(
        kernel_product(X, Y, coef, 0.3), gaussian_kernel(X, Y, 0.3) @ coef, atol=1e-11
    )


def test_median_gamma_matches_all_pairs(rng):
    p, q = rng.normal(size=(1500, 4)) + 1, rng.normal(size=(400, 4))
    rows = np.concatenate([p[:400], q])
    distances = np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(-1))
    median = np.median(distances[np.triu_indices(800, 1)])
    gamma = median_gamma(samples_of(p, q))
    assert gamma == pytest.approx(1 / (2 * median**2), rel=0.15)


def test_median_gamma_depends_on_the_distribution_alone(rng):
    p, q = rng.normal(size=(60, 2)) + 1, rng.normal(size=(40, 2))

    def gamma(*args):
        return median_gamma(samples_of(*args))

    expected = gamma(p, q)
    assert gamma(p[::-1], rng.permutation(q)) == pytest.approx(expected)
    counts = rng.integers(1, 4, size=60)
    repeated = gamma(np.repeat(p, counts, axis=0), q)
    assert gamma(p, q, counts.astype(float)) == pytest.approx(repeated)
    assert gamma(p[:1], p[:1]) == 1


def test_scale_gamma_is_that_of_svc_on_equal_samples(rng):
    p, q = rng.normal(size=(80, 3)) + 2, rng.normal(size=(80, 3))
    expected = 1 / (3 * np.concatenate([p, q]).var())
    assert scale_gamma(samples_of(p, q)) == pytest.approx(expected)
    tripled = scale_gamma(samples_of(np.repeat(p, 3, axis=0), q))
    assert tripled == pytest.approx(expected)
    assert scale_gamma(samples_of(np.ones((2, 2)), np.ones((2, 2)))) == 1


def test_landmarks_reach_full_rank_and_report_the_residual(rng):
    X = rng.normal(size=(120, 2))
    X = np.concatenate([X, X])  # duplicates can never be chosen twice
    chosen, residual = pivoted_cholesky_landmarks(X, 2.0, 240, np.random.RandomState(0))
    assert residual < 1e-9
    assert len(chosen) <= 120
    assert len(np.unique(X[chosen], axis=0)) == len(chosen)
    few, residual = pivoted_cholesky_landmarks(X, 2.0, 30, np.random.RandomState(0))
    assert len(few) == 30
    S = X[few]
    cross = brute_kernel(X, S, 2.0)
    approximation = cross @ np.linalg.solve(brute_kernel(S, S, 2.0), cross.T)
    assert residual == pytest.approx(1 - np.diag(approximation).mean(), rel=1e-6)


def test_landmarks_beat_uniform_choice_on_unbalanced_clusters():
    # One landmark of ten in a cluster of 1 % of the rows is luck under uniform choice.
    missed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(1000, 2)) * 0.1
        X[:10] += 10
        chosen, _ = pivoted_cholesky_landmarks(X, 1.0, 10, np.random.RandomState(seed))
        missed += not np.any(chosen < 10)
    assert missed == 0


def test_nystroem_features(rng):
    p, q = rng.normal(size=(70, 2)) + 1, rng.normal(size=(90, 2))
    features = NystroemFeatures.choose(
        samples_of(p, q), 0.5, 20, np.random.RandomState(0)
    )
    S = features.landmarks
    solved = np.linalg.solve(brute_kernel(S, S, 0.5), brute_kernel(S, q, 0.5))
    expected = brute_kernel(p, S, 0.5) @ solved
    assert_allclose(
        features.transform(p) @ features.transform(q).T, expected, atol=1e-8
    )
    weight = rng.uniform(size=70)
    assert_allclose(
        features.mean(p, weight),
        np.average(features.transform(p), axis=0, weights=weight),
        atol=1e-8,
    )
    coef = rng.normal(size=20)
    assert_allclose(
        brute_kernel(p, S, 0.5) @ features.kernel_coef(coef),
        features.transform(p) @ coef,
        atol=1e-7,
    )
    assert features.transform(p, np.float32).dtype == np.float32
