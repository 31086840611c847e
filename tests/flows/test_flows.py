"""One contract over every flow by name, and the closed forms against their oracles."""

import functools
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.integrate import trapezoid
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import scale

from skdre._nn.settings import seeded
from skdre.datasets import make_warped_shift
from skdre.flows import FlowFeaturizer
from skdre.flows._flows import FLOWS, TRAINED_FLOWS, build_flow
from skdre.flows._gaussian import (
    SHRINKAGES,
    choose_shrinkage,
    gaussian_moments,
    shrunk_log_densities,
    whitening,
)
from skdre.flows._likelihood import LogDensity

# Most flows here are trained as briefly as their test allows.
pytestmark = pytest.mark.filterwarnings("ignore:The held-out likelihood still rose")

every_flow = pytest.mark.parametrize("name", sorted(FLOWS))


def quick(name, **params):
    quick = {"n_transforms": 2, "hidden_features": (16,), "max_epochs": 8}
    if name == "ffjord":
        quick |= {"max_epochs": 3, "marginals": "standardize"}
    return FlowFeaturizer(name, **quick | {"random_state": 0} | params)


def banana(n_samples=400, random_state=0):
    shift = make_warped_shift(n_samples, 2, warp="banana", random_state=random_state)
    return np.asarray(shift.pool()[0])


@functools.cache
def fitted(name, n_features=2):
    X = banana() if n_features == 2 else banana()[:, 1:]
    return quick(name).fit(X)


def module(name, n_features, seed=0):
    """A flow whose every parameter was moved at random, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        flow = build_flow(name, n_features, n_transforms=3, hidden_features=(8,))
    flow = flow.double()
    with torch.no_grad():
        for parameter in flow.parameters():
            noise = torch.randn(parameter.shape, generator=generator).double()
            parameter.add_(0.3 * noise)
    return flow.eval().requires_grad_(False)


def rows(n_rows, n_features, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n_rows, n_features, generator=generator).double()


# Every flow -------------------------------------------------------------------------


@every_flow
@pytest.mark.parametrize("n_features", [1, 2, 3])
def test_starts_at_the_identity(name, n_features):
    flow = build_flow(name, n_features, n_transforms=3, hidden_features=(8,))
    u = rows(20, n_features, scale=2).float()
    z, log_det = flow().transform.call_and_ladj(u)
    assert_allclose(z.detach(), u, atol=1e-5)
    assert_allclose(log_det.detach(), 0, atol=1e-5)


@every_flow
@pytest.mark.parametrize("n_features", [1, 2, 5])
def test_log_determinant_is_that_of_the_jacobian(name, n_features):
    transform = module(name, n_features)().transform
    u = rows(4, n_features, scale=1.5)
    _, log_det = transform.call_and_ladj(u)
    jacobian = [
        torch.autograd.functional.jacobian(transform, each[None])[0, :, 0] for each in u
    ]
    expected = torch.linalg.slogdet(torch.stack(jacobian))[1]
    assert expected.abs().min() > 1e-3  # 0 would be no test
    assert_allclose(log_det, expected, atol=2e-5)


@every_flow
@pytest.mark.parametrize("n_features", [1, 2, 5])
def test_inverse(name, n_features):
    transform = module(name, n_features)().transform
    u = rows(50, n_features, scale=2)
    z = transform(u)
    assert (z - u).abs().max() > 0.1
    assert_allclose(transform.inv(z), u, atol=1e-5)
    assert_allclose(transform(transform.inv(u)), u, atol=1e-5)


@every_flow
def test_gradients_are_finite(name):
    flow = module(name, 3).train()
    density = LogDensity(flow, [0.0] * 3).double()
    u = torch.cat([rows(10, 3), rows(10, 3, scale=10), torch.zeros(1, 3).double()])
    u.requires_grad_()
    loss = density(u).mean()
    gradients = torch.autograd.grad(loss, [u, *density.parameters()])
    assert all(torch.isfinite(each).all() for each in gradients)
    assert all(each.abs().max() > 0 for each in gradients)


@every_flow
def test_gradient_in_x_is_that_of_differences(name):
    flow = module(name, 2)
    density = LogDensity(flow, [0.0] * 2).eval().requires_grad_(False)
    u = rows(6, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(density(u).sum(), u)
    step = 1e-3 * torch.eye(2).double()
    with torch.no_grad():
        differences = [(density(u + h) - density(u - h)) / 2e-3 for h in step]
    assert_allclose(gradient, torch.stack(differences, dim=1), rtol=2e-3, atol=2e-3)


@every_flow
def test_density_of_one_feature_integrates_to_one(name):
    X = banana()[:, 1:]
    flow = fitted(name, 1)
    n_nodes = 801 if name == "ffjord" else 4001
    grid = np.linspace(X.min() - 30, X.max() + 60, n_nodes)
    density = np.exp(flow.score_samples(grid[:, None]))
    assert trapezoid(density, grid) == pytest.approx(1, abs=2e-3)


@every_flow
def test_density_of_two_features_integrates_to_one(name):
    X = banana()
    reach = 2.5 * np.ptp(X, axis=0)
    middle = (X.min(axis=0) + X.max(axis=0)) / 2
    n_nodes = 151 if name == "ffjord" else 401
    axes = [
        np.linspace(m - r, m + r, n_nodes) for m, r in zip(middle, reach, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(fitted(name).score_samples(grid)).reshape(n_nodes, n_nodes)
    total = trapezoid(trapezoid(density, axes[1]), axes[0])
    assert total == pytest.approx(1, abs=1e-2)


@every_flow
@pytest.mark.parametrize("n_features", [1, 2])
def test_samples_follow_the_density(name, n_features):
    # The mean of h(x) / p(x) over samples of p is the integral of h, here 1.
    flow = fitted(name, n_features)
    X = flow.sample(4000, random_state=0)
    assert X.shape == (4000, n_features)
    center, covariance = np.median(X, axis=0), 0.1 * np.cov(X.T)
    h = stats.multivariate_normal(center, covariance).logpdf(X)
    ratio = np.exp(h - flow.score_samples(X))
    error = ratio.std() / np.sqrt(len(X))
    assert error < 0.1
    assert abs(ratio.mean() - 1) < 4 * error
    assert_array_equal(X, flow.sample(4000, random_state=0))


@every_flow
def test_round_trip_and_features_of_the_data(name):
    flow, X = fitted(name), banana()
    Z = flow.transform(X)
    assert_allclose(flow.inverse_transform(Z), X, rtol=1e-5, atol=1e-5)
    assert_allclose(Z.mean(axis=0), 0, atol=0.25)
    assert_allclose(Z.std(axis=0), 1, atol=0.25)


@every_flow
def test_tails(name):
    flow, X = fitted(name), banana()
    center, spread = X.mean(axis=0), X.std(axis=0)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) * spread
    near = flow.score_samples(X).mean()
    for distance in (10, 100):
        far = center + distance * circle
        Z = flow.transform(far)
        assert_allclose(flow.inverse_transform(Z), far, rtol=1e-4, atol=1e-4)
        assert np.linalg.norm(Z, axis=1).max() < 40 * distance
        log_density = flow.score_samples(far)
        assert np.isfinite(log_density).all()
        assert log_density.max() < near - 5
    for distance in (1e6, 1e15, 1e200):
        assert np.isfinite(flow.transform(distance * circle)).all()
        assert np.isfinite(flow.score_samples(distance * circle)).all()


@every_flow
def test_pickle(name):
    flow, X = fitted(name), banana()[:50]
    copy = pickle.loads(pickle.dumps(flow))
    assert_array_equal(copy.transform(X), flow.transform(X))
    assert_array_equal(copy.score_samples(X), flow.score_samples(X))
    assert_array_equal(copy.sample(5, random_state=0), flow.sample(5, random_state=0))


@every_flow
def test_repeats_to_the_bit(name):
    X = banana(50)
    first, second = (quick(name, max_epochs=2).fit(X) for _ in range(2))
    assert_array_equal(first.transform(X), second.transform(X))


@every_flow
def test_constant_features(name):
    X = np.column_stack([banana(60), np.full(120, 7.0)])
    flow = quick(name, max_epochs=2).fit(X)
    Z = flow.transform(X)
    assert np.isfinite(Z).all()
    assert np.abs(Z[:, 2]).max() < 0.5
    assert_allclose(flow.inverse_transform(Z), X, rtol=1e-5, atol=1e-5)
    assert np.isfinite(flow.score_samples(X)).all()
    everything = quick(name, max_epochs=2).fit(np.ones((30, 2)))
    assert_allclose(everything.transform(np.ones((3, 2))), 0, atol=0.5)


@every_flow
def test_samples_that_cannot_be_drawn(name):
    with pytest.raises(NotFittedError):
        FlowFeaturizer(name).sample(3)
    for n_samples in (0, -1, 2.5, "many"):
        with pytest.raises(ValueError, match="n_samples must be an integer >= 1"):
            fitted(name).sample(n_samples)


def test_unknown_names():
    for call in (
        lambda: FlowFeaturizer("nice").fit(np.eye(4)),
        lambda: build_flow("nice", 2, n_transforms=1, hidden_features=(8,)),
    ):
        with pytest.raises(ValueError, match="nice") as error:
            call()
        assert all(repr(name) in str(error.value) for name in FLOWS)


@pytest.mark.parametrize("name", TRAINED_FLOWS)
def test_trained_flows_learn_what_the_closed_forms_cannot(name):
    train, test = banana(), banana(1000, random_state=1)
    params = {"n_transforms": 3, "hidden_features": (32,), "random_state": 0}
    params["max_epochs"] = 40
    if name == "ffjord":  # the beginning is enough to see
        params |= {"max_epochs": 10, "learning_rate": 0.03}
    params["marginals"] = "gaussianize" if name == "nsf" else "standardize"
    closed = FlowFeaturizer("gaussian", **params).fit(train)
    flow = FlowFeaturizer(name, **params).fit(train)
    gain = 0.3 if name == "ffjord" else 0.8
    assert flow.score(test) > closed.score(test) + gain
    assert flow.best_validation_score_ == pytest.approx(flow.score(test), abs=0.3)


# One flow ---------------------------------------------------------------------------


def test_inverse_of_couplings_takes_one_pass():
    flow, seen = module("realnvp", 6), []
    for coupling in flow.transform.transforms:
        coupling.network.register_forward_hook(lambda *_: seen.append(1))
    flow().transform.inv(rows(3, 6))
    assert len(seen) == len(flow.transform.transforms) == 6


def test_couplings_map_every_column_given_some_others():
    flow = module("realnvp", 7)
    masks = [coupling.stays for coupling in flow.transform.transforms]
    for first, second in zip(masks[::2], masks[1::2], strict=True):
        assert torch.equal(first, ~second)
    assert not all(torch.equal(masks[0], mask) for mask in masks[2::2])


def test_splines_reach_rows_beyond_their_range():
    # The second column at |u| = 3 lies six deviations out. Splines alone, which end at
    # five, leave these rows there: their spread is 2.1.
    u = np.random.default_rng(0).normal(size=(600, 2))
    X = np.stack([u[:, 0], 3 * u[:, 0] ** 2 + 0.3 * u[:, 1]], axis=1)
    flow = quick("nsf", marginals="standardize", max_epochs=60, hidden_features=(32,))
    Z = flow.fit(X).transform(X)
    far = np.abs(u[:, 0]) > 2
    assert Z[far, 1].std() < 1.4


def test_many_columns_train_on_a_random_trace():
    exact = {}
    for n_features in (10, 11):
        flow = module("ffjord", n_features)
        exact[n_features] = flow.train()().transform.exact
        assert flow.eval()().transform.exact
    assert exact == {10: True, 11: False}
    X = np.random.default_rng(0).normal(size=(60, 11))
    flow = quick("ffjord", max_epochs=1).fit(X)
    assert_array_equal(flow.score_samples(X), flow.score_samples(X))


# The closed forms -------------------------------------------------------------------


def correlated(n_samples, n_features=3, seed=0):
    rng = np.random.default_rng(seed)
    mixing = np.eye(n_features) + 0.5 * np.tri(n_features)
    return rng.normal(size=(n_samples, n_features)) @ mixing.T + 5, mixing


def test_gaussian_is_the_gaussian_of_the_rows():
    X, _ = correlated(4000)
    flow = FlowFeaturizer("gaussian", random_state=0).fit(X)
    assert flow.marginals_ == "standardize"
    assert flow.n_iter_ == 0
    assert flow.shrinkage_ <= 0.03
    # The covariance of the standardised rows, with their noise, and the shrinkage.
    mean, spread = X.mean(axis=0), X.std(axis=0)
    correlation = np.corrcoef(X.T) + 0.003**2 * np.eye(3)
    shrunk = (1 - flow.shrinkage_) * correlation + flow.shrinkage_ * np.eye(3)
    expected = stats.multivariate_normal(mean, shrunk * np.outer(spread, spread))
    new = correlated(50, seed=1)[0]
    assert_allclose(flow.score_samples(new), expected.logpdf(new), rtol=1e-6)
    assert_allclose(np.cov(flow.transform(X).T), np.eye(3), atol=0.03)
    # Of the maps that whiten this one is symmetric in the standardised columns.
    matrix = flow.transform(mean + np.diag(spread)) - flow.transform(mean[None])
    assert_allclose(matrix, matrix.T, atol=1e-10)


@pytest.mark.parametrize("name", ["copula", "gaussianization"])
def test_copula_is_near_the_true_density(name):
    X, mixing = correlated(4000)
    train, new = np.exp(X / 2), correlated(2000, seed=1)[0] / 2
    flow = FlowFeaturizer(name, random_state=0).fit(train)
    assert flow.marginals_ == "gaussianize"
    true = stats.multivariate_normal(np.full(3, 2.5), mixing @ mixing.T / 4)
    true = true.logpdf(new) - new.sum(axis=1)
    lost = true - flow.score_samples(np.exp(new))
    assert -0.01 < lost.mean() < 0.03
    gaussian = FlowFeaturizer("gaussian", random_state=0).fit(train)
    assert gaussian.score(np.exp(new)) < true.mean() - 0.5


def test_marginals_may_be_given():
    X, _ = correlated(200)
    flow = FlowFeaturizer("gaussian", marginals="gaussianize", random_state=0)
    copula = FlowFeaturizer("copula", random_state=0)
    assert_array_equal(flow.fit_transform(X), copula.fit_transform(X))


def test_best_validation_score_is_of_rows_that_were_held_out():
    X, _ = correlated(300)
    flow = FlowFeaturizer("gaussian", random_state=0, validation_fraction=0.5).fit(X)
    assert flow.best_validation_score_ == pytest.approx(flow.score(X), abs=0.2)
    assert flow.best_validation_score_ < flow.score(X)
    assert flow.marginal_scores_ == {"standardize": flow.best_validation_score_}


def test_two_labels_count_half_each():
    few, many = correlated(50)[0], correlated(1000, seed=1)[0] + 20
    X, y = np.concatenate([few, many]), np.repeat([0, 1], [50, 1000])
    flow = FlowFeaturizer("gaussian", random_state=0).fit(X, y)
    middle = flow.inverse_transform(np.zeros((1, 3)))[0]
    assert_allclose(middle, (few.mean(axis=0) + many.mean(axis=0)) / 2)


@pytest.mark.parametrize("name", ["gaussian", "copula"])
def test_singular_covariances(name):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(100, 3))
    repeated = np.column_stack([Z, Z[:, 0], Z.sum(axis=1)])
    flow = FlowFeaturizer(name, random_state=0).fit(repeated)
    assert np.abs(flow.transform(repeated)).max() < 10
    # Fewer rows than columns: without shrinkage new rows are 300 deviations out.
    wide = rng.normal(size=(30, 60))
    flow = FlowFeaturizer(name, random_state=0).fit(wide)
    assert flow.shrinkage_ > 0.05
    assert np.abs(flow.transform(rng.normal(size=(100, 60)))).max() < 15
    for n_rows in (2, 3, 5):
        flow = FlowFeaturizer(name, random_state=0).fit(wide[:n_rows, :4])
        assert np.isfinite(flow.score_samples(wide[:, :4])).all()


def test_moments_whitening_and_shrinkage_by_brute_force():
    rng = np.random.default_rng(0)
    U, held_out = correlated(40)[0], correlated(15, seed=1)[0]
    counts = rng.integers(1, 4, size=40)
    noise = np.array([0.1, 0.2, 0.0])
    mean, covariance = gaussian_moments(U, counts / counts.mean(), noise)
    again = np.repeat(U, counts, axis=0)
    assert_allclose(mean, again.mean(axis=0))
    expected = np.cov(again.T, bias=True) + np.diag(noise**2)
    assert_allclose(covariance, expected)

    weight = rng.integers(1, 4, size=15)
    log_densities = shrunk_log_densities(held_out, weight, mean, covariance)
    for shrinkage, log_density in zip(SHRINKAGES, log_densities, strict=True):
        shrunk = (1 - shrinkage) * covariance + shrinkage * np.eye(3)
        each = stats.multivariate_normal(mean, shrunk).logpdf(held_out)
        assert log_density == pytest.approx(np.average(each, weights=weight))

    factors = whitening(covariance, 0.1)
    matrix = np.tril(factors) @ (np.triu(factors, 1) + np.eye(3))
    shrunk = 0.9 * covariance + 0.1 * np.eye(3)
    assert_allclose(matrix @ shrunk @ matrix.T, np.eye(3), atol=1e-10)


def test_shrinkage_is_that_of_the_best_density():
    rng = np.random.default_rng(0)
    for n_rows, low, high in ((20, 0.1, 1), (100, 0.01, 0.3), (5000, 0, 0.003)):
        U = scale(correlated(n_rows, 10)[0])
        index = choose_shrinkage(
            U, np.ones(n_rows), np.full(10, 1e-3), np.random.RandomState(0)
        )
        assert low <= SHRINKAGES[index] <= high
    U = rng.normal(size=(200, 10))
    ones = np.ones(200), np.zeros(10)
    assert SHRINKAGES[choose_shrinkage(U, *ones, np.random.RandomState(0))] == 1


def test_warm_start_of_a_closed_form_is_a_new_fit():
    X, _ = correlated(100)
    flow = FlowFeaturizer("gaussian", warm_start=True, random_state=0).fit(X)
    shifted = FlowFeaturizer("gaussian", random_state=0).fit(X + 1)
    assert_array_equal(flow.fit(X + 1).transform(X), shifted.transform(X))
