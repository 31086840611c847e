"""Whether log ratios mean what they say: logistic recalibration of held-out rows."""

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from skdre._core.groups import sums_over

__all__ = ["calibration_line"]


def calibration_line(numerator, denominator, clusters=(None, None)):
    r"""Fit log odds = intercept + slope log r to the domains of held-out rows.

    Both domains weigh the same. For the true ratio the line is that of slope 1 through
    0; a slope below 1 belongs to log ratios that are too far from 0, one above 1 to
    timid ones, and the intercept to a factor in front of the ratio (D. R. Cox, "Two
    further applications of a model for binary regression", Biometrika 45, 1958).

    The ranges of the log ratios must overlap in more than one value, and not all be
    equal. Returns intercept and slope, and their standard errors (a sandwich, centred
    within each sample), which are infinite where a sample is a single row. They sum
    over the rows of each of `clusters`, the independent observations, where given.
    """
    log_ratio = np.concatenate([numerator, denominator])
    n_p, n_q = len(numerator), len(denominator)
    domain = np.repeat([1.0, 0.0], [n_p, n_q])
    weight = np.repeat([1 / n_p, 1 / n_q], [n_p, n_q]) * (n_p + n_q) / 2
    center = log_ratio.mean()
    scale = np.abs(log_ratio - center).max()
    U = (log_ratio - center)[:, None] / scale
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    model.fit(U, domain, sample_weight=weight)
    slope = model.coef_[0, 0] / scale
    coef = np.array([model.intercept_[0] - slope * center, slope])

    rows = np.column_stack([np.ones(len(U)), U])
    probability = expit(model.decision_function(U))
    hessian = (rows * (weight * probability * (1 - probability))[:, None]).T @ rows
    each = rows * (weight * (domain - probability))[:, None]
    if min(n_p, n_q) == 1:
        # A single row says nothing on how far its sample's mean may be off.
        return coef, np.full(2, np.inf)
    # The sizes of the two samples are given, only the rows within them are random.
    for part in (slice(n_p), slice(n_p, None)):
        each[part] -= each[part].mean(axis=0)
    if clusters[0] is not None:
        cluster = np.concatenate(clusters)
        each = np.column_stack([sums_over(cluster, column) for column in each.T])
    # From the scaled columns back to those of log r.
    back = np.array([[1, -center / scale], [0, 1 / scale]]) @ np.linalg.pinv(hessian)
    variance = np.diag(back @ (each.T @ each) @ back.T)
    # Below 0 by rounding, where the line is all but a step.
    return coef, np.sqrt(np.where(variance >= 0, variance, np.inf))
