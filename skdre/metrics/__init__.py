"""Losses of density ratios, as functions on arrays and as scorers of estimators."""

from skdre.metrics._losses import (
    kliep_score,
    log_ratio_mse,
    lsif_loss,
    ratio_log_loss,
    ratio_rank_correlation,
)
from skdre.metrics._scorers import get_scorer, get_scorer_names

__all__ = [
    "get_scorer",
    "get_scorer_names",
    "kliep_score",
    "log_ratio_mse",
    "lsif_loss",
    "ratio_log_loss",
    "ratio_rank_correlation",
]
