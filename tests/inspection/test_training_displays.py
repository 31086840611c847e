"""Displays of bridges, time scores and training, against computations of their own."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skdre import (
    AutoRatio,
    ClassifierRatio,
    FlowFeaturizer,
    GaussianRatio,
    KMMRatio,
    MLPRatio,
    MultinomialRatio,
    TelescopingRatio,
    TimeScoreRatio,
    make_pipeline,
)
from skdre.datasets import make_known_ratio
from skdre.inspection import (
    BridgeLogRatiosDisplay,
    TimeScoreDisplay,
    TrainingCurveDisplay,
)

plt = pytest.importorskip("matplotlib.pyplot")

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:.*separates (neighbouring waymarks|the two samples):UserWarning",
)

X, Y = make_known_ratio("far_gaussians_d2", 80, random_state=0).pool()
TINY = {"hidden_features": (8,), "n_estimators": 2, "max_iter": 100, "random_state": 0}


@pytest.fixture(autouse=True)
def _no_windows():
    plt.switch_backend("agg")
    yield
    plt.close("all")


class Scores(BaseEstimator):
    """Whose time score is t x."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def time_score(self, X, times):
        return np.asarray(X)[:, :1] * np.asarray(times)


def legend(display):
    found = display.ax_.get_legend()
    texts = [found.get_title().get_text(), *(each.get_text() for each in found.texts)]
    return "\n".join(texts)


# -- bridges ----------------------------------------------------------------------


def quantile(values, share):
    """Linear interpolation between the sorted values."""
    values = sorted(values)
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


def test_bridges_show_quantiles_of_each_domain():
    ratio = TelescopingRatio(ClassifierRatio(), n_bridges=3, random_state=0).fit(X, Y)
    display = BridgeLogRatiosDisplay.from_estimator(ratio, X, Y)
    log_ratios = ratio.log_ratios(X)
    for label, offset, (medians, thick, thin) in (
        (1, 0.12, display.numerator_lines_),
        (0, -0.12, display.denominator_lines_),
    ):
        rows = log_ratios[label == Y]
        wanted = np.array(
            [[quantile(c, s) for c in rows.T] for s in (0.05, 0.25, 0.5, 0.75, 0.95)]
        )
        place = np.array([1, 2, 3]) + offset
        assert_allclose(medians.get_xydata(), np.column_stack([place, wanted[2]]))
        for bars, ends in ((thick, wanted[[1, 3]]), (thin, wanted[[0, 4]])):
            segments = np.array(bars.get_segments())
            assert_allclose(segments[:, :, 1], ends.T)
            assert_allclose(segments[:, :, 0], np.column_stack([place, place]))
    # The numerator's rows have the larger log ratios: not upside down.
    assert (display.numerator_quantiles[2] > display.denominator_quantiles[2]).all()
    ticks = [tick.get_text() for tick in display.ax_.get_xticklabels()]
    assert ticks[0].startswith("1\n0 to ")
    assert ticks[-1].endswith("to 1")
    assert "nats" in display.ax_.get_ylabel()
    assert "TelescopingRatio" in legend(display)


def test_bridges_of_networks_and_of_pipelines():
    network = MultinomialRatio(n_bridges=2, **TINY)
    pipeline = Pipeline([("scale", StandardScaler()), ("ratio", network)]).fit(X, Y)
    display = BridgeLogRatiosDisplay.from_estimator(pipeline, X, Y)
    rows = pipeline[0].transform(X)
    log_ratios = pipeline[1].log_ratios(rows)
    assert_allclose(
        display.numerator_quantiles[2], np.median(log_ratios[Y == 1], axis=0)
    )
    assert_allclose(log_ratios.sum(axis=1), pipeline.decision_function(X))
    assert "MultinomialRatio" in legend(display)


def test_bridges_of_given_log_ratios():
    log_ratios = np.random.default_rng(0).normal(size=(6, 25))
    display = BridgeLogRatiosDisplay.from_predictions(
        list("ababab"), log_ratios, name="mine", markersize=9
    )
    assert_allclose(display.numerator_quantiles[2], np.median(log_ratios[1::2], axis=0))
    assert display.numerator_lines_[0].get_markersize() == 9
    assert "numerator (b)" in legend(display)
    with pytest.raises(ValueError, match="26 rising values"):
        BridgeLogRatiosDisplay.from_predictions(
            list("ababab"), log_ratios, times=[0, 0.5, 1]
        )
    with pytest.raises(ValueError, match="shape"):
        BridgeLogRatiosDisplay.from_predictions(list("ababab"), log_ratios[:, 0])
    with pytest.raises(ValueError, match="finite"):
        BridgeLogRatiosDisplay.from_predictions(list("ababab"), np.full((6, 2), np.nan))


@pytest.mark.parametrize(
    ("display", "name"),
    [(BridgeLogRatiosDisplay, "log_ratios"), (TimeScoreDisplay, "time_score")],
)
def test_estimators_without_steps(display, name):
    with pytest.raises(TypeError, match=f"method {name}, which GaussianRatio has not"):
        display.from_estimator(GaussianRatio().fit(X, Y), X, Y)
    with pytest.raises(TypeError, match=f"method {name}, which KMMRatio has not"):
        display.from_estimator(
            make_pipeline(StandardScaler(), KMMRatio()).fit(X, Y), X, Y
        )
    for estimator in (TelescopingRatio(), TimeScoreRatio(), GaussianRatio()):
        with pytest.raises(NotFittedError):
            display.from_estimator(estimator, X, Y)


# -- time scores ------------------------------------------------------------------


def test_time_score_over_time():
    rows = np.random.default_rng(0).normal(size=(30, 1))
    y = np.arange(30) % 2
    times = [0.0, 0.3, 0.6, 1.0]
    display = TimeScoreDisplay.from_estimator(
        Scores().fit(rows, y), rows, y, times=times
    )
    for label, line, band in (
        (1, display.numerator_line_, display.numerator_band),
        (0, display.denominator_line_, display.denominator_band),
    ):
        mine = rows[y == label, 0]
        mean = sum(mine) / len(mine)
        assert_array_equal(line.get_xdata(), times)
        assert_allclose(line.get_ydata(), mean * np.array(times))
        for end, share in zip(band, (0.05, 0.95), strict=True):
            assert_allclose(end, quantile(mine, share) * np.array(times))
        # The integral of t from 0 to 1 is a half.
        assert f"({label}): integral {mean / 2:.3g} nats" in legend(display)
    vertices = display.numerator_band_.get_paths()[0].vertices
    assert vertices[:, 1].max() == pytest.approx(display.numerator_band.max())


def test_time_score_of_the_estimator():
    ratio = TimeScoreRatio(max_iter=20, hidden_features=(8,), random_state=0).fit(X, Y)
    display = TimeScoreDisplay.from_estimator(ratio, X, Y, times=401)
    for label, mean in ((1, display.numerator_mean), (0, display.denominator_mean)):
        integral = np.sum((mean[1:] + mean[:-1]) / 2 * np.diff(display.times))
        truth = ratio.decision_function(X[label == Y]).mean()
        assert integral == pytest.approx(truth, rel=1e-3)


def test_times_that_are_none():
    rows, y = np.ones((4, 1)), [0, 1, 0, 1]
    scores = Scores().fit(rows, y)
    for times in ([0.5, 0.1], [0.5, 0.5]):
        with pytest.raises(ValueError, match="rising"):
            TimeScoreDisplay.from_estimator(scores, rows, y, times=times)
    with pytest.raises(ValueError, match="at least 2"):
        TimeScoreDisplay.from_estimator(scores, rows, y, times=1)
    with pytest.raises(ValueError, match="3 rising values"):
        TimeScoreDisplay.from_predictions(y, np.ones((4, 3)), [0, 1])
    with pytest.raises(ValueError, match="two classes"):
        TimeScoreDisplay.from_estimator(scores, rows, [1, 1, 1, 1])


# -- training ---------------------------------------------------------------------


def check_curves(display, estimator):
    assert_array_equal(display.training_line_.get_ydata(), estimator.loss_curve_)
    assert_array_equal(
        display.validation_line_.get_ydata(), -estimator.validation_scores_
    )
    assert_allclose(display.best_line_.get_ydata(), -estimator.best_validation_score_)
    assert display.validation_loss.min() >= display.best_loss - 1e-6
    assert display.training_line_.get_xdata()[-1] == estimator.n_iter_


def test_training_of_a_network():
    ratio = MLPRatio(**TINY).fit(X, Y)
    display = TrainingCurveDisplay.from_estimator(ratio, linewidth=3)
    check_curves(display, ratio)
    assert_array_equal(display.steps, [25, 50, 75, 100])
    assert display.training_line_.get_linewidth() == 3
    assert display.ax_.get_xlabel() == "training steps"
    assert display.ax_.get_ylabel() == "loss (nats)"
    assert "MLPRatio" in legend(display)
    scores = TimeScoreRatio(max_iter=200, hidden_features=(8,), random_state=0)
    display = TrainingCurveDisplay.from_estimator(scores.fit(X, Y))
    check_curves(display, scores)
    assert display.ax_.get_ylabel() == "loss"


def test_training_of_what_is_inside():
    flow = FlowFeaturizer(
        n_transforms=2, hidden_features=(8,), max_epochs=4, random_state=0
    )
    pipeline = make_pipeline(flow, KMMRatio(random_state=0)).fit(X, Y)
    display = TrainingCurveDisplay.from_estimator(pipeline)
    check_curves(display, pipeline[0])
    assert display.ax_.get_xlabel() == "epochs"
    assert "FlowFeaturizer" in legend(display)

    small = TINY | {"hidden_features": (32, 32), "max_iter": 300}
    near = MLPRatio(**small)
    far = TelescopingRatio(n_bridges=2, **TINY | {"hidden_features": (32, 32)})
    lumps = make_known_ratio("lumps_d1", 300, random_state=0).pool()
    candidates = [("plug-in", GaussianRatio()), ("telescoping", far)]
    chosen = AutoRatio(candidates, cv=2, random_state=0).fit(*lumps)
    assert chosen.choice_ == "telescoping"
    (bridges,) = chosen.estimators_["telescoping"]
    check_curves(TrainingCurveDisplay.from_estimator(chosen), bridges)
    both = make_pipeline(flow, near).fit(X, Y)
    with pytest.raises(ValueError, match=r"several trained parts.*FlowFeaturizer.*MLP"):
        TrainingCurveDisplay.from_estimator(both)


def test_training_that_leaves_no_curve():
    with pytest.raises(NotFittedError):
        TrainingCurveDisplay.from_estimator(MLPRatio())
    with pytest.raises(TypeError, match="KMMRatio has no loss_curve_"):
        TrainingCurveDisplay.from_estimator(KMMRatio().fit(X, Y))
    with pytest.raises(ValueError, match="closed form"):
        TrainingCurveDisplay.from_estimator(FlowFeaturizer("copula").fit(X))
    # Its validation_scores_ are accuracies.
    other = MLPClassifier((4,), early_stopping=True, max_iter=3).fit(X, Y)
    with pytest.raises(TypeError, match="another figure"):
        TrainingCurveDisplay.from_estimator(other)


def test_training_curves_of_ones_own():
    display = TrainingCurveDisplay([1, 2, 3], [3.0, 2.0, 1.0]).plot()
    assert display.validation_line_ is None
    assert display.best_line_ is None
    assert_array_equal(display.training_line_.get_ydata(), [3, 2, 1])
