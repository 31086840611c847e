"""Seeds for what draws from a generator of its own: torch, inner estimators."""

import numpy as np

__all__ = ["draw_seed", "give_seeds"]


def draw_seed(rng: np.random.RandomState) -> int:
    """Draw an int that every library takes as a seed."""
    return int(rng.randint(np.iinfo(np.int32).max))


def give_seeds(estimator, random_state, *, replace=True):
    """Set every random_state of an estimator, and of those inside it.

    Without `replace` those that are set stay as they are.
    """
    seeds = {
        name: draw_seed(random_state)
        for name, value in sorted(estimator.get_params().items())
        if name.split("__")[-1] == "random_state" and (replace or value is None)
    }
    return estimator.set_params(**seeds)
