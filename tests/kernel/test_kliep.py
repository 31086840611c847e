"""KLIEPRatio against cvxpy, against refitting by brute force, and against the truth."""

import warnings
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose
from portions import InPortions, cut
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold, StratifiedKFold

from skdre import KLIEPRatio, pool
from skdre._core.reduce import InMemory
from skdre.datasets import make_warped_shift
from skdre.kernel._centers import CenterKernel, kernel_of
from skdre.kernel._kliep import fit_all_rows
from skdre.kernel._mixture import (
    MixturePasses,
    MixtureRows,
    nonnegative_quadratic,
    solve_mixture,
)

# The least ratio, as documented.
FLOOR = 0.0001


@pytest.fixture(scope="module")
def shift():
    return make_warped_shift((150, 200), 2, random_state=0)


def brute_kernel(X, Y, gamma):
    return np.exp(-gamma * ((X[:, None] - Y[None]) ** 2).sum(axis=2))


def optimum(L, weight):
    """Largest mean log likelihood over the simplex, by an interior point."""
    cp = pytest.importorskip("cvxpy")
    pi = cp.Variable(L.shape[1], nonneg=True)
    value = weight @ cp.log(L @ pi)
    problem = cp.Problem(cp.Maximize(value), [cp.sum(pi) == 1])
    return problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_nonnegative_quadratic_is_optimal(seed):
    rng = np.random.default_rng(seed)
    R = rng.normal(size=(30, 12))
    H, c = R.T @ R, rng.normal(size=12)
    y = nonnegative_quadratic(H, c, np.zeros(12))
    for start in (np.ones(12), rng.exponential(size=12) * (y == 0)):
        assert_allclose(nonnegative_quadratic(H, c, start), y, atol=1e-10)
    slope = H @ y - c
    assert (y >= 0).all()
    assert 0 < (y > 0).sum() < 12
    assert slope.min() > -1e-8
    assert_allclose(slope[y > 0], 0, atol=1e-8)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("in_memory", [True, False])
def test_mixture_is_optimal(seed, in_memory):
    """Random likelihoods, of any scale in each row, and random weights."""
    rng = np.random.default_rng(seed)
    L = rng.exponential(size=(60, 20)) ** 3 * rng.exponential(size=(60, 1)) * 1e-8
    weight = rng.dirichlet(np.ones(60))
    uniform = np.full(20, 1 / 20)
    best = optimum(L * 1e8, weight) - np.log(1e8)

    def rows():
        if in_memory:
            return MixtureRows(L, weight, uniform)
        portions = [(L[:20], 3 * weight[:20]), (L[20:], 3 * weight[20:])]
        return MixturePasses(InPortions([None], portions), lambda x: [x], uniform)

    peak = 0.0 if in_memory else rows().log_peak
    exact = solve_mixture(rows(), uniform, tol=1e-10, max_iter=100)
    assert exact.converged
    assert exact.gap <= 1e-10
    assert exact.objective + peak == pytest.approx(best, abs=1e-6)
    assert exact.proportions.min() == 0
    assert exact.proportions.sum() == pytest.approx(1)
    # The gap is a bound wherever the method stops.
    previous = -np.inf
    for max_iter in range(5):
        early = solve_mixture(rows(), uniform, tol=1e-10, max_iter=max_iter)
        assert early.n_iter == max_iter
        assert not early.converged
        assert early.objective >= previous
        assert exact.objective - early.objective <= early.gap + 1e-12
        previous = early.objective


@pytest.mark.parametrize(
    "params",
    [
        {"gamma": "median"},
        {"gamma": "median", "intercept": False},
        {"gamma": 0.7},
        {"gamma": 0.05, "n_components": 30},
        {"gamma": "scale", "standardize": False},
        {},
    ],
    ids=str,
)
def test_optimum_of_the_published_problem(shift, params):
    """max mean_p log r subject to mean_q r = 1 and alpha >= 0, in these variables."""
    cp = pytest.importorskip("cvxpy")
    model = KLIEPRatio(random_state=0, **params).fit(*shift.pool())
    Z_p, Z_q = (
        (X - model.center_) / model.scale_ for X in (shift.numerator, shift.denominator)
    )
    A, B = (brute_kernel(Z, model.centers_, model.gamma_) for Z in (Z_p, Z_q))
    if model.get_params()["intercept"]:
        A, B = (np.column_stack([K, np.ones(len(K))]) for K in (A, B))
    assert B.mean(axis=0).min() > 0.5 / 200  # so that no kernel's mean is raised
    alpha = cp.Variable(A.shape[1], nonneg=True)
    problem = cp.Problem(
        cp.Maximize(cp.sum(cp.log(A @ alpha)) / len(A)), [B.mean(axis=0) @ alpha == 1]
    )
    best = problem.solve(solver=cp.CLARABEL)
    assert model.objective_ == pytest.approx(best, abs=1e-6)
    assert 0 <= model.dual_gap_ <= 1e-6
    assert model.n_iter_ <= 15
    # The formula of the docstring, row by row, at any x.
    X_new = np.concatenate([shift.numerator, shift.denominator * 3])
    Z = (X_new - model.center_) / model.scale_
    ratio = [
        model.intercept_
        + sum(
            coef * np.exp(-model.gamma_ * ((z - center) ** 2).sum())
            for coef, center in zip(model.dual_coef_, model.centers_, strict=True)
        )
        for z in Z
    ]
    assert_allclose(model.predict_ratio(X_new), np.maximum(ratio, FLOOR))
    assert np.mean(np.log(ratio[:150])) == pytest.approx(model.objective_, abs=1e-9)
    coef = np.append(model.dual_coef_, model.intercept_)
    assert (coef >= 0).all()
    assert coef[: B.shape[1]] @ B.mean(axis=0) == pytest.approx(1)
    if not params.get("intercept", True):
        assert model.intercept_ == 0


def test_centers_are_rows_of_the_numerator(shift):
    model = KLIEPRatio(n_components=40, random_state=0).fit(*shift.pool())
    rows = (shift.numerator - model.center_) / model.scale_
    assert len(np.unique(model.centers_, axis=0)) == len(model.centers_) == 40
    assert all((rows == center).all(axis=1).any() for center in model.centers_)


def em(L, n_iter=10_000):
    """Proportions of a mixture by expectation and maximisation: slow and plain."""
    pi = np.full(L.shape[1], 1 / L.shape[1])
    for _ in range(n_iter):
        pi = pi * (L / (L @ pi)[:, None]).mean(axis=0)
    return pi


@pytest.mark.parametrize("sizes", [(30, 45), (45, 30)])
def test_cross_validation_is_refitting_from_scratch(sizes):
    X, y = make_warped_shift(sizes, 2, random_state=3).pool()
    splits = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    gammas = [0.02, 0.4]
    model = KLIEPRatio(
        gammas, cv=splits, n_components=1000, tol=1e-11, random_state=0
    ).fit(X, y)
    Z = (X - model.center_) / model.scale_
    for gamma, score in zip(gammas, model.cv_scores_, strict=True):
        losses = {0: [], 1: []}
        for train, test in splits:
            Z_p, Z_q = (Z[train][y[train] == label] for label in (1, 0))
            # The centres are the rows of the numerator that are fitted, and no others.
            mean_q = np.append(brute_kernel(Z_q, Z_p, gamma).mean(axis=0), 1.0)
            mean_q = np.maximum(mean_q, 0.5 / len(Z_q))
            A = np.column_stack([brute_kernel(Z_p, Z_p, gamma), np.ones(len(Z_p))])
            alpha = em(A / mean_q) / mean_q
            K = brute_kernel(Z[test], Z_p, gamma)
            ratio = np.maximum(K @ alpha[:-1] + alpha[-1], FLOOR)
            probability = ratio / (1 + ratio)
            for label, share in zip(y[test], probability, strict=True):
                losses[label].append(-np.log(share if label else 1 - share))
        expected = -(np.mean(losses[0]) + np.mean(losses[1])) / 2
        assert score == pytest.approx(expected, abs=1e-4)
    assert model.gamma_ == gammas[np.argmax(model.cv_scores_)]


def test_the_best_bandwidth_is_used(shift):
    X, y = shift.pool()
    model = KLIEPRatio(random_state=0).fit(X, y)
    assert len(model.gammas_) == len(model.cv_scores_) == 13
    assert (np.diff(model.gammas_) > 0).all()
    assert model.gamma_ == model.gammas_[np.argmax(model.cv_scores_)]
    # Better than to know nothing, and about what new rows say.
    new = make_warped_shift(2000, 2, random_state=1)
    assert model.cv_scores_.max() > -np.log(2)
    assert model.cv_scores_.max() == pytest.approx(model.score(*new.pool()), abs=0.05)
    alone = KLIEPRatio(model.gamma_, random_state=0).fit(X, y)
    assert np.isnan(alone.cv_scores_).all()
    assert_allclose(alone.predict_ratio(X), model.predict_ratio(X), rtol=1e-6)


def test_cross_validation_holds_out_both_samples():
    """On heavy tails the numerator's held-out likelihood alone goes far astray."""
    shift = make_warped_shift(300, 2, warp="cubic", random_state=0)
    model = KLIEPRatio(random_state=0).fit(*shift.pool())
    new = make_warped_shift(2000, 2, warp="cubic", random_state=1)
    truth = np.exp(new.log_ratio(new.denominator))
    ratio = model.predict_ratio(new.denominator)
    assert np.linalg.norm(ratio - truth) < 0.8 * np.linalg.norm(truth)


def test_vanishing_kernels(shift):
    X, y = shift.pool()
    model = KLIEPRatio([0.3, 1e12], random_state=0).fit(X, y)
    assert model.cv_scores_[1] == -np.inf
    assert np.isfinite(model.cv_scores_[0])
    assert model.gamma_ == 0.3
    one = KLIEPRatio([0.3], random_state=0).fit(X, y)
    assert one.cv_scores_[0] == model.cv_scores_[0]
    # Without an intercept a single row that sees no centre has likelihood 0.
    far = np.concatenate([X, [[1e3, 0.0]]]), np.append(y, 1)
    model = KLIEPRatio(
        [0.3, 1e4], intercept=False, n_components=10, random_state=0
    ).fit(*far)
    assert model.cv_scores_[1] == -np.inf
    for intercept in (True, False):
        with pytest.warns(ConvergenceWarning, match=r"gamma=1e\+12 every kernel"):
            model = KLIEPRatio(
                [1e12], intercept=intercept, n_components=10, random_state=0
            ).fit(X, y)
        assert model.cv_scores_.tolist() == [-np.inf]
        assert np.isfinite(model.decision_function(X)).all()


@pytest.mark.parametrize(
    "params", [{"cv": 2}, {"gamma": 0.3, "n_components": 20}], ids=str
)
def test_sample_weight_is_repetition(shift, params):
    X, y = shift.pool()
    counts = np.random.default_rng(0).integers(0, 2, len(X)) + 2 * (X[:, 0] > 0.5)
    weighted = KLIEPRatio(random_state=0, **params).fit(X, y, counts)
    order = np.random.default_rng(1).permutation(counts.sum())
    X_rep, y_rep = np.repeat(X, counts, axis=0)[order], np.repeat(y, counts)[order]
    repeated = KLIEPRatio(random_state=0, **params).fit(X_rep, y_rep)
    assert_allclose(weighted.cv_scores_, repeated.cv_scores_, atol=1e-6)
    assert_allclose(weighted.predict_ratio(X), repeated.predict_ratio(X), rtol=1e-5)
    unweighted = KLIEPRatio(random_state=0, **params).fit(X, y)
    difference = unweighted.predict_ratio(X) - weighted.predict_ratio(X)
    assert np.linalg.norm(difference) > 0.05 * np.linalg.norm(weighted.predict_ratio(X))
    # Weights that do not count rows at all, and weights that are far below 1.
    scaled = KLIEPRatio(random_state=0, **params).fit(X, y, np.full(len(y), 1e-3))
    assert_allclose(scaled.predict_ratio(X), unweighted.predict_ratio(X), rtol=1e-5)


def test_splitters_of_the_pool(shift):
    X, y = shift.pool()
    splits = list(StratifiedKFold(4, shuffle=True, random_state=0).split(X, y))
    scores = [
        KLIEPRatio(cv=cv, random_state=0).fit(X, y).cv_scores_
        for cv in (splits, StratifiedKFold(4, shuffle=True, random_state=0))
    ]
    assert_allclose(*scores)
    # Of rows of weight 0 nothing is left, also where the splitter counts them.
    more, weight = np.concatenate([X, X[:9] + 5]), np.repeat([1.0, 0.0], [350, 9])
    splits_of_more = [(np.append(train, [350]), test) for train, test in splits]
    model = KLIEPRatio(cv=splits_of_more, random_state=0)
    scores.append(model.fit(more, np.append(y, y[:9]), weight).cv_scores_)
    assert_allclose(*scores[1:], atol=1e-6)
    dealt = KLIEPRatio(cv=4, random_state=0).fit(X, y).cv_scores_
    assert_allclose(dealt[5:9], scores[0][5:9], atol=0.05)
    assert not np.allclose(dealt, scores[0], atol=1e-6)
    by_class = list(GroupKFold(2).split(X, y, groups=y))
    with pytest.raises(ValueError, match="split of cv must have rows of both classes"):
        KLIEPRatio(cv=by_class).fit(X, y)


def test_the_truth_is_approached():
    errors = {}
    for n in (100, 1000):
        of_seeds = []
        for seed in range(3):
            new = make_warped_shift(2000, 2, random_state=100 + seed)
            X, _ = new.pool()
            truth = new.log_ratio(X)
            pooled = make_warped_shift((n, n // 2), 2, random_state=seed).pool()
            model = KLIEPRatio(random_state=0).fit(*pooled)
            log_ratio = model.decision_function(X)
            assert spearmanr(log_ratio, truth).statistic > 0.9
            assert abs(np.median(log_ratio - truth)) < 0.3
            of_seeds.append(np.mean((log_ratio - truth) ** 2))
        errors[n] = np.mean(of_seeds)
    assert errors[1000] < 0.15 < errors[100]


def test_the_intercept_is_the_ratio_far_away(shift):
    """Of one and the same sample the ratio is 1, and stays so where there is none."""
    X, y = pool(numerator=shift.denominator, denominator=shift.denominator)
    X_far = [[-60.0, -60.0]]
    model = KLIEPRatio(1.0, random_state=0).fit(X, y)
    assert model.objective_ == pytest.approx(0, abs=1e-6)
    assert model.predict_ratio(X_far)[0] == pytest.approx(model.intercept_)
    assert model.intercept_ > 0.9
    model = KLIEPRatio(1.0, intercept=False, random_state=0).fit(X, y)
    assert model.predict_ratio(X_far)[0] == pytest.approx(FLOOR)


def test_too_few_steps(shift):
    with pytest.warns(ConvergenceWarning, match=r"duality gap .* Increase max_iter"):
        KLIEPRatio(1.0, max_iter=1).fit(*shift.pool())


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"gamma": []}, "gamma must hold positive finite numbers"),
        ({"gamma": [0.1, -1.0]}, "gamma must hold positive finite numbers"),
        ({"gamma": [np.nan]}, "gamma must hold positive finite numbers"),
        ({"gamma": [[1.0]]}, "gamma must hold positive finite numbers"),
        ({"gamma": ["a"]}, "gamma must be a positive number"),
        ({"gamma": "mean"}, "'gamma' parameter of KLIEPRatio"),
        ({"gamma": 0}, "'gamma' parameter of KLIEPRatio"),
        ({"cv": 1}, "'cv' parameter of KLIEPRatio"),
        ({"n_components": 0}, "'n_components' parameter of KLIEPRatio"),
        ({"tol": 0}, "'tol' parameter of KLIEPRatio"),
    ],
)
def test_bad_parameters(shift, params, match):
    with pytest.raises(ValueError, match=match):
        KLIEPRatio(**params).fit(*shift.pool())


def test_a_warm_start_far_from_a_row_is_given_up():
    # The folds of this search hand over proportions under which the density at some row
    # is below 1e-160, whose inverse square overflows.
    shift = make_warped_shift(400, 2, warp="funnel", random_state=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = KLIEPRatio(random_state=0).fit(*shift.pool())
    assert np.isfinite(model.cv_scores_).all()


def test_the_quadratic_ends_where_an_entry_neither_grows_nor_falls():
    # The second entry is freed, and its minimum underflows to where it is: 0 / 0.
    H, c = np.diag([1.0, 1e280]), np.array([1e-31, 2e-44])
    y = nonnegative_quadratic(H, c, np.array([1.0, 0.0]))
    assert_allclose(y, [1e-31, 0], rtol=1e-12)


def test_a_center_far_from_the_denominator_is_no_reason_to_warn(shift):
    """Kernels have to vanish everywhere for that; this one's mean is raised."""
    X, y = shift.pool()
    X, y = np.concatenate([X, [[1e3, 0.0]]]), np.append(y, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = KLIEPRatio(
            0.3, n_components=200, standardize=False, random_state=0
        ).fit(X, y)
    # Its kernel, whose mean is taken as half of one row's, carries the row alone.
    far = np.argmax(model.centers_[:, 0])
    assert model.dual_coef_[far] == pytest.approx(2 * 200 / 151, rel=1e-3)


@pytest.mark.parametrize("gamma", [0.3, 30.0])
def test_passes_over_portions_are_the_fit_in_memory(gamma):
    rng = np.random.default_rng(0)
    (q, w_q), (p, w_p) = (
        (rng.normal(i, 1, (n, 2)), rng.uniform(1, 2, n)) for i, n in enumerate((80, 60))
    )
    p[0] = 40.0  # where no kernel reaches
    centers = p[1:20]
    kernels = InMemory(CenterKernel(q, w_q, centers), CenterKernel(p, w_p, centers))
    portions = InPortions(cut(q, w_q, 30), cut(p, w_p, 1, 25)).prepared(
        partial(kernel_of, centers=centers, constant=0.0)
    )
    with pytest.warns(ConvergenceWarning, match="vanishes at 1 rows"):
        expected, mixture = fit_all_rows(kernels, 19, gamma, tol=1e-9, max_iter=100)
    with pytest.warns(ConvergenceWarning, match="vanishes at 1 rows"):
        found, passes = fit_all_rows(portions, 19, gamma, tol=1e-9, max_iter=100)
    assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    assert passes.objective == pytest.approx(mixture.objective, abs=1e-9)
    assert passes.converged
