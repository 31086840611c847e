r"""Entropy balancing by its convex dual, and what to say where no weights exist.

Weights w on the rows, close to base weights q (both sum to 1), under which the columns
of C, the functions of the rows minus their means in the target, have means within a
tolerance of 0:

.. math:: \min_w \sum_i w_i \log(w_i / q_i) \quad\text{subject to}\quad
          |\textstyle\sum_i w_i c_{ij}| \le t_j .

The solution is :math:`w_i \propto q_i \exp(\lambda' c_i)`, where lambda minimises the
dual, which has one variable for each column:

.. math:: D(\lambda) = \log \sum_i q_i \exp(\lambda' c_i) + \sum_j t_j |\lambda_j| .
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import linprog
from scipy.special import logsumexp

__all__ = ["Solution", "least_slack", "rows_on_face", "smallest_tol", "solve_dual"]

# A mean within this many standard deviations of its bound is met.
_GRADIENT_TOL = 1e-9
# Rounding of a column of C where it is 0.
_ZERO = 1e-12
_MOST_SWEEPS = 500


@dataclass(frozen=True)
class Solution:
    """What the dual gave.

    Attributes
    ----------
    weights : ndarray of shape (n_rows,)
        Sum to 1.
    multipliers : ndarray of shape (n_functions,)
        The lambda.
    residual : float
        Largest violation of the optimality conditions, in the columns' units.
    n_iter : int
    status : {"converged", "infeasible", "max_iter"}
    """

    weights: np.ndarray
    multipliers: np.ndarray
    residual: float
    n_iter: int
    status: str


def rows_on_face(C, base, tol):
    """Rows that may have a positive weight.

    Where a column is of one sign over the rows and has to have mean 0, as that of a
    level that the target does not have, the rows where it is not 0 weigh nothing. The
    dual would have to go to infinity for this.
    """
    kept = base > 0
    changed = True
    while changed and kept.any():
        changed = False
        for j in np.flatnonzero(tol == 0):
            column = C[kept, j]
            if column.min() < -_ZERO and column.max() > _ZERO:
                continue
            zero = np.abs(C[:, j]) <= _ZERO
            if (kept & ~zero).any() and (kept & zero).any():
                kept &= zero
                changed = True
    return kept


def _tilted(C, log_base, multipliers):
    """Log of the normalising sum, and the weights."""
    log_weight = log_base + C @ multipliers
    log_sum = logsumexp(log_weight)
    return log_sum, np.exp(log_weight - log_sum)


def _residual(gradient, multipliers, tol):
    signed = np.abs(gradient + tol * np.sign(multipliers))
    beyond = np.maximum(np.abs(gradient) - tol, 0)
    return np.where(multipliers != 0, signed, beyond).max(initial=0.0)


def _newton_step(H, gradient):
    try:
        return -cho_solve(cho_factor(H), gradient)
    except LinAlgError:
        return -np.linalg.lstsq(H, gradient, rcond=None)[0]


def _proximal_step(H, gradient, multipliers, tol):
    """Minimiser of the quadratic model plus the penalty, by coordinate descent."""
    step, slope = np.zeros(len(tol)), gradient.copy()
    diagonal = np.diag(H)
    for _ in range(_MOST_SWEEPS):
        largest = 0.0
        for j, curvature in enumerate(diagonal):
            old = multipliers[j] + step[j]
            free = old - slope[j] / curvature
            new = np.sign(free) * max(abs(free) - tol[j] / curvature, 0.0)
            if new != old:
                change = new - old
                step[j] += change
                slope += change * H[:, j]
                largest = max(largest, abs(change) * curvature)
        if largest < _GRADIENT_TOL / 10:
            break
    return step


def solve_dual(C, base, tol, max_iter):
    """Weights nearest to the base weights that meet all constraints.

    Newton's method with a line search; with tolerances each step solves the quadratic
    model with their penalty. The divergence from the base weights is at most
    -log(min(base)), whatever the weights: a dual below that proves that no weights
    meet the constraints.

    Parameters
    ----------
    C : ndarray of shape (n_rows, n_functions)
    base : ndarray of shape (n_rows,)
        Positive, and sum to 1.
    tol : ndarray of shape (n_functions,)
    max_iter : int

    Returns
    -------
    solution : Solution
    """
    log_base = np.log(base)
    least = log_base.min() - 1e-6
    n_functions = C.shape[1]
    multipliers = np.zeros(n_functions)
    log_sum, weights = _tilted(C, log_base, multipliers)
    dual = log_sum
    status, n_iter, residual = "max_iter", 0, np.inf
    for n_iter in range(max_iter + 1):
        gradient = weights @ C
        residual = _residual(gradient, multipliers, tol)
        if residual <= _GRADIENT_TOL:
            status = "converged"
            break
        if dual < least:
            status = "infeasible"
            break
        if n_iter == max_iter:
            break
        scaled = C * np.sqrt(weights)[:, None]
        H = scaled.T @ scaled - np.outer(gradient, gradient)
        # Columns that determine each other, as the levels of a category do.
        H[np.diag_indices(n_functions)] += max(1e-11 * np.trace(H) / n_functions, 1e-14)
        if tol.any():
            step = _proximal_step(H, gradient, multipliers, tol)
        else:
            step = _newton_step(H, gradient)
        change = tol @ (np.abs(multipliers + step) - np.abs(multipliers))
        expected = gradient @ step + change
        size = 1.0
        while True:
            trial = multipliers + size * step
            log_sum, trial_weights = _tilted(C, log_base, trial)
            trial_dual = log_sum + tol @ np.abs(trial)
            if trial_dual <= dual + 1e-4 * size * expected or size < 1e-10:
                break
            size /= 2
        if size < 1e-10 or not expected < 0:
            break
        multipliers, weights, dual = trial, trial_weights, trial_dual
    return Solution(weights, multipliers, float(residual), n_iter, status)


def least_slack(C, tol, cost=1.0):
    """By how much each constraint is missed where their cost is as small as it can be.

    A linear programme over all weights; all zero where the constraints can be met.
    """
    n_rows, k = C.shape
    upper = np.hstack([C.T, -np.eye(k)])
    lower = np.hstack([-C.T, -np.eye(k)])
    found = linprog(
        np.concatenate([np.zeros(n_rows), np.broadcast_to(cost, k)]),
        A_ub=np.vstack([upper, lower]),
        b_ub=np.concatenate([tol, tol]),
        A_eq=np.concatenate([np.ones(n_rows), np.zeros(k)])[None],
        b_eq=[1.0],
        method="highs",
    )
    return found.x[n_rows:] if found.status == 0 else np.full(k, np.nan)


def smallest_tol(C, has_tol=True):
    """The smallest tolerance, the same for all that have one, that can be met.

    NaN where there is none, for the others cannot be met.
    """
    n_rows, k = C.shape
    ones = np.broadcast_to(has_tol, k)[:, None] * 1.0
    found = linprog(
        np.append(np.zeros(n_rows), 1.0),
        A_ub=np.vstack([np.hstack([C.T, -ones]), np.hstack([-C.T, -ones])]),
        b_ub=np.zeros(2 * k),
        A_eq=np.append(np.ones(n_rows), 0.0)[None],
        b_eq=[1.0],
        method="highs",
    )
    return float(found.fun) if found.status == 0 else np.nan
