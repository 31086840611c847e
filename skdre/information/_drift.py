"""Drift between two tables: of each column, and of all together."""

from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skdre._compat import (
    HasMethods,
    Interval,
    StrOptions,
    num_samples,
    safe_indexing,
    validate_params,
)
from skdre._core.columns import as_matrix, refuse_times
from skdre._core.docs import shared_docs
from skdre._core.groups import error_of_means
from skdre._core.seeds import draw_seed
from skdre._core.types import CrossValidator, RandomState, Rows, Values
from skdre.base import check_is_ratio, pool
from skdre.information._aggregate import permuted_contrasts
from skdre.information._cross_fit import held_out
from skdre.information._divergences import DIVERGENCES, divergence_of
from skdre.information._drift_columns import (
    column_values,
    drift_of_column,
    holm,
)
from skdre.information._drift_results import DriftHistory, DriftReport
from skdre.information._means import Estimate
from skdre.information._pool import domain_rows
from skdre.information._shift_importance import importances_of, minus_log_loss
from skdre.information._two_sample import two_sample_test

__all__ = ["drift_over_time", "drift_report"]

# Candidates of the default ratio, which take a second or two on thousands of rows.
_QUICK = (
    "logistic regression",
    "Gaussian plug-in",
    "plug-in on normal scores",
    "boosted stumps",
    "boosted trees",
)

# Rows that are shown as those that drifted most.
_ROWS = 10


def _quick_ratio(seed):
    """A choice among cheap ratios that take categories and missing values."""
    from skdre.auto import AutoRatio

    candidates = [each for each in AutoRatio.default_candidates() if each[0] in _QUICK]
    return AutoRatio(candidates, cv=3, random_state=seed)


def _auc(p, q, clusters):
    """Area under the curve and its standard error, by the placements of the rows."""
    n_p, n_q = len(p), len(q)
    both = rankdata(np.concatenate([p, q]))
    # Of each row the share of the other sample below it, ties by half.
    of_p = (both[:n_p] - rankdata(p)) / n_q
    of_q = 1 - (both[n_p:] - rankdata(q)) / n_p
    auc = float(of_p.mean())
    error = error_of_means((of_p - auc) / n_p, (of_q - auc) / n_q, clusters)
    return auc, error


def _both_groups(groups, n_current, n_reference):
    """Groups of the pool, the current rows first; None without."""
    if groups is None:
        return None
    wanted = "groups must be a pair: one entry for each row of the reference, and one "
    if not isinstance(groups, tuple | list) or len(groups) != 2:
        raise ValueError(f"{wanted}for each current row, got {type(groups).__name__}.")
    reference, current = (np.asarray(each) for each in groups)
    if len(reference) != n_reference or len(current) != n_current:
        raise ValueError(
            f"{wanted}for each current row; {n_reference} and {n_current} are wanted, "
            f"got {len(reference)} and {len(current)}."
        )
    return np.concatenate([current, reference])


def _columns_of(rows, groups, n_permutations, rng):
    """Tests of the columns; labels of whole groups are permuted where there are any."""
    distinct, contrasts = rows.distinct(), None
    in_current = distinct.is_numerator
    if groups is not None:
        _, first, number = np.unique(
            distinct.cluster, return_index=True, return_inverse=True
        )
        generator = np.random.default_rng(draw_seed(rng))
        label = in_current[first]
        parts = permuted_contrasts(label, number.ravel(), n_permutations, generator)
        contrasts = np.concatenate(list(parts))
    found = [
        drift_of_column(name, values, missing, in_current, contrasts)
        for name, values, missing in column_values(distinct.X)
    ]
    pvalues = np.array([[each.pvalue, each.missing_pvalue] for each in found])
    # A constant column has no test of its values.
    pvalues[[each.kind == "constant" for each in found], 0] = np.nan
    adjusted = np.fmin(*holm(pvalues.ravel()).reshape(pvalues.shape).T)
    return [
        replace(each, adjusted_pvalue=float(np.nan_to_num(value, nan=1.0)))
        for each, value in zip(found, adjusted, strict=True)
    ]


_PARAMETERS: dict[str, list[Any]] = {
    "estimator": [HasMethods(["fit"]), None],
    "kind": [StrOptions(set(DIVERGENCES))],
    "n_permutations": [Interval(Integral, 1, None, closed="left")],
    "n_repeats": [Interval(Integral, 1, None, closed="left")],
    "cv": ["cv_object"],
    "n_jobs": [Integral, None],
    "random_state": ["random_state"],
}


@shared_docs
@validate_params(_PARAMETERS, prefer_skip_nested_validation=False)
def drift_report(
    reference: Rows,
    current: Rows,
    estimator: BaseEstimator | None = None,
    *,
    groups: tuple[Values, Values] | None = None,
    kind: str = "jensen_shannon",
    n_permutations: int = 999,
    n_repeats: int = 5,
    cv: CrossValidator = 3,
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> DriftReport:
    """Report how a table drifted from a reference, column by column and as a whole.

    The current table is the numerator of the ratio, the reference the denominator.

    Parameters
    ----------
    reference : array-like or DataFrame of shape (n_reference, n_features)
        Rows as they were. Columns may hold numbers, words, categories and missing
        values.
    current : array-like or DataFrame of shape (n_current, n_features)
        Rows as they are now, with the same columns.
    estimator : ratio estimator, default=None
        Any estimator of the contract that takes such tables. None is a quick
        :class:`skdre.AutoRatio`: logistic regression, Gaussian plug-ins and boosted
        trees. With fewer than a hundred rows in a table it often answers with a
        constant, and divergence and area are then too small.
    groups : pair of array-like of shape (n_rows,), default=None
        What rows of the reference, and current rows, belong to that are no observations
        of their own, such as customers: groups are held out as a whole, and all tests
        permute labels of whole groups, so each must lie in one of the tables.
    kind : {"kl", "reverse_kl", "pearson", "jensen_shannon", "total_variation"}, \
            default="jensen_shannon"
        Which divergence, see :func:`divergence`.
    n_permutations : int, default=999
        Of the test of all columns, and of the columns' tests with `groups`.
    n_repeats : int, default=5
        Permutations of each column for its importance, in each fold.
    cv : int or splitter, default=3
        Folds. All that is said of a row comes from a ratio that was fitted without it.
    %(n_jobs)
    %(random_state) Draws folds and permutations.

    Returns
    -------
    report : DriftReport
        Prints as text and HTML; ``report.to_frame()`` is a table of the columns.

    Raises
    ------
    TypeError
        If only one of the tables is a DataFrame.
    ValueError
        If the columns differ, a table has fewer rows, or groups, than there are folds,
        a group has rows in both tables, or a parameter is not as described.

    See Also
    --------
    drift_over_time : The same for many periods.
    skdre.inspection.DriftDisplay : A picture of it.

    Notes
    -----
    A column of numbers is tested by Kolmogorov and Smirnov's test, one of few numbers,
    each at several rows, by Mann and Whitney's, and one of words, categories or two
    values by chi-squared. Where values are missing, chi-squared compares their shares.
    Copies of a row that holds a continuous value count once. All p-values are adjusted
    together by Holm's method, so that some column without drift has an adjusted p-value
    of at most a with probability a at most.

    Importance is what the log loss of the ratio grows by when a column is shuffled
    (:func:`shift_importance`), so a column whose relation to others changed has some
    though its own test sees nothing. Columns are in the order of importance, those
    without any by their p-values. The p-value of all columns is that of
    :func:`two_sample_test` without an estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import GaussianRatio, drift_report
    >>> reference, current = np.random.default_rng(0).normal(size=(2, 200, 3))
    >>> current[:, 1] += 1
    >>> report = drift_report(reference, current, GaussianRatio(), random_state=0)
    >>> list(report.to_frame().query("adjusted_pvalue < 0.01").index)
    ['x1']
    """
    if estimator is not None:
        check_is_ratio(estimator, fitted=False)
    rng = check_random_state(random_state)
    reference, current = (as_matrix(each) for each in (reference, current))
    X, y = pool(numerator=current, denominator=reference)
    refuse_times(X)
    n_current, n_reference = num_samples(current), num_samples(reference)
    joined = _both_groups(groups, n_current, n_reference)
    test = two_sample_test(
        None, X, y, groups=joined, n_permutations=n_permutations, random_state=rng
    )
    plain = domain_rows("drift_report", X, y, joined, draw_in=False)
    columns = _columns_of(plain, groups, n_permutations, rng)

    ratio = _quick_ratio(draw_seed(rng)) if estimator is None else estimator
    given = domain_rows("drift_report", X, y, joined)
    rows = held_out(ratio, given, cv=cv, rng=rng, n_jobs=n_jobs)
    p, q, clusters = rows.numerator, rows.denominator, given.clusters()
    chosen = DIVERGENCES[kind][False]
    value, error = divergence_of(chosen, p, q, clusters)
    importances = importances_of(
        rows,
        given.X,
        given.is_numerator,
        minus_log_loss,
        n_repeats,
        n_jobs=n_jobs,
        rng=rng,
    )
    columns = [
        replace(each, importance=float(mean), importance_std=float(spread))
        for each, mean, spread in zip(
            columns, importances.mean(axis=1), importances.std(axis=1), strict=True
        )
    ]
    columns.sort(key=lambda each: (-max(each.importance, 0.0), each.adjusted_pvalue))
    auc, auc_error = _auc(p, q, clusters)
    return DriftReport(
        columns,
        test,
        Estimate(value, error, kind, p, q, chosen.unit),
        auc,
        auc_error,
        p,
        q,
        # Of a constant ratio none drifted more than another.
        np.argsort(-p, kind="stable")[: _ROWS if np.ptp(p) > 0 else 0],
    )


@shared_docs
@validate_params(
    {"period": ["array-like"]} | _PARAMETERS, prefer_skip_nested_validation=False
)
def drift_over_time(
    reference: Rows,
    current: Rows,
    period: Values,
    estimator: BaseEstimator | None = None,
    *,
    groups: tuple[Values, Values] | None = None,
    kind: str = "jensen_shannon",
    n_permutations: int = 999,
    n_repeats: int = 5,
    cv: CrossValidator = 3,
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> DriftHistory:
    """Report the drift of each period, such as a month, from one reference.

    Parameters
    ----------
    reference : array-like or DataFrame of shape (n_reference, n_features)
        Rows as they were.
    current : array-like or DataFrame of shape (n_current, n_features)
        Rows of all periods, with the same columns.
    period : array-like of shape (n_current,)
        Which period each current row belongs to. Periods come in the order in which
        they are met, so sort the rows by time.
    estimator : ratio estimator, default=None
        As in :func:`drift_report`.
    groups : pair of array-like of shape (n_rows,), default=None
        As in :func:`drift_report`. A group may lie in several periods, but not in the
        reference as well.
    kind : {"kl", "reverse_kl", "pearson", "jensen_shannon", "total_variation"}, \
            default="jensen_shannon"
        Which divergence, see :func:`divergence`.
    n_permutations : int, default=999
        As in :func:`drift_report`.
    n_repeats : int, default=5
        As in :func:`drift_report`.
    cv : int or splitter, default=3
        As in :func:`drift_report`.
    %(n_jobs)
    %(random_state) Draws folds and permutations.

    Returns
    -------
    history : DriftHistory
        Prints as text and HTML; ``history.to_frame()`` is a table of the periods, and
        ``history.columns_frame()`` one of periods by columns.

    Raises
    ------
    TypeError
        If only one of the tables is a DataFrame.
    ValueError
        If `period` has not one entry for each current row, or as :func:`drift_report`.

    See Also
    --------
    skdre.inspection.DriftHistoryDisplay : A picture of it.

    Notes
    -----
    All periods are held against the same reference rows, so what is odd about these
    shows in every period: divergences of periods without drift lie above or below 0
    together.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import GaussianRatio, drift_over_time
    >>> reference, current = np.random.default_rng(0).normal(size=(2, 200, 2))
    >>> current[100:, 0] += 1
    >>> month = np.repeat([5, 6], 100)
    >>> history = drift_over_time(
    ...     reference, current, month, GaussianRatio(), random_state=0
    ... )
    >>> history.to_frame()["first_column"].loc[6]
    'x0'
    """
    rng = check_random_state(random_state)
    current = as_matrix(current)
    period = np.asarray(period)
    if period.shape != (num_samples(current),):
        raise ValueError(
            "period must have one entry for each of the "
            f"{num_samples(current)} current rows, got the shape {period.shape}."
        )
    _, first, number = np.unique(period, return_index=True, return_inverse=True)
    order = np.argsort(first)
    if groups is not None:
        _both_groups(groups, len(period), num_samples(reference))
    reports = []
    for k in order:
        index = np.flatnonzero(number == k)
        own = None if groups is None else (groups[0], np.asarray(groups[1])[index])
        reports.append(
            drift_report(
                reference,
                safe_indexing(current, index),
                estimator,
                groups=own,
                kind=kind,
                n_permutations=n_permutations,
                n_repeats=n_repeats,
                cv=cv,
                n_jobs=n_jobs,
                random_state=rng,
            )
        )
    return DriftHistory(
        list(period[first[order]]),
        reports,
        holm([each.test.pvalue for each in reports]),
    )
