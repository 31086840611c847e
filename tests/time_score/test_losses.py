"""Losses of scores against the true scores of Gaussians, by automatic derivatives.

A loss is right if its expectation is least at the truth. Losses are quadratic in the
score, so along s + e g the best e follows from the loss at three points.
"""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.func import grad, vmap

from skdre._core.moments import joint_moments
from skdre._nn.batches import TensorRows, cumulative_shares
from skdre._nn.settings import GLOBAL_DICE, seeded
from skdre.paths import BridgePath, check_path
from skdre.time_score import _losses as objectives
from skdre.time_score._losses import Draws, Setting
from skdre.time_score._networks import (
    GaussianScore,
    SumOfScores,
    TimeMLP,
    with_derivative,
)
from skdre.time_score._sampling import DrawBatches, LossHistory, UniformTimes

M0, V0 = torch.tensor([-0.5, 0.2]), torch.tensor([1.0, 0.5])
M1, V1 = torch.tensor([1.0, -0.4]), torch.tensor([0.4, 1.3])
STANDARD = torch.zeros(2), torch.ones(2)
BRIDGE = BridgePath(sigma=1.0, epsilon=0.05)


def double(*tensors):
    return [each.double() for each in tensors]


class Truth:
    """Scores of the path between two Gaussians, by differentiating its log density."""

    def __init__(self, path, *, centered=False, standard=False, outputs="time"):
        self.path, self.centered, self.outputs = path, centered, outputs
        self.m0, self.v0 = double(*(STANDARD if standard else (M0, V0)))
        self.m1, self.v1 = double(M1, V1)

    def log_density(self, x, t):
        a, b, s = self.path.coefficients(t)
        mean = a * self.m0 + b * self.m1
        if self.centered:
            mean = (1 - t) * self.m0 + t * self.m1
        variance = a**2 * self.v0 + b**2 * self.v1 + s**2
        return -0.5 * ((x - mean) ** 2 / variance + torch.log(variance)).sum()

    def log_ratio(self, x):
        one = torch.tensor([1.0], dtype=torch.float64)
        return vmap(lambda row: self.log_density(row, one))(x) - vmap(
            lambda row: self.log_density(row, 0 * one)
        )(x)

    def __call__(self, x, t):
        by_time = vmap(grad(self.log_density, argnums=1))(x, t)
        by_row = vmap(grad(self.log_density, argnums=0))(x, t)
        parts = {"time": [by_time], "data": [by_row], "joint": [by_time, by_row]}
        return torch.cat(parts[self.outputs], dim=1)


def draws_of(path, n_draws=25_000, *, standard=False, seed=0, margin=1e-4):
    """Fresh rows of the two Gaussians, and times."""
    with seeded(seed):
        z0, z1, noise, direction = torch.randn(4, n_draws, 2, dtype=torch.float64)
        t, importance = UniformTimes(margin).draw(n_draws)
        switch = torch.rand(n_draws, 1)
    m0, v0 = double(*(STANDARD if standard else (M0, V0)))
    m1, v1 = double(M1, V1)
    return Draws(
        t[:, None].double(),
        importance[:, None].double(),
        m0 + v0.sqrt() * z0,
        m1 + v1.sqrt() * z1,
        noise,
        torch.sign(direction),
        switch.double(),
    )


# Directions g in which the truth is left; of the right width by broadcasting.
DIRECTIONS = {
    "constant": lambda x, t: torch.ones_like(x[:, :1]),
    "time": lambda x, t: t - 0.3,
    "row": lambda x, t: x[:, :1] * (1 - t),
    "bend": lambda x, t: torch.sin(x[:, 1:] + 2 * t),
}


class Moved:
    """A score plus a multiple of a direction, in all columns or in one."""

    def __init__(self, score, direction, step, column=None):
        self.score, self.direction = score, direction
        self.step, self.column = step, column

    def __call__(self, x, t):
        output = self.score(x, t)
        move = self.step * self.direction(x, t).expand_as(output)
        if self.column is not None:
            keep = torch.zeros(output.shape[1], dtype=output.dtype)
            keep[self.column] = 1
            move = move * keep
        return output + move


PER_FEATURE = partial(objectives.conditional_losses, per_feature=True)


def per_draw(loss, score, draws, path, weighting="uniform", **options):
    interior, ends = loss(score, draws, Setting(path, weighting, **options))
    return interior + ends


def best_step(loss, score, direction, draws, path, column=None, at=None, **options):
    """(e, its standard error), e the least point of the loss of score + e direction.

    `at` is the loss at e = 0, the same for all directions.
    """
    below, above = (
        per_draw(loss, Moved(score, direction, e, column), draws, path, **options)
        for e in (-0.5, 0.5)
    )
    at = per_draw(loss, score, draws, path, **options) if at is None else at
    slope = above - below
    curvature = 4 * (above + below - 2 * at).mean()
    assert curvature > 0
    return (
        -slope.mean() / curvature,
        slope.std() / math.sqrt(len(slope)) / curvature,
    )


def assert_least_at(loss, score, draws, path, columns=(None,), **options):
    at = per_draw(loss, score, draws, path, **options)
    for name, direction in DIRECTIONS.items():
        for column in columns:
            step, error = best_step(
                loss, score, direction, draws, path, column, at, **options
            )
            assert error < 0.1, (name, column, error)
            assert abs(step) < 4 * error, (name, column, step, error)


PATHS = ["trigonometric", "linear", "vpsde", "arithmetic", BRIDGE]
WEIGHTINGS = ["uniform", "parabolic", lambda t: torch.exp(-t) + t**2]


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=["uniform", "parabolic", "own"])
@pytest.mark.parametrize("path", ["trigonometric", "linear", BRIDGE], ids=str)
@pytest.mark.parametrize("name", ["time_score_losses", "velocity_losses"])
def test_time_score_is_the_minimum(name, path, weighting):
    path = check_path(path)
    assert_least_at(
        getattr(objectives, name),
        Truth(path),
        draws_of(path),
        path,
        weighting=weighting,
    )


def test_an_inverted_score_is_no_minimum():
    """Nor half, nor twice the truth: the loss leads back from each."""
    path = check_path("trigonometric")
    truth, draws = Truth(path), draws_of(path, 30_000)
    for factor in (-1.0, 0.5, 2.0):
        step, error = best_step(
            objectives.time_score_losses,
            lambda x, t, factor=factor: factor * truth(x, t),
            truth,
            draws,
            path,
        )
        assert abs(step - (1 - factor)) < 4 * error < 0.1


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=["uniform", "parabolic", "own"])
@pytest.mark.parametrize("name", ["time_score_losses", "velocity_losses"])
def test_integration_by_parts(name, weighting):
    """Eq. 5 is Eq. 4 up to a constant; with s where s^2 belongs it is not."""
    path = check_path("trigonometric")
    truth, draws = Truth(path), draws_of(path)
    x = path.interpolate(draws.x0, draws.x1, draws.t)
    target = truth(x, draws.t)[:, 0]
    weight = objectives.weight_and_slope(weighting, draws.t)[0][:, 0]
    loss = getattr(objectives, name)
    scores = [
        lambda x, t: 2 * truth(x, t),
        lambda x, t: torch.sin(x[:, :1]) + t * x[:, 1:] - 1.0,
    ]
    explicit, found, without_square = [], [], []
    for score in scores:
        s = score(x, draws.t)[:, 0]
        explicit.append(weight * (s - target) ** 2)
        found.append(per_draw(loss, score, draws, path, weighting))
        without_square.append(found[-1] - weight * s**2 + weight * s)
    wanted = explicit[0] - explicit[1]

    def z_value(values):
        gap = values[0] - values[1] - wanted
        return abs(gap.mean()) / (gap.std() / math.sqrt(len(gap)))

    assert z_value(found) < 4
    assert z_value(without_square) > 20


def test_slope_of_a_weight():
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)[:, None]
    for weighting in WEIGHTINGS:
        _, slope = objectives.weight_and_slope(weighting, t)
        above, below = (
            objectives.weight_and_slope(weighting, t + e)[0] for e in (1e-5, -1e-5)
        )
        torch.testing.assert_close(slope, (above - below) / 2e-5, atol=1e-8, rtol=1e-7)
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None]
    for name in objectives.WEIGHTINGS:
        weight, _ = objectives.weight_and_slope(name, t)
        assert torch.trapezoid(weight[:, 0], t[:, 0]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("path", ["trigonometric", BRIDGE], ids=str)
def test_sliced_data_score_is_the_minimum(path):
    path = check_path(path)
    truth = Truth(path, outputs="joint")
    assert_least_at(
        objectives.sliced_losses, truth, draws_of(path), path, columns=(1, 2)
    )


@pytest.mark.parametrize(
    ("path", "standard"), [(BRIDGE, False), ("vpsde", True), ("trigonometric", True)]
)
def test_conditional_losses_have_the_scores_as_minimum(path, standard):
    path = check_path(path)
    draws = draws_of(path, 60_000, standard=standard)
    truth = Truth(path, standard=standard)
    assert_least_at(objectives.conditional_losses, truth, draws, path, speed=2.0)
    truth = Truth(path, standard=standard, outputs="data")
    assert_least_at(objectives.denoising_losses, truth, draws, path, columns=(0, 1))


@pytest.mark.parametrize(
    ("path", "standard"), [(BRIDGE, False), ("vpsde", True), ("trigonometric", True)]
)
def test_conditional_target(path, standard):
    """Network output 0 leaves the squared target; against automatic derivatives."""
    path = check_path(path)
    draws = draws_of(path, 500, standard=standard, margin=1e-3)
    x = path.interpolate(draws.x0, draws.x1, draws.t, draws.noise)

    def log_density(x, x0, x1, t, column):
        a, b, s = path.coefficients(t)
        mean, spread = (a * x0 + b * x1, s) if path.is_noisy else (b * x1, a)
        terms = -0.5 * ((x - mean) / spread) ** 2 - torch.log(spread)
        return terms[column]

    target = torch.stack(
        [
            vmap(grad(log_density, argnums=3), in_dims=(0, 0, 0, 0, None))(
                x, draws.x0, draws.x1, draws.t, column
            )[:, 0]
            for column in (0, 1)
        ],
        dim=1,
    )
    a, _, s = path.coefficients(draws.t)
    spread = s if path.is_noisy else a
    da, _, ds = path.derivatives(draws.t)
    slope = ds if path.is_noisy else da
    variance = 2 * (spread * slope) ** 2 + 1.7 * spread**2

    def zero(x, t):
        return torch.zeros_like(x)

    def zero_sum(x, t):
        return torch.zeros_like(t)

    setting = Setting(path, speed=1.7)
    found, _ = objectives.conditional_losses(zero, draws, setting, per_feature=True)
    expected = (spread**4 / variance * target**2).sum(dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    found, _ = objectives.conditional_losses(zero_sum, draws, setting)
    expected = (spread**4 / variance)[:, 0] * target.sum(dim=1) ** 2 / 2
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_conditional_losses_are_of_one_size_up_to_the_ends():
    """The root of the weight times the target, which alone diverges as 1 / t."""
    for path, standard in ((BridgePath(), False), (check_path("vpsde"), True)):
        draws = draws_of(path, 20_000, standard=standard)
        for t in (1e-5, 0.5, 1 - 1e-5):
            losses = per_draw(
                PER_FEATURE,
                lambda x, t: torch.zeros_like(x),
                draws._replace(t=torch.full_like(draws.t, t)),
                path,
                speed=2.0,
            )
            assert torch.isfinite(losses).all()
            assert losses.mean() < 10
        assert losses.mean() > 0.1


def test_per_feature_scores_sum_to_the_time_score():
    """Regress the terms on (1, x, x^2): their sum is the time score at that time."""
    path, t = check_path("trigonometric"), 0.6
    draws = draws_of(path, 400_000, standard=True)
    draws = draws._replace(t=torch.full_like(draws.t, t))
    x = path.interpolate(draws.x0, draws.x1, draws.t)
    basis = torch.cat([torch.ones_like(x[:, :1]), x, x**2], dim=1)
    a, _, _ = path.coefficients(draws.t[:1])
    da, db, _ = path.derivatives(draws.t[:1])
    terms = da / a * (draws.x0**2 - 1) + draws.x0 * db * draws.x1 / a
    fitted = basis @ torch.linalg.lstsq(basis, terms).solution
    truth = Truth(path, standard=True)(x[:1000], draws.t[:1000])[:, 0]
    error = fitted[:1000].sum(dim=1) - truth
    assert (error**2).mean() < 2e-3 * truth.var()
    # And the loss per feature is least there.
    score = Moved(lambda x, t: fitted, DIRECTIONS["row"], 0.0)
    for column in (0, 1):
        step, error = best_step(
            PER_FEATURE, score, DIRECTIONS["row"], draws, path, column
        )
        assert abs(step) < 4 * error < 0.1


@pytest.mark.parametrize("path", ["vpsde", "trigonometric", "linear"])
def test_fokker_planck(path):
    path = check_path(path)
    data = Truth(path, standard=True, outputs="data")
    time = Truth(path, standard=True)
    with seeded(0):
        x = torch.randn(50, 2, dtype=torch.float64)
        t = torch.rand(50, 1, dtype=torch.float64) * 0.9 + 0.05
    found = objectives.fokker_planck_time_score(data, path, x, t)
    torch.testing.assert_close(found, time(x, t)[:, 0], rtol=1e-8, atol=1e-8)


def test_mixed_discrete_columns():
    """Of two values, mixed: p_t = (1 - t) q + t p, whose time score is known."""
    path = check_path("trigonometric")
    q, p = 0.6, 0.2

    def truth(x, t):
        share = (1 - t) * q + t * p
        at_one = (p - q) / share
        at_zero = (q - p) / (1 - share)
        return torch.where(x[:, :1] > 0.5, at_one, at_zero)

    draws = draws_of(path)
    with seeded(1):
        u0, u1 = torch.rand(2, *draws.x0.shape, dtype=torch.float64)
    draws = draws._replace(x0=(u0 < q).double(), x1=(u1 < p).double())
    mask = torch.tensor([True, True])
    for name in ("constant", "time", "row"):
        step, error = best_step(
            objectives.time_score_losses,
            truth,
            DIRECTIONS[name],
            draws,
            path,
            is_discrete=mask,
        )
        assert abs(step) < 4 * error < 0.2


LOSSES = {
    "time": [objectives.time_score_losses, objectives.velocity_losses],
    "joint": [objectives.sliced_losses],
}


@pytest.mark.parametrize("outputs", ["time", "joint"])
def test_a_base_score_shifts_the_loss_by_a_constant(outputs):
    path = check_path("trigonometric")
    draws = draws_of(path, 200)
    base = Truth(path, outputs=outputs)
    with seeded(0):
        networks = [TimeMLP(2, 1 if outputs == "time" else 3).double() for _ in "ab"]
    for loss in LOSSES[outputs]:
        gaps = [
            per_draw(loss, SumOfScores(each, _Module(base)), draws, path)
            - per_draw(loss, each, draws, path, base=base)
            for each in networks
        ]
        assert gaps[0].std() > 0.1
        torch.testing.assert_close(gaps[0], gaps[1])


@pytest.mark.parametrize("outputs", ["time", "data"])
def test_a_base_score_is_added_to_a_regression(outputs):
    path = BRIDGE
    draws = draws_of(path, 200)
    base = Truth(path, outputs=outputs)
    network = TimeMLP(2, 1 if outputs == "time" else 2).double()
    loss = (
        objectives.conditional_losses
        if outputs == "time"
        else objectives.denoising_losses
    )
    torch.testing.assert_close(
        per_draw(loss, network, draws, path, base=base),
        per_draw(loss, SumOfScores(network, _Module(base)), draws, path),
    )


class _Module(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


# --- networks ---------------------------------------------------------------------


@pytest.mark.parametrize("time_features", [None, 5])
def test_derivative_of_the_network(time_features):
    with seeded(0):
        network = TimeMLP(3, 2, (8, 8), time_features).double()
        x, dx = torch.randn(2, 6, 3, dtype=torch.float64)
        t, dt = torch.rand(2, 6, 1, dtype=torch.float64)
        weight = torch.randn(6, 2, dtype=torch.float64)
    results = []
    for derive in (network.with_derivative, lambda *a: torch.func.jvp(network, *a)):
        arguments = (x, t, dx, dt) if not results else ((x, t), (dx, dt))
        output, slope = derive(*arguments)
        network.zero_grad()
        (weight * (output**2 + torch.sin(slope))).sum().backward()
        gradients = [p.grad.clone() for p in network.parameters()]
        results.append([output, slope, *gradients])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
    with seeded(0):
        again = TimeMLP(3, 2, (8, 8), time_features).double()
    torch.testing.assert_close(again(x, t), results[0][0])


def test_derivative_of_any_module():
    x, t = torch.tensor([[2.0]]), torch.tensor([[3.0]])
    output, slope = with_derivative(
        lambda x, t: x**2 * t, x, t, torch.tensor([[1.0]]), torch.tensor([[10.0]])
    )
    assert output.item() == 12
    assert slope.item() == 2 * 2 * 3 + 4 * 10


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("outputs", ["time", "data", "joint"])
@pytest.mark.parametrize("path", PATHS[:-1])
def test_score_of_gaussians(path, outputs, centered):
    path = check_path(path)
    truth = Truth(path, centered=centered, outputs=outputs)
    # Samples whose moments are exactly these: two points a column.
    samples = [
        np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        * v.sqrt().numpy()
        + m.numpy()
        for m, v in ((truth.m0, truth.v0), (truth.m1, truth.v1))
    ]
    moments = joint_moments(*samples, shrink=False)
    columns = ("time", "data") if outputs == "joint" else (outputs,)
    score = GaussianScore(moments, path, centered=centered, outputs=columns)
    with seeded(0):
        x = torch.randn(40, 2, dtype=torch.float64) * 2
        t = torch.rand(40, 1, dtype=torch.float64) * 0.98 + 0.01
    torch.testing.assert_close(score(x, t), truth(x, t), rtol=1e-6, atol=1e-6)
    ends = score(x[:2], torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    assert torch.isfinite(ends).all()


# --- times ------------------------------------------------------------------------


def test_uniform_times_are_stratified():
    with seeded(0):
        t, importance = UniformTimes(1e-3).draw(1000)
    assert (importance == 1).all()
    assert t.min() >= 1e-3
    assert t.max() <= 1 - 1e-3
    counts = np.histogram(t, bins=100, range=(0, 1))[0]
    assert abs(counts - 10).max() <= 1
    # In no order.
    assert abs(np.corrcoef(t, np.arange(1000))[0, 1]) < 0.1


def test_loss_history_finds_the_weights():
    """Losses of a root mean square that is a polynomial of degree 4 in time."""
    times = LossHistory(1e-4, n_batches=50)
    polynomial = np.polynomial.Polynomial([0.3, 1.0, -2.0, 0.5, 1.5])
    with seeded(0):
        for _ in range(50):
            t, importance = times.draw(400)
            assert (importance == 1).all()
            size = torch.as_tensor(polynomial(t.numpy()))
            times.update(t, size * torch.randn(400))
        t, importance = times.draw(20_000)
    cells = (np.arange(500) + 0.5) / 500
    expected = polynomial(cells) / polynomial(cells).mean()
    expected = 0.9 * expected + 0.1
    assert abs(times.density / expected - 1).max() < 0.15
    counts, edges = np.histogram(t, bins=20, range=(0, 1), density=True)
    middle = (edges[1:] + edges[:-1]) / 2
    assert abs(counts - np.interp(middle, cells, times.density)).max() < 0.1
    # What is drawn more often counts less: means over time are unbiased.
    for function in (torch.ones_like, torch.square, torch.exp):
        exact = function(torch.linspace(0, 1, 10_001)).mean().item()
        found = (importance * function(t)).mean().item()
        assert found == pytest.approx(exact, rel=0.01)


def test_loss_history_survives_anything():
    times = LossHistory(1e-4, n_batches=4)
    with seeded(0):
        for losses in (torch.zeros(50), torch.full((50,), math.nan)):
            for _ in range(60):
                t, _ = times.draw(50)
                times.update(t, losses)
        t, importance = times.draw(50)
    assert torch.isfinite(t).all()
    assert torch.isfinite(importance).all()


def test_draws_of_weighted_rows():
    inputs = torch.arange(6.0)[:, None] * torch.ones(1, 3)
    shares = [
        cumulative_shares(np.array([weight])) for weight in ([1.0, 3.0], [0, 2, 1, 1])
    ]

    def batches(n_batches, gaussian):
        return DrawBatches(
            TensorRows(inputs),
            1000,
            GLOBAL_DICE,
            n_batches=n_batches,
            shares=shares,
            times=UniformTimes(0.0),
            gaussian=gaussian,
        )

    with seeded(0):
        several = [draws for draws, _ in batches(2, gaussian=False)]
        ((gaussian, _),) = batches(1, gaussian=True)
    assert len(several) == 2
    draws = several[0]
    assert_counts = np.bincount(draws.x0[:, 0].int(), minlength=2)
    np.testing.assert_allclose(assert_counts, [250, 750], atol=1)
    counts = np.bincount(draws.x1[:, 0].int(), minlength=6)
    np.testing.assert_allclose(counts, [0, 0, 0, 500, 250, 250], atol=1)
    # Pairs, times and noise are independent.
    columns = torch.cat(
        [draws.t, draws.x0[:, :1], draws.x1[:, :1], draws.noise, draws.switch], dim=1
    )
    correlation = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    assert abs(correlation).max() < 0.13
    assert set(draws.direction.unique().tolist()) == {-1, 1}
    assert gaussian.x0.std() == pytest.approx(1, abs=0.05)
