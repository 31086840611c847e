"""KMMRatio: its formula, its weights, its settings."""

import builtins
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning

from skdre import KMMRatio, pool
from skdre.datasets import make_warped_shift
from skdre.kernel._gaussian import gaussian_kernel
from skdre.kernel._matching import auto_eps, auto_ridge

# The least ratio, as documented.
FLOOR = 0.01


@pytest.fixture(scope="module")
def shift():
    return make_warped_shift((150, 200), 2, random_state=0)


def fit(shift, **params):
    return KMMRatio(**{"random_state": 0} | params).fit(*shift.pool())


def standardized(model, X):
    return (X - model.center_) / model.scale_


SOLVERS = [
    {},
    {"solver": "nystroem"},
    {"solver": "nystroem", "n_components": 15},
    {"solver": "cvxpy"},
    {"ridge": 0},
    {"ridge": 0, "solver": "cvxpy"},
    {"B": 1.5},
    {"eps": 0.0},
    {"eps": 0.001, "B": 2, "solver": "nystroem"},
    {"ridge": 1e-6},
]


@pytest.mark.parametrize("params", SOLVERS, ids=str)
def test_weights_are_feasible_and_certified(shift, params):
    model = fit(shift, **params)
    w = model.weights_
    assert w.shape == (200,)
    assert w.min() >= 0
    assert w.max() <= model.B * (1 + 1e-9)
    assert abs(w.mean() - 1) <= model.eps_ + 1e-5
    assert 0 <= model.dual_gap_ <= model.tol * abs(model.objective_)
    Z_q = standardized(model, shift.denominator)
    Z_p = standardized(model, shift.numerator)
    K = gaussian_kernel(Z_q, Z_q, model.gamma_)
    kappa = gaussian_kernel(Z_q, Z_p, model.gamma_).sum(axis=1) * 200 / 150
    rho = 200 * model.ridge_
    objective = w @ K @ w / 2 - kappa @ w + rho * (w @ w) / 2
    # Features of low rank solve the problem of their own kernel.
    rel = 1e-6 + 2 * model.kernel_residual_
    assert model.objective_ == pytest.approx(objective, rel=rel)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"B": 1.5},
        {"eps": 0.0},
        {"solver": "cvxpy"},
        {"solver": "cvxpy", "eps": 0.0},
        {"standardize": False},
        {"gamma": 5.0, "ridge": 0.3},
    ],
    ids=str,
)
def test_ratio_follows_the_optimality_conditions_at_any_x(shift, params):
    model = fit(shift, **params)
    X = np.concatenate(
        [shift.denominator, np.random.default_rng(1).normal(size=(50, 2)) * 3]
    )
    Z = standardized(model, X)
    Z_q = standardized(model, shift.denominator)
    Z_p = standardized(model, shift.numerator)
    expected = []
    for z in Z:  # the formula of the docstring, term by term
        k_p, k_q = (
            np.exp(-model.gamma_ * np.sum((z - rows) ** 2, axis=1))
            for rows in (Z_p, Z_q)
        )
        mu_p, mu_w = np.mean(k_p), np.mean(model.weights_ * k_q)
        raw = (mu_p - mu_w - model.multiplier_) / model.ridge_
        expected.append(np.clip(raw, 0, model.B))
    atol = 2e-4 if params.get("solver") == "cvxpy" else 1e-8
    expected = np.maximum(expected, FLOOR)
    assert_allclose(model.predict_ratio(X), expected, atol=atol)
    # At the denominator's own rows that is the fitted weight.
    assert_allclose(
        model.predict_ratio(shift.denominator),
        np.maximum(model.weights_, FLOOR),
        atol=atol,
    )


def test_a_binding_band_has_a_multiplier(shift):
    free = fit(shift)
    assert free.multiplier_ == 0
    assert abs(free.weights_.mean() - 1) > 0.002
    held = fit(shift, eps=0.0)
    assert held.multiplier_ != 0
    assert held.weights_.mean() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("params", [{}, {"solver": "nystroem"}, {"ridge": 0}], ids=str)
def test_without_a_band_identical_samples_have_weights_of_1(params):
    rows = np.random.default_rng(0).normal(size=(30, 2))
    X, y = pool(numerator=rows, denominator=rows)
    default = KMMRatio(random_state=0).fit(X, y).weights_
    # What the user guide says of the default.
    assert default.min() < 0.7
    assert default.mean() == pytest.approx(0.91, abs=0.005)
    model = KMMRatio(eps=0, random_state=0, **params).fit(X, y)
    assert_allclose(model.weights_, 1, atol=1e-9)
    if params != {"ridge": 0}:  # whose ratio is a regression on the weights
        assert_allclose(model.decision_function(X), 0, atol=1e-9)


def test_the_mean_of_the_weights_falls_with_the_shift_unless_it_is_held():
    for shift, least, most in [(0, 0.97, 1), (1, 0.94, 0.98), (4, 0.6, 0.87)]:
        rng = np.random.default_rng(0)
        p, q = rng.normal(size=(500, 3)), rng.normal(size=(500, 3))
        X, y = pool(numerator=p + np.array([shift, 0, 0]), denominator=q)
        default, held = KMMRatio().fit(X, y), KMMRatio(eps=0).fit(X, y)
        assert least < default.weights_.mean() < most
        assert held.weights_.mean() == pytest.approx(1, abs=1e-9)
        # The price: a constant, which alone is left far from both samples.
        far = np.full((1, 3), 30.0)
        assert default.predict_ratio(far)[0] == pytest.approx(FLOOR)
        assert held.predict_ratio(far) > 0.7 + shift


def test_settings_of_the_paper():
    assert auto_eps(100) == pytest.approx((np.sqrt(100) - 1) / np.sqrt(100))
    assert auto_eps(1) == 0
    assert auto_ridge(1000, 200) == pytest.approx(200**-0.9)
    assert auto_ridge(0.5, 7) == 1


def test_automatic_settings_are_those_of_the_samples(shift):
    model = fit(shift)
    assert model.ridge_ == pytest.approx(150**-0.9)
    assert model.eps_ == pytest.approx((np.sqrt(200) - 1) / np.sqrt(200))
    assert model.B_ == 1000
    assert fit(shift, ridge=1e-300).ridge_ == 1e-15
    assert fit(shift, ridge=0.0).ridge_ == 0
    # Weights of no unit: Kish's effective number of rows.
    X, y = shift.pool()
    weight = np.random.default_rng(0).exponential(size=len(y))
    n_p, n_q = (weight[y == k].sum() ** 2 / (weight[y == k] ** 2).sum() for k in (1, 0))
    weighted = KMMRatio().fit(X, y, weight)
    assert weighted.ridge_ == pytest.approx(min(n_p, n_q) ** -0.9)
    assert weighted.eps_ == pytest.approx(1 - n_q**-0.5)


def test_nystroem_approaches_newton(shift):
    exact = fit(shift)
    X = shift.numerator
    errors = [
        np.abs(
            fit(shift, solver="nystroem", n_components=m).predict_ratio(X)
            - exact.predict_ratio(X)
        ).max()
        for m in (5, 20, 200)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5


def test_auto_solver(monkeypatch, shift):
    assert fit(shift).solver_ == "newton"
    assert fit(shift, ridge=0).solver_ == "active-set"
    monkeypatch.setattr("skdre.kernel._kmm._DENSE_ROWS", 180)
    assert fit(shift).solver_ == "nystroem"


@pytest.mark.parametrize(("n", "solver"), [(2000, "newton"), (2001, "nystroem")])
def test_the_kernel_matrix_is_held_up_to_2000_rows(n, solver):
    X, y = pool(
        numerator=np.linspace(0, 1, 9)[:, None], denominator=np.arange(n)[:, None]
    )
    model = KMMRatio(n_components=5, max_iter=1, gamma=1e3, tol=1.0, random_state=0)
    assert model.fit(X, y).solver_ == solver


@pytest.mark.parametrize("n_components", [500, 20])
def test_without_a_ridge_the_ratio_is_a_regression_on_the_weights(shift, n_components):
    """With the automatic ridge, on the rows of largest weight, scaled to their mean."""
    model = fit(shift, ridge=0, n_components=n_components)
    Z, w = standardized(model, shift.denominator), model.weights_
    largest = np.sort(w)[::-1][: min(n_components, np.count_nonzero(w))]
    at_centers = [w[(center == Z).all(axis=1)][0] for center in model.centers_]
    assert_allclose(np.sort(at_centers)[::-1], largest)
    K = gaussian_kernel(Z, model.centers_, model.gamma_)
    K_cc = gaussian_kernel(model.centers_, model.centers_, model.gamma_)
    H = K.T @ K + 200 * (150**-0.9 * K_cc + 1e-10 * np.eye(len(K_cc)))
    fitted = K @ np.linalg.solve(H, K.T @ w)
    expected = fitted * w.mean() / fitted.mean()
    assert_allclose(K @ model.dual_coef_, expected, rtol=1e-6, atol=1e-6)
    assert model.intercept_ == 0


@pytest.mark.parametrize("limit", ["_FEATURE_BYTES", "_DOUBLE_ENTRIES"])
def test_large_problems_give_the_same_ratio(monkeypatch, shift, limit):
    # Features formed anew in each pass, and features in single precision.
    expected = fit(shift, solver="nystroem").decision_function(shift.numerator)
    monkeypatch.setattr(f"skdre.kernel._matching.{limit}", 0)
    model = fit(shift, solver="nystroem")
    assert_allclose(model.decision_function(shift.numerator), expected, atol=1e-4)


def test_a_pilot_fit_leads_to_the_same_ratio(monkeypatch, shift):
    # Both closer to the optimum than by default.
    expected = fit(shift, solver="nystroem", tol=1e-8)
    monkeypatch.setattr("skdre.kernel._matching._PILOT_ROWS", 60)
    model = fit(shift, solver="nystroem", tol=1e-8)
    assert_allclose(
        model.decision_function(shift.numerator),
        expected.decision_function(shift.numerator),
        atol=1e-6,
    )
    assert model.n_iter_ <= expected.n_iter_


def test_without_a_ridge_weights_are_sparse_and_the_ratio_is_smooth():
    # What the user guide says of the ridge, at the size it says it for.
    shift = make_warped_shift(1000, 10, random_state=0)
    truth = np.exp(shift.log_ratio(shift.denominator))

    def error(w):
        return np.linalg.norm(w - truth) / np.linalg.norm(truth)

    published, default = fit(shift, ridge=0), fit(shift)
    assert np.mean(published.weights_ == 0) > 0.5
    assert error(published.weights_) > 1.1
    assert error(np.ones(1000)) == pytest.approx(0.8, abs=0.1)
    assert error(default.weights_) < 0.5
    assert error(published.predict_ratio(shift.denominator)) < 0.5


def test_error_falls_with_the_sample_size():
    errors = {}
    for n in (100, 1000, 8000):  # the last through features
        of_seeds = []
        for seed in range(2):
            test = make_warped_shift(4000, 3, random_state=100 + seed)
            truth = np.exp(test.log_ratio(test.denominator))
            model = fit(make_warped_shift(n, 3, random_state=seed))
            ratio = model.predict_ratio(test.denominator)
            of_seeds.append(np.linalg.norm(ratio - truth) / np.linalg.norm(truth))
            assert spearmanr(ratio, truth)[0] > 0.8
        errors[n] = np.mean(of_seeds)
    assert errors[100] > errors[1000] + 0.05 > errors[8000] + 0.1
    assert errors[1000] < 0.45
    assert errors[8000] < 0.3


@pytest.mark.parametrize("params", [{}, {"ridge": 0}, {"solver": "nystroem"}], ids=str)
def test_sample_weight_is_repetition(shift, params):
    X, y = shift.pool()
    counts = np.where(X[:, 0] > 0, 3, np.arange(len(X)) % 2)
    weighted = KMMRatio(random_state=0, **params).fit(X, y, counts)
    X_rep, y_rep = np.repeat(X, counts, axis=0), np.repeat(y, counts)
    repeated = KMMRatio(random_state=0, **params).fit(X_rep, y_rep)
    np.testing.assert_array_equal(
        weighted.decision_function(X), repeated.decision_function(X)
    )
    assert weighted.ridge_ == repeated.ridge_
    unweighted = KMMRatio(random_state=0, **params).fit(X, y)
    difference = unweighted.predict_ratio(X) - repeated.predict_ratio(X)
    assert np.linalg.norm(difference) > 0.1 * np.linalg.norm(repeated.predict_ratio(X))
    assert np.all(weighted.weights_[counts[y == 0] == 0] == 0)


def test_weights_stand_in_the_order_of_the_rows(shift):
    X, y = shift.pool()
    order = np.random.default_rng(0).permutation(len(X))
    model = KMMRatio(random_state=0).fit(X[order], np.array(["q", "p"])[y][order])
    assert model.classes_.tolist() == ["p", "q"]
    # The greater label names the numerator: here, "q" the rows of y = 0.
    reverse = KMMRatio(random_state=0).fit(X, 1 - y)
    assert_allclose(
        model.weights_,
        reverse.weights_[order[order < 150]],
        atol=1e-8,
    )


def test_float_gamma_is_in_standardised_units(shift):
    X, y = shift.pool()
    scaled = X * [1e-9, 1e9]
    expected = KMMRatio(gamma=0.7).fit(X, y).decision_function(X)
    assert_allclose(
        KMMRatio(gamma=0.7).fit(scaled, y).decision_function(scaled),
        expected,
        atol=1e-6,
    )
    raw = KMMRatio(gamma=0.7, standardize=False).fit(X, y)
    assert_allclose(raw.scale_, 1)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"B": 0.01}, "B=0.01 and eps="),
        ({"solver": "newton", "ridge": 0}, "solver='newton' needs ridge > 0"),
        ({"solver": "nystroem", "ridge": 0}, "solver='nystroem' needs ridge > 0"),
        ({"solver": "active-set"}, "solver='active-set' needs ridge 0"),
        ({"gamma": -1.0}, "'gamma' parameter"),
        ({"gamma": "mean"}, "'gamma' parameter"),
        ({"B": 0}, "'B' parameter"),
        ({"ridge": -1e-3}, "'ridge' parameter"),
        ({"n_components": 0}, "'n_components' parameter"),
    ],
    ids=str,
)
def test_errors_name_the_parameter(shift, params, match):
    with pytest.raises(ValueError, match=match):
        fit(shift, **params)


def test_missing_cvxpy_says_how_to_get_it(monkeypatch, shift):
    real_import = builtins.__import__

    def no_cvxpy(name, *args, **kwargs):
        if name == "cvxpy":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_cvxpy)
    with pytest.raises(ImportError, match=r"pip install skdre\[cvxpy\]"):
        fit(shift, solver="cvxpy")


def test_unconverged_fit_warns_and_says_what_to_change(shift):
    with pytest.warns(ConvergenceWarning, match="Increase max_iter or tol"):
        model = fit(shift, solver="nystroem", max_iter=1, tol=1e-12, gamma=3.0)
    assert model.dual_gap_ > 1e-12 * abs(model.objective_)
    assert np.isfinite(model.decision_function(shift.numerator)).all()


@pytest.mark.parametrize("params", [{}, {"ridge": 0}], ids=str)
def test_samples_of_the_same_rows(shift, params):
    X = np.repeat(shift.denominator, 2, axis=0)
    model = KMMRatio(random_state=0, **params).fit(*pool(numerator=X, denominator=X))
    # The ridge pulls the ratio down where rows are few, at the rim.
    deviation = np.abs(model.predict_ratio(X) - 1)
    assert deviation.mean() < 0.05
    assert deviation.max() < 0.4


def test_one_row_each():
    model = KMMRatio().fit([[0.0], [1.0]], [0, 1])
    assert_allclose(model.weights_, [1.0])
    for ridge in ("auto", 0):
        model = KMMRatio(ridge=ridge).fit([[0.0], [1.0]], [0, 1])
        assert_allclose(model.predict_ratio([[0.0]]), 1.0)


def test_default_fit_is_repeatable_and_pickles(shift):
    X, _ = shift.pool()
    first, second = fit(shift), pickle.loads(pickle.dumps(fit(shift)))
    assert np.array_equal(first.decision_function(X), second.decision_function(X))
