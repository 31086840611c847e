"""UNet: Table 2 by its numbers, its derivative, and the estimators that take it."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from skdre import MLPRatio, MultinomialRatio, TelescopingRatio, TimeScoreRatio, pool
from skdre._nn.settings import draws_by_itself, seeded
from skdre.networks import UNet
from skdre.utils import trusted_types

pytestmark = pytest.mark.filterwarnings("ignore:.*still fell:Warning")


def unet(shape=(4, 4), n_outputs=1, channels=(4, 8), seed=0, **params):
    with seeded(seed):
        return UNet(shape, n_outputs, channels=channels, **params)


def inputs(network, n_rows=6, seed=0):
    height, width, channels = network.image_shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_rows, height * width * channels, generator=generator)
    return x, torch.rand(n_rows, 1, generator=generator)


def test_table_2():
    network = UNet((28, 28))
    # Appendix F.4: "our time score network has 3.7M parameters".
    assert sum(each.numel() for each in network.parameters()) == pytest.approx(
        3.7e6, rel=0.01
    )
    down = [block.convolution for block in network.encoder]
    assert [each.out_channels for each in down] == [64, 128, 256, 512]
    assert [each.stride[0] for each in down] == [1, 2, 2, 2]
    up = [block.convolution for block in network.decoder]
    # What came down stands beside what goes up.
    assert [each.in_channels for each in up] == [512, 512, 256]
    assert [block.norm.num_groups for block in network.encoder] == [4, 32, 32, 32]
    assert [block.norm.num_groups for block in network.decoder] == [32, 32, 32]
    assert not any(each.bias is not None for each in down + up)
    x, t = inputs(network, 2)
    assert network(x, t).shape == (2, 1)


@pytest.mark.parametrize("shape", [(4, 4), (5, 7), (9, 2, 3)])
@pytest.mark.parametrize("channels", [(3,), (4, 5)])
def test_any_image_that_can_be_halved(shape, channels):
    for n_outputs, image_output in ((2, False), (0, True), (1, True)):
        network = unet(shape, n_outputs, channels, image_output=image_output)
        x, t = inputs(network)
        n_columns = n_outputs + image_output * x.shape[1]
        output = network(x, t)
        assert output.shape == (len(x), n_columns)
        assert output.abs().mean() < 0.5
        # Every row has its own.
        torch.testing.assert_close(network(x[2:3], t[2:3]), output[2:3])


def test_it_sees_the_image_and_the_time():
    """Every pixel and the time have a say, and neighbours have more than others."""
    network = unet((8, 8), 0, (4, 8), image_output=True).double()
    x, t = inputs(network, 1)
    x, t = x.double().requires_grad_(), t.double().requires_grad_()
    output = network(x, t)[0]
    by_x, by_t = torch.autograd.grad(output.square().sum(), [x, t], retain_graph=True)
    assert (by_x != 0).all()
    assert by_t.abs() > 1e-6
    # Of pixel (0, 0): those around it count, and normalisation tells of the others.
    (gradient,) = torch.autograd.grad(output[0], x)
    image = gradient.view(8, 8).abs()
    assert image[:4, :4].mean() > 2 * image[4:, 4:].mean()


@pytest.mark.parametrize("time_features", [8, None])
def test_derivative_is_that_of_automatic_differentiation(time_features):
    network = unet((5, 4, 2), 2, time_features=time_features, image_output=True)
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x, t = (each.double() for each in inputs(network))
    dx, dt = inputs(network, seed=1)
    dx, dt = dx.double(), dt.double() - 0.3
    if time_features is None:
        t = dt = None
        expected = torch.func.jvp(network, (x,), (dx,))
    else:
        expected = torch.func.jvp(network, (x, t), (dx, dt))
    found = network.with_derivative(x, t, dx, dt)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert found[1].abs().max() > 1e-2
    # And so are the gradients of the weights.
    weights = list(network.parameters())
    one, other = (
        torch.autograd.grad(sum(each.square().sum() for each in pair), weights)
        for pair in (found, expected)
    )
    for ours, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_dice():
    assert not draws_by_itself(unet())


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"shape": (2, 6), "channels": (2, 2, 2)}, ValueError, r"2 by 6 .* at most 2"),
        ({"shape": (4,)}, ValueError, r"image_shape must be .*got \(4,\)"),
        ({"shape": (0, 4)}, ValueError, r"1 or more, got \(0, 4\)"),
        ({"shape": (4.0, 4)}, TypeError, "integers"),
        ({"shape": 16}, TypeError, "got 16"),
        ({"channels": ()}, ValueError, r"channels must be .*got \(\)"),
        ({"channels": (4, 0)}, ValueError, r"channels must be .*got \(4, 0\)"),
        ({"n_outputs": 0}, ValueError, "n_outputs must be an integer of 1 or more"),
        ({"n_outputs": 1.5}, ValueError, r"n_outputs .* got 1\.5"),
    ],
)
def test_bad_sizes(params, error, message):
    with pytest.raises(error, match=message):
        unet(**params)


def test_bad_calls():
    network = unet()
    with pytest.raises(ValueError, match=r"16 columns, got 9"):
        network(torch.zeros(2, 9), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="is called with rows and times"):
        network(torch.zeros(2, 16))
    with pytest.raises(ValueError, match="is called with rows alone"):
        unet(time_features=None)(torch.zeros(2, 16), torch.zeros(2, 1))


# --- in the estimators ------------------------------------------------------------


RNG = np.random.default_rng(0)
# Images that a gradient from left to right is added to.
RAMP = np.tile(np.linspace(-1, 1, 4), 4)
P, Q = RNG.normal(RAMP, 1, (1200, 16)), RNG.normal(0, 1, (1200, 16))
NEW = np.concatenate([RNG.normal(RAMP, 1, (200, 16)), RNG.normal(size=(200, 16))])
TRUTH = NEW @ RAMP - RAMP @ RAMP / 2

STEPS = {"random_state": 0, "learning_rate": 0.01}
RATIOS = {
    "MLPRatio": (
        MLPRatio(max_iter=75, **STEPS),
        {"n_outputs": 1, "time_features": None},
    ),
    "TelescopingRatio": (
        TelescopingRatio(n_bridges=2, max_iter=60, **STEPS),
        {"n_outputs": 2, "time_features": None},
    ),
    "MultinomialRatio": (
        MultinomialRatio(n_bridges=2, max_iter=60, **STEPS),
        {"n_outputs": 3, "time_features": None},
    ),
    "velocity": (
        TimeScoreRatio("velocity", max_iter=60, base_score=None, **STEPS),
        {"n_outputs": 1, "time_features": 16},
    ),
    "ctsm-v": (
        TimeScoreRatio(
            "ctsm-v",
            denominator="gaussian",
            max_iter=200,
            learning_rate=0.02,
            random_state=0,
        ),
        {"n_outputs": 0, "time_features": 16, "image_output": True},
    ),
}
each_ratio = pytest.mark.parametrize("name", RATIOS)


@each_ratio
def test_ratios_of_images(name):
    ratio, params = RATIOS[name]
    ratio.set_params(network=unet(**params))
    before = {k: v.clone() for k, v in ratio.network.state_dict().items()}
    ratio.fit(*pool(numerator=P, denominator=Q))
    # A copy was trained.
    for key, value in ratio.network.state_dict().items():
        assert torch.equal(value, before[key])
    found = ratio.decision_function(NEW)
    # Half of the truth has .25, a constant 1 and more. CTSM-v takes longest to learn.
    most = 0.5 if name == "ctsm-v" else 0.2
    assert np.mean((found - TRUTH) ** 2) < most * TRUTH.var()
    assert np.corrcoef(found, TRUTH)[0, 1] > 0.9
    again = pickle.loads(pickle.dumps(ratio))
    assert_array_equal(again.decision_function(NEW), found)


@pytest.mark.parametrize("name", ["MLPRatio", "TelescopingRatio", "ctsm-v"])
def test_skops_knows_the_network(name):
    sio = pytest.importorskip("skops.io")
    ratio, params = RATIOS[name]
    ratio.set_params(network=unet(**params), max_iter=2)
    ratio.fit(*pool(numerator=P[:20], denominator=Q[:20]))
    again = sio.loads(sio.dumps(ratio), trusted=trusted_types())
    rows = NEW[:5]
    assert_array_equal(again.decision_function(rows), ratio.decision_function(rows))


@pytest.mark.parametrize("name", ["MLPRatio", "TelescopingRatio", "MultinomialRatio"])
def test_networks_of_another_size(name):
    ratio, params = RATIOS[name]
    wanted = params["n_outputs"]
    ratio = type(ratio)(network=unet(n_outputs=5, time_features=None), max_iter=2)
    if name != "MLPRatio":
        ratio.set_params(n_bridges=2)
    with pytest.raises(ValueError, match=rf"shape \(2, {wanted}\) here, got \(2, 5\)"):
        ratio.fit(*pool(numerator=P, denominator=Q))
    assert not hasattr(ratio, "classes_")
    ratio.set_params(network=unet((3, 3), time_features=None))
    with pytest.raises(ValueError, match="9 columns, got 16"):
        ratio.fit(*pool(numerator=P, denominator=Q))


def test_a_network_and_an_estimator():
    ratio = TelescopingRatio(MLPRatio(), network=unet(time_features=None))
    with pytest.raises(ValueError, match="network and estimator both"):
        ratio.fit(*pool(numerator=P, denominator=Q))
