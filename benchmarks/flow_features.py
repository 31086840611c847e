"""Kernel mean matching in flow features: do they help, and do they do no harm?

Two kinds of data. "selection": the breast-cancer selection shift of the README, the
accuracy of the weighted SVC on the target and the rank correlation of the log ratio
with the true one. "warped": Gaussian shifts seen through a map, the relative error of
the ratio over that in the Gaussian coordinates::

    python benchmarks/flow_features.py selection --seeds 0 20
    python benchmarks/flow_features.py warped --seeds 0 5 --features 2 6

CPU seconds are of one fit, flow and matching.
"""

import argparse
import time

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale
from sklearn.svm import SVC

from skdre import FlowFeaturizer, KMMRatio, make_pipeline, pool
from skdre.datasets import make_selection_shift, make_warped_shift
from skdre.metrics import ratio_rank_correlation

WARPS = ("identity", "exp", "cubic", "banana", "funnel")


def ratios():
    kmm = KMMRatio(random_state=0)
    return {
        "KMMRatio()": kmm,
        "FlowFeaturizer()": make_pipeline(FlowFeaturizer(random_state=0), kmm),
        'FlowFeaturizer("auto")': make_pipeline(
            FlowFeaturizer("auto", random_state=0), kmm
        ),
    }


def fitted(shift):
    """Yield each ratio's name, itself, seconds and what "auto" chose."""
    X, y = shift.pool()
    for name, ratio in ratios().items():
        start = time.process_time()
        ratio.fit(X, y)
        seconds = time.process_time() - start
        choice = getattr(ratio[0], "flow_choice_", "") if "Flow" in name else ""
        yield name, ratio, seconds, choice


def selection(seed):
    X, y = load_breast_cancer(return_X_y=True)
    shift = make_selection_shift(scale(X), y, score=0, strength=-3.0, random_state=seed)

    def accuracy(weights):
        model = SVC().fit(
            shift.X_source, shift.y_source, sample_weight=weights / weights.mean()
        )
        return model.score(shift.X_target, shift.y_target)

    yield {"ratio": "unweighted", "accuracy": accuracy(np.ones(len(shift.X_source)))}
    truth = shift.source_log_ratio
    yield {"ratio": "true ratio", "accuracy": accuracy(np.exp(truth))}
    for name, ratio, seconds, choice in fitted(shift):
        log_ratio = ratio.decision_function(shift.X_source)
        yield {
            "ratio": name,
            "accuracy": accuracy(np.exp(log_ratio)),
            "correlation": ratio_rank_correlation(truth, log_ratio),
            "seconds": seconds,
            "choice": choice,
        }


def warped(seed, warp, n_features):
    shift = make_warped_shift(1000, n_features, warp=warp, random_state=seed)
    test = make_warped_shift(5000, n_features, warp=warp, random_state=1000 + seed)
    truth = np.exp(test.log_ratio(test.denominator))

    def error(ratio, X):
        return np.linalg.norm(ratio.predict_ratio(X) - truth) / np.linalg.norm(truth)

    latent = pool(
        numerator=shift.latent_numerator, denominator=shift.latent_denominator
    )
    best = error(KMMRatio(random_state=0).fit(*latent), test.latent_denominator)
    for name, ratio, seconds, choice in fitted(shift):
        yield {
            "warp": warp,
            "d": n_features,
            "ratio": name,
            "error over latent": error(ratio, test.denominator) / best,
            "seconds": seconds,
            "choice": choice,
        }


def summary(rows, keys):
    rows = pd.DataFrame(rows)
    groups = rows.groupby(keys, sort=False)
    table = groups.mean(numeric_only=True)
    for name in table.columns.drop("seconds"):
        table[f"{name}, std. error"] = groups[name].sem()
    table["choice"] = groups["choice"].agg(
        lambda each: ", ".join(f"{k} {n}" for k, n in each.value_counts().items() if k)
    )
    return table.to_string(float_format="{:.3f}".format, na_rep="")


def paired(rows):
    """Accuracy of each ratio minus that of KMMRatio() on the same draws."""
    table = pd.DataFrame(rows).groupby("ratio", sort=False)["accuracy"].agg(list)
    for name, each in table.items():
        difference = pd.Series(each) - pd.Series(table["KMMRatio()"])
        yield f"{name:24s} {difference.mean():+.4f} ± {difference.sem():.4f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", choices=["selection", "warped"])
    parser.add_argument(
        "--seeds", type=int, nargs=2, default=(0, 20), metavar=("FROM", "TO")
    )
    parser.add_argument("--features", type=int, nargs="+", default=(2, 6))
    parser.add_argument("--warps", nargs="+", default=WARPS, choices=WARPS)
    options = parser.parse_args()
    seeds = range(*options.seeds)
    if options.data == "selection":
        rows = [row for seed in seeds for row in selection(seed)]
        print(summary(rows, ["ratio"]))
        print("\nAccuracy minus that of KMMRatio()\n" + "\n".join(paired(rows)))
        return
    rows = [
        row
        for n_features in options.features
        for warp in options.warps
        for seed in seeds
        for row in warped(seed, warp, n_features)
    ]
    print(summary(rows, ["d", "warp", "ratio"]))


if __name__ == "__main__":
    main()
