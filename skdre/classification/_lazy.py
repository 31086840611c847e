"""Classifiers that are fitted on Dask collections, as xgboost's and LightGBM's are."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from skdre._core.chunk_parts import label_sums
from skdre._core.chunks import is_collection
from skdre.base import bounded_log_ratio
from skdre.classification._equal_priors import without_priors

__all__ = ["LazyClassifier", "fit_lazily"]


class LazyClassifier(NamedTuple):
    """A classifier fitted on a collection, and what makes log ratios of its odds."""

    estimator: Any
    log_prior: float
    n_numerator: float
    n_denominator: float

    def log_ratio(self, X: Any) -> Any:
        """Log ratio at the rows of a collection, lazily, or of an array.

        Parameters
        ----------
        X : Dask array or data frame, or ndarray, of shape (n_samples, n_features)

        Returns
        -------
        log_ratio : Dask array or ndarray of shape (n_samples,)
        """
        import dask.array

        if not is_collection(X):
            whole = dask.array.from_array(np.asarray(X), chunks=(len(X), -1))
            return self.log_ratio(whole).compute()
        probability = self.estimator.predict_proba(X)
        if hasattr(probability, "to_dask_array"):
            probability = probability.to_dask_array()
        of_block = partial(
            bounded_log_ratio,
            n_numerator=self.n_numerator,
            n_denominator=self.n_denominator,
            log_prior=self.log_prior,
        )
        return probability.map_blocks(
            of_block, drop_axis=1, dtype=float, meta=np.empty(0)
        )


def fit_lazily(
    estimator: Any, name: str, X: Any, y: Any, sample_weight: Any
) -> tuple[np.ndarray, LazyClassifier]:
    """Fit a classifier on a collection so that both domains weigh the same.

    Where it takes no weights, its log odds contain those of the prior, which are taken
    off.

    Parameters
    ----------
    estimator : classifier
        Of Dask collections.
    name : str
        Who asks; for the messages.
    X, y, sample_weight : Dask collections

    Returns
    -------
    classes : ndarray of shape (2,)
        The labels, the denominator's first.
    fitted : LazyClassifier

    Raises
    ------
    ValueError
        If the collections do not fit each other, or weights are not taken.
    """
    classes, (q, p) = label_sums(name, X, y, sample_weight)
    estimator, is_equal = without_priors(estimator)
    is_numerator = (y == classes[1]).astype(int)
    log_prior = 0.0
    if has_fit_parameter(estimator, "sample_weight"):
        both = q.weight + p.weight
        of_q, of_p = 2 * p.weight / both, 2 * q.weight / both
        weight = is_numerator * (of_p - of_q) + of_q
        weight = weight if sample_weight is None else weight * sample_weight
        estimator.fit(X, is_numerator, sample_weight=weight)
    elif sample_weight is not None:
        raise ValueError(
            f"{estimator!r} takes no sample_weight on collections: leave the weights "
            "out, or take a classifier whose fit has them."
        )
    else:
        estimator.fit(X, is_numerator)
        log_prior = 0.0 if is_equal else float(np.log(p.weight / q.weight))
    return classes, LazyClassifier(estimator, log_prior, p.n_rows, q.n_rows)
