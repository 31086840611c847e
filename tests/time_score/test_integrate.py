"""Integrals over time, against exact ones."""

import numpy as np
import pytest
from scipy.integrate import quad

from skdre.paths import BridgePath, check_path
from skdre.time_score import RK45, GaussLegendre
from skdre.time_score._integrate import path_integral

SHIFT, VARIANCE = np.array([2.0, -1.0, 0.5]), np.array([0.4, 1.0, 2.5])


class Gaussians:
    """Scores of the path from N(0, I) to N(SHIFT, diag VARIANCE), by hand."""

    def __init__(self, path):
        self.path = check_path(path)

    def _moments(self, x, t):
        a, b, s = (each[:, None] for each in self.path.coefficients(t))
        da, db, ds = (each[:, None] for each in self.path.derivatives(t))
        v = a**2 + b**2 * VARIANCE + s**2
        dv = 2 * (a * da + b * db * VARIANCE + s * ds)
        return x - b * SHIFT, db * SHIFT, v, dv

    def time(self, x, t):
        e, dm, v, dv = self._moments(x, t)
        return (dv / (2 * v) * (e**2 / v - 1) + e * dm / v).sum(axis=1)

    def data(self, x, t):
        e, _, v, _ = self._moments(x, t)
        return -e / v

    @staticmethod
    def log_ratio(x):
        quadratic = x**2 - (x - SHIFT) ** 2 / VARIANCE - np.log(VARIANCE)
        return quadratic.sum(axis=1) / 2


ROWS = np.random.default_rng(0).normal(0.5, 1.5, size=(300, 3))
EXACT = Gaussians.log_ratio(ROWS)


@pytest.mark.parametrize(
    ("path", "n_nodes"),
    [("trigonometric", 16), ("linear", 32), (BridgePath(0.5), 32)],
    ids=str,
)
def test_true_time_score_gives_the_log_ratio(path, n_nodes):
    found = GaussLegendre(n_nodes).integrate(Gaussians(path).time, ROWS)
    np.testing.assert_allclose(found, EXACT, atol=1e-6)
    assert EXACT.std() > 3


def test_true_time_score_gives_the_log_ratio_with_adaptive_steps():
    found = RK45(1e-9).integrate(Gaussians("trigonometric").time, ROWS[:20])
    np.testing.assert_allclose(found, EXACT[:20], atol=1e-6)
    rough = RK45(1e-3).integrate(Gaussians("trigonometric").time, ROWS[:20])
    assert 1e-6 < abs(rough - EXACT[:20]).max() < 0.05


def test_exact_for_polynomials_on_an_interval():
    def integrand(rows, t):
        return rows[:, 0] * t**7 - 3 * t**2

    rows = np.array([[1.0], [-2.0]])
    for interval in ((0.0, 1.0), (0.25, 2.0)):
        start, end = interval
        expected = rows[:, 0] * (end**8 - start**8) / 8 - (end**3 - start**3)
        found = GaussLegendre(4).integrate(integrand, rows, interval)
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        found = RK45(1e-8).integrate(integrand, rows, interval)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    three = GaussLegendre(3).integrate(integrand, rows)
    assert abs(three - (rows[:, 0] / 8 - 1)).max() > 1e-5


@pytest.mark.parametrize("integrator", [GaussLegendre(), RK45()], ids=str)
def test_a_row_does_not_depend_on_the_others(integrator):
    """Alone, in a batch of easy and stiff rows, or in another order."""

    def integrand(rows, t):
        return np.exp(-((t - 0.5) ** 2) * rows[:, 0]) * rows[:, 1]

    rng = np.random.default_rng(0)
    rows = np.column_stack([np.geomspace(1e-2, 1e4, 150), rng.normal(size=150)])

    def run(rows):
        return integrator.integrate(integrand, rows)

    together = run(rows)
    order = rng.permutation(150)
    np.testing.assert_array_equal(run(rows[order]), together[order])
    alone = np.concatenate([run(rows[k : k + 1]) for k in range(0, 150, 10)])
    np.testing.assert_array_equal(alone, together[::10])
    exact = [
        quad(lambda t, r=r: np.exp(-((t - 0.5) ** 2) * r[0]) * r[1], 0, 1)[0]
        for r in rows[:100:10]
    ]
    np.testing.assert_allclose(together[:100:10], exact, atol=1e-4)


@pytest.mark.parametrize("gaussian", [True, False])
def test_path_integral_of_true_scores(gaussian):
    """From any anchors, near or far, the log ratio at the rows comes out."""
    scores = Gaussians("trigonometric")
    anchors = np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.3], [-3.0, 1.0, 2.0]])

    integrate = GaussLegendre(24).integrate
    for some in (anchors[:1], anchors[1:], anchors):
        found = path_integral(
            scores.time, scores.data, ROWS, some, integrate, gaussian=gaussian
        )
        np.testing.assert_allclose(found, EXACT, atol=1e-6)


def test_path_integral_asks_where_the_line_is():
    """At time t at y + t (x - y), so that the scores are asked at x at the end only."""
    seen = []

    def time(rows, t):
        seen.append((rows, t))
        return np.zeros(len(rows))

    def data(rows, t):
        return np.zeros_like(rows)

    rows, anchor = np.array([[1.0, 2.0]]), np.array([[3.0, 0.0]])

    integrate = GaussLegendre(5).integrate
    path_integral(time, data, rows, anchor, integrate, gaussian=False)
    ((places, t),) = seen
    np.testing.assert_allclose(places, anchor + t[:, None] * (rows - anchor))


def test_an_integrator_is_finer_and_tells_what_it_is():
    assert GaussLegendre().finer().n_nodes == 32
    assert RK45(1e-3).finer().tol == pytest.approx(1e-4)
    assert repr(GaussLegendre(8)) == "GaussLegendre(n_nodes=8)"
    assert repr(RK45(0.1)) == "RK45(tol=0.1)"
