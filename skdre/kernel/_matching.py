"""Kernel mean matching of two standardised samples: the problem, and its solvers.

Sizes n_p and n_q are the sums of the rows' weights, which count repeats.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_solve

from skdre.kernel._gaussian import gaussian_kernel, kernel_product, row_blocks
from skdre.kernel._linear_algebra import jittered_cholesky
from skdre.kernel._nystroem import NystroemFeatures
from skdre.kernel._qp import (
    DenseKernel,
    Feasible,
    FeatureKernel,
    Solution,
    solve_newton,
)
from skdre.kernel._qp_columns import solve_columns, solve_cvxpy, solve_interior

# Features up to this many bytes are kept; above it they are formed anew in each pass.
_FEATURE_BYTES = 640 * 2**20
# Features with more entries than this are kept in single precision.
_DOUBLE_ENTRIES = 25_000_000
# Samples of more than twice as many rows start from the solution of this many of them.
_PILOT_ROWS = 10_000


def auto_ridge(n_numerator, n_denominator):
    """min(n_p, n_q)^-0.9, at most 1."""
    return max(1.0, min(n_numerator, n_denominator)) ** -0.9


def auto_eps(n_denominator):
    """(sqrt(n_q) - 1) / sqrt(n_q), of Huang et al. (2006)."""
    return max(0.0, 1.0 - max(1.0, n_denominator) ** -0.5)


@dataclass(frozen=True)
class Problem:
    """Kernel mean matching, in terms of the mass v = a w that each row of q carries."""

    X_p: np.ndarray
    X_q: np.ndarray
    p_weight: np.ndarray
    q_weight: np.ndarray
    gamma: float
    ridge: float
    eps: float
    bound: float

    @property
    def feasible(self):
        """Bounds of a row's mass, and of their sum."""
        low, high = max(0.0, 1 - self.eps) * self.size, (1 + self.eps) * self.size
        # No row can carry more than all may together: a huge bound does not overflow.
        bound = min(self.bound, high / self.q_weight.min())
        return Feasible(np.minimum(bound * self.q_weight, high), low, high)

    @property
    def size(self):
        """n_q."""
        return self.q_weight.sum()

    @property
    def diagonal(self):
        """D = rho / a, with rho = n_q ridge; None without a ridge."""
        return self.size * self.ridge / self.q_weight if self.ridge > 0 else None

    @property
    def numerator_coef(self):
        """(n_q / n_p) b, the mass of the numerator's rows."""
        return self.p_weight * (self.size / self.p_weight.sum())

    def linear_term(self):
        """kappa = K_qp numerator_coef."""
        return kernel_product(self.X_q, self.X_p, self.numerator_coef, self.gamma)

    def take(self, index):
        """The problem with some of the denominator's rows."""
        return replace(self, X_q=self.X_q[index], q_weight=self.q_weight[index])

    def start(self):
        """The feasible point nearest to weights of 1."""
        return self.feasible.project(self.q_weight)


@dataclass(frozen=True)
class RatioFunction:
    """r(x) = clip(k(x, centers) @ coef + intercept, 0, bound)."""

    centers: np.ndarray
    coef: np.ndarray
    intercept: float
    gamma: float
    bound: float

    def __call__(self, X):
        field = kernel_product(X, self.centers, self.coef, self.gamma)
        return np.clip(field + self.intercept, 0, self.bound)


@dataclass(frozen=True)
class Matching:
    """Weights of the denominator's rows and the ratio at any x, with their solution."""

    weights: np.ndarray
    ratio: RatioFunction
    solution: Solution
    kernel_residual: float = 0.0


def match_means(problem, solver, *, n_components, random_state, tol, max_iter):
    """Solve a problem by one of the solvers of :class:`skdre.KMMRatio`."""
    if solver == "nystroem":
        return _match_features(problem, n_components, random_state, tol, max_iter)
    if solver == "active-set":
        solution = solve_columns(
            problem.X_q,
            problem.linear_term(),
            problem.gamma,
            problem.feasible,
            random_state=random_state,
            tol=tol,
            max_iter=max_iter,
        )
    else:
        solution = _solve_dense(problem, solver, tol, max_iter)
    weights = solution.v / problem.q_weight
    if problem.ridge == 0:
        ratio = _regress(problem, weights, n_components)
    else:
        ratio = _ratio_of_dual(problem, solution)
    return Matching(weights, ratio, solution)


def _solve_dense(problem, solver, tol, max_iter):
    """Solve with the whole kernel matrix."""
    K = gaussian_kernel(problem.X_q, problem.X_q, problem.gamma)
    kappa = problem.linear_term()
    diagonal, feasible = problem.diagonal, problem.feasible
    if solver == "cvxpy":
        return solve_cvxpy(K, kappa, diagonal, feasible, tol=tol)
    solution = solve_newton(
        DenseKernel(K, kappa),
        diagonal,
        feasible,
        problem.start(),  # in the dense kernel's coordinates a dual point as well
        tol=tol,
        max_iter=max_iter,
    )
    if solution.converged:
        return solution
    # A ridge that is tiny beside the kernel's eigenvalues makes the dual too stiff for
    # Newton's method, but not for an interior point.
    return solve_interior(K, kappa, diagonal, feasible, tol=tol)


def _ratio_of_dual(problem, solution):
    """The ratio that optimality gives, w = clip((kappa - K v - nu) / rho, 0, B).

    Every term of it is defined at any x.
    """
    rho = problem.size * problem.ridge
    support = solution.dual != 0
    coef = np.concatenate([problem.numerator_coef, -solution.dual[support]])
    return RatioFunction(
        np.concatenate([problem.X_p, problem.X_q[support]]),
        coef / rho,
        -solution.nu / rho,
        problem.gamma,
        problem.bound,
    )


def _solve_features(problem, features, target, start, tol, max_iter):
    """Newton's method on the features of the denominator's rows, kept if they fit."""
    n_rows, n_components = len(problem.X_q), len(features.landmarks)
    entries = n_rows * n_components
    dtype = np.float32 if entries > _DOUBLE_ENTRIES else np.float64
    if entries * np.dtype(dtype).itemsize <= _FEATURE_BYTES:
        cached = np.empty((n_rows, n_components), dtype)
        for rows in row_blocks(n_rows, n_components):
            cached[rows] = features.transform(problem.X_q[rows], dtype)
        blocks = cached.__getitem__
    else:

        def blocks(rows):
            return features.transform(problem.X_q[rows], dtype)

    kernel = FeatureKernel(blocks, n_rows, target)
    if start is None:
        start = kernel.dual(problem.start())
    return solve_newton(
        kernel, problem.diagonal, problem.feasible, start, tol=tol, max_iter=max_iter
    )


def _match_features(problem, n_components, random_state, tol, max_iter):
    """Solve with low-rank features, the kernel being the one that they define."""
    features = NystroemFeatures.choose(
        ((problem.X_p, problem.p_weight), (problem.X_q, problem.q_weight)),
        problem.gamma,
        n_components,
        random_state,
    )
    mean = features.mean(problem.X_p, problem.p_weight)
    start = None
    if len(problem.X_q) > 2 * _PILOT_ROWS:
        # A random part of the rows tells most of the dual point, at little cost.
        pilot = problem.take(random_state.choice(len(problem.X_q), _PILOT_ROWS, False))
        start = _solve_features(
            pilot, features, pilot.size * mean, None, 1e-2, max_iter
        ).dual * (problem.size / pilot.size)
    target = problem.size * mean
    solution = _solve_features(problem, features, target, start, tol, max_iter)
    rho = problem.size * problem.ridge
    ratio = RatioFunction(
        features.landmarks,
        features.kernel_coef(target - solution.dual) / rho,
        -solution.nu / rho,
        problem.gamma,
        problem.bound,
    )
    # The weights are those of predictions: the solver may have worked in single
    # precision.
    return Matching(ratio(problem.X_q), ratio, solution, features.residual)


def _regress(problem, weights, n_components):
    """Kernel ridge regression of the weights on the rows of largest weight.

    The regression shrinks; it is scaled back to the weights' own mean.
    """
    ridge = auto_ridge(problem.p_weight.sum(), problem.size)
    support = np.flatnonzero(weights)
    if support.size > n_components:
        largest = np.argpartition(weights[support], -n_components)
        support = support[largest[-n_components:]]
    centers = problem.X_q[support]
    gram = problem.size * ridge * gaussian_kernel(centers, centers, problem.gamma)
    gram[np.diag_indices_from(gram)] += 1e-10 * problem.size
    right, total = np.zeros(support.size), np.zeros(support.size)
    for rows in row_blocks(len(problem.X_q), support.size):
        K = gaussian_kernel(problem.X_q[rows], centers, problem.gamma)
        a = problem.q_weight[rows]
        K *= np.sqrt(a)[:, None]
        gram += K.T @ K
        right += (np.sqrt(a) * weights[rows]) @ K
        total += np.sqrt(a) @ K
    coef = cho_solve((jittered_cholesky(gram), True), right, check_finite=False)
    coef = coef * ((problem.q_weight @ weights) / (total @ coef))
    return RatioFunction(centers, coef, 0.0, problem.gamma, problem.bound)
