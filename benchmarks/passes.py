"""How often kernel estimators form the kernel values of a row, and what a fit costs.

Each fit runs in a process of its own, with one thread. Rows of which kernel values are
formed, at landmarks or centres and for one bandwidth, are counted; features are formed
of kernel values, and so counted with them. CPU time is that of the fit, peak memory
that of the whole process. The data are those of kmm_scaling.py, errors of the ratio at
new points of the denominator's distribution and of its logarithm::

    python benchmarks/passes.py run --label now
    python benchmarks/passes.py run --label before --source ../old
    python benchmarks/passes.py write

``--source`` is another checkout of skdre. Results are appended to results/passes.jsonl;
``write`` puts the tables into doc/benchmarks/kmm.md.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import _report

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "passes.jsonl"
FITS = [
    "KMMRatio,300,10",
    "KMMRatio,1000,2",
    "KMMRatio,1000,10",
    "KMMRatio,3000,10",
    "KMMRatio,100000,10",
    "KMMRatio,1000000,10",
    "LSIFRatio,100000,10",
    "LSIFRatio,500000,20",
    "KLIEPRatio,100000,10",
    "KLIEPRatio,500000,20",
]
# Where kernel values are formed.
FORMED = [
    ("skdre.kernel._nystroem", "gaussian_kernel"),
    ("skdre.kernel._passes", "gaussian_kernel"),
    ("skdre.kernel._matching", "kernel_product"),
    ("skdre.kernel._matching", "gaussian_kernel"),
    ("skdre.kernel._matching", "kernel_among"),
    ("skdre.kernel._centers", "kernel_of_squares"),
]
NEW_POINTS = 10_000
# Up to this many rows a side a fit is timed so often, and beside the forming of one
# kernel matrix of the denominator's rows, which no exact solver can go below.
FEW_ROWS = 5000
REPEATS = 9


def count_rows():
    """Wrap the functions that form kernel values; returns the count, in a list."""
    import importlib

    total = [0]

    def counted(function):
        def wrapped(X, *args, **options):
            total[0] += len(X)
            return function(X, *args, **options)

        return wrapped

    for module, name in FORMED:
        try:
            found = importlib.import_module(module)
            setattr(found, name, counted(getattr(found, name)))
        except (ModuleNotFoundError, AttributeError):  # of an older checkout
            continue
    return total


def measure(name, n, d, seed):
    """Fit one problem in this process; return what was seen as a dict."""
    from time import process_time

    import numpy as np
    from sklearn.metrics.pairwise import rbf_kernel

    import skdre

    rng = np.random.default_rng([n, d, seed])
    shift = np.full(d, 1 / np.sqrt(d))
    X, y = skdre.pool(
        numerator=rng.standard_normal((n, d)) + shift,
        denominator=rng.standard_normal((n, d)),
    )
    new = rng.standard_normal((NEW_POINTS, d))
    truth = new @ shift - 0.5
    model = getattr(skdre, name)(random_state=seed)
    few = np.r_[:100, n : n + 100]
    model.fit(X[few], y[few])

    def seconds_of(function):
        start = process_time()
        function()
        return process_time() - start

    few_seconds = {}
    if n <= FEW_ROWS:
        functions = {
            "fit": lambda: model.fit(X, y),
            "matrix": lambda: rbf_kernel(X[n:], gamma=0.1),
        }
        few_seconds = {
            k: statistics.median(seconds_of(function) for _ in range(REPEATS))
            for k, function in functions.items()
        }
    formed = count_rows()
    seconds = seconds_of(lambda: model.fit(X, y))
    # Of a fit; a prediction is not.
    n_formed = formed[0]
    matrices = np.nan
    if few_seconds:
        seconds = few_seconds["fit"]
        matrices = seconds / few_seconds["matrix"]
    found = model.decision_function(new)
    error = np.exp(found) - np.exp(truth)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "formings": n_formed / (2 * n),
        "seconds": seconds,
        "matrices": matrices,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "error": float(np.sqrt(np.mean(error**2) / np.mean(np.exp(2 * truth)))),
        "log_error": float(np.mean((found - truth) ** 2)),
        "gap": float(getattr(model, "dual_gap_", np.nan)),
    }


def run(args):
    """Measure each fit in a fresh process, and append what was seen."""
    RESULTS.parent.mkdir(exist_ok=True)
    environment = os.environ | _report.threads(1)
    if args.source:
        environment["PYTHONPATH"] = str(Path(args.source).resolve())
    for fit in args.fits:
        name, n, d = fit.split(",")
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            job = {"name": name, "n": int(n), "d": int(d), "seed": seed}
            done = subprocess.run(
                [sys.executable, __file__, "job", json.dumps(job)],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found = json.loads(done.stdout.splitlines()[-1])
            line = json.dumps({"label": args.label} | job | found)
            print(line, flush=True)
            with RESULTS.open("a") as file:
                file.write(line + "\n")


HEADINGS = {
    "name": ("estimator", "{}"),
    "n": ("n a side", "{:,}"),
    "d": ("d", "{}"),
    "label": ("", "{}"),
    "formings": ("formings a row", "{:.1f}"),
    "seconds": ("fit, CPU seconds", "{:.3g}"),
    "matrices": ("in kernel matrices", "{:.1f}"),
    "memory": ("peak memory of the process, MiB", "{:.0f}"),
    "error": ("relative error of the ratio", "{:.4f}"),
    "log_error": ("squared error of the log ratio", "{:.4f}"),
    "seeds": ("data sets", "{}"),
}


def write():
    """Put medians over data sets into the page."""
    lines = [json.loads(each) for each in RESULTS.read_text().splitlines()]
    groups = {}
    for each in lines:
        key = tuple(each[k] for k in ("name", "n", "d", "label"))
        groups.setdefault(key, {})[each["seed"]] = each
    fits = [tuple(each.split(",")) for each in FITS]
    table = []
    for name, n, d in fits:
        before, now = (
            groups.get((name, int(n), int(d), label), {}) for label in ("before", "now")
        )
        seeds = before.keys() & now.keys() or now.keys()
        for runs in (before, now):
            chosen = [runs[seed] for seed in sorted(seeds) if seed in runs]
            if not chosen:
                continue
            row = {
                k: statistics.median(each[k] for each in chosen)
                for k in (
                    "formings",
                    "seconds",
                    "matrices",
                    "memory",
                    "error",
                    "log_error",
                )
                if all(math.isfinite(each.get(k, math.nan)) for each in chosen)
            }
            kept = {k: chosen[0][k] for k in ("name", "n", "d", "label")}
            table.append(kept | row | {"seeds": len(chosen)})
    blocks = {
        "few_rows": [each for each in table if each["n"] <= FEW_ROWS],
        "passes": [each for each in table if each["n"] > FEW_ROWS],
    }
    for block, rows in blocks.items():
        # What was not measured stays as it is in the page.
        if rows:
            headings = dict(HEADINGS)
            if block == "passes":
                del headings["matrices"]
            text = (
                f"{_report.markdown(rows, headings)}\n\n{_report.machine(1)} Medians."
            )
            print(text)
            page = ROOT / "doc" / "benchmarks" / "kmm.md"
            _report.replace_block(page, block, text)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["run", "write", "job"])
    parser.add_argument("job", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--label", default="now")
    parser.add_argument("--source")
    parser.add_argument("--fits", nargs="+", default=FITS, help="name,n,d")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    args = parser.parse_args()
    if args.task == "job":
        print(json.dumps(measure(**json.loads(args.job))))
    elif args.task == "run":
        run(args)
    else:
        write()


if __name__ == "__main__":
    main()
