"""Groups that an estimator inside another keeps together in its own folds."""

from contextlib import contextmanager, nullcontext
from numbers import Integral

import numpy as np
from scipy.sparse import issparse
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from skdre._core.folds import members_hold_out
from skdre._core.groups import balanced_folds

__all__ = ["fit_with_groups", "groups_kept"]

# Folds that networks with a held-out part of their own get.
_FOLDS_OF_NETWORKS = 5


def fit_with_groups(estimator, X, y, groups=None):
    """Fit an estimator whose own folds keep groups together.

    What takes `groups` itself, as the last step of a pipeline too, gets them; the
    others are told by :func:`groups_kept`.

    Parameters
    ----------
    estimator : ratio estimator
    X : array-like, sparse matrix or DataFrame of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,)
        1 for the numerator's rows, 0 for the denominator's.
    groups : ndarray of int of shape (n_rows,), default=None
        None without groups.

    Returns
    -------
    estimator : ratio estimator
        Fitted.
    """
    if groups is None:
        return estimator.fit(X, y)
    name, last = "groups", estimator
    while isinstance(last, Pipeline):
        step, last = last.steps[-1]
        name = f"{step}__{name}"
    if hasattr(last, "fit") and has_fit_parameter(last, "groups"):
        return estimator.fit(X, y, **{name: groups})
    ones, is_numerator = np.ones(len(y)), y == 1
    with groups_kept(estimator, X, is_numerator, ones, groups, ones > 0):
        return estimator.fit(X, y)


def _numbers(X):
    """Rows as numbers, None where they hold something else."""
    if issparse(X):
        return None
    try:
        return np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError):
        return None


@contextmanager
def groups_kept(estimator, X, is_numerator, weight, cluster, kept):
    """Let folds that are dealt inside hold out whole groups.

    What has a number of folds as `cv` gets splits instead, the last step of a pipeline
    too; networks get what their members hold out. Other inner folds, such as those of a
    classifier that searches its own penalty, know nothing of the groups.

    Parameters
    ----------
    estimator : ratio estimator
        Not fitted; its parameters are as before afterwards.
    X : array-like of shape (n_kept, n_features)
        The rows that it is fitted on. The members of networks are told of rows of
        numbers only, and of those that no step of a pipeline has changed.
    is_numerator, weight : ndarray of shape (n_kept,)
    cluster : ndarray of int of shape (n_rows,) or None
        Groups of all rows; None without groups.
    kept : ndarray of bool of shape (n_rows,)
        Those that it is fitted on.
    """
    if cluster is None:
        yield
        return
    name, n_folds = _folds_of(estimator)
    fold = _group_folds(cluster[kept], is_numerator, weight, n_folds)
    if fold is None:
        yield
        return
    numbers = range(fold.max() + 1)
    given = None if name is None else estimator.get_params()[name]
    if name is not None:
        splits = [
            (np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in numbers
        ]
        estimator.set_params(**{name: splits})
    shares, rows = np.array([fold == k for k in numbers], float), _numbers(X)
    members = members_hold_out(rows, is_numerator, shares)
    try:
        with nullcontext() if rows is None else members:
            yield
    finally:
        if name is not None:
            estimator.set_params(**{name: given})


def _folds_of(estimator):
    """The parameter that is a number of folds, of the estimator or its last step."""
    name = "cv"
    if hasattr(estimator, "steps"):
        name = f"{estimator.steps[-1][0]}__cv"
    params = estimator.get_params()
    if name not in params:
        return None, _FOLDS_OF_NETWORKS
    cv = params[name]
    if cv is None:
        return name, 5
    return (name, int(cv)) if isinstance(cv, Integral) else (None, _FOLDS_OF_NETWORKS)


def _group_folds(cluster, is_numerator, weight, n_folds):
    """A fold for each row; None where a sample has a single group."""
    _, group = np.unique(cluster, return_inverse=True)
    mass = np.zeros((2, group.max() + 1))
    np.add.at(mass, (is_numerator.astype(int), group), weight)
    n_folds = min(n_folds, *(mass > 0).sum(axis=1))
    if n_folds < 2:
        return None
    return balanced_folds(mass, n_folds, np.arange(mass.shape[1]))[group]
