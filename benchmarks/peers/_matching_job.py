"""The kernel mean matching problem as a job: weights, and the time that they took.

A contender is a function ``fit(Xp, Xq, gamma, B, eps) -> weights``.
"""

import numpy as np
from _serve import clock


def solve(fit, job):
    """Fit, time and store the weights, after a first fit of a few rows."""
    with np.load(job["problem"]) as data:
        problem = {name: data[name] for name in ("Xp", "Xq")}
        problem |= {name: float(data[name]) for name in ("gamma", "B", "eps")}
    few = {name: problem[name][:50] for name in ("Xp", "Xq")}
    fit(**(problem | few))
    weights, report = clock(lambda: fit(**problem), job["repeats"], job["budget"])
    return report, {"weights": weights}
