"""Errors raised inside a fit at whatever point, to see what it leaves behind.

:func:`assert_failures_change_nothing` watches one fit, so that it knows how far one
goes, and then fits again with an error at its last steps. Nothing is asked of the
estimator but ``fit``.
"""

import sys
from contextlib import contextmanager
from importlib.util import find_spec
from unittest import mock

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skdre.utils._check_tools import (
    assert_same_attributes,
    assert_same_predictions,
    fitted_attributes,
    predictions_of,
)

__all__ = ["InjectedError", "assert_failures_change_nothing"]


# What watches, and what is watched: neither fails itself.
_UNSEEN = {__name__, "skdre._core.atomic"}


class InjectedError(RuntimeError):
    """No estimator raises it by itself."""


class _InjectedMemoryError(MemoryError):
    pass


class CountingRandomState(np.random.RandomState):
    """A generator that counts its draws; that of number `fail_at`, from 1, raises."""

    def __init__(self, seed, fail_at=None):
        super().__init__(seed)
        self.fail_at, self.n_draws = fail_at, 0

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if not name.startswith("_") and callable(value):
            self.n_draws += 1
            if self.n_draws == self.fail_at:
                raise InjectedError(f"random_state.{name}")
        return value


class _FailingCallback:
    """scikit-learn callback that raises when a task, or the fit, is over."""

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, *args, **kwargs):
        pass

    def on_fit_task_end(self, *args, **kwargs):
        raise InjectedError("callback")

    def teardown(self, estimator, context):
        pass


def _failing_skorch_callback():
    # Loaded by the first fit of an estimator that trains with it.
    class FailingCallback(sys.modules["skorch"].callbacks.Callback):
        def on_epoch_end(self, net, **kwargs):
            raise InjectedError("callback")

    return FailingCallback()


class _Steps:
    """Calls of functions of an estimator's own packages, and of builtins by them.

    The call of number `fail_at`, from 1, raises MemoryError in place of being made.
    """

    def __init__(self, estimator, fail_at=None):
        modules = {cls.__module__ for cls in type(estimator).__mro__}
        self.packages = {each.partition(".")[0] for each in modules}
        self.packages -= {"builtins", "abc", "sklearn"}
        self.fail_at, self.n_calls = fail_at, 0

    def _profile(self, frame, event, _):
        # `frame` is that of a function that is called, or that calls a builtin.
        module = frame.f_globals.get("__name__", "")
        if event not in ("call", "c_call") or module in _UNSEEN:
            return
        if module.partition(".")[0] in self.packages:
            self.n_calls += 1
            if self.n_calls == self.fail_at:
                raise _InjectedMemoryError

    @contextmanager
    def watched(self):
        before = sys.getprofile()
        sys.setprofile(self._profile)
        try:
            yield self
        finally:
            sys.setprofile(before)


class _Attributes:
    """Fitted attributes that are set on one estimator, in their order."""

    def __init__(self, estimator, fail_at=None):
        self.estimator, self.fail_at, self.n_set = estimator, fail_at, 0

    @contextmanager
    def watched(self):
        cls = type(self.estimator)
        set_attribute = cls.__setattr__

        def watch(other, name, value):
            if other is self.estimator and name.endswith("_"):
                self.n_set += 1
                if self.n_set == self.fail_at:
                    raise InjectedError(name)
            set_attribute(other, name, value)

        with mock.patch.object(cls, "__setattr__", watch):
            yield self


def _failures(estimator, n_calls, n_set, n_draws):
    """Yield (what, parameters to set, context to fit in)."""
    params = estimator.get_params(deep=False)
    if n_set:
        what = "at the last attribute that it sets"
        yield what, {}, _Attributes(estimator, n_set).watched()
    # At the end too, if nothing was set there.
    for step in (n_calls // 2, *([] if n_set else [n_calls])):
        what = f"for memory at call {step} of {n_calls}"
        yield what, {}, _Steps(estimator, step).watched()
    if n_draws:
        random_state = CountingRandomState(0, fail_at=n_draws)
        what = f"at draw {n_draws} of its random_state"
        yield what, {"random_state": random_state}, mock.MagicMock()
    if "callbacks" in params and "skorch" in sys.modules:
        callbacks = [("failing", _failing_skorch_callback())]
        yield "in a skorch callback", {"callbacks": callbacks}, mock.MagicMock()
    if hasattr(estimator, "set_callbacks") and find_spec("sklearn.callback"):
        yield "in a callback", {}, _with_callback(estimator)


@contextmanager
def _with_callback(estimator):
    estimator.set_callbacks(_FailingCallback())
    try:
        yield
    finally:
        estimator.set_callbacks()


def _fails(estimator, arguments, context):
    """Whether the fit raises what was injected; any other error is let through."""
    try:
        with context:
            estimator.fit(**arguments)
    except (InjectedError, _InjectedMemoryError):
        return True
    return False


def assert_failures_change_nothing(name, estimator, fit_arguments, X_new):
    """Assert that fits that fail late leave a fitted and a new estimator as they were.

    The estimator, whose every random_state must be set, is cloned, and predicts at
    `X_new`. Returns where the fits failed.
    """
    fitted, fresh = clone(estimator), clone(estimator)
    draws = None
    if "random_state" in estimator.get_params(deep=False):
        draws = CountingRandomState(0)
        fitted.set_params(random_state=draws)
    steps, attributes = _Steps(fitted), _Attributes(fitted)
    with attributes.watched(), steps.watched():
        fitted.fit(**fit_arguments)
    n_draws = draws.n_draws if draws is not None else 0
    if draws is not None:
        fitted.set_params(random_state=0)
        if any(value is draws for value in vars(fitted).values()):
            # It draws in predictions too, which would differ from one to the next.
            fitted.fit(**fit_arguments)
    params = fitted.get_params(deep=False)
    before, expected = fitted_attributes(fitted), predictions_of(fitted, X_new)
    assert expected, f"{name}: nothing to predict with."

    found = []
    for what, changes, context in _failures(
        fitted, steps.n_calls, attributes.n_set, n_draws
    ):
        fitted.set_params(**changes)
        failed = _fails(fitted, fit_arguments, context)
        fitted.set_params(**params)
        if not failed:
            # Not every estimator draws, calls back, or takes the same steps twice.
            fitted.fit(**fit_arguments)
            before, expected = fitted_attributes(fitted), predictions_of(fitted, X_new)
            continue
        found.append(what)
        what = f"{name}: a fit that fails {what}"
        assert_same_attributes(fitted, before, what)
        assert_same_predictions(predictions_of(fitted, X_new), expected, what)

    # The last steps again, which may have been other ones than those of the first fit.
    late = _Attributes(fresh, attributes.n_set).watched()
    if not attributes.n_set:
        late = _Steps(fresh, steps.n_calls).watched()
    if _fails(fresh, fit_arguments, late):
        found.append("the first time")
        left = set(fitted_attributes(fresh))
        assert not left, f"{name}: a first fit that fails late leaves {left} behind."
        for method in expected:
            try:
                predictions_of(fresh, X_new, [method])
            except NotFittedError:
                continue
            raise AssertionError(
                f"{name}: after a first fit that fails {method} raises no "
                "NotFittedError."
            )
    return found
