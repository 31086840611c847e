"""The gallery's examples run, at a small size, and say what they claim."""

import importlib.util
import runpy
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from skdre import AutoRatio, inspection
from skdre.datasets import make_known_ratio

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.usefixtures("_no_window")


@pytest.fixture
def _no_window():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    # An example that saves all open figures must not find those of another test.
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.close("all")
    yield
    plt.close("all")


def path_of(name):
    """The file of an example, in whichever folder of the gallery it lies."""
    (path,) = EXAMPLES.rglob(f"{name}.py")
    return path


def load(name):
    spec = importlib.util.spec_from_file_location(name, path_of(name))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_covariate_shift(tmp_path, capsys):
    example = load("plot_covariate_shift_breast_cancer")
    example.FlowFeaturizer = partial(
        example.FlowFeaturizer, max_epochs=3, n_transforms=1
    )
    example.main(repeats=1, save=tmp_path / "demo.png")
    printed = capsys.readouterr().out
    assert all(method in printed for method in example.METHODS)
    assert (tmp_path / "demo.png").stat().st_size > 10_000


def test_weights_help_and_permuted_ones_do_not():
    # The claim of the example, without the flow that takes most of its time.
    example = load("plot_covariate_shift_breast_cancer")

    example.FlowFeaturizer = lambda **params: FunctionTransformer()
    X, y = load_breast_cancer(return_X_y=True)
    runs = pd.DataFrame([example.run_once(X, y, seed) for seed in range(12)])
    table = example.summarize(runs)["minus unweighted"]
    assert table["KMM in x"] < -0.01
    assert table["KMM in x"] < table["KMM in x, permuted"] - 0.01
    np.testing.assert_allclose(table["unweighted"], 0)


def test_flow_features_help_where_the_geometry_is_wrong():
    run = load("plot_featurized_ratio").run_once("exp", 2, seed=0, n_samples=400)
    assert run["flow features"] < 0.85 * run["in x"]
    assert run["flow features"] < 1.25 * run["true Gaussian coordinates"]


def test_the_held_out_score_chooses_nearly_the_best(tmp_path, capsys):
    example = load("plot_choose_estimator")
    del example.CANDIDATES["boosting, calibrated"]
    example.WARPS = ("identity", "banana")
    example.StratifiedKFold = lambda _, **params: StratifiedKFold(3, **params)
    table = example.main(n_samples=200, save=tmp_path / "choose.png")
    assert "banana" in capsys.readouterr().out
    assert (tmp_path / "choose.png").stat().st_size > 10_000
    chosen = table["neg_ratio_log_loss"]
    assert (chosen < 2 * table["best by truth"]).all()
    assert (chosen < 0.8 * table["median"]).all()
    assert (chosen < 0.3 * table["worst"]).all()


def test_weights_restore_conformal_coverage(tmp_path, capsys):
    example = load("plot_conformal_under_shift")
    # The coverage is that of any regressor; boosting takes most of the time.
    example.HistGradientBoostingRegressor = lambda random_state, **params: (
        DecisionTreeRegressor(max_leaf_nodes=20, random_state=random_state)
    )
    table = example.main(draws=8, n_samples=600, save=tmp_path / "conformal.png")
    assert "coverage" in capsys.readouterr().out
    assert (tmp_path / "conformal.png").stat().st_size > 10_000
    coverage, error = table["coverage"], table["std. error"]
    for name in ("none", "permuted estimate"):
        assert coverage[name] < 0.78
    for name in ("estimated ratio", "true ratio"):
        assert abs(coverage[name] - 0.9) < 3 * error[name] + 0.01


def test_effect_of_a_treatment(tmp_path, capsys):
    example = load("plot_treatment_effect")
    table = example.main(draws=3, n_samples=1000, save=tmp_path / "effect.png")
    assert "Pareto k-hat" in capsys.readouterr().out
    assert (tmp_path / "effect.png").stat().st_size > 10_000
    bias, error = table["bias"], table["std. error"]
    assert bias["difference of means"] < -0.8
    for name in ("balancing weights", "AIPW"):
        assert abs(bias[name]) < 4 * error[name] + 0.05


def test_value_of_a_policy(tmp_path):
    example = load("plot_off_policy")
    table = example.main(draws=4, n_samples=1500, save=tmp_path / "policy.png")
    assert (tmp_path / "policy.png").stat().st_size > 10_000
    assert table["bias"]["mean of the log"] < -0.06
    for name in table.index[2:]:
        assert abs(table["bias"][name]) < 0.04


def test_label_shift(tmp_path):
    example = load("plot_label_shift")
    table = example.main(draws=6, save=tmp_path / "labels.png")
    assert (tmp_path / "labels.png").stat().st_size > 10_000
    wrong = table["error of the share"]
    assert wrong["ratio of x"] > 0.2
    assert max(wrong["EM"], wrong["black-box shift estimation"]) < 0.06
    assert table["accuracy"]["EM"] > table["accuracy"]["ratio of x"] + 0.1


def test_reweighted_simulation(tmp_path):
    example = load("plot_reweight_simulation")
    # Pairs of a hand: 1 > 0 counts, a negative event takes away.
    auc = example.weighted_auc(
        np.array([0.0, 2.0, 0.5]), np.array([1.0, 1.0, -0.5]), np.array([1.0, 3.0])
    )
    np.testing.assert_allclose(auc, np.mean([(1 - 0.5) / 1.5, 1.0]))
    table = example.main(draws=1, n_samples=2000, save=tmp_path / "simulation.png")
    assert (tmp_path / "simulation.png").stat().st_size > 10_000
    wrong = table["error of the ratio"]
    assert wrong["LSIF, signed"] < 0.8 * wrong["LSIF, signs ignored"]
    assert table["closure AUC"]["none"] > table["closure AUC"]["LSIF, signed"] + 0.05


def test_displays(tmp_path, monkeypatch):
    arguments = ["--samples", "150", "--steps", "25", "--save", str(tmp_path / "d")]
    monkeypatch.setattr("sys.argv", ["plot_displays.py", *arguments])
    few = AutoRatio.default_candidates()[:3]
    monkeypatch.setattr(AutoRatio, "default_candidates", staticmethod(lambda: few))
    names = runpy.run_path(str(path_of("plot_displays")))
    pictures = sorted(tmp_path.iterdir())
    assert len(pictures) == 9
    assert min(picture.stat().st_size for picture in pictures) > 10_000
    # Each Display of the package is shown.
    shown = {name for name in names if name.endswith("Display")}
    assert shown == set(inspection.__all__)


def test_paths_from_one_sample_to_the_other(tmp_path, monkeypatch):
    example = load("plot_bridge_paths")
    drawn = []

    def keep(ax, x, y, **kwargs):
        drawn.append(np.column_stack([x, y]))

    monkeypatch.setattr("matplotlib.axes.Axes.scatter", keep)
    example.main(n_samples=200, save=tmp_path / "paths.png")
    assert (tmp_path / "paths.png").stat().st_size > 10_000
    shift = make_known_ratio("far_moons", 200, random_state=0)
    drawn = np.reshape(drawn, (len(example.PATHS), 5, 200, 2)) - [2, 0]
    for name, rows in zip(example.PATHS, drawn, strict=True):
        # VPSDE starts near the denominator only.
        near = 0.1 if name == "VPSDE" else 1e-6
        np.testing.assert_allclose(rows[0], shift.denominator, atol=near)
        np.testing.assert_allclose(rows[-1], shift.numerator, atol=1e-6)
        assert np.ptp(rows[2] - shift.denominator) > 0.5
        detour = rows[2, :, 0].mean() - rows[[0, 4], :, 0].mean()
        straight = {"trigonometric, centred", "linear", "bridge, sigma = 1"}
        assert (detour > 0.3) == (name not in straight)


def test_targeted_samples_are_near_the_target(tmp_path, capsys):
    example = load("plot_targeted_generation")
    example.FlowFeaturizer = partial(
        example.FlowFeaturizer, max_epochs=40, n_transforms=2, learning_rate=0.02
    )
    distance = example.main(
        n_target=150, n_source=1000, n_samples=500, save=tmp_path / "targeted.png"
    )
    assert "TargetedSampler" in capsys.readouterr().out
    assert (tmp_path / "targeted.png").stat().st_size > 10_000
    assert distance["new rows of the target"] < 0.02
    for other in ("flow of both", "flow of both, weights r"):
        assert distance["TargetedSampler"] < 0.6 * distance[other]


def test_flow_and_classifier_together_or_apart(tmp_path, capsys):
    example = load("plot_flow_classifier")
    X, y, truth = example.draw(50, seed=0)
    log_p, log_q = (multivariate_normal.logpdf(X, [mean] * 2) for mean in (0, 3))
    np.testing.assert_allclose(truth, log_p - log_q)
    assert truth[y == 1].mean() > 0 > truth[y == 0].mean()

    small = {"max_iter": 75, "hidden_features": (16, 16)}
    example.MLPRatio = partial(example.MLPRatio, **small)
    example.FlowClassifierRatio = partial(
        example.FlowClassifierRatio, n_transforms=1, flow_hidden_features=(8,), **small
    )
    example.ALPHAS = (0.5,)
    table = example.main(n_samples=200, save=tmp_path / "flow.png")
    assert "discriminative" in capsys.readouterr().out
    assert (tmp_path / "flow.png").stat().st_size > 10_000
    table = table.set_index("strategy")
    assert (table["rank correlation"] > 0.9).all()
    # Only the log loss alone leaves the likelihood out.
    likelihood = table["log likelihood"].drop("classifier in x")
    assert likelihood.idxmin() == "discriminative"


def test_drift_over_months_is_that_of_the_table(tmp_path, capsys):
    example = load("plot_drift_over_months")
    rng = np.random.default_rng(0)
    # No test of one column could see it.
    for month, sign in ((0, 1), (8, -1)):
        table = example.draw(2000, rng, month)
        assert sign * table[["balance", "spending"]].corr().iloc[0, 1] > 0.5
        assert table["spending"].std() == pytest.approx(1, abs=0.06)
    quick = AutoRatio(AutoRatio.default_candidates()[6:7], cv=2, random_state=0)
    example.drift_over_time = partial(example.drift_over_time, estimator=quick, cv=2)
    history = example.main(n_months=4, n_rows=150, save=tmp_path / "months.png")
    assert "month 4" in capsys.readouterr().out
    assert (tmp_path / "months.png").stat().st_size > 10_000
    assert history.to_frame().shape == (4, 8)


def test_change_points_are_where_the_series_changes(tmp_path, capsys):
    example = load("plot_change_points")
    example.change_scores = partial(example.change_scores, step=20)
    example.main(save=tmp_path / "changes.png")
    assert (tmp_path / "changes.png").stat().st_size > 10_000
    found = capsys.readouterr().out.rpartition("[")[2].rstrip("]\n").split(",")
    assert example.n_found([int(each) for each in found], tolerance=12) == 3
    # The score by its definition, and no change without one.
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 50, 1))
    assert example.relative_divergence(p, q) < 0.2
    assert example.relative_divergence(p + 3, q) > 1


def test_novel_rows_have_small_ratios(tmp_path, capsys):
    example = load("plot_novelty")
    known, new, is_novel = example.draw("digits", 0)
    assert known.shape[1] == new.shape[1] == 10
    assert 0.08 < is_novel.mean() < 0.12
    # The choice among many takes seconds.
    example.CANDIDATES = slice(1, 2)
    table = example.main(repeats=1, save=tmp_path / "novelty.png")
    assert (tmp_path / "novelty.png").stat().st_size > 10_000
    assert table.loc["digits", ("area", "LSIFRatio")] > 0.85


def test_moving_helps_where_there_is_nothing_to_weight(tmp_path, capsys):
    example = load("plot_align_digits")
    table = example.main(repeats=1, save=tmp_path / "digits.png")
    assert "one pixel lower" in capsys.readouterr().out
    assert (tmp_path / "digits.png").stat().st_size > 10_000
    assert (table[["as they are", "weighted"]] < 0.3).all(axis=None)
    assert table.loc["blurred", "moved"] > 0.95
    assert 0.6 < table.loc["blurred, one pixel lower", "moved"] < 0.9
    assert (table["ratio before"] > 5).all()


def test_density_of_digits(tmp_path, capsys):
    example = load("plot_digits_density")
    del example.RATIOS["bridges"], example.RATIOS["network"]
    trees = example.RATIOS["boosted trees"].estimator
    trees.set_params(max_iter=60, max_leaf_nodes=8)
    table = example.main(400, n_steps=12, n_chains=24, save=tmp_path / "digits.png")
    assert "RAISE" in capsys.readouterr().out
    assert (tmp_path / "digits.png").stat().st_size > 5_000
    line = table.loc["boosted trees"]
    # The ratio helps, also once the constant is known.
    assert max(line["RAISE"], line["AIS"], line["direct"]) < line["base"] - 0.004
    assert abs(line["RAISE"] - line["AIS"]) < 0.02


def test_more_rows_than_memory(tmp_path, capsys):
    example = load("plot_out_of_core")
    size, found = example.main(n_rows=90_000, save=tmp_path / "errors.png")
    assert "MB in files" in capsys.readouterr().out
    for _, errors, peak in found.values():
        # What is held does not grow with the files.
        assert peak < 0.8 * size
        assert errors[-1] < errors[0]
    assert found["GaussianRatio"][1][-1] < 2e-3
