"""Fits as tasks of scikit-learn's callbacks, which older releases do not have."""

from contextlib import contextmanager, nullcontext
from functools import wraps

__all__ = ["inner_fit", "run_task", "single_task"]


@contextmanager
def run_task(task, caller, estimator, **data):
    """The fit of an inner estimator inside the block, as a task of its caller's fit.

    Callbacks of the caller reach an inner estimator that takes any, so that a progress
    bar shows its epochs too. `data` are X and y as they came.
    """
    takes_any = hasattr(estimator, "set_callbacks")
    with task.propagate_callback_context(estimator) if takes_any else nullcontext():
        task.call_on_fit_task_begin(estimator=caller, **data)
        yield
        task.call_on_fit_task_end(estimator=caller, **data)


def inner_fit(context, caller, estimator, task_name, **data):
    """:func:`run_task`, of the next subtask of the outer estimator's context."""
    task = context.subcontext(task_name=task_name)
    return run_task(task, caller, estimator, **data)


def single_task(fit):
    """Decorate a fit without steps to report: callbacks see one task.

    ``fit_context``, which goes around it, tears callbacks down.
    """

    @wraps(fit)
    def fit_as_task(self, X, y, sample_weight=None):
        data = {"X": X, "y": y}
        root = self._init_callback_context()
        root.call_on_fit_task_begin(estimator=self, **data)
        fit(self, X, y, sample_weight)
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    return fit_as_task
