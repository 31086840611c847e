"""TimeScoreRatio: a density ratio from the time score of a path of distributions."""

import copy
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skdre._compat import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skdre._core.rows import discrete_columns
from skdre._core.samples import PooledRows
from skdre._core.scales import column_scales
from skdre._core.seeds import draw_seed
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre._nn.batches import TensorRows
from skdre._nn.callbacks import TaskCallback
from skdre._nn.estimator import NetworkMixin
from skdre._nn.settings import Dice, resolve_device, seeded, usual_torch
from skdre._nn.training import fitted_module, train
from skdre.base import DensityRatioMixin, split_samples
from skdre.paths import PATHS, Path, check_path
from skdre.time_score._gradients import log_ratio_and_gradient
from skdre.time_score._integrate import (
    INTEGRATOR_CONSTRAINTS,
    Integrator,
    check_integrator,
    path_integral,
)
from skdre.time_score._losses import WEIGHTINGS, ScoreLoss
from skdre.time_score._networks import SumOfScores, TimeMLP
from skdre.time_score._objectives import OBJECTIVES, choose_objective, data_score
from skdre.time_score._sampling import LossHistory, UniformTimes, batches_and_held_out
from skdre.time_score._scaling import fit_scaling

__all__ = ["TimeScoreRatio"]

# Steps between two looks at the held-out rows: an epoch of the training loop.
_STEPS_PER_EPOCH = 100

# Rows at which a prediction compares its integral with a finer one, and the difference,
# in nats or relative to the log ratio, that is warned of.
_CHECKED_ROWS = 32
_LARGE_ERROR = 0.05


class TimeScoreRatio(
    NetworkMixin, DensityRatioMixin, CallbackSupportMixin, BaseEstimator
):
    r"""Density ratio by integrating the time score of a path between the samples.

    DRE-infinity [1]_: a path turns the denominator q (t = 0) into the numerator p
    (t = 1) through distributions p_t, and a network learns the time score
    s(x, t) = d/dt log p_t(x) from samples alone. The log ratio is its integral,

    .. math::

       \log r(x) = \int_0^1 \frac{\partial}{\partial t} \log p_t(x) \, dt ,

    telescoping with infinitely many bridges, for samples that lie far apart.

    Parameters
    ----------
    objective : {"tsm", "velocity", "joint", "joint-sliced", "ctsm", "ctsm-v", \
            "fokker-planck", "fokker-planck-sliced"}, default="tsm"
        The loss.

        - "tsm": time score matching, Eq. 5 of [1]_ with its square restored.
        - "velocity": the same expectation with the derivative in time taken along the
          pairs of rows, x_t' . grad s: no ends, and half the time.
        - "joint": time and data score (the gradient of log p_t) together, Eq. 8.
        - "ctsm", "ctsm-v": regression on the time score given the pair, as a sum or
          per feature [2]_. They need a path with noise of its own or a Gaussian
          denominator.
        - "fokker-planck": the data score alone; the time score follows from the
          diffusion (Eq. 19). It needs a path without noise, best "vpsde", and a
          Gaussian denominator.
        - "joint-sliced", "fokker-planck-sliced": with sliced score matching of the
          data score. "joint" and "fokker-planck" take denoising score matching where
          there is what "ctsm" needs.
    path : str or :class:`skdre.paths.Path`, default="trigonometric"
        A name of ``skdre.paths.PATHS``, or a path.
    center : bool, default=True
        Move the mean in a straight line, at an even pace. "fokker-planck" does not.
    denominator : {"sample", "gaussian"}, default="sample"
        "gaussian" takes the denominator for a Gaussian with the moments of its rows,
        and draws from that.
    base_score : {"auto", "gaussian"} or None, default="auto"
        The score that the network is added to: that of the path between two Gaussians
        with the samples' (shrunk) moments, or none. "auto" takes it where it has a
        closed form: on paths without noise, and not for "ctsm-v".
    weighting : {"uniform", "parabolic"} or callable, default="uniform"
        The weight lambda(t) of a time in the loss: 1, 0.25 + 4.5 t (1 - t), or a
        differentiable function of a tensor. The conditional objectives multiply it
        with the inverse variance of their target.
    time_sampling : {"uniform", "importance"}, default="uniform"
        "importance" draws times where the loss was large in the last 100 batches, and
        weights them back (Eq. 11 and appendix D.1 of [1]_).
    n_anchors : int, default=None
        Integrate along straight lines to x from this many rows of the denominator and
        take the mean (Eq. 12), instead of integrating at x. Needs "joint".
    integrator : {"gauss-legendre", "rk45"}, GaussLegendre or RK45, \
            default="gauss-legendre"
        How predictions integrate over time unless they are told otherwise: at 16 fixed
        nodes, or in adaptive steps with a tolerance of 1e-5, a hundred times slower.
        Other numbers are set by ``GaussLegendre(n_nodes)`` and ``RK45(tol)`` of
        :mod:`skdre.time_score`.
    network : torch.nn.Module, default=None
        The network to train, a copy of it. It is called as ``network(x, t)`` with
        standardised rows of shape (n, n_features) and times of shape (n, 1) and gives a
        tensor of shape (n, n_outputs): the time score (1), for "joint" the time score
        and then the data score (1 + n_features), for "ctsm-v" and "fokker-planck"
        n_features. By default a SiLU network.
    hidden_features : sequence of int, default=(128, 128, 128)
        Widths of the hidden layers.
    time_features : int, default=None
        Embed the time by a Tanh network of this width (appendix D.2); by default it is
        one more input.
    max_iter : int, default=4000
        Most training steps.
    batch_size : int, default=128
        Pairs of a batch, each with a time of its own.
    %(learning_rate)
    %(weight_decay)
    average_decay : float, default=0.99
        Of the exponential average of the weights, which is what is kept; 0 is none.
    patience : int, default=2000
        Steps in which the held-out loss gets no better before training stops.
    %(device)
    %(callbacks) An epoch is 100 steps.
    verbose : int, default=0
        Above 0, print a line for each epoch.
    %(random_state) Draws the initial weights, the pairs and the times.

    Attributes
    ----------
    objective_ : str
        The loss, which says what the outputs of `network_` are.
    denominator_ : {"sample", "gaussian"}
        What the denominator was taken for.
    integrator_ : GaussLegendre or RK45
        How predictions integrate over time unless they are told otherwise.
    anchors_ : ndarray of shape (n_anchors, n_features) or None
        Standardised rows that the lines start from.
    network_ : torch.nn.Module
        The fitted scores of (x, t), base included, in double precision.
    scaling_ : object
        ``scaling_.transform(X)`` gives the standardised rows that `network_` takes.
    path_ : skdre.paths.Path
        The path.
    loss_curve_ : ndarray of shape (n_epochs,)
        Training loss, the mean over each 100 steps.
    validation_scores_ : ndarray of shape (n_epochs,)
        Minus the loss at held-out rows, on draws of pairs and times that stay the same.
        For "tsm", "velocity" and "joint" 0 is a network that adds nothing to the base.
    %(best_validation_score_)
    n_iter_ : int
        Steps that were taken.
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    skdre.TelescopingRatio : Finitely many bridges, each learnt by classification.
    skdre.GaussianRatio : The ratio of the two Gaussians that the base score describes.

    Notes
    -----
    Columns are standardised by their standard deviation within the samples, and values
    4 beyond the outer mean are drawn in to grow like a logarithm: the log ratio is
    finite everywhere. A Gaussian denominator is whitened.

    A column of a few values, many rows at each, has no density between them. "tsm" lets
    it go from the denominator's value to the numerator's at a random time instead.

    A quarter of the rows is held out, and the weights are kept that are best there; the
    initial ones, with which the log ratio is that of the base, are a candidate. Equal
    rows are merged first, and rows are drawn in proportion to their weights, the same
    number from each sample: neither the order of the rows, nor whether a row stands k
    times or has weight k, nor the sizes of the samples change anything.

    References
    ----------
    .. [1] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via
       Infinitesimal Classification", AISTATS 2022, sections 3 to 5, appendices A to E.
    .. [2] H. Yu, A. Klami, A. Hyvarinen, A. Korba, O. Chehab. "Density Ratio Estimation
       with Conditional Probability Paths", ICML 2025 (arXiv 2502.02300).

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import TimeScoreRatio, pool
    >>> rng = np.random.default_rng(0)
    >>> p, q = rng.normal(4, 1, (500, 2)), rng.normal(0, 1, (500, 2))
    >>> ratio = TimeScoreRatio(max_iter=200, random_state=0)
    >>> ratio.fit(*pool(numerator=p, denominator=q))
    TimeScoreRatio(max_iter=200, random_state=0)
    >>> bool(np.mean((ratio.decision_function(p) - (4 * p.sum(axis=1) - 16)) ** 2) < 2)
    True
    """

    _parameter_constraints = {  # noqa: RUF012
        "objective": [StrOptions(set(OBJECTIVES))],
        "path": [StrOptions(set(PATHS)), Path],
        "center": ["boolean"],
        "denominator": [StrOptions({"sample", "gaussian"})],
        "base_score": [StrOptions({"auto", "gaussian"}), None],
        "weighting": [StrOptions(set(WEIGHTINGS)), callable],
        "time_sampling": [StrOptions({"uniform", "importance"})],
        "n_anchors": [Interval(Integral, 1, None, closed="left"), None],
        "integrator": INTEGRATOR_CONSTRAINTS,
        "network": [torch.nn.Module, None],
        "hidden_features": ["array-like"],
        "time_features": [Interval(Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "average_decay": [Interval(Real, 0, 1, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "callbacks": [list, tuple, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        objective: str = "tsm",
        *,
        path: str | Path = "trigonometric",
        center: bool = True,
        denominator: Literal["sample", "gaussian"] = "sample",
        base_score: Literal["auto", "gaussian"] | None = "auto",
        weighting: str | Callable[[torch.Tensor], torch.Tensor] = "uniform",
        time_sampling: Literal["uniform", "importance"] = "uniform",
        n_anchors: int | None = None,
        integrator: str | Integrator = "gauss-legendre",
        network: torch.nn.Module | None = None,
        hidden_features: Sequence[int] = (128, 128, 128),
        time_features: int | None = None,
        max_iter: int = 4000,
        batch_size: int = 128,
        learning_rate: float = 0.002,
        weight_decay: float = 0.001,
        average_decay: float = 0.99,
        patience: int = 2000,
        device: str = "auto",
        callbacks: Sequence[Any] | None = None,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.objective = objective
        self.path = path
        self.center = center
        self.denominator = denominator
        self.base_score = base_score
        self.weighting = weighting
        self.time_sampling = time_sampling
        self.n_anchors = n_anchors
        self.integrator = integrator
        self.network = network
        self.hidden_features = hidden_features
        self.time_features = time_features
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.average_decay = average_decay
        self.patience = patience
        self.device = device
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Rows, y: Values, sample_weight: Values | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        %(X)
        %(y)
        %(sample_weight)

        Returns
        -------
        self : TimeScoreRatio

        Raises
        ------
        ValueError
            If the input or a parameter is not as described, parameters do not go
            together, or the device is not there.
        KeyboardInterrupt
            At Ctrl-C; the estimator is fitted with the best network so far.

        Warns
        -----
        ConvergenceWarning
            If a loss was not finite: the best network so far is kept.
        UserWarning
            If a column holds a few values only and `objective` is not "tsm".
        """
        device = resolve_device(self.device)
        self._check_hidden_features()
        path = check_path(self.path)
        integrator = check_integrator(self.integrator)
        objective = choose_objective(
            self.objective, path, self.denominator, self.base_score, self.n_anchors
        )
        center = self.center and objective.moves_mean
        samples = split_samples(self, X, y, sample_weight)
        rows = PooledRows.of(samples)
        is_gaussian = self.denominator == "gaussian"
        scales = column_scales(samples.parts, samples.names)
        scaling = fit_scaling(rows, scales, whiten=is_gaussian)
        Z = scaling.transform(rows.X)
        is_discrete = discrete_columns(rows.X, rows.weight)
        rng = check_random_state(self.random_state)
        seed = draw_seed(rng)
        anchors = None
        if self.n_anchors is not None:
            share, _ = rows.split(rows.weight)
            share = share / share.sum()
            anchors = Z[rng.choice(len(share), self.n_anchors, p=share)]
        n_epochs = -(-self.max_iter // _STEPS_PER_EPOCH)
        data = {"X": X, "y": y}
        with usual_torch(grad=True):
            network = self._new_network(objective, Z.shape[1], seed).to(device)
            inputs = torch.as_tensor(Z, dtype=torch.float32, device=device)
            objective.check_network(network, inputs)
            base = None
            if self.base_score is not None and objective.has_base_score(path):
                base = objective.base_score(path, Z, rows, is_discrete, center)
                base = base.to(device)
            setting = objective.setting(
                path,
                inputs,
                rows,
                is_discrete,
                center=center,
                gaussian=is_gaussian,
                weighting=self.weighting,
                base=copy.deepcopy(base).float() if base else None,
            )

            def fitted(net):
                return {
                    "network_": SumOfScores(fitted_module(net).score, base).eval(),
                    "objective_": self.objective,
                    "denominator_": self.denominator,
                    "integrator_": integrator,
                    "path_": path,
                    "scaling_": scaling,
                    "anchors_": anchors,
                    "classes_": samples.classes,
                }

            root = self._init_callback_context(max_subtasks=n_epochs)
            root.call_on_fit_task_begin(estimator=self, **data)
            net = self._train(
                partial(ScoreLoss, network, objective.losses, setting),
                inputs,
                rows,
                margin=path.margin,
                seed=seed,
                max_epochs=n_epochs,
                callbacks=[
                    *(self.callbacks or ()),
                    ("sklearn", TaskCallback(root, self, data, fitted)),
                ],
            )
            attributes = fitted(net) | self._records(net)
        if is_discrete.any() and setting.is_discrete is None:
            found = np.flatnonzero(is_discrete)
            if samples.names is not None:
                found = np.asarray(samples.names)[found]
            warnings.warn(
                f"Columns {found.tolist()} hold a few values, "
                "between which a path has no density that a score could be of: use "
                "objective='tsm', which mixes such columns.",
                UserWarning,
                stacklevel=5,
            )
        for name, value in attributes.items():
            setattr(self, name, value)
        if net.interrupt_:
            raise net.interrupt_
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    def _new_network(self, objective, n_features, seed):
        if self.network is not None:
            return copy.deepcopy(self.network).float()
        with seeded(seed):
            return TimeMLP(
                n_features,
                objective.n_outputs(n_features),
                self.hidden_features,
                self.time_features,
            )

    def _train(self, new_loss, inputs, rows, *, margin, seed, max_epochs, callbacks):
        """Train a loss, new_loss(times), on draws of the rows but those held out."""
        times = UniformTimes(margin)
        if self.time_sampling == "importance":
            times = LossHistory(margin)
        n_batches = -(-self.max_iter // max_epochs)
        batches, held_out = batches_and_held_out(
            inputs,
            rows,
            times,
            n_batches=n_batches,
            gaussian=self.denominator == "gaussian",
            dice=Dice(seed),
        )
        return train(
            new_loss(times),
            _mean,
            TensorRows(inputs),
            held_out,
            iterator_train=batches,
            max_epochs=max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            average_decay=self.average_decay,
            patience=-(-self.patience // n_batches),
            seed=seed,
            callbacks=callbacks,
            verbose=int(self.verbose),
        )

    # What is predicted follows from the fit and the arguments alone, not from
    # parameters that were set since.

    def _scores(self, read, Z, t):
        """What read(network, path, x, t) gives at standardised rows and times."""
        device = next(self.network_.parameters()).device
        z, t = (torch.as_tensor(each, device=device) for each in (Z, t[:, None]))
        with usual_torch(grad=False):
            return read(self.network_, self.path_, z, t).cpu().numpy()

    def _time_score(self, Z, t):
        return self._scores(OBJECTIVES[self.objective_].time_score, Z, t)

    def _data_score(self, Z, t):
        return self._scores(data_score, Z, t)

    def _log_ratio(self, Z: Floats, integrator: Integrator) -> Floats:
        """Log ratio at standardised rows."""
        starts_inside = OBJECTIVES[self.objective_].diverges_at_start
        start = self.path_.margin if starts_inside else 0.0
        integrate = partial(integrator.integrate, interval=(start, 1.0))
        if self.anchors_ is None:
            return integrate(self._time_score, Z)
        return path_integral(
            self._time_score,
            self._data_score,
            Z,
            self.anchors_,
            integrate,
            gaussian=self.denominator_ == "gaussian",
        )

    def _integrator(self, integrator: str | Integrator | None) -> Integrator:
        return self.integrator_ if integrator is None else check_integrator(integrator)

    def decision_function(
        self, X: Rows, *, integrator: str | Integrator | None = None
    ) -> Floats:
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        %(X_new)
        integrator : {"gauss-legendre", "rk45"}, GaussLegendre or RK45, default=None
            How the integral over time is taken; None is as the estimator was fitted.

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, finite.

        Warns
        -----
        UserWarning
            If the integral is not accurate: with twice the nodes it differs by more
            than 0.05 nats and 5 %, at some of the rows. RK45 has its tolerance.
        """
        X = self._validate_rows(X)
        Z = self.scaling_.transform(X)
        integrator = self._integrator(integrator)
        log_ratio = self._log_ratio(Z, integrator)
        if not integrator.is_adaptive:
            index = np.unique(np.linspace(0, len(Z) - 1, _CHECKED_ROWS).astype(int))
            self._warn_if_inaccurate(Z[index], log_ratio[index], integrator)
        return log_ratio

    def _warn_if_inaccurate(self, Z, log_ratio, integrator):
        finer = integrator.finer()
        error = np.abs(self._log_ratio(Z, finer) - log_ratio)
        worst = np.argmax(error / np.maximum(1, np.abs(log_ratio)))
        if error[worst] > _LARGE_ERROR * max(1, abs(log_ratio[worst])):
            warnings.warn(
                f"The integral over time is not accurate: with {integrator} and with "
                f"{finer} a log ratio of {log_ratio[worst]:.3g} differs by "
                f"{error[worst]:.2g} nats. Increase n_nodes of the integrator.",
                UserWarning,
                stacklevel=3,
            )

    def integration_error(
        self, X: Rows, *, integrator: str | Integrator | None = None
    ) -> Floats:
        """How far the log ratio is off because of its integral over time alone.

        Parameters
        ----------
        %(X_new)
        integrator : {"gauss-legendre", "rk45"}, GaussLegendre or RK45, default=None
            As of :meth:`decision_function`; None is as the estimator was fitted.

        Returns
        -------
        error : ndarray of shape (n_samples,)
            Absolute difference, in nats, to the integral with twice the nodes, or, of
            RK45, with a tenth of the tolerance.
        """
        X = self._validate_rows(X)
        Z = self.scaling_.transform(X)
        integrator = self._integrator(integrator)
        coarse = self._log_ratio(Z, integrator)
        return np.abs(self._log_ratio(Z, integrator.finer()) - coarse)

    def time_score(self, X: Rows, times: npt.ArrayLike) -> Floats:
        """Time score d/dt log p_t(x), whose integral is the log ratio.

        Parameters
        ----------
        %(X_new)
        times : array-like of shape (n_times,)
            Times on the path, from 0, the denominator, to 1, the numerator. Where a
            coefficient of the path has an infinite slope at an end, the score is taken
            1e-5 inside.

        Returns
        -------
        time_score : ndarray of shape (n_samples, n_times)
            In nats by unit of time.

        Raises
        ------
        ValueError
            If a time is not in [0, 1].

        Notes
        -----
        With `n_anchors` the log ratio is the integral along other lines.
        """
        X = self._validate_rows(X)
        Z = self.scaling_.transform(X)
        times = np.asarray(times, dtype=np.float64)
        if times.ndim != 1 or not ((times >= 0) & (times <= 1)).all():
            raise ValueError(
                f"times must be of shape (n_times,), all from 0 to 1, got {times!r}."
            )
        margin = self.path_.margin
        inside = np.clip(times, margin, 1 - margin)
        return np.column_stack(
            [self._time_score(Z, np.full(len(Z), t)) for t in inside]
        )

    def _log_ratio_and_gradient(self, X):
        """Log ratio at rows and its gradient; None of some objectives."""
        return log_ratio_and_gradient(self, X)


def _mean(losses, _):
    return losses.mean()
