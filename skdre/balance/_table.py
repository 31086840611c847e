"""How far two samples lie apart, column by column, before and after weighting."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import numpy as np

from skdre._compat import StrOptions, check_sample_weight, validate_params
from skdre._core.types import Rows, Values
from skdre.balance._columns import paired_columns
from skdre.weighting import effective_sample_size

__all__ = ["BalanceRow", "BalanceTable", "balance_table", "table_of", "weight_of"]

_HEADER = (
    ("", "mean or share", "", "", "difference / SD", "", "variance ratio", ""),
    ("", "target", "before", "after", "before", "after", "before", "after"),
)


@dataclass(frozen=True)
class BalanceRow:
    """One line of a balance table: a column of numbers, a level, or missing values.

    Attributes
    ----------
    name : str
        That of the column; ``"sex = F"`` for a level, ``"age is missing"``.
    column : str
    kind : {"number", "level", "missing"}
    target, before, after : float
        Mean of the observed numbers, or share of the rows, in the target, in the
        source as it came and in the weighted source.
    difference_before, difference_after : float
        Standardised mean differences: source minus target, in standard deviations.
    variance_ratio_before, variance_ratio_after : float
        Variance of the source divided by that of the target; NaN for shares.
    ks_before, ks_after : float
        Largest difference of the two distribution functions (Kolmogorov-Smirnov); for
        shares their absolute difference.

    Examples
    --------
    >>> from skdre import balance_table
    >>> table = balance_table([[0.0], [2.0]], [[1.0], [3.0]])
    >>> row = table["x0"]
    >>> row.before, row.target, round(row.difference_before, 3)
    (1.0, 2.0, -0.707)
    """

    name: str
    column: str
    kind: str
    target: float
    before: float
    after: float
    difference_before: float
    difference_after: float
    variance_ratio_before: float = np.nan
    variance_ratio_after: float = np.nan
    ks_before: float = np.nan
    ks_after: float = np.nan

    @property
    def _shown(self):
        means = (f"{each:.4g}" for each in (self.target, self.before, self.after))
        differences = (
            f"{round(each, 3) + 0.0:.3f}"
            for each in (self.difference_before, self.difference_after)
        )
        ratios = (
            "" if np.isnan(each) else f"{each:.2f}"
            for each in (self.variance_ratio_before, self.variance_ratio_after)
        )
        return self.name, *means, *differences, *ratios


@dataclass(frozen=True)
class BalanceTable:
    """A balance table: prints as text, and as HTML in a notebook.

    ``table["age"]`` is one line, iteration goes over all.

    Attributes
    ----------
    rows : list of BalanceRow
        In the order of the columns.
    n_source, n_target : int
        Rows of the two samples.
    effective_sample_size : float
        Kish's effective sample size of the weighted source.

    Examples
    --------
    >>> from skdre import balance_table
    >>> table = balance_table([[0.0], [2.0]], [[1.0], [3.0]], weights=[1.0, 3.0])
    >>> print(str(table).splitlines()[0])
    2 source rows, 1.6 in effect, and 2 target rows
    >>> list(table.to_frame().index)
    ['x0']
    """

    rows: list[BalanceRow]
    n_source: int
    n_target: int
    effective_sample_size: float

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[BalanceRow]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> BalanceRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    @property
    def largest_difference(self) -> float:
        """Largest absolute standardised mean difference after weighting."""
        return max(abs(row.difference_after) for row in self.rows)

    def to_frame(self) -> Any:
        """The table as a pandas DataFrame, indexed by the names of the lines.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_lines, 11)
            With the attributes of :class:`BalanceRow` as columns.
        """
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows]).set_index("name")

    def _title(self):
        return (
            f"{self.n_source} source rows, {self.effective_sample_size:.1f} in effect, "
            f"and {self.n_target} target rows"
        )

    def __str__(self) -> str:
        lines = [_HEADER[1], *(row._shown for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        # A heading over several columns is as wide as they are together.
        groups = ((0, 1), (1, 4), (4, 6), (6, 8))
        for first, last in groups[1:]:
            need = len(_HEADER[0][first])
            have = sum(widths[first:last]) + 2 * (last - first - 1)
            widths[first] += max(need - have, 0)
        heading = "  ".join(
            _HEADER[0][first].rjust(sum(widths[first:last]) + 2 * (last - first - 1))
            for first, last in groups
        )
        body = (
            "  ".join(
                [line[0].ljust(widths[0])]
                + [
                    each.rjust(width)
                    for each, width in zip(line[1:], widths[1:], strict=True)
                ]
            ).rstrip()
            for line in lines
        )
        return "\n".join([self._title(), "", heading, *body])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def cells(line, tag):
            first, *rest = (f"<{tag}>{escape(each)}</{tag}>" for each in line)
            return f"<tr>{first}{''.join(rest)}</tr>"

        spans = "".join(
            f'<th colspan="{n}">{text}</th>'
            for n, text in zip(
                (1, 3, 2, 2), ("", *filter(None, _HEADER[0])), strict=True
            )
        )
        body = "".join(cells(row._shown, "td") for row in self.rows)
        return (
            f"<table><caption>{escape(self._title())}</caption>"
            f"<thead><tr>{spans}</tr>{cells(_HEADER[1], 'th')}</thead>"
            f"<tbody>{body}</tbody></table>"
        )


def weight_of(weights, n_rows, name):
    """Weights of the rows, not negative and not all zero; ones for None."""
    if weights is None:
        return np.ones(n_rows)
    weights = np.asarray(weights)
    if weights.shape != (n_rows,):
        raise ValueError(
            f"{name} must hold one weight for each of the {n_rows} rows, got shape "
            f"{weights.shape}."
        )
    try:
        weights = check_sample_weight(
            weights, np.zeros(n_rows), dtype=np.float64, ensure_non_negative=True
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    # Scaled by the largest, so that the sum of huge weights does not overflow.
    return weights / weights.max()


def _mean_and_variance(values, weight):
    """Weighted mean, and variance without bias; NaN without a row of weight."""
    total = weight.sum()
    if total == 0:
        return np.nan, np.nan
    mean = weight @ values / total
    degrees = total - weight @ weight / total
    if degrees <= 1e-12 * total:
        return mean, 0.0
    return mean, weight @ (values - mean) ** 2 / degrees


def _largest_gap(source, weight, target, target_weight):
    """Largest difference of two weighted distribution functions."""
    if not (weight.any() and target_weight.any()):
        return np.nan
    values = np.concatenate([source, target])
    jumps = np.concatenate(
        [weight / weight.sum(), -target_weight / target_weight.sum()]
    )
    order = np.argsort(values, kind="stable")
    gap = np.abs(np.cumsum(jumps[order]))
    # Between two equal values there is no place to look.
    last = np.append(values[order][1:] != values[order][:-1], True)
    return float(gap[last].max())


def _quotient(difference, scale):
    """A difference in standard deviations; of constants 0 or infinite."""
    if scale > 0:
        return difference / scale
    return 0.0 if difference == 0 else np.sign(difference) * np.inf


def _line(name, column, kind, source, target, weights, scale_by):
    """A line of the table; `weights` are before and after, source's and target's."""
    (q0, p0), (q1, p1) = weights
    found = [
        (*_mean_and_variance(source, q), *_mean_and_variance(target, p))
        for q, p in ((q0, p0), (q1, p1))
    ]
    # The unit is that before weighting, so that before and after can be compared.
    _, source_variance, _, target_variance = found[0]
    variance = target_variance
    if scale_by == "pooled":
        variance = (source_variance + target_variance) / 2
    if not variance > 0:
        variance = source_variance
    scale = np.sqrt(variance)
    (before, _, reference, _), (after, _, target_mean, _) = found
    ratios = [q / p if kind == "number" and p > 0 else np.nan for _, q, _, p in found]
    gaps = [_largest_gap(source, q, target, p) for q, p in ((q0, p0), (q1, p1))]
    return BalanceRow(
        name,
        column,
        kind,
        float(target_mean),
        float(before),
        float(after),
        float(_quotient(before - reference, scale)),
        float(_quotient(after - target_mean, scale)),
        *map(float, ratios),
        *map(float, gaps),
    )


def table_of(columns, before, after, scale_by="target"):
    """The balance table of paired columns.

    Parameters
    ----------
    columns : list of ColumnPair
    before, after : pair of ndarray
        Weights of the source's and of the target's rows.
    scale_by : {"target", "pooled"}
        Whose standard deviation is the unit of the differences.

    Returns
    -------
    table : BalanceTable
    """
    weights = before, after
    rows = []
    for each in columns:
        missing_source, missing_target = each.missing
        if each.is_category:
            for code, level in enumerate(each.levels):
                parts = (each.source == code) * 1.0, (each.target == code) * 1.0
                name = f"{each.name} = {level}"
                rows.append(_line(name, each.name, "level", *parts, weights, scale_by))
        elif not (missing_source.all() or missing_target.all()):
            seen = [
                (q[~missing_source], p[~missing_target]) for q, p in (before, after)
            ]
            parts = each.source[~missing_source], each.target[~missing_target]
            rows.append(_line(each.name, each.name, "number", *parts, seen, scale_by))
        if missing_source.any() or missing_target.any():
            parts = missing_source * 1.0, missing_target * 1.0
            name = f"{each.name} is missing"
            rows.append(_line(name, each.name, "missing", *parts, weights, scale_by))
    return BalanceTable(
        rows, len(after[0]), len(after[1]), effective_sample_size(after[0])
    )


@validate_params(
    {
        "weights": ["array-like", None],
        "target_weight": ["array-like", None],
        "scale_by": [StrOptions({"target", "pooled"})],
    },
    prefer_skip_nested_validation=True,
)
def balance_table(
    X_source: Rows,
    X_target: Rows,
    weights: Values | None = None,
    *,
    target_weight: Values | None = None,
    scale_by: str = "target",
) -> BalanceTable:
    r"""Compare two samples column by column, before and after weighting.

    Parameters
    ----------
    X_source : array-like or DataFrame of shape (n_source, n_features)
        The rows that are weighted. Columns of numbers, truth values, categories and
        words; missing values are a line of their own.
    X_target : array-like or DataFrame of shape (n_target, n_features)
        The rows that they are compared with.
    weights : array-like of shape (n_source,), default=None
        Weights of the source's rows, from wherever they come; on any scale.
    target_weight : array-like of shape (n_target,), default=None
        Weights of the target's rows, where these are weighted too, as both groups are
        for an average treatment effect.
    scale_by : {"target", "pooled"}, default="target"
        Whose standard deviation is the unit of the differences: that of the target, or
        the root of the mean of the two variances, which is usual for an average
        treatment effect. It is that before weighting.

    Returns
    -------
    table : BalanceTable

    Raises
    ------
    ValueError
        If the tables have different columns, hold infinite values, or weights are
        negative, not finite or all zero.
    TypeError
        If only one of the two is a DataFrame, or one is sparse.

    See Also
    --------
    balance_weights : Weights after which the differences are 0.
    skdre.inspection.LovePlotDisplay : The differences as a picture.

    Notes
    -----
    The standardised mean difference is the mean of the source minus that of the target
    in standard deviations of the target; an absolute value below 0.1 is often called
    balanced. Weighted variances are unbiased under weights that do not depend on the
    values: :math:`\sum w (x - \bar x)^2 / (\sum w - \sum w^2 / \sum w)`. Numbers are
    compared where they are observed; how many are missing is another line.

    References
    ----------
    P. C. Austin, "Balance diagnostics for comparing the distribution of baseline
    covariates between treatment groups in propensity-score matched samples", Statistics
    in Medicine 28, 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import balance_table
    >>> rng = np.random.default_rng(0)
    >>> source, target = rng.normal(0, 1, (500, 1)), rng.normal(0.5, 1, (500, 1))
    >>> weights = np.exp(0.5 * source.ravel())
    >>> row = balance_table(source, target, weights)["x0"]
    >>> bool(abs(row.difference_before) > 0.4), bool(abs(row.difference_after) < 0.1)
    (True, True)
    """
    columns = paired_columns(X_source, X_target)
    sizes = len(columns[0].source), len(columns[0].target)
    before = np.ones(sizes[0]), np.ones(sizes[1])
    after = (
        weight_of(weights, sizes[0], "weights"),
        weight_of(target_weight, sizes[1], "target_weight"),
    )
    return table_of(columns, before, after, scale_by)
