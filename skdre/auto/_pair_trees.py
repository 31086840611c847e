"""Boosted trees for the dependence of two vectors, on columns that show it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import svd
from sklearn.ensemble import HistGradientBoostingClassifier

from skdre.auto._pair_models import EllipticPairs, PairModel, fit_base, whitening

__all__ = ["PairTrees", "fit_trees"]

# Permuted rows for each pair of the fit, and rows in all at most.
_PERMUTED, _MOST_ROWS = 3, 30_000
# Members, the share of the pairs that each is fitted on, and trees of each.
_MEMBERS, _SHARE, _TREES = 4, 0.7, 60
# Columns of each vector that are taken as they are, and canonical pairs.
_MOST_COLUMNS, _CANONICAL = 5, 3


@dataclass(frozen=True)
class PairTrees(PairModel):
    """Trees on scores, canonical variates, their sums and differences, and norms.

    Attributes
    ----------
    base : EllipticPairs
        A Gaussian copula.
    axes_x, axes_y : ndarray of shape (n_columns, n_canonical)
        Canonical directions of the scores of x and of y.
    members : list of HistGradientBoostingClassifier
    log_prior : float
        Log odds of joint rows in the fit.
    """

    base: EllipticPairs
    axes_x: np.ndarray
    axes_y: np.ndarray
    members: list[Any]
    log_prior: float

    def first(self, x):
        dx = self.base.columns_of(x, 0)
        return np.column_stack([dx, dx @ self.axes_x, self.base.first_of(dx)])

    def second(self, y):
        dy = self.base.columns_of(y, 1)
        return np.column_stack([dy, dy @ self.axes_y, self.base.second_of(dy)])

    def of_parts(self, first, second):
        features = self.features(first, second)
        found = [each.decision_function(features) for each in self.members]
        return np.mean(found, axis=0) - self.log_prior

    def features(self, first, second):
        """What the trees see of the parts of both vectors."""
        base, k = self.base, self.axes_x.shape[1]
        sizes = base.n_x, len(base.center) - base.n_x
        parts, own = [first, second], []
        for side, d in enumerate(sizes):
            if d <= _MOST_COLUMNS:
                own.append(parts[side][:, :d])
            parts[side] = parts[side][:, d:]
        (u, a), (v, b) = ((part[:, :k], part[:, k:]) for part in parts)
        return np.column_stack(
            [*own, u, v, u - v, u + v, base.norms(a, b).T, base.of_parts(a, b)]
        )


def _canonical(base):
    """Directions of the scores in which x and y are most correlated."""
    n = base.n_x
    whiten = [whitening(base.matrix[part, part]) for part in base.blocks]
    left, _, right = svd(
        whiten[0].T @ base.matrix[:n, n:] @ whiten[1], full_matrices=False
    )
    return whiten[0] @ left[:, :_CANONICAL], whiten[1] @ right[:_CANONICAL].T


def fit_trees(x, y, partners, seed):
    """Boosting of joint rows against permuted ones; the mean of a few, on some pairs.

    Parameters
    ----------
    x, y : ndarray of shape (n_pairs, n_columns)
    partners : ndarray of int of shape (n_pairs, n_permutations)
    seed : int

    Returns
    -------
    trees : PairTrees
    """
    base = fit_base(x, y)
    n_shifts = partners.shape[1]
    per_member = int(np.clip(_MOST_ROWS // len(x) - 1, 1, min(_PERMUTED, n_shifts)))
    members: list[Any] = []
    trees = PairTrees(base, *_canonical(base), members, -float(np.log(per_member)))
    first, second = trees.first(x), trees.second(y)
    rng = np.random.RandomState(seed)
    joint = trees.features(first, second)
    for member in range(_MEMBERS):
        shifts = (member + np.arange(per_member)) % n_shifts
        some = np.flatnonzero(rng.uniform(size=len(x)) < _SHARE)
        rows = [joint[some]]
        rows += [trees.features(first[some], second[partners[some, k]]) for k in shifts]
        is_joint = np.arange(len(some) * (1 + per_member)) < len(some)
        members.append(
            HistGradientBoostingClassifier(
                learning_rate=0.1,
                max_leaf_nodes=15,
                max_iter=_TREES,
                min_samples_leaf=20,
                early_stopping=False,
                random_state=rng.randint(2**31),
            ).fit(np.vstack(rows), is_joint)
        )
    return trees
