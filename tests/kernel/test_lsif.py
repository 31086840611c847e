"""LSIFRatio: the closed form, leave-one-out against refitting, and the truth."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose
from portions import InPortions, cut
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning

from skdre import LSIFRatio
from skdre._core.reduce import InMemory, Portion
from skdre.base import pool
from skdre.datasets import make_warped_shift
from skdre.kernel._centers import CenterKernel, kernel_of
from skdre.kernel._least_squares import (
    kernel_sums,
    leave_one_out,
    one_row_less,
    ratio_of_relative,
    relative_of_ratio,
)
from skdre.kernel._lsif import RIDGES

# The least ratio that counts in the search.
FLOOR = 0.001


@pytest.fixture(scope="module")
def shift():
    return make_warped_shift((150, 200), 2, random_state=0)


def features(X, centers, gamma, constant):
    K = np.exp(-gamma * ((X[:, None] - centers[None]) ** 2).sum(axis=2))
    return np.column_stack([K, np.full(len(X), constant)]) if constant else K


def refit(phi_p, phi_q, alpha, ridge):
    """Theta of the definition, from the rows themselves."""
    H = alpha * phi_p.T @ phi_p / len(phi_p)
    H = H + (1 - alpha) * phi_q.T @ phi_q / len(phi_q)
    return np.linalg.solve(H + ridge * np.eye(len(H)), phi_p.mean(axis=0))


def brute_leave_one_out(phi_p, phi_q, alpha, ridge, scoring):
    """Minus the mean loss of each row under the fit to all other rows."""

    def ratio_at(row, rest_p, rest_q):
        return max(row @ refit(rest_p, rest_q, alpha, ridge), 0.0)

    of_p = [
        ratio_at(row, np.delete(phi_p, j, axis=0), phi_q) for j, row in enumerate(phi_p)
    ]
    of_q = [
        ratio_at(row, phi_p, np.delete(phi_q, i, axis=0)) for i, row in enumerate(phi_q)
    ]
    of_p, of_q = np.array(of_p), np.array(of_q)
    if scoring == "lsif_loss":
        loss = np.mean(alpha / 2 * of_p**2 - of_p) + np.mean((1 - alpha) / 2 * of_q**2)
        return -loss
    log_p, log_q = (
        # p/q, or the largest that is predicted where the relative ratio has none.
        [
            np.log(
                max(
                    min((1 - alpha) * r / (1 - alpha * r), 1000)
                    if alpha * r < 1
                    else 1000,
                    FLOOR,
                )
            )
            if alpha
            else np.log(max(r, FLOOR))
            for r in each
        ]
        for each in (of_p, of_q)
    )
    return (
        -(
            np.mean(np.logaddexp(0, -np.array(log_p)))
            + np.mean(np.logaddexp(0, np.array(log_q)))
        )
        / 2
    )


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("sizes", [(14, 25), (25, 14), (9, 9)])
@pytest.mark.parametrize("scoring", ["log_loss", "lsif_loss"])
@pytest.mark.parametrize("intercept", [True, False])
def test_leave_one_out_is_refitting(alpha, sizes, scoring, intercept):
    X, y = make_warped_shift(sizes, 2, random_state=5).pool()
    gammas, ridges = [0.05, 0.7], [1e-3, 0.1, 2.0]
    model = LSIFRatio(
        gammas,
        alpha=alpha,
        ridge=ridges,
        n_components=12,
        scoring=scoring,
        intercept=intercept,
        random_state=0,
    ).fit(X, y)
    Z = (X - model.center_) / model.scale_
    expected = np.empty((2, 3))
    for i, gamma in enumerate(gammas):
        phi = features(Z, model.centers_, gamma, 30.0 if intercept else 0.0)
        for j, ridge in enumerate(ridges):
            expected[i, j] = brute_leave_one_out(
                phi[y == 1], phi[y == 0], alpha, ridge, scoring
            )
    assert_allclose(model.loo_scores_, expected, rtol=1e-8, atol=1e-8)
    best = np.unravel_index(np.argmax(expected), expected.shape)
    assert (model.gamma_, model.ridge_) == (gammas[best[0]], ridges[best[1]])


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_leave_one_out_of_weights_is_that_of_repeats(alpha):
    """A row of weight 3 is left out three times, once each of its repeats."""
    X, y = make_warped_shift((14, 20), 2, random_state=5).pool()
    # Rounded, so that a row that stands twice was drawn twice.
    X = np.round(X)
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    params = {"alpha": alpha, "gamma": [0.3], "ridge": [0.01, 0.5], "random_state": 0}
    weighted = LSIFRatio(**params).fit(X, y, counts)
    Z = np.repeat((X - weighted.center_) / weighted.scale_, counts, axis=0)
    y_rep = np.repeat(y, counts)
    phi = features(Z, weighted.centers_, 0.3, 30.0)
    expected = [
        brute_leave_one_out(phi[y_rep == 1], phi[y_rep == 0], alpha, ridge, "log_loss")
        for ridge in (0.01, 0.5)
    ]
    assert_allclose(weighted.loo_scores_[0], expected, rtol=1e-8)


def test_one_row_less():
    weight = np.array([1.0, 3.0, 2.0])
    values = np.array([5.0, -1.0, 2.0])
    growth, share = one_row_less(weight.sum(), weight.sum())
    mean = np.average(values, weights=weight)
    for j in range(3):
        rest = weight - (np.arange(3) == j)
        assert growth * mean - share * values[j] == pytest.approx(
            np.average(values, weights=rest)
        )
    # Weights that sum to 1 stand for their rows; one row is not left out.
    growth, share = one_row_less(1.0, 4)
    assert growth == pytest.approx(4 / 3)
    assert share * 0.25 == pytest.approx(1 / 3)
    assert one_row_less(0.3, 1) == (1.0, 0.0)


@pytest.mark.parametrize(
    "params", [{}, {"alpha": 0.0, "intercept": False}, {"alpha": 0.0}], ids=str
)
def test_closed_form(shift, params):
    """The formula of the docstring, and the loss that it minimises."""
    X, y = shift.pool()
    model = LSIFRatio(random_state=0, **params).fit(X, y)
    alpha, ridge = params.get("alpha", 0.1), model.ridge_
    constant = 30.0 if model.get_params()["intercept"] else 0.0
    Z = (X - model.center_) / model.scale_
    phi = features(Z, model.centers_, model.gamma_, constant)
    phi_p, phi_q = phi[y == 1], phi[y == 0]
    theta = refit(phi_p, phi_q, alpha, ridge)
    found = model.dual_coef_
    if constant:
        found = np.append(found, model.intercept_ / constant)
    assert_allclose(phi @ found, phi @ theta, rtol=1e-5, atol=1e-6)

    def loss(theta):
        r_p, r_q = phi_p @ theta, phi_q @ theta
        value = alpha / 2 * np.mean(r_p**2) + (1 - alpha) / 2 * np.mean(r_q**2)
        return value - np.mean(r_p) + ridge / 2 * theta @ theta

    rng = np.random.default_rng(0)
    for _ in range(20):
        assert loss(found + 1e-2 * rng.normal(size=len(found))) > loss(found)
    relative = np.maximum(phi @ theta, 0)
    if alpha == 0:
        expected = relative
    else:
        with np.errstate(divide="ignore"):
            expected = (1 - alpha) * relative / (1 - alpha * relative)
        expected = np.where((alpha * relative >= 1) | (expected > 1e3), 1e3, expected)
    expected = np.maximum(expected, model.floor_)
    assert_allclose(model.predict_ratio(X), expected, rtol=1e-4)


def test_search(shift):
    X, y = shift.pool()
    model = LSIFRatio(random_state=0).fit(X, y)
    assert model.loo_scores_.shape == (13, 13)
    assert_allclose(np.log10(model.ridges_), np.arange(-5, 1.1, 0.5))
    best = np.unravel_index(np.argmax(model.loo_scores_), (13, 13))
    assert model.gamma_ == model.gammas_[best[0]]
    assert model.ridge_ == model.ridges_[best[1]]
    alone = LSIFRatio(model.gamma_, ridge=model.ridge_, random_state=0).fit(X, y)
    assert np.isnan(alone.loo_scores_).all()
    assert_allclose(alone.decision_function(X), model.decision_function(X), atol=1e-8)


def test_the_score_of_the_search_is_that_of_new_rows():
    new, found = make_warped_shift(2000, 2, random_state=1).pool(), []
    for seed in range(4):
        pooled = make_warped_shift((150, 200), 2, random_state=seed).pool()
        model = LSIFRatio(random_state=0).fit(*pooled)
        found.append((model.loo_scores_.max(), model.score(*new)))
    of_rows, of_new = np.mean(found, axis=0)
    assert of_rows > -np.log(2)
    assert of_rows == pytest.approx(of_new, abs=0.03)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("apart", [0.7, 4.0])
def test_the_floor_is_the_one_with_the_least_loss_of_rows_left_out(alpha, apart):
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(20, 1)) + apart, rng.normal(size=(30, 1))
    X, y = pool(numerator=p, denominator=q)
    model = LSIFRatio(1.0, ridge=1e-3, alpha=alpha, random_state=0).fit(X, y)
    phi = features((X - model.center_) / model.scale_, model.centers_, 1.0, 30.0)
    phi_p, phi_q = phi[y == 1], phi[y == 0]
    of_p, of_q = (
        np.array([row @ refit(*rest, alpha, 1e-3) for row, rest in parts])
        for parts in (
            [(row, (np.delete(phi_p, i, 0), phi_q)) for i, row in enumerate(phi_p)],
            [(row, (phi_p, np.delete(phi_q, i, 0))) for i, row in enumerate(phi_q)],
        )
    )
    losses = {}
    for exponent in np.arange(1, 5.1, 0.5):
        floor = 10.0**-exponent
        r_p, r_q = (
            np.maximum(ratio_of_relative(np.maximum(each, 0), alpha), floor)
            for each in (of_p, of_q)
        )
        loss = np.mean(np.log1p(1 / r_p)) + np.mean(np.log1p(r_q))
        # Half a row more, unseen, whose ratio is below all.
        losses[floor] = loss + 0.5 / 20 * np.log1p(1 / floor)
    assert model.floor_ == pytest.approx(min(losses, key=losses.get))
    far = [[-9.0], [9.0]]
    assert model.predict_ratio([*X, *far]).min() >= model.floor_ * (1 - 1e-12)


def test_the_floor_is_lower_where_the_samples_lie_apart():
    floors = []
    for apart in (1.0, 3.0, 5.0):
        rng = np.random.default_rng(0)
        p, q = rng.normal(size=(500, 2)) + apart, rng.normal(size=(500, 2))
        model = LSIFRatio(random_state=0).fit(*pool(numerator=p, denominator=q))
        found = model.predict_ratio([*p, *q])
        # Of the size of the truth at the denominator's rows where the estimate ends.
        at_end = q[found[500:] < 2 * model.floor_]
        truth = np.exp(apart * at_end.sum(axis=1) - apart**2)
        assert np.median(truth) < model.floor_ < 10 * max(truth.max(), 1 / 500)
        floors.append(model.floor_)
    assert floors[0] > floors[1] >= floors[2]


def test_ratio_and_relative_ratio():
    ratio = np.array([0.01, 0.3, 1.0, 7.0, 100.0])
    for alpha in (0.0, 0.1, 0.9):
        relative = relative_of_ratio(ratio, alpha)
        assert_allclose(relative, ratio / (alpha * ratio + 1 - alpha))
        assert_allclose(ratio_of_relative(relative, alpha), ratio)
    # Nearer to the bound, and above it, there is no ratio to turn back to.
    assert_allclose(ratio_of_relative(np.array([1.9999, 2.0, 9.0]), 0.5), 1000)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.6])
def test_relative_ratio_of_known_shift(alpha):
    new = make_warped_shift(2000, 2, random_state=1)
    X, _ = new.pool()
    truth = np.exp(new.log_ratio(X))
    pooled = make_warped_shift((1500, 1000), 2, random_state=0).pool()
    model = LSIFRatio(alpha=alpha, random_state=0).fit(*pooled)
    ratio, relative = model.predict_ratio(X), model.predict_relative_ratio(X)
    assert_allclose(relative, ratio / (alpha * ratio + 1 - alpha), rtol=1e-9)
    true_relative = truth / (alpha * truth + 1 - alpha)
    # Taking one for the other would be off by far more.
    error = np.mean(np.abs(np.log(relative / true_relative)))
    assert error < 0.3
    if alpha:
        assert relative.max() < 1 / alpha
        assert np.mean(np.abs(np.log(ratio / true_relative))) > 1.5 * error
    else:
        assert_allclose(relative, ratio)
    assert abs(np.median(np.log(ratio / truth))) < 0.2
    assert spearmanr(ratio, truth).statistic > 0.95


@pytest.mark.parametrize("params", [{}, {"alpha": 0.0}], ids=str)
def test_error_falls_with_the_sample_size(params):
    errors = {}
    for n in (60, 2000):
        of_seeds = []
        for seed in range(3):
            new = make_warped_shift(2000, 2, random_state=100 + seed)
            X, _ = new.pool()
            pooled = make_warped_shift((n, 2 * n), 2, random_state=seed).pool()
            model = LSIFRatio(random_state=0, **params).fit(*pooled)
            error = model.decision_function(X) - new.log_ratio(X)
            of_seeds.append(np.mean(error**2))
        errors[n] = np.mean(of_seeds)
    assert errors[2000] < 0.15 < errors[60]


def test_log_loss_searches_better_than_the_squared_loss():
    # What the user guide says of the two.
    errors = {"log_loss": [], "lsif_loss": []}
    for seed in range(4):
        new = make_warped_shift(2000, 2, random_state=100 + seed)
        X, _ = new.pool()
        for scoring, of_seeds in errors.items():
            pooled = make_warped_shift(300, 2, random_state=seed).pool()
            model = LSIFRatio(alpha=0, scoring=scoring, random_state=0).fit(*pooled)
            error = model.decision_function(X) - new.log_ratio(X)
            of_seeds.append(np.mean(error**2))
    assert np.mean(errors["log_loss"]) < 0.7 * np.mean(errors["lsif_loss"])


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_sample_weight_is_repetition(shift, alpha):
    X, y = shift.pool()
    counts = np.random.default_rng(0).integers(0, 2, len(X)) + 2 * y * (X[:, 0] > 0.5)
    weighted = LSIFRatio(alpha=alpha, random_state=0).fit(X, y, counts)
    order = np.random.default_rng(1).permutation(counts.sum())
    X_rep, y_rep = np.repeat(X, counts, axis=0)[order], np.repeat(y, counts)[order]
    repeated = LSIFRatio(alpha=alpha, random_state=0).fit(X_rep, y_rep)
    assert_allclose(weighted.loo_scores_, repeated.loo_scores_, rtol=1e-6)
    assert_allclose(weighted.predict_ratio(X), repeated.predict_ratio(X), rtol=1e-5)
    unweighted = LSIFRatio(alpha=alpha, random_state=0).fit(X, y)
    difference = unweighted.predict_ratio(X) - weighted.predict_ratio(X)
    assert np.linalg.norm(difference) > 0.05 * np.linalg.norm(weighted.predict_ratio(X))
    scaled = LSIFRatio(alpha=alpha, random_state=0).fit(X, y, np.full(len(y), 1e-3))
    assert_allclose(scaled.predict_ratio(X), unweighted.predict_ratio(X), rtol=1e-5)


def test_blocks_give_the_same_ratio(monkeypatch, shift):
    X, y = shift.pool()
    expected = LSIFRatio(alpha=0.1, random_state=0).fit(X, y)
    monkeypatch.setattr("skdre.kernel._centers._DISTANCE_ENTRIES", 0)
    monkeypatch.setattr("skdre.kernel._gaussian._BLOCK_ENTRIES", 1)
    model = LSIFRatio(alpha=0.1, random_state=0).fit(X, y)
    assert_allclose(model.loo_scores_, expected.loo_scores_, rtol=1e-6)
    assert_allclose(model.predict_ratio(X), expected.predict_ratio(X), rtol=1e-4)


def test_memory_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr("skdre.kernel._centers._DISTANCE_ENTRIES", 0)
    monkeypatch.setattr("skdre.kernel._gaussian._BLOCK_ENTRIES", 1 << 14)
    rng = np.random.default_rng(0)
    peaks = []
    for n in (2_000, 40_000):
        X, weight = rng.normal(size=(n, 2)), np.ones(n)
        kernel = CenterKernel(X, weight, X[:50])
        tracemalloc.start()
        kernel_sums(kernel, [1.0])
        both = InMemory(kernel, kernel)
        leave_one_out(both, 50, np.ones(1), RIDGES, 0.1, "log_loss")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A vector of the rows is 0.3 MB, the kernel's values would be 16 MB.
    assert peaks[1] < peaks[0] + 4e6


def test_vanishing_kernels(shift):
    X, y = shift.pool()
    model = LSIFRatio([0.3, 1e12], random_state=0).fit(X, y)
    assert (model.loo_scores_[1] == -np.inf).all()
    assert np.isfinite(model.loo_scores_[0]).all()
    assert model.gamma_ == 0.3
    one = LSIFRatio([0.3], random_state=0).fit(X, y)
    assert_allclose(one.loo_scores_[0], model.loo_scores_[0])
    for gamma in (1e12, [1e12]):
        with pytest.warns(ConvergenceWarning, match=r"gamma=1e\+12 every kernel"):
            model = LSIFRatio(gamma, random_state=0).fit(X, y)
        assert np.isfinite(model.decision_function(X)).all()


def test_a_ridge_below_rounding(shift):
    model = LSIFRatio(0.01, ridge=1e-300, random_state=0).fit(*shift.pool())
    assert np.isfinite(model.decision_function(shift.numerator)).all()


@pytest.mark.parametrize("sizes", [(1, 1), (1, 30), (30, 1)])
def test_one_row_is_not_left_out(sizes):
    rng = np.random.default_rng(0)
    X, y = pool(
        numerator=rng.normal(2, 1, (sizes[0], 2)),
        denominator=rng.normal(0, 1, (sizes[1], 2)),
    )
    assert np.isfinite(LSIFRatio().fit(X, y).loo_scores_).all()


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"gamma": []}, "gamma must hold positive finite numbers"),
        ({"gamma": [0.1, 0.0]}, "gamma must hold positive finite numbers"),
        ({"ridge": []}, "ridge must hold positive finite numbers"),
        ({"ridge": [0.1, np.inf]}, "ridge must hold positive finite numbers"),
        ({"ridge": [[1.0]]}, "ridge must hold positive finite numbers"),
        ({"ridge": 0.0}, "'ridge' parameter of LSIFRatio"),
        ({"alpha": 1.0}, "'alpha' parameter of LSIFRatio"),
        ({"scoring": "r2"}, "'scoring' parameter of LSIFRatio"),
        ({"gamma": "mean"}, "'gamma' parameter of LSIFRatio"),
    ],
)
def test_bad_parameters(shift, params, match):
    with pytest.raises(ValueError, match=match):
        LSIFRatio(**params).fit(*shift.pool())


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_beyond_the_data_the_constant_does_not_decide(alpha):
    # The truth is x - 1/2, of which the floor leaves a part.
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X, y = pool(
            numerator=rng.normal(1, 1, (1000, 1)),
            denominator=rng.normal(size=(1000, 1)),
        )
        model = LSIFRatio(alpha=alpha, random_state=0).fit(X, y)
        ends = model.decision_function([[X.min()], [X.max()]])
        assert_allclose(model.decision_function([[-20.0], [20.0]]), ends, atol=1e-9)
        assert ends[0] < 0.1 < 1 < ends[1]


def test_rows_beyond_the_data_are_moved_column_by_column():
    rng = np.random.default_rng(0)
    X, y = pool(
        numerator=rng.normal(size=(40, 3)), denominator=rng.normal(size=(50, 3))
    )
    model = LSIFRatio(gamma=0.3, ridge=0.1).fit(X, y)
    assert_allclose(model.range_ * model.scale_ + model.center_, [X.min(0), X.max(0)])
    far = 5 * rng.normal(size=(30, 3))
    moved = np.clip(far, X.min(0), X.max(0))
    assert_allclose(model.decision_function(far), model.decision_function(moved))


@pytest.mark.parametrize(
    ("gamma", "ridge", "is_scored"),
    [(0.3, 0.1, False), ([0.3], 0.1, True), (0.3, [0.1], True), ([0.3], [0.1], True)],
)
def test_a_list_is_scored_also_where_it_holds_one_value(shift, gamma, ridge, is_scored):
    model = LSIFRatio(gamma, ridge=ridge, random_state=0).fit(*shift.pool())
    assert model.loo_scores_.shape == (1, 1)
    assert np.isfinite(model.loo_scores_).all() == is_scored
    assert (model.gamma_, model.ridge_) == (0.3, 0.1)


# --- signed weights -----------------------------------------------------------------


def signed_simulation(seed, n=3000, share=0.3):
    """Simulated events of N(0, 1), in two columns, a share of which count negatively.

    Events of both signs are of one distribution, so the weighted sample is too, and the
    data of N((0.8, 0), 0.9).
    """
    rng = np.random.default_rng(seed)
    simulated = rng.normal(size=(n, 2))
    # More negative weights at some places, where more events make up for them.
    weight = np.where(rng.random(n) < share, -1.0, 1.0)
    data = 0.9 * rng.normal(size=(n, 2)) + [0.8, 0]
    X, y = pool(numerator=data, denominator=simulated)
    weight = np.append(np.ones(n), weight)
    return X, y, weight


def true_log_ratio(X):
    p = ((X - [0.8, 0]) ** 2).sum(axis=1) / 0.81 + 4 * np.log(0.9)
    return (np.square(X).sum(axis=1) - p) / 2


def test_signed_weights_by_the_normal_equations():
    X, y, weight = signed_simulation(0, n=60)
    model = LSIFRatio(
        0.3,
        alpha=0,
        ridge=0.5,
        n_components=20,
        allow_negative_weight=True,
        random_state=0,
    ).fit(X, y, weight)
    Z = (X - model.center_) / model.scale_
    phi = features(Z, model.centers_, 0.3, 30.0)
    q, w = phi[y == 0], weight[y == 0]
    H = (q * w[:, None]).T @ q / w.sum()
    assert np.linalg.eigvalsh(H)[0] > -0.5
    values, vectors = np.linalg.eigh(H)
    h = vectors.T @ phi[y == 1].mean(axis=0)
    theta = vectors @ (h / (np.maximum(values, 0) + 0.5))
    assert_allclose(model.dual_coef_, theta[:-1], atol=1e-10)
    assert_allclose(model.intercept_, 30 * theta[-1])


def test_signed_leave_one_out_is_refitting():
    X, y, weight = signed_simulation(1, n=25, share=0.1)
    ridges = [0.5, 2.0]
    model = LSIFRatio(
        [0.3],
        alpha=0,
        ridge=ridges,
        n_components=8,
        intercept=False,
        scoring="lsif_loss",
        allow_negative_weight=True,
        random_state=0,
    ).fit(X, y, weight)
    phi = features((X - model.center_) / model.scale_, model.centers_, 0.3, 0)
    phi_p, phi_q, w = phi[y == 1], phi[y == 0], weight[y == 0]

    def theta(rows_p, rows_q, w, total, ridge):
        H = (rows_q * w[:, None]).T @ rows_q / total
        return np.linalg.solve(H + ridge * np.eye(len(H)), rows_p.mean(axis=0))

    for k, ridge in enumerate(ridges):
        loss, n = 0.0, len(phi_p)
        for j, row in enumerate(phi_p):
            rest = np.delete(phi_p, j, axis=0)
            loss -= max(row @ theta(rest, phi_q, w, w.sum(), ridge), 0) / n
        for i, row in enumerate(phi_q):
            # The rest is normalised by what it sums to on average over the rows.
            total = w.sum() * (1 - 1 / n)
            rest, weights = np.delete(phi_q, i, axis=0), np.delete(w, i)
            ratio = max(row @ theta(phi_p, rest, weights, total, ridge), 0)
            loss += w[i] / w.sum() * ratio**2 / 2
        assert_allclose(model.loo_scores_[0, k], -loss, rtol=1e-8)


def test_signed_weights_find_the_ratio():
    """Negative events cancel positive ones: those at the left are all in pairs."""
    errors, without = [], []
    for seed in range(3):
        X, y, _ = signed_simulation(seed, n=2000, share=0.0)
        rng = np.random.default_rng(seed)
        # Twice as many events at the left, half of the additional ones negative.
        extra = rng.normal(size=(2000, 2)) - [1.5, 0]
        sign = np.where(rng.random(2000) < 0.5, -1.0, 1.0)
        X, y = np.concatenate([X, extra]), np.append(y, np.zeros(2000))
        weight = np.append(np.ones(4000), sign)
        at = rng.normal(size=(500, 2)) * 0.8
        params = {"n_components": 50, "random_state": 0}
        signed = LSIFRatio(allow_negative_weight=True, **params).fit(X, y, weight)
        plain = LSIFRatio(**params).fit(X, y)
        truth = true_log_ratio(at)
        for found, model in ((errors, signed), (without, plain)):
            found.append(np.mean((model.decision_function(at) - truth) ** 2))
        assert spearmanr(signed.decision_function(at), truth)[0] > 0.9
    assert np.mean(errors) < 0.3 * np.mean(without)


def test_signed_copies_are_one_row():
    X, y, weight = signed_simulation(2, n=100, share=0.1)
    # Columns are scaled with the absolute weights, which differ.
    params = {"gamma": 0.3, "ridge": 0.1, "standardize": False}
    params["allow_negative_weight"] = True
    one = LSIFRatio(**params, random_state=0).fit(X, y, weight)
    q = np.flatnonzero(y == 0)[:10]
    # A weight of 1 as 1.5 - 0.5: the same sample.
    X_two, y_two = np.concatenate([X, X[q]]), np.append(y, y[q])
    weight_two = np.append(weight, -0.5 * np.ones(10))
    weight_two[q] += 0.5
    two = LSIFRatio(**params, random_state=0).fit(X_two, y_two, weight_two)
    assert_allclose(two.decision_function(X), one.decision_function(X), rtol=1e-7)
    # Positive weights are treated as without the parameter.
    positive = np.abs(weight)
    allowed, plain = (
        LSIFRatio(0.3, ridge=0.1, allow_negative_weight=each, random_state=0)
        for each in (True, False)
    )
    assert_allclose(
        allowed.fit(X, y, positive).decision_function(X),
        plain.fit(X, y, positive).decision_function(X),
    )


def test_signed_weights_are_refused():
    X, y, weight = signed_simulation(0, n=100)
    with pytest.raises(ValueError, match="allow_negative_weight=True"):
        LSIFRatio().fit(X, y, weight)
    model = LSIFRatio(0.3, ridge=0.1, allow_negative_weight=True, random_state=0)
    with pytest.raises(ValueError, match="positive sum in each sample, got -"):
        model.fit(X, y, -weight)
    weight[y == 0] = np.resize([1, -1], 100)
    weight[np.flatnonzero(y == 0)[:6]] = 1
    with pytest.warns(UserWarning, match="nearly cancel"):
        model.fit(X, y, weight)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("scoring", ["log_loss", "lsif_loss"])
def test_sums_of_portions_are_those_of_the_whole(alpha, scoring):
    """Whoever adds them: the search and the moments need no rows at once."""

    rng = np.random.default_rng(0)
    samples = [(rng.normal(i, 1, (50, 2)), rng.uniform(1, 2, 50)) for i in range(2)]
    centers, gammas = samples[1][0][:5], np.array([0.1, 1e12, 1.0])

    of_kernel = partial(kernel_of, centers=centers, constant=3.0)
    rest = 5, gammas, np.array([1e-2, 1.0]), alpha, scoring
    memory = InMemory(*(Portion(X, w, np.ones(50)) for X, w in samples))
    whole = leave_one_out(memory.prepared(of_kernel), *rest)
    parts = InPortions(*(cut(X, w, 7) for X, w in samples))
    assert (whole[1] == -np.inf).all()
    assert np.isfinite(whole[0]).all()
    assert_allclose(leave_one_out(parts.prepared(of_kernel), *rest), whole, rtol=1e-9)
