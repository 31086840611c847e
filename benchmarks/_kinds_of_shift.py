"""Kinds of shift on which the rules of AutoRatio were chosen, and its errors are told.

Each function draws the two samples, the numerator's first, and returns them with the
true log ratio, a function of rows. Those of odd seeds were used for choosing. Problems
of skdre.datasets.known_ratio_problems go by their names as well.
"""

import numpy as np
from scipy.stats import norm

from skdre.datasets import _kinds, known_ratio_problems, make_known_ratio

__all__ = ["KINDS", "clipped_error", "draw", "many_rows", "truth_at_denominator"]

# Log ratios beyond this are taken as this, true or estimated.
BOUND = 15.0


def clipped_error(truth, log_ratio, bound=BOUND):
    """Mean squared error of the log ratio, both clipped."""
    difference = np.clip(truth, -bound, bound) - np.clip(log_ratio, -bound, bound)
    return float(np.mean(difference**2))


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
    "heavy tails": _kinds.heavy_tails,
    "additive": _kinds.additive,
    "two of 50 columns": _kinds.sparse,
    "skewed margins": _kinds.skewed,
    "new cluster": _kinds.new_cluster,
    "rotated Gaussians": _kinds.rotated,
    "discrete columns": _kinds.discrete,
    "noise that changes": _kinds.changing_noise,
    "smooth fields": _kinds.fields,
    "ring in a box": _kinds.ring_in_a_box,
    "cut support": _kinds.cut_support,
    "p = q, heavy tails": _kinds.same_tails,
    "Gaussians 1 apart": _gaussians(1.0),
    "Gaussians 3 apart": _gaussians(3.0),
    "far mixtures": far_mixture,
}


def _numbered(kind):
    """How a kind is drawn, and a number of its own."""
    if kind in KINDS:
        return KINDS[kind], sorted(KINDS).index(kind)
    number = known_ratio_problems().index(kind)

    def draw_problem(n_p, n_q, rng):
        shift = make_known_ratio(
            kind, (n_p, n_q), random_state=int(rng.integers(2**31))
        )
        return shift.numerator, shift.denominator, shift.log_ratio

    return draw_problem, 1000 + number


def draw(kind, n, seed, n_new=2000):
    """Rows of both samples, their labels, and new rows with the true log ratio."""
    n_p, n_q = (n, n) if isinstance(n, int) else n
    draw_kind, number = _numbered(kind)
    rng = np.random.default_rng([seed, n_p, n_q, number])
    p, q, log_ratio = draw_kind(n_p, n_q, rng)
    new = np.concatenate(draw_kind(n_new // 2, n_new // 2, rng)[:2])
    X, y = np.concatenate([p, q]), np.repeat([1, 0], [n_p, n_q])
    return X, y, new, log_ratio(new)


def many_rows(kind, seed, n=20_000):
    """New rows of the numerator, for what is true of it."""
    draw_kind, number = _numbered(kind)
    return draw_kind(n, 10, np.random.default_rng([seed, 99, number]))[0]


def truth_at_denominator(kind, n, seed):
    """True log ratio at the denominator's rows of :func:`draw`."""
    n_p, n_q = (n, n) if isinstance(n, int) else n
    draw_kind, number = _numbered(kind)
    _, q, log_ratio = draw_kind(
        n_p, n_q, np.random.default_rng([seed, n_p, n_q, number])
    )
    return log_ratio(q)
