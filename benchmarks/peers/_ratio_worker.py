"""Runs one density-ratio contender on one problem, in the contender's environment.

A contender's script defines ``make(options)``, which returns a function
``fit(Xp, Xq, gammas, seed) -> Fitted``, and calls :func:`main`. Everything that is not
the fit (imports, reading the data, a first call on a few rows) stays off the clock.
"""

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from _worker import clock


@dataclass
class Fitted:
    """A fitted contender.

    Attributes
    ----------
    predict : callable
        Log ratio, or the ratio if `logarithmic` is false, at the rows of an array.
    logarithmic : bool
    kernel : tuple or None
        Centres, coefficients and gamma of a ratio that is a sum of Gaussian kernels.
    """

    predict: Callable
    logarithmic: bool = False
    kernel: tuple | None = None


def main(make, packages):
    """Fit, time, and store the log ratio at the new rows, for a list of problems.

    Parameters
    ----------
    make : callable
        Takes the contender's options, returns its fit.
    packages : sequence of str
        Distributions whose versions are reported.
    """
    job = json.loads(sys.argv[1])
    fit = make(job["options"])
    warnings.simplefilter("ignore")
    stored, reports = {}, []
    for i, path in enumerate(job["problems"]):
        try:
            arrays, report = solve(fit, path, job, warm_up=not reports)
        except Exception as error:
            reports.append({"note": f"{type(error).__name__}: {error}"})
            continue
        stored |= {f"{name}_{i}": value for name, value in arrays.items()}
        reports.append(report)
        if i:
            # Only a process's first fit shows in its peak.
            del report["memory"]
    versions = {name: version(name) for name in packages}
    report = json.dumps({"fits": reports, "versions": versions})
    np.savez(job["result"], **stored, report=report)


def solve(fit, path, job, *, warm_up):
    """What to store of one problem, and the report of its fit."""
    names = ("Xp", "Xq", "new", "gammas", "median_gamma", "seed")
    with np.load(path) as data:
        Xp, Xq, new, gammas, median_gamma, seed = (data[name] for name in names)
    if job["gamma_factor"] is not None:
        gammas = float(median_gamma) * job["gamma_factor"]
    seed = int(seed)
    if warm_up:
        fit(Xp[:50], Xq[:50], float(median_gamma), seed)
    fitted, report = clock(
        lambda: fit(Xp, Xq, gammas, seed), job["repeats"], job["budget"]
    )
    log_ratio = np.asarray(fitted.predict(new), dtype=float).ravel()
    if not fitted.logarithmic:
        with np.errstate(divide="ignore", invalid="ignore"):
            log_ratio = np.log(log_ratio)
    arrays = {"log_ratio": log_ratio}
    if fitted.kernel is not None:
        arrays |= zip(("centers", "coef", "gamma"), fitted.kernel, strict=True)
    return arrays, report
