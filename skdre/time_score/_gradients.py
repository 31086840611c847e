"""The log ratio of a fitted TimeScoreRatio and its gradient by the row.

At fixed nodes: steps that were chosen by a tolerance would be others at each row, and
the function would have no gradient that belongs to it.
"""

import torch

from skdre._nn.gradients import value_and_gradient
from skdre.time_score._integrate import GaussLegendre
from skdre.time_score._objectives import OBJECTIVES, first_column, sum_of_terms

__all__ = ["log_ratio_and_gradient"]

# In place of adaptive steps.
_MANY_NODES = 32


def log_ratio_and_gradient(estimator, X):
    """Log ratio and its gradient; None where the time score has no plain gradient.

    Integrals along lines from anchors, and time scores that are made of derivatives of
    the network's output, have none here.
    """
    time_score = OBJECTIVES[estimator.objective_].time_score
    if estimator.anchors_ is not None or time_score not in (first_column, sum_of_terms):
        return None
    integrator = estimator.integrator_
    if integrator.is_adaptive:
        integrator = GaussLegendre(_MANY_NODES)
    network, path = estimator.network_, estimator.path_
    device = next(network.parameters()).device
    times, weights = (
        torch.as_tensor(each, device=device) for each in integrator.nodes()
    )

    def log_ratio(x):
        z = estimator.scaling_.transform_tensor(x)
        many = z.repeat_interleave(len(times), dim=0)
        t = times.repeat(len(z))[:, None]
        values = time_score(network, path, many, t).reshape(len(z), -1)
        return (values * weights).sum(dim=1)

    return value_and_gradient(log_ratio, X, device=device, n_rows=integrator._chunk)
