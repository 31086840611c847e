"""Where on a path the waymarks lie: lengths and times from the samples' moments.

Nothing here knows an estimator. The length of a path is measured as if all of its
distributions were Gaussian, with the mean and the covariance that they have.
"""

from collections.abc import Sequence
from numbers import Real
from typing import TypeAlias

import numpy as np

from skdre._core.types import Floats

__all__ = [
    "SPACINGS",
    "Spacing",
    "check_spacing",
    "discriminants",
    "path_coefficients",
    "path_length",
    "path_speeds",
    "waymark_times",
]

Spacing: TypeAlias = str | Sequence[float] | Floats
"""What the parameter ``spacing`` takes: a name, or the times of all waymarks."""

# Cells of the midpoint rule; with noise each costs a matrix to factor.
_CELLS = 400
_NOISY_CELLS = 60

# A length below this is a rounding error.
_NO_LENGTH = 1e-9


def discriminants(path, moments, times, *, quadratic):
    """Log ratios of neighbouring waymarks, as if these were Gaussian.

    Fisher's linear discriminants, of the mean of both covariances, or the quadratic
    ones: W of shape (n_bridges, n_features, n_features), zero for linear ones, b of
    shape (n_features, n_bridges) and c of shape (n_bridges,), of the log ratios
    x^T W x + x^T b + c. A path's noise counts by its variances alone.
    """
    a, b, s = path_coefficients(path, times)
    variance = (
        np.outer(moments.denominator, a**2)
        + np.outer(moments.numerator, b**2)
        + np.outer(np.diag(moments.noise), s**2)
    )
    mean = np.outer(moments.shift, times - 0.5)
    # In the joint coordinates, where all covariances are diagonal.
    if quadratic:
        bend = np.diff(-0.5 / variance)
        slope = np.diff(mean / variance)
        offset = np.diff(-0.5 * (mean**2 / variance + np.log(variance)).sum(axis=0))
    else:
        slope = 2 * np.diff(mean) / (variance[:, 1:] + variance[:, :-1])
        bend = np.zeros_like(slope)
        offset = -(slope * (mean[:, 1:] + mean[:, :-1])).sum(axis=0) / 2
    components, center = moments.components, moments.center
    W = np.einsum("ij,jk,lj->kil", components, bend, components)
    slope = components @ slope
    bent = center @ W
    return W, slope - 2 * bent.T, offset - center @ slope + bent @ center


def path_speeds(path, moments, t):
    """Speed of a path at times inside (0, 1), in Fisher and Rao's metric.

    v^2 = m'^T S^-1 m' + tr((S^-1 S')^2) / 2, the Fisher information of the time in
    N(m(t), S(t)); the mean goes straight from one to the other. Small distances along
    the path are twice the root of half the Kullback-Leibler divergence.
    """
    a, b, s = path.coefficients(t)
    da, db, ds = path.derivatives(t)
    S = np.outer(a**2, moments.denominator) + np.outer(b**2, moments.numerator)
    dS = 2 * (
        np.outer(a * da, moments.denominator) + np.outer(b * db, moments.numerator)
    )
    if not path.is_noisy:
        squared = (moments.shift**2 / S).sum(axis=1) + ((dS / S) ** 2).sum(axis=1) / 2
        return np.sqrt(squared)
    squared = np.empty(len(t))
    for k in range(len(t)):
        S_k = np.diag(S[k]) + s[k] ** 2 * moments.noise
        dS_k = np.diag(dS[k]) + 2 * s[k] * ds[k] * moments.noise
        relative = np.linalg.solve(S_k, dS_k)
        squared[k] = (
            moments.shift @ np.linalg.solve(S_k, moments.shift)
            + np.sum(relative * relative.T) / 2
        )
    return np.sqrt(squared)


def _cumulative_length(path, moments):
    """Ends of cells of time, and the length of the path up to each."""
    n_cells = _NOISY_CELLS if path.is_noisy else _CELLS
    ends = np.linspace(0, 1, n_cells + 1)
    speed = path_speeds(path, moments, (ends[1:] + ends[:-1]) / 2)
    return ends, np.append(0.0, np.cumsum(speed) / n_cells)


def path_length(path, moments):
    """Length of the path between two samples: how far apart they lie.

    Near 0 for samples of one distribution; the distance of the means for Gaussians of
    unit covariance. A plain classifier does well up to about 1.5.
    """
    return float(_cumulative_length(path, moments)[1][-1])


# Times at shares of the bridges, by name; "path-length" needs the moments as well.
SPACINGS = {
    "linear": lambda u: u,
    "quadratic": lambda u: u**2,
}


def check_spacing(spacing, n_bridges):
    """Times that a numeric parameter `spacing` gives, or None if it is a name."""
    if isinstance(spacing, str):
        return None
    numbers = all(isinstance(each, Real) for each in spacing)
    times = np.array(spacing, np.float64) if numbers else np.zeros(0)
    if (
        times.shape != (n_bridges + 1,)
        or (times[0], times[-1]) != (0, 1)
        or not (np.diff(times) > 0).all()
    ):
        raise ValueError(
            "spacing must be a name or the times of all waymarks: n_bridges + 1 = "
            f"{n_bridges + 1} increasing numbers, the first 0 and the last 1, got "
            f"{spacing!r}."
        )
    return times


def waymark_times(path, spacing, n_bridges, moments):
    """Times of the waymarks, from 0, the denominator, to 1, the numerator.

    By "path-length" neighbours have equal lengths of the path between them.
    """
    times = check_spacing(spacing, n_bridges)
    if times is not None:
        return times
    shares = np.linspace(0, 1, n_bridges + 1)
    if spacing in SPACINGS:
        return SPACINGS[spacing](shares)
    ends, length = _cumulative_length(path, moments)
    if length[-1] < _NO_LENGTH:
        return shares
    # Where a path stands still for a while, times go on at a small pace.
    length = length / length[-1] + 1e-3 * ends
    times = np.interp(shares * length[-1], length, ends)
    times[[0, -1]] = 0.0, 1.0
    return times


def path_coefficients(path, times):
    """Coefficients a, b and s at the waymarks, the first and last of them the samples.

    A path that begins or ends near a sample only (a diffusion, a smoothed bridge) is
    completed by it, so that the ratios add up to that of the samples.
    """
    a, b, s = (np.array(each, np.float64) for each in path.coefficients(times))
    a[[0, -1]], b[[0, -1]], s[[0, -1]] = (1, 0), (0, 1), 0
    return a, b, s
