"""
More rows than memory
=====================

Two samples lie in files, and a process may hold a small part of them. `LSIFRatio` and
`GaussianRatio` learn by portions: each call of ``partial_fit`` reads some rows, adds
their sums to those before, and forgets the rows. What portions cannot tell, centres and
bandwidth, is chosen on the first ones.

Here 77 MB of rows, 300,000 of the numerator and as many of the denominator, are fitted
with less than 20 MB. How long that takes at millions of rows, on disk and on several
processes, is in "Size, speed and GPUs" of the documentation.
"""

# %%
# Files
# -----
# Two samples of sixteen columns whose means are 1 apart, so that the true log ratio is
# known. They are written as they would come, a portion at a time.

import argparse
import tempfile
import tracemalloc
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skdre import GaussianRatio, LSIFRatio, pool
from skdre.metrics import log_ratio_mse

N_FEATURES = 16
SHIFT = np.full(N_FEATURES, 1 / np.sqrt(N_FEATURES))


def write(path, n_rows, shift, seed):
    """Rows of a sample as a binary file of double precision."""
    rng = np.random.default_rng(seed)
    with path.open("wb") as file:
        for start in range(0, n_rows, 10_000):
            size = min(10_000, n_rows - start), N_FEATURES
            (rng.standard_normal(size) + shift).tofile(file)


def portions(folder, n_rows):
    """Pools of the next rows of both files."""
    with (folder / "p").open("rb") as p, (folder / "q").open("rb") as q:
        while True:
            rows = [np.fromfile(each, count=n_rows * N_FEATURES) for each in (p, q)]
            if not all(map(len, rows)):
                return
            first, second = (each.reshape(-1, N_FEATURES) for each in rows)
            yield pool(numerator=first, denominator=second)


# %%
# A fit that forgets its rows
# ---------------------------
# The error at new rows, after each portion, and the largest memory meanwhile. The first
# portions are kept until there are 2,000 rows of each sample; from then on the
# estimators hold sums. The kernel estimator's error stays where its centres and its
# bandwidth leave it; that of the Gaussian plug-in, which is right here, goes on
# falling.


def learn(estimator, folder, n_rows):
    """Rows seen, error after them, and the peak of memory in MB."""
    rng = np.random.default_rng(0)
    new = rng.standard_normal((2000, N_FEATURES)) + SHIFT * rng.integers(
        0, 2, (2000, 1)
    )
    truth = new @ SHIFT - 0.5
    seen, errors = [], []
    tracemalloc.start()
    for X, y in portions(folder, n_rows):
        estimator.partial_fit(X, y)
        seen.append(len(y) + (seen[-1] if seen else 0))
        errors.append(log_ratio_mse(truth, estimator.decision_function(new)))
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return np.array(seen), np.array(errors), peak


def main(n_rows=300_000, save=None):
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "p", n_rows, SHIFT, 1)
        write(folder / "q", n_rows, 0.0, 2)
        size = sum(each.stat().st_size for each in folder.iterdir()) / 1e6
        for estimator in (LSIFRatio(random_state=0), GaussianRatio()):
            seen, errors, peak = learn(estimator, folder, 3000)
            found[type(estimator).__name__] = seen, errors, peak
            print(
                f"{type(estimator).__name__}: {size:.0f} MB in files, at most "
                f"{peak:.1f} MB in memory, squared error {errors[-1]:.5f}"
            )
    figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for name, (seen, errors, _) in found.items():
        ax.loglog(seen, errors, label=name)
    ax.set(xlabel="rows seen", ylabel="squared error of the log ratio")
    ax.legend()
    if save:
        figure.savefig(save, dpi=80)
        plt.close(figure)
    else:
        plt.show()
    return size, found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.rows, options.save)
