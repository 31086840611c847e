"""Ratio estimators in pipelines: skdre's and scikit-learn's own."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn.pipeline
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skdre import FlowFeaturizer, ImportanceWeighted, KMMRatio, Pipeline, make_pipeline
from skdre.datasets import make_warped_shift

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class CountedFlow(FlowFeaturizer):
    """A small flow that counts how often any of its kind is fitted."""

    n_fits = 0

    def __init__(self, max_epochs=2, random_state=0):
        super().__init__(
            n_transforms=1,
            hidden_features=(8,),
            max_epochs=max_epochs,
            random_state=random_state,
        )

    def fit(self, X, y=None):
        CountedFlow.n_fits += 1
        return super().fit(X, y)


@pytest.fixture(scope="module")
def shift():
    return make_warped_shift(120, 2, warp="exp", random_state=0)


@pytest.fixture(scope="module")
def fitted(shift):
    return make_pipeline(CountedFlow(max_epochs=5), KMMRatio(random_state=0)).fit(
        *shift.pool()
    )


# -- skdre.Pipeline ---------------------------------------------------------------


def test_predict_ratio_is_exp_of_the_decision_function(shift, fitted):
    X, _ = shift.pool()
    ratio = fitted.predict_ratio(X)
    assert_allclose(ratio, np.exp(fitted.decision_function(X)))
    assert_allclose(fitted.predict_proba(X)[:, 1], ratio / (1 + ratio))
    assert spearmanr(ratio, shift.log_ratio(X)).statistic > 0.6


def test_predict_ratio_equals_the_steps_by_hand(shift, fitted):
    X, y = shift.pool()
    flow = CountedFlow(max_epochs=5).fit(X, y)
    kmm = KMMRatio(random_state=0).fit(flow.transform(X), y)
    assert_array_equal(fitted.predict_ratio(X), kmm.predict_ratio(flow.transform(X)))


def test_make_pipeline_names_steps_and_passes_its_options(tmp_path):
    pipeline = make_pipeline(
        StandardScaler(),
        StandardScaler(),
        KMMRatio(random_state=0),
        memory=str(tmp_path),
        transform_input=["X_target"],
        verbose=True,
    )
    assert isinstance(pipeline, Pipeline)
    assert list(pipeline.named_steps) == [
        "standardscaler-1",
        "standardscaler-2",
        "kmmratio",
    ]
    assert pipeline.memory == str(tmp_path)
    assert pipeline.transform_input == ["X_target"]
    assert pipeline.verbose
    assert make_pipeline(KMMRatio(random_state=0)).memory is None


@pytest.mark.parametrize("first", ["passthrough", None])
def test_a_ratio_alone_and_after_steps_that_do_nothing(shift, first):
    X, y = shift.pool()
    expected = KMMRatio(random_state=0).fit(X, y).predict_ratio(X)
    alone = make_pipeline(KMMRatio(random_state=0)).fit(X, y)
    assert_array_equal(alone.predict_ratio(X), expected)
    idle = Pipeline([("idle", first), ("kmm", KMMRatio(random_state=0))]).fit(X, y)
    assert_array_equal(idle.predict_ratio(X), expected)
    nested = make_pipeline(
        StandardScaler(), make_pipeline(KMMRatio(random_state=0))
    ).fit(X, y)
    inner = StandardScaler().fit_transform(X)
    assert_array_equal(nested.predict_ratio(X), nested[-1].predict_ratio(inner))


@pytest.mark.parametrize(
    "last", [LogisticRegression(), StandardScaler(), "passthrough"]
)
def test_predict_ratio_needs_a_ratio_last(shift, last):
    pipeline = make_pipeline(StandardScaler(), last).fit(*shift.pool())
    assert not hasattr(pipeline, "predict_ratio")
    with pytest.raises(AttributeError, match="predict_ratio"):
        pipeline.predict_ratio(shift.denominator)


def test_predict_ratio_before_fit(shift):
    with pytest.raises(NotFittedError):
        make_pipeline(StandardScaler(), KMMRatio(random_state=0)).predict_ratio(
            shift.denominator
        )


def test_clone_and_pickle(shift, fitted):
    X, _ = shift.pool()
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.predict_ratio(X), fitted.predict_ratio(X))
    params = clone(fitted).set_params(kmmratio__B=7.0).get_params()
    assert params["kmmratio__B"] == 7.0
    assert params["countedflow__max_epochs"] == 5
    assert type(clone(fitted)) is Pipeline


def test_pandas_in_and_between_the_steps(shift, fitted):
    X, y = shift.pool()
    frame = pd.DataFrame(X, columns=["a", "b"])
    pipeline = clone(fitted).set_output(transform="pandas").fit(frame, y)
    assert_allclose(pipeline.predict_ratio(frame), fitted.predict_ratio(X))
    between = pipeline[:-1].transform(frame)
    assert isinstance(between, pd.DataFrame)
    assert_array_equal(pipeline[-1].feature_names_in_, between.columns)
    assert_array_equal(pipeline.feature_names_in_, ["a", "b"])
    with pytest.raises(ValueError, match="feature names"):
        pipeline.predict_ratio(frame.rename(columns={"a": "c"}))


# -- scikit-learn's Pipeline, searched ----------------------------------------------

GRID = {"kmmratio__gamma": [0.1, 1.0], "kmmratio__B": [2.0, 1000.0]}


@pytest.mark.parametrize("make", [sklearn.pipeline.make_pipeline, make_pipeline])
def test_search_with_default_splits_and_default_score(shift, make):
    X, y = shift.pool()
    pipeline = make(CountedFlow(), KMMRatio(random_state=0))
    search = GridSearchCV(pipeline, GRID, error_score="raise").fit(X, y)

    # The default splits keep the share of both samples; the default score is the
    # estimator's own, of a held-out fold.
    folds = list(StratifiedKFold(5).split(X, y))
    for i in (0, 4):
        train, test = folds[i]
        assert y[test].mean() == 0.5
        flow = CountedFlow().fit(X[train], y[train])
        kmm = KMMRatio(gamma=1.0, B=2.0, random_state=0).fit(
            flow.transform(X[train]), y[train]
        )
        k = search.cv_results_["params"].index(
            {"kmmratio__gamma": 1.0, "kmmratio__B": 2.0}
        )
        assert_allclose(
            search.cv_results_[f"split{i}_test_score"][k],
            kmm.score(flow.transform(X[test]), y[test]),
        )
    scores = search.cv_results_["mean_test_score"]
    assert len(np.unique(scores)) == 4
    assert search.best_score_ == scores.max()
    assert search.best_score_ > -np.log(2)
    log_ratio = search.decision_function(X)
    assert spearmanr(log_ratio, shift.log_ratio(X)).statistic > 0.6


@pytest.mark.parametrize("make", [sklearn.pipeline.make_pipeline, make_pipeline])
def test_with_memory_the_flow_is_fitted_once_per_fold(shift, make, tmp_path):
    X, y = shift.pool()
    counts, scores = [], []
    for memory in (None, str(tmp_path)):
        pipeline = make(CountedFlow(), KMMRatio(random_state=0), memory=memory)
        CountedFlow.n_fits = 0
        search = GridSearchCV(pipeline, GRID, cv=3, error_score="raise").fit(X, y)
        counts.append(CountedFlow.n_fits)
        scores.append(search.cv_results_["mean_test_score"])
    # Three folds, four candidates, and the best of them once more on all rows.
    assert counts == [3 * 4 + 1, 3 + 1]
    assert_array_equal(scores[0], scores[1])


def test_stock_pipeline_carries_the_log_ratio(shift, fitted):
    X, y = shift.pool()
    stock = sklearn.pipeline.make_pipeline(
        CountedFlow(max_epochs=5), KMMRatio(random_state=0)
    )
    stock.fit(X, y)
    for method in ("decision_function", "predict_proba", "predict", "transform"):
        if hasattr(fitted, method):
            assert_array_equal(getattr(stock, method)(X), getattr(fitted, method)(X))
    assert stock.score(X, y) == fitted.score(X, y)
    assert not hasattr(stock, "predict_ratio")


def test_cross_val_predict_gives_held_out_log_ratios(shift):
    X, y = shift.pool()
    pipeline = sklearn.pipeline.make_pipeline(
        StandardScaler(), KMMRatio(random_state=0)
    )
    log_ratio = cross_val_predict(pipeline, X, y, method="decision_function")
    train, test = next(StratifiedKFold(5).split(X, y))
    expected = clone(pipeline).fit(X[train], y[train]).decision_function(X[test])
    assert_array_equal(log_ratio[test], expected)


# -- the whole chain ----------------------------------------------------------------


def test_search_over_a_weighted_svc_and_its_ratio(shift):
    rng = np.random.default_rng(0)
    source, target = shift.denominator, shift.numerator
    labels = (np.log(source).sum(1) + rng.normal(size=len(source)) > 0).astype(int)
    X = np.concatenate([source, target])
    y = np.concatenate([labels, np.full(len(target), -1)])
    model = ImportanceWeighted(
        SVC(), make_pipeline(CountedFlow(), KMMRatio(random_state=0))
    )
    grid = {"estimator__C": [0.1, 10.0], "ratio__kmmratio__gamma": [0.1, 1.0]}
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(X, y)
    best = search.best_estimator_
    assert best.ratio_[-1].gamma == search.best_params_["ratio__kmmratio__gamma"]
    assert_array_equal(search.classes_, [0, 1])
    assert best.sample_weight_.shape == (len(source),)

    # In two steps by hand.
    ratio = clone(best.ratio).fit(*shift.pool())
    weights = ratio.predict_ratio(source)
    assert_allclose(best.sample_weight_, weights / weights.mean(), rtol=1e-6)
    svc = clone(best.estimator).fit(source, labels, best.sample_weight_)
    assert_array_equal(search.decision_function(target), svc.decision_function(target))


def test_the_default_ratio_is_kmm(shift):
    labels = (shift.denominator[:, 0] > 1).astype(int)
    model = ImportanceWeighted(SVC())
    model.fit(shift.denominator, labels, X_target=shift.numerator)
    assert isinstance(model.ratio_, KMMRatio)
    assert model.ratio_.get_params() == KMMRatio().get_params()
    truth = shift.log_ratio(shift.denominator)
    assert spearmanr(model.sample_weight_, truth).statistic > 0.6
