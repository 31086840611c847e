"""Samples of known log ratio that are no warped Gaussians, and a register of problems.

The register is split: problems on which results are reported, and others on which
defaults may be chosen.
"""

from collections.abc import Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.linalg import toeplitz
from scipy.spatial.distance import cdist
from scipy.special import gammaln, logsumexp
from scipy.stats import gamma, laplace, lognorm, norm, t
from sklearn.utils import check_random_state

from skdre._compat import HasMethods, Interval, StrOptions, validate_params
from skdre._core.columns import check_rows
from skdre._core.docs import shared_docs
from skdre._core.types import RandomState, Rows
from skdre.datasets import _kinds
from skdre.datasets._shifts import (
    Shift,
    _check_n_features,
    _check_sample_sizes,
    _identity,
    make_warped_shift,
)


def _plain_shift(numerator, denominator, log_ratio):
    """A shift without a latent space."""
    return Shift(
        numerator=numerator,
        denominator=denominator,
        latent_numerator=numerator,
        latent_denominator=denominator,
        inverse=_identity,
        latent_log_ratio=log_ratio,
    )


def _mixture_log_ratio(X, *, p, q):
    return _mixture_log_density(X, *p) - _mixture_log_density(X, *q)


def _mixture_log_density(X, centers, scale):
    """Log density of an equal mixture of round Gaussians, less d log(2 pi) / 2."""
    exponents = -0.5 * cdist(X, centers, "sqeuclidean") / scale**2
    log_normaliser = np.log(len(centers)) + X.shape[1] * np.log(scale)
    return logsumexp(exponents, axis=1) - log_normaliser


def _draw_mixture(n, centers, scale, rng):
    noise = scale * rng.standard_normal((n, centers.shape[1]))
    return centers[rng.randint(len(centers), size=n)] + noise


@shared_docs
@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "numerator_centers": ["array-like"],
        "denominator_centers": ["array-like"],
        "numerator_scale": [Interval(Real, 0, None, closed="neither")],
        "denominator_scale": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_mixture_shift(
    n_samples: int | Sequence[int] = 1000,
    *,
    numerator_centers: Rows,
    denominator_centers: Rows,
    numerator_scale: float = 1.0,
    denominator_scale: float = 1.0,
    random_state: RandomState = None,
) -> Shift:
    """Two equal mixtures of round Gaussians, the ratio known.

    With many centres along a curve a mixture is that curve, smeared.

    Parameters
    ----------
    %(two_sizes)
    numerator_centers : array-like of shape (n_numerator_centers, n_features)
        Means of the numerator's components, which all have the same weight.
    denominator_centers : array-like of shape (n_denominator_centers, n_features)
        Those of the denominator's.
    numerator_scale, denominator_scale : float, default=1.0
        Standard deviation of the components, the same in all directions.
    %(same_data)

    Returns
    -------
    %(shift)

    Raises
    ------
    ValueError
        If a parameter is out of its range, or the centres are not finite matrices of
        the same number of columns.

    Examples
    --------
    >>> from skdre.datasets import make_mixture_shift
    >>> shift = make_mixture_shift(
    ...     100, numerator_centers=[[-1.0], [1.0]], denominator_centers=[[0.0]]
    ... )
    >>> shift.log_ratio([[0.0], [1.0]]).round(3)
    array([-0.5  , -0.066])
    """
    sizes = _check_sample_sizes(n_samples)
    numerator_centers = check_rows(numerator_centers, "numerator_centers")
    denominator_centers = check_rows(denominator_centers, "denominator_centers")
    if numerator_centers.shape[1] != denominator_centers.shape[1]:
        raise ValueError(
            "numerator_centers and denominator_centers must have the same number of "
            f"columns, got {numerator_centers.shape[1]} and "
            f"{denominator_centers.shape[1]}."
        )
    rng = check_random_state(random_state)
    p = numerator_centers, numerator_scale
    q = denominator_centers, denominator_scale
    return _plain_shift(
        _draw_mixture(sizes[0], *p, rng),
        _draw_mixture(sizes[1], *q, rng),
        partial(_mixture_log_ratio, p=p, q=q),
    )


def _product_log_ratio(X, *, p, q):
    # A density of 0 is expected, and one of 0 on both sides found below.
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = p.logpdf(X).sum(axis=1) - q.logpdf(X).sum(axis=1)
    if np.isnan(log_ratio).any():
        raise ValueError(
            "X holds rows outside the support of both distributions, where the ratio "
            "is not defined."
        )
    return log_ratio


@shared_docs
@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "numerator": [HasMethods(["rvs", "logpdf"])],
        "denominator": [HasMethods(["rvs", "logpdf"])],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_product_shift(
    n_samples: int | Sequence[int] = 1000,
    n_features: int = 2,
    *,
    numerator: Any,
    denominator: Any,
    random_state: RandomState = None,
) -> Shift:
    """Two samples of independent, equally distributed columns, the ratio known.

    Parameters
    ----------
    %(two_sizes)
    n_features : int, default=2
        Number of columns.
    numerator, denominator : frozen continuous distribution of scipy.stats
        Distribution of each column of the numerator and of the denominator, such as
        ``scipy.stats.t(3)``; anything with ``rvs`` and ``logpdf`` like theirs. A row
        that only the denominator can have has a log ratio of -inf, and one that only
        the numerator can have +inf.
    %(same_data)

    Returns
    -------
    %(shift)

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> from scipy.stats import laplace, norm
    >>> from skdre.datasets import make_product_shift
    >>> shift = make_product_shift(
    ...     100, 2, numerator=laplace(), denominator=norm(), random_state=0
    ... )
    >>> shift.log_ratio([[0.0, 0.0], [4.0, 0.0]]).round(3)
    array([0.452, 4.452])
    """
    sizes = _check_sample_sizes(n_samples)
    _check_n_features(n_features)
    rng = check_random_state(random_state)
    return _plain_shift(
        numerator.rvs(size=(sizes[0], n_features), random_state=rng),
        denominator.rvs(size=(sizes[1], n_features), random_state=rng),
        partial(_product_log_ratio, p=numerator, q=denominator),
    )


def _ring_log_ratio(X, *, radius, width, spread):
    d, r = X.shape[1], np.linalg.norm(X, axis=1)
    # The density of |N(radius, width^2)|, spread over the sphere of radius r.
    log_radial = np.logaddexp(
        norm.logpdf(r, radius, width), norm.logpdf(-r, radius, width)
    )
    log_sphere = np.log(2) + 0.5 * d * np.log(np.pi) - gammaln(0.5 * d)
    if d > 1:
        with np.errstate(divide="ignore"):
            log_sphere = log_sphere + (d - 1) * np.log(r)
    log_q = -0.5 * (r / spread) ** 2 - d * np.log(spread * np.sqrt(2 * np.pi))
    return log_radial - log_sphere - log_q


@shared_docs
@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "radius": [Interval(Real, 0, None, closed="neither")],
        "width": [Interval(Real, 0, None, closed="neither")],
        "spread": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_ring_shift(
    n_samples: int | Sequence[int] = 1000,
    n_features: int = 2,
    *,
    radius: float = 3.0,
    width: float = 0.3,
    spread: float = 2.0,
    random_state: RandomState = None,
) -> Shift:
    """A ring, or the shell of a ball, against a Gaussian, the ratio known.

    The numerator's rows have a distance |N(radius, width^2)| from the origin and a
    direction that is uniform; the denominator is N(0, spread^2 I).

    Parameters
    ----------
    %(two_sizes)
    n_features : int, default=2
        Dimension: 1 gives two lumps, 2 a ring, more a shell.
    radius, width : float, default=3.0 and 0.3
        Mean and standard deviation of the distance from the origin.
    spread : float, default=2.0
        Standard deviation of the denominator in each column.
    %(same_data)

    Returns
    -------
    %(shift)

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> from skdre.datasets import make_ring_shift
    >>> shift = make_ring_shift(100, random_state=0)
    >>> shift.log_ratio([[3.0, 0.0], [0.0, 2.0]]).round(3)
    array([ 1.698, -4.077])
    """
    sizes = _check_sample_sizes(n_samples)
    _check_n_features(n_features)
    rng = check_random_state(random_state)
    direction = rng.standard_normal((sizes[0], n_features))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    distance = np.abs(rng.normal(radius, width, (sizes[0], 1)))
    return _plain_shift(
        distance * direction,
        spread * rng.standard_normal((sizes[1], n_features)),
        partial(_ring_log_ratio, radius=radius, width=width, spread=spread),
    )


# The register. Centres are drawn from seeds of their own: they belong to the problem,
# not to the sample.


def _in_pairs(n_features, rho):
    """Correlation rho between columns 0 and 1, 2 and 3, and so on."""
    return np.kron(np.eye(n_features // 2), [[1.0, rho], [rho, 1.0]])


def _scattered(n_centers, n_features, distance, seed):
    """Centres at random, all at one distance from the origin."""
    centers = np.random.RandomState(seed).standard_normal((n_centers, n_features))
    return centers * distance / np.linalg.norm(centers, axis=1, keepdims=True)


def _corners(n_features, distance):
    """Corners of a cube, at plus or minus the distance in each column."""
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * n_features)).reshape(n_features, -1)
    return distance * signs.T


def _moons(gap, n_centers=50):
    """Two half circles that interleave, the lower one moved away by the gap."""
    angle = (np.arange(n_centers) + 0.5) / n_centers * np.pi
    upper = np.column_stack([np.cos(angle), np.sin(angle)])
    lower = np.column_stack([1 - np.cos(angle), -np.sin(angle) - gap])
    return {"numerator_centers": upper, "denominator_centers": lower}


def _spirals(n_centers=80, turns=1.25):
    """Two arms of a spiral, half a turn apart."""
    angle = 2 * np.pi * turns * np.sqrt((np.arange(n_centers) + 0.5) / n_centers)
    arm = angle[:, None] / 2 * np.column_stack([np.cos(angle), np.sin(angle)])
    return {"numerator_centers": arm, "denominator_centers": -arm}


def _checkerboard(size=4):
    """Centres of the black and of the white fields."""
    fields = np.stack(np.meshgrid(*[np.arange(size)] * 2), axis=-1).reshape(-1, 2)
    black = fields.sum(axis=1) % 2 == 0
    return {
        "numerator_centers": fields[black] * 1.0,
        "denominator_centers": fields[~black] * 1.0,
    }


def _toeplitz(n_features, rho):
    """Correlation rho to the power of the distance between two columns."""
    return toeplitz(rho ** np.arange(n_features))


def _mixture(centers, *scales):
    return partial(
        make_mixture_shift,
        **centers,
        numerator_scale=scales[0],
        denominator_scale=scales[-1],
    )


def _clusters(numerator, denominator, *scales):
    centers = {"numerator_centers": numerator, "denominator_centers": denominator}
    return _mixture(centers, *scales)


def _gaussians(n_features, mean_shift, covariance=1.0, warp="identity"):
    return partial(
        make_warped_shift,
        n_features=n_features,
        mean_shift=mean_shift,
        covariance=covariance,
        warp=warp,
    )


def _product(n_features, numerator, denominator):
    return partial(
        make_product_shift,
        n_features=n_features,
        numerator=numerator,
        denominator=denominator,
    )


def _make_kind(n_samples, *, draw, random_state=None, **params):
    sizes = _check_sample_sizes(n_samples)
    rng = check_random_state(random_state)
    return _plain_shift(*draw(*sizes, rng, **params))


def _kind(draw, **params):
    return partial(_make_kind, draw=draw, **params)


_REPORTED = {
    "far_gaussians_d2": _gaussians(2, 4 * 2**0.5),
    "far_moons": _mixture(_moons(0.5), 0.25),
    "moons": _mixture(_moons(0.0), 0.25),
    "ring": make_ring_shift,
    "mixture_d10": _clusters(_scattered(5, 10, 4, 0), _scattered(5, 10, 4, 1), 1.0),
    "clusters_d10": _clusters(_scattered(4, 10, 3, 7), np.zeros((1, 10)), 0.7, 1.3),
    "scale_d5": _gaussians(5, 0, 1 / 9),
    "correlated_d20": _gaussians(20, 0, _in_pairs(20, 0.9)),
    "correlated_sinh_d6": _gaussians(6, 0, _in_pairs(6, 0.8), "sinh"),
    "exp_d6": _gaussians(6, 1, warp="exp"),
    "funnel_d6": _gaussians(6, 1, warp="funnel"),
    "far_banana_d6": _gaussians(6, 4, warp="banana"),
    "far_cubic_d6": _gaussians(6, 4, warp="cubic"),
    "t3_d5": _product(5, t(3, loc=0.5), t(3)),
    "equal_moments_d5": _clusters(
        _corners(5, 0.9), np.zeros((1, 5)), (1 - 0.9**2) ** 0.5, 1.0
    ),
    "same_d5": _gaussians(5, 0),
    "shift_d1": _gaussians(1, 1),
    "shift_d50": _gaussians(50, 1.5),
    "heavy_tails_d8": _kind(_kinds.heavy_tails, n_features=8, df=2.2, shift=0.5),
    "additive_d10": _kind(
        _kinds.additive, n_features=10, n_steps=4, n_waves=2, step=0.4, waves=1
    ),
    "sparse_d50": _kind(_kinds.sparse, at=(3, 21), moved=(0.0, -0.7), scale=(0.6, 1.2)),
    "skewed_d5": _kind(
        _kinds.skewed, n_features=5, shape=1.0, shift=0.3, correlation=0.5
    ),
    "new_cluster_d6": _kind(
        _kinds.new_cluster, n_features=6, share=0.15, distance=2.0, scale=0.5
    ),
    "rotated_d8": _kind(_kinds.rotated, n_features=8, ends=(0.5, 2.0), seed=11),
    "discrete_d5": _kind(
        _kinds.discrete,
        rates=(0.7, 1.0, 2.0, 4.0, 1.2),
        factors=(1.8, 1.0, 0.6, 1.4, 1.0),
    ),
    "changing_noise_d3": _kind(
        _kinds.changing_noise, n_features=3, size=0.9, phase=1.8
    ),
    "fields_d36": _kind(_kinds.fields, side=6, lengths=(1.6, 1.25)),
    "ring_in_a_box": _kind(_kinds.ring_in_a_box, radius=1.8, width=0.22),
    "cut_support_d3": _kind(_kinds.cut_support, n_features=3, cut=1.1),
    "same_tails_d4": _kind(_kinds.same_tails, n_features=4, df=1.4),
}

_TUNING = {
    "lumps_d1": partial(
        make_ring_shift, n_features=1, radius=4.0, width=0.5, spread=1.0
    ),
    "checkerboard": _mixture(_checkerboard(), 0.2),
    "spirals": _mixture(_spirals(), 0.25),
    "narrow_d3": _gaussians(3, 0, 0.02),
    "cubic_d3": _gaussians(3, 3, warp="cubic"),
    "skewed_d3": _product(3, gamma(2, scale=1.5), lognorm(0.8)),
    "banana_d4": _gaussians(4, 2, warp="banana"),
    "shell_d5": partial(
        make_ring_shift, n_features=5, radius=4.0, width=0.4, spread=2.0
    ),
    "exp_d8": _gaussians(8, 1, _toeplitz(8, 0.7), "exp"),
    "scale_d10": _gaussians(10, 0, 1 / 2.25),
    "same_t4_d10": _product(10, t(4), t(4)),
    "t2_d10": _product(10, t(2, loc=0.7), t(2)),
    "far_funnel_d10": _gaussians(10, 3, warp="funnel"),
    "far_clusters_d20": _clusters(
        _scattered(6, 20, 6, 2), _scattered(6, 20, 6, 3), 1.0
    ),
    "laplace_d20": _product(20, laplace(scale=0.5**0.5), norm()),
    "correlated_d20_weakly": _gaussians(20, 0, _in_pairs(20, 0.6)),
    "far_gaussians_d30": _gaussians(30, 4, _toeplitz(30, 0.5)),
    "cubic_d50": _gaussians(50, 2, warp="cubic"),
}

_PROBLEMS = {"reported": _REPORTED, "tuning": _TUNING}


@validate_params(
    {"role": [StrOptions(set(_PROBLEMS)), None]}, prefer_skip_nested_validation=True
)
def known_ratio_problems(role: str | None = None) -> list[str]:
    """Names of the problems of known log ratio.

    Parameters
    ----------
    role : {"reported", "tuning"}, default=None
        "reported": those of the table in the documentation, "tuning": others, on which
        the defaults of an estimator may be chosen without flattering the table. By
        default both.

    Returns
    -------
    names : list of str
        For :func:`make_known_ratio`. A number after ``d`` is that of the features, two
        where there is none.

    Raises
    ------
    ValueError
        If there is no such role.

    Examples
    --------
    >>> from skdre.datasets import known_ratio_problems
    >>> known_ratio_problems("tuning")[:3]
    ['lumps_d1', 'checkerboard', 'spirals']
    """
    roles = _PROBLEMS if role is None else [role]
    return [name for each in roles for name in _PROBLEMS[each]]


@shared_docs
@validate_params(
    {
        "name": [str],
        "n_samples": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_known_ratio(
    name: str,
    n_samples: int | Sequence[int] = 1000,
    *,
    random_state: RandomState = None,
) -> Shift:
    """Samples of a problem whose log ratio is known.

    Parameters
    ----------
    name : str
        One of :func:`known_ratio_problems`.
    %(two_sizes)
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data on every call; the problem itself, such as where
        the centres of a mixture lie, is always the same.

    Returns
    -------
    %(shift)

    Raises
    ------
    ValueError
        If there is no such problem, or a parameter is out of its range.

    Notes
    -----
    Reported:

    * "far_gaussians_d2": N((4, 4), I) against N(0, I);
    * "moons", "far_moons": two half circles that interleave, smeared by 0.25; the lower
      one is moved away by 0.5 in the latter;
    * "ring": :func:`make_ring_shift` with its defaults;
    * "mixture_d10": five Gaussians against five others, all centres at random and 4
      from the origin;
    * "clusters_d10": four narrow Gaussians, 3 from the centre of a wide one;
    * "scale_d5": a ninth of the variance;
    * "correlated_d20": correlations of 0.9 in ten pairs of columns, against none;
    * "correlated_sinh_d6": correlations of 0.8 in three pairs, seen through sinh(2 z);
    * "exp_d6", "funnel_d6", "far_banana_d6", "far_cubic_d6": Gaussians whose means lie
      1 apart, or 4 where they are far, seen through a map of
      :func:`make_warped_shift`;
    * "t3_d5": Student's t with 3 degrees of freedom in each column, shifted by 0.5;
    * "equal_moments_d5": 32 Gaussians in the corners of a cube, against the Gaussian of
      the same mean and covariance;
    * "same_d5": p = q, standard normal;
    * "shift_d1", "shift_d50": Gaussians whose means lie 1 and 1.5 apart;
    * "heavy_tails_d8": Student's t with 2.2 degrees of freedom, moved by 0.5;
    * "additive_d10": uniform columns against steps in four and waves in two of them;
    * "sparse_d50": normal columns, two of which have another mean or variance;
    * "skewed_d5": exponential columns, moved and correlated;
    * "new_cluster_d6": 15 % of the numerator's rows in a narrow cluster;
    * "rotated_d8": other variances along turned axes;
    * "discrete_d5": Poisson columns of other rates;
    * "changing_noise_d3": the spread of a column depends on another, in p another way;
    * "fields_d36": Gaussian random fields on a grid of 6 by 6, p a little smoother;
    * "ring_in_a_box": a ring against a uniform square;
    * "cut_support_d3": a uniform cube, of which p lacks an edge: log ratio -infinity;
    * "same_tails_d4": p = q, Student's t with 1.4 degrees of freedom.

    The last twelve are of the kinds of shift on which the rules of
    :class:`skdre.AutoRatio` were chosen, with other parameters.

    Tuning:

    * "lumps_d1": two lumps at a distance from a Gaussian between them;
    * "checkerboard": Gaussians on the black fields against those on the white;
    * "spirals": two arms of a spiral;
    * "narrow_d3": a fiftieth of the variance;
    * "cubic_d3", "banana_d4", "far_funnel_d10", "cubic_d50": Gaussians whose means lie
      3, 2, 3 and 2 apart, seen through a map;
    * "exp_d8": the same 1 apart, the numerator's columns correlated;
    * "skewed_d3": gamma against log-normal columns;
    * "shell_d5": the shell of a ball against a Gaussian;
    * "scale_d10": 1 / 2.25 of the variance;
    * "same_t4_d10": p = q, Student's t with 4 degrees of freedom in each column;
    * "t2_d10": Student's t with 2, shifted by 0.7;
    * "far_clusters_d20": six Gaussians against six others, 6 from the origin;
    * "laplace_d20": Laplace against normal columns of the same variance;
    * "correlated_d20_weakly": correlations of 0.6 in ten pairs;
    * "far_gaussians_d30": means 4 apart, the numerator's columns correlated.

    Examples
    --------
    >>> from skdre.datasets import make_known_ratio
    >>> shift = make_known_ratio("moons", (200, 300), random_state=0)
    >>> shift.numerator.shape, shift.denominator.shape
    ((200, 2), (300, 2))
    """
    problems = {key: make for role in _PROBLEMS.values() for key, make in role.items()}
    if name not in problems:
        raise ValueError(
            f"name must be one of known_ratio_problems(), {sorted(problems)}, got "
            f"{name!r}."
        )
    return problems[name](n_samples=n_samples, random_state=random_state)
