"""CandidatesDisplay: what AutoRatio tried, and how good it was."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdre.inspection._drawing import new_axes, styled

__all__ = ["CandidatesDisplay"]


class CandidatesDisplay:
    """Held-out losses of the candidates of an :class:`skdre.AutoRatio`.

    A point with a bar of one standard error for each, the best at the top; those that
    the answer is made of are filled, with their weights beside them.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as
    attributes.

    Parameters
    ----------
    names : list of str
        Of the candidates.
    loss, error : ndarray of shape (n_candidates,)
        Balanced log losses at held-out rows and their standard errors, in nats.
    weight : ndarray of shape (n_candidates,)
        In the answer.

    Attributes
    ----------
    errorbar_ : matplotlib.container.ErrorbarContainer
        The losses.
    points_ : matplotlib.collections.PathCollection
        The candidates that are used.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    Examples
    --------
    >>> from skdre import AutoRatio, GaussianRatio, LSIFRatio
    >>> from skdre.datasets import make_warped_shift
    >>> from skdre.inspection import CandidatesDisplay
    >>> X, y = make_warped_shift(100, 2, random_state=0).pool()
    >>> candidates = [("plug-in", GaussianRatio()), ("LSIF", LSIFRatio())]
    >>> ratio = AutoRatio(candidates, random_state=0).fit(X, y)
    >>> CandidatesDisplay.from_estimator(ratio).names
    ['constant', 'plug-in', 'LSIF']
    """

    def __init__(self, names: Any, loss: Any, error: Any, weight: Any) -> None:
        self.names = names
        self.loss = loss
        self.error = error
        self.weight = weight

    def plot(self, *, ax: Any = None, **kwargs: Any) -> "CandidatesDisplay":
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None is a new figure.
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        display : CandidatesDisplay
        """
        self.ax_ = new_axes(ax, type(self).__name__)
        from matplotlib.lines import Line2D

        self.figure_ = self.ax_.figure
        order = np.argsort(-np.asarray(self.loss), kind="stable")
        loss, error, weight = (
            np.asarray(each)[order] for each in (self.loss, self.error, self.weight)
        )
        place = np.arange(len(order))
        defaults = {"fmt": "o", "markerfacecolor": "w", "capsize": 3}
        self.errorbar_ = self.ax_.errorbar(
            loss, place, xerr=error, **styled(defaults, kwargs, Line2D)
        )
        used = weight > 0
        color = self.errorbar_.lines[0].get_color()
        self.points_ = self.ax_.scatter(loss[used], place[used], color=color, zorder=3)
        for x, y, share in zip(loss[used], place[used], weight[used], strict=True):
            self.ax_.annotate(
                f"weight {share:.2f}", (x, y), (6, 6), textcoords="offset points"
            )
        self.ax_.set_yticks(place, [self.names[j] for j in order])
        # Room for the weight above the first.
        self.ax_.set(xlabel="held-out log loss (nats)", ylim=(-0.6, len(order) - 0.2))
        return self

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, **kwargs: Any
    ) -> "CandidatesDisplay":
        """Draw the candidates of a fitted estimator.

        Parameters
        ----------
        estimator : AutoRatio
            Fitted.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None is a new figure.
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        display : CandidatesDisplay

        Raises
        ------
        TypeError
            If it has no ``candidates_``.
        sklearn.exceptions.NotFittedError
            If it is not fitted.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "candidates_"):
            raise TypeError(
                f"{type(estimator).__name__} has no candidates_: pass an AutoRatio."
            )
        rows = list(estimator.candidates_)
        columns = (
            np.array([getattr(row, name) for row in rows])
            for name in ("loss", "error", "weight")
        )
        return cls([row.name for row in rows], *columns).plot(ax=ax, **kwargs)
