"""The least ratio that each kernel estimator predicts: what suits it, on known ratios.

KMMRatio, KLIEPRatio and LSIFRatio estimate the ratio itself, which may be 0; its
logarithm is taken of the ratio or of a floor, whichever is greater. Floors are tried in
the predictions and in the log loss by which parameters are searched, and for LSIFRatio
with alpha > 0 one over the floor is the largest ratio; "own" is what it does by itself.
Each fit is printed when it is done, as a line of JSON, so that a run can be stopped::

    OMP_NUM_THREADS=1 python benchmarks/ratio_floors.py --seeds 0 2 > floors.jsonl
    python benchmarks/ratio_floors.py --write-doc floors.jsonl

The second writes the tables of doc/benchmarks/kernel_floors.md. Floors and alpha were
chosen on odd seeds; the tables are of even ones.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import _report
import numpy as np
from _kinds_of_shift import KINDS, clipped_error, draw

from skdre import KLIEPRatio, KMMRatio, LSIFRatio
from skdre.datasets import known_ratio_problems
from skdre.kernel import _kliep, _kmm, _least_squares, _lsif

PAGE = Path(__file__).resolve().parent.parent / "doc" / "benchmarks/kernel_floors.md"
FLOORS = (0.03, 0.01, 0.001, 0.0001, "own")
BEFORE = 0.01
# Mean squares of the true log ratio between which problems are of one kind.
STRENGTHS = (0.0, 5.0), (5.0, 30.0), (30.0, np.inf)
ESTIMATORS = {
    "KMMRatio()": (KMMRatio, _kmm, {}),
    "KLIEPRatio()": (KLIEPRatio, _kliep, {}),
    "LSIFRatio(alpha=0)": (LSIFRatio, _lsif, {"alpha": 0.0}),
    "LSIFRatio(alpha=0.1)": (LSIFRatio, _lsif, {"alpha": 0.1}),
}
# With their own floor alone.
OTHERS = {
    "LSIFRatio(alpha=0.03)": (LSIFRatio, _lsif, {"alpha": 0.03}),
    "LSIFRatio(alpha=0.3)": (LSIFRatio, _lsif, {"alpha": 0.3}),
}
CHOSEN = {"KMMRatio()": _kmm.FLOOR, "KLIEPRatio()": _kliep.FLOOR}
LSIF_SETTINGS = ("_LEAST_RATIOS", "SEARCH_FLOOR", "_LARGEST_RATIO")
LSIF_OWN = [getattr(_least_squares, name) for name in LSIF_SETTINGS]


def _same(n_columns):
    """p = q, standard normal."""

    def draw_same(n_p, n_q, rng):
        shape = n_p + n_q, n_columns
        return *np.split(rng.normal(size=shape), [n_p]), lambda X: 0 * X[:, 0]

    return draw_same


KINDS |= {f"p = q, {d} normal columns": _same(d) for d in (2, 10)}


def measure(name, kind, n, seed):
    """A line for each floor."""
    X, y, new, truth = draw(kind, n, seed)
    cls, module, params = (ESTIMATORS | OTHERS)[name]
    model, seconds = None, None
    for floor in FLOORS if name in ESTIMATORS else ("own",):
        if cls is LSIFRatio:
            values = LSIF_OWN
            if floor != "own":
                values = np.array([floor]), floor, 1 / floor
            for setting, value in zip(LSIF_SETTINGS, values, strict=True):
                setattr(_least_squares, setting, value)
        else:
            module.FLOOR = CHOSEN[name] if floor == "own" else floor
        # KMMRatio searches nothing, so that one fit serves all floors.
        if model is None or cls is not KMMRatio:
            start = time.process_time()
            model = cls(random_state=seed, **params).fit(X, y)
            seconds = time.process_time() - start
        yield {
            "estimator": name,
            "floor": floor,
            "problem": kind,
            "n": n,
            "seed": seed,
            "error": clipped_error(truth, model.decision_function(new)),
            "mean_square": clipped_error(truth, np.zeros(len(truth))),
            "seconds": round(seconds, 3),
        }


def _geometric(values):
    return float(np.exp(np.mean(np.log(values))))


def floors_table(lines):
    """Errors of each estimator with each floor, over those with the floor before."""
    errors = {
        tuple(line[key] for key in ("estimator", "n", "floor", "problem", "seed")): line
        for line in lines
    }
    rows = []
    for name in ESTIMATORS:
        for n in sorted({line["n"] for line in lines}):
            cells = {}
            for (estimator, size, floor, *cell), line in errors.items():
                if (estimator, size) == (name, n):
                    cells.setdefault(tuple(cell), {})[floor] = line
            cells = [each for each in cells.values() if len(each) == len(FLOORS)]
            row = {"estimator": f"`{name}`", "n": n}
            for floor in FLOORS:
                texts, largest = [], 0.0
                for least, most in STRENGTHS:
                    factors = [
                        each[floor]["error"] / each[BEFORE]["error"]
                        for each in cells
                        if least < each[BEFORE]["mean_square"] <= most
                    ]
                    texts.append(f"{_geometric(factors):.2f}")
                    largest = max(largest, *factors)
                none = [
                    each[floor]["error"]
                    for each in cells
                    if each[BEFORE]["mean_square"] == 0
                ]
                texts += [f"{largest:.1f}", f"{np.mean(none):.3f}"]
                row[f"{floor}"] = ", ".join(texts)
            row["problems"] = len(cells)
            rows.append(row)
    headings = {"estimator": ("estimator", "{}"), "n": ("rows a side", "{:,}")}
    headings |= {f"{floor}": (f"{floor}", "{}") for floor in FLOORS}
    headings["problems"] = ("data sets", "{}")
    return _report.markdown(rows, headings)


def alphas_table(lines):
    """Errors of LSIFRatio with each alpha, all with their own floor."""
    by_alpha = {}
    for line in lines:
        if "LSIF" in line["estimator"] and line["floor"] == "own":
            cell = line["n"], line["problem"], line["seed"]
            by_alpha.setdefault(line["estimator"], {})[cell] = line
    common = set.intersection(*(set(each) for each in by_alpha.values()))
    rows = []
    for name in sorted(by_alpha):
        row = {"estimator": f"`{name}`"}
        for n in sorted({cell[0] for cell in common}):
            found = [by_alpha[name][cell] for cell in sorted(common) if cell[0] == n]
            zero = [
                by_alpha["LSIFRatio(alpha=0)"][cell]
                for cell in sorted(common)
                if cell[0] == n
            ]
            pairs = [
                (a["error"], b["error"])
                for a, b in zip(found, zero, strict=True)
                if a["mean_square"] > 0
            ]
            a, b = np.array(pairs).T
            same = [each["error"] for each in found if each["mean_square"] == 0]
            row[n] = f"{_geometric(a / b):.2f}, {a.mean() / b.mean():.2f}"
            row[n] += f", {np.mean(a < b):.0%}, {np.mean(same):.3f}"
        rows.append(row)
    headings = {"estimator": ("estimator", "{}")}
    headings |= {n: (f"{n:,} rows a side", "{}") for n in rows[0] if n != "estimator"}
    return _report.markdown(rows, headings)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--problems", choices=["kinds", "known", "both"])
    parser.add_argument("--write-doc", nargs="+", metavar="FILE")
    args = parser.parse_args()
    if args.write_doc:
        texts = [Path(name).read_text() for name in args.write_doc]
        lines = [json.loads(line) for text in texts for line in text.splitlines()]
        _report.replace_block(PAGE, "floors", floors_table(lines))
        _report.replace_block(PAGE, "alphas", alphas_table(lines))
        return
    kinds = [*KINDS, *known_ratio_problems()]
    if args.problems:
        names = {"kinds": KINDS, "known": known_ratio_problems(), "both": kinds}
        kinds = list(names[args.problems])
    for seed in args.seeds:
        for n in args.sizes:
            for kind in kinds:
                for name in ESTIMATORS | OTHERS:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        for line in measure(name, kind, n, seed):
                            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
