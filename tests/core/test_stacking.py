"""Frames of two samples that were read apart: columns keep their meaning."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from skdre import ClassifierRatio, pool

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


def stack(first, second):
    """The one column of two pandas frames, stacked."""
    frames = [pd.DataFrame({"v": each}) for each in (first, second)]
    return pool(numerator=frames[0], denominator=frames[1])[0]["v"]


def stack_polars(first, second):
    frames = [pl.DataFrame({"v": each}) for each in (first, second)]
    return pool(numerator=frames[0], denominator=frames[1])[0]["v"]


def ordered(values, levels):
    return pd.Categorical(values, levels, ordered=True)


class TestPandasCategories:
    @pytest.mark.parametrize("values", [["b", "c", None], [2, 3, None], [2.5, 3, None]])
    def test_union(self, values):
        first = pd.Categorical([values[0], None])
        column = stack(first, pd.Categorical(values))
        assert isinstance(column.dtype, pd.CategoricalDtype)
        assert list(column.cat.categories) == sorted(values[:2])
        assert not column.cat.ordered
        assert column.isna().tolist() == [False, True, False, False, True]
        assert column.dropna().tolist() == [values[0], *values[:2]]

    def test_unused_levels_and_the_first_order_stay(self):
        column = stack(
            pd.Categorical(["b"], ["z", "b"]), pd.Categorical(["a"], ["b", "a"])
        )
        assert list(column.cat.categories) == ["z", "b", "a"]

    @pytest.mark.parametrize(
        ("first", "second", "union"),
        [
            (["lo", "hi"], ["lo", "mid", "hi"], ["lo", "mid", "hi"]),
            (["lo", "mid", "hi"], ["mid", "hi"], ["lo", "mid", "hi"]),
            (["mid", "hi"], ["lo", "mid"], ["lo", "mid", "hi"]),
            (["a", "c"], ["b", "c", "d"], ["a", "b", "c", "d"]),
            (["a"], ["b"], ["a", "b"]),
            ([3, 5], [1, 3], [1, 3, 5]),
        ],
    )
    def test_order(self, first, second, union):
        column = stack(ordered([first[0]], first), ordered([second[-1]], second))
        assert column.cat.ordered
        assert list(column.cat.categories) == union
        assert column.tolist() == [first[0], second[-1]]

    @pytest.mark.parametrize("second", [["b", "a"], ["b", "c", "a"]])
    def test_orders_that_contradict_each_other(self, second):
        first = ["a", "b"]
        for one, other in ((first, second), (second, first)):
            with pytest.raises(ValueError, match="ordered categories of column 'v'"):
                stack(ordered(["a"], one), ordered(["a"], other))

    def test_an_order_of_one_is_none(self):
        levels = ["lo", "hi"]
        column = stack(ordered(["lo"], levels), pd.Categorical(["hi"], levels))
        assert not column.cat.ordered
        assert list(column.cat.categories) == levels

    @pytest.mark.parametrize("dtype", [object, "str", "string"])
    def test_beside_strings(self, dtype):
        words = pd.Series(["b", "a", None], dtype=dtype)
        for column in (stack(pd.Categorical(["b"]), words),):
            assert list(column.cat.categories) == ["b", "a"]
            assert column.isna().tolist() == [False, False, False, True]
        column = stack(words, ordered(["c"], ["a", "b", "c"]))
        assert column.cat.ordered
        assert list(column.cat.categories) == ["a", "b", "c"]

    def test_of_numbers_beside_numbers(self):
        column = stack(pd.Categorical([2, 1]), pd.Series([3, 1]))
        assert list(column.cat.categories) == [1, 2, 3]
        assert column.tolist() == [2, 1, 3, 1]

    def test_of_words_beside_numbers(self):
        for other in (pd.Series([1.0]), pd.Categorical([1])):
            with pytest.raises(ValueError, match="Column 'v' is of type category"):
                stack(pd.Categorical(["a"]), other)

    def test_all_missing(self):
        column = stack(pd.Categorical(["a"]), pd.Series([np.nan, np.nan]))
        assert list(column.cat.categories) == ["a"]
        column = stack(pd.Categorical([None], []), pd.Categorical(["a"]))
        assert list(column.cat.categories) == ["a"]
        assert column.isna().tolist() == [True, False]

    def test_a_new_level_and_the_estimator_for_categories(self):
        """Two months of one column; the ratio of a level is that of its shares."""
        p = pd.DataFrame({"c": pd.Categorical(list("a" * 60 + "b" * 30 + "c" * 30))})
        q = pd.DataFrame({"c": pd.Categorical(list("a" * 30 + "b" * 60 + "c" * 10))})
        q = pd.concat([q, pd.DataFrame({"c": pd.Categorical(["d"] * 20)})])
        q["c"] = q["c"].astype("category")
        X, y = pool(numerator=p, denominator=q)
        booster = HistGradientBoostingClassifier(
            categorical_features="from_dtype", l2_regularization=0, min_samples_leaf=5
        )
        ratio = ClassifierRatio(booster).fit(X, y)
        found = ratio.decision_function(X.drop_duplicates("c").sort_values("c"))
        np.testing.assert_allclose(found[:3], np.log([2, 0.5, 3]), atol=0.15)
        assert found[3] < -2


class TestPandasTypes:
    @pytest.mark.parametrize(
        ("first", "second", "dtype"),
        [
            (([1], "int64"), ([1.5], "float64"), "float64"),
            (([1], "Int64"), ([2], "int64"), "Int64"),
            (([1], "Int64"), ([2.5], "float64"), "Float64"),
            (([1, None], "Int64"), ([True], "bool"), "Int64"),
            (([True, None], "boolean"), ([2], "int64"), "Int64"),
            (([True], "boolean"), ([False], "bool"), "boolean"),
            (([True], "bool"), ([2], "int64"), "int64"),
            (([True], "bool"), ([2.5], "float64"), "float64"),
            (([True], "bool"), ([False], object), "bool"),
            (([1], "int64"), ([2], object), "int64"),
            (([1], "int64"), ([2, None], object), "float64"),
            (([1], "int64"), ([None], object), "float64"),
            (([True], "bool"), ([None], object), "float64"),
            (([1.5], "float32"), ([1.5], "float64"), "float64"),
            (([1], "Int64"), ([None], "float64"), "Int64"),
        ],
    )
    def test_numbers_stay_numbers(self, first, second, dtype):
        for one, other in ((first, second), (second, first)):
            values = [pd.Series(each, dtype=of) for each, of in (one, other)]
            column = stack(*values)
            assert column.dtype == dtype
            expected = [float("nan" if v is None else v) for v in one[0] + other[0]]
            np.testing.assert_array_equal(
                column.to_numpy(float, na_value=np.nan), expected
            )

    @pytest.mark.parametrize("dtype", [object, "str", "string"])
    def test_strings_beside_a_column_without_any(self, dtype):
        words = pd.Series(["a"], dtype=dtype)
        column = stack(words, pd.Series([np.nan]))
        assert column.dtype == words.dtype
        assert column[0] == "a"
        assert pd.isna(column[1])

    def test_dates(self):
        days = pd.Series(pd.to_datetime(["2020-01-01"]))
        column = stack(days.astype("datetime64[s]"), days.astype("datetime64[ns]"))
        assert column.dtype.kind == "M"
        with pytest.raises(ValueError, match=r"Column 'v' .*datetime64"):
            stack(days, days.dt.tz_localize("UTC"))

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (["a"], [1.0]),
            (["a"], [True]),
            ([1.0], pd.to_datetime(["2020-01-01"])),
            ([1.0], pd.to_timedelta(["1D"])),
            (["a"], pd.to_datetime(["2020-01-01"])),
            ([1.0], [[1, 2]]),
            ([1.0], [1j]),
        ],
    )
    def test_nothing_in_common(self, first, second):
        for one, other in ((first, second), (second, first)):
            with pytest.raises(ValueError, match="Column 'v' is of type"):
                stack(pd.Series(one), pd.Series(other))

    def test_index_and_columns(self):
        first = pd.DataFrame({"a": [1, 2], "b": [True, False]}, index=[7, 7])
        second = pd.DataFrame({"b": [1.5], "a": [9]}, index=["x"])
        kept = first.copy(), second.copy()
        X, y = pool(numerator=first, denominator=second)
        assert X.index.tolist() == [0, 1, 2]
        assert X.columns.tolist() == ["a", "b"]
        assert X.to_numpy().tolist() == [[1, 1], [2, 0], [9, 1.5]]
        assert y.tolist() == [1, 1, 0]
        # The frames given are left alone.
        pd.testing.assert_frame_equal(first, kept[0])
        pd.testing.assert_frame_equal(second, kept[1])

    def test_names_that_stand_twice(self):
        twice = pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"])
        once = pd.DataFrame([[1, 2]], columns=["a", "b"])
        for samples in ((twice, twice), (once, twice), (twice, once)):
            with pytest.raises(ValueError, match=r"has \['a'\] more than once"):
                pool(numerator=samples[0], denominator=samples[1])


class TestPolars:
    @pytest.mark.parametrize(
        ("first", "second", "union"),
        [
            (["lo", "hi"], ["lo", "mid", "hi"], ["lo", "mid", "hi"]),
            (["a"], ["b"], ["a", "b"]),
        ],
    )
    def test_enum(self, first, second, union):
        column = stack_polars(
            pl.Series(first[:1], dtype=pl.Enum(first)),
            pl.Series(second[-1:], dtype=pl.Enum(second)),
        )
        assert column.dtype == pl.Enum(union)
        assert column.to_list() == [first[0], second[-1]]

    def test_enum_orders_that_contradict_each_other(self):
        with pytest.raises(ValueError, match="column 'v' contradict each other"):
            stack_polars(
                pl.Series(["a"], dtype=pl.Enum(["a", "b"])),
                pl.Series(["a"], dtype=pl.Enum(["b", "a"])),
            )

    @pytest.mark.parametrize("other", [pl.Categorical, pl.String])
    @pytest.mark.parametrize("one", [pl.Categorical, pl.Enum(["a"])])
    def test_other_categories(self, one, other):
        for value in "ab":
            parts = pl.Series(["a"], dtype=one), pl.Series([value, None], dtype=other)
            for swapped in (parts, parts[::-1]):
                column = stack_polars(*swapped)
                fits = isinstance(one, pl.Enum) and value == "a"
                assert column.dtype == (one if fits else pl.Categorical)
                assert sorted(column.drop_nulls().to_list()) == ["a", value]

    def test_all_missing(self):
        for of in (pl.Null, pl.Float64, pl.String):
            for one in (pl.Categorical, pl.Enum(["a"]), pl.String):
                column = stack_polars(
                    pl.Series(["a"], dtype=one), pl.Series([None], dtype=of)
                )
                assert column.dtype == one
                assert column.to_list() == ["a", None]

    def test_numbers(self):
        column = stack_polars(pl.Series([True, None]), pl.Series([2]))
        assert column.to_list() == [1, None, 2]
        assert stack_polars(pl.Series([1]), pl.Series([0.5])).to_list() == [1, 0.5]

    @pytest.mark.parametrize(
        "other",
        [
            pl.Series([1.0]),
            pl.Series([True]),
            pl.Series([0]).cast(pl.Date),
            pl.Series([[1]]),
        ],
    )
    @pytest.mark.parametrize("dtype", [pl.String, pl.Categorical])
    def test_nothing_in_common(self, dtype, other):
        for parts in (
            (pl.Series(["a"], dtype=dtype), other),
            (other, pl.Series(["a"], dtype=dtype)),
        ):
            with pytest.raises(ValueError, match="Column 'v' is of type"):
                stack_polars(*parts)

    def test_dates_are_no_numbers(self):
        with pytest.raises(ValueError, match="Column 'v' is of type Date"):
            stack_polars(pl.Series([0]).cast(pl.Date), pl.Series([1]))


def test_frames_of_other_libraries():
    one = pl.DataFrame({"a": [1.0]})
    with pytest.raises(TypeError, match=r"numerator is a LazyFrame.*collect\(\)"):
        pool(numerator=one.lazy(), denominator=one)
    with pytest.raises(TypeError, match="DataFrame of polars and denominator one of"):
        pool(numerator=one, denominator=pd.DataFrame({"a": [1.0]}))

    class Table:
        columns = ()

    with pytest.raises(TypeError, match=r"denominator is a Table.*to_pandas\(\)"):
        pool(numerator=one, denominator=Table())
