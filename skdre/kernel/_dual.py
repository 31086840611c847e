r"""Kernel mean matching on features of the kernel, through sums over the rows.

With the kernel Phi Phi', kappa = Phi h and a ridge, D_i = rho / a_i, the primal point
that belongs to a dual point c is

.. math:: v_i = a_i \, \mathrm{clip}\bigl((\phi_i'(h - c) - \nu) / \rho, 0, u_i\bigr),

with nu the multiplier of the band on sum(v) (see :mod:`skdre.kernel._qp`). So a row
needs to know c and nu alone, and all that Newton's method asks for, the objective,
Phi'v and the Hessian, are sums over the rows (:mod:`skdre._core.reduce`): one pass, in
which the features of each row are formed once, for each step. Where the band binds, or
a full step is too long, more is found from the field phi'(h - c), one number a row.

Primal and dual value differ by |Phi'v - c|^2 / 2, which is the certificate.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.linalg import cho_solve

from skdre._core.arrays import number, place_of, to_numpy
from skdre._core.reduce import Sums, nothing
from skdre.kernel._gaussian import row_blocks
from skdre.kernel._linear_algebra import jittered_cholesky
from skdre.kernel._qp import Solution

_MAX_HALVINGS = 40
# Steps of the search for the band's multiplier, which bisects at worst.
_MAX_SEARCH = 200


@dataclass(frozen=True)
class Limits:
    """The constraints, and the scale of the ridge.

    Attributes
    ----------
    rho : float
        The ridge times the size of the denominator's sample.
    bound : float
        Of a row's weight v_i / a_i.
    low, high : float
        Of the sum of v.
    """

    rho: float
    bound: float
    low: float
    high: float

    def misses(self, mass, nu):
        """Whether nu is not the multiplier of a point whose sum is `mass`."""
        if nu == 0:
            return not self.low <= mass <= self.high
        target = self.high if nu > 0 else self.low
        return abs(mass - target) > 1e-14 * target


class FeatureRows:
    """Weighted rows with a source of their features, a block at a time.

    Parameters
    ----------
    weight : ndarray of shape (n_rows,)
    features : callable
        ``features(rows)`` is the block of Phi at a slice of rows.
    n_components : int
    """

    def __init__(self, weight, features, n_components):
        self.place = place_of(weight)
        self.weight, self.features = weight, features
        self.n_components = n_components
        # Of the last points that were asked for, as many as a line search needs.
        self._fields = []

    def blocks(self):
        """Yield slices of rows and their features."""
        for rows in row_blocks(self.weight.shape[0], self.n_components, self.place):
            yield rows, self.features(rows)

    def blocks_and_field(self, point):
        """Yield slices, features and Phi @ point, the features being formed once."""
        known, parts = self._known(point), []
        for rows, block in self.blocks():
            part = self._product(block, point) if known is None else known[rows]
            parts.append(part)
            yield rows, block, part
        if known is None:
            self._fields = [*self._fields[-1:], (point, self._joined(parts))]

    def fields(self, *points):
        """Phi @ point for each point, of shape (n_rows,), in one pass for all."""
        new = [each for each in points if self._known(each) is None]
        parts = [[] for _ in new]
        for _, block in self.blocks() if new else ():
            for point, field in zip(new, parts, strict=True):
                field.append(self._product(block, point))
        found = map(self._joined, parts)
        known = {id(p): f for p, f in zip(new, found, strict=True)}
        fields = [known.get(id(each), self._known(each)) for each in points]
        self._fields = list(zip(points, fields, strict=True))
        return fields

    def _product(self, block, point):
        """Of features in any precision, in double."""
        if self.place.is_host:
            return (block @ point.astype(block.dtype)).astype(np.float64, copy=False)
        xp = self.place.xp
        point = xp.astype(self.place.put(point), block.dtype, copy=False)
        return xp.astype(block @ point, self.place.dtype, copy=False)

    def _joined(self, parts):
        return (
            np.concatenate(parts) if self.place.is_host else self.place.xp.concat(parts)
        )

    def _known(self, point):
        for known, field in self._fields:
            if np.array_equal(known, point):
                return field
        return None


@dataclass(frozen=True)
class Field:
    """phi'(h - c) at weighted rows, which is all that the band's multiplier needs."""

    values: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class FieldOnLine:
    """The field at the start of a step, and its change along it."""

    start: np.ndarray
    change: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class DualSums(Sums):
    """Sums over rows at a dual point and a multiplier.

    Attributes
    ----------
    value : float
        Of (D v / 2 - field) v.
    mass : float
        Of v.
    point : ndarray of shape (n_components,)
        Phi'v.
    gram, pull, free : ndarray and float
        Phi_F'D_F^-1 Phi_F, Phi_F'D_F^-1 1 and 1'D_F^-1 1, with F the rows that no
        bound holds.
    """

    value: float
    mass: float
    point: np.ndarray
    gram: np.ndarray
    pull: np.ndarray
    free: float


@dataclass(frozen=True)
class MassSums(Sums):
    """Sums of v, minus its slope in nu, and (D v / 2 - field) v."""

    mass: float
    slope: float
    value: float


@dataclass(frozen=True)
class Extremes(Sums):
    """Least and largest field, and the least weight."""

    low: float
    high: float
    weight: float

    def __add__(self, other):
        return Extremes(
            min(self.low, other.low),
            max(self.high, other.high),
            min(self.weight, other.weight),
        )


def masses(field, weight, nu, limits):
    """v at rows of this field, D v, and where no bound holds it."""
    xp = place_of(field).xp
    upper = xp.clip(float(limits.high) / weight, None, float(limits.bound))
    pull = (field - float(nu)) / float(limits.rho)
    w = xp.clip(pull, 0, upper)
    return weight * w, float(limits.rho) * w, (w > 0) & (w < upper)


def dual_sums(rows, point, nu, limits):
    """Reducer: sums at the dual point h - `point`, of portions of FeatureRows."""
    m, xp = rows.n_components, rows.place.xp
    value = mass = free = 0.0
    total, pull, gram = np.zeros(m), np.zeros(m), np.zeros((m, m))
    zero = rows.place.full((), 0.0)
    for part, block, field in rows.blocks_and_field(point):
        weight = rows.weight[part]
        v, slope, is_free = masses(field, weight, nu, limits)
        value += number((slope / 2 - field) @ v)
        mass += number(xp.sum(v))
        inverse = xp.where(is_free, weight / float(limits.rho), zero)
        free += number(xp.sum(inverse))
        v, inverse = rows.place.cast((v, inverse), block.dtype)
        total += to_numpy(v @ block)
        pull += to_numpy(inverse @ block)
        scaled = block * xp.sqrt(inverse)[:, None]
        gram += to_numpy(scaled.T @ scaled)
    return DualSums(value, mass, total, gram, pull, free)


def field_of(rows, point):
    """The field of a portion, to be held where the rows are."""
    return Field(*rows.fields(point), rows.weight)


def fields_on_line(rows, start, end):
    """The same for the fields between two points."""
    first, last = rows.fields(start, end)
    return FieldOnLine(first, last - first, rows.weight)


def field_at(line, t):
    """The field at a share t of the step."""
    return Field(line.start + float(t) * line.change, line.weight)


def extremes(field):
    """Reducer: between which values a field lies."""
    xp = place_of(field.values).xp
    ends = xp.min(field.values), xp.max(field.values), xp.min(field.weight)
    return Extremes(*map(number, ends))


def mass_sums(field, nu, limits):
    """Reducer: the sum of v at a multiplier, and the dual's value."""
    v, slope, is_free = masses(field.values, field.weight, nu, limits)
    place = place_of(v)
    if place.is_host:
        free = field.weight[is_free].sum()
    else:
        zero = place.full((), 0.0)
        free = number(place.xp.sum(place.xp.where(is_free, field.weight, zero)))
    return MassSums(
        number(place.xp.sum(v)),
        free / limits.rho,
        number((slope / 2 - field.values) @ v),
    )


def multiplier(fields, limits):
    """The band's multiplier for a field, 0 where it does not bind; the sums there.

    sum(v) falls in nu, from everything at its upper bound to everything at 0: Newton's
    steps, kept inside a bracket.
    """

    def at(nu):
        return fields.totals(partial(mass_sums, nu=nu, limits=limits), nothing)[0]

    found = at(0.0)
    if limits.low <= found.mass <= limits.high:
        return 0.0, found
    target = limits.high if found.mass > limits.high else limits.low
    ends, _ = fields.totals(extremes, nothing)
    upper = min(limits.bound, limits.high / ends.weight)
    left, right = min(0.0, ends.low - limits.rho * upper), max(0.0, ends.high)
    nu = 0.0
    for _ in range(_MAX_SEARCH):
        if found.mass > target:
            left = nu
        else:
            right = nu
        new = np.inf
        if found.slope > 0:
            new = nu + (found.mass - target) / found.slope
        if not left < new < right:
            new = (left + right) / 2
        if new == nu:
            break
        nu = new
        found = at(nu)
        if abs(found.mass - target) <= 1e-14 * target:
            break
    return nu, found


class _Look:
    """The sums at a dual point, with the multiplier that belongs to it."""

    def __init__(self, rows, dual, nu, target, limits):
        point = target - dual
        look = partial(dual_sums, point=point, limits=limits)
        sums = None
        if nu == 0:
            # The band hardly ever binds: one pass.
            sums, _ = rows.totals(partial(look, nu=0.0), nothing)
        if sums is None or limits.misses(sums.mass, nu):
            fields = rows.held(partial(field_of, point=point), nothing)
            found, _ = multiplier(fields, limits)
            if sums is None or found != nu:
                sums, _ = rows.totals(partial(look, nu=found), nothing)
            nu = found
        self.dual, self.nu, self.sums = dual, nu, sums
        self.rho = sums.point - dual
        self.gap = self.rho @ self.rho / 2
        self.value = sums.value - dual @ dual / 2
        penalty = sums.value + point @ sums.point
        self.objective = sums.point @ sums.point / 2 - target @ sums.point + penalty

    def step(self):
        """Newton's step of the dual, (I + Phi_F' D_F^-1 Phi_F) step = rho.

        A binding band takes out the direction that would change the sum of v.
        """
        sums = self.sums
        hessian = sums.gram + np.eye(len(self.rho))
        if self.nu != 0 and sums.free > 0:
            hessian -= np.outer(sums.pull, sums.pull) / sums.free
        factor = jittered_cholesky(hessian), True
        return cho_solve(factor, self.rho, check_finite=False)


def _share(rows, dual, step, target, limits, is_enough, first):
    """A share of a step that improves the dual enough, from fields alone, or None."""
    line = rows.held(
        partial(fields_on_line, start=target - dual, end=target - dual - step), nothing
    )
    for t in first * 0.5 ** np.arange(_MAX_HALVINGS):
        _, sums = multiplier(line.prepared(partial(field_at, t=t), nothing), limits)
        moved = dual + t * step
        if is_enough(sums.value - moved @ moved / 2, t):
            return t
    return None


def solve_dual(rows, target, limits, start, *, tol, max_iter):
    """Semismooth Newton method on the dual of the problem with a ridge.

    Parameters
    ----------
    rows : InMemory or ChunkedRows
        The denominator's portions are FeatureRows; the numerator's are not looked at.
    target : ndarray of shape (n_components,)
        h, of kappa = Phi h.
    limits : Limits
    start : ndarray of shape (n_components,)
        Dual point.
    tol : float
        Gap to reach, relative to the objective.
    max_iter : int

    Returns
    -------
    solution : Solution
        Without `v`, which belongs to `dual` and `nu`.
    """
    at = _Look(rows, start, 0.0, target, limits)
    n_iter, share = 0, 1.0
    # The gap is quadratic in v - alpha, hence the square: the ratio is made of alpha
    # and must agree with v to tol.
    while at.gap > tol**2 * abs(at.value) and n_iter < max_iter:
        step = at.step()
        slope = at.rho @ step

        def is_enough(value, t, at=at, slope=slope):
            return value >= at.value + 1e-4 * t * slope - 1e-13 * abs(at.value)

        # Where the last step was too long this one may be, which fields tell.
        new = None
        if share == 1.0:
            new = _Look(rows, at.dual + step, at.nu, target, limits)
        if new is None or not is_enough(new.value, 1.0):
            first = 1.0 if new is None else 0.5
            share = None
            if new is None or at.gap > tol * abs(at.objective):
                share = _share(rows, at.dual, step, target, limits, is_enough, first)
            # Otherwise rounding is all that is left, perhaps of single precision.
            if share is None:
                break
            new = _Look(rows, at.dual + share * step, at.nu, target, limits)
        at = new
        n_iter += 1
    return Solution(
        None,
        float(at.objective),
        float(at.gap),
        n_iter,
        bool(at.gap <= tol * abs(at.objective)),
        dual=at.dual,
        nu=at.nu,
    )
