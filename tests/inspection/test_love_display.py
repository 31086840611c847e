"""LovePlotDisplay draws the differences of the tables it is given."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdre import balance_table, balance_weights
from skdre.inspection import LovePlotDisplay

plt = pytest.importorskip("matplotlib.pyplot")
pytest.importorskip("matplotlib").use("agg")
RNG = np.random.default_rng(0)
SOURCE = RNG.normal(0, 1, (200, 3))
TARGET = RNG.normal([0.1, 0.8, -0.4], 1, (150, 3))


@pytest.fixture(autouse=True)
def _no_figures():
    yield
    plt.close("all")


def test_what_is_drawn():
    ratio = np.exp(0.7 * SOURCE[:, 1])
    tables = {
        "ratio": balance_table(SOURCE, TARGET, ratio),
        "balanced": balance_weights(SOURCE, TARGET),
    }
    _, ax = plt.subplots()
    display = LovePlotDisplay.from_table(tables, ax=ax, absolute=False)
    assert display.ax_ is ax
    # The largest difference before weighting is at the top.
    labels = [each.get_text() for each in ax.get_yticklabels()]
    assert labels == ["x0", "x2", "x1"]
    for name, rows in (
        ("ratio", tables["ratio"]),
        ("balanced", tables["balanced"].table),
    ):
        assert_allclose(
            display.points_[name].get_xdata(),
            [rows[label].difference_after for label in labels],
        )
    assert_allclose(
        display.points_["before"].get_xdata(),
        [tables["ratio"][label].difference_before for label in labels],
    )
    assert len(display.threshold_lines_) == 2
    assert [each.get_text() for each in ax.get_legend().get_texts()] == [
        "before",
        "ratio",
        "balanced",
    ]


def test_absolute_values_and_few_names():
    table = balance_table(SOURCE, TARGET)
    display = LovePlotDisplay.from_table(table, max_names=2, threshold=None, ms=3)
    values = display.points_["after"].get_xdata()
    assert (values > 0).all()
    assert len(values) == 2
    assert display.points_["after"].get_markersize() == 3
    assert not display.threshold_lines_


def test_what_is_no_table():
    with pytest.raises(TypeError, match="balance table, got list"):
        LovePlotDisplay.from_table([1, 2])
    with pytest.raises(TypeError, match="balance table, got int"):
        LovePlotDisplay.from_table({"a": 1})
    other = balance_table(SOURCE[:, :2], TARGET[:, :2])
    with pytest.raises(ValueError, match="same lines"):
        LovePlotDisplay.from_table({"a": balance_table(SOURCE, TARGET), "b": other})
    with pytest.raises(ValueError, match="no differences"):
        LovePlotDisplay([], {}).plot()
