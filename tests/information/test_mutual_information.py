"""Mutual information against Gaussians, where it is known, and against bad input."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from scipy.special import digamma
from scipy.stats import multivariate_normal, norm, rankdata
from sklearn.base import BaseEstimator, clone
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold, ShuffleSplit, TimeSeriesSplit
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from skdre import (
    ClassifierRatio,
    KMMRatio,
    MutualInformation,
    make_pipeline,
    mutual_information,
    pool,
)
from skdre.base import DensityRatioMixin
from skdre.information._mutual_information import _check_default
from skdre.information._pair_checks import check_neighbours, neighbour_estimate
from skdre.information._pairs import _joined, shifted_partners

GAUSSIAN = ClassifierRatio(QuadraticDiscriminantAnalysis())
KINDS = ["direct", "nwj", "dv"]


def draw(n, d=1, rho=0.8, seed=0):
    rng = np.random.default_rng(seed)
    X, noise = rng.normal(size=(2, n, d))
    return X, rho * X + np.sqrt(1 - rho**2) * noise


def truth(d, rho):
    return -d / 2 * np.log(1 - rho**2)


class TrueRatio(DensityRatioMixin, BaseEstimator):
    """The log ratio of `draw`, times a sign, plus a constant."""

    def __init__(self, rho=0.8, sign=1, offset=0.0):
        self.rho = rho
        self.sign = sign
        self.offset = offset

    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        self.n_features_in_ = X.shape[1]
        self.shape_ = {label: (y == label).sum() for label in (0, 1)}
        return self

    def decision_function(self, X):
        d, rho = X.shape[1] // 2, self.rho
        x, y = X[:, :d], X[:, d:]
        square = rho**2 * (x**2 + y**2) - 2 * rho * x * y
        log_ratio = truth(d, rho) - square.sum(axis=1) / (2 * (1 - rho**2))
        return self.sign * log_ratio + self.offset


# The rows.


@pytest.mark.parametrize(("n", "m"), [(2, 1), (2, 5), (7, 3), (7, 6), (30, 100)])
def test_partners(n, m):
    partners = shifted_partners(n, m, np.random.RandomState(0))
    assert partners.shape == (n, min(m, n - 1))
    own = np.arange(n)
    for column in partners.T:
        np.testing.assert_array_equal(np.sort(column), own)
        assert (column != own).all()
    for row in partners:
        assert len(set(row)) == len(row)


def test_partners_are_random():
    rng = np.random.RandomState(0)
    counts = np.zeros((5, 5))
    for _ in range(2000):
        counts[np.arange(5), shifted_partners(5, 1, rng)[:, 0]] += 1
    off_diagonal = counts[~np.eye(5, dtype=bool)]
    assert (counts.diagonal() == 0).all()
    np.testing.assert_allclose(off_diagonal, 500, atol=100)


def test_joined_rows():
    X, Y = np.array([[1.0], [2], [3]]), np.array([[10.0], [20], [30]])
    partners = np.array([[1, 2], [2, 0], [0, 1]])
    expected = [[1, 20], [2, 30], [3, 10], [1, 30], [2, 10], [3, 20]]
    np.testing.assert_array_equal(_joined(X, Y, partners), expected)


class Recorder(TrueRatio):
    """Keeps what it was fitted on and asked."""

    def fit(self, X, y):
        self.joint_, self.permuted_, self.asked_ = X[y == 1], X[y == 0], []
        return super().fit(X, y)

    def decision_function(self, X):
        self.asked_.append(X)
        return super().decision_function(X)


def test_held_out_pairs_are_not_fitted():
    X = np.arange(30.0)[:, None]
    Y = 100 + np.random.default_rng(0).permutation(np.arange(30.0))[:, None]
    model = MutualInformation(Recorder(), cv=3, n_permutations=4, random_state=0)
    ratios = model.fit(X, Y).ratios_
    assert len(ratios) == 3
    held_out = []
    for ratio in ratios:
        (asked,) = ratio.asked_
        joint, permuted = asked[:10], asked[10:]
        held_out.append(joint[:, 0])
        for columns in (0, 1):
            fitted = {
                *ratio.joint_[:, columns].tolist(),
                *ratio.permuted_[:, columns].tolist(),
            }
            assert fitted.isdisjoint(joint[:, columns])
            assert fitted.isdisjoint(permuted[:, columns])
        assert len(ratio.joint_) == 20
        assert len(ratio.permuted_) == 80
        assert len(permuted) == 40
        for rows, is_joint in ((joint, True), (permuted, False)):
            assert ((rows[:, 1] == Y[rows[:, 0].astype(int), 0]) == is_joint).all()
    np.testing.assert_array_equal(np.sort(np.concatenate(held_out)), X[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_true_ratio_it_is_the_mean(kind):
    X, Y = draw(101, d=2)
    model = MutualInformation(TrueRatio(), kind=kind, random_state=0).fit(X, Y)
    estimate = model.estimate_
    expected = TrueRatio().decision_function(np.hstack([X, Y]))
    np.testing.assert_allclose(estimate.log_ratios, expected)
    np.testing.assert_allclose(model.pointwise(X, Y), expected)
    assert estimate.denominator_log_ratios.shape == (101, 5)
    mean = np.exp(estimate.denominator_log_ratios).mean()
    assert float(estimate) == pytest.approx(
        expected.mean() - {"direct": 0, "nwj": mean - 1, "dv": np.log(mean)}[kind]
    )
    assert model.mutual_information_ == estimate.value
    assert model.standard_error_ == estimate.standard_error


def test_denominator_log_ratios_stand_beside_their_x():
    class First(TrueRatio):
        def decision_function(self, X):
            return X[:, 0]

    X, Y = draw(23)
    estimate = mutual_information(X, Y, First(), cv=4, n_permutations=3)
    expected = np.broadcast_to(X, (23, 3))
    np.testing.assert_array_equal(estimate.denominator_log_ratios, expected)


# The value.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("d", "rho"), [(1, 0.3), (1, 0.9), (3, 0.6)])
def test_gaussians(d, rho, kind):
    X, Y = draw(3000, d, rho)
    estimate = mutual_information(X, Y, GAUSSIAN, kind=kind, random_state=0)
    assert abs(float(estimate) - truth(d, rho)) < 3 * estimate.standard_error
    assert estimate.standard_error < 0.1 * truth(d, rho) + 0.01
    assert estimate.value > 0.5 * truth(d, rho)


@pytest.mark.filterwarnings("ignore:.*rows in effect:UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_ratios_are_seen(kind):
    X, Y = draw(2000)
    value = {
        name: float(mutual_information(X, Y, ratio, kind=kind, random_state=0))
        for name, ratio in (
            ("true", TrueRatio()),
            ("inverted", TrueRatio(sign=-1)),
            ("constant", TrueRatio(sign=0)),
            ("scaled", TrueRatio(offset=1.0)),
        )
    }
    assert value["inverted"] < 0
    assert value["constant"] == pytest.approx(0)
    gain = {"direct": 1, "dv": 0, "nwj": 1 - (np.e - 1)}[kind]
    assert value["scaled"] - value["true"] == pytest.approx(gain, abs=0.1)


class GaussianFit(TrueRatio):
    """The plug-in of two Gaussians: a fit of microseconds."""

    def fit(self, X, y):
        self.normals_ = [
            multivariate_normal(X[y == k].mean(axis=0), np.cov(X[y == k].T))
            for k in (0, 1)
        ]
        return super().fit(X, y)

    def decision_function(self, X):
        return self.normals_[1].logpdf(X) - self.normals_[0].logpdf(X)


@pytest.mark.parametrize("rho", [0.0, 0.8])
@pytest.mark.parametrize("kind", ["direct", "nwj"])
def test_standard_error_covers(kind, rho):
    z = []
    for seed in range(60):
        X, Y = draw(300, rho=rho, seed=seed)
        estimate = mutual_information(X, Y, GaussianFit(), kind=kind, random_state=seed)
        z.append((float(estimate) - truth(1, rho)) / estimate.standard_error)
    covered = np.mean(np.abs(z) < 1.96)
    # Near independence all is of second order: the log ratio's error is as large as
    # the log ratio, and its mean a little below 0.
    assert covered > (0.9 if rho else 0.8)
    assert 0.8 < np.std(z) < 1.2


def test_bounds_lie_below_on_average():
    """A ratio that is wrong: NWJ and DV stay below the truth, the direct mean not."""
    values = {kind: [] for kind in KINDS}
    wrong = TrueRatio(rho=0.9, offset=0.5)
    for seed in range(20):
        X, Y = draw(500, rho=0.6, seed=seed)
        for kind, each in values.items():
            each.append(float(mutual_information(X, Y, wrong, kind=kind)))
    mean = {kind: np.mean(each) for kind, each in values.items()}
    assert mean["nwj"] < mean["dv"] < truth(1, 0.6)
    assert mean["direct"] > mean["dv"]


@pytest.mark.parametrize("maps", [(lambda x: x, lambda y: y), (np.exp, lambda y: y**3)])
def test_default_ratio(maps):
    """A Gaussian copula, whatever the margins, from few pairs."""
    X, Y = draw(390, rho=0.8)
    first = mutual_information(maps[0](X), maps[1](Y), cv=2, random_state=3)
    assert abs(float(first) - truth(1, 0.8)) < 2.5 * first.standard_error
    assert first.standard_error < 0.05
    again = mutual_information(maps[0](X), maps[1](Y), cv=2, random_state=3)
    np.testing.assert_array_equal(first.log_ratios, again.log_ratios)


def test_default_ratio_of_dense_columns():
    """A common factor of 20 + 20 columns: 400 covariances from 530 pairs a fold."""
    d, n = 20, 800
    common = np.random.default_rng(0).normal(size=(n, 1))
    noise = np.random.default_rng(1).normal(size=(n, 2 * d))
    X, Y = np.split(np.sqrt(0.3) * common + np.sqrt(0.7) * noise, 2, axis=1)
    # Determinants of 0.7 I + 0.3 J.
    log_det = [np.log1p(0.3 / 0.7 * k) for k in (d, 2 * d)]
    true = log_det[0] - log_det[1] / 2
    model = MutualInformation(cv=3, random_state=0).fit(X, Y)
    assert abs(model.mutual_information_ - true) < 0.12
    assert sum(model.weights_.values()) <= 1 + 1e-9


def test_default_ratio_of_heavy_tails():
    """Uncorrelated vectors that share their scale: .375 nats of t, 2 degrees."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 700, 4)) * np.sqrt(2 / rng.chisquare(2, (700, 1)))
    model = MutualInformation(cv=2, random_state=0).fit(X, Y)
    assert abs(model.mutual_information_ - 0.375) < 0.12
    assert model.weights_["Student-t copula"] > 0.5
    np.testing.assert_allclose(model.pointwise(X[:5], Y[:5]).shape, (5,))


def test_default_ratio_of_sharp_dependence():
    """Y is uniform around X: no copula of the closed forms fits."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(1200, 1))
    Y = X + rng.uniform(-0.2, 0.2, size=X.shape)
    estimate = mutual_information(X, Y, cv=2, random_state=0)
    assert abs(float(estimate) - (0.2 - np.log(0.4))) < 0.13


def test_default_ratio_of_independent_vectors():
    X, Y = draw(390, d=2, rho=0.0)
    estimate = mutual_information(X, Y, cv=2, random_state=0)
    assert abs(float(estimate)) < 0.03


def test_default_ratio_keeps_groups_together(monkeypatch):
    """The network's batches pair no rows of one group."""
    seen = []

    def spy(x, y, cluster, seed):
        seen.append(cluster)
        raise RuntimeError("seen")

    monkeypatch.setattr("skdre.auto._pair_ratio.fit_network", spy)
    X, Y = draw(600, rho=0.5)
    with pytest.raises(RuntimeError, match="seen"):
        mutual_information(X, Y, groups=np.arange(600) // 3, random_state=0)
    assert np.unique(seen[0], return_counts=True)[1].max() == 3


@pytest.mark.parametrize(
    ("gap", "value", "reason"),
    [(0.3, 0.4, "held-out"), (0.0, 6.5, "log"), (0.05, 0.4, None)],
)
def test_default_says_where_it_may_be_too_small(gap, value, reason):
    fit = SimpleNamespace(gap=gap)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _check_default(fit, value, 0.02, 1000)
    messages = [str(each.message) for each in caught]
    assert len(messages) == (reason is not None)
    assert all("may well be larger" in each and reason in each for each in messages)


def test_neighbours_of_gaussians():
    X, Y = draw(1500, d=2, rho=0.6)
    value, error = neighbour_estimate(X, Y)
    assert abs(value - truth(2, 0.6)) < 3 * error
    # Counted by hand.
    X, Y = X[:30], Y[:30]
    Z = [norm.ppf(rankdata(each, axis=0) / 31) for each in (X, Y)]
    of_x, of_y = (np.abs(z[:, None] - z).max(axis=2) for z in Z)
    third = np.sort(np.maximum(of_x, of_y), axis=1)[:, 3:4]
    counts = digamma((of_x < third).sum(axis=1)) + digamma((of_y < third).sum(axis=1))
    expected = digamma(3) + digamma(30) - counts.mean()
    assert neighbour_estimate(X, Y)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("function", "value"),
    [(np.abs, 2.5), (lambda x: np.sin(3 * x), 1.5), (lambda x: x + 0.0, 4.5)],
)
def test_functions_are_warned_of(function, value):
    X = np.random.default_rng(0).normal(size=(400, 1))
    with pytest.warns(UserWarning, match="without noise, the mutual information is"):
        check_neighbours(X, function(X), value, 0.05)


@pytest.mark.parametrize("case", ["normal", "groups", "ties", "columns", "few"])
def test_neighbours_keep_quiet(case, recwarn):
    X, Y = draw(600, d=2)
    value, cluster = truth(2, 0.8) - 0.1, None
    if case == "groups":
        X, Y = (np.repeat(each[:200], 3, axis=0) for each in (X, Y))
        X += 1e-9 * np.random.default_rng(1).normal(size=X.shape)
        Y += 1e-9 * np.random.default_rng(2).normal(size=X.shape)
        cluster = np.arange(600) // 3
    elif case == "ties":
        X, Y = np.round(X), np.round(X)
    elif case == "columns":
        X, Y = draw(300, d=5, rho=0.99)
        value = 0.0
    elif case == "few":
        X, Y = X[:6], X[:6]
    check_neighbours(X, Y, value, 0.05, cluster)
    assert not recwarn


def test_kernel_ratio():
    X, Y = draw(400, rho=0.8)
    estimate = mutual_information(X, Y, KMMRatio(), random_state=0)
    assert 0.7 * truth(1, 0.8) < float(estimate) < 1.3 * truth(1, 0.8)


# What does not change it.


def test_affine_maps_change_nothing():
    X, Y = draw(500, d=2)
    one = mutual_information(X, Y, GAUSSIAN, random_state=0)
    mixed = X @ [[1.0, 2.0], [0.0, -3.0]] + 7, 0.1 * Y - 5
    other = mutual_information(*mixed, GAUSSIAN, random_state=0)
    np.testing.assert_allclose(other.log_ratios, one.log_ratios, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_monotone_maps_change_little(kind):
    """The pipeline is fitted in each fold, and takes the columns back to Gaussians."""
    ratio = make_pipeline(
        QuantileTransformer(n_quantiles=300, output_distribution="normal"), GAUSSIAN
    )
    X, Y = draw(2000)
    one = mutual_information(X, Y, ratio, kind=kind, random_state=0)
    warped = mutual_information(np.exp(X), Y**3, ratio, kind=kind, random_state=0)
    raw = mutual_information(np.exp(X), Y**3, GAUSSIAN, kind=kind, random_state=0)
    assert float(warped) == pytest.approx(float(one), abs=0.01)
    assert abs(float(warped) - truth(1, 0.8)) < 3 * warped.standard_error
    # The plug-in knows no such columns: the pipeline makes the difference.
    assert abs(float(raw) - truth(1, 0.8)) > 0.1


def test_symmetric():
    X, Y = draw(1000, d=2)
    one, other = (
        mutual_information(*pair, GAUSSIAN, random_state=0) for pair in ((X, Y), (Y, X))
    )
    assert abs(float(one) - float(other)) < one.standard_error / 3


def test_unlike_widths_and_useless_columns():
    X, Y = draw(2000, rho=0.8)
    noise = np.random.default_rng(1).normal(size=(2000, 2))
    estimate = mutual_information(np.hstack([X, noise]), Y, GAUSSIAN, random_state=0)
    assert abs(float(estimate) - truth(1, 0.8)) < 3 * estimate.standard_error


# Parameters.


def test_repeatable_and_parallel():
    X, Y = draw(60)
    one = mutual_information(X, Y, KMMRatio(random_state=0), random_state=1)
    with parallel_config(backend="threading"):
        ratio = KMMRatio(random_state=0)
        two = mutual_information(X, Y, ratio, random_state=1, n_jobs=2)
    for again in (
        mutual_information(X, Y, KMMRatio(random_state=0), random_state=1),
        two,
    ):
        np.testing.assert_array_equal(again.log_ratios, one.log_ratios)
        assert again.value == one.value
    other = mutual_information(X, Y, KMMRatio(random_state=0), random_state=2)
    assert other.value != one.value


def test_global_seed_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    mutual_information(*draw(60), GAUSSIAN, random_state=0)
    after = np.random.get_state()[1]  # noqa: NPY002
    np.testing.assert_array_equal(after, before)


def test_ratio_is_cloned():
    ratio = make_pipeline(StandardScaler(), clone(GAUSSIAN))
    model = MutualInformation(ratio, random_state=0).fit(*draw(60))
    assert not hasattr(ratio[-1], "classes_")
    assert len({id(each) for each in model.ratios_}) == 5


def test_fitted_ratio():
    """A ratio that was fitted elsewhere is used as it is."""
    X, Y = draw(1000, seed=5)
    rows = _joined(X, Y, shifted_partners(1000, 3, np.random.RandomState(0)))
    fitted = clone(GAUSSIAN).fit(*pool(numerator=np.hstack([X, Y]), denominator=rows))
    X, Y = draw(200, seed=6)
    estimate = mutual_information(X, Y, FrozenEstimator(fitted))
    expected = fitted.decision_function(np.hstack([X, Y]))
    np.testing.assert_allclose(estimate.log_ratios, expected)


@pytest.mark.parametrize("cv", [2, 7, KFold(3), None])
def test_folds(cv):
    X, Y = draw(50)
    model = MutualInformation(GAUSSIAN, cv=cv, random_state=0).fit(X, Y)
    n_folds = {type(None): 5, KFold: 3}.get(type(cv), cv)
    assert len(model.ratios_) == n_folds
    assert np.isfinite(model.estimate_.log_ratios).all()


def test_small_folds_have_fewer_permutations():
    estimate = mutual_information(*draw(20), GAUSSIAN, cv=5, n_permutations=9)
    assert estimate.denominator_log_ratios.shape == (20, 3)


def test_one_dimensional_second_vector():
    X, Y = draw(60)
    flat = mutual_information(X, Y.ravel(), GAUSSIAN, random_state=0)
    assert flat.value == mutual_information(X, Y, GAUSSIAN, random_state=0).value


def test_data_frames():
    X, Y = draw(60, d=2)
    frames = pd.DataFrame(X, columns=["a", "b"]), pd.DataFrame(Y, columns=["c", "d"])
    model = MutualInformation(GAUSSIAN, random_state=0).fit(*frames)
    assert model.feature_names_in_.tolist() == ["a", "b"]
    plain = mutual_information(X, Y, GAUSSIAN, random_state=0)
    assert model.mutual_information_ == plain.value
    np.testing.assert_array_equal(
        model.pointwise(*frames), model.pointwise(frames[0], Y)
    )


# Bad input.


def test_lengths():
    X, Y = draw(50)
    with pytest.raises(ValueError, match="got 50 rows of X and 49 of Y"):
        mutual_information(X, Y[:49], GAUSSIAN)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_not_finite(value, which):
    pair = draw(50)
    pair[which][3] = value
    with pytest.raises(ValueError, match=f"Input {'XY'[which]} contains"):
        mutual_information(*pair, GAUSSIAN)


def test_too_few_pairs():
    with pytest.raises(ValueError, match=r"10 pairs are the least.*n_samples=9"):
        mutual_information(*draw(9), GAUSSIAN)
    with pytest.raises(ValueError, match="fewer than two pairs"):
        mutual_information(*draw(6), GAUSSIAN, cv=KFold(4))


def test_shapes():
    X, Y = draw(50)
    one = mutual_information(X[:, 0], Y[:, 0], GAUSSIAN, random_state=0)
    other = mutual_information(X[:, :1], Y[:, :1], GAUSSIAN, random_state=0)
    assert float(one) == float(other)
    with pytest.raises(ValueError, match="dim"):
        mutual_information(X, Y[:, :, None], GAUSSIAN)
    with pytest.raises(ValueError, match="target y is None"):
        MutualInformation(GAUSSIAN).fit(X, None)


@pytest.mark.parametrize("which", [0, 1])
def test_constant_columns(which):
    pair = draw(50, d=2)
    pair[which][:, 1] = 3.0
    message = f"Column 1 of {'XY'[which]} is constant"
    with pytest.raises(ValueError, match=message):
        mutual_information(*pair, GAUSSIAN)


@pytest.mark.filterwarnings("ignore:Y repeats:UserWarning")
def test_discrete_values_and_repeated_rows():
    X, Y = draw(200)
    with pytest.warns(UserWarning, match=r"Y repeats values in column 0,"):
        mutual_information(X, Y.round(), GAUSSIAN)
    with pytest.warns(UserWarning, match="X repeats values"):
        mutual_information(np.tile(X, (2, 1)), np.tile(Y, (2, 1)), GAUSSIAN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mutual_information(X.round(3), Y.astype(np.float32), GAUSSIAN)


@pytest.mark.parametrize("map", [np.exp, np.negative, lambda x: x])
def test_functions_of_one_another(map):
    X, _ = draw(100, d=2)
    Y = np.column_stack([draw(100, seed=3)[0], map(X[:, 1])])
    with pytest.warns(
        UserWarning, match="Column 1 of Y is a monotone function of column 1"
    ):
        mutual_information(X, Y, TrueRatio())


@pytest.mark.filterwarnings("ignore:X repeats:UserWarning")
def test_columns_of_a_table_are_called_by_their_names():
    X, Y = draw(100, d=2)
    X, Y = (
        pd.DataFrame(each, columns=[*names]) for each, names in ((X, "ab"), (Y, "cd"))
    )
    with pytest.raises(ValueError, match="Column 'b' of X is constant"):
        mutual_information(X.assign(b=1.0), Y, GAUSSIAN)
    with pytest.raises(ValueError, match="Column 'z' of Y is constant"):
        mutual_information(X, pd.Series(np.ones(100), name="z"), GAUSSIAN)
    with pytest.warns(UserWarning, match="X repeats values in column 'a', as"):
        mutual_information(X.round({"a": 0}), Y, GAUSSIAN)
    with pytest.warns(UserWarning, match="'d' of Y is a monotone function of col.*'a'"):
        mutual_information(X, Y.assign(d=X["a"]), TrueRatio())


def test_a_constant_ratio_is_warned_of():
    X, Y = draw(100, d=1)
    with pytest.warns(UserWarning, match="sees no dependence"):
        estimate = mutual_information(X, Y, TrueRatio(sign=0))
    assert float(estimate) == estimate.standard_error == 0


@pytest.mark.parametrize("kind", ["nwj", "dv"])
def test_bounds_that_rest_on_few_rows(kind):
    X, Y = draw(100, d=10, rho=0.95)
    with pytest.warns(UserWarning, match="rests on .* rows in effect"):
        mutual_information(X, Y, TrueRatio(rho=0.95), kind=kind, random_state=0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kind": "smile"}, "kind"),
        ({"cv": 1}, "n_splits"),
        ({"cv": ShuffleSplit(3)}, "hold out every pair once"),
        ({"cv": TimeSeriesSplit(3)}, "hold out every pair once"),
        ({"n_permutations": 0}, "n_permutations"),
        ({"ratio": StandardScaler()}, "ratio"),
        ({"random_state": "x"}, "random_state"),
    ],
)
def test_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        mutual_information(*draw(50), **({"ratio": GAUSSIAN} | params))


def test_ratios_that_are_not_finite():
    with pytest.raises(ValueError, match="must give one finite log ratio"):
        mutual_information(*draw(50), TrueRatio(offset=np.nan))


def test_pointwise_is_checked():
    X, Y = draw(50, d=2)
    model = MutualInformation(TrueRatio())
    with pytest.raises(ValueError, match="not fitted"):
        model.pointwise(X, Y)
    model.fit(X, Y)
    with pytest.raises(ValueError, match="X has 1 features"):
        model.pointwise(X[:, :1], Y)
    with pytest.raises(ValueError, match=r"Y must have the shape \(50, 2\)"):
        model.pointwise(X, Y[:, :1])
    with pytest.raises(ValueError, match="Y must have the shape"):
        model.pointwise(X, Y[:10])


def test_failed_fit_leaves_the_model_as_it_was():
    X, Y = draw(50)
    model = MutualInformation(TrueRatio(), random_state=0).fit(X, Y)
    value = model.mutual_information_
    with pytest.raises(ValueError):
        model.set_params(ratio=TrueRatio(offset=np.nan)).fit(X[:, [0, 0]], Y)
    assert model.mutual_information_ == value
    assert model.n_features_in_ == 1
