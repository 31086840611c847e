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
# What telescoping has to be better by than the plug-in on the bridges; and what another
# answer has to be better by, by its log loss, than the one for which the bridges speak.
_BETTER_ON_BRIDGES, _BETTER_THAN_BRIDGES = 2.0, 3.0


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


def is_worth_a_try(estimator, form, trials, held_out, bridges=None, n_columns=0):
    """Whether what is known so far speaks for a candidate that costs time.

    Telescoping is worth its time where the samples lie apart, in one form only. So are
    networks: of columns as they are or made normal, wherever the cheap candidates have
    their smallest loss. Of many rows least squares are tried in one form too, and left
    out where the samples are known to hardly overlap. Products of so many columns that
    their classifier takes longer than all others are not tried.

    Parameters
    ----------
    estimator : ratio estimator
    form : {"coded", "plain", "normal"}
        How it takes the table.
    trials : list of Trial
        What was fitted so far.
    held_out : HeldOut
    bridges : {"plain", "normal"}, default=None
        The form for telescoping; None if it is to be tried in any.
    n_columns : int, default=0
        Of the table as it takes it.

    Returns
    -------
    is_worth : bool
    """
    if not trials:
        return True
    if _n_products(estimator, n_columns) > _MOST_PRODUCTS:
        return False
    if not isinstance(estimator, TelescopingRatio | MLPRatio | LSIFRatio):
        return True
    best = min((each.fit.log_ratio for each in trials), key=held_out.loss)
    divergence = held_out.divergence(best)
    if isinstance(estimator, TelescopingRatio):
        return divergence > _APART and bridges in (None, form)
    if isinstance(estimator, LSIFRatio):
        if divergence > _FAR:
            return False
        if len(held_out.row) <= _MANY_ROWS:
            return True
    return _is_favoured(form, trials, held_out)


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
    if data is not None and divergence > _APART:
        chosen = _by_bridges(trials, held_out, data, weights, divergence)
        if chosen is not None and not _is_better(
            held_out.losses(mixed), losses[chosen], _BETTER_THAN_BRIDGES, held_out
        ):
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


def _by_bridges(trials, held_out, data, weights, divergence):
    """What the losses of the bridges speak for: telescoping or the plug-in, or None.

    They are compared on the bridges of telescoping, in the form that it was fitted in.
    Where the plug-in in the other form has the least log loss, the bridges do not see
    it, and nothing is said.
    """
    loss = [held_out.loss(each.fit.log_ratio) for each in trials]
    plug_ins, bridges = (
        [j for j, each in enumerate(trials) if type(each.estimator) is kind]
        for kind in (GaussianRatio, TelescopingRatio)
    )
    if not bridges:
        return None
    far = min(bridges, key=lambda j: loss[j])
    form = trials[far].form
    if any(weights[j] == 1 and trials[j].form != form for j in plug_ins):
        return None
    plug_ins = [j for j in plug_ins if trials[j].form == form]
    if not plug_ins:
        return far
    plug_in = min(plug_ins, key=lambda j: loss[j])
    forms, rows, shares, random_state = data
    pooled = PooledRows(
        forms[form], rows.weight, rows.is_atom, int((~rows.is_numerator).sum())
    )
    better = bridge_comparison(
        pooled,
        shares,
        trials[plug_in].fit.models,
        trials[far].fit.models,
        random_state,
    )
    if better > _BETTER_ON_BRIDGES:
        return far
    return plug_in if divergence > _FAR else None
