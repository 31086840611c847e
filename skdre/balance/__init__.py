"""Comparing groups fairly: weights that give one sample the columns of another.

:func:`balance_weights` meets moments, quantiles and shares of a target exactly,
:func:`treatment_weights` turns a propensity score or a density ratio into the weights
of a causal estimand, and :func:`balance_table` says, column by column, how far two
samples lie apart before and after weighting.
"""

from skdre.balance._entropy import BalancedSample, balance_weights
from skdre.balance._table import BalanceRow, BalanceTable, balance_table
from skdre.balance._treatment import treatment_weights

__all__ = [
    "BalanceRow",
    "BalanceTable",
    "BalancedSample",
    "balance_table",
    "balance_weights",
    "treatment_weights",
]
