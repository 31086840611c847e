"""A ratio fitted on one part of the rows and evaluated on the other."""

from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from skdre.base import pool

__all__ = ["Fold", "FoldResult", "cross_fit"]


class Fold(NamedTuple):
    """Rows of a fold, each an array of shape (n_rows, n_features)."""

    train_numerator: np.ndarray
    train_denominator: np.ndarray
    test_numerator: np.ndarray
    test_denominator: np.ndarray


class FoldResult(NamedTuple):
    """The ratio that a fold was fitted, and its logarithm at the fold's test rows."""

    ratio: object
    numerator_log_ratio: np.ndarray
    denominator_log_ratio: np.ndarray


def _fit_fold(ratio, fold):
    ratio = clone(ratio)
    ratio.fit(*pool(numerator=fold.train_numerator, denominator=fold.train_denominator))
    log_ratios = []
    for rows in (fold.test_numerator, fold.test_denominator):
        log_ratio = np.asarray(ratio.decision_function(rows), dtype=np.float64)
        if log_ratio.shape != (len(rows),) or not np.isfinite(log_ratio).all():
            raise ValueError(
                f"ratio={ratio!r} must give one finite log ratio for each row, but its "
                f"decision_function gave NaN, infinity or the shape {log_ratio.shape} "
                f"for {len(rows)} rows."
            )
        log_ratios.append(log_ratio)
    return FoldResult(ratio, *log_ratios)


def cross_fit(ratio, folds, *, n_jobs=None):
    """Fit a clone of the ratio in each fold, and evaluate it at the test rows.

    At the rows that it was fitted on, a ratio is too sure of the domain, and every
    divergence computed there is too large.

    Parameters
    ----------
    ratio : ratio estimator
        Or a pipeline that ends in one. It is cloned.
    folds : iterable of Fold
        A generator is drawn from as the fits proceed.
    n_jobs : int, default=None
        Folds that are fitted at the same time.

    Returns
    -------
    results : list of FoldResult
        In the order of the folds.

    Raises
    ------
    ValueError
        If a log ratio is not finite.
    """
    return Parallel(n_jobs=n_jobs)(delayed(_fit_fold)(ratio, fold) for fold in folds)
