"""Whether weights remove a shift: a bootstrap in which they are fitted again."""

import warnings

import numpy as np
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from skdre._compat import safe_indexing
from skdre._core.seeds import draw_seed
from skdre.base import check_is_ratio
from skdre.information._aggregate import banks_of, jointly_tested, plain_table
from skdre.information._cross_fit import log_ratio_at
from skdre.information._pool import domain_rows
from skdre.weighting import importance_weights

__all__ = ["reweighted_test"]


def _fitted_weights(reweight, rows, numerator, denominator):
    """Weights of the denominator's rows, given by their positions as those of p."""
    if not hasattr(reweight, "fit"):
        found = reweight(
            safe_indexing(rows.X, numerator), safe_indexing(rows.X, denominator)
        )
        weights = np.asarray(found, dtype=np.float64)
        if weights.shape != (len(denominator),):
            raise ValueError(
                "reweight must return a weight for each of the denominator's "
                f"{len(denominator)} rows, got the shape {weights.shape}."
            )
    else:
        index = np.concatenate([numerator, denominator])
        label = np.arange(len(index)) < len(numerator)
        ratio = clone(reweight).fit(safe_indexing(rows.X, index), label.astype(int))
        log_ratio = log_ratio_at(ratio, safe_indexing(rows.X, denominator))
        weights = importance_weights(log_ratio)
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(
            "reweight must return weights that are finite, not negative and not all 0."
        )
    return weights / weights.sum()


def _weighted_contrast(reweight, rows, numerator, denominator, quiet):
    """Coefficients of the weighted difference of means, of each row of the table."""
    with warnings.catch_warnings():
        if quiet:
            # The fit to the rows as they are has said what there is to say.
            warnings.simplefilter("ignore")
        weights = _fitted_weights(reweight, rows, numerator, denominator)
    n = len(rows.is_numerator)
    in_p = np.bincount(numerator, minlength=n) / len(numerator)
    return in_p - np.bincount(denominator, weights, n)


def _drawn(unit, rng):
    """Positions of rows, as many units as there are drawn with replacement."""
    units, number = np.unique(unit, return_inverse=True)
    order = np.argsort(number, kind="stable")
    ends = np.searchsorted(number[order], np.arange(len(units) + 1))
    chosen = rng.integers(len(units), size=len(units))
    return np.concatenate([order[ends[k] : ends[k + 1]] for k in chosen])


def reweighted_test(reweight, X, y, groups, n_resamples, *, n_jobs, rng):
    """Test by all statistics whether the weighted denominator is the numerator."""
    if hasattr(reweight, "fit"):
        check_is_ratio(reweight, fitted=False)
    rows = domain_rows("two_sample_test", X, y, groups, draw_in=False).distinct()
    banks = banks_of(plain_table(rows.X), rng)
    sides = np.flatnonzero(rows.is_numerator), np.flatnonzero(~rows.is_numerator)
    units = [rows.cluster[each] for each in sides]
    generator = np.random.default_rng(draw_seed(rng))
    drawn = [
        tuple(
            side[_drawn(unit, generator)]
            for side, unit in zip(sides, units, strict=True)
        )
        for _ in range(n_resamples)
    ]
    contrasts = np.array(
        Parallel(n_jobs=n_jobs)(
            delayed(_weighted_contrast)(reweight, rows, *each, each is not sides)
            for each in (sides, *drawn)
        )
    )
    # What a sample adds to the difference that is there.
    contrasts[1:] -= contrasts[0]
    return jointly_tested(banks, [contrasts])
