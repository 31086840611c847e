"""Splits of a pool by what scikit-learn takes for `cv`, for two samples."""

import numpy as np
from sklearn.model_selection import check_cv

__all__ = ["split_pool"]


def split_pool(cv, samples, X, y, sample_weight):
    """Weights of the rows of two samples in each part of the splits of their pool.

    Whoever gives the splits decides whether the copies of a row stay together.

    Parameters
    ----------
    cv : cross-validation generator or iterable
    samples : skdre._core.samples.TwoSamples
    X, y, sample_weight
        The pool that they came from.

    Yields
    ------
    part : list of ndarray
        Of the numerator's rows to fit on and held out, and of the denominator's.
    """
    y = np.ravel(np.asarray(y))
    given = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
    (_, q_weight), (_, p_weight) = samples.parts
    domains = (
        (samples.numerator_index, samples.numerator_row, p_weight),
        (samples.denominator_index, samples.denominator_row, q_weight),
    )
    for train, held in check_cv(cv, y, classifier=True).split(X, y):
        part = []
        for index, row, weight in domains:
            for rows, name in ((train, "train"), (held, "test")):
                inside = np.zeros(len(y), bool)
                inside[rows] = True
                share = np.bincount(row, given[index] * inside[index], len(weight))
                share /= np.bincount(row, given[index], len(weight))
                part.append(weight * share)
                if not part[-1].any():
                    raise ValueError(
                        "Each split of cv must have rows of both classes on either "
                        f"side, but a {name} side has none of class "
                        f"{y[index[0]]!r}; use a stratified splitter or a number."
                    )
        yield part
