"""Densities corrected by a ratio, their normalising constants and samples."""

from skdre._names import of_room
from skdre.density._annealing import Annealing
from skdre.density._kernels import HMC, EllipticalSlice
from skdre.density._reverse import RaiseBound

__getattr__, __dir__, __all__ = of_room(__name__)
__all__ += ["HMC", "Annealing", "EllipticalSlice", "RaiseBound"]
