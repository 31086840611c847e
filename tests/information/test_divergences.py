"""Divergences against quadrature, sums by hand, and bad input."""

import warnings

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from skdre import ClassifierRatio, GaussianRatio, divergence, make_pipeline, pool
from skdre.base import DensityRatioMixin
from skdre.information._divergences import (
    DIVERGENCES,
    divergence_of,
    error_with_fit,
)

KINDS = list(DIVERGENCES)
P, Q = norm(0.8, 0.8), norm(0, 1)

# f of D_f = E_q f(p / q), each from its definition and in terms of p and q.
DEFINITIONS = {
    "kl": lambda p, q: p * np.log(p / q),
    "reverse_kl": lambda p, q: q * np.log(q / p),
    "pearson": lambda p, q: (p - q) ** 2 / q,
    "jensen_shannon": lambda p, q: (
        (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))) / 2
    ),
    "total_variation": lambda p, q: abs(p - q) / 2,
}


def truth(kind, p=P, q=Q):
    integrand = DEFINITIONS[kind]
    return quad(lambda x: integrand(p.pdf(x), q.pdf(x)), -12, 12, limit=300)[0]


def draw(n, seed=0, p=P, q=Q):
    rng = np.random.default_rng(seed)
    return [law.rvs((n, 1), random_state=rng) for law in (p, q)]


def pooled(n, seed=0, **laws):
    p, q = draw(n, seed, **laws)
    return pool(numerator=p, denominator=q)


class TrueRatio(DensityRatioMixin, BaseEstimator):
    """log P / Q, times a sign, plus a constant."""

    def __init__(self, sign=1.0, offset=0.0):
        self.sign = sign
        self.offset = offset

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        return self

    def decision_function(self, X):
        x = np.asarray(X, dtype=float)[:, 0]
        return self.sign * (P.logpdf(x) - Q.logpdf(x)) + self.offset


# The value.


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_true_ratio_gives_the_true_divergence(kind, bound):
    estimate = divergence(TrueRatio(), *pooled(40_000), kind=kind, bound=bound)
    assert abs(float(estimate) - truth(kind)) < 3 * estimate.standard_error
    assert estimate.standard_error < 0.05 * truth(kind)


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_standard_error_is_the_spread_over_samples(kind, bound):
    chosen = DIVERGENCES[kind][bound]
    # Narrow enough for the squared ratio to have a variance.
    p, ratio = norm(0.3, 1), TrueRatio()
    found = []
    for seed in range(400):
        rows = draw(100, seed, p=p)
        logs = [p.logpdf(x[:, 0]) - Q.logpdf(x[:, 0]) for x in rows]
        found.append(divergence_of(chosen, *logs))
    values, errors = np.transpose(found)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)
    assert abs(np.mean(values) - truth(kind, p)) < 4 * np.std(values) / 20
    assert ratio.sign == 1


# Without the search for the shrinkage, which takes most of the time.
PLUG_IN = GaussianRatio(shrink=False)


def test_intervals_cover_on_a_correct_model():
    """Nominal 95 %, of 120 samples within three standard errors or more.

    Given the fitted ratio alone, "pearson" covered 53 to 68 % and "kl" 80 to 87 %.
    """
    p, n_samples = norm(0.7, 1), 120
    true = {kind: truth(kind, p) for kind in ("kl", "reverse_kl", "pearson")}
    z = {kind: [] for kind in true}
    for seed in range(n_samples):
        X, y = pooled(250, seed, p=p)
        estimate = divergence(PLUG_IN, X, y, cv=3, random_state=seed)
        logs = estimate.log_ratios, estimate.denominator_log_ratios
        for kind, found in z.items():
            value, given_ratio = divergence_of(DIVERGENCES[kind][False], *logs)
            error = error_with_fit(kind, *logs)
            assert error > given_ratio
            found.append((value - true[kind]) / error)
        assert estimate.standard_error == error_with_fit("kl", *logs)
    for found in z.values():
        assert 0.88 <= np.mean(np.abs(found) < norm.ppf(0.975)) <= 1
        # Not for being far too wide, either.
        assert np.std(found) > 0.6


def test_rows_of_a_group_count_once():
    rng = np.random.default_rng(0)
    p, q = rng.normal(0.3, 1, 80), rng.normal(-0.3, 1, 60)
    alone = error_with_fit("pearson", p, q, (np.arange(80), 100 + np.arange(60)))
    assert alone == pytest.approx(error_with_fit("pearson", p, q))
    twice = [np.repeat(each, 2) for each in (p, q, np.arange(80), 100 + np.arange(60))]
    found = error_with_fit("pearson", *twice[:2], tuple(twice[2:]))
    assert found == pytest.approx(alone)


def test_a_fitted_ratio_is_taken_as_given():
    X, y = pooled(500)
    fitted = divergence(TrueRatio().fit(X, y), X, y, cv="prefit")
    crossed = divergence(TrueRatio(), X, y, random_state=0)
    assert fitted.value == pytest.approx(crossed.value)
    assert fitted.standard_error < crossed.standard_error


@pytest.mark.parametrize("kind", KINDS)
def test_sums_by_hand(kind):
    rng = np.random.default_rng(0)
    r_p, r_q = np.exp(rng.normal(0.3, 1, 30)), np.exp(rng.normal(-0.3, 1, 20))
    mean = np.mean
    direct, bound = {
        "kl": (mean(np.log(r_p)), mean(np.log(r_p)) + 1 - mean(r_q)),
        "reverse_kl": (mean(-np.log(r_q)), 1 - mean(1 / r_p) - mean(np.log(r_q))),
        "pearson": (mean(r_p) - 1, 2 * mean(r_p) - 1 - mean(r_q**2)),
        "jensen_shannon": 2
        * ((mean(np.log(2 * r_p / (1 + r_p))) + mean(np.log(2 / (1 + r_q)))) / 2,),
        "total_variation": 2 * (mean(r_p > 1) - mean(r_q > 1),),
    }[kind]
    for wanted, expected in ((False, direct), (True, bound)):
        chosen = DIVERGENCES[kind][wanted]
        value, _ = divergence_of(chosen, np.log(r_p), np.log(r_q))
        assert value == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_ratios_are_seen(kind):
    """Scaled, inverted and constant: the bounds lie below the truth."""
    X, y = pooled(4000)
    scaled = TrueRatio(offset=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bound = divergence(scaled, X, y, kind=kind, bound=True)
        assert bound.value + 3 * bound.standard_error < truth(kind)
        assert divergence(TrueRatio(-1), X, y, kind=kind, bound=True).value < 0
        constant = divergence(TrueRatio(0), X, y, kind=kind)
        assert constant.value == pytest.approx(0, abs=1e-12)
    if kind == "kl":
        true, too_large = (divergence(r, X, y) for r in (TrueRatio(), scaled))
        assert float(too_large) - float(true) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_ratio(kind):
    p = norm(0.7, 1)
    estimate = divergence(
        GaussianRatio(), *pooled(2000, p=p), kind=kind, random_state=0
    )
    assert abs(float(estimate) - truth(kind, p)) < 3 * estimate.standard_error
    assert estimate.value > 0.7 * truth(kind, p)


def test_exchanged_samples():
    p, q = draw(500)
    kwargs = {"random_state": 0, "cv": StratifiedKFold(4)}
    one = divergence(GaussianRatio(), *pool(numerator=p, denominator=q), **kwargs)
    other = divergence(
        GaussianRatio(),
        *pool(numerator=q, denominator=p),
        kind="reverse_kl",
        **kwargs,
    )
    assert float(one) == pytest.approx(float(other))
    assert one.value > 0.3


def test_units():
    X, y = pooled(50)
    for kind in KINDS:
        estimate = divergence(TrueRatio(), X, y, kind=kind)
        in_nats = kind in ("kl", "reverse_kl", "jensen_shannon")
        assert estimate.unit == ("nats" if in_nats else "")
        assert ("nats" in repr(estimate)) == in_nats
        assert estimate.kind == kind


def test_bounded_kinds_reach_their_bounds():
    far = np.full(10, 400.0)
    for kind, limit in (("jensen_shannon", np.log(2)), ("total_variation", 1)):
        assert divergence_of(DIVERGENCES[kind][False], far, -far)[0] == limit


# The rows.


class Recorder(TrueRatio):
    def fit(self, X, y):
        self.seen_ = set(X[:, 0])
        return super().fit(X, y)

    def decision_function(self, X):
        assert not self.seen_ & set(X[:, 0])
        return super().decision_function(X)


def test_held_out_rows_are_not_fitted_and_keep_their_order():
    X, y = pooled(57)
    order = np.random.default_rng(1).permutation(len(y))
    X, y = X[order], y[order]
    estimate = divergence(Recorder(), X, y, cv=3, random_state=0)
    expected = TrueRatio().decision_function(X)
    np.testing.assert_array_equal(estimate.log_ratios, expected[y == 1])
    np.testing.assert_array_equal(estimate.denominator_log_ratios, expected[y == 0])


def test_labels_name_the_samples():
    """The greater label is the numerator's, in whatever order the rows come."""
    X, y = pooled(400)
    names = np.where(y == 1, "b", "a")
    given = divergence(GaussianRatio(), X, names, random_state=0)
    assert float(given) == float(divergence(GaussianRatio(), X, y, random_state=0))
    swapped = divergence(GaussianRatio(), X, np.where(y == 1, "a", "b"), random_state=0)
    np.testing.assert_allclose(
        swapped.log_ratios.mean(), -given.denominator_log_ratios.mean(), rtol=0.1
    )


def test_prefit_takes_the_estimator_as_it_is():
    X, y = pooled(300)
    new = pooled(200, seed=1)
    fitted = GaussianRatio().fit(X, y)
    estimate = divergence(fitted, *new, cv="prefit")
    expected = fitted.decision_function(new[0][new[1] == 1])
    np.testing.assert_array_equal(estimate.log_ratios, expected)
    frozen = divergence(FrozenEstimator(fitted), *new)
    np.testing.assert_array_equal(frozen.log_ratios, expected)
    # By default the fit is not used, and a clone is fitted to each fold.
    refitted = divergence(fitted, *new, random_state=0)
    again = divergence(GaussianRatio(), *new, random_state=0)
    assert float(refitted) == float(again) != float(estimate)


def test_data_frames_and_pipelines():
    frames = [pd.DataFrame(x, columns=["a"]) for x in draw(200)]
    X, y = pool(numerator=frames[0], denominator=frames[1])
    ratio = make_pipeline(StandardScaler(), GaussianRatio())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = divergence(ratio, X, y, random_state=0)
    plain = divergence(ratio, X.to_numpy(), y, random_state=0)
    assert float(found) == float(plain)


def test_folds():
    X, y = pooled(200)
    one, other = (divergence(GaussianRatio(), X, y, random_state=i) for i in (0, 1))
    assert float(one) != float(other)
    with parallel_config("threading"):
        parallel = divergence(GaussianRatio(), X, y, random_state=0, n_jobs=2)
    assert float(parallel) == float(one)


# What cannot be estimated, and bad input.


@pytest.mark.parametrize("kind", KINDS)
def test_separated_samples(kind):
    X, y = pooled(60, p=norm(30, 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimate = divergence(GaussianRatio(), X, y, kind=kind, random_state=0)
    messages = [str(each.message) for each in caught]
    if kind in ("jensen_shannon", "total_variation"):
        assert not messages
        assert float(estimate) == pytest.approx(
            {"jensen_shannon": np.log(2), "total_variation": 1}[kind], abs=1e-6
        )
    else:
        assert any("apart without error" in each for each in messages)
        assert estimate.value > 100


def test_infinite_pearson_divergence_is_warned_of():
    """E_q[r^2] is infinite for p twice as wide as q, while KL is fine."""
    X, y = pooled(2000, p=norm(0, 2))
    with pytest.warns(UserWarning, match="rests on a few of them"):
        divergence(GaussianRatio(), X, y, kind="pearson", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        divergence(GaussianRatio(), X, y, random_state=0)
        divergence(
            GaussianRatio(), *pooled(2000, p=norm(0.3, 1)), kind="pearson", bound=True
        )


def test_constant_ratio_is_warned_of():
    with pytest.warns(UserWarning, match="sees no difference"):
        estimate = divergence(TrueRatio(0), *pooled(50))
    assert float(estimate) == 0


def test_a_standard_error_of_0_is_warned_of():
    """All ratios above 1, of samples that overlap: a total variation of 0, surely."""
    X, y = pooled(50, p=norm(0.1, 1))
    with pytest.warns(UserWarning, match="the standard error is 0"):
        estimate = divergence(TrueRatio(1, 1e3), X, y, kind="total_variation")
    assert float(estimate) == estimate.standard_error == 0


def test_a_single_row_is_no_tail():
    X, y = pooled(50)
    rows = np.append(np.flatnonzero(y == 1)[:1], np.flatnonzero(y == 0))
    fitted = TrueRatio().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimate = divergence(fitted, X[rows], y[rows], kind="pearson", cv="prefit")
    assert estimate.standard_error == np.inf


class Zeros(TrueRatio):
    """A ratio that is 0 left of 0, as a histogram's may be."""

    value = -np.inf

    def decision_function(self, X):
        return np.where(X[:, 0] < 0, self.value, super().decision_function(X))


class Infinite(Zeros):
    value = np.inf


class NotANumber(Zeros):
    value = np.nan


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        (Zeros(), "minus infinity, a ratio of 0, at .* of .* rows"),
        (Infinite(), "infinity, a ratio without bound, at"),
        (NotANumber(), "gave NaN at"),
    ],
)
def test_ratios_without_a_logarithm(ratio, message):
    with pytest.raises(ValueError, match=message):
        divergence(ratio, *pooled(50))


@pytest.mark.parametrize("kind", KINDS)
def test_zero_where_it_is_needed(kind):
    chosen = DIVERGENCES[kind][False]
    p, q = np.array([0.1, -np.inf]), np.array([0.2, 0.1])
    if kind in ("kl", "jensen_shannon"):
        with pytest.raises(
            ValueError, match=r"numerator has 1 of 2 rows .* ratio is 0"
        ):
            divergence_of(chosen, p, q)
    else:
        assert np.isfinite(divergence_of(chosen, p, q)[0])
    with pytest.raises(ValueError, match="denominator contains NaN"):
        divergence_of(chosen, q, np.array([np.nan, 1.0]))
    with pytest.raises(ValueError, match="numerator must have the shape"):
        divergence_of(chosen, np.ones((2, 2)), q)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "hellinger"}, ValueError, "'kind' parameter"),
        ({"estimator": LogisticRegression}, TypeError, "instead of a class"),
        (
            {"estimator": StandardScaler()},
            ValueError,
            "estimator must be a density-ratio",
        ),
        ({"cv": "fitted"}, ValueError, "'cv' parameter"),
        ({"cv": 11}, ValueError, "cv=11 needs as many rows of each domain, got 10"),
        ({"cv": ShuffleSplit(3)}, ValueError, "hold out every row once"),
        ({"cv": KFold(2)}, ValueError, "rows of one domain only"),
        ({"cv": "prefit"}, NotFittedError, "not fitted"),
        ({"y": np.zeros(20)}, ValueError, "one class only"),
        ({"y": np.arange(20) % 3}, ValueError, "exactly two domains"),
        ({"y": np.zeros(19)}, ValueError, "one"),
        ({"y": None}, ValueError, "y"),
        ({"X": np.full((20, 1), np.nan)}, ValueError, "NaN"),
    ],
)
def test_bad_input(change, error, message):
    X, y = pooled(10)
    arguments = {"estimator": GaussianRatio(), "X": X, "y": y} | change
    with pytest.raises(error, match=message):
        divergence(**arguments)


def test_prefit_checks_the_labels():
    X, y = pooled(20)
    fitted = ClassifierRatio().fit(X, y)
    with pytest.raises(ValueError, match=r"was fitted with, \[0, 1\]"):
        divergence(fitted, X, y + 1, cv="prefit")
