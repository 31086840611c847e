"""The numbers behind the pictures: pure functions on arrays."""

import numpy as np
from scipy.special import log_expit, logsumexp

__all__ = ["calibration_bins", "effective_rows", "lorenz_curve", "share_below"]

# A 95 % interval: of a normal, and the most that an event has as its chance which has
# not occurred in n trials, -log(0.05) / n.
_NORMAL = 1.959964
_RULE_OF_THREE = 2.995732


def effective_rows(weights, counts):
    """Kish's effective sample size, of rows that stand `counts` times each."""
    weights = weights / weights.max()
    return float((counts @ weights) ** 2 / (counts @ weights**2))


def lorenz_curve(weights, counts):
    """Share of the rows, the lightest first, and of the weight that they carry.

    Both rise from 0 to 1 in n_samples + 1 values; row i stands counts[i] times.
    """
    order = np.argsort(weights, kind="stable")
    # Scaled by the largest, so that the sum of huge weights does not overflow.
    carried = np.cumsum((counts * (weights / weights.max()))[order])
    rows = np.cumsum(counts[order])
    return (
        np.concatenate([[0.0], rows / rows[-1]]),
        np.concatenate([[0.0], carried / carried[-1]]),
    )


def share_below(values, weight):
    """Share of the weight at smaller values, and half of that at the value itself."""
    _, group = np.unique(values, return_inverse=True)
    total = np.bincount(group, weight)
    return ((np.cumsum(total) - total / 2) / total.sum())[group]


def calibration_bins(is_numerator, log_ratio, weight, n_bins):
    r"""Predicted and observed log ratio in bins of the prediction.

    Rows of the two domains count half each. In a bin B the observed ratio is
    :math:`P_p(B) / P_q(B)`, the quotient of the shares that each domain has there; the
    predicted one is :math:`\bar c / (1 - \bar c)`, :math:`\bar c` the mean of
    r / (1 + r) over the rows in it. At the true ratio their expectations are equal.

    Bins are of equal share; rows of one log ratio are never parted, so there may be
    fewer than `n_bins`. `weight` is how often each row stands. The observed ratio is
    infinite where a bin holds rows of one domain only. The 95 % interval of it, of
    shape (n_found, 2), is that of the normal approximation; of an infinite ratio it is
    from or to the bound that the size of the absent domain gives.
    """
    rows = weight > 0
    is_numerator, log_ratio, weight = is_numerator[rows], log_ratio[rows], weight[rows]
    sizes = {side: weight[is_numerator == side].sum() for side in (False, True)}
    mass = weight / np.where(is_numerator, 2 * sizes[True], 2 * sizes[False])
    place = np.floor(n_bins * share_below(log_ratio, mass)).astype(int)
    _, place = np.unique(place, return_inverse=True)

    log_mass = np.log(mass)
    shares, sums = {}, {}
    for side in (False, True):
        shares[side] = 2 * np.bincount(place, mass * (is_numerator == side))
        sign = 1 if side else -1
        terms = log_mass + log_expit(sign * log_ratio)
        sums[side] = np.array(
            [logsumexp(terms[place == k]) for k in range(place.max() + 1)]
        )
    predicted = sums[True] - sums[False]
    with np.errstate(divide="ignore"):
        observed = np.log(shares[True]) - np.log(shares[False])
        variance = sum(
            (1 - np.minimum(shares[side], 1)) / (sizes[side] * shares[side])
            for side in (False, True)
        )
    with np.errstate(invalid="ignore"):
        half = _NORMAL * np.sqrt(variance)
        interval = observed[:, None] + half[:, None] * np.array([-1, 1])
    for side, absent in ((True, False), (False, True)):
        alone = shares[absent] == 0
        most = np.log(min(1.0, _RULE_OF_THREE / sizes[absent]))
        bound = np.log(shares[side][alone]) - most
        interval[alone] = (
            np.column_stack([bound, np.full(bound.shape, np.inf)])
            if side
            else np.column_stack([np.full(bound.shape, -np.inf), -bound])
        )
    return predicted, observed, interval
