"""Networks with a head for each bridge or waymark, their losses and their training."""

from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from skdre._core.folds import member_folds
from skdre._core.scales import FAR_SINGLE
from skdre._nn.networks import EnsembleLinear, EnsembleMLP, draw_in
from skdre._nn.settings import Dice
from skdre._nn.training import train
from skdre.waymarks._sampling import (
    HeldOutPairs,
    PairBatches,
    Waymarks,
    sample_shares,
)

__all__ = [
    "BridgeEnsemble",
    "ClassEnsemble",
    "class_losses",
    "ratio_losses",
    "train_ensemble",
]

# As of MLPRatio: a member's own held-out loss counts half in judging it.
_OWN_SHARE = 0.5

# Pairs that go through the network at once when it is not trained.
_CHUNK_PAIRS = 500


def ratio_losses(output, targets=None):
    """Log loss of the bridges' ratios, each at its two waymarks, in nats.

    Of shape (n_members,), from the log ratios of all bridges at the rows of all
    waymarks, of shape (n_pairs, n_bridges + 1, n_members, n_bridges). Where a row
    stands says which waymark it is of, so there are no targets.
    """
    numerator, denominator = _at_the_ends(output)
    loss = functional.softplus(-numerator) + functional.softplus(denominator)
    return loss.mean(dim=0).mean(dim=1) / 2


def _at_the_ends(log_ratios):
    """Each bridge's log ratio at the rows of its two ends, the numerator's first.

    Both of shape (n_pairs, n_members, n_bridges).
    """
    return (
        log_ratios[:, 1:].diagonal(dim1=1, dim2=3),
        log_ratios[:, :-1].diagonal(dim1=1, dim2=3),
    )


def class_losses(output, targets=None):
    """Cross-entropy of the waymarks as classes of equal size, in nats.

    Of shape (n_members,), from the log densities of all waymarks, up to a constant, at
    the rows of all waymarks, of shape (n_pairs, n_waymarks, n_members, n_waymarks).
    """
    log_share = functional.log_softmax(output, dim=-1)
    return -log_share.diagonal(dim1=1, dim2=3).mean(dim=(0, 2))


class BridgeEnsemble(nn.Module):
    """An ensemble of trunks, each with a head for every bridge: its log ratio.

    Parameters
    ----------
    n_members : int
        Number of members.
    n_inputs : int
        Columns of the input, standardised.
    hidden_features : sequence of int
        Widths of the hidden layers of a trunk. Without any the heads see the
        standardised columns as they are; otherwise tails are drawn in first.
    n_bridges : int
    head : {"linear", "quadratic"}, default="linear"
        b^T h + c of the trunk's output h, or h^T W h + b^T h + c; and, with a trunk, a
        linear function of the inputs.
    activation : {"elu", "silu", "tanh"}, default="silu"
        Of the hidden layers.
    network : OneMember, default=None
        Takes the place of the trunk and the heads, of one member.
    """

    n_more_heads = 0
    losses = staticmethod(ratio_losses)

    def __init__(
        self,
        n_members,
        n_inputs,
        hidden_features,
        n_bridges,
        head="linear",
        activation="silu",
        network=None,
    ):
        super().__init__()
        self.n_members = n_members
        self.n_heads = n_heads = n_bridges + self.n_more_heads
        self.network, self.quadratic = network, None
        if network is not None:
            self.has_trunk = True
            self.skip = EnsembleLinear(1, n_inputs, n_heads, 0.0, 0.0)
            return
        self.has_trunk = len(hidden_features) > 0
        layers = EnsembleMLP(
            n_members, n_inputs, hidden_features, n_heads, activation=activation
        ).layers
        self.trunk, self.linear = layers[:-1], layers[-1]
        if head == "quadratic":
            width = hidden_features[-1] if self.has_trunk else n_inputs
            # W of all heads side by side. It has no bias; the linear part has one.
            self.quadratic = EnsembleLinear(n_members, width, n_heads * width, 0.1, 0.0)
            self.quadratic.bias.requires_grad_(False)

        # Beside the trunk's output the heads see its input.
        self.skip = None
        if self.has_trunk:
            self.skip = EnsembleLinear(n_members, n_inputs, n_heads, 0.0, 0.0)

    @staticmethod
    def outputs_of(log_ratios):
        """Outputs that stand for log ratios, along the last axis."""
        return log_ratios

    @staticmethod
    def log_ratios_of(output):
        """The log ratios of the bridges that outputs stand for."""
        return output

    @property
    def is_quadratic(self):
        """Whether the outputs are quadratic functions of the inputs."""
        return self.quadratic is not None and not self.has_trunk

    @torch.no_grad()
    def start_from(self, W, b, c):
        """Let the log ratios at first be x^T W x + x^T b + c, nearly.

        Of shape (n_bridges, n_inputs, n_inputs), (n_inputs, n_bridges) and
        (n_bridges,); W counts only where the outputs are quadratic.
        """
        linear = self.skip or self.linear
        parts = [(linear.weight, torch.as_tensor(b)), (linear.bias, torch.as_tensor(c))]
        for parameter, log_ratios in parts:
            parameter.copy_(self.outputs_of(log_ratios).expand_as(parameter))
        if self.is_quadratic:
            outputs = self.outputs_of(torch.as_tensor(W).permute(1, 2, 0))
            weight = self.quadratic.weight
            weight.copy_(outputs.transpose(1, 2).flatten(1).expand_as(weight))

    def forward(self, x):
        """Outputs of all heads, of shape (..., n_members, n_heads).

        x has rows for each member, of shape (..., n_members, n_inputs), or the same
        rows for all, of shape (n_rows, n_inputs).
        """
        if x.ndim == 2:
            x = x.unsqueeze(1).expand(-1, self.n_members, -1)
        shape = x.shape[:-1]
        x = x.flatten(0, -3).transpose(0, 1)
        if self.has_trunk:
            x = draw_in(x)
        else:
            x = x.clamp(-FAR_SINGLE, FAR_SINGLE)
        if self.network is not None:
            output = self.network(x[0]).transpose(0, 1)
        else:
            h = self.trunk(x)
            output = self.linear(h)
        if self.quadratic is not None:
            product = self.quadratic(h).unflatten(-1, (self.n_heads, -1))
            output = output + (product * h.unsqueeze(-2)).sum(dim=-1)
        if self.skip is not None:
            output = output + self.skip(x)
        return output.transpose(0, 1).reshape(*shape, self.n_heads)


class ClassEnsemble(BridgeEnsemble):
    """An ensemble with a head for every waymark: its log density, up to a constant."""

    n_more_heads = 1
    losses = staticmethod(class_losses)

    @staticmethod
    def outputs_of(log_ratios):
        return functional.pad(log_ratios.cumsum(dim=-1), (1, 0))

    @staticmethod
    def log_ratios_of(output):
        return output.diff(dim=-1)


def train_ensemble(network, problem, coupled, *, n_batches, seed, **params):
    """Train an ensemble on pairs of rows, in place.

    Parameters
    ----------
    network : BridgeEnsemble
    problem : Problem
    coupled : bool
        Whether one pair gives a row of every waymark.
    n_batches : int
        Batches of an epoch.
    seed : int
        Seeds the held-out pairs and the training.
    **params : dict
        Of :func:`skdre._nn.training.train`.

    Returns
    -------
    net : TrainingNet
    separated : ndarray of bool of shape (n_bridges,)
        Bridges whose held-out rows it tells apart without error.
    """
    device = next(network.parameters()).device
    inputs = torch.as_tensor(problem.Z, dtype=torch.float32, device=device)
    waymarks = Waymarks(inputs, problem, coupled)
    training = np.tile(problem.rows.weight, (network.n_members, 1))
    held_out = member_folds(problem.rows, network.n_members)
    if held_out is None:
        held_out = training
    else:
        training = training - held_out
    pairs = HeldOutPairs(waymarks, held_out, Dice(seed, device))
    net = train(
        network,
        network.losses,
        waymarks,
        pairs,
        own_share=_OWN_SHARE,
        iterator_train=partial(
            PairBatches,
            n_batches=n_batches,
            shares=sample_shares(training, waymarks.n_denominator),
        ),
        iterator_valid__batch_size=_CHUNK_PAIRS,
        seed=seed,
        **params,
    )
    with torch.no_grad():
        outputs = [
            network(pairs.take(index)[0])
            for index in torch.arange(len(pairs)).split(_CHUNK_PAIRS)
        ]
    high, low = _at_the_ends(network.log_ratios_of(torch.cat(outputs)))
    separated = high.amin(dim=(0, 1)) > low.amax(dim=(0, 1))
    return net, separated.cpu().numpy()
