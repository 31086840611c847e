"""Masked autoregressive transformations: who sees whom, and a quick inverse."""

import math
from bisect import bisect_right

import torch
from torch import Tensor, nn
from torch.nn import functional
from zuko.lazy import LazyTransform
from zuko.transforms import (
    AutoregressiveTransform,
    DependentTransform,
    MonotonicAffineTransform,
)
from zuko.utils import unpack

from skdre.flows._spline import SplineStep
from skdre.flows._steps import AffineStep, Layer, Network, Step
from skdre.flows._transforms import Bound, start_at_zero

# Layers of as many weights are multiplied in so many groups of rows, each with the
# columns that it sees: about half of the arithmetic.
_MANY_WEIGHTS = 2**17
_N_BLOCKS = 8

__all__ = ["MaskedLinear", "SpreadAutoregressive", "spread_degrees"]


def spread_degrees(n_units: int, n_features: int) -> Tensor:
    """How many of the first columns each hidden unit sees, in ascending order.

    From 1 or a little more to ``n_features - 1``, evenly spread: dealt in turn, as
    1, 2, 3, ..., the degrees of few units would leave out the later columns.
    """
    ranks = torch.arange(1, n_units + 1)
    return torch.ceil(ranks.double() * (n_features - 1) / n_units).long()


def _blocks(mask):
    """Rows of a mask in groups, and the columns between which each has its ones."""
    n_rows = -(-len(mask) // _N_BLOCKS)
    blocks = []
    for top in range(0, len(mask), n_rows):
        bottom = min(top + n_rows, len(mask))
        seen = mask[top:bottom].any(0).nonzero()
        # Of rows that see nothing the bias is left.
        left, right = (int(seen[0]), int(seen[-1]) + 1) if len(seen) else (0, 0)
        blocks.append((top, bottom, left, right))
    return tuple(blocks)


class MaskedLinear(nn.Linear):
    """Linear layer each of whose outputs sees the inputs of its row of a mask.

    Parameters
    ----------
    mask : torch.Tensor of bool of shape (n_outputs, n_inputs)
    """

    mask: Tensor
    # Whether weights outside of the mask are kept at zero, by what trains the module.
    zeros_stay = False
    blocks: tuple[tuple[int, int, int, int], ...] = ()

    def __init__(self, mask):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)
        self.blocks = _blocks(mask) if mask.numel() >= _MANY_WEIGHTS else ()

    def held(self, is_held: bool) -> None:
        """Told by :class:`skdre._nn.flat_weights.FlatWeights`."""
        self.zeros_stay = is_held and self.weight.requires_grad

    @property
    def zeros(self) -> dict[str, Tensor]:
        """Where a parameter has no effect, by its name."""
        return {"weight": ~self.mask}

    @property
    def masked_weight(self) -> Tensor:
        """The weights, zero outside of the mask."""
        return self.weight if self.zeros_stay else self.mask * self.weight

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.masked_weight, self.bias)


class SpreadAutoregressive(LazyTransform):
    """Maps of each column given those before it, by one network.

    Parameters
    ----------
    order : torch.Tensor of int of shape (n_features,)
        Place of each column in the order in which they condition one another; at least
        two.
    hidden_features : sequence of int
    univariate : callable
        Makes the transformation of a column.
    shapes : sequence of tuple of int
        Of its arguments, which the network gives.
    """

    def __init__(
        self,
        order,
        hidden_features,
        univariate=MonotonicAffineTransform,
        shapes=((), ()),
    ):
        super().__init__()
        self.register_buffer("order", order)
        self.univariate, self.shapes = univariate, shapes
        self.n_arguments = sum(map(math.prod, shapes))
        self.degrees = [spread_degrees(n, len(order)) for n in hidden_features]
        # The column at place k of the order sees the k before it.
        seen, layers = order + 1, []
        for degrees in (*self.degrees, order.repeat_interleave(self.n_arguments)):
            # SiLU is smooth, as the maps between data and a normal are thought to be.
            layers += [MaskedLinear(degrees[:, None] >= seen), nn.SiLU()]
            seen = degrees
        *layers, last, _ = layers
        start_at_zero(last)
        self.network = nn.Sequential(Bound(), *layers, last)

    @property
    def layers(self) -> list[MaskedLinear]:
        """The linear layers of the network."""
        return [each for each in self.network if isinstance(each, MaskedLinear)]

    def step(self) -> Step:
        """The same, to be run with its gradient at once."""
        network = Network(
            [Layer(each.masked_weight, each.bias, each.blocks) for each in self.layers]
        )
        if self.univariate is MonotonicAffineTransform:
            return AffineStep(network)
        return SplineStep(network, *self.shapes[2])

    def mapping(self, arguments: Tensor) -> DependentTransform:
        """Maps of columns, of what the network gives, (..., n_columns, n_arguments)."""
        return DependentTransform(self.univariate(*unpack(arguments, self.shapes)), 1)

    def conditioned(self, x: Tensor) -> DependentTransform:
        """Maps of all columns at rows x."""
        return self.mapping(self.network(x).unflatten(-1, (-1, self.n_arguments)))

    def forward(self, c: None = None) -> AutoregressiveTransform:
        return _GrowingInverse(self)


class _GrowingInverse(AutoregressiveTransform):
    """Inverts without a pass of the whole network for each column.

    A unit is computed once, as soon as the columns that it sees are known. Columns
    between which no unit ends are found together. So all steps together cost about as
    much arithmetic as one pass, where the inverse by passes costs one for each column.
    """

    def __init__(self, module):
        super().__init__(module.conditioned, passes=len(module.order))
        self.module = module

    def _inverse(self, y):
        if torch.is_grad_enabled():
            # The steps of the other way write in place.
            x = torch.zeros_like(y)
            for _ in range(y.shape[-1]):
                x = self.module.conditioned(x).inv(y)
            return x
        flat = y.reshape(-1, y.shape[-1])
        return grow_inverse(self.module, flat).reshape(y.shape)


def grow_inverse(module, y):
    """Invert a :class:`SpreadAutoregressive` a few columns at a time.

    Outputs y and inputs x have the shape (n_rows, n_features).
    """
    n_rows, n_features = y.shape
    columns = torch.argsort(module.order)
    weights = [layer.masked_weight for layer in module.layers]
    biases = [layer.bias[:, None] for layer in module.layers]
    weights[0] = weights[0][:, columns]
    weights[-1], biases[-1] = (
        each.unflatten(0, (n_features, -1))[columns].flatten(0, 1)
        for each in (weights[-1], biases[-1])
    )
    bound, activation = module.network[0], functional.silu
    degrees = [each.tolist() for each in module.degrees]

    # With units as rows, those that are known are the first rows of their layer.
    y = y.T[columns]
    x = torch.empty_like(y)
    known = [torch.empty_like(y)]
    known += [y.new_empty(len(each), n_rows) for each in degrees]
    n_known = [0] * len(known)

    def layer(k, rows):
        inputs = known[k][: n_known[k]]
        return torch.addmm(biases[k][rows], weights[k][rows, : n_known[k]], inputs)

    start = 0
    # Between two degrees of the last hidden layer no column needs a further unit; with
    # no hidden layer each needs the column before it.
    ends = sorted(set(degrees[-1])) if degrees else range(1, n_features)
    for stop in [*ends, n_features]:
        outputs = slice(start * module.n_arguments, stop * module.n_arguments)
        arguments = layer(-1, outputs).unflatten(0, (stop - start, -1)).movedim(1, -1)
        x[start:stop] = module.mapping(arguments).inv(y[start:stop])
        known[0][start:stop] = bound(x[start:stop])
        n_known[0] = start = stop
        for k, each in enumerate(degrees):
            units = slice(n_known[k + 1], bisect_right(each, stop))
            known[k + 1][units] = activation(layer(k, units))
            n_known[k + 1] = units.stop
    return x[torch.argsort(columns)].T
