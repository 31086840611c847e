"""The columns of two tables side by side, as numbers or as levels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from skdre._core.columns import as_matrix, check_rows, refuse_times
from skdre._core.frames import (
    as_objects,
    is_frame,
    is_numeric,
    missing_mask,
    to_numbers,
)

__all__ = ["ColumnPair", "paired_columns"]

# A column of words with more levels than this is a name or a text, not a category.
_MOST_LEVELS = 1000


@dataclass(frozen=True)
class ColumnPair:
    """One column of the source and of the target.

    Attributes
    ----------
    name : str
    source, target : ndarray of shape (n_source,) or (n_target,)
        Numbers with NaN where they are missing, or positions in `levels`, -1 where
        they are missing.
    levels : list or None
        Of a category, those of both tables; None for numbers.
    """

    name: str
    source: np.ndarray
    target: np.ndarray
    levels: list[Any] | None = None

    @property
    def is_category(self):
        return self.levels is not None

    @property
    def missing(self):
        """Where the values of the source, and of the target, are missing."""
        if self.is_category:
            return self.source < 0, self.target < 0
        return np.isnan(self.source), np.isnan(self.target)


def _checked(X, name):
    """A frame as it is, anything else as a matrix; what is no table is refused."""
    if issparse(X):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required: use "
            f"{name}.toarray()."
        )
    X = as_matrix(X, name)
    refuse_times(X, name)
    checked = check_rows(X, name, dtype=None, ensure_all_finite="allow-nan")
    return X if is_frame(X) else checked


def _named(X):
    """Names of the columns, those of scikit-learn where there are none, and values."""
    if not is_frame(X):
        return {f"x{j}": values for j, values in enumerate(X.T)}
    names = [str(name) for name in X.columns]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"The tables must not have a column twice, got {twice}.")
    return {str(name): X[name] for name in X.columns}


def _same_columns(source, target):
    if is_frame(source) != is_frame(target):
        raise TypeError(
            f"X_source is a {type(source).__name__} and X_target a "
            f"{type(target).__name__}; pass two DataFrames with the same columns, or "
            "two arrays."
        )
    source, target = _named(source), _named(target)
    if source.keys() != target.keys():
        differing = sorted(source.keys() ^ target.keys())
        raise ValueError(
            "X_target must have the columns of X_source, but they differ in "
            f"{differing}."
        )
    return source, target


def _is_category(values):
    """Whether the type says so, or there are words."""
    if str(values.dtype).startswith(("category", "Categorical", "Enum")):
        return True
    if is_numeric(values):
        return False
    return any(isinstance(each, str | bytes) for each in _listed(values))


def _listed(values):
    return values.to_list() if hasattr(values, "to_list") else values.tolist()


def _codes(name, source, target):
    """Positions in the sorted levels of both tables."""
    found = []
    for values in (source, target):
        missing = missing_mask(values)
        found.append((as_objects(_listed(values)), missing))
    levels = sorted(
        {each for values, missing in found for each in values[~missing]}, key=str
    )
    if len(levels) > _MOST_LEVELS:
        raise ValueError(
            f"Column {name!r} has {len(levels)} different levels, more than "
            f"{_MOST_LEVELS}: leave it out, or group its levels."
        )
    place = {level: code for code, level in enumerate(levels)}
    codes = []
    for values, missing in found:
        code = np.full(len(values), -1)
        code[~missing] = [place[each] for each in values[~missing]]
        codes.append(code)
    return *codes, levels


def paired_columns(X_source, X_target):
    """The columns of two tables, in the order of the source.

    Parameters
    ----------
    X_source, X_target : array-like or DataFrame of shape (n_rows, n_features)
        Numbers, categories, words; missing values are let through.

    Returns
    -------
    columns : list of ColumnPair
    """
    source, target = _same_columns(
        _checked(X_source, "X_source"), _checked(X_target, "X_target")
    )
    columns = []
    for name, values in source.items():
        pair = values, target[name]
        if any(map(_is_category, pair)):
            columns.append(ColumnPair(name, *_codes(name, *pair)))
            continue
        try:
            columns.append(ColumnPair(name, *map(to_numbers, pair)))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Column {name!r} holds values that are neither numbers nor words: "
                f"{error}. Make numbers or a category of it, or leave it out."
            ) from error
    return columns
