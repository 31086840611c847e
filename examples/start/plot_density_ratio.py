"""
What a density ratio is
=======================

Two samples of one measurement: yesterday's rows, the denominator q, and today's, the
numerator p. Their density ratio r(x) = p(x) / q(x) says how much more often a value x
occurs today than it did yesterday: 1 where nothing has changed, 2 where it is twice as
frequent, 1/10 where it has become rare.

The two densities are never estimated. Telling the rows of the two samples apart is an
easier problem, and its answer is the ratio.
"""

# %%
# Rows are stacked by ``pool``. The ratio is then known at every x, not only where there
# are rows.

import argparse

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

from skdre import AutoRatio, pool

Q = norm(0.0, 1.0)
P = norm(1.0, 0.7)


def main(n_rows=500, save=None):
    rng = np.random.default_rng(0)
    yesterday = Q.rvs((n_rows, 1), random_state=rng)
    today = P.rvs((n_rows, 1), random_state=rng)

    ratio = AutoRatio(random_state=0).fit(*pool(numerator=today, denominator=yesterday))
    x = np.linspace(-2.5, 3.0, 200)
    estimated = ratio.predict_ratio(x[:, None])
    print(ratio.report_)

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.2), sharex=True, layout="constrained"
    )
    bins = np.linspace(-3, 3, 31)
    for sample, law, color, name in (
        (yesterday, Q, "tab:blue", "q: yesterday (denominator)"),
        (today, P, "tab:red", "p: today (numerator)"),
    ):
        left.hist(sample[:, 0], bins, density=True, color=color, alpha=0.3)
        left.plot(x, law.pdf(x), color=color, label=name)
    left.set(xlabel="x", ylabel="density", title="Two samples", ylim=(0, 0.8))
    left.legend(frameon=False, loc="upper left", fontsize="small")

    right.semilogy(x, P.pdf(x) / Q.pdf(x), color="0.6", linewidth=3, label="true")
    right.semilogy(x, estimated, "k--", label="estimated by AutoRatio")
    right.axhline(1.0, color="0.8", linewidth=0.8, zorder=0)
    right.set(xlabel="x", ylabel="p(x) / q(x)", title="Their ratio", ylim=(1e-3, 10))
    right.legend(frameon=False, loc="lower right", fontsize="small")
    if save:
        figure.savefig(save, dpi=150)
    return x, P.logpdf(x) - Q.logpdf(x), np.log(estimated)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", help="file for the picture")
    args, _ = parser.parse_known_args()
    x, truth, log_ratio = main(save=args.save)

# %%
# Where both samples have rows the estimate is close; beyond them it is a guess.

if __name__ == "__main__":
    inside = (x > Q.ppf(0.025)) & (x < P.ppf(0.975))
    error = np.abs(truth - log_ratio)[inside].mean()
    print(f"mean error of the log ratio: {error:.3f} nats")
