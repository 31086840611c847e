"""Rows checked column by column, so that an error names the column at fault."""

import re
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from skdre._core.arrays import ArrayAPIMixin, place_of, to_host
from skdre._core.chunks import refuse_collection
from skdre._core.frames import (
    as_objects,
    is_frame,
    is_numeric,
    is_series,
    missing_mask,
    named_values,
    time_kind,
    to_numbers,
)
from skdre._core.types import Rows
from skdre._core.values import refuse_masked

__all__ = [
    "as_matrix",
    "check_frame",
    "check_mapped",
    "check_rows",
    "named_columns",
    "refuse_times",
    "validate_rows",
]

# What scikit-learn, numpy and pandas say when values turn out to be no numbers.
_NO_NUMBERS = re.compile(
    "could not convert|float\\(\\) argument|setting an array element|Cannot cast"
    "|could not be promoted|uniformly strings or numbers|Complex data|[Cc]annot convert"
    "|cannot be converted|unsupported operand|has dtype .* but should|pandas.NA|NAType"
    "|not supported by the interchange protocol"
)


def as_matrix(X: Rows, name: str = "X") -> Any:
    """One-dimensional X as a single column, anything else as it is.

    Examples
    --------
    >>> from skdre._core.columns import as_matrix
    >>> as_matrix([1.0, 2.0])
    array([[1.],
           [2.]])
    """
    refuse_collection(X, name)
    if is_frame(X) or issparse(X):
        return X
    if hasattr(X, "to_frame"):
        return X.to_frame()
    refuse_masked(X, name)
    try:
        values = X if isinstance(X, np.ndarray) else np.asarray(X)
    except ValueError:  # ragged: what checks the rows will say so
        return X
    return values.reshape(-1, 1) if values.ndim == 1 else X


_ENCODE = (
    "encode it as numbers (sklearn.preprocessing.OneHotEncoder in a "
    "ColumnTransformer), "
)
_INSTEAD = {
    "date": "make it a number, as the days since a date, or leave it out",
    "duration": "make it a number, as of seconds, or leave it out",
    "complex": "give its real and imaginary part as two columns",
    "missing": "impute it (sklearn.impute.SimpleImputer in a pipeline), leave its rows "
    "out, or take an estimator that allows missing values",
    "infinite": "replace such values, or leave their rows out",
    "words": _ENCODE + "make it a category for an estimator that takes these, or leave "
    "it out",
    "category": _ENCODE + "take an estimator that takes categories, or leave it out",
    "other": "make numbers of it, or leave it out",
}
_RANKED = "words", "category"


def refuse_times(X, name="X"):
    """Refuse columns of dates and durations, and of complex numbers, by name."""
    if is_frame(X):
        columns = named_values(X) if hasattr(X, "shape") else ()
    else:
        kind = getattr(getattr(X, "dtype", None), "kind", None)
        columns = [("", X)] if kind in ("M", "m") else ()
    for column, values in columns:
        if (kind := time_kind(values)) is not None:
            raise ValueError(
                f"{name} holds {kind}s {column and f'in {column} '}(dtype "
                f"{values.dtype}), which are no numbers: {_INSTEAD[kind]}."
            )
        if getattr(values.dtype, "kind", None) == "c":
            raise ValueError(
                f"Complex data not supported: {name} holds complex numbers in "
                f"{column}; {_INSTEAD['complex']}."
            )


@contextmanager
def named_columns(X, name="X"):
    """Let a ValueError or TypeError about values of X name the column they are in.

    Examples
    --------
    >>> from skdre._core.columns import named_columns
    >>> X = [[1.0, "a"], [2.0, "b"]]
    >>> with named_columns(X):
    ...     np.asarray(X, dtype=object).astype(float)
    Traceback (most recent call last):
    ...
    ValueError: X holds 'a' in column 1...
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        words = _words(X, name, str(error))
        if words is None:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(words) from error


def _words(X, name, message):
    """The message that names the column; None where no column is at fault."""
    if not is_frame(X):
        try:
            X = np.asarray(to_host(X))
        except ValueError:
            return None
    if len(getattr(X, "shape", ())) != 2:
        return None
    if "contains NaN" in message or "contains infinity" in message:
        for column, values in named_values(X):
            try:
                kind = _not_finite(values)
            except (TypeError, ValueError):
                continue
            if kind is not None:
                end = "" if message.endswith("\n") else "\n"
                return (
                    f"{message}{end}The first column with such a value is {column}: "
                    f"{_INSTEAD[kind]}."
                )
        return None
    if not _NO_NUMBERS.search(message):
        return None
    found = []
    for column, values in named_values(X):
        try:
            to_numbers(values)
        except (TypeError, ValueError):
            value, kind = _first_bad(values)
            # More classifiers take categories than take words, and none takes anything
            # else: that column is named first.
            rank = ("other", "words", "category").index(kind) if kind in _RANKED else 0
            found.append((rank, value, column, values.dtype, kind))
    if not found:
        return None
    _, value, column, dtype, kind = min(found, key=lambda each: each[0])
    what = "no number"
    if kind in ("date", "duration"):
        what = f"a {kind}, no number"
    elif kind == "complex":
        what = "no real number"
    return (
        f"{name} holds {value!r} in {column} (dtype {dtype}), which is {what}: "
        f"{_INSTEAD[kind]}. {message}"
    )


def _not_finite(values):
    if missing_mask(values).any():
        return "missing"
    return "infinite" if np.isinf(to_numbers(values)).any() else None


def _first_bad(values):
    """The first value that is no number, and what it is."""
    is_category = str(values.dtype).startswith(("category", "Categorical", "Enum"))
    for value in values.to_list() if is_series(values) else values.tolist():
        if isinstance(value, complex):
            return value, "complex"
        if isinstance(value, str | bytes):
            if not _is_number(value):
                return value, "category" if is_category else "words"
        elif hasattr(value, "year"):
            return value, "date"
        elif hasattr(value, "total_seconds"):
            return value, "duration"
        elif value is not None and not _is_number(value):
            return value, "other"
    return None, "other"


def _is_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return type(value).__name__ in ("NAType", "NaTType")
    return True


def check_mapped(estimator, X):
    """Rows that a fitted transformer shall map back; their columns need no names."""
    check_is_fitted(estimator)
    X = check_rows(X)
    if X.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} was fitted "
            f"with {estimator.n_features_in_}."
        )
    return X


def check_rows(X: Rows, name: str = "X", **check_params: Any) -> np.ndarray:
    """:func:`sklearn.utils.check_array`, with errors that name the column.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_samples, n_features)
    name : str, default="X"
    **check_params : dict
        Passed to :func:`sklearn.utils.check_array`; numbers are wanted by default.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)

    Raises
    ------
    ValueError, TypeError
        As check_array; for dates, and for masked arrays with masked entries.

    Examples
    --------
    >>> from skdre._core.columns import check_rows
    >>> check_rows([[1, 2]])
    array([[1., 2.]])
    """
    X = to_host(X)
    check_params = _params_for(X, name, check_params)
    if check_params["dtype"] is None and is_frame(X):
        return check_frame(X, name, **_frame_params(check_params))
    # check_array does not name the argument here.
    if name != "X" and not (is_frame(X) or issparse(X)):
        shape = np.asarray(X).shape
        if len(shape) == 1:
            raise ValueError(
                f"{name}: Expected 2D array, got 1D array of shape {shape} instead."
            )
    with named_columns(X, name):
        return check_array(X, input_name=name, **check_params)


def validate_rows(
    estimator: Any, X: Rows, *, reset: bool = False, **check_params: Any
) -> np.ndarray:
    """:func:`sklearn.utils.validation.validate_data` of X, as :func:`check_rows`.

    Parameters
    ----------
    estimator : estimator
    X : array-like or DataFrame of shape (n_samples, n_features)
    reset : bool, default=False
        Whether to store the columns, or to compare with those stored.
    **check_params : dict
        Passed to :func:`sklearn.utils.check_array`; numbers are wanted by default.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Where they came, for an estimator whose results follow them.

    Raises
    ------
    ValueError, TypeError
        As :func:`check_rows`, or if the columns are others.
    """
    if isinstance(estimator, ArrayAPIMixin) and not place_of(X).is_host:
        return _validate_there(estimator, X, reset, check_params)
    X = to_host(X)
    check_params = _params_for(X, "X", check_params)
    if check_params["dtype"] is None and is_frame(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return check_frame(X, **_frame_params(check_params))
    with named_columns(X):
        return validate_data(estimator, X, reset=reset, **check_params)


def _validate_there(estimator, X, reset, check_params):
    """:func:`validate_rows` of an array of another library, which stays where it is."""
    place = place_of(X)
    if place.xp.isdtype(X.dtype, "complex floating"):
        raise ValueError(f"Complex data not supported: X is of dtype {X.dtype}.")
    check_params = check_params | {"dtype": place.dtype}
    with named_columns(X):
        return validate_data(estimator, X, reset=reset, **check_params)


def _params_for(X, name, check_params):
    """Those of check_array, after a look at what it would let through."""
    refuse_collection(X, name)
    refuse_masked(X, name)
    check_params = {"dtype": np.float64} | check_params
    if check_params["dtype"] is not None:
        refuse_times(X, name)
    return check_params


def _frame_params(check_params):
    """The parameters of check_array that check_frame has too."""
    finite = check_params.get("ensure_all_finite", True)
    return {
        "allow_nan": None if finite is False else finite == "allow-nan",
        "ensure_min_samples": check_params.get("ensure_min_samples", 1),
    }


def check_frame(X, name="X", *, allow_nan=False, ensure_min_samples=1):
    """Values of a data frame with columns of any type, floats where all are numbers.

    Whether its columns are of use is for an inner estimator to judge.
    :func:`sklearn.utils.check_array` fails on many mixed frames: where truth values or
    nullable numbers stand beside a category. Missing values pass with `allow_nan`,
    infinite ones too where that is None.

    Examples
    --------
    >>> import pandas as pd
    >>> from skdre._core.columns import check_frame
    >>> check_frame(pd.DataFrame({"a": pd.Categorical(["x", "y"]), "b": [True, False]}))
    array([['x', 1.0],
           ['y', 0.0]], dtype=object)
    """
    # The shape, in scikit-learn's words.
    check_array(
        np.broadcast_to(np.zeros(()), X.shape),
        input_name=name,
        ensure_min_samples=ensure_min_samples,
    )
    columns, numeric = [], True
    for column, values in named_values(X):
        try:
            checked = to_numbers(values) if is_numeric(values) else None
        except (TypeError, ValueError):
            checked = None
        kind = None
        if allow_nan is False and missing_mask(values).any():
            kind, found = "missing", "NaN"
        elif allow_nan is not None and checked is not None and np.isinf(checked).any():
            kind, found = "infinite", "infinity"
        if kind is not None:
            raise ValueError(
                f"Input {name} contains {found}. The first column with such a value is "
                f"{column}: {_INSTEAD[kind]}."
            )
        if checked is None:
            numeric = False
            checked = as_objects(list(values))
        columns.append(checked)
    if numeric:
        return np.column_stack(columns)
    stacked = np.empty(X.shape, dtype=object)
    for number, values in enumerate(columns):
        stacked[:, number] = values
    return stacked
