"""LovePlotDisplay: standardised mean differences before and after weighting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from skdre.inspection._drawing import Display, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skdre._core.types import Values

__all__ = ["LovePlotDisplay"]

# Shapes differ too, so that a picture without colours can be read.
_MARKERS = "oDs^vP*X"


class LovePlotDisplay(Display):
    """Standardised mean differences of two samples, before and after weighting.

    A line for each column or level, the largest difference before weighting at the top,
    and a point for each kind of weights: the love plot, named after T. E. Love.

    It is recommended to use :meth:`from_table`. All parameters are stored as
    attributes.

    Parameters
    ----------
    names : list of str
        Of the columns and levels.
    differences : dict of str to ndarray of shape (n_names,)
        Standardised mean differences under each kind of weights, the first being those
        before weighting.

    Attributes
    ----------
    points_ : dict of str to matplotlib.lines.Line2D
        The points of each kind of weights.
    threshold_lines_ : list of matplotlib.lines.Line2D
        Where the threshold is.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    skdre.balance_table : The numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import balance_weights
    >>> from skdre.inspection import LovePlotDisplay
    >>> rng = np.random.default_rng(0)
    >>> source, target = rng.normal(0, 1, (300, 2)), rng.normal(0.5, 1, (300, 2))
    >>> display = LovePlotDisplay.from_table(balance_weights(source, target))
    >>> bool(np.abs(display.differences["after"]).max() < 1e-6)
    True
    """

    def __init__(self, names: list[str], differences: Mapping[str, Values]) -> None:
        self.names = names
        self.differences = differences

    def plot(
        self,
        *,
        ax: Axes | None = None,
        absolute: bool = True,
        threshold: float | None = 0.1,
        max_names: int = 40,
        **kwargs: Any,
    ) -> Self:
        """Draw the differences.

        Parameters
        ----------
        %(ax)
        absolute : bool, default=True
            Whether to draw absolute values; else positive ones mean that the source is
            larger.
        threshold : float, default=0.1
            A difference that is called balanced, drawn as a dashed line; None draws
            none.
        max_names : int, default=40
            Lines to draw, those with the largest differences under any weights.
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : LovePlotDisplay

        Raises
        ------
        ValueError
            If there is nothing to draw.
        """
        values = {name: np.asarray(each) for name, each in self.differences.items()}
        if not self.names or not values:
            raise ValueError("There are no differences to draw.")
        self._set_axes(ax)
        from matplotlib.lines import Line2D

        first = np.abs(next(iter(values.values())))
        largest = np.max([np.abs(each) for each in values.values()], axis=0)
        shown = np.argsort(-largest, kind="stable")[:max_names]
        # From the bottom: the largest difference before weighting stands at the top.
        shown = shown[np.argsort(first[shown], kind="stable")]
        place = np.arange(len(shown))
        self.points_ = {}
        for number, (name, each) in enumerate(values.items()):
            defaults = {
                "linestyle": "none",
                "marker": _MARKERS[number % len(_MARKERS)],
                "color": f"C{number}",
                # Weights come after what they are compared with, filled.
                "markerfacecolor": "w" if number == 0 else f"C{number}",
                "label": name,
            }
            each = np.abs(each) if absolute else each
            (self.points_[name],) = self.ax_.plot(
                each[shown], place, **styled(defaults, kwargs, Line2D)
            )
        self.ax_.axvline(0, color="k", linewidth=0.8, zorder=0)
        self.threshold_lines_ = [
            self.ax_.axvline(x, color="0.4", linestyle="--", linewidth=0.8, zorder=0)
            for x in (() if threshold is None else (threshold, -threshold))
            if x > 0 or not absolute
        ]
        self.ax_.set_yticks(place, [self.names[j] for j in shown])
        self.ax_.set_ylim(-0.7, len(shown) - 0.3)
        self.ax_.grid(axis="y", color="0.92", zorder=0)
        self.ax_.set_axisbelow(True)
        words = "standardised mean difference"
        self.ax_.set_xlabel(f"absolute {words}" if absolute else words)
        self.ax_.legend(fontsize="small", loc="best")
        return self

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        ax: Axes | None = None,
        absolute: bool = True,
        threshold: float | None = 0.1,
        max_names: int = 40,
        **kwargs: Any,
    ) -> Self:
        """Draw a balance table, or several of the same two samples.

        Parameters
        ----------
        table : BalanceTable, BalancedSample or dict
            As :func:`skdre.balance_table` and :func:`skdre.balance_weights` give it. Of
            a dict the keys name the weights, and the values are their tables.
        %(ax)
        absolute : bool, default=True
            Whether to draw absolute values.
        threshold : float, default=0.1
            A difference that is called balanced; None draws none.
        max_names : int, default=40
            Lines to draw, those with the largest differences.
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : LovePlotDisplay

        Raises
        ------
        TypeError
            If it is no balance table.
        ValueError
            If the tables have different lines.
        """
        tables = table if isinstance(table, Mapping) else {"after": table}
        differences: dict[str, Any] = {}
        names: list[str] = []
        for label, each in tables.items():
            # What balance_weights returns holds its table.
            rows = getattr(each, "table", each)
            try:
                rows = list(rows)
                found = [row.name for row in rows]
                before = np.array([row.difference_before for row in rows])
                after = np.array([row.difference_after for row in rows])
            except (AttributeError, TypeError) as error:
                raise TypeError(
                    f"table must be a balance table, got {type(each).__name__}."
                ) from error
            if names and found != names:
                raise ValueError(
                    "The tables must have the same lines, but those of "
                    f"{label!r} are others."
                )
            names = found
            differences.setdefault("before", before)
            differences[label] = after
        display = cls(names, differences)
        return display.plot(
            ax=ax,
            absolute=absolute,
            threshold=threshold,
            max_names=max_names,
            **kwargs,
        )
