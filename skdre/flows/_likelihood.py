"""The log density of a flow: in training, of many rows, and its gradients."""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Transform
from torch.func import functional_call, grad, vmap
from zuko.flows import Flow
from zuko.flows.continuous import FFJTransform

from skdre._core.types import Floats
from skdre._nn.settings import GLOBAL_DICE, usual_torch
from skdre.flows._transforms import Continuous

__all__ = [
    "LogDensity",
    "PerturbedRows",
    "log_density",
    "normal_log_density",
    "parameter_gradients",
    "through",
    "transform_of",
]

# Rows that go through the flow at once when it is not trained, and values: a continuous
# flow keeps a gradient for each.
_CHUNK_ROWS = 16384
_CHUNK_VALUES = 2**19

# Values of the parameters' gradients that are kept on the device at once.
_CHUNK_GRADIENTS = 2**22


def normal_log_density(z: Tensor) -> Tensor:
    """Log density of N(0, I) in nats, of shape (n_samples,)."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def log_density(transform: Transform, u: Tensor) -> Tensor:
    """Log density in nats of rows that the transform takes to N(0, I)."""
    if hasattr(transform, "log_density"):
        found: Tensor = transform.log_density(u)
        return found
    z, log_det = transform.call_and_ladj(u)  # type: ignore[attr-defined] # zuko's own
    return normal_log_density(z) + log_det


def transform_of(flow: Flow) -> Transform:
    """The transform of ``flow()``, without the distribution around it."""
    if type(flow).forward is Flow.forward:
        return flow.transform()
    return flow().transform


class PerturbedRows(nn.Module):
    """Adds noise to rows in training.

    It bounds the likelihood: without it a flow gains for ever by shrinking onto
    repeated rows or onto columns that determine each other.

    Parameters
    ----------
    noise_scale : sequence of float of length n_features
        Standard deviation of the noise.
    """

    noise_scale: Tensor
    dice = GLOBAL_DICE

    def __init__(self, noise_scale):
        super().__init__()
        noise_scale = torch.as_tensor(noise_scale, dtype=torch.float32)
        self.register_buffer("noise_scale", noise_scale)

    def perturbed(self, u: Tensor) -> Tensor:
        """The rows, with noise on them if the module is trained."""
        if not self.training:
            return u
        return u + self.noise_scale * self.dice.randn_like(u)


class LogDensity(PerturbedRows):
    """Log density of a flow, whose base is taken as N(0, I).

    Parameters
    ----------
    flow : zuko.flows.Flow
        Its transform is used.
    noise_scale : sequence of float of length n_features
        Of :class:`PerturbedRows`.
    """

    def __init__(self, flow, noise_scale):
        super().__init__(noise_scale)
        self.flow = flow.requires_grad_()

    def forward(self, u: Tensor) -> Tensor:
        return log_density(transform_of(self.flow), self.perturbed(u))


def through(
    flow: Flow, function: Callable[[Transform, Tensor], Tensor], U: Floats
) -> Floats:
    """Apply a function of (transform, rows) to mapped rows, a chunk at a time.

    The flow, in double precision, has the transform; values have the rows as their
    first axis.
    """
    device = next(flow.parameters()).device
    n_rows = min(_CHUNK_ROWS, max(_CHUNK_VALUES // U.shape[1], 1))
    parts = []
    with usual_torch(grad=False):
        transform = transform_of(flow)
        for start in range(0, len(U), n_rows):
            u = torch.as_tensor(U[start : start + n_rows], device=device)
            parts.append(function(transform, u).cpu().numpy())
    return np.concatenate(parts)


def _gradients_at_once(density, parameters, u):
    def of_row(values, row):
        return functional_call(density, values, (row[None],))[0]

    found = vmap(grad(of_row), in_dims=(None, 0))(parameters, u)
    return torch.cat([each.flatten(1) for each in found.values()], dim=1)


def _gradients_in_turn(density, leaves, u):
    parts = []
    for row in u:
        found = torch.autograd.grad(
            density(row[None])[0], leaves, materialize_grads=True
        )
        parts.append(torch.cat([each.flatten() for each in found]))
    return torch.stack(parts)


@usual_torch(grad=True)
def parameter_gradients(flow: Flow, U: Floats) -> Floats:
    """Gradient of the log density at each row by all parameters, in their order.

    Rows U of shape (n_rows, n_features) get gradients of shape (n_rows, n_parameters).
    """
    density = LogDensity(copy.deepcopy(flow), np.zeros(U.shape[1])).eval()
    parameters = {name: value.detach() for name, value in density.named_parameters()}
    leaves = list(density.parameters())
    is_continuous = False
    for each in density.modules():
        is_continuous |= isinstance(each, FFJTransform | Continuous)
        if isinstance(each, FFJTransform):
            # A user's: it has gradients in training only, and may estimate the trace.
            each.train()
            each.exact = True
    n_rows = max(_CHUNK_GRADIENTS // sum(map(torch.numel, leaves)), 1)
    parts = []
    for start in range(0, len(U), n_rows):
        u = torch.as_tensor(U[start : start + n_rows], device=leaves[0].device)
        # An adaptive solver takes other steps for each row: no vectorising.
        if is_continuous:
            part = _gradients_in_turn(density, leaves, u)
        else:
            part = _gradients_at_once(density, parameters, u)
        parts.append(part.detach().cpu().numpy())
    return np.concatenate(parts)
