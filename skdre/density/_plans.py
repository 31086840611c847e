"""How to anneal: temperatures, and a kernel tuned at each of them by a pilot run.

The pilot is sequential Monte Carlo with adaptive temperatures. Temperatures and tunings
are then fixed, so that what follows is unbiased, and the pilot's own estimate shows how
much an estimate depends on the time that chains are given.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import expit, logsumexp

from skdre._compat import StrOptions, validate_parameter_constraints
from skdre._core.types import Floats
from skdre.density._kernels import Kernel
from skdre.weighting import resample

__all__ = ["Plan", "check_schedule", "make_plan", "normal_shares"]

# Conditional effective sample size of a step of the pilot, as a share of its chains.
_PILOT_SHARE = 0.8
_MOST_PILOT_STEPS = 1000

# Half-width of the sigmoid schedule on the logistic scale (Grosse et al., NIPS 2013).
_SIGMOID_WIDTH = 4.0


@dataclass(frozen=True)
class Plan:
    """Temperatures and a tuned kernel.

    Attributes
    ----------
    temperatures : ndarray of shape (n_steps + 1,)
        Inverse temperatures beta, from 0 to 1.
    kernel : Kernel
    tunings : sequence of length n_steps
        Of the kernel, at the temperatures after the first.
    log_normalizer, standard_error : float
        What the pilot run has found.
    n_moves : int
        Evaluations of the pilot, for each of its chains.
    """

    temperatures: np.ndarray
    kernel: Kernel
    tunings: Any
    log_normalizer: float
    standard_error: float
    n_moves: float

    @property
    def n_steps(self):
        return len(self.temperatures) - 1


def normal_shares(log_weights):
    """Weights that sum to 1, of log weights that are not all minus infinity."""
    shares = np.exp(log_weights - log_weights.max())
    return shares / shares.sum()


def check_schedule(schedule: Any, n_steps: int) -> Floats | None:
    """Inverse temperatures of a schedule, or None for an adaptive one."""
    if isinstance(schedule, str):
        validate_parameter_constraints(
            {"schedule": [StrOptions({"adaptive", "linear", "sigmoid"})]},
            {"schedule": schedule},
            caller_name="annealed_importance_sampling",
        )
        even = np.linspace(0, 1, n_steps + 1)
        if schedule == "adaptive":
            return None
        if schedule == "linear":
            return even
        curve = expit(_SIGMOID_WIDTH * (2 * even - 1))
        betas = (curve - curve[0]) / (curve[-1] - curve[0])
        betas[-1] = 1.0
        return betas
    betas = np.asarray(schedule, dtype=np.float64)
    if (
        betas.ndim != 1
        or len(betas) < 2
        or betas[0] != 0
        or betas[-1] != 1
        or not (np.diff(betas) > 0).all()
    ):
        raise ValueError(
            "schedule must be 'adaptive', 'linear', 'sigmoid', an earlier result, or "
            "inverse temperatures that rise from 0 to 1, each above the one before; "
            f"got {np.array2string(betas, threshold=6)}."
        )
    return betas


def _next_step(log_ratio, shares, most):
    """Step of the inverse temperature, and its conditional effective size.

    The size of a step w with weights W is (sum W w)^2 / sum W w^2, at most 1 (Zhou,
    Johansen and Aston, "Toward automatic model comparison", J. Comput. Graph. Statist.
    25, 2016, Eq. 12).
    """
    relative = log_ratio - log_ratio.max()

    def size(step):
        weight = np.exp(step * relative)
        return (shares @ weight) ** 2 / (shares @ weight**2)

    # Chains at a density of 0 are lost at once, by the least of steps.
    wanted = _PILOT_SHARE * shares[np.isfinite(log_ratio)].sum()
    if size(most) >= wanted:
        return most, size(most)
    low, high = 0.0, most
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) >= wanted else (low, middle)
    step = low or high
    return step, size(step)


def make_plan(
    target: Any,
    kernel: Kernel,
    temperatures: Floats | None,
    n_steps: int,
    n_chains: int,
    rng: np.random.RandomState,
) -> Plan:
    """Tune a kernel by a pilot run, and place temperatures that are not given.

    They lie at equal distances in the metric of the pilot's conditional effective
    sizes, so that each step has the same one.
    """
    start = target.n_evaluations
    state = kernel._start(target, rng.normal(size=(n_chains, target.n_features)))
    if not np.isfinite(state.log_ratio).any():
        raise ValueError(
            f"{target.name} is minus infinity at all of {n_chains} draws of the base: "
            "the two have no common support."
        )
    betas = [0.0]
    lengths: list[float] = []
    tunings: list[Any] = []
    tuning = None
    log_normalizer = 0.0
    shares = np.full(n_chains, 1 / n_chains)
    while betas[-1] < 1:
        left = 1 - betas[-1]
        step, size = _next_step(state.log_ratio, shares, left)
        log_normalizer += logsumexp(step * state.log_ratio, b=shares)
        beta = 1.0 if step == left else betas[-1] + step
        if beta == betas[-1] or len(lengths) >= _MOST_PILOT_STEPS:
            raise ValueError(
                f"{target.name} varies so much between the draws of the base, from "
                f"{state.log_ratio.min():.3g} to {state.log_ratio.max():.3g} nats at "
                f"temperature {beta:.3g}, that no step between temperatures is small "
                "enough. It may be unbounded, or the base too far from it."
            )
        betas.append(beta)
        lengths.append(float(np.sqrt(max(1 / size - 1, 0.0))))
        weights = normal_shares(step * state.log_ratio)
        drawn = resample(weights, method="systematic", random_state=rng)
        state, tuning = kernel._tune(target, beta, state.take(drawn), tuning, rng)
        tunings.append(tuning)
    learnt = np.array(betas[1:])
    if temperatures is None:
        # Of equal densities no step has a length.
        position = np.concatenate([[0], np.cumsum(np.maximum(lengths, 1e-6))])
        even = np.linspace(0, position[-1], n_steps + 1)
        temperatures = PchipInterpolator(position, betas)(even)
        temperatures[0], temperatures[-1] = 0.0, 1.0
    return Plan(
        temperatures,
        kernel,
        kernel._between(learnt, tunings, temperatures[1:]),
        log_normalizer,
        float(np.sqrt(np.sum(np.square(lengths)) / n_chains)),
        (target.n_evaluations - start) / n_chains,
    )
