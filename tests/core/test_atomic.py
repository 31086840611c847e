"""A fit that fails, however late, leaves the estimator as it was."""

import inspect

import numpy as np
import pytest
import sklearn
from instances import fit_arguments, make_instances
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler

from skdre import (
    AlignedClassifier,
    ClassifierRatio,
    FlowClassifierRatio,
    GaussianRatio,
    ImportanceWeighted,
    KMMRatio,
    LSIFRatio,
    MLPRatio,
    TelescopingRatio,
    TimeScoreRatio,
    make_pipeline,
)
from skdre.base import AtomicFitMixin, DensityRatioMixin, split_samples
from skdre.datasets import make_warped_shift
from skdre.utils import all_estimators
from skdre.utils._check_tools import fitted_attributes, seeded
from skdre.utils._late_failures import InjectedError, assert_failures_change_nothing

X, Y = make_warped_shift(60, 2, random_state=0).pool()
OTHER, OTHER_Y = make_warped_shift(50, 2, warp="cubic", random_state=1).pool()
PAIRS = np.sin(X) + 0.1 * X[::-1]

NETWORK = {"hidden_features": (4,), "random_state": 0}
QUICK = {"n_estimators": 2, "max_iter": 50} | NETWORK

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*still (fell|rose):Warning"),
    pytest.mark.filterwarnings("ignore:.*separates"),
    pytest.mark.filterwarnings("ignore:.*There are no target rows"),
    pytest.mark.filterwarnings("ignore:.*log-likelihood ratio"),
]

# Ratios are held to the same by the contract's checks; tests/test_contract.py.
OTHERS = [
    (each, fit_arguments(each, X, Y))
    for each in make_instances()
    if not isinstance(each, DensityRatioMixin | Pipeline)
]
OTHERS += [(AlignedClassifier(LogisticRegression()), {"X": X, "y": Y})]


@pytest.mark.parametrize(
    ("estimator", "arguments"), OTHERS, ids=[str(each)[:60] for each, _ in OTHERS]
)
def test_late_failures_change_nothing(estimator, arguments):
    name = type(estimator).__name__
    found = assert_failures_change_nothing(
        name, seeded(estimator), arguments, arguments["X"][::10]
    )
    assert {"at the last attribute that it sets", "the first time"} <= set(found)
    assert any("memory" in each for each in found)


def test_every_estimator_is_held_to_it():
    assert all(issubclass(each, AtomicFitMixin) for _, each in all_estimators())


# --- failures of all kinds --------------------------------------------------------


def assert_unchanged(fitted, before, expected, rows=X):
    after = fitted_attributes(fitted)
    assert before.keys() == after.keys()
    assert all(after[name] is before[name] for name in before)
    np.testing.assert_array_equal(fitted.decision_function(rows), expected)


@pytest.mark.parametrize("error", [MemoryError, np.linalg.LinAlgError, OSError])
def test_errors_of_the_solver(error, monkeypatch):
    def fail(*args):
        raise error("no solution")

    fitted = LSIFRatio(random_state=0).fit(X, Y)
    before, expected = fitted_attributes(fitted), fitted.decision_function(X)
    monkeypatch.setattr("skdre.kernel._lsif.solve_ridge", fail)
    with pytest.raises(error, match="no solution"):
        fitted.fit(OTHER[:, :1], OTHER_Y)
    assert_unchanged(fitted, before, expected)
    fresh = LSIFRatio()
    with pytest.raises(error, match="no solution"):
        fresh.fit(X, Y)
    assert vars(fresh) == vars(LSIFRatio())
    with pytest.raises(NotFittedError):
        fresh.decision_function(X)


class FailsIfWide(BaseEstimator, TransformerMixin):
    """Transformer, or step, that cannot do with more than two columns."""

    def fit(self, X, y=None):
        if np.shape(X)[1] > 2:
            raise InjectedError("too wide")
        self.fitted_ = True
        return self

    def transform(self, X):
        return X


WIDE, OTHER_WIDE = (np.column_stack([each, each[:, 0] ** 2]) for each in (X, OTHER))


@pytest.mark.parametrize(
    "estimator",
    [
        ClassifierRatio(make_pipeline(FailsIfWide(), LogisticRegression())),
        TelescopingRatio(make_pipeline(FailsIfWide(), GaussianRatio()), n_bridges=2),
        make_pipeline(StandardScaler(), FailsIfWide(), KMMRatio(gamma=0.5)),
        make_pipeline(
            make_pipeline(
                FeatureUnion([("scale", StandardScaler()), ("same", FailsIfWide())]),
                FailsIfWide(),
            ),
            GaussianRatio(),
        ),
    ],
    ids=lambda each: type(each).__name__,
)
def test_failures_of_estimators_inside(estimator):
    if len(getattr(estimator, "steps", [])) == 2:
        # The union doubles the columns.
        rows, wide = X[:, :1], X
    else:
        rows, wide = X, WIDE
    fitted = clone(estimator).fit(rows, Y)
    before, expected = fitted_attributes(fitted), fitted.decision_function(rows)
    with pytest.raises(InjectedError, match="too wide"):
        fitted.fit(3 * wide + 1, Y)
    assert_unchanged(fitted, before, expected, rows)
    fresh = clone(estimator)
    with pytest.raises(InjectedError, match="too wide"):
        fresh.fit(wide, Y)
    with pytest.raises(NotFittedError):
        fresh.decision_function(wide)


def test_failure_after_the_ratio_was_fitted():
    fresh = ImportanceWeighted(SGDClassifier(random_state=0), GaussianRatio())
    fitted = clone(fresh).fit(X, Y, X_target=OTHER)
    before, expected = fitted_attributes(fitted), fitted.decision_function(X)
    fitted.set_params(estimator__alpha=-1.0)
    with pytest.raises(ValueError, match="alpha"):
        fitted.fit(WIDE, Y, X_target=OTHER_WIDE)
    assert_unchanged(fitted, before, expected)


def test_steps_of_a_failed_pipeline_are_as_they_were():
    scaler, kmm = StandardScaler(), KMMRatio(gamma=0.5)
    pipeline = make_pipeline(scaler, kmm)
    with pytest.raises(ValueError, match="one class"):
        pipeline.fit(X, np.zeros(len(X)))
    assert not fitted_attributes(scaler)
    pipeline.fit(X, Y)
    mean = scaler.mean_
    with pytest.raises(ValueError, match="one class"):
        pipeline.fit(X + 5, np.zeros(len(X)))
    assert scaler.mean_ is mean
    assert pipeline.named_steps == {"standardscaler": scaler, "kmmratio": kmm}


def test_steps_that_go_on_in_place():
    """warm_start of scikit-learn's changes coefficients in place."""
    sgd = SGDClassifier(random_state=0, warm_start=True, max_iter=5, tol=None)
    union = FeatureUnion([("sgd", Scores(sgd))])
    pipeline = make_pipeline(union, GaussianRatio()).fit(X, Y)
    expected = pipeline.decision_function(X)
    with pytest.raises(ValueError, match="classes"):
        pipeline.fit(-X, np.arange(len(X)) % 3)
    np.testing.assert_array_equal(pipeline.decision_function(X), expected)


class Scores(BaseEstimator, TransformerMixin):
    """Scores of a classifier that is fitted in place, on two labels of whatever y."""

    def __init__(self, classifier):
        self.classifier = classifier

    def fit(self, X, y):
        self.classifier.fit(X, np.asarray(y) > 0)
        return self

    def __sklearn_is_fitted__(self):
        return hasattr(self.classifier, "coef_")

    def transform(self, X):
        return self.classifier.decision_function(X)[:, None]


@pytest.mark.parametrize(
    "estimator",
    [
        MLPRatio(warm_start=True, **QUICK),
        FlowClassifierRatio(
            flow="realnvp", n_transforms=1, warm_start=True, batch_size=64, **QUICK
        ),
    ],
    ids=lambda each: type(each).__name__,
)
def test_warm_starts_go_on_with_a_copy(estimator):
    callbacks = pytest.importorskip("skorch.callbacks")

    class Fails(callbacks.Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise InjectedError("second epoch")

    fitted = clone(estimator).fit(X, Y)
    before, expected = fitted_attributes(fitted), fitted.decision_function(X)
    fitted.set_params(callbacks=[("fails", Fails())])
    with pytest.raises(InjectedError, match="second epoch"):
        fitted.fit(OTHER, OTHER_Y)
    assert_unchanged(fitted, before, expected)


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_callable_may_give_one_flow_again_and_again(warm_start):
    zuko = pytest.importorskip("zuko")
    flow = zuko.flows.NICE(2, transforms=1, hidden_features=(4,))
    state = {name: value.clone() for name, value in flow.state_dict().items()}
    fitted = FlowClassifierRatio(
        flow=lambda _: flow, marginals="standardize", warm_start=warm_start, **QUICK
    ).fit(X, Y)
    expected = fitted.decision_function(X)
    fitted.random_state = None
    FlowClassifierRatio(flow=lambda _: flow, marginals="standardize", **QUICK).fit(
        OTHER, OTHER_Y
    )
    np.testing.assert_array_equal(fitted.decision_function(X), expected)
    assert all((flow.state_dict()[name] == state[name]).all() for name in state)


def test_a_given_network_is_left_as_it_is():
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def forward(self, x, t):
            return self.layer(torch.cat([x, t], dim=1))

    network = Net()
    weight = network.layer.weight.detach().clone()
    TimeScoreRatio(network=network, max_iter=20, random_state=0).fit(X, Y)
    assert (network.layer.weight == weight).all()


# --- Ctrl-C -----------------------------------------------------------------------


class Interrupted(DensityRatioMixin, BaseEstimator):
    """Interrupted before its results are set, or after."""

    def __init__(self, when=None):
        self.when = when

    def fit(self, X, y, sample_weight=None):
        samples = split_samples(self, X, y, sample_weight)
        if self.when == "before":
            raise KeyboardInterrupt
        self.classes_ = samples.classes
        self.mean_ = np.mean(X)
        if self.when == "after":
            raise KeyboardInterrupt
        return self

    def decision_function(self, X):
        return self._validate_rows(X)[:, 0] - self.mean_


def test_ctrl_c_before_the_results():
    fresh = Interrupted("before")
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(X, Y)
    assert vars(fresh) == {"when": "before"}
    fitted = Interrupted().fit(X, Y)
    before, expected = fitted_attributes(fitted), fitted.decision_function(X)
    with pytest.raises(KeyboardInterrupt):
        fitted.set_params(when="before").fit(X[:, :1] + 5, Y)
    assert_unchanged(fitted, before, expected)


def test_ctrl_c_after_the_results():
    for estimator in (Interrupted("after"), Interrupted().fit(X, Y)):
        estimator.set_params(when="after")
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(X[:, :1] + 5, Y)
        assert estimator.n_features_in_ == 1
        assert estimator.mean_ == np.mean(X[:, :1] + 5)


def test_ctrl_c_in_a_pipeline():
    for when, shift in (("before", 0.0), ("after", 5.0)):
        scaler = StandardScaler(with_std=False)
        pipeline = make_pipeline(scaler, Interrupted()).fit(X, Y)
        pipeline.set_params(interrupted__when=when)
        with pytest.raises(KeyboardInterrupt):
            pipeline.fit(X + 5, Y)
        np.testing.assert_allclose(scaler.mean_, np.mean(X, axis=0) + shift)


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
def test_other_ends_are_failures(error, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    fitted = GaussianRatio().fit(X, Y)
    moments = fitted.moments_
    monkeypatch.setattr("skdre.classification._gaussian.shrunk_moments", fail)
    with pytest.raises(error):
        fitted.fit(OTHER[:, :1], OTHER_Y)
    assert fitted.n_features_in_ == 2
    assert fitted.moments_ is moments


# --- the wrapper ------------------------------------------------------------------


class Counts(AtomicFitMixin, BaseEstimator):
    """Everything that fits, each way with a failure."""

    def __init__(self, fail=False):
        self.fail = fail

    def fit(self, X, y=None, *, weights=None):
        """Count the rows."""
        return self._count(len(X))

    def partial_fit(self, X, y=None):
        return self._count(len(X) + getattr(self, "n_rows_", 0))

    def fit_transform(self, X, y=None):
        self.fit(X)
        if self.fail == "transform":
            raise InjectedError("transform")
        return X

    def fit_predict(self, X, y=None):
        return self.fit_transform(X)

    def _count(self, n_rows):
        self.n_rows_ = n_rows
        if self.fail is True:
            raise InjectedError("count")
        return self


@pytest.mark.parametrize(
    ("method", "fail"),
    [
        ("fit", True),
        ("partial_fit", True),
        ("fit_transform", "transform"),
        ("fit_predict", "transform"),
    ],
)
def test_every_method_that_fits(method, fail):
    for estimator, n_rows in ((Counts(), None), (Counts().fit(X), len(X))):
        estimator.set_params(fail=fail)
        with pytest.raises(InjectedError):
            getattr(estimator, method)(X[:5])
        assert getattr(estimator, "n_rows_", None) == n_rows
    assert Counts().fit(X).partial_fit(X).n_rows_ == 2 * len(X)


class CallsSuper(Counts):
    def fit(self, X, y=None, *, weights=None):
        super().fit(X)
        raise InjectedError("after super")


def test_failures_after_the_fit_of_a_base_class():
    estimator = CallsSuper()
    with pytest.raises(InjectedError, match="after super"):
        estimator.fit(X)
    assert vars(estimator) == {"fail": False}


def test_signatures_docstrings_and_routing_stay():
    assert list(inspect.signature(Counts.fit).parameters) == [
        "self",
        "X",
        "y",
        "weights",
    ]
    assert Counts.fit.__doc__ == "Count the rows."
    assert Counts.fit.__qualname__ == "Counts.fit"
    for name, estimator in all_estimators():
        parameters = inspect.signature(estimator.fit).parameters
        assert {"self", "X"} <= set(parameters), name
    with sklearn.config_context(enable_metadata_routing=True):
        ratio = GaussianRatio().set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, ratio)
        weight = np.where(X[:, 0] > 0, 2.0, 1.0)
        weighted = pipeline.fit(X, Y, sample_weight=weight).decision_function(X)
        plain = clone(pipeline).fit(X, Y).decision_function(X)
    assert not np.allclose(weighted, plain)


def test_pipelines_have_the_methods_of_their_last_step():
    assert not hasattr(make_pipeline(StandardScaler(), GaussianRatio()), "fit_predict")
    assert not hasattr(
        make_pipeline(StandardScaler(), GaussianRatio()), "fit_transform"
    )
    pipeline = make_pipeline(FailsIfWide(), StandardScaler())
    np.testing.assert_allclose(
        pipeline.fit_transform(X), StandardScaler().fit_transform(X)
    )
    mean = pipeline[-1].mean_
    with pytest.raises(InjectedError):
        pipeline.fit_transform(WIDE)
    assert pipeline[-1].mean_ is mean
