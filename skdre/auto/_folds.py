"""Which share of each row a fold holds out: copies, and rows of a group, together."""

from dataclasses import replace
from numbers import Integral

import numpy as np
from sklearn.model_selection import check_cv

from skdre._core.folds import held_out_weights
from skdre._core.groups import balanced_folds, joined_groups
from skdre.auto._combine import HeldOut

__all__ = ["deal"]


def deal(rows, cv, given, groups=None, random_state=None):
    """Deal distinct rows to folds.

    Parameters
    ----------
    rows : skdre._core.samples.DistinctRows
    cv : int, cross-validation generator or iterable
        Number of folds, at most, where a sample has fewer observations; or splits,
        whose test rows are held out.
    given : skdre.base.LabelledRows
        The rows as they came.
    groups : ndarray of int of shape (n_samples,), default=None
        Codes of their groups; a group stays in one fold.
    random_state : RandomState, default=None
        Draws other folds, of a number of them; None deals by a fixed rule.

    Returns
    -------
    shares : ndarray of shape (n_folds, n_distinct) or None
        The share of each row that a fold holds out; None where a sample has a single
        observation.
    held_out : HeldOut or None
        The same, as rows that are held out.
    """
    weight = given.sample_weight
    weight = np.ones(len(rows.row)) if weight is None else weight
    if not isinstance(cv, Integral):
        return _shares_of_splits(rows, cv, given, groups, weight)
    if groups is not None:
        return _deal_groups(rows, cv, groups, weight, random_state)
    weights = _deal_rows(rows, cv, random_state)
    if weights is None:
        return None, None
    return weights / rows.weight, HeldOut.of(rows, weights / rows.weight)


def _deal_rows(rows, n_folds, random_state):
    if random_state is None:
        return held_out_weights(rows, n_folds)
    # In another order, the denominator's rows still first.
    order = np.lexsort((random_state.uniform(size=len(rows.index)), rows.is_numerator))
    shuffled = replace(
        rows,
        index=rows.index[order],
        weight=rows.weight[order],
        is_atom=rows.is_atom[order],
    )
    dealt = held_out_weights(shuffled, n_folds)
    return None if dealt is None else dealt[:, np.argsort(order)]


def _shares_of_splits(rows, cv, given, groups, weight):
    y = given.is_numerator.astype(int)
    total = np.bincount(rows.row[rows.row >= 0], weight[rows.row >= 0])
    shares, tests = [], []
    for _, test in check_cv(cv, y, classifier=True).split(given.X, y, groups):
        test = np.asarray(test)[rows.row[test] >= 0]
        held_out = np.bincount(rows.row[test], weight[test], len(total))
        shares.append(held_out / total)
        tests.append(test)
    for share in shares:
        for part in (rows.is_numerator, ~rows.is_numerator):
            if not (0 < share[part].sum() < part.sum()):
                raise ValueError(
                    "A fold of cv holds out no rows of one of the two samples, or all "
                    f"of them, with a cv of type {type(cv).__name__}: use an int, or a "
                    "stratified splitter."
                )
    shares = np.array(shares)
    if groups is None:
        return shares, HeldOut.of(rows, shares)
    fold, test = np.repeat(np.arange(len(tests)), [*map(len, tests)]), np.hstack(tests)
    row = rows.row[test]
    joined = _joined(rows, row, groups[test])
    return shares, HeldOut.of_clusters(rows, row, fold, joined, weight[test])


def _joined(rows, row, group):
    # A copied row makes one group of those it stands in; repeats of atoms do not.
    own = len(rows.index) + np.arange(len(row))
    return joined_groups(group, np.where(rows.is_atom[row], own, row))


def _deal_groups(rows, n_folds, groups, weight, random_state=None):
    present = np.flatnonzero(rows.row >= 0)
    row, weight = rows.row[present], weight[present]
    joined = _joined(rows, row, groups[present])
    mass = np.zeros((2, joined.max() + 1))
    np.add.at(mass, (rows.is_numerator[row].astype(int), joined), weight)
    _check_folds(n_folds, mass)
    order = _first_rows(rows, row, joined)
    if random_state is None:
        fold = balanced_folds(mass, n_folds, order)
    else:
        # Groups of unequal sizes would be dealt in one and the same way each time.
        rank = np.argsort(np.argsort(order))
        blur = random_state.lognormal(0, 0.5, mass.shape[1])[rank]
        drawn = random_state.permutation(mass.shape[1])[rank]
        fold = balanced_folds(mass * blur, n_folds, drawn)
    shares = np.zeros((n_folds, len(rows.index)))
    np.add.at(shares, (fold[joined], row), weight)
    held_out = HeldOut.of_clusters(rows, row, fold[joined], joined, weight)
    return shares / shares.sum(axis=0), held_out


def _check_folds(n_folds, mass):
    least = (mass > 0).sum(axis=1)
    if least.min() < n_folds:
        name = ("denominator", "numerator")[int(np.argmin(least))]
        raise ValueError(
            f"groups has {least.min()} groups in the {name}, fewer than the cv="
            f"{n_folds} folds: each fold is to hold out rows of both samples. Groups "
            "that share copies of a row count as one. Set cv to that number, at least "
            "2, or leave groups out."
        )


def _first_rows(rows, row, joined):
    """The first distinct row of each group: an order that follows from the values."""
    first = np.full(joined.max() + 1, len(rows.index))
    np.minimum.at(first, joined, row)
    return first
