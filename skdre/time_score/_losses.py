r"""Losses whose minimum is the score of a path of distributions, as pure functions.

The scores are those of p_t, the law of x_t: the time score d/dt log p_t(x) and the data
score, its gradient in x. All losses are for t = 0 the denominator and t = 1 the
numerator (see :mod:`skdre.paths`), so log r is the integral of the time score
over t from 0 to 1. In [1]_ t = 0 is that paper's numerator q, and log r the integral
from 1 to 0: its losses hold as they stand, for they do not ask which end is which.

Each loss takes draws of pairs and times, and gives two tensors of one number a draw:
the part that depends on the time drawn, to be divided by the density it was drawn with
(Eq. 11 of [1]_), and the part at the two ends, which does not.

Where a fixed base score b is given, a network s learns what it lacks: the losses are
those of b + s, less those of b alone where these contain derivatives, so that no
derivative of b is needed. That is a constant, and 0 is a network that adds nothing.

References
----------
.. [1] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via Infinitesimal
   Classification", AISTATS 2022.
.. [2] H. Yu, A. Klami, A. Hyvarinen, A. Korba, O. Chehab. "Density Ratio Estimation
   with Conditional Probability Paths", ICML 2025 (arXiv 2502.02300).
"""

from typing import NamedTuple

import torch

from skdre.time_score._networks import forward_derivative, with_derivative

__all__ = [
    "WEIGHTINGS",
    "Draws",
    "ScoreLoss",
    "conditional_losses",
    "denoising_losses",
    "fokker_planck_time_score",
    "sliced_losses",
    "time_score_losses",
    "velocity_losses",
    "weight_and_slope",
]


class Draws(NamedTuple):
    """Pairs of rows and times, drawn to estimate a loss.

    Attributes
    ----------
    t : torch.Tensor of shape (n_draws, 1)
        Times.
    importance : torch.Tensor of shape (n_draws, 1)
        Density of the uniform law over that with which the time was drawn.
    x0, x1 : torch.Tensor of shape (n_draws, n_features)
        Rows of the denominator and of the numerator.
    noise : torch.Tensor of shape (n_draws, n_features)
        Standard normal.
    direction : torch.Tensor of shape (n_draws, n_features)
        Of zero mean and unit covariance.
    switch : torch.Tensor of shape (n_draws, 1)
        Uniform: when discrete columns go from one row's value to the other's.
    """

    t: torch.Tensor
    importance: torch.Tensor
    x0: torch.Tensor
    x1: torch.Tensor
    noise: torch.Tensor
    direction: torch.Tensor
    switch: torch.Tensor

    def pack(self):
        """All columns side by side, one row a draw."""
        return torch.cat(self, dim=1)

    @classmethod
    def unpack(cls, packed):
        """The draws that were packed."""
        n_features = (packed.shape[1] - 3) // 4
        return cls(*packed.split([1, 1, *[n_features] * 4, 1], dim=1))


def _uniform(t):
    return torch.ones_like(t), torch.zeros_like(t)


def _parabolic(t):
    return 0.25 + 4.5 * t * (1 - t), 4.5 * (1 - 2 * t)


# Each of mean 1 over time.
WEIGHTINGS = {"uniform": _uniform, "parabolic": _parabolic}


def weight_and_slope(weighting, t):
    """The weight lambda(t) of a time, and its derivative.

    Parameters
    ----------
    weighting : {"uniform", "parabolic"} or callable
        "parabolic" is 0.25 + 4.5 t (1 - t); a callable is lambda itself, of a tensor.
    t : torch.Tensor of shape (n_draws, 1)

    Returns
    -------
    weight, slope : torch.Tensor of shape (n_draws, 1)
    """
    if callable(weighting):
        return forward_derivative(weighting, (t,), (torch.ones_like(t),))
    return WEIGHTINGS[weighting](t)


def _rows(draws, path, centers, is_discrete=None):
    x = path.interpolate(draws.x0, draws.x1, draws.t, draws.noise, centers=centers)
    if is_discrete is None:
        return x
    mixed = torch.where(draws.switch < draws.t, draws.x1, draws.x0)
    return torch.where(is_discrete, mixed, x)


def time_score_losses(
    score, draws, path, weighting, centers=None, base=None, *, is_discrete=None
):
    """Time score matching, Eq. 5 of [1]_.

    The paper's Eq. 5 and Algorithm 1 print lambda s where the proof in its appendix A.4
    has lambda s^2. With s alone the loss has no minimum.

    Parameters
    ----------
    score : torch.nn.Module or callable
        Of (x, t); the first column of its output is the time score.
    draws : Draws
    path : skdre.paths.Path
    weighting : str or callable
        As for :func:`weight_and_slope`.
    centers : pair of torch.Tensor of shape (n_features,), default=None
        As for ``path.interpolate``.
    base : callable, default=None
        Of (x, t): the base score, with the columns of `score`.
    is_discrete : torch.Tensor of bool of shape (n_features,), default=None
        Columns of a few values, which are mixed: they go from the denominator's value
        to the numerator's at a random time. Between the values they have no density.

    Returns
    -------
    interior, ends : torch.Tensor of shape (n_draws,)
    """
    x, t = _rows(draws, path, centers, is_discrete), draws.t
    output, slope = with_derivative(
        score, x, t, torch.zeros_like(x), torch.ones_like(t)
    )
    s, ds = output[:, :1], slope[:, :1]
    weight, weight_slope = weight_and_slope(weighting, t)
    square = s**2 if base is None else s * (s + 2 * base(x, t)[:, :1])
    interior = weight * square + 2 * weight * ds + 2 * weight_slope * s
    start, end = torch.zeros_like(t), torch.ones_like(t)
    both = score(torch.cat([draws.x0, draws.x1]), torch.cat([start, end]))[:, :1]
    at_start, at_end = both.chunk(2)
    ends = (
        2 * weight_and_slope(weighting, start)[0] * at_start
        - 2 * weight_and_slope(weighting, end)[0] * at_end
    )
    return interior[:, 0], ends[:, 0]


def velocity_losses(score, draws, path, weighting, centers=None, base=None):
    r"""Time score matching without ends: the time derivative is taken along the pairs.

    For any s, d/dt E[s(x_t, t)] is E[ds/dt] + E[s d/dt log p_t] on one side and
    E[ds/dt] + E[x_t' . grad s] on the other, so that the cross term of Eq. 4 of [1]_ is
    E[s d/dt log p_t] = E[x_t' . grad s]. This is Eq. 5 with its integral over time done
    exactly along each pair; the expectation is the same, and neither the ends nor the
    derivative of the weight are needed.

    Parameters and returns are those of :func:`time_score_losses`, without discrete
    columns.
    """
    x, t = _rows(draws, path, centers), draws.t
    velocity = path.velocity(draws.x0, draws.x1, t, draws.noise, centers=centers)
    output, slope = with_derivative(score, x, t, velocity, torch.zeros_like(t))
    weight, _ = weight_and_slope(weighting, t)
    s, along = output[:, :1], slope[:, :1]
    square = s**2 if base is None else s * (s + 2 * base(x, t)[:, :1])
    interior = weight * (square - 2 * along)
    return interior[:, 0], torch.zeros_like(interior[:, 0])


def sliced_losses(score, draws, path, weighting, centers=None, base=None):
    """Sliced score matching of the data score, the first two terms of Eq. 8 of [1]_.

    Twice as large, as in Eq. 5: lambda (|S|^2 + 2 v^T grad S v), in expectation
    lambda |S - grad log p_t|^2 up to a constant. To have Eq. 8 add the time score's
    loss; its own square, lambda s^2 / 2, is missing from the paper's Eq. 8 and 17.

    Parameters and returns are those of :func:`time_score_losses`; the data score is
    the last n_features columns of the output of `score`.
    """
    x, t = _rows(draws, path, centers), draws.t
    v = draws.direction
    output, slope = with_derivative(score, x, t, v, torch.zeros_like(t))
    data, along = output[:, -x.shape[1] :], slope[:, -x.shape[1] :]
    weight, _ = weight_and_slope(weighting, t)
    square = data**2
    if base is not None:
        square = data * (data + 2 * base(x, t)[:, -x.shape[1] :])
    interior = weight[:, 0] * (square + 2 * v * along).sum(1)
    return interior, torch.zeros_like(interior)


class _Conditional(NamedTuple):
    """x_t = mean + spread * noise, given what is held fixed.

    `rate` is the time derivative of the mean, and `half_slope` half that of the
    variance, spread * spread'.
    """

    noise: torch.Tensor
    spread: torch.Tensor
    half_slope: torch.Tensor
    rate: torch.Tensor


def _conditional(draws, path, centers):
    """The Gaussian law of x_t given its pair, or given the numerator's row alone.

    The latter where the path is free of noise; the denominator's row, which then must
    be standard normal, is the noise.
    """
    value, slope = path.coefficients(draws.t), path.derivatives(draws.t)
    if path.is_noisy:
        rate = path.velocity(
            draws.x0, draws.x1, draws.t, torch.zeros_like(draws.x0), centers=centers
        )
        return _Conditional(draws.noise, value.noise, value.noise * slope.noise, rate)
    origin = torch.zeros_like(draws.x0)
    rate = path.velocity(origin, draws.x1, draws.t, centers=centers)
    half_slope = value.denominator * slope.denominator
    return _Conditional(draws.x0, value.denominator, half_slope, rate)


def _sum(score, base, x, t):
    return score(x, t) if base is None else score(x, t) + base(x, t)


def conditional_losses(
    score,
    draws,
    path,
    weighting,
    centers=None,
    base=None,
    *,
    speed=1.0,
    per_feature=False,
):
    r"""Conditional time score matching: CTSM, or CTSM-v per feature, of [2]_.

    Given the pair (or the numerator's row, if the denominator is standard normal), x_t
    is Gaussian of mean m_t and variance s_t^2, and with z = (x_t - m_t) / s_t

    .. math::

       \frac{d}{dt} \log p_t(x | \cdot)
       = \sum_i \frac{s_t s_t' (z_i^2 - 1) + s_t z_i m_{t,i}'}{s_t^2} ,

    whose mean given x_t is the time score. A network is regressed on it, or, per
    feature, on each term of the sum. The target diverges at the ends; its variance is
    (2 (s_t s_t')^2 + s_t^2 c) / s_t^4 a feature, c the mean of m'^2 (`speed`, for
    which a constant will do), and lambda(t) is
    the inverse of that ([2]_: time score normalisation). Network and target are
    multiplied by the root of it before they are formed, so nothing is divided by s_t.

    Parameters and returns are those of :func:`time_score_losses`. The weighting
    multiplies lambda. With `per_feature` the output of `score` has n_features columns.
    """
    law = _conditional(draws, path, centers)
    x = _rows(draws, path, centers)
    n_features = x.shape[1]
    root = torch.sqrt(2 * law.half_slope**2 + law.spread**2 * speed)
    target = (
        law.half_slope * (law.noise**2 - 1) + law.spread * law.noise * law.rate
    ) / root
    if not per_feature:
        root = root * n_features**0.5
        target = target.sum(1, keepdim=True) / n_features**0.5
    output = _sum(score, base, x, draws.t) * (law.spread**2 / root)
    weight, _ = weight_and_slope(weighting, draws.t)
    interior = weight[:, 0] * ((output - target) ** 2).sum(1)
    return interior, torch.zeros_like(interior)


def denoising_losses(score, draws, path, weighting, centers=None, base=None):
    """Denoising score matching of the data score: |s S + z|^2, s^2 being the weight.

    The target of S is -z / s, z the noise of the law of x_t given its pair (or given
    the numerator's row, if the denominator is standard normal); it is never divided by
    s. Parameters and returns are those of :func:`sliced_losses`.
    """
    law = _conditional(draws, path, centers)
    x = _rows(draws, path, centers)
    data = _sum(score, base, x, draws.t)[:, -x.shape[1] :]
    weight, _ = weight_and_slope(weighting, draws.t)
    interior = weight[:, 0] * ((law.spread * data + law.noise) ** 2).sum(1)
    return interior, torch.zeros_like(interior)


def fokker_planck_time_score(data_score, path, x, t):
    r"""Time score of a diffusion from its data score (appendix C of [1]_, Eq. 19).

    x_t = a x_0 + b x_1 with x_0 standard normal has the law of the diffusion
    dx = f dt + sqrt(D) dw, f = (b' / b) x and D = 2 a a' - 2 (b' / b) a^2, and

    .. math::

       \frac{d}{dt} \log p_t = -\nabla \cdot f - f^T S
       + \frac{D}{2} \left( |S|^2 + \mathrm{tr} \nabla S \right) .

    Eq. 19 prints g^2 for D / 2. Time runs from noise to data here, so D is negative:
    for the variance-preserving diffusion f = beta x / 2 and D = -beta.

    Parameters
    ----------
    data_score : torch.nn.Module or callable
        Of (x, t); the last n_features columns of its output are S.
    path : skdre.paths.Path
        Free of noise.
    x : torch.Tensor of shape (n_rows, n_features)
    t : torch.Tensor of shape (n_rows, 1)
        Above 0.

    Returns
    -------
    time_score : torch.Tensor of shape (n_rows,)
    """
    n_rows, n_features = x.shape
    a, b, _ = path.coefficients(t)
    da, db, _ = path.derivatives(t)
    drift = db / b
    diffusion = 2 * a * da - 2 * drift * a**2
    S = data_score(x, t)[:, -n_features:]
    trace = torch.zeros(n_rows, 1, dtype=x.dtype, device=x.device)
    for k in range(n_features):
        unit = torch.zeros_like(x)
        unit[:, k] = 1
        _, slope = with_derivative(data_score, x, t, unit, torch.zeros_like(t))
        trace = trace + slope[:, -n_features:][:, k : k + 1]
    along, square = ((x * S).sum(1, keepdim=True), (S**2).sum(1, keepdim=True))
    score = -drift * (n_features + along) + diffusion / 2 * (square + trace)
    return score[:, 0]


class ScoreLoss(torch.nn.Module):
    """Loss of each of some packed draws, as the training loop calls it.

    Parameters
    ----------
    score : torch.nn.Module
        The network to train, of (x, t).
    losses : sequence of callable
        Of (score, draws, base=...), each giving (interior, ends); they are added.
    times : UniformTimes or LossHistory
        Told the losses of the training.
    base : torch.nn.Module, default=None
        A fixed score that is added.
    """

    def __init__(self, score, losses, times, base=None):
        super().__init__()
        self.score, self.losses, self.times, self.base = score, losses, times, base

    def forward(self, packed):
        """Losses of shape (n_draws,)."""
        draws = Draws.unpack(packed)
        parts = [loss(self.score, draws, base=self.base) for loss in self.losses]
        interior = sum(part for part, _ in parts)
        if self.training:
            self.times.update(draws.t[:, 0].detach(), interior.detach())
        return draws.importance[:, 0] * interior + sum(ends for _, ends in parts)
