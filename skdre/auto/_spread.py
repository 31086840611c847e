"""Intervals of AutoRatio, from the fits of the folds that it makes anyway."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdre.auto._cross_fit import fold_log_ratios, training_shares
from skdre.auto._intervals import Evidence, Spread, jackknife_scale

__all__ = ["Fits", "evidence_of", "spread_of"]


@dataclass(frozen=True)
class Fits:
    """Fits of a candidate that intervals come from.

    Attributes
    ----------
    models : list
        As of :class:`skdre.auto._cross_fit.CrossFit`.
    form : str
    weight : float
        In the answer; 0 of what the answer has left aside for the constant.
    scale : float
        See :func:`skdre.auto._intervals.jackknife_scale`.
    """

    models: list[Any]
    form: str
    weight: float
    scale: float


def evidence_of(trials, weights, data):
    """What intervals of AutoRatio need, and the fits that they come from.

    Parameters
    ----------
    trials : list of skdre.auto._decide.Trial
    weights : ndarray of shape (n_trials,)
    data : tuple
        The plain form of the distinct rows, these, the shares of each that the folds
        hold out, and the same as HeldOut.

    Returns
    -------
    evidence : Evidence
    fits : list of Fits
    """
    plain, rows, shares, held_out = data
    answer = np.zeros(len(held_out.row))
    fits = []
    for trial, weight in zip(trials, weights, strict=True):
        answer += weight * trial.fit.log_ratio
        if weight:
            fits.append(_fits_of(trial, weight, shares))
    if not fits:
        # How far the answer of 0 may be off: what the best candidate would say.
        best = min(trials, key=lambda each: held_out.loss(each.fit.log_ratio))
        fits = [_fits_of(best, 0.0, shares)]
    log_ratio = held_out.means(answer, len(rows.index))
    known = np.isfinite(log_ratio)
    cluster = held_out.cluster_of_rows(len(known))
    evidence = Evidence.of(
        1.0,
        len(shares),
        log_ratio[known],
        plain[known],
        rows.is_numerator[known],
        rows.weight[known],
        None if cluster is None else cluster[known],
    )
    return evidence, fits


def _fits_of(trial, weight, shares):
    # Members of a network see all that they do not hold out, of however many rows.
    one = len(trial.fit.models) < len(shares)
    seen = 1 - shares if one else training_shares(shares)
    return Fits(trial.fit.models, trial.form, float(weight), jackknife_scale(seen))


def spread_of(answer, fits, evidence, inputs):
    """The log ratio at new rows, and what the fits of its candidates say there.

    Parameters
    ----------
    answer : ndarray of shape (n_samples,)
    fits : list of Fits
    evidence : Evidence or None
    inputs : dict of str to ndarray
        The rows by form.

    Returns
    -------
    spread : Spread
    """
    n_folds = 1 if evidence is None else evidence.n_folds
    total, bias = np.zeros((n_folds, len(answer))), 0.0
    for each in fits:
        found = fold_log_ratios(each.models, inputs[each.form], n_folds)
        mean = found.mean(axis=0)
        total += (each.weight or 1.0) * np.sqrt(each.scale) * (found - mean)
        if not each.weight:
            bias = np.abs(mean)
    return Spread(answer, [total], inputs["plain"], bias)
