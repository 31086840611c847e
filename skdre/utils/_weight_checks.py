"""Checks of ``sample_weight``: repetition, unit, absence and domains."""

import numpy as np

from skdre.utils._check_tools import (
    LARGEST_OFFSET,
    assert_same_ratio,
    fit,
    log_ratio_of,
    make_shift,
    new_rows,
    tolerance_for,
    uneven_counts,
)

__all__ = [
    "check_copies_inform_of_nothing",
    "check_weight_zero_is_absence",
    "check_weights_are_repetitions",
    "check_weights_count_inside_domains",
]


def check_weights_are_repetitions(name, estimator):
    """A weight of k is k repeats of the row, and weights of 1 are none."""
    X, y = make_shift().pool()
    X_new, _ = new_rows()
    weight = uneven_counts(X, y)
    X_rep, y_rep = np.repeat(X, weight, axis=0), np.repeat(y, weight)
    tolerance = tolerance_for(estimator, X_rep, y_rep, X_new)
    for what, (one, other) in {
        "weights in the place of repeated rows": (
            fit(estimator, X, y, weight.astype(float)),
            fit(estimator, X_rep, y_rep),
        ),
        "weights of 1": (fit(estimator, X, y, np.ones(len(y))), fit(estimator, X, y)),
    }.items():
        assert_same_ratio(name, one, other, X_new, tolerance, what)


def check_copies_inform_of_nothing(name, estimator):
    """A table stacked on itself, or weights of another unit, change nothing.

    Its rows hold continuous values, so a row that stands twice is a copy.
    """
    X, y = make_shift().pool()
    X_new, _ = new_rows()
    once = fit(estimator, X, y)
    tolerance = tolerance_for(estimator, X, y, X_new)
    for what, other in {
        "three copies of every row": fit(estimator, np.tile(X, (3, 1)), np.tile(y, 3)),
        "weights of 1/120": fit(estimator, X, y, np.full(len(y), 1 / 120)),
        "weights of 1e40": fit(estimator, X, y, np.full(len(y), 1e40)),
    }.items():
        assert_same_ratio(name, other, once, X_new, tolerance, what)


def check_weight_zero_is_absence(name, estimator):
    """A row of weight zero might as well not be there."""
    X, y = make_shift().pool()
    X_new, _ = new_rows()
    far = np.random.default_rng(0).normal(100.0, 10.0, (60, 2))
    X_more, y_more = np.concatenate([X, far]), np.append(y, np.arange(60) % 2)
    weight = np.append(np.ones(len(X)), np.zeros(60))
    order = np.random.default_rng(0).permutation(len(weight))
    kept = order[order < len(X)]
    tolerance = tolerance_for(estimator, X[kept], y[kept], X_new)
    assert_same_ratio(
        name,
        fit(estimator, X_more[order], y_more[order], weight[order]),
        fit(estimator, X[kept], y[kept]),
        X_new,
        tolerance,
        "rows of weight zero",
    )


def check_weights_count_inside_domains(name, estimator):
    """Heavier rows of one domain, all alike, do not scale the ratio."""
    X, y = make_shift().pool()
    X_new, _ = new_rows()
    one, other = (
        log_ratio_of(fit(estimator, X, y, weight), X_new)
        for weight in (np.where(y == 1, 7.0, 1.0), np.where(y == 1, 1.0, 7.0))
    )
    offset = np.median(one - other)
    assert abs(offset) <= 2 * LARGEST_OFFSET, (
        f"{name}: with weights of 7 for the numerator, and for the denominator, the "
        f"log ratios differ by {offset:.2f} nats in the median: weights must count "
        "inside each domain."
    )
