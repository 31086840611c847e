"""Centres, grids, distances and folds of the searches for a bandwidth."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdre.base import TwoSamples
from skdre.kernel._search import (
    CenterKernel,
    bandwidth_grid,
    best_bandwidth,
    choose_centers,
    deal_folds,
    log_loss,
    make_folds,
    positive_grid,
)
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


def test_centers_are_distinct_rows(rng):
    X = rng.normal(size=(80, 3))
    counts = rng.integers(1, 4, 80)
    chosen = [
        choose_centers(rows, weight, 25, np.random.RandomState(0))
        for rows, weight in (
            (X, counts),
            (np.repeat(X, counts, axis=0)[::-1], np.ones(counts.sum())),
        )
    ]
    (centers, center_of_row), (of_repeats, center_of_repeat) = chosen
    assert_allclose(centers, of_repeats)
    assert len(np.unique(centers, axis=0)) == len(centers)
    assert 15 < len(centers) <= 25
    assert (center_of_row >= 0).sum() == len(centers)
    for rows, owner in (
        (X, center_of_row),
        (np.repeat(X, counts, axis=0)[::-1], center_of_repeat),
    ):
        for row, center in zip(rows, owner, strict=True):
            alike = np.flatnonzero((centers == row).all(axis=1))
            assert alike.tolist() == ([] if center < 0 else [center])
    everything, _ = choose_centers(X, counts, 1000, np.random.RandomState(0))
    assert_allclose(np.unique(everything, axis=0), np.unique(X, axis=0))


@pytest.mark.parametrize("constant", [0.0, 3.0])
@pytest.mark.parametrize("entries", [0, 1 << 20])
def test_center_kernel(monkeypatch, rng, constant, entries):
    monkeypatch.setattr("skdre.kernel._search._DISTANCE_ENTRIES", entries)
    X, centers = rng.normal(size=(300, 2)), rng.normal(size=(7, 2))
    kernel = CenterKernel(X, centers, constant)
    for gamma in (0.5, 2.0, 0.5):
        expected = np.exp(-gamma * ((X[:, None] - centers) ** 2).sum(axis=2))
        if constant:
            expected = np.column_stack([expected, np.full(300, constant)])
        assert_allclose(kernel.matrix(gamma), expected, rtol=1e-10)
        blocks = np.concatenate([block for _, block in kernel.blocks(gamma)])
        assert_allclose(blocks, expected, rtol=1e-10)


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


def test_grids(rng):
    samples = samples_of(rng.normal(size=(50, 2)), rng.normal(size=(50, 2)))
    (median,) = bandwidth_grid("median", samples)
    grid = bandwidth_grid("cv", samples)
    assert_allclose(grid / median, 2.0 ** np.arange(-7, 6))
    assert_allclose(bandwidth_grid([3, 1, 3.0], samples), [1, 3])
    assert_allclose(positive_grid("ridge", 0.5), [0.5])
    assert best_bandwidth(grid, np.full(13, np.nan), samples) == 7
    assert best_bandwidth(grid, np.arange(13.0), samples) == 12
    assert best_bandwidth(grid[:2], np.array([-np.inf, -1.0]), samples) == 1
