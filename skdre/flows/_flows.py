"""The flows by name, and the module that training sees."""

import copy
import math

import torch
import zuko
from torch import nn
from zuko.distributions import DiagNormal
from zuko.flows import ElementWiseTransform
from zuko.flows.continuous import FFJTransform
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import (
    ComposedTransform,
    MonotonicAffineTransform,
    MonotonicRQSTransform,
)

from skdre._nn.settings import GLOBAL_DICE
from skdre.flows._autoregressive import SpreadAutoregressive
from skdre.flows._gaussian import GaussianFlow

__all__ = ["AUTO_MARGINALS", "FLOWS", "LogDensity", "build_flow", "normal_log_density"]


# Beyond this many standard deviations a conditioner sees little change.
_HORIZON = 4.0

# Bins of a spline between -5 and 5.
_N_BINS = 8

# Largest absolute and relative error of a step of the continuous flow. In training,
# which is in single precision, the gradient's own noise is larger; the fitted flow is
# in double precision, and its density and its inverse shall be right.
_ODE_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-7}

# Up to this many features the continuous flow trains on the exact trace of its
# Jacobian, which takes a backward pass for each; then on one random projection.
_EXACT_TRACE = 10


class _Bound(nn.Module):
    """u -> c tanh(u / c): what a conditioner sees of its inputs.

    An affine flow multiplies by the exponential of what its conditioner says. On raw
    inputs that grows without bound beyond the data, and one row far out gets features
    of 1e6 and more; on bounded inputs the flow is affine far out.
    """

    def forward(self, u):
        return _HORIZON * torch.tanh(u / _HORIZON)


def _start_at_identity(layer):
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def _tame(transform, network="hyper"):
    """Start a transformation at the identity, and bound what its network sees."""
    layers = getattr(transform, network)
    _start_at_identity(layers[-1])
    setattr(transform, network, nn.Sequential(_Bound(), layers))
    return transform


def _compose(transforms, n_features):
    base = zuko.flows.UnconditionalDistribution(
        DiagNormal, torch.zeros(n_features), torch.ones(n_features), buffer=True
    )
    return zuko.flows.Flow(transforms, base)


def _single_column(n_transforms, **univariate):
    """Flow of one column, which has nothing to be conditioned on."""
    transforms = [ElementWiseTransform(1, **univariate) for _ in range(n_transforms)]
    flow = _compose(transforms, 1)
    for parameter in flow.parameters():
        nn.init.zeros_(parameter)
    return flow


def _autoregressive(n_features, n_transforms, hidden_features, **univariate):
    if n_features == 1:
        return _single_column(n_transforms, **univariate)
    order = torch.arange(n_features)
    transforms = []
    for k in range(n_transforms):
        transform = SpreadAutoregressive(
            n_features,
            # Who comes last in one is first in the next.
            order=order.flip(0) if k % 2 else order,
            bound=_Bound(),
            hidden_features=hidden_features,
            # Smooth, as the maps between data and a normal are thought to be: on
            # warped normals it gave better likelihoods and ratios than the piecewise
            # linear ReLU.
            activation=nn.SiLU,
            **univariate,
        )
        _start_at_identity(transform.layers[-1])
        transforms.append(transform)
    return _compose(transforms, n_features)


def _affine_spline(shift, scale, *knots):
    """Affine map, then a spline.

    The spline is the identity beyond five standard deviations and cannot move what
    lies there, nor anything across: alone it loses to "maf" on curved data.
    """
    return ComposedTransform(
        MonotonicAffineTransform(shift, scale), MonotonicRQSTransform(*knots)
    )


def _nsf(n_features, n_transforms, hidden_features):
    return _autoregressive(
        n_features,
        n_transforms,
        hidden_features,
        univariate=_affine_spline,
        shapes=[(), (), (_N_BINS,), (_N_BINS,), (_N_BINS - 1,)],
    )


def _realnvp(n_features, n_transforms, hidden_features):
    """Pairs of couplings: the second maps the columns that the first left alone.

    Every pair splits the columns at random. With the same two halves in every pair,
    columns of one half never see each other: of 30 columns that cost 9 nats.
    """
    if n_features == 1:
        return _single_column(2 * n_transforms)
    transforms = []
    for _ in range(n_transforms):
        mask = torch.randperm(n_features) % 2 == 0
        for each in (mask, ~mask):
            coupling = GeneralCouplingTransform(
                n_features,
                mask=each,
                hidden_features=hidden_features,
                activation=nn.SiLU,
            )
            transforms.append(_tame(coupling))
    return _compose(transforms, n_features)


class _ContinuousTransform(FFJTransform):
    """zuko's, exact where it is not trained.

    The steps are chosen for all rows at once; the tolerance bounds how much a row's
    result depends on its company.
    """

    def forward(self, c=None):
        transform = super().forward(c)
        bias = self.ode[-1][-1].bias
        transform.atol = transform.rtol = _ODE_TOLERANCE[bias.dtype]
        transform.exact = not self.training or len(bias) <= _EXACT_TRACE
        return transform


def _ffjord(n_features, n_transforms, hidden_features):
    transform = _ContinuousTransform(
        n_features, hidden_features=hidden_features, activation=nn.SiLU
    )
    return _compose([_tame(transform, network="ode")], n_features)


def _gaussian(n_features, n_transforms, hidden_features):
    return GaussianFlow(n_features)


# name -> builder(n_features, n_transforms, hidden_features) of a zuko flow that starts
# at the identity: the maps of the columns have done the coarse work, and a flow that
# has nothing to add should not have to unlearn its random start.
#
# No flow has ActNorm or linear maps between its blocks. With two seeds on each of four
# data sets ActNorm gained 1 to 2 of 40 nats on 30 columns of 400 rows, as much as seeds
# differ there, and nothing elsewhere. Linear maps gained 3 to 5 nats on these, less
# than 1 on six other sets, and lost up to .1, once .3, on 11 columns of 1,500 rows.
FLOWS = {
    "copula": _gaussian,
    "ffjord": _ffjord,
    "gaussian": _gaussian,
    "gaussianization": _gaussian,
    "maf": _autoregressive,
    "nsf": _nsf,
    "realnvp": _realnvp,
}

# name -> the maps of the columns that it stands for; the others try both.
AUTO_MARGINALS = {
    "copula": "gaussianize",
    "gaussian": "standardize",
    "gaussianization": "gaussianize",
}


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
    ValueError
        If the name is unknown.
    TypeError
        If the callable returns something else.
    """
    if isinstance(flow, str):
        if flow not in FLOWS:
            known = ", ".join(map(repr, FLOWS))
            raise ValueError(
                f"flow must be one of {known}, or a callable; got {flow!r}."
            )
        return FLOWS[flow](n_features, n_transforms, tuple(hidden_features))
    built = flow(n_features)
    if not isinstance(built, zuko.flows.Flow):
        raise TypeError(
            "flow must be a callable that takes the number of features and returns a "
            f"zuko.flows.Flow, got a {type(built).__name__} from {flow!r}."
        )
    # A copy: the callable may give the same flow again, and it is trained in place.
    return copy.deepcopy(built)


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

    dice = GLOBAL_DICE

    def __init__(self, flow, noise_scale):
        super().__init__()
        self.flow = flow.requires_grad_()
        noise_scale = torch.as_tensor(noise_scale, dtype=torch.float32)
        self.register_buffer("noise_scale", noise_scale)

    def forward(self, u):
        if self.training:
            u = u + self.noise_scale * self.dice.randn_like(u)
        z, log_det = self.flow().transform.call_and_ladj(u)
        return normal_log_density(z) + log_det
