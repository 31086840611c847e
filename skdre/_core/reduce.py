"""Sums over the rows of two samples, whoever holds the rows.

A *reducer* is a function from a portion of one sample, rows with their weights, to
:class:`Sums`. The sums of two portions add to those of both, and a solver sees sums
alone. So one reducer serves a fit in memory, one by portions that come one after
another, and one on chunks that no process holds at once:

* :class:`InMemory` holds the two samples, one portion each;
* ``partial_fit`` adds the sums of each call to those before;
* :class:`skdre._core.chunked_rows.ChunkedRows` adds the sums of the chunks of a
  collection.

Both classes have the same methods. Portions may be arrays of any library on any device
(:mod:`skdre._core.arrays`); sums are NumPy's, so that a solver is written once.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from skdre._core.arrays import Place
from skdre._core.rows import repeats_of
from skdre._core.samples import TwoSamples

__all__ = ["ByLabel", "InMemory", "Portion", "Sums", "nothing"]


class Sums:
    """Base of frozen dataclasses whose fields add when portions are put together.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from skdre._core.reduce import Sums
    >>> @dataclass(frozen=True)
    ... class Mean(Sums):
    ...     total: float
    ...     count: int
    >>> Mean(3.0, 2) + Mean(5.0, 1)
    Mean(total=8.0, count=3)
    """

    def __add__(self, other: Self) -> Self:
        names = [each.name for each in fields(self)]  # type: ignore[arg-type]
        return type(self)(*(getattr(self, n) + getattr(other, n) for n in names))

    def scaled(self, factor: float) -> Self:
        """Sums in which every row counts `factor` times what it did."""
        names = [each.name for each in fields(self)]  # type: ignore[arg-type]
        return type(self)(*(getattr(self, n) * factor for n in names))


class ByLabel(dict):
    """Sums of each label."""

    def __add__(self, other):
        found = ByLabel(self)
        for label, sums in other.items():
            found[label] = found[label] + sums if label in found else sums
        return found


@dataclass(frozen=True)
class Portion:
    """Rows of one sample.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,)
        In draws; negative where a sample allows it.
    count : ndarray of shape (n_rows,)
        Observations that each row stands for.
    """

    X: np.ndarray
    weight: np.ndarray
    count: np.ndarray


def nothing(portion: Any) -> None:
    """Reducer of a sample that a pass does not need."""


class InMemory:
    """Two samples, one portion each.

    Parameters
    ----------
    denominator, numerator : Portion or object
        What the reducers are given.
    """

    in_memory = True

    def __init__(self, denominator: Any, numerator: Any):
        self._portions = denominator, numerator

    @property
    def n_rows(self) -> tuple[int, int]:
        """Rows of the denominator and of the numerator, of portions as they come."""
        q, p = self._portions
        return q.X.shape[0], p.X.shape[0]

    @classmethod
    def of(cls, samples: TwoSamples, signs: Any = (1.0, 1.0)) -> "InMemory":
        """The samples that an estimator is fitted on, and the signs of their rows."""
        atoms = samples.denominator_is_atom, samples.numerator_is_atom
        return cls(
            *(
                Portion(X, weight * sign, repeats_of(weight, is_atom))
                for (X, weight), sign, is_atom in zip(
                    samples.parts, signs, atoms, strict=True
                )
            )
        )

    def at(self, place: Place) -> "InMemory":
        """The samples where sums shall be formed: reducers bring these to the host."""
        return self if place.is_host else self.prepared(place.put)

    def prepared(
        self, of_denominator: Callable[[Any], Any], of_numerator: Any = None
    ) -> "InMemory":
        """The samples after a function of a portion, such as its kernel's values.

        Where portions come anew with each pass, it is applied in each pass.
        """
        q, p = self._portions
        return InMemory(of_denominator(q), (of_numerator or of_denominator)(p))

    def held(
        self, of_denominator: Callable[[Any], Any], of_numerator: Any = None
    ) -> "InMemory":
        """:meth:`prepared`, by a function that is applied once, and its values kept.

        They stay where the rows are.
        """
        return self.prepared(of_denominator, of_numerator)

    def totals(
        self, of_denominator: Callable[[Any], Any], of_numerator: Any = None
    ) -> tuple[Any, Any]:
        """Sums over the denominator, and over the numerator, in one pass.

        Parameters
        ----------
        of_denominator, of_numerator : callable
            Reducers; without the second the first serves both samples.

        Returns
        -------
        denominator, numerator : Sums
        """
        q, p = self._portions
        return of_denominator(q), (of_numerator or of_denominator)(p)

    def passes(self, n_models: int, size: int) -> list[np.ndarray]:
        """Positions of the models whose sums, of `size` numbers, one pass forms.

        One at a time: what a portion keeps in memory then serves one model after the
        other.
        """
        return list(np.arange(n_models)[:, None])
