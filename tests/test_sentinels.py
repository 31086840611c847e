"""Two rows of 9999 in a thousand do not erase a shift, and are named."""

import numpy as np
import pytest
from instances import one_of_each, without_networks

from skdre import (
    AutoRatio,
    ClassifierRatio,
    GaussianRatio,
    MLPRatio,
    TelescopingRatio,
    TimeScoreRatio,
    divergence,
    mutual_information,
    pool,
    score_test,
    two_sample_test,
)
from skdre.information import shift_importance

NETWORK = {
    "hidden_features": (16,),
    "n_estimators": 2,
    "max_iter": 100,
    "learning_rate": 0.01,
}
SEED = {"random_state": 0}
ESTIMATORS = [
    GaussianRatio(shrink=False),
    ClassifierRatio(calibration="sigmoid"),
    *without_networks(one_of_each("ratio").values()),
    MLPRatio(**NETWORK, **SEED),
    TelescopingRatio(**NETWORK, n_bridges=2, **SEED),
    TimeScoreRatio(hidden_features=(16,), max_iter=100, **SEED),
    AutoRatio(
        [("plug-in", GaussianRatio()), ("network", MLPRatio(**NETWORK, **SEED))],
        cv=2,
        **SEED,
    ),
]
ROWS = np.column_stack([np.linspace(-0.5, 1.5, 5), np.zeros(5)])
TRUTH = ROWS[:, 0] - 0.5


def tables(column, sentinel):
    rng = np.random.default_rng(0)
    p, q = rng.normal([1, 0], 1, (1000, 2)), rng.normal(size=(1000, 2))
    p[:2, column] = q[:2, column] = sentinel
    return pool(numerator=p, denominator=q)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: str(each)[:40])
def test_the_shift_is_seen_and_the_column_named(estimator, column):
    with pytest.warns(UserWarning, match=f"column {column}: 4 of 2000 rows"):
        estimator.fit(*tables(column, 9999.0))
    log_ratio = estimator.decision_function(ROWS)
    assert (np.diff(log_ratio) > 0).all()
    slope = np.polyfit(TRUTH, log_ratio, 1)[0]
    assert 0.7 < slope < 1.35
    assert np.abs(log_ratio - TRUTH).max() < 0.45
    assert np.isfinite(estimator.decision_function([[9999.0, 9999.0]])).all()


@pytest.mark.filterwarnings("ignore:Values far from all others")
@pytest.mark.parametrize("sentinel", [9999.0, -1e9])
def test_tests_see_it_too(sentinel):
    X, y = tables(0, sentinel)
    assert (
        two_sample_test(GaussianRatio(), X, y, n_permutations=99, **SEED).pvalue < 0.02
    )
    assert score_test(X, y, n_permutations=99, **SEED).pvalue < 0.02


@pytest.mark.filterwarnings("ignore:Values far from all others")
@pytest.mark.parametrize("library", ["numpy", "pandas", "polars"])
def test_one_absurd_value_does_not_decide_on_a_divergence(library):
    """A fold that holds it out has a ratio without a limit there."""
    rng = np.random.default_rng(0)
    p, q = rng.normal([1, 0], 1, (500, 2)), rng.normal(size=(500, 2))
    X, y = pool(numerator=p, denominator=q)
    if library != "numpy":
        make = pytest.importorskip(library).DataFrame
        X = make({"income": X[:, 0], "age": X[:, 1]})
    clean = divergence(GaussianRatio(), X, y, **SEED)
    spoilt = pool(numerator=p, denominator=q)[0]
    spoilt[3, 0] = 9999.0
    before = spoilt.copy()
    if library != "numpy":
        spoilt = make({"income": spoilt[:, 0], "age": spoilt[:, 1]})
    found = divergence(GaussianRatio(), spoilt, y, **SEED)
    assert float(found) == pytest.approx(float(clean), abs=0.1)
    np.testing.assert_array_equal(np.asarray(spoilt), before)
    one, other = (
        shift_importance(GaussianRatio(), each, y, **SEED).importances_mean
        for each in (X, spoilt)
    )
    np.testing.assert_allclose(other, one, atol=0.05)


@pytest.mark.filterwarnings("ignore:Values far from all others")
def test_one_absurd_value_does_not_decide_on_mutual_information():
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(2, 500, 1))
    Y = X + noise
    clean = mutual_information(X, Y, GaussianRatio(), **SEED)
    X[3] = 9999.0
    found = mutual_information(X, Y, GaussianRatio(), **SEED)
    assert float(found) == pytest.approx(float(clean), abs=0.1)
    assert float(clean) == pytest.approx(np.log(2) / 2, abs=0.12)
