"""A density ratio without a choice to make: the data say which estimator to use."""

from skdre._names import of_room

__getattr__, __dir__, __all__ = of_room(__name__)
