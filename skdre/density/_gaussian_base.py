"""The Gaussian base, for those who want no flow."""

import numpy as np
from scipy.linalg import cholesky
from sklearn.base import BaseEstimator
from sklearn.covariance import oas
from sklearn.utils import check_random_state

from skdre.density._targets import Normal

__all__ = ["GaussianBase"]


class GaussianBase(BaseEstimator):
    """A Gaussian with the mean and the shrunk covariance of the rows.

    Shrinkage is the oracle-approximating one, in columns of standard deviation 1. A
    constant column gets variance 1.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
    covariance_ : ndarray of shape (n_features, n_features)
    """

    def fit(self, X, y=None):
        mean, varies = X.mean(axis=0), np.ptp(X, axis=0) > 0
        scale = np.where(varies, X.std(axis=0), 1.0)
        correlation = np.eye(X.shape[1])
        if varies.any():
            Z = ((X - mean) / scale)[:, varies]
            correlation[np.ix_(varies, varies)], _ = oas(Z, assume_centered=True)
        self.n_features_in_ = X.shape[1]
        self.mean_ = mean
        self.covariance_ = correlation * np.outer(scale, scale)
        try:
            cholesky(self.covariance_)
        except np.linalg.LinAlgError:
            # Columns that determine each other, and too many rows to shrink.
            ridge = 1e-8 * scale**2
            self.covariance_[np.diag_indices_from(self.covariance_)] += ridge
        return self

    @property
    def _normal(self):
        return Normal(self.mean_, self.covariance_)

    def transform(self, X):
        return self._normal.transform(X)

    def inverse_transform(self, X):
        return self._normal.inverse_transform(X)

    def score_samples(self, X):
        return self._normal.score_samples(X)

    def sample(self, n_samples=1, random_state=None):
        rng = check_random_state(random_state)
        return self.inverse_transform(rng.normal(size=(n_samples, self.n_features_in_)))
