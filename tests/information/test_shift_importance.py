"""Where the shift is: permutation importance of the ratio."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.preprocessing import StandardScaler

from skdre import GaussianRatio, make_pipeline, pool, shift_importance
from skdre.metrics import get_scorer


def pooled(n=400, seed=0):
    """The second column is shifted, the next two differ in their correlation."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(2, n, 5))
    p[:, 1] += 1
    p[:, 3] = 0.8 * p[:, 2] + 0.6 * p[:, 3]
    return pool(numerator=p, denominator=q)


def test_finds_the_columns_that_differ():
    result = shift_importance(
        GaussianRatio(shrink=False), *pooled(), n_repeats=5, random_state=0
    )
    mean, std = result.importances_mean, result.importances_std
    assert result.importances.shape == (5, 25)
    np.testing.assert_allclose(mean, result.importances.mean(axis=1))
    np.testing.assert_allclose(std, result.importances.std(axis=1))
    assert (mean[[1, 2, 3]] > 0.05).all()
    assert (np.abs(mean[[0, 4]]) < 0.01).all()
    assert mean[2:4].min() > 2 * mean[1]


def test_no_shift_no_importance():
    p, q = np.random.default_rng(0).normal(size=(2, 400, 3))
    X, y = pool(numerator=p, denominator=q)
    result = shift_importance(GaussianRatio(shrink=False), X, y, random_state=0)
    assert (np.abs(result.importances_mean) < 0.02).all()


def test_prefit_is_that_of_scikit_learn():
    X, y = pooled()
    fitted = GaussianRatio(shrink=False).fit(X, np.where(y, "new", "old")[:])
    X, y = pooled(seed=1)
    y = np.where(y, "new", "old")
    with pytest.raises(ValueError, match="was fitted with"):
        shift_importance(fitted, X, y == "old", cv="prefit")
    result = shift_importance(fitted, X, y, cv="prefit", random_state=0)
    expected = permutation_importance(
        fitted, X, y, n_repeats=10, random_state=np.random.RandomState(0)
    )
    np.testing.assert_array_equal(result.importances, expected.importances)


def test_held_out_rows():
    class Recorder(GaussianRatio):
        def fit(self, X, y):
            self.seen_ = set(X[:, 0])
            return super().fit(X, y)

        def score(self, X, y, sample_weight=None):
            # The first column keeps its values, in another order.
            assert not self.seen_ & set(X[:, 0])
            return super().score(X, y, sample_weight)

    shift_importance(Recorder(), *pooled(30), cv=3, n_repeats=2, random_state=0)


def test_frames_pipelines_and_scorers():
    X, y = pooled(100)
    frame = pd.DataFrame(X, columns=list("abcde"))
    ratio = make_pipeline(StandardScaler(), GaussianRatio(shrink=False))
    kwargs = {"n_repeats": 2, "random_state": 0}
    found = shift_importance(ratio, frame, y, **kwargs)
    plain = shift_importance(ratio, X, y, **kwargs)
    np.testing.assert_allclose(found.importances, plain.importances, atol=1e-12)
    for scoring in ("roc_auc", get_scorer("kliep_score")):
        other = shift_importance(ratio, X, y, scoring=scoring, **kwargs)
        assert (other.importances_mean[[1, 2, 3]] > 0.05).all()
        assert not np.allclose(other.importances, plain.importances)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n_repeats": 0}, ValueError, "'n_repeats' parameter"),
        ({"cv": "prefit"}, NotFittedError, "not fitted"),
        ({"y": np.zeros(20)}, ValueError, "one class only"),
        (
            {"estimator": StandardScaler()},
            ValueError,
            "estimator must be a density-ratio",
        ),
    ],
)
def test_bad_input(change, error, message):
    X, y = pooled(10)
    arguments = {"estimator": GaussianRatio(shrink=False), "X": X, "y": y} | change
    with pytest.raises(error, match=message):
        shift_importance(**arguments)
