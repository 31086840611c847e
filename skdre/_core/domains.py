"""A labelled pool of two samples, validated and taken apart inside an estimator."""

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d, validate_data

from skdre._compat import check_sample_weight, num_samples
from skdre._core.arrays import to_host
from skdre._core.columns import check_rows
from skdre._core.samples import LabelledRows, TwoSamples, two_samples
from skdre._core.types import Rows, Values
from skdre._core.values import refuse_complex, refuse_masked

__all__ = [
    "check_lengths",
    "check_pool",
    "encode_domains",
    "split_samples",
]

_TWO_SAMPLES = (
    "To fit on two samples use fit(*pool(numerator=..., denominator=...)), with pool "
    "from skdre."
)


def check_lengths(X, y):
    if num_samples(X) != num_samples(y):
        raise ValueError(
            "X and y must have one entry for each row, got "
            f"{num_samples(X)} rows of X and {num_samples(y)} labels in y."
        )


def encode_domains(y: Values, *, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Check the labels of two domains.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Exactly two labels, the greater names the numerator.
    name : str
        Who asks; for the messages.

    Returns
    -------
    classes : ndarray of shape (2,)
        The labels, the denominator's first.
    is_numerator : ndarray of bool of shape (n_samples,)

    Raises
    ------
    ValueError
        If y does not name two domains.

    Examples
    --------
    >>> from skdre.base import encode_domains
    >>> encode_domains(["old", "new", "old"], name="MyRatio")
    (array(['new', 'old'], dtype='<U3'), array([ True, False,  True]))
    """
    if y is None:
        raise ValueError(
            f"{name} requires y to be passed, but the target y is None: y holds the "
            "domain of each row of X (see skdre.pool)."
        )
    refuse_masked(y, "y")
    y = to_host(y)
    shape = tuple(y.shape) if hasattr(y, "shape") else np.asarray(y).shape
    if len(shape) == 2 and shape[1] != 1:
        raise ValueError(
            f"y should be a 1d array, got an array of shape {shape} instead: y holds "
            f"the domain of each row of X. {_TWO_SAMPLES}"
        )
    y = column_or_1d(y, warn=True)
    refuse_complex(y, "y")
    try:
        classes, codes = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            "y must hold labels that can be sorted (all numbers or all strings), got "
            f"labels of mixed types: {error}"
        ) from error
    if classes.size == 0:
        raise ValueError(
            "Found array with 0 sample(s): X and y are empty, while both samples need "
            "at least one row."
        )
    # NaN, in an array of floats, of objects or of dates, is what differs from itself.
    missing = (classes != classes).any()
    if missing or (classes.dtype.kind == "f" and np.isinf(classes).any()):
        raise ValueError("Input y contains NaN or infinity; y must hold two labels.")
    if classes.size == 1:
        raise ValueError(
            f"{name} needs rows of two classes in y, the numerator's and the "
            f"denominator's, but y holds one class only: {classes.tolist()[0]!r}."
        )
    if classes.size > 2:
        # Continuous and multi-output targets get scikit-learn's own message.
        try:
            check_classification_targets(y)
        except ValueError as error:
            raise ValueError(f"{error} {_TWO_SAMPLES}") from error
        shown = ", ".join(map(repr, classes[:5].tolist()))
        raise ValueError(
            "Only binary classification is supported. The type of the target is "
            f"{type_of_target(y)}: y must name exactly two domains, but it holds "
            f"{classes.size} classes ({shown}{', ...' if classes.size > 5 else ''})."
        )
    return classes, codes.ravel().astype(bool)


def check_pool(
    estimator: Any,
    X: Rows,
    y: Values,
    sample_weight: Values | None = None,
    **check_params: Any,
) -> LabelledRows:
    """Validate a labelled pool without touching `estimator`.

    What :func:`split_samples` is made of, for estimators that fit on the pool as it is.
    They call ``validate_data(self, X, skip_check_array=True)`` when everything is
    fitted, which sets ``n_features_in_`` and ``feature_names_in_``.

    Parameters
    ----------
    estimator : estimator instance
        Named in the messages.
    X : array-like of shape (n_samples, n_features)
        Rows of both samples.
    y : array-like of shape (n_samples,)
        Domain labels; exactly two values, the greater names the numerator.
    sample_weight : array-like of shape (n_samples,), default=None
        Repetition counts.
    **check_params : dict
        Passed to :func:`sklearn.utils.check_array`.

    Returns
    -------
    rows : LabelledRows

    Raises
    ------
    ValueError
        If the labels do not name two domains, X is not a finite dense matrix, or a
        domain is left without rows of positive weight.

    Examples
    --------
    >>> from skdre import KMMRatio
    >>> from skdre.base import check_pool
    >>> rows = check_pool(KMMRatio(), [[1.0], [2.0], [3.0]], [0, 1, 1])
    >>> rows.is_numerator
    array([False,  True,  True])
    """
    X, y, sample_weight = map(to_host, (X, y, sample_weight))
    classes, is_numerator = encode_domains(y, name=type(estimator).__name__)
    check_lengths(X, y)
    weight = None
    if sample_weight is not None:
        refuse_masked(sample_weight, "sample_weight")
        weight = check_sample_weight(
            sample_weight, is_numerator, dtype=np.float64, ensure_non_negative=True
        )
        for label, domain in zip(
            classes.tolist(), (~is_numerator, is_numerator), strict=True
        ):
            if not np.any(weight[domain] > 0):
                raise ValueError(
                    f"sample_weight is zero for every row of class {label!r}: both "
                    "classes need rows of positive weight."
                )
    defaults: dict[str, Any] = {"dtype": np.float64, "ensure_min_samples": 2}
    checked = check_rows(X, estimator=estimator, **(defaults | check_params))
    return LabelledRows(checked, is_numerator, weight, classes)


def split_samples(
    estimator: Any,
    X: Rows,
    y: Values,
    sample_weight: Values | None = None,
    **check_params: Any,
) -> TwoSamples:
    """Validate a labelled pool for `estimator` and take it apart.

    Equal rows of a sample are merged, and weights come in draws: see
    :class:`TwoSamples`. So what is fitted on the outcome treats a row of weight two as
    two rows, and copies of rows as no new observations. Everything is checked before
    any attribute of the estimator is set, so that a rejected input leaves a fitted
    estimator as it was.

    Parameters
    ----------
    estimator : estimator instance
        Gets ``n_features_in_`` and, for a DataFrame, ``feature_names_in_``.
    X : array-like of shape (n_samples, n_features)
        Rows of both samples.
    y : array-like of shape (n_samples,)
        Domain labels; exactly two values, the greater names the numerator.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights, as if the row stood so many times; rows of weight zero are dropped.
    **check_params : dict
        Passed to :func:`sklearn.utils.check_array`.

    Returns
    -------
    samples : TwoSamples

    Raises
    ------
    ValueError
        If the labels do not name two domains, X is not a finite dense matrix, or a
        domain is left without rows of positive weight.

    Warns
    -----
    UserWarning
        If a column is constant in each sample, at different values, or weights of
        atoms sum to a number far from that of the rows.

    Examples
    --------
    >>> from skdre import KMMRatio
    >>> from skdre.base import split_samples
    >>> samples = split_samples(KMMRatio(), [[1.0], [2.0], [3.0]], [0, 1, 1])
    >>> samples.denominator, samples.denominator_index
    (array([[1.]]), array([0]))
    """
    X = to_host(X)
    rows = check_pool(estimator, X, y, sample_weight, **check_params)
    # validate_data alone would set feature_names_in_ before it rejects a NaN.
    validate_data(estimator, X, skip_check_array=True)
    return two_samples(rows, getattr(estimator, "feature_names_in_", None))
