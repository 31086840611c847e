"""Bad and awkward input, over every public estimator: a right answer or a clear error.

What is right is a property of the ratio, so that it holds for any method: a rescaled
column changes no ratio, a constant one carries no information, samples far apart are
told apart. Estimators are fitted on two samples through one door, and answer with one
number a row; estimators that are no ratio are asked for the finite output that they
have.
"""

import functools

import numpy as np
import pytest
from instances import make_instances
from scipy.sparse import csr_array
from scipy.stats import spearmanr
from sklearn.base import clone, is_regressor
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from skdre import (
    AlignedClassifier,
    ClassifierRatio,
    Dequantizer,
    FlowFeaturizer,
    ImportanceWeighted,
    KMMRatio,
    MutualInformation,
    TargetedSampler,
    WeightedConformalRegressor,
    make_pipeline,
    pool,
)
from skdre.base import DensityRatioMixin
from skdre.datasets import make_warped_shift
from skdre.pipeline import Pipeline

pytestmark = pytest.mark.filterwarnings(
    # Few epochs and few rows are the point here; what comes out is asserted.
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:.*effective sample size:UserWarning",
    "ignore:.*separates the (two samples|rows it was fitted on):UserWarning",
    "ignore:.*none can be held out:UserWarning",
    "ignore::scipy.linalg.LinAlgWarning",
)

FLOW = FlowFeaturizer(n_transforms=1, hidden_features=(8,), max_epochs=3)


def seeded(estimator):
    states = [name for name in estimator.get_params() if name.endswith("random_state")]
    return clone(estimator).set_params(**dict.fromkeys(states, 0))


ESTIMATORS = [
    seeded(estimator)
    for estimator in (*make_instances(), make_pipeline(FLOW, KMMRatio()))
    # One is fitted on pairs, one on whole numbers, and one only draws: their rooms have
    # their tests.
    if not isinstance(estimator, MutualInformation | Dequantizer | TargetedSampler)
]
RATIOS = [
    estimator
    for estimator in ESTIMATORS
    if isinstance(estimator, DensityRatioMixin | Pipeline)
]


def ids(estimator):
    return "".join(str(estimator).split())


every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=ids)
every_ratio = pytest.mark.parametrize("estimator", RATIOS, ids=ids)


# Fitted on labelled source rows, with the target's rows beside them.
WITH_TARGET = (AlignedClassifier, ImportanceWeighted, WeightedConformalRegressor)


def values(estimator, column):
    """What the inner estimator of ImportanceWeighted learns: a function of a column."""
    column = np.asarray(column, dtype=float)
    if is_regressor(estimator):
        return np.tanh(column)
    return (column > column.sum() / max(len(column), 1)).astype(int)


def fit(estimator, numerator, denominator, y=None):
    """Fit on two samples, given as the estimator takes them."""
    estimator = clone(estimator)
    if isinstance(estimator, WITH_TARGET):
        y = values(estimator, np.arange(denominator.shape[0])) if y is None else y
        return estimator.fit(denominator, y, X_target=numerator)
    if isinstance(numerator, csr_array):
        X = csr_array(np.concatenate([numerator.toarray(), denominator.toarray()]))
        y = np.repeat([1, 0], [numerator.shape[0], denominator.shape[0]])
        return estimator.fit(X, y)
    return estimator.fit(*pool(numerator=numerator, denominator=denominator))


@functools.cache
def fitted_once(estimator):
    """Fitted on the rows of `shift`, for tests that only ask it for answers."""
    shift = make_warped_shift((150, 120), 2, random_state=0)
    return fit(estimator, shift.numerator, shift.denominator)


def answer(estimator, X):
    """One number a row."""
    for method in ("decision_function", "score_samples", "predict"):
        if hasattr(estimator, method):
            return np.asarray(getattr(estimator, method)(X))
    if hasattr(estimator, "transform"):
        return np.asarray(estimator.transform(X))[:, 0]
    raise AssertionError(f"{estimator} has no answer.")


@pytest.fixture(scope="module")
def shift():
    return make_warped_shift((150, 120), 2, random_state=0)


@pytest.fixture(scope="module")
def new():
    """Rows that no estimator was fitted on, and their true log ratio."""
    shift = make_warped_shift(150, 2, random_state=1)
    X, _ = shift.pool()
    return X, shift.log_ratio(X)


def assert_right(estimator, fitted, X_new, log_ratio):
    """Finite everywhere; a ratio in the order of the true one, near it in scale."""
    found = answer(fitted, X_new)
    assert found.shape == (len(X_new),)
    assert np.isfinite(found).all()
    if isinstance(estimator, DensityRatioMixin | Pipeline):
        assert spearmanr(found, log_ratio).statistic > 0.7
        assert abs(np.median(found - log_ratio)) < 0.5


@every_estimator
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sample", ["numerator", "denominator"])
def test_not_finite_in_fit(estimator, shift, value, sample):
    if np.isnan(value) and get_tags(estimator).input_tags.allow_nan:
        pytest.skip("It takes missing values.")
    samples = {"numerator": shift.numerator, "denominator": shift.denominator}
    samples[sample] = samples[sample].copy()
    samples[sample][3, 1] = value
    kind = "NaN" if np.isnan(value) else "infinity"
    with pytest.raises(ValueError, match=rf"\bX(_target)?\b.*contains {kind}"):
        fit(estimator, **samples)


@every_estimator
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_in_predict(estimator, value):
    if np.isnan(value) and get_tags(estimator).input_tags.allow_nan:
        pytest.skip("It takes missing values.")
    fitted = fitted_once(estimator)
    kind = "NaN" if np.isnan(value) else "infinity"
    with pytest.raises(ValueError, match=rf"\bX\b.*contains {kind}"):
        answer(fitted, [[0.0, value]])


@every_estimator
def test_sparse(estimator, shift, new):
    with pytest.raises((TypeError, ValueError), match=r"[Ss]parse"):
        fit(estimator, csr_array(shift.numerator), csr_array(shift.denominator))
    fitted = fitted_once(estimator)
    if isinstance(estimator, WITH_TARGET):
        return  # predict is the inner estimator's, and may well take sparse rows
    with pytest.raises((TypeError, ValueError), match=r"[Ss]parse"):
        answer(fitted, csr_array(new[0]))


@every_estimator
def test_no_rows(estimator, shift):
    rows, none = shift.numerator, shift.numerator[:0]
    for numerator, denominator in ((none, rows), (rows, none), (none, none)):
        with pytest.raises(
            ValueError,
            match=r"(numerator|denominator) is empty|X_target|0 sample|at least",
        ):
            fit(estimator, numerator, denominator)
    fitted = fitted_once(estimator)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        answer(fitted, none)


@every_estimator
def test_no_columns(estimator, shift):
    with pytest.raises(ValueError, match=r"0 feature\(s\)|no features|column"):
        fit(estimator, shift.numerator[:, :0], shift.denominator[:, :0])


@every_ratio
def test_one_row(estimator):
    X = np.array([[0.0, 1.0]])
    with pytest.raises(ValueError, match=r"class|1 sample\(s\)"):
        clone(estimator).fit(X, [1])


@every_ratio
@pytest.mark.parametrize("sizes", [(1, 1), (1, 40), (40, 1)])
def test_one_row_of_a_sample(estimator, sizes):
    """Finite, and the lone row is more its own sample's than the other's."""
    rng = np.random.default_rng(0)
    numerator = rng.normal(3.0, 1.0, (sizes[0], 2))
    denominator = rng.normal(-3.0, 1.0, (sizes[1], 2))
    log_ratio = answer(
        fit(estimator, numerator, denominator), np.array([[3.0, 3.0], [-3.0, -3.0]])
    )
    assert np.isfinite(log_ratio).all()
    # Without a ridge the ratio continues the denominator's weights by regression, and
    # says nothing where the denominator has no rows.
    if getattr(estimator, "ridge", None) != 0:
        assert log_ratio[0] > log_ratio[1]


@every_estimator
def test_a_constant_column_carries_nothing(estimator, shift, new):
    X_new, log_ratio = new

    def add(rows):
        return np.insert(rows, 1, 7.0, axis=1)

    fitted = fit(estimator, add(shift.numerator), add(shift.denominator))
    assert_right(estimator, fitted, add(X_new), log_ratio)
    # The bandwidth "median" is that of rows chosen along a random direction.
    if isinstance(estimator, KMMRatio) and estimator.gamma != "median":
        without = answer(fitted_once(estimator), X_new)
        np.testing.assert_allclose(
            np.exp(answer(fitted, add(X_new))), np.exp(without), atol=1e-6
        )


@every_ratio
def test_all_columns_constant(estimator):
    """One point: no domain is told from the other, so the ratio there is 1."""
    rows = np.full((30, 2), 5.0)
    fitted = fit(estimator, rows, rows[:20])
    assert abs(answer(fitted, rows[:1])[0]) < 0.1
    assert np.isfinite(answer(fitted, [[-1e3, 6.0]])).all()


@every_estimator
def test_a_column_that_is_constant_in_one_sample(estimator, shift, new):
    rows = shift.numerator.copy()
    rows[:, 1] = 0.0
    fitted = fit(estimator, rows, shift.denominator)
    found = answer(fitted, new[0])
    assert np.isfinite(found).all()
    # Logistic regression has a log ratio that is linear in x, so none on a line.
    if estimator in RATIOS and not isinstance(estimator, ClassifierRatio):
        on, off = np.array([[0.5, 0.0]]), np.array([[0.5, 2.0]])
        assert answer(fitted, on) > answer(fitted, off)


@every_estimator
def test_duplicated_rows(estimator, shift, new):
    X_new, log_ratio = new
    rows = [np.repeat(each, 3, axis=0) for each in (shift.numerator, shift.denominator)]
    assert_right(estimator, fit(estimator, *rows), X_new, log_ratio)


@every_ratio
def test_few_distinct_rows(estimator):
    """Two points: the ratio there is that of the frequencies, 0.8/0.4 and 0.2/0.6."""
    points = np.array([[0.0, 0.0], [1.0, 2.0]])
    numerator, denominator = (
        np.repeat(points, counts, axis=0) for counts in ([160, 40], [40, 60])
    )
    fitted = fit(estimator, numerator, denominator)
    np.testing.assert_allclose(
        answer(fitted, points), np.log([0.8 / 0.4, 0.2 / 0.6]), atol=0.5
    )


@every_estimator
def test_samples_are_one(estimator, shift, new):
    """The same rows in both: the ratio is 1, the weights are equal."""
    fitted = fit(estimator, shift.denominator, shift.denominator)
    found = answer(fitted, new[0])
    assert np.isfinite(found).all()
    if estimator in RATIOS:
        assert np.median(np.abs(found)) < 0.1
    if isinstance(estimator, ImportanceWeighted):
        assert np.mean(np.abs(fitted.sample_weight_ - 1)) < 0.1


@every_estimator
def test_disjoint_samples(estimator, shift, new):
    numerator, denominator = shift.numerator + 50, shift.denominator - 50
    fitted = fit(estimator, numerator, denominator)
    assert np.isfinite(answer(fitted, new[0])).all()
    if estimator in RATIOS:
        assert answer(fitted, numerator).min() > answer(fitted, denominator).max()
        assert fitted.score(*pool(numerator=numerator, denominator=denominator)) > -0.69


@every_estimator
@pytest.mark.parametrize(
    "scale", [(1e-9, 1e9), (1e9, 1e9), (1e-9, 1e-9), (1e-150, 1e150)]
)
def test_scale_of_the_columns(estimator, shift, new, scale):
    X_new, log_ratio = new
    fitted = fit(estimator, shift.numerator * scale, shift.denominator * scale)
    assert_right(estimator, fitted, X_new * scale, log_ratio)


@every_estimator
def test_offset_of_the_columns(estimator, shift, new):
    """A million standard deviations from 0: dates in seconds look like this."""
    X_new, log_ratio = new
    fitted = fit(estimator, shift.numerator + 1e6, shift.denominator + 1e6)
    assert_right(estimator, fitted, X_new + 1e6, log_ratio)


@every_estimator
def test_dtype(estimator, shift, new):
    """The same numbers in another type or order give the same answer."""

    def rounded(rows):
        return np.clip(np.round(rows * 20 + 100), 0, 255)

    samples = [rounded(each) for each in (shift.numerator, shift.denominator)]
    X_new, log_ratio = rounded(new[0]), new[1]
    y = values(estimator, samples[1][:, 0])
    expected = fit(estimator, *samples, y)
    assert_right(estimator, expected, X_new, log_ratio)
    # Each type in one order: they are converted, or refused, independently.
    for dtype, order in (
        *((np.float64, "F"), (np.float32, "C"), (np.int64, "F")),
        *((np.uint8, "C"), (object, "F"), (">f8", "C")),
    ):
        converted = (np.asarray(each, dtype=dtype, order=order) for each in samples)
        fitted = fit(estimator, *converted, y)
        # The inner estimator of ImportanceWeighted may work in single precision.
        inner = dtype is np.float32 and isinstance(estimator, WITH_TARGET)
        np.testing.assert_allclose(
            answer(fitted, X_new.astype(dtype)),
            answer(expected, X_new),
            rtol=1e-2 if inner else 1e-4,
            atol=1e-2 if inner else 1e-5,
            err_msg=str((dtype, order)),
        )
        if isinstance(estimator, ImportanceWeighted):
            np.testing.assert_allclose(
                fitted.sample_weight_, expected.sample_weight_, rtol=1e-5
            )


@every_estimator
def test_words(estimator, shift):
    if get_tags(estimator).input_tags.string:
        pytest.skip("It takes words.")
    words = np.full((10, 2), "a", dtype=object)
    with pytest.raises(ValueError, match=r"could not convert|X"):
        fit(estimator, words, words)


@every_estimator
def test_one_dimension(estimator, shift):
    column = shift.numerator[:, 0]
    with pytest.raises(
        ValueError, match=r"numerator must be two-dim|X_target|2D|\bX\b"
    ):
        fit(estimator, column, column)
    fitted = fitted_once(estimator)
    with pytest.raises(ValueError, match="Expected 2D array"):
        answer(fitted, column)


@every_estimator
def test_one_column(estimator, shift):
    """A single feature is a proper problem."""
    one = make_warped_shift(150, 1, random_state=0)
    rows = np.linspace(-1, 2, 50)[:, None]
    fitted = fit(estimator, one.numerator, one.denominator)
    assert_right(estimator, fitted, rows, one.log_ratio(rows))


@every_estimator
@pytest.mark.parametrize("width", [1, 3])
def test_other_number_of_columns(estimator, width):
    fitted = fitted_once(estimator)
    with pytest.raises(ValueError, match=f"X has {width} features, but .* 2 features"):
        answer(fitted, np.zeros((4, width)))


@every_estimator
def test_data_frame_with_other_columns(estimator, shift, new):
    pd = pytest.importorskip("pandas")
    p, q, rows = (
        pd.DataFrame(each, columns=["b", "a"])
        for each in (shift.numerator, shift.denominator, new[0])
    )
    y = values(estimator, shift.denominator[:, 0])
    fitted = fit(estimator, p, q, y)
    expected = answer(fit(estimator, shift.numerator, shift.denominator, y), new[0])
    np.testing.assert_allclose(answer(fitted, rows), expected, rtol=1e-7, atol=1e-9)
    for other in (rows[["a", "b"]], rows.rename(columns={"a": "c"}), rows[["b"]]):
        with pytest.raises(ValueError, match="feature names should match"):
            answer(fitted, other)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        answer(fitted, new[0])


@pytest.mark.parametrize(
    "estimator",
    [each for each in ESTIMATORS if has_fit_parameter(each, "sample_weight")],
    ids=ids,
)
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-1.0, "[Nn]egative.*sample_weight|sample_weight.*negative"),
        (0.0, "[Ss]ample.weight"),
        (np.nan, "sample_weight contains NaN"),
        (np.inf, "sample_weight contains infinity"),
    ],
)
def test_weights(estimator, shift, weight, message):
    if isinstance(estimator, WITH_TARGET):
        X, y = shift.denominator, values(estimator, shift.denominator[:, 0])
        params = {"X_target": shift.numerator}
    else:
        (X, y), params = shift.pool(), {}
    for weights in (np.full(len(y), weight), np.where(y == y[0], weight, 1.0)):
        if weight == 0 and weights.any() and params:
            continue  # some source rows of weight zero are absent, which is no error
        with pytest.raises(ValueError, match=message):
            clone(estimator).fit(X, y, sample_weight=weights, **params)
    with pytest.raises(ValueError, match="sample_weight"):
        clone(estimator).fit(X, y, sample_weight=np.ones(len(y) - 1), **params)
