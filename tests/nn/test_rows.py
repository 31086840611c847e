"""Hashes of rows, and folds against loops."""

import numpy as np
import pytest

from skdre.nn._rows import held_out_weights, row_keys

rng = np.random.default_rng(0)
Y = rng.uniform(size=300) < 0.3
WEIGHT = rng.integers(1, 4, 300).astype(float)
X = np.round(rng.standard_normal((300, 2)), 3)


def test_keys_are_those_of_the_values():
    same = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [np.nan, 1.0]])
    keys = row_keys(same)
    assert keys[0] == keys[1] == keys[3]
    assert len(set(keys)) == 3
    np.testing.assert_array_equal(row_keys(same[1:]), keys[1:])
    np.testing.assert_array_equal(row_keys(np.asfortranarray(X)), row_keys(X))
    np.testing.assert_array_equal(row_keys(X.astype(">f8")), row_keys(X))
    assert len(set(row_keys(X))) == len(np.unique(X, axis=0))
    words = np.array([["a", 1.0], ["b", np.nan], ["a", 1.0], ["ab", 1.0]], dtype=object)
    assert len(set(row_keys(words))) == 3
    assert row_keys(words)[0] == row_keys(words)[2]


@pytest.mark.parametrize("weight", [np.ones(300), WEIGHT, WEIGHT / 3], ids=str)
def test_folds_are_a_partition(weight):
    held_out = held_out_weights(X, Y, weight, 5)
    assert held_out.shape == (5, 300)
    np.testing.assert_allclose(held_out.sum(axis=0), weight)
    # No row is both held out and known, and the folds are of one size.
    assert ((held_out == 0) | (held_out == weight)).all()
    for domain in (Y, ~Y):
        counts = (held_out[:, domain] > 0).sum(axis=1)
        assert np.ptp(counts) <= 2


def test_folds_do_not_depend_on_the_order():
    order = rng.permutation(300)
    np.testing.assert_array_equal(
        held_out_weights(X[order], Y[order], WEIGHT[order], 4),
        held_out_weights(X, Y, WEIGHT, 4)[:, order],
    )


@pytest.mark.parametrize("decimals", [3, 0], ids=["distinct", "atoms"])
def test_weights_are_repeats_in_folds(decimals):
    rows, counts = np.round(X, decimals), WEIGHT.astype(int)
    weighted = held_out_weights(rows, Y, WEIGHT, 5)
    repeated = held_out_weights(
        np.repeat(rows, counts, axis=0), np.repeat(Y, counts), np.ones(counts.sum()), 5
    )
    for domain in (Y, ~Y):
        group = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
        many = np.repeat(group, counts)
        mask = np.repeat(domain, counts)
        for one, other in zip(weighted, repeated, strict=True):
            np.testing.assert_allclose(
                np.bincount(group[domain], one[domain], group.max() + 1),
                np.bincount(many[mask], other[mask], group.max() + 1),
            )


@pytest.mark.parametrize("whole", [True, False])
def test_every_fold_has_its_share_of_an_atom(whole):
    """A missing value with one of three categories is no row to hold out for good."""
    rows = X.copy()
    rows[:, 0] = np.where(np.arange(300) % 4 == 0, np.nan, rows[:, 0])
    rows[::4, 1] = 1.0
    weight = WEIGHT if whole else WEIGHT / 3
    held_out = held_out_weights(rows, Y, weight, 5)
    np.testing.assert_allclose(held_out.sum(axis=0), weight)
    for domain in (Y, ~Y):
        atom = domain & np.isnan(rows[:, 0])
        share = held_out[:, atom].sum(axis=1) / weight[atom].sum()
        np.testing.assert_allclose(share, 0.2, atol=0.02 if whole else 0.15)


def test_fewer_folds_than_asked_for():
    few = held_out_weights(X[:9], np.arange(9) < 3, np.ones(9), 5)
    assert few.shape == (3, 9)
    np.testing.assert_array_equal(few[:, :3].sum(axis=1), np.ones(3))
    assert held_out_weights(X[:9], np.arange(9) < 1, np.ones(9), 5) is None
    # One row that stands twice, and its weight of two.
    twice = np.append(X[:9], X[:1], axis=0)
    assert held_out_weights(twice, np.arange(10) % 9 == 0, np.ones(10), 5).shape[0] == 2
    weight = np.where(np.arange(9) == 0, 2.0, 1.0)
    assert held_out_weights(X[:9], np.arange(9) < 1, weight, 5).shape[0] == 2


def test_rows_of_weight_zero_are_absent():
    weight = WEIGHT * (np.arange(300) % 3 > 0)
    kept = weight > 0
    held_out = held_out_weights(X, Y, weight, 5)
    assert not held_out[:, ~kept].any()
    np.testing.assert_array_equal(
        held_out[:, kept], held_out_weights(X[kept], Y[kept], weight[kept], 5)
    )
