"""Candidates fitted once for each fold: the fits are the answer and its judges.

A plain estimator is fitted on all rows but a fold's, for each fold. Networks hold out a
fold in each member anyway, so one fit of theirs gives the same. Boosting is stopped
where its held-out loss is least over all folds together.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier

from skdre._core.folds import members_hold_out
from skdre._core.inner import fit_weighted
from skdre._core.rows import repeats_of
from skdre.base import predict_log_ratio
from skdre.classification import ClassifierRatio, MLPRatio
from skdre.waymarks import TelescopingRatio

__all__ = ["CrossFit", "StoppedTrees", "cross_fit", "mean_log_ratio"]

# Trees of the first look; each further one doubles them.
_FIRST_TREES = 40
# Where the best number of trees is below this share of those grown, more do not help.
_WELL_WITHIN = 0.7


@dataclass(frozen=True)
class CrossFit:
    """The fits of a candidate, and what they say of rows they have not seen.

    Attributes
    ----------
    models : list
        One for each fold, or a single one whose members are; the answer is their mean.
    log_ratio : ndarray of shape (n_held_out,)
        At the rows that are held out.
    """

    models: list[Any]
    log_ratio: np.ndarray


@dataclass(frozen=True)
class StoppedTrees:
    """The first trees of a boosting.

    Attributes
    ----------
    estimator : HistGradientBoostingClassifier
        Fitted.
    n_trees : int
        How many count.
    log_prior : float
        Log prior odds of the numerator that their log odds contain.
    """

    estimator: HistGradientBoostingClassifier
    n_trees: int
    log_prior: float

    def decision_function(self, X):
        """Their log ratio."""
        stages = self.estimator.staged_decision_function(X)
        return np.ravel(next(islice(stages, self.n_trees - 1, None))) - self.log_prior


def mean_log_ratio(models, X):
    """Log ratio of a candidate, the mean over the models of its folds."""
    total = sum(
        model.decision_function(X)
        if isinstance(model, StoppedTrees)
        else predict_log_ratio(model, X)
        for model in models
    )
    return total / len(models)


def _is_boosting(estimator):
    return (
        type(estimator) is ClassifierRatio
        and estimator.calibration is None
        and isinstance(estimator.estimator, HistGradientBoostingClassifier)
        and not estimator.estimator.early_stopping
    )


def _has_members(estimator, n_folds):
    """Whether members of a network can stand for the folds, one or more for each."""
    if type(estimator) is TelescopingRatio and estimator.estimator is not None:
        return False
    return (
        type(estimator) in (MLPRatio, TelescopingRatio)
        and estimator.n_estimators >= n_folds
        and not getattr(estimator, "warm_start", False)
    )


def _with_a_member_each(estimator, n_folds):
    """Telescoping with a member for each fold, which costs less than a fit for each."""
    if (
        type(estimator) is TelescopingRatio
        and estimator.estimator is None
        and estimator.n_estimators < n_folds
    ):
        return clone(estimator).set_params(n_estimators=n_folds)
    return estimator


def cross_fit(estimator, X, rows, shares, held_out, *, run, categorical=None):
    """Fit a candidate so that each held-out row is told by what has not seen it.

    Parameters
    ----------
    estimator : ratio estimator
        Cloned for each fold.
    X : ndarray of shape (n_rows, n_features)
        The distinct rows, as this candidate takes them.
    rows : skdre._core.samples.DistinctRows
        Their domains and weights.
    shares : ndarray of shape (n_folds, n_rows)
        The share of each row that a fold holds out.
    held_out : HeldOut
        The same, as rows.
    run : callable
        ``with run(estimator, task_name)`` goes around each fit.
    categorical : ndarray of bool of shape (n_features,), default=None
        Columns of codes, for boosting.

    Returns
    -------
    fit : CrossFit
    """
    estimator = _with_a_member_each(estimator, len(shares))
    if _has_members(estimator, len(shares)):
        return _fit_members(estimator, X, rows, shares, held_out, run)
    if _is_boosting(estimator):
        with run(estimator, "fit"):
            return _fit_boosting(estimator, X, rows, shares, held_out, categorical)
    log_ratio, models = np.empty(len(held_out.row)), []
    for k, share in enumerate(shares):
        weight = rows.weight * (1 - share)
        models.append(_fit(estimator, X, rows, weight, run))
        here = held_out.fold == k
        log_ratio[here] = predict_log_ratio(models[-1], X[held_out.row[here]])
    return CrossFit(models, log_ratio)


def _fit(estimator, X, rows, weight, run):
    kept = weight > 0
    weight = None if (weight[kept] == 1).all() else weight[kept]
    estimator = clone(estimator)
    with run(estimator, "fit"):
        return fit_weighted(
            estimator, X[kept], rows.is_numerator[kept], weight, "estimator"
        )


def _fit_members(estimator, X, rows, shares, held_out, run):
    with members_hold_out(X, rows.is_numerator, shares):
        model = _fit(estimator, X, rows, rows.weight, run)
    log_ratios = model._member_log_ratios(X[held_out.row])
    fold = np.arange(log_ratios.shape[1]) % len(shares)
    log_ratio = np.empty(len(held_out.row))
    for k in range(len(shares)):
        here = held_out.fold == k
        log_ratio[here] = log_ratios[np.ix_(here, fold == k)].mean(axis=1)
    return CrossFit([model], log_ratio)


def _fit_boosting(estimator, X, rows, shares, held_out, categorical):
    given = estimator.estimator
    params = {"warm_start": True, "class_weight": None}
    if isinstance(given.categorical_features, str):
        params["categorical_features"] = categorical
    most = given.max_iter
    trees = [clone(given).set_params(**params) for _ in shares]
    training = [_training_rows(rows, rows.weight * (1 - share)) for share in shares]
    n_trees = min(_FIRST_TREES, most)
    while True:
        stages = np.empty((n_trees, len(held_out.row)))
        for k, (each, (row, weight, prior)) in enumerate(
            zip(trees, training, strict=True)
        ):
            each.set_params(max_iter=n_trees)
            each.fit(X[row], rows.is_numerator[row], sample_weight=weight)
            here = held_out.fold == k
            stages[:, here] = [
                np.ravel(stage) - prior
                for stage in each.staged_decision_function(X[held_out.row[here]])
            ]
        losses = [held_out.loss(stage) for stage in stages]
        best = int(np.argmin(losses))
        if best + 1 <= _WELL_WITHIN * n_trees or n_trees >= most:
            break
        n_trees = min(2 * n_trees, most)
    models = [
        StoppedTrees(each, best + 1, prior)
        for each, (_, _, prior) in zip(trees, training, strict=True)
    ]
    return CrossFit(models, stages[best])


def _training_rows(rows, weight):
    """Rows, as often as they were observed, their weights, and the log prior odds.

    Weights make the samples equal where they differ in a sample anyway. Where they do
    not, there are none: they cost boosting far more time than its trees.
    """
    kept = np.flatnonzero(weight)
    # Leaves have a least number of rows, whatever the rows weigh.
    repeats = repeats_of(weight, rows.is_atom)[kept].astype(int)
    row = np.repeat(kept, repeats)
    weight = np.repeat(weight[kept] / repeats, repeats)
    is_p = rows.is_numerator[row]
    n_p, n_q = weight[is_p].sum(), weight[~is_p].sum()
    if all(np.ptp(weight[part]) < 1e-9 for part in (is_p, ~is_p)):
        return row, None, float(np.log(is_p.sum() / (~is_p).sum()))
    return row, weight * (2 * np.where(is_p, n_q, n_p) / (n_p + n_q)), 0.0
