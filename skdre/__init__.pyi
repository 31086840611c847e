from . import (
    auto,
    base,
    bridges,
    classification,
    datasets,
    density,
    flows,
    importance,
    information,
    inspection,
    kernel,
    metrics,
    nn,
    pipeline,
    utils,
    weighting,
)
from ._version import __version__ as __version__
from .auto import AutoRatio
from .base import DensityRatioMixin, pool, predict_log_ratio, predict_ratio
from .bridges import MultinomialRatio, TelescopingRatio, TimeScoreRatio
from .classification import ClassifierRatio, GaussianRatio, MLPRatio
from .density import TargetedSampler
from .flows import (
    Dequantizer,
    FlowClassifierRatio,
    FlowFeaturizer,
    LikelihoodRatioAligner,
)
from .importance import (
    AlignedClassifier,
    ImportanceWeighted,
    importance_weighted_score,
    importance_weighted_scorer,
)
from .information import (
    MutualInformation,
    diagnose,
    divergence,
    mutual_information,
    score_test,
    shift_importance,
    two_sample_test,
)
from .kernel import KLIEPRatio, KMMRatio, LSIFRatio
from .pipeline import Pipeline, make_pipeline

__all__ = [
    "AlignedClassifier",
    "AutoRatio",
    "ClassifierRatio",
    "DensityRatioMixin",
    "Dequantizer",
    "FlowClassifierRatio",
    "FlowFeaturizer",
    "GaussianRatio",
    "ImportanceWeighted",
    "KLIEPRatio",
    "KMMRatio",
    "LSIFRatio",
    "LikelihoodRatioAligner",
    "MLPRatio",
    "MultinomialRatio",
    "MutualInformation",
    "Pipeline",
    "TargetedSampler",
    "TelescopingRatio",
    "TimeScoreRatio",
    "auto",
    "base",
    "bridges",
    "classification",
    "datasets",
    "density",
    "diagnose",
    "divergence",
    "flows",
    "importance",
    "importance_weighted_score",
    "importance_weighted_scorer",
    "information",
    "inspection",
    "kernel",
    "make_pipeline",
    "metrics",
    "mutual_information",
    "nn",
    "pipeline",
    "pool",
    "predict_log_ratio",
    "predict_ratio",
    "score_test",
    "shift_importance",
    "two_sample_test",
    "utils",
    "weighting",
]
