"""The pieces of mnist.py that can go wrong, and a tiny run on made-up images."""

import gzip
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.frozen import FrozenEstimator

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parents[1] / "examples/papers/dre_infinity"


def load(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def digits():
    return load("_digits")


def write_images(folder, n_train=60, n_test=20):
    rng = np.random.default_rng(0)
    for part, n in (("train", n_train), ("t10k", n_test)):
        images = rng.integers(256, size=(n, 28, 28)).astype(np.uint8)
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(bytes(16) + images.tobytes())
    return images


def test_images_of_both_sizes(digits, tmp_path):
    test = write_images(tmp_path)
    _, rows = digits.load_digits(tmp_path, 28)
    assert_array_equal(rows.reshape(test.shape), test)
    train, rows = digits.load_digits(tmp_path, 14)
    assert train.shape == (60, 196)
    means = test[:, :2, 2:4].astype(float).mean(axis=(1, 2))
    assert_allclose(rows[:, 1], means, atol=0.5)
    assert not (rows % 1).any()


def test_rows_with_the_moments_of_the_base(digits):
    rows = digits.standard_normal_rows(5, np.random.default_rng(0))
    assert_allclose(rows.mean(axis=0), 0, atol=1e-12)
    assert_allclose(rows.T @ rows / len(rows), np.eye(5), atol=1e-12)


def test_a_deadline_stops_and_leaves_a_checkpoint(digits, tmp_path):
    cell = digits.Cell(tmp_path, "gaussian NCE")
    assert cell.record == {"state": "none"}
    seconds = iter(range(0, 10**6, 35))
    deadline = digits.Deadline(cell, 150, lambda: next(seconds))
    network = digits.UNet((4, 4), channels=(4,), time_features=None)
    ratio = digits.new_ratio(
        "NCE",
        network,
        max_iter=10**4,
        device="cpu",
        seed=0,
        callbacks=[("deadline", deadline)],
    )
    rng = np.random.default_rng(0)
    ratio.set_params(batch_size=16)
    X, y = rng.normal(size=(80, 16)), np.arange(80) % 2
    ratio.fit(X, y)
    assert ratio.n_iter_ == 5 * 25
    assert cell.record == {"state": "unfinished", "steps": 100}
    again = digits._from_checkpoint(
        cell, "NCE", digits.UNet((4, 4), channels=(4,), time_features=None)
    )
    fitted = ratio.network_.network.state_dict()
    close = [
        torch.allclose(each, fitted[name].float(), atol=0.05)
        for name, each in again.state_dict().items()
    ]
    assert all(close)


@pytest.mark.filterwarnings("ignore")
def test_a_tiny_run_is_kept_and_written(tmp_path, monkeypatch, capsys):
    mnist = load("mnist")
    write_images(tmp_path)
    arguments = f"--data-dir {tmp_path} --out {tmp_path} --quick --noise gaussian"
    arguments = [*arguments.split(), "--method", "NCE"]
    monkeypatch.setattr(sys, "argv", ["mnist.py", *arguments])
    mnist.main()
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "14" / "gaussian_NCE.json").read_text())
    assert record["state"] == "trained"
    for key in ("noise_bits", "direct", "raise_bits", "ais"):
        assert 7 < record[key] < 12
    nat = 1 / (196 * np.log(2))
    assert record["ais"] - record["direct"] == pytest.approx(
        nat * record["log_normalizer"]
    )
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    assert f"{record['direct']:.3f}" in lines[2]
    assert "none" in lines[3]
    for name in ("noise_gaussian.png", "gaussian_NCE.png"):
        assert (tmp_path / "14" / name).stat().st_size > 1000
    # Nothing is done again.
    monkeypatch.setattr(mnist, "fit_ratio", None)
    monkeypatch.setattr(mnist, "annealed_importance_sampling", None)
    mnist.main()
    assert [*capsys.readouterr().out.splitlines()[2:4]] == lines[:2]


def test_single_precision_is_near(digits):
    mnist = load("mnist")
    rng = np.random.default_rng(0)
    Z = rng.normal(0.3, 1, (200, 16))
    for method in ("NCE", "TRE", "time score"):
        network = {
            "NCE": digits.UNet((4, 4), channels=(4,), time_features=None),
            "TRE": digits.UNet((4, 4), 10, channels=(4,), time_features=None),
            "time score": digits.UNet((4, 4), channels=(4,), time_features=4),
        }[method]
        ratio = digits.new_ratio(method, network, max_iter=25, device="cpu", seed=0)
        noise = rng.normal(size=Z.shape)
        ratio.set_params(batch_size=8)
        ratio.fit(*mnist.skdre.pool(numerator=Z, denominator=noise))
        before = ratio.decision_function(Z)
        mnist.in_single(ratio)
        assert_allclose(ratio.decision_function(Z), before, atol=1e-4)
        density = mnist.skdre.RatioDensity(FrozenEstimator(ratio), normalizer=None).fit(
            Z
        )
        values, gradients = density._annealing_target().log_ratio_and_gradient(Z[:2])
        assert np.isfinite(values).all()
        assert np.abs(gradients).max() > 0
