"""Folds of both samples, and the loss on them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdre import KMMRatio
from skdre.base import TwoSamples, split_samples
from skdre.kernel._search import deal_folds, log_loss, make_folds
from skdre.metrics import ratio_log_loss


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def samples_of(numerator, denominator, p_weight=None, q_weight=None, atoms=False):
    in_p, in_q = np.arange(len(numerator)), np.arange(len(denominator))
    return TwoSamples(
        numerator,
        denominator,
        p_weight,
        q_weight,
        numerator_is_atom=np.full(len(numerator), atoms),
        denominator_is_atom=np.full(len(denominator), atoms),
        denominator_index=len(in_p) + in_q,
        denominator_row=in_q,
        classes=np.array([0, 1]),
        numerator_index=in_p,
        numerator_row=in_p,
    )


def test_folds_of_repeats(rng):
    X = rng.normal(size=(60, 2))
    counts = rng.integers(1, 5, 60).astype(float)
    dealt = deal_folds(X, counts, counts, 4, np.random.RandomState(0))
    assert dealt.shape == (4, 60)
    assert_allclose(dealt.sum(axis=0), counts)
    assert_allclose(dealt, np.round(dealt))
    assert np.ptp(dealt.sum(axis=1)) <= 1
    rows = np.repeat(np.arange(60), counts.astype(int))
    ones = np.ones(len(rows))
    one_by_one = deal_folds(X[rows], ones, ones, 4, np.random.RandomState(0))
    for fold in range(4):
        assert_allclose(np.bincount(rows, one_by_one[fold], 60), dealt[fold])
    # A row that is one observation is not parted, whatever it weighs.
    weight = np.append(np.full(59, 0.01), 3.2)
    dealt = deal_folds(X, weight, np.ones(60), 4, np.random.RandomState(0))
    assert_allclose(dealt.sum(axis=0), weight)
    assert ((dealt > 0).sum(axis=0) == 1).all()


def test_folds_leave_no_rounding_behind(rng):
    X, weight = rng.normal(size=(50, 2)), rng.uniform(0.1, 9, 50)
    folds = make_folds(
        5, samples_of(X, X, weight, weight), X, None, None, np.random.RandomState(0)
    )
    assert len(folds) == 5
    for fold in folds:
        assert_allclose(fold.train_p + fold.held_p, weight)
        assert_allclose(fold.train_q + fold.held_q, weight)
        assert min(each[each > 0].min() for each in (fold.train_p, fold.train_q)) > 0.01
    one = samples_of(X[:1], X)
    assert make_folds(5, one, X, None, None, np.random.RandomState(0)) == []
    few = samples_of(X[:3], X)
    assert len(make_folds(None, few, X, None, None, np.random.RandomState(0))) == 3


def test_log_loss_is_that_of_the_metrics(rng):
    r_p, r_q = np.exp(rng.normal(size=20)), np.exp(rng.normal(size=30))
    expected = ratio_log_loss(
        np.repeat([True, False], [20, 30]), np.log(np.concatenate([r_p, r_q]))
    )
    found = log_loss(r_p, np.full(20, 1 / 20), r_q, np.full(30, 1 / 30), 1e-9)
    assert found == pytest.approx(expected)


def test_five_folds_unless_told_otherwise(rng):
    X = rng.normal(size=(50, 2))
    folds = make_folds(None, samples_of(X, X), X, None, None, np.random.RandomState(0))
    assert len(folds) == 5
    for fold in folds:
        assert fold.held_p.sum() == fold.held_q.sum() == 10


def test_many_repeats_are_dealt_in_a_hundred_parcels(rng):
    X, counts = rng.normal(size=(3, 2)), np.array([1000.0, 100.0, 1.0])
    dealt = deal_folds(X, counts, counts, 3, np.random.RandomState(0))
    assert_allclose(dealt.sum(axis=0), counts)
    assert_allclose(dealt[:, 0] % 10, 0, atol=1e-9)
    assert_allclose(dealt[:, 0], 1000 / 3, atol=20)
    assert_allclose(dealt[:, 1], 100 / 3, atol=2)


def test_log_loss_of_ratios_below_the_floor():
    one = np.ones(1)
    loss = log_loss(np.zeros(1), one, np.zeros(1), one, 0.01)
    assert loss == pytest.approx((np.log(101) + np.log(1.01)) / 2)


def test_repeats_are_held_out_one_by_one_and_the_others_fitted(rng):
    X, counts = rng.normal(size=(12, 2)), rng.integers(2, 6, 12).astype(float)
    samples = samples_of(X, X, counts, counts, atoms=True)
    folds = make_folds(4, samples, X, None, None, np.random.RandomState(0))
    assert_allclose(sum(fold.held_p for fold in folds), counts)
    for fold in folds:
        assert_allclose(fold.train_p + fold.held_p, counts)
        assert_allclose(fold.train_q + fold.held_q, counts)
        assert ((fold.held_p > 0) & (fold.train_p > 0)).any()


def test_a_splitter_divides_the_weights_of_the_rows():
    """Copies of a row are one distinct row, parted where the splitter parts them."""
    X = np.array([[0.0], [0.0], [1.0], [2.0], [5.0], [5.0], [6.0], [7.0]])
    y = np.repeat([0, 1], 4)
    given = np.array([2.0, 1.0, 3.0, 1.0, 1.0, 1.0, 4.0, 2.0])
    samples = split_samples(KMMRatio(), X, y, given)
    (X_q, q_weight), (X_p, p_weight) = samples.parts
    splits = [(np.array([0, 2, 4, 6]), np.array([1, 3, 5, 7]))]
    (fold,) = make_folds(splits, samples, X, y, given, None)
    assert_allclose(fold.train_q + fold.held_q, q_weight)
    assert_allclose(fold.train_p + fold.held_p, p_weight)
    of_row = dict(zip(X_q[:, 0], fold.train_q / q_weight, strict=True))
    assert of_row == pytest.approx({0.0: 2 / 3, 1.0: 1, 2.0: 0})
    of_row = dict(zip(X_p[:, 0], fold.held_p / p_weight, strict=True))
    assert of_row == pytest.approx({5.0: 1 / 2, 6.0: 0, 7.0: 1})
