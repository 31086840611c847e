"""Proportions of a mixture of known components, by maximum likelihood.

Jensen's inequality bounds the distance of sum_j w_j log(L pi)_j from its optimum on the
simplex by log(max_k g_k), hence by max_k g_k - 1, with the gradient
g_k = sum_j w_j L_jk / (L pi)_j.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve

from skdre.kernel._linear_algebra import jittered_cholesky, submatrix

_MAX_HALVINGS = 40
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


def solve_mixture(L, weight, start, *, tol, max_iter):
    """Maximum-likelihood proportions of a mixture of known components.

    A sequential quadratic method on the components that carry the mixture and those
    that would improve it most: a Newton step of the objective sum(pi) - sum_j w_j
    log(L pi)_j over pi >= 0, whose minimum lies on the simplex by itself. The rows'
    weights sum to 1, and `start` is a point of the simplex with L @ start > 0. Stops at
    a gap of `tol` nats, or after `max_iter` steps.

    References
    ----------
    .. [1] Kim, Carbonetto, Stephens, Anitescu (2020). A fast algorithm for maximum
       likelihood estimation of mixture proportions using sequential quadratic
       programming. JCGS 29.
    """
    pi = start
    density = L @ pi
    objective = weight @ np.log(density)
    root = np.sqrt(weight)
    n_iter = 0
    while True:
        gradient = (weight / density) @ L
        gap = gradient.max() - 1
        if gap <= tol or n_iter >= max_iter:
            break
        outside = np.flatnonzero((gradient > 1) & (pi == 0))
        outside = outside[np.argsort(gradient[outside])[-_NEW_COMPONENTS:]]
        working = np.union1d(np.flatnonzero(pi), outside)
        L_working = L[:, working]
        scaled = L_working * (root / density)[:, None]
        hessian = scaled.T @ scaled
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
        # Relative to the density, so that the gain is exact also where it is tiny.
        relative_step = L_working @ step / density
        slope = (1 - gradient[working]) @ step
        t = 1.0
        for _ in range(_MAX_HALVINGS):
            if 1 + t * relative_step.min() > TINY:
                gain = weight @ np.log1p(t * relative_step)
                if gain - t * step.sum() >= -1e-4 * t * slope - 1e-15:
                    break
            t /= 2
        else:
            # No step improves the likelihood: rounding is all that is left.
            break
        pi = np.zeros_like(pi)
        pi[working] = np.maximum(target - (1 - t) * step, 0)
        total = pi.sum()
        pi /= total
        density *= (1 + t * relative_step) / total
        objective += gain - np.log(total)
        n_iter += 1
    return Mixture(pi, float(objective), float(max(gap, 0)), n_iter, bool(gap <= tol))
