"""Mini-batches: of rows as they are, and of two samples for members of an ensemble."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from skdre._core.types import Floats
from skdre._nn.settings import GLOBAL_DICE, Dice

__all__ = [
    "DomainBatches",
    "RedrawnRows",
    "TensorBatches",
    "TensorRows",
    "cumulative_shares",
    "held_out_rows",
    "redrawn",
    "stratified_draws",
]

# A member's validation loss is computed at this many rows of a domain at most: its
# standard error is then about 0.01, and validation takes a small part of the time.
_MAX_HELD_OUT = 2500


class TensorRows(torch.utils.data.Dataset):
    """Rows of tensors that lie on one device.

    The module is called with the inputs; the loss with the targets, one tensor as it
    is, several as a tuple (labels and weights, say).
    """

    def __init__(self, inputs: torch.Tensor, *targets: torch.Tensor) -> None:
        self.tensors = (inputs, *targets)

    def __len__(self):
        return len(self.tensors[0])

    def inputs_at(self, index: torch.Tensor) -> torch.Tensor:
        """Inputs of the rows at `index`, a tensor of int of any shape."""
        inputs = self.tensors[0]
        return inputs.index_select(0, index) if index.dim() == 1 else inputs[index]

    def take(self, index: torch.Tensor) -> tuple[Any, Any]:
        """Batch of the rows at `index`, of shape (n_rows,)."""
        targets = [tensor.index_select(0, index) for tensor in self.tensors[1:]]
        return self.inputs_at(index), targets[0] if len(targets) == 1 else tuple(
            targets
        )


class RedrawnRows(TensorRows):
    """Rows whose inputs are drawn anew whenever a batch of them is taken.

    Parameters
    ----------
    inputs, *targets : torch.Tensor
        As of :class:`TensorRows`; the inputs are one draw of them.
    draw : callable
        Called with row numbers, an ndarray of shape (n_rows,), it gives their inputs.
    """

    def __init__(
        self,
        inputs: torch.Tensor,
        *targets: torch.Tensor,
        draw: Callable[[np.ndarray], torch.Tensor],
    ) -> None:
        super().__init__(inputs, *targets)
        self.draw = draw

    def inputs_at(self, index: torch.Tensor) -> torch.Tensor:
        drawn = self.draw(index.flatten().cpu().numpy())
        return drawn.unflatten(0, tuple(index.shape))


class TensorBatches:
    """Mini-batches of a :class:`TensorRows`, in place of a ``DataLoader``.

    A ``DataLoader`` fetches row by row and stacks them; here a batch is one slice of
    each tensor, on the device where it lies. The rows are dealt evenly into batches of
    at most `batch_size`, so no batch is left with a few rows and a noisy gradient.
    With dice, each pass has a new order.
    """

    def __init__(
        self, rows: TensorRows, batch_size: int, dice: Dice | None = None
    ) -> None:
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


def redrawn(
    *tensors: torch.Tensor, draw: Callable[[np.ndarray], torch.Tensor] | None
) -> TensorRows:
    """Rows of tensors: :class:`RedrawnRows` if there is something to draw by."""
    return RedrawnRows(*tensors, draw=draw) if draw else TensorRows(*tensors)


def cumulative_shares(weight: Floats) -> torch.Tensor:
    """Cumulative sums of each member's weights as shares of its total weight."""
    cumulative = np.cumsum(weight, axis=-1, dtype=np.float64)
    return torch.as_tensor(cumulative / cumulative[..., -1:])


def stratified_draws(
    cumulative: torch.Tensor, n_draws: int, n_batches: int, dice: Dice = GLOBAL_DICE
) -> torch.Tensor:
    """Row numbers drawn in proportion to weights, one in each of `n_draws` strata.

    From the cumulative shares, of shape (n_members, n_rows), to row numbers of shape
    (n_batches, n_draws, n_members). Of equal weights every batch takes about every
    (n / n_draws)-th row once, so that it resembles the sample more than independent
    draws do.
    """
    n_members, n_rows = cumulative.shape
    u = dice.rand(n_members, n_batches, n_draws, dtype=torch.float64)
    u = (u + torch.arange(n_draws)) / n_draws
    index = torch.searchsorted(cumulative, u.view(n_members, -1), right=True)
    index = index.clamp_(max=n_rows - 1).view(n_members, n_batches, n_draws)
    return index.permute(1, 2, 0)


class DomainBatches:
    """Batches that take half of their rows from each domain, whatever their sizes.

    Each member of an ensemble has rows of its own. An iteration is one epoch.

    Parameters
    ----------
    rows : TensorRows
        Inputs of shape (n_rows, n_features), the denominator's rows first.
    batch_size : int
        Rows of a batch for each member.
    dice : Dice
        Draws the rows.
    n_batches : int
        Batches of an epoch.
    shares : pair of torch.Tensor
        :func:`cumulative_shares` of the denominator's rows and of the numerator's.
    """

    def __init__(
        self,
        rows: TensorRows,
        batch_size: int,
        dice: Dice,
        *,
        n_batches: int,
        shares: Sequence[torch.Tensor],
    ) -> None:
        self.rows = rows
        self.n_draws = max(batch_size // 2, 1)
        self.dice = dice
        self.n_batches = n_batches
        self.shares = shares
        n_members = len(shares[0])
        sign = rows.tensors[0].new_ones(2 * self.n_draws, n_members)
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
        index = torch.cat([denominator, numerator], dim=1).to(
            self.rows.tensors[0].device
        )
        for batch in index:
            yield self.rows.inputs_at(batch), self.targets


def held_out_rows(
    inputs: torch.Tensor, n_denominator: int, weight: Floats
) -> TensorRows:
    """Each member's held-out rows side by side, with weights that balance the domains.

    From inputs of shape (n_rows, n_features), the denominator's first, and repetition
    counts of shape (n_members, n_rows), 0 for rows that are not held out. The new
    inputs have the shape (n_held_out, n_members, n_features); the targets are the sign,
    1 for the numerator's rows, and the weight, 0 for padding. The mean of weight * loss
    over the first axis is the balanced loss.
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
