r"""Unconstrained least-squares importance fitting (uLSIF and RuLSIF).

The relative ratio r_a = p / (a p + (1 - a) q) minimises

.. math:: J(r) = \tfrac{a}{2} E_p r^2 + \tfrac{1 - a}{2} E_q r^2 - E_p r .

For r = phi'theta with a ridge its minimiser is theta = (H + ridge I)^-1 h, where H = a
mean_p phi phi' + (1 - a) mean_q phi phi' and h = mean_p phi. Leaving one row out
changes H by a factor of its sample's part, the same for every row, and by a matrix of
rank one, so that one eigendecomposition for each sample and bandwidth gives all ratios
that are predicted for rows left out, at all ridges.
"""

import warnings
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skdre._compat import CallbackSupportMixin, Interval, StrOptions, fit_context
from skdre._core.tasks import single_task
from skdre.base import RATIO_FLOOR, DensityRatioMixin, log_of_ratio, split_samples
from skdre.kernel._basis import (
    kernel_product,
    range_of,
    standardization,
    standardize,
    standardize_samples,
)
from skdre.kernel._linear_algebra import damped_inverse, eigen
from skdre.kernel._search import (
    CenterKernel,
    bandwidth_grid,
    best_bandwidth,
    choose_centers,
    draws_of,
    log_loss,
    positive_grid,
    repeats_in,
)

# Ridges of the search. The best lay between 1e-5 and 0.3 on Gaussian shifts; they cost
# next to nothing.
RIDGES = 10.0 ** np.arange(-5, 1.1, 0.5)
# The intercept is a column of this value, its coefficient penalised like all others,
# which leaves a penalty on the intercept that is the ridge divided by the square: none.
_INTERCEPT_COLUMN = 30.0
# Where the relative ratio is near its bound 1 / alpha it says that the ratio is large,
# and no more: p / q is then this.
_LARGEST_RATIO = 1 / RATIO_FLOOR

# A kernel's mean below this is not told from 0.
_TINY = 1e-200


@dataclass(frozen=True)
class Moments:
    """First two moments of the columns over a sample.

    Attributes
    ----------
    mean : ndarray of shape (n_columns,)
        Mean of phi.
    second : ndarray of shape (n_columns, n_columns)
        Mean of phi phi'.
    """

    mean: np.ndarray
    second: np.ndarray


def moments(kernel, weight, gamma):
    """Moments of the columns, summed block by block."""
    mean = np.zeros(kernel.n_columns)
    second = np.zeros((kernel.n_columns, kernel.n_columns))
    for rows, block in kernel.blocks(gamma):
        mean += weight[rows] @ block
        scaled = block * np.sqrt(weight[rows])[:, None]
        second += scaled.T @ scaled
    return Moments(mean / weight.sum(), second / weight.sum())


def vanish(kernel, moments):
    """Whether every kernel is 0, to rounding, at every row of a sample."""
    return bool((moments.mean[: len(kernel.centers)] <= _TINY).all())


def one_row_less(weight, repeats):
    """What leaving out one row, or one repeat of a row, does to means over a sample.

    The mean of f over the rest is growth * mean(f) - share_j f(x_j). For weights that
    count repeats, growth is n / (n - 1) and each share 1 / (n - 1). The rest of other
    weights is normalised by its sum on average over the rows.

    Parameters
    ----------
    weight : ndarray of shape (n_rows,)
        In draws.
    repeats : ndarray of shape (n_rows,)
        Observations that each row stands for.

    Returns
    -------
    growth : float
    share : ndarray of shape (n_rows,)
        A sample of one row is left as it is, with growth 1 and share 0.
    """
    n_rows = repeats.sum()
    if n_rows == 1:
        return 1.0, np.zeros(1)
    rest = weight.sum() * (1 - 1 / n_rows)
    return weight.sum() / rest, weight / repeats / rest


def left_out_ratios(
    kernel, gamma, ridges, spectrum, linear, second_share, linear_share
):
    """Ratios at rows left out of the fit, clipped at 0, block by block.

    With row j left out theta solves (H - s_j phi_j phi_j' + ridge I) theta = h - t_j
    phi_j; by the formula of Sherman and Morrison

    .. math:: \\phi_j'\\theta = \\frac{\\phi_j'Bh - t_j \\phi_j'B\\phi_j}
       {1 - s_j \\phi_j'B\\phi_j}, \\qquad B = (H + ridge I)^{-1}.

    Parameters
    ----------
    kernel : CenterKernel
        The kernels at the rows.
    gamma : float
        Bandwidth.
    ridges : ndarray of shape (n_ridges,)
        Ridges.
    spectrum : tuple of ndarray
        Eigenvalues and eigenvectors of H.
    linear : ndarray of shape (n_columns,)
        h.
    second_share, linear_share : ndarray of shape (n_rows,)
        s and t.

    Yields
    ------
    rows : slice
    ratio : ndarray of shape (n_block_rows, n_ridges)
    """
    values, vectors = spectrum
    inverse = damped_inverse(values, ridges)
    target = inverse * (vectors.T @ linear)[:, None]
    for rows, block in kernel.blocks(gamma):
        rotated = block @ vectors
        ratio = rotated @ target
        np.square(rotated, out=rotated)
        norm = rotated @ inverse
        ratio -= linear_share[rows, None] * norm
        # s_j |phi_j|_B^2 < 1, and rounding must not make it 1.
        ratio /= np.maximum(1 - second_share[rows, None] * norm, 1e-12)
        yield rows, np.maximum(ratio, 0, out=ratio)


def ratio_of_relative(relative, alpha):
    """p / q from p / (alpha p + (1 - alpha) q), bounded where that is not defined."""
    if alpha == 0:
        return relative
    bound = _LARGEST_RATIO
    most = bound / (alpha * bound + 1 - alpha)
    relative = np.minimum(relative, most)
    return (1 - alpha) * relative / (1 - alpha * relative)


def relative_of_ratio(ratio, alpha):
    """p / (alpha p + (1 - alpha) q) from p / q."""
    return 1 / (alpha + (1 - alpha) / ratio)


def leave_one_out(
    kernel_p, kernel_q, p_weight, q_weight, repeats, gamma, ridges, alpha, scoring
):
    """Leave-one-out score of each ridge at one bandwidth.

    Each row of each sample is left out in turn, and its own term of the score is taken
    with the ratio fitted to all other rows of both samples. Nothing is paired, so the
    samples may be of any sizes. Centres stay where they are.

    Parameters
    ----------
    kernel_p, kernel_q : CenterKernel
        The kernels at the rows of the samples.
    p_weight, q_weight : ndarray of shape (n_rows,)
        In draws.
    repeats : pair of ndarray of shape (n_rows,)
        Observations that each row of p, and of q, stands for.
    gamma : float
        Bandwidth.
    ridges : ndarray of shape (n_ridges,)
        Ridges.
    alpha : float
        Share of p in the denominator.
    scoring : {"log_loss", "lsif_loss"}
        See :class:`LSIFRatio`.

    Returns
    -------
    scores : ndarray of shape (n_ridges,)
        Higher is better.
    """
    p, q = moments(kernel_p, p_weight, gamma), moments(kernel_q, q_weight, gamma)
    if vanish(kernel_q, q):
        return np.full(len(ridges), -np.inf)
    grown_p, share_p = one_row_less(p_weight, repeats[0])
    grown_q, share_q = one_row_less(q_weight, repeats[1])
    eigen_p = eigen(alpha * grown_p * p.second + (1 - alpha) * q.second)
    if alpha == 0:
        eigen_q = grown_q * eigen_p[0], eigen_p[1]
    else:
        eigen_q = eigen(alpha * p.second + (1 - alpha) * grown_q * q.second)
    without_p = left_out_ratios(
        kernel_p,
        gamma,
        ridges,
        eigen_p,
        grown_p * p.mean,
        alpha * share_p,
        share_p,
    )
    without_q = left_out_ratios(
        kernel_q,
        gamma,
        ridges,
        eigen_q,
        p.mean,
        (1 - alpha) * share_q,
        np.zeros(len(q_weight)),
    )
    # Each score is a sum over the rows, so that no row's ratios need be kept.
    loss = np.zeros(len(ridges))
    none = np.empty((0, len(ridges)))
    for rows, r in without_p:
        w = p_weight[rows] / p_weight.sum()
        if scoring == "log_loss":
            loss += log_loss(ratio_of_relative(r, alpha), w, none, np.empty(0))
        else:
            loss += w @ (alpha / 2 * r**2 - r)
    for rows, r in without_q:
        w = q_weight[rows] / q_weight.sum()
        if scoring == "log_loss":
            loss += log_loss(none, np.empty(0), ratio_of_relative(r, alpha), w)
        else:
            loss += w @ ((1 - alpha) / 2 * r**2)
    return -loss


def solve_ridge(p, q, alpha, ridge):
    """Coefficients theta = (H + ridge I)^-1 h.

    Parameters
    ----------
    p, q : Moments
        Moments over the numerator's and the denominator's rows.
    alpha : float
        Share of p in the denominator.
    ridge : float
        Penalty.

    Returns
    -------
    theta : ndarray of shape (n_columns,)
    """
    H = alpha * p.second + (1 - alpha) * q.second
    # Not by Cholesky's factor, which a ridge below the rounding of H would not have.
    values, vectors = eigen(H)
    inverse = damped_inverse(values, np.array([ridge]))[:, 0]
    return vectors @ (inverse * (vectors.T @ p.mean))


class LSIFRatio(DensityRatioMixin, CallbackSupportMixin, BaseEstimator):
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
    alpha : float, default=0.0
        Share of p in the denominator of the relative ratio, in [0, 1). The relative
        ratio is at most 1 / alpha, and so easier to fit where p / q is large. See
        Notes.
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
    standardize : bool, default=True
        Divide the columns by their within-class standard deviation first, so that the
        kernel does not depend on their units.
        Columns are centred in either case: where the origin lies changes nothing.
    random_state : int, RandomState instance or None, default=None
        Chooses the centres, where there are more rows than `n_components`.

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
        where nothing was searched.
    centers_ : ndarray of shape (n_centers, n_features)
        Centres, standardised.
    dual_coef_ : ndarray of shape (n_centers,)
        Their coefficients: the relative ratio is k(x, centers_) @ dual_coef_ +
        intercept_ where that is positive.
    intercept_ : float
        The constant.
    range_ : ndarray of shape (2, n_features)
        Least and greatest value of each standardised column over both samples. Rows
        outside are predicted as the nearest point between. See Notes.
    center_, scale_ : ndarray of shape (n_features,)
        Rows are standardised as (x - center_) / scale_. Without `standardize` the
        centre is the middle of the two samples' medians, and the scale 1.
    classes_ : ndarray of shape (2,)
        The labels; the second is the numerator's.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X had them.

    Warns
    -----
    ConvergenceWarning
        If every kernel vanishes at the denominator's rows.

    See Also
    --------
    skdre.KLIEPRatio : The likelihood instead of least squares.
    skdre.KMMRatio : Weights that match kernel means.

    Notes
    -----
    The log ratio is at least log(0.01). For alpha > 0 the relative ratio r_a is turned
    back into p / q = (1 - alpha) r_a / (1 - alpha r_a), which is defined below the
    bound 1 / alpha of r_a, and is at most 100.

    *Beyond the data.* Where no kernel reaches, the constant alone would decide, and it
    is set by what the kernels leave over, not by rows out there: with Gaussians whose
    means lie 1 apart it put log r at x = -20 anywhere from -4.6 to 4.6. A row outside
    the range of the samples is therefore predicted as the nearest point of the box that
    they span, column by column. On 20 known ratios (400 rows a side, alpha = 0.1, log r
    cut at 4.6 on either side) this lowered the mean squared error of log r from 7.3 to
    5.1 at rows twice as far out as new rows of the samples, and from 14.9 to 11.6 at
    rows ten times as far out; at new rows as they are it was 2.23 either way. A
    constant of 0 for the log ratio had 11 to 15 out there: what is not in the samples
    stays a guess.

    *Leave-one-out.* Each row of each sample is left out in turn; the ratio fitted to
    all other rows of both samples, clipped at 0 as it is in predictions, gives the
    row's own term of the loss. This is right for samples of unequal size, and equals
    refitting. The formulas of [1]_ and of packages in use leave out pairs of rows, as
    many as the smaller sample has. Centres stay when the row that they are is left out.
    A row of weight 2 is two rows, one of which is left out at a time.

    *The loss of the search.* The squared loss looks at large ratios only. On shifts in
    mean and in covariance (200 to 1,000 rows, d = 2 to 20) choosing by the log loss
    lowered the mean squared error of the log ratio from 1.06 to 0.40 at alpha = 0 and
    from 0.53 to 0.31 at alpha = 0.1, and the relative L2 error of the ratio from 1.0 to
    0.45 and from 0.56 to 0.41. alpha = 0.1 was the more accurate.

    The sums over the rows are formed in blocks, so that memory beyond the data grows
    with the square of `n_components` only; up to 128 MB of distances and kernel values
    are kept where they fit into it.

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
    >>> ratio = LSIFRatio(alpha=0.1, random_state=0).fit(X, y)
    >>> ratio.predict_ratio(shift.denominator).shape
    (500,)
    >>> bool(ratio.predict_relative_ratio(X).max() < 10)
    True
    """

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
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        gamma="cv",
        *,
        alpha=0.0,
        ridge="cv",
        n_components=100,
        intercept=True,
        scoring="log_loss",
        standardize=True,
        random_state=None,
    ):
        self.gamma = gamma
        self.alpha = alpha
        self.ridge = ridge
        self.n_components = n_components
        self.intercept = intercept
        self.scoring = scoring
        self.standardize = standardize
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    @single_task
    def fit(self, X, y, sample_weight=None):
        """Choose bandwidth and ridge, and solve for the coefficients.

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
        self : LSIFRatio

        Raises
        ------
        ValueError
            If a parameter or the input is invalid.
        """
        samples = split_samples(self, X, y, sample_weight)
        random_state = check_random_state(self.random_state)
        center, scale = standardization(samples, self.standardize)
        samples = standardize_samples(samples, center, scale)
        p_weight, q_weight = draws_of(samples)
        gammas = bandwidth_grid(self.gamma, samples)
        ridges = RIDGES.copy()
        if not isinstance(self.ridge, str):
            ridges = positive_grid("ridge", self.ridge)
        centers, _ = choose_centers(
            samples.numerator, p_weight, self.n_components, random_state
        )
        constant = _INTERCEPT_COLUMN if self.intercept else 0.0
        kernel_p = CenterKernel(samples.numerator, centers, constant)
        kernel_q = CenterKernel(samples.denominator, centers, constant)

        scores = np.full((len(gammas), len(ridges)), np.nan)
        # A single value in a list is scored, one given by itself is not.
        if scores.size > 1 or np.ndim(self.gamma) == 1 or np.ndim(self.ridge) == 1:
            for i, gamma in enumerate(gammas):
                scores[i] = leave_one_out(
                    kernel_p,
                    kernel_q,
                    p_weight,
                    q_weight,
                    repeats_in(samples),
                    gamma,
                    ridges,
                    self.alpha,
                    self.scoring,
                )
        best = best_bandwidth(gammas, scores.max(axis=1), samples)
        gamma = gammas[best]
        ridge = ridges[np.argmax(scores[best])]
        p, q = (
            moments(kernel, weight, gamma)
            for kernel, weight in ((kernel_p, p_weight), (kernel_q, q_weight))
        )
        if vanish(kernel_q, q):
            warnings.warn(
                f"With gamma={gamma:.3g} every kernel of LSIFRatio vanishes at all "
                "rows of the denominator: the ratio is only known to be large at the "
                "centres. Take a smaller gamma, or gamma='cv'.",
                ConvergenceWarning,
                stacklevel=2,
            )
        theta = solve_ridge(p, q, self.alpha, ridge)

        self.classes_ = samples.classes
        self.center_, self.scale_ = center, scale
        self.gamma_, self.ridge_ = float(gamma), float(ridge)
        self.alpha_ = float(self.alpha)
        self.gammas_, self.ridges_, self.loo_scores_ = gammas, ridges, scores
        self.centers_, self.dual_coef_ = centers, theta[: len(centers)]
        self.intercept_ = float(theta[-1] * constant) if self.intercept else 0.0
        self.range_ = range_of(samples)
        return self

    def decision_function(self, X):
        """Logarithm of the density ratio p / q at the rows of X, whatever alpha is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, at least log(0.01), and at most log(100) if alpha > 0.
        """
        Z = standardize(self._validate_rows(X), self.center_, self.scale_)
        Z = np.clip(Z, *self.range_)
        relative = kernel_product(Z, self.centers_, self.dual_coef_, self.gamma_)
        relative = np.maximum(relative + self.intercept_, 0)
        return log_of_ratio(ratio_of_relative(relative, self.alpha_))

    def predict_relative_ratio(self, X):
        """Relative ratio p / (alpha p + (1 - alpha) q) at the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        relative_ratio : ndarray of shape (n_samples,)
            That of ``predict_ratio``, hence below 1 / alpha; for alpha = 0 the ratio
            itself.
        """
        ratio = self.predict_ratio(X)
        return relative_of_ratio(ratio, self.alpha_)
