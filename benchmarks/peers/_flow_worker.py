"""Runs one library's flows in the library's environment, as the parent asks.

A contender's script defines ``make(flow, n_features, n_transforms, hidden)``, which
returns an object with ``parameters()``, ``log_density(x)`` and ``invert(z)``, and calls
:func:`main`. A line of JSON in is answered by a line of JSON out, so that contenders
can take turns within a second and share whatever else the machine does.
"""

import json
import sys
import time
import warnings
from importlib.metadata import version

import torch


def bare_loop(contender, rows, batch_size, n_steps):
    """The least that trains a flow: a batch, its loss, a step of AdamW."""
    parameters = list(contender.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    for start in range(0, batch_size * n_steps, batch_size):
        start %= len(rows)
        optimizer.zero_grad()
        loss = -contender.log_density(rows[start : start + batch_size]).mean()
        loss.backward()
        optimizer.step()


def train(contender, rows, batch_size, n_steps):
    loop = getattr(contender, "loop", None)
    if loop is None:
        bare_loop(contender, rows, batch_size, n_steps)
    else:
        loop(rows[: batch_size * n_steps], batch_size)


def timed(action, start, most, seconds):
    """Repetitions per second, of as many as take about the seconds."""
    n = start
    while True:
        begin = time.perf_counter()
        action(n)
        took = time.perf_counter() - begin
        if took > seconds / 2 or n >= most:
            return n / took
        n = min(most, max(2 * n, int(n * seconds / max(took, 1e-4))))


def invert(contender, z):
    with torch.no_grad():
        return contender.invert(z)


def answer(state, make, job):
    if job["do"] == "make":
        state["contender"] = None
        torch.manual_seed(0)
        contender = state["contender"] = make(*job["flow"])
        # As they are trained, near the identity: everything stays finite.
        with torch.no_grad():
            for parameter in contender.parameters():
                parameter.mul_(0.1)
        n_features = job["flow"][1]
        state["rows"] = torch.randn(job["batch_size"] * job["n_batches"], n_features)
        state["z"] = torch.randn(job["inverse_rows"], n_features)
        n_parameters = sum(p.numel() for p in contender.parameters())
        return {"parameters": n_parameters}
    contender, rows, z = state["contender"], state["rows"], state["z"]
    if job["do"] == "train":
        size = job["batch_size"]
        rate = timed(
            lambda n: train(contender, rows, size, n),
            4,
            job["n_batches"],
            job["seconds"],
        )
        return {"rate": rate * size}
    rate = timed(
        lambda n: [invert(contender, z) for _ in range(n)], 1, 10_000, job["seconds"]
    )
    return {"rate": rate * len(z)}


def main(make, packages):
    """Answer until the parent closes the pipe."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    state = {}
    versions = {name: version(name) for name in packages}
    print(json.dumps({"versions": versions}), flush=True)
    for line in sys.stdin:
        try:
            reply = answer(state, make, json.loads(line))
        except Exception as error:
            reply = {"note": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
