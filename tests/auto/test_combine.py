"""Weights, losses and folds against formulas and a general solver."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold

from skdre import AutoRatio, ClassifierRatio, GaussianRatio
from skdre.auto._bridges import compare_on_bridges
from skdre.auto._combine import HeldOut, simplex_weights
from skdre.auto._cross_fit import (
    CrossFit,
    Manner,
    _is_out_of_reach,
    cross_fit,
    training_shares,
)
from skdre.auto._decide import Trial, decide, is_worth_a_try
from skdre.auto._folds import deal
from skdre.base import check_pool, distinct_rows
from skdre.datasets import make_warped_shift
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


def trial(name, log_ratio, estimator=None):
    return Trial(name, estimator, "plain", CrossFit([], log_ratio), 0.0)


def test_the_simplest_of_those_that_are_as_good():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 200)
    rows = held_out(y, np.ones(400))
    best = rng.normal(2.0 * y - 1, 1)
    # One is a little worse in the mean, and in no way surely: losses as wanted, and the
    # log ratios that have them.
    losses = rows.losses(best)
    wanted = losses * (1 + 0.3 * np.sin(np.arange(400.0)))
    wanted += 1e-4 - rows.balanced @ (wanted - losses)
    as_good, worse = -rows.sign * np.log(np.expm1(wanted)), 0.3 * best
    gain, error = rows.mean_and_error(rows.losses(as_good) - rows.losses(best))
    assert 0 < gain < 0.5 * error
    trials = [trial("worse", worse), trial("as good", as_good), trial("best", best)]
    assert decide(trials, rows).weights.argmax() == 1
    assert decide(trials[::2], rows).weights.argmax() == 1


def test_classifiers_of_too_many_products_are_not_tried():
    quadratic = dict(AutoRatio.default_candidates())["quadratic logistic regression"]
    trials = [trial("a", np.zeros(2))]
    rows = held_out(np.array([0, 1]), np.ones(2))
    assert is_worth_a_try(quadratic, "plain", trials, rows, n_columns=20)
    assert not is_worth_a_try(quadratic, "plain", trials, rows, n_columns=21)


def test_fits_of_very_many_rows_see_two_folds(monkeypatch):
    shares = np.eye(5)[:, np.arange(50) % 5]
    np.testing.assert_array_equal(training_shares(shares), 1 - shares)
    monkeypatch.setattr("skdre.auto._cross_fit._VERY_MANY_ROWS", 10)
    training = training_shares(shares)
    assert not (training * shares).any()
    np.testing.assert_array_equal(training.sum(axis=0), 2)
    np.testing.assert_array_equal(training.sum(axis=1), 20)
    # Splits that hold out only some of the rows stay as they are.
    np.testing.assert_array_equal(training_shares(shares / 2), 1 - shares / 2)


def test_trees_end_where_more_are_no_use():
    rows = held_out(np.array([0, 1]), np.ones(2))
    manner = Manner(None, best=np.array([0.5, 0.5]))
    falling = [0.69, 0.66, 0.63, 0.6]
    # The last doubling brought .06, and all others bring no more than three times that.
    assert not _is_out_of_reach(falling, manner, rows)
    assert _is_out_of_reach([0.69, 0.68, 0.67, 0.66], manner, rows)
    assert not _is_out_of_reach(falling, Manner(None), rows)


def test_cluster_in_which_most_of_a_row_lies():
    rows = HeldOut(
        np.array([0, 1, 1, 3]),
        np.zeros(4, int),
        np.ones(4),
        np.array([1.0, 0.2, 0.8, 1.0]),
        np.array([5, 6, 7, 6]),
    )
    cluster = rows.cluster_of_rows(4)
    assert cluster[[0, 1, 3]].tolist() == [5, 7, 6]
    assert cluster[2] not in (5, 6, 7)
    assert held_out(np.array([0, 1]), np.ones(2)).cluster_of_rows(2) is None


class Clock:
    """A second later at every look."""

    def __init__(self):
        self.now = -1.0

    def perf_counter(self):
        self.now += 1
        return self.now


@pytest.mark.parametrize(("deadline", "n_fits"), [(1.5, 2), (np.inf, 5)])
def test_late_folds_are_not_fitted(monkeypatch, deadline, n_fits):
    monkeypatch.setattr("skdre.auto._cross_fit.time", Clock())
    X, y = make_warped_shift(30, 2, random_state=0).pool()
    given = check_pool(AutoRatio(), X, y, None)
    rows = distinct_rows(given)
    shares, held = deal(rows, 5, given)
    fits = []

    def run(estimator, task_name):
        fits.append(task_name)
        return nullcontext()

    manner = Manner(run, deadline=deadline)
    X = X[rows.index]
    found = cross_fit(GaussianRatio(), X, rows, shares, held, manner)
    assert len(fits) == n_fits
    assert (found is None) == (n_fits < 5)
    late = replace(manner, deadline=-1)
    boosting = dict(AutoRatio.default_candidates())["boosted stumps"]
    assert cross_fit(boosting, X, rows, shares, held, late) is None


def test_late_trees_are_not_grown(monkeypatch):
    """Five folds are looked at for the first trees; what comes after is late."""
    monkeypatch.setattr("skdre.auto._cross_fit.time", Clock())
    X, y = make_warped_shift(60, 2, mean_shift=3, random_state=0).pool()
    given = check_pool(AutoRatio(), X, y, None)
    rows = distinct_rows(given)
    shares, held = deal(rows, 5, given)
    slow = HistGradientBoostingClassifier(
        learning_rate=1e-4, max_iter=100, min_samples_leaf=5, early_stopping=False
    )
    manner = Manner(lambda *_: nullcontext(), np.zeros(2, bool), deadline=5.5)
    found = cross_fit(ClassifierRatio(slow), X[rows.index], rows, shares, held, manner)
    assert [each.n_trees for each in found.models] == [40] * 5
