"""What estimators have in common that are fitted for a target on a source's labels."""

import warnings

import numpy as np
from scipy.sparse import issparse
from sklearn.base import MetaEstimatorMixin, is_classifier, is_regressor
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skdre._compat import check_sample_weight, safe_indexing
from skdre._core.columns import check_rows
from skdre._core.inner import weight_parameter
from skdre._core.types import Floats, Rows
from skdre.base import DensityRatioMixin, DocumentedMixin
from skdre.importance._rows import as_rows, check_labels, check_target

__all__ = ["TargetRowsMixin", "fitted_part"]


def estimator_has(method):
    def check(self):
        # getattr raises the informative AttributeError when there is none.
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


def fitted_part(estimator):
    """What a fitted estimator predicts with; its parameters may have been set since."""
    return estimator.estimator_ if isinstance(estimator, TargetRowsMixin) else estimator


class TargetRowsMixin(DocumentedMixin, MetaEstimatorMixin):
    """Target rows, apart or marked in y, and the methods of the inner estimator.

    The estimator has a parameter `estimator`, and another that bridges source and
    target, whose name is ``_adapter_name``; it is None for a default.
    """

    _adapter_name: str
    # What happens without target rows, for the warning.
    _without_target: str
    # Whether the inner estimator is always fitted with weights.
    _needs_weights: bool

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags = inner.classifier_tags
        tags.regressor_tags = inner.regressor_tags
        tags.target_tags = inner.target_tags
        tags.target_tags.required = True
        for kind in ("allow_nan", "sparse"):
            both = getattr(inner.input_tags, kind) and self._adapter_takes(kind)
            setattr(tags.input_tags, kind, both)
        return tags

    @property
    def _adapter(self):
        return getattr(self, self._adapter_name)

    def _adapter_takes(self, kind):
        """Whether its tags say so; a default takes finite dense rows alone."""
        adapter = self._adapter
        return adapter is not None and getattr(get_tags(adapter).input_tags, kind)

    @property
    def _adapter_is_ours(self):
        """Whether it has no parts, and its tags say what it takes."""
        adapter = self._adapter
        return adapter is None or (
            isinstance(adapter, DocumentedMixin | DensityRatioMixin)
            and not hasattr(adapter, "steps")
            and not hasattr(adapter, "estimator")
        )

    def _check_what_is_refused(self, X, X_target):
        """Say what no part of the adapter can take before anything is fitted."""
        if not self._adapter_is_ours:
            return
        for name, rows in (("X", X), ("X_target", X_target)):
            if issparse(rows) and not self._adapter_takes("sparse"):
                raise TypeError(
                    f"Sparse data was passed for {name}, but dense data is required by "
                    f"{self._adapter_name}={self._adapter!r}: use {name}.toarray(), or "
                    "a pipeline that makes dense rows of it."
                )
        if X_target is not None and not self._adapter_takes("allow_nan"):
            check_rows(X_target, "X_target", dtype=None, accept_sparse=True)

    def _split_rows(self, X, y, sample_weight, X_target):
        """Check everything that can be checked before a part is fitted."""
        if not (is_classifier(self.estimator) or is_regressor(self.estimator)):
            raise ValueError(
                "estimator must be a classifier or a regressor, got "
                f"{self.estimator!r}."
            )
        if self._needs_weights or sample_weight is not None:
            weight_parameter(self.estimator, "estimator")
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        X = as_rows(X, "X")
        self._check_what_is_refused(X, None)
        y, unlabelled = check_labels(y, classification=is_classifier(self.estimator))
        check_consistent_length(X, y)
        if sample_weight is not None:
            if not np.any(np.asarray(sample_weight)):
                raise ValueError("sample_weight is zero for every row.")
            sample_weight = check_sample_weight(
                sample_weight, y, dtype=np.float64, ensure_non_negative=True
            )
            has_target = X_target is not None or unlabelled.any()
            if self._adapter is not None and has_target:
                weight_parameter(self._adapter, self._adapter_name)

        if X_target is not None:
            if is_regressor(self.estimator) and unlabelled.any():
                raise ValueError(
                    "Input y contains NaN, which marks target rows inside X, while "
                    "X_target is given too: give the target rows one way."
                )
            target = check_target(X_target, X)
            self._check_what_is_refused(X, target)
            source, target_weight = X, np.ones(target.shape[0])
        elif unlabelled.any():
            self._check_labelled_part(y[~unlabelled])
            target_rows, source_rows = map(np.flatnonzero, (unlabelled, ~unlabelled))
            target, source = (
                safe_indexing(X, rows) for rows in (target_rows, source_rows)
            )
            y, target_weight = y[source_rows], None
            if sample_weight is not None:
                target_weight = sample_weight[target_rows]
                sample_weight = sample_weight[source_rows]
        else:
            warnings.warn(
                f"There are no target rows, so {self._without_target}, as if there "
                "were no shift. Pass target rows as fit(X, y, X_target=...), in a "
                "search as X_target=skdre.importance.TargetRows(...), or inside X with "
                "y = -1 (classes) or NaN (regression).",
                UserWarning,
                stacklevel=6,
            )
            source, target, target_weight = X, None, None
        if sample_weight is not None:
            for part, of in ((sample_weight, "source"), (target_weight, "target")):
                if part is not None and not part.any():
                    raise ValueError(
                        f"sample_weight is zero for every {of} row: at least one must "
                        "be positive."
                    )
        return source, y, sample_weight, target, target_weight

    def _check_labelled_part(self, y):
        if len(y) == 0:
            raise ValueError(
                "y marks every row as an unlabelled target row: labelled source rows "
                "are needed too."
            )
        if is_classifier(self.estimator) and (y == y[0]).all():
            raise ValueError(
                f"y holds one class beside -1: {y.tolist()[0]!r}. -1 marks unlabelled "
                "target rows; if -1 is a class here, pass the target rows as X_target, "
                "or relabel the classes."
            )

    @available_if(estimator_has("predict"))
    def predict(self, X: Rows) -> np.ndarray:
        """Predict with the inner estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, of the target as a rule.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predicted labels or values.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(estimator_has("predict_proba"))
    def predict_proba(self, X: Rows) -> Floats:
        """Probability of each class from the inner estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(estimator_has("predict_log_proba"))
    def predict_log_proba(self, X: Rows) -> Floats:
        """Log probability of each class from the inner estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_probability : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(X)

    @available_if(estimator_has("decision_function"))
    def decision_function(self, X: Rows) -> Floats:
        """Decision function of the inner estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        decision : ndarray of shape (n_samples,) or (n_samples, n_classes)
            As the inner estimator gives it.
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)
