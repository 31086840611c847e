"""AlignedClassifier against its steps by hand."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skdre import AlignedClassifier, LikelihoodRatioAligner, pool


@pytest.fixture(scope="module")
def task():
    """Three classes, and the same after another camera: an affine map."""
    rng = np.random.default_rng(0)
    centers = np.array([[0.0, 0.0], [4.0, 1.0], [1.0, 5.0]])
    y, y_target = rng.integers(0, 3, size=(2, 300))
    X = centers[y] + rng.normal(size=(300, 2))
    X_target = centers[y_target] + rng.normal(size=(300, 2))
    camera = np.array([[1.5, 0.8], [0.0, 2.0]])
    return X, y, X_target @ camera + [8.0, -6.0], y_target


def test_steps_by_hand(task):
    X, y, X_target, y_target = task
    model = AlignedClassifier(LogisticRegression()).fit(X, y, X_target=X_target)
    aligner = LikelihoodRatioAligner(random_state=0)
    aligner.fit(*pool(numerator=X_target, denominator=X))
    by_hand = LogisticRegression().fit(aligner.transform(X), y)
    assert_array_equal(model.predict_proba(X_target), by_hand.predict_proba(X_target))
    assert_array_equal(model.classes_, [0, 1, 2])
    assert_array_equal(model.aligner_.transform(X), aligner.transform(X))
    assert model.score(X, y) == by_hand.score(aligner.transform(X), y)
    assert np.mean(model.predict(X_target) == y_target) > 0.9
    assert np.mean(LogisticRegression().fit(X, y).predict(X_target) == y_target) < 0.6
    assert model.n_features_in_ == 2


def test_target_rows_inside_X(task):
    X, y, X_target, _ = task
    rng = np.random.default_rng(0)
    order = rng.permutation(len(X) + len(X_target))
    rows = np.concatenate([X, X_target])[order]
    labels = np.concatenate([y, np.full(len(X_target), -1)])[order]
    inside = AlignedClassifier(LogisticRegression()).fit(rows, labels)
    apart = AlignedClassifier(LogisticRegression()).fit(X, y, X_target=X_target)
    assert_allclose(
        inside.predict_proba(X_target), apart.predict_proba(X_target), rtol=1e-4
    )
    # Unlabelled rows do not count in the score.
    assert inside.score(rows, labels) == pytest.approx(apart.score(X, y))


def test_search_over_folds(task):
    X, y, X_target, _ = task
    rows = np.concatenate([X, X_target])
    labels = np.concatenate([y, np.full(len(X_target), -1)])
    search = GridSearchCV(
        AlignedClassifier(KNeighborsClassifier()),
        {"aligner": [None, LikelihoodRatioAligner(shrinkage=1.0)]},
        cv=StratifiedKFold(3),
        error_score="raise",
    ).fit(rows, labels)
    assert search.best_score_ > 0.9


def test_without_target_rows_nothing_moves(task):
    X, y, _, _ = task
    with pytest.warns(UserWarning, match="no source row is moved, as if there were no"):
        model = AlignedClassifier(LogisticRegression()).fit(X, y)
    assert model.aligner_ is None
    plain = LogisticRegression().fit(X, y)
    assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    assert model.score(X, y) == plain.score(X, y)


def test_weights_are_repetition(task):
    X, y, X_target, _ = task
    weight = np.random.default_rng(5).integers(0, 3, size=len(X))
    model = AlignedClassifier(LogisticRegression(solver="newton-cholesky", tol=1e-10))
    weighted = clone(model).fit(X, y, sample_weight=weight, X_target=X_target)
    repeated = clone(model).fit(
        np.repeat(X, weight, axis=0), np.repeat(y, weight), X_target=X_target
    )
    assert_allclose(
        weighted.predict_proba(X_target), repeated.predict_proba(X_target), rtol=1e-5
    )
    assert weighted.score(X, y, sample_weight=weight) == pytest.approx(
        repeated.score(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    )


def test_data_frames(task):
    X, y, X_target, _ = task
    frame, frame_target = (pd.DataFrame(each, columns=["a", "b"]) for each in task[::2])
    model = AlignedClassifier(LogisticRegression())
    framed = clone(model).fit(frame, y, X_target=frame_target[["b", "a"]])
    assert_array_equal(framed.estimator_.feature_names_in_, ["a", "b"])
    plain = model.fit(X, y, X_target=X_target)
    assert_allclose(framed.predict_proba(frame_target), plain.predict_proba(X_target))
    assert framed.score(frame, y) == plain.score(X, y)


def test_any_transformer_is_an_aligner(task):
    X, y, X_target, _ = task
    aligner = make_pipeline(FunctionTransformer(lambda X: X - 3), StandardScaler())
    model = AlignedClassifier(LogisticRegression(), aligner)
    model.fit(X, y, X_target=X_target)
    by_hand = LogisticRegression().fit(model.aligner_.transform(X), y)
    assert_array_equal(model.predict(X_target), by_hand.predict(X_target))


def test_pickle(task):
    X, y, X_target, _ = task
    model = AlignedClassifier(LogisticRegression()).fit(X, y, X_target=X_target)
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict_proba(X), model.predict_proba(X))


def test_bad_input(task):
    X, y, X_target, _ = task
    model = AlignedClassifier(LogisticRegression())
    with pytest.raises(ValueError, match=r"must be a classifier, got Ridge\(\)"):
        AlignedClassifier(Ridge()).fit(X, y, X_target=X_target)
    with pytest.raises(ValueError, match="takes no sample_weight"):
        AlignedClassifier(KNeighborsClassifier()).fit(
            X, y, sample_weight=np.ones(len(y)), X_target=X_target
        )
    with pytest.raises(ValueError, match="as many columns as X"):
        model.fit(X, y, X_target=X_target[:, :1])
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(X, y, X_target=np.full_like(X_target, np.nan))
    with pytest.raises(ValueError, match="one class beside -1"):
        model.fit(X, np.where(y == 0, 0, -1))
    model.fit(X, y, X_target=X_target)
    with pytest.raises(ValueError, match="no labelled row"):
        model.score(X, np.full(len(y), -1))
