"""Centres, and the kernels around them, against brute force."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdre.kernel._centers import CenterKernel, choose_centers


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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
    monkeypatch.setattr("skdre.kernel._centers._DISTANCE_ENTRIES", entries)
    X, centers = rng.normal(size=(300, 2)), rng.normal(size=(7, 2))
    kernel = CenterKernel(X, np.ones(300), centers, constant)
    for gamma in (0.5, 2.0, 0.5):
        expected = np.exp(-gamma * ((X[:, None] - centers) ** 2).sum(axis=2))
        if constant:
            expected = np.column_stack([expected, np.full(300, constant)])
        assert_allclose(kernel.matrix(gamma), expected, rtol=1e-10)
        blocks = np.concatenate([block for _, block in kernel.blocks(gamma)])
        assert_allclose(blocks, expected, rtol=1e-10)


def test_as_many_centers_as_rows_are_all_rows(rng):
    X, weight = rng.normal(size=(9, 2)), np.append(np.full(8, 0.01), 100.0)
    centers, _ = choose_centers(X, weight, 9, np.random.RandomState(0))
    assert len(centers) == 9
    fewer, _ = choose_centers(X, weight, 8, np.random.RandomState(0))
    assert_allclose(fewer, X[8:])
