"""AlignedClassifier: any classifier, trained on source rows moved onto the target."""

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted, validate_data

from skdre._compat import CallbackSupportMixin, HasMethods, fit_context, with_callbacks
from skdre._core.inner import fit_weighted
from skdre._core.tasks import inner_fit
from skdre._core.types import Rows, Values
from skdre.base import (
    AtomicFitMixin,
    pool_rows,
)
from skdre.importance._meta import TargetRowsMixin
from skdre.importance._rows import TargetRows, named_target
from skdre.importance._score import labelled_rows

__all__ = ["AlignedClassifier"]


def _default_aligner():
    # The only concrete estimator this module knows, loaded when nothing is named.
    from skdre.flows import LikelihoodRatioAligner

    # In closed form chance only deals the folds that choose the shrinkage.
    return LikelihoodRatioAligner(random_state=0)


def _set_frame_output(aligner, X):
    """Let the aligner give data frames where it gets them: the columns have names."""
    library = type(X).__module__.partition(".")[0]
    if library in ("pandas", "polars") and hasattr(aligner, "set_output"):
        aligner.set_output(transform=library)
    return aligner


class AlignedClassifier(
    AtomicFitMixin,
    TargetRowsMixin,
    ClassifierMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    """Fit a classifier for the target with labels of the source, moved onto it.

    The aligner is fitted on the target's rows, the numerator, and the source's, the
    denominator; the classifier on the moved source rows. Rows to predict are of the
    target and are taken as they are.

    Parameters
    ----------
    estimator : estimator
        Classifier.
    aligner : transformer, default=None
        Whose ``fit(X, y)`` takes domain-labelled rows and whose ``transform`` moves
        the source onto the target, without another number of columns; for example
        ``LikelihoodRatioAligner("realnvp", "realnvp")``. None is
        ``LikelihoodRatioAligner(random_state=0)``, the affine map that matches the
        first two moments.

    Attributes
    ----------
    estimator_ : estimator
        The fitted classifier.
    aligner_ : transformer or None
        The fitted aligner; None when there were no target rows.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    %(n_features_in_)
    %(feature_names_in_)

    Warns
    -----
    UserWarning
        If there are no target rows: then nothing is moved.

    See Also
    --------
    skdre.ImportanceWeighted : Weights source rows in place of moving them.
    skdre.LikelihoodRatioAligner : The map.

    Notes
    -----
    Target rows are given as to :class:`skdre.ImportanceWeighted`: apart,
    ``fit(X, y, X_target=...)``, or in X, marked by -1 in y (``"-1"`` where labels are
    strings), which is the form for cross-validation, with
    ``cv=SourceFold(5)``, :class:`skdre.SourceFold`. Its notes hold here too.

    Weights help where p(y | x) is the same for both samples, and need source rows
    wherever the target has some. A map needs neither: it is for samples that show the
    same things in another way (another camera, another laboratory). It relies on the
    rows of a class being moved onto rows of that class, which no unlabelled target row
    can tell.

    References
    ----------
    B. Usman, A. Sud, N. Dufour, K. Saenko, "Log-Likelihood Ratio Minimizing Flows:
    Towards Robust and Quantifiable Neural Distribution Alignment", NeurIPS 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdre import AlignedClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(300, 2)), np.repeat([0, 1, 2], 100)
    >>> X[:, 0] += 5 * y
    >>> X_target, y_target = 2 * X + [10, -5] + rng.normal(size=(300, 2)) / 10, y
    >>> model = AlignedClassifier(LogisticRegression()).fit(X, y, X_target=X_target)
    >>> plain = LogisticRegression().fit(X, y)
    >>> found = [each.predict(X_target) == y_target for each in (model, plain)]
    >>> bool(np.mean(found[0]) > 0.97), bool(np.mean(found[1]) < 0.6)
    (True, True)
    """

    _adapter_name = "aligner"
    _without_target = "no source row is moved"
    _needs_weights = False

    _parameter_constraints = {  # noqa: RUF012
        "estimator": [HasMethods(["fit", "predict"])],
        "aligner": [HasMethods(["fit", "transform"]), None],
    }

    def __init__(
        self, estimator: BaseEstimator, aligner: BaseEstimator | None = None
    ) -> None:
        self.estimator = estimator
        self.aligner = aligner

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
        """Fit the aligner, then the classifier on the moved source rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Source rows, and target rows where `y` marks them.
        y : array-like of shape (n_samples,)
            Labels of the source rows. Without `X_target`, -1 marks a target row.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows of X, counted as repetition, in both fits.
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
            If the inner estimator is no classifier, weights are given that a part does
            not take, or -1 marks rows but leaves one class. What the rows may hold, the
            aligner and the classifier say.
        TypeError
            If only one of X and X_target is sparse, or a DataFrame.
        """
        if not is_classifier(self.estimator):
            raise ValueError(f"estimator must be a classifier, got {self.estimator!r}.")
        data = {"X": X, "y": y}
        source, labels, weight, target, target_weight = self._split_rows(
            X, y, sample_weight, X_target
        )
        root = self._init_callback_context(max_subtasks=2)
        root.call_on_fit_task_begin(estimator=self, **data)
        aligner, moved = None, source
        if target is not None:
            aligner = (
                _default_aligner() if self.aligner is None else clone(self.aligner)
            )
            aligner = _set_frame_output(aligner, source)
            with (
                named_target(None if X_target is None else target),
                inner_fit(root, self, aligner, "fit-aligner", **data),
            ):
                aligner = fit_weighted(
                    aligner,
                    *pool_rows(target, source),
                    None if weight is None else np.concatenate([target_weight, weight]),
                    "aligner",
                )
            moved = aligner.transform(source)
        estimator = clone(self.estimator)
        with inner_fit(root, self, estimator, "fit-estimator", **data):
            estimator = fit_weighted(estimator, moved, labels, weight, "estimator")

        # Nothing is set before everything is fitted: a failed fit changes nothing.
        validate_data(self, source, skip_check_array=True)
        self.aligner_ = aligner
        self.estimator_ = estimator
        self.classes_ = estimator.classes_
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    def score(self, X: Rows, y: Values, sample_weight: Values | None = None) -> float:
        """Accuracy on labelled **source** rows, which are moved first.

        As of :class:`skdre.ImportanceWeighted` this needs no label of the target, and
        unlabelled rows are left out. It estimates the target's accuracy as far as moved
        rows of a class are like the target's rows of that class. Labelled *target* rows
        are scored by ``accuracy_score(y, model.predict(X))``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Source rows; unlabelled rows may be among them.
        y : array-like of shape (n_samples,)
            Their labels; -1 where unlabelled, as in :meth:`fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float

        Raises
        ------
        ValueError
            If no row is labelled.
        """
        check_is_fitted(self)
        rows, labels, weight = labelled_rows(self, X, y, sample_weight)
        moved = rows if self.aligner_ is None else self.aligner_.transform(rows)
        return float(accuracy_score(labels, self.predict(moved), sample_weight=weight))
