"""The Gaussian kernel against brute force."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdre._core.scales import FAR
from skdre.kernel._gaussian import (
    gaussian_kernel,
    kernel_product,
    row_blocks,
    squared_distances,
)
from skdre.kernel._standardize import standardize


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


def test_coordinates_are_capped_where_their_squares_would_overflow():
    Z = standardize(np.array([[1e300, -1e308, 4.0]]), np.array([0, 1e308, 1.0]), 2.0)
    assert_allclose(Z, [[FAR, -FAR, 1.5]], rtol=1e-15)


@pytest.mark.parametrize("n_columns", [1, 1000, 1 << 20, 1 << 30])
def test_blocks_of_rows_cover_them_and_fit_the_cache(n_columns):
    blocks = row_blocks(5000, n_columns)
    rows = np.concatenate([np.arange(5000)[each] for each in blocks])
    assert_allclose(rows, np.arange(5000))
    size = blocks[0].stop
    assert size == min(max(64, (1 << 20) // n_columns), 5000)


def test_distances_in_many_columns_are_exact_where_rows_nearly_coincide(rng):
    X = np.concatenate(
        [rng.normal(size=(70, 30)), 1e3 + 1e-6 * rng.normal(size=(9, 30))]
    )
    expected = ((X[:, None] - X[None]) ** 2).sum(axis=2)
    assert_allclose(squared_distances(X, X), expected, rtol=1e-12, atol=0)
