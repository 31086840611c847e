"""What fits the ratios between neighbouring waymarks: networks, or given estimators.

A model holds what the public estimator shows as fitted attributes, and gives the log
ratios of all bridges at rows of X. That of a given estimator checks and clones it when
it is made, and is fitted by

    fit(problem, coupled, random_state, deal_seeds, subtask)

where the random state draws the rows of the waymarks and, if so wanted, deals seeds to
the clones, and each of these is fitted in the context ``subtask(clone, name)``. The
result is a bool for each bridge: does it separate fresh rows without error?
"""

import warnings

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import clone, is_classifier
from sklearn.utils.parallel import Parallel, delayed

from skdre._core.inner import fit_weighted, innermost, weight_parameter
from skdre._core.scales import FAR
from skdre._core.seeds import give_seeds
from skdre._nn.gradients import value_and_gradient
from skdre._nn.saving import pack_modules, unpack_modules
from skdre._nn.settings import usual_torch
from skdre.base import (
    check_is_ratio,
    is_ratio_estimator,
    predict_log_ratio,
)

__all__ = [
    "BridgeModel",
    "ClassifierModel",
    "NetworkModel",
    "choose_class_score",
    "class_scores",
]

# Rows that go through the network at once when it predicts.
_CHUNK_ROWS = 2048

# Rows at which it is seen whether decision_function is the logarithm of predict_proba.
_ROWS_SEEN = 500
_AGREEMENT = 1e-6


class NetworkModel:
    """A trained ensemble of networks; their log ratio is the mean of the members'.

    Parameters
    ----------
    network : BridgeEnsemble
        Ready to predict.
    problem : Problem
        That it was trained on.
    records : mapping
        Attributes that tell how the training went, by name.
    """

    def __init__(self, network, problem, records):
        self.network_ = network
        self.center_, self.scale_ = problem.center, problem.scale
        vars(self).update(records)

    def __getstate__(self):
        return pack_modules(vars(self))

    def __setstate__(self, state):
        vars(self).update(unpack_modules(state))

    def log_ratios(self, X, of_members=False):
        """Those of all bridges; of members with these as the second axis."""
        with np.errstate(over="ignore"):
            Z = np.clip((X - self.center_) / self.scale_, -FAR, FAR)
        device = next(self.network_.parameters()).device
        parts = []
        with usual_torch(grad=False):
            for z in torch.as_tensor(Z).split(_CHUNK_ROWS):
                each = self.network_.log_ratios_of(self.network_(z.to(device)))
                parts.append((each if of_members else each.mean(dim=1)).cpu().numpy())
        return np.concatenate(parts)

    def log_ratio_and_gradient(self, X, bounds):
        """The sum over the bridges at rows, drawn in to bounds, and its gradient."""
        device = next(self.network_.parameters()).device
        low, high, center, scale = (
            torch.as_tensor(each, device=device)
            for each in (*bounds, self.center_, self.scale_)
        )

        def log_ratio(x):
            z = (x.clamp(low, high) - center) / scale
            each = self.network_.log_ratios_of(self.network_(z))
            return each.mean(dim=1).sum(dim=1)

        return value_and_gradient(log_ratio, X, device=device, n_rows=_CHUNK_ROWS)


class BridgeModel:
    """A ratio estimator for each bridge.

    Parameters
    ----------
    estimator : ratio estimator
        Cloned for each.
    n_bridges : int
    n_jobs : int, default=None
        Bridges that are fitted at a time.
    """

    def __init__(self, estimator, n_bridges, n_jobs=None):
        check_is_ratio(estimator)
        self.estimators_ = [clone(estimator) for _ in range(n_bridges)]
        self.n_jobs = n_jobs

    @property
    def n_fits(self):
        return len(self.estimators_)

    def fit(self, problem, coupled, random_state, deal_seeds, subtask):
        rows, fresh = (problem.draw_rows(coupled, random_state)[0] for _ in range(2))
        ends = problem.samples()
        if any((weight != 1).any() for _, weight in ends):
            weight_parameter(self.estimators_[0], "estimator")
        waymarks = [(each, np.ones(len(each))) for each in rows]
        waymarks[0], waymarks[-1] = ends
        if deal_seeds:
            for each in self.estimators_:
                give_seeds(each, random_state)
        fits = []
        for fit in Parallel(n_jobs=self.n_jobs, return_as="generator")(
            delayed(_fit_bridge)(each, *waymarks[k : k + 2], fresh[k : k + 2])
            for k, each in enumerate(self.estimators_)
        ):
            fits.append(fit)
            with subtask(None, "bridge"):
                pass
        estimators, separated, messages = zip(*fits, strict=True)
        self.estimators_ = list(estimators)
        self.n_iter_ = _steps_taken(self.estimators_)
        _warn_again(messages)
        return np.array(separated)

    def log_ratios(self, X):
        return np.column_stack(
            [predict_log_ratio(each, X) for each in self.estimators_]
        )


def _fit_bridge(estimator, denominator, numerator, fresh):
    """Fit the ratio of two waymarks, each given as rows and their weights.

    Gives the estimator, whether it separates the fresh rows of both without error, and
    category and text of its warnings.
    """
    X = np.concatenate([denominator[0], numerator[0]])
    y = np.repeat([0, 1], [len(denominator[0]), len(numerator[0])])
    weight = np.concatenate([denominator[1], numerator[1]])
    weight = None if (weight == 1).all() else weight
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_weighted(estimator, X, y, weight, "estimator")
        low, high = (predict_log_ratio(estimator, rows) for rows in fresh)
    messages = [(each.category, str(each.message)) for each in caught]
    return estimator, bool(high.min() > low.max()), messages


def _warn_again(messages):
    """Give the warnings of the bridges, equal ones once, with the bridges' numbers."""
    bridges = {}
    for k, those in enumerate(messages):
        for each in dict.fromkeys(those):
            bridges.setdefault(each, []).append(str(k + 1))
    for (category, text), numbers in bridges.items():
        where = f"Bridge {', '.join(numbers)} of {len(messages)}: "
        warnings.warn(where + text, category, stacklevel=7)


class ClassifierModel:
    """One classifier of all waymarks, as classes of equal size.

    Parameters
    ----------
    estimator : classifier
        Cloned.
    """

    n_fits = 1

    def __init__(self, estimator):
        if not is_classifier(estimator) or is_ratio_estimator(estimator):
            raise ValueError(
                "estimator must be a classifier of many classes, got "
                f"{estimator!r}; TelescopingRatio takes a density-ratio estimator."
            )
        self.estimator_ = clone(estimator)

    def fit(self, problem, coupled, random_state, deal_seeds, subtask):
        rows, fresh = (problem.draw_rows(coupled, random_state)[0] for _ in range(2))
        n_waymarks, self.n_rows_ = rows.shape[:2]
        if deal_seeds:
            give_seeds(self.estimator_, random_state)
        X = np.concatenate(rows)
        with subtask(self.estimator_, "fit-estimator"):
            self.estimator_.fit(X, np.repeat(np.arange(n_waymarks), self.n_rows_))
        self.score_method_ = choose_class_score(self.estimator_, X)
        self.n_iter_ = _steps_taken([self.estimator_])
        at_waymarks = [self.log_ratios(each) for each in fresh]
        return np.array(
            [
                at_waymarks[k + 1][:, k].min() > at_waymarks[k][:, k].max()
                for k in range(n_waymarks - 1)
            ]
        )

    def log_ratios(self, X):
        scores = class_scores(self.estimator_, X, self.score_method_, self.n_rows_)
        return np.diff(scores, axis=1)


def class_scores(classifier, X, method, n_rows):
    """Log densities of all classes at the rows of X, up to a term they share.

    `method` is what to ask the classifier for: decision_function, predict_log_proba or
    predict_proba. Probabilities of 0 are floored at 1 / (n_rows + 1), for the `n_rows`
    rows that each class had in the fit, so that all scores are finite.
    """
    with np.errstate(divide="ignore"):
        scores = np.asarray(getattr(classifier, method)(X), dtype=np.float64)
        if method == "predict_proba":
            scores = np.log(scores)
    if np.isnan(scores).any():
        raise ValueError(
            f"{type(classifier).__name__}.{method} gives NaN for "
            f"{np.isnan(scores).any(axis=-1).sum()} of {len(scores)} rows of X: their "
            "values may be too large for it, or its fit failed."
        )
    if scores.ndim == 1:
        scores = np.column_stack([np.zeros(len(scores)), scores])
    if method != "decision_function":
        scores = np.where(np.isneginf(scores), -np.log1p(n_rows), scores)
    limit = np.finfo(np.float64).max / 4
    return np.clip(scores, -limit, limit)


def choose_class_score(classifier, X):
    """Name of the method whose values are log densities: the one that keeps most."""
    if not hasattr(classifier, "predict_proba"):
        raise ValueError(
            f"estimator must have predict_proba, got {classifier!r}: scores of classes "
            "that are no probabilities give no ratio."
        )
    if hasattr(classifier, "decision_function"):
        X = X[:: -(-len(X) // _ROWS_SEEN)]
        scores = class_scores(classifier, X, "decision_function", 1)
        probability = classifier.predict_proba(X)
        if scores.shape == probability.shape and np.allclose(
            softmax(scores, axis=1), probability, rtol=0, atol=_AGREEMENT
        ):
            return "decision_function"
    logged = hasattr(classifier, "predict_log_proba")
    return "predict_log_proba" if logged else "predict_proba"


def _steps_taken(estimators):
    """Most iterations of the estimators given; 1 if none counts them."""
    counts = (getattr(innermost(each), "n_iter_", 1) for each in estimators)
    return max(1, *(int(np.max(each)) for each in counts))
