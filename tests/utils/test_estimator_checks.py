"""The checks are checked: each broken ratio fails the checks meant for it, no other."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import sklearn
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

from skdre.base import DensityRatioMixin, split_samples
from skdre.datasets import make_warped_shift
from skdre.pipeline import make_pipeline
from skdre.utils.estimator_checks import (
    check_ratio_estimator,
    check_weights_count_inside_domains,
    parametrize_with_ratio_checks,
    yield_ratio_checks,
)


class GaussianRatio(DensityRatioMixin, BaseEstimator):
    """Ratio of two Gaussians of one covariance: correct on the checks' data."""

    def fit(self, X, y, sample_weight=None):
        return self._fit_samples(split_samples(self, X, y, sample_weight))

    def _fit_samples(self, samples):
        parts = (
            (samples.numerator, samples.numerator_weight),
            (samples.denominator, samples.denominator_weight),
        )
        means = [np.average(rows, 0, weight) for rows, weight in parts]
        covariances = [
            np.cov(rows.T, ddof=0, aweights=weight).reshape(rows.shape[1], -1)
            for rows, weight in parts
        ]
        # A little of the identity, for constant columns and single rows.
        precision = np.linalg.inv(sum(covariances) / 2 + 1e-6 * np.eye(len(means[0])))
        self.coef_ = precision @ (means[0] - means[1])
        self.intercept_ = -0.5 * (means[0] + means[1]) @ self.coef_
        self.classes_ = samples.classes
        return self

    def decision_function(self, X):
        return self._validate_rows(X) @ self.coef_ + self.intercept_


class NoisyRatio(GaussianRatio):
    """Correct, with a random error of the size that networks have."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def _fit_samples(self, samples):
        super()._fit_samples(samples)
        rng = check_random_state(self.random_state)
        self.coef_ = self.coef_ + 0.1 * rng.standard_normal(self.coef_.shape)
        return self


class UnweightedRatio(GaussianRatio):
    """Correct, and takes no weights."""

    def fit(self, X, y):
        return super().fit(X, y)


@parametrize_with_ratio_checks(
    [
        GaussianRatio(),
        NoisyRatio(),
        UnweightedRatio(),
        make_pipeline(StandardScaler(), GaussianRatio()),
    ]
)
def test_correct_ratio_passes(estimator, check):
    check(estimator)


def _failures_of_older_checks(estimator):
    if parse_version(sklearn.__version__) >= parse_version("1.7"):
        return {}
    return {
        "check_sample_weight_equivalence_on_dense_data": "before scikit-learn 1.7 the "
        "check swaps the labels of one of its two fits of a binary classifier"
    }


@parametrize_with_checks(
    [GaussianRatio()], expected_failed_checks=_failures_of_older_checks
)
def test_mixin_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_reference_against_the_densities():
    shift = make_warped_shift(20_000, 2, random_state=0)
    X = shift.denominator[:100]
    mean = np.full(2, np.sqrt(0.5))
    truth = multivariate_normal(mean).logpdf(X) - multivariate_normal([0, 0]).logpdf(X)
    log_ratio = GaussianRatio().fit(*shift.pool()).decision_function(X)
    np.testing.assert_allclose(log_ratio, truth, atol=0.1)


class Inverted(GaussianRatio):
    def decision_function(self, X):
        return -super().decision_function(X)


class Constant(GaussianRatio):
    def decision_function(self, X):
        return np.zeros(len(super().decision_function(X)))


class TenTimes(GaussianRatio):
    def decision_function(self, X):
        return super().decision_function(X) + np.log(10)


class Extreme(GaussianRatio):
    """Overconfident: the log ratio times eight, as an overfitted network's."""

    def _fit_samples(self, samples):
        super()._fit_samples(samples)
        self.coef_, self.intercept_ = 8 * self.coef_, 8 * self.intercept_
        return self


class CountsRows(GaussianRatio):
    """Forgets to divide by the prior: the odds of a plain classifier."""

    def fit(self, X, y, sample_weight=None):
        samples = split_samples(self, X, y, sample_weight)
        self._fit_samples(samples)
        n_rows = [len(samples.numerator_index), len(samples.denominator_index)]
        self.intercept_ += np.log(n_rows[0] / n_rows[1])
        return self


class CountsWeights(GaussianRatio):
    def fit(self, X, y, sample_weight=None):
        samples = split_samples(self, X, y, sample_weight)
        self._fit_samples(samples)
        if sample_weight is not None:
            weight = np.asarray(sample_weight)
            p, q = weight[samples.numerator_index], weight[samples.denominator_index]
            self.intercept_ += np.log(p.mean() / q.mean())
        return self


class LaterRowsCountMore(GaussianRatio):
    def _fit_samples(self, samples):
        rising = np.linspace(1, 2, len(samples.numerator_row))
        rising = np.bincount(samples.numerator_row, rising)
        return super()._fit_samples(replace(samples, numerator_weight=rising))


class TrustsCopies(GaussianRatio):
    """Shrinks by the sum of the weights, as if it were a number of observations."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        total = len(y) if sample_weight is None else np.sum(sample_weight)
        self.coef_ = self.coef_ * total / (total + len(self.coef_) * 100)
        return self


class FirstLabelIsNumerator(GaussianRatio):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        if np.asarray(y)[0] != self.classes_[1]:
            self.coef_, self.intercept_ = -self.coef_, -self.intercept_
        return self


class OneIsNumerator(GaussianRatio):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        if self.classes_[0] == 1 or self.classes_[1] not in (1, 6):
            self.coef_, self.intercept_ = -self.coef_, -self.intercept_
        return self


class NumbersOnly(GaussianRatio):
    def fit(self, X, y, sample_weight=None):
        if y is not None and np.asarray(y).dtype.kind in "UO":
            y = np.asarray(y, dtype=float)
        return super().fit(X, y, sample_weight)


class MinusInfinityFarAway(GaussianRatio):
    def decision_function(self, X):
        far = np.linalg.norm(self._validate_rows(X), axis=1) > 100
        with np.errstate(divide="ignore"):
            return super().decision_function(X) + np.log(np.where(far, 0.0, 1.0))


class OverflowsFarAway(GaussianRatio):
    def predict_ratio(self, X):
        with np.errstate(over="ignore"):
            return np.exp(self.decision_function(X))


class IgnoresWeights(GaussianRatio):
    def fit(self, X, y, sample_weight=None):
        split_samples(self, X, y, sample_weight)
        keep = slice(None) if sample_weight is None else np.asarray(sample_weight) > 0
        return super().fit(X[keep], y[keep])


class KeepsRowsOfWeightZero(GaussianRatio):
    """Standardises by all rows before it drops those of weight zero."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        if sample_weight is not None and np.any(np.asarray(X) > 50):
            self.coef_ = self.coef_ / np.std(X, axis=0)
        return self


class ReadsGlobalSeed(GaussianRatio):
    def _fit_samples(self, samples):
        super()._fit_samples(samples)
        state = np.random.get_state()  # noqa: NPY002
        self.coef_ = self.coef_ + 1e-9 * np.random.uniform()  # noqa: NPY002
        np.random.set_state(state)  # noqa: NPY002
        return self


class SetsGlobalSeed(GaussianRatio):
    def _fit_samples(self, samples):
        np.random.seed(0)  # noqa: NPY002
        return super()._fit_samples(samples)


class NotRepeatable(GaussianRatio):
    """Small noise that no seed decides."""

    def _fit_samples(self, samples):
        super()._fit_samples(samples)
        self.coef_ = self.coef_ * (1 + 1e-9 * np.random.default_rng().uniform())
        return self


class WarmStarts(GaussianRatio):
    def _fit_samples(self, samples):
        before = getattr(self, "coef_", None)
        super()._fit_samples(samples)
        if before is not None:
            self.coef_ = 0.9 * self.coef_ + 0.1 * before
        return self


class ModifiesX(GaussianRatio):
    def fit(self, X, y, sample_weight=None):
        if isinstance(X, np.ndarray):
            np.round(X, 9, out=X)
        return super().fit(X, y, sample_weight)


class ModifiesWeights(GaussianRatio):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        if sample_weight is not None:
            sample_weight /= 2
        return self


class FitsInPlace(GaussianRatio):
    """Changes the coefficients of the last fit before all is checked."""

    def fit(self, X, y, sample_weight=None):
        if hasattr(self, "coef_"):
            self.coef_ *= 0
        return super().fit(X, y, sample_weight)


class HalfFits(GaussianRatio):
    """Sets attributes before all is checked, past the mixin that puts them back."""


def _fit_half(self, X, y, sample_weight=None):
    self.coef_ = np.zeros(2)
    return super(HalfFits, self).fit(X, y, sample_weight)


class FailsLate(GaussianRatio):
    """Sets its results one after the other, past the mixin."""


def _fit_in_turns(self, X, y, sample_weight=None):
    super(FailsLate, self).fit(X, y, sample_weight)
    self.intercept_ = float(self.intercept_)
    return self


HalfFits.fit, FailsLate.fit = _fit_half, _fit_in_turns


class ReadsParameters(GaussianRatio):
    """Predicts with a parameter, as it is at that time."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def decision_function(self, X):
        return self.factor * super().decision_function(X)


class NormalisesOverBatch(GaussianRatio):
    def decision_function(self, X):
        log_ratio = super().decision_function(X)
        return log_ratio - np.median(log_ratio)


class ForgetsInPickle(GaussianRatio):
    def __getstate__(self):
        return {**super().__getstate__(), "intercept_": 0.0}


class ClonesFitted(GaussianRatio):
    def __sklearn_clone__(self):
        return deepcopy(self)


class FittedByDefault(GaussianRatio):
    def decision_function(self, X):
        if not hasattr(self, "coef_"):
            return np.zeros(len(X))
        return super().decision_function(X)


class OtherProbability(GaussianRatio):
    def predict_proba(self, X):
        return super().predict_proba(X)[:, ::-1]


class ScoresAccuracy(GaussianRatio):
    def score(self, X, y, sample_weight=None):
        super().score(X, y, sample_weight)
        return np.average(self.predict(X) == y, weights=sample_weight)


class ScoresWithoutWeights(GaussianRatio):
    def score(self, X, y, sample_weight=None):
        return super().score(X, y)


class VagueErrors(GaussianRatio):
    def fit(self, X, y, sample_weight=None):
        try:
            return super().fit(X, y, sample_weight)
        except ValueError:
            raise ValueError("Bad input.") from None


class AcceptsThreeLabels(GaussianRatio):
    def fit(self, X, y, sample_weight=None):
        if y is not None and len(set(y)) == 3:
            y = np.asarray(y) > 0
        return super().fit(X, y, sample_weight)


class ForgetsColumns(GaussianRatio):
    def decision_function(self, X):
        return super().decision_function(np.asarray(X))


class NotAClassifier(GaussianRatio):
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = None
        return tags


BROKEN = {
    NotAClassifier: {"check_is_binary_classifier"},
    # swapping the labels still inverts it
    Inverted: {"check_rank_correlation_with_truth", "check_scale_against_truth"},
    Constant: {"check_rank_correlation_with_truth", "check_swapped_labels"},
    TenTimes: {
        "check_scale_against_truth",
        "check_ratio_is_one_for_equal_distributions",
    },
    Extreme: {
        "check_scale_against_truth",
        "check_ratio_is_one_for_equal_distributions",
    },
    FirstLabelIsNumerator: {"check_swapped_labels", "check_row_order"},
    OneIsNumerator: {"check_label_names"},
    NumbersOnly: {"check_label_names"},
    LaterRowsCountMore: {
        "check_row_order",
        "check_weights_are_repetitions",
        "check_copies_inform_of_nothing",
    },
    CountsRows: {"check_sample_sizes", "check_weights_are_repetitions"},
    TrustsCopies: {"check_copies_inform_of_nothing"},
    CountsWeights: {
        "check_weights_count_inside_domains",
        "check_weights_are_repetitions",
    },
    MinusInfinityFarAway: {"check_finite_far_away"},
    OverflowsFarAway: {"check_finite_far_away"},
    OtherProbability: {"check_derived_methods"},
    ScoresAccuracy: {"check_score_is_log_loss"},
    ScoresWithoutWeights: {"check_score_is_log_loss"},
    ReadsParameters: {"check_parameters_set_after_fit"},
    NormalisesOverBatch: {"check_rows_are_independent"},
    # and no two fits of it can be compared to the bit
    NotRepeatable: {
        "check_fit_is_repeatable",
        "check_global_seeds",
        "check_cloning",
    },
    WarmStarts: {"check_fit_is_repeatable"},
    ReadsGlobalSeed: {"check_global_seeds"},
    SetsGlobalSeed: {"check_global_seeds"},
    ModifiesX: {"check_input_is_not_modified"},
    ModifiesWeights: {"check_input_is_not_modified"},
    ForgetsInPickle: {"check_pickling"},
    ClonesFitted: {"check_cloning"},
    # after a failed fit too
    FittedByDefault: {"check_cloning", "check_late_failure_changes_nothing"},
    VagueErrors: {"check_errors"},
    AcceptsThreeLabels: {"check_errors", "check_failed_fit_changes_nothing"},
    HalfFits: {
        "check_failed_fit_changes_nothing",
        "check_late_failure_changes_nothing",
    },
    FailsLate: {"check_late_failure_changes_nothing"},
    # and the next fit's predictions are made with the zeros
    FitsInPlace: {
        "check_failed_fit_changes_nothing",
        "check_late_failure_changes_nothing",
    },
    ForgetsColumns: {"check_dataframe"},
    IgnoresWeights: {"check_weights_are_repetitions"},
    KeepsRowsOfWeightZero: {"check_weight_zero_is_absence"},
}


def _failed_checks(estimator):
    failed = set()
    for check in yield_ratio_checks(estimator):
        try:
            check("Broken", estimator)
        except (AssertionError, ValueError):
            failed.add(check.__name__)
    return failed


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_broken_ratio_fails_its_check(broken):
    assert _failed_checks(broken()) == BROKEN[broken]


def test_a_ratio_without_the_mark_is_none():
    class Unmarked(GaussianRatio):
        predict_ratio = property(lambda self: object().predict_ratio)

    with pytest.raises(AssertionError, match="known by its method predict_ratio"):
        check_ratio_estimator(Unmarked())


def test_every_check_is_failed_by_something():
    checks = {check.__name__ for check in yield_ratio_checks(GaussianRatio())}
    assert set().union(*BROKEN.values()) == checks


def test_check_ratio_estimator_runs_them_all():
    check_ratio_estimator(GaussianRatio())
    with pytest.raises(AssertionError, match="weights must count"):
        check_weights_count_inside_domains("CountsWeights", CountsWeights())
    with pytest.raises(AssertionError, match="changes with weights"):
        check_ratio_estimator(CountsWeights())


def test_expected_failures_are_marked():
    decorator = parametrize_with_ratio_checks(
        [Inverted()],
        expected_failed_checks=lambda estimator: {
            "check_rank_correlation_with_truth": "it is inverted"
        },
    )
    marked = {case.id for case in decorator.args[1] if case.marks}
    assert marked == {"Inverted()-check_rank_correlation_with_truth"}


def test_pipelines_and_estimators_without_weights_get_fewer_checks():
    def names(estimator):
        return {check.__name__ for check in yield_ratio_checks(estimator)}

    weights = {name for name in names(GaussianRatio()) if "weight" in name}
    weights |= {"check_copies_inform_of_nothing"}
    assert names(GaussianRatio()) - names(UnweightedRatio()) == weights
    assert len(weights) == 4
    assert names(make_pipeline(GaussianRatio())) == names(UnweightedRatio())
    of_scikit_learn = Pipeline([("ratio", GaussianRatio())])
    assert names(UnweightedRatio()) - names(of_scikit_learn) == {
        "check_failed_fit_changes_nothing",
        "check_late_failure_changes_nothing",
    }
