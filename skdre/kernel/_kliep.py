r"""Kullback-Leibler importance estimation (KLIEP).

With r(x) = sum_k alpha_k k(x, c_k), b_k the mean of k(., c_k) over the denominator's
rows and pi = b alpha, the constraint mean_q r = 1 says that pi lies on the simplex, and

.. math:: \max_\pi \sum_j w_j \log(L \pi)_j, \qquad L_{jk} = k(x^p_j, c_k) / b_k,

is the maximum likelihood of the proportions of a mixture whose components L are known.
Jensen's inequality bounds the distance from the optimum by log(max_k g_k), hence by
max_k g_k - 1, with the gradient g_k = sum_j w_j L_jk / (L pi)_j.
"""

import warnings
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from scipy.linalg import cho_solve
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skdre._compat import CallbackSupportMixin, Interval, StrOptions, fit_context
from skdre._core.tasks import single_task
from skdre.base import DensityRatioMixin, log_of_ratio, split_samples
from skdre.kernel._basis import (
    kernel_product,
    standardization,
    standardize,
    standardize_samples,
    submatrix,
)
from skdre.kernel._linear_algebra import jittered_cholesky
from skdre.kernel._search import (
    CenterKernel,
    bandwidth_grid,
    best_bandwidth,
    choose_centers,
    draws_of,
    log_loss,
    make_folds,
)

_MAX_HALVINGS = 40
# Most components that enter the working set in one step.
_NEW_COMPONENTS = 10
# A mixture density below this is not told from 0.
_TINY = 1e-200
# A start that leaves a row with less of its largest component than this is given up:
# the Hessian, of its inverse square, would overflow.
_POOR_START = 1e-30
# The mean of a kernel over the denominator's rows counts as that of a sample with this
# many rows at the centre, where it is smaller: it then rests on no row at all, and the
# ratio that the kernel carries would have no bound. Without this the L2 error of the
# ratio was measured to be 50 times larger on funnel-shaped data.
_LEAST_ROWS = 0.5


@dataclass
class Mixture:
    """Proportions of a mixture, as found by :func:`solve_mixture`.

    Attributes
    ----------
    proportions : ndarray of shape (n_components,)
        Point of the simplex.
    objective : float
        Mean log likelihood, in nats.
    gap : float
        Bound of the optimum minus the objective, in nats.
    n_iter : int
        Newton steps taken.
    converged : bool
        Whether the gap is at most tol.
    """

    proportions: np.ndarray
    objective: float
    gap: float
    n_iter: int
    converged: bool


def nonnegative_quadratic(H, c, start):
    """Minimise y'Hy / 2 - c'y over y >= 0, H positive definite, from a feasible start.

    Lawson and Hanson's active-set method, from the entries that are positive at the
    start.
    """
    y = start.copy()
    free = y > 0
    tol = 1e-13 * np.abs(c).max()
    for _ in range(3 * len(c)):
        while free.any():
            index = np.flatnonzero(free)
            factor = jittered_cholesky(submatrix(H, index, index)), True
            z = cho_solve(factor, c[index], check_finite=False)
            negative = z <= 0
            if not negative.any():
                y[index] = z
                break
            # As far as no entry turns negative; those that become 0 are freed no more.
            shrink = np.full(len(index), np.inf)
            # An entry just freed may have a z of 0 or below by rounding: 0 / 0 is 0.
            fall = np.maximum(y[index] - z, np.finfo(np.float64).tiny)
            shrink[negative] = y[index][negative] / fall[negative]
            y[index] += shrink.min() * (z - y[index])
            bound = index[shrink == shrink.min()]
            y[bound] = 0
            free[bound] = False
        slope = np.where(free, -np.inf, c - H @ y)
        best = np.argmax(slope)
        if slope[best] <= tol:
            break
        free[best] = True
    return y


def solve_mixture(L, weight, start, *, tol, max_iter):
    """Maximum-likelihood proportions of a mixture of known components.

    A sequential quadratic method on the components that carry the mixture and those
    that would improve it most: a Newton step of the objective sum(pi) - sum_j w_j
    log(L pi)_j over pi >= 0, whose minimum lies on the simplex by itself.

    Parameters
    ----------
    L : ndarray of shape (n_samples, n_components)
        Density of each component at each row, up to a factor of the row.
    weight : ndarray of shape (n_samples,)
        Weights of the rows, with sum 1.
    start : ndarray of shape (n_components,)
        Point of the simplex with L @ start > 0.
    tol : float
        Gap to reach, in nats.
    max_iter : int
        Most Newton steps.

    Returns
    -------
    mixture : Mixture

    References
    ----------
    .. [1] Kim, Carbonetto, Stephens, Anitescu (2020). A fast algorithm for maximum
       likelihood estimation of mixture proportions using sequential quadratic
       programming. JCGS 29.
    """
    pi = start
    density = L @ pi
    objective = weight @ np.log(density)
    root = np.sqrt(weight)
    n_iter = 0
    while True:
        gradient = (weight / density) @ L
        gap = gradient.max() - 1
        if gap <= tol or n_iter >= max_iter:
            break
        outside = np.flatnonzero((gradient > 1) & (pi == 0))
        outside = outside[np.argsort(gradient[outside])[-_NEW_COMPONENTS:]]
        working = np.union1d(np.flatnonzero(pi), outside)
        L_working = L[:, working]
        scaled = L_working * (root / density)[:, None]
        hessian = scaled.T @ scaled
        # Neighbouring kernels are alike to rounding. What is damped is the step, which
        # vanishes at the optimum all the same.
        damping = 1e-9 * hessian.diagonal()
        hessian[np.diag_indices_from(hessian)] += damping
        # The linear term of the model, with H pi = g.
        linear = 2 * gradient[working] - 1 + damping * pi[working]
        # Of many components most leave: it is quicker to begin with none.
        few = np.count_nonzero(pi) <= 2 * _NEW_COMPONENTS
        target = nonnegative_quadratic(hessian, linear, few * pi[working])
        step = target - pi[working]
        # Relative to the density, so that the gain is exact also where it is tiny.
        relative_step = L_working @ step / density
        slope = (1 - gradient[working]) @ step
        t = 1.0
        for _ in range(_MAX_HALVINGS):
            if 1 + t * relative_step.min() > _TINY:
                gain = weight @ np.log1p(t * relative_step)
                if gain - t * step.sum() >= -1e-4 * t * slope - 1e-15:
                    break
            t /= 2
        else:
            # No step improves the likelihood: rounding is all that is left.
            break
        pi = np.zeros_like(pi)
        pi[working] = np.maximum(target - (1 - t) * step, 0)
        total = pi.sum()
        pi /= total
        density *= (1 + t * relative_step) / total
        objective += gain - np.log(total)
        n_iter += 1
    return Mixture(pi, float(objective), float(max(gap, 0)), n_iter, bool(gap <= tol))


def fit_alpha(A, weight, mean_q, n_q, *, present=True, start=None, tol, max_iter):
    """KLIEP's coefficients alpha of the columns of A, for one bandwidth.

    The mean of a column over the denominator counts as at least 1 / (2 n_q).

    Parameters
    ----------
    A : ndarray of shape (n_numerator, n_columns)
        Kernels, and the constant if there is one, at the numerator's rows.
    weight : ndarray of shape (n_numerator,)
        Their weights.
    mean_q : ndarray of shape (n_columns,)
        Means of the columns over the denominator's rows.
    n_q : float
        Number of these.
    present : ndarray of bool of shape (n_columns,), default=True
        Columns that may be used.
    start : ndarray of shape (n_columns,), default=None
        Proportions to start from.
    tol, max_iter
        See :func:`solve_mixture`.

    Returns
    -------
    alpha : ndarray of shape (n_columns,)
        Not negative, and 0 where the column may not be used.
    mixture : Mixture or None
        None if every column vanishes at a row, and the likelihood with it.
    """
    alpha = np.zeros(A.shape[1])
    usable = np.flatnonzero(np.broadcast_to(present, alpha.shape))
    if usable.size == 0:
        return alpha, None
    mean_q = np.maximum(mean_q, _LEAST_ROWS / n_q)
    rows = np.flatnonzero(weight)
    L = submatrix(A, rows, usable) / mean_q[usable]
    # The factor of a row is without effect on the optimum, and keeps small values of a
    # kernel from being lost beside smaller ones.
    peak = L.max(axis=1)
    if peak.min() <= _TINY:
        return alpha, None
    L /= peak[:, None]
    share = weight[rows] / weight.sum()
    uniform = np.full(usable.size, 1 / usable.size)
    start = uniform if start is None else start[usable]
    start = start / max(start.sum(), _TINY)
    if (L @ start).min() <= _POOR_START:
        start = uniform
    mixture = solve_mixture(L, share, start, tol=tol, max_iter=max_iter)
    mixture.objective += float(share @ np.log(peak))
    alpha[usable] = mixture.proportions / mean_q[usable]
    proportions = np.zeros(A.shape[1])
    proportions[usable] = mixture.proportions
    mixture.proportions = proportions
    return alpha, mixture


def cross_validate(kernel_p, kernel_q, folds, center_of_row, gammas, *, tol, max_iter):
    """Held-out score of KLIEP for each bandwidth.

    Each fold holds out rows of both samples, and the centres that they are. The score
    is minus the class-balanced log loss, which asks for large ratios at the numerator's
    rows and for small ones at the denominator's. The numerator's mean log ratio alone,
    with no row of the denominator held out, is won by kernels that happen to lie
    between the denominator's rows.

    Parameters
    ----------
    kernel_p, kernel_q : CenterKernel
        The kernels at the rows of the samples.
    folds : list of Fold
        Weights of the rows that are fitted and that are held out.
    center_of_row : ndarray of int of shape (n_numerator,)
        The centre that a row of the numerator is, or -1.
    gammas : ndarray of shape (n_gammas,)
        Bandwidths.
    tol, max_iter
        See :func:`solve_mixture`.

    Returns
    -------
    scores : ndarray of shape (n_gammas,)
        In nats, higher is better; -inf where every kernel vanishes.
    """
    n_centers = len(kernel_p.centers)
    is_center = center_of_row >= 0
    total_p = sum(fold.held_p.sum() for fold in folds)
    total_q = sum(fold.held_q.sum() for fold in folds)
    scores = np.full(len(gammas), -np.inf)
    start = None
    for i, gamma in enumerate(gammas):
        A, B = kernel_p.matrix(gamma), kernel_q.matrix(gamma)
        if B[:, :n_centers].max() <= _TINY:
            continue
        loss = 0.0
        for fold in folds:
            trained = np.bincount(
                center_of_row[is_center], fold.train_p[is_center], n_centers
            )
            present = np.ones(A.shape[1], dtype=bool)
            present[:n_centers] = trained > 0
            alpha, mixture = fit_alpha(
                A,
                fold.train_p,
                fold.train_q @ B / fold.train_q.sum(),
                fold.train_q.sum(),
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
            )
        else:
            scores[i] = -loss
    return scores


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
    standardize : bool, default=True
        Divide the columns by their within-class standard deviation first, so that the
        kernel does not depend on their units.
        Columns are centred in either case: where the origin lies changes nothing.
    tol : float, default=1e-6
        Distance to the optimal mean log ratio to reach, in nats.
    max_iter : int, default=100
        Most Newton steps.
    random_state : int, RandomState instance or None, default=None
        Chooses the centres, where there are more rows than `n_components`, and the
        folds.

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
    center_, scale_ : ndarray of shape (n_features,)
        Rows are standardised as (x - center_) / scale_. Without `standardize` the
        centre is the middle of the two samples' medians, and the scale 1.
    classes_ : ndarray of shape (2,)
        The labels; the second is the numerator's.
    n_iter_ : int
        Newton steps of the fit at `gamma_`.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X had them.

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
    The log ratio is at least log(0.01). The mean of a kernel over the denominator's
    rows counts as at least 1 / (2 n_denominator), half of what one row at its centre
    would give: below it the mean rests on no row, and the ratio would have no bound.
    Where that binds, the mean of the ratio over the denominator's rows is below 1.

    *Cross-validation.* Held-out rows of the numerator are not centres of the fit that
    is scored on them. Rows of both samples are held out, unlike in [1]_, which holds
    out the numerator's and scores their mean log ratio: a kernel that lies between the
    denominator's rows then has a large ratio at no cost, and bandwidths are chosen too
    small. The score is minus the log loss of the domains, as in ``score``.

    Sample weights are repetitions also here: a row of weight 2 is two rows, which may
    fall into different folds. Memory is that of the kernel values, (n_numerator +
    n_denominator) * n_components numbers, up to three times.

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
        gamma="cv",
        *,
        n_components=100,
        intercept=True,
        cv=5,
        standardize=True,
        tol=1e-6,
        max_iter=100,
        random_state=None,
    ):
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
    def fit(self, X, y, sample_weight=None):
        """Choose the bandwidth and fit the coefficients.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both samples.
        y : array-like of shape (n_samples,)
            Domain labels, two values; the greater names the numerator.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights inside each domain: k is k repeats of the row, 0 its absence. See
            "Weights, copies and repeats" in the user guide.

        Returns
        -------
        self : KLIEPRatio

        Raises
        ------
        ValueError
            If a parameter or the input is invalid, or a split of `cv` leaves a sample
            without rows to fit or to score.
        """
        samples = split_samples(self, X, y, sample_weight)
        random_state = check_random_state(self.random_state)
        center, scale = standardization(samples, self.standardize)
        samples = standardize_samples(samples, center, scale)
        X_p, X_q = samples.numerator, samples.denominator
        p_weight, q_weight = draws_of(samples)
        gammas = bandwidth_grid(self.gamma, samples)
        centers, center_of_row = choose_centers(
            X_p, p_weight, self.n_components, random_state
        )
        kernel_p, kernel_q = (
            CenterKernel(each, centers, float(self.intercept)) for each in (X_p, X_q)
        )
        limits = {"tol": self.tol, "max_iter": self.max_iter}

        scores = np.full(len(gammas), np.nan)
        # A single bandwidth in a list is scored, one given by itself is not.
        if len(gammas) > 1 or np.ndim(self.gamma) == 1:
            folds = make_folds(self.cv, samples, X, y, sample_weight, random_state)
            if folds:
                scores = cross_validate(
                    kernel_p, kernel_q, folds, center_of_row, gammas, **limits
                )
        gamma = gammas[best_bandwidth(gammas, scores, samples)]

        A = kernel_p.matrix(gamma)
        blocks = kernel_q.blocks(gamma)
        mean_q = sum(q_weight[rows] @ block for rows, block in blocks) / q_weight.sum()
        seen = A.max(axis=1) > _TINY
        if not seen.all() or mean_q[: len(centers)].max() <= _TINY:
            warnings.warn(
                f"With gamma={gamma:.3g} every kernel of KLIEPRatio vanishes at "
                f"{len(seen) - seen.sum()} rows of the numerator, which are left out, "
                "or at all of the denominator's. Take a smaller gamma, or gamma='cv' "
                "and intercept=True.",
                ConvergenceWarning,
                stacklevel=2,
            )
        # A centre sees itself, so that some rows are left.
        weight = np.where(seen, p_weight, 0)
        n_q = q_weight.sum()
        alpha, mixture = fit_alpha(A, weight, mean_q, n_q, **limits)
        if not mixture.converged:
            warnings.warn(
                f"KLIEPRatio stopped after {mixture.n_iter} steps with a duality gap "
                f"of {mixture.gap:.3g}, above tol={self.tol:.3g}. Increase max_iter or "
                "tol.",
                ConvergenceWarning,
                stacklevel=2,
            )

        self.classes_ = samples.classes
        self.center_, self.scale_ = center, scale
        self.gamma_, self.gammas_, self.cv_scores_ = float(gamma), gammas, scores
        self.centers_, self.dual_coef_ = centers, alpha[: len(centers)]
        self.intercept_ = float(alpha[-1]) if self.intercept else 0.0
        self.objective_, self.dual_gap_ = mixture.objective, mixture.gap
        self.n_iter_ = max(mixture.n_iter, 1)
        return self

    def decision_function(self, X):
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, at least log(0.01).
        """
        Z = standardize(self._validate_rows(X), self.center_, self.scale_)
        used = self.dual_coef_ > 0
        ratio = kernel_product(
            Z, self.centers_[used], self.dual_coef_[used], self.gamma_
        )
        return log_of_ratio(ratio + self.intercept_)
