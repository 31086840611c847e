"""Dask collections: the results of rows in memory, lazily, and what is refused."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from skdre import (
    ClassifierRatio,
    FlowFeaturizer,
    GaussianRatio,
    KLIEPRatio,
    KMMRatio,
    LSIFRatio,
    make_pipeline,
    pool,
    two_sample_test,
)
from skdre.datasets import make_warped_shift

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
dask = pytest.importorskip("dask")

# In one thread, and in order.
pytestmark = pytest.mark.usefixtures("one_thread")

FOUR = [
    GaussianRatio(),
    LSIFRatio(n_components=20, random_state=0),
    KLIEPRatio(n_components=20, gamma=[0.3, 1.0], cv=2, random_state=0),
    KMMRatio(solver="nystroem", n_components=20, random_state=0),
]
OF_FOUR = pytest.mark.parametrize("estimator", FOUR, ids=lambda e: type(e).__name__)


@pytest.fixture
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def data(n=300, d=2, seed=0):
    X, y = make_warped_shift((n, n + 60), d, random_state=seed).pool()
    order = np.random.default_rng(seed).permutation(len(y))
    return X[order], y[order]


X, Y = data()
WEIGHT = np.random.default_rng(1).uniform(0.5, 2, len(Y)) * (np.arange(len(Y)) % 7 > 0)


def chunked(*arrays, size=150):
    return [da.from_array(a, chunks=(size, *a.shape[1:])) for a in arrays]


def frame(n_partitions=4):
    table = pd.DataFrame(X, columns=["a", "b"]).assign(y=Y, w=WEIGHT)
    return dd.from_pandas(table, npartitions=n_partitions, sort=False)


# --- results ------------------------------------------------------------------------


@OF_FOUR
@pytest.mark.parametrize("weighted", [False, True])
def test_fits_are_those_in_memory(estimator, weighted):
    weight = WEIGHT if weighted else None
    expected = clone(estimator).fit(X, Y, weight)
    dX, dy, dw = chunked(X, Y, WEIGHT)
    model = clone(estimator).fit(dX, dy, dw if weighted else None)
    assert_allclose(
        model.decision_function(X), expected.decision_function(X), atol=1e-6
    )
    # And of other rows than those, so that not all is a constant.
    other = clone(estimator).fit(X[:200], Y[:200])
    assert np.abs(other.decision_function(X) - model.decision_function(X)).max() > 0.1


@OF_FOUR
def test_frames_and_labels_in_memory(estimator):
    expected = clone(estimator).fit(X, Y).decision_function(X)
    table = frame()
    model = clone(estimator).fit(table[["a", "b"]], table["y"])
    assert_allclose(model.decision_function(table[["a", "b"]]), expected, atol=1e-6)
    assert list(model.feature_names_in_) == ["a", "b"]
    (dX,) = chunked(X)
    model = clone(estimator).fit(dX, Y)
    assert_allclose(model.decision_function(dX), expected, atol=1e-6)


@OF_FOUR
def test_chunks_of_one_sample_and_empty_ones(estimator):
    order = np.argsort(Y, kind="stable")
    dX, dy = chunked(X[order], Y[order])
    # Chunks of unknown sizes, some of them empty.
    kept = dX[:, 0] < np.inf
    low = dX[:, 0] > np.inf
    tX, ty = da.concatenate([dX[low], dX[kept]]), da.concatenate([dy[low], dy[kept]])
    model = clone(estimator).fit(tX, ty)
    expected = clone(estimator).fit(X, Y)
    assert_allclose(
        model.decision_function(X), expected.decision_function(X), atol=1e-6
    )
    assert_allclose(
        model.decision_function(tX).compute(),
        expected.decision_function(X[order]),
        atol=1e-6,
    )


def test_a_pilot_of_few_rows_gives_nearly_the_same(monkeypatch):
    """Centres and quantiles are those of the pilot, sums those of all rows."""
    expected = LSIFRatio(random_state=0).fit(X, Y)
    monkeypatch.setattr("skdre._core.chunked_rows.PILOT_ROWS", 60)
    model = LSIFRatio(random_state=0).fit(*chunked(X, Y))
    assert len(model.centers_) == 60
    # Of all rows.
    assert_allclose(model.center_, expected.center_, rtol=1e-9)
    assert_allclose(model.scale_, expected.scale_, rtol=1e-9)
    assert_allclose(model.range_, expected.range_, rtol=1e-9)
    gaussian = GaussianRatio(shrink="james-stein")
    assert_allclose(
        clone(gaussian).fit(*chunked(X, Y)).decision_function(X),
        gaussian.fit(X, Y).decision_function(X),
        atol=1e-9,
    )


def test_sentinels_are_named():
    bad = X.copy()
    bad[:2, 1] = 9999.0
    dX, dy = chunked(bad, Y)
    with pytest.warns(UserWarning, match="column 1: 2 of 660 rows, such as 9999"):
        model = GaussianRatio().fit(dX, dy)
    with pytest.warns(UserWarning, match="column 1: 2 of 660 rows, such as 9999"):
        expected = GaussianRatio().fit(bad, Y)
    assert_allclose(model.decision_function(X), expected.decision_function(X))


@OF_FOUR
def test_predictions_are_lazy_and_of_the_same_chunks(estimator):
    model = clone(estimator).fit(X, Y)
    dX, dy, dw = chunked(X, Y, WEIGHT)
    called = []

    def note(block):
        called.append(len(block))
        return block

    watched = dX.map_blocks(note, dtype=float, meta=np.empty((0, 2)))
    names = ["decision_function", "predict_ratio", "predict_proba", "predict"]
    lazy = {name: getattr(model, name)(watched) for name in names}
    assert not called
    for name, found in lazy.items():
        assert found.chunks[0] == dX.chunks[0], name
        expected = getattr(model, name)(X)
        assert found.dtype == expected.dtype
        assert_allclose(found.compute(), expected, rtol=1e-12)
    assert max(called) == 150
    assert_allclose(model.predict_log_proba(dX), model.predict_log_proba(X))
    assert model.score(dX, dy) == pytest.approx(model.score(X, Y))
    assert model.score(dX, dy, dw) == pytest.approx(model.score(X, Y, WEIGHT))


def test_no_chunk_is_larger_than_it_came():
    """Nor are all of them held: sums, and a pilot, are all that comes back."""
    sizes = []

    def note(block):
        sizes.append(len(block))
        return block

    dX, dy = chunked(X, Y, size=100)
    LSIFRatio(n_components=5, gamma=1.0, ridge=0.1).fit(
        dX.map_blocks(note, dtype=float, meta=np.empty((0, 2))), dy
    )
    assert set(sizes) == {100, 60}


def test_pool_of_collections():
    p, q = X[Y == 1], X[Y == 0]
    dX, dy = pool(numerator=chunked(p)[0], denominator=chunked(q)[0])
    expected_X, expected_y = pool(numerator=p, denominator=q)
    assert dX.chunks[0] == dy.chunks[0] == (150, 150, 150, 150, 60)
    assert_allclose(dX, expected_X)
    assert_allclose(dy, expected_y)
    of_p, of_q = (
        dd.from_pandas(pd.DataFrame(x, columns=["a", "b"]), npartitions=2)
        for x in (p, q)
    )
    fX, fy = pool(numerator=of_p, denominator=of_q[["b", "a"]])
    assert (fX.npartitions, fy.npartitions) == (4, 4)
    assert_allclose(fX.compute(), expected_X)
    assert_allclose(fy.compute(), expected_y)


def test_others_fit_some_of_the_rows(monkeypatch):
    dX, dy, dw = chunked(X, Y, WEIGHT)
    whole = ClassifierRatio().fit(dX, dy)
    assert_allclose(
        whole.decision_function(X), ClassifierRatio().fit(X, Y).decision_function(X)
    )
    assert whole.predict_ratio(dX).chunks == (dX.chunks[0],)
    monkeypatch.setattr("skdre._core.chunk_parts.MOST_ROWS", 100)
    with pytest.warns(UserWarning, match="at most 100 rows of each sample.*0.3 of all"):
        some = ClassifierRatio().fit(dX, dy, sample_weight=dw)
    assert some._fitted.n_numerator < 101
    error = some.decision_function(X) - whole.decision_function(X)
    assert 0 < np.abs(error).mean() < 0.5


def test_portions_after_a_fit_on_a_collection():
    dX, dy = chunked(X[:450], Y[:450])
    for estimator in FOUR[:2]:
        model = clone(estimator).fit(dX, dy).partial_fit(X[450:], Y[450:])
        other = clone(estimator).fit(X[:450], Y[:450]).partial_fit(X[450:], Y[450:])
        assert_allclose(
            model.decision_function(X), other.decision_function(X), atol=1e-6
        )


# --- bad input ----------------------------------------------------------------------


def refused():
    dX, dy = chunked(X, Y)
    table = frame()
    nan = X.copy()
    nan[320, 1] = np.nan
    (bad,) = chunked(nan)
    filtered = dX[dX[:, 0] > 0]
    # Any chunk may be read first: each names its own rows and labels.
    left_out = "|".join(
        rf"Chunk {i} of 5 .*: it has {np.sum(block[:, 0] > 0)} rows of X and "
        rf"{len(block)} values of y\."
        for i, block in enumerate(np.split(X, range(150, 660, 150)))
    )
    few = dy[:150]
    of_four = da.concatenate([dy, few])
    cases = {
        "columns in chunks": (dX.rechunk((150, 1)), dy, r"2 chunks along its columns"),
        "one dimension": (dX[:, 0], dy, "got a Dask collection of 1 dimension"),
        "no labels": (dX, None, "requires y to be passed.*with the chunks of X"),
        "a table of labels": (dX, dX, "y should be a 1d array"),
        "other chunks": (dX, dy.rechunk(70), r"lie in 5 and 10 chunks.*y.rechunk"),
        "other sizes": (dX, dy.rechunk(((60, *[150] * 4),)), "different sizes"),
        "other partitions": (table[["a", "b"]], frame(3)["y"], r"y\.repartition"),
        "unknown sizes": (filtered, Y, r"compute_chunk_sizes\(\)"),
        "too few": (dX, Y[:-1], "660 rows of X and 659 values of y"),
        "more labels": (dX, of_four, "lie in 5 and 6 chunks"),
        "rows that are left out": (filtered, dy, left_out),
        "NaN": (bad, dy, r"Chunk 2 of 5 \(counted from 0\).*NaN(.|\n)*column 1"),
        "one class": (dX, da.zeros_like(dy), "one class only"),
        "three classes": (dX, dy + da.from_array(np.arange(660) % 2, 150), "3 classes"),
        "many classes": (dX, da.arange(660, chunks=150), "Chunk . of 5.*two domains"),
    }
    return [pytest.param(*case, id=name) for name, case in cases.items()]


@pytest.mark.filterwarnings("ignore:The number of unique classes")
@pytest.mark.parametrize(("rows", "labels", "match"), refused())
def test_what_is_refused_says_the_remedy(rows, labels, match):
    model = GaussianRatio().fit(X[:, :1], Y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=match):
        model.fit(rows, labels)
    assert vars(model) == before


def test_weights_and_classes_are_checked():
    dX, dy, dw = chunked(X, Y, WEIGHT)
    for weight, match in [
        (-dw, r"Chunk . of 5.*Negative values"),
        (dw * da.from_array(Y, 150), "sample_weight is zero for every row of class 0"),
        (dw.rechunk(70), "X and sample_weight lie in 5 and 10 chunks"),
    ]:
        with pytest.raises(ValueError, match=match):
            LSIFRatio().fit(dX, dy, weight)
    model = GaussianRatio().fit(X, Y)
    with pytest.raises(ValueError, match=r"Chunk . of 5.*label .*2"):
        model.score(dX, dy * 2)
    with pytest.raises(ValueError, match="there are none of class 1"):
        model.score(dX, dy * 0)


def test_a_chunk_may_hold_no_row_that_counts():
    weight = WEIGHT.copy()
    weight[150:300] = 0
    dX, dy, dw = chunked(X, Y, weight)
    for estimator in FOUR[:2]:
        model = clone(estimator).fit(dX, dy, dw)
        whole = clone(estimator).fit(X, Y, weight)
        assert_allclose(
            model.decision_function(X), whole.decision_function(X), atol=1e-6
        )
        assert_allclose(model.score(dX, dy, dw), model.score(X, Y, weight))


def test_columns_and_values_of_predictions():
    model = GaussianRatio().fit(pd.DataFrame(X, columns=["a", "b"]), Y)
    # Columns at once, values where they lie.
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict_ratio(frame()[["b", "a"]])
    nan = X.copy()
    nan[320, 1] = np.nan
    model = GaussianRatio().fit(X, Y)
    with pytest.raises(ValueError, match="X has 1 features"):
        model.predict(chunked(X)[0][:, :1])
    lazy = model.predict(chunked(nan)[0])
    with pytest.raises(ValueError, match=r"Chunk 2 of 5.*NaN"):
        lazy.compute()
    lazy = model.predict(dd.from_pandas(pd.DataFrame(nan), npartitions=4))
    with pytest.raises(ValueError, match=r"Chunk 1 \(counted from 0\).*NaN"):
        lazy.compute()


def test_pools_that_do_not_fit():
    dX, _ = chunked(X, Y)
    table = frame()
    for p, q, error, match in [
        (dX, X, TypeError, "denominator is in memory and the other sample"),
        (dX, table, TypeError, "one a Dask array and the other|of one kind"),
        (dX, dX[:, :1], ValueError, "same number of columns, got 2 and 1"),
        (table, table[["a"]], ValueError, "must have the same columns"),
    ]:
        with pytest.raises(error, match=match):
            pool(numerator=p, denominator=q)


def test_what_needs_rows_in_memory():
    dX, dy = chunked(X, Y)
    splits = [(np.arange(300), np.arange(300, 660))]
    for estimator, match in [
        (KMMRatio(solver="newton"), "the solver 'nystroem' alone"),
        (KMMRatio(ridge=0), "the solver 'nystroem' alone"),
        (KLIEPRatio(cv=splits), "cv must be a number of folds"),
        (GaussianRatio(cv=splits), "cv must be a number of folds"),
    ]:
        with pytest.raises(ValueError, match=match):
            estimator.fit(dX, dy)
    assert KMMRatio(n_components=9).fit(dX, dy).weights_ is None


def test_others_do_not_turn_collections_into_arrays():
    dX, dy = chunked(X, Y)
    pipeline = make_pipeline(StandardScaler(), GaussianRatio())
    for call in (
        lambda: pipeline.fit(dX, dy),
        lambda: FlowFeaturizer("gaussian").fit(dX, dy),
        lambda: FlowFeaturizer("gaussian").fit(X, Y).transform(dX),
        lambda: two_sample_test(GaussianRatio(), dX, dy),
    ):
        with pytest.raises(TypeError, match=r"X is a Dask collection.*a sample of"):
            call()
    # The remedy.
    pipeline.fit(X, Y)
    lazy = dX.map_blocks(pipeline.predict_ratio, drop_axis=1, dtype=float)
    assert_allclose(lazy, pipeline.predict_ratio(X))


@OF_FOUR
def test_a_fit_that_is_cancelled_changes_nothing(estimator):
    from concurrent.futures import CancelledError

    dX, dy = chunked(X, Y)
    passes = []

    def fail_later(block, block_info=None):
        passes.append(1)
        if len(passes) > 12:
            raise CancelledError("lost")
        return block

    model = clone(estimator).fit(X[:, :1], Y)
    before = dict(vars(model))
    doomed = dX.map_blocks(fail_later, dtype=float, meta=np.empty((0, 2)))
    with pytest.raises(CancelledError):
        model.fit(doomed, dy)
    assert vars(model) == before


def test_a_client_without_workers():
    class Client:
        def nthreads(self):
            return {}

        def get(self, *args, **kwargs):
            raise AssertionError("it would wait for ever")

    dX, dy = chunked(X, Y)
    with (
        dask.config.set(scheduler=Client().get),
        pytest.raises(RuntimeError, match=r"no workers.*cluster.scale"),
    ):
        GaussianRatio().fit(dX, dy)


def test_nothing_is_imported_for_rows_in_memory(monkeypatch):
    """The counterpart of tests/test_architecture.py, where Dask is not installed."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "dask"]:
        monkeypatch.setitem(sys.modules, name, None)
    model = GaussianRatio().fit(X, Y)
    assert np.isfinite(model.score(X, Y))
