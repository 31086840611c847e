"""The pieces that the scripts of examples/papers/featurized share."""

import importlib
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from skdre import KMMRatio, importance_weighted_score, pool

pytest.importorskip("torch")

FOLDER = Path(__file__).parents[1] / "examples/papers/featurized"


@pytest.fixture(scope="module")
def protocol():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module("_protocol")


def test_split_follows_the_selection_probabilities(protocol):
    y = np.repeat([0, 1], [4000, 2000])
    source, target = protocol.split_by_label(y, np.random.default_rng(0))
    assert target.size == 4500
    assert np.unique(np.r_[source, target]).size == source.size + target.size
    rest = np.setdiff1d(np.arange(y.size), target)
    for label, keep in ((0, 0.1), (1, 0.9)):
        rows = (y[rest] == label).sum()
        kept = (y[source] == label).sum()
        assert abs(kept - rows * keep) < 4 * math.sqrt(rows * keep * (1 - keep))
    assert y[target].mean() == pytest.approx(1 / 3, abs=0.03)


def test_split_is_random_in_the_trial_only(protocol):
    y = np.arange(200) % 2
    first, again, other = (
        protocol.split_by_label(y, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_mixture_has_the_counts_of_the_paper(protocol):
    X, y, X_target, y_target = protocol.draw_mixture(0)
    assert (y == 1).sum() == 10
    assert (y_target == 0).sum() == 10
    np.testing.assert_allclose(X[y == 0].mean(axis=0), 3, atol=0.2)
    np.testing.assert_allclose(X_target[y_target == 1].mean(axis=0), 0, atol=0.2)
    # In random order, so that folds of consecutive rows hold both classes.
    assert np.flatnonzero(y).max() - np.flatnonzero(y).min() > 100


def test_permuted_control_keeps_the_weights_and_moves_them(protocol):
    weights = np.random.default_rng(0).exponential(size=50)
    shuffles = protocol.permutations(50, 3, 4)
    found = list(protocol.with_permutations("IW(x)", {"B": 1}, weights, shuffles))
    assert [row["method"] for row, _ in found] == ["IW(x)"] + 4 * ["IW(x) permuted"]
    np.testing.assert_array_equal(found[0][1], weights)
    for _, permuted in found[1:]:
        np.testing.assert_array_equal(np.sort(permuted), np.sort(weights))
        assert np.mean(permuted == weights) < 0.5
    again = protocol.permutations(50, 3, 4)
    np.testing.assert_array_equal(shuffles, again)


def test_weighted_error_follows_the_weights(protocol):
    X = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    y = np.array([0, 1, 1, 0])
    target = X[:2], y[:2]
    right, wrong = np.array([1.0, 1, 0, 0]), np.array([0.0, 0, 1, 1])
    classifier = LogisticRegression()
    assert protocol.weighted_error(classifier, (X, y), target, right) == 0
    assert protocol.weighted_error(classifier, (X, y), target, wrong) == 1
    # One class is left, which it predicts.
    assert protocol.weighted_error(classifier, (X, y), target, np.eye(4)[1]) == 0.5


def test_validation_is_importance_weighted(protocol):
    rng = np.random.default_rng(6)
    X, X_target = rng.normal(0, 1, (80, 2)), rng.normal(1.5, 0.5, (90, 2))
    y = (X[:, 0] * X[:, 1] + 0.5 * rng.normal(size=80) > 0.5).astype(int)
    ratio = KMMRatio(random_state=0).fit(*pool(numerator=X_target, denominator=X))
    weights = ratio.predict_ratio(X)
    values = [0.01, 0.1, 1, 10, 100]
    folds = list(StratifiedKFold(5, shuffle=True, random_state=7).split(X, y))

    def best(fit_weights, score):
        def mean_score(C):
            scores = []
            for train, test in folds:
                svc = SVC(gamma=0.1, C=C)
                svc.fit(X[train], y[train], sample_weight=fit_weights[train])
                scores.append(score(svc, X[test], y[test]))
            return np.mean(scores)

        return max(values, key=mean_score)

    grid = {f"C={C}": SVC(gamma=0.1, C=C) for C in values}
    chosen = protocol.validated(grid, (X, y), weights, trial=7).C
    weighted = partial(importance_weighted_score, ratio=ratio)
    assert chosen == best(weights, weighted)
    # Weights in the score alone, or in the fit alone, choose another.
    assert chosen != best(np.ones(80), weighted)
    assert chosen != best(weights, SVC.score)


def test_printed_spreads_are_no_standard_errors(protocol):
    # 30 errors of 0 and 1 have the largest spread that errors of their mean can have.
    runs = np.repeat([0.0, 1.0], [12, 18])
    _, largest = protocol.mean_and_standard_error(runs)
    assert largest == pytest.approx(math.sqrt(0.6 * 0.4 / 29))
    printed = {"a": [(0.6, 0.1), (0.6, 0.09)], "b": [(0.1, 0.05), (0.1, 0.056)]}
    assert "2 of the 4" in protocol.standard_error_check(printed, 30)
