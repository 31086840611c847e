"""A network f(x) @ g(y) for the dependence of two vectors, on a Gaussian copula.

Each batch of n pairs has n (n - 1) rows with permuted partners, for the price of two
small matrices: that is what the product form is for. So small a network is trained four
times as fast by numpy as by torch, whose time goes into the number of its operations.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from skdre.auto._pair_columns import PairColumns
from skdre.auto._pair_models import EllipticPairs, PairModel, fit_base

__all__ = ["PairNetwork", "fit_network"]

_BATCH, _HIDDEN, _FACTORS = 256, 64, 24
_RATE, _DECAY = 4e-3, 1e-2
# Of Adam: how the means of gradients and of squares fade.
_FADE, _FADE_SQUARES, _TINY = 0.9, 0.999, 1e-8
_MOST_NORM = 1.0
# Steps: so many for each pair, within bounds; and how many looks without a gain end it.
_LEAST, _MOST, _LOOK, _PATIENCE = 400, 1500, 40, 6
_HELD_OUT, _MOST_HELD_OUT = 0.15, 1500
# Members: so many of few pairs, of which one network is noisy; one of many.
_MEMBERS, _FEW = 2, 6000
# Held-out pairs that are each other's permuted partners.
_BLOCK = 250


@dataclass(frozen=True)
class PairNetwork(PairModel):
    """The log ratio of a Gaussian copula, and a network's addition to it.

    Attributes
    ----------
    base : EllipticPairs
    columns : PairColumns
    members : list of list of list of (ndarray, ndarray)
        Weights and biases of the layers of f and of g of each network; the log ratio
        is the mean of theirs.
    """

    base: EllipticPairs
    columns: PairColumns
    members: list[Any]

    def first(self, x):
        dx = self.base.columns_of(x, 0)
        part = self.base.first_of(dx)
        return np.column_stack(
            [self._factors(self.columns.of_first(dx, part), 0), part]
        )

    def second(self, y):
        dy = self.base.columns_of(y, 1)
        part = self.base.second_of(dy)
        return np.column_stack(
            [self._factors(self.columns.of_second(dy, part), 1), part]
        )

    def _factors(self, columns, side):
        """What is added of x or y alone, and the factors of all members."""
        found = [_forward(columns, each[side])[-1] for each in self.members]
        factors = [each[:, 1:] for each in found]
        alone = np.mean([each[:, 0] for each in found], axis=0)
        return np.column_stack([alone, *factors])

    def of_parts(self, first, second):
        n = len(self.members)
        k = 1 + n * _FACTORS
        f, g = first[:, :k], second[:, :k]
        product = np.einsum("ij,ij->i", f[:, 1:], g[:, 1:]) / (n * np.sqrt(_FACTORS))
        return self.base.of_parts(first[:, k:], second[:, k:]) + (
            product + f[:, 0] + g[:, 0]
        )


def _forward(rows, layers):
    """What goes into each layer, sums between two inputs, and last the output."""
    kept = [np.asarray(rows, dtype=np.float32)]
    for weight, bias in layers[:-1]:
        sums = kept[-1] @ weight + bias
        kept += [sums, sums * _sigmoid(sums)]
    weight, bias = layers[-1]
    return [*kept, kept[-1] @ weight + bias]


def _backward(kept, layers, slope, gradients):
    """Write the gradient by each layer's weights, from that by the output."""
    for k in range(len(layers) - 1, -1, -1):
        weight, bias = gradients[k]
        np.matmul(kept[2 * k].T, slope, out=weight)
        np.sum(slope, axis=0, out=bias)
        if k:
            sums = kept[2 * k - 1]
            share = _sigmoid(sums)
            slope = (slope @ layers[k][0].T) * share * (1 + sums * (1 - share))


def _sigmoid(values):
    return 1 / (1 + np.exp(-np.clip(values, -60, 60)))


def _softplus(values):
    # The logarithm is far faster than log1p, and as exact as single precision asks for.
    return np.maximum(values, 0) + np.log(1 + np.exp(-np.abs(values)))


class _Net:
    """Layers that are views of one vector of weights."""

    def __init__(self, n_inputs, rng):
        self.shapes = []
        for n_in in n_inputs:
            sizes = [n_in, _HIDDEN, _HIDDEN, 1 + _FACTORS]
            self.shapes.append([(a, b) for a, b in pairwise(sizes)])
        size = sum((a + 1) * b for net in self.shapes for a, b in net)
        self.weights = np.zeros(size, dtype=np.float32)
        self.gradient = np.zeros_like(self.weights)
        self.nets, self.gradients = self.views(self.weights), self.views(self.gradient)
        for net in self.nets:
            for weight, bias in net:
                bound = 1 / np.sqrt(len(weight))
                weight[:] = rng.uniform(-bound, bound, weight.shape)
                bias[:] = rng.uniform(-bound, bound, bias.shape)
            # The start is the Gaussian copula alone, nearly.
            weight, bias = net[-1]
            weight *= 0.3
            weight[:, 0] = bias[0] = 0

    def views(self, vector):
        start, nets = 0, []
        for shapes in self.shapes:
            net = []
            for a, b in shapes:
                weight = vector[start : start + a * b].reshape(a, b)
                bias = vector[start + a * b : start + (a + 1) * b]
                net.append((weight, bias))
                start += (a + 1) * b
            nets.append(net)
        return nets


@dataclass(frozen=True)
class _Rows:
    """Columns for f and g, and the parts of the copula's log ratio a @ b + c + d."""

    x: np.ndarray
    y: np.ndarray
    left: np.ndarray
    right: np.ndarray
    of_x: np.ndarray
    of_y: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, base, columns, dx, dy, number):
        first, second = base.first_of(dx), base.second_of(dy)
        a, b = first[:, :-1], second[:, :-1]
        of_y = 0.5 * (second[:, -1] - np.sum(b**2, axis=1) - base.log_size)
        parts = (
            columns.of_first(dx, first),
            columns.of_second(dy, second),
            a,
            b,
            -0.5 * np.sum(a**2, axis=1),
            of_y,
        )
        return cls(*(np.asarray(each, dtype=np.float32) for each in parts), number)

    def __getitem__(self, index):
        return _Rows(*(getattr(self, name)[index] for name in self.__annotations__))

    def matrix(self, f, g):
        """Log ratios of each x with each y."""
        product = f[:, 1:] @ (g[:, 1:].T / np.float32(np.sqrt(_FACTORS)))
        product += self.left @ self.right.T
        product += (self.of_x + f[:, 0])[:, None]
        product += self.of_y + g[:, 0]
        return product

    @property
    def is_other(self):
        """Which pairs are permuted ones."""
        return self.number[:, None] != self.number


def _loss(rows, nets):
    """Balanced log loss of pairs and of their permutations."""
    f, g = (
        _forward(each, net)[-1]
        for each, net in zip((rows.x, rows.y), nets, strict=True)
    )
    matrix, other = rows.matrix(f, g), rows.is_other
    permuted = _softplus(matrix) * other
    return (_softplus(-matrix.diagonal()).mean() + permuted.sum() / other.sum()) / 2


def _write_gradient(rows, net):
    """The gradient of the loss by the weights, into the vector of the net."""
    kept = [
        _forward(each, layers)
        for each, layers in zip((rows.x, rows.y), net.nets, strict=True)
    ]
    f, g = kept[0][-1], kept[1][-1]
    slope = _sigmoid(rows.matrix(f, g))
    own = slope.diagonal() - 1
    other = rows.is_other
    slope *= other
    slope *= np.float32(0.5 / other.sum())
    slope[np.diag_indices(len(slope))] = own * np.float32(0.5 / len(slope))
    scale = np.float32(1 / np.sqrt(_FACTORS))
    by_f = np.column_stack([slope.sum(axis=1), slope @ g[:, 1:] * scale])
    by_g = np.column_stack([slope.sum(axis=0), slope.T @ f[:, 1:] * scale])
    for k, by in enumerate((by_f, by_g)):
        _backward(kept[k], net.nets[k], by, net.gradients[k])


def _train(training, held, net, rng):
    """The weights of least loss at held-out pairs; or those that add nothing."""
    n = len(training.x)
    size = min(_BATCH, n)
    n_steps = int(min(max((n + len(held.x)) * 30 / _BATCH, _LEAST), _MOST))
    blocks = [held[i : i + _BLOCK] for i in range(0, len(held.x) - 1, _BLOCK)]

    def look():
        return float(np.mean([_loss(each, net.nets) for each in blocks]))

    weights, gradient = net.weights, net.gradient
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    kept = weights.copy()
    _silence(net, kept)
    current = weights.copy()
    weights[:] = kept
    best, waited = look(), 0
    weights[:] = current
    order, at = rng.permutation(n), 0
    for step in range(n_steps):
        if at + size > n:
            order, at = rng.permutation(n), 0
        _write_gradient(training[order[at : at + size]], net)
        at += size
        norm = np.sqrt(gradient @ gradient)
        if norm > _MOST_NORM:
            gradient *= _MOST_NORM / norm
        mean += (1 - _FADE) * (gradient - mean)
        square += (1 - _FADE_SQUARES) * (gradient**2 - square)
        rate = _RATE * (1 + np.cos(np.pi * step / n_steps)) / 2
        weights *= 1 - rate * _DECAY
        part = np.sqrt(square / (1 - _FADE_SQUARES ** (step + 1))) + _TINY
        weights -= rate / (1 - _FADE ** (step + 1)) * mean / part
        if (step + 1) % _LOOK == 0:
            now = look()
            waited += 1
            if now < best:
                best, kept, waited = now, weights.copy(), 0
            if waited >= _PATIENCE:
                break
    return kept


def _silence(net, vector):
    for layers in net.views(vector):
        for values in layers[-1]:
            values[:] = 0


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
    base = fit_base(x, y)
    dx, dy = base.columns(x, y)
    columns = PairColumns.of(base, dx, dy)
    n = len(x)
    cluster = np.arange(n) if cluster is None else cluster
    number = np.unique(cluster, return_inverse=True)[1].ravel()
    rng = np.random.RandomState(seed)
    rows = _Rows.of(base, columns, dx, dy, number)
    n_groups = number.max() + 1
    n_held = max(2, round(min(_HELD_OUT, _MOST_HELD_OUT / n) * n_groups))
    members = []
    for _ in range(int(np.clip(round(_FEW / n), 1, _MEMBERS))):
        is_held = (rng.permutation(n_groups) < n_held)[number]
        net = _Net((rows.x.shape[1], rows.y.shape[1]), rng)
        training, held = (rows[np.flatnonzero(each)] for each in (~is_held, is_held))
        members.append(net.views(_train(training, held, net, rng)))
    return PairNetwork(base, columns, members)
