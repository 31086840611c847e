"""Rows of pairs: as they are, and with partners of other pairs."""

import numpy as np

from skdre.information._pool import Fold

__all__ = ["folds_of_pairs", "shifted_partners"]


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


def folds_of_pairs(X, Y, parts, partners, cluster=None):
    """Yield the rows of each fold, from the positions of its pairs and partners.

    A permuted row is of the group of its X in `cluster`.
    """
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
        own = pair_parts[0]
        is_joint = np.arange(len(training)) < len(own)
        groups = None
        if cluster is not None:
            groups = np.tile(cluster[own], len(training) // len(own))
        yield Fold(training, is_joint.astype(int), test, groups)
