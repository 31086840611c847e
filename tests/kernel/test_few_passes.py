"""Fits of many rows: how often their kernel values are formed, and what comes out."""

from collections import Counter

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skdre import KLIEPRatio, KMMRatio, LSIFRatio
from skdre._core.arrays import HOST
from skdre.base import split_samples
from skdre.datasets import make_warped_shift
from skdre.kernel import _centers, _matching, _nystroem, _passes
from skdre.kernel._centers import kernel_of
from skdre.kernel._gaussian import gaussian_kernel
from skdre.kernel._least_squares import _log_losses, leave_one_out
from skdre.kernel._linear_algebra import jittered_cholesky
from skdre.kernel._qp import Feasible, linear_gap
from skdre.kernel._search import first_rows
from skdre.kernel._standardize import standardize_in_memory

N_P, N_Q = 3000, 10_000
PILOT = 500
SEARCH = 400


@pytest.fixture(scope="module")
def shift():
    return make_warped_shift((N_P, N_Q), 2, random_state=0)


@pytest.fixture
def formed(monkeypatch):
    """Rows at which kernel values were formed, in calls of each module's function."""
    counts = Counter()

    def count(module, name):
        function = getattr(module, name)

        def counted(X, *args):
            counts[module] += len(X)
            return function(X, *args)

        monkeypatch.setattr(module, name, counted)

    count(_passes, "gaussian_kernel")
    count(_nystroem, "gaussian_kernel")
    count(_matching, "kernel_product")
    count(_centers, "kernel_of_squares")
    # As where neither distances nor kernel values fit into memory.
    monkeypatch.setattr(_centers, "_DISTANCE_ENTRIES", 0)
    return counts


@pytest.fixture
def few_rows_are_many(monkeypatch):
    monkeypatch.setattr("skdre.kernel._matching._PILOT_ROWS", PILOT)
    monkeypatch.setattr("skdre.kernel._matching._MOST_PILOT_ROWS", PILOT)
    for module in ("_search", "_lsif", "_kliep"):
        monkeypatch.setattr(f"skdre.kernel.{module}.SEARCH_ROWS", SEARCH)


KMM = {"n_components": 40, "solver": "nystroem", "random_state": 0}


def gap_at(model, shift):
    """Gap of the weights, of the problem with the kernel that the landmarks define."""
    Z_p, Z_q = (
        (X - model.center_) / model.scale_ for X in (shift.numerator, shift.denominator)
    )
    S, gamma = model.centers_, model.gamma_
    factor = jittered_cholesky(gaussian_kernel(S, S, gamma), 1e-12 * len(S))
    Phi_p, Phi_q = (
        np.linalg.solve(factor, gaussian_kernel(S, Z, gamma)).T for Z in (Z_p, Z_q)
    )
    v, rho = model.weights_, N_Q * model.ridge_
    mean = Phi_p.mean(axis=0) * N_Q
    gradient = Phi_q @ (v @ Phi_q - mean) + rho * v
    low, high = (1 - model.eps_) * N_Q, (1 + model.eps_) * N_Q
    return linear_gap(gradient, v, Feasible(np.full(N_Q, model.B_), low, high))


@pytest.mark.parametrize(("pilot", "passes"), [(2000, 3), (PILOT, 3.2)])
def test_kmm_forms_its_kernel_values_three_times(
    monkeypatch, few_rows_are_many, formed, shift, pilot, passes
):
    for name in ("_PILOT_ROWS", "_MOST_PILOT_ROWS"):
        monkeypatch.setattr(_matching, name, pilot)
    model = KMMRatio(**KMM).fit(*shift.pool())
    # The denominator's rows: two steps and the certificate. After a small pilot a fifth
    # of them comes before.
    assert formed[_passes] <= passes * N_Q
    # The numerator's mean, the pilot, and what landmarks are chosen by.
    assert formed[_nystroem] <= N_P + pilot + 1000
    # The weights are those of the last pass.
    assert formed[_matching] == 0
    assert model.n_iter_ == 2


@pytest.mark.parametrize("options", [{}, {"eps": 0.0}, {"B": 2}], ids=str)
@pytest.mark.parametrize("leads", [True, False])
def test_kmm_in_few_passes_is_certified(
    monkeypatch, few_rows_are_many, shift, options, leads
):
    if not leads:
        # As where the pilot does not lead on: Newton's method on all rows ends it.
        monkeypatch.setattr("skdre.kernel._passes._LEAST_GAIN", 1e30)
    model = KMMRatio(**KMM, **options).fit(*shift.pool())
    assert 0 <= model.dual_gap_ <= model.tol**2 * abs(model.objective_)
    w = model.weights_
    assert w.min() >= 0
    assert w.max() <= model.B_
    assert abs(w.mean() - 1) <= model.eps_ + 1e-9
    assert gap_at(model, shift) <= model.tol * abs(model.objective_)
    # But for the logarithm in between.
    at_rows = model.predict_ratio(shift.denominator)
    assert_allclose(at_rows, np.maximum(w, 0.01), rtol=1e-14)
    # Not certified away from the optimum.
    model.weights_ = np.ones(N_Q)
    assert gap_at(model, shift) > 10 * model.tol * abs(model.objective_)


def test_kmm_in_few_passes_is_that_of_features_kept(request, shift):
    expected = KMMRatio(**KMM, tol=1e-8).fit(*shift.pool())
    request.getfixturevalue("few_rows_are_many")
    model = KMMRatio(**KMM, tol=1e-8).fit(*shift.pool())
    assert_allclose(model.weights_, expected.weights_, atol=1e-6)


@pytest.mark.parametrize(("scoring", "passes"), [("log_loss", 2), ("lsif_loss", 3)])
def test_lsif_forms_its_kernel_values_twice(
    few_rows_are_many, formed, shift, scoring, passes
):
    model = LSIFRatio(n_components=20, scoring=scoring, random_state=0)
    n_gammas = len(model.fit(*shift.pool()).gammas_)
    assert n_gammas == 13
    # Moments, and losses of all ridges and floors; of the squared loss, which has no
    # floor, once more. And the search.
    assert formed[_centers] <= passes * (N_P + N_Q) + 2 * n_gammas * 2 * SEARCH
    # The pass that is saved changes nothing.
    found = LSIFRatio(
        model.gamma_, ridge=model.ridge_, n_components=20, random_state=0
    ).fit(*shift.pool())
    assert found.floor_ == model.floor_


@pytest.mark.parametrize("is_numerator", [True, False])
def test_losses_at_all_floors_in_one_look(is_numerator):
    rng = np.random.default_rng(0)
    ratio, weight = np.exp(4 * rng.standard_normal((60, 3))), rng.uniform(-1, 2, 60)
    floors = np.array([0.1, 1e-3, 1e-2])
    ratio[:5], ratio[5:8] = 0.0, [0.1, 1e-3, 1e-2]
    expected = [
        weight @ np.log1p(1 / each if is_numerator else each) / 2
        for each in (np.maximum(ratio, floor) for floor in floors)
    ]
    found = _log_losses(ratio, weight, floors, is_numerator, HOST)
    assert_allclose(found.T, expected, rtol=1e-12)


def test_lsif_searches_gammas_on_a_part_and_ridges_on_all(few_rows_are_many, shift):
    X, y = shift.pool()
    model = LSIFRatio(n_components=20, random_state=0).fit(X, y)
    rows = standardize_in_memory(split_samples(LSIFRatio(), X, y), True).rows
    part = rows.prepared(first_rows)
    assert part.n_rows == (SEARCH, SEARCH)
    kernels = part.prepared(lambda each: kernel_of(each, model.centers_, 30.0))
    scores = leave_one_out(
        kernels, 20, model.gammas_, model.ridges_, model.alpha, model.scoring
    )
    best = scores.max(axis=1).argmax()
    assert model.gamma_ == model.gammas_[best]
    others = np.arange(13) != best
    assert_allclose(model.loo_scores_[others], scores[others], rtol=1e-9)
    given = LSIFRatio(gamma=model.gamma_, n_components=20, random_state=0).fit(X, y)
    assert model.ridge_ == given.ridge_
    assert_array_equal(model.loo_scores_[best], given.loo_scores_[0])
    assert_array_equal(model.dual_coef_, given.dual_coef_)
    assert model.floor_ == given.floor_


def test_kliep_forms_its_kernel_values_few_times(
    few_rows_are_many, formed, request, shift
):
    X, y = shift.pool()
    model = KLIEPRatio(n_components=20, random_state=0).fit(X, y)
    # Means over both samples, the start, and one pass a step.
    passes = N_P + N_Q + (1 + model.n_iter_) * N_P
    searched = len(model.gammas_) * 2 * SEARCH
    assert formed[_centers] <= passes + searched + SEARCH
    assert model.n_iter_ <= 4
    request.getfixturevalue("monkeypatch").undo()
    exact = KLIEPRatio(gamma=model.gamma_, n_components=20, random_state=0).fit(X, y)
    assert exact.objective_ == pytest.approx(model.objective_, abs=2e-6)
    assert model.dual_gap_ <= 1e-6


@pytest.mark.parametrize(
    "model",
    [
        KMMRatio(**KMM),
        LSIFRatio(n_components=20, random_state=0),
        KLIEPRatio(n_components=20, gamma=[0.1, 0.5, 2.0], random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_parts_of_the_rows_depend_on_neither_order_nor_repeats(
    few_rows_are_many, formed, model
):
    X, y = make_warped_shift(2500, 3, random_state=0).pool()
    X = X.round(1)  # Rows of atoms, whose weights count.
    counts = np.arange(len(X)) % 3
    weighted = clone(model).fit(X, y, counts).decision_function(X)
    order = np.random.default_rng(0).permutation(counts.sum())
    rows = np.repeat(np.arange(len(X)), counts)[order]
    repeated = clone(model).fit(X[rows], y[rows]).decision_function(X)
    assert_array_equal(weighted, repeated)
    assert formed[_passes] > 0 or not isinstance(model, KMMRatio)


def test_signed_weights_are_searched_at_all_rows(few_rows_are_many, request):
    X, y = make_warped_shift(1500, 2, random_state=0).pool()
    weight = np.where(np.arange(len(X)) % 9, 1.0, -0.5)
    model = LSIFRatio(n_components=20, allow_negative_weight=True, random_state=0)
    found = model.fit(X, y, weight).loo_scores_
    request.getfixturevalue("monkeypatch").undo()
    assert_array_equal(found, model.fit(X, y, weight).loo_scores_)
