"""The pieces of examples/papers/lrmf that can go wrong, and tiny runs."""

import gzip
import importlib
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from scipy.stats import norm

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parents[1] / "examples/papers/lrmf"


def load(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module(name)


def test_coral_matches_moments():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 300, 2)) @ rng.normal(size=(2, 2, 2)) + 1
    moved = load("_alternatives").coral(source, target, 0)(source)
    assert_allclose(moved.mean(axis=0), target.mean(axis=0))
    assert_allclose(np.cov(moved.T), np.cov(target.T), rtol=1e-5)


def test_mmd_against_loops():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(6, 2)), rng.normal(size=(5, 2)) + 1
    alternatives = load("_alternatives")
    found = alternatives.maximum_mean_discrepancy(*map(torch.as_tensor, (X, Y)), 2.0)

    def kernel(a, b):
        square = ((a - b) ** 2).sum() / 4
        return np.mean([np.exp(-square / (2 * w**2)) for w in alternatives._WIDTHS])

    def mean(A, B):
        return np.mean([[kernel(a, b) for b in B] for a in A])

    expected = mean(X, X) + mean(Y, Y) - 2 * mean(X, Y)
    assert found.item() == pytest.approx(expected)


def test_mmd_map_lowers_the_discrepancy():
    alternatives = load("_alternatives")
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 500, 2))
    source += [2.0, 0.0]
    move = alternatives.mmd_map(source, target, 0, max_epochs=30)
    before, after = (
        alternatives.maximum_mean_discrepancy(*map(torch.as_tensor, (X, target)), 1.0)
        for X in (source, move(source).astype(float))
    )
    assert after < before / 10


def test_gradient_of_the_mixture_by_differences():
    script = load("mixture_gradient")
    rows = np.random.default_rng(0).normal(size=1000)

    def loss(mu, x, weight):
        parts = norm.logpdf(x) - np.log(2), norm.logpdf(x, mu) - np.log(2)
        return weight @ logsumexp(parts, axis=0)

    for mu in (2.0, 4.0):
        h = 1e-5
        x = np.linspace(-10, 14, 20_001)
        for found, at, weight in (
            (script.sampled(mu, rows), rows, np.full(1000, 1e-3)),
            (script.exact(mu), x, norm.pdf(x) * (x[1] - x[0])),
        ):
            slope = (loss(mu + h, at, weight) - loss(mu - h, at, weight)) / (2 * h)
            assert np.exp(found) == pytest.approx(abs(slope), rel=1e-4)
    # Laplace: what is left comes from the rows halfway.
    slopes = np.diff([-script.exact(mu) for mu in (30.0, 32.0)])
    assert slopes[0] == pytest.approx((32**2 - 30**2) / 8, rel=0.02)


def test_moons_are_turned():
    script = load("moons")
    assert_allclose(script.turned(np.array([[1.0, 0.0]]), 90), [[0, 1]], atol=1e-12)
    (source, labels), (target, target_labels) = script.moons(0, 400)
    back = script.turned(source, -script.DEGREES)
    for label in (0, 1):
        assert_allclose(
            back[labels == label].mean(axis=0),
            target[target_labels == label].mean(axis=0),
            atol=0.1,
        )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_state_of_a_training_is_restored():
    script = load("moons")
    (source, _), (target, _) = script.blobs(0, 100)
    watch = script.Watch()
    params = {"flow": "realnvp", "max_iter": 75, "n_transforms": 1, "patience": 1000}
    aligner = script.lrmf(params, source, target, 0, callbacks=[watch])
    assert len(watch.states) == 3
    moved = [script.at_state(aligner, each).transform(source) for each in watch.states]
    best = int(np.argmin(aligner.loss_curve_))
    assert_allclose(moved[best], aligner.transform(source), rtol=1e-5, atol=1e-5)
    assert not np.allclose(moved[0], moved[-1], atol=1e-2)


def test_moons_run_and_go_on(tmp_path, capsys):
    script = load("moons")
    methods = ["nothing", "CORAL", "LRMF, affine, Gaussian family, closed form"]
    arguments = ["--quick", "--pictures", "--out", str(tmp_path), "--methods", *methods]
    script.main(arguments)
    first = (tmp_path / "moons_quick.csv").read_text()
    script.main(arguments)
    assert (tmp_path / "moons_quick.csv").read_text() == first
    printed = capsys.readouterr().out
    assert all(method in printed for method in methods)


def test_mixture_gradient_runs(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    load("mixture_gradient").main(["--quick", "--out", str(tmp_path)])
    assert "quadrature" in capsys.readouterr().out
    assert (tmp_path / "mixture_gradient_quick.png").stat().st_size > 5000


@pytest.fixture
def folder(tmp_path):
    """Files in the formats of USPS and MNIST, with bars in place of digits."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 10
    usps = -np.ones((300, 16, 16))
    mnist = np.zeros((300, 28, 28), np.uint8)
    for k, label in enumerate(labels):
        usps[k, :, label + 2] = mnist[k, :, 2 * label + 4] = 1
    mnist = mnist * 200 + rng.integers(0, 20, mnist.shape, dtype=np.uint8)
    table = np.column_stack([labels, usps.reshape(300, -1)])
    with gzip.open(tmp_path / "zip.test.gz", "wt") as file:
        np.savetxt(file, table, fmt="%.4f")
    with gzip.open(tmp_path / "t10k-images-idx3-ubyte.gz", "wb") as file:
        file.write(bytes(16) + mnist.tobytes())
    with gzip.open(tmp_path / "t10k-labels-idx1-ubyte.gz", "wb") as file:
        file.write(bytes(8) + labels.astype(np.uint8).tobytes())
    return tmp_path


def test_digits_run(folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    script = load("digits")
    for X, y in (script.load_usps(folder), script.load_mnist(folder)):
        assert X.shape == (300, 256)
        assert -0.01 <= X.min() < 0.2 < X.max() <= 1.01
        assert y.tolist() == [k % 10 for k in range(300)]
        # The bar stands where its label says.
        places = X.reshape(-1, 16, 16).mean(axis=1).argmax(axis=1)
        assert np.corrcoef(places, y)[0, 1] > 0.98
    script.main(["--quick", "--data", str(folder), "--out", str(tmp_path)])
    assert "RealNVP" in capsys.readouterr().out
    assert (tmp_path / "digits_quick.png").stat().st_size > 5000
