"""Two samples in one labelled pool, and taken apart again.

:func:`pool` builds ``(X, y)`` from two samples; :func:`check_pool` and
:func:`split_samples` validate such a pool inside an estimator.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.sparse import issparse, vstack
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    _check_sample_weight,
    _num_samples,
    column_or_1d,
    validate_data,
)

from skdre._columns import check_rows
from skdre._core.rows import as_numbers, count_draws, merge, row_keys
from skdre._stacking import stack_frames
from skdre._values import refuse_complex, refuse_masked

__all__ = [
    "LabelledRows",
    "TwoSamples",
    "check_lengths",
    "check_pool",
    "distinct_rows",
    "encode_domains",
    "pool",
    "pool_rows",
    "split_samples",
    "two_samples",
    "warn_of_separating_columns",
]

# Larger weights are scaled down.
_LARGEST_WEIGHT = 1e150


@dataclass(frozen=True)
class TwoSamples:
    """The two samples of a density-ratio problem, validated.

    Distinct rows with weights. They are sorted and shuffled by a fixed rule, so a fit
    on them depends neither on the order of the rows nor on whether a row stands twice
    or has a weight of two. Weights are in *draws*, the unit in which their sum is
    the number of observations that the sample is worth:

    * a row that holds a continuous value is one observation however often it stands,
      and the sum of such weights is Kish's effective number, (sum w)^2 / sum w^2,
      whatever the unit of the weights that came;
    * the weight of a row of atoms alone (flags, counts, categories, rounded numbers)
      counts observations.

    Attributes
    ----------
    numerator : ndarray of shape (n_numerator, n_features)
        Distinct rows of positive weight drawn from p.
    denominator : ndarray of shape (n_denominator, n_features)
        Distinct rows of positive weight drawn from q.
    numerator_weight, denominator_weight : ndarray of shape (n_numerator,) or \
            (n_denominator,), or None
        Weights of the rows in draws, None where every row counts once.
    numerator_is_atom, denominator_is_atom : ndarray of bool of shape \
            (n_numerator,) or (n_denominator,)
        Rows of atoms alone, whose weights count observations that can be parted, in
        cross-validation for example.
    denominator_index : ndarray of int of shape (n_given,)
        Positions in the pooled input of all the denominator's rows of positive weight.
    denominator_row : ndarray of int of shape (n_given,)
        Which row of `denominator` each of them is.
    classes : ndarray of shape (2,)
        The labels, the denominator's first.
    numerator_index, numerator_row : ndarray of int
        As for the denominator.
    names : ndarray of str of shape (n_features,) or None
        Of the columns, for messages.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    numerator_weight: np.ndarray | None
    denominator_weight: np.ndarray | None
    numerator_is_atom: np.ndarray
    denominator_is_atom: np.ndarray
    denominator_index: np.ndarray
    denominator_row: np.ndarray
    classes: np.ndarray
    numerator_index: np.ndarray
    numerator_row: np.ndarray
    names: np.ndarray | None = None

    @property
    def parts(self):
        """Rows and weights, never None, of the denominator, then of the numerator."""
        return tuple(
            (X, np.ones(len(X)) if weight is None else weight)
            for X, weight in (
                (self.denominator, self.denominator_weight),
                (self.numerator, self.numerator_weight),
            )
        )


_TWO_SAMPLES = (
    "To fit on two samples use fit(*pool(numerator=..., denominator=...)), with pool "
    "from skdre."
)


def check_lengths(X, y):
    if _num_samples(X) != _num_samples(y):
        raise ValueError(
            "X and y must have one entry for each row, got "
            f"{_num_samples(X)} rows of X and {_num_samples(y)} labels in y."
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
        sample_weight = _check_sample_weight(
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


@dataclass(frozen=True)
class DistinctRows:
    """Which rows of a labelled pool are distinct within their sample.

    Attributes
    ----------
    index : ndarray of int of shape (n_distinct,)
        Their positions in the pool, the denominator's first.
    is_numerator : ndarray of bool of shape (n_distinct,)
    weight : ndarray of shape (n_distinct,)
        Their weights in draws.
    is_atom : ndarray of bool of shape (n_distinct,)
        Rows whose weight counts observations.
    unit : ndarray of shape (2,)
        What a draw weighs in the denominator and in the numerator, as weights came.
    row : ndarray of int of shape (n_samples,)
        Which of the distinct rows a row of the pool is; -1 where it has no weight.
    """

    index: np.ndarray
    is_numerator: np.ndarray
    weight: np.ndarray
    is_atom: np.ndarray
    unit: np.ndarray
    row: np.ndarray

    def parts(self, X):
        """Rows and weights of the denominator, then of the numerator.

        Parameters
        ----------
        X : ndarray of shape (n_distinct, n_features)
            The distinct rows.
        """
        n = int(np.count_nonzero(~self.is_numerator))
        return (X[:n], self.weight[:n]), (X[n:], self.weight[n:])

    def part(self, positions, sample_weight=None):
        """Weights of the distinct rows in a part of the pool.

        Copies of a row go where the first of them is; of atoms the part has its share.

        Parameters
        ----------
        positions : ndarray of int
            Of the rows of the pool that the part consists of.
        sample_weight : ndarray of shape (n_samples,), default=None
            As they came.

        Returns
        -------
        weight : ndarray of shape (n_distinct,)
        """
        given = np.ones(len(self.row)) if sample_weight is None else sample_weight
        known = self.row >= 0
        inside = np.zeros(len(self.row), bool)
        inside[positions] = True
        total, chosen = (
            np.bincount(self.row[mask], given[mask], len(self.index))
            for mask in (known, known & inside)
        )
        share = np.where(self.is_atom, chosen / total, inside[self.index])
        return share * self.weight


def _merge_samples(X, is_numerator, weight, is_numeric=None):
    """Positions of each sample's rows, what merging makes of them, draws, atoms."""
    domains = [~is_numerator, is_numerator]
    if weight is not None:
        domains = [domain & (weight > 0) for domain in domains]
        # Sums of weights stay finite.
        weight = weight / max(weight.max() / _LARGEST_WEIGHT, 1.0)
    index = [np.flatnonzero(domain) for domain in domains]
    keys = [row_keys(X[each]) for each in index]
    merged = [
        merge(key, None if weight is None else weight[each], X[each])
        for key, each in zip(keys, index, strict=True)
    ]
    weights = [each for _, _, each in merged]
    if all((each == 1).all() for each in weights):
        # A row that stands once counts once, whatever it holds.
        return index, merged, weights, [np.zeros(len(each), bool) for each in weights]
    firsts = [each[first] for each, (first, _, _) in zip(index, merged, strict=True)]
    keys = [key[first] for key, (first, _, _) in zip(keys, merged, strict=True)]
    draws, is_atom = count_draws(
        [X[each] for each in firsts], keys, weights, list(map(len, index)), is_numeric
    )
    return index, merged, draws, is_atom


def distinct_rows(rows):
    """Distinct rows of a validated pool of any columns, with weights in draws.

    Parameters
    ----------
    rows : LabelledRows

    Returns
    -------
    distinct : DistinctRows
    """
    X, is_numeric = as_numbers(rows.X)
    index, merged, weights, is_atom = _merge_samples(
        X, rows.is_numerator, rows.sample_weight, is_numeric
    )
    firsts = [each[first] for each, (first, _, _) in zip(index, merged, strict=True)]
    row = np.full(len(X), -1)
    row[index[0]] = merged[0][1]
    row[index[1]] = len(firsts[0]) + merged[1][1]
    units = [
        total.sum() / weight.sum()
        for (_, _, total), weight in zip(merged, weights, strict=True)
    ]
    return DistinctRows(
        np.concatenate(firsts),
        np.repeat([False, True], list(map(len, firsts))),
        np.concatenate(weights),
        np.concatenate(is_atom),
        np.array(units),
        row,
    )


def two_samples(rows, names=None):
    """Distinct rows of the two samples of a validated pool, their weights in draws."""
    index, merged, weights, is_atom = _merge_samples(
        rows.X, rows.is_numerator, rows.sample_weight
    )
    samples = [
        rows.X[each[first]] for each, (first, _, _) in zip(index, merged, strict=True)
    ]
    weights = [None if (each == 1).all() else each for each in weights]
    warn_of_separating_columns(*samples, names)
    return TwoSamples(
        numerator=samples[1],
        denominator=samples[0],
        numerator_weight=weights[1],
        denominator_weight=weights[0],
        numerator_is_atom=is_atom[1],
        denominator_is_atom=is_atom[0],
        denominator_index=index[0],
        denominator_row=merged[0][1],
        classes=rows.classes,
        numerator_index=index[1],
        numerator_row=merged[1][1],
        names=names,
    )


def warn_of_separating_columns(denominator, numerator, names=None):
    """Warn of columns that are constant in each sample, at different values."""
    if min(len(denominator), len(numerator)) < 2:
        return
    first_q, first_p = denominator[0], numerator[0]
    apart = np.flatnonzero(first_q != first_p)
    apart = [
        j
        for j in apart
        if (denominator[:, j] == first_q[j]).all()
        and (numerator[:, j] == first_p[j]).all()
    ]
    if not apart:
        return
    shown = ", ".join(
        f"{j if names is None else repr(str(names[j]))} ({first_p[j]:.6g} in the "
        f"numerator, {first_q[j]:.6g} in the denominator)"
        for j in apart[:5]
    )
    warnings.warn(
        f"Columns are constant in each sample, at different values: {shown}"
        f"{', ...' if len(apart) > 5 else ''}. Each of them tells the samples apart by "
        "itself, so the true ratio is 0 or infinite. Remove them, unless that is what "
        "you want to know.",
        UserWarning,
        stacklevel=4,
    )


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
