"""Samples some of whose rows count negatively, as simulated events may."""

import warnings

import numpy as np

from skdre._compat import check_sample_weight
from skdre.base import split_samples

__all__ = ["signed_samples"]

# Of fewer rows in effect than this the sum of the weights is not told from 0: it is
# less than three of its standard errors.
_FEW_IN_EFFECT = 9


def _signed(sample_weight, y, name, allowed):
    """The weights if some are negative, else None; refused where not allowed."""
    if sample_weight is None or np.ma.isMaskedArray(sample_weight):
        return None
    weight = np.asarray(sample_weight)
    if weight.dtype.kind not in "iuf" or not (weight < 0).any():
        return None
    if not allowed:
        n_negative = np.count_nonzero(weight < 0)
        raise ValueError(
            f"Negative values in data passed to `sample_weight`: {n_negative} of "
            f"{weight.size}. {name}(allow_negative_weight=True) takes the signed "
            "weights of simulated events; where rows count, weights are not negative."
        )
    return check_sample_weight(weight, y, dtype=np.float64)


def _check_sum(weight, label):
    total = weight.sum()
    if not total > 0:
        raise ValueError(
            "sample_weight must have a positive sum in each sample, got "
            f"{total:.6g} for class {label!r}."
        )
    in_effect = total**2 / (weight @ weight)
    if in_effect < _FEW_IN_EFFECT:
        warnings.warn(
            f"The weights of class {label!r} nearly cancel: their sum {total:.3g} is "
            f"{np.sqrt(in_effect):.1f} standard errors, so the sample is worth "
            f"{in_effect:.1f} rows. Take more events, or a generator with fewer "
            "negative weights.",
            UserWarning,
            stacklevel=5,
        )


def signed_samples(estimator, X, y, sample_weight, allowed):
    """The two samples, weighted by the sizes of the weights, and the rows' signs.

    Equal rows are one row, whose weight is the sum of theirs, so its sign may be any
    number from -1 to 1.

    Returns
    -------
    samples : TwoSamples
    signs : tuple of ndarray or float
        Of the denominator's, and of the numerator's, rows; 1.0 where none is negative.
    """
    weight = _signed(sample_weight, y, type(estimator).__name__, allowed)
    if weight is None:
        return split_samples(estimator, X, y, sample_weight), (1.0, 1.0)
    samples = split_samples(estimator, X, y, np.abs(weight))
    signs, classes = [], samples.classes.tolist()
    for index, row, label in (
        (samples.denominator_index, samples.denominator_row, classes[0]),
        (samples.numerator_index, samples.numerator_row, classes[1]),
    ):
        _check_sum(weight[index], label)
        total, size = (
            np.bincount(row, each[index]) for each in (weight, np.abs(weight))
        )
        signs.append(total / size)
    return samples, tuple(signs)
