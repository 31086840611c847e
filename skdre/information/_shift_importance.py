"""Which columns a ratio sees the difference in."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from scipy.sparse import hstack, issparse
from sklearn.base import BaseEstimator
from sklearn.inspection import permutation_importance
from sklearn.metrics import check_scoring
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import column_or_1d

from skdre._compat import (
    HasMethods,
    Interval,
    StrOptions,
    safe_indexing,
    validate_params,
)
from skdre._core.docs import shared_docs
from skdre._core.frames import is_frame, replace_columns
from skdre._core.types import CrossValidator, RandomState, Rows, Values
from skdre.base import check_is_ratio, predict_log_ratio
from skdre.information._cross_fit import held_out
from skdre.information._pool import domain_rows
from skdre.metrics import ratio_log_loss

__all__ = ["ShiftImportance", "importances_of", "names_of_columns", "shift_importance"]


class ShiftImportance(Bunch):
    """What :func:`shift_importance` returns: a Bunch that knows the columns' names.

    Parameters
    ----------
    **kwargs : dict
        The attributes.

    Attributes
    ----------
    importances_mean : ndarray of shape (n_features,)
    importances_std : ndarray of shape (n_features,)
    importances : ndarray of shape (n_features, n_folds * n_repeats)
    feature_names : list of str
        Names of the columns; x0, x1 and so on of a table without names.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre.information import ShiftImportance
    >>> found = ShiftImportance(
    ...     importances_mean=np.array([0.0, 0.3]),
    ...     importances_std=np.array([0.1, 0.1]),
    ...     importances=np.array([[0.0], [0.3]]),
    ...     feature_names=["age", "income"],
    ... )
    >>> list(found.to_frame().index)
    ['income', 'age']
    """

    def to_frame(self) -> Any:
        """The table as a pandas DataFrame, the most important column first.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_features, 2)
            Indexed by the names, with the columns importance and std.
        """
        import pandas as pd

        frame = pd.DataFrame(
            {"importance": self.importances_mean, "std": self.importances_std},
            index=pd.Index(self.feature_names, name="column"),
        )
        return frame.sort_values("importance", ascending=False, kind="stable")


def names_of_columns(X):
    """Names of a frame's columns as str; x0, x1 and so on of other tables."""
    if is_frame(X):
        return [str(name) for name in X.columns]
    return [f"x{j}" for j in range(X.shape[1])]


def importances_of(rows, table, labels, scoring, n_repeats, *, n_jobs, rng):
    """Permutation importances at the held-out rows of each fold, of each column."""
    return np.hstack(
        [
            permutation_importance(
                ratio,
                np.tile(np.arange(len(test))[:, None], table.shape[1]),
                np.asarray(labels)[test],
                scoring=_Shuffled(
                    check_scoring(ratio, scoring), safe_indexing(table, test)
                ),
                n_repeats=n_repeats,
                n_jobs=n_jobs,
                random_state=rng,
            ).importances
            for ratio, test in zip(rows.ratios, rows.tests, strict=True)
        ]
    )


def minus_log_loss(estimator, X, is_numerator):
    """Not a ratio's own ``score``, which of a bagging or voting is the accuracy."""
    return -ratio_log_loss(is_numerator, predict_log_ratio(estimator, X))


class _Shuffled:
    """A scorer of a table whose entries are given by the numbers of their rows.

    The permutations are scikit-learn's, of a matrix of row numbers; the table itself,
    a frame of any library or a sparse matrix, is put together from its columns.
    """

    def __init__(self, scorer, X):
        self.scorer = scorer
        self.X = X

    def __call__(self, estimator, numbers, y):
        return self.scorer(estimator, shuffled_table(self.X, numbers), y)


def shuffled_table(X, numbers):
    """The table whose entry (i, j) is that of X in row numbers[i, j] and column j."""
    moved = np.flatnonzero((numbers != np.arange(len(numbers))[:, None]).any(axis=0))
    if issparse(X):
        X = X.tocsc(copy=True)
        columns = [
            X[:, [j]].tocsr()[numbers[:, j]] if j in moved else X[:, [j]]
            for j in range(X.shape[1])
        ]
        return hstack(columns, format="csr")
    if not is_frame(X):
        return np.take_along_axis(np.asarray(X), numbers, axis=0)
    if hasattr(X, "iloc"):
        columns = {j: X.iloc[:, j].take(numbers[:, j]).set_axis(X.index) for j in moved}
    else:
        columns = {j: X[X.columns[j]].gather(numbers[:, j]) for j in moved}
    return replace_columns(X, columns)


@shared_docs
@validate_params(
    {
        "estimator": [HasMethods(["fit"])],
        "groups": ["array-like", None],
        "scoring": [str, callable, None],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "cv": ["cv_object", StrOptions({"prefit"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def shift_importance(
    estimator: BaseEstimator,
    X: Rows,
    y: Values,
    *,
    groups: Values | None = None,
    scoring: str | Callable | None = None,
    n_repeats: int = 10,
    cv: CrossValidator | str = 5,
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> ShiftImportance:
    """Find the columns in which two samples differ, as a ratio sees it.

    The permutation importance of each column at held-out rows: what the ratio loses
    when the column's values are shuffled among the rows of both samples.

    Parameters
    ----------
    %(any_ratio)
    %(X_pool)
    %(y)
    groups : array-like of shape (n_samples,), default=None
        What rows belong to that are no observations of their own, such as a customer, a
        day or an event: all rows of one lie in the same fold.
    scoring : str, callable or None, default=None
        Scorer of scikit-learn's, or of :func:`skdre.metrics.get_scorer`, whose loss
        counts. None is minus the log loss, the ``score`` of every ratio estimator:
        importances are in nats.
    n_repeats : int, default=10
        Permutations of each column in each fold.
    %(cv_folds)
    n_jobs : int, default=None
        Folds, and then columns, that are worked on at the same time.
    %(random_state) Draws the folds and the permutations.

    Returns
    -------
    result : skdre.information.ShiftImportance
        As of :func:`sklearn.inspection.permutation_importance`, and
        ``result.to_frame()`` is a table by name, the most important column first:

        importances_mean : ndarray of shape (n_features,)
            Mean over folds and repeats.
        importances_std : ndarray of shape (n_features,)
            Standard deviation over folds and repeats.
        importances : ndarray of shape (n_features, n_folds * n_repeats)
            Each of them.
        feature_names : list of str
            Names of the columns.

    Raises
    ------
    ValueError
        If y does not name two domains, a domain has fewer rows, or groups, than there
        are folds, or a parameter is not as described.
    NotFittedError
        If `cv` is "prefit" and the estimator is not fitted.

    See Also
    --------
    two_sample_test : Whether there is a difference at all.
    drift_report : Importances beside tests of each column.
    sklearn.inspection.permutation_importance : The same for one fitted estimator.

    Notes
    -----
    A column without importance may still be distributed differently: where columns
    determine each other, one stands in for the other and both look unimportant. And a
    column whose own distribution is the same in both samples has importance if its
    relation to others is not. Without a shift all importances are close to 0, of
    either sign.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import GaussianRatio, pool, shift_importance
    >>> rng = np.random.default_rng(0)
    >>> p, q = rng.normal(size=(2, 500, 3))
    >>> p[:, 1] += 1
    >>> X, y = pool(numerator=p, denominator=q)
    >>> found = shift_importance(GaussianRatio(), X, y, random_state=0)
    >>> found.importances_mean.round(1) + 0.0
    array([0. , 0.3, 0. ])
    """
    check_is_ratio(estimator, fitted=isinstance(cv, str))
    rng = check_random_state(random_state)
    given = domain_rows("shift_importance", X, y, groups)
    table, is_numerator = given.X, given.is_numerator
    rows = held_out(estimator, given, cv=cv, rng=rng, n_jobs=n_jobs)
    # A clone of a fold knows the domains as 0 and 1.
    labels = column_or_1d(y) if isinstance(cv, str) else is_numerator.astype(int)
    if scoring is None:
        labels, scoring = is_numerator, minus_log_loss
    importances = importances_of(
        rows, table, labels, scoring, n_repeats, n_jobs=n_jobs, rng=rng
    )
    return ShiftImportance(
        importances_mean=importances.mean(axis=1),
        importances_std=importances.std(axis=1),
        importances=importances,
        feature_names=names_of_columns(table),
    )
