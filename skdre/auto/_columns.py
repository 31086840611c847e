"""Tables of any columns as numbers, in two forms: for trees, and for all others."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skdre._core.frames import is_frame

__all__ = ["Columns", "learn_columns"]

# A level of a category has a column of its own from this many rows on, and so many of
# them at most; the others are pooled. Trees take so many levels.
_ROWS_OF_A_LEVEL = 10
_MOST_LEVELS = 30


@dataclass(frozen=True)
class Column:
    """A column of numbers, or of words or levels of a category.

    Attributes
    ----------
    name : str
    has_missing : bool
        Whether values were missing in fit, so that an indicator says where.
    median : float
        Of numbers, in the place of missing ones.
    low, high : float
        What absurd numbers are drawn in to.
    levels : list or None
        Those that have a column of their own, and a code, their position; None for
        numbers.
    has_rest : bool
        Whether there were other levels, which have the next code together.
    """

    name: str
    has_missing: bool
    median: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    levels: list[Any] | None = None
    has_rest: bool = False

    @property
    def is_category(self):
        return self.levels is not None

    @property
    def n_plain(self):
        """Columns that it becomes."""
        return (len(self.levels) if self.is_category else 1) + self.has_missing

    def coded(self, values):
        """Numbers as they are, codes of levels, and NaN for missing values."""
        if not self.is_category:
            return _floats(values)
        codes = {level: float(code) for code, level in enumerate(self.levels)}
        # A level never seen is one of the rest, or unknown as a missing value is.
        rest = float(len(self.levels)) if self.has_rest else np.nan
        return np.array(
            [np.nan if _is_missing(each) else codes.get(each, rest) for each in values]
        )

    def plain(self, coded):
        """Numbers without missing ones, or a column for each level; the indicator."""
        missing = np.isnan(coded)
        if self.is_category:
            columns = [(coded == k).astype(float) for k in range(len(self.levels))]
        else:
            drawn_in = np.clip(coded, self.low, self.high)
            columns = [np.where(missing, self.median, drawn_in)]
        if self.has_missing:
            columns.append(missing.astype(float))
        return columns


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are, and how they become numbers.

    Attributes
    ----------
    columns : list of Column
    """

    columns: list[Any]

    @property
    def categorical(self):
        """Which columns hold codes."""
        return np.array([each.is_category for each in self.columns])

    @property
    def are_plain(self):
        """Whether both forms are the same: numbers, none of them missing."""
        return not any(each.is_category or each.has_missing for each in self.columns)

    def coded(self, X):
        """Numbers as they are, codes for levels, NaN for missing: for trees."""
        return np.column_stack(
            [c.coded(values) for c, values in zip(self.columns, X.T, strict=True)]
        )

    def plain(self, coded):
        """Medians and indicators for missing values, a column for each level."""
        found = [
            part
            for c, values in zip(self.columns, coded.T, strict=True)
            for part in c.plain(values)
        ]
        # A table of words that are all different tells nothing.
        return np.column_stack(found) if found else np.zeros((len(coded), 1))

    def drawn_in(self, scales=None):
        """The same, with absurd numbers drawn in as the scales of plain columns say.

        None draws nothing in.
        """
        place, columns = 0, []
        for each in self.columns:
            low, high = -np.inf, np.inf
            if scales is not None and not each.is_category:
                low, high = float(scales.low[place]), float(scales.high[place])
            columns.append(replace(each, low=low, high=high))
            place += each.n_plain
        return Columns(columns)

    @property
    def plain_names(self):
        """Names of the columns of the plain form."""
        return [
            each.name if part == 0 or each.is_category else f"{each.name} is missing"
            for each in self.columns
            for part in range(each.n_plain)
        ]


def _is_missing(value):
    if value is None or type(value).__name__ == "NAType":
        return True
    return not isinstance(value, str) and bool(value != value)


def _floats(values):
    if values.dtype.kind != "O":
        return values.astype(np.float64)
    return np.array([np.nan if _is_missing(each) else each for each in values], float)


def _is_category(values):
    """Whether a column of objects holds words; raises where it holds anything else."""
    for value in values:
        if _is_missing(value):
            continue
        if isinstance(value, str | bytes):
            return True
        float(value)
    return False


def _categories_of_frame(X, n_columns):
    """Columns whose type says that they are categories, whatever their levels are."""
    if not is_frame(X):
        return np.zeros(n_columns, bool)
    if hasattr(X, "iloc"):
        dtypes = [X.iloc[:, j].dtype for j in range(X.shape[1])]
    else:
        dtypes = [X[name].dtype for name in X.columns]
    return np.array(
        [str(each).startswith(("category", "Categorical", "Enum")) for each in dtypes],
        bool,
    )


def learn_columns(values, given, rows, names=None):
    """What the columns of a table are.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
        As :func:`skdre._core.columns.check_frame` gives them.
    given : ndarray or DataFrame of shape (n_samples, n_features)
        The table as it came, whose types say what is a category.
    rows : skdre._core.samples.DistinctRows
        Which rows are distinct, and their weights.
    names : sequence of str, default=None

    Returns
    -------
    columns : Columns
    """
    by_type = _categories_of_frame(given, values.shape[1])
    columns = []
    for j in range(values.shape[1]):
        name = f"{j}" if names is None else str(names[j])
        column = values[rows.index, j]
        is_object = column.dtype.kind == "O"
        if by_type[j] or (is_object and _is_category(column)):
            columns.append(_learn_category(name, column, rows.weight))
        else:
            columns.append(_learn_number(name, column, rows))
    return Columns(columns)


def _learn_number(name, column, rows):
    column = _floats(column)
    missing = np.isnan(column)
    if missing.all():
        return Column(name, True)
    if not missing.any():
        return Column(name, False)
    seen, weight = column[~missing], rows.weight[~missing]
    is_p = rows.is_numerator[~missing]
    # Both samples count half, so that their sizes do not matter.
    share = np.zeros(len(seen))
    for domain in (is_p, ~is_p):
        if domain.any():
            share[domain] = weight[domain] / weight[domain].sum()
    order = np.lexsort((share, seen))
    half = np.searchsorted(np.cumsum(share[order]), share.sum() / 2)
    median = seen[order][min(half, len(seen) - 1)]
    return Column(name, True, median=float(median))


def _learn_category(name, column, weight):
    counts, has_missing = {}, False
    for value, each in zip(column, weight, strict=True):
        if _is_missing(value):
            has_missing = True
        else:
            counts[value] = counts.get(value, 0.0) + each
    frequent = [level for level in counts if counts[level] >= _ROWS_OF_A_LEVEL]
    # By a rule that does not depend on the order of the rows.
    frequent.sort(key=lambda level: (-round(counts[level], 6), str(level)))
    levels = sorted(frequent[:_MOST_LEVELS], key=str)
    has_rest = len(levels) < len(counts)
    return Column(name, has_missing, levels=levels, has_rest=has_rest)
