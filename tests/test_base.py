import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_predict, cross_val_score

from skdre.base import (
    DensityRatioMixin,
    bounded_log_ratio,
    check_pool,
    exp_log_ratio,
    pool,
    split_samples,
)
from skdre.metrics import ratio_log_loss


class FirstColumn(DensityRatioMixin, BaseEstimator):
    """The log ratio is the first column of X."""

    def fit(self, X, y, sample_weight=None):
        self.samples_ = split_samples(self, X, y, sample_weight)
        self.classes_ = self.samples_.classes
        return self

    def decision_function(self, X):
        return self._validate_rows(X)[:, 0]


X = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0], [5.0, 50.0]])
Y = np.array([0, 1, 0, 1, 1])


class TestPool:
    def test_arrays(self):
        rows, y = pool(numerator=[[1, 2], [3, 4]], denominator=np.array([[5.5, 6]]))
        np.testing.assert_array_equal(rows, [[1, 2], [3, 4], [5.5, 6]])
        np.testing.assert_array_equal(y, [1, 1, 0])
        assert y.dtype.kind == "i"

    def test_names_are_needed(self):
        with pytest.raises(TypeError):
            pool(X, X)

    def test_samples_are_copied(self):
        p, q = X.copy(), X.copy()
        rows, _ = pool(numerator=p, denominator=q)
        rows[:] = 0
        np.testing.assert_array_equal(p, X)
        np.testing.assert_array_equal(q, X)

    @pytest.mark.parametrize("library", ["pandas", "polars"])
    def test_frames_are_stacked_by_name(self, library):
        frames = pytest.importorskip(library)
        p = frames.DataFrame({"a": [1, 2], "b": [3.0, 4.0]})
        q = frames.DataFrame({"b": [5.0], "a": [6.5]})
        rows, y = pool(numerator=p, denominator=q)
        assert isinstance(rows, frames.DataFrame)
        assert list(rows.columns) == ["a", "b"]
        np.testing.assert_array_equal(
            rows.to_numpy().astype(float), [[1, 3], [2, 4], [6.5, 5]]
        )
        np.testing.assert_array_equal(y, [1, 1, 0])
        if library == "pandas":
            assert list(rows.index) == [0, 1, 2]

    def test_frames_with_other_columns(self):
        pd = pytest.importorskip("pandas")
        p = pd.DataFrame(X, columns=["a", "b"])
        with pytest.raises(ValueError, match=r"same columns.*\['b', 'c'\]"):
            pool(numerator=p, denominator=p.rename(columns={"b": "c"}))
        twice = pd.DataFrame(X, columns=["a", "a"])
        with pytest.raises(ValueError, match="same columns, each once"):
            pool(numerator=twice, denominator=twice)

    @pytest.mark.parametrize("frame", ["numerator", "denominator"])
    def test_one_frame_and_one_array(self, frame):
        pd = pytest.importorskip("pandas")
        samples = {"numerator": X, "denominator": X, frame: pd.DataFrame(X)}
        with pytest.raises(TypeError, match=f"{frame} is a DataFrame"):
            pool(**samples)

    @pytest.mark.parametrize("name", ["numerator", "denominator"])
    @pytest.mark.parametrize(
        ("bad", "error", "message"),
        [
            (X[:, 0], ValueError, r"must be two-dimensional.*\(5,\)"),
            (X[None], ValueError, r"must be two-dimensional.*\(1, 5, 2\)"),
            (1.0, ValueError, "must be two-dimensional"),
            (X[:0], ValueError, "is empty"),
            (csr_array(X), TypeError, "is a sparse matrix"),
            ([[1, 2], [3]], ValueError, "is not a rectangular array"),
        ],
    )
    def test_bad_sample(self, name, bad, error, message):
        with pytest.raises(error, match=f"{name} {message}"):
            pool(**{"numerator": X, "denominator": X, name: bad})

    def test_unequal_numbers_of_columns(self):
        with pytest.raises(ValueError, match="number of columns, got 2 and 1"):
            pool(numerator=X, denominator=X[:, :1])


def as_given(samples):
    """The rows of the numerator and of the denominator in the order of the pool."""
    return (
        samples.numerator[samples.numerator_row],
        samples.denominator[samples.denominator_row],
    )


class TestSplitSamples:
    def test_undoes_pool(self):
        samples = split_samples(
            FirstColumn(), *pool(numerator=X, denominator=X[:2] + 1)
        )
        numerator, denominator = as_given(samples)
        np.testing.assert_array_equal(numerator, X)
        np.testing.assert_array_equal(denominator, X[:2] + 1)
        np.testing.assert_array_equal(samples.denominator_index, [5, 6])
        np.testing.assert_array_equal(samples.classes, [0, 1])
        assert samples.numerator_weight is None
        assert samples.denominator_weight is None

    def test_mixed_rows_and_weights(self):
        weight = [1.0, 0.0, 3.0, 4.0, 5.0]
        samples = split_samples(FirstColumn(), X, Y, weight)
        numerator, denominator = as_given(samples)
        np.testing.assert_array_equal(numerator, X[[3, 4]])
        np.testing.assert_array_equal(denominator, X[[0, 2]])
        np.testing.assert_array_equal(
            samples.numerator_weight[samples.numerator_row], [4, 5]
        )
        np.testing.assert_array_equal(
            samples.denominator_weight[samples.denominator_row], [1, 3]
        )
        np.testing.assert_array_equal(samples.denominator_index, [0, 2])

    def test_scalar_weight(self):
        samples = split_samples(FirstColumn(), X, Y, 2.0)
        np.testing.assert_array_equal(samples.numerator_weight, [2, 2, 2])

    @pytest.mark.parametrize(
        "labels",
        [
            np.array(["real", "simulated"]),
            np.array(["q", "z"], dtype=object),
            np.array([False, True]),
            np.array([0.5, 1.5]),
            np.array([-1, 1]),
            np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[D]"),
        ],
        ids=str,
    )
    def test_labels(self, labels):
        model = FirstColumn().fit(X, labels[Y])
        np.testing.assert_array_equal(as_given(model.samples_)[0], X[Y == 1])
        np.testing.assert_array_equal(model.classes_, labels)
        np.testing.assert_array_equal(model.predict([[-1, 0], [1, 0]]), labels)
        assert model.score(X, labels[Y]) == -ratio_log_loss(Y, X[:, 0])

    def test_column_of_labels_is_flattened_with_a_warning(self):
        with pytest.warns(UserWarning, match="column-vector y"):
            samples = split_samples(FirstColumn(), X, Y[:, None])
        np.testing.assert_array_equal(as_given(samples)[0], X[Y == 1])

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (None, "requires y to be passed, but the target y is None"),
            (np.zeros(5, int), "y holds one class only: .*0"),
            (["a"] * 5, "y holds one class only: .*'a'"),
            ([0, 1, 2, 0, 1], r"holds 3 classes \(0, 1, 2\)"),
            (list("abcab"), r"holds 3 classes \('a', 'b', 'c'\)"),
            ([0.1, 0.2, 0.3, 0.4, 0.5], "continuous"),
            ([0, 1, np.nan, 0, 1], "Input y contains NaN"),
            (np.array([0, 1, np.nan, 0, 1], dtype=object), "y contains NaN"),
            (np.array([0, np.nan, 0, 0, np.nan], dtype=object), "y contains NaN"),
            ([0, np.inf, 0, 0, 0], "Input y contains NaN or infinity"),
            (np.array([0, "a", 0, "a", 0], dtype=object), "mixed types"),
            (np.array([0, None, 0, 0, 1], dtype=object), "y must hold labels|NaN"),
            (np.zeros((5, 2)), "y should be a 1d array"),
            (Y[:4], "5 rows of X and 4 labels in y"),
            ([], "X and y are empty"),
        ],
    )
    def test_bad_labels(self, y, message):
        with pytest.raises(ValueError, match=message):
            split_samples(FirstColumn(), X, y)

    @pytest.mark.parametrize(
        ("weight", "message"),
        [
            (-np.ones(5), "Negative values.*sample_weight"),
            ([1, 1, 1, 1, np.nan], "sample_weight contains NaN"),
            ([1, 1, 1, 1, np.inf], "sample_weight contains infinity"),
            (np.ones(4), r"sample_weight.shape == \(4,\), expected \(5,\)"),
            (np.ones((5, 1)), "[Ss]ample.weights? must be 1D|sample_weight"),
            (Y, "sample_weight is zero for every row of class .*0"),
            (1 - Y, "sample_weight is zero for every row of class .*1"),
            (np.zeros(5), "[Ss]ample.weight"),
        ],
    )
    def test_bad_weights(self, weight, message):
        with pytest.raises(ValueError, match=message):
            split_samples(FirstColumn(), X, Y, weight)

    @pytest.mark.parametrize(
        ("rows", "error", "message"),
        [
            (np.where(X == 3, np.nan, X), ValueError, "Input X contains NaN"),
            (np.where(X == 3, -np.inf, X), ValueError, "Input X contains infinity"),
            (csr_array(X), TypeError, "Sparse data was passed for X"),
            (X[:, 0], ValueError, "Expected 2D array"),
            (X[:, :0], ValueError, r"0 feature\(s\)"),
            (np.full((5, 2), "a"), ValueError, "could not convert string"),
            (X + 1j, ValueError, "Complex data not supported"),
        ],
    )
    def test_bad_rows(self, rows, error, message):
        with pytest.raises(error, match=message):
            split_samples(FirstColumn(), rows, Y)

    def test_a_rejected_input_leaves_the_estimator_as_it_was(self):
        pd = pytest.importorskip("pandas")
        model = FirstColumn().fit(pd.DataFrame(X, columns=["a", "b"]), Y)
        before = dict(vars(model))
        with_nan = np.where(X == 3, np.nan, X)
        for rows in (
            with_nan,
            with_nan[:, :1],
            pd.DataFrame(with_nan, columns=["c", "d"]),
            pd.DataFrame(X[:4], columns=["c", "d"]),
        ):
            with pytest.raises(ValueError):
                model.fit(rows, Y)
            assert vars(model).keys() == before.keys()
            assert all(vars(model)[key] is value for key, value in before.items())
        assert list(model.feature_names_in_) == ["a", "b"]


class TestMixin:
    @pytest.fixture
    def model(self):
        return FirstColumn().fit(X, Y)

    def test_ratio_saturates(self, model):
        largest = np.finfo(float).max
        with np.errstate(over="raise"):
            ratio = model.predict_ratio([[-1e6, 0], [0, 0], [1, 0], [1e6, 0]])
        assert ratio[:3].tolist() == [0, 1, np.e]
        assert ratio[3] == pytest.approx(largest, rel=1e-9)
        assert np.isfinite(exp_log_ratio(np.array([1e308, 709.78]))).all()

    def test_probabilities(self, model):
        rows = np.array([[-2.0, 0], [0, 0], [3, 0]])
        ratio = np.exp(rows[:, 0])
        np.testing.assert_allclose(
            model.predict_proba(rows),
            np.array([1 / (1 + ratio), ratio / (1 + ratio)]).T,
        )

    def test_probabilities_far_out_keep_their_digits(self, model):
        rows = [[-800.0, 0], [-40, 0], [40, 0], [800, 0]]
        probability = model.predict_proba(rows)
        assert probability[1, 1] == pytest.approx(np.exp(-40), rel=1e-12)
        assert probability[2, 0] == pytest.approx(np.exp(-40), rel=1e-12)
        log_probability = model.predict_log_proba(rows)
        np.testing.assert_allclose(log_probability[[0, 3], [1, 0]], -800)
        np.testing.assert_allclose(
            log_probability[[1, 2], [0, 1]], -np.log1p(np.exp(-40)), rtol=1e-12
        )

    def test_predict_needs_a_ratio_above_one(self, model):
        rows = [[-1e-9, 0], [0, 0], [1e-9, 0]]
        assert model.predict(rows).tolist() == [0, 0, 1]

    def test_score_is_the_balanced_log_loss(self, model):
        rows = X - 3
        probability = 1 / (1 + np.exp(-rows[:, 0]))
        loss = -np.log(np.where(Y == 1, probability, 1 - probability))
        expected = -(loss[Y == 1].mean() + loss[Y == 0].mean()) / 2
        assert model.score(rows, Y) == pytest.approx(expected)
        weight = np.array([1, 0, 2, 3, 0])
        repeated = np.repeat(np.arange(5), weight)
        assert model.score(rows, Y, weight) == pytest.approx(
            model.score(rows[repeated], Y[repeated])
        )

    @pytest.mark.parametrize(
        ("y", "weight", "message"),
        [
            (Y + 1, None, r"label .*2.*classes seen in fit: \[0, 1\]"),
            (Y.astype(str), None, "label '0'|label .*0"),
            (np.ones(5), None, "the denominator's class has none"),
            (Y[:4], None, "5 rows of X and 4 labels in y"),
            (Y, -np.ones(5), "Negative values.*sample_weight"),
            (Y, np.ones(4), "sample_weight"),
            (Y, Y, "the denominator's class has none"),
            (None, None, "y should be a 1d array"),
        ],
    )
    def test_score_rejects(self, model, y, weight, message):
        with pytest.raises(ValueError, match=message):
            model.score(X, y, sample_weight=weight)

    @pytest.mark.parametrize(
        "method", ["decision_function", "predict_ratio", "predict_proba", "predict"]
    )
    def test_prediction_rejects(self, model, method):
        predict = getattr(model, method)
        with pytest.raises(ValueError, match="X has 1 features, but FirstColumn"):
            predict(X[:, :1])
        with pytest.raises(ValueError, match="Input X contains NaN"):
            predict([[np.nan, 0]])
        with pytest.raises(NotFittedError):
            getattr(FirstColumn(), method)(X)

    def test_cross_validation_of_scikit_learn(self):
        rng = np.random.default_rng(0)
        rows = np.concatenate([rng.normal(1, 1, (90, 1)), rng.normal(0, 1, (10, 1))])
        y = np.repeat([1, 0], [90, 10])
        # Stratified: ten folds of sorted labels would else hold one class only.
        scores = cross_val_score(FirstColumn(), rows, y, cv=10)
        assert np.isfinite(scores).all()
        log_ratio = cross_val_predict(
            FirstColumn(), rows, y, method="decision_function"
        )
        np.testing.assert_array_equal(log_ratio, rows[:, 0])


class TestCheckPool:
    def test_rows_stay_as_they_are(self):
        X, y = [[1.0], [2.0], [3.0]], ["q", "p", "z"]
        with pytest.raises(ValueError, match="exactly two domains"):
            check_pool(FirstColumn(), X, y)
        rows = check_pool(FirstColumn(), X, ["q", "p", "q"], [1, 2, 0])
        np.testing.assert_array_equal(rows.X, X)
        np.testing.assert_array_equal(rows.is_numerator, [True, False, True])
        np.testing.assert_array_equal(rows.sample_weight, [1, 2, 0])
        np.testing.assert_array_equal(rows.classes, ["p", "q"])

    def test_nothing_is_set(self):
        model = FirstColumn()
        check_pool(model, [[1.0], [2.0]], [0, 1])
        assert not hasattr(model, "n_features_in_")


class TestBoundedLogRatio:
    def test_between_the_bounds_it_is_the_log_odds(self):
        p = np.array([0.3, 0.5, 0.9])
        found = bounded_log_ratio(np.column_stack([1 - p, p]), 50, 200)
        np.testing.assert_allclose(found, np.log(p / (1 - p)))
        less = bounded_log_ratio(np.column_stack([1 - p, p]), 50, 200, np.log(2.0))
        np.testing.assert_allclose(less, np.log(p / (1 - p) / 2))

    def test_zero_is_a_share_of_one_row_more(self):
        """All 50 rows of p and none of 200 of q: 50/50 over 1/201; and the reverse."""
        with np.errstate(all="raise"):
            found = bounded_log_ratio([[0, 1], [1, 0]], 50, 200)
        np.testing.assert_allclose(found, np.log([201, 1 / 51]))


@pytest.mark.parametrize("shapes", [((30, 2), (30, 2)), ((30, 2), (20, 2)), (30, 20)])
def test_two_samples_in_place_of_labels(shapes):
    """fit(X_num, X_den) is a natural mistake: the message says what to do."""
    first, second = (np.random.default_rng(0).normal(size=each) for each in shapes)
    with pytest.raises(ValueError, match=r"pool\(numerator=..., denominator=...\)"):
        FirstColumn().fit(np.atleast_2d(first.T).T, second)
