"""Annealed importance sampling: normalising constants and samples of densities."""

import warnings
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import t as student
from sklearn.utils import check_random_state

from skdre._compat import Interval, validate_parameter_constraints
from skdre._core.docs import shared_docs
from skdre._core.types import Floats, RandomState
from skdre.density._kernels import Kernel, check_kernel
from skdre.density._plans import Plan, check_schedule, make_plan, normal_shares
from skdre.density._targets import make_target
from skdre.weighting import effective_sample_size, resample

__all__ = [
    "Annealing",
    "annealed_importance_sampling",
    "log_mean_error",
    "plan_for",
]

# Standard errors come from groups of chains that know nothing of each other; fewer than
# four groups of five say too little.
_LEAST_CHAINS, _LEAST_GROUPS = 20, 4

# Below this share of the chains the effective sample size is said to have collapsed.
_COLLAPSED = 0.1

# Variance of the log weights that chains gather, relative to that of chains which are
# drawn anew at each temperature, that is nothing to worry about.
_USUAL_CORRELATION = 3.0

# Coverage of two standard errors.
_TWO_SIGMA = 0.97725

CONSTRAINTS = {
    "n_chains": [Interval(Integral, 1, None, closed="left")],
    "n_steps": [Interval(Integral, 1, None, closed="left")],
    "resample_below": [Interval(Real, 0, 1, closed="both")],
    "verbose": ["verbose"],
    "random_state": ["random_state"],
}


@dataclass(frozen=True, eq=False)
class Annealing:
    """A normalising constant and weighted particles, from annealing.

    Attributes
    ----------
    log_normalizer : float
        Logarithm of the integral of the density, in nats.
    standard_error : float
        Of `log_normalizer`, in nats. See the notes of
        :func:`skdre.annealed_importance_sampling`.
    error_parts : dict of str to float
        What the standard error is made of: "groups", "tail" and "mixing".
    particles : ndarray of shape (n_chains, n_features)
        Rows where the chains have ended, in the space of the data.
    log_weights : ndarray of shape (n_chains,)
        Theirs, in nats: the logarithm of the mean of their exponentials is
        `log_normalizer`.
    temperatures : ndarray of shape (n_steps + 1,)
        Inverse temperatures beta, from 0, the base, to 1, the density.
    effective_sample_sizes : ndarray of shape (n_steps,)
        Kish's size of the weights that the chains reach each temperature with, before
        any resampling there.
    acceptance : ndarray of shape (n_steps,)
        Share of the proposals of the kernel that were accepted.
    n_resampled : ndarray of int of shape (n_steps,)
        Groups of chains that were resampled, at each temperature.
    n_evaluations : int
        Rows that the log density was evaluated at.
    n_pilot_evaluations : int
        How many of them in the pilot run.

    Examples
    --------
    >>> from skdre import annealed_importance_sampling
    >>> result = annealed_importance_sampling(
    ...     lambda X: -((X**2).sum(axis=1)), 2, n_steps=50, random_state=0
    ... )
    >>> result.particles.shape, result.temperatures.shape
    ((100, 2), (51,))
    """

    log_normalizer: float
    standard_error: float
    error_parts: dict[str, float] = field(repr=False)
    particles: Floats = field(repr=False)
    log_weights: Floats = field(repr=False)
    temperatures: Floats = field(repr=False)
    effective_sample_sizes: Floats = field(repr=False)
    acceptance: Floats = field(repr=False)
    n_resampled: np.ndarray = field(repr=False)
    n_evaluations: int = field(repr=False)
    n_pilot_evaluations: int = field(repr=False)
    _plan: Plan = field(repr=False)
    _latent: Any = field(repr=False)

    def __repr__(self):
        size = effective_sample_size(np.exp(self.log_weights - self.log_weights.max()))
        return (
            f"{type(self).__name__}(log_normalizer={self.log_normalizer:.3f} ± "
            f"{self.standard_error:.3f} nats, effective_sample_size={size:.1f} of "
            f"{len(self.log_weights)})"
        )


def log_mean_error(log_values: Floats) -> tuple[float, dict[str, float]]:
    """Logarithm of a mean of exponentials of independent values, and its errors.

    "groups" is the standard error by the delta method, widened so that two of it cover
    as much as of a normal distribution. "tail" is how much more a log-normal
    distribution of the same moments would give: the first stays below 1 where a single
    value carries the sum, this does not.
    """
    n = len(log_values)
    top = log_values.max()
    values = np.exp(log_values - top)
    estimate = float(top + np.log(values.mean()))
    widening = student.ppf(_TWO_SIGMA, n - 1) / 2
    spread = widening * values.std(ddof=1) / (values.mean() * np.sqrt(n))
    # Groups whose weights are all 0 say how many there are, and have no logarithm.
    finite = log_values[np.isfinite(log_values)]
    tail = 0.0
    if len(finite) > 1:
        log_normal = finite.mean() + finite.var(ddof=1) / 2
        tail = max(0.0, log_normal - estimate + np.log(len(finite) / n))
    return estimate, {"groups": float(spread), "tail": float(tail)}


def _mixing_error(estimate, plan, n_moves, gathered, independent):
    """How much more the estimate would still change, were the chains given more time.

    Chains that stay where they are agree with each other, and are all too low. They
    show in two ways, of which the worse counts. What they fail to reach falls off like
    one over the number of their moves, so the estimate differs from that of the pilot
    run, which has made fewer. And their log weights gather a variance of s^2 on the way
    where chains that forget would have less: the mean of normal ones lies s^2 / 2 below
    the logarithm of the mean weight, and resampling makes good a part of that only.
    """
    excess = max(0.0, gathered - _USUAL_CORRELATION * independent)
    change = estimate - plan.log_normalizer
    beyond = max(0.0, abs(change) - plan.standard_error)
    if change >= 0:
        share = min(plan.n_moves / max(n_moves, 1.0), 0.5)
        beyond *= share / (1 - share)
    return float(max(excess / 2, beyond))


def _variances(values, weights, groups):
    """Weighted variance in each group of finite values; 0 where it has no two."""
    weights = np.where(np.isfinite(values), weights, 0.0)
    values = np.where(np.isfinite(values), values, 0.0)
    total = np.maximum(np.add.reduceat(weights, groups.starts), 1e-300)
    mean = np.add.reduceat(weights * values, groups.starts) / total
    squares = weights * (values - mean[groups.of]) ** 2
    variance = np.add.reduceat(squares, groups.starts) / total
    return variance * groups.sizes / (groups.sizes - 1)


class _Groups:
    """Chains split into groups: their members, first members, sizes and numbers."""

    def __init__(self, n_chains):
        n_groups = max(_LEAST_GROUPS, round(np.sqrt(n_chains)))
        self.members = np.array_split(np.arange(n_chains), n_groups)
        self.starts = np.array([each[0] for each in self.members])
        self.sizes = np.array([len(each) for each in self.members])
        self.of = np.repeat(np.arange(n_groups), self.sizes)


class _Chains:
    """Chains in groups, each with its own running normalising constant."""

    def __init__(self, target, plan, n_chains, resample_below, rng):
        self.target, self.plan, self.rng = target, plan, rng
        self.resample_below = resample_below
        self.groups = _Groups(n_chains)
        Z = rng.normal(size=(n_chains, target.n_features))
        self.n_before = target.n_evaluations
        self.state = plan.kernel._start(target, Z)
        self.log_weights = np.zeros(n_chains)
        self.log_sums = np.zeros(len(self.groups.sizes))
        # Variances of the log weights: as they are, and of chains that forget.
        self.gathered = np.zeros(len(self.groups.sizes))
        self.independent = 0.0
        self.effective, self.acceptance, self.n_resampled = [], [], []

    def _weights(self):
        """Weights relative to the largest of each group, and its logarithm."""
        top = np.maximum.reduceat(self.log_weights, self.groups.starts)
        # A group may have lost all its chains to a density of 0.
        top = np.where(np.isfinite(top), top, 0.0)
        return np.exp(self.log_weights - top[self.groups.of]), top

    def step(self, k):
        before, beta = self.plan.temperatures[k : k + 2]
        log_ratio = self.state.log_ratio
        variances = _variances(log_ratio, self._weights()[0], self.groups)
        self.independent += (beta - before) ** 2 * variances.mean()
        self.log_weights = self.log_weights + (beta - before) * log_ratio
        if np.isneginf(self.log_weights).all():
            raise ValueError(
                f"{self.target.name} is minus infinity at the rows of all chains at "
                f"inverse temperature {beta:.3g}: their base has no support in common "
                "with it, or n_chains is too small to find it."
            )
        self.effective.append(
            effective_sample_size(normal_shares(self.total_log_weights()))
        )
        self.n_resampled.append(self._resample())
        self.state, acceptance = self.plan.kernel._move(
            self.target, beta, self.state, self.plan.tunings[k], self.rng
        )
        self.acceptance.append(acceptance)

    def _resample(self):
        weights, top = self._weights()
        sums = np.add.reduceat(weights, self.groups.starts)
        squares = np.add.reduceat(weights**2, self.groups.starts)
        few = sums**2 < self.resample_below * self.groups.sizes * squares
        few &= sums > 0
        if not few.any():
            return 0
        variances = _variances(self.log_weights, np.ones_like(weights), self.groups)
        self.gathered += np.where(few, variances, 0.0)
        index = np.arange(len(weights))
        for g in np.flatnonzero(few):
            members = self.groups.members[g]
            index[members] = members[
                resample(weights[members], method="systematic", random_state=self.rng)
            ]
            self.log_sums[g] += top[g] + np.log(sums[g] / self.groups.sizes[g])
            self.log_weights[members] = 0.0
        self.state = self.state.take(index)
        return int(few.sum())

    def total_log_weights(self):
        """Weights whose mean is the normalising constant."""
        return self.log_weights + self.log_sums[self.groups.of]

    def result(self):
        log_weights = self.total_log_weights()
        parts = np.split(log_weights, self.groups.starts[1:])
        # Groups differ by a chain at most; each counts by its chains.
        means = np.array([logsumexp(each) for each in parts])
        means = means - np.log(len(log_weights) / len(parts))
        estimate, errors = log_mean_error(means)
        n_done = len(self.effective)
        if n_done == self.plan.n_steps:
            equal = np.ones(len(log_weights))
            last = _variances(self.log_weights, equal, self.groups)
            errors["mixing"] = _mixing_error(
                estimate,
                self.plan,
                (self.target.n_evaluations - self.n_before) / len(log_weights),
                float(np.mean(self.gathered + last)),
                self.independent,
            )
        return Annealing(
            estimate,
            float(np.linalg.norm(list(errors.values()))),
            errors,
            self.target.from_latent(self.state.Z),
            log_weights,
            self.plan.temperatures[: n_done + 1],
            np.array(self.effective),
            np.array(self.acceptance),
            np.array(self.n_resampled, dtype=int),
            self.target.n_evaluations,
            self.n_before,
            self.plan,
            self.state,
        )


def plan_for(
    target: Any,
    kernel: str | Kernel,
    schedule: Any,
    n_steps: int,
    n_chains: int,
    rng: np.random.RandomState,
) -> Plan:
    """The plan of arguments, or of an earlier result that is given as the schedule."""
    if isinstance(schedule, Annealing):
        plan = schedule._plan
        n_features = schedule._latent.Z.shape[1]
        if n_features != target.n_features:
            raise ValueError(
                f"schedule is a result of {n_features} features, but the base has "
                f"{target.n_features}."
            )
        if kernel not in ("auto", plan.kernel.name):
            raise ValueError(
                "schedule is an earlier result, which brings its kernel, "
                f"{plan.kernel!r}: leave kernel='auto', got {kernel!r}."
            )
        check_kernel(plan.kernel, target)
        return plan
    temperatures = check_schedule(schedule, n_steps)
    return make_plan(
        target, check_kernel(kernel, target), temperatures, n_steps, n_chains, rng
    )


def check_n_chains(n_chains):
    if n_chains < _LEAST_CHAINS:
        raise ValueError(
            f"n_chains must be at least {_LEAST_CHAINS}, for a standard error from "
            f"groups of chains, got {n_chains}."
        )


def check_numbers(caller, **arguments):
    validate_parameter_constraints(
        {name: CONSTRAINTS[name] for name in arguments}, arguments, caller_name=caller
    )


@shared_docs
def annealed_importance_sampling(
    log_density: Any,
    base: Any = None,
    *,
    n_chains: int = 100,
    n_steps: int = 1000,
    schedule: Any = "adaptive",
    kernel: str | Kernel = "auto",
    gradient: Any = None,
    resample_below: float = 0.5,
    verbose: int = 0,
    random_state: RandomState = None,
) -> Annealing:
    r"""Estimate the integral of an unnormalised density, and sample from it.

    Chains start at draws of a base p and are moved through distributions proportional
    to :math:`p^{1 - \beta} f^\beta` until they reach the density f. Their weights have
    the integral of f as their mean, whatever the number of steps (annealed importance
    sampling, [1]_). Chains of small weight are replaced by copies of others on the way
    (sequential Monte Carlo, [2]_), and temperatures are placed so that each step loses
    equally much.

    Parameters
    ----------
    log_density : callable, torch.nn.Module or RatioDensity
        Log density in nats, up to a constant, of rows of shape (n, n_features): it
        gives values of shape (n,), minus infinity where the density is 0. A fitted
        :class:`skdre.RatioDensity` brings its base and its gradient.
    base : int, pair of mean and covariance, or density estimator, default=None
        What the chains start from: a number of features for N(0, I), the moments of a
        Gaussian, or a fitted density with ``score_samples``, and with ``transform`` and
        ``inverse_transform`` to and from features that are standard normal under it,
        such as :class:`skdre.FlowFeaturizer`. Chains move in those features.
    n_chains : int, default=100
        Number of chains, at least 20.
    n_steps : int, default=1000
        Steps from the base to the density; not used with an array or a result as the
        schedule.
    schedule : {"adaptive", "linear", "sigmoid"}, array or Annealing, \
            default="adaptive"
        Inverse temperatures. "adaptive" gives each step the same conditional effective
        sample size, by a pilot run [3]_. An array rises from 0 to 1. An earlier result
        brings its temperatures and its tuned kernel, and no pilot run is made.
    kernel : {"auto", "hmc", "slice"}, HMC or EllipticalSlice, default="auto"
        How chains move: :class:`skdre.density.HMC` follows gradients,
        :class:`skdre.density.EllipticalSlice` needs none. "auto" is HMC where there are
        gradients.
    gradient : callable, "torch" or None, default=None
        Gradient of the log density by the rows, of shape (n, n_features), with a
        Gaussian base. "torch" if `log_density` takes a tensor of rows, in double
        precision, to one of values, as a module does.
    resample_below : float, default=0.5
        Chains are resampled where their effective sample size falls below this share of
        their number, each group of them by itself. 0 is never, as in [1]_.
    verbose : int, default=0
        Above 0, print a line for each tenth of the steps.
    %(random_state)

    Returns
    -------
    result : Annealing
        The logarithm of the integral with its standard error, the particles and their
        weights, and what happened at each temperature.

    Raises
    ------
    ValueError
        If an argument is not as described, or the log density is NaN or plus infinity
        at a row.
    TypeError
        If `base` has no density or no map, or `gradient` does not go with it.
    KeyboardInterrupt
        At Ctrl-C. Its attribute ``partial_result`` holds an Annealing up to the last
        temperature: its constant is that of the distribution there.

    Warns
    -----
    UserWarning
        If the effective sample size falls below a tenth of the chains.

    See Also
    --------
    skdre.raise_bound : A bound from the other side, at rows of a test set.

    Notes
    -----
    Before the chains whose weights count, a pilot run of as many chains takes steps of
    a conditional effective sample size of .8 and adapts the kernel at each of them. All
    is fixed then, so that the estimate of the integral, not of its logarithm, is
    unbiased. The pilot costs some tens of steps of HMC, of slices about ten times that.

    The standard error has three parts, whose squares are added. "groups" is the spread
    over the square root of `n_chains` groups of chains, which are resampled apart.
    "tail" is how much more a log-normal distribution of the groups' constants would
    give: it grows without bound where few weights carry all. "mixing" is of
    chains that do not get about, which agree with each other and are all too low: they
    differ from the pilot's, which had less time, or gather more variance in their log
    weights than chains that forget.

    References
    ----------
    .. [1] R. M. Neal. "Annealed importance sampling", Statistics and Computing 11,
       2001, Eqs. 3 to 11.
    .. [2] P. Del Moral, A. Doucet, A. Jasra. "Sequential Monte Carlo samplers", J. R.
       Statist. Soc. B 68, 2006, section 3.
    .. [3] Y. Zhou, A. M. Johansen, J. A. D. Aston. "Toward automatic model comparison:
       an adaptive sequential Monte Carlo approach", J. Comput. Graph. Statist. 25,
       2016, Eq. 12.

    Examples
    --------
    The integral of exp(-|x|) over the plane is 4:

    >>> import numpy as np
    >>> from skdre import annealed_importance_sampling
    >>> result = annealed_importance_sampling(
    ...     lambda X: -np.abs(X).sum(axis=1), 2, n_steps=200, random_state=0
    ... )
    >>> bool(abs(result.log_normalizer - np.log(4)) < 3 * result.standard_error)
    True
    """
    check_numbers(
        "annealed_importance_sampling",
        n_chains=n_chains,
        n_steps=n_steps,
        resample_below=resample_below,
        verbose=verbose,
        random_state=random_state,
    )
    check_n_chains(n_chains)
    target = make_target(log_density, base, gradient)
    rng = check_random_state(random_state)
    plan = plan_for(target, kernel, schedule, n_steps, n_chains, rng)
    chains = _Chains(target, plan, n_chains, resample_below, rng)
    tenth = -(-plan.n_steps // 10)
    try:
        for k in range(plan.n_steps):
            chains.step(k)
            if verbose and ((k + 1) % tenth == 0 or k + 1 == plan.n_steps):
                print(
                    f"[annealing] step {k + 1} of {plan.n_steps}, inverse temperature "
                    f"{plan.temperatures[k + 1]:.3g}, effective sample size "
                    f"{chains.effective[-1]:.1f}, acceptance "
                    f"{chains.acceptance[-1]:.2f}"
                )
    except KeyboardInterrupt as interrupt:
        if chains.acceptance:
            interrupt.partial_result = chains.result()  # type: ignore
        raise
    result = chains.result()
    _warn_if_collapsed(result)
    return result


def _warn_if_collapsed(result):
    low = result.effective_sample_sizes < _COLLAPSED * len(result.log_weights)
    if not low.any():
        return
    first = int(np.argmax(low))
    warnings.warn(
        f"The effective sample size fell to {result.effective_sample_sizes.min():.1f} "
        f"of {len(result.log_weights)} chains, below a tenth at inverse temperature "
        f"{result.temperatures[first + 1]:.3g}: few chains carry the estimate "
        f"{result.log_normalizer:.3g} ± {result.standard_error:.2g} nats. Increase "
        "n_steps or the moves of the kernel, or take a base that is nearer.",
        UserWarning,
        stacklevel=3,
    )
