"""The objectives of TimeScoreRatio: one entry of a table each.

An objective says which losses are added, what the columns of the network's output are,
how the time score is read off them, and what it needs of the path and the denominator.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdre._core.moments import joint_moments
from skdre.paths import Path
from skdre.time_score._losses import (
    Score,
    Setting,
    conditional_losses,
    data_score_losses,
    fokker_planck_time_score,
    sliced_losses,
    time_score_losses,
    velocity_losses,
)
from skdre.time_score._networks import GaussianScore

__all__ = ["OBJECTIVES", "Objective", "choose_objective", "data_score"]


@dataclass(frozen=True)
class Need:
    """What an objective needs: in words, and as a function of (path, is_gaussian)."""

    words: str
    is_met: Callable[[Path, bool], bool]


_NOISE = "a path with noise of its own (path='bridge')"
_GAUSSIAN = "a Gaussian denominator (denominator='gaussian')"

ANY = Need("any path and denominator", lambda path, is_gaussian: True)
CONDITIONAL = Need(
    f"{_NOISE} or {_GAUSSIAN}", lambda path, is_gaussian: path.is_noisy or is_gaussian
)
DIFFUSION = Need(
    f"a path without noise of its own (path='vpsde') and {_GAUSSIAN}",
    lambda path, is_gaussian: is_gaussian and not path.is_noisy,
)


def first_column(network: Score, path: Path, x: Tensor, t: Tensor) -> Tensor:
    """Time score of outputs ("time", ...), of shape (n_rows,)."""
    return network(x, t)[:, 0]


def sum_of_terms(network: Score, path: Path, x: Tensor, t: Tensor) -> Tensor:
    """Time score of outputs ("terms",), of shape (n_rows,)."""
    return network(x, t).sum(dim=1)


def data_score(network: Score, path: Path, x: Tensor, t: Tensor) -> Tensor:
    """Data score of outputs (..., "data"), of shape (n_rows, n_features)."""
    return network(x, t)[:, -x.shape[1] :]


@dataclass(frozen=True)
class Objective:
    """What a network learns, and how the time score follows from it.

    Attributes
    ----------
    losses : tuple of callable
        Of :mod:`skdre.time_score._losses`; they are added.
    outputs : tuple of str, default=("time",)
        What the columns of the network's output are, in this order: "time" is the time
        score, one column, "data" the data score and "terms" those of a sum over the
        features which is the time score, n_features columns each.
    time_score : callable, default=first_column
        Of (network, path, x, t): the time score, of shape (n_rows,).
    needs : Need, default=ANY
        Of the path and the denominator.
    moves_mean : bool, default=True
        Whether the mean can be moved in a straight line, as `center` asks.
    mixes_discrete : bool, default=False
        Whether discrete columns of samples can be mixed: there they have no data score
        and no velocity.
    diverges_at_start : bool, default=False
        Whether the time score has no value at t = 0.
    """

    losses: tuple[Callable[..., Any], ...]
    outputs: tuple[str, ...] = ("time",)
    time_score: Callable[[Score, Path, Tensor, Tensor], Tensor] = first_column
    needs: Need = ANY
    moves_mean: bool = True
    mixes_discrete: bool = False
    diverges_at_start: bool = False

    def n_outputs(self, n_features: int) -> int:
        """Columns of the network's output."""
        return sum(1 if each == "time" else n_features for each in self.outputs)

    def has_base_score(self, path: Path) -> bool:
        """Whether the scores between two Gaussians have the closed form."""
        return not path.is_noisy and "terms" not in self.outputs

    def base_score(self, path, Z, rows, is_discrete, center):
        """The scores between Gaussians with the moments of the standardised rows Z.

        They do not depend on discrete columns.
        """
        denominator, numerator = rows.split(np.where(is_discrete, 0.0, Z))
        moments = joint_moments(denominator, numerator, rows.split(rows.weight))
        components = np.where(is_discrete[:, None], 0.0, moments.components)
        return GaussianScore(
            replace(moments, components=components),
            path,
            centered=center,
            outputs=self.outputs,
        )

    def setting(self, path, inputs, rows, is_discrete, *, center, gaussian, **options):
        """What the losses depend on; `inputs` are the standardised rows.

        Further options are fields of :class:`Setting`.
        """
        share = torch.as_tensor(rows.weight).to(inputs)[:, None]
        moments = []
        for part in (slice(rows.n_denominator), slice(rows.n_denominator, None)):
            mean = (inputs[part] * share[part]).sum(dim=0) / share[part].sum()
            squares = (inputs[part] - mean) ** 2 * share[part]
            moments.append((mean, squares.sum(dim=0) / share[part].sum()))
        if gaussian:
            moments[0] = torch.zeros_like(inputs[0]), torch.ones_like(inputs[0])
        mixed = None
        if self.mixes_discrete and not gaussian and is_discrete.any():
            mixed = torch.as_tensor(is_discrete, device=inputs.device)
        return Setting(
            path,
            centers=(moments[0][0], moments[1][0]) if center else None,
            is_conditional=CONDITIONAL.is_met(path, gaussian),
            is_discrete=mixed,
            speed=_mean_speed(path, *moments, center=center),
            **options,
        )

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
                f"(2, 1), must give a tensor of shape {wanted} for this objective, got "
                f"{tuple(output.shape)}."
            )


def _mean_speed(path, denominator, numerator, *, center):
    """Mean squared rate of the conditional mean of x_t, over features and times."""
    (m_q, v_q), (m_p, v_p) = denominator, numerator
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float32)[:, None].to(m_q)
    a, b, _ = path.derivatives(t)
    if not path.is_noisy:
        # The denominator's row is the noise.
        a, m_q = torch.zeros_like(a), torch.zeros_like(m_q)
    drift = m_p - m_q if center else a * m_q + b * m_p
    return float((drift**2 + a**2 * v_q + b**2 * v_p).mean())


_JOINT = Objective((time_score_losses, data_score_losses), outputs=("time", "data"))
_FOKKER_PLANCK = Objective(
    (data_score_losses,),
    outputs=("data",),
    time_score=fokker_planck_time_score,
    needs=DIFFUSION,
    # The diffusion of Eq. 19 moves the mean in its own way.
    moves_mean=False,
    diverges_at_start=True,
)

OBJECTIVES = {
    "tsm": Objective((time_score_losses,), mixes_discrete=True),
    "velocity": Objective((velocity_losses,)),
    "ctsm": Objective((conditional_losses,), needs=CONDITIONAL),
    "ctsm-v": Objective(
        (partial(conditional_losses, per_feature=True),),
        outputs=("terms",),
        time_score=sum_of_terms,
        needs=CONDITIONAL,
    ),
    "joint": _JOINT,
    "joint-sliced": replace(_JOINT, losses=(time_score_losses, sliced_losses)),
    "fokker-planck": _FOKKER_PLANCK,
    "fokker-planck-sliced": replace(_FOKKER_PLANCK, losses=(sliced_losses,)),
}


def choose_objective(name, path, denominator, base_score, n_anchors):
    """The objective of a name; ValueError if other parameters do not go with it."""
    objective = OBJECTIVES[name]
    got = f"path={type(path).__name__}"
    if not objective.needs.is_met(path, denominator == "gaussian"):
        raise ValueError(
            f"objective={name!r} needs {objective.needs.words}, got {got} and "
            f"denominator={denominator!r}."
        )
    if n_anchors is not None and objective.outputs != ("time", "data"):
        raise ValueError(
            f"n_anchors={n_anchors} needs the data score beside the time score, "
            f"objective='joint', got objective={name!r}."
        )
    if base_score == "gaussian" and not objective.has_base_score(path):
        raise ValueError(
            "base_score='gaussian' needs a path without noise of its own, and an "
            f"objective other than 'ctsm-v', got {got} and objective={name!r}; use "
            "base_score='auto'."
        )
    return objective
