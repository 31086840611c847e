"""TargetedSampler: rows of one distribution, from a flow fitted to two."""

import math
import warnings
from numbers import Integral, Real
from typing import Any, Self

from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import ClassifierTags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skdre._compat import HasMethods, Interval, StrOptions, fit_context
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre.base import (
    AtomicFitMixin,
    DocumentedMixin,
    check_is_ratio,
    check_pool,
    predict_log_ratio,
)
from skdre.weighting import effective_sample_size, mixture_weights, resample

__all__ = ["TargetedSampler"]

# Whatever the number of samples: of a handful of candidates none may be a likely one.
_LEAST_CANDIDATES = 500


class TargetedSampler(
    AtomicFitMixin, DocumentedMixin, MetaEstimatorMixin, BaseEstimator
):
    r"""Draw rows of one of two distributions from a flow fitted to both.

    A flow needs many rows, and the target has few. So the flow is fitted to the target
    together with a larger sample that is like it, and its samples, of the mixture
    :math:`h = \pi p + (1 - \pi) q`, are resampled with the weights p / h or q / h that
    a density ratio r = p / q gives (sampling-importance-resampling, [1]_).

    Parameters
    ----------
    flow : density estimator
        Has ``fit`` and ``sample(n_samples, random_state)``; with ``space="features"``
        also ``transform`` and ``inverse_transform``, where the features of its samples
        are standard normal: :class:`skdre.FlowFeaturizer`. One that is fitted already
        goes in as :class:`sklearn.frozen.FrozenEstimator`.
    ratio : ratio estimator
        Any estimator of the contract (:class:`skdre.DensityRatioMixin`), or a pipeline
        that ends in one; fitted already, as a
        :class:`~sklearn.frozen.FrozenEstimator`.
    target : {"numerator", "denominator"}, default="numerator"
        The distribution to draw from: p, of the rows with the greater label, or q.
    space : {"features", "data"}, default="features"
        What the ratio gets to see: the flow's features z or the data x. The ratio is
        the same, its estimate need not be. In features only the rows that are drawn
        pass through the inverse of the flow, in data every candidate does.
    share : {"balanced", "proportional"} or float, default="balanced"
        Share :math:`\pi` of the numerator in the flow's density. "balanced": the flow
        is fitted with the labels and counts each sample half, as FlowFeaturizer does;
        1/2. "proportional": it is fitted without labels, every row counts the same;
        n_p / (n_p + n_q). A density that does not use labels, such as
        :class:`sklearn.neighbors.KernelDensity`, needs this. A number is the share
        itself, in the density of a flow that is fitted already.
    candidates_per_sample : int, default=10
        Samples of the flow for each row that is drawn; at least 500 in all.

    Attributes
    ----------
    flow_ : estimator
        The fitted flow.
    ratio_ : estimator
        The fitted ratio p / q, in x or in z.
    share_ : float
        Share of the numerator in the flow's density.
    target_ : {"numerator", "denominator"}
        The distribution that is drawn from.
    space_ : {"features", "data"}
        What the ratio sees.
    candidates_per_sample_ : int
        Samples of the flow for each row, unless ``sample`` is told another number.
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    skdre.weighting.mixture_weights : The weights.
    skdre.weighting.resample : The resampling.

    Notes
    -----
    The weights are never above one over the target's share in the mixture. Rows are
    drawn from the candidates systematically and put in random order, so no row comes
    twice as long as `candidates_per_sample` is at least one over the target's share,
    2 with ``share="balanced"``.

    Rows are never better than the flow: weights choose among its samples. A flow whose
    samples look like neither distribution gives such rows after the weighting too.

    References
    ----------
    .. [1] K. Choi, M. Liao, S. Ermon. "Featurized Density Ratio Estimation", UAI 2021,
       section 5.3 and appendix D.4.

    Examples
    --------
    >>> from skdre import FlowFeaturizer, GaussianRatio, TargetedSampler, pool
    >>> from skdre.datasets import make_warped_shift
    >>> shift = make_warped_shift((100, 1000), 2, warp="exp", random_state=0)
    >>> flow = FlowFeaturizer("copula", random_state=0)
    >>> sampler = TargetedSampler(flow, GaussianRatio()).fit(*shift.pool())
    >>> X = sampler.sample(1000, random_state=0)
    >>> X.shape
    (1000, 2)
    """

    _parameter_constraints = {  # noqa: RUF012
        "flow": [HasMethods(["fit", "sample"])],
        "ratio": [HasMethods(["fit"])],
        "target": [StrOptions({"numerator", "denominator"})],
        "space": [StrOptions({"features", "data"})],
        "share": [
            StrOptions({"balanced", "proportional"}),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "candidates_per_sample": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        flow: Any,
        ratio: Any,
        *,
        target: str = "numerator",
        space: str = "features",
        share: float | str = "balanced",
        candidates_per_sample: int = 10,
    ) -> None:
        self.flow = flow
        self.ratio = ratio
        self.target = target
        self.space = space
        self.share = share
        self.candidates_per_sample = candidates_per_sample

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.classifier_tags = ClassifierTags(multi_class=False)
        return tags

    # The parts are validated when they are fitted.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Rows, y: Values) -> Self:
        """Fit the flow to the rows of both samples, then the ratio.

        Parameters
        ----------
        %(X)
        %(y)

        Returns
        -------
        self : TargetedSampler

        Raises
        ------
        ValueError
            If the input or a parameter is not as described.
        TypeError
            If ``space="features"`` and the flow has no features.
        NotFittedError
            If a frozen flow or ratio is not fitted.
        """
        check_is_ratio(self.ratio, "ratio")
        if self.space == "features":
            for method in ("transform", "inverse_transform"):
                if not hasattr(self.flow, method):
                    raise TypeError(
                        f"space='features' needs a flow with {method}, which "
                        f"flow={self.flow!r} has not. Set space='data'."
                    )
        rows = check_pool(self, X, y)
        # Labels as they are, for a frozen part may know them.
        y = rows.classes[rows.is_numerator.astype(int)]
        flow = clone(self.flow)
        if self.share == "proportional":
            # A FrozenEstimator insists on some y.
            flow.fit(rows.X, None)
            share = float(rows.is_numerator.mean())
        else:
            flow.fit(rows.X, y)
            share = 0.5 if self.share == "balanced" else float(self.share)
        seen = flow.transform(rows.X) if self.space == "features" else rows.X
        ratio = clone(self.ratio).fit(seen, y)

        # Nothing is set before everything is fitted: a failed fit changes nothing.
        validate_data(self, X, skip_check_array=True)
        self.flow_, self.ratio_, self.share_ = flow, ratio, share
        self.target_, self.space_ = self.target, self.space
        self.candidates_per_sample_ = self.candidates_per_sample
        self.classes_ = rows.classes
        return self

    def sample(
        self,
        n_samples: int = 1,
        random_state: RandomState = None,
        *,
        candidates_per_sample: int | None = None,
        return_effective_size: bool = False,
    ) -> Floats | tuple[Floats, float]:
        """Draw rows of the target.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Draws the candidates, and the rows among them.
        candidates_per_sample : int, default=None
            Samples of the flow for each row, at least 500 in all; None is what the
            sampler was fitted with.
        return_effective_size : bool, default=False
            Whether to return the effective sample size of the candidates too.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In random order.
        effective_size : float
            Kish's effective sample size of the weighted candidates. Only with
            `return_effective_size`.

        Raises
        ------
        ValueError
            If `n_samples` or `candidates_per_sample` is not an integer of at least 1.

        Warns
        -----
        UserWarning
            If the effective sample size is less than `n_samples`.
        """
        check_is_fitted(self)
        if candidates_per_sample is None:
            candidates_per_sample = self.candidates_per_sample_
        for name, value in {
            "n_samples": n_samples,
            "candidates_per_sample": candidates_per_sample,
        }.items():
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}.")
        rng = check_random_state(random_state)
        n_candidates = max(candidates_per_sample * n_samples, _LEAST_CANDIDATES)
        in_features = self.space_ == "features"
        if in_features:
            candidates = rng.normal(size=(n_candidates, self.n_features_in_))
        else:
            candidates = self.flow_.sample(n_candidates, random_state=rng)
        weights = mixture_weights(
            predict_log_ratio(self.ratio_, candidates),
            self.share_,
            target=self.target_,
        )
        size = self._check_effective_size(weights, n_samples)
        drawn = resample(weights, n_samples, method="systematic", random_state=rng)
        X = candidates[rng.permutation(drawn)]
        if in_features:
            X = self.flow_.inverse_transform(X)
        return (X, size) if return_effective_size else X

    def _check_effective_size(self, weights, n_samples):
        if not weights.any():
            raise ValueError(
                f"The ratio gives the target ({self.target_}) no weight at any of "
                f"{len(weights)} samples of the flow: the flow has not learnt it, or "
                "the ratio overfits."
            )
        size = effective_sample_size(weights)
        if size < n_samples:
            enough = math.ceil(len(weights) / size)
            warnings.warn(
                f"The effective sample size of {len(weights)} candidates is "
                f"{size:.1f}, less than the {n_samples} samples wanted: many of these "
                "are copies of each other. The target is rare among the flow's "
                f"samples. Set candidates_per_sample to {enough} or more; with "
                "share='proportional', share='balanced' makes the target half of them.",
                UserWarning,
                stacklevel=3,
            )
        return size
