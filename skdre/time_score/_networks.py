"""Networks of a row and a time, and their derivatives along a direction.

A network of scores is any ``torch.nn.Module`` that is called as ``network(x, t)``, x of
shape (n_rows, n_features) and t of shape (n_rows, 1), and gives a tensor of shape
(n_rows, n_outputs), differentiable in both.
"""

import math
import threading

import torch
from torch import nn

from skdre._nn.networks import SiLUWithTangent

__all__ = ["TimeMLP", "forward_derivative", "with_derivative"]

# Forward-mode differentiation keeps its level in one variable of the process.
_FORWARD_MODE = threading.RLock()


class TimeMLP(nn.Module):
    """A SiLU network of the row and the time.

    Parameters
    ----------
    n_features : int
        Columns of the rows, standardised.
    n_outputs : int, default=1
        Columns of the output.
    hidden_features : sequence of int, default=(128, 128, 128)
        Widths of the hidden layers.
    time_features : int, default=None
        Width of a Tanh network of the time with one hidden layer, whose output is
        concatenated to the row (DRE-infinity, appendix D.2, where it is 256). By
        default the time itself is, as 2 t - 1.
    """

    def __init__(
        self,
        n_features,
        n_outputs=1,
        hidden_features=(128, 128, 128),
        time_features=None,
    ):
        super().__init__()
        self.embedding = None
        if time_features is not None:
            self.embedding = nn.Sequential(
                nn.Linear(1, time_features),
                nn.Tanh(),
                nn.Linear(time_features, time_features),
                nn.Tanh(),
                nn.Linear(time_features, time_features),
            )
        width = n_features + (time_features or 1)
        self.layers = nn.ModuleList()
        for n_units in hidden_features:
            self.layers.append(_linear(width, n_units, weight_gain=1.0, bias_range=1.0))
            width = n_units
        # Small weights: training starts from outputs near 0.
        self.layers.append(_linear(width, n_outputs, weight_gain=0.1, bias_range=0.0))

    def _embed(self, t):
        return 2 * t - 1 if self.embedding is None else self.embedding(t)

    def forward(self, x, t):
        """Outputs at the rows x and times t, of shape (n_rows, n_outputs)."""
        h = torch.cat([x, self._embed(t)], dim=1)
        for layer in self.layers[:-1]:
            h = nn.functional.silu(layer(h))
        return self.layers[-1](h)

    def with_derivative(self, x, t, dx, dt):
        """Outputs, and their derivatives along the direction (dx, dt)."""
        if self.embedding is None:
            time, d_time = self._embed(t), 2 * dt
        else:
            time, d_time = t, dt
            for layer in self.embedding:
                time = layer(time)
                if isinstance(layer, nn.Tanh):
                    d_time = (1 - time**2) * d_time
                else:
                    d_time = d_time @ layer.weight.T
        h, dh = torch.cat([x, time], dim=1), torch.cat([dx, d_time], dim=1)
        for layer in self.layers:
            h, dh = torch.cat([h, dh]).mm(layer.weight.T).chunk(2)
            h = h + layer.bias
            if layer is not self.layers[-1]:
                h, dh = SiLUWithTangent.apply(h, dh)
        return h, dh


def _linear(n_inputs, n_units, weight_gain, bias_range):
    """An affine map that starts as those of skdre._nn.networks do."""
    layer = nn.Linear(n_inputs, n_units)
    nn.init.normal_(layer.weight, std=weight_gain / math.sqrt(n_inputs))
    nn.init.uniform_(layer.bias, -bias_range, bias_range)
    return layer


def with_derivative(network, x, t, dx, dt):
    """Outputs of a network at (x, t), and their derivatives along (dx, dt).

    Both are of shape (n_rows, n_outputs).
    """
    if hasattr(network, "with_derivative"):
        return network.with_derivative(x, t, dx, dt)
    return forward_derivative(network, (x, t), (dx, dt))


def forward_derivative(function, inputs, direction):
    """Output of a function and its derivative along a direction, tuples of tensors."""
    with _FORWARD_MODE:
        return torch.func.jvp(function, inputs, direction)


class GaussianScore(nn.Module):
    r"""Scores of the path between two Gaussians, in closed form.

    In coordinates where both covariances are diagonal, with m_t the mean and v_t the
    variances of x_t and e = x - m_t, the time score is the sum over the coordinates of

    .. math::

       \frac{v_t'}{2 v_t} \left( \frac{e^2}{v_t} - 1 \right) + \frac{e m_t'}{v_t}

    and the data score is -e / v_t, turned back.

    Parameters
    ----------
    moments : skdre._core.moments.JointMoments
        Of the standardised rows.
    path : skdre.paths.Path
        Free of noise.
    centered : bool
        Whether the mean goes in a straight line.
    outputs : tuple of {"time", "data"}
        The time score, the data score, or both, in this order.
    """

    def __init__(self, moments, path, *, centered, outputs):
        super().__init__()
        self.path, self.centered, self.outputs = path, centered, outputs
        arrays = {
            "center": moments.center,
            "components": moments.components,
            "denominator": moments.denominator,
            "numerator": moments.numerator,
            "means": (moments.means - moments.center) @ moments.components,
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.tensor(array, dtype=torch.float64))

    def _deviation(self, x, t):
        """(e, m', v, v') in the coordinates."""
        # At an end a coefficient may be 0 and its derivative infinite.
        t = t.clamp(self.path.margin, 1 - self.path.margin)
        a, b, _ = self.path.coefficients(t)
        da, db, _ = self.path.derivatives(t)
        start, end = self.means
        if self.centered:
            mean, d_mean = (1 - t) * start + t * end, end - start
        else:
            # The rows' origin, in the coordinates, is not at 0.
            origin = -self.center @ self.components
            mean = origin + a * (start - origin) + b * (end - origin)
            d_mean = da * (start - origin) + db * (end - origin)
        variance = a**2 * self.denominator + b**2 * self.numerator
        d_variance = 2 * (a * da * self.denominator + b * db * self.numerator)
        e = (x - self.center) @ self.components - mean
        return e, d_mean, variance, d_variance

    def forward(self, x, t):
        """Scores at the rows x and times t, of shape (n_rows, n_outputs)."""
        e, d_mean, variance, d_variance = self._deviation(x, t)
        scaled = e / variance
        parts = []
        if "time" in self.outputs:
            terms = d_variance / (2 * variance) * (e * scaled - 1) + scaled * d_mean
            parts.append(terms.sum(dim=1, keepdim=True))
        if "data" in self.outputs:
            parts.append(-scaled @ self.components.T)
        return torch.cat(parts, dim=1)


class SumOfScores(nn.Module):
    """A fixed score plus that of a network, which thus learns what is left.

    Parameters
    ----------
    network : torch.nn.Module
    base : torch.nn.Module or None
    """

    def __init__(self, network, base=None):
        super().__init__()
        self.network, self.base = network, base

    def forward(self, x, t):
        """Scores at the rows x and times t, of shape (n_rows, n_outputs)."""
        output = self.network(x, t)
        return output if self.base is None else output + self.base(x, t)

    def with_derivative(self, x, t, dx, dt):
        """Scores, and their derivatives along the direction (dx, dt)."""
        output, slope = with_derivative(self.network, x, t, dx, dt)
        if self.base is None:
            return output, slope
        base, base_slope = with_derivative(self.base, x, t, dx, dt)
        return output + base, slope + base_slope
