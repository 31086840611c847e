"""The scripts on mutual information of examples/papers, and their parametric score."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator

from skdre import DensityRatioMixin, TimeScoreRatio, pool

torch = pytest.importorskip("torch")

PAPERS = Path(__file__).parents[1] / "examples/papers"


def load(folder, name):
    """A script, under a name of its own, or a module that it imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PAPERS / folder)
        if name.startswith("_"):
            return importlib.import_module(name)
        path = PAPERS / folder / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"{folder}_{name}", path)
        module = importlib.util.module_from_spec(spec)
        # The scripts add folders of their own, which go with them.
        patch.setattr(sys, "path", list(sys.path))
        spec.loader.exec_module(module)
        return module


class TestGaussianScore:
    @pytest.fixture
    def network(self):
        network = load("dre_infinity", "_gaussian_score").GaussianScore(4).double()
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(4, 4, generator=generator, dtype=torch.float64)
        network.factor.data += 0.15 * noise
        return network

    @pytest.fixture
    def rows(self):
        generator = torch.Generator().manual_seed(1)
        x = 2 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
        return x, torch.linspace(0, 1, 6, dtype=torch.float64)[:, None]

    @staticmethod
    def log_density(x, t, factor):
        """Of each row at its time, by torch's own Gaussian."""
        eye = torch.eye(len(factor), dtype=x.dtype)
        covariance = (1 - t**2)[..., None] * eye + (t**2)[..., None] * (
            factor @ factor.T
        )
        return torch.distributions.MultivariateNormal(
            torch.zeros_like(x), covariance
        ).log_prob(x)

    def scores_by_autograd(self, x, t, factor):
        x, t = x.clone().requires_grad_(True), t.clone().requires_grad_(True)
        total = self.log_density(x, t, factor).sum()
        slope_x, slope_t = torch.autograd.grad(total, (x, t), create_graph=True)
        return torch.cat([slope_t, slope_x], dim=1)

    def test_scores_are_those_of_the_density(self, network, rows):
        expected = self.scores_by_autograd(*rows, network.factor.detach())
        torch.testing.assert_close(network(*rows), expected)

    def test_scores_at_the_start(self, rows):
        """Sigma = I, where all eigenvalues coincide."""
        network = load("dre_infinity", "_gaussian_score").GaussianScore(4).double()
        scores = network(*rows)
        torch.testing.assert_close(scores[:, 1:], -rows[0])
        assert (scores[:, 0].abs() < 1e-12).all()
        scores.square().sum().backward()
        assert network.factor.grad.isfinite().all()

    @pytest.mark.parametrize("spread", [0.0, 0.3])
    def test_gradient_for_the_parameters(self, network, rows, spread):
        """Also of the derivatives along a direction, as the objectives need them."""
        network.factor.data = torch.lerp(
            torch.eye(4, dtype=torch.float64), network.factor.data, spread
        )
        dx, dt = torch.ones_like(rows[0]), torch.full_like(rows[1], 0.5)
        weight = torch.arange(1.0, 31, dtype=torch.float64).view(6, 5)
        gradients = []
        for scores in (
            network,
            lambda x, t: self.scores_by_autograd(x, t, network.factor),
        ):
            if scores is network:
                value, slope = torch.func.jvp(network, rows, (dx, dt))
            else:
                value = scores(*rows)
                # Central differences of the scores, still a function of the factor.
                ahead, behind = (
                    scores(rows[0] + h * dx, rows[1] + h * dt) for h in (1e-4, -1e-4)
                )
                slope = (ahead - behind) / 2e-4
            loss = (weight * (value**2 + slope)).sum()
            gradients.append(torch.autograd.grad(loss, network.factor)[0])
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)

    def test_log_ratio_is_the_integral_of_the_time_score(self, network, rows):
        x, _ = rows
        nodes, weights = map(torch.tensor, np.polynomial.legendre.leggauss(40))
        times = ((nodes + 1) / 2).tolist()
        scores = [network(x, torch.full_like(x[:, :1], t))[:, 0] for t in times]
        integral = (weights / 2) @ torch.stack(scores)
        ends = (torch.full_like(x[:, :1], t) for t in (0.0, 1.0))
        at_0, at_1 = (self.log_density(x, t, network.factor) for t in ends)
        torch.testing.assert_close(network.log_ratio(x), at_1 - at_0)
        torch.testing.assert_close(network.log_ratio(x), integral, rtol=1e-6, atol=1e-6)

    def test_single_precision_of_many_columns(self):
        network = load("dre_infinity", "_gaussian_score").GaussianScore(160)
        block = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
        network.factor.data = torch.block_diag(*[block] * 80)
        x = torch.randn(50, 160, generator=torch.Generator().manual_seed(0))
        t = torch.linspace(0, 1, 50)[:, None]
        exact = network.double()(x.double(), t.double())
        network = network.float()
        torch.testing.assert_close(network(x, t), exact.float(), rtol=1e-3, atol=1e-3)
        assert network.log_ratio(x).isfinite().all()
        assert network.log_ratio(x @ network.factor.T).mean().item() == pytest.approx(
            -40 * math.log(1 - 0.8**2), rel=0.05
        )

    def test_time_score_alone_gives_no_gradient(self, network, rows):
        """The data score's gradient is left, and all values are the same."""
        without = load("dre_infinity", "_gaussian_score").GaussianScore(
            4, learn_from_time=False
        )
        without = without.double()
        without.load_state_dict(network.state_dict())
        direction = torch.ones_like(rows[0]), torch.ones_like(rows[1])
        for one, other in zip(
            torch.func.jvp(without, rows, direction),
            torch.func.jvp(network, rows, direction),
            strict=True,
        ):
            torch.testing.assert_close(one, other)
        scores = without(*rows)
        assert not torch.autograd.grad(
            scores[:, 0].sum(), without.factor, retain_graph=True
        )[0].any()
        data = [
            torch.autograd.grad(each(*rows)[:, 1:].square().sum(), each.factor)[0]
            for each in (without, network)
        ]
        torch.testing.assert_close(*data)

    @pytest.mark.parametrize("learn_from_time", [False, True])
    def test_learns_the_ratio(self, learn_from_time):
        module = load("dre_infinity", "mutual_information")
        problem = load("dre_infinity", "_correlated").CorrelatedGaussians(2, 0.8)
        model = module.parametric_score(4, 0, learn_from_time)
        assert isinstance(model, TimeScoreRatio)
        model.set_params(max_iter=200, batch_size=256, learning_rate=0.02)
        joint, permuted = problem.samples(5000, np.random.default_rng(0))
        model.fit(*pool(numerator=joint, denominator=permuted))
        test = np.vstack(problem.samples(500, np.random.default_rng(1)))
        error = model.decision_function(test) - problem.log_ratio(test)
        assert np.mean(error**2) < 0.02 * np.var(problem.log_ratio(test))


class TestCorrelatedGaussians:
    @pytest.fixture
    def module(self):
        return load("dre_infinity", "_correlated")

    def test_truth(self, module):
        # d = 40 and 320 of Figure 5; the featurized paper's, which prints 16.67.
        assert module.CorrelatedGaussians(20, 0.8).information == pytest.approx(
            10.217, abs=1e-3
        )
        assert module.CorrelatedGaussians(160, 0.8).information == pytest.approx(
            81.732, abs=1e-3
        )
        assert module.CorrelatedGaussians(20, 0.9).information == pytest.approx(
            16.607, abs=1e-3
        )

    def test_log_ratio(self, module):
        problem = module.CorrelatedGaussians(2, 0.8)
        rows = np.random.default_rng(0).normal(size=(50, 4))
        covariance = np.eye(4) + 0.8 * np.eye(4)[[2, 3, 0, 1]]
        expected = multivariate_normal.logpdf(rows, cov=covariance)
        expected -= multivariate_normal.logpdf(rows, cov=np.eye(4))
        np.testing.assert_allclose(problem.log_ratio(rows), expected)

    def test_samples(self, module):
        problem = module.CorrelatedGaussians(2, 0.8)
        joint, permuted = problem.samples(20_000, np.random.default_rng(0))
        covariance = np.eye(4) + 0.8 * np.eye(4)[[2, 3, 0, 1]]
        np.testing.assert_allclose(np.cov(joint.T), covariance, atol=0.04)
        np.testing.assert_allclose(np.cov(permuted.T), np.eye(4), atol=0.04)
        assert problem.log_ratio(joint).mean() == pytest.approx(
            problem.information, abs=0.05
        )

    @pytest.mark.parametrize("sign", [1, -1])
    def test_evaluation(self, module, sign):
        problem = module.CorrelatedGaussians(2, 0.8)

        class Known(DensityRatioMixin, BaseEstimator):
            def fit(self, X, y):
                self.rows = {label: X[y == label] for label in (0, 1)}
                return self

            def decision_function(self, X):
                return sign * problem.log_ratio(X)

        model = Known()
        result = module.evaluate(model, problem, 0, rows=300, test_rows=4000)
        assert set(result) == set(module.RESULTS)
        truth = problem.information
        assert result["true_mean"] == pytest.approx(truth, abs=0.1)
        assert result["estimate"] == sign * result["true_mean"]
        assert result["standard_error"] == pytest.approx(
            np.sqrt(2 * 0.64 / 4000), rel=0.1
        )
        for error in ("error_joint", "error_permuted"):
            assert result[error] == 0 if sign == 1 else result[error] > truth**2
        # The numerator is the joint law.
        assert [len(model.rows[label]) for label in (0, 1)] == [300, 300]
        means = [problem.log_ratio(model.rows[label]).mean() for label in (0, 1)]
        assert means[0] < 0 < means[1]


@pytest.mark.parametrize(
    ("folder", "methods", "n_runs"),
    [
        ("dre_infinity", ["Gaussian plug-in", "parametric score"], 4),
        ("featurized", ["Gaussian plug-in, in x", "MLPRatio, in flow space"], 2),
    ],
)
def test_scripts(folder, methods, n_runs, tmp_path, capsys):
    pytest.importorskip("matplotlib").use("agg")
    script = load(folder, "mutual_information")
    assert all(make for make in script.METHODS.values())
    arguments = ["--quick", "--out", str(tmp_path), "--methods", *methods]
    script.main(arguments)
    printed = capsys.readouterr().out
    assert all(method in printed for method in [*methods, "truth"])
    assert (tmp_path / "mutual_information_quick.png").stat().st_size > 5_000
    runs = pd.read_csv(tmp_path / "mutual_information_quick.csv")
    assert len(runs) == n_runs
    plug_in = runs[runs["method"] == methods[0]]
    assert (plug_in["estimate"] / plug_in["true_mean"]).between(0.7, 1.3).all()
    # Finished runs are not run again.
    script.main(arguments)
    assert len(pd.read_csv(tmp_path / "mutual_information_quick.csv")) == n_runs


@pytest.mark.parametrize("folder", ["dre_infinity", "featurized"])
def test_every_method_can_be_made(folder):
    script = load(folder, "mutual_information")
    for make in script.METHODS.values():
        model = make(8, 3) if folder == "dre_infinity" else make(3)
        states = [
            value
            for name, value in model.get_params().items()
            if name.endswith("random_state")
        ]
        assert all(value == 3 for value in states)


def test_strategies(tmp_path, capsys):
    """The same problem and table, for the strategies of Figures 4 and 9."""
    pytest.importorskip("matplotlib").use("agg")
    script = load("featurized", "strategies_mutual_information")
    models = {name: make(3) for name, make in script.METHODS.items()}
    assert all(model.random_state == 3 for model in models.values())
    trained = {
        name: (model.strategy, model.alpha)
        for name, model in models.items()
        if "baseline" not in name
    }
    assert trained == {
        "separate": ("separate", 0.9),
        "joint, alpha = 0.1": ("joint", 0.1),
        "joint, alpha = 0.5": ("joint", 0.5),
        "joint, alpha = 0.9": ("joint", 0.9),
        "discriminative": ("discriminative", 0.9),
    }
    methods = ["baseline: classifier in x", "joint, alpha = 0.9"]
    arguments = ["--quick", "--out", str(tmp_path), "--methods", *methods]
    script.main(arguments)
    printed = capsys.readouterr().out
    assert all(method in printed for method in [*methods, "truth"])
    name = "strategies_mutual_information_quick"
    assert (tmp_path / f"{name}.png").stat().st_size > 5_000
    assert list(pd.read_csv(tmp_path / f"{name}.csv")["method"]) == methods
