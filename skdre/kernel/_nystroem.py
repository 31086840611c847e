"""Nyström features of the Gaussian kernel, on landmarks chosen by pivoted Cholesky."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from skdre._core.arrays import number, place_of, to_numpy
from skdre._core.reduce import Sums
from skdre.kernel._gaussian import gaussian_kernel, row_blocks
from skdre.kernel._linear_algebra import jittered_cholesky, solve_lower

# Triangular systems whose pivots are above this are solved in single precision, where
# single precision is asked for.
_SINGLE_PRECISION_PIVOT = 1e-3
# A residual of the kernel's diagonal below this is a rounding error.
_NO_RESIDUAL = 1e-12


def _balanced_candidates(parts, n_candidates, random_state):
    """Rows to choose landmarks from, half of them from each part, a sample's rows."""
    candidates = []
    for X, weight in parts:
        size = min(len(X), n_candidates // 2)
        probability = None if (weight == 1).all() else weight / weight.sum()
        candidates.append(X[random_state.choice(len(X), size, False, probability)])
    return np.concatenate(candidates)


def pivoted_cholesky_landmarks(X, gamma, n_landmarks, random_state, *, tol=1e-9):
    """Choose landmarks by randomly pivoted Cholesky.

    Pivots are drawn in proportion to the diagonal of the residual, a block of
    proposals at a time, of which rejection keeps those that sequential drawing would
    have drawn.

    Returns the row numbers in the order chosen, fewer than `n_landmarks` once the mean
    of the residual's diagonal is below `tol`, and that mean: what the features miss of
    k(x, x).

    References
    ----------
    .. [1] Chen, Epperly, Tropp, Webber (2025). Randomly pivoted Cholesky. CPAM 78.
    .. [2] Epperly, Tropp, Webber (2024). Embrace rejection: kernel matrix
       approximation by accelerated randomly pivoted Cholesky. arXiv:2410.03969.
    """
    n_rows = len(X)
    n_landmarks = min(n_landmarks, n_rows)
    factor = np.empty((n_landmarks, n_rows))
    diagonal = np.ones(n_rows)
    chosen = []
    block = max(8, n_landmarks // 8)
    # Each pass takes a landmark at least, or a row out of the draw.
    for _ in range(2 * n_rows):
        if len(chosen) == n_landmarks or diagonal.mean() <= tol:
            break
        cumulative = np.cumsum(diagonal)
        draws = random_state.uniform(size=block) * cumulative[-1]
        proposals = np.searchsorted(cumulative, draws, side="right").clip(
            max=n_rows - 1
        )
        known = factor[: len(chosen)]
        residual = gaussian_kernel(X[proposals], X[proposals], gamma)
        residual -= known[:, proposals].T @ known[:, proposals]
        # Rows that the landmarks explain to rounding are not drawn again.
        diagonal[proposals[np.diag(residual) <= _NO_RESIDUAL]] = 0
        threshold = random_state.uniform(size=block) * np.diag(residual)
        kept, triangle = [], np.zeros((block, block))
        for i in range(block):
            if residual[i, i] <= max(threshold[i], _NO_RESIDUAL):
                continue
            column = residual[:, i] / np.sqrt(residual[i, i])
            residual -= np.outer(column, column)
            triangle[:, len(kept)] = column
            kept.append(i)
            if len(chosen) + len(kept) == n_landmarks:
                break
        if not kept:
            continue
        pivots = proposals[kept]
        columns = gaussian_kernel(X[pivots], X, gamma)
        columns -= known[:, pivots].T @ known
        new = solve_triangular(triangle[kept, : len(kept)], columns, lower=True)
        factor[len(chosen) : len(chosen) + len(kept)] = new
        diagonal -= np.einsum("ij,ij->j", new, new)
        np.maximum(diagonal, 0, out=diagonal)
        diagonal[pivots] = 0
        chosen.extend(pivots.tolist())
    return np.asarray(chosen), float(diagonal.mean())


@dataclass(frozen=True)
class LandmarkSums(Sums):
    """Sums of weights, and of weighted kernel values at the landmarks."""

    weight: float
    total: np.ndarray


def landmark_sums(portion, landmarks, gamma):
    """Reducer: of these the mean of phi is made."""
    total, place = np.zeros(len(landmarks)), place_of(portion.X)
    landmarks = place.put(landmarks)
    for rows in row_blocks(portion.X.shape[0], len(total), place):
        total += to_numpy(
            portion.weight[rows] @ gaussian_kernel(portion.X[rows, :], landmarks, gamma)
        )
    return LandmarkSums(number(place.xp.sum(portion.weight)), total)


class NystroemFeatures:
    """Features phi(x) whose inner products approximate the Gaussian kernel.

    phi(x) = L^-1 k(landmarks, x) with L L' the kernel matrix of the landmarks.

    Parameters
    ----------
    landmarks : ndarray of shape (n_components, n_features)
        Landmark rows.
    gamma : float
        Bandwidth.
    residual : float
        Mean of k(x, x) - |phi(x)|^2 over the rows the landmarks were chosen from.

    Attributes
    ----------
    factor : ndarray of shape (n_components, n_components)
        L, lower triangular.
    """

    def __init__(self, landmarks, gamma, residual):
        self.landmarks = landmarks
        self.gamma = gamma
        self.residual = residual
        K = gaussian_kernel(landmarks, landmarks, gamma)
        # The pivots are independent up to rounding; the jitter is that rounding.
        self.factor = jittered_cholesky(K, 1e-12 * len(K))

    @classmethod
    def choose(cls, parts, gamma, n_components, random_state, n_candidates=5000):
        """Choose landmarks from both samples, given as pairs of rows and weights."""
        candidates = _balanced_candidates(
            parts, max(n_candidates, 4 * n_components), random_state
        )
        chosen, residual = pivoted_cholesky_landmarks(
            candidates, gamma, n_components, random_state
        )
        return cls(candidates[chosen], gamma, residual)

    def transform(self, X, dtype=np.float64):
        """phi at the rows of X, of shape (len(X), n_components).

        Single precision is used for the triangular system as well where the factor is
        far from singular. Distances are always formed in double precision.
        """
        inner = np.dtype(dtype)
        if self.factor.diagonal().min() < _SINGLE_PRECISION_PIVOT:
            inner = np.dtype(np.float64)
        place = place_of(X)
        if not place.is_host:
            landmarks, factor = place.put((self.landmarks, self.factor))
            K = gaussian_kernel(X, landmarks, self.gamma, inner)
            features = solve_lower(factor, K.T, place).T
            return place.cast((features,), place.float_of(dtype))[0]
        K = gaussian_kernel(X, self.landmarks, self.gamma, inner)
        return solve_triangular(
            self.factor.astype(inner, copy=False),
            K.T,
            lower=True,
            overwrite_b=True,
            check_finite=False,
        ).T.astype(dtype, copy=False)

    def mean_of(self, sums):
        """Weighted mean of phi over a sample, of shape (n_components,)."""
        return solve_triangular(self.factor, sums.total / sums.weight, lower=True)

    def kernel_coef(self, coef):
        """Coefficients c of k(x, landmarks) @ c = phi(x) @ coef."""
        return solve_triangular(self.factor, coef, lower=True, trans="T")
