"""Other valid values of the parameters of an estimator, from what it declares."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skdre._compat import Interval, Options, StrOptions, make_constraint
from skdre.base import AtomicFitMixin

__all__ = ["other_values"]

# What a prediction may read: how it is computed, not what.
_EXEMPT = {"n_jobs", "verbose", "device", "batch_size", "chunk_size", "memory"}

_NUMBERS = (0, 1, 2, 3, 7, 50, 0.05, 0.3, 0.5, 0.9, 1.5, 20.0, 1e-3)
_SEQUENCES = ([5, 7], [0.1, 1.0])
_ANYTHING = (None, True, False, *_NUMBERS, *_SEQUENCES)

# Most numbers that a parameter is set to, evenly among those that are valid.
_MOST_NUMBERS = 3


def _candidates(value, constraints):
    """Values to try, valid or not."""
    found = [*_ANYTHING, LogisticRegression(), StandardScaler()]
    for constraint in constraints:
        if isinstance(constraint, StrOptions | Options):
            found += sorted(constraint.options, key=str)
        elif isinstance(constraint, Interval):
            found += [constraint.left, constraint.right]
        elif constraint == "random_state":
            found += [4, np.random.RandomState(5)]
    if isinstance(value, Real) and not isinstance(value, bool):
        found += [value + 1, value - 1, 2 * value]
        if not isinstance(value, Integral):
            found += [value / 2]
    return found


def _guessed(value):
    """Constraints of a parameter of which nothing is declared."""
    if isinstance(value, bool):
        return ["boolean"]
    if isinstance(value, Integral):
        return [Interval(Integral, 1, None, closed="left")]
    if isinstance(value, Real):
        closed = "both" if 0 <= value <= 1 else "left"
        return [Interval(Real, 0, 1 if closed == "both" else None, closed=closed)]
    return []


def _same(one, other):
    if type(one) is not type(other) or isinstance(one, np.ndarray):
        return one is other
    return one == other


def _values_of(estimator, name, value):
    if hasattr(value, "get_params") and not isinstance(value, type):
        # One that was never fitted, and others that do something else.
        return [clone(value), DummyClassifier(), DummyRegressor()]
    declared = getattr(estimator, "_parameter_constraints", {}).get(name)
    constraints = _guessed(value) if declared is None else declared
    if not isinstance(constraints, list):
        return []
    if constraints == ["cv_object"]:
        return [each for each in (2, 3) if each != value]
    checks = [make_constraint(each) for each in constraints]
    found = []
    for each in _candidates(value, constraints):
        if any(check.is_satisfied_by(each) for check in checks) and not any(
            _same(each, known) for known in (value, *found)
        ):
            found.append(each)
    numbers = [each for each in found if isinstance(each, Real)]
    if len(numbers) <= _MOST_NUMBERS:
        return found
    kept = np.linspace(0, len(numbers) - 1, _MOST_NUMBERS).astype(int)
    others = [each for each in found if not isinstance(each, Real)]
    return [numbers[index] for index in kept] + others


def other_values(estimator):
    """Yield parameters of an estimator and of those inside it, with lists of others.

    The values are valid by the estimator's ``_parameter_constraints``, as scikit-learn
    declares them, or of the type of the value where nothing is declared. Left out are
    parameters of how a prediction is computed (jobs, verbosity, device, batches), and
    in a pipeline, which fits its steps in place, the steps and those parameters of them
    that are not of this package. Names are as ``set_params`` takes them.
    """
    params = estimator.get_params(deep=True)
    for full_name, value in params.items():
        prefix, _, name = full_name.rpartition("__")
        owner = params[prefix] if prefix else estimator
        if name in _EXEMPT or isinstance(owner, Pipeline):
            continue
        in_place = prefix and isinstance(estimator, Pipeline)
        if in_place and not isinstance(owner, AtomicFitMixin):
            continue
        if values := _values_of(owner, name, value):
            yield full_name, values
