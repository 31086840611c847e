"""Maps of each column to the scale of a standard normal.

A flow learns joint structure well and odd margins badly: an affine autoregressive flow
can bend a column only with the help of the others. So every column goes through a map
of its own first, either affine or a smooth monotone curve, whose derivative enters the
log density.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from skdre._core.scales import FAR, fences

__all__ = [
    "FEW_ROWS",
    "MARGINALS",
    "NOISE_SCALE",
    "ColumnMap",
    "MarginalMaps",
    "gaussianize",
    "noise_scale",
    "standardize",
]

# Standard deviation of the noise added to the rows in training, on the scale of the
# maps' output: small against the data, yet it bounds the likelihood of ties. A constant
# column gets noise of the base's own scale, so the flow leaves it as it is.
NOISE_SCALE = 0.003

# With fewer rows than this the few held-out ones can stop the training, but cannot
# compare maps, and the training rows alone would set the scale of a column wrongly.
FEW_ROWS = 20

# Knots of the curve: steps of _KNOT_STEP on the normal scale, as far out as _TAIL_ROWS
# rows remain beyond, then the extremes of the data.
_KNOT_STEP = 0.4
_TAIL_ROWS = 8

# Least distance of two knots, in units of the spread of the column's bulk. It bounds
# the slope of the curve, and with it the density that a tie in the data can claim.
_LEAST_KNOT_GAP = 1e-4


@dataclass(frozen=True)
class ColumnMap:
    """Smooth increasing map t -> u of one column, with u near N(0, 1).

    x is first centred and scaled to t = (x - center) / scale. Between the knots u is a
    monotone rational quadratic spline of t (Gregory and Delbourgo, 1982), beyond them
    it is linear; u and its derivative are continuous. One knot makes an affine map.

    Attributes
    ----------
    center, scale : float
        Of the affine step.
    t, u, slope : ndarray of shape (n_knots,)
        Knots, their images, and the derivative there: increasing, increasing, positive.
    is_constant : bool
        Whether the column holds a single value.
    """

    center: float
    scale: float
    t: np.ndarray
    u: np.ndarray
    slope: np.ndarray
    is_constant: bool = False

    def forward(self, x):
        """Map a column; return u and log |du/dx|, both of shape (n_samples,)."""
        with np.errstate(over="ignore"):
            t = np.clip((x - self.center) / self.scale, -FAR, FAR)
        first, last = self._tails(t, self.t)
        u = np.where(
            last,
            self.u[-1] + self.slope[-1] * (t - self.t[-1]),
            self.u[0] + self.slope[0] * (t - self.t[0]),
        )
        log_slope = np.log(np.where(last, self.slope[-1], self.slope[0]))
        inner = ~(first | last)
        if inner.any():
            bins = self._bins(t[inner], self.t)
            u[inner], slope = _spline(t[inner], *bins)
            log_slope[inner] = np.log(slope)
        return u, log_slope - np.log(self.scale)

    def inverse(self, u):
        """Map u back to a column of x, of shape (n_samples,)."""
        first, last = self._tails(u, self.u)
        t = np.where(
            last,
            self.t[-1] + (u - self.u[-1]) / self.slope[-1],
            self.t[0] + (u - self.u[0]) / self.slope[0],
        )
        inner = ~(first | last)
        if inner.any():
            t[inner] = _spline_inverse(u[inner], *self._bins(u[inner], self.u))
        return self.center + self.scale * t

    @staticmethod
    def _tails(value, knots):
        first = value <= knots[0]
        return first, (value >= knots[-1]) & ~first

    def _bins(self, value, knots):
        right = np.searchsorted(knots, value, side="right").clip(1, knots.size - 1)
        left = right - 1
        return (
            self.t[left],
            self.t[right],
            self.u[left],
            self.u[right],
            self.slope[left],
            self.slope[right],
        )


def _spline(t, t0, t1, u0, u1, d0, d1):
    """Value and derivative of the rational quadratic in the bin [t0, t1]."""
    secant = (u1 - u0) / (t1 - t0)
    xi = (t - t0) / (t1 - t0)
    mix = xi * (1 - xi)
    below = secant + (d0 + d1 - 2 * secant) * mix
    u = u0 + (u1 - u0) * (secant * xi**2 + d0 * mix) / below
    top = d1 * xi**2 + 2 * secant * mix + d0 * (1 - xi) ** 2
    return u, secant**2 * top / below**2


def _spline_inverse(u, t0, t1, u0, u1, d0, d1):
    """Solve the rational quadratic for t; the stable root of a quadratic in xi."""
    secant = (u1 - u0) / (t1 - t0)
    rise = u - u0
    bend = d0 + d1 - 2 * secant
    a = (u1 - u0) * (secant - d0) + rise * bend
    b = (u1 - u0) * d0 - rise * bend
    c = -secant * rise
    root = np.sqrt(np.maximum(b**2 - 4 * a * c, 0))
    return t0 + (t1 - t0) * 2 * c / (-b - root)


@dataclass(frozen=True)
class MarginalMaps:
    """One :class:`ColumnMap` per feature."""

    columns: tuple[ColumnMap, ...]

    @property
    def is_constant(self):
        """Mask of the constant columns, of shape (n_features,)."""
        return np.array([column.is_constant for column in self.columns])

    def forward(self, X):
        """Map every column.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)

        Returns
        -------
        U : ndarray of shape (n_samples, n_features)
        log_det : ndarray of shape (n_samples,)
            Log determinant of the (diagonal) Jacobian, in nats.
        """
        U, log_det = np.empty(X.shape), np.zeros(X.shape[0])
        for j, column in enumerate(self.columns):
            U[:, j], log_slope = column.forward(X[:, j])
            log_det += log_slope
        return U, log_det

    def inverse(self, U):
        """Map back, of shape (n_samples, n_features)."""
        X = np.empty(U.shape)
        for j, column in enumerate(self.columns):
            X[:, j] = column.inverse(U[:, j])
        return X


def _center_and_scale(x, weight):
    """Weighted mean and standard deviation of a column; None scale if constant.

    Those of values drawn in to fences far outside the bulk, which a few cannot own.
    """
    # Dividing by the largest value first keeps squares from over- and underflowing.
    drawn_in = np.clip(x, *fences(x, weight))
    largest = np.abs(drawn_in).max()
    if largest == 0:
        return 0.0, None
    ratio = drawn_in / largest
    mean = weight @ ratio
    spread = np.sqrt(weight @ (ratio - mean) ** 2)
    center, scale = largest * mean, largest * spread
    # Below this the differences are rounding errors, or 1 / scale overflows.
    rounding = 10 * np.finfo(np.float64).eps
    if x.min() == x.max():
        return x[0], None
    if spread <= rounding or scale < 1e-290:
        return center, None
    return center, scale


def _affine(center, scale):
    knot = np.zeros(1)
    return ColumnMap(
        center,
        1.0 if scale is None else scale,
        t=knot,
        u=knot,
        slope=np.ones(1),
        is_constant=scale is None,
    )


def _normalised(X, weight):
    weight = np.ones(X.shape[0]) if weight is None else weight
    return weight / weight.sum()


def standardize(X, weight=None):
    """Affine maps of the columns to mean 0 and variance 1.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    maps : MarginalMaps
        A constant column is only centred.
    """
    weight = _normalised(X, weight)
    return MarginalMaps(tuple(_affine(*_center_and_scale(x, weight)) for x in X.T))


def gaussianize(X, weight=None):
    """Smooth monotone maps of the columns to a standard normal.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    maps : MarginalMaps
        Equal values get the normal quantile of their middle rank, so a column of few
        distinct values has a bounded density. A constant column is only centred.
    """
    weight = _normalised(X, weight)
    return MarginalMaps(tuple(_gaussianize_column(x, weight) for x in X.T))


def _gaussianize_column(x, weight):
    center, scale = _center_and_scale(x, weight)
    if scale is None:
        return _affine(center, scale)
    t, index = np.unique((x - center) / scale, return_inverse=True)
    mass = np.bincount(index, weight)
    rank = np.cumsum(mass) - mass / 2
    # sum(weight**2) is one over the effective number of rows.
    knots = _knots(t, ndtri(rank), _TAIL_ROWS * (weight @ weight))
    if knots is None:
        return _affine(center, scale)
    t_knot, u_knot = knots
    secant = np.diff(u_knot) / np.diff(t_knot)
    # The geometric mean is exact to second order where the slope is exponential in u,
    # as for log-normal columns; a rational quadratic is monotone whatever it is.
    inner = np.sqrt(secant[1:] * secant[:-1])
    slope = np.concatenate([secant[:1], inner, secant[-1:]])
    return ColumnMap(center, scale, t_knot, u_knot, slope)


def _knots(t, u, tail_mass):
    """Knots of the curve through the points (t, u); None where only one is left.

    Few knots make the curve smooth: even steps of u in the bulk, and the extremes, so
    that no row of the data lies on the linear tails.
    """
    outer = -ndtri(min(tail_mass, 0.25))
    low, high = max(u[0], -outer), min(u[-1], outer)
    n_levels = max(int(np.ceil((high - low) / _KNOT_STEP)), 1) + 1
    if t.size > n_levels + 2:
        level = np.concatenate([u[:1], np.linspace(low, high, n_levels), u[-1:]])
        level = np.unique(level)
        t, u = np.interp(level, u, t), level
    gap = _LEAST_KNOT_GAP * _bulk_spread(t, u)
    keep = [0]
    for k in range(1, t.size):
        if t[k] - t[keep[-1]] >= gap:
            keep.append(k)
    if len(keep) < 2:
        return None
    return t[keep], u[keep]


def _bulk_spread(t, u):
    """Width of the narrowest central range of the knots that has a width."""
    for level in (0.7, 1.3, 2.0):
        inside = t[np.abs(u) <= level]
        if inside.size > 1 and np.ptp(inside) > 0:
            return np.ptp(inside)
    return np.ptp(t)


MARGINALS = {"standardize": standardize, "gaussianize": gaussianize}


def noise_scale(maps):
    """Standard deviation of the noise on each mapped column in training."""
    return np.where(maps.is_constant, 1.0, NOISE_SCALE)
