"""Rows of both samples centred, and in units of their columns' spread."""

from dataclasses import replace

import numpy as np

from skdre._core.scales import FAR, column_scales


def standardize(X, center, scale):
    """Rows in units of the training samples, capped where only rounding is left."""
    with np.errstate(over="ignore"):
        Z = (X - center) / scale
    return np.clip(Z, -FAR, FAR, out=Z)


def _weighted_median(X, weight):
    """Lower median of each column under repetition counts."""
    order = np.argsort(X, axis=0, kind="stable")
    cumulative = np.cumsum(weight[order], axis=0)
    place = (cumulative < cumulative[-1] / 2).sum(axis=0)
    columns = np.arange(X.shape[1])
    return X[order[place, columns], columns]


def standardize_samples(samples, standardize_columns):
    """The two samples with their rows standardised, and each column's centre and scale.

    Columns that keep their units have a scale of 1, and are centred between the two
    samples' medians: rows around them have small coordinates wherever the origin lies,
    and however far out a few rows are.
    """
    if standardize_columns:
        scales = column_scales(samples.parts, samples.names)
        center, scale = scales.center, scales.within
    else:
        center = sum(_weighted_median(*part) / 2 for part in samples.parts)
        scale = np.ones(len(center))
    standardized = replace(
        samples,
        numerator=standardize(samples.numerator, center, scale),
        denominator=standardize(samples.denominator, center, scale),
    )
    return standardized, center, scale


def range_of(samples):
    """Least and greatest value of each column over both samples: (2, n_features)."""
    both = samples.numerator, samples.denominator
    low = np.minimum(*(X.min(axis=0) for X in both))
    high = np.maximum(*(X.max(axis=0) for X in both))
    return np.stack([low, high])
