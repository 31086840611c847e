"""Infinitely many bridges: time scores and their integral."""

from skdre._names import of_room
from skdre.time_score._integrate import RK45, GaussLegendre

__getattr__, __dir__, __all__ = of_room(__name__)
__all__ += ["RK45", "GaussLegendre"]
