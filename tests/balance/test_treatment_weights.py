"""Weights of causal estimands, against formulas, integrals and simulated effects."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, logit

from skdre import GaussianRatio, balance_table, treatment_weights
from skdre.balance._treatment import optimal_trim

FORMULAS = {
    "ATE": (lambda e: 1 / e, lambda e: 1 / (1 - e)),
    "ATT": (lambda e: e / e, lambda e: e / (1 - e)),
    "ATC": (lambda e: (1 - e) / e, lambda e: e / e),
    "ATO": (lambda e: 1 - e, lambda e: e),
}


def trial(seed=0, n=4000):
    """Rows, treatment, propensity, outcome, and the effect of each row."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    propensity = expit(0.8 * X[:, 0] - 0.5)
    treatment = rng.random(n) < propensity
    effect = 1 + X[:, 0]
    outcome = 2 * X[:, 0] + X[:, 1] + effect * treatment + rng.normal(size=n)
    return X, treatment, propensity, outcome, effect


@pytest.mark.parametrize("estimand", FORMULAS)
def test_formulas(estimand):
    _, treatment, e, _, _ = trial(n=50)
    treated, control = FORMULAS[estimand]
    expected = np.where(treatment, treated(e), control(e))
    found = treatment_weights(
        treatment, propensity=e, estimand=estimand, normalize=False
    )
    assert_allclose(found, expected)
    scaled = treatment_weights(treatment, propensity=e, estimand=estimand)
    for group in (treatment, ~treatment):
        assert_allclose(scaled[group], expected[group] / expected[group].mean())


@pytest.mark.parametrize("estimand", FORMULAS)
def test_the_ratio_is_the_odds_without_the_prior(estimand):
    _, treatment, e, _, _ = trial(n=60)
    log_ratio = logit(e) - logit(treatment.mean())
    given = {"estimand": estimand, "normalize": False}
    assert_allclose(
        treatment_weights(treatment, log_ratio=log_ratio, **given),
        treatment_weights(treatment, propensity=e, **given),
    )


@pytest.mark.parametrize("estimand", FORMULAS)
def test_effects_are_found(estimand):
    """Each estimand's own truth, which is another for each, in standard errors."""
    truth = {
        "ATE": lambda e: np.ones_like(e),
        "ATT": lambda e: e,
        "ATC": lambda e: 1 - e,
        "ATO": lambda e: e * (1 - e),
    }
    errors, naive = [], []
    for seed in range(25):
        _, treatment, e, outcome, effect = trial(seed)
        w = treatment_weights(treatment, propensity=e, estimand=estimand)
        difference = np.average(outcome[treatment], weights=w[treatment])
        difference -= np.average(outcome[~treatment], weights=w[~treatment])
        goal = np.average(effect, weights=truth[estimand](e))
        errors.append(difference - goal)
        naive.append(outcome[treatment].mean() - outcome[~treatment].mean() - goal)
    assert abs(np.mean(errors)) < 3.5 * np.std(errors) / 5
    assert abs(np.mean(naive)) > 10 * np.std(naive) / 5


def test_a_ratio_balances_the_groups():
    X, treatment, _, _, _ = trial()
    log_ratio = GaussianRatio().fit(X, treatment).decision_function(X)
    w = treatment_weights(treatment, log_ratio=log_ratio)
    table = balance_table(
        X[treatment],
        X[~treatment],
        w[treatment],
        target_weight=w[~treatment],
        scale_by="pooled",
    )
    assert abs(table["x0"].difference_before) > 0.5
    assert abs(table["x0"].difference_after) < 0.05


@pytest.mark.parametrize("estimand", FORMULAS)
def test_trimmed_rows_weigh_nothing(estimand):
    _, treatment, e, _, _ = trial(n=500)
    w = treatment_weights(treatment, propensity=e, estimand=estimand, trim=0.2)
    low, high = e < 0.2, e > 0.8
    assert low.any()
    assert high.any()
    assert (w[low] == 0).all() == (estimand != "ATT")
    assert (w[high] == 0).all() == (estimand != "ATC")
    assert (w[~(low | high)] > 0).all()


def test_the_optimal_bound_is_that_of_a_search():
    """The variance bound of Crump et al. over all symmetric bounds, by brute force."""
    e = expit(2 * np.random.default_rng(0).normal(size=4000))

    def variance(bound):
        kept = (e >= bound) & (e <= 1 - bound)
        return np.mean(1 / (e * (1 - e))[kept]) / kept.mean()

    grid = np.linspace(0, 0.3, 601)
    best = grid[np.argmin([variance(each) for each in grid])]
    assert abs(optimal_trim(e) - best) < 0.005
    # Where the groups overlap well nothing is trimmed.
    assert optimal_trim(np.full(10, 0.4)) == 0


def test_propensities_of_zero_and_one():
    treatment, e = [0, 0, 1, 1], [0.0, 0.5, 0.5, 1.0]
    # Whoever has the treatment for certain has a finite weight.
    assert_allclose(
        treatment_weights(treatment, propensity=e, normalize=False), [1, 2, 2, 1]
    )
    with pytest.raises(ValueError, match="infinite weight: set trim"):
        treatment_weights(treatment, propensity=[1.0, 0.5, 0.5, 0.5])
    assert_allclose(
        treatment_weights(treatment, propensity=[1.0, 0.5, 0.5, 0.5], trim=0.1),
        [0, 1, 1, 1],
    )
    assert_allclose(
        treatment_weights(treatment, propensity=[1.0, 0.5, 0.5, 0.5], estimand="ATO"),
        [4 / 3, 2 / 3, 1, 1],
    )


def test_huge_log_ratios_do_not_overflow():
    w = treatment_weights([0, 0, 1, 1], log_ratio=[2000.0, 1999.0, 0.0, 1.0])
    assert np.isfinite(w).all()
    assert_allclose(w[:2], np.array([1, np.exp(-1)]) * 2 / (1 + np.exp(-1)))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({}, ValueError, "one of propensity and log_ratio"),
        ({"propensity": [0.5] * 4, "log_ratio": [0] * 4}, ValueError, "one of prop"),
        ({"propensity": [0.5] * 3}, ValueError, "propensity must hold one value"),
        (
            {"propensity": [0.5, 0.5, 0.5, 1.5]},
            ValueError,
            "between 0 and 1, got .*1.5",
        ),
        ({"propensity": [0.5, 0.5, 0.5, np.nan]}, ValueError, "propensity .* NaN"),
        ({"propensity": list("abcd")}, TypeError, "propensity must hold real"),
        ({"log_ratio": [0, 0, 0, np.nan]}, ValueError, "log_ratio must not hold NaN"),
        ({"propensity": [0.5] * 4, "estimand": "LATE"}, ValueError, "'estimand'"),
        ({"propensity": [0.5] * 4, "trim": 0.5}, ValueError, "'trim' parameter"),
        ({"propensity": [0.9, 0.9, 0.5, 0.5], "trim": 0.2}, ValueError, "no row of"),
        ({"propensity": [0.5] * 4, "treatment": [1] * 4}, ValueError, "two classes"),
        ({"propensity": [0.5] * 4, "treatment": [0, 1, 2, 1]}, ValueError, "binary"),
    ],
)
def test_bad_input(change, error, match):
    with pytest.raises(error, match=match):
        treatment_weights(**{"treatment": [0, 0, 1, 1]} | change)
