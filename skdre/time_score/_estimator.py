"""TimeScoreRatio: a density ratio from the time score of a path of distributions."""

import copy
import warnings
from functools import partial
from numbers import Integral, Real

import numpy as np
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
from skdre._core.folds import member_folds
from skdre._core.moments import joint_moments
from skdre._core.rows import discrete_columns
from skdre._core.samples import PooledRows
from skdre._core.scales import column_scales
from skdre._core.seeds import draw_seed
from skdre._nn.batches import cumulative_shares
from skdre._nn.estimator import NetworkMixin
from skdre._nn.settings import Dice, seeded, usual_torch
from skdre._nn.training import TaskCallback, TensorRows, resolve_device, train
from skdre.base import DensityRatioMixin, split_samples
from skdre.paths import PATHS, Path, check_path
from skdre.time_score._losses import WEIGHTINGS, ScoreLoss
from skdre.time_score._networks import SumOfScores, TimeMLP
from skdre.time_score._plan import OUTPUTS, TimePlan
from skdre.time_score._prediction import TimeScorePrediction
from skdre.time_score._sampling import (
    DrawBatches,
    LossHistory,
    UniformTimes,
    draw_pairs_and_times,
)
from skdre.time_score._scaling import fit_scaling

__all__ = ["TimeScoreRatio"]

# Steps between two looks at the held-out rows: an epoch of the training loop.
_STEPS_PER_EPOCH = 100

# Draws that the held-out loss is the mean over, always the same ones: some for each
# held-out row of the larger sample, within bounds.
_DRAWS_PER_ROW = 8
_HELD_OUT_DRAWS = 512, 8192


class TimeScoreRatio(
    TimeScorePrediction,
    NetworkMixin,
    DensityRatioMixin,
    CallbackSupportMixin,
    BaseEstimator,
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
    objective : {"tsm", "velocity", "joint", "ctsm", "ctsm-v", "fokker-planck"}, \
            default="tsm"
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
    path : {"trigonometric", "linear", "arithmetic", "vpsde", "bridge"} or \
            skdre.paths.Path, default="trigonometric"
        See :mod:`skdre.paths`.
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
    data_loss : {"auto", "sliced", "denoising"}, default="auto"
        How the data score is learnt. "denoising" needs what "ctsm" needs, and "auto"
        takes it there.
    pathwise : bool, default=False
        Integrate along straight lines from rows of the denominator to x (Eq. 12),
        instead of at x. Needs "joint".
    n_anchors : int, default=4
        How many rows of the denominator these lines start from; the mean is taken.
    integrator : {"gauss-legendre", "rk45"}, default="gauss-legendre"
        Fixed nodes, or adaptive steps for each row by itself, as accurate as `tol` but
        a hundred times slower. This, `n_nodes` and `tol` are what predictions do unless
        ``decision_function`` is told otherwise.
    n_nodes : int, default=16
        Nodes of "gauss-legendre".
    tol : float, default=1e-5
        Relative and absolute tolerance of the steps of "rk45".
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
    learning_rate : float, default=0.002
        Of AdamW, at the start; it falls to zero along a cosine over `max_iter`.
    weight_decay : float, default=0.001
        Of AdamW.
    average_decay : float, default=0.99
        Of the exponential average of the weights, which is what is kept; 0 is none.
    patience : int, default=2000
        Steps in which the held-out loss gets no better before training stops.
    device : str, default="auto"
        "auto" trains on CUDA where there is one; or "cpu", "cuda", "cuda:1".
    callbacks : list of skorch callbacks, default=None
        Called during training; their epoch is 100 steps. For scikit-learn's own
        callbacks (1.9 and later) use ``set_callbacks``; epochs are their tasks.
    verbose : int, default=0
        Above 0, print a line for each 100 steps.
    random_state : int, RandomState instance or None, default=None
        Draws the initial weights, the pairs and the times. The global seeds of numpy
        and torch are neither read (unless this is None, numpy's) nor changed.

    Attributes
    ----------
    objective_ : str
        The loss, which says what the outputs of `network_` are.
    denominator_ : {"sample", "gaussian"}
        What the denominator was taken for.
    integral_ : dict
        How the integral over time is taken unless a prediction is told otherwise: the
        "integrator", "n_nodes" and "tol" of the fit.
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
    best_validation_score_ : float
        The same, of the weights that are kept.
    n_iter_ : int
        Steps that were taken.
    classes_ : ndarray of shape (2,)
        The labels; the second is the numerator's.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X had them.

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

    Mean squared error of the log ratio with defaults, of 10,000 rows from each of two
    Gaussians 5.7 standard deviations apart: 0.05, and 2.6 without the base score. Far
    from Gaussian (spirals, a shell, bananas; 1,000 rows each) it was 2 to 5, and
    `base_score=None` a fifth better. A fit takes 10 to 20 seconds of one core.

    Ctrl-C during fit raises KeyboardInterrupt, and the best network so far is kept: the
    estimator is fitted with it.

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
        "objective": [StrOptions(set(OUTPUTS))],
        "path": [StrOptions(set(PATHS)), Path],
        "center": ["boolean"],
        "denominator": [StrOptions({"sample", "gaussian"})],
        "base_score": [StrOptions({"auto", "gaussian"}), None],
        "weighting": [StrOptions(set(WEIGHTINGS)), callable],
        "time_sampling": [StrOptions({"uniform", "importance"})],
        "data_loss": [StrOptions({"auto", "sliced", "denoising"})],
        "pathwise": ["boolean"],
        "n_anchors": [Interval(Integral, 1, None, closed="left")],
        "integrator": [StrOptions({"gauss-legendre", "rk45"})],
        "n_nodes": [Interval(Integral, 2, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
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
        objective="tsm",
        *,
        path="trigonometric",
        center=True,
        denominator="sample",
        base_score="auto",
        weighting="uniform",
        time_sampling="uniform",
        data_loss="auto",
        pathwise=False,
        n_anchors=4,
        integrator="gauss-legendre",
        n_nodes=16,
        tol=1e-5,
        network=None,
        hidden_features=(128, 128, 128),
        time_features=None,
        max_iter=4000,
        batch_size=128,
        learning_rate=0.002,
        weight_decay=0.001,
        average_decay=0.99,
        patience=2000,
        device="auto",
        callbacks=None,
        verbose=0,
        random_state=None,
    ):
        self.objective = objective
        self.path = path
        self.center = center
        self.denominator = denominator
        self.base_score = base_score
        self.weighting = weighting
        self.time_sampling = time_sampling
        self.data_loss = data_loss
        self.pathwise = pathwise
        self.n_anchors = n_anchors
        self.integrator = integrator
        self.n_nodes = n_nodes
        self.tol = tol
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
    def fit(self, X, y, sample_weight=None):
        """Train the network.

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
        self : TimeScoreRatio

        Raises
        ------
        ValueError
            If the input or a parameter is not as described, parameters do not go
            together, or the device is not there.
        KeyboardInterrupt
            At Ctrl-C; the best network so far is kept.

        Warns
        -----
        ConvergenceWarning
            If a loss was not finite: the best network so far is kept.
        UserWarning
            If a column holds a few values only and `objective` is not "tsm".
        """
        device = resolve_device(self.device)
        self._check_hidden_features()
        plan = TimePlan(
            objective=self.objective,
            path=check_path(self.path),
            center=self.center,
            denominator=self.denominator,
            base_score=self.base_score,
            weighting=self.weighting,
            data_loss=self.data_loss,
            pathwise=self.pathwise,
        )
        plan.check()
        samples = split_samples(self, X, y, sample_weight)
        rows = PooledRows.of(samples)
        weight, n_denominator = rows.weight, rows.n_denominator
        scales = column_scales(samples.parts, samples.names)
        scaling = fit_scaling(rows, scales, whiten=plan.is_gaussian)
        Z = scaling.transform(rows.X)
        is_discrete = discrete_columns(rows.X, weight)
        moments = joint_moments(
            *rows.split(np.where(is_discrete, 0.0, Z)),
            rows.split(weight),
        )
        rng = check_random_state(self.random_state)
        seed = draw_seed(rng)
        n_epochs = -(-self.max_iter // _STEPS_PER_EPOCH)
        data = {"X": X, "y": y}
        with usual_torch(grad=True):
            with seeded(seed):
                network = self._new_network(Z.shape[1], plan)
            network = network.float().to(device)
            base = plan.base(moments, is_discrete)
            inputs = torch.as_tensor(Z, dtype=torch.float32, device=device)
            plan.check_network(network, inputs)
            of_path = {
                "objective_": self.objective,
                "denominator_": self.denominator,
                "integral_": {
                    name: getattr(self, name)
                    for name in ("integrator", "n_nodes", "tol")
                },
                "path_": plan.path,
                "scaling_": scaling,
                "anchors_": self._anchors(
                    Z[:n_denominator], weight[:n_denominator], rng
                ),
                "classes_": samples.classes,
            }

            def fitted(net, module=None):
                if module is None:
                    module = copy.deepcopy(net.module_)
                    module.load_state_dict(net.average_)
                final = SumOfScores(module.score, plan.base(moments, is_discrete))
                final = final.double().to(device).eval().requires_grad_(False)
                return of_path | {"network_": final}

            root = self._init_callback_context(max_subtasks=n_epochs)
            root.call_on_fit_task_begin(estimator=self, **data)
            net = self._train(
                plan,
                network,
                None if base is None else base.float().to(device),
                inputs,
                rows,
                is_discrete,
                seed=seed,
                max_epochs=n_epochs,
                callbacks=[
                    *(self.callbacks or ()),
                    ("sklearn", TaskCallback(root, self, data, fitted)),
                ],
            )
            attributes = fitted(net, net.module_) | self._records(net)
        if is_discrete.any() and not plan.mixes_discrete:
            warnings.warn(
                f"Columns {np.flatnonzero(is_discrete).tolist()} hold a few values, "
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

    def _new_network(self, n_features, plan):
        if self.network is not None:
            return copy.deepcopy(self.network)
        return TimeMLP(
            n_features,
            plan.n_outputs(n_features),
            self.hidden_features,
            self.time_features,
        )

    def _anchors(self, Z, weight, rng):
        if not self.pathwise:
            return None
        index = rng.choice(len(Z), self.n_anchors, p=weight / weight.sum())
        return Z[index]

    def _train(
        self, plan, network, base, inputs, rows, is_discrete, *, seed, **train_params
    ):
        weight, n_denominator = rows.weight, rows.n_denominator
        uniform = UniformTimes(plan.path.margin)
        times = uniform
        if self.time_sampling == "importance":
            times = LossHistory(plan.path.margin)
        losses = plan.losses(inputs, weight, n_denominator, is_discrete)
        loss = ScoreLoss(network, losses, times, base)
        held_out = member_folds(rows, 1)
        held_out = weight if held_out is None else held_out[0]
        training = weight - held_out if (held_out != weight).any() else weight
        draws = {"inputs": inputs, "gaussian": plan.is_gaussian}

        def shares(weight):
            return [cumulative_shares(part[None]) for part in rows.split(weight)]

        n_rows = max(np.count_nonzero(p) for p in rows.split(held_out))
        (packed,) = draw_pairs_and_times(
            n_draws=int(np.clip(_DRAWS_PER_ROW * n_rows, *_HELD_OUT_DRAWS)),
            n_batches=1,
            shares=shares(held_out),
            times=uniform,
            dice=Dice(seed),
            **draws,
        )
        n_batches = -(-self.max_iter // train_params["max_epochs"])
        return train(
            loss,
            _mean,
            TensorRows(packed[: self.batch_size]),
            TensorRows(packed),
            iterator_train=partial(
                DrawBatches,
                n_batches=n_batches,
                shares=shares(training),
                times=times,
                **draws,
            ),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            average_decay=self.average_decay,
            patience=-(-self.patience // n_batches),
            seed=seed,
            verbose=int(self.verbose),
            **train_params,
        )


def _mean(losses, _):
    return losses.mean()
