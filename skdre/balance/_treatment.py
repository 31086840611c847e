"""treatment_weights: from a propensity score, or a ratio, to weights of an estimand."""

from numbers import Real
from typing import Any

import numpy as np
from scipy.special import expit, logit

from skdre._compat import Interval, StrOptions, validate_params
from skdre._core.types import Floats, Values
from skdre._core.values import refuse_masked
from skdre.base import encode_domains

__all__ = ["optimal_trim", "treatment_weights"]


def _given(values, n_rows, name):
    """One real number for each row."""
    refuse_masked(values, name)
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must hold real numbers, got an array of dtype {values.dtype}."
        )
    if values.shape != (n_rows,):
        raise ValueError(
            f"{name} must hold one value for each of the {n_rows} rows of treatment, "
            f"got shape {values.shape}."
        )
    values = values.astype(np.float64)
    if np.isnan(values).any():
        raise ValueError(f"{name} must not hold NaN.")
    return values


def _log_odds(propensity, log_ratio, is_treated):
    """Log odds of the propensity, from either."""
    n_rows = len(is_treated)
    if (propensity is None) == (log_ratio is None):
        raise ValueError("Give one of propensity and log_ratio, and not the other.")
    if log_ratio is not None:
        prior = logit(is_treated.mean())
        return _given(log_ratio, n_rows, "log_ratio") + prior
    propensity = _given(propensity, n_rows, "propensity")
    if (propensity < 0).any() or (propensity > 1).any():
        wrong = propensity[(propensity < 0) | (propensity > 1)][0]
        raise ValueError(f"propensity must lie between 0 and 1, got {wrong!r}.")
    return logit(propensity)


def optimal_trim(propensity):
    """Bound of the propensity that gives the average effect its smallest variance.

    Crump et al. (2009), Eq. 6, where outcomes have one variance: the largest set whose
    rows have 1 / (e (1 - e)) at most twice its mean over the set.
    """
    with np.errstate(divide="ignore"):
        cost = np.sort(1 / (propensity * (1 - propensity)))
    mean = np.cumsum(cost) / np.arange(1, len(cost) + 1)
    if cost[-1] <= 2 * mean[-1]:
        return 0.0
    last = np.flatnonzero(cost <= 2 * mean)[-1]
    # e (1 - e) = 1 / limit.
    limit = max(2 * mean[last], 4.0)
    return float(0.5 - np.sqrt(0.25 - 1 / limit))


def _kept(log_odds, trim, estimand):
    """Rows that are not trimmed away."""
    propensity = expit(log_odds)
    if isinstance(trim, str):
        trim = optimal_trim(propensity)
    if trim is None:
        return np.ones(len(log_odds), bool)
    # For the treated only rows without counterparts among the controls are in doubt.
    low = propensity >= trim if estimand != "ATT" else True
    high = propensity <= 1 - trim if estimand != "ATC" else True
    return np.broadcast_to(low & high, len(log_odds)).copy()


@validate_params(
    {
        "treatment": ["array-like"],
        "propensity": ["array-like", None],
        "log_ratio": ["array-like", None],
        "estimand": [StrOptions({"ATE", "ATT", "ATC", "ATO"})],
        "trim": [
            Interval(Real, 0, 0.5, closed="left"),
            StrOptions({"optimal"}),
            None,
        ],
        "normalize": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def treatment_weights(
    treatment: Values,
    *,
    propensity: Values | None = None,
    log_ratio: Values | None = None,
    estimand: str = "ATE",
    trim: float | str | None = None,
    normalize: bool = True,
) -> Floats:
    r"""Weights under which treated and control rows can be compared.

    Parameters
    ----------
    treatment : array-like of shape (n_samples,)
        Two labels; the greater names the treated rows.
    propensity : array-like of shape (n_samples,), default=None
        Probability of treatment e(x) at each row, from a model that has not seen the
        row (``cross_val_predict(..., method="predict_proba")[:, 1]``).
    log_ratio : array-like of shape (n_samples,), default=None
        In its place the log density ratio treated/control, as any ratio estimator of
        skdre gives it for ``fit(X, treatment)``. The share of the treated among the
        rows makes the propensity of it.
    estimand : {"ATE", "ATT", "ATC", "ATO"}, default="ATE"
        Whose average effect: that of all rows, of the treated, of the controls, or of
        the overlap population, where both occur [1]_.
    trim : float or "optimal", default=None
        Rows whose propensity is below `trim` or above 1 - `trim` get the weight 0; for
        "ATT" only the latter, for "ATC" only the former. 0.1 is a usual value;
        "optimal" is the one that makes the variance of the average effect smallest
        [2]_. The effect is then that of the rows that are left.
    normalize : bool, default=True
        Scale the weights of each group to mean 1 over its rows that are left, so that
        weighted means are those of Hájek. False leaves inverse probabilities as they
        are.

    Returns
    -------
    weights : ndarray of shape (n_samples,)
        Not negative. The estimate is the weighted mean outcome of the treated minus
        that of the controls.

    Raises
    ------
    ValueError
        If treatment does not hold two labels, not exactly one of propensity and
        log_ratio is given, values are out of their range, a group is left without
        rows, or a propensity of 0 or 1 would give an infinite weight.
    TypeError
        If propensity or log_ratio are no numbers.

    See Also
    --------
    balance_table : Whether the weights balance the groups.
    balance_weights : Weights that do so exactly.
    skdre.diagnose : Whether the groups overlap.

    Notes
    -----
    With the propensity e the weights before scaling are

    ========  ===========  ===========
    estimand  treated      controls
    ========  ===========  ===========
    ATE       1 / e        1 / (1 - e)
    ATT       1            e / (1 - e)
    ATC       (1 - e) / e  1
    ATO       1 - e        e
    ========  ===========  ===========

    A density ratio r = p(x | treated) / p(x | control) is the odds of the propensity
    without the share of the treated, :math:`e / (1 - e) = r \pi / (1 - \pi)`. So the
    weights of the controls for the ATT are the ratio itself.

    References
    ----------
    .. [1] F. Li, K. L. Morgan, A. M. Zaslavsky, "Balancing covariates via propensity
       score weighting", Journal of the American Statistical Association 113, 2018,
       Table 1.
    .. [2] R. K. Crump, V. J. Hotz, G. W. Imbens, O. A. Mitnik, "Dealing with limited
       overlap in estimation of average treatment effects", Biometrika 96, 2009.

    Examples
    --------
    >>> from skdre import treatment_weights
    >>> treatment, propensity = [0, 0, 1, 1], [0.25, 0.5, 0.5, 0.75]
    >>> treatment_weights(treatment, propensity=propensity, normalize=False)
    array([1.33333333, 2.        , 2.        , 1.33333333])
    >>> treatment_weights(treatment, propensity=propensity, estimand="ATT")
    array([0.5, 1.5, 1. , 1. ])
    """
    classes, is_treated = encode_domains(treatment, name="treatment_weights")
    log_odds = _log_odds(propensity, log_ratio, is_treated)
    kept = _kept(log_odds, trim, estimand)
    for label, group in zip(classes, (~is_treated, is_treated), strict=True):
        if not (kept & group).any():
            raise ValueError(
                f"trim={trim!r} leaves no row of treatment {label!r}: the groups "
                "hardly overlap."
            )
    weights = np.zeros(len(log_odds))
    # Log odds of having what the row has not; their sign turns with the group.
    for group, sign, alone in ((is_treated, 1, "ATT"), (~is_treated, -1, "ATC")):
        rows = kept & group
        weights[rows] = _group_weights(
            sign * log_odds[rows], estimand, alone, normalize
        )
    return weights


def _group_weights(own: Any, estimand: str, alone: str, normalize: bool) -> Floats:
    """Weights of one group from the log odds of being in it."""
    if estimand == alone:
        log_weight = np.zeros(len(own))
    elif estimand == "ATO":
        log_weight = -np.logaddexp(0, own)
    elif estimand == "ATE":
        log_weight = np.logaddexp(0, -own)
    else:
        log_weight = -own
    largest = log_weight.max()
    if largest == np.inf or (not normalize and largest > 700):
        raise ValueError(
            "A row has the probability 0 of the treatment that it has, and so an "
            "infinite weight: set trim, or take estimand='ATO'."
        )
    if not normalize:
        return np.exp(log_weight)
    if largest == -np.inf:
        raise ValueError(
            "Every row of a group has the weight 0: the groups do not overlap."
        )
    weights = np.exp(log_weight - largest)
    return weights / weights.mean()
