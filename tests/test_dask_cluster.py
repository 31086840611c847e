"""On a cluster of two processes: fits, classifiers that are distributed, searches."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from skdre import (
    ClassifierRatio,
    GaussianRatio,
    ImportanceWeighted,
    JackknifeRatio,
    LSIFRatio,
    pool,
    two_sample_test,
)
from skdre.datasets import make_warped_shift

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

SHIFT = make_warped_shift((200, 260), 2, random_state=0)
X, Y = SHIFT.pool()


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def rows():
    return pool(
        numerator=da.from_array(SHIFT.numerator, chunks=(80, 2)),
        denominator=da.from_array(SHIFT.denominator, chunks=(80, 2)),
    )


def test_fits_and_predictions(client, rows):
    dX, dy = rows
    for estimator in (
        GaussianRatio(),
        LSIFRatio(n_components=10, gamma=1.0, ridge=0.1, random_state=0),
    ):
        expected = estimator.fit(X, Y).decision_function(X)
        model = estimator.fit(dX, dy)
        assert_allclose(model.decision_function(dX).compute(), expected, atol=1e-6)
        assert model.score(dX, dy) == pytest.approx(model.score(X, Y))


def test_classifiers_that_take_collections(client):
    lightgbm = pytest.importorskip("lightgbm")
    # Mixed, so that each worker sees both samples, whichever chunks it gets.
    order = np.random.default_rng(0).permutation(len(X))
    dX, dy = (da.from_array(each[order], chunks=115) for each in (X, Y))
    dX = dX.rechunk((115, 2))
    params = {"n_estimators": 5, "num_leaves": 4, "verbose": -1, "min_child_samples": 5}
    classifier = lightgbm.DaskLGBMClassifier(**params)
    model = ClassifierRatio(classifier).fit(dX, dy)
    found = model.decision_function(dX)
    assert found.chunks[0] == dX.chunks[0]
    local = ClassifierRatio(lightgbm.LGBMClassifier(**params)).fit(X, Y)
    # Bins are those of each worker's rows.
    expected = local.decision_function(X[order])
    assert np.corrcoef(found, expected)[0, 1] > 0.97
    # The samples are not of one size, which the log ratio is free of.
    assert np.mean(found - expected).compute() == pytest.approx(0, abs=0.05)
    assert_allclose(model.decision_function(X[order]), found, atol=1e-12)
    assert model.score(dX, dy) == pytest.approx(local.score(X, Y), abs=0.03)
    with pytest.raises(ValueError, match="calibration='slope' needs rows in memory"):
        ClassifierRatio(classifier, calibration="slope").fit(dX, dy)

    regressor = lightgbm.DaskLGBMRegressor(**params)
    target = da.from_array(SHIFT.numerator, chunks=(80, 2))
    source = da.from_array(SHIFT.denominator, chunks=(80, 2))
    weighted = ImportanceWeighted(regressor, GaussianRatio())
    weighted.fit(source, source[:, 0], X_target=target)
    expected = ImportanceWeighted(Ridge(), GaussianRatio()).fit(
        SHIFT.denominator, SHIFT.denominator[:, 0], X_target=SHIFT.numerator
    )
    assert_allclose(weighted.sample_weight_, expected.sample_weight_, atol=1e-6)
    assert weighted.effective_sample_size_ == pytest.approx(
        expected.effective_sample_size_
    )
    assert weighted.predict(target).compute().shape == (200,)
    for estimator, args, params, match in [
        (Ridge(), (source, source[:, 0]), {"X_target": target}, "takes rows in memory"),
        (regressor, (source, source[:, 0]), {}, "X_target must be one too"),
        (regressor, (source, None), {"X_target": target}, "y must be one with its"),
    ]:
        with pytest.raises(TypeError, match=match):
            ImportanceWeighted(estimator, GaussianRatio()).fit(*args, **params)


def test_searches_permutations_and_ensembles(client):
    from joblib import parallel_config

    def results():
        search = GridSearchCV(
            LSIFRatio(n_components=10, gamma=1.0, random_state=0),
            {"ridge": [0.01, 1.0]},
            cv=2,
            n_jobs=2,
        ).fit(X, Y)
        calibrated = ClassifierRatio(calibration="sigmoid", cv=2, n_jobs=2).fit(X, Y)
        test = two_sample_test(
            *(GaussianRatio(shrink=False), X, Y),
            **{"method": "refit", "n_permutations": 9, "n_jobs": 2, "random_state": 0},
        )
        return [
            *search.cv_results_["mean_test_score"],
            calibrated.score(X, Y),
            test.pvalue,
            JackknifeRatio(GaussianRatio(), n_folds=3, n_repeats=1, n_jobs=2)
            .fit(X, Y)
            .score(X, Y),
        ]

    expected = results()
    with parallel_config(backend="dask"):
        assert_allclose(results(), expected, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:Parameter n_jobs will be ignored")
def test_the_code_of_the_page(client, tmp_path, monkeypatch):
    """What doc/scaling.md shows, as it stands there, on small data."""
    pytest.importorskip("lightgbm")
    monkeypatch.chdir(tmp_path)
    client.run(os.chdir, tmp_path)
    for name in ("target", "source"):
        sample = SHIFT.numerator if name == "target" else SHIFT.denominator
        da.to_npy_stack(name, da.from_array(sample, chunks=(100, 2)))
    text = (Path(__file__).parents[1] / "doc" / "scaling.md").read_text()
    names = {"X_train": X, "y_train": Y}
    for title in ("More rows than memory", "A search on a cluster"):
        section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        blocks = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
        assert blocks
        for block in blocks:
            code, found = re.subn(
                r"Client\(n_workers=2, .*\)", "Client.current()", block
            )
            assert found == (title == "A search on a cluster")
            exec(code, names)
    assert names["score"] == pytest.approx(names["ratio"].score(X, Y))
    weights = da.from_npy_stack("weights")
    expected = names["ratio"].predict_ratio(SHIFT.denominator)
    assert_allclose(weights, expected, rtol=1e-9)
    assert names["trees"].predict_ratio(names["X"]).compute().shape == (len(X),)
    assert names["model"].effective_sample_size_ > 1
    assert np.isfinite(names["search"].best_score_)
