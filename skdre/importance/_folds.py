"""SourceFold: cross-validation where target rows stand in X, marked in y."""

from collections.abc import Iterator
from contextlib import suppress
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator, check_cv
from sklearn.utils import check_array
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object
from sklearn.utils.validation import check_consistent_length

from skdre._compat import safe_indexing
from skdre._core.types import Rows, Values
from skdre.importance._rows import check_labels

__all__ = ["SourceFold"]


def _split_by_mark(y):
    """Positions of the source and of the target rows, and whether y names classes."""
    # Nullable columns of pandas become floats, with NaN.
    y = check_array(
        y, ensure_2d=False, dtype=None, ensure_all_finite=False, input_name="y"
    )
    numbers = y
    if y.dtype.kind == "O" and not any(isinstance(each, str) for each in y.flat):
        with suppress(TypeError, ValueError):
            numbers = y.astype(np.float64)
    with np.errstate(invalid="ignore"):
        # NaN, a target row's, is no whole number either.
        has_values = numbers.dtype.kind == "f" and bool((numbers % 1 != 0).any())
    _, unlabelled = check_labels(
        numbers if has_values else y, classification=not has_values
    )
    return np.flatnonzero(~unlabelled), np.flatnonzero(unlabelled), not has_values


class SourceFold(BaseCrossValidator):
    """Folds of the source rows, with all target rows in every training fold.

    For :class:`skdre.ImportanceWeighted` and :class:`skdre.AlignedClassifier` where the
    target rows stand in X, marked in y by -1 (classes) or NaN (regression). Other
    splitters deal them into the test folds too, where a scorer of scikit-learn's takes
    the mark for a label, and each of them for an error.

    Parameters
    ----------
    cv : int or splitter, default=5
        Splits the source rows, as if the target rows were not there: a number of folds,
        stratified by class where y has classes; or any splitter, such as
        ``KFold(5, shuffle=True)``, :class:`~sklearn.model_selection.GroupKFold` or
        :class:`~sklearn.model_selection.ShuffleSplit`.

    See Also
    --------
    importance_weighted_scorer : Any score, weighted so that it is the target's.

    Notes
    -----
    Test folds hold labelled source rows alone, so that every scorer serves. A plain
    one, such as ``scoring="accuracy"``, estimates the score on the *source*;
    ``importance_weighted_scorer(scoring="accuracy")`` that on the target. Training
    folds hold marked rows by design: scores of training folds
    (``return_train_score=True``) mean something with the estimator's own score or with
    :func:`importance_weighted_scorer` only.

    Where y holds NaN, or another number that is not whole, it holds values to regress
    on, and NaN is the mark; else it holds classes, and -1 (or ``"-1"``) is. Without
    any mark the folds are those of `cv`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from skdre import GaussianRatio, ImportanceWeighted
    >>> from skdre.importance import SourceFold
    >>> rng = np.random.default_rng(0)
    >>> X, X_target = rng.normal(0, 1, (200, 1)), rng.normal(1, 0.5, (100, 1))
    >>> X_all = np.concatenate([X, X_target])
    >>> y_all = np.append(X.ravel() > 0.8, np.full(100, -1))
    >>> model = ImportanceWeighted(LogisticRegression(), GaussianRatio())
    >>> scores = cross_val_score(
    ...     model, X_all, y_all, cv=SourceFold(5), scoring="accuracy"
    ... )
    >>> bool(scores.min() > 0.9)
    True

    With the folds that are the default each target row counts as an error:

    >>> bool(cross_val_score(model, X_all, y_all, scoring="accuracy").max() < 0.7)
    True
    """

    def __init__(self, cv: int | BaseCrossValidator = 5) -> None:
        self.cv = cv

    def _inner(self, X, y, groups):
        """The splitter, its arguments, and the source's and the target's rows."""
        is_splitter = hasattr(self.cv, "split") and not isinstance(self.cv, str)
        if not (is_splitter or isinstance(self.cv, Integral)):
            raise ValueError(
                "cv must be a number of folds, or a splitter with a method split, got "
                f"{self.cv!r}."
            )
        if y is None:
            raise ValueError(
                "SourceFold needs y, in which -1 (classes) or NaN (regression) marks "
                "the target rows, got None."
            )
        check_consistent_length(X, y, groups)
        source, target, has_classes = _split_by_mark(y)
        if not len(source):
            raise ValueError(
                "y marks every row as an unlabelled target row: labelled source rows "
                "are needed too."
            )
        arguments = [
            None if each is None else safe_indexing(each, source)
            for each in (X, y, groups)
        ]
        if has_classes:
            # Classes beside a mark of another type, as in an array of objects.
            arguments[1] = np.array(np.asarray(arguments[1]).tolist())
        cv = check_cv(self.cv, arguments[1], classifier=has_classes)
        return cv, arguments, source, target

    def split(
        self, X: Rows, y: Values | None = None, groups: Values | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield training and test positions of each fold.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows of both samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels or values of the source rows; -1 or NaN marks a target row.
        groups : array-like of shape (n_samples,), default=None
            Groups, for a `cv` that heeds them; those of the target rows do not count.

        Yields
        ------
        train : ndarray of int of shape (n_train,)
            Positions of source rows, and of all target rows.
        test : ndarray of int of shape (n_test,)
            Positions of source rows.

        Raises
        ------
        ValueError
            If y is None or marks every row, or `cv` cannot split the source rows.
        """
        cv, arguments, source, target = self._inner(X, y, groups)
        for train, test in cv.split(*arguments):
            if max(np.max(train, initial=0), np.max(test, initial=0)) >= len(source):
                raise ValueError(
                    f"cv={self.cv!r} gives positions beyond the {len(source)} source "
                    "rows: it has to split these alone."
                )
            yield np.sort(np.concatenate([source[train], target])), source[test]

    def get_n_splits(
        self,
        X: Rows | None = None,
        y: Values | None = None,
        groups: Values | None = None,
    ) -> int:
        """Number of folds.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features), default=None
            Rows of both samples; like y and groups for a `cv` whose number of folds
            depends on them.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels or values.
        groups : array-like of shape (n_samples,), default=None
            Groups.

        Returns
        -------
        n_splits : int
        """
        if isinstance(self.cv, Integral):
            return int(self.cv)
        cv: Any = self.cv
        if y is None:
            return cv.get_n_splits(X, y, groups)
        cv, arguments, *_ = self._inner(X, y, groups)
        return cv.get_n_splits(*arguments)

    def get_metadata_routing(self) -> MetadataRequest:
        """What the splitter inside asks for, such as groups.

        Returns
        -------
        routing : MetadataRequest
            See :mod:`sklearn.utils.metadata_routing`.
        """
        if isinstance(self.cv, Integral):
            return super().get_metadata_routing()
        return get_routing_for_object(self.cv)
