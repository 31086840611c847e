"""Ensembles that tell two samples apart: their loss, training and log ratio."""

import warnings
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from skdre._nn.batches import DomainBatches, cumulative_shares, held_out_rows
from skdre._nn.settings import usual_torch
from skdre._nn.training import KeepBestMembers, TensorRows, train

__all__ = [
    "extreme_log_ratios",
    "mean_log_ratio",
    "member_log_ratios",
    "member_losses",
    "train_members",
    "warn_if_apart",
]

# A member's fold alone is a noisy judge of when to stop: of 200 rows a side the mean of
# all folds made the error of the log ratio a third smaller, while of 10,000 a side each
# member's own did a sixth better. Half of each was near the better one at all sizes.
_OWN_SHARE = 0.5

# Rows that go through the network at once when it is not trained.
_CHUNK_ROWS = 4096


def member_losses(output, targets):
    """Balanced log loss of each member.

    Parameters
    ----------
    output : torch.Tensor of shape (n_rows, n_members, 1)
        Log ratios.
    targets : pair of torch.Tensor of shape (n_rows, n_members)
        The sign, 1 for rows of the numerator and -1 for others, and the weight.

    Returns
    -------
    losses : torch.Tensor of shape (n_members,)
        In nats.
    """
    sign, weight = targets
    return (weight * functional.softplus(-sign * output[..., 0])).mean(dim=0)


def train_members(
    network, inputs, n_denominator, weight, held_out, *, n_batches, **train_params
):
    """Train an ensemble to tell the numerator's rows, in place.

    Parameters
    ----------
    network : EnsembleMLP
        On the device of `inputs`.
    inputs : torch.Tensor of shape (n_rows, n_features)
        The denominator's rows first.
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
    scores : tuple of float
        Least log ratio of a held-out row of the numerator, and greatest of one of the
        denominator.
    """
    training = np.tile(weight, (network.n_members, 1))
    if held_out is None:
        held_out = training
    else:
        training = training - held_out
    held_out = held_out_rows(inputs, n_denominator, held_out)
    shares = [
        cumulative_shares(training[:, :n_denominator]),
        cumulative_shares(training[:, n_denominator:]),
    ]
    net = train(
        network,
        member_losses,
        TensorRows(inputs),
        held_out,
        keeper=partial(KeepBestMembers, own_share=_OWN_SHARE),
        iterator_train=partial(DomainBatches, n_batches=n_batches, shares=shares),
        **train_params,
    )
    x, *targets = held_out.tensors
    with torch.no_grad():
        log_ratio = torch.cat([network(part)[..., 0] for part in x.split(_CHUNK_ROWS)])
    return net, extreme_log_ratios(log_ratio, targets)


def extreme_log_ratios(log_ratio, targets):
    """Least log ratio of the numerator's rows, and greatest of the denominator's.

    Parameters
    ----------
    log_ratio : torch.Tensor of shape (n_rows, n_members)
    targets : pair of torch.Tensor of shape (n_rows, n_members) or (n_rows, 1)
        As of :func:`member_losses`; rows of weight 0 are no rows.
    """
    log_ratio, sign, weight = torch.broadcast_tensors(log_ratio, *targets)
    numerator, denominator = (
        log_ratio[(sign == domain) & (weight > 0)] for domain in (1, -1)
    )
    return numerator.min().item(), denominator.max().item()


def member_log_ratios(network, inputs):
    """Log ratios of the members of an ensemble in double precision.

    Of shape (n_samples, n_members), in nats.
    """
    device = next(network.parameters()).device
    parts = []
    with usual_torch(grad=False):
        for start in range(0, len(inputs), _CHUNK_ROWS):
            z = torch.as_tensor(inputs[start : start + _CHUNK_ROWS], device=device)
            parts.append(network(z)[..., 0].cpu().numpy())
    return np.concatenate(parts)


def mean_log_ratio(network, inputs):
    """Log ratio of an ensemble, the mean of :func:`member_log_ratios`."""
    return member_log_ratios(network, inputs).mean(axis=1)


def warn_if_apart(estimator, lowest_numerator, highest_denominator):
    """Warn where the held-out rows of the two samples are told apart without error.

    Parameters
    ----------
    estimator : estimator instance
        Named in the message; called from its `fit`.
    lowest_numerator, highest_denominator : float
        Least log ratio of a held-out row of the numerator, and greatest of one of the
        denominator.
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
