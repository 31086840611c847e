"""Fits that happen whole or not at all.

A fit can fail at any point: for its input, for memory, in a callback or in an estimator
inside it. :class:`AtomicFitMixin` wraps the methods that fit, so that no estimator has
to see to it itself.
"""

import copy
from collections.abc import Callable
from functools import wraps
from inspect import isfunction
from typing import Any

__all__ = ["AtomicFitMixin", "atomic"]

_FITTING = ("fit", "partial_fit", "fit_transform", "fit_predict")

# What a fit notes of the columns of X before there is anything to predict with.
_COLUMNS = ("n_features_in_", "feature_names_in_")


class _State:
    """Attributes of an estimator at one time, as a shallow copy."""

    def __init__(self, estimator):
        self.estimator = estimator
        self.attributes = dict(vars(estimator))
        if getattr(estimator, "warm_start", False) and not isinstance(
            estimator, AtomicFitMixin
        ):
            # Others go on in place, from what they have.
            self.attributes |= copy.deepcopy(
                {
                    name: value
                    for name, value in self.attributes.items()
                    if name.endswith("_")
                }
            )

    def has_new_results(self):
        """Whether a fit has set attributes since, which it does when it is done."""
        return any(
            name.endswith("_")
            and not name.startswith("_")
            and name not in _COLUMNS
            and self.attributes.get(name) is not value
            for name, value in vars(self.estimator).items()
        )

    def restore(self):
        attributes = vars(self.estimator)
        attributes.clear()
        attributes.update(self.attributes)


def atomic(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a method that fits: where it raises, it changes nothing.

    The attributes of the estimator are put back as they were, whatever was raised. Only
    a KeyboardInterrupt that is raised once the results are set leaves them: Ctrl-C
    keeps the best weights so far. Attributes are replaced, not copied, so a fit must
    not change fitted objects in place.

    Parameters
    ----------
    method : function
        ``fit`` or another method whose first argument is the estimator.

    Returns
    -------
    decorated : function
        With the signature and the docstring of `method`.

    Examples
    --------
    >>> from skdre._core.atomic import atomic
    >>> class Mean:
    ...     @atomic
    ...     def fit(self, X):
    ...         self.n_rows_ = len(X)
    ...         self.mean_ = sum(X) / len(X)
    ...         return self
    >>> model = Mean().fit([1.0, 3.0])
    >>> try:
    ...     model.fit([])
    ... except ZeroDivisionError:
    ...     print(model.n_rows_, model.mean_)
    2 2.0
    """

    @wraps(method)
    def atomic_fit(self, *args, **kwargs):
        if method.__name__ == "fit" and hasattr(self, "_rows_to_fit"):
            args, kwargs = self._rows_to_fit(method, args, kwargs)
        in_place = getattr(self, "_fitted_in_place", list)
        states = [_State(each) for each in (self, *in_place())]
        try:
            return method(self, *args, **kwargs)
        except BaseException as error:
            if not (
                isinstance(error, KeyboardInterrupt) and states[-1].has_new_results()
            ):
                for state in states:
                    state.restore()
            raise

    return atomic_fit


class AtomicFitMixin:
    """Make the methods of a class that fit :func:`atomic`.

    ``fit``, ``partial_fit``, ``fit_transform`` and ``fit_predict`` are decorated where
    a subclass defines them. An estimator that fits others in place lists them in a
    method ``_fitted_in_place``, the one that is fitted last at the end.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from skdre.base import AtomicFitMixin
    >>> class Mean(AtomicFitMixin, BaseEstimator):
    ...     def fit(self, X):
    ...         self.n_rows_ = len(X)
    ...         self.mean_ = sum(X) / len(X)
    ...         return self
    >>> model = Mean()
    >>> try:
    ...     model.fit([])
    ... except ZeroDivisionError:
    ...     print(hasattr(model, "n_rows_"))
    False
    """

    def __init_subclass__(cls, **kwargs):
        # Before the others, which read signatures or wrap what they find.
        for name in _FITTING:
            method = vars(cls).get(name)
            if isfunction(method):
                setattr(cls, name, atomic(method))
        super().__init_subclass__(**kwargs)
