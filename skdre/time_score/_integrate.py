"""Log ratios from scores: integrals over time, row by row."""

import numpy as np
from scipy.integrate import solve_ivp

__all__ = ["gauss_legendre", "path_integral", "runge_kutta"]

# Rows times nodes that are worked on at once: their activations fit the cache.
_CHUNK_EVALUATIONS = 1024


def gauss_legendre(integrand, rows, n_nodes, interval=(0.0, 1.0)):
    """Integrate over time with fixed nodes, the same for all rows.

    Parameters
    ----------
    integrand : callable
        ``integrand(rows, t)``, rows of shape (n, ...) and t of shape (n,), gives values
        of shape (n,), each of its own row and time.
    rows : ndarray of shape (n_rows, ...)
    n_nodes : int
        Exact for polynomials of degree 2 n_nodes - 1.
    interval : pair of float, default=(0.0, 1.0)

    Returns
    -------
    integral : ndarray of shape (n_rows,)
    """
    start, end = interval
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    times = start + (end - start) * (nodes + 1) / 2
    weights = weights * (end - start) / 2
    chunk = max(_CHUNK_EVALUATIONS // n_nodes, 1)
    integral = np.empty(len(rows))
    for k in range(0, len(rows), chunk):
        part = rows[k : k + chunk]
        values = integrand(np.repeat(part, n_nodes, axis=0), np.tile(times, len(part)))
        # A sum over each row: a matrix product may round by the size of the batch.
        products = values.reshape(len(part), n_nodes) * weights
        integral[k : k + chunk] = products.sum(axis=1)
    return integral


def runge_kutta(integrand, rows, tol, interval=(0.0, 1.0)):
    """Integrate over time with adaptive steps (RK45), chosen for each row by itself.

    Rows that share their steps, as in the paper's code, make the answer for a row
    depend on those it is asked with.

    Parameters
    ----------
    integrand, rows, interval
        As for :func:`gauss_legendre`.
    tol : float
        Relative and absolute tolerance of a step.

    Returns
    -------
    integral : ndarray of shape (n_rows,)
    """
    integral = np.empty(len(rows))
    for k in range(len(rows)):
        row = rows[k : k + 1]

        def slope(t, _, row=row):
            return integrand(row, np.array([t]))

        solution = solve_ivp(slope, interval, [0.0], method="RK45", rtol=tol, atol=tol)
        integral[k] = solution.y[0, -1]
    return integral


def path_integral(time_score, data_score, rows, anchors, integrate, *, gaussian):
    r"""Log ratios along straight lines from anchors (Eq. 12 of [1]_).

    With y a row of the denominator and y_t = y + t (x - y),

    .. math::

       \log r(x) = \int_0^1 \Big[ s(y_t, t) + (x - y)^T S(y_t, t) \Big] dt
       + \log p_0(y) - \log p_0(x) ,

    s the time score and S the data score; the mean over the anchors is taken. The
    integral is log p_1(x) - log p_0(y). In [1]_ time runs the other way and the
    integrals go from 1 to 0.

    Parameters
    ----------
    time_score : callable
        Of (rows, t); gives values of shape (n,).
    data_score : callable
        Of (rows, t); gives values of shape (n, n_features).
    rows : ndarray of shape (n_rows, n_features)
    anchors : ndarray of shape (n_anchors, n_features)
        Rows of the denominator.
    integrate : callable
        Of (integrand, rows), such as :func:`gauss_legendre` with its nodes.
    gaussian : bool
        Whether the denominator is standard normal, so that the last two terms have a
        closed form; otherwise they are the integral of -(x - y)^T S(y_t, 0).

    Returns
    -------
    log_ratio : ndarray of shape (n_rows,)

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
