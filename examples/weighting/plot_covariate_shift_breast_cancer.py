"""
Weighting a classifier under covariate shift
============================================

A classifier is trained where small tumours are over-represented and used where they
are not. Half of scikit-learn's breast-cancer data is the target; of the rest a row is
kept for the source with a probability that rises as the mean radius falls. The
selection looks at the measurements and never at the diagnosis, so this is a covariate
shift, and weights p_target(x) / p_source(x) on the source rows repair it.

The weights come from kernel mean matching, on the standardised measurements and on the
features of a normalizing flow. Two controls say whether they deserve their credit: the
same weights, permuted at random over the rows, which have the same spread and carry no
information, and the weights of the true selection probabilities.

Run it as a script for a table and a picture::

    python examples/weighting/plot_covariate_shift_breast_cancer.py --save demo.png
"""

# %%
# The experiment
# --------------
# One scaler serves both domains: standardising each by itself would remove the shift.

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skdre import FlowFeaturizer, KMMRatio, make_pipeline, pool
from skdre.datasets import make_selection_shift, make_warped_shift
from skdre.weighting import effective_sample_size, self_normalize

METHODS = (
    "unweighted",
    "KMM in x",
    "KMM in flow space",
    "KMM in x, permuted",
    "KMM in flow space, permuted",
    "true ratio",
)


def run_once(X, y, seed):
    """Target errors and effective sizes of every method on one random selection."""
    shift = make_selection_shift(X, y, score=0, strength=-3.0, random_state=seed)
    scaler = StandardScaler().fit(np.concatenate([shift.X_source, shift.X_target]))
    source, target = scaler.transform(shift.X_source), scaler.transform(shift.X_target)
    rng = np.random.default_rng(seed)

    weights = {
        "unweighted": np.ones(len(source)),
        "true ratio": np.exp(shift.source_log_ratio),
    }
    for name, ratio in {
        "KMM in x": KMMRatio(random_state=0),
        "KMM in flow space": make_pipeline(
            FlowFeaturizer(random_state=0), KMMRatio(random_state=0)
        ),
    }.items():
        ratio.fit(*pool(numerator=target, denominator=source))
        weights[name] = ratio.predict_ratio(source)
        weights[f"{name}, permuted"] = rng.permutation(weights[name])

    row = {}
    for name in METHODS:
        # Weights of mean 1, so that they do not change what C=1 means.
        weight = self_normalize(weights[name], total=len(source))
        model = SVC(C=1.0).fit(source, shift.y_source, sample_weight=weight)
        row[name] = 1 - model.score(target, shift.y_target)
        row[f"size, {name}"] = effective_sample_size(weight)
    return row


def summarize(runs):
    """Means with standard errors, and paired differences from unweighted."""
    table = []
    for name in METHODS:
        difference = runs[name] - runs["unweighted"]
        table.append(
            {
                "weights": name,
                "error": runs[name].mean(),
                "std. error": runs[name].sem(),
                "minus unweighted": difference.mean(),
                "std. error ": difference.sem(),
                "effective rows": runs[f"size, {name}"].mean(),
            }
        )
    return pd.DataFrame(table).set_index("weights")


# %%
# The picture
# -----------
# On the left the paired differences: what each kind of weights changes on the same
# selections. On the right what flow features are for: the ratio does not depend on the
# coordinates, but a kernel does. The funnel is a Gaussian shift seen through a
# non-linear map; the colour is the estimated log ratio.


def plot_differences(ax, runs):
    names = [name for name in METHODS if name != "unweighted"]
    for place, name in enumerate(names):
        difference = 100 * (runs[name] - runs["unweighted"])
        control = "permuted" in name
        ax.scatter(
            difference,
            place + np.linspace(-0.18, 0.18, len(difference)),
            s=9,
            color="0.75",
        )
        ax.errorbar(
            difference.mean(),
            place,
            xerr=2 * difference.sem(),
            fmt="s" if control else "o",
            color="0.35" if control else "C0",
            capsize=3,
        )
    ax.axvline(0, color="k", lw=0.8)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("change of the target error, percentage points")
    ax.set_title("Breast cancer: error minus unweighted\n(mean ± 2 standard errors)")


def plot_warped(axes):
    shift = make_warped_shift(1000, 2, warp="funnel", random_state=0)
    test = make_warped_shift(4000, 2, warp="funnel", random_state=1).denominator
    truth = shift.log_ratio(test)
    X, y = shift.pool()
    estimates = {
        "truth": truth,
        "KMM in x": KMMRatio(random_state=0).fit(X, y).decision_function(test),
        "KMM in flow space": make_pipeline(
            FlowFeaturizer(random_state=0), KMMRatio(random_state=0)
        )
        .fit(X, y)
        .decision_function(test),
    }
    limit = np.percentile(np.abs(test), 98, axis=0)
    for ax, (name, log_ratio) in zip(axes, estimates.items(), strict=True):
        error = np.linalg.norm(np.exp(log_ratio) - np.exp(truth))
        error /= np.linalg.norm(np.exp(truth))
        points = ax.scatter(
            *test.T, c=log_ratio, s=3, vmin=-3, vmax=3, cmap="coolwarm", rasterized=True
        )
        ax.set(xlim=(-limit[0], limit[0]), ylim=(-limit[1], limit[1]))
        ax.set_title(name if name == "truth" else f"{name}\nrelative error {error:.2f}")
        ax.set_xticks([])
        ax.set_yticks([])
    plt.colorbar(points, ax=axes, label="log ratio", shrink=0.8)


def main(repeats=20, save=None):
    X, y = load_breast_cancer(return_X_y=True)
    start = time.perf_counter()
    runs = pd.DataFrame([run_once(X, y, seed) for seed in range(repeats)])
    print(f"\nTarget error of SVC(C=1), {repeats} random selections")
    print(summarize(runs).to_string(float_format="{:.4f}".format))
    figure = plt.figure(figsize=(13, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])
    plot_differences(left.subplots(), runs)
    plot_warped(right.subplots(1, 3))
    right.suptitle("A funnel-shaped shift of known ratio")
    print(f"{time.perf_counter() - start:.0f} seconds")
    if save:
        figure.savefig(save, dpi=120)
        print(f"picture saved to {save}")
    else:
        plt.show()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.repeats, options.save)
