"""Where on a path the waymarks lie: lengths and times from the samples' moments.

Nothing here knows an estimator. The length of a path is measured as if all of its
distributions were Gaussian, with the mean and the covariance that they have.
"""

from numbers import Real

import numpy as np

from skdre._core.moments import joint_moments
from skdre.paths import check_path

__all__ = [
    "SPACINGS",
    "check_spacing",
    "discriminants",
    "path_coefficients",
    "path_length",
    "path_length_of",
    "path_speeds",
    "waymark_times",
]

# Cells of the midpoint rule; with noise each costs a matrix to factor.
_CELLS = 400
_NOISY_CELLS = 60

# A length below this is a rounding error.
_NO_LENGTH = 1e-9


def discriminants(moments, coefficients, times):
    """Log ratios of neighbouring waymarks, as if these were Gaussian.

    A path's noise counts by its variances alone.

    Parameters
    ----------
    moments : skdre._core.moments.JointMoments
        Of the samples.
    coefficients : triple of ndarray of shape (n_bridges + 1,)
        Of :func:`path_coefficients`.
    times : ndarray of shape (n_bridges + 1,)

    Returns
    -------
    linear, quadratic : tuple of ndarray
        Fisher's linear discriminants, of the mean of both covariances, and the
        quadratic ones: W of shape (n_bridges, n_features, n_features), zero for linear
        ones, b of shape (n_features, n_bridges) and c of shape (n_bridges,), of the
        log ratios x^T W x + x^T b + c.
    """
    a, b, s = coefficients
    variance = (
        np.outer(moments.denominator, a**2)
        + np.outer(moments.numerator, b**2)
        + np.outer(np.diag(moments.noise), s**2)
    )
    mean = np.outer(moments.shift, times - 0.5)
    d, n_bridges = len(mean), len(times) - 1

    between = 2 * np.diff(mean) / (variance[:, 1:] + variance[:, :-1])
    offset = -(between * (mean[:, 1:] + mean[:, :-1])).sum(axis=0) / 2
    slope = moments.components @ between
    linear = np.zeros((n_bridges, d, d)), slope, offset - moments.center @ slope

    bend = np.diff(-0.5 / variance)
    W = np.einsum("ij,jk,lj->kil", moments.components, bend, moments.components)
    slope = moments.components @ np.diff(mean / variance)
    offset = np.diff(-0.5 * (mean**2 / variance + np.log(variance)).sum(axis=0))
    bent = moments.center @ W
    quadratic = (
        W,
        slope - 2 * bent.T,
        offset - moments.center @ slope + bent @ moments.center,
    )
    return linear, quadratic


def path_speeds(path, moments, t):
    """Speed of a path at times inside (0, 1), in Fisher and Rao's metric.

    v^2 = m'^T S^-1 m' + tr((S^-1 S')^2) / 2, the Fisher information of the time in
    N(m(t), S(t)); the mean goes straight from one to the other.

    Parameters
    ----------
    path : skdre.paths.Path
    moments : skdre._core.moments.JointMoments
    t : ndarray of shape (n_times,)

    Returns
    -------
    speed : ndarray of shape (n_times,)
        Small distances along the path are twice the root of the Kullback-Leibler
        divergence over 2.
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


def path_length(denominator, numerator, weights=(None, None), path="trigonometric"):
    """Length of the path between two samples: how far apart they lie.

    Near 0 for samples of one distribution; the distance of the means for Gaussians of
    unit covariance. A plain classifier does well up to about 1.5.

    Parameters
    ----------
    denominator, numerator : ndarray of shape (n_rows, n_features)
        Rows.
    weights : pair of ndarray of shape (n_rows,) or None
        Repetition counts of the denominator's and of the numerator's rows.
    path : str or skdre.paths.Path, default="trigonometric"
        The path; its noise is in the units of the rows.

    Returns
    -------
    length : float
        The integral of :func:`path_speeds` over [0, 1].
    """
    moments = joint_moments(denominator, numerator, weights)
    return path_length_of(check_path(path), moments)


def path_length_of(path, moments):
    """As :func:`path_length`, of a path and moments."""
    return float(_cumulative_length(path, moments)[1][-1])


SPACINGS = {"linear": lambda u: u, "quadratic": lambda u: u**2}


def check_spacing(spacing, n_bridges):
    """Times that a numeric parameter `spacing` gives, or None if it is a name.

    Raises
    ------
    ValueError
        If they are not n_bridges + 1 increasing numbers from 0 to 1.
    """
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
    """Times of the waymarks.

    Parameters
    ----------
    path : skdre.paths.Path
    spacing : {"path-length", "linear", "quadratic"} or sequence of float
        Equal lengths of the path between neighbours; t = k / n_bridges; its square; or
        the times.
    n_bridges : int
        Ratios between neighbouring waymarks.
    moments : skdre._core.moments.JointMoments
        Of the samples.

    Returns
    -------
    times : ndarray of shape (n_bridges + 1,)
        Increasing, from 0, the denominator, to 1, the numerator.
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
    # A path that stands still for a while is passed there at a small pace.
    length = length / length[-1] + 1e-3 * ends
    times = np.interp(shares * length[-1], length, ends)
    times[[0, -1]] = 0.0, 1.0
    return times


def path_coefficients(path, times):
    """Coefficients at the waymarks, of which the first and the last are the samples.

    A path that begins or ends near a sample only (a diffusion, a smoothed bridge) is
    completed by it, so that the ratios add up to that of the samples.

    Returns
    -------
    a, b, s : ndarray of shape (n_waymarks,)
        Of the denominator's row, the numerator's row and the noise.
    """
    a, b, s = (np.array(each, np.float64) for each in path.coefficients(times))
    a[[0, -1]], b[[0, -1]], s[[0, -1]] = (1, 0), (0, 1), 0
    return a, b, s
