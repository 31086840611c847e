"""Dependence of two vectors in closed form: a covariance, its diagonal blocks, scores.

Joint rows [x, y] and rows with permuted partners share their margins. So the ratio of a
Gaussian, or of a Student-t distribution, needs one matrix only, the denominator having
its diagonal blocks; and margins can be made what suits, column by column.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import cholesky, eigh, solve_triangular, svd
from scipy.special import gammaln, stdtrit
from scipy.stats import norm

__all__ = [
    "EllipticPairs",
    "PairModel",
    "Scores",
    "are_many",
    "fit_base",
    "fit_few_factors",
    "fit_gaussian",
    "fit_gaussian_copula",
    "fit_t",
    "whitening",
]

# Degrees of freedom that are tried, the lightest tails first, until it gets worse.
_DEGREES = (15.0, 8.0, 5.0, 3.0, 2.0, 1.5, 1.0, 0.7)
# Steps to the scatter of a Student-t distribution; rows that choose the degrees.
_STEPS, _ROWS_TO_CHOOSE = 12, 2000
# So many pairs for each product of columns tell correlations from noise.
_MANY_PRODUCTS = 20
# Added to the diagonal of a correlation matrix, against columns that copy another.
_JITTER = 1e-9


def _quantiles(shares, degrees):
    return norm.ppf(shares) if np.isinf(degrees) else stdtrit(degrees, shares)


@dataclass(frozen=True)
class Scores:
    """Ranks of columns among those of the fit, as quantiles.

    Attributes
    ----------
    columns : list of ndarray
        Sorted values of the fit.
    degrees : float
        Of the Student-t distribution whose quantiles they become; infinite for a
        normal.
    """

    columns: list[Any]
    degrees: float = np.inf

    @classmethod
    def of(cls, X, degrees=np.inf):
        return cls([np.sort(column) for column in X.T], degrees)

    def __call__(self, X, first=0):
        """Scores of columns of which the first has the number `first`."""
        n = len(self.columns[0])
        # Quantiles are slow, and the same for all columns.
        known = _quantiles(np.arange(1, n + 1) / (n + 1), self.degrees)
        scores = np.empty(X.shape)
        for k, values in enumerate(X.T):
            scores[:, k] = np.interp(values, self.columns[first + k], known)
        return scores


class PairModel:
    """A log ratio of pairs that is made of what x and y give each by itself."""

    def first(self, x):
        """What the first vectors give, of shape (n_pairs, any)."""
        raise NotImplementedError

    def second(self, y):
        """What the second vectors give, of shape (n_pairs, any)."""
        raise NotImplementedError

    def of_parts(self, first, second):
        """Log ratio of the pairs of what both give, of shape (n_pairs,)."""
        raise NotImplementedError

    def log_ratio(self, x, y):
        """Log ratio at pairs."""
        return self.of_parts(self.first(x), self.second(y))


@dataclass(frozen=True)
class EllipticPairs(PairModel):
    """Log ratio of an elliptic distribution to that of its two blocks.

    Attributes
    ----------
    center : ndarray of shape (n_columns,)
    matrix : ndarray of shape (n_columns, n_columns)
        Covariance, or scatter of a Student-t distribution.
    n_x : int
        Columns of the first block.
    degrees : float
        Of freedom; infinite for a Gaussian.
    scores : Scores or None
        What is done to the columns first.
    """

    center: np.ndarray
    matrix: np.ndarray
    n_x: int
    degrees: float = np.inf
    scores: Scores | None = None

    @property
    def blocks(self):
        """The columns of x, and those of y."""
        return slice(None, self.n_x), slice(self.n_x, None)

    def columns(self, x, y):
        """The columns that the distribution is of, of x and of y, centred."""
        return self.columns_of(x, 0), self.columns_of(y, 1)

    def columns_of(self, values, block):
        """The same of x, for block 0, or of y, for 1."""
        part = self.blocks[block]
        if self.scores is not None:
            values = self.scores(values, part.start or 0)
        return values - self.center[part]

    def _roots(self):
        """Cholesky factors of x, of y, and of y given x; and what x tells of y."""
        n = self.n_x
        whole = cholesky(self.matrix, lower=True)
        of_y = cholesky(self.matrix[n:, n:], lower=True)
        return whole[:n, :n], of_y, whole[n:, n:], whole[n:, :n]

    def norms(self, first, second):
        """Squared norms of pairs, of x and of y, from parts; of shape (3, n_pairs)."""
        of_x, of_y = first[:, -1], second[:, -1]
        rest = np.sum((second[:, :-1] - first[:, :-1]) ** 2, axis=1)
        return np.array([of_x + rest, of_x, of_y])

    def first_of(self, dx):
        """:meth:`first` of what :meth:`columns` gives."""
        root, _, given, told = self._roots()
        white = solve_triangular(root, dx.T, lower=True)
        expected = solve_triangular(given, told @ white, lower=True)
        return np.column_stack([expected.T, np.sum(white**2, axis=0)])

    def second_of(self, dy):
        """:meth:`second` of what :meth:`columns` gives."""
        _, root, given, _ = self._roots()
        white = solve_triangular(root, dy.T, lower=True)
        rest = solve_triangular(given, dy.T, lower=True)
        return np.column_stack([rest.T, np.sum(white**2, axis=0)])

    def first(self, x):
        return self.first_of(self.columns_of(x, 0))

    def second(self, y):
        return self.second_of(self.columns_of(y, 1))

    @property
    def log_size(self):
        """Log determinant of y given x, less that of y."""
        _, of_y, given, _ = self._roots()
        return 2 * np.log(np.diag(given) / np.diag(of_y)).sum()

    def of_parts(self, first, second):
        norms = self.norms(first, second)
        if np.isinf(self.degrees):
            return -0.5 * (norms[0] - norms[1] - norms[2] + self.log_size)
        nu, d, n_x = self.degrees, len(self.matrix), self.n_x
        sizes = np.array([d, n_x, d - n_x])
        signs = np.array([1, -1, -1])
        logs = signs * (nu + sizes) @ np.log1p(norms / nu)
        constant = signs @ gammaln((nu + sizes) / 2) + gammaln(nu / 2)
        return constant - 0.5 * (self.log_size + logs)


def whitening(matrix):
    """A matrix by which columns with this covariance become independent."""
    size, axes = eigh(matrix)
    return axes / np.sqrt(np.maximum(size, _JITTER * size[-1]))


def _gaussian(Z, n_x, scores=None):
    center = Z.mean(axis=0)
    matrix = np.atleast_2d(np.cov(Z, rowvar=False))
    matrix[np.diag_indices(len(matrix))] *= 1 + _JITTER
    return EllipticPairs(center, matrix, n_x, scores=scores)


def fit_gaussian(x, y):
    """A Gaussian of the columns as they are."""
    return _gaussian(np.hstack([x, y]), x.shape[1])


def fit_gaussian_copula(x, y):
    """A Gaussian of the columns made normal."""
    pairs = np.hstack([x, y])
    scores = Scores.of(pairs)
    return _gaussian(scores(pairs), x.shape[1], scores)


def fit_few_factors(x, y):
    """A Gaussian copula with the canonical correlations that are more than noise.

    Of many columns most canonical correlations are noise, and what is left is too large
    by it. Their singular values are shrunk as those of a matrix of low rank with white
    noise, by the formula that is best in Frobenius norm [1]_.

    References
    ----------
    .. [1] M. Gavish, D. L. Donoho. "Optimal Shrinkage of Singular Values", IEEE
       Transactions on Information Theory 63, 2017, equation 7.
    """
    model = fit_gaussian_copula(x, y)
    n, n_x, matrix = len(x), x.shape[1], model.matrix.copy()
    roots = [cholesky(matrix[s, s], lower=True) for s in model.blocks]
    between = solve_triangular(roots[0], matrix[:n_x, n_x:], lower=True)
    between = solve_triangular(roots[1], between.T, lower=True).T
    left, correlation, right = svd(between, full_matrices=False)
    most = max(between.shape)
    share = min(between.shape) / most
    # In units where noise has a variance of 1 over the larger number of columns.
    size = correlation * np.sqrt(n / most)
    inside = np.maximum((size**2 - share - 1) ** 2 - 4 * share, 0)
    kept = np.where(size > 1 + np.sqrt(share), np.sqrt(inside) / size, 0)
    correlation = np.minimum(kept * np.sqrt(most / n), correlation)
    between = roots[0] @ (left * correlation) @ right @ roots[1].T
    matrix[:n_x, n_x:], matrix[n_x:, :n_x] = between, between.T
    return replace(model, matrix=matrix)


def are_many(x, y):
    """Whether columns are so many that correlations are hard to tell from noise."""
    return _MANY_PRODUCTS * x.shape[1] * y.shape[1] > len(x)


def fit_base(x, y):
    """What trees and networks start from: few factors where columns are many."""
    return (fit_few_factors if are_many(x, y) else fit_gaussian_copula)(x, y)


def fit_t(x, y):
    """A Student-t distribution of the columns made Student-t, by its likelihood."""
    pairs = np.hstack([x, y])
    n, d = pairs.shape
    # Shares of the rows below, in order, and which of them each value is.
    shares = np.arange(1, n + 1) / (n + 1)
    scores = Scores.of(pairs)
    place = np.column_stack(
        [
            np.searchsorted(known, values, side="right") - 1
            for known, values in zip(scores.columns, pairs.T, strict=True)
        ]
    )
    some = place[:: max(1, n // _ROWS_TO_CHOOSE)]
    best = None
    for degrees in _DEGREES:
        known = stdtrit(degrees, shares)
        likelihood = _copula_likelihood(known, some, degrees)
        if best is not None and likelihood <= best[0]:
            break
        best = likelihood, degrees, known
    _, degrees, known = best
    return EllipticPairs(
        np.zeros(d),
        _scatter(known[place], norm.ppf(shares)[place], degrees),
        x.shape[1],
        degrees,
        replace(scores, degrees=degrees),
    )


def _scatter(Z, normal, degrees):
    d = Z.shape[1]
    matrix = np.corrcoef(normal, rowvar=False)
    for _ in range(_STEPS):
        matrix[np.diag_indices(d)] *= 1 + _JITTER
        norms = _squared_norms(Z, cholesky(matrix, lower=True))
        weight = (degrees + d) / (degrees + norms)
        matrix = (Z * weight[:, None]).T @ Z / len(Z)
    matrix[np.diag_indices(d)] *= 1 + _JITTER
    return matrix


def _squared_norms(Z, root):
    return np.sum(solve_triangular(root, Z.T, lower=True) ** 2, axis=0)


def _copula_likelihood(known, place, degrees):
    """Mean log density of the copula, of values with these places in order."""
    Z, d = known[place], place.shape[1]
    shares = np.arange(1, len(known) + 1) / (len(known) + 1)
    root = cholesky(_scatter(Z, norm.ppf(shares)[place], degrees), lower=True)
    tails = np.log1p(_squared_norms(Z, root) / degrees).mean()
    joint = gammaln((degrees + d) / 2) - gammaln(degrees / 2)
    joint -= np.log(np.diag(root)).sum() + (degrees + d) / 2 * tails
    single = gammaln((degrees + 1) / 2) - gammaln(degrees / 2)
    tails = np.log1p(known**2 / degrees)[place].mean()
    return joint - d * (single - (degrees + 1) / 2 * tails)
