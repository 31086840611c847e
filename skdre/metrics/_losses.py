"""Losses of density ratios, as pure functions on arrays.

A loss is one number: under array API dispatch the one number a row that it is made of
comes to NumPy, from whatever library and device, and the sums are in double precision.
"""

import numpy as np

from skdre._core.arrays import to_host
from skdre._core.docs import shared_docs
from skdre._core.types import Values
from skdre._core.values import refuse_complex, refuse_masked

__all__ = [
    "kliep_score",
    "log_ratio_mse",
    "lsif_loss",
    "ratio_log_loss",
    "ratio_rank_correlation",
]

# Where a loss would be larger it stops, so that its mean and standard deviation over
# the folds of a search stay finite.
_LARGEST = 1e150


def _check_rows(names, *columns, sample_weight):
    """Columns of one value a row as float arrays, with the weights."""
    names = (*names, "sample_weight")
    columns = tuple(map(to_host, columns))
    sample_weight = to_host(sample_weight)
    if sample_weight is None:
        sample_weight = np.ones(np.shape(columns[-1]))
    columns = [*columns, sample_weight]
    for name, column in zip(names, columns, strict=True):
        refuse_masked(column, name)
        refuse_complex(column, name)
    columns = [np.asarray(column, dtype=np.float64) for column in columns]
    shapes = [column.shape for column in columns]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(
            f"{', '.join(names[:-1])} and {names[-1]} must have one shape, "
            f"(n_samples,), got {', '.join(map(str, shapes[:-1]))} and {shapes[-1]}."
        )
    for name, column in zip(names[:-1], columns, strict=False):
        if np.isnan(column).any():
            raise ValueError(f"{name} contains NaN.")
    weight = columns[-1]
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError("sample_weight must be finite and not negative.")
    return columns


def _split(is_numerator, log_ratio, sample_weight):
    """Log ratios and weights of the numerator's rows, then of the denominator's.

    Without the rows of weight zero, whose loss may be infinite: 0 inf is NaN.
    """
    is_numerator = _truth_values(is_numerator)
    _, log_ratio, weight = _check_rows(
        ("is_numerator", "log_ratio"),
        is_numerator,
        log_ratio,
        sample_weight=sample_weight,
    )
    parts = []
    for domain, name in ((is_numerator, "numerator"), (~is_numerator, "denominator")):
        domain = domain & (weight > 0)
        if not domain.any():
            raise ValueError(
                "The loss of a ratio needs rows of positive weight from both classes, "
                f"but the {name}'s class has none."
            )
        parts.append((log_ratio[domain], weight[domain]))
    return parts


def _truth_values(is_numerator):
    """True and False, also given as 1 and 0; any other label is a mistake."""
    refuse_masked(is_numerator, "is_numerator")
    values = np.asarray(to_host(is_numerator))
    if values.dtype.kind != "b":
        # Objects, such as missing ones, are compared one by one.
        flat = values.ravel().tolist()
        wrong = [each for each in flat if not _is_truth_value(each)]
        if wrong:
            raise ValueError(
                "is_numerator must hold True and False, or 1 and 0, got "
                f"{wrong[0]!r}; for other labels compare: y == label."
            )
    return values.astype(bool)


def _is_truth_value(value):
    return isinstance(value, bool | int | float | np.bool_) and value in (0, 1)


def _log_mean_exp(values, weight):
    """Logarithm of the weighted mean of exp(values), without overflow."""
    largest = values.max()
    if not np.isfinite(largest):
        return float(largest)
    return float(largest + np.log(np.average(np.exp(values - largest), weights=weight)))


@shared_docs
def ratio_log_loss(
    is_numerator: Values, log_ratio: Values, *, sample_weight: Values | None = None
) -> float:
    r"""Class-balanced log loss of a log ratio, in nats.

    The domain of a row is predicted from its density ratio under equal priors,
    :math:`P(\mathrm{numerator} \mid x) = r(x) / (1 + r(x))`, whatever the sample sizes.
    The loss is the mean over the two domains of the mean negative log probability
    within each; its minimum over all functions is reached by the true ratio, and
    ``log(2)`` is the loss of a constant ratio of 1.

    Parameters
    ----------
    %(is_numerator)
    %(log_ratio_of_rows)
    %(weight_in_domain)

    Returns
    -------
    loss : float
        Mean of the two domains' losses, in nats; lower is better.

    Raises
    ------
    %(loss_errors)

    Examples
    --------
    >>> from skdre.metrics import ratio_log_loss
    >>> round(ratio_log_loss([True, False, False], [0.0, 0.0, 0.0]), 4)
    0.6931
    """
    losses = [
        np.average(np.logaddexp(0.0, sign * log_ratio), weights=weight)
        for sign, (log_ratio, weight) in zip(
            (-1, 1), _split(is_numerator, log_ratio, sample_weight), strict=True
        )
    ]
    return float(np.mean(losses))


@shared_docs
def lsif_loss(
    is_numerator: Values, log_ratio: Values, *, sample_weight: Values | None = None
) -> float:
    r"""Least-squares loss of a density ratio.

    .. math::
        \tfrac12 \, \mathrm{mean}_q \, r^2 - \mathrm{mean}_p \, r,

    an estimate of :math:`\tfrac12 E_q (r - p/q)^2` up to the constant
    :math:`-\tfrac12 E_q (p/q)^2`, which no estimate of r changes. So its minimum over
    all functions is reached by the true ratio, and is at most -1/2, which is the loss
    of a constant ratio of 1.

    A few rows with a large ratio decide it: for samples far apart
    :func:`ratio_log_loss` compares estimators with far less noise.

    Parameters
    ----------
    %(is_numerator)
    %(log_ratio_of_rows)
    %(weight_in_domain)

    Returns
    -------
    loss : float
        Lower is better; kept between -1e150 and 1e150.

    Raises
    ------
    %(loss_errors)

    References
    ----------
    T. Kanamori, S. Hido, M. Sugiyama, "A least-squares approach to direct importance
    estimation", JMLR 10, 2009, section 2.

    Examples
    --------
    >>> from skdre.metrics import lsif_loss
    >>> lsif_loss([True, False, False], [0.0, 0.0, 0.0])
    -0.5
    """
    (log_p, p_weight), (log_q, q_weight) = _split(
        is_numerator, log_ratio, sample_weight
    )
    limit = np.log(_LARGEST)
    square = _log_mean_exp(2 * log_q, q_weight) - np.log(2)
    mean = _log_mean_exp(log_p, p_weight)
    if max(square, mean) < limit:
        return float(np.exp(square) - np.exp(mean))
    return _LARGEST if square >= mean else -_LARGEST


@shared_docs
def kliep_score(
    is_numerator: Values, log_ratio: Values, *, sample_weight: Values | None = None
) -> float:
    r"""Log likelihood of a density ratio that is scaled to mean 1, in nats.

    .. math::
        \mathrm{mean}_p \log r - \log \mathrm{mean}_q \, r,

    the objective of KLIEP, and the Donsker-Varadhan bound: its expectation is at most
    the Kullback-Leibler divergence of q from p, which the true ratio reaches. A
    constant ratio has 0. **A factor in front of r changes nothing**, so it does not
    tell a ratio from its multiples, as the other losses do.

    Parameters
    ----------
    %(is_numerator)
    %(log_ratio_of_rows)
    %(weight_in_domain)

    Returns
    -------
    score : float
        In nats, higher is better; kept between -1e150 and 1e150.

    Raises
    ------
    %(loss_errors)

    References
    ----------
    M. Sugiyama et al., "Direct importance estimation for covariate shift adaptation",
    Ann. Inst. Stat. Math. 60, 2008, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre.metrics import kliep_score
    >>> round(kliep_score([True, False, False], np.log([2.0, 0.5, 1.5])), 4)
    0.6931
    """
    (log_p, p_weight), (log_q, q_weight) = _split(
        is_numerator, log_ratio, sample_weight
    )
    mean = float(np.average(np.clip(log_p, -_LARGEST, _LARGEST), weights=p_weight))
    normalizer = np.clip(_log_mean_exp(log_q, q_weight), -_LARGEST, _LARGEST)
    return float(np.clip(mean - normalizer, -_LARGEST, _LARGEST))


def log_ratio_mse(
    true_log_ratio: Values, log_ratio: Values, *, sample_weight: Values | None = None
) -> float:
    """Mean squared error of a log ratio whose truth is known.

    Parameters
    ----------
    true_log_ratio : array-like of float, shape (n_samples,)
        True log density ratio at each row, in nats.
    log_ratio : array-like of float, shape (n_samples,)
        Estimated log density ratio, in nats.
    sample_weight : array-like of float, shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    error : float
        In squared nats, 0 is best; at most 1e150.

    Raises
    ------
    ValueError
        If the lengths differ, a value is NaN, `true_log_ratio` is infinite, or the
        weights are negative, not finite or all zero.

    Examples
    --------
    >>> from skdre.metrics import log_ratio_mse
    >>> log_ratio_mse([0.0, 1.0], [0.0, 3.0])
    2.0
    """
    truth, found, weight = _check_truth(true_log_ratio, log_ratio, sample_weight)
    if np.isinf(truth).any():
        raise ValueError("true_log_ratio contains infinity.")
    with np.errstate(over="ignore"):
        error = np.average((found - truth) ** 2, weights=weight)
    return float(min(error, _LARGEST))


def ratio_rank_correlation(
    true_log_ratio: Values, log_ratio: Values, *, sample_weight: Values | None = None
) -> float:
    """Spearman's rank correlation of a ratio with the true one.

    It asks for the order only: a ratio or its logarithm, scaled or not, have the same;
    an inverted one has the same with the sign turned.

    Parameters
    ----------
    true_log_ratio : array-like of float, shape (n_samples,)
        True log density ratio at each row.
    log_ratio : array-like of float, shape (n_samples,)
        Estimated log density ratio.
    sample_weight : array-like of float, shape (n_samples,), default=None
        Weights, counted as repetition of the rows.

    Returns
    -------
    correlation : float
        Between -1 and 1, 1 is best; 0 where either side is constant, for then it has
        no order.

    Raises
    ------
    ValueError
        If the lengths differ, a value is NaN, or the weights are negative, not finite
        or all zero.

    Examples
    --------
    >>> from skdre.metrics import ratio_rank_correlation
    >>> round(ratio_rank_correlation([0.0, 1.0, 2.0], [0.1, 0.2, 9.0]), 12)
    1.0
    """
    truth, found, weight = _check_truth(true_log_ratio, log_ratio, sample_weight)
    ranks = [_weighted_ranks(values, weight) for values in (truth, found)]
    one, other = (each - np.average(each, weights=weight) for each in ranks)
    scale = np.sqrt((weight @ one**2) * (weight @ other**2))
    if scale == 0:
        return 0.0
    return float(np.clip(weight @ (one * other) / scale, -1, 1))


def _check_truth(true_log_ratio, log_ratio, sample_weight):
    truth, found, weight = _check_rows(
        ("true_log_ratio", "log_ratio"),
        true_log_ratio,
        log_ratio,
        sample_weight=sample_weight,
    )
    rows = weight > 0
    if not rows.any():
        raise ValueError(
            "A comparison with the true ratio needs rows of positive weight, got none."
        )
    return truth[rows], found[rows], weight[rows]


def _weighted_ranks(values, weight):
    """Mid-ranks, as if each row were repeated as often as its weight says."""
    _, group = np.unique(values, return_inverse=True)
    total = np.bincount(group, weight)
    # The mean of the ranks in a group, less a half, which no correlation sees.
    return (np.cumsum(total) - total / 2)[group]
