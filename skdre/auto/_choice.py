"""The choice: which estimator do held-out rows speak for?"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import clone

from skdre._core.inner import fit_weighted
from skdre._core.samples import PooledRows
from skdre.auto._evidence import compare, compare_on_bridges, log_losses
from skdre.base import predict_log_ratio
from skdre.classification import GaussianRatio
from skdre.flows._marginals import gaussianize
from skdre.paths import check_path
from skdre.waymarks._base import Problem

__all__ = ["Findings", "Rows", "fit_rows", "look"]

# Half the symmetric Kullback-Leibler divergence, in nats, from which bridges are
# better.
_FAR = 1.2

# What a network has to be better by, in standard errors of the difference, to be taken
# for the plug-in; and what that has to be better by than knowing nothing.
_BETTER = 2.0
_BETTER_THAN_NOTHING = 1.5

# How often held-out rows are paired anew for the comparison on bridges.
_PASSES = 5

_NAMES = {
    "constant": "a log ratio of 0 everywhere",
    "gaussian": "the Gaussian plug-in",
    "near": "the network",
    "far": "telescoping",
}


class Rows(PooledRows):
    """Distinct rows of both samples, as the choice looks at them."""

    def marginals(self):
        """Maps of the columns to a normal, both samples counting half."""
        shares = [weight / weight.sum() for _, weight in self.samples()]
        return gaussianize(self.X, np.concatenate(shares))

    def mapped(self, marginals):
        return replace(self, X=marginals.forward(self.X)[0])

    def waymarks(self, far, random_state):
        """Rows of the waymarks of a fitted telescoping ratio, from pairs of these.

        As :meth:`skdre.waymarks._base.Problem.draw_rows` gives them.
        """
        times = far.times_.tolist()
        problem = Problem(self, check_path(far.path), times, len(times) - 1)
        return problem.draw_rows(True, random_state, _PASSES)


@dataclass(frozen=True)
class Findings:
    """What held-out rows have shown."""

    choice: str
    report: list
    losses: dict
    divergence: float

    @classmethod
    def of_a_single_row(cls):
        report = [
            "A sample has a single row: none can be held out.",
            "Chosen: the Gaussian plug-in.",
        ]
        return cls("gaussian", report, {}, np.nan)


def fit_rows(estimator, rows, weight):
    """Fit an estimator to the rows with the given weights."""
    rows = rows.weighted(weight)
    weight = None if (rows.weight == 1).all() else rows.weight
    return fit_weighted(estimator, rows.X, rows.is_numerator, weight, "estimator")


def _bridges_of_plug_in(plug_in, far):
    """The plug-in's log ratios between the waymarks of a telescoping ratio."""
    moments, times = plug_in.moments_, far.times_
    a, b, _ = check_path(far.path).coefficients(times)

    def log_ratios(X):
        Z = moments.coordinates(X)
        each = [
            moments.log_density(Z, share) for share in zip(times, a, b, strict=True)
        ]
        return np.diff(each, axis=0).T

    return log_ratios


def _gain_of_plug_in(rows, folds):
    """Compare knowing nothing with the plug-in, cross-fitted, at all rows."""
    log_ratio = np.zeros(len(rows.X))
    for held_out in folds:
        plug_in = fit_rows(GaussianRatio(), rows, rows.weight - held_out)
        # A row whose repeats lie in several folds gets the mean of their answers.
        log_ratio += held_out / rows.weight * plug_in.decision_function(rows.X)
    nothing = np.full(len(log_ratio), np.log(2))
    losses = log_losses(log_ratio, rows.n_denominator)
    return compare(nothing, losses, rows.weight, rows.n_denominator)


def look(rows, folds, near, far, random_state, fit):
    """Hold rows out, and see which estimator they speak for.

    Parameters
    ----------
    rows : Rows
    folds : ndarray of shape (n_folds, n_rows)
        The parts of their weights that each fold holds out; the first one is what the
        networks are compared at.
    near, far : ratio estimator
        Neither is fitted: clones of them are.
    random_state : RandomState
    fit : callable
        ``fit(estimator, rows, weight, task_name)`` fits and returns the estimator.

    Returns
    -------
    findings : Findings
    """
    training, new = rows.weight - folds[0], rows.weighted(folds[0])
    with warnings.catch_warnings():
        # The chosen one will warn again, when it is fitted on all rows.
        warnings.simplefilter("ignore")
        plug_in = fit_rows(GaussianRatio(), rows, training)
        network = fit(clone(near), rows, training, "fit-near")
    n_q = new.n_denominator
    log_ratio = predict_log_ratio(network, new.X)
    mean_q, mean_p = (
        np.average(log_ratio[part], weights=new.weight[part])
        for part in (slice(n_q), slice(n_q, None))
    )
    divergence = float(mean_p - mean_q) / 2
    loss = {
        "constant": np.full(len(log_ratio), np.log(2)),
        "gaussian": log_losses(plug_in.decision_function(new.X), n_q),
        "near": log_losses(log_ratio, n_q),
    }
    contender, where = "near", "at held-out rows"
    report = [
        f"Half the symmetric divergence is {divergence:.3g} nats at held-out rows: the "
        f"samples {'hardly ' if divergence > _FAR else ''}overlap."
    ]
    if divergence > _FAR:
        contender, where = "far", "on each of the bridges between held-out rows"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            far = fit(clone(far), rows, training, "fit-far")
        loss["far"] = log_losses(far.decision_function(new.X), n_q)
        waymarks, *pairs = new.waymarks(far, random_state)
        comparison = compare_on_bridges(
            waymarks,
            pairs,
            _bridges_of_plug_in(plug_in, far),
            far.log_ratios,
            [weight for _, weight in new.samples()],
        )
    else:
        comparison = compare(loss["gaussian"], loss["near"], new.weight, n_q)
    choice = contender if comparison.z > _BETTER else "gaussian"
    report.append(
        f"The Gaussian plug-in against {_NAMES[contender]}: a loss of "
        f"{comparison.loss:.4g} against {comparison.other:.4g} nats {where}, a "
        f"difference of {comparison.z:.1f} standard errors ({_BETTER:g} are needed)."
    )
    if choice == "gaussian":
        gain = _gain_of_plug_in(rows, folds)
        if gain.z < _BETTER_THAN_NOTHING:
            choice = "constant"
            report.append(
                f"It is better than knowing nothing by {gain.z:.1f} standard errors "
                f"only ({_BETTER_THAN_NOTHING} are needed)."
            )
    report.append(f"Chosen: {_NAMES[choice]}.")
    losses = {
        name: compare(loss["constant"], each, new.weight, n_q).other
        for name, each in loss.items()
    }
    return Findings(choice, report, losses, divergence)
