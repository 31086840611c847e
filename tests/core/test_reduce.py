"""Sums over rows: those of two portions add to those of both."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdre._core.reduce import InMemory, Portion, Sums


@dataclass(frozen=True)
class Means(Sums):
    weight: float
    total: np.ndarray


def means(portion, power=1):
    return Means(portion.weight.sum(), portion.weight @ portion.X**power)


def portion(rng, n):
    return Portion(rng.normal(size=(n, 3)), rng.uniform(size=n), np.ones(n))


def both(one, other):
    names = ("X", "weight", "count")
    return Portion(
        *(np.concatenate([getattr(one, n), getattr(other, n)]) for n in names)
    )


def test_sums_of_portions_add():
    rng = np.random.default_rng(0)
    one, other = portion(rng, 5), portion(rng, 8)
    whole, parts = means(both(one, other)), means(one) + means(other)
    assert parts.weight == pytest.approx(whole.weight)
    assert_allclose(parts.total, whole.total)
    assert_allclose(parts.scaled(0.5).total, whole.total / 2)


def test_each_sample_has_its_reducer():
    rng = np.random.default_rng(0)
    q, p = portion(rng, 5), portion(rng, 8)
    samples = InMemory(q, p)
    of_q, of_p = samples.totals(means, partial(means, power=2))
    assert_allclose(of_q.total, q.weight @ q.X)
    assert_allclose(of_p.total, p.weight @ p.X**2)
    assert_allclose(samples.totals(means)[1].total, p.weight @ p.X)
    doubled = samples.prepared(
        lambda each: Portion(2 * each.X, each.weight, each.count)
    )
    assert_allclose(doubled.totals(means)[0].total, 2 * of_q.total)
