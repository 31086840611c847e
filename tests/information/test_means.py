"""Means of the ratio and their standard errors, against sums and simulation."""

import numpy as np
import pytest
from scipy.stats import norm

from skdre.information import Estimate
from skdre.information._means import (
    donsker_varadhan,
    log_ratio_mean,
    nwj,
    standard_error,
)


def cyclic(n, m):
    return (np.arange(n)[:, None] + np.arange(1, m + 1)) % n


def test_standard_error_of_a_mean():
    values = np.random.default_rng(0).normal(size=50)
    expected = values.std(ddof=1) / np.sqrt(50)
    assert standard_error(values) == pytest.approx(expected)


@pytest.mark.parametrize("m", [1, 4])
def test_standard_error_by_loop(m):
    rng = np.random.default_rng(1)
    n, columns = 12, cyclic(12, m)
    a, b = rng.normal(size=n), rng.normal(size=(n, m))
    influence, twice = a - a.mean(), 0.0
    for i in range(n):
        for k in range(m):
            deviation = (b[i, k] - b.mean()) / m
            influence[i] -= deviation
            influence[columns[i, k]] -= deviation
            twice += deviation**2
    total = (influence**2).sum()
    variance = max(total - twice, total / 2) / (n * (n - 1))
    assert standard_error(a, b, columns) == pytest.approx(np.sqrt(variance))


@pytest.mark.parametrize("kernel", ["sum", "product", "cell"])
def test_standard_error_is_the_spread_over_samples(kernel):
    """b depends on x and on y alone, on both together, or on neither."""
    rng = np.random.default_rng(2)
    n, m = 100, 3
    columns = cyclic(n, m)
    values, errors = [], []
    for _ in range(600):
        x, y = rng.normal(size=(2, n))
        partner = y[columns]
        b = {
            "sum": 0.5 * x[:, None] + 0.5 * partner,
            "product": x[:, None] * partner,
            "cell": rng.normal(size=(n, m)),
        }[kernel]
        a = x * y
        values.append(a.mean() - b.mean())
        errors.append(standard_error(a, b, columns))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.1)


def test_bounds_by_definition():
    rng = np.random.default_rng(3)
    p, q = rng.normal(1, 1, 40), rng.normal(-1, 1, (40, 2))
    args = p, q, cyclic(40, 2)
    assert log_ratio_mean(*args)[0] == pytest.approx(p.mean())
    assert nwj(*args)[0] == pytest.approx(p.mean() - np.exp(q).mean() + 1)
    assert donsker_varadhan(*args)[0] == pytest.approx(
        p.mean() - np.log(np.exp(q).mean())
    )
    # The factor of the ratio that DV profits from.
    shifted = p + 2, q + 2, args[2]
    np.testing.assert_allclose(donsker_varadhan(*shifted), donsker_varadhan(*args))
    assert log_ratio_mean(*shifted)[0] == pytest.approx(log_ratio_mean(*args)[0] + 2)
    assert nwj(*shifted)[0] < nwj(*args)[0]


def test_delta_method_of_the_logarithm():
    """The derivative of the DV bound by each value, in finite differences."""
    rng = np.random.default_rng(4)
    p, q, columns = rng.normal(size=30), rng.normal(size=(30, 1)), cyclic(30, 1)
    step, influence = 1e-6, np.empty(30)
    base = np.log(np.exp(q).mean())
    for k in range(30):
        weight = np.full(30, 1.0)
        weight[k] += step
        moved = np.log(np.average(np.exp(q[:, 0]), weights=weight))
        influence[k] = (moved - base) / step * 30
    a = p - p.mean()
    expected = standard_error(a, influence[:, None], columns)
    assert donsker_varadhan(p, q, columns)[1] == pytest.approx(expected, rel=1e-4)


def test_overflowing_ratios_leave_no_nan():
    p, q = np.full(5, 900.0), np.full((5, 1), 800.0)
    q[0] = 1e4
    for bound in (nwj, donsker_varadhan):
        value, error = bound(p, q, cyclic(5, 1))
        assert not np.isnan(value)
        assert error > 0


def test_estimate():
    estimate = Estimate(1.0, 0.5, "direct", np.zeros(2), np.zeros(2))
    assert float(estimate) == 1.0
    assert repr(estimate) == "Estimate(1.000 ± 0.500 nats, kind='direct')"
    low, high = estimate.confidence_interval(0.9)
    assert norm.cdf(high, 1, 0.5) - norm.cdf(low, 1, 0.5) == pytest.approx(0.9)
    assert low + high == pytest.approx(2)
    for level in (0, 1, 1.5):
        with pytest.raises(ValueError, match="level must be between 0 and 1"):
            estimate.confidence_interval(level)
