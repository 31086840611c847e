"""Proportions of a mixture of known components, by maximum likelihood.

Jensen's inequality bounds the distance of sum_j w_j log(L pi)_j from its optimum on the
simplex by log(max_k g_k), hence by max_k g_k - 1, with the gradient
g_k = sum_j w_j L_jk / (L pi)_j.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.linalg import cho_solve

from skdre._core.reduce import Sums, nothing
from skdre.kernel._linear_algebra import jittered_cholesky, submatrix

_MAX_HALVINGS = 40
# A relative change of a density below this is taken as this: no logarithm is infinite.
_LEAST_CHANGE = -1 + 1e-15
# Shares of a step that are tried.
_SHARES = (0.5 ** np.arange(_MAX_HALVINGS)).tolist()
# Most components that enter the working set in one step.
_NEW_COMPONENTS = 10
# A mixture density below this is not told from 0.
TINY = 1e-200


@dataclass
class Mixture:
    """Proportions of a mixture, as found by :func:`solve_mixture`.

    Attributes
    ----------
    proportions : ndarray of shape (n_components,)
        Point of the simplex.
    objective : float
        Mean log likelihood, in nats.
    gap : float
        Bound of the optimum minus the objective, in nats.
    n_iter : int
        Newton steps taken.
    converged : bool
        Whether the gap is at most tol.
    """

    proportions: np.ndarray
    objective: float
    gap: float
    n_iter: int
    converged: bool


def nonnegative_quadratic(H, c, start):
    """Minimise y'Hy / 2 - c'y over y >= 0, H positive definite, from a feasible start.

    Lawson and Hanson's active-set method, from the entries that are positive at the
    start.
    """
    y = start.copy()
    free = y > 0
    tol = 1e-13 * np.abs(c).max()
    for _ in range(3 * len(c)):
        while free.any():
            index = np.flatnonzero(free)
            factor = jittered_cholesky(submatrix(H, index, index)), True
            z = cho_solve(factor, c[index], check_finite=False)
            negative = z <= 0
            if not negative.any():
                y[index] = z
                break
            # As far as no entry turns negative; those that become 0 are freed no more.
            shrink = np.full(len(index), np.inf)
            # An entry just freed may have a z of 0 or below by rounding: 0 / 0 is 0.
            fall = np.maximum(y[index] - z, np.finfo(np.float64).tiny)
            shrink[negative] = y[index][negative] / fall[negative]
            y[index] += shrink.min() * (z - y[index])
            bound = index[shrink == shrink.min()]
            y[bound] = 0
            free[bound] = False
        slope = np.where(free, -np.inf, c - H @ y)
        best = np.argmax(slope)
        if slope[best] <= tol:
            break
        free[best] = True
    return y


class MixtureRows:
    """Likelihoods of rows under each component, and their density under the mixture.

    Parameters
    ----------
    L : ndarray of shape (n_rows, n_components)
        Likelihoods.
    weight : ndarray of shape (n_rows,)
    start : ndarray of shape (n_components,)
        Proportions with L @ start > 0.
    """

    def __init__(self, L, weight, start):
        self.L, self.weight = L, weight
        self.density = L @ start

    @property
    def objective(self):
        """Weighted sum of the log density."""
        return self.weight @ np.log(self.density)

    def gradient(self):
        """g_k = sum_j w_j L_jk / density_j."""
        return (self.weight / self.density) @ self.L

    def hessian(self, columns):
        """Minus the second derivatives by some of the proportions."""
        scaled = self.L[:, columns] * (np.sqrt(self.weight) / self.density)[:, None]
        return scaled.T @ scaled

    def look_along(self, step, columns):
        """Go along a step; returns the least relative change of a row's density."""
        # Relative to the density, so that the gain is exact also where it is tiny.
        self.change = self.L[:, columns] @ step / self.density
        return self.change.min()

    def gain(self, t):
        """What the objective gains by a share t of the step."""
        return self.weight @ np.log1p(t * self.change)

    def move(self, t, proportions, total):
        """Take that share; `total` is the sum of the proportions that it leads to."""
        self.density *= (1 + t * self.change) / total


@dataclass(frozen=True)
class MixtureSums(Sums):
    """Sums over rows at proportions, and along a step to others.

    Attributes
    ----------
    weight, log_peak : float
        Of the rows where a component is seen, and the logarithms of their largest
        likelihoods, by which all others are divided.
    objective, gradient, hessian : float and ndarray
        Of :class:`MixtureRows`, at the end of the step where there is one.
    gains : ndarray of shape (n_shares,)
        Of shares of the step.
    least : float
        Least relative change of a density along it.
    """

    weight: float
    log_peak: float
    objective: float
    gradient: np.ndarray
    hessian: np.ndarray
    gains: np.ndarray
    least: float

    def __add__(self, other):
        added = super().__add__(other)
        return replace(added, least=min(self.least, other.least))


def mixture_sums(portion, likelihoods, proportions, step):
    """Reducer: sums at the proportions, or from there along a step."""
    k = len(proportions)
    sums = MixtureSums(
        0.0, 0.0, 0.0, np.zeros(k), np.zeros((k, k)), np.zeros(_MAX_HALVINGS), np.inf
    )
    for L, weight in likelihoods(portion):
        peak = L.max(axis=1)
        seen = peak > TINY
        L, weight = L[seen] / peak[seen, None], weight[seen]
        if not len(L):
            continue
        rows = MixtureRows(L, weight, proportions)
        gains, least = np.zeros(_MAX_HALVINGS), np.inf
        if step is not None:
            least = rows.look_along(step, slice(None))
            # What no share of the step may reach is not looked at.
            rows.change = np.maximum(rows.change, _LEAST_CHANGE)
            gains = np.array([rows.gain(t) for t in _SHARES])
            rows.move(1.0, None, 1.0)
        sums += MixtureSums(
            weight.sum(),
            weight @ np.log(peak[seen]),
            rows.objective,
            rows.gradient(),
            rows.hessian(slice(None)),
            gains,
            least,
        )
    return sums


class MixturePasses:
    """What :class:`MixtureRows` is, of rows that come anew with each pass.

    One pass a step, unless the step is too long.

    Parameters
    ----------
    rows : InMemory or ChunkedRows
        The numerator's portions are what `likelihoods` takes.
    likelihoods : callable
        Yields likelihoods of rows of a portion, and their weights.
    start : ndarray of shape (n_components,)
    """

    def __init__(self, rows, likelihoods, start):
        self._rows, self._likelihoods = rows, likelihoods
        self._proportions = start
        self._at = self._pass(None)

    def _pass(self, step):
        reducer = partial(
            mixture_sums,
            likelihoods=self._likelihoods,
            proportions=self._proportions,
            step=step,
        )
        return self._rows.totals(nothing, reducer)[1]

    @property
    def log_peak(self):
        return self._at.log_peak / self._at.weight

    @property
    def objective(self):
        return self._at.objective / self._at.weight

    def gradient(self):
        return self._at.gradient / self._at.weight

    def hessian(self, columns):
        return submatrix(self._at.hessian, columns, columns) / self._at.weight

    def look_along(self, step, columns):
        whole = np.zeros_like(self._proportions)
        whole[columns] = step
        self._ahead = self._pass(whole)
        return self._ahead.least

    def gain(self, t):
        return self._ahead.gains[_SHARES.index(t)] / self._ahead.weight

    def move(self, t, proportions, total):
        self._proportions = proportions
        if t != 1.0:
            self._at = self._pass(None)
            return
        self._at = replace(
            self._ahead,
            gradient=self._ahead.gradient * total,
            hessian=self._ahead.hessian * total**2,
        )


def solve_mixture(rows, start, *, tol, max_iter, aim=None):
    """Maximum-likelihood proportions of a mixture of known components.

    A sequential quadratic method on the components that carry the mixture and those
    that would improve it most: a Newton step of the objective sum(pi) - sum_j w_j
    log(L pi)_j over pi >= 0, whose minimum lies on the simplex by itself. The weights
    of the rows, :class:`MixtureRows` or :class:`MixturePasses`, sum to 1, and `start`
    is a point of the simplex with L @ start > 0. Stops at a gap of `aim` nats, which is
    `tol` if not given, or after `max_iter` steps; has converged at a gap of `tol`.

    References
    ----------
    .. [1] Kim, Carbonetto, Stephens, Anitescu (2020). A fast algorithm for maximum
       likelihood estimation of mixture proportions using sequential quadratic
       programming. JCGS 29.
    """
    pi = start
    objective = rows.objective
    n_iter = 0
    while True:
        gradient = rows.gradient()
        gap = gradient.max() - 1
        if gap <= (tol if aim is None else aim) or n_iter >= max_iter:
            break
        outside = np.flatnonzero((gradient > 1) & (pi == 0))
        outside = outside[np.argsort(gradient[outside])[-_NEW_COMPONENTS:]]
        working = np.union1d(np.flatnonzero(pi), outside)
        hessian = rows.hessian(working)
        # Neighbouring kernels are alike to rounding. What is damped is the step, which
        # vanishes at the optimum all the same.
        damping = 1e-9 * hessian.diagonal()
        hessian[np.diag_indices_from(hessian)] += damping
        # The linear term of the model, with H pi = g.
        linear = 2 * gradient[working] - 1 + damping * pi[working]
        # Of many components most leave: it is quicker to begin with none.
        few = np.count_nonzero(pi) <= 2 * _NEW_COMPONENTS
        target = nonnegative_quadratic(hessian, linear, few * pi[working])
        step = target - pi[working]
        least = rows.look_along(step, working)
        slope = (1 - gradient[working]) @ step
        for t in _SHARES:
            if 1 + t * least > TINY:
                gain = rows.gain(t)
                if gain - t * step.sum() >= -1e-4 * t * slope - 1e-15:
                    break
        else:
            # No step improves the likelihood: rounding is all that is left.
            break
        pi = np.zeros_like(pi)
        pi[working] = np.maximum(target - (1 - t) * step, 0)
        total = pi.sum()
        pi /= total
        rows.move(t, pi, total)
        objective += gain - np.log(total)
        n_iter += 1
    return Mixture(pi, float(objective), float(max(gap, 0)), n_iter, bool(gap <= tol))
