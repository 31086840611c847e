"""Every estimator of the package on problems whose log ratio is known.

    python benchmarks/estimators.py --write-doc

prints the mean squared error of the log ratio at new rows of both samples, estimate and
truth clipped at ±15, and the processor seconds of the fits.
"""

import argparse
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from _report import markdown, replace_block, write_csv
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from scipy.stats import t as student
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

from skdre import (
    ClassifierRatio,
    KLIEPRatio,
    KMMRatio,
    LSIFRatio,
    MLPRatio,
    pool,
)
from skdre.datasets import make_warped_shift

ROOT = Path(__file__).parents[1]
BOUND = 15.0
NEW_ROWS = 3000

ESTIMATORS = {
    "MLPRatio": lambda seed: MLPRatio(random_state=seed),
    "ClassifierRatio, QDA": lambda seed: ClassifierRatio(
        QuadraticDiscriminantAnalysis()
    ),
    "ClassifierRatio": lambda seed: ClassifierRatio(),
    "LSIFRatio, alpha=0.1": lambda seed: LSIFRatio(alpha=0.1, random_state=seed),
    "LSIFRatio": lambda seed: LSIFRatio(random_state=seed),
    "KLIEPRatio": lambda seed: KLIEPRatio(random_state=seed),
    "KMMRatio": lambda seed: KMMRatio(random_state=seed),
}


def gaussians(mean_p, cov_p, d):
    """N(mean_p, cov_p) against N(0, I)."""
    mean_p = np.broadcast_to(np.asarray(mean_p, float), d)
    p, q = multivariate_normal(mean_p, cov_p), multivariate_normal(np.zeros(d))

    def draw(n, rng):
        return (
            rng.multivariate_normal(mean_p, cov_p, n).reshape(n, d),
            rng.standard_normal((n, d)),
        )

    return draw, lambda X: p.logpdf(X) - q.logpdf(X)


def ring(radius=3.0, width=0.3, spread=2.0):
    """A ring in the plane against a Gaussian."""

    def draw(n, rng):
        r, angle = rng.normal(radius, width, n), rng.uniform(0, 2 * np.pi, n)
        numerator = np.column_stack([r * np.cos(angle), r * np.sin(angle)])
        return numerator, spread * rng.standard_normal((n, 2))

    def log_ratio(X):
        r = np.linalg.norm(X, axis=1)
        log_p = -0.5 * ((r - radius) / width) ** 2 - np.log(width * r)
        log_q = -0.5 * (r / spread) ** 2 - 2 * np.log(spread)
        return log_p - 0.5 * np.log(2 * np.pi) - log_q

    return draw, log_ratio


def mixtures(centers_p, sd_p, centers_q, sd_q):
    """Equal mixtures of round Gaussians."""

    def sample(centers, sd, n, rng):
        noise = sd * rng.standard_normal((n, centers.shape[1]))
        return centers[rng.integers(len(centers), size=n)] + noise

    def log_density(X, centers, sd):
        parts = [-0.5 * ((X - c) ** 2).sum(axis=1) / sd**2 for c in centers]
        return logsumexp(parts, axis=0) - np.log(len(centers)) - X.shape[1] * np.log(sd)

    def draw(n, rng):
        return sample(centers_p, sd_p, n, rng), sample(centers_q, sd_q, n, rng)

    return (
        draw,
        lambda X: log_density(X, centers_p, sd_p) - log_density(X, centers_q, sd_q),
    )


def four_clusters(d=10, distance=3.0):
    """Four narrow Gaussians at a distance from the centre of a wide one."""
    centers = np.random.default_rng(7).standard_normal((4, d))
    centers *= distance / np.linalg.norm(centers, axis=1, keepdims=True)
    return mixtures(centers, 0.7, np.zeros((1, d)), 1.3)


def moons(n_centers=50, sd=0.25):
    """Two interleaved half circles, smeared."""
    angle = (np.arange(n_centers) + 0.5) / n_centers * np.pi
    upper = np.column_stack([np.cos(angle), np.sin(angle)])
    lower = np.column_stack([1 - np.cos(angle), -np.sin(angle)])
    return mixtures(upper, sd, lower, sd)


def long_tails(d=5, shift=0.5):
    """Student's t with 3 degrees of freedom in each column, shifted."""

    def draw(n, rng):
        return rng.standard_t(3, (n, d)) + shift, rng.standard_t(3, (n, d))

    return draw, lambda X: (student.logpdf(X - shift, 3) - student.logpdf(X, 3)).sum(
        axis=1
    )


def warped(warp, d=6):
    """A Gaussian shift of 1, seen through a map."""

    def draw(n, rng):
        seed = int(rng.integers(2**31))
        shift = make_warped_shift(n, d, warp=warp, random_state=seed)
        return shift.numerator, shift.denominator

    return draw, make_warped_shift(2, d, warp=warp, random_state=0).log_ratio


def correlated(d=20, rho=0.6):
    """Pairs of correlated columns against independent ones."""
    pairs = np.kron(np.eye(d // 2), [[0.0, 1.0], [1.0, 0.0]])
    return gaussians(0, np.eye(d) + rho * pairs, d)


PROBLEMS = {
    "ring": ring,
    "scale, d=10": partial(gaussians, 0, 1 / 2.25 * np.eye(10), 10),
    "clusters, d=10": four_clusters,
    "correlated, d=20": correlated,
    "p = q, d=5": partial(gaussians, 0, np.eye(5), 5),
    "far, d=2": partial(gaussians, 4, np.eye(2), 2),
    "moons": moons,
    "funnel, d=6": partial(warped, "funnel"),
    "exp, d=6": partial(warped, "exp"),
    "t3, d=5": long_tails,
    "shift, d=50": partial(gaussians, 1.5 / np.sqrt(50), np.eye(50), 50),
    "shift, d=1": partial(gaussians, 1, np.eye(1), 1),
}


def run(problem, estimator, n, seed):
    draw, log_ratio = PROBLEMS[problem]()
    numerator, denominator = draw(n, np.random.default_rng(seed))
    new = np.concatenate(draw(NEW_ROWS, np.random.default_rng(1000 + seed)))
    start = time.process_time()
    with warnings.catch_warnings():
        # Samples that hardly overlap are meant.
        warnings.simplefilter("ignore")
        model = ESTIMATORS[estimator](seed)
        model.fit(*pool(numerator=numerator, denominator=denominator))
    seconds = time.process_time() - start
    truth = np.clip(log_ratio(new), -BOUND, BOUND)
    error = np.clip(model.decision_function(new), -BOUND, BOUND) - truth
    return {
        "problem": problem,
        "estimator": estimator,
        "rows": n,
        "seed": seed,
        "error": np.mean(error**2),
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 1])
    parser.add_argument("--write-doc", action="store_true")
    options = parser.parse_args()
    runs, table = [], []
    for n, seeds in zip(options.sizes, options.seeds, strict=True):
        seconds = {"rows": f"{n:,}", "problem": "seconds, mean (most)"}
        columns = {name: [] for name in ESTIMATORS}
        for problem in PROBLEMS:
            line = {"rows": f"{n:,}", "problem": problem}
            for estimator in ESTIMATORS:
                new = [run(problem, estimator, n, seed) for seed in range(seeds)]
                line[estimator] = np.mean([each["error"] for each in new])
                columns[estimator] += [each["seconds"] for each in new]
                runs += new
            table.append(line)
        for estimator, times in columns.items():
            seconds[estimator] = f"{np.mean(times):.2g} ({max(times):.2g})"
        table.append(seconds)
    headings = {"rows": ("rows a side", "{}"), "problem": ("problem", "{}")}
    headings |= {name: (f"`{name}`", "{:.2g}") for name in ESTIMATORS}
    text = markdown(table, headings)
    print(text)
    write_csv(ROOT / "results" / "estimators.csv", runs)
    if options.write_doc:
        replace_block(ROOT / "doc" / "choosing.md", "known-ratios", text)


if __name__ == "__main__":
    main()
