"""CandidatesDisplay draws the table that it is given."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skdre import AutoRatio, ClassifierRatio, GaussianRatio
from skdre.datasets import make_warped_shift
from skdre.inspection import CandidatesDisplay

pytest.importorskip("matplotlib").use("agg")
X, Y = make_warped_shift(200, 2, random_state=0).pool()
CANDIDATES = [("logistic", ClassifierRatio()), ("plug-in", GaussianRatio())]


def test_losses_and_weights():
    import matplotlib.pyplot as plt

    ratio = AutoRatio(CANDIDATES).fit(X, Y)
    _, ax = plt.subplots()
    display = CandidatesDisplay.from_estimator(ratio, ax=ax, color="k")
    assert display.ax_ is ax
    losses = [each.loss for each in ratio.candidates_]
    np.testing.assert_allclose(
        display.errorbar_.lines[0].get_xdata(), sorted(losses, reverse=True)
    )
    assert [each.get_text() for each in ax.get_yticklabels()][-1] == ratio.choice_
    assert len(display.points_.get_offsets()) == len(ratio.weights_)
    assert any("weight 1.00" in each.get_text() for each in ax.texts)
    plt.close("all")


def test_what_has_no_candidates():
    with pytest.raises(NotFittedError):
        CandidatesDisplay.from_estimator(AutoRatio())
    with pytest.raises(TypeError, match="no candidates_"):
        CandidatesDisplay.from_estimator(GaussianRatio().fit(X, Y))
