"""JackknifeRatio: intervals for any ratio, from fits without a part of the rows."""

import warnings
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import validate_data

from skdre._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    fit_context,
    safe_indexing,
    with_callbacks,
)
from skdre._core.frames import is_frame
from skdre._core.groups import group_codes
from skdre._core.inner import fit_weighted
from skdre._core.inner_groups import groups_kept
from skdre._core.rows import as_numbers
from skdre._core.seeds import give_seeds
from skdre._core.tasks import inner_fit
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre.auto._folds import deal
from skdre.auto._intervals import (
    Evidence,
    IntervalMixin,
    Spread,
    jackknife_scale,
)
from skdre.base import (
    DensityRatioMixin,
    check_is_ratio,
    check_pool,
    distinct_rows,
    predict_log_ratio,
)

__all__ = ["JackknifeRatio"]


def _fit_part(estimator, X, is_numerator, weight, cluster):
    """A clone fitted on the rows of positive weight."""
    kept = np.flatnonzero(weight)
    part, is_p, repeats = safe_indexing(X, kept), is_numerator[kept], weight[kept]
    given = None if (repeats == 1).all() else repeats
    estimator = clone(estimator)
    with warnings.catch_warnings():
        # The fit on all rows says the same.
        warnings.simplefilter("ignore")
        if cluster is None:
            return fit_weighted(estimator, part, is_p, given, "estimator")
        with groups_kept(estimator, part, is_p, repeats, cluster, weight > 0):
            return fit_weighted(estimator, part, is_p, given, "estimator")


class JackknifeRatio(
    IntervalMixin,
    DensityRatioMixin,
    MetaEstimatorMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    r"""Any density ratio, with intervals from fits without a part of the rows.

    The ratio is that of the estimator fitted on all rows. Beside it, clones are fitted
    without a fifth of the rows each, several times over: how much they differ says how
    much another sample would change the ratio, and what they say of the rows that they
    have not seen shows where the ratio is wrong.

    Parameters
    ----------
    estimator : ratio estimator
        Any estimator of the contract, or a pipeline, search or ensemble of such.
    n_folds : int, default=5
        Parts of the rows, of which each fit leaves one out; fewer where a sample has
        fewer observations.
    n_repeats : int, default=4
        How often the rows are dealt to parts anew. ``n_folds * n_repeats`` clones are
        fitted. With one repeat of five the interval is a fifth wider, for its width is
        uncertain then.
    n_jobs : int, default=None
        Clones to fit at the same time.
    random_state : int, RandomState instance or None, default=None
        Deals the rows, and seeds an estimator that has no seed of its own: the same for
        all clones.

    Attributes
    ----------
    estimator_ : ratio estimator
        Fitted on all rows.
    estimators_ : list of list
        The clones of each repeat; empty where a sample has a single observation.
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    skdre.AutoRatio : Has intervals of its own, from the fits that it makes anyway.
    skdre.inspection.LogRatioBandDisplay : A picture along one column.

    Notes
    -----
    **Spread.** With the log ratios :math:`f_k` of the fits without each of K parts, the
    delete-a-group jackknife has the variance :math:`\frac{K - 1}{K} \sum_k (f_k -
    \bar f)^2`, here the mean over the repeats [1]_. Unlike the bootstrap it repeats no
    row: a copy tells nothing new, and estimators of this package, which count distinct
    rows, would regularise more on such draws. Rows of one of `groups` are left out
    together.

    **Misfit.** Spread knows no bias. A logistic regression of the domain at held-out
    rows, with the log ratio as offset, finds what is missing in it as a polynomial of
    the third degree in the log ratio, a second one what is missing as such polynomials
    in the columns (where there are 12 rows of each sample for every coefficient, and
    without products of columns). Coefficients are
    shrunk by James and Stein's factor, so that a right model gets next to 0. The
    interval is that of a normal error with a bias of this size in an unknown direction,
    as in [2]_; the ratio itself is not moved.

    **Support.** No row of a sample says anything where the sample has none. A row whose
    log ratio is above that of all held-out rows of the denominator, or that lies
    outside the range of one of its columns by more than a quarter of it, has an upper
    end of infinity, and a lower end of at most n over 3 (at a level of .9, with n rows
    of the denominator), for so many rows show no larger ratio; likewise with the
    numerator's rows, whose absence leaves 0 as the lower end. ``log_ratio_std`` is the
    spread alone, which may be small there if the model is rigid.

    **What the interval does not know**: a misfit that these terms do not have, such as
    small clusters that a smooth ratio passes over; a gap inside the range of both
    samples, where neither has a row; rows that depend on each other, unless `groups`
    says so. "Intervals of the ratio" in the documentation has the measured coverage.

    References
    ----------
    .. [1] J. Shao, C. F. J. Wu. "A General Theory for Jackknife Variance Estimation",
       Annals of Statistics 17, 1989.
    .. [2] T. B. Armstrong, M. Kolesár. "Optimal Inference in a Class of Regression
       Models", Econometrica 86, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skdre import GaussianRatio, JackknifeRatio, pool
    >>> rng = np.random.default_rng(0)
    >>> p, q = rng.normal(0.5, 1, (500, 1)), rng.normal(0, 1, (500, 1))
    >>> X, y = pool(numerator=p, denominator=q)
    >>> ratio = JackknifeRatio(GaussianRatio(), random_state=0).fit(X, y)
    >>> lower, upper = ratio.ratio_interval([[0.25], [1.25]], level=0.95)
    >>> bool(np.all((lower < np.exp([0, 0.5])) & (np.exp([0, 0.5]) < upper)))
    True
    """

    _parameter_constraints = {  # noqa: RUF012
        "estimator": [HasMethods(["fit"])],
        "n_folds": [Interval(Integral, 2, None, closed="left")],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        n_folds: int = 5,
        n_repeats: int = 4,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.n_folds = n_folds
        self.n_repeats = n_repeats
        self.n_jobs = n_jobs
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator).input_tags
        for kind in ("allow_nan", "categorical", "string"):
            setattr(tags.input_tags, kind, getattr(inner, kind))
        return tags

    @staticmethod
    def _check_params(X, estimator):
        takes_nan = get_tags(estimator).input_tags.allow_nan
        return {
            "dtype": None if is_frame(X) else np.float64,
            "ensure_all_finite": "allow-nan" if takes_nan else True,
        }

    @with_callbacks
    # The estimator validates its own parameters when it is fitted.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Rows,
        y: Values,
        sample_weight: Values | None = None,
        groups: Values | None = None,
    ) -> Self:
        """Fit the estimator, and its clones without a part of the rows each.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows of both samples, as the estimator takes them.
        %(y)
        %(sample_weight)
        %(groups)

        Returns
        -------
        self : JackknifeRatio

        Raises
        ------
        ValueError
            If the input or a parameter is not as described, or a sample has fewer
            groups than `n_folds`.
        """
        check_is_ratio(self.estimator)
        check_params = self._check_params(X, self.estimator)
        given = check_pool(self, X, y, sample_weight, **check_params)
        inputs = X if is_frame(X) else given.X
        rng = check_random_state(self.random_state)
        seeded = give_seeds(clone(self.estimator), rng, replace=False)
        data = {"X": X, "y": y}
        root = self._init_callback_context(max_subtasks=None)
        root.call_on_fit_task_begin(estimator=self, **data)
        whole = clone(seeded)
        with inner_fit(root, self, whole, "fit-estimator", **data):
            fit_weighted(
                whole,
                inputs,
                given.classes[given.is_numerator.astype(int)],
                given.sample_weight,
                "estimator",
            )
        rows = distinct_rows(given)
        codes = group_codes(groups, len(given.X))
        dealt = [
            deal(rows, self.n_folds, given, codes, rng) for _ in range(self.n_repeats)
        ]
        fits: list[list[Any]] = []
        evidence = None
        if all(shares is not None for shares, _ in dealt):
            part = safe_indexing(inputs, rows.index)
            cluster = dealt[0][1].cluster_of_rows(len(rows.index))
            with inner_fit(root, self, clone(seeded), "fit-parts", **data):
                fitted = Parallel(n_jobs=self.n_jobs)(
                    delayed(_fit_part)(
                        seeded, part, rows.is_numerator, rows.weight * seen, cluster
                    )
                    for shares, _ in dealt
                    for seen in 1 - shares
                )
            n_folds = len(dealt[0][0])
            fits = [fitted[k : k + n_folds] for k in range(0, len(fitted), n_folds)]
            held_out = np.mean(
                [
                    share * predict_log_ratio(each, part)
                    for (shares, _), repeat in zip(dealt, fits, strict=True)
                    for share, each in zip(shares, repeat, strict=True)
                ],
                axis=0,
            )
            evidence = Evidence.of(
                jackknife_scale(1 - dealt[0][0]),
                n_folds,
                held_out * n_folds,
                _numbers(given.X)[rows.index],
                rows.is_numerator,
                rows.weight,
                cluster,
            )
        validate_data(self, X, skip_check_array=True)
        self.classes_ = given.classes
        self.estimator_ = whole
        self.estimators_ = fits
        self._evidence = evidence
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    def _inputs(self, X):
        """Rows as the estimator takes them, and as an array."""
        given = getattr(self, "estimator_", self.estimator)
        values = self._validate_rows(X, **self._check_params(X, given))
        return (X if is_frame(X) else values), values

    def decision_function(self, X: Rows) -> Floats:
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, that of ``estimator_``.
        """
        inputs, _ = self._inputs(X)
        return predict_log_ratio(self.estimator_, inputs)

    def _spread(self, X):
        inputs, values = self._inputs(X)
        fits = [
            np.array([predict_log_ratio(each, inputs) for each in repeat])
            for repeat in self.estimators_
        ]
        answer = predict_log_ratio(self.estimator_, inputs)
        return Spread(answer, fits, _numbers(values))


def _numbers(X):
    """The numeric columns; NaN in those of others."""
    numbers, is_numeric = as_numbers(X)
    return np.where(is_numeric, numbers.astype(np.float64), np.nan)
