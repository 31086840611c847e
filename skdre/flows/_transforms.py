"""Transformations of zuko's kind whose networks are tame.

zuko's transformations take a function that conditions them; the modules that hold such
a function are made here, for what the package asks of its network: bounded inputs, and
a start at the identity.
"""

import math
from functools import cached_property
from typing import ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.distributions import DiagNormal
from zuko.flows import UnconditionalDistribution
from zuko.lazy import LazyComposedTransform, LazyTransform
from zuko.nn import MLP
from zuko.transforms import (
    ComposedTransform,
    CouplingTransform,
    DependentTransform,
    FreeFormJacobianTransform,
    MonotonicAffineTransform,
)

from skdre.flows._steps import (
    HORIZON,
    CouplingStep,
    Layer,
    Network,
    Steps,
    log_density_by_steps,
    run_steps,
)

__all__ = [
    "Bound",
    "Chain",
    "Continuous",
    "Coupling",
    "standard_normal",
    "start_at_zero",
]

# Largest absolute and relative error of a step of the continuous flow. In training,
# which is in single precision, the gradient's own noise is larger; the fitted flow is
# in double precision, and its density and its inverse shall be right.
_TOLERANCE, _TOLERANCE_FITTED = 1e-4, 1e-7

# Up to this many features the continuous flow trains on the exact trace of its
# Jacobian, which takes a backward pass for each; then on one random projection.
_EXACT_TRACE = 10

# Frequencies that tell the time to the continuous flow's network.
_N_FREQUENCIES = 3


class Bound(nn.Module):
    """u -> c tanh(u / c): what a network sees of its inputs.

    An affine flow multiplies by the exponential of what its network says. On raw inputs
    that grows without bound beyond the data; on bounded inputs the flow is affine far
    out.
    """

    def forward(self, u: Tensor) -> Tensor:
        return HORIZON * torch.tanh(u / HORIZON)


def start_at_zero(layer):
    """Let a network's last linear layer, and so the network, give zero at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def _network(n_inputs, n_outputs, hidden_features):
    layers = MLP(n_inputs, n_outputs, hidden_features, activation=nn.SiLU)
    start_at_zero(layers[-1])
    return nn.Sequential(Bound(), layers)


def standard_normal(n_features: int) -> UnconditionalDistribution:
    """N(0, I), the base of every flow."""
    return UnconditionalDistribution(
        DiagNormal, torch.zeros(n_features), torch.ones(n_features), buffer=True
    )


class Coupling(LazyTransform):
    """Affine maps of some columns given the others, which stay.

    Parameters
    ----------
    stays : torch.Tensor of bool of shape (n_features,)
        The columns that stay: some, and not all.
    hidden_features : sequence of int
    """

    def __init__(self, stays, hidden_features):
        super().__init__()
        self.register_buffer("stays", stays)
        n_given = int(stays.sum())
        n_outputs = 2 * (len(stays) - n_given)
        self.network = _network(n_given, n_outputs, hidden_features)

    def conditioned(self, given: Tensor) -> DependentTransform:
        """The map of the other columns."""
        shift, scale = self.network(given).unflatten(-1, (-1, 2)).unbind(-1)
        return DependentTransform(MonotonicAffineTransform(shift, scale), 1)

    def forward(self, c: None = None) -> CouplingTransform:
        return CouplingTransform(self.conditioned, self.stays)

    def step(self) -> CouplingStep:
        """The same, to be run with its gradient at once."""
        layers = [
            Layer(each.weight, each.bias)
            for each in self.network[1]
            if hasattr(each, "bias")
        ]
        given, moved = (
            mask.nonzero().squeeze(-1) for mask in (self.stays, ~self.stays)
        )
        return CouplingStep(Network(layers), given, moved)


class Continuous(LazyTransform):
    """Solution at time 1 of a differential equation that a network gives.

    The steps are chosen for all rows at once; the tolerance bounds how much a row's
    result depends on its company.

    Parameters
    ----------
    n_features : int
    hidden_features : sequence of int
    tolerance : float, default=1e-4
        That of a step in training.
    """

    def __init__(self, n_features, hidden_features, *, tolerance=_TOLERANCE):
        super().__init__()
        self.tolerance = tolerance
        n_inputs = n_features + 2 * _N_FREQUENCIES
        self.network = _network(n_inputs, n_features, hidden_features)
        self.n_features = n_features
        self.register_buffer("times", torch.tensor([0.0, 1.0]))
        frequencies = math.pi * torch.arange(1, _N_FREQUENCIES + 1)
        self.register_buffer("frequencies", frequencies)

    def velocity(self, time: Tensor, x: Tensor) -> Tensor:
        """What moves the rows x at a time, of the shape of x."""
        phase = self.frequencies * time
        phase = torch.cat([phase.cos(), phase.sin()])
        return self.network(torch.cat([phase.expand(*x.shape[:-1], -1), x], dim=-1))

    def forward(self, c: None = None) -> FreeFormJacobianTransform:
        is_fitted = self.times.dtype == torch.float64
        tolerance = _TOLERANCE_FITTED if is_fitted else self.tolerance
        return FreeFormJacobianTransform(
            self.velocity,
            *self.times,
            phi=self.parameters(),
            atol=tolerance,
            rtol=tolerance,
            exact=not self.training or self.n_features <= _EXACT_TRACE,
        )


class Chain(LazyComposedTransform):
    """Transformations one after the other, at once where that is possible.

    It is in training, and without any derivative.

    Parameters
    ----------
    *transforms : LazyTransform
        With a method ``step``.
    """

    # Steps of the chains whose parameters stay what they are, for they are trained.
    _kept: ClassVar[WeakKeyDictionary] = WeakKeyDictionary()

    def held(self, is_held: bool) -> None:
        """Told by :class:`skdre._nn.flat_weights.FlatWeights`."""
        if is_held:
            self._kept[self] = None
        else:
            self._kept.pop(self, None)

    def steps(self) -> Steps:
        """The transformations as they are run with their gradients at once."""
        # In evaluation other weights may stand in for the parameters.
        keeps = self.training and self in self._kept
        if keeps and self._kept[self] is not None:
            return self._kept[self]
        steps = Steps([each.step() for each in self.transforms])
        if keeps:
            self._kept[self] = steps.own()
        return steps

    def forward(self, c: None = None) -> ComposedTransform:
        if self.training or not torch.is_grad_enabled():
            return _QuickChain(self)
        return super().forward(c)


class _QuickChain(ComposedTransform):
    """A composed transform that knows the steps of a :class:`Chain`."""

    def __init__(self, module):
        self.steps = module.steps()
        # What a composed transform makes of its parts, at each call.
        Transform.__init__(self)
        self.domain_dim = self.codomain_dim = 1
        self._module = module

    @cached_property
    def transforms(self):
        # With gradients of torch's, which add to what is there.
        self.steps.settle()
        return tuple(each() for each in self._module.transforms)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return run_steps(self.steps, x)

    def log_density(self, x: Tensor) -> Tensor:
        """Log density in nats of rows that it takes to N(0, I)."""
        return log_density_by_steps(self.steps, x)

    def _call(self, x):
        return self.call_and_ladj(x)[0]

    @property
    def inv(self) -> Transform:
        if torch.is_grad_enabled():
            return super().inv
        # That of a composed transform would not come back to this one.
        return Transform.inv.fget(self)  # type: ignore[attr-defined] # a property

    def _inverse(self, y):
        if torch.is_grad_enabled():
            return super()._inverse(y)
        x = y.reshape(-1, y.shape[-1])
        if all(isinstance(each, CouplingStep) for each in self.steps.steps):
            return self.steps.inverse(x).reshape(y.shape)
        for transform in self.transforms[::-1]:
            x = transform.inv(x)
        return x.reshape(y.shape)
