"""What else is asked of the chunks of a Dask collection: some rows, and mean losses."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skdre._compat import num_samples, safe_indexing
from skdre._core.chunks import added, chunks_beside, constant, named_error
from skdre._core.domains import check_lengths
from skdre._core.reduce import ByLabel, Sums

__all__ = ["WeightedSums", "mean_losses", "subsample"]


@dataclass(frozen=True)
class SomeRows(Sums):
    """Rows of a label as they came, those with the smallest of random keys.

    Attributes
    ----------
    n_rows : int
        Of all, also of those left out.
    most : int
        To keep.
    keys, X, weight : ndarray, and for X perhaps DataFrame
    """

    n_rows: int
    most: int
    keys: np.ndarray
    X: Any
    weight: np.ndarray

    def __add__(self, other):
        keys = np.concatenate([self.keys, other.keys])
        X = _stacked([self.X, other.X])
        weight = np.concatenate([self.weight, other.weight])
        return replace(self, n_rows=self.n_rows + other.n_rows).smallest(
            keys, X, weight
        )

    def smallest(self, keys, X, weight):
        """Of the rows those to keep, in the order in which they came."""
        chosen = np.sort(np.argsort(keys, kind="stable")[: self.most])
        return replace(
            self, keys=keys[chosen], X=safe_indexing(X, chosen), weight=weight[chosen]
        )


def _stacked(parts):
    if hasattr(parts[0], "iloc"):
        import pandas

        return pandas.concat(parts)
    return np.concatenate(parts)


def _some_of_chunk(place, X, y, sample_weight, most):
    number, n_chunks = place
    try:
        check_lengths(X, y)
    except ValueError as error:
        raise named_error(error, number, n_chunks) from error
    labels = np.asarray(y)
    keys = np.random.default_rng([0, number]).random(len(labels))
    weight = np.ones(len(labels)) if sample_weight is None else sample_weight
    weight = np.asarray(weight)
    found = ByLabel()
    for label in np.unique(labels).tolist():
        rows = np.flatnonzero(labels == label)
        none = SomeRows(len(rows), most, None, None, None)
        found[label] = none.smallest(keys[rows], safe_indexing(X, rows), weight[rows])
    return found


def subsample(X: Any, y: Any, sample_weight: Any, most: int) -> tuple[Any, ...]:
    """Rows of a collection drawn at random, in memory.

    Parameters
    ----------
    X, y, sample_weight : Dask collections
        As :class:`ChunkedRows` takes them, of columns of any kind.
    most : int
        Rows of each label.

    Returns
    -------
    X : ndarray or DataFrame
    y : ndarray
    sample_weight : ndarray or None
    share : float
        Of the rows that were taken.
    """
    import dask

    each = dask.delayed(_some_of_chunk, pure=False)
    chunks = chunks_beside("The estimator", X, y, sample_weight)
    found = added(
        [
            each((number, len(chunks)), *chunk, most)
            for number, chunk in enumerate(chunks)
        ]
    )
    rows = list(found.values())
    weight = np.concatenate([some.weight for some in rows])
    n_taken = [len(some.keys) for some in rows]
    return (
        _stacked([some.X for some in rows]),
        np.repeat(np.array(list(found)), n_taken),
        None if sample_weight is None else weight,
        sum(n_taken) / sum(some.n_rows for some in rows),
    )


@dataclass(frozen=True)
class WeightedSums(Sums):
    """Sum of weights, and of weighted values."""

    weight: float
    total: float


def _losses(place, X, y, sample_weight, loss):
    number, n_chunks = place
    try:
        check_lengths(X, y)
        return loss(X, np.asarray(y), sample_weight) if num_samples(X) else None
    except (TypeError, ValueError) as error:
        raise named_error(error, number, n_chunks) from error


def mean_losses(
    X: Any, y: Any, sample_weight: Any, loss: Callable[..., Any]
) -> tuple[Any, Any]:
    """Sums of losses over the denominator's, and the numerator's, rows of chunks.

    Parameters
    ----------
    X, y, sample_weight : Dask collections
    loss : callable
        ``loss(X, y, sample_weight)`` gives a pair of WeightedSums of a chunk's rows,
        None without rows of a sample.

    Returns
    -------
    denominator, numerator : WeightedSums or None
    """
    import dask

    each = dask.delayed(_losses, pure=False)
    node = constant(loss)
    chunks = chunks_beside("score", X, y, sample_weight)
    found = added(
        [
            each((number, len(chunks)), *chunk, node)
            for number, chunk in enumerate(chunks)
        ]
    )
    return (None, None) if found is None else found
