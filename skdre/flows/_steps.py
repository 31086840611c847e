"""A flow and its gradient in as few operations as there are.

Networks of a few thousand weights spend most of a training step on what surrounds the
arithmetic: nodes of the graph, masks, views, copies. So a chain of transformations is
one node here, with a gradient written by hand. Values and first derivatives are those
of the plain modules, which remain for everything else: second derivatives, and
gradients row by row.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = [
    "HORIZON",
    "LOG_SCALE_BOUND",
    "AffineStep",
    "Layer",
    "Network",
    "Step",
    "collects",
    "run_steps",
]

# Beyond this many standard deviations a network sees little change.
HORIZON = 4.0

# Log scales lie between minus this and this, as zuko's do.
LOG_SCALE_BOUND = -math.log(1e-3)

_silu_backward = torch.ops.aten.silu_backward.default
_tanh_backward = torch.ops.aten.tanh_backward.default

# A product of so few columns is quicker the other way round.
_NARROW = 16


def _times(a, b):
    """The matrix product a b."""
    if 1 < b.shape[1] <= _NARROW:
        return torch.mm(b.t(), a.t()).t()
    return torch.mm(a, b)


class Layer:
    """A linear layer.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_outputs, n_inputs)
    bias : torch.Tensor of shape (n_outputs,)
    blocks : sequence of tuple of int
        First and last row, first and last column of the blocks outside of which the
        weights are zero; empty where all are used.
    """

    def __init__(self, weight, bias, blocks=()):
        self.weight, self.bias, self.blocks = weight, bias, blocks
        self.detached, self.transposed = weight.detach(), weight.detach().t()
        self.is_narrow = weight.shape[0] <= _NARROW
        # Where the gradients are added up, if they are not handed on.
        self.totals = None
        if collects(weight) and collects(bias):
            self.totals = weight.grad, bias.grad

    def __call__(self, h: Tensor) -> Tensor:
        """Outputs of shape (n_rows, n_outputs)."""
        if self.is_narrow:
            return _times(h, self.transposed).add_(self.bias)
        if not self.blocks:
            return torch.addmm(self.bias, h, self.transposed)
        outputs = h.new_empty(h.shape[0], self.bias.shape[0])
        for top, bottom, left, right in self.blocks:
            torch.addmm(
                self.bias[top:bottom],
                h[:, left:right],
                self.transposed[left:right, top:bottom],
                out=outputs[:, top:bottom],
            )
        return outputs

    def by_inputs(self, gradient: Tensor) -> Tensor:
        """Gradient by the inputs, given that by the outputs."""
        if not self.blocks:
            return _times(gradient, self.detached)
        found = gradient.new_zeros(gradient.shape[0], self.weight.shape[1])
        for top, bottom, left, right in self.blocks:
            found[:, left:right].addmm_(
                gradient[:, top:bottom], self.detached[top:bottom, left:right]
            )
        return found

    def by_parameters(
        self, gradient: Tensor, h: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients by weight and bias; None where they were added up."""
        by_bias = gradient.sum(0)
        if self.totals is not None:
            self._add(gradient, h, self.totals[0])
            self.totals[1].add_(by_bias)
            return None, None
        by_weight = torch.zeros_like(self.detached)
        self._add(gradient, h, by_weight)
        return by_weight, by_bias

    def _add(self, gradient, h, total):
        """Add the gradient by the weight to a tensor of its shape."""
        if self.blocks:
            for top, bottom, left, right in self.blocks:
                total[top:bottom, left:right].addmm_(
                    gradient[:, top:bottom].t(), h[:, left:right]
                )
        elif 1 < h.shape[1] <= _NARROW:
            total.t().addmm_(h.t(), gradient)
        else:
            total.addmm_(gradient.t(), h)


def collects(parameter: Tensor) -> bool:
    """Whether gradients are to be added to what a parameter has already.

    That spares the graph a node and a copy for each. See
    :class:`skdre._nn.flat_weights.FlatWeights`.
    """
    return getattr(parameter, "collects", False)


class Network:
    """Linear layers with SiLU between them, of inputs that are bounded.

    A network sees c tanh(u / c) of its inputs u; see
    :class:`skdre.flows._transforms.Bound`.

    Parameters
    ----------
    layers : sequence of Layer
    """

    def __init__(self, layers):
        self.layers = layers
        self.parameters = [p for each in layers for p in (each.weight, each.bias)]

    def forward(self, u: Tensor, *, save: bool) -> tuple[Tensor, Any]:
        """Outputs at rows u, and what :meth:`backward` needs if it is to be saved."""
        h = torch.tanh(u / HORIZON).mul_(HORIZON)
        *hidden, last = self.layers
        if not save:
            for layer in hidden:
                h = functional.silu(layer(h), inplace=True)
            return last(h), None
        inputs, sums = [h], []
        for layer in hidden:
            sums.append(layer(h))
            h = functional.silu(sums[-1])
            inputs.append(h)
        return last(h), (inputs, sums)

    def backward(
        self, gradient: Tensor, saved: Any, *, of_rows: bool
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients by the rows, if they are asked for, and by the parameters."""
        inputs, sums = saved
        found: list[Tensor | None] = []
        for k in reversed(range(len(self.layers))):
            found[:0] = self.layers[k].by_parameters(gradient, inputs[k])
            if k:
                gradient = self.layers[k].by_inputs(gradient)
                gradient = _silu_backward(gradient, sums[k - 1])
        if not of_rows:
            return None, found
        gradient = self.layers[0].by_inputs(gradient)
        return _tanh_backward(gradient, inputs[0] / HORIZON), found


class Step:
    """A transformation of rows that a network conditions.

    Parameters
    ----------
    network : Network
    """

    def __init__(self, network):
        self.network = network

    def forward(self, x: Tensor, *, save: bool) -> tuple[Tensor, Tensor, Any]:
        """What becomes of rows x, the log determinants, and what is saved."""
        raise NotImplementedError

    def backward(
        self, by_y: Tensor, by_log_det: Tensor, saved: Any, *, of_rows: bool
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients by the rows and by the parameters of the network."""
        raise NotImplementedError


class AffineStep(Step):
    """Affine maps of columns, given others or those before them.

    Parameters
    ----------
    network : Network
        Gives the shift and the unbounded log scale of each column in turn.
    given, moved : torch.Tensor of int, default=None
        Columns that the network sees and those that are mapped; None stands for all.
    """

    def __init__(self, network, given=None, moved=None):
        super().__init__(network)
        self.given, self.moved = given, moved

    def forward(self, x, *, save):
        seen = x if self.given is None else x.index_select(1, self.given)
        moved = x if self.moved is None else x.index_select(1, self.moved)
        outputs, of_network = self.network.forward(seen, save=save)
        shift, shrink, log_scale = _arguments(outputs)
        scale = log_scale.exp()
        y = torch.addcmul(shift, moved, scale)
        if self.moved is not None:
            y = x.index_copy(1, self.moved, y)
        return y, log_scale.sum(1), (moved, shrink, scale, of_network)

    def backward(self, by_y, by_log_det, saved, *, of_rows):
        moved, shrink, scale, of_network = saved
        by_moved = by_y if self.moved is None else by_y.index_select(1, self.moved)
        by_x = by_moved * scale
        by_scale = torch.addcmul(by_log_det[:, None], by_x, moved)
        by_scale.mul_(shrink).mul_(shrink)
        by_outputs = torch.stack([by_moved, by_scale], dim=2).flatten(1)
        by_seen, found = self.network.backward(by_outputs, of_network, of_rows=of_rows)
        if by_seen is None:
            return None, found
        if self.given is None:
            return by_x.add_(by_seen), found
        by_seen.add_(by_y.index_select(1, self.given))
        by_rows = torch.empty_like(by_y).index_copy_(1, self.moved, by_x)
        return by_rows.index_copy_(1, self.given, by_seen), found

    def inverse(self, y: Tensor) -> Tensor:
        """Undo the maps of columns that were not given, without a gradient."""
        outputs, _ = self.network.forward(y.index_select(1, self.given), save=False)
        shift, _, log_scale = _arguments(outputs)
        x = y.index_select(1, self.moved).sub_(shift).div_(log_scale.exp_())
        return y.index_copy(1, self.moved, x)


def _arguments(outputs):
    """Shifts, what shrinks the log scales, and the log scales."""
    shift, raw = outputs.unflatten(1, (-1, 2)).unbind(2)
    shrink = raw.abs().div_(LOG_SCALE_BOUND).add_(1).reciprocal_()
    return shift, shrink, raw * shrink


class _Chain(torch.autograd.Function):
    """Steps one after the other, with their parameters for the graph's sake.

    Where these collect their gradients one of them stands for all.
    """

    @staticmethod
    def forward(ctx, steps, x, *parameters):
        ctx.steps, ctx.saved = steps, []
        total = None
        for step in steps:
            x, log_det, saved = step.forward(x, save=True)
            ctx.saved.append(saved)
            total = log_det if total is None else total.add_(log_det)
        return x, total

    @staticmethod
    @once_differentiable
    def backward(ctx, by_y, by_log_det):
        found = []
        for k in reversed(range(len(ctx.steps))):
            by_y, of_step = ctx.steps[k].backward(
                by_y,
                by_log_det,
                ctx.saved[k],
                of_rows=k > 0 or ctx.needs_input_grad[1],
            )
            found[:0] = of_step
        return None, by_y, *found[: len(ctx.needs_input_grad) - 2]


def run_steps(steps: list[Step], x: Tensor) -> tuple[Tensor, Tensor]:
    """Take rows through steps.

    Parameters
    ----------
    steps : list of Step
        One at least.
    x : torch.Tensor of shape (..., n_features)

    Returns
    -------
    y : torch.Tensor of shape (..., n_features)
    log_det : torch.Tensor of shape (...,)
        Log determinant of the Jacobian, in nats.
    """
    y = x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled():
        parameters = [each for step in steps for each in step.network.parameters]
        if all(map(collects, parameters)):
            parameters = parameters[:1]
        y, total = _Chain.apply(steps, y, *parameters)
    else:
        total = torch.zeros_like(y[:, 0])
        for step in steps:
            y, log_det, _ = step.forward(y, save=False)
            total += log_det
    return y.reshape(x.shape), total.reshape(x.shape[:-1])
