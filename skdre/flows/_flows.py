"""The flows by name, and the module that training sees."""

import math

import torch
import zuko
from torch import nn

__all__ = ["FLOWS", "LogDensity", "build_flow", "normal_log_density"]


# Beyond this many standard deviations a conditioner sees little change.
_HORIZON = 4.0


class _Bound(nn.Module):
    """u -> c tanh(u / c): what a conditioner sees of its inputs.

    An affine flow multiplies by the exponential of what its conditioner says. On raw
    inputs that grows without bound beyond the data, and one row far out gets features
    of 1e6 and more; on bounded inputs the flow is affine far out.
    """

    def forward(self, u):
        return _HORIZON * torch.tanh(u / _HORIZON)


def _maf(n_features, n_transforms, hidden_features):
    flow = zuko.flows.MAF(
        n_features,
        transforms=n_transforms,
        hidden_features=hidden_features,
        # Smooth, as the maps between data and a normal are thought to be: on warped
        # normals it gave better likelihoods and ratios than the piecewise linear ReLU.
        activation=nn.SiLU,
    )
    for transform in flow.transform.transforms:
        # A single feature has no conditioner, only parameters.
        if hasattr(transform, "hyper"):
            nn.init.zeros_(transform.hyper[-1].weight)
            nn.init.zeros_(transform.hyper[-1].bias)
            transform.hyper = nn.Sequential(_Bound(), transform.hyper)
        else:
            for parameter in transform.parameters():
                nn.init.zeros_(parameter)
    return flow


# name -> builder(n_features, n_transforms, hidden_features) of a zuko flow that starts
# at the identity: the maps of the columns have done the coarse work, and a flow that
# has nothing to add should not have to unlearn its random start.
FLOWS = {"maf": _maf}


def build_flow(flow, n_features, *, n_transforms, hidden_features):
    """Build a flow.

    Parameters
    ----------
    flow : str or callable
        A key of ``FLOWS``, or a callable of the number of features.
    n_features : int
    n_transforms : int
    hidden_features : sequence of int

    Returns
    -------
    flow : zuko.flows.Flow

    Raises
    ------
    TypeError
        If the callable returns something else.
    """
    if isinstance(flow, str):
        return FLOWS[flow](n_features, n_transforms, tuple(hidden_features))
    built = flow(n_features)
    if not isinstance(built, zuko.flows.Flow):
        raise TypeError(
            "flow must be a callable that takes the number of features and returns a "
            f"zuko.flows.Flow, got a {type(built).__name__} from {flow!r}."
        )
    return built


def normal_log_density(z):
    """Log density of N(0, I) in nats, of shape (n_samples,)."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


class LogDensity(nn.Module):
    """Log density of a flow with base N(0, I).

    Parameters
    ----------
    flow : zuko.flows.Flow
        Its transform is used; its base is not, it is taken as N(0, I).
    noise_scale : sequence of float of length n_features
        Standard deviation of the noise added to the rows in training. It bounds the
        likelihood: without it a flow gains for ever by shrinking onto repeated rows or
        onto columns that determine each other.
    """

    def __init__(self, flow, noise_scale):
        super().__init__()
        self.flow = flow.requires_grad_()
        noise_scale = torch.as_tensor(noise_scale, dtype=torch.float32)
        self.register_buffer("noise_scale", noise_scale)

    def forward(self, u):
        if self.training:
            u = u + self.noise_scale * torch.randn_like(u)
        z, log_det = self.flow().transform.call_and_ladj(u)
        return normal_log_density(z) + log_det
