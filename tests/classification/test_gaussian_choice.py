"""The choice of GaussianRatio's shrinkage and tails: refits, and the truth."""

import warnings

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.stats import multivariate_t
from sklearn.model_selection import GroupKFold, StratifiedKFold

from skdre import GaussianRatio, pool
from skdre._core.moments import (
    JointMoments,
    PooledMoments,
    SampleMoments,
    Shrinkage,
    joint_moments,
    shrunk_moments,
)
from skdre.classification import _gaussian_choice as choice
from skdre.classification import _gaussian_sums as sums
from skdre.metrics import log_ratio_mse

RULES = [(m, c) for c in choice._COVARIANCES for m in choice._MEANS]


def gaussians(n, d, seed=0, mean=0.0, sd=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * sd + mean, rng.normal(size=(n, d))


def students(n, d, df, shift, seed=0):
    rng = np.random.default_rng(seed)
    p, q = (
        rng.normal(size=(n, d)) / np.sqrt(rng.chisquare(df, (n, 1)) / df)
        for _ in range(2)
    )
    return p + shift, q


def true_student(X, df, shift):
    d = X.shape[1]
    p, q = (multivariate_t(np.full(d, m), np.eye(d), df=df) for m in (shift, 0.0))
    return p.logpdf(X) - q.logpdf(X)


def quiet_fit(ratio, p, q, **fit_params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ratio.fit(*pool(numerator=p, denominator=q), **fit_params)


# --- the rules ------------------------------------------------------------------------


def thresholded(values, threshold):
    """The garrote, one entry at a time."""
    left = np.zeros_like(values)
    for index, value in np.ndenumerate(values):
        if abs(value) > np.broadcast_to(threshold, values.shape)[index]:
            limit = np.broadcast_to(threshold, values.shape)[index]
            left[index] = value * (1 - limit**2 / value**2)
    return left


def test_thresholds_are_the_formula():
    p, q = gaussians(200, 3, mean=[0.6, 0.0, 0.02], sd=[1.5, 1.0, 1.0])
    moments = [SampleMoments(X.mean(0), np.cov(X.T, ddof=0), len(X)) for X in (q, p)]
    found = shrunk_moments(*moments, Shrinkage(3.0, 2.0))
    sd = np.sqrt((np.diag(moments[0].covariance) + np.diag(moments[1].covariance)) / 2)
    S_q, S_p = (each.covariance / np.outer(sd, sd) for each in moments)
    rate = 2 / 200
    pooled, half = (S_q + S_p) / 2, (S_p - S_q) / 2
    # The standard error of an entry of a covariance of Gaussians.
    half = thresholded(half, 2 * np.sqrt(rate * (1 + pooled**2)) / 2)
    off = thresholded(pooled, 2 * np.sqrt(rate / 4))
    pooled = np.where(np.eye(3) == 1, pooled, off)
    size = np.outer(sd, sd)
    np.testing.assert_allclose(found.covariances[0], (pooled - half) * size)
    np.testing.assert_allclose(found.covariances[1], (pooled + half) * size)
    shift = thresholded((p.mean(0) - q.mean(0)) / sd, 3 * np.sqrt(rate)) * sd
    np.testing.assert_allclose(found.means[1] - found.means[0], shift)
    assert shift[0] != 0
    assert shift[2] == 0
    assert 0 < found.shrinkage[0] < 1
    assert 0 < found.shrinkage[1] < 1


def test_linear_factor_has_the_least_expected_error():
    """Of all factors, over draws of two Gaussians; James and Stein's is larger."""
    d, n, errors, found = 30, 200, [], []
    truth = np.full(d, 0.15)
    factors = np.linspace(0, 1, 21)
    for seed in range(200):
        p, q = gaussians(n, d, seed, mean=truth)
        shift = p.mean(axis=0) - q.mean(axis=0)
        errors.append([np.sum((c * shift - truth) ** 2) for c in factors])
        moments = joint_moments(q, p)
        both = PooledMoments(
            *(SampleMoments(X.mean(0), np.cov(X.T, ddof=0), n) for X in (q, p))
        )
        found.append(both.means("linear", moments.components)[1])
    best = factors[np.argmin(np.mean(errors, axis=0))]
    assert np.mean(found) == pytest.approx(best, abs=0.06)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_rule_gives_two_covariances(rule):
    p, q = gaussians(40, 6, mean=0.3, sd=1.4)
    q[:, 1] = q[:, 0]  # the pooled covariance is nearly singular
    moments = [SampleMoments(X.mean(0), np.cov(X.T, ddof=0), len(X)) for X in (q, p)]
    found = shrunk_moments(*moments, Shrinkage(*rule))
    assert (found.numerator > 0).all()
    assert (found.denominator > 0).all()
    np.testing.assert_allclose(found.numerator + found.denominator, 2)
    assert np.isfinite(found.log_ratio(np.concatenate([p, q]))).all()
    if rule == ("equal", "equal"):
        np.testing.assert_array_equal(found.log_ratio(p), 0)
        assert found.shrinkage == (0.0, 0.0)


def test_moments_of_sums():
    X = np.random.default_rng(0).normal(size=(30, 3)) + 2
    weight = np.random.default_rng(1).uniform(size=30)
    found = SampleMoments.of_sums(weight.sum(), weight @ X, (X * weight[:, None]).T @ X)
    np.testing.assert_allclose(found.mean, np.average(X, axis=0, weights=weight))
    expected = np.cov(X.T, aweights=weight, ddof=0)
    np.testing.assert_allclose(found.covariance, expected)
    assert found.n_rows == weight.sum()


# --- t distributions ------------------------------------------------------------------


def test_log_ratio_and_gradient_of_t_distributions():
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(2, 3, 3))
    S_q, S_p = (root @ root.T + np.eye(3) for root in roots)
    m_q, m_p = rng.normal(size=(2, 3))
    found = shrunk_moments(
        SampleMoments(m_q, S_q, 100),
        SampleMoments(m_p, S_p, 100),
        Shrinkage("none", "none"),
        df=4.0,
    )
    X = 5 * rng.normal(size=(20, 3))
    p, q = multivariate_t(m_p, S_p, df=4.0), multivariate_t(m_q, S_q, df=4.0)
    np.testing.assert_allclose(found.log_ratio(X), p.logpdf(X) - q.logpdf(X))
    for x, gradient in zip(X, found.log_ratio_gradient(X), strict=True):
        slope = approx_fprime(x, lambda x: found.log_ratio(x[None])[0], 1e-7)
        np.testing.assert_allclose(gradient, slope, atol=1e-5)


@pytest.mark.parametrize("df", [1.5, 4.0])
def test_robust_moments_maximise_the_likelihood(df):
    X, _ = students(150, 2, df, 0.3)
    weight = np.random.default_rng(0).uniform(0.5, 2, 150)
    start = choice._start(X)
    _, moments, likelihood = choice.robust_weights(X, weight, df, start, 500)

    def minus_likelihood(values):
        root = np.array([[np.exp(values[2]), 0.0], [values[3], np.exp(values[4])]])
        density = multivariate_t(values[:2], root @ root.T, df=df)
        return -np.average(density.logpdf(X), weights=weight)

    best = minimize(minus_likelihood, [*np.median(X, axis=0), 0.0, 0.0, 0.0])
    # Less the constant of all of them.
    constant = len(X[0]) / 2 * np.log(np.pi)
    assert likelihood - constant == pytest.approx(-best.fun, abs=1e-4)
    np.testing.assert_allclose(moments.mean, best.x[:2], atol=5e-3)


# --- the choice -----------------------------------------------------------------------


def test_losses_are_those_of_refits(monkeypatch):
    """Each rule, fitted to what a fold leaves, at the rows that it holds out."""
    p, q = gaussians(60, 3, mean=0.4, sd=[1.0, 1.5, 1.0])
    weights = [np.ones(60), np.ones(60)]
    folds = [np.array([np.arange(60) % 3 == k for k in range(3)], float)] * 2
    parts = [(q, weights[0]), (p, weights[1])]
    of_folds = [
        choice._of_folds(*part, held) for part, held in zip(parts, folds, strict=True)
    ]
    moments = [
        choice._training_moments(*part, *each[:2])
        for part, each in zip(parts, of_folds, strict=True)
    ]
    held, held_weights, _ = zip(*of_folds, strict=True)
    losses = choice._by_blocks(moments, held, held_weights, np.inf)
    monkeypatch.setattr(choice, "_MOST_NUMBERS", 1)
    for one, other in zip(
        losses,
        choice._by_blocks(moments, held, held_weights, np.inf),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert losses[0].shape == (len(RULES), 60)
    losses = [each.reshape(len(RULES), 3, 20) for each in losses]
    for number, rule in enumerate(RULES):
        for k in range(3):
            out = np.arange(60) % 3 == k
            rest = [
                SampleMoments(X[~out].mean(0), np.cov(X[~out].T, ddof=0), 40)
                for X in (q, p)
            ]
            fitted = shrunk_moments(*rest, Shrinkage(*rule))
            expected = (
                np.logaddexp(0, fitted.log_ratio(q[out])),
                np.logaddexp(0, -fitted.log_ratio(p[out])),
            )
            for found, each in zip(losses, expected, strict=True):
                np.testing.assert_allclose(found[number, k], each, rtol=1e-9)


def test_many_weak_correlations_are_found():
    """James and Stein's rule shrinks half of them away, and more of smaller ones."""
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 2000, 40))
    y = 0.25 * x + np.sqrt(1 - 0.25**2) * noise
    p = np.column_stack([x, y])
    q = np.column_stack([x, y[rng.permutation(2000)]])
    ratio = quiet_fit(GaussianRatio(), p, q)
    x, noise = rng.normal(size=(2, 2000, 40))
    new = np.column_stack([x, 0.25 * x + np.sqrt(1 - 0.25**2) * noise])
    truth = -20 * np.log(1 - 0.25**2)
    assert ratio.decision_function(new).mean() == pytest.approx(truth, abs=0.15)
    assert ratio.shrinkage_rules_[1] in (2.0, 3.0, 4.0)
    before = quiet_fit(GaussianRatio(shrink="james-stein"), p, q)
    assert before.decision_function(new).mean() < 0.6 * truth


@pytest.mark.parametrize("d", [2, 10])
def test_heavy_tails(d):
    """Of two Gaussians the error was 2 to 20; that of a log ratio of 0 is about 1."""
    shift = 1 / np.sqrt(d)
    p, q = students(1000, d, 2.0, shift)
    ratio = quiet_fit(GaussianRatio(), p, q)
    assert ratio.df_ in (1.5, 2.5)
    new = np.concatenate(students(1000, d, 2.0, shift, seed=1))
    truth = true_student(new, 2.0, shift)
    assert log_ratio_mse(truth, ratio.decision_function(new)) < 0.1 * np.mean(truth**2)
    normal = quiet_fit(GaussianRatio(tails="normal"), p, q)
    assert normal.df_ == np.inf
    assert log_ratio_mse(truth, normal.decision_function(new)) < 1.2 * np.mean(truth**2)


def test_heavy_tails_of_one_distribution():
    errors = []
    for seed in range(6):
        p, q = students(400, 5, 2.0, 0.0, seed=seed)
        ratio = quiet_fit(GaussianRatio(), p, q)
        errors.append(np.mean(ratio.decision_function(p) ** 2))
    assert np.median(errors) == 0
    assert np.mean(errors) < 0.05


def test_gaussians_stay_gaussians_and_equal_samples_equal():
    """The rule that knows the noise is left for clear reasons only."""
    for seed in range(8):
        p, q = gaussians(300, 4, seed)
        ratio = quiet_fit(GaussianRatio(), p, q)
        assert ratio.df_ == np.inf
        assert np.mean(ratio.decision_function(p) ** 2) < 0.02
    errors = []
    for seed in range(6):
        p, q = gaussians(300, 4, seed, mean=0.5)
        new = np.concatenate(gaussians(500, 4, 100 + seed, mean=0.5))
        truth = 0.5 * new.sum(axis=1) - 0.5
        errors.append(
            [
                log_ratio_mse(truth, quiet_fit(each, p, q).decision_function(new))
                for each in (GaussianRatio(), GaussianRatio(shrink="james-stein"))
            ]
        )
    now, before = np.mean(errors, axis=0)
    assert now < 1.05 * before


def test_true_is_the_choice_and_few_rows_or_many_columns_have_none():
    p, q = gaussians(200, 3, mean=0.5, sd=[1.0, 1.0, 2.0])
    X = np.concatenate([p, q])
    chosen, same = (quiet_fit(GaussianRatio(shrink=s), p, q) for s in ("cv", True))
    np.testing.assert_array_equal(
        chosen.decision_function(X), same.decision_function(X)
    )
    for pair in ((p[:15], q[:15]), gaussians(250, 201, mean=0.5)):
        found, usual = (
            quiet_fit(GaussianRatio(shrink=s), *pair) for s in ("cv", "james-stein")
        )
        assert found.shrinkage_rules_ == ("james-stein", "james-stein")
        np.testing.assert_allclose(
            found.decision_function(pair[0]),
            usual.decision_function(pair[0]),
            rtol=1e-9,
        )


@pytest.mark.parametrize("heavy", [False, True])
def test_weights_and_copies_and_units(heavy):
    p, q = students(80, 2, 2.0, 0.8) if heavy else gaussians(80, 2, mean=0.8)
    weight = np.random.default_rng(0).integers(1, 4, 160)
    once = quiet_fit(GaussianRatio(), p, q, sample_weight=weight)
    X, y = pool(numerator=p, denominator=q)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = GaussianRatio().fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
        order = np.random.default_rng(1).permutation(160)
        other = GaussianRatio().fit(X[order], y[order], weight[order])
        moved = X * [1e-9, 1e9] + [0.0, 1e9]
        scaled = GaussianRatio().fit(moved, y, weight)
    expected = once.decision_function(X)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(many.decision_function(X), expected, rtol=1e-8)
    np.testing.assert_allclose(other.decision_function(X), expected, rtol=1e-8)
    np.testing.assert_allclose(
        scaled.decision_function(moved), expected, rtol=1e-5, atol=1e-6
    )
    assert once.df_ == many.df_ == scaled.df_
    assert np.isfinite(once.df_) == heavy


def test_many_rows_are_chosen_for_by_a_part_of_them(monkeypatch):
    p, q = students(3000, 2, 3.0, 0.7)
    monkeypatch.setattr(choice, "_MOST_ROWS", 500)
    monkeypatch.setattr(sums, "MANY_ROWS", 1000)
    ratio = quiet_fit(GaussianRatio(), p, q)
    new = np.concatenate(students(1000, 2, 3.0, 0.7, seed=1))
    truth = true_student(new, 3.0, 0.7)
    # The moments are those of all rows: of 500 the error is four times as large.
    assert log_ratio_mse(truth, ratio.decision_function(new)) < 0.02


def test_splits_and_groups():
    rng = np.random.default_rng(0)
    p, q = gaussians(90, 2, mean=0.6)
    X, y = pool(numerator=p, denominator=q)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    found = GaussianRatio(cv=folds).fit(X, y).decision_function(X)
    splits = GaussianRatio(cv=list(folds.split(X, y))).fit(X, y)
    np.testing.assert_array_equal(splits.decision_function(X), found)
    # Groups that differ in place alone: only folds of whole groups see that.
    centers = 3 * rng.normal(size=(40, 5))
    rows = np.repeat(centers, 20, axis=0) + 0.3 * rng.normal(size=(800, 5))
    groups, labels = np.repeat(np.arange(40), 20), np.repeat(np.arange(40) % 2, 20)
    kept = list(GroupKFold(5).split(rows, labels, groups))
    chosen = GaussianRatio(cv=kept).fit(rows, labels)
    leaking = GaussianRatio().fit(rows, labels)
    assert np.mean(chosen.decision_function(rows) ** 2) < 0.5 * np.mean(
        leaking.decision_function(rows) ** 2
    )
    with pytest.raises(ValueError, match="has none of class"):
        GaussianRatio(cv=[(np.arange(90), np.arange(90, 180))]).fit(X, y)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"shrink": "oas"}, "'shrink' parameter of GaussianRatio"),
        ({"tails": "heavy"}, "'tails' parameter of GaussianRatio"),
        ({"cv": "five"}, "'cv' parameter of GaussianRatio"),
    ],
)
def test_bad_parameters(params, match):
    with pytest.raises(ValueError, match=match):
        quiet_fit(GaussianRatio(**params), *gaussians(10, 2))


def test_the_dataclass_is_of_gaussians_unless_told_otherwise():
    assert JointMoments.__dataclass_fields__["df"].default == np.inf


def test_columns_without_spread():
    for columns in ([0, 0], [0, 1]):
        p, q = (X * columns for X in gaussians(60, 2, mean=0.5))
        with np.errstate(divide="raise", invalid="raise", over="raise"):
            ratio = GaussianRatio().fit(*pool(numerator=p, denominator=q))
            found = ratio.decision_function(p)
        assert np.isfinite(found).all()
        assert found.any() == any(columns)
