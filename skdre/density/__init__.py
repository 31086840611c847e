"""Densities corrected by a ratio."""

from skdre.density._targeted import TargetedSampler

__all__ = ["TargetedSampler"]
