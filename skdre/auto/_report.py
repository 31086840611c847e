"""What was found, in a few sentences."""

import numpy as np

__all__ = ["report"]

# Columns that are named, at most; and the distance between the samples from which.
_MOST_NAMED, _FAR_ENOUGH = 3, 0.05
# Half the symmetric divergence, in nats, up to which the samples overlap well, and from
# which they hardly do.
_WELL, _HARDLY = 0.5, 2.5
# A weight below this is not worth a word.
_SMALL = 0.05


def column_distances(coded, categorical, rows):
    """How far apart the two samples lie in each column by itself, from 0 to 1.

    The largest difference of the distribution functions, or half the sum of the
    differences of the shares of levels. Missing values are a level, or below all
    numbers.

    Parameters
    ----------
    coded : ndarray of shape (n_rows, n_features)
        Distinct rows; NaN is missing.
    categorical : ndarray of bool of shape (n_features,)
    rows : skdre._core.samples.DistinctRows

    Returns
    -------
    distances : ndarray of shape (n_features,)
    """
    share = rows.weight.copy()
    for domain in (rows.is_numerator, ~rows.is_numerator):
        share[domain] /= share[domain].sum()
    signed = np.where(rows.is_numerator, share, -share)
    distances = []
    for column, is_category in zip(coded.T, categorical, strict=True):
        column = np.where(np.isnan(column), -np.inf, column)
        _, level = np.unique(column, return_inverse=True)
        differences = np.bincount(level.ravel(), signed)
        distances.append(
            np.abs(differences).sum() / 2
            if is_category
            else np.abs(np.cumsum(differences)).max()
        )
    return np.array(distances)


def _listed(words):
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def report(decision, names, columns, coded, rows):
    """The sentences.

    Parameters
    ----------
    decision : skdre.auto._decide.Decision
    names : list of str
        Of the candidates.
    columns : skdre.auto._columns.Columns
    coded : ndarray of shape (n_rows, n_features)
        Distinct rows, in the form for trees.
    rows : skdre._core.samples.DistinctRows

    Returns
    -------
    text : str
    """
    if decision.reason == "nothing":
        return (
            "Nothing tells the samples apart at held-out rows: no candidate is better "
            "than a log ratio of 0, which is the answer, by 1.5 standard errors."
        )
    if decision.reason == "single row":
        return (
            "A sample has a single observation, so that none can be held out: the "
            f"answer is that of {names[0]}."
        )
    d = decision.divergence
    overlap = "overlap well" if d < _WELL else "overlap in part"
    if d > _HARDLY:
        overlap = "hardly overlap"
    sentences = [
        f"The samples {overlap}: half the symmetric divergence is {d:.3g} nats at "
        f"held-out rows, where the answer is better than a log ratio of 0 by "
        f"{decision.gain:.3g} ± {decision.error:.2g} nats."
    ]
    distances = column_distances(coded, columns.categorical, rows)
    order = np.argsort(-distances, kind="stable")[:_MOST_NAMED]
    named = [
        f"{columns.columns[j].name} ({distances[j]:.2g})"
        for j in order
        if distances[j] > _FAR_ENOUGH
    ]
    if named:
        sentences.append(
            f"By itself, the samples differ most in column{'s' * (len(named) > 1)} "
            f"{_listed(named)}, where 1 is no overlap."
        )
    order = np.argsort(-decision.weights, kind="stable")
    used = [j for j in order if decision.weights[j] > _SMALL]
    if decision.reason == "mixture":
        mixed = _listed([f"{names[j]} ({decision.weights[j]:.2f})" for j in used])
        sentences.append(f"The answer is a mixture, mostly of {mixed}.")
    elif decision.reason == "bridges":
        sentences.append(
            f"The answer is that of {names[order[0]]}, by the losses of the bridges "
            "between the samples."
        )
    elif decision.reason == "simplest":
        sentences.append(
            f"The answer is that of {names[order[0]]}, the simplest candidate whose "
            "loss is within half a standard error of the smallest."
        )
    else:
        sentences.append(
            f"The answer is that of {names[order[0]]}, whose loss is the smallest."
        )
    return " ".join(sentences)
