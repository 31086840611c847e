"""ClassifierRatio: a density ratio from any scikit-learn classifier."""

import warnings
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data

from skdre._compat import (
    CallbackSupportMixin,
    HasMethods,
    StrOptions,
    fit_context,
    safe_indexing,
)
from skdre._core.chunks import is_collection, note_columns, takes_collections
from skdre._core.columns import named_columns, refuse_times
from skdre._core.folds import held_out_weights
from skdre._core.frames import is_frame, plain_missing
from skdre._core.scales import column_scales, draw_in
from skdre._core.tasks import single_task
from skdre._core.types import CrossValidator, Floats, Rows, Values
from skdre.base import DensityRatioMixin, check_pool, distinct_rows
from skdre.classification._calibration import fit_affine, fit_isotonic
from skdre.classification._equal_priors import (
    choose_score,
    fit_classifier,
    lets_nan_through,
    takes_any_column,
    takes_nan,
)
from skdre.classification._lazy import LazyClassifier, fit_lazily

__all__ = ["ClassifierRatio"]


def _cross_fit(estimator, X, distinct, train, test, method):
    """Score the rows of positive weight `test` by a classifier fitted on `train`."""
    fitted = fit_classifier(estimator, X, replace(distinct, weight=train))
    return fitted.score(safe_indexing(X, np.flatnonzero(test)), method)


def _calibrate(kind, score, is_numerator, weight):
    if kind == "isotonic":
        return fit_isotonic(score, is_numerator, weight)
    return fit_affine(score, is_numerator, weight, offset=kind == "sigmoid")


class ClassifierRatio(
    DensityRatioMixin, MetaEstimatorMixin, CallbackSupportMixin, BaseEstimator
):
    r"""Density ratio from a classifier of the domain.

    By Bayes' rule the log odds of a probabilistic classifier that tells the numerator's
    rows from the denominator's are the log ratio plus the log prior odds. This fits
    any scikit-learn classifier so that both domains weigh the same, takes its log odds,
    and calibrates them on held-out rows if asked to.

    Parameters
    ----------
    estimator : classifier, default=None
        Any classifier with ``predict_proba`` or ``decision_function``, also at the end
        of a pipeline. None is logistic regression on standardised columns. Its
        ``class_weight``, ``class_prior`` and ``priors`` are set aside: the domains
        always weigh the same.
    calibration : {"sigmoid", "slope", "isotonic"}, default=None
        How to learn the log ratio from the classifier's score s at held-out rows:

        * "sigmoid": log r = a s + b with a >= 0 (Platt scaling);
        * "slope": log r = a s with a >= 0, for a classifier that is overconfident or
          underconfident, but right about where the ratio is 1;
        * "isotonic": any non-decreasing function, for thousands of rows;
        * None: log r = s, which must be a log odds.
    cv : int, cross-validation generator or iterable, default=5
        Folds of the calibration. With an int the folds depend on the values of the
        rows only, and a weight stands for repetition: equal rows share a fold, except
        for values of a discrete variable, whose repeats are dealt to all folds.
    n_jobs : int, default=None
        Folds to fit at the same time.

    Attributes
    ----------
    estimator_ : classifier
        The classifier, fitted on all rows with the labels 0 and 1, the numerator's.
    score_method_ : str
        Which of its methods the log ratio comes from.
    log_prior_odds_ : float
        Log prior odds that are subtracted from its log odds; 0 where weights or
        parameters make the domains equal.
    bounds_ : ndarray of shape (2, n_features_in_)
        What extreme values of each column are drawn in to; infinite without any.
        None unless `estimator` is None, for others get the rows as they are.
    calibrator_ : object or None
        The function from score to log ratio; with the attributes ``slope`` and
        ``offset``, except for "isotonic". None without calibration.
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    Warns
    -----
    UserWarning
        If the classifier separates the two samples without error, at the held-out rows
        if it is calibrated, else at the rows it was fitted on. If a sample has too few
        rows to hold any out, so that there is no calibration.

    See Also
    --------
    sklearn.calibration.CalibratedClassifierCV : Calibration for the prior of the
        training rows.

    Notes
    -----
    **Which score.** `decision_function` is taken where its logistic function agrees
    with `predict_proba` at the training rows (LogisticRegression, discriminant
    analysis, gradient boosting): it does not saturate. Where it does not agree (SVC),
    `predict_proba` is taken; where there is nothing else (LinearSVC, RidgeClassifier),
    a calibration is needed. A calibration always learns from `decision_function` where
    there is one.

    **Probabilities of 0 and 1**, as trees, forests and neighbours give them, are
    bounded: a share of 0 among n rows is taken as 1 / (n + 1), so that the ratio lies
    between 1 / (n_numerator + 1) and n_denominator + 1.

    **Weights.** A row's weight is multiplied by :math:`2 n_{other} / (n_p + n_q)`,
    with the weight of the other domain, so that a penalty is held against the effective
    size of the two samples. A pipeline gets weights in its last step. A classifier
    without ``sample_weight`` gets rows as often as whole weights say.

    **Data frames** reach `estimator` as they are, with their categorical columns;
    anything else as an array of float64. Only nullable columns of pandas that hold
    missing values become floats, or objects, with NaN, for scikit-learn's transformers
    do not take pandas.NA. Missing values pass where `estimator` may take them, dates
    and other objects where it begins with a step that may make numbers of them.

    **Dask collections.** A classifier of xgboost.dask, lightgbm.dask or dask_ml is
    fitted on them as they are, with the domains made equal by weights or, where it
    takes none, by its log odds; others on rows drawn at random. Predictions at a
    collection are lazy.

    **Good classifiers to know.** ``LinearDiscriminantAnalysis()`` and
    ``QuadraticDiscriminantAnalysis()`` are the Gaussian plug-in, exact as n grows when
    both samples are Gaussian, with one covariance or with two; nothing more flexible
    comes near on such data. ``HistGradientBoostingClassifier(
    categorical_features="from_dtype")`` takes mixed and categorical columns and missing
    values. "Which estimator to take" in the documentation compares them.

    References
    ----------
    M. Sugiyama, T. Suzuki, T. Kanamori, "Density Ratio Estimation in Machine
    Learning", Cambridge University Press, 2012, chapter 4.

    J. Qin, "Inferences for case-control and semiparametric two-sample density ratio
    models", Biometrika 85, 1998.

    Examples
    --------
    >>> from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
    >>> from skdre import ClassifierRatio
    >>> from skdre.datasets import make_warped_shift
    >>> from skdre.metrics import log_ratio_mse
    >>> shift = make_warped_shift((2000, 500), 3, random_state=0)
    >>> X, y = shift.pool()
    >>> ratio = ClassifierRatio(QuadraticDiscriminantAnalysis()).fit(X, y)
    >>> bool(log_ratio_mse(shift.log_ratio(X), ratio.decision_function(X)) < 0.05)
    True
    """

    _parameter_constraints = {  # noqa: RUF012
        "estimator": [
            HasMethods(["fit", "predict_proba"]),
            HasMethods(["fit", "decision_function"]),
            None,
        ],
        "calibration": [StrOptions({"sigmoid", "slope", "isotonic"}), None],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        calibration: str | None = None,
        cv: CrossValidator = 5,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.calibration = calibration
        self.cv = cv
        self.n_jobs = n_jobs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = takes_nan(self.estimator)
        return tags

    @staticmethod
    def _passes_unchanged(X, estimator):
        return estimator is not None and is_frame(X)

    @staticmethod
    def _as_inputs(X, estimator):
        """A frame as the classifier gets it."""
        if not takes_any_column(estimator):
            refuse_times(X)
        return plain_missing(X)

    def _check_params(self, X, estimator):
        return {
            "dtype": None if self._passes_unchanged(X, estimator) else np.float64,
            "ensure_all_finite": "allow-nan" if lets_nan_through(estimator) else True,
        }

    # The classifier validates its own parameters when it is fitted.
    @fit_context(prefer_skip_nested_validation=False)
    @single_task
    def fit(self, X: Rows, y: Values, sample_weight: Values | None = None) -> Self:
        """Fit the classifier, and its calibration.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows of both samples.
        %(y)
        %(sample_weight)

        Returns
        -------
        self : ClassifierRatio

        Raises
        ------
        ValueError
            If a parameter or the input is invalid, `estimator` is no classifier, has
            scores only while `calibration` is None, or takes no weights while they are
            not whole numbers.
        """
        if self.estimator is not None and not is_classifier(self.estimator):
            raise ValueError(f"estimator must be a classifier, got {self.estimator!r}.")
        if is_collection(X):
            return self._fit_lazily(X, y, sample_weight)
        check_params = self._check_params(X, self.estimator)
        rows = check_pool(self, X, y, sample_weight, **check_params)
        inputs = rows.X
        if self._passes_unchanged(X, self.estimator):
            inputs = self._as_inputs(X, self.estimator)
        distinct = distinct_rows(rows)
        inputs = safe_indexing(inputs, distinct.index)
        bounds = None
        if self.estimator is None:
            scales = column_scales(distinct.parts(inputs))
            bounds = np.stack([scales.low, scales.high])
            inputs = scales.draw_in(inputs)

        with named_columns(inputs):
            fitted = fit_classifier(self.estimator, inputs, distinct)
        method = choose_score(fitted, inputs, calibrated=self.calibration is not None)
        held_out = None
        if self.calibration is not None:
            held_out = self._held_out_scores(inputs, rows, distinct, method)
        if held_out is None:
            calibrator = None
            scores = fitted.score(inputs, method), distinct.is_numerator
        else:
            calibrator = _calibrate(self.calibration, *held_out)
            scores = held_out[:2]
        self._check_overlap(*scores, held_out=held_out is not None)

        validate_data(self, X, skip_check_array=True)
        self.classes_ = rows.classes
        self.estimator_ = fitted.estimator
        self.score_method_ = method
        self.log_prior_odds_ = fitted.log_prior
        self.bounds_ = bounds
        self.calibrator_ = calibrator
        self._fitted = fitted
        self._is_default = self.estimator is None
        return self

    @property
    def _fits_collections(self):
        return self.estimator is not None and takes_collections(self.estimator)

    @property
    def _is_lazy(self):
        return isinstance(getattr(self, "_fitted", None), LazyClassifier)

    def _fit_lazily(self, X, y, sample_weight):
        if self.calibration is not None:
            raise ValueError(
                f"calibration={self.calibration!r} needs rows in memory: on a "
                "collection take calibration=None, or a classifier whose "
                "probabilities need none."
            )
        name = type(self).__name__
        classes, fitted = fit_lazily(self.estimator, name, X, y, sample_weight)
        note_columns(self, X)
        self.classes_ = classes
        self.estimator_ = fitted.estimator
        self.score_method_ = "predict_proba"
        self.log_prior_odds_ = fitted.log_prior
        self.bounds_ = self.calibrator_ = None
        self._fitted = fitted
        self._is_default = False
        return self

    def _held_out_scores(self, inputs, rows, distinct, method):
        """Scores of held-out rows, their domains and their weights; None if too few."""
        is_numerator, weight = distinct.is_numerator, distinct.weight
        if self.cv is None or isinstance(self.cv, Integral):
            tests = held_out_weights(distinct, 5 if self.cv is None else self.cv)
            if tests is None:
                warnings.warn(
                    "One of the samples has a single row, so none can be held out: "
                    f"calibration={self.calibration!r} is left out, and the log ratio "
                    "is the classifier's own.",
                    UserWarning,
                    stacklevel=6,
                )
                return None
            folds = [(weight - test, test) for test in tests]
        else:
            folds = []
            y = rows.is_numerator.astype(int)
            for part in check_cv(self.cv, y, classifier=True).split(rows.X, y):
                folds.append([distinct.part(each, rows.sample_weight) for each in part])
        for train, _ in folds:
            present = is_numerator[train > 0]
            if present.all() or not present.any():
                raise ValueError(
                    "A training fold of cv has no rows of one of the two domains, with "
                    f"a cv of type {type(self.cv).__name__}; use an int, or a "
                    "stratified splitter."
                )
        scores = Parallel(n_jobs=self.n_jobs)(
            delayed(_cross_fit)(self.estimator, inputs, distinct, train, test, method)
            for train, test in folds
        )
        if self.estimator is None:
            # Log odds this small are the rounding error of columns without spread.
            scores = [np.where(np.abs(each) < 1e-12, 0.0, each) for each in scores]
        held = [np.flatnonzero(test) for _, test in folds]
        return (
            np.concatenate(scores),
            is_numerator[np.concatenate(held)],
            np.concatenate(
                [test[part] for (_, test), part in zip(folds, held, strict=True)]
            ),
        )

    def _check_overlap(self, score, is_numerator, *, held_out):
        if score[is_numerator].min() <= score[~is_numerator].max():
            return
        name = "logistic regression"
        if self.estimator is not None:
            name = type(self.estimator).__name__
        if held_out:
            message = (
                f"{name} separates the two samples without error, at held-out rows: "
                "they hardly overlap, and where they do not, the size of the log ratio "
                "cannot be estimated by a classifier. "
            )
        else:
            message = (
                f"{name} separates the rows it was fitted on without error. Either the "
                "two samples hardly overlap, or it is overfitted: then its log ratio "
                "at these rows is far too large; calibration='sigmoid' judges it at "
                "held-out rows, and more regularisation helps. "
            )
        warnings.warn(
            message + "For samples that hardly overlap use a model of the two "
            "densities, such as QuadraticDiscriminantAnalysis for Gaussians, or "
            "estimate the ratio over bridges between the samples: TelescopingRatio.",
            UserWarning,
            stacklevel=6,
        )

    def decision_function(self, X: Rows) -> Floats:
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, finite.

        Raises
        ------
        ValueError
            If the classifier answers NaN.
        """
        check_is_fitted(self)
        if self._is_lazy:
            note_columns(self, X, reset=False)
            return self._fitted.log_ratio(X)
        given = None if self._is_default else self.estimator_
        inputs = self._validate_rows(X, **self._check_params(X, given))
        if self._passes_unchanged(X, given):
            inputs = self._as_inputs(X, given)
        if self.bounds_ is not None:
            inputs = draw_in(inputs, *self.bounds_)
        with named_columns(inputs):
            score = self._fitted.score(inputs, self.score_method_)
        if self.calibrator_ is None:
            return score
        limit = np.finfo(np.float64).max
        return np.clip(self.calibrator_(score), -limit, limit)
