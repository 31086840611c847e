"""Shifts with a known log ratio, and shifts made from labelled data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_expit
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length

from skdre._compat import (
    Interval,
    StrOptions,
    num_samples,
    safe_indexing,
    validate_params,
)
from skdre._core.columns import check_rows
from skdre._core.docs import shared_docs
from skdre._core.frames import is_frame
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre._core.values import refuse_masked
from skdre.base import pool


@dataclass(frozen=True, eq=False)
class Shift:
    """Two samples whose density ratio is known at every x.

    The samples are drawn in a latent space and shown through an invertible map
    x = g(z), which leaves the ratio as it is. A data set without a latent space has
    the identity for g.

    Attributes
    ----------
    numerator : ndarray of shape (n_numerator, n_features)
        Rows drawn from p.
    denominator : ndarray of shape (n_denominator, n_features)
        Rows drawn from q.
    latent_numerator : ndarray of shape (n_numerator, n_features)
        z of the numerator's rows.
    latent_denominator : ndarray of shape (n_denominator, n_features)
        z of the denominator's rows.
    inverse : callable
        The map from x of shape (n_samples, n_features) back to z.
    latent_log_ratio : callable
        The log ratio as a function of z, in nats.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    latent_numerator: np.ndarray
    latent_denominator: np.ndarray
    inverse: Callable[[np.ndarray], np.ndarray]
    latent_log_ratio: Callable[[np.ndarray], np.ndarray]

    def log_ratio(self, X: Rows) -> Floats:
        """True log ratio at the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, not only those of the samples.

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            log p(x) - log q(x), in nats.

        Raises
        ------
        ValueError
            If X has the wrong number of columns, or holds a row outside the support
            of both distributions, where the ratio is not defined.
        """
        X = check_rows(X)
        n_features = self.numerator.shape[1]
        if X.shape[1] != n_features:
            raise ValueError(
                f"X has {X.shape[1]} features, but the shift has {n_features}."
            )
        return self.latent_log_ratio(self.inverse(X))

    def pool(self) -> tuple[np.ndarray, np.ndarray]:
        """Both samples as one labelled set, the way ratio estimators are fitted.

        Returns
        -------
        X : ndarray of shape (n_numerator + n_denominator, n_features)
            The numerator's rows, then the denominator's.
        y : ndarray of int of shape (n_numerator + n_denominator,)
            1 for the numerator's rows, 0 for the denominator's.
        """
        return pool(numerator=self.numerator, denominator=self.denominator)


def _identity(z):
    return z.copy()


def _exp(z):
    return np.exp(1.5 * z)


def _exp_inverse(x):
    if (x <= 0).any():
        raise ValueError(
            "X holds values of 0 or less, outside the support of both distributions: "
            "under warp='exp' every value is positive."
        )
    return np.log(x) / 1.5


def _cubic(z):
    return z**3 + 0.1 * z


def _cubic_inverse(x):
    # The one real root of z^3 + c z = x for c > 0, in the hyperbolic form, which does
    # not cancel near 0 as Cardano's two cube roots do.
    c = 0.1
    angle = np.arcsinh(1.5 / c * np.sqrt(3 / c) * x)
    return 2 * np.sqrt(c / 3) * np.sinh(angle / 3)


def _sinh(z):
    return np.sinh(2 * z)


def _sinh_inverse(x):
    return np.arcsinh(x) / 2


def _banana(z):
    x = z.copy()
    x[:, 1] += 3 * z[:, 0] ** 2 - 3
    return x


def _banana_inverse(x):
    z = x.copy()
    z[:, 1] -= 3 * x[:, 0] ** 2 - 3
    return z


def _funnel(z):
    x = z * np.exp(1.5 * z[:, :1])
    x[:, 0] = 1.5 * z[:, 0]
    return x


def _funnel_inverse(x):
    z = x * np.exp(-x[:, :1])
    z[:, 0] = x[:, 0] / 1.5
    return z


_WARPS = {
    "identity": (_identity, _identity),
    "exp": (_exp, _exp_inverse),
    "cubic": (_cubic, _cubic_inverse),
    "sinh": (_sinh, _sinh_inverse),
    "banana": (_banana, _banana_inverse),
    "funnel": (_funnel, _funnel_inverse),
}


def _gaussian_shift_log_ratio(z, *, mean, covariance):
    """Log ratio of N(mean, covariance) to N(0, I)."""
    precision = np.linalg.inv(covariance)
    # Written so that nothing is subtracted where the covariance is I.
    curvature = np.eye(len(mean)) - precision
    linear = precision @ mean
    constant = mean @ linear + np.linalg.slogdet(covariance)[1]
    return z @ linear + 0.5 * ((z @ curvature) * z).sum(axis=1) - 0.5 * constant


def _check_covariance(covariance, n_features):
    covariance = np.asarray(covariance, dtype=np.float64)
    if covariance.ndim == 0:
        covariance = covariance * np.eye(n_features)
    shape = (n_features, n_features)
    if covariance.shape != shape or not np.array_equal(covariance, covariance.T):
        raise ValueError(
            f"covariance must be a number or a symmetric matrix of shape {shape}, got "
            f"{covariance!r}."
        )
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"covariance must be positive definite, got {covariance!r}."
        ) from error
    return covariance, factor


def _check_n_features(n_features):
    # An Integral to validate_params.
    if isinstance(n_features, bool):
        raise ValueError(f"n_features must be a positive int, got {n_features!r}.")


def _check_sample_sizes(n_samples):
    sizes = (n_samples,) * 2 if isinstance(n_samples, Integral) else tuple(n_samples)
    if len(sizes) != 2 or not all(
        isinstance(n, Integral) and not isinstance(n, bool) and n > 0 for n in sizes
    ):
        raise ValueError(
            "n_samples must be a positive int or a pair of them, "
            f"(n_numerator, n_denominator), got {n_samples!r}."
        )
    return sizes


@shared_docs
@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "warp": [StrOptions(set(_WARPS))],
        "mean_shift": [Interval(Real, 0, None, closed="left")],
        "covariance": [Interval(Real, 0, None, closed="neither"), "array-like"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_warped_shift(
    n_samples: int | Sequence[int] = 1000,
    n_features: int = 2,
    *,
    warp: str = "identity",
    mean_shift: float = 1.0,
    covariance: npt.ArrayLike = 1.0,
    random_state: RandomState = None,
) -> Shift:
    """Two Gaussian samples seen through an invertible map, the ratio known.

    The numerator is z ~ N(mu, S) and the denominator z ~ N(0, I), with all components
    of mu equal and ``mean_shift`` its length; what is shown is x = g(z). The ratio at x
    is that at z, with S = I log r = mu'z - mu'mu / 2, whatever g is (Lemma 1 of [1]_),
    while the geometry, which kernel methods depend on, is not: the shift shows what a
    good representation is worth.

    Parameters
    ----------
    %(two_sizes)
    n_features : int, default=2
        Dimension; at least 2 for ``warp="banana"``, where it bends the second column
        by the first.
    warp : {"identity", "exp", "cubic", "sinh", "banana", "funnel"}, default="identity"
        The map g:

        * "identity": x = z;
        * "exp": x = exp(1.5 z), skewed columns;
        * "cubic": x = z^3 + 0.1 z, heavy tails and a sharp peak;
        * "sinh": x = sinh(2 z), both tails as long as those of "exp";
        * "banana": x_2 = z_2 + 3 z_1^2 - 3, the other columns as they are;
        * "funnel": x_1 = 1.5 z_1, the other columns z exp(1.5 z_1).
    mean_shift : float, default=1.0
        Length of mu; with 0, and `covariance` as it is, the samples come from one
        distribution.
    covariance : float or array-like of shape (n_features, n_features), default=1.0
        S, positive definite; a number stands for that multiple of I.
    %(same_data)

    Returns
    -------
    shift : Shift
        The samples, in x and in z, and the true log ratio.

    Raises
    ------
    ValueError
        If a parameter is out of its range, the covariance is not one, or the warp needs
        more columns.

    References
    ----------
    .. [1] Choi, Liao and Ermon, "Featurized density ratio estimation", UAI 2021.

    Examples
    --------
    >>> from skdre.datasets import make_warped_shift
    >>> shift = make_warped_shift((300, 200), 2, warp="banana", random_state=0)
    >>> shift.numerator.shape, shift.denominator.shape
    ((300, 2), (200, 2))
    >>> shift.log_ratio([[0.0, -3.0]])
    array([-0.5])
    """
    n_numerator, n_denominator = _check_sample_sizes(n_samples)
    _check_n_features(n_features)
    if warp in ("banana", "funnel") and n_features < 2:
        raise ValueError(
            f"n_features must be at least 2 for warp={warp!r}, got {n_features}."
        )
    covariance, factor = _check_covariance(covariance, n_features)
    rng = check_random_state(random_state)
    mean = np.full(n_features, mean_shift / np.sqrt(n_features))
    z_p = rng.standard_normal((n_numerator, n_features)) @ factor.T + mean
    z_q = rng.standard_normal((n_denominator, n_features))
    forward, inverse = _WARPS[warp]
    return Shift(
        numerator=forward(z_p),
        denominator=forward(z_q),
        latent_numerator=z_p,
        latent_denominator=z_q,
        inverse=inverse,
        latent_log_ratio=partial(
            _gaussian_shift_log_ratio, mean=mean, covariance=covariance
        ),
    )


@dataclass(frozen=True, eq=False)
class SelectionShift:
    """A covariate shift made from one labelled data set by selecting its rows.

    Attributes
    ----------
    X_source, y_source : array-like of shape (n_source, n_features) and (n_source,)
        The rows that the selection kept.
    X_target, y_target : array-like of shape (n_target, n_features) and (n_target,)
        A random sample of the rows, not selected.
    source_index, target_index : ndarray of int of shape (n_source,) or (n_target,)
        Their positions in the data, in increasing order.
    source_log_ratio, target_log_ratio : ndarray of shape (n_source,) or (n_target,)
        Log ratio of the target to the source at these rows, in nats. Exact up to the
        normalising constant, which is estimated by a mean over all rows.
    """

    X_source: Any
    y_source: Any
    X_target: Any
    y_target: Any
    source_index: np.ndarray
    target_index: np.ndarray
    source_log_ratio: np.ndarray
    target_log_ratio: np.ndarray

    def pool(self) -> tuple[Any, np.ndarray]:
        """Both samples as one labelled set: the target over the source.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_target + n_source, n_features)
            The target's rows, then the source's.
        y : ndarray of int of shape (n_target + n_source,)
            1 for the target's rows, 0 for the source's.
        """
        return pool(numerator=self.X_target, denominator=self.X_source)


def _score_of_rows(X: Any, score: int | str | Values) -> Floats:
    """The score as an array of numbers, one for each row of X."""
    given = f"score={score!r}" if isinstance(score, Integral | str) else "score"
    if isinstance(score, bool):
        raise ValueError(f"{given} names no column of X: give its position or name.")
    if isinstance(score, Integral | str):
        framed = is_frame(X)
        if not framed:
            X = np.asarray(X)
        if len(X.shape) != 2:
            raise ValueError(
                f"{given} is to name a column of X, which must be two-dimensional for "
                f"that, got shape {tuple(X.shape)}."
            )
        if isinstance(score, Integral):
            known = -X.shape[1] <= score < X.shape[1]
        else:
            known = framed and score in list(X.columns)
        if not known:
            columns = f"X has {X.shape[1]} columns"
            if framed:
                columns += f", {list(map(str, X.columns))}"
            raise ValueError(f"{given} names no column of X: {columns}.")
        score = safe_indexing(X, score, axis=1)
    refuse_masked(score, "score")
    try:
        values = np.asarray(score)
        if values.dtype.kind in "cMmUS":
            raise TypeError(f"its dtype is {values.dtype}")
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{given} must give a number for each row: {error}."
        ) from error


@validate_params(
    {
        "X": ["array-like"],
        "y": ["array-like"],
        "score": [Integral, str, "array-like"],
        "strength": [Interval(Real, None, None, closed="neither")],
        "target_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_selection_shift(
    X: Rows,
    y: Values,
    *,
    score: int | str | Values,
    strength: float = 2.0,
    target_fraction: float = 0.5,
    random_state: RandomState = None,
) -> SelectionShift:
    """Make a covariate shift from labelled data by selecting rows on X alone.

    A random part of the rows becomes the target. Of the others, each is kept for the
    source with probability 1 / (1 + exp(-strength t)), t the standardised score of the
    row. The selection does not look at y, so that p(y | x) is the same in both parts
    [1]_, and the ratio target / source is the mean of that probability over its value
    at x.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_samples, n_features)
        Rows.
    y : array-like of shape (n_samples,)
        Their labels or values, carried along.
    score : int, str or array-like of shape (n_samples,)
        What the selection depends on: a column of X, by position or by name, or a
        value for each row, which must be a function of the row of X.
    strength : float, default=2.0
        How sharply the chance of being kept rises with the score; with a negative
        value it falls, with 0 there is no shift.
    target_fraction : float, default=0.5
        Part of the rows that becomes the target.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same selection on every call.

    Returns
    -------
    shift : SelectionShift

    Raises
    ------
    ValueError
        If the lengths differ, the score names no column of X, holds no numbers, is
        constant or not finite, or no row is left for the source or the target.

    References
    ----------
    .. [1] Shimodaira, "Improving predictive inference under covariate shift by
       weighting the log-likelihood function", Journal of Statistical Planning and
       Inference 90 (2000).

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skdre.datasets import make_selection_shift
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> shift = make_selection_shift(X, y, score=0, strength=-2.0, random_state=0)
    >>> bool(shift.X_source[:, 0].mean() < shift.X_target[:, 0].mean())
    True
    """
    check_consistent_length(X, y)
    score = _score_of_rows(X, score)
    if score.shape != (n_rows := num_samples(X),):
        raise ValueError(
            f"score must hold one value for each of the {n_rows} rows of X, got shape "
            f"{score.shape}."
        )
    if n_rows < 2:
        raise ValueError(f"X must have two rows at least, got {n_rows}.")
    if not np.isfinite(score).all() or np.ptp(score) == 0:
        raise ValueError("score must be finite and not the same for every row.")
    log_keep = log_expit(strength * (score - score.mean()) / score.std())
    log_ratio = np.log(np.exp(log_keep).mean()) - log_keep

    rng = check_random_state(random_state)
    n_target = round(target_fraction * n_rows)
    order = rng.permutation(n_rows)
    target, rest = np.sort(order[:n_target]), np.sort(order[n_target:])
    source = rest[np.log(rng.uniform(size=len(rest))) < log_keep[rest]]
    for name, index in (("source", source), ("target", target)):
        if len(index) == 0:
            raise ValueError(
                f"No row is left for the {name}, with strength={strength} and "
                f"target_fraction={target_fraction} on {n_rows} rows."
            )
    return SelectionShift(
        X_source=safe_indexing(X, source),
        y_source=safe_indexing(y, source),
        X_target=safe_indexing(X, target),
        y_target=safe_indexing(y, target),
        source_index=source,
        target_index=target,
        source_log_ratio=log_ratio[source],
        target_log_ratio=log_ratio[target],
    )
