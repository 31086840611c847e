"""Scales of columns, which rare rows must not own."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdre._core.scales import column_scales, draw_in, fences


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


def test_fences_lie_two_widths_of_the_bulk_outside():
    """The bulk is what lies between the quantiles of 5 % and 95 %."""
    X, weight = np.linspace(0, 1, 1001), np.full(1001, 1 / 1001)
    assert_allclose(fences(X, weight), [0.05 - 1.8, 0.95 + 1.8], atol=3e-3)
    # A third at one value is an atom: the bulk is that of the other values.
    X, weight = np.append(X, -7.0), np.append(weight * 2 / 3, 1 / 3)
    assert_allclose(fences(X, weight), [0.05 - 1.8, 0.95 + 1.8], atol=3e-3)
    # Where atoms are the most, the bulk reaches over them and over the others.
    X, weight = np.array([0.0, 1.0, 5.0, 5.5]), np.array([0.4, 0.5, 0.05, 0.05])
    assert_allclose(fences(X, weight), [0 - 2 * 5.5, 5.5 + 2 * 5.5])
    # Two atoms that are all but a little: what little there is may lie anywhere.
    X, weight = np.array([0.0, 1.0, 50.0]), np.array([0.5, 0.47, 0.03])
    assert_allclose(fences(X, weight), [0 - 2, 1 + 2])
    # A single atom needs the others to have a width.
    X = np.append(0.0, np.linspace(4, 6, 101))
    weight = np.append(0.7, np.full(101, 0.3 / 101))
    assert_allclose(fences(X, weight), [0 - 2 * 5.9, 5.9 + 2 * 5.9], atol=0.05)
    assert fences(np.full(9, 3.0), np.full(9, 1 / 9)) == (-np.inf, np.inf)


@pytest.mark.parametrize(("share", "is_atom"), [(0.049, False), (0.051, True)])
def test_an_atom_has_a_twentieth_of_a_column(share, is_atom):
    """Two such values with most of the rest elsewhere: are they of the bulk?"""
    others = np.linspace(0, 1, 1000)
    X = np.concatenate([[100.0, -100.0], others])
    weight = np.concatenate([[share, share], np.full(1000, (1 - 2 * share) / 1000)])
    low, high = fences(X, weight)
    if is_atom:
        assert_allclose([low, high], [0.05 - 1.8, 0.95 + 1.8], atol=3e-3)
    else:  # the quantiles of 5 % and 95 % then lie close to the ends of the others
        assert low < -1.9 < 2.9 < high


@pytest.mark.parametrize(("value", "is_drawn_in"), [(50.0, False), (65.0, True)])
def test_values_that_double_the_deviation_are_drawn_in(rng, value, is_drawn_in):
    """One row of 1,000 at v makes a deviation of 1 one of sqrt(1 + v^2 / 1,000)."""
    p, q = rng.normal(size=(1000, 1)), rng.normal(size=(1000, 1))
    p[0] = q[0] = value
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        scales = scales_of(p, q)
    assert bool(record) == is_drawn_in == (np.sqrt(1 + value**2 / 1000) > 2.07)
    if not is_drawn_in:
        assert np.isinf([scales.low, scales.high]).all()
        assert scales.draw_in(p)[0] == value
    else:
        # One width of the bulk outside it, at five standard deviations.
        both = np.sort(np.concatenate([p, q]).ravel())
        low, high = both[100], both[1899]
        assert_allclose(scales.low, low - (high - low), rtol=0.02)
        assert_allclose(scales.high, high + (high - low), rtol=0.02)
        assert_allclose([scales.low, scales.high], [[-4.94], [4.94]], rtol=0.1)


def test_draw_in_with_one_bound(rng):
    X = rng.normal(size=(30, 2))
    low, high = np.array([-np.inf, -np.inf]), np.array([np.inf, 0.5])
    assert_allclose(draw_in(X, low, high), np.clip(X, low, high))
    assert_allclose(draw_in(X, -high, -low), np.clip(X, -high, -low))
    assert draw_in(X, low, -low) is X


def test_a_warning_names_five_columns_at_most(rng):
    p, q = rng.normal(size=(1000, 7)), rng.normal(size=(1000, 7))
    p[0] = 1e6
    with pytest.warns(UserWarning, match="column 4.*and 2 columns more") as record:
        scales_of(p, q)
    assert "column 5" not in str(record[0].message)


def test_a_spread_within_the_rounding_of_the_values_is_none():
    """64 spacings of floats, at the size of the mean."""
    eps = np.finfo(np.float64).eps
    for spread, scale in ((32 * eps, 1.0), (100 * eps, 100 * eps)):
        X = np.array([[1 - spread], [1 + spread]])
        assert_allclose(scales_of(X, X).within, scale)
