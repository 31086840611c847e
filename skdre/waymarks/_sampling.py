"""Rows of all waymarks from pairs of rows, and batches of them."""

import numpy as np
import torch

from skdre._nn.batches import TensorRows, cumulative_shares, stratified_draws
from skdre._nn.settings import GLOBAL_DICE
from skdre.waymarks._placement import path_coefficients

__all__ = ["HeldOutPairs", "PairBatches", "Waymarks", "draw_pairs", "sample_shares"]

# Pairs that a member's held-out loss is computed at: twice as many as it has rows of
# the larger sample, within these bounds.
_HELD_OUT_PAIRS = 64, 500


class Waymarks(torch.utils.data.Dataset):
    """The waymarks between two samples, as rows on a device.

    Columns with a few values go over from the denominator's value to the numerator's at
    a random time, uniform and the same for all of them, instead of along the path.

    Parameters
    ----------
    inputs : torch.Tensor of shape (n_rows, n_features)
        Standardised rows, the denominator's first.
    problem : skdre.waymarks._problem.Problem
        That they are the rows of.
    coupled : bool
        Whether the same pair and noise give the rows of all waymarks.
    """

    def __init__(self, inputs, problem, coupled):
        self.inputs = inputs
        self.n_denominator = n_denominator = problem.rows.n_denominator
        self.times = problem.times
        self.is_noisy = problem.path.is_noisy
        self.coupled = coupled

        def column(values):
            return torch.as_tensor(values).to(inputs)[:, None, None]

        share = torch.as_tensor(problem.rows.weight).to(inputs)[:, None]
        center_q, center_p = (
            (inputs[part] * share[part]).sum(dim=0) / share[part].sum()
            for part in (slice(n_denominator), slice(n_denominator, None))
        )
        a, b, s = path_coefficients(problem.path, problem.times)
        self.a, self.b, self.t = column(a), column(b), column(problem.times)
        # Constant columns get no noise.
        self.noise = column(s) * torch.as_tensor(problem.varies).to(inputs)
        # The mean goes straight from one sample's to the other's.
        self.offset = (1 - self.t - self.a) * center_q + (self.t - self.b) * center_p
        self.is_discrete = None
        if problem.is_discrete.any():
            self.is_discrete = torch.as_tensor(problem.is_discrete).to(inputs.device)

    def __len__(self):
        return len(self.inputs)

    @property
    def n_draws(self):
        """Pairs that the rows of all waymarks come from: one, or one each."""
        return 1 if self.coupled else len(self.times)

    def randomness(self, shape, dice=GLOBAL_DICE):
        """Noise and switching times, each None if not needed.

        `shape` is (n_pairs, n_draws, n_members).
        """
        options = {"device": self.inputs.device, "dtype": self.inputs.dtype}
        noise = switch = None
        if self.is_noisy:
            noise = dice.randn(*shape, self.inputs.shape[1], **options)
        if self.is_discrete is not None:
            switch = dice.rand(*shape, 1, **options)
        return noise, switch

    def rows(self, in_q, in_p, noise=None, switch=None):
        """Rows of shape (n_pairs, n_waymarks, n_members, n_features).

        `in_q` and `in_p`, of shape (n_pairs, n_draws, n_members), are the numbers of
        the pairs' rows within each sample; noise and switch are of :meth:`randomness`.
        """
        x_q, x_p = self.inputs[in_q], self.inputs[in_p + self.n_denominator]
        rows = self.offset + self.a * x_q + self.b * x_p
        if noise is not None:
            rows = rows + self.noise * noise
        if switch is not None:
            mixed = torch.where(switch < self.t, x_p, x_q)
            rows = torch.where(self.is_discrete, mixed, rows)
        return rows


def draw_pairs(shares, n_pairs, n_batches, n_draws, dice=GLOBAL_DICE):
    """Numbers of the rows of random pairs, stratified in each sample.

    Of the denominator and of the numerator, of shape
    (n_batches, n_pairs, n_draws, n_members); `shares` are those of
    :func:`sample_shares`, and every waymark can have a draw of its own.
    """
    numbers = []
    for cumulative in shares:
        index = stratified_draws(cumulative, n_pairs, n_batches * n_draws, dice)
        index = index.unflatten(0, (n_batches, n_draws)).transpose(1, 2)
        # Strata come in order; shuffled, they are paired at random.
        order = dice.rand(*index.shape).argsort(dim=1)
        numbers.append(index.gather(1, order))
    return numbers


class PairBatches:
    """Batches of the rows of all waymarks, from pairs that are drawn anew each time.

    Takes the place of a ``DataLoader``; an iteration is one epoch.

    Parameters
    ----------
    waymarks : Waymarks
    batch_size : int
        Pairs of a batch for each member.
    dice : skdre._nn.settings.Dice
    n_batches : int
        Batches of an epoch.
    shares : pair of torch.Tensor
        Of :func:`sample_shares`.
    """

    def __init__(self, waymarks, batch_size, dice, *, n_batches, shares):
        self.dice = dice
        self.waymarks = waymarks
        self.batch_size = batch_size
        self.n_batches = n_batches
        self.shares = shares

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        waymarks = self.waymarks
        pairs = draw_pairs(
            self.shares, self.batch_size, self.n_batches, waymarks.n_draws, self.dice
        )
        pairs = [each.to(waymarks.inputs.device) for each in pairs]
        for in_q, in_p in zip(*pairs, strict=True):
            noise = waymarks.randomness(in_q.shape, self.dice)
            yield waymarks.rows(in_q, in_p, *noise), ()


class HeldOutPairs(TensorRows):
    """Pairs of held-out rows; a batch of them is the rows of all waymarks.

    Parameters
    ----------
    waymarks : Waymarks
    held_out : ndarray of shape (n_members, n_rows)
        Repetition counts of the rows that each member holds out.
    dice : skdre._nn.settings.Dice
    """

    def __init__(self, waymarks, held_out, dice=GLOBAL_DICE):
        self.waymarks = waymarks
        shares = sample_shares(held_out, waymarks.n_denominator)
        most = max(
            int((part > 0).sum(axis=1).max())
            for part in np.split(held_out, [waymarks.n_denominator], axis=1)
        )
        n_pairs = int(np.clip(2 * most, *_HELD_OUT_PAIRS))
        device = waymarks.inputs.device
        pairs = [
            each[0].to(device)
            for each in draw_pairs(shares, n_pairs, 1, waymarks.n_draws, dice)
        ]
        super().__init__(*pairs, *waymarks.randomness(pairs[0].shape, dice))

    def take(self, index):
        return self.waymarks.rows(
            *(None if each is None else each[index] for each in self.tensors)
        ), ()


def sample_shares(weight, n_denominator):
    """Cumulative shares of the rows within each sample, of weights for each member."""
    return [
        cumulative_shares(part) for part in np.split(weight, [n_denominator], axis=1)
    ]
