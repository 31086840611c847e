"""Tasks with known mutual information: the 40 of Czyz et al. 2023, by definition.

P. Czyz, F. Grabowski, J. E. Vogt, N. Beerenwinkel, A. Marx. "Beyond Normal: On the
Evaluation of Mutual Information Estimators", NeurIPS 2023. Written from the
definitions; spirals turn by the squared norm over the number of columns.
"""

import numpy as np
from scipy.special import digamma, gammaln
from scipy.stats import norm

__all__ = ["TASKS", "TUNING_TASKS"]


def _split(Z, d):
    return Z[:, :d], Z[:, d:]


def normal(covariance, d):
    """A pair of normal vectors, the first with d columns."""
    covariance = np.asarray(covariance)
    factor = np.linalg.cholesky(covariance)

    def draw(n, rng):
        return _split(rng.normal(size=(n, len(covariance))) @ factor.T, d)

    def log_det(S):
        return np.linalg.slogdet(S)[1]

    truth = log_det(covariance[:d, :d]) + log_det(covariance[d:, d:])
    return (truth - log_det(covariance)) / 2, draw


def dense(d, e=None, rho=0.5):
    e = d if e is None else e
    return normal(np.full((d + e, d + e), rho) + (1 - rho) * np.eye(d + e), d)


def two_pairs(d, rho=0.8):
    covariance = np.eye(2 * d)
    for k in range(2):
        covariance[k, d + k] = covariance[d + k, k] = rho
    return normal(covariance, d)


def student(d, degrees, rho=0.0):
    """Student-t vectors that are dependent by their common scale."""
    e, nu = d, degrees
    gaussian, draw_normal = (
        dense(d, rho=rho) if rho else (0.0, normal(np.eye(2 * d), d)[1])
    )

    def draw(n, rng):
        x, y = draw_normal(n, rng)
        scale = np.sqrt(nu / rng.chisquare(nu, size=(n, 1)))
        return x * scale, y * scale

    def entropy(k):
        # Of k columns, without what depends on the matrix.
        half = (nu + k) / 2
        return (
            gammaln(nu / 2)
            - gammaln(half)
            + k / 2 * np.log(nu * np.pi)
            + half * (digamma(half) - digamma(nu / 2))
        )

    return gaussian + entropy(d) + entropy(e) - entropy(d + e), draw


def additive(epsilon):
    truth = 1 / (4 * epsilon) if epsilon > 0.5 else epsilon - np.log(2 * epsilon)

    def draw(n, rng):
        x = rng.uniform(size=(n, 1))
        return x, x + rng.uniform(-epsilon, epsilon, size=(n, 1))

    return truth, draw


def mapped(task, of_x, of_y=None):
    truth, draw_base = task

    def draw(n, rng):
        x, y = draw_base(n, rng)
        return of_x(x), (of_x if of_y is None else of_y)(y)

    return truth, draw


def spiral(task, speed=1.0):
    def turn(i, j):
        def of(x):
            angle = speed / x.shape[1] * (x**2).sum(axis=1)
            a, b = x[:, i].copy(), x[:, j].copy()
            x = x.copy()
            x[:, i] = np.cos(angle) * a + np.sin(angle) * b
            x[:, j] = -np.sin(angle) * a + np.cos(angle) * b
            return x

        return of

    return mapped(task, turn(0, 1), turn(1, 2))


def wiggly_x(x):
    more = 0.2 * np.sin(1.7 * x + 1) + 0.03 * np.sin(3.3 * x - 2.5)
    return x + 0.4 * np.sin(x) + more


def wiggly_y(x):
    more = 0.17 * np.sin(1.3 * x + 3.5) + 0.02 * np.sin(4.3 * x - 2.5)
    return x - 0.4 * np.sin(0.4 * x) + more


def half_cube(x):
    return x * np.sqrt(np.abs(x))


def swiss_roll(x):
    t = 1.5 * np.pi * (1 + 2 * x)
    return np.hstack([t * np.cos(t), t * np.sin(t)]) / 21


def same(x):
    return x


def _bimodal(share, low, high):
    grid = np.linspace(-8, 12, 20_001)
    cdf = share * norm.cdf(grid - low) + (1 - share) * norm.cdf(grid - high)
    return lambda x: np.interp(norm.cdf(x), cdf, grid)


def _tasks():
    line, cauchy = dense(1, rho=0.75), student(1, 1)
    tasks = {
        "normal 1": line,
        "uniform margins 1": mapped(line, norm.cdf),
        "additive .1": additive(0.1),
        "additive .75": additive(0.75),
        "bimodal 1": mapped(line, _bimodal(0.3, 0, 5), _bimodal(0.5, -1, 3)),
        "wiggly 1": mapped(line, wiggly_x, wiggly_y),
        "half-cube 1": mapped(line, half_cube),
        "Student-t 1, 1": cauchy,
        "asinh Student-t 1, 1": mapped(cauchy, np.arcsinh),
        "swiss roll 2+1": mapped(mapped(line, norm.cdf), swiss_roll, same),
    }
    tasks |= {f"normal dense {d}": dense(d) for d in (2, 3, 5, 25, 50)}
    tasks |= {f"normal 2 pairs {d}": two_pairs(d) for d in (2, 3, 5, 25)}
    for d, nu in ((2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (5, 3)):
        tasks[f"Student-t {d}, {nu}"] = student(d, nu)
    for d in (3, 5, 25):
        base = two_pairs(d)
        tasks[f"uniform margins {d}"] = mapped(base, norm.cdf)
        tasks[f"half-cube {d}"] = mapped(base, half_cube)
        tasks[f"spiral {d}"] = spiral(base)
        tasks[f"spiral of uniform {d}"] = spiral(mapped(base, norm.cdf))
    for d, nu in ((2, 1), (3, 2), (5, 2)):
        tasks[f"asinh Student-t {d}, {nu}"] = mapped(student(d, nu), np.arcsinh)
    return tasks


def _tuning_tasks():
    line = dense(1, rho=0.6)
    return {
        "normal 1": line,
        "exp and cube 1": mapped(line, np.exp, lambda x: x**3),
        "additive .2": additive(0.2),
        "additive 1": additive(1.0),
        "swiss roll 2+1": mapped(mapped(line, norm.cdf), swiss_roll, same),
        "dense 10": dense(10, rho=0.3),
        "dense 40": dense(40, rho=0.3),
        "Student-t 4, 2": student(4, 2),
        "Student-t 2, 4, dependent": student(2, 4, rho=0.4),
        "2 pairs 4": two_pairs(4, 0.7),
        "spiral 4": spiral(two_pairs(4, 0.7), 1.5),
        "spiral 10": spiral(two_pairs(10, 0.7)),
        "spiral 20": spiral(two_pairs(20, 0.7), 1.3),
        "spiral of uniform 4": spiral(mapped(two_pairs(4, 0.7), norm.cdf), 1.5),
        "independent 3": (0.0, normal(np.eye(6), 3)[1]),
    }


# Name -> mutual information in nats, and a function of a number of pairs and a
# generator that draws them.
TASKS, TUNING_TASKS = _tasks(), _tuning_tasks()
