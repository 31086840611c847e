"""Training in stages, each a task for scikit-learn's callbacks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from skdre._nn.callbacks import TaskCallback
from skdre._nn.training import TrainingNet

__all__ = ["STILL_GAINING", "Stage", "Stages"]

# A held-out gain per feature, in nats, over the last third of a flow's epochs that
# shows that training was cut short: a flow that has converged stops long before.
STILL_GAINING = 0.01


@dataclass(frozen=True)
class Stage:
    """What a stage ends with.

    Attributes
    ----------
    attributes : dict
        Of the fitted estimator.
    score : float
        Held-out score; of stages that are alternatives the best is kept.
    net : TrainingNet or None
        None where a closed form was solved.
    extremes : tuple of float or None
        Least log ratio of a held-out row of the numerator, and greatest of one of the
        denominator, where there is a classifier.
    """

    attributes: dict[str, Any]
    score: float
    net: TrainingNet | None = None
    extremes: tuple[float, float] | None = None

    @property
    def interrupt(self) -> KeyboardInterrupt | None:
        """What to raise, once all is in place, if Ctrl-C ended the training."""
        return None if self.net is None else self.net.interrupt_


class Stages:
    """Runs the stages of a fit.

    Parameters
    ----------
    estimator : estimator instance
        Its parameter `callbacks` goes to skorch.
    task : sklearn.callback.CallbackContext
        Of the fit.
    data : dict
        "X" and "y" as they came.
    n_epochs : int
        Most epochs of a stage.
    """

    def __init__(self, estimator, task, data, n_epochs):
        self.estimator, self.task = estimator, task
        self.data, self.n_epochs = data, n_epochs

    def run(self, name: str, train: Callable[[Callable], Stage]) -> tuple[Stage, bool]:
        """Run a stage; returns it, and whether a callback wants to stop.

        What trains is given a function that makes the net's callbacks. That one takes a
        function of the net, which returns the attributes of the fitted estimator.
        """
        task = self.task.subcontext(task_name=name, max_subtasks=self.n_epochs)
        task.call_on_fit_task_begin(estimator=self.estimator, **self.data)

        def callbacks(fitted):
            epochs = TaskCallback(task, self.estimator, self.data, fitted)
            return [*(self.estimator.callbacks or ()), ("sklearn", epochs)]

        stage = train(callbacks)
        stop = task.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=stage.attributes.copy,
            **self.data,
        )
        return stage, stop

    def run_each(
        self, names: Iterable[str], train: Callable[[str, Callable], Stage]
    ) -> tuple[dict[str, Stage], KeyboardInterrupt | None]:
        """Run stages that are alternatives, until one is stopped.

        Returns those that there are, and what to raise in the end if Ctrl-C came.
        """
        stages: dict[str, Stage] = {}
        interrupt = None
        for name in names:
            try:
                stages[name], stop = self.run(name, partial(train, name))
                interrupt = stages[name].interrupt
            except KeyboardInterrupt as error:
                # There is nothing of this one yet, but of the one before.
                if not stages:
                    raise
                interrupt = error
            if stop or interrupt:
                break
        return stages, interrupt
