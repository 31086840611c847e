"""Learning by portions: what all rows at once give, where the same is chosen."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skdre import GaussianRatio, LSIFRatio
from skdre.datasets import make_warped_shift

# An intercept is the coefficient of a column of this value.
COLUMN = 30.0
GAUSSIAN = GaussianRatio(tails="normal")
LSIF = LSIFRatio(n_components=20, random_state=0)
BOTH = pytest.mark.parametrize("estimator", [GAUSSIAN, LSIF], ids=["gaussian", "lsif"])


@pytest.fixture
def few(monkeypatch):
    """Little is kept before there are sums alone."""
    monkeypatch.setattr("skdre.classification._gaussian._FIRST_ROWS", 30)
    monkeypatch.setattr("skdre.kernel._lsif._FIRST_ROWS", 30)


def data(n=600, d=2, seed=0):
    X, y = make_warped_shift((n, n + 100), d, random_state=seed).pool()
    order = np.random.default_rng(seed).permutation(len(y))
    return X[order], y[order]


def by_portions(estimator, X, y, weight, cuts, **params):
    model = clone(estimator).set_params(**params)
    ends = [0, *cuts, len(y)]
    for i, j in pairwise(ends):
        part = None if weight is None else weight[i:j]
        model.partial_fit(X[i:j], y[i:j], classes=[0, 1], sample_weight=part)
    return model


def lsif_at(model, X, y, weight):
    """The formula, from all rows, with the centres and so on of a fitted model."""
    Z = (X - model.center_) / model.scale_
    squared = ((Z[:, None] - model.centers_) ** 2).sum(axis=2)
    phi = np.column_stack([np.exp(-model.gamma_ * squared), np.full(len(Z), COLUMN)])
    q, p = ((phi[y == k], weight[y == k] / weight[y == k].sum()) for k in (0, 1))
    H = model.alpha_ * p[0].T @ (p[0] * p[1][:, None])
    H += (1 - model.alpha_) * q[0].T @ (q[0] * q[1][:, None])
    H[np.diag_indices_from(H)] += model.ridge_
    return np.linalg.solve(H, p[1] @ p[0])


CUTS = [[80], [100, 101, 700], [200, 400, 600, 800, 1000, 1200]]


@pytest.mark.parametrize("cuts", CUTS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_lsif_is_that_of_all_rows_at_the_same_centres(few, cuts, weighted):
    X, y = data()
    weight = np.random.default_rng(1).uniform(0.5, 3, len(y)) if weighted else None
    # Portions come on top of 300 rows: ten for each component are kept at least.
    cuts = [500, *(500 + each // 2 + i for i, each in enumerate(cuts, 1))]
    model = by_portions(LSIF, X, y, weight, cuts)
    first = clone(LSIF).fit(X[:500], y[:500], None if weight is None else weight[:500])
    assert_allclose(model.centers_, first.centers_)
    assert (model.gamma_, model.ridge_) == (first.gamma_, first.ridge_)
    theta = lsif_at(model, X, y, np.ones(len(y)) if weight is None else weight)
    assert_allclose(model.dual_coef_, theta[:-1], rtol=1e-6, atol=1e-9)
    assert model.intercept_ == pytest.approx(COLUMN * theta[-1])
    Z = (X - model.center_) / model.scale_
    assert_allclose(model.range_, [Z.min(axis=0), Z.max(axis=0)])
    # And not what the first portion alone gives.
    assert np.abs(model.dual_coef_ - first.dual_coef_).max() > 1e-3


@pytest.mark.parametrize("cuts", CUTS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shrink", ["james-stein", False])
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_gaussian_is_that_of_all_rows(few, cuts, weighted, shrink, offset):
    X, y = data()
    # Multiples of 2^-16, so that the offset is exact.
    X = np.round(X * 2**16) / 2**16 + offset
    weight = np.random.default_rng(1).uniform(0.5, 3, len(y)) if weighted else None
    model = by_portions(GAUSSIAN, X, y, weight, cuts, shrink=shrink)
    whole = clone(GAUSSIAN).set_params(shrink=shrink).fit(X, y, weight)
    assert_allclose(
        model.decision_function(X), whole.decision_function(X), atol=1e-9, rtol=1e-9
    )
    assert_allclose(model.means_, whole.means_, rtol=1e-12)
    assert_allclose(model.shrinkage_, whole.shrinkage_, rtol=1e-9)


@BOTH
@pytest.mark.parametrize("label", [0, 1])
def test_a_portion_may_hold_one_label(few, estimator, label):
    X, y = data()
    first = slice(0, 500)
    one = np.flatnonzero(y[500:] == label) + 500
    rest = np.setdiff1d(np.arange(500, len(y)), one)
    model = clone(estimator).partial_fit(X[first], y[first])
    for part in (one, rest):
        model.partial_fit(X[part], y[part])
    whole = by_portions(estimator, X, y, None, [500])
    assert_allclose(model.decision_function(X), whole.decision_function(X), atol=1e-7)


@BOTH
@pytest.mark.parametrize("cuts", [[100, 200], [500, 600]], ids=["first", "later"])
def test_a_portion_may_hold_no_row_that_counts(few, estimator, cuts):
    X, y = data()
    weight = np.ones(len(y))
    weight[cuts[0] : cuts[1]] = 0
    counts = weight > 0
    model = by_portions(estimator, X, y, weight, cuts)
    other = by_portions(estimator, X[counts], y[counts], weight[counts], cuts[:1])
    assert_allclose(model.decision_function(X), other.decision_function(X))


@BOTH
def test_rows_of_one_label_are_kept_until_the_other_comes(estimator):
    X, y = data(60)
    q, p = y == 0, y == 1
    with pytest.raises(ValueError, match="holds one class only, 0: say which two"):
        clone(estimator).partial_fit(X[q], y[q])
    model = clone(estimator).partial_fit(X[q], y[q], classes=[0, 1])
    with pytest.raises(NotFittedError):
        model.decision_function(X)
    model.partial_fit(X[p], y[p])
    whole = clone(estimator).fit(X, y)
    assert_allclose(model.decision_function(X), whole.decision_function(X))


@BOTH
def test_few_rows_in_portions_are_fitted_as_one(estimator):
    """Quantiles, repeats and choices by held-out rows are then those of all."""
    X, y = data(100)
    X = np.round(X, 1)
    weight = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    model = by_portions(estimator, X, y, weight, [50, 120])
    whole = clone(estimator).fit(X, y, weight)
    assert_allclose(model.decision_function(X), whole.decision_function(X))


@BOTH
def test_portions_after_fit(few, estimator):
    X, y = data()
    weight = np.full(len(y), 2.0)
    model = clone(estimator).fit(X[:500], y[:500], weight[:500])
    model.partial_fit(X[500:], y[500:], sample_weight=weight[500:])
    other = by_portions(estimator, X, y, weight, [500])
    assert_allclose(model.decision_function(X), other.decision_function(X), rtol=1e-9)
    again = clone(model).fit(X[:500], y[:500], weight[:500])
    assert np.abs(model.decision_function(X) - again.decision_function(X)).max() > 1e-3


def test_portions_after_a_choice_of_no_difference(few):
    """Many rows show what the first did not."""
    rng = np.random.default_rng(0)
    model = GaussianRatio(tails="normal")
    model.partial_fit(rng.normal(size=(400, 1)), np.arange(400) % 2)
    model.shrinkage_rules_ = "equal", "equal"
    X, y = rng.normal(size=(40_000, 1)), np.arange(40_000) % 2
    X[y == 1] += 0.1
    model.partial_fit(X, y)
    slope = np.diff(model.decision_function([[0.0], [1.0]]))[0]
    assert 0.06 < slope < 0.14


@pytest.mark.parametrize("tails", ["auto", "normal"])
def test_heavy_tails_are_near_those_of_all_rows(few, tails):
    rng = np.random.default_rng(0)
    X, y = rng.standard_t(2, (12_000, 2)), np.arange(12_000) % 2
    X[y == 1] += 0.7
    model = by_portions(GaussianRatio(), X, y, None, range(2000, 12_000, 2000))
    assert model.df_ < 5
    whole = GaussianRatio().fit(X, y)
    middle = np.abs(X).max(axis=1) < 5
    error = model.decision_function(X[middle]) - whole.decision_function(X[middle])
    assert np.abs(error).mean() < 0.1


@BOTH
def test_decay_forgets(few, estimator):
    """After a drift the old shift is forgotten, with half a weight after each call."""
    rng = np.random.default_rng(0)

    def portion(shift):
        y = np.arange(600) % 2
        X = rng.normal(size=(600, 1))
        X[y == 1] += shift
        return X, y

    slopes = {}
    for decay in (1.0, 0.5):
        model = clone(estimator).set_params(decay=decay)
        for shift in [1.0] * 5 + [-1.0] * 5:
            model.partial_fit(*portion(shift))
        log_ratio = model.decision_function([[-0.5], [0.5]])
        slopes[decay] = log_ratio[1] - log_ratio[0]
    assert slopes[0.5] < -0.6
    assert abs(slopes[1.0]) < 0.3


def test_decay_is_a_weight(few):
    X, y = data()
    model = by_portions(GAUSSIAN, X, y, None, [400, 800], decay=0.5, shrink=False)
    weight = np.repeat([0.25, 0.5, 1.0], [400, 400, len(y) - 800])
    whole = clone(GAUSSIAN).set_params(shrink=False).fit(X, y, weight)
    assert_allclose(model.decision_function(X), whole.decision_function(X))


@BOTH
def test_names_of_columns(few, estimator):
    X, y = data(200)
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = clone(estimator)
    for part in (slice(0, 60), slice(60, 300), slice(300, 500)):
        model.partial_fit(frame[part], y[part])
        assert list(model.feature_names_in_) == ["a", "b"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.partial_fit(frame[["b", "a"]], y)


@BOTH
def test_bad_portions_change_nothing(few, estimator):
    X, y = data(200)
    model = clone(estimator).partial_fit(X[:300], y[:300])
    before = model.decision_function(X)
    bad = X.copy()
    bad[3, 1] = np.nan
    for args, params, match in [
        ((X, y + 1), {}, "y holds the label 2, which is not one of the two classes"),
        ((X, y), {"classes": [0, 2]}, r"classes is \[0, 2\], while that of earlier"),
        ((X, y), {"classes": [0, 1, 2]}, "classes must name the two labels"),
        ((X, None), {}, "requires y to be passed"),
        ((X[:, :1], y), {}, "X has 1 features"),
        ((bad, y), {}, "column 1"),
        ((X, y[:-1]), {}, "one entry for each row"),
        ((X, y), {"sample_weight": -np.ones(len(y))}, "Negative values"),
    ]:
        with pytest.raises(ValueError, match=match):
            model.partial_fit(*args, **params)
        assert_allclose(model.decision_function(X), before, rtol=0)
    model.partial_fit(X[300:], y[300:])
    assert np.abs(model.decision_function(X) - before).max() > 0
    with pytest.raises(ValueError, match="must name exactly two domains"):
        clone(estimator).partial_fit(X, np.arange(len(y)))
    with pytest.raises(ValueError, match="'decay' parameter"):
        clone(estimator).set_params(decay=0.0).partial_fit(X, y)


def test_portions_of_negative_weights(few):
    rng = np.random.default_rng(0)
    X, y = data()
    weight = np.where(rng.random(len(y)) < 0.1, -1.0, 1.0)
    model = by_portions(LSIF, X, y, weight, [500, 900], allow_negative_weight=True)
    theta = lsif_at(model, X, y, weight)
    assert_allclose(model.dual_coef_, theta[:-1], rtol=1e-5, atol=1e-8)
    before = model.dual_coef_
    with pytest.raises(ValueError, match="must have a positive sum in each sample"):
        model.partial_fit(X, y, sample_weight=np.full(len(y), -1.0))
    assert model.dual_coef_ is before
