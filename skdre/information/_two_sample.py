"""Two-sample tests by density ratios."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed

from skdre._compat import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)
from skdre._core.docs import shared_docs
from skdre._core.seeds import draw_seed
from skdre._core.types import CrossValidator, RandomState, Rows, Values
from skdre.base import check_is_ratio
from skdre.information._aggregate import (
    banks_of,
    jointly_tested,
    permuted_contrasts,
    plain_table,
)
from skdre.information._cross_fit import cross_fit, held_out
from skdre.information._divergences import DIVERGENCES
from skdre.information._permutation import (
    ShiftTest,
    check_one_label,
    permutation_pvalue,
    permuted_sums,
)
from skdre.information._pool import domain_rows
from skdre.information._reweighted import reweighted_test

__all__ = ["STATISTICS", "additive_test", "grouped_test", "two_sample_test"]


# Logarithm of the largest ratio that is summed, and the largest log ratio that is.
_LARGEST, _LARGEST_LOG = 600.0, 1e290

# Share of the level that a ratio has in the aggregated test.
_SHARE = 0.2


class _Additive(NamedTuple):
    """A statistic: a constant plus the sum of `values` over the numerator's rows."""

    values: np.ndarray
    constant: float


def _divergence(kind):
    chosen = DIVERGENCES[kind][False]

    def statistic(log_ratio, n_numerator):
        n_denominator = len(log_ratio) - n_numerator
        zeros = np.zeros(len(log_ratio))
        # So that sums stay finite: of a NaN no permuted one is as large.
        limit = _LARGEST if chosen.tail_p else _LARGEST_LOG
        log_ratio = np.clip(log_ratio, -limit, limit)
        f = chosen.f(log_ratio) if chosen.f else zeros
        g = chosen.g(log_ratio) if chosen.g else zeros
        return _Additive(
            f / n_numerator - g / n_denominator, float(g.sum() / n_denominator)
        )

    return statistic


def _balanced_accuracy(log_ratio, n_numerator):
    values, constant = _divergence("total_variation")(log_ratio, n_numerator)
    return _Additive(values / 2, (1 + constant) / 2)


def _roc_auc(log_ratio, n_numerator):
    n_pairs = n_numerator * (len(log_ratio) - n_numerator)
    below = n_numerator * (n_numerator + 1) / 2
    # scipy 1.11 takes rows whose sum overflows for NaN.
    ranks = rankdata(np.clip(log_ratio, -_LARGEST_LOG, _LARGEST_LOG))
    return _Additive(ranks / n_pairs, -below / n_pairs)


# Name -> function of the log ratio at all rows and the number of the numerator's. Each
# is a sum over the numerator's rows, so that a permutation costs no more than a sum.
STATISTICS: dict[str, Callable] = {
    **{kind: _divergence(kind) for kind in DIVERGENCES},
    "balanced_accuracy": _balanced_accuracy,
    "roc_auc": _roc_auc,
}


def statistic_of(name, numerator, denominator):
    """A statistic of log ratios at the two samples."""
    log_ratio = np.concatenate([numerator, denominator])
    values, constant = STATISTICS[name](log_ratio, len(numerator))
    return float(values[: len(numerator)].sum() + constant)


def additive_test(name, numerator, denominator, n_permutations, rng):
    """Permute the labels of rows that the ratio was not fitted on, given log ratios."""
    log_ratio = np.concatenate([numerator, denominator])
    n_numerator = len(numerator)
    values, constant = STATISTICS[name](log_ratio, n_numerator)
    # Of values around 0 the sums lose no digits.
    center = values.mean()
    values, constant = values - center, constant + n_numerator * center
    statistic = float(values[:n_numerator].sum() + constant)
    null = (
        constant
        + permuted_sums(values[:, None], n_numerator, n_permutations, rng).ravel()
    )
    return ShiftTest(statistic, permutation_pvalue(statistic, null), null)


def grouped_test(name, log_ratios, clusters, n_permutations, rng):
    """Permute the labels of whole groups, each of which lies in one sample.

    `log_ratios` and the numbers of the groups, `clusters`, are those of the numerator's
    rows and of the denominator's. Groups differ in size, and so do permuted samples.
    """
    log_ratio = np.concatenate(log_ratios)
    cluster = np.unique(np.concatenate(clusters), return_inverse=True)[1].ravel()
    label = np.zeros(cluster.max() + 1, bool)
    label[cluster[: len(log_ratios[0])]] = True

    def statistic(label):
        is_p = label[cluster]
        return statistic_of(name, log_ratio[is_p], log_ratio[~is_p])

    value = statistic(label)
    null = np.array([statistic(rng.permutation(label)) for _ in range(n_permutations)])
    return ShiftTest(value, permutation_pvalue(value, null), null)


def _halves(rows, test_size, rng):
    """Training and test positions, the same share of each domain in the test part."""
    tests, clusters = [], [np.unique(each) for each in rows.clusters()]
    counts = [len(each) for each in clusters]
    for each in clusters:
        if len(each) < 2:
            what = "rows" if rows.groups is None else "groups (of `groups`)"
            raise ValueError(
                "method='split' fits on some rows and tests on others, so it needs two "
                f"{what} of each domain at least, got {counts[0]} of the numerator and "
                f"{counts[1]} of the denominator."
            )
        n_test = min(max(round(test_size * len(each)), 1), len(each) - 1)
        tests.append(rng.permutation(each)[:n_test])
    is_test = np.isin(rows.cluster, np.concatenate(tests))
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _split_log_ratios(estimator, rows, test_size, rng):
    training, test = _halves(rows, test_size, rng)
    [(_, log_ratio)] = cross_fit(estimator, [rows.fold(training, test)])
    in_p, cluster = rows.is_numerator[test], rows.cluster[test]
    return (log_ratio[in_p], log_ratio[~in_p]), (cluster[in_p], cluster[~in_p])


def _cross_fitted_statistic(name, estimator, rows, cv, seed, permuted):
    with warnings.catch_warnings():
        if permuted:
            # The fit to the labels as they are has said what there is to say.
            warnings.simplefilter("ignore")
        found = held_out(estimator, rows, cv=cv, rng=np.random.RandomState(seed))
    return statistic_of(name, found.numerator, found.denominator)


def _refit_test(name, estimator, rows, cv, n_permutations, n_jobs, rng):
    # One seed for all: the statistic is then a function of the labels.
    seed = draw_seed(rng)
    given = rows.is_numerator
    # Of each observation, in the order of their rows.
    _, first, number = np.unique(rows.cluster, return_index=True, return_inverse=True)
    label = given[first]
    labels = [given, *(rng.permutation(label)[number] for _ in range(n_permutations))]
    statistics = Parallel(n_jobs=n_jobs)(
        delayed(_cross_fitted_statistic)(
            name,
            estimator,
            rows._replace(is_numerator=each),
            cv,
            seed,
            each is not given,
        )
        for each in labels
    )
    statistic, null = statistics[0], np.array(statistics[1:])
    return ShiftTest(statistic, permutation_pvalue(statistic, null), null)


def _aggregated_test(rows, n_permutations, rng):
    """Test by many statistics, of rows none of which was drawn in by its label."""
    # Of each observation, in the order of their rows.
    _, first, number = np.unique(rows.cluster, return_index=True, return_inverse=True)
    banks = banks_of(plain_table(rows.X), rng)
    generator = np.random.default_rng(draw_seed(rng))
    contrasts = permuted_contrasts(
        rows.is_numerator[first], number.ravel(), n_permutations, generator
    )
    return jointly_tested(banks, contrasts)


def _with_ratio(together, by_ratio):
    """Either of two tests, which share the level, whatever their dependence."""
    pvalue = min(1.0, together.pvalue / (1 - _SHARE), by_ratio.pvalue / _SHARE)
    parts = {"ratio": by_ratio.pvalue, **together.parts}
    return replace(together, pvalue=pvalue, parts=parts)


@shared_docs
@validate_params(
    {
        "estimator": [HasMethods(["fit"]), None],
        "groups": ["array-like", None],
        "statistic": [StrOptions(set(STATISTICS))],
        "method": [StrOptions({"aggregate", "split", "refit", "prefit"})],
        "reweight": [HasMethods(["fit"]), callable, None],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "test_size": [Interval(Real, 0, 1, closed="neither")],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def two_sample_test(
    estimator: BaseEstimator | None,
    X: Rows,
    y: Values,
    *,
    groups: Values | None = None,
    statistic: str = "kl",
    method: str = "aggregate",
    reweight: BaseEstimator | Callable[[Any, Any], Values] | None = None,
    n_permutations: int = 999,
    test_size: float = 0.5,
    cv: CrossValidator = 5,
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> ShiftTest:
    r"""Test whether two samples come from one distribution.

    The test at level a rejects a true null hypothesis with probability a at most, for
    any number of rows and whatever the estimator: the p-value comes from permuted
    labels. By default many statistics are combined, so that no kind of difference is
    missed which one of them sees well. Tables may hold categories and missing values.

    Parameters
    ----------
    estimator : ratio estimator or None
        Any estimator of the contract, or a pipeline, search or ensemble of such. The
        better it sees the difference, the more powerful the test. None tests without
        one, with ``method="aggregate"`` only.
    X : array-like or DataFrame of shape (n_samples, n_features) or (n_samples,)
        Rows of both samples, see :func:`skdre.pool`; one dimension is a single column.
        They must be independent: rows that belong together make every test see a
        shift, unless `groups` says which do. Copies of a row that holds a continuous
        value are left out.
    %(y)
    groups : array-like of shape (n_samples,), default=None
        What rows belong to that are no observations of their own, such as a customer, a
        day or an event. Whole groups are fitted on or tested on, and the labels of
        whole groups are permuted, so each must lie in one sample. A difference in their
        sizes is a difference of the samples.
    statistic : {"kl", "reverse_kl", "pearson", "jensen_shannon", \
            "total_variation", "balanced_accuracy", "roc_auc"}, default="kl"
        What is made of the estimator's log ratio at held-out rows: an estimate of a
        divergence, as in :func:`divergence`, or how well the ratio tells the domains
        apart, the classifier two-sample test [1]_.
    method : {"aggregate", "split", "refit", "prefit"}, default="aggregate"
        What is tested by, and where the null distribution comes from:

        * ``"aggregate"``: by ranks, spreads, shapes and relations of the columns, means
          and covariances, kernels and random trees together, see Notes. One set of
          permutations of all rows calibrates all. An estimator is tested by "split"
          beside it, at a fifth of the level.
        * ``"split"``: the ratio is fitted once, on part of the rows, and the labels of
          the others are permuted. One fit, and thousands of permutations in
          milliseconds.
        * ``"refit"``: all labels are permuted, and the ratio is cross-fitted again
          each time. All rows serve both ends, so it can have more power, and
          `n_permutations` times `cv` fits to pay.
        * ``"prefit"``: the estimator is fitted already, on rows other than these, such
          as last month's, and the labels of all rows are permuted.
    reweight : ratio estimator or callable, default=None
        Test whether weights remove the shift: the denominator's rows are weighted by
        this ratio, fitted on these rows, or by ``reweight(X_numerator,
        X_denominator)``, which returns a weight for each of the latter. Permuted labels
        do not calibrate such a test, so the weights are fitted again to
        `n_permutations` bootstrap samples. That is approximate, see Notes. For
        ``method="aggregate"`` without an estimator only.
    n_permutations : int, default=999
        The smallest possible p-value is 1 / (n_permutations + 1); with "aggregate" and
        an estimator 5 / 4 of that.
    test_size : float, default=0.5
        Share of each domain's rows that the estimator is tested on with
        ``method="split"`` or ``"aggregate"``.
    cv : int or splitter, default=5
        Folds with ``method="refit"``. With two there is nothing gained over "split":
        where the ratio follows the difference of the means, the half that is fitted
        and the half that is tested enter the statistic alike.
    n_jobs : int, default=None
        Permutations that are fitted at the same time with ``method="refit"``.
    random_state : int, RandomState instance or None, default=None
        Draws the split or the folds, and the permutations.

    Returns
    -------
    result : skdre.information.ShiftTest
        With ``statistic``, ``pvalue`` and ``null_distribution``; with "aggregate" also
        ``parts``, the p-value of each of the statistics.

    Raises
    ------
    ValueError
        If y does not name two domains, there are too few rows or groups of one, a group
        has rows of both, a log ratio is not finite, X is constant or holds infinities
        or dates, weights are negative or not finite, or a parameter is not as
        described.
    NotFittedError
        With ``method="prefit"`` and an estimator that is not fitted.

    See Also
    --------
    score_test : By one model of both samples, without a ratio.
    shift_importance : Which columns the ratio sees the difference in.
    drift_report : Tests of each column and of all, for tables of mixed types.

    Notes
    -----
    "aggregate" compares the means of functions of a row that know no labels. Largest
    over the columns: squared differences of mean ranks, of squared normal scores, of
    products of two columns' normal scores, Anderson and Darling's statistic, and
    chi-squared over ten bins. Over all columns together: ranks, the score test of a
    Gaussian (:func:`score_test`), the maximum mean discrepancy with two Gaussian
    kernels and one of Laplace, and the leaves of random trees. Each statistic becomes
    a tail probability by a gamma distribution with the first three moments of its
    permutations, and the harmonic mean of these probabilities [3]_ is the statistic:
    the smallest decides, and others that are nearly as small count. The same
    permutations calibrate it, so the level is exact. The statistics look at all rows,
    where a ratio has to be tested on rows that it was not fitted on.

    With `reweight`, differences are those of the weighted means, and a bootstrap sample
    of each domain gives one whose deviation from them stands for their error [4]_. Rows
    that stand twice in such a sample make the fit a little too sure, and few rows of
    large weight are too few for it: where their effective number is below a hundred or
    so, do not trust the p-value. The user guide's page on drift has measured levels.

    Under the null hypothesis, and given the rows that a ratio was fitted on, every
    labelling of the others is equally likely; so "split" and "prefit" are as exact as
    "refit". An estimate that is constant where it sees no difference, as that of
    :class:`skdre.GaussianRatio`, has many p-values of 1, and the test then rejects a
    true null hypothesis more rarely than it may.

    Some statistics are the same test with "split" and "prefit". Given the rows, the
    total of log r is fixed, so the means of log r over p and over q move together:
    "kl", "reverse_kl" and, for samples of one size, "jensen_shannon" order the
    labellings alike. So do "total_variation" and "balanced_accuracy", which is half
    of 1 plus the other. "kl" is the likelihood-ratio statistic, the most powerful if
    the ratio is right. "roc_auc" looks at ranks only, and bears a few absurd ratios.
    "pearson" [2]_ is decided by the largest ratios.

    References
    ----------
    .. [1] D. Lopez-Paz, M. Oquab. "Revisiting classifier two-sample tests", ICLR 2017.
    .. [2] M. Sugiyama, T. Suzuki, Y. Itoh, T. Kanamori, M. Kimura. "Least-squares
       two-sample test", Neural Networks 24, 2011.
    .. [3] D. J. Wilson. "The harmonic mean p-value for combining dependent tests", PNAS
       116, 2019.
    .. [4] B. Efron, R. J. Tibshirani. "An Introduction to the Bootstrap", Chapman &
       Hall 1993, section 16.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import GaussianRatio, pool, two_sample_test
    >>> rng = np.random.default_rng(0)
    >>> p, q = rng.normal(0.5, 1, (200, 2)), rng.normal(0, 1, (300, 2))
    >>> X, y = pool(numerator=p, denominator=q)
    >>> two_sample_test(None, X, y, random_state=0).pvalue
    0.001
    >>> two_sample_test(GaussianRatio(), X, y, method="split", random_state=0).pvalue
    0.001
    """
    rng = check_random_state(random_state)
    if reweight is not None:
        if method != "aggregate" or estimator is not None:
            raise ValueError(
                "reweight is for method='aggregate' and estimator=None, got "
                f"method={method!r} and estimator={estimator!r}."
            )
        return reweighted_test(
            reweight, X, y, groups, n_permutations, n_jobs=n_jobs, rng=rng
        )
    if estimator is not None:
        check_is_ratio(estimator, fitted=method == "prefit")
    elif method != "aggregate":
        raise ValueError(
            f"method={method!r} needs a ratio estimator, got estimator=None."
        )
    if method == "aggregate":
        plain = domain_rows("two_sample_test", X, y, groups, draw_in=False).distinct()
        check_one_label(plain.cluster, plain.is_numerator)
        together = _aggregated_test(plain, n_permutations, rng)
        if estimator is None:
            return together
        by_ratio = two_sample_test(
            estimator,
            X,
            y,
            groups=groups,
            statistic=statistic,
            method="split",
            n_permutations=n_permutations,
            test_size=test_size,
            random_state=rng,
        )
        return _with_ratio(together, by_ratio)
    # Copies of a row would make the test see a shift: each row is tested once.
    given = domain_rows("two_sample_test", X, y, groups).distinct()
    check_one_label(given.cluster, given.is_numerator)
    if method == "refit":
        return _refit_test(statistic, estimator, given, cv, n_permutations, n_jobs, rng)
    if method == "prefit":
        rows = held_out(estimator, given, cv="prefit", rng=rng)
        log_ratios, clusters = (rows.numerator, rows.denominator), given.clusters()
    else:
        log_ratios, clusters = _split_log_ratios(estimator, given, test_size, rng)
    generator = np.random.default_rng(draw_seed(rng))
    if groups is not None:
        return grouped_test(statistic, log_ratios, clusters, n_permutations, generator)
    return additive_test(statistic, *log_ratios, n_permutations, generator)
