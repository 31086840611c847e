"""Weighted conformal intervals, against the definition and simulated coverage."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor

from skdre import GaussianRatio, ImportanceWeighted, WeightedConformalRegressor, pool
from skdre.base import DensityRatioMixin
from skdre.importance import TargetRows
from skdre.importance._conformal import weighted_quantiles

SHIFT = np.array([1.0, 0.0])


class TrueRatio(DensityRatioMixin, BaseEstimator):
    """The ratio of N(SHIFT, I) and N(0, I)."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return np.asarray(X) @ SHIFT - SHIFT @ SHIFT / 2


def draw(n, mean, rng):
    X = rng.normal(size=(n, 2)) + mean
    return X, X @ [1, 2] + rng.normal(size=n) * np.exp(0.6 * X[:, 0])


def fitted(seed=0, n=400, ratio=None, **params):
    rng = np.random.default_rng(seed)
    X, y = draw(n, 0, rng)
    X_target, _ = draw(n, SHIFT, rng)
    ratio = TrueRatio() if ratio is None else ratio
    model = WeightedConformalRegressor(
        LinearRegression(), ratio, random_state=seed, **params
    )
    return model.fit(X, y, X_target=X_target), (X, y, X_target), rng


def test_quantiles_by_definition():
    """The smallest score whose weighted share, the new row's included, is the level."""
    rng = np.random.default_rng(0)
    scores, log_weight = rng.exponential(size=30), rng.normal(size=30)
    new = np.append(rng.normal(size=20), [5.0, 1000.0, -1000.0])
    for level in (0.5, 0.8, 0.95):
        found = weighted_quantiles(scores, log_weight, new, level)
        for own, each in zip(new, found, strict=True):
            weights = np.exp(np.append(log_weight, min(own, 700)))
            share = weights / weights.sum()
            values = np.append(scores, np.inf)
            below = [share[values <= v].sum() for v in values]
            assert each == values[np.array(below) >= level].min()


def test_equal_weights_are_split_conformal():
    """ceil((n + 1) level)-th smallest residual; none for n = 8 and a level of 0.9."""
    scores = np.arange(1.0, 20.0)
    for n, expected in ((19, 18.0), (9, 9.0), (8, np.inf)):
        found = weighted_quantiles(scores[:n], np.zeros(n), np.zeros(1), 0.9)
        assert_array_equal(found, [expected])


def test_coverage_of_the_target():
    """Mean over draws, in standard errors; without weights it falls short."""
    coverage = {"true": [], "estimated": [], "none": []}
    for seed in range(40):
        for name, ratio in (("true", TrueRatio()), ("estimated", GaussianRatio())):
            model, (X, y, _), rng = fitted(seed, 600, ratio)
            X_new, y_new = draw(2000, SHIFT, rng)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                low, high = model.predict_interval(X_new, 0.8).T
            coverage[name].append(np.mean((low <= y_new) & (y_new <= high)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            plain = clone(model).fit(X, y)
        low, high = plain.predict_interval(X_new, 0.8).T
        coverage["none"].append(np.mean((low <= y_new) & (y_new <= high)))
    mean = {name: np.mean(each) for name, each in coverage.items()}
    error = {name: np.std(each) / np.sqrt(40) for name, each in coverage.items()}
    # The theorem has no upper bound here, but a continuous score has little room.
    assert -3 * error["true"] < mean["true"] - 0.8 < 0.02 + 3 * error["true"]
    assert abs(mean["estimated"] - 0.8) < 0.02 + 3 * error["estimated"]
    assert mean["none"] < 0.7


def test_the_steps_by_hand():
    model, (X, y, X_target), _ = fitted(ratio=GaussianRatio(), calibration_size=0.25)
    assert len(model.calibration_scores_) == 100
    # The rows held out are those whose residuals are there.
    residuals = np.abs(y - model.predict(X))
    held = np.isin(residuals, model.calibration_scores_)
    assert held.sum() == 100
    by_hand = ImportanceWeighted(LinearRegression(), GaussianRatio())
    by_hand.fit(X[~held], y[~held], X_target=X_target)
    assert_allclose(model.predict(X_target), by_hand.predict(X_target))
    log_ratio = by_hand.ratio_.decision_function(X[held])
    assert_allclose(np.sort(model.calibration_log_weight_), np.sort(log_ratio))
    interval = model.predict_interval(X_target[:5], 0.7)
    assert_allclose(interval.mean(axis=1), model.predict(X_target[:5]))
    half = weighted_quantiles(
        residuals[held], log_ratio, by_hand.ratio_.decision_function(X_target[:5]), 0.7
    )
    assert_allclose(interval[:, 1] - interval[:, 0], 2 * half)
    # Wider for a higher level.
    assert (np.ptp(model.predict_interval(X_target[:5], 0.8), axis=1) >= 2 * half).all()


def test_marked_rows_equal_rows_apart():
    model, (X, y, X_target), _ = fitted(ratio=GaussianRatio())
    marked = clone(model).fit(
        np.concatenate([X, X_target]), np.append(y, np.full(len(X_target), np.nan))
    )
    held = clone(model).fit(X, y, X_target=TargetRows(X_target))
    for other in (marked, held):
        assert_allclose(
            other.predict_interval(X_target[:9], 0.6),
            model.predict_interval(X_target[:9], 0.6),
        )


def test_weights_are_repetitions_and_absences():
    model, (X, y, X_target), _ = fitted(n=100)
    counts = np.random.default_rng(0).integers(0, 3, 100)
    one = clone(model).fit(X, y, counts, X_target=X_target)
    other = clone(model).fit(
        np.repeat(X, counts, 0), np.repeat(y, counts), X_target=X_target
    )
    assert_allclose(
        one.predict_interval(X_target, 0.6), other.predict_interval(X_target, 0.6)
    )


def test_infinite_intervals_are_said_as_such():
    model, _, _ = fitted()
    far = np.array([[0.0, 0.0], [8.0, 0.0]])
    with pytest.warns(UserWarning, match="1 of 2 intervals are infinite at level=0.9"):
        interval = model.predict_interval(far)
    assert np.isfinite(interval[0]).all()
    assert_array_equal(interval[1], [-np.inf, np.inf])


def test_unweighted_fit_with_weighted_intervals():
    model, (X, y, _), _ = fitted(flattening=0)
    assert_allclose(model.sample_weight_, 1)
    assert np.std(model.calibration_log_weight_) > 0.5
    held = np.isin(np.abs(y - model.predict(X)), model.calibration_scores_)
    plain = LinearRegression().fit(X[~held], y[~held])
    assert_allclose(model.predict(X), plain.predict(X))


def test_frames_and_frozen_ratios():
    model, (X, y, X_target), _ = fitted(ratio=GaussianRatio())
    frame, target = (pd.DataFrame(each, columns=["a", "b"]) for each in (X, X_target))
    named = clone(model).fit(frame, y, X_target=target)
    assert list(named.feature_names_in_) == ["a", "b"]
    assert_allclose(
        named.predict_interval(target, 0.5), model.predict_interval(X_target, 0.5)
    )
    ratio = GaussianRatio().fit(*pool(numerator=X_target, denominator=X))
    frozen = WeightedConformalRegressor(Ridge(), FrozenEstimator(ratio), random_state=0)
    frozen.fit(X, y, X_target=X_target)
    assert_array_equal(
        np.isin(frozen.calibration_log_weight_, ratio.decision_function(X)), True
    )


def test_bad_input():
    model, (X, y, X_target), _ = fitted()
    with pytest.raises(ValueError, match="must be a regressor"):
        WeightedConformalRegressor(LogisticRegression()).fit(X, y > 0)
    with pytest.raises(ValueError, match="1d array"):
        WeightedConformalRegressor(MultiOutputRegressor(Ridge())).fit(
            X, np.column_stack([y, y]), X_target=X_target
        )
    with pytest.raises(ValueError, match="leaves no row"):
        clone(model).set_params(calibration_size=0.99).fit(
            X[:2], y[:2], X_target=X_target
        )
    with pytest.raises(ValueError, match="ratio"):
        WeightedConformalRegressor(Ridge(), LogisticRegression()).fit(X, y)
    for level in (0, 1, 1.5, np.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            model.predict_interval(X, level)
    with pytest.raises(TypeError, match="level must be a number"):
        model.predict_interval(X, "high")
