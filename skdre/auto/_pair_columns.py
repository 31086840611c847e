"""Directions of two vectors in which they depend on each other, and norms."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import svd

from skdre.auto._pair_models import EllipticPairs, whitening

__all__ = ["PairColumns"]

# Norms are looked at this far from their mean, in standard deviations.
_FAR = 4.0
# Of more columns than these, directions are taken.
_MOST_COLUMNS, _DIRECTIONS = 5, 4


@dataclass(frozen=True)
class PairColumns:
    """Few columns of each vector that show its dependence on the other.

    Attributes
    ----------
    base : EllipticPairs
        A Gaussian copula.
    first, second : ndarray of shape (n_columns, n_directions)
        Directions of the scores of x and of y.
    """

    base: EllipticPairs
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def of(cls, base, dx, dy):
        """Those of pairs whose columns are `base.columns`.

        They are the singular vectors of the correlations of whitened x and y, as they
        are and weighted by the norm of x or of y: a dependence that turns with the norm
        has none of the first kind, or too few.
        """
        whiten = [whitening(base.matrix[s, s]) for s in base.blocks]
        u, v = dx @ whiten[0], dy @ whiten[1]
        of_x, of_y = (_standard(_norm(each), each.shape[1]) for each in (u, v))
        moments = [
            u.T @ (v if each is None else v * (each - each.mean())[:, None]) / len(u)
            for each in (None, of_x, of_y)
        ]
        left = svd(np.hstack(moments), full_matrices=False)[0]
        right = svd(np.vstack(moments), full_matrices=False)[2].T
        directions = []
        for axes, side in ((left, whiten[0]), (right, whiten[1])):
            d = len(axes)
            k = d if d <= _MOST_COLUMNS else _DIRECTIONS
            directions.append(side @ axes[:, :k])
        return cls(base, *directions)

    def of_first(self, dx, part):
        """Columns of x, from `base.columns` and `base.first_of` of them."""
        return np.column_stack([dx @ self.first, _standard(part[:, -1], dx.shape[1])])

    def of_second(self, dy, part):
        """Columns of y, from `base.columns` and `base.second_of` of them."""
        return np.column_stack([dy @ self.second, _standard(part[:, -1], dy.shape[1])])


def _norm(white):
    return np.sum(white**2, axis=1)


def _standard(norm, d):
    """Squared norms in units in which those of a Gaussian have a variance of 1."""
    return np.clip((norm - d) / np.sqrt(2 * d), -_FAR, _FAR)
