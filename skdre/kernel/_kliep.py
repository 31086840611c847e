r"""Kullback-Leibler importance estimation (KLIEP).

With r(x) = sum_k alpha_k k(x, c_k), b_k the mean of k(., c_k) over the denominator's
rows and pi = b alpha, the constraint mean_q r = 1 says that pi lies on the simplex, and

.. math:: \max_\pi \sum_j w_j \log(L \pi)_j, \qquad L_{jk} = k(x^p_j, c_k) / b_k,

is the maximum likelihood of the proportions of a mixture whose components L are known.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state

from skdre._compat import CallbackSupportMixin, Interval, StrOptions, fit_context
from skdre._core.chunked_rows import ChunkedRows
from skdre._core.chunks import is_collection
from skdre._core.reduce import InMemory, Sums, nothing
from skdre._core.tasks import single_task
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre.base import DensityRatioMixin, log_of_ratio, split_samples
from skdre.kernel._bandwidth import bandwidth_grid, best_bandwidth
from skdre.kernel._centers import CenterKernel, choose_centers, kernel_of
from skdre.kernel._gaussian import kernel_product
from skdre.kernel._linear_algebra import submatrix
from skdre.kernel._mixture import TINY, MixturePasses, MixtureRows, solve_mixture
from skdre.kernel._search import (
    SEARCH_ROWS,
    first_of_samples,
    log_loss,
    make_folds,
)
from skdre.kernel._standardize import (
    standardize,
    standardize_chunks,
    standardize_in_memory,
)

# The least ratio that is predicted, and that counts in the search; doc/benchmarks/
# kernel_floors.md has the errors with others.
FLOOR = 1e-4
# A start that leaves a row with less of its largest component than this is given up:
# the Hessian, of its inverse square, would overflow.
_POOR_START = 1e-30
# The gap that the fit to all rows aims at, as a share of tol: the likelihood is flat at
# its optimum, and the ratio must not depend on who holds the rows.
_MARGIN = 1e-3
# Share of equal proportions in the start of passes over all rows.
_UNIFORM_SHARE = 1e-3
# The mean of a kernel over the denominator's rows is at least that of a sample with
# this many rows at the centre: below it the mean rests on no row, and the ratio that
# the kernel carries would have no bound.
_LEAST_ROWS = 0.5


def fit_alpha(A, weight, mean_q, n_q, *, present=True, start=None, **limits):
    """KLIEP's coefficients alpha of the columns of A, for one bandwidth.

    A holds the kernels, and the constant if there is one, at the numerator's rows of
    these weights; `mean_q` are the means of its columns over the `n_q` rows of the
    denominator, taken as at least 1 / (2 n_q). Columns that are not `present` are left
    out; `start` are proportions, `limits` those of :func:`solve_mixture`. Returns alpha
    and the mixture, which is None if every column vanishes at a row, and the likelihood
    with it.
    """
    alpha = np.zeros(A.shape[1])
    usable = np.flatnonzero(np.broadcast_to(present, alpha.shape))
    if usable.size == 0:
        return alpha, None
    mean_q = np.maximum(mean_q, _LEAST_ROWS / n_q)
    rows = np.flatnonzero(weight)
    L = submatrix(A, rows, usable) / mean_q[usable]
    # A factor of a row leaves the optimum where it is, and keeps small values of a
    # kernel from being lost beside smaller ones.
    peak = L.max(axis=1)
    if peak.min() <= TINY:
        return alpha, None
    L /= peak[:, None]
    share = weight[rows] / weight.sum()
    uniform = np.full(usable.size, 1 / usable.size)
    start = uniform if start is None else start[usable]
    start = start / max(start.sum(), TINY)
    if (L @ start).min() <= _POOR_START:
        start = uniform
    rows = MixtureRows(L, share, start)
    mixture = solve_mixture(rows, start, **limits)
    mixture.objective += float(share @ np.log(peak))
    alpha[usable] = mixture.proportions / mean_q[usable]
    proportions = np.zeros(A.shape[1])
    proportions[usable] = mixture.proportions
    mixture.proportions = proportions
    return alpha, mixture


def cross_validate(kernel_p, kernel_q, folds, center_of_row, gammas, *, tol, max_iter):
    """Held-out score of KLIEP for each bandwidth, in nats; -inf where kernels vanish.

    Each fold holds out rows of both samples, and the centres that they are. The score
    is minus the class-balanced log loss. The numerator's mean log ratio alone is won by
    kernels that happen to lie between the denominator's rows.
    """
    n_centers = len(kernel_p.centers)
    is_center = center_of_row >= 0
    total_p = sum(fold.held_p.sum() for fold in folds)
    total_q = sum(fold.held_q.sum() for fold in folds)
    scores = np.full(len(gammas), -np.inf)
    start = None
    for i, gamma in enumerate(gammas):
        A, B = kernel_p.matrix(gamma), kernel_q.matrix(gamma)
        if B[:, :n_centers].max() <= TINY:
            continue
        loss = 0.0
        for fold in folds:
            trained = np.bincount(
                center_of_row[is_center], fold.train_p[is_center], n_centers
            )
            present = np.ones(A.shape[1], dtype=bool)
            present[:n_centers] = trained > 0
            n_q = fold.train_q.sum()
            alpha, mixture = fit_alpha(
                A,
                fold.train_p,
                fold.train_q @ B / n_q,
                n_q,
                present=present,
                start=start,
                tol=tol,
                max_iter=max_iter,
            )
            if mixture is None:
                break
            start = mixture.proportions
            rows_p, rows_q = np.flatnonzero(fold.held_p), np.flatnonzero(fold.held_q)
            loss += log_loss(
                A[rows_p] @ alpha,
                fold.held_p[rows_p] / total_p,
                B[rows_q] @ alpha,
                fold.held_q[rows_q] / total_q,
                FLOOR,
            )
        else:
            scores[i] = -loss
    return scores


@dataclass(frozen=True)
class ColumnSums(Sums):
    """Sums over a sample for KLIEP's constraint, and for its warning.

    Attributes
    ----------
    weight : float
    first : ndarray of shape (n_columns,)
        Weighted columns.
    unseen : int
        Rows at which every column vanishes.
    """

    weight: float
    first: np.ndarray
    unseen: int


def column_sums(kernel, gamma):
    """Reducer of both samples."""
    first, unseen = np.zeros(kernel.n_columns), 0
    for rows, block in kernel.blocks(gamma):
        first += kernel.weight[rows] @ block
        unseen += np.count_nonzero(block.max(axis=1) <= TINY)
    return ColumnSums(kernel.weight.sum(), first, unseen)


def scaled_columns(kernel, gamma, columns, scale):
    """Yield likelihoods of a portion's rows, and their weights."""
    for rows, block in kernel.blocks(gamma):
        yield block[:, columns] / scale, kernel.weight[rows]


def fit_all_rows(kernels, n_centers, gamma, pilot=None, *, tol, max_iter):
    """Coefficients and mixture of all rows, warning where kernels vanish at some.

    `pilot` is the kernel at some of the numerator's rows, from whose optimum passes
    over all rows start; without it few rows in memory are fitted at once.
    """
    q, p = kernels.totals(partial(column_sums, gamma=gamma))
    mean_q = q.first / q.weight
    if p.unseen or mean_q[:n_centers].max() <= TINY:
        warnings.warn(
            f"With gamma={gamma:.3g} every kernel of KLIEPRatio vanishes at "
            f"{p.unseen} rows of the numerator, which are left out, "
            "or at all of the denominator's. Take a smaller gamma, or gamma='cv' "
            "and intercept=True.",
            ConvergenceWarning,
            stacklevel=3,
        )
    near = {"tol": tol, "max_iter": max_iter}
    limits = near | {"aim": _MARGIN * tol}
    if pilot is None and kernels.in_memory:
        _, kernel = kernels.totals(nothing, lambda portion: portion)
        return _fit_seen(kernel, gamma, mean_q, q.weight, limits)
    mixture = None
    if pilot is not None:
        _, mixture = _fit_seen(pilot, gamma, mean_q, q.weight, near)
    mean_q = np.maximum(mean_q, _LEAST_ROWS / q.weight)
    start = np.full(len(mean_q), 1 / len(mean_q))
    if mixture is not None:
        # No row that is seen has a density of 0.
        start = _UNIFORM_SHARE * start + (1 - _UNIFORM_SHARE) * mixture.proportions
    columns = partial(scaled_columns, gamma=gamma, columns=slice(None), scale=mean_q)
    rows = MixturePasses(kernels, columns, start)
    mixture = solve_mixture(rows, start, **limits)
    mixture.objective += rows.log_peak
    return mixture.proportions / mean_q, mixture


def _fit_seen(kernel, gamma, mean_q, n_q, limits):
    """:func:`fit_alpha` on the rows at which some column does not vanish."""
    A = kernel.matrix(gamma)
    # A centre sees itself, so that some rows are left.
    weight = np.where(A.max(axis=1) > TINY, kernel.weight, 0)
    if not weight.any():
        return np.zeros(A.shape[1]), None
    return fit_alpha(A, weight, mean_q, n_q, **limits)


class KLIEPRatio(DensityRatioMixin, CallbackSupportMixin, BaseEstimator):
    r"""Density ratio by the Kullback-Leibler importance estimation procedure.

    Maximises the likelihood of the numerator's rows under r(x) q(x), with the ratio a
    sum of Gaussian kernels around some of them:

    .. math::
        \max_{\alpha \ge 0} \tfrac1{n_p} \sum_j \log r(x^p_j)
        \quad\text{s.t.}\quad \tfrac1{n_q} \sum_i r(x^q_i) = 1, \qquad
        r(x) = \alpha_0 + \sum_k \alpha_k \exp(-\gamma \|x - c_k\|^2).

    The problem is convex, and is solved to a certified distance from its optimum.

    Parameters
    ----------
    gamma : float, list of float or {"cv", "median", "scale"}, default="cv"
        Bandwidth of the kernel exp(-gamma |x - c|^2), in units of the standardised
        columns where `standardize` is true. A list, or "cv", which stands for 13 values
        from 1/128 to 32 times that of "median", is searched by cross-validation.
        "median" is 1 / (2 m^2), with m the median distance between pairs of rows;
        "scale" is 1 / (n_features * variance).
    n_components : int, default=100
        Most centres, which are rows of the numerator.
    intercept : bool, default=True
        Whether the ratio has the constant :math:`\alpha_0 \ge 0`, which is all that is
        left far from the numerator's rows, and at most 1. Without it the ratio vanishes
        there.
    cv : int, cross-validation generator or iterable, default=5
        Number of folds, into which the rows of each sample are dealt along a random
        projection (fewer where a sample has fewer rows), or what splits X and y, for
        instance by groups, as scikit-learn's splitters do.
    %(standardize)
    tol : float, default=1e-6
        Distance to the optimal mean log ratio to reach, in nats.
    max_iter : int, default=100
        Most Newton steps.
    %(random_state) Chooses the centres, where there are more rows than
        `n_components`, and the folds.

    Attributes
    ----------
    objective_ : float
        Mean log ratio at the numerator's rows, in nats, an estimate of the
        Kullback-Leibler divergence of p from q that is biased upwards.
    dual_gap_ : float
        Bound of the optimal objective minus `objective_`, in nats.
    gamma_ : float
        The bandwidth used.
    gammas_, cv_scores_ : ndarray of shape (n_gammas,)
        The bandwidths searched and their scores, in nats: minus the class-balanced log
        loss of held-out rows, and -inf where every kernel vanishes. NaN where nothing
        was searched, or a sample has a single row.
    centers_ : ndarray of shape (n_centers, n_features)
        Centres, standardised.
    dual_coef_ : ndarray of shape (n_centers,)
        Their coefficients :math:`\alpha_k`, most of them 0.
    intercept_ : float
        The constant :math:`\alpha_0`.
    %(center_scale)
    %(classes_)
    n_iter_ : int
        Newton steps of the fit at `gamma_`.
    %(n_features_in_)
    %(feature_names_in_)

    Warns
    -----
    ConvergenceWarning
        If `max_iter` steps did not reach `tol`, or every kernel vanishes at a row of
        the numerator or at all of the denominator's.

    See Also
    --------
    skdre.LSIFRatio : Least squares instead of the likelihood, and a closed form.
    skdre.KMMRatio : Weights that match kernel means.

    Notes
    -----
    The log ratio is at least log(0.0001). The mean of a kernel over the denominator's
    rows counts as at least 1 / (2 n_denominator), half of what one row at its centre
    would give: below it the mean rests on no row, and the ratio would have no bound.
    Where that binds, the mean of the ratio over the denominator's rows is below 1.

    *Cross-validation.* Held-out rows of the numerator are not centres of the fit that
    is scored on them. Rows of both samples are held out, unlike in [1]_, which holds
    out the numerator's and scores their mean log ratio: a kernel that lies between the
    denominator's rows then has a large ratio at no cost, and bandwidths are chosen too
    small. The score is minus the log loss of the domains, as in ``score``.

    Sample weights are repetitions also here: a row of weight 2 is two rows, which may
    fall into different folds.

    *Many rows.* Where a sample has more than 20,000 rows, the bandwidth is chosen at
    20,000 of each, taken at random by a fixed rule (at all if `cv` is a splitter; at
    the 20,000 that are held of a collection). The coefficients are those of all rows,
    found in a few passes over them from the optimum of those. Memory beyond the data is
    that of the kernel values at the rows of the search, up to three times.

    References
    ----------
    .. [1] Sugiyama, Suzuki, Nakajima, Kashima, von Buenau, Kawanabe (2008). Direct
       importance estimation for covariate shift adaptation. AISM 60.
    .. [2] Kim, Carbonetto, Stephens, Anitescu (2020). A fast algorithm for maximum
       likelihood estimation of mixture proportions using sequential quadratic
       programming. JCGS 29.
    .. [3] Choi, Liao, Ermon (2021). Featurized density ratio estimation. UAI,
       section 2.2.

    Examples
    --------
    >>> from skdre import KLIEPRatio
    >>> from skdre.datasets import make_warped_shift
    >>> shift = make_warped_shift(500, 2, random_state=0)
    >>> X, y = shift.pool()
    >>> ratio = KLIEPRatio(random_state=0).fit(X, y)
    >>> ratio.predict_ratio(shift.denominator).shape
    (500,)
    >>> bool(ratio.dual_gap_ <= 1e-6)
    True
    """

    _fits_collections = True
    _parameter_constraints = {  # noqa: RUF012
        "gamma": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"cv", "median", "scale"}),
            "array-like",
        ],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "intercept": ["boolean"],
        "cv": ["cv_object"],
        "standardize": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        gamma: float | Sequence[float] | Literal["cv", "median", "scale"] = "cv",
        *,
        n_components: int = 100,
        intercept: bool = True,
        cv: int | BaseCrossValidator | Iterable[Any] | None = 5,
        standardize: bool = True,
        tol: float = 1e-6,
        max_iter: int = 100,
        random_state: RandomState = None,
    ) -> None:
        self.gamma = gamma
        self.n_components = n_components
        self.intercept = intercept
        self.cv = cv
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    @single_task
    def fit(self, X: Rows, y: Values, sample_weight: Values | None = None) -> Self:
        """Choose the bandwidth and fit the coefficients.

        Parameters
        ----------
        %(X) Also a Dask array or data frame with chunks along the rows.
        %(y)
        %(sample_weight)

        Returns
        -------
        self : KLIEPRatio

        Raises
        ------
        ValueError
            If a parameter or the input is invalid, or a split of `cv` leaves a sample
            without rows to fit or to score.
        """
        if is_collection(X):
            chunks = ChunkedRows(self, X, y, sample_weight)
            standardized = standardize_chunks(chunks, self.standardize)
        else:
            samples = split_samples(self, X, y, sample_weight)
            standardized = standardize_in_memory(samples, self.standardize)
        samples = standardized.some
        random_state = check_random_state(self.random_state)
        gammas = bandwidth_grid(self.gamma, samples)
        constant = float(self.intercept)
        _, (X_p, p_weight) = samples.parts
        centers, center_of_row = choose_centers(
            X_p, p_weight, self.n_components, random_state
        )
        rows, searched = standardized.rows, samples
        is_large = not rows.in_memory or max(rows.n_rows) > SEARCH_ROWS
        if is_large and (self.cv is None or isinstance(self.cv, Integral)):
            searched = first_of_samples(samples)
        kernel_q, kernel_p = (
            CenterKernel(rows_of, weight, centers, constant)
            for rows_of, weight in searched.parts
        )
        center_of_row = center_of_row[: len(searched.numerator)]
        limits = {"tol": self.tol, "max_iter": self.max_iter}

        scores = np.full(len(gammas), np.nan)
        # A single bandwidth in a list is scored, one given by itself is not.
        if len(gammas) > 1 or np.ndim(self.gamma) == 1:
            folds = self._folds(searched, X, y, sample_weight, random_state)
            if folds:
                scores = cross_validate(
                    kernel_p, kernel_q, folds, center_of_row, gammas, **limits
                )
        gamma = gammas[best_bandwidth(gammas, scores, samples)]
        if is_large:
            _, (X_p, p_weight) = first_of_samples(samples).parts
            pilot = CenterKernel(X_p, p_weight, centers, constant)
            kernels = rows.prepared(
                partial(kernel_of, centers=centers, constant=constant)
            )
        else:
            kernels, pilot = InMemory(kernel_q, kernel_p), None
        alpha, mixture = fit_all_rows(kernels, len(centers), gamma, pilot, **limits)
        if not mixture.converged:
            warnings.warn(
                f"KLIEPRatio stopped after {mixture.n_iter} steps with a duality gap "
                f"of {mixture.gap:.3g}, above tol={self.tol:.3g}. Increase max_iter or "
                "tol.",
                ConvergenceWarning,
                stacklevel=2,
            )

        self.classes_ = samples.classes
        self.center_, self.scale_ = standardized.center, standardized.scale
        self.gamma_, self.gammas_, self.cv_scores_ = float(gamma), gammas, scores
        self.centers_ = centers
        self.dual_coef_ = alpha[: len(self.centers_)]
        self.intercept_ = float(alpha[-1]) if self.intercept else 0.0
        self.objective_, self.dual_gap_ = mixture.objective, mixture.gap
        self.n_iter_ = max(mixture.n_iter, 1)
        return self

    def _folds(self, samples, X, y, sample_weight, random_state):
        if not is_collection(X):
            return make_folds(self.cv, samples, X, y, sample_weight, random_state)
        if self.cv is not None and not isinstance(self.cv, Integral):
            raise ValueError(
                f"cv must be a number of folds where X is a collection, got {self.cv!r}"
                ": the bandwidth is then chosen on rows drawn at random from its "
                "chunks, which a splitter does not know."
            )
        return make_folds(self.cv, samples, None, None, None, random_state)

    def decision_function(self, X: Rows) -> Floats:
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, at least log(0.0001).
        """
        Z = standardize(self._validate_rows(X), self.center_, self.scale_)
        used = self.dual_coef_ > 0
        ratio = kernel_product(
            Z, self.centers_[used], self.dual_coef_[used], self.gamma_
        )
        return log_of_ratio(ratio + self.intercept_, FLOOR)
