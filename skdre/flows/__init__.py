"""Normalizing flows: features in which the data are standard normal."""

from skdre._names import of_room

__getattr__, __dir__, __all__ = of_room(__name__)
