"""MultinomialRatio against known ratios, by networks and by given classifiers."""

import math
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skdre import KMMRatio, MultinomialRatio, pool
from skdre.datasets import make_known_ratio, make_warped_shift
from skdre.metrics import log_ratio_mse
from skdre.waymarks._models import choose_class_score, class_scores
from skdre.waymarks._networks import class_losses

QUICK = {
    "hidden_features": (16, 16),
    "n_estimators": 2,
    "max_iter": 75,
    "learning_rate": 0.004,
    "random_state": 0,
}


def quick(**params):
    return MultinomialRatio(**QUICK | params)


def brief(**params):
    """The usual network, trained by few and large steps."""
    defaults = {"max_iter": 100, "learning_rate": 0.005, "n_estimators": 2}
    return MultinomialRatio(**defaults | {"random_state": 0} | params)


def banana(n_samples=300, random_state=0):
    return make_warped_shift(n_samples, 2, warp="banana", random_state=random_state)


def far(n_samples=1000, seed=0, distance=4.0):
    """N((4, 4), I) against N(0, I)."""
    rng = np.random.default_rng(seed)
    q, p = rng.normal(size=(2, n_samples, 2))
    X, y = pool(numerator=p + distance, denominator=q)
    return X, y, distance * X.sum(axis=1) - distance**2


@pytest.mark.parametrize("problem", ["far_gaussians_d2", "narrow_d3", "far_moons"])
def test_finds_the_true_ratio(problem):
    ratio = brief(max_iter=200)
    shift = make_known_ratio(problem, 1000, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ratio.fit(*shift.pool())
    X, _ = make_known_ratio(problem, 2000, random_state=1).pool()
    truth, found = (
        np.clip(each, -15, 15)
        for each in (shift.log_ratio(X), ratio.decision_function(X))
    )
    # Twice or half the log ratio must not do.
    assert log_ratio_mse(truth, found) < np.mean(truth**2) / 15


def test_losses_are_cross_entropies():
    output = torch.randn(20, 3, 2, 3, dtype=torch.float64)
    found = class_losses(output)
    assert found.shape == (2,)
    for member in range(2):
        share = output[:, :, member].exp()
        share = share / share.sum(dim=-1, keepdim=True)
        expected = -np.mean([share[:, k, k].log().mean().item() for k in range(3)])
        assert found[member].item() == pytest.approx(expected)


def test_log_ratios_are_those_of_neighbours():
    X, y, _ = far(2000)
    ratio = brief(n_bridges=3).fit(X, y)
    found = ratio.log_ratios(X)
    assert found.shape == (len(X), 3)
    assert_allclose(found.sum(axis=1), ratio.decision_function(X))
    for k in range(3):
        truth = 4 / 3 * (X.sum(axis=1) - 2 * (4 * k / 3 + 2 / 3))
        assert np.mean((found[:, k] - truth) ** 2) < 0.3


def test_starts_from_the_discriminants():
    X, y, truth = far(2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratio = quick(max_iter=1, learning_rate=1e-9).fit(X, y)
    assert log_ratio_mse(truth, ratio.decision_function(X)) < 1.0


@pytest.mark.parametrize(
    ("classifier", "method"),
    [
        (LogisticRegression(), "decision_function"),
        (QuadraticDiscriminantAnalysis(), "decision_function"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "decision_function"),
        (CalibratedClassifierCV(LogisticRegression()), "predict_proba"),
        (RandomForestClassifier(20, min_samples_leaf=20), "predict_log_proba"),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
@pytest.mark.parametrize("n_bridges", [1, 4])
def test_given_classifiers(classifier, method, n_bridges):
    X, y, _ = far(500, distance=1.0)
    X_new, _, truth = far(500, seed=1, distance=1.0)
    ratio = MultinomialRatio(classifier, n_bridges=n_bridges, random_state=0)
    ratio.fit(X, y)
    assert not hasattr(classifier, "classes_")
    assert_array_equal(ratio.estimator_.classes_, np.arange(n_bridges + 1))
    assert ratio.score_method_ == method
    found = ratio.decision_function(X_new)
    probability = np.clip(ratio.estimator_.predict_proba(X_new), 1e-3, None)
    assert_allclose(
        np.clip(found, -6, 6),
        np.clip(np.log(probability[:, -1] / probability[:, 0]), -6, 6),
        atol=0.05 if method == "decision_function" else 4.0,
    )
    assert np.corrcoef(found, truth)[0, 1] > 0.75
    if method == "decision_function":
        assert log_ratio_mse(truth, found) < 0.15


def test_scores_do_not_saturate():
    """Where a probability is 0 in double precision."""
    X, y, truth = far(1000)
    ratio = MultinomialRatio(LogisticRegression(), random_state=0).fit(X, y)
    far_out = np.array([[300.0, 300.0], [-300.0, -300.0]])
    assert (ratio.estimator_.predict_proba(far_out).min(axis=1) == 0).all()
    # 4 (x_1 + x_2) - 16
    assert_allclose(ratio.decision_function(far_out), [2384, -2416], rtol=0.15)
    assert log_ratio_mse(truth, ratio.decision_function(X)) < 0.5


def test_probabilities_of_zero():
    X, y, _ = far(100, distance=20.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratio = MultinomialRatio(
            RandomForestClassifier(5), n_bridges=2, random_state=0
        ).fit(X, y)
    found = ratio.decision_function(X)
    assert np.isfinite(found).all()
    assert np.abs(found).max() == pytest.approx(math.log(101), abs=1e-6)


def test_scores_of_two_classes_and_nan():
    X, y, _ = far(50, distance=1.0)
    two = LogisticRegression().fit(X, y)
    scores = class_scores(two, X, "decision_function", 50)
    assert_allclose(scores[:, 1] - scores[:, 0], two.decision_function(X))
    assert choose_class_score(two, X) == "decision_function"

    class Broken(LogisticRegression):
        def decision_function(self, X):
            return np.full((len(X), 3), np.nan)

    with pytest.raises(ValueError, match=r"Broken.decision_function gives NaN for 100"):
        class_scores(Broken().fit(X, y), X, "decision_function", 50)


def test_order_repetition_and_absence_change_nothing_at_all():
    X, y = banana().pool()
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(len(y)), counts))
    for params in ({}, {"estimator": QuadraticDiscriminantAnalysis()}):
        expected = quick(**params).fit(X, y, counts).decision_function(X)
        found = quick(**params).fit(X[rows], y[rows]).decision_function(X)
        assert_array_equal(found, expected)
        assert not np.allclose(quick(**params).fit(X, y).decision_function(X), expected)


@pytest.mark.parametrize("sizes", [(2000, 60), (60, 2000)])
@pytest.mark.parametrize("params", [{}, {"estimator": LogisticRegression()}])
def test_sizes_do_not_scale_the_ratio(sizes, params):
    shift = make_warped_shift(sizes, 2, mean_shift=0.5, random_state=0)
    ratio = quick(n_bridges=2, **params).fit(*shift.pool())
    X, _ = make_warped_shift(1000, 2, mean_shift=0.5, random_state=1).pool()
    error = ratio.decision_function(X) - shift.log_ratio(X)
    assert abs(np.median(error)) < 0.4  # log 33 = 3.5 if sizes counted


@pytest.mark.parametrize("params", [{}, {"estimator": QuadraticDiscriminantAnalysis()}])
def test_bridges_that_are_too_long(params):
    X, y, _ = far(200, distance=40.0)
    with pytest.warns(
        UserWarning, match=r"MultinomialRatio separates neighbouring.*bridges 1, 2 of 2"
    ):
        ratio = quick(n_bridges=2, **params).fit(X, y)
    found = ratio.decision_function(X)
    assert np.isfinite(found).all()
    assert found[y == 1].min() > 1 > -1 > found[y == 0].max()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"estimator": KMMRatio()}, "must be a classifier of many classes.*Telescopi"),
        ({"estimator": LinearRegression()}, "must be a classifier of many classes"),
        ({"estimator": LinearSVC()}, "must have predict_proba"),
        ({"n_bridges": 0}, "'n_bridges' parameter"),
        ({"spacing": [0, 1]}, "increasing numbers"),
    ],
)
def test_bad_parameters(params, message):
    ratio = quick(**params)
    with pytest.raises(ValueError, match=message):
        ratio.fit(*banana().pool())
    assert not hasattr(ratio, "classes_")
