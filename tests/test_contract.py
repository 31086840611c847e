"""The contract of density ratios, over every public ratio estimator and pipelines."""

import numpy as np
import pytest
from instances import make_instances
from sklearn import pipeline
from sklearn.base import clone, is_classifier
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    check_cv,
    cross_val_score,
)
from sklearn.preprocessing import StandardScaler

from skdre import FlowFeaturizer, GaussianRatio, KMMRatio, make_pipeline
from skdre.datasets import make_warped_shift
from skdre.utils.estimator_checks import parametrize_with_ratio_checks

FLOW = FlowFeaturizer(n_transforms=1, hidden_features=(8,), max_epochs=3)
RATIOS = [
    *make_instances("ratio"),
    make_pipeline(StandardScaler(), KMMRatio()),
    make_pipeline(FLOW, KMMRatio()),
]


@parametrize_with_ratio_checks(RATIOS)
@pytest.mark.usefixtures("shared_fits")
def test_ratio(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", make_instances("ratio"), ids=str)
def test_model_selection_needs_nothing_said(estimator):
    """Default splits and default score, on sorted labels and unequal samples."""
    X, y = make_warped_shift((150, 60), 2, random_state=0).pool()
    # Alone it is split like the classifier that the pipeline below is.
    splitter = check_cv(None, y, classifier=is_classifier(estimator))
    assert isinstance(splitter, StratifiedKFold)
    search = GridSearchCV(
        pipeline.make_pipeline(StandardScaler(), clone(estimator)),
        {},
        error_score="raise",
    )
    search.fit(X, y)
    # Better than knowing nothing; an inverted ratio is far worse.
    assert search.best_score_ > -np.log(2)
    fitted, scaled = search.best_estimator_[-1], search.best_estimator_[0].transform(X)
    assert search.score(X, y) == pytest.approx(fitted.score(scaled, y))
    log_ratio = search.decision_function(X)
    np.testing.assert_allclose(
        search.predict_proba(X)[:, 1], 1 / (1 + np.exp(-log_ratio)), rtol=1e-6
    )


@pytest.mark.parametrize("estimator", [KMMRatio(), GaussianRatio()], ids=str)
def test_cross_validation_needs_no_pipeline(estimator):
    X, y = make_warped_shift((150, 60), 2, random_state=0).pool()
    scores = cross_val_score(estimator, X, y, error_score="raise")
    assert scores.mean() > -np.log(2)
