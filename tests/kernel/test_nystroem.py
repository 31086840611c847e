"""Landmarks and Nyström features against brute force."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdre._core.reduce import Portion
from skdre.kernel._nystroem import (
    NystroemFeatures,
    _balanced_candidates,
    landmark_sums,
    pivoted_cholesky_landmarks,
)


def brute_kernel(X, Y, gamma):
    return np.array([[np.exp(-gamma * np.sum((x - y) ** 2)) for y in Y] for x in X])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_landmarks_reach_full_rank_and_report_the_residual(rng):
    X = rng.normal(size=(120, 2))
    X = np.concatenate([X, X])  # duplicates can never be chosen twice
    chosen, residual = pivoted_cholesky_landmarks(X, 2.0, 240, np.random.RandomState(0))
    assert residual < 1e-9
    assert len(chosen) <= 120
    assert len(np.unique(X[chosen], axis=0)) == len(chosen)
    few, residual = pivoted_cholesky_landmarks(X, 2.0, 30, np.random.RandomState(0))
    assert len(few) == 30
    S = X[few]
    cross = brute_kernel(X, S, 2.0)
    approximation = cross @ np.linalg.solve(brute_kernel(S, S, 2.0), cross.T)
    assert residual == pytest.approx(1 - np.diag(approximation).mean(), rel=1e-6)


def test_landmarks_beat_uniform_choice_on_unbalanced_clusters():
    # One landmark of ten in a cluster of 1 % of the rows is luck under uniform choice.
    missed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(1000, 2)) * 0.1
        X[:10] += 10
        chosen, _ = pivoted_cholesky_landmarks(X, 1.0, 10, np.random.RandomState(seed))
        missed += not np.any(chosen < 10)
    assert missed == 0


def test_nystroem_features(rng):
    p, q = rng.normal(size=(70, 2)) + 1, rng.normal(size=(90, 2))
    features = NystroemFeatures.choose(
        ((p, np.ones(70)), (q, np.ones(90))), 0.5, 20, np.random.RandomState(0)
    )
    S = features.landmarks
    solved = np.linalg.solve(brute_kernel(S, S, 0.5), brute_kernel(S, q, 0.5))
    expected = brute_kernel(p, S, 0.5) @ solved
    assert_allclose(
        features.transform(p) @ features.transform(q).T, expected, atol=1e-8
    )
    weight = rng.uniform(size=70)
    sums = landmark_sums(Portion(p, weight, np.ones(70)), S, 0.5)
    assert_allclose(
        features.mean_of(sums),
        np.average(features.transform(p), axis=0, weights=weight),
        atol=1e-8,
    )
    coef = rng.normal(size=20)
    assert_allclose(
        brute_kernel(p, S, 0.5) @ features.kernel_coef(coef),
        features.transform(p) @ coef,
        atol=1e-7,
    )
    assert features.transform(p, np.float32).dtype == np.float32


def test_candidates_are_half_of_each_sample_in_proportion_to_the_weights():
    rows = np.arange(300.0)[:, None]
    q_weight = np.where(rows[:, 0] < 30, 1.0, 1e-9)
    candidates = _balanced_candidates(
        ((rows, np.ones(300)), (rows, q_weight)), 60, np.random.RandomState(0)
    )[:, 0]
    assert len(candidates) == 60
    assert sorted(candidates[30:]) == list(range(30))
    assert candidates[:30].max() > 150
    assert len(set(candidates[:30])) == 30
    every = _balanced_candidates(
        ((rows[:7], np.ones(7)), (rows, q_weight)), 60, np.random.RandomState(0)
    )
    assert sorted(every[:7, 0]) == list(range(7))


def test_landmarks_stop_at_the_residual(rng):
    X = rng.normal(size=(200, 1))
    few, residual = pivoted_cholesky_landmarks(
        X, 0.1, 100, np.random.RandomState(0), tol=0.01
    )
    assert residual <= 0.01
    assert len(few) < 40
