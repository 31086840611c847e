"""Evidence on two samples: lengths of tails, and comparisons of held-out losses."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_expit

__all__ = [
    "Comparison",
    "compare",
    "compare_on_bridges",
    "log_losses",
    "tail_length",
]

# A difference of losses below this is rounding, in nats.
_ROUNDING = 1e-12

# The inner 99 % of a normal over its inner half.
_NORMAL_TAILS = 3.82


def tail_length(X, weight):
    """How much longer the tails of each column are than a normal's.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Rows of one sample.
    weight : ndarray of shape (n_rows,)
        Repetition counts.

    Returns
    -------
    length : ndarray of shape (n_features,)
        The range of the inner 99 % over that of the inner half, divided by the same of
        a normal, 3.82; 1 for a column whose inner half is a single value.
    """
    order = np.argsort(X, axis=0, kind="stable")
    mass = np.cumsum(weight[order], axis=0) / weight.sum()
    low, first, third, high = (
        np.take_along_axis(
            X, np.take_along_axis(order, (mass < q).sum(axis=0)[None], axis=0), axis=0
        )[0]
        for q in (0.005, 0.25, 0.75, 0.995)
    )
    inner = third - first
    ratio = (high - low) / np.where(inner > 0, inner, np.inf)
    return np.where(inner > 0, ratio / _NORMAL_TAILS, 1.0)


@dataclass(frozen=True)
class Comparison:
    """Held-out losses of two estimates at the same rows.

    Attributes
    ----------
    loss, other : float
        Mean losses in nats.
    z : float
        How much smaller the other one is, in standard errors of the difference.
    """

    loss: float
    other: float
    z: float


def _mean_and_variance(values, weight):
    """Weighted mean, and the variance of it; weights are repetition counts."""
    n_rows = weight.sum()
    mean = weight @ values / n_rows
    variance = weight @ (values - mean) ** 2 / n_rows
    # A single row says nothing on how far the mean may be off.
    return mean, variance / (n_rows - 1) if n_rows > 1 else np.inf


def _in_errors(gain, error):
    """A gain in standard errors; one that is the same at every row is certain."""
    if error > 0:
        return float(gain / error)
    return float(np.copysign(np.inf, gain)) if abs(gain) > _ROUNDING else 0.0


def log_losses(log_ratio, n_denominator):
    """Log loss of each row's domain, in nats; the denominator's rows come first."""
    sign = np.where(np.arange(len(log_ratio)) < n_denominator, -1.0, 1.0)
    return -log_expit(sign * log_ratio)


def compare(loss, other, weight, n_denominator):
    """Compare two estimates by their losses at rows of both samples.

    Parameters
    ----------
    loss, other : ndarray of shape (n_rows,)
        Losses, the denominator's rows first.
    weight : ndarray of shape (n_rows,)
        Repetition counts.
    n_denominator : int

    Returns
    -------
    comparison : Comparison
        Of the balanced losses.
    """
    parts = slice(n_denominator), slice(n_denominator, None)
    means, variances = zip(
        *(_mean_and_variance((loss - other)[part], weight[part]) for part in parts),
        strict=True,
    )
    first = np.mean([np.average(loss[part], weights=weight[part]) for part in parts])
    error = np.sqrt(sum(variances)) / 2
    gain = sum(means) / 2
    return Comparison(float(first), float(first - gain), _in_errors(gain, error))


def compare_on_bridges(rows, pairs, plug_in, network, weights):
    """Compare a plug-in and a network by their losses on the bridges between waymarks.

    Where samples lie far apart, every estimate tells them apart, and only the bridges
    show which of them knows the ratio.

    Parameters
    ----------
    rows : ndarray of shape (n_waymarks, n_pairs, n_features)
        Rows of all waymarks, from held-out pairs.
    pairs : pair of ndarray of int of shape (n_pairs,)
        Which row of the denominator, and of the numerator, a pair is made of.
    plug_in, network : callable
        Of rows; the log ratios of all bridges, of shape (n_rows, n_bridges).
    weights : pair of ndarray of shape (n_rows,)
        Repetition counts of the rows that the pairs come from.

    Returns
    -------
    comparison : Comparison
        Of the mean loss of a bridge.
    """
    losses = []
    for log_ratios in (plug_in, network):
        at = [log_ratios(each) for each in rows]
        losses.append(
            -np.mean(
                [
                    log_expit(at[k + 1][:, k]) + log_expit(-at[k][:, k])
                    for k in range(len(rows) - 1)
                ],
                axis=0,
            )
            / 2
        )
    difference = losses[0] - losses[1]
    # A row is in many pairs, which share what it does to them: it counts once a repeat.
    variance = 0.0
    for index, weight in zip(pairs, weights, strict=True):
        n_pairs = np.bincount(index, minlength=len(weight))
        total = np.bincount(index, weights=difference, minlength=len(weight))
        deviation = total / np.maximum(n_pairs, 1) - difference.mean()
        variance += np.average(deviation**2, weights=n_pairs) / weight.sum()
    z = _in_errors(difference.mean(), np.sqrt(variance))
    return Comparison(float(losses[0].mean()), float(losses[1].mean()), z)
