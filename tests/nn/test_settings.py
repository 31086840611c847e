"""Fits neither read nor change what torch keeps for a process or a thread."""

import copy
import threading
from functools import cache

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from torch import nn

from skdre import (
    FlowClassifierRatio,
    FlowFeaturizer,
    GaussianRatio,
    LikelihoodRatioAligner,
    MLPRatio,
    MultinomialRatio,
    TelescopingRatio,
    TimeScoreRatio,
)
from skdre._nn.settings import (
    GLOBAL_DICE,
    Dice,
    draws_by_itself,
    one_thread,
    seeded,
    usual_torch,
)
from skdre.datasets import make_warped_shift
from skdre.time_score import GaussLegendre

X, Y = make_warped_shift(40, 2, random_state=0).pool()
# Continuous flows of more columns train on a random projection, which torch draws.
WIDE = np.column_stack([X] * 6) + np.random.default_rng(0).normal(size=(80, 12))

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*still (fell|rose):Warning"),
    pytest.mark.filterwarnings("ignore:.*(separates|not aligned|not accurate)"),
]


class WithDropout(nn.Module):
    """A network of the user's own, which draws from torch's global generator."""

    def __init__(self):
        super().__init__()
        with seeded(0):
            self.layers = nn.Sequential(
                nn.Linear(3, 4), nn.SiLU(), nn.Dropout(0.5), nn.Linear(4, 1)
            )

    def forward(self, x, t):
        return self.layers(torch.cat([x, t], dim=1))


TINY = {"hidden_features": (4,), "n_estimators": 2, "max_iter": 10}
FLOW = {"n_transforms": 1, "hidden_features": (4,)}
SCORE = {"hidden_features": (4,), "max_iter": 10, "integrator": GaussLegendre(8)}
ESTIMATORS = {
    "networks": MLPRatio(**TINY),
    "bridges": TelescopingRatio(n_bridges=2, head="quadratic", **TINY),
    "bridges of another": TelescopingRatio(GaussianRatio(shrink=False), n_bridges=2),
    "bridges at once": MultinomialRatio(n_bridges=2, coupled=False, **TINY),
    "time score": TimeScoreRatio(**SCORE, time_features=2),
    "importance": TimeScoreRatio(
        objective="joint", time_sampling="importance", **SCORE
    ),
    "Fokker-Planck": TimeScoreRatio(
        objective="fokker-planck-sliced",
        path="vpsde",
        denominator="gaussian",
        **SCORE,
    ),
    "dropout": TimeScoreRatio(
        network=WithDropout(),
        max_iter=60,
        integrator=GaussLegendre(8),
        base_score=None,
        learning_rate=0.05,  # has to leave its start, to show what was drawn
    ),
    "couplings": FlowFeaturizer("realnvp", max_epochs=2, **FLOW),
    "spline": FlowFeaturizer("nsf", max_epochs=2, **FLOW),
    "continuous": FlowFeaturizer("ffjord", max_epochs=1, **FLOW),
    "joint": FlowClassifierRatio(n_transforms=1, flow_hidden_features=(4,), **TINY),
    "separate": FlowClassifierRatio(
        strategy="separate", n_transforms=1, flow_hidden_features=(4,), **TINY
    ),
    "aligner": LikelihoodRatioAligner(
        flow="realnvp", density="realnvp", max_iter=2, **FLOW
    ),
}
each_estimator = pytest.mark.parametrize("name", ESTIMATORS)


def outputs(name, seed=0):
    """What an estimator gives after a fit."""
    estimator = clone(ESTIMATORS[name])
    rows = WIDE if name == "continuous" else X
    estimator.set_params(random_state=seed).fit(rows, Y)
    methods = ("decision_function", "transform", "score_samples")
    return [
        getattr(estimator, each)(rows) for each in methods if hasattr(estimator, each)
    ]


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@cache
def alone(name, seed=0):
    state = torch.get_rng_state()
    found = outputs(name, seed)
    assert torch.equal(torch.get_rng_state(), state)
    return found


@each_estimator
def test_threads_give_what_one_gives(name):
    state = torch.get_rng_state()
    together = Parallel(2, "threading")(delayed(outputs)(name, seed) for seed in (0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for seed in (0, 1):
        assert_same(together[seed], alone(name, seed))
    # What is drawn shows.
    assert not np.array_equal(together[0][0], together[1][0])


@each_estimator
def test_settings_of_the_user_change_nothing(name):
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert_same(outputs(name), alone(name))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.inference_mode(), torch.device("meta"):
        assert_same(outputs(name), alone(name))


def test_a_copy_under_inference_mode_can_be_differentiated():
    flow = FlowFeaturizer("ffjord", max_epochs=1, **FLOW, random_state=0).fit(X)
    expected = flow.score_samples(X)
    with torch.inference_mode():
        again = copy.deepcopy(flow)
    assert_same([again.score_samples(X)], [expected])


# --- the parts --------------------------------------------------------------------


def test_dice_repeat_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    results = []
    for _ in range(2):
        dice = Dice(3)
        with torch.no_grad():
            draws = [dice.rand(2), dice.randn(2), dice.randperm(5).float()]
        draws.append(dice.randn_like(torch.ones(2, dtype=torch.float64)))
        with dice.as_global():
            draws.append(torch.rand(2))
            draws.append(copy.deepcopy(dice).rand(2))
        draws.append(dice.rand(2))
        results.append(draws)
    assert torch.equal(torch.get_rng_state(), state)
    assert [each.dtype for each in results[0]] == 3 * [torch.float32] + [
        torch.float64
    ] + 3 * [torch.float32]
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    expected = torch.rand(2)
    torch.set_rng_state(state)
    assert torch.equal(GLOBAL_DICE.rand(2), expected)
    torch.set_rng_state(state)


def test_who_draws_by_itself():
    silent = nn.Sequential(nn.Linear(1, 1), nn.SiLU(), nn.BatchNorm1d(1))
    assert not draws_by_itself(silent)
    for module in (nn.Dropout(), nn.RReLU(), WithDropout()):
        assert draws_by_itself(nn.Sequential(silent, module))


def test_usual_torch_ends_as_it_began():
    with torch.inference_mode(), usual_torch(grad=True):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        parameter = nn.Parameter(torch.ones(1))
    assert not parameter.is_inference()
    assert not torch.is_inference_mode_enabled()


def test_threads_are_given_back_whatever_ends_first():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    entered, leave = threading.Event(), threading.Event()
    found = []

    def other():
        with one_thread():
            entered.set()
            leave.wait(10)
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=other)
    try:
        with one_thread():
            thread.start()
            assert entered.wait(10)
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        leave.set()
        thread.join()
        assert found == [2]
        assert torch.get_num_threads() == 2
    finally:
        leave.set()
        torch.set_num_threads(before)
