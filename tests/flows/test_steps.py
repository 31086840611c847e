"""Flows run with a gradient by hand, beside the plain modules and torch's gradients."""

import copy

import pytest
import torch
from zuko.lazy import LazyComposedTransform

from skdre._nn.flat_weights import FlatWeights, tell_held
from skdre._nn.settings import seeded
from skdre.flows import _autoregressive
from skdre.flows._flows import build_flow
from skdre.flows._likelihood import LogDensity
from skdre.flows._transforms import _QuickChain

every_quick_flow = pytest.mark.parametrize("name", ["maf", "nsf", "realnvp"])


def moved_flow(name, n_features, hidden_features, scale=0.2):
    """A flow in double precision whose every parameter was moved at random."""
    with seeded(0):
        flow = build_flow(
            name, n_features, n_transforms=3, hidden_features=hidden_features
        ).double()
        for parameter in flow.parameters():
            parameter.data += scale * torch.randn(parameter.shape).double()
    return flow


def rows(n_features, n_rows=40):
    """Rows of which some lie beyond a spline's range, and one on its edge."""
    generator = torch.Generator().manual_seed(1)
    u = 3 * torch.randn(n_rows, n_features, generator=generator).double()
    u[0], u[1] = 5.0, -5.0
    return u


def values_and_gradients(flow, u):
    """What becomes of rows, log determinants, and gradients of a sum of both."""
    generator = torch.Generator().manual_seed(2)
    u = u.clone().requires_grad_()
    z, log_det = flow().transform.call_and_ladj(u)
    parts = torch.randn(z.shape, generator=generator).double() * z
    total = parts.sum() + (torch.arange(len(u)) * log_det).sum()
    return z, log_det, *torch.autograd.grad(total, [u, *flow.parameters()])


@every_quick_flow
@pytest.mark.parametrize(
    ("n_features", "hidden_features"), [(2, (5,)), (3, (20, 6)), (7, ()), (20, (30,))]
)
@pytest.mark.parametrize("in_blocks", [False, True])
def test_values_and_gradients_are_those_of_the_plain_modules(
    name, n_features, hidden_features, in_blocks, monkeypatch
):
    if in_blocks:
        monkeypatch.setattr(_autoregressive, "_MANY_WEIGHTS", 1)
    flow, u = moved_flow(name, n_features, hidden_features), rows(n_features)
    plain = values_and_gradients(flow.eval(), u)
    assert isinstance(flow.train()().transform, _QuickChain)
    quick = values_and_gradients(flow.train(), u)
    for found, expected in zip(quick, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
    assert not isinstance(flow.eval()().transform, _QuickChain)
    with torch.no_grad():
        assert isinstance(flow().transform, _QuickChain)
        z, log_det = flow().transform.call_and_ladj(u)
        torch.testing.assert_close(z, plain[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(log_det, plain[1], rtol=1e-9, atol=1e-9)
        inverse = flow().transform.inv
        u_again, log_det_back = inverse.call_and_ladj(z)
    torch.testing.assert_close(u_again, u, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-6, atol=1e-6)


@every_quick_flow
def test_rows_of_any_shape(name):
    flow, u = moved_flow(name, 3, (6,)), rows(3, 24)
    z, log_det = flow().transform.call_and_ladj(u)
    shaped = u.reshape(2, 3, 4, 3)
    z_shaped, log_det_shaped = flow().transform.call_and_ladj(shaped)
    torch.testing.assert_close(z_shaped, z.reshape(shaped.shape))
    torch.testing.assert_close(log_det_shaped, log_det.reshape(2, 3, 4))
    one, _ = flow().transform.call_and_ladj(u[4])
    torch.testing.assert_close(one, z[4])


@every_quick_flow
def test_gradients_are_collected_where_weights_are_laid_out(name):
    flow, u = moved_flow(name, 6, (30, 9)), rows(6)
    plain = LogDensity(copy.deepcopy(flow), [0.0] * 6).double().eval()
    (-plain(u).mean()).backward()
    expected = torch.cat([p.grad.flatten() for p in plain.parameters()])

    density = LogDensity(flow, [0.0] * 6).double().train()
    weights = FlatWeights(density)
    for n_times in (1, 2):
        (-density(u).mean()).backward()
        weights.keep_zeros()
        torch.testing.assert_close(weights.flat.grad, n_times * expected)
    chain = flow.transform
    assert chain.steps() is chain.steps()
    # Weights that are changed in place are those that the steps have.
    with torch.no_grad():
        weights.flat.mul_(0.5)
        for parameter in plain.parameters():
            parameter.mul_(0.5)
    torch.testing.assert_close(density(u), plain(u))
    weights.release()
    assert chain.steps() is not chain.steps()
    assert all(parameter.grad is None for parameter in flow.parameters())
    torch.testing.assert_close(density(u), plain(u))


@every_quick_flow
@pytest.mark.parametrize("hidden_features", [(30, 9), (5,)])
def test_gradients_of_a_step_overwrite_those_of_the_last(
    name, hidden_features, monkeypatch
):
    """Whatever is looked at between the steps, and whatever a step goes through."""
    monkeypatch.setattr(_autoregressive, "_MANY_WEIGHTS", 200)
    flow = moved_flow(name, 6, hidden_features)
    plain = LogDensity(copy.deepcopy(flow), [0.0] * 6).double().eval()
    density = LogDensity(flow, [0.0] * 6).double()
    weights = FlatWeights(density)
    average = weights.views(torch.ones_like(weights.flat.detach()))
    generator = torch.Generator().manual_seed(3)

    def once(module, u):
        return -module(u).mean()

    def twice(module, u):
        return once(module, u) + module(u[:5]).sum()

    def back_as_well(module, u):
        return once(module, u) + module.flow().transform.inv(u).square().mean()

    def not_at_all(module, u):
        return (
            0
            * module.flow.transform.transforms[0].step().network.layers[0].weight.sum()
        )

    for loss in (once, once, twice, back_as_well, once, not_at_all, twice):
        u = torch.randn(20, 6, generator=generator).double()
        plain.zero_grad()
        loss(plain, u).backward()
        expected = torch.cat(
            [
                (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
                for p in plain.parameters()
            ]
        )
        density.train()
        weights.clear()
        loss(density, u).backward()
        weights.settle()
        weights.keep_zeros()
        torch.testing.assert_close(weights.gradient, expected, rtol=1e-6, atol=1e-9)
        density.eval()
        with torch.no_grad(), weights.replaced_by(average):
            density(u)


def test_masked_weights_stay_zero_and_are_masked_again_after_training():
    flow = moved_flow("maf", 6, (30, 9))
    layers = [layer for each in flow.transform.transforms for layer in each.layers]
    weights = FlatWeights(LogDensity(flow, [0.0] * 6).double())
    optimizer = torch.optim.AdamW([weights.flat], lr=0.1)
    for _ in range(3):
        weights.flat.grad.zero_()
        weights.module.train()(rows(6)).mean().neg().backward()
        weights.keep_zeros()
        optimizer.step()
    for layer in layers:
        assert layer.zeros_stay
        assert (layer.weight[~layer.mask] == 0).all()
        assert (layer.weight[layer.mask] != 0).any()
    copied = copy.deepcopy(flow)
    tell_held(copied, False)
    weights.release()
    for each in (flow, copied):
        with torch.no_grad():
            before, _ = each.eval()().transform.call_and_ladj(rows(6))
            for transform in each.transform.transforms:
                for layer in transform.layers:
                    assert not layer.zeros_stay
                    layer.weight[~layer.mask] = 7.0
            after, _ = each().transform.call_and_ladj(rows(6))
        assert torch.equal(before, after)


@every_quick_flow
def test_second_derivatives_in_evaluation_only(name):
    flow, u = moved_flow(name, 3, (6,)), rows(3, 5)[2:].requires_grad_()

    def second(flow):
        z, log_det = flow().transform.call_and_ladj(u)
        (first,) = torch.autograd.grad(
            z.square().sum() + log_det.sum(), u, create_graph=True
        )
        return torch.autograd.grad(first.square().sum(), u)[0]

    assert second(flow.eval()).abs().min() > 0
    with pytest.raises(RuntimeError, match=r"once_differentiable|not have been used"):
        second(flow.train())


@every_quick_flow
def test_flows_of_older_files_run_as_well(name):
    """They have zuko's chain, and layers that know of no blocks."""
    flow, u = moved_flow(name, 4, (8,)), rows(4)
    old = copy.deepcopy(flow)
    old.transform = LazyComposedTransform(*old.transform.transforms)
    for each in old.modules():
        vars(each).pop("blocks", None)
    assert old.state_dict().keys() == flow.state_dict().keys()
    for found, expected in zip(
        values_and_gradients(old.train(), u),
        values_and_gradients(flow.train(), u),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
