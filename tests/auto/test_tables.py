"""AutoRatio on tables of mixed columns whose log ratio is known."""

import numpy as np
import pytest

from skdre import AutoRatio, ClassifierRatio, GaussianRatio, pool
from skdre.metrics import log_ratio_mse

pd = pytest.importorskip("pandas")

CHEAP = [
    (name, each)
    for name, each in AutoRatio.default_candidates()
    if "network" not in name and "telescoping" not in name
]
QUICK = [("logistic", ClassifierRatio()), ("plug-in", GaussianRatio())]
LEVELS = ["red", "green", "blue", "grey"]
P, Q = np.array([0.5, 0.2, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])


def categories(n=500, seed=0):
    """A category of known probabilities, and a column that says nothing."""
    rng = np.random.default_rng(seed)
    p, q = (
        pd.DataFrame(
            {
                "colour": pd.Categorical(rng.choice(LEVELS, n, p=share), LEVELS),
                "noise": rng.normal(size=n),
            }
        )
        for share in (P, Q)
    )
    X, y = pool(numerator=p, denominator=q)
    return X, y, np.log(P / Q)[X["colour"].cat.codes]


def missing(n=500, seed=0):
    """The same numbers, which lack in one sample more often than in the other."""
    rng = np.random.default_rng(seed)
    rates = np.array([0.4, 0.1])
    x = rng.normal(size=(2, n))
    is_missing = rng.uniform(size=(2, n)) < rates[:, None]
    frames = [
        pd.DataFrame({"x": np.where(m, np.nan, v), "noise": rng.normal(size=n)})
        for v, m in zip(x, is_missing, strict=True)
    ]
    X, y = pool(numerator=frames[0], denominator=frames[1])
    lacks = np.log(rates[0] / rates[1])
    has = np.log((1 - rates[0]) / (1 - rates[1]))
    return X, y, np.where(X["x"].isna(), lacks, has)


def interaction(n=1000, seed=0):
    """The mean of a number moves up in one level of a category and down in another."""
    rng = np.random.default_rng(seed)
    frames = []
    for shift in (1.0, 0.0):
        level = rng.integers(2, size=n)
        x = rng.normal(size=n) + shift * np.where(level == 1, 1, -1)
        frames.append(pd.DataFrame({"level": np.array(["a", "b"])[level], "x": x}))
    X, y = pool(numerator=frames[0], denominator=frames[1])
    sign = np.where(X["level"] == "b", 1, -1)
    return X, y, sign * X["x"].to_numpy() - 0.5


@pytest.mark.parametrize(
    ("table", "bound"), [(categories, 0.12), (missing, 0.12), (interaction, 0.35)]
)
def test_known_ratio(table, bound):
    X, y, _ = table()
    ratio = AutoRatio(CHEAP, random_state=0).fit(X, y)
    X_new, _, truth = table(seed=1)
    found = ratio.decision_function(X_new)
    assert log_ratio_mse(truth, found) < bound * np.mean(truth**2)
    # An inverted ratio would be far worse than none.
    assert np.corrcoef(truth, found)[0, 1] > 0.8


def test_report_names_the_column():
    X, y, _ = categories()
    report = AutoRatio(QUICK).fit(X, y).report_
    assert "in column colour (" in report


def mixed(n=120, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "float": rng.normal(size=n),
            "int": rng.integers(5, size=n),
            "bool": rng.integers(2, size=n).astype(bool),
            "nullable": pd.array(rng.integers(9, size=n), dtype="Int64"),
            "truth": pd.array(rng.integers(2, size=n).astype(bool), dtype="boolean"),
            "category": pd.Categorical(rng.choice(list("abc"), n)),
            "number levels": pd.Categorical(rng.integers(3, size=n)),
            "word": rng.choice(["x", "y"], n),
            "string": pd.array(rng.choice(["u", "v"], n), dtype="string"),
        }
    )
    for name in ("float", "nullable", "truth", "category", "word", "string"):
        frame.loc[rng.integers(n, size=10), name] = None
    y = rng.integers(2, size=n)
    frame["float"] += y
    return frame, y


@pytest.mark.parametrize("candidates", [QUICK, CHEAP[-2:]], ids=["plain", "trees"])
def test_every_kind_of_column(candidates):
    X, y = mixed()
    ratio = AutoRatio(candidates).fit(X, y)
    found = ratio.decision_function(X)
    assert np.isfinite(found).all()
    assert ratio.bounds_.shape == (2, 9)
    # Neither the order of the rows nor that of the levels matters.
    order = np.random.default_rng(1).permutation(len(X))
    other = X.iloc[order].copy()
    other["category"] = other["category"].cat.reorder_categories(["c", "a", "b"])
    again = AutoRatio(candidates).fit(other, y[order])
    np.testing.assert_array_equal(again.decision_function(X), found)
    weight = np.random.default_rng(2).integers(1, 3, len(X))
    np.testing.assert_array_equal(
        AutoRatio(candidates).fit(X, y, weight).decision_function(X),
        AutoRatio(candidates)
        .fit(X.loc[X.index.repeat(weight)], np.repeat(y, weight))
        .decision_function(X),
    )


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_other_tables(library):
    pytest.importorskip(library)
    X, y = mixed()
    X = X.drop(columns="number levels")
    X["category"] = X["category"].astype(object)
    expected = AutoRatio(QUICK).fit(X, y).decision_function(X)
    if library == "polars":
        import polars

        table = polars.DataFrame(
            {
                name: [None if pd.isna(each) else each for each in X[name]]
                for name in X.columns
            }
        ).with_columns(polars.col("category").cast(polars.Categorical))
    else:
        import pyarrow

        table = pyarrow.Table.from_pandas(X)
    ratio = AutoRatio(QUICK).fit(table, y)
    np.testing.assert_allclose(ratio.decision_function(table), expected, atol=1e-9)


@pytest.mark.parametrize("candidates", [QUICK, CHEAP[-2:]], ids=["plain", "trees"])
def test_levels_that_fit_has_not_seen(candidates):
    X, y, _ = categories(200)
    X["word"] = np.where(y == 1, "only in p", "both")
    X.loc[::3, "word"] = "both"
    ratio = AutoRatio(candidates).fit(X, y)
    new = pd.DataFrame(
        {
            "colour": ["green", "purple", None, "green"],
            "noise": [0.0, 0.0, np.nan, 0.0],
            "word": ["never", "both", None, "only in p"],
        }
    )
    found = ratio.decision_function(new)
    assert np.isfinite(found).all()
    assert found[3] > 1


def test_many_levels_are_pooled():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"id": [f"customer {k}" for k in range(200)]})
    X["x"] = rng.normal(size=200)
    y = np.arange(200) % 2
    ratio = AutoRatio(CHEAP[:5]).fit(X, y)
    assert np.isfinite(ratio.decision_function(X)).all()
    words = X[["id"]]
    assert AutoRatio(QUICK).fit(words, y).choice_ == "constant"


def test_arrays_of_objects_and_missing_numbers():
    X, y, _ = missing(200)
    as_frame = AutoRatio(QUICK).fit(X, y).decision_function(X)
    for array in (X.to_numpy(), X.to_numpy().astype(object)):
        found = AutoRatio(QUICK).fit(array, y).decision_function(array)
        np.testing.assert_array_equal(found, as_frame)


@pytest.mark.parametrize("kind", ["date", "duration"])
def test_dates(kind):
    X, y, _ = categories(50)
    days = pd.date_range("2024-01-01", periods=100)
    X["when"] = days if kind == "date" else days - days[0]
    with pytest.raises(
        ValueError, match=rf"{kind}s in column 'when'.*make it a number"
    ):
        AutoRatio(QUICK).fit(X, y)
    X["when"] = X["when"].astype(object)
    with pytest.raises(
        (TypeError, ValueError), match=r"column 'when'.*make it a number"
    ):
        AutoRatio(QUICK).fit(X, y)


def test_infinite_values_are_refused():
    X, y, _ = categories(50)
    X.loc[3, "noise"] = np.inf
    with pytest.raises(ValueError, match=r"infinity.*column 'noise'"):
        AutoRatio(QUICK).fit(X, y)
