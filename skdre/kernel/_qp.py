r"""The quadratic programme of kernel mean matching: certificate, and Newton's method.

In terms of the mass v_i = a_i w_i that each denominator row carries (a_i counts how
often the row stands in the sample) kernel mean matching is

.. math:: \min_v \tfrac12 v'Kv - \kappa'v + \tfrac12 \sum_i D_i v_i^2
   \quad\text{s.t.}\quad 0 \le v_i \le u_i,\; l \le \sum_i v_i \le h .

Every solver returns a feasible point, and :func:`linear_gap` bounds how far its
objective is from the optimum, whatever the solver did.

With a ridge, D > 0, the dual is concave and piecewise quadratic. For a dual point alpha
write f = kappa - K alpha, the field; the primal point that minimises the Lagrangian is
v = clip((f - nu) / D, 0, u), with nu the multiplier of the band, and alpha is optimal
when v = alpha. Primal and dual value differ by half the squared kernel norm of
v - alpha. A semismooth Newton method with a line search on the dual therefore converges
from anywhere, in a finite number of steps. Here it runs on the kernel matrix
(:class:`DenseKernel`), in :mod:`skdre.kernel._qp_near` on a low-rank matrix near it, in
:mod:`skdre.kernel._dual` on features of the kernel.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve

from skdre.kernel._linear_algebra import jittered_cholesky, submatrix

_MAX_HALVINGS = 40


@dataclass
class Feasible:
    """Box and band: 0 <= v <= upper, low <= sum(v) <= high."""

    upper: np.ndarray
    low: float
    high: float

    def take(self, index):
        """The same set for the entries `index`, all others being zero."""
        return Feasible(self.upper[index], self.low, self.high)

    def project(self, v):
        """The feasible point nearest to `v`."""
        return self.minimizer(v, np.ones(len(v)))[0]

    def minimizer(self, field, curvature):
        """Minimiser of 1/2 sum(curvature v^2) - field'v, and the band's multiplier.

        v = clip((field - nu) / curvature, 0, upper), with nu = 0 where the band does
        not bind.
        """

        def point(nu):
            return np.clip((field - nu) / curvature, 0, self.upper)

        v = point(0.0)
        total = v.sum()
        if self.low <= total <= self.high:
            return v, 0.0
        target = self.high if total > self.high else self.low
        # The sum falls in nu, from everything at its upper bound to everything at 0.
        left = min(0.0, np.min(field - curvature * self.upper))
        right = max(0.0, np.max(field))
        nu = 0.0
        for _ in range(200):
            if total > target:
                left = nu
            else:
                right = nu
            slope = np.sum(1 / curvature[(v > 0) & (v < self.upper)])
            new = nu + (total - target) / slope if slope > 0 else np.inf
            if not left < new < right:
                new = (left + right) / 2
            if new == nu:
                break
            nu = new
            v = point(nu)
            total = v.sum()
            if abs(total - target) <= 1e-14 * target:
                break
        return v, nu


def linear_gap(gradient, v, feasible):
    """Upper bound of the objective's distance from its minimum, at a feasible point.

    By convexity the distance is at most gradient'v - min_u gradient'u over the feasible
    u, a linear programme that filling up the smallest entries first solves.
    """
    order = np.argsort(gradient)
    upper = feasible.upper[order]
    ascending = gradient[order]
    filled = np.cumsum(upper)
    wanted = np.clip(upper[ascending < 0].sum(), feasible.low, feasible.high)
    best = np.clip(wanted - (filled - upper), 0, upper)
    return float(max(gradient @ v - ascending @ best, 0.0))


@dataclass
class Solution:
    """What a solver found.

    Attributes
    ----------
    v : ndarray of shape (n,) or None
        Feasible point; None where no process holds it.
    objective : float
        Objective at v.
    gap : float
        Bound of objective minus minimum, from :func:`linear_gap`.
    n_iter : int
        Steps taken, in the solver's own unit.
    converged : bool
        Whether the gap is at most tol * abs(objective).
    dual : ndarray, default=None
        Dual point in the kernel's coordinates, where D > 0.
    nu : float, default=0.0
        Multiplier of the band.
    """

    v: np.ndarray | None
    objective: float
    gap: float
    n_iter: int
    converged: bool
    dual: np.ndarray | None = None
    nu: float = 0.0


class DenseKernel:
    """Dual points as coefficients alpha of K alpha, with K of q's rows held whole."""

    def __init__(self, K, kappa):
        self.K = K
        self.kappa = kappa

    def dual(self, v):
        """Dual point that belongs to a primal point."""
        return v

    def evaluate(self, point):
        """Field and squared norm of a dual point."""
        product = self.K @ point
        return self.kappa - product, point @ product

    def inner(self, point, step, step_field):
        """Inner products <point, step> and <step, step> under K."""
        return -(point @ step_field), -(step @ step_field)

    def value_terms(self, v):
        """v'Kv, kappa'v and Kv - kappa."""
        product = self.K @ v
        return v @ product, self.kappa @ v, product - self.kappa

    def residual(self, v, point, free, curvature):
        """v - alpha, its squared kernel norm and what `direction` needs."""
        rho = v - point
        return rho, rho @ (self.K @ rho), None

    def direction(self, rho, free, curvature, banded, _):
        """Newton's step, and the change of the field along it.

        Entries that are not free move by their residual; the free ones solve
        (K_FF + D_F) step_F = D_F rho_F - K_FN rho_N - d_nu, where d_nu keeps the sum of
        v at the bound of a binding band.
        """
        step = np.where(free, 0.0, rho)
        index = np.flatnonzero(free)
        if index.size:
            d = curvature[index]
            A = submatrix(self.K, index, index)
            A[np.diag_indices_from(A)] += d
            right = d * rho[index]
            if index.size < len(step):
                right -= (self.K @ step)[index]
            factor = jittered_cholesky(A), True
            step[index] = cho_solve(factor, right, check_finite=False)
            if banded:
                unit = cho_solve(factor, np.ones(len(d)), check_finite=False)
                excess = step[index].sum() - rho[index].sum()
                step[index] -= excess / unit.sum() * unit
        return step, -(self.K @ step)


def certify(kernel, v, ridge, feasible, tol, n_iter, **dual):
    """Solution at a feasible point, with its objective and gap."""
    quadratic, linear, gradient = kernel.value_terms(v)
    objective = quadratic / 2 - linear
    if ridge is not None:
        objective += (ridge * v) @ v / 2
        gradient = gradient + ridge * v
    gap = linear_gap(gradient, v, feasible)
    converged = gap <= tol * abs(objective)
    return Solution(v, float(objective), gap, n_iter, converged, **dual)


@dataclass(frozen=True)
class DualPoint:
    """A dual point, the primal point v that belongs to it, and how far apart they are.

    Attributes
    ----------
    dual, v : ndarray
    nu : float
        Multiplier of the band.
    value : float
        Of the dual.
    square : float
        |v - alpha|^2 in the kernel's norm, twice the primal value minus the dual one.
    """

    dual: np.ndarray
    v: np.ndarray
    nu: float
    value: float
    square: float


def newton_points(kernel, ridge, feasible, start):
    """Yield dual points of the semismooth Newton method with a line search.

    `ridge` is the diagonal D, all positive; `start` is a dual point, ``kernel.dual(v)``
    of a primal one. Ends where no step improves the dual: rounding is all that is left.
    """
    point = start
    field, square = kernel.evaluate(point)
    v, nu = feasible.minimizer(field, ridge)
    while True:
        free = (v > 0) & (v < feasible.upper)
        rho, norm, parts = kernel.residual(v, point, free, ridge)
        value = (ridge * v / 2 - field) @ v - square / 2
        yield DualPoint(point, v, nu, value, norm)
        step, step_field = kernel.direction(rho, free, ridge, nu != 0, parts)
        along, step_square = kernel.inner(point, step, step_field)
        slope, _ = kernel.inner(rho, step, step_field)
        t = 1.0
        for _ in range(_MAX_HALVINGS):
            new_field = field + t * step_field
            new_v, new_nu = feasible.minimizer(new_field, ridge)
            new_square = square + 2 * t * along + t * t * step_square
            new_value = (ridge * new_v / 2 - new_field) @ new_v - new_square / 2
            if new_value >= value + 1e-4 * t * slope - 1e-13 * abs(value):
                break
            t /= 2
        else:
            return
        point, field, square = point + t * step, new_field, new_square
        v, nu = new_v, new_nu


def solve_newton(kernel, ridge, feasible, start, *, tol, max_iter):
    """Semismooth Newton method on the dual of the problem with a ridge.

    Stops at a gap of `tol` times the objective, or after `max_iter` steps. The
    solution's `dual` gives `v` as clip((field - nu) / D, 0, upper).
    """
    exact = False
    for n_iter, at in enumerate(newton_points(kernel, ridge, feasible, start)):
        # The gap is quadratic in v - alpha, hence the square: the ratio is made of
        # alpha and must agree with v to tol. The certificate, which costs a product
        # with the kernel, is looked at last.
        if exact or at.square / 2 <= tol**2 * abs(at.value) or n_iter >= max_iter:
            solution = certify(
                kernel, at.v, ridge, feasible, tol, n_iter, dual=at.dual, nu=at.nu
            )
            if solution.converged or n_iter >= max_iter:
                return solution
            exact = True
    return certify(kernel, at.v, ridge, feasible, tol, n_iter, dual=at.dual, nu=at.nu)
