"""Unconstrained least-squares importance fitting (uLSIF and RuLSIF)."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Literal, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skdre._compat import CallbackSupportMixin, Interval, StrOptions, fit_context
from skdre._core.arrays import HOST, on_host, place_of
from skdre._core.chunked_rows import ChunkedRows
from skdre._core.chunks import is_collection
from skdre._core.reduce import InMemory
from skdre._core.stream import (
    LearnsPortions,
    Stream,
    learn_portion,
    raw_totals,
)
from skdre._core.tasks import single_task
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre.base import ArrayAPIMixin, DensityRatioMixin, log_of_ratio
from skdre.kernel._bandwidth import bandwidth_grid, best_bandwidth, positive_grid
from skdre.kernel._centers import choose_centers, kernel_of
from skdre.kernel._gaussian import kernel_product
from skdre.kernel._least_squares import (
    SEARCH_FLOOR,
    kernel_sums,
    least_ratio,
    leave_one_out,
    left_out_losses,
    ratio_of_relative,
    relative_of_ratio,
    scores_of,
    solve_ridge,
    vanish,
)
from skdre.kernel._search import SEARCH_ROWS, first_rows
from skdre.kernel._signed import signed_samples
from skdre.kernel._standardize import (
    standardize,
    standardize_chunks,
    standardize_in_memory,
)

# Ridges of the search, which cost next to nothing: the best lay among them.
RIDGES = 10.0 ** np.arange(-5, 1.1, 0.5)
# The intercept is a column of this value, its coefficient penalised like all others,
# which leaves a penalty on the intercept that is the ridge divided by the square: none.
_INTERCEPT_COLUMN = 30.0
# Rows of each sample that partial_fit keeps to choose all but the coefficients.
_FIRST_ROWS = 2000


class LSIFRatio(
    ArrayAPIMixin,
    LearnsPortions,
    DensityRatioMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    r"""Density ratio by unconstrained least-squares importance fitting.

    Fits a sum of Gaussian kernels to the relative ratio p / (alpha p + (1 - alpha) q)
    by least squares with a ridge, in closed form; alpha = 0 is uLSIF, the ratio p / q
    itself, and alpha > 0 is RuLSIF. Bandwidth and ridge are chosen by exact
    leave-one-out.

    ``decision_function``, ``predict_ratio`` and all else of the contract give p / q
    whatever `alpha` is; ``predict_relative_ratio`` gives the relative ratio.

    Parameters
    ----------
    gamma : float, list of float or {"cv", "median", "scale"}, default="cv"
        Bandwidth of the kernel exp(-gamma |x - c|^2), in units of the standardised
        columns where `standardize` is true. A list, or "cv", which stands for 13 values
        from 1/128 to 32 times that of "median", is searched by leave-one-out. "median"
        is 1 / (2 m^2), with m the median distance between pairs of rows; "scale" is 1 /
        (n_features * variance).
    alpha : float, default=0.1
        Share of p in the denominator of the relative ratio, in [0, 1). The relative
        ratio is at most 1 / alpha, and so easier to fit where p / q is large; 0 fits
        p / q itself. See Notes.
    ridge : float, list of float or "cv", default="cv"
        Penalty on the squared coefficients. A list, or "cv", which stands for 13 values
        from 1e-5 to 10, is searched by leave-one-out.
    n_components : int, default=100
        Most centres, which are rows of the numerator.
    intercept : bool, default=True
        Whether the ratio has a constant, which is not penalised. Without it the ratio
        is pulled to 0, not to 1, and vanishes where no centre is near.
    scoring : {"log_loss", "lsif_loss"}, default="log_loss"
        What the search minimises over the rows left out: the class-balanced log loss of
        p / q, which is minus ``score``, or the squared loss of the relative ratio,
        which is that of the fit. See Notes.
    %(standardize)
    allow_negative_weight : bool, default=False
        Whether `sample_weight` may hold negative values, as the events of some
        simulations have them. See Notes.
    %(decay)
    %(random_state) Chooses the centres, where there are more rows than `n_components`.

    Attributes
    ----------
    gamma_, ridge_ : float
        The values used.
    alpha_ : float
        Share of p in the denominator of the relative ratio that was fitted.
    gammas_ : ndarray of shape (n_gammas,)
        Bandwidths searched.
    ridges_ : ndarray of shape (n_ridges,)
        Ridges searched.
    loo_scores_ : ndarray of shape (n_gammas, n_ridges)
        Minus the leave-one-out loss of each pair; -inf where every kernel vanishes, NaN
        where nothing was searched. Of many rows, see Notes, those of `gamma_` alone are
        of all.
    centers_ : ndarray of shape (n_centers, n_features)
        Centres, standardised.
    dual_coef_ : ndarray of shape (n_centers,)
        Their coefficients: the relative ratio is k(x, centers_) @ dual_coef_ +
        intercept_ where that is positive.
    intercept_ : float
        The constant.
    floor_ : float
        Least ratio that is predicted. See Notes.
    range_ : ndarray of shape (2, n_features)
        Least and greatest value of each standardised column over both samples. Rows
        outside are predicted as the nearest point between. See Notes.
    %(center_scale)
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    Warns
    -----
    ConvergenceWarning
        If every kernel vanishes at the denominator's rows.
    UserWarning
        If negative weights nearly cancel the others of a sample.

    See Also
    --------
    skdre.KLIEPRatio : The likelihood instead of least squares.
    skdre.KMMRatio : Weights that match kernel means.

    Notes
    -----
    The estimate may be 0 or less, and says no more there than that the ratio is small:
    the log ratio is at least log(floor_), the floor between 1e-5 and 0.1 with the least
    log loss at rows left out, which is about the share of the numerator's rows where
    the estimate is smaller over that of the denominator's. For alpha > 0 the relative
    ratio r_a is turned back into p / q = (1 - alpha) r_a / (1 - alpha r_a), which is
    defined below the bound 1 / alpha of r_a, and is at most 1000. "The least ratio of
    kernel estimators" in the documentation has the errors with other floors, and other
    alpha.

    *Beyond the data.* Where no kernel reaches, the constant alone would decide, and it
    is set by what the kernels leave over, not by rows out there. A row outside the
    range of the samples is therefore predicted as the nearest point of the box that
    they span, column by column.

    *Leave-one-out.* Each row of each sample is left out in turn; the ratio fitted to
    all other rows of both samples, clipped at 0 as it is in predictions, gives the
    row's own term of the loss. This is right for samples of unequal size, and equals
    refitting. The formulas of [1]_ and of packages in use leave out pairs of rows, as
    many as the smaller sample has. Centres stay when the row that they are is left out.
    A row of weight 2 is two rows, one of which is left out at a time.

    *The loss of the search.* The squared loss looks at large ratios only; the log loss
    chooses bandwidths and ridges with a smaller error of the ratio and of its
    logarithm, as the figures in the user guide show.

    *Negative weights.* The weights of a sample enter the normal equations, and the loss
    of the search, as means alone, which signed weights estimate without bias. They have
    to have a positive sum in each sample. Where the noise of the weights makes the
    matrix of second moments indefinite, its positive part is taken. The centres, the
    scales and the range of the columns go by the sizes of the weights. Other estimators
    refuse negative weights: with them the losses of classifiers and the likelihood have
    no minimum.

    *Many rows.* Where a sample has more than 20,000 rows, `gamma` is chosen at 20,000
    of each sample, taken at random by a fixed rule; with signed weights at all. The
    ridge, the floor and the coefficients are those of all rows, with that bandwidth:
    kernel values of all rows are formed twice, with scoring="lsif_loss" three times. Of
    a collection the bandwidth is chosen at the 20,000 rows of each sample that are
    held.

    The sums over the rows are formed in blocks, so that memory beyond the data grows
    with the square of `n_components` only; up to 128 MB of distances and kernel values
    are kept where they fit into it.

    Under scikit-learn's array API dispatch results follow the library and the device of
    X: see "Arrays on a GPU" in the documentation.

    References
    ----------
    .. [1] Kanamori, Hido, Sugiyama (2009). A least-squares approach to direct
       importance estimation. JMLR 10.
    .. [2] Yamada, Suzuki, Kanamori, Hachiya, Sugiyama (2013). Relative density-ratio
       estimation for robust distribution comparison. Neural Computation 25, Eq. 4-6.

    Examples
    --------
    >>> from skdre import LSIFRatio
    >>> from skdre.datasets import make_warped_shift
    >>> shift = make_warped_shift(500, 2, random_state=0)
    >>> X, y = shift.pool()
    >>> ratio = LSIFRatio(random_state=0).fit(X, y)
    >>> ratio.predict_ratio(shift.denominator).shape
    (500,)
    >>> bool(ratio.predict_relative_ratio(X).max() < 10)
    True
    """

    _fits_collections = True
    _parameter_constraints = {  # noqa: RUF012
        "gamma": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"cv", "median", "scale"}),
            "array-like",
        ],
        "alpha": [Interval(Real, 0, 1, closed="left")],
        "ridge": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"cv"}),
            "array-like",
        ],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "intercept": ["boolean"],
        "scoring": [StrOptions({"log_loss", "lsif_loss"})],
        "standardize": ["boolean"],
        "allow_negative_weight": ["boolean"],
        "decay": [Interval(Real, 0, 1, closed="right")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        gamma: float | Sequence[float] | Literal["cv", "median", "scale"] = "cv",
        *,
        alpha: float = 0.1,
        ridge: float | Sequence[float] | Literal["cv"] = "cv",
        n_components: int = 100,
        intercept: bool = True,
        scoring: Literal["log_loss", "lsif_loss"] = "log_loss",
        standardize: bool = True,
        allow_negative_weight: bool = False,
        decay: float = 1.0,
        random_state: RandomState = None,
    ) -> None:
        self.gamma = gamma
        self.alpha = alpha
        self.ridge = ridge
        self.n_components = n_components
        self.intercept = intercept
        self.scoring = scoring
        self.standardize = standardize
        self.allow_negative_weight = allow_negative_weight
        self.decay = decay
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    @single_task
    def fit(self, X: Rows, y: Values, sample_weight: Values | None = None) -> Self:
        """Choose bandwidth and ridge, and solve for the coefficients.

        Parameters
        ----------
        %(X) Also a Dask array or data frame with chunks along the rows.
        %(y)
        %(sample_weight)

        Returns
        -------
        self : LSIFRatio

        Raises
        ------
        ValueError
            If a parameter or the input is invalid, or weights are negative where
            `allow_negative_weight` is false, or sum to 0 or less in a sample.
        """
        place, X, y, sample_weight = on_host(X, y, sample_weight)
        if is_collection(X):
            chunks = ChunkedRows(self, X, y, sample_weight)
            classes = chunks.classes
            standardized = standardize_chunks(chunks, self.standardize)
            rows = searched = standardized.rows
            if sum(chunks.n_rows) > sum(len(each) for each, _ in chunks.pilot.parts):
                searched = InMemory.of(standardized.some)
        else:
            samples, signs = signed_samples(
                self, X, y, sample_weight, self.allow_negative_weight
            )
            classes = samples.classes
            standardized = standardize_in_memory(samples, self.standardize, signs)
            rows = searched = standardized.rows.at(place)
            # Of signed weights a part may have no positive sum.
            if max(rows.n_rows) > SEARCH_ROWS and np.ndim(signs[0]) == 0:
                searched = rows.prepared(first_rows)
        samples = standardized.some
        random_state = check_random_state(self.random_state)
        gammas = bandwidth_grid(self.gamma, samples)
        ridges = RIDGES.copy()
        if not isinstance(self.ridge, str):
            ridges = positive_grid("ridge", self.ridge)
        _, (X_p, p_weight) = samples.parts
        centers, _ = choose_centers(X_p, p_weight, self.n_components, random_state)
        constant = _INTERCEPT_COLUMN if self.intercept else 0.0
        in_kernels = partial(kernel_of, centers=centers, constant=constant)
        kernels = rows.prepared(in_kernels)

        scores = np.full((len(gammas), len(ridges)), np.nan)
        search = partial(
            leave_one_out,
            n_centers=len(centers),
            ridges=ridges,
            alpha=self.alpha,
            scoring=self.scoring,
        )
        if len(gammas) > 1:
            few = kernels if searched is rows else searched.prepared(in_kernels)
            scores = search(few, gammas=gammas)
        best = best_bandwidth(gammas, scores.max(axis=1), samples)
        gamma = gammas[best]
        sums = kernels.totals(partial(kernel_sums, gammas=[gamma]))
        # A single value in a list is scored, one given by itself is not. The ridge is
        # chosen at all rows: the best one falls with their number.
        listed = len(ridges) > 1 or np.ndim(self.gamma) == 1 or np.ndim(self.ridge) == 1
        anew = searched is not rows if len(gammas) > 1 else listed
        q, p = (each.moments(0) for each in sums)
        vanishing, losses = vanish(q, len(centers)), None
        look = partial(left_out_losses, kernels, sums, gamma, alpha=self.alpha)
        if anew and vanishing:
            scores[best] = -np.inf
        elif anew:
            losses = look(ridges=ridges, scoring=self.scoring)
            scores[best] = scores_of(losses)
        chosen = np.argmax(scores[best])
        ridge = ridges[chosen]
        if vanishing:
            warnings.warn(
                f"With gamma={gamma:.3g} every kernel of LSIFRatio vanishes at all "
                "rows of the denominator: the ratio is only known to be large at the "
                "centres. Take a smaller gamma, or gamma='cv'.",
                ConvergenceWarning,
                stacklevel=2,
            )
        theta = solve_ridge(p, q, self.alpha, ridge)
        if vanishing:
            floor = SEARCH_FLOOR
        elif losses is None or self.scoring != "log_loss":
            (loss,) = look(ridges=ridges[[chosen]])
            floor = least_ratio(loss, sums[1].count)
        else:
            # The pass that chose the ridge had the losses at all floors.
            floor = least_ratio(losses[chosen], sums[1].count)

        totals = [each.weight for each in sums]
        if is_collection(X):
            raw = tuple(each.weight for each in chunks.surveys)
        else:
            raw = raw_totals(classes, y, sample_weight)
        # Weights as they came, for portions that may follow.
        of_all = (
            each.scaled(given / total)
            for each, given, total in zip(sums, raw, totals, strict=True)
        )

        self._stream = Stream(classes, None, tuple(of_all))
        self.classes_ = classes
        self.center_, self.scale_ = standardized.center, standardized.scale
        self.gamma_, self.ridge_ = float(gamma), float(ridge)
        self.alpha_ = float(self.alpha)
        self.gammas_, self.ridges_, self.loo_scores_ = gammas, ridges, scores
        self.centers_ = centers
        self._set_solution(theta)
        self.floor_ = floor
        self.range_ = standardized.extent
        self._move_results(place)
        return self

    def _reference_array(self):
        return self.center_

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
        each sample, and ten for each of `n_components`. From then on, or after ``fit``,
        the columns' scales, the centres, `gamma_`, `ridge_` and `floor_` stay as they
        are, and a portion adds to the sums of which the coefficients are made, so
        that the result is that of all rows at once with these. A repeat of a row of an
        earlier portion is not known for one.

        Parameters
        ----------
        %(X) They may be of one sample alone.
        %(y)
        %(classes_of_stream)
        %(sample_weight)

        Returns
        -------
        self : LSIFRatio

        Raises
        ------
        ValueError
            If a parameter or the input is invalid, or a label is none of the two.

        Examples
        --------
        >>> from skdre import LSIFRatio
        >>> from skdre.datasets import make_warped_shift
        >>> ratio = LSIFRatio(random_state=0)
        >>> for seed in range(3):
        ...     X, y = make_warped_shift(200, 2, random_state=seed).pool()
        ...     ratio = ratio.partial_fit(X, y)
        >>> ratio.predict_ratio(X).shape
        (400,)
        """
        place, X, y, sample_weight = on_host(X, y, sample_weight)
        self._move_results(HOST)
        learn_portion(
            self,
            X,
            y,
            classes,
            sample_weight,
            n_first=max(_FIRST_ROWS, 10 * self.n_components),
            signed=self.allow_negative_weight,
        )
        self._move_results(place)
        return self

    def _add_sums(self, portions, sums):
        """Fit the sums before and those of a portion of each sample; returns both."""
        constant = self._constant
        added = []
        for portion, before in zip(portions, sums, strict=True):
            if portion is not None:
                Z = standardize(portion.X, self.center_, self.scale_)
                low, high = self.range_
                self.range_ = np.stack(
                    [np.minimum(low, Z.min(axis=0)), np.maximum(high, Z.max(axis=0))]
                )
                kernel = kernel_of(replace(portion, X=Z), self.centers_, constant)
                before = before + kernel_sums(kernel, [self.gamma_])
            added.append(before)
        for label, each in zip(self.classes_, added, strict=True):
            if not each.weight > 0:
                raise ValueError(
                    "sample_weight must have a positive sum in each sample over all "
                    f"portions, got {each.weight:.6g} for class {label!r}."
                )
        q, p = (each.moments(0) for each in added)
        self._set_solution(solve_ridge(p, q, self.alpha_, self.ridge_))
        return tuple(added)

    def _set_solution(self, theta):
        n_centers = len(self.centers_)
        self.dual_coef_ = theta[:n_centers]
        has_constant = len(theta) > n_centers
        self.intercept_ = float(theta[-1] * _INTERCEPT_COLUMN) if has_constant else 0.0
        self._constant = _INTERCEPT_COLUMN if has_constant else 0.0

    def decision_function(self, X: Rows) -> Floats:
        """Logarithm of the density ratio p / q at the rows of X, whatever alpha is.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, at least log(floor_), and at most log(1000) if alpha > 0.
        """
        Z = standardize(self._validate_rows(X), self.center_, self.scale_)
        place = place_of(Z)
        extent, centers, coef = place.put((self.range_, self.centers_, self.dual_coef_))
        Z = place.xp.clip(Z, extent[0, :], extent[1, :])
        relative = kernel_product(Z, centers, coef, self.gamma_)
        relative = place.xp.clip(relative + self.intercept_, 0, None)
        return log_of_ratio(ratio_of_relative(relative, self.alpha_), self.floor_)

    def predict_relative_ratio(self, X: Rows) -> Floats:
        """Relative ratio p / (alpha p + (1 - alpha) q) at the rows of X.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        relative_ratio : ndarray of shape (n_samples,)
            That of ``predict_ratio``, hence below 1 / alpha; for alpha = 0 the ratio
            itself.
        """
        ratio = self.predict_ratio(X)
        return relative_of_ratio(ratio, self.alpha_)
