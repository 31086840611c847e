"""Bandwidths gamma of the Gaussian kernel: two heuristics, and grids to search."""

import numpy as np
from scipy.spatial.distance import pdist

from skdre._core.scales import column_scales
from skdre.kernel._centers import quantile_index

# Bandwidths of the search, as multiples of the median heuristic's: the best lay among
# them in 2 to 20 dimensions.
GAMMA_FACTORS = 2.0 ** np.arange(-7, 6)
# A median distance whose square is below this is taken as this: bandwidths stay finite.
_LEAST_SQUARE = 1e-290


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
            for X, weight in samples.parts
        ]
    )
    squared = pdist(rows, "sqeuclidean")
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


def positive_grid(name, value):
    """A number or a list of numbers as an increasing array; all must be positive."""
    try:
        grid = np.unique(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a positive number, a list of them or a name, got {value!r}"
        ) from error
    if grid.size == 0 or np.ndim(value) > 1 or not ((grid > 0) & (grid < np.inf)).all():
        raise ValueError(
            f"{name} must hold positive finite numbers, at least one and in one "
            f"dimension, got {value!r}."
        )
    return grid


def bandwidth_grid(gamma, samples):
    """Bandwidths that a parameter `gamma` stands for, in increasing order."""
    if isinstance(gamma, str):
        if gamma == "scale":
            return np.array([scale_gamma(samples)])
        factors = GAMMA_FACTORS if gamma == "cv" else np.ones(1)
        return median_gamma(samples) * factors
    return positive_grid("gamma", gamma)


def best_bandwidth(gammas, scores, samples):
    """Position of the best score, or without scores of what is nearest the median's."""
    if np.isfinite(scores).any():
        return int(np.nanargmax(scores))
    if len(gammas) == 1:
        return 0
    return int(np.argmin(abs(np.log(gammas) - np.log(median_gamma(samples)))))
