"""Two-sample tests: uniform p-values without a shift, and rejections with one."""

from itertools import combinations

import numpy as np
import pytest
from joblib import parallel_config
from scipy.stats import kstest, mannwhitneyu
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from skdre import ClassifierRatio, GaussianRatio, divergence, pool, two_sample_test
from skdre.base import DensityRatioMixin
from skdre.information._divergences import DIVERGENCES
from skdre.information._permutation import permutation_pvalue, permuted_sums
from skdre.information._two_sample import STATISTICS, additive_test, statistic_of

LINEAR = ClassifierRatio(LogisticRegression())


def pooled(n_numerator, n_denominator, shift=0.0, seed=0, d=2):
    rng = np.random.default_rng(seed)
    return pool(
        numerator=rng.normal(shift, 1, (n_numerator, d)),
        denominator=rng.normal(0, 1, (n_denominator, d)),
    )


class MeanShift(DensityRatioMixin, BaseEstimator):
    """Two unit Gaussians: a fit of microseconds."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        means = X[y == 1].mean(axis=0), X[y == 0].mean(axis=0)
        self.coef_ = means[0] - means[1]
        self.middle_ = (means[0] + means[1]) / 2
        return self

    def decision_function(self, X):
        return (X - self.middle_) @ self.coef_


class FirstColumn(DensityRatioMixin, BaseEstimator):
    """A log ratio that needs no fit."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        return self

    def decision_function(self, X):
        return np.asarray(X[:, 0], dtype=float)


@pytest.mark.parametrize("name", list(STATISTICS))
def test_the_largest_floats_are_no_evidence(name):
    """Their sums overflow, and of a NaN no permuted statistic is as large."""
    log_ratio = np.resize([1.0, -1.0], 40) * np.finfo(np.float64).max
    rng = np.random.default_rng(0)
    result = additive_test(name, log_ratio, log_ratio, 99, rng)
    assert np.isfinite(result.statistic)
    assert result.pvalue > 0.1
    # And ties are none either.
    assert additive_test(name, np.ones(20), np.ones(20), 99, rng).pvalue == 1


# Statistics and permutations, by brute force.


@pytest.mark.parametrize("name", list(STATISTICS))
def test_statistic_is_the_sum_it_says(name):
    rng = np.random.default_rng(0)
    p, q = rng.normal(0.5, 1, 7), rng.normal(-0.5, 1, 5).round(1)
    p[0] = q[0]  # a tie
    label = np.repeat([1, 0], [7, 5])
    log_ratio = np.concatenate([p, q])
    if name in DIVERGENCES:
        chosen = DIVERGENCES[name][False]
        expected = (chosen.f(p).mean() if chosen.f else 0) + (
            chosen.g(q).mean() if chosen.g else 0
        )
    elif name == "roc_auc":
        expected = roc_auc_score(label, log_ratio)
    else:
        expected = balanced_accuracy_score(label, log_ratio > 0)
    assert statistic_of(name, p, q) == pytest.approx(expected)
    result = additive_test(name, p, q, 10, np.random.default_rng(0))
    assert result.statistic == pytest.approx(expected)


@pytest.mark.parametrize("name", list(STATISTICS))
def test_null_distribution_is_that_of_all_labellings(name):
    rng = np.random.default_rng(1)
    p, q = rng.normal(1, 1, 4), rng.normal(0, 1, 4)
    log_ratio = np.concatenate([p, q])
    every = []
    for rows in combinations(range(8), 4):
        chosen = np.isin(np.arange(8), rows)
        every.append(statistic_of(name, log_ratio[chosen], log_ratio[~chosen]))
    result = additive_test(name, p, q, 7000, np.random.default_rng(0))
    exact = np.mean(np.array(every) >= result.statistic - 1e-9)
    assert result.pvalue == pytest.approx(exact, abs=4 * np.sqrt(exact / 7000))
    found = np.unique(result.null_distribution.round(8))
    np.testing.assert_allclose(found, np.unique(np.round(every, 8)), atol=2e-8)


def test_rank_test_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(2)
    p, q = rng.normal(0.2, 1, (2, 60))
    result = additive_test("roc_auc", p, q, 20_000, np.random.default_rng(0))
    known = mannwhitneyu(p, q, alternative="greater")
    assert result.statistic == pytest.approx(known.statistic / 3600)
    assert result.pvalue == pytest.approx(known.pvalue, abs=0.02)


def test_statistics_that_are_the_same_test():
    """Half of the rows on either side: the divergences of log r order alike."""
    p, q = np.random.default_rng(3).normal([[0.3], [0.0]], 1, (2, 40))
    pvalue = {
        name: additive_test(name, p, q, 500, np.random.default_rng(0)).pvalue
        for name in STATISTICS
    }
    assert pvalue["kl"] == pvalue["reverse_kl"] == pvalue["jensen_shannon"]
    assert pvalue["total_variation"] == pvalue["balanced_accuracy"]
    assert pvalue["pearson"] != pvalue["kl"] != pvalue["roc_auc"]


def test_permuted_sums():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(6, 2))
    sums = permuted_sums(values, 2, 5000, np.random.default_rng(0))
    every = np.array([values[list(rows)].sum(0) for rows in combinations(range(6), 2)])
    distance = np.abs(sums[:, None] - every).sum(axis=2)
    assert distance.min(axis=1).max() < 1e-12
    counts = np.bincount(distance.argmin(axis=1), minlength=len(every))
    np.testing.assert_allclose(counts, 5000 / 15, rtol=0.25)


def test_pvalue():
    null = np.array([0.1, 0.2, 0.3, 0.3, 0.5])
    assert permutation_pvalue(0.3, null) == 4 / 6
    assert permutation_pvalue(0.3 + 1e-14, null) == 4 / 6
    assert permutation_pvalue(0.6, null) == 1 / 6
    assert permutation_pvalue(0.0, np.zeros(9)) == 1


@pytest.mark.parametrize("name", list(STATISTICS))
def test_huge_ratios(name):
    p, q = np.linspace(800, 1000, 20), -np.linspace(800, 1000, 30)
    result = additive_test(name, p, q, 99, np.random.default_rng(0))
    assert np.isfinite(result.null_distribution).all()
    assert result.pvalue == 0.01


# Calibration and power.


def pvalues(n_tests, estimator=LINEAR, shift=0.0, sizes=(40, 60), **kwargs):
    kwargs = {"method": "split"} | kwargs
    return np.array(
        [
            two_sample_test(
                estimator, *pooled(*sizes, shift, seed), random_state=seed, **kwargs
            ).pvalue
            for seed in range(n_tests)
        ]
    )


def assert_uniform(pvalue, n_permutations):
    # Between the steps of a discrete p-value.
    jitter = np.random.default_rng(0).uniform(size=len(pvalue))
    assert kstest(pvalue - jitter / (n_permutations + 1), "uniform").pvalue > 0.01


@pytest.mark.parametrize("statistic", list(STATISTICS))
def test_pvalue_is_uniform_without_a_shift(statistic):
    """Of log ratios that were fitted on other rows; below with the fit and split."""
    rng = np.random.default_rng(0)
    found = np.array(
        [
            additive_test(statistic, *np.split(each, [13]), 99, rng).pvalue
            for each in rng.normal(0, 0.3, (300, 33))
        ]
    )
    if statistic in ("total_variation", "balanced_accuracy"):
        # Of few values, with many ties.
        for level in (0.05, 0.2, 0.5):
            error = np.sqrt(level * (1 - level) / 300)
            assert np.mean(found <= level) < level + 3 * error
        assert 0.45 < np.mean(found) < 0.65
    else:
        assert_uniform(found, 99)


@pytest.mark.parametrize(("estimator", "n_tests"), [(LINEAR, 100), (MeanShift(), 300)])
def test_split_pvalue_is_uniform_without_a_shift(estimator, n_tests):
    assert_uniform(pvalues(n_tests, estimator, n_permutations=99), 99)


def test_refitted_pvalue_is_uniform_without_a_shift():
    kwargs = {"method": "refit", "n_permutations": 9, "cv": 2}
    found = pvalues(80, MeanShift(), sizes=(12, 18), statistic="roc_auc", **kwargs)
    assert_uniform(found, 9)


def test_a_constant_ratio_rejects_too_rarely_at_most():
    found = pvalues(200, GaussianRatio(), n_permutations=99)
    assert np.mean(found == 1) > 0.2
    assert np.mean(found <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_rows_of_the_fit_would_not_be_uniform():
    """The test above can fail: a ratio permuted on its own rows rejects too often."""
    found = []
    for seed in range(60):
        X, y = pooled(40, 60, seed=seed)
        fitted = GaussianRatio(shrink=False).fit(X, y)
        result = two_sample_test(
            fitted, X, y, method="prefit", n_permutations=99, random_state=0
        )
        found.append(result.pvalue)
    assert np.mean(np.array(found) <= 0.05) > 0.3


def test_prefitted_pvalue_is_uniform_without_a_shift():
    fitted = GaussianRatio(shrink=False).fit(*pooled(40, 60, 0.5, seed=1000))
    found = pvalues(300, fitted, method="prefit", n_permutations=99)
    assert_uniform(found, 99)


@pytest.mark.parametrize("method", ["split", "refit"])
def test_power(method):
    kwargs = {"method": method, "n_permutations": 19, "cv": 2, "sizes": (60, 60)}
    found = pvalues(20, MeanShift(), shift=0.8, **kwargs)
    assert np.mean(found <= 0.05) >= 0.9


@pytest.mark.parametrize("statistic", list(STATISTICS))
def test_every_statistic_sees_a_large_shift(statistic):
    X, y = pooled(100, 80, 1.5)
    for labels in (y, 1 - y):
        result = two_sample_test(
            LINEAR, X, labels, statistic=statistic, method="split", random_state=0
        )
        assert result.pvalue == 0.001
        assert result.statistic > np.quantile(result.null_distribution, 0.99)


# The rows, and the result.


def test_split_holds_out_what_it_tests_on():
    class Recorder(FirstColumn):
        def fit(self, X, y):
            seen.append((X[:, 0], y))
            return super().fit(X, y)

        def decision_function(self, X):
            tested.append(X[:, 0])
            return super().decision_function(X)

    seen, tested = [], []
    X, y = pooled(40, 60)
    two_sample_test(Recorder(), X, y, test_size=0.25, method="split", random_state=0)
    ((rows, labels),) = seen
    assert (np.sum(labels == 1), np.sum(labels == 0)) == (30, 45)
    tested = np.concatenate(tested)
    assert len(tested) == 25
    np.testing.assert_array_equal(
        np.sort(np.concatenate([rows, tested])), np.sort(X[:, 0])
    )


def test_refit_statistic_is_the_divergence():
    X, y = pooled(40, 60, 0.5)
    result = two_sample_test(
        GaussianRatio(), X, y, method="refit", n_permutations=5, random_state=0
    )
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    assert result.statistic == pytest.approx(
        float(divergence(GaussianRatio(), X, y, random_state=seed))
    )
    assert result.null_distribution.shape == (5,)


def test_repeatable():
    X, y = pooled(30, 30, 0.3)
    for method in ("split", "refit"):
        kwargs = {"method": method, "n_permutations": 19, "cv": 2}
        one, same, other = (
            two_sample_test(MeanShift(), X, y, random_state=seed, **kwargs)
            for seed in (0, 0, 1)
        )
        assert one.statistic == same.statistic
        np.testing.assert_array_equal(one.null_distribution, same.null_distribution)
        assert not np.array_equal(one.null_distribution, other.null_distribution)
        with parallel_config("threading"):
            parallel = two_sample_test(
                MeanShift(), X, y, random_state=0, n_jobs=2, **kwargs
            )
        np.testing.assert_array_equal(one.null_distribution, parallel.null_distribution)
    assert repr(one).startswith("ShiftTest(statistic=")
    assert "null" not in repr(one)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"statistic": "accuracy"}, ValueError, "'statistic' parameter"),
        ({"method": "bootstrap"}, ValueError, "'method' parameter"),
        ({"n_permutations": 0}, ValueError, "'n_permutations' parameter"),
        ({"test_size": 1.0}, ValueError, "'test_size' parameter"),
        ({"estimator": "gaussian"}, ValueError, "'estimator' parameter"),
        ({"method": "prefit"}, NotFittedError, "not fitted"),
        ({"y": np.ones(20)}, ValueError, "one class only"),
        ({"y": np.arange(20) == 0}, ValueError, "two rows of each domain"),
        ({"y": np.arange(20) < 3, "method": "refit"}, ValueError, "as many rows"),
    ],
)
def test_bad_input(change, error, message):
    X, y = pooled(10, 10)
    arguments = {"estimator": LINEAR, "X": X, "y": y, "method": "split"} | change
    with pytest.raises(error, match=message):
        two_sample_test(**arguments)
