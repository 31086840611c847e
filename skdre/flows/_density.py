"""What a fitted flow offers: features, their inverse, densities and samples."""

from numbers import Integral

from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skdre._core.arrays import follows_rows
from skdre._core.columns import check_mapped, validate_rows
from skdre._core.docs import SHARED, fill_class
from skdre._core.types import Floats, RandomState, Rows
from skdre.flows._flows import FLOWS
from skdre.flows._likelihood import log_density, parameter_gradients, through
from skdre.flows._marginals import FEW_ROWS, MARGINALS

__all__ = ["FlowDensityMixin"]

SHARED["dequantizer"] = (
    "dequantizer : Dequantizer, default=None",
    "Takes images of whole numbers to rows that a density can be fitted to; see "
    ":class:`skdre.Dequantizer`. X then holds pixels, here and in every method, and "
    "densities are those of pixel + noise, in units of a level. Training draws the "
    "noise anew for every batch; behind a ``Dequantizer`` in a pipeline the flow sees "
    "the same draw in every pass, and overfits it.",
)


class FlowDensityMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Methods of an estimator with a fitted flow behind maps of the columns.

    The estimator has the parameters `flow`, `marginals` and `dequantizer`, and
    ``marginal_maps_``, ``flow_``, whose base is N(0, I), ``dequantizer_`` and
    ``n_features_in_``. (scikit-learn puts
    features into data frames where a class that it knows for a transformer defines
    `transform`.)
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags

    @property
    def _n_features_out(self):
        return self.n_features_in_

    def _candidate_marginals(self, n_samples):
        """Kinds of maps to choose from, of so many rows."""
        if self.marginals != "auto":
            return [self.marginals]
        if self.flow in FLOWS and FLOWS[self.flow].marginals:
            return [FLOWS[self.flow].marginals]
        return list(MARGINALS) if n_samples >= FEW_ROWS else ["standardize"]

    def _fitted_dequantizer(self, X, warm):
        """What takes pixels to rows; None without."""
        if self.dequantizer is None:
            return None
        if warm and self.dequantizer_ is not None:
            return self.dequantizer_
        return clone(self.dequantizer).fit(X)

    def _mapped(self, X, *, middle=False):
        """Mapped rows, log determinants; of pixels with noise, drawn or at its mean."""
        check_is_fitted(self)
        X = validate_rows(self, X)
        pixels = getattr(self, "dequantizer_", None)
        if pixels is None:
            return self.marginal_maps_.forward(X)
        Y = pixels.middle(X) if middle else pixels.transform(X)
        U, log_det = self.marginal_maps_.forward(Y)
        return U, log_det + pixels.log_det_jacobian(Y)

    @follows_rows
    def transform(self, X: Rows) -> Floats:
        """Map x to the features z.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            Close to standard normal on data like those of fit; finite for any row.
        """
        return self._features(X)

    def _features(self, X, **options):
        U, _ = self._mapped(X, **options)
        return through(self.flow_, lambda transform, u: transform(u), U)

    @follows_rows
    def inverse_transform(self, X: Rows) -> Floats:
        """Map features z back to x.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features z, named X as in scikit-learn.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If X is not of as many features as in fit.
        """
        Z = check_mapped(self, X)
        U = through(self.flow_, lambda transform, z: transform.inv(z), Z)
        Y: Floats = self.marginal_maps_.inverse(U)
        pixels = getattr(self, "dequantizer_", None)
        return Y if pixels is None else pixels.inverse_transform(Y)

    @follows_rows
    def score_samples(self, X: Rows) -> Floats:
        """Log density of the flow at the rows of X.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, of x itself: the Jacobians of the flow and of the marginal maps
            are in it.
        """
        U, log_det_maps = self._mapped(X)
        return through(self.flow_, log_density, U) + log_det_maps

    @follows_rows
    def fisher_scores(self, X: Rows) -> Floats:
        """Gradient of the log density by the flow's parameters, row by row.

        Their sum vanishes over rows that the flow was fitted to by maximum likelihood,
        and over any other sample that the flow cannot tell from these; see
        :func:`skdre.score_test`.

        Parameters
        ----------
        %(X_new)

        Returns
        -------
        scores : ndarray of shape (n_samples, n_parameters)
            In nats per unit of each parameter. The maps of the columns have none.
        """
        U, _ = self._mapped(X)
        return parameter_gradients(self.flow_, U)

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> Floats:
        """Draw rows from the density of the flow.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Draws them.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If `n_samples` is not a positive integer.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an integer >= 1, got {n_samples!r}.")
        rng = check_random_state(random_state)
        return self.inverse_transform(rng.normal(size=(n_samples, self.n_features_in_)))


fill_class(FlowDensityMixin)
