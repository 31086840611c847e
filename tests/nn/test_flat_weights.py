"""Weights end to end in one tensor."""

import copy

import pytest
import torch
from torch import nn

from skdre._nn.flat_weights import FlatWeights


class Tied(nn.Module):
    """Layers that share a weight, one that is not trained, and a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.third = nn.Linear(3, 1).requires_grad_(False)
        self.register_buffer("shift", torch.ones(3))

    def forward(self, x):
        return self.third(self.second(torch.tanh(self.first(x))) + self.shift)


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Tied()


def loss(module):
    return module(torch.arange(6.0).view(2, 3)).square().sum()


def test_steps_are_those_of_the_parameters(module):
    expected = copy.deepcopy(module)
    optimizer = torch.optim.AdamW(p for p in expected.parameters() if p.requires_grad)
    weights = FlatWeights(module)
    flat_optimizer = torch.optim.AdamW([weights.flat])
    for _ in range(5):
        optimizer.zero_grad()
        loss(expected).backward()
        optimizer.step()
        weights.flat.grad.zero_()
        loss(module).backward()
        flat_optimizer.step()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], value)
    assert not torch.equal(module.first.weight, Tied().first.weight)


def test_state_holds_views_of_the_weights_given(module):
    weights = FlatWeights(module)
    flat = torch.arange(float(weights.flat.numel()))
    state = weights.state(flat)
    assert state.keys() == module.state_dict().keys()
    flat += 1
    assert state["first.weight"][0, 0] == 1
    torch.testing.assert_close(state["second.weight"], state["first.weight"])
    torch.testing.assert_close(state["third.weight"], module.third.weight)
    module.load_state_dict(state)
    torch.testing.assert_close(weights.flat.detach(), flat)


def test_released_parameters_have_memory_of_their_own(module):
    before = copy.deepcopy(module.state_dict())
    weights = FlatWeights(module)
    loss(module).backward()
    weights.release()
    with torch.no_grad():
        weights.flat.zero_()
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert all(p.grad is None for p in module.parameters())
    assert module.first.bias.untyped_storage().nbytes() == 3 * 4
