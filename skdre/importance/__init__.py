"""Learning and validating under covariate shift with a density ratio.

:class:`ImportanceWeighted` fits any scikit-learn classifier or regressor on source rows
weighted by the density ratio target/source; :func:`importance_weighted_score` and
:func:`importance_weighted_scorer` validate on labelled source rows with the same
weights, so that parameters are chosen without a single target label.
"""

from skdre.importance._estimator import ImportanceWeighted
from skdre.importance._score import (
    importance_weighted_score,
    importance_weighted_scorer,
)

__all__ = [
    "ImportanceWeighted",
    "importance_weighted_score",
    "importance_weighted_scorer",
]
