"""Runs a contender's script in its own environment and reads back what it stored."""

import json
import os
import subprocess
from pathlib import Path

import _report
import numpy as np
import peers

HERE = Path(__file__).resolve().parent


def run(environment, script, job, result, *, threads, timeout):
    """What a contender stored, or the reason why there is nothing.

    Parameters
    ----------
    environment : str
        A peer, or "skdre".
    script : str
        File name in ``peers/``.
    job : dict
        What the script's ``main`` reads; `result` is added.
    result : Path
        The .npz file that the script writes.
    threads : int
        Of the linear algebra.
    timeout : float
        Seconds, imports included.

    Returns
    -------
    arrays : dict or None
        The arrays stored, with the report decoded.
    reason : str
        Empty if there are arrays.
    """
    result.unlink(missing_ok=True)
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    job = json.dumps(job | {"result": str(result)})
    try:
        done = subprocess.run(
            [str(peers.python(environment)), str(HERE / "peers" / script), job],
            env=os.environ | _report.threads(threads) | quiet,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return None, f"over {timeout:g} s"
    if done.returncode or not result.exists():
        return None, (done.stderr.strip().splitlines() or ["killed"])[-1]
    with np.load(result) as data:
        arrays = dict(data)
    return arrays | {"report": json.loads(str(arrays["report"]))}, ""
