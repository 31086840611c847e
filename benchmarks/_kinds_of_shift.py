"""Kinds of shift on which the rules of AutoRatio were chosen, and its errors are told.

Each function draws the two samples, the numerator's first, and returns them with the
true log ratio, a function of rows. Those of odd seeds were used for choosing.
"""

import numpy as np
from scipy.stats import gamma, multivariate_normal, norm, poisson, t

__all__ = ["KINDS", "clipped_error", "draw", "many_rows"]

# Log ratios beyond this are taken as this, true or estimated.
BOUND = 15.0


def clipped_error(truth, log_ratio, bound=BOUND):
    """Mean squared error of the log ratio, both clipped."""
    difference = np.clip(truth, -bound, bound) - np.clip(log_ratio, -bound, bound)
    return float(np.mean(difference**2))


def heavy_tails(n_p, n_q, rng):
    p, q = t(2.5, loc=0.6), t(2.5)
    return (
        p.rvs((n_p, 5), random_state=rng),
        q.rvs((n_q, 5), random_state=rng),
        lambda X: (p.logpdf(X) - q.logpdf(X)).sum(axis=1),
    )


def additive(n_p, n_q, rng):
    """Eight columns in [0, 1], with densities of p that are steps and waves."""
    d = 8

    def density(X):
        steps = np.where(X < 0.3, 2.0, 0.4 / 0.7)
        waves = 1 + 0.8 * np.sin(4 * np.pi * X)
        return np.where(np.arange(d) < 3, steps, np.where(np.arange(d) < 6, waves, 1.0))

    X = rng.uniform(size=(n_p * 40, d))
    columns = []
    for j, values in enumerate(X.T):
        kept = rng.uniform(size=len(X)) < density(X)[:, j] / 2.0
        columns.append(values[kept][:n_p])
    return (
        np.column_stack(columns),
        rng.uniform(size=(n_q, d)),
        lambda X: np.log(density(X)).sum(axis=1),
    )


def sparse(n_p, n_q, rng):
    p = rng.normal(size=(n_p, 50))
    p[:, 7] = 0.8 + 0.6 * p[:, 7]
    p[:, 30] = 1.5 * p[:, 30]

    def log_ratio(X):
        return (
            norm(0.8, 0.6).logpdf(X[:, 7])
            - norm.logpdf(X[:, 7])
            + norm(0, 1.5).logpdf(X[:, 30])
            - norm.logpdf(X[:, 30])
        )

    return p, rng.normal(size=(n_q, 50)), log_ratio


def skewed(n_p, n_q, rng):
    """Gamma margins over a Gaussian copula; p has another mean and correlation."""
    d, margin = 6, gamma(1.5)
    C = np.full((d, d), 0.6) + 0.4 * np.eye(d)
    p, q = multivariate_normal(np.full(d, 0.4), C), multivariate_normal(np.zeros(d))

    def shown(Z):
        return margin.isf(norm.sf(Z))

    def log_ratio(X):
        Z = norm.isf(margin.sf(X))
        return p.logpdf(Z) - q.logpdf(Z)

    return (
        shown(p.rvs(n_p, random_state=rng)),
        shown(q.rvs(n_q, random_state=rng)),
        log_ratio,
    )


def new_cluster(n_p, n_q, rng):
    d, share, center, scale = 5, 0.12, 1.8, 0.4
    new = rng.uniform(size=n_p) < share
    p = rng.normal(size=(n_p, d))
    p[new] = center / np.sqrt(d) + scale * p[new]

    def log_ratio(X):
        log_q = norm.logpdf(X).sum(axis=1)
        log_new = norm(center / np.sqrt(d), scale).logpdf(X).sum(axis=1)
        return np.logaddexp(np.log1p(-share), np.log(share) + log_new - log_q)

    return p, rng.normal(size=(n_q, d)), log_ratio


def rotated(n_p, n_q, rng):
    d = 6
    Q = np.linalg.qr(np.random.default_rng(5).normal(size=(d, d)))[0]
    C = Q @ np.diag(np.geomspace(0.4, 2.0, d)) @ Q.T
    p, q = multivariate_normal(np.zeros(d), C), multivariate_normal(np.zeros(d))
    return (
        p.rvs(n_p, random_state=rng),
        q.rvs(n_q, random_state=rng),
        lambda X: p.logpdf(X) - q.logpdf(X),
    )


def discrete(n_p, n_q, rng):
    rates_q = np.array([0.5, 1.0, 2.0, 3.0, 1.5, 0.8])
    rates_p = rates_q * np.array([2.0, 1.0, 1.5, 1.0, 0.6, 1.0])
    return (
        rng.poisson(rates_p, (n_p, 6)).astype(float),
        rng.poisson(rates_q, (n_q, 6)).astype(float),
        lambda X: (poisson.logpmf(X, rates_p) - poisson.logpmf(X, rates_q)).sum(axis=1),
    )


def changing_noise(n_p, n_q, rng):
    """The spread of one column depends on another, in p another way than in q."""

    def spread(x, in_p):
        return np.exp(1.2 * np.sin(2 * x + (1.5 if in_p else 0.0)))

    def sample(n, in_p):
        X = rng.normal(size=(n, 4))
        X[:, 1] = np.sin(3 * X[:, 0]) + spread(X[:, 0], in_p) * X[:, 1]
        return X

    def log_ratio(X):
        mean = np.sin(3 * X[:, 0])
        return norm(mean, spread(X[:, 0], True)).logpdf(X[:, 1]) - norm(
            mean, spread(X[:, 0], False)
        ).logpdf(X[:, 1])

    return sample(n_p, True), sample(n_q, False), log_ratio


def fields(n_p, n_q, rng):
    """Smooth random fields on a grid of 8 by 8; those of p are a little smoother."""
    grid = np.stack(np.meshgrid(range(8), range(8)), -1).reshape(-1, 2)
    squared = ((grid[:, None] - grid) ** 2).sum(-1)
    p, q = (
        multivariate_normal(
            np.zeros(64), np.exp(-squared / 2 / length**2) + 0.2 * np.eye(64)
        )
        for length in (1.5, 1.2)
    )
    return (
        p.rvs(n_p, random_state=rng),
        q.rvs(n_q, random_state=rng),
        lambda X: p.logpdf(X) - q.logpdf(X),
    )


def ring_in_a_box(n_p, n_q, rng):
    radius, width = 2.0, 0.25
    angle = rng.uniform(0, 2 * np.pi, n_p)
    r = rng.normal(radius, width, n_p)
    p = np.column_stack([r * np.cos(angle), r * np.sin(angle)])

    def log_ratio(X):
        r = np.linalg.norm(X, axis=1)
        log_p = norm(radius, width).logpdf(r) - np.log(2 * np.pi * r)
        return log_p + np.log(36.0)

    return p, rng.uniform(-3, 3, (n_q, 2)), log_ratio


def cut_support(n_p, n_q, rng):
    """p has no rows in a corner of the cube."""
    d = 4

    def inside(X):
        return X[:, 0] + X[:, 1] < 1.2

    p = rng.uniform(size=(n_p * 4, d))
    share = 1 - 0.8**2 / 2
    return (
        p[inside(p)][:n_p],
        rng.uniform(size=(n_q, d)),
        lambda X: np.where(inside(X), -np.log(share), -BOUND),
    )


def same(n_p, n_q, rng):
    p = t(1.5)
    return (
        p.rvs((n_p, 6), random_state=rng),
        p.rvs((n_q, 6), random_state=rng),
        lambda X: np.zeros(len(X)),
    )


def _gaussians(distance, d=10):
    def draw_gaussians(n_p, n_q, rng):
        shift = np.full(d, distance / np.sqrt(d))
        return (
            rng.normal(size=(n_p, d)) + shift,
            rng.normal(size=(n_q, d)),
            lambda X: X @ shift - shift @ shift / 2,
        )

    return draw_gaussians


def far_mixture(n_p, n_q, rng):
    """Three clusters each, hardly overlapping, in five columns."""
    centers = np.random.default_rng(9)
    at_p, at_q = centers.normal(size=(3, 5)) * 1.6 + 1.0, centers.normal(size=(3, 5))
    parts = [(at_p, 0.7), (at_q, 0.9)]
    p, q = (
        at[rng.integers(3, size=n)] + scale * rng.normal(size=(n, 5))
        for n, (at, scale) in zip((n_p, n_q), parts, strict=True)
    )

    def log_density(X, at, scale):
        each = [norm(center, scale).logpdf(X).sum(axis=1) for center in at]
        return np.logaddexp.reduce(each) - np.log(len(at))

    return p, q, lambda X: log_density(X, *parts[0]) - log_density(X, *parts[1])


KINDS = {
    "heavy tails": heavy_tails,
    "additive": additive,
    "two of 50 columns": sparse,
    "skewed margins": skewed,
    "new cluster": new_cluster,
    "rotated Gaussians": rotated,
    "discrete columns": discrete,
    "noise that changes": changing_noise,
    "smooth fields": fields,
    "ring in a box": ring_in_a_box,
    "cut support": cut_support,
    "p = q, heavy tails": same,
    "Gaussians 1 apart": _gaussians(1.0),
    "Gaussians 3 apart": _gaussians(3.0),
    "far mixtures": far_mixture,
}


def draw(kind, n, seed, n_new=2000):
    """Rows of both samples, their labels, and new rows with the true log ratio."""
    n_p, n_q = (n, n) if isinstance(n, int) else n
    rng = np.random.default_rng([seed, n_p, n_q, sorted(KINDS).index(kind)])
    p, q, log_ratio = KINDS[kind](n_p, n_q, rng)
    new = np.concatenate(KINDS[kind](n_new // 2, n_new // 2, rng)[:2])
    X, y = np.concatenate([p, q]), np.repeat([1, 0], [n_p, n_q])
    return X, y, new, log_ratio(new)


def many_rows(kind, seed, n=20_000):
    """New rows of the numerator, for what is true of it."""
    rng = np.random.default_rng([seed, 99, sorted(KINDS).index(kind)])
    return KINDS[kind](n, 10, rng)[0]
