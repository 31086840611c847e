"""Two samples in one labelled pool, and taken apart again.

:func:`pool` builds ``(X, y)`` from two samples; :func:`check_pool` and
:func:`split_samples` validate such a pool inside an estimator.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import issparse, vstack
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d, validate_data

from skdre._compat import check_sample_weight, num_samples
from skdre._core.columns import check_rows
from skdre._core.samples import DistinctRows, TwoSamples, distinct_rows, two_samples
from skdre._core.stacking import stack_frames
from skdre._core.values import refuse_complex, refuse_masked

__all__ = [
    "DistinctRows",
    "LabelledRows",
    "TwoSamples",
    "check_lengths",
    "check_pool",
    "distinct_rows",
    "encode_domains",
    "pool",
    "pool_rows",
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


def encode_domains(y, *, name):
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
            f"denominator's, but y holds one class only: {classes[0]!r}."
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


@dataclass(frozen=True)
class LabelledRows:
    """A labelled pool, validated.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows of both samples, also those of weight zero.
    is_numerator : ndarray of bool of shape (n_samples,)
        True where the row is of the numerator's domain.
    sample_weight : ndarray of shape (n_samples,) or None
        Repetition counts of the rows, None where every row counts once.
    classes : ndarray of shape (2,)
        The labels, the denominator's first.
    """

    X: np.ndarray
    is_numerator: np.ndarray
    sample_weight: np.ndarray | None
    classes: np.ndarray


def check_pool(estimator, X, y, sample_weight=None, **check_params):
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
    classes, is_numerator = encode_domains(y, name=type(estimator).__name__)
    check_lengths(X, y)
    if sample_weight is not None:
        refuse_masked(sample_weight, "sample_weight")
        sample_weight = check_sample_weight(
            sample_weight, is_numerator, dtype=np.float64, ensure_non_negative=True
        )
        for label, domain in zip(classes, (~is_numerator, is_numerator), strict=True):
            if not np.any(sample_weight[domain] > 0):
                raise ValueError(
                    f"sample_weight is zero for every row of class {label!r}: both "
                    "classes need rows of positive weight."
                )
    check_params = {"dtype": np.float64, "ensure_min_samples": 2} | check_params
    checked = check_rows(X, estimator=estimator, **check_params)
    return LabelledRows(checked, is_numerator, sample_weight, classes)


def split_samples(estimator, X, y, sample_weight=None, **check_params):
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
    rows = check_pool(estimator, X, y, sample_weight, **check_params)
    # validate_data alone would set feature_names_in_ before it rejects a NaN.
    validate_data(estimator, X, skip_check_array=True)
    return two_samples(rows, getattr(estimator, "feature_names_in_", None))


def pool(*, numerator, denominator):
    """Stack two samples into the ``(X, y)`` that a ratio estimator is fitted on.

    Parameters
    ----------
    numerator : array-like or DataFrame of shape (n_numerator, n_features)
        Sample of p, the distribution above the line: the target.
    denominator : array-like or DataFrame of shape (n_denominator, n_features)
        Sample of q, the distribution below the line: the source.

    Returns
    -------
    X : ndarray or DataFrame of shape (n_numerator + n_denominator, n_features)
        The numerator's rows, then the denominator's; a DataFrame when both samples
        are DataFrames, with the columns in the numerator's order and a new index.
    y : ndarray of int of shape (n_numerator + n_denominator,)
        1 for the numerator's rows, 0 for the denominator's.

    Raises
    ------
    TypeError
        If only one of the samples is a DataFrame, or one is sparse.
    ValueError
        If a sample is empty or not two-dimensional, the columns differ, or a column
        has types that nothing unites, such as numbers and words.

    Notes
    -----
    The two DataFrames may have been read apart. A categorical column gets the levels
    of both samples; it stays ordered where both are, and two orders that contradict
    each other are an error. Strings beside a category become values of it, truth values
    beside numbers 0 and 1, and a column without any value takes the other's type.

    Examples
    --------
    >>> from skdre import pool
    >>> X, y = pool(numerator=[[2.0], [3.0]], denominator=[[0.0]])
    >>> X.ravel(), y
    (array([2., 3., 0.]), array([1, 1, 0]))
    """
    for name, sample in (("numerator", numerator), ("denominator", denominator)):
        if issparse(sample):
            raise TypeError(
                f"{name} is a sparse matrix, while a dense one is needed: pass "
                f"{name}.toarray() if it fits into memory."
            )
    return pool_rows(numerator, denominator)


def pool_rows(numerator, denominator):
    """:func:`pool` for what takes any rows and leaves it to a part: sparse ones too.

    Parameters
    ----------
    numerator, denominator : array-like, sparse matrix or DataFrame

    Returns
    -------
    X, y
        As of :func:`pool`; a sparse X in CSR format if both samples are sparse.

    Raises
    ------
    TypeError, ValueError
        As :func:`pool`, and if only one of the samples is sparse.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skdre.base import pool_rows
    >>> X, y = pool_rows(csr_array([[1.0]]), csr_array([[2.0], [0.0]]))
    >>> X.shape, y
    ((3, 1), array([1, 0, 0]))
    """
    samples = {"numerator": numerator, "denominator": denominator}
    frames = [name for name, each in samples.items() if hasattr(type(each), "columns")]
    if len(frames) == 1:
        raise TypeError(
            f"{frames[0]} is a DataFrame and the other sample is not; pass two "
            "DataFrames with the same columns, or two arrays."
        )
    if not frames:
        samples = {name: _as_array(name, x) for name, x in samples.items()}
    for name, sample in samples.items():
        if frames and not hasattr(sample, "shape"):
            continue  # no frame that can be stacked, as stack_frames will say
        if len(sample.shape) != 2:
            raise ValueError(
                f"{name} must be two-dimensional, (n_samples, n_features), got shape "
                f"{tuple(sample.shape)}; one feature is {name}.reshape(-1, 1)."
            )
        if sample.shape[0] == 0:
            raise ValueError(f"{name} is empty: it must hold at least one row.")
    first, second = samples.values()
    if frames:
        X = stack_frames(first, second, ("numerator", "denominator"))
    else:
        X = _stack_arrays(first, second)
    y = np.repeat([1, 0], [first.shape[0], second.shape[0]])
    return X, y


def _as_array(name, sample):
    if issparse(sample):
        return sample
    refuse_masked(sample, name)
    try:
        return np.asarray(sample)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from error


def _stack_arrays(first, second):
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            "numerator and denominator must have the same number of columns, got "
            f"{first.shape[1]} and {second.shape[1]}."
        )
    if issparse(first) or issparse(second):
        if not (issparse(first) and issparse(second)):
            raise TypeError(
                "One of numerator and denominator is sparse and the other is not: pass "
                "two sparse matrices, or two arrays."
            )
        return vstack([first, second], format="csr")
    # numpy would make words of the numbers, and numbers of the dates.
    kinds = [
        "n" if each.dtype.kind in "biuf" else each.dtype.kind
        for each in (first, second)
    ]
    if (
        kinds[0] != kinds[1]
        and not {"n", "O"} >= set(kinds)
        and (set(kinds) != {"O", "U"})
    ):
        raise ValueError(
            f"numerator is an array of dtype {first.dtype} and denominator one of "
            f"{second.dtype}, which have no type in common: convert one of them."
        )
    return np.concatenate([first, second])
