"""Weights, losses and folds against formulas and a general solver."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.model_selection import GroupKFold

from skdre import AutoRatio
from skdre.auto._bridges import compare_on_bridges
from skdre.auto._combine import HeldOut, simplex_weights
from skdre.auto._folds import deal
from skdre.base import check_pool, distinct_rows
from skdre.metrics import ratio_log_loss


def held_out(y, weight):
    n = len(y)
    return HeldOut(np.arange(n), np.zeros(n, int), np.where(y, 1.0, -1.0), weight)


def draw(seed, n_candidates):
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], [150, 60])
    weight = rng.integers(1, 4, len(y)).astype(float)
    truth = rng.normal(2 * y - 1, 1.5)
    F = truth * rng.uniform(0, 2, (n_candidates, 1))
    return (
        y,
        weight,
        F + rng.normal(size=F.shape) * rng.uniform(0, 2, (n_candidates, 1)),
    )


@pytest.mark.parametrize("seed", range(5))
def test_weights_against_a_general_solver(seed):
    y, weight, F = draw(seed, 2 + seed)
    rows = held_out(y, weight)
    found = simplex_weights(F, rows, tol=1e-9)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    reference = minimize(
        lambda w: rows.loss(w @ F),
        np.full(len(F), 1 / len(F)),
        method="SLSQP",
        bounds=[(0, 1)] * len(F),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert rows.loss(found @ F) <= reference.fun + 1e-8
    np.testing.assert_allclose(found, reference.x, atol=1e-3)


def test_equal_candidates_and_useless_ones():
    y, weight, F = draw(0, 1)
    rows = held_out(y, weight)
    timid = F / 10
    twice = simplex_weights(np.vstack([timid, timid, -timid]), rows)
    assert twice[2] == 0
    assert twice.sum() == pytest.approx(1)


def test_loss_and_its_error():
    y, weight, F = draw(1, 1)
    rows = held_out(y, weight)
    loss, error = rows.mean_and_error(rows.losses(F[0]))
    assert loss == pytest.approx(ratio_log_loss(y, F[0], sample_weight=weight))
    # By rows that stand as often as their weight says.
    repeated = np.repeat(rows.losses(F[0]), weight.astype(int))
    q, p = np.split(repeated, [int(weight[y == 0].sum())])
    expected = np.sqrt(q.var(ddof=1) / len(q) + p.var(ddof=1) / len(p)) / 2
    assert error == pytest.approx(expected)


@pytest.mark.parametrize("scale", [0.5, 0.0, -1.0])
def test_bridges_tell_the_true_log_ratio(scale):
    """N(0, 1), N(3, 1) and N(6, 1): whoever knows their ratios has the smaller loss."""
    rng = np.random.default_rng(0)
    means = np.array([0.0, 3.0, 6.0])
    rows = rng.normal(size=(3, 500, 1)) + means[:, None, None]

    def truth(X):
        return X * 3 - (means[1:] ** 2 - means[:-1] ** 2) / 2

    weights, pairs = [np.ones(500)] * 2, [np.arange(500)] * 2
    gain, variance = compare_on_bridges(
        rows, pairs, lambda X: scale * truth(X), truth, weights
    )
    assert gain > 4 * np.sqrt(variance) > 0
    assert compare_on_bridges(rows, pairs, truth, truth, weights) == (0.0, 0.0)


def test_error_on_bridges_is_that_of_the_rows():
    """z has unit variance when neither is better, however often rows are paired."""
    z = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        q, p = rng.normal(size=(80, 1)), rng.normal(size=(40, 1))
        pairs = [np.tile(rng.permutation(80), 5), rng.integers(40, size=400)]
        rows = np.stack([q[pairs[0]], p[pairs[1]]])
        # At x = 0 both are right; to the left and right they err alike.
        gain, variance = compare_on_bridges(
            rows, pairs, lambda X: X, lambda X: -X, [np.ones(80), np.ones(40)]
        )
        z.append(gain / np.sqrt(variance))
    assert abs(np.mean(z)) < 0.25
    assert 0.75 < np.std(z) < 1.15


def test_error_by_clusters():
    """Of five near-copies of a row the error is that of the row."""
    y, _, F = draw(1, 1)
    one = held_out(y, np.ones(len(y)))
    five = held_out(np.repeat(y, 5), np.ones(5 * len(y)))
    losses = one.losses(F[0])
    expected = one.mean_and_error(losses)
    cluster = np.repeat(np.arange(len(y)), 5)
    found = replace(five, cluster=cluster).mean_and_error(np.repeat(losses, 5))
    assert found == pytest.approx(expected)
    alone = five.mean_and_error(np.repeat(losses, 5))
    assert alone[1] < 0.5 * expected[1]


def test_repeats_of_atoms_lie_in_their_groups():
    """Rows of atoms stand in many groups, and count in each as often as there."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(2, size=(240, 1)).astype(float), np.arange(240) % 2
    groups = np.repeat(np.arange(24), 10)
    given = check_pool(AutoRatio(), X, y)
    rows = distinct_rows(given)
    assert len(rows.index) == 4
    shares, found = deal(rows, 4, given, groups)
    assert len(np.unique(found.cluster)) == 24
    for fold in range(4):
        here = found.fold == fold
        np.testing.assert_allclose(
            np.bincount(found.row[here], found.weight[here], 4),
            shares[fold] * rows.weight,
        )
    splits = list(GroupKFold(4).split(X, y, groups))
    _, split = deal(rows, splits, given, groups)
    assert len(np.unique(split.cluster)) == 24
    assert split.weight.sum() == pytest.approx(240)


def test_groups_are_dealt_evenly():
    """Every fold has rows of both samples, and groups are whole."""
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(12, size=240))
    y = (rng.uniform(size=240) < 0.3).astype(bool)
    rows = SimpleNamespace(
        index=np.arange(240),
        row=np.arange(240),
        is_numerator=y,
        weight=np.ones(240),
        is_atom=np.zeros(240, bool),
    )
    given = SimpleNamespace(sample_weight=None)
    shares, held_out = deal(rows, 4, given, groups)
    assert len(held_out.row) == 240
    np.testing.assert_array_equal(shares[held_out.fold, held_out.row], 1.0)
    assert set(shares.ravel()) == {0.0, 1.0}
    assert (shares.sum(axis=0) == 1).all()
    for domain in (y, ~y):
        assert shares[:, domain].sum(axis=1).min() > 0.15 * domain.sum()
    for group in range(12):
        assert shares[:, groups == group].any(axis=1).sum() == 1
