"""The pieces of examples/papers/featurized/domain_adaptation.py that can go wrong."""

import importlib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")

FOLDER = Path(__file__).parents[1] / "examples/papers/featurized"
TINY = {"gamma": [0.1, 1.0], "B": [1, 100], "n_permutations": 2, "max_epochs": 1}


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module("domain_adaptation")


@pytest.fixture(scope="module")
def mixture(script):
    return partial(script.draw_mixture, n_rare=10, n_common=60)


def _errors(values):
    """Errors by (trial, gamma) for one method with parameters and one without."""
    rows = [
        {"method": "IW(x)", "trial": trial, "gamma": gamma, "B": 1.0, "error": error}
        for (trial, gamma), error in values.items()
    ]
    rows += [{"method": "unweighted", "trial": trial, "error": 0.5} for trial in (0, 1)]
    return pd.DataFrame(rows).assign(classifier="C=1", permutation=0)


def test_choice_by_target_error(script):
    errors = _errors({(0, 0.1): 0.1, (1, 0.1): 0.7, (0, 1.0): 0.3, (1, 1.0): 0.2})
    once = script.choose(errors, "all trials")
    found = script._protocol.per_trial(once).loc[("C=1", "IW(x)")]
    np.testing.assert_allclose(found, [0.3, 0.2])
    each = script.choose(errors, "each trial")
    found = script._protocol.per_trial(each).loc[("C=1", "IW(x)")]
    np.testing.assert_allclose(found, [0.1, 0.2])
    assert (script._protocol.per_trial(each).loc[("C=1", "unweighted")] == 0.5).all()


def test_finished_trials_are_not_computed_again(script, mixture, tmp_path, monkeypatch):
    first = script.run_all({"mixture": mixture}, {"mixture": 1}, TINY, tmp_path, 1)
    assert set(first["protocol"]) == {"paper", "sound"}
    assert set(first["method"]) == set(script._protocol.METHODS) - {"IW(true)"}
    # 1 + 2 kinds of KMM, 2 spaces, 4 (gamma, B), 1 + 2 permutations; 1 + 2 * (1 + 2).
    assert len(first) == 1 + 2 * 2 * 4 * 3 + 1 + 2 * 3
    assert first["error"].between(0, 1).all()

    drawn = []

    def spy(trial):
        drawn.append(trial)
        return mixture(trial)

    monkeypatch.setattr(script, "run_paper", lambda *_: iter([{"error": 0.25}]))
    monkeypatch.setattr(script, "run_sound", lambda *_: iter([]))
    second = script.run_all({"mixture": spy}, {"mixture": 2}, TINY, tmp_path, 1)
    assert drawn == [1]
    kept = second[second.trial == 0][first.columns]
    pd.testing.assert_frame_equal(kept, first, check_dtype=False)
    assert second[second.trial == 1]["error"].tolist() == [0.25]

    with pytest.raises(SystemExit, match="other settings"):
        script.run_all({}, {}, {**TINY, "B": [1]}, tmp_path, 1)
