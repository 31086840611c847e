"""AutoRatio beside single methods: errors of the log ratio and CPU seconds.

On the kinds of shift of _kinds_of_shift.py, whose log ratios are known; each line is
printed when it is done, so that a run can be stopped::

    OMP_NUM_THREADS=1 python benchmarks/auto_ratio.py --rows 500 --seeds 2 4
    OMP_NUM_THREADS=1 python benchmarks/auto_ratio.py --rows 5000 --kinds additive

    python benchmarks/auto_ratio.py --write-doc results.jsonl more.jsonl

writes the table of doc/benchmarks/errors.md from what was printed, and the report of
doc/choosing.md from a fit.
The others do not depend on AutoRatio: --without-auto measures them once, and --truth
the weighted means by the true ratio.

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
from _kinds_of_shift import (
    KINDS,
    clipped_error,
    draw,
    many_rows,
    truth_at_denominator,
)

from skdre import AutoRatio

DOC = Path(__file__).resolve().parent.parent / "doc"
CHOOSING, ERRORS = DOC / "choosing.md", DOC / "benchmarks" / "errors.md"


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
    _report.replace_block(CHOOSING, "auto-report", text)


def run_truth(kind, n, seed):
    """Weighted means by the true ratio, which no estimate has to be better than."""
    X, y, *_ = draw(kind, n, seed)
    truth = truth_at_denominator(kind, n, seed)
    errors = weighted_errors(truth, X, y, kind, n, seed)
    line = {"kind": kind, "rows": n, "seed": seed, "estimator": "the true ratio"}
    print(json.dumps(line | {"weighted": errors}), flush=True)


def _worse_by_truth(found):
    """Kinds of shift on which the true ratio's weights are worse than none."""
    lines = []
    for name in ("columns", "squares", "indicators"):
        kinds = []
        truth = [each for each in found if each["estimator"] == "the true ratio"]
        for kind in dict.fromkeys(each["kind"] for each in truth):
            pairs = [
                each["weighted"][name][:2] for each in truth if each["kind"] == kind
            ]
            weighted, plain = np.sqrt(np.mean(np.square(pairs), axis=0))
            if weighted > 1.1 * plain:
                kinds.append(f"{kind} {weighted:.2f} ({plain:.2f})")
        lines.append(f"{name}: {', '.join(kinds)}")
    return (
        "Weights by the true ratio are worse than none by a tenth or more on "
        + "; ".join(lines)
        + f" ({len({each['seed'] for each in truth})} seeds, 500 rows a side)."
    )


def _is_of_the_package(name):
    """Whether an estimator is a ratio of the package, and no peer."""
    return name.endswith("Ratio") or name.startswith("LSIFRatio")


def _means(found, rows, kind):
    """Mean errors of all at the seeds that AutoRatio and the others were run with."""
    here = [
        each
        for each in found
        if "error" in each and (each["rows"], each["kind"]) == (rows, kind)
    ]
    names = dict.fromkeys(each["estimator"] for each in here)
    of = {
        name: {each["seed"]: each for each in here if each["estimator"] == name}
        for name in names
    }
    auto = of.pop("AutoRatio", {})
    seeds = sorted(set(auto) & set(of.get("GaussianRatio", ())))
    complete = {name: runs for name, runs in of.items() if set(seeds) <= set(runs)}
    means = {
        name: float(np.mean([runs[seed]["error"] for seed in seeds]))
        for name, runs in (complete | {"AutoRatio": auto}).items()
        if seeds
    }
    return seeds, auto, of.get("AutoRatio before", {}), means


def _best(means, of_the_package):
    part = {
        name: error
        for name, error in means.items()
        if not name.startswith("AutoRatio")
        and _is_of_the_package(name) == of_the_package
    }
    name = min(part, key=part.get)
    return part[name], f"{part[name]:.2g} ({name})"


def write_errors(paths):
    """Errors by kind and number of rows, and factors over the best other."""
    text = "\n".join(Path(path).read_text() for path in paths)
    found = [json.loads(line) for line in text.splitlines() if line]
    lines, factors = [], {}
    for rows, kind in dict.fromkeys(
        (str(each["rows"]), each["kind"]) for each in found
    ):
        rows = json.loads(rows)
        seeds, auto, before, means = _means(found, rows, kind)
        if not seeds:
            continue
        (own, own_text), (peer, peer_text) = (
            _best(means, own) for own in (True, False)
        )
        best = min(own, peer)
        size = " against ".join(f"{each:,}" for each in np.atleast_1d(rows))
        line = {"rows": size, "kind": kind, "seeds": ", ".join(map(str, seeds))}
        line |= {"auto": means["AutoRatio"], "own": own_text, "peer": peer_text}
        old = [seed for seed in seeds if seed in before]
        line["before"] = "" if not old else f"{_mean(before, old):.2g}"
        if old and old != seeds:
            line["before"] += f" (at seed {old[0]}; now {_mean(auto, old):.2g})"
        line["over"] = f"{means['AutoRatio'] / best:.2f}" if best > 0.02 else ""
        if best > 0.02:
            factors.setdefault(size, []).append(means["AutoRatio"] / best)
        line["seconds"] = _mean(auto, seeds, "seconds")
        for name in ("columns", "squares", "indicators"):
            pair = np.mean([auto[seed]["weighted"][name][:2] for seed in seeds], axis=0)
            line[name] = "{:.2f} ({:.2f})".format(*pair)
        lines.append(line)
    headings = {
        "rows": ("rows a side", "{}"),
        "kind": ("kind of shift", "{}"),
        "seeds": ("seeds", "{}"),
        "auto": ("AutoRatio", "{:.2g}"),
        "before": ("before", "{}"),
        "own": ("best other of skdre", "{}"),
        "peer": ("best of the peers", "{}"),
        "over": ("over the best", "{}"),
        "seconds": ("CPU s", "{:.1f}"),
        "columns": ("weighted columns", "{}"),
        "squares": ("squares", "{}"),
        "indicators": ("indicators", "{}"),
    }
    if not any(line["before"] for line in lines):
        del headings["before"]
    summary = [
        f"{size} rows a side: error over that of the best of all others, where that is "
        f"above .02: geometric mean {np.exp(np.mean(np.log(each))):.2f}, median "
        f"{np.median(each):.2f}, worst {max(each):.2f}, of {len(each)} lines."
        for size, each in factors.items()
    ]
    if any(each["estimator"] == "the true ratio" for each in found):
        summary.append(_worse_by_truth(found))
    text = "\n\n".join([_report.markdown(lines, headings), *summary])
    _report.replace_block(ERRORS, "auto-errors", text)


def _mean(runs, seeds, key="error"):
    return float(np.mean([runs[seed][key] for seed in seeds]))


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
    parser.add_argument("--truth", action="store_true")
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
                if args.truth:
                    run_truth(kind, rows, seed)
                    continue
                named = (
                    {} if args.only_auto else contenders(kind, seed, 2 * np.max(rows))
                )
                if not args.without_auto:
                    named["AutoRatio"] = AutoRatio(random_state=seed)
                run(kind, rows, seed, named, args.label)
    close()
