"""Type checkers accept what a user writes: mypy, on a small script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import skdre

SCRIPT = """
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

import skdre
from skdre import (
    AutoRatio,
    FlowFeaturizer,
    ImportanceWeighted,
    KMMRatio,
    MLPRatio,
    TelescopingRatio,
    make_pipeline,
    mutual_information,
    pool,
)
from skdre.paths import LinearPath
from skdre.datasets import make_warped_shift
from skdre.metrics import log_ratio_mse
from skdre.utils import all_estimators
from skdre.weighting import effective_sample_size, self_normalize

shift = make_warped_shift(100, 2, random_state=0)
X, y = pool(numerator=shift.numerator, denominator=shift.denominator)
ratio = make_pipeline(FlowFeaturizer("maf", random_state=0), KMMRatio(gamma=0.5))
ratio.fit(X, y)
weights = self_normalize(ratio.predict_ratio(shift.denominator))
print(effective_sample_size(weights), log_ratio_mse(shift.log_ratio(X), np.zeros(200)))

search = GridSearchCV(MLPRatio(max_iter=100), {"hidden_features": [(16,), (32, 32)]})
bridges = TelescopingRatio(n_bridges=4, path=LinearPath(), random_state=0)
chosen = AutoRatio([("network", MLPRatio())], time_budget=5.0)
model = ImportanceWeighted(LogisticRegression(), ratio=chosen)
model.fit(X[:100], y[:100], X_target=X[100:])
estimate = mutual_information(X[:, :1], X[:, 1:], random_state=0)
value: float = float(estimate)
names: list[str] = [name for name, _ in all_estimators("ratio")]
print(skdre.__version__.upper(), skdre.datasets.make_known_ratio)
"""

# Errors in skdre itself are for `make lint`; torch alone would take most of the time.
SETTINGS = """
[mypy]
cache_dir = cache
ignore_missing_imports = True
follow_imports = silent
[mypy-torch.*,zuko.*,skorch.*,sklearn.*,scipy.*,matplotlib.*,pandas.*]
follow_imports = skip
"""

WRONG = """
from skdre import KMMRatio, NoSuchRatio
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What mypy says of both scripts, in one run: reading skdre takes all the time."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("typing")
    for name, text in {
        "script.py": SCRIPT,
        "wrong.py": WRONG,
        "mypy.ini": SETTINGS,
    }.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini"]
    root = Path(skdre.__file__).parents[1]
    # mypy does not see packages that are installed in editable mode.
    is_installed = root.name == "site-packages"
    done = subprocess.run(
        [*command, "--check-untyped-defs", "script.py", "wrong.py"],
        env=os.environ | ({} if is_installed else {"MYPYPATH": str(root)}),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_users_script(printed):
    """Nothing but the summary is said of anything but the wrong script."""
    assert "checked 2 source files" in printed[-1]
    assert [line for line in printed[:-1] if not line.startswith("wrong.py")] == []


def test_names_that_do_not_exist_are_found(printed):
    """The counterpart: mypy reads our stubs, so it would see a wrong name."""
    (line,) = (line for line in printed if line.startswith("wrong.py"))
    assert 'has no attribute "NoSuchRatio"' in line
