"""Runs one contender in its own environment, and answers what the parent asks of it.

The one protocol of all benchmarks. A contender's script calls :func:`serve`; a line of
JSON in is answered by a line of JSON out, so that contenders can take turns and share
whatever else the machine does. Everything that is not timed (imports, reading the data,
making the contender) stays off the clock.
"""

import json
import os
import resource
import sys
import time
import warnings
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


def serve(make, solve, packages):
    """Answer jobs until the parent closes the pipe.

    The first line out holds the versions of the packages. A job is a dict with
    "options"; where "result" is among it, that is the .npz file for arrays.

    Parameters
    ----------
    make : callable
        ``make(**options)`` gives the contender; it is made again only for a job with
        other options.
    solve : callable
        ``solve(contender, job)`` gives what to answer, a dict, and a dict of arrays to
        store, which may be empty. What it raises is answered as a note.
    packages : sequence of str
        Distributions whose versions are reported.
    """
    # What libraries print is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    hello = {"versions": {name: version(name) for name in packages}}
    print(json.dumps(hello), file=answers, flush=True)
    options = contender = None
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if contender is None or job["options"] != options:
                contender, options = make(**job["options"]), job["options"]
            answer, arrays = solve(contender, job)
            if arrays:
                np.savez(job["result"], **arrays)
        except Exception as error:
            answer = {"note": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
