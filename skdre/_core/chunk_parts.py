"""What else is asked of the chunks of a Dask collection: some rows, and mean losses."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import numpy as np

from skdre._compat import check_sample_weight, safe_indexing
from skdre._core.chunks import (
    added,
    check_rows_of_chunks,
    chunks_beside,
    constant,
    is_collection,
    named_error,
)
from skdre._core.domains import check_lengths, encode_domains
from skdre._core.reduce import ByLabel, Sums

__all__ = ["WeightedSums", "pool_chunks", "some_rows", "subsample", "summed_losses"]

# Rows of each sample that a fit gets which needs them in memory. With more the error of
# a network falls little: benchmarks/out_of_core.py has the figures.
MOST_ROWS = 100_000


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


def some_rows(
    estimator: Any, fit: Callable[..., Any], args: Any, params: Any
) -> dict[str, Any]:
    """Arguments of a fit that needs its rows in memory, of a collection some of them.

    Parameters
    ----------
    estimator : estimator
    fit : function
        Its method.
    args, params : tuple and dict
        What `fit` was called with, X being a collection.

    Returns
    -------
    params : dict
        What to call it with instead.
    """
    given = signature(fit).bind(estimator, *args, **params).arguments
    del given["self"]
    y, weight = given.get("y"), given.get("sample_weight")
    X, y, weight, share = subsample(given["X"], y, weight, MOST_ROWS)
    if share < 1:
        name = type(estimator).__name__
        warnings.warn(
            f"{name} fits rows in memory, so of the collection it gets at most "
            f"{MOST_ROWS:,} rows of each sample, drawn at random: {share:.2g} of all. "
            "GaussianRatio, LSIFRatio, KLIEPRatio and KMMRatio are fitted on all rows; "
            "to choose the rows yourself pass arrays.",
            UserWarning,
            stacklevel=4,
        )
    given |= {"X": X, "y": y}
    if weight is not None:
        given["sample_weight"] = weight
    return given


@dataclass(frozen=True)
class WeightedSums(Sums):
    """Sum of weights, and of weighted values."""

    weight: float
    total: float


def _losses(place, log_ratio, y, sample_weight, loss):
    number, n_chunks = place
    if not len(log_ratio):
        return None
    try:
        return loss(log_ratio, np.asarray(y), sample_weight)
    except (TypeError, ValueError) as error:
        raise named_error(error, number, n_chunks) from error


def summed_losses(
    X: Any, log_ratio: Any, y: Any, sample_weight: Any, loss: Callable[..., Any]
) -> tuple[Any, Any]:
    """Sums of losses over the denominator's, and the numerator's, rows of chunks.

    Parameters
    ----------
    X : Dask array or data frame
        Whose chunks those of labels and weights have to be.
    log_ratio : Dask array
        Lazy, in the chunks of X.
    y, sample_weight : Dask collections
    loss : callable
        ``loss(log_ratio, y, sample_weight)`` gives a pair of WeightedSums of a chunk's
        rows, None without rows of a sample.

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
            each((number, len(chunks)), block, labels, weight, node)
            for number, (block, (_, labels, weight)) in enumerate(
                zip(np.ravel(log_ratio.to_delayed()), chunks, strict=True)
            )
        ]
    )
    return (None, None) if found is None else found


@dataclass(frozen=True)
class LabelSums(Sums):
    """Rows of positive weight of a label, and the sum of their weights."""

    n_rows: int
    weight: float


def _labels_of_chunk(place, y, sample_weight):
    number, n_chunks = place
    labels = np.asarray(y)
    weight = np.ones(len(labels))
    found = ByLabel()
    present = np.unique(labels).tolist()
    try:
        if sample_weight is not None:
            weight = check_sample_weight(
                np.asarray(sample_weight),
                labels,
                dtype=np.float64,
                ensure_non_negative=True,
                # A chunk may hold none of the rows that count.
                allow_all_zero_weights=True,
            )
        if len(present) > 2:
            encode_domains(labels, name="The estimator")
    except (TypeError, ValueError) as error:
        raise named_error(error, number, n_chunks) from error
    for label in present:
        rows = labels == label
        found[label] = LabelSums(np.count_nonzero(weight[rows]), weight[rows].sum())
    return found


def label_sums(
    name: str, X: Any, y: Any, sample_weight: Any
) -> tuple[np.ndarray, list[LabelSums]]:
    """The two labels of a collection, and how many rows each has.

    Parameters
    ----------
    name : str
        Who asks; for the messages.
    X, y, sample_weight : Dask collections

    Returns
    -------
    classes : ndarray of shape (2,)
    sums : list of LabelSums
        The denominator's first.
    """
    import dask

    each = dask.delayed(_labels_of_chunk, pure=False)
    chunks = chunks_beside(name, X, y, sample_weight)
    found = added(
        [
            each((number, len(chunks)), labels, weight)
            for number, (_, labels, weight) in enumerate(chunks)
        ]
    )
    classes, _ = encode_domains(np.array(list(found or {})), name=name)
    sums = [found[label] for label in classes.tolist()]
    for label, each in zip(classes.tolist(), sums, strict=True):
        if not each.weight > 0:
            raise ValueError(
                f"sample_weight is zero for every row of class {label!r}: both classes "
                "need rows of positive weight."
            )
    return classes, sums


def pool_chunks(numerator: Any, denominator: Any) -> tuple[Any, Any]:
    """:func:`skdre.pool` of two collections.

    Parameters
    ----------
    numerator, denominator : Dask array or data frame
        Of one kind.

    Returns
    -------
    X : Dask array or data frame
        The numerator's chunks, then the denominator's.
    y : Dask array or series
        1 for the numerator's rows, 0 for the denominator's.
    """
    both = {"numerator": numerator, "denominator": denominator}
    for name, X in both.items():
        if not is_collection(X):
            raise TypeError(
                f"{name} is in memory and the other sample is a Dask collection: pass "
                "two collections, for example dask.array.from_array"
                f"({name}, chunks=({len(np.atleast_1d(X))}, -1))."
            )
        check_rows_of_chunks(X, name)
    kinds = {name: hasattr(X, "chunks") for name, X in both.items()}
    if len(set(kinds.values())) == 2:
        raise TypeError(
            "One of numerator and denominator is a Dask array and the other a data "
            "frame; pass two of one kind."
        )
    if kinds["numerator"]:
        return _pool_arrays(numerator, denominator)
    return _pool_frames(numerator, denominator)


def _pool_arrays(numerator, denominator):
    import dask.array

    if numerator.shape[1] != denominator.shape[1]:
        raise ValueError(
            "numerator and denominator must have the same number of columns, got "
            f"{numerator.shape[1]} and {denominator.shape[1]}."
        )
    labels = []
    for X, label in ((numerator, 1), (denominator, 0)):
        if np.isnan(X.shape[0]):
            like = {"dtype": int, "meta": np.empty(0, int)}
            labels.append(X.map_blocks(_labels, label, drop_axis=1, **like))
        else:
            # Nothing has to be read for these.
            labels.append(
                dask.array.full(len(X), label, chunks=(X.chunks[0],), dtype=int)
            )
    # Sizes of chunks that are not known cannot be compared.
    stacked = {"allow_unknown_chunksizes": True}
    return (
        dask.array.concatenate([numerator, denominator], **stacked),
        dask.array.concatenate(labels, **stacked),
    )


def _pool_frames(numerator, denominator):
    import dask.dataframe

    names, others = list(numerator.columns), list(denominator.columns)
    if set(names) != set(others) or len(names) != len(others):
        raise ValueError(
            "numerator and denominator must have the same columns, got "
            f"{names} and {others}."
        )
    # Without divisions, by which partitions might be put among each other.
    parts = [X.clear_divisions() for X in (numerator, denominator[names])]
    labels = [
        X.map_partitions(_labels_of_frame, label, meta=("y", int))
        for X, label in zip(parts, (1, 0), strict=True)
    ]
    return dask.dataframe.concat(parts), dask.dataframe.concat(labels)


def _labels(block, label):
    return np.full(len(block), label)


def _labels_of_frame(block, label):
    import pandas

    return pandas.Series(label, index=block.index, name="y", dtype=int)
