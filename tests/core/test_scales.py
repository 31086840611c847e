"""Scales of columns, which rare rows must not own."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdre._core.scales import column_scales


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def scales_of(numerator, denominator, p_weight=None, q_weight=None, **params):
    parts = [
        (np.asarray(X, float), np.ones(len(X)) if w is None else w)
        for X, w in ((denominator, q_weight), (numerator, p_weight))
    ]
    return column_scales(parts, **params)


def test_each_sample_counts_half(rng):
    p, q = rng.normal(size=(50, 2)) * [1, 4] + 3, rng.normal(size=(500, 2)) * [3, 4]
    scales = scales_of(p, q)
    assert_allclose(scales.center, (p.mean(0) + q.mean(0)) / 2)
    assert_allclose(scales.within**2, (p.var(0) + q.var(0)) / 2)
    mixture = np.concatenate([np.repeat(p, len(q), 0), np.repeat(q, len(p), 0)])
    assert_allclose(scales.total, mixture.std(axis=0))
    assert np.isinf([scales.low, scales.high]).all()
    counts = rng.integers(1, 4, 50)
    weighted, repeated = scales_of(p, q, counts), scales_of(np.repeat(p, counts, 0), q)
    assert_allclose(weighted.within, repeated.within)
    assert_allclose(weighted.center, repeated.center)


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e9, 1e300])
def test_constant_columns(value):
    p, q = np.full((30, 1), value), np.full((20, 1), value)
    scales = scales_of(p, q)
    assert scales.within == scales.total == 1
    assert_allclose(scales.center, value)


def test_columns_that_are_constant_in_each_sample():
    p, q = [[1e9, 5.0], [1e9, 5.0]], [[1e9, 9.0], [1e9, 9.0]]
    assert_allclose(scales_of(p, q).within, [1.0, 2.0])


@pytest.mark.parametrize("sentinel", [9999.0, -999.0, 1e9, 1e150, -1e300])
def test_two_sentinels_in_a_thousand_rows(rng, sentinel):
    p, q = rng.normal(1, 1, size=(1000, 2)), rng.normal(size=(1000, 2))
    clean = scales_of(p, q)
    p[:2, 1] = q[:2, 1] = sentinel
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.warns(UserWarning, match=r"'income': 4 of 2000 rows") as record:
            scales = scales_of(p, q, names=["age", "income"])
    assert len(record) == 1
    assert "'age'" not in str(record[0].message)
    assert_allclose(scales.within, clean.within, rtol=0.15)
    assert_allclose(scales.center, clean.center, atol=0.05)
    drawn_in = scales.draw_in(p)
    assert np.abs(drawn_in).max() < 12
    assert_allclose(drawn_in[2:], p[2:])


@pytest.mark.parametrize("share", [0.04, 0.12, 0.3])
def test_sentinels_in_one_sample_alone(rng, share):
    """Up to the half of a column that they are."""
    p, q = rng.normal(1, 1, size=(1000, 1)), rng.normal(size=(1000, 1))
    p[: int(share * 1000)] = 9999
    with pytest.warns(UserWarning, match="column 0"):
        scales = scales_of(p, q)
    assert scales.within < 4


TABLES = {
    "rare flag": lambda rng: rng.random(2000) < 0.002,
    "flag": lambda rng: rng.random(2000) < 0.4,
    "zero inflated": lambda rng: np.where(
        rng.random(2000) < 0.7, 0, rng.lognormal(size=2000)
    ),
    "mostly zero": lambda rng: np.where(
        rng.random(2000) < 0.98, 0, rng.normal(50, 1, 2000)
    ),
    "far from its zero": lambda rng: np.where(
        rng.random(2000) < 0.6, 0, rng.normal(1000, 1, 2000)
    ),
    "exponential": lambda rng: rng.exponential(size=2000),
    "two clusters": lambda rng: rng.normal(100 * (rng.random(2000) < 0.1), 1),
    "counts": lambda rng: rng.poisson(0.1, 2000),
    "t5": lambda rng: rng.standard_t(5, 2000),
}


@pytest.mark.parametrize("name", TABLES)
def test_ordinary_columns_keep_their_scale(rng, name):
    p, q = (np.asarray(TABLES[name](rng), float)[:, None] for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scales = scales_of(p, q)
    plain = np.sqrt((p.var() + q.var()) / 2)
    assert plain / 1.6 < scales.within[0] <= plain * (1 + 1e-12)
    assert np.isinf([scales.low, scales.high]).all()


def test_a_shift_far_larger_than_the_spread_is_no_contamination(rng):
    p, q = rng.normal(1e6, 1, size=(300, 1)), rng.normal(size=(200, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scales = scales_of(p, q)
    assert_allclose(scales.within, 1, rtol=0.1)


def test_numbers_of_any_size(rng):
    for size in (1e-300, 1e-150, 1e150, 1e300):
        p, q = size * rng.normal(size=(100, 1)), size * rng.normal(size=(100, 1))
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            scales = scales_of(p, q)
        assert_allclose(scales.within / size, 1, rtol=0.2)
