"""The contract of density-ratio estimators as checks that anyone can run.

:func:`check_ratio_estimator` runs them all on one estimator, and
:func:`parametrize_with_ratio_checks` makes each of them a test of pytest. They ask
what a density ratio must satisfy. What any estimator must satisfy is asked by
:func:`sklearn.utils.estimator_checks.check_estimator`; both are needed.
"""

import pickle
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy.special import expit, log_expit
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from skdre.base import (
    AtomicFitMixin,
    exp_log_ratio,
    is_ratio_estimator,
)
from skdre.metrics import ratio_log_loss
from skdre.utils._check_tools import (
    LARGEST_OFFSET,
    LEAST_RANK_CORRELATION,
    N_SAMPLES,
    assert_raises,
    assert_same_ratio,
    bad_fits,
    fit,
    log_ratio_of,
    make_shift,
    new_rows,
    rank_correlation,
    seeded,
    state_of_generators,
    takes_missing,
    tolerance_for,
)
from skdre.utils._state_checks import (
    check_failed_fit_changes_nothing,
    check_late_failure_changes_nothing,
    check_parameters_set_after_fit,
)
from skdre.utils._weight_checks import (
    check_copies_inform_of_nothing,
    check_weight_zero_is_absence,
    check_weights_are_repetitions,
    check_weights_count_inside_domains,
)

__all__ = [
    "check_ratio_estimator",
    "parametrize_with_ratio_checks",
    "yield_ratio_checks",
]


def check_is_binary_classifier(name, estimator):
    """A classifier of two classes, with the mark by which a ratio is known."""
    assert is_ratio_estimator(estimator), (
        f"{name}: a ratio estimator is known by its method predict_ratio, which this "
        "has not."
    )
    assert is_classifier(estimator), f"{name}: is_classifier is false."
    assert not get_tags(estimator).classifier_tags.multi_class, (
        f"{name}: the tag classifier_tags.multi_class must be False."
    )
    X, y = make_shift().pool()
    fitted = fit(estimator, X, y + 5)
    assert np.array_equal(fitted.classes_, [5, 6]), (
        f"{name}: classes_ must be the sorted labels [5, 6], got {fitted.classes_}."
    )


def check_rank_correlation_with_truth(name, estimator):
    """Large where the true ratio is large: neither inverted nor constant."""
    X_new, truth = new_rows()
    log_ratio = log_ratio_of(fit(estimator, *make_shift().pool()), X_new)
    correlation = rank_correlation(log_ratio, truth)
    assert correlation >= LEAST_RANK_CORRELATION, (
        f"{name}: rank correlation with the true ratio of two Gaussians is "
        f"{correlation:.2f}, less than {LEAST_RANK_CORRELATION}; an inverted ratio "
        "has -1."
    )


def check_scale_against_truth(name, estimator):
    """The log ratio is not off by a constant, and the ratio's mean over q is near 1."""
    X_new, truth = new_rows()
    fitted = fit(estimator, *make_shift().pool())
    offset = np.median(log_ratio_of(fitted, X_new) - truth)
    assert abs(offset) <= LARGEST_OFFSET, (
        f"{name}: the log ratio is off by {offset:.2f} nats in the median, the ratio "
        f"by a factor of {np.exp(offset):.2g}."
    )
    mean = np.mean(fitted.predict_ratio(make_shift(random_state=1).denominator))
    # The true ratio has variance e - 1 under q: one standard error is 0.08.
    assert 0.5 <= mean <= 2, (
        f"{name}: the mean of the ratio over the denominator is {mean:.2g}, not near 1."
    )


def check_ratio_is_one_for_equal_distributions(name, estimator):
    """Two samples of one distribution have a ratio near 1."""
    X, y = make_shift(mean_shift=0.0).pool()
    probability = expit(log_ratio_of(fit(estimator, X, y), new_rows()[0]))
    error = np.mean(np.abs(probability - 0.5))
    # A shift by one standard deviation, the other checks' data, has 0.2.
    assert error <= 0.1, (
        f"{name}: for two samples of one distribution r / (1 + r) is off 1/2 by "
        f"{error:.2f} on average, more than 0.1."
    )


def check_swapped_labels(name, estimator):
    """The greater label names the numerator: swapping the labels inverts the order."""
    X, y = make_shift().pool()
    X_new, _ = new_rows()
    one, other = (
        log_ratio_of(fit(estimator, X, labels), X_new) for labels in (y, 1 - y)
    )
    correlation = rank_correlation(one, other)
    assert correlation <= -LEAST_RANK_CORRELATION, (
        f"{name}: with the labels swapped the ratio must be inverted, but its rank "
        f"correlation with the ratio before is {correlation:.2f}."
    )


def check_label_names(name, estimator):
    """Any two labels that can be sorted serve, and only their order counts."""
    X, y = make_shift().pool()
    X_new, _ = new_rows()
    expected = log_ratio_of(fit(estimator, X, y), X_new)
    for labels in (
        np.array(["simulated", "real"])[[1, 0]],
        np.array(["q", "z"], dtype=object),
        np.array([3, 7]),
        np.array([-1, 1]),
        np.array([False, True]),
        np.array([0.5, 1.5]),
    ):
        fitted = fit(estimator, X, labels[y])
        np.testing.assert_allclose(
            log_ratio_of(fitted, X_new),
            expected,
            rtol=1e-7,
            err_msg=f"{name}: the ratio changes with the labels' names, {labels}.",
        )
        assert set(fitted.predict(X_new)) <= set(labels), (
            f"{name}: predict does not give the labels {labels}."
        )


def check_row_order(name, estimator):
    """The order of the rows in fit does not matter."""
    X, y = make_shift().pool()
    X_new, _ = new_rows()
    order = np.random.default_rng(0).permutation(len(X))
    fitted, other = fit(estimator, X, y), fit(estimator, X[order], y[order])
    tolerance = tolerance_for(estimator, X, y, X_new)
    assert_same_ratio(name, fitted, other, X_new, tolerance, "the order of the rows")


def check_sample_sizes(name, estimator):
    """The prior is always equal: the sample sizes do not scale the ratio."""
    X_new, _ = new_rows()
    few, many = N_SAMPLES // 2, N_SAMPLES * 7 // 2
    one, other = (
        log_ratio_of(fit(estimator, *make_shift(sizes).pool()), X_new)
        for sizes in ((few, many), (many, few))
    )
    # A ratio that counts rows is off by 2 log 7 = 3.9 between the two. An estimator may
    # be biased by smoothing, and the other way round with the sizes swapped.
    offset = np.median(one - other)
    assert abs(offset) <= 2 * LARGEST_OFFSET, (
        f"{name}: with {few} and {many} rows and with {many} and {few} the log ratios "
        f"differ by {offset:.2f} nats in the median: the sample sizes scale the ratio."
    )


def check_finite_far_away(name, estimator):
    """The log ratio is finite at any row, however far from the data."""
    fitted = fit(estimator, *make_shift().pool())
    directions = np.array([[1, 0], [0, 1], [1, 1], [1, -1]])
    directions = np.concatenate([directions, -directions])
    X_far = np.concatenate([scale * directions for scale in (10.0, 1e3, 1e8)])
    for method in ("decision_function", "predict_ratio", "predict_proba"):
        values = np.asarray(getattr(fitted, method)(X_far))
        bad = ~np.isfinite(values.reshape(len(X_far), -1)).all(axis=1)
        assert not bad.any(), (
            f"{name}: {method} is not finite far from the data: "
            f"{values[bad][0]} at {X_far[bad][0]}."
        )


def check_derived_methods(name, estimator):
    """predict_ratio, predict_proba and predict follow from decision_function."""
    fitted = fit(estimator, *make_shift().pool())
    X, _ = new_rows()
    log_ratio = log_ratio_of(fitted, X)
    assert log_ratio.shape == (len(X),), (
        f"{name}: decision_function must be of shape {(len(X),)}, got "
        f"{log_ratio.shape}."
    )
    expected = {
        "predict_ratio": exp_log_ratio(log_ratio),
        "predict_proba": np.column_stack([expit(-log_ratio), expit(log_ratio)]),
        "predict_log_proba": np.column_stack(
            [log_expit(-log_ratio), log_expit(log_ratio)]
        ),
        "predict": fitted.classes_[(log_ratio > 0).astype(int)],
    }
    for method, value in expected.items():
        np.testing.assert_allclose(
            getattr(fitted, method)(X),
            value,
            rtol=1e-6,
            err_msg=f"{name}: {method} does not follow from decision_function.",
        )


def check_score_is_log_loss(name, estimator):
    """The score is minus the class-balanced log loss, on unequal samples too."""
    fitted = fit(estimator, *make_shift().pool())
    X, y = make_shift((50, 150), random_state=1).pool()
    log_ratio = log_ratio_of(fitted, X)
    score, expected = fitted.score(X, y), -ratio_log_loss(y, log_ratio)
    assert np.isclose(score, expected), (
        f"{name}: score is {score:.6g}, but minus the log loss is {expected:.6g}."
    )
    if not has_fit_parameter(estimator, "sample_weight"):
        return
    weight = np.random.default_rng(0).integers(0, 3, len(y))
    score = fitted.score(X, y, sample_weight=weight)
    expected = -ratio_log_loss(y, log_ratio, sample_weight=weight)
    assert np.isclose(score, expected), (
        f"{name}: score with weights is {score:.6g}, but minus the weighted log loss "
        f"is {expected:.6g}."
    )


def check_rows_are_independent(name, estimator):
    """The ratio at a row does not depend on the rows it is asked for together with."""
    fitted = fit(estimator, *make_shift().pool())
    X, _ = new_rows()
    together = expit(log_ratio_of(fitted, X))
    order = np.random.default_rng(0).permutation(len(X))
    apart = np.empty_like(together)
    for rows in (order[:1], *np.array_split(order[1:], 7)):
        apart[rows] = expit(log_ratio_of(fitted, X[rows]))
    # Room for sums in another order, in single precision.
    np.testing.assert_allclose(
        apart,
        together,
        atol=1e-5,
        err_msg=f"{name}: the ratio at a row depends on the other rows of X.",
    )


def check_fit_is_repeatable(name, estimator):
    """One random_state gives one ratio, to the bit, in a new fit and in a refit."""
    X, y = make_shift().pool()
    X_new, _ = new_rows()
    fitted = fit(estimator, X, y)
    expected = log_ratio_of(fitted, X_new)
    message = f"{name}: two fits with one random_state differ."
    np.testing.assert_array_equal(
        log_ratio_of(fit(estimator, X, y), X_new), expected, message
    )
    fitted.fit(*make_shift((80, 120), random_state=2, warp="cubic").pool())
    np.testing.assert_array_equal(
        log_ratio_of(fitted.fit(X, y), X_new),
        expected,
        f"{name}: a refit depends on the fit before.",
    )


def check_global_seeds(name, estimator):
    """With a random_state the global seeds are neither read nor changed."""
    X, y = make_shift().pool()
    X_new, _ = new_rows()
    torch = sys.modules.get("torch")
    states = [random.getstate(), np.random.get_state()]  # noqa: NPY002
    states.append(torch and torch.get_rng_state())
    ratios = []
    try:
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            if torch:
                torch.manual_seed(seed)
            before = state_of_generators(torch)
            ratios.append(log_ratio_of(fit(estimator, X, y), X_new))
            after = state_of_generators(torch)
            changed = [
                library for library in before if before[library] != after[library]
            ]
            assert not changed, f"{name}: fit changes the global seed of {changed}."
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        if torch:
            torch.set_rng_state(states[2])
    np.testing.assert_array_equal(
        *ratios, f"{name}: the fit depends on the global seeds, despite random_state."
    )


def check_input_is_not_modified(name, estimator):
    """fit and the predictions leave X, y and sample_weight as they are."""
    X, y = make_shift().pool()
    arrays = {"X": X, "y": y}
    if has_fit_parameter(estimator, "sample_weight"):
        arrays["sample_weight"] = np.random.default_rng(0).uniform(0.5, 2, len(y))
    copies = {key: array.copy() for key, array in arrays.items()}
    fitted = seeded(estimator).fit(**arrays)
    fitted.predict_ratio(X)
    for key, array in arrays.items():
        assert np.array_equal(array, copies[key]), f"{name}: {key} is modified."


def check_pickling(name, estimator):
    """A pickle gives the same ratio."""
    fitted = fit(estimator, *make_shift().pool())
    X_new, _ = new_rows()
    np.testing.assert_array_equal(
        log_ratio_of(pickle.loads(pickle.dumps(fitted)), X_new),
        log_ratio_of(fitted, X_new),
        f"{name}: the ratio changes with pickling.",
    )


def check_cloning(name, estimator):
    """A clone of a fitted estimator is not fitted, and fits the same."""
    X, y = make_shift().pool()
    X_new, _ = new_rows()
    fitted = fit(estimator, X, y)
    copy = clone(fitted)
    for method in ("decision_function", "predict_ratio", "predict_proba", "predict"):
        try:
            getattr(copy, method)(X_new)
        except NotFittedError:
            continue
        raise AssertionError(f"{name}: {method} before fit raised no NotFittedError.")
    np.testing.assert_array_equal(
        log_ratio_of(copy.fit(X, y), X_new),
        log_ratio_of(fitted, X_new),
        f"{name}: the ratio changes with cloning.",
    )


def check_errors(name, estimator):
    """Bad input raises an error that says what is wrong."""
    for what, pattern, arguments in bad_fits(estimator):
        assert_raises(name, what, pattern, seeded(estimator).fit, **arguments)
    X, y = make_shift().pool()
    fitted = fit(estimator, X, y)
    for method in ("decision_function", "predict_ratio"):
        predict = getattr(fitted, method)
        assert_raises(name, "a missing column", r"feature", predict, X[:, :1])
        bad = np.full((1, 2), np.inf if takes_missing(estimator) else np.nan)
        assert_raises(name, "NaN at predict", r"\bX\b", predict, bad)
    assert_raises(name, "a label unseen in fit", r"\by\b|label", fitted.score, X, y + 1)
    assert_raises(
        name, "one label in score", r"class|label", fitted.score, X[y == 1], y[y == 1]
    )


def check_dataframe(name, estimator):
    """A DataFrame serves as X, and its columns are held to at predict."""
    import pandas as pd

    X, y = make_shift().pool()
    X_new, _ = new_rows()
    frame, frame_new = (pd.DataFrame(rows, columns=["b", "a"]) for rows in (X, X_new))
    fitted = fit(estimator, frame, y)
    assert list(fitted.feature_names_in_) == ["b", "a"], (
        f"{name}: feature_names_in_ must be the columns of X."
    )
    np.testing.assert_allclose(
        expit(log_ratio_of(fitted, frame_new)),
        expit(log_ratio_of(fit(estimator, X, y), X_new)),
        rtol=1e-7,
        err_msg=f"{name}: the ratio fitted on a DataFrame differs.",
    )
    for other in (frame_new[["a", "b"]], frame_new.rename(columns={"a": "c"})):
        assert_raises(name, "other columns", r"feature", fitted.predict_ratio, other)


def yield_ratio_checks(estimator: BaseEstimator) -> Iterator[Callable]:
    """List the checks that apply to an estimator.

    Parameters
    ----------
    estimator : estimator instance
        Density-ratio estimator. The checks of weights apply where ``fit`` takes
        ``sample_weight``; those of failed fits not to a pipeline of scikit-learn's,
        whose first steps are fitted before the last can reject its input.

    Yields
    ------
    check : callable
        To be called as ``check(name, estimator)``; raises AssertionError.

    Examples
    --------
    >>> from skdre import KMMRatio
    >>> from skdre.utils.estimator_checks import yield_ratio_checks
    >>> first = next(yield_ratio_checks(KMMRatio()))
    >>> first("KMMRatio", KMMRatio())
    """
    yield check_is_binary_classifier
    yield check_rank_correlation_with_truth
    yield check_scale_against_truth
    yield check_ratio_is_one_for_equal_distributions
    yield check_swapped_labels
    yield check_label_names
    yield check_row_order
    yield check_sample_sizes
    yield check_finite_far_away
    yield check_derived_methods
    yield check_score_is_log_loss
    yield check_rows_are_independent
    yield check_fit_is_repeatable
    yield check_global_seeds
    yield check_input_is_not_modified
    yield check_pickling
    yield check_cloning
    yield check_errors
    yield check_parameters_set_after_fit
    if not isinstance(estimator, Pipeline) or isinstance(estimator, AtomicFitMixin):
        yield check_failed_fit_changes_nothing
        yield check_late_failure_changes_nothing
    if find_spec("pandas"):
        yield check_dataframe
    if has_fit_parameter(estimator, "sample_weight"):
        yield check_weights_are_repetitions
        yield check_copies_inform_of_nothing
        yield check_weight_zero_is_absence
        yield check_weights_count_inside_domains


def check_ratio_estimator(estimator: BaseEstimator) -> None:
    """Hold a density-ratio estimator to the contract of skdre.

    Parameters
    ----------
    estimator : estimator instance
        Density-ratio estimator, or a :class:`skdre.Pipeline` that ends in one. It is
        cloned, not fitted.

    Raises
    ------
    AssertionError
        At the first check that fails, with what was expected.

    See Also
    --------
    parametrize_with_ratio_checks : Each check as a test of pytest.
    sklearn.utils.estimator_checks.check_estimator : scikit-learn's own checks.

    Examples
    --------
    >>> from skdre import KMMRatio
    >>> from skdre.utils.estimator_checks import check_ratio_estimator
    >>> check_ratio_estimator(KMMRatio())
    """
    for check in yield_ratio_checks(estimator):
        check(type(estimator).__name__, estimator)


def parametrize_with_ratio_checks(
    estimators: Iterable[BaseEstimator],
    *,
    expected_failed_checks: Callable[[BaseEstimator], dict[str, str]] | None = None,
) -> Any:
    """Decorator that makes each check of each estimator a test of pytest.

    Parameters
    ----------
    estimators : list of estimator instances
        Density-ratio estimators; they are cloned, not fitted.
    expected_failed_checks : callable, default=None
        Takes an estimator, and returns a dict from the name of each check that is
        expected to fail to the reason.

    Returns
    -------
    decorator : pytest.MarkDecorator
        For a test with the arguments ``estimator`` and ``check``.

    Examples
    --------
    >>> from skdre import KMMRatio
    >>> from skdre.utils.estimator_checks import parametrize_with_ratio_checks
    >>> @parametrize_with_ratio_checks([KMMRatio(), KMMRatio(gamma=0.5)])
    ... def test_contract(estimator, check):
    ...     check(estimator)
    """
    import pytest

    cases = []
    for estimator in estimators:
        expected = expected_failed_checks(estimator) if expected_failed_checks else {}
        label = re.sub(r"\s+", "", str(estimator))
        for check in yield_ratio_checks(estimator):
            name = check.__name__
            marks: Any = ()
            if name in expected:
                marks = pytest.mark.xfail(reason=expected[name])
            bound = wraps(check)(partial(check, type(estimator).__name__))
            cases.append(
                pytest.param(estimator, bound, id=f"{label}-{name}", marks=marks)
            )
    return pytest.mark.parametrize(("estimator", "check"), cases)
