"""The moments of a Gaussian plug-in as sums over the rows of two samples.

Sums of squares are taken about each sample's own mean, or what the first rows have for
one, so that they do not cancel wherever the samples lie.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from skdre._core.arrays import number, place_of, to_numpy
from skdre._core.moments import SampleMoments
from skdre._core.reduce import Sums
from skdre._core.scales import draw_in
from skdre.classification._gaussian_choice import FEW_STEPS, MANY_ROWS, STEPS, is_at_end

__all__ = ["Frame", "MomentSums", "fit_moments", "moment_sums", "of_sample"]

# Numbers in a block of rows, about.
_BLOCK_NUMBERS = 1 << 20
# The same on a device, which is at its best with a few large blocks.
_DEVICE_NUMBERS = 1 << 24


@dataclass(frozen=True)
class Frame:
    """In which units rows are summed up.

    Attributes
    ----------
    low, high : ndarray of shape (n_features,) or float
        What they are drawn in to.
    origin, unit : ndarray of shape (n_features,)
        What is taken from them, and what they are divided by.
    about : ndarray of shape (2, n_features)
        In these units where the denominator lies, and the numerator.
    """

    low: np.ndarray
    high: np.ndarray
    origin: np.ndarray
    unit: np.ndarray
    about: np.ndarray

    @classmethod
    def of(cls, scales, origin, unit):
        """That of rows of these column scales."""
        about = (scales.means - origin) / unit
        return cls(scales.low, scales.high, origin, unit, about)

    def rows(self, X):
        return (draw_in(X, self.low, self.high) - self.origin) / self.unit


@dataclass(frozen=True)
class MomentSums(Sums):
    """Sums over the rows of a sample.

    Attributes
    ----------
    weight, square : float
        Of the weights, and of their squares.
    used, first, second : float and ndarray
        Of the weights that the moments are made with, which those of t distributions
        have of their own, and with them of rows and of their outer products.
    """

    weight: float
    square: float
    used: float
    first: np.ndarray
    second: np.ndarray

    def scaled(self, factor):
        return replace(super().scaled(factor), square=self.square * factor**2)

    @property
    def draws(self):
        """Kish's effective number."""
        return self.weight**2 / self.square


def moment_sums(portion, frame, k, tails=None):
    """Reducer of a sample's portion, the denominator's for k = 0.

    `tails` are the degrees of freedom of a t distribution and its moments, by which
    rows far out count less.
    """
    n_rows, d = portion.X.shape
    used, first, second = 0.0, np.zeros(d), np.zeros((d, d))
    place = place_of(portion.X)
    xp, frame, tails = place.xp, place.put(frame), place.put(tails)
    step = max(64, (_DEVICE_NUMBERS if place.is_accelerator else _BLOCK_NUMBERS) // d)
    for i in range(0, n_rows, step):
        rows = slice(i, min(i + step, n_rows))
        U, weight = frame.rows(portion.X[rows, :]), portion.weight[rows]
        if tails is not None:
            df, mean, root = tails
            squares = xp.sum(((U - mean) @ root) ** 2, axis=1)
            weight = weight * float(df + d) / (float(df) + squares)
        U = U - frame.about[k, :]
        weighted = U * weight[:, None]
        used += number(xp.sum(weight))
        first += to_numpy(xp.sum(weighted, axis=0))
        second += to_numpy(weighted.T @ U)
    w = portion.weight
    return MomentSums(number(xp.sum(w)), number(w @ w), used, first, second)


def of_sample(sums, frame, k):
    """The sample's moments, in the frame's units."""
    moments = SampleMoments.of_sums(sums.used, sums.first, sums.second, sums.weight)
    return moments._replace(mean=moments.mean + frame.about[k], n_rows=sums.draws)


def fit_moments(rows, frame, choice):
    """Sums over all rows, of Gaussians or of the t distributions that were chosen.

    Parameters
    ----------
    rows : InMemory or ChunkedRows
        With the numbers `n_rows` of the rows of each sample.
    frame : Frame
    choice : skdre.classification._gaussian_choice.Choice
        Its starts are in the frame's units.

    Returns
    -------
    sums : list of MomentSums
        Of the denominator and the numerator, weights in draws.
    """

    def totals(tails=(None, None)):
        found = rows.totals(
            *(
                partial(moment_sums, frame=frame, k=k, tails=each)
                for k, each in enumerate(tails)
            )
        )
        # Weights in draws are their own squares' sum.
        return [replace(each, square=each.weight) for each in found]

    if choice.starts is None:
        return totals()
    moments, sums = list(choice.starts), [None, None]
    todo = [True, True]
    n_steps = [STEPS if n <= MANY_ROWS else FEW_STEPS for n in rows.n_rows]
    for step in range(STEPS):
        found = totals([tails_of(choice.df, each) for each in moments])
        for k in range(2):
            if todo[k]:
                sums[k] = found[k]
                before, moments[k] = moments[k], of_sample(found[k], frame, k)
                todo[k] = not is_at_end(before, moments[k]) and step + 1 < n_steps[k]
        if not any(todo):
            break
    return sums


def tails_of(df, moments):
    """What weighs the rows of a t distribution; None for infinitely many degrees."""
    if np.isinf(df):
        return None
    size, axes = np.linalg.eigh(moments.covariance)
    return df, moments.mean, axes / np.sqrt(np.maximum(size, 1e-12 * size[-1]))
