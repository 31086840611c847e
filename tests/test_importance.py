"""ImportanceWeighted and importance-weighted validation, against steps by hand."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, make_scorer, max_error, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    parametrize_with_checks,
)

from skdre.base import DensityRatioMixin, pool, split_samples
from skdre.importance import (
    ImportanceWeighted,
    TargetRows,
    importance_weighted_score,
    importance_weighted_scorer,
)
from skdre.weighting import effective_sample_size, importance_weights

# -- doubles and data -------------------------------------------------------------


class GaussianRatio(DensityRatioMixin, BaseEstimator):
    """Plug-in ratio of two Gaussians with one covariance; notes what it is fitted on.

    `sign=-1` inverts it, the mistake that tests of weights must find.
    """

    def __init__(self, ridge=1e-9, sign=1):
        self.ridge = ridge
        self.sign = sign

    def fit(self, X, y, sample_weight=None):
        FITS.append((np.asarray(X), np.asarray(y)))
        samples = split_samples(self, X, y, sample_weight)
        means, covariance = [], self.ridge * np.eye(samples.numerator.shape[1])
        for rows, weight in (
            (samples.numerator, samples.numerator_weight),
            (samples.denominator, samples.denominator_weight),
        ):
            mean = np.average(rows, 0, weight)
            weight = np.ones(len(rows)) if weight is None else weight
            centred = rows - mean
            covariance += (centred.T * weight) @ centred / weight.sum() / 2
            means.append(mean)
        self.classes_ = samples.classes
        self.coef_ = self.sign * np.linalg.solve(covariance, means[0] - means[1])
        self.intercept_ = -self.coef_ @ (means[0] + means[1]) / 2
        return self

    def decision_function(self, X):
        return self._validate_rows(X) @ self.coef_ + self.intercept_


FITS = []


@pytest.fixture(autouse=True)
def fits():
    FITS.clear()
    return FITS


def make_shift(n_source=120, n_target=80, *, seed=0):
    """N(0, I) -> N((1, 0), I) in two dimensions, labels bent along the first axis."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_source, 2))
    X_target = rng.normal(size=(n_target, 2)) + np.array([1, 0])
    y = (X[:, 1] + X[:, 0] ** 2 + 0.3 * rng.normal(size=n_source) > 0.5).astype(int)
    return X, y, X_target


def stack(X, y, X_target, mark, *, seed=0):
    """Source and target rows in one shuffled X, target rows marked in y."""
    X_all = np.concatenate([X, X_target])
    y_all = np.concatenate([y, np.full(len(X_target), mark)])
    order = np.random.default_rng(seed).permutation(len(X_all))
    return X_all[order], y_all[order]


def by_hand(X, X_target):
    """Importance weights of mean 1 in two plain steps."""
    ratio = GaussianRatio().fit(*pool(numerator=X_target, denominator=X))
    weights = ratio.predict_ratio(X)
    return weights / weights.mean()


# -- scikit-learn's own checks ----------------------------------------------------


class WithTarget(ImportanceWeighted):
    """Has target rows in every check, which only know fit(X, y): those of X."""

    def fit(self, X, y, sample_weight=None, *, X_target=None):
        if X_target is None:
            X_target = X
            if isinstance(X, np.ndarray) and X.dtype == float and X.ndim == 2:
                # The same set of rows however often a row is repeated or weighted.
                weight = np.ones(len(X)) if sample_weight is None else sample_weight
                X_target = np.unique(X[np.ravel(weight) != 0], axis=0)
        return super().fit(X, y, sample_weight, X_target=X_target)


# Without target rows, tests/test_common.py asks the same of ImportanceWeighted.
@pytest.mark.filterwarnings("ignore:There are no target rows")
@parametrize_with_checks(
    [WithTarget(inner, GaussianRatio()) for inner in (LogisticRegression(), Ridge())]
)
def test_sklearn_checks(estimator, check):
    check(estimator)


# -- the weights ------------------------------------------------------------------


def test_weights_are_the_true_ratio():
    rng = np.random.default_rng(0)
    X, X_target = rng.normal(size=(20_000, 1)), rng.normal(1.0, 1.0, (20_000, 1))
    model = ImportanceWeighted(LinearRegression(), GaussianRatio())
    model.fit(X, X.ravel(), X_target=X_target)
    truth = np.exp(X.ravel() - 0.5)
    assert_allclose(model.sample_weight_, truth, rtol=0.2)
    assert np.mean(np.abs(np.log(model.sample_weight_ / truth))) < 0.03


@pytest.mark.parametrize(
    "inner", [SVC(tol=1e-8), LogisticRegression(), RandomForestClassifier]
)
def test_equals_the_two_steps_by_hand(inner):
    inner = inner if isinstance(inner, BaseEstimator) else inner(10, random_state=0)
    X, y, X_target = make_shift()
    model = ImportanceWeighted(inner, GaussianRatio()).fit(X, y, X_target=X_target)
    assert_allclose(model.sample_weight_, by_hand(X, X_target))
    # The very same digits: trees split ties of impurity by rounding.
    expected = clone(inner).fit(X, y, sample_weight=model.sample_weight_)
    assert_array_equal(model.predict(X_target), expected.predict(X_target))
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        assert hasattr(model, method) == hasattr(expected, method)
        if hasattr(expected, method):
            with np.errstate(divide="ignore"):
                got = getattr(model, method)(X_target)
                assert_array_equal(got, getattr(expected, method)(X_target))


@pytest.mark.parametrize("labels", [(0, 1), (0.0, 1.0), ("no", "yes"), (3, 7)])
@pytest.mark.parametrize("as_object", [False, True])
def test_unlabelled_rows_in_X_equal_X_target(labels, as_object):
    X, y, X_target = make_shift()
    y = np.array(labels)[y]
    apart = ImportanceWeighted(LogisticRegression(), GaussianRatio())
    apart.fit(X, y, X_target=X_target)
    mark = "-1" if isinstance(labels[0], str) else -1
    X_all, y_all = stack(X, y, X_target, mark)
    if as_object and mark == "-1":
        y_all = y_all.astype(object)
    inside = clone(apart).fit(X_all, y_all)
    assert_allclose(inside.estimator_.coef_, apart.estimator_.coef_, rtol=1e-6)
    assert_array_equal(inside.classes_, labels)
    assert inside.sample_weight_.shape == (len(X),)
    source = np.flatnonzero(y_all != mark)
    expected = importance_weights(inside.ratio_.decision_function(X_all[source]))
    assert_allclose(inside.sample_weight_, expected)


def test_object_labels_with_integer_mark():
    X, y, X_target = make_shift()
    names = np.array(["a", "b"])[y].astype(object)
    X_all = np.concatenate([X, X_target])
    y_all = np.concatenate([names, np.full(len(X_target), -1, dtype=object)])
    model = ImportanceWeighted(LogisticRegression(), GaussianRatio()).fit(X_all, y_all)
    assert_array_equal(model.classes_, ["a", "b"])
    assert len(model.sample_weight_) == len(X)


@pytest.mark.parametrize("n_outputs", [None, 2])
def test_regression_with_nan_marks(n_outputs):
    X, _, X_target = make_shift()
    y = X[:, 0] ** 2
    mark = np.nan
    if n_outputs:
        y, mark = np.column_stack([y, X[:, 1]]), [np.nan, np.nan]
    X_all = np.concatenate([X, X_target])
    y_all = np.concatenate([y, np.full((len(X_target), *y.shape[1:]), mark)])
    inside = ImportanceWeighted(Ridge(), GaussianRatio()).fit(X_all, y_all)
    apart = clone(inside).fit(X, y, X_target=X_target)
    expected = Ridge().fit(X, y, sample_weight=by_hand(X, X_target))
    for model in (inside, apart):
        assert is_regressor(model)
        assert_allclose(model.estimator_.coef_, expected.coef_)
        assert_allclose(model.predict(X_target), expected.predict(X_target))


def test_flattening_clip_and_normalize():
    X, y, X_target = make_shift()
    ratio = GaussianRatio().fit(*pool(numerator=X_target, denominator=X))
    raw = ratio.predict_ratio(X)

    def weights(**params):
        model = ImportanceWeighted(LogisticRegression(), GaussianRatio(), **params)
        return model.fit(X, y, X_target=X_target).sample_weight_

    assert_allclose(weights(normalize=False), raw)
    assert_allclose(weights(), raw / raw.mean())
    assert_allclose(weights(flattening=0), np.ones(len(X)))
    flat = np.minimum(raw**0.5, 1.2)
    assert_allclose(weights(flattening=0.5, clip=1.2, normalize=False), flat)
    assert_allclose(weights(flattening=0.5, clip=1.2), flat / flat.mean())


def test_a_misspecified_line_approaches_the_targets_line():
    # y = x², source around 0, target around 1.5: the target's best line has slope 3.
    rng = np.random.default_rng(0)
    X = rng.normal(0.0, 1.0, (4000, 1))
    X_target = rng.normal(1.0, 0.7, (4000, 1))
    y = X.ravel() ** 2 + 0.1 * rng.normal(size=4000)
    optimal = LinearRegression().fit(X_target, X_target.ravel() ** 2)

    class QuadraticRatio(GaussianRatio):
        """Gaussians of unequal variance: the same plug-in in the space (x, x²)."""

        def fit(self, X, y, sample_weight=None):
            samples = split_samples(self, X, y, sample_weight)
            self.classes_ = samples.classes
            p, q = (
                (rows.mean(), rows.var())
                for rows in (samples.numerator, samples.denominator)
            )
            self.moments_ = p, q
            return self

        def decision_function(self, X):
            (m_p, v_p), (m_q, v_q) = self.moments_
            x = self._validate_rows(X).ravel()
            log_p = -((x - m_p) ** 2) / v_p / 2 - np.log(v_p) / 2
            log_q = -((x - m_q) ** 2) / v_q / 2 - np.log(v_q) / 2
            return self.sign * (log_p - log_q)

    def distance(line):
        grid = np.linspace(0, 2, 20)[:, None]
        return np.abs(line.predict(grid) - optimal.predict(grid)).max()

    def weighted(sign):
        model = ImportanceWeighted(LinearRegression(), QuadraticRatio(sign=sign))
        return distance(model.fit(X, y, X_target=X_target))

    unweighted = distance(LinearRegression().fit(X, y))
    assert unweighted > 1.5
    assert weighted(1) < 0.15 * unweighted
    with pytest.warns(UserWarning, match="effective sample size"):
        assert weighted(-1) > unweighted


def test_sample_weight_counts_as_repetition():
    X, y, X_target = make_shift()
    rng = np.random.default_rng(1)
    count = rng.integers(0, 4, len(X))
    model = ImportanceWeighted(LogisticRegression(tol=1e-10), GaussianRatio())
    weighted = clone(model).fit(X, y, count, X_target=X_target)
    repeated = clone(model).fit(
        np.repeat(X, count, axis=0), np.repeat(y, count), X_target=X_target
    )
    assert_allclose(weighted.ratio_.coef_, repeated.ratio_.coef_)
    assert_allclose(weighted.estimator_.coef_, repeated.estimator_.coef_, rtol=1e-4)
    owner = np.repeat(np.arange(len(X)), count)
    summed = np.bincount(owner, repeated.sample_weight_, minlength=len(X))
    assert_allclose(weighted.sample_weight_, summed)
    assert_allclose(weighted.sample_weight_.sum(), count.sum())


def test_sample_weight_of_target_rows_inside_X():
    X, y, X_target = make_shift()
    X_all, y_all = stack(X, y, X_target, -1)
    count = np.random.default_rng(1).integers(0, 3, len(X_all))
    model = ImportanceWeighted(LogisticRegression(tol=1e-10), GaussianRatio())
    weighted = clone(model).fit(X_all, y_all, sample_weight=count)
    repeated = clone(model).fit(
        np.repeat(X_all, count, axis=0), np.repeat(y_all, count)
    )
    assert_allclose(weighted.ratio_.coef_, repeated.ratio_.coef_)
    assert_allclose(weighted.estimator_.coef_, repeated.estimator_.coef_, rtol=1e-4)


def test_frozen_ratio_is_not_fitted_again():
    X, y, X_target = make_shift()
    ratio = GaussianRatio().fit(*pool(numerator=X_target, denominator=X))
    model = ImportanceWeighted(LogisticRegression(), FrozenEstimator(ratio))
    model.fit(X[:60], y[:60], X_target=X_target[:5])
    assert len(FITS) == 1
    raw = ratio.predict_ratio(X[:60])
    assert_allclose(model.sample_weight_, raw / raw.mean())


def test_effective_sample_size_and_its_warning():
    X, y, X_target = make_shift()
    model = ImportanceWeighted(LogisticRegression(), GaussianRatio())
    model.fit(X, y, X_target=X_target)
    expected = effective_sample_size(model.sample_weight_)
    assert_allclose(model.effective_sample_size_, expected)
    assert 0.05 * len(X) < expected < len(X)
    with pytest.warns(UserWarning, match=r"effective sample size .* of 120 source"):
        far = clone(model).fit(X, y, X_target=X_target + np.array([200.0, 0]))
    assert far.effective_sample_size_ < 1.1
    # Of ten rows a single one is more than 5 %.
    few = np.argsort(y)[[0, 1, 2, 3, 4, -5, -4, -3, -2, -1]]
    with pytest.warns(UserWarning, match=r"effective sample size .* of 10 source"):
        clone(model).fit(X[few], y[few], X_target=X_target + np.array([200.0, 0]))


def test_without_target_rows_it_warns_and_every_weight_is_one():
    X, y, _ = make_shift()
    model = ImportanceWeighted(LogisticRegression(), GaussianRatio())
    with pytest.warns(UserWarning, match="X_target"):
        model.fit(X, y)
    assert model.ratio_ is None
    assert_array_equal(model.sample_weight_, np.ones(len(X)))
    plain = LogisticRegression().fit(X, y)
    assert_allclose(model.decision_function(X), plain.decision_function(X))
    assert model.score(X, y) == plain.score(X, y)


# -- who gets the weights ---------------------------------------------------------


def test_pipelines_weight_their_last_step():
    X, y, X_target = make_shift()
    weights = by_hand(X, X_target)
    inner = make_pipeline(
        StandardScaler(), make_pipeline(FunctionTransformer(), SVC(C=0.5, tol=1e-8))
    )
    model = ImportanceWeighted(inner, GaussianRatio()).fit(X, y, X_target=X_target)
    scaler = StandardScaler().fit(X)
    expected = SVC(C=0.5, tol=1e-8).fit(scaler.transform(X), y, sample_weight=weights)
    assert_allclose(
        model.decision_function(X_target),
        expected.decision_function(scaler.transform(X_target)),
        rtol=1e-4,
    )


def test_a_search_inside_hands_the_weights_on():
    X, y, X_target = make_shift()
    inner = GridSearchCV(
        make_pipeline(StandardScaler(), SVC(tol=1e-8)), {"svc__C": [0.1, 5.0]}
    )
    model = ImportanceWeighted(inner, GaussianRatio()).fit(X, y, X_target=X_target)
    expected = clone(inner).fit(X, y, svc__sample_weight=by_hand(X, X_target))
    assert model.estimator_.best_params_ == expected.best_params_
    assert_allclose(
        model.decision_function(X_target),
        expected.decision_function(X_target),
        rtol=1e-4,
    )
    unweighted = clone(inner).fit(X, y).decision_function(X_target)
    assert np.abs(model.decision_function(X_target) - unweighted).max() > 1e-3


def test_a_transformed_target_hands_the_weights_on():
    X, _, X_target = make_shift()
    y = np.exp(X[:, 0])
    inner = TransformedTargetRegressor(LinearRegression(), func=np.log1p)
    inner.inverse_func = np.expm1
    model = ImportanceWeighted(inner, GaussianRatio()).fit(X, y, X_target=X_target)
    expected = LinearRegression().fit(X, np.log1p(y), by_hand(X, X_target))
    assert_allclose(model.estimator_.regressor_.coef_, expected.coef_)


@pytest.mark.parametrize(
    "inner",
    [
        KNeighborsClassifier(),
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [1, 2]}),
    ],
    ids=["plain", "pipeline", "search"],
)
@pytest.mark.parametrize("routing", [False, True])
def test_an_estimator_without_weights_is_an_error_before_anything_is_fitted(
    inner, routing
):
    X, y, X_target = make_shift()
    model = ImportanceWeighted(inner, GaussianRatio())
    # With routing it is scikit-learn that asks a router's parts for their requests.
    routed = routing and not isinstance(inner, KNeighborsClassifier)
    error = UnsetMetadataPassedError if routed else ValueError
    message = "sample_weight" if routed else r"estimator=.* cannot be weighted"
    with (
        config_context(enable_metadata_routing=routing),
        pytest.raises(error, match=message),
    ):
        model.fit(X, y, X_target=X_target)
    assert not FITS


def test_a_ratio_without_weights_is_an_error_only_with_sample_weight():
    class Unweighted(GaussianRatio):
        def fit(self, X, y):
            return super().fit(X, y)

    X, y, X_target = make_shift()
    model = ImportanceWeighted(LogisticRegression(), Unweighted())
    model.fit(X, y, X_target=X_target)
    FITS.clear()
    with pytest.raises(ValueError, match=r"ratio=.* cannot be weighted"):
        model.fit(X, y, np.ones(len(X)), X_target=X_target)
    assert not FITS


def test_neither_classifier_nor_regressor_is_an_error():
    X, y, X_target = make_shift()
    with pytest.raises(ValueError, match="estimator must be a classifier or"):
        ImportanceWeighted(KMeans(), GaussianRatio()).fit(X, y, X_target=X_target)


def test_routing_gives_the_weights_to_those_who_request_them():
    X, y, X_target = make_shift()
    weights = by_hand(X, X_target)
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        inner = make_pipeline(scaler, SVC(tol=1e-8).set_fit_request(sample_weight=True))
        model = ImportanceWeighted(inner, GaussianRatio())
        model.fit(X, y, X_target=X_target)
        decision = model.decision_function(X_target)
    scaler = StandardScaler().fit(X, sample_weight=weights)
    expected = SVC(tol=1e-8).fit(scaler.transform(X), y, sample_weight=weights)
    assert_allclose(
        decision, expected.decision_function(scaler.transform(X_target)), rtol=1e-4
    )


def test_routing_needs_no_request_of_a_plain_estimator():
    X, y, X_target = make_shift()
    plain = ImportanceWeighted(SVC(), GaussianRatio()).fit(X, y, X_target=X_target)
    with config_context(enable_metadata_routing=True):
        routed = ImportanceWeighted(SVC(), GaussianRatio()).fit(X, y, X_target=X_target)
    assert_array_equal(
        plain.decision_function(X_target), routed.decision_function(X_target)
    )


def test_routing_asks_for_missing_requests_before_anything_is_fitted():
    X, y, X_target = make_shift()
    with config_context(enable_metadata_routing=True):
        inner = make_pipeline(
            StandardScaler(), SVC().set_fit_request(sample_weight=True)
        )
        with pytest.raises(UnsetMetadataPassedError, match="StandardScaler"):
            ImportanceWeighted(inner, GaussianRatio()).fit(X, y, X_target=X_target)
        inner = make_pipeline(FunctionTransformer(), SVC())
        with pytest.raises(ValueError, match="set_fit_request"):
            ImportanceWeighted(inner, GaussianRatio()).fit(X, y, X_target=X_target)
    assert not FITS


def test_routing_in_a_search_and_in_an_outer_pipeline():
    X, y, X_target = make_shift(120, 81)
    with config_context(enable_metadata_routing=True):
        model = ImportanceWeighted(SVC(), GaussianRatio())
        model.set_fit_request(X_target=True, sample_weight=True)
        model.set_score_request(sample_weight=True)
        count = np.arange(len(X)) % 3 + 1
        search = GridSearchCV(model, {"estimator__C": [0.1, 5.0]})
        search.fit(X, y, X_target=X_target, sample_weight=count)
        expected = clone(model).set_params(**search.best_params_)
        expected.fit(X, y, count, X_target=X_target)
        assert_array_equal(
            search.decision_function(X_target), expected.decision_function(X_target)
        )

        # The pipeline transforms X_target with its own steps when asked to.
        outer = Pipeline(
            [("scale", StandardScaler()), ("model", clone(model))],
            transform_input=["X_target"],
        )
        outer.fit(X, y, X_target=X_target)
    scaler = StandardScaler().fit(X)
    inside = ImportanceWeighted(SVC(), GaussianRatio())
    inside.fit(scaler.transform(X), y, X_target=scaler.transform(X_target))
    assert_allclose(outer[-1].sample_weight_, inside.sample_weight_)


# -- a good citizen of scikit-learn -----------------------------------------------


def test_tags_follow_the_inner_estimator():
    classifier = ImportanceWeighted(SVC(), GaussianRatio())
    regressor = ImportanceWeighted(Ridge(), GaussianRatio())
    assert is_classifier(classifier)
    assert not is_regressor(classifier)
    assert is_regressor(regressor)
    assert not is_classifier(regressor)
    assert get_tags(classifier).target_tags.required
    assert not get_tags(classifier).input_tags.sparse
    assert not hasattr(regressor, "decision_function")
    assert not hasattr(classifier, "predict_proba")
    assert hasattr(classifier, "decision_function")
    assert hasattr(ImportanceWeighted(LogisticRegression()), "predict_proba")


def test_parameters_clone_and_pickle():
    X, y, X_target = make_shift()
    model = ImportanceWeighted(SVC(), make_pipeline(StandardScaler(), GaussianRatio()))
    model.set_params(estimator__C=3.0, ratio__gaussianratio__ridge=0.1)
    params = clone(model).get_params()
    assert params["estimator__C"] == 3.0
    assert params["ratio__gaussianratio__ridge"] == 0.1
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.fit(X, y, X_target=X_target)
    assert not hasattr(model.estimator, "support_")
    assert not hasattr(model.ratio[-1], "coef_")
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(
        again.decision_function(X_target), model.decision_function(X_target)
    )
    assert again.score(X, y) == model.score(X, y)


def test_dataframes_keep_their_columns():
    X, y, X_target = make_shift()
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(c=["u", "v"] * 60)
    target = pd.DataFrame(X_target, columns=["a", "b"]).assign(c="u")
    ratio = make_pipeline(
        ColumnTransformer([("keep", "passthrough", ["a", "b"])]), GaussianRatio()
    )
    inner = make_pipeline(
        ColumnTransformer([("keep", "passthrough", ["b", "a"])]), LogisticRegression()
    )
    model = ImportanceWeighted(inner, ratio)
    model.fit(frame, pd.Series(y), X_target=target[["c", "b", "a"]])
    assert_array_equal(model.feature_names_in_, ["a", "b", "c"])
    assert model.n_features_in_ == 3
    assert_allclose(model.sample_weight_, by_hand(X, X_target))

    both = pd.concat([frame, target])
    y_all = pd.concat([pd.Series(y), pd.Series(-1, index=range(len(target)))])
    inside = clone(model).fit(both, y_all)
    assert_allclose(inside.sample_weight_, model.sample_weight_)
    assert inside.score(both, y_all) == model.score(frame, y)

    # Columns are matched by name also where nothing but their order tells them apart.
    numbers = ImportanceWeighted(LogisticRegression(), GaussianRatio())
    numbers.fit(frame[["a", "b"]], y, X_target=target[["b", "a"]])
    assert_allclose(numbers.sample_weight_, model.sample_weight_)

    with pytest.raises(TypeError, match="X_target"):
        clone(model).fit(frame, y, X_target=X_target)
    with pytest.raises(ValueError, match=r"X_target must have the columns.*'c'"):
        clone(model).fit(frame, y, X_target=target[["a", "b"]])


# -- ambiguous and bad input ------------------------------------------------------


def test_labels_minus_one_and_one_need_target_rows_apart():
    X, y, X_target = make_shift()
    signs = 2 * y - 1
    model = ImportanceWeighted(LogisticRegression(), GaussianRatio())
    with pytest.raises(ValueError, match=r"one class beside -1.*X_target"):
        model.fit(X, signs)
    model.fit(X, signs, X_target=X_target)
    assert_array_equal(model.classes_, [-1, 1])
    assert_allclose(model.sample_weight_, by_hand(X, X_target))
    # -1 is a class of this model, so its rows are scored like all others.
    weights = model.sample_weight_
    expected = accuracy_score(signs, model.predict(X), sample_weight=weights)
    assert_allclose(model.score(X, signs), expected)


BAD_FITS = {
    "target twice": (
        lambda X, y, Z: (Ridge(), X, np.where(y, np.nan, 1.0), {"X_target": Z}),
        ValueError,
        "one way",
    ),
    "no source": (
        lambda X, y, Z: (SVC(), X, np.full(len(X), -1), {}),
        ValueError,
        "labelled source rows",
    ),
    "all NaN": (
        lambda X, y, Z: (Ridge(), X, np.full(len(X), np.nan), {}),
        ValueError,
        "labelled source rows",
    ),
    "NaN class": (
        lambda X, y, Z: (SVC(), X, np.where(y, np.nan, 1.0), {"X_target": Z}),
        ValueError,
        "y contains NaN.*-1",
    ),
    "None class": (
        lambda X, y, Z: (SVC(), X, np.where(y, None, "a"), {}),
        ValueError,
        "y contains NaN or None.*'-1'",
    ),
    "NA class": (
        lambda X, y, Z: (SVC(), X, np.where(y, pd.NA, "a"), {}),
        ValueError,
        "y contains NaN or None",
    ),
    "half a NaN row": (
        lambda X, y, Z: (Ridge(), X, np.column_stack([y, y / y]), {}),
        ValueError,
        "some outputs",
    ),
    "infinite value": (
        lambda X, y, Z: (Ridge(), X, np.where(y, np.inf, 1.0), {}),
        ValueError,
        "y contains infinity",
    ),
    "no y": (lambda X, y, Z: (SVC(), X, None, {}), ValueError, "y to be passed"),
    "lengths": (
        lambda X, y, Z: (SVC(), X, y[1:], {"X_target": Z}),
        ValueError,
        "inconsistent",
    ),
    "columns": (
        lambda X, y, Z: (SVC(), X, y, {"X_target": Z[:, :1]}),
        ValueError,
        "X_target must have as many columns",
    ),
    "flat target": (
        lambda X, y, Z: (SVC(), X, y, {"X_target": Z[:, 0]}),
        ValueError,
        "X_target must be two-dim",
    ),
    "empty target": (
        lambda X, y, Z: (SVC(), X, y, {"X_target": Z[:0]}),
        ValueError,
        "X_target is empty",
    ),
    "NaN target": (
        lambda X, y, Z: (SVC(), X, y, {"X_target": Z * np.nan}),
        ValueError,
        "X_target contains NaN",
    ),
    "negative weight": (
        lambda X, y, Z: (SVC(), X, y, {"sample_weight": -y, "X_target": Z}),
        ValueError,
        "[Nn]egative",
    ),
    "no source weight": (
        lambda X, y, Z: (SVC(), X, y, {"sample_weight": 0 * y, "X_target": Z}),
        ValueError,
        "sample_weight",
    ),
    "no target weight": (
        lambda X, y, Z: (
            SVC(),
            np.tile(X, (2, 1)),
            np.append(y, 0 * y - 1),
            {"sample_weight": np.append(y, 0 * y)},
        ),
        ValueError,
        "sample_weight is zero for every target row",
    ),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_bad_input_is_named_before_anything_is_fitted(case):
    build, error, message = BAD_FITS[case]
    X, y, X_target = make_shift()
    with np.errstate(invalid="ignore"):
        inner, X, y, options = build(X, y, X_target)
    with pytest.raises(error, match=message):
        ImportanceWeighted(inner, GaussianRatio()).fit(X, y, **options)
    assert not FITS


def test_sparse_rows_are_named():
    from scipy.sparse import csr_array

    X, y, X_target = make_shift()
    model = ImportanceWeighted(SVC(), GaussianRatio())
    with pytest.raises(TypeError, match="Sparse data was passed for X,"):
        model.fit(csr_array(X), y, X_target=X_target)
    with pytest.raises(TypeError, match="Sparse data was passed for X_target"):
        model.fit(X, y, X_target=csr_array(X_target))


# -- cross-validation -------------------------------------------------------------


def test_search_splits_target_rows_with_the_source_rows():
    X, y, X_target = make_shift(90, 60)
    X_all, y_all = stack(X, y, X_target, -1)
    model = ImportanceWeighted(SVC(), make_pipeline(StandardScaler(), GaussianRatio()))
    grid = {"estimator__C": [0.1, 5.0], "ratio__gaussianratio__ridge": [1e-9, 1.0]}
    search = GridSearchCV(model, grid, error_score="raise").fit(X_all, y_all)

    folds = list(StratifiedKFold(5).split(X_all, y_all))
    assert len(FITS) == 5 * 4 + 1
    scores = np.empty((4, 5))
    for k, params in enumerate(search.cv_results_["params"]):
        for i, (train, test) in enumerate(folds):
            # Nothing but the training fold's rows has been seen, all of them.
            labelled = train[y_all[train] != -1]
            target = train[y_all[train] == -1]
            assert len(target) == 48
            ratio = make_pipeline(StandardScaler(), GaussianRatio())
            ratio.set_params(gaussianratio__ridge=params["ratio__gaussianratio__ridge"])
            ratio.fit(*pool(numerator=X_all[target], denominator=X_all[labelled]))
            weights = importance_weights(ratio.decision_function(X_all[labelled]))
            svc = SVC(C=params["estimator__C"])
            svc.fit(X_all[labelled], y_all[labelled], sample_weight=weights)
            test = test[y_all[test] != -1]
            scores[k, i] = accuracy_score(
                y_all[test],
                svc.predict(X_all[test]),
                sample_weight=np.exp(ratio.decision_function(X_all[test])),
            )
    got = [search.cv_results_[f"split{i}_test_score"] for i in range(5)]
    assert_allclose(got, scores.T)
    assert len(np.unique(scores)) > 5


def test_search_over_a_regressor_with_nan():
    X, _, X_target = make_shift(90, 60)
    y = X[:, 0] ** 2 + X[:, 1]
    X_all, y_all = np.concatenate([X, X_target]), np.append(y, np.full(60, np.nan))
    model = ImportanceWeighted(Ridge(0.1), GaussianRatio())
    cv = KFold(3, shuffle=True, random_state=0)
    grid = {"estimator__alpha": [0.1, 1000.0]}
    search = GridSearchCV(model, grid, cv=cv, error_score="raise").fit(X_all, y_all)
    assert search.best_params_ == {"estimator__alpha": 0.1}
    for i, (train, test) in enumerate(cv.split(X_all)):
        target = X_all[train][np.isnan(y_all[train])]
        train, test = (rows[~np.isnan(y_all[rows])] for rows in (train, test))
        model.fit(X_all[train], y_all[train], X_target=target)
        expected = r2_score(
            y_all[test],
            model.predict(X_all[test]),
            sample_weight=model.ratio_.predict_ratio(X_all[test]),
        )
        assert_allclose(search.cv_results_[f"split{i}_test_score"][0], expected)

    # Folds of consecutive rows leave test folds without a label: said, not guessed.
    with pytest.raises(ValueError, match=r"no labelled row.*SourceFold"):
        cross_val_score(model, X_all, y_all, error_score="raise")


@pytest.mark.parametrize("labels", [("no", "yes"), (0.0, 1.0)])
def test_search_with_other_labels(labels):
    X, y, X_target = make_shift(90, 60)
    mark = "-1" if isinstance(labels[0], str) else -1.0
    X_all, y_all = stack(X, np.array(labels)[y], X_target, mark)
    X_num, y_num = stack(X, y, X_target, -1)
    model = ImportanceWeighted(SVC(), GaussianRatio())
    assert_allclose(
        cross_val_score(model, X_all, y_all, error_score="raise"),
        cross_val_score(model, X_num, y_num, error_score="raise"),
    )


def test_cross_val_predict_knows_no_class_minus_one():
    X_all, y_all = stack(*make_shift(90, 60), -1)
    model = ImportanceWeighted(LogisticRegression(), GaussianRatio())
    assert set(cross_val_predict(model, X_all, y_all)) == {0, 1}


def test_X_target_of_another_length_is_used_whole_in_every_fold():
    X, y, X_target = make_shift(120, 81)
    model = ImportanceWeighted(SVC(), GaussianRatio())
    search = GridSearchCV(model, {"estimator__C": [0.1, 5.0]}, error_score="raise")
    search.fit(X, y, X_target=X_target)
    assert len(FITS) == 11
    for rows, domain in FITS:
        assert_array_equal(rows[domain == 1], X_target)
    for fitted in (search.best_estimator_, search):
        assert_allclose(
            importance_weighted_score(fitted, X, y), search.best_estimator_.score(X, y)
        )


@pytest.mark.parametrize("kind", ["array", "frame", "list"])
@pytest.mark.parametrize("n_target", [100, 61])
def test_target_rows_are_used_whole_in_every_fold(kind, n_target):
    X, y, X_target = make_shift(100, n_target)
    convert = {"array": np.asarray, "frame": pd.DataFrame, "list": np.ndarray.tolist}
    held = TargetRows(convert[kind](X_target))
    X_given = convert[kind](X)
    model = ImportanceWeighted(SVC(), GaussianRatio())
    whole = clone(model).fit(X, y, X_target=X_target)
    assert_array_equal(
        clone(model).fit(X_given, y, X_target=held).sample_weight_,
        whole.sample_weight_,
    )
    FITS.clear()

    grid = {"estimator__C": [0.1, 5.0]}
    search = GridSearchCV(model, grid, cv=3, error_score="raise")
    search.fit(X_given, y, X_target=held)
    assert_array_equal(search.best_estimator_.sample_weight_, whole.sample_weight_)
    validation = {"cv": 3, "params": {"X_target": held}}
    scores = cross_val_score(model, X_given, y, error_score="raise", **validation)
    cross_val_predict(model, X_given, y, **validation)
    outer = make_pipeline(FunctionTransformer(), model)
    params = {"importanceweighted__X_target": held}
    again = cross_val_score(outer, X_given, y, cv=3, params=params)
    assert_array_equal(again, scores)
    with config_context(enable_metadata_routing=True):
        routed = clone(model).set_fit_request(X_target=True)
        again = cross_val_score(routed, X_given, y, error_score="raise", **validation)
        assert_array_equal(again, scores)
        search = GridSearchCV(routed, grid, cv=3, error_score="raise")
        search.fit(X_given, y, X_target=held)
        outer = make_pipeline(FunctionTransformer(), routed)
        again = cross_val_score(outer, X_given, y, error_score="raise", **validation)
        assert_array_equal(again, scores)
    assert len(FITS) == 7 + 3 + 3 + 3 + 3 + 7 + 3
    for rows, domain in FITS:
        assert_array_equal(rows[domain == 1], X_target)


def test_target_rows_reach_other_processes():
    X, y, X_target = make_shift(60, 60)
    model = ImportanceWeighted(SVC(), GaussianRatio())
    held = TargetRows(X_target)
    assert repr(held) == "TargetRows(ndarray of shape (60, 2))"
    validation = {"cv": 2, "params": {"X_target": held}}
    alone = cross_val_score(model, X, y, **validation)
    with joblib.parallel_backend("threading"):
        assert_array_equal(cross_val_score(model, X, y, n_jobs=2, **validation), alone)
    assert_array_equal(pickle.loads(pickle.dumps(held)).X, X_target)


def test_X_target_as_long_as_X_is_allowed_in_a_search():
    """scikit-learn cuts it to the training rows; the last fit has all of it."""
    X, y, X_target = make_shift(100, 100)
    model = ImportanceWeighted(SVC(), GaussianRatio())
    search = GridSearchCV(model, {"estimator__C": [5.0]}, error_score="raise")
    search.fit(X, y, X_target=X_target)
    assert [int((domain == 1).sum()) for _, domain in FITS] == [80] * 5 + [100]
    with pytest.warns(UserWarning, match="TargetRows"):
        clone(model).fit(X, y)


def test_an_own_fit_inside_a_cross_validation_may_use_equal_lengths():
    X, y, X_target = make_shift(100, 100)

    class Own(SVC):
        def fit(self, X, y):
            target = X_target[: len(X)]
            self.model_ = ImportanceWeighted(SVC(), GaussianRatio())
            self.model_.fit(X, y, X_target=target)
            return super().fit(X, y, sample_weight=self.model_.sample_weight_)

    assert np.isfinite(cross_val_score(Own(), X, y, error_score="raise")).all()


# -- importance-weighted scores ---------------------------------------------------


def test_score_estimates_the_targets_accuracy():
    X, y, X_target = make_shift(20_000, 20_000)
    model = SVC(kernel="linear").fit(X[:300], y[:300])
    rng = np.random.default_rng(5)
    X_new = rng.normal(size=(20_000, 2)) + np.array([1, 0])
    noise = 0.3 * rng.normal(size=20_000)
    truth = model.score(X_new, (X_new[:, 1] + X_new[:, 0] ** 2 + noise > 0.5))
    ratio = GaussianRatio().fit(*pool(numerator=X_target, denominator=X))
    inverted = GaussianRatio(sign=-1).fit(*pool(numerator=X_target, denominator=X))
    held_out = X[300:], y[300:]
    estimate = importance_weighted_score(model, *held_out, ratio=ratio)
    plain = model.score(*held_out)
    wrong = importance_weighted_score(model, *held_out, ratio=inverted)
    assert abs(plain - truth) > 0.05
    assert abs(estimate - truth) < 0.02
    assert abs(wrong - truth) > 0.04


def test_score_weights_and_their_options():
    X, y, X_target = make_shift()
    ratio = GaussianRatio().fit(*pool(numerator=X_target, denominator=X))
    model = LogisticRegression().fit(X, y)
    count = np.arange(len(X)) % 3
    raw = ratio.predict_ratio(X)
    for options, weights in (
        ({}, raw),
        ({"sample_weight": count}, raw * count),
        ({"flattening": 0.3}, raw**0.3),
        ({"clip": 1.5}, np.minimum(raw, 1.5)),
    ):
        expected = accuracy_score(y, model.predict(X), sample_weight=weights)
        got = importance_weighted_score(model, X, y, ratio=ratio, **options)
        assert_allclose(got, expected)
    expected = log_loss(y, model.predict_proba(X), sample_weight=raw)
    own = make_scorer(
        log_loss, greater_is_better=False, response_method="predict_proba"
    )
    for scoring in ("neg_log_loss", own):
        got = importance_weighted_score(model, X, y, ratio=ratio, scoring=scoring)
        assert_allclose(got, -expected)

    def margin(estimator, X, y, sample_weight):
        return np.average(
            estimator.decision_function(X) * (2 * y - 1), 0, sample_weight
        )

    got = importance_weighted_score(model, X, y, ratio=ratio, scoring=margin)
    assert_allclose(got, margin(model, X, y, raw))


def test_default_score_uses_the_plain_ratio_and_skips_unlabelled_rows():
    X, y, X_target = make_shift()
    X_all, y_all = stack(X, y, X_target, -1)
    model = ImportanceWeighted(
        LogisticRegression(), GaussianRatio(), flattening=0.2, clip=1.1
    ).fit(X_all, y_all)
    raw = model.ratio_.predict_ratio(X)
    expected = accuracy_score(y, model.predict(X), sample_weight=raw)
    assert_allclose(model.score(X_all, y_all), expected)
    assert_allclose(model.score(X, y), expected)
    assert_allclose(importance_weighted_score(model, X, y), expected)
    count = np.arange(len(X_all)) % 2
    got = model.score(X_all, y_all, sample_weight=count)
    kept = (count > 0) & (y_all != -1)
    assert_allclose(got, model.score(X_all[kept], y_all[kept]))


def test_the_ratio_is_found_in_pipelines_and_searches():
    X, y, X_target = make_shift()
    X_all, y_all = stack(X, y, X_target, -1)
    outer = make_pipeline(StandardScaler(), ImportanceWeighted(SVC(), GaussianRatio()))
    outer.fit(X_all, y_all)
    assert_allclose(
        importance_weighted_score(outer, X_all, y_all), outer.score(X_all, y_all)
    )
    search = GridSearchCV(outer, {"importanceweighted__estimator__C": [1.0, 5.0]})
    search.fit(X_all, y_all)
    assert_allclose(
        importance_weighted_score(search, X_all, y_all), search.score(X_all, y_all)
    )


def test_scorer_in_a_search_over_a_plain_estimator():
    X, y, X_target = make_shift()
    ratio = GaussianRatio().fit(*pool(numerator=X_target, denominator=X))
    scorer = importance_weighted_scorer(ratio, scoring="balanced_accuracy")
    search = GridSearchCV(SVC(), {"C": [0.1, 5.0]}, scoring=scorer).fit(X, y)
    for i, (train, test) in enumerate(StratifiedKFold(5).split(X, y)):
        svc = SVC(C=0.1).fit(X[train], y[train])
        expected = importance_weighted_score(
            svc, X[test], y[test], ratio=ratio, scoring="balanced_accuracy"
        )
        assert_allclose(search.cv_results_[f"split{i}_test_score"][0], expected)
    assert pickle.loads(pickle.dumps(scorer))(svc, X, y) == scorer(svc, X, y)
    assert "balanced_accuracy" in repr(scorer)


def test_scorer_judges_all_candidates_by_one_ratio():
    X, y, X_target = make_shift(90, 60)
    X_all, y_all = stack(X, y, X_target, -1)
    ratio = GaussianRatio().fit(*pool(numerator=X_target, denominator=X))
    model = ImportanceWeighted(SVC(), GaussianRatio())
    grid = {"flattening": [0.0, 1.0], "ratio__ridge": [1e-9, 1.0]}
    scoring = {
        "one": importance_weighted_scorer(ratio),
        "own": importance_weighted_scorer(),
    }
    search = GridSearchCV(model, grid, scoring=scoring, refit="one", cv=3)
    search.fit(X_all, y_all, sample_weight=np.ones(len(X_all)))
    results = search.cv_results_
    default = GridSearchCV(model, grid, cv=3).fit(X_all, y_all).cv_results_
    assert_allclose(results["mean_test_own"], default["mean_test_score"])
    # Without flattening the ratio does not touch the fit, nor one ratio the score.
    assert_allclose(results["mean_test_one"][0], results["mean_test_one"][1])
    assert results["mean_test_own"][0] != results["mean_test_own"][1]
    with config_context(enable_metadata_routing=True):
        routed = GridSearchCV(model, grid, scoring=scoring, refit="one", cv=3)
        routed.fit(X_all, y_all)
    assert_allclose(routed.cv_results_["mean_test_one"], results["mean_test_one"])


def test_choosing_by_weighted_scores_chooses_for_the_target():
    # A line is best where the source is dense, a step where the target is.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 1))
    y = np.where(X.ravel() > 1.0, rng.normal(size=1500), 2 * X.ravel())
    X_target = rng.normal(1.5, 1.0, (1500, 1))
    ratio = GaussianRatio().fit(*pool(numerator=X_target, denominator=X))
    candidates = {"alpha": [1e-3, 1e4]}
    by_source = GridSearchCV(Ridge(), candidates, scoring="neg_mean_squared_error")
    by_target = GridSearchCV(
        Ridge(),
        candidates,
        scoring=importance_weighted_scorer(ratio, scoring="neg_mean_squared_error"),
    )
    assert by_source.fit(X, y).best_params_ == {"alpha": 1e-3}
    assert by_target.fit(X, y).best_params_ == {"alpha": 1e4}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "ratio is needed"),
        ({"scoring": "nonsense"}, ValueError, "nonsense"),
        ({"scoring": make_scorer(max_error)}, ValueError, "takes no sample_weight"),
        ({"scoring": lambda e, X, y: 0.0}, ValueError, "takes no sample_weight"),
        ({"clip": -1.0}, ValueError, "clip"),
        ({"sample_weight": [1.0]}, ValueError, "inconsistent"),
        ({"ratio": GaussianRatio()}, NotFittedError, "GaussianRatio"),
    ],
)
def test_bad_scores_are_named(options, error, message):
    X, y, X_target = make_shift()
    if options and "ratio" not in options:
        ratio = GaussianRatio().fit(*pool(numerator=X_target, denominator=X))
        options = {"ratio": ratio} | options
    with pytest.raises(error, match=message):
        importance_weighted_score(SVC().fit(X, y), X, y, **options)


def test_unlabelled_rows_alone_cannot_be_scored():
    X, y, X_target = make_shift()
    model = ImportanceWeighted(SVC(), GaussianRatio()).fit(X, y, X_target=X_target)
    with pytest.raises(ValueError, match="no labelled row"):
        model.score(X_target, np.full(len(X_target), -1))
