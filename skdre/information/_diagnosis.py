"""Whether a ratio can be relied on: figures, each with a word of judgement."""

from dataclasses import dataclass, field
from html import escape
from numbers import Integral

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skdre._compat import HasMethods, StrOptions, safe_indexing, validate_params
from skdre._core.docs import shared_docs
from skdre._core.groups import error_of_means
from skdre._core.types import CrossValidator, Floats, RandomState, Rows, Values
from skdre.base import check_is_ratio, has_ratio_interval, predict_ratio_interval
from skdre.information._calibration_line import calibration_line
from skdre.information._cross_fit import held_out
from skdre.information._divergences import DIVERGENCES, divergence_of, separated
from skdre.information._pareto import pareto_k, pareto_k_threshold
from skdre.information._pool import domain_rows
from skdre.weighting import effective_sample_size

__all__ = ["Figure", "RatioDiagnosis", "diagnose", "diagnosis_of"]

# Rows in effect: the mean of 100 has a tenth of the spread of a single row, and below
# 30 its own standard error is not known either.
_FEW_ROWS, _MANY_ROWS = 30, 100

# So many rows or fewer have no tail, as in `pareto_k`.
_NO_TAIL = 25

# Share of rows outside the other sample's support.
_FEW_OUTSIDE, _MANY_OUTSIDE = 0.01, 0.1

# Of a ratio whose mean is 1, a sample's mean is above 20 one time in 20 at most
# (Markov), whatever its tail.
_LARGEST_MEAN = 20

# Of a typical interval of the log ratio, in nats: a factor of 2 between its ends, 10.
_NARROW, _WIDE = np.log(2), np.log(10)

_COLORS = {"good": "#2e7d32", "fair": "#a86500", "poor": "#b71c1c", "unknown": "#666"}


@dataclass(frozen=True)
class Figure:
    """One figure of a diagnosis.

    Attributes
    ----------
    name : str
    value : float
    standard_error : float
        NaN where there is none.
    grade : {"good", "fair", "poor", "unknown"}
    words : str
        Why.
    of : str
        What the value is to be read against, such as "of 500".
    digits : int, default=3
        Decimals that are shown.

    Examples
    --------
    >>> from skdre.information import Figure
    >>> figure = Figure("mean of the ratio", 1.02, 0.05, "good", "1 as it should be")
    >>> figure.shown
    '1.020 ± 0.050'
    """

    name: str
    value: float
    standard_error: float
    grade: str
    words: str
    of: str = ""
    digits: int = 3

    @property
    def shown(self) -> str:
        """The value with its standard error, as text."""
        text = f"{self.value:.{self.digits}f}"
        if np.isfinite(self.standard_error):
            text += f" ± {self.standard_error:.{self.digits}f}"
        return f"{text} {self.of}".rstrip()


@dataclass(frozen=True, eq=False)
class RatioDiagnosis:
    """What :func:`diagnose` returns: prints as a table, and as HTML in a notebook.

    ``diagnosis["pareto_k"]`` is one figure, with ``value``, ``standard_error``,
    ``grade`` and ``words``.

    Attributes
    ----------
    figures : dict of str to Figure
    log_ratios : ndarray of shape (n_numerator,)
        At the numerator's rows, held out.
    denominator_log_ratios : ndarray of shape (n_denominator,)
        At the denominator's rows, held out.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import GaussianRatio, diagnose
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = X[:, 0] > 0
    >>> diagnosis = diagnose(GaussianRatio(), X, y, random_state=0)
    >>> print(str(diagnosis).splitlines()[0])
    Density ratio at 92 rows of the numerator and 108 of the denominator, held out
    >>> diagnosis["numerator_outside"].grade
    'poor'
    """

    figures: dict[str, Figure]
    log_ratios: Floats = field(repr=False)
    denominator_log_ratios: Floats = field(repr=False)

    def __getitem__(self, key: str) -> Figure:
        return self.figures[key]

    def _title(self):
        return (
            f"Density ratio at {len(self.log_ratios)} rows of the numerator and "
            f"{len(self.denominator_log_ratios)} of the denominator, held out"
        )

    def __repr__(self):
        rows = [(each.name, each.shown, each.grade) for each in self.figures.values()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [self._title(), ""]
        for row, each in zip(rows, self.figures.values(), strict=True):
            cells = map(str.ljust, row, widths)
            lines.append("  ".join([*cells, each.words]).rstrip())
        return "\n".join(lines)

    def _repr_html_(self):
        lines = [
            "<table>",
            f"<caption>{escape(self._title())}</caption>",
            "<thead><tr><th>Figure</th><th>Value</th><th>Judgement</th></tr></thead>",
            "<tbody>",
        ]
        for each in self.figures.values():
            grade = f'<b style="color:{_COLORS[each.grade]}">{each.grade}</b>'
            words = f": {escape(each.words)}" if each.words else ""
            lines.append(
                f'<tr><td style="text-align:left">{escape(each.name)}</td>'
                f"<td>{escape(each.shown)}</td>"
                f'<td style="text-align:left">{grade}{words}</td></tr>'
            )
        return "\n".join([*lines, "</tbody>", "</table>"])


def _log_loss(p, q, clusters):
    gain, error = divergence_of(DIVERGENCES["jensen_shannon"][False], p, q, clusters)
    if gain > 2 * error:
        grade, words = "good", "less than log 2: the ratio knows the domains apart"
        if separated(p, q):
            words = "the samples are told apart without error"
    elif gain < -2 * error:
        grade, words = "poor", "more than log 2: a constant ratio would be better"
    else:
        grade = "unknown"
        words = "no better than a constant ratio: no shift, or none is seen"
    return Figure(
        "log loss", np.log(2) - gain, error, grade, words, "nats (log 2 = .693)"
    )


_CONSTANT = "the ratio is the same everywhere"


def _is_constant(p, q):
    return np.ptp(np.concatenate([p, q])) == 0


_BEYOND = "the numerator lies beyond these rows: no weights make up for it"


def _effective_rows(q, beyond):
    size = effective_sample_size(np.exp(q - q.max()))
    name, of = "effective sample size", f"of {len(q)}"
    if beyond and size >= _FEW_ROWS:
        return Figure(name, size, np.nan, "unknown", _BEYOND, of, 0)
    if size >= _MANY_ROWS:
        grade = "good"
    else:
        grade = "fair" if size >= _FEW_ROWS else "poor"
    words = f"a weighted mean is as precise as one of {size:.0f} rows"
    return Figure(name, size, np.nan, grade, words, of, 0)


def _tail(q, beyond, n_effective):
    k, limit = pareto_k(q), pareto_k_threshold(len(q)) if len(q) > 1 else np.nan
    if np.isnan(k):
        grade, words = "unknown", "25 rows or fewer show no tail"
        if len(q) > _NO_TAIL:
            words = "fewer than five rows above the others show no tail"
    elif k == -np.inf:
        grade = "unknown"
        words = "the largest weights are equal: the estimator gives them a bound"
    elif k == np.inf:
        grade, words = "poor", "a few rows stand out: weighted means rest on them"
    elif k <= 0.7 and n_effective <= _NO_TAIL:
        # However short their tail: no more rows than that carry the weight.
        grade, words = "unknown", "25 rows or fewer in effect show no tail"
    elif beyond and k <= 0.7:
        grade, words = "unknown", _BEYOND
    elif k <= limit:
        grade, words = "good", f"at most {limit:.2f}: weighted means can be relied on"
    elif k <= 0.7:
        grade = "fair"
        words = f"above {limit:.2f}: too few rows for such weights"
    elif k <= 1:
        grade = "poor"
        words = f"above {limit:.2f}: weighted means rest on a few rows"
    else:
        grade, words = "poor", "above 1: the weights may have no finite mean"
    return Figure("Pareto k-hat", k, np.nan, grade, words)


def _share_and_error(is_outside, cluster):
    share = float(np.mean(is_outside))
    if cluster is None:
        return share, np.sqrt(share * (1 - share) / len(is_outside))
    deviation = (is_outside - share) / len(is_outside)
    return share, error_of_means(deviation, None, (cluster, None))


def _outside(p, q, clusters):
    """Figures of the rows of p beyond all of q, and of those of q below all of p."""
    if _is_constant(p, q):
        names = "numerator outside", "denominator outside"
        return [Figure(name, 0.0, np.nan, "unknown", _CONSTANT) for name in names]
    n_p, n_q = (
        len(values if cluster is None else np.unique(cluster))
        for values, cluster in zip((p, q), clusters, strict=True)
    )
    share, error = _share_and_error(p > q.max(), clusters[0])
    # If p = q, this many lie beyond the largest of q one time in twenty.
    by_chance = 3 / n_q
    if share <= max(_FEW_OUTSIDE, min(by_chance, _MANY_OUTSIDE)):
        grade, words = "good", "the denominator's rows reach the numerator's"
    elif share <= by_chance:
        grade = "unknown"
        words = f"{len(q)} rows of the denominator are too few to tell"
    else:
        grade = "fair" if share <= _MANY_OUTSIDE else "poor"
        words = "beyond all rows of the denominator: no weight reaches them"
    numerator = Figure("numerator outside", share, error, grade, words)

    share, error = _share_and_error(q < p.min(), clusters[1])
    by_chance = 3 / n_p
    if share <= max(_FEW_OUTSIDE, min(by_chance, _MANY_OUTSIDE)):
        grade, words = "good", "the numerator's rows reach the denominator's"
    elif share <= by_chance:
        grade, words = "unknown", f"{len(p)} rows of the numerator are too few to tell"
    else:
        grade, words = "fair", "below all rows of the numerator: they weigh nothing"
    return numerator, Figure("denominator outside", share, error, grade, words)


def _normalization(q, doubt, cluster):
    log_mean = logsumexp(q) - np.log(len(q))
    # Relative to the mean, which may be too large for a float.
    single = len(q if cluster is None else np.unique(cluster)) == 1
    deviation = (np.exp(q - log_mean) - 1) / len(q)
    relative = np.nan if single else error_of_means(None, deviation, (None, cluster))
    with np.errstate(over="ignore"):
        mean = float(np.exp(log_mean))
        error = float(relative * mean)
    distance = abs(mean - 1)
    if mean > _LARGEST_MEAN:
        grade, words = "poor", "far above 1: the ratio is too large at some rows"
    elif single:
        grade, words = "unknown", "a single row of the denominator shows no mean"
    elif doubt:
        grade, words = "unknown", doubt
    elif distance <= max(2 * error, 0.05):
        grade, words = "good", "1 as it should be"
    else:
        grade = "fair" if distance <= 0.25 else "poor"
        words = f"not 1: the ratio is too {'large' if mean > 1 else 'small'} on average"
    return Figure("mean of the ratio", mean, error, grade, words)


def _calibration(p, q, clusters):
    names = "calibration intercept", "calibration slope"
    # Also where they share one value at the border: the best line is a step there too.
    constant, inverted = _is_constant(p, q), p.max() <= q.min()
    if constant or inverted or q.max() <= p.min():
        words = "samples told apart without error show no slope"
        grades = ["unknown", "unknown"]
        if constant:
            words = _CONSTANT
        elif inverted:
            words, grades[1] = "the ratio orders all rows the wrong way round", "poor"
        return [
            Figure(name, np.nan, np.nan, grade, words)
            for name, grade in zip(names, grades, strict=True)
        ]
    coef, error = calibration_line(p, q, clusters)
    figures = []
    for name, value, se, target, slight, large in (
        (names[0], coef[0], error[0], 0.0, 0.05, 0.25),
        (names[1], coef[1], error[1], 1.0, 0.1, 0.35),
    ):
        distance = abs(value - target)
        if se > max(1.0, abs(value)) / 2:
            grade, words = "unknown", "too little shift, or too few rows, to tell"
        elif distance <= max(2 * se, slight):
            grade, words = "good", f"{target:.0f} as it should be"
        else:
            grade = "fair" if distance <= large else "poor"
            if target == 0:
                size, factor = "small" if value > 0 else "large", np.exp(abs(value))
                words = f"the ratio is too {size}, by a factor of {factor:.2g}"
            elif value <= 0:
                words = "the ratio orders the rows the wrong way round"
            elif value < 1:
                words = "log ratios are too far from 0: overfitted, or of a wrong form"
            else:
                words = "log ratios are too close to 0: timid"
        figures.append(Figure(name, float(value), float(se), grade, words))
    return figures


def _interval_width(ratios, tests, X):
    """The typical width of intervals at held-out rows, of ratios that have them."""
    widths = []
    for ratio, test in zip(ratios, tests, strict=True):
        ends = predict_ratio_interval(ratio, safe_indexing(X, test))
        with np.errstate(divide="ignore"):
            lower, upper = np.log(ends)
        widths.append(upper - lower)
    width = np.concatenate(widths)
    middle, n_open = float(np.median(width)), int(np.isinf(width).sum())
    if middle == np.inf:
        grade = "poor"
        words = "most rows lie where a sample has none: their ratio is not known"
    else:
        grade = "good" if middle <= _NARROW else "fair" if middle <= _WIDE else "poor"
        words = f"the ratio is known up to a factor of {np.exp(middle / 2):.2g}"
        if n_open:
            words += f", but open at {n_open} of {len(width)} rows"
    return Figure("width of intervals", middle, np.nan, grade, words, "nats (90 %)", 2)


def diagnosis_of(numerator, denominator, clusters=(None, None)):
    """Diagnose a ratio by its finite logarithms at held-out rows of both samples.

    `clusters` are the numbers of the independent observations that the rows of each
    sample belong to, None where each row is one.
    """
    p, q = numerator, denominator
    outside = _outside(p, q, clusters)
    beyond = outside[0].grade == "poor"
    rows = _effective_rows(q, beyond)
    tail = _tail(q, beyond, rows.value)
    doubt = ""
    if outside[0].grade in ("fair", "poor"):
        doubt = "says nothing: it misses the rows of the numerator that lie outside"
    elif tail.grade in ("fair", "poor") or rows.value < min(_FEW_ROWS, len(q) / 2):
        doubt = "says little: a few rows decide it"
    intercept, slope = _calibration(p, q, clusters)
    figures = {
        "log_loss": _log_loss(p, q, clusters),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "effective_sample_size": rows,
        "pareto_k": tail,
        "numerator_outside": outside[0],
        "denominator_outside": outside[1],
        "normalization": _normalization(q, doubt, clusters[1]),
    }
    return RatioDiagnosis(figures, p, q)


@shared_docs
@validate_params(
    {
        "estimator": [HasMethods(["fit"])],
        "groups": ["array-like", None],
        "cv": ["cv_object", StrOptions({"prefit"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def diagnose(
    estimator: BaseEstimator,
    X: Rows,
    y: Values,
    *,
    groups: Values | None = None,
    cv: CrossValidator | str = 5,
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> RatioDiagnosis:
    r"""Diagnose a ratio: can it be relied on, and its weights be used?

    Parameters
    ----------
    %(any_ratio)
    %(X_pool)
    %(y)
    %(groups)
    %(cv_folds)
    %(n_jobs)
    %(random_state) Draws the folds.

    Returns
    -------
    diagnosis : skdre.information.RatioDiagnosis
        A table where it is printed, also in notebooks; ``diagnosis["pareto_k"].value``
        is one figure, and ``.grade`` its judgement: "good", "fair", "poor", or
        "unknown" where the rows do not tell.

    Raises
    ------
    ValueError
        If y does not name two domains, a domain has fewer rows, or groups, than there
        are folds, or a log ratio is not finite.
    NotFittedError
        If `cv` is "prefit" and the estimator is not fitted.

    See Also
    --------
    divergence : How far the samples lie apart.
    two_sample_test : Whether they differ at all.

    Notes
    -----
    At held-out rows, with p the numerator, q the denominator, and the ratios at rows of
    q as weights of these rows:

    * ``"log_loss"``: of the domains, as ``score`` without the sign; a constant ratio of
      1 has log 2.
    * ``"calibration_slope"``, ``"calibration_intercept"``: log odds of the domain as a
      line in log r. 1 and 0 for the true ratio. A slope below 1 means log ratios that
      are too far from 0, an intercept a a ratio that lacks the factor exp(a).
    * ``"effective_sample_size"`` of the weights, Kish's: from 100 on good, below 30
      poor.
    * ``"pareto_k"``: tail index of the weights, :func:`skdre.information.pareto_k`;
      good up to :math:`\min(1 - 1 / \log_{10} n, 0.7)`, poor above 0.7 [1]_, and
      where a few rows carry the weight (plus infinity). Unknown where 25 rows or fewer,
      also in effect, show no tail, and where the weights have a bound.
    * ``"numerator_outside"``: share of the rows of p whose ratio is above that of every
      row of q. They lie where there is p and no row of q, so no weighting of these
      makes up for them; above 10 % the figures of the weights are "unknown" unless
      they are poor anyway. The order of the ratios decides, not their size, so that
      timid estimators are judged as any other (one that gives the same largest ratio to
      many rows of both samples hides it). Where p = q the share is 1 / (n + 1) on
      average, for n rows of q. Up to 1 % is good, above 10 % poor.
    * ``"denominator_outside"``: share of the rows of q whose ratio is below that of
      every row of p. Nothing is wrong with them, but they weigh next to nothing.
    * ``"normalization"``: the mean of r over q, with its standard error, which is 1 for
      the true ratio. It says that only if the samples overlap. Far apart, the mean of r
      lies at rows of p that a sample of q does not contain: the mean of any sample is
      then close to 0, with a small standard error, for the true ratio too; and close to
      1 for many a wrong one. So it is "unknown" wherever the tail index, the effective
      rows or the rows outside are not good, unless it is above 20, which is poor.
    * ``"interval_width"``, of a ratio with intervals (:class:`skdre.JackknifeRatio`,
      :class:`skdre.AutoRatio`): the median over the rows of what lies between the ends
      of the interval of the log ratio, at a level of 90 %. Good up to a factor of 2,
      poor above 10.

    The first three look at the ratio, the others at what weights it gives: a perfect
    ratio of samples that lie far apart has useless weights.

    References
    ----------
    .. [1] A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry. "Pareto smoothed
       importance sampling", Journal of Machine Learning Research 25, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import GaussianRatio, diagnose, pool
    >>> rng = np.random.default_rng(0)
    >>> p, q = rng.normal(0.5, 1, (500, 2)), rng.normal(0, 1, (500, 2))
    >>> X, y = pool(numerator=p, denominator=q)
    >>> diagnosis = diagnose(GaussianRatio(), X, y, random_state=0)
    >>> diagnosis["pareto_k"].grade
    'good'
    >>> 250 < diagnosis["effective_sample_size"].value < 400
    True
    """
    check_is_ratio(estimator, fitted=isinstance(cv, str))
    rng = check_random_state(random_state)
    given = domain_rows("diagnose", X, y, groups).distinct()
    rows = held_out(estimator, given, cv=cv, rng=rng, n_jobs=n_jobs)
    clusters = (None, None) if groups is None else given.clusters()
    diagnosis = diagnosis_of(rows.numerator, rows.denominator, clusters)
    if all(map(has_ratio_interval, rows.ratios)):
        figure = _interval_width(rows.ratios, rows.tests, given.X)
        diagnosis.figures["interval_width"] = figure
    return diagnosis
