"""What a time-score estimator learns: the choices that must go together."""

import copy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from skdre.paths import Path
from skdre.time_score._losses import (
    conditional_losses,
    denoising_losses,
    sliced_losses,
    time_score_losses,
    velocity_losses,
)
from skdre.time_score._networks import GaussianScore

__all__ = ["OUTPUTS", "TimePlan"]

# What the columns of the network's output are.
OUTPUTS = {
    "tsm": "time",
    "velocity": "time",
    "ctsm": "time",
    "ctsm-v": "per feature",
    "joint": "joint",
    "fokker-planck": "data",
}


@dataclass(frozen=True)
class TimePlan:
    """The parameters of an estimator that decide about its loss.

    Attributes
    ----------
    objective, denominator, data_loss : str
    path : skdre.paths.Path
    center, pathwise : bool
    base_score : str or None
    weighting : str or callable
    """

    objective: str
    path: Path
    center: bool
    denominator: str
    base_score: str | None
    weighting: object
    data_loss: str
    pathwise: bool

    @property
    def is_gaussian(self):
        """Whether the denominator is a Gaussian, and standard normal when scaled."""
        return self.denominator == "gaussian"

    @property
    def is_centered(self):
        """Whether the mean moves in a straight line."""
        # The diffusion of Eq. 19 moves it otherwise.
        return self.center and self.objective != "fokker-planck"

    @property
    def _is_conditional(self):
        # x_t is Gaussian given its pair, or given the numerator's row.
        return self.path.is_noisy or self.is_gaussian

    @property
    def _has_closed_form(self):
        return not self.path.is_noisy and self.objective != "ctsm-v"

    @property
    def _learns_by(self):
        if self.data_loss != "auto":
            return self.data_loss
        return "denoising" if self._is_conditional else "sliced"

    @property
    def mixes_discrete(self):
        """Whether discrete columns can be mixed: there they have no data score."""
        return self.objective == "tsm" and not self.is_gaussian

    def check(self):
        """Raise ValueError for parameters that do not go together."""
        got = (
            f"got path={type(self.path).__name__} and denominator={self.denominator!r}"
        )
        noise = "a path with noise of its own (path='bridge')"
        gaussian = "a Gaussian denominator (denominator='gaussian')"
        if self.objective in ("ctsm", "ctsm-v") and not self._is_conditional:
            raise ValueError(
                f"objective={self.objective!r} needs {noise} or {gaussian}, {got}."
            )
        if self.objective == "fokker-planck" and not (
            self.is_gaussian and not self.path.is_noisy
        ):
            raise ValueError(
                "objective='fokker-planck' needs a path without noise of its own "
                f"(path='vpsde') and {gaussian}, {got}."
            )
        if self.data_loss == "denoising" and not self._is_conditional:
            raise ValueError(
                f"data_loss='denoising' needs {noise} or {gaussian}, {got}; use "
                "data_loss='sliced'."
            )
        if self.pathwise and self.objective != "joint":
            raise ValueError(
                "pathwise=True needs the data score beside the time score, "
                f"objective='joint', got objective={self.objective!r}."
            )
        if self.base_score == "gaussian" and not self._has_closed_form:
            raise ValueError(
                "base_score='gaussian' needs a path without noise of its own, and an "
                f"objective other than 'ctsm-v', got path={type(self.path).__name__} "
                f"and objective={self.objective!r}; use base_score='auto'."
            )

    def n_outputs(self, n_features):
        """Columns of the network's output."""
        counts = {"time": 1, "joint": 1 + n_features}
        return counts.get(OUTPUTS[self.objective], n_features)

    def check_network(self, network, inputs):
        """Raise ValueError if a network gives other columns than are needed."""
        wanted = (2, self.n_outputs(inputs.shape[1]))
        # A copy: in training a call may draw, and change running means.
        network = copy.deepcopy(network).eval()
        with torch.no_grad():
            output = network(inputs[:2], torch.full_like(inputs[:2, :1], 0.5))
        if tuple(output.shape) != wanted:
            raise ValueError(
                "network, called with rows of shape (2, n_features) and times of shape "
                f"(2, 1), must give a tensor of shape {wanted} for "
                f"objective={self.objective!r}, got {tuple(output.shape)}."
            )

    def base(self, moments, is_discrete):
        """The base score, of moments of the standardised rows; or None.

        It takes no notice of discrete columns.
        """
        if self.base_score is None or not self._has_closed_form:
            return None
        components = np.where(is_discrete[:, None], 0.0, moments.components)
        return GaussianScore(
            replace(moments, components=components),
            self.path,
            centered=self.is_centered,
            outputs=OUTPUTS[self.objective],
        )

    def losses(self, inputs, weight, n_denominator, is_discrete):
        """The losses, for :class:`skdre.time_score._losses.ScoreLoss`.

        Parameters
        ----------
        inputs : torch.Tensor of shape (n_rows, n_features)
            Standardised rows, the denominator's first.
        weight : ndarray of shape (n_rows,)
        n_denominator : int
        is_discrete : ndarray of bool of shape (n_features,)
        """
        share = torch.as_tensor(weight).to(inputs)[:, None]
        moments = []
        for part in (slice(n_denominator), slice(n_denominator, None)):
            mean = (inputs[part] * share[part]).sum(dim=0) / share[part].sum()
            squares = (inputs[part] - mean) ** 2 * share[part]
            moments.append((mean, squares.sum(dim=0) / share[part].sum()))
        if self.is_gaussian:
            moments[0] = torch.zeros_like(inputs[0]), torch.ones_like(inputs[0])
        centers = [mean for mean, _ in moments] if self.is_centered else None
        options = {
            "path": self.path,
            "weighting": self.weighting,
            "centers": centers,
        }
        data = sliced_losses if self._learns_by == "sliced" else denoising_losses
        conditional = partial(
            conditional_losses,
            per_feature=self.objective == "ctsm-v",
            speed=self._mean_speed(moments),
        )
        time = time_score_losses
        if self.mixes_discrete and is_discrete.any():
            mask = torch.as_tensor(is_discrete, device=inputs.device)
            time = partial(time_score_losses, is_discrete=mask)
        losses = {
            "tsm": [time],
            "velocity": [velocity_losses],
            "joint": [time, data],
            "ctsm": [conditional],
            "ctsm-v": [conditional],
            "fokker-planck": [data],
        }[self.objective]
        return [partial(loss, **options) for loss in losses]

    def _mean_speed(self, moments):
        """Mean squared rate of the conditional mean of x_t, over features and times."""
        (m_q, v_q), (m_p, v_p) = moments
        t = torch.linspace(0.05, 0.95, 19, dtype=torch.float32)[:, None].to(m_q)
        a, b, _ = self.path.derivatives(t)
        if not self.path.is_noisy:
            # The denominator's row is the noise.
            a, m_q = torch.zeros_like(a), torch.zeros_like(m_q)
        drift = m_p - m_q if self.is_centered else a * m_q + b * m_p
        return float((drift**2 + a**2 * v_q + b**2 * v_p).mean())
