r"""Paths of distributions from the denominator q to the numerator p.

A path turns a pair of rows, one from each sample, into a row in between,

.. math::

   x_t = a(t) x_0 + b(t) x_1 + s(t) z,
   \quad x_0 \sim q, x_1 \sim p, z \sim N(0, I),

so that the law of x_t is q at t = 0 and p at t = 1. This is the convention of the whole
package: **t = 0 is the denominator, t = 1 the numerator**, and log r(x) is the integral
of the time score d/dt log p_t(x) over t from 0 to 1.

The papers' letters clash. In [1]_ the ratio is q / p with q at t = 0 in the main text
and at t = 1 in appendix F; in diffusion models the data lie at t = 0 and the noise at
t = 1. Each path below says how its paper's t becomes the one used here.

Times may be numbers, numpy arrays or torch tensors; all results are of the same kind.

References
----------
.. [1] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via Infinitesimal
   Classification", AISTATS 2022.
"""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

__all__ = ["PATHS", "Coefficients", "Path", "check_path"]

Array: TypeAlias = Any
"""A numpy array or a torch tensor; as a time or a coefficient also a number."""


class Coefficients(NamedTuple):
    """Factors of the two rows and of the noise of a path, or their derivatives.

    Attributes
    ----------
    denominator, numerator, noise : ndarray or torch.Tensor of the shape of the time
        The coefficients a, b and s.

    Examples
    --------
    >>> from skdre.paths import LinearPath
    >>> float(LinearPath().coefficients(0.25).numerator)
    0.25
    """

    denominator: Array
    numerator: Array
    noise: Array


def _namespace(t):
    """The library whose functions apply to t: torch for its tensors, else numpy."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(t, torch.Tensor) else np


def _as_time(t):
    return t if hasattr(t, "dtype") else np.asarray(t, dtype=np.float64)


class Path:
    """Base class: a path is its coefficients and their time derivatives.

    A subclass defines ``_coefficients(t)`` and ``_derivatives(t)``, which each give a
    triple for a time that is an array or a tensor.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre.paths import Path
    >>> class EarlyPath(Path):
    ...     '''Straight lines, faster at first: a = (1 - t)^2.'''
    ...     def _coefficients(self, t):
    ...         return (1 - t) ** 2, 1 - (1 - t) ** 2, np.zeros_like(t)
    ...     def _derivatives(self, t):
    ...         return -2 * (1 - t), 2 * (1 - t), np.zeros_like(t)
    >>> EarlyPath().interpolate(np.zeros(2), np.ones(2), 0.5)
    array([0.75, 0.75])
    """

    # Whether x_t has noise of its own beside the two rows.
    is_noisy: ClassVar[bool] = False

    # Time to leave out at each end when dividing by a coefficient: one of them is 0
    # there, or its derivative infinite.
    margin: ClassVar[float] = 1e-5

    def _coefficients(self, t):
        raise NotImplementedError

    def _derivatives(self, t):
        raise NotImplementedError

    def coefficients(self, t: Array) -> Coefficients:
        """Coefficients a, b and s at the time t.

        Parameters
        ----------
        t : float, ndarray or torch.Tensor of any shape
            Times in [0, 1].

        Returns
        -------
        coefficients : Coefficients
            Of the denominator's row, the numerator's row and the noise, each of the
            shape of `t`.
        """
        return Coefficients(*self._coefficients(_as_time(t)))

    def derivatives(self, t: Array) -> Coefficients:
        """Derivatives of the coefficients by time, at the time t.

        Parameters
        ----------
        t : float, ndarray or torch.Tensor of any shape
            Times in [0, 1]; where a derivative diverges at an end, inside it.

        Returns
        -------
        derivatives : Coefficients
            a', b' and s', each of the shape of `t`.
        """
        return Coefficients(*self._derivatives(_as_time(t)))

    def interpolate(
        self,
        x0: Array,
        x1: Array,
        t: Array,
        noise: Array | None = None,
        *,
        centers: tuple[Array, Array] | None = None,
    ) -> Array:
        """Rows at the time t on the way between pairs of rows.

        Parameters
        ----------
        x0, x1 : ndarray or torch.Tensor of shape (..., n_features)
            Rows of the denominator and of the numerator, paired.
        t : float, ndarray or torch.Tensor
            Times that broadcast against the rows: one a row has shape (..., 1).
        noise : array of the shape of the rows, default=None
            Standard normal; needed where the path is noisy.
        centers : pair of arrays of shape (n_features,), default=None
            Means of the denominator and of the numerator. With them the mean of x_t
            goes in a straight line from one to the other, and the coefficients apply to
            the deviations: x_t = (1 - t) m_0 + t m_1 + a (x_0 - m_0) + b (x_1 - m_1).
            Without them the mean takes a detour where a and b do not add up to 1.

        Returns
        -------
        rows : array of the shape of the rows

        Raises
        ------
        ValueError
            If the path is noisy and `noise` is None.
        """
        return self._combine(self.coefficients(t), (1 - t, t), x0, x1, noise, centers)

    def velocity(
        self,
        x0: Array,
        x1: Array,
        t: Array,
        noise: Array | None = None,
        *,
        centers: tuple[Array, Array] | None = None,
    ) -> Array:
        """Time derivative of :meth:`interpolate`, with the same parameters.

        Parameters
        ----------
        x0, x1 : ndarray or torch.Tensor of shape (..., n_features)
            Rows of the denominator and of the numerator, paired.
        t : float, ndarray or torch.Tensor
            Times that broadcast against the rows, of shape (..., 1) or ().
        noise : array of the shape of the rows, default=None
            Standard normal; needed where the path is noisy.
        centers : pair of arrays of shape (n_features,), default=None
            Means of the denominator and of the numerator.

        Returns
        -------
        velocity : array of the shape of the rows
            dx_t / dt with the pair and the noise held fixed.

        Raises
        ------
        ValueError
            If the path is noisy and `noise` is None.
        """
        return self._combine(self.derivatives(t), (-1.0, 1.0), x0, x1, noise, centers)

    def _combine(self, coefficients, weights, x0, x1, noise, centers):
        a, b, s = coefficients
        if centers is None:
            rows = a * x0 + b * x1
        else:
            m0, m1 = centers
            mean = weights[0] * m0 + weights[1] * m1
            rows = mean + a * (x0 - m0) + b * (x1 - m1)
        if not self.is_noisy:
            return rows
        if noise is None:
            raise ValueError(f"{type(self).__name__} is noisy: noise must be given.")
        return rows + s * noise


@dataclass(frozen=True)
class TrigonometricPath(Path):
    """Variance preserving: a = cos(pi t / 2), b = sin(pi t / 2).

    Its coefficients move along a circle at constant speed, so that samples of equal
    covariance keep it all along. It is exact at both ends, and its derivatives are
    bounded.

    Examples
    --------
    >>> from skdre.paths import TrigonometricPath
    >>> a, b, _ = TrigonometricPath().coefficients(0.5)
    >>> round(float(a), 3), round(float(b), 3)
    (0.707, 0.707)
    """

    def _coefficients(self, t):
        xp = _namespace(t)
        angle = t * (np.pi / 2)
        return xp.cos(angle), xp.sin(angle), xp.zeros_like(t)

    def _derivatives(self, t):
        a, b, s = self._coefficients(t)
        return -np.pi / 2 * b, np.pi / 2 * a, s


@dataclass(frozen=True)
class LinearPath(Path):
    """Straight lines between the rows: a = 1 - t, b = t.

    Halfway samples of equal covariance have half of it.

    Examples
    --------
    >>> from skdre.paths import LinearPath
    >>> a, b, _ = LinearPath().coefficients(0.25)
    >>> float(a), float(b)
    (0.75, 0.25)
    """

    def _coefficients(self, t):
        return 1 - t, t, _namespace(t).zeros_like(t)

    def _derivatives(self, t):
        xp = _namespace(t)
        return -xp.ones_like(t), xp.ones_like(t), xp.zeros_like(t)


@dataclass(frozen=True)
class ArithmeticPath(Path):
    """Variance preserving: a = sqrt(1 - t^2), b = t.

    The form of DRE-infinity's sections 3 and F, where the numerator q has the factor
    alpha(t) = t and t = 1 in F.1 and F.2, as here. (Section 3 has them the other way
    round.) The derivative of a diverges at t = 1 as 1 / sqrt(1 - t^2).

    Examples
    --------
    >>> from skdre.paths import ArithmeticPath
    >>> a, b, _ = ArithmeticPath().coefficients(0.6)
    >>> round(float(a), 3), float(b)
    (0.8, 0.6)
    """

    def _coefficients(self, t):
        # Rounding may put a time slightly above 1.
        a = (abs(1 - t) * (1 + t)) ** 0.5
        return a, t, _namespace(t).zeros_like(t)

    def _derivatives(self, t):
        xp = _namespace(t)
        a, _, s = self._coefficients(t)
        return -t / a, xp.ones_like(t), s


@dataclass(frozen=True)
class VPSDEPath(Path):
    """Variance-preserving diffusion (Song et al. 2021, Eq. 33 of its appendix).

    There the data lie at time 0 and standard normal noise at 1, with
    x_u = m(u) data + sqrt(1 - m(u)^2) noise and
    log m(u) = -u^2 (beta_max - beta_min) / 4 - u beta_min / 2. Here the denominator is
    the noise (DRE-infinity, sections 4.1 and 6: its p), so u = 1 - t: b = m(1 - t) and
    a = sqrt(1 - m(1 - t)^2).

    At t = 0 a share m(1) of the numerator is left (0.0066 by default): the path starts
    close to the denominator, not at it.

    Parameters
    ----------
    beta_min, beta_max : float, default=0.1 and 20.0
        Rate of diffusion at the data and at the noise.

    Raises
    ------
    ValueError
        Unless 0 < beta_min <= beta_max < infinity.

    Examples
    --------
    >>> from skdre.paths import VPSDEPath
    >>> a, b, _ = VPSDEPath().coefficients(0.0)
    >>> round(float(b), 4)  # what is left of the numerator at the denominator's end
    0.0066
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max < np.inf:
            raise ValueError(
                "beta_min and beta_max must be finite and 0 < beta_min <= beta_max, "
                f"got {self.beta_min} and {self.beta_max}."
            )

    def rate(self, t: Array) -> Array:
        """Rate of diffusion beta at the time t (at u = 1 - t in the paper).

        Parameters
        ----------
        t : float, ndarray or torch.Tensor of any shape
            Times in [0, 1].

        Returns
        -------
        beta : float, ndarray or torch.Tensor of the shape of `t`
            Between `beta_min` at t = 1 and `beta_max` at t = 0.
        """
        return self.beta_min + (1 - t) * (self.beta_max - self.beta_min)

    def _log_share(self, t):
        u = 1 - t
        return -(u**2) * (self.beta_max - self.beta_min) / 4 - u * self.beta_min / 2

    def _coefficients(self, t):
        xp = _namespace(t)
        log_share = self._log_share(t)
        # 1 - exp(2 log m) without cancellation close to the data; rounding may put a
        # time slightly above 1.
        return abs(xp.expm1(2 * log_share)) ** 0.5, xp.exp(log_share), xp.zeros_like(t)

    def _derivatives(self, t):
        a, b, s = self._coefficients(t)
        # d(log m)/dt = beta(t) / 2, and a da = -b db as a^2 + b^2 = 1.
        slope = b * self.rate(t) / 2
        return -b * slope / a, slope, s


@dataclass(frozen=True)
class BridgePath(Path):
    r"""Brownian (Schroedinger) bridge between the rows: a = 1 - t, b = t, and noise.

    s(t)^2 = sigma^2 t (1 - t) + (a^2 + b^2) epsilon. With `epsilon` above 0 the ends
    are smoothed as well, which keeps the conditional score finite there: the
    dequantised bridge (Chen et al. 2025, "Dequantified diffusion Schroedinger bridge
    for density ratio estimation"), whose gamma is `sigma` here. Its ratio is then that
    of the two smoothed densities.

    Parameters
    ----------
    sigma : float, default=1.0
        Standard deviation of the noise is sigma / 2 halfway, in the units of the rows
        (estimators standardise them first).
    epsilon : float, default=0.0
        Variance of the noise at the ends.

    Raises
    ------
    ValueError
        Unless sigma is positive, epsilon not negative, and both are finite.

    Examples
    --------
    >>> from skdre.paths import BridgePath
    >>> [float(each) for each in BridgePath(sigma=2.0).coefficients(0.5)]
    [0.5, 0.5, 1.0]
    """

    sigma: float = 1.0
    epsilon: float = 0.0

    is_noisy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.sigma < np.inf:
            raise ValueError(f"sigma must be positive and finite, got {self.sigma}.")
        if not 0 <= self.epsilon < np.inf:
            raise ValueError(
                f"epsilon must be finite and not negative, got {self.epsilon}."
            )

    def _variance(self, t):
        between = abs(t * (1 - t))
        return self.sigma**2 * between + ((1 - t) ** 2 + t**2) * self.epsilon

    def _coefficients(self, t):
        return 1 - t, t, self._variance(t) ** 0.5

    def _derivatives(self, t):
        xp = _namespace(t)
        slope = (1 - 2 * t) * (self.sigma**2 - 2 * self.epsilon)
        s = self._variance(t) ** 0.5
        return -xp.ones_like(t), xp.ones_like(t), slope / (2 * s)


# All that a new path needs beside its class: the rest of the package and the tests find
# it here.
PATHS: dict[str, type[Path]] = {
    "trigonometric": TrigonometricPath,
    "vpsde": VPSDEPath,
    "linear": LinearPath,
    "arithmetic": ArithmeticPath,
    "bridge": BridgePath,
}
__all__ += [each.__name__ for each in PATHS.values()]


def check_path(path: str | Path) -> Path:
    """Resolve the parameter `path` of an estimator.

    Parameters
    ----------
    path : str or Path
        A name of ``PATHS``, with default parameters, or a path.

    Returns
    -------
    path : Path

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If it is neither a name nor a path.

    Examples
    --------
    >>> from skdre.paths import check_path
    >>> check_path("bridge")
    BridgePath(sigma=1.0, epsilon=0.0)
    """
    if isinstance(path, Path):
        return path
    if not isinstance(path, str):
        raise TypeError(f"path must be a name or a Path, got {path!r}.")
    if path not in PATHS:
        raise ValueError(
            f"path must be one of {sorted(PATHS)} or a Path, got {path!r}."
        )
    return PATHS[path]()
