"""Importance-weighted validation: a target's score from labelled source rows."""

import inspect
from collections.abc import Callable

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import accuracy_score, get_scorer, r2_score
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_consistent_length

from skdre._compat import num_samples, safe_indexing
from skdre._core.inner import takes_any_parameter
from skdre._core.types import Rows, Values
from skdre.base import check_is_ratio, predict_log_ratio
from skdre.importance._meta import fitted_part
from skdre.importance._rows import as_rows, check_labels
from skdre.weighting import importance_weights

__all__ = [
    "importance_weighted_score",
    "importance_weighted_scorer",
    "labelled_rows",
]


def labelled_rows(estimator, X, y, sample_weight):
    """The labelled part of a validation set, for a fitted estimator."""
    check_consistent_length(X, y, sample_weight)
    classification = is_classifier(fitted_part(estimator))
    y, unlabelled = check_labels(y, classification=classification)
    if classification:
        # A class that the estimator predicts is a label like any other.
        classes = getattr(estimator, "classes_", ())
        if any(value in (-1, "-1") for value in np.ravel(classes).tolist()):
            unlabelled = np.zeros(len(y), dtype=bool)
    if unlabelled.all():
        raise ValueError(
            "y holds no labelled row, so there is nothing to score. In a "
            "cross-validation use cv=SourceFold(5), of skdre.importance, whose test "
            "folds hold source rows alone."
        )
    rows = np.flatnonzero(~unlabelled)
    X = safe_indexing(as_rows(X, "X"), rows)
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight)[rows]
    return X, y[rows], sample_weight


def _own_log_ratio(estimator, X):
    """Log ratio at the rows of X from the ratio that a fitted estimator brings."""
    if isinstance(estimator, Pipeline):
        rows = estimator[:-1].transform(X) if len(estimator.steps) > 1 else X
        return _own_log_ratio(estimator.steps[-1][1], rows)
    if hasattr(estimator, "best_estimator_"):
        return _own_log_ratio(estimator.best_estimator_, X)
    if not hasattr(estimator, "ratio_"):
        raise ValueError(
            f"ratio is needed to weight the score of {type(estimator).__name__}, which "
            "has no ratio of its own: pass a fitted ratio estimator."
        )
    if estimator.ratio_ is None:
        return np.zeros(num_samples(X))
    return predict_log_ratio(estimator.ratio_, X)


def importance_weighted_score(
    estimator: BaseEstimator,
    X: Rows,
    y: Values,
    *,
    ratio: BaseEstimator | None = None,
    scoring: str | Callable | None = None,
    sample_weight: Values | None = None,
    flattening: float = 1.0,
    clip: float | None = None,
) -> float:
    r"""Estimate a score on the target from labelled source rows.

    The rows are weighted by the density ratio target/source, so that the weighted
    mean of a loss over source rows estimates its mean over the target; no target label
    is used. Over the folds of a cross-validation this is importance-weighted
    cross-validation (IWCV), self-normalised.

    Parameters
    ----------
    estimator : estimator
        Fitted classifier or regressor.
    X : array-like or DataFrame of shape (n_samples, n_features)
        Source rows, held out from the fit. Unlabelled rows may be among them.
    y : array-like of shape (n_samples,)
        Their labels or values. Rows with -1 (where that is no class of the estimator)
        or, for a regressor, NaN are left out.
    ratio : ratio estimator, default=None
        Fitted, with the target as numerator. None takes the ratio of an
        :class:`ImportanceWeighted`, also as the last step of a pipeline or as the best
        estimator of a search.
    scoring : str or callable, default=None
        Name of a scorer, or ``scorer(estimator, X, y, sample_weight=...)``. None is
        accuracy for a classifier, R² for a regressor.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows; they multiply the importance weights.
    flattening : float, default=1.0
        Exponent of the ratio. 1 estimates the target's score without bias, also when
        the estimator was fitted with another flattening; so that can be chosen too.
    clip : float, default=None
        Largest value of the flattened ratio.

    Returns
    -------
    score : float

    Raises
    ------
    ValueError
        If there is no ratio, no labelled row, or the scorer takes no weights.

    References
    ----------
    M. Sugiyama, M. Krauledat, K.-R. Müller, "Covariate shift adaptation by importance
    weighted cross validation", JMLR 8, 2007, Eq. 8.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skdre import KMMRatio, importance_weighted_score, pool
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(0, 1, (200, 1)), rng.normal(1, 0.5, (100, 1))
    >>> y = X.ravel() ** 2
    >>> ratio = KMMRatio().fit(*pool(numerator=X_target, denominator=X))
    >>> line = LinearRegression().fit(X[:100], y[:100])
    >>> estimate = importance_weighted_score(line, X[100:], y[100:], ratio=ratio)

    The labels of the target, unknown in practice, show that it is the better guess:

    >>> truth = line.score(X_target, X_target.ravel() ** 2)
    >>> plain = line.score(X[100:], y[100:])
    >>> bool(abs(estimate - truth) < abs(plain - truth) / 5)
    True
    """
    if ratio is not None:
        check_is_ratio(ratio, "ratio", fitted=True)
    scorer = _weighted_scorer(estimator, scoring)
    rows, labels, weight = labelled_rows(estimator, X, y, sample_weight)
    if ratio is None:
        log_ratio = _own_log_ratio(estimator, rows)
    else:
        log_ratio = predict_log_ratio(ratio, rows)
    weights = importance_weights(
        log_ratio, sample_weight=weight, flattening=flattening, clip=clip
    )
    return float(scorer(estimator, rows, labels, sample_weight=weights))


def _default_score(estimator, X, y, sample_weight):
    # A scorer would ask the parameters, which may have been set since the fit.
    metric = accuracy_score if is_classifier(fitted_part(estimator)) else r2_score
    return metric(y, estimator.predict(X), sample_weight=sample_weight)


def _weighted_scorer(estimator, scoring):
    if scoring is None:
        return _default_score
    scorer = get_scorer(scoring)
    function = getattr(scorer, "_score_func", scorer)
    if not callable(function):
        raise TypeError(f"scoring must be a str, a callable or None, got {scoring!r}.")
    if "sample_weight" not in inspect.signature(
        function
    ).parameters and not takes_any_parameter(function):
        raise ValueError(
            f"scoring={scoring!r} takes no sample_weight, so it cannot be "
            "importance-weighted."
        )
    return scorer


class _ImportanceWeightedScorer:
    """The scorer that :func:`importance_weighted_scorer` makes."""

    def __init__(self, ratio, scoring, flattening, clip):
        self.ratio = ratio
        self.scoring = scoring
        self.flattening = flattening
        self.clip = clip

    def __call__(self, estimator, X, y, sample_weight=None):
        return importance_weighted_score(
            estimator, X, y, sample_weight=sample_weight, **vars(self)
        )

    def __repr__(self):
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"importance_weighted_scorer({shown})"

    def _accept_sample_weight(self):
        # scikit-learn asks its scorers this before a search with sample_weight.
        return True


def importance_weighted_scorer(
    ratio: BaseEstimator | None = None,
    *,
    scoring: str | Callable | None = None,
    flattening: float = 1.0,
    clip: float | None = None,
) -> Callable[..., float]:
    """Make a scorer for ``scoring=`` that weights source rows by a density ratio.

    Parameters
    ----------
    ratio : ratio estimator, default=None
        Fitted, with the target as numerator; one ratio judges all candidates of a
        search, and any estimator can be searched. None takes the ratio that each
        fitted :class:`ImportanceWeighted` brings, fitted on its training fold.
    scoring : str or callable, default=None
        The score to weight: a name of scikit-learn's, or ``scorer(estimator, X, y,
        sample_weight=...)``. None is accuracy for a classifier, R² for a regressor.
    flattening : float, default=1.0
        Exponent of the ratio.
    clip : float, default=None
        Largest value of the flattened ratio.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)``, see
        :func:`importance_weighted_score`.

    Notes
    -----
    `sample_weight` counts repetition. A search that is given one hands it to the scorer
    as well as to the fit, so do not pass the ratio's weights there: they would count
    twice. To fit with them use :class:`ImportanceWeighted`.

    Target rows in X, marked in y, are left out. ``cv=SourceFold(5)``,
    :class:`skdre.SourceFold`, keeps all of them in the training folds.

    Examples
    --------
    Choose the degree of a polynomial for the target, without target labels:

    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.svm import SVC
    >>> from skdre import KMMRatio, importance_weighted_scorer, pool
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(0, 1, (100, 1)), rng.normal(1, 0.5, (100, 1))
    >>> y = (X.ravel() > 1).astype(int)
    >>> ratio = KMMRatio().fit(*pool(numerator=X_target, denominator=X))
    >>> search = GridSearchCV(
    ...     SVC(), {"C": [0.1, 10]}, scoring=importance_weighted_scorer(ratio)
    ... )
    >>> search.fit(X, y).best_params_
    {'C': 10}
    """
    if ratio is not None:
        check_is_ratio(ratio, "ratio", fitted=True)
    return _ImportanceWeightedScorer(ratio, scoring, flattening, clip)
