"""The training loop, on a problem whose solution is known: a line."""

import copy
import math
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from skdre._nn.batches import TensorBatches, TensorRows
from skdre._nn.callbacks import StopBehind
from skdre._nn.settings import Dice, resolve_device, seeded
from skdre._nn.training import fitted_module, train

SLOPE, OFFSET = 2.0, -1.0


def line(n_rows=256, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 1))
    y = SLOPE * x + OFFSET + noise * rng.normal(size=x.shape)
    return TensorRows(*(torch.tensor(a, dtype=torch.float32) for a in (x, y)))


def new_line(seed=0):
    with seeded(seed):
        return nn.Linear(1, 1)


def fit(module, rows=None, held_out=None, criterion=None, **params):
    params = {
        "max_epochs": 60,
        "batch_size": 64,
        "learning_rate": 0.05,
        "patience": 60,
        "seed": 0,
    } | params
    rows = line() if rows is None else rows
    return train(module, criterion or nn.MSELoss(), rows, held_out, **params)


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()]).numpy()


@pytest.fixture
def poisoned():
    """A loss that is NaN at the steps it is told, and counts its training steps."""

    class Poisoned(nn.MSELoss):
        n_steps = 0
        bad_steps = ()

        def forward(self, output, target):
            loss = super().forward(output, target)
            if not torch.is_grad_enabled():
                return loss
            self.n_steps += 1
            return loss * math.nan if self.n_steps in self.bad_steps else loss

    return Poisoned()


def test_finds_the_line():
    module = new_line()
    net = fit(module)
    assert weights(module) == pytest.approx([SLOPE, OFFSET], abs=0.01)
    losses = net.history[:, "valid_loss"]
    assert losses[-1] < 1e-3 * losses[0]


class Record(Callback):
    """The batches of the training, and the averages that its epochs end with."""

    def initialize(self):
        self.batches, self.averages = [[]], []
        return self

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.batches[-1].append(batch)

    def on_epoch_end(self, net, **kwargs):
        self.batches.append([])
        self.averages.append(copy.deepcopy(net.average_))


def averages_by_hand(
    module, criterion, epochs, *, learning_rate, weight_decay, average_decay
):
    """What the averaged weights are after each epoch of the batches given."""
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=weight_decay)
    average = copy.deepcopy(module.state_dict())
    step, averages = 0, []
    for number, batches in enumerate(epochs):
        for inputs, targets in batches:
            step += 1
            cosine = (1 + math.cos(math.pi * number / len(epochs))) / 2
            optimizer.param_groups[0]["lr"] = learning_rate * min(1, step / 20) * cosine
            optimizer.zero_grad()
            criterion(module(inputs), targets).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimizer.step()
            share = 1 - min(average_decay, (1 + step) / (10 + step))
            for name, value in module.state_dict().items():
                average[name] += share * (value - average[name])
        averages.append(copy.deepcopy(average))
    return averages


@pytest.mark.parametrize("average_decay", [0.99, 0.5, 0.0])
def test_steps_and_averages_are_those_made_by_hand(average_decay):
    """At first gradients are longer than the limit, later they are not."""
    with seeded(0):
        module = nn.Sequential(nn.Linear(1, 4), nn.SiLU(), nn.Linear(4, 1))
    start, record = copy.deepcopy(module), Record()
    inputs, targets = line().tensors
    params = {
        "learning_rate": 0.05,
        "weight_decay": 0.3,
        "average_decay": average_decay,
    }
    rows = TensorRows(inputs, 4 * targets)
    net = fit(module, rows, max_epochs=12, callbacks=[record], **params)
    *epochs, nothing = record.batches
    assert not nothing
    expected = averages_by_hand(start, nn.MSELoss(), epochs, **params)
    for found, average in zip(record.averages, expected, strict=True):
        for name, value in average.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    # The average is what an epoch is judged by, and what is kept of the best.
    losses = []
    for average in expected:
        start.load_state_dict(average)
        losses.append(nn.MSELoss()(start(inputs), 4 * targets).item())
    assert net.history[:, "valid_loss"] == pytest.approx(losses, rel=1e-3)
    kept = record.averages[int(np.argmin(losses))]
    for name, value in module.state_dict().items():
        assert torch.equal(value, kept[name])


def test_a_fitted_module_has_the_average_in_training_and_the_best_weights_after():
    found = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            found.append((fitted_module(net), copy.deepcopy(net.average_)))

    # The held-out rows obey a line that the fit passes on its way.
    x = line().tensors[0]
    module = new_line()
    held_out = TensorRows(x, x + OFFSET / 2)
    net = fit(module, held_out=held_out, max_epochs=20, callbacks=[Watch()])
    for fitted, average in found:
        assert torch.equal(fitted.weight, average["weight"].double())
        assert torch.equal(fitted.bias, average["bias"].double())
    assert 0 < net.keeper_.best_epoch_ < 20
    best = fitted_module(net)
    assert np.array_equal(weights(best), weights(module))
    assert np.array_equal(weights(best), weights(found[net.keeper_.best_epoch_ - 1][0]))
    assert best.weight.dtype == torch.float64
    assert not best.weight.requires_grad
    assert not best.training


def test_every_epoch_takes_all_rows_in_a_new_order():
    record = Record()
    fit(new_line(), max_epochs=3, callbacks=[record])
    x = line().tensors[0]
    *epochs, _ = (torch.cat([x for x, _ in each] or [x[:0]]) for each in record.batches)
    orders = [x, *epochs]
    assert len(orders) == 4
    for number, each in enumerate(orders):
        assert torch.equal(each.sort(dim=0).values, x.sort(dim=0).values)
        assert not any(torch.equal(each, other) for other in orders[:number])


def test_several_targets_reach_the_loss():
    inputs, targets = line().tensors
    outlier = torch.zeros(256, 1)
    outlier[:64] = 1.0
    corrupted = targets + 100 * outlier
    rows = TensorRows(inputs, corrupted, 1 - outlier)

    def weighted(output, target):
        y, weight = target
        return (weight * (output - y) ** 2).mean()

    module = new_line()
    fit(module, rows, criterion=weighted)
    assert weights(module) == pytest.approx([SLOPE, OFFSET], abs=0.01)


def test_batches_deal_each_row_once_and_evenly():
    rows = TensorRows(torch.arange(10.0), torch.arange(10.0) * 2)
    batches = TensorBatches(rows, batch_size=4, dice=Dice(0))
    first, second = list(batches), list(batches)
    assert len(batches) == len(first) == 3
    assert [len(x) for x, _ in first] == [4, 3, 3]
    for pass_ in (first, second):
        x = torch.cat([x for x, _ in pass_])
        y = torch.cat([y for _, y in pass_])
        assert torch.equal(x.sort().values, torch.arange(10.0))
        assert torch.equal(y, 2 * x)
    assert not torch.equal(first[0][0], second[0][0])
    plain = torch.cat([x for x, _ in TensorBatches(rows, batch_size=4)])
    assert torch.equal(plain, torch.arange(10.0))


def test_repeats_to_the_bit_and_leaves_the_generators_alone():
    state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    results = []
    for seed in (0, 0, 1):
        module = nn.Sequential(new_line(), nn.Dropout(0.2))
        fit(module, max_epochs=3, seed=seed)
        results.append(weights(module))
        torch.rand(3)  # where the global generator stands must not matter
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    torch.set_rng_state(state)
    module = nn.Sequential(new_line(), nn.Dropout(0.2))
    fit(module, max_epochs=3)
    assert torch.equal(torch.get_rng_state(), state)
    for now, before in zip(np.random.get_state(), numpy_state, strict=True):  # noqa: NPY002
        assert np.array_equal(now, before)


@pytest.mark.parametrize("batch_size", [64, 1024])
def test_small_batches_take_one_thread_and_give_the_others_back(batch_size):
    during = set()

    class Watch(Callback):
        def on_batch_begin(self, net, **kwargs):
            during.add(torch.get_num_threads())

    class Fail(Callback):
        def on_batch_end(self, net, **kwargs):
            raise ZeroDivisionError

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        params = {"rows": line(1024), "batch_size": batch_size, "max_epochs": 2}
        fit(new_line(), callbacks=[Watch()], **params)
        assert during == {1 if batch_size == 64 else 2}
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError):
            fit(new_line(), callbacks=[Fail()], **params)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_best_epoch_is_restored_and_patience_stops():
    # The held-out rows obey the line of slope 1 that the fit passes on its way to 2.
    x = line().tensors[0]
    held_out = TensorRows(x, x + OFFSET / 2)
    module = nn.Linear(1, 1)
    nn.init.zeros_(module.weight), nn.init.zeros_(module.bias)
    net = fit(module, held_out=held_out, patience=8)
    losses = np.array(net.history[:, "valid_loss"])
    best = int(np.argmin(losses))
    assert net.keeper_.best_epoch_ == best + 1
    assert len(losses) == best + 1 + 8 < 60
    loss = nn.MSELoss()(module(x), held_out.tensors[1]).item()
    assert loss == pytest.approx(losses[best], rel=1e-5)
    assert loss < 0.5 * losses[-1]


def test_held_out_rows_weigh_the_same_whatever_their_batch():
    held_out = line(9000, noise=1.0, seed=1)
    module = new_line()
    net = fit(module, held_out=held_out, max_epochs=3)
    x, y = held_out.tensors
    loss = nn.MSELoss()(module(x), y).item()
    assert net.history[-1, "valid_batch_count"] == 3
    assert net.keeper_.best_loss_ == pytest.approx(loss, rel=1e-6)
    assert net.keeper_.best_loss_ == pytest.approx(min(net.history[:, "valid_loss"]))


class Count(Callback):
    """The epochs that begin and end."""

    def initialize(self):
        self.begun = self.ended = 0
        return self

    def on_epoch_begin(self, net, **kwargs):
        self.begun += 1

    def on_epoch_end(self, net, **kwargs):
        self.ended += 1


class StopAtThird(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.stop_ = len(net.history) == 3


@pytest.mark.parametrize("reason", ["patience", "callback", "skorch", "divergence"])
def test_the_last_epoch_is_told_to_all(reason, poisoned):
    counts = [Count(), Count()]
    params = {"held_out": TensorRows(line().tensors[0], -line().tensors[1])}
    between, n_epochs, warns = [], 3, nullcontext()
    if reason == "patience":
        params["patience"] = 3
    elif reason == "callback":
        between = [StopAtThird()]
    elif reason == "skorch":
        between = [EarlyStopping(patience=2)]
    else:
        params = {"criterion": poisoned}
        poisoned.bad_steps = range(10, 1000)
        n_epochs, warns = 5, pytest.warns(ConvergenceWarning, match="gave up")
    with warns:
        net = fit(new_line(), callbacks=[counts[0], *between, counts[1]], **params)
    assert len(net.history) == n_epochs
    assert not net.interrupted_
    for each in counts:
        assert each.begun == each.ended == n_epochs


def test_never_ends_worse_than_it_began():
    module = nn.Linear(1, 1)
    nn.init.constant_(module.weight, SLOPE), nn.init.constant_(module.bias, OFFSET)
    before = weights(module)
    misleading = TensorRows(line().tensors[0], -line().tensors[1])
    net = fit(module, misleading, held_out=line(), patience=3)
    assert np.array_equal(weights(module), before)
    assert net.keeper_.best_epoch_ == 0
    assert len(net.history) == 3


def test_rolls_back_when_the_loss_is_nan(poisoned):
    poisoned.bad_steps = (30, 90)
    module = new_line()
    with pytest.warns(ConvergenceWarning, match=r"not finite 2 times.*learning_rate"):
        net = fit(module, criterion=poisoned, learning_rate=0.5)
    assert net.n_roll_backs_ == 2
    assert weights(module) == pytest.approx([SLOPE, OFFSET], abs=0.1)


def test_roll_back_restores_the_best_weights_at_a_lower_rate(poisoned):
    seen = {}

    class Watch(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if training and poisoned.n_steps in (40, 41):
                seen[poisoned.n_steps] = (
                    weights(net.module_),
                    copy.deepcopy(net.average_),
                    dict(net.optimizer_.state),
                    copy.deepcopy(net.keeper_.best_weights_),
                    net.optimizer_.param_groups[0]["lr"],
                )

    poisoned.bad_steps = (40,)
    with pytest.warns(ConvergenceWarning):
        fit(new_line(), criterion=poisoned, callbacks=[("watch", Watch())])
    at_the_nan, average, moments, best, rate_before = seen[40]
    kept = [best["weight"].item(), best["bias"].item()]
    assert np.array_equal(at_the_nan, kept)
    assert np.array_equal([average["weight"].item(), average["bias"].item()], kept)
    assert moments == {}
    assert seen[41][-1] == pytest.approx(0.3 * rate_before, 0.05)


def test_hopeless_divergence_gives_up_with_the_best_weights(poisoned):
    poisoned.bad_steps = range(100, 10_000)
    module = new_line()
    with pytest.warns(ConvergenceWarning, match="gave up"):
        net = fit(module, criterion=poisoned)
    assert len(net.history) < 60
    assert np.isfinite(weights(module)).all()
    loss = nn.MSELoss()(module(line().tensors[0]), line().tensors[1]).item()
    assert loss == pytest.approx(net.keeper_.best_loss_, rel=1e-5)


def test_a_loss_that_is_never_finite_is_an_error():
    def nan(output, target):
        return output.mean() * math.nan

    with pytest.raises(FloatingPointError, match="not finite"):
        fit(new_line(), criterion=nan)


def test_interrupt_keeps_the_best_weights():
    class Interrupt(Callback):
        def on_batch_begin(self, net, training=False, **kwargs):
            if training and len(net.history) == 20:
                raise KeyboardInterrupt

    module = new_line()
    net = fit(module, callbacks=[("interrupt", Interrupt())])
    assert "interrupted in epoch 20" in str(net.interrupt_)
    loss = nn.MSELoss()(module(line().tensors[0]), line().tensors[1]).item()
    finished = [e["valid_loss"] for e in net.history if "valid_loss" in e]
    assert len(finished) == 19
    assert loss == pytest.approx(min(finished), rel=1e-5)


@pytest.mark.parametrize("when", ["on_train_begin", "on_epoch_begin", "on_batch_end"])
def test_an_interrupt_before_an_epoch_ends_leaves_nothing_to_keep(when):
    class Interrupt(Callback):
        pass

    def interrupt(self, net, **kwargs):
        raise KeyboardInterrupt

    setattr(Interrupt, when, interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(new_line(), callbacks=[Interrupt()])


def test_gradients_are_clipped():
    norms = []

    class Watch(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if training:
                grads = [p.grad for p in net.module_.parameters()]
                norms.append(torch.cat([g.flatten() for g in grads]).norm().item())

    inputs, targets = line().tensors
    rows = TensorRows(inputs, 1e6 * targets)
    fit(new_line(), rows, max_epochs=3, callbacks=[("watch", Watch())])
    assert max(norms) == pytest.approx(5.0, rel=1e-4)


def test_seeded_gives_back_the_generator():
    state = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), state)
    with seeded(3):
        assert torch.equal(torch.rand(4), first)
    with pytest.raises(ZeroDivisionError), seeded(3):
        torch.rand(1) / 0 + 1 / 0
    assert torch.equal(torch.get_rng_state(), state)


def test_devices(monkeypatch):
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"device='cuda' was asked for.*0 CUDA"):
        resolve_device("cuda")
    for name in ("gpu", "cuda:x", "mps"):
        with pytest.raises(ValueError, match=f"device must be.*{name}"):
            resolve_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ValueError, match="sees 1 CUDA"):
        resolve_device("cuda:1")


def test_a_training_far_behind_is_stopped():
    """And one that may still come up is not, nor what comes up from behind."""
    target = fit(new_line(), max_epochs=60, patience=60).keeper_.best_loss_
    start = fit(new_line(), max_epochs=1).history[0, "valid_loss"]
    for loss, n_epochs in ((target, 60), (start, 60), (-1e3 * start, 10)):
        net = fit(new_line(), max_epochs=60, patience=60, callbacks=[StopBehind(loss)])
        assert len(net.history) == n_epochs


def test_a_fit_does_not_load_torchs_compiler():
    """A second in each new process, for any of torch's optimizers."""
    code = (
        "import sys, numpy as np\n"
        "from skdre import FlowFeaturizer\n"
        "X = np.random.default_rng(0).normal(size=(30, 2))\n"
        "params = {'n_transforms': 1, 'hidden_features': (4,), 'max_epochs': 1}\n"
        "FlowFeaturizer('maf', **params, random_state=0).fit(X)\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    assert run.stdout == "False\n"
