"""A flow as a job: how many rows a second it is trained on, or inverts.

A contender is an object with ``parameters()``, ``log_density(x)`` and ``invert(z)``,
made from ``flow, n_features, n_transforms, hidden``; it may have a training loop of its
own, ``loop(rows, batch_size)``.
"""

import math
import time
from functools import cache

import numpy as np
import torch

torch.set_num_threads(1)
# The first optimizer loads torch's compiler, which is no part of a training's rate.
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])


def maker(cls):
    """What makes a contender of the class as it is trained, near the identity.

    Everything stays finite there.
    """

    def make(**options):
        torch.manual_seed(0)
        contender = cls(**options)
        with torch.no_grad():
            for parameter in contender.parameters():
                parameter.mul_(0.1)
        return contender

    return make


@cache
def normal_rows(n_rows, n_features):
    return torch.randn(n_rows, n_features, generator=torch.Generator().manual_seed(0))


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
        begin = time.process_time()
        action(n)
        took = time.process_time() - begin
        if took > seconds / 2 or n >= most:
            return n / took
        n = min(most, max(2 * n, int(n * seconds / max(took, 1e-4))))


def invert(contender, z):
    with torch.no_grad():
        return contender.invert(z)


# Epochs without a better held-out likelihood after which a peer's training ends, as in
# skdre.
PATIENCE = 20


def usual_loop(contender, train, test, epochs, seed):
    """Adam on batches of 256 with early stopping: what a user of a peer writes.

    Returns (seconds, test log likelihood) at each epoch that was the best so far, and
    the seconds of the whole.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = list(contender.parameters())
    optimizer = torch.optim.Adam(parameters, lr=contender.learning_rate)
    n_held_out = len(train) // 10
    rows, held_out = train[:-n_held_out], train[-n_held_out:]
    spent, best, best_epoch, curve = 0.0, -math.inf, 0, []
    for epoch in range(epochs):
        begin = time.process_time()
        for index in torch.randperm(len(rows), generator=generator).split(256):
            optimizer.zero_grad()
            (-contender.log_density(rows[index]).mean()).backward()
            optimizer.step()
        with torch.no_grad():
            value = contender.log_density(held_out).mean().item()
        spent += time.process_time() - begin
        if value > best:
            best, best_epoch = value, epoch
            with torch.no_grad():
                curve.append((spent, contender.log_density(test).mean().item()))
        if epoch - best_epoch >= PATIENCE:
            break
    return curve, spent


def fit(contender, job):
    """Train to the end, by the contender's own way or the usual one."""
    with np.load(job["rows"]) as arrays:
        train, test = arrays["train"], arrays["test"]
    if hasattr(contender, "fit"):
        curve, spent = contender.fit(train, test, job["epochs"], job["seed"])
    else:
        train, test = (torch.as_tensor(each).float() for each in (train, test))
        curve, spent = usual_loop(contender, train, test, job["epochs"], job["seed"])
    return {"curve": curve, "seconds": spent, "end": curve[-1][1]}


def solve(contender, job):
    """Count the parameters ("count"), train to the end ("fit"), or time the rest."""
    if job["do"] == "fit":
        return fit(contender, job), {}
    if job["do"] == "count":
        return {"parameters": sum(p.numel() for p in contender.parameters())}, {}
    n_features, size = job["options"]["n_features"], job["batch_size"]
    if job["do"] == "train":
        rows = normal_rows(size * job["n_batches"], n_features)
        rate = timed(
            lambda n: train(contender, rows, size, n),
            job["least_batches"],
            job["n_batches"],
            job["seconds"],
        )
        return {"rate": rate * size}, {}
    z = normal_rows(job["inverse_rows"], n_features)
    rate = timed(
        lambda n: [invert(contender, z) for _ in range(n)], 1, 10_000, job["seconds"]
    )
    return {"rate": rate * len(z)}, {}
