"""TrainingCurveDisplay: the loss over the steps of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skdre.base import DensityRatioMixin
from skdre.inspection._drawing import Display, add_legend, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

    from skdre._core.types import Floats


__all__ = ["TrainingCurveDisplay"]


def _trained_parts(estimator):
    """Yield those with a loss curve: the estimator, its steps, what is inside it."""
    if hasattr(estimator, "loss_curve_"):
        yield estimator
    elif isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            yield from _trained_parts(step)
    elif isinstance(parts := getattr(estimator, "estimators_", None), dict):
        for models in parts.values():
            for model in models:
                yield from _trained_parts(model)
    else:
        for inside in ("best_estimator_", "estimator_", "ratio_"):
            if getattr(estimator, inside, None) is not None:
                yield from _trained_parts(getattr(estimator, inside))
                return


class TrainingCurveDisplay(Display):
    """Loss over the steps of a training, at training rows and at held-out ones.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as
    attributes.

    Parameters
    ----------
    steps : ndarray of shape (n_epochs,)
        Steps after which the losses were taken.
    training_loss : ndarray of shape (n_epochs,)
        Loss at the training rows, the lower the better.
    validation_loss : ndarray of shape (n_epochs,), default=None
        Loss at held-out rows.
    best_loss : float, default=None
        Held-out loss of the weights that were kept.
    %(estimator_name)
    steps_name : str, default="training steps"
        What the steps are.
    loss_name : str, default="loss (nats)"
        What the loss is.

    Attributes
    ----------
    training_line_, validation_line_ : matplotlib.lines.Line2D
        The curves; the second is None if there is none.
    best_line_ : matplotlib.lines.Line2D or None
        A level line at `best_loss`.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : The score over the number of rows.

    Examples
    --------
    >>> from skdre import MLPRatio
    >>> from skdre.datasets import make_known_ratio
    >>> from skdre.inspection import TrainingCurveDisplay
    >>> X, y = make_known_ratio("moons", 200, random_state=0).pool()
    >>> ratio = MLPRatio(max_iter=200, random_state=0).fit(X, y)
    >>> display = TrainingCurveDisplay.from_estimator(ratio)
    >>> float(display.steps[-1])
    200.0
    """

    def __init__(
        self,
        steps: Floats,
        training_loss: Floats,
        validation_loss: Floats | None = None,
        *,
        best_loss: float | None = None,
        estimator_name: str | None = None,
        steps_name: str = "training steps",
        loss_name: str = "loss (nats)",
    ) -> None:
        self.steps = steps
        self.training_loss = training_loss
        self.validation_loss = validation_loss
        self.best_loss = best_loss
        self.estimator_name = estimator_name
        self.steps_name = steps_name
        self.loss_name = loss_name

    def plot(
        self, *, ax: Axes | None = None, name: str | None = None, **kwargs: Any
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        %(ax)
        %(legend_name)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`, of both curves.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        self._set_axes(ax)
        from matplotlib.lines import Line2D

        defaults = {"color": "0.55", "label": "training rows"}
        (self.training_line_,) = self.ax_.plot(
            self.steps, self.training_loss, **styled(defaults, kwargs, Line2D)
        )
        self.validation_line_ = self.best_line_ = None
        if self.validation_loss is not None:
            defaults = {"color": "C0", "label": "held-out rows"}
            (self.validation_line_,) = self.ax_.plot(
                self.steps, self.validation_loss, **styled(defaults, kwargs, Line2D)
            )
        if self.best_loss is not None:
            self.best_line_ = self.ax_.axhline(
                self.best_loss,
                color="k",
                linestyle=":",
                linewidth=1,
                label=f"kept: {self.best_loss:.4g}",
            )
        self.ax_.set(xlabel=self.steps_name, ylabel=self.loss_name)
        add_legend(self.ax_, self.estimator_name if name is None else name)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        *,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``loss_curve_`` and perhaps ``validation_scores_``, minus the
            loss at held-out rows, as networks and flows of skdre have them; or a
            pipeline, a search or an :class:`skdre.AutoRatio` with one such in it.
        %(legend_name)
        %(ax)
        **kwargs : dict
            For :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : TrainingCurveDisplay

        Raises
        ------
        ValueError
            If several steps of a pipeline were trained, or nothing was: a flow in
            closed form has no curve.
        TypeError
            If there is no loss curve, or ``validation_scores_`` are of another package,
            which may mean something else by them.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(estimator)
        parts = list(_trained_parts(estimator))
        if not parts:
            raise TypeError(
                f"{type(estimator).__name__} has no loss_curve_: it is not trained in "
                "steps."
            )
        if len(parts) > 1:
            names = [type(part).__name__ for part in parts]
            raise ValueError(
                f"estimator has several trained parts, {names}: pass one of them."
            )
        (part,) = parts
        training_loss = np.asarray(part.loss_curve_, dtype=np.float64)
        if not training_loss.size:
            raise ValueError(
                f"{type(part).__name__} was fitted in closed form: there is no curve."
            )
        scores = getattr(part, "validation_scores_", None)
        if scores is not None and not isinstance(
            part, DensityRatioMixin | TransformerMixin
        ):
            raise TypeError(
                f"validation_scores_ of {type(part).__name__} may be another figure "
                "than minus its loss; build the Display from the curves themselves."
            )
        n_epochs = len(training_loss)
        n_steps = getattr(part, "n_iter_", n_epochs)
        best = getattr(part, "best_validation_score_", None)
        display = cls(
            np.arange(1, n_epochs + 1) * (n_steps / n_epochs),
            training_loss,
            None if scores is None else -np.asarray(scores, dtype=np.float64),
            best_loss=None if best is None else -best,
            estimator_name=type(part).__name__ if name is None else name,
            steps_name="epochs" if n_steps == n_epochs else "training steps",
            # Score matching has a squared loss, not a likelihood.
            loss_name="loss" if hasattr(part, "time_score") else "loss (nats)",
        )
        return display.plot(ax=ax, **kwargs)
