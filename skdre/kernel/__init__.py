"""Kernel estimators, in numpy and scipy alone."""

from skdre._names import of_room

__getattr__, __dir__, __all__ = of_room(__name__)
