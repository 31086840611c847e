"""RatioCalibrationDisplay: what the ratio says, and what the domains' rows say."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from skdre.base import predict_log_ratio
from skdre.inspection._checks import (
    check_log_ratio,
    check_weight,
    domains_of,
    name_of,
    warn_if_constant,
)
from skdre.inspection._curves import calibration_bins
from skdre.inspection._drawing import Display, add_diagonal, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

    from skdre._core.types import Floats, Rows, Values

__all__ = ["RatioCalibrationDisplay"]


class RatioCalibrationDisplay(Display):
    r"""Observed log ratio over the predicted one, in bins of the prediction.

    scikit-learn's calibration curve in the terms of a ratio. In a bin B the observed
    ratio is P_p(B) / P_q(B), the quotient of the shares of the domains' rows that fall
    into it, and the predicted one belongs to the mean probability of the numerator
    over the rows in the bin, the domains counted half each. A ratio whose points lie
    on the diagonal has the right size on average; flatter points mean that it is too
    sure. It may be calibrated and useless all the same: a ratio of 1 everywhere is.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    predicted : ndarray of shape (n_bins,)
        Log ratio that is predicted in each bin, in nats.
    observed : ndarray of shape (n_bins,)
        Log ratio that is seen there; infinite where a bin has rows of one domain only.
    interval : ndarray of shape (n_bins, 2)
        95 % interval of `observed`. Where that is infinite, so is one end, and the
        other is the bound that the number of rows of the absent domain gives
        (3 / n, the rule of three).
    %(estimator_name)

    Attributes
    ----------
    line_ : matplotlib.container.ErrorbarContainer
        The points of finite `observed`, with their intervals.
    bounds_ : tuple of matplotlib.lines.Line2D
        The bins in which the ratio is at least, and at most, what is drawn.
    ref_line_ : matplotlib.lines.AxLine or None
        The diagonal.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : The same in probabilities, where ratios
        beyond 100 all lie in the corners.

    Examples
    --------
    >>> from skdre import GaussianRatio
    >>> from skdre.datasets import make_known_ratio
    >>> from skdre.inspection import RatioCalibrationDisplay
    >>> X, y = make_known_ratio("t3_d5", 1000, random_state=0).pool()
    >>> ratio = GaussianRatio().fit(X, y)
    >>> display = RatioCalibrationDisplay.from_estimator(ratio, X, y, n_bins=5)
    >>> display.predicted.shape
    (5,)
    """

    def __init__(
        self,
        predicted: Floats,
        observed: Floats,
        interval: Floats,
        *,
        estimator_name: str | None = None,
    ) -> None:
        self.predicted = predicted
        self.observed = observed
        self.interval = interval
        self.estimator_name = estimator_name

    def plot(
        self,
        *,
        ax: Axes | None = None,
        name: str | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the bins.

        Parameters
        ----------
        %(ax)
        %(legend_name)
        %(ref_line)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        display : RatioCalibrationDisplay
        """
        self._set_axes(ax)
        from matplotlib.lines import Line2D

        name = self.estimator_name if name is None else name
        finite = np.isfinite(self.observed)
        low, high = self.interval.T
        self.ref_line_ = None
        if ref_line:
            self.ref_line_ = add_diagonal(self.ax_)
        defaults = {"marker": "o", "linestyle": "-", "capsize": 2, "linewidth": 1}
        if name is not None:
            defaults["label"] = name
        errors = np.abs(self.interval[finite] - self.observed[finite, None]).T
        self.line_ = self.ax_.errorbar(
            self.predicted[finite],
            self.observed[finite],
            yerr=errors,
            **styled(defaults, kwargs, Line2D),
        )
        color = self.line_.lines[0].get_color()
        known = self.ax_.get_legend_handles_labels()[1]
        bounds = []
        for rows, bound, marker, words in (
            (self.observed == np.inf, low, "^", "at least (numerator's rows only)"),
            (self.observed == -np.inf, high, "v", "at most (denominator's rows only)"),
        ):
            (line,) = self.ax_.plot(
                self.predicted[rows],
                bound[rows],
                linestyle="none",
                marker=marker,
                color=color,
                markerfacecolor="none",
                label=words if rows.any() and words not in known else None,
            )
            bounds.append(line)
        self.bounds_ = tuple(bounds)
        self.ax_.set(
            xlabel="predicted log ratio (nats)", ylabel="observed log ratio (nats)"
        )
        if self.ax_.get_legend_handles_labels()[1]:
            self.ax_.legend(loc="upper left", fontsize="small")
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Rows,
        y: Values,
        *,
        sample_weight: Values | None = None,
        n_bins: int = 10,
        name: str | None = None,
        ax: Axes | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the calibration of a fitted estimator.

        Parameters
        ----------
        %(fitted_ratio)
        X : array-like of shape (n_samples, n_features)
            Rows of both samples that were not in the fit: at its own rows a ratio is
            too sure.
        %(y)
        %(counts)
        n_bins : int, default=10
            Bins of equal share, each domain counted half.
        %(legend_name)
        %(ax)
        %(ref_line)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        display : RatioCalibrationDisplay

        Raises
        ------
        ValueError
            If y does not name the two domains of the fit, a domain has no row of
            positive weight, or `n_bins` is no positive int.
        TypeError
            If `estimator` is no ratio estimator.
        sklearn.exceptions.NotFittedError
            If it is not fitted.

        Warns
        -----
        UserWarning
            If the log ratio is the same at all rows.
        """
        log_ratio = predict_log_ratio(estimator, X)
        name = name_of(estimator) if name is None else name
        parts = y, log_ratio, sample_weight, n_bins, estimator.classes_
        return cls._from_log_ratio(*parts, name, ax, ref_line, kwargs)

    @classmethod
    def from_predictions(
        cls,
        y: Values,
        log_ratio: Values,
        *,
        sample_weight: Values | None = None,
        n_bins: int = 10,
        name: str | None = None,
        ax: Axes | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the calibration of given log ratios.

        Parameters
        ----------
        %(y)
        %(log_ratio)
        %(counts)
        n_bins : int, default=10
            Bins of equal share, each domain counted half.
        %(legend_name)
        %(ax)
        %(ref_line)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        display : RatioCalibrationDisplay

        Raises
        ------
        ValueError
            If y does not name two domains, the lengths differ, a log ratio is not
            finite, a domain has no row of positive weight, or `n_bins` is no positive
            int.

        Warns
        -----
        UserWarning
            If the log ratio is the same at all rows.
        """
        parts = y, log_ratio, sample_weight, n_bins, None
        return cls._from_log_ratio(*parts, name, ax, ref_line, kwargs)

    @classmethod
    def _from_log_ratio(
        cls, y, log_ratio, sample_weight, n_bins, classes, name, ax, ref_line, kwargs
    ):
        if not isinstance(n_bins, Integral) or n_bins < 1:
            raise ValueError(f"n_bins must be an int, at least 1, got {n_bins!r}.")
        log_ratio = check_log_ratio(log_ratio)
        is_numerator, _ = domains_of(
            y, log_ratio.size, name=cls.__name__, classes=classes
        )
        weight = check_weight(sample_weight, log_ratio)
        for side, rows in (("numerator", is_numerator), ("denominator", ~is_numerator)):
            if not weight[rows].any():
                raise ValueError(
                    f"sample_weight is zero for every row of the {side}'s domain."
                )
        warn_if_constant(log_ratio, "log_ratio", "there is a single bin")
        bins = calibration_bins(is_numerator, log_ratio, weight, n_bins)
        display = cls(*bins, estimator_name=name)
        return display.plot(ax=ax, ref_line=ref_line, **kwargs)
