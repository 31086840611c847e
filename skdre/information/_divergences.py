"""f-divergences from a density ratio, as means of functions of its logarithm."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from scipy.special import log_expit
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skdre._compat import HasMethods, StrOptions, validate_params
from skdre._core.docs import shared_docs
from skdre._core.groups import error_of_means
from skdre._core.types import CrossValidator, RandomState, Rows, Values
from skdre.base import check_is_ratio, exp_log_ratio
from skdre.information._cross_fit import held_out
from skdre.information._means import Estimate
from skdre.information._pareto import pareto_k, pareto_k_threshold
from skdre.information._pool import domain_rows

__all__ = [
    "DIVERGENCES",
    "Divergence",
    "divergence",
    "divergence_of",
    "error_with_fit",
    "separated",
]


@dataclass(frozen=True)
class Divergence:
    """A divergence as a sum of two means, E_p[f(log r)] + E_q[g(log r)].

    Attributes
    ----------
    f, g : callable or None
        Of log ratios; None where the mean over that sample is left out.
    unit : str
    tail_p, tail_q : float
        Power of the ratio whose mean over that sample is in it, 0 for none: the power
        decides whether the mean is finite.
    bounded : bool
        Whether the divergence is finite for samples without overlap.
    """

    f: Callable | None
    g: Callable | None
    unit: str = ""
    tail_p: float = 0.0
    tail_q: float = 0.0
    bounded: bool = False


_KL = {
    False: Divergence(lambda s: s, None, "nats"),
    True: Divergence(lambda s: s, lambda s: 1 - exp_log_ratio(s), "nats", tail_q=1),
}
_REVERSE_KL = {
    False: Divergence(None, lambda s: -s, "nats"),
    True: Divergence(lambda s: 1 - exp_log_ratio(-s), lambda s: -s, "nats", tail_p=-1),
}
_PEARSON = {
    False: Divergence(lambda s: exp_log_ratio(s) - 1, None, tail_p=1),
    True: Divergence(
        lambda s: 2 * exp_log_ratio(s) - 1,
        lambda s: -exp_log_ratio(2 * s),
        tail_p=1,
        tail_q=2,
    ),
}
_JENSEN_SHANNON = Divergence(
    lambda s: (np.log(2) + log_expit(s)) / 2,
    lambda s: (np.log(2) + log_expit(-s)) / 2,
    "nats",
    bounded=True,
)
_TOTAL_VARIATION = Divergence(
    lambda s: (s > 0).astype(float), lambda s: -(s > 0).astype(float), bounded=True
)

# kind -> whether the bound is wanted -> the divergence. The last two are their own
# variational bounds.
DIVERGENCES = {
    "kl": _KL,
    "reverse_kl": _REVERSE_KL,
    "pearson": _PEARSON,
    "jensen_shannon": dict.fromkeys((False, True), _JENSEN_SHANNON),
    "total_variation": dict.fromkeys((False, True), _TOTAL_VARIATION),
}


def _check(name, log_ratio):
    log_ratio = np.asarray(log_ratio, dtype=np.float64)
    if log_ratio.ndim != 1 or not log_ratio.size:
        raise ValueError(
            f"{name} must have the shape (n_rows,) with a row or more, got "
            f"{log_ratio.shape}."
        )
    if np.isnan(log_ratio).any():
        raise ValueError(f"{name} contains NaN.")
    return log_ratio


def _mean(function, name, log_ratio):
    """Mean over a sample, and what each row adds to its deviation."""
    if function is None:
        return 0.0, None
    with np.errstate(over="ignore", invalid="ignore"):
        values = function(log_ratio)
        infinite = ~np.isfinite(values)
        if infinite.any():
            worst = log_ratio[infinite][0]
            ratio = "0" if worst < 0 else "infinite"
            raise ValueError(
                f"{name} has {infinite.sum()} of {len(values)} rows where the ratio is "
                f"{ratio}: there the divergence is infinite. A ratio that is {ratio} "
                "where that sample has rows is wrong, or a matter of rounding: give it "
                "a bound."
            )
        mean = values.mean()
        return mean, (values - mean) / len(values)


def divergence_of(divergence, numerator, denominator, clusters=(None, None)):
    """A divergence and its standard error, from log ratios at the two samples.

    `clusters` are the numbers of the independent observations that the rows of each
    sample belong to; the ratio is taken as given.
    """
    name = "numerator"
    p, in_p = _mean(divergence.f, name, _check(name, numerator))
    name = "denominator"
    q, in_q = _mean(divergence.g, name, _check(name, denominator))
    return float(p + q), error_of_means(in_p, in_q, clusters)


def error_with_fit(kind, numerator, denominator, clusters=(None, None)):
    """Standard error of a divergence whose ratio was fitted on the same rows.

    To first order an estimate moves by the influence function of the divergence, and
    that of the direct mean and of the bound are one: an error of the ratio adds to the
    former what the other mean takes off the latter. Infinite where that mean is.
    """
    bound = DIVERGENCES[kind][True]
    parts = []
    with np.errstate(over="ignore", invalid="ignore"):
        for function, log_ratio in ((bound.f, numerator), (bound.g, denominator)):
            values = function(np.asarray(log_ratio, dtype=np.float64))
            parts.append((values - values.mean()) / len(values))
    return error_of_means(*parts, clusters)


def separated(numerator, denominator):
    """Whether the log ratio tells the two samples apart without error."""
    return numerator.min() > denominator.max()


def _warn(divergence, kind, numerator, denominator, error):
    message = None
    if np.ptp(np.concatenate([numerator, denominator])) == 0:
        message = (
            "The ratio is the same at all rows: the estimator sees no difference "
            "between the samples, and the standard error does not say how large a "
            "difference it would see."
        )
    elif separated(numerator, denominator) and not divergence.bounded:
        message = (
            "The ratio tells the held-out rows of the two samples apart without error. "
            f"If they do not overlap, the divergence {kind!r} is infinite, and the "
            "estimate only says how far the ratio goes. 'jensen_shannon' and "
            "'total_variation' are finite, at log 2 and 1."
        )
    elif error == 0 and not separated(numerator, denominator):
        message = (
            "All held-out rows of a sample give the same value, so the standard error "
            "is 0. It does not say how far other rows would be from it: of n rows that "
            "agree, one in n / 3 may be an exception."
        )
    else:
        for power, log_ratio, name in (
            (divergence.tail_p, numerator, "numerator"),
            (divergence.tail_q, denominator, "denominator"),
        ):
            if not power:
                continue
            k = pareto_k(power * log_ratio)
            # NaN for a few rows, of which there may be one.
            limit = np.nan if np.isnan(k) else pareto_k_threshold(len(log_ratio))
            if k > limit:
                what = {1: "ratio", 2: "squared ratio", -1: "inverse ratio"}[power]
                message = (
                    f"The mean of the {what} over the {name}'s rows, which "
                    f"kind={kind!r} needs, rests on a few of them (Pareto k-hat "
                    f"{k:.2f}, above {limit:.2f}) and may be infinite: neither the "
                    "value nor its standard error can be relied on. 'jensen_shannon' "
                    "needs no such mean."
                )
    if message:
        warnings.warn(message, UserWarning, stacklevel=4)


@shared_docs
@validate_params(
    {
        "estimator": [HasMethods(["fit"])],
        "groups": ["array-like", None],
        "kind": [StrOptions(set(DIVERGENCES))],
        "bound": ["boolean"],
        "cv": ["cv_object", StrOptions({"prefit"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def divergence(
    estimator: BaseEstimator,
    X: Rows,
    y: Values,
    *,
    groups: Values | None = None,
    kind: str = "kl",
    bound: bool = False,
    cv: CrossValidator | str = 5,
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> Estimate:
    r"""Estimate how far two samples' distributions lie apart.

    The ratio is fitted on some rows and averaged over others, in turn for all
    (cross-fitting): at the rows of its own fit a ratio is too sure.

    Parameters
    ----------
    %(any_ratio)
    %(X_pool)
    %(y)
    %(groups)
    kind : {"kl", "reverse_kl", "pearson", "jensen_shannon", "total_variation"}, \
            default="kl"
        The divergence, see Notes.
    bound : bool, default=False
        Whether to take the variational lower bound: an error of the ratio then makes it
        smaller on average, and to second order only, but its variance is larger.
        "jensen_shannon" and "total_variation" are such bounds as they are.
    %(cv_folds)
    %(n_jobs)
    %(random_state) Draws the folds.

    Returns
    -------
    estimate : skdre.information.Estimate
        With ``value`` and ``standard_error``, and the log ratio of each held-out row;
        ``float(estimate)`` is the value. Its ``unit`` is "nats" or empty.

    Raises
    ------
    ValueError
        If y does not name two domains, a domain has fewer rows than there are folds, a
        log ratio is not finite, or a parameter is not as described.
    NotFittedError
        If `cv` is "prefit" and the estimator is not fitted.

    Warns
    -----
    UserWarning
        If the ratio is constant; if it separates the samples, so that the divergence
        may be infinite; if the standard error is 0 though it does not; or if a mean of
        the ratio that is needed rests on a few rows.

    See Also
    --------
    two_sample_test : Whether there is a difference at all.
    mutual_information : The divergence of pairs from independence.

    Notes
    -----
    With r = p / q, and the bound in brackets:

    * ``"kl"``, in nats: :math:`E_p[\log r]` (:math:`E_p[\log r] + 1 - E_q[r]` [1]_). It
      needs the logarithm of the ratio where p has rows.
    * ``"reverse_kl"``, in nats: :math:`-E_q[\log r]`
      (:math:`1 - E_p[1 / r] - E_q[\log r]`).
    * ``"pearson"``: :math:`E_p[r] - 1 = E_q[(r - 1)^2]`
      (:math:`2 E_p[r] - 1 - E_q[r^2]` [2]_). A few rows decide it, and it is often
      infinite: for two Gaussians, as soon as the variance of p is twice that of q.
    * ``"jensen_shannon"``, in nats:
      :math:`(E_p[\log \frac{2 r}{1 + r}] + E_q[\log \frac{2}{1 + r}]) / 2`, log 2 minus
      the log loss behind every ``score``. Between 0 and log 2.
    * ``"total_variation"``: :math:`P_p(r > 1) - P_q(r > 1) = E_q|r - 1| / 2`. Between 0
      and 1. As the one above it is finite for any samples, and needs the ratio near 1
      only.

    The standard error is that of the influence function of the divergence, which counts
    what the estimated ratio adds: to first order an estimate of the direct kind moves
    as the bound in brackets does, so both have its error. It covers as it says where
    the ratio is of the right form ("Measure information" has the figures). It does not
    know of a ratio of the wrong form, nor of regions that neither sample has rows in,
    and it rests on as few rows as the means of the bound do. With ``cv="prefit"`` it is
    that of the means alone, given the ratio. Near p = q an estimate can be below 0, and
    is not cut off there.

    References
    ----------
    .. [1] X. Nguyen, M. J. Wainwright, M. I. Jordan. "Estimating divergence functionals
       and the likelihood ratio by convex risk minimization", IEEE Trans. Inf. Theory
       56, 2010.
    .. [2] M. Sugiyama, T. Suzuki, T. Kanamori. "Density Ratio Estimation in Machine
       Learning", Cambridge University Press 2012, section 11.

    Examples
    --------
    N(1, 1) against N(0, 1) is half a nat:

    >>> import numpy as np
    >>> from skdre import GaussianRatio, divergence, pool
    >>> rng = np.random.default_rng(0)
    >>> p, q = rng.normal(1, 1, (2000, 1)), rng.normal(0, 1, (2000, 1))
    >>> X, y = pool(numerator=p, denominator=q)
    >>> estimate = divergence(GaussianRatio(), X, y, random_state=0)
    >>> bool(abs(float(estimate) - 0.5) < 2 * estimate.standard_error)
    True
    >>> divergence(GaussianRatio(), X, y, kind="total_variation", random_state=0).unit
    ''
    """
    check_is_ratio(estimator, fitted=isinstance(cv, str))
    rng = check_random_state(random_state)
    given = domain_rows("divergence", X, y, groups)
    rows = held_out(estimator, given, cv=cv, rng=rng, n_jobs=n_jobs)
    chosen = DIVERGENCES[kind][bool(bound)]
    value, error = divergence_of(
        chosen,
        rows.numerator,
        rows.denominator,
        given.clusters(),
    )
    if not isinstance(cv, str):
        error = error_with_fit(kind, rows.numerator, rows.denominator, given.clusters())
    _warn(chosen, kind, rows.numerator, rows.denominator, error)
    return Estimate(value, error, kind, rows.numerator, rows.denominator, chosen.unit)
