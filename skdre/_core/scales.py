"""Where the columns of two samples lie, in units that rare rows cannot own.

Mean and standard deviation are those of columns drawn in to fences far outside the
bulk. On most data no value lies beyond them and nothing changes. Two sentinels of 9999
in a thousand rows would otherwise make the scale 400 times larger, and every difference
between the samples that much smaller.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np

from skdre._core.arrays import place_of

__all__ = [
    "FAR",
    "FAR_SINGLE",
    "ColumnScales",
    "column_scales",
    "draw_in",
    "fences",
    "scales_of",
]

# Rows to predict at may lie anywhere, so standardised values are cut here, far beyond
# where a method tells one from another: squares of the first, times what they are
# multiplied with, are finite in double precision, those of the second in single.
FAR, FAR_SINGLE = 1e100, 1e15

# Rows that the fences are taken from, of each sample.
_MOST_ROWS = 10_000
# The bulk of a column lies between these quantiles of both samples together, each
# counting half, and the fences lie this many widths of it outside: eight standard
# deviations of a normal away.
_TAIL, _WIDTHS = 0.05, 2.0
# Values beyond the fences are drawn in to this many widths outside the bulk, at five
# standard deviations of a normal.
_NEAREST = 1.0
# A value with this share of a column is an atom. The bulk is that of the other values
# where they have the second share, otherwise the atoms belong to it.
_ATOM, _MAIN = 0.05, 0.5
# Values beyond the fences that make the standard deviation so many times larger are
# taken for the nearest fence, with a warning.
_CONTAMINATION = 2.0
# Columns named in a warning, at most.
_MOST_NAMES = 5


@dataclass(frozen=True)
class ColumnScales:
    """Moments of the columns of two samples, drawn in to fences.

    Attributes
    ----------
    means, deviations : ndarray of shape (2, n_features)
        Means and standard deviations, the denominator's first.
    low, high : ndarray of shape (n_features,)
        What values are drawn in to, in columns where a few would decide for all
        others; infinite elsewhere.
    """

    means: np.ndarray
    deviations: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def center(self):
        return self.means[0] / 2 + self.means[1] / 2

    @property
    def _rounding(self):
        """A spread below this is the rounding error of the values themselves."""
        return 64 * np.finfo(np.float64).eps * np.abs(self.means).max(axis=0)

    @property
    def _within(self):
        return np.hypot(*self.deviations) / np.sqrt(2)

    @property
    def _total(self):
        return np.hypot(self._within, self.means[1] / 2 - self.means[0] / 2)

    @property
    def within(self):
        """Standard deviation within the samples, which a shift does not inflate.

        That over both for a column that is constant in each, and 1 for one that is
        constant over both.
        """
        return np.where(self._within > self._rounding, self._within, self.total)

    @property
    def total(self):
        """Standard deviation over both samples, each counting half; 1 if constant."""
        return np.where(self._total > self._rounding, self._total, 1.0)

    def draw_in(self, X):
        """Rows with extreme values at the fences of contaminated columns."""
        return draw_in(X, self.low, self.high)


def draw_in(X, low, high):
    """Clip columns to fences, without a copy where there are none."""
    place = place_of(X)
    if not place.is_host:
        return place.xp.clip(X, *place.put((low, high)))
    if np.isinf(low).all() and np.isinf(high).all():
        return X
    return np.clip(X, low, high)


def fences(X, weight):
    """Bounds far outside the bulk of the values of a column, whose weights sum to 1."""
    values, inverse = np.unique(X, return_inverse=True)
    mass = np.bincount(inverse.ravel(), weight)
    is_atom = mass >= _ATOM
    rest = mass[~is_atom].sum()
    bulk = []
    if rest >= _MAIN or is_atom.sum() < 2:
        others, share = values[~is_atom], mass[~is_atom]
        if len(others):
            places = np.cumsum(share) / rest
            # Of the middle of each value's own mass, so that both ends are alike.
            low, high = np.interp([_TAIL, 1 - _TAIL], places - share / rest / 2, others)
            bulk += [low, high]
    if rest < _MAIN:
        bulk += [*values[is_atom][:1], *values[is_atom][-1:]]
    low, high = min(bulk), max(bulk)
    with np.errstate(over="ignore"):
        width = _WIDTHS * (high - low)
        if width == 0:
            return -np.inf, np.inf
        return low - width, high + width


def _mean_and_deviation(X, weight):
    """Weighted column means and standard deviations, without overflow."""
    share = weight / weight.sum()
    origin = X[0]
    unit = np.maximum(X.max(axis=0) / 2 - origin / 2, origin / 2 - X.min(axis=0) / 2)
    unit = np.where(unit > 0, unit, 1.0)
    U = (X / 2 - origin / 2) / unit
    mean = share @ U
    deviation = np.sqrt(share @ (U - mean) ** 2)
    return origin + 2 * (unit * mean), 2 * (unit * deviation)


def column_scales(parts, names=None, *, warn=True):
    """Means and standard deviations of the columns, which rare rows cannot own.

    Parameters
    ----------
    parts : pair of (ndarray of shape (n_rows, n_features), ndarray of shape (n_rows,))
        Rows and weights of the denominator, then of the numerator, in an order that
        says nothing about them; twice the same where the labels must not matter.
    names : sequence of str, default=None
        Of the columns, for the warning.
    warn : bool, default=True
        False where the columns were looked at before.

    Returns
    -------
    scales : ColumnScales

    Warns
    -----
    UserWarning
        If a few values far outside the bulk of a column would decide on its scale.
    """
    X, weights = zip(*parts, strict=True)
    least = np.minimum(*(each.min(axis=0) for each in X))
    most = np.maximum(*(each.max(axis=0) for each in X))

    def measure(low, high, columns=slice(None)):
        return _moments([each[:, columns] for each in X], weights, low, high)

    # Rows that stand for both samples are counted once.
    counted = X[:1] if X[0] is X[1] else X

    def outside(low, high, columns):
        return [_count_outside(counted, j, low[j], high[j]) for j in columns]

    # From a part of the rows, which are shuffled.
    some = [(each[:_MOST_ROWS], w[:_MOST_ROWS]) for each, w in parts]
    return scales_of(some, (least, most), measure, outside if warn else None, names)


def scales_of(parts, extent, measure, outside=None, names=None):
    """:func:`column_scales`, whoever holds the rows.

    Parameters
    ----------
    parts : pair of (ndarray, ndarray)
        Rows and weights of a part of both samples, for the fences.
    extent : pair of ndarray of shape (n_features,)
        Least and greatest value of each column over all rows.
    measure : callable
        ``measure(low, high, columns)`` gives the ColumnScales of some of the columns of
        all rows, drawn in; without `columns` of all.
    outside : callable, default=None
        ``outside(low, high, columns)`` gives for each of the columns how many of how
        many rows lie outside, and the farthest value; None for no warning.
    names : sequence of str, default=None

    Returns
    -------
    scales : ColumnScales
    """
    shares = [weight / weight.sum() / 2 for _, weight in parts]
    some, share = np.concatenate([X for X, _ in parts]), np.concatenate(shares)
    low, high = np.array([fences(column, share) for column in some.T]).T
    # What no row lies beyond is no fence.
    least, most = extent
    beyond = (least < low) | (most > high)
    low, high = np.where(beyond, low, -np.inf), np.where(beyond, high, np.inf)
    scales = measure(low, high)
    columns = np.flatnonzero(beyond)
    if columns.size == 0:
        return scales
    plain = measure(-np.inf, np.inf, columns)
    is_bad = plain.total > _CONTAMINATION * scales.total[columns]
    columns, kept = columns[is_bad], columns[~is_bad]
    # Closer, so that they have little weight.
    closer = (_WIDTHS - _NEAREST) / (1 + 2 * _WIDTHS) * (high - low)[columns]
    low[columns] += closer
    high[columns] -= closer
    if columns.size:
        scales = measure(low, high)
        if outside is not None:
            _warn(outside(low, high, columns[:_MOST_NAMES]), low, high, columns, names)
    low[kept], high[kept] = -np.inf, np.inf
    return replace(scales, low=low, high=high)


def _count_outside(X, j, low, high):
    column = np.concatenate([each[:, j] for each in X])
    out = (column < low) | (column > high)
    extreme = column[out][np.argmax(np.abs(column[out] - (low + high) / 2))]
    return out.sum(), len(column), extreme


def _moments(X, weights, low, high):
    parts = [
        _mean_and_deviation(draw_in(each, low, high), weight)
        for each, weight in zip(X, weights, strict=True)
    ]
    means, deviations = (np.stack(each) for each in zip(*parts, strict=True))
    return ColumnScales(means, deviations, low, high)


def _warn(found, low, high, columns, names):
    shown = []
    for j, (n_outside, n_rows, extreme) in zip(columns, found, strict=False):
        name = j if names is None else repr(str(names[j]))
        shown.append(
            f"column {name}: {n_outside} of {n_rows} rows, such as {extreme:.6g}, "
            f"outside {low[j]:.4g} to {high[j]:.4g}"
        )
    more = len(columns) - len(shown)
    warnings.warn(
        "Values far from all others would decide on the scale of their column, so "
        "they are taken for the nearest of two bounds: "
        + "; ".join(shown)
        + (f"; and {more} columns more. " if more else ". ")
        + "If they stand for missing values, replace them; if they are real, "
        "transform the column, for example to its logarithm.",
        UserWarning,
        stacklevel=5,
    )
