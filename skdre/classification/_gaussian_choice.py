"""How the moments of a Gaussian plug-in are shrunk, and its tails, by held-out loss."""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from skdre._core.moments import (
    PooledMoments,
    SampleMoments,
    Shrinkage,
)

__all__ = [
    "FEW_STEPS",
    "MANY_ROWS",
    "STEPS",
    "Choice",
    "choose",
    "is_at_end",
    "robust_weights",
]

# Rows of each sample that the choice is made on.
_MOST_ROWS = 5000
# Of more columns than this, or fewer rows, James and Stein's rule is taken unseen.
_MOST_COLUMNS, _LEAST_ROWS = 200, 20
# Tails are heavy where the fourth moments of a sample are so many standard errors above
# those of a Gaussian; of fewer rows than these for each column nothing is seen.
_HEAVY, _ROWS_PER_COLUMN = 3.0, 3
# Degrees of freedom, of which the likelihood chooses.
_DF = (1.5, 2.5, 4.0, 8.0, 16.0)
# The rules, James and Stein's first.
_COVARIANCES = ("james-stein", "linear", 2.0, 3.0, 4.0, "equal")
_MEANS = ("james-stein", "linear", 3.0, "equal")
# Standard errors by which another candidate has to be better than James and Stein's:
# that knows how large the noise is on light tails, and does not on heavy ones.
_BETTER_LIGHT, _BETTER_HEAVY = 2.0, 0.5
# And by which it has to be better than a log ratio of 0.
_BETTER_THAN_NONE = 2.0
# Steps of the moments of t distributions, and the change at which they end.
STEPS, _TOL = 30, 1e-3
# Of more rows than these, whose first have been fitted, few steps are left.
MANY_ROWS, FEW_STEPS = 20_000, 3


class Choice(NamedTuple):
    """What is chosen: the rules, the degrees of freedom, and the t distributions."""

    shrinkage: Shrinkage
    df: float
    starts: list | None


_UNSEEN = Choice(Shrinkage(), np.inf, None)
_NO_DIFFERENCE = Shrinkage("equal", "equal")


def _moments(X, weight, factor=None):
    """Moments of rows; `factor` multiplies their weights, but not their number."""
    used = weight if factor is None else weight * factor
    mean = used @ X / used.sum()
    centered = X - mean
    covariance = (centered * used[:, None]).T @ centered / weight.sum()
    return SampleMoments(mean, covariance, weight.sum())


def _squares(X, moments):
    """Squared distances of rows from a mean, and the log determinant of the scatter."""
    size, axes = np.linalg.eigh(moments.covariance)
    # Of columns without any spread, too.
    size = np.maximum(size, 1e-12 * size[-1]) if size[-1] > 0 else np.ones_like(size)
    Z = (X - moments.mean) @ (axes / np.sqrt(size))
    return (Z**2).sum(axis=1), np.log(size).sum()


def _start(X):
    """Moments that a few extreme rows do not move."""
    middle = np.median(X, axis=0)
    spread = np.median(np.abs(X - middle), axis=0) / 0.6745
    spread = np.where(spread > 0, spread, X.std(axis=0))
    return SampleMoments(middle, np.diag(np.where(spread > 0, spread, 1.0) ** 2), 0)


def is_at_end(before, moments):
    """Whether a step of EM changes little."""
    change = np.abs(moments.covariance - before.covariance).max()
    return change < _TOL * np.abs(moments.covariance).max()


def robust_weights(X, weight, df, start, n_steps=STEPS):
    """Maximum likelihood of a multivariate t distribution, by EM.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,)
        In draws.
    df : float
        Degrees of freedom.
    start : SampleMoments
        Location and scatter to start from.
    n_steps : int
        Most steps.

    Returns
    -------
    factor : ndarray of shape (n_rows,)
        What the rows' weights are multiplied by.
    moments : SampleMoments
        Location and scatter.
    log_likelihood : float
        Mean over the rows.
    """
    d, moments = X.shape[1], start
    for step in range(n_steps + 1):
        squares, log_size = _squares(X, moments)
        factor = (df + d) / (df + squares)
        if step == n_steps:
            break
        before, moments = moments, _moments(X, weight, factor)
        if is_at_end(before, moments):
            break
    log_likelihood = gammaln((df + d) / 2) - gammaln(df / 2)
    log_likelihood -= (d * np.log(df) + log_size) / 2
    tails = weight @ np.log1p(squares / df) / weight.sum()
    return factor, moments, log_likelihood - (df + d) / 2 * tails


def _tails(parts):
    """Degrees of freedom, where tails are heavy, and the two t distributions."""
    for X, weight in parts:
        n_rows, d = weight.sum(), X.shape[1]
        if n_rows < _ROWS_PER_COLUMN * d:
            return np.inf, None
    excess = []
    for X, weight in parts:
        squares, _ = _squares(X, _moments(X, weight))
        fourth = weight @ squares**2 / weight.sum() / (d * (d + 2)) - 1
        excess.append(fourth / np.sqrt(8 / (d * (d + 2) * weight.sum())))
    if max(excess) <= _HEAVY:
        return np.inf, None
    best = -np.inf
    moments = [_start(X) for X, _ in parts]
    for df in _DF:
        found = [
            robust_weights(*part, df, start)
            for part, start in zip(parts, moments, strict=True)
        ]
        moments = [each[1] for each in found]
        likelihood = sum(each[2] for each in found)
        if likelihood < best:
            break
        best, chosen = likelihood, (df, moments)
    return chosen


def _training_moments(X, weight, held_out, factor):
    """Moments of the rows that each fold leaves, from sums over those it holds out."""
    sums = []
    for held in (weight, *held_out):
        rows = np.flatnonzero(held)
        w = held[rows] if factor is None else held[rows] * factor[rows]
        weighted = X[rows] * w[:, None]
        sums.append((w.sum(), weighted.sum(axis=0), weighted.T @ X[rows], held.sum()))
    total, *parts = sums
    return [
        SampleMoments.of_sums(*(a - b for a, b in zip(total, part, strict=True)))
        for part in parts
    ]


def _append_losses(losses, moments, X, weight, df):
    """Losses of all rules, fitted without a fold, at the rows that it holds out."""
    both = PooledMoments(*moments)
    rows = [np.flatnonzero(each) for each in weight]
    X = [(each[i] - both.middle) / both.sd for each, i in zip(X, rows, strict=True)]
    for rule in _COVARIANCES:
        whiten, excess, *_ = both.covariances(rule)
        shifts = [both.means(means, whiten)[0] for means in _MEANS]
        shifts = np.array(shifts) @ whiten / 2
        for side, (each, sign) in enumerate(zip(X, (1, -1), strict=True)):
            log_ratios = _log_ratios(each @ whiten, shifts, excess, df)
            of_means = np.logaddexp(0, sign * log_ratios).T
            for means, loss in zip(_MEANS, of_means, strict=True):
                losses.setdefault((means, rule, df), ([], []))[side].append(loss)


def _log_ratios(Z, shifts, excess, df):
    """Log ratios of distributions with means at -shift and shift, for many shifts."""
    precisions = 1 / (1 - excess), 1 / (1 + excess)
    squares = Z**2
    to_q, to_p = (
        (squares @ precision)[:, None]
        + 2 * sign * Z @ (shifts * precision).T
        + shifts**2 @ precision
        for precision, sign in zip(precisions, (1, -1), strict=True)
    )
    size = np.log((1 - excess) / (1 + excess)).sum()
    if np.isinf(df):
        return (to_q - to_p + size) / 2
    # Not below 0 by rounding.
    to_q, to_p = (np.log1p(np.maximum(each, 0) / df) for each in (to_q, to_p))
    return ((df + Z.shape[1]) * (to_q - to_p) + size) / 2


def _mean(losses, weights):
    """Sum of the mean losses of both samples."""
    pairs = zip(losses, weights, strict=True)
    return sum(weight @ loss / weight.sum() for loss, weight in pairs)


def _gain(losses, others, weights):
    """How much smaller losses are than others, in standard errors."""
    mean, variance = 0.0, 0.0
    for loss, other, weight in zip(losses, others, weights, strict=True):
        total, difference = weight.sum(), other - loss
        center = weight @ difference / total
        mean += center
        variance += weight @ (difference - center) ** 2 / total**2
    if variance > 0:
        return mean / np.sqrt(variance)
    # What is the same at every row is certain.
    return np.copysign(np.inf, mean) if mean else 0.0


def _decide(losses, weights, is_heavy):
    """The rules for means and covariances and the degrees of freedom, or None.

    None where a log ratio of 0 is as good as anything.
    """
    usual = _MEANS[0], _COVARIANCES[0], np.inf
    best = min(losses, key=lambda key: _mean(losses[key], weights))
    none = [np.full(len(each), np.log(2)) for each in losses[usual]]
    gain = _gain(losses[best], losses[usual], weights)
    if is_heavy:
        best = best if gain > _BETTER_HEAVY else usual
        over_none = _gain(losses[best], none, weights)
        return best if over_none > _BETTER_THAN_NONE else None
    if _mean(losses[best], weights) < _mean(none, weights):
        return best if gain > _BETTER_LIGHT else usual
    return None if _gain(none, losses[usual], weights) > _BETTER_LIGHT else usual


def choose(parts, held_out, *, is_normal=False):
    """Rules of shrinkage and tails with the least held-out log loss.

    James and Stein's rule is kept where nothing else is clearly better, and a log ratio
    of 0 where nothing is clearly better than that. What is clear goes by the standard
    error of the difference of the losses.

    Parameters
    ----------
    parts : pair of (ndarray of shape (n_rows, n_features), ndarray of shape (n_rows,))
        Rows, in units in which nothing overflows, and weights in draws, of the
        denominator and the numerator, in an order that says nothing about them.
    held_out : callable
        Of the numbers of rows that are looked at, the first of each sample: the weights
        with which each fold holds them out, of shape (n_folds, n_rows) for each sample,
        or None where a sample has too few observations.
    is_normal : bool
        Whether only Gaussians may be chosen.

    Returns
    -------
    choice : Choice
    """
    parts = [(X[:_MOST_ROWS], weight[:_MOST_ROWS]) for X, weight in parts]
    if parts[0][0].shape[1] > _MOST_COLUMNS:
        return _UNSEEN
    if min(weight.sum() for _, weight in parts) < _LEAST_ROWS:
        return _UNSEEN
    folds = held_out([len(X) for X, _ in parts])
    if folds is None:
        return _UNSEEN
    # Sums of squares about the middle lose nothing to rounding.
    origin = sum(weight @ X / weight.sum() for X, weight in parts) / 2
    centered = [(X - origin, weight) for X, weight in parts]
    df, starts = _tails(centered)
    is_heavy, losses = not np.isinf(df), {}
    for each in (np.inf, df) if is_heavy and not is_normal else (np.inf,):
        factors = [None, None]
        if not np.isinf(each):
            factors = [
                robust_weights(*part, df, start)[0]
                for part, start in zip(centered, starts, strict=True)
            ]
        moments = [
            _training_moments(*part, held, factor)
            for part, held, factor in zip(centered, folds, factors, strict=True)
        ]
        rows = [X for X, _ in centered]
        for pair, *held in zip(zip(*moments, strict=True), *folds, strict=True):
            _append_losses(losses, pair, rows, held, each)
    weights = [np.concatenate([held[held > 0] for held in fold]) for fold in folds]
    losses = {
        key: tuple(map(np.concatenate, of_folds)) for key, of_folds in losses.items()
    }
    chosen = _decide(losses, weights, is_heavy)
    if chosen is None:
        return Choice(_NO_DIFFERENCE, np.inf, None)
    *rules, df = chosen
    if np.isinf(df):
        return Choice(Shrinkage(*rules), df, None)
    starts = [each._replace(mean=each.mean + origin) for each in starts]
    return Choice(Shrinkage(*rules), df, starts)
