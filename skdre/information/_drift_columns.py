"""The column by column part of a drift report: which test fits, and what it says."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency, ks_2samp, mannwhitneyu, rankdata

from skdre._core.frames import as_objects, missing_mask, named_values
from skdre.information._shift_importance import names_of_columns

__all__ = ["ColumnDrift", "column_values", "drift_of_column", "holm"]

# A column of no more values than this, each at this many rows in the mean, is discrete.
_MOST_VALUES, _ROWS_PER_VALUE = 20, 5

# Levels of a category that are counted; the rarer ones are one level together.
_MOST_LEVELS = 50

# Places at which distribution functions are compared where groups are permuted.
_CUTS = 100


@dataclass(frozen=True)
class ColumnDrift:
    """How one column drifted.

    Attributes
    ----------
    name : str
    kind : {"continuous", "discrete", "category", "constant"}
    test : str
        What its values were tested by.
    statistic : float
        Of that test; NaN for a constant column.
    pvalue : float
        Of that test, not adjusted.
    missing_reference, missing_current : float
        Shares of rows without a value.
    missing_pvalue : float
        Of the difference of these shares; NaN where no value is missing.
    adjusted_pvalue : float
        The smaller of both, adjusted by Holm's method for all tests of all columns.
    importance : float
        What the ratio loses, in nats, when the column is shuffled.
    importance_std : float
        Its standard deviation over folds and repeats.

    Examples
    --------
    >>> from skdre import GaussianRatio, drift_report
    >>> reference, current = [[0.0], [1.0], [2.0]], [[1.0], [2.0], [3.0]]
    >>> report = drift_report(reference, current, GaussianRatio(), random_state=0)
    >>> report["x0"].kind, report["x0"].test
    ('continuous', 'Kolmogorov-Smirnov')
    """

    name: str
    kind: str
    test: str
    statistic: float
    pvalue: float
    missing_reference: float
    missing_current: float
    missing_pvalue: float
    adjusted_pvalue: float = np.nan
    importance: float = np.nan
    importance_std: float = np.nan


def column_values(X):
    """Yield (name, values) of each column of a table, as numpy arrays."""
    for name, (_, values) in zip(names_of_columns(X), named_values(X), strict=True):
        missing = missing_mask(values)
        is_category = str(getattr(values, "dtype", "")).startswith(
            ("category", "Categorical", "Enum")
        )
        column = as_objects(list(values))
        try:
            if is_category:
                raise ValueError
            numbers = np.full(len(column), np.nan)
            numbers[~missing] = column[~missing].astype(np.float64)
            yield str(name), numbers, missing
        except (TypeError, ValueError):
            column[missing] = None
            yield str(name), column, missing


def _codes(values):
    """Codes of words, the rarest beyond a number of them together."""
    found, codes, counts = np.unique(
        values.astype(str), return_inverse=True, return_counts=True
    )
    if len(found) > _MOST_LEVELS:
        rank = rankdata(-counts, method="ordinal")
        codes = np.minimum(rank - 1, _MOST_LEVELS - 1)[codes.ravel()].astype(int)
    return codes.ravel()


def _kind(values):
    if values.dtype.kind == "O":
        return "category"
    n_values = len(np.unique(values))
    if n_values == 2:
        return "category"
    few = n_values <= min(_MOST_VALUES, len(values) / _ROWS_PER_VALUE)
    return "discrete" if few else "continuous"


def _table(codes, in_current):
    return np.array(
        [
            np.bincount(codes[side], minlength=codes.max() + 1)
            for side in (~in_current, in_current)
        ]
    )


def _tested(kind, values, in_current):
    """Name of the test, its statistic and its p-value, of independent rows."""
    current, reference = values[in_current], values[~in_current]
    if kind == "continuous":
        found = ks_2samp(current, reference)
        return "Kolmogorov-Smirnov", found.statistic, found.pvalue
    if kind == "discrete":
        found = mannwhitneyu(current, reference)
        effect = found.statistic / (len(current) * len(reference))
        return "Mann-Whitney", effect, found.pvalue
    counts = _table(values, in_current)
    found = chi2_contingency(counts, correction=False)
    return "chi-squared", found.statistic, found.pvalue


def _functions(kind, values):
    """Functions of the values whose means the test of a kind compares."""
    if kind == "continuous":
        cuts = np.unique(np.quantile(values, np.linspace(0, 1, _CUTS + 1)[1:-1]))
        return (values[:, None] <= cuts).astype(np.float64)
    if kind == "discrete":
        return rankdata(values)[:, None] / len(values)
    indicators = values[:, None] == np.arange(values.max() + 1)
    return indicators / np.sqrt(indicators.mean(axis=0))


def _permuted(kind, values, contrasts):
    """The p-value of the same test where labels of whole groups are permuted."""
    functions = _functions(kind, values)
    difference = np.abs(contrasts @ functions)
    total = np.sum(difference**2, axis=1)
    found = total if kind == "category" else difference.max(axis=1)
    tie = 1e-9 * found.max()
    return float(np.mean(found >= found[0] - tie))


def drift_of_column(name, values, missing, in_current, contrasts):
    """Test one column; its importance and its adjusted p-value are still unknown.

    `contrasts` are coefficients of the difference of means over all rows, the first as
    the samples are and others with permuted labels of groups; None where rows are
    """
    shares = [float(missing[side].mean()) for side in (~in_current, in_current)]
    missing_pvalue = np.nan
    if missing.any():
        codes = missing.astype(int)
        missing_pvalue = 1.0
        if not missing.all():
            missing_pvalue = _tested("category", codes, in_current)[2]
            if contrasts is not None:
                missing_pvalue = _permuted("category", codes, contrasts)
    missing_pvalue = float(missing_pvalue)
    seen, side = values[~missing], in_current[~missing]
    if not side.any() or side.all() or (seen == seen[0]).all():
        return ColumnDrift(name, "constant", "", np.nan, 1.0, *shares, missing_pvalue)
    kind = _kind(seen)
    if kind == "category":
        seen = _codes(seen)
    test, statistic, pvalue = _tested(kind, seen, side)
    if contrasts is not None:
        part = np.where(contrasts[:, ~missing] > 0, contrasts[:, ~missing], 0)
        rest = contrasts[:, ~missing] - part
        # Means over the rows that have a value, where both samples have some.
        sums = part.sum(axis=1), -rest.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            part = part / sums[0][:, None] + rest / sums[1][:, None]
        pvalue = _permuted(kind, seen, np.nan_to_num(part))
    return ColumnDrift(
        name, kind, test, float(statistic), float(pvalue), *shares, missing_pvalue
    )


def holm(pvalues):
    """p-values adjusted by Holm's method; NaN stays, and does not count."""
    pvalues = np.asarray(pvalues, dtype=np.float64)
    adjusted = np.full(pvalues.shape, np.nan)
    known = np.flatnonzero(~np.isnan(pvalues))
    order = known[np.argsort(pvalues[known], kind="stable")]
    steps = pvalues[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
