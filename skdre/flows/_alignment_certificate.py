"""What LikelihoodRatioAligner judges a map by: densities of what it made."""

import copy
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from zuko.flows import Flow
from zuko.lazy import LazyInverse

from skdre._core.types import Floats
from skdre._nn.estimator import late_gain, n_epochs_and_batches
from skdre._nn.training import fitted_module
from skdre.flows._alignment_training import (
    DomainLogDensity,
    DomainRows,
    train_on_domains,
)
from skdre.flows._gaussian import GaussianFlow, gaussian_moments
from skdre.flows._likelihood import log_density, through

__all__ = [
    "Certificate",
    "certificate",
    "chained",
    "densities_of",
    "gaussians_of",
    "own_log_likelihood",
    "parts_of",
    "shared_log_likelihood",
    "warn_of_single_rows",
    "warn_unless_aligned",
]

# Densities that are judged by are trained for a quarter of the map's steps, but for
# these at least if the map had as many.
_LEAST_STEPS = 100

# Shares of the learning rate that are tried until densities of their own get better.
_RATES = (1.0, 0.1, 0.01)


def chained(first, second, *, last_inverted=False):
    """A flow of copies of the transforms of two, or of the second's inverse."""
    transforms = [copy.deepcopy(each.transform) for each in (first, second)]
    if last_inverted:
        transforms[1] = LazyInverse(transforms[1])
    return Flow(transforms, copy.deepcopy(second.base))


def own_log_likelihood(densities, samples, weights):
    """Mean log density of each sample under its own density, summed over the two.

    In nats; the samples are mapped rows of the source and of the target.
    """
    return sum(
        float(np.average(through(density, log_density, U), weights=w))
        for density, U, w in zip(densities, samples, weights, strict=True)
    )


def initial_log_likelihood(start, own, samples, weights):
    """The same of both samples before anything moves, under what fits them better.

    That is the shared density that the map was to start with, `start`, or the equal
    mixture of their own ones, unless they are Gaussian: `start` is a maximum then.
    """
    start = copy.deepcopy(start).double().eval()
    plain = own_log_likelihood([start, start], samples, weights)
    if isinstance(start, GaussianFlow):
        return plain
    mixed = 0.0
    for U, w in zip(samples, weights, strict=True):
        each = [through(density, log_density, U) for density in own]
        mixed += float(np.average(np.logaddexp(*each) - np.log(2), weights=w))
    return max(plain, mixed)


def moved_source(flow, source):
    """Rows of the source after the transform T of a flow, and T's log-determinants."""

    def move(transform, u):
        moved, log_det = transform.call_and_ladj(u)
        return torch.cat([moved, log_det[:, None]], dim=1)

    values = through(flow, move, source)
    return values[:, :-1], values[:, -1]


def shared_log_likelihood(flow, density, samples, weights):
    """The same under one density, of the source after the transform T of a flow.

    The log-determinant of T's Jacobian is in it. The log-likelihood ratio, Eq. 2 of the
    paper, is :func:`own_log_likelihood` less this.
    """
    source, target = samples
    moved, log_det = moved_source(flow, source)
    of_source = through(density, log_density, moved) + log_det
    of_target = through(density, log_density, target)
    return float(
        np.average(of_source, weights=weights[0])
        + np.average(of_target, weights=weights[1])
    )


def parts_of(net):
    """The map and the shared density that a net has trained, in double precision."""
    module = fitted_module(net)
    return module.transform, module.densities[0]


def densities_of(flow, shared, own=None):
    """Densities of the source, the target, and of both with the source moved.

    The source's own density is that of the moved rows, `own[0]`, seen through the map.
    """
    of_moved, of_target = own or (shared, copy.deepcopy(shared))
    return chained(flow, of_moved), of_target, shared


@dataclass(frozen=True)
class Certificate:
    """How well the family tells the moved source from the target.

    Attributes
    ----------
    densities : tuple of three zuko.flows.Flow
        Of :func:`densities_of`.
    own : float
        Log likelihood of both samples under their own densities.
    ratio, initial : float
        The log-likelihood ratio, and that before anything moved.
    losses : ndarray of shape (n_epochs,)
        Minus the shared log likelihood, epoch by epoch of its last training.
    gain : float
        What the ratio still gained in the last third of that training; infinite after
        too few steps, NaN where the densities of the single samples are the start.
    """

    densities: tuple[Flow, Flow, Flow]
    own: float
    ratio: float
    initial: float
    losses: Floats
    gain: float


def certificate(flow, shared, start, samples, weights, noise_scale, **params):
    """Judge a map by densities of the samples it leads to.

    Parameters
    ----------
    flow : zuko.flows.Flow
        Its transform is the map.
    shared : zuko.flows.Flow or None
        The density that the map was trained with; None for Gaussians.
    start : zuko.flows.Flow
        The density that both samples shared before anything moved.
    samples : pair of ndarray of shape (n_samples, n_features)
        The source, not moved, and the target, as mapped rows.
    weights : pair of ndarray of shape (n_samples,)
    noise_scale : sequence of float of length n_features
    **params : dict
        Of :func:`settle`.

    Returns
    -------
    found : Certificate

    Raises
    ------
    KeyboardInterrupt
        At Ctrl-C.
    """
    moved, log_det = moved_source(flow, samples[0])
    pair = [moved, samples[1]]
    losses, gain = np.array([]), 0.0
    if shared is None:
        *apart, shared = gaussians_of(pair, weights, noise_scale)
    else:
        *apart, shared, losses, gain = settle(
            shared, pair, weights, noise_scale, **params
        )
    densities = densities_of(flow, shared, apart)
    own = own_log_likelihood(densities[:2], samples, weights)
    return Certificate(
        densities=densities,
        own=own,
        ratio=own - shared_log_likelihood(flow, shared, samples, weights),
        initial=own - initial_log_likelihood(start, densities[:2], samples, weights),
        losses=losses - np.average(log_det, weights=weights[0]),
        gain=gain,
    )


def gaussians_of(samples, weights, noise_scale):
    """Gaussians of the moments of the source, of the target, and of both."""
    balanced = np.concatenate([w / w.sum() for w in weights])
    parts = [*zip(samples, weights, strict=True), (np.concatenate(samples), balanced)]
    d = samples[0].shape[1]
    return [
        GaussianFlow(d).set_moments(*gaussian_moments(U, w, noise_scale), 0.0)
        for U, w in parts
    ]


def settle(
    density,
    samples,
    weights,
    noise_scale,
    *,
    device,
    max_iter,
    learning_rate,
    **params,
):
    """Train a density apart on the two samples, and on both, from one start.

    The log-likelihood ratio is a difference of maxima, and what a training falls short
    of its maximum would be counted as a difference of the samples. Here the three
    trainings have one start and as many steps, so that they fall short alike. Samples
    that the family can tell apart soon have better densities of their own.

    A training that never gets better than its start ends there. Were all three to end
    at the start, the ratio would be 0 whatever the samples are. So the first two, of
    which one at least can get better, are tried again with smaller steps.

    Returns
    -------
    of_source, of_target, shared : zuko.flows.Flow
    losses : ndarray of shape (n_epochs,)
    gain : float
        The last two as in :class:`Certificate`; the gain is NaN where the densities of
        the single samples are the start.
    """
    data = DomainRows(samples, weights, device)
    max_iter = max(-(-max_iter // 4), min(max_iter, _LEAST_STEPS))
    n_epochs, _ = n_epochs_and_batches(max_iter)

    def trained(n_densities, rate):
        densities = [copy.deepcopy(density) for _ in range(n_densities)]
        module = DomainLogDensity(densities, None, noise_scale).float().to(device)
        net = train_on_domains(
            module, data, max_iter=max_iter, learning_rate=rate, **params
        )
        if net.interrupt_:
            raise net.interrupt_
        losses = np.array([epoch["valid_loss"] for epoch in net.finished_epochs()])
        return net, fitted_module(net).densities, losses

    for share in _RATES:
        net, apart, own_losses = trained(2, share * learning_rate)
        if has_learnt := net.keeper_.best_epoch_ > 0:
            break
    _, (shared,), losses = trained(1, share * learning_rate)
    if n_epochs < 3:
        # There is no last third: nothing says that the ratio has come to rest.
        gain = np.inf
    elif has_learnt:
        gain = late_gain(-own_losses, n_epochs) - late_gain(-losses, n_epochs)
    else:
        gain = np.nan
    return *apart, shared, losses, gain


def warn_of_single_rows(samples, classes):
    names = ("denominator", "numerator")
    for name, label, sample in zip(names, classes, samples, strict=True):
        if len(sample) == 1:
            warnings.warn(
                f"The {name} (y == {label.item()!r}) has one distinct row, which has "
                "no spread to be matched: an affine map between Gaussians is a mere "
                "shift then, and other maps mean little. Give more rows of it.",
                UserWarning,
                stacklevel=6,
            )


def warn_unless_aligned(ratio, gain, *, tol, max_iter):
    """Say why a log-likelihood ratio certifies nothing, if so."""
    if gain == np.inf:
        message = (
            f"With max_iter={max_iter} the densities of the moved samples were trained "
            f"too briefly for their log-likelihood ratio ({ratio:.2g} nats) to certify "
            "anything. Increase max_iter."
        )
    elif np.isnan(gain):
        message = (
            "The densities of the moved samples never fitted them better than the one "
            f"that they started from, so their log-likelihood ratio ({ratio:.2g} nats) "
            "certifies nothing. Lower learning_rate, increase max_iter, or look for "
            "repeated values in X."
        )
    elif gain > tol:
        message = (
            f"The log-likelihood ratio ({ratio:.2g} nats) still gained {gain:.2g} in "
            "the last third of the steps in which the densities of the moved samples "
            f"were trained, with max_iter={max_iter}. It is not yet one of maxima. "
            "Increase max_iter."
        )
    elif ratio < -tol:
        message = (
            f"The log-likelihood ratio is {ratio:.2g} nats, below its bound 0, so "
            "it certifies nothing: the densities of the single samples are not at "
            "their maximum. Increase max_iter, or lower learning_rate."
        )
    elif not ratio <= tol:
        message = (
            f"The samples are not aligned: the log-likelihood ratio is {ratio:.2g} "
            f"nats, above tol={tol:g}. Increase max_iter, or take a more "
            "flexible flow; align moments by an affine map first if the samples "
            "hardly overlap."
        )
    else:
        return
    warnings.warn(message, ConvergenceWarning, stacklevel=6)
