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
    "CouplingStep",
    "Layer",
    "Network",
    "Step",
    "Steps",
    "collects",
    "log_density_by_steps",
    "run_steps",
]

# Beyond this many standard deviations a network sees little change.
HORIZON = 4.0

# Log scales lie between minus this and this, as zuko's do.
LOG_SCALE_BOUND = -math.log(1e-3)

_ONE = torch.tensor(1.0)
_LOG_2_PI = math.log(2 * math.pi)

_silu_backward = torch.ops.aten.silu_backward.default
_tanh_backward = torch.ops.aten.tanh_backward.default

# Of more numbers than this torch's sigmoid is quicker than its tanh, with two more
# operations.
_FEW_NUMBERS = 2048


def _tanh_(u):
    """The hyperbolic tangent of all numbers, in place."""
    if u.numel() <= _FEW_NUMBERS:
        return u.tanh_()
    return u.mul_(2).sigmoid_().mul_(2).sub_(1)


class Layer:
    """A linear layer of columns: here each row of a matrix is a column of the data.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_outputs, n_inputs)
    bias : torch.Tensor of shape (n_outputs,)
    blocks : sequence of tuple of int
        First and last row, first and last column of the blocks outside of which the
        weights are zero; empty where all are used.
    """

    # What the inputs are multiplied by; their gradient leaves it out.
    scale = 1.0

    def __init__(self, weight, bias, blocks=()):
        self.weight, self.bias, self.blocks = weight, bias, blocks
        self.detached, self.transposed = weight.detach(), weight.detach().t()
        self.column = bias.detach()[:, None]
        # Where the gradients are added up, if they are not handed on.
        self.totals = self.collector = None
        self.turn = 0
        if collects(weight) and collects(bias):
            self.totals = weight.grad, bias.grad

    def __call__(self, h: Tensor) -> Tensor:
        """Outputs of shape (n_outputs, n_rows), of inputs (n_inputs, n_rows)."""
        if not self.blocks:
            return torch.addmm(self.column, self.detached, h, alpha=self.scale)
        outputs = h.new_empty(len(self.column), h.shape[1])
        for top, bottom, left, right in self.blocks:
            torch.addmm(
                self.column[top:bottom],
                self.detached[top:bottom, left:right],
                h[left:right],
                alpha=self.scale,
                out=outputs[top:bottom],
            )
        return outputs

    def by_inputs(self, gradient: Tensor) -> Tensor:
        """Gradient by the inputs, given that by the outputs."""
        if not self.blocks:
            return torch.mm(self.transposed, gradient)
        found = gradient.new_zeros(len(self.transposed), gradient.shape[1])
        for top, bottom, left, right in self.blocks:
            found[left:right].addmm_(
                self.transposed[left:right, top:bottom], gradient[top:bottom]
            )
        return found

    def by_parameters(
        self, gradient: Tensor, h: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients by weight and bias; None where they were added up."""
        if self.totals is None:
            by_weight = torch.zeros_like(self.detached)
            self._add(gradient, h, by_weight)
            return by_weight, gradient.sum(1)
        by_weight, by_bias = self.totals
        if self.collector is None or self.turn == self.collector.turn:
            self._add(gradient, h, by_weight)
            by_bias.add_(gradient.sum(1))
        else:
            self.turn = self.collector.turn
            self._overwrite(gradient, h, by_weight)
            torch.sum(gradient, 1, out=by_bias)
        return None, None

    def own(self) -> None:
        """From now on overwrite the gradients of the step before."""
        if self.totals is not None:
            self.collector = self.weight.collects
            self.turn = self.collector.turn
            self.collector.add(self, self.weight, self.bias)

    def settle(self) -> None:
        """Told by :class:`skdre._nn.flat_weights.FlatWeights`: all gradients are there.

        Also before gradients are added to by others.
        """
        if self.collector is not None and self.turn != self.collector.turn:
            self.turn = self.collector.turn
            for each in self.totals:
                each.zero_()

    def _add(self, gradient, h, total):
        """Add the gradient by the weight to a tensor of its shape."""
        if not self.blocks:
            total.addmm_(gradient, h.t(), alpha=self.scale)
        for top, bottom, left, right in self.blocks:
            total[top:bottom, left:right].addmm_(
                gradient[top:bottom], h[left:right].t(), alpha=self.scale
            )

    def _overwrite(self, gradient, h, total):
        """Put the gradient by the weight in the place of what was there."""
        for top, bottom, left, right in self.blocks or [(None,) * 4]:
            part = total[top:bottom, left:right] if self.blocks else total
            torch.addmm(
                part,
                gradient[top:bottom],
                h[left:right].t(),
                beta=0,
                alpha=self.scale,
                out=part,
            )


def collects(parameter: Tensor) -> bool:
    """Whether gradients are to be added to what a parameter has already.

    That spares the graph a node and a copy for each. See
    :class:`skdre._nn.flat_weights.FlatWeights`.
    """
    return getattr(parameter, "collects", None) is not None


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
        layers[0].scale = HORIZON
        self.parameters = [p for each in layers for p in (each.weight, each.bias)]

    def forward(self, u: Tensor, *, save: bool) -> tuple[Tensor, Any]:
        """Outputs of columns u, and what :meth:`backward` needs, if it is saved."""
        h = _tanh_(u / HORIZON)
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
        self, gradient: Tensor, saved: Any, *, of_inputs: bool
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients by the inputs, if they are asked for, and by the parameters."""
        inputs, sums = saved
        found: list[Tensor | None] = []
        for k in reversed(range(len(self.layers))):
            found[:0] = self.layers[k].by_parameters(gradient, inputs[k])
            if k:
                gradient = self.layers[k].by_inputs(gradient)
                gradient = _silu_backward(gradient, sums[k - 1])
        if not of_inputs:
            return None, found
        # The scale of the first layer and that of the inputs cancel out.
        gradient = self.layers[0].by_inputs(gradient)
        return _tanh_backward(gradient, inputs[0]), found


class Step:
    """A transformation of rows that a network conditions.

    Matrices have the columns of the data as their rows: products are quicker so, and
    what is done to a column, or to some of them, is done to memory that is together.

    Parameters
    ----------
    network : Network
    """

    def __init__(self, network):
        self.network = network

    def arrange(self, order: Tensor | None) -> Tensor | None:
        """Told how the columns come, says how they leave; None as they are."""
        return order

    def forward(self, x: Tensor, *, save: bool) -> tuple[Tensor, Tensor, Any]:
        """What becomes of columns x, the log determinants, and what is saved."""
        raise NotImplementedError

    def backward(
        self, by_y: Tensor, by_log_det: Tensor, saved: Any, *, of_inputs: bool
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients by the columns and by the parameters of the network."""
        raise NotImplementedError


class AffineStep(Step):
    """Affine maps of columns, given those before them.

    Parameters
    ----------
    network : Network
        Gives the shift and the unbounded log scale of each column in turn.
    """

    def forward(self, x, *, save):
        outputs, of_network = self.network.forward(x, save=save)
        shift, divisor, log_scale = _arguments(outputs)
        scale = log_scale.exp()
        y = torch.addcmul(shift, x, scale)
        return y, log_scale.sum(0), (x, divisor, scale, of_network)

    def backward(self, by_y, by_log_det, saved, *, of_inputs):
        x, divisor, scale, of_network = saved
        by_x = by_y * scale
        by_outputs = _by_arguments(by_y, by_x, by_log_det, x, divisor)
        by_seen, found = self.network.backward(
            by_outputs, of_network, of_inputs=of_inputs
        )
        return None if by_seen is None else by_seen.add_(by_x), found


class CouplingStep(Step):
    """Affine maps of some columns given the others.

    The columns leave in another order than they come: those that are given, then those
    that are mapped. So each coupling gathers once what it maps, and the second of a
    pair, which maps what the first was given, finds both in one piece.

    Parameters
    ----------
    network : Network
        Gives the shift and the unbounded log scale of each column in turn.
    given, moved : torch.Tensor of int
        Columns that the network sees and those that are mapped, of the data.
    """

    def __init__(self, network, given, moved):
        super().__init__(network)
        self.columns = torch.cat([given, moved])
        self.n_given = len(given)

    def arrange(self, order):
        places = self.columns if order is None else order.argsort()[self.columns]
        self.places = places
        self.back = places.argsort()
        # Whether all that changes is which half comes first.
        n_moved = len(places) - self.n_given
        halves = torch.arange(len(places), device=places.device).roll(-n_moved)
        self.is_swap = torch.equal(places, halves)
        return self.columns

    def _given(self, x):
        if self.is_swap:
            return x[-self.n_given :]
        return x.index_select(0, self.places[: self.n_given])

    def _moved(self, x):
        if self.is_swap:
            return x[: -self.n_given]
        return x.index_select(0, self.places[self.n_given :])

    def _joined(self, n_rows, like):
        """Room for the columns as they come, and views of those given and mapped."""
        n_given = self.n_given
        joined = like.new_empty(len(self.places), n_rows)
        if self.is_swap:
            return joined, joined[-n_given:], joined[:-n_given]
        return joined, joined[:n_given], joined[n_given:]

    def _restored(self, joined):
        return joined if self.is_swap else joined.index_select(0, self.back)

    def forward(self, x, *, save):
        seen, moved = self._given(x), self._moved(x)
        outputs, of_network = self.network.forward(seen, save=save)
        shift, divisor, log_scale = _arguments(outputs)
        scale = log_scale.exp()
        y = torch.empty_like(x)
        y[: self.n_given] = seen
        torch.addcmul(shift, moved, scale, out=y[self.n_given :])
        return y, log_scale.sum(0), (moved, divisor, scale, of_network)

    def backward(self, by_y, by_log_det, saved, *, of_inputs):
        moved, divisor, scale, of_network = saved
        by_given, by_moved = by_y[: self.n_given], by_y[self.n_given :]
        by_x, by_seen, by_scaled = self._joined(by_y.shape[1], by_y)
        torch.mul(by_moved, scale, out=by_scaled)
        by_outputs = _by_arguments(by_moved, by_scaled, by_log_det, moved, divisor)
        by_network, found = self.network.backward(
            by_outputs, of_network, of_inputs=of_inputs
        )
        if by_network is None:
            return None, found
        torch.add(by_given, by_network, out=by_seen)
        return self._restored(by_x), found

    def inverse(self, y: Tensor) -> Tensor:
        """Columns as they come, of those that leave; without a gradient."""
        given, moved = y[: self.n_given], y[self.n_given :]
        outputs, _ = self.network.forward(given, save=False)
        shift, _, log_scale = _arguments(outputs)
        x, x_given, x_moved = self._joined(y.shape[1], y)
        x_given.copy_(given)
        torch.sub(moved, shift, out=x_moved).div_(log_scale.exp_())
        return self._restored(x)


def _arguments(outputs):
    """Shifts, what bounds the log scales by division, and the log scales."""
    shift, raw = outputs.unflatten(0, (-1, 2)).unbind(1)
    divisor = torch.add(_ONE, raw.abs(), alpha=1 / LOG_SCALE_BOUND)
    return shift, divisor, raw / divisor


def _by_arguments(by_y, by_x, by_log_det, x, divisor):
    """Gradient by the outputs that :func:`_arguments` takes apart."""
    by_outputs = by_y.new_empty(len(by_y), 2, by_y.shape[1])
    by_outputs[:, 0] = by_y
    by_raw = torch.addcmul(by_log_det, by_x, x, out=by_outputs[:, 1])
    by_raw.div_(divisor).div_(divisor)
    return by_outputs.flatten(0, 1)


class Steps:
    """Steps one after the other.

    Parameters
    ----------
    steps : sequence of Step
        One at least.
    """

    def __init__(self, steps):
        self.steps = steps
        self.order = None
        for each in steps:
            self.order = each.arrange(self.order)
        self.back = None if self.order is None else self.order.argsort()
        self.parameters = [p for step in steps for p in step.network.parameters]
        if all(map(collects, self.parameters)):
            # Nothing is handed on; one stands for all in the graph.
            self.parameters = self.parameters[:1]

    def forward(self, rows: Tensor, *, save: bool) -> tuple[Tensor, Tensor, list[Any]]:
        """Columns as the last step leaves them, log determinants, what is saved."""
        x, total, first = self.steps[0].forward(rows.t().contiguous(), save=save)
        kept = [first]
        for step in self.steps[1:]:
            x, log_det, saved = step.forward(x, save=save)
            kept.append(saved)
            total.add_(log_det)
        return x, total, kept

    def backward(
        self, by_y: Tensor, by_log_det: Tensor, kept: list[Any], *, of_inputs: bool
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients by the rows, if they are asked for, and by the parameters."""
        found: list[Tensor | None] = []
        for k in reversed(range(len(kept))):
            by_y, of_step = self.steps[k].backward(
                by_y, by_log_det, kept[k], of_inputs=k > 0 or of_inputs
            )
            found[:0] = of_step
        return by_y.t() if of_inputs else None, found

    def leave(self, columns: Tensor) -> Tensor:
        """Rows, of columns as the last step leaves them."""
        if self.back is not None:
            columns = columns.index_select(0, self.back)
        return columns.t()

    def leave_again(self, rows: Tensor) -> Tensor:
        """Columns as the last step leaves them, of rows."""
        columns = rows.t().contiguous()
        return columns if self.order is None else columns.index_select(0, self.order)

    @property
    def layers(self) -> list[Layer]:
        """Those of all networks."""
        return [layer for step in self.steps for layer in step.network.layers]

    def own(self) -> "Steps":
        """For as long as the parameters are laid out these steps alone collect."""
        for each in self.layers:
            each.own()
        return self

    def settle(self) -> None:
        """Before others add to the gradients of the parameters."""
        for each in self.layers:
            each.settle()

    def inverse(self, y: Tensor) -> Tensor:
        """Undo couplings at rows y, (n_rows, n_features), without a gradient."""
        x = self.leave_again(y)
        for step in reversed(self.steps):
            x = step.inverse(x)
        return x.t()


class _Chain(torch.autograd.Function):
    """Steps one after the other, with their parameters for the graph's sake."""

    @staticmethod
    def forward(ctx, chain, rows, *parameters):
        ctx.chain = chain
        y, log_det, ctx.kept = chain.forward(rows, save=True)
        return chain.leave(y), log_det

    @staticmethod
    @once_differentiable
    def backward(ctx, by_y, by_log_det):
        by_rows, found = ctx.chain.backward(
            ctx.chain.leave_again(by_y),
            by_log_det,
            ctx.kept,
            of_inputs=ctx.needs_input_grad[1],
        )
        return None, by_rows, *found[: len(ctx.needs_input_grad) - 2]


class _LogDensity(torch.autograd.Function):
    """The same, with the density of what comes out under N(0, I)."""

    @staticmethod
    def forward(ctx, chain, rows, *parameters):
        ctx.chain = chain
        ctx.y, log_det, ctx.kept = chain.forward(rows, save=True)
        return _log_density(ctx.y, log_det)

    @staticmethod
    @once_differentiable
    def backward(ctx, by_density):
        by_rows, found = ctx.chain.backward(
            ctx.y * -by_density,
            by_density,
            ctx.kept,
            of_inputs=ctx.needs_input_grad[1],
        )
        return None, by_rows, *found[: len(ctx.needs_input_grad) - 2]


def _log_density(y, log_det):
    squares = y.square().sum(0).add_(len(y) * _LOG_2_PI)
    return torch.add(log_det, squares, alpha=-0.5)


def run_steps(chain: Steps, x: Tensor) -> tuple[Tensor, Tensor]:
    """Take rows through steps.

    Parameters
    ----------
    chain : Steps
    x : torch.Tensor of shape (..., n_features)

    Returns
    -------
    y : torch.Tensor of shape (..., n_features)
    log_det : torch.Tensor of shape (...,)
        Log determinant of the Jacobian, in nats.
    """
    rows = x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled():
        y, log_det = _Chain.apply(chain, rows, *chain.parameters)
    else:
        y, log_det, _ = chain.forward(rows, save=False)
        y = chain.leave(y)
    return y.reshape(x.shape), log_det.reshape(x.shape[:-1])


def log_density_by_steps(chain: Steps, x: Tensor) -> Tensor:
    """Log density of rows that steps take to N(0, I).

    Parameters
    ----------
    chain : Steps
    x : torch.Tensor of shape (..., n_features)

    Returns
    -------
    log_density : torch.Tensor of shape (...,)
        In nats.
    """
    rows = x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled():
        found = _LogDensity.apply(chain, rows, *chain.parameters)
    else:
        y, log_det, _ = chain.forward(rows, save=False)
        found = _log_density(y, log_det)
    return found.reshape(x.shape[:-1])
