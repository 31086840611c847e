"""KMMRatio as it comes, from thousands to a million rows a side.

Each size runs in a process of its own, which draws the data, fits ``KMMRatio()`` and
compares its ratio at new points with the true one (Gaussians whose means lie 1 apart).
Memory is the largest resident memory of the whole process, data and imports included::

    python benchmarks/kmm_scaling.py
    python benchmarks/kmm_scaling.py --sizes 10000 100000 --seeds 3

The table goes to the screen and to results/kmm_scaling.csv; --write-doc puts it into
doc/benchmarks/kmm.md.
"""

# Only the standard library up here: what this process holds would otherwise count in
# the children's peak memory.
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import _report

ROOT = Path(__file__).resolve().parent.parent
NEW_POINTS = 10_000


def measure(n, d, seed, options):
    """Fit one problem in this process; return what was seen as a dict."""
    from time import perf_counter, process_time

    import numpy as np
    from scipy.stats import spearmanr

    from skdre import KMMRatio, pool

    rng = np.random.default_rng([n, d, seed])
    shift = np.full(d, 1 / np.sqrt(d))
    X, y = pool(
        numerator=rng.standard_normal((n, d)) + shift,
        denominator=rng.standard_normal((n, d)),
    )
    new = rng.standard_normal((NEW_POINTS, d))
    truth = np.exp(new @ shift - 0.5)

    few = np.r_[:100, n : n + 100]
    KMMRatio(random_state=0, **options).fit(X[few], y[few]).predict_ratio(new[:100])
    model = KMMRatio(random_state=seed, **options)
    start, cpu_start = perf_counter(), process_time()
    model.fit(X, y)
    fitted, cpu_fitted = perf_counter(), process_time()
    ratio = model.predict_ratio(new)
    predicted = perf_counter()

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "n": n,
        "d": d,
        "seed": seed,
        "fit_seconds": fitted - start,
        # With one thread, tells a busy machine from a slow fit.
        "fit_cpu_seconds": cpu_fitted - cpu_start,
        "predict_seconds": predicted - fitted,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "error": float(np.sqrt(np.mean((ratio - truth) ** 2) / np.mean(truth**2))),
        "error_of_ones": float(np.sqrt(np.mean((1 - truth) ** 2) / np.mean(truth**2))),
        "rank_correlation": float(spearmanr(ratio, truth).statistic),
        "gap": float(getattr(model, "dual_gap_", np.nan)),
    }


def spawn(job, args):
    """Measure in a fresh process with the threads asked for."""
    done = subprocess.run(
        [sys.executable, __file__, "--job", json.dumps(job)],
        env=os.environ | _report.threads(args.threads),
        stdout=subprocess.PIPE,
        text=True,
        timeout=args.timeout,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


HEADINGS = {
    "n": ("n a side", "{}"),
    "d": ("d", "{}"),
    "fit_seconds": ("fit, seconds", "{:.3g}"),
    "predict_seconds": (f"{NEW_POINTS:,} new points, seconds", "{:.2g}"),
    "memory": ("peak memory of the process, MiB", "{:.0f}"),
    "error": ("relative error of the ratio", "{:.3f}"),
    "error_of_ones": ("of all ones", "{:.3f}"),
    "rank_correlation": ("rank correlation", "{:.3f}"),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000]
    )
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1, help="data sets of each size")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=float, default=450, help="seconds, a fit")
    parser.add_argument("--options", default="{}", help="of KMMRatio, as JSON")
    parser.add_argument("--write-doc", action="store_true")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(measure(**json.loads(args.job))))
        return

    rows, table = [], []
    for n in args.sizes:
        job = {"n": n, "d": args.features, "options": json.loads(args.options)}
        runs = [spawn(job | {"seed": seed}, args) for seed in range(args.seeds)]
        rows += runs
        table.append({k: statistics.median(run[k] for run in runs) for k in HEADINGS})
    _report.write_csv(ROOT / "results" / "kmm_scaling.csv", rows)
    text = _report.markdown(table, HEADINGS)
    text += f"\n\n{_report.machine(args.threads)} Medians over {args.seeds} data sets."
    print(text)
    if args.write_doc:
        _report.replace_block(ROOT / "doc" / "benchmarks" / "kmm.md", "scaling", text)


if __name__ == "__main__":
    main()
