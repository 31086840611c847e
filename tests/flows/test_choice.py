"""flow="auto": how far it bends, by what, and what it does where it cannot tell."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale
from skorch.callbacks import Callback

from skdre import FlowFeaturizer, KMMRatio, LSIFRatio, make_pipeline
from skdre.datasets import make_selection_shift, make_warped_shift
from skdre.flows._choice import simplest

pytestmark = pytest.mark.filterwarnings("ignore:The held-out likelihood still rose")

CHOICES = ["standardize", "gaussianize", "gaussian", "copula", "maf"]


def auto(**params):
    params = {"n_transforms": 2, "hidden_features": (32,), "max_epochs": 40} | params
    return FlowFeaturizer("auto", **{"learning_rate": 0.02, "random_state": 0} | params)


@pytest.mark.parametrize(
    ("warp", "choice"),
    [("identity", "standardize"), ("exp", "gaussianize"), ("banana", "maf")],
)
def test_it_bends_as_far_as_pays(warp, choice):
    X, y = make_warped_shift(500, 2, warp=warp, random_state=0).pool()
    flow = auto().fit(X, y)
    assert flow.flow_choice_ == choice
    table = flow.held_out_losses_
    assert list(table) == CHOICES
    assert min(row["difference"] for row in table.values()) == 0
    within = [
        name
        for name, row in table.items()
        if row["difference"] <= row["standard_error"]
    ]
    assert within[0] == choice
    assert set(flow.marginal_scores_) == (
        {"standardize", "gaussianize"} if choice == "maf" else {choice}
    )
    assert flow.marginals_ in flow.marginal_scores_
    assert_allclose(flow.inverse_transform(flow.transform(X)), X, rtol=1e-6, atol=1e-6)


def test_correlated_columns_in_which_nothing_differs_are_left_alone():
    X, y = load_breast_cancer(return_X_y=True)
    shift = make_selection_shift(scale(X), y, score=0, strength=-3.0, random_state=100)
    pipeline = make_pipeline(auto(), KMMRatio(random_state=0)).fit(*shift.pool())
    assert pipeline[0].flow_choice_ == "standardize"
    assert_allclose(
        pipeline.predict_ratio(shift.X_source),
        KMMRatio(random_state=0).fit(*shift.pool()).predict_ratio(shift.X_source),
        rtol=0.1,
        atol=0.1,
    )


def test_correlation_is_whitened_where_the_samples_differ_across_it():
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 400, 2))
    X = np.concatenate([p + np.array([0, 1]), q]) @ [[1, 1], [0.05, -0.05]]
    flow = auto(max_epochs=2).fit(X, np.repeat([1, 0], 400))
    assert flow.flow_choice_ == "gaussian"


@pytest.mark.parametrize("y", [None, 0, np.arange(200) % 3, np.arange(200.0)])
def test_without_two_samples_it_is_the_default_flow(y):
    X, _ = make_warped_shift(100, 2, warp="exp", random_state=0).pool()
    y = np.zeros(len(X)) if isinstance(y, int) else y
    flow = auto(max_epochs=2).fit(X, y)
    assert flow.flow_choice_ == "maf"
    assert flow.held_out_losses_ == {}
    plain = auto(max_epochs=2)
    plain.set_params(flow="maf").fit(X, y)
    assert not hasattr(plain, "flow_choice_")
    assert_array_equal(flow.transform(X), plain.transform(X))
    assert flow.marginal_scores_ == plain.marginal_scores_


def test_what_is_chosen_is_the_flow_of_that_name():
    X, y = make_warped_shift(300, 2, warp="banana", random_state=0).pool()
    chosen = auto().fit(X, y)
    assert chosen.flow_choice_ == "maf"
    plain = auto().set_params(flow="maf").fit(X, y)
    assert_array_equal(chosen.transform(X), plain.transform(X))
    assert_array_equal(chosen.score_samples(X), plain.score_samples(X))
    assert chosen.n_iter_ == plain.n_iter_ > 0


def test_columns_as_they_are_have_a_density():
    X, y = make_warped_shift(500, 2, warp="identity", random_state=0).pool()
    X = 3 * X + 7
    flow = auto(max_epochs=2).fit(X, y)
    assert flow.flow_choice_ == "standardize"
    assert flow.shrinkage_ == 1
    assert flow.n_iter_ == 0
    Z = flow.transform(X)
    center, spread = X.mean(axis=0), X.std(axis=0)
    assert_allclose(Z, (X - center) / spread, rtol=1e-4, atol=1e-4)
    log_density = -np.sum(Z**2 / 2 + np.log(2 * np.pi) / 2 + np.log(spread), axis=1)
    assert_allclose(flow.score_samples(X), log_density, rtol=1e-4)
    assert np.abs(flow.sample(4000, random_state=0).mean(axis=0) - center).max() < 0.3


@pytest.mark.parametrize("marginals", ["standardize", "gaussianize"])
def test_marginals_narrow_the_choice(marginals):
    X, y = make_warped_shift(100, 2, warp="exp", random_state=0).pool()
    flow = auto(marginals=marginals, max_epochs=2).fit(X, y)
    whitened = {"standardize": "gaussian", "gaussianize": "copula"}[marginals]
    assert list(flow.held_out_losses_) == [marginals, whitened, "maf"]
    assert flow.marginals_ == marginals


def test_neither_the_order_of_the_rows_nor_other_scales_change_the_losses():
    X, y = make_warped_shift(100, 2, warp="exp", random_state=0).pool()
    order = np.random.default_rng(0).permutation(len(X))

    def losses(X, y):
        table = auto(max_epochs=1).fit(X, y).held_out_losses_
        return [table[name]["loss"] for name in CHOICES[:2]]

    assert_allclose(losses(X[order], y[order]), losses(X, y), rtol=1e-6)
    assert_allclose(losses(1000 * X, y), losses(X, y), rtol=0.1)


def test_the_greater_label_is_the_numerator():
    X, y = make_warped_shift(100, 2, warp="exp", random_state=0).pool()
    named = auto(max_epochs=1).fit(X, np.where(y == 1, "z", "a"))
    assert named.held_out_losses_ == auto(max_epochs=1).fit(X, y).held_out_losses_


@pytest.mark.parametrize("n_rows", [2, 3, 5, 8, 21])
def test_few_rows(n_rows):
    X, _ = make_warped_shift(20, 2, warp="exp", random_state=0).pool()
    lone = auto(max_epochs=1).fit(X[:n_rows], np.arange(n_rows) == 0)
    assert (lone.flow_choice_, lone.held_out_losses_) == ("standardize", {})
    assert np.isfinite(lone.transform(X)).all()
    some = auto(max_epochs=1).fit(X[:n_rows], np.arange(n_rows) % 2)
    assert some.flow_choice_ in CHOICES


def test_constant_columns_and_copies():
    y = np.arange(40) % 2
    assert auto(max_epochs=1).fit(np.ones((40, 2)), y).flow_choice_ == "standardize"
    X = np.repeat(np.random.default_rng(0).normal(size=(20, 2)), 2, axis=0)
    assert np.isfinite(auto(max_epochs=1).fit(X, y).transform(X)).all()


def test_it_can_be_chosen_in_a_search_and_fitted_again():
    flow = auto(warm_start=True, max_epochs=1)
    assert clone(flow).get_params() == flow.get_params()
    shifts = [
        make_warped_shift(300, 2, warp=warp, random_state=0).pool()
        for warp in ("identity", "exp")
    ]
    choices = [flow.fit(*shift).flow_choice_ for shift in shifts]
    assert choices == ["standardize", "gaussianize"]
    again = clone(flow).fit(*shifts[1])
    X = shifts[1][0]
    assert_array_equal(flow.transform(X), again.transform(X))
    pipeline = make_pipeline(flow, LSIFRatio()).fit(*shifts[1])
    assert np.isfinite(pipeline.decision_function(X)).all()


def test_the_simplest_within_half_a_standard_error():
    rng = np.random.default_rng(0)
    is_numerator = np.arange(1000) < 300
    best = rng.normal(size=1000)
    noise = rng.normal(size=1000)
    losses = {"far": best + 1 + noise, "near": best + noise, "best": best}
    losses["near"][is_numerator] -= noise[is_numerator].mean()
    losses["near"][~is_numerator] -= noise[~is_numerator].mean()
    losses["near"] += 0.01
    choice, table = simplest(losses, np.ones(1000), is_numerator)
    assert choice == "near"
    assert_allclose(table["near"]["difference"], 0.02)
    error = np.sqrt(noise[:300].var() / 300 + noise[300:].var() / 700)
    assert_allclose(table["near"]["standard_error"], error)
    _, scaled = simplest(losses, np.full(1000, 5.0), is_numerator)
    assert all(scaled[name] == pytest.approx(row) for name, row in table.items())


class CtrlC(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


def test_an_interrupt_chooses_among_what_there_is():
    X, y = make_warped_shift(100, 2, warp="exp", random_state=0).pool()
    flow = auto(callbacks=[CtrlC()])
    with pytest.raises(KeyboardInterrupt):
        flow.fit(X, y)
    assert flow.flow_choice_ == "gaussianize"
    assert list(flow.held_out_losses_) == CHOICES
