"""The pieces of examples/papers/lrmf that can go wrong."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from skdre.flows._flows import build_flow

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parents[1] / "examples/papers/lrmf"


def load(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
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
