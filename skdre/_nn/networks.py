"""Ensembles of networks, and the scale of their inputs.

An ensemble is trained as one network. All members share each matrix product, which on
small layers costs little more than that of a single member.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from skdre._core.types import Floats

__all__ = [
    "ACTIVATIONS",
    "EnsembleLinear",
    "EnsembleMLP",
    "OneMember",
    "SiLUWithTangent",
    "draw_in",
    "given_network",
    "network_inputs",
]

ACTIVATIONS = {"elu": nn.ELU, "silu": nn.SiLU, "tanh": nn.Tanh}

# Hidden weights are N(0, (gain / sqrt(fan_in))^2) and hidden biases U(-range, range).
# On standardised inputs this spreads the bends of the units over the data; torch's
# default, four times smaller, has them all close to the origin.
_WEIGHT_GAIN = 1.0
_BIAS_RANGE = 1.0

# Standardised values are drawn in beyond this.
_LINEAR_RANGE = 2.5


def network_inputs(
    X: Any,
    center: Floats | float,
    scale: Floats | float,
    linear_range: Floats | float = _LINEAR_RANGE,
) -> Floats:
    """Rows in units of the training samples, long tails drawn in.

    Centres and scales are those of the columns. Values z up to c = 2.5 standard
    deviations, the linear range, stay as they are; those beyond become
    c + log(1 + |z| - c), with the sign of z: invertible and smooth to first order,
    so the ratio is unchanged, and no single row rules a gradient. Finite for any X:
    below c + 711 in size.
    """
    with np.errstate(over="ignore"):
        Z = (X - center) / scale
    limit = np.finfo(np.float64).max
    excess = np.clip(np.abs(Z) - linear_range, 0, limit)
    return np.clip(Z, -linear_range, linear_range) + np.sign(Z) * np.log1p(excess)


def draw_in(z: torch.Tensor, linear_range: Any = _LINEAR_RANGE) -> torch.Tensor:
    """Draw in the tails of finite standardised values, as network_inputs does."""
    inner = z.clamp(-linear_range, linear_range)
    return inner + torch.sign(z) * torch.log1p((z - inner).abs())


class EnsembleLinear(nn.Module):
    """An affine map for each member of an ensemble, all in one matrix product.

    Parameters
    ----------
    n_members, n_inputs, n_outputs : int
    weight_gain : float
        Weights are drawn from N(0, (weight_gain / sqrt(n_inputs))^2).
    bias_range : float
        Biases are drawn from U(-bias_range, bias_range).
    """

    def __init__(
        self,
        n_members: int,
        n_inputs: int,
        n_outputs: int,
        weight_gain: float,
        bias_range: float,
    ) -> None:
        super().__init__()
        weight = torch.randn(n_members, n_inputs, n_outputs)
        self.weight = nn.Parameter(weight * (weight_gain / math.sqrt(n_inputs)))
        bias = torch.rand(n_members, 1, n_outputs)
        self.bias = nn.Parameter((2 * bias - 1) * bias_range)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x of shape (n_members, n_rows, n_inputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleMLP(nn.Module):
    """Networks of one shape with weights of their own, along the first dimension.

    Parameters
    ----------
    n_members : int
        Number of members.
    n_inputs : int
        Columns of the input, standardised.
    hidden_features : sequence of int
        Widths of the hidden layers; none is a linear map.
    n_outputs : int, default=1
        Columns of the output: heads on one trunk.
    activation : {"elu", "silu", "tanh"}, default="silu"
        Of the hidden layers.
    """

    def __init__(
        self,
        n_members: int,
        n_inputs: int,
        hidden_features: Sequence[int],
        n_outputs: int = 1,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        self.n_members = n_members
        layers: list[nn.Module] = []
        width = n_inputs
        for n_units in hidden_features:
            layers += [
                EnsembleLinear(n_members, width, n_units, _WEIGHT_GAIN, _BIAS_RANGE),
                ACTIVATIONS[activation](),
            ]
            width = n_units
        # A small start: the first outputs are nearly 0.
        layers.append(EnsembleLinear(n_members, width, n_outputs, 0.1, 0.0))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of all members, of shape (n_rows, n_members, n_outputs).

        x has rows for each member, of shape (n_rows, n_members, n_inputs), or the same
        rows for all, of shape (n_rows, n_inputs).
        """
        if x.ndim == 2:
            x = x.unsqueeze(1).expand(-1, self.n_members, -1)
        return self.layers(x.transpose(0, 1)).transpose(0, 1)


class OneMember(nn.Module):
    """A network that a user gives, as an ensemble of one.

    Parameters
    ----------
    network : torch.nn.Module
        Of rows of shape (n_rows, n_features); it gives a tensor of shape
        (n_rows, n_outputs).
    """

    n_members = 1

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of shape (n_rows, 1, n_outputs).

        x has the shape (n_rows, 1, n_features) or (n_rows, n_features).
        """
        return self.network(x.flatten(1))[:, None]


def given_network(
    network: nn.Module, n_outputs: int, inputs: torch.Tensor
) -> OneMember:
    """A copy of a user's network, in single precision, ready to be trained.

    ValueError if at rows like the inputs it gives another number of columns.
    """
    copied = copy.deepcopy(network).float().to(inputs.device)
    wanted = (2, n_outputs)
    # A copy: in training a call may draw, and change running means.
    with torch.no_grad():
        output = copy.deepcopy(copied).eval()(inputs[:2])
    if tuple(output.shape) != wanted:
        raise ValueError(
            "network, called with rows of shape (2, n_features), must give a tensor of "
            f"shape {wanted} here, got {tuple(output.shape)}."
        )
    return OneMember(copied)


class SiLUWithTangent(torch.autograd.Function):
    """SiLU of h, and its derivative times the tangent of h, in few passes.

    torch.func.jvp takes SiLU apart and differentiates the parts: three times slower on
    batches of a hundred rows.
    """

    @staticmethod
    def forward(ctx, h, tangent):
        gate = torch.sigmoid(h)
        silu = h * gate
        # silu' = g + silu (1 - g)
        slope = torch.addcmul(gate, silu, 1 - gate)
        ctx.save_for_backward(h, tangent, gate, slope)
        return silu, slope * tangent

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_silu, grad_tangent):
        h, tangent, gate, slope = ctx.saved_tensors
        # silu'' = g (1 - g) (2 + h (1 - 2 g))
        bend = gate * (1 - gate) * (2 + h * (1 - 2 * gate))
        grad_h = torch.addcmul(grad_silu * slope, grad_tangent * tangent, bend)
        return grad_h, grad_tangent * slope
