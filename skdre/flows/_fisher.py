"""Gradients of a flow's log density by its parameters, row by row."""

import copy

import numpy as np
import torch
from torch.func import functional_call, grad, vmap
from zuko.flows.continuous import FFJTransform
from zuko.transforms import FreeFormJacobianTransform

from skdre._nn.settings import usual_torch
from skdre.flows._flows import LogDensity, normal_log_density

__all__ = ["parameter_gradients"]

# Values of the gradients that are kept on the device at once.
_CHUNK_VALUES = 2**22


def _gradients_at_once(density, parameters, u):
    def log_density(values, row):
        return functional_call(density, values, (row[None],))[0]

    found = vmap(grad(log_density), in_dims=(None, 0))(parameters, u)
    return torch.cat([each.flatten(1) for each in found.values()], dim=1)


def _gradients_in_turn(density, u):
    leaves = list(density.parameters())
    parts = []
    for row in u:
        transform = density.flow().transform
        for each in getattr(transform, "transforms", [transform]):
            if isinstance(each, FreeFormJacobianTransform):
                # In training zuko may estimate the trace at random.
                each.exact = True
        z, log_det = transform.call_and_ladj(row[None])
        value = (normal_log_density(z) + log_det)[0]
        found = torch.autograd.grad(value, leaves, materialize_grads=True)
        parts.append(torch.cat([each.flatten() for each in found]))
    return torch.stack(parts)


@usual_torch(grad=True)
def parameter_gradients(flow, U):
    """Gradient of the log density at each row by all parameters.

    Parameters
    ----------
    flow : zuko.flows.Flow
        With base N(0, I).
    U : ndarray of shape (n_rows, n_features)

    Returns
    -------
    gradients : ndarray of shape (n_rows, n_parameters)
        In the order of ``flow.parameters()``.
    """
    density = LogDensity(copy.deepcopy(flow), np.zeros(U.shape[1])).eval()
    parameters = {name: value.detach() for name, value in density.named_parameters()}
    device = next(iter(parameters.values())).device
    # An adaptive solver takes other steps for each row, which cannot be vectorised, and
    # zuko's knows its parameters in training only.
    continuous = [each for each in density.modules() if isinstance(each, FFJTransform)]
    for each in continuous:
        each.train()
    n_parameters = sum(value.numel() for value in parameters.values())
    n_rows = max(_CHUNK_VALUES // n_parameters, 1)
    parts = []
    for start in range(0, len(U), n_rows):
        u = torch.as_tensor(U[start : start + n_rows], device=device)
        if continuous:
            part = _gradients_in_turn(density, u)
        else:
            part = _gradients_at_once(density, parameters, u)
        parts.append(part.detach().cpu().numpy())
    return np.concatenate(parts)
