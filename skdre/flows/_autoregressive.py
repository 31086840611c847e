"""Masked autoregressive transformations: who sees whom, and a quick inverse."""

from bisect import bisect_right
from functools import partial

import torch
from torch import nn
from zuko.flows import MaskedAutoregressiveTransform
from zuko.transforms import AutoregressiveTransform
from zuko.utils import unpack

__all__ = ["SpreadAutoregressive"]


def spread_degrees(n_units, n_features):
    """How many of the first columns each hidden unit sees, in ascending order.

    zuko deals the degrees 1, 2, 3, ... in turn, so that of fewer units than columns
    none sees the later columns: of 784 columns and 100 units only the first 100
    condition anything.

    Returns
    -------
    degrees : torch.Tensor of int of shape (n_units,)
        From 1 or a little more to ``n_features - 1``, evenly spread.
    """
    ranks = torch.arange(1, n_units + 1)
    return torch.ceil(ranks.double() * (n_features - 1) / n_units).long()


class SpreadAutoregressive(MaskedAutoregressiveTransform):
    """zuko's transformation, with the columns spread over the hidden units.

    Parameters
    ----------
    features : int
        At least 2.
    order : torch.Tensor of int of shape (features,)
        Place of each column in the order in which they condition one another.
    bound : torch.nn.Module
        Applied to each input of the network by itself.
    activation : callable
        Class of the activations of the hidden layers.
    **kwargs : dict
        Of :class:`zuko.flows.MaskedAutoregressiveTransform`.
    """

    def __init__(self, features, *, order, bound, activation, **kwargs):
        super().__init__(features, order=order, activation=activation, **kwargs)
        self.hyper = nn.Sequential(bound, self.hyper)
        *hidden, last = self.layers
        self.degrees = [spread_degrees(len(layer.bias), features) for layer in hidden]
        # The column at place k of the order sees the k before it.
        seen = self.order + 1
        for layer, degrees in zip(hidden, self.degrees, strict=True):
            layer.mask.copy_(degrees[:, None] >= seen)
            seen = degrees
        last.mask.copy_(self.order.repeat_interleave(self.total)[:, None] >= seen)
        self.activation, self.bound = activation(), bound

    @property
    def layers(self):
        """The linear layers of the network."""
        return [module for module in self.hyper[1] if isinstance(module, nn.Linear)]

    def forward(self, c=None):
        return _GrowingInverse(self, partial(self.meta, c), self.passes)


class _GrowingInverse(AutoregressiveTransform):
    """Inverts without a pass of the whole network for each column.

    A unit is computed once, as soon as the columns that it sees are known. Columns
    between which no unit ends are found together. So all steps together cost about as
    much arithmetic as one pass, where the inverse by passes costs one for each column.
    """

    def __init__(self, network, meta, passes):
        super().__init__(meta, passes)
        self.network = network

    def _inverse(self, y):
        if torch.is_grad_enabled():
            # The steps write in place.
            return super()._inverse(y)
        flat = y.reshape(-1, y.shape[-1])
        return grow_inverse(self.network, flat).reshape(y.shape)


def grow_inverse(network, y):
    """Invert a :class:`SpreadAutoregressive` a few columns at a time.

    Parameters
    ----------
    network : SpreadAutoregressive
    y : torch.Tensor of shape (n_rows, n_features)
        Its outputs.

    Returns
    -------
    x : torch.Tensor of shape (n_rows, n_features)
    """
    n_rows, n_features = y.shape
    columns = torch.argsort(network.order)
    weights = [layer.mask * layer.weight for layer in network.layers]
    biases = [layer.bias[:, None] for layer in network.layers]
    weights[0] = weights[0][:, columns]
    weights[-1], biases[-1] = (
        each.unflatten(0, (n_features, -1))[columns].flatten(0, 1)
        for each in (weights[-1], biases[-1])
    )

    degrees = [each.tolist() for each in network.degrees]

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
        parameters = layer(-1, slice(start * network.total, stop * network.total))
        parameters = parameters.unflatten(0, (stop - start, -1)).movedim(1, -1)
        univariate = network.univariate(*unpack(parameters, network.shapes))
        x[start:stop] = univariate.inv(y[start:stop])
        known[0][start:stop] = network.bound(x[start:stop])
        n_known[0] = start = stop
        for k, each in enumerate(degrees):
            units = slice(n_known[k + 1], bisect_right(each, stop))
            known[k + 1][units] = network.activation(layer(k, units))
            n_known[k + 1] = units.stop
    return x[torch.argsort(columns)].T
