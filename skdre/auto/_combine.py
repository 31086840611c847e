"""How held-out rows decide: balanced log losses, and weights on a simplex."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from skdre._core.groups import error_of_means

__all__ = ["HeldOut", "simplex_weights"]

# Pairs of candidates between which weight is moved, at most.
_MAX_MOVES = 2000


@dataclass(frozen=True)
class HeldOut:
    """Rows as they are held out, each by one fold.

    Attributes
    ----------
    row : ndarray of int of shape (n_held_out,)
        Which row it is; repeats of a row of atoms may lie in several folds.
    fold : ndarray of int of shape (n_held_out,)
        Which fold holds it out.
    sign : ndarray of shape (n_held_out,)
        1 for the numerator's rows, -1 for the denominator's.
    weight : ndarray of shape (n_held_out,)
        In draws.
    cluster : ndarray of int of shape (n_held_out,), default=None
        Number of the independent observation that it belongs to, where groups say so.
    """

    row: np.ndarray
    fold: np.ndarray
    sign: np.ndarray
    weight: np.ndarray
    cluster: np.ndarray | None = None

    @classmethod
    def of(cls, rows, shares):
        """Those of distinct rows, `shares` of which are held out by each fold."""
        row, fold = np.nonzero(shares.T)
        sign = np.where(rows.is_numerator[row], 1.0, -1.0)
        return cls(row, fold, sign, shares[fold, row] * rows.weight[row])

    @classmethod
    def of_clusters(cls, rows, row, fold, cluster, weight):
        """Those of rows as they came: their distinct row, fold, cluster and weight."""
        keys, number = np.unique(
            np.column_stack([row, fold, cluster]), axis=0, return_inverse=True
        )
        share = np.bincount(number.ravel(), weight)
        row, fold, cluster = keys.T
        share /= np.bincount(row, share)[row]
        sign = np.where(rows.is_numerator[row], 1.0, -1.0)
        return cls(row, fold, sign, share * rows.weight[row], cluster)

    def of_rows(self, here):
        """Those of some of the rows."""
        cluster = None if self.cluster is None else self.cluster[here]
        return replace(
            self,
            row=self.row[here],
            fold=self.fold[here],
            sign=self.sign[here],
            weight=self.weight[here],
            cluster=cluster,
        )

    def cluster_of_rows(self, n_rows):
        """The cluster in which most of each row lies; None without clusters.

        A row that no fold holds out is one of its own.
        """
        if self.cluster is None:
            return None
        cluster = self.cluster.max() + 1 + np.arange(n_rows)
        order = np.argsort(self.weight, kind="stable")
        cluster[self.row[order]] = self.cluster[order]
        return cluster

    def means(self, values, n_rows):
        """Mean of held-out values of each row; NaN where no fold holds it out."""
        total, weight = (
            np.bincount(self.row, each, n_rows)
            for each in (self.weight * values, self.weight)
        )
        return np.divide(total, weight, np.full(n_rows, np.nan), where=weight > 0)

    @property
    def balanced(self):
        """Weights that sum to 1/2 in each sample."""
        is_p = self.sign > 0
        n_p, n_q = self.weight[is_p].sum(), self.weight[~is_p].sum()
        return self.weight / np.where(is_p, 2 * n_p, 2 * n_q)

    def losses(self, log_ratio):
        """Log loss of each, in nats."""
        return np.logaddexp(0, -self.sign * log_ratio)

    def loss(self, log_ratio):
        """Balanced mean of the losses."""
        return float(self.balanced @ self.losses(log_ratio))

    def mean_and_error(self, values):
        """Balanced mean, and its standard error, of values that are held out."""
        balanced = self.balanced
        parts = self.sign > 0, self.sign < 0
        if self.cluster is not None:
            shares = [2 * balanced[part] for part in parts]
            error = error_of_means(
                *(
                    share * (values[part] - share @ values[part])
                    for share, part in zip(shares, parts, strict=True)
                ),
                [self.cluster[part] for part in parts],
            )
            return float(balanced @ values), error / 2
        variance = 0.0
        for part in parts:
            share = 2 * balanced[part]
            n_rows = self.weight[part].sum()
            mean = share @ values[part]
            # A single row says nothing on how far the mean may be off.
            variance += (
                share @ (values[part] - mean) ** 2 / (n_rows - 1)
                if n_rows > 1
                else np.inf
            )
        return float(balanced @ values), float(np.sqrt(variance) / 2)

    def divergence(self, log_ratio):
        """Half the symmetric Kullback-Leibler divergence that a log ratio tells."""
        return float(self.balanced @ (self.sign * log_ratio))


def simplex_weights(log_ratios, held_out, *, tol=1e-6):
    r"""Weights of candidates whose mixed log ratio has the least held-out loss.

    The balanced log loss of :math:`F w` is convex in w; it is minimised over w >= 0,
    sum w = 1, by moving weight between two candidates at a time with Newton steps,
    from the one with the largest slope to the one with the smallest. It ends when the
    duality gap :math:`w^\top g - \min_k g_k`, which bounds what is left to gain, is
    below `tol`.

    Parameters
    ----------
    log_ratios : ndarray of shape (n_candidates, n_held_out)
        F, transposed.
    held_out : HeldOut
    tol : float, default=1e-6
        In nats.

    Returns
    -------
    weights : ndarray of shape (n_candidates,)
    """
    F, sign, share = log_ratios, held_out.sign, held_out.balanced
    best = np.argmin([held_out.loss(each) for each in F])
    weights = np.zeros(len(F))
    weights[best] = 1.0
    mixed = F[best].copy()
    for _ in range(_MAX_MOVES):
        gradient = F @ (-share * sign * expit(-sign * mixed))
        to = np.argmin(gradient)
        if weights @ gradient - gradient[to] < tol:
            break
        off = np.argmax(np.where(weights > 0, gradient, -np.inf))
        direction, most = F[to] - F[off], weights[off]
        step = _line_minimum(mixed, direction, sign, share, most)
        weights[to] += step
        weights[off] = 0.0 if step == most else weights[off] - step
        mixed = weights @ F
    return weights / weights.sum()


def _line_minimum(start, direction, sign, share, most):
    """The step in [0, most] along a direction with the least loss, by bisection."""

    def slope(step):
        z = start + step * direction
        return -(share * sign * expit(-sign * z)) @ direction

    if slope(most) <= 0:
        return most
    low, high = 0.0, most
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2
