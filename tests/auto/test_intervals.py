"""Intervals of the ratio: known spreads, coverage, open ends, groups."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdre import (
    AutoRatio,
    ClassifierRatio,
    GaussianRatio,
    ImportanceWeighted,
    JackknifeRatio,
    LSIFRatio,
    MLPRatio,
    diagnose,
    pool,
)
from skdre.auto._cross_fit import fold_log_ratios, mean_log_ratio
from skdre.auto._intervals import Misfit, half_width, jackknife_scale, jackknife_std
from skdre.base import has_ratio_interval, predict_ratio_interval
from skdre.inspection import LogRatioBandDisplay


def gaussians(n, seed, d=2, shift=0.7, scale=1.0):
    """Rows of N(shift, scale^2) in the first column and of N(0, 1), and log r."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(n, d)), rng.normal(size=(n, d))
    p[:, 0] = scale * p[:, 0] + shift

    def log_ratio(X):
        x = X[:, 0]
        return (x**2 - ((x - shift) / scale) ** 2) / 2 - np.log(scale)

    return *pool(numerator=p, denominator=q), log_ratio


def test_the_spread_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(0).normal(size=30)
    without = np.array([[np.delete(x, k).mean()] for k in range(30)])
    std = jackknife_std([without], jackknife_scale(1 - np.eye(30)))
    assert std == pytest.approx(x.std(ddof=1) / np.sqrt(30))


@pytest.mark.parametrize(
    "seen",
    [
        1 - np.eye(5),
        np.roll(np.eye(5), 1, axis=0) + np.roll(np.eye(5), 2, axis=0),
        1 - np.eye(2),
    ],
)
def test_the_variance_is_right_whatever_share_the_fits_have_seen(seen):
    parts = np.random.default_rng(0).normal(size=(len(seen), 20_000))
    fits = seen @ parts / seen.sum(axis=1, keepdims=True)
    variance = jackknife_std([fits], jackknife_scale(seen)) ** 2
    assert np.mean(variance) == pytest.approx(1 / len(seen), rel=0.05)


def test_half_the_width_covers_an_error_with_a_bias():
    std, bias = np.ones(5), np.array([0.0, 0.5, 1.0, 4.0, 9.0])
    half = half_width(std, bias, 0.9)
    covered = norm.cdf(half - bias) - norm.cdf(-half - bias)
    np.testing.assert_allclose(covered, 0.9, atol=1e-3)
    np.testing.assert_allclose(half_width(np.zeros(1), np.ones(1), 0.9), 1.0)


def covered(model, draw, at, n_times, level=0.9):
    """How often intervals hold the log ratio, over samples and rows."""
    inside = []
    for seed in range(n_times):
        X, y, log_ratio = draw(seed)
        model.set_params(random_state=seed).fit(X, y)
        lower, upper = model.ratio_interval(at, level=level)
        truth = np.exp(log_ratio(at))
        inside.append((lower <= truth) & (truth <= upper))
    return np.mean(inside)


AT = np.array([[-1.0, 0.5], [0.0, 0.0], [0.5, -1.0], [1.5, 1.0], [2.0, -0.5]])


def jackknife(estimator, **params):
    return JackknifeRatio(estimator, **{"n_repeats": 2, "random_state": 0} | params)


# Without the search for the shrinkage, where it is the jackknife that is looked at.
PLUG_IN = GaussianRatio(shrink=False)


# Of 25 samples the standard error of the coverage is .04, the rows of one sample being
# of a kind. With half the spread these intervals cover .82 and .86, with two and a half
# times the spread .98 and 1.
@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_coverage_of_the_plug_in_on_gaussians(scale):
    model = jackknife(GaussianRatio(), n_repeats=1)
    found = covered(model, lambda seed: gaussians(200, seed, scale=scale), AT, 25)
    assert 0.87 < found < 0.98


def tilted(seed, n=200, slope=2.0):
    """Uniform rows, and rows of the density that is exponential in x."""
    rng = np.random.default_rng(seed)
    q = rng.uniform(size=(n, 1))
    p = np.log1p(rng.uniform(size=(n, 1)) * np.expm1(slope)) / slope
    constant = np.log(np.expm1(slope) / slope)
    return *pool(numerator=p, denominator=q), lambda X: slope * X[:, 0] - constant


def test_coverage_of_logistic_regression_on_an_exponential_family():
    model = jackknife(ClassifierRatio(), n_repeats=1)
    at = np.linspace(0.1, 0.9, 5)[:, None]
    assert 0.88 < covered(model, tilted, at, 25, level=0.95) < 0.995


def test_coverage_of_auto_ratio():
    model = AutoRatio([("plug-in", GaussianRatio())])
    # Its folds are a fixed function of the number of rows and of their ranks.
    found = covered(model, lambda seed: gaussians(150 + 4 * seed, seed), AT, 25)
    assert 0.82 < found < 0.98


def test_a_wrong_model_gets_wider_intervals():
    X, y, log_ratio = gaussians(1000, 0, shift=0, scale=2.0)
    model = jackknife(ClassifierRatio()).fit(X, y)
    at = np.column_stack([np.linspace(-3, 3, 41), np.zeros(41)])
    lower, upper = np.log(model.ratio_interval(at))
    truth, found = log_ratio(at), model.decision_function(at)
    assert np.mean(np.abs(found - truth) < 1.7 * model.log_ratio_std(at)) < 0.5
    assert np.mean((lower <= truth) & (truth <= upper)) > 0.75


def test_a_right_ratio_shows_next_to_no_misfit():
    sizes = []
    for seed in range(20):
        X, y, log_ratio = gaussians(400, seed)
        f = log_ratio(X)
        misfit = Misfit.of(f, X, y == 1, np.ones(len(y)))
        sizes.append(np.mean(np.abs(misfit.at(f, X))))
    # A coefficient has a standard error of about .1.
    assert np.median(sizes) < 0.15
    wrong = Misfit.of(f / 2, X, y == 1, np.ones(len(y))).at(f / 2, X)
    assert np.corrcoef(wrong, f)[0, 1] > 0.9


def test_rows_beyond_a_sample_have_an_open_end():
    X, y, _ = gaussians(300, 0, shift=6.0)
    model = jackknife(PLUG_IN).fit(X, y)
    in_p, in_q, in_none = [6.0, 0.0], [0.0, 0.0], [40.0, 0.0]
    assert (model.log_ratio_std([in_p]) < 5).all()
    lower, upper = model.ratio_interval([in_p, in_q, in_none])
    assert upper[0] == np.inf
    assert 0 < lower[0] <= 300 / 2.9
    assert lower[1] == 0
    assert 2.9 / 300 <= upper[1] < 1
    assert (lower[2], upper[2]) == (0, np.inf)


def test_a_greater_level_is_a_wider_interval_around_the_ratio():
    X, y, _ = gaussians(150, 0)
    model = jackknife(PLUG_IN).fit(X, y)
    at = np.random.default_rng(1).normal(scale=3, size=(200, 2))
    ratio = model.predict_ratio(at)
    last = ratio, ratio
    for level in (0.01, 0.5, 0.9, 0.99, 0.9999):
        lower, upper = model.ratio_interval(at, level=level)
        assert (lower <= last[0]).all()
        assert (upper >= last[1]).all()
        last = lower, upper
    assert np.isfinite(ratio).all()
    assert (last[0] < ratio).all()


def test_levels_that_are_refused():
    X, y, _ = gaussians(40, 0)
    model = jackknife(PLUG_IN).fit(X, y)
    for level in (0, 1, 1.5, -0.1, np.nan, True, "0.9", None):
        with pytest.raises(ValueError, match="level must be a number between 0 and 1"):
            model.ratio_interval(X, level=level)


def test_before_the_fit():
    X, y, _ = gaussians(40, 0)
    for model in (jackknife(PLUG_IN), AutoRatio()):
        for method in (model.ratio_interval, model.log_ratio_std):
            with pytest.raises(NotFittedError):
                method(X)
    with pytest.raises(ValueError, match="ClassifierRatio"):
        jackknife(LogisticRegression()).fit(X, y)


def test_the_answer_is_that_of_the_estimator():
    X, y, _ = gaussians(100, 0)
    bare = clone(PLUG_IN).fit(X, y).decision_function(X)
    np.testing.assert_array_equal(
        jackknife(PLUG_IN).fit(X, y).decision_function(X), bare
    )


def in_groups(seed, n_groups=60, size=6):
    """Rows of groups that hardly differ within."""
    X, y, _ = gaussians(n_groups, seed)
    groups = np.repeat(np.arange(len(y)), size)
    noise = 0.01 * np.random.default_rng(seed).normal(size=(len(groups), 2))
    return X[groups] + noise, y[groups], groups


def test_few_rows_are_not_certain():
    """The plug-in takes weak differences for none, whichever of 20 rows it leaves."""
    covered, n_certain = [], 0
    for seed in range(12):
        X, y, log_ratio = gaussians(20, seed, shift=0.5)
        model = JackknifeRatio(GaussianRatio(), random_state=0).fit(X, y)
        n_certain += not model.log_ratio_std(X).any()
        lower, upper = model.ratio_interval(X)
        truth = np.exp(log_ratio(X))
        covered.append(((lower <= truth) & (truth <= upper)).mean())
    assert n_certain > 3
    assert np.mean(covered) > 0.75


@pytest.mark.parametrize(
    "model",
    [
        jackknife(PLUG_IN),
        AutoRatio([("plug-in", PLUG_IN)], random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_groups_are_left_out_whole(model):
    wider = []
    for seed in range(5):
        X, y, groups = in_groups(seed)
        alone = np.median(model.fit(X, y).log_ratio_std(AT))
        together = np.median(model.fit(X, y, groups=groups).log_ratio_std(AT))
        wider.append(together / alone)
    # Of groups of 6 equal rows by the root of 6.
    assert 1.8 < np.mean(wider) < 3.2


def test_groups_of_unequal_sizes_are_dealt_anew_for_each_repeat():
    X, y, _ = gaussians(200, 0)
    groups = np.floor(np.random.default_rng(0).uniform(0, 1, len(y)) ** 2 * 30)
    model = jackknife(PLUG_IN, n_repeats=3).fit(X, y, groups=groups)
    means = {repeat[0].means_[0, 0] for repeat in model.estimators_}
    assert len(means) == 3


def test_inner_folds_keep_groups_together():
    X, y, groups = in_groups(0, n_groups=20)
    ratio = ClassifierRatio(LogisticRegression(), calibration="slope")
    model = jackknife(ratio, n_folds=3).fit(X, y, groups=groups)
    assert np.isfinite(model.log_ratio_std(X)).all()
    with pytest.raises(ValueError, match="fewer than the cv=25 folds"):
        jackknife(ratio, n_folds=25).fit(X, y, groups=groups)


def test_repeats_of_atoms_are_draws():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.poisson(3, (200, 1)), rng.poisson(2, (200, 1))]) * 1.0
    y = np.repeat([1, 0], 200)
    rows, counts = np.unique(np.column_stack([X, y]), axis=0, return_counts=True)
    model = jackknife(PLUG_IN)
    given = model.fit(X, y).ratio_interval([[2.0]])
    weighted = model.fit(rows[:, :1], rows[:, 1], counts).ratio_interval([[2.0]])
    np.testing.assert_allclose(weighted, given, rtol=1e-6)
    assert given[1] < 3 * given[0]


def test_a_single_observation_shows_nothing():
    X, y = pool(numerator=[[1.0]], denominator=[[0.0], [0.5], [2.0]])
    for model in (jackknife(PLUG_IN), AutoRatio()):
        model.fit(X, y)
        assert (model.log_ratio_std(X) == np.inf).all()
        lower, upper = model.ratio_interval(X)
        assert (lower == 0).all()
        assert (upper == np.inf).all()


def test_the_constant_allows_for_what_the_best_candidate_says():
    X, y, _ = gaussians(150, 3, shift=0.0)
    model = AutoRatio([("logistic", ClassifierRatio())], random_state=0).fit(X, y)
    assert model.choice_ == "constant"
    lower, upper = model.ratio_interval(AT)
    assert ((lower < 0.95) & (upper > 1.05)).all()


def test_members_of_networks_stand_for_folds():
    X, y, _ = gaussians(100, 0)
    network = MLPRatio(
        n_estimators=6, hidden_features=(8,), max_iter=50, random_state=0
    ).fit(X, y)
    each = fold_log_ratios([network], X, 3)
    assert each.shape == (3, 200)
    np.testing.assert_allclose(each.mean(0), mean_log_ratio([network], X), atol=1e-5)
    model = AutoRatio([("network", network)], cv=3, random_state=0).fit(X, y)
    assert (model.log_ratio_std(X) > 0).all()


def test_mixtures_have_the_spread_of_their_mean():
    X, y, _ = gaussians(100, 0)
    model = AutoRatio([("a", PLUG_IN)], random_state=0).fit(X, y)
    assert model.weights_ == {"a": 1.0}
    fits = np.array([each.decision_function(AT) for each in model.estimators_["a"]])
    np.testing.assert_allclose(model.log_ratio_std(AT), fits.std(axis=0) * 2)


def test_wrappers_are_looked_through():
    X, y, _ = gaussians(100, 0)
    inner = jackknife(PLUG_IN)
    pipeline = make_pipeline(StandardScaler(), clone(inner)).fit(X, y)
    search = GridSearchCV(inner, {"estimator__shrink": [False]}, cv=2).fit(X, y)
    scaled = pipeline[-1].ratio_interval(pipeline[0].transform(AT))
    for model, own in (
        (pipeline, scaled),
        (FrozenEstimator(pipeline), scaled),
        (search, inner.fit(X, y).ratio_interval(AT)),
    ):
        assert has_ratio_interval(model)
        np.testing.assert_allclose(predict_ratio_interval(model, AT), own)
    with pytest.raises(ValueError, match="has no ratio_interval: take"):
        predict_ratio_interval(GaussianRatio().fit(X, y), AT)


def test_tables_reach_the_estimator():
    X, y, _ = gaussians(100, 0)
    word = np.where(X[:, 1] > 0, "a", "b")
    frame = pd.DataFrame({"x": X[:, 0], "word": pd.Categorical(word)})
    model = AutoRatio([("plug-in", PLUG_IN)], random_state=0).fit(frame, y)
    lower, upper = model.ratio_interval(frame)
    assert (lower < upper).all()
    numbers = frame[["x"]]
    model = jackknife(LSIFRatio(alpha=0.1, gamma=1.0, ridge=0.1)).fit(numbers, y)
    assert np.isfinite(model.log_ratio_std(numbers)).all()


# What uses the intervals.


def test_diagnosis_shows_the_typical_width():
    X, y, _ = gaussians(200, 0)
    model = jackknife(PLUG_IN)
    found = diagnose(model, X, y, random_state=0)["interval_width"]
    lower, upper = model.fit(X, y).ratio_interval(X)
    assert found.grade == "good"
    assert found.value == pytest.approx(np.median(np.log(upper / lower)), rel=0.6)
    assert "interval_width" not in diagnose(GaussianRatio(), X, y).figures
    X, y, _ = gaussians(100, 0, shift=20.0)
    figure = diagnose(model, X, y, random_state=0)["interval_width"]
    assert (figure.value, figure.grade) == (np.inf, "poor")


def test_weights_stop_at_the_end_that_is_nearest_to_one():
    X, y, _ = gaussians(200, 0, shift=1.0)
    source, target = X[y == 0], X[y == 1]
    labels = source[:, 0] ** 2
    ratio = jackknife(PLUG_IN)
    params = {"ratio": ratio, "normalize": False}
    model = ImportanceWeighted(LinearRegression(), clip="interval", **params)
    weights = model.fit(source, labels, X_target=target).sample_weight_
    lower, upper = model.ratio_.ratio_interval(source)
    ratios = model.ratio_.predict_ratio(source)
    expected = np.where(ratios > 1, np.fmax(lower, 1), np.fmin(upper, 1))
    np.testing.assert_allclose(weights, expected)
    model = ImportanceWeighted(LinearRegression(), GaussianRatio(), clip="interval")
    with pytest.raises(ValueError, match="has no ratio_interval"):
        model.fit(source, labels, X_target=target)


def test_band_along_a_column():
    pytest.importorskip("matplotlib").use("Agg")
    X, y, _ = gaussians(200, 0)
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = jackknife(PLUG_IN).fit(frame, y)
    display = LogRatioBandDisplay.from_estimator(model, frame, "a", level=0.8)
    at = pd.DataFrame({"a": display.values, "b": np.median(X[:, 1])})
    np.testing.assert_allclose(display.log_ratio, model.decision_function(at))
    with np.errstate(divide="ignore"):
        ends = np.log(model.ratio_interval(at, level=0.8))
    np.testing.assert_allclose([display.lower, display.upper], ends)
    assert display.ax_.get_xlabel() == "a"
    assert np.isfinite(display.ax_.get_ylim()).all()
    for column in ("c", 2, -1):
        with pytest.raises(ValueError, match="feature must be"):
            LogRatioBandDisplay.from_estimator(model, frame, column)
    with pytest.raises(ValueError, match="grid_resolution must be"):
        LogRatioBandDisplay.from_estimator(model, frame, 0, grid_resolution=1)
