"""What copies, survey weights and atoms do to the searches: the loss at new rows."""

import numpy as np
import pytest
from instances import one_of_each, without_networks

from skdre import pool

each_estimator = pytest.mark.parametrize(
    "estimator", without_networks(one_of_each("ratio").values()), ids=str
)


def gaussians(rng, n):
    return pool(
        numerator=rng.normal(0.3, 1, (n, 3)), denominator=rng.normal(size=(n, 3))
    )


@each_estimator
def test_copies_and_survey_weights_do_not_overfit(estimator):
    X, y = gaussians(np.random.default_rng(0), 80)
    new = gaussians(np.random.default_rng(1), 2000)
    once = estimator.fit(X, y).score(*new)
    # Worse than knowing nothing by hardly anything: the search is not misled.
    assert once > -np.log(2) - 0.03
    for k in (2, 10):
        assert estimator.fit(np.tile(X, (k, 1)), np.tile(y, k)).score(*new) == once
    weight = np.full(len(y), 10_000.0)
    assert estimator.fit(X, y, weight).score(*new) == once
    weight = 10_000 * np.random.default_rng(2).uniform(0.5, 1.5, len(y))
    assert estimator.fit(X, y, weight).score(*new) == pytest.approx(once, abs=0.03)


@each_estimator
@pytest.mark.parametrize("kind", ["counts", "zero-inflated", "rounded prices"])
def test_repeats_of_atoms_inform(estimator, kind):
    """Many rows of few values are many observations."""
    rng = np.random.default_rng(0)

    def draw(n, shift):
        if kind == "counts":
            return rng.poisson(3 + 2 * shift, (n, 1)).astype(float)
        if kind == "rounded prices":
            return np.round(rng.lognormal(2 + 0.5 * shift, 0.5, (n, 1)))
        amount = rng.lognormal(shift, 0.5, (n, 1))
        return np.where(rng.random((n, 1)) < 0.6 - 0.3 * shift, 0.0, amount)

    X, y = pool(numerator=draw(400, 1), denominator=draw(400, 0))
    new = pool(numerator=draw(2000, 1), denominator=draw(2000, 0))
    score = estimator.fit(X, y).score(*new)
    # All of these shifts are seen, the right way round.
    assert score > -0.67
    large = {"counts": 8.0, "zero-inflated": 4.0, "rounded prices": 20.0}[kind]
    small = {"counts": 1.0, "zero-inflated": 0.0, "rounded prices": 4.0}[kind]
    log_ratio = estimator.decision_function([[small], [large]])
    assert log_ratio[1] > 0 > log_ratio[0]
