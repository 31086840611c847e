"""Epochs as tasks of scikit-learn's callbacks; what keeps the best: test_training."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from skdre._nn.batches import TensorRows
from skdre._nn.callbacks import TaskCallback
from skdre._nn.training import train


class Context:
    """Of a task, told of the epochs; it asks for a stop at the end of one of them."""

    def __init__(self, last):
        self.last = last
        self.told = []

    def subcontext(self, *, task_name):
        assert task_name == "epoch"
        return SimpleNamespace(
            call_on_fit_task_begin=lambda **given: self.told.append(("begin", given)),
            call_on_fit_task_end=self.end,
        )

    def end(self, **given):
        self.told.append(("end", given))
        return len(self.told) // 2 == self.last


@pytest.mark.parametrize(("last", "n_epochs"), [(2, 2), (None, 4)])
def test_epochs_are_tasks_that_can_end_the_training(last, n_epochs):
    context, data = Context(last), {"X": "rows", "y": "labels"}
    callback = TaskCallback(context, "estimator", data, lambda net: {"net_": net})
    net = train(
        nn.Linear(1, 1),
        nn.MSELoss(),
        TensorRows(torch.ones(8, 1), torch.ones(8, 1)),
        max_epochs=4,
        batch_size=4,
        learning_rate=0.01,
        patience=10,
        seed=0,
        callbacks=[("sklearn", callback)],
    )
    assert [name for name, _ in context.told] == n_epochs * ["begin", "end"]
    for _, given in context.told:
        assert given.pop("reconstruction_attributes")() == {"net_": net}
        assert given == {"estimator": "estimator", **data}
    assert not net.interrupted_
