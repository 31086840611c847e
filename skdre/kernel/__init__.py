"""Kernel estimators, in numpy and scipy alone."""

from skdre.kernel._kliep import KLIEPRatio
from skdre.kernel._kmm import KMMRatio
from skdre.kernel._lsif import LSIFRatio

__all__ = ["KLIEPRatio", "KMMRatio", "LSIFRatio"]
