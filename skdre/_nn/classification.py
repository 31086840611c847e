"""Ensembles that tell two samples apart: their loss, training and log ratio."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from skdre._core.types import Floats
from skdre._nn.batches import (
    DomainBatches,
    TensorRows,
    cumulative_shares,
    held_out_rows,
)
from skdre._nn.networks import EnsembleMLP
from skdre._nn.settings import usual_torch
from skdre._nn.training import TrainingNet, train

__all__ = [
    "extreme_log_ratios",
    "mean_log_ratio",
    "member_log_ratios",
    "member_losses",
    "train_members",
    "warn_if_apart",
]

# Of few rows a member's fold alone is a noisy judge of when to stop, of many the mean
# of all folds is a coarse one; half of each is near the better one at all sizes.
_OWN_SHARE = 0.5

# Rows that go through the network at once when it is not trained.
_CHUNK_ROWS = 4096


def member_losses(output: torch.Tensor, targets: Any) -> torch.Tensor:
    """Balanced log loss of each member, in nats.

    From log ratios of shape (n_rows, n_members, 1) and targets of shape
    (n_rows, n_members): the sign, 1 for rows of the numerator, and the weight.
    """
    sign, weight = targets
    return (weight * functional.softplus(-sign * output[..., 0])).mean(dim=0)


def train_members(
    network: EnsembleMLP,
    rows: TensorRows,
    n_denominator: int,
    weight: Floats,
    held_out: Floats | None,
    *,
    n_batches: int,
    **train_params: Any,
) -> tuple[TrainingNet, tuple[float, float]]:
    """Train an ensemble to tell the numerator's rows, in place.

    Parameters
    ----------
    network : EnsembleMLP
        On the device of the rows.
    rows : TensorRows
        Inputs of shape (n_rows, n_features), the denominator's rows first.
    n_denominator : int
        Their number.
    weight : ndarray of shape (n_rows,)
        Repetition counts.
    held_out : ndarray of shape (n_members, n_rows) or None
        The parts of them that each member holds out.
    n_batches : int
        Batches of an epoch.
    **train_params : dict
        Of :func:`skdre._nn.training.train`.

    Returns
    -------
    net : TrainingNet
    extremes : tuple of float
        Of :func:`extreme_log_ratios`, at the held-out rows.
    """
    training = np.tile(weight, (network.n_members, 1))
    if held_out is None:
        held_out = training
    else:
        training = training - held_out
    judges = held_out_rows(rows.tensors[0], n_denominator, held_out)
    shares = [
        cumulative_shares(training[:, :n_denominator]),
        cumulative_shares(training[:, n_denominator:]),
    ]
    net = train(
        network,
        member_losses,
        rows,
        judges,
        own_share=_OWN_SHARE,
        iterator_train=partial(DomainBatches, n_batches=n_batches, shares=shares),
        **train_params,
    )
    x, *targets = judges.tensors
    with torch.no_grad():
        log_ratio = torch.cat([network(part)[..., 0] for part in x.split(_CHUNK_ROWS)])
    return net, extreme_log_ratios(log_ratio, targets)


def extreme_log_ratios(
    log_ratio: torch.Tensor, targets: Sequence[torch.Tensor]
) -> tuple[float, float]:
    """Least log ratio of the numerator's rows, and greatest of the denominator's.

    The log ratios have the shape (n_rows, n_members), the targets are those of
    :func:`member_losses`; rows of weight 0 are padding.
    """
    log_ratio, sign, weight = torch.broadcast_tensors(log_ratio, *targets)
    numerator, denominator = (
        log_ratio[(sign == domain) & (weight > 0)] for domain in (1, -1)
    )
    return numerator.min().item(), denominator.max().item()


def member_log_ratios(network: nn.Module, inputs: Floats) -> Floats:
    """Log ratios of an ensemble's members, in nats, of shape (n_samples, n_members).

    The network is in double precision, as the inputs are.
    """
    device = next(network.parameters()).device
    parts = []
    with usual_torch(grad=False):
        for start in range(0, len(inputs), _CHUNK_ROWS):
            z = torch.as_tensor(inputs[start : start + _CHUNK_ROWS], device=device)
            parts.append(network(z)[..., 0].cpu().numpy())
    return np.concatenate(parts)


def mean_log_ratio(network: nn.Module, inputs: Floats) -> Floats:
    """Log ratio of an ensemble, the mean of :func:`member_log_ratios`."""
    return member_log_ratios(network, inputs).mean(axis=1)


def warn_if_apart(
    estimator: Any, lowest_numerator: float, highest_denominator: float
) -> None:
    """Warn, from `fit`, where held-out rows are told apart without error.

    The limits are those of :func:`extreme_log_ratios`.
    """
    if lowest_numerator > highest_denominator:
        warnings.warn(
            f"{type(estimator).__name__} separates the two samples without error, at "
            "held-out rows: they hardly overlap, and where they do not, the size "
            "of the log ratio cannot be learnt from a classifier. Use a model of "
            "the two densities, such as "
            "ClassifierRatio(QuadraticDiscriminantAnalysis()) for Gaussians, or "
            "bridges between the samples: TelescopingRatio.",
            UserWarning,
            stacklevel=6,
        )
