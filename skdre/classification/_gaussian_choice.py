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
# Numbers in an array over rules, folds and rows, about.
_MOST_NUMBERS = 1 << 21
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


def _of_folds(X, weight, held_out):
    """Rows that each fold holds out, and weights; filled up with rows of weight 0.

    Returns
    -------
    held : ndarray of shape (n_folds, n_most, n_features)
    weights : ndarray of shape (n_folds, n_most)
    rows : ndarray of int of shape (n_folds, n_most)
        Which rows they are.
    """
    # Those of a fold first, in their order.
    n_most = int((held_out > 0).sum(axis=1).max())
    rows = np.argsort(held_out <= 0, axis=1, kind="stable")[:, :n_most]
    weights = np.take_along_axis(held_out, rows, axis=1)
    return X[rows], weights, rows


def _training_moments(X, weight, held, held_weights, factors=None):
    """Moments of the rows that each fold leaves, from sums over those it holds out.

    `factors` are those of all rows, and of those held out.
    """
    of_all, of_held = (None, None) if factors is None else factors
    total, *parts = (
        _sums(*each) for each in ((X, weight, of_all), (held, held_weights, of_held))
    )
    return SampleMoments.of_sums(*(a - b for a, b in zip(total, *parts, strict=True)))


def _sums(X, weight, factor):
    used = weight if factor is None else weight * factor
    weighted = X * used[..., None]
    products = np.swapaxes(weighted, -1, -2) @ X
    return used.sum(-1), weighted.sum(-2), products, weight.sum(-1)


def _losses(moments, held, weights, df):
    """Losses of all rules, fitted without each fold, at the rows that it holds out.

    Parameters
    ----------
    moments : pair of SampleMoments
        Of the rows that each fold leaves.
    held, weights : pair of ndarray
        As :func:`_of_folds` gives them, of both samples.
    df : float

    Returns
    -------
    losses : pair of ndarray of shape (n_rules, n_rows)
        At the rows of positive weight, those of the first fold first; the rules of the
        covariances one after another, each with all rules of the means.
    """
    both = PooledMoments(*moments)
    whiten, excess, _ = both.axes(_COVARIANCES)
    shifts = np.stack([both.means(rule, whiten)[0] for rule in _MEANS], axis=-2)
    shifts = shifts @ whiten / 2
    losses = []
    for X, weight, sign in zip(held, weights, (1, -1), strict=True):
        standard = (X - both.middle[:, None]) / both.sd[:, None]
        log_ratios = _log_ratios(standard @ whiten, shifts, excess, df)
        log_ratios = np.moveaxis(log_ratios[:, weight > 0], -1, 1)
        of_rules = log_ratios.reshape(-1, log_ratios.shape[-1])
        losses.append(np.logaddexp(0, sign * of_rules))
    return losses


def _log_ratios(Z, shifts, excess, df):
    """Log ratios of distributions with means at -shift and shift, for many shifts.

    Of rows (..., n_rows, d) and shifts (..., n_shifts, d); (..., n_rows, n_shifts).
    """
    squares, both = Z**2, []
    for variance, sign in ((1 - excess, 1), (1 + excess, -1)):
        precision = 1 / variance
        scaled = shifts * precision[..., None, :]
        # Squared distances from the denominator, then from the numerator.
        both.append(
            squares @ precision[..., None]
            + 2 * sign * Z @ np.swapaxes(scaled, -1, -2)
            + np.sum(shifts * scaled, axis=-1)[..., None, :]
        )
    to_q, to_p = both
    size = np.log((1 - excess) / (1 + excess)).sum(axis=-1)[..., None, None]
    if np.isinf(df):
        return (to_q - to_p + size) / 2
    # Not below 0 by rounding.
    to_q, to_p = (np.log1p(np.maximum(each, 0) / df) for each in (to_q, to_p))
    return ((df + Z.shape[-1]) * (to_q - to_p) + size) / 2


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
    """Number of the rule that is taken, or None.

    None where a log ratio of 0 is as good as anything; the first is James and Stein's.
    """
    means = sum(
        loss @ weight / weight.sum()
        for loss, weight in zip(losses, weights, strict=True)
    )
    best = int(np.argmin(means))
    of_best, usual = ([loss[k] for loss in losses] for k in (best, 0))
    none = [np.full(len(each), np.log(2)) for each in usual]
    gain = _gain(of_best, usual, weights)
    if is_heavy:
        best = best if gain > _BETTER_HEAVY else 0
        over_none = _gain([loss[best] for loss in losses], none, weights)
        return best if over_none > _BETTER_THAN_NONE else None
    if means[best] < 2 * np.log(2):
        return best if gain > _BETTER_LIGHT else 0
    return None if _gain(none, usual, weights) > _BETTER_LIGHT else 0


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
    is_heavy = not np.isinf(df)
    held, held_weights, rows = zip(
        *(_of_folds(*part, fold) for part, fold in zip(centered, folds, strict=True)),
        strict=True,
    )
    degrees = (np.inf, df) if is_heavy and not is_normal else (np.inf,)
    found = []
    for each in degrees:
        moments = []
        for k, part in enumerate(centered):
            factors = None
            if not np.isinf(each):
                factor = robust_weights(*part, df, starts[k])[0]
                factors = factor, factor[rows[k]]
            moments.append(_training_moments(*part, held[k], held_weights[k], factors))
        found.append(_by_blocks(moments, held, held_weights, each))
    losses = [np.concatenate(each) for each in zip(*found, strict=True)]
    chosen = _decide(losses, [each[each > 0] for each in held_weights], is_heavy)
    if chosen is None:
        return Choice(_NO_DIFFERENCE, np.inf, None)
    number, rule = divmod(chosen, len(_COVARIANCES) * len(_MEANS))
    covariances, means = divmod(rule, len(_MEANS))
    shrinkage = Shrinkage(_MEANS[means], _COVARIANCES[covariances])
    if np.isinf(degrees[number]):
        return Choice(shrinkage, np.inf, None)
    starts = [each._replace(mean=each.mean + origin) for each in starts]
    return Choice(shrinkage, df, starts)


def _by_blocks(moments, held, weights, df):
    """:func:`_losses`, of so many folds at a time that the arrays stay small."""
    n_folds, n_rows, d = max((each.shape for each in held), key=np.prod)
    step = max(1, _MOST_NUMBERS // (len(_COVARIANCES) * n_rows * max(d, len(_MEANS))))
    found = []
    for start in range(0, n_folds, step):
        some = slice(start, start + step)
        found.append(
            _losses(
                [SampleMoments(*(each[some] for each in of)) for of in moments],
                [each[some] for each in held],
                [each[some] for each in weights],
                df,
            )
        )
    return [np.concatenate(each, axis=1) for each in zip(*found, strict=True)]
