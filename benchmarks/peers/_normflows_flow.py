"""normflows' flows, made as skdre's are: same layers, widths and activation.

Its autoregressive flows are quick one way and slow the other, and not all the same
way round: here the quick one always gives the density.
"""

import math

from _flow_job import maker, solve
from _serve import serve
from normflows.flows import (
    AffineCouplingBlock,
    MaskedAffineAutoregressive,
    Permute,
)
from normflows.flows.neural_spline.autoregressive import (
    MaskedPiecewiseRationalQuadraticAutoregressive,
)
from torch import nn
from torch.nn import functional


def network(n_in, n_out, hidden):
    first, second = hidden
    return nn.Sequential(
        nn.Linear(n_in, first),
        nn.SiLU(),
        nn.Linear(first, second),
        nn.SiLU(),
        nn.Linear(second, n_out),
    )


def autoregressive(cls, n_features, n_transforms, hidden, **params):
    flows = []
    for _ in range(n_transforms):
        flows += [
            cls(
                n_features,
                hidden_features=hidden[0],
                num_blocks=len(hidden) - 1,
                use_residual_blocks=False,
                activation=functional.silu,
                **params,
            ),
            Permute(n_features, mode="swap"),
        ]
    return flows


def couplings(n_features, n_transforms, hidden):
    half = n_features // 2
    flows = []
    for _ in range(2 * n_transforms):
        flows += [
            AffineCouplingBlock(network(n_features - half, 2 * half, hidden)),
            Permute(n_features, mode="shuffle"),
        ]
    return flows


class Flow:
    # Of normflows' examples.
    learning_rate = 5e-4

    def __init__(self, flow, **shape):
        if flow == "realnvp":
            flows = couplings(**shape)
        elif flow == "maf":
            flows = autoregressive(MaskedAffineAutoregressive, **shape)
        else:
            flows = autoregressive(
                MaskedPiecewiseRationalQuadraticAutoregressive,
                **shape,
                num_bins=8,
                tails="linear",
                tail_bound=5.0,
            )
        self.flows = nn.ModuleList(flows)
        self.parameters = self.flows.parameters

    def log_density(self, x):
        constant = 0.5 * x.shape[1] * math.log(2 * math.pi)
        total = -constant
        for flow in self.flows:
            x, log_det = flow(x)
            total = total + log_det
        return total - 0.5 * x.square().sum(1)

    def invert(self, z):
        for flow in reversed(self.flows):
            z, _ = flow.inverse(z)
        return z


if __name__ == "__main__":
    serve(maker(Flow), solve, ["normflows", "torch"])
