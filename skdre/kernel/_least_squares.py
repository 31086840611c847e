r"""Least squares for the relative ratio: closed form, and leave-one-out without refits.

The relative ratio r_a = p / (a p + (1 - a) q) minimises

.. math:: J(r) = \tfrac{a}{2} E_p r^2 + \tfrac{1 - a}{2} E_q r^2 - E_p r .

For r = phi'theta with a ridge its minimiser is theta = (H + ridge I)^-1 h, where H = a
mean_p phi phi' + (1 - a) mean_q phi phi' and h = mean_p phi. Leaving one row out
changes H by a factor of its sample's part, the same for every row, and by a matrix of
rank one, so that one eigendecomposition for each sample and bandwidth gives all ratios
that are predicted for rows left out, at all ridges.

The rows enter by two reducers alone (:mod:`skdre._core.reduce`): :func:`kernel_sums`,
of which H and h are made, and :func:`left_out_loss`.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from skdre._core.arrays import number, place_of, to_numpy
from skdre._core.reduce import Sums
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
class KernelSums(Sums):
    """Sums over a sample of the columns phi, and of phi phi', for each bandwidth.

    Attributes
    ----------
    weight, count : float
        Of the weights, and of the observations that the rows stand for.
    first : ndarray of shape (n_gammas, n_columns)
    second : ndarray of shape (n_gammas, n_columns, n_columns)
    """

    weight: float
    count: float
    first: np.ndarray
    second: np.ndarray

    def moments(self, i):
        """Means of phi and of phi phi' at one of the bandwidths."""
        return Moments(self.first[i] / self.weight, self.second[i] / self.weight)


@dataclass(frozen=True)
class LossSums(Sums):
    """Weighted losses of rows left out, of shape (n_models, n_ridges, n_floors)."""

    loss: np.ndarray


@dataclass(frozen=True)
class Moments:
    """Means of the columns phi, and of phi phi', over a sample."""

    mean: np.ndarray
    second: np.ndarray


def kernel_sums(kernel, gammas):
    """Reducer: sums of the columns over a kernel's weighted rows, block by block."""
    weight, k, xp = kernel.weight, kernel.n_columns, kernel.place.xp
    is_signed = bool(xp.any(weight < 0))
    first, second = np.zeros((len(gammas), k)), np.zeros((len(gammas), k, k))
    for i, gamma in enumerate(gammas):
        for rows, block in kernel.blocks(gamma):
            first[i] += to_numpy(weight[rows] @ block)
            if is_signed:
                second[i] += to_numpy(block.T @ (block * weight[rows][:, None]))
            else:
                scaled = block * xp.sqrt(weight[rows])[:, None]
                second[i] += to_numpy(scaled.T @ scaled)
    totals = number(xp.sum(weight)), number(xp.sum(kernel.count))
    return KernelSums(*totals, first, second)


def vanish(moments, n_centers):
    """Whether every kernel is 0, to rounding, at every row of a sample."""
    return bool((moments.mean[:n_centers] <= _TINY).all())


def one_row_less(weight, count):
    """What leaving out one row, or one repeat of a row, does to means over a sample.

    Of a sample whose weights sum to `weight`, over `count` observations, the mean of f
    over the rest is growth * mean(f) - (w_j / c_j) share * f(x_j), with w_j the weight
    of row j and c_j the observations that it stands for. For weights that count repeats
    growth is n / (n - 1), and what f(x_j) is multiplied with is 1 / (n - 1). The rest
    of other weights is normalised by its sum on average over the rows. A sample of one
    row is left as it is, with growth 1 and share 0.
    """
    if count == 1:
        return 1.0, 0.0
    rest = weight * (1 - 1 / count)
    return weight / rest, 1 / rest


@dataclass(frozen=True)
class LeftOut:
    """What gives the ratios at rows left out of one sample, at one bandwidth.

    With row j left out theta solves (H - s_j phi_j phi_j' + ridge I) theta = h - t_j
    phi_j; by the formula of Sherman and Morrison

    .. math:: \\phi_j'\\theta = \\frac{\\phi_j'Bh - t_j \\phi_j'B\\phi_j}
       {1 - s_j \\phi_j'B\\phi_j}, \\qquad B = (H + ridge I)^{-1}.

    Attributes
    ----------
    gamma : float
    spectrum : pair of ndarray
        Eigenvalues and eigenvectors of H.
    linear : ndarray of shape (n_columns,)
        h.
    second_share, linear_share : float
        What s_j and t_j are of the weight of an observation of row j.
    """

    gamma: float
    spectrum: tuple[np.ndarray, np.ndarray]
    linear: np.ndarray
    second_share: float
    linear_share: float

    def ratios(self, kernel, ridges):
        """Yield slices of rows and their ratios, clipped at 0, one column a ridge."""
        values, vectors = self.spectrum
        inverse = damped_inverse(values, ridges)
        target = inverse * (vectors.T @ self.linear)[:, None]
        place = kernel.place
        vectors, inverse, target = place.put((vectors, inverse, target))
        for rows, block in kernel.blocks(self.gamma):
            of_one = (kernel.weight[rows] / kernel.count[rows])[:, None]
            rotated = block @ vectors
            if not place.is_host:
                yield rows, self._ratios_there(rotated, target, inverse, of_one, place)
                continue
            ratio = rotated @ target
            np.square(rotated, out=rotated)
            norm = rotated @ inverse
            ratio -= self.linear_share * of_one * norm
            # s_j |phi_j|_B^2 < 1, and rounding must not make it 1.
            ratio /= np.maximum(1 - self.second_share * of_one * norm, 1e-12)
            yield rows, np.maximum(ratio, 0, out=ratio)

    def _ratios_there(self, rotated, target, inverse, of_one, place):
        """The same of arrays of another library, none of them changed."""
        norm = rotated**2 @ inverse
        ratio = rotated @ target - float(self.linear_share) * of_one * norm
        rest = 1 - float(self.second_share) * of_one * norm
        return place.xp.clip(ratio / place.xp.clip(rest, 1e-12, None), 0, None)


def _log_losses(ratio, weight, floors, is_numerator, place):
    """Sums of the rows' terms of the log loss, of shape (n_ridges, n_floors).

    Ratios have a column for each ridge; those below a floor are taken as that.
    """
    none = place.full((0, ratio.shape[1]), 0.0), place.full(0, 0.0)

    def sums(least):
        part = ratio, weight
        both = (*part, *none) if is_numerator else (*none, *part)
        return to_numpy(log_loss(*both, place.full(1, float(least))))

    if not place.is_host or len(floors) == 1:
        return np.stack([sums(each) for each in floors], axis=1)
    # All but the rows below the largest floor have one loss, whatever the floor is.
    order = np.argsort(floors)
    ascending = floors[order]
    change = np.zeros((ratio.shape[1], len(floors)))
    for j, column in enumerate(ratio.T):
        rows = np.flatnonzero(column < ascending[-1])
        low, mass = np.maximum(column[rows], ascending[0]), weight[rows]
        loss = np.log1p(1 / low if is_numerator else low) / 2
        # Floor by floor: what lies below it has the loss of the floor instead.
        place_of_row = np.searchsorted(ascending, low, side="right")
        size = len(ascending) + 1
        below = np.bincount(place_of_row, mass, size).cumsum()[: len(ascending)]
        given = np.bincount(place_of_row, mass * loss, size).cumsum()[: len(ascending)]
        at_floor = np.log1p(1 / ascending if is_numerator else ascending) / 2
        change[j, order] = below * at_floor - given
    return sums(ascending[0])[:, None] + change


def left_out_loss(kernel, models, ridges, alpha, scoring, floors, is_numerator):
    """Reducer: losses of the rows of one sample, each left out of its model's fit.

    One for each ridge and, of the log loss, each floor of the ratio.
    """
    loss = np.zeros((len(models), len(ridges), len(floors)))
    place = kernel.place
    for i, model in enumerate(models):
        for rows, r in model.ratios(kernel, ridges):
            w = kernel.weight[rows]
            if scoring == "log_loss":
                ratio = ratio_of_relative(r, alpha)
                loss[i] += _log_losses(ratio, w, floors, is_numerator, place)
            elif is_numerator:
                loss[i] += to_numpy(w @ (alpha / 2 * r**2 - r))[:, None]
            else:
                loss[i] += to_numpy(w @ ((1 - alpha) / 2 * r**2))[:, None]
    return LossSums(loss)


def ratio_of_relative(relative, alpha):
    """p / q from p / (alpha p + (1 - alpha) q), bounded where that is not defined."""
    if alpha == 0:
        return relative
    bound = _LARGEST_RATIO
    most = bound / (alpha * bound + 1 - alpha)
    relative = place_of(relative).xp.clip(relative, None, most)
    return (1 - alpha) * relative / (1 - alpha * relative)


def relative_of_ratio(ratio, alpha):
    """p / (alpha p + (1 - alpha) q) from p / q."""
    return 1 / (alpha + (1 - alpha) / ratio)


def _left_out_models(q, p, i, gamma, alpha):
    """Models of rows left out of the denominator, and of the numerator."""
    grown_p, share_p = one_row_less(p.weight, p.count)
    grown_q, share_q = one_row_less(q.weight, q.count)
    q, p = q.moments(i), p.moments(i)
    eigen_p = eigen(alpha * grown_p * p.second + (1 - alpha) * q.second)
    if alpha == 0:
        eigen_q = grown_q * eigen_p[0], eigen_p[1]
    else:
        eigen_q = eigen(alpha * p.second + (1 - alpha) * grown_q * q.second)
    return (
        LeftOut(gamma, eigen_q, p.mean, (1 - alpha) * share_q, 0.0),
        LeftOut(gamma, eigen_p, grown_p * p.mean, alpha * share_p, share_p),
    )


def _mean_losses(kernels, sums, models, ridges, alpha, scoring, floors):
    """Mean losses of rows left out, of shape (n_models, n_ridges, n_floors)."""
    of_q, of_p = zip(*models, strict=True)
    shared = {"ridges": ridges, "alpha": alpha, "scoring": scoring, "floors": floors}
    losses = kernels.totals(
        partial(left_out_loss, models=of_q, is_numerator=False, **shared),
        partial(left_out_loss, models=of_p, is_numerator=True, **shared),
    )
    return sum(
        each.loss / total.weight for each, total in zip(losses, sums, strict=True)
    )


def leave_one_out(kernels, n_centers, gammas, ridges, alpha, scoring):
    """Leave-one-out scores of shape (n_gammas, n_ridges), higher being better.

    Each row of each sample is left out in turn, and its own term of the score is taken
    with the ratio fitted to all other rows of both samples. Nothing is paired, so the
    samples may be of any sizes. Centres stay where they are. `kernels` are the two
    samples, their portions kernels around the centres.
    """
    scores = np.full((len(gammas), len(ridges)), -np.inf)
    floors = np.array([SEARCH_FLOOR])
    for index in kernels.passes(len(gammas), 2 * n_centers**2):
        q, p = kernels.totals(partial(kernel_sums, gammas=gammas[index]))
        seen = [i for i in range(len(index)) if not vanish(q.moments(i), n_centers)]
        if not seen:
            continue
        models = [_left_out_models(q, p, i, gammas[index[i]], alpha) for i in seen]
        losses = _mean_losses(kernels, (q, p), models, ridges, alpha, scoring, floors)
        scores[index[seen]] = -losses[:, :, 0]
    return scores


def left_out_losses(kernels, sums, gamma, ridges, alpha, scoring="log_loss"):
    """Mean losses at one bandwidth, whose sums are known, in one pass over the rows.

    Returns
    -------
    losses : ndarray of shape (n_ridges, n_floors)
        At the least ratios that are in question, of the log loss.
    """
    models = [_left_out_models(*sums, 0, gamma, alpha)]
    floors = _LEAST_RATIOS if scoring == "log_loss" else np.array([SEARCH_FLOOR])
    return _mean_losses(kernels, sums, models, ridges, alpha, scoring, floors)[0]


def scores_of(losses):
    """Leave-one-out scores at one bandwidth, of shape (n_ridges,)."""
    floors = _LEAST_RATIOS if losses.shape[1] > 1 else np.array([SEARCH_FLOOR])
    return -losses[:, np.argmin(abs(floors - SEARCH_FLOOR))]


def least_ratio(loss, count):
    """The floor of the ratio that has the least log loss at rows left out.

    Where the estimate is clipped, or nearly, this is about the share of the numerator's
    rows there over that of the denominator's.

    Parameters
    ----------
    loss : ndarray of shape (n_floors,)
        Of :func:`left_out_losses`, at one ridge.
    count : float
        Observations of the numerator.
    """
    loss = 2 * loss + _UNSEEN_ROWS / count * np.log1p(1 / _LEAST_RATIOS)
    return float(_LEAST_RATIOS[np.argmin(loss)])


def solve_ridge(p, q, alpha, ridge):
    """Coefficients theta = (H + ridge I)^-1 h from the moments over both samples."""
    H = alpha * p.second + (1 - alpha) * q.second
    # Not by Cholesky's factor, which a ridge below the rounding of H would not have.
    values, vectors = eigen(H)
    inverse = damped_inverse(values, np.array([ridge]))[:, 0]
    return vectors @ (inverse * (vectors.T @ p.mean))
