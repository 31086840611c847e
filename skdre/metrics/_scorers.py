"""The losses as scorers of fitted estimators, by name."""

from collections.abc import Callable

import numpy as np

from skdre._core.arrays import to_host
from skdre._core.ratio_estimators import predict_log_ratio
from skdre._core.types import Values
from skdre._core.values import refuse_complex, refuse_masked
from skdre.metrics._losses import (
    kliep_score,
    log_ratio_mse,
    lsif_loss,
    ratio_log_loss,
    ratio_rank_correlation,
)

__all__ = ["get_scorer", "get_scorer_names"]


def _is_numerator(y):
    y = to_host(y)
    refuse_masked(y, "y")
    refuse_complex(y, "y")
    y = np.asarray(y)
    try:
        labels = np.unique(y)
    except TypeError as error:
        raise ValueError(
            f"y must hold two labels of one type, got some that cannot be sorted: "
            f"{error}."
        ) from error
    # NaN differs from itself.
    if len(labels) != 2 or (labels != labels).any():
        raise ValueError(
            "A ratio is scored on rows of both samples: y must hold two labels, got "
            f"{labels[:5].tolist()}."
        )
    return y == labels[1]


# Functions of labels, as scikit-learn's scorers call them; at the top of the module, so
# that they can be sent to other processes.
def _ratio_log_loss(y, log_ratio, sample_weight=None):
    return ratio_log_loss(_is_numerator(y), log_ratio, sample_weight=sample_weight)


def _lsif_loss(y, log_ratio, sample_weight=None):
    return lsif_loss(_is_numerator(y), log_ratio, sample_weight=sample_weight)


def _kliep_score(y, log_ratio, sample_weight=None):
    return kliep_score(_is_numerator(y), log_ratio, sample_weight=sample_weight)


# Name: (function, whether greater is better).
_BY_LABELS = {
    "kliep_score": (_kliep_score, True),
    "neg_lsif_loss": (_lsif_loss, False),
    "neg_ratio_log_loss": (_ratio_log_loss, False),
}
_BY_TRUTH = {
    "neg_log_ratio_mse": (log_ratio_mse, False),
    "ratio_rank_correlation": (ratio_rank_correlation, True),
}


class _LabelScorer:
    """A scorer that judges the log ratio by the labels."""

    def __init__(self, name):
        # Here, for nothing else in the package needs scikit-learn's metrics.
        from sklearn.metrics import make_scorer

        self.name = name
        # Never called: it stores the requests for weights of metadata routing.
        self._requests = make_scorer(_BY_LABELS[name][0])

    def __call__(self, estimator, X, y, sample_weight=None):
        function, greater_is_better = _BY_LABELS[self.name]
        log_ratio = predict_log_ratio(estimator, X)
        score = function(y, log_ratio, sample_weight=sample_weight)
        return score if greater_is_better else -score

    def __repr__(self):
        return f"get_scorer({self.name!r})"

    def _accept_sample_weight(self):
        # scikit-learn asks its scorers this before a search with sample_weight.
        return True

    def set_score_request(self, **requests):
        self._requests.set_score_request(**requests)
        return self

    def get_metadata_routing(self):
        return self._requests.get_metadata_routing()


class _TruthScorer:
    """A scorer that compares with the true ratio, and needs no labels."""

    def __init__(self, name, true_log_ratio):
        self.name = name
        self.true_log_ratio = true_log_ratio

    def __call__(self, estimator, X, y=None, sample_weight=None):
        function, greater_is_better = _BY_TRUTH[self.name]
        score = function(
            self.true_log_ratio(X),
            predict_log_ratio(estimator, X),
            sample_weight=sample_weight,
        )
        return score if greater_is_better else -score

    def __repr__(self):
        return f"get_scorer({self.name!r}, true_log_ratio={self.true_log_ratio!r})"

    def _accept_sample_weight(self):
        # scikit-learn asks its scorers this before a search with sample_weight.
        return True


def get_scorer(
    name: str, *, true_log_ratio: Callable[..., Values] | None = None
) -> Callable[..., float]:
    """Get a scorer of density-ratio estimators by its name.

    A scorer is called as ``scorer(estimator, X, y, sample_weight=None)`` on a fitted
    ratio estimator and new rows of both samples, and serves as ``scoring=`` of a search
    or a cross-validation. Higher is always better: losses come with their sign turned.
    Anything that :func:`skdre.predict_log_ratio` takes can be scored, and nothing else.

    Parameters
    ----------
    name : str
        * ``"neg_ratio_log_loss"``: minus :func:`ratio_log_loss`, the ``score`` of every
          estimator;
        * ``"neg_lsif_loss"``: minus :func:`lsif_loss`;
        * ``"kliep_score"``: :func:`kliep_score`;
        * ``"neg_log_ratio_mse"``: minus :func:`log_ratio_mse`, against the truth;
        * ``"ratio_rank_correlation"``: :func:`ratio_rank_correlation`, against the
          truth.
    true_log_ratio : callable, default=None
        The truth, for the last two and for them only: takes rows of shape (n_samples,
        n_features) to the true log ratio in nats, shape (n_samples,).

    Returns
    -------
    scorer : callable

    Raises
    ------
    ValueError
        If the name is unknown, or `true_log_ratio` is missing or not called for.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skdre import KMMRatio
    >>> from skdre.datasets import make_warped_shift
    >>> from skdre.metrics import get_scorer
    >>> shift = make_warped_shift(200, 2, random_state=0)
    >>> X, y = shift.pool()
    >>> search = GridSearchCV(
    ...     KMMRatio(), {"gamma": [1e-4, 0.2]}, scoring=get_scorer("kliep_score")
    ... )
    >>> search.fit(X, y).best_params_
    {'gamma': 0.2}

    With a known ratio the choice can be held against the truth:

    >>> truth = get_scorer("neg_log_ratio_mse", true_log_ratio=shift.log_ratio)
    >>> bool(truth(search, X, y) > truth(KMMRatio(gamma=1e-4).fit(X, y), X, y))
    True
    """
    if name in _BY_TRUTH:
        if not callable(true_log_ratio):
            raise ValueError(
                f"The scorer {name!r} compares with the truth: true_log_ratio must be "
                f"a callable that gives the log ratio at rows, got {true_log_ratio!r}."
            )
        return _TruthScorer(name, true_log_ratio)
    if name not in _BY_LABELS:
        raise ValueError(f"name must be one of {get_scorer_names()}, got {name!r}.")
    if true_log_ratio is not None:
        raise ValueError(
            f"true_log_ratio is not used by the scorer {name!r}, which scores by the "
            f"labels; it belongs to {sorted(_BY_TRUTH)}."
        )
    return _LabelScorer(name)


def get_scorer_names() -> list[str]:
    """List the names that :func:`get_scorer` takes.

    Returns
    -------
    names : list of str
        Sorted.

    Examples
    --------
    >>> from skdre.metrics import get_scorer_names
    >>> "kliep_score" in get_scorer_names()
    True
    """
    return sorted(_BY_LABELS | _BY_TRUTH)
