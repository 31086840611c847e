"""Weights: exact small cases, and properties over arbitrary weights."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import trapezoid
from scipy.stats import chisquare, norm

from skdre.weighting import (
    clip,
    effective_sample_size,
    flatten,
    importance_weights,
    mixture_weights,
    resample,
    self_normalize,
)

MAX = np.finfo(float).max

# Zeros, subnormals, ordinary numbers and the largest floats alike.
any_weight = st.floats(0.0, MAX, allow_nan=False, allow_infinity=False)
any_weights = arrays(float, st.integers(1, 30), elements=any_weight)
some_positive = any_weights.filter(lambda weights: weights.any())
# Moderate weights, where a plain formula in float64 is an oracle.
moderate = arrays(float, st.integers(1, 30), elements=st.floats(1e-3, 1e3))
log_ratios = arrays(float, st.integers(1, 30), elements=st.floats(-1e4, 1e4))
seeds = st.integers(0, 2**32 - 1)


# -- self_normalize ---------------------------------------------------------------


@given(some_positive)
def test_self_normalize_sums_to_the_total(weights):
    for total, value in ((1.0, 1.0), (7.5, 7.5), ("n_samples", weights.size)):
        result = self_normalize(weights, total=total)
        assert np.isfinite(result).all()
        assert (result >= 0).all()
        assert_allclose(result.sum(), value, rtol=1e-12)


@given(moderate)
def test_self_normalize_is_the_formula(weights):
    assert_allclose(self_normalize(weights), weights / weights.sum(), rtol=1e-12)


@given(moderate, st.floats(1e-6, 1e6))
def test_self_normalize_forgets_the_scale(weights, scale):
    assert_allclose(self_normalize(weights * scale), self_normalize(weights), 1e-12)


def test_self_normalize_does_not_overflow():
    assert_allclose(self_normalize([MAX, MAX, 0.0]), [0.5, 0.5, 0.0])
    assert_allclose(self_normalize([5e-324, 5e-324]), [0.5, 0.5])


# -- flatten ----------------------------------------------------------------------


@given(moderate, st.floats(0, 3), st.floats(0, 3))
def test_flatten_is_a_power(weights, first, second):
    assert_allclose(flatten(weights, first), np.exp(first * np.log(weights)), 1e-10)
    assert_allclose(
        flatten(flatten(weights, first), second),
        flatten(weights, first * second),
        rtol=1e-10,
    )


@given(any_weights, st.floats(0, 10))
def test_flatten_keeps_order_and_stays_finite(weights, gamma):
    result = flatten(weights, gamma)
    assert np.isfinite(result).all()
    assert (np.diff(result[np.argsort(weights)]) >= 0).all()


@given(any_weights)
def test_flatten_at_one_and_at_zero(weights):
    assert_array_equal(flatten(weights, 1), weights)
    assert_array_equal(flatten(weights, 0), np.ones(weights.size))


@given(some_positive, st.floats(0, 1))
def test_flattening_never_lowers_the_effective_sample_size(weights, gamma):
    # With gamma > 0 zeros stay zero; the others come closer to one another.
    assume(gamma > 0)
    before = effective_sample_size(weights)
    assert effective_sample_size(flatten(weights, gamma)) >= before * (1 - 1e-9)


# -- clip -------------------------------------------------------------------------


@given(any_weights, st.floats(1e-6, 1e6), st.floats(0, 1))
def test_clip_is_the_nearest_weight_in_the_interval(weights, upper, fraction):
    lower = fraction * upper
    result = clip(weights, upper, lower=lower)
    for before, after in zip(weights, result, strict=True):
        assert after == min(max(before, lower), upper)


@given(some_positive, st.floats(1e-6, 1e6))
def test_clipping_never_lowers_the_effective_sample_size(weights, upper):
    assume((np.minimum(weights, upper) > 0).any())
    before = effective_sample_size(weights)
    assert effective_sample_size(clip(weights, upper)) >= before * (1 - 1e-9)


# -- effective_sample_size --------------------------------------------------------


@given(some_positive)
def test_effective_sample_size_is_bounded(weights):
    assert 1 <= effective_sample_size(weights) <= weights.size


@given(moderate)
def test_effective_sample_size_is_kish_formula(weights):
    expected = weights.sum() ** 2 / (weights**2).sum()
    assert_allclose(effective_sample_size(weights), expected, rtol=1e-10)


@given(st.integers(1, 50), st.integers(0, 50), any_weight.filter(bool))
def test_effective_sample_size_counts_equal_rows(n_rows, n_zeros, weight):
    weights = np.repeat([weight, 0.0], [n_rows, n_zeros])
    assert_allclose(effective_sample_size(weights), n_rows)


def test_effective_sample_size_predicts_the_variance_of_a_weighted_mean():
    rng = np.random.default_rng(0)
    weights = rng.lognormal(sigma=1.0, size=40)
    means = rng.normal(size=(40_000, 40)) @ self_normalize(weights)
    assert_allclose(1 / means.var(), effective_sample_size(weights), rtol=0.03)


# -- importance_weights -----------------------------------------------------------


@given(arrays(float, 8, elements=st.floats(-20, 20)), st.floats(0, 2))
def test_importance_weights_compose_the_steps(log_ratio, gamma):
    flat = flatten(np.exp(log_ratio), gamma)
    for limit in (None, 0.5, 3.0):
        steps = flat if limit is None else clip(flat, limit)
        got = importance_weights(
            log_ratio, flattening=gamma, clip=limit, normalize=False
        )
        assert_allclose(got, steps, rtol=1e-10)
        got = importance_weights(log_ratio, flattening=gamma, clip=limit)
        assert_allclose(got, self_normalize(steps, total="n_samples"), rtol=1e-10)


@given(log_ratios, st.floats(-1e4, 1e4))
def test_importance_weights_forget_the_scale_of_any_ratio(log_ratio, shift):
    weights = importance_weights(log_ratio)
    assert np.isfinite(weights).all()
    assert_allclose(weights.sum(), weights.size, rtol=1e-9)
    # Adding the shift rounds the logarithm itself, to about 4e-12.
    shifted = importance_weights(log_ratio + shift)
    assert_allclose(shifted, weights, rtol=1e-9, atol=1e-12)


@given(
    st.lists(
        st.tuples(st.floats(-5, 5), st.integers(0, 4)), min_size=1, max_size=10
    ).filter(lambda rows: any(count for _, count in rows)),
    st.sampled_from([None, 0.7]),
    st.booleans(),
)
def test_importance_weights_count_sample_weight_as_repetition(rows, limit, normalize):
    log_ratio, count = map(np.array, zip(*rows, strict=True))
    options = {"flattening": 0.8, "clip": limit, "normalize": normalize}
    weighted = importance_weights(log_ratio, sample_weight=count, **options)
    repeated = importance_weights(np.repeat(log_ratio, count), **options)
    owner = np.repeat(np.arange(len(rows)), count)
    expected = np.bincount(owner, repeated, minlength=len(rows))
    assert_allclose(weighted, expected, rtol=1e-10)


def test_importance_weights_at_the_limits_of_floats():
    assert_allclose(importance_weights([-5000.0, -5000.0 + np.log(3)]), [0.5, 1.5])
    assert_allclose(importance_weights([-np.inf, 0.0]), [0.0, 2.0])
    assert_allclose(importance_weights([-np.inf, 0.0], flattening=0), [1.0, 1.0])
    assert_array_equal(importance_weights([2000.0], normalize=False), [MAX])
    weights = importance_weights([0.0, 900.0], sample_weight=[1e300, 1e-320])
    assert_allclose(weights.sum(), 1e300)


# -- resample ---------------------------------------------------------------------


@given(some_positive, st.integers(1, 40), seeds)
def test_resample_draws_rows_of_positive_weight(weights, n_samples, seed):
    for method in ("multinomial", "systematic"):
        rows = resample(weights, n_samples, method=method, random_state=seed)
        assert rows.shape == (n_samples,)
        assert (weights[rows] > 0).all()


@given(moderate, st.integers(1, 200), seeds)
def test_systematic_counts_are_the_expected_ones_rounded(weights, n_samples, seed):
    rows = resample(weights, n_samples, method="systematic", random_state=seed)
    counts = np.bincount(rows, minlength=weights.size)
    expected = n_samples * weights / weights.sum()
    assert (counts >= np.floor(expected - 1e-9)).all()
    assert (counts <= np.ceil(expected + 1e-9)).all()


@given(some_positive, st.data(), seeds)
def test_without_replacement_no_row_comes_twice(weights, data, seed):
    n_positive = np.count_nonzero(weights)
    n_samples = data.draw(st.integers(1, n_positive))
    rows = resample(weights, n_samples, replace=False, random_state=seed)
    assert len(set(rows)) == n_samples
    assert (weights[rows] > 0).all()
    with pytest.raises(ValueError, match="n_samples"):
        resample(weights, n_positive + 1, replace=False)


@pytest.mark.parametrize("method", ["multinomial", "systematic"])
def test_resample_frequencies(method):
    weights = np.array([0.0, 1.0, 2.0, 5.0])
    rng = np.random.default_rng(1)
    draws = [resample(weights, 3, method=method, random_state=rng) for _ in range(4000)]
    counts = np.bincount(np.ravel(draws), minlength=4)
    assert counts[0] == 0
    # Systematic counts vary less than the multinomial ones the test is made for.
    assert chisquare(counts[1:], 12000 * weights[1:] / 8).pvalue > 1e-3


def test_resample_without_replacement_follows_successive_draws():
    weights = np.array([1.0, 2.0, 5.0])
    rng = np.random.default_rng(2)
    n_draws = 20000
    counts = np.zeros((3, 3))
    for _ in range(n_draws):
        first, second = resample(weights, 2, replace=False, random_state=rng)
        counts[first, second] += 1
    expected = [
        weights[i] / 8 * weights[j] / (8 - weights[i])
        for i in range(3)
        for j in range(3)
        if i != j
    ]
    observed = counts[~np.eye(3, dtype=bool)]
    assert chisquare(observed, n_draws * np.array(expected)).pvalue > 1e-3


def test_resample_turns_a_source_sample_into_a_target_sample():
    rng = np.random.default_rng(3)
    source = rng.normal(size=20_000)
    ratio = np.exp(source - 0.5)  # N(1, 1) over N(0, 1)
    drawn = source[resample(ratio, random_state=0)]
    assert abs(drawn.mean() - 1) < 0.05
    assert abs(drawn.std() - 1) < 0.05


@pytest.mark.parametrize("method", ["multinomial", "systematic"])
@pytest.mark.parametrize("point", [0.0, np.nextafter(1, 0)])
def test_resample_at_the_ends_of_the_unit_interval(method, point):
    class Ends(np.random.RandomState):
        def random(self, size=None):
            return np.full(() if size is None else size, point)

    rng = Ends()
    rows = resample([0.0, 0.1, 0.7, 0.0], 9, method=method, random_state=rng)
    assert set(rows) <= {1, 2}
    rows = resample([0.0, 0.1, 0.7, 0.0], 2, replace=False, random_state=rng)
    assert set(rows) == {1, 2}


def test_resample_random_state():
    weights = np.arange(1.0, 20.0)
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for options in ({}, {"method": "systematic"}, {"replace": False}):
        first = resample(weights, random_state=5, **options)
        assert_array_equal(first, resample(weights, random_state=5, **options))
        resample(weights, **options)
    assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert_array_equal(
        resample(weights, random_state=np.random.default_rng(5)),
        resample(weights, random_state=5),
    )
    assert resample(weights, random_state=np.random.RandomState(0)).size == 19


# -- bad input --------------------------------------------------------------------

FUNCTIONS = {
    "self_normalize": self_normalize,
    "flatten": lambda weights: flatten(weights, 0.5),
    "clip": lambda weights: clip(weights, 1.0),
    "effective_sample_size": effective_sample_size,
    "resample": resample,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([], ValueError, "weights is empty"),
        ([1.0, -0.5], ValueError, "weights must not be negative"),
        ([1.0, np.nan], ValueError, "weights must be finite"),
        ([1.0, np.inf], ValueError, "weights must be finite"),
        ([[1.0, 2.0]], ValueError, "weights must have shape"),
        (2.0, ValueError, "weights must have shape"),
        (["a", "b"], TypeError, "weights must hold real numbers"),
        (None, TypeError, "weights must hold real numbers"),
        ([1j], TypeError, "weights must hold real numbers"),
    ],
)
def test_bad_weights_are_named(name, weights, error, message):
    with pytest.raises(error, match=message):
        FUNCTIONS[name](weights)


@pytest.mark.parametrize(
    "name", ["self_normalize", "effective_sample_size", "resample"]
)
def test_all_zero_weights_are_named(name):
    with pytest.raises(ValueError, match="weights are all zero"):
        FUNCTIONS[name]([0.0, 0.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: self_normalize([1.0], total=0), ValueError, "total"),
        (lambda: self_normalize([1.0], total="mean"), ValueError, "total"),
        (lambda: self_normalize([1.0], total=None), TypeError, "total"),
        (lambda: flatten([1.0], -1), ValueError, "gamma"),
        (lambda: flatten([1.0], np.nan), ValueError, "gamma"),
        (lambda: flatten([1.0], "1"), TypeError, "gamma"),
        (lambda: clip([1.0], 0), ValueError, "upper"),
        (lambda: clip([1.0], 1, lower=-1), ValueError, "lower"),
        (lambda: clip([1.0], 1, lower=2), ValueError, "lower"),
        (lambda: importance_weights([np.nan]), ValueError, "log_ratio"),
        (lambda: importance_weights([np.inf]), ValueError, "log_ratio"),
        (lambda: importance_weights([-np.inf]), ValueError, "log_ratio"),
        (lambda: importance_weights([]), ValueError, "log_ratio is empty"),
        (lambda: importance_weights([0.0], clip=0), ValueError, "clip"),
        (lambda: importance_weights([0.0], flattening=-1), ValueError, "flattening"),
        (
            lambda: importance_weights([0.0, 1.0], sample_weight=[1.0]),
            ValueError,
            "sample_weight",
        ),
        (
            lambda: importance_weights([0.0], sample_weight=[0.0]),
            ValueError,
            "sample_weight are all zero",
        ),
        (lambda: resample([1.0], 0), ValueError, "n_samples"),
        (lambda: resample([1.0], 1.5), TypeError, "n_samples"),
        (lambda: resample([1.0], True), TypeError, "n_samples"),
        (lambda: resample([1.0], method="x"), ValueError, "method"),
        (
            lambda: resample([1.0], method="systematic", replace=False),
            ValueError,
            "systematic",
        ),
        (lambda: resample([1.0], random_state="x"), ValueError, "random_state"),
    ],
)
def test_bad_parameters_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_number_types_become_float64(dtype):
    weights = np.array([1, 0, 1], dtype=dtype)
    for result in (self_normalize(weights), flatten(weights, 2), clip(weights, 1)):
        assert result.dtype == np.float64
    assert_array_equal(weights, np.array([1, 0, 1], dtype=dtype))


@settings(max_examples=20)
@given(some_positive)
def test_arguments_are_not_changed(weights):
    before = weights.copy()
    for function in FUNCTIONS.values():
        function(weights)
    assert_array_equal(weights, before)
    logs = np.array([0.0, 1.0])
    importance_weights(logs, sample_weight=[1.0, 2.0])
    importance_weights(logs, flattening=0, sample_weight=[1.0, 2.0])
    assert_array_equal(logs, [0.0, 1.0])


# -- mixture_weights --------------------------------------------------------------

P, Q = norm(1.5, 0.7), norm(0, 1)
GRID = np.linspace(-12, 14, 20_001)
LOG_RATIO = P.logpdf(GRID) - Q.logpdf(GRID)


def mixture_pdf(share):
    return share * P.pdf(GRID) + (1 - share) * Q.pdf(GRID)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
def test_mixture_weights_take_the_mixture_to_its_target(share):
    mixture = mixture_pdf(share)
    for target, wanted in (("numerator", P), ("denominator", Q)):
        weights = mixture_weights(LOG_RATIO, share, target=target)
        assert_allclose(weights * mixture, wanted.pdf(GRID), rtol=1e-9, atol=1e-300)
        for moment in (0, 1, 2):
            average = trapezoid(weights * mixture * GRID**moment, GRID)
            assert_allclose(average, wanted.moment(moment) if moment else 1, atol=1e-9)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("target", ["numerator", "denominator"])
def test_a_swapped_share_gets_the_target_wrong(share, target):
    """The published code's direction: neither mass nor mean come out."""
    weights = mixture_weights(LOG_RATIO, 1 - share, target=target)
    density = weights * mixture_pdf(share)
    mass = trapezoid(density, GRID)
    mean = trapezoid(density * GRID, GRID) / mass
    wanted = 1.5 if target == "numerator" else 0.0
    assert abs(mean - wanted) > 0.05


@given(
    arrays(float, st.integers(1, 30), elements=st.floats(-20, 20)),
    st.floats(0.001, 0.999),
)
def test_mixture_weights_are_the_formula(log_ratio, share):
    ratio = np.exp(log_ratio)
    of_q = mixture_weights(log_ratio, share, target="denominator")
    of_p = mixture_weights(log_ratio, share)
    assert_allclose(of_q, 1 / (share * ratio + 1 - share), rtol=1e-10)
    assert_allclose(of_p, ratio / (share * ratio + 1 - share), rtol=1e-10)
    # The two together are the mixture: every row is of one or of the other.
    assert_allclose(share * of_p + (1 - share) * of_q, 1, rtol=1e-10)


def test_mixture_weights_of_extreme_ratios():
    log_ratio = [-np.inf, -1e300, 0.0, 1e300, np.inf]
    with np.errstate(all="raise", under="ignore"):
        of_p = mixture_weights(log_ratio, 0.25)
        of_q = mixture_weights(log_ratio, 0.25, target="denominator")
    assert_allclose(of_p, [0, 0, 1, 4, 4])
    assert_allclose(of_q, [4 / 3, 4 / 3, 1, 0, 0])


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5, np.nan])
def test_mixture_weights_reject_a_share_that_is_none(share):
    with pytest.raises(ValueError, match="share must"):
        mixture_weights([0.0], share)


def test_mixture_weights_reject_bad_input():
    with pytest.raises(ValueError, match="must not hold NaN"):
        mixture_weights([np.nan], 0.5)
    with pytest.raises(ValueError, match="is empty"):
        mixture_weights([], 0.5)
    with pytest.raises(ValueError, match="got 'p'"):
        mixture_weights([0.0], 0.5, target="p")
    with pytest.raises(TypeError, match="share must be a number"):
        mixture_weights([0.0], "half")
