"""The training loop of every torch estimator: one skorch net.

skorch runs the loop, keeps the history and calls the callbacks. What is ours is the
training step: it clips the gradient, averages the weights and recovers from divergence.
"""

import copy
import math
import warnings
from collections.abc import Callable, Sequence, Sized
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from skorch.helper import predefined_split
from torch import nn
from torch.func import functional_call

from skdre._nn.batches import TensorBatches
from skdre._nn.callbacks import KeepBest
from skdre._nn.flat_weights import FlatWeights, tell_held
from skdre._nn.optimizer import FlatAdamW
from skdre._nn.settings import (
    Dice,
    draws_by_itself,
    one_thread,
    usual_torch,
)

__all__ = ["TrainingNet", "fitted_module", "train"]

# A rolled-back net goes on at this fraction of its learning rate, and gives up after
# this many times.
_ROLL_BACK_FACTOR = 0.3
_MAX_ROLL_BACKS = 8

# The learning rate rises over these steps, while Adam's moments are rough guesses.
_WARM_UP_STEPS = 20

# Batches of no more rows than this are worked on by one thread. More threads gain
# little, and wait for each other at every operation where the cores are busy.
_ONE_THREAD_ROWS = 512

# Longer gradients are clipped to this norm.
_MAX_NORM = 5.0


class TrainingNet(NeuralNet):
    """skorch net that averages its weights and survives divergence.

    Each step clips the gradient and moves an exponential average of the weights; the
    average is what is validated and kept, since it is smoother than any single step
    (Polyak averaging). A loss or gradient that is not finite makes no step: the net
    returns to its best weights, at a lower learning rate.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place, on the device of the batches.
    criterion : callable
        Called without arguments it gives the loss, ``criterion_(output, targets)``: a
        mean over the batch, or a vector of such means, one for each member of an
        ensemble.
    dice : Dice
        What the module draws from: parts with an attribute ``dice`` get it, others
        draw from it as torch's global generators.
    average_decay : float, default=0.99
        The average forgets over about 1 / (1 - average_decay) steps; 0 is no average.
    **kwargs : dict
        Of :class:`skorch.NeuralNet`.

    Attributes
    ----------
    average_ : dict of str to torch.Tensor
        The average, as a state of the module.
    interrupted_ : bool
        Whether Ctrl-C ended the training.
    stop_ : bool
        Whether training ends with this epoch. Callbacks set it; all of them are told
        of the end of the epoch first.
    n_steps_ : int
        Steps made.
    n_roll_backs_ : int
        How often a loss or gradient was not finite.
    """

    def __init__(
        self,
        module: nn.Module,
        criterion: Callable,
        *,
        dice: Dice,
        average_decay: float = 0.99,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion, **kwargs)
        self.dice = dice
        self.average_decay = average_decay

    def initialize_module(self):
        super().initialize_module()
        for each in self.module_.modules():
            if hasattr(each, "dice"):
                each.dice = self.dice
        self.draws_by_itself_ = draws_by_itself(self.module_)
        self.weights_ = FlatWeights(self.module_)
        self.flat_average_ = self.weights_.flat.detach().clone()
        self.average_views_ = self.weights_.views(self.flat_average_)
        self.average_ = self.weights_.state(self.flat_average_)
        self.n_steps_ = self.n_roll_backs_ = 0
        self.interrupted_ = self.stop_ = False
        return self

    def get_all_learnable_params(self):
        yield "flat", self.weights_.flat

    def fit_loop(self, X, y=None, **kwargs):
        try:
            while len(self.history) < self.max_epochs and not self.stop_:
                super().fit_loop(X, y, epochs=1, **kwargs)
        except KeyboardInterrupt:
            self.interrupted_ = True
        return self

    def notify(self, method_name, **kwargs):
        getattr(self, method_name)(self, **kwargs)
        callbacks = self.callbacks_
        if method_name.startswith("on_batch"):
            # Told at every step: only those that listen.
            callbacks = self._listeners(method_name)
        for _, callback in callbacks:
            try:
                getattr(callback, method_name)(self, **kwargs)
            except KeyboardInterrupt:
                # skorch's way of stopping, which is not the user's Ctrl-C.
                if not isinstance(callback, EarlyStopping):
                    raise
                self.stop_ = True

    def _listeners(self, method_name):
        if method_name not in self.listeners_:
            plain = getattr(Callback, method_name)
            self.listeners_[method_name] = [
                (name, callback)
                for name, callback in self.callbacks_
                if getattr(getattr(callback, method_name), "__func__", None)
                is not plain
            ]
        return self.listeners_[method_name]

    def initialize_callbacks(self):
        super().initialize_callbacks()
        self.listeners_ = {}
        return self

    def finished_epochs(self) -> list[dict[str, Any]]:
        """Records of the epochs that came to their end."""
        return [epoch for epoch in self.history if "valid_loss" in epoch]

    @property
    def interrupt_(self) -> KeyboardInterrupt | None:
        """What to raise, once the estimator is fitted, if Ctrl-C came; or None."""
        if not self.interrupted_:
            return None
        return KeyboardInterrupt(
            f"Training was interrupted in epoch {len(self.history)}; the weights of "
            f"the best epoch, {self.keeper_.best_epoch_}, are kept."
        )

    @property
    def keeper_(self) -> KeepBest:
        """The callback that keeps the best weights."""
        return dict(self.callbacks_)["keep_best"]

    def learning_rate(self) -> float:
        """Learning rate of the next step: a short warm-up, then a cosine to zero."""
        done = (len(self.history) - 1) / self.max_epochs
        warm_up = min(1.0, (self.n_steps_ + 1) / _WARM_UP_STEPS)
        cosine = (1 + math.cos(math.pi * done)) / 2
        return self.lr * warm_up * cosine * _ROLL_BACK_FACTOR**self.n_roll_backs_

    def train_step(self, batch, **fit_params):
        # Once an epoch: the walk through all modules takes as long as a layer.
        if not self.module_.training:
            self._set_training(True)
        inputs, targets = batch
        self.weights_.clear()
        output = self.infer(inputs, **fit_params)
        loss = self.criterion_(output, targets).mean()
        loss.backward()
        self.weights_.settle()
        self.weights_.keep_zeros()
        norm = torch.linalg.vector_norm(self.weights_.gradient).item()
        if math.isfinite(loss.item()) and math.isfinite(norm):
            if norm > _MAX_NORM:
                self.weights_.gradient.mul_(_MAX_NORM / norm)
            self.optimizer_.param_groups[0]["lr"] = self.learning_rate()
            unreached = self.weights_.unreached()
            before = [values.clone() for values in unreached]
            self.optimizer_.step()
            # Nothing but weight decay can have moved them.
            for values, kept in zip(unreached, before, strict=True):
                values.copy_(kept)
            self.n_steps_ += 1
            self._move_average()
        elif self.n_roll_backs_ < _MAX_ROLL_BACKS:
            # After the last one the epoch runs to its end, without steps.
            self._roll_back()
        return {"loss": loss, "y_pred": output}

    def _move_average(self):
        # At first the average follows closely, for the weights still are on their way.
        decay = min(self.average_decay, (1 + self.n_steps_) / (10 + self.n_steps_))
        self.flat_average_.lerp_(self.weights_.flat.detach(), 1 - decay)

    def _roll_back(self):
        self.n_roll_backs_ += 1
        self.return_to(self.keeper_.best_weights_)
        self.optimizer_.state.clear()
        self.stop_ = self.stop_ or self.n_roll_backs_ >= _MAX_ROLL_BACKS

    def return_to(self, weights: dict[str, torch.Tensor]) -> None:
        """Restore weights of an earlier epoch, in the module and in the average."""
        self.module_.load_state_dict(weights)
        self.flat_average_.copy_(self.weights_.flat.detach())

    def _set_training(self, mode):
        modules = list(self.module_.modules())
        if any(type(each).train is not nn.Module.train for each in modules):
            self.module_.train(mode)
            return
        # As that does, without a call for each module.
        for each in modules:
            object.__setattr__(each, "training", mode)

    def validation_step(self, batch, **fit_params):
        if self.module_.training:
            self._set_training(False)
        inputs, targets = batch
        with torch.no_grad(), self.weights_.replaced_by(self.average_views_):
            output = self.module_(inputs, **fit_params)
            losses = self.criterion_(output, targets)
        return {"loss": losses.mean(), "losses": losses, "y_pred": output}

    def infer(self, x, **fit_params):
        if not self.module_.training:
            return functional_call(self.module_, self.average_, (x,), fit_params)
        with self.dice.as_global() if self.draws_by_itself_ else nullcontext():
            return self.module_(x, **fit_params)


def fitted_module(net: TrainingNet) -> nn.Module:
    """Copy the module of a net for an estimator to keep.

    It has the average of the weights during training and the best weights after it, in
    double precision.
    """
    module = copy.deepcopy(net.module_)
    tell_held(module, False)
    module.load_state_dict(net.average_)
    return module.double().eval().requires_grad_(False)


def train(
    module: nn.Module,
    criterion: Callable,
    rows: Sized,
    held_out: Sized | None = None,
    *,
    max_epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float = 0.0,
    patience: int,
    seed: int,
    own_share: float = 1.0,
    callbacks: Sequence[Any] = (),
    verbose: int = 0,
    **net_params: Any,
) -> TrainingNet:
    """Train a module in place; it ends with the weights of the best held-out loss.

    Parameters
    ----------
    module : torch.nn.Module
        On the device of the rows.
    criterion : callable
        The loss, ``criterion(module(inputs), targets)``: a mean over the batch, or one
        for each member of an ensemble.
    rows : torch.utils.data.Dataset
        What the batches of the training are made from: a :class:`TensorRows`, unless
        ``iterator_train`` makes them of something else.
    held_out : TensorRows, default=None
        Rows whose loss decides which epoch is kept; the training rows if None.
    max_epochs, batch_size, learning_rate, weight_decay
        Of AdamW and of the loop. The learning rate falls to zero along a cosine.
    patience, own_share
        Of :class:`KeepBest`.
    seed : int
        Seeds the batches and what the module draws.
    callbacks : sequence of skorch callbacks, default=()
        Called after the net's own.
    verbose : int, default=0
        Above 0, a line for each epoch.
    **net_params : dict
        Further parameters of :class:`TrainingNet`, or others in place of those below:
        ``iterator_train``, called with ``rows``, ``batch_size`` and ``dice``.

    Returns
    -------
    net : TrainingNet
        After Ctrl-C it has the best weights so far, and the caller raises
        ``net.interrupt_`` when the estimator is fitted.

    Raises
    ------
    FloatingPointError
        If the loss is finite neither at the start nor after any epoch.
    KeyboardInterrupt
        At Ctrl-C before the first epoch ended: there is nothing to keep.

    Warns
    -----
    ConvergenceWarning
        If a loss was not finite.
    """
    device = next(module.parameters()).device
    dice = Dice(seed, device)
    params = {
        "optimizer": partial(FlatAdamW, weight_decay=weight_decay),
        "lr": learning_rate,
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "iterator_train": TensorBatches,
        "iterator_train__dice": dice,
        "iterator_valid": TensorBatches,
        # Without gradients larger batches fit into memory.
        "iterator_valid__batch_size": max(batch_size, 4096),
        "train_split": predefined_split(rows if held_out is None else held_out),
        "callbacks": [("keep_best", KeepBest(patience, own_share)), *callbacks],
        "device": device,
        "dice": dice,
        "verbose": verbose,
        # skorch lays the table out at every epoch, whether it is printed or not.
        **({} if verbose else {"callbacks__print_log": None}),
    }
    # skorch takes a function for one that makes the criterion.
    net = TrainingNet(module, lambda: criterion, **params | net_params)
    small = device.type == "cpu" and min(batch_size, len(rows)) <= _ONE_THREAD_ROWS
    with usual_torch(grad=True), one_thread(small):
        net.fit(rows)
    net.weights_.release()
    has_weights = math.isfinite(net.keeper_.best_loss_)
    if net.interrupted_ and not (has_weights and net.finished_epochs()):
        raise KeyboardInterrupt(
            "Training was interrupted before its first epoch ended."
        )
    if not has_weights:
        raise FloatingPointError(
            "The loss is not finite at the initial weights, nor after any epoch."
        )
    if net.n_roll_backs_:
        gave_up = net.n_roll_backs_ >= _MAX_ROLL_BACKS
        warnings.warn(
            f"The training loss was not finite {net.n_roll_backs_} times; each time "
            "the best weights so far were restored and the learning rate lowered, to "
            f"{learning_rate * _ROLL_BACK_FACTOR**net.n_roll_backs_:.2g} in the end"
            f"{', where training gave up' if gave_up else ''}. Use a lower "
            "learning_rate, or look for extreme values in X.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return net
