"""ImportanceWeighted on Dask collections."""

from typing import Any

import numpy as np
from sklearn.base import clone

from skdre._core.chunks import is_collection, takes_collections
from skdre.base import pool_rows

__all__ = ["fit_lazily"]


def _check(owner, y, sample_weight, X_target):
    """Refuse what needs rows in memory."""
    if not takes_collections(owner.estimator):
        raise TypeError(
            "X is a Dask collection, while estimator="
            f"{owner.estimator!r} takes rows in memory. Take one for collections, as "
            "xgboost.dask.DaskXGBRegressor or lightgbm.DaskLGBMClassifier, or sample "
            "rows and pass arrays."
        )
    if X_target is None or not is_collection(X_target):
        raise TypeError(
            "X is a Dask collection, so X_target must be one too: target rows marked "
            "inside y, or in memory, are taken only where X is in memory."
        )
    if owner.clip == "interval":
        raise ValueError("clip='interval' needs rows in memory, got a collection.")
    if sample_weight is not None:
        raise ValueError(
            "sample_weight is not taken where X is a collection: leave it out, or take "
            "rows in memory."
        )
    if y is None or not is_collection(y):
        raise TypeError("X is a Dask collection, so y must be one with its chunks.")


def fit_lazily(
    owner: Any, default: Any, X: Any, y: Any, sample_weight: Any, X_target: Any
) -> tuple[Any, ...]:
    """Fit the ratio target/source, and the inner estimator with its lazy weights.

    Parameters
    ----------
    owner : ImportanceWeighted
    default : ratio estimator
        For a `ratio` of None.
    X, y, sample_weight, X_target : Dask collections
        As of ``fit``.

    Returns
    -------
    ratio, estimator : estimator
    weights : Dask array of shape (n_source_samples,)
    effective_size, n_source : float
    """
    import dask
    import dask.array

    _check(owner, y, sample_weight, X_target)
    ratio = default if owner.ratio is None else clone(owner.ratio)
    ratio.fit(*pool_rows(X_target, X))
    # A number a row is kept, so that the ratio is predicted once.
    log_weight = (ratio.decision_function(X) * owner.flattening).persist()
    if owner.clip is not None:
        log_weight = dask.array.minimum(log_weight, float(np.log(owner.clip)))
    (largest,) = dask.compute(log_weight.max())
    relative = dask.array.exp(log_weight - largest)
    total, squares, n_source = dask.compute(
        relative.sum(), (relative**2).sum(), dask.array.ones_like(relative).sum()
    )
    scale = n_source / total if owner.normalize else float(np.exp(largest))
    weights = relative * scale
    estimator = clone(owner.estimator)
    estimator.fit(X, y, sample_weight=weights)
    return ratio, estimator, weights, float(total**2 / squares), float(n_source)
