"""On a GPU: the same results as on the CPU, and pickles that load without one."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from instances import make_instances
from scipy.stats import spearmanr
from sklearn.base import clone

from skdre.datasets import make_warped_shift

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device"
)


def on_a_device():
    return [each for each in make_instances() if "device" in each.get_params()]


def fit(estimator, device, shift):
    params = {"device": device}
    if "random_state" in estimator.get_params():
        params["random_state"] = 0
    return clone(estimator).set_params(**params).fit(*shift.pool())


def results(estimator, X):
    """Name to result of the methods that an estimator has."""
    names = ("decision_function", "transform", "score_samples")
    return {
        name: getattr(estimator, name)(X) for name in names if hasattr(estimator, name)
    }


@pytest.fixture(scope="module")
def shift():
    return make_warped_shift(300, 2, warp="banana", random_state=0)


@pytest.mark.parametrize("estimator", on_a_device(), ids=repr)
class TestOnGPU:
    def test_fitted_modules_are_there(self, estimator, shift):
        fitted = fit(estimator, "cuda", shift)
        modules = [m for m in vars(fitted).values() if isinstance(m, torch.nn.Module)]
        assert all(p.is_cuda for module in modules for p in module.parameters())

    def test_same_weights_same_results(self, estimator, shift):
        """In double precision, so only the order of sums differs."""
        fitted = fit(estimator, "cuda", shift)
        X, _ = shift.pool()
        on_gpu = results(fitted, X)
        on_cpu = results(pickle.loads(pickle.dumps(fitted)), X)
        assert on_gpu
        for name, result in on_gpu.items():
            np.testing.assert_allclose(result, on_cpu[name], rtol=1e-6, atol=1e-6)

    def test_fit_is_that_of_the_cpu(self, estimator, shift):
        """Training is in single precision, and devices draw their own noise."""
        X, _ = shift.pool()
        on_gpu = results(fit(estimator, "cuda", shift), X)
        on_cpu = results(fit(estimator, "cpu", shift), X)
        for name, result in on_gpu.items():
            a, b = np.ravel(result), np.ravel(on_cpu[name])
            assert spearmanr(a, b).statistic > 0.99
            assert np.mean((a - b) ** 2) < 0.02 * np.var(b)

    def test_fit_repeats(self, estimator, shift):
        X, _ = shift.pool()
        first, second = (results(fit(estimator, "cuda", shift), X) for _ in range(2))
        for name, result in first.items():
            np.testing.assert_allclose(result, second[name], rtol=1e-3, atol=1e-3)

    def test_pickle_loads_without_a_gpu(self, estimator, shift, tmp_path):
        fitted = fit(estimator, "cuda", shift)
        X, _ = shift.pool()
        path = tmp_path / "fitted.pickle"
        path.write_bytes(pickle.dumps((fitted, X, results(fitted, X))))
        script = (
            "import pickle, sys, numpy as np, torch\n"
            "assert not torch.cuda.is_available()\n"
            "fitted, X, expected = pickle.load(open(sys.argv[1], 'rb'))\n"
            "for name, result in expected.items():\n"
            "    np.testing.assert_allclose(\n"
            "        getattr(fitted, name)(X), result, rtol=1e-6, atol=1e-6)\n"
        )
        hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([sys.executable, "-c", script, path], env=hidden, check=True)


def test_auto_takes_the_gpu(shift):
    estimator = next(e for e in on_a_device() if hasattr(e, "decision_function"))
    fitted = fit(estimator, "auto", shift)
    assert any(
        p.is_cuda
        for module in vars(fitted).values()
        if isinstance(module, torch.nn.Module)
        for p in module.parameters()
    )
