"""Under array API dispatch results follow the library and the device of what came.

The truth is what NumPy says.
"""

import importlib
import os
import pickle
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from libraries import LIBRARIES, library
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from skdre import (
    FlowClassifierRatio,
    FlowFeaturizer,
    GaussianRatio,
    KLIEPRatio,
    KMMRatio,
    LSIFRatio,
    MLPRatio,
    MultinomialRatio,
    TelescopingRatio,
    TimeScoreRatio,
    pool,
    predict_log_ratio,
    weighting,
)
from skdre.base import ArrayAPIMixin, exp_log_ratio, log_of_ratio, pool_rows
from skdre.datasets import make_warped_shift
from skdre.metrics import (
    get_scorer,
    kliep_score,
    log_ratio_mse,
    lsif_loss,
    ratio_log_loss,
    ratio_rank_correlation,
)
from skdre.utils import all_estimators, trusted_types


@pytest.fixture(params=LIBRARIES, ids=lambda each: "-".join(map(str, each)))
def lib(request):
    return library(*request.param)


@pytest.fixture
def elsewhere(lib):
    """A library and device other than `lib`'s."""
    for name, device in (("torch", "cpu"), ("array_api_strict", "CPU_DEVICE")):
        if name != lib.name:
            return library(name, device)
    raise AssertionError


@pytest.fixture(autouse=True)
def dispatch():
    if os.environ.get("SCIPY_ARRAY_API") != "1":
        pytest.skip("array API dispatch needs scipy 1.14")
    with config_context(array_api_dispatch=True):
        yield


LOG_RATIO = np.random.default_rng(0).normal(0, 2, 50)
WEIGHT = np.arange(50) % 4 / 2
IS_NUMERATOR = np.arange(50) % 2 == 0

WEIGHTING = {
    "self_normalize": lambda w, a: weighting.self_normalize(w, total="n_samples"),
    "flatten": lambda w, a: weighting.flatten(w, 0.5),
    "clip": lambda w, a: weighting.clip(w, 1.2, lower=0.1),
    "importance": lambda w, a: weighting.importance_weights(
        a, sample_weight=w, flattening=0.7, clip=3.0
    ),
    "importance, a number each": lambda w, a: weighting.importance_weights(
        a * 1e4, flattening=0, normalize=False
    ),
    "importance, overflow": lambda w, a: weighting.importance_weights(
        a * 1e4, normalize=False
    ),
    "mixture p": lambda w, a: weighting.mixture_weights(a, 0.3),
    "mixture q": lambda w, a: weighting.mixture_weights(a, 0.3, target="denominator"),
    "resample": lambda w, a: weighting.resample(w, 7, random_state=0),
    "resample, once": lambda w, a: weighting.resample(
        w, 7, replace=False, random_state=0
    ),
    "exp": lambda w, a: exp_log_ratio(a * 1e4),
    "log": lambda w, a: log_of_ratio(w),
}


@pytest.mark.parametrize("name", WEIGHTING)
def test_weights_follow(lib, name):
    function = WEIGHTING[name]
    expected = function(WEIGHT, LOG_RATIO)
    found = lib.get(function(lib.put(WEIGHT), lib.put(LOG_RATIO)))
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)


def test_weights_of_single_precision(lib):
    """Computed in double precision, where the device has it, as in NumPy."""
    weight = WEIGHT.astype(np.float32)
    found = weighting.self_normalize(lib.put(weight))
    np.testing.assert_allclose(
        lib.get(found), weighting.self_normalize(weight), rtol=1e-12
    )
    assert weighting.effective_sample_size(lib.put(weight)) == pytest.approx(
        weighting.effective_sample_size(weight), rel=1e-12
    )


def test_sample_weight_goes_to_the_log_ratio(lib, elsewhere):
    expected = weighting.importance_weights(LOG_RATIO, sample_weight=WEIGHT)
    for weight in (elsewhere.put(WEIGHT), WEIGHT, WEIGHT.tolist()):
        found = weighting.importance_weights(lib.put(LOG_RATIO), sample_weight=weight)
        np.testing.assert_allclose(lib.get(found), expected, rtol=1e-12)


def test_bad_weights_are_refused(lib):
    for values, message in (
        ([-1.0, 2.0], "must not be negative"),
        ([np.nan, 2.0], "must be finite"),
        ([0.0, 0.0], "all zero"),
        ([[1.0]], r"shape \(n_samples,\), got shape \(1, 1\)"),
        (np.zeros(0), "is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            weighting.self_normalize(lib.put(values))
    with pytest.raises(TypeError, match="must hold real numbers"):
        weighting.self_normalize(lib.put([1.0 + 1.0j]))
    with pytest.raises(ValueError, match="NaN or plus infinity"):
        weighting.importance_weights(lib.put([np.inf, 0.0]))


LOSSES = {
    "log loss": lambda z, a, w: ratio_log_loss(z, a, sample_weight=w),
    "lsif": lambda z, a, w: lsif_loss(z, a, sample_weight=w),
    "kliep": lambda z, a, w: kliep_score(z, a, sample_weight=w),
    "mse": lambda z, a, w: log_ratio_mse(a, 2 * a, sample_weight=w),
    "rank": lambda z, a, w: ratio_rank_correlation(a, a**2, sample_weight=w),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(lib, name):
    """A number, from arrays of any library, and of several."""
    loss = LOSSES[name]
    expected = loss(IS_NUMERATOR, LOG_RATIO, WEIGHT)
    there = lib.put(LOG_RATIO)
    for others in (
        (lib.put(IS_NUMERATOR), lib.put(WEIGHT)),
        (IS_NUMERATOR, WEIGHT.tolist()),
    ):
        found = loss(others[0], there, others[1])
        assert type(found) is float
        assert found == pytest.approx(expected, rel=1e-12)


def test_pool(lib, elsewhere):
    p, q = np.arange(6.0).reshape(3, 2), np.ones((2, 2))
    X, y = pool(numerator=lib.put(p), denominator=lib.put(q))
    np.testing.assert_array_equal(lib.get(X), np.concatenate([p, q]))
    np.testing.assert_array_equal(lib.get(y), [1, 1, 1, 0, 0])
    with pytest.raises(ValueError, match=r"one library on one device.*move one"):
        pool_rows(lib.put(p), elsewhere.put(q))
    with pytest.raises(ValueError, match="same number of columns"):
        pool_rows(lib.put(p), lib.put(q[:, :1]))


def test_without_dispatch_nothing_follows(lib):
    if lib.name == "array_api_strict" or lib.device == "cuda":
        pytest.skip("numpy.asarray does not take them")
    with config_context(array_api_dispatch=False):
        for name, function in WEIGHTING.items():
            if name not in ("exp", "log"):
                found = function(lib.put(WEIGHT), lib.put(LOG_RATIO))
                expected = function(WEIGHT, LOG_RATIO)
                assert isinstance(found, np.ndarray)
                np.testing.assert_array_equal(found, expected)


def test_without_dispatch_a_device_is_refused():
    lib = library("array_api_strict", "device1")
    X, y = POOLED
    fitted = GaussianRatio().fit(X, y)
    with config_context(array_api_dispatch=False):
        for call in (
            lambda: fitted.predict(lib.put(X)),
            lambda: GaussianRatio().fit(lib.put(X), y),
            lambda: GaussianRatio().fit(X, lib.put(y)),
            lambda: fitted.score(X, lib.put(y)),
            lambda: weighting.clip(lib.put(WEIGHT), 1.0),
            lambda: ratio_log_loss(lib.put(IS_NUMERATOR), LOG_RATIO),
        ):
            with pytest.raises(TypeError, match=r"device1.*array_api_dispatch=True"):
                call()


def test_a_library_without_what_is_needed():
    class Poor:
        """Arrays of a library that nobody knows."""

        shape, dtype = (2,), "float"

        def __array_namespace__(self, api_version=None):
            return np.linalg

    with pytest.raises(TypeError, match=r"Poor.*lack.*numpy\.asarray"):
        weighting.self_normalize(Poor())


def heavy_tails():
    """Rows on which GaussianRatio takes t distributions."""
    rng = np.random.default_rng(0)
    X = rng.standard_t(2, (800, 2)) + (np.arange(800) % 2)[:, None]
    return X, np.arange(800) % 2


SHIFT = make_warped_shift(120, 3, random_state=0)
POOLED = SHIFT.pool()
WEIGHTS = np.random.default_rng(0).uniform(0.5, 2.0, 240)
SIGNED = np.where(np.arange(240) % 9 == 0, -0.3, 1.0)
# Above 16 columns distances come from a product, which cancels where rows are close.
WIDE = make_warped_shift(60, 18, random_state=0).pool()
HEAVY = heavy_tails()

FITS = {
    "Gaussian": (GaussianRatio(), *POOLED, WEIGHTS),
    "Gaussian, heavy tails": (GaussianRatio(), *HEAVY, None),
    "LSIF": (LSIFRatio(random_state=0), *POOLED, WEIGHTS),
    "LSIF, signed": (
        LSIFRatio(allow_negative_weight=True, random_state=0),
        *POOLED,
        SIGNED,
    ),
    "LSIF, its own loss": (
        LSIFRatio(
            alpha=0.0,
            scoring="lsif_loss",
            intercept=False,
            standardize=False,
            random_state=0,
        ),
        *POOLED,
        None,
    ),
    "LSIF, wide": (LSIFRatio(random_state=0), *WIDE, None),
    "KMM": (KMMRatio(random_state=0), *POOLED, WEIGHTS),
    "KMM, features": (
        KMMRatio(solver="nystroem", n_components=50, random_state=0),
        *POOLED,
        WEIGHTS,
    ),
    "KMM, features, mean 1": (
        KMMRatio(solver="nystroem", n_components=50, eps=0.0, random_state=0),
        *WIDE,
        None,
    ),
    "KMM, no ridge": (KMMRatio(ridge=0.0, random_state=0), *POOLED, None),
}
METHODS = (
    "decision_function",
    "predict_ratio",
    "predict_proba",
    "predict_log_proba",
    "predict",
)


@pytest.fixture(scope="module")
def in_numpy():
    """Fits to NumPy's arrays, without dispatch."""
    return {
        name: clone(estimator).fit(X, y, weight)
        for name, (estimator, X, y, weight) in FITS.items()
    }


@pytest.mark.parametrize("name", FITS)
def test_estimators_follow(lib, name, in_numpy):
    estimator, X, y, weight = FITS[name]
    expected = in_numpy[name]
    fitted = clone(estimator).fit(
        lib.put(X), lib.put(y), None if weight is None else lib.put(weight)
    )
    for method in METHODS:
        found = lib.get(getattr(fitted, method)(lib.put(X)))
        truth = getattr(expected, method)(X)
        assert found.dtype == truth.dtype
        np.testing.assert_allclose(found, truth, rtol=1e-6, atol=1e-7)
    score = fitted.score(lib.put(X), lib.put(y), lib.put(WEIGHTS[:1] + 0 * y))
    assert type(score) is float
    assert score == pytest.approx(expected.score(X, y), rel=1e-7)
    for attribute, value in vars(expected).items():
        if isinstance(value, np.ndarray) and attribute != "classes_":
            found = lib.get(getattr(fitted, attribute))
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-6)
    # Without dispatch rows of NumPy are taken, and results are NumPy's.
    with config_context(array_api_dispatch=False):
        found = fitted.decision_function(X)
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(
            found, expected.decision_function(X), rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize("name", ["Gaussian", "LSIF", "KMM, features"])
def test_single_precision(lib, name):
    """Rows are rounded, and then computed with in double precision."""
    estimator, X, y, weight = FITS[name]
    X = X.astype(np.float32)
    expected = clone(estimator).fit(X, y, weight)
    fitted = clone(estimator).fit(lib.put(X), lib.put(y), lib.put(weight))
    found = lib.get(fitted.decision_function(lib.put(X)))
    assert found.dtype == np.float64
    np.testing.assert_allclose(
        found, expected.decision_function(X), rtol=1e-6, atol=1e-7
    )


def test_many_rows(lib, monkeypatch):
    """What they bring about: a pilot, single precision, many blocks, a search on some.

    Limits are set to what few rows are beyond.
    """
    X, y = make_warped_shift(400, 3, random_state=1).pool()
    limits = {
        "matching._DOUBLE_ENTRIES": 100,
        "matching._FEATURE_BYTES": 100,
        "matching._PILOT_ROWS": 100,
        "_gaussian._DEVICE_ENTRIES": 2000,
        "_gaussian._BLOCK_ENTRIES": 2000,
        "_centers._DEVICE_ENTRIES": 2000,
        "_centers._DISTANCE_ENTRIES": 2000,
    }
    for name, value in limits.items():
        monkeypatch.setattr(f"skdre.kernel._{name.removeprefix('_')}", value)
    monkeypatch.setattr("skdre.kernel._lsif.SEARCH_ROWS", 200)
    monkeypatch.setattr("skdre.kernel._search.SEARCH_ROWS", 200)
    monkeypatch.setattr("skdre.classification._gaussian_sums._DEVICE_NUMBERS", 200)
    features = {"solver": "nystroem", "n_components": 20, "random_state": 0}
    for estimator, rounding in (
        (KMMRatio(**features), 1e-6),
        # Where the band binds features are formed, in single precision.
        (KMMRatio(eps=0.0, **features), 2e-4),
        (LSIFRatio(random_state=0), 1e-6),
        (GaussianRatio(), 1e-6),
    ):
        expected = clone(estimator).fit(X, y).predict_ratio(X)
        fitted = estimator.fit(lib.put(X), lib.put(y))
        found = lib.get(fitted.predict_ratio(lib.put(X)))
        np.testing.assert_allclose(found, expected, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("name", ["Gaussian", "LSIF", "KMM"])
def test_rows_from_elsewhere_are_refused(lib, elsewhere, name):
    estimator, X, y, weight = FITS[name]
    # Labels and weights go with the rows.
    fitted = clone(estimator).fit(lib.put(X), elsewhere.put(y), elsewhere.put(weight))
    expected = clone(estimator).fit(lib.put(X), lib.put(y), lib.put(weight))
    there = lib.put(X)
    found = lib.get(fitted.decision_function(there))
    np.testing.assert_array_equal(found, lib.get(expected.decision_function(there)))
    assert fitted.score(there, elsewhere.put(y)) == fitted.score(there, y)
    for method in METHODS:
        message = (
            rf"{type(fitted).__name__}\.{method}\(\).*Move X there, as with .*asar"
        )
        with pytest.raises(ValueError, match=message):
            getattr(fitted, method)(elsewhere.put(X))
    with pytest.raises(ValueError, match=r"\.score\(\) must use the same namespace"):
        fitted.score(elsewhere.put(X), y)


def test_devices_are_not_mixed():
    one, other = (library("array_api_strict", each) for each in ("device1", "device2"))
    fitted = GaussianRatio().fit(one.put(POOLED[0]), one.put(POOLED[1]))
    with pytest.raises(ValueError, match=r"on the device .*device1.*device2"):
        fitted.predict_ratio(other.put(POOLED[0]))


def test_labels_may_be_words(lib):
    X, y = POOLED
    words = np.where(y == 1, "new", "old")
    for estimator in (GaussianRatio(), LSIFRatio(gamma=0.5, ridge=0.1)):
        fitted = estimator.fit(lib.put(X), words)
        found = fitted.predict(lib.put(X))
        assert isinstance(found, np.ndarray)
        assert set(found) == {"new", "old"}
        assert type(fitted.score(lib.put(X), words)) is float


@pytest.mark.parametrize("name", ["Gaussian", "LSIF"])
def test_portions(lib, name):
    estimator, X, y, _ = FITS[name]
    expected = clone(estimator).fit(X, y).partial_fit(X[::2], y[::2])
    fitted = clone(estimator).fit(lib.put(X), lib.put(y))
    fitted.partial_fit(lib.put(X[::2]), lib.put(y[::2]))
    found = lib.get(fitted.decision_function(lib.put(X)))
    np.testing.assert_allclose(
        found, expected.decision_function(X), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("name", ["Gaussian", "LSIF", "KMM"])
def test_saved_estimators_predict(lib, name, monkeypatch):
    estimator, X, y, weight = FITS[name]
    fitted = clone(estimator).fit(lib.put(X), lib.put(y), lib.put(weight))
    expected = lib.get(fitted.predict_ratio(lib.put(X)))
    saved = [(pickle.loads, pickle.dumps(fitted))]
    if sio := importlib.util.find_spec("skops") and importlib.import_module("skops.io"):
        load = partial(sio.loads, trusted=trusted_types())
        saved.append((load, sio.dumps(fitted)))
    for load, content in saved:
        again = load(content)
        np.testing.assert_array_equal(
            lib.get(again.predict_ratio(lib.put(X))), expected
        )
        assert vars(again).keys() == vars(fitted).keys()
    # Where the library or the device is not at hand the arrays are NumPy's.
    monkeypatch.setattr("skdre._core.arrays._named_place", lambda *name: None)
    for load, content in saved:
        found = load(content).predict_ratio(X)
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_bad_rows_are_refused(lib):
    X, y = POOLED
    fitted = GaussianRatio().fit(lib.put(X), lib.put(y))
    bad = X.copy()
    bad[3, 1] = np.nan
    for call in (
        lambda: fitted.predict_ratio(lib.put(bad)),
        lambda: GaussianRatio().fit(lib.put(bad), lib.put(y)),
    ):
        with pytest.raises(ValueError, match=r"contains NaN[\s\S]*is column 1: impute"):
            call()
    with pytest.raises(ValueError, match="has 2 features, but GaussianRatio"):
        fitted.predict(lib.put(X[:, :2]))
    with pytest.raises(ValueError, match="Complex data not supported"):
        fitted.predict(lib.put(X + 1j))
    with pytest.raises(ValueError, match="Expected 2D array"):
        fitted.predict(lib.put(X[0]))
    with pytest.raises(NotFittedError):
        GaussianRatio().predict(lib.put(X))


def test_whole_numbers_are_taken(lib):
    X, y = (
        (np.arange(40) % 7)[:, None] + (np.arange(40) % 2)[:, None],
        np.arange(40) % 2,
    )
    expected = LSIFRatio(gamma=0.1, ridge=0.1).fit(X, y).decision_function(X)
    fitted = LSIFRatio(gamma=0.1, ridge=0.1).fit(lib.put(X), lib.put(y))
    found = lib.get(fitted.decision_function(lib.put(X)))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_others_take_tensors(lib):
    """Estimators that do not follow the rows compute in NumPy."""
    X, y = POOLED
    expected = KLIEPRatio(gamma=0.1, n_components=10, random_state=0).fit(X, y)
    fitted = clone(expected).fit(lib.put(X), lib.put(y))
    np.testing.assert_array_equal(
        fitted.decision_function(lib.put(X)), expected.decision_function(X)
    )


TINY = {"hidden_features": (4,), "max_iter": 2, "random_state": 0}
NETWORKS = [
    MLPRatio(n_estimators=2, **TINY),
    TelescopingRatio(n_bridges=2, n_estimators=1, **TINY),
    TelescopingRatio(GaussianRatio(), n_bridges=1, random_state=0),
    MultinomialRatio(n_bridges=1, n_estimators=1, **TINY),
    TimeScoreRatio(**TINY),
    FlowClassifierRatio(
        n_estimators=1, n_transforms=1, flow_hidden_features=(4,), **TINY
    ),
    FlowFeaturizer(
        "realnvp", n_transforms=1, hidden_features=(4,), max_epochs=1, random_state=0
    ),
]
OF_ROWS = (*METHODS, "log_ratios", "transform", "score_samples", "integration_error")


@pytest.mark.filterwarnings("ignore:.*still (fell|rose):Warning")
@pytest.mark.filterwarnings("ignore:The integral over time")
@pytest.mark.parametrize("estimator", NETWORKS, ids=lambda each: type(each).__name__)
def test_networks_take_and_give_tensors(lib, estimator):
    X, y = POOLED
    expected = clone(estimator).fit(X, y)
    fitted = clone(estimator).fit(lib.put(X), lib.put(y))
    tried = [method for method in OF_ROWS if hasattr(fitted, method)]
    assert tried
    for method in tried:
        found = lib.get(getattr(fitted, method)(lib.put(X)))
        truth = getattr(expected, method)(X)
        assert found.dtype == truth.dtype
        np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-9)
    if "transform" in tried:
        Z = lib.put(expected.transform(X))
        np.testing.assert_allclose(
            lib.get(fitted.inverse_transform(Z)), X, rtol=1e-5, atol=1e-6
        )
    assert type(fitted.score(lib.put(X), lib.put(y))) is float


def test_scorers(lib):
    X, y = POOLED
    fitted = GaussianRatio().fit(lib.put(X), lib.put(y))
    for name in ("neg_ratio_log_loss", "neg_lsif_loss", "kliep_score"):
        expected = get_scorer(name)(GaussianRatio().fit(X, y), X, y)
        found = get_scorer(name)(fitted, lib.put(X), lib.put(y))
        assert found == pytest.approx(expected, rel=1e-9)
    lib.get(predict_log_ratio(fitted, lib.put(X)))


def test_tag():
    with_support = {
        name
        for name, each in all_estimators("ratio")
        if issubclass(each, ArrayAPIMixin)
    }
    assert with_support == {"GaussianRatio", "KMMRatio", "LSIFRatio"}
    assert get_tags(KMMRatio()).array_api_support
    assert not get_tags(KLIEPRatio()).array_api_support


def test_the_page_of_the_documentation():
    """Its code, in one namespace."""
    path = Path(__file__).parent.parent / "doc" / "array_api.md"
    blocks = re.findall("```python\n(.*?)```", path.read_text(), re.DOTALL)
    assert len(blocks) == 2
    found = {}
    with config_context(array_api_dispatch=False):
        exec("\n".join(blocks), found)
    assert found["weights"].device == found["features"].device == found["source"].device
    assert float(found["weights"].sum()) == pytest.approx(1)
