"""Rows that belong together, such as those of a customer, and folds of such groups."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.utils.validation import column_or_1d

__all__ = [
    "balanced_folds",
    "error_of_means",
    "group_codes",
    "joined_groups",
    "sums_over",
]


def group_codes(groups, n_rows, rows="rows of X"):
    """Number of each row's group, in the order of their names; None without groups."""
    if groups is None:
        return None
    groups = column_or_1d(groups)
    if len(groups) != n_rows:
        raise ValueError(
            f"groups must have one entry for each of the {n_rows} {rows}, got "
            f"{len(groups)}."
        )
    if np.any(groups != groups):
        raise ValueError(
            "groups contains NaN: give a row without a group one of its own."
        )
    return np.unique(groups, return_inverse=True)[1].ravel()


def joined_groups(groups, observation):
    """Number of the independent observation of each row: what is connected is one.

    Rows of one group are connected, and so are those of one number in `observation`,
    the copies of a row. Both are codes from 0 of shape (n_rows,).
    """
    n_groups = groups.max() + 1
    # scipy 1.11 finds no components, without an error, at indices of 64 bits.
    ends = groups.astype(np.int32), (n_groups + observation).astype(np.int32)
    links = coo_array(
        (np.ones(len(groups)), ends),
        shape=(n_groups + observation.max() + 1,) * 2,
    )
    _, component = connected_components(links, directed=False)
    return np.unique(component[groups], return_inverse=True)[1]


def balanced_folds(mass, n_folds, order):
    """A fold for each group, the largest first, to where least of its rows are.

    `mass` is each sample's rows in each group, of shape (n_samples, n_groups), and
    `order` a number for each group, by which those of one size are dealt.
    """
    mass = mass / mass.sum(axis=1, keepdims=True)
    fold = np.empty(mass.shape[1], int)
    load = np.zeros((len(mass), n_folds))
    for group in np.lexsort((order, -np.round(mass.sum(axis=0), 9))):
        after = load + mass[:, [group]]
        # Of equal folds the first.
        fold[group] = np.argmin(np.round((after**2 - load**2).sum(axis=0), 12))
        load[:, fold[group]] += mass[:, group]
    return fold


def sums_over(cluster, values):
    """Sums of values over the rows of each cluster; the values themselves for None."""
    if cluster is None:
        return values
    return np.bincount(np.unique(cluster, return_inverse=True)[1].ravel(), values)


def error_of_means(in_p, in_q, clusters=(None, None)):
    """Standard error of a mean over p plus one over q.

    `in_p` and `in_q` are what each row adds to the deviation of its mean, None where
    there is no mean; `clusters` are the numbers of the independent observations that
    the rows belong to, of which the samples may share some.
    """
    variance, totals = 0.0, []
    with np.errstate(over="ignore", invalid="ignore"):
        for values, cluster in zip((in_p, in_q), clusters, strict=True):
            if values is None:
                continue
            total = sums_over(cluster, values)
            n = len(total)
            # Of a single one there is nothing to hold the mean against.
            if n == 1:
                return np.inf
            totals.append(total * np.sqrt(n / (n - 1)))
            variance += np.sum(totals[-1] ** 2)
        if len(totals) == 2 and clusters[0] is not None:
            names = [np.unique(cluster) for cluster in clusters]
            _, at_p, at_q = np.intersect1d(*names, return_indices=True)
            variance += 2 * totals[0][at_p] @ totals[1][at_q]
    return float(np.sqrt(variance)) if np.isfinite(variance) else np.inf
