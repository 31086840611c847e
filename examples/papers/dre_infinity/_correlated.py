"""Correlated Gaussian vectors, whose mutual information is known."""

import time

import numpy as np
from _runs import fit_timed

from skdre import pool

__all__ = ["RESULTS", "TEST_ROWS", "CorrelatedGaussians", "evaluate"]

TEST_ROWS = 10_000

RESULTS = [
    "estimate",
    "standard_error",
    "true_mean",
    "error_joint",
    "error_permuted",
    "fit_seconds",
    "predict_seconds",
]


class CorrelatedGaussians:
    """Two standard normal vectors; each column of one has a partner in the other.

    Parameters
    ----------
    n_columns : int
        Of each vector.
    rho : float
        Correlation of partners.
    """

    def __init__(self, n_columns, rho):
        self.n_columns = n_columns
        self.rho = rho

    @property
    def information(self):
        """Mutual information, -n_columns / 2 log(1 - rho^2) nats."""
        return -self.n_columns / 2 * np.log(1 - self.rho**2)

    def draw(self, n_rows, rng):
        """The two vectors, each of shape (n_rows, n_columns)."""
        X, noise = rng.standard_normal((2, n_rows, self.n_columns))
        return X, self.rho * X + np.sqrt(1 - self.rho**2) * noise

    def samples(self, n_rows, rng):
        """Joint rows [x, y], and rows whose y is that of the next pair."""
        X, Y = self.draw(n_rows, rng)
        return np.hstack([X, Y]), np.hstack([X, np.roll(Y, 1, axis=0)])

    def log_ratio(self, rows):
        """True log ratio of joint to independent rows, in nats."""
        x, y = np.split(rows, 2, axis=1)
        square = self.rho**2 * (x**2 + y**2) - 2 * self.rho * x * y
        return self.information - square.sum(axis=1) / (2 * (1 - self.rho**2))


def evaluate(model, problem, seed, *, rows, test_rows=TEST_ROWS):
    """Fit a ratio on one sample of pairs, and judge it at another.

    Parameters
    ----------
    model : ratio estimator
    problem : CorrelatedGaussians
    seed : int
    rows : int
        Pairs to fit on.
    test_rows : int, default=TEST_ROWS
        Pairs to judge it at.

    Returns
    -------
    result : dict
        The direct estimate of the mutual information, its standard error given the
        ratio, the true log ratio's mean over the same rows, the mean squared error of
        the log ratio at joint and at permuted rows, and processor seconds.
    """
    joint, permuted = problem.samples(rows, np.random.default_rng([seed, 0]))
    fit_seconds = fit_timed(model, *pool(numerator=joint, denominator=permuted))
    rng = np.random.default_rng([seed, 1])
    start = time.process_time()
    found, true, errors = [], [], []
    for test in problem.samples(test_rows, rng):
        found.append(model.decision_function(test))
        true.append(problem.log_ratio(test))
        errors.append(np.mean((found[-1] - true[-1]) ** 2))
    return {
        "estimate": found[0].mean(),
        "standard_error": found[0].std(ddof=1) / np.sqrt(test_rows),
        "true_mean": true[0].mean(),
        "error_joint": errors[0],
        "error_permuted": errors[1],
        "fit_seconds": fit_seconds,
        "predict_seconds": time.process_time() - start,
    }
