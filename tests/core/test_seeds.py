"""Seeds drawn from a random state."""

import numpy as np

from skdre._core.seeds import draw_seed


def test_seeds_repeat_and_differ():
    seeds = [
        [draw_seed(rng) for _ in range(3)]
        for rng in map(np.random.RandomState, (0, 0, 1))
    ]
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == 6
    for seed in seeds[0]:
        assert type(seed) is int
        assert 0 <= seed < 2**31
