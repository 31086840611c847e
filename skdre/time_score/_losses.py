r"""Losses whose minimum is the score of a path of distributions, as pure functions.

The scores are those of p_t, the law of x_t: the time score d/dt log p_t(x) and the data
score, its gradient in x. All losses are for t = 0 the denominator and t = 1 the
numerator (see :mod:`skdre.paths`), so log r is the integral of the time score
over t from 0 to 1. In [1]_ t = 0 is that paper's numerator q, and log r the integral
from 1 to 0: its losses hold as they stand, for they do not ask which end is which.

Each loss is a function of a score, called as ``score(x, t)``, of draws of pairs and
times, and of a setting. It gives two parts, of one number a draw: the one that depends
on the time drawn, to be divided by the density it was drawn with (Eq. 11 of [1]_), and
the one at the two ends, which does not; 0 if there is none.

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

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skdre.paths import Path
from skdre.time_score._networks import forward_derivative, with_derivative

__all__ = [
    "WEIGHTINGS",
    "Draws",
    "Score",
    "ScoreLoss",
    "Setting",
    "conditional_losses",
    "data_score_losses",
    "denoising_losses",
    "fokker_planck_time_score",
    "sliced_losses",
    "time_score_losses",
    "velocity_losses",
    "weight_and_slope",
]


Score = Callable[[Tensor, Tensor], Tensor]


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

    t: Tensor
    importance: Tensor
    x0: Tensor
    x1: Tensor
    noise: Tensor
    direction: Tensor
    switch: Tensor


@dataclass(frozen=True)
class Setting:
    """What a loss depends on beside the score and the draws.

    Attributes
    ----------
    path : skdre.paths.Path
    weighting : {"uniform", "parabolic"} or callable
        As for :func:`weight_and_slope`.
    centers : pair of torch.Tensor of shape (n_features,), default=None
        As for ``path.interpolate``.
    base : callable, default=None
        Of (x, t): the base score, with the columns of the score that is learnt.
    is_conditional : bool, default=False
        Whether x_t is Gaussian given its pair, or given the numerator's row.
    is_discrete : torch.Tensor of bool of shape (n_features,), default=None
        Columns of a few values, which are mixed: they go from the denominator's value
        to the numerator's at a random time. Between the values they have no density.
    speed : float, default=1.0
        Mean squared rate of the conditional mean of x_t.
    """

    path: Path
    weighting: str | Callable[[Tensor], Tensor] = "uniform"
    centers: tuple[Tensor, Tensor] | None = None
    base: Score | None = None
    is_conditional: bool = False
    is_discrete: Tensor | None = None
    speed: float = 1.0

    def rows(self, draws: Draws) -> Tensor:
        """The rows x_t of the draws."""
        x = self.path.interpolate(
            draws.x0, draws.x1, draws.t, draws.noise, centers=self.centers
        )
        if self.is_discrete is None:
            return x
        mixed = torch.where(draws.switch < draws.t, draws.x1, draws.x0)
        return torch.where(self.is_discrete, mixed, x)

    def weight(self, t: Tensor) -> Tensor:
        """The weight lambda(t), of the shape of t."""
        return weight_and_slope(self.weighting, t)[0]

    def sum(self, score: Score, x: Tensor, t: Tensor) -> Tensor:
        """The base score plus another."""
        return score(x, t) if self.base is None else score(x, t) + self.base(x, t)

    def squared(self, s: Tensor, x: Tensor, t: Tensor, columns: slice) -> Tensor:
        """(b + s)^2 - b^2, with s and b in some columns of the outputs."""
        return s**2 if self.base is None else s * (s + 2 * self.base(x, t)[:, columns])


def _uniform(t):
    return torch.ones_like(t), torch.zeros_like(t)


def _parabolic(t):
    return 0.25 + 4.5 * t * (1 - t), 4.5 * (1 - 2 * t)


# Each of mean 1 over time.
WEIGHTINGS = {"uniform": _uniform, "parabolic": _parabolic}


def weight_and_slope(
    weighting: str | Callable[[Tensor], Tensor], t: Tensor
) -> tuple[Tensor, Tensor]:
    """The weight lambda(t) of a time and its derivative, both of the shape of t."""
    if callable(weighting):
        return forward_derivative(weighting, (t,), (torch.ones_like(t),))
    return WEIGHTINGS[weighting](t)


def time_score_losses(score, draws, setting):
    """Time score matching, Eq. 5 of [1]_; the time score is the first column.

    The paper's Eq. 5 and Algorithm 1 print lambda s where the proof in its appendix A.4
    has lambda s^2. With s alone the loss has no minimum.
    """
    x, t = setting.rows(draws), draws.t
    output, slope = with_derivative(
        score, x, t, torch.zeros_like(x), torch.ones_like(t)
    )
    s, ds = output[:, :1], slope[:, :1]
    weight, weight_slope = weight_and_slope(setting.weighting, t)
    square = setting.squared(s, x, t, slice(1))
    interior = weight * square + 2 * weight * ds + 2 * weight_slope * s
    start, end = torch.zeros_like(t), torch.ones_like(t)
    both = score(torch.cat([draws.x0, draws.x1]), torch.cat([start, end]))[:, :1]
    at_start, at_end = both.chunk(2)
    ends = 2 * setting.weight(start) * at_start - 2 * setting.weight(end) * at_end
    return interior[:, 0], ends[:, 0]


def velocity_losses(score, draws, setting):
    r"""Time score matching without ends: the time derivative is taken along the pairs.

    For any s, d/dt E[s(x_t, t)] is E[ds/dt] + E[s d/dt log p_t] on one side and
    E[ds/dt] + E[x_t' . grad s] on the other, so that the cross term of Eq. 4 of [1]_ is
    E[s d/dt log p_t] = E[x_t' . grad s]. This is Eq. 5 with its integral over time done
    exactly along each pair; the expectation is the same, and neither the ends nor the
    derivative of the weight are needed. Discrete columns have no velocity.
    """
    x, t = setting.rows(draws), draws.t
    velocity = setting.path.velocity(
        draws.x0, draws.x1, t, draws.noise, centers=setting.centers
    )
    output, slope = with_derivative(score, x, t, velocity, torch.zeros_like(t))
    s, along = output[:, :1], slope[:, :1]
    square = setting.squared(s, x, t, slice(1))
    return (setting.weight(t) * (square - 2 * along))[:, 0], 0


def sliced_losses(score, draws, setting):
    """Sliced score matching of the data score, the first two terms of Eq. 8 of [1]_.

    Twice as large, as in Eq. 5: lambda (|S|^2 + 2 v^T grad S v), in expectation
    lambda |S - grad log p_t|^2 up to a constant. To have Eq. 8 add the time score's
    loss; its own square, lambda s^2 / 2, is missing from the paper's Eq. 8 and 17.
    The data score is the last n_features columns.
    """
    x, t, v = setting.rows(draws), draws.t, draws.direction
    columns = slice(-x.shape[1], None)
    output, slope = with_derivative(score, x, t, v, torch.zeros_like(t))
    data, along = output[:, columns], slope[:, columns]
    square = setting.squared(data, x, t, columns)
    return setting.weight(t)[:, 0] * (square + 2 * v * along).sum(1), 0


class _Conditional(NamedTuple):
    """x_t = mean + spread * noise, given what is held fixed.

    `rate` is the time derivative of the mean, and `half_slope` half that of the
    variance, spread * spread'.
    """

    noise: Tensor
    spread: Tensor
    half_slope: Tensor
    rate: Tensor


def _conditional(draws, setting):
    """The Gaussian law of x_t given its pair, or given the numerator's row alone.

    The latter where the path is free of noise; the denominator's row, which then must
    be standard normal, is the noise.
    """
    path, centers = setting.path, setting.centers
    value, slope = path.coefficients(draws.t), path.derivatives(draws.t)
    zero = torch.zeros_like(draws.x0)
    if path.is_noisy:
        rate = path.velocity(draws.x0, draws.x1, draws.t, zero, centers=centers)
        return _Conditional(draws.noise, value.noise, value.noise * slope.noise, rate)
    rate = path.velocity(zero, draws.x1, draws.t, centers=centers)
    half_slope = value.denominator * slope.denominator
    return _Conditional(draws.x0, value.denominator, half_slope, rate)


def conditional_losses(score, draws, setting, *, per_feature=False):
    r"""Conditional time score matching: CTSM, or CTSM-v per feature, of [2]_.

    Given the pair (or the numerator's row, if the denominator is standard normal), x_t
    is Gaussian of mean m_t and variance s_t^2, and with z = (x_t - m_t) / s_t

    .. math::

       \frac{d}{dt} \log p_t(x | \cdot)
       = \sum_i \frac{s_t s_t' (z_i^2 - 1) + s_t z_i m_{t,i}'}{s_t^2} ,

    whose mean given x_t is the time score. A network is regressed on it, or, per
    feature, on each term of the sum: it then has a column for each feature. The target
    diverges at the ends; its variance is (2 (s_t s_t')^2 + s_t^2 c) / s_t^4 a feature,
    c the mean of m'^2 (the setting's speed, for which a constant will do), and
    lambda(t) is the inverse of that ([2]_: time score normalisation), multiplied with
    the weighting. Network and target are multiplied by the root of it before they are
    formed, so nothing is divided by s_t.
    """
    law = _conditional(draws, setting)
    x = setting.rows(draws)
    n_features = x.shape[1]
    root = torch.sqrt(2 * law.half_slope**2 + law.spread**2 * setting.speed)
    target = (
        law.half_slope * (law.noise**2 - 1) + law.spread * law.noise * law.rate
    ) / root
    if not per_feature:
        root = root * n_features**0.5
        target = target.sum(1, keepdim=True) / n_features**0.5
    output = setting.sum(score, x, draws.t) * (law.spread**2 / root)
    return setting.weight(draws.t)[:, 0] * ((output - target) ** 2).sum(1), 0


def denoising_losses(score, draws, setting):
    """Denoising score matching of the data score: |s S + z|^2, s^2 being the weight.

    The target of S is -z / s, z the noise of the law of x_t given its pair (or given
    the numerator's row, if the denominator is standard normal); it is never divided by
    s. The data score is the last n_features columns.
    """
    law = _conditional(draws, setting)
    x = setting.rows(draws)
    data = setting.sum(score, x, draws.t)[:, -x.shape[1] :]
    square = (law.spread * data + law.noise) ** 2
    return setting.weight(draws.t)[:, 0] * square.sum(1), 0


def data_score_losses(score, draws, setting):
    """Denoising score matching where that is possible, sliced score matching else."""
    losses = denoising_losses if setting.is_conditional else sliced_losses
    return losses(score, draws, setting)


def fokker_planck_time_score(
    data_score: Score, path: Path, x: Tensor, t: Tensor
) -> Tensor:
    r"""Time score of a diffusion from its data score (appendix C of [1]_, Eq. 19).

    x_t = a x_0 + b x_1 with x_0 standard normal has the law of the diffusion
    dx = f dt + sqrt(D) dw, f = (b' / b) x and D = 2 a a' - 2 (b' / b) a^2, and

    .. math::

       \frac{d}{dt} \log p_t = -\nabla \cdot f - f^T S
       + \frac{D}{2} \left( |S|^2 + \mathrm{tr} \nabla S \right) .

    Eq. 19 prints g^2 for D / 2. Time runs from noise to data here, so D is negative:
    for the variance-preserving diffusion f = beta x / 2 and D = -beta. The data score
    S is the last n_features columns, the path is free of noise, and t is above 0.
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
    """Loss of each of some draws, as the training loop calls it.

    Parameters
    ----------
    score : torch.nn.Module
        The network to train, of (x, t).
    losses : sequence of callable
        Of this file; they are added.
    setting : Setting
        Its base is fixed: no part of what is trained.
    times : UniformTimes or LossHistory
        Told the losses of the training.
    """

    def __init__(self, score, losses, setting, times):
        super().__init__()
        self.score, self.losses, self.setting = score, losses, setting
        self.times = times

    def forward(self, draws):
        """Losses of shape (n_draws,)."""
        # skorch makes a list of it.
        draws = Draws(*draws)
        parts = [loss(self.score, draws, self.setting) for loss in self.losses]
        interior = sum(part for part, _ in parts)
        if self.training:
            self.times.update(draws.t[:, 0].detach(), interior.detach())
        return draws.importance[:, 0] * interior + sum(ends for _, ends in parts)
