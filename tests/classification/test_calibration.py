"""Folds and calibration against loops and scikit-learn."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from skdre.classification._calibration import (
    AffineMap,
    fit_affine,
    fit_isotonic,
    held_out_weights,
    row_keys,
)

rng = np.random.default_rng(0)
Y = rng.uniform(size=300) < 0.3
SCORE = 2.0 * rng.standard_normal(300) + 1.5 * Y + 3.0
WEIGHT = rng.integers(1, 4, 300).astype(float)


@pytest.mark.parametrize("offset", [True, False])
@pytest.mark.parametrize("weight", [np.ones(300), WEIGHT, WEIGHT / 7], ids=str)
def test_affine_against_logistic_regression(offset, weight):
    """The same rows twice, once for each part of Platt's targets."""
    n_p, n_q = weight[Y].sum(), weight[~Y].sum()
    target = np.where(Y, (n_p + 1) / (n_p + 2), 1 / (n_q + 2))
    balanced = weight / np.where(Y, n_p, n_q)
    model = LogisticRegression(
        C=np.inf, fit_intercept=offset, solver="newton-cholesky", tol=1e-12
    ).fit(
        np.tile(SCORE, 2)[:, None],
        np.repeat([1, 0], 300),
        np.append(balanced * target, balanced * (1 - target)),
    )
    found = fit_affine(SCORE, Y, weight, offset=offset)
    assert found.slope == pytest.approx(model.coef_[0, 0], rel=1e-6)
    assert found.offset == pytest.approx(np.ravel(model.intercept_)[0], abs=1e-6)
    np.testing.assert_allclose(found(SCORE), found.slope * SCORE + found.offset)


@pytest.mark.parametrize("scale", [1e-200, 1e-6, 1e6, 1e200])
def test_affine_does_not_depend_on_the_scale(scale):
    expected = fit_affine(SCORE, Y, WEIGHT, offset=True)
    found = fit_affine(scale * SCORE, Y, WEIGHT, offset=True)
    assert found.slope * scale == pytest.approx(expected.slope, rel=1e-7)
    assert found.offset == pytest.approx(expected.offset, rel=1e-7)


def test_affine_is_finite_for_separated_scores():
    """Infinite without Platt's targets: with them the log odds are log(n + 1)."""
    score = np.where(Y, 2.0, -2.0)
    found = fit_affine(score, Y, np.ones(300), offset=True)
    n_p, n_q = Y.sum(), (~Y).sum()
    np.testing.assert_allclose(
        found(np.array([2.0, -2.0])), [np.log(n_p + 1), -np.log(n_q + 1)], rtol=1e-6
    )


@pytest.mark.parametrize("score", [np.ones(300), -SCORE, np.zeros(300)], ids=str)
@pytest.mark.parametrize("offset", [True, False])
def test_nothing_in_the_score(score, offset):
    score = score - score.mean()
    assert fit_affine(score, Y, WEIGHT, offset=offset) == AffineMap(0.0, 0.0)


def test_isotonic_against_a_loop():
    """The max-min formula of isotonic regression, over all blocks."""
    weight = np.append(WEIGHT, [1.0, 1.0])
    y = np.append(Y, [True, False])
    score = np.append(SCORE, [SCORE.min(), SCORE.max()])
    balanced = weight / np.where(y, weight[y].sum(), weight[~y].sum())
    values = np.unique(score)
    share = np.array([balanced[score == each].sum() for each in values])
    mean = np.array([balanced[(score == each) & y].sum() for each in values])
    expected = [
        max(
            min(
                mean[i:k].sum() / share[i:k].sum()
                for k in range(j + 1, len(values) + 1)
            )
            for i in range(j + 1)
        )
        for j in range(0, len(values), 30)
    ]
    found = fit_isotonic(SCORE, Y, WEIGHT)(values[::30])
    np.testing.assert_allclose(found, logit(expected), atol=1e-8)


def test_isotonic_ends_are_finite():
    score = np.append(np.linspace(0, 1, 40), np.linspace(2, 3, 20))
    y = np.arange(60) >= 40
    found = fit_isotonic(score, y, np.ones(60))
    log_ratio = found(np.array([-1e300, 0.0, 1.5, 3.0, 1e300]))
    assert np.isfinite(log_ratio).all()
    assert (np.diff(log_ratio) >= 0).all()
    # 20 rows against one, of samples of 21 and 41.
    assert expit(log_ratio[-1]) == pytest.approx((20 / 21) / (20 / 21 + 1 / 41))


def test_isotonic_is_monotone_and_right_on_average():
    x = rng.standard_normal(20_000)
    y = rng.uniform(size=20_000) < expit(x - 1)
    found = fit_isotonic(x**3, y, np.ones(20_000))(np.linspace(-1, 2, 50) ** 3)
    prior = logit(y.mean())
    np.testing.assert_allclose(found, np.linspace(-1, 2, 50) - 1 - prior, atol=0.25)
    assert (np.diff(found) >= 0).all()


# --- folds ------------------------------------------------------------------------

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
