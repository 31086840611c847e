"""Dask collections: what they must be like, sums over their chunks, predictions.

Rows lie in chunks that no process holds at once. A chunk is read where it lies, and
gives sums (:mod:`skdre._core.reduce`); predictions are made chunk by chunk, lazily.
Nothing here imports Dask before a collection is given.
"""

from collections.abc import Callable
from functools import reduce, wraps
from operator import add
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from skdre._compat import num_samples

__all__ = [
    "added",
    "check_rows_of_chunks",
    "check_workers",
    "chunks_beside",
    "constant",
    "is_collection",
    "lazily",
    "named_error",
    "note_columns",
    "on_blocks",
    "over_chunks",
    "refuse_collection",
    "takes_collections",
]

# Sums of so many chunks are added at a time.
_FAN_IN = 8


def is_collection(X: Any) -> bool:
    """Whether X is a Dask array, data frame or series.

    Examples
    --------
    >>> from skdre._core.chunks import is_collection
    >>> is_collection([[1.0]])
    False
    """
    kind = type(X)
    return kind.__module__.partition(".")[0] == "dask" and hasattr(kind, "to_delayed")


def refuse_collection(X: Any, name: str = "X") -> None:
    """Refuse a collection where it would be turned into one array.

    Parameters
    ----------
    X : array-like or Dask collection
    name : str, default="X"

    Raises
    ------
    TypeError
        If it is one.

    Examples
    --------
    >>> from skdre._core.chunks import refuse_collection
    >>> refuse_collection([[1.0]])
    """
    if is_collection(X):
        raise TypeError(
            f"{name} is a Dask collection, which is not taken here, for it may not fit "
            f"into memory: pass a sample of its rows, or {name}.compute() if it does. "
            "What is fitted predicts chunk by chunk by "
            f"{name}.map_blocks(estimator.predict_ratio, drop_axis=1). Ratio "
            "estimators themselves, outside of pipelines and searches, take them."
        )


def takes_collections(estimator: Any) -> bool:
    """Whether an estimator is one for Dask, by the name of its module.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdre._core.chunks import takes_collections
    >>> takes_collections(LogisticRegression())
    False
    """
    parts = type(estimator).__module__.split(".")
    return bool({"dask", "dask_ml"} & set(parts))


def _is_array(X):
    return hasattr(X, "chunks")


def _sample(X):
    """A small table in memory, with the columns of X."""
    if _is_array(X):
        return np.zeros((1, X.shape[1]))
    return X._meta_nonempty


# --- what a collection must be like -------------------------------------------------


def check_rows_of_chunks(X: Any, name: str = "X") -> None:
    """Refuse a collection whose chunks are no rows.

    Parameters
    ----------
    X : Dask array or data frame
    name : str, default="X"

    Raises
    ------
    ValueError
        If it is not two-dimensional, or its columns lie in several chunks.
    """
    if X.ndim != 2:
        raise ValueError(
            f"{name} must be two-dimensional, (n_samples, n_features), got a Dask "
            f"collection of {X.ndim} dimension(s); one feature is "
            f"{name}.reshape(-1, 1) or {name}.to_frame()."
        )
    if _is_array(X) and X.numblocks[1] > 1:
        raise ValueError(
            f"{name} is a Dask array with {X.numblocks[1]} chunks along its columns, "
            "while each chunk must hold whole rows: "
            f"{name}.rechunk({{0: 'auto', 1: -1}})."
        )


def _blocks(X):
    """The chunks of a collection, as delayed objects."""
    return list(np.ravel(X.to_delayed()))


def _sizes(X):
    """Rows in each chunk, where they are known."""
    if _is_array(X) and not np.isnan(X.shape[0]):
        return X.chunks[0]
    return None


def _beside(values, name, X):
    """Chunks of labels or weights, as many as X has."""
    import dask.array

    n, sizes = X.npartitions, _sizes(X)
    repair = f"{name} = {name}.rechunk((X.chunks[0],))"
    if not _is_array(X):
        repair = f"{name} = {name}.repartition(npartitions=X.npartitions)"
    if not is_collection(values):
        if sizes is None:
            raise ValueError(
                f"{name} is in memory while X is a Dask collection whose chunks have "
                "unknown sizes. For an array call X.compute_chunk_sizes() first; of a "
                f"data frame make {name} a column, and pass X.drop(columns=...) and "
                f"X[{name!r}]."
            )
        values = np.asarray(values)
        if len(values) != sum(sizes):
            raise ValueError(
                "X and y must have one entry for each row, got "
                f"{sum(sizes)} rows of X and {len(values)} values of {name}."
            )
        values = dask.array.from_array(values, chunks=(sizes, *values.shape[1:]))
    if values.ndim != 1:
        raise ValueError(
            f"{name} should be a 1d array, got a Dask collection of {values.ndim} "
            "dimensions instead."
        )
    own = _sizes(values)
    if values.npartitions != n:
        raise ValueError(
            f"X and {name} lie in {n} and {values.npartitions} chunks: the rows of a "
            f"chunk of X need the same chunk of {name}. {repair}."
        )
    if None not in (own, sizes) and own != sizes:
        raise ValueError(
            f"X and {name} lie in chunks of different sizes, {sizes[:3]}... and "
            f"{own[:3]}...: {repair}."
        )
    return _blocks(values)


def chunks_beside(name, X, y, sample_weight):
    """For each chunk its rows, its labels and its weights, or None."""
    check_rows_of_chunks(X)
    if y is None:
        raise ValueError(
            f"{name} requires y to be passed, but the target y is None: y holds the "
            "domain of each row of X, as a collection with the chunks of X (see "
            "skdre.pool)."
        )
    labels = _beside(y, "y", X)
    weights = [None] * len(labels)
    if sample_weight is not None:
        weights = _beside(sample_weight, "sample_weight", X)
    return list(zip(_blocks(X), labels, weights, strict=True))


def note_columns(estimator, X, *, reset=True):
    """Note the columns of X in the estimator, as for rows in memory, or compare."""
    if is_collection(X):
        check_rows_of_chunks(X)
        X = _sample(X)
    validate_data(estimator, X, reset=reset, skip_check_array=True)


# --- what is computed ---------------------------------------------------------------


def named_error(error, number, n_chunks=None):
    """The same kind of error, with the chunk at fault."""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    of = "" if n_chunks is None else f" of {n_chunks}"
    return kind(f"Chunk {number}{of} (counted from 0): {error}")


def _add_parts(parts):
    """Sums of pairs, or of single sums, any of which may be missing."""
    parts = [each for each in parts if each is not None]
    if not parts:
        return None
    if not isinstance(parts[0], tuple):
        return reduce(add, parts)
    present = [[x for x in each if x is not None] for each in zip(*parts, strict=True)]
    return tuple(reduce(add, each) if each else None for each in present)


def check_workers():
    """Refuse to wait for ever for a cluster that has no workers."""
    import dask.base

    client = getattr(dask.base.get_scheduler(), "__self__", None)
    if hasattr(client, "nthreads") and not client.nthreads():
        raise RuntimeError(
            "The Dask client has no workers, so nothing would ever be computed. Start "
            "some (cluster.scale(2)), for a cluster that adapts at least one "
            "(cluster.adapt(minimum=1)), and wait for them "
            "(client.wait_for_workers(1))."
        )


def added(parts):
    """Compute delayed sums, and what they add to."""
    import dask

    check_workers()
    join = dask.delayed(_add_parts, pure=False)
    while len(parts) > 1:
        parts = [join(parts[i : i + _FAN_IN]) for i in range(0, len(parts), _FAN_IN)]
    (found,) = dask.compute(parts[0])
    return found


def constant(value):
    """A node of the graph for what all chunks are given."""
    import dask

    return dask.delayed(value, traverse=False, pure=False, name=None)


# --- predictions --------------------------------------------------------------------


def _on_block(block, estimator, method, like, block_info=None, partition_info=None):
    """Predictions at a chunk, its number in an error."""
    if num_samples(block) == 0:
        return like
    try:
        return getattr(estimator, method)(block)
    except (TypeError, ValueError) as error:
        if block_info:
            first = block_info[0]
            place = first["chunk-location"][0], first["num-chunks"][0]
        elif partition_info:
            place = partition_info["number"], None
        else:
            raise
        raise named_error(error, *place) from error


def lazily(estimator: Any, method: str, X: Any, like: np.ndarray) -> Any:
    """A prediction at each row of a collection, as a lazy array of the same chunks.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    method : str
        Its method that predicts.
    X : Dask array or data frame of shape (n_samples, n_features)
    like : ndarray
        An empty prediction, of shape (0,) or (0, n_outputs).

    Returns
    -------
    prediction : Dask array of shape (n_samples,) or (n_samples, n_outputs)
    """
    import dask

    note_columns(estimator, X, reset=False)
    if not _is_array(X):
        return X.map_partitions(_on_block, estimator, method, like, meta=like)
    node = dask.delayed(estimator, traverse=False, pure=False)
    shape: dict[str, Any] = {"drop_axis": 1}
    if like.ndim > 1:
        shape = {"chunks": (X.chunks[0], (like.shape[1],))}
    return X.map_blocks(
        _on_block, node, method, like, dtype=like.dtype, meta=like, **shape
    )


def on_blocks(function: Callable[[Any], Any], values: Any, like: np.ndarray) -> Any:
    """A function of an array, of a lazy one block by block.

    Parameters
    ----------
    function : callable
        Of values of shape (n_samples,).
    values : ndarray or Dask array of shape (n_samples,)
    like : ndarray
        An empty result, of shape (0,) or (0, n_outputs).

    Returns
    -------
    result : ndarray or Dask array
    """
    if not is_collection(values):
        return function(values)
    shape: dict[str, Any] = {}
    if like.ndim > 1:
        shape = {"new_axis": 1, "chunks": (values.chunks[0], (like.shape[1],))}
    return values.map_blocks(function, dtype=like.dtype, meta=like, **shape)


def over_chunks(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a method that predicts one number a row: of a collection it is lazy.

    Parameters
    ----------
    method : function
        ``method(self, X)``.

    Returns
    -------
    decorated : function
    """

    @wraps(method)
    def predict(self, X):
        if not is_collection(X) or getattr(self, "_is_lazy", False):
            return method(self, X)
        check_is_fitted(self)
        return lazily(self, method.__name__, X, np.empty(0))

    return predict
