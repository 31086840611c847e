"""Maps of the columns, against distributions whose map is known."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from skdre.flows._marginals import gaussianize, standardize

DISTRIBUTIONS = {
    "normal": stats.norm(3, 2),
    "lognormal": stats.lognorm(1.5),
    "uniform": stats.uniform(-1, 4),
    "gamma": stats.gamma(2),
    "t": stats.t(4),
    "bimodal": None,
}


def draw(name, n_rows, seed=0):
    rng = np.random.default_rng(seed)
    if name == "bimodal":
        side = rng.choice([-3, 3], size=n_rows)
        return (side + rng.normal(size=n_rows))[:, None]
    return DISTRIBUTIONS[name].rvs(size=(n_rows, 1), random_state=seed)


def true_map(name, x):
    if name == "bimodal":
        return stats.norm.ppf((stats.norm.cdf(x + 3) + stats.norm.cdf(x - 3)) / 2)
    return stats.norm.ppf(DISTRIBUTIONS[name].cdf(x))


def true_log_density(name, x):
    if name == "bimodal":
        return np.log((stats.norm.pdf(x + 3) + stats.norm.pdf(x - 3)) / 2)
    return DISTRIBUTIONS[name].logpdf(x)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_gaussianize_finds_the_known_map(name):
    maps = gaussianize(draw(name, 20_000))
    new = draw(name, 4000, seed=1)
    U, log_slope = maps.forward(new)
    bulk = np.abs(true_map(name, new)) < 2
    assert np.abs(U - true_map(name, new))[bulk].max() < 0.1
    # the density of the map is that of the distribution, to 0.03 nats on average
    log_density = stats.norm.logpdf(U[:, 0]) + log_slope
    lost = np.mean(true_log_density(name, new[:, 0]) - log_density)
    assert -0.01 < lost < 0.03
    assert stats.kstest(U[:, 0], "norm").pvalue > 1e-3


@pytest.mark.parametrize("kind", [standardize, gaussianize])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_monotone_smooth_and_invertible(kind, name):
    X = draw(name, 500)
    maps = kind(X)
    column = maps.columns[0]
    center, width = np.median(X), np.ptp(X)
    grid = np.linspace(center - 3 * width, center + 3 * width, 20_001)[:, None]
    grid = np.sort(np.concatenate([grid, X, column.t[:, None]]), axis=0)
    U, log_slope = maps.forward(grid)
    assert (np.diff(U[:, 0])[np.diff(grid[:, 0]) > 1e-9 * width] > 0).all()
    np.testing.assert_allclose(maps.inverse(U), grid, rtol=1e-8, atol=1e-10 * width)

    step = 1e-7 * width
    for side in (-1, 1):  # the derivative from both sides, knots included
        rise = side * (maps.forward(grid + side * step)[0] - U)[:, 0] / step
        np.testing.assert_allclose(np.log(rise), log_slope, atol=2e-2)
        slope_beside = maps.forward(grid + side * 1e-9 * width)[1]
        np.testing.assert_allclose(slope_beside, log_slope, atol=1e-2)


@pytest.mark.parametrize("name", ["lognormal", "bimodal"])
def test_density_integrates_to_one(name):
    X = draw(name, 300)
    maps = gaussianize(X)
    column = maps.columns[0]

    def density(x):
        U, log_slope = maps.forward(np.array([[x]]))
        return np.exp(stats.norm.logpdf(U[0, 0]) + log_slope[0])

    knots = column.center + column.scale * column.t
    tails = 10 * column.scale / column.slope[[0, -1]]
    edges = [knots[0] - tails[0], *knots, knots[-1] + tails[1]]
    total = sum(quad(density, low, high, limit=200)[0] for low, high in pairwise(edges))
    assert total == pytest.approx(1, abs=1e-5)


def test_standardize_is_the_weighted_affine_map():
    rng = np.random.default_rng(0)
    X = rng.normal(5, 3, size=(50, 2))
    weight = rng.integers(1, 4, size=50)
    U, log_det = standardize(X, weight).forward(X)
    repeated = np.repeat(X, weight, axis=0)
    scale = repeated.std(axis=0)
    np.testing.assert_allclose(U, (X - repeated.mean(axis=0)) / scale, atol=1e-12)
    np.testing.assert_allclose(log_det, -np.log(scale).sum())


def test_gaussianize_weights_count_as_repetition():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 6, size=(60, 1)).astype(float)
    weight = rng.integers(1, 4, size=60)
    weighted = gaussianize(X, weight).forward(X)
    repeated = gaussianize(np.repeat(X, weight, axis=0)).forward(X)
    for ours, theirs in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_ties_get_the_quantile_of_their_middle_rank():
    X = np.repeat([0.0, 1.0, 5.0], [10, 60, 30])[:, None]
    U, log_slope = gaussianize(X).forward(X)
    expected = stats.norm.ppf([0.05, 0.4, 0.85])
    np.testing.assert_allclose(U[[0, 10, 70], 0], expected, atol=1e-12)
    assert np.abs(log_slope).max() < 3


def test_a_heap_at_one_value_does_not_make_the_density_explode():
    rng = np.random.default_rng(0)
    X = np.where(rng.random(2000) < 0.6, 0.0, rng.exponential(size=2000))[:, None]
    _, log_slope = gaussianize(X).forward(X)
    assert log_slope.max() < np.log(1e5)


@pytest.mark.parametrize("kind", [standardize, gaussianize])
@pytest.mark.parametrize("value", [0.0, 3.0, -1e9, 1e-300])
def test_constant_columns_are_centred(kind, value):
    maps = kind(np.full((7, 1), value))
    assert maps.is_constant.tolist() == [True]
    U, log_det = maps.forward(np.array([[value], [value + 2]]))
    np.testing.assert_allclose(U[:, 0], [0, 2])
    np.testing.assert_array_equal(log_det, 0)


@pytest.mark.parametrize("kind", [standardize, gaussianize])
@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1e9, 1e200])
def test_scale_of_a_column_does_not_matter(kind, scale):
    X = draw("lognormal", 200)
    U, log_det = kind(X).forward(X)
    scaled_U, scaled_log_det = kind(scale * X).forward(scale * X)
    np.testing.assert_allclose(scaled_U, U, atol=1e-9)
    np.testing.assert_allclose(scaled_log_det, log_det - np.log(scale), atol=1e-9)


@pytest.mark.parametrize("kind", [standardize, gaussianize])
def test_rows_anywhere_stay_finite(kind):
    maps = kind(draw("t", 100))
    X = np.array([[1e308], [-1e308], [1e30], [0.0]])
    U, log_det = maps.forward(X)
    assert np.isfinite(U).all()
    assert np.isfinite(log_det).all()


def test_one_outlier_stays_near_the_others():
    X = np.append(draw("normal", 1000), [[1e8]], axis=0)
    U, _ = gaussianize(X).forward(X)
    assert np.abs(U).max() < 4
    assert np.std(U[:-1]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 5])
def test_few_rows(n_rows):
    X = draw("normal", n_rows)
    for kind in (standardize, gaussianize):
        maps = kind(X)
        U, log_det = maps.forward(X)
        assert np.abs(U).max() < 3
        assert np.isfinite(log_det).all()
        np.testing.assert_allclose(maps.inverse(U), X)
