"""The aggregated two-sample test: statistics by brute force, level and power."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, kstest, mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel

from skdre import ClassifierRatio, GaussianRatio, pool, score_test, two_sample_test
from skdre.information import _aggregate
from skdre.information._aggregate import (
    Bank,
    banks_of,
    jointly_tested,
    permuted_contrasts,
    plain_table,
)


@pytest.fixture
def _few_trees(monkeypatch):
    monkeypatch.setattr(_aggregate, "_TREES", 5)
    monkeypatch.setattr(_aggregate, "_LANDMARKS", 40)


def rows_of(n_p, n_q, d=3, seed=0):
    X = np.random.default_rng(seed).normal(size=(n_p + n_q, d))
    return X, np.arange(n_p + n_q) < n_p


def observed(X, label):
    """The statistics of the labels as they are."""
    (contrast,) = permuted_contrasts(label, np.arange(len(X)), 0, None)
    found = {}
    for bank in banks_of(X, np.random.RandomState(0)):
        found |= bank.statistics((bank.values.T @ contrast.T).T)
    return found


# Statistics, by brute force.


def test_ranks_are_those_of_mann_and_whitney():
    X, label = rows_of(30, 40)
    largest = 0
    for column in X.T:
        u = mannwhitneyu(column[label], column[~label]).statistic
        z = (u - 30 * 40 / 2) / np.sqrt(30 * 40 * 71 / 12)
        largest = max(largest, z**2)
    # The variance is that of n rows, not of n - 1.
    assert observed(X, label)["ranks of a column"] == pytest.approx(largest * 70 / 69)


def test_shapes_of_columns():
    X, label = rows_of(40, 60)
    found = observed(X, label)
    order = np.argsort(np.argsort(X, axis=0), axis=0)
    bins = order // 10
    for j in range(3):
        counts = [np.bincount(bins[side, j], minlength=10) for side in (label, ~label)]
        # chi2_contingency divides by the share, the test by share times 1 - share.
        expected = chi2_contingency(counts).statistic / 0.9
        assert found["chi-squared"][0, j] == pytest.approx(expected)
        squares = []
        for k in range(1, 20):
            below = order[:, j] < 5 * k
            difference = below[label].mean() - below[~label].mean()
            spread = below.mean() * (1 - below.mean())
            squares.append(difference**2 * 40 * 60 / 100 / spread)
        assert found["Anderson-Darling"][0, j] == pytest.approx(np.mean(squares))


def test_kernels_are_the_maximum_mean_discrepancy():
    X, label = rows_of(20, 30)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    squared = ((Z[:, None] - Z) ** 2).sum(axis=2)
    K = rbf_kernel(Z, gamma=2 / np.median(squared[np.triu_indices(50, 1)]))
    w = np.where(label, 1 / 20, -1 / 30)
    found = observed(X, label)["MMD, narrow kernel"]
    assert found == pytest.approx(w @ K @ w * 20 * 30 / 50, rel=1e-6)


def test_means_and_covariances_are_the_score_test():
    X, label = rows_of(20, 30)
    known = score_test(X, label, n_permutations=1, random_state=0).statistic
    assert observed(X, label)["means and covariances"] == pytest.approx(known)


def test_a_labelling_has_one_statistic_wherever_it_stands():
    """So all labellings are equally likely to have the largest: the level is exact."""
    X, _ = rows_of(3, 4, 2)
    banks = banks_of(X, np.random.RandomState(0))
    labels = [np.isin(np.arange(7), each) for each in combinations(range(7), 3)]
    contrasts = np.concatenate(
        [next(permuted_contrasts(each, np.arange(7), 0, None)) for each in labels]
    )
    plain = jointly_tested(banks, [contrasts])
    together = [plain.statistic, *plain.null_distribution]
    for k in (1, 17):
        order = [k, *(j for j in range(len(labels)) if j != k)]
        result = jointly_tested(banks, [contrasts[order]])
        assert result.statistic == pytest.approx(together[k])
        assert result.pvalue == pytest.approx(
            np.mean(np.array(together) >= together[k] - 1e-9)
        )


def test_one_statistic_alone_is_its_permutation_test():
    X, label = rows_of(10, 12, 1)
    bank = Bank(X - X.mean(), lambda z: {"mean": z[:, 0] ** 2})
    contrasts = permuted_contrasts(label, np.arange(22), 99, np.random.default_rng(0))
    result = jointly_tested([bank], contrasts)
    assert result.pvalue == result.parts["mean"]


# Level and power.


def pvalues(n_tests, draw, n_permutations=39, **kwargs):
    found = []
    for seed in range(n_tests):
        X, y = pool(**draw(np.random.default_rng(seed)))
        result = two_sample_test(
            None, X, y, n_permutations=n_permutations, random_state=seed, **kwargs
        )
        found.append(result.pvalue)
    return np.array(found)


def assert_uniform(found, n_permutations):
    jitter = np.random.default_rng(0).uniform(size=len(found))
    assert kstest(found - jitter / (n_permutations + 1), "uniform").pvalue > 0.01


@pytest.mark.usefixtures("_few_trees")
def test_pvalue_is_uniform_without_a_shift():
    def mixed(rng):
        table = pd.DataFrame({"amount": rng.exponential(size=50)})
        table.loc[rng.uniform(size=50) < 0.3, "amount"] = np.nan
        table["kind"] = pd.Categorical(rng.choice(["a", "b", "c"], 50))
        table["length"] = rng.uniform(size=50)
        return {"numerator": table[:20], "denominator": table[20:]}

    found = pvalues(100, mixed)
    assert_uniform(found, 39)


SHIFTS = {
    "mean": lambda p, rng: p + np.array([0.6, 0, 0]),
    "spread": lambda p, rng: p * [1.7, 1, 1],
    "correlation": lambda p, rng: np.column_stack(
        [0.8 * p[:, 1] + 0.6 * p[:, 0], p[:, 1:]]
    ),
    "two peaks": lambda p, rng: np.column_stack(
        [0.97 * np.sign(p[:, 0]) + 0.24 * rng.normal(size=len(p)), p[:, 1:]]
    ),
}


@pytest.mark.usefixtures("_few_trees")
@pytest.mark.parametrize("kind", SHIFTS)
def test_no_kind_of_shift_is_missed(kind):
    def shifted(rng):
        p, q = rng.normal(size=(2, 120, 3))
        return {"numerator": SHIFTS[kind](p, rng), "denominator": q}

    assert np.mean(pvalues(6, shifted, 99) <= 0.05) >= 5 / 6


@pytest.mark.parametrize("what", ["category", "missing"])
def test_tables_of_mixed_types(what):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"kind": pd.Categorical(rng.choice(["a", "b"], 200)), "x": rng.normal(size=200)}
    )
    label = np.arange(200) < 100
    if what == "category":
        table["kind"] = table["kind"].where(
            ~(label & (rng.uniform(size=200) < 0.7)), "a"
        )
    else:
        table.loc[label & (rng.uniform(size=200) < 0.4), "x"] = None
    assert two_sample_test(None, table, label, random_state=0).pvalue < 0.01
    shuffled = rng.permutation(label)
    assert two_sample_test(None, table, shuffled, random_state=0).pvalue > 0.01


@pytest.mark.usefixtures("_few_trees")
def test_labels_of_whole_groups():
    def customers(rng):
        means = np.repeat(rng.normal(size=(24, 2)), 5, axis=0)
        rows = means + 0.3 * rng.normal(size=(120, 2))
        return {"numerator": rows[:60], "denominator": rows[60:]}

    groups = np.repeat(np.arange(24), 5)
    grouped = pvalues(50, customers, groups=groups)
    assert_uniform(grouped, 39)
    # The counterpart: rows are no observations of their own here.
    assert np.mean(pvalues(8, customers) <= 0.05) > 0.4


def test_an_estimator_has_a_fifth_of_the_level():
    X, y = pool(
        numerator=np.random.default_rng(0).normal(size=(60, 2)),
        denominator=np.random.default_rng(1).normal(size=(60, 2)),
    )
    kwargs = {"n_permutations": 99, "random_state": 0}
    alone = two_sample_test(None, X, y, **kwargs)
    found = two_sample_test(GaussianRatio(), X, y, **kwargs)
    assert found.parts["ratio"] == 1.0
    assert found.pvalue == pytest.approx(min(1.0, alone.pvalue / 0.8))
    assert "parts" not in repr(found)


def test_absurd_values_decide_nothing():
    X, y = pool(
        numerator=np.random.default_rng(0).normal(0.7, 1, (80, 2)),
        denominator=np.random.default_rng(1).normal(size=(80, 2)),
    )
    X[0] = 1e12
    with pytest.warns(UserWarning, match="far from all others.* 1 of 160 rows"):
        found = two_sample_test(None, X, y, n_permutations=99, random_state=0)
    assert found.pvalue == 0.01


def test_plain_table_knows_no_labels():
    table = pd.DataFrame({"a": [1.0, np.nan, 3.0, 9.0] * 10, "b": list("xyzx") * 10})
    plain = plain_table(table)
    assert plain.shape == (40, 5)
    assert np.isfinite(plain).all()
    np.testing.assert_array_equal(np.unique(plain[:, 0]), [1, 3, 9])


# Weights.


def shifted_normals(rng):
    q = rng.normal(size=(200, 2))
    return {"numerator": rng.normal([0.6, 0], 1, (200, 2)), "denominator": q}


def true_weights(X_p, X_q):
    return np.exp(0.6 * X_q[:, 0] - 0.18)


@pytest.mark.usefixtures("_few_trees")
def test_right_weights_pass_and_wrong_ones_do_not():
    passed = pvalues(12, shifted_normals, reweight=true_weights)
    assert np.mean(passed <= 0.05) <= 0.2
    assert np.mean(passed) > 0.3
    wrong = pvalues(3, shifted_normals, reweight=lambda p, q: np.ones(len(q)))
    assert (wrong <= 0.05).all()


@pytest.mark.usefixtures("_few_trees")
def test_weights_are_fitted_again():
    fitted = pvalues(4, shifted_normals, reweight=GaussianRatio(shrink=False))
    assert np.mean(fitted <= 0.05) <= 0.25
    # Logistic regression cannot make up for a spread.
    blind = ClassifierRatio(LogisticRegression())

    def spread(rng):
        return {
            "numerator": rng.normal(size=(200, 2)) * [0.5, 1],
            "denominator": rng.normal(size=(200, 2)),
        }

    assert (pvalues(2, spread, reweight=blind) <= 0.05).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "split"}, "method='split' needs a ratio"),
        ({"method": "split", "reweight": true_weights}, "reweight is for"),
        ({"estimator": GaussianRatio(), "reweight": true_weights}, "reweight is for"),
        ({"reweight": lambda p, q: np.ones(3)}, "got the shape"),
        ({"reweight": lambda p, q: -np.ones(len(q))}, "not negative"),
        ({"X": np.ones((20, 2))}, "constant columns only"),
        ({"X": np.full((20, 2), np.inf)}, "infinity"),
        ({"X": np.zeros((20, 1), "datetime64[s]")}, "dates"),
    ],
)
def test_bad_input(change, message):
    X = np.random.default_rng(0).normal(size=(20, 2))
    arguments = {"estimator": None, "X": X, "y": np.arange(20) < 8} | change
    with pytest.raises(ValueError, match=message):
        two_sample_test(**arguments)
