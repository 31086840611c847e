"""Candidates fitted once for each fold: the fits are the answer and its judges.

A plain estimator is fitted on all rows but a fold's, for each fold. Networks hold out a
fold in each member anyway, so one fit of theirs gives the same. Boosting is stopped
where its held-out loss is least over all folds together.
"""

import math
import time
import warnings
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.utils.parallel import Parallel, delayed

from skdre._core.folds import members_hold_out
from skdre._core.inner import fit_weighted
from skdre._core.inner_groups import groups_kept
from skdre._core.rows import repeats_of
from skdre.auto._inside import stopped_at
from skdre.base import predict_log_ratio
from skdre.classification import ClassifierRatio, MLPRatio
from skdre.waymarks import TelescopingRatio

__all__ = [
    "CrossFit",
    "Manner",
    "StoppedTrees",
    "cross_fit",
    "fold_log_ratios",
    "mean_log_ratio",
    "training_shares",
]

# Trees of the first look; each further one doubles them.
_FIRST_TREES = 40
# Where the best number of trees is below this share of those grown, more do not help.
_WELL_WITHIN = 0.7
# All further trees together gain no more than so many times what the last doubling did.
_REACH = 3.0
# Distinct rows from which the first fold of a candidate may end it, and from which each
# fold is fitted on two others only.
_MANY_ROWS, _VERY_MANY_ROWS = 5000, 50_000
# How much worse than the best the first fold may be, in standard errors.
_HOPELESS = 3.0


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


def fold_log_ratios(models, X, n_folds):
    """Log ratios of a candidate's fits without each fold, of shape (n_folds, n_rows).

    A single model's members hold out the folds in turn.
    """
    if len(models) == n_folds:
        return np.array([mean_log_ratio([each], X) for each in models])
    members = models[0]._member_log_ratios(X)
    fold = np.arange(members.shape[1]) % n_folds
    return np.array([members[:, fold == k].mean(axis=1) for k in range(n_folds)])


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


@dataclass(frozen=True)
class Manner:
    """How candidates are fitted.

    Attributes
    ----------
    run : callable
        ``with run(estimator, task_name)`` goes around each fit.
    categorical : ndarray of bool of shape (n_features,), default=None
        Columns of codes, for boosting.
    n_jobs : int, default=None
        Folds that are fitted at the same time.
    deadline : float, default=inf
        When, on the clock of ``time.perf_counter``, candidates are to stop.
    best : ndarray of shape (n_held_out,), default=None
        Losses at the held-out rows of the best candidate so far.
    cluster : ndarray of int of shape (n_rows,), default=None
        Groups of the distinct rows, which estimators inside are to keep together.
    """

    run: Any
    categorical: Any = None
    n_jobs: int | None = None
    deadline: float = math.inf
    best: Any = None
    cluster: Any = None

    @property
    def is_late(self):
        return time.perf_counter() > self.deadline


def cross_fit(estimator, X, rows, shares, held_out, manner):
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
    manner : Manner

    Returns
    -------
    fit : CrossFit or None
        None where the time ended before all folds were fitted, or the first fold of
        many rows was hopeless.
    """
    estimator = _with_a_member_each(estimator, len(shares))
    if _has_members(estimator, len(shares)):
        return _fit_members(estimator, X, rows, shares, held_out, manner)
    training = [rows.weight * share for share in training_shares(shares)]
    if _is_boosting(estimator):
        with manner.run(estimator, "fit"):
            return _fit_boosting(estimator, X, rows, training, held_out, manner)
    return _fit_folds(estimator, X, rows, training, held_out, manner)


def training_shares(shares):
    """Share of each row that each fold is fitted on: all that it does not hold out.

    Of very many rows, the two folds that come next: the mean over the fits has seen all
    rows twice, at half the cost.
    """
    n_folds, n_rows = shares.shape
    is_dealt_once = np.allclose(shares.sum(axis=0), 1)
    if n_rows <= _VERY_MANY_ROWS or n_folds < 4 or not is_dealt_once:
        return 1 - shares
    return np.roll(shares, -1, axis=0) + np.roll(shares, -2, axis=0)


def _fit_folds(estimator, X, rows, training, held_out, manner):
    n_folds, models = len(training), []
    log_ratio = np.empty(len(held_out.row))

    def is_hopeless():
        """Whether the first fold says that the others are not worth their time."""
        if manner.best is None or len(X) <= _MANY_ROWS:
            return False
        here = held_out.fold == 0
        part = held_out.of_rows(here)
        gain = manner.best[here] - part.losses(log_ratio[here])
        mean, error = part.mean_and_error(gain)
        return mean < -_HOPELESS * error

    def keep(k, model):
        models.append(model)
        here = held_out.fold == k
        log_ratio[here] = predict_log_ratio(model, X[held_out.row[here]])

    if effective_n_jobs(manner.n_jobs) > 1:
        n_alone = 1 if len(X) > _MANY_ROWS else 0
    else:
        n_alone = n_folds
    for k in range(n_alone):
        if manner.is_late:
            return None
        # The task is that of the very estimator that is fitted.
        own = clone(estimator)
        with manner.run(own, "fit"):
            keep(k, _fit(own, X, rows, training[k], manner))
        if k == 0 and is_hopeless():
            return None
    if n_alone < n_folds:
        if manner.is_late:
            return None
        with manner.run(estimator, "fit"):
            fits = Parallel(n_jobs=manner.n_jobs)(
                delayed(_fit_quietly)(
                    clone(estimator), X, rows, training[k], replace(manner, run=None)
                )
                for k in range(n_alone, n_folds)
            )
        for k, model in enumerate(fits, n_alone):
            keep(k, model)
    return CrossFit(models, log_ratio)


def _fit_quietly(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _fit(*arguments)


def _fit(estimator, X, rows, weight, manner):
    kept = weight > 0
    repeats = None if (weight[kept] == 1).all() else weight[kept]
    is_p = rows.is_numerator[kept]
    with (
        stopped_at(estimator, manner.deadline),
        groups_kept(estimator, X[kept], is_p, weight[kept], manner.cluster, kept),
    ):
        return fit_weighted(estimator, X[kept], is_p, repeats, "estimator")


def _fit_members(estimator, X, rows, shares, held_out, manner):
    estimator = clone(estimator)
    weight = None if (rows.weight == 1).all() else rows.weight
    with (
        manner.run(estimator, "fit"),
        members_hold_out(X, rows.is_numerator, shares),
        stopped_at(estimator, manner.deadline),
    ):
        model = fit_weighted(estimator, X, rows.is_numerator, weight, "estimator")
    log_ratios = model._member_log_ratios(X[held_out.row])
    fold = np.arange(log_ratios.shape[1]) % len(shares)
    log_ratio = np.empty(len(held_out.row))
    for k in range(len(shares)):
        here = held_out.fold == k
        log_ratio[here] = log_ratios[np.ix_(here, fold == k)].mean(axis=1)
    return CrossFit([model], log_ratio)


def _fit_boosting(estimator, X, rows, training, held_out, manner):
    given = estimator.estimator
    params = {"warm_start": True, "class_weight": None}
    if isinstance(given.categorical_features, str):
        params["categorical_features"] = manner.categorical
    most = given.max_iter
    trees = [clone(given).set_params(**params) for _ in training]
    inputs = [_training_rows(rows, weight) for weight in training]
    held = [np.flatnonzero(held_out.fold == k) for k in range(len(training))]
    n_trees = min(_FIRST_TREES, most)
    found = None
    while found is None or not manner.is_late:
        grown = _grow(trees, n_trees, X, rows, inputs, held_out, held, manner)
        if grown is None:
            break
        # Growing goes on in copies where it is done by several processes.
        trees, stages = grown
        losses = [held_out.loss(stage) for stage in stages]
        best = int(np.argmin(losses))
        found = best, stages[best]
        if best + 1 <= _WELL_WITHIN * n_trees or n_trees >= most:
            break
        if _is_out_of_reach(losses, manner, held_out):
            break
        n_trees = min(2 * n_trees, most)
    if found is None:
        return None
    best, log_ratio = found
    models = [
        StoppedTrees(each, best + 1, prior)
        for each, (_, _, prior) in zip(trees, inputs, strict=True)
    ]
    return CrossFit(models, log_ratio)


def _grow(trees, n_trees, X, rows, inputs, held_out, held, manner):
    """Trees of all folds, and their log ratios at held-out rows, stage by stage.

    None if the time ended before all folds had so many.
    """
    stages = np.empty((n_trees, len(held_out.row)))
    if effective_n_jobs(manner.n_jobs) > 1:
        grown = Parallel(n_jobs=manner.n_jobs)(
            delayed(_grow_one)(each, n_trees, X, rows.is_numerator, *given)
            for each, given in zip(trees, inputs, strict=True)
        )
    else:
        grown = []
        for each, given in zip(trees, inputs, strict=True):
            if manner.is_late:
                return None
            grown.append(_grow_one(each, n_trees, X, rows.is_numerator, *given))
    for each, here, (_, _, prior) in zip(grown, held, inputs, strict=True):
        stages[:, here] = [
            np.ravel(stage) - prior
            for stage in each.staged_decision_function(X[held_out.row[here]])
        ]
    return grown, stages


def _grow_one(trees, n_trees, X, is_numerator, row, weight, prior):
    trees.set_params(max_iter=n_trees)
    return trees.fit(X[row], is_numerator[row], sample_weight=weight)


def _is_out_of_reach(losses, manner, held_out):
    """Whether more trees will not bring the loss down to that of the best so far.

    Each doubling of the trees brings less than the one before it.
    """
    if manner.best is None:
        return False
    last_gain = losses[len(losses) // 2 - 1] - losses[-1]
    return losses[-1] - _REACH * last_gain > held_out.balanced @ manner.best


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
