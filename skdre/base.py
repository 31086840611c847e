"""The contract of every density-ratio estimator.

A density-ratio estimator is a probabilistic classifier of the domain a row comes from
(Bayes' rule under equal priors, r = c / (1 - c)), so it is a scikit-learn binary
classifier whose ``decision_function`` is the log ratio. :class:`DensityRatioMixin`
derives the rest of the interface from it; :func:`pool` builds ``(X, y)`` from two
samples, and :func:`split_samples` takes a labelled pool apart again.
"""

from functools import partial
from inspect import isfunction
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skdre._compat import check_sample_weight
from skdre._core.arrays import (
    ArrayAPIMixin,
    check_same_place,
    place_of,
    to_host,
    to_numpy,
)
from skdre._core.atomic import AtomicFitMixin, atomic
from skdre._core.chunk_parts import WeightedSums, some_rows, summed_losses
from skdre._core.chunks import is_collection, on_blocks, over_chunks
from skdre._core.columns import validate_rows
from skdre._core.docs import fill_class
from skdre._core.domains import (
    check_lengths,
    check_pool,
    encode_domains,
    split_samples,
)
from skdre._core.pool import pool
from skdre._core.pool import pool_rows as pool_rows
from skdre._core.ratio_estimators import (
    check_is_ratio,
    has_ratio_interval,
    is_ratio_estimator,
    predict_log_ratio,
    predict_ratio_interval,
)
from skdre._core.samples import LabelledRows, TwoSamples, distinct_rows
from skdre._core.types import Floats, Rows, Values
from skdre._core.values import refuse_masked
from skdre.metrics import ratio_log_loss

__all__ = [
    "ArrayAPIMixin",
    "AtomicFitMixin",
    "DensityRatioMixin",
    "LabelledRows",
    "TwoSamples",
    "atomic",
    "check_is_ratio",
    "check_pool",
    "distinct_rows",
    "encode_domains",
    "has_ratio_interval",
    "is_ratio_estimator",
    "log_of_ratio",
    "pool",
    "predict_log_ratio",
    "predict_ratio",
    "predict_ratio_interval",
    "split_samples",
]

# exp of anything above overflows to infinity in float64.
_LOG_MAX = np.log(np.finfo(np.float64).max)


def exp_log_ratio(log_ratio: Values) -> Floats:
    """Exponential that saturates at the largest float instead of overflowing.

    Parameters
    ----------
    log_ratio : array-like of any shape
        Log ratios, in nats.

    Returns
    -------
    ratio : ndarray of the shape of `log_ratio`
        Finite.

    Examples
    --------
    >>> from skdre.base import exp_log_ratio
    >>> exp_log_ratio([0.0, 1000.0])
    array([1.00000000e+000, 1.79769313e+308])
    """
    place = place_of(log_ratio)
    if place.is_host:
        return np.exp(np.minimum(log_ratio, _LOG_MAX))
    with np.errstate(over="ignore"):
        ratio = place.xp.exp(place.put(log_ratio))
    return place.xp.clip(ratio, None, float(place.xp.finfo(place.dtype).max))


def predict_ratio(estimator: Any, X: Rows) -> Floats:
    """Density ratio of a fitted estimator, also inside scikit-learn's wrappers.

    scikit-learn's pipelines and searches do not pass on the method ``predict_ratio``;
    this function works on all of them.

    Parameters
    ----------
    estimator : ratio estimator
        Fitted: see :func:`skdre.predict_log_ratio`.
    X : array-like or DataFrame of shape (n_samples, n_features)
        Rows.

    Returns
    -------
    ratio : ndarray of shape (n_samples,)
        p(x) / q(x), not negative and finite.

    Raises
    ------
    ValueError, TypeError
        If the estimator is no ratio estimator (an ``InvalidParameterError``, which is
        both); a plain classifier becomes one by :class:`skdre.ClassifierRatio`.
    NotFittedError
        If it is not fitted.

    See Also
    --------
    predict_log_ratio : Its logarithm.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skdre import KMMRatio, predict_ratio
    >>> from skdre.datasets import make_warped_shift
    >>> shift = make_warped_shift(100, 2, random_state=0)
    >>> pipeline = make_pipeline(StandardScaler(), KMMRatio())
    >>> search = GridSearchCV(pipeline, {"kmmratio__gamma": [0.1, 1.0]})
    >>> predict_ratio(search.fit(*shift.pool()), shift.denominator).shape
    (100,)
    """
    return on_blocks(exp_log_ratio, predict_log_ratio(estimator, X), np.empty(0))


# The smallest ratio, unless told otherwise, that an estimator of the ratio itself, not
# of its logarithm, predicts. Such an estimate is clipped at 0 or vanishes far away, and
# rows do not tell how far below the truth lies there.
RATIO_FLOOR = 1e-2


def log_of_ratio(ratio: Values, floor: float = RATIO_FLOOR) -> Floats:
    """Logarithm of an estimated ratio that is not below a floor.

    Parameters
    ----------
    ratio : array-like of any shape
        Estimates of a ratio, some of which may be zero.
    floor : float, default=0.01
        Smaller ratios are taken as this.

    Returns
    -------
    log_ratio : ndarray of the shape of `ratio`
        In nats, at least log(floor).

    Examples
    --------
    >>> from skdre.base import log_of_ratio
    >>> log_of_ratio([1.0, 0.0]).round(2)
    array([ 0.  , -4.61])
    >>> log_of_ratio([1.0, 0.0], 1e-4).round(2)
    array([ 0.  , -9.21])
    """
    place = place_of(ratio)
    if place.is_host:
        return np.log(np.maximum(ratio, floor))
    return place.xp.log(place.xp.clip(ratio, floor, None))


def bounded_log_ratio(
    probability: Values,
    n_numerator: float,
    n_denominator: float,
    log_prior: float = 0.0,
) -> Floats:
    """Log ratio from the probabilities of a classifier, finite at 0 and 1.

    A share of 0 among n rows is taken as 1 / (n + 1), so no ratio is above
    ``n_denominator + 1`` or below ``1 / (n_numerator + 1)``: samples of that size show
    none that are more extreme.

    Parameters
    ----------
    probability : ndarray of shape (n_samples, 2)
        Of the denominator and of the numerator.
    n_numerator, n_denominator : float
        Rows of the two samples.
    log_prior : float, default=0.0
        Log prior odds of the numerator that the probabilities contain.

    Returns
    -------
    log_ratio : ndarray of shape (n_samples,)
        In nats.

    Examples
    --------
    >>> from skdre.base import bounded_log_ratio
    >>> bounded_log_ratio([[0.5, 0.5], [0.0, 1.0]], 10, 100).round(2)
    array([0.  , 4.62])
    """
    with np.errstate(divide="ignore"):
        log_q, log_p = np.log(np.asarray(probability, dtype=np.float64)).T
    log_ratio = log_p - log_q - log_prior
    return np.clip(log_ratio, -np.log1p(n_numerator), np.log1p(n_denominator))


# Where the documentation is published.
DOCUMENTATION_URL = "https://skdre.readthedocs.io/en/stable"


class DocumentedMixin:
    """Link from the HTML representation of an estimator to its page.

    For public estimators of skdre, whose docstrings are completed by the texts that
    they share; classes of other packages that derive from them get no link.

    Examples
    --------
    >>> from skdre import KMMRatio
    >>> KMMRatio()._get_doc_link().rpartition("/")[2]
    'skdre.KMMRatio.html'
    """

    _doc_link_module = "skdre"
    _doc_link_template = (
        f"{DOCUMENTATION_URL}/generated/api/objects/skdre.{{estimator_name}}.html"
    )

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        # Another package's docstrings are its own.
        if cls.__module__.startswith("skdre."):
            fill_class(cls)


def _probabilities(log_ratio):
    place = place_of(log_ratio)
    if place.is_host:
        return np.column_stack([expit(-log_ratio), expit(log_ratio)])
    xp = place.xp
    lesser = xp.exp(-xp.abs(log_ratio))
    lesser, greater = lesser / (1 + lesser), 1 / (1 + lesser)
    is_numerator = log_ratio > 0
    columns = (lesser, greater), (greater, lesser)
    return xp.stack([xp.where(is_numerator, *each) for each in columns], axis=1)


def _log_probabilities(log_ratio):
    place = place_of(log_ratio)
    if place.is_host:
        return np.column_stack([log_expit(-log_ratio), log_expit(log_ratio)])
    xp, zero = place.xp, place.xp.zeros_like(log_ratio)
    columns = [-xp.logaddexp(zero, each) for each in (log_ratio, -log_ratio)]
    return xp.stack(columns, axis=1)


def _more_likely(log_ratio, classes):
    place = place_of(log_ratio)
    # Only NumPy has arrays of words.
    if place.is_host or classes.dtype.kind not in "biuf":
        return classes[(to_numpy(log_ratio) > 0).astype(int)]
    index = place.xp.astype(log_ratio > 0, place.xp.int64)
    return place.xp.take(place.put(classes), index)


def _domains(X, y, sample_weight, classes):
    """Which rows are the numerator's, and their weights, both checked."""
    refuse_masked(y, "y")
    labels = column_or_1d(y, warn=True)
    check_lengths(X, labels)
    if sample_weight is not None:
        refuse_masked(sample_weight, "sample_weight")
        sample_weight = check_sample_weight(
            sample_weight,
            labels,
            dtype=np.float64,
            ensure_non_negative=True,
            # Whether a sample has rows of weight is for the sums of all chunks to say.
            allow_all_zero_weights=True,
        )
    is_denominator, is_numerator = (labels == each for each in classes)
    unknown = ~(is_denominator | is_numerator)
    if unknown.any():
        raise ValueError(
            f"y holds the label {labels[unknown][0]!r}, which is not one of the two "
            f"classes seen in fit: {classes.tolist()}."
        )
    return is_numerator, sample_weight


def _losses_of_rows(log_ratio, y, sample_weight, classes):
    """Sums of the log losses of rows of either class, the denominator's first."""
    is_numerator, weight = _domains(log_ratio, y, sample_weight, classes)
    weight = np.ones(len(log_ratio)) if weight is None else weight
    sums = []
    for domain, sign in ((~is_numerator, 1), (is_numerator, -1)):
        rows = domain & (weight > 0)
        loss = np.logaddexp(0.0, sign * log_ratio[rows])
        total = WeightedSums(weight[rows].sum(), weight[rows] @ loss)
        sums.append(total if rows.any() else None)
    return tuple(sums)


# What estimators predict themselves, row by row.
_OWN = ("decision_function", "predict_ratio", "predict_relative_ratio")


class DensityRatioMixin(AtomicFitMixin, DocumentedMixin, ClassifierMixin):
    """Everything a density-ratio estimator offers, from its ``decision_function``.

    A subclass of this mixin and :class:`sklearn.base.BaseEstimator` defines

    * ``fit(X, y, sample_weight=None)``, which calls :func:`split_samples` and sets
      ``classes_``: the greater label, ``classes_[1]``, is the numerator's;
    * ``decision_function(X)``: the natural logarithm of the ratio, finite everywhere,
      from attributes that the fit has set.

    A ``fit`` that raises, at whatever point, leaves the estimator as it was: the mixin
    wraps it. It has to replace fitted objects, not change them in place.

    See Also
    --------
    skdre.utils.estimator_checks.check_ratio_estimator : Holds an estimator to the
        contract.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from skdre.base import DensityRatioMixin, pool, split_samples
    >>> class MeanShiftRatio(DensityRatioMixin, BaseEstimator):
    ...     '''Ratio of two Gaussians of identity covariance.'''
    ...     def fit(self, X, y, sample_weight=None):
    ...         samples = split_samples(self, X, y, sample_weight)
    ...         m_p = np.average(samples.numerator, 0, samples.numerator_weight)
    ...         m_q = np.average(samples.denominator, 0, samples.denominator_weight)
    ...         self.classes_ = samples.classes
    ...         self.coef_ = m_p - m_q
    ...         self.intercept_ = (m_q @ m_q - m_p @ m_p) / 2
    ...         return self
    ...     def decision_function(self, X):
    ...         return self._validate_rows(X) @ self.coef_ + self.intercept_
    >>> X, y = pool(numerator=[[1.0], [3.0]], denominator=[[0.0], [2.0]])
    >>> MeanShiftRatio().fit(X, y).predict_ratio([[1.5]])
    array([1.])
    """

    # Whether `fit` takes Dask collections itself; others get some of their rows.
    _fits_collections = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name in _OWN:
            if isfunction(method := vars(cls).get(name)):
                setattr(cls, name, over_chunks(method))

    def _rows_to_fit(self, method, args, params):
        """Arguments of a fit, some of the rows where a collection is too much."""
        X = args[0] if args else params.get("X")
        if self._fits_collections or not is_collection(X):
            return args, params
        return (), some_rows(self, method, args, params)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _validate_rows(self, X, **check_params):
        """Rows to predict at, checked against the rows seen in fit."""
        check_is_fitted(self)
        check_same_place(self, X, "decision_function")
        return validate_rows(self, X, **check_params)

    def _log_ratio_for(self, method, X):
        """Log ratios that a method predicts with."""
        if hasattr(self, "_reference_array"):
            check_is_fitted(self)
            check_same_place(self, X, method)
        return self.decision_function(X)

    def predict_ratio(self, X: Rows) -> Floats:
        """Density ratio p(x) / q(x) at the rows of X.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        ratio : ndarray of shape (n_samples,)
            exp of ``decision_function``, not negative and finite: where the
            exponential would overflow, the largest float.
        """
        log_ratio = self._log_ratio_for("predict_ratio", X)
        return on_blocks(exp_log_ratio, log_ratio, np.empty(0))

    def predict_proba(self, X: Rows) -> Floats:
        """Probability of each domain under equal priors.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        probability : ndarray of shape (n_samples, 2)
            Columns 1 / (1 + r) and r / (1 + r), in the order of ``classes_``.
        """
        log_ratio = self._log_ratio_for("predict_proba", X)
        return on_blocks(_probabilities, log_ratio, np.empty((0, 2)))

    def predict_log_proba(self, X: Rows) -> Floats:
        """Logarithm of :meth:`predict_proba`, without loss of precision.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_probability : ndarray of shape (n_samples, 2)
            In nats, in the order of ``classes_``.
        """
        log_ratio = self._log_ratio_for("predict_log_proba", X)
        return on_blocks(_log_probabilities, log_ratio, np.empty((0, 2)))

    def predict(self, X: Rows) -> npt.NDArray[Any]:
        """Domain that each row more likely comes from, under equal priors.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            ``classes_[1]``, the numerator's label, where r > 1.
        """
        # Before classes_ is looked up, which an unfitted estimator does not have.
        log_ratio = self._log_ratio_for("predict", X)
        more_likely = partial(_more_likely, classes=self.classes_)
        return on_blocks(more_likely, log_ratio, self.classes_[:0])

    def score(self, X: Rows, y: Values, sample_weight: Values | None = None) -> float:
        """Minus the class-balanced log loss of the predicted domains, in nats.

        One definition for every estimator, so that unlike methods can be compared in
        one search. See :func:`skdre.metrics.ratio_log_loss`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both samples.
        y : array-like of shape (n_samples,)
            Domain labels, among ``classes_``.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, counted inside each domain.

        Returns
        -------
        score : float
            At most 0, higher is better; ``-log(2)`` for an uninformative ratio.

        Raises
        ------
        ValueError
            If y holds a label unseen in fit, or only one of the two, or a weight is
            negative.
        """
        if is_collection(X):
            return self._score_of_chunks(X, y, sample_weight)
        log_ratio = self._log_ratio_for("score", X)
        is_numerator, sample_weight = _domains(
            X, to_host(y), to_host(sample_weight), self.classes_
        )
        return -ratio_log_loss(is_numerator, log_ratio, sample_weight=sample_weight)

    def _score_of_chunks(self, X, y, sample_weight):
        log_ratio = self._log_ratio_for("score", X)
        loss = partial(_losses_of_rows, classes=self.classes_)
        losses = summed_losses(X, log_ratio, y, sample_weight, loss)
        for label, sums in zip(self.classes_.tolist(), losses, strict=True):
            if sums is None:
                raise ValueError(
                    "A score needs rows of positive weight from both classes, but "
                    f"there are none of class {label!r}."
                )
        return -float(np.mean([each.total / each.weight for each in losses]))
