"""Dequantizer: images of whole numbers as rows that a density can be fitted to."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Self

import numpy as np
from scipy.special import expit, log_expit, logit
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skdre._compat import Interval, fit_context
from skdre._core.columns import check_mapped, check_rows, validate_rows
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre.base import AtomicFitMixin, DocumentedMixin

__all__ = ["Dequantizer"]

# The noise lies at the middles of this many cells of [0, 1): never so close to a whole
# number that rounding takes a pixel to its neighbour on the way back.
_NOISE_CELLS = 2**32


def draw_noise(shape, rng):
    """Uniform numbers in (0, 1)."""
    return (rng.randint(_NOISE_CELLS, size=shape, dtype=np.uint64) + 0.5) / _NOISE_CELLS


def dequantize(X, n_levels, alpha, noise):
    """y = logit(alpha + (1 - 2 alpha) (x + noise) / n_levels), of the shape of X."""
    return logit(alpha + (1 - 2 * alpha) * ((X + noise) / n_levels))


def quantize(Y, n_levels, alpha):
    """Levels of the rows Y; those beyond the range become the nearest level."""
    share = (expit(Y) - alpha) / (1 - 2 * alpha)
    return np.clip(np.floor(n_levels * share), 0, n_levels - 1)


def log_slope(Y, n_levels, alpha):
    """Logarithm of dy / dx, of the shape of Y."""
    return np.log1p(-2 * alpha) - np.log(n_levels) - log_expit(Y) - log_expit(-Y)


class Dequantizer(
    AtomicFitMixin,
    DocumentedMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Uniform dequantisation and the logit transform.

    Pixels are whole numbers, and a density fitted to whole numbers can be as high as
    it likes. With uniform noise on them, x + u, the density in each cell of width 1 has
    on average at most the logarithm of the cell's probability [1]_; the logit takes the
    cells' bounded range to the whole line, where flows live [2]_:

        y = logit(alpha + (1 - 2 alpha) (x + u) / n_levels),  u ~ U[0, 1)

    With ``center=True`` the mean of y over the images of fit is subtracted as well: the
    preprocessing of [3]_, appendix F.3.

    Parameters
    ----------
    n_levels : int, default=256
        Levels of a pixel: values are 0, 1, ..., n_levels - 1.
    alpha : float, default=1e-6
        Keeps the logit away from 0 and 1; in [0, 0.5). The larger, the shorter are the
        tails of black and white pixels: [2]_ takes 1e-6 for MNIST, 0.05 for CIFAR-10.
    center : bool, default=False
        Subtract the mean of each column of y, over the images of ``fit``: of training
        images, never of those that are tested.
    random_state : int, RandomState instance or None, default=None
        Draws the noise. With an int every call of ``transform`` draws the same.

    Attributes
    ----------
    n_levels_ : int
        Levels of a pixel.
    alpha_ : float
        What keeps the logit away from 0 and 1.
    mean_ : ndarray of shape (n_features_in_,)
        What is subtracted from the logits; 0 unless `center`.
    random_state_ : int, RandomState instance or None
        What every call of ``transform`` draws its noise from.
    n_features_in_ : int
        Number of pixels.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the pixels, if X had string column names.

    See Also
    --------
    FlowFeaturizer : A density for the rows that come out.

    Notes
    -----
    A flow that is fitted to the rows of ``transform`` sees one draw of the noise, and
    with few images it overfits that draw: its features are then others at rows
    that it has seen, and a classifier on them tells the flow's rows rather than the
    samples. Give the images and the dequantiser to the flow,
    ``FlowFeaturizer(dequantizer=Dequantizer(...))``: it draws the noise anew for every
    batch, as :class:`FlowClassifierRatio` does. A ratio is still fitted best on images
    that the flow has not seen.

    References
    ----------
    .. [1] L. Theis, A. van den Oord, M. Bethge. "A note on the evaluation of generative
       models", ICLR 2016, section 3.1.
    .. [2] G. Papamakarios, T. Pavlakou, I. Murray. "Masked Autoregressive Flow for
       Density Estimation", NeurIPS 2017, section 4.3 and appendix.
    .. [3] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via
       Infinitesimal Classification", AISTATS 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdre import Dequantizer, FlowFeaturizer
    >>> X = load_digits().data  # whole numbers from 0 to 16
    >>> pixels = Dequantizer(n_levels=17, alpha=0.05, random_state=0).fit(X)
    >>> Y = pixels.transform(X)
    >>> bool((pixels.inverse_transform(Y) == X).all())
    True
    >>> flow = FlowFeaturizer("gaussian", random_state=0).fit(Y)
    >>> bits = pixels.bits_per_dimension(Y, flow.score_samples(Y))
    >>> print(f"{bits.mean():.1f} bits of {np.log2(17):.1f}")
    2.4 bits of 4.1
    """

    _parameter_constraints = {  # noqa: RUF012
        "n_levels": [Interval(Integral, 2, 2**20, closed="both")],
        "alpha": [Interval(Real, 0, 0.5, closed="left")],
        "center": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_levels: int = 256,
        *,
        alpha: float = 1e-6,
        center: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.n_levels = n_levels
        self.alpha = alpha
        self.center = center
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        tags.transformer_tags.preserves_dtype = ["float64"]
        # The generic checks feed real numbers of any sign, which are no pixels.
        tags._skip_test = True
        return tags

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Rows, y: object = None) -> Self:
        """Check the pixels; with `center` take the means of the columns of y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Images as rows, whole numbers from 0 to ``n_levels - 1``.
        y : Ignored
            For scikit-learn's sake.

        Returns
        -------
        self : Dequantizer

        Raises
        ------
        ValueError
            If X is not a dense matrix of such numbers.
        """
        # Checked apart from validate_data, which would leave attributes behind.
        rows = check_rows(X)
        self._check_levels(rows, self.n_levels)
        validate_data(self, X, skip_check_array=True)
        self.mean_ = np.zeros(rows.shape[1])
        if self.center:
            rng = check_random_state(self.random_state)
            noise = draw_noise(rows.shape, rng)
            logits = dequantize(rows, self.n_levels, self.alpha, noise)
            self.mean_ = logits.mean(axis=0)
        self.n_levels_, self.alpha_ = self.n_levels, self.alpha
        self.random_state_ = self.random_state
        return self

    @staticmethod
    def _check_levels(X, n_levels):
        low, high = X.min(), X.max()
        whole = not (X % 1).any()
        if whole and low >= 0 and high < n_levels:
            return
        hint = ""
        if low >= 0 and high <= 1:
            hint = f" Images in [0, 1] are multiplied by {n_levels - 1} first."
        elif whole and low >= 0:
            hint = f" For {int(high) + 1} levels set n_levels={int(high) + 1}."
        raise ValueError(
            f"X must hold whole numbers from 0 to {n_levels - 1} "
            f"(n_levels={n_levels}), got values from {low:g} to {high:g}"
            f"{'' if whole else ', some of them fractions'}.{hint}"
        )

    def _checked(self, X: Rows) -> Floats:
        check_is_fitted(self)
        rows: Floats = validate_rows(self, X)
        self._check_levels(rows, self.n_levels_)
        return rows

    def transform(self, X: Rows) -> Floats:
        """Add noise, and map to the whole line.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Images as rows, whole numbers from 0 to ``n_levels - 1``.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_features)
            Finite.

        Raises
        ------
        ValueError
            If X is not a dense matrix of such numbers.
        """
        return self.draw(self._checked(X), check_random_state(self.random_state_))[0]

    def draw(self, X: Floats, rng: np.random.RandomState) -> tuple[Floats, Floats]:
        """Rows y of one draw of the noise, and the log determinants there.

        Unlike :meth:`transform` it checks nothing; a flow calls it for every batch.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Whole numbers, as of ``transform``.
        rng : numpy.random.RandomState
            Draws the noise.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_features)
        log_det : ndarray of shape (n_samples,)
            In nats, as of ``log_det_jacobian``.
        """
        noise = draw_noise(X.shape, rng)
        logits = dequantize(X, self.n_levels_, self.alpha_, noise)
        log_det = log_slope(logits, self.n_levels_, self.alpha_).sum(axis=1)
        return logits - self.mean_, log_det

    def redrawn(
        self, X: Floats, seed: int
    ) -> Callable[[np.ndarray], tuple[Floats, Floats]]:
        """Function of row numbers of X that gives :meth:`draw` there, anew each time.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Whole numbers, as of ``transform``.
        seed : int
            Of the noise.

        Returns
        -------
        draw : callable
        """
        rng = np.random.RandomState(seed)
        return lambda index: self.draw(X[index], rng)

    def middle(self, X: Rows) -> Floats:
        """Map to the whole line with the noise at its mean, 1/2 in every pixel.

        For what shall depend on the image alone, such as the ratio of two densities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Images as rows, as of ``transform``.

        Returns
        -------
        Y : ndarray of shape (n_samples, n_features)
            Finite.

        Raises
        ------
        ValueError
            If X is not a dense matrix of such numbers.
        """
        Y: Floats = dequantize(self._checked(X), self.n_levels_, self.alpha_, 0.5)
        return Y - self.mean_

    def inverse_transform(self, X: Rows) -> Floats:
        """Map rows of the whole line to pixels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows y like those of ``transform``, or samples of a density fitted to them;
            named X as in scikit-learn.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Whole numbers from 0 to ``n_levels - 1``: those that ``transform`` was
            given, and the nearest level for rows that no image is mapped to.
        """
        logits = check_mapped(self, X) + self.mean_
        return quantize(logits, self.n_levels_, self.alpha_)

    def log_det_jacobian(self, X: Rows) -> Floats:
        """Log determinant of the Jacobian dy / dx of the transform.

        A density of y is one of x + u, in units of a level, when this is added to its
        logarithm.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows y like those of ``transform``.

        Returns
        -------
        log_det : ndarray of shape (n_samples,)
            In nats.
        """
        logits = check_mapped(self, X) + self.mean_
        return log_slope(logits, self.n_levels_, self.alpha_).sum(axis=1)

    def bits_per_dimension(self, X: Rows, log_density: Values) -> Floats:
        """Length of the code of an image that a density stands for, per pixel.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows y like those of ``transform``.
        log_density : array-like of shape (n_samples,)
            Log density of those rows y in nats, as of ``FlowFeaturizer.score_samples``.

        Returns
        -------
        bits : ndarray of shape (n_samples,)
            In bits per dimension. The mean over the noise is an upper bound on the
            code length of the image. The uniform distribution has ``log2(n_levels)``.

        Raises
        ------
        ValueError
            If `log_density` does not hold one value for each row.
        """
        log_det = self.log_det_jacobian(X)
        log_density = np.asarray(log_density, dtype=np.float64)
        if log_density.shape != log_det.shape:
            raise ValueError(
                "log_density must hold one value for each row of X, shape "
                f"{log_det.shape}, got shape {log_density.shape}."
            )
        return -(log_density + log_det) / (self.n_features_in_ * np.log(2))
