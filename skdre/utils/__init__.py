"""Tools for developers: the list of estimators and the contract as checks."""

import inspect
from importlib import import_module

from sklearn.base import BaseEstimator

from skdre.paths import PATHS

__all__ = ["all_estimators", "trusted_types"]

# What fitted estimators hold beside estimators and plain data, by qualified names. A
# list and not a prefix: below the name of a module lies all that it imports.
_HELD = (
    "skdre._core.moments.JointMoments",
    "skdre._core.stream.Stream",
    "skdre.time_score._integrate.GaussLegendre",
    "skdre.time_score._integrate.RK45",
    "skdre.auto._columns.Column",
    "skdre.auto._columns.Columns",
    "skdre.auto._cross_fit.StoppedTrees",
    "skdre.auto._estimator.Forms",
    "skdre.auto._intervals.Cubic",
    "skdre.auto._intervals.Evidence",
    "skdre.auto._intervals.Misfit",
    "skdre.auto._intervals.Support",
    "skdre.auto._pair_columns.PairColumns",
    "skdre.auto._pair_models.EllipticPairs",
    "skdre.auto._pair_models.Scores",
    "skdre.auto._pair_network.PairNetwork",
    "skdre.auto._pair_ratio.PairRatio",
    "skdre.auto._pair_trees.PairTrees",
    "skdre.auto._spread.Fits",
    "skdre.auto._table.Candidate",
    "skdre.auto._table.CandidateTable",
    "skdre.kernel._least_squares.KernelSums",
    "skdre.time_score._scaling.Scaling",
    "skdre.classification._calibration.AffineMap",
    "skdre.classification._equal_priors.FittedClassifier",
    "skdre.classification._gaussian_sums.Frame",
    "skdre.classification._gaussian_sums.MomentSums",
    "skdre.density._annealing.Annealing",
    "skdre.density._gaussian_base.GaussianBase",
    "skdre.density._kernels.Ellipse",
    "skdre.density._kernels.EllipticalSlice",
    "skdre.density._kernels.HMC",
    "skdre.density._kernels.State",
    "skdre.density._plans.Plan",
    "skdre.flows._flows._affine_spline",
    "skdre.flows._marginals.ColumnMap",
    "skdre.flows._marginals.MarginalMaps",
    "skdre.information._means.Estimate",
    "skdre.waymarks._models.BridgeModel",
    "skdre.waymarks._models.ClassifierModel",
    "skdre.waymarks._models.NetworkModel",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "zuko.distributions.DiagNormal",
    "zuko.transforms.MonotonicAffineTransform",
)


def all_estimators(type_filter: str | None = None) -> list[tuple[str, type]]:
    """List the public estimators of skdre.

    Parameters
    ----------
    type_filter : {"ratio", "transformer"}, default=None
        Only the density-ratio estimators, or only the transformers.

    Returns
    -------
    estimators : list of tuple
        ``(name, class)`` pairs, sorted by name.

    Raises
    ------
    ValueError
        If `type_filter` is unknown.

    Examples
    --------
    >>> from skdre.utils import all_estimators
    >>> "KMMRatio" in dict(all_estimators("ratio"))
    True
    """
    from sklearn.base import TransformerMixin

    from skdre.base import DensityRatioMixin

    bases = {
        None: BaseEstimator,
        "ratio": DensityRatioMixin,
        "transformer": TransformerMixin,
    }
    if type_filter not in bases:
        raise ValueError(
            f"type_filter must be None, 'ratio' or 'transformer', got {type_filter!r}."
        )
    package = import_module("skdre")
    public = ((name, getattr(package, name)) for name in package.__all__)
    return sorted(
        (name, value)
        for name, value in public
        if inspect.isclass(value)
        and issubclass(value, BaseEstimator)
        and issubclass(value, bases[type_filter])
    )


def trusted_types() -> list[str]:
    """List what skops must be told to trust to load estimators of skdre.

    The public estimators, and the few classes and functions of skdre and zuko that
    fitted ones hold. None of them runs anything when it is made. The list is for
    estimators with the parameters that skdre itself offers, in pipelines, searches and
    each other as well; what it does not name, functions and networks of your own, is
    for you to look at.

    Returns
    -------
    names : list of str
        Qualified names, sorted: for ``trusted=`` of ``skops.io.load``.

    Examples
    --------
    >>> from skdre.utils import trusted_types
    >>> "skdre.kernel._kmm.KMMRatio" in trusted_types()
    True
    """
    classes = [*(cls for _, cls in all_estimators()), *PATHS.values()]
    return sorted({*_HELD, *(f"{c.__module__}.{c.__qualname__}" for c in classes)})
