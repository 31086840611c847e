"""AutoRatio beside single methods: errors of the log ratio and CPU seconds.

On the kinds of shift of _kinds_of_shift.py, whose log ratios are known; each line is
printed when it is done, so that a run can be stopped::

    OMP_NUM_THREADS=1 python benchmarks/auto_ratio.py --rows 500 --seeds 2 4
    OMP_NUM_THREADS=1 python benchmarks/auto_ratio.py --rows 5000 --kinds additive

Odd seeds are those on which the rules of AutoRatio were chosen; report even ones. With
--only-auto nothing else is fitted, so that another version of the package, found by
PYTHONPATH, can be measured alike.
"""

import argparse
import json
import time
import warnings

import numpy as np
from _kinds_of_shift import KINDS, clipped_error, draw
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from skdre import (
    AutoRatio,
    ClassifierRatio,
    GaussianRatio,
    KMMRatio,
    LSIFRatio,
    MLPRatio,
)


def contenders(seed, only_auto):
    found = {"AutoRatio": AutoRatio(random_state=seed)}
    if only_auto:
        return found
    boosting = HistGradientBoostingClassifier(early_stopping=True, random_state=seed)
    forest = RandomForestClassifier(200, min_samples_leaf=3, random_state=seed)
    return found | {
        "logistic regression": ClassifierRatio(),
        "boosting, calibrated": ClassifierRatio(boosting, calibration="sigmoid"),
        "forest, calibrated": ClassifierRatio(forest, calibration="sigmoid"),
        "GaussianRatio": GaussianRatio(),
        "LSIFRatio(alpha=0.1)": LSIFRatio(alpha=0.1, random_state=seed),
        "KMMRatio": KMMRatio(random_state=seed),
        "MLPRatio": MLPRatio(random_state=seed),
    }


def weighted_gain(ratio, X, y, new, truth):
    """Error of E_q[r f] by weights, over that without, for f the first columns."""
    q = X[y == 0]
    weight = np.exp(ratio.decision_function(q))
    p_new = X[y == 1]
    scale = q.std(axis=0)
    target = p_new.mean(axis=0)
    weighted = (weight @ q) / weight.sum()
    return float(
        np.linalg.norm((weighted - target) / scale)
        / np.linalg.norm((q.mean(axis=0) - target) / scale)
    )


def run(kind, n, seed, only_auto):
    X, y, new, truth = draw(kind, n, seed)
    for name, estimator in contenders(seed, only_auto).items():
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X, y)
            seconds = time.process_time() - start
            log_ratio = estimator.decision_function(new)
            gain = weighted_gain(estimator, X, y, new, truth)
        line = {
            "kind": kind,
            "rows": n,
            "seed": seed,
            "estimator": name,
            "error": clipped_error(truth, log_ratio),
            "seconds": round(seconds, 2),
            "weighted mean": round(gain, 3),
        }
        if name == "AutoRatio":
            line["choice"] = getattr(estimator, "choice_", "")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[2])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--only-auto", action="store_true")
    args = parser.parse_args()
    for rows in args.rows:
        for seed in args.seeds:
            for kind in args.kinds:
                run(kind, rows, seed, args.only_auto)
