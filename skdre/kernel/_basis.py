"""What all kernel estimators share: scaling, bandwidth, Gaussian kernel, features.

Pure functions on arrays, plus :class:`NystroemFeatures`. Nothing here holds a kernel
matrix between rows of unbounded number: products with one are formed block by block.
"""

from dataclasses import replace

import numpy as np
from scipy.linalg import cholesky, solve_triangular

# Rows of a kernel block are chosen so that the block holds about this many entries:
# few enough to stay in a processor's cache while it is multiplied and exponentiated.
_BLOCK_ENTRIES = 1 << 20
# Triangular systems whose pivots are above this are solved in single precision, where
# single precision is asked for.
_SINGLE_PRECISION_PIVOT = 1e-3
# Standardised rows further out than this have no kernel value with anything; capping
# them keeps their squared norms finite.
_FAR = 1e75


def weighted_mean_and_variance(X, weight):
    """Column means and (population) variances under repetition counts."""
    mean = np.average(X, axis=0, weights=weight)
    return mean, np.average((X - mean) ** 2, axis=0, weights=weight)


def within_class_scale(samples):
    """Centre and scale of each column, the two samples counting half each.

    The scale is the within-class standard deviation, which a shift between the samples
    does not inflate. A column that is constant inside both samples is scaled by its
    standard deviation over both, and one that is constant over both by 1.

    Parameters
    ----------
    samples : skdre.base.TwoSamples
        The two samples.

    Returns
    -------
    center, scale : ndarray of shape (n_features,)
        Rows are standardised as ``(X - center) / scale``.
    """
    m_p, v_p = weighted_mean_and_variance(samples.numerator, samples.numerator_weight)
    m_q, v_q = weighted_mean_and_variance(
        samples.denominator, samples.denominator_weight
    )
    center = (m_p + m_q) / 2
    # A spread below the rounding error of the values themselves is no spread.
    rounding = (64 * np.finfo(np.float64).eps * np.maximum(abs(m_p), abs(m_q))) ** 2
    within = (v_p + v_q) / 2
    total = within + (m_p - m_q) ** 2 / 4
    variance = np.where(within > rounding, within, total)
    return center, np.sqrt(np.where(variance > rounding, variance, 1.0))


def standardize(X, center, scale):
    """Rows in units of the training samples, capped where only rounding is left."""
    with np.errstate(over="ignore"):
        Z = (X - center) / scale
    return np.clip(Z, -_FAR, _FAR, out=Z)


def _negative_squared_distances(X, Y, gamma):
    """-gamma |x - y|^2, of shape (len(X), len(Y)).

    A single matrix product, [X, |x|^2, 1] [2 gamma Y, -gamma, -gamma |y|^2]', so that
    each entry is written once.
    """
    n_features = X.shape[1]
    left = np.empty((len(X), n_features + 2), X.dtype)
    left[:, :-2] = X
    left[:, -2] = np.einsum("ij,ij->i", X, X)
    left[:, -1] = 1
    right = np.empty((len(Y), n_features + 2), X.dtype)
    right[:, :-2] = 2 * gamma * Y
    right[:, -2] = -gamma
    right[:, -1] = -gamma * np.einsum("ij,ij->i", Y, Y)
    K = left @ right.T
    # Rounding leaves coinciding rows slightly off zero, on either side.
    return np.minimum(K, 0, out=K)


def standardization(samples, standardize):
    """Centre and scale of each column, 0 and 1 if nothing is to be standardised."""
    if standardize:
        return within_class_scale(samples)
    n_features = samples.numerator.shape[1]
    return np.zeros(n_features), np.ones(n_features)


def standardize_samples(samples, center, scale):
    """The two samples with their rows standardised."""
    return replace(
        samples,
        numerator=standardize(samples.numerator, center, scale),
        denominator=standardize(samples.denominator, center, scale),
    )


def gaussian_kernel(X, Y, gamma):
    """Matrix of exp(-gamma |x - y|^2), of shape (len(X), len(Y))."""
    K = _negative_squared_distances(X, Y, gamma)
    return np.exp(K, out=K)


def squared_distances(X, Y):
    """Matrix of |x - y|^2, of shape (len(X), len(Y))."""
    squared = _negative_squared_distances(X, Y, 1)
    return np.negative(squared, out=squared)


def row_blocks(n_rows, n_columns):
    """Slices of rows whose kernel block with `n_columns` columns fits the cache."""
    step = max(64, _BLOCK_ENTRIES // max(n_columns, 1))
    return [slice(i, min(i + step, n_rows)) for i in range(0, n_rows, step)]


def submatrix(K, rows, columns):
    """K[np.ix_(rows, columns)], some times faster."""
    return K.take(rows, axis=0).take(columns, axis=1)


def kernel_product(X, Y, coef, gamma):
    """K(X, Y) @ coef without holding K."""
    out = np.empty(len(X))
    for rows in row_blocks(len(X), len(Y)):
        out[rows] = gaussian_kernel(X[rows], Y, gamma) @ coef
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
    return 1.0 if squared.size == 0 else 1.0 / (2.0 * np.median(squared))


def scale_gamma(samples):
    """Bandwidth 1 / (n_features * variance of all entries), samples counting half."""
    m_p, v_p = weighted_mean_and_variance(samples.numerator, samples.numerator_weight)
    m_q, v_q = weighted_mean_and_variance(
        samples.denominator, samples.denominator_weight
    )
    means = np.concatenate([m_p, m_q])
    variance = np.concatenate([v_p, v_q]).mean() + means.var()
    return 1.0 if variance == 0 else 1.0 / (len(m_p) * variance)


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
    while len(chosen) < n_landmarks and diagonal.mean() > tol:
        cumulative = np.cumsum(diagonal)
        draws = random_state.uniform(size=block) * cumulative[-1]
        proposals = np.searchsorted(cumulative, draws, side="right").clip(
            max=n_rows - 1
        )
        known = factor[: len(chosen)]
        residual = gaussian_kernel(X[proposals], X[proposals], gamma)
        residual -= known[:, proposals].T @ known[:, proposals]
        threshold = random_state.uniform(size=block) * np.diag(residual)
        kept, triangle = [], np.zeros((block, block))
        for i in range(block):
            if residual[i, i] <= max(threshold[i], 1e-12):
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
        K[np.diag_indices_from(K)] += 1e-12 * len(K)
        self.factor = cholesky(K, lower=True)

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

        Single precision is used inside as well where the factor is far from singular.
        """
        inner = np.dtype(dtype)
        if self.factor.diagonal().min() < _SINGLE_PRECISION_PIVOT:
            inner = np.dtype(np.float64)
        K = gaussian_kernel(
            X.astype(inner, copy=False),
            self.landmarks.astype(inner, copy=False),
            self.gamma,
        )
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
