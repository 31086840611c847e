"""What a candidate is told that deals folds, or trains networks, inside its own fit."""

import time
from contextlib import contextmanager
from numbers import Integral

import numpy as np
from skorch.callbacks import Callback

from skdre._core.folds import members_hold_out
from skdre._core.groups import balanced_folds
from skdre._nn.estimator import NetworkMixin

__all__ = ["groups_kept", "stopped_at"]

# Folds that networks with a held-out part of their own get.
_FOLDS_OF_NETWORKS = 5


class StopAt(Callback):
    """End the training of a network with the epoch in which its time ends."""

    def __init__(self, deadline):
        self.deadline = deadline

    def on_epoch_end(self, net, **kwargs):
        if time.perf_counter() > self.deadline:
            net.stop_ = True


@contextmanager
def stopped_at(estimator, deadline):
    """Let the training of a network that is fitted inside end when the time does.

    The best weights so far are kept, as at the end of any training.
    """
    if not (isinstance(estimator, NetworkMixin) and np.isfinite(deadline)):
        yield
        return
    params = estimator.get_params(deep=False)
    if "callbacks" not in params:
        yield
        return
    given = params["callbacks"]
    estimator.set_params(callbacks=[*(given or ()), StopAt(deadline)])
    try:
        yield
    finally:
        estimator.set_params(callbacks=given)


@contextmanager
def groups_kept(estimator, X, is_numerator, weight, cluster, kept):
    """Let folds that are dealt inside hold out whole groups.

    What has a number of folds as `cv` gets splits instead, the last step of a pipeline
    too; networks get what their members hold out. Other inner folds, such as those of a
    classifier that searches its own penalty, know nothing of the groups.

    Parameters
    ----------
    estimator : ratio estimator
        Not fitted; its parameters are as before afterwards.
    X : ndarray of shape (n_kept, n_features)
        The rows that it is fitted on.
    is_numerator, weight : ndarray of shape (n_kept,)
    cluster : ndarray of int of shape (n_rows,) or None
        Groups of all rows; None without groups.
    kept : ndarray of bool of shape (n_rows,)
        Those that it is fitted on.
    """
    if cluster is None:
        yield
        return
    name, n_folds = _folds_of(estimator)
    fold = _group_folds(cluster[kept], is_numerator, weight, n_folds)
    if fold is None:
        yield
        return
    numbers = range(fold.max() + 1)
    given = None if name is None else estimator.get_params()[name]
    if name is not None:
        splits = [
            (np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in numbers
        ]
        estimator.set_params(**{name: splits})
    shares = np.array([fold == k for k in numbers], float)
    try:
        with members_hold_out(X, is_numerator, shares):
            yield
    finally:
        if name is not None:
            estimator.set_params(**{name: given})


def _folds_of(estimator):
    """The parameter that is a number of folds, of the estimator or its last step."""
    name = "cv"
    if hasattr(estimator, "steps"):
        name = f"{estimator.steps[-1][0]}__cv"
    params = estimator.get_params()
    if name not in params:
        return None, _FOLDS_OF_NETWORKS
    cv = params[name]
    if cv is None:
        return name, 5
    return (name, int(cv)) if isinstance(cv, Integral) else (None, _FOLDS_OF_NETWORKS)


def _group_folds(cluster, is_numerator, weight, n_folds):
    """A fold for each row; None where a sample has a single group."""
    _, group = np.unique(cluster, return_inverse=True)
    mass = np.zeros((2, group.max() + 1))
    np.add.at(mass, (is_numerator.astype(int), group), weight)
    n_folds = min(n_folds, *(mass > 0).sum(axis=1))
    if n_folds < 2:
        return None
    return balanced_folds(mass, n_folds, np.arange(mass.shape[1]))[group]
