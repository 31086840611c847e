"""What the drift functions return: tables that print as text and HTML."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

import numpy as np

from skdre._core.types import Floats
from skdre.information._drift_columns import ColumnDrift
from skdre.information._means import Estimate
from skdre.information._permutation import ShiftTest

__all__ = ["DriftHistory", "DriftReport"]


def _text(header, rows):
    """Lines of a table whose columns line up, the first to the left."""
    widths = [max(map(len, each)) for each in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            [cells[0].ljust(widths[0]), cells[1].ljust(widths[1])]
            + [
                each.rjust(width)
                for each, width in zip(cells[2:], widths[2:], strict=True)
            ]
        ).rstrip()
        for cells in (header, *rows)
    ]


def _html(caption, header, rows):
    def line(cells, tag):
        found = "".join(f"<{tag}>{escape(each)}</{tag}>" for each in cells)
        return f"<tr>{found}</tr>"

    words = "<br>".join(escape(each) for each in caption)
    body = "".join(line(each, "td") for each in rows)
    return (
        f"<table><caption>{words}</caption><thead>{line(header, 'th')}</thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _shown(pvalue):
    if np.isnan(pvalue):
        return ""
    return "<0.001" if pvalue < 0.001 else f"{pvalue:.3f}"


@dataclass(frozen=True, eq=False)
class DriftReport:
    """What :func:`drift_report` returns: prints as a table, and as HTML in a notebook.

    Attributes
    ----------
    columns : list of ColumnDrift
        The most important first, with ``name``, ``kind``, ``test``, ``pvalue``,
        ``adjusted_pvalue``, ``importance`` and others; ``report["age"]`` is one.
    test : ShiftTest
        Of all columns together.
    divergence : Estimate
        How far the tables lie apart, with its standard error.
    auc, auc_error : float
        Probability that the ratio puts a current row above a reference row, at rows
        that it was not fitted on, and its standard error; 0.5 without drift.
    log_ratios : ndarray of shape (n_current,)
        Log ratio of current to reference at each current row, held out, in nats.
    reference_log_ratios : ndarray of shape (n_reference,)
        The same at the reference's rows.
    rows : ndarray of int of shape (10,)
        Positions of the current rows that drifted most, of the largest log ratios;
        empty where the ratio is the same at all.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import GaussianRatio, drift_report
    >>> reference, current = np.random.default_rng(0).normal(size=(2, 200, 3))
    >>> current[:, 1] += 1
    >>> report = drift_report(reference, current, GaussianRatio(), random_state=0)
    >>> report.columns[0].name, report["x1"].test
    ('x1', 'Kolmogorov-Smirnov')
    >>> bool(report.test.pvalue < 0.01)
    True
    """

    columns: list[ColumnDrift]
    test: ShiftTest
    divergence: Estimate
    auc: float
    auc_error: float
    log_ratios: Floats = field(repr=False)
    reference_log_ratios: Floats = field(repr=False)
    rows: Any = field(repr=False)

    def __getitem__(self, name: str) -> ColumnDrift:
        for each in self.columns:
            if each.name == name:
                return each
        raise KeyError(name)

    def __iter__(self) -> Iterator[ColumnDrift]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def to_frame(self) -> Any:
        """The columns as a pandas DataFrame.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_features, 10)
            A row for each column of the tables, indexed by name, the most important
            first, with the attributes of :class:`ColumnDrift`.
        """
        import pandas as pd

        return pd.DataFrame([asdict(each) for each in self.columns]).set_index("name")

    def _words(self):
        rows = ", ".join(map(str, self.rows)) or "none, the ratio is constant"
        estimate = self.divergence
        kind = estimate.kind.replace("_", "-")
        value = f"{estimate.value:.3f} ± {estimate.standard_error:.3f} {estimate.unit}"
        return [
            f"Drift from {len(self.reference_log_ratios)} rows of the reference to "
            f"{len(self.log_ratios)} current ones",
            f"All columns: p = {_shown(self.test.pvalue)}; {kind} divergence "
            f"{value.rstrip()}; AUC {self.auc:.3f} ± {self.auc_error:.3f}",
            f"Current rows that drifted most: {rows}",
        ]

    def _table(self):
        header = (
            *("column", "test", "p", "p missing", "adjusted p"),
            *("missing before", "now", "importance", "std"),
        )
        rows = [
            (
                each.name,
                each.test or each.kind,
                _shown(each.pvalue),
                _shown(each.missing_pvalue),
                _shown(each.adjusted_pvalue),
                f"{each.missing_reference:.1%}" if each.missing_reference else "",
                f"{each.missing_current:.1%}" if each.missing_current else "",
                f"{each.importance:.4f}",
                f"{each.importance_std:.4f}",
            )
            for each in self.columns
        ]
        return header, rows

    def __repr__(self):
        return "\n".join([*self._words(), "", *_text(*self._table())])

    def _repr_html_(self):
        return _html(self._words(), *self._table())


@dataclass(frozen=True, eq=False)
class DriftHistory:
    """What :func:`drift_over_time` returns: prints as a table, and as HTML.

    Attributes
    ----------
    periods : list
        In order.
    reports : list of DriftReport
        One for each; ``history["2024-05"]`` is one.
    adjusted_pvalues : ndarray of shape (n_periods,)
        p-values of all columns, adjusted by Holm's method for the number of periods.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import GaussianRatio, drift_over_time
    >>> reference, current = np.random.default_rng(0).normal(size=(2, 200, 2))
    >>> month = np.repeat(["May", "June"], 100)
    >>> current[month == "June"] += 1
    >>> history = drift_over_time(
    ...     reference, current, month, GaussianRatio(), random_state=0
    ... )
    >>> [str(each) for each in history.periods]
    ['May', 'June']
    >>> bool(history.adjusted_pvalues[0] > 0.01 > history.adjusted_pvalues[1])
    True
    """

    periods: list[Any]
    reports: list[DriftReport] = field(repr=False)
    adjusted_pvalues: Floats

    def __getitem__(self, period: Any) -> DriftReport:
        for known, report in zip(self.periods, self.reports, strict=True):
            if known == period:
                return report
        raise KeyError(period)

    def __len__(self) -> int:
        return len(self.periods)

    def to_frame(self) -> Any:
        """The periods as a pandas DataFrame.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_periods, 8)
            Indexed by period, with n_rows, pvalue, adjusted_pvalue, divergence,
            standard_error, auc, auc_error and first_column, the most important one.
        """
        import pandas as pd

        lines = [
            {
                "n_rows": len(each.log_ratios),
                "pvalue": each.test.pvalue,
                "adjusted_pvalue": adjusted,
                "divergence": each.divergence.value,
                "standard_error": each.divergence.standard_error,
                "auc": each.auc,
                "auc_error": each.auc_error,
                "first_column": each.columns[0].name,
            }
            for each, adjusted in zip(self.reports, self.adjusted_pvalues, strict=True)
        ]
        return pd.DataFrame(lines, index=pd.Index(self.periods, name="period"))

    def columns_frame(self, value: str = "importance") -> Any:
        """One value of each column in each period, as a pandas DataFrame.

        Parameters
        ----------
        value : str, default="importance"
            An attribute of :class:`ColumnDrift`, such as "adjusted_pvalue".

        Returns
        -------
        frame : pandas.DataFrame of shape (n_periods, n_features)
            A row for each period and a column for each of the tables' columns.
        """
        import pandas as pd

        lines = [
            {each.name: getattr(each, value) for each in report.columns}
            for report in self.reports
        ]
        # In the order of the largest importance in any period.
        first: dict[str, float] = {}
        for report in self.reports:
            for each in report.columns:
                first[each.name] = max(first.get(each.name, 0.0), each.importance)
        names = sorted(first, key=lambda name: -first[name])
        index = pd.Index(self.periods, name="period")
        return pd.DataFrame(lines, index=index)[names]

    def _table(self):
        header = ("period", "first column", "rows", "p", "adjusted p", "divergence")
        rows = [
            (
                str(period),
                each.columns[0].name,
                str(len(each.log_ratios)),
                _shown(each.test.pvalue),
                _shown(adjusted),
                f"{each.divergence.value:.3f} ± {each.divergence.standard_error:.3f}",
                f"{each.auc:.3f} ± {each.auc_error:.3f}",
            )
            for period, each, adjusted in zip(
                self.periods, self.reports, self.adjusted_pvalues, strict=True
            )
        ]
        return (*header, "AUC"), rows

    def _words(self):
        n = len(self.reports[0].reference_log_ratios)
        return [f"Drift of {len(self)} periods from {n} rows of the reference"]

    def __repr__(self):
        return "\n".join([*self._words(), "", *_text(*self._table())])

    def _repr_html_(self):
        return _html(self._words(), *self._table())
