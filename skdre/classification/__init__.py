"""Density ratios from classifiers that tell the two samples apart."""

from skdre._names import of_room

__getattr__, __dir__, __all__ = of_room(__name__)
