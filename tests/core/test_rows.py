"""What the weight of a row stands for, on tables of every kind."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdre import GaussianRatio, pool
from skdre._core.folds import held_out_weights
from skdre._core.rows import as_numbers, merge, observations, row_keys
from skdre._core.samples import PooledRows
from skdre.base import split_samples


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def samples_of(numerator, denominator, weight=None):
    X, y = pool(numerator=numerator, denominator=denominator)
    return split_samples(GaussianRatio(), X, y, weight)


def sizes(samples):
    """Draws of the numerator and of the denominator."""
    (_, q_weight), (_, p_weight) = samples.parts
    return p_weight.sum(), q_weight.sum()


def normal(rng):
    return rng.normal(size=(300, 1))


def mixed(rng):
    return np.column_stack([rng.random(300) < 0.4, rng.normal(size=300)])


def zero_inflated(rng):
    amount = rng.lognormal(3, 0.5, size=(300, 1))
    return np.where(rng.random((300, 1)) < 0.6, 0, amount)


def zero_inflated_beside_a_flag(rng):
    return np.column_stack([zero_inflated(rng), rng.random(300) < 0.5])


def single_precision(rng):
    return normal(rng).astype(np.float32).astype(float)


def row_numbers(rng):
    return rng.permutation(np.arange(300.0))[:, None]


CONTINUOUS = [
    normal,
    mixed,
    zero_inflated,
    zero_inflated_beside_a_flag,
    single_precision,
    row_numbers,
]


@pytest.mark.parametrize("table", CONTINUOUS)
def test_copies_of_a_row_with_a_continuous_value_are_no_draws(rng, table):
    p, q = table(rng), table(rng)
    once = samples_of(p, q)
    assert_allclose(sizes(once), 300)
    for k in (2, 10):
        many = samples_of(np.tile(p, (k, 1)), rng.permutation(np.tile(q, (k, 1))))
        assert_array_equal(many.numerator, once.numerator)
        assert_allclose(sizes(many), 300, rtol=1e-9)
        assert_array_equal(many.numerator_is_atom, once.numerator_is_atom)
    for weight in (1 / 120, 1e-50, 1e40, 1e-300, 1e300):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = samples_of(p, q, np.full(600, weight))
        for one, other in zip(found.parts, once.parts, strict=True):
            assert_array_equal(one[0], other[0])
            assert_allclose(one[1], other[1], rtol=1e-12)


def counts(rng):
    return rng.poisson(4, size=(300, 1)) * 1.0


def many_counts(rng):
    return rng.poisson(100, size=(300, 1)) * 1.0


def flags(rng):
    return (rng.random((300, 3)) < [0.5, 0.1, 0.9]) * 1.0


def one_flag(rng):
    return (np.arange(300) % 2 * 1.0)[:, None]


def rounded_prices(rng):
    return np.round(rng.lognormal(3, 0.5, size=(300, 1)), 1)


def prices_below_a_whole(rng):
    return np.round(rng.lognormal(2, 0.5, size=(300, 1))) - 0.01


def rounded_prices_beside_counts(rng):
    return np.column_stack([rounded_prices(rng), rng.poisson(1, 300)])


def levels_as_numbers(rng):
    return rng.normal(size=12)[rng.integers(0, 12, (300, 1))]


def grey_values(rng):
    return np.round(rng.beta(1, 3, size=(300, 2)) * 15) / 255


@pytest.mark.parametrize(
    "table",
    [
        counts,
        many_counts,
        flags,
        one_flag,
        rounded_prices,
        prices_below_a_whole,
        rounded_prices_beside_counts,
        levels_as_numbers,
        grey_values,
    ],
)
def test_repeats_of_atoms_are_draws(rng, table):
    p, q = table(rng), table(rng)
    once = samples_of(p, q)
    assert_allclose(sizes(once), 300)
    assert_allclose(sizes(samples_of(np.tile(p, (2, 1)), q)), [600, 300])
    distinct, count = np.unique(p, axis=0, return_counts=True)
    # A table of counts, as np.unique gives it.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = samples_of(distinct, q, np.append(count, np.ones(300)))
    assert_array_equal(found.numerator, once.numerator)
    assert_array_equal(found.parts[1][1], once.parts[1][1])
    for weight in (1 / 120, 1e-50, 1e40, 1000.0):
        with pytest.warns(UserWarning, match=r"sample_weight sums to .* 300 rows"):
            found = samples_of(p, q, np.full(600, weight))
        assert np.isfinite(sizes(found)).all()
        assert min(sizes(found)) >= 1 - 1e-9


@pytest.mark.parametrize("scale", [1.0, 1e-40, 1e30])
def test_survey_weights_make_an_effective_number(rng, scale):
    p, q = rng.normal(size=(200, 2)), rng.normal(size=(300, 2))
    weight = rng.uniform(1, 20_000, 500)
    found = samples_of(p, q, weight * scale)
    for w, size in zip((weight[:200], weight[200:]), sizes(found), strict=True):
        assert size == pytest.approx(w.sum() ** 2 / (w @ w))
    # In proportion to the weights that came.
    order = found.numerator_index[np.unique(found.numerator_row, return_index=True)[1]]
    ratio = found.numerator_weight / weight[order]
    assert_allclose(ratio, ratio[0])


def test_weights_are_repeats_to_the_bit(rng):
    p, q = rng.normal(size=(80, 2)), np.round(rng.normal(size=(90, 2)))
    count = rng.integers(0, 5, 170)
    X, y = pool(numerator=p, denominator=q)
    order = rng.permutation(count.sum())
    weighted = split_samples(GaussianRatio(), X, y, count)
    repeated = split_samples(
        GaussianRatio(), np.repeat(X, count, 0)[order], np.repeat(y, count)[order]
    )
    for one, other in zip(weighted.parts, repeated.parts, strict=True):
        assert_array_equal(one[0], other[0])
        assert_array_equal(one[1], other[1])
    assert_array_equal(weighted.denominator_is_atom, repeated.denominator_is_atom)


def test_positions_lead_back_to_the_pool(rng):
    X = np.round(rng.normal(size=(60, 2)))
    y, weight = np.arange(60) % 3 == 0, np.arange(60) % 5 * 1.0
    samples = split_samples(GaussianRatio(), X, y, weight)
    for rows, index, row, domain in (
        (samples.numerator, samples.numerator_index, samples.numerator_row, y),
        (samples.denominator, samples.denominator_index, samples.denominator_row, ~y),
    ):
        assert_array_equal(rows[row], X[index])
        assert_array_equal(index, np.flatnonzero(domain & (weight > 0)))
        assert len(np.unique(rows, axis=0)) == len(rows)


def test_keys_are_those_of_the_values():
    same = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [np.nan, 1.0]])
    keys = row_keys(same)
    assert keys[0] == keys[1] == keys[3]
    assert len(set(keys)) == 3
    assert_array_equal(row_keys(same[1:]), keys[1:])
    X = np.random.default_rng(0).integers(-3, 4, (300, 2)) / 7
    assert_array_equal(row_keys(np.asfortranarray(X)), row_keys(X))
    assert_array_equal(row_keys(X.astype(">f8")), row_keys(X))
    assert len(set(row_keys(X))) == len(np.unique(X, axis=0))
    words = np.array([["a", 1.0], ["b", np.nan], ["a", 1.0], ["ab", 1.0]], dtype=object)
    numbers, is_numeric = as_numbers(words)
    keys = row_keys(numbers)
    assert len(set(keys)) == 3
    assert keys[0] == keys[2]
    assert is_numeric.tolist() == [False, True]


def test_merge_against_a_loop(rng):
    X, weight = np.round(rng.normal(size=(200, 2))), rng.uniform(size=200)
    index, row, total = merge(row_keys(X), weight)
    for k, i in enumerate(index):
        alike = (X[i] == X).all(axis=1)
        assert_array_equal(row == k, alike)
        assert total[k] == pytest.approx(weight[alike].sum())


def pooled(numerator, denominator, weight=None):
    return PooledRows.of(samples_of(numerator, denominator, weight))


@pytest.mark.parametrize("decimals", [6, 0], ids=["distinct", "atoms"])
@pytest.mark.parametrize("weighted", [False, True])
def test_folds_are_a_partition(rng, decimals, weighted):
    p, q = (np.round(rng.normal(size=(n, 2)), decimals) for n in (90, 210))
    weight = rng.integers(1, 4, 300) * 1.0 if weighted else None
    rows = pooled(p, q, weight)
    held_out = held_out_weights(rows, 5)
    assert_allclose(held_out.sum(axis=0), rows.weight)
    for domain in (rows.is_numerator, ~rows.is_numerator):
        if decimals:
            # No row is both held out and known.
            assert ((held_out == 0) | (held_out == rows.weight)).all()
            assert np.ptp((held_out[:, domain] > 0).sum(axis=1)) <= 1
        else:
            assert_allclose(held_out, np.rint(held_out), atol=1e-12)
            assert np.ptp(held_out[:, domain].sum(axis=1)) <= 1 + 1e-9


def test_every_fold_has_its_share_of_an_atom(rng):
    p, q = zero_inflated(rng), zero_inflated(rng)
    rows = pooled(p, q)
    zero = np.flatnonzero(rows.X[:, 0] == 0)
    assert rows.is_atom[zero].all()
    assert rows.is_atom.sum() == 2
    held_out = held_out_weights(rows, 5)
    assert_allclose(held_out[:, zero] / rows.weight[zero], 0.2, atol=0.01)


def test_fewer_folds_than_asked_for(rng):
    X = rng.normal(size=(9, 2))
    few = pooled(X[:3], X[3:])
    assert len(held_out_weights(few, 5)) == 3
    one = pooled(X[:1], X[1:])
    assert held_out_weights(one, 5) is None
    # A row and its copy are one observation, a flag and its repeat two.
    copy = pooled(X[[0, 0]], X[1:])
    assert held_out_weights(copy, 5) is None
    flag = pooled([[1.0], [1.0]], [[0.0], [0.0], [1.0]])
    found = held_out_weights(flag, 5)
    assert len(found) == 2


def test_observations(rng):
    p, q = zero_inflated(rng), zero_inflated(rng)
    X = np.concatenate([p, q])
    domain = np.repeat([1, 0], 300)
    assert_array_equal(observations(X, domain), np.arange(600))
    twice = np.concatenate([X, X])
    found = observations(twice, np.tile(domain, 2))
    is_zero = twice[:, 0] == 0
    assert_array_equal(found[is_zero], np.flatnonzero(is_zero))
    copies = np.flatnonzero(~is_zero)
    assert_array_equal(found[copies], copies % 600)
    # The same amount in both samples was paid twice.
    both = np.concatenate([p, p])
    assert_array_equal(observations(both, domain), np.arange(600))
    assert_array_equal(observations(both)[300:][p[:, 0] > 0], np.flatnonzero(p[:, 0]))
    words = np.array([["a", "b"], ["a", "b"], ["c", "b"]], dtype=object)
    assert_array_equal(observations(words), [0, 1, 2])


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_few_continuous_rows_on_both_sides(n):
    """Small numbers are no multiples of a large unit."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p, q = rng.normal(size=(n, 1)), rng.normal(size=(n, 1))
        assert_allclose(sizes(samples_of(p, q, np.full(2 * n, 1e4))), n)
