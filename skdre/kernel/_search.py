"""What estimators with kernels around centres share: centres, grid, distances, folds.

Everything here treats a row of weight k as k rows, and does not depend on the order of
the rows: rows are taken in the order of a random projection of them.
"""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.model_selection import check_cv

from skdre._core.rows import repeats_of
from skdre.base import RATIO_FLOOR
from skdre.kernel._basis import (
    kernel_of_squares,
    median_gamma,
    quantile_index,
    row_blocks,
    scale_gamma,
    squared_distances,
)

# Bandwidths of the search, as multiples of the median heuristic's. On Gaussian shifts
# in 2 to 20 dimensions the best lay between 1/128 and 16 times; steps of 4 cost 5 % in
# the log ratio's squared error.
GAMMA_FACTORS = 2.0 ** np.arange(-7, 6)
# Squared distances up to this many entries are kept for all bandwidths, and the values
# of the kernel for one; more are formed anew in each pass.
_DISTANCE_ENTRIES = 1 << 22
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


def positive_grid(name, value):
    """A number or a list of numbers as an increasing array; all must be positive.

    Raises
    ------
    ValueError
        If there is no number, or one is not positive and finite.
    """
    try:
        grid = np.unique(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a positive number, a list of them or a name, got {value!r}"
        ) from error
    if grid.size == 0 or np.ndim(value) > 1 or not ((grid > 0) & (grid < np.inf)).all():
        raise ValueError(
            f"{name} must hold positive finite numbers, at least one and in one "
            f"dimension, got {value!r}."
        )
    return grid


def bandwidth_grid(gamma, samples):
    """Bandwidths that a parameter `gamma` stands for, in increasing order."""
    if isinstance(gamma, str):
        if gamma == "scale":
            return np.array([scale_gamma(samples)])
        factors = GAMMA_FACTORS if gamma == "cv" else np.ones(1)
        return median_gamma(samples) * factors
    return positive_grid("gamma", gamma)


def best_bandwidth(gammas, scores, samples):
    """Position of the best score, or without scores of what is nearest the median's."""
    if np.isfinite(scores).any():
        return int(np.nanargmax(scores))
    if len(gammas) == 1:
        return 0
    return int(np.argmin(abs(np.log(gammas) - np.log(median_gamma(samples)))))


def log_loss(ratio_p, p_weight, ratio_q, q_weight):
    """Class-balanced log loss of ratios at rows of both samples, in nats.

    Parameters
    ----------
    ratio_p, ratio_q : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Ratios at the numerator's and at the denominator's rows.
    p_weight, q_weight : ndarray of shape (n_rows,)
        Weights of the rows; sums below 1 give the rows' share of the loss.

    Returns
    -------
    loss : float or ndarray of shape (n_outputs,)
    """
    loss_p = p_weight @ np.log1p(1 / np.maximum(ratio_p, RATIO_FLOOR))
    loss_q = q_weight @ np.log1p(np.maximum(ratio_q, RATIO_FLOOR))
    return (loss_p + loss_q) / 2


def choose_centers(X, weight, n_components, random_state):
    """Distinct rows at evenly spaced quantiles of a random projection.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows to choose from.
    weight : ndarray of shape (n_samples,)
        Repetition counts.
    n_components : int
        Most rows to choose.
    random_state : RandomState
        Draws the direction of the projection.

    Returns
    -------
    centers : ndarray of shape (n_chosen, n_features)
        At most `n_components` rows, no two alike.
    center_of_row : ndarray of int of shape (n_samples,)
        The centre that a row coincides with, -1 where there is none.
    """
    direction = random_state.standard_normal(X.shape[1])
    # Summed row by row, so that rows that are alike have one projection to the bit.
    projection = (X * direction).sum(axis=1)
    chosen = np.arange(len(X))
    if len(X) > n_components:
        chosen = quantile_index(projection, weight, n_components)
    places, first = np.unique(projection[chosen], return_index=True)
    nearest = np.searchsorted(places, projection).clip(max=len(places) - 1)
    center_of_row = np.where(places[nearest] == projection, nearest, -1)
    return X[chosen[first]], center_of_row


class CenterKernel:
    """Kernel values between rows and centres, for one bandwidth after another.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    centers : ndarray of shape (n_centers, n_features)
        Centres.
    constant : float, default=0
        Where not 0, a last column of this value follows those of the kernels.

    Attributes
    ----------
    n_columns : int
        Number of columns.
    """

    def __init__(self, X, centers, constant=0.0):
        self.X, self.centers, self.constant = X, centers, constant
        self.n_columns = len(centers) + (constant != 0)
        self._squared = self._matrix = self._gamma = None
        if len(X) * len(centers) <= _DISTANCE_ENTRIES:
            self._squared = squared_distances(X, centers)

    def _form_blocks(self, gamma):
        n_centers = len(self.centers)
        for rows in row_blocks(len(self.X), self.n_columns):
            if self._squared is None:
                squared = squared_distances(self.X[rows], self.centers)
            else:
                squared = self._squared[rows]
            K = np.empty((len(squared), self.n_columns))
            kernel_of_squares(squared, gamma, K[:, :n_centers])
            K[:, n_centers:] = self.constant
            yield rows, K

    def blocks(self, gamma):
        """Yield slices of rows and the matrix of kernel values at them, not to change.

        In small problems they are kept until the next bandwidth.
        """
        if self._squared is None:
            yield from self._form_blocks(gamma)
            return
        K = self.matrix(gamma)
        for rows in row_blocks(len(self.X), self.n_columns):
            yield rows, K[rows]

    def matrix(self, gamma):
        """The whole matrix, of shape (n_samples, n_columns), not to be changed."""
        if self._gamma != gamma:
            K = np.empty((len(self.X), self.n_columns))
            for rows, block in self._form_blocks(gamma):
                K[rows] = block
            self._gamma, self._matrix = gamma, K
        return self._matrix


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

    Parameters
    ----------
    cv : int, cross-validation generator or iterable
        See :class:`KLIEPRatio`; None is 5.
    samples : TwoSamples
        The samples, standardised.
    X, y, sample_weight : array-like
        The pool they were split from.
    random_state : RandomState
        Deals the rows to a number of folds.

    Returns
    -------
    folds : list of Fold
        Empty if a sample has but one row, of which none can be held out.

    Raises
    ------
    ValueError
        If a split leaves a sample without rows.
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
        parts = _split_pool(cv, samples, X, y, sample_weight)
    return [Fold(*part) for part in parts]


def _split_pool(cv, samples, X, y, sample_weight):
    """Weights of the rows in each part of the splits of the pool.

    Whoever gives the splits decides whether the copies of a row stay together.
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
