"""Cross-validation of a bandwidth: folds of both samples, and the loss on them.

A row of weight k counts as k rows, and the order of the rows does not matter: they are
dealt in the order of a random projection of them.
"""

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np

from skdre._core.arrays import place_of
from skdre._core.rows import repeats_of
from skdre._core.splits import split_pool

# Bandwidths are searched on this many rows of each sample, where it has more.
SEARCH_ROWS = 20_000
# Repeats of one row above this many are dealt to the folds in this many equal parcels.
_MOST_PARCELS = 100


def draws_of(samples):
    """Weights of the numerator's and of the denominator's rows, in draws."""
    (_, q_weight), (_, p_weight) = samples.parts
    return p_weight, q_weight


def repeats_in(samples):
    """Observations that each of the numerator's, and the denominator's, rows is."""
    p_weight, q_weight = draws_of(samples)
    return (
        repeats_of(p_weight, samples.numerator_is_atom),
        repeats_of(q_weight, samples.denominator_is_atom),
    )


def first_rows(portion):
    """The rows of a portion that are searched: samples in memory are shuffled."""
    some = slice(min(SEARCH_ROWS, portion.X.shape[0]))
    X = portion.X[some, :]
    return replace(portion, X=X, weight=portion.weight[some], count=portion.count[some])


def first_of_samples(samples):
    """The same of samples; where the rows came from is not kept."""
    some = slice(SEARCH_ROWS)
    changed = {}
    for name in ("numerator", "denominator"):
        for each in (name, f"{name}_weight", f"{name}_is_atom"):
            value = getattr(samples, each)
            changed[each] = None if value is None else value[some]
    return replace(samples, **changed)


def log_loss(ratio_p, p_weight, ratio_q, q_weight, floor):
    """Class-balanced log loss of ratios at rows of both samples, in nats.

    Ratios of shape (n_rows,) or (n_rows, n_outputs), those below `floor` taken as that;
    weights that sum to less than 1 give the rows' share of the loss.
    """
    xp = place_of(ratio_p).xp
    loss_p = p_weight @ xp.log1p(1 / xp.maximum(ratio_p, floor))
    loss_q = q_weight @ xp.log1p(xp.maximum(ratio_q, floor))
    return (loss_p + loss_q) / 2


def deal_folds(X, weight, repeats, n_folds, random_state):
    """Weight of each row in each fold, repeats of a row being dealt one by one.

    Along a random projection every `n_folds` rows in turn go to different folds, in
    random order, so that the folds resemble each other.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    weight : ndarray of shape (n_samples,)
        In draws.
    repeats : ndarray of shape (n_samples,)
        Observations that each row stands for.
    n_folds : int
        Number of folds.
    random_state : RandomState
        Draws the direction and the orders.

    Returns
    -------
    fold_weight : ndarray of shape (n_folds, n_samples)
        Sums to `weight` over the folds.
    """
    projection = (X * random_state.standard_normal(X.shape[1])).sum(axis=1)
    order = np.argsort(projection, kind="stable")
    parcels = np.minimum(repeats, _MOST_PARCELS).astype(int)
    row_of_parcel = np.repeat(order, parcels[order])
    n_turns = -(-len(row_of_parcel) // n_folds)
    turns = random_state.uniform(size=(n_turns, n_folds)).argsort(axis=1)
    fold_of_parcel = turns.ravel()[: len(row_of_parcel)]
    dealt = np.zeros((n_folds, len(X)))
    np.add.at(dealt, (fold_of_parcel, row_of_parcel), 1.0)
    return dealt * (weight / parcels)


@dataclass(frozen=True)
class Fold:
    """Weights of the rows of both samples that are fitted and that are held out.

    Attributes
    ----------
    train_p, held_p : ndarray of shape (n_numerator,)
        Weights of the numerator's rows.
    train_q, held_q : ndarray of shape (n_denominator,)
        Weights of the denominator's rows.
    """

    train_p: np.ndarray
    held_p: np.ndarray
    train_q: np.ndarray
    held_q: np.ndarray


def make_folds(cv, samples, X, y, sample_weight, random_state):
    """Folds of both samples, from a number of folds or by a splitter of the pool.

    The samples are standardised; the pool that they were split from goes to a splitter.
    Empty if a sample has but one row, of which none can be held out.
    """
    weights, repeats = draws_of(samples), repeats_in(samples)
    cv = 5 if cv is None else cv
    if isinstance(cv, Integral):
        n_folds = int(min(cv, *(each.sum() for each in repeats)))
        if n_folds < 2:
            return []
        held = [
            deal_folds(rows, weight, count, n_folds, random_state)
            for rows, weight, count in zip(
                (samples.numerator, samples.denominator), weights, repeats, strict=True
            )
        ]
        # A row all of whose repeats are held out leaves a rounding error.
        train = [
            np.where(each < weight * (1 - 1e-12), weight - each, 0)
            for weight, each in zip(weights, held, strict=True)
        ]
        parts = zip(train[0], held[0], train[1], held[1], strict=True)
    else:
        parts = split_pool(cv, samples, X, y, sample_weight)
    return [Fold(*part) for part in parts]
