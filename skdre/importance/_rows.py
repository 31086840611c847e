"""Telling source rows from target rows, and checking both."""

import re
from contextlib import contextmanager

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from skdre._core.columns import check_rows
from skdre._core.frames import is_frame
from skdre._core.types import Rows
from skdre._core.values import refuse_masked

__all__ = ["TargetRows", "as_rows", "check_labels", "check_target", "named_target"]


def check_labels(y, *, classification):
    """y as an array, and the mask of its unlabelled rows."""
    refuse_masked(y, "y")
    if not classification:
        y = check_array(
            y,
            ensure_2d=False,
            dtype="numeric",
            ensure_all_finite="allow-nan",
            input_name="y",
        )
        missing = np.isnan(y)
        if y.ndim == 1:
            return y, missing
        unlabelled = missing.all(axis=1)
        if (missing.any(axis=1) != unlabelled).any():
            raise ValueError(
                "Input y contains NaN in some outputs of a row but not in all: a row "
                "is a target row with every output NaN, or a source row with none."
            )
        return y, unlabelled

    y = np.asarray(y)
    if y.dtype.kind in "US":
        mask = y == ("-1" if y.dtype.kind == "U" else b"-1")
    elif y.dtype.kind == "O":
        if any(map(_is_missing, y.flat)):
            raise ValueError(
                "Input y contains NaN or None. Mark unlabelled target rows with -1, or "
                "with '-1' where the labels are strings."
            )
        mask = np.array([value in (-1, "-1") for value in y.flat], dtype=bool)
        mask = mask.reshape(y.shape)
    elif y.dtype.kind == "f" and np.isnan(y).any():
        raise ValueError(
            "Input y contains NaN. Mark unlabelled target rows of a classification "
            "with -1."
        )
    else:
        mask = y == -1
    return y, mask if mask.ndim == 1 else mask.all(axis=tuple(range(1, mask.ndim)))


def _is_missing(value):
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA is neither true nor false
        return True


def as_rows(X, name):
    """A DataFrame or a sparse matrix, and anything else as a two-dimensional array.

    What the rows may hold is left to the parts that are fitted on them.
    """
    if sparse.issparse(X):
        return X.tocsr()
    if is_frame(X):
        return X
    refuse_masked(X, name)
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(
            f"{name} must be two-dimensional, (n_samples, n_features), got shape "
            f"{X.shape}. Reshape your data using array.reshape(-1, 1) for one feature "
            "or array.reshape(1, -1) for one row."
        )
    return X


class TargetRows:
    """Target rows for ``X_target``, which no cross-validation cuts into folds.

    scikit-learn cuts every array that is as long as X into folds, as it does with
    ``sample_weight``, and an `X_target` that happens to have that length too. This
    holder is no array to it and reaches every fit whole.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_target_samples, n_features)
        Target rows. They are not copied.

    Attributes
    ----------
    X : array-like or DataFrame of shape (n_target_samples, n_features)
        As given.

    See Also
    --------
    skdre.ImportanceWeighted : Takes it as `X_target`, as does
        :class:`skdre.AlignedClassifier`.

    Notes
    -----
    Where a pipeline transforms `X_target` (metadata routing with
    ``transform_input=["X_target"]``), its steps need the rows themselves: put the
    pipeline inside the meta-estimator, or the target rows into X.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from skdre import GaussianRatio, ImportanceWeighted
    >>> from skdre.importance import TargetRows
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(0, 1, (100, 1)), rng.normal(1, 0.5, (100, 1))
    >>> y = (X.ravel() + rng.normal(size=100) > 0).astype(int)
    >>> model = ImportanceWeighted(LogisticRegression(), GaussianRatio())
    >>> cross_val_score(model, X, y, params={"X_target": TargetRows(X_target)}).shape
    (5,)
    """

    # Neither a length nor a shape, by which scikit-learn knows what to cut.

    def __init__(self, X: Rows) -> None:
        self.X = X

    def __repr__(self):
        shape = getattr(self.X, "shape", None)
        shown = type(self.X).__name__ + ("" if shape is None else f" of shape {shape}")
        return f"TargetRows({shown})"


def check_target(X_target, X):
    """Target rows given apart, with the columns of X and in their order."""
    while isinstance(X_target, TargetRows):
        X_target = X_target.X
    X_target = as_rows(X_target, "X_target")
    if sparse.issparse(X_target) != sparse.issparse(X):
        one, other = (
            ("X_target", "X") if sparse.issparse(X_target) else ("X", "X_target")
        )
        raise TypeError(
            f"Sparse data was passed for {one}, but dense data for {other}: pass two "
            f"sparse matrices, or {one}.toarray()."
        )
    framed = is_frame(X)
    if framed != is_frame(X_target):
        raise TypeError(
            f"X is a {type(X).__name__} and X_target a {type(X_target).__name__}; pass "
            "two DataFrames with the same columns, or two arrays."
        )
    if framed:
        names, others = list(X.columns), list(X_target.columns)
        if sorted(map(str, names)) != sorted(map(str, others)):
            differing = sorted(map(str, set(names) ^ set(others)))
            raise ValueError(
                f"X_target must have the columns of X, but they differ in {differing}."
            )
        X_target = X_target[names]
    elif X_target.shape[1] != X.shape[1]:
        raise ValueError(
            "X_target must have as many columns as X, got "
            f"{X_target.shape[1]} and {X.shape[1]}."
        )
    if X_target.shape[0] == 0:
        raise ValueError("X_target is empty: it must hold at least one row.")
    return X_target


@contextmanager
def named_target(X_target):
    """Let the errors of a part that is fitted on both samples name `X_target`.

    None where the target's rows stand in X.
    """
    try:
        yield
    except ValueError as error:
        found = re.search(r"Input X contains (NaN|infinity)", str(error))
        if X_target is None or found is None or _is_finite(X_target):
            raise
        raise ValueError(
            str(error).replace(found[0], f"Input X_target contains {found[1]}")
        ) from error


def _is_finite(X):
    try:
        check_rows(X, dtype=None if is_frame(X) else "numeric", accept_sparse=True)
    except ValueError as error:
        return "contains" not in str(error)
    return True
