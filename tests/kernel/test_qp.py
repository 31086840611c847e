"""The solvers against cvxpy, over random problems with every constraint binding."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from portions import InPortions
from scipy.optimize import linprog, minimize_scalar, nnls

from skdre._core.reduce import InMemory
from skdre.kernel import _qp_near
from skdre.kernel._dual import FeatureRows, Limits, solve_dual
from skdre.kernel._gaussian import gaussian_kernel
from skdre.kernel._qp import (
    DenseKernel,
    Feasible,
    linear_gap,
    solve_newton,
)
from skdre.kernel._qp_columns import (
    _active_set,
    interior_point,
    solve_columns,
    solve_cvxpy,
    solve_interior,
)
from skdre.kernel._qp_near import solve_near

TOL = 1e-6

# (n_q, n_p, d, gamma, B, eps, weights, duplicates)
PROBLEMS = {
    "plain": (60, 60, 2, 0.5, 1000, 0.8, False, False),
    "unequal": (80, 15, 3, 0.3, 1000, 0.8, False, False),
    "many-numerator": (15, 200, 2, 0.5, 1000, 0.5, False, False),
    "bound": (60, 60, 2, 0.5, 1.5, 0.5, False, False),
    "bound-below-one": (40, 40, 2, 0.5, 0.6, 0.5, False, False),
    "bound-only-point": (30, 30, 2, 0.5, 0.5, 0.5, False, False),
    "band": (60, 60, 2, 1.0, 1000, 0.01, False, False),
    "band-point": (60, 60, 2, 1.0, 1000, 0.0, False, False),
    "band-and-bound": (60, 60, 2, 1.0, 1.2, 0.05, False, False),
    "weights": (60, 50, 2, 0.5, 4, 0.3, True, False),
    "duplicates": (60, 60, 2, 0.5, 1000, 0.8, False, True),
    "flat-kernel": (50, 50, 2, 1e-3, 1000, 0.8, False, False),
    "peaked-kernel": (50, 50, 2, 200.0, 1000, 0.8, False, False),
    "one-denominator": (1, 30, 2, 0.5, 1000, 0.0, False, False),
    "one-numerator": (30, 1, 2, 0.5, 1000, 0.8, False, False),
    "high-dimension": (90, 90, 15, 0.05, 1000, 0.9, False, False),
}


def problem_of(name, seed=0):
    n_q, n_p, d, gamma, B, eps, weighted, duplicated = PROBLEMS[name]
    rng = np.random.default_rng(seed)
    X_q, X_p = rng.normal(size=(n_q, d)), rng.normal(size=(n_p, d)) + 1 / np.sqrt(d)
    if duplicated:
        X_q[n_q // 2 :] = X_q[: n_q - n_q // 2]
        X_p[0] = X_q[0]
    a = rng.integers(1, 5, size=n_q).astype(float) if weighted else np.ones(n_q)
    size = a.sum()
    K = gaussian_kernel(X_q, X_q, gamma)
    kappa = gaussian_kernel(X_q, X_p, gamma).sum(axis=1) * size / n_p
    feasible = Feasible(B * a, (1 - eps) * size, (1 + eps) * size)
    ridge = size * min(n_p, n_q) ** -0.9 / a
    return X_q, K, kappa, gamma, feasible, ridge, a


def assert_feasible(v, feasible):
    assert np.all(v >= 0)
    assert np.all(v <= feasible.upper * (1 + 1e-12))
    assert feasible.low * (1 - 1e-9) <= v.sum() <= feasible.high * (1 + 1e-9)


def objective(v, K, kappa, ridge):
    return v @ K @ v / 2 - kappa @ v + np.sum(ridge * v**2) / 2


def assert_optimal(solution, K, kappa, ridge, feasible):
    """Feasible, certified, its figures true, and as good as the reference."""
    reference = solve_cvxpy(K, kappa, ridge, feasible, tol=TOL)
    diagonal = np.zeros(len(kappa)) if ridge is None else ridge
    assert_feasible(solution.v, feasible)
    assert solution.converged
    assert solution.objective == pytest.approx(
        objective(solution.v, K, kappa, diagonal), rel=1e-9
    )
    assert solution.gap <= TOL * abs(solution.objective)
    assert solution.objective - reference.objective <= TOL * abs(reference.objective)
    # The bound is rigorous: no feasible point is better than objective - gap.
    slack = 1e-9 * abs(reference.objective)
    assert reference.objective >= solution.objective - solution.gap - slack


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("seed", [0, 1])
def test_newton_reaches_the_optimum(name, seed):
    _, K, kappa, _, feasible, ridge, a = problem_of(name, seed)
    solution = solve_newton(
        DenseKernel(K, kappa),
        ridge,
        feasible,
        feasible.project(a),
        tol=TOL,
        max_iter=50,
    )
    assert_optimal(solution, K, kappa, ridge, feasible)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("seed", [0, 1])
def test_columns_reach_the_optimum(name, seed):
    X_q, K, kappa, gamma, feasible, _, _ = problem_of(name, seed)
    solution, kernel_rows = solve_columns(
        X_q,
        kappa,
        gamma,
        feasible,
        random_state=np.random.RandomState(0),
        tol=TOL,
        max_iter=50,
    )
    assert_optimal(solution, K, kappa, None, feasible)
    # All rows are among the first columns.
    assert solution.n_iter <= 2
    support, part = np.flatnonzero(solution.v), slice(3, 40)
    assert_array_equal(kernel_rows(support, part), K[support, part])


@pytest.mark.parametrize("name", ["plain", "bound", "band", "high-dimension"])
def test_columns_enter_when_the_first_do_not_suffice(name, monkeypatch):
    monkeypatch.setattr("skdre.kernel._qp_columns._FIRST_COLUMNS", 8)
    X_q, K, kappa, gamma, feasible, _, _ = problem_of(name)
    solution, kernel_rows = solve_columns(
        X_q,
        kappa,
        gamma,
        feasible,
        random_state=np.random.RandomState(0),
        tol=TOL,
        max_iter=50,
    )
    assert solution.n_iter > 1
    assert_optimal(solution, K, kappa, None, feasible)
    support, part = np.flatnonzero(solution.v)[::-1], slice(0, 60)
    assert_array_equal(kernel_rows(support, part), K[support, part])


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("rank", [8, 60])
def test_steps_on_a_low_rank_matrix_reach_the_optimum(name, rank, monkeypatch):
    """The optimum of the whole kernel matrix, however little of it the steps know."""
    monkeypatch.setattr(_qp_near, "_LEAST_RANK", rank)
    monkeypatch.setattr(_qp_near, "_MOST_REST", np.inf)
    _, K, kappa, _, feasible, ridge, a = problem_of(name)
    start = feasible.project(a)
    solution = solve_near(K, kappa, ridge, feasible, start, tol=TOL, max_iter=2000)
    assert_optimal(solution, K, kappa, ridge, feasible)
    exact = solve_newton(
        DenseKernel(K, kappa), ridge, feasible, start, tol=1e-12, max_iter=50
    )
    assert_allclose(solution.v, exact.v, atol=TOL * exact.v.max())
    # The dual point gives v at once, and so at any other row.
    v = np.clip((kappa - K @ solution.dual - solution.nu) / ridge, 0, feasible.upper)
    assert_allclose(v, solution.v, atol=1e-9)


def test_a_kernel_far_from_low_rank_is_left_to_newtons_method(monkeypatch):
    monkeypatch.setattr(_qp_near, "_LEAST_RANK", 4)
    _, K, kappa, _, feasible, ridge, a = problem_of("high-dimension")
    options = {"tol": TOL, "max_iter": 100}
    solution = solve_near(K, kappa, 1e-3 * ridge, feasible, a, **options)
    assert not solution.converged
    assert solution.n_iter == 0
    # One step is not enough either, and says so.
    solution = solve_near(K, kappa, ridge, feasible, a, tol=TOL, max_iter=1)
    assert not solution.converged
    assert solution.n_iter == 1


@pytest.mark.parametrize("name", PROBLEMS)
def test_interior_point_reaches_the_optimum(name):
    _, K, kappa, _, feasible, _, _ = problem_of(name)
    v, nu, n_iter = interior_point(K, kappa, feasible, tol=1e-9)
    assert n_iter <= 17
    v = feasible.project(v)
    reference = solve_cvxpy(K, kappa, None, feasible, tol=TOL)
    assert objective(v, K, kappa, 0.0) - reference.objective <= TOL * abs(
        reference.objective
    )
    if feasible.low * 1.001 < v.sum() < feasible.high * 0.999:
        assert abs(nu) <= 1e-4 * np.abs(kappa).max()


def limits_of(name, K, feasible, a):
    _, n_p, _, _, B, _, _, _ = PROBLEMS[name]
    rho = a.sum() * min(n_p, len(K)) ** -0.9
    return Limits(rho, B, feasible.low, feasible.high)


def features_of(K):
    values, vectors = np.linalg.eigh(K)
    return vectors[:, -20:] * np.sqrt(np.maximum(values[-20:], 0))


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("n_portions", [1, 3])
def test_features_solve_the_problem_of_their_kernel(name, n_portions):
    _, K, _, _, feasible, ridge, a = problem_of(name)
    Phi = features_of(K)
    target = Phi.T @ np.random.default_rng(1).uniform(size=len(K))
    limits = limits_of(name, K, feasible, a)
    portions = [
        FeatureRows(a[part], Phi[part].__getitem__, Phi.shape[1])
        for part in np.array_split(np.arange(len(K)), min(n_portions, len(K)))
    ]
    start = Phi.T @ feasible.project(a)
    rows = InPortions(portions, [None])
    found = solve_dual(rows, target, limits, start, tol=TOL, max_iter=50)
    # The primal point that belongs to the dual one.
    upper = np.minimum(limits.bound, limits.high / a)
    field = Phi @ (target - found.dual)
    v = a * np.clip((field - found.nu) / limits.rho, 0, upper)
    feasible.upper = a * upper
    assert_optimal(replace(found, v=v), Phi @ Phi.T, Phi @ target, ridge, feasible)
    assert found.n_iter < 20


def test_single_precision_features_reach_the_same_optimum():
    _, K, _, _, feasible, ridge, a = problem_of("plain")
    Phi = features_of(K)
    target = Phi.T @ np.ones(len(K))
    single = FeatureRows(a, Phi.astype(np.float32).__getitem__, 20)
    limits = limits_of("plain", K, feasible, a)
    found = solve_dual(
        InMemory(single, None), target, limits, Phi.T @ a, tol=TOL, max_iter=50
    )
    assert found.converged
    assert found.objective == pytest.approx(
        solve_cvxpy(Phi @ Phi.T, Phi @ target, ridge, feasible, tol=TOL).objective,
        rel=1e-5,
    )


def test_features_are_formed_once_a_step():
    _, K, _, _, feasible, _, a = problem_of("plain")
    Phi, formed = features_of(K), []

    def features(rows):
        formed.append(rows)
        return Phi[rows]

    limits = limits_of("plain", K, feasible, a)
    target = Phi.T @ np.ones(len(K))
    rows = InMemory(FeatureRows(a, features, 20), None)
    far = solve_dual(rows, target, limits, Phi.T @ a, tol=TOL, max_iter=50)
    # Near the optimum, where no step is too long and the band does not bind.
    formed.clear()
    near = solve_dual(rows, target, limits, 1.001 * far.dual, tol=TOL, max_iter=50)
    assert_allclose(near.dual, far.dual, rtol=1e-5)
    assert 1 < len(formed) == near.n_iter + 1


@pytest.mark.parametrize("seed", range(5))
def test_linear_gap_solves_the_linear_programme(seed):
    rng = np.random.default_rng(seed)
    upper = rng.uniform(0.2, 2, size=12)
    feasible = Feasible(upper, 0.3 * upper.sum(), 0.6 * upper.sum())
    gradient = rng.normal(size=12) + rng.normal()
    v = feasible.project(rng.uniform(size=12))
    ones = np.ones((1, 12))
    result = linprog(
        gradient,
        A_ub=np.concatenate([ones, -ones]),
        b_ub=[feasible.high, -feasible.low],
        bounds=list(zip(np.zeros(12), upper, strict=True)),
    )
    assert linear_gap(gradient, v, feasible) == pytest.approx(gradient @ v - result.fun)


@pytest.mark.parametrize("seed", range(8))
def test_minimizer_is_the_minimum_over_box_and_band(seed):
    rng = np.random.default_rng(seed)
    upper = rng.uniform(0.2, 2, size=9)
    low = rng.uniform(0, 0.8) * upper.sum()
    feasible = Feasible(upper, low, low + 0.1 * upper.sum())
    field, curvature = 5 * rng.normal(size=9), rng.uniform(0.1, 10, size=9)
    v, nu = feasible.minimizer(field, curvature)
    assert_feasible(v, feasible)
    assert_allclose(v, np.clip((field - nu) / curvature, 0, upper), atol=1e-12)
    # Complementarity: the band's multiplier has the sign of the bound it meets.
    if v.sum() < feasible.high * (1 - 1e-9):
        assert nu <= 0
    if v.sum() > feasible.low * (1 + 1e-9):
        assert nu >= 0


def test_a_stopped_solver_still_bounds_its_error():
    _, K, kappa, _, feasible, ridge, a = problem_of("high-dimension")
    best = solve_cvxpy(K, kappa, ridge, feasible, tol=TOL).objective
    errors = []
    for max_iter in range(4):
        solution = solve_newton(
            DenseKernel(K, kappa), ridge, feasible, a, tol=1e-14, max_iter=max_iter
        )
        assert_feasible(solution.v, feasible)
        assert solution.gap >= solution.objective - best - 1e-9 * abs(best)
        errors.append(solution.objective - best)
    assert errors[0] > 1e-4 * abs(best)
    assert errors[3] < errors[0]


def test_newton_line_search_survives_a_bad_start():
    _, K, kappa, _, feasible, ridge, _ = problem_of("plain")
    # Full Newton steps from a vertex overshoot, all the more with a small ridge.
    ridge = ridge / 30
    start = feasible.project(np.where(np.arange(60) == 7, 60.0, 0.0))
    solution = solve_newton(
        DenseKernel(K, kappa), ridge, feasible, start, tol=TOL, max_iter=60
    )
    assert_optimal(solution, K, kappa, ridge, feasible)


@pytest.mark.parametrize("name", PROBLEMS)
def test_interior_point_takes_over_where_the_ridge_is_tiny(name):
    _, K, kappa, _, feasible, ridge, _ = problem_of(name)
    ridge = 1e-5 * ridge
    solution = solve_interior(K, kappa, ridge, feasible, tol=TOL)
    assert_optimal(solution, K, kappa, ridge, feasible)


def test_scalar_problem_against_a_scalar_minimiser():
    K, kappa, ridge = np.array([[1.0]]), np.array([3.0]), np.array([0.5])
    feasible = Feasible(np.array([4.0]), 0.2, 10.0)
    solution = solve_newton(
        DenseKernel(K, kappa), ridge, feasible, np.array([1.0]), tol=1e-12, max_iter=9
    )
    result = minimize_scalar(
        lambda v: v * v / 2 - 3 * v + 0.25 * v * v, bounds=(0.2, 4), method="bounded"
    )
    assert solution.v[0] == pytest.approx(result.x, abs=1e-5)


def test_the_active_set_is_nonnegative_least_squares():
    """Where it settles; elsewhere, or where box or band bind, it says so."""
    for name, settles in (
        ("unequal", True),
        ("high-dimension", True),
        ("bound", False),
    ):
        _, K, kappa, _, feasible, _, _ = problem_of(name)
        v = _active_set(K, kappa, feasible)
        assert (v is not None) == settles
        if settles:
            root = np.linalg.cholesky(K).T
            expected, _ = nnls(root, np.linalg.solve(root.T, kappa))
            assert_allclose(v, expected, atol=1e-7 * feasible.high)
            assert (v == 0).any()
            for bound in (np.full(len(v), 0.9 * v.max()), feasible.upper):
                low = feasible.low if bound is not feasible.upper else 1.1 * v.sum()
                tight = Feasible(bound, low, feasible.high)
                assert _active_set(K, kappa, tight) is None
    assert _active_set(np.ones((3, 3)), np.ones(3), feasible) is None


def test_linear_gap_and_minimum_of_a_problem_by_hand():
    """The identity as kernel and as D: v is half of kappa."""
    K, kappa, ridge = np.eye(2), np.array([3.0, 1.0]), np.ones(2)
    feasible = Feasible(np.full(2, 10.0), 0.0, 10.0)
    solution = solve_newton(
        DenseKernel(K, kappa), ridge, feasible, np.ones(2), tol=1e-9, max_iter=9
    )
    assert_allclose(solution.v, [1.5, 0.5])
    assert solution.objective == pytest.approx(-(9 + 1) / 4)
    assert solution.n_iter == 2  # the second row is at 0 after the first step
    assert linear_gap(np.array([1.0, -2.0]), np.ones(2), feasible) == 1 - 2 + 2 * 10
