"""Estimators inside others: which one learns, and how sample weights reach it."""

import inspect

from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    get_routing_for_object,
    process_routing,
)
from sklearn.utils.validation import has_fit_parameter

from skdre._compat import routing_enabled

__all__ = ["fit_weighted", "innermost", "takes_any_parameter", "weight_parameter"]


def innermost(estimator):
    """The estimator that learns, inside pipelines, searches and frozen estimators.

    That of a fitted search is the best one. An estimator that takes sample weights
    itself, such as an ensemble, is not looked into.
    """
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif (
            hasattr(estimator, "estimator")
            and hasattr(estimator, "fit")
            and not has_fit_parameter(estimator, "sample_weight")
        ):
            estimator = estimator.estimator
        else:
            return estimator


def weight_parameter(estimator, name):
    """Name under which `fit` of `estimator` takes sample weights; raise if none.

    Without metadata routing a pipeline hands parameters to a step by prefix, and its
    last step is the one to weight, as in scikit-learn's own examples; a search hands
    all parameters to its estimator. With routing the requests of the estimators say
    who gets the weights.
    """
    if routing_enabled():
        try:
            routing = get_routing_for_object(estimator)
        except NotImplementedError:
            routing = None
        if isinstance(routing, MetadataRouter):
            try:
                # Raises for steps that neither request weights nor decline them.
                process_routing(estimator, "fit", sample_weight=[])
            except TypeError as error:
                raise ValueError(
                    f"{name}={estimator!r} cannot be weighted: none of its parts "
                    "requests sample_weight. Call set_fit_request(sample_weight=True) "
                    "on the parts that are to get the weights."
                ) from error
            return "sample_weight"
        return _plain_weight_parameter(estimator, name)
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        return f"{step}__{weight_parameter(last, name)}"
    if hasattr(estimator, "fit") and not has_fit_parameter(estimator, "sample_weight"):
        for part in ("estimator", "regressor"):
            if hasattr(estimator, part) and takes_any_parameter(estimator.fit):
                return weight_parameter(getattr(estimator, part), name)
    return _plain_weight_parameter(estimator, name)


def _plain_weight_parameter(estimator, name):
    if not has_fit_parameter(estimator, "sample_weight"):
        raise ValueError(
            f"{name}={estimator!r} cannot be weighted: its fit takes no "
            "sample_weight. Choose an estimator whose fit does; a Pipeline weights its "
            "last step."
        )
    return "sample_weight"


def takes_any_parameter(function):
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def fit_weighted(estimator, X, y, sample_weight, name):
    if sample_weight is None:
        return estimator.fit(X, y)
    return estimator.fit(X, y, **{weight_parameter(estimator, name): sample_weight})
