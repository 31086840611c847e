"""Two data frames put on top of each other, column by column.

A column keeps the meaning that it has in both frames: categories stay categories, with
the levels of both; numbers stay numbers; where the two have nothing in common the error
names the column.
"""

from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import numpy as np

from skdre._core.frames import library_of

__all__ = ["stack_frames"]


def stack_frames(first, second, names):
    """Stack two data frames of one library by column name.

    Parameters
    ----------
    first, second : DataFrame of pandas or of polars
        With the same columns, in any order.
    names : (str, str)
        What the two are called in messages.

    Returns
    -------
    stacked : DataFrame
        The columns in the order of the first; a new index.

    Raises
    ------
    TypeError
        If the frames come from two libraries, or from another than these two.
    ValueError
        If the columns differ, a name stands twice, or a column has types with nothing
        in common, or orders of its categories that contradict each other.
    """
    libraries = [library_of(each) for each in (first, second)]
    for name, frame, library in zip(names, (first, second), libraries, strict=True):
        if library not in _STACK or not hasattr(frame, "shape"):
            how = "collect()" if library == "polars" else "to_pandas()"
            raise TypeError(
                f"{name} is a {type(frame).__name__} of {library}; DataFrames of "
                f"pandas and polars are supported: convert it, as with {how}."
            )
    if libraries[0] != libraries[1]:
        raise TypeError(
            f"{names[0]} is a DataFrame of {libraries[0]} and {names[1]} one of "
            f"{libraries[1]}; pass two of one library."
        )
    _check_names(first, second, names)
    second = second[list(first.columns)]
    return _STACK[libraries[0]](first, second, names)


def _check_names(first, second, names):
    for name, frame in zip(names, (first, second), strict=True):
        columns = list(frame.columns)
        twice = sorted({str(each) for each in columns if columns.count(each) > 1})
        if twice:
            raise ValueError(
                f"{' and '.join(names)} must have the same columns, each once; {name} "
                f"has {twice} more than once."
            )
    differing = set(first.columns) ^ set(second.columns)
    if differing:
        raise ValueError(
            f"{' and '.join(names)} must have the same columns, each once; the samples "
            f"differ in {sorted(map(str, differing))}."
        )


def _nothing_in_common(column, names, dtypes):
    return ValueError(
        f"Column {column!r} is of type {dtypes[0]} in the {names[0]} and of "
        f"{dtypes[1]} in the {names[1]}: convert one of them, or leave the column out."
    )


def union_of_categories(column, names, categories, ordered):
    """Levels of two categorical columns, and whether they have an order.

    The levels of the first come first, unless both are ordered: then both orders hold
    in the union, levels that neither puts in order stand as they came, and orders that
    contradict each other are an error. `column` and `names` are for its message.
    """
    first, second = categories
    union = list(dict.fromkeys([*first, *second]))
    if not all(ordered) or union == list(first):
        if all(ordered) and [each for each in first if each in set(second)] != second:
            raise _contradiction(column, names, categories)
        return union, all(ordered)
    graph = {each: [] for each in union}
    for levels in categories:
        for lower, higher in pairwise(levels):
            graph[higher].append(lower)
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        raise _contradiction(column, names, categories) from error
    place = {each: number for number, each in enumerate(union)}
    ready, merged = [], []
    while sorter.is_active():
        # One level at a time, the earliest of those that may come next.
        ready = sorted([*ready, *sorter.get_ready()], key=place.__getitem__)
        merged.append(ready.pop(0))
        sorter.done(merged[-1])
    return merged, True


def _contradiction(column, names, categories):
    return ValueError(
        f"The ordered categories of column {column!r} contradict each other: "
        f"{list(categories[0])} in the {names[0]} and {list(categories[1])} in the "
        f"{names[1]}. Give both one order, or make one column unordered."
    )


# pandas


def _stack_pandas(first, second, names):
    import pandas as pd

    first, second = first.copy(deep=False), second.copy(deep=False)
    for place, column in enumerate(first.columns):
        parts = first.iloc[:, place], second.iloc[:, place]
        if parts[0].dtype == parts[1].dtype and parts[0].dtype != "object":
            continue
        for frame, part in zip(
            (first, second), _matched_pandas(pd, column, names, *parts), strict=True
        ):
            frame.isetitem(place, part)
    return pd.concat([first, second], ignore_index=True)


def _pandas_kind(pd, values):
    """What a column is made of, in a word; None where every value is missing."""
    types = pd.api.types
    if values.isna().all():
        return None
    if isinstance(values.dtype, pd.CategoricalDtype):
        return "category"
    if values.dtype == "object":
        # A column of objects may hold anything; what it does hold counts.
        values = values.dropna().infer_objects()
    dtype = values.dtype
    if types.is_complex_dtype(dtype):
        return "complex"
    if types.is_bool_dtype(dtype) or types.is_numeric_dtype(dtype):
        return "number"
    if dtype == "object":
        inferred = types.infer_dtype(values)
        return "text" if inferred == "string" else "object"
    if types.is_string_dtype(dtype):
        return "text"
    if types.is_datetime64_any_dtype(dtype):
        return f"datetime of time zone {getattr(dtype, 'tz', None)}"
    return "timedelta" if types.is_timedelta64_dtype(dtype) else str(dtype)


_UNITS = ("s", "ms", "us", "ns")


def _matched_pandas(pd, column, names, *parts):
    """The two parts of a column, so that pandas finds their common type."""
    kinds = [_pandas_kind(pd, each) for each in parts]
    if None in kinds:
        return _with_missing_pandas(pd, parts, kinds)
    if "category" in kinds:
        return _categories_pandas(pd, column, names, parts, kinds)
    if kinds[0] != kinds[1]:
        raise _nothing_in_common(column, names, [each.dtype for each in parts])
    if kinds[0] == "number":
        return _numbers_pandas(pd, parts)
    if parts[0].dtype != parts[1].dtype and parts[0].dtype.kind in "mM":
        # pandas 2.1 stacks no times of two units.
        finest = max((each.dt.unit for each in parts), key=_UNITS.index)
        return [each.dt.as_unit(finest) for each in parts]
    return parts


def _with_missing_pandas(pd, parts, kinds):
    """Missing values are of any type: they take the other column's."""
    place = kinds.index(None)
    if isinstance(parts[place].dtype, pd.CategoricalDtype) and kinds == [None, None]:
        place = 1 - place
    known, lost = parts[1 - place], parts[place]
    if kinds[1 - place] == "number":
        known = _numbers_pandas(pd, [known, known])[0]
        if known.dtype.kind in "biu" and isinstance(known.dtype, np.dtype):
            known = known.astype(np.float64)
    lost = pd.Series([None] * len(lost), lost.index, object).astype(known.dtype)
    return (lost, known) if place == 0 else (known, lost)


def _numbers_pandas(pd, parts):
    """Numbers as such, where they stand in a column of objects or are truth values."""
    parts = list(parts)
    for place, values in enumerate(parts):
        if values.dtype == "object":
            numbers = values.dropna().infer_objects()
            if len(numbers) < len(values):
                numbers = numbers.astype(np.float64).reindex(values.index)
            parts[place] = numbers
    truth = [pd.api.types.is_bool_dtype(each.dtype) for each in parts]
    if all(truth) and parts[0].dtype == parts[1].dtype:
        return parts
    for place, values in enumerate(parts):
        if truth[place]:
            # pandas makes objects of truth values beside numbers.
            plain = isinstance(values.dtype, np.dtype)
            if all(truth):
                parts[place] = values.astype("boolean")
            else:
                parts[place] = values.astype(np.int64 if plain else "Int64")
    return parts


def _categories_pandas(pd, column, names, parts, kinds):
    categories, ordered = [], []
    for values, kind in zip(parts, kinds, strict=True):
        if kind == "category":
            categories.append(values.cat.categories)
            ordered.append(bool(values.cat.ordered))
        else:
            # Plain values beside a category are values of it.
            categories.append(pd.Index(values.dropna().unique()).infer_objects())
            ordered.append(None)
    inner = [
        None if not len(each) else _pandas_kind(pd, each.to_series())
        for each in categories
    ]
    if None not in inner and inner[0] != inner[1]:
        described = [
            f"{each.dtype} of {of.dtype}" if kind == "category" else str(each.dtype)
            for each, of, kind in zip(parts, categories, kinds, strict=True)
        ]
        raise _nothing_in_common(column, names, described)
    lists = [list(each) for each in categories]
    if None in ordered:
        # Plain values have no order: that of the category holds if it has all of them.
        place = ordered.index(None)
        known = lists[1 - place]
        new = [each for each in lists[place] if each not in set(known)]
        union = known + (new if inner[0] == "object" else sorted(new))
        keeps_order = ordered[1 - place] and not new
    else:
        union, keeps_order = union_of_categories(column, names, lists, ordered)
    levels = pd.Index(union)
    if "text" in inner:
        # One kind of strings, that of the first column that has any.
        levels = levels.astype(categories[inner.index("text")].dtype)
    dtype = pd.CategoricalDtype(levels, ordered=keeps_order)
    # As objects, or pandas keeps each part's own type of strings in its levels.
    return [
        pd.Series(pd.Categorical(each.astype(object), dtype=dtype), each.index)
        for each in parts
    ]


# polars


def _stack_polars(first, second, names):
    import polars as pl

    for column in first.columns:
        parts = first[column], second[column]
        if parts[0].dtype == parts[1].dtype:
            continue
        dtype = _common_polars(pl, column, names, *parts)
        if dtype is not None:
            first, second = (
                frame.with_columns(part.cast(dtype))
                for frame, part in zip((first, second), parts, strict=True)
            )
    return pl.concat([first, second], how="vertical_relaxed")


def _polars_kind(pl, values):
    dtype = values.dtype
    if values.null_count() == len(values):
        return None
    if dtype in (pl.Categorical, pl.Enum):
        return "category"
    if dtype.is_numeric() or dtype == pl.Boolean:
        return "number"
    if dtype == pl.String:
        return "text"
    if dtype == pl.Datetime:
        return f"datetime of time zone {dtype.time_zone}"
    return str(dtype.base_type())


def _common_polars(pl, column, names, *parts):
    """The type to cast both parts to; None where polars finds it itself."""
    kinds = [_polars_kind(pl, each) for each in parts]
    dtypes = [each.dtype for each in parts]
    if None in kinds:
        # Missing values are of any type: they take the other column's.
        return dtypes[1 - kinds.index(None)]
    if "category" in kinds and set(kinds) <= {"category", "text"}:
        if all(each == pl.Enum for each in dtypes):
            levels = [each.categories.to_list() for each in dtypes]
            return pl.Enum(union_of_categories(column, names, levels, (True, True))[0])
        for dtype, other in zip(dtypes, parts[::-1], strict=True):
            # Values without an order of their own fit an Enum that has all of them.
            if dtype == pl.Enum:
                found = set(other.drop_nulls().cast(pl.String).unique())
                if found <= set(dtype.categories):
                    return dtype
        return pl.Categorical
    if kinds[0] != kinds[1]:
        raise _nothing_in_common(column, names, dtypes)
    return None


_STACK = {"pandas": _stack_pandas, "polars": _stack_polars}
