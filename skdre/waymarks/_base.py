"""What TelescopingRatio and MultinomialRatio share: the parameters and the fit."""

import warnings
from collections.abc import Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skdre._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skdre._core.samples import PooledRows
from skdre._core.scales import draw_in
from skdre._core.seeds import draw_seed
from skdre._core.tasks import inner_fit
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre._nn.callbacks import TaskCallback
from skdre._nn.estimator import NetworkMixin, n_epochs_and_batches
from skdre._nn.networks import ACTIVATIONS, given_network
from skdre._nn.settings import resolve_device, seeded, usual_torch
from skdre._nn.training import fitted_module
from skdre.base import DensityRatioMixin, split_samples
from skdre.paths import PATHS, Path, check_path
from skdre.waymarks._models import NetworkModel
from skdre.waymarks._networks import train_ensemble
from skdre.waymarks._placement import (
    SPACINGS,
    Spacing,
    check_spacing,
    discriminants,
)
from skdre.waymarks._problem import Problem

__all__ = ["BaseWaymarkRatio", "Problem", "of_model"]


def of_model(name: str) -> property:
    """A fitted attribute that the estimator's model holds."""
    return property(lambda self: getattr(self.model_, name))


class BaseWaymarkRatio(
    NetworkMixin, DensityRatioMixin, CallbackSupportMixin, BaseEstimator
):
    """Base class of estimators over waymarks; not to be used itself.

    A subclass says what fits the ratios between neighbouring waymarks: `_ensemble`, a
    class of networks, and `_model_of_estimator`, a method that makes the model of a
    given estimator, yet unfitted. The parameters and attributes described here are
    those whose descriptions the subclasses share.

    Parameters
    ----------
    n_bridges : int, default=4
        Ratios between neighbouring waymarks, of which there is one more: the two
        samples and n_bridges - 1 distributions between them.
    path : str or :class:`skdre.paths.Path`, default="trigonometric"
        Path from the denominator, t = 0, to the numerator, t = 1: a name of
        ``skdre.paths.PATHS``, or a path. It is followed by the deviations from
        the means; the mean goes straight from one to the other.
    spacing : {"path-length", "linear", "quadratic"} or sequence of float, \
            default="path-length"
        Where the waymarks lie: at equal lengths of the path, at t = k / n_bridges, at
        its square, or at n_bridges + 1 given times from 0 to 1.
    coupled : bool, default=True
        Whether one pair of rows, and one draw of a path's noise, gives a row of every
        waymark, or each waymark has pairs of its own.
    network : torch.nn.Module, default=None
        The network to train, a copy of it, in place of the ensemble that `head`,
        `hidden_features`, `activation` and `n_estimators` describe: called with
        standardised rows of shape (n, n_features) it gives a tensor of shape
        (n, n_outputs), a column for each bridge, or for each of the n_bridges + 1
        waymarks in a multinomial ratio. For images
        ``UNet(image_shape, n_bridges, time_features=None)`` of
        :mod:`skdre.networks`.
    hidden_features : sequence of int, default=(64, 64, 64)
        Widths of the hidden layers of each member's trunk. With none, the heads see
        the standardised columns: quadratic ones then are exact for Gaussians.
    batch_size : int, default=64
        Pairs of rows of a batch for each member; each gives a row of every waymark.
    callbacks : list of skorch callbacks, default=None
        Called during training; their epoch is 25 steps. For scikit-learn's own
        callbacks (1.9 and later) use ``set_callbacks``; epochs are their tasks.
    verbose : int, default=0
        Above 0, print a line for each 25 steps of the networks' training.

    Attributes
    ----------
    network_ : torch.nn.Module
        The fitted ensemble, in double precision; without `estimator`.
    times_ : ndarray of shape (n_bridges + 1,)
        Times of the waymarks on the path.
    path_length_ : float
        Length of the path, of distributions with the moments of its own: how far apart
        the samples lie.
    center_, scale_ : ndarray of shape (n_features_in_,)
        With which the networks' inputs are standardised; a constant column has an
        infinite scale. Without `estimator`.
    n_iter_ : int
        Steps that were taken; of a given `estimator` the most it counted, or 1.
    """

    _parameter_constraints = {  # noqa: RUF012
        "estimator": [HasMethods(["fit"]), None],
        "n_bridges": [Interval(Integral, 1, None, closed="left")],
        "path": [StrOptions(set(PATHS)), Path],
        "spacing": [StrOptions({"path-length", *SPACINGS}), "array-like"],
        "coupled": ["boolean"],
        "head": [StrOptions({"linear", "quadratic"})],
        "network": [torch.nn.Module, None],
        "hidden_features": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "callbacks": [list, tuple, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    # What the fitted model holds, whichever it is.
    network_ = of_model("network_")
    center_ = of_model("center_")
    scale_ = of_model("scale_")
    loss_curve_ = of_model("loss_curve_")
    validation_scores_ = of_model("validation_scores_")
    best_validation_score_ = of_model("best_validation_score_")
    n_iter_ = of_model("n_iter_")

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_bridges: int = 4,
        path: str | Path = "trigonometric",
        spacing: Spacing = "path-length",
        coupled: bool = True,
        head: str = "linear",
        network: torch.nn.Module | None = None,
        hidden_features: Sequence[int] = (64, 64, 64),
        activation: str = "silu",
        n_estimators: int = 8,
        max_iter: int = 2000,
        batch_size: int = 64,
        learning_rate: float = 0.002,
        weight_decay: float = 0.001,
        patience: int = 400,
        device: str = "auto",
        callbacks: Sequence[Any] | None = None,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.n_bridges = n_bridges
        self.path = path
        self.spacing = spacing
        self.coupled = coupled
        self.head = head
        self.network = network
        self.hidden_features = hidden_features
        self.activation = activation
        self.n_estimators = n_estimators
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.patience = patience
        self.device = device
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    @with_callbacks
    # A given estimator validates its own parameters when it is fitted.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Rows, y: Values, sample_weight: Values | None = None) -> Self:
        """Fit the ratios between neighbouring waymarks.

        Parameters
        ----------
        %(X)
        %(y)
        %(sample_weight)

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If the input or a parameter is not as described, or the device is not there.
        KeyboardInterrupt
            At Ctrl-C; the best networks so far are kept.

        Warns
        -----
        ConvergenceWarning
            If the held-out loss of the networks still fell when the steps ran out, or a
            loss was not finite: the best networks so far are kept.
        UserWarning
            If neighbouring waymarks are separated without error: more bridges are
            needed.
        """
        device = resolve_device(self.device)
        self._check_hidden_features()
        self._check_network_alone()
        given = None if self.estimator is None else self._model_of_estimator()
        check_spacing(self.spacing, self.n_bridges)
        path = check_path(self.path)
        samples = split_samples(self, X, y, sample_weight)
        problem = Problem(
            PooledRows.of(samples), path, self.spacing, self.n_bridges, samples.names
        )
        rng = check_random_state(self.random_state)
        n_epochs, _ = n_epochs_and_batches(self.max_iter)
        data = {"X": X, "y": y}
        task = self._init_callback_context(
            max_subtasks=n_epochs if given is None else given.n_fits
        )
        task.call_on_fit_task_begin(estimator=self, **data)

        results: dict[str, Any] = {
            "classes_": samples.classes,
            "times_": problem.times,
            "path_length_": problem.length,
            "bounds_": problem.bounds,
        }
        interrupt = None
        if given is None:

            def fitted(net, **records):
                model = NetworkModel(fitted_module(net), problem, records)
                return results | {"model_": model}

            epochs = TaskCallback(task, self, data, fitted)
            net, separated = self._train(problem, device, draw_seed(rng), epochs)
            results = fitted(net, **self._records(net))
            interrupt = net.interrupt_
        else:
            separated = given.fit(
                problem,
                self.coupled,
                rng,
                deal_seeds=self.random_state is not None,
                subtask=partial(inner_fit, task, self, **data),
            )
            results["model_"] = given
        for name, value in results.items():
            setattr(self, name, value)
        if interrupt:
            raise interrupt
        if given is None:
            self._warn_if_cut_short(n_epochs)
        self._warn_if_separated(separated)
        task.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    @usual_torch(grad=True)
    def _train(self, problem, device, seed, epochs):
        """Train networks that start from the discriminants of Gaussian waymarks.

        Which bridges they separate at held-out rows is returned as well.
        """
        inputs = torch.as_tensor(problem.Z[:2], dtype=torch.float32)
        n_outputs = self.n_bridges + self._ensemble.n_more_heads
        network = None
        if self.network is not None:
            network = given_network(self.network, n_outputs, inputs)
        with seeded(seed):
            network = self._ensemble(
                self.n_estimators if network is None else 1,
                inputs.shape[1],
                self.hidden_features,
                self.n_bridges,
                head=self.head,
                activation=self.activation,
                network=network,
            )
        place = problem.path, problem.moments, problem.times
        network.start_from(*discriminants(*place, quadratic=network.is_quadratic))
        n_epochs, n_batches = n_epochs_and_batches(self.max_iter)
        return train_ensemble(
            network.to(device),
            problem,
            self.coupled,
            n_batches=n_batches,
            max_epochs=n_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=-(-self.patience // n_batches),
            seed=seed,
            callbacks=[*(self.callbacks or ()), ("sklearn", epochs)],
            verbose=int(self.verbose),
        )

    def _check_network_alone(self):
        if self.network is not None and self.estimator is not None:
            raise ValueError(
                "network and estimator both say what fits the bridges; give one of "
                f"them, got network={type(self.network).__name__} and "
                f"estimator={self.estimator!r}."
            )

    def _warn_if_separated(self, separated):
        if not separated.any():
            return
        numbers = [str(k + 1) for k in np.flatnonzero(separated)]
        which = f"bridge{'s' * (len(numbers) > 1)} {', '.join(numbers)}"
        where = "held-out rows" if self.estimator is None else "the rows of the fit"
        warnings.warn(
            f"{type(self).__name__} separates neighbouring waymarks without error, at "
            f"{where}: {which} of {self.n_bridges}, counted from the "
            "denominator. They hardly overlap, so the size of their log ratio cannot "
            "be learnt. Increase n_bridges: the samples lie "
            f"{self.path_length_:.3g} apart, and a bridge of length 1 to 2 is easy.",
            UserWarning,
            stacklevel=6,
        )

    def log_ratios(self, X: Rows) -> Floats:
        """Logarithm of the ratio between each two neighbouring waymarks.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_ratios : ndarray of shape (n_samples, n_bridges)
            In nats, the bridge at the denominator first; they sum to
            ``decision_function``.
        """
        rows = self._validate_rows(X)
        values = self.model_.log_ratios(draw_in(rows, *self.bounds_))
        limit = np.finfo(np.float64).max / values.shape[1]
        return np.clip(values, -limit, limit)

    def decision_function(self, X: Rows) -> Floats:
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, finite: the sum of :meth:`log_ratios`.
        """
        return self.log_ratios(X).sum(axis=1)

    def _log_ratio_and_gradient(self, X):
        """Log ratio at rows and its gradient, or None of a given estimator."""
        if not isinstance(self.model_, NetworkModel):
            return None
        return self.model_.log_ratio_and_gradient(X, self.bounds_)
