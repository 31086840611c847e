"""The candidates for pairs: closed forms against densities, a gradient, directions."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, multivariate_t, norm, rankdata

from skdre.auto import _pair_network as network
from skdre.auto._pair_columns import PairColumns
from skdre.auto._pair_models import (
    EllipticPairs,
    fit_base,
    fit_gaussian_copula,
    fit_t,
)
from skdre.auto._pair_ratio import _CANDIDATES


def covariance(d, seed=0):
    root = np.random.default_rng(seed).normal(size=(d, d))
    return root @ root.T + np.eye(d)


@pytest.mark.parametrize("n_x", [1, 2, 4])
@pytest.mark.parametrize("degrees", [3.0, np.inf])
def test_elliptic_pairs_are_densities(n_x, degrees):
    S, center = covariance(5), np.arange(5.0)
    Z = center + 2 * np.random.default_rng(1).normal(size=(30, 5))

    def log_density(part):
        given = center[part], S[part, part]
        if np.isinf(degrees):
            return multivariate_normal(*given).logpdf(Z[:, part])
        return multivariate_t(*given, df=degrees).logpdf(Z[:, part])

    model = EllipticPairs(center, S, n_x, degrees)
    joint, first, second = (log_density(part) for part in (slice(None), *model.blocks))
    x, y = Z[:, :n_x], Z[:, n_x:]
    np.testing.assert_allclose(model.log_ratio(x, y), joint - first - second)
    norms = model.norms(model.first(x), model.second(y))
    deviation = Z - center
    for part, found in zip((slice(None), *model.blocks), norms, strict=True):
        expected = np.linalg.solve(S[part, part], deviation[:, part].T)
        np.testing.assert_allclose(found, np.sum(deviation[:, part].T * expected, 0))


def test_scores_of_the_fit_are_those_of_ranks():
    x, y = np.random.default_rng(0).exponential(size=(2, 50, 2))
    dx, _ = fit_gaussian_copula(x, y).columns(x, y)
    expected = norm.ppf(rankdata(x, axis=0) / 51)
    np.testing.assert_allclose(dx, expected - expected.mean(axis=0), atol=1e-12)


def test_degrees_of_a_t_copula():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(2000, 4)) / np.sqrt(rng.chisquare(2, size=(2000, 1)))
    assert fit_t(Z[:, :2], np.exp(Z[:, 2:])).degrees in (1.5, 2.0, 3.0)
    Z = rng.normal(size=(2000, 4))
    assert fit_t(Z[:, :2], Z[:, 2:]).degrees == 15.0


@pytest.mark.parametrize("name", _CANDIDATES)
def test_parts_give_the_ratio_of_permuted_pairs(name, monkeypatch):
    """What is fitted is asked about each x and y once, and then about any pairing."""
    monkeypatch.setattr(network, "_MOST", 40)
    x = np.random.default_rng(0).normal(size=(300, 2))
    y = x + np.random.default_rng(1).normal(size=(300, 2))
    partners = np.roll(np.arange(300), 1)[:, None]
    model = _CANDIDATES[name][0](x, y, partners, None, 0)
    found = model.of_parts(model.first(x), model.second(y)[partners[:, 0]])
    expected = model.log_ratio(x, y[partners[:, 0]])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert model.log_ratio(x, y).mean() > found.mean() + 0.3


# --- the network ----------------------------------------------------------------------


def turned(n, d, speed, seed=0):
    """Two pairs of columns with a correlation of .8; one turns with the norm of x."""
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(2, n, d))
    y = noise.copy()
    y[:, :2] = 0.8 * x[:, :2] + 0.6 * noise[:, :2]
    angle = speed / d * (x**2).sum(axis=1)
    a, b = x[:, 0].copy(), x[:, 1].copy()
    x[:, 0] = np.cos(angle) * a + np.sin(angle) * b
    x[:, 1] = np.cos(angle) * b - np.sin(angle) * a
    return x, y


def small_rows(number):
    x, y = turned(len(number), 3, 1.0)
    base = fit_base(x, y)
    dx, dy = base.columns(x, y)
    return network._Rows.of(base, PairColumns.of(base, dx, dy), dx, dy, number)


@pytest.mark.parametrize("number", [np.arange(12), np.arange(12) // 3])
def test_gradient_of_the_network(number):
    """Along a random direction of each layer's weights and of its biases."""
    rows, rng = small_rows(number), np.random.RandomState(0)
    net = network._Net((rows.x.shape[1], rows.y.shape[1]), rng)
    network._write_gradient(rows, net)
    start, largest = net.weights.copy(), 0.0
    pairs = zip(net.nets, net.gradients, strict=True)
    for layer, gradient in (each for a, b in pairs for each in zip(a, b, strict=True)):
        for values, slopes in zip(layer, gradient, strict=True):
            direction = np.sign(slopes) * rng.uniform(0.5, 1, slopes.shape)
            losses = []
            for step in (1e-2, -1e-2):
                values += np.float32(step) * direction.astype(np.float32)
                losses.append(float(network._loss(rows, net.nets)))
                net.weights[:] = start
            expected = np.sum(slopes * direction)
            found = (losses[0] - losses[1]) / 2e-2
            assert found == pytest.approx(expected, rel=0.02, abs=3e-5)
            largest = max(largest, abs(expected))
    assert largest > 0.01


@pytest.mark.parametrize("number", [np.arange(12), np.arange(12) // 3])
def test_loss_of_the_network(number):
    """Of the copula alone, a softplus for each pair and for all of other numbers."""
    rows = small_rows(number)
    net = network._Net((rows.x.shape[1], rows.y.shape[1]), np.random.RandomState(0))
    network._silence(net, net.weights)
    x, y = turned(12, 3, 1.0)
    base = fit_base(x, y)
    joint = np.logaddexp(0, -base.log_ratio(x, y)).mean()
    permuted = [
        np.logaddexp(0, base.log_ratio(x[[i]], y[[j]])[0])
        for i in range(12)
        for j in range(12)
        if number[i] != number[j]
    ]
    expected = (joint + np.mean(permuted)) / 2
    assert network._loss(rows, net.nets) == pytest.approx(expected, rel=1e-4)


def test_directions_show_what_turns():
    """Turned by a right angle on average, the columns hardly correlate."""
    x, y = turned(4000, 12, np.pi / 2)
    base = fit_base(x, y)
    columns = PairColumns.of(base, *base.columns(x, y))
    for directions in (columns.first, columns.second):
        assert directions.shape == (12, 4)
        axes = np.linalg.qr(directions)[0]
        # The share of each of the first two columns that lies in the space.
        assert (np.sum(axes[:2] ** 2, axis=1) > 0.9).all()


def test_a_network_sees_what_turns_with_the_norm(monkeypatch):
    monkeypatch.setattr(network, "_MEMBERS", 1)
    x, y = turned(2000, 3, 1.0)
    new = turned(2000, 3, 1.0, seed=1)
    found = network.fit_network(x, y, None, 0)
    truth = -np.log(1 - 0.8**2)
    assert found.base.log_ratio(*new).mean() < 0.6 * truth
    assert 0.75 * truth < found.log_ratio(*new).mean() < 1.1 * truth
