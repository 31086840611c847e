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
import warnings
from pathlib import Path

import _report
import numpy as np
from _auto_contenders import close, contenders, fitted_log_ratios
from _kinds_of_shift import KINDS, clipped_error, draw, many_rows

from skdre import AutoRatio

PAGE = Path(__file__).resolve().parent.parent / "doc" / "choosing.md"


def weighted_errors(log_ratio, X, y, kind, sizes, seed):
    """Errors of self-normalised E_q[r f] with and without weights, by kind of f.

    f are the columns, drawn in to their middle 99 %, their squares, and whether they
    are above the median; the truth is that of many new rows of the numerator.

    Returns
    -------
    errors : dict of str to (float, float, float)
        Root mean square over the columns, in standard deviations of f in the
        denominator: weighted, unweighted, and the standard error of a mean.
    """
    q, p = X[y == 0], many_rows(kind, seed)
    low, high = np.quantile(X, [0.005, 0.995], axis=0)
    middle = np.median(X, axis=0)
    weight = np.exp(log_ratio - log_ratio.max())
    weight /= weight.sum()
    errors = {}
    for name, f in {
        "columns": lambda Z: np.clip(Z, low, high),
        "squares": lambda Z: (np.clip(Z, low, high) - middle) ** 2,
        "indicators": lambda Z: (middle < Z).astype(float),
    }.items():
        at_q, truth = f(q), f(p).mean(axis=0)
        scale = np.maximum(at_q.std(axis=0), 1e-9)
        errors[name] = [
            round(float(np.sqrt(np.mean(((mean - truth) / scale) ** 2))), 4)
            for mean in (weight @ at_q, at_q.mean(axis=0))
        ] + [round(len(q) ** -0.5, 4)]
    return errors


def run(kind, n, seed, named, label):
    X, y, new, truth = draw(kind, n, seed)
    for name, estimator in named.items():
        line = {"kind": kind, "rows": n, "seed": seed, "estimator": name}
        if name == "AutoRatio":
            line["estimator"] = label
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                (log_ratio, at_q), seconds = fitted_log_ratios(
                    estimator, X, y, new, X[y == 0]
                )
            except Exception as error:
                line["note"] = f"{type(error).__name__}: {error}"[:200]
                print(json.dumps(line), flush=True)
                continue
        line |= {
            "error": clipped_error(truth, log_ratio),
            "error within 5": clipped_error(truth, log_ratio, 5.0),
            "seconds": round(seconds, 2),
            "weighted": weighted_errors(at_q, X, y, kind, n, seed),
        }
        if name == "AutoRatio":
            line["choice"] = getattr(estimator, "choice_", "")
            line["weights"] = getattr(estimator, "weights_", {})
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


def sizes(text):
    """500, or 300x20000: rows of the numerator, and of the denominator."""
    found = [int(each) for each in text.split("x")]
    return found[0] if len(found) == 1 else tuple(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=sizes, nargs="+", default=[500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[2])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--only-auto", action="store_true")
    parser.add_argument("--without-auto", action="store_true")
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
                named = (
                    {} if args.only_auto else contenders(kind, seed, 2 * np.max(rows))
                )
                if not args.without_auto:
                    named["AutoRatio"] = AutoRatio(random_state=seed)
                run(kind, rows, seed, named, args.label)
    close()
