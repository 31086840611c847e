"""Bandwidths by the heuristics' definitions, and grids to search."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.distance import pdist

from skdre import KMMRatio, pool
from skdre.base import split_samples
from skdre.kernel._bandwidth import (
    bandwidth_grid,
    best_bandwidth,
    median_gamma,
    positive_grid,
    scale_gamma,
)


def samples_of(numerator, denominator, p_weight=None, q_weight=None):
    X, y = pool(numerator=numerator, denominator=denominator)
    weights = [
        np.ones(len(rows)) if weight is None else weight
        for rows, weight in ((numerator, p_weight), (denominator, q_weight))
    ]
    return split_samples(KMMRatio(), X, y, np.concatenate(weights))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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


def test_grids(rng):
    samples = samples_of(rng.normal(size=(50, 2)), rng.normal(size=(50, 2)))
    (median,) = bandwidth_grid("median", samples)
    grid = bandwidth_grid("cv", samples)
    assert_allclose(grid / median, 2.0 ** np.arange(-7, 6))
    assert_allclose(bandwidth_grid([3, 1, 3.0], samples), [1, 3])
    assert_allclose(positive_grid("ridge", 0.5), [0.5])
    assert best_bandwidth(grid, np.full(13, np.nan), samples) == 7
    assert best_bandwidth(grid, np.arange(13.0), samples) == 12
    assert best_bandwidth(grid[:2], np.array([-np.inf, -1.0]), samples) == 1


def test_median_gamma_of_few_rows_is_exact(rng):
    """64 rows of each sample are all that are looked at: 8,128 pairs."""
    p, q = rng.normal(size=(64, 3)) + 1, rng.normal(size=(64, 3))
    median = np.median(pdist(np.concatenate([p, q])))
    assert median_gamma(samples_of(p, q)) == pytest.approx(1 / (2 * median**2))


def test_bandwidth_nearest_the_median_without_scores(rng):
    samples = samples_of(rng.normal(size=(50, 2)), rng.normal(size=(50, 2)))
    grid = median_gamma(samples) * np.array([0.2, 3.0, 40.0])
    assert best_bandwidth(grid, np.full(3, np.nan), samples) == 1
    assert best_bandwidth(grid, np.full(3, -np.inf), samples) == 1
    assert best_bandwidth(grid[2:], np.array([np.nan]), samples) == 0
    assert bandwidth_grid("scale", samples) == [scale_gamma(samples)]
