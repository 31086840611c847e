"""Which candidates the answer is made of."""

from dataclasses import dataclass
from math import comb
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.preprocessing import PolynomialFeatures

from skdre._core.samples import PooledRows
from skdre.auto._bridges import bridge_comparison
from skdre.auto._combine import simplex_weights
from skdre.auto._cross_fit import CrossFit
from skdre.classification import ClassifierRatio, GaussianRatio, MLPRatio
from skdre.kernel import LSIFRatio
from skdre.waymarks import TelescopingRatio

__all__ = ["Decision", "Trial", "best_losses", "decide", "is_worth_a_try"]

# Half the symmetric Kullback-Leibler divergence, in nats, from which telescoping is
# tried; and from which the log loss says little of the size of a log ratio.
_APART, _FAR = 1.0, 2.5
# Rows of both samples from which RuLSIF is tried in one form only.
_MANY_ROWS = 5000
# Columns of a classifier of products: those of 20 columns and their squares.
_MOST_PRODUCTS = 230
# What the answer has to be better by than knowing nothing, and a mixture than the best
# candidate, in standard errors of the difference; and by how much a simpler candidate
# may be worse than the best. Each was the best of several by the errors of the log
# ratio, see "Which estimator to take" in the documentation.
_BETTER_THAN_NOTHING, _BETTER_THAN_ONE, _AS_GOOD = 1.5, 2.0, 0.5
# What says nothing of the form: a classifier may be another one in each, and networks
# are tried in one.
_ANY_FORM = {ClassifierRatio, MLPRatio, TelescopingRatio}
# What telescoping has to be better by on the bridges.
_BETTER_ON_BRIDGES = 2.0


@dataclass(frozen=True)
class Trial:
    """A candidate that was fitted.

    Attributes
    ----------
    name : str
    estimator : ratio estimator
        Not fitted.
    form : {"coded", "plain", "normal"}
        How it takes the table.
    fit : CrossFit
    seconds : float
    """

    name: str
    estimator: Any
    form: str
    fit: CrossFit
    seconds: float


@dataclass(frozen=True)
class Decision:
    """What the answer is made of.

    Attributes
    ----------
    weights : ndarray of shape (n_trials,)
        Not negative; they sum to 1, or less where the constant has a share.
    divergence : float
        Half the symmetric Kullback-Leibler divergence of the answer.
    reason : {"nothing", "single", "simplest", "mixture", "bridges"}
    loss, error : float
        What the answer is better by than knowing nothing, with its standard error.
    """

    weights: np.ndarray
    divergence: float
    reason: str
    gain: float
    error: float


def best_losses(trials, held_out):
    """Losses at the held-out rows of the best trial so far; None before the first."""
    if not trials:
        return None
    losses = [held_out.losses(each.fit.log_ratio) for each in trials]
    return min(losses, key=lambda each: held_out.balanced @ each)


def is_worth_a_try(estimator, form, trials, held_out, n_columns):
    """Whether what is known so far speaks for a candidate that costs time.

    Telescoping is worth its time where the samples lie apart. It, networks and of many
    rows RuLSIF too are tried in one form only: columns as they are, or made normal.
    Products of so many columns that their classifier takes longer than all others are
    not tried.
    """
    if not trials:
        return True
    if isinstance(estimator, TelescopingRatio):
        return _is_favoured(form, trials, held_out) and (
            decide(trials, held_out).divergence > _APART
        )
    if _n_products(estimator, n_columns) > _MOST_PRODUCTS:
        return False
    if isinstance(estimator, MLPRatio) or (
        isinstance(estimator, LSIFRatio) and len(held_out.row) > _MANY_ROWS
    ):
        return _is_favoured(form, trials, held_out)
    return True


def _n_products(estimator, n_columns):
    """Columns that a classifier's polynomial features become."""
    steps = getattr(getattr(estimator, "estimator", None), "steps", ())
    degrees = [each.degree for _, each in steps if isinstance(each, PolynomialFeatures)]
    if not degrees or not isinstance(degrees[0], Integral):
        return 0
    return comb(n_columns + degrees[0], degrees[0]) - 1


def _is_favoured(form, trials, held_out):
    """Whether what was tried in both forms has its smallest loss in this one."""
    kinds = {
        each: {type(trial.estimator) for trial in trials if trial.form == each}
        for each in ("plain", "normal")
    }
    # Of RuLSIF one form may not have been tried yet.
    both = (kinds["plain"] & kinds["normal"]) - _ANY_FORM
    losses = {
        trial.form: min(
            held_out.loss(each.fit.log_ratio)
            for each in trials
            if each.form == trial.form and type(each.estimator) in both
        )
        for trial in trials
        if type(trial.estimator) in both
    }
    return form not in losses or losses[form] <= min(losses.values())


def decide(trials, held_out, data=None):
    """Weigh the candidates by their losses at held-out rows.

    Parameters
    ----------
    trials : list of Trial
        The simplest first.
    held_out : HeldOut
    data : tuple, default=None
        Rows by form, distinct rows and a random state, for the losses of the bridges;
        None does without.

    Returns
    -------
    decision : Decision
    """
    log_ratios = np.array([trial.fit.log_ratio for trial in trials])
    losses = np.array([held_out.losses(each) for each in log_ratios])
    nothing = np.full(losses.shape[1], np.log(2))
    # Of equal ones the first, which is the simplest.
    best = int(np.argmin(losses @ held_out.balanced))
    simplest = next(
        k
        for k, each in enumerate(losses)
        if k == best or not _is_better(losses[best], each, _AS_GOOD, held_out)
    )
    weights, reason = np.eye(len(trials))[simplest], "single"
    if simplest != best:
        reason = "simplest"
    constant = np.zeros(len(nothing))
    mixture = simplex_weights(np.vstack([constant, log_ratios]), held_out)[1:]
    mixed = held_out.losses(mixture @ log_ratios)
    if _is_better(mixed, losses[best], _BETTER_THAN_ONE, held_out):
        weights, reason = mixture, "mixture"
    found = mixed if reason == "mixture" else losses[simplest]
    if not _is_better(found, nothing, _BETTER_THAN_NOTHING, held_out):
        weights, reason = np.zeros(len(trials)), "nothing"
    mixed = weights @ log_ratios
    divergence = held_out.divergence(mixed)
    if data is not None and divergence > _FAR:
        chosen = _by_bridges(trials, held_out, data)
        if chosen is not None:
            weights, reason = np.eye(len(trials))[chosen], "bridges"
            mixed = weights @ log_ratios
    gain = nothing - held_out.losses(mixed)
    return Decision(
        weights, held_out.divergence(mixed), reason, *held_out.mean_and_error(gain)
    )


def _is_better(losses, others, by, held_out):
    """Whether losses are smaller than others by so many standard errors."""
    gain, error = held_out.mean_and_error(others - losses)
    return gain > by * error


def _by_bridges(trials, held_out, data):
    """The plug-in or telescoping, as the losses of the bridges say; None without both.

    Of the columns as they are or made normal, where the plug-in has the smaller loss.
    """
    plug_ins, bridges = (
        {
            trial.form: index
            for index, trial in enumerate(trials)
            if type(trial.estimator) is kind
        }
        for kind in (GaussianRatio, TelescopingRatio)
    )
    if not plug_ins:
        return None
    form = min(plug_ins, key=lambda f: held_out.loss(trials[plug_ins[f]].fit.log_ratio))
    if form not in bridges:
        return None
    forms, rows, shares, random_state = data
    pooled = PooledRows(
        forms[form], rows.weight, rows.is_atom, int((~rows.is_numerator).sum())
    )
    better = bridge_comparison(
        pooled,
        shares,
        trials[plug_ins[form]].fit.models,
        trials[bridges[form]].fit.models[0],
        random_state,
    )
    return (bridges if better > _BETTER_ON_BRIDGES else plug_ins)[form]
