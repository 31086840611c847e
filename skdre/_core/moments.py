"""The first two moments of two samples, shrunk together.

Sample covariances are noisy, and a log ratio of Gaussians feels their difference, which
is noisier still. What the samples do not tell is shrunk away here, once, for all that
look at moments.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skdre._core.arrays import place_of
from skdre._core.scales import FAR, FAR_SINGLE, draw_in

__all__ = [
    "JointMoments",
    "PooledMoments",
    "SampleMoments",
    "Shrinkage",
    "joint_moments",
    "shrunk_moments",
    "size_of",
]

# A variance below this share of the mean of both is taken as this.
_LEAST_SPREAD = 1e-6

# A direction of less variance than this share of the widest's is a rounding error.
_LEAST_SIZE = 1e-10

# A sum of squares is shrunk by what noise is at this many standard deviations above its
# mean, and by the mean where it is three times as far above it: the mean alone would
# keep half of the differences that are noise.
_NOISE_ERRORS = 3.0

# A pooled covariance with a smaller share than this of the least eigenvalue of the one
# that is shrunk by a formula has lost too much to thresholds.
_LEAST_EIGENVALUE = 0.05

# Rounding error of a weighted mean of values of size 1.
_ROUNDING = 64 * np.finfo(np.float64).eps


class SampleMoments(NamedTuple):
    """Mean and covariance of a sample, and the observations that it is worth."""

    mean: np.ndarray
    covariance: np.ndarray
    n_rows: float

    @classmethod
    def of_sums(cls, weight, rows, products, n_rows=None):
        """Those of sums over the rows of w, w x and w x x'.

        Rows that lie far from 0 have to be moved there before they are summed up.
        `n_rows` is what covariances are divided by, if that is not the first sum.
        """
        n_rows = weight if n_rows is None else n_rows
        mean = rows / weight
        return cls(mean, (products - np.outer(rows, mean)) / n_rows, n_rows)


@dataclass(frozen=True)
class Shrinkage:
    """Rules by which the differences of two samples' moments are shrunk.

    Attributes
    ----------
    means, covariances : {"james-stein", "linear", "none", "equal"} or float
        * "james-stein": a common factor, which makes the sum of squares the one that
          is expected without noise, less where noise alone may well make it;
        * "linear": the smaller common factor with the least expected error;
        * "none", "equal": all of the difference, and nothing of it;
        * a number: entries smaller than so many standard errors are 0, and of the
          others that times the standard error, times what it is of them, is taken off.
          Off the diagonal the pooled covariance is treated alike.
    """

    means: str | float = "james-stein"
    covariances: str | float = "james-stein"


@dataclass(frozen=True)
class JointMoments:
    """Two Gaussians in coordinates where both have independent columns.

    There the mean of the two covariances is the identity, both are diagonal, and the
    means lie at -shift / 2 (the denominator's) and shift / 2.

    Attributes
    ----------
    means : ndarray of shape (2, n_features)
        The denominator's and the numerator's.
    covariances : ndarray of shape (2, n_features, n_features)
        The denominator's and the numerator's.
    center : ndarray of shape (n_features,)
        Middle of the two means.
    components : ndarray of shape (n_features, n_features)
        The coordinates are ``(X - center) @ components``.
    shift : ndarray of shape (n_features,)
        Mean of the numerator minus that of the denominator, in the coordinates.
    denominator, numerator : ndarray of shape (n_features,)
        Variances along the coordinates; they sum to 2.
    shrinkage : tuple of float
        What the difference of the means, and of the covariances, was multiplied by.
    low, high : ndarray of shape (n_features,) or float
        What values are drawn in to, see :class:`skdre._core.scales.ColumnScales`.
    df : float
        Degrees of freedom: the log ratio is that of two multivariate t distributions
        whose scatter matrices the covariances are; infinity for Gaussians.
    """

    means: np.ndarray
    covariances: np.ndarray
    center: np.ndarray
    components: np.ndarray
    shift: np.ndarray
    denominator: np.ndarray
    numerator: np.ndarray
    shrinkage: tuple = (1.0, 1.0)
    low: np.ndarray | float = -np.inf
    high: np.ndarray | float = np.inf
    df: float = np.inf

    @property
    def noise(self):
        """Covariance, in the coordinates, of noise that is N(0, I) in the columns."""
        return self.components.T @ self.components

    def coordinates(self, X):
        """Rows in the joint coordinates, kept from overflow; same shape as X."""
        with np.errstate(over="ignore", invalid="ignore"):
            Z = (draw_in(X, self.low, self.high) - self.center) @ self.components
        place = place_of(Z)
        if not place.is_host:
            xp = place.xp
            far = FAR if place.dtype == xp.float64 else FAR_SINGLE
            missing = xp.isnan(Z)
            return xp.where(missing, place.full((), far), xp.clip(Z, -far, far))
        return np.clip(np.nan_to_num(Z, nan=FAR), -FAR, FAR)

    def log_density(self, Z, share):
        """Log density of a Gaussian on the way, less d log(2 pi) / 2.

        Parameters
        ----------
        Z : ndarray of shape (n_samples, n_features)
            Rows in the joint coordinates.
        share : tuple (mean, a, b) of float
            The Gaussian has the mean (mean - 1/2) shift and the variances
            a^2 denominator + b^2 numerator: (0, 1, 0) is the denominator, (1, 0, 1)
            the numerator.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
        """
        mean, a, b = share
        variance = a**2 * self.denominator + b**2 * self.numerator
        deviation = Z - (mean - 0.5) * self.shift
        xp = place_of(Z).xp
        return -0.5 * (deviation**2 @ (1 / variance) + xp.sum(xp.log(variance)))

    def _squares(self, Z):
        """Squared distances of rows from the denominator, and from the numerator."""
        q = (Z + self.shift / 2) ** 2 @ (1 / self.denominator)
        return q, (Z - self.shift / 2) ** 2 @ (1 / self.numerator)

    def log_ratio(self, X):
        """Log ratio of the two distributions at the rows of X."""
        Z = self.coordinates(X)
        if np.isinf(self.df):
            return self.log_density(Z, (1, 0, 1)) - self.log_density(Z, (0, 1, 0))
        xp = place_of(Z).xp
        q, p = (xp.log1p(each / self.df) for each in self._squares(Z))
        size = xp.sum(xp.log(self.denominator / self.numerator))
        return ((self.df + self.shift.shape[0]) * (q - p) + size) / 2

    def log_ratio_gradient(self, X):
        """Gradient of the log ratio by the rows of X, of their shape."""
        Z = self.coordinates(X)
        by_q = (Z + self.shift / 2) / self.denominator
        by_p = (Z - self.shift / 2) / self.numerator
        if not np.isinf(self.df):
            factors = ((self.df + len(self.shift)) / (self.df + each)
                       for each in self._squares(Z))  # fmt: skip
            by_q, by_p = (
                each * factor[:, None]
                for each, factor in zip((by_q, by_p), factors, strict=True)
            )
        inside = (self.low <= X) & (self.high >= X)
        return np.where(inside, (by_q - by_p) @ self.components.T, 0.0)


def _mean_and_covariance(X, weight):
    share = weight / weight.sum()
    mean = share @ X
    centered = X - mean
    return mean, (centered * share[:, None]).T @ centered


def _shrunk(S, n_rows):
    """A covariance, shrunk towards a multiple of the identity."""
    d = len(S)
    mean = np.trace(S) / d
    if mean == 0:
        return np.eye(d)
    spread = np.mean(S**2)
    excess = (n_rows + 1) * (spread - mean**2 / d)
    share = min((spread + mean**2) / excess, 1.0) if excess > 0 else 1.0
    return (1 - share) * S + share * mean * np.eye(d)


def _whitening_of(size, axes):
    """Matrix that makes a covariance the identity, and leaves out what has no size."""
    if size[-1] <= 0:
        return axes
    has_spread = size > _LEAST_SIZE * size[-1]
    return axes * np.where(has_spread, 1 / np.sqrt(np.where(has_spread, size, 1)), 0)


def _signal_share(values, noise, error):
    """Factor that takes the noise off a sum of squares; 0 if there is nothing else.

    The noise is a sum over many values, whose relative standard deviation is `error`.
    It is taken to be a few of these above its mean,
    unless the total is so large that this hardly matters.
    """
    total = np.sum(values**2)
    if total == 0:
        return 1.0
    # In standard deviations of the noise, over its mean.
    excess = (total / noise - 1) / error
    errors = _NOISE_ERRORS * np.clip(2 - excess / (1.5 * _NOISE_ERRORS), 0, 1)
    return np.sqrt(max(0.0, 1 - noise * (1 + errors * error) / total))


def _linear_share(values, noise):
    """Factor with the least expected squared error, of `noise` in a sum of squares."""
    total = np.sum(values**2)
    return max(0.0, 1 - noise / total) if total > 0 else 1.0


def _thresholded(values, threshold):
    """What is left of values beyond a threshold, hardly less where they are large."""
    with np.errstate(divide="ignore", invalid="ignore"):
        left = values - threshold**2 / values
    return np.where(np.abs(values) > threshold, left, 0.0)


def _kept(left, values):
    """Length of what is left of values, as a share of theirs."""
    length = np.linalg.norm(values)
    return float(np.linalg.norm(left) / length) if length > 0 else 1.0


class PooledMoments:
    """The moments of two samples in units of the columns, ready to be shrunk.

    Parameters
    ----------
    denominator, numerator : SampleMoments
        In units in which nothing under- or overflows.
    """

    def __init__(self, denominator, numerator):
        variance = np.diag(denominator.covariance) / 2
        variance = variance + np.diag(numerator.covariance) / 2
        # The values are of size 1: a spread below their rounding error is none.
        variance = np.where(variance > _ROUNDING**2, variance, 0.0)
        self.has_spread = bool(variance.any())
        self.sd = np.sqrt(np.where(variance > 0, variance, 1.0))
        S_q, S_p = (
            each.covariance / np.outer(self.sd, self.sd)
            for each in (denominator, numerator)
        )
        self.pooled, self.half = (S_q + S_p) / 2, (S_p - S_q) / 2
        self.shift = (numerator.mean - denominator.mean) / self.sd
        self.middle = (numerator.mean + denominator.mean) / 2
        self.d = len(self.sd)
        self.noise_rate = 1 / denominator.n_rows + 1 / numerator.n_rows
        # Of few rows for each column the pooled covariance is uncertain itself.
        self.doubt = 1 + self.d * self.noise_rate
        self._shrunk = None

    def _formula(self):
        """The pooled covariance shrunk by the formula, and its spectrum."""
        if self._shrunk is None:
            shrunk = _shrunk(self.pooled, 4 / self.noise_rate)
            self._shrunk = shrunk, np.linalg.eigh(shrunk)
        return self._shrunk

    def covariances(self, rule):
        """Axes in which both covariances are diagonal, and these, by a rule.

        Returns
        -------
        whiten : ndarray of shape (n_features, n_features)
            Makes the pooled covariance the identity and the half difference diagonal.
        excess : ndarray of shape (n_features,)
            The half difference.
        pooled, half : ndarray of shape (n_features, n_features)
        kept : float
            The share of the difference that is left.
        """
        pooled, half, kept, spectrum = self.pooled, self.half, 1.0, None
        if rule in ("james-stein", "linear"):
            shrunk, spectrum = self._formula()
            whiten = _whitening_of(*spectrum)
            white = whiten.T @ half @ whiten
            n_entries = self.d * (self.d + 1) / 2
            noise = n_entries / 2 * self.noise_rate
            if rule == "linear":
                kept = _linear_share(white, noise)
            else:
                error = self.doubt * np.sqrt(2 / n_entries)
                kept = float(_signal_share(white, noise, error))
            pooled = kept * pooled + (1 - kept) * shrunk
            half, spectrum = kept * half, None
        elif rule == "equal":
            pooled, spectrum = self._formula()
            half, kept = np.zeros_like(half), 0.0
        elif rule != "none":
            errors = np.sqrt(self.noise_rate * (1 + pooled**2)) / 2
            half = _thresholded(half, rule * errors)
            kept = _kept(half, self.half)
            pooled = _thresholded(pooled, rule * np.sqrt(self.noise_rate) / 2)
            np.fill_diagonal(pooled, np.diag(self.pooled))
            spectrum = np.linalg.eigh(pooled)
            shrunk, own = self._formula()
            if spectrum[0][0] < _LEAST_EIGENVALUE * own[0][0]:
                pooled, spectrum = shrunk, own
        whiten = _whitening_of(
            *(np.linalg.eigh(pooled) if spectrum is None else spectrum)
        )
        excess, axes = np.linalg.eigh(whiten.T @ half @ whiten)
        excess = np.clip(excess, _LEAST_SPREAD - 1, 1 - _LEAST_SPREAD)
        return whiten @ axes, excess, pooled, half, kept

    def means(self, rule, whiten):
        """Difference of the means in units of the columns, by a rule, and its share."""
        # Of a single row each there is no spread to hold the difference against.
        if rule == "none" or not self.has_spread:
            return self.shift, 1.0
        if rule == "equal":
            return np.zeros_like(self.shift), 0.0
        noise = self.d * self.noise_rate
        if rule == "linear":
            kept = _linear_share(self.shift @ whiten, noise)
        elif rule == "james-stein":
            error = self.doubt * np.sqrt(2 / self.d)
            kept = float(_signal_share(self.shift @ whiten, noise, error))
        else:
            shift = _thresholded(self.shift, rule * np.sqrt(self.noise_rate))
            return shift, _kept(shift, self.shift)
        return kept * self.shift, kept


def shrunk_moments(
    denominator,
    numerator,
    shrinkage=None,
    *,
    origin=0.0,
    unit=1.0,
    low=-np.inf,
    high=np.inf,
    df=np.inf,
):
    """Two Gaussians, or t distributions, of the shrunk moments of two samples.

    Parameters
    ----------
    denominator, numerator : SampleMoments
        Of rows from which `origin` was taken and that were divided by `unit`, so that
        nothing under- or overflows.
    shrinkage : Shrinkage, default=None
        The rules; None is James and Stein's for both differences.
    origin, unit : ndarray of shape (n_features,) or float
        Of the moments' units.
    low, high, df
        Of the result, see :class:`JointMoments`.

    Returns
    -------
    moments : JointMoments
    """
    shrinkage = Shrinkage() if shrinkage is None else shrinkage
    both = PooledMoments(denominator, numerator)
    whiten, excess, pooled, half, kept = both.covariances(shrinkage.covariances)
    shift, shift_kept = both.means(shrinkage.means, whiten)
    sd = both.sd * unit
    middle, half_way = origin + both.middle * unit, shift * sd / 2
    size = np.outer(sd, sd)
    return JointMoments(
        means=np.stack([middle - half_way, middle + half_way]),
        covariances=np.stack([(pooled - half) * size, (pooled + half) * size]),
        center=middle,
        components=whiten / sd[:, None],
        shift=shift @ whiten,
        denominator=1 - excess,
        numerator=1 + excess,
        shrinkage=(shift_kept, kept),
        low=low,
        high=high,
        df=df,
    )


def size_of(samples):
    """Origin and unit of the columns in which nothing under- or overflows."""
    origin = samples[0][0]
    unit = np.maximum(*(np.abs(X - origin).max(axis=0) for X in samples))
    return origin, np.where(unit > 0, unit, 1.0)


def joint_moments(
    denominator, numerator, weights=(None, None), *, shrink=True, scales=None
):
    """Moments of two samples, with what they do not tell shrunk away.

    As squared lengths the differences of two samples' moments are larger than the truth
    by what sampling adds: for Gaussians, in units of the pooled covariance, by
    d (1 / n_q + 1 / n_p) for the means, and by d (d + 1) / 4 times the same for half
    the difference of the covariances. That is taken off by a common factor for all
    directions (James and Stein's idea, positive part; differences that noise alone may
    well make are left out), and what is taken from the
    covariances goes to the pooled one, itself shrunk towards a multiple of the identity
    by the oracle-approximating formula of [1]_. So two samples of one distribution have
    moments that hardly differ, in any dimension, and with many rows nothing changes.

    Parameters
    ----------
    denominator, numerator : ndarray of shape (n_rows, n_features)
        Rows.
    weights : pair of ndarray of shape (n_rows,) or None
        Of the denominator's and of the numerator's rows, in draws.
    shrink : bool, default=True
        Whether to shrink at all; otherwise these are the sample moments.
    scales : skdre._core.scales.ColumnScales, default=None
        Whose bounds rows are drawn in to; None takes the rows as they are.

    Returns
    -------
    moments : JointMoments

    References
    ----------
    .. [1] Y. Chen, A. Wiesel, Y. Eldar, A. Hero. "Shrinkage algorithms for MMSE
       covariance estimation", IEEE Transactions on Signal Processing 58, 2010.
    """
    samples = [np.asarray(each, np.float64) for each in (denominator, numerator)]
    weights = [
        np.ones(len(X)) if weight is None else np.asarray(weight, np.float64)
        for X, weight in zip(samples, weights, strict=True)
    ]
    low, high = (-np.inf, np.inf) if scales is None else (scales.low, scales.high)
    samples = [draw_in(X, low, high) for X in samples]
    origin, unit = size_of(samples)
    q, p = (
        SampleMoments(*_mean_and_covariance((X - origin) / unit, weight), weight.sum())
        for X, weight in zip(samples, weights, strict=True)
    )
    shrinkage = Shrinkage() if shrink else Shrinkage("none", "none")
    return shrunk_moments(q, p, shrinkage, origin=origin, unit=unit, low=low, high=high)
