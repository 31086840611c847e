"""WeightConcentrationDisplay: how few rows carry the weight."""

import numpy as np

from skdre._core.inner import innermost
from skdre.base import predict_log_ratio
from skdre.inspection._checks import check_weight
from skdre.inspection._curves import effective_rows, lorenz_curve
from skdre.inspection._drawing import new_axes, styled
from skdre.weighting import importance_weights

__all__ = ["WeightConcentrationDisplay"]


class WeightConcentrationDisplay:
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
    estimator_name : str, default=None
        For the legend.

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
        row_share,
        weight_share,
        *,
        effective_sample_size,
        n_rows,
        estimator_name=None,
    ):
        self.row_share = row_share
        self.weight_share = weight_share
        self.effective_sample_size = effective_sample_size
        self.n_rows = n_rows
        self.estimator_name = estimator_name

    def plot(self, *, ax=None, name=None, ref_line=True, **kwargs):
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None is a new figure.
        name : str, default=None
            For the legend; None is `estimator_name`.
        ref_line : bool, default=True
            Whether to draw the curves of equal weights, of all rows and of as many as
            the effective sample size.
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : WeightConcentrationDisplay
        """
        self.ax_ = new_axes(ax, type(self).__name__)
        from matplotlib.lines import Line2D

        self.figure_ = self.ax_.figure
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
        estimator,
        X,
        *,
        sample_weight=None,
        flattening=1.0,
        clip=None,
        name=None,
        ax=None,
        ref_line=True,
        **kwargs,
    ):
        """Draw the concentration of the weights of a fitted estimator.

        Parameters
        ----------
        estimator : ratio estimator
            Fitted; or a pipeline or search that ends with one.
        X : array-like of shape (n_samples, n_features)
            The rows that are to be weighted, the denominator's.
        sample_weight : array-like of shape (n_samples,), default=None
            Repetition counts of the rows.
        flattening : float, default=1.0
            Exponent of the ratio, see :func:`skdre.weighting.importance_weights`.
        clip : float, default=None
            Largest value of the flattened ratio.
        name : str, default=None
            For the legend; None is the name of the estimator.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None is a new figure.
        ref_line : bool, default=True
            Whether to draw the curves of equal weights.
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
            name=type(innermost(estimator)).__name__ if name is None else name,
            ax=ax,
            ref_line=ref_line,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        log_ratio,
        *,
        sample_weight=None,
        flattening=1.0,
        clip=None,
        name=None,
        ax=None,
        ref_line=True,
        **kwargs,
    ):
        """Draw the concentration of the weights of given log ratios.

        Parameters
        ----------
        log_ratio : array-like of shape (n_samples,)
            Log ratio at the rows that are to be weighted, in nats; minus infinity is a
            weight of 0.
        sample_weight : array-like of shape (n_samples,), default=None
            Repetition counts of the rows.
        flattening : float, default=1.0
            Exponent of the ratio, see :func:`skdre.weighting.importance_weights`.
        clip : float, default=None
            Largest value of the flattened ratio.
        name : str, default=None
            For the legend.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None is a new figure.
        ref_line : bool, default=True
            Whether to draw the curves of equal weights.
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
            sample_weight = check_weight(sample_weight, log_ratio)
            rows = sample_weight > 0
            if rows.any():
                log_ratio, sample_weight = log_ratio[rows], sample_weight[rows]
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
        cls, weights, *, sample_weight=None, name=None, ax=None, ref_line=True, **kwargs
    ):
        """Draw the concentration of given weights.

        Parameters
        ----------
        weights : array-like of shape (n_samples,)
            Weights, not negative, on any scale.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row stands; not part of `weights`.
        name : str, default=None
            For the legend.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None is a new figure.
        ref_line : bool, default=True
            Whether to draw the curves of equal weights.
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
