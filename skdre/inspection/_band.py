"""LogRatioBandDisplay: the log ratio along one column, with its intervals."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from skdre._core.columns import check_rows
from skdre._core.frames import is_frame
from skdre.base import predict_log_ratio, predict_ratio_interval
from skdre.inspection._drawing import Display, add_legend, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

    from skdre._core.types import Rows, Values

__all__ = ["LogRatioBandDisplay"]

# How far the frame goes beyond the rows and beyond the curve, as shares of their range.
_BEYOND, _MARGIN = 0.25, 0.5


class LogRatioBandDisplay(Display):
    """Log ratio along one column, with a band of its intervals.

    The other columns stay at one row. Where the band reaches the frame, the interval is
    open: there one of the samples has no rows.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as
    attributes.

    Parameters
    ----------
    values : array-like of shape (n_points,)
        Of the column.
    log_ratio : array-like of shape (n_points,)
        In nats.
    lower, upper : array-like of shape (n_points,)
        Ends of the intervals of the log ratio, infinite where open.
    level : float
        Of the intervals.
    feature_name : str, default=None
        Label of the axis.

    Attributes
    ----------
    line_ : matplotlib.lines.Line2D
        The log ratio.
    band_ : matplotlib.collections.PolyCollection
        The intervals.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    LogRatioSurfaceDisplay : The log ratio over two columns.
    skdre.JackknifeRatio : Intervals for any ratio.

    Examples
    --------
    >>> from skdre import GaussianRatio, JackknifeRatio
    >>> from skdre.datasets import make_known_ratio
    >>> from skdre.inspection import LogRatioBandDisplay
    >>> X, y = make_known_ratio("shift_d1", 200, random_state=0).pool()
    >>> ratio = JackknifeRatio(GaussianRatio(), random_state=0).fit(X, y)
    >>> display = LogRatioBandDisplay.from_estimator(ratio, X, 0)
    >>> bool((display.lower < display.upper).all())
    True
    """

    def __init__(
        self,
        values: Values,
        log_ratio: Values,
        lower: Values,
        upper: Values,
        level: float,
        *,
        feature_name: str | None = None,
    ) -> None:
        self.values = values
        self.log_ratio = log_ratio
        self.lower = lower
        self.upper = upper
        self.level = level
        self.feature_name = feature_name

    def plot(self, *, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the curve and the band.

        Parameters
        ----------
        %(ax)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`, which draws the curve.

        Returns
        -------
        display : LogRatioBandDisplay
        """
        self._set_axes(ax)
        from matplotlib.lines import Line2D

        x, f, lower, upper = (
            np.asarray(each)
            for each in (self.values, self.log_ratio, self.lower, self.upper)
        )
        ends = np.concatenate([f, lower, upper])
        ends = ends[np.isfinite(ends)]
        margin = _MARGIN * (np.ptp(f) or 1.0)
        low, high = ends.min() - margin, ends.max() + margin
        (self.line_,) = self.ax_.plot(
            x, f, **styled({"color": "C0", "label": "log ratio"}, kwargs, Line2D)
        )
        self.band_ = self.ax_.fill_between(
            x,
            np.maximum(lower, low),
            np.minimum(upper, high),
            color=self.line_.get_color(),
            alpha=0.2,
            linewidth=0,
            label=f"{100 * self.level:.3g} % intervals",
        )
        self.ax_.axhline(0, color="k", linestyle=":", linewidth=1)
        self.ax_.set_xlim(x.min(), x.max())
        self.ax_.set_ylim(low, high)
        self.ax_.set_xlabel(self.feature_name or "")
        self.ax_.set_ylabel("log ratio (nats)")
        add_legend(self.ax_, None)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Rows,
        feature: int | str,
        *,
        level: float = 0.9,
        grid_resolution: int = 200,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the log ratio of a fitted estimator along a column of X.

        Parameters
        ----------
        estimator : ratio estimator
            Fitted, with intervals: :class:`skdre.JackknifeRatio`,
            :class:`skdre.AutoRatio`, or a pipeline or search that ends with one.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows of numbers: the curve goes a quarter of their range beyond them, and
            the other columns stay at their medians.
        feature : int or str
            Position of the column, or its name in a DataFrame.
        level : float, default=0.9
            Of the intervals.
        grid_resolution : int, default=200
            Points of the curve.
        %(ax)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`, which draws the curve.

        Returns
        -------
        display : LogRatioBandDisplay

        Raises
        ------
        ValueError
            If X has no such column, the estimator has no intervals, or `level` is not
            between 0 and 1.
        """
        rows = check_rows(X)
        names = list(X.columns) if is_frame(X) else list(range(rows.shape[1]))  # type: ignore[union-attr]
        if feature in names:
            place = names.index(feature)
        elif isinstance(feature, Integral) and 0 <= feature < len(names):
            place = int(feature)
        else:
            raise ValueError(
                f"feature must be the position or the name of a column of X, got "
                f"{feature!r} with the columns {names}."
            )
        if not isinstance(grid_resolution, Integral) or grid_resolution < 2:
            raise ValueError(
                f"grid_resolution must be an int, at least 2, got {grid_resolution!r}."
            )
        column = rows[:, place]
        beyond = _BEYOND * (np.ptp(column) or 1.0)
        values = np.linspace(
            column.min() - beyond, column.max() + beyond, int(grid_resolution)
        )
        grid: Any = np.tile(np.median(rows, axis=0), (len(values), 1))
        grid[:, place] = values
        if is_frame(X):
            grid = type(X)(dict(zip(names, grid.T, strict=True)))  # type: ignore[call-arg]
        with np.errstate(divide="ignore"):
            ends = predict_ratio_interval(estimator, grid, level)
            lower, upper = map(np.log, ends)
        display = cls(
            values,
            predict_log_ratio(estimator, grid),
            lower,
            upper,
            level,
            feature_name=str(names[place]) if is_frame(X) else f"feature {place}",
        )
        return display.plot(ax=ax, **kwargs)
