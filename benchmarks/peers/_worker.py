"""Runs one contender on one problem, in the contender's own environment.

A contender's script defines ``make(options)``, which returns a function
``fit(Xp, Xq, gamma, B, eps) -> weights``, and calls :func:`main`. Everything that is
not the fit (imports, reading the data, a first call on a few rows) stays off the clock.
"""

import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np


def peak_memory():
    """Largest resident memory of this process so far, in MiB."""
    # getrusage also counts what the parent held before this process was started.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def clock(call, repeats, budget):
    """Call up to `repeats` times, until `budget` seconds are spent.

    Returns
    -------
    value : object
        Of the last call.
    report : dict
        Lists of seconds and cpu_seconds, and the rise of the peak memory in MiB.
    """
    before, seconds, cpu_seconds = peak_memory(), [], []
    while not seconds or (len(seconds) < repeats and sum(seconds) < budget):
        start, cpu_start = time.perf_counter(), time.process_time()
        value = call()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    memory = peak_memory() - before
    return value, {"seconds": seconds, "cpu_seconds": cpu_seconds, "memory": memory}


def main(make, packages):
    """Fit, time and store the weights.

    Parameters
    ----------
    make : callable
        Takes the contender's options, returns its fit.
    packages : sequence of str
        Distributions whose versions are reported.
    """
    job = json.loads(sys.argv[1])
    with np.load(job["problem"]) as data:
        problem = {name: data[name] for name in ("Xp", "Xq")}
        problem |= {name: float(data[name]) for name in ("gamma", "B", "eps")}
    fit = make(job["options"])
    few = {name: problem[name][:50] for name in ("Xp", "Xq")}
    fit(**(problem | few))

    weights, report = clock(lambda: fit(**problem), job["repeats"], job["budget"])
    report["versions"] = {name: version(name) for name in packages}
    np.savez(job["result"], weights=weights, report=json.dumps(report))
