"""Displays: pictures of density ratios, in scikit-learn's form.

Each class has ``from_estimator``, for a fitted estimator, most have
``from_predictions``, for what it predicted, and each has ``plot(ax=...)``, which sets
``ax_`` and ``figure_``. matplotlib is loaded when something is drawn.
"""

from skdre.inspection._bridges import BridgeLogRatiosDisplay, TimeScoreDisplay
from skdre.inspection._calibration import RatioCalibrationDisplay
from skdre.inspection._candidates import CandidatesDisplay
from skdre.inspection._log_ratios import (
    LogRatioHistogramDisplay,
    LogRatioScatterDisplay,
)
from skdre.inspection._love import LovePlotDisplay
from skdre.inspection._surface import LogRatioSurfaceDisplay
from skdre.inspection._training import TrainingCurveDisplay
from skdre.inspection._weights import WeightConcentrationDisplay

__all__ = [
    "BridgeLogRatiosDisplay",
    "CandidatesDisplay",
    "LogRatioHistogramDisplay",
    "LogRatioScatterDisplay",
    "LogRatioSurfaceDisplay",
    "LovePlotDisplay",
    "RatioCalibrationDisplay",
    "TimeScoreDisplay",
    "TrainingCurveDisplay",
    "WeightConcentrationDisplay",
]
