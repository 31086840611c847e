"""The affine map that takes one Gaussian to another, in closed form."""

import copy
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, orth, solve_triangular

from skdre.flows._gaussian import (
    SHRINKAGES,
    GaussianFlow,
    affine_factors,
    gaussian_moments,
    left_out_log_densities,
)
from skdre.flows._marginals import MarginalMaps, standardize

__all__ = ["GaussianAlignment", "align_gaussians", "optimal_map", "within_maps"]

# An eigenvalue below this, of a covariance with unit variances, is a rounding error.
_LEAST_VARIANCE = 1e-10

# What left-out rows must gain by shrinkage, in nats for each column of a sample: less
# is noise, and without shrinkage the moments agree to rounding.
_WORTH_SHRINKING = 0.02

# Columns whose spreads differ by more have no optimal map in double precision: its
# equations hold their squares.
_LARGEST_RANGE = 1e6


def optimal_map(source, target):
    """Matrix of the optimal transport between Gaussians, of their covariances.

    The symmetric positive definite M with ``M @ source @ M == target``: of all maps
    that take N(0, source) to N(0, target) the one that moves the rows least, in the
    mean of squares.
    """
    # With source = A A' and target = B B' every B W A^-1, W orthogonal, maps the
    # covariances; it is symmetric and positive definite when W is the polar factor of
    # B' A. So no product of covariances is formed, and no root of one is taken.
    A, B = np.linalg.cholesky(source), np.linalg.cholesky(target)
    left, _, right = np.linalg.svd(B.T @ A)
    M = solve_triangular(A, (B @ left @ right).T, lower=True, trans="T").T
    return (M + M.T) / 2


@dataclass(frozen=True)
class GaussianAlignment:
    """Two Gaussians, and the affine map from the first, the source, to the second.

    Attributes
    ----------
    means : ndarray of shape (2, n_features)
    covariances : ndarray of shape (2, n_features, n_features)
        Positive definite: shrunk, or with variance 1 where neither sample has any.
    matrix : ndarray of shape (n_features, n_features)
        The map is ``means[1] + matrix @ (u - means[0])``.
    factors : ndarray of shape (n_features, n_features)
        Of `matrix`, as :func:`skdre.flows._gaussian.affine_factors` lays them out.
    shrinkage : float
        Share of the identity in the covariances.
    """

    means: np.ndarray
    covariances: np.ndarray
    matrix: np.ndarray
    factors: np.ndarray
    shrinkage: float

    @property
    def fixed(self):
        """The map is ``matrix @ (u - fixed)`` as well."""
        return self.means[0] - np.linalg.solve(self.matrix, self.means[1])

    def initial_log_likelihood_ratio(self):
        """How well two Gaussians fit better than one does, before anything moved.

        Mean log densities of the samples under a Gaussian of their own, summed, less
        those under the Gaussian with the moments of both; in nats, at least 0.

        """
        half = np.diff(self.means, axis=0) / 2
        both = self.covariances.mean(axis=0) + half.T @ half
        log_det = np.linalg.slogdet([both, *self.covariances])[1]
        return float(log_det[0] - log_det[1:].mean())

    def flows(self):
        """The map, and the Gaussians of the source, the target, and both when moved."""
        d = len(self.matrix)
        of_source, of_target = (
            GaussianFlow(d).set_moments(mean, covariance, 0.0)
            for mean, covariance in zip(self.means, self.covariances, strict=True)
        )
        flow = GaussianFlow(d).set_map(self.factors, self.fixed)
        return flow, of_source, of_target, copy.deepcopy(of_target)

    def in_units_of(self, maps):
        """Matrix and offset of the map in the units that `maps` maps from."""
        scales = np.array([column.scale for column in maps.columns])
        centers = np.array([column.center for column in maps.columns])
        coef = self.matrix * np.outer(scales, 1 / scales)
        offset = self.means[1] - self.matrix @ self.means[0]
        return coef, centers + scales * offset - coef @ centers


def within_maps(samples, weights):
    """Affine maps of the columns to the scale of their spread within the samples.

    The mean of the two samples' variances is then 1 in each column, and the middle of
    their means 0.
    """
    columns = []
    pairs = (standardize(X, w).columns for X, w in zip(samples, weights, strict=True))
    for first, second in zip(*pairs, strict=True):
        scales = [0.0 if c.is_constant else c.scale for c in (first, second)]
        spread = np.hypot(*scales) / np.sqrt(2)
        center = first.center / 2 + second.center / 2
        # Constant in each sample: the gap, if there is one, is all that has a size.
        scale = spread or abs(second.center - first.center) or 1.0
        columns.append(
            replace(first, center=center, scale=scale, is_constant=spread == 0)
        )
    return MarginalMaps(tuple(columns))


def align_gaussians(samples, weights, units, *, shrinkage, rng):
    """Match the first two moments of two samples by an optimal affine map.

    Parameters
    ----------
    samples : pair of ndarray of shape (n_samples, n_features)
        Rows of the source, which moves, and of the target, as :func:`within_maps` maps
        them.
    weights : pair of ndarray of shape (n_samples,)
        Repetition counts.
    units : ndarray of shape (n_features,) or None
        What a step of 1 in a column counts in the distance that the map keeps small;
        None for 1 in each.
    shrinkage : float or "auto"
        Share of the identity in both covariances; "auto" is 0 unless left-out rows say
        otherwise.
    rng : RandomState
        Deals the rows to folds.

    Returns
    -------
    alignment : GaussianAlignment

    Raises
    ------
    ValueError
        If a covariance is singular and shall not be shrunk, or the columns' units
        differ too much.
    """
    d = samples[0].shape[1]
    moments = [
        gaussian_moments(U, w, np.zeros(d))
        for U, w in zip(samples, weights, strict=True)
    ]
    means = np.stack([mean for mean, _ in moments])
    covariances = np.stack([covariance for _, covariance in moments])
    size, axes = np.linalg.eigh(covariances.mean(axis=0))
    empty, filled = axes[:, size < _LEAST_VARIANCE], axes[:, size >= _LEAST_VARIANCE]
    least = [np.linalg.eigvalsh(each)[0] for each in covariances + empty @ empty.T]
    is_singular = min(least) < _LEAST_VARIANCE
    if shrinkage == "auto":
        rows = [U @ filled for U in samples]
        shrinkage = _choose_shrinkage(rows, weights, is_singular, rng)
    elif shrinkage == 0 and is_singular:
        worst = int(np.argmin(least))
        raise ValueError(
            "shrinkage=0, but the covariance of the "
            f"{('source', 'target')[worst]} is singular where that of the other sample "
            f"is not ({len(samples[worst])} distinct rows, {d} features), so no "
            "invertible affine map matches both. Use shrinkage='auto' or a number "
            "above 0, or drop columns that are constant or determine each other."
        )
    units = np.ones(d) if units is None else np.asarray(units)
    if units.max() > _LARGEST_RANGE * units.min():
        raise ValueError(
            "The columns' standard deviations differ by a factor of "
            f"{units.max() / units.min():.1g}, which is too much for the optimal map "
            "in their own units: use standardize=True."
        )
    # From here on in the coordinates whose distances the map keeps small.
    units = units / units.max()
    if shrinkage > 0:
        covariances = (1 - shrinkage) * covariances + shrinkage * np.eye(d)
    covariances = covariances * np.outer(units, units)
    if shrinkage == 0 and empty.size:
        # Where neither sample has any variance the map shall move nothing.
        basis = orth(empty / units[:, None])
        covariances = covariances + basis @ basis.T
    try:
        matrix = optimal_map(*covariances)
        factors = affine_factors(matrix)
    except LinAlgError as error:
        raise ValueError(
            "The covariances are too close to singular for an affine map: use a "
            f"shrinkage above {shrinkage:g}."
        ) from error
    return GaussianAlignment(
        means=means,
        covariances=covariances / np.outer(units, units),
        matrix=matrix * np.outer(1 / units, units),
        factors=factors * np.outer(1 / units, units),
        shrinkage=float(shrinkage),
    )


def _choose_shrinkage(samples, weights, is_singular, rng):
    """The shrinkage that suits left-out rows of both samples; 0 where that does."""
    if min(map(len, samples)) == 1:
        return 1.0
    total = np.zeros(len(SHRINKAGES))
    for U, weight in zip(samples, weights, strict=True):
        none = np.zeros(U.shape[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            total += left_out_log_densities(U, weight, none, rng)
    total = np.where(np.isfinite(total), total, -np.inf)
    if is_singular:
        total[0] = -np.inf
    enough = total.max() - 2 * _WORTH_SHRINKING * samples[0].shape[1]
    return 0.0 if total[0] >= enough else SHRINKAGES[int(np.argmax(total))]
