"""Copies of rows are no observations, in folds, standard errors and permutations."""

import numpy as np
import pytest

from skdre import (
    ClassifierRatio,
    diagnose,
    divergence,
    mutual_information,
    pool,
    score_test,
    two_sample_test,
)
from skdre.information import shift_importance

PARAMS = {"random_state": 0}


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pool(
        numerator=rng.normal(0.5, 1, (60, 2)), denominator=rng.normal(size=(80, 2))
    )


def stacked(X, y):
    order = np.random.default_rng(1).permutation(3 * len(y))
    return np.tile(X, (3, 1))[order], np.tile(y, 3)[order]


@pytest.mark.parametrize("cv", [5, "prefit"])
def test_standard_error_does_not_shrink(table, cv):
    estimator = ClassifierRatio().fit(*table)
    one = divergence(estimator, *table, cv=cv, **PARAMS)
    three = divergence(estimator, *stacked(*table), cv=cv, **PARAMS)
    assert three.standard_error == pytest.approx(one.standard_error, rel=0.2)
    # Held-out rows are not among those of the fit: the value is not larger.
    assert float(three) == pytest.approx(float(one), abs=one.standard_error / 2)
    if cv == "prefit":
        assert three.standard_error == pytest.approx(one.standard_error, rel=1e-9)


def test_tests_keep_their_level():
    """Of no difference, nine copies of 24 rows must not make one."""
    pvalues = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X, y = np.tile(rng.normal(size=(24, 1)), (9, 1)), np.tile(np.arange(24) % 2, 9)
        pvalues.append(
            two_sample_test(ClassifierRatio(), X, y, n_permutations=39, **PARAMS).pvalue
        )
        pvalues.append(score_test(X, y, n_permutations=39, **PARAMS).pvalue)
    # Binomial with 80 tests at 10 %: 19 or more have a probability of .001.
    assert np.sum(np.array(pvalues) <= 0.1) < 19


def test_diagnosis_counts_rows_once(table):
    one, three = (
        diagnose(ClassifierRatio(), *rows, **PARAMS)["effective_sample_size"].value
        for rows in (table, stacked(*table))
    )
    assert three == pytest.approx(one, rel=0.3)


def test_importance_is_that_of_rows_held_out(table):
    one, three = (
        shift_importance(ClassifierRatio(), *rows, **PARAMS).importances_mean
        for rows in (table, stacked(*table))
    )
    np.testing.assert_allclose(three, one, atol=0.06)


def test_pairs_that_stand_twice():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 80, 1))
    found = [
        mutual_information(
            np.tile(X, (k, 1)), np.tile(Y, (k, 1)), ClassifierRatio(), cv=2, **PARAMS
        )
        for k in (1, 3)
    ]
    assert float(found[0]) == float(found[1])
    assert found[0].standard_error == found[1].standard_error
