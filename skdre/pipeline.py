"""scikit-learn's pipelines, with the ratio of their last step."""

from typing import Any, Self

import numpy.typing as npt
from sklearn import pipeline as _pipeline
from sklearn.utils.metaestimators import available_if

from skdre._core.chunks import refuse_collection
from skdre._core.types import Floats, Rows, Values
from skdre.base import AtomicFitMixin, DocumentedMixin, atomic

__all__ = ["Pipeline", "make_pipeline"]


def _final_has_ratio(pipeline):
    # getattr raises the informative AttributeError when the last step has none.
    getattr(pipeline.steps[-1][1], "predict_ratio")  # noqa: B009
    return True


def _steps_have(method):
    def check(pipeline):
        # As above, by scikit-learn's own rule.
        getattr(super(Pipeline, pipeline), method)
        return True

    return check


class Pipeline(AtomicFitMixin, DocumentedMixin, _pipeline.Pipeline):
    """:class:`sklearn.pipeline.Pipeline` with ``predict_ratio``.

    scikit-learn's own pipelines carry the log ratio already, through
    ``decision_function``, ``predict_proba``, ``predict`` and ``score``; this one adds
    ``predict_ratio``, and a fit that fails leaves the steps, which are fitted in place,
    as they were.

    Parameters
    ----------
    steps : list of tuple
        ``(name, estimator)`` pairs; the last is a ratio estimator.
    transform_input : list of str, default=None
        See :class:`sklearn.pipeline.Pipeline`.
    memory : str or joblib.Memory, default=None
        Cache of the fitted transformers: with it a search over the ratio estimator's
        parameters fits an expensive transformer once per fold.
    verbose : bool, default=False
        Print the time of each step.

    See Also
    --------
    make_pipeline : Names the steps by their types.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skdre import KMMRatio, Pipeline, pool
    >>> from skdre.datasets import make_warped_shift
    >>> shift = make_warped_shift(100, 2, random_state=0)
    >>> ratio = Pipeline([("scale", StandardScaler()), ("kmm", KMMRatio())])
    >>> ratio.fit(*shift.pool()).predict_ratio(shift.denominator).shape
    (100,)
    """

    def fit(self, X: Rows, y: Values | None = None, **params: Any) -> Self:
        """Fit the steps, each on what those before make of the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both samples.
        y : array-like of shape (n_samples,), default=None
            Domain labels, two values; the greater names the numerator.
        **params : dict
            For the steps; see :meth:`sklearn.pipeline.Pipeline.fit`.

        Returns
        -------
        self : Pipeline
        """
        refuse_collection(X)
        return super().fit(X, y, **params)

    @available_if(_steps_have("fit_transform"))
    @atomic
    def fit_transform(self, X: Rows, y: Values | None = None, **params: Any) -> Any:
        """Fit the steps, and transform the rows with all of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), default=None
            Domain labels.
        **params : dict
            For the steps; see :meth:`sklearn.pipeline.Pipeline.fit_transform`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)
        """
        return super().fit_transform(X, y, **params)

    @available_if(_steps_have("fit_predict"))
    @atomic
    def fit_predict(
        self, X: Rows, y: Values | None = None, **params: Any
    ) -> npt.NDArray[Any]:
        """Fit the steps, and predict with the last.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), default=None
            Domain labels.
        **params : dict
            For the steps; see :meth:`sklearn.pipeline.Pipeline.fit_predict`.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
        """
        return super().fit_predict(X, y, **params)

    def _fitted_in_place(self):
        parts = {id(each): each for each in self.get_params().values()}
        last = parts.pop(id(self._final_estimator), None)
        return [
            each
            for each in (*parts.values(), last)
            if hasattr(each, "get_params") and not isinstance(each, type)
        ]

    @available_if(_final_has_ratio)
    def predict_ratio(self, X: Rows) -> Floats:
        """Transform the rows, and give the last step's density ratio at them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ratio : ndarray of shape (n_samples,)
            p(x) / q(x).
        """
        if len(self.steps) > 1:
            X = self[:-1].transform(X)
        return self.steps[-1][1].predict_ratio(X)


def make_pipeline(
    *steps: Any,
    memory: Any = None,
    transform_input: list[str] | None = None,
    verbose: bool = False,
) -> Pipeline:
    """Build a :class:`Pipeline`, each step named by its type in lower case.

    Parameters
    ----------
    *steps : estimators
        Transformers, then a ratio estimator.
    memory : str or joblib.Memory, default=None
        Cache of the fitted transformers.
    transform_input : list of str, default=None
        See :class:`sklearn.pipeline.Pipeline`.
    verbose : bool, default=False
        Print the time of each step.

    Returns
    -------
    pipeline : Pipeline

    Examples
    --------
    >>> from skdre import FlowFeaturizer, KMMRatio, make_pipeline
    >>> list(make_pipeline(FlowFeaturizer(), KMMRatio()).named_steps)
    ['flowfeaturizer', 'kmmratio']
    """
    names = [name for name, _ in _pipeline.make_pipeline(*steps).steps]
    return Pipeline(
        list(zip(names, steps, strict=True)),
        memory=memory,
        transform_input=transform_input,
        verbose=verbose,
    )
