"""Settings of the estimators over bridges, compared on problems of known log ratio.

    python benchmarks/tune_bridges.py --sizes 1000 10000 --seeds 2 \\
        --settings '{}' '{"n_bridges": 6}' 'MultinomialRatio {}' 'MLPRatio {}'

prints for each problem the mean squared error of the log ratio at new rows of both
samples, estimate and truth clipped at +-15, and at the end, for each setting, the
geometric mean of the errors over the problems and the processor seconds of the fits.
Defaults are chosen on the problems whose role is "tuning", which no table reports.
"""

import argparse
import json
import time
import warnings

import numpy as np

import skdre
from skdre.datasets import known_ratio_problems, make_known_ratio
from skdre.metrics import log_ratio_mse

BOUND = 15.0
NEW_ROWS = 3000

# Problems with an error below this are as good as solved: their differences would rule
# the geometric mean.
SOLVED = 0.01


def build(setting, seed):
    name, _, params = setting.rpartition(" {")
    estimator = getattr(skdre, name or "TelescopingRatio")
    params = json.loads("{" + params if name else setting)
    return estimator(random_state=seed, **params)


def run(problem, setting, n_samples, seed):
    """Error of one fit, and its processor seconds."""
    shift = make_known_ratio(problem, n_samples, random_state=seed)
    X, _ = make_known_ratio(problem, NEW_ROWS, random_state=1000 + seed).pool()
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build(setting, seed).fit(*shift.pool())
    seconds = time.process_time() - start
    truth, found = (
        np.clip(values, -BOUND, BOUND)
        for values in (shift.log_ratio(X), model.decision_function(X))
    )
    return log_ratio_mse(truth, found), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=["tuning", "reported"], default="tuning")
    parser.add_argument("--problems", nargs="+", help="only these")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--settings", nargs="+", default=["{}", "MLPRatio {}"])
    options = parser.parse_args()
    problems = options.problems or known_ratio_problems(options.role)
    for k, setting in enumerate(options.settings):
        print(f"[{k}] {setting}")
    for n_samples in options.sizes:
        table, times = [], []
        for problem in problems:
            outcomes = np.array(
                [
                    [
                        run(problem, setting, n_samples, seed)
                        for seed in range(options.seeds)
                    ]
                    for setting in options.settings
                ]
            ).mean(axis=1)
            table.append(outcomes[:, 0])
            times.append(outcomes[:, 1])
            errors = "".join(f"{error:10.3g}" for error in outcomes[:, 0])
            print(f"{n_samples:7d} {problem:24s}{errors}", flush=True)
        mean = np.exp(np.log(np.maximum(table, SOLVED)).mean(axis=0))
        for what, values in (("geometric mean", mean), ("seconds", np.mean(times, 0))):
            print(f"{n_samples:7d} {what:24s}" + "".join(f"{v:10.3g}" for v in values))


if __name__ == "__main__":
    main()
