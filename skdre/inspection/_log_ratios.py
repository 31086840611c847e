"""Displays of log ratios at rows: against the truth, and by domain."""

from __future__ import annotations

from collections.abc import Sequence
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
from skdre.inspection._drawing import COLORS, Display, add_diagonal, add_legend, styled
from skdre.metrics import log_ratio_mse, ratio_rank_correlation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

    from skdre._core.types import Floats, Rows, Values

__all__ = ["LogRatioHistogramDisplay", "LogRatioScatterDisplay"]


class LogRatioScatterDisplay(Display):
    """Estimated log ratio over a truth that is known, one point a row.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    true_log_ratio : ndarray of shape (n_samples,)
        True log ratio, in nats.
    log_ratio : ndarray of shape (n_samples,)
        Estimated one.
    is_numerator : ndarray of bool of shape (n_samples,), default=None
        Which rows are the numerator's; None if it is not known.
    classes : array-like of shape (2,), default=None
        Labels of the domains, the denominator's first.
    %(estimator_name)

    Attributes
    ----------
    scatters_ : list of matplotlib.collections.PathCollection
        The points: of all rows, or of the denominator's and of the numerator's.
    line_ : matplotlib.lines.AxLine or None
        Where estimate and truth are equal.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    skdre.metrics.log_ratio_mse, skdre.metrics.ratio_rank_correlation : The figures in
        the legend.

    Examples
    --------
    >>> from skdre import GaussianRatio
    >>> from skdre.datasets import make_known_ratio
    >>> from skdre.inspection import LogRatioScatterDisplay
    >>> shift = make_known_ratio("t3_d5", 500, random_state=0)
    >>> X, y = shift.pool()
    >>> ratio = GaussianRatio().fit(X, y)
    >>> display = LogRatioScatterDisplay.from_estimator(
    ...     ratio, X, shift.log_ratio(X), y=y
    ... )
    >>> len(display.scatters_)
    2
    """

    def __init__(
        self,
        true_log_ratio: Floats,
        log_ratio: Floats,
        *,
        is_numerator: np.ndarray | None = None,
        classes: np.ndarray | None = None,
        estimator_name: str | None = None,
    ) -> None:
        self.true_log_ratio = true_log_ratio
        self.log_ratio = log_ratio
        self.is_numerator = is_numerator
        self.classes = classes
        self.estimator_name = estimator_name

    def plot(
        self,
        *,
        ax: Axes | None = None,
        name: str | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the points.

        Parameters
        ----------
        %(ax)
        %(legend_name)
        %(ref_line)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : LogRatioScatterDisplay
        """
        self._set_axes(ax)
        name = self.estimator_name if name is None else name
        error = log_ratio_mse(self.true_log_ratio, self.log_ratio)
        correlation = ratio_rank_correlation(self.true_log_ratio, self.log_ratio)
        figures = f"mean squared error {error:.3g}\nrank correlation {correlation:.3f}"
        figures = figures if name is None else f"{name}\n{figures}"

        parts: list[tuple[Any, dict[str, Any]]]
        if self.is_numerator is None or self.classes is None:
            parts = [(slice(None), {"label": figures})]
            title = None
        else:
            sides = zip(("denominator", "numerator"), self.classes, strict=True)
            parts = [
                (
                    self.is_numerator == (side == "numerator"),
                    {"label": f"{side} ({label})", "color": COLORS[side]},
                )
                for side, label in sides
            ]
            title = figures
        self.scatters_ = []
        for rows, defaults in parts:
            if "c" in kwargs:
                defaults.pop("color", None)
            look = {"s": 9, "alpha": 0.5, "linewidths": 0} | defaults | kwargs
            points = self.ax_.scatter(
                self.true_log_ratio[rows], self.log_ratio[rows], **look
            )
            self.scatters_.append(points)
        self.line_ = None
        if ref_line:
            self.line_ = add_diagonal(self.ax_)
        self.ax_.set(
            xlabel="true log ratio (nats)", ylabel="estimated log ratio (nats)"
        )
        legend = self.ax_.legend(
            title=title, loc="upper left", fontsize="small", title_fontsize="small"
        )
        for handle in legend.legend_handles:
            handle.set_alpha(1)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Rows,
        true_log_ratio: Values,
        *,
        y: Values | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the log ratio of a fitted estimator over the truth.

        Parameters
        ----------
        %(fitted_ratio)
        X : array-like of shape (n_samples, n_features)
            Rows, best of both samples and new ones.
        true_log_ratio : array-like of shape (n_samples,)
            True log ratio at these rows, in nats.
        y : array-like of shape (n_samples,), default=None
            Domain labels; where given, the domains have two colours.
        %(legend_name)
        %(ax)
        %(ref_line)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : LogRatioScatterDisplay

        Raises
        ------
        ValueError
            If the truth is not finite or has another length, or y does not name both
            domains.
        TypeError
            If `estimator` is no ratio estimator.
        sklearn.exceptions.NotFittedError
            If it is not fitted.

        Warns
        -----
        UserWarning
            If the estimate is the same at all rows.
        """
        log_ratio = predict_log_ratio(estimator, X)
        name = name_of(estimator) if name is None else name
        classes = None if y is None else estimator.classes_
        return cls._from_log_ratios(
            true_log_ratio, log_ratio, y, classes, name, ax, ref_line, kwargs
        )

    @classmethod
    def from_predictions(
        cls,
        true_log_ratio: Values,
        log_ratio: Values,
        *,
        y: Values | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw given log ratios over the truth.

        Parameters
        ----------
        true_log_ratio : array-like of shape (n_samples,)
            True log ratio, in nats.
        log_ratio : array-like of shape (n_samples,)
            Estimated one.
        y : array-like of shape (n_samples,), default=None
            Domain labels, the greater the numerator's; where given, the domains have
            two colours.
        %(legend_name)
        %(ax)
        %(ref_line)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : LogRatioScatterDisplay

        Raises
        ------
        ValueError
            If values are not finite, the lengths differ, or y does not name two
            domains.

        Warns
        -----
        UserWarning
            If the estimate is the same at all rows.
        """
        return cls._from_log_ratios(
            true_log_ratio, log_ratio, y, None, name, ax, ref_line, kwargs
        )

    @classmethod
    def _from_log_ratios(
        cls, true_log_ratio, log_ratio, y, classes, name, ax, ref_line, kwargs
    ):
        log_ratio = check_log_ratio(log_ratio)
        true_log_ratio = check_log_ratio(true_log_ratio, "true_log_ratio")
        if true_log_ratio.shape != log_ratio.shape:
            raise ValueError(
                "true_log_ratio must have one value for each row, got "
                f"{true_log_ratio.size} values and {log_ratio.size} rows."
            )
        is_numerator = None
        if y is not None:
            is_numerator, classes = domains_of(
                y, log_ratio.size, name=cls.__name__, classes=classes
            )
        warn_if_constant(log_ratio, "log_ratio", "all points lie on one line")
        display = cls(
            true_log_ratio,
            log_ratio,
            is_numerator=is_numerator,
            classes=classes,
            estimator_name=name,
        )
        return display.plot(ax=ax, ref_line=ref_line, **kwargs)


class LogRatioHistogramDisplay(Display):
    """Histograms of the log ratio at the rows of the two domains.

    Where they lie apart, so do the samples. At the true ratio the numerator's density
    at a log ratio l is exp(l) times that of the denominator: the curves cross at 0.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    bin_edges : ndarray of shape (n_bins + 1,)
        Edges of the bins, in nats.
    numerator_density, denominator_density : ndarray of shape (n_bins,)
        Share of the domain's rows in each bin, over its width.
    numerator_mean, denominator_mean : float
        Mean log ratio: the Kullback-Leibler divergence of q from p, and minus that of
        p from q, as the ratio has it.
    %(domain_classes)
    %(estimator_name)

    Attributes
    ----------
    numerator_patch_, denominator_patch_ : matplotlib.patches.StepPatch
        The histograms.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    Examples
    --------
    >>> from skdre import GaussianRatio
    >>> from skdre.datasets import make_known_ratio
    >>> from skdre.inspection import LogRatioHistogramDisplay
    >>> X, y = make_known_ratio("shift_d1", 500, random_state=0).pool()
    >>> ratio = GaussianRatio().fit(X, y)
    >>> display = LogRatioHistogramDisplay.from_estimator(ratio, X, y)
    >>> round(display.numerator_mean, 1), round(display.denominator_mean, 1)
    (0.6, -0.6)
    """

    def __init__(
        self,
        bin_edges: Floats,
        numerator_density: Floats,
        denominator_density: Floats,
        *,
        numerator_mean: float,
        denominator_mean: float,
        classes: np.ndarray,
        estimator_name: str | None = None,
    ) -> None:
        self.bin_edges = bin_edges
        self.numerator_density = numerator_density
        self.denominator_density = denominator_density
        self.numerator_mean = numerator_mean
        self.denominator_mean = denominator_mean
        self.classes = classes
        self.estimator_name = estimator_name

    def plot(
        self, *, ax: Axes | None = None, name: str | None = None, **kwargs: Any
    ) -> Self:
        """Draw the histograms.

        Parameters
        ----------
        %(ax)
        %(legend_name)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.stairs`, of both histograms.

        Returns
        -------
        display : LogRatioHistogramDisplay
        """
        self._set_axes(ax)
        from matplotlib.patches import StepPatch

        patches = []
        for side, density, mean, label in (
            (
                "denominator",
                self.denominator_density,
                self.denominator_mean,
                self.classes[0],
            ),
            ("numerator", self.numerator_density, self.numerator_mean, self.classes[1]),
        ):
            defaults = {
                "fill": True,
                "alpha": 0.5,
                "color": COLORS[side],
                "label": f"{side} ({label}): mean {mean:.3g}",
            }
            patches.append(
                self.ax_.stairs(
                    density, self.bin_edges, **styled(defaults, kwargs, StepPatch)
                )
            )
        self.denominator_patch_, self.numerator_patch_ = patches
        self.ax_.axvline(0, color="k", linestyle=":", linewidth=1)
        self.ax_.set(xlabel="log ratio (nats)", ylabel="density (1 / nat)")
        # Room for the legend.
        self.ax_.margins(y=0.3)
        add_legend(self.ax_, self.estimator_name if name is None else name)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Rows,
        y: Values,
        *,
        sample_weight: Values | None = None,
        bins: int | str | Sequence[float] = 50,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the histograms of a fitted estimator's log ratio.

        Parameters
        ----------
        %(fitted_ratio)
        X : array-like of shape (n_samples, n_features)
            Rows of both samples, best new ones: where a ratio was fitted, it is too
            sure.
        %(y)
        %(counts)
        bins : int, str or sequence of float, default=50
            See :func:`numpy.histogram_bin_edges`.
        %(legend_name)
        %(ax)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.stairs`.

        Returns
        -------
        display : LogRatioHistogramDisplay

        Raises
        ------
        ValueError
            If y does not name the two domains of the fit, or a domain has no row of
            positive weight in the bins.
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
        return cls._from_log_ratio(
            y, log_ratio, sample_weight, bins, estimator.classes_, name, ax, kwargs
        )

    @classmethod
    def from_predictions(
        cls,
        y: Values,
        log_ratio: Values,
        *,
        sample_weight: Values | None = None,
        bins: int | str | Sequence[float] = 50,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the histograms of given log ratios.

        Parameters
        ----------
        %(y)
        %(log_ratio)
        %(counts)
        bins : int, str or sequence of float, default=50
            See :func:`numpy.histogram_bin_edges`.
        %(legend_name)
        %(ax)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.stairs`.

        Returns
        -------
        display : LogRatioHistogramDisplay

        Raises
        ------
        ValueError
            If y does not name two domains, the lengths differ, a log ratio is not
            finite, or a domain has no row of positive weight in the bins.

        Warns
        -----
        UserWarning
            If the log ratio is the same at all rows.
        """
        return cls._from_log_ratio(
            y, log_ratio, sample_weight, bins, None, name, ax, kwargs
        )

    @classmethod
    def _from_log_ratio(
        cls, y, log_ratio, sample_weight, bins, classes, name, ax, kwargs
    ):
        log_ratio = check_log_ratio(log_ratio)
        is_numerator, classes = domains_of(
            y, log_ratio.size, name=cls.__name__, classes=classes
        )
        weight = check_weight(sample_weight, log_ratio)
        warn_if_constant(log_ratio, "log_ratio", "each histogram is a single bar")
        edges = np.histogram_bin_edges(log_ratio[weight > 0], bins)
        parts = {}
        for side, rows in (("numerator", is_numerator), ("denominator", ~is_numerator)):
            count, _ = np.histogram(log_ratio[rows], edges, weights=weight[rows])
            if not count.sum() > 0:
                raise ValueError(
                    f"The {side}'s domain has no row of positive weight in the bins, "
                    f"{edges[0]:.3g} to {edges[-1]:.3g} nats."
                )
            # Over all rows: those outside of given bins are seen to be missing.
            parts[f"{side}_density"] = count / (weight[rows].sum() * np.diff(edges))
            parts[f"{side}_mean"] = float(
                np.average(log_ratio[rows], weights=weight[rows])
            )
        display = cls(edges, **parts, classes=classes, estimator_name=name)
        return display.plot(ax=ax, **kwargs)
