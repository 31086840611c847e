"""Networks and the scale of their inputs: parts that know no estimator.

An ensemble is trained as one network. All members share each matrix product, which on
small layers costs little more than that of a single member.
"""

import math

import numpy as np
import torch
from torch import nn

__all__ = [
    "ACTIVATIONS",
    "EnsembleLinear",
    "EnsembleMLP",
    "draw_in",
    "network_inputs",
]

ACTIVATIONS = {"elu": nn.ELU, "silu": nn.SiLU, "tanh": nn.Tanh}

# Hidden weights are N(0, (gain / sqrt(fan_in))^2) and hidden biases U(-range, range).
# On standardised inputs this spreads the bends of the units over the data. With torch's
# own start, four times smaller, they all lie close to the origin and have to travel.
_WEIGHT_GAIN = 1.0
_BIAS_RANGE = 1.0

# Standardised values are drawn in beyond this. Of three ranges and none it was the best
# on shifts with long tails at no loss on Gaussian ones.
_LINEAR_RANGE = 2.5


def network_inputs(X, center, scale, linear_range=_LINEAR_RANGE):
    """Rows in units of the training samples, long tails drawn in.

    Values z up to c = 2.5 standard deviations stay as they are, those beyond become
    c + log(1 + |z| - c), with the sign of z: invertible and smooth to first order,
    so the ratio is unchanged, and no single row rules a gradient.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    center, scale : ndarray of shape (n_features,)
        Where the columns lie: :func:`skdre._core.scales.column_scales`.
    linear_range : float or ndarray of shape (n_features,), default=2.5
        c.

    Returns
    -------
    Z : ndarray of shape (n_samples, n_features)
        Finite for any X: below c + 711 in size.
    """
    with np.errstate(over="ignore"):
        Z = (X - center) / scale
    limit = np.finfo(np.float64).max
    excess = np.clip(np.abs(Z) - linear_range, 0, limit)
    return np.clip(Z, -linear_range, linear_range) + np.sign(Z) * np.log1p(excess)


def draw_in(z):
    """Draw in the tails of standardised values as :func:`network_inputs` does.

    Parameters
    ----------
    z : torch.Tensor
        Finite.
    """
    inner = z.clamp(-_LINEAR_RANGE, _LINEAR_RANGE)
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

    def __init__(self, n_members, n_inputs, n_outputs, weight_gain, bias_range):
        super().__init__()
        weight = torch.randn(n_members, n_inputs, n_outputs)
        self.weight = nn.Parameter(weight * (weight_gain / math.sqrt(n_inputs)))
        bias = torch.rand(n_members, 1, n_outputs)
        self.bias = nn.Parameter((2 * bias - 1) * bias_range)

    def forward(self, x):
        """Map x of shape (n_members, n_rows, n_inputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleMLP(nn.Module):
    """Members of one shape and different weights; each parameter has them first.

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
        self, n_members, n_inputs, hidden_features, n_outputs=1, activation="silu"
    ):
        super().__init__()
        self.n_members = n_members
        layers, width = [], n_inputs
        for n_units in hidden_features:
            layers += [
                EnsembleLinear(n_members, width, n_units, _WEIGHT_GAIN, _BIAS_RANGE),
                ACTIVATIONS[activation](),
            ]
            width = n_units
        # A small start: the first output is nearly 0, and is soon learnt.
        layers.append(EnsembleLinear(n_members, width, n_outputs, 0.1, 0.0))
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        """Outputs of all members.

        Parameters
        ----------
        x : torch.Tensor of shape (n_rows, n_members, n_inputs) or (n_rows, n_inputs)
            Rows for each member, or the same rows for all.

        Returns
        -------
        output : torch.Tensor of shape (n_rows, n_members, n_outputs)
        """
        if x.ndim == 2:
            x = x.unsqueeze(1).expand(-1, self.n_members, -1)
        return self.layers(x.transpose(0, 1)).transpose(0, 1)
