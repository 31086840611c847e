"""AutoRatio beside single methods: errors of the log ratio and CPU seconds.

On the kinds of shift of _kinds_of_shift.py, whose log ratios are known; each line is
printed when it is done, so that a run can be stopped::

    OMP_NUM_THREADS=1 python benchmarks/auto_ratio.py --rows 500 --seeds 2 4
    OMP_NUM_THREADS=1 python benchmarks/auto_ratio.py --rows 5000 --kinds additive

    python benchmarks/auto_ratio.py --write-doc results.jsonl more.jsonl

writes the table of doc/choosing.md from what was printed, and the report from a fit.

Odd seeds are those on which the rules of AutoRatio were chosen; report even ones. With
--only-auto nothing else is fitted, so that another version of the package, found by
PYTHONPATH, can be measured alike, under the name of --label.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import _report
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

PAGE = Path(__file__).resolve().parent.parent / "doc" / "choosing.md"


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


def run(kind, n, seed, only_auto, label):
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
            "estimator": label if name == "AutoRatio" else name,
            "error": clipped_error(truth, log_ratio),
            "seconds": round(seconds, 2),
            "weighted mean": round(gain, 3),
        }
        if name == "AutoRatio":
            line["choice"] = getattr(estimator, "choice_", "")
        print(json.dumps(line), flush=True)


def write_report():
    """The report and the table of the page's first example."""
    from skdre.datasets import make_known_ratio

    X, y = make_known_ratio("exp_d6", 500, random_state=0).pool()
    ratio = AutoRatio(random_state=0).fit(X, y)
    text = f"```text\n{ratio.report_}\n{ratio.candidates_}\n```"
    _report.replace_block(PAGE, "auto-report", text)


def write_errors(paths):
    """Errors of all, by kind and number of rows, and factors over the best other."""
    text = "\n".join(Path(path).read_text() for path in paths)
    found = [json.loads(line) for line in text.splitlines() if line]
    lines = []
    for rows, kind in dict.fromkeys((each["rows"], each["kind"]) for each in found):
        here = [each for each in found if (each["rows"], each["kind"]) == (rows, kind)]
        line = {"rows": f"{rows:,}", "kind": kind}
        for name in dict.fromkeys(each["estimator"] for each in here):
            runs = [each for each in here if each["estimator"] == name]
            line[name] = float(np.mean([each["error"] for each in runs]))
        auto = [each for each in here if each["estimator"] == "AutoRatio"]
        line["seconds"] = float(np.mean([each["seconds"] for each in auto]))
        line["weighted"] = float(np.mean([each["weighted mean"] for each in auto]))
        lines.append(line)
    names = list(dict.fromkeys(each["estimator"] for each in found))
    headings = {"rows": ("rows a side", "{}"), "kind": ("kind of shift", "{}")}
    headings |= {name: (f"{name}", "{:.2g}") for name in names}
    headings |= {
        "seconds": ("CPU s", "{:.1f}"),
        "weighted": ("weighted mean", "{:.2f}"),
    }
    summary = []
    for rows in dict.fromkeys(line["rows"] for line in lines):
        factors = []
        for line in (each for each in lines if each["rows"] == rows):
            others = [name for name in names if not name.startswith("AutoRatio")]
            best = min(line[name] for name in others if name in line)
            if best > 0.02:
                factors.append(line["AutoRatio"] / best)
        summary.append(
            f"{rows} rows a side: error over that of the best of the others, where "
            "that is above .02: geometric mean "
            f"{np.exp(np.mean(np.log(factors))):.2f}, "
            f"median {np.median(factors):.2f}, worst {max(factors):.2f}, of "
            f"{len(factors)} lines."
        )
    seeds = sorted({each["seed"] for each in found})
    text = "\n\n".join(
        [_report.markdown(lines, headings), *summary, f"Seeds: {seeds}."]
    )
    _report.replace_block(PAGE, "auto-errors", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[2])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--only-auto", action="store_true")
    parser.add_argument("--label", default="AutoRatio")
    parser.add_argument("--write-doc", nargs="+")
    args = parser.parse_args()
    if args.write_doc:
        write_errors(args.write_doc)
        write_report()
        raise SystemExit
    for rows in args.rows:
        for seed in args.seeds:
            for kind in args.kinds:
                run(kind, rows, seed, args.only_auto, args.label)
