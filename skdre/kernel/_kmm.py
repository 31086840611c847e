"""Kernel mean matching."""

import warnings
from numbers import Integral, Real
from typing import Literal, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skdre._compat import CallbackSupportMixin, Interval, StrOptions, fit_context
from skdre._core.arrays import on_host
from skdre._core.chunked_rows import ChunkedRows
from skdre._core.chunks import is_collection
from skdre._core.tasks import single_task
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre.base import ArrayAPIMixin, DensityRatioMixin, log_of_ratio, split_samples
from skdre.kernel._bandwidth import bandwidth_grid
from skdre.kernel._matching import (
    Problem,
    RatioFunction,
    Settings,
    auto_eps,
    auto_ridge,
    match_features,
    match_means,
)
from skdre.kernel._standardize import (
    standardize,
    standardize_chunks,
    standardize_in_memory,
)

# The least ratio that is predicted; doc/benchmarks/kernel_floors.md has the errors with
# others.
FLOOR = 1e-2
# Samples up to this size are solved with the kernel matrix, larger ones with features.
_DENSE_ROWS = 2000
# A positive ridge is at least this: less is lost in the rounding of the kernel's own
# diagonal.
_LEAST_RIDGE = 1e-15


class KMMRatio(ArrayAPIMixin, DensityRatioMixin, CallbackSupportMixin, BaseEstimator):
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
        positive ridge is floored at 1e-15. See Notes.
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
    %(standardize)
    tol : float, default=1e-6
        Duality gap to reach, relative to the objective.
    max_iter : int, default=100
        Most steps of the solver.
    %(random_state) Chooses the landmarks of the "nystroem" solver and the first
        columns of "active-set".

    Attributes
    ----------
    weights_ : ndarray of shape (n_denominator,) or None
        Fitted weights of the denominator's rows, in the order in which they stand in
        X; 0 for rows of sample weight 0. None where X was a collection: predict them.
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
    %(center_scale)
    %(classes_)
    n_iter_ : int
        Steps the solver took.
    %(n_features_in_)
    %(feature_names_in_)

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
    tell how small a small ratio is.

    *Why a ridge.* Without one the optimal weights are sparse, which is a property of
    the solution and not of the ratio: they are further from the true ratio than weights
    that are all 1.

    *The mean of the weights.* The ridge pulls the weights to 0, and the band on their
    mean is too wide to hold against it: the mean is below 1, the more so the further
    apart the samples are. `eps=0` makes the mean 1, and r = 1 for identical samples,
    both exactly. It is not the default because it adds a constant, minus :math:`\nu` /
    `ridge`, which is all that is left far from both samples. Where only the scale is
    wrong, as for a weighted sum, divide the weights by their mean. Measured figures for
    both are in the user guide, under "Kernel mean matching".

    *Many rows.* With more than 20,000 rows of the denominator the "nystroem" solver
    starts from the solution of some of them, at most 25,000, and goes over all rows in
    mostly three passes, in blocks; the numerator's rows are passed once. The last pass
    gives the weights and `dual_gap_`, so that the result is certified at all rows as
    any other. Where the band on the mean binds, as with `eps=0`, features of up to 640
    MB are kept, and more are formed anew in each step.

    The "auto" settings are set by the number of observations: copies of a row with a
    continuous value are one, and weights count as Kish's effective number.

    Under scikit-learn's array API dispatch results follow the library and the device of
    X: see "Arrays on a GPU" in the documentation.

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

    _fits_collections = True
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
        gamma: float | Literal["median", "scale"] = "median",
        *,
        B: float = 1000,
        eps: float | Literal["auto"] = "auto",
        ridge: float | Literal["auto"] = "auto",
        solver: Literal["auto", "newton", "nystroem", "active-set", "cvxpy"] = "auto",
        n_components: int = 500,
        standardize: bool = True,
        tol: float = 1e-6,
        max_iter: int = 100,
        random_state: RandomState = None,
    ) -> None:
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
    def fit(self, X: Rows, y: Values, sample_weight: Values | None = None) -> Self:
        """Fit the weights of the denominator's rows.

        Parameters
        ----------
        %(X) Also a Dask array or data frame with chunks along the rows.
        %(y)
        %(sample_weight)

        Returns
        -------
        self : KMMRatio

        Raises
        ------
        ValueError
            If a parameter or the input is invalid, the solver does not fit the ridge,
            or B and eps leave no feasible weights.
        """
        place, X, y, sample_weight = on_host(X, y, sample_weight)
        random_state = check_random_state(self.random_state)
        options = {
            "n_components": self.n_components,
            "random_state": random_state,
            "tol": self.tol,
            "max_iter": self.max_iter,
        }
        if is_collection(X):
            chunks = ChunkedRows(self, X, y, sample_weight)
            standardized = standardize_chunks(chunks, self.standardize)
            samples = standardized.some
            n_q, n_p = (each.draws for each in chunks.surveys)
            settings = self._settings(samples, n_p, n_q, chunks.surveys[0].n_rows)
            if settings.ridge == 0 or self.solver not in ("auto", "nystroem"):
                raise ValueError(
                    "On a collection KMMRatio has the solver 'nystroem' alone, which "
                    f"needs ridge > 0, got solver={self.solver!r} and ridge="
                    f"{self.ridge!r}."
                )
            solver = "nystroem"
            matching = match_features(
                standardized.rows, samples.parts, settings, **options
            )
        else:
            samples = split_samples(self, X, y, sample_weight)
            standardized = standardize_in_memory(samples, self.standardize)
            samples = standardized.some
            problem = self._problem(samples)
            settings = problem.settings
            solver = self._choose_solver(problem)
            matching = match_means(problem, solver, place=place, **options)
        solution, ratio = matching.solution, matching.ratio
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
        self.center_, self.scale_ = standardized.center, standardized.scale
        self.gamma_, self.ridge_ = settings.gamma, settings.ridge
        self.eps_, self.B_ = settings.eps, settings.bound
        self.solver_ = solver
        self.kernel_residual_ = matching.kernel_residual
        self.centers_, self.dual_coef_ = ratio.centers, ratio.coef
        self.intercept_ = float(ratio.intercept)
        self.multiplier_ = float(solution.nu / settings.size)
        self.dual_gap_, self.objective_ = solution.gap, solution.objective
        self.n_iter_ = max(solution.n_iter, 1)
        self.weights_ = None
        if matching.weights is None:
            return self
        in_denominator = np.ravel(np.asarray(y)) == samples.classes[0]
        all_weights = np.zeros(len(in_denominator))
        all_weights[samples.denominator_index] = matching.weights[
            samples.denominator_row
        ]
        self.weights_ = all_weights[in_denominator]
        self._move_results(place)
        return self

    def _reference_array(self):
        return self.center_

    def decision_function(self, X: Rows) -> Floats:
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, between log(0.01) and log(B).
        """
        Z = standardize(self._validate_rows(X), self.center_, self.scale_)
        ratio = RatioFunction(
            self.centers_, self.dual_coef_, self.intercept_, self.gamma_, self.B_
        )
        return log_of_ratio(ratio(Z), FLOOR)

    def _problem(self, samples):
        """The quadratic programme, its automatic settings resolved and checked."""
        (X_q, q_weight), (X_p, p_weight) = samples.parts
        settings = self._settings(samples, p_weight.sum(), q_weight.sum(), len(X_q))
        return Problem(
            X_p=X_p,
            X_q=X_q,
            p_weight=p_weight,
            q_weight=q_weight,
            gamma=settings.gamma,
            ridge=settings.ridge,
            eps=settings.eps,
            bound=settings.bound,
        )

    def _settings(self, samples, n_p, n_q, n_rows):
        (gamma,) = bandwidth_grid(self.gamma, samples)
        eps = auto_eps(n_q) if self.eps == "auto" else float(self.eps)
        if 1 - eps > self.B:
            raise ValueError(
                f"B={self.B} and eps={eps:.4g} leave no feasible weights: a mean of at "
                "least 1 - eps needs B >= 1 - eps. Increase B or eps."
            )
        ridge = auto_ridge(n_p, n_q) if self.ridge == "auto" else float(self.ridge)
        return Settings(
            gamma=float(gamma),
            ridge=max(ridge, _LEAST_RIDGE) if ridge > 0 else 0.0,
            eps=eps,
            bound=float(self.B),
            size=n_q,
            n_rows=n_rows,
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
