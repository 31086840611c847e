"""A network f(x) @ g(y) for the dependence of two vectors, on a Gaussian copula.

Each batch of n pairs has n (n - 1) rows with permuted partners, for the price of two
small matrices: that is what the product form is for.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from skdre.auto._pair_models import EllipticPairs, fit_base

__all__ = ["PairNetwork", "fit_network"]

_BATCH, _HIDDEN, _FACTORS = 256, 64, 24
_RATE, _DECAY = 4e-3, 1e-2
# Steps: so many for each pair, within bounds; and how many looks without a gain end it.
_LEAST, _MOST, _LOOK, _PATIENCE = 400, 1500, 40, 6
_HELD_OUT, _MOST_HELD_OUT = 0.15, 1500


@dataclass(frozen=True)
class PairNetwork:
    """The log ratio of a Gaussian copula, and a network's addition to it.

    Attributes
    ----------
    base : EllipticPairs
    first, second : list of (ndarray, ndarray)
        Weights and biases of the layers of f and of g.
    """

    base: EllipticPairs
    first: list[Any]
    second: list[Any]

    def log_ratio(self, x, y):
        """Log ratio at pairs."""
        Z = self.base.columns(x, y)
        n_x = self.base.n_x
        f, g = _forward(Z[:, :n_x], self.first), _forward(Z[:, n_x:], self.second)
        return self.base.of_columns(Z) + _of_factors(f, g)


def _forward(Z, layers):
    Z = Z.astype(np.float32)
    for number, (weight, bias) in enumerate(layers):
        Z = Z @ weight.T + bias
        if number < len(layers) - 1:
            Z = Z / (1 + np.exp(-np.clip(Z, -60, 60)))
    return Z.astype(np.float64)


def _of_factors(f, g):
    product = np.einsum("ij,ij->i", f[:, 1:], g[:, 1:]) / np.sqrt(_FACTORS)
    return product + f[:, 0] + g[:, 0]


def _quadratic_form(base):
    """The Gaussian's log ratio as x @ cross @ y + of_x + of_y, for centred columns."""
    n = base.n_x
    precision = np.linalg.inv(base.matrix)
    own = [np.linalg.inv(base.matrix[s, s]) for s in (slice(None, n), slice(n, None))]
    log_dets = [
        np.linalg.slogdet(base.matrix[s, s])[1]
        for s in (slice(None, n), slice(n, None), slice(None))
    ]
    of_x = -0.5 * (precision[:n, :n] - own[0])
    of_y = -0.5 * (precision[n:, n:] - own[1])
    constant = 0.5 * (log_dets[0] + log_dets[1] - log_dets[2])
    return -precision[:n, n:], of_x, of_y, constant


def fit_network(x, y, cluster, seed):
    """Train on the pairs, all others of a batch being permuted partners.

    Parameters
    ----------
    x, y : ndarray of shape (n_pairs, n_columns)
    cluster : ndarray of int of shape (n_pairs,) or None
        Pairs of one number are no partners of each other, and held out together.
    seed : int

    Returns
    -------
    network : PairNetwork
    """
    import torch
    from torch import nn
    from torch.nn.functional import softplus

    base = fit_base(x, y)
    Z = base.columns(x, y)
    n, n_x = len(Z), base.n_x
    cluster = np.arange(n) if cluster is None else cluster
    number = np.unique(cluster, return_inverse=True)[1].ravel()
    rng = np.random.RandomState(seed)
    order = rng.permutation(number.max() + 1)[number]
    share = min(_HELD_OUT, _MOST_HELD_OUT / n)
    is_held = order < max(2, round(share * (number.max() + 1)))
    generator = torch.Generator().manual_seed(int(seed))

    cross, of_x, of_y, constant = _quadratic_form(base)
    deviation = Z - base.center
    dx, dy = deviation[:, :n_x], deviation[:, n_x:]
    parts = (
        Z[:, :n_x],
        Z[:, n_x:],
        dx @ cross,
        dy,
        ((dx @ of_x) * dx).sum(axis=1) + constant,
        ((dy @ of_y) * dy).sum(axis=1),
    )
    parts = [torch.as_tensor(each, dtype=torch.float32) for each in parts]
    group = torch.as_tensor(number)

    def network(n_in):
        sizes = [n_in, _HIDDEN, _HIDDEN, 1 + _FACTORS]
        layers = []
        for k, (a, b) in enumerate(pairwise(sizes)):
            layer = nn.Linear(a, b)
            bound = 1 / np.sqrt(a)
            with torch.no_grad():
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
                if k == len(sizes) - 2:
                    # The start is the Gaussian copula alone.
                    layer.weight[0] = 0
                    layer.bias[0] = 0
                    layer.weight *= 0.3
            layers.append(layer)
        return nn.ModuleList(layers)

    # Which global seed the layers were made with does not matter, nor is it changed.
    state = torch.get_rng_state()
    nets = nn.ModuleList([network(n_x), network(Z.shape[1] - n_x)])
    torch.set_rng_state(state)

    def apply(layers, rows):
        for layer in layers[:-1]:
            rows = nn.functional.silu(layer(rows))
        return layers[-1](rows)

    def log_ratios(index):
        x_, y_, left, right, alone_x, alone_y = (each[index] for each in parts)
        f, g = apply(nets[0], x_), apply(nets[1], y_)
        matrix = left @ right.T + f[:, 1:] @ g[:, 1:].T / np.sqrt(_FACTORS)
        return matrix + (alone_x + f[:, 0])[:, None] + (alone_y + g[:, 0])

    def loss(index):
        matrix, own = log_ratios(index), group[index]
        other = own[:, None] != own
        joint = softplus(-matrix.diagonal()).mean()
        permuted = softplus(matrix)[other].mean()
        return (joint + permuted) / 2

    training, held = (torch.as_tensor(np.flatnonzero(w)) for w in (~is_held, is_held))
    n_steps = int(np.clip(n * 30 / _BATCH, _LEAST, _MOST))
    optimizer = torch.optim.AdamW(nets.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)

    def look():
        with torch.no_grad():
            return float(np.mean([float(loss(each)) for each in held.split(500)]))

    best, kept, waited = look(), _weights(nets, zero=True), 0
    for step in range(n_steps):
        batch = torch.randint(len(training), (_BATCH,), generator=generator)
        optimizer.zero_grad()
        loss(training[batch]).backward()
        nn.utils.clip_grad_norm_(nets.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % _LOOK == 0:
            now = look()
            waited += 1
            if now < best:
                best, kept, waited = now, _weights(nets), 0
            if waited >= _PATIENCE:
                break
    return PairNetwork(base, *kept)


def _weights(nets, zero=False):
    # Copies: training goes on.
    found = [
        [
            (layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy())
            for layer in net
        ]
        for net in nets
    ]
    if zero:
        for layers in found:
            for values in layers[-1]:
                values *= 0
    return found
