"""Rows told apart by their values: merged where equal, and dealt to folds.

What comes out depends neither on the order of the rows nor on whether a row stands
twice or has weight two, and so does no fit on it.
"""

import hashlib

import numpy as np

__all__ = ["held_out_weights", "member_folds", "merge_rows", "row_keys"]

# An atom, a row of a discrete variable, has more than this share of a fold's rows.
_ATOM = 0.1

# Folds of an ensemble with fewer members: each holds out no more than a quarter.
_MIN_FOLDS = 4


def merge_rows(samples):
    """Distinct rows with their weights, the denominator's first, in order of a hash.

    Neither the order of the rows nor whether a row stands twice or has weight two is
    seen in the outcome, so a fit on it depends on neither.

    Parameters
    ----------
    samples : skdre.base.TwoSamples
        The two samples.

    Returns
    -------
    X : ndarray of shape (n_distinct, n_features)
    weight : ndarray of shape (n_distinct,)
    n_denominator : int
        Distinct rows of the denominator.
    """
    parts = []
    for X, weight in (
        (samples.denominator, samples.denominator_weight),
        (samples.numerator, samples.numerator_weight),
    ):
        keys = row_keys(X)
        order = np.argsort(keys, kind="stable")
        first = np.flatnonzero(np.append(True, np.diff(keys[order]) > 0))
        weight = np.ones(len(X)) if weight is None else weight
        parts.append((X[order[first]], np.add.reduceat(weight[order], first)))
    (X_q, weight_q), (X_p, weight_p) = parts
    return np.concatenate([X_q, X_p]), np.concatenate([weight_q, weight_p]), len(X_q)


def row_keys(X):
    """A 64-bit hash of each row, which depends on nothing but its values.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Numbers, or objects.

    Returns
    -------
    keys : ndarray of uint64 of shape (n_samples,)
    """
    if X.dtype.kind == "O":
        digests = (hashlib.blake2b(repr(tuple(row)).encode()).digest() for row in X)
        numbers = (int.from_bytes(each[:8], "little") for each in digests)
        return np.fromiter(numbers, dtype=np.uint64, count=len(X))
    # Adding 0 turns -0 into 0.
    bits = (X.astype(np.float64) + 0.0).view(np.uint64)
    keys = np.zeros(len(X), dtype=np.uint64)
    for column in bits.T:
        # The finalizer of splitmix64, once a column.
        keys = keys + column + np.uint64(0x9E3779B97F4A7C15)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys = keys ^ (keys >> np.uint64(31))
    return keys


def held_out_weights(X, is_numerator, weight, n_folds):
    """Weights with which each fold holds out the rows.

    The folds depend on the values of the rows, not on their order or on whether a row
    stands twice or has a weight of two. Equal rows share a fold, so that none is held
    out from a classifier that knows it. But a row that makes up a tenth of a fold is a
    value of a discrete variable, which every fold must have: its repeats are dealt one
    by one.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows of both samples.
    is_numerator : ndarray of bool of shape (n_samples,)
        Their domains.
    weight : ndarray of shape (n_samples,)
        Repetition counts; 0 is absence. If one is no whole number, rows count as one
        repeat each where they are dealt.
    n_folds : int
        Number of folds, at most.

    Returns
    -------
    held_out : ndarray of shape (n_folds, n_samples) or None
        They sum to `weight`; fewer folds where a domain has fewer rows, None where one
        has less than two.
    """
    keys = row_keys(X)
    repeats = weight
    if not np.array_equal(weight, np.rint(weight)):
        repeats = (weight > 0).astype(np.float64)
    parts = []
    for domain in (is_numerator, ~is_numerator):
        rows = np.flatnonzero(domain & (weight > 0))
        rows = rows[np.lexsort((weight[rows], keys[rows]))]
        parts.append(
            (rows, *_lay_out(keys[rows], weight[rows], repeats[rows], n_folds))
        )
    n_folds = int(min(n_folds, *(end[-1] for _, _, end in parts)))
    if n_folds < 2:
        return None
    held_out = np.zeros((n_folds, len(weight)))
    folds = np.arange(n_folds)[:, None]

    def count_before(place):
        """How many places before this one go to each fold."""
        return place // n_folds + (place % n_folds > folds)

    for rows, start, end in parts:
        share = (count_before(end) - count_before(start)) / (end - start)
        held_out[:, rows] = share * weight[rows]
    return held_out


def _lay_out(keys, weight, repeats, n_folds):
    """Lay ordered rows out on a line, whose places are dealt to the folds in turn.

    Equal rows share one place; those of an atom take one place a repeat. Returns the
    first place of each row, and the place after its last.
    """
    is_first = np.append(True, keys[1:] != keys[:-1])
    group = np.cumsum(is_first) - 1
    is_atom = (np.bincount(group, weight) > _ATOM * weight.sum() / n_folds)[group]
    end = np.cumsum(np.where(is_atom, repeats, is_first))
    start = np.where(is_atom, end - repeats, end - 1)
    return start, end


def member_folds(X, n_denominator, weight, n_members):
    """Weights with which each member holds out the rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Distinct rows, the denominator's first.
    n_denominator : int
        Their number.
    weight : ndarray of shape (n_rows,)
        Repetition counts.
    n_members : int
        Number of members.

    Returns
    -------
    held_out : ndarray of shape (n_members, n_rows) or None
        None if a sample has a single row: none can be held out.
    """
    is_numerator = np.arange(len(X)) >= n_denominator
    folds = held_out_weights(X, is_numerator, weight, max(n_members, _MIN_FOLDS))
    if folds is None:
        return None
    return folds[np.arange(n_members) % len(folds)]
