"""scikit-learn's callbacks on every long fit, alone, in pipelines and in searches."""

import re
import warnings

import numpy as np
import pytest
from instances import fit_arguments, make_instances
from joblib import parallel_config
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, EarlyStopping

import skdre
from skdre import (
    AutoRatio,
    FlowClassifierRatio,
    FlowFeaturizer,
    GaussianRatio,
    ImportanceWeighted,
    LikelihoodRatioAligner,
    LSIFRatio,
    MLPRatio,
    MultinomialRatio,
    MutualInformation,
    TargetedSampler,
    TelescopingRatio,
    TimeScoreRatio,
    make_pipeline,
)
from skdre.base import DensityRatioMixin
from skdre.datasets import make_known_ratio, make_warped_shift
from skdre.utils import all_estimators

callback = pytest.importorskip("sklearn.callback")  # scikit-learn >= 1.9

# All others take callbacks.
WITHOUT = {"Dequantizer", "TargetedSampler"}

TINY = {"hidden_features": (8,), "n_estimators": 2, "max_iter": 50, "random_state": 0}
X, Y = make_warped_shift(60, 2, random_state=0).pool()

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*still fell:Warning"),
    pytest.mark.filterwarnings("ignore:.*separates"),
    pytest.mark.filterwarnings("ignore:.*effective sample size"),
]


class Tasks:
    """Keep the names of the tasks, and how each fit's result predicts at its end."""

    max_propagation_depth = None

    def __init__(self):
        self.begun, self.ended, self.fitted = [], [], []

    def setup(self, estimator, context):
        self.begun.append("set up")

    def teardown(self, estimator, context):
        self.ended.append("torn down")

    @staticmethod
    def name(context):
        return context.estimator_name, context.task_name

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(self.name(context))

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator=None):
        self.ended.append(self.name(context))
        if context.task_name == "fit":
            self.fitted.append(fitted_estimator)
            self.data = X, y


def long_fits():
    return [
        pytest.param(estimator, id=str(estimator)[:60])
        for estimator in make_instances()
        if type(estimator).__name__ not in WITHOUT
    ]


def fit(estimator):
    return estimator.fit(**fit_arguments(estimator, X, Y))


def test_every_estimator_takes_callbacks():
    for name, estimator in all_estimators():
        takes_any = hasattr(estimator, "set_callbacks")
        assert takes_any != (name in WITHOUT), name


@pytest.mark.parametrize("estimator", long_fits())
def test_tasks_and_the_fitted_estimator(estimator):
    tasks = Tasks()
    fitted = fit(clone(estimator).set_callbacks(tasks))
    name = type(estimator).__name__
    if name == "Pipeline":
        # The pipeline of scikit-learn: it hands over no fitted estimator.
        assert ("KMMRatio", "fit") in tasks.ended
        return
    assert tasks.begun[:2] == ["set up", (name, "fit")]
    assert tasks.ended[-2:] == [(name, "fit"), "torn down"]
    assert sorted(tasks.begun[1:]) == sorted(tasks.ended[:-1])
    rows, y, *_ = fit_arguments(estimator, X, Y).values()
    assert [np.shape(each) for each in tasks.data] == [rows.shape, y.shape]
    # At its end an estimator is ready, and gives what it gives after fit.
    method = "decision_function" if isinstance(fitted, DensityRatioMixin) else "predict"
    for other in ("transform", "score_samples"):
        method = other if hasattr(fitted, other) else method
    if name == "MutualInformation":
        assert tasks.fitted[-1].estimate_.value == fitted.estimate_.value
        return
    np.testing.assert_array_equal(
        getattr(tasks.fitted[-1], method)(X), getattr(fitted, method)(X)
    )


@pytest.mark.parametrize(
    "estimator",
    [
        MLPRatio(**TINY | {"max_iter": 2000}, patience=25, learning_rate=1e-9),
        MultinomialRatio(**TINY | {"max_iter": 2000}, patience=25, learning_rate=1e-9),
        FlowFeaturizer(
            "realnvp", n_transforms=1, hidden_features=(4,), max_epochs=50, patience=2
        ),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_epochs_end_where_training_stops_early(estimator):
    tasks = Tasks()
    clone(estimator).set_callbacks(tasks).fit(X, Y)
    begun, ended = (
        sum(task[1] == "epoch" for task in found)
        for found in (tasks.begun, tasks.ended)
    )
    assert 0 < begun == ended < 100


@pytest.mark.parametrize("cls", [MLPRatio, MultinomialRatio, TelescopingRatio])
def test_the_estimator_of_an_epoch_predicts(cls):
    found = []

    class Predictions(Tasks):
        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            found.append(fitted_estimator.decision_function(X))

    fitted = cls(**TINY).set_callbacks(Predictions()).fit(X, Y)
    assert len(found) == 3  # two epochs, and the fit
    assert not np.array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], fitted.decision_function(X))


class CtrlC(Callback):
    """Ctrl-C in the second epoch of a network's training."""

    def on_batch_begin(self, net, training=False, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


INTERRUPTED = MLPRatio(**TINY, callbacks=[CtrlC()])
SMALL_FLOW = {"n_transforms": 1, "hidden_features": (4,)}
OUTER = {
    "search": GridSearchCV(INTERRUPTED, {"learning_rate": [1e-3, 1e-2]}, cv=2),
    "pipeline": make_pipeline(StandardScaler(), INTERRUPTED),
    "automatic choice": AutoRatio([("network", INTERRUPTED)]),
    "importance weighting": ImportanceWeighted(LogisticRegression(), INTERRUPTED),
    "mutual information": MutualInformation(INTERRUPTED, cv=2),
    "mutual information in threads": MutualInformation(INTERRUPTED, cv=2, n_jobs=2),
    "bridges": TelescopingRatio(INTERRUPTED, n_bridges=2),
    "sampler": TargetedSampler(
        flow=FlowFeaturizer("gaussian"), ratio=clone(INTERRUPTED)
    ),
}


@pytest.mark.parametrize("outer", OUTER)
def test_an_interrupt_goes_through_whatever_is_around(outer):
    with parallel_config("threading"), pytest.raises(KeyboardInterrupt):
        fit(clone(OUTER[outer]))


@pytest.mark.parametrize(
    "estimator",
    [
        INTERRUPTED,
        TelescopingRatio(**TINY, callbacks=[CtrlC()]),
        MultinomialRatio(**TINY, callbacks=[CtrlC()]),
        TimeScoreRatio(hidden_features=(4,), max_iter=200, callbacks=[CtrlC()]),
        FlowFeaturizer("realnvp", **SMALL_FLOW, callbacks=[CtrlC()]),
        FlowClassifierRatio(**TINY, n_transforms=1, callbacks=[CtrlC()]),
        LikelihoodRatioAligner(
            "realnvp", **SMALL_FLOW, max_iter=50, callbacks=[CtrlC()]
        ),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_interrupt_keeps_the_best_so_far_and_is_raised_again(estimator):
    estimator = clone(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt, match="epoch 2"):
            fit(estimator)
    method = "transform" if hasattr(estimator, "transform") else "decision_function"
    assert np.isfinite(getattr(estimator, method)(X)).all()


def test_skorchs_early_stopping_is_no_interrupt():
    stop = EarlyStopping(patience=2, threshold=10.0)
    ratio = MLPRatio(**TINY | {"max_iter": 500}, callbacks=[stop]).fit(X, Y)
    assert len(ratio.loss_curve_) == 3


def test_automatic_choice_hands_callbacks_on():
    params = TINY | {"max_iter": 200, "learning_rate": 0.03}
    near, far = MLPRatio(**params), TelescopingRatio(n_bridges=2, **params)
    candidates = [("plug-in", GaussianRatio()), ("network", near), ("bridges", far)]
    tasks = Tasks()
    shift = make_known_ratio("far_gaussians_d2", 60, random_state=0)
    ratio = AutoRatio(candidates, cv=2, random_state=0)
    ratio.set_callbacks(tasks).fit(*shift.pool())
    fits = [each for each in tasks.begun if each[1] != "epoch"]
    assert fits == [
        "set up",
        ("AutoRatio", "fit"),
        *2 * [("GaussianRatio", "fit")],
        ("MLPRatio", "fit"),
        ("TelescopingRatio", "fit"),
    ]
    assert tasks.begun.count(("MLPRatio", "epoch")) == 8
    assert tasks.begun.count(("TelescopingRatio", "epoch")) == 8
    assert not hasattr(near, "_skl_callbacks")


def test_importance_weighting_hands_callbacks_on():
    tasks = Tasks()
    model = ImportanceWeighted(LogisticRegression(), MLPRatio(**TINY))
    fit(model.set_callbacks(tasks))
    assert ("MLPRatio", "epoch") in tasks.begun
    assert ("LogisticRegression", "fit") in tasks.begun


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_folds_are_tasks(n_jobs):
    tasks = Tasks()
    information = MutualInformation(MLPRatio(**TINY), cv=3, n_jobs=n_jobs)
    with parallel_config("threading"):
        fit(information.set_callbacks(tasks))
    assert tasks.begun.count(("MLPRatio", "fit")) == 3
    assert tasks.begun.count(("MLPRatio", "epoch")) == 3 * 2
    assert not hasattr(information.ratio, "_skl_callbacks")


def test_candidates_of_the_default_of_mutual_information_are_tasks():
    tasks = Tasks()
    information = MutualInformation(cv=2, random_state=0)
    fit(information.set_callbacks(tasks))
    _, *begun = tasks.begun
    *ended, _ = tasks.ended
    assert begun[:3] == [
        ("MutualInformation", name) for name in ("fit", "Gaussian", "Gaussian copula")
    ]
    assert sorted(begun) == sorted(ended)


def test_bridges_of_other_estimators_are_tasks():
    tasks = Tasks()
    ratio = TelescopingRatio(estimator=LSIFRatio(), n_bridges=3)
    ratio.set_callbacks(tasks).fit(X, Y)
    assert tasks.ended.count(("TelescopingRatio", "bridge")) == 3
    tasks = Tasks()
    ratio = MultinomialRatio(estimator=LinearDiscriminantAnalysis(), n_bridges=3)
    ratio.set_callbacks(tasks).fit(X, Y)
    assert tasks.ended.count(("MultinomialRatio", "fit-estimator")) == 1


# --- through pipelines and searches -----------------------------------------------


def test_through_a_pipeline_and_a_search():
    flow = FlowFeaturizer(
        marginals="standardize",
        n_transforms=1,
        hidden_features=(4,),
        max_epochs=2,
        random_state=0,
    )
    tasks = Tasks()
    search = GridSearchCV(
        make_pipeline(flow, MLPRatio(**TINY)),
        {"mlpratio__learning_rate": [1e-3, 1e-2]},
        cv=2,
    )
    search.set_callbacks(tasks).fit(X, Y)
    # Two candidates on two folds, and the best on all rows.
    assert tasks.begun.count(("MLPRatio", "fit")) == 5
    assert tasks.begun.count(("MLPRatio", "epoch")) == 5 * 2
    assert tasks.begun.count(("FlowFeaturizer", "fit")) == 5
    assert tasks.begun.count(("FlowFeaturizer", "epoch")) == 5 * 2


def bars(capsys):
    """Names of the bars that were drawn, and the shares that they ended at."""
    lines = capsys.readouterr().out.splitlines()
    found = [re.search(r"^\s*(\S.*?) [━╸╺ ]+\s+(\d+)%", line) for line in lines]
    return {match[1]: int(match[2]) for match in found if match}


@pytest.mark.parametrize("estimator", long_fits())
def test_a_progress_bar_on_every_long_fit(estimator, capsys):
    pytest.importorskip("rich")
    fit(clone(estimator).set_callbacks(callback.ProgressBar()))
    drawn = bars(capsys)
    (first, share), *_ = drawn.items()
    assert first.startswith(f"{type(estimator).__name__} - fit")
    assert share == 100


def test_a_progress_bar_through_a_search(capsys):
    pytest.importorskip("rich")
    search = GridSearchCV(
        skdre.Pipeline([("ratio", MLPRatio(**TINY))]),
        {"ratio__learning_rate": [1e-3, 1e-2]},
        cv=2,
    )
    bar = callback.ProgressBar(max_propagation_depth=None)
    search.set_callbacks(bar).fit(X, Y)
    drawn = bars(capsys)
    assert any("GridSearchCV" in name for name in drawn)
    assert any("MLPRatio" in name for name in drawn)
    assert set(drawn.values()) == {100}


def test_scoring_monitor_sees_epochs():
    monitor = callback.ScoringMonitor(scoring="neg_log_loss")
    MLPRatio(**TINY).set_callbacks(monitor).fit(X, Y)
    scores = [
        entry["neg_log_loss"]
        for entry in monitor.get_logs().data
        if entry["task_name"] == "epoch"
    ]
    assert len(scores) == 2
    assert scores[1] > scores[0] > -1


def test_callbacks_cost_nothing_to_those_without():
    ratio = MLPRatio(**TINY).fit(X, Y)
    watched = MLPRatio(**TINY).set_callbacks(Tasks()).fit(X, Y)
    np.testing.assert_array_equal(
        ratio.decision_function(X), watched.decision_function(X)
    )
