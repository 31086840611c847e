"""
Where flow features help a density ratio
========================================

A density ratio does not change when both samples go through one invertible map (Lemma 1
of Choi, Liao and Ermon, 2021), but a kernel estimator does: it lives by distances. Here
two Gaussians a distance of one apart are seen through five maps, so that the true ratio
is known. Kernel mean matching is run on the data as they come, on the features of a
normalizing flow fitted to both samples, and on the Gaussian coordinates themselves, the
best that any featurizer can reach.

Where the map leaves the geometry as it is (identity) features change nothing; where it
bends it, they bring the error back to that of the Gaussian coordinates.

The full table, for d = 2 and 6 and five seeds, takes some minutes::

    python examples/flows/plot_featurized_ratio.py --features 2 6 --seeds 5 --save a.png
"""

# %%
# Errors are of the ratio, relative, at new rows of the denominator.

import argparse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdre import FlowFeaturizer, KMMRatio, make_pipeline, pool
from skdre.datasets import make_warped_shift

WARPS = ("identity", "exp", "cubic", "banana", "funnel")


def relative_error(ratio, truth):
    return np.linalg.norm(ratio - truth) / np.linalg.norm(truth)


def run_once(warp, n_features, seed, n_samples=1000):
    shift = make_warped_shift(n_samples, n_features, warp=warp, random_state=seed)
    test = make_warped_shift(5000, n_features, warp=warp, random_state=1000 + seed)
    truth = np.exp(test.log_ratio(test.denominator))

    in_z = KMMRatio(random_state=0).fit(
        *pool(numerator=shift.latent_numerator, denominator=shift.latent_denominator)
    )
    in_x = KMMRatio(random_state=0).fit(*shift.pool())
    in_flow = make_pipeline(FlowFeaturizer(random_state=0), KMMRatio(random_state=0))
    in_flow.fit(*shift.pool())
    return {
        "warp": warp,
        "d": n_features,
        "seed": seed,
        "in x": relative_error(in_x.predict_ratio(test.denominator), truth),
        "flow features": relative_error(in_flow.predict_ratio(test.denominator), truth),
        "true Gaussian coordinates": relative_error(
            in_z.predict_ratio(test.latent_denominator), truth
        ),
        "marginals": in_flow[0].marginals_,
    }


# %%
# A gallery-sized run: two features, one seed.


def main(features=(2,), seeds=1, save=None):
    runs = pd.DataFrame(
        run_once(warp, d, seed)
        for d in features
        for warp in WARPS
        for seed in range(seeds)
    )
    methods = ["in x", "flow features", "true Gaussian coordinates"]
    table = runs.groupby(["d", "warp"], sort=False)[methods].mean()
    table["flow / true"] = table["flow features"] / table["true Gaussian coordinates"]
    print(table.to_string(float_format="{:.3f}".format))

    figure, axes = plt.subplots(
        1,
        len(features),
        figsize=(1 + 5.5 * len(features), 3.6),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for ax, d in zip(axes[0], features, strict=True):
        for place, (method, color) in enumerate(
            zip(methods, ("0.7", "C0", "k"), strict=True)
        ):
            grouped = runs[runs["d"] == d].groupby("warp", sort=False)[method]
            ax.errorbar(
                np.arange(len(WARPS)) + 0.2 * (place - 1),
                grouped.mean(),
                yerr=grouped.sem() if seeds > 1 else None,
                fmt="os_"[place],
                markersize=(7, 7, 16)[place],
                color=color,
                label=method,
                capsize=2,
            )
        ax.set_xticks(range(len(WARPS)), WARPS)
        ax.set_ylim(bottom=0)
        ax.set_title(f"d = {d}")
    axes[0, 0].set_ylabel("relative L2 error of the ratio")
    axes[0, -1].legend(loc="lower right")
    if save:
        figure.savefig(save, dpi=120)
    else:
        plt.show()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--features", type=int, nargs="+", default=[2])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.features, options.seeds, options.save)
