"""What LikelihoodRatioAligner trains, where there is no closed form, and judges by."""

import copy
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch import nn

from skdre._nn.batches import (
    DomainBatches,
    TensorRows,
    cumulative_shares,
    held_out_rows,
)
from skdre._nn.estimator import late_gain, n_epochs_and_batches
from skdre._nn.training import train
from skdre.flows._likelihood import PerturbedRows, log_density, through

__all__ = [
    "DomainLogDensity",
    "DomainRows",
    "StopAtSmallGradient",
    "gradient_norm",
    "own_log_likelihood",
    "shared_log_likelihood",
    "summed_loss",
    "train_densities",
    "train_on_domains",
    "warn_of_single_rows",
    "warn_unless_aligned",
]

# Epochs between two looks at the gradient over all rows, which costs about as much as
# the training steps of an epoch.
_GRADIENT_EPOCHS = 4


def own_log_likelihood(densities, samples, weights):
    """Mean log density of each sample under its own density, summed over the two.

    In nats; the samples are mapped rows of the source and of the target.
    """
    return sum(
        float(np.average(through(density, log_density, U), weights=w))
        for density, U, w in zip(densities, samples, weights, strict=True)
    )


def shared_log_likelihood(flow, density, samples, weights):
    """The same under one density, of the source after the transform T of a flow.

    The log-determinant of T's Jacobian is in it. The log-likelihood ratio, Eq. 2 of the
    paper, is :func:`own_log_likelihood` less this.
    """

    def move(transform, u):
        moved, log_det = transform.call_and_ladj(u)
        return torch.cat([moved, log_det[:, None]], dim=1)

    source, target = samples
    values = through(flow, move, source)
    of_source = through(density, log_density, values[:, :-1]) + values[:, -1]
    of_target = through(density, log_density, target)
    return float(
        np.average(of_source, weights=weights[0])
        + np.average(of_target, weights=weights[1])
    )


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

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) % _GRADIENT_EPOCHS:
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


def train_densities(densities, data, noise_scale, seeds, *, max_iter, **params):
    """Train the samples' own densities, and their common one while nothing moves.

    Parameters
    ----------
    densities : sequence of three zuko.flows.Flow
        Of the source, of the target, and of both; trained in place.
    data : DomainRows
    noise_scale : sequence of float of length n_features
    seeds : sequence of int
    max_iter : int
        Steps that the map will get. The samples' own densities get twice as many, for
        the common one is trained again together with the map, and shall not end nearer
        to its maximum than they do. It gets a fifth now: when it knows every detail of
        both samples no small step of the map is of use any more.
    **params : dict
        Of :func:`train_on_domains`.

    Returns
    -------
    gain : float
        What the samples' own densities gained in the last third of the steps, in nats.

    Raises
    ------
    KeyboardInterrupt
        At Ctrl-C: no map has been trained that could be kept.
    """
    *own, shared = densities
    device = data.rows.tensors[0].device
    module = DomainLogDensity(own, None, noise_scale).float().to(device)
    params["seed"] = int(seeds[0])
    net = train_on_domains(module, data, max_iter=2 * max_iter, **params)
    losses = [epoch["valid_loss"] for epoch in net.finished_epochs()]
    gain = late_gain(-np.array(losses), n_epochs_and_batches(2 * max_iter)[0])
    if net.interrupt_:
        raise net.interrupt_
    module = DomainLogDensity([shared], None, noise_scale).float().to(device)
    params["seed"] = int(seeds[2])
    net = train_on_domains(module, data, max_iter=-(-max_iter // 5), **params)
    if net.interrupt_:
        raise net.interrupt_
    return gain


def warn_of_single_rows(samples, classes):
    names = ("denominator", "numerator")
    for name, label, sample in zip(names, classes, samples, strict=True):
        if len(sample) == 1:
            warnings.warn(
                f"The {name} (y == {label.item()!r}) has one distinct row, which has "
                "no spread to be matched: an affine map between Gaussians is a mere "
                "shift then, and other maps mean little. Give more rows of it.",
                UserWarning,
                stacklevel=6,
            )


def warn_unless_aligned(ratio, gain, *, tol, max_iter, density):
    """Say why a log-likelihood ratio certifies nothing, if so."""
    if gain > tol:
        message = (
            f"The single samples' densities still gained {gain:.2g} nats in the "
            f"last third of the steps with max_iter={max_iter}, so the ratio "
            f"({ratio:.2g} nats) is not yet one of maxima. Increase max_iter."
        )
    elif ratio < -tol:
        message = (
            f"The log-likelihood ratio is {ratio:.2g} nats, below its bound 0, so "
            "it certifies nothing. Either the densities of the single samples are "
            "not at their maximum: increase max_iter, or change learning_rate. Or "
            "the map makes the source easier to fit than it was: take a more "
            f"flexible density than {density!r}."
        )
    elif not ratio <= tol:
        message = (
            f"The samples are not aligned: the log-likelihood ratio is {ratio:.2g} "
            f"nats, above tol={tol:g}. Increase max_iter, or take a more "
            "flexible flow; align moments by an affine map first if the samples "
            "hardly overlap."
        )
    else:
        return
    warnings.warn(message, ConvergenceWarning, stacklevel=6)
