"""GaussianRatio: the ratio of two fitted Gaussians."""

from collections.abc import Iterable
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import BaseCrossValidator

from skdre._compat import CallbackSupportMixin, Interval, StrOptions, fit_context
from skdre._core.arrays import HOST, on_host, place_of
from skdre._core.chunked_rows import ChunkedRows
from skdre._core.chunks import is_collection
from skdre._core.folds import held_out_weights
from skdre._core.moments import Shrinkage, shrunk_moments, size_of
from skdre._core.reduce import InMemory
from skdre._core.samples import PooledRows
from skdre._core.scales import column_scales
from skdre._core.splits import split_pool
from skdre._core.stream import (
    LearnsPortions,
    Stream,
    learn_portion,
    raw_totals,
)
from skdre._core.tasks import single_task
from skdre._core.types import Floats, Rows, Values
from skdre.base import ArrayAPIMixin, DensityRatioMixin, split_samples
from skdre.classification._gaussian_choice import Choice, choose
from skdre.classification._gaussian_sums import (
    Frame,
    fit_moments,
    moment_sums,
    of_sample,
    tails_of,
)

__all__ = ["GaussianRatio"]

# Rows of each sample that partial_fit keeps to choose all but the moments.
_FIRST_ROWS = 2000


class GaussianRatio(
    ArrayAPIMixin,
    LearnsPortions,
    DensityRatioMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    r"""Density ratio of two Gaussians, their moments shrunk together.

    The Gaussian plug-in: a mean and a covariance are estimated for each sample, and the
    log ratio is that of the two Gaussians, a quadratic function. Quadratic discriminant
    analysis is the same without shrinkage.

    Parameters
    ----------
    shrink : bool or {"cv", "james-stein"}, default="cv"
        How to shrink the difference of the two means, and that of the two covariances.

        * "cv", or True: by the rule with the least log loss at held-out rows, see
          Notes;
        * "james-stein": by as much as sampling noise alone would make of them;
        * False: not at all.

        Shrunk, the log ratio is close to linear where the samples do not show two
        covariances, and close to 0 where they show no difference.
    tails : {"auto", "normal"}, default="auto"
        "auto" takes multivariate t distributions in place of Gaussians where rows lie
        further out than Gaussians have them, and the held-out loss is smaller. Only
        where `shrink` is "cv"; otherwise, and with "normal", Gaussians it is.
    cv : int, cross-validation generator or iterable, default=5
        Number of folds for the choice of the rule, or what splits X and y, for instance
        by groups. What a split does not hold out is fitted.
    %(decay)

    Attributes
    ----------
    moments_ : skdre._core.moments.JointMoments
        The two distributions in coordinates where both have independent columns.
    means_ : ndarray of shape (2, n_features_in_)
        Estimated means, the denominator's first.
    covariances_ : ndarray of shape (2, n_features_in_, n_features_in_)
        Estimated covariances, the denominator's first; scatter matrices where `df_` is
        finite.
    df_ : float
        Degrees of freedom of the t distributions, infinity for Gaussians.
    shrinkage_ : tuple of float
        The share of the difference of the means, and of the covariances, that is left
        (of its length, in units of the columns): 1 for no shrinkage, 0 for no
        difference.
    shrinkage_rules_ : tuple
        The rule for the means, and for the covariances: "james-stein", "linear",
        "equal" for no difference, "none" for all of it, or a threshold in standard
        errors.
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    skdre.ClassifierRatio : With ``LinearDiscriminantAnalysis()`` or
        ``QuadraticDiscriminantAnalysis()`` the same without shrinkage, and without
        sample weights.

    Notes
    -----
    Nothing is better on Gaussians, however far apart they lie, and the fit takes
    milliseconds. On anything else the estimate goes wrong without saying so: see the
    held-out ``score`` of others beside it.

    **The rules.** Two have one factor for the means and one for the covariances, in
    coordinates where the pooled covariance is the identity. There sampling adds
    :math:`\nu = d (1/n_q + 1/n_p)` to the squared length of the difference of the
    means, and :math:`d (d + 1) / 4` times the same to that of half the difference of
    the covariances. "james-stein" is James and Stein's, positive part [2]_,

    .. math:: c = \sqrt{(1 - \nu / \|\Delta\|^2)_+},

    and where :math:`\|\Delta\|^2` is less than about five of its standard deviations
    above the noise, the noise is taken to be three of them larger, so that what noise
    alone may well make counts little. "linear" is
    :math:`(1 - \nu / \|\Delta\|^2)_+`, the factor with the least expected error. What
    is taken from the covariances goes to the pooled one, itself shrunk towards a
    multiple of the identity (after scaling the columns). A *threshold* t looks at each
    column's mean, or each entry of the covariances, by itself: what is less than t
    standard errors is 0, and of a larger difference :math:`\delta` with the standard
    error s the part :math:`(t s)^2 / \delta` is taken off (the non-negative garrote
    [3]_). It finds a few columns or pairs of them among many, and many weak
    correlations that a common factor shrinks away.

    **The choice.** Both rules and the tails are chosen together by the log loss at
    held-out rows, the one behind ``score``, with five folds over the distinct rows, of
    5,000 a side at most. "james-stein" knows how large the noise of Gaussians is: it is
    kept unless another rule is better by two standard errors of the difference. On
    heavy tails (fourth moments more than three standard errors above those of
    Gaussians) half a standard error is enough, and the log ratio is 0 where nothing is
    better than that by two. With fewer than 20 observations in a sample, or more than
    200 columns, "james-stein" is taken unseen.

    **Heavy tails.** The log ratio of two Gaussians is quadratic, so that rows far out
    decide on the moments, and have the largest log ratios. That of two multivariate t
    distributions levels off. Locations and scatter matrices are those of maximum
    likelihood by EM [4]_, the degrees of freedom the most likely of 1.5, 2.5, 4, 8 and
    16, the same for both samples. "Gaussian plug-in: shrinkage and tails" in the
    documentation has the errors of all this, and "Which estimator to take" compares it
    with quadratic discriminant analysis.

    With more columns than rows the log ratio is that of heavily shrunk moments: where
    the samples come from one distribution it is close to 0, as it should be; where a
    mean or a variance does differ, most of the difference is lost.

    A few extreme values in a column, such as two of 9999 in a thousand rows, are set to
    a value five standard deviations from the others, with a warning.

    Under scikit-learn's array API dispatch results follow the library and the device of
    X: see "Arrays on a GPU" in the documentation.

    References
    ----------
    .. [1] J. H. Friedman. "Regularized Discriminant Analysis", Journal of the American
       Statistical Association 84, 1989.
    .. [2] W. James, C. Stein. "Estimation with Quadratic Loss", Fourth Berkeley
       Symposium, 1961.
    .. [3] L. Breiman. "Better Subset Regression Using the Nonnegative Garrote",
       Technometrics 37, 1995, Eq. 3.
    .. [4] K. Lange, R. Little, J. Taylor. "Robust Statistical Modeling Using the t
       Distribution", Journal of the American Statistical Association 84, 1989.

    Examples
    --------
    >>> from skdre import GaussianRatio
    >>> from skdre.datasets import make_warped_shift
    >>> from skdre.metrics import log_ratio_mse
    >>> shift = make_warped_shift(500, 2, random_state=0)
    >>> X, y = shift.pool()
    >>> ratio = GaussianRatio().fit(X, y)
    >>> bool(log_ratio_mse(shift.log_ratio(X), ratio.decision_function(X)) < 0.02)
    True
    """

    _fits_collections = True
    _parameter_constraints = {  # noqa: RUF012
        "shrink": ["boolean", StrOptions({"cv", "james-stein"})],
        "tails": [StrOptions({"auto", "normal"})],
        "cv": ["cv_object"],
        "decay": [Interval(Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        *,
        shrink: bool | Literal["cv", "james-stein"] = "cv",
        tails: Literal["auto", "normal"] = "auto",
        cv: int | BaseCrossValidator | Iterable[Any] | None = 5,
        decay: float = 1.0,
    ) -> None:
        self.shrink = shrink
        self.tails = tails
        self.cv = cv
        self.decay = decay

    @fit_context(prefer_skip_nested_validation=True)
    @single_task
    def fit(self, X: Rows, y: Values, sample_weight: Values | None = None) -> Self:
        """Estimate the moments of the two samples.

        Parameters
        ----------
        %(X) Also a Dask array or data frame with chunks along the rows.
        %(y)
        %(sample_weight)

        Returns
        -------
        self : GaussianRatio

        Raises
        ------
        ValueError
            If the input or a parameter is not as described, or a split of `cv` leaves
            a sample without rows to fit or to hold out.
        """
        place, X, y, sample_weight = on_host(X, y, sample_weight)
        rows: InMemory | ChunkedRows
        if is_collection(X):
            rows = chunks = ChunkedRows(self, X, y, sample_weight)
            samples, scales = chunks.pilot, chunks.column_scales()
            classes = chunks.classes
            raw = tuple(each.weight for each in chunks.surveys)
        else:
            samples = split_samples(self, X, y, sample_weight)
            classes, rows = samples.classes, InMemory.of(samples).at(place)
            scales = column_scales(samples.parts, samples.names)
            raw = raw_totals(classes, y, sample_weight)
        parts = [(scales.draw_in(each), weight) for each, weight in samples.parts]
        origin, unit = size_of([each for each, _ in parts])
        choice = Choice(Shrinkage("none", "none"), np.inf, None)
        if self.shrink in ("cv", True):
            choice = choose(
                [((each - origin) / unit, weight) for each, weight in parts],
                partial(self._held_out, samples, X, y, sample_weight),
                is_normal=self.tails == "normal",
            )
        elif self.shrink:
            choice = choice._replace(shrinkage=Shrinkage())
        frame = Frame.of(scales, origin, unit)
        sums = fit_moments(rows, frame, choice)

        # Weights as they came, for portions that may follow.
        of_all = (
            each.scaled(total / each.weight)
            for each, total in zip(sums, raw, strict=True)
        )
        self._stream = Stream(classes, None, tuple(of_all))
        self._frame = frame
        self._set_moments(sums, choice.shrinkage, choice.df)
        self.classes_ = classes
        self._move_results(place)
        return self

    def _reference_array(self):
        return self.moments_.center

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Rows,
        y: Values,
        classes: Values | None = None,
        sample_weight: Values | None = None,
    ) -> Self:
        """Learn from a portion of the rows, beside all that came before.

        The first portions are kept, and fitted together, until there are 2,000 rows of
        each sample. From then on, or after ``fit``, the bounds of the columns, the
        rules of `shrinkage_rules_` and `df_` stay as they are, and a portion adds to
        the sums of which the moments are made, so that the result is that of all rows
        at once with these. Two things differ: where nothing of a difference was left
        ("equal") it is shrunk by "james-stein", for many rows may show what the first
        did not; and the rows of a portion are weighted by the t distributions that are
        known by then, where `df_` is finite. A repeat of a row of an earlier portion is
        not known for one.

        Parameters
        ----------
        %(X) They may be of one sample alone.
        %(y)
        %(classes_of_stream)
        %(sample_weight)

        Returns
        -------
        self : GaussianRatio

        Raises
        ------
        ValueError
            If a parameter or the input is invalid, or a label is none of the two.

        Examples
        --------
        >>> from skdre import GaussianRatio
        >>> from skdre.datasets import make_warped_shift
        >>> ratio = GaussianRatio()
        >>> for seed in range(3):
        ...     X, y = make_warped_shift(200, 2, random_state=seed).pool()
        ...     ratio = ratio.partial_fit(X, y)
        >>> ratio.predict_ratio(X).shape
        (400,)
        """
        place, X, y, sample_weight = on_host(X, y, sample_weight)
        learn_portion(self, X, y, classes, sample_weight, n_first=_FIRST_ROWS)
        self._move_results(place)
        return self

    def _add_sums(self, portions, sums):
        """Fit the sums before and those of a portion of each sample; returns both."""
        added = []
        for k, (portion, before) in enumerate(zip(portions, sums, strict=True)):
            if portion is not None:
                tails = tails_of(self.df_, of_sample(before, self._frame, k))
                before = before + moment_sums(portion, self._frame, k, tails)
            added.append(before)
        rules = [
            "james-stein" if rule == "equal" else rule for rule in self.shrinkage_rules_
        ]
        self._set_moments(added, Shrinkage(*rules), self.df_)
        return tuple(added)

    def _set_moments(self, sums, shrinkage, df):
        frame = self._frame
        self.moments_ = shrunk_moments(
            *(of_sample(each, frame, k) for k, each in enumerate(sums)),
            shrinkage,
            origin=frame.origin,
            unit=frame.unit,
            low=frame.low,
            high=frame.high,
            df=df,
        )
        self.shrinkage_rules_ = shrinkage.means, shrinkage.covariances

    def _held_out(self, samples, X, y, sample_weight, sizes):
        """Weights with which each fold holds out the first rows of both samples."""
        cv = 5 if self.cv is None else self.cv
        if not isinstance(cv, Integral):
            if is_collection(X):
                raise ValueError(
                    "cv must be a number of folds where X is a collection, got "
                    f"{cv!r}: the rules are then chosen on rows drawn at random from "
                    "its chunks, which a splitter does not know."
                )
            parts = list(split_pool(cv, samples, X, y, sample_weight))
            held = [[part[i] for part in parts] for i in (3, 1)]
            held = [
                np.array(each)[:, :size] for each, size in zip(held, sizes, strict=True)
            ]
            # Of a few rows of many a split may hold out none.
            kept = np.all([each.any(axis=1) for each in held], axis=0)
            return [each[kept] for each in held] if kept.any() else None
        first = PooledRows.of(samples)
        kept = [
            np.arange(len(weight)) < size
            for size, (_, weight) in zip(sizes, samples.parts, strict=True)
        ]
        first = first.weighted(np.where(np.concatenate(kept), first.weight, 0.0))
        held = held_out_weights(first, int(cv))
        return None if held is None else first.split(held, axis=1)

    @property
    def means_(self) -> Floats:
        return self.moments_.means

    @property
    def covariances_(self) -> Floats:
        return self.moments_.covariances

    @property
    def df_(self) -> float:
        return self.moments_.df

    @property
    def shrinkage_(self) -> tuple[float, float]:
        return self.moments_.shrinkage

    def decision_function(self, X: Rows) -> Floats:
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, finite.
        """
        X = self._validate_rows(X)
        return place_of(X).put(self.moments_).log_ratio(X)

    def _log_ratio_and_gradient(self, X):
        """Log ratio at rows, and its gradient, of the shape of X."""
        moments = HOST.put(self.moments_)
        return moments.log_ratio(X), moments.log_ratio_gradient(X)
