"""FlowClassifierRatio: a classifier on top of an invertible network."""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from zuko.flows import Flow

from skdre._compat import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skdre._core.folds import held_out_weights, member_folds
from skdre._core.samples import PooledRows
from skdre._core.seeds import draw_seed
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre._nn.batches import redrawn
from skdre._nn.classification import mean_log_ratio, train_members, warn_if_apart
from skdre._nn.estimator import NetworkMixin, late_gain, n_epochs_and_batches
from skdre._nn.networks import ACTIVATIONS, EnsembleMLP, network_inputs
from skdre._nn.settings import (
    resolve_device,
    seeded,
    usual_torch,
)
from skdre._nn.training import fitted_module
from skdre.base import DensityRatioMixin, split_samples
from skdre.flows._classifier_training import FlowClassifier, train_jointly
from skdre.flows._density import FlowDensityMixin
from skdre.flows._dequantizer import Dequantizer
from skdre.flows._domains import balanced_weight
from skdre.flows._flows import FLOWS, build_flow
from skdre.flows._gaussian import (
    SHRINKAGES,
    GaussianFlow,
    choose_shrinkage,
    gaussian_moments,
)
from skdre.flows._likelihood import through
from skdre.flows._marginals import FEW_ROWS, MARGINALS, noise_scale
from skdre.flows._stages import STILL_GAINING, Stage, Stages

__all__ = ["FlowClassifierRatio"]


@dataclass(frozen=True)
class _Rows(PooledRows):
    """Distinct rows of both samples, and the part of them that is held out.

    Attributes
    ----------
    held_out : ndarray of shape (n_rows,) or None
        Weights that are held out; None where none can be.
    classes : ndarray of shape (2,)
    """

    held_out: np.ndarray | None
    classes: np.ndarray

    def known(self):
        """Rows that maps may see, with balanced weights of mean 1.

        With few rows the held-out ones are among them.
        """
        weight = self.weight
        if self.held_out is not None and len(self.X) >= FEW_ROWS:
            weight = weight - self.held_out
        index = np.flatnonzero(weight)
        domain = (index >= self.n_denominator).astype(int)
        return index, balanced_weight(domain, weight[index])


def _rows(samples, validation_fraction):
    rows = PooledRows.of(samples)
    n_folds = round(1 / validation_fraction)
    folds = held_out_weights(rows, n_folds)
    held_out = None if folds is None else folds[0]
    return _Rows(
        rows.X,
        rows.weight,
        rows.is_atom,
        rows.n_denominator,
        held_out,
        samples.classes,
    )


def _tensor(values, device):
    return torch.as_tensor(values, dtype=torch.float32, device=device)


class FlowClassifierRatio(
    NetworkMixin,
    DensityRatioMixin,
    FlowDensityMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    """Density ratio from a classifier on top of an invertible network.

    A normalizing flow z = f(x), and an ensemble of small networks that tell the two
    samples apart by z. f is invertible, so the density ratio of z is that of x (Lemma 1
    of [1]_), whatever f is. The three ways of training them are those of [1]_.

    Parameters
    ----------
    strategy : {"joint", "discriminative", "separate"}, default="joint"
        What the flow is trained by:

        * "joint": alpha times the classifier's log loss and 1 - alpha times the flow's
          negative log likelihood of both samples, each counting half (Equation 1 of
          [1]_): one network, trained end to end.
        * "discriminative": the log loss alone. The flow is then a part of the
          classifier, still invertible, and no model of the data.
        * "separate": the likelihood alone; then the classifier is trained on its
          features, as in ``make_pipeline(FlowFeaturizer(), MLPRatio())``.
    alpha : float, default=0.9
        Share of the log loss with ``strategy="joint"``, in [0, 1], not used otherwise.
        1 is "discriminative". 0 is "separate", the limit of small shares: the steps of
        Adam do not depend on the size of the loss, so the classifier learns as fast
        with any share.
    %(flow) A flow in closed form starts at its solution.
    n_transforms : int, default=5
        Transformations that are composed in "maf" and "nsf", pairs of them in
        "realnvp"; not used with other flows.
    flow_hidden_features : sequence of int, default=(100,)
        Widths of the hidden layers of each transformation's network; not used with
        flows in closed form or a callable `flow`.
    marginals : {"auto", "standardize", "gaussianize"}, default="auto"
        The map that each column goes through before the flow: to mean 0 and
        variance 1, or by a smooth monotone curve to a standard normal. "auto" trains
        with both and keeps the one with the better held-out score; below 20 distinct
        rows it is "standardize". With "gaussian" it is "standardize", with "copula" and
        "gaussianization" it is "gaussianize".
    %(dequantizer)
    hidden_features : sequence of int, default=(64, 64, 64)
        Widths of the hidden layers of each member of the classifier.
    activation : {"elu", "silu", "tanh"}, default="silu"
        Of these layers.
    n_estimators : int, default=8
        Members of the classifier, all on the features of the one flow.
    max_iter : int, default=2000
        Most training steps, one batch each; with "separate" of the flow, and as many
        of the classifier.
    batch_size : int, default=256
        Rows of a batch, half of them from each sample.
    learning_rate : float, default=0.002
        Of AdamW, at the start; it falls to zero along a cosine over `max_iter`.
    weight_decay : float, default=0.001
        Of AdamW.
    validation_fraction : float, default=0.25
        Part of the rows of each sample that is held out, in (0, 0.5]; more exactly one
        of k parts, k the whole number next to its inverse. It decides which step is
        kept, and which `marginals`. The classifier of "separate" has other held-out
        rows, those of :class:`skdre.MLPRatio`.
    patience : int, default=400
        Steps without a better held-out score before training stops.
    %(device)
    %(callbacks) There is a training for each of the `marginals` that are tried, and
        with "separate" one more; an epoch is 25 steps.
    warm_start : bool, default=False
        Go on from the networks and the marginal maps of the last fit.
    verbose : int, default=0
        Above 0, print a line for each 25 steps.
    %(random_state) Draws the initial weights and the batches.

    Attributes
    ----------
    flow_ : zuko.flows.Flow
        The fitted flow, in double precision.
    network_ : torch.nn.Module
        The fitted classifier, an ensemble, in double precision.
    marginals_ : {"standardize", "gaussianize"}
        The kind of marginal maps that is kept.
    marginal_maps_ : MarginalMaps
        The maps of the columns.
    dequantizer_ : Dequantizer or None
        The fitted `dequantizer`.
    marginal_scores_ : dict of str to float
        Held-out score of each kind that was tried: minus the balanced log loss; with
        "separate" the mean log density. In nats.
    loss_curve_ : ndarray of shape (n_epochs,)
        Training loss, the mean over each 25 steps, in nats: Equation 1; with
        "separate" that of the classifier.
    validation_scores_ : ndarray of shape (n_epochs,)
        Minus the balanced log loss of held-out rows, the mean over the members.
    best_validation_score_ : float
        The same, of the weights that are kept.
    n_iter_ : int
        Steps that were taken; with "separate" by the flow and the classifier.
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    FlowFeaturizer : The flow alone, in front of any estimator of the ratio.
    skdre.MLPRatio : The classifier alone.

    Notes
    -----
    ``transform`` gives the features z, ``inverse_transform`` takes them back.
    ``score_samples`` and ``sample`` are those of the flow's density: the data's, both
    samples counting half, as far as the likelihood had a part in the training; with
    "discriminative" a density like any other.

    Batches take half of their rows from each sample, in proportion to the weights, so
    the sizes of the samples do not change the ratio. Equal rows are merged first:
    neither the order of the rows, nor whether a row stands k times or has weight k,
    changes anything.

    What is kept is an exponential average of the weights over the last hundred steps
    or so, where it had the least log loss at held-out rows, also with small `alpha`:
    the likelihood may still rise when the classifier has begun to overfit. A
    sample of a single row has none to hold out; then the training rows stand in for
    them. Features more than 2.5 from 0 are drawn in before the
    classifier sees them, so the log ratio is finite everywhere.

    Which `strategy` is best depends on the data: compare the held-out ``score``. The
    user guide's "A classifier on top of the flow" has figures.

    Ctrl-C during fit raises KeyboardInterrupt, and the best networks so far are kept:
    the estimator is fitted with them. With "separate" the classifier, r = 1 at first,
    is not trained if it comes during the training of the flow.

    References
    ----------
    .. [1] K. Choi, M. Liao, S. Ermon. "Featurized Density Ratio Estimation", UAI 2021,
       sections 3.3, 3.4 and 5.2, appendix F.1.

    Examples
    --------
    >>> from skdre import FlowClassifierRatio
    >>> from skdre.datasets import make_warped_shift
    >>> from skdre.metrics import log_ratio_mse
    >>> shift = make_warped_shift(500, 2, warp="banana", random_state=0)
    >>> X, y = shift.pool()
    >>> ratio = FlowClassifierRatio(n_transforms=2, max_iter=200, random_state=0)
    >>> ratio = ratio.fit(X, y)
    >>> bool(log_ratio_mse(shift.log_ratio(X), ratio.decision_function(X)) < 0.2)
    True
    >>> Z = ratio.transform(X)
    """

    _parameter_constraints = {  # noqa: RUF012
        "strategy": [StrOptions({"joint", "discriminative", "separate"})],
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "flow": [StrOptions(set(FLOWS)), callable],
        "n_transforms": [Interval(Integral, 1, None, closed="left")],
        "flow_hidden_features": ["array-like"],
        "marginals": [StrOptions({"auto", *MARGINALS})],
        "dequantizer": [Dequantizer, None],
        "hidden_features": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "callbacks": [list, tuple, None],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        strategy: str = "joint",
        *,
        alpha: float = 0.9,
        flow: str | Callable[[int], Flow] = "maf",
        n_transforms: int = 5,
        flow_hidden_features: Sequence[int] = (100,),
        marginals: str = "auto",
        dequantizer: Dequantizer | None = None,
        hidden_features: Sequence[int] = (64, 64, 64),
        activation: str = "silu",
        n_estimators: int = 8,
        max_iter: int = 2000,
        batch_size: int = 256,
        learning_rate: float = 0.002,
        weight_decay: float = 0.001,
        validation_fraction: float = 0.25,
        patience: int = 400,
        device: str = "auto",
        callbacks: list[Any] | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.strategy = strategy
        self.alpha = alpha
        self.flow = flow
        self.n_transforms = n_transforms
        self.flow_hidden_features = flow_hidden_features
        self.marginals = marginals
        self.dequantizer = dequantizer
        self.hidden_features = hidden_features
        self.activation = activation
        self.n_estimators = n_estimators
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Rows, y: Values, sample_weight: Values | None = None) -> Self:
        """Train the flow and the classifier.

        Parameters
        ----------
        %(X)
        %(y)
        %(sample_weight)

        Returns
        -------
        self : FlowClassifierRatio

        Raises
        ------
        ValueError
            If the input or a parameter is not as described, or the device is not there.
        TypeError
            If `flow` is a callable that returns no flow.
        KeyboardInterrupt
            At Ctrl-C; the best networks so far are kept.

        Warns
        -----
        ConvergenceWarning
            If the held-out loss still fell when the steps ran out, or a loss was not
            finite: the best networks so far are kept.
        UserWarning
            If the networks separate the held-out rows of the two samples without
            error: the samples hardly overlap.
        """
        device = resolve_device(self.device)
        self._check_hidden_features()
        self._check_hidden_features("flow_hidden_features")
        warm = self.warm_start and hasattr(self, "network_")
        if warm:
            self._validate_rows(X)
        samples = split_samples(self, X, y, sample_weight)
        rows = _rows(samples, self.validation_fraction)
        seed = draw_seed(check_random_state(self.random_state))
        before, redraw = np.zeros(len(rows.X)), None
        pixels = self._fitted_dequantizer(rows.X, warm)
        if pixels is not None:
            levels = rows.X
            rows = replace(rows, X=pixels.transform(levels))
            before = pixels.log_det_jacobian(rows.X)
            redraw = pixels.redrawn(levels, int(seed))
        self.dequantizer_ = pixels
        alpha = {"discriminative": 1, "separate": 0}.get(self.strategy, self.alpha)
        kinds = self._candidate_marginals(len(rows.X))
        kinds = [self.marginals_] if warm else kinds
        n_epochs, n_batches = n_epochs_and_batches(self.max_iter)
        params = {
            "n_batches": n_batches,
            "max_epochs": n_epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "patience": -(-self.patience // n_batches),
            "seed": int(seed),
            "verbose": int(self.verbose),
        }

        data = {"X": X, "y": y}
        root = self._init_callback_context(max_subtasks=len(kinds) + (alpha == 0))
        root.call_on_fit_task_begin(estimator=self, **data)
        stages = Stages(self, root, data, n_epochs)

        def train_flow(kind, callbacks):
            return self._train_flow(
                kind,
                alpha,
                warm,
                rows,
                before,
                redraw,
                device,
                callbacks=callbacks,
                **params,
            )

        def train_classifier(callbacks):
            return self._train_classifier(
                best, rows, redraw, device, callbacks=callbacks, **params
            )

        fits, interrupt = stages.run_each(kinds, train_flow)
        best = final = max(fits.values(), key=lambda fit: fit.score)
        if alpha == 0 and not interrupt:
            try:
                final, _ = stages.run("classifier", train_classifier)
                interrupt = final.interrupt
            except KeyboardInterrupt as error:
                interrupt = error
        for name, value in final.attributes.items():
            setattr(self, name, value)
        self.marginal_scores_ = {kind: fit.score for kind, fit in fits.items()}
        if interrupt:
            raise interrupt
        if alpha == 0:
            self._warn_if_flow_cut_short(best.net, n_epochs)
        self._warn_if_cut_short(n_epochs)
        assert final.extremes is not None
        warn_if_apart(self, *final.extremes)
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    def _warn_if_flow_cut_short(self, net, n_epochs):
        gain = late_gain(self._records(net)["validation_scores_"], n_epochs)
        if gain > STILL_GAINING * self.n_features_in_:
            warnings.warn(
                f"The held-out likelihood of the flow still rose ({gain:.2g} nats in "
                f"the last third of the steps) when max_iter={self.max_iter} was "
                "reached; increase max_iter or learning_rate.",
                ConvergenceWarning,
                stacklevel=6,
            )

    @usual_torch(grad=True)
    def _train_flow(
        self, kind, alpha, warm, rows, before, redraw, device, *, callbacks, **params
    ):
        """Train the flow, and the classifier if it has a share in the loss.

        `before` holds log determinants of what gave the rows, `redraw` gives both anew.
        """
        index, weight = rows.known()
        if warm:
            maps = self.marginal_maps_
            flow, classifier = copy.deepcopy((self.flow_, self.network_))
        else:
            maps = MARGINALS[kind](rows.X[index], weight)
            flow, classifier = self._new_networks(rows.X.shape[1], params["seed"])

        def inputs(X, before):
            U, log_det = maps.forward(X)
            return _tensor(np.column_stack([U, log_det + before]), device)

        def drawn(index):
            return inputs(*redraw(index))

        U, _ = maps.forward(rows.X)
        scale = noise_scale(maps)
        if isinstance(flow, GaussianFlow) and (alpha == 0 or not warm):
            rng = np.random.RandomState(params["seed"])
            best = choose_shrinkage(U[index], weight, scale, rng)
            moments = gaussian_moments(U[index], weight, scale)
            flow.set_moments(*moments, SHRINKAGES[best])
            if alpha == 0:
                params["max_epochs"] = 0
        network = FlowClassifier(flow, scale, classifier, alpha).float().to(device)
        network.requires_grad_()
        classifier = classifier.to(device)

        def fitted(net):
            module = fitted_module(net)
            heads = copy.deepcopy(classifier) if alpha == 0 else module.classifier
            return self._fitted(module.flow, heads, maps, kind, rows)

        net, extremes = train_jointly(
            network,
            redrawn(inputs(rows.X, before), draw=redraw and drawn),
            rows.n_denominator,
            rows.weight,
            rows.held_out,
            callbacks=callbacks(fitted),
            **params,
        )
        attributes = fitted(net) | self._records(net)
        return Stage(attributes, -net.keeper_.best_loss_, net, extremes)

    @usual_torch(grad=True)
    def _train_classifier(self, stage, rows, redraw, device, *, callbacks, **params):
        """Train the classifier on the features of a trained flow."""
        flow, maps = (stage.attributes[name] for name in ("flow_", "marginal_maps_"))

        def inputs(X, _=None):
            U, _ = maps.forward(X)
            Z = through(flow, lambda transform, u: transform(u), U)
            return _tensor(network_inputs(Z, 0, 1), device)

        def drawn(index):
            return inputs(*redraw(index))

        network = copy.deepcopy(stage.attributes["network_"]).float().to(device)
        network.requires_grad_()
        kind, weight = stage.attributes["marginals_"], rows.weight

        def fitted(net):
            return self._fitted(flow, fitted_module(net), maps, kind, rows)

        net, extremes = train_members(
            network,
            redrawn(inputs(rows.X), draw=redraw and drawn),
            rows.n_denominator,
            weight,
            member_folds(rows, network.n_members),
            callbacks=callbacks(fitted),
            **params,
        )
        attributes = fitted(net) | self._records(net)
        attributes["n_iter_"] += stage.net.n_steps_
        return Stage(attributes, -net.keeper_.best_loss_, net, extremes)

    def _new_networks(self, n_features, seed):
        with seeded(seed):
            flow = build_flow(
                self.flow,
                n_features,
                n_transforms=self.n_transforms,
                hidden_features=self.flow_hidden_features,
            )
            classifier = EnsembleMLP(
                self.n_estimators,
                n_features,
                self.hidden_features,
                activation=self.activation,
            )
        return flow, classifier

    @staticmethod
    def _fitted(flow, classifier, maps, kind, rows):
        flow, classifier = (
            each.double().eval().requires_grad_(False) for each in (flow, classifier)
        )
        return {
            "flow_": flow,
            "network_": classifier,
            "marginal_maps_": maps,
            "marginals_": kind,
            "classes_": rows.classes,
        }

    def decision_function(self, X: Rows) -> Floats:
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, finite: the mean over the members.
        """
        # Of the pixels alone, whatever noise is drawn.
        Z = self._features(X, middle=True)
        return mean_log_ratio(self.network_, network_inputs(Z, 0, 1))
