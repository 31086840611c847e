import numpy as np
import pytest
from sklearn.metrics import log_loss

from skdre.datasets import make_warped_shift
from skdre.metrics import ratio_log_loss

rng = np.random.default_rng(0)
LOG_RATIO = 2 * rng.standard_normal(60)
IS_NUMERATOR = rng.uniform(size=60) < 0.3
WEIGHT = rng.integers(0, 4, 60)


def test_against_a_loop():
    losses = {True: [], False: []}
    for is_numerator, log_ratio in zip(IS_NUMERATOR, LOG_RATIO, strict=True):
        ratio = np.exp(log_ratio)
        probability = ratio / (1 + ratio) if is_numerator else 1 / (1 + ratio)
        losses[bool(is_numerator)].append(-np.log(probability))
    expected = (np.mean(losses[True]) + np.mean(losses[False])) / 2
    assert ratio_log_loss(IS_NUMERATOR, LOG_RATIO) == pytest.approx(expected)
    assert ratio_log_loss(~IS_NUMERATOR, -LOG_RATIO) == pytest.approx(expected)


def test_against_scikit_learn_on_balanced_domains():
    y = np.arange(60) % 2
    probability = 1 / (1 + np.exp(-LOG_RATIO))
    assert ratio_log_loss(y, LOG_RATIO) == pytest.approx(log_loss(y, probability))


def test_weights_are_repetitions():
    expected = ratio_log_loss(
        np.repeat(IS_NUMERATOR, WEIGHT), np.repeat(LOG_RATIO, WEIGHT)
    )
    weighted = ratio_log_loss(IS_NUMERATOR, LOG_RATIO, sample_weight=WEIGHT)
    assert weighted == pytest.approx(expected)
    assert weighted != pytest.approx(ratio_log_loss(IS_NUMERATOR, LOG_RATIO))


def test_weights_count_inside_domains():
    weight = np.where(IS_NUMERATOR, 5.0, 0.3)
    assert ratio_log_loss(
        IS_NUMERATOR, LOG_RATIO, sample_weight=weight
    ) == pytest.approx(ratio_log_loss(IS_NUMERATOR, LOG_RATIO))


def test_sample_sizes_do_not_count():
    repeats = np.where(IS_NUMERATOR, 7, 1)
    assert ratio_log_loss(
        np.repeat(IS_NUMERATOR, repeats), np.repeat(LOG_RATIO, repeats)
    ) == pytest.approx(ratio_log_loss(IS_NUMERATOR, LOG_RATIO))


def test_a_ratio_of_one_has_log_two():
    assert ratio_log_loss([1, 0, 0], np.zeros(3)) == pytest.approx(np.log(2))


def test_the_true_ratio_is_best():
    shift = make_warped_shift((20_000, 40_000), 2, random_state=0)
    X, y = shift.pool()
    truth = shift.log_ratio(X)
    best = ratio_log_loss(y, truth)
    for other in (
        -truth,
        0 * truth,
        truth + 0.3,
        truth - 0.3,
        1.5 * truth,
        0.6 * truth,
    ):
        assert ratio_log_loss(y, other) > best + 1e-3


def test_extreme_ratios_do_not_overflow():
    with np.errstate(over="raise", invalid="raise"):
        assert ratio_log_loss([1, 0], [-1e300, 0.0]) == pytest.approx(5e299)
        assert ratio_log_loss([1, 0], [1e300, -1e300]) == 0
    # A loss beyond the exponential's range keeps its digits.
    assert ratio_log_loss([1, 0], [50.0, -800.0]) == pytest.approx(
        0.5 * np.log1p(np.exp(-50.0)), rel=1e-12, abs=0
    )


def test_infinite_loss_of_weight_zero_does_not_count():
    loss = ratio_log_loss([1, 0, 0], [0.0, 0.0, np.inf], sample_weight=[1, 1, 0])
    assert loss == pytest.approx(np.log(2))
    assert ratio_log_loss([1, 0, 0], [0.0, 0.0, np.inf]) == np.inf


@pytest.mark.parametrize(
    ("args", "weight", "message"),
    [
        (([1, 0], [0.0]), None, "must have one shape"),
        (([1, 0], [0.0, 0.0]), [1.0], "must have one shape"),
        (([1, 1], [0.0, 0.0]), None, "the denominator's class has none"),
        (([0, 0], [0.0, 0.0]), None, "the numerator's class has none"),
        (([1, 0], [0.0, 0.0]), [0, 1], "the numerator's class has none"),
        (([1, 0], [np.nan, 0.0]), None, "log_ratio contains NaN"),
        (([1, 0], [0.0, 0.0]), [-1, 1], "sample_weight must be finite and not neg"),
        (([1, 0], [0.0, 0.0]), [np.nan, 1], "sample_weight must be finite and not"),
        (([1, 0], [0.0, 0.0]), [np.inf, 1], "sample_weight must be finite and not"),
    ],
)
def test_rejects(args, weight, message):
    with pytest.raises(ValueError, match=message):
        ratio_log_loss(*args, sample_weight=weight)
