"""What AutoRatio does where the samples lie apart: which form, and what decides."""

import warnings

import numpy as np
import pytest

from skdre import (
    AutoRatio,
    ClassifierRatio,
    GaussianRatio,
    LSIFRatio,
    MLPRatio,
    TelescopingRatio,
    pool,
)
from skdre.auto import _decide
from skdre.auto._bridges import form_of_bridges
from skdre.auto._combine import HeldOut
from skdre.auto._cross_fit import CrossFit
from skdre.auto._decide import Trial, decide, is_worth_a_try
from skdre.datasets import make_known_ratio

SMALL = {"n_bridges": 3, "hidden_features": (8,), "max_iter": 50}


def form(p, q, weight=None):
    X = np.concatenate([p, q])
    weight = np.ones(len(X)) if weight is None else weight
    return form_of_bridges(X, np.arange(len(X)) < len(p), weight)


def test_heavy_tails_are_made_normal():
    rng = np.random.default_rng(0)
    normal, uniform = rng.normal(size=(500, 3)), rng.uniform(size=(500, 3))
    assert form(normal, 9 + normal) == "plain"
    assert form(uniform, normal) == "plain"
    # Tails of the pool, but of neither sample.
    assert form(0.1 * normal, normal) == "plain"
    # One column of one sample is enough, whichever its unit and sign.
    for warp in (np.exp, lambda z: -np.exp(z), lambda z: 1e-6 * z**3):
        other = normal.copy()
        other[:, 1] = warp(other[:, 1])
        assert form(other, normal) == form(normal, other) == "normal"


def test_counts_have_no_tails():
    """Most values are 0 or the same: quartiles are no scale."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.2, size=(400, 2)).astype(float)
    assert form(counts, np.ones((400, 2))) == "plain"
    assert form(counts[:1], counts) == "plain"


def test_form_counts_weights_as_repeats():
    rng = np.random.default_rng(1)
    X, weight = rng.normal(size=(60, 1)), np.ones(60)
    assert form(X, X, np.repeat(weight, 2)) == "plain"
    far = np.append(X, [[40.0]], axis=0)
    one = np.append(weight, 0.01), np.append(weight, 4.0)
    assert [form(far, far, np.tile(each, 2)) for each in one] == ["plain", "normal"]


# --- what is tried, and what decides, of held-out log ratios that are made up ---------

N = 400
ROWS = HeldOut(
    np.arange(2 * N),
    np.zeros(2 * N, int),
    np.repeat([-1.0, 1.0], N),
    np.ones(2 * N),
)


def trial(estimator, size, form="plain", noise=0.0):
    """Log ratios of a candidate: a part that all have, and noise of its own."""
    common, own = np.random.default_rng(0).normal(size=(2, 2 * N))
    log_ratio = size * (ROWS.sign + 0.3 * common + noise * own)
    name = f"{type(estimator).__name__} {form}"
    return Trial(name, estimator, form, CrossFit([], log_ratio), 0.0)


@pytest.mark.parametrize("apart", [True, False])
def test_one_form_of_what_costs_time(apart):
    size = 3.0 if apart else 0.5
    trials = [
        trial(LSIFRatio(), size, noise=0.4),
        trial(LSIFRatio(), size, "normal"),
    ]
    tried = {
        (type(each), form): is_worth_a_try(each, form, trials, ROWS, "plain")
        for each in (MLPRatio(), TelescopingRatio())
        for form in ("plain", "normal")
    }
    # The network where the cheap candidates are better, telescoping as it is told.
    assert tried == {
        (MLPRatio, "plain"): False,
        (MLPRatio, "normal"): True,
        (TelescopingRatio, "plain"): apart,
        (TelescopingRatio, "normal"): False,
    }
    assert is_worth_a_try(GaussianRatio(), "plain", trials, ROWS, "plain")
    assert is_worth_a_try(LSIFRatio(), "plain", trials, ROWS, "plain") != apart


def decision(monkeypatch, trials, z):
    """Made up as well: how much better telescoping is on the bridges."""
    monkeypatch.setattr(_decide, "bridge_comparison", lambda *_: z)
    monkeypatch.setattr(_decide, "PooledRows", lambda *_: None)
    forms = {"plain": None, "normal": None}

    class Rows:
        weight, is_atom, is_numerator = ROWS.weight, None, ROWS.sign > 0

    found = decide(trials, ROWS, (forms, Rows, None, None))
    return trials[int(np.argmax(found.weights))].name, found.reason


def test_bridges_before_log_loss(monkeypatch):
    """A network that is better by less than three standard errors is not taken."""
    plug_in, network = trial(GaussianRatio(), 1.0), trial(MLPRatio(), 4.0)
    for noise, expected in (
        (0.05, "TelescopingRatio plain"),
        (0.9, "MLPRatio plain"),
    ):
        bridges = trial(TelescopingRatio(), 4.0, noise=noise)
        assert ROWS.loss(network.fit.log_ratio) < ROWS.loss(bridges.fit.log_ratio)
        name, _ = decision(monkeypatch, [plug_in, network, bridges], 5.0)
        assert name == expected
    # Where telescoping is no better than the plug-in, that is taken, if it may be.
    good = trial(GaussianRatio(), 4.0, noise=0.05)
    assert decision(monkeypatch, [good, network, bridges], 1.0) == (
        "GaussianRatio plain",
        "bridges",
    )
    assert decision(monkeypatch, [plug_in, network, bridges], 1.0)[0] != plug_in.name


def test_plug_in_of_the_other_form_stays(monkeypatch):
    """The bridges of one form say nothing of the plug-in in the other."""
    plug_ins = [
        trial(GaussianRatio(), 2.0, noise=0.9),
        trial(GaussianRatio(), 4.0, "normal"),
    ]
    bridges = trial(TelescopingRatio(), 4.0, noise=0.05)
    name, reason = decision(monkeypatch, [*plug_ins, bridges], 9.0)
    assert (name, reason) == ("GaussianRatio normal", "single")


def test_telescoping_has_a_member_for_each_fold():
    X, y = make_known_ratio("far_gaussians_d2", 60, random_state=0).pool()
    bridges = TelescopingRatio(n_estimators=2, **SMALL)
    ratio = AutoRatio([("bridges", bridges)], cv=3, random_state=0).fit(X, y)
    (fitted,) = ratio.estimators_["bridges"]
    assert fitted._member_log_ratios(X).shape == (120, 3)
    assert bridges.n_estimators == 2


def test_bridges_of_given_estimators():
    """Fitted once for each fold, and compared with the plug-in all the same."""
    rng = np.random.default_rng(0)
    X, y = pool(
        numerator=rng.normal(6, 1, (80, 1)), denominator=rng.normal(size=(80, 1))
    )
    bridges = TelescopingRatio(ClassifierRatio(), n_bridges=4)
    candidates = [("plug-in", GaussianRatio()), ("bridges", bridges)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratio = AutoRatio(candidates, random_state=0).fit(X, y)
    slope = np.diff(ratio.decision_function([[2.0], [4.0]])) / 2
    np.testing.assert_allclose(slope, 6, atol=1.5)
