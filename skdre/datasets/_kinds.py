"""Kinds of shift that tables have: tails, steps, counts, correlations, new clusters.

Each function draws the numerator's and the denominator's rows with a generator of
numpy, old or new, and returns them with the true log ratio, a function of rows.
"""

from functools import partial

import numpy as np
from scipy.stats import gamma, multivariate_normal, norm, poisson, t

__all__ = [
    "additive",
    "changing_noise",
    "cut_support",
    "discrete",
    "fields",
    "heavy_tails",
    "new_cluster",
    "ring_in_a_box",
    "rotated",
    "same_tails",
    "skewed",
    "sparse",
]


def _difference(X, p, q):
    return p.logpdf(X) - q.logpdf(X)


def _sum_of_differences(X, p, q):
    return (p.logpdf(X) - q.logpdf(X)).sum(axis=1)


def heavy_tails(n_p, n_q, rng, n_features=5, df=2.5, shift=0.6):
    """Student's t in each column, moved."""
    p, q = t(df, loc=shift), t(df)
    return (
        p.rvs((n_p, n_features), random_state=rng),
        q.rvs((n_q, n_features), random_state=rng),
        partial(_sum_of_differences, p=p, q=q),
    )


def same_tails(n_p, n_q, rng, n_features=6, df=1.5):
    """p = q, Student's t in each column."""
    p = t(df)
    return (
        p.rvs((n_p, n_features), random_state=rng),
        p.rvs((n_q, n_features), random_state=rng),
        _nothing,
    )


def _nothing(X):
    return np.zeros(len(X))


def additive(n_p, n_q, rng, n_features=8, n_steps=3, n_waves=3, step=0.3, waves=2):
    """Columns in [0, 1], uniform in q; densities of p are steps, waves, and uniform."""
    density = partial(
        _step_and_wave_densities,
        n_steps=n_steps,
        n_waves=n_waves,
        step=step,
        waves=waves,
    )
    X = rng.uniform(size=(n_p * 40, n_features))
    columns = []
    for values, height in zip(X.T, density(X).T, strict=True):
        kept = rng.uniform(size=len(X)) < height / 2.0
        columns.append(values[kept][:n_p])
    q = rng.uniform(size=(n_q, n_features))
    return np.column_stack(columns), q, partial(_sum_of_logs, density=density)


def _step_and_wave_densities(X, n_steps, n_waves, step, waves):
    column = np.arange(X.shape[1])
    steps = np.where(step > X, 2.0, (1 - 2 * step) / (1 - step))
    sines = 1 + 0.8 * np.sin(2 * np.pi * waves * X)
    is_wave = column < n_steps + n_waves
    return np.where(column < n_steps, steps, np.where(is_wave, sines, 1.0))


def _sum_of_logs(X, density):
    return np.log(density(X)).sum(axis=1)


def sparse(
    n_p, n_q, rng, n_features=50, at=(7, 30), moved=(0.8, 0.0), scale=(0.6, 1.5)
):
    """Standard normal columns, two of which have another mean and scale in p."""
    p = rng.normal(size=(n_p, n_features))
    p[:, at] = np.array(moved) + np.array(scale) * p[:, at]
    q = rng.normal(size=(n_q, n_features))
    return p, q, partial(_sparse_log_ratio, at=list(at), p=norm(moved, scale))


def _sparse_log_ratio(X, at, p):
    return _sum_of_differences(X[:, at], p, norm)


def skewed(n_p, n_q, rng, n_features=6, shape=1.5, shift=0.4, correlation=0.6):
    """Gamma margins over a Gaussian copula; p has another mean and correlation."""
    d, margin = n_features, gamma(shape)
    C = np.full((d, d), correlation) + (1 - correlation) * np.eye(d)
    p, q = multivariate_normal(np.full(d, shift), C), multivariate_normal(np.zeros(d))
    return (
        margin.isf(norm.sf(p.rvs(n_p, random_state=rng))),
        margin.isf(norm.sf(q.rvs(n_q, random_state=rng))),
        partial(_skewed_log_ratio, p=p, q=q, margin=margin),
    )


def _skewed_log_ratio(X, p, q, margin):
    return _difference(norm.isf(margin.sf(X)), p, q)


def new_cluster(n_p, n_q, rng, n_features=5, share=0.12, distance=1.8, scale=0.4):
    """Standard normal columns; p has a share of its rows in a narrow cluster."""
    center = distance / np.sqrt(n_features)
    new = rng.uniform(size=n_p) < share
    p = rng.normal(size=(n_p, n_features))
    p[new] = center + scale * p[new]
    q = rng.normal(size=(n_q, n_features))
    return p, q, partial(_new_cluster_log_ratio, share=share, p=norm(center, scale))


def _new_cluster_log_ratio(X, share, p):
    difference = _sum_of_differences(X, p, norm)
    return np.logaddexp(np.log1p(-share), np.log(share) + difference)


def rotated(n_p, n_q, rng, n_features=6, ends=(0.4, 2.0), seed=5):
    """A Gaussian with other variances along turned axes, against a round one."""
    d = n_features
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
    C = Q @ np.diag(np.geomspace(*ends, d)) @ Q.T
    p, q = multivariate_normal(np.zeros(d), C), multivariate_normal(np.zeros(d))
    return (
        p.rvs(n_p, random_state=rng),
        q.rvs(n_q, random_state=rng),
        partial(_difference, p=p, q=q),
    )


def discrete(
    n_p,
    n_q,
    rng,
    rates=(0.5, 1.0, 2.0, 3.0, 1.5, 0.8),
    factors=(2.0, 1.0, 1.5, 1.0, 0.6, 1.0),
):
    """Poisson columns, some of which have another rate in p."""
    rates_q = np.array(rates)
    rates_p = rates_q * np.array(factors)
    return (
        rng.poisson(rates_p, (n_p, len(rates_p))).astype(float),
        rng.poisson(rates_q, (n_q, len(rates_q))).astype(float),
        partial(_poisson_log_ratio, rates_p=rates_p, rates_q=rates_q),
    )


def _poisson_log_ratio(X, rates_p, rates_q):
    return (poisson.logpmf(X, rates_p) - poisson.logpmf(X, rates_q)).sum(axis=1)


def changing_noise(n_p, n_q, rng, n_features=4, size=1.2, phase=1.5):
    """The spread of one column depends on another, in p another way than in q."""

    def sample(n, turn):
        X = rng.normal(size=(n, n_features))
        X[:, 1] = np.sin(3 * X[:, 0]) + _spread(X[:, 0], size, turn) * X[:, 1]
        return X

    return (
        sample(n_p, phase),
        sample(n_q, 0.0),
        partial(_changing_noise_log_ratio, size=size, phase=phase),
    )


def _spread(x, size, turn):
    return np.exp(size * np.sin(2 * x + turn))


def _changing_noise_log_ratio(X, size, phase):
    x, mean = X[:, 0], np.sin(3 * X[:, 0])
    p, q = (norm(mean, _spread(x, size, turn)) for turn in (phase, 0.0))
    return _difference(X[:, 1], p, q)


def fields(n_p, n_q, rng, side=8, lengths=(1.5, 1.2), noise=0.2):
    """Smooth random fields on a square grid; those of p are a little smoother."""
    grid = np.stack(np.meshgrid(range(side), range(side)), -1).reshape(-1, 2)
    squared = ((grid[:, None] - grid) ** 2).sum(-1)
    p, q = (
        multivariate_normal(
            np.zeros(side**2),
            np.exp(-squared / 2 / length**2) + noise * np.eye(side**2),
        )
        for length in lengths
    )
    return (
        p.rvs(n_p, random_state=rng),
        q.rvs(n_q, random_state=rng),
        partial(_difference, p=p, q=q),
    )


def ring_in_a_box(n_p, n_q, rng, radius=2.0, width=0.25, half=3.0):
    """A ring in the plane, against a uniform square."""
    angle = rng.uniform(0, 2 * np.pi, n_p)
    r = rng.normal(radius, width, n_p)
    p = np.column_stack([r * np.cos(angle), r * np.sin(angle)])
    q = rng.uniform(-half, half, (n_q, 2))
    return p, q, partial(_ring_log_ratio, p=norm(radius, width), half=half)


def _ring_log_ratio(X, p, half):
    r = np.linalg.norm(X, axis=1)
    log_ratio = p.logpdf(r) - np.log(2 * np.pi * r) + 2 * np.log(2 * half)
    return np.where(np.abs(X).max(axis=1) <= half, log_ratio, np.inf)


def cut_support(n_p, n_q, rng, n_features=4, cut=1.2):
    """A uniform cube; p has no rows where the first two columns sum to more."""
    p = rng.uniform(size=(n_p * 4, n_features))
    q = rng.uniform(size=(n_q, n_features))
    p = p[p[:, :2].sum(axis=1) < cut][:n_p]
    # A triangle of the first two columns is missing.
    log_share = np.log1p(-((2 - cut) ** 2) / 2)
    return p, q, partial(_cut_log_ratio, cut=cut, log_share=log_share)


def _cut_log_ratio(X, cut, log_share):
    return np.where(X[:, :2].sum(axis=1) < cut, -log_share, -np.inf)
