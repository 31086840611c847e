"""The first two moments of two samples, shrunk together.

Sample covariances are noisy, and a log ratio of Gaussians feels their difference, which
is noisier still. What the samples do not tell is shrunk away here, once, for all that
look at moments.
"""

from dataclasses import dataclass

import numpy as np

from skdre._core.scales import FAR, draw_in

__all__ = ["JointMoments", "joint_moments"]

# A variance below this share of the mean of both is taken as this.
_LEAST_SPREAD = 1e-6

# A direction of less variance than this share of the widest's is a rounding error.
_LEAST_SIZE = 1e-10

# A sum of squares is shrunk by what noise is at this many standard deviations above its
# mean, and by the mean where it is three times as far above it: the mean alone would
# keep half of the differences that are noise.
_NOISE_ERRORS = 3.0

# Rounding error of a weighted mean of values of size 1.
_ROUNDING = 64 * np.finfo(np.float64).eps


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

    @property
    def noise(self):
        """Covariance, in the coordinates, of noise that is N(0, I) in the columns."""
        return self.components.T @ self.components

    def coordinates(self, X):
        """Rows in the joint coordinates, kept from overflow; same shape as X."""
        with np.errstate(over="ignore", invalid="ignore"):
            Z = (draw_in(X, self.low, self.high) - self.center) @ self.components
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
        return -0.5 * (deviation**2 @ (1 / variance) + np.log(variance).sum())

    def log_ratio(self, X):
        """Log ratio of the two Gaussians at the rows of X, of shape (n_samples,)."""
        Z = self.coordinates(X)
        return self.log_density(Z, (1, 0, 1)) - self.log_density(Z, (0, 1, 0))

    def log_ratio_gradient(self, X):
        """Gradient of the log ratio by the rows of X, of their shape."""
        Z = self.coordinates(X)
        by_coordinate = (Z + self.shift / 2) / self.denominator
        by_coordinate -= (Z - self.shift / 2) / self.numerator
        inside = (self.low <= X) & (self.high >= X)
        return np.where(inside, by_coordinate @ self.components.T, 0.0)


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


def _whitening(S):
    """Matrix that makes the covariance S the identity, and leaves out what has none."""
    size, axes = np.linalg.eigh(S)
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
    d = samples[0].shape[1]
    # In units of the rows' own size nothing under- or overflows.
    origin = samples[0][0]
    unit = np.maximum(*(np.abs(X - origin).max(axis=0) for X in samples))
    unit = np.where(unit > 0, unit, 1.0)
    (m_q, S_q), (m_p, S_p) = (
        _mean_and_covariance((X - origin) / unit, weight)
        for X, weight in zip(samples, weights, strict=True)
    )
    variance = (np.diag(S_q) + np.diag(S_p)) / 2
    # The values are of size 1: a spread below their rounding error is none.
    variance = np.where(variance > _ROUNDING**2, variance, 0.0)
    sd = np.sqrt(np.where(variance > 0, variance, 1.0))
    S_q, S_p = (S / np.outer(sd, sd) for S in (S_q, S_p))
    shift = (m_p - m_q) / sd

    noise_rate = sum(1 / weight.sum() for weight in weights)
    pooled = (S_q + S_p) / 2
    share = 1.0
    if shrink:
        pooled = _shrunk(pooled, 4 / noise_rate)
        whiten = _whitening(pooled)
        half = whiten.T @ ((S_p - S_q) / 2) @ whiten
        n_entries = d * (d + 1) / 2
        # Of few rows for each column the pooled covariance is uncertain itself.
        doubt = 1 + d * noise_rate
        share = _signal_share(
            half, n_entries / 2 * noise_rate, doubt * np.sqrt(2 / n_entries)
        )
        S_q, S_p = (share * S + (1 - share) * pooled for S in (S_q, S_p))
        pooled = (S_q + S_p) / 2
    whiten = _whitening(pooled)
    half = whiten.T @ ((S_p - S_q) / 2) @ whiten
    excess, axes = np.linalg.eigh(half)
    excess = np.clip(excess, _LEAST_SPREAD - 1, 1 - _LEAST_SPREAD)
    whiten = whiten @ axes
    shift = shift @ whiten
    shift_share = 1.0
    # Of a single row each there is no spread to hold the difference against.
    if shrink and variance.any():
        doubt = 1 + d * noise_rate
        shift_share = _signal_share(shift, d * noise_rate, doubt * np.sqrt(2 / d))
    middle = origin + (m_p + m_q) / 2 * unit
    half_way = shift_share * (m_p - m_q) / 2 * unit
    size = np.outer(sd * unit, sd * unit)
    return JointMoments(
        means=np.stack([middle - half_way, middle + half_way]),
        covariances=np.stack([S_q * size, S_p * size]),
        center=middle,
        components=whiten / (sd * unit)[:, None],
        shift=shift_share * shift,
        denominator=1 - excess,
        numerator=1 + excess,
        shrinkage=(float(shift_share), float(share)),
        low=low,
        high=high,
    )
