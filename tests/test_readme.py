"""The README's code runs as it stands, in the order in which it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils.validation import check_is_fitted

from skdre import FlowFeaturizer

README = Path(__file__).parents[1] / "README.md"

# Short trainings, for the time: what else the code says stays as it is.
BRIEF = 'FlowFeaturizer("auto", max_epochs=3'


def blocks():
    found = re.findall(r"^ *```python\n(.*?)^ *```", README.read_text(), re.M | re.S)
    return [re.sub(r"^  ", "", block, flags=re.M) for block in found]


@pytest.mark.filterwarnings("ignore:The held-out likelihood still rose")
def test_the_code_in_the_order_in_which_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the search's cache
    names = {}
    for block in blocks():
        assert "FlowFeaturizer()" not in block
        exec(block.replace('FlowFeaturizer("auto"', BRIEF), names)
    assert names["weights"].shape == (len(names["X_source"]),)
    assert (names["weights"] > 0).all()
    assert isinstance(names["ratio"][0], FlowFeaturizer)
    assert names["ratio"][0].flow_choice_ == "standardize"
    check_is_fitted(names["model"])
    X, y = names["pool"](
        numerator=names["X_target"][:60, :3], denominator=names["X_source"][:60, :3]
    )
    names["search"].fit(X, y)
    assert np.isfinite(names["search"].cv_results_["mean_test_score"]).all()
