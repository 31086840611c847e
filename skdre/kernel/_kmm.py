"""Kernel mean matching."""

import warnings
from dataclasses import dataclass, replace
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
    NystroemFeatures,
    gaussian_kernel,
    kernel_product,
    median_gamma,
    row_blocks,
    scale_gamma,
    standardization,
    standardize,
    standardize_samples,
)
from skdre.kernel._linear_algebra import jittered_cholesky
from skdre.kernel._qp import DenseKernel, Feasible, FeatureKernel, solve_newton
from skdre.kernel._qp_columns import solve_columns, solve_cvxpy, solve_interior

# Samples up to this size are solved with the kernel matrix, larger ones with features.
_DENSE_ROWS = 2000
# Features up to this many bytes are kept; above it they are formed anew in each pass.
_FEATURE_BYTES = 640 * 2**20
# Features with more entries than this are kept in single precision.
_DOUBLE_ENTRIES = 25_000_000
# A ridge below this is lost in the rounding of the kernel's own diagonal, and counts as
# this.
_LEAST_RIDGE = 1e-15
# Larger samples are solved from where this many of their rows lead to.
_PILOT_ROWS = 10_000


def auto_ridge(n_numerator, n_denominator):
    """min(n_p, n_q)^-0.9, at most 1."""
    return max(1.0, min(n_numerator, n_denominator)) ** -0.9


def auto_eps(n_denominator):
    """(sqrt(n_q) - 1) / sqrt(n_q), of Huang et al. (2006)."""
    return max(0.0, 1.0 - max(1.0, n_denominator) ** -0.5)


@dataclass
class _Problem:
    """Kernel mean matching of two standardised samples.

    Sizes are the sums of the repetition counts, which stand in `p_weight` and
    `q_weight`.
    """

    X_p: np.ndarray
    X_q: np.ndarray
    p_weight: np.ndarray
    q_weight: np.ndarray
    gamma: float
    ridge: float
    eps: float
    bound: float

    @property
    def feasible(self):
        """Bounds of the mass v = a w that a row carries, and of its sum."""
        low, high = max(0.0, 1 - self.eps) * self.size, (1 + self.eps) * self.size
        # No row can carry more than all may together: a huge bound does not overflow.
        bound = min(self.bound, high / self.q_weight.min())
        return Feasible(np.minimum(bound * self.q_weight, high), low, high)

    @property
    def size(self):
        """n_q."""
        return self.q_weight.sum()

    @property
    def diagonal(self):
        """D = rho / a, with rho = n_q ridge; None without a ridge."""
        return self.size * self.ridge / self.q_weight if self.ridge > 0 else None

    def linear_term(self):
        """kappa = (n_q / n_p) K_qp b."""
        coef = self.p_weight * (self.size / self.p_weight.sum())
        return kernel_product(self.X_q, self.X_p, coef, self.gamma)

    def take(self, index):
        """The problem with some of the denominator's rows."""
        return replace(self, X_q=self.X_q[index], q_weight=self.q_weight[index])

    def start(self):
        """The feasible point nearest to weights of 1."""
        return self.feasible.project(self.q_weight)


@dataclass
class _RatioFunction:
    """r(x) = clip(k(x, centers) @ coef + intercept, 0, B)."""

    centers: np.ndarray
    coef: np.ndarray
    intercept: float = 0.0

    def __call__(self, X, gamma, bound):
        field = kernel_product(X, self.centers, self.coef, gamma)
        return np.clip(field + self.intercept, 0, bound)


def _fit_dense(problem, solver, tol, max_iter):
    """Solve with the kernel matrix; the ratio follows from optimality.

    At the optimum w = clip((kappa - K v - nu) / rho, 0, B), and every term is defined
    at any x.
    """
    K = gaussian_kernel(problem.X_q, problem.X_q, problem.gamma)
    kappa = problem.linear_term()
    if solver == "cvxpy":
        solution = solve_cvxpy(K, kappa, problem.diagonal, problem.feasible, tol=tol)
    else:
        solution = solve_newton(
            DenseKernel(K, kappa),
            problem.diagonal,
            problem.feasible,
            problem.start(),  # in the dense kernel's coordinates a dual point as well
            tol=tol,
            max_iter=max_iter,
        )
        if not solution.converged:
            # A ridge that is tiny beside the kernel's eigenvalues makes the dual too
            # stiff for Newton's method, but not for an interior point.
            solution = solve_interior(
                K, kappa, problem.diagonal, problem.feasible, tol=tol
            )
    if problem.ridge == 0:
        return solution, None
    rho = problem.size * problem.ridge
    support = solution.dual != 0
    coef = np.concatenate(
        [
            problem.p_weight * (problem.size / problem.p_weight.sum()),
            -solution.dual[support],
        ]
    )
    ratio = _RatioFunction(
        np.concatenate([problem.X_p, problem.X_q[support]]),
        coef / rho,
        -solution.nu / rho,
    )
    return solution, ratio


def _solve_features(problem, features, target, start, tol, max_iter):
    """Newton's method on the features of the denominator's rows, kept if they fit."""
    n_rows, n_components = len(problem.X_q), len(features.landmarks)
    entries = n_rows * n_components
    dtype = np.float32 if entries > _DOUBLE_ENTRIES else np.float64
    if entries * np.dtype(dtype).itemsize <= _FEATURE_BYTES:
        cached = np.empty((n_rows, n_components), dtype)
        for rows in row_blocks(n_rows, n_components):
            cached[rows] = features.transform(problem.X_q[rows], dtype)
        blocks = cached.__getitem__
    else:

        def blocks(rows):
            return features.transform(problem.X_q[rows], dtype)

    kernel = FeatureKernel(blocks, n_rows, target)
    if start is None:
        start = kernel.dual(problem.start())
    return solve_newton(
        kernel, problem.diagonal, problem.feasible, start, tol=tol, max_iter=max_iter
    )


def _fit_features(problem, features, random_state, tol, max_iter):
    """Solve with low-rank features, the kernel being the one that they define."""
    mean = features.mean(problem.X_p, problem.p_weight)
    start = None
    if len(problem.X_q) > 2 * _PILOT_ROWS:
        # A random part of the rows tells most of the dual point, at little cost.
        pilot = problem.take(random_state.choice(len(problem.X_q), _PILOT_ROWS, False))
        start = _solve_features(
            pilot, features, pilot.size * mean, None, 1e-2, max_iter
        ).dual * (problem.size / pilot.size)
    target = problem.size * mean
    solution = _solve_features(problem, features, target, start, tol, max_iter)
    rho = problem.size * problem.ridge
    ratio = _RatioFunction(
        features.landmarks,
        features.kernel_coef(target - solution.dual) / rho,
        -solution.nu / rho,
    )
    return solution, ratio


def _extend(problem, weights, ridge, n_components):
    """Kernel ridge regression of the weights on the rows of largest weight.

    The regression shrinks; it is scaled back to the weights' own mean.
    """
    support = np.flatnonzero(weights)
    if support.size > n_components:
        largest = np.argpartition(weights[support], -n_components)
        support = support[largest[-n_components:]]
    centers = problem.X_q[support]
    gram = problem.size * ridge * gaussian_kernel(centers, centers, problem.gamma)
    gram[np.diag_indices_from(gram)] += 1e-10 * problem.size
    right, total = np.zeros(support.size), np.zeros(support.size)
    for rows in row_blocks(len(problem.X_q), support.size):
        K = gaussian_kernel(problem.X_q[rows], centers, problem.gamma)
        a = problem.q_weight[rows]
        K *= np.sqrt(a)[:, None]
        gram += K.T @ K
        right += (np.sqrt(a) * weights[rows]) @ K
        total += np.sqrt(a) @ K
    coef = cho_solve((jittered_cholesky(gram), True), right, check_finite=False)
    return _RatioFunction(
        centers, coef * ((problem.q_weight @ weights) / (total @ coef))
    )


class KMMRatio(DensityRatioMixin, CallbackSupportMixin, BaseEstimator):
    r"""Density ratio by kernel mean matching.

    Finds weights w of the denominator's rows under which their mean embedding in the
    space of a Gaussian kernel matches that of the numerator's rows:

    .. math::
        \min_w \tfrac12 w'Kw - \kappa'w + \tfrac{\rho}{2} \|w\|^2
        \quad\text{s.t.}\quad 0 \le w \le B,\;
        |\mathrm{mean}(w) - 1| \le \epsilon,

    with :math:`\kappa = (n_q / n_p) K_{qp} 1` and :math:`\rho = n_q \cdot` `ridge`.
    For a positive ridge the optimality conditions extend the weights to a ratio at any
    x, which at the denominator's rows equals the fitted weights:

    .. math::
        r(x) = \mathrm{clip}\Bigl(\bigl(\tfrac1{n_p} \sum_j k(x, x^p_j)
        - \tfrac1{n_q} \sum_i w_i k(x, x^q_i) - \nu\bigr) / \mathrm{ridge}, 0, B\Bigr),

    where :math:`\nu` is the multiplier of the band on the mean, 0 where it does not
    bind.

    Parameters
    ----------
    gamma : float or {"median", "scale"}, default="median"
        Bandwidth of the kernel exp(-gamma |x - x'|^2), in units of the standardised
        columns where `standardize` is true. "median" is 1 / (2 m^2), with m the median
        distance between pairs of rows, of at most a few thousand pairs; "scale" is
        1 / (n_features * variance).
    B : float, default=1000
        Upper bound of the ratio.
    eps : float or "auto", default="auto"
        The mean of the weights may differ from 1 by this much. "auto" is
        (sqrt(n_q) - 1) / sqrt(n_q), as in [1]_, a wide band, in which the mean is below
        1; with 0 it is 1. See Notes.
    ridge : float or "auto", default="auto"
        Penalty on the squared weights. 0 is kernel mean matching as published, whose
        weights sit at vertices of the feasible set; "auto" is min(n_p, n_q)^-0.9. A
        positive ridge below 1e-15 counts as 1e-15. See Notes.
    solver : {"auto", "newton", "nystroem", "active-set", "cvxpy"}, default="auto"
        * "newton": semismooth Newton with the whole kernel matrix (ridge > 0);
        * "nystroem": the same on low-rank features of the kernel (ridge > 0);
        * "active-set": column generation (ridge = 0);
        * "cvxpy": the reference solver, slow (any ridge; needs cvxpy);
        * "auto": "active-set" without a ridge, and with one "newton" up to 2,000 rows
          in the larger sample, "nystroem" above.
    n_components : int, default=500
        Most features of the "nystroem" solver, and without a ridge most rows that
        carry the ratio.
    standardize : bool, default=True
        Divide the columns by their within-class standard deviation first, so that the
        kernel does not depend on their units.
        Columns are centred in either case: where the origin lies changes nothing.
    tol : float, default=1e-6
        Duality gap to reach, relative to the objective.
    max_iter : int, default=100
        Most steps of the solver.
    random_state : int, RandomState instance or None, default=None
        Chooses the landmarks of the "nystroem" solver and the first columns of
        "active-set".

    Attributes
    ----------
    weights_ : ndarray of shape (n_denominator,)
        Fitted weights of the denominator's rows, in the order in which they stand in
        X; 0 for rows of sample weight 0.
    dual_gap_ : float
        Bound of the objective minus its minimum.
    objective_ : float
        Objective at the fitted weights.
    gamma_, ridge_, eps_, B_ : float
        The values used.
    solver_ : str
        The solver used.
    multiplier_ : float
        The multiplier :math:`\nu` in the formula of the ratio.
    kernel_residual_ : float
        Mean of k(x, x) that the features of the "nystroem" solver miss, else 0.
    centers_ : ndarray of shape (n_centers, n_features)
        Rows that carry the ratio, standardised.
    dual_coef_ : ndarray of shape (n_centers,)
        Their coefficients: r(x) = clip(f(x), 0, B_) with f(x) = k(x, centers_) @
        dual_coef_ + intercept_.
    intercept_ : float
        The constant in it.
    center_, scale_ : ndarray of shape (n_features,)
        Rows are standardised as (x - center_) / scale_. Without `standardize` the
        centre is the middle of the two samples' medians, and the scale 1.
    classes_ : ndarray of shape (2,)
        The labels; the second is the numerator's.
    n_iter_ : int
        Steps the solver took.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X had them.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` steps did not reach `tol`.

    See Also
    --------
    skdre.FlowFeaturizer : Learns the coordinates in which the kernel's geometry fits.

    Notes
    -----
    The log ratio is at least log(0.01), and ``predict_ratio`` at least 0.01, also where
    the formula gives 0; `weights_` holds the zeros as they are. Kernel means cannot
    tell how small a small ratio is, and a lower floor was measured to make the log
    ratio worse.

    *Why a ridge.* Without one the optimal weights are sparse, which is a property of
    the solution and not of the ratio. At n = 1,000 rows a side, d = 10, mean shift 1,
    the relative L2 distance of the weights to the true ratio is 1.26 without a ridge,
    against 0.79 for weights that are all 1 and 0.46 with the automatic ridge (means of
    five seeds).

    *The mean of the weights.* The ridge pulls the weights to 0, and the band on their
    mean is too wide to hold against it. With 500 rows a side in 1 to 10 dimensions
    their mean was .98 to .99 for two samples of one distribution, .96 to .98 where the
    means lie 1 apart, .73 to .90 at 3 and .63 to .85 at 4; two identical samples of 30
    rows in two columns had weights of .51 to 1.05 in ten draws. `eps=0` makes the mean
    1, and r = 1 for identical samples, both exactly. On 8 Gaussian settings it also
    lowered the relative L2 error by 1 to 7 %. It is not the default because it adds a
    constant, minus :math:`\nu` / `ridge`, which is all that is left far from both
    samples: r is there about 1 for samples of one distribution, 2 to 4 where the means
    lie 1 apart and 15 to 70 at 3 to 4, instead of 0.01. With 5 % of scattered outliers
    in the source the weighted mean of :math:`|x|^2` was then off by .9 to 7.6 instead
    of .1 to .3. Where only the scale is wrong, as for a weighted sum, divide the
    weights by their mean.

    The "auto" settings go by the number of observations: copies of a row with a
    continuous value are one, and weights count as Kish's effective number.

    References
    ----------
    .. [1] Huang, Gretton, Borgwardt, Schoelkopf, Smola (2006). Correcting sample
       selection bias by unlabeled data. NeurIPS 19.
    .. [2] Choi, Liao, Ermon (2021). Featurized density ratio estimation. UAI,
       section 2.2 and appendix A.

    Examples
    --------
    >>> from skdre import KMMRatio
    >>> from skdre.datasets import make_warped_shift
    >>> shift = make_warped_shift(500, 2, random_state=0)
    >>> X, y = shift.pool()
    >>> ratio = KMMRatio(random_state=0).fit(X, y)
    >>> ratio.predict_ratio(shift.denominator).shape
    (500,)
    >>> bool(ratio.dual_gap_ < 1e-6 * abs(ratio.objective_))
    True
    """

    _parameter_constraints = {  # noqa: RUF012
        "gamma": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"median", "scale"}),
        ],
        "B": [Interval(Real, 0, None, closed="neither")],
        "eps": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "ridge": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "solver": [StrOptions({"auto", "newton", "nystroem", "active-set", "cvxpy"})],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "standardize": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        gamma="median",
        *,
        B=1000,
        eps="auto",
        ridge="auto",
        solver="auto",
        n_components=500,
        standardize=True,
        tol=1e-6,
        max_iter=100,
        random_state=None,
    ):
        self.gamma = gamma
        self.B = B
        self.eps = eps
        self.ridge = ridge
        self.solver = solver
        self.n_components = n_components
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    @single_task
    def fit(self, X, y, sample_weight=None):
        """Fit the weights of the denominator's rows.

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
        self : KMMRatio

        Raises
        ------
        ValueError
            If a parameter or the input is invalid, the solver does not fit the ridge,
            or B and eps leave no feasible weights.
        """
        samples = split_samples(self, X, y, sample_weight)
        random_state = check_random_state(self.random_state)
        center, scale = standardization(samples, self.standardize)
        samples = standardize_samples(samples, center, scale)
        gamma = self._bandwidth(samples)
        problem = self._problem(samples, gamma)
        solver = self._choose_solver(problem)

        residual = 0.0
        if solver == "nystroem":
            features = NystroemFeatures.choose(
                samples, gamma, self.n_components, random_state
            )
            residual = features.residual
            solution, ratio = _fit_features(
                problem, features, random_state, self.tol, self.max_iter
            )
        elif solver == "active-set":
            solution = solve_columns(
                problem.X_q,
                problem.linear_term(),
                gamma,
                problem.feasible,
                random_state=random_state,
                tol=self.tol,
                max_iter=self.max_iter,
            )
            ratio = None
        else:
            solution, ratio = _fit_dense(problem, solver, self.tol, self.max_iter)
        weights = solution.v / problem.q_weight
        if ratio is None:
            smooth = auto_ridge(problem.p_weight.sum(), problem.size)
            ratio = _extend(problem, weights, smooth, self.n_components)
        elif solver == "nystroem":
            # From the ratio itself, as predict_ratio gives it: the solver may have
            # worked in single precision.
            weights = ratio(problem.X_q, gamma, self.B)
        if not solution.converged:
            warnings.warn(
                f"KMMRatio stopped after {solution.n_iter} steps of the {solver} "
                f"solver with a duality gap of {solution.gap:.3g}, above tol * "
                f"|objective| = {self.tol * abs(solution.objective):.3g}. Increase "
                "max_iter or tol; a larger ridge makes the problem easier.",
                ConvergenceWarning,
                stacklevel=2,
            )

        self.classes_ = samples.classes
        self.center_, self.scale_ = center, scale
        self.gamma_, self.ridge_, self.eps_ = gamma, problem.ridge, problem.eps
        self.B_ = problem.bound
        self.solver_ = solver
        self.kernel_residual_ = residual
        self.centers_, self.dual_coef_ = ratio.centers, ratio.coef
        self.intercept_ = float(ratio.intercept)
        self.multiplier_ = float(solution.nu / problem.size)
        self.dual_gap_, self.objective_ = solution.gap, solution.objective
        self.n_iter_ = max(solution.n_iter, 1)
        in_denominator = np.ravel(np.asarray(y)) == samples.classes[0]
        all_weights = np.zeros(len(in_denominator))
        all_weights[samples.denominator_index] = weights[samples.denominator_row]
        self.weights_ = all_weights[in_denominator]
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
            In nats, between log(0.01) and log(B).
        """
        Z = standardize(self._validate_rows(X), self.center_, self.scale_)
        function = _RatioFunction(self.centers_, self.dual_coef_, self.intercept_)
        return log_of_ratio(function(Z, self.gamma_, self.B_))

    def _bandwidth(self, samples):
        if self.gamma == "median":
            return median_gamma(samples)
        if self.gamma == "scale":
            return scale_gamma(samples)
        return float(self.gamma)

    def _problem(self, samples, gamma):
        """The quadratic programme, its automatic settings resolved and checked."""
        (_, q_weight), (_, p_weight) = samples.parts
        n_p, n_q = p_weight.sum(), q_weight.sum()
        eps = auto_eps(n_q) if self.eps == "auto" else float(self.eps)
        if 1 - eps > self.B:
            raise ValueError(
                f"B={self.B} and eps={eps:.4g} leave no feasible weights: a mean of at "
                "least 1 - eps needs B >= 1 - eps. Increase B or eps."
            )
        ridge = auto_ridge(n_p, n_q) if self.ridge == "auto" else float(self.ridge)
        return _Problem(
            X_p=samples.numerator,
            X_q=samples.denominator,
            p_weight=p_weight,
            q_weight=q_weight,
            gamma=gamma,
            ridge=max(ridge, _LEAST_RIDGE) if ridge > 0 else 0.0,
            eps=eps,
            bound=float(self.B),
        )

    def _choose_solver(self, problem):
        if self.solver == "auto":
            if problem.ridge == 0:
                return "active-set"
            largest = max(len(problem.X_p), len(problem.X_q))
            return "newton" if largest <= _DENSE_ROWS else "nystroem"
        if (problem.ridge == 0) != (self.solver == "active-set") and (
            self.solver != "cvxpy"
        ):
            wanted = "0" if self.solver == "active-set" else "> 0"
            raise ValueError(
                f"solver={self.solver!r} needs ridge {wanted}, got ridge="
                f"{self.ridge!r}; solver='auto' chooses one that fits."
            )
        return self.solver
