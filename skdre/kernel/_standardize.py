"""Rows of both samples centred, and in units of their columns' spread."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from skdre._core.arrays import place_of
from skdre._core.reduce import InMemory
from skdre._core.samples import TwoSamples
from skdre._core.scales import FAR, FAR_SINGLE, column_scales


def standardize(X, center, scale):
    """Rows in units of the training samples, capped where only rounding is left."""
    place = place_of(X)
    center, scale = place.put((center, scale))
    with np.errstate(over="ignore"):
        Z = (X - center) / scale
    if place.is_host:
        return np.clip(Z, -FAR, FAR, out=Z)
    far = FAR if place.dtype == place.xp.float64 else FAR_SINGLE
    return place.xp.clip(Z, -far, far)


def _weighted_median(X, weight):
    """Lower median of each column under repetition counts."""
    order = np.argsort(X, axis=0, kind="stable")
    cumulative = np.cumsum(weight[order], axis=0)
    place = (cumulative < cumulative[-1] / 2).sum(axis=0)
    columns = np.arange(X.shape[1])
    return X[order[place, columns], columns]


@dataclass(frozen=True)
class Standardized:
    """Rows in units of their columns' spread, whoever holds them.

    Attributes
    ----------
    rows : InMemory or ChunkedRows
        All rows.
    some : TwoSamples
        All rows of samples in memory, the pilot of a collection.
    center, scale : ndarray of shape (n_features,)
    extent : ndarray of shape (2, n_features)
        Least and greatest value of each standardised column over both samples.
    """

    rows: Any
    some: TwoSamples
    center: np.ndarray
    scale: np.ndarray
    extent: np.ndarray


def _in_units(portion, center, scale):
    return replace(portion, X=standardize(portion.X, center, scale))


def standardize_chunks(chunks, standardize_columns):
    """The rows of a collection, standardised; medians are those of the pilot."""
    if standardize_columns:
        scales = chunks.column_scales()
        center, scale = scales.center, scales.within
    else:
        center, scale = _medians(chunks.pilot)
    return Standardized(
        chunks.prepared(partial(_in_units, center=center, scale=scale)),
        _standardized(chunks.pilot, center, scale),
        center,
        scale,
        standardize(chunks.extent, center, scale),
    )


def standardize_in_memory(samples, standardize_columns, signs=(1.0, 1.0)):
    """The two samples, standardised, their rows perhaps with signs."""
    some, center, scale = standardize_samples(samples, standardize_columns)
    return Standardized(InMemory.of(some, signs), some, center, scale, range_of(some))


def _medians(samples):
    """Middle of the medians of the columns, which keep their units."""
    center = sum(_weighted_median(*part) / 2 for part in samples.parts)
    return center, np.ones(len(center))


def _standardized(samples, center, scale):
    return replace(
        samples,
        numerator=standardize(samples.numerator, center, scale),
        denominator=standardize(samples.denominator, center, scale),
    )


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
        center, scale = _medians(samples)
    return _standardized(samples, center, scale), center, scale


def range_of(samples):
    """Least and greatest value of each column over both samples: (2, n_features)."""
    both = samples.numerator, samples.denominator
    low = np.minimum(*(X.min(axis=0) for X in both))
    high = np.maximum(*(X.max(axis=0) for X in both))
    return np.stack([low, high])
