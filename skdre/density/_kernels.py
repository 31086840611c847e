"""Markov kernels that leave N(z; 0, I) exp(beta l(z)) as it is, for many chains.

A kernel moves all chains of a state at once. What it has to know of the distribution is
its *tuning*, learnt at each temperature of a pilot run and never changed after it, so
that the chains whose weights count are Markov and their kernels reversible.
"""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from sklearn.base import BaseEstimator, clone
from sklearn.covariance import oas

from skdre._compat import Interval, StrOptions, validate_parameter_constraints
from skdre._core.types import Floats

__all__ = ["HMC", "EllipticalSlice", "Kernel", "State", "check_kernel"]

# A trajectory that has gone so far is rejected before anything is evaluated there.
_FAR = 1e6

# A trajectory is at most a quarter of a turn around the base: a half goes to -z.
_LONGEST = np.pi / 2

# Lengths of trajectories are drawn from so much of the middle one, lest they resonate.
_LENGTHS = (0.7, 1.3)

# Ellipses follow the chains where there are so many rows for each column.
_ROWS_PER_FEATURE = 10


@dataclass
class State:
    """Chains in the latent space, with what is known at their rows.

    Attributes
    ----------
    Z : ndarray of shape (n_chains, n_features)
    log_ratio : ndarray of shape (n_chains,)
    gradient : ndarray of shape (n_chains, n_features) or None
    """

    Z: np.ndarray
    log_ratio: np.ndarray
    gradient: np.ndarray | None = None

    def take(self, index):
        """The chains of these positions."""
        gradient = None if self.gradient is None else self.gradient[index]
        return State(self.Z[index], self.log_ratio[index], gradient)

    def where(self, mask, other):
        """The chains of `other` where the mask holds, these elsewhere."""
        column = mask[:, None]
        gradient = None
        if self.gradient is not None:
            gradient = np.where(column, other.gradient, self.gradient)
        return State(
            np.where(column, other.Z, self.Z),
            np.where(mask, other.log_ratio, self.log_ratio),
            gradient,
        )


class Kernel(BaseEstimator):
    """Base class: a subclass defines how chains start, move and are tuned."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]]
    name: ClassVar[str]

    def _start(self, target, Z):
        """The state of chains at latent rows."""
        raise NotImplementedError

    def _move(self, target, beta, state, tuning, rng):
        """The chains after one move, and the share of proposals that was accepted."""
        raise NotImplementedError

    def _tune(self, target, beta, state, tuning, rng):
        """The chains after a few moves, and the tuning learnt from them."""
        raise NotImplementedError

    def _between(self, betas, tunings, wanted):
        """Tunings at other temperatures than those they were learnt at."""
        raise NotImplementedError


class HMC(Kernel):
    """Hamiltonian Monte Carlo: chains follow the gradient of the log density.

    Parameters
    ----------
    n_leapfrogs : int, default=10
        Steps of a trajectory; each evaluates the gradient once.
    target_acceptance : float, default=0.65
        Share of accepted trajectories that the length of a step is adapted to, at each
        temperature of a pilot run. Steps may be shorter: a trajectory is at most a
        quarter of a turn around the base.

    See Also
    --------
    EllipticalSlice : Without gradients.
    skdre.annealed_importance_sampling : Takes it as its `kernel`.

    Notes
    -----
    The Gaussian part is solved exactly, as a rotation, between two half steps along the
    gradient of the log ratio [1]_: at the base any step is accepted. The length of each
    chain's trajectory is drawn within 30 % of the adapted one.

    References
    ----------
    .. [1] B. Shahbaba, S. Lan, W. O. Johnson, R. M. Neal. "Split Hamiltonian Monte
       Carlo", Statistics and Computing 24, 2014, section 2.1.

    Examples
    --------
    >>> from skdre.density import HMC
    >>> HMC(n_leapfrogs=5)
    HMC(n_leapfrogs=5)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_leapfrogs": [Interval(Integral, 1, None, closed="left")],
        "target_acceptance": [Interval(Real, 0, 1, closed="neither")],
    }
    name = "hmc"

    # Moves at each temperature of the pilot run, and what acceptance does to the step.
    _n_tuning, _rate = 2, 1.0

    def __init__(
        self, n_leapfrogs: int = 10, *, target_acceptance: float = 0.65
    ) -> None:
        self.n_leapfrogs = n_leapfrogs
        self.target_acceptance = target_acceptance

    def _start(self, target, Z):
        return State(Z, *target.log_ratio_and_gradient(Z))

    def _move(self, target, beta, state, tuning, rng):
        return hamiltonian_move(target, beta, state, tuning, self.n_leapfrogs, rng)

    def _tune(self, target, beta, state, tuning, rng):
        longest = _LONGEST / self.n_leapfrogs
        step = longest if tuning is None else tuning
        for _ in range(self._n_tuning):
            state, acceptance = self._move(target, beta, state, step, rng)
            step *= np.exp(self._rate * (acceptance - self.target_acceptance))
            step = min(step, longest)
        return state, float(step)

    def _between(self, betas, tunings, wanted):
        return np.exp(np.interp(wanted, betas, np.log(tunings)))


def hamiltonian_move(target, beta, state, step, n_leapfrogs, rng):
    """One trajectory of each chain, accepted or not; and the mean acceptance."""
    p = rng.normal(size=state.Z.shape)
    angle = step * rng.uniform(*_LENGTHS, size=(len(p), 1))
    cos, sin = np.cos(angle), np.sin(angle)

    def energy(z, p, log_ratio):
        return 0.5 * (np.sum(p**2, axis=1) + np.sum(z**2, axis=1)) - beta * log_ratio

    before = energy(state.Z, p, state.log_ratio)
    z, log_ratio, gradient = state.Z, state.log_ratio, state.gradient
    lost = ~np.isfinite(before)
    with np.errstate(invalid="ignore", over="ignore"):
        for _ in range(n_leapfrogs):
            p = p + angle / 2 * beta * gradient
            z, p = cos * z + sin * p, cos * p - sin * z
            lost |= ~(np.abs(z) < _FAR).all(axis=1) | ~np.isfinite(p).all(axis=1)
            # Lost chains stand still: nothing is evaluated where they have gone.
            z, p = np.where(lost[:, None], state.Z, z), np.where(lost[:, None], 0, p)
            log_ratio, gradient = target.log_ratio_and_gradient(z)
            p = p + angle / 2 * beta * gradient
        change = before - energy(z, p, log_ratio)
    acceptance = np.exp(np.minimum(np.where(lost, -np.inf, change), 0))
    acceptance = np.where(np.isnan(acceptance), 0, acceptance)
    accepted = rng.uniform(size=len(z)) < acceptance
    moved = state.where(accepted, State(z, log_ratio, gradient))
    return moved, float(acceptance.mean())


class EllipticalSlice(Kernel):
    """Elliptical slice sampling: for any log density, without gradients or steps.

    Parameters
    ----------
    n_sweeps : int, default=2
        Moves of each chain at each temperature. Each evaluates the log density three
        times or so.

    See Also
    --------
    HMC : With gradients, and far better in many dimensions.
    skdre.annealed_importance_sampling : Takes it as its `kernel`.

    Notes
    -----
    A chain moves along an ellipse through its row and a draw of a Gaussian, to a point
    whose density is above a random level [1]_. Half of the ellipses are those of the
    base. The others are those of the Gaussian that the chains of a pilot run had at
    that temperature, in so far as there are ten rows of them for each column [2]_.

    References
    ----------
    .. [1] I. Murray, R. P. Adams, D. J. C. MacKay. "Elliptical slice sampling", AISTATS
       2010, Figure 2.
    .. [2] R. Nishihara, I. Murray, R. P. Adams. "Parallel MCMC with generalized
       elliptical slice sampling", JMLR 15, 2014, section 2.

    Examples
    --------
    >>> from skdre.density import EllipticalSlice
    >>> EllipticalSlice(5)
    EllipticalSlice(n_sweeps=5)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_sweeps": [Interval(Integral, 1, None, closed="left")]
    }
    name = "slice"

    _n_tuning = 10

    def __init__(self, n_sweeps: int = 2) -> None:
        self.n_sweeps = n_sweeps

    def _start(self, target, Z):
        return State(Z, target.log_ratio(Z))

    def _move(self, target, beta, state, tuning, rng):
        n_moves = 0
        for _ in range(self.n_sweeps):
            # A random order, so that the kernel is its own reverse.
            ellipse = tuning if rng.uniform() < 0.5 else None
            state, tries = elliptical_move(target, beta, state, ellipse, rng)
            n_moves += tries
        return state, len(state.Z) * self.n_sweeps / n_moves

    def _tune(self, target, beta, state, tuning, rng):
        visited = [state.Z]
        ellipse = Ellipse.of(state.Z)
        for k in range(self._n_tuning):
            state, _ = elliptical_move(
                target, beta, state, ellipse if k % 2 else None, rng
            )
            visited.append(state.Z)
            # The first moves still come from the temperature before.
            ellipse = Ellipse.of(np.concatenate(visited[k // 2 + 1 :]))
        return state, ellipse

    def _between(self, betas, tunings, wanted):
        nearest = np.searchsorted(betas, wanted).clip(0, len(betas) - 1)
        return [tunings[each] for each in nearest]


@dataclass(frozen=True)
class Ellipse:
    """A Gaussian N(mean, L L^T), from which ellipses are drawn."""

    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, Z: Floats) -> "Ellipse | None":
        """The Gaussian of rows; None if they are too few."""
        if len(Z) < _ROWS_PER_FEATURE * Z.shape[1]:
            return None
        mean = Z.mean(axis=0)
        covariance, _ = oas(Z - mean, assume_centered=True)
        try:
            return cls(mean, cholesky(covariance, lower=True))
        except np.linalg.LinAlgError:
            return None

    def draw(self, n_rows, rng):
        return rng.normal(size=(n_rows, len(self.mean))) @ self.factor.T

    def log_base_over_ellipse(self, Z):
        """Log density of N(0, I) less that of the Gaussian, up to a constant."""
        white = solve_triangular(self.factor, (Z - self.mean).T, lower=True)
        return 0.5 * (np.sum(white**2, axis=0) - np.sum(Z**2, axis=1))


def elliptical_move(target, beta, state, ellipse, rng):
    """One move of each chain; and the number of evaluations that it took."""
    n_chains = len(state.Z)

    if ellipse is None:
        mean = np.zeros(state.Z.shape[1])
        end = rng.normal(size=state.Z.shape)

        def log_likelihood(z, log_ratio):
            return beta * log_ratio
    else:
        mean = ellipse.mean
        end = ellipse.draw(n_chains, rng)

        def log_likelihood(z, log_ratio):
            return beta * log_ratio + ellipse.log_base_over_ellipse(z)

    start = state.Z - mean
    level = log_likelihood(state.Z, state.log_ratio) - rng.exponential(size=n_chains)
    angle = rng.uniform(0, 2 * np.pi, size=n_chains)
    low, high = angle - 2 * np.pi, angle.copy()
    Z, log_ratio = state.Z.copy(), state.log_ratio.copy()
    moving = np.arange(n_chains)
    # Chains where the density is 0 may go anywhere.
    n_evaluations = 0
    while len(moving):
        theta = angle[moving, None]
        z = mean + np.cos(theta) * start[moving] + np.sin(theta) * end[moving]
        value = target.log_ratio(z)
        n_evaluations += len(moving)
        found = log_likelihood(z, value) >= level[moving]
        # The bracket has closed on the row itself, but for rounding.
        closed = (high - low)[moving] < 1e-12
        Z[moving[found]], log_ratio[moving[found]] = z[found], value[found]
        moving = moving[~found & ~closed]
        below = angle[moving] < 0
        low[moving[below]] = angle[moving[below]]
        high[moving[~below]] = angle[moving[~below]]
        angle[moving] = rng.uniform(low[moving], high[moving])
    return State(Z, log_ratio), n_evaluations


_KERNELS = {"hmc": HMC, "slice": EllipticalSlice}


def check_kernel(kernel: str | Kernel, target: Any) -> Kernel:
    """The kernel of a name, or a copy of one; ValueError if it does not fit."""
    validate_parameter_constraints(
        {"kernel": [StrOptions({"auto", *_KERNELS}), Kernel]},
        {"kernel": kernel},
        caller_name="annealed_importance_sampling",
    )
    if kernel == "auto":
        kernel = "hmc" if target.has_gradient else "slice"
    found: Kernel = _KERNELS[kernel]() if isinstance(kernel, str) else clone(kernel)
    validate_parameter_constraints(
        found._parameter_constraints,
        found.get_params(),
        caller_name=type(found).__name__,
    )
    if isinstance(found, HMC) and not target.has_gradient:
        raise ValueError(
            f"kernel={kernel!r} needs the gradient of {target.name.lower()}: give "
            "`gradient`, take a ratio estimator of networks, or set kernel='slice'."
        )
    return found
