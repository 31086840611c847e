"""RAISE: a bound on the likelihood of rows, by annealing from each of them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.utils import check_random_state

from skdre._core.docs import shared_docs
from skdre._core.types import Floats, RandomState, Rows
from skdre.density._annealing import Annealing, check_numbers, plan_for
from skdre.density._kernels import Kernel
from skdre.density._plans import Plan
from skdre.density._targets import Target, make_target

__all__ = ["RaiseBound", "raise_bound"]

# Chains of the pilot run, and those that are annealed at a time: Ctrl-C keeps the rows
# of the batches before.
_PILOT_CHAINS = 100
_BATCH_CHAINS = 1000


@dataclass(frozen=True, eq=False)
class RaiseBound:
    """Lower bounds on the log likelihood of rows.

    Attributes
    ----------
    value : float
        Mean log weight over the rows, in nats: a lower bound on the mean log likelihood
        of the annealed model, in expectation.
    standard_error : float
        Of `value`: the spread of the rows' log weights.
    log_likelihood : ndarray of shape (n_samples,)
        Log weight of each row, in nats, of the row in the space of the data. Bits per
        dimension follow by :meth:`skdre.Dequantizer.bits_per_dimension`.
    log_normalizer : float
        Upper bound on the log normaliser that goes with it: the mean of the log density
        of the rows less their log weights.
    log_normalizer_std : float
        Its standard error.
    n_evaluations : int
        Rows that the log density was evaluated at.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import raise_bound
    >>> X = np.random.default_rng(0).normal(size=(50, 2)) / np.sqrt(2)
    >>> bound = raise_bound(
    ...     lambda X: -((X**2).sum(axis=1)), X, 2, n_steps=50, random_state=0
    ... )
    >>> bool(abs(bound.log_normalizer - np.log(np.pi)) < 0.1)
    True
    """

    value: float
    standard_error: float
    log_likelihood: Floats = field(repr=False)
    log_normalizer: float
    log_normalizer_std: float
    n_evaluations: int = field(repr=False)


def _mean_and_error(values):
    if len(values) < 2:
        return float(values.mean()), float("inf")
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def reverse_log_weights(
    target: Target, plan: Plan, Z: Floats, rng: np.random.RandomState
) -> Floats:
    """What annealing back to the base takes from the log ratio at latent rows.

    A chain from z_K = z is moved by the reverse of each kernel, which is the kernel
    itself, to z_0; this is the sum of (beta_k - beta_(k - 1)) l(z_(k - 1)), whose
    mean is at least the log normaliser where z comes from the density.
    """
    state = plan.kernel._start(target, Z)
    total = np.zeros(len(Z))
    betas = plan.temperatures
    for k in range(plan.n_steps, 0, -1):
        state, _ = plan.kernel._move(target, betas[k], state, plan.tunings[k - 1], rng)
        total += (betas[k] - betas[k - 1]) * state.log_ratio
    return total


@shared_docs
def raise_bound(
    log_density: Any,
    X: Rows,
    base: Any = None,
    *,
    n_chains: int = 1,
    n_steps: int = 1000,
    schedule: str | Annealing | Any = "adaptive",
    kernel: str | Kernel = "auto",
    gradient: Any = None,
    verbose: int = 0,
    random_state: RandomState = None,
) -> RaiseBound:
    r"""Bound the log likelihood of rows under an unnormalised density from below.

    The reverse annealing importance sampling estimator, RAISE [1]_. What annealing with
    a finite number of steps draws has a density of its own, near the normalised f, and
    a chain that is annealed backwards from a row x has a weight w whose mean is that
    density at x. So log w is on average no more than its logarithm, and the mean of the
    log weights over test rows is a conservative estimate of their log likelihood: an
    upper bound on bits per dimension, where annealed importance sampling gives a lower
    one.

    Parameters
    ----------
    log_density : callable, torch.nn.Module or RatioDensity
        As of :func:`skdre.annealed_importance_sampling`.
    X : array-like of shape (n_samples, n_features)
        Rows of a test set, in the space of the data.
    base : int, pair of mean and covariance, or density estimator, default=None
        As of :func:`skdre.annealed_importance_sampling`.
    n_chains : int, default=1
        Chains that start at each row. Their weights are averaged, which makes the bound
        tighter; log weights are averaged over the rows.
    n_steps : int, default=1000
        Steps from the density to the base.
    schedule : {"adaptive", "linear", "sigmoid"}, array or Annealing, \
            default="adaptive"
        As of :func:`skdre.annealed_importance_sampling`; its result brings temperatures
        and kernel, and saves the pilot run.
    kernel : {"auto", "hmc", "slice"}, HMC or EllipticalSlice, default="auto"
        As of :func:`skdre.annealed_importance_sampling`.
    gradient : callable, "torch" or None, default=None
        As of :func:`skdre.annealed_importance_sampling`.
    verbose : int, default=0
        Above 0, print a line for each thousand chains.
    %(random_state)

    Returns
    -------
    bound : RaiseBound
        The mean of the log weights with its standard error, those of each row, and the
        bound on the log normaliser that follows.

    Raises
    ------
    ValueError
        If an argument is not as described, the log density is NaN or plus infinity at a
        row, or 0 at a row of X.
    TypeError
        If `base` has no density or no map, or `gradient` does not go with it.
    KeyboardInterrupt
        At Ctrl-C. Where the chains of some rows are finished, its attribute
        ``partial_result`` holds a RaiseBound of these rows, the first ones of X.

    See Also
    --------
    skdre.annealed_importance_sampling : The estimate from the other side.

    Notes
    -----
    The bound holds in expectation, for the density that annealing draws from; rows of
    the density f itself have the likelihood bounded too. The logarithm of the mean of
    the weights over different rows is another number, of no use.

    References
    ----------
    .. [1] Y. Burda, R. B. Grosse, R. Salakhutdinov. "Accurate and conservative
       estimates of MRF log-likelihood using reverse annealing", AISTATS 2015,
       section 3, Eqs. 11 to 13.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import annealed_importance_sampling, raise_bound
    >>> def log_density(X):  # of N(1, 1), times 3
    ...     return -0.5 * ((X - 1) ** 2).sum(axis=1) - np.log(2 * np.pi) + np.log(3)
    >>> forward = annealed_importance_sampling(
    ...     log_density, 2, n_steps=100, random_state=0
    ... )
    >>> X = 1 + np.random.default_rng(0).normal(size=(200, 2))
    >>> bound = raise_bound(log_density, X, 2, schedule=forward, random_state=0)
    >>> low = forward.log_normalizer - 2 * forward.standard_error
    >>> high = bound.log_normalizer + 2 * bound.log_normalizer_std
    >>> bool(low < np.log(3) < high)
    True
    """
    check_numbers(
        "raise_bound",
        n_chains=n_chains,
        n_steps=n_steps,
        verbose=verbose,
        random_state=random_state,
    )
    target = make_target(log_density, base, gradient)
    Z = target.to_latent(X)
    rng = check_random_state(random_state)
    # The log density of x is that of z and the Jacobian of the map.
    X = np.asarray(X, dtype=np.float64)
    log_base = target.log_base(X)
    at_rows = target.log_ratio(Z)
    _refuse_impossible(at_rows)
    plan = plan_for(target, kernel, schedule, n_steps, _PILOT_CHAINS, rng)

    batch = max(1, _BATCH_CHAINS // n_chains)
    reverse: list[Floats] = []

    def result():
        mean = np.concatenate(reverse)
        done = len(mean)
        # Weights are averaged over the chains of a row: log mean exp(-reverse).
        log_likelihood = log_base[:done] + at_rows[:done] - mean
        value, error = _mean_and_error(log_likelihood)
        normalizer, normalizer_std = _mean_and_error(mean)
        return RaiseBound(
            value,
            error,
            log_likelihood,
            normalizer,
            normalizer_std,
            target.n_evaluations,
        )

    try:
        for start in range(0, len(Z), batch):
            rows = np.repeat(Z[start : start + batch], n_chains, axis=0)
            each = reverse_log_weights(target, plan, rows, rng)
            each = each.reshape(-1, n_chains)
            reverse.append(np.log(n_chains) - logsumexp(-each, axis=1))
            if verbose:
                done = min(start + batch, len(Z))
                print(f"[raise] {done} of {len(Z)} rows: {result()}")
    except KeyboardInterrupt as interrupt:
        if reverse:
            interrupt.partial_result = result()  # type: ignore[attr-defined]
        raise
    return result()


def _refuse_impossible(log_ratio):
    impossible = np.isneginf(log_ratio)
    if impossible.any():
        raise ValueError(
            f"The density is 0 at {impossible.sum()} of {len(log_ratio)} rows of X, "
            f"first at row {int(np.argmax(impossible))}: their likelihood has no lower "
            "bound but minus infinity."
        )
