"""Kernel mean matching of two standardised samples: the problem, and its solvers.

Sizes n_p and n_q are the sums of the rows' weights, which count repeats.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.linalg import cho_solve

from skdre._core.arrays import HOST, number, place_of, to_numpy
from skdre._core.reduce import InMemory, Portion, nothing
from skdre.kernel._dual import FeatureRows, Limits, solve_dual
from skdre.kernel._gaussian import (
    gaussian_kernel,
    kernel_among,
    kernel_product,
    row_blocks,
)
from skdre.kernel._linear_algebra import jittered_cholesky
from skdre.kernel._nystroem import NystroemFeatures, landmark_sums
from skdre.kernel._passes import LandmarkRows, Passes
from skdre.kernel._qp import (
    DenseKernel,
    Feasible,
    Solution,
    solve_newton,
)
from skdre.kernel._qp_columns import solve_columns, solve_cvxpy, solve_interior
from skdre.kernel._qp_near import solve_near

# From this many rows on Newton's steps on a low-rank matrix near the kernel's cost less
# than those on the kernel's.
_NEAR_ROWS = 400
# Features up to this many bytes are kept; above it they are formed anew in each pass.
_FEATURE_BYTES = 640 * 2**20
# Features with more entries than this are kept in single precision.
_DOUBLE_ENTRIES = 25_000_000
# Samples of more than twice as many rows start from the solution of some of them: this
# many, or an eighth, but not more than the second number.
_PILOT_ROWS = 10_000
_MOST_PILOT_ROWS = 25_000
# This share of the rows, where they are many, is passed over before all are.
_PART = 5
# Accuracy of the pilot's solution: more than its rows tell of the others.
_PILOT_TOL = 1e-3


def auto_ridge(n_numerator, n_denominator):
    """min(n_p, n_q)^-0.9, at most 1."""
    return max(1.0, min(n_numerator, n_denominator)) ** -0.9


def auto_eps(n_denominator):
    """(sqrt(n_q) - 1) / sqrt(n_q), of Huang et al. (2006)."""
    return max(0.0, 1.0 - max(1.0, n_denominator) ** -0.5)


@dataclass(frozen=True)
class Settings:
    """The numbers of a problem, without its rows.

    Attributes
    ----------
    gamma, ridge, eps, bound : float
    size : float
        n_q.
    n_rows : int
        Rows of the denominator, whatever their weights.
    """

    gamma: float
    ridge: float
    eps: float
    bound: float
    size: float
    n_rows: int

    @property
    def band(self):
        """Bounds of the sum of the masses."""
        return max(0.0, 1 - self.eps) * self.size, (1 + self.eps) * self.size

    @property
    def limits(self):
        """Constraints and ridge of the dual."""
        return Limits(self.size * self.ridge, self.bound, *self.band)


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
    def settings(self):
        """Its numbers."""
        return Settings(
            self.gamma, self.ridge, self.eps, self.bound, self.size, len(self.X_q)
        )

    @property
    def feasible(self):
        """Bounds of a row's mass, and of their sum."""
        low, high = self.settings.band
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
        place = place_of(X)
        centers, coef = place.put((self.centers, self.coef))
        field = kernel_product(X, centers, coef, self.gamma)
        return place.xp.clip(field + float(self.intercept), 0, float(self.bound))


@dataclass(frozen=True)
class Matching:
    """Weights of the denominator's rows and the ratio at any x, with their solution."""

    weights: np.ndarray | None
    ratio: RatioFunction
    solution: Solution
    kernel_residual: float = 0.0


def match_means(
    problem, solver, *, n_components, random_state, tol, max_iter, place=HOST
):
    """Solve a problem by one of the solvers of :class:`skdre.KMMRatio`.

    With features the sums over the rows are formed at `place`; all else is NumPy's.
    """
    if solver == "nystroem":
        (X_q, q_weight), (X_p, p_weight) = some = (
            (problem.X_q, problem.q_weight),
            (problem.X_p, problem.p_weight),
        )
        of_q = place.put(Portion(X_q, q_weight, np.ones(len(X_q))))
        of_p = place.put(Portion(X_p, p_weight, np.ones(len(X_p))))
        found = match_features(
            InMemory(of_q, of_p),
            some,
            problem.settings,
            n_components=n_components,
            random_state=random_state,
            tol=tol,
            max_iter=max_iter,
            place=place,
        )
        if found.weights is None:
            # Those of predictions: the solver may have worked in single precision.
            found = replace(found, weights=found.ratio(of_q.X))
        return replace(found, weights=to_numpy(found.weights))
    kernel_rows = None
    if solver == "active-set":
        solution, kernel_rows = solve_columns(
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
        ratio = _regress(problem, weights, n_components, kernel_rows)
    else:
        ratio = _ratio_of_dual(problem, solution)
    return Matching(weights, ratio, solution)


def _solve_dense(problem, solver, tol, max_iter):
    """Solve with the whole kernel matrix."""
    K = kernel_among(problem.X_q, problem.gamma)
    kappa = problem.linear_term()
    diagonal, feasible = problem.diagonal, problem.feasible
    if solver == "cvxpy":
        return solve_cvxpy(K, kappa, diagonal, feasible, tol=tol)
    start, options = problem.start(), {"tol": tol, "max_iter": max_iter}
    if len(K) >= _NEAR_ROWS:
        solution = solve_near(K, kappa, diagonal, feasible, start, **options)
        if solution.converged:
            return solution
    # In the dense kernel's coordinates a primal point is a dual point as well.
    solution = solve_newton(DenseKernel(K, kappa), diagonal, feasible, start, **options)
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


def feature_rows(portion, features, dtype, *, keep):
    """Rows of a portion with their features, formed once if they are kept."""
    m = len(features.landmarks)
    if not keep:
        return FeatureRows(
            portion.weight,
            lambda rows: features.transform(portion.X[rows, :], dtype),
            m,
        )
    place = place_of(portion.X)
    if not place.is_host:
        blocks = row_blocks(portion.X.shape[0], m, place)
        kept = [features.transform(portion.X[rows, :], dtype) for rows in blocks]
        kept = place.xp.concat(kept)
        return FeatureRows(portion.weight, lambda rows: kept[rows, :], m)
    cached = np.empty((len(portion.X), m), dtype)
    for rows in row_blocks(*cached.shape):
        cached[rows] = features.transform(portion.X[rows], dtype)
    return FeatureRows(portion.weight, cached.__getitem__, m)


def _solve_features(rows, settings, features, target, start, tol, max_iter):
    """Newton's method on the features of the denominator's rows, kept if they fit."""
    entries = settings.n_rows * len(features.landmarks)
    dtype = np.float32 if entries > _DOUBLE_ENTRIES else np.float64
    keep = entries * np.dtype(dtype).itemsize <= _FEATURE_BYTES and rows.in_memory
    prepared = rows.prepared(
        partial(feature_rows, features=features, dtype=dtype, keep=keep), nothing
    )
    return solve_dual(
        prepared, target, settings.limits, start, tol=tol, max_iter=max_iter
    )


def match_features(
    rows, some, settings, *, n_components, random_state, tol, max_iter, place=HOST
):
    """Solve with low-rank features, the kernel being the one that they define.

    Parameters
    ----------
    rows : InMemory or ChunkedRows
        Of standardised portions.
    some : pair of (ndarray, ndarray)
        Rows and weights of the denominator, then of the numerator, that landmarks are
        chosen from: all, or a part.
    settings : Settings
    place : Place
        Of the rows.

    Returns
    -------
    found : Matching
        Without weights where no pass had them, or the rows are not in memory.
    """
    features = NystroemFeatures.choose(
        some[::-1], settings.gamma, n_components, random_state
    )
    reducer = partial(landmark_sums, landmarks=features.landmarks, gamma=settings.gamma)
    options = {"tol": tol, "max_iter": max_iter}
    if settings.n_rows > 2 * _PILOT_ROWS:
        _, of_p = rows.totals(nothing, reducer)
        target = settings.size * features.mean_of(of_p)
        solution, weights = _solve_with_pilot(
            rows, some[0], settings, features, target, random_state, place, options
        )
    else:
        means = [features.mean_of(sums) for sums in rows.totals(reducer)]
        target, weights = settings.size * means[1], None
        # Weights of 1, or as near as the bound allows.
        start = min(1.0, settings.bound) * settings.size * means[0]
        solution = _solve_features(rows, settings, features, target, start, **options)
    rho = settings.limits.rho
    ratio = RatioFunction(
        features.landmarks,
        features.kernel_coef(target - solution.dual) / rho,
        -solution.nu / rho,
        settings.gamma,
        settings.bound,
    )
    return Matching(weights, ratio, solution, features.residual)


def _solve_pilot(pilot, settings, target, max_iter):
    """Dual point of all rows that some of them tell, first a quarter of these."""
    n_rows, dual = pilot.weight.shape[0], None
    for n in (-(-n_rows // 4), n_rows):
        weight = pilot.weight[:n]
        size = number(pilot.place.xp.sum(weight))
        rows = FeatureRows(weight, pilot.features, pilot.n_components)
        if dual is None:
            # Weights of 1, or as near as the bound allows.
            dual = sum(to_numpy(weight[part] @ block) for part, block in rows.blocks())
            dual *= min(1.0, settings.bound) * settings.size / size
        scale = settings.size / size
        part = replace(settings, size=size, n_rows=n)
        found = solve_dual(
            InMemory(rows, None),
            target / scale,
            part.limits,
            dual / scale,
            tol=_PILOT_TOL,
            max_iter=max_iter,
        )
        dual = scale * found.dual
    return dual, found.nu


def _solve_with_pilot(
    rows, some, settings, features, target, random_state, place, options
):
    """Solution of many rows, and their weights where the last pass had them."""
    # A random part of the rows tells most of the dual point, at little cost.
    X, weight = some
    n_pilot = min(max(_PILOT_ROWS, len(X) // 8), _MOST_PILOT_ROWS, len(X))
    index = random_state.choice(len(X), n_pilot, False)
    portion = place.put(Portion(X[index], weight[index], np.ones(n_pilot)))
    kept = feature_rows(portion, features, np.float64, keep=True)
    start, nu = _solve_pilot(kept, settings, target, options["max_iter"])
    if nu != 0:
        # The band binds.
        found = _solve_features(rows, settings, features, target, start, **options)
        return found, None
    in_kernels = partial(LandmarkRows, features=features)
    prepared = rows.prepared(in_kernels, nothing)
    scale = settings.size / weight[index].sum()
    problem = Passes(prepared, features, kept, scale, target, settings.limits)
    n_part = settings.n_rows // _PART
    if rows.in_memory and n_part > 2 * n_pilot:
        # Rows in memory are shuffled: the first of them lead nearer.
        part = rows.prepared(partial(in_kernels, n_rows=n_part), nothing)
        scale = settings.size / weight[:n_part].sum()
        start = problem.step(part, scale, start, options["tol"])
    solution, finished = problem.solve(start, **options)
    if not finished:
        start = solution.dual
        return _solve_features(rows, settings, features, target, start, **options), None
    weights = None
    if rows.in_memory:
        ratio, _ = prepared.totals(lambda portion: portion.ratio, nothing)
        weights = place.xp.clip(ratio, 0, float(settings.bound))
    return solution, weights


def _regress(problem, weights, n_components, kernel_rows=None):
    """Kernel ridge regression of the weights on the rows of largest weight.

    The regression shrinks; it is scaled back to the weights' own mean.
    ``kernel_rows(index, part)`` gives rows of the kernel matrix, where they are kept.
    """
    ridge = auto_ridge(problem.p_weight.sum(), problem.size)
    support = np.flatnonzero(weights)
    if support.size > n_components:
        largest = np.argpartition(weights[support], -n_components)
        support = support[largest[-n_components:]]
    centers = problem.X_q[support]
    gram = 1e-10 * problem.size * np.eye(support.size)
    right, total = np.zeros(support.size), np.zeros(support.size)
    for rows in row_blocks(len(problem.X_q), support.size):
        if kernel_rows is None:
            K = gaussian_kernel(centers, problem.X_q[rows], problem.gamma)
        else:
            K = kernel_rows(support, rows)
        here = np.flatnonzero((support >= rows.start) & (support < rows.stop))
        gram[:, here] += problem.size * ridge * K[:, support[here] - rows.start]
        a = problem.q_weight[rows]
        total += K @ a
        K *= np.sqrt(a)
        gram += K @ K.T
        right += K @ (np.sqrt(a) * weights[rows])
    coef = cho_solve((jittered_cholesky(gram), True), right, check_finite=False)
    coef = coef * ((problem.q_weight @ weights) / (total @ coef))
    return RatioFunction(centers, coef, 0.0, problem.gamma, problem.bound)
