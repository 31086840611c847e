"""Fits and predictions on chunks that lie on disk: one process, then two.

Two samples of d Gaussian columns, their means 1 apart, are written as .npy files of
100,000 rows each. Estimators are fitted to them as Dask arrays by a
cluster of one process, and of two, each with one thread and a limit of memory, and the
log ratio is predicted at all rows and its mean taken; beside it the same fit with all
rows in memory. Seconds of the clock mean something on a machine with nothing else to
do alone; CPU seconds stand beside them. Each is a process of its own::

    python benchmarks/out_of_core.py
    python benchmarks/out_of_core.py --sizes 100000 1000000 10000000
    python benchmarks/out_of_core.py --subsample

`--subsample` measures instead how the error of a network falls with the rows that it is
given, of which the number that estimators take of a collection follows. Lines of JSON
go to results/out_of_core.jsonl as they come; --write-doc puts the tables into
doc/scaling.md.
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
import tempfile
from pathlib import Path

import _report

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "out_of_core.jsonl"
CHUNK = 100_000
MEMORY = 2 * 2**30


def write_chunks(folder, n, d):
    """Files of both samples, a chunk each."""
    import numpy as np

    rng = np.random.default_rng([n, d])
    for name, shift in (("p", 1 / np.sqrt(d)), ("q", 0.0)):
        for i, start in enumerate(range(0, n, CHUNK)):
            rows = rng.standard_normal((min(CHUNK, n - start), d)) + shift
            np.save(folder / f"{name}{i:05d}.npy", rows)


def lazy(folder, name):
    """The chunks of a sample as one Dask array, read when they are needed."""
    import dask
    import dask.array as da
    import numpy as np

    parts = []
    for path in sorted(Path(folder).glob(f"{name}*.npy")):
        shape = np.load(path, mmap_mode="r").shape
        parts.append(da.from_delayed(dask.delayed(np.load)(path), shape, float))
    return da.concatenate(parts)


def estimator_of(name):
    import skdre

    # Seeded where there is chance, so that workers and memory fit the same.
    kind = getattr(skdre, name)
    return kind(random_state=0) if "random_state" in kind().get_params() else kind()


def peak_memory():
    """Largest resident memory of this process, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def in_memory(folder, estimator):
    """Fit and predict with all rows in this process."""
    from time import perf_counter

    import numpy as np

    from skdre import pool

    p, q = (
        np.concatenate([np.load(each) for each in sorted(folder.glob(f"{name}*"))])
        for name in "pq"
    )
    X, y = pool(numerator=p, denominator=q)
    del p, q
    model = estimator_of(estimator)
    start, cpu = perf_counter(), cpu_seconds()
    model.fit(X, y)
    fitted, cpu_fitted = perf_counter(), cpu_seconds()
    mean = float(model.decision_function(X).mean())
    return {
        "fit_seconds": fitted - start,
        "fit_cpu": cpu_fitted - cpu,
        "predict_seconds": perf_counter() - fitted,
        "predict_cpu": cpu_seconds() - cpu_fitted,
        "memory": peak_memory(),
        "mean": mean,
    }


def on_workers(folder, estimator, n_workers):
    """The same on a cluster of processes, which read the chunks."""
    from time import perf_counter

    from distributed import Client, LocalCluster

    from skdre import GaussianRatio, pool

    options = {"threads_per_worker": 1, "dashboard_address": None}
    with (
        LocalCluster(n_workers=n_workers, memory_limit=MEMORY, **options) as cluster,
        Client(cluster) as client,
    ):
        p, q = (lazy(folder, name) for name in "pq")
        # The workers import what they need.
        GaussianRatio().fit(*pool(numerator=p[:CHUNK], denominator=q[:CHUNK]))
        X, y = pool(numerator=p, denominator=q)
        model = estimator_of(estimator)
        start, cpu = perf_counter(), sum(client.run(cpu_seconds).values())
        model.fit(X, y)
        fitted, cpu_fitted = perf_counter(), sum(client.run(cpu_seconds).values())
        mean = float(model.decision_function(X).mean().compute())
        predicted = perf_counter()
        return {
            "fit_seconds": fitted - start,
            "fit_cpu": cpu_fitted - cpu,
            "predict_seconds": predicted - fitted,
            "predict_cpu": sum(client.run(cpu_seconds).values()) - cpu_fitted,
            "memory": max(client.run(peak_memory).values()),
            "mean": mean,
        }


def of_subsample(n, seed):
    """Error of the log ratio of a network that is given some of the rows."""
    from time import process_time

    import numpy as np

    from skdre import MLPRatio
    from skdre.datasets import make_warped_shift

    X, y = make_warped_shift(n, 5, warp="banana", random_state=seed).pool()
    new = make_warped_shift(5000, 5, warp="banana", random_state=1000 + seed)
    rows, _ = new.pool()
    start = process_time()
    model = MLPRatio(random_state=seed).fit(X, y)
    error = model.decision_function(rows) - new.log_ratio(rows)
    return {"error": float(np.mean(error**2)), "fit_cpu": process_time() - start}


def run(job, folder):
    """One measurement in this process."""
    if "seed" in job:
        return of_subsample(**job)
    if job["n_workers"] == 0:
        return in_memory(folder, job["estimator"])
    return on_workers(folder, job["estimator"], job["n_workers"])


def spawn(job, folder):
    """Measure in a fresh process, and keep what it found."""
    done = subprocess.run(
        [sys.executable, __file__, "--job", json.dumps(job), "--folder", str(folder)],
        env=os.environ | _report.threads(1),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = job | json.loads(done.stdout.splitlines()[-1])
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(found) + "\n")
    print(json.dumps(found), flush=True)
    return found


NAMES = {0: "in memory", 1: "1 worker", 2: "2 workers"}
HEADINGS = {
    "estimator": ("", "{}"),
    "n": ("n a side", "{:,}"),
    "rows": ("rows are", "{}"),
    "fit_seconds": ("fit, s", "{:.3g}"),
    "fit_cpu": ("CPU s of all processes", "{:.3g}"),
    "predict_seconds": ("predict, s", "{:.3g}"),
    "predict_cpu": ("CPU s", "{:.3g}"),
    "memory": ("peak memory of a process, MiB", "{:.0f}"),
}
SUBSAMPLE = {
    "n": ("rows a side", "{:,}"),
    "error": ("squared error of the log ratio", "{:.4f}"),
    "spread": ("smallest to largest", "{}"),
    "fit_cpu": ("CPU s", "{:.0f}"),
}


def tables():
    """Markdown of what has been measured: of chunks, and of subsamples."""
    found = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    rows = {}
    for each in found:
        if "seed" not in each:
            # The last measurement counts.
            key = each["estimator"], each["n"], each["n_workers"]
            rows[key] = each | {"rows": NAMES[each["n_workers"]]}
    some = {}
    for each in found:
        if "seed" in each:
            some.setdefault(each["n"], {})[each["seed"]] = each
    lines = []
    for n, runs in sorted(some.items()):
        errors = [each["error"] for each in runs.values()]
        lines.append(
            {
                "n": n,
                "error": statistics.mean(errors),
                "spread": f"{min(errors):.4f} to {max(errors):.4f}",
                "fit_cpu": statistics.mean(each["fit_cpu"] for each in runs.values()),
            }
        )
    rows = [rows[key] for key in sorted(rows)]
    return _report.markdown(rows, HEADINGS), _report.markdown(lines, SUBSAMPLE)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--estimators",
        nargs="+",
        default=["GaussianRatio", "LSIFRatio", "KMMRatio", "KLIEPRatio"],
    )
    parser.add_argument("--subsample", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write-doc", action="store_true")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(run(json.loads(args.job), args.folder)))
        return
    if args.write_doc:
        page = ROOT / "doc" / "scaling.md"
        for name, text in zip(("out_of_core", "subsample"), tables(), strict=True):
            _report.replace_block(page, name, text)
        return
    if args.subsample:
        for seed in range(args.seeds):
            for n in (3_000, 10_000, 30_000, 100_000, 300_000):
                spawn({"n": n, "seed": seed}, ROOT)
        return
    for n in args.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_chunks(folder, n, args.features)
            for estimator in args.estimators:
                for n_workers in args.workers:
                    job = {"n": n, "estimator": estimator, "n_workers": n_workers}
                    spawn(job, folder)


if __name__ == "__main__":
    main()
