"""What AutoRatio chooses from, unless it is told otherwise."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skdre._core.inner import fit_weighted
from skdre._core.samples import PooledRows
from skdre._core.types import Floats, Rows, Values
from skdre.base import DensityRatioMixin, predict_log_ratio, split_samples
from skdre.classification import ClassifierRatio, GaussianRatio, MLPRatio
from skdre.flows._marginals import gaussianize
from skdre.kernel import LSIFRatio
from skdre.waymarks import TelescopingRatio

__all__ = ["NormalScoresRatio", "default_candidates", "normal_scores"]


def normal_scores(rows):
    """Maps of the columns to a normal, both samples counting half."""
    shares = [weight / weight.sum() for _, weight in rows.samples()]
    return gaussianize(rows.X, np.concatenate(shares))


class NormalScoresRatio(DensityRatioMixin, MetaEstimatorMixin, BaseEstimator):
    """A ratio of columns that are made normal first, by smooth monotone maps.

    The map makes each column of the two samples together normal, both counting half.
    The ratio is unchanged by it, and what is made for round data becomes good for long
    tails and skewed columns.

    Parameters
    ----------
    estimator : ratio estimator
        Of the columns made normal.

    Attributes
    ----------
    estimator_ : ratio estimator
        Fitted.
    marginals_ : object
        The map.
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    Examples
    --------
    >>> from skdre import GaussianRatio
    >>> from skdre.auto._candidates import NormalScoresRatio
    >>> from skdre.datasets import make_warped_shift
    >>> shift = make_warped_shift(300, 2, warp="exp", random_state=0)
    >>> X, y = shift.pool()
    >>> NormalScoresRatio(GaussianRatio()).fit(X, y).decision_function(X).shape
    (600,)
    """

    def __init__(self, estimator: Any):
        self.estimator = estimator

    def fit(
        self, X: Rows, y: Values, sample_weight: Values | None = None
    ) -> "NormalScoresRatio":
        """Map the columns, and fit the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both samples, finite.
        y : array-like of shape (n_samples,)
            Domain labels, two values; the greater names the numerator.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights inside each domain: k is k repeats of the row, 0 its absence.

        Returns
        -------
        self : NormalScoresRatio
        """
        samples = split_samples(self, X, y, sample_weight)
        rows = PooledRows.of(samples)
        marginals = normal_scores(rows)
        weight = None if (rows.weight == 1).all() else rows.weight
        estimator = fit_weighted(
            clone(self.estimator),
            marginals.forward(rows.X)[0],
            rows.is_numerator,
            weight,
            "estimator",
        )
        self.classes_ = samples.classes
        self.marginals_ = marginals
        self.estimator_ = estimator
        return self

    def decision_function(self, X: Rows) -> Floats:
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats.
        """
        X = self._validate_rows(X)
        return predict_log_ratio(self.estimator_, self.marginals_.forward(X)[0])


def _boosting(**params):
    """Trees without a stopping rule of their own: the folds stop them together."""
    return ClassifierRatio(HistGradientBoostingClassifier(**params))


def default_candidates() -> list[tuple[str, Any]]:
    """What :class:`skdre.AutoRatio` tries, the simplest first.

    Returns
    -------
    candidates : list of (str, ratio estimator)
        New estimators, to be changed, left out or added to at will. Where two are as
        good, the earlier one is taken: the plug-in before logistic regression, for it
        learns the same from fewer rows. Those tried only where the samples lie far
        apart are telescoping ones.
    """
    quadratic = make_pipeline(
        StandardScaler(),
        PolynomialFeatures(2, include_bias=False),
        StandardScaler(),
        LogisticRegression(C=0.01, solver="newton-cholesky", max_iter=50),
    )
    # A member for each fold: more of them, or larger batches, cost more than they gain.
    bridges = TelescopingRatio(n_bridges=12, n_estimators=5, batch_size=32)
    return [
        ("Gaussian plug-in", GaussianRatio()),
        ("plug-in on normal scores", NormalScoresRatio(GaussianRatio())),
        ("logistic regression", ClassifierRatio()),
        ("quadratic logistic regression", ClassifierRatio(quadratic)),
        ("RuLSIF", LSIFRatio(alpha=0.1)),
        ("RuLSIF on normal scores", NormalScoresRatio(LSIFRatio(alpha=0.1))),
        (
            "boosted stumps",
            _boosting(
                learning_rate=0.3, max_depth=1, max_iter=160, early_stopping=False
            ),
        ),
        (
            "boosted trees",
            _boosting(
                learning_rate=0.1,
                max_leaf_nodes=10,
                max_iter=320,
                early_stopping=False,
            ),
        ),
        ("network", MLPRatio(n_estimators=10)),
        ("network on normal scores", NormalScoresRatio(MLPRatio(n_estimators=10))),
        ("telescoping", bridges),
        ("telescoping on normal scores", NormalScoresRatio(clone(bridges))),
    ]
