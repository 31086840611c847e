"""Networks with one head for each bridge, and how they are trained."""

from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from skdre._core.scales import FAR_SINGLE
from skdre._nn.networks import EnsembleLinear, EnsembleMLP, draw_in
from skdre._nn.settings import Dice
from skdre._nn.training import KeepBestMembers, train
from skdre.waymarks._sampling import HeldOutPairs, PairBatches, sample_shares

__all__ = ["BridgeEnsemble", "class_losses", "ratio_losses", "train_bridges"]

# As of MLPRatio: a member's own held-out loss counts half in judging it.
_OWN_SHARE = 0.5

# Pairs that go through the network at once when it is not trained.
_CHUNK_PAIRS = 500


class BridgeEnsemble(nn.Module):
    """An ensemble of trunks, each shared by all heads.

    Parameters
    ----------
    n_members : int
        Number of members.
    n_inputs : int
        Columns of the input, standardised.
    hidden_features : sequence of int
        Widths of the hidden layers of a trunk. Without any the heads see the
        standardised columns as they are; otherwise tails are drawn in first.
    n_heads : int
        Outputs of each member.
    head : {"linear", "quadratic"}, default="linear"
        b^T h + c of the trunk's output h, or h^T W h + b^T h + c; and, with a trunk, a
        linear function of the inputs.
    activation : {"elu", "silu", "tanh"}, default="silu"
        Of the hidden layers.
    """

    def __init__(
        self,
        n_members,
        n_inputs,
        hidden_features,
        n_heads,
        head="linear",
        activation="silu",
    ):
        super().__init__()
        self.n_members = n_members
        self.n_heads = n_heads
        self.has_trunk = len(hidden_features) > 0
        layers = EnsembleMLP(
            n_members, n_inputs, hidden_features, n_heads, activation=activation
        ).layers
        self.trunk, self.linear = layers[:-1], layers[-1]
        self.quadratic = None
        if head == "quadratic":
            width = hidden_features[-1] if self.has_trunk else n_inputs
            # W of all heads side by side. It has no bias; the linear part has one.
            self.quadratic = EnsembleLinear(n_members, width, n_heads * width, 0.1, 0.0)
            self.quadratic.bias.requires_grad_(False)

        # Beside the trunk's output the heads see its input.
        self.skip = None
        if self.has_trunk:
            self.skip = EnsembleLinear(n_members, n_inputs, n_heads, 0.0, 0.0)

    @torch.no_grad()
    def start_from(self, W, b, c):
        """Let the outputs at first be x^T W x + x^T b + c, nearly.

        With a trunk W is not used.

        Parameters
        ----------
        W : ndarray of shape (n_heads, n_inputs, n_inputs)
        b : ndarray of shape (n_inputs, n_heads)
        c : ndarray of shape (n_heads,)
        """
        linear = self.skip or self.linear
        linear.weight.copy_(torch.as_tensor(b).expand_as(linear.weight))
        linear.bias.copy_(torch.as_tensor(c).expand_as(linear.bias))
        if not self.has_trunk and self.quadratic is not None:
            W = torch.as_tensor(W).permute(1, 0, 2).flatten(1)
            self.quadratic.weight.copy_(W.expand_as(self.quadratic.weight))

    def forward(self, x):
        """Outputs of all heads.

        Parameters
        ----------
        x : torch.Tensor of shape (..., n_members, n_inputs) or (n_rows, n_inputs)
            Rows for each member, or the same rows for all.

        Returns
        -------
        output : torch.Tensor of shape (..., n_members, n_heads)
        """
        if x.ndim == 2:
            x = x.unsqueeze(1).expand(-1, self.n_members, -1)
        shape = x.shape[:-1]
        x = x.flatten(0, -3).transpose(0, 1)
        if self.has_trunk:
            x = draw_in(x)
        else:
            x = x.clamp(-FAR_SINGLE, FAR_SINGLE)
        h = self.trunk(x)
        output = self.linear(h)
        if self.quadratic is not None:
            product = self.quadratic(h).unflatten(-1, (self.n_heads, -1))
            output = output + (product * h.unsqueeze(-2)).sum(dim=-1)
        if self.skip is not None:
            output = output + self.skip(x)
        return output.transpose(0, 1).reshape(*shape, self.n_heads)


def ratio_losses(output, targets=None):
    """Log loss of each bridge's ratio at its two waymarks, for each member.

    Parameters
    ----------
    output : torch.Tensor of shape (n_pairs, n_bridges + 1, n_members, n_bridges)
        Log ratios of all bridges at the rows of all waymarks.
    targets : tuple
        Not used: the place of a row says what it is.

    Returns
    -------
    losses : torch.Tensor of shape (n_members, n_bridges)
        In nats.
    """
    numerator, denominator = bridge_scores(output)
    loss = functional.softplus(-numerator) + functional.softplus(denominator)
    return loss.mean(dim=0) / 2


def bridge_scores(output):
    """Each bridge's log ratio at the rows of its two ends, numerator's first.

    Parameters
    ----------
    output : torch.Tensor of shape (n_pairs, n_bridges + 1, n_members, n_bridges)

    Returns
    -------
    numerator, denominator : torch.Tensor of shape (n_pairs, n_members, n_bridges)
    """
    return (
        output[:, 1:].diagonal(dim1=1, dim2=3),
        output[:, :-1].diagonal(dim1=1, dim2=3),
    )


def class_losses(output, targets=None):
    """Cross-entropy of the waymarks as classes of equal size, for each member.

    Parameters
    ----------
    output : torch.Tensor of shape (n_pairs, n_waymarks, n_members, n_waymarks)
        Log densities of all waymarks, up to a constant, at the rows of all waymarks.
    targets : tuple
        Not used: the place of a row says what it is.

    Returns
    -------
    losses : torch.Tensor of shape (n_members,)
        In nats.
    """
    log_share = functional.log_softmax(output, dim=-1)
    return -log_share.diagonal(dim1=1, dim2=3).mean(dim=(0, 2))


class KeepBestBridges(KeepBestMembers):
    """Judge a member by the mean loss of its bridges."""

    def on_batch_end(self, net, batch=None, training=True, losses=None, **kwargs):
        if losses is not None and losses.ndim == 2:
            losses = losses.mean(dim=1)
        super().on_batch_end(net, batch, training, losses=losses, **kwargs)


def train_bridges(
    network, waymarks, weight, held_out, *, criterion, n_batches, seed, **params
):
    """Train an ensemble on pairs of rows, in place.

    Parameters
    ----------
    network : BridgeEnsemble
        On the device of the waymarks' rows.
    waymarks : skdre.waymarks._sampling.Waymarks
    weight : ndarray of shape (n_rows,)
        Repetition counts.
    held_out : ndarray of shape (n_members, n_rows) or None
        The parts of them that each member holds out.
    criterion : callable
        :func:`ratio_losses` or :func:`class_losses`.
    n_batches : int
        Batches of an epoch.
    seed : int
        Seeds the held-out pairs and the training.
    **params : dict
        Of :func:`skdre._nn.training.train`.

    Returns
    -------
    net : TrainingNet
    outputs : torch.Tensor of shape (n_pairs, n_waymarks, n_members, n_heads)
        Of the trained network, at the held-out pairs.
    """
    training = np.tile(weight, (network.n_members, 1))
    if held_out is None:
        held_out = training
    else:
        training = training - held_out
    pairs = HeldOutPairs(waymarks, held_out, Dice(seed, waymarks.inputs.device))
    net = train(
        network,
        criterion,
        pairs,
        keeper=partial(KeepBestBridges, own_share=_OWN_SHARE),
        iterator_train=partial(
            PairBatches,
            waymarks=waymarks,
            n_batches=n_batches,
            shares=sample_shares(training, waymarks.n_denominator),
        ),
        iterator_valid__batch_size=_CHUNK_PAIRS,
        seed=seed,
        **params,
    )
    with torch.no_grad():
        outputs = torch.cat(
            [
                network(pairs.take(index)[0])
                for index in torch.arange(len(pairs)).split(_CHUNK_PAIRS)
            ]
        )
    return net, outputs
