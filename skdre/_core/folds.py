"""Folds that hold out observations: copies of a row together, repeats one by one."""

import numpy as np

from skdre._core.rows import repeats_of

__all__ = ["held_out_weights", "member_folds"]

# Folds of an ensemble with fewer members: each holds out no more than a quarter.
_MIN_FOLDS = 4


def held_out_weights(rows, n_folds):
    """Weights with which each fold holds out distinct rows.

    A row with a continuous value goes to one fold with all its weight, so that no
    classifier is fitted on a copy of a row that is held out from it. The repeats of a
    row of atoms are dealt one by one. The folds follow from the rows alone; kernel
    searches, which draw theirs, balance them along a random projection instead
    (:func:`skdre.kernel._search.deal_folds`).

    Parameters
    ----------
    rows : skdre._core.samples.PooledRows or skdre._core.samples.DistinctRows
        Whose order says nothing about them; a weight of 0 is absence.
    n_folds : int
        Number of folds, at most.

    Returns
    -------
    held_out : ndarray of shape (n_folds, n_rows) or None
        They sum to the weights; fewer folds where a domain has fewer observations, None
        where one has less than two.
    """
    weight, is_numerator = rows.weight, rows.is_numerator
    repeats = repeats_of(weight, rows.is_atom)
    parts = []
    for domain in (is_numerator, ~is_numerator):
        rows = np.flatnonzero(domain & (weight > 0))
        parts.append((rows, np.cumsum(repeats[rows])))
    n_folds = int(min(n_folds, *(end[-1] for _, end in parts)))
    if n_folds < 2:
        return None
    held_out = np.zeros((n_folds, len(weight)))
    folds = np.arange(n_folds)[:, None]

    def count_before(place):
        """How many places before this one go to each fold, of a line dealt in turn."""
        return place // n_folds + (place % n_folds > folds)

    for rows, end in parts:
        start = end - repeats[rows]
        share = (count_before(end) - count_before(start)) / (end - start)
        held_out[:, rows] = share * weight[rows]
    return held_out


def member_folds(rows, n_members):
    """Weights with which each member of an ensemble holds out the rows.

    Parameters
    ----------
    rows : skdre._core.samples.PooledRows
        The rows.
    n_members : int
        Number of members.

    Returns
    -------
    held_out : ndarray of shape (n_members, n_rows) or None
        None if a sample has a single observation: none can be held out.
    """
    folds = held_out_weights(rows, max(n_members, _MIN_FOLDS))
    if folds is None:
        return None
    return folds[np.arange(n_members) % len(folds)]
