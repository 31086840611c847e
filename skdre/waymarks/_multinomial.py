"""MultinomialRatio: one classifier of all waymarks."""

import numpy as np
from scipy.special import softmax
from sklearn.base import clone, is_classifier

from skdre._core.tasks import inner_fit
from skdre.base import is_ratio_estimator
from skdre.waymarks._base import (
    BaseWaymarkRatio,
    deal_random_state,
    steps_taken,
)
from skdre.waymarks._networks import bridge_scores, class_losses

__all__ = ["MultinomialRatio"]

# Rows at which it is seen whether decision_function is the logarithm of predict_proba.
_ROWS_SEEN = 500
_AGREEMENT = 1e-6


def class_scores(classifier, X, method, n_rows):
    """Log densities of all classes at the rows of X, up to a term they share.

    Parameters
    ----------
    classifier : classifier
        Fitted on classes of equal size.
    X : ndarray of shape (n_samples, n_features)
        Rows.
    method : {"decision_function", "predict_log_proba", "predict_proba"}
        What to ask the classifier for.
    n_rows : int
        Rows of each class in its fit. A share of 0 among so many counts as
        1 / (n_rows + 1).

    Returns
    -------
    scores : ndarray of shape (n_samples, n_classes)
        Finite.

    Raises
    ------
    ValueError
        If the classifier answers NaN.
    """
    with np.errstate(divide="ignore"):
        scores = np.asarray(getattr(classifier, method)(X), dtype=np.float64)
        if method == "predict_proba":
            scores = np.log(scores)
    if np.isnan(scores).any():
        raise ValueError(
            f"{type(classifier).__name__}.{method} gives NaN for "
            f"{np.isnan(scores).any(axis=-1).sum()} of {len(scores)} rows of X: their "
            "values may be too large for it, or its fit failed."
        )
    if scores.ndim == 1:
        scores = np.column_stack([np.zeros(len(scores)), scores])
    if method != "decision_function":
        scores = np.where(np.isneginf(scores), -np.log1p(n_rows), scores)
    limit = np.finfo(np.float64).max / 4
    return np.clip(scores, -limit, limit)


def choose_class_score(classifier, X):
    """Name of the method whose values are log densities: the one that keeps most.

    Raises
    ------
    ValueError
        If the classifier has no probabilities.
    """
    if not hasattr(classifier, "predict_proba"):
        raise ValueError(
            f"estimator must have predict_proba, got {classifier!r}: scores of classes "
            "that are no probabilities give no ratio."
        )
    if hasattr(classifier, "decision_function"):
        X = X[:: -(-len(X) // _ROWS_SEEN)]
        scores = class_scores(classifier, X, "decision_function", 1)
        probability = classifier.predict_proba(X)
        if scores.shape == probability.shape and np.allclose(
            softmax(scores, axis=1), probability, rtol=0, atol=_AGREEMENT
        ):
            return "decision_function"
    logged = hasattr(classifier, "predict_log_proba")
    return "predict_log_proba" if logged else "predict_proba"


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
    n_bridges : int, default=4
        Ratios between neighbouring waymarks, of which there is one more: the two
        samples and n_bridges - 1 distributions between them.
    path : str or :class:`skdre.paths.Path`, default="trigonometric"
        Path from the denominator, t = 0, to the numerator, t = 1: a name of
        ``skdre.paths.PATHS``, or a path. It is followed by the deviations from
        the means; the mean goes straight from one to the other.
    spacing : {"path-length", "linear", "quadratic"} or sequence of float, \
            default="path-length"
        Where the waymarks lie: at equal lengths of the path, at t = k / n_bridges, at
        its square, or at n_bridges + 1 given times from 0 to 1.
    coupled : bool, default=True
        Whether one pair of rows, and one draw of a path's noise, gives a row of every
        waymark, or each waymark has pairs of its own.
    head : {"linear", "quadratic"}, default="linear"
        What each log density h_k is of the trunk's output h: b^T h + c, or
        h^T W h + b^T h + c.
    hidden_features : sequence of int, default=(64, 64, 64)
        Widths of the hidden layers of each member's trunk. With none, the heads see
        the standardised columns: quadratic ones then are exact for Gaussians.
    activation : {"elu", "silu", "tanh"}, default="silu"
        Of the hidden layers.
    n_estimators : int, default=8
        Members of the ensemble. With k of them each trains on all but a k-th of the
        rows, but at least three quarters.
    max_iter : int, default=2000
        Most training steps, one batch for each member.
    batch_size : int, default=64
        Pairs of rows of a batch for each member; each gives a row of every waymark.
    learning_rate : float, default=0.002
        Of AdamW, at the start; it falls to zero along a cosine over `max_iter`.
    weight_decay : float, default=0.001
        Of AdamW.
    patience : int, default=400
        Steps in which no member's held-out loss gets better before training stops.
    device : str, default="auto"
        "auto" trains on CUDA where there is one; or "cpu", "cuda", "cuda:1".
    callbacks : list of skorch callbacks, default=None
        Called during training; their epoch is 25 steps. For scikit-learn's own
        callbacks (1.9 and later) use ``set_callbacks``; epochs are their tasks.
    verbose : int, default=0
        Above 0, print a line for each 25 steps of the networks' training.
    random_state : int, RandomState instance or None, default=None
        Draws the pairs, the initial weights and the batches, or is given
        to the clone of `estimator`. The global
        seeds of numpy and torch are neither read (unless this is None, numpy's) nor
        changed.

    Attributes
    ----------
    network_ : torch.nn.Module
        The fitted ensemble, in double precision; without `estimator`.
    estimator_ : classifier
        The fitted classifier, of the classes 0, the denominator, to n_bridges; with
        `estimator`.
    n_rows_ : int
        Rows of each waymark that it was fitted on; with `estimator`.
    score_method_ : {"decision_function", "predict_log_proba", "predict_proba"}
        What the log ratio is made of: ``decision_function`` where it agrees with the
        probabilities, for it does not saturate; with `estimator`.
    times_ : ndarray of shape (n_bridges + 1,)
        Times of the waymarks on the path.
    bounds_ : ndarray of shape (2, n_features_in_)
        What absurd values of each column are drawn in to; infinite without any.
    path_length_ : float
        Length of the path, of distributions with the moments of its own: how far apart
        the samples lie.
    center_, scale_ : ndarray of shape (n_features_in_,)
        With which the networks' inputs are standardised; a constant column has an
        infinite scale.
    loss_curve_ : ndarray of shape (n_epochs,)
        Training loss, the mean over each 25 steps, all members, in nats.
    validation_scores_ : ndarray of shape (n_epochs,)
        Minus the cross-entropy of held-out pairs, the mean over the same.
    best_validation_score_ : float
        The same, of the weights that are kept.
    n_iter_ : int
        Steps that were taken; of a given `estimator` the most it counted, or 1.
    classes_ : ndarray of shape (2,)
        The labels; the second is the numerator's.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, where X had them.

    See Also
    --------
    skdre.TelescopingRatio : A ratio for each two neighbouring waymarks.

    Notes
    -----
    Waymarks, scale, ensemble and weights are those of
    :class:`skdre.TelescopingRatio`; its notes hold here as well.

    A classifier whose probabilities are exactly 0 somewhere (a forest) counts them as
    one row in all of a class and one more, so that the log ratio is finite; between
    distant waymarks such a classifier says little.

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

    _network_criterion = staticmethod(class_losses)

    def _n_heads(self):
        return self.n_bridges + 1

    @staticmethod
    def _as_outputs(log_ratios):
        zero = np.zeros_like(log_ratios[..., :1])
        return np.cumsum(np.concatenate([zero, log_ratios], axis=-1), axis=-1)

    @staticmethod
    def _log_ratios_of_outputs(outputs):
        return np.diff(outputs, axis=1)

    @staticmethod
    def _separates(outputs):
        numerator, denominator = bridge_scores(outputs.diff(dim=-1))
        return (numerator.amin(dim=(0, 1)) > denominator.amax(dim=(0, 1))).cpu().numpy()

    def _check_estimator(self):
        if self.estimator is None:
            return
        if not is_classifier(self.estimator) or is_ratio_estimator(self.estimator):
            raise ValueError(
                "estimator must be a classifier of many classes, got "
                f"{self.estimator!r}; TelescopingRatio takes a density-ratio estimator."
            )

    def _fit_estimator(self, problem, rng, data):
        """Fit one classifier of all waymarks; the attributes of a fit."""
        rows, fresh = (problem.draw_rows(self.coupled, rng)[0] for _ in range(2))
        n_waymarks, n_rows = rows.shape[:2]
        estimator = clone(self.estimator)
        if self.random_state is not None:
            deal_random_state(estimator, rng)
        X = rows.reshape(-1, rows.shape[2])
        root = self._init_callback_context(max_subtasks=1)
        root.call_on_fit_task_begin(estimator=self, **data)
        with inner_fit(root, self, estimator, "fit-estimator", **data):
            estimator.fit(X, np.repeat(np.arange(n_waymarks), n_rows))
        method = choose_class_score(estimator, X)
        separated = []
        for k in range(self.n_bridges):
            low, high = (
                class_scores(estimator, each, method, n_rows)
                for each in fresh[k : k + 2]
            )
            low, high = (each[:, k + 1] - each[:, k] for each in (low, high))
            separated.append(high.min() > low.max())
        return {
            "estimator_": estimator,
            "score_method_": method,
            "n_rows_": n_rows,
            "n_iter_": steps_taken([estimator]),
            "separated": separated,
            "task": root,
        }

    def _estimator_log_ratios(self, X):
        scores = class_scores(self.estimator_, X, self.score_method_, self.n_rows_)
        return np.diff(scores, axis=1)
