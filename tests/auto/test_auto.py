"""AutoRatio: what it takes where the best answer is known, and what it says of it."""

import warnings
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier

from skdre import (
    AutoRatio,
    ClassifierRatio,
    DensityRatioMixin,
    GaussianRatio,
    LSIFRatio,
    MLPRatio,
    TelescopingRatio,
    pool,
)
from skdre._core.folds import member_folds
from skdre.auto._candidates import NormalScoresRatio
from skdre.datasets import make_known_ratio, make_warped_shift
from skdre.metrics import log_ratio_mse

SMALL = {
    "hidden_features": (32, 32),
    "n_estimators": 5,
    "max_iter": 150,
    "learning_rate": 0.005,
}
CHEAP = [
    (name, each)
    for name, each in AutoRatio.default_candidates()
    if "network" not in name and "telescoping" not in name
]
QUICK = [("logistic", ClassifierRatio()), ("plug-in", GaussianRatio())]
NETWORK = ("network", MLPRatio(**SMALL))
BRIDGES = ("telescoping", TelescopingRatio(n_bridges=4, **SMALL))


def auto(candidates=None, **params):
    return AutoRatio(CHEAP if candidates is None else candidates, **params)


def error(ratio, shift, new):
    X, _ = new.pool()
    truth = np.clip(shift.log_ratio(X), -15, 15)
    return log_ratio_mse(truth, np.clip(ratio.decision_function(X), -15, 15))


# --- what is taken ------------------------------------------------------------------


def test_plug_in_on_gaussians():
    shift, new = (
        make_known_ratio("scale_d10", 300, random_state=seed) for seed in (0, 1)
    )
    ratio = auto(QUICK).fit(*shift.pool())
    assert ratio.choice_ == "plug-in"
    assert len(ratio.estimators_["plug-in"]) == 5
    plug_in = GaussianRatio().fit(*shift.pool())
    assert error(ratio, shift, new) < 1.2 * error(plug_in, shift, new)


def test_normal_scores_on_skewed_columns():
    shift, new = (make_known_ratio("exp_d6", 300, random_state=seed) for seed in (0, 1))
    ratio = auto().fit(*shift.pool())
    assert "normal scores" in ratio.choice_
    raw = GaussianRatio().fit(*shift.pool())
    assert error(ratio, shift, new) < error(raw, shift, new) / 10


def test_boosting_on_steps():
    """Four intervals in one of eight columns: no kernel and no plug-in sees them."""
    rng = np.random.default_rng(0)
    p, q = rng.uniform(size=(2, 600, 8))
    p[:, 3] = (p[:, 3] / 2 + np.where(p[:, 3] < 0.5, 0, 0.25)) % 1
    X, y = pool(numerator=p, denominator=q)
    ratio = auto().fit(X, y)
    assert "boosted" in ratio.choice_
    found = ratio.decision_function(
        np.full((3, 8), 0.5) + [[0, 0, 0, d, 0, 0, 0, 0] for d in (-0.4, -0.1, 0.1)]
    )
    assert found[0] > 0.3
    assert found[1] < -1


def test_network_where_it_is_better():
    shift = make_known_ratio("funnel_d6", 500, random_state=0)
    ratio = auto([*QUICK, NETWORK], random_state=0).fit(*shift.pool())
    assert ratio.choice_ == "network"
    (network,) = ratio.estimators_["network"]
    assert isinstance(network, MLPRatio)


def test_bridges_decide_where_samples_hardly_overlap():
    shift, new = (
        make_known_ratio("lumps_d1", 400, random_state=seed) for seed in (0, 1)
    )
    candidates = [("plug-in", GaussianRatio()), BRIDGES]
    ratio = auto(candidates, random_state=0).fit(*shift.pool())
    assert ratio.choice_ == "telescoping"
    assert ratio.divergence_ > 2
    assert "hardly overlap" in ratio.report_
    plug_in = GaussianRatio().fit(*shift.pool())
    assert error(ratio, shift, new) < error(plug_in, shift, new) / 2
    # On Gaussians it is as good as the plug-in, which has the right form.
    shift, new = (
        make_known_ratio("far_gaussians_d2", 400, random_state=seed) for seed in (0, 1)
    )
    ratio = auto(candidates, random_state=0).fit(*shift.pool())
    assert error(ratio, shift, new) < 0.3


def test_bridges_are_tried_only_where_samples_lie_apart():
    shift = make_warped_shift(100, 2, mean_shift=0.5, random_state=0)
    ratio = auto([*QUICK, BRIDGES]).fit(*shift.pool())
    assert [each.name for each in ratio.candidates_] == [
        "constant",
        "logistic",
        "plug-in",
    ]


def test_nothing_to_tell():
    constant = 0
    rulsif = ("RuLSIF", LSIFRatio(alpha=0.1, gamma=1.0, ridge=0.1))
    for seed in range(8):
        X, y = make_warped_shift(120, 3, mean_shift=0, random_state=seed).pool()
        ratio = auto([*QUICK, rulsif]).fit(X, y)
        if ratio.choice_ == "constant":
            constant += 1
            assert ratio.weights_ == {}
            assert (ratio.decision_function(X) == 0).all()
            assert "Nothing tells the samples apart" in ratio.report_
    assert constant >= 6


def test_mixture_is_taken_where_it_is_clearly_better():
    """Two halves of the truth, each known to one candidate only."""

    class Half(DensityRatioMixin, BaseEstimator):
        def __init__(self, column=0):
            self.column = column

        def fit(self, X, y, sample_weight=None):
            self.classes_, self.n_features_in_ = np.unique(y), X.shape[1]
            return self

        def decision_function(self, X):
            # Twice the truth of its column: half the weight is right.
            return 2 * (2 * X[:, self.column] - 2)

    rng = np.random.default_rng(0)
    X, y = pool(
        numerator=rng.normal(2, 1, (800, 2)), denominator=rng.normal(size=(800, 2))
    )
    ratio = AutoRatio([("first", Half()), ("second", Half(1))]).fit(X, y)
    np.testing.assert_allclose(list(ratio.weights_.values()), [0.5, 0.5], atol=0.08)
    assert "mixture" in ratio.report_
    truth = (2 * X - 2).sum(axis=1)
    np.testing.assert_allclose(
        np.polyfit(truth, ratio.decision_function(X), 1), [1, 0], atol=0.1
    )


# --- rows, folds, seeds -------------------------------------------------------------


def test_weights_are_repeats():
    X, y = make_warped_shift(60, 2, random_state=0).pool()
    weight = np.random.default_rng(0).integers(0, 3, len(X))
    weighted = auto(random_state=0).fit(X, y, sample_weight=weight)
    repeated = auto(random_state=0).fit(
        np.repeat(X, weight, axis=0), np.repeat(y, weight)
    )
    assert weighted.report_ == repeated.report_
    np.testing.assert_array_equal(
        weighted.decision_function(X), repeated.decision_function(X)
    )


def test_single_row():
    rng = np.random.default_rng(0)
    X, y = pool(numerator=[[3.0, 3.0]], denominator=rng.normal(size=(50, 2)))
    ratio = auto().fit(X, y)
    assert ratio.choice_ == "Gaussian plug-in"
    assert "single observation" in ratio.report_
    assert ratio.decision_function([[3.0, 3.0]]) > ratio.decision_function([[0.0, 0.0]])


def grouped(seed=0):
    """Groups that have a place of their own, the same for both samples: p = q."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(20), 15)
    X = 3 * rng.normal(size=(20, 2))[groups] + 0.1 * rng.normal(size=(300, 2))
    return X, (groups % 2), groups


def test_rows_of_a_group_stay_together():
    """Boosting memorises the places, unless whole groups are held out."""
    X, y, groups = grouped()
    boosting = [CHEAP[[name for name, _ in CHEAP].index("boosted trees")]]
    alone = auto(boosting).fit(X, y)
    assert alone.choice_ == "boosted trees"
    assert auto(boosting).fit(X, y, groups=groups).choice_ == "constant"


def test_networks_hold_out_groups():
    X, y, groups = grouped()
    steps = {"max_iter": 500, "learning_rate": 0.02}
    network = MLPRatio(hidden_features=(32, 32), n_estimators=5, **steps)
    loss = {}
    for name, each in (("rows", None), ("groups", groups)):
        ratio = auto([("network", network)], random_state=0).fit(X, y, groups=each)
        loss[name] = ratio.candidates_["network"].loss
    assert loss["rows"] < 0.55
    assert loss["groups"] > 0.6


@pytest.mark.parametrize("names", [None, "abcdefghij"])
def test_too_few_groups(names):
    X, y, groups = grouped()
    few = groups % 10
    few = few if names is None else np.array(list(names))[few]
    y = (groups % 10 < 3).astype(int)
    with pytest.raises(ValueError, match=r"3 groups in the numerator.*cv=5"):
        auto(QUICK).fit(X, y, groups=few)
    with pytest.raises(ValueError, match="groups must have one entry"):
        auto(QUICK).fit(X, y, groups=few[:-1])


def test_copies_join_groups():
    X, y, groups = grouped()
    # Every second group is copied into the next: pairs remain.
    X_more, y_more = np.concatenate([X, X]), np.concatenate([y, y])
    more = np.concatenate([groups, (groups + 2) % 20])
    with pytest.raises(ValueError, match="1 groups in the"):
        auto(QUICK).fit(X_more, y_more, groups=more)


def test_given_estimators_keep_their_parameters():
    X, y = make_warped_shift(60, 2, random_state=0).pool()
    network = MLPRatio(hidden_features=(4,), n_estimators=2, max_iter=50)
    first, again = (
        AutoRatio([("network", network)], cv=2, random_state=3).fit(X, y)
        for _ in range(2)
    )
    assert network.random_state is None
    assert not hasattr(network, "network_")
    np.testing.assert_array_equal(
        first.decision_function(X), again.decision_function(X)
    )


def test_members_and_folds_tell_alike():
    """A network fitted once tells held-out rows about as well as one for each fold."""
    X, y = make_warped_shift(300, 2, random_state=0).pool()
    loss = [
        AutoRatio(
            [("network", MLPRatio(**SMALL | {"n_estimators": n}))], random_state=0
        )
        .fit(X, y)
        .candidates_["network"]
        .loss
        for n in (5, 4)
    ]
    assert abs(loss[0] - loss[1]) < 0.02


# --- what it says -------------------------------------------------------------------


def test_table():
    pd = pytest.importorskip("pandas")
    X, y = make_warped_shift(200, 2, random_state=0).pool()
    ratio = auto(QUICK).fit(X, y)
    table = ratio.candidates_
    assert [each.name for each in table] == ["constant", "logistic", "plug-in"]
    assert table["constant"].loss == pytest.approx(np.log(2))
    assert table["logistic"].loss < np.log(2)
    assert 0 < table["logistic"].error < 0.1
    assert sum(each.weight for each in table) == pytest.approx(1)
    frame = table.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["loss", "error", "weight", "seconds"]
    assert frame.loc["plug-in", "loss"] == table["plug-in"].loss
    assert "<td>plug-in</td>" in table._repr_html_()
    assert "plug-in" in str(table)
    with pytest.raises(KeyError):
        table["no such"]


def test_report_names_columns():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 200, 3))
    p[:, 1] += 1
    X, y = pool(
        numerator=pd.DataFrame(p, columns=["a", "age", "c"]),
        denominator=pd.DataFrame(q, columns=["a", "age", "c"]),
    )
    report = auto(QUICK).fit(X, y).report_
    assert "differ most in column" in report
    assert report.index("age (") < report.find("a (", report.index("age (") + 5) or (
        " a (" not in report
    )
    assert report.count(". ") <= 3


def test_time_budget():
    X, y = make_warped_shift(200, 2, random_state=0).pool()
    ratio = auto([*QUICK, NETWORK], time_budget=1e-9).fit(X, y)
    assert [each.name for each in ratio.candidates_] == ["constant", "logistic"]
    assert len(auto(QUICK, time_budget=600).fit(X, y).candidates_) == 3


class Dealing(DensityRatioMixin, BaseEstimator):
    """A plug-in that says what folds it was told to deal."""

    def __init__(self, cv=3):
        self.cv = cv

    def fit(self, X, y, sample_weight=None):
        type(self).last_cv, type(self).last_rows = self.cv, X
        self.plug_in_ = GaussianRatio().fit(X, y, sample_weight)
        self.classes_, self.n_features_in_ = self.plug_in_.classes_, X.shape[1]
        return self

    def decision_function(self, X):
        return self.plug_in_.decision_function(X)


def test_networks_stop_with_the_steps_that_they_are_in(monkeypatch):
    """Where the clock says that the time ended while a network is trained."""
    late = SimpleNamespace(perf_counter=lambda: np.inf)
    monkeypatch.setattr("skdre.auto._inside.time", late)
    X, y = make_warped_shift(100, 2, random_state=0).pool()
    endless = MLPRatio(
        hidden_features=(16,), n_estimators=5, max_iter=10**6, learning_rate=0.02
    )
    useless = ("useless", ClassifierRatio(DummyClassifier()))
    ratio = auto([useless, ("network", endless)], time_budget=1000).fit(X, y)
    assert ratio.choice_ == "network"
    assert ratio.estimators_["network"][0].n_iter_ == 25


def test_stopped_networks_keep_no_callback():
    X, y = make_warped_shift(60, 2, random_state=0).pool()
    network = MLPRatio(hidden_features=(4,), n_estimators=5, max_iter=50)
    pair = [QUICK[1], ("network", network)]
    ratio = auto(pair, time_budget=100, random_state=0).fit(X, y)
    free = auto(pair, random_state=0).fit(X, y)
    for each in (ratio, free):
        assert all(m.callbacks is None for m in each.estimators_.get("network", []))
    np.testing.assert_array_equal(ratio.decision_function(X), free.decision_function(X))


def test_folds_at_the_same_time():
    X, y = make_warped_shift(80, 2, warp="exp", random_state=0).pool()
    few = [each for each in CHEAP if each[0] in ("RuLSIF", "boosted stumps")]
    alone = auto(few, random_state=0).fit(X, y)
    with joblib.parallel_config("threading"):
        together = auto(few, random_state=0, n_jobs=2).fit(X, y)
    assert [(each.name, each.loss) for each in alone.candidates_] == [
        (each.name, each.loss) for each in together.candidates_
    ]
    np.testing.assert_array_equal(
        alone.decision_function(X), together.decision_function(X)
    )


def test_hopeless_candidates_end_with_their_first_fold(monkeypatch):
    shift = make_known_ratio("scale_d5", 150, random_state=0)
    X, y = shift.pool()
    useless = ClassifierRatio(DummyClassifier())
    candidates = [QUICK[1], ("useless", useless)]
    assert len(auto(candidates).fit(X, y).candidates_) == 3
    monkeypatch.setattr("skdre.auto._cross_fit._MANY_ROWS", 100)
    ratio = auto([*candidates, ("dealing", Dealing())]).fit(X, y)
    assert [each.name for each in ratio.candidates_] == [
        "constant",
        "plug-in",
        "dealing",
    ]


def test_groups_stay_together_inside_a_candidate():
    X, y, groups = grouped()
    group_of = {tuple(row): group for row, group in zip(X, groups, strict=True)}
    auto([("dealing", Dealing())], cv=2).fit(X, y, groups=groups)
    name = np.array([group_of[tuple(row)] for row in Dealing.last_rows])
    assert len(Dealing.last_cv) == 3
    for train, test in Dealing.last_cv:
        np.testing.assert_array_equal(
            np.sort(np.concatenate([train, test])), np.arange(len(name))
        )
        assert not np.intersect1d(name[train], name[test]).size
    auto([("dealing", Dealing())], cv=2).fit(X, y)
    assert Dealing.last_cv == 3


def test_models_have_their_own_folds_back():
    X, y = make_known_ratio("scale_d5", 60, random_state=0).pool()
    groups = np.arange(120) % 30
    ratio = auto([("dealing", Dealing())], cv=2).fit(X, y, groups=groups)
    assert ratio.choice_ == "dealing"
    assert Dealing.last_cv != 3
    assert [each.cv for each in ratio.estimators_["dealing"]] == [3, 3]


def test_networks_without_a_member_for_each_fold_hold_out_groups(monkeypatch):
    X, y, groups = grouped()
    group_of = {tuple(row): group for row, group in zip(X, groups, strict=True)}
    split = []

    def spy(rows, n_members):
        found = member_folds(rows, n_members)
        for held in found:
            name = np.array([group_of[tuple(row)] for row in rows.X])
            split.append(np.intersect1d(name[held > 0], name[held < rows.weight]))
        return found

    monkeypatch.setattr("skdre.classification._mlp.member_folds", spy)
    network = MLPRatio(hidden_features=(4,), n_estimators=2, max_iter=25)
    auto([("network", network)], cv=3).fit(X, y, groups=groups)
    assert len(split) == 6
    assert not any(len(each) for each in split)
    split.clear()
    auto([("network", network)], cv=3).fit(X, y)
    assert any(len(each) for each in split)


def test_verbose(capsys):
    X, y = make_warped_shift(100, 2, random_state=0).pool()
    auto(QUICK, verbose=1).fit(X, y)
    assert capsys.readouterr().out.count("held-out loss") == 2


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"cv": 1}, "cv"),
        ({"time_budget": 0}, "time_budget"),
        ({"candidates": []}, "candidates"),
        ({"candidates": [GaussianRatio()]}, "candidates must be"),
        ({"candidates": [QUICK[0], QUICK[0]]}, "must differ"),
        ({"candidates": [("constant", GaussianRatio())]}, "'constant'"),
        ({"candidates": "all"}, "candidates"),
    ],
)
def test_bad_parameters(params, message):
    X, y = make_warped_shift(30, 2, random_state=0).pool()
    with pytest.raises(ValueError, match=message):
        AutoRatio(**params).fit(X, y)


def test_default_candidates_are_new_each_time():
    first, second = AutoRatio.default_candidates(), AutoRatio.default_candidates()
    assert [name for name, _ in first] == [name for name, _ in second]
    assert all(a is not b for (_, a), (_, b) in zip(first, second, strict=True))


def test_normal_scores_do_not_depend_on_the_unit():
    shift = make_warped_shift(200, 2, warp="exp", random_state=0)
    X, y = shift.pool()
    ratio = NormalScoresRatio(GaussianRatio())
    plain = ratio.fit(X, y).decision_function(X)
    other = ratio.fit(100 * X - 7, y).decision_function(100 * X - 7)
    np.testing.assert_allclose(plain, other, atol=1e-6)
    assert log_ratio_mse(shift.log_ratio(X), plain) < 0.2


def test_perfect_evidence_is_evidence():
    """N(20, 1) against N(0, 1): log r = 20 x - 200, and no loss at any held-out row."""
    rng = np.random.default_rng(0)
    X, y = pool(
        numerator=rng.normal(20, 1, (200, 1)), denominator=rng.normal(size=(200, 1))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratio = auto([("plug-in", GaussianRatio()), BRIDGES], random_state=0)
        log_ratio = ratio.fit(X, y).decision_function([[0.0], [10.0], [20.0]])
    np.testing.assert_allclose(log_ratio, [-200, 0, 200], atol=60)
