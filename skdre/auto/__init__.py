"""A density ratio without a choice to make: the data say which estimator to use."""

from skdre.auto._estimator import AutoRatio

__all__ = ["AutoRatio"]
