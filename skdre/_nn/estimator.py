"""What estimators that train networks have in common beside the training loop."""

import warnings
from inspect import isfunction
from numbers import Integral

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skdre._core.arrays import follows_rows
from skdre._core.types import Floats
from skdre._nn.saving import pack_modules, unpack_modules

__all__ = ["NetworkMixin", "late_gain", "n_epochs_and_batches"]

# Steps between two evaluations at the held-out rows: an epoch of the training loop.
STEPS_PER_EPOCH = 25

# A greater held-out gain over the last third of the steps, in nats, shows that training
# was cut short; the falling learning rate alone brings less.
_STILL_GAINING = 0.02


# Methods whose first argument is rows, and whose result an array with one entry each.
_OF_ROWS = (
    "decision_function",
    "integration_error",
    "inverse_transform",
    "log_ratios",
    "score_samples",
    "time_score",
    "transform",
)


def n_epochs_and_batches(max_iter: int) -> tuple[int, int]:
    """Epochs of `max_iter` training steps, and the batches of each."""
    n_epochs = -(-max_iter // STEPS_PER_EPOCH)
    return n_epochs, max_iter // n_epochs


def late_gain(scores: Floats, n_epochs: int) -> float:
    """How much the best score gained in the last third of the epochs.

    There is one score for each epoch that was run; the gain is 0 if training stopped
    before all `n_epochs`.
    """
    n_late = n_epochs // 3
    if not n_late or len(scores) < n_epochs:
        return 0.0
    early, late = np.split(scores, [n_epochs - n_late])
    return late.max() - early.max()


class NetworkMixin:
    """Storage, checks and records of an estimator with fitted torch modules.

    Networks compute on a device of their own, the parameter `device`; under array API
    dispatch results come back to where the rows are.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name in _OF_ROWS:
            if isfunction(method := vars(cls).get(name)):
                setattr(cls, name, follows_rows(method))

    def __getstate__(self):
        return pack_modules(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(unpack_modules(state))

    def _check_hidden_features(self, name="hidden_features"):
        widths = getattr(self, name)
        if not all(isinstance(n, Integral) and n > 0 for n in widths):
            raise ValueError(
                f"{name} must be a sequence of positive integers, got {widths!r}."
            )

    @staticmethod
    def _records(net):
        """Attributes that record the training."""
        finished = net.finished_epochs()
        return {
            "loss_curve_": np.array([epoch["train_loss"] for epoch in finished]),
            "validation_scores_": -np.array(
                [epoch["valid_loss"] for epoch in finished]
            ),
            "best_validation_score_": -net.keeper_.best_loss_,
            "n_iter_": net.n_steps_,
        }

    def _warn_if_cut_short(self, n_epochs):
        gain = late_gain(self.validation_scores_, n_epochs)
        if gain > _STILL_GAINING:
            warnings.warn(
                f"The held-out loss still fell ({gain:.2g} nats in the last third of "
                f"the steps) when max_iter={self.max_iter} was reached; increase "
                "max_iter or learning_rate.",
                ConvergenceWarning,
                stacklevel=6,
            )
