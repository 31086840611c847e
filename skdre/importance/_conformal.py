"""WeightedConformalRegressor: intervals that cover under a covariate shift."""

import warnings
from numbers import Real
from typing import Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, is_regressor
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from skdre._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    fit_context,
    num_samples,
    safe_indexing,
    with_callbacks,
)
from skdre._core.columns import check_frame
from skdre._core.frames import is_frame
from skdre._core.rows import as_numbers, row_keys
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre.base import AtomicFitMixin, check_is_ratio, predict_log_ratio
from skdre.importance._estimator import fit_parts
from skdre.importance._meta import TargetRowsMixin
from skdre.importance._rows import TargetRows
from skdre.importance._score import importance_weighted_score
from skdre.weighting import effective_sample_size, importance_weights

__all__ = ["WeightedConformalRegressor", "weighted_quantiles"]


def weighted_quantiles(scores, log_weight, new_log_weight, level):
    """Conformal quantiles of weighted scores, one for each new row.

    Each calibration row has its weight, and the new row its own at an infinite score
    (Tibshirani et al. 2019, Eq. 7).

    Parameters
    ----------
    scores, log_weight : ndarray of shape (n_calibration,)
    new_log_weight : ndarray of shape (n_new,)
    level : float

    Returns
    -------
    quantiles : ndarray of shape (n_new,)
        Infinite where the new row's own weight leaves too little below.
    """
    order = np.argsort(scores, kind="stable")
    largest = log_weight.max()
    carried = np.cumsum(np.exp(log_weight[order] - largest))
    with np.errstate(over="ignore"):
        own = np.exp(new_log_weight - largest)
    # Equal weights make levels such as 9/10 fall on a step, to rounding.
    needed = level * (carried[-1] + own) * (1 - 1e-12)
    return np.append(scores[order], np.inf)[np.searchsorted(carried, needed)]


def _calibration_rows(X, size, random_state):
    """Mask of the rows that are held out; copies of a row stay together."""
    n_rows = num_samples(X)
    if 0 in X.shape:
        # In scikit-learn's words.
        check_array(np.zeros(X.shape))
    if issparse(X):
        keys = np.arange(n_rows)
    else:
        values = check_frame(X, allow_nan=None) if is_frame(X) else X
        keys = row_keys(as_numbers(values)[0])
    # In the order of the keys, so that the order of the rows changes nothing.
    distinct, row = np.unique(keys, return_inverse=True)
    n_distinct = len(distinct)
    n_held = max(round(size * n_distinct), 1)
    if n_held >= n_distinct:
        raise ValueError(
            f"calibration_size={size!r} leaves no row to fit the regressor on: X "
            f"holds distinct source rows: n_samples = {n_distinct}."
        )
    held = check_random_state(random_state).permutation(n_distinct)[:n_held]
    return np.isin(row, held)


class WeightedConformalRegressor(
    AtomicFitMixin,
    TargetRowsMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    r"""Prediction intervals that cover the target's rows, with labels of the source.

    Split conformal prediction under a covariate shift [1]_. A part of the source's rows
    fits a regressor, weighted as by :class:`skdre.ImportanceWeighted`; the absolute
    residuals at the others, weighted by the density ratio target/source, are like the
    residuals of the target. Their quantile is half the width of the interval.

    Parameters
    ----------
    estimator : regressor
        Any regressor whose ``fit`` takes ``sample_weight``; a pipeline or a search as
        in :class:`skdre.ImportanceWeighted`.
    ratio : ratio estimator, default=None
        The target's rows are the numerator. None is :class:`skdre.KMMRatio` with its
        defaults. The coverage is as good as the ratio.
    calibration_size : float, default=0.5
        Share of the distinct source rows that is held out for the residuals.
    flattening : float, default=1.0
        Exponent of the ratio in the fit of the regressor; 0 fits it without weights,
        often the better choice for a flexible one. The intervals always use the
        ratio itself.
    clip : float, default=None
        Largest value of the flattened ratio, in the fit of the regressor.
    %(random_state) Draws the rows that are held out.

    Attributes
    ----------
    estimator_ : estimator
        The fitted regressor.
    ratio_ : estimator or None
        The fitted ratio target/source; None when there were no target rows.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Absolute residuals at the rows held out, in the unit of y.
    calibration_log_weight_ : ndarray of shape (n_calibration,)
        Their log weights: log ratios, in nats, plus the log of `sample_weight`.
    effective_sample_size_ : float
        Kish's effective sample size of the calibration rows.
    sample_weight_ : ndarray of shape (n_training,)
        The weights that the regressor was fitted with.
    %(n_features_in_)
    %(feature_names_in_)

    Warns
    -----
    UserWarning
        If a few rows carry the weight of the regressor's fit, or there are no target
        rows: then this is split conformal prediction without weights.

    See Also
    --------
    skdre.ImportanceWeighted : Predictions without intervals.
    skdre.diagnose : Whether the ratio and its weights can be relied on.

    Notes
    -----
    With the true ratio the interval of a new row of the target covers its value with at
    least the probability `level`, whatever the regressor and the noise, on average over
    calibration rows and new rows (not for each x by itself). An estimated ratio gives
    this up to its error. Weights rest on the assumption that source and target share
    p(y | x).

    A new row counts among the residuals with its own weight, at an infinite residual.
    Where that weight is more than 1 - `level` of the whole, the interval is infinite:
    the source has too few rows there to say anything.

    Target rows are given as to :class:`skdre.ImportanceWeighted`: as
    ``fit(X, y, X_target=...)``, or in X, marked by NaN in y. The ratio is fitted on the
    target's rows and those source rows that the regressor is fitted on.

    References
    ----------
    .. [1] R. J. Tibshirani, R. Foygel Barber, E. J. Candès, A. Ramdas, "Conformal
       prediction under covariate shift", NeurIPS 2019, Eq. 7 and corollary 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skdre import GaussianRatio, WeightedConformalRegressor
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(0, 1, (2000, 1)), rng.normal(1, 1, (2000, 1))
    >>> def draw_y(X):
    ...     return X.ravel() + rng.normal(size=len(X)) * np.exp(X.ravel() / 2)
    >>> model = WeightedConformalRegressor(
    ...     LinearRegression(), GaussianRatio(), random_state=0
    ... )
    >>> model.fit(X, draw_y(X), X_target=X_target).predict_interval(X_target).shape
    (2000, 2)
    >>> low, high = model.predict_interval(X_target, level=0.9).T
    >>> y_target = draw_y(X_target)
    >>> bool(abs(np.mean((low <= y_target) & (y_target <= high)) - 0.9) < 0.05)
    True
    """

    _adapter_name = "ratio"
    _without_target = "the residuals are not weighted"
    _needs_weights = True

    _parameter_constraints = {  # noqa: RUF012
        "estimator": [HasMethods(["fit", "predict"])],
        "ratio": [HasMethods(["fit"]), None],
        "calibration_size": [Interval(Real, 0, 1, closed="neither")],
        "flattening": [Interval(Real, 0, None, closed="left")],
        "clip": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        ratio: BaseEstimator | None = None,
        *,
        calibration_size: float = 0.5,
        flattening: float = 1.0,
        clip: float | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.ratio = ratio
        self.calibration_size = calibration_size
        self.flattening = flattening
        self.clip = clip
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False
        return tags

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
        """Fit the ratio and the regressor, and take the residuals at held-out rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Source rows, and target rows where `y` marks them.
        y : array-like of shape (n_samples,)
            Values of the source rows. Without `X_target`, NaN marks a target row.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows of X, counted as repetition.
        X_target : array-like, DataFrame or TargetRows of shape \
                (n_target_samples, n_features), default=None
            Target rows; then all rows of X are source rows.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the inner estimator is no regressor or cannot be weighted, y has several
            columns, no row is left to fit on, or target rows come both ways.
        TypeError
            If only one of X and X_target is sparse, or a DataFrame.
        """
        if not is_regressor(self.estimator):
            raise ValueError(f"estimator must be a regressor, got {self.estimator!r}.")
        if self.ratio is not None:
            check_is_ratio(self.ratio, "ratio")
        data = {"X": X, "y": y}
        source, values, weight, target, target_weight = self._split_rows(
            X, y, sample_weight, X_target
        )
        values = column_or_1d(values, warn=True)
        if weight is not None and not weight.all():
            rows = np.flatnonzero(weight)
            source, values = safe_indexing(source, rows), values[rows]
            weight = weight[rows]
        held = _calibration_rows(source, self.calibration_size, self.random_state)
        parts = []
        for mask in (~held, held):
            rows = np.flatnonzero(mask)
            own = None if weight is None else weight[rows]
            parts.append((safe_indexing(source, rows), values[rows], own))
        root = self._init_callback_context(max_subtasks=2)
        root.call_on_fit_task_begin(estimator=self, **data)
        ratio, weights, _, estimator = fit_parts(
            self,
            root,
            data,
            parts[0],
            (target, target_weight),
            apart=X_target is not None,
        )
        X_held, y_held, held_weight = parts[1]
        scores = np.abs(y_held - np.ravel(estimator.predict(X_held)))
        log_weight: Floats = np.zeros(len(scores))
        if ratio is not None:
            log_weight = predict_log_ratio(ratio, X_held)
        effective_size = effective_sample_size(
            importance_weights(log_weight, sample_weight=held_weight)
        )
        if held_weight is not None:
            log_weight = log_weight + np.log(held_weight)

        # Nothing is set before everything is fitted: a failed fit changes nothing.
        validate_data(self, source, skip_check_array=True)
        self.ratio_ = ratio
        self.estimator_ = estimator
        self.sample_weight_ = weights
        self.calibration_scores_ = scores
        self.calibration_log_weight_ = log_weight
        self.effective_sample_size_ = effective_size
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    def predict_interval(self, X: Rows, level: float = 0.9) -> Floats:
        """Interval for the value of each row, of the target as a rule.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        level : float, default=0.9
            Share of the target's rows whose values are to lie in their intervals,
            between 0 and 1.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2)
            Lower and upper ends, in the unit of y; minus and plus infinity where the
            source has too few rows like this one.

        Raises
        ------
        ValueError
            If level is not between 0 and 1.
        TypeError
            If level is no number.

        Warns
        -----
        UserWarning
            If intervals are infinite.
        """
        check_is_fitted(self)
        if not isinstance(level, Real) or isinstance(level, bool | np.bool_):
            raise TypeError(f"level must be a number, got {level!r}.")
        if not 0 < level < 1:
            raise ValueError(
                f"level must lie between 0 and 1, both excluded, got {level!r}."
            )
        center = np.ravel(self.estimator_.predict(X))
        own = np.zeros(len(center))
        if self.ratio_ is not None:
            own = predict_log_ratio(self.ratio_, X)
        half = weighted_quantiles(
            self.calibration_scores_, self.calibration_log_weight_, own, level
        )
        if n_infinite := np.count_nonzero(np.isinf(half)):
            size = self.effective_sample_size_
            warnings.warn(
                f"{n_infinite} of {len(half)} intervals are infinite at "
                f"level={level:g}: each of these rows weighs more than {1 - level:.2g} "
                f"of all calibration rows, which are {size:.1f} in effect, and itself "
                "together. More source rows like these, a lower level, or leaving such "
                "rows out would help.",
                UserWarning,
                stacklevel=2,
            )
        return np.column_stack([center - half, center + half])

    def score(self, X: Rows, y: Values, sample_weight: Values | None = None) -> float:
        """Estimate the target's R² from labelled **source** rows.

        As :meth:`skdre.ImportanceWeighted.score`: unlabelled rows are left out, and the
        others weighted by the fitted ratio.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Source rows; unlabelled rows may be among them.
        y : array-like of shape (n_samples,)
            Their values; NaN where unlabelled.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; they multiply the importance weights.

        Returns
        -------
        score : float
            Importance-weighted R².

        Raises
        ------
        ValueError
            If no row is labelled.
        """
        check_is_fitted(self)
        return importance_weighted_score(self, X, y, sample_weight=sample_weight)
