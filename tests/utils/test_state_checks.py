"""Predictions follow the fit, not parameters that were set after it."""

from numbers import Real

import numpy as np
import pytest
from instances import fit_arguments, make_instances
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import Interval, StrOptions

from skdre import (
    AlignedClassifier,
    ClassifierRatio,
    Dequantizer,
    FlowFeaturizer,
    GaussianRatio,
    ImportanceWeighted,
    KMMRatio,
    LikelihoodRatioAligner,
    LSIFRatio,
    TargetedSampler,
    TelescopingRatio,
    TimeScoreRatio,
    make_pipeline,
)
from skdre.base import DensityRatioMixin
from skdre.datasets import make_warped_shift
from skdre.time_score import RK45, GaussLegendre
from skdre.utils._check_tools import seeded
from skdre.utils._other_values import other_values
from skdre.utils._state_checks import assert_parameters_do_not_matter

X, Y = make_warped_shift(60, 2, random_state=0).pool()
PIXELS = np.abs(np.round(9 * X))

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*still (fell|rose):Warning"),
    pytest.mark.filterwarnings("ignore:.*separates"),
    pytest.mark.filterwarnings("ignore:.*effective sample size"),
    pytest.mark.filterwarnings("ignore:.*log-likelihood ratio"),
    pytest.mark.filterwarnings("ignore:The integral over time is not accurate"),
]

QUICK = {"max_iter": 20, "max_epochs": 2, "n_steps": 1}

NETWORK = {"hidden_features": (8,), "max_iter": 5}
SPECIAL = [
    TimeScoreRatio("ctsm-v", path="bridge", **NETWORK),
    TimeScoreRatio(
        "fokker-planck",
        path="vpsde",
        denominator="gaussian",
        # Its derivatives take most of the time.
        base_score=None,
        integrator=GaussLegendre(4),
        **NETWORK,
    ),
    TargetedSampler(
        FlowFeaturizer("gaussian"), GaussianRatio(), space="data", target="denominator"
    ),
    make_pipeline(StandardScaler(), LSIFRatio(alpha=0.1, gamma=0.5, ridge=0.1)),
]


def fitted_quickly(estimator):
    params = estimator.get_params(deep=False)
    fewer = {key: value for key, value in QUICK.items() if params.get(key, 0) > value}
    arguments = fit_arguments(estimator, X, Y)
    return seeded(estimator).set_params(**fewer).fit(**arguments), arguments["X"]


@pytest.mark.parametrize(
    "estimator",
    # The contract's checks look at ratios.
    [
        *(each for each in make_instances() if not isinstance(each, DensityRatioMixin)),
        *SPECIAL,
    ],
    ids=lambda each: type(each).__name__,
)
def test_parameters_set_after_fit_do_not_matter(estimator):
    fitted, rows = fitted_quickly(estimator)
    score = {"X": X[::6], "y": Y[::6]}
    tried = assert_parameters_do_not_matter("", fitted, rows[::100], **score)
    exempt = {"n_jobs", "verbose", "device", "batch_size", "memory", "network"}
    exempt |= {"dequantizer"}
    if not isinstance(estimator, Pipeline):
        declared = set(type(estimator)._parameter_constraints)
        assert declared - set(tried) <= exempt


# --- what was read before -----------------------------------------------------------


def test_share_of_the_relative_ratio():
    ratio = LSIFRatio(alpha=0.3, random_state=0).fit(X, Y)
    log_ratio, relative = ratio.decision_function(X), ratio.predict_relative_ratio(X)
    ratio.set_params(alpha=0.0)
    assert ratio.alpha_ == 0.3
    np.testing.assert_array_equal(ratio.decision_function(X), log_ratio)
    np.testing.assert_array_equal(ratio.predict_relative_ratio(X), relative)
    np.testing.assert_allclose(relative, 1 / (0.3 + 0.7 / np.exp(log_ratio)))


def test_bound_of_the_weights():
    ratio = KMMRatio(B=2.0, gamma=0.5).fit(X, Y)
    assert ratio.B_ == 2.0
    assert ratio.set_params(B=1000.0).predict_ratio(X).max() <= 2 * (1 + 1e-12)


@pytest.mark.parametrize(
    "params",
    [
        {"objective": "tsm"},
        {"objective": "ctsm-v"},
        {"denominator": "sample"},
        {"integrator": RK45(0.1)},
        {"integrator__n_nodes": 2},
    ],
    ids=str,
)
def test_settings_of_a_time_score(params):
    ratio = TimeScoreRatio(
        "fokker-planck",
        path="vpsde",
        denominator="gaussian",
        integrator=GaussLegendre(),
        **NETWORK,
    )
    ratio.set_params(random_state=0).fit(X, Y)
    times = [0.2, 0.7]
    log_ratio, score = ratio.decision_function(X[:3]), ratio.time_score(X[:3], times)
    ratio.set_params(**params)
    np.testing.assert_array_equal(ratio.decision_function(X[:3]), log_ratio)
    np.testing.assert_array_equal(ratio.time_score(X[:3], times), score)


@pytest.mark.parametrize("moving", ["denominator", "numerator"])
def test_moving_sample(moving):
    aligner = LikelihoodRatioAligner(moving=moving).fit(X, Y)
    score = aligner.score(X, Y)
    other = {"denominator": "numerator", "numerator": "denominator"}[moving]
    assert aligner.set_params(moving=other).score(X, Y) == score
    assert aligner.moving_ == moving


def test_kind_of_the_classifier():
    """A frame goes to a given classifier as it is, and not to the default one."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["a", "b"])
    for estimator, other in (
        (None, LogisticRegression()),
        (LogisticRegression(), None),
    ):
        ratio = ClassifierRatio(estimator).fit(frame, Y)
        log_ratio = ratio.decision_function(frame)
        ratio.set_params(estimator=other)
        np.testing.assert_array_equal(ratio.decision_function(frame), log_ratio)
        with pytest.raises(ValueError, match="NaN"):
            ratio.decision_function(frame * np.nan)


@pytest.mark.parametrize("model", [ImportanceWeighted, AlignedClassifier])
def test_score_of_another_kind_of_estimator(model):
    fitted = model(LogisticRegression()).fit(X, Y, X_target=X[::3] + 0.1)
    score = fitted.score(X, Y)
    assert fitted.set_params(estimator=Ridge()).score(X, Y) == score


def test_noise_of_pixels():
    pixels = Dequantizer(n_levels=64, random_state=0).fit(PIXELS)
    noisy = pixels.transform(PIXELS)
    pixels.set_params(n_levels=128, alpha=0.1, random_state=1)
    np.testing.assert_array_equal(pixels.transform(PIXELS), noisy)
    np.testing.assert_array_equal(pixels.inverse_transform(noisy), PIXELS)
    assert (pixels.n_levels_, pixels.alpha_, pixels.random_state_) == (64, 1e-6, 0)


# --- the values ---------------------------------------------------------------------


class Declares(BaseEstimator):
    _parameter_constraints = {  # noqa: RUF012
        "share": [Interval(Real, 0, 1, closed="both"), None],
        "kind": [StrOptions({"a", "b", "c"})],
        "flag": ["boolean"],
        "n_jobs": [int, None],
        "inner": "no_validation",
    }

    def __init__(self, share=0.5, kind="a", flag=True, n_jobs=None, inner=None):
        self.share = share
        self.kind = kind
        self.flag = flag
        self.n_jobs = n_jobs
        self.inner = inner


class DeclaresNothing(BaseEstimator):
    def __init__(self, n=3, scale=2.5, on=False, name="x"):
        self.n = n
        self.scale = scale
        self.on = on
        self.name = name


def test_values_are_those_declared():
    values = dict(other_values(Declares(inner=GaussianRatio())))
    of_inner = {f"inner__{name}" for name in ("shrink", "tails", "cv", "decay")}
    assert set(values) == {"share", "kind", "flag", "inner"} | of_inner
    assert set(values["kind"]) == {"b", "c"}
    assert values["flag"] == [False]
    assert None in values["share"]
    numbers = [each for each in values["share"] if each is not None]
    assert len(numbers) == 3
    assert all(0 <= each <= 1 and each != 0.5 for each in numbers)


def test_values_of_the_type_where_nothing_is_declared():
    values = dict(other_values(DeclaresNothing()))
    assert set(values) == {"n", "scale", "on"}
    assert values["on"] == [True]
    assert all(isinstance(each, int) and each != 3 for each in values["n"])


def test_steps_of_others_are_left_alone():
    pipeline = make_pipeline(StandardScaler(), TelescopingRatio(GaussianRatio()))
    names = set(dict(other_values(pipeline)))
    assert "telescopingratio__n_bridges" in names
    assert "telescopingratio__estimator__shrink" in names
    assert not any(name.startswith("standardscaler") for name in names)
    assert not names & {"steps", "telescopingratio", "memory", "verbose"}
