"""Boosted trees for the dependence of two vectors, on columns that show it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh, svd
from sklearn.ensemble import HistGradientBoostingClassifier

from skdre.auto._pair_models import EllipticPairs, fit_base

__all__ = ["PairTrees", "fit_trees"]

# Permuted rows for each pair of the fit, and rows in all at most.
_PERMUTED, _MOST_ROWS = 3, 30_000
# Members, the share of the pairs that each is fitted on, and trees of each.
_MEMBERS, _SHARE, _TREES = 4, 0.7, 60
# Columns of each vector that are taken as they are, and canonical pairs.
_MOST_COLUMNS, _CANONICAL = 5, 3


@dataclass(frozen=True)
class PairTrees:
    """Trees on scores, canonical variates, their sums and differences, and norms.

    Attributes
    ----------
    base : EllipticPairs
        A Gaussian copula.
    first, second : ndarray of shape (n_columns, n_canonical)
        Canonical directions of the scores of x and of y.
    members : list of HistGradientBoostingClassifier
    log_prior : float
        Log odds of joint rows in the fit.
    """

    base: EllipticPairs
    first: np.ndarray
    second: np.ndarray
    members: list[Any]
    log_prior: float

    def log_ratio(self, x, y):
        """Log ratio at pairs."""
        features = _features(self.base, self.first, self.second, x, y)
        found = [each.decision_function(features) for each in self.members]
        return np.mean(found, axis=0) - self.log_prior


def _features(base, first, second, x, y):
    Z = base.columns(x, y)
    zx, zy = Z[:, : base.n_x], Z[:, base.n_x :]
    u, v = (
        (zx - base.center[: base.n_x]) @ first,
        (zy - base.center[base.n_x :]) @ second,
    )
    own = [each for each in (zx, zy) if each.shape[1] <= _MOST_COLUMNS]
    return np.column_stack(
        [*own, u, v, u - v, u + v, base.norms(Z).T, base.of_columns(Z)]
    )


def _canonical(base):
    """Directions of the scores in which x and y are most correlated."""
    n = base.n_x
    whiten = []
    for part in (slice(None, n), slice(n, None)):
        size, axes = eigh(base.matrix[part, part])
        whiten.append(axes / np.sqrt(np.maximum(size, 1e-9 * size[-1])))
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
    first, second = _canonical(base)
    rng = np.random.RandomState(seed)
    joint = _features(base, first, second, x, y)
    n_shifts = partners.shape[1]
    per_member = int(np.clip(_MOST_ROWS // len(x) - 1, 1, min(_PERMUTED, n_shifts)))
    members = []
    for member in range(_MEMBERS):
        shifts = (member + np.arange(per_member)) % n_shifts
        some = np.flatnonzero(rng.uniform(size=len(x)) < _SHARE)
        rows = [joint[some]]
        rows += [
            _features(base, first, second, x[some], y[partners[some, k]])
            for k in shifts
        ]
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
    return PairTrees(base, first, second, members, -float(np.log(per_member)))
