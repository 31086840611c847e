"""Domains of the rows: who counts how much, and who is held out."""

import numpy as np
from sklearn.utils.validation import column_or_1d

from skdre._core.arrays import to_host

__all__ = ["balanced_weight", "domains", "hold_out"]


def domains(y, n_samples):
    """Domain of each row, 0 or 1; all 0 unless y names exactly two classes."""
    if y is None:
        return np.zeros(n_samples, int)
    y = np.asarray(to_host(y))
    if y.ndim == 2 and y.shape[1] > 1:
        return np.zeros(n_samples, int)
    y = column_or_1d(y)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(
            "Input y contains NaN or infinity; y must hold domain labels, or be None."
        )
    labels, domain = np.unique(y, return_inverse=True)
    return domain if labels.size == 2 else np.zeros(n_samples, int)


def balanced_weight(domain, counts=None):
    """Weights of mean 1 that give each domain that is there the same total.

    Within a domain they are in proportion to `counts`, repetitions of the rows.
    """
    counts = np.ones(len(domain)) if counts is None else counts
    totals = np.bincount(domain, counts, minlength=2)
    weight = counts / totals[domain]
    return weight / weight.mean()


def hold_out(domain, fraction, rng, observation):
    """Positions of the training rows and of the held-out rows, drawn by domain.

    Copies of a row, which share an observation, stay together. A domain of one
    observation is trained on. Without any held-out row the training rows stand in for
    them.
    """
    held_out = []
    first = np.unique(observation)
    for label in (0, 1):
        rows = rng.permutation(first[domain[first] == label])
        n_held_out = min(max(round(fraction * rows.size), 1), rows.size - 1)
        held_out.append(rows[: max(n_held_out, 0)])
    held_out = np.flatnonzero(np.isin(observation, np.concatenate(held_out)))
    training = np.setdiff1d(np.arange(domain.size), held_out)
    return training, held_out if held_out.size else training
