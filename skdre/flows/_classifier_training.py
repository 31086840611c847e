"""A flow with a classifier on its features, and the loss that trains both."""

from functools import partial

import numpy as np
import torch
from torch.nn import functional

from skdre._nn.batches import (
    DomainBatches,
    cumulative_shares,
    held_out_rows,
)
from skdre._nn.classification import extreme_log_ratios
from skdre._nn.networks import draw_in
from skdre._nn.training import train
from skdre.flows._likelihood import LogDensity, normal_log_density, transform_of

__all__ = ["FlowClassifier", "joint_loss", "train_jointly"]


class FlowClassifier(LogDensity):
    """A flow with base N(0, I), and classifiers of its features.

    Parameters
    ----------
    flow : zuko.flows.Flow
        As of :class:`LogDensity`.
    noise_scale : sequence of float of length n_features
        As of :class:`LogDensity`.
    classifier : EnsembleMLP
        Its members all see the features of the one flow.
    alpha : float
        Share of the log loss in the loss. What has no share is not computed, and
        without one the classifier is no part of the module.
    """

    def __init__(self, flow, noise_scale, classifier, alpha):
        super().__init__(flow, noise_scale)
        self.classifier = classifier if alpha > 0 else None
        self.alpha = alpha

    def forward(self, rows):
        """Log ratios and log density.

        In evaluation only the log ratio, if the loss has a part for it: training is
        judged by that. Flows go on gaining likelihood long after the classifier has
        begun to overfit.

        Parameters
        ----------
        rows : torch.Tensor of shape (n_rows, 1, n_features + 1)
            Mapped rows u, and the log determinant of the map from x to u.

        Returns
        -------
        log_ratio : torch.Tensor of shape (n_rows, n_members) or None
        log_density : torch.Tensor of shape (n_rows, 1) or None
            Of x, in nats.
        """
        rows = rows.squeeze(1)
        u, log_det_map = self.perturbed(rows[:, :-1]), rows[:, -1]
        transform = transform_of(self.flow)
        log_ratio = log_density = None
        if self.alpha == 0 or (self.alpha < 1 and self.training):
            z, log_det = transform.call_and_ladj(u)
            log_density = (normal_log_density(z) + log_det + log_det_map)[:, None]
        else:
            z = transform(u)
        if self.alpha > 0:
            log_ratio = self.classifier(draw_in(z))[..., 0]
        return log_ratio, log_density


def joint_loss(output, targets, alpha):
    """Equation 1: alpha times the log loss and 1 - alpha times minus the log density.

    Parameters
    ----------
    output : tuple
        Of :class:`FlowClassifier`. Where one is None the loss is that of the other.
    targets : pair of torch.Tensor of shape (n_rows, 1)
        The sign, 1 for rows of the numerator and -1 for others, and the weight.
    alpha : float

    Returns
    -------
    loss : torch.Tensor of shape ()
        In nats; the log loss is the mean over the members.
    """
    log_ratio, log_density = output
    sign, weight = targets
    if log_density is not None:
        flow_loss = -(weight * log_density).mean()
        if log_ratio is None:
            return flow_loss
    log_loss = (weight * functional.softplus(-sign * log_ratio)).mean()
    if log_density is None:
        return log_loss
    return alpha * log_loss + (1 - alpha) * flow_loss


def train_jointly(network, rows, n_denominator, weight, held_out, **params):
    """Train a :class:`FlowClassifier` by the joint loss, in place.

    Its rows, :class:`TensorRows`, have the denominator's first, and the log determinant
    of their map last;
    `weight` counts them, and `held_out`, None or of the same shape, is the part of it
    that judges the training; without one all rows do both. Other parameters are those
    of :func:`skdre._nn.training.train`, and ``n_batches``, the batches of an epoch.

    Returns the net, and the least log ratio of a held-out row of the numerator and the
    greatest of one of the denominator, or None if the classifier is not trained.
    """
    training = weight if held_out is None else weight - held_out
    held_out = weight if held_out is None else held_out
    shares = [
        cumulative_shares(part[None]) for part in np.split(training, [n_denominator])
    ]
    held_out = held_out_rows(rows.tensors[0], n_denominator, held_out[None])
    n_batches = params.pop("n_batches")
    net = train(
        network,
        partial(joint_loss, alpha=network.alpha),
        rows,
        held_out,
        iterator_train=partial(DomainBatches, n_batches=n_batches, shares=shares),
        **params,
    )
    if network.alpha == 0:
        return net, None
    x, *targets = held_out.tensors
    network.eval()
    with torch.no_grad():
        log_ratio = network(x)[0]
    return net, extreme_log_ratios(log_ratio, targets)
