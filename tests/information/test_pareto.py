"""The tail index against samples whose index is known."""

import numpy as np
import pytest
from scipy.stats import genpareto

from skdre.information import pareto_k, pareto_k_threshold
from skdre.information._pareto import fit_generalized_pareto


@pytest.mark.parametrize("k", [-0.2, 0.0, 0.3, 0.7, 1.2])
@pytest.mark.parametrize("sigma", [1e-6, 1.0, 40.0])
def test_fit_finds_shape_and_scale(k, sigma):
    found = [
        fit_generalized_pareto(genpareto.rvs(k, scale=sigma, size=500, random_state=i))
        for i in range(40)
    ]
    shapes, scales = np.transpose(found)
    # The spread of the maximum-likelihood estimate, to first order.
    assert shapes.mean() == pytest.approx(k, abs=0.03)
    assert np.std(shapes) == pytest.approx((1 + k) / np.sqrt(500), rel=0.3)
    assert scales.mean() == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("k", [-0.2, 0.4, 0.9])
def test_fit_is_close_to_maximum_likelihood(k):
    x = genpareto.rvs(k, scale=2.0, size=5000, random_state=1)
    likely, _, scale = genpareto.fit(x, floc=0)
    found, sigma = fit_generalized_pareto(x)
    assert found == pytest.approx(likely, abs=0.005)
    assert sigma == pytest.approx(scale, rel=0.01)


@pytest.mark.parametrize("k", [0.0, 0.3, 0.7, 1.2])
def test_weights_with_a_known_tail(k):
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        log_weights = np.log(genpareto.rvs(k, size=2000, random_state=rng))
        found.append(pareto_k(log_weights))
    # Shrunk towards 1/2 by ten rows beside 3 sqrt(2000).
    n_tail = np.ceil(3 * np.sqrt(2000))
    expected = (n_tail * k + 5) / (n_tail + 10)
    assert np.mean(found) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(("sd", "reliable"), [(0.5, True), (3.0, False)])
def test_normal_against_wider_normal(sd, reliable):
    """Importance weights of N(0, sd) at rows of N(0, 1): no tail, or 1 - 1 / sd^2."""
    x = np.random.default_rng(0).normal(size=4000)
    k = pareto_k(x**2 / 2 - x**2 / (2 * sd**2))
    assert (k < pareto_k_threshold(4000)) == reliable
    if not reliable:
        assert k == pytest.approx(1 - 1 / sd**2, abs=0.2)


def test_a_constant_changes_nothing():
    log_weights = np.random.default_rng(0).normal(size=500)
    k = pareto_k(log_weights)
    for shift in (-1e4, 1e4):
        assert pareto_k(log_weights + shift) == pytest.approx(k, abs=1e-6)
    assert pareto_k(log_weights[::-1]) == k


def test_weights_over_many_orders_of_magnitude():
    log_weights = np.random.default_rng(0).normal(scale=500, size=1000)
    assert 5 < pareto_k(log_weights) < np.inf


def test_bounded_weights_and_few_rows():
    assert pareto_k(np.zeros(100)) == -np.inf
    clipped = np.minimum(np.random.default_rng(0).normal(size=100), 0)
    assert pareto_k(clipped) == -np.inf
    with_zeros = np.append(np.zeros(99), -np.inf)
    assert pareto_k(with_zeros) == -np.inf
    assert np.isnan(pareto_k(np.arange(20.0)))
    assert np.isnan(pareto_k(np.arange(25.0)))
    assert np.isfinite(pareto_k(np.arange(26.0)))


@pytest.mark.parametrize(
    "log_weights",
    [
        np.append(np.zeros(99), 50.0),
        np.append(np.full(99, -np.inf), 0.0),
        np.linspace(-1e6, 0, 1000),
        np.append(np.zeros(97), [3.0, 4.0, 5.0]),
        np.append(np.zeros(95), np.full(5, 50.0)),
        np.append(np.zeros(95), 50 + 1e-14 * np.arange(5)),
        np.append(np.minimum(np.random.default_rng(0).normal(size=100), 0), 40.0),
    ],
)
def test_a_few_rows_with_the_weight_are_no_bound(log_weights):
    for shift in (0.0, -1e3, 1e3):
        assert pareto_k(log_weights + shift) == np.inf
    rng = np.random.default_rng(0)
    assert pareto_k(rng.permutation(log_weights)) == np.inf


def test_tails_that_do_not_show():
    # One row above the others, by 1 %: it matters little.
    assert np.isnan(pareto_k(np.append(np.zeros(99), 0.01)))
    # No weight at all.
    assert np.isnan(pareto_k(np.full(100, -np.inf)))
    # Equal but for rounding, and a twentieth of many rows.
    noise = np.random.default_rng(0).uniform(size=100)
    assert pareto_k(1e-15 * noise) == -np.inf
    assert pareto_k(np.append(np.zeros(950), np.full(50, 3.0))) == -np.inf


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((10, 2)), "shape"),
        ([np.nan] * 30, "NaN"),
        ([np.inf] * 30, "infinity"),
    ],
)
def test_bad_input(value, message):
    with pytest.raises(ValueError, match=message):
        pareto_k(value)


def test_threshold():
    assert pareto_k_threshold(100) == pytest.approx(0.5)
    assert pareto_k_threshold(1000) == pytest.approx(2 / 3)
    assert pareto_k_threshold(10**6) == 0.7
    with pytest.raises(ValueError, match="at least 2"):
        pareto_k_threshold(1)
