"""Which estimators carry a density ratio, and how it is read off a fitted one.

The one rule for whatever takes a ratio estimator: scikit-learn's wrappers are looked
through to what learns, and that must have ``predict_ratio``, the mark of the contract.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import check_is_fitted

from skdre._compat import InvalidParameterError
from skdre._core.arrays import place_of
from skdre._core.chunks import is_collection
from skdre._core.types import Floats, Rows

__all__ = [
    "check_is_ratio",
    "has_ratio_interval",
    "is_ratio_estimator",
    "predict_log_ratio",
    "predict_ratio_interval",
]

# What a search has, also one of another package: what it tries, or what it has found.
_MARKS_OF_SEARCH = ("best_estimator_", "param_grid", "param_distributions")


def _is_search(estimator):
    return any(hasattr(estimator, mark) for mark in _MARKS_OF_SEARCH)


def _candidates(search):
    """The estimators that a search tries, as far as they differ in kind."""
    grids = getattr(search, "param_grid", getattr(search, "param_distributions", {}))
    for grid in [grids] if isinstance(grids, Mapping) else grids:
        kinds = {
            name: values
            for name, values in grid.items()
            if isinstance(values, Iterable)
            and any(hasattr(value, "fit") for value in values)
        }
        for chosen in ParameterGrid(kinds):
            yield (
                clone(search.estimator).set_params(**chosen)
                if chosen
                else (search.estimator)
            )


def _parts(estimator, fitted):
    """The estimators that the log ratio of a wrapper comes from; None for another."""

    def found(attribute, given):
        return (
            getattr(estimator, attribute)
            if fitted and hasattr(estimator, attribute)
            else given
        )

    if isinstance(estimator, Pipeline):
        return [estimator.steps[-1][1]]
    if isinstance(estimator, BaggingClassifier):
        given = estimator.estimator
        return found(
            "estimators_", [DecisionTreeClassifier() if given is None else given]
        )
    if isinstance(estimator, VotingClassifier):
        given = [each for _, each in estimator.estimators if not _is_name(each)]
        return found("estimators_", given)
    if isinstance(estimator, StackingClassifier):
        given = estimator.final_estimator
        return [
            found("final_estimator_", LogisticRegression() if given is None else given)
        ]
    if _is_search(estimator):
        if fitted and hasattr(estimator, "best_estimator_"):
            return [estimator.best_estimator_]
        return list(_candidates(estimator))
    return None


def _is_name(step):
    """Whether a step is a word in the place of an estimator, such as "drop"."""
    return step is None or isinstance(step, str)


def _objection(estimator, fitted):
    """Why the log ratio cannot be read off an estimator, with the remedy; or None."""
    if isinstance(estimator, type):
        return "an instance is needed instead of a class"
    if isinstance(estimator, FrozenEstimator):
        return _objection(estimator.estimator, True)
    if isinstance(estimator, VotingClassifier) and estimator.voting != "soft":
        return (
            "voting='hard' counts votes, which are no ratio: set voting='soft', over "
            "ratio estimators such as ClassifierRatio(...)"
        )
    if _is_search(estimator) and not getattr(estimator, "refit", True):
        return "a search with refit=False keeps no estimator: set refit=True"
    if isinstance(estimator, CalibratedClassifierCV):
        inner = LinearSVC() if estimator.estimator is None else estimator.estimator
        kind = "isotonic" if estimator.method == "isotonic" else "sigmoid"
        return (
            "CalibratedClassifierCV calibrates for the prior of the sample sizes, "
            f"whatever it is given: use ClassifierRatio({inner!r}, "
            f"calibration={kind!r})"
        )
    parts = _parts(estimator, fitted)
    if parts is not None:
        found = (_objection(each, fitted) for each in parts)
        return next((each for each in found if each), None)
    return _objection_to_learner(estimator, fitted)


def _objection_to_learner(estimator, fitted):
    wanted = ["decision_function"] if fitted else ["fit", "decision_function"]
    if hasattr(estimator, "predict_ratio"):
        missing = [method for method in wanted if not hasattr(estimator, method)]
        if missing:
            return f"{estimator!r} has no {missing[0]}, which gives the log ratio"
        return None
    if _is_name(estimator) or not hasattr(estimator, "fit"):
        return (
            f"{estimator!r} is no estimator with predict_ratio; ClassifierRatio(...) "
            "makes one of any classifier"
        )
    if not is_classifier(estimator):
        return (
            f"{estimator!r} has no predict_ratio and is no classifier either, of which "
            "ClassifierRatio(...) would make one"
        )
    # Scores that are no log odds have to be calibrated.
    calibration = (
        "" if hasattr(estimator, "predict_proba") else ", calibration='sigmoid'"
    )
    return (
        f"{estimator!r} has no predict_ratio, it is a plain classifier, whose log odds "
        "contain the sizes of the samples if they are log odds at all. Put "
        f"ClassifierRatio({estimator!r}{calibration}) in its place"
    )


def is_ratio_estimator(estimator: object) -> bool:
    """Whether the log ratio can be read off an estimator once it is fitted.

    Parameters
    ----------
    estimator : object
        Fitted or not.

    Returns
    -------
    is_ratio : bool
        True for an estimator with ``predict_ratio``, and for what is made of such only:
        see :func:`check_is_ratio`.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skdre import KMMRatio
    >>> from skdre.base import is_ratio_estimator
    >>> is_ratio_estimator(make_pipeline(StandardScaler(), KMMRatio()))
    True
    >>> is_ratio_estimator(LogisticRegression())
    False
    """
    return _objection(estimator, False) is None


def check_is_ratio(
    estimator: object, name: str = "estimator", *, fitted: bool = False
) -> None:
    """Refuse an estimator that carries no density ratio.

    The mark of one is the method ``predict_ratio``, which
    :class:`skdre.DensityRatioMixin` brings, and which an estimator of another package
    defines if its ``decision_function`` is the log ratio under equal priors. Looked
    through are pipelines (last step), searches (all that they try),
    :class:`~sklearn.frozen.FrozenEstimator`,
    :class:`~sklearn.ensemble.BaggingClassifier`, soft
    :class:`~sklearn.ensemble.VotingClassifier` (all members) and
    :class:`~sklearn.ensemble.StackingClassifier` (the final estimator).

    Parameters
    ----------
    estimator : object
        Fitted or not.
    name : str, default="estimator"
        Of the argument that it was passed as, for the message.
    fitted : bool, default=False
        Whether the estimator is to be used as it is fitted. A search then is what it
        has found, not what it may try.

    Raises
    ------
    InvalidParameterError
        A ValueError and a TypeError, which says what to pass instead.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skdre import ClassifierRatio
    >>> from skdre.base import check_is_ratio
    >>> check_is_ratio(ClassifierRatio(SVC(), calibration="sigmoid"))
    >>> try:
    ...     check_is_ratio(SVC(), "ratio")
    ... except ValueError as error:
    ...     print(str(error).partition(". ")[2])
    Put ClassifierRatio(SVC(), calibration='sigmoid') in its place.
    """
    if objection := _objection(estimator, fitted):
        shown = estimator.__name__ if isinstance(estimator, type) else repr(estimator)
        raise InvalidParameterError(
            f"{name} must be a density-ratio estimator, or a pipeline, search or "
            f"ensemble of such, got {shown}: {objection}."
        )


def predict_log_ratio(estimator: Any, X: Rows) -> Floats:
    """Log ratio of a fitted estimator, also inside scikit-learn's wrappers.

    Parameters
    ----------
    estimator : ratio estimator
        Fitted: any estimator of the contract, or a pipeline, a search, a
        :class:`~sklearn.frozen.FrozenEstimator`, a
        :class:`~sklearn.ensemble.BaggingClassifier`, a soft
        :class:`~sklearn.ensemble.VotingClassifier` of such, or a
        :class:`~sklearn.ensemble.StackingClassifier` whose final estimator is one.
    X : array-like or DataFrame of shape (n_samples, n_features)
        Rows.

    Returns
    -------
    log_ratio : ndarray of shape (n_samples,)
        Natural logarithm of p(x) / q(x): the estimator's ``decision_function``, or the
        log odds of its ``predict_proba`` where soft voting leaves no other.

    Raises
    ------
    ValueError, TypeError
        If the estimator is no ratio estimator (an ``InvalidParameterError``, which is
        both); a plain classifier becomes one by :class:`skdre.ClassifierRatio`.
    NotFittedError
        If it is not fitted.

    See Also
    --------
    predict_ratio : The ratio itself.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skdre import GaussianRatio, pool, predict_log_ratio
    >>> rng = np.random.default_rng(0)
    >>> p, q = rng.normal(1, 1, (500, 1)), rng.normal(0, 1, (500, 1))
    >>> search = GridSearchCV(GaussianRatio(), {"shrink": [True, False]})
    >>> search = search.fit(*pool(numerator=p, denominator=q))
    >>> truth = [0.0, 2.0]
    >>> bool(np.allclose(predict_log_ratio(search, [[0.5], [2.5]]), truth, atol=0.7))
    True
    """
    check_is_ratio(estimator, fitted=True)
    check_is_fitted(estimator)
    if hasattr(estimator, "decision_function"):
        found = estimator.decision_function(X)
        if is_collection(found) or not place_of(found).is_host:
            return found
        return np.asarray(found, dtype=np.float64)
    # Each column is a mean of probabilities that are exact near 0, so the log odds are
    # exact far beyond where one of the columns is 1.
    probability = np.asarray(estimator.predict_proba(X), dtype=np.float64)
    log_q, log_p = np.log(np.maximum(probability, np.finfo(np.float64).tiny)).T
    return log_p - log_q


def _with_interval(estimator):
    """What has the intervals, and the fitted steps before it; None without any."""
    steps = []
    while not hasattr(estimator, "ratio_interval"):
        if isinstance(estimator, Pipeline):
            steps.append(estimator[:-1])
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        else:
            return None
    return estimator, [each for each in steps if len(each)]


def has_ratio_interval(estimator: object) -> bool:
    """Whether a fitted ratio estimator has intervals of the ratio.

    Parameters
    ----------
    estimator : object
        Fitted.

    Returns
    -------
    has_interval : bool
        True for what has a method ``ratio_interval``, and for a pipeline, search or
        frozen estimator of such.

    Examples
    --------
    >>> from skdre import GaussianRatio, JackknifeRatio
    >>> from skdre.base import has_ratio_interval
    >>> has_ratio_interval(JackknifeRatio(GaussianRatio()))
    True
    >>> has_ratio_interval(GaussianRatio())
    False
    """
    return _with_interval(estimator) is not None


def predict_ratio_interval(
    estimator: Any, X: Rows, level: float = 0.9
) -> tuple[Floats, Floats]:
    """Intervals of the ratio, also inside scikit-learn's wrappers.

    Parameters
    ----------
    estimator : ratio estimator
        Fitted: :class:`skdre.JackknifeRatio`, :class:`skdre.AutoRatio` or another with
        a method ``ratio_interval``, or a pipeline, search or
        :class:`~sklearn.frozen.FrozenEstimator` of such.
    X : array-like or DataFrame of shape (n_samples, n_features)
        Rows.
    level : float, default=0.9
        Probability with which an interval is to hold the ratio, between 0 and 1.

    Returns
    -------
    lower, upper : ndarray of shape (n_samples,)
        Of the ratio; 0 and infinity where an end is open.

    Raises
    ------
    InvalidParameterError
        A ValueError and a TypeError, if the estimator has no intervals.
    ValueError
        If `level` is not between 0 and 1.
    NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skdre import GaussianRatio, JackknifeRatio
    >>> from skdre.base import predict_ratio_interval
    >>> from skdre.datasets import make_warped_shift
    >>> X, y = make_warped_shift(100, 2, random_state=0).pool()
    >>> ratio = make_pipeline(StandardScaler(), JackknifeRatio(GaussianRatio()))
    >>> lower, upper = predict_ratio_interval(ratio.fit(X, y), X)
    >>> bool((lower < upper).all())
    True
    """
    found = _with_interval(estimator)
    if found is None:
        raise InvalidParameterError(
            f"{estimator!r} has no ratio_interval: take skdre.AutoRatio, or put "
            "skdre.JackknifeRatio(...) around a ratio estimator before it is fitted."
        )
    check_is_fitted(estimator)
    estimator, steps = found
    for each in steps:
        X = each.transform(X)
    return estimator.ratio_interval(X, level=level)
