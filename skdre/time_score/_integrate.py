"""Integrals over time, row by row, and log ratios from scores."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.integrate import solve_ivp
from sklearn.base import BaseEstimator, clone

from skdre._compat import Interval, StrOptions, validate_parameter_constraints
from skdre._core.types import Floats

__all__ = [
    "INTEGRATOR_CONSTRAINTS",
    "RK45",
    "GaussLegendre",
    "Integrator",
    "check_integrator",
    "path_integral",
]

# Rows times nodes that are worked on at once: their activations fit the cache.
_CHUNK_EVALUATIONS = 1024


class Integrator(BaseEstimator):
    """Base class: a subclass defines ``_integrate`` and ``_finer``."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]]

    # Whether a tolerance bounds the error.
    is_adaptive: ClassVar[bool] = False

    def integrate(
        self,
        integrand: Callable[[Floats, Floats], Floats],
        rows: Floats,
        interval: tuple[float, float] = (0.0, 1.0),
    ) -> Floats:
        """Integrate a function of a row and the time over time.

        Parameters
        ----------
        integrand : callable
            ``integrand(rows, t)``, rows of shape (n, ...) and t of shape (n,), gives
            values of shape (n,), each of its own row and time.
        rows : ndarray of shape (n_rows, ...)
            Rows.
        interval : pair of float, default=(0.0, 1.0)
            Start and end.

        Returns
        -------
        integral : ndarray of shape (n_rows,)
            One for each row.
        """
        return self._integrate(integrand, rows, *interval)

    def finer(self) -> "Integrator":
        """A finer one of the same kind: twice the nodes, or a tenth of the tolerance.

        Returns
        -------
        integrator : GaussLegendre or RK45
            A new one.
        """
        return self._finer()


class GaussLegendre(Integrator):
    """Integrate over time at fixed nodes, the same for all rows.

    Parameters
    ----------
    n_nodes : int, default=16
        Number of nodes, 2 or more. The integral is exact for polynomials of degree
        2 n_nodes - 1.

    See Also
    --------
    RK45 : Adaptive steps.
    skdre.TimeScoreRatio : Takes it as its `integrator`.

    Notes
    -----
    Gauss-Legendre quadrature: the nodes are the roots of a Legendre polynomial.

    Examples
    --------
    >>> from skdre import TimeScoreRatio
    >>> from skdre.time_score import GaussLegendre
    >>> TimeScoreRatio(integrator=GaussLegendre(32))
    TimeScoreRatio(integrator=GaussLegendre(n_nodes=32))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_nodes": [Interval(Integral, 2, None, closed="left")]
    }

    def __init__(self, n_nodes: int = 16) -> None:
        self.n_nodes = n_nodes

    def nodes(self, start: float = 0.0, end: float = 1.0) -> tuple[Floats, Floats]:
        """Times and their weights between two ends.

        Parameters
        ----------
        start, end : float, default=0.0, 1.0
            Of the interval.

        Returns
        -------
        times, weights : ndarray of shape (n_nodes,)
            In the order of time; the weights sum to the length of the interval.
        """
        nodes, weights = np.polynomial.legendre.leggauss(self.n_nodes)
        times = start + (end - start) * (nodes + 1) / 2
        return times, weights * (end - start) / 2

    @property
    def _chunk(self) -> int:
        """Rows that are worked on at once."""
        return max(_CHUNK_EVALUATIONS // self.n_nodes, 1)

    def _integrate(self, integrand, rows, start, end):
        times, weights = self.nodes(start, end)
        chunk = self._chunk
        integral = np.empty(len(rows))
        for k in range(0, len(rows), chunk):
            part = rows[k : k + chunk]
            many = np.repeat(part, self.n_nodes, axis=0)
            values = integrand(many, np.tile(times, len(part)))
            # A sum over each row: a matrix product may round by the size of the batch.
            products = values.reshape(len(part), self.n_nodes) * weights
            integral[k : k + chunk] = products.sum(axis=1)
        return integral

    def _finer(self):
        return GaussLegendre(2 * self.n_nodes)


class RK45(Integrator):
    """Integrate over time in adaptive steps, chosen for each row by itself.

    Parameters
    ----------
    tol : float, default=1e-5
        Relative and absolute tolerance of a step, above 0.

    See Also
    --------
    GaussLegendre : Fixed nodes, a hundred times faster.
    skdre.TimeScoreRatio : Takes it as its `integrator`.

    Notes
    -----
    The Runge-Kutta method of order 5(4) of :func:`scipy.integrate.solve_ivp`. Rows that
    share their steps would make the answer for a row depend on those it is asked with.

    Examples
    --------
    >>> from skdre import TimeScoreRatio
    >>> from skdre.time_score import RK45
    >>> TimeScoreRatio(integrator=RK45(1e-3))
    TimeScoreRatio(integrator=RK45(tol=0.001))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "tol": [Interval(Real, 0, None, closed="neither")]
    }

    is_adaptive = True

    def __init__(self, tol: float = 1e-5) -> None:
        self.tol = tol

    def _integrate(self, integrand, rows, start, end):
        def solve(row):
            def slope(t, _):
                return integrand(row, np.array([t]))

            return solve_ivp(slope, (start, end), [0.0], rtol=self.tol, atol=self.tol)

        solutions = [solve(rows[k : k + 1]) for k in range(len(rows))]
        return np.array([each.y[0, -1] for each in solutions])

    def _finer(self):
        return RK45(self.tol / 10)


# By name, with their defaults.
_INTEGRATORS = {"gauss-legendre": GaussLegendre, "rk45": RK45}

INTEGRATOR_CONSTRAINTS = [StrOptions(set(_INTEGRATORS)), Integrator]


def check_integrator(integrator: str | Integrator) -> Integrator:
    """A copy of an integrator, or the one of a name; ValueError for a bad one."""
    validate_parameter_constraints(
        {"integrator": INTEGRATOR_CONSTRAINTS},
        {"integrator": integrator},
        caller_name="TimeScoreRatio",
    )
    if isinstance(integrator, str):
        integrator = _INTEGRATORS[integrator]()
    validate_parameter_constraints(
        integrator._parameter_constraints,
        integrator.get_params(),
        caller_name=type(integrator).__name__,
    )
    copied: Integrator = clone(integrator)
    return copied


def path_integral(time_score, data_score, rows, anchors, integrate, *, gaussian):
    r"""Log ratios along straight lines from anchors (Eq. 12 of [1]_).

    With y a row of the denominator and y_t = y + t (x - y),

    .. math::

       \log r(x) = \int_0^1 \Big[ s(y_t, t) + (x - y)^T S(y_t, t) \Big] dt
       + \log p_0(y) - \log p_0(x) ,

    s the time score and S the data score; the mean over the anchors, of shape
    (n_anchors, n_features), is taken. The integral is log p_1(x) - log p_0(y). In [1]_
    time runs the other way and the integrals go from 1 to 0.

    If the denominator is Gaussian, standard normal that is, the last two terms have a
    closed form; otherwise they are the integral of -(x - y)^T S(y_t, 0).

    References
    ----------
    .. [1] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via
       Infinitesimal Classification", AISTATS 2022, section 5.2.
    """

    def integrand(pairs, t):
        x, y = pairs[:, 0], pairs[:, 1]
        step = x - y
        between = y + t[:, None] * step
        value = time_score(between, t) + (step * data_score(between, t)).sum(axis=1)
        if not gaussian:
            value -= (step * data_score(between, np.zeros_like(t))).sum(axis=1)
        return value

    total = np.zeros(len(rows))
    for anchor in anchors:
        pairs = np.stack([rows, np.broadcast_to(anchor, rows.shape)], axis=1)
        total += integrate(integrand, pairs)
        if gaussian:
            total += ((rows**2).sum(axis=1) - (anchor**2).sum()) / 2
    return total / len(anchors)
