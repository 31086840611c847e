"""A classifier of any kind, fitted so that its score is free of the prior."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skdre._compat import safe_indexing
from skdre._core.inner import fit_weighted, innermost, weight_parameter
from skdre._core.rows import repeats_of
from skdre.base import bounded_log_ratio, is_ratio_estimator

__all__ = [
    "FittedClassifier",
    "choose_score",
    "fit_classifier",
    "lets_nan_through",
    "takes_any_column",
    "takes_nan",
    "without_priors",
]

# Two ways of a classifier to say the same probability agree to this.
_AGREEMENT = 1e-5

# Rows that repeats make for a classifier, about at most.
_MOST_REPEATS = 1_000_000


def lets_nan_through(estimator):
    """Whether missing values reach a part that may take them, and is to judge.

    A transformer judges itself: it imputes, or what comes after it refuses.
    """
    if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        return True
    if hasattr(estimator, "estimator") and not isinstance(estimator, type):
        return lets_nan_through(estimator.estimator)
    if isinstance(estimator, Pipeline):
        return lets_nan_through(estimator.steps[0][1])
    return takes_nan(estimator)


def takes_any_column(estimator):
    """Whether dates and the like reach a part that may make numbers of them."""
    if isinstance(estimator, Pipeline):
        first = estimator.steps[0][1]
        if isinstance(first, str):
            return True
        # StandardScaler makes seconds of dates, and says nothing.
        numeric = type(first).__module__.startswith("sklearn.") and not (
            hasattr(first, "transformers") or hasattr(first, "transformer_list")
        )
        if not numeric:
            return True
        tags = get_tags(first)
        return (
            tags.no_validation or tags.input_tags.string or tags.input_tags.categorical
        )
    if hasattr(estimator, "estimator"):
        return takes_any_column(estimator.estimator)
    return not type(estimator).__module__.startswith(("sklearn.", "skdre."))


def takes_nan(estimator):
    """Whether missing values are taken, as a tag, which pipelines and searches lack.

    A pipeline takes them if its steps do, up to one that removes them: an imputer, or a
    ColumnTransformer, which is given the benefit of the doubt.
    """
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            if type(step).__module__.startswith("sklearn.impute"):
                return True
            if hasattr(step, "transformers"):
                return True
            if not (isinstance(step, str) or takes_nan(step)):
                return False
        return True
    if hasattr(estimator, "estimator"):
        return takes_nan(estimator.estimator)
    return hasattr(estimator, "fit") and get_tags(estimator).input_tags.allow_nan


def without_priors(estimator):
    """A clone in whose fit both domains count the same, as far as parameters can say.

    Returns it, and whether its probabilities are then those of equal priors.
    """
    estimator = clone(estimator)
    last, params = innermost(estimator), estimator.get_params()
    prefix = "".join(f"{name}__" for name, value in params.items() if value is last)
    equal = {
        name: None
        for name, value in params.items()
        if name.startswith(prefix)
        and name.split("__")[-1] in ("class_weight", "class_prior")
        and value is not None
    }
    has_priors = hasattr(last, "get_params") and "priors" in last.get_params()
    if has_priors:
        equal[f"{prefix}priors"] = [0.5, 0.5]
    if equal:
        estimator.set_params(**equal)
    return estimator, has_priors or is_ratio_estimator(estimator)


@dataclass(frozen=True)
class FittedClassifier:
    """A fitted classifier and what its score needs to become a log ratio.

    Attributes
    ----------
    estimator : classifier
        Fitted on the labels 0 and 1, the numerator's.
    log_prior : float
        Log prior odds of the numerator that its probabilities contain.
    n_numerator, n_denominator : float
        Rows it was fitted on, by their weights.
    """

    estimator: Any
    log_prior: float
    n_numerator: float
    n_denominator: float

    def score(self, X, method):
        """Log ratio before calibration, or a score that is none yet.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        method : {"decision_function", "predict_log_proba", "predict_proba"}
            What to ask the classifier for.

        Returns
        -------
        score : ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            If the classifier answers NaN.
        """
        values = np.asarray(getattr(self.estimator, method)(X), dtype=np.float64)
        if method == "decision_function":
            score = values.reshape(len(values)) - self.log_prior
        elif method == "predict_log_proba":
            score = values[:, 1] - values[:, 0] - self.log_prior
        else:
            score = bounded_log_ratio(
                values, self.n_numerator, self.n_denominator, self.log_prior
            )
        if np.isnan(score).any():
            raise ValueError(
                f"{type(self.estimator).__name__}.{method} gives NaN for "
                f"{np.isnan(score).sum()} of {len(score)} rows of X: their values may "
                "be too large for it, or its fit failed."
            )
        limit = np.finfo(np.float64).max
        return np.clip(score, -limit, limit)


def _whole_repeats(weight, unit):
    """Whole numbers in proportion to the weights of each sample, or None."""
    # In draws, or as they came, where they are counts.
    for each in (weight, weight * unit):
        whole = np.rint(each)
        if whole.max() <= _MOST_REPEATS and np.allclose(each, whole, rtol=1e-9, atol=0):
            whole = whole.astype(int)
            return whole if each is weight else whole // np.gcd.reduce(whole)
    return None


def _default_classifier(X, y, weight):
    # The variance of a constant column comes out as -1e-17, and is taken for 0.
    with np.errstate(invalid="ignore"):
        scaler = StandardScaler().fit(X, sample_weight=weight)
    # Newton's method, for it ends at the optimum to all digits.
    classifier = LogisticRegression(solver="newton-cholesky", tol=1e-8, max_iter=1000)
    classifier.fit(scaler.transform(X), y, sample_weight=weight)
    return make_pipeline(scaler, classifier)


def fit_classifier(estimator, X, rows):
    r"""Fit a clone of a classifier, so that both domains weigh the same.

    A row of weight w gets the weight :math:`2 w n_{other} / (n_p + n_q)`, with
    :math:`n_{other}` the weight of the other domain: the sum is the effective size
    :math:`4 / (1 / n_p + 1 / n_q)` of the two samples, which is what a penalty is to
    be held against. A classifier that takes no weights gets rows as often as their
    whole weights say, and the log prior odds are subtracted from its score.

    Parameters
    ----------
    estimator : classifier or None
        None is logistic regression on standardised columns.
    X : array-like of shape (n_rows, n_features)
        Distinct rows, an array or a DataFrame.
    rows : skdre._core.samples.DistinctRows
        Their domains and weights in draws; rows of weight 0 are left out.

    Returns
    -------
    fitted : FittedClassifier

    Raises
    ------
    ValueError
        If the classifier takes no weights and they are not whole numbers.
    """
    is_numerator, weight, is_atom = rows.is_numerator, rows.weight, rows.is_atom
    if not weight.all():
        present = np.flatnonzero(weight)
        X = safe_indexing(X, present)
        is_numerator, weight = is_numerator[present], weight[present]
        is_atom = is_atom[present]
    n_p, n_q = weight[is_numerator].sum(), weight[~is_numerator].sum()
    y = is_numerator.astype(int)
    balanced = weight * (2 * np.where(is_numerator, n_q, n_p) / (n_p + n_q))
    if estimator is None:
        return FittedClassifier(_default_classifier(X, y, balanced), 0.0, n_p, n_q)

    estimator, equal_priors = without_priors(estimator)
    log_prior = 0.0
    try:
        weight_parameter(estimator, "estimator")
    except ValueError as error:
        repeats = _whole_repeats(weight, rows.unit[is_numerator.astype(int)])
        if repeats is None:
            raise ValueError(
                f"estimator={estimator!r} takes no sample_weight, so rows can be "
                "weighted by repeating them only, and sample_weight must hold whole "
                "numbers; choose a classifier whose fit takes sample_weight."
            ) from error
        if not equal_priors:
            log_prior = float(
                np.log(repeats[is_numerator].sum() / repeats[~is_numerator].sum())
            )
        balanced = None
    else:
        # Leaves of trees have a least number of rows, whatever the rows weigh.
        repeats = repeats_of(weight, is_atom)
        repeats *= min(_MOST_REPEATS / repeats.sum(), 1.0)
        repeats = np.maximum(repeats, 1).astype(int)
        balanced = balanced / repeats
    if repeats.max() > 1:
        repeated = np.repeat(np.arange(len(y)), repeats)
        X, y = safe_indexing(X, repeated), y[repeated]
        balanced = None if balanced is None else balanced[repeated]
    estimator = fit_weighted(estimator, X, y, balanced, "estimator")
    return FittedClassifier(estimator, log_prior, n_p, n_q)


def choose_score(fitted, X, *, calibrated):
    """Choose what to ask a classifier for.

    Parameters
    ----------
    fitted : FittedClassifier
        The classifier.
    X : array-like of shape (n_samples, n_features)
        The rows it was fitted on.
    calibrated : bool
        Whether the score will be calibrated, so that it need not be a log odds.

    Returns
    -------
    method : {"decision_function", "predict_log_proba", "predict_proba"}

    Raises
    ------
    ValueError
        If the classifier has scores only, which are no log odds.
    """
    estimator = fitted.estimator
    has_probabilities = hasattr(estimator, "predict_proba")
    if hasattr(estimator, "decision_function"):
        if calibrated:
            return "decision_function"
        if not has_probabilities:
            raise ValueError(
                f"{type(estimator).__name__} has no predict_proba, and its "
                "decision_function is not a log odds: set calibration='sigmoid' (or "
                "'isotonic') to learn the log ratio from it, or choose a classifier "
                "with predict_proba."
            )
        probability = np.asarray(estimator.predict_proba(X))[:, 1]
        odds = np.asarray(estimator.decision_function(X), dtype=np.float64)
        if np.abs(expit(odds.reshape(len(odds))) - probability).max() < _AGREEMENT:
            return "decision_function"
    # Naive Bayes adds up logarithms; the log_proba of others is the log of a
    # probability that has lost its digits near 0 and 1.
    if hasattr(innermost(estimator), "predict_joint_log_proba"):
        return "predict_log_proba"
    return "predict_proba"
