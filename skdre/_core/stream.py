"""Learning by portions that come one after another: ``partial_fit``.

What needs all rows at once (centres, bandwidths, quantiles, choices by held-out rows)
is taken from the first ones. They are kept until there are enough of both samples, and
each call fits all of them anew. After that the estimator keeps sums alone, to which
each portion adds its own (:mod:`skdre._core.reduce`).
"""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils.validation import column_or_1d, validate_data

from skdre._compat import check_sample_weight
from skdre._core.columns import validate_rows
from skdre._core.domains import check_lengths
from skdre._core.reduce import Portion
from skdre._core.types import Rows, Values
from skdre._core.values import refuse_masked

__all__ = ["LearnsPortions", "Stream", "learn_portion", "raw_totals"]

# Rows that are kept beyond this get a warning.
_MANY_ROWS = 1_000_000


@dataclass(frozen=True)
class Stream:
    """What an estimator keeps of the portions that it has seen.

    Attributes
    ----------
    classes : ndarray of shape (2,)
        The labels, the denominator's first.
    rows : tuple of ndarray or None
        X, labels and weights that are kept, None once there are enough.
    sums : tuple of Sums or None
        Of the denominator and the numerator, with weights as they came.
    """

    classes: np.ndarray
    rows: Any = None
    sums: Any = None


class LearnsPortions:
    """Fitted is what has seen rows of both samples, not of one alone."""

    def __sklearn_is_fitted__(self):
        return hasattr(self, "classes_")


def raw_totals(classes: np.ndarray, y: Values, sample_weight: Any) -> tuple[float, ...]:
    """Total weight of the rows of each class, as it came.

    Parameters
    ----------
    classes : ndarray of shape (2,)
    y : array-like of shape (n_samples,)
    sample_weight : array-like of shape (n_samples,) or None

    Returns
    -------
    denominator, numerator : float
    """
    y = np.ravel(np.asarray(y))
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
    return tuple(float(weight[y == label].sum()) for label in classes)


def _check_classes(name, classes, stream, labels):
    """The two labels, and whether each row is of the second."""
    known = stream.classes if stream is not None else None
    if classes is not None:
        refuse_masked(classes, "classes")
        classes = np.unique(column_or_1d(classes))
        if len(classes) != 2:
            raise ValueError(
                "classes must name the two labels of the denominator and the "
                f"numerator, got {classes.tolist()}."
            )
        if known is not None and not np.array_equal(known, classes):
            raise ValueError(
                f"classes is {classes.tolist()}, while that of earlier calls, or of "
                f"fit, was {known.tolist()}."
            )
        known = classes
    if known is None:
        known = np.unique(labels)
        if len(known) == 1:
            raise ValueError(
                f"The first portion that {name} gets holds one class only, "
                f"{known.tolist()[0]!r}: say which two there are, "
                "partial_fit(X, y, classes=[...])."
            )
        if len(known) != 2:
            raise ValueError(
                "Only binary classification is supported: y must name exactly two "
                f"domains, but it holds {len(known)} classes "
                f"({', '.join(map(repr, known[:5].tolist()))})."
            )
    is_numerator = labels == known[1]
    unknown = ~(is_numerator | (labels == known[0]))
    if unknown.any():
        raise ValueError(
            f"y holds the label {labels[unknown].tolist()[0]!r}, which is not one of "
            f"the two classes: {known.tolist()}."
        )
    return known, is_numerator


def learn_portion(
    estimator: Any,
    X: Rows,
    y: Values,
    classes: Values | None,
    sample_weight: Values | None,
    *,
    n_first: int,
    signed: bool = False,
) -> Any:
    """Let an estimator learn from a portion of the rows.

    It has a parameter `decay`, its ``fit`` leaves a Stream with sums in ``_stream``,
    and ``_add_sums(portions, sums)`` fits it to the sums before and to a portion of
    each sample, which may be None.

    Parameters
    ----------
    estimator : estimator
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
    classes : array-like of shape (2,) or None
    sample_weight : array-like of shape (n_samples,) or None
    n_first : int
        Rows of each sample that are kept, and fitted together.
    signed : bool, default=False
        Whether weights may be negative.

    Returns
    -------
    estimator : estimator
    """
    name = type(estimator).__name__
    stream = getattr(estimator, "_stream", None)
    if y is None:
        raise ValueError(
            f"{name} requires y to be passed, but the target y is None: y holds the "
            "domain of each row of X."
        )
    refuse_masked(y, "y")
    labels = column_or_1d(y, warn=True)
    check_lengths(X, labels)
    known, is_numerator = _check_classes(name, classes, stream, labels)
    rows = validate_rows(estimator, X, reset=stream is None)
    weight = np.ones(len(rows))
    if sample_weight is not None:
        refuse_masked(sample_weight, "sample_weight")
        weight = check_sample_weight(
            sample_weight,
            rows,
            dtype=np.float64,
            ensure_non_negative=not signed,
            # A portion may hold none of the rows that count.
            allow_all_zero_weights=True,
        )
    if stream is not None and stream.rows is None:
        kept = weight != 0
        portions = []
        for domain in (~is_numerator & kept, is_numerator & kept):
            some = Portion(rows[domain], weight[domain], np.ones(domain.sum()))
            portions.append(some if domain.any() else None)
        sums = tuple(each.scaled(estimator.decay) for each in stream.sums)
        sums = estimator._add_sums(portions, sums)
        estimator._stream = replace(stream, sums=sums)
        return estimator
    return _keep(estimator, X, (rows, labels, weight), known, n_first)


def _keep(estimator, X, portion, classes, n_first):
    """Fit all rows that came so far; keep them if they are few."""
    stream = getattr(estimator, "_stream", None)
    if stream is not None:
        before, labels, weight = stream.rows
        before = before, labels, weight * estimator.decay
        portion = tuple(map(np.concatenate, zip(before, portion, strict=True)))
    rows, labels, weight = portion
    n_rows = [np.count_nonzero((labels == label) & (weight != 0)) for label in classes]
    if min(n_rows) == 0:
        if len(rows) > _MANY_ROWS:
            missing = classes.tolist()[np.argmin(n_rows)]
            warnings.warn(
                f"{type(estimator).__name__} has kept {len(rows):,} rows, for none is "
                f"of class {missing!r} yet. Let portions hold rows of both classes.",
                UserWarning,
                stacklevel=5,
            )
        estimator._stream = Stream(classes, portion)
        return estimator
    all_alike = (weight == 1).all()
    estimator.fit(rows, labels, None if all_alike else weight)
    # The names of the columns, which arrays do not have.
    validate_data(estimator, X, skip_check_array=True)
    if min(n_rows) < n_first:
        estimator._stream = replace(estimator._stream, rows=portion)
    return estimator
