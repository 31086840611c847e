"""Paths: coefficients, derivatives, ends, and the laws of what lies between."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skdre.paths import (
    PATHS,
    ArithmeticPath,
    BridgePath,
    LinearPath,
    TrigonometricPath,
    VPSDEPath,
    check_path,
)

ALL = [
    *(path() for path in PATHS.values()),
    VPSDEPath(beta_min=0.5, beta_max=5.0),
    BridgePath(sigma=0.7, epsilon=0.05),
]
TIMES = np.linspace(0.01, 0.99, 23)

every_path = pytest.mark.parametrize("path", ALL, ids=repr)


@every_path
def test_derivatives_are_those_of_finite_differences(path):
    h = 1e-6
    for before, after, slope in zip(
        path.coefficients(TIMES - h),
        path.coefficients(TIMES + h),
        path.derivatives(TIMES),
        strict=True,
    ):
        assert_allclose(slope, (after - before) / (2 * h), rtol=1e-5, atol=1e-8)


@every_path
def test_derivatives_are_those_of_autograd(path):
    t = torch.tensor(TIMES, requires_grad=True)
    for value, slope in zip(path.coefficients(t), path.derivatives(t), strict=True):
        expected = torch.zeros(len(TIMES), dtype=torch.float64)
        if value.requires_grad:
            (expected,) = torch.autograd.grad(value.sum(), t, retain_graph=True)
        torch.testing.assert_close(slope.detach(), expected, rtol=1e-10, atol=1e-12)


@every_path
@pytest.mark.parametrize("function", ["coefficients", "derivatives"])
def test_numpy_and_torch_agree(path, function):
    on_arrays = getattr(path, function)(TIMES)
    on_tensors = getattr(path, function)(torch.tensor(TIMES))
    for one, other in zip(on_arrays, on_tensors, strict=True):
        assert isinstance(one, np.ndarray)
        assert isinstance(other, torch.Tensor)
        assert one.shape == other.shape == TIMES.shape
        assert_allclose(one, other.numpy(), rtol=1e-13)
    single = torch.tensor(TIMES, dtype=torch.float32)
    assert all(each.dtype == torch.float32 for each in getattr(path, function)(single))


@pytest.mark.parametrize(
    ("path", "ends"),
    [
        (TrigonometricPath(), ((1, 0, 0), (0, 1, 0))),
        (LinearPath(), ((1, 0, 0), (0, 1, 0))),
        (ArithmeticPath(), ((1, 0, 0), (0, 1, 0))),
        (BridgePath(), ((1, 0, 0), (0, 1, 0))),
        (BridgePath(epsilon=0.04), ((1, 0, 0.2), (0, 1, 0.2))),
        # Some of the numerator is left at the denominator's end.
        (VPSDEPath(), ((np.sqrt(1 - np.exp(-10.05)), np.exp(-5.025), 0), (0, 1, 0))),
    ],
)
def test_ends(path, ends):
    for t, expected in zip((0.0, 1.0), ends, strict=True):
        assert_allclose(path.coefficients(t), expected, atol=1e-7)


def test_forms_of_the_papers():
    t = TIMES
    a, b, _ = TrigonometricPath().coefficients(t)
    assert_allclose((a, b), (np.cos(np.pi * t / 2), np.sin(np.pi * t / 2)))
    a, b, _ = ArithmeticPath().coefficients(t)
    assert_allclose((a, b), (np.sqrt(1 - t**2), t))
    a, b, _ = VPSDEPath().coefficients(t)
    share = np.exp(-0.25 * (1 - t) ** 2 * 19.9 - 0.5 * (1 - t) * 0.1)
    assert_allclose((a, b), (np.sqrt(1 - share**2), share))
    s = BridgePath(sigma=0.7, epsilon=0.05).coefficients(t).noise
    variance = 0.49 * t * (1 - t) + ((1 - t) ** 2 + t**2) * 0.05
    assert_allclose(s**2, variance)


def test_rate_is_that_of_the_diffusion():
    """d log b / dt = beta(t) / 2 on the way to the data."""
    path = VPSDEPath(beta_min=0.5, beta_max=5.0)
    assert_allclose(
        path.derivatives(TIMES).numerator / path.coefficients(TIMES).numerator,
        path.rate(TIMES) / 2,
    )
    assert_allclose(path.rate(np.array([0.0, 1.0])), [5.0, 0.5])


@every_path
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("t", [0.2, 0.7])
def test_law_of_gaussians(path, centered, t):
    """Mean and covariance of x_t where both samples are Gaussian."""
    rng = np.random.default_rng(0)
    n = 200_000
    m0, m1 = np.array([1.0, -2.0]), np.array([3.0, 0.5])
    L0, L1 = np.array([[1.0, 0.0], [0.5, 0.8]]), np.array([[0.4, 0.0], [-0.3, 1.2]])
    x0, x1 = m0 + rng.normal(size=(n, 2)) @ L0.T, m1 + rng.normal(size=(n, 2)) @ L1.T
    rows = path.interpolate(
        x0,
        x1,
        t,
        noise=rng.normal(size=(n, 2)),
        centers=(m0, m1) if centered else None,
    )
    a, b, s = path.coefficients(t)
    mean = (1 - t) * m0 + t * m1 if centered else a * m0 + b * m1
    covariance = a**2 * L0 @ L0.T + b**2 * L1 @ L1.T + s**2 * np.eye(2)
    assert_allclose(rows.mean(axis=0), mean, atol=0.02)
    assert_allclose(np.cov(rows.T), covariance, atol=0.03)


@every_path
@pytest.mark.parametrize("centered", [False, True])
def test_velocity_is_the_derivative_of_the_rows(path, centered):
    rng = np.random.default_rng(0)
    x0, x1, noise = rng.normal(size=(3, len(TIMES), 2))
    centers = rng.normal(size=(2, 2)) if centered else None
    t, h = TIMES[:, None], 1e-6
    before, after = (
        path.interpolate(x0, x1, each, noise, centers=centers)
        for each in (t - h, t + h)
    )
    velocity = path.velocity(x0, x1, t, noise, centers=centers)
    assert velocity.shape == (len(TIMES), 2)
    assert_allclose(velocity, (after - before) / (2 * h), rtol=1e-5, atol=1e-7)


@every_path
def test_samples_at_the_ends(path):
    if isinstance(path, VPSDEPath) or getattr(path, "epsilon", 0):
        pytest.skip("it begins close to the denominator only")
    rng = np.random.default_rng(0)
    x0, x1, noise = rng.normal(size=(3, 5, 3))
    assert_allclose(path.interpolate(x0, x1, 0.0, noise), x0, atol=1e-15)
    assert_allclose(path.interpolate(x0, x1, 1.0, noise), x1, atol=1e-15)
    centers = x0.mean(axis=0), x1.mean(axis=0)
    found = path.interpolate(x0, x1, 0.0, noise, centers=centers)
    assert_allclose(found, x0, atol=1e-14)


def test_rounding_beyond_an_end_is_no_nan():
    for path in ALL:
        for t in (-1e-16, 1 + 2e-16):
            assert np.isfinite(path.coefficients(t)).all()


def test_noise_is_asked_for():
    with pytest.raises(ValueError, match="BridgePath is noisy: noise must be given"):
        BridgePath().interpolate(np.zeros(2), np.ones(2), 0.5)


@pytest.mark.parametrize(
    ("path", "params", "message"),
    [
        (VPSDEPath, {"beta_min": 0.0}, "0 < beta_min <= beta_max, got 0.0"),
        (VPSDEPath, {"beta_min": 3.0, "beta_max": 2.0}, "got 3.0 and 2.0"),
        (VPSDEPath, {"beta_max": np.inf}, "must be finite"),
        (BridgePath, {"sigma": 0.0}, "sigma must be positive and finite, got 0.0"),
        (BridgePath, {"sigma": np.nan}, "sigma must be positive"),
        (BridgePath, {"epsilon": -1.0}, "epsilon must be finite and not negative"),
    ],
)
def test_bad_parameters(path, params, message):
    with pytest.raises(ValueError, match=message):
        path(**params)


def test_check_path():
    for name, path in PATHS.items():
        assert check_path(name) == path()
    given = BridgePath(sigma=2.0)
    assert check_path(given) is given
    with pytest.raises(ValueError, match=r"path must be one of .*got 'line'"):
        check_path("line")
    with pytest.raises(TypeError, match="path must be a name or a Path, got 3"):
        check_path(3)


def test_noise_does_not_depend_on_the_kind_of_time():
    t = np.array([[0.3], [0.6]])
    assert_array_equal(BridgePath().coefficients(t).noise.shape, (2, 1))
    assert BridgePath().coefficients(0.5).noise == pytest.approx(0.5)
