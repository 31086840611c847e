"""MultinomialRatio: one classifier of all waymarks."""

from skdre.waymarks._base import BaseWaymarkRatio, of_model
from skdre.waymarks._models import ClassifierModel
from skdre.waymarks._networks import ClassEnsemble

__all__ = ["MultinomialRatio"]


class MultinomialRatio(BaseWaymarkRatio):
    """Density ratio from one classifier of all waymarks between the samples (MDRE).

    Multinomial classification [1]_ puts waymarks on a path between the two samples as
    :class:`skdre.TelescopingRatio` does, and trains one classifier, by cross-entropy,
    to tell from which waymark a row comes. For classes of equal size its log odds are
    log ratios: log p(x) / q(x) = h_p(x) - h_q(x). Unlike a bridge of telescoping, the
    classifier has seen rows of all waymarks.

    Parameters
    ----------
    estimator : classifier, default=None
        Any classifier of scikit-learn that gives probabilities of many classes: cloned,
        and fitted on rows of all waymarks. By default an ensemble of networks, which
        the parameters from `head` to `callbacks` describe.
    %(n_bridges)
    %(path)
    %(spacing)
    %(coupled)
    head : {"linear", "quadratic"}, default="linear"
        What each log density h_k is of the trunk's output h: b^T h + c, or
        h^T W h + b^T h + c.
    %(network)
    %(hidden_features)
    %(activation)
    %(n_estimators)
    %(max_iter)
    %(batch_size)
    %(learning_rate)
    %(weight_decay)
    %(patience)
    %(device)
    %(callbacks)
    %(verbose)
    %(random_state) Draws the pairs, the initial weights and the batches, or is given
        to the clone of `estimator`.

    Attributes
    ----------
    %(network_)
    estimator_ : classifier
        The fitted classifier, of the classes 0, the denominator, to n_bridges; with
        `estimator`.
    n_rows_ : int
        Rows of each waymark that it was fitted on; with `estimator`.
    score_method_ : {"decision_function", "predict_log_proba", "predict_proba"}
        What the log ratio is made of: ``decision_function`` where it agrees with the
        probabilities, since it does not saturate; with `estimator`.
    %(times_)
    %(bounds_)
    %(path_length_)
    %(center_)
    %(loss_curve_)
    validation_scores_ : ndarray of shape (n_epochs,)
        Minus the cross-entropy of held-out pairs, the mean over the same.
    %(best_validation_score_)
    %(n_iter_)
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    skdre.TelescopingRatio : A ratio for each two neighbouring waymarks.

    Notes
    -----
    Waymarks, scale, ensemble and weights are those of
    :class:`skdre.TelescopingRatio`; its notes hold here as well.

    Probabilities of exactly 0 (of a forest) are floored at 1 / (n + 1), n the rows of a
    waymark, so that the log ratio is finite; between distant waymarks such a classifier
    says little.

    References
    ----------
    .. [1] A. Srivastava, S. Han, K. Xu, B. Rhodes, M. Gutmann. "Estimating the Density
       Ratio between Distributions with High Discrepancy using Multinomial Logistic
       Regression", TMLR 2023, arXiv 2305.00869, section 3.

    Examples
    --------
    Two Gaussians 6 apart:

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdre import MultinomialRatio, pool
    >>> rng = np.random.default_rng(0)
    >>> X, y = pool(
    ...     numerator=rng.normal(6, 1, (500, 1)), denominator=rng.normal(0, 1, (500, 1))
    ... )
    >>> ratio = MultinomialRatio(LogisticRegression(), random_state=0).fit(X, y)
    >>> ratio.estimator_.classes_
    array([0, 1, 2, 3, 4])
    >>> slope = ratio.decision_function([[1.0]]) - ratio.decision_function([[0.0]])
    >>> bool(abs(slope[0] - 6) < 0.5)
    True
    """

    estimator_ = of_model("estimator_")
    n_rows_ = of_model("n_rows_")
    score_method_ = of_model("score_method_")

    _ensemble = ClassEnsemble

    def _model_of_estimator(self) -> ClassifierModel:
        return ClassifierModel(self.estimator)
