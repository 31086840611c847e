"""Learning and validating under a shift, with labels of the source.

:class:`ImportanceWeighted` fits any scikit-learn classifier or regressor on source rows
weighted by the density ratio target/source; :func:`importance_weighted_score` and
:func:`importance_weighted_scorer` validate on labelled source rows with the same
weights, so that parameters are chosen without a single target label.
:class:`SourceFold` splits rows among which target rows are marked.
:class:`AlignedClassifier` fits a classifier on source rows moved onto the target.
:class:`WeightedConformalRegressor` puts intervals around predictions for the target.
:class:`TargetRows` keeps the target's rows whole in a search.
"""

from skdre.importance._aligned import AlignedClassifier
from skdre.importance._conformal import WeightedConformalRegressor
from skdre.importance._estimator import ImportanceWeighted
from skdre.importance._folds import SourceFold
from skdre.importance._rows import TargetRows
from skdre.importance._score import (
    importance_weighted_score,
    importance_weighted_scorer,
)

__all__ = [
    "AlignedClassifier",
    "ImportanceWeighted",
    "SourceFold",
    "TargetRows",
    "WeightedConformalRegressor",
    "importance_weighted_score",
    "importance_weighted_scorer",
]
