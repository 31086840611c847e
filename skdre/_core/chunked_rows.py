"""Two samples in the chunks of a Dask collection, for fits by sums over rows.

What is no sum is taken from a *pilot*: rows drawn at random from all chunks, which the
code for samples in memory is run on. It holds all rows of small collections.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import column_or_1d

from skdre._compat import check_sample_weight, num_samples
from skdre._core.chunk_parts import label_sums
from skdre._core.chunks import (
    added,
    check_workers,
    chunks_beside,
    constant,
    named_error,
    note_columns,
)
from skdre._core.columns import check_rows
from skdre._core.reduce import ByLabel, Portion, Sums
from skdre._core.samples import LabelledRows, two_samples
from skdre._core.scales import ColumnScales, draw_in, scales_of

__all__ = ["PILOT_ROWS", "ChunkedRows"]

# Rows of each sample in the pilot.
PILOT_ROWS = 20_000
# Numbers in the sums that one pass forms, about at most: 32 MB a chunk.
_PASS_NUMBERS = 1 << 22


@dataclass(frozen=True)
class Chunk:
    """Rows of both samples, checked; without those of weight zero."""

    number: int
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None


def _check_chunk(place, X, y, sample_weight):
    """Chunk, or None if it is empty."""
    number, n_chunks = place
    try:
        n_rows = num_samples(X)
        for name, values in (("y", y), ("sample_weight", sample_weight)):
            if values is not None and num_samples(values) != n_rows:
                raise ValueError(
                    f"it has {n_rows} rows of X and {num_samples(values)} values of "
                    f"{name}. Take X and {name} from one collection, or give them the "
                    "same chunks (X.compute_chunk_sizes(), rechunk, repartition)."
                )
        if n_rows == 0:
            return None
        X = check_rows(X)
        labels = column_or_1d(np.asarray(y))
        weight = None
        if sample_weight is not None:
            weight = check_sample_weight(
                np.asarray(sample_weight),
                X,
                dtype=np.float64,
                ensure_non_negative=True,
                # A chunk may hold none of the rows that count.
                allow_all_zero_weights=True,
            )
            kept = weight > 0
            if not kept.all():
                X, labels, weight = X[kept], labels[kept], weight[kept]
        return Chunk(number, X, labels, weight)
    except (TypeError, ValueError) as error:
        raise named_error(error, number, n_chunks) from error


# --- the first look -----------------------------------------------------------------


@dataclass(frozen=True)
class SampleSurvey(Sums):
    """What the first pass finds out about the rows of a label.

    Attributes
    ----------
    n_rows, weight, square : float
        Rows, and the sums of their weights and of the squares of these.
    least, most : ndarray of shape (n_features,)
        Of the columns.
    keys, X, w : ndarray
        Rows of the pilot: those with the smallest of random keys, and their weights.
    """

    n_rows: int
    weight: float
    square: float
    least: np.ndarray
    most: np.ndarray
    keys: np.ndarray
    X: np.ndarray
    w: np.ndarray

    def __add__(self, other):
        keys = np.concatenate([self.keys, other.keys])
        chosen = np.argsort(keys, kind="stable")[:PILOT_ROWS]
        return SampleSurvey(
            self.n_rows + other.n_rows,
            self.weight + other.weight,
            self.square + other.square,
            np.minimum(self.least, other.least),
            np.maximum(self.most, other.most),
            keys[chosen],
            np.concatenate([self.X, other.X])[chosen],
            np.concatenate([self.w, other.w])[chosen],
        )

    @property
    def unit(self):
        """What a draw weighs, see :mod:`skdre._core.rows`."""
        return self.square / self.weight

    @property
    def draws(self):
        return self.weight / self.unit


def _survey_label(X, weight, keys, share):
    """SampleSurvey of the rows of a label; `share` of them may be in the pilot."""
    w = np.ones(len(X)) if weight is None else weight
    chosen = np.argsort(keys, kind="stable")[:PILOT_ROWS]
    chosen = chosen[keys[chosen] < share]
    return SampleSurvey(
        len(X),
        w.sum(),
        w @ w,
        X.min(axis=0),
        X.max(axis=0),
        keys[chosen],
        X[chosen],
        w[chosen],
    )


def _survey(chunk, shares):
    keys = np.random.default_rng([0, chunk.number]).random(len(chunk.X))
    found = ByLabel()
    for label in np.unique(chunk.y).tolist():
        rows = chunk.y == label
        weight = None if chunk.weight is None else chunk.weight[rows]
        found[label] = _survey_label(chunk.X[rows], weight, keys[rows], shares[label])
    return found


# --- sums over chunks ---------------------------------------------------------------


@dataclass(frozen=True)
class _Split:
    """From a chunk to the portions of the two samples."""

    classes: np.ndarray
    units: tuple[float, float]

    def __call__(self, chunk):
        portions = []
        for label, unit in zip(self.classes, self.units, strict=True):
            rows = chunk.y == label
            X = chunk.X[rows]
            weight = np.ones(len(X))
            if chunk.weight is not None:
                weight = chunk.weight[rows] / unit
            portions.append(Portion(X, weight, np.ones(len(X))) if len(X) else None)
        return tuple(portions)


@dataclass(frozen=True)
class _Apply:
    """A function of either sample's portions, where there are rows of it."""

    of_denominator: Callable[[Any], Any]
    of_numerator: Callable[[Any], Any]

    def __call__(self, portions):
        functions = self.of_denominator, self.of_numerator
        return tuple(
            None if portion is None else function(portion)
            for function, portion in zip(functions, portions, strict=True)
        )


def _run(steps, task):
    """Results of steps, one after the other, on a chunk."""
    found = task
    for step in steps:
        if found is None:
            return None
        found = step(found)
    return found


def _check_and_run(place, X, y, weight, steps):
    return _run(steps, _check_chunk(place, X, y, weight))


class _Chunks:
    """What :class:`skdre._core.reduce.InMemory` is, of portions that lie in chunks."""

    in_memory = False

    def __init__(self, run, steps=()):
        # run(steps) gives delayed results, one for each chunk.
        self._run, self._steps = run, steps

    def prepared(self, of_denominator, of_numerator=None):
        """The samples after a function of a portion, applied in each pass."""
        step = _Apply(of_denominator, of_numerator or of_denominator)
        return _Chunks(self._run, (*self._steps, step))

    def held(self, of_denominator, of_numerator=None):
        """The samples after a function of a portion, whose values are kept."""
        import dask

        check_workers()
        kept = dask.persist(*self.prepared(of_denominator, of_numerator)._results())

        def run(steps):
            each = dask.delayed(_run, pure=False)
            steps = constant(steps)
            return [each(steps, task) for task in kept]

        return _Chunks(run)

    def totals(self, of_denominator, of_numerator=None):
        """Sums over the denominator, and over the numerator, in one pass."""
        step = _Apply(of_denominator, of_numerator or of_denominator)
        return added(self._run((*self._steps, step)))

    def _results(self):
        return self._run(self._steps)

    def passes(self, n_models, size):
        """Positions of the models whose sums, of `size` numbers, one pass forms."""
        together = max(1, _PASS_NUMBERS // size)
        every = np.arange(n_models)
        return [every[i : i + together] for i in range(0, n_models, together)]


class ChunkedRows(_Chunks):
    """Two samples in the chunks of a collection.

    Made by a pass over the labels, and one over the rows, which tells the extent of the
    columns and the pilot.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_`` and ``feature_names_in_``.
    X : Dask array or data frame of shape (n_samples, n_features)
    y : Dask array or series of shape (n_samples,)
    sample_weight : Dask array or series of shape (n_samples,), default=None

    Attributes
    ----------
    classes : ndarray of shape (2,)
        The labels, the denominator's first.
    surveys : list of SampleSurvey
        The denominator's first.
    pilot : TwoSamples
        Some of the rows, as if they were all.
    names : ndarray of str or None
        Of the columns.

    Raises
    ------
    ValueError, TypeError
        As for rows in memory, with the chunk at fault, and for chunks that are no rows
        or do not fit each other.
    """

    def __init__(self, estimator, X, y, sample_weight=None):
        name = type(estimator).__name__
        chunks = chunks_beside(name, X, y, sample_weight)

        def run(steps):
            import dask

            each = dask.delayed(_check_and_run, pure=False)
            steps = constant(steps)
            return [
                each((number, len(chunks)), *chunk, steps)
                for number, chunk in enumerate(chunks)
            ]

        self.classes, sums = label_sums(name, X, y, sample_weight)
        labels = self.classes.tolist()
        # Twice as many as are needed, so that no chunk sends all of its rows.
        shares = {
            label: 2 * PILOT_ROWS / each.n_rows
            for label, each in zip(labels, sums, strict=True)
        }
        found = added(run((partial(_survey, shares=shares),)))
        self.surveys = [found[label] for label in labels]
        note_columns(estimator, X)
        self.names = getattr(estimator, "feature_names_in_", None)
        self.pilot = self._pilot(sample_weight is not None)
        units = tuple(each.unit for each in self.surveys)
        super().__init__(run, (_Split(self.classes, units),))

    def _pilot(self, weighted):
        q, p = self.surveys
        rows = LabelledRows(
            np.concatenate([q.X, p.X]),
            np.arange(len(q.X) + len(p.X)) >= len(q.X),
            np.concatenate([q.w, p.w]) if weighted else None,
            self.classes,
        )
        return two_samples(rows, self.names)

    @property
    def n_rows(self):
        """Rows of the denominator and of the numerator."""
        return tuple(each.n_rows for each in self.surveys)

    @property
    def extent(self):
        """Least and greatest value of each column over both samples."""
        q, p = self.surveys
        return np.stack([np.minimum(q.least, p.least), np.maximum(q.most, p.most)])

    def column_scales(self):
        """:func:`skdre._core.scales.column_scales` of all rows."""
        return scales_of(
            self.pilot.parts,
            self.extent,
            self._measure,
            self._outside,
            self.names,
        )

    def _measure(self, low, high, columns=slice(None)):
        # About rows of the pilot, in units of its spread, squares do not cancel.
        some = [draw_in(X[:, columns], low, high) for X, _ in self.pilot.parts]
        origin = (some[0].mean(axis=0) + some[1].mean(axis=0)) / 2
        least, most = draw_in(self.extent[:, columns], low, high)
        unit = np.maximum(np.abs(least - origin), np.abs(most - origin))
        unit = np.where(unit > 0, unit, 1.0)
        sums = self.totals(
            partial(
                spread_sums,
                columns=columns,
                bounds=(low, high),
                origin=origin,
                unit=unit,
            )
        )
        means, deviations = np.array([each.moments() for each in sums]).transpose(
            1, 0, 2
        )
        return ColumnScales(origin + unit * means, unit * deviations, low, high)

    def _outside(self, low, high, columns):
        low, high = low[columns], high[columns]
        counts = self.totals(partial(outside_sums, columns=columns, low=low, high=high))
        n_rows = sum(each.n_rows for each in self.surveys)
        least, most = self.extent[:, columns]
        farther = np.where(low - least > most - high, least, most)
        outside = sum(each.n_rows for each in counts)
        return [
            (n, n_rows, extreme) for n, extreme in zip(outside, farther, strict=True)
        ]


@dataclass(frozen=True)
class SpreadSums(Sums):
    """Sums of weights, and of columns and their squares."""

    weight: float
    first: np.ndarray
    second: np.ndarray

    def moments(self):
        """Means and standard deviations."""
        mean = self.first / self.weight
        return mean, np.sqrt(np.maximum(self.second / self.weight - mean**2, 0))


def spread_sums(portion, columns, bounds, origin, unit):
    """Reducer: sums of columns drawn in to bounds, about an origin and in a unit."""
    U = (draw_in(portion.X[:, columns], *bounds) - origin) / unit
    w = portion.weight
    return SpreadSums(w.sum(), w @ U, w @ U**2)


@dataclass(frozen=True)
class CountSums(Sums):
    """Rows that lie outside of bounds, in each column."""

    n_rows: np.ndarray


def outside_sums(portion, columns, low, high):
    """Reducer of these."""
    X = portion.X[:, columns]
    return CountSums(((low > X) | (high < X)).sum(axis=0))
