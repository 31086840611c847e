"""Calibration of scores, on arrays.

The log ratio is fitted as a function of a classifier's score at rows that the
classifier was not fitted on. Both domains weigh the same, whatever their sizes.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

__all__ = ["AffineMap", "IsotonicMap", "fit_affine", "fit_isotonic"]


@dataclass(frozen=True)
class AffineMap:
    """log r = slope * score + offset.

    Attributes
    ----------
    slope, offset : float
        The slope is not negative.
    """

    slope: float
    offset: float

    def __call__(self, score):
        with np.errstate(over="ignore"):
            return self.slope * score + self.offset


@dataclass(frozen=True)
class IsotonicMap:
    """log r as a non-decreasing function of the score.

    Attributes
    ----------
    regression : IsotonicRegression
        The probability of the numerator under equal priors.
    """

    regression: IsotonicRegression

    def __call__(self, score):
        return logit(self.regression.predict(score))


def _balanced(is_numerator, weight):
    """Weights that sum to 1/2 in each domain, and the two sums before."""
    n_p, n_q = weight[is_numerator].sum(), weight[~is_numerator].sum()
    return weight / np.where(is_numerator, 2 * n_p, 2 * n_q), n_p, n_q


def fit_affine(score, is_numerator, weight, *, offset):
    """Fit log r as an affine function of the score by logistic regression.

    The targets are Platt's, (n + 1) / (n + 2) in place of 1, so that scores that
    separate the domains have a finite slope. A negative slope would say that the score
    orders held-out rows the wrong way round; then there is nothing in it, and the
    ratio is 1.

    Parameters
    ----------
    score : ndarray of shape (n_samples,)
        Scores of held-out rows.
    is_numerator : ndarray of bool of shape (n_samples,)
        Their domains.
    weight : ndarray of shape (n_samples,)
        Repetition counts, positive.
    offset : bool
        Whether to fit the offset; it is 0 otherwise.

    Returns
    -------
    map : AffineMap

    References
    ----------
    J. Platt, "Probabilistic outputs for support vector machines", Advances in Large
    Margin Classifiers, 1999, section 2.
    """
    weight, n_p, n_q = _balanced(is_numerator, weight)
    target = np.where(is_numerator, (n_p + 1) / (n_p + 2), 1 / (n_q + 2))
    center = weight @ score if offset else 0.0
    scale = np.abs(score - center).max()
    if scale == 0:
        return AffineMap(0.0, 0.0)
    columns = [(score - center) / scale]
    if offset:
        columns.append(np.ones(len(score)))
    U = np.column_stack(columns)

    def loss(coef):
        z = U @ coef
        return (
            weight @ (np.logaddexp(0, z) - target * z),
            U.T @ (weight * (expit(z) - target)),
        )

    def hessian(coef):
        z = U @ coef
        return U.T @ ((weight * expit(z) * expit(-z))[:, None] * U)

    coef = minimize(
        loss,
        np.zeros(U.shape[1]),
        jac=True,
        hess=hessian,
        method="trust-exact",
        options={"gtol": 1e-10, "maxiter": 500},
    ).x
    slope = float(coef[0] / scale)
    if slope <= 0:
        return AffineMap(0.0, 0.0)
    return AffineMap(slope, float(coef[1] - slope * center) if offset else 0.0)


def fit_isotonic(score, is_numerator, weight):
    """Fit log r as a non-decreasing function of the score.

    One row of the denominator is added at the highest score and one of the numerator at
    the lowest, so that k rows of one domain alone at an end have a finite ratio, about
    k times the ratio of the sample sizes.

    Parameters
    ----------
    score : ndarray of shape (n_samples,)
        Scores of held-out rows.
    is_numerator : ndarray of bool of shape (n_samples,)
        Their domains.
    weight : ndarray of shape (n_samples,)
        Repetition counts, positive.

    Returns
    -------
    map : IsotonicMap
    """
    score = np.append(score, [score.min(), score.max()])
    is_numerator = np.append(is_numerator, [True, False])
    weight, _, _ = _balanced(is_numerator, np.append(weight, [1.0, 1.0]))
    regression = IsotonicRegression(out_of_bounds="clip")
    return IsotonicMap(regression.fit(score, is_numerator, sample_weight=weight))
