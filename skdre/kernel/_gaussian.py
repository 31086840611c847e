"""The Gaussian kernel exp(-gamma |x - y|^2): distances, blocks and products.

Nothing here holds a kernel matrix between rows of unbounded number: products with one
are formed block by block. Rows of other libraries than NumPy stay where they are, and
so does what is formed of them.
"""

import numpy as np
from scipy.spatial.distance import cdist, pdist, squareform

from skdre._core.arrays import HOST, place_of, to_numpy

# Rows of a kernel block are chosen so that the block holds about this many entries:
# few enough to stay in a processor's cache while it is multiplied and exponentiated.
_BLOCK_ENTRIES = 1 << 20
# The same for rows on a device, which is at its best with a few large blocks.
_DEVICE_ENTRIES = 1 << 24
# Up to this many columns distances are formed from differences, above it by a matrix
# product, which is then several times faster.
_FEW_FEATURES = 16
# Matrix products are taken over this many rows at a time, always: BLAS rounds a row
# differently in products of different shapes.
_TILE_ROWS = 64
# Of |x|^2 + |y|^2 - 2 x'y less than this share is left: formed from differences.
_CANCELLED = 0.1
# Pairs of rows whose differences are formed at a time.
_PAIRS = 1 << 14


def _expanded_squared_distances(X, Y):
    """Matrix of |x|^2 + |y|^2 - 2 x'y, and of |x - y|^2 where that cancels."""
    (n_rows, n_features), n_tiles = X.shape, -(-len(X) // _TILE_ROWS)
    tiles = np.zeros((n_tiles * _TILE_ROWS, n_features))
    tiles[:n_rows] = X
    product = tiles.reshape(n_tiles, _TILE_ROWS, n_features) @ Y.T
    squared = product.reshape(len(tiles), len(Y))[:n_rows]
    size = np.einsum("ij,ij->i", X, X)[:, None] + np.einsum("ij,ij->i", Y, Y)
    squared *= -2
    squared += size
    size *= _CANCELLED
    rows, columns = np.nonzero(squared <= size)
    for i in range(0, len(rows), _PAIRS):
        pair = rows[i : i + _PAIRS], columns[i : i + _PAIRS]
        difference = X[pair[0]] - Y[pair[1]]
        squared[pair] = np.einsum("ij,ij->i", difference, difference)
    return squared


def _sum_of_squares(X, Y, xp):
    """Matrix of |x - y|^2 from differences, of arrays of another library."""
    if hasattr(xp, "cdist"):  # torch's
        return xp.cdist(X, Y, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    squared = (X[:, :1] - Y[:, 0]) ** 2
    for j in range(1, X.shape[1]):
        squared += (X[:, j : j + 1] - Y[:, j]) ** 2
    return squared


def _squared_distances_there(X, Y, place):
    """:func:`squared_distances` of arrays of another library."""
    xp = place.xp
    if X.shape[1] <= _FEW_FEATURES:
        return _sum_of_squares(X, Y, xp)
    size = xp.sum(X * X, axis=1)[:, None] + xp.sum(Y * Y, axis=1)
    squared = size - 2 * (X @ Y.T)
    cancelled = to_numpy(xp.any(squared <= _CANCELLED * size, axis=1))
    rows = np.flatnonzero(cancelled)
    if rows.size == 0:
        return squared
    # Rows with such an entry are formed anew, whole.
    position = np.zeros(len(cancelled), int)
    position[rows] = np.arange(rows.size)
    anew = _sum_of_squares(xp.take(X, place.put(rows), axis=0), Y, xp)
    anew = xp.take(anew, place.put(position), axis=0)
    return xp.where(place.put(cancelled)[:, None], anew, squared)


def squared_distances(X, Y):
    """Matrix of |x - y|^2, of shape (len(X), len(Y)).

    Each entry is accurate to rounding, relative to itself, and depends on its two rows
    alone, to the bit; on a device the bits may depend on the other rows.
    """
    place = place_of(X)
    if not place.is_host:
        return _squared_distances_there(X, place.put(Y), place)
    if X.shape[1] <= _FEW_FEATURES:
        return cdist(X, Y, "sqeuclidean")
    return _expanded_squared_distances(X, Y)


def kernel_of_squares(squared, gamma, out):
    """exp(-gamma squared) into `out`, in its precision."""
    # What is so far away that the exponent overflows has no kernel value.
    with np.errstate(over="ignore", under="ignore"):
        np.multiply(squared, -gamma, out=out, casting="same_kind")
        return np.exp(out, out=out)


def kernel_there(squared, gamma, dtype, place):
    """exp(-gamma squared) of an array of another library."""
    return place.xp.exp(place.xp.astype(squared * -float(gamma), dtype, copy=False))


def gaussian_kernel(X, Y, gamma, dtype=np.float64):
    """Matrix of exp(-gamma |x - y|^2), of shape (len(X), len(Y))."""
    squared = squared_distances(X, Y)
    place = place_of(X)
    if not place.is_host:
        return kernel_there(squared, gamma, place.float_of(dtype), place)
    same = squared.dtype == dtype
    return kernel_of_squares(
        squared, gamma, squared if same else np.empty(squared.shape, dtype)
    )


def kernel_among(X, gamma):
    """Matrix of exp(-gamma |x - x'|^2) between all rows of X, of NumPy."""
    if X.shape[1] > _FEW_FEATURES or len(X) < 2:
        return gaussian_kernel(X, X, gamma)
    # Of each pair once, with the same bits.
    squared = pdist(X, "sqeuclidean")
    K = squareform(kernel_of_squares(squared, gamma, squared), checks=False)
    K[np.diag_indices_from(K)] = 1.0
    return K


def row_blocks(n_rows, n_columns, place=HOST):
    """Slices of rows whose kernel block with `n_columns` columns fits the cache."""
    entries = _DEVICE_ENTRIES if place.is_accelerator else _BLOCK_ENTRIES
    step = max(64, entries // max(n_columns, 1))
    return [slice(i, min(i + step, n_rows)) for i in range(0, n_rows, step)]


def kernel_product(X, Y, coef, gamma):
    """K(X, Y) @ coef without holding K; each entry depends on its row of X alone."""
    place = place_of(X)
    if not place.is_host:
        Y, coef = place.put((Y, coef))
        blocks = row_blocks(X.shape[0], Y.shape[0], place)
        found = [gaussian_kernel(X[rows, :], Y, gamma) @ coef for rows in blocks]
        return place.xp.concat(found)
    out = np.empty(len(X))
    for rows in row_blocks(len(X), len(Y)):
        # Not by BLAS, which sums in an order that depends on the number of rows.
        out[rows] = np.einsum("ij,j->i", gaussian_kernel(X[rows], Y, gamma), coef)
    return out
