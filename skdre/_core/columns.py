"""Rows checked column by column, so that an error names the column that is to blame."""

import re
from contextlib import contextmanager

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from skdre._core.values import refuse_masked

__all__ = [
    "as_matrix",
    "check_frame",
    "check_rows",
    "is_frame",
    "named_columns",
    "plain_missing",
    "refuse_times",
    "replace_columns",
    "validate_rows",
]

# What scikit-learn, numpy and pandas say when values turn out to be no numbers.
_NO_NUMBERS = re.compile(
    "could not convert|float\\(\\) argument|setting an array element|Cannot cast"
    "|could not be promoted|uniformly strings or numbers|Complex data|[Cc]annot convert"
    "|cannot be converted|unsupported operand|has dtype .* but should|pandas.NA|NAType"
)


def is_frame(X):
    """Whether X is a data frame, pandas' or polars'.

    Parameters
    ----------
    X : object

    Returns
    -------
    answer : bool

    Examples
    --------
    >>> from skdre._core.columns import is_frame
    >>> is_frame([[1.0]])
    False
    """
    # Asked of the type: a LazyFrame warns of the cost when it is asked itself. Tables
    # of pyarrow are taken for arrays, as scikit-learn takes them.
    return hasattr(type(X), "columns") and not hasattr(type(X), "column_names")


def as_matrix(X, name="X"):
    """One-dimensional X as a single column, anything else as it is.

    Parameters
    ----------
    X : array-like, Series or DataFrame
    name : str, default="X"
        What it is called in messages.

    Returns
    -------
    X : array-like of shape (n_samples, n_features) or DataFrame

    Raises
    ------
    ValueError
        If it is a masked array with masked entries.

    Examples
    --------
    >>> from skdre._core.columns import as_matrix
    >>> as_matrix([1.0, 2.0])
    array([[1.],
           [2.]])
    """
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


def _columns(X):
    """Yield (how a column is called, its values as they are)."""
    if not is_frame(X):
        for number, values in enumerate(np.asarray(X).T):
            yield f"column {number}", values
    elif hasattr(X, "iloc"):
        for number, name in enumerate(X.columns):
            yield f"column {name!r}", X.iloc[:, number]
    else:
        for name in X.columns:
            yield f"column {name!r}", X[name]


def _numbers(values):
    """Values of one column as floats, missing ones as NaN; raises where they are none.

    What check_array would turn silently into numbers that mean nothing, dates, fails
    too.
    """
    kind = _time_kind(values)
    if kind is not None:
        raise TypeError(f"{kind}s are no numbers")
    if getattr(values.dtype, "kind", None) == "c":
        raise ValueError("Complex data not supported")
    if _is_series(values):
        numeric = _is_numeric(values)
        if hasattr(values, "isna"):
            if numeric:
                return values.to_numpy(dtype=np.float64, na_value=np.nan)
            values = values.astype(object).to_numpy(dtype=object, na_value=np.nan)
        elif numeric:
            values = values.to_numpy()
        else:
            values = _objects(values.to_list())
    return values.astype(np.float64)


def _objects(values):
    """A list of anything as an array, one entry for each."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _is_series(values):
    return hasattr(values, "dtype") and not isinstance(values, np.ndarray)


def _time_kind(values):
    """ "date" or "duration", where a column holds these; None elsewhere."""
    dtype = values.dtype
    kind = getattr(dtype, "kind", None)
    if kind in ("M", "m"):
        return "date" if kind == "M" else "duration"
    if hasattr(dtype, "is_temporal") and dtype.is_temporal():
        return "duration" if "Duration" in str(dtype) else "date"
    if str(dtype).startswith("period["):
        return "date"
    return None


def _missing(values):
    """Mask of what is missing, whatever the type of the column."""
    if hasattr(values, "isna"):
        return values.isna().to_numpy()
    if _is_series(values):
        missing = values.is_null()
        if values.dtype.is_float():
            missing = missing | values.is_nan()
        return missing.to_numpy()
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "O":
        return np.array([each is None or _differs(each) for each in values], dtype=bool)
    return np.zeros(len(values), dtype=bool)


def _differs(value):
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas.NA is neither; an array is not one value
        return type(value).__name__ == "NAType"


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
    """Refuse columns of dates and durations, and of complex numbers.

    Parameters
    ----------
    X : array-like or DataFrame
    name : str, default="X"

    Raises
    ------
    ValueError
        If there is one; names it.
    """
    if not is_frame(X):
        dtype = getattr(X, "dtype", None)
        if isinstance(dtype, np.dtype) and dtype.kind in "Mm":
            kind = "date" if dtype.kind == "M" else "duration"
            raise ValueError(
                f"{name} holds {kind}s (dtype {dtype}), which are no numbers: "
                f"{_INSTEAD[kind]}."
            )
        return
    if not hasattr(X, "shape"):
        return
    for column, values in _columns(X):
        if (kind := _time_kind(values)) is not None:
            raise ValueError(
                f"{name} holds {kind}s in {column} (dtype {values.dtype}), which are "
                f"no numbers: {_INSTEAD[kind]}."
            )
        if getattr(values.dtype, "kind", None) == "c":
            raise ValueError(
                f"Complex data not supported: {name} holds complex numbers in "
                f"{column}; {_INSTEAD['complex']}."
            )


@contextmanager
def named_columns(X, name="X"):
    """Let errors about values of X say which column they are in.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_samples, n_features)
    name : str, default="X"

    Raises
    ------
    ValueError, TypeError
        As raised inside, with the column in the message where one is to blame.

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
    """The message that names the column; None where no column is to blame."""
    if not is_frame(X):
        try:
            X = np.asarray(X)
        except ValueError:
            return None
    if len(getattr(X, "shape", ())) != 2:
        return None
    if "contains NaN" in message or "contains infinity" in message:
        for column, values in _columns(X):
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
    for column, values in _columns(X):
        try:
            _numbers(values)
        except (TypeError, ValueError):
            value, kind = _first_bad(values)
            # Some classifiers take categories, more of them than take words, and
            # nobody takes anything else: that is to blame first.
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
    if _missing(values).any():
        return "missing"
    return "infinite" if np.isinf(_numbers(values)).any() else None


def _first_bad(values):
    """The first value that is no number, and what it is."""
    is_category = str(values.dtype).startswith(("category", "Categorical", "Enum"))
    for value in values.to_list() if _is_series(values) else values.tolist():
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


def check_rows(X, name="X", **check_params):
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
    check_params = {"dtype": np.float64} | check_params
    refuse_masked(X, name)
    if check_params["dtype"] is not None:
        refuse_times(X, name)
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


def validate_rows(estimator, X, *, reset=False, **check_params):
    """:func:`sklearn.utils.validation.validate_data` of X, as :func:`check_rows`.

    Parameters
    ----------
    estimator : estimator
    X : array-like or DataFrame of shape (n_samples, n_features)
    reset : bool, default=False
        Whether to learn the columns, or to compare with those learnt.
    **check_params : dict
        Passed to :func:`sklearn.utils.check_array`; numbers are wanted by default.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)

    Raises
    ------
    ValueError, TypeError
        As :func:`check_rows`, or if the columns are others.
    """
    check_params = {"dtype": np.float64} | check_params
    refuse_masked(X, "X")
    if check_params["dtype"] is not None:
        refuse_times(X)
    if check_params["dtype"] is None and is_frame(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return check_frame(X, **_frame_params(check_params))
    with named_columns(X):
        return validate_data(estimator, X, reset=reset, **check_params)


def _frame_params(check_params):
    """The parameters of check_array that check_frame has too."""
    finite = check_params.get("ensure_all_finite", True)
    return {
        "allow_nan": None if finite is False else finite == "allow-nan",
        "ensure_min_samples": check_params.get("ensure_min_samples", 1),
    }


def check_frame(X, name="X", *, allow_nan=False, ensure_min_samples=1):
    """Check a data frame of columns of any type, which a part further in is to judge.

    :func:`sklearn.utils.check_array` fails on many mixed frames: where truth values or
    nullable numbers stand beside a category.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)
    name : str, default="X"
    allow_nan : bool or None, default=False
        Whether missing values pass; None lets infinite ones pass too.
    ensure_min_samples : int, default=1

    Returns
    -------
    values : ndarray of shape (n_samples, n_features)
        Of float64 if all columns are numbers, with NaN where a value is missing, else
        of objects.

    Raises
    ------
    ValueError
        If there are too few rows or no columns, or a value is missing or infinite.

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
    for column, values in _columns(X):
        try:
            checked = _numbers(values) if _is_numeric(values) else None
        except (TypeError, ValueError):
            checked = None
        kind = None
        if allow_nan is False and _missing(values).any():
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
            checked = _objects(list(values))
        columns.append(checked)
    if numeric:
        return np.column_stack(columns)
    stacked = np.empty(X.shape, dtype=object)
    for number, values in enumerate(columns):
        stacked[:, number] = values
    return stacked


def _is_numeric(values):
    dtype = values.dtype
    if hasattr(dtype, "is_numeric"):  # polars
        return dtype.is_numeric() or str(dtype) == "Boolean"
    return getattr(dtype, "kind", "O") in "biuf"


def plain_missing(X):
    """A frame without pandas.NA, which scikit-learn's transformers cannot take.

    Nullable numbers and truth values with missing ones become floats with NaN, nullable
    strings objects with NaN, and polars' truth values with missing ones floats. Columns
    without missing values stay as they are.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)

    Returns
    -------
    X : DataFrame of shape (n_samples, n_features)
        A new one if a column was changed.

    Examples
    --------
    >>> import pandas as pd
    >>> from skdre._core.columns import plain_missing
    >>> plain_missing(pd.DataFrame({"a": pd.array([1, None], dtype="Int64")})).a.dtype
    dtype('float64')
    """
    if not hasattr(X, "iloc"):
        truths = [
            values.cast(float)
            for values in (X[name] for name in X.columns)
            if str(values.dtype) == "Boolean" and values.null_count()
        ]
        return X.with_columns(truths) if truths else X
    changed = X
    for number in range(X.shape[1]):
        values = X.iloc[:, number]
        dtype = values.dtype
        if isinstance(dtype, np.dtype):
            if dtype.kind != "O" or not any(
                type(each).__name__ == "NAType" for each in values
            ):
                continue
        elif not (
            type(getattr(dtype, "na_value", None)).__name__ == "NAType"
            and values.isna().any()
        ):
            continue
        kind = getattr(dtype, "kind", "O")
        if kind in "biuf":
            plain = values.to_numpy(dtype=np.float64, na_value=np.nan)
        elif kind in "OSU":
            plain = values.astype(object).where(values.notna(), np.nan).to_numpy()
        else:
            continue
        if changed is X:
            changed = X.copy(deep=False)
        changed.isetitem(number, plain)
    return changed


def replace_columns(X, columns):
    """A table with other values in some of its columns; X stays as it is.

    Parameters
    ----------
    X : ndarray or DataFrame of shape (n_samples, n_features)
    columns : dict of int to ndarray or series of shape (n_samples,)
        Values by the position of the column.

    Returns
    -------
    table : ndarray or DataFrame of shape (n_samples, n_features)

    Examples
    --------
    >>> import numpy as np
    >>> from skdre._core.columns import replace_columns
    >>> replace_columns(np.zeros((2, 2)), {1: [5.0, 6.0]})
    array([[0., 5.],
           [0., 6.]])
    """
    if not is_frame(X):
        X = np.array(X)
        for j, values in columns.items():
            X[:, j] = values
    elif hasattr(X, "iloc"):
        X = X.copy(deep=False)
        for j, values in columns.items():
            X.isetitem(j, values)
    else:
        import polars

        X = X.with_columns(
            polars.Series(X.columns[j], values) for j, values in columns.items()
        )
    return X
