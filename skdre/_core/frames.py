"""Columns of a table as they are: an array, or a frame of pandas or polars."""

import numpy as np

__all__ = [
    "as_objects",
    "is_frame",
    "is_numeric",
    "is_series",
    "library_of",
    "missing_mask",
    "named_values",
    "plain_missing",
    "replace_columns",
    "time_kind",
    "to_numbers",
]


def is_frame(X):
    """Whether X is a data frame, pandas' or polars'."""
    # Asked of the type: a LazyFrame warns of the cost when it is asked itself. Tables
    # of pyarrow are taken for arrays, as scikit-learn takes them.
    return hasattr(type(X), "columns") and not hasattr(type(X), "column_names")


def library_of(frame):
    """The library that a data frame comes from: "pandas", "polars" or another name."""
    return type(frame).__module__.partition(".")[0]


def is_series(values):
    return hasattr(values, "dtype") and not isinstance(values, np.ndarray)


def named_values(X):
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


def is_numeric(values):
    """Whether the type of a column is one of numbers or truth values."""
    dtype = values.dtype
    if hasattr(dtype, "is_numeric"):  # polars
        return dtype.is_numeric() or str(dtype) == "Boolean"
    return getattr(dtype, "kind", "O") in "biuf"


def time_kind(values):
    """ "date" or "duration", where a column or an array holds these; None elsewhere."""
    dtype = values.dtype
    kind = getattr(dtype, "kind", None)
    if kind in ("M", "m"):
        return "date" if kind == "M" else "duration"
    if hasattr(dtype, "is_temporal") and dtype.is_temporal():
        return "duration" if "Duration" in str(dtype) else "date"
    if str(dtype).startswith("period["):
        return "date"
    return None


def to_numbers(values):
    """Values of one column as floats, missing ones as NaN; raises where they are none.

    So it does for dates, which check_array would silently turn into numbers that mean
    nothing.
    """
    kind = time_kind(values)
    if kind is not None:
        raise TypeError(f"{kind}s are no numbers")
    if getattr(values.dtype, "kind", None) == "c":
        raise ValueError("Complex data not supported")
    if is_series(values):
        numeric = is_numeric(values)
        if hasattr(values, "isna"):
            if numeric:
                return values.to_numpy(dtype=np.float64, na_value=np.nan)
            values = values.astype(object).to_numpy(dtype=object, na_value=np.nan)
        elif numeric:
            values = values.to_numpy()
        else:
            values = as_objects(values.to_list())
    return values.astype(np.float64)


def as_objects(values):
    """A list of anything as an array, one entry for each."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def missing_mask(values):
    """Where the values of a column are missing, whatever its type."""
    if hasattr(values, "isna"):
        return values.isna().to_numpy()
    if is_series(values):
        missing = values.is_null()
        if values.dtype.is_float():
            missing = missing | values.is_nan()
        return missing.to_numpy()
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "O":
        return np.array([each is None or _differs(each) for each in values], dtype=bool)
    return np.zeros(len(values), dtype=bool)


def _is_pandas_na(value):
    return type(value).__name__ == "NAType"


def _differs(value):
    """Whether a value differs from itself, as NaN does."""
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas.NA is neither; an array is not one value
        return _is_pandas_na(value)


def plain_missing(X):
    """A frame without pandas.NA, which scikit-learn's transformers cannot take.

    Nullable numbers and truth values with missing ones become floats with NaN, nullable
    strings objects with NaN, and polars' truth values with missing ones floats. Columns
    without missing values stay as they are, and so does X.

    Examples
    --------
    >>> import pandas as pd
    >>> from skdre._core.frames import plain_missing
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
    found = {
        number: plain
        for number in range(X.shape[1])
        if (plain := _without_pandas_na(X.iloc[:, number])) is not None
    }
    return replace_columns(X, found) if found else X


def _without_pandas_na(values):
    """A pandas column with NaN where pandas.NA was; None if there is none."""
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        has_na = dtype.kind == "O" and any(map(_is_pandas_na, values))
    else:
        has_na = _is_pandas_na(getattr(dtype, "na_value", None)) and values.isna().any()
    kind = getattr(dtype, "kind", "O")
    if not has_na:
        return None
    if kind in "biuf":
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if kind in "OSU":
        return values.astype(object).where(values.notna(), np.nan).to_numpy()
    return None


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
    >>> from skdre._core.frames import replace_columns
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
