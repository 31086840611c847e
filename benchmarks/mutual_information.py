"""The default of `mutual_information` on the 40 tasks of a public benchmark.

The tasks are those of Czyz et al. 2023 ("Beyond Normal"), built from their definitions
with their known mutual information, see ``_dependences.py``. An estimate counts as
right within .1 nats, or two standard errors, of the truth. Results are kept as they
come, as lines of JSON; finished runs are not run again::

    python benchmarks/mutual_information.py --rows 2000 --write-doc
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import _report
import numpy as np
from _dependences import TASKS, TUNING_TASKS

from skdre import mutual_information

ROOT = Path(__file__).resolve().parent.parent


def run(tasks, name, n_rows, seed):
    truth, draw = tasks[name]
    X, Y = draw(n_rows, np.random.default_rng([seed, n_rows]))
    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimate = mutual_information(X, Y, random_state=seed)
    return {
        "task": name,
        "rows": n_rows,
        "seed": seed,
        "truth": round(float(truth), 4),
        "value": round(estimate.value, 4),
        "error": round(estimate.standard_error, 4),
        "seconds": round(time.process_time() - start, 1),
        "warned": any("may well be larger" in str(each.message) for each in caught),
    }


def is_right(run):
    return abs(run["value"] - run["truth"]) <= max(0.1, 2 * run["error"])


def table(runs):
    sizes = sorted({each["rows"] for each in runs})
    lines, headings = [], {"task": ("task", "{}"), "truth": ("truth", "{:.2f}")}
    for n in sizes:
        headings[n] = (f"{n:,} pairs", "{}")
    for name in dict.fromkeys(each["task"] for each in runs):
        line = {"task": name}
        for n in sizes:
            own = [each for each in runs if (each["task"], each["rows"]) == (name, n)]
            if own:
                line["truth"] = own[0]["truth"]
                values = " ".join(
                    f"{each['value']:.2f}"
                    + ("" if is_right(each) else " (off)")
                    + (" (warned)" if each["warned"] else "")
                    for each in own
                )
                line[n] = f"{values} ± {own[0]['error']:.2f}"
        lines.append(line)
    text = _report.markdown(lines, headings) + "\n"
    seeds = len({each["seed"] for each in runs})
    text += f"\nSeeds: {seeds}."
    for n in sizes:
        own = [each for each in runs if each["rows"] == n]
        seconds = [each["seconds"] for each in own]
        text += (
            f"\nWith {n:,} pairs {sum(map(is_right, own))} of {len(own)} are right, in "
            f"{np.median(seconds):.1f} CPU seconds in the middle and "
            f"{max(seconds):.0f} at most."
        )
    return text


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--tune", action="store_true", help="tasks of other parameters")
    parser.add_argument("--out", type=Path, default=Path("mutual_information.jsonl"))
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    tasks = TUNING_TASKS if args.tune else TASKS
    runs = []
    if args.out.exists():
        runs = [json.loads(line) for line in args.out.read_text().splitlines()]
    done = {(each["task"], each["rows"], each["seed"]) for each in runs}
    for n_rows in args.rows:
        for seed in args.seeds:
            for name in args.tasks or tasks:
                if (name, n_rows, seed) in done:
                    continue
                runs.append(run(tasks, name, n_rows, seed))
                with args.out.open("a") as file:
                    file.write(json.dumps(runs[-1]) + "\n")
                print(runs[-1], flush=True)
    text = table(runs)
    print(text)
    if args.write_doc:
        _report.replace_block(ROOT / "doc" / "information.md", "benchmark", text)


if __name__ == "__main__":
    main()
