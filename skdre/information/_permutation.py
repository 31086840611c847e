"""Permutation tests: sums over random choices of the rows."""

from dataclasses import dataclass, field

import numpy as np

from skdre._core.types import Floats

__all__ = ["ShiftTest", "check_one_label", "permutation_pvalue", "permuted_sums"]

# Values of the choices that are drawn at once.
_CHUNK = 2**21

# Equal statistics differ by rounding, of which sums of many values have more.
_TIE = 1e-10


@dataclass(frozen=True, eq=False)
class ShiftTest:
    """Result of a two-sample test, with the fields of scipy's permutation tests.

    Attributes
    ----------
    statistic : float
        Of the samples as they are labelled; larger means further apart.
    pvalue : float
        Share of labellings, the given one among them, with a statistic as large.
    null_distribution : ndarray of shape (n_permutations,)
        Statistics of permuted labels.
    parts : dict of str to float
        p-values of the statistics that the test combines, each by itself; empty where
        there is one statistic only.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre.information import ShiftTest
    >>> ShiftTest(2.5, 0.04, np.zeros(24))
    ShiftTest(statistic=2.5, pvalue=0.04)
    """

    statistic: float
    pvalue: float
    null_distribution: Floats = field(repr=False)
    parts: dict[str, float] = field(default_factory=dict, repr=False)


def permuted_sums(values, n_first, n_permutations, rng):
    """Sums of values (n_rows, n_columns) over `n_first` rows chosen at random."""
    n_rows = len(values)
    sums = np.empty((n_permutations, values.shape[1]))
    step = max(_CHUNK // n_rows, 1)
    first = (np.arange(n_rows) < n_first).astype(np.float64)
    for start in range(0, n_permutations, step):
        n_drawn = min(step, n_permutations - start)
        chosen = rng.permuted(np.tile(first, (n_drawn, 1)), axis=1)
        sums[start : start + n_drawn] = chosen @ values
    return sums


def check_one_label(cluster, is_numerator):
    """Refuse groups with rows of both samples, where labels of groups are permuted."""
    both = np.intersect1d(cluster[is_numerator], cluster[~is_numerator])
    if both.size:
        raise ValueError(
            f"groups has {both.size} of {len(np.unique(cluster))} groups with rows of "
            "both samples, but a test permutes the labels of whole groups: each must "
            "lie in one sample (those that share copies of a row count as one). "
            "divergence takes such groups."
        )


def permutation_pvalue(statistic, null_distribution):
    """Share of statistics at least as large, the given one counted among them.

    So it is never 0, and a test at level a rejects with probability a at most if all
    labellings are equally likely (B. Phipson, G. K. Smyth, "Permutation p-values
    should never be zero", Stat. Appl. Genet. Mol. Biol. 9, 2010).
    """
    scale = max(abs(statistic), np.abs(null_distribution).max())
    as_large = np.sum(null_distribution >= statistic - _TIE * scale)
    return float((as_large + 1) / (len(null_distribution) + 1))
