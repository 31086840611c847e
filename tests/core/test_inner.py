"""Estimators inside others."""

import numpy as np
import pytest
from sklearn.ensemble import BaggingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdre import ClassifierRatio, GaussianRatio
from skdre._core.inner import innermost

LEARNER = LogisticRegression()
BAGS = BaggingClassifier(LogisticRegression())
RATIO = ClassifierRatio(LogisticRegression())


@pytest.mark.parametrize(
    ("estimator", "learner"),
    [
        (LEARNER, LEARNER),
        (make_pipeline(StandardScaler(), LEARNER), LEARNER),
        (GridSearchCV(make_pipeline(StandardScaler(), LEARNER), {}), LEARNER),
        (FrozenEstimator(make_pipeline(StandardScaler(), LEARNER)), LEARNER),
        (OneVsRestClassifier(LEARNER), LEARNER),
        # Weighted themselves: what is inside is their own affair.
        (BAGS, BAGS),
        (RATIO, RATIO),
    ],
    ids=lambda each: type(each).__name__,
)
def test_innermost(estimator, learner):
    assert innermost(estimator) is learner


def test_innermost_of_a_fitted_search_is_the_best():
    X = np.random.default_rng(0).normal(size=(20, 1))
    pipeline = make_pipeline(StandardScaler(), GaussianRatio())
    search = GridSearchCV(pipeline, {"gaussianratio__shrink": [False]}, cv=2)
    search.fit(X, [0, 1] * 10)
    assert innermost(FrozenEstimator(search)) is search.best_estimator_[-1]
