"""Kernels around some of the rows: which rows, and the values of their kernels."""

import numpy as np

from skdre._core.arrays import place_of
from skdre.kernel._gaussian import (
    kernel_of_squares,
    kernel_there,
    row_blocks,
    squared_distances,
)

# Squared distances up to this many entries are kept for all bandwidths, and the values
# of the kernel for one; more are formed anew in each pass.
_DISTANCE_ENTRIES = 1 << 22
# The same on a device.
_DEVICE_ENTRIES = 1 << 25


def quantile_index(projection, weight, n_rows):
    """Positions of the rows at evenly spaced quantiles of a projection of them.

    The rows depend neither on the order of all rows nor on whether a row stands twice
    or has weight two, which a random choice of rows would.
    """
    order = np.argsort(projection, kind="stable")
    cumulative = np.cumsum(weight[order])
    wanted = (np.arange(n_rows) + 0.5) / n_rows * cumulative[-1]
    return order[np.searchsorted(cumulative, wanted)]


def choose_centers(X, weight, n_components, random_state):
    """Distinct rows at evenly spaced quantiles of a random projection.

    Returns the centres, at most `n_components` and no two alike, and for each row the
    position of the centre that it coincides with, -1 where there is none.
    """
    direction = random_state.standard_normal(X.shape[1])
    # Summed row by row, so that rows that are alike have one projection to the bit.
    projection = (X * direction).sum(axis=1)
    chosen = np.arange(len(X))
    if len(X) > n_components:
        chosen = quantile_index(projection, weight, n_components)
    places, first = np.unique(projection[chosen], return_index=True)
    nearest = np.searchsorted(places, projection).clip(max=len(places) - 1)
    center_of_row = np.where(places[nearest] == projection, nearest, -1)
    return X[chosen[first]], center_of_row


class CenterKernel:
    """Kernel values between weighted rows and centres, one bandwidth after another.

    Where `constant` is not 0, a last column of this value follows those of the kernels.
    `count` holds the observations that each row stands for, 1 if not given. Rows of
    another library than NumPy have their kernel values there.
    """

    def __init__(self, X, weight, centers, constant=0.0, count=None):
        self.place = place_of(X)
        self.X, self.weight, self.centers = X, weight, self.place.put(centers)
        self.count = np.ones(len(X)) if count is None else count
        self.constant = constant
        self.n_columns = len(centers) + (constant != 0)
        self._squared = self._matrix = self._gamma = None
        most = _DEVICE_ENTRIES if self.place.is_accelerator else _DISTANCE_ENTRIES
        if X.shape[0] * len(centers) <= most:
            self._squared = squared_distances(X, self.centers)

    def _row_blocks(self):
        return row_blocks(self.X.shape[0], self.n_columns, self.place)

    def _block_there(self, squared, gamma):
        K = kernel_there(squared, gamma, self.place.dtype, self.place)
        if self.constant == 0:
            return K
        constant = self.place.full((K.shape[0], 1), self.constant)
        return self.place.xp.concat([K, constant], axis=1)

    def _form_blocks(self, gamma):
        n_centers = self.centers.shape[0]
        for rows in self._row_blocks():
            if self._squared is None:
                squared = squared_distances(self.X[rows, :], self.centers)
            else:
                squared = self._squared[rows, :]
            if not self.place.is_host:
                yield rows, self._block_there(squared, gamma)
                continue
            K = np.empty((len(squared), self.n_columns))
            kernel_of_squares(squared, gamma, K[:, :n_centers])
            K[:, n_centers:] = self.constant
            yield rows, K

    def blocks(self, gamma):
        """Yield slices of rows and the kernel values at them, not to be changed."""
        if self._squared is None:
            yield from self._form_blocks(gamma)
            return
        K = self.matrix(gamma)
        for rows in self._row_blocks():
            yield rows, K[rows, :]

    def matrix(self, gamma):
        """The whole matrix, of shape (n_samples, n_columns), not to be changed."""
        if self._gamma != gamma and not self.place.is_host:
            blocks = [block for _, block in self._form_blocks(gamma)]
            self._gamma, self._matrix = gamma, self.place.xp.concat(blocks)
        if self._gamma != gamma:
            K = np.empty((len(self.X), self.n_columns))
            for rows, block in self._form_blocks(gamma):
                K[rows] = block
            self._gamma, self._matrix = gamma, K
        return self._matrix


def kernel_of(portion, centers, constant):
    """Kernels around the centres at a portion's rows."""
    return CenterKernel(portion.X, portion.weight, centers, constant, portion.count)
