"""Distinct rows, and what the weight of a row stands for.

A row that holds a continuous value cannot be drawn twice: where it stands twice it was
copied, and the copy informs of nothing. A row made of atoms alone (flags, counts,
categories, rounded numbers) can, and its repeats inform. So the same weight of two is
one observation here and two there. All that is set by a number of rows (folds,
leave-one-out, ridges, shrinkage, steps) follows the *draws* of this module:

* a row with a continuous value is one observation, and the sample has Kish's effective
  number of them, (sum w)^2 / sum w^2, so the unit of the weights is without meaning;
* the weight of a row of atoms counts observations.
"""

import hashlib
import warnings

import numpy as np

__all__ = [
    "are_atoms",
    "as_numbers",
    "count_draws",
    "discrete_columns",
    "merge",
    "observations",
    "repeats_of",
    "row_keys",
]

# A value with more than the first share of the distinct rows of a table, and more than
# two of them, is an atom of its column; so is one with more than the second share of
# the weight and this many times that of the median value, such as the zero of a
# zero-inflated amount.
_ATOM, _HEAVY, _HEAVIER = 0.02, 0.01, 10.0
# Of the distinct rows without an atom, this share of different values in a continuous
# column; rounding of long columns makes a few alike.
_DISTINCT = 0.9
# Fewer values than the first show nothing; up to the second they may be levels of a
# category written as numbers, where their weights differ; the third holds for tables
# with another continuous column.
_FEW, _LEVELS, _LEVELS_BESIDE = 3, 50, 5
# Numbers on a grid are rounded, or counts, unless the grid has so many points for each
# value that two draws would hardly ever meet; or there are this many of equal weight,
# as in a column that numbers the rows.
_POINTS_PER_VALUE, _NUMBERED = 10, 20
# Weights of atoms that sum to less or more than this share of the rows get a warning.
_ODD_SCALE = 0.1, 10.0
# Draws beyond which a sample is not larger in any respect.
_MOST_DRAWS = 1e15
# A weight below this share of the largest is taken as this: it hardly counts, and its
# inverse stays finite.
_LEAST_WEIGHT = 1e-30
# A column of no more values than this, each at this many rows in the mean, is discrete.
_MOST_VALUES = 20
_ROWS_PER_VALUE = 5


def row_keys(X):
    """A 64-bit hash of each row of numbers, which depends on nothing but its values."""
    keys = np.zeros(len(X), dtype=np.uint64)
    for column in X.T:
        # Adding 0 turns -0 into 0, and makes all missing values one.
        values = column.astype(np.float64) + 0.0
        values[np.isnan(values)] = np.nan
        # The finalizer of splitmix64, once a column.
        keys = keys + values.view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys = keys ^ (keys >> np.uint64(31))
    return keys


def as_numbers(X):
    """Columns of any kind as floats, equal where the values are, and which are numbers.

    What is no number or date becomes a hash of what it prints.
    """
    if X.dtype.kind in "biuf":
        return X, np.ones(X.shape[1], bool)
    numbers = np.empty(X.shape)
    is_numeric = np.ones(X.shape[1], bool)
    for j, column in enumerate(X.T):
        try:
            if any(isinstance(value, str) for value in column[:1000]):
                raise ValueError
            numbers[:, j] = column.astype(np.float64)
        except (TypeError, ValueError):
            if hasattr(column[0], "timestamp"):
                # Of dates, which a step of a pipeline may make numbers of.
                numbers[:, j] = [_timestamp(value) for value in column]
                continue
            is_numeric[j] = False
            codes = {value: _code(value) for value in set(map(str, column))}
            numbers[:, j] = [codes[str(value)] for value in column]
    return numbers, is_numeric


def _timestamp(value):
    """Seconds of a date; NaN for a missing one."""
    return value.timestamp() if value == value and value is not None else np.nan


def _code(word):
    """A number for a word, the same in every process."""
    digest = hashlib.blake2b(word.encode(errors="replace"), digest_size=6).digest()
    return float(int.from_bytes(digest, "little"))


def _shuffled_order(X):
    """A fixed order of distinct rows that is uninformative about them.

    Rows are sorted, and then shuffled in a way that depends on their number alone: so
    neither the order in which they came nor the origin and the unit of a column matter.
    """
    order = np.argsort(X[:, 0], kind="stable")
    first = X[order, 0]
    if X.shape[1] > 1 and (first[1:] == first[:-1]).any():
        order = np.lexsort(X.T[::-1])
    return order[np.random.RandomState(0).permutation(len(X))]


def merge(keys, weight=None, X=None):
    """Positions of distinct rows, and their total weights.

    Parameters
    ----------
    keys : ndarray of uint64 of shape (n_samples,)
        Of :func:`row_keys`.
    weight : ndarray of shape (n_samples,), default=None
        Weights of the rows; None counts each once.
    X : ndarray of shape (n_samples, n_features), default=None
        The rows, to put the distinct ones in an order that does not depend on the
        origin and the unit of a column; that of the keys without them.

    Returns
    -------
    index : ndarray of int of shape (n_distinct,)
        Of one row of each kind.
    row : ndarray of int of shape (n_samples,)
        Which of them each row is.
    weight : ndarray of shape (n_distinct,)
        The sums.
    """
    if weight is None:
        order = np.argsort(keys, kind="stable")
    else:
        # So that sums of weights do not depend on the order of the rows, to the bit.
        order = np.lexsort((weight, keys))
    ordered = keys[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])
    start = np.flatnonzero(is_first)
    row = np.empty(len(keys), int)
    row[order] = np.cumsum(is_first) - 1
    weight = np.ones(len(keys)) if weight is None else weight
    index, total = order[start], np.add.reduceat(weight[order], start)
    if X is None:
        return index, row, total
    shuffled = _shuffled_order(X[index])
    place = np.empty(len(index), int)
    place[shuffled] = np.arange(len(index))
    return index[shuffled], place[row], total[shuffled]


def repeats_of(weight, is_atom):
    """Observations that each row stands for: 1, or the weight of a row of atoms."""
    return np.where(is_atom, np.maximum(np.rint(weight), 1.0), 1.0)


def _is_grid(values):
    """Whether sorted numbers lie on a grid where two draws would often meet."""
    extent = values[-1] - values[0]
    most = _POINTS_PER_VALUE * len(values) + _POINTS_PER_VALUE
    size = max(abs(values[0]), abs(values[-1]))
    least = np.diff(values).min()
    with np.errstate(over="ignore"):
        decimals = 10.0 ** np.arange(6.0, -9.0, -1.0)
        # Multiples of the least gap count from the first value, decimals from zero.
        origins = [(least, values[0]), *((unit, 0.0) for unit in decimals)]
        for unit, origin in origins:
            if not (unit <= least * (1 + 1e-9) and extent < most * unit < np.inf):
                continue
            x = (values - origin) / unit
            tol = 1e-6 + 4 * np.finfo(np.float64).eps * size / unit
            if tol < 0.1 and np.abs(x - np.rint(x)).max() < tol:
                return True
    return False


def _candidate(column, mass):
    """Values of a column that are no atoms, and where; None if they repeat."""
    values, inverse, count = np.unique(column, return_inverse=True, return_counts=True)
    is_atom = count > max(2, _ATOM * len(column))
    total = np.bincount(inverse.ravel(), mass)
    is_atom |= total > max(_HEAVIER * np.median(total), _HEAVY * total.sum())
    # Missing values and infinities are no draws of a continuous variable.
    is_atom |= ~np.isfinite(values)
    n_values = len(values) - is_atom.sum()
    if n_values < _FEW or n_values < _DISTINCT * count[~is_atom].sum():
        return None
    return values[~is_atom], ~is_atom[inverse.ravel()]


def _hold_continuous_value(X, masses, is_numeric):
    """Which of the distinct rows of a table hold a value of a continuous variable.

    A column is continuous where its values, atoms set aside, are essentially all
    distinct among the distinct rows, and neither levels nor points of a grid. `X` holds
    the rows of both samples, `masses` their shares of each.
    """
    holds = np.zeros(len(X), bool)
    doubtful = []
    for column in X[:, is_numeric].T:
        found = _candidate(column, np.sum(masses, axis=0))
        if found is None:
            continue
        values, where = found
        is_constant = all(_is_constant(mass[where]) for mass in masses)
        if _is_grid(values):
            is_continuous = is_constant and len(values) >= _NUMBERED
        else:
            is_continuous = is_constant or len(values) >= _LEVELS
            if not is_continuous and len(values) >= _LEVELS_BESIDE:
                doubtful.append(where)
        if is_continuous:
            holds |= where
            if holds.all():
                return holds
    if len(doubtful) > 1 or (doubtful and holds.any()):
        holds |= np.any(doubtful, axis=0)
    return holds


def _is_constant(mass):
    """Whether the rows of a sample have one weight; 0 is for rows of the other."""
    mass = mass[mass > 0]
    return mass.size == 0 or bool(np.ptp(mass) <= 1e-9 * mass.max())


def are_atoms(X, keys, weights, is_numeric=None):
    """Which distinct rows of each sample are made of atoms alone.

    `X`, `keys` and `weights` have an entry for each sample: its distinct rows, their
    keys and their positive total weights. Columns outside `is_numeric` hold codes.
    """
    if is_numeric is None:
        is_numeric = np.ones(X[0].shape[1], bool)
    ends = np.cumsum([len(each) for each in X])[:-1]
    # A row that stands in two samples is one row of the table.
    index, row, _ = merge(np.concatenate(keys))
    masses = []
    for rows, weight in zip(np.split(row, ends), weights, strict=True):
        share = weight / weight.max()
        masses.append(np.bincount(rows, share / share.sum(), len(index)))
    holds = _hold_continuous_value(np.concatenate(X)[index], masses, is_numeric)
    return np.split(~holds[row], ends)


def observations(X, domain=None):
    """Number of the observation that each row belongs to: that of its first copy.

    Copies of a row with a continuous value are one observation; repeats of a row of
    atoms are observations of their own, and so are rows of different domains.
    """
    X, is_numeric = as_numbers(X)
    keys = row_keys(X)
    domain = np.zeros(len(X), int) if domain is None else domain
    parts = [np.flatnonzero(domain == each) for each in np.unique(domain)]
    merged = [merge(keys[part]) for part in parts]
    firsts = [part[first] for part, (first, _, _) in zip(parts, merged, strict=True)]
    found = np.arange(len(X))
    if sum(map(len, firsts)) == len(X):
        return found
    weights = [weight for _, _, weight in merged]
    is_atom = are_atoms(
        [X[each] for each in firsts],
        [keys[each] for each in firsts],
        weights,
        is_numeric,
    )
    for part, first, (_, row, _), atom in zip(
        parts, firsts, merged, is_atom, strict=True
    ):
        found[part] = np.where(atom[row], part, first[row])
    return found


def count_draws(X, keys, weights, n_given, is_numeric=None):
    """Weights of distinct rows in draws, and which rows are made of atoms alone.

    Of rows with a continuous value the mean draw, weighted by itself, is 1. Weights of
    atoms alone that sum to a number far from `n_given`, that of the rows before equal
    ones were merged, get a warning. Arguments are as in :func:`are_atoms`.
    """
    is_atom = are_atoms(X, keys, weights, is_numeric)
    scaled, units = [], []
    for weight, atom in zip(weights, is_atom, strict=True):
        largest = weight.max()
        share = np.maximum(weight / largest, _LEAST_WEIGHT)
        scaled.append((share, largest))
        one = share[~atom]
        units.append(np.inf if atom.all() else (one @ one) / one.sum() * largest)
    if np.isinf(units).all():
        return tuple(
            _counts(weight, n) for weight, n in zip(weights, n_given, strict=True)
        ), tuple(is_atom)
    # Without a continuous row of its own a sample has the unit of the other one.
    units = [unit if np.isfinite(unit) else min(units) for unit in units]
    return tuple(
        share * (largest / unit)
        for (share, largest), unit in zip(scaled, units, strict=True)
    ), tuple(is_atom)


def _counts(weight, n_given):
    """Weights of atoms, which count rows; a warning where they cannot be counts."""
    total = weight.sum()
    low, high = (factor * n_given for factor in _ODD_SCALE)
    is_table_of_counts = len(weight) == n_given and (
        total >= low and np.array_equal(weight, np.rint(weight))
    )
    if not (low <= total <= high or is_table_of_counts):
        warnings.warn(
            f"sample_weight sums to {total:.3g} over the {n_given} rows of one sample. "
            "Its columns hold repeated values only (flags, counts, categories or "
            "rounded numbers), where a weight counts rows, so the sample is taken for "
            "one of that size. Multiply the weights so that they sum to the number "
            "of rows that were observed.",
            UserWarning,
            stacklevel=2,
        )
    factor = min(max(total, 1.0), _MOST_DRAWS) / total
    return weight if factor == 1 else weight * factor


def discrete_columns(X, weight):
    """Which columns have a few values each, with many rows at each.

    Between two such values there are no rows, so those of an interpolation would be
    told from the samples without error; a path has to mix such columns instead.
    """
    most = min(_MOST_VALUES, weight.sum() / _ROWS_PER_VALUE)
    # A column that has too many values among its first rows need not be sorted.
    few = [len(np.unique(column[: 4 * _MOST_VALUES])) <= most for column in X.T]
    for j in np.flatnonzero(few):
        few[j] = 1 < len(np.unique(X[:, j])) <= most
    return np.array(few, bool)
