"""Invertible maps of the rows to coordinates in which paths and networks work."""

from dataclasses import dataclass

import numpy as np
import torch

from skdre._core.moments import joint_moments
from skdre._core.scales import FAR, draw_in
from skdre._nn.networks import draw_in as draw_in_tails
from skdre._nn.networks import network_inputs

__all__ = ["Scaling", "fit_scaling"]

# Standardised values this far beyond the middle of the two means are drawn in, in
# units of the standard deviation within the samples; likewise beyond all rows that a
# Gaussian denominator was whitened with.
_LINEAR_RANGE = 4.0


@dataclass(frozen=True)
class Scaling:
    """An invertible map of the rows: affine, with long tails drawn in.

    Attributes
    ----------
    center, scale : ndarray of shape (n_features,)
        A constant column has infinite scale.
    matrix : ndarray of shape (n_features, n_features) or None
        Applied to the scaled rows.
    limit : ndarray of shape (n_features,)
        Where tails begin.
    bounds : ndarray of shape (2, n_features)
        What values are drawn in to at first, in columns where a few would decide.
    """

    center: np.ndarray
    scale: np.ndarray
    matrix: np.ndarray | None
    limit: np.ndarray
    bounds: np.ndarray

    def transform(self, X):
        X = draw_in(X, *self.bounds)
        if self.matrix is None:
            return network_inputs(X, self.center, self.scale, self.limit)
        with np.errstate(over="ignore"):
            Z = np.clip((X - self.center) / self.scale, -FAR, FAR)
        return network_inputs(Z @ self.matrix, 0.0, 1.0, self.limit)

    def transform_tensor(self, x):
        """The same of a tensor, which is not far out, with its gradient."""

        def tensor(array):
            return torch.as_tensor(array, dtype=x.dtype, device=x.device)

        z = x.clamp(*map(tensor, self.bounds))
        z = (z - tensor(self.center)) / tensor(self.scale)
        if self.matrix is not None:
            z = z @ tensor(self.matrix)
        return draw_in_tails(z, tensor(self.limit))


def fit_scaling(rows, scales, *, whiten=False):
    """Standardise by the standard deviation within the samples, or whiten.

    `rows` are PooledRows and `scales` their column scales. Whitening makes the
    denominator's mean 0 and its covariance the identity; ValueError if that is
    singular.
    """
    bounds = np.stack([scales.low, scales.high])
    X = draw_in(rows.X, *bounds)
    moments = joint_moments(
        *rows.split(X),
        rows.split(rows.weight),
        shrink=False,
    )
    variances = np.diagonal(moments.covariances, axis1=1, axis2=2)
    if not whiten:
        sd = np.sqrt(variances.mean(axis=0))
        # Columns of one value in each sample have no spread but that between them.
        apart = np.abs(moments.means[1] - moments.means[0]) / 2
        scale = np.where(sd > 0, sd, np.where(apart > 0, apart, np.inf))
        limit = apart / scale + _LINEAR_RANGE
        return Scaling(moments.center, scale, None, limit, bounds)
    sd = np.sqrt(variances[0])
    correlation = moments.covariances[0] / np.outer(*[np.where(sd > 0, sd, 1.0)] * 2)
    size, axes = np.linalg.eigh(correlation)
    if (sd == 0).any() or size[0] < 1e-10 * size[-1]:
        raise ValueError(
            "denominator='gaussian' needs more rows of the denominator than features "
            "and no column that is constant or a combination of others: the "
            f"covariance of its {rows.n_denominator} distinct rows is singular."
        )
    # The symmetric root moves the columns least: pixels stay where they are.
    matrix = axes / np.sqrt(size) @ axes.T
    Z = ((X - moments.means[0]) / sd) @ matrix
    limit = np.abs(Z).max(axis=0) + _LINEAR_RANGE
    return Scaling(moments.means[0], sd, matrix, limit, bounds)
