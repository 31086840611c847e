"""Information from density ratios: divergences, tests for a shift, diagnostics.

Means of functions of the log ratio at rows that the ratio was not fitted on.
Cross-fitting, means with their standard errors, permutations and the tail of the
weights stand in files of their own, for every quantity that needs them.
"""

from skdre.information._diagnosis import Figure, RatioDiagnosis, diagnose
from skdre.information._divergences import divergence
from skdre.information._drift import drift_over_time, drift_report
from skdre.information._drift_columns import ColumnDrift
from skdre.information._drift_results import DriftHistory, DriftReport
from skdre.information._means import Estimate
from skdre.information._mutual_information import (
    MutualInformation,
    mutual_information,
)
from skdre.information._pareto import pareto_k, pareto_k_threshold
from skdre.information._permutation import ShiftTest
from skdre.information._score_test import score_test
from skdre.information._shift_importance import ShiftImportance, shift_importance
from skdre.information._two_sample import two_sample_test

__all__ = [
    "ColumnDrift",
    "DriftHistory",
    "DriftReport",
    "Estimate",
    "Figure",
    "MutualInformation",
    "RatioDiagnosis",
    "ShiftImportance",
    "ShiftTest",
    "diagnose",
    "divergence",
    "drift_over_time",
    "drift_report",
    "mutual_information",
    "pareto_k",
    "pareto_k_threshold",
    "score_test",
    "shift_importance",
    "two_sample_test",
]
