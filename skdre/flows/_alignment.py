"""LikelihoodRatioAligner: one sample moved onto another by an invertible map."""

import copy
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import ClassifierTags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from zuko.flows import Flow

from skdre._compat import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skdre._core.columns import check_mapped, validate_rows
from skdre._core.scales import column_scales
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre._nn.callbacks import TaskCallback
from skdre._nn.estimator import NetworkMixin, n_epochs_and_batches
from skdre._nn.settings import (
    resolve_device,
    seeded,
    usual_torch,
)
from skdre.base import AtomicFitMixin, DocumentedMixin, check_pool, split_samples
from skdre.flows._alignment_certificate import (
    certificate,
    chained,
    densities_of,
    gaussians_of,
    own_log_likelihood,
    parts_of,
    shared_log_likelihood,
    warn_of_single_rows,
    warn_unless_aligned,
)
from skdre.flows._alignment_training import (
    DomainLogDensity,
    DomainRows,
    train_on_domains,
    train_shared,
)
from skdre.flows._flows import IMAGE_FLOWS, TRAINED_FLOWS, build_flow
from skdre.flows._gaussian import GaussianFlow
from skdre.flows._gaussian_alignment import align_gaussians, within_maps
from skdre.flows._likelihood import through
from skdre.flows._marginals import noise_scale, standardize

__all__ = ["LikelihoodRatioAligner"]

_DENSITIES = ["gaussian", *TRAINED_FLOWS, *IMAGE_FLOWS]
_OF_TRAINING = ("max_iter", "batch_size", "learning_rate", "patience", "gradient_tol")
_RATIOS = ("log_likelihood_ratio_", "initial_log_likelihood_ratio_")

# The attributes that are torch modules: T, the samples' own densities, the shared one.
_MODULES = ("flow_", "source_density_", "target_density_", "density_")


class LikelihoodRatioAligner(
    AtomicFitMixin,
    DocumentedMixin,
    NetworkMixin,
    CallbackSupportMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    BaseEstimator,
):
    r"""Move one sample onto another by an invertible map.

    The map T is found by minimising how much better two densities of a family fit the
    samples than one density does that they share [1]_:

    .. math::
        \max_a \mathrm{E}_A \log p_a + \max_b \mathrm{E}_B \log p_b -
        \max_s [\mathrm{E}_A (\log p_s(T(x)) + \log |\det T'(x)|) +
        \mathrm{E}_B \log p_s],

    A the source, which moves, and B the target. That is a minimisation in T and s
    together, no game between two networks. How far the samples are then aligned is the
    same value for T(A) in the place of A: 0 is its lower bound, reached when the family
    cannot tell T(A) from B.

    Parameters
    ----------
    %(flow_of_map)
    %(density_of_samples)
    moving : {"denominator", "numerator"}, default="denominator"
        The sample that moves. By default it is the denominator, the source
        (``classes_[0]``), onto the numerator, the target.
    standardize : bool, default=True
        Whether the affine map between Gaussians is the one that moves rows least when
        each column is measured in its standard deviation within the samples; with
        False the columns are measured in their own units. Other maps are trained on
        standardised columns in any case.
    shrinkage : float or "auto", default="auto"
        For the affine map between Gaussians: share of the identity in the two
        covariances of the standardised columns, in [0, 1]. "auto" is 0, unless
        left-out rows are clearly more likely with more, as with few rows for the
        columns, or a covariance is singular. Then the best for left-out rows is taken,
        and 1, a mere shift, for a sample of one distinct row.
    n_transforms : int, default=4
        Transformations that are composed in T and in each density, as in
        :class:`skdre.FlowFeaturizer`.
    hidden_features : sequence of int, default=(64, 64)
        Widths of the hidden layers of each transformation's network.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images that the rows are;
        for "conv-nsf" and "glow" only.
    n_levels : int, default=2
        How often "conv-nsf" and "glow" halve an image.
    max_iter : int, default=1000
        Most training steps of the map. Before it moves, the shared density is trained
        for a fifth as many; when it rests, the densities of the moved samples for a
        quarter, or 100 if that is more.
    batch_size : int, default=256
        Rows of a mini-batch, half of each sample.
    learning_rate : float, default=0.005
        Of Adam, at the start; it falls to zero along a cosine over `max_iter`.
    patience : int, default=400
        Steps without a better loss before a training stops.
    gradient_tol : float, default=0.01
        Norm of the gradient, in nats, below which a training stops.
    tol : float, default=0.1
        Largest log-likelihood ratio, in nats, that counts as aligned.
    %(device)
    %(callbacks) That of the map alone; ``net.module_.transform`` is T on standardised
        columns.
    verbose : int, default=0
        Above 0, print a line for each 25 steps.
    %(random_state) Draws the initial weights and the batches.

    Attributes
    ----------
    log_likelihood_ratio_ : float
        How much better two densities fit the training rows of T(A) and B than one does:
        nats per row of each sample, summed over the two. At least 0; NaN after Ctrl-C.
    initial_log_likelihood_ratio_ : float
        The same before anything moves: how well the family tells the samples apart.
        For other densities than Gaussians an upper bound: the shared one is trained
        briefly, or the mixture of the two, which is 2 log 2 at most.
    converged_ : bool
        Whether the log-likelihood ratio is within `tol` of 0, on either side, and had
        come to rest.
    loss_curve_ : ndarray of shape (n_epochs,)
        Log-likelihood ratio after each 25 steps, of the map's training and then of the
        densities', at up to 2,500 distinct rows of each sample; empty without them.
    coef_, intercept_ : ndarray of shape (n_features, n_features) and (n_features,)
        With a closed form: ``T(x) = coef_ @ x + intercept_``.
    shrinkage_ : float
        With a closed form: the share of the identity.
    flow_ : zuko.flows.Flow
        T on the standardised columns, in double precision.
    density_, source_density_, target_density_ : zuko.flows.Flow
        Densities of the standardised columns: of T(source) and target together, of the
        source, which is that of T(source) seen through T, and of the target.
    marginal_maps_ : MarginalMaps
        The maps that standardise the columns.
    n_iter_ : int
        Steps of the map's training; 1 with a closed form.
    moving_ : {"denominator", "numerator"}
        The source.
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    skdre.AlignedClassifier : Trains a classifier on source rows that are moved first.
    skdre.ImportanceWeighted : Weights source rows in place of moving them.

    Notes
    -----
    **The affine map between Gaussians** is ``m_B + M (x - m_A)``, M the matrix of the
    optimal transport between the Gaussians of the samples' moments: it matches the
    first two moments, and the log-likelihood ratio is 0 to rounding. Where neither
    sample has any variance, as across columns that determine each other, nothing is
    stretched. Where only one has none, or there are more features than rows, no
    invertible map matches both covariances, and they are shrunk. The value then is that
    of samples with so much noise on them.

    **What aligned means.** The log-likelihood ratio sees what the family sees: to
    Gaussians two rings of equal moments are one. It is computed from the training rows,
    for which the bound holds. Flexible densities fit few rows too well, with or without
    a map; :meth:`score` at held-out rows shows how much.

    A flow can move rows onto rows of another class: that it moves them little comes
    from its start at the identity, not from the objective. The shared density is
    trained on the samples as they are for some steps, so that T follows their
    differences: started from nothing it would draw T to match the coarse shapes first.

    **The value at the end** is that of definition 2.1 for T(A) and B. Densities of
    T(A), of B and of both are trained from one start with as many steps: so a training
    that falls short of its maximum is not taken for a shift, nor is a T that makes the
    source easier for the family (the bias of lemma 2.2), as they are by the paper's
    indicator. A value well below 0 certifies nothing, and is warned of.

    Samples that hardly overlap give the shared density no reason to move anything:
    align their moments first, by an affine map. A log-likelihood ratio that stays at
    1.4 nats, 2 log 2, is that of samples that any flexible density tells apart.

    `sample_weight` counts repetition inside each sample, whose sizes change nothing.
    Neither the order of the rows, nor whether a row stands k times or has weight k,
    changes anything.

    Ctrl-C during fit raises KeyboardInterrupt, and the best map so far is kept: the
    estimator is fitted with it. While densities alone are trained there is none.

    References
    ----------
    .. [1] B. Usman, A. Sud, N. Dufour, K. Saenko. "Log-Likelihood Ratio Minimizing
       Flows: Towards Robust and Quantifiable Neural Distribution Alignment", NeurIPS
       2020, definition 2.1, Eq. 2, lemmas 2.1 and 2.2, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import LikelihoodRatioAligner, pool
    >>> rng = np.random.default_rng(0)
    >>> source = rng.normal(size=(200, 2)) @ [[2.0, 1.0], [0.0, 0.5]]
    >>> target = rng.normal(loc=3.0, size=(300, 2))
    >>> aligner = LikelihoodRatioAligner()
    >>> aligner.fit(*pool(numerator=target, denominator=source))
    LikelihoodRatioAligner()
    >>> moved = aligner.transform(source)
    >>> bool(np.allclose(np.cov(moved.T, ddof=0), np.cov(target.T, ddof=0)))
    True
    >>> abs(round(aligner.log_likelihood_ratio_, 6)), aligner.converged_
    (0.0, True)
    """

    _parameter_constraints = {  # noqa: RUF012
        "flow": [StrOptions({"affine", *TRAINED_FLOWS, *IMAGE_FLOWS}), callable],
        "density": [StrOptions({*_DENSITIES}), callable],
        "moving": [StrOptions({"denominator", "numerator"})],
        "standardize": ["boolean"],
        "shrinkage": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "n_transforms": [Interval(Integral, 1, None, closed="left")],
        "hidden_features": ["array-like"],
        "image_shape": ["array-like", None],
        "n_levels": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "gradient_tol": [Interval(Real, 0, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "device": [str],
        "callbacks": [list, tuple, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        flow: str | Callable[[int], Flow] = "affine",
        density: str | Callable[[int], Flow] = "gaussian",
        *,
        moving: str = "denominator",
        standardize: bool = True,
        shrinkage: float | str = "auto",
        n_transforms: int = 4,
        hidden_features: Sequence[int] = (64, 64),
        image_shape: Sequence[int] | None = None,
        n_levels: int = 2,
        max_iter: int = 1000,
        batch_size: int = 256,
        learning_rate: float = 0.005,
        patience: int = 400,
        gradient_tol: float = 0.01,
        tol: float = 0.1,
        device: str = "auto",
        callbacks: list[Any] | None = None,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.flow = flow
        self.density = density
        self.moving = moving
        self.standardize = standardize
        self.shrinkage = shrinkage
        self.n_transforms = n_transforms
        self.hidden_features = hidden_features
        self.image_shape = image_shape
        self.n_levels = n_levels
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.gradient_tol = gradient_tol
        self.tol = tol
        self.device = device
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        # y names two domains, as it does for a ratio estimator.
        tags.classifier_tags = ClassifierTags(multi_class=False)
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Rows, y: Values, sample_weight: Values | None = None) -> Self:
        """Find the map from the source to the target.

        Parameters
        ----------
        %(X)
        %(y)
        %(sample_weight)

        Returns
        -------
        self : LikelihoodRatioAligner

        Raises
        ------
        ValueError
            If the input or a parameter is not as described, the device is not there,
            `image_shape`, `n_levels` or a callable's flow do not fit the columns, or
            ``shrinkage=0`` and only one of the covariances is singular.
        TypeError
            If a callable returns no flow.
        KeyboardInterrupt
            At Ctrl-C; the best map so far is kept.

        Warns
        -----
        ConvergenceWarning
            If the log-likelihood ratio is not within `tol` of 0, it still gained more
            than that in the last third of the densities' steps, the densities of the
            moved samples learnt nothing, or a loss was not finite.
        UserWarning
            If a sample has a single distinct row, or a few values far from all others
            would decide on the scale of their column: the map is found with the nearest
            of two bounds in their place.
        """
        device = resolve_device(self.device)
        self._check_hidden_features()
        two = split_samples(self, X, y, sample_weight)
        # Rare absurd values shall not decide on the map of all other rows.
        scales = column_scales(two.parts, two.names)
        samples, weights = map(list, zip(*two.parts, strict=True))
        samples = [scales.draw_in(X) for X in samples]
        warn_of_single_rows(samples, two.classes)
        if self.moving == "numerator":
            samples, weights = samples[::-1], weights[::-1]
        rng = check_random_state(self.random_state)
        n_epochs, _ = n_epochs_and_batches(self.max_iter)
        root = self._init_callback_context(max_subtasks=n_epochs)
        data = {"X": X, "y": y}
        root.call_on_fit_task_begin(estimator=self, **data)
        if (self.flow, self.density) == ("affine", "gaussian"):
            attributes = self._solve(samples, weights, device, rng)
            gain, interrupt = 0.0, None
        else:
            attributes, gain, interrupt = self._train(
                samples, weights, device, rng, root, data
            )
        attributes |= {"classes_": two.classes, "moving_": self.moving}
        for name, value in attributes.items():
            setattr(self, name, value)
        if interrupt:
            raise interrupt
        warn_unless_aligned(
            self.log_likelihood_ratio_,
            gain,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    @usual_torch(grad=True)
    def _solve(self, samples, weights, device, rng):
        """The affine map between Gaussians; returns the fitted attributes."""
        maps = within_maps(samples, weights)
        mapped = [maps.forward(X)[0] for X in samples]
        units = None if self.standardize else [c.scale for c in maps.columns]
        found = align_gaussians(
            mapped, weights, units, shrinkage=self.shrinkage, rng=rng
        )
        flow, *densities = found.flows()
        attributes = self._fitted(maps, flow, densities, device)
        own = own_log_likelihood(densities[:2], mapped, weights)
        ratio = own - shared_log_likelihood(flow, densities[2], mapped, weights)
        coef, intercept = found.in_units_of(maps)
        return attributes | {
            "coef_": coef,
            "intercept_": intercept,
            "shrinkage_": found.shrinkage,
            "initial_log_likelihood_ratio_": found.initial_log_likelihood_ratio(),
            "log_likelihood_ratio_": ratio,
            "converged_": abs(ratio) <= self.tol,
            "loss_curve_": np.array([]),
            "n_iter_": 1,
        }

    @usual_torch(grad=True)
    def _train(self, samples, weights, device, rng, root, data):
        """Train a shared density, the map with it, and what the map is judged by.

        Returns the fitted attributes, a gain, and what to raise if Ctrl-C came.

        Algorithm 1 but for two things. The shared density has seen the samples as they
        are before the map moves, where the algorithm leaves the start open. And the
        samples' own densities come last: no step of the map needs them.
        """
        balanced = np.concatenate([w / w.sum() for w in weights])
        maps = standardize(np.concatenate(samples), balanced)
        mapped = [maps.forward(X)[0] for X in samples]
        rows = DomainRows(mapped, weights, device)
        scale = noise_scale(maps)
        d = len(maps.columns)
        seeds = [int(each) for each in rng.randint(np.iinfo(np.int32).max, size=4)]
        params = {name: getattr(self, name) for name in _OF_TRAINING}
        params["verbose"] = int(self.verbose)
        flow = self._new_map(d, seeds[2])
        if is_gaussian := self.density == "gaussian":
            start = gaussians_of(mapped, weights, scale)[2]
        else:
            start = self._new("density", d, seeds[0])
            train_shared(start, rows, scale, seed=seeds[1], **params)
        module = DomainLogDensity([copy.deepcopy(start)], flow, scale).float()

        def fitted(net):
            flow, shared = parts_of(net)
            return self._fitted(maps, flow, densities_of(flow, shared), device)

        epochs = TaskCallback(root, self, data, fitted)
        net = train_on_domains(
            module.to(device),
            rows,
            seed=seeds[2],
            callbacks=[*(self.callbacks or ()), ("sklearn", epochs)],
            **params,
        )
        records = self._records(net)
        curve = -records["validation_scores_"]
        attributes = {"n_iter_": records["n_iter_"]} | fitted(net)
        flow, shared = parts_of(net)
        try:
            if net.interrupt_:
                raise net.interrupt_
            found = certificate(
                *(flow, None if is_gaussian else shared, start, mapped, weights, scale),
                seed=seeds[3],
                device=device,
                **params,
            )
        except KeyboardInterrupt as error:
            attributes |= dict.fromkeys(_RATIOS, np.nan)
            attributes |= {"converged_": False, "loss_curve_": np.nan * curve}
            return attributes, 0.0, error
        attributes |= self._fitted(maps, flow, found.densities, device)
        attributes |= dict(zip(_RATIOS, (found.ratio, found.initial), strict=True))
        attributes |= {
            # A gain that is NaN is that of densities that have learnt nothing.
            "converged_": bool(abs(found.ratio) <= self.tol and found.gain <= self.tol),
            "loss_curve_": found.own + np.concatenate([curve, found.losses]),
        }
        return attributes, found.gain, None

    def _new(self, parameter, n_features, seed):
        name = getattr(self, parameter)
        if name == "affine":
            return GaussianFlow(n_features)
        with seeded(seed):
            return build_flow(
                name,
                n_features,
                n_transforms=self.n_transforms,
                hidden_features=self.hidden_features,
                image_shape=self.image_shape,
                n_levels=self.n_levels,
                parameter=parameter,
            )

    def _new_map(self, n_features, seed):
        flow = self._new("flow", n_features, seed)
        if self.flow not in IMAGE_FLOWS:
            return flow
        # A flow of images leads to noise, and one back from it to other images.
        back = self._new("flow", n_features, seed + 1)
        return chained(flow, back, last_inverted=True)

    @staticmethod
    def _fitted(maps, flow, densities, device):
        modules = [
            each.to(device).double().eval().requires_grad_(False)
            for each in (flow, *densities)
        ]
        return dict(zip(_MODULES, modules, strict=True)) | {"marginal_maps_": maps}

    def transform(self, X: Rows) -> Floats:
        """Apply the map to rows, whichever sample they come from.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, of the source as a rule.

        Returns
        -------
        X_moved : ndarray of shape (n_samples, n_features)
            T(x).
        """
        check_is_fitted(self)
        X = validate_rows(self, X)
        return self._map(X, lambda transform, u: transform(u))

    def inverse_transform(self, X: Rows) -> Floats:
        """Undo :meth:`transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, of the target as a rule, or moved ones.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If X is not of as many features as in fit.
        """
        X = check_mapped(self, X)
        return self._map(X, lambda transform, u: transform.inv(u))

    def _map(self, X, function):
        U, _ = self.marginal_maps_.forward(X)
        return self.marginal_maps_.inverse(through(self.flow_, function, U))

    def score(self, X: Rows, y: Values, sample_weight: Values | None = None) -> float:
        """Log likelihood of rows of both samples under the density that they share.

        The log-likelihood ratio is what this lacks to the log likelihood under two
        densities. Only for the training rows those are maxima: at other rows two
        densities, each fitted to fewer rows, can do worse than the shared one. So it is
        this part of the ratio that tells, at held-out rows, how well a map and a family
        suit the samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both samples, not moved.
        y : array-like of shape (n_samples,)
            Their domains, both among ``classes_``.
        %(sample_weight)

        Returns
        -------
        score : float
            Mean log density of T(x) in the source, with the log-determinant of T, plus
            that of x in the target; in nats, higher is better.

        Raises
        ------
        ValueError
            If y does not hold the two labels seen in fit.
        """
        check_is_fitted(self)
        rows = check_pool(self, X, y, sample_weight)
        validate_data(self, X, skip_check_array=True, reset=False)
        if not np.array_equal(rows.classes, self.classes_):
            raise ValueError(
                f"y must hold the labels seen in fit, {self.classes_.tolist()}, got "
                f"{rows.classes.tolist()}."
            )
        is_source = rows.is_numerator == (self.moving_ == "numerator")
        weight = rows.sample_weight
        weight = np.ones(len(rows.X)) if weight is None else weight
        U, log_det = self.marginal_maps_.forward(rows.X)
        parts = (is_source, ~is_source)
        of_maps = sum(np.average(log_det[p], weights=weight[p]) for p in parts)
        samples, weights = zip(*((U[p], weight[p]) for p in parts), strict=True)
        return float(
            shared_log_likelihood(self.flow_, self.density_, samples, weights) + of_maps
        )
