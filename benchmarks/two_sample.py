"""Power of two-sample tests: skdre's beside scipy's and an MMD test.

Two samples of 200 rows and five columns, equal but for one thing that grows. Each test
decides at the 5 % level; its power is the share of pairs of samples that it rejects::

    python benchmarks/two_sample.py --write-doc
    python benchmarks/two_sample.py --repeats 20 --tests MMD score_test

Every p-value is appended to results/two_sample.csv as it is found, and a run goes on
where the last one ended. The table goes to the screen, and with --write-doc to
doc/benchmarks/two_sample.md. A full run takes about a quarter of an hour on one core.
"""

import argparse
import csv
import time
import warnings
from functools import partial
from pathlib import Path

import _report
import numpy as np
import torch
from scipy.stats import ks_2samp, mannwhitneyu
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import euclidean_distances

from skdre import (
    ClassifierRatio,
    GaussianRatio,
    KMMRatio,
    LSIFRatio,
    MLPRatio,
    pool,
    score_test,
    two_sample_test,
)

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "two_sample.csv"
FIELDS = ["case", "size", "test", "seed", "pvalue", "cpu_seconds"]
N_ROWS, N_COLUMNS, LEVEL = 200, 5, 0.05


# The samples: name -> function of rows of N(0, I), a generator and a size.


def one_mean(p, rng, size):
    return p + size * np.eye(N_COLUMNS)[0]


def all_means(p, rng, size):
    return p + size / np.sqrt(N_COLUMNS)


def scale(p, rng, size):
    return p * np.where(np.arange(N_COLUMNS) == 0, size, 1)


def correlation(p, rng, size):
    first = size * p[:, 1] + np.sqrt(1 - size**2) * p[:, 0]
    return np.column_stack([first, p[:, 1:]])


def shape(p, rng, size):
    """Two peaks at -size and size, with mean 0 and variance 1."""
    sign = rng.choice([-1, 1], size=len(p))
    first = size * sign + np.sqrt(1 - size**2) * p[:, 0]
    return np.column_stack([first, p[:, 1:]])


CASES = {
    "no shift": (one_mean, [0.0]),
    "one mean": (one_mean, [0.2, 0.4, 0.6]),
    "all means": (all_means, [0.2, 0.4, 0.6]),
    "scale": (scale, [1.2, 1.4, 1.6]),
    "correlation": (correlation, [0.2, 0.4, 0.6]),
    "two peaks": (shape, [0.8, 0.9, 0.95]),
}


def samples(case, size, seed):
    rng = np.random.default_rng([seed, round(100 * size), list(CASES).index(case)])
    p, q = rng.normal(size=(2, N_ROWS, N_COLUMNS))
    return CASES[case][0](p, rng, size), q


# The tests: name -> p-value of (p, q, seed).


def by_ratio(estimator, p, q, seed, **kwargs):
    kwargs = {"n_permutations": 199, "method": "split"} | kwargs
    X, y = pool(numerator=p, denominator=q)
    return two_sample_test(estimator, X, y, random_state=seed, **kwargs).pvalue


def by_score(p, q, seed):
    X, y = pool(numerator=p, denominator=q)
    return score_test(X, y, n_permutations=199, random_state=seed).pvalue


def mmd(p, q, seed):
    """Maximum mean discrepancy, Gaussian kernel, median of the distances."""
    X = np.vstack([p, q])
    squared = euclidean_distances(X, squared=True)
    K = np.exp(-squared / np.median(squared[np.triu_indices(len(X), 1)]))
    sign = np.repeat([1 / len(p), -1 / len(q)], [len(p), len(q)])
    signs = np.random.default_rng(seed).permuted(np.tile(sign, (199, 1)), axis=1)
    null = np.einsum("ij,ij->i", signs @ K, signs)
    return (1 + np.sum(null >= sign @ K @ sign)) / 200


def by_column(test, p, q, seed):
    """The smallest p-value of the columns, times their number."""
    found = [test(a, b).pvalue for a, b in zip(p.T, q.T, strict=True)]
    return min(1.0, len(found) * min(found))


LINEAR = ClassifierRatio(LogisticRegression())
BOOSTING = ClassifierRatio(HistGradientBoostingClassifier(max_iter=50, random_state=0))
NETWORK = MLPRatio((32, 32), n_estimators=2, max_iter=150, random_state=0)
TESTS = {
    "aggregate": partial(by_ratio, None, method="aggregate"),
    "aggregate, GaussianRatio": partial(by_ratio, GaussianRatio(), method="aggregate"),
    "aggregate, gradient boosting": partial(by_ratio, BOOSTING, method="aggregate"),
    "GaussianRatio": partial(by_ratio, GaussianRatio()),
    "GaussianRatio, refitted": partial(
        by_ratio, GaussianRatio(), method="refit", n_permutations=39
    ),
    "GaussianRatio, refitted, 2 folds": partial(
        by_ratio, GaussianRatio(), method="refit", cv=2, n_permutations=39
    ),
    "logistic regression": partial(by_ratio, LINEAR),
    "logistic regression, AUC": partial(by_ratio, LINEAR, statistic="roc_auc"),
    "logistic regression, accuracy": partial(
        by_ratio, LINEAR, statistic="balanced_accuracy"
    ),
    "gradient boosting": partial(by_ratio, BOOSTING),
    "MLPRatio": partial(by_ratio, NETWORK),
    "KMMRatio": partial(by_ratio, KMMRatio(random_state=0)),
    "LSIFRatio": partial(by_ratio, LSIFRatio(random_state=0)),
    "LSIFRatio, Pearson": partial(
        by_ratio, LSIFRatio(random_state=0), statistic="pearson"
    ),
    "score_test": by_score,
    "MMD": mmd,
    "Kolmogorov-Smirnov": partial(by_column, ks_2samp),
    "Mann-Whitney": partial(by_column, mannwhitneyu),
}
# Some take a hundred times as long as others: repeats, of each case's middle size.
SLOW = {
    "GaussianRatio, refitted": 50,
    "GaussianRatio, refitted, 2 folds": 50,
    "MLPRatio": 50,
}


def wanted(name, case, size, seed, repeats):
    """Whether a test is run on a pair of samples."""
    if name not in SLOW:
        return seed < repeats
    sizes = CASES[case][1]
    return seed < min(repeats, SLOW[name]) and size == sizes[len(sizes) // 2]


def known():
    """The p-values of earlier runs."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return [
            row | {"size": float(row["size"]), "seed": int(row["seed"])}
            for row in csv.DictReader(file)
        ]


def measure(tests, repeats):
    RESULTS.parent.mkdir(exist_ok=True)
    done = {(row["case"], row["size"], row["test"], row["seed"]) for row in known()}
    fresh = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        # By seeds, so that an interrupted run has a bit of everything.
        for seed in range(repeats):
            for case, (_, sizes) in CASES.items():
                for size in sizes:
                    p, q = samples(case, size, seed)
                    for name in tests:
                        new = (case, size, name, seed) not in done
                        if not new or not wanted(name, case, size, seed, repeats):
                            continue
                        start = time.process_time()
                        pvalue = TESTS[name](p, q, seed)
                        seconds = time.process_time() - start
                        values = (case, size, name, seed, float(pvalue), seconds)
                        writer.writerow(dict(zip(FIELDS, values, strict=True)))
                        file.flush()
            print(f"seed {seed}", flush=True)


def tabulate(rows, tests):
    lines = []
    for name in tests:
        mine = [
            row
            for row in rows
            if row["test"] == name
            and wanted(name, row["case"], row["size"], row["seed"], len(rows))
        ]
        if not mine:
            continue
        line = {"test": name}
        for case, (_, sizes) in CASES.items():
            for size in sizes:
                found = [
                    float(row["pvalue"]) <= LEVEL
                    for row in mine
                    if (row["case"], row["size"]) == (case, size)
                ]
                line[f"{case} {size}"] = float(np.mean(found)) if found else None
        line["ms"] = 1000 * np.median([float(row["cpu_seconds"]) for row in mine])
        lines.append(line)
    headings = {"test": ("test", "{}")}
    for case, (_, sizes) in CASES.items():
        for size in sizes:
            heading = f"{case} {size}" if case != "no shift" else case
            headings[f"{case} {size}"] = (heading, "{:.2f}")
    headings["ms"] = ("ms", "{:.0f}")
    return _report.markdown(lines, headings)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", nargs="+", choices=list(TESTS), default=list(TESTS))
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")

    measure(args.tests, args.repeats)
    rows = [row for row in known() if row["seed"] < args.repeats]
    text = tabulate(rows, args.tests)
    error = 0.5 / np.sqrt(args.repeats)
    fewer = "50 where only one size of each shift is filled in"
    text += (
        f"\n\n{args.repeats} pairs of samples in each column ({fewer}): a share of .5 "
        f"has a standard error of {error:.2f}. {_report.machine(1)}"
    )
    print(text)
    if args.write_doc:
        page = ROOT / "doc" / "benchmarks" / "two_sample.md"
        _report.replace_block(page, "two_sample", text)


if __name__ == "__main__":
    main()
