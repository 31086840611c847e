"""A labelled pool as it came, ready to be dealt to folds."""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from skdre._compat import safe_indexing
from skdre._core.columns import as_matrix
from skdre._core.frames import is_frame, replace_columns
from skdre._core.groups import group_codes, joined_groups
from skdre._core.rows import as_numbers, observations
from skdre._core.scales import column_scales
from skdre.base import check_pool

__all__ = ["DomainRows", "Fold", "domain_rows", "without_extremes"]


class Fold(NamedTuple):
    """Rows to fit on with their domains, 1 for the numerator, and rows held out.

    `groups` are those of the rows to fit on, which the folds of the fit itself are to
    keep together; None without groups.
    """

    X: Any
    y: np.ndarray
    X_test: Any
    groups: np.ndarray | None = None


class DomainRows(NamedTuple):
    """A labelled pool, and which of its rows are one observation.

    `observation` is the position of each row's first copy, `groups` the codes of the
    groups that were given, and `cluster` the number of what is independent of the
    rest: a group with those that it shares copies with, or else the observation.
    """

    X: Any
    is_numerator: np.ndarray
    classes: np.ndarray
    observation: np.ndarray
    cluster: np.ndarray
    groups: np.ndarray | None

    def distinct(self):
        """The pool with one copy of each row."""
        first = np.unique(self.observation)
        if len(first) == len(self.observation):
            return self
        return DomainRows(
            safe_indexing(self.X, first),
            self.is_numerator[first],
            self.classes,
            np.arange(len(first)),
            np.unique(self.cluster[first], return_inverse=True)[1].ravel(),
            None if self.groups is None else self.groups[first],
        )

    def clusters(self):
        """Their numbers at the numerator's and at the denominator's rows."""
        return self.cluster[self.is_numerator], self.cluster[~self.is_numerator]

    def fold(self, training, test):
        """The fold of these positions, fitted on the numerator's rows first."""
        domain = self.is_numerator[training]
        order = np.concatenate([training[domain], training[~domain]])
        return Fold(
            safe_indexing(self.X, order),
            self.is_numerator[order].astype(int),
            safe_indexing(self.X, test),
            None if self.groups is None else self.cluster[order],
        )


def domain_rows(name, X, y, groups=None, *, draw_in=True):
    """Check a labelled pool for the public function `name`.

    What a row may hold is left to the estimator that is fitted on it. Without `draw_in`
    absurd values stay, and the table does not depend on the labels.
    """
    caller = type(name, (), {})()
    X = as_matrix(X)
    rows = check_pool(
        caller, X, y, dtype=None, ensure_all_finite=False, accept_sparse="csr"
    )
    # Sparse rows are taken for distinct ones.
    observation = np.arange(len(rows.is_numerator))
    if not issparse(rows.X):
        observation = observations(rows.X, rows.is_numerator)
    groups = group_codes(groups, len(observation))
    cluster = observation if groups is None else joined_groups(groups, observation)
    given = X if is_frame(X) else rows.X
    if draw_in and not issparse(given):
        given = without_extremes(given, rows.X, rows.is_numerator)
    return DomainRows(
        given, rows.is_numerator, rows.classes, observation, cluster, groups
    )


def without_extremes(table, X, domain):
    """A table in which no absurd value is held out from a ratio that knows none.

    A fit draws the extremes of contaminated columns in to bounds, but a fold without
    them has no bounds, and its ratio at such a value has no limit: one value would
    decide on the mean over all rows. So they are drawn in once, before rows are dealt.
    """
    numbers, is_numeric = as_numbers(X)
    columns = np.flatnonzero(is_numeric & np.isfinite(numbers).all(axis=0))
    if columns.size == 0:
        return table
    values = numbers[:, columns].astype(np.float64)
    # The bounds come from the first rows, which must not be those of a sorted table.
    order = np.random.RandomState(0).permutation(len(X))
    parts = [values[order[domain[order] == side]] for side in (False, True)]
    scales = column_scales(
        [(part, np.ones(len(part))) for part in parts],
        list(table.columns[j] for j in columns) if is_frame(table) else columns,
    )
    bad = np.flatnonzero(np.isfinite(scales.low))
    if bad.size == 0:
        return table
    drawn_in = scales.draw_in(values)
    return replace_columns(table, {columns[k]: drawn_in[:, k] for k in bad})
