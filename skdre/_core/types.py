"""Types of arguments and results, for annotations."""

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["CrossValidator", "Floats", "RandomState", "Rows", "Values"]


class DataFrame(Protocol):
    """A table of pandas, polars or another library of the interchange protocol."""

    def __dataframe__(self, *args: Any, **kwargs: Any) -> Any: ...


class SparseMatrix(Protocol):
    """A matrix or an array of scipy.sparse."""

    def tocsr(self) -> Any: ...


class Splitter(Protocol):
    """A splitter of scikit-learn's conventions, such as ``KFold()``."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterable[Any]: ...

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int: ...


Rows: TypeAlias = npt.ArrayLike | DataFrame | SparseMatrix
"""A table of rows, as users give it."""

Values: TypeAlias = npt.ArrayLike
"""One value for each row, as users give them: labels, weights, log ratios."""

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
"""An array of floats, as results are given."""

RandomState: TypeAlias = int | np.random.RandomState | None
"""What ``random_state`` takes."""

CrossValidator: TypeAlias = int | Splitter | Iterable[Any] | None
"""What ``cv`` takes: a number of folds, a splitter, or splits."""
