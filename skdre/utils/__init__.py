"""Tools for developers: the list of estimators and the contract as checks."""

import inspect
from importlib import import_module

from sklearn.base import BaseEstimator

__all__ = ["all_estimators"]


def all_estimators(type_filter=None):
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
