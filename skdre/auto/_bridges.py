"""The losses of bridges, which tell estimates apart where samples hardly overlap."""

from dataclasses import replace

import numpy as np
from scipy.special import log_expit
from scipy.stats import norm

from skdre.paths import check_path
from skdre.waymarks._base import Problem

__all__ = ["bridge_comparison", "compare_on_bridges", "form_of_bridges"]

# How often the held-out rows of a fold are paired anew: until there are so many pairs,
# or so often.
_PAIRS, _PASSES = 3000, 3

# A tail of a column: how far the 1 % quantile is from the median, over how far the
# quartile is, in units of a normal's. From this value on it is heavy (2.5 for Student's
# t with two degrees of freedom, 2.8 for a log-normal).
_HEAVY = 2.5


def form_of_bridges(X, is_numerator, weight):
    """Whether rows are to be interpolated as they are, or made normal first.

    No held-out loss tells: where samples lie apart, the log losses of both forms are
    the same within their errors when the errors of the log ratio differ by a factor of
    ten. The columns do: interpolation suits them unless tails are heavy.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Distinct rows.
    is_numerator : ndarray of bool of shape (n_rows,)
    weight : ndarray of shape (n_rows,)

    Returns
    -------
    form : {"plain", "normal"}
        "normal" if a column has heavy tails within a sample.
    """
    tails = [_tails(X[part], weight[part]) for part in (is_numerator, ~is_numerator)]
    return "normal" if np.max(tails) > _HEAVY else "plain"


def _tails(X, weight):
    """How heavy the heavier tail of each column is; 1 of a normal."""
    shares = np.array([0.01, 0.25, 0.5, 0.75, 0.99])
    order = np.argsort(X, axis=0, kind="stable")
    cumulative = np.cumsum(weight[order], axis=0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = [
            np.interp(shares * total[-1], total - w / 2, x)
            for total, w, x in zip(
                cumulative.T,
                weight[order].T,
                np.take_along_axis(X, order, 0).T,
                strict=True,
            )
        ]
        low, left, middle, right, high = np.array(found).T
        ratios = np.array(
            [(high - middle) / (right - middle), (middle - low) / (middle - left)]
        )
    # Where half of the values are one, as in counts, the quartiles have no say.
    ratios = np.where(np.isfinite(ratios), ratios, 0.0)
    return ratios.max(axis=0) * (norm.ppf(0.75) / norm.ppf(0.99))


def bridge_comparison(rows, shares, plug_ins, fars, random_state):
    """How much better telescoping is than the plug-in on the bridges.

    Parameters
    ----------
    rows : PooledRows
    shares : ndarray of shape (n_folds, n_rows)
        The share of each row that a fold holds out.
    plug_ins : list of GaussianRatio
        Fitted without the rows of each fold.
    fars : list of TelescopingRatio
        Fitted without the rows of each fold; or one, whose members hold out the folds
        in turn.
    random_state : RandomState
        Of the pairs of held-out rows.

    Returns
    -------
    better : float
        In standard errors of the difference; negative if the plug-in is better.
    """
    gains, variances = [], []
    for fold, (share, plug_in) in enumerate(zip(shares, plug_ins, strict=True)):
        far = fars[fold % len(fars)]
        path, times = check_path(far.path), far.times_.tolist()
        new = replace(rows, weight=rows.weight * share)
        new = new.weighted(new.weight)
        problem = Problem(new, path, times, len(times) - 1, warn=False)
        n_rows = max(max(len(each), each.sum()) for _, each in new.samples())
        n_passes = int(np.clip(np.ceil(_PAIRS / n_rows), 1, _PASSES))
        waymarks, *pairs = problem.draw_rows(True, random_state, n_passes)

        def of_members(X, far=far, fold=fold):
            log_ratios = far._member_bridges(X)
            members = np.arange(log_ratios.shape[1]) % len(shares) == fold
            return log_ratios[:, members].mean(axis=1)

        gain, variance = compare_on_bridges(
            waymarks,
            pairs,
            _bridges_of_plug_in(plug_in, path, far.times_),
            of_members if len(fars) == 1 else far.log_ratios,
            [weight for _, weight in new.samples()],
        )
        gains.append(gain)
        variances.append(variance)
    gain, error = np.mean(gains), np.sqrt(np.sum(variances)) / len(shares)
    if error > 0:
        return float(gain / error)
    # What is the same at every row is certain.
    return float(np.copysign(np.inf, gain)) if gain else 0.0


def _bridges_of_plug_in(plug_in, path, times):
    """The plug-in's log ratios between the waymarks of a telescoping ratio."""
    moments = plug_in.moments_
    a, b, _ = path.coefficients(times)

    def log_ratios(X):
        Z = moments.coordinates(X)
        each = [
            moments.log_density(Z, share) for share in zip(times, a, b, strict=True)
        ]
        return np.diff(each, axis=0).T

    return log_ratios


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
    gain, variance : float
        How much smaller the network's mean loss of a bridge is, and the variance of
        that, in nats.
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
    return float(difference.mean()), float(variance)
