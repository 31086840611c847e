"""ImportanceWeighted: any classifier or regressor under covariate shift."""

import warnings
from numbers import Real
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from skdre._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skdre._core.chunks import is_collection, note_columns
from skdre._core.inner import fit_weighted
from skdre._core.tasks import inner_fit
from skdre._core.types import Floats, Rows, Values
from skdre.base import (
    AtomicFitMixin,
    check_is_ratio,
    pool_rows,
    predict_log_ratio,
    predict_ratio_interval,
)
from skdre.importance._lazy import fit_lazily
from skdre.importance._meta import TargetRowsMixin
from skdre.importance._rows import TargetRows, named_target
from skdre.importance._score import importance_weighted_score
from skdre.weighting import effective_sample_size, importance_weights

__all__ = ["ImportanceWeighted"]

# Below this share of the source rows a fit rests on a handful of them.
_LOW_EFFECTIVE_SHARE = 0.05


def _default_ratio():
    # The only concrete estimator this module knows, loaded when nothing is named.
    from skdre.kernel import KMMRatio

    return KMMRatio()


def _check_effective_sample_size(size, n_source):
    # Of a few rows a single one is more than that share.
    if size < max(_LOW_EFFECTIVE_SHARE * n_source, min(2, n_source / 2)):
        warnings.warn(
            f"The effective sample size of the importance weights is {size:.1f} of "
            f"{n_source} source rows: a few rows decide the fit. Source and target may "
            "hardly overlap, or the ratio overfits. Lower flattening (say to 0.5), set "
            "clip, or regularise the ratio more.",
            UserWarning,
            stacklevel=7,
        )


def _nearest_to_one(log_ratio, lower, upper):
    """Log ratios moved towards 0 as far as their intervals reach."""
    with np.errstate(divide="ignore"):
        lower, upper = np.log(lower), np.log(upper)
    return np.where(log_ratio > 0, np.maximum(lower, 0), np.minimum(upper, 0))


def fit_parts(owner, root, data, labelled, target_rows, *, apart, normalize=True):
    """Fit the ratio target/source, and the inner estimator with its weights.

    `owner` has the parameters of ImportanceWeighted; `labelled` are the source's rows,
    labels and weights, `target_rows` the target's rows and weights, and `apart` says
    whether these came apart. Returns the ratio, or None without target rows, the
    weights, their effective size and the estimator.
    """
    source, labels, weight = labelled
    target, target_weight = target_rows
    ratio, clip = None, owner.clip
    log_ratio: Floats = np.zeros(len(labels))
    if target is not None:
        ratio = _default_ratio() if owner.ratio is None else clone(owner.ratio)
        with (
            named_target(target if apart else None),
            inner_fit(root, owner, ratio, "fit-ratio", **data),
        ):
            ratio = fit_weighted(
                ratio,
                *pool_rows(target, source),
                None if weight is None else np.concatenate([target_weight, weight]),
                "ratio",
            )
        log_ratio = predict_log_ratio(ratio, source)
        if clip == "interval":
            log_ratio = _nearest_to_one(
                log_ratio, *predict_ratio_interval(ratio, source)
            )
    weights = importance_weights(
        log_ratio,
        sample_weight=weight,
        flattening=owner.flattening,
        clip=None if clip == "interval" else clip,
        normalize=normalize,
    )
    n_source = len(labels) if weight is None else np.count_nonzero(weight)
    effective_size = effective_sample_size(weights)
    _check_effective_sample_size(effective_size, n_source)
    estimator = clone(owner.estimator)
    with inner_fit(root, owner, estimator, "fit-estimator", **data):
        estimator = fit_weighted(estimator, source, labels, weights, "estimator")
    return ratio, weights, effective_size, estimator


class ImportanceWeighted(
    AtomicFitMixin,
    TargetRowsMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    r"""Fit a classifier or regressor for the target with labels of the source.

    Under covariate shift source and target share :math:`p(y \mid x)` but not
    :math:`p(x)`. Fitting on source rows weighted by the density ratio target/source
    minimises an estimate of the target's risk. This meta-estimator fits the ratio, then
    the inner estimator with the weights as its ``sample_weight``. It is a classifier
    or a regressor as its inner estimator is.

    Parameters
    ----------
    estimator : estimator
        Classifier or regressor whose ``fit`` takes ``sample_weight``. A
        :class:`~sklearn.pipeline.Pipeline` gets the weights in its last step, a search
        in its estimator; under metadata routing
        (``sklearn.set_config(enable_metadata_routing=True)``) the parts of a pipeline
        or search get them that request them.
    ratio : ratio estimator, default=None
        Any estimator of the contract (:class:`skdre.DensityRatioMixin`), or a pipeline
        that ends in one; the target's rows are the numerator. None is
        :class:`skdre.KMMRatio` with its defaults. A ratio that is fitted already
        goes in as :class:`sklearn.frozen.FrozenEstimator`.
    flattening : float, default=1.0
        Exponent of the ratio: 1 aims at the target's risk, 0 ignores the shift,
        between them bias is traded for variance.
    clip : float or "interval", default=None
        Largest value of the flattened ratio, before it is scaled. "interval", for a
        ratio that has intervals (:class:`skdre.JackknifeRatio`,
        :class:`skdre.AutoRatio`), takes of each row's 90 % interval the ratio that is
        nearest to 1: the weights say no more than what is known, but weighted means
        are biased towards the unweighted ones, and were worse so than without a clip
        on all problems tried.
    normalize : bool, default=True
        Scale the weights to mean 1 over the source rows, so that the inner estimator's
        penalty (``C``, ``alpha``) weighs as much as without weights.

    Attributes
    ----------
    estimator_ : estimator
        The fitted inner estimator.
    ratio_ : estimator or None
        The fitted ratio target/source; None when there were no target rows.
    sample_weight_ : ndarray of shape (n_source_samples,)
        The weights that the inner estimator was fitted with, in the order of the
        source rows.
    effective_sample_size_ : float
        Kish's effective sample size of `sample_weight_`.
    classes_ : ndarray of shape (n_classes,)
        Class labels, for a classifier.
    %(n_features_in_)
    %(feature_names_in_)

    Warns
    -----
    UserWarning
        If the effective sample size is below 5 % of the source rows, or below 2 rows;
        or if there are no target rows: then every weight is 1.

    See Also
    --------
    importance_weighted_score : Importance-weighted validation of any estimator.
    importance_weighted_scorer : The same as ``scoring=`` of a search.
    skdre.SourceFold : Folds for target rows in X.
    skdre.WeightedConformalRegressor : Intervals around the predictions.
    skdre.weighting : The weights, step by step.

    Notes
    -----
    **Two ways to give the target's rows.** ``fit(X, y, X_target=...)`` takes them
    apart; every row of X is then a source row and every value of y a label. Without
    `X_target` they stand in X and are marked in y, as in scikit-learn's
    semi-supervised estimators: -1 for classes (``"-1"`` where labels are strings), NaN
    for regression. So -1 cannot be a class of its own then; for labels -1 and +1 use
    `X_target`.

    **In cross-validation** put the target's rows into X, and pass
    ``cv=SourceFold(5)``, :class:`skdre.SourceFold`: its test folds hold
    source rows alone, and all target rows are in every training fold. Other splitters
    deal target rows into the test folds. :meth:`score` and
    :func:`importance_weighted_scorer` leave them out there; a scorer of scikit-learn's,
    as ``scoring="accuracy"``, takes -1 for a label and each of them for an error,
    which no estimator can notice. Or keep the target's rows apart and give
    ``X_target=TargetRows(X_target)`` (:class:`skdre.importance.TargetRows`) to the
    search, in ``params`` of :func:`~sklearn.model_selection.cross_val_score`: it is
    then used whole in every fold, with metadata routing or without. A plain array that
    happens to be as long as X is taken for one value a row, like ``sample_weight``, and
    scikit-learn cuts it into folds with X: every fit then sees part of the target.

    **In a pipeline** whose earlier steps transform X, target rows in X are transformed
    with it. `X_target` is not, unless metadata routing is on and the pipeline has
    ``transform_input=["X_target"]``.

    **Dask collections.** X, y and `X_target` may be Dask arrays or data frames where
    `estimator` is for these, of xgboost.dask, lightgbm.dask or dask_ml. Then
    `sample_weight_` is a lazy array.

    **Choosing parameters.** :meth:`score` weights a fold by that fold's own ratio. This
    is right for choosing among inner estimators, flattenings and clips. When
    parameters of the ratio are searched too, every candidate is judged by its own
    weights; choose them by the ratio's own ``score``, or judge all candidates by one
    ratio: ``scoring=importance_weighted_scorer(ratio)``.

    References
    ----------
    H. Shimodaira, "Improving predictive inference under covariate shift by weighting
    the log-likelihood function", J. Statist. Plann. Inference 90, 2000.

    M. Sugiyama, M. Krauledat, K.-R. Müller, "Covariate shift adaptation by importance
    weighted cross validation", JMLR 8, 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skdre import ImportanceWeighted, KMMRatio
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(0, 1, (200, 1)), rng.normal(1, 0.5, (100, 1))
    >>> y = X.ravel() ** 2
    >>> model = ImportanceWeighted(LinearRegression(), KMMRatio())
    >>> model.fit(X, y, X_target=X_target).sample_weight_.shape
    (200,)

    A line fitted where the target lives has about the slope of the parabola there, 2:

    >>> slope = LinearRegression().fit(X, y).coef_[0]
    >>> bool(abs(model.estimator_.coef_[0] - 2) < abs(slope - 2) / 2)
    True
    """

    _adapter_name = "ratio"
    _without_target = "every source row gets the importance weight 1"
    _needs_weights = True

    _parameter_constraints = {  # noqa: RUF012
        "estimator": [HasMethods(["fit", "predict"])],
        "ratio": [HasMethods(["fit"]), None],
        "flattening": [Interval(Real, 0, None, closed="left")],
        "clip": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"interval"}),
            None,
        ],
        "normalize": ["boolean"],
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        ratio: BaseEstimator | None = None,
        *,
        flattening: float = 1.0,
        clip: float | str | None = None,
        normalize: bool = True,
    ) -> None:
        self.estimator = estimator
        self.ratio = ratio
        self.flattening = flattening
        self.clip = clip
        self.normalize = normalize

    @with_callbacks
    # The parts are validated when they are fitted.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Rows,
        y: Values,
        sample_weight: Values | None = None,
        *,
        X_target: Rows | TargetRows | None = None,
    ) -> Self:
        """Fit the ratio target/source, then the inner estimator on the source rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Source rows, and target rows where `y` marks them.
        y : array-like of shape (n_samples,)
            Labels or values of the source rows. Without `X_target`, -1 (classes) or NaN
            (regression) marks a target row.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows of X, counted as repetition: they weight the samples in
            the ratio's fit, and multiply the source rows' importance weights.
        X_target : array-like, DataFrame or TargetRows of shape \
                (n_target_samples, n_features), default=None
            Target rows; then all rows of X are source rows. In a search or a
            cross-validation as :class:`skdre.importance.TargetRows`, which
            scikit-learn does not cut into folds.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If `clip` is "interval" and the ratio has no intervals, if the inner
            estimator cannot be weighted or is neither classifier nor
            regressor, if target rows come both ways, or if -1 marks rows but leaves
            one class. What the rows may hold, the ratio and the inner estimator say.
        TypeError
            If only one of X and X_target is sparse, or a DataFrame.
        """
        if self.ratio is not None:
            check_is_ratio(self.ratio, "ratio")
        if is_collection(X):
            return self._fit_lazily(X, y, sample_weight, X_target)
        data = {"X": X, "y": y}
        source, labels, weight, target, target_weight = self._split_rows(
            X, y, sample_weight, X_target
        )
        root = self._init_callback_context(max_subtasks=2)
        root.call_on_fit_task_begin(estimator=self, **data)
        ratio, weights, effective_size, estimator = fit_parts(
            self,
            root,
            data,
            (source, labels, weight),
            (target, target_weight),
            apart=X_target is not None,
            normalize=self.normalize,
        )

        # Nothing is set before everything is fitted: a failed fit changes nothing.
        validate_data(self, source, skip_check_array=True)
        self.ratio_ = ratio
        self.estimator_ = estimator
        self.sample_weight_ = weights
        self.effective_sample_size_ = effective_size
        if hasattr(estimator, "classes_"):
            self.classes_ = estimator.classes_
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    def _fit_lazily(self, X, y, sample_weight, X_target):
        ratio, estimator, weights, size, n_source = fit_lazily(
            self, _default_ratio(), X, y, sample_weight, X_target
        )
        _check_effective_sample_size(size, n_source)
        note_columns(self, X)
        self.ratio_, self.estimator_ = ratio, estimator
        self.sample_weight_, self.effective_sample_size_ = weights, size
        if hasattr(estimator, "classes_"):
            self.classes_ = estimator.classes_
        return self

    def score(self, X: Rows, y: Values, sample_weight: Values | None = None) -> float:
        """Estimate the target's accuracy or R² from labelled **source** rows.

        Unlabelled rows are left out; the others are weighted by the fitted ratio
        (without flattening or clipping), which makes this the importance-weighted
        validation of Sugiyama et al. (2007). Labelled *target* rows need no weights:
        score them by ``accuracy_score(y, model.predict(X))``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Source rows; unlabelled rows may be among them.
        y : array-like of shape (n_samples,)
            Their labels or values; -1 or NaN where unlabelled, as in :meth:`fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; they multiply the importance weights.

        Returns
        -------
        score : float
            Importance-weighted accuracy of a classifier, R² of a regressor.

        Raises
        ------
        ValueError
            If no row is labelled.
        """
        check_is_fitted(self)
        return importance_weighted_score(self, X, y, sample_weight=sample_weight)
