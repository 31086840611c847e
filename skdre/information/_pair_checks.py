"""What vectors must be for their mutual information to mean something."""

import warnings

import numpy as np

__all__ = ["check_columns", "check_functions"]

# Columns with a larger share of repeated values are taken for discrete.
_MAX_REPEATED = 0.1


def _first_upper(words):
    return words[:1].upper() + words[1:]


def check_columns(X, name, called):
    """Reject constant columns, warn of discrete ones; `called` are their names."""
    n_rows = len(X)
    repeated = []
    for column, values in zip(called, X.T, strict=True):
        n_distinct = len(np.unique(values))
        if n_distinct == 1:
            raise ValueError(
                f"{_first_upper(column)} of {name} is constant, which carries no "
                "information: leave it out."
            )
        if n_distinct < (1 - _MAX_REPEATED) * n_rows:
            repeated.append(column)
    if repeated:
        warnings.warn(
            f"{name} repeats values in {', '.join(repeated[:5])}"
            f"{', ...' if len(repeated) > 5 else ''}, as continuous variables "
            "do not. If they are discrete, there may be no density ratio, and the "
            "result means nothing: use "
            "sklearn.feature_selection.mutual_info_classif. If rows stand twice, the "
            "same pair is fitted and held out, and the result is too large: leave the "
            "repeats out.",
            UserWarning,
            stacklevel=7,
        )


def check_functions(X, Y, called_X, called_Y):
    """Warn where a column of Y is a monotone function of one of X."""
    orders = {}
    for column, values in zip(called_X, X.T, strict=True):
        orders.setdefault(np.argsort(values, kind="stable").tobytes(), column)
    for column, values in zip(called_Y, Y.T, strict=True):
        for signed in (values, -values):
            same = orders.get(np.argsort(signed, kind="stable").tobytes())
            if same is not None:
                warnings.warn(
                    f"{_first_upper(column)} of Y is a monotone function of {same} of "
                    "X: the mutual information of continuous vectors is infinite then, "
                    "and the estimate only says how much the ratio can resolve.",
                    UserWarning,
                    stacklevel=7,
                )
                return
