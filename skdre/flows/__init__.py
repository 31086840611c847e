"""Normalizing flows: features in which the data are standard normal."""

from skdre.flows._alignment import LikelihoodRatioAligner
from skdre.flows._dequantizer import Dequantizer
from skdre.flows._featurizer import FlowFeaturizer
from skdre.flows._hybrid import FlowClassifierRatio

__all__ = [
    "Dequantizer",
    "FlowClassifierRatio",
    "FlowFeaturizer",
    "LikelihoodRatioAligner",
]
