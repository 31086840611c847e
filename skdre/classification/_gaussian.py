"""GaussianRatio: the ratio of two fitted Gaussians."""

from typing import Self

from sklearn.base import BaseEstimator

from skdre._compat import CallbackSupportMixin, fit_context
from skdre._core.moments import joint_moments
from skdre._core.scales import column_scales
from skdre._core.tasks import single_task
from skdre._core.types import Floats, Rows, Values
from skdre.base import DensityRatioMixin, split_samples

__all__ = ["GaussianRatio"]


class GaussianRatio(DensityRatioMixin, CallbackSupportMixin, BaseEstimator):
    r"""Density ratio of two Gaussians, their moments shrunk together.

    The Gaussian plug-in: a mean and a covariance are estimated for each sample, and the
    log ratio is that of the two Gaussians, a quadratic function. Quadratic discriminant
    analysis is the same without shrinkage.

    Parameters
    ----------
    shrink : bool, default=True
        Shrink the difference of the two means, and that of the two covariances, by as
        much as sampling noise alone would make of them, and the pooled covariance
        towards a multiple of the identity (after scaling the columns). So the log ratio
        is close to linear where the samples do not show two covariances, and close to 0
        where they show no difference. False takes the sample moments as they are.

    Attributes
    ----------
    moments_ : skdre._core.moments.JointMoments
        The two Gaussians in coordinates where both have independent columns.
    means_ : ndarray of shape (2, n_features_in_)
        Estimated means, the denominator's first.
    covariances_ : ndarray of shape (2, n_features_in_, n_features_in_)
        Estimated covariances, the denominator's first.
    shrinkage_ : tuple of float
        What the difference of the means, and of the covariances, was multiplied by:
        1 for no shrinkage, 0 for no difference.
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    skdre.ClassifierRatio : With ``LinearDiscriminantAnalysis()`` or
        ``QuadraticDiscriminantAnalysis()`` the same without shrinkage, and without
        sample weights.

    Notes
    -----
    Nothing is better on Gaussians, however far apart they lie, and the fit takes
    milliseconds. On anything else the estimate goes wrong without saying so: see the
    held-out ``score`` of others beside it.

    The shrinkage is James and Stein's, positive part, with one factor for the means and
    one for the covariances,

    .. math:: c = \sqrt{(1 - \nu / \|\Delta\|^2)_+},

    in coordinates where the pooled covariance is the identity. There sampling adds
    :math:`\nu = d (1/n_q + 1/n_p)` to the squared length of the difference of the
    means, and :math:`d (d + 1) / 4` times the same to that of half the difference of
    the covariances. Where :math:`\|\Delta\|^2` is less than about five of its standard
    deviations above that, the noise is taken to be three of them larger, so that what
    noise alone may well make counts little. "Which estimator
    to take" in the documentation compares it with quadratic discriminant analysis.

    With more columns than rows the log ratio is that of heavily shrunk moments: where
    the samples come from one distribution it is close to 0, as it should be; where a
    mean or a variance does differ, most of the difference is lost.

    A few extreme values in a column, such as two of 9999 in a thousand rows, are set to
    a value five standard deviations from the others, with a warning.

    References
    ----------
    .. [1] J. H. Friedman. "Regularized Discriminant Analysis", Journal of the American
       Statistical Association 84, 1989.
    .. [2] W. James, C. Stein. "Estimation with Quadratic Loss", Fourth Berkeley
       Symposium, 1961.

    Examples
    --------
    >>> from skdre import GaussianRatio
    >>> from skdre.datasets import make_warped_shift
    >>> from skdre.metrics import log_ratio_mse
    >>> shift = make_warped_shift(500, 2, random_state=0)
    >>> X, y = shift.pool()
    >>> ratio = GaussianRatio().fit(X, y)
    >>> bool(log_ratio_mse(shift.log_ratio(X), ratio.decision_function(X)) < 0.02)
    True
    """

    _parameter_constraints = {"shrink": ["boolean"]}  # noqa: RUF012

    def __init__(self, *, shrink: bool = True) -> None:
        self.shrink = shrink

    @fit_context(prefer_skip_nested_validation=True)
    @single_task
    def fit(self, X: Rows, y: Values, sample_weight: Values | None = None) -> Self:
        """Estimate the moments of the two samples.

        Parameters
        ----------
        %(X)
        %(y)
        %(sample_weight)

        Returns
        -------
        self : GaussianRatio

        Raises
        ------
        ValueError
            If the input or a parameter is not as described.
        """
        samples = split_samples(self, X, y, sample_weight)
        moments = joint_moments(
            samples.denominator,
            samples.numerator,
            (samples.denominator_weight, samples.numerator_weight),
            shrink=self.shrink,
            scales=column_scales(samples.parts, samples.names),
        )
        self.moments_ = moments
        self.classes_ = samples.classes
        return self

    @property
    def means_(self) -> Floats:
        return self.moments_.means

    @property
    def covariances_(self) -> Floats:
        return self.moments_.covariances

    @property
    def shrinkage_(self) -> tuple[float, float]:
        return self.moments_.shrinkage

    def decision_function(self, X: Rows) -> Floats:
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, finite.
        """
        X = self._validate_rows(X)
        return self.moments_.log_ratio(X)

    def _log_ratio_and_gradient(self, X):
        """Log ratio at rows, and its gradient, of the shape of X."""
        return self.moments_.log_ratio(X), self.moments_.log_ratio_gradient(X)
