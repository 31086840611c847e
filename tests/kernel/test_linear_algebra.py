"""Factors of matrices that are positive semidefinite but for rounding."""

import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose

from skdre.kernel._linear_algebra import damped_inverse, eigen, jittered_cholesky


@pytest.mark.parametrize("size", [1e-150, 1.0, 1e150])
def test_jittered_cholesky_of_a_singular_matrix(size):
    rng = np.random.default_rng(0)
    low_rank = rng.normal(size=(30, 3))
    A = size * low_rank @ low_rank.T
    A[0, 1] = A[1, 0] = A[0, 1] - 1e-13 * size  # which rounding has made indefinite
    factor = jittered_cholesky(A.copy())
    assert_allclose(factor @ factor.T, A, atol=1e-11 * size)


def test_jittered_cholesky_changes_no_matrix_that_has_a_factor():
    A = np.array([[2.0, 1.0], [1.0, 3.0]])
    assert_allclose(jittered_cholesky(A.copy()), np.linalg.cholesky(A), rtol=1e-15)
    factor = jittered_cholesky(A.copy(), 0.5)
    assert_allclose(factor @ factor.T, A + 0.5 * np.eye(2))


def test_jittered_cholesky_of_a_matrix_far_from_semidefinite_ends():
    factor = jittered_cholesky(-np.ones((4, 4)))
    assert np.isfinite(factor).all()
    with pytest.raises(ValueError, match="NaN"):
        jittered_cholesky(np.full((2, 2), np.nan))


def test_damped_inverse_takes_no_rounding_for_an_eigenvalue():
    H = np.ones((50, 50))
    values, vectors = eigen(H)
    assert_allclose(vectors * values @ vectors.T, H, atol=1e-12)
    inverse = damped_inverse(values, np.array([1e-300, 1e-5, 1e300]))
    assert inverse.max() < 1e15
    assert_allclose(inverse[-1], [1 / 50, 1 / 50, 1e-300], rtol=1e-4)
    assert_allclose(inverse[:-1, 1], 1e5, rtol=1e-4)
    assert np.isfinite(damped_inverse(np.zeros(3), np.array([1e-300])) ** 2).all()


def test_eigen_where_the_quick_routine_gives_up(monkeypatch):
    def fails(H, driver=None, **params):
        if driver is None:
            raise scipy.linalg.LinAlgError
        return scipy.linalg.eigh(H, driver=driver, **params)

    monkeypatch.setattr("skdre.kernel._linear_algebra.eigh", fails)
    values, vectors = eigen(np.array([[2.0, 1.0], [1.0, 2.0]]))
    assert_allclose(values, [1, 3])
    assert_allclose(vectors * values @ vectors.T, [[2, 1], [1, 2]])


def test_damped_inverse_by_hand():
    """Rounding is eps times the number of eigenvalues times the largest of them."""
    eps = np.finfo(np.float64).eps
    inverse = damped_inverse(np.array([-1e-18, 0.5, 4.0]), np.array([1e-30, 0.5]))
    expected = [[1 / (3 * eps * 4), 2], [2, 1], [1 / 4, 1 / 4.5]]
    assert_allclose(inverse, expected)
    assert damped_inverse(np.zeros(2), np.array([1e-300])).max() == 1e100
