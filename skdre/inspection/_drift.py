"""Pictures of a drift report, and of the drift of many periods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from skdre.inspection._drawing import Display, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skdre._core.types import Floats

__all__ = ["DriftDisplay", "DriftHistoryDisplay"]


class DriftDisplay(Display):
    """Importance of each column in a drift report, and what its test says.

    A bar for each column with its standard deviation, the most important at the top;
    filled where the adjusted p-value is at most `level`, with the p-value beside it.

    It is recommended to use :meth:`from_report`. All parameters are stored as
    attributes.

    Parameters
    ----------
    names : list of str
        Of the columns, the most important first.
    importance, std : ndarray of shape (n_columns,)
        In nats.
    adjusted_pvalue : ndarray of shape (n_columns,)
        Of each column.
    title : str, default=""
        Of the axes.

    Attributes
    ----------
    bars_ : matplotlib.container.BarContainer
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    skdre.drift_report : What is drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import GaussianRatio, drift_report
    >>> from skdre.inspection import DriftDisplay
    >>> reference, current = np.random.default_rng(0).normal(size=(2, 100, 2))
    >>> report = drift_report(reference, current + [0, 1], GaussianRatio())
    >>> DriftDisplay.from_report(report).names
    ['x1', 'x0']
    """

    def __init__(
        self,
        names: list[str],
        importance: Floats,
        std: Floats,
        adjusted_pvalue: Floats,
        title: str = "",
    ) -> None:
        self.names = names
        self.importance = importance
        self.std = std
        self.adjusted_pvalue = adjusted_pvalue
        self.title = title

    def plot(
        self,
        *,
        ax: Axes | None = None,
        level: float = 0.05,
        max_columns: int = 20,
        **kwargs: Any,
    ) -> Self:
        """Draw the bars.

        Parameters
        ----------
        %(ax)
        level : float, default=0.05
            Columns with an adjusted p-value up to this are filled.
        max_columns : int, default=20
            So many of the most important columns are shown at most.
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.barh`.

        Returns
        -------
        display : DriftDisplay
        """
        self._set_axes(ax)
        from matplotlib.patches import Patch

        importance, std, pvalue = (
            np.asarray(each)[:max_columns]
            for each in (self.importance, self.std, self.adjusted_pvalue)
        )
        place = np.arange(len(importance))
        defaults = {"edgecolor": "C0", "color": "C0", "capsize": 3}
        self.bars_ = self.ax_.barh(
            place, importance, xerr=std, **styled(defaults, kwargs, Patch)
        )
        for bar, each in zip(self.bars_, pvalue, strict=True):
            bar.set_fill(bool(each <= level))
        end = np.maximum(importance + std, 0)
        for y, x, each in zip(place, end, pvalue, strict=True):
            text = "p < 0.001" if each < 0.001 else f"p = {each:.3f}"
            self.ax_.annotate(
                text,
                (x, y),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
            )
        self.ax_.set_yticks(place, self.names[:max_columns])
        self.ax_.invert_yaxis()
        self.ax_.margins(x=0.25)
        self.ax_.set_xlim(left=1.05 * min(np.min(importance - std), 0.0))
        self.ax_.set(xlabel="importance (nats), and adjusted p", title=self.title)
        return self

    @classmethod
    def from_report(
        cls,
        report: Any,
        *,
        ax: Axes | None = None,
        level: float = 0.05,
        max_columns: int = 20,
        **kwargs: Any,
    ) -> Self:
        """Draw a report.

        Parameters
        ----------
        report : skdre.information.DriftReport
            Of :func:`skdre.drift_report`.
        %(ax)
        level : float, default=0.05
            Columns with an adjusted p-value up to this are filled.
        max_columns : int, default=20
            So many of the most important columns are shown at most.
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.barh`.

        Returns
        -------
        display : DriftDisplay
        """
        columns = list(report.columns)
        importance, std, pvalue = (
            np.array([getattr(each, name) for each in columns])
            for name in ("importance", "importance_std", "adjusted_pvalue")
        )
        display = cls(
            [each.name for each in columns],
            importance,
            std,
            pvalue,
            title=f"AUC {report.auc:.2f}, p = {report.test.pvalue:.3g}",
        )
        return display.plot(ax=ax, level=level, max_columns=max_columns, **kwargs)


class DriftHistoryDisplay(Display):
    """Divergence of each period from the reference, or importance of its columns.

    It is recommended to use :meth:`from_history`. All parameters are stored as
    attributes.

    Parameters
    ----------
    periods : list
        In order.
    divergence, error : ndarray of shape (n_periods,)
        With its standard error, in `unit`.
    adjusted_pvalue : ndarray of shape (n_periods,)
        Of all columns together.
    columns : list of str
        Names of the tables' columns.
    importance : ndarray of shape (n_periods, n_columns)
        In nats.
    unit : str, default="nats"
        Of the divergence.

    Attributes
    ----------
    errorbar_ : matplotlib.container.ErrorbarContainer or None
        The divergences.
    points_ : matplotlib.collections.PathCollection or None
        The periods whose p-value is at most the level.
    image_ : matplotlib.image.AxesImage or None
        The importances.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    skdre.drift_over_time : What is drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import GaussianRatio, drift_over_time
    >>> from skdre.inspection import DriftHistoryDisplay
    >>> reference, current = np.random.default_rng(0).normal(size=(2, 100, 2))
    >>> month = np.repeat(["May", "June"], 50)
    >>> history = drift_over_time(reference, current, month, GaussianRatio())
    >>> DriftHistoryDisplay.from_history(history).importance.shape
    (2, 2)
    """

    def __init__(
        self,
        periods: list[Any],
        divergence: Floats,
        error: Floats,
        adjusted_pvalue: Floats,
        columns: list[str],
        importance: Floats,
        unit: str = "nats",
    ) -> None:
        self.periods = periods
        self.divergence = divergence
        self.error = error
        self.adjusted_pvalue = adjusted_pvalue
        self.columns = columns
        self.importance = importance
        self.unit = unit

    def plot(
        self,
        *,
        ax: Axes | None = None,
        what: str = "divergence",
        level: float = 0.05,
        **kwargs: Any,
    ) -> Self:
        """Draw the periods.

        Parameters
        ----------
        %(ax)
        what : {"divergence", "columns"}, default="divergence"
            A line of divergences with bars of two standard errors, filled where the
            adjusted p-value is at most `level`; or the importances as an image.
        level : float, default=0.05
            Largest p-value of a filled point.
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.errorbar`, or
            :meth:`matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : DriftHistoryDisplay

        Raises
        ------
        ValueError
            If `what` is neither.
        """
        if what not in ("divergence", "columns"):
            raise ValueError(f"what must be 'divergence' or 'columns', got {what!r}.")
        self._set_axes(ax)
        self.errorbar_ = self.points_ = self.image_ = None
        place = np.arange(len(self.periods))
        if what == "columns":
            from matplotlib.image import AxesImage

            defaults = {"aspect": "auto", "cmap": "Blues", "vmin": 0.0}
            self.image_ = self.ax_.imshow(
                np.asarray(self.importance).T, **styled(defaults, kwargs, AxesImage)
            )
            self.ax_.set_yticks(np.arange(len(self.columns)), self.columns)
            self.figure_.colorbar(self.image_, ax=self.ax_, label="importance (nats)")
        else:
            from matplotlib.lines import Line2D

            defaults = {"fmt": "o-", "markerfacecolor": "w", "capsize": 3}
            self.errorbar_ = self.ax_.errorbar(
                place,
                self.divergence,
                yerr=2 * np.asarray(self.error),
                **styled(defaults, kwargs, Line2D),
            )
            drifted = np.asarray(self.adjusted_pvalue) <= level
            self.points_ = self.ax_.scatter(
                place[drifted],
                np.asarray(self.divergence)[drifted],
                color=self.errorbar_.lines[0].get_color(),
                zorder=3,
                label=f"adjusted p at most {level:g}",
            )
            self.ax_.axhline(0, color="k", linestyle=":", linewidth=1)
            unit = f" ({self.unit})" if self.unit else ""
            self.ax_.set_ylabel(f"divergence{unit}")
            self.ax_.legend(loc="upper left", fontsize="small")
        self.ax_.set_xticks(place, [str(each) for each in self.periods])
        self.ax_.tick_params("x", rotation=45 if len(self.periods) > 6 else 0)
        return self

    @classmethod
    def from_history(
        cls,
        history: Any,
        *,
        ax: Axes | None = None,
        what: str = "divergence",
        level: float = 0.05,
        **kwargs: Any,
    ) -> Self:
        """Draw a history.

        Parameters
        ----------
        history : skdre.information.DriftHistory
            Of :func:`skdre.drift_over_time`.
        %(ax)
        what : {"divergence", "columns"}, default="divergence"
            See :meth:`plot`.
        level : float, default=0.05
            Largest p-value of a filled point.
        **kwargs : dict
            See :meth:`plot`.

        Returns
        -------
        display : DriftHistoryDisplay

        Raises
        ------
        ValueError
            If `what` is neither.
        """
        importances = [
            {each.name: each.importance for each in report.columns}
            for report in history.reports
        ]
        names = sorted(
            importances[0], key=lambda name: -max(each[name] for each in importances)
        )
        estimates = [report.divergence for report in history.reports]
        display = cls(
            list(history.periods),
            np.array([each.value for each in estimates]),
            np.array([each.standard_error for each in estimates]),
            np.asarray(history.adjusted_pvalues),
            names,
            np.array([[each[name] for name in names] for each in importances]),
            unit=estimates[0].unit,
        )
        return display.plot(ax=ax, what=what, level=level, **kwargs)
