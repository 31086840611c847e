r"""Kernel mean matching by Newton steps on a low-rank matrix near the kernel matrix.

A step of Newton's method on the kernel matrix K costs a Cholesky factor, as much as
forming K; a problem of a thousand rows takes about ten of them. A Gaussian kernel's
eigenvalues fall fast, and all but a few are below the ridge. So let F F', of low rank,
be the Nystroem approximation of K on some of the rows, and E = K - F F' the rest, which
is positive semidefinite. From the feasible point v_0 go to the solution of

.. math:: \min_v \tfrac12 v'FF'v + \tfrac12 v'Dv + (E v_0 - \kappa)'v
   + \tfrac s4 (v - v_0)'D(v - v_0)

over the feasible v, with s the largest eigenvalue of D^-1/2 E D^-1/2. This takes one
product with K and Newton steps of the size of the rank. It shrinks the distance from
the optimum, in the norm of D, by s / (2 + s) or more, from anywhere: the operator
D^-1/2 E D^-1/2 - s/2 has the norm s / 2, and the curvature is at least 1 + s / 2.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from skdre.kernel._linear_algebra import jittered_cholesky
from skdre.kernel._qp import DenseKernel, certify, newton_points

# The rank is this share of the rows, and at least the second number.
_RANK_SHARE = 1 / 12
_LEAST_RANK = 64
# Power iterations for s, and what their result, which is too small, is multiplied with.
_POWER_STEPS = 5
_POWER_MARGIN = 1.1
# Of a larger s the steps are too short to be worth it.
_MOST_REST = 8.0
# Newton steps on the low-rank problem between two products with K, at most.
_INNER_STEPS = 50
# Their accuracy, relative to the squared step.
_INNER_TOL = 1e-2
# This much more accurate than asked for: the steps shrink the error by a factor, where
# Newton's on K leave none.
_MARGIN = 1e-2


class _LowRank:
    """F, with F'D_F^-1 F over the free rows kept from one Newton step to the next."""

    def __init__(self, K, rank):
        some = slice(rank)
        factor = jittered_cholesky(K[some, some].copy(), 1e-12 * rank)
        features = solve_triangular(factor, K[some], lower=True, check_finite=False)
        self.features = np.ascontiguousarray(features.T)
        self._free = self._gram = None

    def gram(self, free, curvature):
        """F'D_F^-1 F, by the rows that have changed where they are few."""
        changed, sign = free, 1.0
        if self._free is not None:
            changed = free != self._free
            sign = np.where(free[changed], 1.0, -1.0)[:, None]
        if self._free is None or 2 * np.count_nonzero(changed) > len(free):
            self._gram, changed, sign = 0.0, free, 1.0
        rows = self.features[changed]
        scaled = rows / curvature[changed][:, None]
        self._free, self._gram = free, self._gram + rows.T @ (sign * scaled)
        return self._gram.copy()

    def rest(self, K, curvature):
        """Largest eigenvalue of D^-1/2 (K - F F') D^-1/2."""
        root = np.sqrt(curvature)
        vector = np.random.RandomState(0).standard_normal(len(root))
        size = 0.0
        for _ in range(_POWER_STEPS):
            vector /= np.linalg.norm(vector)
            point = vector / root
            vector = (K @ point - self.features @ (point @ self.features)) / root
            size = np.linalg.norm(vector)
            if size == 0:
                break
        return _POWER_MARGIN * size


@dataclass(frozen=True)
class _NearKernel:
    """Dual points c = F'v of a low-rank problem whose field is linear - F c."""

    low_rank: _LowRank
    linear: np.ndarray

    def evaluate(self, point):
        """Field and squared norm of a dual point."""
        return self.linear - self.low_rank.features @ point, point @ point

    def inner(self, point, step, _):
        """Inner products <point, step> and <step, step>."""
        return point @ step, step @ step

    def residual(self, v, point, free, curvature):
        """F'v - c and its squared norm."""
        rho = v @ self.low_rank.features - point
        return rho, rho @ rho, None

    def direction(self, rho, free, curvature, banded, _):
        """Newton's step, (I + F'D_F^-1 F) step = rho, and the change of the field."""
        features = self.low_rank.features
        hessian = self.low_rank.gram(free, curvature)
        hessian[np.diag_indices_from(hessian)] += 1.0
        if banded and free.any():
            inverse = np.where(free, 1 / curvature, 0.0)
            pull = inverse @ features
            hessian -= np.outer(pull, pull) / inverse.sum()
        step = cho_solve((jittered_cholesky(hessian), True), rho, check_finite=False)
        return step, -(features @ step)


def _solve_near(kernel, curvature, feasible, ridge, v, enough):
    """The low-rank problem's solution, from and near to v."""
    start = v @ kernel.low_rank.features
    points = newton_points(kernel, curvature, feasible, start)
    for _, at in zip(range(_INNER_STEPS), points, strict=False):
        moved = at.v - v
        if at.square <= max(_INNER_TOL * (ridge * moved) @ moved, enough):
            break
    return at.v


def solve_near(K, kappa, ridge, feasible, start, *, tol, max_iter):
    """Solve the problem with a ridge, K being a dense kernel matrix.

    Parameters
    ----------
    K : ndarray of shape (n, n)
    kappa, ridge : ndarray of shape (n,)
        The linear term, and the diagonal D.
    feasible : Feasible
    start : ndarray of shape (n,)
        Feasible point.
    tol : float
        Duality gap to reach, relative to the objective.
    max_iter : int
        Most products with K.

    Returns
    -------
    solution : Solution
        Its `dual` gives `v` as clip((kappa - K dual - nu) / D, 0, upper). Not converged
        after `max_iter` steps, or at once where K is not near to a low rank.
    """
    low_rank = _LowRank(K, min(len(K), max(_LEAST_RANK, int(_RANK_SHARE * len(K)))))
    features = low_rank.features
    rest = low_rank.rest(K, ridge)
    curvature = ridge * (1 + rest / 2)
    if rest > _MOST_REST:
        max_iter = 0
    v, n_iter = start, 0
    while True:
        product = K @ v
        field = kappa - product
        other, nu = feasible.minimizer(field, ridge)
        value = (ridge * other / 2 - field) @ other - v @ product / 2
        moved = other - v
        inside = moved @ features
        # At least |moved|^2 in the norm of K, without a product with it.
        square = inside @ inside + rest * ((ridge * moved) @ moved)
        enough = 2 * (_MARGIN * tol) ** 2 * abs(value)
        if square <= enough or n_iter >= max_iter:
            break
        linear = field + features @ (v @ features) + rest / 2 * ridge * v
        near = _NearKernel(low_rank, linear)
        v = _solve_near(near, curvature, feasible, ridge, v, enough / 100)
        n_iter += 1
    kernel = DenseKernel(K, kappa)
    found = certify(kernel, other, ridge, feasible, tol, n_iter, dual=v, nu=nu)
    # The ratio is made of the dual point, and a small gap alone is not near enough.
    converged = found.converged and square <= 2 * tol**2 * abs(value)
    return replace(found, converged=converged)
