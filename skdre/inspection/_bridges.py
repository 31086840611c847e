"""Displays of estimators that take many small steps from one sample to the other."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.integrate import trapezoid

from skdre.inspection._checks import domains_of, method_of, name_of
from skdre.inspection._drawing import COLORS, Display, add_legend, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

    from skdre._core.types import Floats, Rows, Values

__all__ = ["BridgeLogRatiosDisplay", "TimeScoreDisplay"]

# Ends of the thin bars and of the bands, ends of the thick bars, and the middle.
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def _check_columns(values, name, n_columns="n_bridges"):
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(
            f"{name} must have shape (n_samples, {n_columns}), got shape "
            f"{values.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity.")
    return values


def _check_times(times, size, name):
    times = np.asarray(times, dtype=np.float64)
    if times.shape != (size,) or not (np.diff(times) > 0).all():
        raise ValueError(
            f"times must hold {size} rising values for this {name}, got shape "
            f"{times.shape}" + ("." if times.shape != (size,) else f": {times}.")
        )
    return times


class BridgeLogRatiosDisplay(Display):
    """Log ratios of the single bridges, at the rows of the two domains.

    They sum to the log ratio. A bridge whose log ratios are many times those of the
    others is too long; one about 0 in both domains does nothing.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    numerator_quantiles, denominator_quantiles : ndarray of shape (5, n_bridges)
        The .05, .25, .5, .75 and .95 quantiles over the domain's rows, in nats; the
        bridge at the denominator first.
    %(domain_classes)
    times : ndarray of shape (n_bridges + 1,), default=None
        Times of the waymarks on the path.
    %(estimator_name)

    Attributes
    ----------
    numerator_lines_, denominator_lines_ : tuple
        The medians (Line2D), and the bars from the .25 to the .75 and from the .05 to
        the .95 quantile (LineCollection).
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    skdre.TelescopingRatio, skdre.MultinomialRatio : Estimators with ``log_ratios``.

    Examples
    --------
    >>> from skdre import ClassifierRatio, TelescopingRatio
    >>> from skdre.datasets import make_known_ratio
    >>> from skdre.inspection import BridgeLogRatiosDisplay
    >>> X, y = make_known_ratio("far_gaussians_d2", 200, random_state=0).pool()
    >>> ratio = TelescopingRatio(ClassifierRatio(), random_state=0).fit(X, y)
    >>> display = BridgeLogRatiosDisplay.from_estimator(ratio, X, y)
    >>> display.numerator_quantiles.shape
    (5, 4)
    """

    def __init__(
        self,
        numerator_quantiles: Floats,
        denominator_quantiles: Floats,
        *,
        classes: np.ndarray,
        times: Floats | None = None,
        estimator_name: str | None = None,
    ) -> None:
        self.numerator_quantiles = numerator_quantiles
        self.denominator_quantiles = denominator_quantiles
        self.classes = classes
        self.times = times
        self.estimator_name = estimator_name

    def plot(
        self, *, ax: Axes | None = None, name: str | None = None, **kwargs: Any
    ) -> Self:
        """Draw medians and quantiles of each bridge.

        Parameters
        ----------
        %(ax)
        %(legend_name)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`, of the medians.

        Returns
        -------
        display : BridgeLogRatiosDisplay
        """
        self._set_axes(ax)
        from matplotlib.lines import Line2D

        n_bridges = self.numerator_quantiles.shape[1]
        number = np.arange(1, n_bridges + 1)
        lines = []
        for side, quantiles, label, offset in (
            ("denominator", self.denominator_quantiles, self.classes[0], -0.12),
            ("numerator", self.numerator_quantiles, self.classes[1], 0.12),
        ):
            place, color = number + offset, COLORS[side]
            thin, low, middle, high, thin_end = quantiles
            defaults = {
                "marker": "o",
                "linestyle": "none",
                "color": color,
                "markeredgecolor": "w",
                "label": f"{side} ({label})",
                "zorder": 3,
            }
            (medians,) = self.ax_.plot(
                place, middle, **styled(defaults, kwargs, Line2D)
            )
            color = medians.get_color()
            thick = self.ax_.vlines(place, low, high, color=color, linewidth=4)
            long = self.ax_.vlines(place, thin, thin_end, color=color, linewidth=1)
            lines.append((medians, thick, long))
        self.denominator_lines_, self.numerator_lines_ = lines
        self.ax_.axhline(0, color="k", linestyle=":", linewidth=1)
        ticks = list(map(str, number))
        xlabel = "bridge, from the denominator"
        if self.times is not None and n_bridges <= 8:
            ends = [f"{t:.2g}" for t in self.times]
            ticks = [
                f"{k}\n{start} to {end}"
                for k, start, end in zip(ticks, ends[:-1], ends[1:], strict=True)
            ]
            xlabel += ", and its times"
        if n_bridges <= 20:
            self.ax_.set_xticks(number, ticks)
        self.ax_.set(xlabel=xlabel, ylabel="log ratio of the bridge (nats)")
        add_legend(self.ax_, self.estimator_name if name is None else name)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Rows,
        y: Values,
        *,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the bridges of a fitted estimator.

        Parameters
        ----------
        estimator : ratio estimator
            Fitted, with a method ``log_ratios``; or a pipeline or search that ends with
            one.
        X : array-like of shape (n_samples, n_features)
            Rows of both samples.
        %(y)
        %(legend_name)
        %(ax)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`, of the medians.

        Returns
        -------
        display : BridgeLogRatiosDisplay

        Raises
        ------
        ValueError
            If y does not name the two domains of the fit.
        TypeError
            If `estimator` has no bridges.
        sklearn.exceptions.NotFittedError
            If it is not fitted.
        """
        owner, rows = method_of(estimator, X, "log_ratios")
        return cls._from_log_ratios(
            y,
            owner.log_ratios(rows),
            getattr(owner, "times_", None),
            owner.classes_,
            name_of(estimator) if name is None else name,
            ax,
            kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y: Values,
        log_ratios: Values,
        *,
        times: Values | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw given log ratios of bridges.

        Parameters
        ----------
        %(y)
        log_ratios : array-like of shape (n_samples, n_bridges)
            Log ratio of each bridge, in nats, the denominator's first.
        times : array-like of shape (n_bridges + 1,), default=None
            Times of the waymarks on the path.
        %(legend_name)
        %(ax)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`, of the medians.

        Returns
        -------
        display : BridgeLogRatiosDisplay

        Raises
        ------
        ValueError
            If y does not name two domains, shapes do not go together, or a value is not
            finite.
        """
        return cls._from_log_ratios(y, log_ratios, times, None, name, ax, kwargs)

    @classmethod
    def _from_log_ratios(cls, y, log_ratios, times, classes, name, ax, kwargs):
        log_ratios = _check_columns(log_ratios, "log_ratios")
        is_numerator, classes = domains_of(
            y, len(log_ratios), name=cls.__name__, classes=classes
        )
        if times is not None:
            times = _check_times(times, log_ratios.shape[1] + 1, "number of bridges")
        display = cls(
            np.quantile(log_ratios[is_numerator], _QUANTILES, axis=0),
            np.quantile(log_ratios[~is_numerator], _QUANTILES, axis=0),
            classes=classes,
            times=times,
            estimator_name=name,
        )
        return display.plot(ax=ax, **kwargs)


class TimeScoreDisplay(Display):
    """Time score d/dt log p_t(x) along the path, at the rows of the two domains.

    Its integral over t is the log ratio. A score that runs up towards an end is hard to
    integrate there, and hard to learn.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    times : ndarray of shape (n_times,)
        Times on the path: 0 is the denominator, 1 the numerator.
    numerator_mean, denominator_mean : ndarray of shape (n_times,)
        Mean over the domain's rows, in nats by unit of time.
    numerator_band, denominator_band : ndarray of shape (2, n_times)
        .05 and .95 quantiles over the domain's rows.
    %(domain_classes)
    %(estimator_name)

    Attributes
    ----------
    numerator_line_, denominator_line_ : matplotlib.lines.Line2D
        The means.
    numerator_band_, denominator_band_ : matplotlib.collections.PolyCollection
        The bands.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    skdre.TimeScoreRatio : The estimator with a ``time_score``.

    Examples
    --------
    >>> from skdre import TimeScoreRatio
    >>> from skdre.datasets import make_known_ratio
    >>> from skdre.inspection import TimeScoreDisplay
    >>> X, y = make_known_ratio("far_gaussians_d2", 200, random_state=0).pool()
    >>> ratio = TimeScoreRatio(max_iter=100, random_state=0).fit(X, y)
    >>> display = TimeScoreDisplay.from_estimator(ratio, X, y)
    >>> display.numerator_mean.shape
    (101,)
    """

    def __init__(
        self,
        times: Floats,
        numerator_mean: Floats,
        denominator_mean: Floats,
        numerator_band: Floats,
        denominator_band: Floats,
        *,
        classes: np.ndarray,
        estimator_name: str | None = None,
    ) -> None:
        self.times = times
        self.numerator_mean = numerator_mean
        self.denominator_mean = denominator_mean
        self.numerator_band = numerator_band
        self.denominator_band = denominator_band
        self.classes = classes
        self.estimator_name = estimator_name

    def plot(
        self, *, ax: Axes | None = None, name: str | None = None, **kwargs: Any
    ) -> Self:
        """Draw means and bands.

        Parameters
        ----------
        %(ax)
        %(legend_name)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`, of the means.

        Returns
        -------
        display : TimeScoreDisplay
        """
        self._set_axes(ax)
        from matplotlib.lines import Line2D

        artists = []
        for side, mean, band, label in (
            (
                "denominator",
                self.denominator_mean,
                self.denominator_band,
                self.classes[0],
            ),
            ("numerator", self.numerator_mean, self.numerator_band, self.classes[1]),
        ):
            integral = trapezoid(mean, self.times)
            defaults = {
                "color": COLORS[side],
                "label": f"{side} ({label}): integral {integral:.3g} nats",
            }
            (line,) = self.ax_.plot(
                self.times, mean, **styled(defaults, kwargs, Line2D)
            )
            filled = self.ax_.fill_between(
                self.times, *band, color=line.get_color(), alpha=0.2, linewidth=0
            )
            artists.append((line, filled))
        (
            (self.denominator_line_, self.denominator_band_),
            (self.numerator_line_, self.numerator_band_),
        ) = artists
        self.ax_.axhline(0, color="k", linestyle=":", linewidth=1)
        self.ax_.set(
            xlabel="t, from the denominator to the numerator",
            ylabel="time score (nats by unit of t)",
        )
        add_legend(self.ax_, self.estimator_name if name is None else name)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Rows,
        y: Values,
        *,
        times: int | Values = 101,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the time score of a fitted estimator.

        Parameters
        ----------
        estimator : ratio estimator
            Fitted, with a method ``time_score``; or a pipeline or search that ends with
            one.
        X : array-like of shape (n_samples, n_features)
            Rows of both samples.
        %(y)
        times : int or array-like of shape (n_times,), default=101
            Times, rising; or how many of them, from 0 to 1.
        %(legend_name)
        %(ax)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`, of the means.

        Returns
        -------
        display : TimeScoreDisplay

        Raises
        ------
        ValueError
            If y does not name the two domains of the fit, or `times` is not as
            described.
        TypeError
            If `estimator` has no time score.
        sklearn.exceptions.NotFittedError
            If it is not fitted.
        """
        owner, rows = method_of(estimator, X, "time_score")
        if isinstance(times, Real):
            if not times > 1:
                raise ValueError(f"times must be at least 2, got {times!r}.")
            times = np.linspace(0, 1, int(times))
        return cls._from_scores(
            y,
            owner.time_score(rows, times),
            times,
            owner.classes_,
            name_of(estimator) if name is None else name,
            ax,
            kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y: Values,
        time_score: Values,
        times: Values,
        *,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw given time scores.

        Parameters
        ----------
        %(y)
        time_score : array-like of shape (n_samples, n_times)
            Time score of each row at each time, in nats by unit of time.
        times : array-like of shape (n_times,)
            Times, rising.
        %(legend_name)
        %(ax)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`, of the means.

        Returns
        -------
        display : TimeScoreDisplay

        Raises
        ------
        ValueError
            If y does not name two domains, shapes do not go together, or a value is not
            finite.
        """
        return cls._from_scores(y, time_score, times, None, name, ax, kwargs)

    @classmethod
    def _from_scores(cls, y, time_score, times, classes, name, ax, kwargs):
        time_score = _check_columns(time_score, "time_score", "n_times")
        is_numerator, classes = domains_of(
            y, len(time_score), name=cls.__name__, classes=classes
        )
        times = _check_times(times, time_score.shape[1], "time_score")
        parts = time_score[is_numerator], time_score[~is_numerator]
        ends = _QUANTILES[0], _QUANTILES[-1]
        display = cls(
            times,
            *(part.mean(axis=0) for part in parts),
            *(np.quantile(part, ends, axis=0) for part in parts),
            classes=classes,
            estimator_name=name,
        )
        return display.plot(ax=ax, **kwargs)
