"""Cross-fitting and calibration of scores, on arrays.

The log ratio is fitted as a function of a classifier's score at rows that the
classifier was not fitted on. Both domains weigh the same, whatever their sizes.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

__all__ = ["AffineMap", "IsotonicMap", "fit_affine", "fit_isotonic", "held_out_weights"]

# An atom, a row of a discrete variable, has more than this share of a fold's rows.
_ATOM = 0.1


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
