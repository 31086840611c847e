"""Data, distances and assertions of the checks of density-ratio estimators.

Two ratios are compared by the probability r / (1 + r), where an error counts alike
above and below 1, and where a ratio close to 0 or far above 1 is not judged by its last
digit. An estimator whose fit does not depend on its ``random_state`` must agree with
itself to 1e-4; one whose fit does, to three times the largest distance between the fits
of three seeds, or to 0.02, which is below the sampling error of any ratio fitted to the
few hundred rows used here.
"""

import pickle
import random
import re

import numpy as np
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from skdre.datasets import make_warped_shift

# Rows of each sample. The standard error of a fitted direction is then about 5 degrees
# and that of a log ratio about 0.15 nats, far inside the bounds of the checks.
N_SAMPLES = 300

# A correct ratio reaches about 0.98 and chance has a standard deviation of 0.04; a fit
# whose direction is off by 45 degrees has 0.7.
LEAST_RANK_CORRELATION = 0.7

# In nats. Far above the sampling error, below log 2: not even a factor 2 is let pass.
LARGEST_OFFSET = 0.5


def make_shift(n_samples=N_SAMPLES, random_state=0, **params):
    return make_warped_shift(n_samples, 2, random_state=random_state, **params)


def new_rows():
    """Rows that no estimator was fitted on, and their true log ratio."""
    shift = make_shift(random_state=1)
    X, _ = shift.pool()
    return X, shift.log_ratio(X)


def seeded(estimator, seed=0):
    """Unfitted copy, with every random_state set, also those of nested estimators."""
    names = estimator.get_params()
    states = [name for name in names if name.split("__")[-1] == "random_state"]
    return clone(estimator).set_params(**dict.fromkeys(states, seed))


def fit(estimator, X, y, sample_weight=None, seed=0):
    fit_params = {} if sample_weight is None else {"sample_weight": sample_weight}
    return seeded(estimator, seed).fit(X, y, **fit_params)


def log_ratio_of(estimator, X):
    return np.asarray(estimator.decision_function(X))


def distance_between(estimator, other, X):
    """Root mean square difference of the probabilities of two fitted estimators."""
    one, two = (expit(log_ratio_of(each, X)) for each in (estimator, other))
    return np.sqrt(np.mean((one - two) ** 2))


def tolerance_for(estimator, X, y, X_new):
    """How far two fits may lie apart that should be one; see the module's docstring."""
    a, b, c = (fit(estimator, X, y, seed=seed) for seed in range(3))
    noise = max(
        distance_between(a, b, X_new),
        distance_between(b, c, X_new),
        distance_between(a, c, X_new),
    )
    return 1e-4 if noise < 1e-4 / 3 else max(0.02, 3 * noise)


def assert_same_ratio(name, estimator, other, X_new, tolerance, what):
    distance = distance_between(estimator, other, X_new)
    assert distance <= tolerance, (
        f"{name}: the ratio changes with {what}: r / (1 + r) differs by {distance:.2g} "
        f"(root mean square), more than {tolerance:.2g}."
    )


def rank_correlation(one, other):
    """Spearman's correlation, 0 where one side is constant or not finite."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return 0.0
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return spearmanr(one, other).statistic


def assert_raises(name, what, pattern, function, *args, **kwargs):
    """The call raises ValueError or TypeError with a message that fits the pattern."""
    message = None
    try:
        function(*args, **kwargs)
    except (ValueError, TypeError) as error:
        message = str(error)
    assert message is not None, f"{name}: {what} raised no error."
    assert re.search(pattern, message), (
        f"{name}: the error for {what} does not name what is wrong; expected "
        f"{pattern!r} in: {message}"
    )


def uneven_counts(X, y):
    """Counts from 0 to 3, the numerator's larger in the upper half of the first column.

    Ignored, they move the numerator's mean by about two thirds of its deviation.
    """
    upper = X[:, 0] > np.median(X[y == 1, 0])
    counts = np.random.default_rng(0).integers(0, 2, len(y))
    return np.where(y == 1, counts + 2 * upper, counts + 1)


def takes_missing(estimator):
    return get_tags(estimator).input_tags.allow_nan


def bad_fits(estimator):
    """Yield (what, pattern of the message, arguments of fit)."""
    X, y = make_shift().pool()
    for value in (np.inf,) if takes_missing(estimator) else (np.nan, np.inf):
        bad = X.copy()
        bad[3, 1] = value
        yield f"{value} in X", r"\bX\b", {"X": bad, "y": y}
    label = r"\by\b|class|label"
    yield "y=None", r"\by\b", {"X": X, "y": None}
    yield "one label", label, {"X": X, "y": np.zeros_like(y)}
    yield "three labels", label, {"X": X, "y": np.arange(len(y)) % 3}
    yield "NaN in y", label, {"X": X, "y": np.where(y, np.nan, 0.0)}
    yield "X and y of unequal length", r"\bX\b.*\by\b|samples", {"X": X, "y": y[:-1]}
    yield "an X without rows", r"\bX\b|sample", {"X": X[:0], "y": y[:0]}
    yield "an X of one dimension", r"\bX\b|2D", {"X": X[:, 0], "y": y}
    if has_fit_parameter(estimator, "sample_weight"):
        ones = np.ones(len(y))
        for what, weight in {
            "a negative weight": np.where(y, -1.0, 1.0),
            "NaN in the weights": np.where(y, np.nan, 1.0),
            "weights that are all zero": 0 * ones,
            "weights that are zero for one domain": 1.0 * y,
            "weights of another length": ones[:-1],
        }.items():
            yield what, r"weight", {"X": X, "y": y, "sample_weight": weight}


# Methods that take rows, and what else they are given.
_PREDICTIONS = {
    "decision_function": {},
    "predict_ratio": {},
    "predict_proba": {},
    "predict_log_proba": {},
    "predict": {},
    "predict_relative_ratio": {},
    "log_ratios": {},
    "time_score": {"times": [0.1, 0.5, 0.9]},
    "integration_error": {},
    "score_samples": {},
    "fisher_scores": {},
    "transform": {},
    "inverse_transform": {},
    "log_det_jacobian": {},
}


def predictions_of(estimator, X, methods=None):
    """What a fitted estimator predicts at rows, by all methods it has, or by some."""
    found = {}
    for method, arguments in _PREDICTIONS.items():
        if method in methods if methods else hasattr(estimator, method):
            found[method] = np.array(getattr(estimator, method)(X, **arguments))
    if "sample" in methods if methods else hasattr(estimator, "sample"):
        found["sample"] = np.array(estimator.sample(len(X), random_state=0))
    if "pointwise" in methods if methods else hasattr(estimator, "pointwise"):
        found["pointwise"] = np.array(estimator.pointwise(X, np.sin(X)))
    return found


def fitted_attributes(estimator):
    return {key: value for key, value in vars(estimator).items() if key.endswith("_")}


def assert_same_attributes(estimator, before, what):
    """The fitted attributes are still the objects that they were."""
    after = fitted_attributes(estimator)
    changed = {key for key in before | after if before.get(key) is not after.get(key)}
    assert not changed, f"{what} changes {changed}."


def assert_same_predictions(found, expected, what):
    """Two results of `predictions_of` are equal to the bit."""
    for method, values in found.items():
        np.testing.assert_array_equal(
            values, expected[method], f"{what} changes {method}."
        )


def state_of_generators(torch):
    states = {
        "random": random.getstate(),
        "numpy": pickle.dumps(np.random.get_state()),  # noqa: NPY002
    }
    if torch:
        states["torch"] = torch.get_rng_state().numpy().tobytes()
    return states
