"""The pieces of examples/papers/lrmf that can go wrong."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from skdre.flows._flows import build_flow

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parents[1] / "examples/papers/lrmf"


def load(name, folder=FOLDER):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return importlib.import_module(name)


@pytest.mark.parametrize(("side", "n_levels"), [(8, 3), (14, 1)])
def test_scales_sum_to_the_log_density(side, n_levels):
    torch.manual_seed(0)
    flow = build_flow(
        "glow",
        side**2,
        n_transforms=2,
        hidden_features=(4,),
        image_shape=(side, side),
        n_levels=n_levels,
    ).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        rows = torch.randn(5, side**2, dtype=torch.float64)
        z, log_det = flow().transform.call_and_ladj(rows)
    expected = norm.logpdf(z.numpy()).sum(axis=1) + log_det.numpy()
    found = load("glow").by_scale(flow.transform, rows, side)
    assert len(found) == n_levels
    assert found.sum() == pytest.approx(expected.mean())


def test_images_keep_their_shape_when_they_are_made_smaller():
    images = np.zeros((2, 16, 16))
    images[0, 4:8], images[1, :, 12:] = 1.0, 1.0
    found = load("glow").resized(images, 8).reshape(2, 8, 8)
    assert np.unravel_index(found[0].argmax(), (8, 8))[0] in (2, 3)
    np.testing.assert_allclose(found[0, :, 0], found[0, :, -1])
    np.testing.assert_allclose(found[1, :, 6:], 1.0, atol=0.01)
    np.testing.assert_allclose(found[1, :, :4], 0.0, atol=0.01)


def test_the_papers_page_has_the_figures_of_the_tables():
    """Run examples/papers/page.py where this fails."""
    page = load("page", FOLDER.parent)
    text = page.PAGE.read_text()
    for name in page.BLOCKS:
        assert f"<!-- {name} -->\n\n{page.block(name)}\n" in text, name
    assert page.aligner_figures() in page.ALIGNMENT.read_text()


def test_cells_are_found():
    tables = load("_tables", FOLDER.parent)
    lines = [
        "| a | b | c |",
        "| - | - | - |",
        "| x | y | 1,200 ± 3e-2 |",
        "| x | z | -.5 |",
    ]
    found = tables.Table(lines, 2)
    assert found.numbers("x, y", "c") == [1200.0, 0.03]
    assert found.column("c", only="x, z") == [-0.5]
    assert tables.short(-0.0213) == "-.021"
    assert tables.short(1.0, 2) == "1.00"
    assert tables.short(0.0, 2) == "0.00"
    assert tables.spanned([0.2, 0.1], 1) == ".1 to .2"
    assert tables.rounded(0.0463) == ".046"


def test_a_map_that_is_given_the_labels_moves_classes_onto_classes():
    """Classes in each other's place: the labels say what the rows cannot."""
    which = load("which_map")
    rng = np.random.default_rng(0)
    target_labels = np.repeat(np.arange(10), 20)
    places = target_labels[:, None]
    target = places + rng.normal(size=(200, which.N_LATENT)) / 5
    source = places - 1 + rng.normal(size=(200, which.N_LATENT)) / 5
    parts = (source, target_labels), None, (target, target_labels)
    moved = which.started("classes", parts, 0, 60)(source)
    assert np.abs(moved - places).mean() < 0.5 * np.abs(source - places).mean()
    assert which.started("identity", parts, 0, 1)(source) is source
