"""Folds of both samples, and the loss on them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdre.base import TwoSamples
from skdre.kernel._search import deal_folds, log_loss, make_folds
from skdre.metrics import ratio_log_loss


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def samples_of(numerator, denominator, p_weight=None, q_weight=None):
    in_p, in_q = np.arange(len(numerator)), np.arange(len(denominator))
    return TwoSamples(
        numerator,
        denominator,
        p_weight,
        q_weight,
        numerator_is_atom=np.zeros(len(numerator), bool),
        denominator_is_atom=np.zeros(len(denominator), bool),
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
    found = log_loss(r_p, np.full(20, 1 / 20), r_q, np.full(30, 1 / 30))
    assert found == pytest.approx(expected)
