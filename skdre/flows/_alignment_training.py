"""What LikelihoodRatioAligner trains, where there is no closed form."""

import copy
import math

import torch
from skorch.callbacks import Callback
from torch import nn

from skdre._nn.batches import (
    DomainBatches,
    TensorRows,
    cumulative_shares,
    held_out_rows,
)
from skdre._nn.estimator import n_epochs_and_batches
from skdre._nn.training import train
from skdre.flows._likelihood import PerturbedRows, log_density

__all__ = [
    "DomainLogDensity",
    "DomainRows",
    "StopAtSmallGradient",
    "gradient_norm",
    "summed_loss",
    "train_on_domains",
    "train_shared",
]

# Epochs between two looks at the gradient over all rows, which costs about as much as
# the training steps of an epoch.
_GRADIENT_EPOCHS = 4


class DomainLogDensity(PerturbedRows):
    """Log density of labelled rows, those of the source after a transform.

    Parameters
    ----------
    densities : sequence of zuko.flows.Flow
        That of the source and that of the target, or the one that they share.
    transform : zuko.flows.Flow or None
        Its transform moves the source; its log-determinant is added.
    noise_scale : sequence of float of length n_features
        Of :class:`PerturbedRows`.
    """

    def __init__(self, densities, transform, noise_scale):
        super().__init__(noise_scale)
        self.densities = nn.ModuleList(densities)
        self.transform = transform
        self.requires_grad_()

    def forward(self, rows):
        """Log density in nats, of the shape of `rows` without the last axis.

        The last column of `rows` is above 0 in rows of the source.
        """
        flat = rows.reshape(-1, rows.shape[-1])
        u, is_source = self.perturbed(flat[:, :-1]), flat[:, -1] > 0
        values = torch.zeros_like(flat[:, 0])
        if self.transform is not None and is_source.any():
            moved, log_det = self.transform().transform.call_and_ladj(u[is_source])
            u = u.masked_scatter(is_source[:, None], moved)
            values = values.masked_scatter(is_source, log_det)
        if len(self.densities) == 1:
            values = values + log_density(self.densities[0]().transform, u)
        else:
            for flow, part in zip(self.densities, (is_source, ~is_source), strict=True):
                if part.any():
                    found = log_density(flow().transform, u[part])
                    values = values.masked_scatter(part, values[part] + found)
        return values.reshape(rows.shape[:-1])


class DomainRows:
    """Rows of source and target, as the trainings take them.

    Parameters
    ----------
    samples : pair of ndarray of shape (n_samples, n_features)
        Of the source and of the target.
    weights : pair of ndarray of shape (n_samples,)
        Repetition counts.
    device : torch.device
    """

    def __init__(self, samples, weights, device):
        parts = []
        for rows, sign in zip(samples, (1.0, -1.0), strict=True):
            rows = torch.tensor(rows, dtype=torch.float32, device=device)
            parts.append(nn.functional.pad(rows, (0, 1), value=sign))
        inputs = torch.cat(parts)
        self.rows = TensorRows(inputs, inputs.new_ones(len(inputs)))
        self.shares = [cumulative_shares(weight[None]) for weight in weights]
        # Those that judge an epoch: the training rows, or many of them.
        weight = torch.cat([torch.as_tensor(each) for each in weights])
        self.judges = held_out_rows(inputs, len(samples[0]), weight[None].numpy())


def summed_loss(log_density, targets):
    """Minus the mean log density of each domain, summed over the two."""
    _, weight = targets
    return -2 * (weight * log_density).mean()


class StopAtSmallGradient(Callback):
    """Stop when the gradient over the rows is small, as Algorithm 1 does.

    The norm is that of the gradient with respect to all parameters, at the averaged
    weights and without noise; it is recorded as "gradient_norm".

    Parameters
    ----------
    rows : TensorRows
    tol : float
        In nats.
    """

    def __init__(self, rows, tol):
        self.rows = rows
        self.tol = tol

    def on_train_begin(self, net, **kwargs):
        self.loss_ = math.inf

    def on_epoch_end(self, net, **kwargs):
        if self.tol == 0 or len(net.history) % _GRADIENT_EPOCHS:
            return
        loss = net.history[-1]["valid_loss"]
        fell, self.loss_ = self.loss_ - loss, loss
        # A look costs as much as ten steps, and a loss that falls is no reason to stop.
        if self.tol < fell < math.inf:
            return
        norm = gradient_norm(net.module_, net.average_, self.rows)
        net.history.record("gradient_norm", norm)
        if norm < self.tol:
            net.stop_ = True


def gradient_norm(module, state, rows):
    """Norm of the gradient of the loss over all rows, in nats, at a state of a module.

    It is computed in a copy: a continuous flow finds its parameters again in the
    backward pass, after whatever stood in for them in the forward one has gone.
    """
    module = copy.deepcopy(module).requires_grad_().eval()
    module.load_state_dict(state)
    inputs, *targets = rows.tensors
    loss = summed_loss(module(inputs), targets)
    gradient = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    squares = [g.square().sum() for g in gradient if g is not None]
    return float(torch.stack(squares).sum().sqrt())


def train_on_domains(
    module,
    data,
    *,
    max_iter,
    batch_size,
    patience,
    gradient_tol,
    callbacks=(),
    **params,
):
    """Train a :class:`DomainLogDensity` by maximum likelihood on all rows.

    Every batch has half of its rows from each domain. No rows are held out: the bound
    on the log-likelihood ratio holds for maxima over the rows it is computed from. What
    else is given goes to :func:`skdre._nn.training.train`.
    """
    n_epochs, n_batches = n_epochs_and_batches(max_iter)
    stop = StopAtSmallGradient(data.judges, gradient_tol)
    return train(
        module,
        summed_loss,
        data.rows,
        data.judges,
        max_epochs=n_epochs,
        batch_size=batch_size,
        patience=-(-patience // n_batches),
        iterator_train=DomainBatches,
        iterator_train__n_batches=n_batches,
        iterator_train__shares=data.shares,
        callbacks=[("gradient", stop), *callbacks],
        **params,
    )


def train_shared(density, data, noise_scale, *, max_iter, **params):
    """Train the density that both samples share while nothing moves yet, in place.

    It gets a fifth of the map's steps: when it knows every detail of both samples no
    small step of the map is of use any more, and when it knows nothing the map takes
    the coarse shapes to each other, whichever way round.

    Raises
    ------
    KeyboardInterrupt
        At Ctrl-C: no map has been trained that could be kept.
    """
    device = data.rows.tensors[0].device
    module = DomainLogDensity([density], None, noise_scale).float().to(device)
    net = train_on_domains(module, data, max_iter=-(-max_iter // 5), **params)
    if net.interrupt_:
        raise net.interrupt_
