"""Checks of what an estimator keeps of its fits, and when."""

from importlib.util import find_spec

import numpy as np

from skdre.utils._check_tools import (
    assert_raises,
    assert_same_attributes,
    assert_same_predictions,
    bad_fits,
    fit,
    fitted_attributes,
    log_ratio_of,
    make_shift,
    new_rows,
    predictions_of,
    seeded,
    takes_missing,
)
from skdre.utils._late_failures import assert_failures_change_nothing
from skdre.utils._other_values import other_values

__all__ = [
    "assert_parameters_do_not_matter",
    "check_failed_fit_changes_nothing",
    "check_late_failure_changes_nothing",
    "check_parameters_set_after_fit",
]

# Rows of each sample where nothing is asked of how good the ratio is.
_FEW_SAMPLES = 60


def check_failed_fit_changes_nothing(name, estimator):
    """A fit that raises for its input leaves a fitted estimator as it was."""
    X, y = make_shift().pool()
    X_new, _ = new_rows()
    fitted = fit(estimator, X, y)
    expected = {"decision_function": log_ratio_of(fitted, X_new)}
    before = fitted_attributes(fitted)
    wide = np.column_stack([X, X[:, :1]])
    wide[0, 0] = np.inf if takes_missing(estimator) else np.nan
    fits = [*bad_fits(estimator), ("NaN in a wider X", "", {"X": wide, "y": y})]
    if find_spec("pandas"):
        import pandas as pd

        frame = pd.DataFrame(wide[:, :2], columns=["a", "b"])
        fits.append(("NaN in a DataFrame", "", {"X": frame, "y": y}))
    for what, _, arguments in fits:
        assert_raises(name, what, "", fitted.fit, **arguments)
        what = f"{name}: fit with {what} fails, but"
        assert_same_attributes(fitted, before, what)
        found = {"decision_function": log_ratio_of(fitted, X_new)}
        assert_same_predictions(found, expected, what)


def check_late_failure_changes_nothing(name, estimator):
    """A fit that raises at its last steps changes nothing, be it the first or a refit.

    Errors are raised at the last attribute that is set, for memory in the midst of the
    fit and at its end, by the random_state and in callbacks.
    """
    X, y = make_shift(_FEW_SAMPLES).pool()
    fit_arguments = {"X": X, "y": y}
    assert_failures_change_nothing(name, seeded(estimator), fit_arguments, X[::10])


def check_parameters_set_after_fit(name, estimator):
    """Predictions read what the fit has set, not parameters that were set since.

    Each parameter gets several other values, that are valid by what the estimator
    declares in ``_parameter_constraints``; how many jobs or rows at once and where a
    prediction is computed may still change.
    """
    X, y = make_shift(_FEW_SAMPLES).pool()
    fitted = fit(estimator, X, y)
    assert_parameters_do_not_matter(name, fitted, X[::40], X=X, y=y)


def assert_parameters_do_not_matter(name, fitted, X_new, **score_arguments):
    """Assert that no prediction, nor the score, follows a parameter set after the fit.

    Predictions are at `X_new`; without arguments for ``score`` it is not looked at.
    Returns the values that each parameter was set to, by name.
    """

    def predict():
        found = predictions_of(fitted, X_new)
        if score_arguments and hasattr(fitted, "score"):
            found["score"] = fitted.score(**score_arguments)
        return found

    expected = predict()
    assert expected, f"{name}: nothing to predict with."
    tried = dict(other_values(fitted))
    for parameter, values in tried.items():
        before = fitted.get_params()[parameter]
        for value in values:
            what = f"set to {value!r}, from {before!r}, after fit"
            fitted.set_params(**{parameter: value})
            try:
                found = predict()
            except Exception as error:
                raise AssertionError(
                    f"{name}: a prediction fails with {parameter} {what}: {error!r}"
                ) from error
            finally:
                fitted.set_params(**{parameter: before})
            assert found.keys() == expected.keys(), (
                f"{name}: {set(found) ^ set(expected)} come or go with {parameter} "
                f"{what}."
            )
            assert_same_predictions(found, expected, f"{name}: {parameter}, {what},")
    return tried
