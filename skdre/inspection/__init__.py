"""Displays: pictures of density ratios, in scikit-learn's form.

Most classes have ``from_estimator``, for a fitted estimator, and ``from_predictions``,
for what it predicted; those of drift have ``from_report`` and ``from_history``. Each
has ``plot(ax=...)``, which sets ``ax_`` and ``figure_``. matplotlib is loaded when
something is drawn.
"""

from skdre.inspection._band import LogRatioBandDisplay
from skdre.inspection._bridges import BridgeLogRatiosDisplay, TimeScoreDisplay
from skdre.inspection._calibration import RatioCalibrationDisplay
from skdre.inspection._candidates import CandidatesDisplay
from skdre.inspection._drift import DriftDisplay, DriftHistoryDisplay
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
    "DriftDisplay",
    "DriftHistoryDisplay",
    "LogRatioBandDisplay",
    "LogRatioHistogramDisplay",
    "LogRatioScatterDisplay",
    "LogRatioSurfaceDisplay",
    "LovePlotDisplay",
    "RatioCalibrationDisplay",
    "TimeScoreDisplay",
    "TrainingCurveDisplay",
    "WeightConcentrationDisplay",
]
