"""The pieces of examples/papers/featurized/domain_adaptation.py that can go wrong."""

import importlib.util
import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from skdre import KMMRatio, importance_weighted_score, pool

pytest.importorskip("torch")

SCRIPT = Path(__file__).parents[1] / ("examples/papers/featurized/domain_adaptation.py")
TINY = {"gamma": [0.1, 1.0], "B": [1, 100], "n_permutations": 2, "max_epochs": 1}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("domain_adaptation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def mixture(script):
    return partial(script.draw_mixture, n_rare=10, n_common=60)


def test_split_follows_the_selection_probabilities(script):
    y = np.repeat([0, 1], [4000, 2000])
    source, target = script.split_by_label(y, np.random.default_rng(0))
    assert target.size == 4500
    assert np.unique(np.r_[source, target]).size == source.size + target.size
    rest = np.setdiff1d(np.arange(y.size), target)
    for label, keep in ((0, 0.1), (1, 0.9)):
        rows = (y[rest] == label).sum()
        kept = (y[source] == label).sum()
        assert abs(kept - rows * keep) < 4 * math.sqrt(rows * keep * (1 - keep))
    assert y[target].mean() == pytest.approx(1 / 3, abs=0.03)


def test_split_is_random_in_the_trial_only(script):
    y = np.arange(200) % 2
    first, again, other = (
        script.split_by_label(y, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_mixture_has_the_counts_of_the_paper(script):
    X, y, X_target, y_target = script.draw_mixture(0)
    assert (y == 1).sum() == 10
    assert (y_target == 0).sum() == 10
    np.testing.assert_allclose(X[y == 0].mean(axis=0), 3, atol=0.2)
    np.testing.assert_allclose(X_target[y_target == 1].mean(axis=0), 0, atol=0.2)
    # In random order, so that folds of consecutive rows hold both classes.
    assert np.flatnonzero(y).max() - np.flatnonzero(y).min() > 100


def test_permuted_control_keeps_the_weights_and_moves_them(script):
    weights = np.random.default_rng(0).exponential(size=50)
    shuffles = script.permutations(50, 3, 4)
    found = list(script._with_permutations("IW(x)", {"B": 1}, weights, shuffles))
    assert [row["method"] for row, _ in found] == ["IW(x)"] + 4 * ["IW(x) permuted"]
    np.testing.assert_array_equal(found[0][1], weights)
    for _, permuted in found[1:]:
        np.testing.assert_array_equal(np.sort(permuted), np.sort(weights))
        assert np.mean(permuted == weights) < 0.5
    again = script.permutations(50, 3, 4)
    np.testing.assert_array_equal(shuffles, again)


def test_weighted_error_follows_the_weights(script):
    X = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    y = np.array([0, 1, 1, 0])
    target = X[:2], y[:2]
    right, wrong = np.array([1.0, 1, 0, 0]), np.array([0.0, 0, 1, 1])
    classifier = LogisticRegression()
    assert script.weighted_error(classifier, (X, y), target, right) == 0
    assert script.weighted_error(classifier, (X, y), target, wrong) == 1
    # One class is left, which it predicts.
    assert script.weighted_error(classifier, (X, y), target, np.eye(4)[1]) == 0.5


def test_validation_is_importance_weighted(script):
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
    chosen = script.validated(grid, (X, y), weights, trial=7).C
    weighted = partial(importance_weighted_score, ratio=ratio)
    assert chosen == best(weights, weighted)
    # Weights in the score alone, or in the fit alone, choose another.
    assert chosen != best(np.ones(80), weighted)
    assert chosen != best(weights, SVC.score)


def _errors(values):
    """Errors by (trial, gamma) for one method with parameters and one without."""
    rows = [
        {"method": "IW(x)", "trial": trial, "gamma": gamma, "B": 1.0, "error": error}
        for (trial, gamma), error in values.items()
    ]
    rows += [{"method": "unweighted", "trial": trial, "error": 0.5} for trial in (0, 1)]
    return pd.DataFrame(rows).assign(classifier="C=1", permutation=0)


def test_choice_by_target_error(script):
    errors = _errors({(0, 0.1): 0.1, (1, 0.1): 0.7, (0, 1.0): 0.3, (1, 1.0): 0.2})
    once = script.choose(errors, "all trials")
    found = script.per_trial(once).loc[("C=1", "IW(x)")]
    np.testing.assert_allclose(found, [0.3, 0.2])
    each = script.choose(errors, "each trial")
    found = script.per_trial(each).loc[("C=1", "IW(x)")]
    np.testing.assert_allclose(found, [0.1, 0.2])
    assert (script.per_trial(each).loc[("C=1", "unweighted")] == 0.5).all()


def test_printed_spreads_are_no_standard_errors(script):
    # 30 errors of 0 and 1 have the largest spread that errors of their mean can have.
    runs = np.repeat([0.0, 1.0], [12, 18])
    _, largest = script.mean_and_standard_error(runs)
    assert largest == pytest.approx(math.sqrt(0.6 * 0.4 / 29))
    assert "11 of the 12" in script.standard_error_check("breast cancer")


def test_finished_trials_are_not_computed_again(script, mixture, tmp_path, monkeypatch):
    first = script.run_all({"mixture": mixture}, {"mixture": 1}, TINY, tmp_path, 1)
    assert set(first["protocol"]) == {"paper", "sound"}
    assert set(first["method"]) == set(script.METHODS)
    # 1 + 2 kinds of KMM, 2 spaces, 4 (gamma, B), 1 + 2 permutations; 1 + 2 * (1 + 2).
    assert len(first) == 1 + 2 * 2 * 4 * 3 + 1 + 2 * 3
    assert first["error"].between(0, 1).all()

    drawn = []

    def spy(trial):
        drawn.append(trial)
        return mixture(trial)

    monkeypatch.setattr(script, "run_paper", lambda *_: iter([{"error": 0.25}]))
    monkeypatch.setattr(script, "run_sound", lambda *_: iter([]))
    second = script.run_all({"mixture": spy}, {"mixture": 2}, TINY, tmp_path, 1)
    assert drawn == [1]
    kept = second[second.trial == 0][first.columns]
    pd.testing.assert_frame_equal(kept, first, check_dtype=False)
    assert second[second.trial == 1]["error"].tolist() == [0.25]

    with pytest.raises(SystemExit, match="other settings"):
        script.check_settings(tmp_path, {**TINY, "B": [1]})
