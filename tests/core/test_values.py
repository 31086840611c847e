"""Values under a mask, and imaginary parts, never count in silence."""

import numpy as np
import pytest

from skdre import GaussianRatio, mutual_information, two_sample_test
from skdre.metrics import (
    get_scorer,
    kliep_score,
    log_ratio_mse,
    lsif_loss,
    ratio_log_loss,
)
from skdre.weighting import effective_sample_size, importance_weights

VALUES = np.array([0.5, 1.0, 0.2, 0.7])
MASKED = np.ma.masked_array(VALUES, [0, 1, 0, 0])
IS_P = np.array([True, False, True, False])


@pytest.mark.parametrize(
    "call",
    [
        lambda bad: ratio_log_loss(IS_P, bad),
        lambda bad: lsif_loss(IS_P, bad),
        lambda bad: kliep_score(IS_P, VALUES, sample_weight=bad),
        lambda bad: log_ratio_mse(bad, VALUES),
        lambda bad: log_ratio_mse(VALUES, bad),
        effective_sample_size,
        importance_weights,
    ],
)
def test_losses_and_weights(call):
    call(np.ma.masked_array(VALUES))
    with pytest.raises(ValueError, match="is a masked array with 1 masked"):
        call(MASKED)
    with pytest.raises((TypeError, ValueError), match="real numbers"):
        call(VALUES * 1j)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("columns", [0, 2])
def test_pairs(place, columns):
    shape = (40, columns) if columns else (40,)
    pair = list(np.random.default_rng(0).normal(size=(2, *shape)))
    name = "XY"[place]
    for bad, message in (
        (np.ma.masked_array(pair[place], pair[place] > 0), f"{name} is a masked array"),
        (pair[place] * 1j, "Complex data"),
    ):
        given = [*pair]
        given[place] = bad
        with pytest.raises(ValueError, match=message):
            mutual_information(*given, GaussianRatio())


def test_one_dimension_of_a_masked_array():
    X = np.ma.masked_array(np.arange(40.0), np.arange(40) > 38)
    with pytest.raises(ValueError, match="X is a masked array with 1 masked"):
        two_sample_test(GaussianRatio(), X, np.arange(40) % 2)


@pytest.mark.parametrize("loss", [ratio_log_loss, lsif_loss, kliep_score])
@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ([-1, 1, -1, 1], "-1"),
        ([1, 2, 1, 2], "2"),
        ([0, 1, 2, 1], "2"),
        ([0, 0.5, 1, 1], "0.5"),
        ([0, np.nan, 1, 1], "nan"),
        (["p", "q", "p", "q"], "'p'"),
        ([True, None, False, True], "None"),
    ],
)
def test_labels_that_are_no_truth_values(loss, labels, shown):
    with pytest.raises(ValueError, match=f"is_numerator must hold True.* got {shown}"):
        loss(labels, VALUES)


@pytest.mark.parametrize("dtype", [bool, int, float, object])
def test_labels_that_are(dtype):
    found = ratio_log_loss(IS_P.astype(dtype), VALUES)
    assert found == ratio_log_loss(IS_P, VALUES)


@pytest.mark.parametrize(
    "y",
    [
        [0, 1, 2, 1],
        [0, 0, 0, 0],
        [0.0, np.nan, 0.0, 0.0],
        [0, "a", 0, 1],
        np.ma.masked_array([0, 1, 0, 1], [0, 1, 0, 0]),
        [1j, 2j, 1j, 2j],
    ],
)
def test_labels_of_scorers(y):
    X = VALUES[:, None]
    ratio = GaussianRatio().fit(X, [0, 1, 0, 1])
    for score in (
        *map(get_scorer, ("neg_ratio_log_loss", "neg_lsif_loss", "kliep_score")),
        type(ratio).score,
    ):
        with pytest.raises(ValueError, match=r"\by\b|class|Complex"):
            score(ratio, X, y)
