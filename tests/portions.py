"""Two samples in many portions, as reducers meet them that are not in one memory."""

from itertools import pairwise

import numpy as np

from skdre._core.reduce import Portion

__all__ = ["InPortions", "cut"]


def cut(X, weight, *places):
    """A sample in portions, cut at these places."""
    ends = [0, *places, len(X)]
    return [Portion(X[i:j], weight[i:j], np.ones(j - i)) for i, j in pairwise(ends)]


class InPortions:
    """What `InMemory` is for one portion each."""

    in_memory = False

    def __init__(self, denominator, numerator):
        self.portions = denominator, numerator

    def prepared(self, of_q, of_p=None):
        q, p = self.portions
        return InPortions([of_q(each) for each in q], [(of_p or of_q)(x) for x in p])

    held = prepared

    def totals(self, of_q, of_p=None):
        found = []
        for portions, reducer in zip(self.portions, (of_q, of_p or of_q), strict=True):
            first, *others = [reducer(each) for each in portions]
            for each in others:
                first = None if first is None else first + each
            found.append(first)
        return tuple(found)

    def passes(self, n_models, size):
        return [np.arange(2), np.arange(2, n_models)]
