"""Columns of every type, in tables of every kind: the right ratio, or their name."""

import datetime

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from skdre import (
    ClassifierRatio,
    GaussianRatio,
    ImportanceWeighted,
    KMMRatio,
    pool,
)
from skdre.base import check_pool

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*effective sample size:UserWarning",
    "ignore:X has feature names:UserWarning",
)

N = 100
SHARES = {1: (0.6, 0.3, 0.1), 0: (0.2, 0.3, 0.5)}
TRUTH = dict(zip("abc", np.log([3.0, 1.0, 0.2]), strict=True))


def columns():
    """The levels of two samples of N rows, and a column that tells nothing."""
    rng = np.random.default_rng(0)
    levels = [
        level
        for shares in SHARES.values()
        for level, share in zip("abc", shares, strict=True)
        for _ in range(round(share * N))
    ]
    return levels, rng.integers(0, 2, 2 * N).tolist(), np.repeat([1, 0], N)


def every_fourth(values):
    """The same with a quarter of them missing, evenly in both samples."""
    return [None if n % 4 == 0 else value for n, value in enumerate(values)]


def floats(values):
    return [None if value is None else value + 0.5 for value in values]


def truths(values):
    return [None if value is None else bool(value) for value in values]


def words(values):
    return [None if value is None else "yn"[value] for value in values]


PANDAS = {
    "float": (floats, "float64"),
    "float32": (floats, "float32"),
    "int": (list, "int64"),
    "bool": (truths, "bool"),
    "object": (truths, object),
    "boolean": (truths, "boolean"),
    "Int64": (list, "Int64"),
    "Float64": (floats, "Float64"),
    "category": (words, "category"),
}
POLARS = {
    "float": (floats, pl.Float64),
    "int": (list, pl.Int32),
    "bool": (truths, pl.Boolean),
    "category": (words, pl.Categorical),
    "enum": (words, pl.Enum(["y", "n"])),
}
WORDS = {
    "pandas": {"object": object, "str": "str", "string": "string"},
    "polars": {"string": pl.String},
}
# Types without a missing value.
FULL = {"int", "bool"}


def frame(library, make, dtype, *, missing):
    levels, other, y = columns()
    other = make(every_fourth(other) if missing else other)
    if library == "pandas":
        level = pd.Series(levels, dtype="category")
        v = pd.Series(other, dtype=dtype)
        return pd.DataFrame({"level": level, "v": v, "x": np.ones(2 * N)}), y
    level, v = pl.Series(levels, dtype=pl.Categorical), pl.Series(other, dtype=dtype)
    return pl.DataFrame({"level": level, "v": v, "x": np.ones(2 * N)}), y


def cases():
    for library, dtypes in (("pandas", PANDAS), ("polars", POLARS)):
        for name, (make, dtype) in dtypes.items():
            yield pytest.param(library, make, dtype, False, id=f"{library}-{name}")
            if library == "polars" or name not in FULL:
                yield pytest.param(
                    library, make, dtype, True, id=f"{library}-{name}-missing"
                )


def not_numeric(X):
    if hasattr(X, "iloc"):
        return [name for name in X if X[name].dtype.kind not in "biuf"]
    numeric = (*pl.selectors.expand_selector(X, pl.selectors.numeric()),)
    return [
        name
        for name in X.columns
        if name not in numeric and X[name].dtype != pl.Boolean
    ]


BOOST = {"max_iter": 10, "learning_rate": 0.5, "min_samples_leaf": 5}


def booster():
    return HistGradientBoostingClassifier(categorical_features="from_dtype", **BOOST)


def one_hot(remainder="passthrough", inner=None):
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    inner = LogisticRegression(C=1e3) if inner is None else inner
    return make_pipeline(
        make_column_transformer((encode, not_numeric), remainder=remainder), inner
    )


def assert_the_levels_are_told(log_ratio, levels):
    for level, truth in TRUTH.items():
        here = log_ratio[[each == level for each in levels]]
        assert abs(np.median(here) - truth) < 0.5


@pytest.mark.parametrize(("library", "make", "dtype", "missing"), [*cases()])
def test_a_category_beside_columns_of_any_type(library, make, dtype, missing):
    X, y = frame(library, make, dtype, missing=missing)
    levels = X["level"].to_list()
    imputed = one_hot(SimpleImputer(strategy="most_frequent"))
    boosted = one_hot(inner=HistGradientBoostingClassifier(**BOOST))
    for classifier in (booster(), boosted, imputed):
        ratio = ClassifierRatio(classifier).fit(X, y)
        assert_the_levels_are_told(ratio.decision_function(X), levels)
        # Rows without a missing value, which may be of another type.
        part = X[1:4]
        np.testing.assert_allclose(
            ratio.decision_function(part), ratio.decision_function(X)[1:4]
        )


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    ("library", "dtype"),
    [(library, dtype) for library, of in WORDS.items() for dtype in of.values()],
)
def test_words(library, dtype, missing):
    X, y = frame(library, words, dtype, missing=missing)
    ratio = ClassifierRatio(one_hot()).fit(X, y)
    assert_the_levels_are_told(ratio.decision_function(X), X["level"].to_list())
    with pytest.raises((TypeError, ValueError), match=r"in column 'v' .*category"):
        ClassifierRatio(booster()).fit(X, y)


@pytest.mark.parametrize(
    ("library", "make", "dtype"),
    [
        ("pandas", truths, "boolean"),
        ("pandas", list, "Int64"),
        ("pandas", truths, "bool"),
        ("polars", truths, pl.Boolean),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_importance_weights(library, make, dtype, inside):
    X, domain = frame(library, make, dtype, missing=True and dtype != "bool")
    ratio = ClassifierRatio(booster())
    model = ImportanceWeighted(booster(), ratio)
    target, source = X[:N], X[N:]
    y = np.arange(N) % 2
    if inside:
        model.fit(X, np.concatenate([np.full(N, -1), y]))
    else:
        model.fit(source, y, X_target=target)
    expected = np.exp(
        ClassifierRatio(booster()).fit(X, domain).decision_function(source)
    )
    np.testing.assert_allclose(
        model.sample_weight_, expected / expected.mean(), rtol=1e-6
    )


def test_calibration_on_a_mixed_frame():
    X, y = frame("pandas", truths, "boolean", missing=True)
    ratio = ClassifierRatio(booster(), calibration="sigmoid", cv=2).fit(X, y)
    found = ratio.decision_function(X)
    a, b, c = (np.median(found[X["level"] == level]) for level in "abc")
    assert a > b > c


DAY = datetime.datetime(2020, 1, 1)
UNUSABLE = {
    "dates": ([DAY, DAY, DAY, DAY], "date"),
    "missing date": ([DAY, None, DAY, DAY], "date"),
    "durations": ([DAY - DAY] * 4, "duration"),
    "lists": ([[1.0, 2.0], [1.0], [], [0.0]], r"\[1.0(, 2.0)?\]"),
    "words": (["p", "q", "p", "q"], "'[pq]'"),
}


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize("library", ["pandas", "polars", "numpy"])
@pytest.mark.parametrize(
    "ratio",
    [GaussianRatio(), KMMRatio(), ClassifierRatio(), ClassifierRatio(booster())],
)
def test_columns_that_are_no_numbers(library, case, ratio):
    values, shown = UNUSABLE[case]
    if library == "numpy":
        X = np.empty((4, 2), dtype=object)
        X[:, 0], X[:, 1] = range(4), values
        column = "column 1"
    else:
        X = {"pandas": pd, "polars": pl}[library].DataFrame(
            {"a": [0.0, 1.0, 2.0, 3.0], "when": values}
        )
        column = "column 'when'"
    with pytest.raises((TypeError, ValueError), match=rf"X holds .*{column}") as error:
        ratio.fit(X, [0, 0, 1, 1])
    assert error.match(shown)
    fitted = type(ratio)(**ratio.get_params(deep=False))
    fitted.fit(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1])
    with pytest.raises((TypeError, ValueError)):
        fitted.decision_function(X)


@pytest.mark.parametrize("library", [pd, pl])
def test_dates_alone_are_no_numbers_either(library):
    """numpy would make nanoseconds of them."""
    X = library.DataFrame({"when": [DAY, DAY, DAY, DAY]})
    for ratio in (KMMRatio(), ClassifierRatio(booster())):
        with pytest.raises(ValueError, match="X holds dates in column 'when'"):
            ratio.fit(X, [0, 0, 1, 1])
    with pytest.raises(ValueError, match="X holds dates"):
        KMMRatio().fit(np.array([[DAY]] * 4, dtype="M8[s]"), [0, 0, 1, 1])


@pytest.mark.parametrize("library", [pd, pl])
def test_a_step_may_make_numbers_of_dates(library):
    X = library.DataFrame(
        {"when": [DAY + datetime.timedelta(days=int(n)) for n in np.arange(40) % 20]}
    )

    def days(X):
        return np.array([[each.day] for each in X["when"].to_list()])

    y = np.arange(40) % 2
    for first in (
        FunctionTransformer(days),
        make_column_transformer((FunctionTransformer(days), ["when"])),
    ):
        ratio = ClassifierRatio(make_pipeline(first, LogisticRegression()))
        expected = ClassifierRatio(LogisticRegression()).fit(days(X), y)
        np.testing.assert_allclose(
            ratio.fit(X, y).decision_function(X), expected.decision_function(days(X))
        )


@pytest.mark.parametrize("kind", ["array", "pandas", "polars"])
def test_complex_numbers(kind):
    values = [1.0, 2j, 3.0, 4.0]
    X, column = np.array(values)[:, None], ""
    if kind == "pandas":
        X, column = pd.DataFrame({"z": values, "a": np.arange(4.0)}), "column 'z'"
    if kind == "polars":
        X = pl.DataFrame({"z": pl.Series(values, dtype=pl.Object)})
        column = "column 'z'"
    for ratio in (KMMRatio(), ClassifierRatio(booster())):
        with pytest.raises((TypeError, ValueError), match=rf"(Complex|2j)|{column}"):
            ratio.fit(X, [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (pd.array([1, None, 2, 3], dtype="Int64"), "NaN"),
        (pd.array([True, None, False, True], dtype="boolean"), "NaN"),
        ([1.0, np.nan, 2.0, 3.0], "NaN"),
        ([1.0, np.inf, 2.0, 3.0], "infinity"),
    ],
)
def test_values_that_are_not_finite_are_in_a_column(values, found):
    X = pd.DataFrame({"a": np.arange(4.0), "hole": values})
    for ratio in (KMMRatio(), ClassifierRatio(LogisticRegression())):
        with pytest.raises(ValueError, match=rf"(?s)X contains {found}.*column 'hole'"):
            ratio.fit(X, [0, 0, 1, 1])
    with pytest.raises(ValueError, match=rf"(?s)X contains {found}.*column 1"):
        KMMRatio().fit(X.to_numpy(float, na_value=np.nan), [0, 0, 1, 1])


@pytest.mark.parametrize("door", ["X", "y", "sample_weight", "predict", "pool"])
def test_masked_entries_never_count(door):
    X, y, weight = np.arange(8.0)[:, None], np.arange(8) % 2, np.ones(8)
    given = {"X": X, "y": y, "sample_weight": weight}
    name = {"predict": "X", "pool": "denominator"}.get(door, door)
    if door in given:
        mask = np.zeros(given[door].shape, dtype=bool)
        mask[3] = True
        given[door] = np.ma.masked_array(given[door], mask)
    masked = np.ma.masked_array(X, X > 5)

    def act():
        if door == "pool":
            pool(numerator=X, denominator=masked)
        GaussianRatio().fit(**given).decision_function(masked)

    with pytest.raises(ValueError, match=rf"{name} is a masked array with \d masked"):
        act()
    # A mask that hides nothing is nothing.
    rows = check_pool(GaussianRatio(), np.ma.masked_array(X), np.ma.masked_array(y))
    np.testing.assert_array_equal(rows.X, X)


def test_pool_of_arrays_of_different_types():
    numbers = np.ones((2, 1))
    X, _ = pool(numerator=numbers, denominator=np.array([[True]]))
    assert X.tolist() == [[1.0], [1.0], [1.0]]
    for other in (np.array([["a"]]), np.array([["2020"]], dtype="M8[D]")):
        with pytest.raises(ValueError, match="no type in common"):
            pool(numerator=numbers, denominator=other)


def test_sparse_rows_are_left_to_the_parts():
    rng = np.random.default_rng(0)
    X, X_target = rng.poisson(1, (60, 3)), rng.poisson(2, (50, 3))
    y = (X[:, 0] > 0).astype(int)

    def dense(X):
        return X.toarray() if hasattr(X, "toarray") else X

    ratio = make_pipeline(FunctionTransformer(dense, accept_sparse=True), KMMRatio())
    model = ImportanceWeighted(LogisticRegression(), ratio)
    expected = model.fit(X, y, X_target=X_target).sample_weight_
    model.fit(csr_array(X), y, X_target=csr_array(X_target))
    np.testing.assert_allclose(model.sample_weight_, expected)
    marked = csr_array(np.concatenate([X, X_target]))
    model.fit(marked, np.concatenate([y, np.full(50, -1)]))
    np.testing.assert_allclose(model.sample_weight_, expected)
    assert 0 < model.score(csr_array(X), y) <= 1


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_target_with_a_level_of_its_own(library):
    """Source and target read apart, a new level in each, truth values beside it."""
    rng = np.random.default_rng(0)
    tables = []
    for levels in ("abc", "bcd"):
        level, flag = rng.choice([*levels], 100).tolist(), (rng.random(100) > 0.5)
        if library == "pandas":
            level = pd.Series(level, dtype="category")
            flag = pd.array([None, *flag[1:]], dtype="boolean")
            tables.append(pd.DataFrame({"level": level, "flag": flag}))
        else:
            level = pl.Series(level, dtype=pl.Enum([*levels]))
            tables.append(pl.DataFrame({"level": level, "flag": flag}))
    source, target = tables
    model = ImportanceWeighted(booster(), ClassifierRatio(booster()))
    model.fit(source, np.arange(100) % 2, X_target=target)
    by_level = {
        level: np.median(
            model.sample_weight_[[each == level for each in source["level"].to_list()]]
        )
        for level in "abc"
    }
    assert by_level["a"] < 0.3 * min(by_level["b"], by_level["c"])
    assert model.predict(target).shape == (100,)
