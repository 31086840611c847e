"""Direct density-ratio estimators: skdre against adapt, densratio and skada.

Each contender gets the same rows in a process and an environment of its own, one after
another, with the same number of threads. Its fit, model selection included, is timed;
its log ratio at new rows is held against the true one (``_known_ratios.py``). The
KLIEPs also solve one problem at a fixed bandwidth, where the optimum is known::

    python benchmarks/peers.py install
    python benchmarks/direct.py --write-doc
    python benchmarks/direct.py --quick

The default sizes and dimensions are varied one at a time about n = 1,000 and d = 10;
--full takes all pairs. The tables go to the screen and to results/direct.csv; with
--write-doc also to doc/benchmarks/direct.md and direct.png.
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
from _known_ratios import SYNTHETIC, breast_cancer, judge, kliep_gap, make_problem

import skdre

ROOT = Path(__file__).resolve().parent.parent
DOC = ROOT / "doc" / "benchmarks"
# A peer is ahead if its error is below this times skdre's, with the same floor for all.
AHEAD = 0.99


@dataclass(frozen=True)
class Contender:
    """An estimator, the method it stands for, what runs it, and where it is slow."""

    name: str
    method: str
    environment: str
    options: dict = field(default_factory=dict)
    slow_from: int = sys.maxsize  # from this size on, the first data set only
    most: int = sys.maxsize

    @property
    def script(self):
        return f"_{self.environment}_ratio.py"


def ours(name, method, cls, **options):
    return Contender(f"skdre {name}", method, "skdre", {"name": cls} | options)


CONTENDERS = [
    ours("KLIEPRatio", "KLIEP", "KLIEPRatio"),
    Contender("adapt KLIEP", "KLIEP", "adapt", {"name": "KLIEP"}, slow_from=1000),
    Contender("densratio KLIEP", "KLIEP", "densratio", {"method": "KLIEP"}, 2000),
    Contender("skada KLIEP", "KLIEP", "skada", {"name": "KLIEPReweightAdapter"}),
    ours("LSIFRatio, alpha=0", "uLSIF", "LSIFRatio", alpha=0.0),
    Contender("adapt ULSIF", "uLSIF", "adapt", {"name": "ULSIF"}, slow_from=2000),
    Contender("densratio uLSIF", "uLSIF", "densratio", {"method": "uLSIF"}, 2000),
    ours("LSIFRatio", "RuLSIF", "LSIFRatio"),
    Contender(
        "adapt RULSIF", "RuLSIF", "adapt", {"name": "RULSIF", "alpha": 0.1}, most=2000
    ),
    Contender(
        "densratio RuLSIF",
        "RuLSIF",
        "densratio",
        {"method": "RuLSIF", "alpha": 0.1},
        most=2000,
    ),
    ours("KMMRatio", "KMM", "KMMRatio"),
    ours("ClassifierRatio", "logistic regression", "ClassifierRatio"),
    Contender(
        "skada Discriminator, turned over",
        "logistic regression",
        "skada",
        {"name": "DiscriminatorReweightAdapter", "inverted": True},
    ),
    Contender(
        "skada Discriminator",
        "inverted",
        "skada",
        {"name": "DiscriminatorReweightAdapter"},
    ),
    ours("ClassifierRatio, QDA", "plug-in", "ClassifierRatio", estimator="QDA"),
    ours(
        "ClassifierRatio, shrunk QDA",
        "shrunk plug-in",
        "ClassifierRatio",
        estimator="shrunk QDA",
    ),
    Contender(
        "skada Gaussian",
        "shrunk plug-in",
        "skada",
        {"name": "GaussianReweightAdapter"},
    ),
    Contender(
        "skada Density", "two densities", "skada", {"name": "DensityReweightAdapter"}
    ),
    ours("MLPRatio", "network", "MLPRatio"),
]
# One problem for all: no constant, rows as they are, the median heuristic's bandwidth.
PLAIN = {"intercept": False, "standardize": False, "search": True}
FIXED = [
    ours("KLIEPRatio", "KLIEP", "KLIEPRatio", **PLAIN),
    *(
        each
        for each in CONTENDERS
        if each.method == "KLIEP" and "skdre" not in each.name
    ),
]


def chosen(contenders, args):
    """Those asked for, without what this version of skdre lacks."""
    kept = []
    for each in contenders:
        if each.environment == "skdre" and not hasattr(skdre, each.options["name"]):
            print(f"{each.name}: not in this skdre, left out", file=sys.stderr)
        elif not args.contenders or each.name.startswith(tuple(args.contenders)):
            kept.append(each)
    return kept


def problems(args):
    """(name, n, d, data sets) of every problem."""
    seeds = range(args.seeds)
    for n in args.sizes:
        for d in args.features:
            if args.full or n == args.center[0] or d == args.center[1]:
                for name in SYNTHETIC:
                    yield name, n, d, [make_problem(name, n, d, seed) for seed in seeds]
    sets = [breast_cancer(seed) for seed in seeds]
    yield "breast cancer", len(sets[0]["Xp"]), sets[0]["Xp"].shape[1], sets


def compare(contenders, name, n, d, sets, args, versions, *, gamma_factor=None):
    """Rows of all contenders on the data sets of one problem."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{i}.npz") for i in range(len(sets))]
        for path, problem in zip(paths, sets, strict=True):
            np.savez(path, **problem)
        for contender in contenders:
            if n > contender.most:
                continue
            n_sets = 1 if n >= contender.slow_from else len(sets)
            with _jobs.Worker(
                contender.environment, contender.script, threads=args.threads
            ) as worker:
                versions |= worker.versions
                fits = [
                    worker.ask(
                        args.timeout,
                        problem=path,
                        options=contender.options,
                        gamma_factor=gamma_factor,
                        repeats=args.repeats,
                        budget=args.budget,
                        warm_up=i == 0,
                    )
                    for i, path in enumerate(paths[:n_sets])
                ]
            for i, report in enumerate(fits):
                row = {"problem": name, "n": n, "d": d, "seed": i}
                row |= {"method": contender.method, "contender": contender.name}
                if gamma_factor is not None:
                    row["gamma_factor"] = gamma_factor
                rows.append(row)
                if "note" in report:
                    row["note"] = report["note"]
                    continue
                row["seconds"] = statistics.median(report["seconds"])
                # With one thread, tells a busy machine from a slow fit.
                row["cpu_seconds"] = statistics.median(report["cpu_seconds"])
                # Only a process's first fit shows in its peak.
                row["memory"] = None if i else report["memory"]
                problem = sets[i]
                if gamma_factor is None:
                    row |= judge(problem["truth"], report["log_ratio"])
                else:
                    kernel = (report[x] for x in ("centers", "coef", "gamma"))
                    row |= kliep_gap(problem["Xp"], problem["Xq"], *kernel)
            shown = row.get("note") or f"{row['seconds']:.3g} s"
            print(f"  {name} n={n} d={d}: {contender.name}: {shown}", file=sys.stderr)
    return rows


def tabulate(rows, headings):
    """Medians over the seeds, and how they compare with skdre's of the same method.

    A contender is compared on the data sets that it and skdre's were both fitted to.
    """
    keys = [name for name in KEYS if name in rows[0]]
    by_seed = {}
    for row in rows:
        if row["contender"].startswith("skdre") and "seconds" in row:
            by_seed[(*(row[key] for key in keys), row["seed"])] = row
    groups = {}
    for row in rows:
        cell = tuple(row[key] for key in (*keys, "contender"))
        groups.setdefault(cell, []).append(row)
    table = []
    for group in groups.values():
        line = {name: group[0][name] for name in (*keys, "contender")}
        done = [row for row in group if "seconds" in row]
        for name in headings:
            values = [row[name] for row in done if row.get(name) is not None]
            if values and name not in line:
                line[name] = statistics.median(values)
        pairs = [
            (row, by_seed[cell])
            for row in done
            if (cell := (*(row[key] for key in keys), row["seed"])) in by_seed
        ]
        for name, column in RELATIVE.items():
            ratios = [a[column] / b[column] for a, b in pairs if column in a]
            if ratios:
                line[name] = statistics.median(ratios)
        if not done:
            line["seconds"] = group[0]["note"][:60]
        line["seeds"] = len(done)
        table.append(line)
    return table


KEYS = ("problem", "n", "d", "gamma_factor", "method")
# Against skdre's estimator of the same method. Processor time: with others on the
# machine it is the steadier one.
RELATIVE = {"slower": "cpu_seconds", "worse": "error", "floored_worse": "floored"}
PROBLEM = {
    "problem": ("problem", "{}"),
    "n": ("n", "{}"),
    "d": ("d", "{}"),
    "contender": ("estimator", "{}"),
    "seconds": ("seconds", "{:.2g}"),
    "cpu_seconds": ("CPU seconds", "{:.2g}"),
    "slower": ("times skdre's", "{:.3g}"),
}
HEADINGS = PROBLEM | {
    "memory": ("MiB", "{:.0f}"),
    "error": ("error", "{:.3f}"),
    "worse": ("times skdre's", "{:.3g}"),
    "floored": ("error, floor 0.01", "{:.3f}"),
    "floored_worse": ("times skdre's", "{:.3g}"),
    "rank": ("rank correlation", "{:.3f}"),
    "zeros": ("zeros", "{:.0%}"),
}
GAP_HEADINGS = PROBLEM | {
    "gamma_factor": ("gamma, medians", "{:g}"),
    "objective": ("objective", "{:.4f}"),
    "gap": ("below the optimum", "{:.1e}"),
}
SUMMARY_HEADINGS = {
    "method": ("method", "{}"),
    "contender": ("estimator", "{}"),
    "slower": ("times skdre's time", "{:.3g}"),
    "worse": ("times skdre's error", "{:.3g}"),
    "floored_worse": ("with floor 0.01", "{:.3g}"),
    "ahead": ("problems where ahead", "{}"),
    "rank": ("rank correlation", "{:.2f}"),
}


def summarise(table):
    """Geometric means over the problems of each peer's times and errors to ours."""
    lines = []
    for name in dict.fromkeys(line["contender"] for line in table):
        group = [line for line in table if line["contender"] == name]
        pairs = [line for line in group if "worse" in line]
        if name.startswith("skdre") or not pairs:
            continue
        row = {"contender": name, "method": group[0]["method"]}
        for column in RELATIVE:
            row[column] = statistics.geometric_mean(line[column] for line in pairs)
        ahead = sum(line["floored_worse"] < AHEAD for line in pairs)
        row["ahead"] = f"{ahead} of {len(pairs)}"
        row["rank"] = statistics.median(line["rank"] for line in pairs)
        lines.append(row)
    return lines


def peers_ahead(table):
    """A text for each problem on which the best peer beats the best of skdre."""
    cells, lines = {}, []
    for line in table:
        if "floored" in line:
            cells.setdefault((line["problem"], line["n"], line["d"]), []).append(line)
    for (problem, n, d), group in cells.items():
        sides = [[], []]
        for line in group:
            sides[line["contender"].startswith("skdre")].append(line)
        if all(sides):
            peer, mine = (min(side, key=lambda x: x["floored"]) for side in sides)
            if peer["floored"] < AHEAD * mine["floored"]:
                lines.append(
                    f"{problem}, n = {n}, d = {d}: {peer['contender']} "
                    f"{peer['floored']:.4f}, {mine['contender']} {mine['floored']:.4f}"
                )
    return lines


def plot(table, path):
    """Error against time, one panel a problem."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    table = [line for line in table if "error" in line and line["method"] != "inverted"]
    methods = list(dict.fromkeys(line["method"] for line in table))
    colors = dict(zip(methods, plt.get_cmap("tab10").colors, strict=False))
    markers = {"skdre": "o", "adapt": "s", "densratio": "^", "skada": "D"}
    cells = {}
    for line in table:
        cells.setdefault((line["problem"], line["n"], line["d"]), []).append(line)
    n_columns = min(4, len(cells))
    n_rows = -(-len(cells) // n_columns)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(3.2 * n_columns + 2, 2.7 * n_rows + 0.6),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat[len(cells) :]:
        axis.set_axis_off()
    for axis, ((problem, n, d), group) in zip(axes.flat, cells.items(), strict=False):
        for line in group:
            package = line["contender"].split()[0]
            axis.scatter(
                line["cpu_seconds"],
                line["floored"],
                color=colors[line["method"]],
                marker=markers[package],
                s=55 if package == "skdre" else 30,
                alpha=1 if package == "skdre" else 0.7,
                edgecolors="black" if package == "skdre" else "none",
            )
        axis.set(xscale="log", yscale="log", title=f"{problem}, n = {n:,}, d = {d}")
        axis.grid(alpha=0.3)
        axis.tick_params(labelbottom=True)
    figure.supxlabel("CPU seconds of the fit")
    figure.supylabel("mean squared error, floor 0.01")
    handles = [
        plt.Line2D([], [], color=colors[m], marker="o", ls="", label=m) for m in methods
    ] + [
        plt.Line2D([], [], c="none", mec="black", marker=marker, ls="", label=package)
        for package, marker in markers.items()
    ]
    figure.legend(handles=handles, loc="outside right upper")
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 1000, 5000])
    parser.add_argument("--features", type=int, nargs="+", default=[2, 10, 20])
    parser.add_argument("--full", action="store_true", help="all pairs of these")
    parser.add_argument("--seeds", type=int, default=2, help="data sets of each size")
    parser.add_argument("--repeats", type=int, default=3, help="fits, at most")
    parser.add_argument(
        "--budget", type=float, default=0.2, help="seconds after which fits stop"
    )
    parser.add_argument("--timeout", type=float, default=90, help="seconds, a job")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--contenders", nargs="+", metavar="NAME", help="beginnings of names"
    )
    parser.add_argument("--quick", action="store_true", help="n = 200, 2 data sets")
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.seeds = [200], 2
    # The pair through which sizes and dimensions are varied one at a time.
    args.center = (
        1000 if 1000 in args.sizes else args.sizes[0],
        10 if 10 in args.features else args.features[0],
    )

    rows, gaps, versions = [], [], {}
    contenders, fixed = chosen(CONTENDERS, args), chosen(FIXED, args)
    for name, n, d, sets in problems(args):
        rows += compare(contenders, name, n, d, sets, args, versions)
        if name == "mean" and (n, d) == args.center:
            for factor in (1, 4):
                gaps += compare(
                    fixed, name, n, d, sets, args, versions, gamma_factor=factor
                )
    _report.write_csv(ROOT / "results" / "direct.csv", rows)
    _report.write_csv(ROOT / "results" / "direct_gap.csv", gaps)
    table, gap_table = tabulate(rows, HEADINGS), tabulate(gaps, GAP_HEADINGS)
    ahead = peers_ahead(table)
    listed = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    blocks = {
        "summary": _report.markdown(summarise(table), SUMMARY_HEADINGS)
        + "\n\nProblems on which the best of the peers is ahead of the best of skdre: "
        + ("; ".join(ahead) or "none")
        + ".",
        "gap": _report.markdown(gap_table, GAP_HEADINGS),
        "table": _report.markdown(table, HEADINGS)
        + f"\n\n{_report.machine(args.threads)} Medians over {args.seeds} data sets; "
        "of those that take long (adapt's KLIEP from n = 1,000 on, adapt's and "
        "densratio's others and densratio's KLIEP from 2,000 on), the first. "
        f"Versions: {listed}.",
    }
    print(*blocks.values(), sep="\n\n")
    if args.write_doc:
        for name, text in blocks.items():
            _report.replace_block(DOC / "direct.md", name, text)
        plot(table, DOC / "direct.png")


if __name__ == "__main__":
    main()
