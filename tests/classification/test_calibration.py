"""Calibration against loops and scikit-learn."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from skdre.classification._calibration import AffineMap, fit_affine, fit_isotonic

rng = np.random.default_rng(0)
Y = rng.uniform(size=300) < 0.3
SCORE = 2.0 * rng.standard_normal(300) + 1.5 * Y + 3.0
WEIGHT = rng.integers(1, 4, 300).astype(float)


@pytest.mark.parametrize("offset", [True, False])
@pytest.mark.parametrize("weight", [np.ones(300), WEIGHT, WEIGHT / 7], ids=str)
def test_affine_against_logistic_regression(offset, weight):
    """The same rows twice, once for each part of Platt's targets."""
    n_p, n_q = weight[Y].sum(), weight[~Y].sum()
    target = np.where(Y, (n_p + 1) / (n_p + 2), 1 / (n_q + 2))
    balanced = weight / np.where(Y, n_p, n_q)
    model = LogisticRegression(
        C=np.inf, fit_intercept=offset, solver="newton-cholesky", tol=1e-12
    ).fit(
        np.tile(SCORE, 2)[:, None],
        np.repeat([1, 0], 300),
        np.append(balanced * target, balanced * (1 - target)),
    )
    found = fit_affine(SCORE, Y, weight, offset=offset)
    assert found.slope == pytest.approx(model.coef_[0, 0], rel=1e-6)
    assert found.offset == pytest.approx(np.ravel(model.intercept_)[0], abs=1e-6)
    np.testing.assert_allclose(found(SCORE), found.slope * SCORE + found.offset)


@pytest.mark.parametrize("scale", [1e-200, 1e-6, 1e6, 1e200])
def test_affine_does_not_depend_on_the_scale(scale):
    expected = fit_affine(SCORE, Y, WEIGHT, offset=True)
    found = fit_affine(scale * SCORE, Y, WEIGHT, offset=True)
    assert found.slope * scale == pytest.approx(expected.slope, rel=1e-7)
    assert found.offset == pytest.approx(expected.offset, rel=1e-7)


def test_affine_is_finite_for_separated_scores():
    """Infinite without Platt's targets: with them the log odds are log(n + 1)."""
    score = np.where(Y, 2.0, -2.0)
    found = fit_affine(score, Y, np.ones(300), offset=True)
    n_p, n_q = Y.sum(), (~Y).sum()
    np.testing.assert_allclose(
        found(np.array([2.0, -2.0])), [np.log(n_p + 1), -np.log(n_q + 1)], rtol=1e-6
    )


@pytest.mark.parametrize("score", [np.ones(300), -SCORE, np.zeros(300)], ids=str)
@pytest.mark.parametrize("offset", [True, False])
def test_nothing_in_the_score(score, offset):
    score = score - score.mean()
    assert fit_affine(score, Y, WEIGHT, offset=offset) == AffineMap(0.0, 0.0)


def test_isotonic_against_a_loop():
    """The max-min formula of isotonic regression, over all blocks."""
    weight = np.append(WEIGHT, [1.0, 1.0])
    y = np.append(Y, [True, False])
    score = np.append(SCORE, [SCORE.min(), SCORE.max()])
    balanced = weight / np.where(y, weight[y].sum(), weight[~y].sum())
    values = np.unique(score)
    share = np.array([balanced[score == each].sum() for each in values])
    mean = np.array([balanced[(score == each) & y].sum() for each in values])
    expected = [
        max(
            min(
                mean[i:k].sum() / share[i:k].sum()
                for k in range(j + 1, len(values) + 1)
            )
            for i in range(j + 1)
        )
        for j in range(0, len(values), 30)
    ]
    found = fit_isotonic(SCORE, Y, WEIGHT)(values[::30])
    np.testing.assert_allclose(found, logit(expected), atol=1e-8)


def test_isotonic_ends_are_finite():
    score = np.append(np.linspace(0, 1, 40), np.linspace(2, 3, 20))
    y = np.arange(60) >= 40
    found = fit_isotonic(score, y, np.ones(60))
    log_ratio = found(np.array([-1e300, 0.0, 1.5, 3.0, 1e300]))
    assert np.isfinite(log_ratio).all()
    assert (np.diff(log_ratio) >= 0).all()
    # 20 rows against one, of samples of 21 and 41.
    assert expit(log_ratio[-1]) == pytest.approx((20 / 21) / (20 / 21 + 1 / 41))


def test_isotonic_is_monotone_and_right_on_average():
    x = rng.standard_normal(20_000)
    y = rng.uniform(size=20_000) < expit(x - 1)
    found = fit_isotonic(x**3, y, np.ones(20_000))(np.linspace(-1, 2, 50) ** 3)
    prior = logit(y.mean())
    np.testing.assert_allclose(found, np.linspace(-1, 2, 50) - 1 - prior, atol=0.25)
    assert (np.diff(found) >= 0).all()
