"""The script of Table 2 of the featurized paper, on digits of scikit-learn."""

import gzip
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

pytest.importorskip("torch")

SCRIPT = Path(__file__).parents[1] / "examples/papers/featurized/targeted_generation.py"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        # The script adds a folder of its own, which goes with it.
        patch.setattr(sys, "path", list(sys.path))
        spec = importlib.util.spec_from_file_location("targeted_generation", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def digits():
    """Images of 28 by 28, from 8 by 8, and their labels."""
    X, y = load_digits(return_X_y=True)
    large = X.reshape(-1, 8, 8).repeat(3, axis=1).repeat(3, axis=2)
    return np.pad(255 * large // 16, ((0, 0), (2, 2), (2, 2))).astype(np.uint8), y


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    images, labels = digits
    for name, header, data in (
        ("t10k-images-idx3-ubyte.gz", bytes(16), images),
        ("t10k-labels-idx1-ubyte.gz", bytes(8), labels.astype(np.uint8)),
    ):
        with gzip.open(folder / name, "wb") as file:
            file.write(header + data.tobytes())
    return folder


def test_digits_are_read(script, digits, folder):
    images, labels = script.load_digits(folder)
    np.testing.assert_array_equal(images.reshape(-1, 28, 28), digits[0])
    np.testing.assert_array_equal(labels, digits[1])
    small, _ = script.load_digits(folder, side=14)
    mean = sum(digits[0][:, i::2, j::2].astype(float) for i in (0, 1) for j in (0, 1))
    np.testing.assert_array_equal(small.reshape(-1, 14, 14), np.rint(mean / 4))


def test_the_two_samples(script, folder):
    images, labels = script.load_digits(folder, side=14)
    rng = np.random.RandomState(0)
    parts = script.two_samples("diff-digits", images, labels, 120, rng)
    of_image = dict(zip(map(bytes, images), labels, strict=True))
    for target, other in parts:
        assert {of_image[bytes(image)] for image in target} == {0, 7}
        assert {of_image[bytes(image)] for image in other} == {1, 2}
    seen = [set(map(bytes, np.concatenate(part))) for part in parts]
    assert seen[0].isdisjoint(seen[1])

    (target, other), new = script.two_samples(
        "diff-background", images, labels, 120, rng
    )
    np.testing.assert_array_equal(target, 255 - other)
    assert len(target) == len(new[0]) == 120
    assert set(map(bytes, other)).isdisjoint(map(bytes, new[1]))


def test_the_script_runs_and_does_nothing_twice(
    script, folder, tmp_path, capsys, monkeypatch
):
    arguments = ["--data", str(folder), "--quick", "--out", str(tmp_path)]
    arguments += ["--device", "cpu"]
    script.main(arguments)
    assert "IW(z), effective candidates" in capsys.readouterr().out
    runs = pd.read_csv(tmp_path / "targeted_generation_quick.csv")
    assert len(runs) == 2 * 2 * 3
    assert runs["fraction"].between(0, 1).all()
    assert runs["fraction_in_features"].between(0, 1).all()
    assert runs["bits_per_dimension"].between(0.1, 8).all()
    for dataset in ("diff_digits", "diff_background"):
        picture = tmp_path / f"targeted_generation_quick_{dataset}.png"
        assert picture.stat().st_size > 5000

    monkeypatch.delattr(script, "run")
    script.main(arguments)
    again = pd.read_csv(tmp_path / "targeted_generation_quick.csv")
    pd.testing.assert_frame_equal(runs, again)


def test_the_table_stands_beside_the_papers(script):
    rows = [
        {"side": 14, "dataset": dataset, "perc": perc, "method": method, "seed": seed}
        | dict.fromkeys(script.RESULTS, 1.0)
        | {"fraction": 0.2 + 0.1 * seed}
        for dataset in script.ROWS
        for perc in (0.1, 1.0)
        for method in script.METHODS
        for seed in (0, 1)
    ]
    text = script.report(pd.DataFrame(rows))
    lines = [line.split("|") for line in text.splitlines() if "IW(x) " in line]
    cells = [[cell.strip() for cell in line[2:-1]] for line in lines]
    assert cells[0][:2] == ["0.25 ± 0.05", ""]
    assert cells[0][4:] == ["0.441", "0.528", "0.639", "0.754"]
    assert cells[1][4:] == ["0.085", "0.202", "0.345", "0.528"]


def test_a_judge_learns(script, folder):
    """The instrument: on images it has not seen, and not by chance."""
    images, labels = script.load_digits(folder, side=14)
    chosen = np.isin(labels, [0, 1])
    X, y = images[chosen], labels[chosen]
    judge = script.Judge("cpu", 0).fit(X[:200], y[:200], max_epochs=3)
    assert np.mean(judge.is_target(X[200:]) == (y[200:] == 1)) > 0.9
