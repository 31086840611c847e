"""Batched networks against a loop over their members, and what they are fed with."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from skdre._nn.batches import (
    DomainBatches,
    TensorRows,
    cumulative_shares,
    held_out_rows,
    stratified_draws,
)
from skdre._nn.networks import (
    ACTIVATIONS,
    EnsembleMLP,
    network_inputs,
)
from skdre._nn.settings import Dice, seeded
from skdre._nn.training import train


def one_member(network, k, x):
    """Member k by hand, in numpy."""
    activation = {"silu": lambda z: z / (1 + np.exp(-z)), "tanh": np.tanh}
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    layers = sorted({key.rsplit(".", 1)[0] for key in state})
    for number, layer in enumerate(layers):
        x = x @ state[f"{layer}.weight"][k] + state[f"{layer}.bias"][k]
        if number < len(layers) - 1:
            x = activation[network.activation](x)
    return x


@pytest.mark.parametrize("activation", ["silu", "tanh"])
@pytest.mark.parametrize("hidden_features", [(), (5,), (5, 7)])
def test_members_are_networks_of_their_own(hidden_features, activation):
    with seeded(0):
        network = EnsembleMLP(3, 2, hidden_features, 4, activation).double()
    rows = np.random.default_rng(0).normal(size=(6, 3, 2))
    network.activation = activation
    with torch.no_grad():
        own = network(torch.tensor(rows)).numpy()
        shared = network(torch.tensor(rows[:, 0])).numpy()
    assert own.shape == shared.shape == (6, 3, 4)
    for k in range(3):
        np.testing.assert_allclose(own[:, k], one_member(network, k, rows[:, k]))
        np.testing.assert_allclose(shared[:, k], one_member(network, k, rows[:, 0]))


def test_initial_weights():
    with seeded(0):
        network = EnsembleMLP(40, 9, (50, 30))
    first, second, last = (
        layer for layer in network.layers if not isinstance(layer, torch.nn.SiLU)
    )
    for layer, fan_in in ((first, 9), (second, 50)):
        weight = layer.weight.detach().numpy()
        assert weight.std() == pytest.approx(1 / math.sqrt(fan_in), rel=0.03)
        bias = layer.bias.detach().numpy()
        assert -1 <= bias.min() < -0.9 < 0.9 < bias.max() <= 1
        assert bias.std() == pytest.approx(1 / math.sqrt(3), rel=0.06)
        assert not np.allclose(weight[0], weight[1])
    assert not last.bias.any()
    with torch.no_grad():
        start = network(torch.randn(500, 9, generator=torch.Generator().manual_seed(0)))
    assert start.std() < 0.2


def test_every_activation_is_a_module():
    for name in ACTIVATIONS:
        network = EnsembleMLP(2, 1, (3,), activation=name)
        assert torch.isfinite(network(torch.zeros(4, 1))).all()


def test_inputs_are_the_standardised_rows_with_their_tails_drawn_in():
    z = np.linspace(-20, 20, 4001)[:, None]
    inputs = network_inputs(3 * z + 5, np.array([5.0]), np.array([3.0]))
    middle = np.abs(z) <= 2.5
    np.testing.assert_allclose(inputs[middle], z[middle], atol=1e-12)
    slope = np.diff(inputs, axis=0) / 0.01
    assert (slope > 0).all()
    assert (abs(np.diff(slope, axis=0)) < 0.02).all()
    assert inputs[-1] == pytest.approx(2.5 + np.log(18.5))
    np.testing.assert_allclose(inputs[::-1], -inputs, atol=1e-12)
    far = np.array([[1e300], [-1e308], [1e8]])
    inputs = network_inputs(far, np.array([0.0]), np.array([1e-150]))
    assert (np.abs(inputs) < 713).all()
    assert inputs[0] > inputs[2] > 0 > inputs[1]


def test_draws_are_in_proportion_to_the_weights():
    weight = np.array([[1, 1, 1, 1, 0, 0], [0, 3, 0, 1, 2, 0.0]])
    with seeded(0):
        index = stratified_draws(cumulative_shares(weight), 6, 500).numpy()
    assert index.shape == (500, 6, 2)
    for member, each in enumerate(weight):
        counts = np.bincount(index[..., member].ravel(), minlength=6)
        np.testing.assert_allclose(counts / 3000, each / each.sum(), atol=0.02)
    # Six draws of weights 3, 1, 2 are six strata, each inside one row.
    counts = np.stack([np.bincount(batch, minlength=6) for batch in index[..., 1]])
    assert (counts == [0, 3, 0, 1, 2, 0]).all()


def test_batches_are_half_and_half():
    inputs = torch.arange(13.0)[:, None]
    shares = [cumulative_shares(np.ones((2, n))) for n in (10, 3)]
    batches = DomainBatches(TensorRows(inputs), 8, Dice(0), n_batches=5, shares=shares)
    first, second = list(batches), list(batches)
    assert len(first) == len(batches) == 5
    x, (sign, weight) = first[0]
    assert x.shape == (8, 2, 1)
    assert torch.equal(x[..., 0] >= 10, sign > 0)
    assert (sign.sum(dim=0) == 0).all()
    assert (weight == 1).all()
    assert not torch.equal(x, second[0][0])
    assert not torch.equal(x[:, 0], x[:, 1])


def test_held_out_rows_balance_the_domains():
    """The weighted mean over them is the mean of the two domains' weighted means."""
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 3, (2, 12)) * np.repeat([[1, 0], [1, 1]], 6, axis=1)
    weight = weight.astype(float)
    weight[0, -2:] = [2, 1]
    loss = rng.normal(size=12)
    rows = held_out_rows(torch.tensor(loss)[:, None], 5, weight)
    x, sign, balance = (tensor.numpy() for tensor in rows.tensors)
    for k in range(2):
        means = [
            np.average(loss[part], weights=weight[k, part])
            for part in (slice(5), slice(5, None))
        ]
        assert np.mean(balance[:, k] * x[:, k, 0]) == pytest.approx(np.mean(means))
        assert np.mean((balance * sign)[:, k]) == pytest.approx(0, abs=1e-6)


def gaussian_fit(held_out_sign=(1, 1, 1), **params):
    """Linear members on N(1, 1) against N(0, 1), whose log ratio is x - 1/2."""
    n_rows, n_members = 2400, len(held_out_sign)
    quantiles = norm.ppf((np.arange(n_rows) + 0.5) / n_rows)
    inputs = torch.tensor(np.append(quantiles, quantiles + 1), dtype=torch.float32)
    weight = np.ones((n_members, 2 * n_rows))
    shares = [cumulative_shares(weight[:, :n_rows])] * 2
    held_out = held_out_rows(inputs[:, None], n_rows, weight)
    held_out.tensors[1][:] *= torch.tensor(held_out_sign)

    def losses(output, targets):
        sign, weight = targets
        loss = torch.nn.functional.softplus(-sign * output[..., 0])
        return (weight * loss).mean(dim=0)

    with seeded(0):
        network = EnsembleMLP(n_members, 1, ())

    params = {
        "max_epochs": 24,
        "patience": 24,
        "learning_rate": 0.05,
    } | params
    start = {key: value.clone() for key, value in network.state_dict().items()}
    net = train(
        network,
        losses,
        TensorRows(inputs[:, None]),
        held_out,
        batch_size=256,
        seed=0,
        iterator_train=functools.partial(DomainBatches, n_batches=25, shares=shares),
        **params,
    )
    with torch.no_grad():
        final = losses(network(held_out.tensors[0]), held_out.tensors[1:])
    return network, net, start, final


def test_members_learn_the_log_ratio():
    network, net, _, final = gaussian_fit()
    layer = network.layers[0]
    np.testing.assert_allclose(layer.weight.detach().flatten(), 1, atol=0.05)
    np.testing.assert_allclose(layer.bias.detach().flatten(), -0.5, atol=0.05)
    assert net.keeper_.best_loss_ == pytest.approx(final.mean().item(), rel=1e-5)
    assert net.history[-1, "valid_loss"] >= net.keeper_.best_loss_


def test_each_member_keeps_its_own_best_weights():
    """The second member's held-out rows have the signs swapped: its start is best."""
    network, net, start, final = gaussian_fit(held_out_sign=(1, -1, 1))
    best = net.keeper_.best_losses_
    torch.testing.assert_close(best.float(), final, rtol=1e-5, atol=1e-6)
    for name, value in network.state_dict().items():
        kept = [torch.equal(value[k], start[name][k]) for k in range(3)]
        assert kept == [False, True, False]
    np.testing.assert_allclose(
        network.layers[0].weight.detach()[[0, 2]].flatten(), 1, atol=0.05
    )


def test_training_stops_when_no_member_gets_better():
    _, net, _, _ = gaussian_fit(held_out_sign=(-1, -1), patience=4)
    assert len(net.history) == 4
    assert net.keeper_.best_epoch_ == 0
    _, net, _, _ = gaussian_fit(held_out_sign=(-1, 1), patience=4)
    assert len(net.history) > 8


def test_members_judge_together():
    """Of losses for and against, the mean decides where no loss counts for itself."""
    network, net, start, _ = gaussian_fit(held_out_sign=(1, -1), own_share=0.0)
    assert net.keeper_.best_epoch_ == 0
    for name, value in network.state_dict().items():
        assert torch.equal(value, start[name])
    network, net, start, _ = gaussian_fit(held_out_sign=(1, 1, 1, -1), own_share=0.0)
    assert net.keeper_.best_epoch_ > 0
    for name, value in network.state_dict().items():
        if "weight" in name:
            assert not any(torch.equal(value[k], start[name][k]) for k in range(4))
