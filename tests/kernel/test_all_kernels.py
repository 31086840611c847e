"""What holds for all kernel estimators: any rows, any origin, any company."""

import inspect
import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skdre import KLIEPRatio, KMMRatio, LSIFRatio, pool

ESTIMATORS = [
    KMMRatio(random_state=0),
    KMMRatio(solver="nystroem", n_components=60, random_state=0),
    KMMRatio(ridge=0, random_state=0),
    LSIFRatio(n_components=20, random_state=0),
    KLIEPRatio(n_components=15, cv=2, random_state=0),
]


def of_all(estimators):
    return pytest.mark.parametrize("estimator", estimators, ids=lambda e: str(e)[:60])


def strictly(function, *args):
    """Call it with numpy's warnings as errors, and all others but two."""
    with (
        np.errstate(over="raise", invalid="raise", divide="raise"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Values far from all others")
        return function(*args)


def samples(d, n_p=30, n_q=40, seed=0):
    rng = np.random.default_rng(seed)
    # Coordinates are multiples of 2^-16, so that a large shift of them is exact.
    p, q = rng.normal(0.5, 1, (n_p, d)), rng.normal(size=(n_q, d))
    X, y = pool(numerator=p, denominator=q)
    return np.round(X * 2**16) / 2**16, y


@pytest.mark.parametrize(
    ("estimator", "least"),
    [
        (KMMRatio(gamma=1.0), 0.01),
        (KLIEPRatio(gamma=1.0, intercept=False), 0.0001),
    ],
    ids=str,
)
def test_the_least_ratio_is_that_of_the_documentation(estimator, least):
    X, y = pool(
        numerator=np.random.default_rng(0).normal(size=(200, 2)),
        denominator=np.random.default_rng(1).normal([9.0, 0.0], size=(200, 2)),
    )
    found = estimator.fit(X, y).predict_ratio([*X, [9.0, 9.0]])
    assert found.min() == pytest.approx(least, rel=1e-12)
    for text in (estimator.__doc__, estimator.decision_function.__doc__):
        assert re.search(f"(at least|between) log\\({least:.4g}\\)", text), text


@of_all(ESTIMATORS)
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("d", [1, 3, 20])
def test_a_shift_of_the_origin_changes_nothing(estimator, standardize, d):
    X, y = samples(d)
    model = clone(estimator).set_params(standardize=standardize)
    expected = model.fit(X, y).decision_function(X)
    for shift in (1e7, 1.7e9):
        moved = clone(model).fit(X + shift, y)
        assert_allclose(moved.decision_function(X + shift), expected, atol=1e-6)
        assert_allclose(moved.center_, model.center_ + shift, rtol=1e-6)


def test_columns_in_their_own_units_are_centred_all_the_same():
    X, y = samples(2)
    X[y == 1] += 3
    X[-1, 0] = 1e12
    model = KMMRatio(standardize=False).fit(X, y)
    medians = [np.median(X[y == label], axis=0) for label in (0, 1)]
    assert_allclose(model.center_, np.mean(medians, axis=0), atol=0.1)
    assert_allclose(model.scale_, 1, atol=0)
    # The lower median of an even number of rows, weights counting repeats.
    X = np.array([[0.0], [1.0], [2.0], [7.0], [10.0], [20.0]])
    model = KMMRatio(standardize=False).fit(X, [0, 0, 0, 0, 1, 1])
    assert model.center_ == (1 + 10) / 2


@of_all(ESTIMATORS)
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("d", [1, 3, 20])
@pytest.mark.parametrize("outlier", [None, 1e9])
def test_a_prediction_does_not_depend_on_its_company(
    estimator, standardize, d, outlier
):
    X, y = samples(d)
    if outlier is not None:
        X[0, 0] = X[-1, -1] = outlier
    model = clone(estimator).set_params(standardize=standardize).fit(X, y)
    together = model.decision_function(X)
    one_by_one = [model.decision_function(row[None])[0] for row in X]
    assert_allclose(one_by_one, together, atol=1e-9, rtol=0)
    order = np.random.default_rng(1).permutation(len(X))
    assert_allclose(model.decision_function(X[order]), together[order], atol=1e-9)
    far = np.concatenate([np.full((1, d), 1e12), X[:37], np.full((1, d), -1e300)])
    assert_allclose(model.decision_function(far)[1:-1], together[:37], atol=1e-9)


def test_weights_are_predictions_with_features_of_many_rows(monkeypatch):
    # Features formed anew, in single precision, beside a row that is far from all.
    monkeypatch.setattr("skdre.kernel._matching._DOUBLE_ENTRIES", 0)
    X, y = samples(3)
    X[-1] = 1e25
    model = strictly(clone(ESTIMATORS[1]).set_params(standardize=False).fit, X, y)
    monkeypatch.undo()
    exact = clone(model).fit(X, y)
    assert_allclose(model.weights_, exact.weights_, atol=1e-3)


HEAVY = {
    "cauchy": lambda rng, shape: rng.standard_cauchy(shape),
    "pareto .25": lambda rng, shape: rng.pareto(0.25, shape),
    "pareto .1": lambda rng, shape: rng.pareto(0.1, shape),
    "lognormal": lambda rng, shape: rng.lognormal(0, 10, shape),
    "ties": lambda rng, shape: rng.integers(0, 3, shape).astype(float),
    "one outlier": lambda rng, shape: np.r_[
        np.full((1, shape[1]), 1e9), rng.normal(size=(shape[0] - 1, shape[1]))
    ],
    "duplicates": lambda rng, shape: np.repeat(
        rng.normal(size=(shape[0] // 6 + 1, shape[1])), 6, axis=0
    )[: shape[0]],
    "constant": lambda rng, shape: np.full(shape, 3.0),
    "large": lambda rng, shape: 1e150 * rng.normal(size=shape),
    "small": lambda rng, shape: 1e-150 * rng.normal(size=shape),
    "mixed": lambda rng, shape: np.where(
        rng.random(shape) < 0.02, 1e150, rng.normal(size=shape)
    ),
    "clumps": lambda rng, shape: (
        1e12 * rng.integers(0, 2, (shape[0], 1)) + rng.normal(size=shape)
    ),
}


@pytest.mark.parametrize("kind", HEAVY)
@of_all(ESTIMATORS)
def test_any_finite_rows_are_fitted_without_a_warning_of_numpy(estimator, kind):
    rng = np.random.default_rng(3)
    for standardize, d, n_p, n_q in [(True, 1, 60, 80), (False, 18, 50, 3)]:
        p, q = HEAVY[kind](rng, (n_p, d)), 2 * HEAVY[kind](rng, (n_q, d))
        X, y = pool(numerator=p, denominator=q)
        model = clone(estimator).set_params(standardize=standardize)
        strictly(model.fit, X, y)
        rows = np.concatenate([X, np.zeros((1, d)), np.full((1, d), 1e300)])
        assert np.isfinite(strictly(model.decision_function, rows)).all()


EXTREMES = [
    KMMRatio(ridge=1e-300),
    KMMRatio(ridge=1e-300, solver="nystroem", n_components=40, random_state=0),
    KMMRatio(ridge=1e300),
    KMMRatio(B=1e300),
    KMMRatio(B=1e300, ridge=0, random_state=0),
    KMMRatio(gamma=1e300),
    KMMRatio(gamma=1e-300),
    KMMRatio(gamma=1e-300, ridge=0, random_state=0),
    LSIFRatio(ridge=1e-300, gamma="median"),
    LSIFRatio(ridge=[1e-300, 1e300], gamma=[1e-300, 1.0, 1e300]),
    LSIFRatio(ridge=[1e-300, 1.0], scoring="lsif_loss", intercept=False),
    KLIEPRatio(gamma=1e300, intercept=False),
    KLIEPRatio(gamma=[1e-300, 1.0, 1e300], random_state=0),
]


@of_all(EXTREMES)
@pytest.mark.parametrize("kind", ["cauchy", "constant", "duplicates"])
def test_extreme_settings_are_fitted_without_a_warning_of_numpy(estimator, kind):
    rng = np.random.default_rng(0)
    X, y = pool(
        numerator=HEAVY[kind](rng, (40, 2)), denominator=rng.normal(size=(30, 2))
    )
    model = strictly(clone(estimator).fit, X, y)
    assert np.isfinite(strictly(model.decision_function, X)).all()


def test_landmarks_end_where_a_row_lies_far_out():
    rng = np.random.default_rng(3)
    p, q = rng.normal(0.5, 1, (3000, 1)), rng.normal(size=(3000, 1))
    q[0] = 1e9
    X, y = pool(numerator=p, denominator=q)
    model = strictly(KMMRatio(n_components=50, random_state=0).fit, X, y)
    rows = np.array([[-1.0], [0.0], [1.0], [2.0]])
    # The truth is x / 2 - 1 / 8, which one row of 6,000 does not hide.
    assert (np.diff(model.decision_function(rows)) > 0.3).all()


def test_landmarks_end_on_tails_without_a_mean():
    rng = np.random.default_rng(3)
    p, q = rng.pareto(0.25, (3000, 1)), 2 * rng.pareto(0.25, (3000, 1))
    X, y = pool(numerator=p, denominator=q)
    model = strictly(KMMRatio(n_components=50, random_state=0).fit, X, y)
    assert np.isfinite(model.decision_function(X)).all()


@of_all([KMMRatio, KLIEPRatio, LSIFRatio])
def test_defaults_are_those_of_the_docstring(estimator):
    doc = inspect.getdoc(estimator)
    told = dict(re.findall(r"^(\w+) : .*default=(\S+)$", doc, re.MULTILINE))
    defaults = estimator().get_params()
    assert told.keys() == defaults.keys()
    assert {name: eval(value, {}) for name, value in told.items()} == defaults
