"""LogRatioSurfaceDisplay: the log ratio over two features."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.inspection import DecisionBoundaryDisplay

from skdre._core.columns import check_rows
from skdre._core.frames import is_frame
from skdre.base import predict_log_ratio
from skdre.inspection._drawing import Display, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

    from skdre._core.types import Rows

__all__ = ["LogRatioSurfaceDisplay"]

# How far the frame goes beyond the rows, as a share of their range.
_MARGIN = 0.05


class LogRatioSurfaceDisplay(Display, DecisionBoundaryDisplay):
    """Log ratio over a plane of two features.

    scikit-learn's decision surface, in colours that are symmetric about a log ratio of
    0, where a line is drawn: on one side a row is more likely the numerator's (red), on
    the other the denominator's (blue).

    It is recommended to use :meth:`from_estimator`. All parameters are stored as
    attributes. There is no ``from_predictions``: rows of a sample are no grid.

    Parameters
    ----------
    xx0, xx1 : ndarray of shape (grid_resolution, grid_resolution)
        Coordinates of the grid, as of :func:`numpy.meshgrid`.
    n_classes : int
        2; before scikit-learn 1.9 there is no such parameter.
    response : ndarray of shape (grid_resolution, grid_resolution)
        Log ratio on the grid, in nats.
    multiclass_colors : None
        scikit-learn's, for more classes than two.
    xlabel, ylabel : str, default=None
        Names of the features.

    Attributes
    ----------
    surface_ : matplotlib.contour.QuadContourSet or matplotlib.collections.QuadMesh
        What is drawn.
    boundary_ : matplotlib.contour.QuadContourSet or None
        The line at a log ratio of 0; None where there is none in the frame.
    colorbar_ : matplotlib.colorbar.Colorbar or None
        The scale, in nats.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    sklearn.inspection.DecisionBoundaryDisplay : The same for any estimator.

    Examples
    --------
    >>> from skdre import GaussianRatio
    >>> from skdre.datasets import make_known_ratio
    >>> from skdre.inspection import LogRatioSurfaceDisplay
    >>> X, y = make_known_ratio("far_gaussians_d2", 200, random_state=0).pool()
    >>> ratio = GaussianRatio().fit(X, y)
    >>> display = LogRatioSurfaceDisplay.from_estimator(ratio, X, grid_resolution=20)
    >>> points = display.ax_.scatter(*X.T, c=y, s=5, cmap="gray")
    """

    def plot(
        self,
        plot_method: str = "contourf",
        ax: Axes | None = None,
        xlabel: str | None = None,
        ylabel: str | None = None,
        *,
        limit: float | None = None,
        colorbar: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the surface.

        Parameters
        ----------
        plot_method : {"contourf", "contour", "pcolormesh"}, default="contourf"
            How it is drawn.
        %(ax)
        xlabel, ylabel : str, default=None
            Labels of the axes; None are those stored.
        limit : float, default=None
            Log ratio in nats, of either sign, where the colours end; None is the
            largest on the grid.
        colorbar : bool, default=True
            Whether to add a scale.
        **kwargs : dict
            For the plot method.

        Returns
        -------
        display : LogRatioSurfaceDisplay

        Raises
        ------
        ValueError
            If `limit` is not positive and finite.
        """
        ax = new_axes(ax, type(self).__name__)
        if limit is None:
            limit = np.abs(self.response).max() or 1.0
        if not 0 < limit < np.inf:
            raise ValueError(f"limit must be positive and finite, got {limit!r}.")
        defaults: dict[str, Any] = {}
        if "colors" not in kwargs:
            defaults["cmap"] = "RdBu_r"
            if not kwargs.keys() & {"norm", "vmin", "vmax"}:
                defaults |= {"vmin": -limit, "vmax": limit}
        if plot_method != "pcolormesh" and "levels" not in kwargs:
            defaults["levels"] = np.linspace(-limit, limit, 21)
            if plot_method == "contourf":
                defaults["extend"] = "both"
        super().plot(
            plot_method=plot_method,
            ax=ax,
            xlabel=xlabel,
            ylabel=ylabel,
            **(defaults | kwargs),
        )
        self.boundary_ = self.colorbar_ = None
        if self.response.min() < 0 < self.response.max():
            self.boundary_ = ax.contour(
                self.xx0, self.xx1, self.response, levels=[0], colors="k", linewidths=1
            )
        if colorbar:
            self.colorbar_ = self.figure_.colorbar(
                self.surface_,
                ax=ax,
                label="log ratio (nats)",
                extend="both" if plot_method == "pcolormesh" else None,
                ticks=_ticks(limit) if "levels" in defaults else None,
            )
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Rows,
        *,
        grid_resolution: int = 100,
        plot_method: str = "contourf",
        limit: float | None = None,
        colorbar: bool = True,
        xlabel: str | None = None,
        ylabel: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the log ratio of a fitted estimator around the rows of X.

        Parameters
        ----------
        estimator : ratio estimator
            Fitted on two features; or a pipeline or search that ends with one.
        X : array-like or DataFrame of shape (n_samples, 2)
            Rows that the frame is put around.
        grid_resolution : int, default=100
            Points of the grid in each direction.
        plot_method : {"contourf", "contour", "pcolormesh"}, default="contourf"
            How it is drawn.
        limit : float, default=None
            Log ratio in nats, of either sign, where the colours end; None is the
            largest at the rows of X, so that corners without rows do not use up the
            colours.
        colorbar : bool, default=True
            Whether to add a scale.
        xlabel, ylabel : str, default=None
            Labels of the axes; None takes a DataFrame's column names, or numbers.
        %(ax)
        **kwargs : dict
            For the plot method.

        Returns
        -------
        display : LogRatioSurfaceDisplay

        Raises
        ------
        ValueError
            If X has not two columns, or a parameter is out of its range.
        TypeError
            If `estimator` is no ratio estimator.
        sklearn.exceptions.NotFittedError
            If it is not fitted.

        Warns
        -----
        UserWarning
            If the log ratio is the same everywhere.
        """
        values = check_rows(X)
        if values.shape[1] != 2:
            raise ValueError(
                "X must have two columns, the two features of the plane, got "
                f"{values.shape[1]}."
            )
        at_rows = np.abs(predict_log_ratio(estimator, X if is_frame(X) else values))
        low, high = values.min(axis=0), values.max(axis=0)
        margin = np.where(high > low, _MARGIN * (high - low), 1.0)
        corners: Any = np.stack([low - margin, high + margin])
        if is_frame(X):
            frame: Any = X
            corners = type(frame)(dict(zip(frame.columns, corners.T, strict=True)))
        else:
            xlabel = "feature 0" if xlabel is None else xlabel
            ylabel = "feature 1" if ylabel is None else ylabel
        display = super().from_estimator(
            estimator,
            corners,
            grid_resolution=grid_resolution,
            # The corners have the margin of each feature already.
            eps=0,
            plot_method=plot_method,
            response_method="decision_function",
            xlabel=xlabel,
            ylabel=ylabel,
            ax=ax,
            limit=(at_rows.max() or 1.0) if limit is None else limit,
            colorbar=colorbar,
            **kwargs,
        )
        if np.ptp(display.response) == 0:
            warnings.warn(
                "The log ratio is the same everywhere, "
                f"{display.response[0, 0]:.3g} nats, so the surface has one colour. "
                "Either nothing tells the samples apart, or the estimator has learnt "
                "nothing.",
                UserWarning,
                stacklevel=2,
            )
        return display


def _ticks(limit):
    """Round values inside the limits; those of contours are not round."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(nbins=7, symmetric=True).tick_values(-limit, limit)
    return ticks[np.abs(ticks) <= limit]
