"""What TelescopingRatio and MultinomialRatio share: waymarks, and networks on them."""

import copy
import warnings
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skdre._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skdre._core.folds import member_folds
from skdre._core.moments import joint_moments
from skdre._core.rows import PooledRows, discrete_columns
from skdre._core.scales import column_scales, draw_in
from skdre._nn.estimator import NetworkMixin, n_epochs_and_batches
from skdre._nn.networks import ACTIVATIONS
from skdre._nn.settings import (
    Dice,
    seeded,
    usual_torch,
)
from skdre._nn.training import TaskCallback, resolve_device
from skdre.base import DensityRatioMixin, split_samples
from skdre.paths import PATHS, Path, check_path
from skdre.waymarks._networks import BridgeEnsemble, train_bridges
from skdre.waymarks._placement import (
    SPACINGS,
    check_spacing,
    discriminants,
    path_coefficients,
    path_length_of,
    waymark_times,
)
from skdre.waymarks._sampling import Waymarks, draw_pairs, sample_shares

__all__ = ["BaseWaymarkRatio", "Problem"]

# Rows that go through the network at once when it predicts.
_CHUNK_ROWS = 2048

# Rows that stand many times count as so many pairs, up to this number.
_MOST_REPEATS = 10_000

# Standardised rows of any size stay finite in what is done with them.
_LARGEST = 1e100


class Problem:
    """Two samples on a path: merged rows, their scale, and where the waymarks lie.

    Parameters
    ----------
    rows : skdre._core.rows.PooledRows
    path : skdre.paths.Path
    spacing : str or sequence of float
    n_bridges : int
    """

    def __init__(self, rows, path, spacing, n_bridges, names=None, *, warn=True):
        self.path = path
        self.rows = rows
        self.weight, self.n_denominator = rows.weight, rows.n_denominator
        scales = column_scales(rows.samples(), names, warn=warn)
        self.bounds = np.stack([scales.low, scales.high])
        self.X = scales.draw_in(rows.X)
        self.center, self.scale = scales.center, scales.total
        self.varies = np.ptp(self.X, axis=0) > 0
        # A column of one value is exactly 0, whatever the rounding of its mean.
        self.Z = np.where(self.varies, (self.X - self.center) / self.scale, 0.0)
        self.is_discrete = discrete_columns(self.X, self.weight)
        Z_q, Z_p = np.split(self.Z, [self.n_denominator])
        weights = np.split(self.weight, [self.n_denominator])
        self.moments = moments = joint_moments(Z_q, Z_p, weights)
        self.length = path_length_of(path, moments)
        self.times = waymark_times(path, spacing, n_bridges, moments)

    def waymarks(self, inputs, coupled):
        """The waymarks, of rows `inputs` that are a tensor of ``Z``."""
        return Waymarks(
            inputs,
            self.n_denominator,
            self.weight,
            path=self.path,
            times=self.times,
            varies=self.varies,
            is_discrete=self.is_discrete,
            coupled=coupled,
        )

    @usual_torch(grad=False)
    def draw_rows(self, coupled, random_state, n_passes=1):
        """Rows of every waymark in the units of X, in equal numbers.

        The first and the last waymark are rows of the samples, drawn in proportion to
        their weights: where all weigh the same, and a sample is the larger one, each
        once in every pass.

        Parameters
        ----------
        coupled : bool
        random_state : RandomState
        n_passes : int, default=1
            How often the larger sample is gone through.

        Returns
        -------
        rows : ndarray of shape (n_waymarks, n_pairs, n_features)
        in_q, in_p : ndarray of int of shape (n_pairs,)
            Numbers of the rows at the two ends, among the distinct ones of each sample.
        """
        waymarks = self.waymarks(torch.as_tensor(self.Z), coupled)
        parts = np.split(self.weight, [self.n_denominator])
        n_repeats = max(part.sum() for part in parts)
        n_pairs = max(
            *(len(part) for part in parts), int(min(n_repeats, _MOST_REPEATS))
        )
        n_pairs *= n_passes
        shares = sample_shares(self.weight[None], self.n_denominator)
        dice = Dice(int(random_state.randint(np.iinfo(np.int32).max)))
        in_q, in_p = (
            each[0] for each in draw_pairs(shares, n_pairs, 1, waymarks.n_draws, dice)
        )
        rows = waymarks.rows(in_q, in_p, *waymarks.randomness(in_q.shape, dice))
        rows = self.in_units_of_rows(rows[:, :, 0].transpose(0, 1).numpy())
        # Of waymarks that are not coupled the first and the last draw are the ends.
        return rows, in_q[:, 0, 0].numpy(), in_p[:, -1, 0].numpy()

    def in_units_of_rows(self, Z):
        return np.where(self.varies, self.center + self.scale * Z, self.X[0])

    def samples(self):
        """Rows and weights of the denominator, and those of the numerator."""
        return list(
            zip(
                np.split(self.X, [self.n_denominator]),
                np.split(self.weight, [self.n_denominator]),
                strict=True,
            )
        )


class BaseWaymarkRatio(
    NetworkMixin, DensityRatioMixin, CallbackSupportMixin, BaseEstimator
):
    """Base class of estimators over waymarks; not to be used itself.

    A subclass defines, for the networks, `_network_criterion`, `_n_heads`,
    `_log_ratios_of_outputs`, its inverse `_as_outputs` and `_separates`; for a given
    estimator `_check_estimator`, `_fit_estimator` and `_estimator_log_ratios`.
    """

    _parameter_constraints = {  # noqa: RUF012
        "estimator": [HasMethods(["fit"]), None],
        "n_bridges": [Interval(Integral, 1, None, closed="left")],
        "path": [StrOptions(set(PATHS)), Path],
        "spacing": [StrOptions({"path-length", *SPACINGS}), "array-like"],
        "coupled": ["boolean"],
        "head": [StrOptions({"linear", "quadratic"})],
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

    def __init__(
        self,
        estimator=None,
        *,
        n_bridges=4,
        path="trigonometric",
        spacing="path-length",
        coupled=True,
        head="linear",
        hidden_features=(64, 64, 64),
        activation="silu",
        n_estimators=8,
        max_iter=2000,
        batch_size=64,
        learning_rate=0.002,
        weight_decay=0.001,
        patience=400,
        device="auto",
        callbacks=None,
        verbose=0,
        random_state=None,
    ):
        self.estimator = estimator
        self.n_bridges = n_bridges
        self.path = path
        self.spacing = spacing
        self.coupled = coupled
        self.head = head
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
    def fit(self, X, y, sample_weight=None):
        """Fit the ratios between neighbouring waymarks.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both samples, finite.
        y : array-like of shape (n_samples,)
            Domain labels, two values; the greater names the numerator.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights inside each domain: k is k repeats of the row, 0 its absence. See
            "Weights, copies and repeats" in the user guide.

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
        self._check_estimator()
        check_spacing(self.spacing, self.n_bridges)
        path = check_path(self.path)
        samples = split_samples(self, X, y, sample_weight)
        problem = Problem(
            PooledRows.of(samples),
            path,
            self.spacing,
            self.n_bridges,
            samples.names,
        )
        rng = check_random_state(self.random_state)
        data = {"X": X, "y": y}
        if self.estimator is None:
            attributes = self._fit_networks(problem, samples.classes, device, rng, data)
        else:
            attributes = self._fit_estimator(problem, rng, data)
            attributes |= {"classes_": samples.classes}
        separated, task = attributes.pop("separated"), attributes.pop("task")
        interrupt = attributes.pop("interrupt", None)
        # What an earlier fit with other parameters left.
        for name in ("network_", "estimators_", "estimator_"):
            vars(self).pop(name, None)
        attributes |= {
            "times_": problem.times,
            "path_length_": problem.length,
            "bounds_": problem.bounds,
        }
        for name, value in attributes.items():
            setattr(self, name, value)
        if interrupt:
            raise interrupt
        if self.estimator is None:
            self._warn_if_cut_short(n_epochs_and_batches(self.max_iter)[0])
        self._warn_if_separated(separated)
        task.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    @usual_torch(grad=True)
    def _fit_networks(self, problem, classes, device, rng, data):
        """Train the networks; the attributes of a fit."""
        seed = int(rng.randint(np.iinfo(np.int32).max))
        with seeded(seed):
            network = BridgeEnsemble(
                self.n_estimators,
                problem.Z.shape[1],
                self.hidden_features,
                self._n_heads(),
                head=self.head,
                activation=self.activation,
            )
        self._start(network, problem)
        network = network.to(device)
        inputs = torch.as_tensor(problem.Z, dtype=torch.float32, device=device)
        held_out = member_folds(problem.rows, self.n_estimators)
        scale = {
            "center_": problem.center,
            "scale_": np.where(problem.varies, problem.scale, np.inf),
            "classes_": classes,
        }

        def fitted(net):
            module = copy.deepcopy(net.module_)
            module.load_state_dict(net.average_)
            return scale | {"network_": _ready(module)}

        n_epochs, n_batches = n_epochs_and_batches(self.max_iter)
        root = self._init_callback_context(max_subtasks=n_epochs)
        root.call_on_fit_task_begin(estimator=self, **data)
        net, outputs = train_bridges(
            network,
            problem.waymarks(inputs, self.coupled),
            problem.weight,
            held_out,
            criterion=self._network_criterion,
            n_batches=n_batches,
            max_epochs=n_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=-(-self.patience // n_batches),
            seed=seed,
            callbacks=[
                *(self.callbacks or ()),
                ("sklearn", TaskCallback(root, self, data, fitted)),
            ],
            verbose=int(self.verbose),
        )
        return scale | {
            "network_": _ready(network),
            "separated": self._separates(outputs),
            "task": root,
            "interrupt": net.interrupt_,
            **self._records(net),
        }

    def _start(self, network, problem):
        """Start from the discriminants of Gaussian waymarks."""
        coefficients = path_coefficients(problem.path, problem.times)
        linear, quadratic = discriminants(problem.moments, coefficients, problem.times)
        bends = self.head == "quadratic" and not network.has_trunk
        W, b, c = quadratic if bends else linear
        W, b, c = (self._as_outputs(each) for each in (W.transpose(1, 2, 0), b, c))
        network.start_from(W.transpose(2, 0, 1), b, c)

    def _warn_if_separated(self, separated):
        if not any(separated):
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

    def log_ratios(self, X):
        """Logarithm of the ratio between each two neighbouring waymarks.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_ratios : ndarray of shape (n_samples, n_bridges)
            In nats, the bridge at the denominator first; they sum to
            ``decision_function``.
        """
        X = draw_in(self._validate_rows(X), *self.bounds_)
        if hasattr(self, "network_"):
            values = self._log_ratios_of_outputs(self._outputs(X))
        else:
            values = self._estimator_log_ratios(X)
        limit = np.finfo(np.float64).max / values.shape[1]
        return np.clip(values, -limit, limit)

    def _outputs(self, X, *, of_members=False):
        """Outputs of the networks, the mean of all members or of each."""
        with np.errstate(over="ignore"):
            Z = np.clip((X - self.center_) / self.scale_, -_LARGEST, _LARGEST)
        device = next(self.network_.parameters()).device
        parts = []
        with usual_torch(grad=False):
            for start in range(0, len(Z), _CHUNK_ROWS):
                z = torch.as_tensor(Z[start : start + _CHUNK_ROWS], device=device)
                outputs = self.network_(z)
                outputs = outputs if of_members else outputs.mean(dim=1)
                parts.append(outputs.cpu().numpy())
        return np.concatenate(parts)

    def decision_function(self, X):
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, finite: the sum of :meth:`log_ratios`.
        """
        return self.log_ratios(X).sum(axis=1)


def deal_random_state(estimator, random_state):
    """Set every random_state of an estimator, and of those inside it."""
    states = [
        name
        for name in sorted(estimator.get_params())
        if name.split("__")[-1] == "random_state"
    ]
    seeds = random_state.randint(np.iinfo(np.int32).max, size=len(states))
    return estimator.set_params(**dict(zip(states, seeds.tolist(), strict=True)))


def innermost(estimator):
    """The estimator that learns, inside pipelines and searches."""
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif isinstance(getattr(estimator, "estimator", None), BaseEstimator) and (
            not isinstance(estimator, DensityRatioMixin)
        ):
            estimator = estimator.estimator
        else:
            return estimator


def steps_taken(estimators):
    """Most iterations of the estimators given; 1 if none counts them."""
    counts = (getattr(innermost(each), "n_iter_", 1) for each in estimators)
    return max(1, *(int(np.max(each)) for each in counts))


def _ready(network):
    return network.double().eval().requires_grad_(False)
