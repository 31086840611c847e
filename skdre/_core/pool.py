"""Two samples put together in one labelled pool."""

from typing import Any

import numpy as np
from scipy.sparse import issparse, vstack

from skdre._core.arrays import place_of, to_host
from skdre._core.chunk_parts import pool_chunks
from skdre._core.chunks import is_collection
from skdre._core.stacking import stack_frames
from skdre._core.types import Rows
from skdre._core.values import refuse_masked

__all__ = ["pool", "pool_rows"]


def pool(*, numerator: Rows, denominator: Rows) -> tuple[Any, np.ndarray]:
    """Stack two samples into the ``(X, y)`` that a ratio estimator is fitted on.

    Parameters
    ----------
    numerator : array-like or DataFrame of shape (n_numerator, n_features)
        Sample of p, the distribution above the line: the target. Or a Dask array or
        data frame, if the other sample is one too.
    denominator : array-like or DataFrame of shape (n_denominator, n_features)
        Sample of q, the distribution below the line: the source.

    Returns
    -------
    X : ndarray or DataFrame of shape (n_numerator + n_denominator, n_features)
        The numerator's rows, then the denominator's; a DataFrame when both samples
        are DataFrames, with the columns in the numerator's order and a new index.
    y : ndarray of int of shape (n_numerator + n_denominator,)
        1 for the numerator's rows, 0 for the denominator's. Of two Dask collections
        both X and y are collections of their chunks. Under array API dispatch both are
        of the library and on the device of the samples.

    Raises
    ------
    TypeError
        If only one of the samples is a DataFrame or a collection, or one is sparse.
    ValueError
        If a sample is empty or not two-dimensional, the columns differ, or a column
        has types that nothing unites, such as numbers and words; or the samples are
        arrays of two libraries, or on two devices.

    Notes
    -----
    The two DataFrames may have been read apart. A categorical column gets the levels
    of both samples; it stays ordered where both are, and two orders that contradict
    each other are an error. Strings beside a category become values of it, truth values
    beside numbers 0 and 1, and a column without any value takes the other's type.

    Examples
    --------
    >>> from skdre import pool
    >>> X, y = pool(numerator=[[2.0], [3.0]], denominator=[[0.0]])
    >>> X.ravel(), y
    (array([2., 3., 0.]), array([1, 1, 0]))
    """
    for name, sample in (("numerator", numerator), ("denominator", denominator)):
        if issparse(sample):
            raise TypeError(
                f"{name} is a sparse matrix, while a dense one is needed: pass "
                f"{name}.toarray() if it fits into memory."
            )
    return pool_rows(numerator, denominator)


def pool_rows(numerator: Rows, denominator: Rows) -> tuple[Any, np.ndarray]:
    """:func:`pool` for what takes any rows and leaves it to a part: sparse ones too.

    Parameters
    ----------
    numerator, denominator : array-like, sparse matrix or DataFrame

    Returns
    -------
    X, y
        As of :func:`pool`; a sparse X in CSR format if both samples are sparse.

    Raises
    ------
    TypeError, ValueError
        As :func:`pool`, and if only one of the samples is sparse.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skdre.base import pool_rows
    >>> X, y = pool_rows(csr_array([[1.0]]), csr_array([[2.0], [0.0]]))
    >>> X.shape, y
    ((3, 1), array([1, 0, 0]))
    """
    if is_collection(numerator) or is_collection(denominator):
        return pool_chunks(numerator, denominator)
    samples: dict[str, Any] = {"numerator": numerator, "denominator": denominator}
    frames = [name for name, each in samples.items() if hasattr(type(each), "columns")]
    if len(frames) == 1:
        raise TypeError(
            f"{frames[0]} is a DataFrame and the other sample is not; pass two "
            "DataFrames with the same columns, or two arrays."
        )
    place = _common_place(samples)
    if place.is_host and not frames:
        samples = {name: _as_array(name, x) for name, x in samples.items()}
    for name, sample in samples.items():
        if frames and not hasattr(sample, "shape"):
            continue  # no frame that can be stacked, as stack_frames will say
        if len(sample.shape) != 2:
            raise ValueError(
                f"{name} must be two-dimensional, (n_samples, n_features), got shape "
                f"{tuple(sample.shape)}; one feature is {name}.reshape(-1, 1)."
            )
        if sample.shape[0] == 0:
            raise ValueError(f"{name} is empty: it must hold at least one row.")
    first, second = samples.values()
    if frames:
        X = stack_frames(first, second, ("numerator", "denominator"))
    elif place.is_host:
        X = _stack_arrays(first, second)
    else:
        _check_widths(first, second)
        X = place.xp.concat([first, second])
    y = np.repeat([1, 0], [first.shape[0], second.shape[0]])
    return X, place.put(y)


def _common_place(samples):
    """Where the arrays of both samples are; moving one is for the user to decide."""
    places = {name: place_of(each) for name, each in samples.items()}
    first, second = places.values()
    if first.is_that_of(second):
        return first
    shown = " and ".join(f"{name} is {each}" for name, each in places.items())
    raise ValueError(
        "numerator and denominator must be arrays of one library on one device, but "
        f"{shown}: move one of them."
    )


def _as_array(name, sample):
    if issparse(sample):
        return sample
    refuse_masked(sample, name)
    try:
        return np.asarray(to_host(sample))
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from error


def _check_widths(first, second):
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            "numerator and denominator must have the same number of columns, got "
            f"{first.shape[1]} and {second.shape[1]}."
        )


def _stack_arrays(first, second):
    _check_widths(first, second)
    if issparse(first) or issparse(second):
        if not (issparse(first) and issparse(second)):
            raise TypeError(
                "One of numerator and denominator is sparse and the other is not: pass "
                "two sparse matrices, or two arrays."
            )
        return vstack([first, second], format="csr")
    # numpy would make words of the numbers, and numbers of the dates.
    kinds = [
        "n" if each.dtype.kind in "biuf" else each.dtype.kind
        for each in (first, second)
    ]
    if (
        kinds[0] != kinds[1]
        and not {"n", "O"} >= set(kinds)
        and (set(kinds) != {"O", "U"})
    ):
        raise ValueError(
            f"numerator is an array of dtype {first.dtype} and denominator one of "
            f"{second.dtype}, which have no type in common: convert one of them."
        )
    return np.concatenate([first, second])
