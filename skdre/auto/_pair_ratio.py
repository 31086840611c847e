"""The default of mutual information: candidates for pairs, judged on held-out ones.

Joint rows [x, y] and rows with permuted partners share their margins, which two samples
in general do not. The candidates use that. They are fitted once for each fold, and the
fits are the answer and its judges, as in :class:`skdre.AutoRatio`.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from skdre._core.seeds import draw_seed
from skdre._core.types import Floats, Rows, Values
from skdre.auto._combine import HeldOut, simplex_weights
from skdre.auto._pair_models import (
    are_many,
    fit_few_factors,
    fit_gaussian,
    fit_gaussian_copula,
    fit_t,
)
from skdre.auto._pair_network import fit_network
from skdre.auto._pair_trees import fit_trees
from skdre.base import DensityRatioMixin

__all__ = ["PairRatio", "PairsFit", "fit_pairs"]

# By how many standard errors a mixture with a slow candidate must be better than the
# best of the others in the first fold, and in the first two, for the next to be fitted.
_WORTH = 0.5, 0.8
# As in AutoRatio: how much better a mixture must be than the best candidate, and how
# much worse a simpler candidate may be, in standard errors.
_BETTER_THAN_ONE, _AS_GOOD = 2.0, 0.5
# Weight of a network that is a part of the answer worth speaking of.
_USED = 0.2
# Of pairs, from which a network can learn.
_LEAST_FOR_NETWORK = 200


def _closed(fit):
    def fitted(x, y, partners, cluster, seed):
        return fit(x, y)

    return fitted


def _trees(x, y, partners, cluster, seed):
    return fit_trees(x, y, partners, seed)


def _network(x, y, partners, cluster, seed):
    return fit_network(x, y, cluster, seed)


# Tried where columns are many; of few it only makes exact zeros.
_FEW = "Gaussian copula of few factors"
# Name -> how it is fitted, and whether it is in closed form. The simplest first.
_CANDIDATES = {
    "Gaussian": (_closed(fit_gaussian), True),
    "Gaussian copula": (_closed(fit_gaussian_copula), True),
    _FEW: (_closed(fit_few_factors), True),
    "Student-t copula": (_closed(fit_t), True),
    "boosted trees": (_trees, False),
    "network": (_network, False),
}


class PairRatio(DensityRatioMixin, BaseEstimator):
    """The ratio of joint to independent pairs, a mixture of fitted candidates.

    Parameters
    ----------
    models : dict, default=None
        Name of each candidate to its fit.
    weights : dict, default=None
        Name of each candidate to its weight.
    n_x : int, default=1
        Columns of the first vector.

    Attributes
    ----------
    %(classes_)
    %(n_features_in_)
    """

    def __init__(self, models: Any = None, weights: Any = None, n_x: int = 1) -> None:
        self.models = models
        self.weights = weights
        self.n_x = n_x

    def fit(self, X: Rows, y: Values, sample_weight: Values | None = None) -> Any:
        """Refused: what there is was fitted with the folds of the pairs.

        Parameters
        ----------
        %(X)
        %(y)
        %(sample_weight)

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            "PairRatio is fitted by MutualInformation alone: give that the pairs."
        )

    def decision_function(self, X: Rows) -> Floats:
        """Log ratio at pairs, the columns of the first vector first.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats.
        """
        check_is_fitted(self, "classes_")
        pairs = self._validate_rows(X)
        x, y = np.split(pairs, [self.n_x], axis=1)
        return _log_ratio(self.models, self.weights, x, y)


def _log_ratio(models, weights, x, y):
    total = np.zeros(len(x))
    for name, weight in weights.items():
        if weight:
            total += weight * models[name].log_ratio(x, y)
    return total


@dataclass(frozen=True)
class PairsFit:
    """What the candidates make of pairs.

    Attributes
    ----------
    results : list of (PairRatio, ndarray)
        For each fold its ratio, and the log ratio at its held-out rows.
    correction : float
        What the ratio is too small by at held-out pairs, for it was fitted to others,
        in nats.
    weights : dict
        Name of each candidate to its weight.
    gap : float
        What the network, where it is part of the answer, says more of the pairs that it
        was fitted on than of those held out, in nats.
    """

    results: list[Any]
    correction: float
    weights: dict[str, float]
    gap: float


def fit_pairs(
    x, y, parts, partners, *, cluster=None, rng, n_jobs=None, task=nullcontext
):
    """Cross-fit the candidates, and weigh them by their losses at held-out rows.

    Parameters
    ----------
    x, y : ndarray of shape (n_pairs, n_columns)
    parts : list of (ndarray of int, ndarray of int)
        Pairs to fit on and pairs held out, of each fold.
    partners : list of (ndarray of int, ndarray of int)
        Permuted partners of both, as positions in the parts.
    cluster : ndarray of int of shape (n_pairs,), default=None
        Number of the independent observation that each pair belongs to.
    rng : RandomState
    n_jobs : int, default=None
        Folds that are fitted at the same time.
    task : callable, default=contextlib.nullcontext
        Gives the context, by its name, that a candidate is fitted in.

    Returns
    -------
    fit : PairsFit
    """
    held_out = _held_out(parts, partners, cluster)
    n_folds = len(parts)
    models, log_ratios, excess = {}, {}, {}

    def run(name, seed, folds):
        fit = _CANDIDATES[name][0]
        return Parallel(n_jobs=n_jobs)(
            delayed(_fit_fold)(
                fit,
                x,
                y,
                parts[k],
                partners[k],
                cluster,
                seed,
            )
            for k in folds
        )

    for name, (_, is_closed) in _CANDIDATES.items():
        seed = draw_seed(rng)
        if name == _FEW and not are_many(x, y):
            continue
        if name == "network" and min(len(a) for a, _ in parts) < _LEAST_FOR_NETWORK:
            continue
        with task(name):
            if is_closed:
                found = run(name, seed, range(n_folds))
            else:
                found = []
                for k in range(min(len(_WORTH), n_folds)):
                    found += run(name, seed, [k])
                    if not _is_worth(found, log_ratios, held_out):
                        break
                else:
                    found += run(name, seed, range(len(found), n_folds))
                if len(found) < n_folds:
                    continue
        models[name] = [each for each, _, _ in found]
        log_ratios[name] = np.concatenate([each for _, each, _ in found])
        inside = np.mean([each for _, _, each in found])
        joint = log_ratios[name][held_out.sign > 0]
        excess[name] = (inside - joint.mean()) / 2

    weights = _weigh(log_ratios, held_out)
    mixed = sum(weights[name] * each for name, each in log_ratios.items())
    # To first order a ratio is too small at held-out pairs by what it is too large by
    # at its own. Trees are larger by far more at theirs.
    correction = sum(
        weights[name] * each for name, each in excess.items() if name != "boosted trees"
    )
    ratios = [
        _ratio({name: each[k] for name, each in models.items()}, weights, x, y)
        for k in range(n_folds)
    ]
    gap = 2 * excess["network"] if weights.get("network", 0.0) > _USED else 0.0
    ends = np.flatnonzero(np.diff(held_out.fold)) + 1
    results = list(zip(ratios, np.split(mixed, ends), strict=True))
    return PairsFit(results, float(correction), weights, float(gap))


def _held_out(parts, partners, cluster):
    """The held-out rows of all folds, pairs before permuted ones in each."""
    fold, sign, group = [], [], []
    for k, ((_, test), (_, own)) in enumerate(zip(parts, partners, strict=True)):
        n, n_shifts = own.shape
        sign.append(np.repeat([1.0, -1.0], [n, n * n_shifts]))
        fold.append(np.full(n * (1 + n_shifts), k))
        # What is random in a permuted row counts with its x.
        number = test if cluster is None else cluster[test]
        group.append(np.tile(number, 1 + n_shifts))
    sign, fold, group = (np.concatenate(each) for each in (sign, fold, group))
    return HeldOut(np.arange(len(sign)), fold, sign, np.ones(len(sign)), group)


def _fit_fold(fit, x, y, part, partner, cluster, seed):
    (training, test), (own, of_test) = part, partner
    within = None if cluster is None else cluster[training]
    model = fit(x[training], y[training], own, within, seed)
    first, second = model.first(x[test]), model.second(y[test])
    log_ratio = [model.of_parts(first, second)]
    log_ratio += [model.of_parts(first, second[each]) for each in of_test.T]
    inside = model.log_ratio(x[training], y[training]).mean()
    return model, np.concatenate(log_ratio), inside


def _ratio(models, weights, x, y):
    used = {name: weight for name, weight in weights.items() if weight}
    ratio = PairRatio({name: models[name] for name in used}, used, x.shape[1])
    ratio.classes_ = np.array([0, 1])
    ratio.n_features_in_ = x.shape[1] + y.shape[1]
    return ratio


def _is_worth(found, log_ratios, held_out):
    """Whether the first folds say that the next are worth their time."""
    here = held_out.fold < len(found)
    part = held_out.of_rows(here)
    best = min(log_ratios.values(), key=held_out.loss)[here]
    slow = np.concatenate([each for _, each, _ in found])
    both = np.array([best, slow])
    mixed = simplex_weights(both, part) @ both
    gain, error = part.mean_and_error(part.losses(best) - part.losses(mixed))
    return gain > _WORTH[len(found) - 1] * error


def _weigh(log_ratios, held_out):
    names = list(log_ratios)
    F = np.array(list(log_ratios.values()))
    losses = np.array([held_out.losses(each) for each in F])

    def is_better(one, other, by):
        gain, error = held_out.mean_and_error(other - one)
        return gain > by * error

    best = int(np.argmin(losses @ held_out.balanced))
    weights = np.eye(len(F))[best]
    for k in range(best):
        if not is_better(losses[best], losses[k], _AS_GOOD):
            weights = np.eye(len(F))[k]
            break
    # Without the constant: what overfitted forms lose is put back, not shrunk further.
    mixture = simplex_weights(F, held_out)
    if is_better(held_out.losses(mixture @ F), losses[best], _BETTER_THAN_ONE):
        weights = mixture
    return dict(zip(names, weights.tolist(), strict=True))
