"""Rows of pairs: as they are, and with partners of other pairs."""

import warnings

import numpy as np

from skdre.information._pool import Fold

__all__ = [
    "check_continuous",
    "check_functions",
    "folds_of_pairs",
    "shifted_partners",
]

# Columns with a larger share of repeated values are taken for discrete.
_MAX_REPEATED = 0.1


def check_continuous(X, name):
    """Reject constant columns, warn of discrete ones."""
    n_rows = len(X)
    repeated = []
    for column, values in enumerate(X.T):
        n_distinct = len(np.unique(values))
        if n_distinct == 1:
            raise ValueError(
                f"{name} has a constant column, number {column}, which carries no "
                "information: leave it out."
            )
        if n_distinct < (1 - _MAX_REPEATED) * n_rows:
            repeated.append(column)
    if repeated:
        warnings.warn(
            f"{name} repeats values in column(s) {repeated}, as continuous variables "
            "do not. If they are discrete, there may be no density ratio, and the "
            "result means nothing: use "
            "sklearn.feature_selection.mutual_info_classif. If rows stand twice, the "
            "same pair is fitted and held out, and the result is too large: leave the "
            "repeats out.",
            UserWarning,
            stacklevel=7,
        )


def check_functions(X, Y):
    """Warn where a column of Y is a monotone function of one of X."""
    orders = {}
    for column, values in enumerate(X.T):
        orders.setdefault(np.argsort(values, kind="stable").tobytes(), column)
    for column, values in enumerate(Y.T):
        for signed in (values, -values):
            same = orders.get(np.argsort(signed, kind="stable").tobytes())
            if same is not None:
                warnings.warn(
                    f"Column {column} of Y is a monotone function of column {same} of "
                    "X: the mutual information of continuous vectors is infinite then, "
                    "and the estimate only says how much the ratio can resolve.",
                    UserWarning,
                    stacklevel=7,
                )
                return


def shifted_partners(n_pairs, n_shifts, rng, cluster=None):
    """Partners by permutations without fixed points.

    The pairs are put in a random order, and each takes its partner from so many places
    further on. No pair keeps its own partner, no partner comes twice to the same pair,
    and each pair's number stands once in every column of the result, of shape
    (n_pairs, min(n_shifts, n_pairs - 1)).

    Pairs of one number in `cluster` are put next to each other, and shifts are as large
    as the largest cluster at least, so that partners come from another one. That leaves
    n_pairs + 1 - 2 n_largest shifts.
    """
    order = rng.permutation(n_pairs)
    largest = 1
    if cluster is not None:
        number = np.unique(cluster, return_inverse=True)[1].ravel()
        largest = np.bincount(number).max()
        place = rng.permutation(number.max() + 1)[number]
        order = order[np.argsort(place[order], kind="stable")]
    n_possible = n_pairs + 1 - 2 * largest
    n_shifts = min(n_shifts, n_possible)
    shifts = largest + rng.choice(n_possible, size=n_shifts, replace=False)
    partners = np.empty((n_pairs, n_shifts), dtype=int)
    for column, shift in enumerate(shifts):
        partners[order, column] = np.roll(order, -shift)
    return partners


def _joined(X, Y, partners):
    """Rows [x_i, y_j], first all of the first column of the partners j."""
    n_shifts = partners.shape[1]
    return np.hstack([np.tile(X, (n_shifts, 1)), Y[partners.T.ravel()]])


def folds_of_pairs(X, Y, parts, partners):
    """Yield the rows of each fold, from the positions of its pairs and partners."""
    for pair_parts, partner_parts in zip(parts, partners, strict=True):
        training, test = (
            np.vstack(
                [
                    np.hstack([X[index], Y[index]]),
                    _joined(X[index], Y[index], own),
                ]
            )
            for index, own in zip(pair_parts, partner_parts, strict=True)
        )
        is_joint = np.arange(len(training)) < len(pair_parts[0])
        yield Fold(training, is_joint.astype(int), test)
