"""Many statistics of two samples, calibrated by one set of permutations.

Each is made of differences of means of functions that know no labels. So a permutation
costs a product of matrices, and nothing is fitted again.
"""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse
from scipy.special import gammaincc, ndtr, ndtri
from scipy.stats import rankdata
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import euclidean_distances, manhattan_distances

from skdre._core.columns import check_rows, refuse_times
from skdre._core.frames import is_frame
from skdre._core.scales import column_scales
from skdre.information._permutation import ShiftTest, permutation_pvalue
from skdre.information._score_test import gaussian_features, studentized

__all__ = [
    "banks_of",
    "contrast",
    "jointly_tested",
    "permuted_contrasts",
    "plain_table",
]

# Bins of a column; chi-squared takes two at a time.
_BINS = 20

# Of more pairs of columns so many are chosen at random.
_MAX_PAIRS = 2000

# Of more rows a kernel is expanded at so many.
_LANDMARKS = 250

_TREES, _ROWS_OF_A_LEAF, _MAX_LEAVES = 50, 5, 200

# Entries of contrasts that are held at once.
_CHUNK = 2**24

# Largest table that a sparse one becomes.
_MAX_ENTRIES = 10**8


class Bank(NamedTuple):
    """Functions of a row, and what is made of the differences of their means.

    `values` has shape (n_rows, n_functions), and `statistics` turns differences of
    shape (n, n_functions) into a dict of arrays of shape (n,) or (n, m). Of the latter
    the m statistics are of one kind, and the least likely counts.
    """

    values: Any
    statistics: Callable[[np.ndarray], dict[str, np.ndarray]]


def plain_table(X, names=None):
    """A table of any columns as numbers without missing ones; it knows no labels.

    Missing numbers become medians, with a column that says where they were, and each
    frequent level of a category has a column.
    """
    # Where it stands, for it is only needed for tables that are not numbers.
    from skdre.auto._columns import learn_columns

    if issparse(X):
        if np.prod(X.shape) > _MAX_ENTRIES:
            raise ValueError(
                f"X is sparse, of shape {X.shape}, and too large to be made dense, "
                "which method='aggregate' needs: use method='split'."
            )
        X = X.toarray()
    refuse_times(X)
    values = check_rows(X, dtype=None, ensure_all_finite="allow-nan")
    n = len(values)
    every = SimpleNamespace(
        index=np.arange(n), weight=np.ones(n), is_numerator=np.ones(n, bool)
    )
    if names is None and is_frame(X):
        names = list(X.columns)
    columns = learn_columns(values, X, every, names)
    plain = columns.plain(columns.coded(values))
    # Of two halves that have nothing to do with the labels.
    halves = np.array_split(np.random.RandomState(0).permutation(n), 2)
    parts = tuple((plain[half], np.ones(len(half))) for half in halves)
    plain = column_scales(parts, columns.plain_names).draw_in(plain)
    varies = np.ptp(plain, axis=0) > 0
    if not varies.any():
        raise ValueError("X has constant columns only: there is nothing to test.")
    return plain[:, varies]


def _standard(Z):
    """Columns of mean 0 and variance 1; constant ones become 0."""
    Z = Z - Z.mean(axis=0)
    scale = Z.std(axis=0)
    return Z / np.where(scale > 1e-9, scale, np.inf)


def _largest(name):
    return lambda z: {name: np.max(z**2, axis=1)}


def _total(name):
    return lambda z: {name: np.sum(z**2, axis=1)}


def _indicators(codes, n_codes):
    """Sparse indicators of the codes of each column, of shape (n_rows, n_columns)."""
    n, d = codes.shape
    column = codes + n_codes * np.arange(d)
    ends = np.arange(0, n * d + 1, d)
    return csr_array((np.ones(n * d), column.ravel(), ends), (n, n_codes * d))


def _shapes(U):
    """Anderson and Darling's statistic of each column, and chi-squared, of bins."""
    d = U.shape[1]
    bins = np.minimum((_BINS * U).astype(int), _BINS - 1)
    indicators = _indicators(bins, _BINS)
    share = np.asarray(indicators.mean(axis=0)).reshape(d, _BINS)

    def spread(share):
        return np.where(share * (1 - share) > 1e-9, share * (1 - share), np.inf)

    below = spread(np.cumsum(share, axis=1)[:, :-1])
    n_cuts = np.maximum(np.isfinite(below).sum(axis=1), 1)
    pairs = spread(share[:, ::2] + share[:, 1::2])

    def statistics(z):
        z = z.reshape(len(z), d, _BINS)
        cumulated = np.cumsum(z, axis=2)[:, :, :-1]
        paired = z[:, :, ::2] + z[:, :, 1::2]
        return {
            "Anderson-Darling": (cumulated**2 / below).sum(axis=2) / n_cuts,
            "chi-squared": (paired**2 / pairs).sum(axis=2),
        }

    return Bank(indicators, statistics)


def _kernel(name, kernel, X, gamma, rng):
    features = Nystroem(
        kernel=kernel,
        gamma=gamma,
        n_components=min(len(X), _LANDMARKS),
        random_state=rng,
    ).fit_transform(X)
    return Bank(features, _total(name))


def _trees(U, rng):
    """Leaves of trees that are grown at random, small where rows are many."""
    n = len(U)
    trees = ExtraTreesRegressor(
        _TREES,
        max_features=1,
        min_samples_leaf=max(_ROWS_OF_A_LEAF, n // _MAX_LEAVES),
        random_state=rng,
    )
    # Of noise, so that the splits follow nothing.
    leaves = trees.fit(U, rng.normal(size=n)).apply(U)
    codes = np.column_stack(
        [np.unique(each, return_inverse=True)[1].ravel() for each in leaves.T]
    )
    return Bank(_indicators(codes, codes.max() + 1), _total("random trees"))


def banks_of(X, rng):
    """The functions whose means are compared, of a table of :func:`plain_table`."""
    n, d = X.shape
    ranks = np.column_stack([rankdata(column) for column in X.T])
    U = (ranks - 0.5) / n
    scores = ndtri(U)
    first, second = np.triu_indices(d, 1)
    if len(first) > _MAX_PAIRS:
        chosen = rng.choice(len(first), _MAX_PAIRS, replace=False)
        first, second = first[chosen], second[chosen]
    Z = _standard(X)
    few = Z[rng.permutation(n)[:1000]]
    above = np.triu_indices(len(few), 1)
    squared = np.median(euclidean_distances(few, squared=True)[above])
    absolute = np.median(manhattan_distances(few)[above])
    # Where most rows are equal.
    squared, absolute = (each if each > 0 else 1.0 for each in (squared, absolute))
    banks = [
        Bank(_standard(ranks), _largest("ranks of a column")),
        Bank(studentized(_standard(ranks)), _total("ranks of all columns")),
        Bank(_standard(scores**2), _largest("spread of a column")),
        _shapes(U),
        Bank(gaussian_features(X, rng), _total("means and covariances")),
        _kernel("MMD, wide kernel", "rbf", Z, 0.5 / squared, rng),
        _kernel("MMD, narrow kernel", "rbf", Z, 2 / squared, rng),
        _kernel("MMD, Laplace kernel", "laplacian", Z, 3 / absolute, rng),
        _trees(U, rng),
    ]
    if len(first):
        products = _standard(scores[:, first] * scores[:, second])
        banks.append(Bank(products, _largest("relation of two columns")))
    return banks


def contrast(labels):
    """Coefficients of the difference of the samples' means, of one row each.

    Of a function of variance 1 the difference has variance 1 if labels are exchanged.
    `labels` are 1 for the numerator and 0 for the denominator, shape (n, n_rows).
    """
    n_rows = labels.shape[1]
    n_p = labels.sum(axis=1, keepdims=True)
    n_q = n_rows - n_p
    return np.sqrt(n_p * n_q / n_rows) * (labels / n_p - (1 - labels) / n_q)


def permuted_contrasts(label, cluster, n_permutations, rng) -> Iterator[np.ndarray]:
    """Contrasts in parts: of the labels as they are, and then of permuted ones.

    `label` is that of each cluster, and `cluster` the number of each row's.
    """
    label = label.astype(np.float64)
    yield contrast(label[None, cluster])
    step = max(_CHUNK // len(cluster), 1)
    for start in range(0, n_permutations, step):
        n_drawn = min(step, n_permutations - start)
        drawn = rng.permuted(np.tile(label, (n_drawn, 1)), axis=1)
        yield contrast(drawn[:, cluster])


def _tail(values):
    """Probability of a value as large, by Pearson's third type, for each column.

    Its three moments are those of the column. It is smoother than a share of the
    permutations, and does not end at one of them.
    """
    mean, scale = values.mean(axis=0), values.std(axis=0)
    constant = scale <= 1e-9 * np.abs(values).max(axis=0)
    z = (values - mean) / np.where(constant, np.inf, scale)
    skew = np.mean(z**3, axis=0)
    is_normal = skew < 0.05
    shape = 4 / np.where(is_normal, 1.0, skew) ** 2
    tail = gammaincc(shape, np.maximum(shape + z * np.sqrt(shape), 0))
    return np.where(constant, 1.0, np.where(is_normal, ndtr(-z), tail))


def _rarity(values):
    """Minus log probability of each value, of several columns the largest."""
    found = -np.log(np.maximum(_tail(values), 1e-300))
    return found if found.ndim == 1 else found.max(axis=1)


def jointly_tested(banks, contrasts):
    """Test by all statistics together, the first of the contrasts being that given."""
    found = {}
    for part in contrasts:
        for bank in banks:
            # Sparse ones stand on the left.
            differences = (bank.values.T @ part.T).T
            for name, values in bank.statistics(differences).items():
                found.setdefault(name, []).append(values)
    rarity = {name: _rarity(np.concatenate(values)) for name, values in found.items()}
    # The harmonic mean of probabilities: the smallest decides, and others that are
    # nearly as small count.
    tails = np.array([np.maximum(_tail(each), 1e-300) for each in rarity.values()])
    combined = np.log(np.mean(1 / tails, axis=0))
    parts = {
        name: permutation_pvalue(each[0], each[1:]) for name, each in rarity.items()
    }
    pvalue = permutation_pvalue(combined[0], combined[1:])
    return ShiftTest(float(combined[0]), pvalue, combined[1:], parts)
