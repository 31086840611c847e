"""Dependence of two vectors in closed form: a covariance, its diagonal blocks, scores.

Joint rows [x, y] and rows with permuted partners share their margins. So the ratio of a
Gaussian, or of a Student-t distribution, needs one matrix only, the denominator having
its diagonal blocks; and margins can be made what suits, column by column.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular, svd
from scipy.special import gammaln, stdtr, stdtrit
from scipy.stats import norm

__all__ = [
    "EllipticPairs",
    "Scores",
    "fit_base",
    "fit_few_factors",
    "fit_gaussian",
    "fit_gaussian_copula",
    "fit_t",
]

# Degrees of freedom that are tried, the lightest tails first, until it gets worse.
_DEGREES = (15.0, 8.0, 5.0, 3.0, 2.0, 1.5, 1.0, 0.7)
# Steps to the scatter of a Student-t distribution; rows that choose the degrees.
_STEPS, _ROWS_TO_CHOOSE = 12, 2000
# So many pairs for each product of columns tell correlations from noise.
_MANY_PRODUCTS = 20
# Added to the diagonal of a correlation matrix, against columns that copy another.
_JITTER = 1e-9


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

    def shares(self, X):
        """Shares of the rows below, of the shape of X, strictly between 0 and 1."""
        shares = np.empty(X.shape)
        for k, known in enumerate(self.columns):
            n = len(known)
            share = np.interp(X[:, k], known, np.arange(1, n + 1) / (n + 1))
            shares[:, k] = share
        return shares

    def __call__(self, X):
        if np.isinf(self.degrees):
            return norm.ppf(self.shares(X))
        return stdtrit(self.degrees, self.shares(X))


@dataclass(frozen=True)
class EllipticPairs:
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
        """The columns that the distribution is of."""
        pairs = np.hstack([x, y])
        return pairs if self.scores is None else self.scores(pairs)

    def norms(self, Z):
        """Squared Mahalanobis norms of the rows, of x and of y; shape (3, n_rows)."""
        parts = slice(None), slice(None, self.n_x), slice(self.n_x, None)
        return np.array([self._norm(Z, part)[0] for part in parts])

    def _norm(self, Z, part):
        factor = cho_factor(self.matrix[part, part], lower=True)
        deviation = (Z - self.center)[:, part]
        norms = np.einsum("ij,ji->i", deviation, cho_solve(factor, deviation.T))
        return norms, 2 * np.log(np.diag(factor[0])).sum()

    def _log_density(self, Z, part):
        norms, log_det = self._norm(Z, part)
        if np.isinf(self.degrees):
            return -0.5 * (norms + log_det)
        d, nu = len(self.matrix[part]), self.degrees
        constant = gammaln((nu + d) / 2) - gammaln(nu / 2) - d / 2 * np.log(nu)
        return constant - 0.5 * log_det - (nu + d) / 2 * np.log1p(norms / nu)

    def log_ratio(self, x, y):
        """Log ratio of the joint distribution to the product of its two margins."""
        return self.of_columns(self.columns(x, y))

    def of_columns(self, Z):
        joint, first, second = (
            self._log_density(Z, part)
            for part in (slice(None), slice(None, self.n_x), slice(self.n_x, None))
        )
        return joint - first - second


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
    d = pairs.shape[1]
    shares = Scores.of(pairs).shares(pairs)
    some = shares[:: max(1, len(shares) // _ROWS_TO_CHOOSE)]
    best = None
    for degrees in _DEGREES:
        likelihood = _copula_likelihood(some, degrees, d)
        if best is not None and likelihood <= best[0]:
            break
        best = likelihood, degrees
    degrees = best[1]
    Z = stdtrit(degrees, shares)
    return EllipticPairs(
        np.zeros(d),
        _scatter(Z, degrees),
        x.shape[1],
        degrees,
        Scores.of(pairs, degrees),
    )


def _scatter(Z, degrees):
    d = Z.shape[1]
    matrix = np.corrcoef(norm.ppf(stdtr(degrees, Z)), rowvar=False)
    for _ in range(_STEPS):
        matrix[np.diag_indices(d)] *= 1 + _JITTER
        factor = cho_factor(matrix, lower=True)
        norms = np.einsum("ij,ji->i", Z, cho_solve(factor, Z.T))
        weight = (degrees + d) / (degrees + norms)
        matrix = (Z * weight[:, None]).T @ Z / len(Z)
    matrix[np.diag_indices(d)] *= 1 + _JITTER
    return matrix


def _copula_likelihood(shares, degrees, d):
    Z = stdtrit(degrees, shares)
    model = EllipticPairs(np.zeros(d), _scatter(Z, degrees), 1, degrees)
    joint = model._log_density(Z, slice(None))
    single = EllipticPairs(np.zeros(1), np.eye(1), 1, degrees)
    margins = sum(single._log_density(Z[:, [k]], slice(None)) for k in range(d))
    return float(np.mean(joint - margins))
