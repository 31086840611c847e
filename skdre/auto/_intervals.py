"""How sure a log ratio is: the spread of its fits, its misfit, and where rows are."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import ncx2, norm, t
from sklearn.utils.validation import check_is_fitted

from skdre._core.docs import fill_class
from skdre._core.groups import sums_over
from skdre._core.types import Floats, Rows
from skdre.base import exp_log_ratio

__all__ = [
    "Cubic",
    "Evidence",
    "IntervalMixin",
    "Misfit",
    "Spread",
    "Support",
    "half_width",
    "jackknife_scale",
    "jackknife_std",
]

# Observations for each term of the misfit, at least.
_PER_TERM = 12
# Standardised values that the terms of the misfit go to.
_FAR = 2.5
# How far beyond the rows of a sample, in parts of their range, a column may reach.
_MARGIN = 0.25
# Ratio of bias to standard deviation from which one end alone can be missed.
_ONE_SIDED = 6.0


def jackknife_scale(shares):
    """What the squared deviations of fits are multiplied by for a variance.

    Parameters
    ----------
    shares : ndarray of shape (n_folds, n_rows)
        The share of each row that a fit has seen.

    Returns
    -------
    scale : float
        (K - 1) / K where each of K fits leaves out a part of its own.
    """
    n_folds = len(shares)
    if np.ptp(shares.sum(axis=0)) < 1e-9:
        # All rows are seen m times: a mean of m of K parts, against that of all.
        m = shares[:, 0].sum()
        return m / (n_folds * (n_folds - m))
    seen = shares.mean()
    return seen / (1 - seen) / (n_folds - 1)


def jackknife_std(log_ratios, scale):
    """Standard deviation of an estimate from fits without a part of the rows.

    Parameters
    ----------
    log_ratios : list of ndarray of shape (n_folds, n_samples)
        Of the fits of each repeat.
    scale : float
        See :func:`jackknife_scale`.

    Returns
    -------
    std : ndarray of shape (n_samples,)
    """
    variances = [((each - each.mean(0)) ** 2).sum(0) * scale for each in log_ratios]
    return np.sqrt(np.mean(variances, axis=0))


@dataclass(frozen=True)
class Misfit:
    r"""What held-out rows say is missing in a log ratio, as two polynomials.

    The log odds of the domain at held-out rows are those of the log ratio f plus
    :math:`\delta(x)`: a polynomial of the third degree in f, then one in the columns.
    One after the other, for f varies over folds, against what they hold out: beside
    columns that f is a line in, nothing but that would be left of it. Either is
    multiplied by the factor of James and Stein, which is 0 where sampling noise alone
    would make as much of it.

    Attributes
    ----------
    calibration, columns : Cubic
    """

    calibration: Any
    columns: Any

    @classmethod
    def of(cls, log_ratio, numbers, is_numerator, weight, cluster=None):
        """Learn it from log ratios at rows that their fits had not seen.

        Parameters
        ----------
        log_ratio : ndarray of shape (n_rows,)
        numbers : ndarray of shape (n_rows, n_columns)
            Columns, NaN where values are missing.
        is_numerator : ndarray of bool of shape (n_rows,)
        weight : ndarray of shape (n_rows,)
            In draws.
        cluster : ndarray of int of shape (n_rows,), default=None
            Numbers of the independent observations.
        """
        rows = is_numerator, weight, cluster
        calibration = Cubic.of(log_ratio[:, None], log_ratio, *rows)
        found = log_ratio + calibration.at(log_ratio[:, None])
        return cls(calibration, Cubic.of(numbers, found, *rows))

    @property
    def is_blind(self):
        """Whether rows were too few to look at the columns."""
        return not self.columns.center.size

    def at(self, log_ratio, numbers):
        """What is missing in the log ratio at rows."""
        return self.calibration.at(log_ratio[:, None]) + self.columns.at(numbers)


@dataclass(frozen=True)
class Cubic:
    """A polynomial of the third degree in each variable, without products.

    Attributes
    ----------
    center, scale : ndarray of shape (n_variables,)
        Median, and a standard deviation by the quartiles.
    coef : ndarray of shape (1 + 3 * n_variables,)
        Of 1, the variables, their squares and cubes; empty where all are 0.
    """

    center: np.ndarray
    scale: np.ndarray
    coef: np.ndarray

    @classmethod
    def of(cls, variables, log_ratio, is_p, weight, cluster):
        """What the log ratio lacks, by logistic regression of the domain."""
        n_p, n_q = (len_of(cluster, weight, part) for part in (is_p, ~is_p))
        if min(n_p, n_q) < _PER_TERM * (3 * variables.shape[1] + 1):
            return cls(*np.empty((3, 0)))
        center, scale = np.array([_middle(each) for each in variables.T]).T
        balanced = weight / np.where(is_p, weight[is_p].sum(), weight[~is_p].sum())
        balanced *= (n_p + n_q) / 2
        terms = cls(center, scale, np.empty(0)).terms(variables)
        coef = _missing_coef(terms, log_ratio, is_p, balanced, cluster)
        return cls(center, scale, coef)

    def terms(self, variables):
        """Its terms at rows; far values, which would own them, are drawn in."""
        Z = np.nan_to_num((variables - self.center) / self.scale)
        Z = np.clip(Z, -_FAR, _FAR)
        return np.column_stack([np.ones(len(Z)), Z, Z**2, Z**3 / 3])

    def at(self, variables):
        """Its values."""
        if not self.coef.size:
            return np.zeros(len(variables))
        return self.terms(variables) @ self.coef


def _middle(values):
    """Median and scale of finite values; an infinite scale where they are equal."""
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, np.inf
    low, center, high = np.quantile(values, [0.25, 0.5, 0.75])
    scale = (high - low) / (2 * norm.ppf(0.75)) or values.std()
    return center, scale if scale > 1e-12 * abs(center) else np.inf


def len_of(cluster, weight, part):
    """Independent observations in a part of the rows."""
    return weight[part].sum() if cluster is None else len(np.unique(cluster[part]))


def _missing_coef(terms, log_ratio, is_p, weight, cluster):
    """Coefficients that are missing in the log odds, shrunk; empty where all are 0."""
    coef = np.zeros(terms.shape[1])
    # As heavy as one row whose variables are of unit size: terms without spread stay 0.
    ridge = np.eye(len(coef))
    for _ in range(30):
        p = expit(log_ratio + terms @ coef)
        slope = terms.T @ (weight * (is_p - p)) - ridge @ coef
        curvature = (terms * (weight * p * (1 - p))[:, None]).T @ terms + ridge
        step = np.linalg.solve(curvature, slope)
        # Samples that lie apart have next to no curvature.
        step *= min(1.0, 1.0 / max(np.abs(step).max(), 1e-300))
        coef = coef + step
        if np.abs(step).max() < 1e-6:
            break
    each = terms * (weight * (is_p - p))[:, None]
    each = np.column_stack([sums_over(cluster, column) for column in each.T])
    # (C^-1 M C^-1)^-1 = C M^-1 C, M the scores' second moment.
    moved = curvature @ coef
    evidence = moved @ np.linalg.pinv(each.T @ each, hermitian=True) @ moved
    # Noise makes as many; but the fits have found some of that already.
    noise = len(coef) / 2
    if evidence <= noise:
        return np.empty(0)
    return coef * np.sqrt(1 - noise / evidence)


@dataclass(frozen=True)
class Support:
    """Where the rows of the two samples lie; the denominator's stand first.

    Attributes
    ----------
    low, high : ndarray of shape (2, n_columns)
        How far the columns of a sample reach, with a margin.
    extreme : ndarray of shape (2,)
        The largest log ratio at rows of the denominator, and the smallest at those of
        the numerator, held out.
    n : ndarray of shape (2,)
        Independent observations.
    """

    low: np.ndarray
    high: np.ndarray
    extreme: np.ndarray
    n: np.ndarray

    @classmethod
    def of(cls, log_ratio, numbers, is_numerator, weight, cluster=None):
        """That of distinct rows; see :meth:`Misfit.of`."""
        parts = ~is_numerator, is_numerator
        lows, highs = [], []
        for part in parts:
            low = np.fmin.reduce(numbers[part], axis=0, initial=np.inf)
            high = np.fmax.reduce(numbers[part], axis=0, initial=-np.inf)
            with np.errstate(over="ignore", invalid="ignore"):
                margin = np.nan_to_num(_MARGIN * (high - low))
            lows.append(low - margin)
            highs.append(high + margin)
        return cls(
            np.array(lows),
            np.array(highs),
            np.array([log_ratio[parts[0]].max(), log_ratio[parts[1]].min()]),
            np.array([len_of(cluster, weight, part) for part in parts], float),
        )

    def beyond(self, log_ratio, numbers):
        """Which rows lie beyond all rows of the denominator, and of the numerator."""
        far_q, far_p = (
            ((numbers < low) | (numbers > high)).any(axis=1)
            for low, high in zip(self.low, self.high, strict=True)
        )
        return (
            far_q | (log_ratio > self.extreme[0]),
            far_p | (log_ratio < self.extreme[1]),
        )


@dataclass(frozen=True)
class Evidence:
    """What a fit keeps for its intervals.

    Attributes
    ----------
    misfit : Misfit
    support : Support
    scale : float
        See :func:`jackknife_scale`.
    n_folds : int
    """

    misfit: Misfit
    support: Support
    scale: float
    n_folds: int

    @classmethod
    def of(cls, scale, n_folds, *rows):
        """That of fits and what they say of held-out rows; see :meth:`Misfit.of`."""
        return cls(Misfit.of(*rows), Support.of(*rows), scale, n_folds)


@dataclass(frozen=True)
class Spread:
    """A log ratio at new rows, and what its fits say.

    Attributes
    ----------
    log_ratio : ndarray of shape (n_samples,)
        The answer.
    fits : list of ndarray of shape (n_folds, n_samples)
        Of the fits of each repeat.
    numbers : ndarray of shape (n_samples, n_columns)
    bias : ndarray of shape (n_samples,), default=0
        What may be missing beside the misfit.
    """

    log_ratio: np.ndarray
    fits: list[np.ndarray]
    numbers: np.ndarray
    bias: Any = 0.0


def half_width(std, bias, level):
    """Half the width of an interval that allows for a bias, in standard deviations.

    The quantile of the absolute value of a normal variable with that mean: half the
    interval covers with the level wherever the bias is at most so large.

    Parameters
    ----------
    std, bias : ndarray of shape (n_samples,)
        Not negative.
    level : float

    Returns
    -------
    half : ndarray of shape (n_samples,)
    """
    grid = np.linspace(0, _ONE_SIDED, 121)
    quantiles = np.sqrt(ncx2.ppf(level, 1, grid**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(std > 0, bias / std, np.inf)
    inside = std * np.interp(relative, grid, quantiles)
    return np.where(relative < _ONE_SIDED, inside, bias + std * norm.ppf(level))


def check_level(level):
    if not isinstance(level, Real) or isinstance(level, bool) or not 0 < level < 1:
        raise ValueError(f"level must be a number between 0 and 1, got {level!r}.")
    return float(level)


class IntervalMixin:
    """Intervals of an estimator with ``_spread(X)`` and ``_evidence``.

    ``_evidence`` is None where a sample has a single observation.
    """

    _evidence: Any
    _spread: Any

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        fill_class(cls)

    def log_ratio_std(self, X: Rows) -> Floats:
        """Standard deviation of the log ratio at the rows of X, over samples.

        How much the log ratio would differ with other rows from the same two
        distributions. It knows of no bias and of no wrong model.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        std : ndarray of shape (n_samples,)
            In nats; infinite where a sample had a single observation.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        found = self._spread(X)
        if self._evidence is None:
            return np.full(len(found.log_ratio), np.inf)
        return jackknife_std(found.fits, self._evidence.scale)

    def ratio_interval(self, X: Rows, level: float = 0.9) -> tuple[Floats, Floats]:
        """Interval for the density ratio at each row of X.

        Around ``predict_ratio``, wide enough for the sampling error and for the misfit
        that the held-out rows show. Where a row lies beyond all rows of one sample, the
        end on that side is open. See the notes of the class.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        level : float, default=0.9
            Probability, at each single row, with which the interval is to hold the
            ratio; between 0 and 1.

        Returns
        -------
        lower, upper : ndarray of shape (n_samples,)
            Of the ratio, 0 <= lower <= predict_ratio(X) <= upper <= infinity.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        NotFittedError
            If the estimator is not fitted.
        """
        level = check_level(level)
        check_is_fitted(self)
        found = self._spread(X)
        lower, upper = log_ratio_ends(found, self._evidence, level)
        with np.errstate(over="ignore"):
            ratio = exp_log_ratio(found.log_ratio)
            return np.minimum(np.exp(lower), ratio), np.maximum(np.exp(upper), ratio)


def log_ratio_ends(found, evidence, level):
    """Ends of the interval of the log ratio.

    Parameters
    ----------
    found : Spread
    evidence : Evidence or None
    level : float

    Returns
    -------
    lower, upper : ndarray of shape (n_samples,)
    """
    f = found.log_ratio
    if evidence is None:
        return np.full(len(f), -np.inf), np.full(len(f), np.inf)
    freedom = len(found.fits) * (evidence.n_folds - 1)
    tail = (1 + level) / 2
    # Of few fits the standard deviation is uncertain itself.
    std = jackknife_std(found.fits, evidence.scale)
    std = std * (t.ppf(tail, freedom) / norm.ppf(tail))
    if evidence.misfit.is_blind:
        # What shrinks a difference of few rows away does so whichever row is left out,
        # and the means may differ by what noise alone makes in all columns.
        noise = found.numbers.shape[1] * np.sum(1 / evidence.support.n)
        std = np.maximum(std, np.sqrt(noise))
    bias = np.abs(evidence.misfit.at(f, found.numbers)) + found.bias
    half = half_width(std, bias, level)
    lower, upper = f - half, f + half
    beyond_q, beyond_p = evidence.support.beyond(f, found.numbers)
    # So many of n rows may be missing by chance: n rows show no ratio beyond n over it.
    n_q, n_p = evidence.support.n / -np.log((1 - level) / 2)
    lower = np.where(beyond_q, np.minimum(lower, np.log(n_q)), lower)
    upper = np.where(beyond_p, np.maximum(upper, -np.log(n_p)), upper)
    return np.where(beyond_p, -np.inf, lower), np.where(beyond_q, np.inf, upper)
