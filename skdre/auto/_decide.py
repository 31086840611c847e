"""Which candidates the answer is made of."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdre._core.samples import PooledRows
from skdre.auto._bridges import bridge_comparison
from skdre.auto._combine import simplex_weights
from skdre.auto._cross_fit import CrossFit
from skdre.classification import GaussianRatio, MLPRatio
from skdre.waymarks import TelescopingRatio

__all__ = ["Decision", "Trial", "decide", "is_worth_a_try"]

# Half the symmetric Kullback-Leibler divergence, in nats, from which telescoping is
# tried; and from which the log loss says little of the size of a log ratio.
_APART, _FAR = 1.0, 2.5
# Rows of both samples from which a network is trained in one form only.
_MANY_ROWS = 5000
# What the best candidate has to be better by than knowing nothing, and a mixture than
# the best candidate, in standard errors of the difference. Mixtures that are better by
# less had errors of the log ratio a quarter larger in the mean.
_BETTER_THAN_NOTHING, _BETTER_THAN_ONE = 1.5, 2.0
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
    reason : {"nothing", "single", "mixture", "bridges"}
    loss, error : float
        What the answer is better by than knowing nothing, with its standard error.
    """

    weights: np.ndarray
    divergence: float
    reason: str
    gain: float
    error: float


def is_worth_a_try(estimator, form, trials, held_out):
    """Whether what is known so far speaks for a candidate that costs time.

    Telescoping is worth its time where the samples lie apart. It, and of many rows a
    network too, is trained in one form only: columns as they are, or made normal.
    """
    if not trials:
        return True
    if isinstance(estimator, TelescopingRatio):
        return _is_favoured(form, trials, held_out) and (
            decide(trials, held_out).divergence > _APART
        )
    if isinstance(estimator, MLPRatio) and len(held_out.row) > _MANY_ROWS:
        return _is_favoured(form, trials, held_out)
    return True


def _is_favoured(form, trials, held_out):
    """Whether what was tried in both forms has its smallest loss in this one."""
    kinds = {
        each: {type(trial.estimator) for trial in trials if trial.form == each}
        for each in ("plain", "normal")
    }
    both = (kinds["plain"] & kinds["normal"]) - {MLPRatio, TelescopingRatio}
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
    weights, reason = np.eye(len(trials))[best], "single"
    constant = np.zeros(len(nothing))
    mixture = simplex_weights(np.vstack([constant, log_ratios]), held_out)[1:]
    mixed = held_out.losses(mixture @ log_ratios)
    if _is_better(mixed, losses[best], _BETTER_THAN_ONE, held_out):
        weights, reason = mixture, "mixture"
    found = mixed if reason == "mixture" else losses[best]
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
