"""AutoRatio: an estimator that looks at the data and chooses another."""

from dataclasses import replace
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import check_random_state

from skdre._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    fit_context,
    with_callbacks,
)
from skdre._core.folds import held_out_weights
from skdre._core.scales import column_scales, draw_in
from skdre._core.seeds import draw_seed
from skdre._core.tasks import inner_fit
from skdre.auto._choice import Findings, Rows, fit_rows, look
from skdre.auto._evidence import tail_length
from skdre.base import (
    DensityRatioMixin,
    check_is_ratio,
    predict_log_ratio,
    split_samples,
)
from skdre.classification import GaussianRatio, MLPRatio
from skdre.waymarks._telescoping import TelescopingRatio

__all__ = ["AutoRatio"]

# Tails this many times as long as a normal's are extreme: columns are made normal.
_LONG_TAILS = 2.0


def _tail_report(tails, marginals):
    column = int(np.argmax(tails))
    text = f"The longest tails, in column {column}, are {tails[column]:.3g} times those"
    if marginals is None:
        return f"{text} of a normal: columns are taken as they are."
    return f"{text} of a normal: all columns are made normal first."


class AutoRatio(
    DensityRatioMixin, MetaEstimatorMixin, CallbackSupportMixin, BaseEstimator
):
    """Density ratio by the estimator that suits the data.

    Looks at the samples, holds some rows out, and takes the Gaussian plug-in where no
    network is better, a plain network where the samples overlap, and telescoping where
    they lie far apart; columns with extreme tails are made normal first. Where nothing
    tells the samples apart the log ratio is 0.

    Parameters
    ----------
    near : ratio estimator, default=None
        For samples that overlap; None is :class:`skdre.MLPRatio`.
    far : TelescopingRatio, default=None
        For samples that hardly do; None is :class:`skdre.TelescopingRatio` with eight
        bridges.
    validation_fraction : float, default=0.2
        Share of the rows that is held out for the choice. What is chosen is fitted
        again on all rows.
    random_state : int, RandomState instance or None, default=None
        Of `near` and `far`, where they have none of their own, and of the pairs of
        held-out rows.

    Attributes
    ----------
    choice_ : {"constant", "gaussian", "near", "far"}
        What was chosen.
    report_ : str
        What was seen, what was chosen, and why, in a few lines.
    estimator_ : ratio estimator or None
        The chosen one, fitted on all rows; None if the log ratio is 0.
    marginals_ : object or None
        The map of the columns to a normal that rows go through first; None if their
        tails are not extreme.
    bounds_ : ndarray of shape (2, n_features_in_)
        What absurd values of each column are drawn in to; infinite without any.
    tail_length_ : ndarray of shape (n_features_in_,)
        How much longer the tails of each column are than a normal's, in the sample
        where they are longer.
    divergence_ : float
        Half the sum of the two Kullback-Leibler divergences, in nats, as `near` has it
        at held-out rows.
    validation_losses_ : dict of str to float
        Balanced log loss of every candidate at the held-out rows, in nats.
    classes_ : ndarray of shape (2,)
        The labels; the second is the numerator's.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X had them.

    See Also
    --------
    skdre.GaussianRatio, skdre.MLPRatio, skdre.TelescopingRatio : What it chooses from.

    Notes
    -----
    The rules, in their order:

    1. Where the tails of a column, the range of its inner 99 % over that of its inner
       half, are more than twice as long as a normal's, all columns go through a smooth
       monotone map that makes the two samples together normal. The ratio is unchanged
       by it.
    2. `near` is fitted. If the divergence that it finds at held-out rows is above 1.2
       nats, `far` is fitted too and stands in its place.
    3. The plug-in stays unless the network's held-out loss is smaller by 2 standard
       errors: the mean loss of the bridges if the network is `far`, since where the
       samples lie far apart all estimates tell them without error.
    4. The plug-in has to be better than knowing nothing by 1.5 standard errors, in
       cross-validation.

    The log loss at rows of the two samples alone does not choose well between a network
    and telescoping: it hardly depends on the size of log ratios beyond 5 or so.

    References
    ----------
    .. [1] B. Rhodes, K. Xu, M. Gutmann. "Telescoping Density-Ratio Estimation",
       NeurIPS 2020.
    .. [2] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via
       Infinitesimal Classification", AISTATS 2022.

    Examples
    --------
    >>> from skdre import AutoRatio
    >>> from skdre.datasets import make_warped_shift
    >>> X, y = make_warped_shift(200, 2, random_state=0).pool()
    >>> ratio = AutoRatio(random_state=0).fit(X, y)
    >>> ratio.choice_
    'gaussian'
    """

    _parameter_constraints = {  # noqa: RUF012
        "near": [HasMethods(["fit"]), None],
        "far": [HasMethods(["fit", "log_ratios"]), None],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "random_state": ["random_state"],
    }

    def __init__(
        self, *, near=None, far=None, validation_fraction=0.2, random_state=None
    ):
        self.near = near
        self.far = far
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    @with_callbacks
    # A given estimator validates its own parameters when it is fitted.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None):
        """Choose an estimator and fit it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both samples, finite.
        y : array-like of shape (n_samples,)
            Domain labels, two values; the greater names the numerator.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights inside each domain: k is k repeats of the row, 0 its absence. See
            "Weights, copies and repeats" in the user guide.

        Returns
        -------
        self : AutoRatio

        Raises
        ------
        ValueError
            If the input or a parameter is not as described.

        Warns
        -----
        ConvergenceWarning, UserWarning
            Those of the chosen estimator.
        """
        for name in ("near", "far"):
            if (given := getattr(self, name)) is not None:
                check_is_ratio(given, name)
        samples = split_samples(self, X, y, sample_weight)
        rng = check_random_state(self.random_state)
        rows = Rows.of(samples)
        tails = np.maximum(*(tail_length(*part) for part in rows.samples()))
        marginals = None
        if tails.max() > _LONG_TAILS:
            marginals = rows.marginals()
            # They go by ranks, which no value can own.
            rows = rows.mapped(marginals)
            bounds = np.full((2, rows.X.shape[1]), [[-np.inf], [np.inf]])
        else:
            # Once for all folds: one that holds out all absurd values knows none.
            scales = column_scales(rows.samples(), samples.names)
            rows = replace(rows, X=scales.draw_in(rows.X))
            bounds = np.stack([scales.low, scales.high])
        near, far = self._candidates(rng)
        data = {"X": X, "y": y}
        # Both candidates, and the chosen one again on all rows.
        root = self._init_callback_context(max_subtasks=3)
        root.call_on_fit_task_begin(estimator=self, **data)

        def fit(estimator, rows, weight, task_name):
            with inner_fit(root, self, estimator, task_name, **data):
                return fit_rows(estimator, rows, weight)

        folds = held_out_weights(rows, max(2, round(1 / self.validation_fraction)))
        if folds is None:
            found = Findings.of_a_single_row()
        else:
            found = look(rows, folds, near, far, rng, fit)
        chosen = {"gaussian": GaussianRatio(), "near": near, "far": far}
        estimator = None
        if found.choice != "constant":
            estimator = fit(chosen[found.choice], rows, rows.weight, "fit-chosen")
        self.choice_ = found.choice
        self.report_ = "\n".join([_tail_report(tails, marginals), *found.report])
        self.estimator_ = estimator
        self.marginals_ = marginals
        self.bounds_ = bounds
        self.tail_length_ = tails
        self.divergence_ = found.divergence
        self.validation_losses_ = found.losses
        self.classes_ = samples.classes
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    def _candidates(self, rng):
        near = MLPRatio() if self.near is None else clone(self.near)
        far = TelescopingRatio(n_bridges=8) if self.far is None else clone(self.far)
        for each in (near, far):
            seeds = {
                name: draw_seed(rng)
                for name, value in sorted(each.get_params().items())
                if name.split("__")[-1] == "random_state" and value is None
            }
            each.set_params(**seeds)
        return near, far

    def decision_function(self, X):
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, finite.
        """
        X = self._validate_rows(X)
        if self.estimator_ is None:
            return np.zeros(len(X))
        X = draw_in(X, *self.bounds_)
        if self.marginals_ is not None:
            X = self.marginals_.forward(X)[0]
        return predict_log_ratio(self.estimator_, X)
