"""Mini-batches of two samples for an ensemble, each member with rows of its own."""

import numpy as np
import torch

from skdre._nn.settings import GLOBAL_DICE

__all__ = [
    "DomainBatches",
    "TensorBatches",
    "TensorRows",
    "cumulative_shares",
    "held_out_rows",
    "stratified_draws",
]

# Rows of a domain that a member's validation loss is computed at, at most: its standard
# error is then about 0.01, and validation takes a small part of the time.
_MAX_HELD_OUT = 2500


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
    dice : skdre._nn.settings.Dice, default=None
        Draws a new order for each pass; without it the rows come as they lie.
    """

    def __init__(self, rows, batch_size, dice=None):
        self.rows = rows
        self.batch_size = batch_size
        self.dice = dice

    def __len__(self):
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self):
        n_rows = len(self.rows)
        order = (
            torch.arange(n_rows) if self.dice is None else self.dice.randperm(n_rows)
        )
        order = order.to(self.rows.tensors[0].device)
        for index in order.tensor_split(len(self)):
            yield self.rows.take(index)


def cumulative_shares(weight):
    """Shares of the rows in the total of each member, summed up, of the same shape."""
    cumulative = np.cumsum(weight, axis=-1, dtype=np.float64)
    return torch.as_tensor(cumulative / cumulative[..., -1:])


def stratified_draws(cumulative, n_draws, n_batches, dice=GLOBAL_DICE):
    """Row numbers drawn in proportion to weights, one in each of `n_draws` strata.

    Of equal weights every batch takes about every (n / n_draws)-th row once, so that a
    batch is closer to the sample than independent draws are.

    Parameters
    ----------
    cumulative : torch.Tensor of shape (n_members, n_rows)
        Of :func:`cumulative_shares`, on the CPU.
    n_draws : int
        Rows of a batch.
    n_batches : int
        Number of batches.
    dice : skdre._nn.settings.Dice

    Returns
    -------
    index : torch.Tensor of int of shape (n_batches, n_draws, n_members)
    """
    n_members, n_rows = cumulative.shape
    u = dice.rand(n_members, n_batches, n_draws, dtype=torch.float64)
    u = (u + torch.arange(n_draws)) / n_draws
    index = torch.searchsorted(cumulative, u.view(n_members, -1), right=True)
    index = index.clamp_(max=n_rows - 1).view(n_members, n_batches, n_draws)
    return index.permute(1, 2, 0)


class DomainBatches:
    """Batches that take half of their rows from each domain, whatever their sizes.

    An iteration is one epoch. Takes the place of a ``DataLoader``.

    Parameters
    ----------
    rows : TensorRows
        Inputs of shape (n_rows, n_features), the denominator's rows first.
    batch_size : int
        Rows of a batch for each member.
    dice : skdre._nn.settings.Dice
        Draws the rows.
    n_batches : int
        Batches of an epoch.
    shares : pair of torch.Tensor of shape (n_members, n_denominator) and \
            (n_members, n_numerator)
        Of :func:`cumulative_shares`.
    """

    def __init__(self, rows, batch_size, dice, *, n_batches, shares):
        self.inputs = rows.tensors[0]
        self.n_draws = max(batch_size // 2, 1)
        self.dice = dice
        self.n_batches = n_batches
        self.shares = shares
        n_members = len(shares[0])
        sign = self.inputs.new_ones(2 * self.n_draws, n_members)
        sign[: self.n_draws] = -1
        self.targets = sign, torch.ones_like(sign)

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        denominator, numerator = (
            stratified_draws(each, self.n_draws, self.n_batches, self.dice)
            for each in self.shares
        )
        numerator += self.shares[0].shape[1]
        index = torch.cat([denominator, numerator], dim=1).to(self.inputs.device)
        for batch in index:
            yield self.inputs[batch], self.targets


def held_out_rows(inputs, n_denominator, weight):
    """Each member's held-out rows side by side, with weights that balance the domains.

    Parameters
    ----------
    inputs : torch.Tensor of shape (n_rows, n_features)
        The denominator's rows first.
    n_denominator : int
        Their number.
    weight : ndarray of shape (n_members, n_rows)
        Repetition counts of the held-out rows, 0 for the others.

    Returns
    -------
    rows : TensorRows
        Inputs of shape (n_held_out, n_members, n_features); targets are the sign, 1 for
        the numerator's rows, and the weight, 0 for padding, both of shape
        (n_held_out, n_members). The mean of weight * loss over the first axis is the
        balanced loss.
    """
    members = []
    for each in weight:
        parts = np.flatnonzero(each)
        in_q, in_p = parts[parts < n_denominator], parts[parts >= n_denominator]
        members.append((in_q[:_MAX_HELD_OUT], in_p[:_MAX_HELD_OUT]))
    n_held_out = max(len(in_q) + len(in_p) for in_q, in_p in members)
    index = np.zeros((n_held_out, len(members)), int)
    sign, balanced = np.ones((2, n_held_out, len(members)), np.float32)
    balanced[:] = 0
    for k, (in_q, in_p) in enumerate(members):
        n_rows = len(in_q) + len(in_p)
        index[:n_rows, k] = np.concatenate([in_q, in_p])
        sign[: len(in_q), k] = -1
        for part, rows in (
            (slice(len(in_q)), in_q),
            (slice(len(in_q), n_rows), in_p),
        ):
            share = weight[k, rows] / weight[k, rows].sum()
            balanced[part, k] = share * n_held_out / 2
    device = inputs.device
    return TensorRows(
        inputs[torch.as_tensor(index, device=device)],
        torch.as_tensor(sign, device=device),
        torch.as_tensor(balanced, device=device),
    )
