"""Callbacks of the training loop: keep the best weights, report epochs as tasks."""

import math
from collections.abc import Callable
from typing import Any

import torch
from skorch.callbacks import Callback
from skorch.dataset import get_len

__all__ = ["KeepBest", "StopBehind", "TaskCallback"]


class KeepBest(Callback):
    """Keep the weights of the best epoch, and stop when no epoch is better any more.

    The weights that training starts from are a candidate, so that a fit never ends
    worse than it began.

    Where the criterion gives one loss for each member of an ensemble, each member keeps
    the weights of its own best epoch. Each parameter of the module then has the members
    as its first dimension.

    Parameters
    ----------
    patience : int
        Epochs in which no member gets better before training stops.
    own_share : float, default=1.0
        Weight of a member's own held-out loss in judging an epoch; the mean over the
        members has the rest. Members that learn the same function, each with few
        held-out rows, judge better together.

    Attributes
    ----------
    best_epoch_ : int
        The last epoch that was better than those before it; 0 is the start.
    best_weights_ : dict of str to torch.Tensor
        State of the module.
    best_losses_ : torch.Tensor of shape (n_members,) or ()
        Held-out loss of each member at the epoch whose weights are kept.
    """

    def __init__(self, patience: int, own_share: float = 1.0) -> None:
        self.patience = patience
        self.own_share = own_share

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.best_epoch_ = 0
        self._flat_best = net.flat_average_.clone()
        views = net.weights_.state(self._flat_best)
        # Of the buffers, which the net's own state shares, too.
        self._buffers = net.average_.keys() - net.weights_.names
        self.best_weights_ = views | {
            name: net.average_[name].clone() for name in self._buffers
        }
        self._best_judgement = self.best_losses_ = torch.tensor(math.inf)
        self._total, self._n_rows = 0.0, 0
        _, held_out = net.get_split_datasets(X, y)
        for batch in net.get_iterator(held_out, training=False):
            self.on_batch_end(net, batch, training=False, **net.validation_step(batch))
        self._judge(net, epoch=0)

    def on_batch_end(self, net, batch=None, training=True, losses=None, **kwargs):
        if not training:
            n_rows = get_len(batch[0])
            self._total = self._total + losses.double() * n_rows
            self._n_rows += n_rows

    def on_epoch_end(self, net, **kwargs):
        epoch = len(net.history)
        self._judge(net, epoch)
        if epoch - self.best_epoch_ >= self.patience:
            net.stop_ = True

    def on_train_end(self, net, **kwargs):
        net.return_to(self.best_weights_)

    def _judge(self, net, epoch):
        losses = self._total / self._n_rows
        if losses.numel() == 1:
            # The only member owns all parameters, whatever their first dimension is.
            losses = losses.reshape(())
        self._total, self._n_rows = 0.0, 0
        judgement = torch.lerp(losses.mean(), losses, self.own_share)
        # NaN is not better.
        better = judgement < self._best_judgement
        if better.any():
            self.best_epoch_ = epoch
            self._keep(net, better)
        self._best_judgement = torch.where(better, judgement, self._best_judgement)
        self.best_losses_ = torch.where(better, losses, self.best_losses_)

    def _keep(self, net, better):
        """Copy the weights of the members that are better."""
        names = self.best_weights_
        if better.dim() == 0:
            # All at once.
            self._flat_best.copy_(net.flat_average_)
            names = self._buffers
        for name in names:
            self.best_weights_[name][better] = net.average_[name][better]

    @property
    def best_loss_(self) -> float:
        """Mean of the members' losses at the epochs whose weights are kept."""
        return self.best_losses_.mean().item()


class StopBehind(Callback):
    """Stop a training that will not come up to another's held-out loss.

    What it gained in the last epochs, a few times over, bounds what it still gains, for
    learning slows down.

    Parameters
    ----------
    loss : float
        Held-out loss of the other.
    """

    # Epochs whose gain is looked at, how often it is granted again, and the epochs
    # before the first judgement. Over 22 pairs of curves of flows none that was stopped
    # by these would have won.
    n_epochs, n_times, n_first = 20, 3, 10

    def __init__(self, loss: float) -> None:
        self.loss = loss

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self._best = [net.keeper_.best_loss_]

    def on_epoch_end(self, net, **kwargs):
        best = net.keeper_.best_loss_
        self._best.append(best)
        gain = self._best[-self.n_epochs - 1 :][0] - best
        if len(self._best) > self.n_first and best - self.n_times * gain > self.loss:
            net.stop_ = True


class TaskCallback(Callback):
    """Report each epoch as a task to scikit-learn's callbacks.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
        Of the task whose subtasks the epochs are.
    estimator : estimator instance
        The estimator being fitted.
    data : dict
        "X" and "y" as they were given.
    fitted_attributes : callable
        Called with the net it gives the attributes of the estimator as if training had
        ended with this epoch.
    """

    def __init__(
        self,
        context: Any,
        estimator: Any,
        data: dict[str, Any],
        fitted_attributes: Callable[[Any], dict[str, Any]],
    ) -> None:
        self.context = context
        self.estimator = estimator
        self.data = data
        self.fitted_attributes = fitted_attributes

    def _arguments(self, net):
        return {
            "estimator": self.estimator,
            "reconstruction_attributes": lambda: self.fitted_attributes(net),
            **self.data,
        }

    def on_epoch_begin(self, net, **kwargs):
        self.epoch_ = self.context.subcontext(task_name="epoch")
        self.epoch_.call_on_fit_task_begin(**self._arguments(net))

    def on_epoch_end(self, net, **kwargs):
        if self.epoch_.call_on_fit_task_end(**self._arguments(net)):
            net.stop_ = True
