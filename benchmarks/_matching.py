"""The kernel mean matching problem itself: data, objective, and a bound on its minimum.

Nothing of skdre or of a peer is used here, so all contenders are judged alike::

    minimise f(w) = w'Kw / 2 - kappa'w,   kappa = (n_q / n_p) K_qp 1,
    subject to 0 <= w <= B and |mean(w) - 1| <= eps.
"""

import numpy as np
from scipy.spatial.distance import cdist, pdist


def make_problem(n, d, seed, B=1000.0):
    """Two samples of n rows, Gaussians whose means lie 1 apart, and the parameters.

    Returns
    -------
    problem : dict
        ``Xp``, ``Xq`` of shape (n, d); ``gamma`` = 1 / (2 median distance squared);
        ``B``; ``eps`` = (sqrt(n) - 1) / sqrt(n), as in Huang et al. (2007).
    """
    rng = np.random.default_rng([n, d, seed])
    Xp = rng.standard_normal((n, d)) + 1 / np.sqrt(d)
    Xq = rng.standard_normal((n, d))
    rows = rng.permutation(np.concatenate([Xp, Xq]))[:2000]
    gamma = 0.5 / np.median(pdist(rows)) ** 2
    return {"Xp": Xp, "Xq": Xq, "gamma": gamma, "B": B, "eps": 1 - n**-0.5}


class Matching:
    """Judges weights in float64.

    Parameters
    ----------
    Xp, Xq : ndarray of shape (n_p, d) and (n_q, d)
    gamma, B, eps : float
    """

    def __init__(self, Xp, Xq, gamma, B, eps):
        n_p, n_q = len(Xp), len(Xq)
        self.K = self._kernel(Xq, Xq, gamma)
        self.kappa = self._kernel(Xq, Xp, gamma).sum(axis=1) * (n_q / n_p)
        self.B, self.eps = B, eps

    @staticmethod
    def _kernel(A, B, gamma):
        # Differences, not the expanded square: no cancellation.
        K = cdist(A, B, "sqeuclidean")
        K *= -gamma
        return np.exp(K, out=K)

    def judge(self, w):
        """Objective, lower bound on the minimum and largest violation of a constraint.

        The bound holds for any w, feasible or not, because f is convex:
        f(v) >= f(w) + g'(v - w) for all v, with g the gradient at w.
        """
        product = self.K @ w
        objective = w @ product / 2 - self.kappa @ w
        g = product - self.kappa
        bound = objective - w @ g + self.least_inner_product(g)
        violation = max(0.0, -w.min(), w.max() - self.B, abs(w.mean() - 1) - self.eps)
        return {"objective": objective, "bound": bound, "violation": violation}

    def least_inner_product(self, g):
        """min g'v over the box and the band: fill the cheapest coordinates first."""
        n = len(g)
        g = np.sort(g)
        total = np.clip(
            self.B * np.count_nonzero(g < 0), n * (1 - self.eps), n * (1 + self.eps)
        )
        return g @ np.clip(total - self.B * np.arange(n), 0, self.B)
