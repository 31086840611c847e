"""The score test: by brute force, uniform without a shift, and what a family sees."""

import numpy as np
import pytest
from scipy.stats import kstest, multivariate_normal
from sklearn.base import BaseEstimator
from sklearn.covariance import ledoit_wolf

from skdre import FlowFeaturizer, pool, score_test
from skdre.information import _score_test
from skdre.information._score_test import (
    _whitened,
    gaussian_scores,
    studentized,
)


def pooled(n_numerator, n_denominator, d=2, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return pool(
        numerator=rng.normal(shift, 1, (n_numerator, d)),
        denominator=rng.normal(0, 1, (n_denominator, d)),
    )


# The scores.


def test_scores_of_a_gaussian_are_its_gradient():
    """A basis of the finite differences by each mean and covariance."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) @ (np.eye(3) + rng.normal(0, 0.2, (3, 3)))
    mean, covariance = X.mean(axis=0), np.cov(X.T, bias=True)
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    scores = gaussian_scores((X - mean) @ root.T)
    assert scores.shape == (60, 9)
    np.testing.assert_allclose(scores.sum(axis=0), 0, atol=1e-10)

    def log_density(mean, covariance):
        return multivariate_normal.logpdf(X, mean, covariance)

    step, gradient = 1e-5, []
    for i in range(3):
        each = step * np.eye(3)[i]
        gradient.append(
            log_density(mean + each, covariance) - log_density(mean - each, covariance)
        )
        for j in range(i, 3):
            each = step * (np.outer(np.eye(3)[i], np.eye(3)[j]))
            each = each + each.T
            gradient.append(
                log_density(mean, covariance + each)
                - log_density(mean, covariance - each)
            )
    gradient = np.transpose(gradient) / (2 * step)
    coef, *_ = np.linalg.lstsq(scores, gradient, rcond=None)
    np.testing.assert_allclose(scores @ coef, gradient, atol=1e-6)
    assert np.linalg.matrix_rank(coef) == 9


def test_scores_of_a_gaussian_have_its_fisher_information():
    scores = gaussian_scores(np.random.default_rng(0).normal(size=(200_000, 2)))
    np.testing.assert_allclose(np.cov(scores.T), np.eye(5), atol=0.03)


def test_whitening():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 3)) @ rng.normal(size=(3, 3)) * [1, 1e6, 1e-6] + 5
    np.testing.assert_allclose(np.cov(_whitened(X).T), np.eye(3), atol=0.02)
    # A constant column, and one that repeats another.
    wide = np.hstack([X, X[:, :1], np.full((5000, 1), 3.0)])
    assert _whitened(wide).shape[1] in (3, 4)
    # More columns than rows keep distances that differ.
    Z = _whitened(rng.normal(size=(20, 50)))
    assert np.linalg.norm(Z, axis=1).std() > 0.01


@pytest.mark.parametrize("shape", [(200, 5), (30, 12), (12, 30)])
def test_studentized_by_brute_force(shape):
    rng = np.random.default_rng(1)
    scores = rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1]))
    scores -= scores.mean(axis=0)
    covariance, share = ledoit_wolf(scores, assume_centered=True)
    assert 0 < share < 1
    expected = scores @ np.linalg.inv(covariance) @ scores.T
    found = studentized(scores)
    assert found.shape == (shape[0], min(shape))
    np.testing.assert_allclose(found @ found.T, expected, atol=1e-8)


def test_statistic_by_brute_force():
    X, y = pooled(40, 70, shift=0.3)
    scores = gaussian_scores(_whitened(X))
    scores = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    covariance, _ = ledoit_wolf(scores, assume_centered=True)
    difference = scores[y == 1].mean(axis=0) - scores[y == 0].mean(axis=0)
    expected = 40 * 70 / 110 * difference @ np.linalg.solve(covariance, difference)
    assert score_test(X, y).statistic == pytest.approx(expected)


# Calibration and power.


def assert_uniform(pvalue, n_permutations):
    jitter = np.random.default_rng(0).uniform(size=len(pvalue))
    pvalue = np.asarray(pvalue) - jitter / (n_permutations + 1)
    assert kstest(pvalue, "uniform").pvalue > 0.01


@pytest.mark.parametrize(("sizes", "d"), [((40, 60), 2), ((60, 12), 8), ((8, 12), 10)])
def test_pvalue_is_uniform_without_a_shift(sizes, d):
    found = [
        score_test(
            *pooled(*sizes, d, seed=seed), n_permutations=49, random_state=seed
        ).pvalue
        for seed in range(300)
    ]
    assert_uniform(found, 49)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_pvalue_of_a_flow_is_uniform_without_a_shift():
    """Far from converged, which the p-value does not mind."""
    flow = FlowFeaturizer(
        "realnvp",
        n_transforms=1,
        hidden_features=(4,),
        marginals="standardize",
        max_epochs=1,
        random_state=0,
    )
    found = [
        score_test(
            *pooled(15, 25, seed=seed), flow, n_permutations=49, random_state=seed
        ).pvalue
        for seed in range(25)
    ]
    assert_uniform(found, 49)


def test_many_rows_give_chi_squared():
    statistics = [
        score_test(*pooled(500, 300, seed=seed), n_permutations=1).statistic
        for seed in range(200)
    ]
    assert kstest(statistics, "chi2", (5,)).pvalue > 0.01


@pytest.mark.parametrize("change", ["mean", "scale", "correlation"])
def test_a_gaussian_sees_the_first_two_moments(change):
    p, q = np.random.default_rng(0).normal(size=(2, 200, 3))
    if change == "mean":
        p = p + 0.5 * np.eye(3)[0]
    elif change == "scale":
        p = p * [1.5, 1, 1]
    else:
        p[:, 1] = 0.5 * p[:, 0] + np.sqrt(0.75) * p[:, 1]
    for numerator, denominator in ((p, q), (q, p)):
        X, y = pool(numerator=numerator, denominator=denominator)
        assert score_test(X, y, random_state=0).pvalue < 0.005


def test_the_family_decides_what_is_seen():
    """Normal and uniform rows of one mean and variance."""
    rng = np.random.default_rng(0)
    found = {"gaussian": [], "nsf": []}
    flow = FlowFeaturizer(
        "nsf",
        n_transforms=1,
        hidden_features=(8,),
        marginals="standardize",
        max_epochs=20,
        random_state=0,
    )
    for _ in range(5):
        X, y = pool(
            numerator=rng.normal(size=(300, 1)),
            denominator=rng.uniform(-(3**0.5), 3**0.5, size=(300, 1)),
        )
        found["gaussian"].append(score_test(X, y, random_state=0).pvalue)
        found["nsf"].append(score_test(X, y, flow, random_state=0).pvalue)
    assert np.median(found["gaussian"]) > 0.05
    assert np.max(found["nsf"]) < 0.02


def test_a_gaussian_flow_is_the_gaussian():
    X, y = pooled(400, 300, 3, shift=0.1)
    one = score_test(X, y, random_state=0)
    other = score_test(X, y, FlowFeaturizer("gaussian", random_state=0), random_state=0)
    assert other.statistic == pytest.approx(one.statistic, rel=0.1)
    assert other.pvalue == pytest.approx(one.pvalue, abs=0.05)


def test_many_scores_are_projected(monkeypatch):
    X, y = pooled(100, 100, 5, shift=1.0)
    exact = score_test(X, y, random_state=0)
    monkeypatch.setattr(_score_test, "_MAX_SCORES", 15)
    monkeypatch.setattr(_score_test, "_CHUNK", 100)
    projected = score_test(X, y, random_state=0)
    assert projected.pvalue == exact.pvalue == 0.001
    assert projected.statistic != exact.statistic
    found = [
        score_test(*pooled(20, 20, 5, seed=seed), n_permutations=19).pvalue
        for seed in range(100)
    ]
    assert_uniform(found, 19)


# Invariance, and bad input.


def test_affine_maps_change_nothing():
    X, y = pooled(300, 300, shift=0.2)
    moved = X @ np.diag([1e5, 1e-5]) + [10, 1e4]
    one, other = (score_test(each, y, random_state=0) for each in (X, moved))
    assert other.statistic == pytest.approx(one.statistic, rel=1e-6)
    swapped = score_test(X, 1 - y, random_state=0)
    assert swapped.statistic == pytest.approx(one.statistic)


def test_absurd_rows_are_counted_once():
    X, y = pooled(60, 80)
    X[:3, 1] = 1e9
    with pytest.warns(UserWarning, match="column 1: 3 of 140 rows"):
        score_test(X, y, n_permutations=9, random_state=0)


def test_repeatable():
    X, y = pooled(30, 40)
    one, same, other = (score_test(X, y, random_state=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.null_distribution, same.null_distribution)
    assert not np.array_equal(one.null_distribution, other.null_distribution)
    assert one.statistic == other.statistic


class NoScores(BaseEstimator):
    def fit(self, X, y=None):
        assert y is None
        return self

    def fisher_scores(self, X):
        return np.full((len(X), 2), np.nan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "realnvp"}, "'model' parameter"),
        ({"model": NoScores()}, "fisher_scores gave NaN"),
        ({"n_permutations": 0}, "'n_permutations' parameter"),
        ({"y": np.zeros(20)}, "one class only"),
        ({"X": np.full((20, 2), np.inf)}, "infinity"),
        ({"X": np.ones((20, 2))}, "constant columns only"),
    ],
)
def test_bad_input(change, message):
    X, y = pooled(10, 10)
    with pytest.raises(ValueError, match=message):
        score_test(**({"X": X, "y": y} | change))
