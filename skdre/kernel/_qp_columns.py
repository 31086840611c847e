"""Kernel mean matching without a ridge: interior point, columns, and the reference.

Without a ridge few rows carry mass, the dual is not smooth, and the kernel matrix is
close to singular. :func:`solve_columns` forms only the columns that are needed: it
solves the problem restricted to some rows, prices all others by the gradient, and takes
in those that would lower the objective. The restricted problem is solved by a
primal-dual active set where that settles, which it does when the kernel matrix of the
support is well conditioned, and else by :func:`interior_point`, which handles binding
bounds, a binding band and a singular kernel matrix alike.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from skdre.kernel._gaussian import gaussian_kernel
from skdre.kernel._linear_algebra import jittered_cholesky, submatrix
from skdre.kernel._qp import DenseKernel, Solution, certify, linear_gap

_FIRST_COLUMNS = 200


def _longest_step(positive, change):
    shrinking = change < 0
    if not shrinking.any():
        return 1.0
    return min(1.0, 0.9995 * np.min(-positive[shrinking] / change[shrinking]))


def interior_point(K, kappa, feasible, *, tol, max_iter=100):
    """Primal-dual predictor-corrector method (Mehrotra) on the whole problem.

    The slacks of the box are v and upper - v; the band enters as a variable t = sum(v)
    between its own bounds. When the band is a single value, t is a constant.

    Returns v, feasible up to the complementarity `tol`, relative to the objective; the
    band's multiplier; and the number of iterations.
    """
    n = len(kappa)
    upper, low, high = feasible.upper, feasible.low, feasible.high
    room = upper.sum()
    if room <= low * (1 + 1e-12):
        # Only the point with everything at its bound is feasible.
        return upper.copy(), 0.0, 0
    high = min(high, room)
    banded = high - low > 1e-12 * high
    t = (low + high) / 2 if banded else low
    t = min(t, (low + room) / 2)
    v = upper * (t / room)
    y = 0.0
    # Slacks s and multipliers z in the order: v, upper - v, t - low, high - t.
    size = np.abs(K @ v - kappa).max() + np.abs(kappa).max() * 1e-3
    z = np.full(2 * n + 2 * banded, size)
    ends = [t - low, high - t] if banded else []
    n_slacks = len(z)
    for n_iter in range(max_iter + 1):
        s = np.concatenate([v, upper - v, ends])
        gradient = K @ v - kappa
        r_v = gradient + y - z[:n] + z[n : 2 * n]
        r_t = -y - z[2 * n] + z[2 * n + 1] if banded else 0.0
        r_sum = v.sum() - t
        product = s @ z
        objective = (gradient - kappa) @ v / 2
        if (
            product <= tol * abs(objective)
            and np.abs(r_v).max() * t <= tol * abs(objective)
            and abs(r_sum) <= tol * t
        ) or n_iter == max_iter:
            return v, y, n_iter
        ratio = z / s
        A = K.copy()
        A[np.diag_indices(n)] += ratio[:n] + ratio[n : 2 * n]
        factor = jittered_cholesky(A), True
        compliance = 1 / (ratio[2 * n] + ratio[2 * n + 1]) if banded else 0.0

        def newton(pull, right, unit, r_t=r_t, r_sum=r_sum, ratio=ratio,
                   compliance=compliance):  # fmt: skip
            """Step that brings z * s to s * (z + pull), to first order."""
            r_end = pull[2 * n] - pull[2 * n + 1] - r_t if banded else 0.0
            dy = (right.sum() + r_sum - compliance * r_end) / (unit.sum() + compliance)
            dv = right - dy * unit
            dt = compliance * (r_end + dy)
            ds = np.concatenate([dv, -dv, [dt, -dt] if banded else []])
            return dv, dt, dy, ds, pull - ratio * ds

        right = np.stack([np.ones(n), z[n : 2 * n] - z[:n] - r_v], axis=1)
        unit, right = cho_solve(factor, right, check_finite=False).T
        _, _, _, ds, dz = newton(-z, right, unit)
        length = min(_longest_step(s, ds), _longest_step(z, dz))
        ahead = (s + length * ds) @ (z + length * dz)
        center = (ahead / product) ** 3 * product / n_slacks
        pull = (center - ds * dz) / s - z
        right = pull[:n] - pull[n : 2 * n] - r_v
        right = cho_solve(factor, right, check_finite=False)
        dv, dt, dy, ds, dz = newton(pull, right, unit)
        length = min(_longest_step(s, ds), _longest_step(z, dz))
        v = v + length * dv
        t = t + length * dt
        y = y + length * dy
        z = z + length * dz
        ends = [t - low, high - t] if banded else []
        # Rounding may close the last of a slack.
        v = np.clip(v, 1e-300, upper * (1 - 1e-16))


def _active_set(K, kappa, feasible, max_iter=25):
    """Primal-dual active set for v >= 0 alone; None where it does not settle."""
    free = np.ones(len(kappa), bool)
    tol = 1e-12 * np.abs(kappa).max() * len(kappa)
    fewest = np.inf
    patience = 4
    for _ in range(max_iter):
        v = np.zeros(len(kappa))
        index = np.flatnonzero(free)
        try:
            factor = cho_factor(
                submatrix(K, index, index).T,  # LAPACK's order
                lower=True, overwrite_a=True, check_finite=False,
            )  # fmt: skip
        except LinAlgError:
            return None
        v[index] = cho_solve(factor, kappa[index], check_finite=False)
        gradient = K @ v - kappa
        negative = free & (v < 0)
        violating = ~free & (gradient < -tol)
        count = negative.sum() + violating.sum()
        if count == 0:
            inside = feasible.low <= v.sum() <= feasible.high
            return v if inside and np.all(v <= feasible.upper) else None
        if count < fewest:
            fewest, patience = count, 4
        elif patience == 0:
            return None
        else:
            patience -= 1
        free = (free & ~negative) | violating
    return None


class _Columns:
    """Columns of the kernel matrix, formed when first needed and kept.

    They are kept as the blocks of rows in which they were formed: appending to one
    array would copy all of them in every round.
    """

    def __init__(self, X, gamma):
        self.X = X
        self.gamma = gamma
        self.index = np.empty(0, np.intp)
        self.blocks = []

    def add(self, index):
        self.index = np.concatenate([self.index, index])
        self.blocks.append(gaussian_kernel(self.X[index], self.X, self.gamma))

    def _split(self, array):
        stops = np.cumsum([len(block) for block in self.blocks])
        return zip(np.split(array, stops[:-1]), self.blocks, strict=True)

    def square(self, active):
        """Kernel matrix between the columns where the mask `active` is true."""
        columns = self.index[active]
        parts = [
            submatrix(block, np.flatnonzero(keep), columns)
            for keep, block in self._split(active)
        ]
        return np.concatenate(parts)

    def rows(self, wanted, part):
        """K[wanted, part], whose rows are columns that are kept; `part` is a slice."""
        place = np.empty(len(self.X), np.intp)
        place[self.index] = np.arange(len(self.index))
        found = np.empty((len(wanted), len(self.X[part])))
        first = 0
        for block in self.blocks:
            mine = place[wanted] - first
            inside = (mine >= 0) & (mine < len(block))
            found[inside] = block[mine[inside], part]
            first += len(block)
        return found

    def product(self, coef):
        """K[:, index] @ coef, of shape (n,)."""
        return sum(part @ block for part, block in self._split(coef))


def solve_columns(X, kappa, gamma, feasible, *, random_state, tol, max_iter):
    """Column generation for the problem without a ridge.

    `random_state` chooses the first columns. Stops at a gap of `tol` times the
    objective, or after `max_iter` rounds. Returns the solution, and a function that
    gives K[index, part], with v[index] > 0 and a slice.
    """
    n = len(kappa)
    order = random_state.permutation(n)
    # As many columns at least as the band needs to be met.
    needed = np.searchsorted(np.cumsum(feasible.upper[order]), 1.5 * feasible.low) + 1
    columns = _Columns(X, gamma)
    columns.add(order[: max(_FIRST_COLUMNS, int(needed))])
    active = np.ones(len(columns.index), bool)
    settles = True
    inner_tol = 1e-4
    best = None
    for n_iter in range(1, max_iter + 1):
        index = columns.index[active]
        K, inside = columns.square(active), feasible.take(index)
        part, nu = None, 0.0
        if settles:
            part = _active_set(K, kappa[index], inside)
            settles = part is not None
        if part is None:
            part, nu, _ = interior_point(K, kappa[index], inside, tol=inner_tol)
        if not feasible.low <= part.sum() <= feasible.high:
            part = inside.project(part)
        v, coef = np.zeros(n), np.zeros(len(active))
        v[index], coef[active] = part, part
        gradient = columns.product(coef) - kappa
        objective = float((gradient - kappa) @ v / 2)
        gap = linear_gap(gradient, v, feasible)
        if best is None or gap < best.gap:
            converged = gap <= tol * abs(objective)
            best = Solution(v, objective, gap, n_iter, converged, nu=nu)
        if best.converged:
            break
        # A price of this size, were every row to have it, would close the gap.
        price = gradient + nu
        price[index] = 0.0
        entering = np.flatnonzero(price < -0.05 * tol * abs(objective) / feasible.high)
        if entering.size == 0:
            if settles or inner_tol <= 1e-3 * tol:
                break
            inner_tol = 1e-2 * min(inner_tol, tol)
            continue
        batch = max(len(index) // 2, _FIRST_COLUMNS // 2)
        if entering.size > batch:
            entering = entering[np.argpartition(price[entering], batch)[:batch]]
        # Interior points are never zero: what is negligible beside the mean leaves.
        active[active] = part > (0.0 if settles else 1e-6 * feasible.low / len(index))
        active |= np.isin(columns.index, entering)
        new = np.setdiff1d(entering, columns.index)
        if new.size:
            columns.add(new)
            active = np.concatenate([active, np.ones(new.size, bool)])
        inner_tol = min(inner_tol, max(0.05 * gap / abs(objective), 0.05 * tol))
    best.n_iter = n_iter
    return best, columns.rows


def solve_interior(K, kappa, ridge, feasible, *, tol):
    """The whole problem with a ridge D, a vector, by :func:`interior_point`."""
    H = K.copy()
    H[np.diag_indices_from(H)] += ridge
    v, nu, n_iter = interior_point(H, kappa, feasible, tol=1e-3 * tol)
    v = feasible.project(v)
    kernel = DenseKernel(K, kappa)
    return certify(kernel, v, ridge, feasible, tol, n_iter, dual=v, nu=nu)


def solve_cvxpy(K, kappa, ridge, feasible, *, tol):
    """Reference solution by cvxpy's interior-point solver Clarabel.

    `ridge` is the diagonal D, or None. Raises ImportError if cvxpy is not installed.
    """
    try:
        import cvxpy as cp
    except ImportError as error:
        raise ImportError(
            "solver='cvxpy' needs cvxpy: install it with `pip install skdre[cvxpy]`, "
            "or choose another solver."
        ) from error
    n = len(kappa)
    v = cp.Variable(n)
    H = K if ridge is None else K + np.diag(ridge)
    # Clarabel's tolerances are absolute on the scaled problem.
    scale = max(np.abs(kappa).max(), 1.0)
    problem = cp.Problem(
        cp.Minimize((cp.quad_form(v, cp.psd_wrap(H)) / 2 - kappa @ v) / scale),
        [
            v >= 0,
            v <= feasible.upper,
            cp.sum(v) >= feasible.low,
            cp.sum(v) <= feasible.high,
        ],
    )
    problem.solve(
        solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10
    )
    point = feasible.project(np.asarray(v.value, dtype=np.float64))
    n_iter = max(int(problem.solver_stats.num_iters or 1), 1)
    kernel = DenseKernel(K, kappa)
    solution = certify(kernel, point, ridge, feasible, tol, n_iter)
    if ridge is not None:
        # The multiplier of the band, for the ratio at other rows.
        _, solution.nu = feasible.minimizer(kappa - K @ point, ridge)
        solution.dual = point
    return solution
