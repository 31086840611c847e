"""A density ratio as a job: the log ratio at new rows, and the time of the fit.

A contender is a function ``fit(Xp, Xq, gammas, seed) -> Fitted``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from _serve import clock


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


def solve(fit, job):
    """Fit, time, and store the log ratio at the new rows."""
    names = ("Xp", "Xq", "new", "gammas", "median_gamma", "seed")
    with np.load(job["problem"]) as data:
        Xp, Xq, new, gammas, median_gamma, seed = (data[name] for name in names)
    if job["gamma_factor"] is not None:
        gammas = float(median_gamma) * job["gamma_factor"]
    seed = int(seed)
    if job["warm_up"]:
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
    return report, arrays
