"""Unnormalised densities in the coordinates where their base is N(0, I).

All that anneals works there: with z = f(x) standard normal under the base, a density is
its log ratio to the base, l(z) = log f(x(z)) - log base(x(z)), and the distributions
between the two are proportional to N(z; 0, I) exp(beta l(z)).
"""

import sys
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from skdre._core.columns import check_rows
from skdre._core.types import Floats
from skdre.base import predict_log_ratio

__all__ = [
    "MAP_METHODS",
    "Target",
    "log_normal",
    "make_target",
    "ratio_target",
]

# What a base needs for the way to its latent space, back, and its own density.
MAP_METHODS = ("score_samples", "transform", "inverse_transform")


def log_normal(Z):
    """Log density of N(0, I) in nats, of shape (n_samples,)."""
    return -0.5 * (np.sum(Z**2, axis=1) + Z.shape[1] * np.log(2 * np.pi))


def one_each(values, n_rows, name):
    """Values as an array, if there is one for each row."""
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (n_rows,):
        raise ValueError(
            f"{name} must give one value for each row, shape ({n_rows},), got shape "
            f"{values.shape}."
        )
    return values


class StandardNormal:
    """The base N(0, I): rows are their own features."""

    def __init__(self, n_features):
        self.n_features = n_features

    def transform(self, X):
        return X

    inverse_transform = transform

    def score_samples(self, X):
        return log_normal(X)

    def pull_back(self, gradient):
        """The gradient by z of a function whose gradient by x is given."""
        return gradient


class Normal:
    """The base N(mean, covariance), x = mean + L z."""

    def __init__(self, mean, covariance):
        self.mean, self.n_features = mean, len(mean)
        self.factor = cholesky(covariance, lower=True)
        self.log_det = np.sum(np.log(np.diagonal(self.factor)))

    def transform(self, X):
        return solve_triangular(self.factor, (X - self.mean).T, lower=True).T

    def inverse_transform(self, Z):
        return self.mean + Z @ self.factor.T

    def score_samples(self, X):
        return log_normal(self.transform(X)) - self.log_det

    def pull_back(self, gradient):
        return gradient @ self.factor


class Target:
    """An unnormalised density relative to its base, in the base's latent space.

    Parameters
    ----------
    base : object
        Has the methods of ``MAP_METHODS``; latent rows are standard normal under it.
    n_features : int
    log_ratio : callable
        Of latent rows: log density less log density of the base, of shape (n,).
    log_ratio_and_gradient : callable or None
        The same and the gradient by the latent row, of shape (n, n_features).
    name : str
        Of the function at fault, for messages.
    """

    def __init__(
        self,
        base: Any,
        n_features: int,
        log_ratio: Callable[[Floats], Floats],
        log_ratio_and_gradient: Callable[[Floats], tuple[Floats, Floats]] | None,
        name: str,
    ) -> None:
        self.base, self.n_features, self.name = base, n_features, name
        self._log_ratio = log_ratio
        self._log_ratio_and_gradient = log_ratio_and_gradient
        self.n_evaluations = 0

    @property
    def has_gradient(self) -> bool:
        return self._log_ratio_and_gradient is not None

    def log_ratio(self, Z: Floats) -> Floats:
        """The log ratio at latent rows; ValueError if it is NaN or infinite."""
        return self._checked(self._log_ratio(Z), Z)

    def log_ratio_and_gradient(self, Z: Floats) -> tuple[Floats, Floats]:
        """The same, with its gradients."""
        assert self._log_ratio_and_gradient is not None
        values, gradients = self._log_ratio_and_gradient(Z)
        return self._checked(values, Z), gradients

    def _checked(self, values, Z):
        self.n_evaluations += len(Z)
        values = one_each(values, len(Z), self.name)
        # Minus infinity is a density of 0.
        wrong = np.isnan(values) | np.isposinf(values)
        if wrong.any():
            first = int(np.argmax(wrong))
            where = np.array2string(Z[first], precision=4, threshold=8)
            raise ValueError(
                f"{self.name} gives {values[first]} at {wrong.sum()} of {len(Z)} rows, "
                f"the first of them at z = {where} in the base's latent space. It must "
                "be finite, or minus infinity where the density is 0."
            )
        return values

    def to_latent(self, X: Any) -> Floats:
        """Latent rows of data; ValueError outside the base's support."""
        X = check_rows(X)
        if X.shape[1] != self.n_features:
            raise ValueError(
                f"X has {X.shape[1]} features, but the base has {self.n_features}."
            )
        return latent_rows(self.base, X)

    def from_latent(self, Z: Floats) -> Floats:
        return np.asarray(self.base.inverse_transform(Z), dtype=np.float64)

    def log_base(self, X: Floats) -> Floats:
        """Log density of the base at data, in nats."""
        return np.asarray(self.base.score_samples(X), dtype=np.float64)


def latent_rows(base, X):
    """Rows in the latent space of a base; ValueError for those outside its support."""
    Z = np.asarray(base.transform(X), dtype=np.float64)
    if Z.shape != X.shape:
        raise ValueError(
            "base must have an invertible map, of as many features as X: transform "
            f"gives shape {Z.shape} for X of shape {X.shape}."
        )
    outside = ~np.isfinite(Z).all(axis=1)
    outside |= ~np.isfinite(np.asarray(base.score_samples(X), dtype=np.float64))
    if outside.any():
        raise ValueError(
            f"{outside.sum()} of {len(X)} rows of X lie outside the support of the "
            f"base: its density or its features are not finite there. The first is "
            f"row {int(np.argmax(outside))}. Take a base with a density everywhere, or "
            "leave these rows out."
        )
    return Z


def _check_base(base):
    if isinstance(base, Integral) and not isinstance(base, bool):
        if base < 1:
            raise ValueError(f"base must be at least one feature, got {base!r}.")
        return StandardNormal(int(base))
    if isinstance(base, tuple) and len(base) == 2:
        mean = np.asarray(base[0], dtype=np.float64)
        covariance = np.asarray(base[1], dtype=np.float64)
        if mean.ndim != 1 or covariance.shape != 2 * mean.shape:
            raise ValueError(
                "base must be (mean, covariance) of shapes (n_features,) and "
                f"(n_features, n_features), got {mean.shape} and {covariance.shape}."
            )
        try:
            return Normal(mean, covariance)
        except np.linalg.LinAlgError:
            raise ValueError(
                "The covariance of base=(mean, covariance) must be positive definite."
            ) from None
    missing = [each for each in MAP_METHODS if not hasattr(base, each)]
    if missing:
        raise TypeError(
            "base must be a number of features (the base is N(0, I)), a pair of mean "
            "and covariance, or a fitted density with "
            f"{', '.join(MAP_METHODS)}, such as FlowFeaturizer; got {base!r}, which "
            f"has no {missing[0]}."
        )
    check_is_fitted(base)
    return base


def _is_module(function):
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(function, torch.nn.Module)


def make_target(log_density: Any, base: Any, gradient: Any) -> Target:
    """The target of what a user gives; ValueError and TypeError as they say."""
    target = getattr(log_density, "_annealing_target", None)
    if target is not None:
        if base is not None or gradient is not None:
            raise TypeError(
                f"base and gradient are those of {type(log_density).__name__}: leave "
                "them out."
            )
        return target()
    if not callable(log_density):
        raise TypeError(
            "log_density must be a function of rows, or a fitted RatioDensity, got "
            f"{log_density!r}."
        )
    if base is None:
        raise TypeError(
            "base must be given with a function: a number of features, a pair of mean "
            "and covariance, or a fitted density."
        )
    base = _check_base(base)
    if gradient == "torch" or (gradient is None and _is_module(log_density)):
        from skdre._nn.gradients import TorchFunction

        log_density = TorchFunction(log_density)
        both = log_density.value_and_gradient
    elif gradient is None:
        both = None
    elif callable(gradient):
        value = log_density

        def both(X):
            return value(X), gradient(X)

    else:
        raise TypeError(
            "gradient must be a function of rows, 'torch' if log_density is a function "
            f"of tensors, or None, got {gradient!r}."
        )
    is_affine = isinstance(base, StandardNormal | Normal)
    if both is not None and not is_affine:
        if gradient is not None:
            raise TypeError(
                "gradient can be used with a Gaussian base only, a number of features "
                "or (mean, covariance): the map of "
                f"{type(base).__name__} is not differentiated."
            )
        both = None

    def log_ratio(Z):
        X = np.asarray(base.inverse_transform(Z), dtype=np.float64)
        values = one_each(log_density(X), len(X), "log_density")
        return values - base.score_samples(X)

    def log_ratio_and_gradient(Z):
        X = base.inverse_transform(Z)
        values, gradients = both(X)
        values = one_each(values, len(X), "log_density")
        gradients = np.asarray(gradients, dtype=np.float64)
        if gradients.shape != X.shape:
            raise ValueError(
                f"The gradient of log_density must have the shape of the rows, "
                f"{X.shape}, got {gradients.shape}."
            )
        # The gradient of log N(z; 0, I) is -z.
        return values - base.score_samples(X), base.pull_back(gradients) + Z

    n_features = base.n_features if is_affine else base.n_features_in_
    return Target(
        base,
        n_features,
        log_ratio,
        None if both is None else log_ratio_and_gradient,
        "log_density",
    )


def _with_gradient(estimator):
    """The private method of a ratio estimator that gives gradients, or None."""
    while isinstance(estimator, FrozenEstimator) or hasattr(
        estimator, "best_estimator_"
    ):
        estimator = getattr(estimator, "best_estimator_", None) or estimator.estimator
    return getattr(estimator, "_log_ratio_and_gradient", None)


def ratio_target(base: Any, ratio: Any, n_features: int) -> Target:
    """The target r(z) N(z; 0, I) of a fitted ratio estimator in the latent space."""
    hook = _with_gradient(ratio)
    # Some of its parameters may leave an estimator without gradients.
    if hook is not None and hook(np.zeros((1, n_features))) is None:
        hook = None

    def log_ratio(Z):
        return predict_log_ratio(ratio, Z)

    return Target(base, n_features, log_ratio, hook, "The log ratio")
