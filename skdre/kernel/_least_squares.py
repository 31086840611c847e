r"""Least squares for the relative ratio: closed form, and leave-one-out without refits.

The relative ratio r_a = p / (a p + (1 - a) q) minimises

.. math:: J(r) = \tfrac{a}{2} E_p r^2 + \tfrac{1 - a}{2} E_q r^2 - E_p r .

For r = phi'theta with a ridge its minimiser is theta = (H + ridge I)^-1 h, where H = a
mean_p phi phi' + (1 - a) mean_q phi phi' and h = mean_p phi. Leaving one row out
changes H by a factor of its sample's part, the same for every row, and by a matrix of
rank one, so that one eigendecomposition for each sample and bandwidth gives all ratios
that are predicted for rows left out, at all ridges.
"""

from dataclasses import dataclass

import numpy as np

from skdre.kernel._linear_algebra import damped_inverse, eigen
from skdre.kernel._search import log_loss

# Where the relative ratio is near its bound 1 / alpha it says that the ratio is large,
# and no more: p / q is then this.
_LARGEST_RATIO = 1000.0
# Where the estimate is near 0 it says that the ratio is small, and no more: the ratio
# is then one of these, of which the search takes the middle one.
_LEAST_RATIOS = 10.0 ** -np.arange(1, 5.1, 0.5)
SEARCH_FLOOR = 1e-3
# Rows of the numerator, beyond those that there are, that a least ratio is held
# against: that none of n rows has a smaller one does not show that none would.
_UNSEEN_ROWS = 0.5
# A kernel's mean below this is not told from 0.
_TINY = 1e-200


@dataclass(frozen=True)
class Moments:
    """Means of the columns phi, and of phi phi', over a sample."""

    mean: np.ndarray
    second: np.ndarray


def moments(kernel, gamma):
    """Moments of the columns over a kernel's weighted rows, summed block by block."""
    weight = kernel.weight
    is_signed = (weight < 0).any()
    mean = np.zeros(kernel.n_columns)
    second = np.zeros((kernel.n_columns, kernel.n_columns))
    for rows, block in kernel.blocks(gamma):
        mean += weight[rows] @ block
        if is_signed:
            second += block.T @ (block * weight[rows][:, None])
        else:
            scaled = block * np.sqrt(weight[rows])[:, None]
            second += scaled.T @ scaled
    return Moments(mean / weight.sum(), second / weight.sum())


def vanish(kernel, moments):
    """Whether every kernel is 0, to rounding, at every row of a sample."""
    return bool((moments.mean[: len(kernel.centers)] <= _TINY).all())


def one_row_less(weight, repeats):
    """What leaving out one row, or one repeat of a row, does to means over a sample.

    The mean of f over the rest is growth * mean(f) - share_j f(x_j). For weights that
    count repeats, growth is n / (n - 1) and each share 1 / (n - 1). The rest of other
    weights is normalised by its sum on average over the rows. A sample of one row is
    left as it is, with growth 1 and share 0.
    """
    n_rows = repeats.sum()
    if n_rows == 1:
        return 1.0, np.zeros(1)
    rest = weight.sum() * (1 - 1 / n_rows)
    return weight.sum() / rest, weight / repeats / rest


def left_out_ratios(
    kernel, gamma, ridges, spectrum, linear, second_share, linear_share
):
    """Ratios at rows left out of the fit, clipped at 0, block by block.

    With row j left out theta solves (H - s_j phi_j phi_j' + ridge I) theta = h - t_j
    phi_j; by the formula of Sherman and Morrison

    .. math:: \\phi_j'\\theta = \\frac{\\phi_j'Bh - t_j \\phi_j'B\\phi_j}
       {1 - s_j \\phi_j'B\\phi_j}, \\qquad B = (H + ridge I)^{-1}.

    `spectrum` holds the eigenvalues and eigenvectors of H, `linear` is h, and the
    shares s and t are those of each row. Yields slices of rows and their ratios, a
    column for each ridge.
    """
    values, vectors = spectrum
    inverse = damped_inverse(values, ridges)
    target = inverse * (vectors.T @ linear)[:, None]
    for rows, block in kernel.blocks(gamma):
        rotated = block @ vectors
        ratio = rotated @ target
        np.square(rotated, out=rotated)
        norm = rotated @ inverse
        ratio -= linear_share[rows, None] * norm
        # s_j |phi_j|_B^2 < 1, and rounding must not make it 1.
        ratio /= np.maximum(1 - second_share[rows, None] * norm, 1e-12)
        yield rows, np.maximum(ratio, 0, out=ratio)


def ratio_of_relative(relative, alpha):
    """p / q from p / (alpha p + (1 - alpha) q), bounded where that is not defined."""
    if alpha == 0:
        return relative
    bound = _LARGEST_RATIO
    most = bound / (alpha * bound + 1 - alpha)
    relative = np.minimum(relative, most)
    return (1 - alpha) * relative / (1 - alpha * relative)


def relative_of_ratio(ratio, alpha):
    """p / (alpha p + (1 - alpha) q) from p / q."""
    return 1 / (alpha + (1 - alpha) / ratio)


def _of_rows_left_out(kernel_p, kernel_q, repeats, gamma, ridges, alpha):
    """Relative ratios at the rows of p, and of q, each fitted to all other rows.

    Slices of rows and their ratios, see :func:`left_out_ratios`; None where every
    kernel vanishes at the rows of q.
    """
    p_weight, q_weight = kernel_p.weight, kernel_q.weight
    p, q = moments(kernel_p, gamma), moments(kernel_q, gamma)
    if vanish(kernel_q, q):
        return None
    grown_p, share_p = one_row_less(p_weight, repeats[0])
    grown_q, share_q = one_row_less(q_weight, repeats[1])
    eigen_p = eigen(alpha * grown_p * p.second + (1 - alpha) * q.second)
    if alpha == 0:
        eigen_q = grown_q * eigen_p[0], eigen_p[1]
    else:
        eigen_q = eigen(alpha * p.second + (1 - alpha) * grown_q * q.second)
    without_p = left_out_ratios(
        kernel_p,
        gamma,
        ridges,
        eigen_p,
        grown_p * p.mean,
        alpha * share_p,
        share_p,
    )
    without_q = left_out_ratios(
        kernel_q,
        gamma,
        ridges,
        eigen_q,
        p.mean,
        (1 - alpha) * share_q,
        np.zeros(len(q_weight)),
    )
    return without_p, without_q


def leave_one_out(kernel_p, kernel_q, repeats, gamma, ridges, alpha, scoring):
    """Leave-one-out score of each ridge at one bandwidth, higher being better.

    Each row of each sample is left out in turn, and its own term of the score is taken
    with the ratio fitted to all other rows of both samples. Nothing is paired, so the
    samples may be of any sizes. Centres stay where they are. `repeats` holds the
    observations that each row of p, and of q, stands for.
    """
    left_out = _of_rows_left_out(kernel_p, kernel_q, repeats, gamma, ridges, alpha)
    if left_out is None:
        return np.full(len(ridges), -np.inf)
    without_p, without_q = left_out
    p_weight, q_weight = kernel_p.weight, kernel_q.weight
    # Each score is a sum over the rows, so that no row's ratios need be kept.
    loss = np.zeros(len(ridges))
    none = np.empty((0, len(ridges)))
    for rows, r in without_p:
        w = p_weight[rows] / p_weight.sum()
        if scoring == "log_loss":
            ratio = ratio_of_relative(r, alpha)
            loss += log_loss(ratio, w, none, np.empty(0), SEARCH_FLOOR)
        else:
            loss += w @ (alpha / 2 * r**2 - r)
    for rows, r in without_q:
        w = q_weight[rows] / q_weight.sum()
        if scoring == "log_loss":
            ratio = ratio_of_relative(r, alpha)
            loss += log_loss(none, np.empty(0), ratio, w, SEARCH_FLOOR)
        else:
            loss += w @ ((1 - alpha) / 2 * r**2)
    return -loss


def least_ratio(kernel_p, kernel_q, repeats, gamma, ridge, alpha):
    """The floor of the ratio that has the least log loss at rows left out.

    Where the estimate is clipped, or nearly, this is about the share of the numerator's
    rows there over that of the denominator's. The arguments are those of
    :func:`leave_one_out`, with a single ridge.
    """
    ridges = np.array([ridge])
    left_out = _of_rows_left_out(kernel_p, kernel_q, repeats, gamma, ridges, alpha)
    if left_out is None:
        return SEARCH_FLOOR
    without_p, without_q = left_out
    p_weight, q_weight = kernel_p.weight, kernel_q.weight
    loss = _UNSEEN_ROWS / repeats[0].sum() * np.log1p(1 / _LEAST_RATIOS)
    for rows, r in without_p:
        ratio = np.maximum(ratio_of_relative(r, alpha), _LEAST_RATIOS)
        loss += p_weight[rows] @ np.log1p(1 / ratio) / p_weight.sum()
    for rows, r in without_q:
        ratio = np.maximum(ratio_of_relative(r, alpha), _LEAST_RATIOS)
        loss += q_weight[rows] @ np.log1p(ratio) / q_weight.sum()
    return float(_LEAST_RATIOS[np.argmin(loss)])


def solve_ridge(p, q, alpha, ridge):
    """Coefficients theta = (H + ridge I)^-1 h from the moments over both samples."""
    H = alpha * p.second + (1 - alpha) * q.second
    # Not by Cholesky's factor, which a ridge below the rounding of H would not have.
    values, vectors = eigen(H)
    inverse = damped_inverse(values, np.array([ridge]))[:, 0]
    return vectors @ (inverse * (vectors.T @ p.mean))
