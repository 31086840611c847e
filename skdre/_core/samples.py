"""Two samples as estimators are fitted on them: distinct rows, with weights in draws.

Three views of a validated pool, which is :class:`LabelledRows`: :class:`TwoSamples`
holds two arrays, :class:`PooledRows` one array of both, and :class:`DistinctRows` the
positions of rows whose columns may be of any kind.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np

from skdre._core.rows import as_numbers, count_draws, merge, row_keys

__all__ = [
    "DistinctRows",
    "LabelledRows",
    "PooledRows",
    "TwoSamples",
    "distinct_rows",
    "two_samples",
    "warn_of_separating_columns",
]

# Larger weights are scaled down.
_LARGEST_WEIGHT = 1e150


@dataclass(frozen=True)
class LabelledRows:
    """A labelled pool, validated.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows of both samples, also those of weight zero.
    is_numerator : ndarray of bool of shape (n_samples,)
        True where the row is of the numerator's domain.
    sample_weight : ndarray of shape (n_samples,) or None
        Repetition counts of the rows, None where every row counts once.
    classes : ndarray of shape (2,)
        The labels, the denominator's first.
    """

    X: np.ndarray
    is_numerator: np.ndarray
    sample_weight: np.ndarray | None
    classes: np.ndarray


@dataclass(frozen=True)
class TwoSamples:
    """The two samples of a density-ratio problem, validated.

    Distinct rows with weights. They are sorted and shuffled by a fixed rule, so a fit
    on them depends neither on the order of the rows nor on whether a row stands twice
    or has a weight of two. Weights are in *draws*, the unit in which their sum is
    the number of observations that the sample is worth:

    * a row that holds a continuous value is one observation however often it stands,
      and the sum of such weights is Kish's effective number, (sum w)^2 / sum w^2,
      whatever the unit of the weights that came;
    * the weight of a row of atoms alone (flags, counts, categories, rounded numbers)
      counts observations.

    Attributes
    ----------
    numerator : ndarray of shape (n_numerator, n_features)
        Distinct rows of positive weight drawn from p.
    denominator : ndarray of shape (n_denominator, n_features)
        Distinct rows of positive weight drawn from q.
    numerator_weight, denominator_weight : ndarray of shape (n_numerator,) or \
            (n_denominator,), or None
        Weights of the rows in draws, None where every row counts once.
    numerator_is_atom, denominator_is_atom : ndarray of bool of shape \
            (n_numerator,) or (n_denominator,)
        Rows of atoms alone, whose weights count observations that can be parted, in
        cross-validation for example.
    denominator_index : ndarray of int of shape (n_given,)
        Positions in the pooled input of all the denominator's rows of positive weight.
    denominator_row : ndarray of int of shape (n_given,)
        Which row of `denominator` each of them is.
    classes : ndarray of shape (2,)
        The labels, the denominator's first.
    numerator_index, numerator_row : ndarray of int of shape (n_given,)
        As for the denominator.
    names : ndarray of str of shape (n_features,) or None
        Of the columns, for messages.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    numerator_weight: np.ndarray | None
    denominator_weight: np.ndarray | None
    numerator_is_atom: np.ndarray
    denominator_is_atom: np.ndarray
    denominator_index: np.ndarray
    denominator_row: np.ndarray
    classes: np.ndarray
    numerator_index: np.ndarray
    numerator_row: np.ndarray
    names: np.ndarray | None = None

    @property
    def parts(self):
        """Rows and weights, never None, of the denominator, then of the numerator."""
        return tuple(
            (X, np.ones(len(X)) if weight is None else weight)
            for X, weight in (
                (self.denominator, self.denominator_weight),
                (self.numerator, self.numerator_weight),
            )
        )


class _DenominatorFirst:
    """Rows of both samples, the denominator's first."""

    weight: np.ndarray
    n_denominator: int

    @property
    def is_numerator(self) -> np.ndarray:
        return np.arange(len(self.weight)) >= self.n_denominator

    def split(self, values: np.ndarray, axis: int = 0) -> list[np.ndarray]:
        """The denominator's and the numerator's part of an array with these rows."""
        return np.split(values, [self.n_denominator], axis)


@dataclass(frozen=True)
class PooledRows(_DenominatorFirst):
    """Distinct rows of both samples in one array, the denominator's first.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,)
        In draws.
    is_atom : ndarray of bool of shape (n_rows,)
        Rows whose weight counts observations.
    n_denominator : int
    """

    X: np.ndarray
    weight: np.ndarray
    is_atom: np.ndarray
    n_denominator: int

    @classmethod
    def of(cls, samples):
        """Those of the two samples that an estimator is fitted on."""
        X, weights = zip(*samples.parts, strict=True)
        return cls(
            np.concatenate(X),
            np.concatenate(weights),
            np.concatenate([samples.denominator_is_atom, samples.numerator_is_atom]),
            len(samples.denominator),
        )

    def samples(self):
        """Rows and weights of the denominator, then of the numerator."""
        return tuple(zip(self.split(self.X), self.split(self.weight), strict=True))

    def weighted(self, weight):
        """The rows of positive weight, with it."""
        kept = weight > 0
        return replace(
            self,
            X=self.X[kept],
            weight=weight[kept],
            is_atom=self.is_atom[kept],
            n_denominator=int(kept[: self.n_denominator].sum()),
        )


@dataclass(frozen=True)
class DistinctRows(_DenominatorFirst):
    """Which rows of a labelled pool are distinct within their sample.

    Attributes
    ----------
    index : ndarray of int of shape (n_distinct,)
        Their positions in the pool, the denominator's first.
    weight : ndarray of shape (n_distinct,)
        Their weights in draws.
    is_atom : ndarray of bool of shape (n_distinct,)
        Rows whose weight counts observations.
    n_denominator : int
        Number of the denominator's.
    unit : ndarray of shape (2,)
        What a draw weighs in the denominator and in the numerator, as weights came.
    row : ndarray of int of shape (n_samples,)
        Which of the distinct rows a row of the pool is; -1 where it has no weight.
    """

    index: np.ndarray
    weight: np.ndarray
    is_atom: np.ndarray
    n_denominator: int
    unit: np.ndarray
    row: np.ndarray

    def parts(self, X: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Rows and weights of the denominator, then of the numerator.

        Parameters
        ----------
        X : ndarray of shape (n_distinct, n_features)
            The distinct rows.
        """
        return tuple(zip(self.split(X), self.split(self.weight), strict=True))

    def part(
        self, positions: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> np.ndarray:
        """Weights of the distinct rows in a part of the pool.

        Whoever gives the part decides whether the copies of a row stay together.

        Parameters
        ----------
        positions : ndarray of int
            Of the rows of the pool that the part consists of.
        sample_weight : ndarray of shape (n_samples,), default=None
            As they came.

        Returns
        -------
        weight : ndarray of shape (n_distinct,)
        """
        given = np.ones(len(self.row)) if sample_weight is None else sample_weight
        known = self.row >= 0
        inside = np.zeros(len(self.row), bool)
        inside[positions] = True
        total, chosen = (
            np.bincount(self.row[mask], given[mask], len(self.index))
            for mask in (known, known & inside)
        )
        return chosen / total * self.weight


def _merge_samples(X, is_numerator, weight, is_numeric=None):
    """Positions of each sample's rows, what merging makes of them, draws, atoms."""
    domains = [~is_numerator, is_numerator]
    if weight is not None:
        domains = [domain & (weight > 0) for domain in domains]
        # Sums of weights stay finite.
        weight = weight / max(weight.max() / _LARGEST_WEIGHT, 1.0)
    index = [np.flatnonzero(domain) for domain in domains]
    keys = [row_keys(X[each]) for each in index]
    merged = [
        merge(key, None if weight is None else weight[each], X[each])
        for key, each in zip(keys, index, strict=True)
    ]
    weights = [each for _, _, each in merged]
    if all((each == 1).all() for each in weights):
        # A row that stands once counts once, whatever it holds.
        return index, merged, weights, [np.zeros(len(each), bool) for each in weights]
    firsts = [each[first] for each, (first, _, _) in zip(index, merged, strict=True)]
    keys = [key[first] for key, (first, _, _) in zip(keys, merged, strict=True)]
    draws, is_atom = count_draws(
        [X[each] for each in firsts], keys, weights, list(map(len, index)), is_numeric
    )
    return index, merged, draws, is_atom


def distinct_rows(rows: LabelledRows) -> DistinctRows:
    """Distinct rows of a validated pool of any columns, with weights in draws.

    Parameters
    ----------
    rows : skdre.base.LabelledRows
        Of any columns.

    Returns
    -------
    distinct : DistinctRows

    Examples
    --------
    >>> from skdre import ClassifierRatio
    >>> from skdre.base import check_pool, distinct_rows
    >>> rows = check_pool(ClassifierRatio(), [[1.0], [0.0], [1.0], [1.0]], [0, 1, 0, 1])
    >>> distinct = distinct_rows(rows)
    >>> distinct.index, distinct.weight
    (array([0, 3, 1]), array([2., 1., 1.]))
    """
    X, is_numeric = as_numbers(rows.X)
    index, merged, weights, is_atom = _merge_samples(
        X, rows.is_numerator, rows.sample_weight, is_numeric
    )
    firsts = [each[first] for each, (first, _, _) in zip(index, merged, strict=True)]
    row = np.full(len(X), -1)
    row[index[0]] = merged[0][1]
    row[index[1]] = len(firsts[0]) + merged[1][1]
    units = [
        total.sum() / weight.sum()
        for (_, _, total), weight in zip(merged, weights, strict=True)
    ]
    return DistinctRows(
        np.concatenate(firsts),
        np.concatenate(weights),
        np.concatenate(is_atom),
        len(firsts[0]),
        np.array(units),
        row,
    )


def two_samples(rows, names=None):
    """Distinct rows of the two samples of a validated pool, their weights in draws."""
    index, merged, weights, is_atom = _merge_samples(
        rows.X, rows.is_numerator, rows.sample_weight
    )
    samples = [
        rows.X[each[first]] for each, (first, _, _) in zip(index, merged, strict=True)
    ]
    weights = [None if (each == 1).all() else each for each in weights]
    warn_of_separating_columns(*samples, names)
    return TwoSamples(
        numerator=samples[1],
        denominator=samples[0],
        numerator_weight=weights[1],
        denominator_weight=weights[0],
        numerator_is_atom=is_atom[1],
        denominator_is_atom=is_atom[0],
        denominator_index=index[0],
        denominator_row=merged[0][1],
        classes=rows.classes,
        numerator_index=index[1],
        numerator_row=merged[1][1],
        names=names,
    )


def warn_of_separating_columns(denominator, numerator, names=None):
    """Warn of columns that are constant in each sample, at different values."""
    if min(len(denominator), len(numerator)) < 2:
        return
    first_q, first_p = denominator[0], numerator[0]
    apart = np.flatnonzero(first_q != first_p)
    apart = [
        j
        for j in apart
        if (denominator[:, j] == first_q[j]).all()
        and (numerator[:, j] == first_p[j]).all()
    ]
    if not apart:
        return
    shown = ", ".join(
        f"{j if names is None else repr(str(names[j]))} ({first_p[j]:.6g} in the "
        f"numerator, {first_q[j]:.6g} in the denominator)"
        for j in apart[:5]
    )
    warnings.warn(
        f"Columns are constant in each sample, at different values: {shown}"
        f"{', ...' if len(apart) > 5 else ''}. Each of them tells the samples apart by "
        "itself, so the true ratio is 0 or infinite. Remove them, unless that is what "
        "you want to know.",
        UserWarning,
        stacklevel=4,
    )
