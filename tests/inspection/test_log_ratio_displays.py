"""Displays of the log ratio: what is drawn against computations of its own."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skdre import GaussianRatio, pool
from skdre.base import DensityRatioMixin, split_samples
from skdre.datasets import make_known_ratio
from skdre.inspection import (
    LogRatioHistogramDisplay,
    LogRatioScatterDisplay,
    LogRatioSurfaceDisplay,
    RatioCalibrationDisplay,
    WeightConcentrationDisplay,
)
from skdre.weighting import effective_sample_size

plt = pytest.importorskip("matplotlib.pyplot")

BY_DOMAIN = [LogRatioHistogramDisplay, RatioCalibrationDisplay]


@pytest.fixture(autouse=True)
def _no_windows():
    plt.switch_backend("agg")
    yield
    plt.close("all")


class KnownRatio(DensityRatioMixin, BaseEstimator):
    """Says what it was told: log r = slope x_0 + intercept."""

    def __init__(self, slope=1.0, intercept=0.0):
        self.slope = slope
        self.intercept = intercept

    def fit(self, X, y, sample_weight=None):
        self.classes_ = split_samples(self, X, y, sample_weight).classes
        return self

    def decision_function(self, X):
        return self._validate_rows(X)[:, 0] * self.slope + self.intercept


def one_column(n=400, seed=0, mean=1.0):
    """N(mean, 1) against N(0, 1), whose log ratio is mean x - mean^2 / 2."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(mean, 1, (n, 1)), rng.normal(0, 1, (n + 50, 1))
    X, y = pool(numerator=rows[0], denominator=rows[1])
    order = rng.permutation(len(y))
    return X[order], y[order]


def true_ratio(X, y, mean=1.0, scale=1.0):
    return KnownRatio(scale * mean, -scale * mean**2 / 2).fit(X, y)


def points(scatter):
    return np.asarray(scatter.get_offsets())


def legend(display):
    found = display.ax_.get_legend()
    texts = [found.get_title().get_text(), *(each.get_text() for each in found.texts)]
    return "\n".join(texts)


# -- what all have in common ------------------------------------------------------


def from_estimator(display, estimator, X, y, **params):
    """One door to all of them."""
    if display is LogRatioScatterDisplay:
        return display.from_estimator(estimator, X, np.arange(len(y)) * 1.0, **params)
    if display in BY_DOMAIN:
        return display.from_estimator(estimator, X, y, **params)
    return display.from_estimator(estimator, X, **params)


def drawn(display):
    """All numbers on the axes."""
    found = [line.get_xydata() for line in display.ax_.lines]
    found += [points(each) for each in display.ax_.collections]
    found += [patch.get_path().vertices for patch in display.ax_.patches]
    return found


ALL = [
    LogRatioScatterDisplay,
    LogRatioSurfaceDisplay,
    WeightConcentrationDisplay,
    *BY_DOMAIN,
]


@pytest.mark.parametrize("display", ALL)
def test_axes_given_or_new(display):
    X, y = make_known_ratio("far_gaussians_d2", 50, random_state=0).pool()
    ratio = true_ratio(X, y)
    figure, (left, right) = plt.subplots(1, 2)
    there = from_estimator(display, ratio, X, y, ax=right)
    assert there.ax_ is right
    assert there.figure_ is figure
    assert not left.has_data()
    assert "nats" in right.get_xlabel() or display in (
        LogRatioSurfaceDisplay,
        WeightConcentrationDisplay,
    )
    assert right.get_xlabel()
    assert right.get_ylabel()
    new = from_estimator(display, ratio, X, y)
    assert new.figure_ is not figure
    again = new.plot()
    assert again is new
    assert again.ax_ is not right


@pytest.mark.parametrize("display", ALL)
def test_pipelines_and_searches(display):
    """They are drawn as their last step is, at the rows that it sees."""
    X, y = make_known_ratio("far_gaussians_d2", 60, random_state=0).pool()
    scaler = StandardScaler().fit(X)
    plain = GaussianRatio().fit(scaler.transform(X), y)
    pipeline = Pipeline([("scale", StandardScaler()), ("ratio", GaussianRatio())])
    pipeline.fit(X, y)
    search = GridSearchCV(pipeline, {"ratio__shrink": [True]}, cv=2).fit(X, y)
    wanted = from_estimator(display, plain, scaler.transform(X), y)
    for estimator in (pipeline, search):
        found = from_estimator(display, estimator, X, y)
        if display is LogRatioSurfaceDisplay:
            assert_allclose(found.response, wanted.response, atol=1e-8)
            continue
        assert "GaussianRatio" in legend(found)
        for one, other in zip(drawn(found), drawn(wanted), strict=True):
            assert_allclose(one, other, atol=1e-8)


@pytest.mark.parametrize("display", ALL)
def test_estimators_that_cannot_be_drawn(display):
    X, y = make_known_ratio("far_gaussians_d2", 50, random_state=0).pool()
    with pytest.raises(NotFittedError):
        from_estimator(display, KnownRatio(), X, y)
    with pytest.raises(TypeError, match="ClassifierRatio"):
        from_estimator(display, LogisticRegression().fit(X, y), X, y)


@pytest.mark.parametrize("display", BY_DOMAIN)
@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1] * 20, "two classes"),
        ([0, 1] * 9, "18 labels and 20 rows"),
        ([0, 1, 2, 2] * 5, "binary"),
        ([0, 5] * 10, r"fitted with \[0, 1\]"),
        (None, "requires y"),
    ],
)
def test_labels_that_are_not_the_two_domains(display, y, message):
    X = np.arange(20.0)[:, None]
    ratio = KnownRatio().fit(X, [0, 1] * 10)
    with pytest.raises(ValueError, match=message):
        display.from_estimator(ratio, X, y)
    if "fitted" not in message:
        with pytest.raises(ValueError, match=message):
            display.from_predictions(y, X[:, 0])
        if y is not None:
            with pytest.raises(ValueError, match=message):
                LogRatioScatterDisplay.from_predictions(X[:, 0], X[:, 0], y=y)


@pytest.mark.parametrize("display", BY_DOMAIN)
@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "NaN"), (np.inf, "infinite at 1 of 20"), (-np.inf, "infinite")],
)
def test_log_ratios_that_are_not_finite(display, value, message):
    log_ratio = np.arange(20.0)
    log_ratio[3] = value
    y = [0, 1] * 10
    with pytest.raises(ValueError, match=message):
        display.from_predictions(y, log_ratio)
    with pytest.raises(ValueError, match=f"^log_ratio .*{message}"):
        LogRatioScatterDisplay.from_predictions(np.arange(20.0), log_ratio)
    with pytest.raises(ValueError, match=f"true_log_ratio .*{message}"):
        LogRatioScatterDisplay.from_predictions(log_ratio, np.arange(20.0))


@pytest.mark.parametrize("display", BY_DOMAIN)
def test_log_ratios_of_the_wrong_shape(display):
    y = [0, 1] * 10
    for wrong in (np.zeros((20, 1)), np.zeros((0,)), 3.0):
        with pytest.raises(ValueError, match="shape"):
            display.from_predictions(y, wrong)
    with pytest.raises(ValueError, match="19 values and 20 rows"):
        LogRatioScatterDisplay.from_predictions(np.zeros(19), np.arange(20.0))


@pytest.mark.parametrize("display", [*BY_DOMAIN, LogRatioScatterDisplay])
def test_constant_ratios_are_drawn_with_a_warning(display):
    X, y = one_column(30)
    flat = KnownRatio(0.0, 0.25).fit(X, y)
    with pytest.warns(UserWarning, match=r"same at all rows, 0\.25 nats"):
        from_estimator(display, flat, X, y)


@pytest.mark.parametrize("display", ALL)
def test_without_matplotlib(display, monkeypatch):
    X, y = make_known_ratio("far_gaussians_d2", 20, random_state=0).pool()
    ratio = true_ratio(X, y)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skdre\[plot\]"):
        from_estimator(display, ratio, X, y)


# -- scatter ----------------------------------------------------------------------


def test_scatter_shows_estimate_over_truth():
    rng = np.random.default_rng(0)
    truth, found = rng.normal(size=(2, 40))
    y = rng.permutation(np.arange(40) % 2)
    names = np.array(["a", "b"])[y]
    display = LogRatioScatterDisplay.from_predictions(truth, found, y=names, name="me")
    denominator, numerator = display.scatters_
    assert_allclose(points(numerator), np.column_stack([truth, found])[y == 1])
    assert_allclose(points(denominator), np.column_stack([truth, found])[y == 0])
    assert display.scatters_[0].get_facecolor()[0, :3] != pytest.approx(
        display.scatters_[1].get_facecolor()[0, :3]
    )
    error = sum((a - b) ** 2 for a, b in zip(truth, found, strict=True)) / 40
    rank = np.corrcoef(rankdata(truth), rankdata(found))[0, 1]
    text = legend(display)
    assert f"mean squared error {error:.3g}" in text
    assert f"rank correlation {rank:.3f}" in text
    for part in ("me", "numerator (b)", "denominator (a)"):
        assert part in text
    assert display.line_.get_xy1() == (0, 0)
    assert display.line_.get_slope() == 1


def test_scatter_of_an_estimator():
    X, y = one_column()
    truth = X[:, 0] - 0.5
    display = LogRatioScatterDisplay.from_estimator(
        true_ratio(X, y, scale=2), X, truth, ref_line=False, c="k", s=4
    )
    (scatter,) = display.scatters_
    assert_allclose(points(scatter), np.column_stack([truth, 2 * truth]))
    assert display.line_ is None
    assert scatter.get_sizes() == [4]


# -- histogram --------------------------------------------------------------------


def test_histogram_counts_the_rows_of_each_domain():
    X, y = one_column(60)
    display = LogRatioHistogramDisplay.from_estimator(true_ratio(X, y), X, y, bins=7)
    log_ratio = X[:, 0] - 0.5
    width = np.ptp(log_ratio) / 7
    for label, patch, mean in (
        (1, display.numerator_patch_, display.numerator_mean),
        (0, display.denominator_patch_, display.denominator_mean),
    ):
        mine = log_ratio[y == label]
        counts = np.zeros(7)
        for value in mine:
            place = min(int((value - log_ratio.min()) / width), 6)
            counts[place] += 1
        values, edges, _ = patch.get_data()
        assert_allclose(edges, np.linspace(log_ratio.min(), log_ratio.max(), 8))
        assert_allclose(values, counts / len(mine) / width)
        assert mean == pytest.approx(mine.mean())
    assert f"numerator (1): mean {display.numerator_mean:.3g}" in legend(display)


def test_histogram_at_the_true_ratio():
    """p over q is exp(l) at every log ratio l: an inverted or scaled one fails."""
    X, y = one_column(200_000)
    edges = np.linspace(-1.5, 1.5, 13)
    display = LogRatioHistogramDisplay.from_estimator(
        true_ratio(X, y), X, y, bins=edges
    )
    found = np.log(display.numerator_density / display.denominator_density)
    assert_allclose(found, (edges[1:] + edges[:-1]) / 2, atol=0.05)


def test_histogram_weights_are_repetitions():
    X, y = one_column(30)
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    weight[np.argmax(X[:, 0])] = 0  # no edge of a bin may be put there
    ratio = true_ratio(X, y)
    weighted = LogRatioHistogramDisplay.from_estimator(
        ratio, X, y, sample_weight=weight
    )
    repeated = LogRatioHistogramDisplay.from_estimator(
        ratio, np.repeat(X, weight, axis=0), np.repeat(y, weight)
    )
    for name in ("bin_edges", "numerator_density", "denominator_density"):
        assert_allclose(getattr(weighted, name), getattr(repeated, name))
    assert weighted.denominator_mean == pytest.approx(repeated.denominator_mean)


def test_histogram_of_a_domain_without_rows():
    X, y = one_column(30)
    ratio = true_ratio(X, y)
    with pytest.raises(ValueError, match="numerator's domain has no row"):
        LogRatioHistogramDisplay.from_estimator(ratio, X, y, sample_weight=y == 0)
    with pytest.raises(ValueError, match="in the bins, 50 to 60"):
        LogRatioHistogramDisplay.from_estimator(ratio, X, y, bins=[50, 60])
    with pytest.raises(ValueError, match=r"sample_weight is zero.*numerator"):
        RatioCalibrationDisplay.from_estimator(ratio, X, y, sample_weight=y == 0)


# -- calibration ------------------------------------------------------------------


def brute_force_bins(y, log_ratio, n_bins):
    """Predicted, observed and errors, row by row, without weights."""
    share = {label: 0.5 / np.sum(y == label) for label in (0, 1)}
    bins = {}
    for label, value in zip(y, log_ratio, strict=True):
        below = sum(share[k] for k, v in zip(y, log_ratio, strict=True) if v < value)
        tied = sum(share[k] for k, v in zip(y, log_ratio, strict=True) if v == value)
        bins.setdefault(int(n_bins * (below + tied / 2)), []).append((label, value))
    table = []
    for k in sorted(bins):
        weight = np.array([share[label] for label, _ in bins[k]])
        chance = np.array([expit(value) for _, value in bins[k]])
        counts = [sum(label == side for label, _ in bins[k]) for side in (0, 1)]
        q, p = (count * 2 * share[side] for side, count in enumerate(counts))
        error = np.sqrt((1 - p) / counts[1] + (1 - q) / counts[0])
        table.append((logit(np.average(chance, weights=weight)), np.log(p / q), error))
    return np.array(table).T


def test_calibration_is_the_brute_force():
    X, y = one_column(100)
    log_ratio = np.round(X[:, 0], 1)  # ties
    display = RatioCalibrationDisplay.from_predictions(y, log_ratio, n_bins=4)
    predicted, observed, error = brute_force_bins(y, log_ratio, 4)
    drawn_x, drawn_y = display.line_.lines[0].get_xydata().T
    assert_allclose(drawn_x, predicted)
    assert_allclose(drawn_y, observed)
    half = 1.96 * error
    wanted = np.column_stack([observed - half, observed + half])
    assert_allclose(display.interval, wanted, rtol=1e-4)
    (bars,) = display.line_.lines[2]
    assert_allclose(
        [segment[:, 1] for segment in bars.get_segments()], wanted, rtol=1e-4
    )
    assert display.ref_line_.get_xy1() == (0, 0)
    assert display.ref_line_.get_slope() == 1


@pytest.mark.parametrize("scale", [1.0, 2.0, -1.0])
def test_calibration_tells_the_size_of_the_ratio(scale):
    X, y = one_column(20_000)
    display = RatioCalibrationDisplay.from_estimator(
        true_ratio(X, y, scale=scale), X, y
    )
    slope, intercept = np.polyfit(display.predicted, display.observed, 1)
    assert slope == pytest.approx(1 / scale, abs=0.1)
    assert intercept == pytest.approx(0, abs=0.1)


def test_calibration_intervals_cover():
    """Of a true ratio 95 % of the intervals hold the predicted value."""
    held = []
    for seed in range(60):
        X, y = one_column(300, seed=seed)
        display = RatioCalibrationDisplay.from_predictions(
            y, X[:, 0] - 0.5, n_bins=5, ax=plt.gca()
        )
        low, high = display.interval.T
        held += list((low < display.predicted) & (display.predicted < high))
        plt.close()
    assert 0.92 < np.mean(held) < 0.98


def test_calibration_where_a_domain_is_absent():
    """The rule of three: with 95 % chance the ratio is beyond the bound."""
    log_ratio = np.concatenate([np.full(50, 9.0), np.full(40, -9.0), [0.0, 0.0]])
    y = np.concatenate([np.full(50, 1), np.full(40, 0), [0, 1]])
    display = RatioCalibrationDisplay.from_predictions(y, log_ratio, n_bins=3)
    assert_array_equal(display.observed[[0, 2]], [-np.inf, np.inf])
    at_least, at_most = (line.get_xydata() for line in display.bounds_)
    # No one of 41 rows: the share is below 1 - .05^(1/41), 3 / 41 or less.
    assert_allclose(at_least, [[9, np.log(50 / 51) - np.log(-np.log(0.05) / 41)]])
    assert_allclose(at_most, [[-9, np.log(-np.log(0.05) / 51) - np.log(40 / 41)]])
    assert_allclose(display.line_.lines[0].get_xydata(), [[0, np.log(41 / 51)]])
    assert "at least" in legend(display)


def test_calibration_weights_are_repetitions_and_order_is_nothing():
    X, y = one_column(60)
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 4, len(y))
    log_ratio = X[:, 0]
    weighted = RatioCalibrationDisplay.from_predictions(
        y, log_ratio, sample_weight=weight
    )
    index = rng.permutation(np.repeat(np.arange(len(y)), weight))
    repeated = RatioCalibrationDisplay.from_predictions(y[index], log_ratio[index])
    for name in ("predicted", "observed", "interval"):
        assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-9)


def test_calibration_of_huge_log_ratios():
    y = np.array([0, 1] * 50)
    log_ratio = np.where(y, 1e5, -1e5) + np.arange(100)
    display = RatioCalibrationDisplay.from_predictions(y, log_ratio, n_bins=2)
    assert np.isfinite(display.predicted).all()
    assert_allclose(display.predicted, [-1e5, 1e5], rtol=1e-2)


@pytest.mark.parametrize("n_bins", [0, -1, 2.5, "ten"])
def test_calibration_bins_are_counted(n_bins):
    with pytest.raises(ValueError, match="n_bins must be an int"):
        RatioCalibrationDisplay.from_predictions([0, 1], [0.0, 1.0], n_bins=n_bins)


# -- weights ----------------------------------------------------------------------


def test_lorenz_curve_is_the_brute_force():
    weights = np.random.default_rng(0).exponential(size=50) ** 2
    display = WeightConcentrationDisplay.from_predictions(np.log(weights), name="me")
    x, y = display.line_.get_xydata().T
    light = sorted(weights)
    assert_allclose(x, np.arange(51) / 50)
    assert_allclose(y, [sum(light[:k]) / sum(light) for k in range(51)], atol=1e-12)
    # Twice the area above the curve is Gini's mean difference.
    gini = np.mean([abs(a - b) for a in weights for b in weights]) / 2 / weights.mean()
    area = np.sum((y[1:] + y[:-1]) / 2 * np.diff(x))
    assert 1 - 2 * area == pytest.approx(gini)

    size = effective_sample_size(weights)
    assert display.effective_sample_size == pytest.approx(size)
    assert f"me: effective rows {size:.4g} of 50" in legend(display)
    assert_allclose(
        display.effective_line_.get_xydata(), [[0, 0], [1 - size / 50, 0], [1, 1]]
    )


def test_lorenz_curve_of_an_estimator_flattened_and_clipped():
    X, y = one_column(80)
    weights = np.minimum(np.exp(0.5 * (X[:, 0] - 0.5)), 1.5)
    display = WeightConcentrationDisplay.from_estimator(
        true_ratio(X, y), X, flattening=0.5, clip=1.5
    )
    wanted = WeightConcentrationDisplay.from_weights(weights * 1e200)
    assert_allclose(display.weight_share, wanted.weight_share)
    size = effective_sample_size(weights)
    assert display.effective_sample_size == pytest.approx(size)
    assert wanted.effective_sample_size == pytest.approx(size)


def test_lorenz_curve_of_equal_weights():
    display = WeightConcentrationDisplay.from_weights(np.ones(8))
    assert_allclose(display.row_share, display.weight_share)
    assert display.effective_sample_size == pytest.approx(8)


def test_lorenz_curve_of_one_heavy_row():
    display = WeightConcentrationDisplay.from_predictions([-np.inf, -np.inf, 0.0, 2e3])
    assert_allclose(display.weight_share, [0, 0, 0, 0, 1])
    assert display.effective_sample_size == 1


def test_lorenz_curve_weights_are_repetitions():
    rng = np.random.default_rng(0)
    log_ratio, counts = rng.normal(size=30), rng.integers(0, 4, 30)
    # A row that is absent does not set the scale.
    log_ratio[0], counts[0] = 5e3, 0
    weighted = WeightConcentrationDisplay.from_predictions(
        log_ratio, sample_weight=counts
    )
    repeated = WeightConcentrationDisplay.from_predictions(np.repeat(log_ratio, counts))
    assert weighted.effective_sample_size == pytest.approx(
        repeated.effective_sample_size
    )
    assert weighted.n_rows == repeated.n_rows
    at = np.linspace(0, 1, 20)
    assert_allclose(
        np.interp(at, weighted.row_share, weighted.weight_share),
        np.interp(at, repeated.row_share, repeated.weight_share),
        atol=1e-9,
    )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[1.0, 2.0]], "shape"),
        ([], "shape"),
        ([1.0, -1.0], "not negative"),
        ([1.0, np.nan], "finite"),
        ([0.0, 0.0], "positive weight"),
    ],
)
def test_weights_that_are_none(weights, message):
    with pytest.raises(ValueError, match=message):
        WeightConcentrationDisplay.from_weights(weights)


def test_weights_of_infinite_ratios():
    with pytest.raises(ValueError, match="plus infinity"):
        WeightConcentrationDisplay.from_predictions([0.0, np.inf])
    with pytest.raises(ValueError, match="minus infinity"):
        WeightConcentrationDisplay.from_predictions([-np.inf, -np.inf])


def test_two_estimators_on_one_picture():
    one = WeightConcentrationDisplay.from_weights([1.0, 2.0], name="one")
    two = WeightConcentrationDisplay.from_weights([1.0, 9.0], name="two", ax=one.ax_)
    text = legend(two)
    assert "one: effective" in text
    assert "two: effective" in text
    assert text.count("so many rows") == 1
    assert one.line_.get_color() != two.line_.get_color()


# -- surface ----------------------------------------------------------------------


def test_surface_is_the_log_ratio_on_a_grid():
    X, y = make_known_ratio("far_gaussians_d2", 50, random_state=0).pool()
    X = X * [1e-3, 1e3]
    ratio = GaussianRatio().fit(X, y)
    display = LogRatioSurfaceDisplay.from_estimator(ratio, X, grid_resolution=15)
    grid = np.column_stack([display.xx0.ravel(), display.xx1.ravel()])
    assert_allclose(display.response.ravel(), ratio.decision_function(grid))
    # The frame goes 5 % beyond the rows, in the units of each column.
    low, high = X.min(axis=0), X.max(axis=0)
    assert_allclose(grid.min(axis=0), low - 0.05 * (high - low))
    assert_allclose(grid.max(axis=0), high + 0.05 * (high - low))
    limit = np.abs(ratio.decision_function(X)).max()
    assert_allclose(display.surface_.get_clim(), [-limit, limit])
    assert display.colorbar_.ax.get_ylabel() == "log ratio (nats)"
    assert np.abs(display.colorbar_.get_ticks()).max() <= limit
    # Red, the numerator's colour, is where the ratio is large.
    red, _, blue, _ = display.surface_.cmap(display.surface_.norm(0.7 * limit))
    assert red > blue


def test_surface_has_a_line_where_the_ratio_is_one():
    X, y = make_known_ratio("far_gaussians_d2", 50, random_state=0).pool()
    display = LogRatioSurfaceDisplay.from_estimator(
        KnownRatio(2.0, -3.0).fit(X, y), X, colorbar=False, plot_method="pcolormesh"
    )
    (path,) = display.boundary_.get_paths()
    assert_allclose(path.vertices[:, 0], 1.5)
    assert display.colorbar_ is None
    assert_allclose(display.surface_.get_array().ravel(), display.response.ravel())
    away = LogRatioSurfaceDisplay.from_estimator(
        KnownRatio(0.1, 30.0).fit(X, y), X, plot_method="contour", limit=5
    )
    assert away.boundary_ is None


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_surface_of_a_data_frame(library):
    frames = pytest.importorskip(library)
    X, y = make_known_ratio("far_gaussians_d2", 50, random_state=0).pool()
    frame = frames.DataFrame({"height": X[:, 0], "width": X[:, 1]})
    ratio = GaussianRatio().fit(frame, y)
    display = LogRatioSurfaceDisplay.from_estimator(ratio, frame, grid_resolution=5)
    plain = LogRatioSurfaceDisplay.from_estimator(
        GaussianRatio().fit(X, y), X, grid_resolution=5
    )
    assert_allclose(display.response, plain.response)
    assert display.ax_.get_xlabel() == "height"
    assert display.ax_.get_ylabel() == "width"
    assert plain.ax_.get_xlabel() == "feature 0"


def test_surface_needs_two_features_and_a_ratio_that_varies():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    with pytest.raises(ValueError, match=r"two columns.*got 3"):
        LogRatioSurfaceDisplay.from_estimator(KnownRatio().fit(X, y), X)
    X = X[:, :2]
    ratio = KnownRatio().fit(X, y)
    for limit in (0, -1, np.inf):
        with pytest.raises(ValueError, match="limit must be positive"):
            LogRatioSurfaceDisplay.from_estimator(ratio, X, limit=limit)
    with pytest.raises(ValueError, match="grid_resolution"):
        LogRatioSurfaceDisplay.from_estimator(ratio, X, grid_resolution=1)
    with pytest.warns(UserWarning, match="same everywhere, 0 nats"):
        LogRatioSurfaceDisplay.from_estimator(KnownRatio(0.0).fit(X, y), X)
