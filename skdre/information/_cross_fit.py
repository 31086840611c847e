"""A ratio fitted on one part of the rows and evaluated on the other."""

from contextlib import nullcontext
from itertools import repeat
from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from skdre._compat import num_samples
from skdre._core.groups import balanced_folds
from skdre._core.inner_groups import fit_with_groups
from skdre._core.tasks import run_task
from skdre.base import predict_log_ratio

__all__ = ["HeldOut", "cross_fit", "held_out", "log_ratio_at", "split_rows"]


def log_ratio_at(ratio, rows):
    """Log ratio of a fitted estimator, which must be finite at each of the rows."""
    log_ratio = predict_log_ratio(ratio, rows)
    n_rows = num_samples(rows)
    if log_ratio.shape == (n_rows,) and np.isfinite(log_ratio).all():
        return log_ratio
    # Written only where it is needed: an estimator's repr takes as long as a small fit.
    wanted = f"ratio={ratio!r} must give one finite log ratio for each row, but its "
    if log_ratio.shape != (n_rows,):
        raise ValueError(
            f"{wanted}decision_function gave the shape {log_ratio.shape} for {n_rows} "
            "rows."
        )
    number, bad = next(
        (number, bad)
        for number, bad in (
            ("NaN", np.isnan(log_ratio)),
            ("minus infinity, a ratio of 0,", log_ratio == -np.inf),
            ("infinity, a ratio without bound,", log_ratio == np.inf),
        )
        if bad.any()
    )
    raise ValueError(
        f"{wanted}decision_function gave {number} at {bad.sum()} of {n_rows} rows, "
        "where no mean of it is finite. Rows can show no ratio beyond their number: "
        "keep the log ratio between -log(n_numerator) and log(n_denominator), as "
        "skdre.ClassifierRatio does."
    )


def _fit_fold(ratio, fold, task):
    ratio, data = clone(ratio), {"X": fold.X, "y": fold.y}
    with nullcontext() if task is None else run_task(*task, ratio, **data):
        fit_with_groups(ratio, **data, groups=fold.groups)
    return ratio, log_ratio_at(ratio, fold.X_test)


def cross_fit(ratio, folds, *, n_jobs=None, tasks=None):
    """The fitted ratio of each fold, and its log ratio at the fold's test rows.

    At the rows that it was fitted on, a ratio is too sure of the domain, and every
    divergence computed there is too large. `tasks` are the callback context of each
    fold and the estimator that is being fitted.
    """
    tasks = repeat(None) if tasks is None else tasks
    return Parallel(n_jobs=n_jobs)(
        delayed(_fit_fold)(ratio, fold, task)
        # The folds may be a generator, and None is repeated for ever.
        for fold, task in zip(folds, tasks, strict=False)
    )


def split_rows(cv, X, y=None, *, rng, cluster=None, groups=None, unit="row"):
    """Training and test positions of folds that hold out every row once.

    An int, or None for 5, draws the folds at random: with y within each domain, and
    with `cluster`, the number of each row's observation, so that copies of a row stay
    together. `groups` go to a splitter, which must not part them; with an int they are
    what clusters are made of. `unit` is what a row is called in messages.
    """
    given, cv = cv, 5 if cv is None else cv
    if isinstance(cv, Integral):
        if groups is not None:
            return _split_groups(cv, y, cluster, rng)
        random_folds = KFold if y is None else StratifiedKFold
        cv = random_folds(cv, shuffle=True, random_state=rng)
        if cluster is not None:
            return _split_observations(cv, y, cluster)
    cv = check_cv(cv, y, classifier=y is not None)
    # Of KFold and its like scikit-learn warns that they ignore groups.
    parts = list(cv.split(X, y, groups))
    tests = np.sort(np.concatenate([test for _, test in parts]))
    if not np.array_equal(tests, np.arange(num_samples(X))):
        raise ValueError(
            f"cv={given!r} must hold out every {unit} once: use KFold or another "
            "splitter whose test folds are a partition."
        )
    if groups is not None:
        for training, test in parts:
            parted = np.intersect1d(groups[training], groups[test])
            if parted.size:
                raise ValueError(
                    f"cv={given!r} parts {parted.size} groups of `groups` between the "
                    "rows to fit on and those held out: use an int, GroupKFold or "
                    "another splitter that keeps them together."
                )
    return parts


def _split_groups(n_folds, y, cluster, rng):
    number = np.unique(cluster, return_inverse=True)[1].ravel()
    is_sample = np.ones((1, len(number))) if y is None else np.array([y == 0, y == 1])
    mass = np.array([np.bincount(number, each) for each in is_sample])
    fold = balanced_folds(mass, n_folds, rng.permutation(mass.shape[1]))[number]
    return [
        (np.flatnonzero(fold != each), np.flatnonzero(fold == each))
        for each in range(n_folds)
    ]


def _split_observations(cv, y, cluster):
    first, number = np.unique(cluster, return_inverse=True)
    domain = None if y is None else y[first]
    return [
        tuple(np.flatnonzero(np.isin(number, part)) for part in parts)
        for parts in cv.split(first, domain)
    ]


class HeldOut(NamedTuple):
    """Log ratios at rows of both samples, in the pool's order, that no fit has seen.

    With the fitted ratio of each fold, and the positions of the rows that it was
    evaluated at.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    ratios: list[BaseEstimator]
    tests: list[np.ndarray]


def _check_prefit(estimator, classes):
    check_is_fitted(estimator)
    own = np.asarray(getattr(estimator, "classes_", classes))
    if not np.array_equal(own, classes):
        raise ValueError(
            f"y must hold the domains that the estimator was fitted with, "
            f"{own.tolist()}, got {classes.tolist()}."
        )


def held_out(estimator, rows, *, cv, rng, n_jobs=None):
    """Log ratios at held-out rows of a labelled pool.

    With `cv` "prefit" the estimator is taken as it is fitted, and all rows as held out.
    """
    X, is_numerator = rows.X, rows.is_numerator
    if isinstance(cv, str):
        _check_prefit(estimator, rows.classes)
        log_ratio = log_ratio_at(estimator, X)
        parts = log_ratio[is_numerator], log_ratio[~is_numerator]
        return HeldOut(*parts, [estimator], [np.arange(len(is_numerator))])
    counts = [len(np.unique(each)) for each in rows.clusters()]
    n_folds = 5 if cv is None else cv
    if isinstance(n_folds, Integral) and min(counts) < n_folds:
        if rows.groups is not None:
            raise ValueError(
                f"groups must hold as many groups of each domain as cv={cv!r} makes "
                f"folds, got {counts[0]} of the numerator and {counts[1]} of the "
                "denominator (those that share copies of a row count as one)."
            )
        raise ValueError(
            f"cv={cv!r} needs as many rows of each domain, got {counts[0]} of the "
            f"numerator and {counts[1]} of the denominator."
        )
    parts = split_rows(
        cv,
        X,
        is_numerator.astype(int),
        rng=rng,
        cluster=rows.cluster,
        groups=rows.groups,
    )
    for index in (each for part in parts for each in part):
        if is_numerator[index].all() or not is_numerator[index].any():
            use = "StratifiedKFold"
            if rows.groups is not None:
                use = "fewer folds, or StratifiedGroupKFold, or other groups"
            raise ValueError(
                f"cv={cv!r} leaves a part of a fold with rows of one domain only: use "
                f"{use}."
            )
    folds = (rows.fold(*part) for part in parts)
    ratios, values = zip(*cross_fit(estimator, folds, n_jobs=n_jobs), strict=True)
    tests = [test for _, test in parts]
    log_ratio = np.empty(len(is_numerator))
    log_ratio[np.concatenate(tests)] = np.concatenate(values)
    return HeldOut(log_ratio[is_numerator], log_ratio[~is_numerator], [*ratios], tests)
