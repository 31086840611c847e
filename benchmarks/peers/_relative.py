"""The ratio p / q of a relative ratio."""

import numpy as np


def ratio_of_relative(relative, alpha):
    """p / q of p / (alpha p + (1 - alpha) q), which is below 1 / alpha.

    Estimates also lie above that bound; p / q is at most 100, as skdre has it too.
    """
    if alpha == 0:
        return relative
    rest = np.maximum(1 - alpha * relative, (1 - alpha) * relative / 100)
    return np.where(relative > 0, (1 - alpha) * relative / np.maximum(rest, 1e-300), 0)
