"""
Choosing a density-ratio estimator without knowing the ratio
============================================================

No estimator of a density ratio is best everywhere, and in practice the true ratio is
not there to tell which one is best here. But every estimator of skdre is a classifier
of the domain with one and the same ``score``, minus the log loss of held-out rows, so
unlike methods can stand in one :class:`~sklearn.model_selection.GridSearchCV`.

Here two Gaussians are seen through five maps, so that the true ratio is known, and the
choice by held-out score is held against the best choice that the truth would make. The
losses of :mod:`skdre.metrics` take turns as the score.

Mean squared error of the log ratio over eight seeds, 400 rows a sample, of the
estimator that each score chooses from six:

========  =============  ========  =========  =====  ======
map       best by truth  log loss  LSIF loss  KLIEP  median
========  =============  ========  =========  =====  ======
identity  0.018          0.018     0.060      0.030  0.108
exp       0.217          0.238     >1000      1.3    0.667
cubic     0.216          0.271     13.1       0.496  0.610
banana    0.297          0.356     4.9        0.387  0.440
funnel    0.259          0.315     >1000      >1000  0.532
========  =============  ========  =========  =====  ======

The log loss chooses the best estimator or one next to it. The other two average a
ratio over the denominator's held-out rows; one that explodes where there are hardly any
goes unnoticed, as the quadratic discriminant's does here. They are meant for the
parameters of one method, not for a choice among unlike ones.

The table takes some two minutes::

    python examples/choosing/plot_choose_estimator.py --seeds 8 --save choose.png
"""

# %%
# The recipe
# ----------
# One step of a pipeline, and estimators of any kind as the values of that step. Their
# own parameters may stand in the same grid, as in
# ``[{"ratio": [KMMRatio()], "ratio__gamma": [...]}, {"ratio": [...]}]``.

import argparse
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline

from skdre import ClassifierRatio, KLIEPRatio, KMMRatio, LSIFRatio
from skdre.datasets import make_warped_shift
from skdre.metrics import get_scorer, log_ratio_mse

CANDIDATES = {
    "kernel mean matching": KMMRatio(random_state=0),
    "KLIEP": KLIEPRatio(random_state=0),
    "uLSIF": LSIFRatio(alpha=0, random_state=0),
    "logistic regression": ClassifierRatio(),
    "QDA": ClassifierRatio(QuadraticDiscriminantAnalysis()),
    "boosting, calibrated": ClassifierRatio(
        HistGradientBoostingClassifier(
            max_iter=40, max_leaf_nodes=8, min_samples_leaf=30, random_state=0
        ),
        calibration="sigmoid",
        cv=3,
    ),
}
SCORES = ("neg_ratio_log_loss", "neg_lsif_loss", "kliep_score")


def make_search(random_state=0):
    return GridSearchCV(
        Pipeline([("ratio", KMMRatio())]),
        {"ratio": list(CANDIDATES.values())},
        # Without scoring= it is neg_ratio_log_loss alone: the estimators' own score.
        scoring={name: get_scorer(name) for name in SCORES},
        refit="neg_ratio_log_loss",
        cv=StratifiedKFold(5, shuffle=True, random_state=random_state),
        error_score="raise",
    )


# %%
# The same problem in five coordinate systems
# -------------------------------------------
# The true ratio is the same in all of them, only x changes. The error is that of the
# log ratio at new rows, of each candidate fitted on all rows.

WARPS = ("identity", "exp", "cubic", "banana", "funnel")


def run_once(warp, seed, n_samples=400):
    shift = make_warped_shift(n_samples, 2, warp=warp, random_state=seed)
    test = make_warped_shift(2000, 2, warp=warp, random_state=1000 + seed)
    X, y = shift.pool()
    X_test, _ = test.pool()
    truth = test.log_ratio(X_test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search = make_search(seed).fit(X, y)
        errors = [
            log_ratio_mse(truth, candidate.fit(X, y).decision_function(X_test))
            for candidate in CANDIDATES.values()
        ]
    held_out = {name: search.cv_results_[f"mean_test_{name}"] for name in SCORES}
    return pd.DataFrame(
        {"warp": warp, "seed": seed, "estimator": list(CANDIDATES), "error": errors}
        | held_out
    )


def choices(runs):
    """Error of the estimator that each score chooses, beside the best and the worst."""
    rows = {}
    for key, run in runs.groupby(["warp", "seed"], sort=False):
        rows[key] = {"best by truth": run["error"].min()}
        for name in SCORES:
            rows[key][name] = run.loc[run[name].idxmax(), "error"]
        rows[key]["median"] = run["error"].median()
        rows[key]["worst"] = run["error"].max()
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.groupby(level=0, sort=False).mean()


# %%
# Each point is an estimator; a hollow one lies further out than the frame shows. Had
# the held-out score no say in the error, the points would lie anywhere; they fall from
# the upper left to the lower right.

WORST_SHOWN = 2.0  # error
NOTHING_KNOWN = -np.log(2)  # score


def plot(ax, mean):
    score = mean["neg_ratio_log_loss"].clip(lower=NOTHING_KNOWN - 0.005)
    error = mean["error"].clip(upper=WORST_SHOWN)
    for number, name in enumerate(mean.index):
        inside = score[name] > NOTHING_KNOWN and error[name] < WORST_SHOWN
        ax.plot(
            score[name],
            error[name],
            "osD^vP"[number],
            color=f"C{number}",
            markerfacecolor=f"C{number}" if inside else "none",
            label=name,
            clip_on=False,
        )
    for name, size, color, label in (
        (mean["neg_ratio_log_loss"].idxmax(), 17, "k", "chosen by held-out score"),
        (mean["error"].idxmin(), 12, "C3", "best by the true ratio"),
    ):
        ax.plot(
            score[name],
            error[name],
            "o",
            markersize=size,
            markerfacecolor="none",
            markeredgecolor=color,
            label=label,
        )
    ax.axvline(NOTHING_KNOWN, color="0.7", linestyle=":", label="knows nothing")
    ax.set_xlim(NOTHING_KNOWN - 0.005, -0.60)
    ax.set_xticks([-0.68, -0.64, -0.60])
    ax.set_ylim(0.01, WORST_SHOWN)
    ax.set_yscale("log")
    ax.set_xlabel("held-out score")


def main(seeds=1, n_samples=400, save=None):
    runs = pd.concat(
        run_once(warp, seed, n_samples) for warp in WARPS for seed in range(seeds)
    )
    table = choices(runs)
    print(table.to_string(float_format="{:.3f}".format))

    figure, axes = plt.subplots(
        1, len(WARPS), figsize=(14, 3.4), layout="constrained", sharex=True, sharey=True
    )
    for ax, warp in zip(axes, WARPS, strict=True):
        mean = runs[runs["warp"] == warp].groupby("estimator", sort=False)
        plot(ax, mean[[*SCORES, "error"]].mean())
        ax.set_title(warp)
    axes[0].set_ylabel("mean squared error\nof the log ratio")
    figure.legend(
        *axes[-1].get_legend_handles_labels(), loc="outside right center", frameon=False
    )
    if save:
        figure.savefig(save, dpi=120)
    else:
        plt.show()
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=400, help="rows a sample")
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.seeds, options.samples, options.save)
