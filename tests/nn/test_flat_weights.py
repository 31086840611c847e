"""Weights end to end in one tensor."""

import copy

import pytest
import torch
from torch import nn

from skdre._nn.batches import TensorRows
from skdre._nn.flat_weights import FlatWeights
from skdre._nn.training import train


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


class Branches(nn.Module):
    """One layer is never reached, one through another that starts at zero."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 1)
        self.idle = nn.Linear(3, 1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


def test_weight_decay_spares_what_the_loss_does_not_reach():
    torch.manual_seed(0)
    module = Branches()
    idle = copy.deepcopy(module.idle.state_dict())
    x = torch.randn(64, 3)
    rows = TensorRows(x, x.sum(1, keepdim=True))
    train(
        module,
        nn.MSELoss(),
        rows,
        max_epochs=5,
        batch_size=16,
        learning_rate=0.01,
        weight_decay=10.0,
        patience=5,
        seed=0,
    )
    assert module.last.weight.abs().min() > 0
    for name, value in module.idle.state_dict().items():
        assert torch.equal(value, idle[name])


def test_what_a_gradient_has_reached():
    torch.manual_seed(0)
    module = Branches()
    weights = FlatWeights(module)
    for n_unreached in (4, 2):
        weights.flat.grad.zero_()
        module(torch.ones(2, 3)).sum().backward()
        # At first the last layer's weights, zero, let nothing through to the first.
        assert len(weights.unreached()) == n_unreached
        with torch.no_grad():
            module.last.weight += 1


def test_other_weights_inside_a_block(module):
    weights = FlatWeights(module)
    own = weights.flat.detach().clone()
    with weights.replaced_by(weights.views(torch.ones_like(own))):
        assert (module.first.weight == 1).all()
    assert torch.equal(weights.flat.detach(), own)
