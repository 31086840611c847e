"""The Gaussian flow: whitening, in closed form."""

import numpy as np
import torch
from torch import nn
from torch.distributions import Transform, constraints
from zuko.flows import Flow
from zuko.lazy import LazyTransform

from skdre._core.rows import observations
from skdre._core.types import Floats
from skdre.flows._transforms import standard_normal

__all__ = [
    "SHRINKAGES",
    "GaussianFlow",
    "affine_factors",
    "choose_shrinkage",
    "gaussian_moments",
    "left_out_log_densities",
    "shrunk_log_densities",
    "whitening",
]

# Shrinkages to choose from; 0 leaves the covariance to the rows and the noise alone,
# 1 leaves the columns as they are.
SHRINKAGES = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)

_N_FOLDS = 5


def gaussian_moments(U, weight, noise_scale):
    """Maximum-likelihood mean and covariance of weighted rows with noise on them.

    The same noise, of a standard deviation for each column, perturbs the rows of the
    flows that are trained. It bounds the density of rows that fill no volume: no
    eigenvalue is below its variance.
    """
    share = weight / weight.sum()
    mean = share @ U
    rows = (U - mean) * np.sqrt(share)[:, None]
    return mean, rows.T @ rows + np.diag(noise_scale**2)


def shrunk_log_densities(U, weight, mean, covariance):
    """Mean log density in nats of other rows, weighted, for each of ``SHRINKAGES``.

    With shrinkage s the covariance is (1 - s) covariance + s I.
    """
    variance, axes = np.linalg.eigh(covariance)
    squares = (weight / weight.sum()) @ ((U - mean) @ axes) ** 2
    s = np.array(SHRINKAGES)[:, None]
    shrunk = (1 - s) * variance + s
    return -0.5 * np.sum(squares / shrunk + np.log(2 * np.pi * shrunk), axis=1)


def choose_shrinkage(U, weight, noise_scale, rng):
    """Index of the shrinkage to the identity that suits left-out rows best.

    Ledoit and Wolf's shrinkage and the oracle-approximating one minimise the squared
    error of the covariance, and do not see what a density loses by its smallest
    eigenvalues.
    """
    return int(np.argmax(left_out_log_densities(U, weight, noise_scale, rng)))


def left_out_log_densities(U, weight, noise_scale, rng):
    """Mean log density in nats of left-out rows in five folds, for each shrinkage."""
    # Copies of a row are left out together, unless there is nothing else.
    number = np.unique(observations(U), return_inverse=True)[1]
    if number.max() == 0:
        number = np.arange(len(U))
    n_rows = number.max() + 1
    n_folds = min(_N_FOLDS, n_rows)
    fold = rng.permutation(n_rows)[number] % n_folds
    total = np.zeros(len(SHRINKAGES))
    for k in range(n_folds):
        out = fold == k
        moments = gaussian_moments(U[~out], weight[~out], noise_scale)
        each = shrunk_log_densities(U[out], weight[out], *moments)
        total += weight[out].sum() * each
    return total / weight.sum()


def whitening(covariance, shrinkage):
    """Factors of the symmetric whitening matrix of the shrunk covariance.

    Of all whitening maps the symmetric one moves the columns least. The factors, of
    :func:`affine_factors`, are those of
    ((1 - shrinkage) covariance + shrinkage I)^(-1/2).
    """
    variance, axes = np.linalg.eigh(covariance)
    shrunk = (1 - shrinkage) * variance + shrinkage
    return affine_factors(axes / np.sqrt(shrunk) @ axes.T)


def affine_factors(matrix):
    """Triangular factors of a symmetric positive definite matrix, in one array.

    L on and below the diagonal, and above it U, whose diagonal is 1; L U = `matrix`.
    """
    root = np.linalg.cholesky(matrix)
    lower, upper = root * np.diag(root), (root / np.diag(root)).T
    return lower + np.triu(upper, 1)


class _Affine(Transform):
    """z = L U (u - mean)."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, mean, factors):
        super().__init__()
        self.mean = mean
        self.lower = torch.tril(factors)
        self.upper = torch.triu(factors, diagonal=1) + torch.eye(
            len(mean), dtype=mean.dtype, device=mean.device
        )

    def _call(self, x):
        return (x - self.mean) @ (self.lower @ self.upper).mT

    def _inverse(self, y):
        x = torch.linalg.solve_triangular(self.lower, y.mT, upper=False)
        x = torch.linalg.solve_triangular(self.upper, x, upper=True, unitriangular=True)
        return x.mT + self.mean

    def log_abs_det_jacobian(self, x, y):
        return self.lower.diagonal().abs().log().sum().expand(x.shape[:-1])


class _LazyAffine(LazyTransform):
    def __init__(self, n_features):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(n_features))
        self.factors = nn.Parameter(torch.eye(n_features))

    def forward(self, c=None):
        return _Affine(self.mean, self.factors)


class GaussianFlow(Flow):
    """Affine flow that starts at the identity.

    Maximum likelihood has a closed form, :meth:`set_moments`; as a part of something
    else it can be trained like any flow.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features: int) -> None:
        super().__init__(_LazyAffine(n_features), standard_normal(n_features))

    def set_moments(
        self, mean: Floats, covariance: Floats, shrinkage: float
    ) -> "GaussianFlow":
        """Whiten a Gaussian of this mean and shrunk covariance."""
        return self.set_map(whitening(covariance, shrinkage), mean)

    def set_map(self, factors: Floats, fixed: Floats) -> "GaussianFlow":
        """Map u to L U (u - fixed), L and U as of :func:`affine_factors`."""
        self.transform.mean = nn.Parameter(torch.as_tensor(fixed))
        self.transform.factors = nn.Parameter(torch.as_tensor(factors))
        return self
