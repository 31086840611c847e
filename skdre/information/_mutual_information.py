"""Mutual information of continuous vectors, from a density ratio."""

import warnings
from numbers import Integral
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skdre._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skdre._core.columns import as_matrix, check_rows, validate_rows
from skdre._core.docs import shared_docs
from skdre._core.frames import named_values
from skdre._core.groups import group_codes, joined_groups
from skdre._core.rows import observations
from skdre._core.tasks import inner_fit
from skdre._core.types import CrossValidator, Floats, RandomState, Rows, Values
from skdre.base import (
    AtomicFitMixin,
    DocumentedMixin,
    check_is_ratio,
    predict_log_ratio,
)
from skdre.information._cross_fit import cross_fit, split_rows
from skdre.information._means import (
    Estimate,
    donsker_varadhan,
    log_ratio_mean,
    nwj,
)
from skdre.information._pair_checks import (
    check_columns,
    check_functions,
    check_neighbours,
)
from skdre.information._pairs import folds_of_pairs, shifted_partners
from skdre.information._pool import without_extremes
from skdre.weighting import effective_sample_size

__all__ = ["MutualInformation", "mutual_information"]

_KINDS = {"direct": log_ratio_mean, "nwj": nwj, "dv": donsker_varadhan}

# Fewer rows than this in effect give no mean of the ratio to rely on, nor an error.
_MIN_EFFECTIVE_ROWS = 30

# What the network of the default may lose at held-out pairs, in nats. Half of it is put
# back; it is a few hundredths, and .1 to .2 where there is much to learn yet.
_LARGE_GAP = 0.05


class MutualInformation(
    AtomicFitMixin,
    DocumentedMixin,
    MetaEstimatorMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    r"""Mutual information of two continuous vectors, from a density ratio.

    .. math:: I(X; Y) = E_{p(x, y)}\left[\log \frac{p(x, y)}{p(x) p(y)}\right]

    The ratio of joint rows :math:`[x_i, y_i]` to rows :math:`[x_i, y_{\pi(i)}]` with
    permuted partners is fitted on some pairs and averaged over others, in turn for
    all pairs (cross-fitting).

    Parameters
    ----------
    ratio : ratio estimator, default=None
        Any estimator of the contract (:class:`skdre.DensityRatioMixin`), or a pipeline
        that ends in one; joint rows are the numerator. One that is given keeps its own
        `random_state`. None tries what is made for pairs, see Notes.
    kind : {"direct", "nwj", "dv"}, default="direct"
        What is made of the log ratio at held-out rows, see Notes.
    cv : int or splitter, default=5
        Folds of the pairs, drawn at random if an int. A splitter must hold out every
        pair once.
    n_permutations : int, default=5
        Permuted rows for each pair.
    %(n_jobs)
    %(random_state) Draws the folds and the permutations.

    Attributes
    ----------
    mutual_information_ : float
        The estimate, in nats.
    standard_error_ : float
        Its standard error, given the fitted ratios.
    estimate_ : Estimate
        Both, with the log ratio of each held-out row: ``log_ratios`` of shape
        (n_pairs,) at the pairs, in their order, and ``denominator_log_ratios`` of shape
        (n_pairs, n_permutations), at the same x with permuted partners.
    ratios_ : list of ratio estimators
        One for each fold.
    weights_ : dict or None
        Candidates of the default and their weights; None where `ratio` is given.
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    mutual_information : The same as a function.
    sklearn.feature_selection.mutual_info_regression : Single columns, by neighbours.

    Notes
    -----
    With r the fitted ratio, p the law of joint rows and q that of permuted ones:

    * ``"direct"``: :math:`E_p[\log r]`, the estimate of [1]_ and [2]_. Exact for the
      true ratio, and with the least variance of the three by far: that of log r. It is
      no bound, and an error of the ratio goes into it as it is: a ratio that is too
      large by a factor c adds log c, and one that saturates, as that of a single
      classifier does where the samples lie far apart, is too small.
    * ``"nwj"``: :math:`E_p[\log r] - E_q[r] + 1` [3]_, at most I(X; Y) for any r. At
      the true ratio it is stationary, so errors of the ratio count to second order
      only. But the variance of the mean of r over q grows like exp(I): of n permuted
      rows it can certify no more than about log n nats [4]_.
    * ``"dv"``: :math:`E_p[\log r] - \log E_q[r]` [5]_, the same with the best factor c.
      The logarithm of a mean of few rows is too small in expectation, which makes the
      bound too large by about half the relative variance of that mean.

    Joint and permuted rows share their margins, and the default uses that: the ratio of
    a Gaussian, of a Gaussian copula (of few factors, too) and of a Student-t copula, in
    closed form; boosted trees on normal scores, canonical variates and their
    differences; and a network f(x) @ g(y) of few directions and the norms, to which all
    pairs of different rows in a batch are permuted ones. Each fold's fits are judged by
    their log loss at its held-out rows. The answer is the simplest candidate that is
    about as good as the best, or a mixture of log ratios if that is clearly better. At
    held-out pairs a closed form, and a network, is too small by as much, to first
    order, as it is too large at its own pairs; half the difference is added to
    ``mutual_information_`` (``kind="direct"``), so that this is not quite the mean of
    ``estimate_.log_ratios``. A warning says where it may well be too small: where the
    network has much to learn yet, where nearest neighbours [6]_ (of up to 8 columns)
    show far more, and where so few pairs can show no more. Without one it may be
    somewhat too small, too, where no candidate has a form that fits.

    The standard error is that of the means over held-out rows. The influence function
    of the mutual information is log r less its mean, so that of ``"direct"`` counts
    that a ratio of the right form is estimated, less a part 1 / `n_permutations` of the
    variance; it says nothing about a ratio that is wrong.
    An estimate of the direct kind that lies above both bounds by many standard errors
    is a sign of that, where the bounds have an error that can be trusted (below some
    log n nats).

    Near independence the estimate can be below 0. It is not cut off there, for that
    would make it biased.

    Mutual information does not change when columns go through monotone maps, nor under
    any invertible map of X or of Y. Estimators differ in how much they profit from one:
    put it into `ratio`, as a pipeline.

    References
    ----------
    .. [1] K. Choi, M. Liao, S. Ermon. "Featurized Density Ratio Estimation", UAI 2021,
       section 5.2.
    .. [2] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via
       Infinitesimal Classification", AISTATS 2022, section 6.2.
    .. [3] X. Nguyen, M. J. Wainwright, M. I. Jordan. "Estimating divergence functionals
       and the likelihood ratio by convex risk minimization", IEEE Trans. Inf. Theory
       56, 2010.
    .. [4] D. McAllester, K. Stratos. "Formal limitations on the measurement of mutual
       information", AISTATS 2020.
    .. [5] M. D. Donsker, S. R. S. Varadhan. "Asymptotic evaluation of certain Markov
       process expectations for large time, IV", Comm. Pure Appl. Math. 36, 1983.
    .. [6] A. Kraskov, H. Stoegbauer, P. Grassberger. "Estimating mutual information",
       Phys. Rev. E 69, 2004, equation 8.

    Examples
    --------
    Two normal variables of correlation 0.8 share -log(1 - 0.8^2) / 2 = 0.51 nats:

    >>> import numpy as np
    >>> from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
    >>> from skdre import ClassifierRatio, MutualInformation
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 1))
    >>> Y = 0.8 * X + 0.6 * rng.normal(size=(1000, 1))
    >>> gaussian = ClassifierRatio(QuadraticDiscriminantAnalysis())
    >>> model = MutualInformation(gaussian, random_state=0).fit(X, Y)
    >>> bool(abs(model.mutual_information_ - 0.51) < 2 * model.standard_error_)
    True

    Where a pair is likelier than independence would have it:

    >>> model.pointwise([[1.0], [1.0]], [[1.0], [-1.0]]) > 0
    array([ True, False])
    """

    _parameter_constraints = {  # noqa: RUF012
        "ratio": [HasMethods(["fit"]), None],
        "kind": [StrOptions(set(_KINDS))],
        "cv": ["cv_object"],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        ratio: BaseEstimator | None = None,
        *,
        kind: str = "direct",
        cv: CrossValidator = 5,
        n_permutations: int = 5,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.ratio = ratio
        self.kind = kind
        self.cv = cv
        self.n_permutations = n_permutations
        self.n_jobs = n_jobs
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags

    @with_callbacks
    # The ratio validates its own parameters when it is fitted.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Rows, Y: Rows, groups: Values | None = None) -> Self:
        """Cross-fit the ratio and take its mean.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features_x)
            First vector of each pair.
        Y : array-like of shape (n_pairs, n_features_y) or (n_pairs,)
            Second vector of each pair.
        groups : array-like of shape (n_pairs,), default=None
            What pairs belong to that are no observations of their own, such as a
            customer, a day or an event: all pairs of one lie in the same fold, are
            permuted with pairs of others, and count as one observation in standard
            errors.

        Returns
        -------
        self : MutualInformation

        Raises
        ------
        ValueError
            If X and Y differ in length, hold NaN or infinity, have a constant column,
            or are too few for the folds, as groups may be; or if a log ratio is not
            finite.

        Warns
        -----
        UserWarning
            If values repeat, so that a variable may be discrete; if a column of Y is a
            monotone function of one of X; if the ratio is constant; if the default may
            be too small; or if the mean of the ratio over permuted rows, which
            ``kind="nwj"`` and ``"dv"`` need, rests on a few of them.
        """
        if self.ratio is not None:
            check_is_ratio(self.ratio, "ratio")
        x, y = self._check_pairs(X, Y)
        pairs = np.hstack([x, y])
        # The copy of a pair is no other pair, and its permutation is no permutation.
        observation = observations(pairs)
        codes, cluster = group_codes(groups, len(pairs), "pairs"), None
        first = np.unique(observation)
        pairs = pairs[first]
        if codes is not None:
            cluster, codes = joined_groups(codes, observation)[first], codes[first]
        if self.ratio is not None:
            # There are no two samples yet: every other pair stands for one. To the
            # ranks of the default extremes do no harm.
            pairs = without_extremes(pairs, pairs, np.arange(len(pairs)) % 2 == 0)
        x, y = np.split(pairs, [x.shape[1]], axis=1)
        rng = check_random_state(self.random_state)
        parts = self._split(x, rng, cluster, codes)
        partners = [
            tuple(
                shifted_partners(
                    len(each),
                    self.n_permutations,
                    rng,
                    None if cluster is None else cluster[each],
                )
                for each in part
            )
            for part in parts
        ]
        data = {"X": X, "y": Y}
        # The default's candidates come one after another, and how many is not known.
        root = self._init_callback_context(
            max_subtasks=None if self.ratio is None else len(parts),
            sequential_subtasks=self.ratio is None,
        )
        root.call_on_fit_task_begin(estimator=self, **data)
        correction = 0.0
        if self.ratio is None:
            fit = _fit_default(
                x,
                y,
                parts,
                partners,
                cluster,
                rng,
                self.n_jobs,
                lambda name: inner_fit(root, self, None, name, **data),
            )
            results, correction = fit.results, fit.correction
        else:
            tasks = [
                (root.subcontext(task_name="fold", task_id=k), self)
                for k in range(len(parts))
            ]
            results = cross_fit(
                self.ratio,
                folds_of_pairs(x, y, parts, partners, cluster),
                n_jobs=self.n_jobs,
                tasks=tasks,
            )

        # A small last fold may have fewer permutations than the others.
        n_shifts = min(in_test.shape[1] for _, in_test in partners)
        log_ratios = np.empty(len(y))
        permuted = np.empty((len(y), n_shifts))
        columns = np.empty((len(y), n_shifts), dtype=int)
        for (_, test), (_, own), (_, found) in zip(
            parts, partners, results, strict=True
        ):
            # The pairs, then all of them with each shift's partners.
            by_shift = found.reshape(-1, len(test))
            log_ratios[test] = by_shift[0]
            permuted[test] = by_shift[1 : n_shifts + 1].T
            columns[test] = test[own[:, :n_shifts]]
        value, error = _KINDS[self.kind](log_ratios, permuted, columns, cluster)
        if self.kind == "direct":
            value += correction
        if np.ptp(log_ratios) == 0 and np.ptp(permuted) == 0:
            warnings.warn(
                "The ratio is the same at all held-out pairs: the estimator sees no "
                "dependence, and the standard error of 0 does not say how much of it "
                "there would have to be.",
                UserWarning,
                stacklevel=2,
            )
        elif self.kind != "direct":
            _check_mean_of_ratio(permuted, self.kind)

        if self.ratio is None and self.kind == "direct":
            _check_default(fit, value, error, len(y))
            check_neighbours(x, y, value, error, cluster)
        validate_data(self, X, skip_check_array=True)
        self.estimate_ = Estimate(value, error, self.kind, log_ratios, permuted)
        self.mutual_information_ = value
        self.standard_error_ = error
        self.ratios_ = [fitted for fitted, _ in results]
        self.weights_ = None if self.ratio is not None else fit.weights
        self._n_features_y = y.shape[1]
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    def _check_pairs(self, X, Y):
        if Y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None: Y holds the second vector of each pair."
            )
        given = X, as_matrix(Y, "Y")
        X = check_rows(X, estimator=self)
        Y = check_rows(given[1], "Y", estimator=self)
        if len(X) != len(Y):
            raise ValueError(
                "X and Y must hold the two vectors of each pair, row by row, got "
                f"{len(X)} rows of X and {len(Y)} of Y."
            )
        n_folds = self.cv if isinstance(self.cv, Integral) else 2
        if len(X) < 2 * n_folds:
            raise ValueError(
                f"{2 * n_folds} pairs are the least, two for each fold, got n_samples="
                f"{len(X)} with cv={self.cv!r}."
            )
        called = [[name for name, _ in named_values(each)] for each in given]
        check_columns(X, "X", called[0])
        check_columns(Y, "Y", called[1])
        check_functions(X, Y, *called)
        return X, Y

    def _split(self, X, rng, cluster, groups):
        """Training and test positions of each fold."""
        if groups is not None:
            return self._split_groups(X, rng, cluster, groups)
        parts = split_rows(self.cv, X, rng=rng, unit="pair")
        if min(map(len, (each for part in parts for each in part))) < 2:
            raise ValueError(
                f"cv={self.cv!r} leaves a fold with fewer than two pairs, which cannot "
                "be permuted."
            )
        return parts

    def _split_groups(self, X, rng, cluster, groups):
        n_folds = 5 if self.cv is None else self.cv
        n_groups = len(np.unique(cluster))
        if isinstance(n_folds, Integral) and n_groups < 2 * n_folds:
            raise ValueError(
                f"groups must hold {2 * n_folds} groups at least, two for each fold of "
                f"cv={self.cv!r}, got {n_groups} (those that share copies of a pair "
                "count as one)."
            )
        parts = split_rows(
            self.cv, X, rng=rng, cluster=cluster, groups=groups, unit="pair"
        )
        for index in (each for part in parts for each in part):
            largest = np.unique(cluster[index], return_counts=True)[1].max()
            if 2 * largest > len(index):
                raise ValueError(
                    f"groups has a group with {largest} of the {len(index)} pairs of "
                    f"a part of a fold of cv={self.cv!r}, but it must hold half of "
                    "them at most: pairs are permuted with those of other groups. Use "
                    "fewer folds or smaller groups."
                )
        return parts

    def pointwise(self, X: Rows, Y: Rows) -> Floats:
        """Pointwise mutual information of pairs, log p(x, y) / (p(x) p(y)).

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features_x)
            First vectors.
        Y : array-like of shape (n_pairs, n_features_y) or (n_pairs,)
            Second vectors.

        Returns
        -------
        log_ratio : ndarray of shape (n_pairs,)
            In nats: the mean of the ratios of all folds. At the pairs of the fit most
            of them are not held out; ``estimate_.log_ratios`` are.

        Raises
        ------
        ValueError
            If the columns are not those of the fit, or X and Y differ in length.
        """
        check_is_fitted(self)
        x = validate_rows(self, X)
        y = check_rows(as_matrix(Y, "Y"), "Y")
        if y.shape != (len(x), self._n_features_y):
            raise ValueError(
                f"Y must have the shape ({len(x)}, {self._n_features_y}), a row for "
                f"each of X and the columns of the fit, got {y.shape}."
            )
        pairs = np.hstack([x, y])
        log_ratios = [predict_log_ratio(each, pairs) for each in self.ratios_]
        return np.mean(log_ratios, axis=0)


def _fit_default(x, y, parts, partners, cluster, rng, n_jobs, task):
    # Candidates are concrete estimators, which are loaded when nothing is named.
    from skdre.auto._pair_ratio import fit_pairs

    return fit_pairs(
        x, y, parts, partners, cluster=cluster, rng=rng, n_jobs=n_jobs, task=task
    )


def _check_default(fit, value, error, n_pairs):
    """Say where the default may be too low."""
    reason = None
    if fit.gap > _LARGE_GAP + error:
        reason = (
            f"what the network learned is worth {fit.gap:.2f} nats less at held-out "
            "pairs than at its own, so there is more to learn than so few pairs show"
        )
    elif value > np.log(n_pairs) - 2:
        reason = (
            f"{n_pairs} pairs cannot show much more than log(n_pairs) = "
            f"{np.log(n_pairs):.1f} nats, unless the dependence is that of a Gaussian "
            "or Student-t copula"
        )
    if reason:
        warnings.warn(
            f"The mutual information may well be larger than {value:.2f} nats: {reason}"
            ". Give more pairs, or a `ratio` that suits the dependence.",
            UserWarning,
            stacklevel=6,
        )


def _check_mean_of_ratio(log_ratio, kind):
    size = effective_sample_size(np.exp(log_ratio - log_ratio.max()).ravel())
    if size < _MIN_EFFECTIVE_ROWS:
        warnings.warn(
            f"The mean of the ratio over permuted rows, which kind={kind!r} needs, "
            f"rests on {size:.1f} of {log_ratio.size} rows in effect: neither the "
            "bound nor its standard error can be relied on. So much information "
            "cannot be bounded from so many pairs; kind='direct' does without that "
            "mean.",
            UserWarning,
            stacklevel=6,
        )


@shared_docs
def mutual_information(
    X: Rows,
    Y: Rows,
    ratio: BaseEstimator | None = None,
    *,
    groups: Values | None = None,
    kind: str = "direct",
    cv: CrossValidator = 5,
    n_permutations: int = 5,
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> Estimate:
    """Estimate the mutual information of two continuous vectors.

    The mean log ratio of joint rows [x, y] to rows with permuted partners, with the
    ratio fitted on other pairs than it is averaged over.

    Parameters
    ----------
    X : array-like of shape (n_pairs, n_features_x) or (n_pairs,)
        First vector of each pair; one dimension is a single column.
    Y : array-like of shape (n_pairs, n_features_y) or (n_pairs,)
        Second vector of each pair.
    ratio : ratio estimator, default=None
        Any estimator of the contract, or a pipeline, search or ensemble of such. None
        tries what is made for pairs, see :class:`MutualInformation`.
    groups : array-like of shape (n_pairs,), default=None
        What pairs belong to that are no observations of their own, see
        :meth:`MutualInformation.fit`.
    kind : {"direct", "nwj", "dv"}, default="direct"
        The mean log ratio; or a lower bound, with a larger variance. See
        :class:`MutualInformation`.
    cv : int or splitter, default=5
        Folds of the pairs.
    n_permutations : int, default=5
        Permuted rows for each pair.
    %(n_jobs)
    random_state : int, RandomState instance or None, default=None
        Draws the folds and the permutations, and seeds the default ratio.

    Returns
    -------
    estimate : skdre.information.Estimate
        With ``value`` and ``standard_error`` in nats, and the log ratio of every
        held-out row; ``float(estimate)`` is the value.

    Raises
    ------
    ValueError
        If X and Y differ in length, hold NaN or infinity, have a constant column, or
        are too few for the folds, as groups may be; or if a parameter is not as
        described.

    Warns
    -----
    UserWarning
        As :meth:`MutualInformation.fit`.

    See Also
    --------
    MutualInformation : The estimator behind it, which keeps the fitted ratios.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
    >>> from skdre import ClassifierRatio, mutual_information
    >>> rng = np.random.default_rng(0)
    >>> X, noise = rng.normal(size=(2, 1000, 3))
    >>> gaussian = ClassifierRatio(QuadraticDiscriminantAnalysis())
    >>> estimate = mutual_information(X, X + noise, gaussian, random_state=0)
    >>> truth = 3 / 2 * np.log(2)
    >>> bool(abs(float(estimate) - truth) < 2 * estimate.standard_error)
    True
    """
    model = MutualInformation(
        ratio,
        kind=kind,
        cv=cv,
        n_permutations=n_permutations,
        n_jobs=n_jobs,
        random_state=random_state,
    )
    return model.fit(as_matrix(X), Y, groups=groups).estimate_
