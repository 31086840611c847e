"""Rows of one group are one observation, in folds, errors and permutations."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier

from skdre import (
    ClassifierRatio,
    DensityRatioMixin,
    GaussianRatio,
    MutualInformation,
    diagnose,
    divergence,
    mutual_information,
    score_test,
    shift_importance,
    two_sample_test,
)
from skdre._core.groups import balanced_folds, error_of_means, joined_groups
from skdre.information._means import standard_error
from skdre.information._pairs import shifted_partners

FUNCTIONS = [divergence, two_sample_test, diagnose, shift_importance]


def customers(seed, n_groups=40, n_rows=10, noise=0.05):
    """Rows of a customer are near-copies, each customer lies in one sample: p = q."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), n_rows)
    X = rng.normal(size=(n_groups, 2))[groups]
    X += noise * rng.normal(size=X.shape)
    order = rng.permutation(len(X))
    return X[order], (groups % 2)[order], groups[order]


class Linear(DensityRatioMixin, BaseEstimator):
    """The first column, as a log ratio."""

    def fit(self, X, y):
        self.n_features_in_, self.classes_ = 2, np.unique(y)
        return self

    def decision_function(self, X):
        return np.asarray(X)[:, 0] / 2


def neighbours():
    return ClassifierRatio(KNeighborsClassifier(5))


class Recorder(DensityRatioMixin, BaseEstimator):
    """Remembers the groups that it is fitted on, and refuses to see them again.

    The second column is the number of the group.
    """

    def fit(self, X, y):
        self.groups_ = set(np.asarray(X)[:, 1])
        self.mean_ = np.asarray(X)[:, 0].mean()
        self.n_features_in_, self.classes_ = 2, np.unique(y)
        return self

    def decision_function(self, X):
        X = np.asarray(X)
        assert not self.groups_ & set(X[:, 1])
        return X[:, 0] - self.mean_


@pytest.mark.parametrize("function", [divergence, two_sample_test, diagnose])
@pytest.mark.parametrize("cv", [5, 3, StratifiedGroupKFold(4)])
def test_no_group_in_two_folds(function, cv):
    X, y, groups = customers(0)
    params = {"method": "refit", "n_permutations": 2}
    params = params if function is two_sample_test else {}
    X[:, 1] = groups
    function(Recorder(), X, y, groups=groups, cv=cv, random_state=0, **params)
    if isinstance(cv, int):
        with pytest.raises(AssertionError):
            function(Recorder(), X, y, cv=cv, random_state=0, **params)


def test_no_group_is_split():
    X, y, groups = customers(0)
    X[:, 1] = groups
    two_sample_test(Recorder(), X, y, groups=groups, random_state=0)


def test_divergence_of_equal_samples():
    """Without groups the neighbours of a row are its own customer's."""
    z, alone = [], []
    for seed in range(12):
        X, y, groups = customers(seed)
        params = {"kind": "jensen_shannon", "random_state": 0}
        found = divergence(neighbours(), X, y, **params)
        alone.append(float(found) / found.standard_error)
        found = divergence(neighbours(), X, y, groups=groups, **params)
        # A ratio that is wrong makes the bound smaller: only the upper side counts.
        z.append(float(found) / found.standard_error)
    assert min(alone) > 10
    assert max(z) < 2


def test_standard_error_of_a_fixed_ratio():
    """The spread over draws is that which the standard error says, by groups only."""
    ratio = Linear().fit(None, [0, 1])
    values, errors, alone = [], [], []
    for seed in range(100):
        X, y, groups = customers(seed, n_groups=60)
        params = {"kind": "total_variation", "cv": "prefit"}
        found = divergence(ratio, X, y, groups=groups, **params)
        values.append(float(found))
        errors.append(found.standard_error)
        alone.append(divergence(ratio, X, y, **params).standard_error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)
    assert np.mean(alone) < np.std(values) / 2


def test_standard_error_where_groups_have_rows_of_both_samples():
    """What both samples share cancels in the difference of their means."""
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(50), 4)
    shared = rng.normal(size=50)[day]
    p, q = rng.normal(size=(2, 200)) + 3 * shared
    in_p, in_q = (p - p.mean()) / 200, (q.mean() - q) / 200
    error = error_of_means(in_p, in_q, (day, day))
    by_day = (p - q).reshape(50, 4).mean(axis=1)
    assert error == pytest.approx(by_day.std(ddof=1) / np.sqrt(50), rel=0.1)
    apart = error_of_means(in_p, in_q, (day, day + 50))
    assert apart > 3 * error


@pytest.mark.parametrize("method", ["split", "prefit", "refit"])
def test_level(method):
    X, y, _ = customers(99)
    estimator = neighbours()
    if method == "prefit":
        estimator.fit(X, y)
    n_permutations = 9 if method == "refit" else 19
    params = {"n_permutations": n_permutations, "cv": 2, "random_state": 0}
    params["method"] = method
    n_tests = 6 if method == "refit" else 60
    with_groups, alone = [], []
    for seed in range(n_tests):
        X, y, groups = customers(seed, n_groups=24)
        found = two_sample_test(estimator, X, y, groups=groups, **params)
        with_groups.append(found.pvalue)
        if seed < 15 and method != "refit":
            alone.append(two_sample_test(estimator, X, y, **params).pvalue)
    with_groups = np.array(with_groups)
    # Binomial with 60 tests at 20 %: 22 or more have a probability of .002.
    assert np.sum(with_groups <= 0.2) < (22 if n_tests == 60 else 5)
    if n_tests == 60:
        assert 0.35 < with_groups.mean() < 0.7
        # Without groups they see what is not there.
        assert np.mean(np.array(alone) <= 0.05) > 0.25


def test_level_and_power_of_the_score_test():
    with_groups, alone = [], []
    for seed in range(100):
        X, y, groups = customers(seed, n_groups=24, n_rows=4)
        y = np.random.default_rng(seed).permutation(24)[groups] < 9
        found = score_test(X, y, groups=groups, n_permutations=39, random_state=0)
        with_groups.append(found.pvalue)
        alone.append(score_test(X, y, n_permutations=39, random_state=0).pvalue)
    # Binomial with 100 tests at 20 %: 33 or more have a probability of .002.
    assert 7 < np.sum(np.array(with_groups) <= 0.2) < 33
    assert 0.4 < np.mean(with_groups) < 0.6
    assert np.mean(np.array(alone) <= 0.05) > 0.5
    X, y, groups = customers(0)
    assert score_test(X + y[:, None], y, groups=groups, random_state=0).pvalue < 0.01
    with pytest.raises(ValueError, match="groups with rows of both samples"):
        score_test(X, y, groups=groups // 2)


def test_power():
    X, y, groups = customers(0)
    found = two_sample_test(
        GaussianRatio(shrink=False), X + 2 * y[:, None], y, groups=groups
    )
    assert found.pvalue < 0.01


@pytest.mark.parametrize("statistic", ["kl", "roc_auc"])
def test_groups_of_one_row(statistic):
    """Are the rows themselves, up to how folds and labels are drawn."""
    X, y, _ = customers(0, n_rows=1, n_groups=100)
    X[y == 1] += 0.5
    alone, grouped = (
        two_sample_test(
            GaussianRatio(shrink=False).fit(X, y),
            X,
            y,
            groups=groups,
            method="prefit",
            statistic=statistic,
            random_state=0,
        )
        for groups in (None, np.arange(100))
    )
    assert grouped.statistic == pytest.approx(alone.statistic)
    assert grouped.null_distribution.mean() == pytest.approx(
        alone.null_distribution.mean(), abs=0.05
    )
    errors = [
        divergence(
            GaussianRatio(shrink=False).fit(X, y), X, y, groups=groups, cv="prefit"
        )
        for groups in (None, np.arange(100))
    ]
    assert errors[0].standard_error == pytest.approx(errors[1].standard_error)


def test_diagnosis_errors_are_those_of_groups():
    X, y, groups = customers(0)
    ratio = Linear().fit(X, y)
    alone = diagnose(ratio, X, y, cv="prefit")
    found = diagnose(ratio, X, y, groups=groups, cv="prefit")
    for name in ("log_loss", "normalization", "calibration_slope"):
        assert found[name].value == alone[name].value
        ratio_of_errors = found[name].standard_error / alone[name].standard_error
        # Ten near-copies a customer: the root of ten.
        assert 2.3 < ratio_of_errors < 4


def pairs(seed, n_groups=60, n_rows=6):
    """Pairs of a customer are near-copies; X and Y are independent."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), n_rows)
    places = rng.normal(size=(2, n_groups, 1))[:, groups]
    X, Y = places + 0.05 * rng.normal(size=places.shape)
    return X, Y, groups


@pytest.mark.filterwarnings("ignore:The ratio is the same")
def test_mutual_information_of_independent_vectors():
    for seed in range(8):
        X, Y, groups = pairs(seed)
        alone = mutual_information(X, Y, neighbours(), random_state=0)
        assert float(alone) > 0.5
        found = mutual_information(X, Y, neighbours(), groups=groups, random_state=0)
        assert float(found) < 2 * found.standard_error
        found = mutual_information(
            X, Y, GaussianRatio(shrink=False), groups=groups, random_state=0
        )
        # It may see no dependence at all.
        assert abs(float(found)) <= 3 * found.standard_error


@pytest.mark.parametrize("cv", [4, GroupKFold(4)])
def test_folds_of_pairs_are_whole_groups(cv):
    X, Y, groups = pairs(0)
    X[:, 0] = groups + 1e-6 * X[:, 0]

    class Same(Recorder):
        def fit(self, X, y):
            return super().fit(np.column_stack([X[:, 1], np.rint(X[:, 0])]), y)

        def decision_function(self, X):
            X = np.column_stack([X[:, 1], np.rint(X[:, 0])])
            return super().decision_function(X)

    model = MutualInformation(Same(), cv=cv, random_state=0).fit(X, Y, groups=groups)
    assert len(model.ratios_) == 4


def test_fits_on_pairs_are_told_of_groups():
    X, Y, groups = pairs(0)
    X[:, 0] = groups + 1e-6 * X[:, 0]
    told = []

    class Told(Recorder):
        def fit(self, X, y, groups=None):
            told.append((np.rint(X[:, 0]), y, groups))
            return super().fit(X, y)

        def decision_function(self, X):
            return X[:, 1]

    MutualInformation(Told(), cv=2, random_state=0).fit(X, Y, groups=groups)
    assert len(told) == 2
    for of_x, y, of_fit in told:
        # A permuted row is of the group of its X.
        assert (y == 0).any()
        assert len(np.unique(of_fit)) == len(np.unique(of_x)) > 2
        assert len(np.unique(np.column_stack([of_x, of_fit]), axis=0)) == len(
            np.unique(of_x)
        )


def test_partners_are_of_other_groups():
    rng = np.random.RandomState(0)
    cluster = rng.permutation(np.repeat(np.arange(9), rng.permutation(9) + 1))
    partners = shifted_partners(45, 5, rng, cluster)
    assert partners.shape == (45, 5)
    assert (cluster[partners] != cluster[:, None]).all()
    for column in partners.T:
        assert sorted(column) == list(range(45))
    assert shifted_partners(45, 100, rng, cluster).shape == (45, 45 + 1 - 18)


def test_error_of_pairs_by_groups():
    """Every pair five times, with the same partners, says what one does."""
    rng = np.random.default_rng(0)
    n, m = 40, 3
    a, b = rng.normal(size=n), rng.normal(size=(n, m))
    columns = shifted_partners(n, m, np.random.RandomState(0))
    one = standard_error(a, b, columns)
    five = standard_error(
        np.tile(a, 5),
        np.tile(b, (5, 1)),
        np.concatenate([columns + k * n for k in range(5)]),
        np.tile(np.arange(n), 5),
    )
    assert five == pytest.approx(one)
    assert standard_error(a, b, columns, np.arange(n)) == pytest.approx(one)


def test_copies_join_groups():
    groups = np.array([0, 0, 1, 1, 2, 2])
    observation = np.array([0, 1, 1, 3, 4, 5])
    np.testing.assert_array_equal(
        joined_groups(groups, observation), [0, 0, 0, 0, 1, 1]
    )
    X, y, groups = customers(0)
    # Every customer of a sample has a row of the next.
    X_more = np.vstack([X, X])
    more = np.concatenate([groups, (groups + 2) % 40])
    with pytest.raises(ValueError, match=r"groups must hold .* got 1 of the numerator"):
        divergence(GaussianRatio(shrink=False), X_more, np.tile(y, 2), groups=more)


def test_folds_of_groups_are_of_even_size():
    rng = np.random.default_rng(0)
    mass = np.zeros((2, 60))
    mass[np.arange(60) % 2, np.arange(60)] = rng.integers(1, 20, 60)
    fold = balanced_folds(mass, 5, rng.permutation(60))
    for sample in mass:
        sizes = np.bincount(fold, sample) / sample.sum()
        assert 0.17 < sizes.min() < sizes.max() < 0.23


@pytest.mark.parametrize("function", FUNCTIONS)
def test_wrong_groups(function):
    X, y, groups = customers(0)
    with pytest.raises(ValueError, match="groups must have one entry for each of the"):
        function(GaussianRatio(shrink=False), X, y, groups=groups[1:])
    with pytest.raises(ValueError, match="groups contains NaN"):
        function(
            GaussianRatio(shrink=False), X, y, groups=np.where(groups, groups, np.nan)
        )
    few = {"method": "refit"} if function is two_sample_test else {}
    three = np.where(y, groups % 3, groups + 5)
    with pytest.raises(ValueError, match=r"groups must hold.*cv=5.*got 3 of the num"):
        function(GaussianRatio(shrink=False), X, y, groups=three, **few)
    if function is not two_sample_test:
        with (
            pytest.warns(UserWarning, match="groups parameter is ignored"),
            pytest.raises(ValueError, match=r"cv=KFold.*parts \d+ groups"),
        ):
            function(
                GaussianRatio(shrink=False),
                X,
                y,
                groups=groups,
                cv=KFold(5, shuffle=True),
            )


def test_groups_with_rows_of_both_samples():
    X, y, groups = customers(0)
    both = groups // 2
    with pytest.raises(ValueError, match=r"groups has 20 of 20 groups with rows of bo"):
        two_sample_test(GaussianRatio(shrink=False), X, y, groups=both)
    for function in (divergence, diagnose, shift_importance):
        function(GaussianRatio(shrink=False), X, y, groups=both, random_state=0)
    with pytest.raises(ValueError, match=r"two groups .* of each domain"):
        two_sample_test(
            GaussianRatio(shrink=False), X, y, groups=np.where(y, 0, groups + 1)
        )


def test_wrong_groups_of_pairs():
    X, Y, groups = pairs(0)
    params = {"ratio": GaussianRatio(shrink=False), "random_state": 0}
    with pytest.raises(ValueError, match="groups must have one entry for each of the"):
        mutual_information(X, Y, groups=groups[1:], **params)
    with pytest.raises(ValueError, match=r"groups must hold 10 groups.*got 7"):
        mutual_information(X, Y, groups=groups % 7, **params)
    large = np.where(groups < 40, 0, groups)
    with pytest.raises(ValueError, match=r"groups has a group with 240 of the"):
        mutual_information(X, Y, groups=large, **params)


def test_names_of_groups():
    X, y, groups = customers(0)
    names = np.array([f"customer {each:02d}" for each in groups], object)
    one, other = (
        divergence(GaussianRatio(shrink=False), X, y, groups=each, random_state=0)
        for each in (groups, names)
    )
    assert float(one) == float(other)
