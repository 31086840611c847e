"""One rule for whatever takes a ratio estimator, and the log ratio of what passes."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skdre import (
    AutoRatio,
    ClassifierRatio,
    GaussianRatio,
    ImportanceWeighted,
    KMMRatio,
    MultinomialRatio,
    MutualInformation,
    TargetedSampler,
    TelescopingRatio,
    diagnose,
    divergence,
    importance_weighted_score,
    importance_weighted_scorer,
    inspection,
    mutual_information,
    pool,
    predict_log_ratio,
    predict_ratio,
    shift_importance,
    two_sample_test,
)
from skdre.base import check_is_ratio, is_ratio_estimator

RNG = np.random.default_rng(0)
# N(1, 1) against N(0, 1), of unequal sizes: log r = x - 1/2.
X, Y = pool(
    numerator=RNG.normal(1, 1, (200, 1)), denominator=RNG.normal(size=(2000, 1))
)
X_NEW = np.linspace(-2, 3, 11)[:, None]
GAUSSIAN = GaussianRatio()
PLAIN = LogisticRegression()


class TheirRatio(ClassifierMixin, BaseEstimator):
    """Of another package: it does not derive from ours, and has the mark."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        means = (X[y == label, 0].mean() for label in self.classes_)
        self.low_, self.high_ = means
        return self

    def decision_function(self, X):
        return (X[:, 0] - (self.low_ + self.high_) / 2) * (self.high_ - self.low_)

    def predict_ratio(self, X):
        return np.exp(self.decision_function(X))

    def predict_proba(self, X):
        probability = expit(self.decision_function(X))
        return np.column_stack([1 - probability, probability])


def soft(*members, **params):
    named = [(f"r{k}", each) for k, each in enumerate(members)]
    return VotingClassifier(named, voting="soft", **params)


def frozen(estimator):
    return FrozenEstimator(clone(estimator).fit(X, Y))


RATIOS = {
    "ratio": GAUSSIAN,
    "of another package": TheirRatio(),
    "pipeline": make_pipeline(StandardScaler(), GAUSSIAN),
    "grid": GridSearchCV(GAUSSIAN, {"shrink": [True, False]}, cv=2),
    "randomized": RandomizedSearchCV(GAUSSIAN, {"shrink": [True]}, n_iter=1, cv=2),
    "halving": HalvingGridSearchCV(GAUSSIAN, {"shrink": [True, False]}, cv=2),
    "swapped in": GridSearchCV(
        make_pipeline(StandardScaler(), PLAIN),
        {"logisticregression": [GAUSSIAN, ClassifierRatio()]},
        cv=2,
    ),
    "frozen": frozen(GAUSSIAN),
    "bagging": BaggingClassifier(GAUSSIAN, 5, random_state=0),
    "voting": soft(GAUSSIAN, ClassifierRatio()),
    "dropped": soft(GAUSSIAN, "drop", weights=[1, 2]),
    "stacking": StackingClassifier(
        [("a", PLAIN)],
        ClassifierRatio(),
        cv=2,
        stack_method="decision_function",
    ),
    "voting in a pipeline in a search": GridSearchCV(
        make_pipeline(StandardScaler(), soft(GAUSSIAN, TheirRatio())), {}, cv=2
    ),
    "bagged votes": BaggingClassifier(soft(GAUSSIAN), 5, random_state=0),
}

# What it is, and what the message is to name.
OTHERS = {
    "plain": (PLAIN, r"ClassifierRatio\(LogisticRegression\(\)\)"),
    "margins": (SVC(), r"ClassifierRatio\(SVC\(\), calibration='sigmoid'\)"),
    "pipeline": (make_pipeline(StandardScaler(), SVC()), r"ClassifierRatio\(SVC\(\)"),
    "search": (GridSearchCV(PLAIN, {"C": [1.0]}), "ClassifierRatio"),
    "randomized": (RandomizedSearchCV(PLAIN, {"C": [1.0]}), "ClassifierRatio"),
    "halving": (HalvingGridSearchCV(PLAIN, {"C": [1.0]}), "ClassifierRatio"),
    "swapped in": (
        GridSearchCV(
            make_pipeline(StandardScaler(), GAUSSIAN),
            {"gaussianratio": [GAUSSIAN, PLAIN]},
        ),
        r"ClassifierRatio\(LogisticRegression\(\)\)",
    ),
    "frozen": (frozen(PLAIN), r"ClassifierRatio\(LogisticRegression\(\)\)"),
    "bagged trees": (BaggingClassifier(), r"ClassifierRatio\(DecisionTreeClassifier"),
    "bagging": (BaggingClassifier(PLAIN), "ClassifierRatio"),
    "boosting": (AdaBoostClassifier(PLAIN), "ClassifierRatio"),
    "hard votes": (VotingClassifier([("a", GAUSSIAN)]), "voting='soft'"),
    "a plain vote": (soft(GAUSSIAN, PLAIN), r"ClassifierRatio\(LogisticRegression"),
    "stacking": (StackingClassifier([("a", GAUSSIAN)]), "ClassifierRatio"),
    "calibrated": (
        CalibratedClassifierCV(GAUSSIAN, method="isotonic"),
        r"ClassifierRatio\(GaussianRatio\(\), calibration='isotonic'\)",
    ),
    "weighted": (ImportanceWeighted(PLAIN, GAUSSIAN), "ClassifierRatio"),
    "regressor": (Ridge(), "no classifier"),
    "no refit": (GridSearchCV(GAUSSIAN, {}, refit=False), "refit=True"),
    "passthrough": (make_pipeline(StandardScaler(), "passthrough"), "passthrough"),
    "a class": (KMMRatio, "instance"),
}


@pytest.mark.parametrize("kind", RATIOS)
def test_the_ratio_is_that_of_equal_priors(kind):
    estimator = RATIOS[kind]
    check_is_ratio(estimator)
    assert is_ratio_estimator(estimator)
    estimator = clone(estimator).fit(X, Y)
    check_is_ratio(estimator, fitted=True)
    log_ratio = predict_log_ratio(estimator, X_NEW)
    # With the prior of the sample sizes it would be off by log(10) = 2.3.
    assert_allclose(log_ratio, X_NEW[:, 0] - 0.5, atol=0.7)
    assert_allclose(predict_ratio(estimator, X_NEW), np.exp(log_ratio))


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_ratio_is_refused_with_the_remedy(kind):
    estimator, remedy = OTHERS[kind]
    assert not is_ratio_estimator(estimator)
    with pytest.raises(
        ValueError, match=rf"(?s)^near must be a density-ratio.*{remedy}"
    ):
        check_is_ratio(estimator, "near")
    with pytest.raises(TypeError, match="must be a density-ratio"):
        predict_log_ratio(estimator, X_NEW)
    with pytest.raises(TypeError, match="must be a density-ratio"):
        predict_ratio(estimator, X_NEW)


@pytest.mark.parametrize("kind", ["search", "bagging", "stacking", "calibrated"])
def test_what_is_fitted_is_refused_too(kind):
    fitted = clone(OTHERS[kind][0]).fit(X, Y)
    with pytest.raises(ValueError, match="ClassifierRatio"):
        predict_ratio(fitted, X_NEW)


def test_a_fitted_search_is_what_it_has_found():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), GAUSSIAN),
        {"gaussianratio": [PLAIN, GAUSSIAN]},
        scoring=lambda ratio, X, y: float(hasattr(ratio[-1], "predict_ratio")),
        cv=2,
    ).fit(X, Y)
    assert not is_ratio_estimator(search)
    expected = search.best_estimator_.decision_function(X_NEW)
    assert_allclose(predict_log_ratio(search, X_NEW), expected)
    assert np.isfinite(float(divergence(search, X, Y, cv="prefit")))


def test_the_log_ratio_of_soft_votes_is_that_of_their_mean():
    vote = soft(GAUSSIAN, ClassifierRatio(), weights=[1, 3]).fit(X, Y)
    shares = [each.predict_proba(X_NEW)[:, 1] for each in vote.estimators_]
    expected = logit(np.average(shares, axis=0, weights=[1, 3]))
    assert_allclose(predict_log_ratio(vote, X_NEW), expected)
    # Far beyond where one probability is 1, and where the other one is 0.
    far = np.array([[-600.0], [60.0], [600.0], [1e6]])
    expected = GaussianRatio().fit(X, Y).decision_function(far)
    found = predict_log_ratio(soft(GAUSSIAN).fit(X, Y), far)
    assert_allclose(found[:3], expected[:3])
    assert np.isfinite(found).all()
    assert found[3] > 700


def test_bagging_is_the_mean_of_its_members():
    bagging = clone(RATIOS["bagging"]).fit(X, Y)
    each = [member.decision_function(X_NEW) for member in bagging.estimators_]
    assert_allclose(predict_log_ratio(bagging, X_NEW), np.mean(each, axis=0))


def test_before_fit():
    for kind in ("ratio", "pipeline", "grid", "voting", "bagging"):
        with pytest.raises(NotFittedError):
            predict_ratio(clone(RATIOS[kind]), X_NEW)


# Whatever takes a ratio estimator.

Z, LABELS = X[:, [0, 0]] + RNG.normal(size=(len(X), 2)), (X[:, 0] > 0).astype(int)

TAKERS = {
    "divergence": lambda ratio: divergence(ratio, X, Y),
    "two_sample_test": lambda ratio: two_sample_test(ratio, X, Y),
    "refit": lambda ratio: two_sample_test(ratio, X, Y, method="refit"),
    "diagnose": lambda ratio: diagnose(ratio, X, Y),
    "shift_importance": lambda ratio: shift_importance(ratio, X, Y),
    "mutual_information": lambda ratio: mutual_information(X, Z, ratio),
    "MutualInformation": lambda ratio: MutualInformation(ratio).fit(X, Z),
    "ImportanceWeighted": lambda ratio: ImportanceWeighted(PLAIN, ratio).fit(
        X, LABELS, X_target=X + 1
    ),
    "no target rows": lambda ratio: ImportanceWeighted(PLAIN, ratio).fit(X, LABELS),
    "TargetedSampler": lambda ratio: TargetedSampler(StandardScaler(), ratio),
    "candidates": lambda ratio: AutoRatio([("it", ratio)]).fit(X, Y),
    "TelescopingRatio": lambda ratio: TelescopingRatio(ratio).fit(X, Y),
    "score": lambda ratio: importance_weighted_score(
        clone(PLAIN).fit(X, LABELS), X, LABELS, ratio=ratio
    ),
    "scorer": lambda ratio: importance_weighted_scorer(ratio),
}


class Unfit(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        raise AssertionError("It is decided before anything is fitted.")


@pytest.mark.parametrize(
    "taker", [each for each in TAKERS if each != "TargetedSampler"]
)
def test_all_of_the_package_asks(taker):
    for ratio in (Unfit(), make_pipeline(StandardScaler(), Unfit()), soft(Unfit())):
        with pytest.raises(ValueError, match=r"ClassifierRatio\(Unfit\(\)\)"):
            TAKERS[taker](ratio)


def test_a_sampler_asks():
    class Flow(StandardScaler):
        def fit(self, X, y=None):
            raise AssertionError("It is decided before anything is fitted.")

        def sample(self, n_samples, random_state=None):
            raise NotImplementedError

    with pytest.raises(ValueError, match=r"^ratio must.*ClassifierRatio\(SVC\(\)"):
        TargetedSampler(Flow(), SVC()).fit(X, Y)


def test_fitted_ones_are_refused_as_well():
    plain = clone(PLAIN).fit(X, Y)
    for take in (
        lambda: divergence(plain, X, Y, cv="prefit"),
        lambda: diagnose(plain, X, Y, cv="prefit"),
        lambda: shift_importance(plain, X, Y, cv="prefit"),
        lambda: two_sample_test(plain, X, Y, method="prefit"),
    ):
        with pytest.raises(ValueError, match=r"ClassifierRatio\(LogisticRegression"):
            take()


@pytest.mark.parametrize(
    "name",
    [
        "LogRatioHistogramDisplay",
        "LogRatioSurfaceDisplay",
        "RatioCalibrationDisplay",
        "WeightConcentrationDisplay",
    ],
)
def test_displays_ask(name):
    rows = np.column_stack([X, X**2])
    fitted = make_pipeline(StandardScaler(), SVC()).fit(rows, Y)
    arguments = (
        (Y,) if name in ("LogRatioHistogramDisplay", "RatioCalibrationDisplay") else ()
    )
    with pytest.raises(TypeError, match=r"ClassifierRatio\(SVC\(\)"):
        getattr(inspection, name).from_estimator(fitted, rows, *arguments)


@pytest.mark.parametrize(
    "kind", ["of another package", "bagging", "voting", "stacking"]
)
def test_wrappers_serve_in_all_of_the_package(kind):
    """Of unequal sizes: the divergence of N(1, 1) from N(0, 1) is 1/2."""
    ratio = RATIOS[kind]
    estimate = divergence(ratio, X, Y, random_state=0)
    assert abs(float(estimate) - 0.5) < 4 * estimate.standard_error
    assert two_sample_test(ratio, X, Y, n_permutations=99, random_state=0).pvalue < 0.05
    assert abs(diagnose(ratio, X, Y)["calibration_intercept"].value) < 0.25
    found = shift_importance(ratio, X, Y, n_repeats=2, random_state=0)
    # Nats of log loss, and no accuracy.
    alone = shift_importance(GAUSSIAN, X, Y, n_repeats=2, random_state=0)
    assert_allclose(found.importances_mean, alone.importances_mean, atol=0.1)
    model = ImportanceWeighted(PLAIN, ratio).fit(X, LABELS, X_target=X + 1)
    assert_allclose(model.sample_weight_.mean(), 1)
    assert np.isfinite(importance_weighted_score(model, X, LABELS))
    assert importance_weighted_scorer(model.ratio_)(model, X, LABELS) > 0.9


def test_telescoping_over_votes():
    ratio = TelescopingRatio(soft(GAUSSIAN), n_bridges=2, random_state=0).fit(X, Y)
    assert_allclose(ratio.decision_function(X_NEW), X_NEW[:, 0] - 0.5, atol=0.7)


def test_classifier_ratio_adds_no_prior_to_votes_of_ratios():
    """Voting takes no weights, and its members know of no prior."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratio = ClassifierRatio(soft(GAUSSIAN)).fit(X, Y)
    expected = GaussianRatio().fit(X, Y).decision_function(X_NEW)
    assert ratio.log_prior_odds_ == 0
    assert_allclose(ratio.decision_function(X_NEW), expected, atol=1e-6)


def test_multinomial_ratio_takes_no_votes_of_ratios():
    with pytest.raises(ValueError, match="TelescopingRatio takes"):
        MultinomialRatio(soft(GAUSSIAN)).fit(X, Y)
