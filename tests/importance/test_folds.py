"""SourceFold: test folds of source rows alone, target rows in every training fold."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdre import (
    AlignedClassifier,
    GaussianRatio,
    ImportanceWeighted,
    LikelihoodRatioAligner,
    importance_weighted_scorer,
)
from skdre.importance import SourceFold

RNG = np.random.default_rng(0)
N, N_TARGET = 120, 60
X_SOURCE = RNG.normal(size=(N, 2))
Y_SOURCE = (X_SOURCE[:, 0] + 0.3 * RNG.normal(size=N) > 0.7).astype(int)
VALUES = X_SOURCE[:, 0] ** 2 + X_SOURCE[:, 1]
ORDER = RNG.permutation(N + N_TARGET)
X = np.concatenate([X_SOURCE, RNG.normal([1, 0], 1, (N_TARGET, 2))])[ORDER]
Y = np.append(Y_SOURCE, np.full(N_TARGET, -1))[ORDER]
V = np.append(VALUES, np.full(N_TARGET, np.nan))[ORDER]
GROUPS = RNG.integers(0, 6, len(X))
WEIGHTED = ImportanceWeighted(LogisticRegression(), GaussianRatio())
ALIGNED = AlignedClassifier(LogisticRegression(), LikelihoodRatioAligner())


def named(y):
    return np.array(["no", "yes", "-1"])[y]


@pytest.mark.parametrize(
    "y",
    [
        Y,
        Y.astype(float),
        Y.astype(object),
        named(Y),
        named(Y).astype(object),
        pd.Series(Y, dtype="Int64"),
        pd.Series(named(Y), dtype="category"),
        list(Y),
    ],
)
def test_classes_are_stratified_and_target_rows_stay_in_training(y):
    target, source = np.flatnonzero(Y == -1), np.flatnonzero(Y != -1)
    folds = list(SourceFold(4).split(X, y))
    expected = list(StratifiedKFold(4).split(X[source], Y[source]))
    assert SourceFold(4).get_n_splits(X, y) == len(folds) == 4
    for (train, test), (own_train, own_test) in zip(folds, expected, strict=True):
        assert_array_equal(test, source[own_test])
        assert_array_equal(train, np.sort([*source[own_train], *target]))


@pytest.mark.parametrize(
    "y", [V, pd.Series(V), pd.Series(V, dtype="Float64"), V.astype(object), list(V)]
)
def test_values_marked_by_nan(y):
    target, source = map(np.flatnonzero, (np.isnan(V), ~np.isnan(V)))
    expected = KFold(5).split(X[source])
    for (train, test), (_, own_test) in zip(
        SourceFold().split(X, y), expected, strict=True
    ):
        assert_array_equal(test, source[own_test])
        assert set(target) <= set(train)


def test_several_outputs():
    y = np.column_stack([V, V])
    tests = [test for _, test in SourceFold(3).split(X, y)]
    assert_array_equal(np.sort(np.concatenate(tests)), np.flatnonzero(~np.isnan(V)))


def test_without_a_mark_the_folds_are_those_of_cv():
    values = VALUES.copy()
    values[0] = -1.0  # a value like any other
    for y, cv in ((Y_SOURCE, StratifiedKFold(3)), (values, KFold(3))):
        for own, expected in zip(
            SourceFold(3).split(X_SOURCE, y), cv.split(X_SOURCE, y), strict=True
        ):
            assert_array_equal(own[0], expected[0])
            assert_array_equal(own[1], expected[1])


@pytest.mark.parametrize("frame", [False, True])
def test_groups(frame):
    rows = pd.DataFrame(X, columns=["a", "b"]) if frame else X
    for cv, n_splits in ((GroupKFold(3), 3), (LeaveOneGroupOut(), 6)):
        folds = SourceFold(cv)
        assert folds.get_n_splits(rows, Y, GROUPS) == n_splits
        for train, test in folds.split(rows, Y, GROUPS):
            labelled = train[Y[train] != -1]
            assert not set(GROUPS[labelled]) & set(GROUPS[test])
            assert (Y[train] == -1).sum() == N_TARGET
            assert (Y[test] != -1).all()


def test_number_of_folds_goes_by_the_source_rows():
    assert SourceFold(LeaveOneOut()).get_n_splits(X, Y) == N
    assert SourceFold(ShuffleSplit(7)).get_n_splits() == 7
    assert SourceFold(3).get_n_splits() == 3


def test_plain_scorers_score_the_source():
    cv = SourceFold(3)
    found = cross_validate(
        WEIGHTED, X, Y, cv=cv, scoring=["accuracy", "roc_auc"], error_score="raise"
    )
    for k, (train, test) in enumerate(cv.split(X, Y)):
        model = clone(WEIGHTED).fit(X[train], Y[train])
        accuracy = accuracy_score(Y[test], model.predict(X[test]))
        assert_allclose(found["test_accuracy"][k], accuracy)
        area = roc_auc_score(Y[test], model.predict_proba(X[test])[:, 1])
        assert_allclose(found["test_roc_auc"][k], area)
        assert accuracy > 0.8
    # The folds that are the default count each target row as an error.
    assert cross_val_score(WEIGHTED, X, Y, scoring="accuracy").max() < 0.7


def test_scores_of_the_target():
    cv = SourceFold(3)
    own = cross_val_score(WEIGHTED, X, Y, cv=cv)
    scorer = importance_weighted_scorer(scoring="accuracy")
    assert_allclose(cross_val_score(WEIGHTED, X, Y, cv=cv, scoring=scorer), own)
    plain = cross_val_score(WEIGHTED, X, Y, cv=cv, scoring="accuracy")
    assert np.abs(own - plain).max() > 0.001


def test_regressors():
    model = ImportanceWeighted(Ridge(), GaussianRatio())
    cv = SourceFold(3)
    found = cross_val_score(model, X, V, cv=cv, scoring="r2", error_score="raise")
    for score, (train, test) in zip(found, cv.split(X, V), strict=True):
        model.fit(X[train], V[train])
        assert_allclose(score, r2_score(V[test], model.predict(X[test])))
    assert np.isfinite(cross_val_score(model, X, V, cv=cv, error_score="raise")).all()


@pytest.mark.parametrize("model", [WEIGHTED, ALIGNED])
@pytest.mark.parametrize("labels", [Y, named(Y)])
def test_nested_searches(model, labels):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), clone(model)),
        {f"{type(model).__name__.lower()}__estimator__C": [1e-4, 1.0]},
        cv=SourceFold(StratifiedKFold(3, shuffle=True, random_state=0)),
        scoring="accuracy",
        error_score="raise",
    )
    scores = cross_val_score(search, X, labels, cv=SourceFold(3), error_score="raise")
    # Of moved rows at worst; with the target's rows it would be 2/3 at best.
    assert scores.min() > 0.75
    search.fit(X, labels)
    assert list(search.best_params_.values()) == [1.0]


def test_groups_in_a_search():
    grid = {"estimator__C": [1.0]}
    search = GridSearchCV(
        clone(WEIGHTED), grid, cv=SourceFold(GroupKFold(3)), error_score="raise"
    ).fit(X, Y, groups=GROUPS)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = GridSearchCV(
            clone(WEIGHTED), grid, cv=SourceFold(GroupKFold(3)), error_score="raise"
        ).fit(X, Y, groups=GROUPS)
    assert_allclose(
        routed.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize(
    ("cv", "y", "message"),
    [
        ([(np.arange(9), np.arange(9, 12))], Y, "cv must be a number of folds"),
        ("five", Y, "cv must be a number of folds"),
        (5, None, "needs y"),
        (5, Y[1:], "inconsistent numbers of samples"),
        (5, np.full(len(X), -1), "marks every row"),
        (5, np.where(Y == -1, None, named(Y)), "y contains NaN or None"),
        (PredefinedSplit(np.arange(len(X)) % 3), Y, "beyond the 120 source rows"),
    ],
)
def test_bad_input(cv, y, message):
    with pytest.raises(ValueError, match=message):
        list(SourceFold(cv).split(X, y))


def test_repr():
    assert repr(SourceFold(KFold(3))).startswith("SourceFold(cv=KFold(n_splits=3")
