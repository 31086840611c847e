"""What every model of waymarks is fitted on: two samples, and a path between them."""

from dataclasses import replace

import numpy as np
import torch

from skdre._core.moments import joint_moments
from skdre._core.rows import discrete_columns
from skdre._core.scales import column_scales
from skdre._core.seeds import draw_seed
from skdre._nn.settings import Dice, usual_torch
from skdre.waymarks._placement import path_length, waymark_times
from skdre.waymarks._sampling import Waymarks, draw_pairs, sample_shares

__all__ = ["Problem"]

# Rows that stand many times count as so many pairs, up to this number.
_MOST_REPEATS = 10_000


class Problem:
    """Two samples on a path: their rows and scale, and where the waymarks lie.

    Parameters
    ----------
    rows : skdre._core.samples.PooledRows
    path : skdre.paths.Path
    spacing : str or sequence of float
    n_bridges : int
    names : sequence of str, default=None
        Of the columns, for a warning of absurd values.
    warn : bool, default=True
        Whether to give it.

    Attributes
    ----------
    rows : skdre._core.samples.PooledRows
        As given.
    X : ndarray of shape (n_rows, n_features)
        Their values, absurd ones drawn in to `bounds`, of shape (2, n_features).
    Z : ndarray of shape (n_rows, n_features)
        Standardised: minus `center`, divided by `scale`, which is infinite for a column
        of one value.
    varies, is_discrete : ndarray of bool of shape (n_features,)
    moments : skdre._core.moments.JointMoments
        Of Z.
    length : float
        Of the path.
    times : ndarray of shape (n_bridges + 1,)
    """

    def __init__(self, rows, path, spacing, n_bridges, names=None, *, warn=True):
        scales = column_scales(rows.samples(), names, warn=warn)
        self.rows = rows
        self.bounds = np.stack([scales.low, scales.high])
        self.X = scales.draw_in(rows.X)
        self.varies = np.ptp(self.X, axis=0) > 0
        self.is_discrete = discrete_columns(self.X, rows.weight)
        self.center = scales.center
        self.scale = np.where(self.varies, scales.total, np.inf)
        self.Z = (self.X - self.center) / self.scale
        self.moments = joint_moments(*rows.split(self.Z), rows.split(rows.weight))
        self.path = path
        self.length = path_length(path, self.moments)
        self.times = waymark_times(path, spacing, n_bridges, self.moments)

    def samples(self):
        """Rows and weights of the denominator, then of the numerator."""
        return replace(self.rows, X=self.X).samples()

    @usual_torch(grad=False)
    def draw_rows(self, coupled, random_state, n_passes=1):
        """Rows of every waymark in the units of X, in equal numbers.

        The first and the last waymark are rows of the samples, drawn in proportion to
        their weights: if all weights are equal, each row of the larger sample once in
        every pass.

        Parameters
        ----------
        coupled : bool
        random_state : RandomState
        n_passes : int, default=1
            How often the larger sample is gone through.

        Returns
        -------
        rows : ndarray of shape (n_waymarks, n_pairs, n_features)
        in_q, in_p : ndarray of int of shape (n_pairs,)
            Numbers of the rows at the two ends, among the distinct ones of each sample.
        """
        waymarks = Waymarks(torch.as_tensor(self.Z), self, coupled)
        weights = self.rows.split(self.rows.weight)
        n_repeats = min(max(weight.sum() for weight in weights), _MOST_REPEATS)
        n_pairs = n_passes * max(*map(len, weights), int(n_repeats))
        shares = sample_shares(self.rows.weight[None], self.rows.n_denominator)
        dice = Dice(draw_seed(random_state))
        in_q, in_p = (
            each[0] for each in draw_pairs(shares, n_pairs, 1, waymarks.n_draws, dice)
        )
        rows = waymarks.rows(in_q, in_p, *waymarks.randomness(in_q.shape, dice))
        rows = self._in_units_of_rows(rows[:, :, 0].transpose(0, 1).numpy())
        # Of waymarks that are not coupled the first and the last draw are the ends.
        return rows, in_q[:, 0, 0].numpy(), in_p[:, -1, 0].numpy()

    def _in_units_of_rows(self, Z):
        X = np.broadcast_to(self.X[0], Z.shape).copy()
        varies = self.varies
        X[..., varies] = self.center[varies] + self.scale[varies] * Z[..., varies]
        return X
