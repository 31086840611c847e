"""Fit the cheap estimators to odd tables and hold them to what must be true of any.

    python tests/fuzz_ratios.py --cases 5000

Not part of the suite. Each case is a small table of columns of any kind (continuous,
counts, flags, zero-inflated, heavy-tailed, constant, with sentinels, of any origin and
size), weights of some kind and one estimator. What is checked: log ratios are finite;
no warning of numpy reaches the user; a row's ratio does not depend on the rows
predicted with it; the order of the rows says nothing; weight k is k repeats; copies of
rows with a continuous value and constant weights change nothing; swapped labels give
the inverse where the method is symmetric; and a fit that fails leaves the estimator as
it was.
"""

import argparse
import warnings

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from instances import make_instances, without_networks
from sklearn.base import clone

from skdre import ClassifierRatio, GaussianRatio, KMMRatio, LSIFRatio, pool

ESTIMATORS = [
    *without_networks(make_instances("ratio")),
    KMMRatio(solver="nystroem", n_components=10, random_state=0),
    LSIFRatio(alpha=0.1, standardize=False, n_components=10, random_state=0),
]
SYMMETRIC = (GaussianRatio, ClassifierRatio)


def normal(rng, n):
    return rng.normal(size=n)


COLUMNS = {
    "normal": normal,
    "shifted far": lambda rng, n: 1e7 + rng.normal(size=n),
    "tiny": lambda rng, n: 1e-150 * rng.normal(size=n),
    "huge": lambda rng, n: 1e150 * rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_cauchy(n),
    "heavier": lambda rng, n: rng.pareto(0.25, n),
    "counts": lambda rng, n: rng.poisson(3, n).astype(float),
    "flag": lambda rng, n: (rng.random(n) < 0.4).astype(float),
    "zero-inflated": lambda rng, n: np.where(
        rng.random(n) < 0.5, 0.0, rng.lognormal(size=n)
    ),
    "constant": lambda rng, n: np.full(n, 3.0),
    "sentinel": lambda rng, n: np.where(rng.random(n) < 0.03, 9999.0, normal(rng, n)),
}
WEIGHTS = ("none", "counts", "survey", "tiny")


@st.composite
def cases(draw):
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=3))
    sizes = draw(st.tuples(st.integers(2, 40), st.integers(2, 40)))
    return (
        draw(st.integers(0, len(ESTIMATORS) - 1)),
        kinds,
        sizes,
        draw(st.sampled_from(WEIGHTS)),
        draw(st.floats(-2, 2)),
        draw(st.integers(0, 2**31 - 1)),
    )


def table(kinds, sizes, shift, rng):
    numerator, denominator = (
        np.column_stack([COLUMNS[kind](rng, n) for kind in kinds]) for n in sizes
    )
    numerator[:, 0] += shift * (kinds[0] == "normal")
    return pool(numerator=numerator, denominator=denominator)


def weights_of(kind, n, rng):
    if kind == "none":
        return None
    if kind == "counts":
        return rng.integers(1, 4, n).astype(float)
    weight = rng.uniform(0.2, 5, n)
    return weight * (1e-50 if kind == "tiny" else 1e3)


def strictly(function, *args):
    """Call it with numpy's floating-point warnings as errors."""
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        return function(*args)


class LateError(RuntimeError):
    pass


class Failing:
    """A table that validates once and then fails."""

    def __array__(self, dtype=None, copy=None):
        raise LateError("no array")


def check(number, kinds, sizes, weighting, shift, seed):
    """Raise AssertionError where a case breaks an invariant."""
    rng = np.random.default_rng(seed)
    X, y = table(kinds, sizes, shift, rng)
    weight = weights_of(weighting, len(y), rng)
    model = clone(ESTIMATORS[number])
    strictly(model.fit, X, y, weight)
    log_ratio = strictly(model.decision_function, X)
    assert np.isfinite(log_ratio).all(), "not finite"
    scale = 1 + np.abs(log_ratio)

    def close(other, tol, what):
        assert (np.abs(other - log_ratio) <= tol * scale).all(), (
            f"{what}: {np.abs((other - log_ratio) / scale).max():.3g}"
        )

    alone = np.concatenate([strictly(model.decision_function, X[[i]]) for i in (0, -1)])
    assert (np.abs(alone - log_ratio[[0, -1]]) <= 1e-9 * scale[[0, -1]]).all(), (
        "company"
    )
    order = rng.permutation(len(y))
    again = clone(model)
    strictly(again.fit, X[order], y[order], None if weight is None else weight[order])
    close(again.decision_function(X), 1e-8, "order")
    if weighting == "counts":
        repeats = weight.astype(int)
        strictly(again.fit, np.repeat(X, repeats, 0), np.repeat(y, repeats))
        close(again.decision_function(X), 1e-9, "repetition")
    continuous = {"normal", "shifted far", "heavy", "heavier", "tiny", "huge"}
    if weight is None and continuous & set(kinds):
        for constant in (1 / 120, 1e40):
            strictly(again.fit, X, y, np.full(len(y), constant))
            close(again.decision_function(X), 1e-9, "constant weights")
        strictly(again.fit, np.tile(X, (3, 1)), np.tile(y, 3))
        close(again.decision_function(X), 1e-9, "copies")
    if isinstance(model, SYMMETRIC) and not getattr(model, "calibration", None):
        strictly(again.fit, X, 1 - y, weight)
        close(-again.decision_function(X), 1e-4, "swap")
    before = dict(vars(model))
    for bad in (Failing(), np.full((len(y), X.shape[1]), np.nan), X[:, :0]):
        try:
            model.fit(bad, y)
        except (ValueError, TypeError, LateError):
            pass
        else:
            raise AssertionError("bad input was fitted")
        assert vars(model).keys() == before.keys(), "half-fitted"
        assert all(vars(model)[name] is before[name] for name in before), "half-fitted"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000)
    n_cases = parser.parse_args().cases

    @settings(
        max_examples=n_cases,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=True,
        derandomize=True,
        database=None,
    )
    @given(cases())
    def fuzz(case):
        check(*case)

    fuzz()
    print(f"{n_cases} cases held.")


if __name__ == "__main__":
    main()
