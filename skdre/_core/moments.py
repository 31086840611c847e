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
    """Mean and covariance of a sample, and the observations that it is worth.

    Or of several samples, along leading axes.
    """

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
        mean = rows / np.asarray(weight)[..., None]
        products = products - rows[..., :, None] * mean[..., None, :]
        return cls(mean, products / _matrices(n_rows), n_rows)


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


def _matrices(values):
    """Numbers with two axes more, to stand beside matrices."""
    return np.asarray(values)[..., None, None]


def _shrunk(S, n_rows):
    """A covariance, shrunk towards a multiple of the identity."""
    d = S.shape[-1]
    mean = np.trace(S, axis1=-2, axis2=-1) / d
    spread = np.mean(S**2, axis=(-2, -1))
    excess = (n_rows + 1) * (spread - mean**2 / d)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(excess > 0, np.minimum((spread + mean**2) / excess, 1.0), 1.0)
    level = np.where(mean == 0, 1.0, share * mean)
    return _matrices(1 - share) * S + _matrices(level) * np.eye(d)


def _whitening_of(size, axes):
    """Matrix that makes a covariance the identity, and leaves out what has no size."""
    most = size[..., -1:]
    has_spread = size > _LEAST_SIZE * most
    factor = np.where(has_spread, 1 / np.sqrt(np.where(has_spread, size, 1)), 0)
    return axes * np.where(most > 0, factor, 1.0)[..., None, :]


def _signal_share(total, noise, error):
    """Factor that takes the noise off a sum of squares; 0 if there is nothing else.

    The noise is a sum over many values, whose relative standard deviation is `error`.
    It is taken to be a few of these above its mean,
    unless the total is so large that this hardly matters.
    """
    # In standard deviations of the noise, over its mean.
    excess = (total / noise - 1) / error
    errors = _NOISE_ERRORS * np.clip(2 - excess / (1.5 * _NOISE_ERRORS), 0, 1)
    known = np.where(total > 0, total, 1.0)
    kept = np.sqrt(np.maximum(0.0, 1 - noise * (1 + errors * error) / known))
    return np.where(total > 0, kept, 1.0)


def _linear_share(total, noise):
    """Factor with the least expected squared error, of `noise` in a sum of squares."""
    known = np.where(total > 0, total, 1.0)
    return np.where(total > 0, np.maximum(0.0, 1 - noise / known), 1.0)


def _thresholded(values, threshold):
    """What is left of values beyond a threshold, hardly less where they are large."""
    with np.errstate(divide="ignore", invalid="ignore"):
        left = values - threshold**2 / values
    return np.where(np.abs(values) > threshold, left, 0.0)


def _kept(left, values, axis):
    """Length of what is left of values, as a share of theirs."""
    length = np.sqrt(np.sum(values**2, axis=axis))
    kept = np.sqrt(np.sum(left**2, axis=axis)) / np.where(length > 0, length, 1.0)
    return np.where(length > 0, kept, 1.0)


class PooledMoments:
    """The moments of two samples in units of the columns, ready to be shrunk.

    Or those of several pairs of samples, along leading axes of all arrays.

    Parameters
    ----------
    denominator, numerator : SampleMoments
        In units in which nothing under- or overflows.
    """

    def __init__(self, denominator, numerator):
        S_q, S_p = denominator.covariance, numerator.covariance
        variance = np.diagonal(S_q, axis1=-2, axis2=-1) / 2
        variance = variance + np.diagonal(S_p, axis1=-2, axis2=-1) / 2
        # The values are of size 1: a spread below their rounding error is none.
        variance = np.where(variance > _ROUNDING**2, variance, 0.0)
        self.has_spread = variance.any(axis=-1)
        self.sd = np.sqrt(np.where(variance > 0, variance, 1.0))
        size = self.sd[..., :, None] * self.sd[..., None, :]
        S_q, S_p = S_q / size, S_p / size
        self.pooled, self.half = (S_q + S_p) / 2, (S_p - S_q) / 2
        self.shift = (numerator.mean - denominator.mean) / self.sd
        self.middle = (numerator.mean + denominator.mean) / 2
        self.d = self.sd.shape[-1]
        n_q, n_p = (np.asarray(each.n_rows) for each in (denominator, numerator))
        self.noise_rate = 1 / n_q + 1 / n_p
        # Of few rows for each column the pooled covariance is uncertain itself.
        self.doubt = 1 + self.d * self.noise_rate
        self._shrunk = None

    def _formula(self):
        """The pooled covariance shrunk by the formula, its spectrum, and a sum.

        That of the squares of the half difference, whitened by it.
        """
        if self._shrunk is None:
            shrunk = _shrunk(self.pooled, 4 / self.noise_rate)
            spectrum = np.linalg.eigh(shrunk)
            white = _congruent(_whitening_of(*spectrum), self.half)
            self._shrunk = shrunk, spectrum, np.sum(white**2, axis=(-2, -1))
        return self._shrunk

    def _by_rule(self, rule):
        """Both matrices by a rule, the share that is left, and the first's spectrum."""
        pooled, half, kept = self.pooled, self.half, np.ones_like(self.noise_rate)
        if rule == "none":
            return pooled, half, kept, np.linalg.eigh(pooled)
        if rule == "equal":
            pooled, spectrum, _ = self._formula()
            return pooled, np.zeros_like(half), 0 * kept, spectrum
        rate = _matrices(self.noise_rate)
        if rule in ("james-stein", "linear"):
            shrunk, _, total = self._formula()
            n_entries = self.d * (self.d + 1) / 2
            noise = n_entries / 2 * self.noise_rate
            if rule == "linear":
                kept = _linear_share(total, noise)
            else:
                error = self.doubt * np.sqrt(2 / n_entries)
                kept = _signal_share(total, noise, error)
            share = _matrices(kept)
            pooled = share * pooled + (1 - share) * shrunk
            return pooled, share * half, kept, np.linalg.eigh(pooled)
        half = _thresholded(half, rule * np.sqrt(rate * (1 + pooled**2)) / 2)
        pooled = _thresholded(pooled, rule * np.sqrt(rate) / 2)
        on_diagonal = np.eye(self.d, dtype=bool)
        pooled = np.where(on_diagonal, self.pooled, pooled)
        size, axes = np.linalg.eigh(pooled)
        shrunk, (own, own_axes), _ = self._formula()
        is_lost = size[..., :1] < _LEAST_EIGENVALUE * own[..., :1]
        spectrum = (
            np.where(is_lost, own, size),
            np.where(is_lost[..., None], own_axes, axes),
        )
        pooled = np.where(is_lost[..., None], shrunk, pooled)
        return pooled, half, _kept(half, self.half, (-2, -1)), spectrum

    def axes(self, rules):
        """Axes in which both covariances are diagonal, and the half difference there.

        Returns
        -------
        whiten : ndarray of shape (n_rules, ..., n_features, n_features)
            Makes the pooled covariance the identity and the half difference diagonal.
        excess : ndarray of shape (n_rules, ..., n_features)
            The half difference.
        found : list of tuple
            For each rule the pooled covariance, half the difference, and the share that
            is left of it.
        """
        found = [self._by_rule(rule) for rule in rules]
        whiten = np.stack([_whitening_of(*spectrum) for *_, spectrum in found])
        half = np.stack([each for _, each, _, _ in found])
        excess, axes = np.linalg.eigh(_congruent(whiten, half))
        excess = np.clip(excess, _LEAST_SPREAD - 1, 1 - _LEAST_SPREAD)
        return whiten @ axes, excess, [each[:3] for each in found]

    def means(self, rule, whiten):
        """Difference of the means in units of the columns, by a rule, and its share.

        For each of the axes of `whiten`.
        """
        shift = self.shift
        if rule == "none":
            left, kept = shift, np.ones_like(self.noise_rate)
        elif rule == "equal":
            left, kept = np.zeros_like(shift), np.zeros_like(self.noise_rate)
        elif rule in ("linear", "james-stein"):
            noise = self.d * self.noise_rate
            white = (shift[..., None, :] @ whiten)[..., 0, :]
            total = np.sum(white**2, axis=-1)
            if rule == "linear":
                kept = _linear_share(total, noise)
            else:
                error = self.doubt * np.sqrt(2 / self.d)
                kept = _signal_share(total, noise, error)
            left = kept[..., None] * shift
        else:
            threshold = rule * np.sqrt(self.noise_rate)
            left = _thresholded(shift, threshold[..., None])
            kept = _kept(left, shift, -1)
        # Of a single row each there is no spread to hold the difference against.
        left = np.where(self.has_spread[..., None], left, shift)
        kept = np.where(self.has_spread, kept, 1.0)
        return np.broadcast_to(left, whiten.shape[:-1]), kept


def _congruent(axes, matrix):
    return np.swapaxes(axes, -1, -2) @ matrix @ axes


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
    (whiten,), (excess,), found = both.axes([shrinkage.covariances])
    pooled, half, kept = found[0]
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
        shrinkage=(float(shift_kept), float(kept)),
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
