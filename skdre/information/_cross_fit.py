"""A ratio fitted on one part of the rows and evaluated on the other."""

from contextlib import nullcontext
from itertools import repeat
from numbers import Integral
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from skdre._compat import num_samples, safe_indexing
from skdre._core.columns import as_matrix
from skdre._core.frames import is_frame, replace_columns
from skdre._core.rows import as_numbers, observations
from skdre._core.scales import column_scales
from skdre._core.tasks import run_task
from skdre.base import check_pool, pool_rows, predict_log_ratio

__all__ = [
    "DomainRows",
    "Fold",
    "FoldResult",
    "HeldOut",
    "cross_fit",
    "domain_rows",
    "held_out",
    "log_ratio_at",
    "pool_folds",
    "split_rows",
    "without_extremes",
]


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


def log_ratio_at(ratio, rows):
    """Log ratio of a fitted estimator at rows, which must be finite.

    Parameters
    ----------
    ratio : ratio estimator
        Fitted.
    rows : array-like or DataFrame of shape (n_rows, n_features)

    Returns
    -------
    log_ratio : ndarray of shape (n_rows,)

    Raises
    ------
    ValueError
        If there is not one log ratio for each row, one is not finite, or the estimator
        is no ratio estimator.
    """
    log_ratio = predict_log_ratio(ratio, rows)
    n_rows = num_samples(rows)
    wanted = f"ratio={ratio!r} must give one finite log ratio for each row, but its "
    if log_ratio.shape != (n_rows,):
        raise ValueError(
            f"{wanted}decision_function gave the shape {log_ratio.shape} for {n_rows} "
            "rows."
        )
    for number, bad in (
        ("NaN", np.isnan(log_ratio)),
        ("minus infinity, a ratio of 0,", log_ratio == -np.inf),
        ("infinity, a ratio without bound,", log_ratio == np.inf),
    ):
        if bad.any():
            raise ValueError(
                f"{wanted}decision_function gave {number} at {bad.sum()} of {n_rows} "
                "rows, where no mean of it is finite. Rows can show no ratio beyond "
                "their number: keep the log ratio between -log(n_numerator) and "
                "log(n_denominator), as skdre.ClassifierRatio does."
            )
    return log_ratio


def _fit_fold(ratio, fold, task):
    ratio = clone(ratio)
    X, y = pool_rows(fold.train_numerator, fold.train_denominator)
    with nullcontext() if task is None else run_task(*task, ratio, X=X, y=y):
        ratio.fit(X, y)
    tests = fold.test_numerator, fold.test_denominator
    return FoldResult(ratio, *(log_ratio_at(ratio, rows) for rows in tests))


def cross_fit(ratio, folds, *, n_jobs=None, tasks=None):
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
    tasks : list, default=None
        For each fold its callback context, and the estimator that is being fitted.

    Returns
    -------
    results : list of FoldResult
        In the order of the folds.

    Raises
    ------
    ValueError
        If a log ratio is not finite.
    """
    tasks = repeat(None) if tasks is None else tasks
    return Parallel(n_jobs=n_jobs)(
        delayed(_fit_fold)(ratio, fold, task)
        # The folds may be a generator, and None is repeated for ever.
        for fold, task in zip(folds, tasks, strict=False)
    )


def split_rows(cv, X, y=None, *, rng, observation=None, unit="row"):
    """Training and test positions of folds that hold out every row once.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        An int, or None for 5, draws the folds at random.
    X : array-like of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,), default=None
        Domains, which random folds then share out evenly.
    rng : RandomState
    observation : ndarray of int of shape (n_rows,), default=None
        Number of the observation that each row belongs to; random folds keep the copies
        of a row together.
    unit : str, default="row"
        What a row is called in messages.

    Returns
    -------
    parts : list of (ndarray of int, ndarray of int)

    Raises
    ------
    ValueError
        If the test folds are no partition of the rows.
    """
    given, cv = cv, 5 if cv is None else cv
    if isinstance(cv, Integral):
        random_folds = KFold if y is None else StratifiedKFold
        cv = random_folds(cv, shuffle=True, random_state=rng)
        if observation is not None:
            return _split_observations(cv, y, observation)
    parts = list(check_cv(cv, y, classifier=y is not None).split(X, y))
    tests = np.sort(np.concatenate([test for _, test in parts]))
    if not np.array_equal(tests, np.arange(num_samples(X))):
        raise ValueError(
            f"cv={given!r} must hold out every {unit} once: use KFold or another "
            "splitter whose test folds are a partition."
        )
    return parts


def _split_observations(cv, y, observation):
    first, number = np.unique(observation, return_inverse=True)
    domain = None if y is None else y[first]
    return [
        tuple(np.flatnonzero(np.isin(number, part)) for part in parts)
        for parts in cv.split(first, domain)
    ]


class DomainRows(NamedTuple):
    """A labelled pool as it came.

    Attributes
    ----------
    X : ndarray, sparse matrix or DataFrame of shape (n_samples, n_features)
    is_numerator : ndarray of bool of shape (n_samples,)
    classes : ndarray of shape (2,)
    observation : ndarray of int of shape (n_samples,)
        Position of the first copy of each row.
    """

    X: object
    is_numerator: np.ndarray
    classes: np.ndarray
    observation: np.ndarray

    def distinct(self):
        """The pool with one copy of each row."""
        first = np.unique(self.observation)
        if len(first) == len(self.observation):
            return self
        return DomainRows(
            safe_indexing(self.X, first),
            self.is_numerator[first],
            self.classes,
            np.arange(len(first)),
        )


def domain_rows(name, X, y):
    """A labelled pool as it came, with the classes and the numerator's rows.

    What a row may hold is left to the estimator that is fitted on it.

    Parameters
    ----------
    name : str
        Of the public function, for messages.
    X : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
        One-dimensional for a single column.
    y : array-like of shape (n_samples,)

    Returns
    -------
    rows : DomainRows

    Raises
    ------
    ValueError
        If y does not name two domains, or X is no matrix with a row for each label.
    """
    caller = type(name, (), {})()
    X = as_matrix(X)
    rows = check_pool(
        caller, X, y, dtype=None, ensure_all_finite=False, accept_sparse="csr"
    )
    # Sparse rows are taken for distinct ones.
    observation = np.arange(len(rows.is_numerator))
    if not issparse(rows.X):
        observation = observations(rows.X, rows.is_numerator)
    given = X if is_frame(X) else rows.X
    if not issparse(given):
        given = without_extremes(given, rows.X, rows.is_numerator)
    return DomainRows(given, rows.is_numerator, rows.classes, observation)


def without_extremes(table, X, domain):
    """A table in which no absurd value is held out from a ratio that knows none.

    A fit draws the extremes of contaminated columns in to bounds, but a fold without
    them has no bounds, and its ratio at such a value has no limit: one value would
    decide on the mean over all rows. So they are drawn in once, before rows are dealt.

    Parameters
    ----------
    table : ndarray or DataFrame of shape (n_samples, n_features)
    X : ndarray of shape (n_samples, n_features)
        Its values, numbers or objects.
    domain : ndarray of bool of shape (n_samples,)
        The two parts that count half each.

    Returns
    -------
    table : ndarray or DataFrame of shape (n_samples, n_features)
        As it came if no column is contaminated.

    Warns
    -----
    UserWarning
        If a column is contaminated.
    """
    numbers, is_numeric = as_numbers(X)
    columns = np.flatnonzero(is_numeric & np.isfinite(numbers).all(axis=0))
    if columns.size == 0:
        return table
    values = numbers[:, columns].astype(np.float64)
    # The bounds come from the first rows, which must not be those of a sorted table.
    order = np.random.RandomState(0).permutation(len(X))
    parts = [values[order[domain[order] == side]] for side in (False, True)]
    scales = column_scales(
        [(part, np.ones(len(part))) for part in parts],
        list(table.columns[j] for j in columns) if is_frame(table) else columns,
    )
    bad = np.flatnonzero(np.isfinite(scales.low))
    if bad.size == 0:
        return table
    drawn_in = scales.draw_in(values)
    return replace_columns(table, {columns[k]: drawn_in[:, k] for k in bad})


def pool_folds(X, is_numerator, parts):
    """Yield the rows of each fold of a labelled pool.

    Parameters
    ----------
    X : ndarray or DataFrame of shape (n_samples, n_features)
    is_numerator : ndarray of bool of shape (n_samples,)
    parts : list of (ndarray of int, ndarray of int)
        Training and test positions of each fold.
    """
    for part in parts:
        yield Fold(
            *(
                safe_indexing(X, index[is_numerator[index] == domain])
                for index in part
                for domain in (True, False)
            )
        )


class HeldOut(NamedTuple):
    """Log ratios at rows of both samples that the ratio was not fitted on.

    Attributes
    ----------
    numerator : ndarray of shape (n_numerator,)
        In the order of the pool.
    denominator : ndarray of shape (n_denominator,)
    ratios : list of ratio estimators
        The fitted ratio of each fold.
    tests : list of ndarray of int
        Positions of the rows that each of them is evaluated at.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    ratios: list
    tests: list


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

    Parameters
    ----------
    estimator : ratio estimator
    rows : DomainRows
    cv : int, splitter, iterable, None or "prefit"
        "prefit" takes the estimator as it is fitted, and all rows as held out.
    rng : RandomState
    n_jobs : int, default=None

    Returns
    -------
    held_out : HeldOut

    Raises
    ------
    ValueError
        If there are too few rows for the folds, or a log ratio is not finite.
    NotFittedError
        If `cv` is "prefit" and the estimator is not fitted.
    """
    X, is_numerator, classes, observation = rows
    if isinstance(cv, str):
        _check_prefit(estimator, classes)
        log_ratio = log_ratio_at(estimator, X)
        parts = log_ratio[is_numerator], log_ratio[~is_numerator]
        return HeldOut(*parts, [estimator], [np.arange(len(is_numerator))])
    first = np.unique(observation)
    counts = [int((is_numerator[first] == domain).sum()) for domain in (True, False)]
    n_folds = 5 if cv is None else cv
    if isinstance(n_folds, Integral) and min(counts) < n_folds:
        raise ValueError(
            f"cv={cv!r} needs as many rows of each domain, got {counts[0]} of the "
            f"numerator and {counts[1]} of the denominator."
        )
    parts = split_rows(
        cv, X, is_numerator.astype(int), rng=rng, observation=observation
    )
    for index in (each for part in parts for each in part):
        if is_numerator[index].all() or not is_numerator[index].any():
            raise ValueError(
                f"cv={cv!r} leaves a part of a fold with rows of one domain only: use "
                "StratifiedKFold."
            )
    results = cross_fit(estimator, pool_folds(X, is_numerator, parts), n_jobs=n_jobs)
    log_ratio = np.empty(len(is_numerator))
    tests = [test for _, test in parts]
    for test, result in zip(tests, results, strict=True):
        in_p = is_numerator[test]
        log_ratio[test[in_p]] = result.numerator_log_ratio
        log_ratio[test[~in_p]] = result.denominator_log_ratio
    return HeldOut(
        log_ratio[is_numerator],
        log_ratio[~is_numerator],
        [result.ratio for result in results],
        tests,
    )
