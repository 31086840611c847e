"""Kernel estimators, in numpy and scipy alone."""

from skdre.kernel._kmm import KMMRatio

__all__ = ["KMMRatio"]
