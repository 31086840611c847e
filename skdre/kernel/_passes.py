r"""Kernel mean matching in two or three passes over the rows.

Of many rows the features do not fit into memory, and to form them is most of the work.
A pass here forms the kernel values k_i at the landmarks alone, not the features phi_i =
L^-1 k_i: the sums of the dual (:mod:`skdre.kernel._dual`) are those of the k_i with
L^-1 applied after the sum, and the field is k_i'(L^-T (h - c)).

A pilot, some of the rows, keeps its features. Write G(c) for Phi'v at the dual point c,
whose optimum is G(c) = c, and H for minus its derivative. The pilot's G_s and H_s,
times the rows that one of its rows stands for, err by sampling, but the error hardly
changes from one point to a near one. So with one pass at c_0 the next point solves

.. math:: G_s(c) + [G - G_s](c_0) - [H - H_s](c_0) (c - c_0) = c

by Newton's method on the pilot alone. The pass at that point, which tells how far it is
from the optimum, corrects G - G_s anew. The first two passes form H.

References
----------
.. [1] Shamir, Srebro, Zhang (2014). Communication-efficient distributed optimization
   using an approximate Newton-type method. ICML.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from skdre._core.arrays import number, place_of, to_numpy
from skdre._core.reduce import Sums, nothing
from skdre.kernel._dual import FeatureRows, Limits, dual_sums, masses
from skdre.kernel._gaussian import gaussian_kernel, row_blocks
from skdre.kernel._linear_algebra import jittered_cholesky
from skdre.kernel._nystroem import NystroemFeatures
from skdre.kernel._qp import Solution

# Passes that form H, each of which takes several times as long as one that does not.
# In single precision it would be worth nothing: L^-1 enlarges rounding errors.
_CURVED_PASSES = 2
# Newton steps on the pilot between two passes, at most.
_PILOT_STEPS = 20
# A pass that lowers the gap by less than this factor is the last one of this kind.
_LEAST_GAIN = 4.0


@dataclass(frozen=True)
class KernelDualSums(Sums):
    """Sums over rows at a dual point, of kernel values at the landmarks.

    Attributes
    ----------
    value, mass : float
        As in :class:`skdre.kernel._dual.DualSums`.
    total : ndarray of shape (n_landmarks,)
        K'v.
    gram : ndarray of shape (n_landmarks, n_landmarks), or (0, 0) if not asked for
        K_F'D_F^-1 K_F.
    """

    value: float
    mass: float
    total: np.ndarray
    gram: np.ndarray


class LandmarkRows:
    """Weighted rows whose kernel values at the landmarks are formed in each pass.

    Parameters
    ----------
    portion : Portion
    features : NystroemFeatures
    n_rows : int, default=None
        How many of the rows, or all.

    Attributes
    ----------
    ratio : ndarray of shape (n_rows,)
        At the last point, before any bound.
    """

    def __init__(self, portion, features, n_rows=None):
        self.X, self.weight = portion.X[:n_rows, :], portion.weight[:n_rows]
        self.place = place_of(portion.X)
        self.gamma = features.gamma
        self.landmarks = self.place.put(features.landmarks)
        self.ratio = None

    def blocks(self):
        """Yield slices of rows and their kernel values."""
        n_rows, m = self.X.shape[0], self.landmarks.shape[0]
        for rows in row_blocks(n_rows, m, self.place):
            yield rows, gaussian_kernel(self.X[rows, :], self.landmarks, self.gamma)


def kernel_dual_sums(rows, coef, limits, curved):
    """Reducer: sums at the dual point whose ratio, before bounds, is K @ `coef`."""
    m, place = len(coef), rows.place
    xp = place.xp
    n_gram = m if curved else 0
    value = mass = 0.0
    total, gram, ratios = np.zeros(m), np.zeros((n_gram, n_gram)), []
    coef = place.put(coef)
    for part, K in rows.blocks():
        # In the order of additions of predictions, which are then the same to the bit.
        ratio = np.einsum("ij,j->i", K, coef) if place.is_host else K @ coef
        ratios.append(ratio)
        weight = rows.weight[part]
        field = float(limits.rho) * ratio
        v, slope, is_free = masses(field, weight, 0.0, limits)
        value += number((slope / 2 - field) @ v)
        mass += number(xp.sum(v))
        total += to_numpy(v @ K)
        if curved:
            inverse = xp.where(is_free, weight / float(limits.rho), place.full((), 0.0))
            K = K * xp.sqrt(inverse)[:, None]
            gram += to_numpy(K.T @ K)
    rows.ratio = np.concatenate(ratios) if place.is_host else xp.concat(ratios)
    return KernelDualSums(value, mass, total, gram)


class _Look:
    """What one pass over some rows, in their scale or that of all, tells of a point."""

    def __init__(self, problem, rows, scale, dual, curved):
        features, limits = problem.features, problem.limits
        point = problem.target - dual
        reducer = partial(
            kernel_dual_sums,
            coef=features.kernel_coef(point) / limits.rho,
            limits=limits,
            curved=curved,
        )
        sums, _ = rows.totals(reducer, nothing)
        sums = sums.scaled(scale)
        factor = features.factor
        self.dual, self.mass = dual, sums.mass
        self.point = solve_triangular(factor, sums.total, lower=True)
        if curved:
            half = solve_triangular(factor, sums.gram, lower=True)
            self.gram = solve_triangular(factor, half.T, lower=True)
        self.rho = self.point - dual
        self.gap = self.rho @ self.rho / 2
        self.value = sums.value - dual @ dual / 2
        penalty, linear = sums.value + point @ self.point, problem.target @ self.point
        self.objective = self.point @ self.point / 2 - linear + penalty


def _next_dual(at, pilot_at, curvature, enough):
    """Dual point at which the pilot's sums, corrected at the last pass, are optimal.

    Parameters
    ----------
    at : _Look
        Of the last pass.
    pilot_at : callable
        Gives the pilot's sums at a dual point.
    curvature : ndarray of shape (n_components, n_components)
        H - H_s.
    enough : float
        Size of a residual that is not worth a step.
    """
    here = pilot_at(at.dual)
    shift = at.point - here.point
    dual, residual = at.dual, at.rho
    for _ in range(_PILOT_STEPS):
        hessian = here.gram + curvature
        hessian[np.diag_indices_from(hessian)] += 1.0
        factor = jittered_cholesky(hessian), True
        moved = dual + cho_solve(factor, residual, check_finite=False)
        here = pilot_at(moved)
        left = here.point + shift - curvature @ (moved - at.dual) - moved
        if not np.linalg.norm(left) < np.linalg.norm(residual):
            break
        dual, residual = moved, left
        if np.linalg.norm(residual) <= enough:
            break
    return dual


@dataclass(frozen=True)
class Passes:
    """The dual's maximum while the band does not bind, by passes over rows.

    Attributes
    ----------
    rows : InMemory or ChunkedRows
        The denominator's portions are LandmarkRows.
    features : NystroemFeatures
    pilot : FeatureRows
        Some of the rows.
    scale : float
        Weight of all rows over that of the pilot.
    target : ndarray of shape (n_components,)
        h, of kappa = Phi h.
    limits : Limits
    """

    rows: Any
    features: NystroemFeatures
    pilot: FeatureRows
    scale: float
    target: np.ndarray
    limits: Limits

    def _look(self, dual, curved):
        return _Look(self, self.rows, 1.0, dual, curved)

    def _pilot_at(self, dual):
        sums = dual_sums(self.pilot, self.target - dual, 0.0, self.limits)
        return sums.scaled(self.scale)

    def _curvature(self, at):
        return at.gram - self._pilot_at(at.dual).gram

    def _next(self, at, curvature, tol):
        enough = 0.1 * tol * np.sqrt(abs(at.value))
        return _next_dual(at, self._pilot_at, curvature, enough)

    def step(self, part, scale, start, tol):
        """The dual point that one pass over a part of the rows leads to.

        `scale` is the weight of all rows over that of the part.
        """
        at = _Look(self, part, scale, start, curved=True)
        return self._next(at, self._curvature(at), tol)

    def solve(self, start, tol, max_iter):
        """Go on from a dual point to a gap of `tol`, relative to the objective.

        Returns
        -------
        solution : Solution
            At the last pass, without `v`.
        finished : bool
            Whether nothing is left to do: not where the band binds, or where the pilot
            no longer leads on.
        """
        at = self._look(start, curved=True)
        n_iter, leads, curvature = 0, True, None
        # The square, as in solve_dual.
        while at.gap > tol**2 * abs(at.value) and n_iter < max_iter and leads:
            if self.limits.misses(at.mass, 0.0):
                break
            if n_iter < _CURVED_PASSES:
                curvature = self._curvature(at)
            n_iter += 1
            dual = self._next(at, curvature, tol)
            new = self._look(dual, curved=n_iter < _CURVED_PASSES)
            leads = new.gap * _LEAST_GAIN < at.gap
            at = new
        finished = at.gap <= tol**2 * abs(at.value) or n_iter >= max_iter
        finished = finished and not self.limits.misses(at.mass, 0.0)
        converged = bool(at.gap <= tol * abs(at.objective))
        return (
            Solution(
                None,
                float(at.objective),
                float(at.gap),
                n_iter,
                converged,
                dual=at.dual,
            ),
            finished,
        )
