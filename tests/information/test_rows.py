"""What rows may hold is decided by the ratio, in every function that takes both."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from skdre import (
    AlignedClassifier,
    ClassifierRatio,
    GaussianRatio,
    ImportanceWeighted,
    LikelihoodRatioAligner,
    diagnose,
    divergence,
    importance_weighted_score,
    make_pipeline,
    mutual_information,
    pool,
    score_test,
    shift_importance,
    two_sample_test,
)

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


def numbers(result):
    """What a function found, as an array."""
    for name in ("log_ratios", "null_distribution", "importances"):
        if hasattr(result, name):
            return np.asarray(getattr(result, name))
    raise AssertionError(result)


def split_test(*args, **params):
    """The test whose rows are what its ratio takes."""
    return two_sample_test(*args, method="split", **params)


FUNCTIONS = [divergence, split_test, diagnose, shift_importance]


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return pool(
        numerator=rng.normal(1.0, 1.0, (60, 3)), denominator=rng.normal(size=(50, 3))
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_missing_values_that_a_pipeline_imputes(function, rows):
    X, y = rows
    holes = X.copy()
    holes[::9, 1] = np.nan
    imputer = SimpleImputer(strategy="constant", fill_value=0.0)
    ratio = make_pipeline(imputer, GaussianRatio(shrink=False))
    filled = np.nan_to_num(holes)
    expected = function(GaussianRatio(shrink=False), filled, y, random_state=0)
    for table in (holes, pd.DataFrame(holes, columns=list("abc"))):
        found = function(ratio, table, y, random_state=0)
        if function is shift_importance:
            # Holes are permuted with their column.
            np.testing.assert_allclose(found.importances, expected.importances)
        else:
            np.testing.assert_allclose(numbers(found), numbers(expected))
    with pytest.raises(ValueError, match="contains NaN"):
        function(GaussianRatio(shrink=False), holes, y)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("library", [pd, pl])
def test_frames_with_words(function, library, rows):
    X, y = rows
    word = np.where(X[:, 1] > 0.5, "more", "less")
    frame = library.DataFrame({"a": X[:, 0], "b": word.tolist()})
    coded = np.column_stack([X[:, 1] > 0.5, X[:, 0]]).astype(float)
    encode = OneHotEncoder(drop=["less"], sparse_output=False)
    columns = make_column_transformer((encode, ["b"]), remainder="passthrough")
    ratio = make_pipeline(columns, ClassifierRatio())
    found = function(ratio, frame, y, random_state=0)
    expected = function(ClassifierRatio(), coded, y, random_state=0)
    values, wanted = numbers(found), numbers(expected)
    if function is shift_importance:
        # Each column has its own permutations: they agree on average.
        values, wanted = values.mean(axis=1), wanted.mean(axis=1)[::-1]
        np.testing.assert_allclose(values, wanted, atol=0.04)
    else:
        np.testing.assert_allclose(values, wanted, atol=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_sparse_rows(function, rows):
    X, y = np.round(rows[0]), rows[1]

    def dense(X):
        return X.toarray()

    ratio = make_pipeline(
        FunctionTransformer(dense, accept_sparse=True), GaussianRatio(shrink=False)
    )
    found = function(ratio, csr_array(X), y, random_state=0)
    expected = function(GaussianRatio(shrink=False), X, y, random_state=0)
    np.testing.assert_allclose(numbers(found), numbers(expected))
    with pytest.raises(TypeError, match="Sparse data"):
        function(GaussianRatio(shrink=False), csr_array(X), y)


@pytest.mark.parametrize("function", [*FUNCTIONS, score_test])
def test_one_dimension_is_one_column(function, rows):
    X, y = rows[0][:, 0], rows[1]
    model = (GaussianRatio(shrink=False),) if function is not score_test else ()

    def call(X):
        return numbers(function(*model, X, y, random_state=0))

    expected = call(X[:, None])
    for given in (X, X.tolist(), pd.Series(X), pd.Series(X, name="a"), pl.Series(X)):
        np.testing.assert_allclose(call(given), expected)


def test_one_dimension_of_pairs(rows):
    X, Y = rows[0][:, 0], rows[0][:, 1] + rows[0][:, 0]

    def call(X, Y):
        return mutual_information(
            X, Y, GaussianRatio(shrink=False), random_state=0
        ).value

    expected = call(X[:, None], Y[:, None])
    assert call(X, Y) == expected
    assert call(pd.Series(X), Y[:, None]) == expected
    assert call(X.tolist(), pd.Series(Y)) == expected


def test_weighted_and_aligned_classifiers(rows):
    X, domain = rows
    X_target, source = X[domain == 1], X[domain == 0].copy()
    y = (source[:, 0] > 0).astype(int)
    source[::9, 1] = np.nan
    fill = SimpleImputer(strategy="constant", fill_value=0.0)
    filled = np.nan_to_num(source)
    inner = make_pipeline(fill, LogisticRegression())
    model = ImportanceWeighted(inner, make_pipeline(fill, GaussianRatio(shrink=False)))
    model.fit(source, y, X_target=X_target)
    expected = ImportanceWeighted(LogisticRegression(), GaussianRatio(shrink=False))
    expected.fit(filled, y, X_target=X_target)
    np.testing.assert_allclose(model.sample_weight_, expected.sample_weight_)
    holes = X_target.copy()
    holes[0, 0] = np.nan
    assert np.isfinite(model.fit(source, y, X_target=holes).sample_weight_).all()
    assert 0 < importance_weighted_score(model, source, y) <= 1

    aligner = make_pipeline(fill, LikelihoodRatioAligner(random_state=0))
    aligned = AlignedClassifier(LogisticRegression(), aligner)
    aligned.fit(source, y, X_target=X_target)
    same = AlignedClassifier(LogisticRegression()).fit(filled, y, X_target=X_target)
    np.testing.assert_allclose(aligned.predict_proba(X), same.predict_proba(X))
    with pytest.raises(ValueError, match="X_target contains NaN"):
        ImportanceWeighted(inner, GaussianRatio(shrink=False)).fit(
            source, y, X_target=holes
        )


def test_a_function_that_fills_holes(rows):
    """Nothing but the step itself knows that it takes missing values."""
    X, y = rows
    X = X.copy()
    X[::9, 1] = np.nan
    fill = FunctionTransformer(np.nan_to_num)
    ratio = ClassifierRatio(make_pipeline(fill, LogisticRegression())).fit(X, y)
    expected = ClassifierRatio(LogisticRegression()).fit(np.nan_to_num(X), y)
    np.testing.assert_allclose(
        ratio.decision_function(X), expected.decision_function(np.nan_to_num(X))
    )
