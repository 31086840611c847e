"""ImageFlow against brute force, and as FlowFeaturizer's "conv-nsf" and "glow"."""

import math
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skdre import FlowFeaturizer, LikelihoodRatioAligner
from skdre._nn.settings import seeded
from skdre.flows._flows import IMAGE_FLOWS, build_flow
from skdre.networks import ImageFlow
from skdre.utils import trusted_types

pytestmark = pytest.mark.filterwarnings("ignore:The held-out likelihood still rose")

SIZES = [((4, 4), 2), ((2, 6), 1), ((4, 4, 2), 2)]
unconverged = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)
every_flow = pytest.mark.parametrize("name", sorted(IMAGE_FLOWS))
every_size = pytest.mark.parametrize(("shape", "n_levels"), SIZES)


def flow_of(name, shape, n_levels, n_steps=3, seed=0):
    with seeded(seed):
        return build_flow(
            name,
            math.prod(shape),
            n_transforms=n_steps,
            hidden_features=(6, 5),
            image_shape=shape,
            n_levels=n_levels,
        )


def moved(name, shape, n_levels, seed=0):
    """A flow whose every parameter was moved at random, in double precision."""
    flow = flow_of(name, shape, n_levels).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            noise = torch.randn(parameter.shape, generator=generator).double()
            parameter.add_(0.2 * noise)
    return flow.eval().requires_grad_(False)


def rows(n_rows, shape, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    return scale * torch.randn(n_rows, math.prod(shape), generator=generator).double()


@every_flow
@every_size
def test_starts_at_the_identity(name, shape, n_levels):
    u = rows(20, shape, 2)
    z, log_det = flow_of(name, shape, n_levels).double()().transform.call_and_ladj(u)
    assert_allclose(z.detach(), u, atol=1e-5)
    assert_allclose(log_det.detach(), 0, atol=1e-4)


@every_flow
@every_size
def test_log_determinant_is_that_of_the_jacobian(name, shape, n_levels):
    transform = moved(name, shape, n_levels)().transform
    u = rows(3, shape, 1.5)
    _, log_det = transform.call_and_ladj(u)
    jacobian = [
        torch.autograd.functional.jacobian(transform, each[None])[0, :, 0] for each in u
    ]
    expected = torch.linalg.slogdet(torch.stack(jacobian))[1]
    assert expected.abs().max() > 0.1  # 0 would be no test
    assert_allclose(log_det, expected, rtol=1e-6)
    assert_allclose(transform.log_abs_det_jacobian(u, None), log_det)


@every_flow
@every_size
def test_inverse(name, shape, n_levels):
    transform = moved(name, shape, n_levels)().transform
    u = rows(20, shape, 2)
    z = transform(u)
    assert (z - u).abs().max() > 0.5
    assert_allclose(transform.inv(z), u, atol=1e-6)
    assert_allclose(transform(transform.inv(u)), u, atol=1e-6)


def test_pixels_stay_where_they_are():
    """Far from a pixel that is changed little changes, at the first level nothing."""
    flow = moved("conv-nsf", (16, 16), 1)
    u = rows(1, (16, 16))
    other = u.clone()
    other[0, 0] += 1
    change = (flow().transform(other) - flow().transform(u)).view(16, 16).abs()
    assert change[0, 0] > 0.1
    # Three couplings of two 3 by 3 convolutions, at every second pixel: 12 away.
    assert change[14:, 14:].max() == 0


def test_finished_channels_are_left_alone():
    """Of the second level's parameters half of the features know nothing."""
    flow = moved("glow", (4, 4), 2)
    u = rows(2, (4, 4))
    before = flow().transform(u)
    with torch.no_grad():
        for parameter in flow.transform.levels[1].parameters():
            parameter.add_(0.1)
    changed = (flow().transform(u) - before).abs().amax(dim=0)
    assert (changed == 0).sum() == 8
    assert (changed > 1e-3).sum() == 8


def test_sizes_are_parameters():
    flow = ImageFlow((4, 4), n_levels=2, n_steps=3, hidden_features=(6, 7), n_bins=5)
    first, second = flow.transform.levels
    assert len(first) == len(second) == 3 + 1
    assert [len(level[0].shift) for level in (first, second)] == [4, 8]
    convolutions = [
        each for each in first[0].network if isinstance(each, torch.nn.Conv2d)
    ]
    # Of two channels each a shift, a scale, and 5 widths, 5 heights and 4 slopes.
    assert [each.out_channels for each in convolutions] == [6, 7, 2 * 16]
    assert [each.kernel_size[0] for each in convolutions] == [3, 1, 3]


# --- FlowFeaturizer ---------------------------------------------------------------


def images(n_images, seed=0):
    """Images whose lower half repeats the upper one, but for some noise."""
    rng = np.random.default_rng(seed)
    top = rng.normal(size=(n_images, 2, 4))
    bottom = top**2 + 0.3 * rng.normal(size=top.shape)
    return np.concatenate([top, bottom], axis=1).reshape(n_images, -1)


def featurizer(name, **params):
    quick = {"n_transforms": 2, "hidden_features": (12,), "max_epochs": 8}
    quick |= {"image_shape": (4, 4), "n_levels": 1, "marginals": "standardize"}
    quick |= {"batch_size": 64, "learning_rate": 0.01, "random_state": 0}
    return FlowFeaturizer(name, **quick | params)


X = images(600)


@every_flow
def test_it_learns_what_the_gaussian_cannot(name):
    flow = featurizer(name).fit(X)
    test = images(500, seed=1)
    gaussian = FlowFeaturizer("gaussian", random_state=0).fit(X)
    assert flow.score(test) > gaussian.score(test) + 1
    assert_allclose(flow.inverse_transform(flow.transform(test)), test, atol=1e-6)
    assert flow.sample(3, random_state=0).shape == (3, 16)
    again = pickle.loads(pickle.dumps(flow))
    assert_array_equal(again.score_samples(test), flow.score_samples(test))


def test_skops_and_repeats():
    sio = pytest.importorskip("skops.io")
    flow = featurizer("conv-nsf", max_epochs=1, image_shape=[4, 4]).fit(X[:50])
    again = sio.loads(sio.dumps(flow), trusted=trusted_types())
    assert_array_equal(again.transform(X), flow.transform(X))
    other = featurizer("conv-nsf", max_epochs=1).fit(X[:50])
    assert_array_equal(other.transform(X), flow.transform(X))


def test_gradients_of_the_parameters():
    flow = featurizer("conv-nsf", max_epochs=1).fit(X[:50])
    scores = flow.fisher_scores(X[:3])
    assert scores.shape == (3, sum(p.numel() for p in flow.flow_.parameters()))
    # By differences, of one parameter: a shift.
    shift = flow.flow_.transform.levels[0][0].shift
    place = 0
    for parameter in flow.flow_.parameters():
        if parameter is shift:
            break
        place += parameter.numel()
    found = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            shift[0] += step
        found.append(flow.score_samples(X[:3]))
    difference = (found[0] - found[1]) / 2e-5
    assert_allclose(scores[:, place], difference, rtol=1e-5, atol=1e-7)


@every_flow
@every_size
def test_inverse_has_its_log_determinant_in_one_pass(name, shape, n_levels):
    transform = moved(name, shape, n_levels)().transform
    z = rows(4, shape)
    x, log_det = transform.inv.call_and_ladj(z)
    assert_allclose(transform(x), z, atol=1e-8)
    assert transform.inv.inv is transform
    jacobians = [
        torch.autograd.functional.jacobian(transform.inv, row[None]).reshape(
            len(row), len(row)
        )
        for row in z
    ]
    expected = [torch.linalg.slogdet(J).logabsdet for J in jacobians]
    assert_allclose(log_det, expected, atol=1e-8)
    assert_allclose(transform.inv.log_abs_det_jacobian(z, x), expected, atol=1e-8)


def aligner(**params):
    defaults = {
        "flow": "glow",
        "density": "glow",
        "image_shape": (4, 4),
        "n_levels": 1,
        "n_transforms": 1,
        "hidden_features": (4,),
        "max_iter": 4,
        "random_state": 0,
    }
    return LikelihoodRatioAligner(**defaults | params)


@unconverged
def test_aligners_take_it_by_a_function():
    found = aligner(
        flow=lambda _: ImageFlow((4, 4), "affine", n_levels=1, n_steps=1),
        density="gaussian",
    )
    found.fit(X[:80], np.arange(80) % 2)
    assert isinstance(found.flow_, ImageFlow)


@unconverged
@every_flow
def test_aligners_take_it_by_name_and_map_by_two_back_to_back(name):
    found = aligner(flow=name, density=name, learning_rate=0.05)
    found.fit(X[:80], np.arange(80) % 2)
    there, back = found.flow_.transform.transforms
    U = torch.as_tensor(found.marginal_maps_.forward(X[:5])[0])
    with torch.no_grad():
        expected = back.transform().inv(there()(U)).numpy()
    # Two flows, not one and its own inverse, which would move nothing.
    assert np.abs(expected - U.numpy()).max() > 0.01
    moved_rows = found.transform(X[:5])
    assert_allclose(found.marginal_maps_.forward(moved_rows)[0], expected, atol=1e-8)
    assert_allclose(found.inverse_transform(moved_rows), X[:5], atol=1e-6)
    assert np.isfinite(found.log_likelihood_ratio_)
    again = pickle.loads(pickle.dumps(found))
    assert_array_equal(again.transform(X[:5]), moved_rows)


@unconverged
def test_map_of_images_starts_at_the_identity():
    found = aligner(density="gaussian", max_iter=1, learning_rate=1e-9)
    found.fit(X[:80], np.arange(80) % 2)
    assert_allclose(found.transform(X), X, atol=1e-4)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"image_shape": None}, "give their image_shape.* 16 columns"),
        ({"image_shape": (4, 3)}, "makes 12 columns, but .* have 16"),
        ({"n_levels": 3}, "multiples of 8, got 4 by 4: use n_levels=2"),
        ({"density": "gaussian", "image_shape": None}, "give their image_shape"),
    ],
)
def test_bad_images_of_an_aligner(params, message):
    found = aligner(**params)
    with pytest.raises(ValueError, match=message):
        found.fit(X[:80], np.arange(80) % 2)
    assert not hasattr(found, "flow_")


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"image_shape": None}, ValueError, "give their image_shape.* 16 columns"),
        ({"image_shape": (4, 3)}, ValueError, "makes 12 columns, but .* have 16"),
        ({"image_shape": (16,)}, ValueError, "image_shape must be"),
        ({"image_shape": (4, "4")}, TypeError, "image_shape must be"),
        (
            {"n_levels": 3},
            ValueError,
            r"multiples of 8, got 4 by 4: use n_levels=2",
        ),
        ({"image_shape": (1, 16)}, ValueError, "multiples of 2, got 1 by 16: pad"),
        ({"n_levels": 0}, ValueError, "n_levels"),
    ],
)
def test_bad_images(params, error, message):
    flow = featurizer("conv-nsf", **params)
    with pytest.raises(error, match=message):
        flow.fit(X)
    assert not hasattr(flow, "flow_")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"coupling": "cubic"}, "coupling must be one of"),
        ({"n_steps": 0}, "n_steps must be an integer of 1 or more, got 0"),
        ({"n_bins": 1}, "n_bins must be an integer of 2 or more, got 1"),
        ({"bound": 0.0}, r"bound must be a positive number, got 0\.0"),
        ({"hidden_features": (0,)}, r"hidden_features must be .* got \(0,\)"),
    ],
)
def test_bad_flows(params, message):
    with pytest.raises(ValueError, match=message):
        ImageFlow((4, 4), **params)
