"""How far ``flow="auto"`` bends: the choice by the held-out loss of a cheap ratio."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from zuko.flows import Flow

from skdre._core.folds import held_out_weights
from skdre._core.samples import LabelledRows, PooledRows, two_samples
from skdre._core.types import Floats
from skdre.kernel import KMMRatio

__all__ = ["Candidate", "candidates", "held_out_losses", "simplest"]

_N_FOLDS = 3
# More rows of a sample than this say no more about which features are better.
_MOST_ROWS = 1000
# Share of the numerator in the mixture that the loss is relative to. It bounds what a
# few rows with a large ratio weigh.
_SHARE = 0.25
# Standard errors within which a simpler one is as good. A whole one often left bent
# shifts as they are.
_AS_GOOD = 0.5


@dataclass(frozen=True)
class Candidate:
    """Features to choose from.

    Attributes
    ----------
    name : str
        Candidates of one name are alternatives that the likelihood decides between.
    flow : str or callable
        As the parameter of :class:`FlowFeaturizer`.
    marginals : {"standardize", "gaussianize"}
    whitens : bool
        Whether a flow in closed form does more than the maps of the columns.
    """

    name: str
    flow: str | Callable[[int], Flow]
    marginals: str
    whitens: bool = True


def candidates(marginals: list[str]) -> list[Candidate]:
    """Features with these maps of the columns, from the plain to the most bent."""
    found = [
        Candidate("standardize", "gaussian", "standardize", whitens=False),
        Candidate("gaussianize", "copula", "gaussianize", whitens=False),
        Candidate("gaussian", "gaussian", "standardize"),
        Candidate("copula", "copula", "gaussianize"),
        *(Candidate("maf", "maf", each) for each in ("standardize", "gaussianize")),
    ]
    return [each for each in found if each.marginals in marginals]


def _relative_losses(is_numerator, log_ratio):
    """Least-squares loss of the ratio to a mixture of both, row by row.

    The sum of its means in the two samples is, up to a constant, half the squared
    error of p / (a p + (1 - a) q) under the mixture; a is ``_SHARE``.
    """
    relative = 1 / (_SHARE + (1 - _SHARE) * np.exp(-log_ratio))
    square = relative**2 / 2
    return np.where(is_numerator, _SHARE * square - relative, (1 - _SHARE) * square)


def held_out_losses(
    transforms: Mapping[str, Callable[[Floats], Floats]], X: Floats, domain: np.ndarray
) -> tuple[dict[str, Floats], Floats, np.ndarray] | None:
    """Losses of kernel mean matching in each kind of features, row by row.

    With the weights of the rows and whether they are of the numerator, as
    :func:`simplest` takes them; None where a sample has a single observation. The
    features are those of all rows: they were fitted without their labels, so what they
    know of a held-out row says nothing about its sample.
    """
    with warnings.catch_warnings():
        # What there is to say about the samples is said by the fit that follows.
        warnings.simplefilter("ignore")
        given = LabelledRows(X, domain == 1, None, np.array([0, 1]))
        rows = PooledRows.of(two_samples(given))
        # They come in an order that says nothing.
        first = [np.arange(len(each)) < _MOST_ROWS for each in rows.split(rows.weight)]
        rows = rows.weighted(rows.weight * np.concatenate(first))
        held_out = held_out_weights(rows, _N_FOLDS)
        if held_out is None:
            return None
        losses = {
            name: _cross_fitted(transform(rows.X), rows, held_out)
            for name, transform in transforms.items()
        }
    return losses, rows.weight, rows.is_numerator


def _cross_fitted(Z, rows, held_out):
    losses = np.zeros(len(Z))
    for out in held_out:
        left, test = rows.weight - out > 0, out > 0
        ratio = KMMRatio(random_state=0).fit(
            Z[left], rows.is_numerator[left], (rows.weight - out)[left]
        )
        log_ratio = ratio.decision_function(Z[test])
        each = _relative_losses(rows.is_numerator[test], log_ratio)
        losses[test] += (out / rows.weight)[test] * each
    return losses


def simplest(
    losses: Mapping[str, Floats], weight: Floats, is_numerator: np.ndarray
) -> tuple[str, dict[str, dict[str, float]]]:
    """The first within half a standard error of the best, and a table of all.

    The standard error is that of the difference from the best, row by row.
    """
    parts = [
        (each, weight[each] / weight[each].sum())
        for each in (is_numerator, ~is_numerator)
    ]

    def total(loss):
        return float(sum(share @ loss[part] for part, share in parts))

    def standard_error(loss):
        variance = 0.0
        for part, share in parts:
            center = share @ loss[part]
            variance += float(share**2 @ (loss[part] - center) ** 2)
        return variance**0.5

    best = min(losses, key=lambda name: total(losses[name]))
    table = {
        name: {
            "loss": total(loss),
            "difference": total(loss) - total(losses[best]),
            "standard_error": standard_error(loss - losses[best]),
        }
        for name, loss in losses.items()
    }
    choice = next(
        name
        for name, row in table.items()
        if row["difference"] <= _AS_GOOD * row["standard_error"]
    )
    return choice, table
