"""nflows' transforms, made as skdre's are: same layers, widths and activation."""

import math

import torch
from _flow_job import maker, solve
from _serve import serve
from nflows.transforms import (
    AffineCouplingTransform,
    CompositeTransform,
    MaskedAffineAutoregressiveTransform,
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
    ReversePermutation,
)
from torch import nn
from torch.nn import functional


class Network(nn.Sequential):
    def __init__(self, n_in, n_out, hidden):
        first, second = hidden
        super().__init__(
            nn.Linear(n_in, first),
            nn.SiLU(),
            nn.Linear(first, second),
            nn.SiLU(),
            nn.Linear(second, n_out),
        )

    def forward(self, x, context=None):
        return super().forward(x)


def autoregressive(cls, n_features, n_transforms, hidden, **params):
    transforms = []
    for _ in range(n_transforms):
        transforms += [
            cls(
                n_features,
                hidden_features=hidden[0],
                num_blocks=len(hidden) - 1,
                use_residual_blocks=False,
                activation=functional.silu,
                **params,
            ),
            ReversePermutation(n_features),
        ]
    return transforms


def couplings(n_features, n_transforms, hidden):
    transforms = []
    for _ in range(n_transforms):
        mask = torch.randperm(n_features) % 2
        transforms += [
            AffineCouplingTransform(each, lambda *sizes: Network(*sizes, hidden))
            for each in (mask, 1 - mask)
        ]
    return transforms


class Flow:
    # Of torch.optim.Adam, which nflows' examples take as it comes.
    learning_rate = 1e-3

    def __init__(self, flow, **shape):
        if flow == "realnvp":
            transforms = couplings(**shape)
        elif flow == "maf":
            transforms = autoregressive(MaskedAffineAutoregressiveTransform, **shape)
        else:
            transforms = autoregressive(
                MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
                **shape,
                num_bins=8,
                tails="linear",
                tail_bound=5.0,
            )
        self.transform = CompositeTransform(transforms)
        self.parameters = self.transform.parameters

    def log_density(self, x):
        z, log_det = self.transform(x)
        constant = 0.5 * z.shape[1] * math.log(2 * math.pi)
        return log_det - 0.5 * z.square().sum(1) - constant

    def invert(self, z):
        return self.transform.inverse(z)[0]


if __name__ == "__main__":
    serve(maker(Flow), solve, ["nflows", "torch"])
