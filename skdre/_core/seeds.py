"""Seeds for what draws from a generator of its own: torch, inner estimators."""

import numpy as np

__all__ = ["draw_seed"]


def draw_seed(rng: np.random.RandomState) -> int:
    """Draw an int that every library takes as a seed."""
    return int(rng.randint(np.iinfo(np.int32).max))
