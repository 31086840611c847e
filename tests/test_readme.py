"""The README's code runs as it stands."""

import re
from pathlib import Path

import numpy as np
from sklearn.utils.validation import check_is_fitted

README = Path(__file__).parents[1] / "README.md"


def blocks():
    found = re.findall(r"^ *```python\n(.*?)^ *```", README.read_text(), re.M | re.S)
    return [re.sub(r"^  ", "", block, flags=re.M) for block in found]


def test_the_main_job_and_the_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the search's cache
    main_job, data, search = blocks()
    names = {}
    exec(data, names)
    main_job = main_job.replace("FlowFeaturizer(", "FlowFeaturizer(max_epochs=3, ")
    main_job = main_job.replace(", )", ")")
    exec(main_job, names)
    assert names["weights"].shape == (len(names["X_source"]),)
    assert (names["weights"] > 0).all()
    check_is_fitted(names["model"])
    search = search.replace("FlowFeaturizer()", "FlowFeaturizer(max_epochs=2)")
    exec(search, names)
    X, y = names["pool"](
        numerator=names["X_target"][:60, :3], denominator=names["X_source"][:60, :3]
    )
    names["search"].fit(X, y)
    assert np.isfinite(names["search"].cv_results_["mean_test_score"]).all()
