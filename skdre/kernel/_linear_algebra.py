"""Positive semidefinite matrices that rounding may have made indefinite."""

import numpy as np
from scipy.linalg import LinAlgError, cholesky, eigh

# The sum of an eigenvalue and the ridge is at least this: squares of what is divided by
# it stay finite.
_LEAST_EIGENVALUE = 1e-100


def submatrix(K, rows, columns):
    """K[np.ix_(rows, columns)], some times faster."""
    return K.take(rows, axis=0).take(columns, axis=1)


def jittered_cholesky(A, jitter=0.0):
    """Lower Cholesky factor of a positive semidefinite matrix.

    A multiple of the identity is added to `A` in place, `jitter` at first and then
    more, until there is a factor.
    """
    diagonal = np.diag_indices_from(A)
    size = max(np.abs(A[diagonal]).max(), np.finfo(np.float64).tiny)
    A[diagonal] += jitter
    least = np.finfo(np.float64).eps * size * len(A)
    # The last of these is larger than any row's sum, with which no matrix is singular.
    steps = [0.0, *(least * 10.0 ** np.arange(20)).tolist()]
    last = steps.pop()
    for step in steps:
        A[diagonal] += step
        try:
            # The transpose is in LAPACK's order.
            return cholesky(A.T, lower=True)
        except LinAlgError:
            continue
    A[diagonal] += last
    return cholesky(A.T, lower=True)


def solve_lower(factor, B, place):
    """L^-1 B, for a lower triangular matrix and arrays of a library but NumPy.

    In the precision of B, where the library knows triangular systems.
    """
    linalg = place.xp.linalg
    if hasattr(linalg, "solve_triangular"):  # torch's
        (factor,) = place.cast((factor,), B.dtype)
        return linalg.solve_triangular(factor, B, upper=False)
    # A general solver's rounding is larger: not in single precision.
    return linalg.solve(factor, place.cast((B,), factor.dtype)[0])


def eigen(H):
    """Eigenvalues and eigenvectors of a positive semidefinite matrix."""
    try:
        return eigh(H, check_finite=False)
    except LinAlgError:
        # LAPACK's quick routine gives up on some matrices with entries near 1e-300.
        return eigh(H, driver="ev", check_finite=False)


def damped_inverse(values, ridges):
    """1 / (eigenvalue + ridge), where rounding is not taken for an eigenvalue.

    Eigenvalues, ascending, give the rows of the result and ridges the columns.
    """
    rounding = np.finfo(np.float64).eps * len(values) * values[-1]
    damped = np.maximum(values, 0)[:, None] + ridges
    return 1 / np.maximum(damped, max(rounding, _LEAST_EIGENVALUE))
