"""The script behind doc/model_cards.md."""

import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skdre import GaussianRatio
from skdre.datasets import make_known_ratio
from skdre.utils import all_estimators

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    path = ROOT / "benchmarks" / "model_cards.py"
    spec = importlib.util.spec_from_file_location("model_cards", path)
    module = importlib.util.module_from_spec(spec)
    # Its processes look for its functions there.
    sys.modules["model_cards"] = module
    spec.loader.exec_module(module)
    yield module
    for name in ("model_cards", "_report", "_finished"):
        sys.modules.pop(name, None)


def test_every_ratio_estimator_has_a_card(script):
    # What answers as the estimator does that it is given has no card of its own.
    names = {name for name, _ in all_estimators("ratio")} - {"JackknifeRatio"}
    assert set(script.WORDS) == names, "write what it needs and where it fails"
    page = (ROOT / "doc" / "model_cards.md").read_text()
    for name in names:
        assert f"| `{name}`" in page, (
            "run: python benchmarks/model_cards.py --write-doc"
        )
        for words in script.WORDS[name]:
            assert words in page
    # A run that is missing.
    assert "?" not in page


def test_a_run_is_what_it_says(script):
    start = time.process_time()
    found = script.work("far_gaussians_d2", "GaussianRatio", 200, 3)
    elapsed = time.process_time() - start
    shift = make_known_ratio("far_gaussians_d2", 200, random_state=3)
    new = make_known_ratio("far_gaussians_d2", 2000, random_state=100_003)
    X = np.concatenate([new.numerator, new.denominator])
    ratio = GaussianRatio().fit(*shift.pool())
    differences = [
        max(-15, min(15, a)) - max(-15, min(15, b))
        for a, b in zip(ratio.decision_function(X), new.log_ratio(X), strict=True)
    ]
    assert found["error"] == pytest.approx(np.mean(np.square(differences)))
    assert 0 < found["fit_seconds"] < elapsed
    assert found["memory"] >= 0


def test_memory_is_that_of_the_fit(script, monkeypatch):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux")

    class Greedy(GaussianRatio):
        def fit(self, X, y, sample_weight=None):
            if len(X) > 100:  # not when it warms up
                np.ones(2**24).sum()  # 128 MiB
            return super().fit(X, y, sample_weight)

    monkeypatch.setattr(script.skdre, "GaussianRatio", Greedy)
    found = script.work("shift_d1", "GaussianRatio", 200, 0)
    # What the interpreter gives back meanwhile counts against it.
    assert 90 < found["memory"] < 140


def test_the_script_goes_on_where_it_stopped(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "JUDGED", {"shift_d1": "shifted"})
    arguments = ["--quick", "--estimators", "GaussianRatio", "--out", str(tmp_path)]
    arguments += ["--write-doc", "--doc", str(tmp_path / "cards.md")]
    jobs = []

    def run(job, timeout):
        jobs.append(job)
        if len(jobs) == 3:
            raise KeyboardInterrupt
        return {
            "fit_seconds": 2.0,
            "predict_seconds": 0.1,
            "memory": 7.0,
            "error": float(len(jobs)),
        }

    monkeypatch.setattr(script, "run", run)
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments)
    script.main(arguments)
    # Three sizes and one more problem; the third of them twice.
    assert len(jobs) == 5
    runs = pd.read_csv(tmp_path / "model_cards.csv")
    assert sorted(runs["rows"]) == [20, 40, 60, 60]
    page = (tmp_path / "cards.md").read_text()
    (line,) = (each for each in page.splitlines() if "`GaussianRatio`" in each)
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[2:6] == ["2 / 2 / 2", ".1 / .1 / .1", "7 / 7 / 7", "5"]
    assert "20, 40 and 60 rows a side" in page
    assert "load average" in page


def test_a_run_that_fails_leaves_its_reason(script):
    job = {"problem": "shift_d1", "estimator": "GaussianRatio", "rows": 10, "seed": 0}
    assert script.run(job, timeout=100).keys() == {
        "fit_seconds",
        "predict_seconds",
        "memory",
        "error",
    }
    assert "no_such" in script.run(job | {"problem": "no_such"}, timeout=100)["reason"]
    assert script.run(job | {"rows": 10**6}, timeout=0.01)["reason"] == "over 0.01 s"
