"""Telling source rows from target rows, and checking both."""

import sys

import numpy as np
from scipy import sparse
from sklearn.utils import check_array, validation

__all__ = ["as_rows", "check_labels", "check_target"]


def check_labels(y, *, classification):
    """y as an array, and the mask of its unlabelled rows."""
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
    """A DataFrame as it is, anything else as a two-dimensional array."""
    if sparse.issparse(X):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required: density "
            f"ratios are estimated from dense rows. Use {name}.toarray()."
        )
    if hasattr(X, "columns"):
        return X
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(
            f"{name} must be two-dimensional, (n_samples, n_features), got shape "
            f"{X.shape}. Reshape your data using array.reshape(-1, 1) for one feature "
            "or array.reshape(1, -1) for one row."
        )
    return X


def check_target(X_target, X, *, allow_nan):
    """Target rows given apart, with the columns of X and in their order."""
    given, X_target = X_target, as_rows(X_target, "X_target")
    framed = hasattr(X, "columns")
    if framed != hasattr(X_target, "columns"):
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
    check_array(
        X_target, dtype=None, ensure_all_finite=not allow_nan, input_name="X_target"
    )
    if X_target.shape[0] == X.shape[0] and _cut_by_cross_validation(given):
        raise ValueError(
            f"X_target has as many rows as X ({X.shape[0]}) inside a "
            "cross-validation, where scikit-learn cuts every array that is as long as "
            "X into folds, so part of the target rows may be missing. Put the target "
            "rows into X instead, with y = -1 (classes) or NaN (regression); they are "
            "then split on purpose."
        )
    return X_target


def _cut_by_cross_validation(X_target):
    """Whether scikit-learn may have cut `X_target`, of X's length, to a fold's rows.

    A fold's rows look like anyone's rows, so only the caller can tell: one of
    scikit-learn's modules that cut parameters, holding this very array among them.
    """
    cutter = getattr(validation, "_check_method_params", None)
    frame = sys._getframe(1)
    while frame is not None:
        if (
            frame.f_globals.get("_check_method_params", frame) is cutter
            and frame.f_globals.get("__name__") != validation.__name__
        ):
            for parameters in frame.f_locals.values():
                if isinstance(parameters, dict) and any(
                    value is X_target for value in parameters.values()
                ):
                    return True
        frame = frame.f_back
    return False
