"""FlowFeaturizer: the data in the coordinates where they are standard normal."""

import copy
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length
from zuko.flows import Flow

from skdre._compat import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skdre._core.arrays import to_numpy
from skdre._core.columns import validate_rows
from skdre._core.rows import observations
from skdre._core.seeds import draw_seed
from skdre._core.types import RandomState, Rows, Values
from skdre._nn.batches import TensorRows, redrawn
from skdre._nn.callbacks import StopBehind
from skdre._nn.estimator import NetworkMixin
from skdre._nn.settings import resolve_device, seeded, usual_torch
from skdre._nn.training import fitted_module, train
from skdre.base import AtomicFitMixin, DocumentedMixin
from skdre.flows._choice import Candidate, candidates, held_out_losses, simplest
from skdre.flows._density import FlowDensityMixin
from skdre.flows._dequantizer import Dequantizer
from skdre.flows._domains import balanced_weight, domains, hold_out
from skdre.flows._flows import FLOWS, IMAGE_FLOWS, build_flow
from skdre.flows._gaussian import (
    SHRINKAGES,
    GaussianFlow,
    choose_shrinkage,
    gaussian_moments,
    shrunk_log_densities,
)
from skdre.flows._likelihood import LogDensity, through
from skdre.flows._marginals import FEW_ROWS, MARGINALS, noise_scale
from skdre.flows._stages import STILL_GAINING, Stage, Stages

__all__ = ["FlowFeaturizer"]


def _tensor(values, device):
    return torch.tensor(values, dtype=torch.float32, device=device)


def _mean_log_loss(log_density, weight):
    return -(weight * log_density).mean()


def _features_of(attributes, X):
    U, _ = attributes["marginal_maps_"].forward(X)
    return through(attributes["flow_"], lambda transform, u: transform(u), U)


class FlowFeaturizer(
    NetworkMixin,
    AtomicFitMixin,
    DocumentedMixin,
    FlowDensityMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    """Invertible features, in which the data are close to standard normal.

    A normalizing flow z = f(x) is trained by maximum likelihood on the pooled rows of
    both samples. f is invertible, so the density ratio of z is that of x (Lemma 1 of
    [1]_), while everything that depends on geometry, such as a kernel and its
    bandwidth, sees round clouds in place of skewed, curved or funnel-shaped ones.

    Parameters
    ----------
    %(flow_or_auto)
    n_transforms : int, default=5
        Transformations that are composed in "maf" and "nsf", pairs of them in
        "realnvp", steps of each level in "conv-nsf" and "glow"; not used with other
        flows.
    hidden_features : sequence of int, default=(100,)
        Widths of the hidden layers of each transformation's network, channels of images
        in "conv-nsf" and "glow"; not used with flows in closed form or a callable
        `flow`.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images that the rows are,
        in the order in which ``row.reshape(image_shape)`` makes one; for "conv-nsf" and
        "glow" only.
    n_levels : int, default=2
        How often "conv-nsf" and "glow" halve an image: its sides must be multiples of
        2^n_levels.
    marginals : {"auto", "standardize", "gaussianize"}, default="auto"
        The map that each column goes through before the flow: to mean 0 and
        variance 1, or by a smooth monotone curve to a standard normal. "auto" trains
        with both and keeps the one with the better held-out likelihood; the second ends
        early if it will not be that one. Below 20 rows "auto" is "standardize", as with
        "gaussian"; with "copula" and
        "gaussianization" it is "gaussianize". With ``flow="auto"`` both are among the
        candidates, and the maf's are chosen like those of any other.
    %(dequantizer)
    max_epochs : int, default=200
        Most passes over the data.
    batch_size : int or "auto", default="auto"
        Most rows of a mini-batch. "auto" is a twentieth of the rows, at least 256 and
        at most 8192.
    learning_rate : float, default=0.005
        Of AdamW, at the start; it falls to zero along a cosine over `max_epochs`.
    weight_decay : float, default=0.01
        Of AdamW.
    validation_fraction : float, default=0.1
        Part of the rows of each domain that is held out, to decide which epoch, and
        with ``marginals="auto"`` which map, is kept. Flows in closed form are scored
        by them, and then fitted on all rows.
    patience : int, default=12
        Epochs without a better held-out likelihood before training stops.
    %(device)
    %(callbacks) With ``marginals="auto"`` there are two trainings.
    warm_start : bool, default=False
        Go on from the flow and the marginal maps of the last fit. Flows in closed form
        and "auto" start afresh.
    verbose : int, default=0
        Above 0, print a line for each epoch.
    %(random_state) Draws the held-out rows, the initial weights and the order of the
        batches.

    Attributes
    ----------
    flow_ : zuko.flows.Flow
        The fitted flow, in double precision.
    marginals_ : {"standardize", "gaussianize"}
        The kind of marginal maps that is kept.
    marginal_maps_ : MarginalMaps
        The maps of the columns.
    dequantizer_ : Dequantizer or None
        The fitted `dequantizer`.
    marginal_scores_ : dict of str to float
        Held-out mean log density of each kind that was tried, in nats.
    loss_curve_ : ndarray of shape (n_iter_,)
        Training loss after each epoch: minus the mean log density of x, in nats.
    validation_scores_ : ndarray of shape (n_iter_,)
        Held-out mean log density of x after each epoch, in nats.
    best_validation_score_ : float
        Held-out mean log density of x of the weights that are kept, in nats; of a flow
        in closed form, without the held-out rows.
    shrinkage_ : float
        Share of the identity in the covariance of a flow in closed form.
    n_iter_ : int
        Epochs that were run; none of a flow in closed form.
    flow_choice_ : {"standardize", "gaussianize", "gaussian", "copula", "maf"}
        What ``flow="auto"`` has chosen; there is none with other flows.
    held_out_losses_ : dict of str to dict
        Of each candidate of ``flow="auto"``: "loss", of the ratio in its features,
        lower is better; "difference" from the best and its "standard_error". Empty
        where there was nothing to judge by.
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    skdre.KMMRatio : Kernel mean matching, which lives by the geometry of its input.

    Notes
    -----
    If `y` names exactly two classes each counts half in the likelihood, whatever the
    numbers of their rows. Any other `y` (None, one class, many classes, a continuous
    or multi-output target) leaves every row alike.

    Where the geometry of x is wrong the flow helps the ratio, where it is right it
    changes little; the user guide's "Featurized ratios" has figures.

    What is kept is an exponential average of the weights over the last hundred steps
    or so, as of the epoch with the best held-out likelihood, the start included: the
    flow starts at the identity, so it never ends below the marginal maps alone. The
    networks see their inputs bounded, so far from all data the features are affine in
    the mapped columns and finite. The features of "ffjord" are exact to about 1e-6, and
    depend that much on which rows are mapped together.

    ``flow="auto"`` judges its candidates by kernel mean matching in their features, of
    at most a thousand rows of each sample, in three folds: the held-out least-squares
    loss of p / (p / 4 + 3 q / 4), which no single row decides. Candidates are fitted
    once, to all rows. They see the labels only as the samples' shares of the
    likelihood, so they bring nothing about a held-out row's sample into its features.
    With a sample of a single observation the first candidate is taken.

    Flows in closed form whiten by the symmetric root of the covariance of the mapped
    columns, shrunk towards the identity as far as suits left-out rows in five folds.
    It is not singular even with fewer rows than columns, or columns that determine each
    other.

    Training perturbs the mapped columns by noise of standard deviation 0.003, which
    bounds the likelihood of tied rows and of columns that determine each other. A
    column that is constant in fit is centred and counts as about standard normal in
    the density. Values more than 1e100 standard deviations out are clipped there.
    Samples of a few dozen rows in many dimensions are too small for a flow: the
    held-out rows then stop the training early, and the features are little more than
    scaled columns.

    Ctrl-C during fit raises KeyboardInterrupt, and the best flow so far is kept: the
    estimator is fitted with it.

    References
    ----------
    .. [1] K. Choi, M. Liao, S. Ermon. "Featurized Density Ratio Estimation", UAI 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import FlowFeaturizer
    >>> X = np.exp(np.random.default_rng(0).normal(size=(200, 2)))
    >>> flow = FlowFeaturizer(max_epochs=5, random_state=0).fit(X)
    >>> Z = flow.transform(X)
    >>> Z.shape
    (200, 2)
    >>> bool(np.allclose(flow.inverse_transform(Z), X))
    True
    """

    _parameter_constraints = {  # noqa: RUF012
        "flow": [StrOptions({*FLOWS, *IMAGE_FLOWS, "auto"}), callable],
        "n_transforms": [Interval(Integral, 1, None, closed="left")],
        "hidden_features": ["array-like"],
        "image_shape": ["array-like", None],
        "n_levels": [Interval(Integral, 1, None, closed="left")],
        "marginals": [StrOptions({"auto", *MARGINALS})],
        "dequantizer": [Dequantizer, None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "callbacks": [list, tuple, None],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        flow: str | Callable[[int], Flow] = "maf",
        *,
        n_transforms: int = 5,
        hidden_features: Sequence[int] = (100,),
        image_shape: Sequence[int] | None = None,
        n_levels: int = 2,
        marginals: str = "auto",
        dequantizer: Dequantizer | None = None,
        max_epochs: int = 200,
        batch_size: int | str = "auto",
        learning_rate: float = 0.005,
        weight_decay: float = 0.01,
        validation_fraction: float = 0.1,
        patience: int = 12,
        device: str = "auto",
        callbacks: list[Any] | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.flow = flow
        self.n_transforms = n_transforms
        self.hidden_features = hidden_features
        self.image_shape = image_shape
        self.n_levels = n_levels
        self.marginals = marginals
        self.dequantizer = dequantizer
        self.max_epochs = max_epochs
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
    def fit(self, X: Rows, y: Values | None = None) -> Self:
        """Train the flow on the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Pooled rows of both samples, finite; at least two.
        y : array-like of shape (n_samples,), default=None
            Domain labels. If they name exactly two classes each class counts half in
            the likelihood, and ``flow="auto"`` chooses by the ratio of the greater to
            the other; otherwise y is not used, and "auto" is "maf".

        Returns
        -------
        self : FlowFeaturizer

        Raises
        ------
        ValueError
            If X is not a finite dense matrix of two rows or more, the device is not
            there, or `image_shape` or `n_levels` do not fit the columns.
        KeyboardInterrupt
            At Ctrl-C; the best flow so far is kept.

        Warns
        -----
        ConvergenceWarning
            If the held-out likelihood still rose when the epochs ran out, or a loss was
            not finite: the best flow so far is kept.
        """
        device = resolve_device(self.device)
        self._check_hidden_features()
        # A flow in closed form has nothing to go on from.
        last = getattr(self, "flow_", None) if self.warm_start else None
        warm = not (
            last is None or isinstance(last, GaussianFlow) or self.flow == "auto"
        )
        table = X
        X = validate_rows(self, X, ensure_min_samples=2, reset=not warm)
        if y is not None:
            check_consistent_length(X, y)
        domain = domains(y, len(X))
        rng = check_random_state(self.random_state)
        training, held_out = hold_out(
            domain, self.validation_fraction, rng, observations(X, domain)
        )
        seed = draw_seed(rng)

        levels, before = np.asarray(X)[training], np.zeros(len(X))
        pixels = self._fitted_dequantizer(X, warm)
        if pixels is not None:
            X = pixels.transform(X)
            before = pixels.log_det_jacobian(X)
        self.dequantizer_ = pixels

        tasks = self._tasks(domain, [self.marginals_] if warm else None)
        parts = [
            (np.asarray(X)[rows], domain[rows], before[rows])
            for rows in (training, held_out)
        ]
        redraw = None if pixels is None else pixels.redrawn(levels, seed)

        scores: dict[str, float] = {}

        def fit_one(name, callbacks):
            candidate = tasks[name]
            kind = candidate.marginals
            if warm:
                maps, flow = self.marginal_maps_, self.flow_
            else:
                rows = training if len(X) >= FEW_ROWS else np.arange(len(X))
                maps = MARGINALS[kind](X[rows], balanced_weight(domain[rows]))
                flow = self._new_flow(candidate.flow, X.shape[1], seed)
            if isinstance(flow, GaussianFlow):
                return self._solve_flow(maps, candidate, parts, X, domain, device, seed)
            stage = self._train_flow(
                flow,
                maps,
                kind,
                parts,
                device,
                seed,
                callbacks,
                redraw,
                scores.get(candidate.name),
            )
            # What comes next has to be better.
            scores[candidate.name] = max(
                stage.score, scores.get(candidate.name, -np.inf)
            )
            return stage

        root = self._init_callback_context(max_subtasks=len(tasks))
        data = {"X": table, "y": y}
        root.call_on_fit_task_begin(estimator=self, **data)
        stages = Stages(self, root, data, self.max_epochs)
        fits, interrupt = stages.run_each(tasks, fit_one)
        best, chosen = self._chosen(tasks, fits, X, domain)
        for attribute, value in (fits[best].attributes | chosen).items():
            setattr(self, attribute, value)
        self.marginal_scores_ = {
            tasks[each].marginals: fit.score
            for each, fit in fits.items()
            if tasks[each].name == tasks[best].name
        }
        if interrupt:
            raise interrupt
        self._warn_if_still_rising()
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    def _tasks(self, domain, marginals):
        """What is fitted, by the name of its task, from the plain to the most bent."""
        if self.flow != "auto":
            kinds = marginals or self._candidate_marginals(len(domain))
            return {kind: Candidate("", self.flow, kind) for kind in kinds}
        found = candidates(self._candidate_marginals(len(domain)))
        if not domain.any():
            found = [each for each in found if each.name == "maf"]
        return {
            f"{each.name}, {each.marginals}" if each.name == "maf" else each.name: each
            for each in found
        }

    def _chosen(self, tasks, fits, X, domain):
        """Name of the task to keep, and what the estimator says of the choice."""
        best = {}
        for name in sorted(fits, key=lambda name: fits[name].score):
            best[tasks[name].name] = name
        if self.flow != "auto":
            return best[""], {}
        best = {tasks[name].name: best[tasks[name].name] for name in fits}
        judged = None
        if len(best) > 1:
            transforms = {
                name: partial(_features_of, fits[task].attributes)
                for name, task in best.items()
            }
            judged = held_out_losses(transforms, X, domain)
        choice, table = next(iter(best)), {}
        if judged is not None:
            choice, table = simplest(*judged)
        chosen = {"flow_choice_": choice, "held_out_losses_": table}
        return best[choice], chosen

    def _warn_if_still_rising(self):
        n_late = self.max_epochs // 3
        if not n_late or self.n_iter_ < self.max_epochs:
            return
        gain = self.best_validation_score_ - self.validation_scores_[:-n_late].max()
        if gain > STILL_GAINING * self.n_features_in_:
            warnings.warn(
                f"The held-out likelihood still rose ({gain:.2g} nats in the last "
                f"{n_late} epochs) when max_epochs={self.max_epochs} was reached; "
                "increase max_epochs or learning_rate.",
                ConvergenceWarning,
                stacklevel=6,
            )

    def _new_flow(self, flow, n_features, seed):
        with seeded(seed):
            return build_flow(
                flow,
                n_features,
                n_transforms=self.n_transforms,
                hidden_features=self.hidden_features,
                image_shape=self.image_shape,
                n_levels=self.n_levels,
            )

    @usual_torch(grad=True)
    def _train_flow(
        self, flow, maps, kind, parts, device, seed, callbacks, redraw, rival
    ):
        """Train a flow on the mapped rows; `redraw` gives other noise at some.

        It ends early if it will not come up to the score of a rival.
        """

        def mapped(X, weight, before):
            U, log_det = maps.forward(X)
            return _tensor(U, device), np.sum(weight * (log_det + before)) / len(X)

        def drawn(index):
            X, before = redraw(index)
            U, offset = mapped(X, weight[index], before)
            offsets.append(offset * len(index))
            return U

        (X, domain, before), (X_held_out, held_out_domain, held_out_before) = parts
        weight, held_out_weight = map(balanced_weight, (domain, held_out_domain))
        U, offset = mapped(X, weight, before)
        rows = redrawn(U, _tensor(weight, device), draw=redraw and drawn)
        U, held_out_offset = mapped(X_held_out, held_out_weight, held_out_before)
        held_out = TensorRows(U, _tensor(held_out_weight, device))
        offsets = []
        scale = noise_scale(maps)
        density = LogDensity(copy.deepcopy(flow).float(), scale).to(device)

        def fitted(net):
            return self._fitted(fitted_module(net).flow, maps, kind)

        race = []
        if rival is not None:
            race = [("race", StopBehind(held_out_offset - rival))]
        n_rows = len(rows)
        batch_size = self.batch_size
        if batch_size == "auto":
            batch_size = min(max(256, n_rows // 20), 8192)
        net = train(
            density,
            _mean_log_loss,
            rows,
            held_out,
            max_epochs=self.max_epochs,
            batch_size=batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
            seed=seed,
            callbacks=[*race, *callbacks(fitted)],
            verbose=int(self.verbose),
        )
        finished = net.finished_epochs()
        loss = np.array([epoch["train_loss"] for epoch in finished])
        held_out_loss = np.array([epoch["valid_loss"] for epoch in finished])
        score = float(held_out_offset - net.keeper_.best_loss_)
        if offsets:
            # A part for each batch of an epoch.
            n_batches = -(-n_rows // batch_size)
            parts_of = np.reshape(offsets[: len(finished) * n_batches], (-1, n_batches))
            offset = parts_of.sum(axis=1) / n_rows
        attributes = fitted(net) | {
            "loss_curve_": loss - offset,
            "validation_scores_": held_out_offset - held_out_loss,
            "best_validation_score_": score,
            "n_iter_": len(finished),
        }
        return Stage(attributes, score, net)

    @usual_torch(grad=True)
    def _solve_flow(self, maps, candidate, parts, X, domain, device, seed):
        """Fit a Gaussian flow on the mapped rows."""
        (training, training_domain, _), (held_out, held_out_domain, before) = parts
        scale = noise_scale(maps)
        weight, held_out_weight = map(balanced_weight, (domain, held_out_domain))
        index = len(SHRINKAGES) - 1  # the columns as they are mapped
        if candidate.whitens:
            index = choose_shrinkage(
                maps.forward(X)[0], weight, scale, np.random.RandomState(seed)
            )
        U, log_det = maps.forward(held_out)
        moments = gaussian_moments(
            maps.forward(training)[0], balanced_weight(training_domain), scale
        )
        score = shrunk_log_densities(U, held_out_weight, *moments)[index]
        score += np.mean(held_out_weight * (log_det + before))

        # There are no epochs to choose from, so the held-out rows join the others.
        maps = MARGINALS[candidate.marginals](X, weight)
        moments = gaussian_moments(maps.forward(X)[0], weight, noise_scale(maps))
        flow = GaussianFlow(X.shape[1]).set_moments(*moments, SHRINKAGES[index])
        attributes = self._fitted(flow.to(device), maps, candidate.marginals) | {
            "loss_curve_": np.array([]),
            "validation_scores_": np.array([]),
            "best_validation_score_": float(score),
            "shrinkage_": SHRINKAGES[index],
            "n_iter_": 0,
        }
        return Stage(attributes, float(score))

    @staticmethod
    def _fitted(flow, maps, kind):
        flow = flow.double().eval().requires_grad_(False)
        return {"flow_": flow, "marginal_maps_": maps, "marginals_": kind}

    def score(self, X: Rows, y: object = None) -> float:
        """Mean log density of the rows of X.

        Parameters
        ----------
        %(X_new)
        y : Ignored
            For scikit-learn's sake.

        Returns
        -------
        score : float
            In nats.
        """
        return float(np.mean(to_numpy(self.score_samples(X))))
