"""Means of functions of a ratio over the two samples, with standard errors."""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

from skdre._core.groups import sums_over
from skdre._core.types import Floats
from skdre.base import exp_log_ratio

__all__ = [
    "Estimate",
    "donsker_varadhan",
    "log_ratio_mean",
    "nwj",
    "standard_error",
]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number estimated from a density ratio, with its standard error.

    ``float(estimate)`` is the number.

    Attributes
    ----------
    value : float
        In `unit`.
    standard_error : float
        Of `value`, for a ratio of the right form.
    kind : str
        Which mean of the ratio was taken.
    log_ratios : ndarray of shape (n_numerator,)
        Log ratio at the numerator's rows, each from a ratio that was fitted without it.
    denominator_log_ratios : ndarray of shape (n_denominator,) or (n_pairs, n_shifts)
        The same at the denominator's rows.
    unit : str, default="nats"
        Empty for a number without a unit, as the total variation.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre.information import Estimate
    >>> estimate = Estimate(0.5, 0.1, "direct", np.zeros(3), np.zeros(3))
    >>> estimate
    Estimate(0.500 ± 0.100 nats, kind='direct')
    >>> float(estimate)
    0.5
    >>> low, high = estimate.confidence_interval(0.95)
    >>> print(f"{low:.3f} to {high:.3f}")
    0.304 to 0.696
    """

    value: float
    standard_error: float
    kind: str
    log_ratios: Floats = field(repr=False)
    denominator_log_ratios: Floats = field(repr=False)
    unit: str = "nats"

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self):
        value = f"{self.value:.3f} ± {self.standard_error:.3f} {self.unit}".rstrip()
        return f"{type(self).__name__}({value}, kind={self.kind!r})"

    def confidence_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval of a normal distribution around the value.

        Parameters
        ----------
        level : float, default=0.95
            Probability that it covers the truth, if the ratio is of the right form.

        Returns
        -------
        low, high : float
            In `unit`.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level!r}.")
        half = norm.ppf((1 + level) / 2) * self.standard_error
        return self.value - half, self.value + half


def standard_error(numerator, denominator=None, columns=None, cluster=None):
    r"""Standard error of a mean over pairs, less a mean over shifted pairs.

    Of :math:`\frac{1}{n} \sum_i a_i - \frac{1}{n m} \sum_{ik} b_{ik}`, where
    :math:`b_{ik}` stands at :math:`(x_i, y_{j(i, k)})`: each x and each y takes part in
    one a and in m values of b.

    Parameters
    ----------
    numerator : ndarray of shape (n_pairs,)
        a.
    denominator : ndarray of shape (n_pairs, n_shifts), default=None
        b; none if the second mean is left out.
    columns : ndarray of int of shape (n_pairs, n_shifts), default=None
        j, each pair's number once in every column.
    cluster : ndarray of int of shape (n_pairs,), default=None
        Number of the independent observation that each pair belongs to; each is one
        without it.

    Returns
    -------
    standard_error : float

    Notes
    -----
    The variance is that of the sum of what each pair contributes through its x and
    through its y (the first projections of a U-statistic). What is random in b beyond
    them is counted through x and through y, so it is taken off once, as in clustering
    two ways.
    """
    n = len(numerator)
    influence = numerator - numerator.mean()
    twice = 0.0
    if denominator is not None:
        deviation = denominator - denominator.mean()
        through_y = np.bincount(columns.ravel(), deviation.ravel(), minlength=n)
        n_shifts = denominator.shape[1]
        influence = influence - (deviation.sum(axis=1) + through_y) / n_shifts
        if cluster is None:
            twice = np.sum(deviation**2) / n_shifts**2
        else:
            x, y = np.repeat(cluster, n_shifts), cluster[columns].ravel()
            both = x.astype(np.int64) * (cluster.max() + 1) + y
            twice = np.sum(sums_over(both, deviation.ravel()) ** 2) / n_shifts**2
    totals = sums_over(cluster, influence)
    total = np.sum(totals**2)
    # The difference estimates a variance and can be below 0 by chance; what is counted
    # twice is at most half.
    variance = max(total - twice, total / 2) / n**2
    return float(np.sqrt(variance * len(totals) / (len(totals) - 1)))


def log_ratio_mean(numerator_log_ratio, denominator_log_ratio, columns, cluster=None):
    """Mean of the log ratio over the numerator, and its standard error."""
    error = standard_error(numerator_log_ratio, cluster=cluster)
    return float(np.mean(numerator_log_ratio)), error


def nwj(numerator_log_ratio, denominator_log_ratio, columns, cluster=None):
    """The bound of Nguyen, Wainwright, Jordan: E_p[log r] - E_q[r] + 1."""
    ratio = exp_log_ratio(denominator_log_ratio)
    with np.errstate(over="ignore", invalid="ignore"):
        value = np.mean(numerator_log_ratio) - ratio.mean() + 1
        error = standard_error(numerator_log_ratio, ratio, columns, cluster)
    return float(value), error if np.isfinite(error) else np.inf


def donsker_varadhan(numerator_log_ratio, denominator_log_ratio, columns, cluster=None):
    """The bound of Donsker and Varadhan: E_p[log r] - log E_q[r]."""
    log_mean = logsumexp(denominator_log_ratio) - np.log(denominator_log_ratio.size)
    # To first order log E_q[r] moves as the mean of r / E_q[r] does.
    relative = np.exp(denominator_log_ratio - log_mean)
    value = np.mean(numerator_log_ratio) - log_mean
    error = standard_error(numerator_log_ratio, relative, columns, cluster)
    return float(value), error
