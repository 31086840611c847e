"""From density ratios to weights: pure functions on arrays.

A density ratio becomes a weight in a few steps that every use shares: flatten it, cap
it, scale it, look at how many rows are left in effect, perhaps draw rows with it. Each
step is a function here; :func:`importance_weights` does the first three at once from
the log ratio, where nothing overflows.

Under ``sklearn.config_context(array_api_dispatch=True)`` the results are arrays of the
library and on the device of what comes.
"""

from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from skdre._core.arrays import HOST, Place, place_of, to_host
from skdre._core.types import Floats, Values
from skdre._core.values import refuse_masked

__all__ = [
    "clip",
    "effective_sample_size",
    "flatten",
    "importance_weights",
    "mixture_weights",
    "resample",
    "self_normalize",
]


def _largest(place: Place) -> float:
    """The largest float of a place's precision."""
    return float(place.xp.finfo(place.dtype).max)


def _check_weights(
    weights: Values,
    name: str = "weights",
    *,
    some_positive: bool = False,
    place: Place | None = None,
) -> tuple[Place, Floats]:
    """One-dimensional weights, finite and not negative, and where they are."""
    place, weights = _check_vector(weights, name, place)
    xp = place.xp
    if not xp.all(xp.isfinite(weights)):
        raise ValueError(f"{name} must be finite, got NaN or infinity.")
    if xp.any(weights < 0):
        raise ValueError(f"{name} must not be negative, got {xp.min(weights)!r}.")
    if some_positive and not xp.any(weights > 0):
        raise ValueError(f"{name} are all zero: at least one must be positive.")
    return place, weights


def _check_vector(
    values: Values, name: str, place: Place | None = None
) -> tuple[Place, Floats]:
    """One-dimensional floats, and where they are: there, or where they came."""
    refuse_masked(values, name)
    place = place_of(values) if place is None else place
    checked = _at(values, place)
    if place.is_host:
        is_real = checked.dtype.kind in "biuf"
    else:
        kinds = ("bool", "integral", "real floating")
        is_real = place.xp.isdtype(checked.dtype, kinds)
    if not is_real:
        raise TypeError(
            f"{name} must hold real numbers, got an array of dtype {checked.dtype}."
        )
    if checked.ndim != 1:
        raise ValueError(
            f"{name} must have shape (n_samples,), got shape {tuple(checked.shape)}."
        )
    if checked.shape[0] == 0:
        raise ValueError(f"{name} is empty: at least one row is needed.")
    if place.is_host:
        return place, checked.astype(np.float64)
    return place, place.xp.astype(checked, place.dtype)


def _at(values: Values, place: Place) -> Any:
    """Values as an array of a place."""
    if place.is_host:
        return np.asarray(to_host(values))
    return place.put(values if hasattr(values, "dtype") else np.asarray(values))


def _check_number(value: float, name: str, *, positive: bool = False) -> float:
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not np.isfinite(value) or value < 0 or (positive and value == 0):
        wanted = "positive" if positive else "not negative"
        raise ValueError(f"{name} must be finite and {wanted}, got {value!r}.")
    return float(value)


def self_normalize(weights: Values, *, total: float | str = 1.0) -> Floats:
    r"""Scale weights so that they sum to a given total.

    Parameters
    ----------
    weights : array-like of shape (n_samples,)
        Weights, not negative.
    total : float or "n_samples", default=1.0
        The sum after scaling. 1 gives the self-normalised importance weights that
        average a function, ``weights @ f(X)``. ``"n_samples"`` gives weights of mean
        1, the right scale for ``sample_weight``: the sum of losses keeps its size
        beside a penalty, so ``C`` or ``alpha`` mean what they mean without weights.

    Returns
    -------
    weights : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If weights are empty, negative, not finite or all zero, or total is not
        positive.

    References
    ----------
    K. Choi, M. Liao, S. Ermon, "Featurized Density Ratio Estimation", UAI 2021,
    Appendix D.1.

    Examples
    --------
    >>> from skdre.weighting import self_normalize
    >>> self_normalize([1.0, 3.0])
    array([0.25, 0.75])
    >>> self_normalize([1.0, 3.0], total="n_samples")
    array([0.5, 1.5])
    """
    place, weights = _check_weights(weights, some_positive=True)
    if isinstance(total, str):
        if total != "n_samples":
            raise ValueError(
                f"total must be a positive number or 'n_samples', got {total!r}."
            )
        total = float(weights.shape[0])
    total = _check_number(total, "total", positive=True)
    # Scaled by the largest first, the sum of huge weights does not overflow.
    shares = weights / place.xp.max(weights)
    return shares / place.xp.sum(shares) * total


def flatten(weights: Values, gamma: float) -> Floats:
    r"""Raise weights to a power, :math:`w_i^\gamma`.

    An exponent below 1 trades bias for variance: 1 keeps the weights, 0 makes all
    rows equal.

    Parameters
    ----------
    weights : array-like of shape (n_samples,)
        Weights, not negative.
    gamma : float
        Exponent, not negative.

    Returns
    -------
    weights : ndarray of shape (n_samples,)
        Powers that would overflow saturate at the largest float. Zeros stay zero,
        except under ``gamma=0``, where every weight is 1.

    Raises
    ------
    ValueError
        If weights are empty, negative or not finite, or gamma is negative.

    References
    ----------
    K. Choi, M. Liao, S. Ermon, "Featurized Density Ratio Estimation", UAI 2021,
    Appendix D.1.

    H. Shimodaira, "Improving predictive inference under covariate shift by weighting
    the log-likelihood function", J. Statist. Plann. Inference 90, 2000, Section 5.

    Examples
    --------
    >>> from skdre.weighting import flatten
    >>> flatten([0.0, 1.0, 4.0], 0.5)
    array([0., 1., 2.])
    """
    place, weights = _check_weights(weights)
    gamma = _check_number(gamma, "gamma")
    with np.errstate(over="ignore"):
        return place.xp.clip(weights**gamma, None, _largest(place))


def clip(weights: Values, upper: float, *, lower: float = 0.0) -> Floats:
    r"""Limit weights to an interval.

    A cap bounds the influence of single rows, and with it the variance, at the price
    of a bias towards the unweighted answer where the cap binds.

    Parameters
    ----------
    weights : array-like of shape (n_samples,)
        Weights, not negative.
    upper : float
        Largest weight, positive.
    lower : float, default=0.0
        Smallest weight, at most `upper`.

    Returns
    -------
    weights : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If weights are empty, negative or not finite, or the limits do not satisfy
        0 <= lower <= upper, 0 < upper.

    References
    ----------
    E. L. Ionides, "Truncated importance sampling", J. Comput. Graph. Statist. 17,
    2008.

    Examples
    --------
    >>> from skdre.weighting import clip
    >>> clip([0.5, 2.0, 40.0], 10.0)
    array([ 0.5,  2. , 10. ])
    """
    place, weights = _check_weights(weights)
    upper = _check_number(upper, "upper", positive=True)
    lower = _check_number(lower, "lower")
    if lower > upper:
        raise ValueError(f"lower must be at most upper, got {lower!r} > {upper!r}.")
    return place.xp.clip(weights, lower, upper)


def effective_sample_size(weights: Values) -> float:
    r"""Kish's effective sample size, :math:`(\sum_i w_i)^2 / \sum_i w_i^2`.

    The number of equally weighted rows whose mean has the variance of the weighted
    mean of independent rows: ``n_samples`` for equal weights, 1 where a single row
    carries everything. The scale of the weights does not matter.

    Parameters
    ----------
    weights : array-like of shape (n_samples,)
        Weights, not negative.

    Returns
    -------
    size : float
        Between 1 and n_samples.

    Raises
    ------
    ValueError
        If weights are empty, negative, not finite or all zero.

    References
    ----------
    L. Kish, "Survey Sampling", Wiley 1965, Section 11.7.

    Examples
    --------
    >>> from skdre.weighting import effective_sample_size
    >>> effective_sample_size([1.0, 1.0, 0.0])
    2.0
    """
    place, weights = _check_weights(weights, some_positive=True)
    shares = weights / place.xp.max(weights)
    # Between its bounds whatever the rounding.
    size = float(place.xp.sum(shares) ** 2 / (shares @ shares))
    return float(np.clip(size, 1.0, shares.shape[0]))


def importance_weights(
    log_ratio: Values,
    *,
    sample_weight: Values | None = None,
    flattening: float = 1.0,
    clip: float | None = None,
    normalize: bool = True,
) -> Floats:
    r"""Weights from a log density ratio: flattened, clipped, scaled, in that order.

    Equal to ``self_normalize(clip(flatten(ratio, flattening), clip),
    total="n_samples")``, but computed in log space, so that a ratio of any size gives
    right weights.

    Parameters
    ----------
    log_ratio : array-like of shape (n_samples,)
        Natural logarithm of the density ratio at each row; minus infinity is a ratio
        of 0.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights the rows have already, repetition counts; they multiply the result.
    flattening : float, default=1.0
        Exponent of the ratio, see :func:`flatten`.
    clip : float, default=None
        Largest value of the flattened ratio, before it is scaled.
    normalize : bool, default=True
        Scale the ratio to mean 1 over the rows, each counted `sample_weight` times,
        so that the weights sum to what `sample_weight` sums to.

    Returns
    -------
    weights : ndarray of shape (n_samples,)
        Finite and not negative. Without `normalize`, a weight that would overflow is
        the largest float.

    Raises
    ------
    ValueError
        If log_ratio holds NaN or plus infinity, or no row is left with a positive
        weight; or a parameter is out of its range.

    Examples
    --------
    >>> from skdre.weighting import importance_weights
    >>> importance_weights([1000.0, 1000.0 + np.log(3.0)])
    array([0.5, 1.5])
    """
    place, log_ratio = _check_vector(log_ratio, "log_ratio")
    xp = place.xp
    if xp.any(xp.isnan(log_ratio)) or xp.any(log_ratio == np.inf):
        raise ValueError("log_ratio must not hold NaN or plus infinity.")
    flattening = _check_number(flattening, "flattening")
    if sample_weight is None:
        sample_weight = np.ones(log_ratio.shape)
    _, sample_weight = _check_weights(
        sample_weight, "sample_weight", some_positive=True, place=place
    )
    if sample_weight.shape != log_ratio.shape:
        raise ValueError(
            "sample_weight must have one weight for each row of log_ratio, got shapes "
            f"{tuple(sample_weight.shape)} and {tuple(log_ratio.shape)}."
        )

    # 0 * -inf is NaN, while a power of zero is one.
    log_weight = log_ratio * flattening if flattening else xp.zeros_like(log_ratio)
    if clip is not None:
        clip = _check_number(clip, "clip", positive=True)
        log_weight = xp.clip(log_weight, None, float(np.log(clip)))

    with np.errstate(divide="ignore"):
        log_weight = log_weight + xp.log(sample_weight)
    largest = xp.max(log_weight)
    if largest == -np.inf:
        raise ValueError(
            "log_ratio is minus infinity, a ratio of 0, at every row of positive "
            "sample_weight: no row is left to weight."
        )
    if normalize:
        weights = xp.exp(log_weight - largest)
        # The total is taken apart too, so that no intermediate result overflows.
        scale = xp.max(sample_weight)
        return weights / xp.sum(weights) * xp.sum(sample_weight / scale) * scale
    with np.errstate(over="ignore"):
        return xp.clip(xp.exp(log_weight), None, _largest(place))


def mixture_weights(
    log_ratio: Values, share: float, *, target: str = "numerator"
) -> Floats:
    r"""Weights that turn rows of a mixture of both samples into rows of one of them.

    A density that was fitted to the pooled rows of p and q is one of the mixture
    :math:`h = \pi p + (1 - \pi) q`. With r = p / q its rows have the weights

    .. math:: \frac{p}{h} = \frac{r}{\pi r + 1 - \pi}, \qquad
              \frac{q}{h} = \frac{1}{\pi r + 1 - \pi}

    for the targets p and q. Unlike r itself they are bounded, by :math:`1 / \pi` and
    :math:`1 / (1 - \pi)`, one over the target's share.

    Parameters
    ----------
    log_ratio : array-like of shape (n_samples,)
        Natural logarithm of p / q at rows of the mixture; minus infinity is a ratio of
        0, plus infinity one where q is 0.
    share : float
        Share :math:`\pi` of p, the numerator, in the mixture; between 0 and 1, both
        excluded. For a density fitted to rows that all count the same it is
        n_p / (n_p + n_q); :class:`skdre.FlowFeaturizer` counts each sample half if it
        is given their labels, and then it is 1/2 whatever the sizes.
    target : {"numerator", "denominator"}, default="numerator"
        The distribution to get to: p or q.

    Returns
    -------
    weights : ndarray of shape (n_samples,)
        Not negative and finite. Their mean over rows of the mixture is 1 when ratio
        and share are right.

    Raises
    ------
    ValueError
        If log_ratio is empty or holds NaN, share is not between 0 and 1, or target is
        unknown.

    See Also
    --------
    skdre.TargetedSampler : Draws rows of one distribution from a flow fitted to both.

    Notes
    -----
    Appendix D.4 of the paper has the weight for the target p and shares that are
    equal, :math:`r / (\frac{1}{2} (r + 1))`; its experiment has the target q. For
    samples of different sizes the authors' code takes the shares the other way round.

    References
    ----------
    K. Choi, M. Liao, S. Ermon, "Featurized Density Ratio Estimation", UAI 2021,
    Appendix D.4.

    Examples
    --------
    Where p is three times q, in a mixture of one part of p and three parts of q:

    >>> import numpy as np
    >>> from skdre.weighting import mixture_weights
    >>> mixture_weights([np.log(3.0)], 0.25)
    array([2.])
    >>> mixture_weights([np.log(3.0)], 0.25, target="denominator")
    array([0.66666667])
    """
    place, log_ratio = _check_vector(log_ratio, "log_ratio")
    xp = place.xp
    if xp.any(xp.isnan(log_ratio)):
        raise ValueError("log_ratio must not hold NaN.")
    share = _check_number(share, "share")
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, both excluded, got {share}.")
    if target not in ("numerator", "denominator"):
        raise ValueError(
            f"target must be 'numerator' or 'denominator', got {target!r}."
        )
    log_shares = float(np.log(share)), float(np.log1p(-share))
    # p and q change places with the sign of the log ratio.
    if target == "numerator":
        log_ratio, log_shares = -log_ratio, log_shares[::-1]
    log_share = place.full((), log_shares[1])
    return xp.exp(-xp.logaddexp(log_shares[0] + log_ratio, log_share))


def resample(
    weights: Values,
    n_samples: int | None = None,
    *,
    replace: bool = True,
    method: str = "multinomial",
    random_state: int | np.random.Generator | np.random.RandomState | None = None,
) -> npt.NDArray[np.intp]:
    r"""Draw rows with probability proportional to their weights.

    Sampling-importance-resampling: rows of a sample of q, drawn with weights
    proportional to p/q, are distributed approximately as p.

    Parameters
    ----------
    weights : array-like of shape (n_samples_in,)
        Weights, not negative.
    n_samples : int, default=None
        Number of rows to draw; by default as many as there are weights.
    replace : bool, default=True
        Whether a row may be drawn more than once. Without replacement rows are drawn
        one after the other, each with probability proportional to the weights that
        are left.
    method : {"multinomial", "systematic"}, default="multinomial"
        ``"multinomial"`` draws independently. ``"systematic"`` draws with one random
        number and evenly spaced points, the lowest variance: row i comes
        ``n_samples * w_i / sum(w)`` times, rounded up or down; the indices are
        sorted. For draws with replacement only.
    random_state : int, numpy.random.Generator or RandomState, default=None
        Seed or generator. None draws a fresh seed from the operating system; NumPy's
        global generator is not used.

    Returns
    -------
    indices : ndarray of int of shape (n_samples,)
        Positions of the rows drawn: ``X[indices]`` are the rows.

    Raises
    ------
    ValueError
        If weights are empty, negative, not finite or all zero, if n_samples is not
        positive or, without replacement, exceeds the number of positive weights, or if
        method is unknown.
    TypeError
        If n_samples is neither an int nor None.

    References
    ----------
    D. B. Rubin, "The calculation of posterior distributions by data augmentation:
    comment", J. Amer. Statist. Assoc. 82, 1987.

    J. Carpenter, P. Clifford, P. Fearnhead, "Improved particle filter for nonlinear
    problems", IEE Proc. Radar Sonar Navig. 146, 1999 (systematic).

    P. S. Efraimidis, P. G. Spirakis, "Weighted random sampling with a reservoir", Inf.
    Process. Lett. 97, 2006 (without replacement).

    Examples
    --------
    >>> from skdre.weighting import resample
    >>> resample([0.0, 1.0, 3.0], 4, method="systematic", random_state=0)
    array([1, 2, 2, 2])
    """
    # Cumulative sums and sorting are NumPy's work.
    place = place_of(weights)
    _, weights = _check_weights(to_host(weights), some_positive=True, place=HOST)
    n_samples = weights.size if n_samples is None else n_samples
    if not isinstance(n_samples, Integral) or isinstance(n_samples, bool):
        raise TypeError(f"n_samples must be an int or None, got {n_samples!r}.")
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, got {n_samples}.")
    if method not in ("multinomial", "systematic"):
        raise ValueError(
            f"method must be 'multinomial' or 'systematic', got {method!r}."
        )
    rng = _check_random_state(random_state)

    if not replace:
        if method == "systematic":
            raise ValueError("method='systematic' draws with replacement only.")
        positive = np.flatnonzero(weights)
        if n_samples > positive.size:
            raise ValueError(
                f"n_samples={n_samples} rows cannot be drawn without replacement from "
                f"{positive.size} rows of positive weight."
            )
        # In a race of exponential clocks of rates w_i the order of arrival is that of
        # draws without replacement; logarithms keep the smallest rates apart.
        with np.errstate(divide="ignore"):
            arrival = np.log(-np.log1p(-rng.random(positive.size)))
        arrival -= np.log(weights[positive])
        return place.put(positive[np.argsort(arrival, kind="stable")[:n_samples]])

    if method == "systematic":
        points = (np.arange(n_samples) + rng.random()) / n_samples
    else:
        points = rng.random(n_samples)
    cumulative = np.cumsum(weights / weights.max())
    # Rounding may carry a point to the very end; it belongs to the last positive row.
    indices = np.searchsorted(cumulative, points * cumulative[-1], side="right")
    return place.put(np.minimum(indices, np.flatnonzero(weights)[-1]))


def _check_random_state(random_state):
    if random_state is None or (
        isinstance(random_state, Integral) and not isinstance(random_state, bool)
    ):
        return np.random.default_rng(random_state)
    if isinstance(random_state, np.random.Generator | np.random.RandomState):
        return random_state
    raise ValueError(
        "random_state must be None, an int, a numpy.random.Generator or a RandomState, "
        f"got {random_state!r}."
    )
