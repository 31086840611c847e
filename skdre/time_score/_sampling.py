"""Draws of pairs and times, and the law that times are drawn with."""

from collections import deque
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from skdre._core.folds import member_folds
from skdre._nn.batches import TensorRows, cumulative_shares, stratified_draws
from skdre._nn.settings import GLOBAL_DICE
from skdre.time_score._losses import Draws

__all__ = ["DrawBatches", "LossHistory", "UniformTimes", "batches_and_held_out"]

# Draws that the held-out loss is the mean over, always the same ones: some for each
# held-out row of the larger sample, within bounds.
_DRAWS_PER_ROW = 8
_HELD_OUT_DRAWS = 512, 8192


class UniformTimes:
    """Times uniform on an interval, one in each of as many strata.

    Parameters
    ----------
    margin : float
        Length left out at both ends of [0, 1].
    """

    def __init__(self, margin):
        self.margin = margin

    def draw(self, n_draws, dice=GLOBAL_DICE):
        """Times and their importance, each of shape (n_draws,)."""
        u = (dice.randperm(n_draws) + dice.rand(n_draws)) / n_draws
        return u.clamp(self.margin, 1 - self.margin), torch.ones_like(u)

    def update(self, t, losses):
        """Uniform times do not depend on the losses."""


class LossHistory(UniformTimes):
    """Times drawn where losses are large, as the last batches were ([1]_, Eq. 11).

    The variance of a mean of losses is least if times are drawn in proportion to the
    root of the mean squared loss at each. As in appendix D.1 of [1]_, the losses of the
    last batches are kept, each batch in order of time; the root of the mean square of
    each place is a weight at the mean time of the place; a ridge regression on
    polynomials of degree 4 carries the weights over to all times, and its absolute
    value counts. A tenth of the uniform law is mixed in, so that no time is left out.

    Until the buffer is full times are uniform.

    Parameters
    ----------
    margin : float
        Length left out at both ends of [0, 1].
    n_batches : int, default=100
        Batches whose losses are kept: B in [1]_.

    References
    ----------
    .. [1] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via
       Infinitesimal Classification", AISTATS 2022, section 5.1 and appendix D.1.
    """

    n_cells = 500
    uniform_share = 0.1
    refit_every = 25

    def __init__(self, margin, n_batches=100):
        super().__init__(margin)
        self.buffer = deque(maxlen=n_batches)
        self.density = np.ones(self.n_cells)
        self.n_updates = 0

    def update(self, t, losses):
        """Record the losses of a batch, tensors of shape (n_draws,)."""
        order = torch.argsort(t)
        batch = torch.stack([t[order], losses[order]]).cpu().numpy()
        if np.isfinite(batch).all():
            self.buffer.append(batch.astype(np.float64))
        self.n_updates += 1
        full = len(self.buffer) == self.buffer.maxlen
        if full and self.n_updates % self.refit_every == 0:
            t, losses = np.stack(self.buffer).transpose(1, 0, 2)
            weights = np.sqrt(np.mean(losses**2, axis=0))
            self.density = self.fit(t.mean(axis=0), weights)

    def fit(self, t, weights):
        """Density of the times, in equal cells of [0, 1], from weights at some."""
        cells = (np.arange(self.n_cells) + 0.5) / self.n_cells
        model = make_pipeline(PolynomialFeatures(4), Ridge(alpha=0.001))
        model.fit(t[:, None], weights / (np.mean(weights) or 1.0))
        density = np.abs(model.predict(cells[:, None]))
        total = density.mean()
        density = density / total if total > 0 else np.ones(self.n_cells)
        return (1 - self.uniform_share) * density + self.uniform_share

    def draw(self, n_draws, dice=GLOBAL_DICE):
        """Times and their importance, each of shape (n_draws,)."""
        u, _ = super().draw(n_draws, dice)
        ends = np.append(0.0, np.cumsum(self.density) / self.n_cells)
        t = np.interp(u.numpy(), ends / ends[-1], np.linspace(0, 1, len(ends)))
        cell = np.minimum((t * self.n_cells).astype(int), self.n_cells - 1)
        t = torch.as_tensor(t, dtype=torch.float32).clamp(self.margin, 1 - self.margin)
        return t, torch.as_tensor(1 / self.density[cell], dtype=torch.float32)


class DrawBatches:
    """Batches of draws, made anew each time, in place of a ``DataLoader``.

    The pairs are drawn in proportion to the rows' weights. An iteration is one epoch.

    Parameters
    ----------
    rows : TensorRows
        Standardised rows, the denominator's first.
    batch_size : int
        Draws of a batch.
    dice : skdre._nn.settings.Dice
        Draws rows, times and noise.
    n_batches : int
        Batches of an epoch.
    shares : pair of torch.Tensor of shape (1, n_denominator) and (1, n_numerator)
        Of :func:`skdre._nn.batches.cumulative_shares`.
    times : UniformTimes
        Draws the times, when a batch is asked for.
    gaussian : bool
        Whether the denominator's rows are drawn from N(0, I), not from the sample.
    """

    def __init__(self, rows, batch_size, dice, *, n_batches, shares, times, gaussian):
        self.inputs = rows.tensors[0]
        self.n_draws, self.dice, self.n_batches = batch_size, dice, n_batches
        self.shares, self.times, self.gaussian = shares, times, gaussian

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        dice, inputs, n_draws = self.dice, self.inputs, self.n_draws
        denominator, numerator = (
            stratified_draws(each, n_draws, self.n_batches, dice)[..., 0]
            for each in self.shares
        )
        # Strata come in order: without a shuffle they would be paired by it.
        order = dice.rand(*numerator.shape).argsort(dim=1)
        numerator = numerator.gather(1, order) + self.shares[0].shape[1]
        denominator, numerator = (
            each.to(inputs.device) for each in (denominator, numerator)
        )
        for in_q, in_p in zip(denominator, numerator, strict=True):
            t, importance = (
                each[:, None].to(inputs) for each in self.times.draw(n_draws, dice)
            )
            x0, x1 = inputs[in_q], inputs[in_p]
            if self.gaussian:
                x0 = dice.randn(*x0.shape).to(inputs)
            noise = dice.randn(*x0.shape).to(inputs)
            direction = torch.sign(dice.rand(*x0.shape) - 0.5).to(inputs)
            switch = dice.rand(n_draws, 1).to(inputs)
            yield Draws(t, importance, x0, x1, noise, direction, switch), ()


class DrawnRows(TensorRows):
    """Draws that stay the same; a batch of them is again draws."""

    def take(self, index):
        """Batch of the draws at `index`, a tensor of int."""
        return Draws(*(each.index_select(0, index) for each in self.tensors)), ()


def batches_and_held_out(inputs, rows, times, *, n_batches, gaussian, dice):
    """What makes batches of the training rows, and draws of those held out.

    `inputs` are the standardised rows and `rows` has their weights. The batches are for
    the training loop, their times drawn from `times`; the held-out draws, made with
    `dice`, have uniform ones.
    """
    folds = member_folds(rows, 1)
    held_out = rows.weight if folds is None else folds[0]
    training = rows.weight - held_out
    if not training.any():
        training = held_out

    def batches(weight, times, n_batches):
        return partial(
            DrawBatches,
            n_batches=n_batches,
            shares=[cumulative_shares(part[None]) for part in rows.split(weight)],
            times=times,
            gaussian=gaussian,
        )

    n_rows = max(np.count_nonzero(part) for part in rows.split(held_out))
    n_draws = int(np.clip(_DRAWS_PER_ROW * n_rows, *_HELD_OUT_DRAWS))
    once = batches(held_out, UniformTimes(times.margin), 1)
    ((draws, _),) = once(TensorRows(inputs), n_draws, dice)
    return batches(training, times, n_batches), DrawnRows(*draws)
