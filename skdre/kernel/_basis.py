"""What all kernel estimators share: scaling, bandwidth, Gaussian kernel, features.

Pure functions on arrays, plus :class:`NystroemFeatures`. Nothing here holds a kernel
matrix between rows of unbounded number: products with one are formed block by block.
"""

from dataclasses import replace

import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist

from skdre._core.scales import FAR, column_scales
from skdre.kernel._linear_algebra import jittered_cholesky

# Rows of a kernel block are chosen so that the block holds about this many entries:
# few enough to stay in a processor's cache while it is multiplied and exponentiated.
_BLOCK_ENTRIES = 1 << 20
# Triangular systems whose pivots are above this are solved in single precision, where
# single precision is asked for.
_SINGLE_PRECISION_PIVOT = 1e-3
# A median distance whose square is below this is taken as this: bandwidths stay finite.
_LEAST_SQUARE = 1e-290
# Up to this many columns distances are formed from differences, above it by a matrix
# product, which is then several times faster.
_FEW_FEATURES = 16
# Matrix products are taken over this many rows at a time, always: BLAS rounds a row
# differently in products of different shapes.
_TILE_ROWS = 64
# Of |x|^2 + |y|^2 - 2 x'y less than this share is left: formed from differences.
_CANCELLED = 0.1
# Pairs of rows whose differences are formed at a time.
_PAIRS = 1 << 14
# A residual of the kernel's diagonal below this is a rounding error.
_NO_RESIDUAL = 1e-12


def standardize(X, center, scale):
    """Rows in units of the training samples, capped where only rounding is left."""
    with np.errstate(over="ignore"):
        Z = (X - center) / scale
    return np.clip(Z, -FAR, FAR, out=Z)


def _weighted_median(X, weight):
    """Lower median of each column under repetition counts."""
    if weight is None:
        middle = (len(X) - 1) // 2
        return np.partition(X, middle, axis=0)[middle]
    order = np.argsort(X, axis=0, kind="stable")
    cumulative = np.cumsum(weight[order], axis=0)
    place = (cumulative < cumulative[-1] / 2).sum(axis=0)
    columns = np.arange(X.shape[1])
    return X[order[place, columns], columns]


def robust_center(samples):
    """Middle of the two samples' medians, in each column.

    Rows around it have small coordinates wherever the origin lies, and however far out
    a few rows are.
    """
    m_p = _weighted_median(samples.numerator, samples.numerator_weight)
    m_q = _weighted_median(samples.denominator, samples.denominator_weight)
    return m_p / 2 + m_q / 2


def range_of(samples):
    """Least and greatest value of each column over both samples.

    Parameters
    ----------
    samples : skdre.base.TwoSamples
        The two samples.

    Returns
    -------
    box : ndarray of shape (2, n_features)
    """
    both = samples.numerator, samples.denominator
    return np.stack(
        [
            np.minimum(*(X.min(axis=0) for X in both)),
            np.maximum(*(X.max(axis=0) for X in both)),
        ]
    )


def standardization(samples, standardize):
    """Centre and scale of each column; the scale is 1 if columns keep their units."""
    if standardize:
        scales = column_scales(samples.parts, samples.names)
        return scales.center, scales.within
    center = robust_center(samples)
    return center, np.ones(len(center))


def standardize_samples(samples, center, scale):
    """The two samples with their rows standardised."""
    return replace(
        samples,
        numerator=standardize(samples.numerator, center, scale),
        denominator=standardize(samples.denominator, center, scale),
    )


def _expanded_squared_distances(X, Y):
    """Matrix of |x|^2 + |y|^2 - 2 x'y, and of |x - y|^2 where that cancels."""
    (n_rows, n_features), n_tiles = X.shape, -(-len(X) // _TILE_ROWS)
    tiles = np.zeros((n_tiles * _TILE_ROWS, n_features))
    tiles[:n_rows] = X
    product = tiles.reshape(n_tiles, _TILE_ROWS, n_features) @ Y.T
    squared = product.reshape(len(tiles), len(Y))[:n_rows]
    size = np.einsum("ij,ij->i", X, X)[:, None] + np.einsum("ij,ij->i", Y, Y)
    squared *= -2
    squared += size
    size *= _CANCELLED
    rows, columns = np.nonzero(squared <= size)
    for i in range(0, len(rows), _PAIRS):
        pair = rows[i : i + _PAIRS], columns[i : i + _PAIRS]
        difference = X[pair[0]] - Y[pair[1]]
        squared[pair] = np.einsum("ij,ij->i", difference, difference)
    return squared


def squared_distances(X, Y):
    """Matrix of |x - y|^2, of shape (len(X), len(Y)).

    Each entry is accurate to rounding, relative to itself, and depends on its two rows
    alone, to the bit.
    """
    if X.shape[1] <= _FEW_FEATURES:
        return cdist(X, Y, "sqeuclidean")
    return _expanded_squared_distances(X, Y)


def kernel_of_squares(squared, gamma, out):
    """exp(-gamma squared) into `out`, in its precision."""
    # What is so far away that the exponent overflows has no kernel value.
    with np.errstate(over="ignore", under="ignore"):
        np.multiply(squared, -gamma, out=out, casting="same_kind")
        return np.exp(out, out=out)


def gaussian_kernel(X, Y, gamma, dtype=np.float64):
    """Matrix of exp(-gamma |x - y|^2), of shape (len(X), len(Y))."""
    squared = squared_distances(X, Y)
    same = squared.dtype == dtype
    return kernel_of_squares(
        squared, gamma, squared if same else np.empty(squared.shape, dtype)
    )


def row_blocks(n_rows, n_columns):
    """Slices of rows whose kernel block with `n_columns` columns fits the cache."""
    step = max(64, _BLOCK_ENTRIES // max(n_columns, 1))
    return [slice(i, min(i + step, n_rows)) for i in range(0, n_rows, step)]


def submatrix(K, rows, columns):
    """K[np.ix_(rows, columns)], some times faster."""
    return K.take(rows, axis=0).take(columns, axis=1)


def kernel_product(X, Y, coef, gamma):
    """K(X, Y) @ coef without holding K; each entry depends on its row of X alone."""
    out = np.empty(len(X))
    for rows in row_blocks(len(X), len(Y)):
        # Not by BLAS, which sums in an order that depends on the number of rows.
        out[rows] = np.einsum("ij,j->i", gaussian_kernel(X[rows], Y, gamma), coef)
    return out


def quantile_index(projection, weight, n_rows):
    """Positions of the rows at evenly spaced quantiles of a projection of them.

    The rows depend neither on the order of all rows nor on whether a row stands twice
    or has weight two, which a random choice of rows would.
    """
    order = np.argsort(projection, kind="stable")
    weight = np.ones(len(projection)) if weight is None else weight
    cumulative = np.cumsum(weight[order])
    wanted = (np.arange(n_rows) + 0.5) / n_rows * cumulative[-1]
    return order[np.searchsorted(cumulative, wanted)]


def median_gamma(samples, n_rows=64):
    """Bandwidth of the median heuristic, gamma = 1 / (2 median(distance)^2).

    The median is over the pairs of `n_rows` rows of each sample (8,128 pairs) that do
    not coincide; 1 if all rows coincide.
    """
    # Any direction that is in general position serves, and always the same.
    direction = np.random.RandomState(0).standard_normal(samples.numerator.shape[1])
    rows = np.concatenate(
        [
            X[quantile_index(X @ direction, weight, n_rows)]
            for X, weight in (
                (samples.numerator, samples.numerator_weight),
                (samples.denominator, samples.denominator_weight),
            )
        ]
    )
    first, second = np.triu_indices(len(rows), k=1)
    squared = ((rows[first] - rows[second]) ** 2).sum(axis=1)
    squared = squared[squared > 0]
    if squared.size == 0:
        return 1.0
    return 1.0 / (2.0 * max(np.median(squared), _LEAST_SQUARE))


def scale_gamma(samples):
    """Bandwidth 1 / (n_features * variance of all entries), samples counting half."""
    # Of standardised columns, whose extremes were named already.
    scales = column_scales(samples.parts, warn=False)
    variance = (scales.deviations**2).mean() + scales.means.var()
    return 1.0 if variance == 0 else 1.0 / (scales.means.shape[1] * variance)


def _balanced_candidates(samples, n_candidates, random_state):
    """Rows to choose landmarks from, half of them from each sample."""
    parts = []
    for X, weight in (
        (samples.numerator, samples.numerator_weight),
        (samples.denominator, samples.denominator_weight),
    ):
        size = min(len(X), n_candidates // 2)
        probability = None if weight is None else weight / weight.sum()
        parts.append(X[random_state.choice(len(X), size, False, probability)])
    return np.concatenate(parts)


def pivoted_cholesky_landmarks(X, gamma, n_landmarks, random_state, *, tol=1e-9):
    """Choose landmarks by randomly pivoted Cholesky.

    Pivots are drawn in proportion to the diagonal of the residual, a block of
    proposals at a time, of which rejection keeps those that sequential drawing would
    have drawn.

    Parameters
    ----------
    X : ndarray of shape (n_candidates, n_features)
        Rows to choose from.
    gamma : float
        Bandwidth.
    n_landmarks : int
        Most landmarks to choose.
    random_state : RandomState
    tol : float, default=1e-9
        Stop when the mean of the residual's diagonal is below it.

    Returns
    -------
    landmarks : ndarray of int of shape (n_chosen,)
        Row numbers, in the order chosen.
    residual : float
        Mean of the residual's diagonal, in [0, 1]: what the features miss of k(x, x).

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
        # Rows that the landmarks explain to rounding are drawn no more.
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
    def choose(cls, samples, gamma, n_components, random_state, n_candidates=5000):
        """Choose landmarks from both samples, each offering half of the candidates."""
        candidates = _balanced_candidates(
            samples, max(n_candidates, 4 * n_components), random_state
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
        K = gaussian_kernel(X, self.landmarks, self.gamma, inner)
        return solve_triangular(
            self.factor.astype(inner, copy=False),
            K.T,
            lower=True,
            overwrite_b=True,
            check_finite=False,
        ).T.astype(dtype, copy=False)

    def mean(self, X, weight=None):
        """Weighted mean of phi over the rows of X, of shape (n_components,)."""
        weight = np.ones(len(X)) if weight is None else weight
        total = np.zeros(len(self.landmarks))
        for rows in row_blocks(len(X), len(self.landmarks)):
            total += weight[rows] @ gaussian_kernel(X[rows], self.landmarks, self.gamma)
        return solve_triangular(self.factor, total / weight.sum(), lower=True)

    def kernel_coef(self, coef):
        """Coefficients c of k(x, landmarks) @ c = phi(x) @ coef."""
        return solve_triangular(self.factor, coef, lower=True, trans="T")
