"""The training loop of every torch estimator: one skorch net.

skorch runs the loop, keeps the history and calls the callbacks. What is added here is
what all estimators of the package need: mini-batches sliced from tensors, clipped
gradients, an average of the weights that is validated and kept, a way back from
divergence, and seeds that are nobody else's.
"""

import copy
import math
import warnings
from contextlib import nullcontext

import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from skorch.helper import predefined_split
from torch.func import functional_call

from skdre._nn.flat_weights import FlatWeights
from skdre._nn.settings import (
    GLOBAL_DICE,
    Dice,
    draws_by_itself,
    one_thread,
    seeded,
    usual_torch,
)

__all__ = [
    "KeepBest",
    "KeepBestMembers",
    "TaskCallback",
    "TensorBatches",
    "TensorRows",
    "TrainingNet",
    "fitted_module",
    "resolve_device",
    "seeded",
    "train",
]

# A rolled-back net goes on at this fraction of its learning rate, and gives up after
# this many times.
_ROLL_BACK_FACTOR = 0.3
_MAX_ROLL_BACKS = 8

# The learning rate rises over these steps, while Adam's moments are rough guesses.
_WARM_UP_STEPS = 20

# Batches of no more rows than this are worked on by one thread. More gain at most a
# fifth, and where other processes keep the cores busy they wait for each other at every
# operation: a fit of one second was seen to take 35.
_ONE_THREAD_ROWS = 512

# Gradients longer than this are shortened to it.
_MAX_NORM = 5.0

# The average of the weights forgets over about 1 / (1 - decay) steps; the ramp lets it
# follow the first steps, when the weights still are on their way.
_AVERAGE_DECAY = 0.99


def resolve_device(device):
    """Device to train on.

    Parameters
    ----------
    device : str
        "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:<index>".

    Returns
    -------
    device : torch.device

    Raises
    ------
    ValueError
        If the name is unknown or this machine has no such device.
    """
    has_cuda = torch.cuda.is_available()
    if device == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    name, _, index = str(device).partition(":")
    if name not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got {device!r}."
        )
    if name == "cuda":
        count = torch.cuda.device_count() if has_cuda else 0
        if int(index or 0) >= count:
            raise ValueError(
                f"device={device!r} was asked for, but torch {torch.__version__} sees "
                f"{count} CUDA devices here; use device='auto' or 'cpu'."
            )
    return torch.device(device)


class TensorRows(torch.utils.data.Dataset):
    """Rows of tensors that lie on one device.

    Parameters
    ----------
    inputs : torch.Tensor of shape (n_samples, ...)
        What the module is called with.
    *targets : torch.Tensor of shape (n_samples, ...)
        What the loss is called with beside the module's output: one tensor as it is,
        several as a tuple (labels and weights, say).
    """

    def __init__(self, inputs, *targets):
        self.tensors = (inputs, *targets)

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, index):
        inputs, *targets = (tensor[index] for tensor in self.tensors)
        return inputs, targets[0] if len(targets) == 1 else tuple(targets)

    def take(self, index):
        """Batch of the rows at `index`, a tensor of int."""
        inputs, *targets = (tensor.index_select(0, index) for tensor in self.tensors)
        return inputs, targets[0] if len(targets) == 1 else tuple(targets)


class TensorBatches:
    """Mini-batches of a :class:`TensorRows`, in place of a ``DataLoader``.

    A ``DataLoader`` fetches row by row and stacks them; here a batch is one slice of
    each tensor, on the device where it lies.

    Parameters
    ----------
    rows : TensorRows
    batch_size : int
        Most rows of a batch. The rows are dealt evenly, so no batch is left with a few
        rows and a noisy gradient.
    shuffle : bool, default=False
        Draw a new order for each pass, from the attribute `dice`.
    """

    dice = GLOBAL_DICE

    def __init__(self, rows, batch_size, shuffle=False):
        self.rows = rows
        self.batch_size = batch_size
        self.shuffle = shuffle

    def __len__(self):
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self):
        n_rows = len(self.rows)
        order = self.dice.randperm(n_rows) if self.shuffle else torch.arange(n_rows)
        order = order.to(self.rows.tensors[0].device)
        for index in order.tensor_split(len(self)):
            yield self.rows.take(index)


class KeepBest(Callback):
    """Keep the weights of the best epoch, and stop when there is no better one.

    Unlike skorch's ``EarlyStopping`` it counts the weights that training starts from as
    a candidate, so that a fit never ends worse than it began; and it is where a net
    that diverged finds its way back to.

    Parameters
    ----------
    patience : int
        Epochs without a better validation loss before the fit stops.
    """

    def __init__(self, patience):
        self.patience = patience

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.best_epoch_ = 0
        self.best_weights_ = _clone(net.average_)
        self.best_loss_ = math.inf
        _, held_out = net.get_split_datasets(X, y)
        total = sum(
            net.validation_step(batch)["loss"].item() * len(batch[0])
            for batch in net.get_iterator(held_out, training=False)
        )
        self._consider(net, total / len(held_out), epoch=0)

    def on_epoch_end(self, net, **kwargs):
        epoch = len(net.history)
        self._consider(net, net.history[-1, "valid_loss"], epoch)
        if epoch - self.best_epoch_ >= self.patience:
            net.stop_ = True

    def on_train_end(self, net, **kwargs):
        net.return_to(self.best_weights_)

    def _consider(self, net, loss, epoch):
        # A loss that is not a number compares as not better.
        if loss < self.best_loss_:
            self.best_loss_, self.best_epoch_ = loss, epoch
            self.best_weights_ = _clone(net.average_)


class KeepBestMembers(KeepBest):
    """Keep for each member of an ensemble the weights of its own best epoch.

    The criterion gives one loss for each member, and each parameter of the module has
    the members as its first dimension. Training stops when no member gets better any
    more; ``best_loss_`` is the mean of ``best_losses_``.

    Parameters
    ----------
    patience : int
        Epochs in which no member gets better before the fit stops.
    own_share : float, default=1.0
        Weight of a member's own held-out loss in judging an epoch; the rest is that of
        the mean of all members' losses. Members that learn the same thing, each with
        few held-out rows, judge better together.

    Attributes
    ----------
    best_losses_ : torch.Tensor of shape (n_members,)
        Held-out loss of each member at the epoch whose weights are kept.
    """

    def __init__(self, patience, own_share=1.0):
        super().__init__(patience)
        self.own_share = own_share

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.best_epoch_ = 0
        self.best_weights_ = _clone(net.average_)
        self.best_losses_ = self._best_judgement = torch.tensor(
            math.inf, dtype=torch.float32
        )
        self._total, self._n_rows = 0.0, 0
        _, held_out = net.get_split_datasets(X, y)
        for batch in net.get_iterator(held_out, training=False):
            self.on_batch_end(net, batch, False, **net.validation_step(batch))
        self._consider_members(net, epoch=0)

    def on_batch_end(self, net, batch=None, training=True, losses=None, **kwargs):
        if not training:
            self._total = self._total + losses * len(batch[0])
            self._n_rows += len(batch[0])

    def on_epoch_end(self, net, **kwargs):
        epoch = len(net.history)
        self._consider_members(net, epoch)
        if epoch - self.best_epoch_ >= self.patience:
            net.stop_ = True

    def _consider_members(self, net, epoch):
        losses = self._total / self._n_rows
        self._total, self._n_rows = 0.0, 0
        judgement = torch.lerp(losses.mean(), losses, self.own_share)
        # A loss that is not a number compares as not better.
        better = judgement < self._best_judgement
        if better.any():
            self.best_epoch_ = epoch
            for name, best in self.best_weights_.items():
                best[better] = net.average_[name][better]
        self._best_judgement = torch.where(better, judgement, self._best_judgement)
        self.best_losses_ = torch.where(better, losses, self.best_losses_)
        self.best_loss_ = self.best_losses_.mean().item()


class TaskCallback(Callback):
    """Report each epoch as a task to scikit-learn's callbacks.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
        Of the task that the epochs are part of.
    estimator : estimator instance
        The estimator being fitted.
    data : dict
        "X" and "y" as they came.
    fitted_attributes : callable
        Of the net; gives the attributes with which the estimator is as fitted.
    """

    def __init__(self, context, estimator, data, fitted_attributes):
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


def _clone(weights):
    return {name: value.clone() for name, value in weights.items()}


class TrainingNet(NeuralNet):
    """skorch net that averages its weights and survives divergence.

    Each step clips the gradient and moves an exponential average of the weights; the
    average is what is validated and kept, since it is smoother than any single step
    (Polyak averaging). A loss or gradient that is not finite makes no step: the net
    goes back to its best weights, at a lower learning rate.

    Parameters
    ----------
    module : torch.nn.Module
        On the device of the rows.
    criterion : callable
        The loss is ``criterion(module(inputs), targets)``, a mean over the batch, or
        a vector of such means, one for each member of an ensemble.
    dice : Dice
        What batches and module draw from: given to those that have an attribute
        ``dice``; to other modules as torch's own.
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
        Whether the training ends with this epoch: callbacks may set it, and all of them
        are told of the end of the epoch first.
    n_roll_backs_ : int
        How often a loss or gradient was not finite.
    """

    def __init__(
        self, module, criterion, *, dice, average_decay=_AVERAGE_DECAY, **kwargs
    ):
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
        self.average_ = self.weights_.state(self.flat_average_)
        self.n_steps_ = self.n_roll_backs_ = 0
        self.interrupted_ = self.stop_ = False
        return self

    def initialize_criterion(self):
        self.criterion_ = self.criterion
        return self

    def get_all_learnable_params(self):
        yield "flat", self.weights_.flat

    def _set_training(self, training=True):
        # Once an epoch: the way through all modules takes as long as a layer.
        if self.module_.training != training:
            super()._set_training(training)

    def get_default_callbacks(self):
        # The table is laid out at every epoch, whether it is printed or not.
        return [
            (name, callback)
            for name, callback in super().get_default_callbacks()
            if self.verbose or name != "print_log"
        ]

    def get_iterator(self, dataset, training=False):
        iterator = super().get_iterator(dataset, training)
        if training and hasattr(iterator, "dice"):
            iterator.dice = self.dice
        return iterator

    def fit_loop(self, X, y=None, epochs=None, **kwargs):
        try:
            for _ in range(self.max_epochs if epochs is None else epochs):
                super().fit_loop(X, y, 1, **kwargs)
                if self.stop_:
                    break
        except KeyboardInterrupt:
            self.interrupted_ = True
        return self

    def notify(self, method_name, **kwargs):
        getattr(self, method_name)(self, **kwargs)
        for _, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **kwargs)
            except KeyboardInterrupt:
                # skorch's way of stopping, which is not the user's Ctrl-C.
                if not isinstance(callback, EarlyStopping):
                    raise
                self.stop_ = True

    def finished_epochs(self):
        """Records of the epochs that came to their end."""
        return [epoch for epoch in self.history if "valid_loss" in epoch]

    @property
    def interrupt_(self):
        """What to raise, once the weights are in place, if Ctrl-C came; or None."""
        if not self.interrupted_:
            return None
        return KeyboardInterrupt(
            f"Training was interrupted in epoch {len(self.history)}; the weights of "
            f"the best epoch, {self.keeper_.best_epoch_}, are kept."
        )

    @property
    def keeper_(self):
        return dict(self.callbacks_)["keep_best"]

    def learning_rate(self):
        """Learning rate of the next step: a short rise, then a cosine to zero."""
        done = (len(self.history) - 1) / self.max_epochs
        rise = min(1.0, (self.n_steps_ + 1) / _WARM_UP_STEPS)
        fall = (1 + math.cos(math.pi * done)) / 2
        return self.lr * rise * fall * _ROLL_BACK_FACTOR**self.n_roll_backs_

    def train_step(self, batch, **fit_params):
        # In place: the gradients of the parameters are views of it.
        self.weights_.flat.grad.zero_()
        step = self.train_step_single(batch, **fit_params)
        norm = torch.nn.utils.clip_grad_norm_(self.weights_.flat, _MAX_NORM)
        if not (math.isfinite(step["loss"].item()) and math.isfinite(norm.item())):
            # When it has given up the epoch goes on to its end, which all are told of.
            if self.n_roll_backs_ < _MAX_ROLL_BACKS:
                self._roll_back()
            return step
        for group in self.optimizer_.param_groups:
            group["lr"] = self.learning_rate()
        self._step_optimizer(None)
        self.n_steps_ += 1
        self._move_average()
        return step

    def _move_average(self):
        # The ramp lets the average follow the first steps closely.
        decay = min(self.average_decay, (1 + self.n_steps_) / (10 + self.n_steps_))
        self.flat_average_.lerp_(self.weights_.flat.detach(), 1 - decay)

    def _roll_back(self):
        self.n_roll_backs_ += 1
        self.return_to(self.keeper_.best_weights_)
        self.optimizer_.state.clear()
        self.stop_ = self.stop_ or self.n_roll_backs_ >= _MAX_ROLL_BACKS

    def return_to(self, weights):
        """Give the module, and the average, weights of an earlier epoch."""
        self.module_.load_state_dict(weights)
        self.flat_average_.copy_(self.weights_.flat.detach())

    def get_loss(self, y_pred, y_true, X=None, training=False):
        loss = super().get_loss(y_pred, y_true, X=X, training=training)
        return loss if loss.ndim == 0 or not training else loss.mean()

    def validation_step(self, batch, **fit_params):
        step = super().validation_step(batch, **fit_params)
        if step["loss"].ndim == 0:
            return step
        return step | {"loss": step["loss"].mean(), "losses": step["loss"]}

    def infer(self, x, **fit_params):
        if self.module_.training:
            with self.dice.as_global() if self.draws_by_itself_ else nullcontext():
                return super().infer(x, **fit_params)
        return functional_call(self.module_, self.average_, (x,), fit_params)


def fitted_module(net):
    """The module of a net as an estimator keeps it: a copy that trains no further.

    While the net is trained it has the average of the weights, afterwards the best.
    """
    module = copy.deepcopy(net.module_)
    module.load_state_dict(net.average_)
    return module.double().eval().requires_grad_(False)


def train(
    module,
    criterion,
    rows,
    held_out=None,
    *,
    max_epochs,
    batch_size,
    learning_rate,
    weight_decay=0.0,
    patience,
    seed,
    keeper=KeepBest,
    callbacks=(),
    verbose=0,
    **net_params,
):
    """Train a module; it ends with the weights of the best held-out loss.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place, on the device where `rows` lie.
    criterion : callable
        The loss, ``criterion(module(inputs), targets)``, a mean over the batch; one
        for each member with ``keeper=KeepBestMembers``.
    rows : TensorRows
        Training rows.
    held_out : TensorRows, default=None
        Rows whose loss decides which epoch is kept; the training rows if None.
    max_epochs, batch_size, learning_rate, weight_decay, patience
        Of AdamW and of the loop. The learning rate falls to zero along a cosine.
    seed : int
        Seeds the batches and what the module draws.
    keeper : callable, default=KeepBest
        :class:`KeepBest` or :class:`KeepBestMembers`, called with `patience`.
    callbacks : list of skorch callbacks, default=()
        Called after those of the net, which is their ``net`` argument.
    verbose : int, default=0
        Above 0, a line for each epoch.
    **net_params : dict
        Further parameters of :class:`TrainingNet`, or others in place of those below.

    Returns
    -------
    net : TrainingNet
        With ``history``, ``interrupt_`` and ``keeper_.best_loss_``. At Ctrl-C it has
        the best weights so far, and who calls raises ``interrupt_`` when these are
        where they belong.

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
    device = rows.tensors[0].device
    params = {
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": weight_decay,
        "optimizer__fused": True,
        "lr": learning_rate,
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "iterator_train": TensorBatches,
        "iterator_train__shuffle": True,
        "iterator_valid": TensorBatches,
        # Without gradients a batch can be larger at the same memory.
        "iterator_valid__batch_size": max(batch_size, 4096),
        "train_split": predefined_split(rows if held_out is None else held_out),
        "callbacks": [("keep_best", keeper(patience)), *callbacks],
        "device": device,
        "dice": Dice(seed, device),
        "verbose": verbose,
    }
    net = TrainingNet(module, criterion, **params | net_params)
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
