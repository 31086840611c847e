"""The diagnosis, figure by figure, against known ratios, and its judgements."""

import warnings
from functools import partial
from html.parser import HTMLParser
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from skdre import (
    ClassifierRatio,
    GaussianRatio,
    KLIEPRatio,
    diagnose,
    divergence,
    make_pipeline,
    pool,
    two_sample_test,
)
from skdre.base import DensityRatioMixin
from skdre.information import Figure, pareto_k
from skdre.information._calibration_line import calibration_line
from skdre.information._diagnosis import diagnosis_of
from skdre.metrics import ratio_log_loss
from skdre.weighting import effective_sample_size


def log_ratios(n_numerator, n_denominator, shift=1.0, seed=0):
    """Of N(shift, 1) to N(0, 1), at rows of both."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(shift, 1, n_numerator), rng.normal(0, 1, n_denominator)
    return [norm.logpdf(x, shift) - norm.logpdf(x) for x in rows]


def pooled(n, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return pool(
        numerator=rng.normal(shift, 1, (n, 1)), denominator=rng.normal(0, 1, (n, 1))
    )


def grades(diagnosis):
    return {name: each.grade for name, each in diagnosis.figures.items()}


# The figures.


def test_figures_by_definition():
    p, q = log_ratios(300, 500, shift=0.7)
    diagnosis = diagnosis_of(p, q)
    value = {name: each.value for name, each in diagnosis.figures.items()}
    domain = np.repeat([True, False], [300, 500])
    assert value["log_loss"] == pytest.approx(
        ratio_log_loss(domain, np.concatenate([p, q]))
    )
    assert value["effective_sample_size"] == pytest.approx(
        effective_sample_size(np.exp(q))
    )
    assert value["pareto_k"] == pareto_k(q)
    assert value["numerator_outside"] == np.mean([each > max(q) for each in p])
    assert value["denominator_outside"] == np.mean([each < min(p) for each in q])
    assert value["normalization"] == pytest.approx(np.exp(q).mean())
    assert diagnosis["normalization"].standard_error == pytest.approx(
        np.exp(q).std(ddof=1) / np.sqrt(500)
    )
    np.testing.assert_array_equal(diagnosis.log_ratios, p)
    np.testing.assert_array_equal(diagnosis.denominator_log_ratios, q)


def test_true_ratio_is_good():
    found = grades(diagnosis_of(*log_ratios(2000, 3000, shift=0.7)))
    assert set(found.values()) == {"good"}


def test_calibration_by_maximum_likelihood():
    p, q = log_ratios(80, 120)

    def loss(coef):
        a, b = coef
        return np.logaddexp(0, -(a + b * p)).mean() + np.logaddexp(0, a + b * q).mean()

    expected = minimize(loss, [0.0, 1.0], tol=1e-12).x
    coef, _ = calibration_line(p, q)
    np.testing.assert_allclose(coef, expected, atol=1e-4)
    # Of log ratios that are stretched and moved.
    moved, _ = calibration_line(1e3 * p + 50, 1e3 * q + 50)
    slope = coef[1] / 1e3
    np.testing.assert_allclose(moved, [coef[0] - 50 * slope, slope], rtol=1e-5)


def test_calibration_errors_are_the_spread_over_samples():
    found = [calibration_line(*log_ratios(100, 300, seed=seed)) for seed in range(200)]
    coef, error = (np.array(each) for each in zip(*found, strict=True))
    np.testing.assert_allclose(coef.mean(axis=0), [0, 1], atol=0.05)
    np.testing.assert_allclose(error.mean(axis=0), coef.std(axis=0), rtol=0.15)


@pytest.mark.parametrize(
    ("change", "name", "expected", "words"),
    [
        (lambda s: 2 * s, "calibration_slope", 0.5, "too far from 0"),
        (lambda s: s / 2, "calibration_slope", 2.0, "timid"),
        (lambda s: -s, "calibration_slope", -1.0, "wrong way round"),
        (lambda s: s + 1, "calibration_intercept", -1.0, "too large, by a factor of 2"),
        (lambda s: s - 1, "calibration_intercept", 1.0, "too small, by a factor of 2"),
    ],
)
def test_wrong_ratios_are_seen(change, name, expected, words):
    p, q = log_ratios(2000, 2000)
    figure = diagnosis_of(change(p), change(q))[name]
    assert abs(figure.value - expected) < 4 * figure.standard_error
    assert figure.standard_error < 0.15
    assert figure.grade == "poor"
    assert words in figure.words


def test_inverted_and_overfitted_ratios_lose_to_a_constant():
    p, q = log_ratios(500, 500)
    figure = diagnosis_of(-p, -q)["log_loss"]
    assert figure.grade == "poor"
    assert "a constant ratio would be better" in figure.words
    X, y = pooled(200, shift=0.0)
    forest = ClassifierRatio(RandomForestClassifier(20, random_state=0))
    assert diagnose(forest, X, y, random_state=0)["log_loss"].grade == "poor"


def test_scaled_ratio_has_another_mean():
    p, q = log_ratios(2000, 2000, shift=0.5)
    assert diagnosis_of(p + 1, q + 1)["normalization"].grade == "poor"
    assert "too large" in diagnosis_of(p + 1, q + 1)["normalization"].words
    assert diagnosis_of(p + 0.15, q + 0.15)["normalization"].grade == "fair"


def test_a_mean_far_above_1_is_poor_whatever_the_tail():
    """A Gaussian plug-in on bent rows, say: ratios of a million at a few of them."""
    p, q = log_ratios(500, 500, shift=0.5)
    q[:3] += 15.0
    diagnosis = diagnosis_of(p, q)
    assert diagnosis["pareto_k"].grade == "poor"
    assert diagnosis["normalization"].grade == "poor"
    q[:3] -= 10.0
    assert diagnosis_of(p, q)["normalization"].grade == "unknown"


# Samples far apart.


def test_normalization_says_nothing_far_apart():
    """Of the true ratio it is many standard errors below 1."""
    diagnosis = diagnosis_of(*log_ratios(500, 500, shift=4.0))
    figure = diagnosis["normalization"]
    assert figure.value + 2 * figure.standard_error < 1
    assert figure.grade == "unknown"
    assert "says nothing" in figure.words
    assert diagnosis["pareto_k"].grade == "poor"
    assert diagnosis["effective_sample_size"].grade == "poor"
    assert diagnosis["numerator_outside"].grade == "poor"
    assert diagnosis["calibration_slope"].grade == "good"


def test_bounded_ratios_of_samples_far_apart_are_not_good():
    """A classifier that saturates has short tails, and many effective rows."""
    p, q = log_ratios(500, 500, shift=6.0)
    timid = diagnosis_of(0.05 * p, 0.05 * q)
    assert timid["pareto_k"].value < 0.6
    assert timid["effective_sample_size"].value > 100
    for name in ("pareto_k", "effective_sample_size", "normalization"):
        assert timid[name].grade == "unknown", name
    assert timid["numerator_outside"].value > 0.9


def test_separated_samples():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diagnosis = diagnosis_of(
            np.linspace(900, 1000, 60), -np.linspace(900, 1000, 60)
        )
    assert diagnosis["numerator_outside"].value == 1
    assert diagnosis["denominator_outside"].value == 1
    assert np.isnan(diagnosis["calibration_slope"].value)
    assert "told apart without error" in diagnosis["calibration_slope"].words
    assert "told apart without error" in diagnosis["log_loss"].words
    assert diagnosis["log_loss"].value == pytest.approx(0, abs=1e-12)


def test_rows_outside_need_no_scale():
    """x in [0, 1] against x in [0, 2]: half of the numerator lies outside."""
    rng = np.random.default_rng(0)
    p, q = 0.01 * rng.uniform(0, 2, 2000), 0.01 * rng.uniform(0, 1, 2000)
    diagnosis = diagnosis_of(p, q)
    assert diagnosis["numerator_outside"].value == pytest.approx(0.5, abs=0.05)
    assert diagnosis["denominator_outside"].value < 0.01
    same = diagnosis_of(q, 0.01 * rng.uniform(0, 1, 2000))
    assert same["numerator_outside"].grade == "good"


@pytest.mark.parametrize(
    ("n", "k", "grade"),
    [
        (4000, 0.3, "good"),
        (150, 0.6, "fair"),
        (4000, 0.9, "poor"),
        (4000, 1.6, "poor"),
    ],
)
def test_grades_of_the_tail(n, k, grade):
    """Quantiles of a generalised Pareto distribution."""
    u = (np.arange(n) + 0.5) / n
    q = np.log1p((u**-k - 1) / k)
    figure = diagnosis_of(np.sort(q)[: n // 2], q)["pareto_k"]
    assert figure.value == pytest.approx(k, abs=0.15)
    assert figure.grade == grade


# What cannot be told.


def test_constant_ratio():
    diagnosis = diagnosis_of(np.zeros(50), np.zeros(60))
    found = grades(diagnosis)
    assert found["log_loss"] == "unknown"
    assert "no better than a constant" in diagnosis["log_loss"].words
    assert found["calibration_slope"] == found["calibration_intercept"] == "unknown"
    assert "same everywhere" in diagnosis["calibration_slope"].words
    assert found["pareto_k"] == "unknown"
    assert diagnosis["effective_sample_size"].value == 60
    assert diagnosis["normalization"].value == 1


def test_constant_ratio_shows_no_overlap():
    found = grades(diagnosis_of(np.zeros(500), np.zeros(600)))
    assert found["numerator_outside"] == found["denominator_outside"] == "unknown"
    # But that it is too large on average it shows.
    assert grades(diagnosis_of(np.ones(500), np.ones(600)))["normalization"] == "poor"


@pytest.mark.parametrize(
    "q",
    [
        np.append(np.zeros(99), 50.0),
        np.linspace(-1e6, 0, 1000),
        np.append(np.zeros(495), np.full(5, 50.0)),
    ],
)
def test_a_row_with_all_the_weight_is_poor(q):
    diagnosis = diagnosis_of(q[-50:], q)
    assert diagnosis["pareto_k"].value == np.inf
    assert diagnosis["pareto_k"].grade == "poor"
    assert diagnosis["effective_sample_size"].grade == "poor"
    assert diagnosis["normalization"].grade != "good"
    assert "inf" in repr(diagnosis)


def test_few_rows_in_effect_have_no_good_tail():
    """Five of 100 rows carry the weight, evenly: their short tail says nothing."""
    q = np.append(np.zeros(95), 5 - np.arange(5) / 100)
    figure = diagnosis_of(q[-50:], q)["pareto_k"]
    assert figure.value < 0.5
    assert figure.grade == "unknown"


def test_single_rows_are_never_good():
    p, q = log_ratios(200, 200)
    for one, other in ((p, np.zeros(1)), (np.zeros(1), q), (np.ones(1), np.zeros(1))):
        diagnosis = diagnosis_of(one, other)
        assert diagnosis["calibration_slope"].grade == "unknown"
        assert diagnosis["calibration_intercept"].grade == "unknown"
        if len(other) == 1:
            assert diagnosis["normalization"].grade == "unknown"
            assert np.isnan(diagnosis["normalization"].standard_error)


def test_too_few_rows_to_see_what_lies_outside():
    """Of two rows of q most rows of p may lie beyond both, and none of them says so."""
    p, q = np.linspace(0, 1, 100), np.array([0.0, 0.5])
    assert diagnosis_of(p, q)["numerator_outside"].value > 0.4
    assert diagnosis_of(p, q)["numerator_outside"].grade == "unknown"
    assert diagnosis_of(-q, -p)["denominator_outside"].grade == "unknown"
    assert diagnosis_of(q, np.append(p, 2.0))["numerator_outside"].grade == "good"


@pytest.mark.parametrize("n", [1, 3, 50])
def test_samples_that_share_one_value_show_no_slope(n):
    """The likeliest line is a step at that value, and its errors mean nothing."""
    p, q = np.append(np.ones(n), 2.0), np.append(np.zeros(n), 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diagnosis, inverted = diagnosis_of(p, q), diagnosis_of(q, p)
    assert diagnosis["calibration_slope"].grade == "unknown"
    assert diagnosis["calibration_intercept"].grade == "unknown"
    assert inverted["calibration_slope"].grade == "poor"
    assert "wrong way round" in inverted["calibration_slope"].words


def test_the_wrong_way_round_without_error():
    """No line fits: its slope is minus infinity."""
    diagnosis = diagnosis_of(np.linspace(-2, -1, 50), np.linspace(1, 2, 50))
    assert diagnosis["calibration_slope"].grade == "poor"
    assert "wrong way round" in diagnosis["calibration_slope"].words
    assert diagnosis["log_loss"].grade == "poor"


def test_few_rows():
    diagnosis = diagnosis_of(*log_ratios(6, 7, shift=0.3))
    assert diagnosis["pareto_k"].grade == "unknown"
    assert diagnosis["effective_sample_size"].grade == "poor"
    assert diagnosis["calibration_slope"].grade == "unknown"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repr(diagnosis_of(np.array([0.1]), np.array([0.2])))
        repr(diagnosis_of(np.array([0.3]), np.array([0.2])))


# The estimator, and the table.


class TrueRatio(DensityRatioMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        return self

    def decision_function(self, X):
        return np.asarray(X, dtype=float)[:, 0] - 0.5


def test_it_is_cross_fitted_unless_told_otherwise():
    X, y = pooled(300)
    expected = TrueRatio().fit(X, y).decision_function(X)
    for kwargs in ({}, {"cv": "prefit"}):
        diagnosis = diagnose(TrueRatio().fit(X, y), X, y, **kwargs)
        np.testing.assert_array_equal(diagnosis.log_ratios, expected[y == 1])
    fitted = GaussianRatio().fit(*pooled(300, shift=-3.0, seed=1))
    assert diagnose(fitted, X, y, random_state=0)["log_loss"].grade == "good"
    assert diagnose(fitted, X, y, cv="prefit")["log_loss"].grade == "poor"


def test_an_overfitted_ratio_looks_good_on_its_own_rows_only():
    X, y = pooled(300, shift=0.3)
    forest = ClassifierRatio(RandomForestClassifier(20, random_state=0)).fit(X, y)
    own = diagnose(forest, X, y, cv="prefit")
    assert own["log_loss"].grade == "good"
    held_out = diagnose(forest, X, y, random_state=0)
    assert held_out["log_loss"].grade == "poor"
    assert "overfitted" in held_out["calibration_slope"].words


class _Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "tr" in self.open:
            self.rows[-1] += data


def test_table_and_html():
    diagnosis = diagnose(GaussianRatio(), *pooled(300), random_state=0)
    text = repr(diagnosis)
    assert str(diagnosis) == text
    lines = text.splitlines()
    assert lines[0] == (
        "Density ratio at 300 rows of the numerator and 300 of the denominator, "
        "held out"
    )
    parser = _Cells()
    parser.feed(diagnosis._repr_html_())
    assert not parser.open
    assert len(parser.rows) == len(diagnosis.figures) + 1
    starts = set()
    for line, row, figure in zip(
        lines[2:], parser.rows[1:], diagnosis.figures.values(), strict=True
    ):
        for part in (figure.name, figure.shown, figure.grade, figure.words):
            assert part in line
            assert part in row
        assert figure.grade in ("good", "fair", "poor", "unknown")
        assert figure.words
        starts.add(line.index(figure.shown))
    assert len(starts) == 1
    assert f"{diagnosis['effective_sample_size'].value:.0f} of 300" in text


def test_html_is_escaped():
    diagnosis = diagnosis_of(*log_ratios(30, 30))
    figure = Figure("a < b", 1.0, np.nan, "good", "<script>")
    object.__setattr__(diagnosis, "figures", {"x": figure})
    html = diagnosis._repr_html_()
    assert "<script>" not in html
    assert "a &lt; b" in html


class Infinite(TrueRatio):
    def decision_function(self, X):
        return np.where(X[:, 0] > 0, np.inf, -np.inf)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cv": "prefit"}, NotFittedError, "not fitted"),
        ({"estimator": Infinite()}, ValueError, "infinity, a ratio"),
        ({"estimator": LogisticRegression}, TypeError, "instead of a class"),
        ({"y": np.ones(20)}, ValueError, "one class only"),
        ({"cv": 12}, ValueError, "needs as many rows of each domain"),
        ({"cv": "fitted"}, ValueError, "'cv' parameter"),
    ],
)
def test_bad_input(change, error, message):
    X, y = pooled(10)
    arguments = {"estimator": GaussianRatio(), "X": X, "y": y} | change
    with pytest.raises(error, match=message):
        diagnose(**arguments)


# --- groups -------------------------------------------------------------------------


class Seen(TrueRatio):
    """Notes the splits, and the rows, that a fit gets."""

    def __init__(self, cv=3):
        self.cv = cv

    def fit(self, X, y):
        splits = self.cv if isinstance(self.cv, list) else []
        SEEN.append((np.asarray(X), [*splits]))
        return super().fit(X, y)


class SeenGroups(TrueRatio):
    def fit(self, X, y, groups=None):
        SEEN.append((np.asarray(X), groups))
        return super().fit(X, y)


SEEN = []


def grouped(n_groups=12, n=10):
    rng = np.random.default_rng(0)
    p, q = rng.normal(1, 1, (n_groups * n, 2)), rng.normal(size=(n_groups * n, 2))
    X, y = pool(numerator=p, denominator=q)
    return X, y, np.repeat(np.arange(2 * n_groups), n)


def groups_at(rows, X, groups):
    """Groups of rows of a fold, which has them in another order."""
    return groups[[np.flatnonzero((row == X).all(axis=1))[0] for row in rows]]


@pytest.mark.parametrize(
    "function",
    [
        diagnose,
        divergence,
        partial(two_sample_test, method="split", n_permutations=20),
    ],
)
@pytest.mark.parametrize("is_frame", [False, True])
def test_folds_of_the_fits_keep_groups_together(function, is_frame):
    X, y, groups = grouped()
    SEEN.clear()
    given = pd.DataFrame(X, columns=["a", "b"]) if is_frame else X
    pipeline = make_pipeline(FunctionTransformer(), Seen())
    for ratio in (Seen(), pipeline):
        function(ratio, given, y, groups=groups, random_state=0)
    assert len(SEEN) >= 2
    for rows, splits in SEEN:
        of_rows = groups_at(rows, X, groups)
        assert len(splits) == 3
        for training, test in splits:
            assert np.array_equal(np.sort([*training, *test]), np.arange(len(rows)))
            assert not set(of_rows[training]) & set(of_rows[test])
    # The estimators are as they were given.
    assert ratio.get_params()["seen__cv"] == 3
    SEEN.clear()
    function(Seen(), given, y, random_state=0)
    assert all(splits == [] for _, splits in SEEN)


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_what_takes_groups_gets_them(in_pipeline):
    X, y, groups = grouped()
    SEEN.clear()
    ratio = SeenGroups()
    if in_pipeline:
        ratio = make_pipeline(FunctionTransformer(), ratio)
    diagnose(ratio, X, y, groups=groups, random_state=0)
    assert len(SEEN) == 5
    for rows, found in SEEN:
        expected = groups_at(rows, X, groups)
        # Numbers of their own, but of the same rows.
        assert len(set(zip(expected, found, strict=True))) == len(set(expected))
        assert len(set(found)) == len(set(expected))


def test_leaky_folds_choose_what_memorises_groups():
    """Rows of a group are nearly alike, and groups are of one sample by chance."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(60, 4))
    X = np.repeat(centers, 10, axis=0) + 0.01 * rng.normal(size=(600, 4))
    groups = np.repeat(np.arange(60), 10)
    y = (groups % 2).astype(int)
    ratio = KLIEPRatio([0.01, 1.0, 100.0], cv=3, random_state=0)
    known = diagnose(ratio, X, y, groups=groups, random_state=0)
    told = make_pipeline(FunctionTransformer(), ratio)
    with patch("skdre.information._cross_fit.fit_with_groups", plain_fit):
        unknown = diagnose(told, X, y, groups=groups, random_state=0)
    loss = known["log_loss"]
    assert loss.value < np.log(2) + 2 * loss.standard_error
    assert unknown["log_loss"].value > known["log_loss"].value + 0.1


def plain_fit(estimator, X, y, groups=None):
    return estimator.fit(X, y)
