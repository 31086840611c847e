"""The pieces of examples/papers/dre_infinity that can go wrong, and tiny runs."""

import importlib
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.exceptions import ConvergenceWarning

import skdre
from skdre.time_score import GaussLegendre
from skdre.utils import all_estimators

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parents[1] / "examples/papers/dre_infinity"


def load(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module(name)


class TestRuns:
    @pytest.fixture
    def runs(self, tmp_path):
        path = tmp_path / "folder" / "runs.csv"
        return lambda: load("_runs").Runs(path, ["name", "rows"], ["error"])

    def test_finished_runs_are_found_again(self, runs):
        first = runs()
        assert first.frame().empty
        first.add({"name": "a, b", "rows": 10, "error": 0.5})
        assert {"name": "a, b", "rows": 10} in first
        again = runs()
        assert {"name": "a, b", "rows": 10} in again
        assert {"name": "a, b", "rows": 100} not in again
        again.add({"name": "c", "rows": 100, "error": 1.0})
        expected = pd.DataFrame(
            {"name": ["a, b", "c"], "rows": [10, 100], "error": [0.5, 1.0]}
        )
        pd.testing.assert_frame_equal(runs().frame(), expected)

    def test_another_table_is_left_alone(self, runs, tmp_path):
        runs().add({"name": "a", "rows": 10, "error": 0.5})
        with pytest.raises(ValueError, match=r"columns .*'error'.* move it away"):
            load("_runs").Runs(tmp_path / "folder" / "runs.csv", ["name"], ["seconds"])


def test_squared_error_clips_both():
    squared_error = load("_runs").squared_error
    assert squared_error([20.0, 1.0], [30.0, 0.0], 15) == 0.5
    assert squared_error([20.0, 1.0], [30.0, 0.0]) == 50.5


@pytest.fixture(scope="module")
def known_ratios():
    return load("known_ratios")


class TestKnownRatios:
    def test_every_ratio_estimator_of_the_package_is_in_the_table(self, known_ratios):
        every = {
            name
            for name, cls in all_estimators()
            if issubclass(cls, skdre.DensityRatioMixin)
            # It answers as the estimator that it is given.
            and cls is not skdre.JackknifeRatio
        }
        run = [type(make(0)).__name__ for make in known_ratios.ESTIMATORS.values()]
        assert set(run) == every
        for make in known_ratios.ESTIMATORS.values():
            assert make(7).get_params().get("random_state", 7) == 7

    def test_estimators_not_named_are_added(self, known_ratios):
        estimators = {"Gaussian": known_ratios.ESTIMATORS["Gaussian"]}
        known_ratios.add_missing(estimators)
        assert "GaussianRatio" not in estimators
        assert estimators["KMMRatio"](3).random_state == 3

    def test_run(self, known_ratios):
        result = known_ratios.run("shift_d50", "Gaussian", 1000, 0)
        assert 0.02 < result["error"] < 0.3
        assert result["seconds"] > 0
        again = known_ratios.run("shift_d50", "Gaussian", 1000, 0)
        assert again["error"] == result["error"]
        other = known_ratios.run("shift_d50", "Gaussian", 1000, 1)
        assert other["error"] != result["error"]

    def test_error_is_that_of_rows_not_seen(self, known_ratios, monkeypatch):
        """An estimator that knows the ratio has no error; another has the variance."""

        class Known:
            def __init__(self, factor):
                self.factor = factor

            def get_params(self):
                return {}

            def fit(self, X, y):
                self.X = X

            def decision_function(self, X):
                assert len(X) == 2 * known_ratios.NEW_ROWS
                assert not np.isin(X, self.X).any()
                p, q = (multivariate_normal(np.full(2, m)) for m in (4, 0))
                return self.factor * (p.logpdf(X) - q.logpdf(X))

        def known(factor, seed):
            return Known(factor)

        for factor, low, high in ((1, 0, 1e-12), (0, 150, 225), (-1, 600, 900)):
            monkeypatch.setitem(
                known_ratios.ESTIMATORS, "known", partial(known, factor)
            )
            error = known_ratios.run("far_gaussians_d2", "known", 100, 0)["error"]
            assert low <= error <= high

    def test_tables(self, known_ratios, tmp_path, monkeypatch):
        runs = pd.DataFrame(
            [
                ("ring", "QDA", 100, 0, 3.0, 1.0, ""),
                ("ring", "QDA", 100, 1, 5.0, 3.0, ""),
                ("ring", "MLP", 100, 0, 1.0, 1.0, ""),
                ("same_d5", "QDA", 100, 0, 0.001, 1.0, ""),
                ("same_d5", "MLP", 100, 0, 0.008, 1.0, ""),
                ("ring", "QDA", 1000, 0, 7.0, 1.0, ""),
            ],
            columns=known_ratios.KEYS + known_ratios.RESULTS,
        )
        lines, factors = known_ratios.error_table(runs)
        ring, same, over, seconds, seeds = lines[:5]
        assert (ring["QDA"], ring["MLP"]) == (4.0, 1.0)
        assert (same["QDA"], same["MLP"]) == (0.001, 0.008)
        # 4 and 1 on the ring; .002, to which .001 is raised, and four times that.
        assert over["QDA"] == pytest.approx(2.0)
        assert over["MLP"] == pytest.approx(2.0)
        assert seconds["QDA"] == "1.7 (3)"
        assert (seeds["QDA"], seeds["MLP"]) == (2, 1)
        assert lines[5]["rows"] == "1,000"
        assert "MLP" not in lines[5]
        text = known_ratios.report(runs)
        assert text.count("ring") == 2

        auto = runs[runs["estimator"] == "QDA"].assign(estimator="AutoRatio")
        both = pd.concat([runs, auto.assign(error=2 * auto["error"])])
        monkeypatch.setitem(known_ratios.ESTIMATORS, "AutoRatio", None)
        _, factors = known_ratios.error_table(both)
        table = known_ratios.automatic_table(factors)
        assert [line["best"] for line in table] == ["MLP", "QDA", "QDA"]
        assert [line["factor"] for line in table] == pytest.approx([8, 1, 2])

        pytest.importorskip("matplotlib")
        known_ratios.plot(runs, tmp_path / "plot.png")
        assert (tmp_path / "plot.png").stat().st_size > 5_000

    def test_quick_runs_are_kept_and_go_on(
        self, known_ratios, tmp_path, capsys, monkeypatch
    ):
        pytest.importorskip("matplotlib")
        arguments = ["--quick", "--out", str(tmp_path), "--estimators"]
        known_ratios.main([*arguments, "Gaussian"])
        monkeypatch.setitem(known_ratios.ESTIMATORS, "Gaussian", None)
        known_ratios.main([*arguments, "Gaussian", "logistic"])
        printed = capsys.readouterr().out
        assert "logistic" in printed
        runs = pd.read_csv(tmp_path / "known_ratios_quick.csv")
        assert len(runs) == 4
        assert (runs["rows"] == 200).all()


@pytest.fixture(scope="module")
def gaussians_2d():
    return load("gaussians_2d")


class TestGaussians:
    def test_evaluation_rows(self, gaussians_2d):
        rows = gaussians_2d.evaluation_rows(0, rows=5000)
        (X, truth), (X_moved, truth_moved) = rows["same"], rows["shifted"]
        np.testing.assert_allclose(
            X.reshape(2, -1, 2).mean(axis=1), [[4, 4], [0, 0]], atol=0.1
        )
        np.testing.assert_allclose(X_moved[:5000] - X[:5000], 1)
        np.testing.assert_array_equal(X_moved[5000:], X[5000:])
        for each, expected in ((X, truth), (X_moved, truth_moved)):
            p, q = (multivariate_normal(np.full(2, m)) for m in (4, 0))
            np.testing.assert_allclose(
                p.logpdf(each) - q.logpdf(each), expected, atol=1e-8
            )

    def test_plug_in(self, gaussians_2d):
        result, log_ratios = gaussians_2d.run("Gaussian plug-in", 0, rows=2000)
        assert result["error_same"] < 0.2
        assert result["error_same"] < result["error_shifted"] < 0.4
        assert set(log_ratios) == set(gaussians_2d.EVALUATIONS)

    def test_quick(self, gaussians_2d, tmp_path, capsys):
        pytest.importorskip("matplotlib")
        methods = ["Gaussian plug-in", "one classifier (NCE)"]
        gaussians_2d.main(["--quick", "--out", str(tmp_path), "--methods", *methods])
        printed = capsys.readouterr().out
        assert all(method in printed for method in methods)
        assert "952.8" in printed
        runs = pd.read_csv(tmp_path / "gaussians_2d_quick.csv")
        assert runs["method"].tolist() == methods
        assert (tmp_path / "gaussians_2d_quick.png").stat().st_size > 10_000


@pytest.fixture(scope="module")
def parameter_recovery():
    return load("parameter_recovery")


class TestParameterRecovery:
    @pytest.mark.parametrize("theta", [0.0, 0.75])
    @pytest.mark.parametrize("variance", [1e-2, 1e-6])
    def test_scores_are_the_derivatives(self, parameter_recovery, variance, theta):
        """The paper's formulas against automatic differentiation."""
        network = parameter_recovery.ParametricScore(variance, theta).double()
        rng = torch.Generator().manual_seed(0)
        t = torch.rand(50, 1, dtype=torch.double, generator=rng).requires_grad_()
        x = torch.randn(50, 1, dtype=torch.double, generator=rng).requires_grad_()
        v = 1 - (1 - variance) * t**2
        law = torch.distributions.Normal(network.theta.detach(), v.sqrt())
        expected = torch.autograd.grad(law.log_prob(x).sum(), (t, x))
        np.testing.assert_allclose(
            network(x, t).detach(), torch.cat(expected, dim=1), rtol=1e-7
        )

    def test_log_ratio_is_the_integral_of_the_time_score(self, parameter_recovery):
        network = parameter_recovery.ParametricScore(1e-2, 0.25).double()
        X = np.array([-0.2, 0.4, 2.0])
        nodes, weights = np.polynomial.legendre.leggauss(200)
        times = torch.tensor((nodes + 1) / 2)[:, None]
        found = [
            network(torch.full_like(times, x), times)[:, 0].detach().numpy()
            @ weights
            / 2
            for x in X
        ]
        p, q = norm(0.25, 0.1), norm(0.25, 1)
        np.testing.assert_allclose(found, p.logpdf(X) - q.logpdf(X), rtol=1e-8)
        np.testing.assert_allclose(network.log_ratio(X), found, rtol=1e-6)

    def test_recovery(self, parameter_recovery):
        result, log_ratios = parameter_recovery.run(
            1e-2, "1", 1, rows=2000, max_iter=200
        )
        assert abs(result["start"]) > 0.1
        assert abs(result["mean"]) < 0.03
        assert result["error"] < 0.3
        assert result["relative_error"] < 0.15
        assert np.corrcoef(*log_ratios.values())[0, 1] > 0.95

    def test_closed_form_is_what_the_estimator_predicts(self, parameter_recovery):
        network = parameter_recovery.ParametricScore(1e-2, 0.1)
        rng = np.random.default_rng(0)
        rows = {"numerator": rng.normal(5, 0.2, (300, 1))}
        rows["denominator"] = rng.normal(5, 2, (300, 1))
        model = skdre.TimeScoreRatio(
            "joint",
            path="arithmetic",
            denominator="gaussian",
            base_score=None,
            network=network,
            max_iter=1,
            integrator=GaussLegendre(128),
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(*skdre.pool(**rows))
        X = np.array([[4.5], [5.5], [6.0]])
        np.testing.assert_allclose(
            parameter_recovery.log_ratio(model, X),
            model.decision_function(X),
            rtol=1e-5,
        )
        mean, sd = rows["denominator"].mean(), rows["denominator"].std()
        theta = float(model.network_.network.theta)
        recovered = parameter_recovery.to_units_of_rows(model, theta)
        assert abs(recovered - mean) == pytest.approx(abs(theta) * sd, rel=1e-3)

    def test_quick(self, parameter_recovery, tmp_path, capsys):
        pytest.importorskip("matplotlib")
        parameter_recovery.main(["--quick", "--out", str(tmp_path)])
        parameter_recovery.main(["--quick", "--out", str(tmp_path)])
        printed = capsys.readouterr().out
        assert printed.count("1e-06") == 4
        runs = pd.read_csv(tmp_path / "parameter_recovery_quick.csv")
        assert len(runs) == 4
        assert (tmp_path / "parameter_recovery_quick.png").stat().st_size > 5_000


class TestPredictionCost:
    def test_quick(self, tmp_path, capsys, monkeypatch):
        pytest.importorskip("matplotlib")
        script = load("prediction_cost")
        # RK45 goes row by row.
        monkeypatch.setattr(script, "FEW", 30)
        script.main(["--quick", "--out", str(tmp_path)])
        script.main(["--quick", "--out", str(tmp_path)])
        assert "RK45, tolerance 1e-05" in capsys.readouterr().out
        runs = pd.read_csv(tmp_path / "prediction_cost_quick.csv")
        runs = runs.set_index("prediction")
        assert len(runs) == len(script.time_score_predictions()) + len(script.BRIDGES)
        # More of either is more accurate, and costs more.
        for family in ("Gauss-Legendre", "RK45"):
            these = runs[runs.index.str.startswith(family)]
            assert these["error"].iloc[0] >= these["error"].iloc[-1]
            assert these["evaluations"].is_monotonic_increasing
        nodes = runs.loc["Gauss-Legendre, 16 nodes"]
        # Twice the nodes at 32 rows, for the estimate of the error.
        assert nodes["evaluations"] == 16 + 32 * 32 / 200
        assert nodes["error"] < 1e-6 < runs["error"].max()
        assert (runs.loc[["TRE(4)", "TRE(9)"], "evaluations"] == 1).all()
        assert (tmp_path / "prediction_cost_quick.png").stat().st_size > 5_000
