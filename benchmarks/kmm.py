"""Kernel mean matching: skdre against adapt and skada, side by side in one run.

Every contender solves the same problem (no ridge; see ``_matching.py``) in a process
and an environment of its own, one after another, with the same number of threads. Only
the fit is timed. This script judges the weights that come back, in float64: the error
of a contender is its objective less the best lower bound on the minimum that any of
them certifies, relative to the minimum::

    python benchmarks/peers.py install
    python benchmarks/kmm.py --write-doc
    python benchmarks/kmm.py --sizes 1000 --features 10 --seeds 1 --repeats 3    # quick

The table goes to the screen and to results/kmm.csv; --write-doc also writes
doc/benchmarks/kmm.md.
"""

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import _jobs
import _report
import numpy as np
from _matching import Matching, make_problem

ROOT = Path(__file__).resolve().parent.parent
OURS = "skdre"


@dataclass(frozen=True)
class Contender:
    """A solver: its name, the environment and script that run it, and its limits."""

    name: str
    environment: str
    script: str
    options: dict = field(default_factory=dict)
    least: int = 0
    most: int = sys.maxsize
    slow_from: int = sys.maxsize  # from this size on, the first data set only
    timed: bool = True


CONTENDERS = [
    Contender("kernel matrix once", "skdre", "_kernel.py"),
    Contender(OURS, "skdre", "_skdre_kmm.py", {"ridge": 0}),
    Contender("skdre, tol=1e-8", "skdre", "_skdre_kmm.py", {"ridge": 0, "tol": 1e-8}),
    Contender(
        "adapt, exact", "adapt", "_adapt_kmm.py", {"exact": True}, slow_from=2000
    ),
    Contender(
        "adapt, exact, tol=1e-10",
        "adapt",
        "_adapt_kmm.py",
        {"exact": True, "tol": 1e-10},
        most=1000,
    ),
    Contender("adapt, default", "adapt", "_adapt_kmm.py", {"exact": False}, least=1001),
    Contender("skada, Frank-Wolfe (default)", "skada", "_skada_kmm.py"),
    Contender(
        "skada, SLSQP",
        "skada",
        "_skada_kmm.py",
        {"solver": "scipy"},
        most=1000,
        slow_from=500,
    ),
    # These two only sharpen the bound on the minimum.
    Contender("Clarabel, 1e-12", "skdre", "_clarabel.py", most=1000, timed=False),
    Contender(
        "skdre, tol=1e-13",
        "skdre",
        "_skdre_kmm.py",
        {"ridge": 0, "tol": 1e-13},
        timed=False,
    ),
]


def run(contender, problem, args, versions):
    """What a contender answers in a process of its own."""
    with _jobs.Worker(
        contender.environment, contender.script, threads=args.threads
    ) as worker:
        versions |= worker.versions
        return worker.ask(
            args.timeout,
            problem=str(problem),
            options=contender.options,
            repeats=args.repeats if contender.timed else 1,
            budget=args.budget,
        )


def compare(n, d, seed, args, versions):
    """Rows of all contenders on one problem."""
    problem = make_problem(n, d, seed)
    judge = Matching(**problem).judge
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, **problem)
        for contender in CONTENDERS:
            if not contender.least <= n <= contender.most:
                continue
            if seed and n >= contender.slow_from:
                continue
            if args.contenders and not any(
                contender.name.startswith(name) for name in args.contenders
            ):
                continue
            report = run(contender, path, args, versions)
            row = {"n": n, "d": d, "seed": seed, "contender": contender.name}
            rows.append(row)
            if "note" in report:
                row["note"] = report["note"]
            else:
                row["seconds"] = statistics.median(report["seconds"])
                # With one thread, tells a busy machine from a slow solver.
                row["cpu_seconds"] = statistics.median(report["cpu_seconds"])
                row["fastest"] = min(report["seconds"])
                row["repeats"] = len(report["seconds"])
                row["memory"] = report["memory"]
                if contender.script != "_kernel.py":
                    row |= judge(report["weights"].astype(float))
            print(f"  n={n} d={d} seed={seed}: {summary(row)}", file=sys.stderr)
    return grade(rows)


def grade(rows):
    """Add to the rows of one problem their errors and their ratios to ours."""
    bounds = [row["bound"] for row in rows if "bound" in row]
    # Under this, rounding of the objective itself decides.
    noise = 4 * np.finfo(float).eps
    for row in rows:
        if "bound" in row:
            error = (row["objective"] - max(bounds)) / abs(max(bounds))
            row["error"] = max(error, noise)
            row["own_gap"] = (row["objective"] - row["bound"]) / abs(row["bound"])
    named = {row["contender"]: row for row in rows}
    ours, kernel = named.get(OURS, {}), named.get("kernel matrix once", {})
    untimed = {contender.name for contender in CONTENDERS if not contender.timed}
    for row in rows:
        pairs = [("error_ratio", "error", ours)]
        if row["contender"] not in untimed:
            pairs += [("slower", "seconds", ours), ("kernels", "seconds", kernel)]
        for name, column, other in pairs:
            if column in row and column in other:
                row[name] = row[column] / other[column]
    return rows


def summary(row):
    """One line on a contender, for the progress on stderr."""
    if "note" in row:
        return f"{row['contender']}: {row['note']}"
    return f"{row['contender']}: {row['seconds']:.4g} s"


def tabulate(rows):
    """Medians over the seeds, one row for each problem size and contender."""
    groups = {}
    for row in rows:
        groups.setdefault((row["n"], row["d"], row["contender"]), []).append(row)
    table = []
    for group in groups.values():
        line = {name: group[0][name] for name in ("n", "d", "contender")}
        for name in HEADINGS:
            values = [row[name] for row in group if name in row]
            if name not in line and values:
                line[name] = statistics.median(values)
        notes = [row["note"] for row in group if "note" in row]
        if notes:
            line["seconds"] = notes[0][:60]
        table.append(line)
    return table


HEADINGS = {
    "n": ("n", "{}"),
    "d": ("d", "{}"),
    "contender": ("solver", "{}"),
    "seconds": ("seconds", "{:.3g}"),
    "kernels": ("kernel matrices", "{:.3g}"),
    "slower": ("times skdre's time", "{:.3g}"),
    "error": ("relative error of the objective", "{:.1e}"),
    "error_ratio": ("times skdre's error", "{:.2g}"),
    "violation": ("violation", "{:.0e}"),
    "memory": ("memory, MiB", "{:.0f}"),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--features", type=int, nargs="+", default=[10, 2])
    parser.add_argument("--seeds", type=int, default=3, help="data sets of each size")
    parser.add_argument("--repeats", type=int, default=7, help="fits, at most")
    parser.add_argument(
        "--budget", type=float, default=10, help="seconds after which fits stop"
    )
    parser.add_argument("--timeout", type=float, default=450, help="seconds, a solver")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--contenders", nargs="+", metavar="NAME", help="beginnings of names"
    )
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()

    rows, versions = [], {}
    for n in args.sizes:
        for d in args.features:
            for seed in range(args.seeds):
                rows += compare(n, d, seed, args, versions)
    _report.write_csv(ROOT / "results" / "kmm.csv", rows)
    listed = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    text = (
        f"{_report.markdown(tabulate(rows), HEADINGS)}\n\n"
        f"{_report.machine(args.threads)} Medians over {args.seeds} data sets (exact "
        "adapt above 2,000 rows and SLSQP: one), of up to "
        f"{args.repeats} fits each. Versions: {listed}."
    )
    print(text)
    if args.write_doc:
        _report.replace_block(ROOT / "doc" / "benchmarks" / "kmm.md", "peers", text)


if __name__ == "__main__":
    main()
