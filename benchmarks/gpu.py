"""A GPU against the CPU: kernel estimators on tensors, flows and networks.

Fits and predicts at three sizes, all methods at the smallest first, and stops what
would not end within the budget::

    python benchmarks/gpu.py            # seconds, device against CPU
    python benchmarks/gpu.py --tests    # after the tests that need the device

    # without a device: tensors on the CPU against NumPy's arrays
    python benchmarks/gpu.py --device cpu:0 --methods KMMRatio LSIFRatio --sizes 20000

Each number goes to results/gpu.jsonl as it is measured. The table at the end goes to
the screen, and with --write-doc into doc/array_api.md, with the names of the machine
and of the device.

KMMRatio (its Nyström solver) and LSIFRatio get NumPy's arrays on the CPU, and on the
device torch's tensors under array API dispatch. Flows and networks have a parameter
`device`. The samples are Gaussians in 20 columns whose means lie 1 apart, as many rows
in each. What is timed has run once before, on few rows.
"""

import os

# Before anything imports scipy, or scikit-learn dispatches nothing.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import argparse
import json
import signal
import subprocess
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter

import _report
import numpy as np
import torch
from sklearn import config_context
from sklearn.base import clone

from skdre import (
    FlowFeaturizer,
    KMMRatio,
    LSIFRatio,
    TelescopingRatio,
    TimeScoreRatio,
    pool,
)

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "gpu.jsonl"
FEATURES = 20
# Rows of the fit that comes before what is timed.
WARM_UP = 300
# Largest share of the budget that the tests may take.
SHARE_OF_TESTS = 0.4

# Networks train for a number of steps; a flow goes over all rows in each epoch.
METHODS = {
    "KMMRatio": KMMRatio(solver="nystroem", random_state=0),
    "LSIFRatio": LSIFRatio(n_components=500, random_state=0),
    "FlowFeaturizer, maf": FlowFeaturizer("maf", max_epochs=5, random_state=0),
    "TelescopingRatio": TelescopingRatio(n_bridges=4, max_iter=1000, random_state=0),
    "TimeScoreRatio": TimeScoreRatio(max_iter=1000, random_state=0),
}


def draw(n):
    """Samples of n rows each, and their labels."""
    rng = np.random.default_rng(n)
    p, q = rng.standard_normal((2, n, FEATURES))
    p += 1 / np.sqrt(FEATURES)
    return pool(numerator=p, denominator=q)


def wait_for(device):
    """A device computes on while Python goes on."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def measure(name, n, device):
    """Seconds of a fit, and of predictions at the rows of the fit."""
    estimator, (X, y) = clone(METHODS[name]), draw(n)
    context = nullcontext()
    if "device" in estimator.get_params():
        estimator.set_params(device=device)
    elif device != "cpu":
        context = config_context(array_api_dispatch=True)
        X, y = (torch.asarray(each, device=device) for each in (X, y))
    with context:
        predict = "decision_function"
        if not hasattr(estimator, predict):
            predict = "score_samples"
        wait_for(device)
        start = perf_counter()
        estimator.fit(X, y)
        wait_for(device)
        fitted = perf_counter()
        getattr(estimator, predict)(X)
        wait_for(device)
    return {"fit": fitted - start, "predict": perf_counter() - fitted}


class TimeIsUp(Exception):
    """What was measured would take longer than there is time."""


def within(seconds, function, *args):
    """The function's result, or None when the seconds are over."""

    def stop(number, frame):
        raise TimeIsUp

    if seconds <= 0:
        return None
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function(*args)
    except TimeIsUp:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_tests(seconds):
    """The tests that need a device, in a process of their own."""
    tests = ["tests/test_gpu.py", "tests/test_array_api.py", "tests/test_common.py"]
    chosen = "test_gpu or test_array_api or (array_api and (KMM or LSIF or Gaussian))"
    command = [sys.executable, "-m", "pytest", "-q", *tests, "-k", chosen]
    try:
        done = subprocess.run(command, cwd=ROOT, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"stopped after {seconds:.0f} seconds"
    return "passed" if done.returncode == 0 else f"failed (exit {done.returncode})"


def table(rows, device):
    """A line for each method and size: seconds on either, and how many times faster."""
    lines = {}
    for row in rows:
        line = lines.setdefault((row["method"], row["n"]), {})
        line |= {"method": row["method"], "n": f"{row['n']:,}"}
        where = "cpu" if row["device"] == "cpu" else "gpu"
        line |= {f"{where}_{name}": row[name] for name in ("fit", "predict")}
    for line in lines.values():
        if line.get("cpu_fit") and line.get("gpu_fit"):
            line["faster"] = line["cpu_fit"] / line["gpu_fit"]
    headings = {
        "method": ("", "{}"),
        "n": ("rows a side", "{}"),
        "cpu_fit": ("fit, CPU", "{:.3g}"),
        "gpu_fit": (f"fit, {device}", "{:.3g}"),
        "faster": ("times faster", "{:.2g}"),
        "cpu_predict": ("predict, CPU", "{:.2g}"),
        "gpu_predict": (f"predict, {device}", "{:.2g}"),
    }
    ordered = sorted(lines, key=lambda key: (list(METHODS).index(key[0]), key[1]))
    return _report.markdown([lines[key] for key in ordered], headings)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[10_000, 100_000, 10**6]
    )
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=METHODS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=540, help="seconds in all")
    parser.add_argument("--tests", action="store_true", help="run the tests first")
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    end = perf_counter() + args.budget
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(
            "torch sees no CUDA device: try --device cpu:0."
        )
    is_cuda = args.device.startswith("cuda")
    name = torch.cuda.get_device_name(args.device) if is_cuda else args.device
    where = f"{name}, beside {_report.machine(torch.get_num_threads())}"
    print(where, flush=True)
    if args.tests:
        print("tests:", run_tests(SHARE_OF_TESTS * args.budget), flush=True)

    devices = list(dict.fromkeys([args.device, "cpu"]))
    RESULTS.parent.mkdir(exist_ok=True)
    rows, slow = [], {}
    with RESULTS.open("w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in args.sizes:
            for method in args.methods:
                for device in devices:
                    left = end - perf_counter()
                    # Ten times the rows take about ten times as long.
                    if slow.get((method, device), 0) > left:
                        continue
                    if n == args.sizes[0]:
                        within(left, measure, method, WARM_UP, device)
                    seconds = within(end - perf_counter(), measure, method, n, device)
                    row = {"method": method, "n": n, "device": device}
                    row |= seconds or {"fit": None, "predict": None}
                    rows.append(row)
                    print(json.dumps(row), file=file, flush=True)
                    print(json.dumps(row), flush=True)
                    total = sum(seconds.values()) if seconds else np.inf
                    slow[method, device] = 10 * total
    found = f"{table(rows, name)}\n\nSeconds. {where}"
    print(f"\n{found}")
    if args.write_doc:
        _report.replace_block(ROOT / "doc" / "array_api.md", "gpu", found)


if __name__ == "__main__":
    main()
