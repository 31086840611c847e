"""What a candidate is told that trains networks inside its own fit."""

import time
from contextlib import contextmanager

import numpy as np
from skorch.callbacks import Callback

from skdre._nn.estimator import NetworkMixin

__all__ = ["stopped_at"]


class StopAt(Callback):
    """End the training of a network with the epoch in which its time ends."""

    def __init__(self, deadline):
        self.deadline = deadline

    def on_epoch_end(self, net, **kwargs):
        if time.perf_counter() > self.deadline:
            net.stop_ = True


@contextmanager
def stopped_at(estimator, deadline):
    """Let the training of a network that is fitted inside end when the time does.

    The best weights so far are kept, as at the end of any training.
    """
    if not (isinstance(estimator, NetworkMixin) and np.isfinite(deadline)):
        yield
        return
    params = estimator.get_params(deep=False)
    if "callbacks" not in params:
        yield
        return
    given = params["callbacks"]
    estimator.set_params(callbacks=[*(given or ()), StopAt(deadline)])
    try:
        yield
    finally:
        estimator.set_params(callbacks=given)
