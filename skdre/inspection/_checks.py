"""What the Displays ask of estimators, of predictions and of matplotlib."""

import warnings

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skdre._compat import check_sample_weight
from skdre._core.inner import innermost
from skdre.base import encode_domains

__all__ = [
    "check_log_ratio",
    "check_weight",
    "domains_of",
    "method_of",
    "name_of",
    "warn_if_constant",
]


def name_of(estimator):
    """Name for the legend: that of the estimator inside pipelines and searches."""
    return type(innermost(estimator)).__name__


def method_of(estimator, X, name):
    """The owner of a method that pipelines and searches do not pass on, and its rows.

    These are the rows of X after the steps before the owner.
    """
    check_is_fitted(estimator)
    owner = estimator
    while not hasattr(owner, name):
        if isinstance(owner, Pipeline):
            X = owner[:-1].transform(X) if len(owner.steps) > 1 else X
            owner = owner.steps[-1][1]
        elif hasattr(owner, "best_estimator_"):
            owner = owner.best_estimator_
        else:
            raise TypeError(
                f"estimator must have a method {name}, which {type(owner).__name__} "
                "has not."
            )
    return owner, X


def check_log_ratio(log_ratio, name="log_ratio"):
    """One finite value a row, as float64."""
    log_ratio = np.asarray(log_ratio, dtype=np.float64)
    if log_ratio.ndim != 1 or not log_ratio.size:
        raise ValueError(
            f"{name} must have shape (n_samples,) with at least one row, got shape "
            f"{log_ratio.shape}."
        )
    if np.isnan(log_ratio).any():
        raise ValueError(f"{name} contains NaN.")
    if n_infinite := np.count_nonzero(np.isinf(log_ratio)):
        raise ValueError(
            f"{name} is infinite at {n_infinite} of {log_ratio.size} rows, where one "
            "of the densities is 0. Infinite values have no place in the picture: "
            "leave these rows out."
        )
    return log_ratio


def check_weight(sample_weight, log_ratio):
    """Repetition counts of the rows, ones by default."""
    return check_sample_weight(
        sample_weight, log_ratio, dtype=np.float64, ensure_non_negative=True
    )


def domains_of(y, n_rows, *, name, classes=None):
    """Mask of the numerator's rows, and the two labels, which must be the classes.

    `name` is the Display's, for the messages; without classes any two labels will do.
    """
    found, is_numerator = encode_domains(y, name=name)
    if len(is_numerator) != n_rows:
        raise ValueError(
            f"y must have one label for each row, got {len(is_numerator)} labels and "
            f"{n_rows} rows."
        )
    if classes is not None and set(found.tolist()) != set(np.asarray(classes).tolist()):
        raise ValueError(
            f"y holds the labels {found.tolist()}, while the estimator was fitted with "
            f"{np.asarray(classes).tolist()}."
        )
    return is_numerator, found


def warn_if_constant(log_ratio, name, picture):
    """Say that a constant ratio makes an empty picture."""
    if log_ratio.size > 1 and np.ptp(log_ratio) == 0:
        warnings.warn(
            f"{name} is the same at all rows, {log_ratio[0]:.3g} nats, so {picture}. "
            "Either nothing tells the samples apart, or the estimator has learnt "
            "nothing.",
            UserWarning,
            stacklevel=4,
        )
