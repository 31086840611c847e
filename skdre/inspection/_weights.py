"""WeightConcentrationDisplay: how few rows carry the weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from skdre.base import predict_log_ratio
from skdre.inspection._checks import check_weight, name_of
from skdre.inspection._curves import effective_rows, lorenz_curve
from skdre.inspection._drawing import Display, styled
from skdre.weighting import importance_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

    from skdre._core.types import Floats, Rows, Values

__all__ = ["WeightConcentrationDisplay"]


class WeightConcentrationDisplay(Display):
    """Lorenz curve of importance weights, with the effective sample size.

    The curve is the share of the whole weight that the lightest rows carry. Equal
    weights are the diagonal; a curve that stays at 0 and rises at the end is a weighted
    mean of a few rows. Beside it stands what the effective sample size compares the
    weights to: so many rows of one weight, and the others without any.

    It is recommended to use :meth:`from_estimator`, :meth:`from_predictions` or
    :meth:`from_weights`. All parameters are stored as attributes.

    Parameters
    ----------
    row_share : ndarray of shape (n_points,)
        Share of the rows, the lightest first, from 0 to 1.
    weight_share : ndarray of shape (n_points,)
        Share of the weight that they carry.
    effective_sample_size : float
        Kish's effective sample size, in rows.
    n_rows : float
        Number of rows; of weighted ones the sum of their weights.
    %(estimator_name)

    Attributes
    ----------
    line_ : matplotlib.lines.Line2D
        The curve.
    effective_line_ : matplotlib.lines.Line2D or None
        The curve of `effective_sample_size` rows of equal weight.
    ref_line_ : matplotlib.lines.Line2D or None
        The curve of equal weights.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    skdre.weighting.effective_sample_size : The number by itself.

    Examples
    --------
    >>> from skdre import KMMRatio
    >>> from skdre.datasets import make_warped_shift
    >>> from skdre.inspection import WeightConcentrationDisplay
    >>> shift = make_warped_shift(300, 2, random_state=0)
    >>> ratio = KMMRatio(random_state=0).fit(*shift.pool())
    >>> display = WeightConcentrationDisplay.from_estimator(ratio, shift.denominator)
    >>> 100 < display.effective_sample_size < 300
    True
    """

    def __init__(
        self,
        row_share: Floats,
        weight_share: Floats,
        *,
        effective_sample_size: float,
        n_rows: float,
        estimator_name: str | None = None,
    ) -> None:
        self.row_share = row_share
        self.weight_share = weight_share
        self.effective_sample_size = effective_sample_size
        self.n_rows = n_rows
        self.estimator_name = estimator_name

    def plot(
        self,
        *,
        ax: Axes | None = None,
        name: str | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the curve.

        Parameters
        ----------
        %(ax)
        %(legend_name)
        ref_line : bool, default=True
            Whether to draw the curves of equal weights, of all rows and of as many as
            the effective sample size.
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : WeightConcentrationDisplay
        """
        self._set_axes(ax)
        from matplotlib.lines import Line2D

        name = self.estimator_name if name is None else name
        words = f"effective rows {self.effective_sample_size:.4g} of {self.n_rows:.6g}"
        defaults = {"label": words if name is None else f"{name}: {words}"}
        (self.line_,) = self.ax_.plot(
            self.row_share, self.weight_share, **styled(defaults, kwargs, Line2D)
        )
        self.effective_line_ = self.ref_line_ = None
        if ref_line:
            share = self.effective_sample_size / self.n_rows
            words = "so many rows of equal weight"
            known = self.ax_.get_legend_handles_labels()[1]
            (self.effective_line_,) = self.ax_.plot(
                [0, 1 - share, 1],
                [0, 0, 1],
                color=self.line_.get_color(),
                linestyle="--",
                linewidth=1,
                label=None if words in known else words,
            )
            (self.ref_line_,) = self.ax_.plot([0, 1], [0, 1], "k:", linewidth=1)
        self.ax_.set(
            xlabel="share of the rows, the lightest first",
            ylabel="share of the weight",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
        )
        self.ax_.legend(loc="upper left", fontsize="small")
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Rows,
        *,
        sample_weight: Values | None = None,
        flattening: float = 1.0,
        clip: float | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the concentration of the weights of a fitted estimator.

        Parameters
        ----------
        %(fitted_ratio)
        X : array-like of shape (n_samples, n_features)
            The rows that are to be weighted, the denominator's.
        %(counts)
        flattening : float, default=1.0
            Exponent of the ratio, see :func:`skdre.weighting.importance_weights`.
        clip : float, default=None
            Largest value of the flattened ratio.
        %(legend_name)
        %(ax)
        %(ref_line)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : WeightConcentrationDisplay

        Raises
        ------
        ValueError
            If no row has a positive weight, or a parameter is out of its range.
        TypeError
            If `estimator` is no ratio estimator.
        sklearn.exceptions.NotFittedError
            If it is not fitted.
        """
        log_ratio = predict_log_ratio(estimator, X)
        return cls.from_predictions(
            log_ratio,
            sample_weight=sample_weight,
            flattening=flattening,
            clip=clip,
            name=name_of(estimator) if name is None else name,
            ax=ax,
            ref_line=ref_line,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        log_ratio: Values,
        *,
        sample_weight: Values | None = None,
        flattening: float = 1.0,
        clip: float | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the concentration of the weights of given log ratios.

        Parameters
        ----------
        log_ratio : array-like of shape (n_samples,)
            Log ratio at the rows that are to be weighted, in nats; minus infinity is a
            weight of 0.
        %(counts)
        flattening : float, default=1.0
            Exponent of the ratio, see :func:`skdre.weighting.importance_weights`.
        clip : float, default=None
            Largest value of the flattened ratio.
        %(legend_name)
        %(ax)
        %(ref_line)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : WeightConcentrationDisplay

        Raises
        ------
        ValueError
            If a log ratio is NaN or plus infinity, no row has a positive weight, or a
            parameter is out of its range.
        """
        log_ratio = np.asarray(log_ratio, dtype=np.float64)
        if sample_weight is not None and log_ratio.ndim == 1:
            # An absent row must not set the scale: the others might underflow.
            sample_weight = counts = check_weight(sample_weight, log_ratio)
            rows = counts > 0
            if rows.any():
                log_ratio, sample_weight = log_ratio[rows], counts[rows]
        weights = importance_weights(log_ratio, flattening=flattening, clip=clip)
        return cls.from_weights(
            weights,
            sample_weight=sample_weight,
            name=name,
            ax=ax,
            ref_line=ref_line,
            **kwargs,
        )

    @classmethod
    def from_weights(
        cls,
        weights: Values,
        *,
        sample_weight: Values | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the concentration of given weights.

        Parameters
        ----------
        weights : array-like of shape (n_samples,)
            Weights, not negative, on any scale.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row stands; not part of `weights`.
        %(legend_name)
        %(ax)
        %(ref_line)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : WeightConcentrationDisplay

        Raises
        ------
        ValueError
            If weights are not one-dimensional, negative, not finite or all zero.
        """
        weights = np.asarray(weights, dtype=np.float64)
        if weights.ndim != 1 or not weights.size:
            raise ValueError(
                "weights must have shape (n_samples,) with at least one row, got shape "
                f"{weights.shape}."
            )
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError("weights must be finite and not negative.")
        counts = check_weight(sample_weight, weights)
        if not (counts * (weights > 0)).any():
            raise ValueError("No row has a positive weight: there is nothing to draw.")
        rows = counts > 0
        weights, counts = weights[rows], counts[rows]
        display = cls(
            *lorenz_curve(weights, counts),
            effective_sample_size=effective_rows(weights, counts),
            n_rows=float(counts.sum()),
            estimator_name=name,
        )
        return display.plot(ax=ax, ref_line=ref_line, **kwargs)
