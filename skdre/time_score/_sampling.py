"""Draws of pairs and times, and the law that times are drawn with."""

from collections import deque

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from skdre._nn.batches import stratified_draws
from skdre._nn.settings import GLOBAL_DICE
from skdre.time_score._losses import Draws

__all__ = ["DrawBatches", "LossHistory", "UniformTimes", "draw_pairs_and_times"]


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
        """Take no notice."""


class LossHistory(UniformTimes):
    """Times drawn where losses are large, as the last batches were ([1]_, Eq. 11).

    The variance of a mean of losses is least if times are drawn in proportion to the
    root of the mean squared loss at each. As in appendix D.1 of [1]_, the losses of the
    last batches are kept, each batch in order of time; the root of the mean square of
    each place is a weight at the mean time of the place; a ridge regression on
    polynomials of degree 4 carries the weights over to all times, and its absolute
    value counts. A tenth is mixed in of the uniform law, so that no time is given up.

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
        """Note the losses of a batch, tensors of shape (n_draws,)."""
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


def draw_pairs_and_times(
    inputs, shares, times, n_draws, n_batches, *, gaussian, dice=GLOBAL_DICE
):
    """Packed draws, the pairs in proportion to the rows' weights.

    Parameters
    ----------
    inputs : torch.Tensor of shape (n_rows, n_features)
        Standardised rows, the denominator's first.
    shares : pair of torch.Tensor of shape (1, n_denominator) and (1, n_numerator)
        Of :func:`skdre._nn.batches.cumulative_shares`.
    times : UniformTimes
        Draws the times, when a batch is asked for.
    n_draws, n_batches : int
    gaussian : bool
        Whether the denominator's rows are drawn from N(0, I), not from the sample.
    dice : skdre._nn.settings.Dice

    Yields
    ------
    packed : torch.Tensor of shape (n_draws, 3 + 4 n_features)
        Of :meth:`skdre.time_score._losses.Draws.pack`.
    """
    denominator, numerator = (
        stratified_draws(each, n_draws, n_batches, dice)[..., 0] for each in shares
    )
    # Strata come in order: without a shuffle they would be paired by it.
    order = dice.rand(*numerator.shape).argsort(dim=1)
    numerator = numerator.gather(1, order) + shares[0].shape[1]
    denominator, numerator = (
        each.to(inputs.device) for each in (denominator, numerator)
    )
    for in_q, in_p in zip(denominator, numerator, strict=True):
        t, importance = (each[:, None].to(inputs) for each in times.draw(n_draws, dice))
        x0, x1 = inputs[in_q], inputs[in_p]
        if gaussian:
            x0 = dice.randn(*x0.shape).to(inputs)
        noise = dice.randn(*x0.shape).to(inputs)
        direction = torch.sign(dice.rand(*x0.shape) - 0.5).to(inputs)
        switch = dice.rand(n_draws, 1).to(inputs)
        yield Draws(t, importance, x0, x1, noise, direction, switch).pack()


class DrawBatches:
    """Batches of draws, made anew each time, in place of a ``DataLoader``.

    An iteration is one epoch.

    Parameters
    ----------
    rows : Dataset
        Not used, but by skorch.
    batch_size : int
        Draws of a batch.
    shuffle : bool, default=True
        As of :class:`skdre._nn.training.TensorBatches`.
    n_batches : int
        Batches of an epoch.
    **draw_params : dict
        Of :func:`draw_pairs_and_times`.
    """

    dice = GLOBAL_DICE

    def __init__(self, rows, batch_size, shuffle=True, *, n_batches, **draw_params):
        self.batch_size = batch_size
        self.n_batches = n_batches
        self.draw_params = draw_params

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        for packed in draw_pairs_and_times(
            n_draws=self.batch_size,
            n_batches=self.n_batches,
            dice=self.dice,
            **self.draw_params,
        ):
            yield packed, ()
