"""The tail of importance weights: how many of its moments exist."""

import numpy as np

from skdre._core.types import Values

__all__ = ["fit_generalized_pareto", "pareto_k", "pareto_k_threshold"]

# Fewer values than this in the tail do not show its index.
_MIN_TAIL = 5

# So many weights have no tail, and so many equal ones at the top show no bound.
_FEW_ROWS = 25

# Weights that differ by rounding are equal.
_TIE = 1e-12

# Share of the weight that such a few rows may carry beyond the others.
_FEW_ROWS_SHARE = 0.1

# Strength and place of the weak prior on the index, in rows.
_PRIOR_ROWS, _PRIOR_K = 10, 0.5


def fit_generalized_pareto(exceedances):
    r"""Fit a generalised Pareto distribution by its profile likelihood.

    With the density :math:`(1 + k x / \sigma)^{-1 / k - 1} / \sigma`, x > 0. Given
    :math:`\theta = -k / \sigma`, the most likely k is the mean of
    :math:`\log(1 - \theta x)`; :math:`\theta` is a mean over a grid, weighted by the
    profile likelihood. Unlike the maximum it exists for every sample of positive
    values of which two differ. Moments of order 1 / k and above are infinite; with k
    below 0 there is an upper end. (J. Zhang, M. A. Stephens, "A new and efficient
    estimation method for the generalized Pareto distribution", Technometrics 51, 2009.)
    """
    x = np.sort(exceedances)
    n = len(x)
    largest = x[-1]
    x = x / largest
    n_grid = 30 + int(np.sqrt(n))
    quartile = max(x[int(n / 4 + 0.5) - 1], np.finfo(float).tiny)
    step = np.sqrt(n_grid / (np.arange(n_grid) + 0.5))
    theta = 1 + (1 - step) / (3 * quartile)
    # theta = 0 is the exponential distribution, whose likelihood is the limit.
    theta = np.where(theta == 0, np.finfo(float).eps, theta)
    k = np.log1p(-np.outer(theta, x)).mean(axis=1)
    log_likelihood = n * (np.log(-theta / k) - k - 1)
    weight = np.exp(log_likelihood - log_likelihood.max())
    best = weight @ theta / weight.sum()
    best = best if best != 0 else np.finfo(float).eps
    k = float(np.log1p(-best * x).mean())
    return k, float(-k / best * largest)


def pareto_k(log_weights: Values) -> float:
    r"""Index of the upper tail of importance weights, Pareto k-hat.

    The largest weights above a threshold, at most a fifth of them, are taken as a
    sample from a generalised Pareto distribution with shape k: only moments of an order
    below 1 / k are finite. Above 1 the weights have no mean, above 1/2 no variance.

    Parameters
    ----------
    log_weights : array-like of shape (n_samples,)
        Logarithms of the weights, such as the log ratio at the denominator's rows; a
        constant in them changes nothing.

    Returns
    -------
    k : float
        Minus infinity where the largest weights are equal, and many, so that the
        weights have a bound. Plus infinity where fewer than five rows, or 25 equal ones
        at most, stand out and carry more than a tenth of the whole weight beyond the
        others. NaN where 25 rows or fewer, or a few that stand out by less, show no
        tail.

    Raises
    ------
    ValueError
        If the log weights are not a vector, or hold NaN or plus infinity.

    See Also
    --------
    pareto_k_threshold : Above which a mean of the weights is not to be relied on.

    Notes
    -----
    It judges the weights that it is given. An estimator whose ratio has a bound, such
    as a saturating classifier or a clipped one, has short tails whatever the truth.

    The tail holds :math:`\min(n / 5, 3 \sqrt{n})` weights, and the fitted k is shrunk
    towards 1/2 as ten rows would, as in [1]_.

    References
    ----------
    .. [1] A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry. "Pareto smoothed
       importance sampling", Journal of Machine Learning Research 25, 2024.

    Examples
    --------
    Weights that are Pareto distributed, with a finite mean and no variance:

    >>> import numpy as np
    >>> from skdre.information import pareto_k
    >>> uniform = np.random.default_rng(0).uniform(size=10000)
    >>> bool(abs(pareto_k(-0.7 * np.log(uniform)) - 0.7) < 0.1)
    True
    """
    log_weights = np.asarray(log_weights, dtype=np.float64)
    if log_weights.ndim != 1:
        raise ValueError(
            f"log_weights must have the shape (n_samples,), got {log_weights.shape}."
        )
    if np.isnan(log_weights).any() or (log_weights == np.inf).any():
        raise ValueError("log_weights must not hold NaN or plus infinity.")
    n = len(log_weights)
    n_tail = int(np.ceil(min(0.2 * n, 3 * np.sqrt(n))))
    if n <= _FEW_ROWS or (log_weights == -np.inf).all():
        return np.nan
    # Where the largest weight is 1 nothing overflows.
    weights = np.exp(np.sort(log_weights) - log_weights.max())
    threshold = weights[-n_tail - 1]
    exceedances = weights[-n_tail:] - threshold
    exceedances = exceedances[exceedances > _TIE * threshold]
    if not len(exceedances):
        return -np.inf
    if len(exceedances) < _MIN_TAIL or np.ptp(exceedances) <= _TIE:
        if len(exceedances) > _FEW_ROWS:
            return -np.inf
        share = exceedances.sum() / weights.sum()
        return np.inf if share > _FEW_ROWS_SHARE else np.nan
    k, _ = fit_generalized_pareto(exceedances)
    n_tail = len(exceedances)
    return (n_tail * k + _PRIOR_ROWS * _PRIOR_K) / (n_tail + _PRIOR_ROWS)


def pareto_k_threshold(n_samples: int) -> float:
    r"""Largest k-hat at which a mean of so many weights can be relied on.

    Parameters
    ----------
    n_samples : int
        Number of weights, at least 2.

    Returns
    -------
    threshold : float
        :math:`\min(1 - 1 / \log_{10} n, 0.7)`: .5 for 100 weights, .7 from 2155 on.

    Raises
    ------
    ValueError
        If there are fewer than two weights.

    References
    ----------
    A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry. "Pareto smoothed importance
    sampling", Journal of Machine Learning Research 25, 2024, section 3.2.4.

    Examples
    --------
    >>> from skdre.information import pareto_k_threshold
    >>> pareto_k_threshold(100)
    0.5
    """
    if n_samples < 2:
        raise ValueError(f"n_samples must be at least 2, got {n_samples!r}.")
    return float(min(1 - 1 / np.log10(n_samples), 0.7))
