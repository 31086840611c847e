import pickle

import numpy as np
import pytest
import sklearn
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline

from skdre import KMMRatio
from skdre.base import DensityRatioMixin, check_pool
from skdre.datasets import make_warped_shift
from skdre.metrics import (
    get_scorer,
    get_scorer_names,
    kliep_score,
    log_ratio_mse,
    lsif_loss,
    ratio_log_loss,
    ratio_rank_correlation,
)

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


LOSSES = [ratio_log_loss, lsif_loss, kliep_score]


def test_lsif_and_kliep_against_a_loop():
    p, q = [], []
    for is_numerator, log_ratio in zip(IS_NUMERATOR, LOG_RATIO, strict=True):
        (p if is_numerator else q).append(np.exp(log_ratio))
    lsif = sum(r * r for r in q) / len(q) / 2 - sum(p) / len(p)
    kliep = sum(np.log(r) for r in p) / len(p) - np.log(sum(q) / len(q))
    assert lsif_loss(IS_NUMERATOR, LOG_RATIO) == pytest.approx(lsif)
    assert kliep_score(IS_NUMERATOR, LOG_RATIO) == pytest.approx(kliep)


def test_at_the_truth_of_two_gaussians():
    """Mean shift 1: E_q r^2 = e, so the loss is -e/2, and the divergence 1/2."""
    rng = np.random.default_rng(0)
    x = np.append(rng.normal(1, 1, 400_000), rng.normal(0, 1, 400_000))
    y, log_ratio = np.repeat([1, 0], 400_000), x - 0.5
    assert lsif_loss(y, log_ratio) == pytest.approx(-np.e / 2, abs=0.05)
    assert kliep_score(y, log_ratio) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("function", "sign"), [(lsif_loss, 1), (kliep_score, -1), (ratio_log_loss, 1)]
)
def test_the_true_ratio_is_best_in_every_loss(function, sign):
    shift = make_warped_shift((50_000, 80_000), 2, random_state=0)
    X, y = shift.pool()
    truth = shift.log_ratio(X)
    best = sign * function(y, truth)
    others = [-truth, 0 * truth, 1.3 * truth, 0.7 * truth]
    if function is not kliep_score:
        others += [truth + 0.3, truth - 0.3]
    for other in others:
        assert sign * function(y, other) > best + 1e-3


def test_kliep_is_blind_to_a_factor():
    assert kliep_score(IS_NUMERATOR, LOG_RATIO + 3) == pytest.approx(
        kliep_score(IS_NUMERATOR, LOG_RATIO)
    )


@pytest.mark.parametrize("function", [lsif_loss, kliep_score])
def test_weights_of_losses(function):
    """Repetition, and counted inside the domains."""
    repeated = function(np.repeat(IS_NUMERATOR, WEIGHT), np.repeat(LOG_RATIO, WEIGHT))
    weighted = function(IS_NUMERATOR, LOG_RATIO, sample_weight=WEIGHT)
    plain = function(IS_NUMERATOR, LOG_RATIO)
    assert weighted == pytest.approx(repeated)
    assert weighted != pytest.approx(plain)
    inside = np.where(IS_NUMERATOR, 5.0, 0.3)
    assert function(IS_NUMERATOR, LOG_RATIO, sample_weight=inside) == pytest.approx(
        plain
    )


def test_large_ratios_saturate():
    with np.errstate(all="raise", under="ignore"):
        assert lsif_loss([1, 0], [0.0, 1e4]) == 1e150
        assert lsif_loss([1, 0], [1e4, 0.0]) == -1e150
        assert lsif_loss([1, 0], [1e4, 1e4]) == 1e150
        assert lsif_loss([1, 0, 0], [0.0, -np.inf, 0.0]) == pytest.approx(0.25 - 1)
        assert kliep_score([1, 0], [1e4, 9e3]) == pytest.approx(1e3)
        assert kliep_score([1, 0], [-np.inf, 0.0]) == -1e150
        assert kliep_score([1, 0], [0.0, np.inf]) == -1e150
        assert log_ratio_mse([0.0], [np.inf]) == 1e150
        assert log_ratio_mse([0.0], [1e200]) == 1e150
    # A square far below the exponential's range does not become 0/0.
    assert kliep_score([1, 0], [-2000.0, -3000.0]) == pytest.approx(1000.0)


TRUTH = LOG_RATIO + rng.standard_normal(60)


def test_against_numpy_and_scipy():
    assert log_ratio_mse(TRUTH, LOG_RATIO) == pytest.approx(
        np.mean((TRUTH - LOG_RATIO) ** 2)
    )
    # With ties, as a floored ratio has.
    for found in (LOG_RATIO, np.maximum(LOG_RATIO, 0.0), np.round(LOG_RATIO)):
        expected = spearmanr(TRUTH, found).statistic
        assert ratio_rank_correlation(TRUTH, found) == pytest.approx(expected)
        assert ratio_rank_correlation(TRUTH, -found) == pytest.approx(-expected)
        assert ratio_rank_correlation(TRUTH, 7 * found + 2) == pytest.approx(expected)


@pytest.mark.parametrize("function", [log_ratio_mse, ratio_rank_correlation])
def test_weights_against_the_truth(function):
    found = np.round(LOG_RATIO)
    repeated = function(np.repeat(TRUTH, WEIGHT), np.repeat(found, WEIGHT))
    weighted = function(TRUTH, found, sample_weight=WEIGHT)
    assert weighted == pytest.approx(repeated)
    assert weighted != pytest.approx(function(TRUTH, found))
    assert weighted == pytest.approx(function(TRUTH, found, sample_weight=WEIGHT / 1e3))


def test_no_order_has_no_correlation():
    assert ratio_rank_correlation(TRUTH, np.ones(60)) == 0
    assert ratio_rank_correlation(np.zeros(60), TRUTH) == 0


@pytest.mark.parametrize("function", LOSSES)
@pytest.mark.parametrize(
    ("args", "weight", "message"),
    [
        (([1, 0], [0.0]), None, "must have one shape"),
        (([[1, 0]], [[0.0, 0.0]]), None, r"must have one shape, \(n_samples,\)"),
        (([1, 1], [0.0, 0.0]), None, "the denominator's class has none"),
        (([1, 0], [0.0, 0.0]), [0, 1], "the numerator's class has none"),
        (([1, 0], [np.nan, 0.0]), None, "log_ratio contains NaN"),
        (([1, 0], [0.0, 0.0]), [-1, 1], "sample_weight must be finite and not neg"),
    ],
)
def test_losses_reject(function, args, weight, message):
    with pytest.raises(ValueError, match=message):
        function(*args, sample_weight=weight)


@pytest.mark.parametrize("function", [log_ratio_mse, ratio_rank_correlation])
@pytest.mark.parametrize(
    ("args", "weight", "message"),
    [
        (([0.0, 1.0], [0.0]), None, "must have one shape"),
        (([0.0, np.nan], [0.0, 1.0]), None, "true_log_ratio contains NaN"),
        (([0.0, 1.0], [0.0, np.nan]), None, r"^log_ratio contains NaN"),
        (([0.0, 1.0], [0.0, 1.0]), [0, 0], "rows of positive weight, got none"),
        (([0.0, 1.0], [0.0, 1.0]), [np.inf, 0], "sample_weight must be finite"),
        (([], []), None, "rows of positive weight, got none"),
    ],
)
def test_comparisons_reject(function, args, weight, message):
    with pytest.raises(ValueError, match=message):
        function(*args, sample_weight=weight)


def test_an_infinite_truth_has_no_squared_error():
    with pytest.raises(ValueError, match="true_log_ratio contains infinity"):
        log_ratio_mse([0.0, np.inf], [0.0, 1.0])


class FirstColumn(DensityRatioMixin, BaseEstimator):
    """The log ratio stands in the first column, times a factor."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y, sample_weight=None):
        self.classes_ = check_pool(self, X, y, sample_weight).classes
        return self

    def decision_function(self, X):
        return self.factor * np.asarray(X)[:, 0]


@pytest.mark.parametrize(
    ("name", "function", "sign"),
    [
        ("neg_ratio_log_loss", ratio_log_loss, -1),
        ("neg_lsif_loss", lsif_loss, -1),
        ("kliep_score", kliep_score, 1),
    ],
)
@pytest.mark.parametrize("labels", [[0, 1], ["a", "b"], [3, -2]])
def test_scorers_are_the_losses(name, function, sign, labels):
    numerator = max(labels)
    y = np.where(IS_NUMERATOR, numerator, min(labels))
    X = LOG_RATIO[:, None]
    ratio = FirstColumn().fit(X, y)
    scorer = pickle.loads(pickle.dumps(get_scorer(name)))
    for weight in (None, WEIGHT):
        assert scorer(ratio, X, y, sample_weight=weight) == pytest.approx(
            sign * function(IS_NUMERATOR, LOG_RATIO, sample_weight=weight)
        )
    with pytest.raises(ValueError, match="two labels"):
        scorer(ratio, X[IS_NUMERATOR], y[IS_NUMERATOR])


def first_column(X):
    return np.asarray(X)[:, 0]


def test_scorers_that_know_the_truth():
    X, y = np.column_stack([LOG_RATIO, TRUTH]), IS_NUMERATOR.astype(int)
    ratio = FirstColumn(2.0).fit(X, y)
    for name, function, sign in (
        ("neg_log_ratio_mse", log_ratio_mse, -1),
        ("ratio_rank_correlation", ratio_rank_correlation, 1),
    ):
        scorer = get_scorer(name, true_log_ratio=lambda X: X[:, 1])
        for weight in (None, WEIGHT):
            assert scorer(ratio, X, y, sample_weight=weight) == pytest.approx(
                sign * function(TRUTH, 2 * LOG_RATIO, sample_weight=weight)
            )
        assert name in repr(scorer)
    copy = pickle.loads(
        pickle.dumps(get_scorer("neg_log_ratio_mse", true_log_ratio=first_column))
    )
    assert copy(FirstColumn().fit(X, y), X) == 0


def test_the_default_score_is_among_the_scorers():
    X, y = make_warped_shift((80, 50), 2, random_state=0).pool()
    expected = cross_val_score(KMMRatio(), X, y)
    found = cross_val_score(KMMRatio(), X, y, scoring=get_scorer("neg_ratio_log_loss"))
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("name", get_scorer_names())
def test_scorers_choose_in_a_search(name):
    """One factor of three is right, and a grid over a pipeline finds it."""
    shift = make_warped_shift(3000, 2, random_state=0)
    X, y = shift.pool()
    X = np.column_stack([shift.log_ratio(X), X])
    known = "mse" in name or "rank" in name
    scorer = get_scorer(name, true_log_ratio=first_column if known else None)
    # An order alone does not tell 1 from 2.
    factors = [-1.0, 1.0] if "rank" in name else [-1.0, 0.5, 1.0, 2.0]
    search = GridSearchCV(
        Pipeline([("ratio", FirstColumn())]),
        {"ratio": [FirstColumn(factor) for factor in factors]},
        scoring=scorer,
        error_score="raise",
    ).fit(X, y)
    assert search.best_params_["ratio"].factor == 1.0


def test_scorers_take_weights_through_metadata_routing():
    X, y = np.column_stack([LOG_RATIO, TRUTH]), IS_NUMERATOR.astype(int)
    weight = np.where(TRUTH > 0, 4.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = get_scorer("neg_lsif_loss").set_score_request(sample_weight=True)
        ratio = FirstColumn().set_fit_request(sample_weight=True)
        found = cross_val_score(
            ratio,
            X,
            y,
            cv=[(range(60),) * 2],
            scoring=scorer,
            params={"sample_weight": weight},
            error_score="raise",
        )
    expected = -lsif_loss(IS_NUMERATOR, LOG_RATIO, sample_weight=weight)
    assert found[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", get_scorer_names())
def test_scorers_score_ratios_and_nothing_else(name):
    X, y = np.column_stack([LOG_RATIO, TRUTH]), IS_NUMERATOR.astype(int)
    of_truth = name in ("neg_log_ratio_mse", "ratio_rank_correlation")
    scorer = get_scorer(name, true_log_ratio=first_column if of_truth else None)
    ratio = FirstColumn(2.0).fit(X, y)
    vote = VotingClassifier([("a", FirstColumn(2.0))], voting="soft").fit(X, y)
    assert scorer(vote, X, y) == pytest.approx(scorer(ratio, X, y))
    with pytest.raises(ValueError, match=r"ClassifierRatio\(LogisticRegression"):
        scorer(LogisticRegression().fit(X, y), X, y)
    assert repr(scorer).startswith(f"get_scorer('{name}'")


def test_get_scorer_rejects():
    with pytest.raises(ValueError, match=r"name must be one of \['kliep.* got 'lsif'"):
        get_scorer("lsif")
    with pytest.raises(ValueError, match="true_log_ratio must be a callable"):
        get_scorer("neg_log_ratio_mse")
    with pytest.raises(ValueError, match="true_log_ratio is not used by the scorer"):
        get_scorer("kliep_score", true_log_ratio=first_column)
    with pytest.raises(ValueError, match="true_log_ratio must be a callable"):
        get_scorer("ratio_rank_correlation", true_log_ratio=[1.0])
    with pytest.raises(ValueError, match="name must be one of"):
        get_scorer(None)
