"""RatioDensity: the density that a base and a ratio to it make."""

import warnings
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skdre._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skdre._core.columns import check_rows, validate_rows
from skdre._core.seeds import give_seeds
from skdre._core.tasks import inner_fit
from skdre._core.types import Floats, RandomState, Rows
from skdre.base import AtomicFitMixin, DocumentedMixin, check_is_ratio, pool
from skdre.density._annealing import (
    Annealing,
    annealed_importance_sampling,
    log_mean_error,
)
from skdre.density._gaussian_base import GaussianBase
from skdre.density._kernels import Kernel
from skdre.density._plans import normal_shares
from skdre.density._targets import MAP_METHODS, Target, latent_rows, ratio_target
from skdre.weighting import effective_sample_size, resample

__all__ = ["RatioDensity"]

# The mean of the ratio rests on too little where fewer draws than this carry it.
_FEW_DRAWS = 50

# Draws that the ratio is predicted at together, and groups for the standard error.
_N_GROUPS = 100

# Chains that samples are taken from, at least, and moves that part copies.
_LEAST_CHAINS, _PARTING_MOVES = 100, 5


def log_mean_ratio(
    log_ratio: Floats,
) -> tuple[float, float, float]:
    """Logarithm of the mean ratio, its standard error, and the effective size."""
    groups = np.array_split(log_ratio, min(_N_GROUPS, len(log_ratio)))
    largest = log_ratio.max()
    means = [np.mean(np.exp(each - largest)) for each in groups]
    with np.errstate(divide="ignore"):
        estimate, errors = log_mean_error(largest + np.log(means))
    size = effective_sample_size(normal_shares(log_ratio))
    return estimate, float(np.linalg.norm(list(errors.values()))), size


class RatioDensity(
    AtomicFitMixin,
    DocumentedMixin,
    MetaEstimatorMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    r"""Density estimate: a base density times the ratio of the data to it.

    With z = f(x) the features of the base in which it is N(0, I), and r the density
    ratio of the data's features to draws of N(0, I),

    .. math::

       \log p(x) = \log p_\text{base}(x) + \log r(f(x)) - \log Z .

    An energy-based model whose energy a ratio estimator has learnt ([1]_, section 6.3;
    [2]_). The constant Z is 1 for the true ratio, and estimated.

    Parameters
    ----------
    ratio : ratio estimator
        Any estimator of the contract (:class:`skdre.DensityRatioMixin`), or a pipeline
        that ends in one. It is fitted to features z of the data, the numerator, and
        draws of N(0, I).
    base : density estimator, default=None
        Has ``fit``, ``score_samples``, and ``transform`` and ``inverse_transform`` to
        and from features that are standard normal under it, such as
        :class:`skdre.FlowFeaturizer`. None is a Gaussian with the mean and the shrunk
        covariance of the rows. One that is fitted already goes in as
        :class:`sklearn.frozen.FrozenEstimator`.
    n_draws : int, default=None
        Draws of the base that the ratio is fitted with; None is as many as there are
        rows of X.
    normalizer : {"mean", "annealing"} or None, default="mean"
        How Z is estimated: by the mean of the ratio over 10,000 further draws of the
        base, by :func:`skdre.annealed_importance_sampling`, or, with None, not at all:
        it is taken for 1, as the direct estimates of the papers are.
    n_chains : int, default=100
        Chains of the annealing, at least 20.
    n_steps : int, default=200
        Temperatures of the annealing, of ``normalizer="annealing"`` and ``sample``.
    kernel : {"auto", "hmc", "slice"}, HMC or EllipticalSlice, default="auto"
        How its chains move, see :func:`skdre.annealed_importance_sampling`.
    verbose : int, default=0
        Above 0, print a line for each tenth of the annealing.
    %(random_state) Draws from the base, the annealing, and the seeds of `base` and
        `ratio` where they are None.

    Attributes
    ----------
    base_ : estimator
        The fitted base.
    ratio_ : estimator
        The fitted ratio of z.
    log_normalizer_ : float
        log Z, in nats.
    log_normalizer_std_ : float
        Its standard error, in nats; 0 with ``normalizer=None``.
    annealing_ : Annealing or None
        What annealing has found, with ``normalizer="annealing"``.
    kernel_, n_chains_, n_steps_ : object
        How ``sample`` anneals.
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    skdre.annealed_importance_sampling : The constant with more effort.
    skdre.raise_bound : A bound on the likelihood from the other side.
    skdre.TargetedSampler : Samples of one of two distributions, without a density.

    Notes
    -----
    A ratio that is wrong far from the data still counts in Z, and a mean over draws of
    the base does not find what lies where the base has none. Before a likelihood is
    believed, look whether annealing and :func:`skdre.raise_bound` agree with
    it.

    Ctrl-C while the ratio is fitted raises KeyboardInterrupt; a ratio that keeps its
    best state is kept, with the constant that goes with it.

    References
    ----------
    .. [1] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via
       Infinitesimal Classification", AISTATS 2022, section 6.3 and appendix F.3.
    .. [2] B. Rhodes, K. Xu, M. Gutmann. "Telescoping Density-Ratio Estimation", NeurIPS
       2020, section 4.3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_moons
    >>> from skdre import LSIFRatio, RatioDensity
    >>> X, _ = make_moons(2000, noise=0.1, random_state=0)
    >>> density = RatioDensity(LSIFRatio(), random_state=0).fit(X)
    >>> X_new, _ = make_moons(500, noise=0.1, random_state=1)
    >>> gaussian = density.base_.score_samples(X_new).mean()
    >>> bool(density.score(X_new) > gaussian + 0.5)
    True
    """

    _parameter_constraints = {  # noqa: RUF012
        "ratio": [HasMethods(["fit"])],
        "base": [HasMethods(["fit"]), None],
        "n_draws": [Interval(Integral, 1, None, closed="left"), None],
        "normalizer": [StrOptions({"mean", "annealing"}), None],
        "n_chains": [Interval(Integral, 20, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "kernel": [StrOptions({"auto", "hmc", "slice"}), Kernel],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    _n_normalizer_draws = 10_000

    def __init__(
        self,
        ratio: Any,
        base: Any = None,
        *,
        n_draws: int | None = None,
        normalizer: Literal["mean", "annealing"] | None = "mean",
        n_chains: int = 100,
        n_steps: int = 200,
        kernel: str | Kernel = "auto",
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.ratio = ratio
        self.base = base
        self.n_draws = n_draws
        self.normalizer = normalizer
        self.n_chains = n_chains
        self.n_steps = n_steps
        self.kernel = kernel
        self.verbose = verbose
        self.random_state = random_state

    @with_callbacks
    # The parts are validated when they are fitted.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Rows, y: Any = None) -> Self:
        """Fit the base, then the ratio of the data to its draws.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, finite; at least two.
        y : Ignored
            For scikit-learn's sake.

        Returns
        -------
        self : RatioDensity

        Raises
        ------
        ValueError
            If the input or a parameter is not as described, rows of X lie outside the
            support of the base, or the ratio is NaN or plus infinity somewhere.
        TypeError
            If the base has no density or no invertible map.
        KeyboardInterrupt
            At Ctrl-C; see the notes for what is kept.

        Warns
        -----
        UserWarning
            If few draws carry the constant.
        """
        check_is_ratio(self.ratio, "ratio")
        if self.base is not None:
            _check_methods(self.base)
        # Checked apart from validate_data, which would leave attributes behind.
        rows = check_rows(X, ensure_min_samples=2)
        rng = check_random_state(self.random_state)
        base = GaussianBase() if self.base is None else clone(self.base)
        ratio = clone(self.ratio)
        if self.random_state is not None:
            for each in (base, ratio):
                give_seeds(each, rng, replace=False)
        root = self._init_callback_context(max_subtasks=2)
        data = {"X": X, "y": y}
        root.call_on_fit_task_begin(estimator=self, **data)
        with inner_fit(root, self, base, "fit-base", **data):
            base.fit(rows, None)
        Z = latent_rows(base, rows)
        n_draws = len(Z) if self.n_draws is None else self.n_draws
        draws = rng.normal(size=(n_draws, Z.shape[1]))
        interrupt = None
        try:
            with inner_fit(root, self, ratio, "fit-ratio", **data):
                ratio.fit(*pool(numerator=Z, denominator=draws))
        except KeyboardInterrupt as error:
            if not _is_fitted(ratio):
                raise
            interrupt = error
        target = ratio_target(base, ratio, Z.shape[1])
        # Also where the constant does not see it.
        target.log_ratio(Z)
        log_normalizer, spread, annealing = self._normalize(target, rng, interrupt)

        # Nothing is set before everything is fitted: a failed fit changes nothing.
        validate_data(self, X, skip_check_array=True)
        self.base_, self.ratio_ = base, ratio
        self.log_normalizer_, self.log_normalizer_std_ = log_normalizer, spread
        self.annealing_ = annealing
        self.kernel_ = clone(self.kernel, safe=False)
        self.n_chains_, self.n_steps_ = self.n_chains, self.n_steps
        if interrupt:
            raise interrupt
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    def _normalize(self, target, rng, interrupt):
        if self.normalizer is None:
            return 0.0, 0.0, None
        if self.normalizer == "annealing" and interrupt is None:
            result = _anneal(
                target,
                n_chains=self.n_chains,
                n_steps=self.n_steps,
                kernel=self.kernel,
                verbose=self.verbose,
                random_state=rng,
            )
            return result.log_normalizer, result.standard_error, result
        draws = rng.normal(size=(self._n_normalizer_draws, target.n_features))
        log_ratio = target.log_ratio(draws)
        if np.isneginf(log_ratio).all():
            raise ValueError(
                f"The ratio is 0 at all of {len(draws)} draws of the base, so its "
                "constant cannot be estimated: the base lies too far from the data."
            )
        log_normalizer, error, size = log_mean_ratio(log_ratio)
        if size < _FEW_DRAWS:
            warnings.warn(
                f"The constant of the density, {log_normalizer:.3g} ± {error:.2g} "
                f"nats, rests on an effective {size:.1f} of {len(draws)} draws of the "
                "base: set normalizer='annealing', or take a base nearer to the data.",
                UserWarning,
                stacklevel=6,
            )
        return log_normalizer, error, None

    def _annealing_target(self) -> Target:
        """What annealing takes: the ratio times the base, without the constant."""
        check_is_fitted(self)
        return ratio_target(self.base_, self.ratio_, self.n_features_in_)

    def score_samples(self, X: Rows) -> Floats:
        """Log density at the rows of X.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, of x itself; minus infinity where the base has no density.

        Raises
        ------
        ValueError
            If the ratio is NaN or plus infinity at a row.
        """
        check_is_fitted(self)
        X = validate_rows(self, X)
        log_base = np.asarray(self.base_.score_samples(X), dtype=np.float64)
        Z = np.asarray(self.base_.transform(X), dtype=np.float64)
        inside = np.isfinite(log_base) & np.isfinite(Z).all(axis=1)
        log_density = np.full(len(X), -np.inf)
        if inside.any():
            log_ratio = self._annealing_target().log_ratio(Z[inside])
            log_density[inside] = log_base[inside] + log_ratio - self.log_normalizer_
        return log_density

    def score(self, X: Rows, y: Any = None) -> float:
        """Mean log density of the rows of X, in nats; higher is better.

        Parameters
        ----------
        %(X_new)
        y : Ignored
            For scikit-learn's sake.

        Returns
        -------
        score : float
            In nats per row.
        """
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> Floats:
        """Draw rows from the density, by annealing from the base.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, each from a chain of its own.
        random_state : int, RandomState instance or None, default=None
            Draws them.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If `n_samples` is not a positive integer.

        Warns
        -----
        UserWarning
            If the effective sample size of the chains falls below a tenth.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an integer >= 1, got {n_samples!r}.")
        rng = check_random_state(random_state)
        target = self._annealing_target()
        result = _anneal(
            target,
            n_chains=max(n_samples, _LEAST_CHAINS),
            n_steps=self.n_steps_,
            kernel=self.kernel_,
            random_state=rng,
        )
        drawn = resample(
            normal_shares(result.log_weights),
            n_samples,
            method="systematic",
            random_state=rng,
        )
        # Chains that were drawn twice part again.
        plan, state = result._plan, result._latent.take(rng.permutation(drawn))
        for _ in range(_PARTING_MOVES):
            state, _ = plan.kernel._move(target, 1.0, state, plan.tunings[-1], rng)
        return target.from_latent(state.Z)


class _Given:
    """A target, in the place of what a user gives."""

    def __init__(self, target):
        self._target = target

    def _annealing_target(self):
        return self._target


def _anneal(target, **options) -> Annealing:
    return annealed_importance_sampling(_Given(target), **options)


def _check_methods(base):
    missing = [each for each in MAP_METHODS if not hasattr(base, each)]
    if missing:
        wanted = {
            "score_samples": "the log density of rows",
            "transform": "a map to features that are standard normal under it",
            "inverse_transform": "the inverse of its map",
        }
        raise TypeError(
            f"base must have {missing[0]}, {wanted[missing[0]]}, as FlowFeaturizer "
            f"has, or be None, a Gaussian; got {base!r}."
        )


def _is_fitted(estimator):
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True
