"""Under array API dispatch results follow the library and the device of what came.

The truth is what NumPy says.
"""

import numpy as np
import pytest
from libraries import LIBRARIES, library
from sklearn import config_context

from skdre import pool, weighting
from skdre.base import exp_log_ratio, log_of_ratio, pool_rows
from skdre.metrics import (
    kliep_score,
    log_ratio_mse,
    lsif_loss,
    ratio_log_loss,
    ratio_rank_correlation,
)


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


def test_a_library_without_what_is_needed():
    class Poor:
        """Arrays of a library that nobody knows."""

        shape, dtype = (2,), "float"

        def __array_namespace__(self, api_version=None):
            return np.linalg

    with pytest.raises(TypeError, match=r"Poor.*lack.*numpy\.asarray"):
        weighting.self_normalize(Poor())
