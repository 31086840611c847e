"""Coverage and width of the intervals of the ratio, where the ratio is known.

Each line is printed when it is done, as JSON, so that a run can be stopped::

    OMP_NUM_THREADS=1 python benchmarks/ratio_intervals.py --rows 300 --seeds 100 120
    OMP_NUM_THREADS=1 python benchmarks/ratio_intervals.py --only AutoRatio
    OMP_NUM_THREADS=1 python benchmarks/ratio_intervals.py --only MLPRatio --weighted

    python benchmarks/ratio_intervals.py --write-doc results.jsonl more.jsonl

writes the tables of doc/intervals_of_the_ratio.md from what was printed. The rules were
chosen on seeds below 50, on a mean shift, a change of scale and heavy tails.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import _report
import numpy as np
from scipy.stats import norm

from skdre import (
    AutoRatio,
    ClassifierRatio,
    GaussianRatio,
    JackknifeRatio,
    LSIFRatio,
    MLPRatio,
    pool,
)
from skdre.datasets import make_known_ratio

PAGE = Path(__file__).resolve().parent.parent / "doc" / "intervals_of_the_ratio.md"
LEVEL = 0.9
D = 5
N_NEW = 1000
N_BOOTSTRAP = 30
PROBLEMS = ("mean", "scale", "same", "moons", "t3_d5", "far_gaussians_d2")
SIMPLE = "30 bootstrap draws"
WEIGHTED = "w_i f_i"
N_NETWORKS = 8


def draw(kind, n, seed):
    """Rows of both samples, new rows of both, and the log ratio at these."""
    rng = np.random.RandomState(seed)
    if kind not in ("mean", "scale", "same"):
        shift = make_known_ratio(kind, n + N_NEW // 2, random_state=rng)
        p, q, log_ratio = shift.numerator, shift.denominator, shift.log_ratio
    else:
        p, q = (rng.standard_normal((n + N_NEW // 2, D)) for _ in range(2))
        sd, mean = np.ones(D), np.zeros(D)
        if kind == "mean":
            mean += 1 / np.sqrt(D)
        elif kind == "scale":
            sd[:2] = 0.7, 1.5
        p = p * sd + mean

        def log_ratio(Z):
            at_p = (((Z - mean) / sd) ** 2).sum(axis=1)
            return ((Z**2).sum(axis=1) - at_p) / 2 - np.log(sd).sum()

    new = np.concatenate([p[n:], q[n:]])
    return *pool(numerator=p[:n], denominator=q[:n]), new, log_ratio(new)


def estimators():
    """The bare estimators, by the names in the tables."""
    return {
        "GaussianRatio": GaussianRatio(),
        "ClassifierRatio, logistic": ClassifierRatio(),
        "LSIFRatio(alpha=0.1)": LSIFRatio(alpha=0.1),
        "MLPRatio": MLPRatio(n_estimators=4),
        "AutoRatio": AutoRatio(),
    }


def bootstrap_interval(estimator, X, y, new, rng):
    """The full fit and its normal interval by draws of the rows with replacement."""
    draws = []
    for _ in range(N_BOOTSTRAP):
        weight = np.zeros(len(y))
        for label in (0, 1):
            (part,) = np.nonzero(y == label)
            weight[part] = rng.multinomial(len(part), np.full(len(part), 1 / len(part)))
        kept = weight > 0
        fit = estimator.fit(X[kept], y[kept], weight[kept])
        draws.append(fit.decision_function(new))
    half = norm.ppf((1 + LEVEL) / 2) * np.std(draws, axis=0, ddof=1)
    centre = estimator.fit(X, y).decision_function(new)
    return centre, centre - half, centre + half


def weighted_interval(X, y, new, rng):
    """A w_i f_i ensemble: Benevedes, Thaler, arXiv 2506.00113.

    Networks are trained on bootstrap draws of one half of the rows. On the other half
    the weights of their log ratios, and of a constant, minimise the sum of the maximum
    likelihood losses of r and of 1 / r; their covariance is that of an estimate that
    solves equations, C^-1 D C^-1.
    """
    order = rng.permutation(len(y))
    halves = [order[y[order] == k][half::2] for half in (0, 1) for k in (0, 1)]
    fits = []
    for _ in range(N_NETWORKS):
        drawn = np.concatenate([rng.choice(half, len(half)) for half in halves[:2]])
        weight = np.bincount(drawn, minlength=len(y))
        kept = weight > 0
        network = MLPRatio(n_estimators=1, random_state=rng.randint(2**31))
        fits.append(network.fit(X[kept], y[kept], weight[kept]))

    def basis(rows):
        columns = [each.decision_function(rows) for each in fits]
        return np.column_stack([*columns, np.ones(len(rows))])

    q, p = basis(X[halves[2]]), basis(X[halves[3]])

    def loss(w):
        return (
            np.exp(q @ w).mean()
            + (q @ w).mean()
            + np.exp(-p @ w).mean()
            - (p @ w).mean()
        )

    w = np.append(np.full(N_NETWORKS, 1 / N_NETWORKS), 0.0)
    for _ in range(100):
        at_q, at_p = np.exp(q @ w), np.exp(-p @ w)
        gradient = q.T @ (1 + at_q) / len(q) - p.T @ (1 + at_p) / len(p)
        C = (q.T * at_q) @ q / len(q) + (p.T * at_p) @ p / len(p)
        step = np.linalg.lstsq(C, gradient, rcond=1e-10)[0]
        size = 1.0
        while loss(w - size * step) > loss(w) and size > 1e-6:
            size /= 2
        w = w - size * step
        if gradient @ step < 1e-10:
            break
    D = np.cov(q.T * (1 + np.exp(q @ w))) / len(q)
    D += np.cov(p.T * (1 + np.exp(-p @ w))) / len(p)
    inverse = np.linalg.pinv(C, rcond=1e-10, hermitian=True)
    F = basis(new)
    variance = np.einsum("ij,jk,ik->i", F, inverse @ D @ inverse, F)
    half = norm.ppf((1 + LEVEL) / 2) * np.sqrt(variance)
    return F @ w, F @ w - half, F @ w + half


def run(kind, n, seed, name, reference=None):
    X, y, new, truth = draw(kind, n, seed)
    estimator = estimators()[name]
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=seed)
    start = time.process_time()
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.simplefilter("ignore")
        rng = np.random.RandomState(seed)
        if reference == SIMPLE:
            found, lower, upper = bootstrap_interval(estimator, X, y, new, rng)
        elif reference == WEIGHTED:
            found, lower, upper = weighted_interval(X, y, new, rng)
        else:
            if name != "AutoRatio":
                estimator = JackknifeRatio(
                    estimator,
                    n_repeats=1 if name == "MLPRatio" else 4,
                    random_state=seed,
                )
            estimator.fit(X, y)
            found = estimator.decision_function(new)
            lower, upper = map(np.log, estimator.ratio_interval(new, level=LEVEL))
    inside = (lower <= truth) & (truth <= upper)
    is_open = np.isinf(upper) | np.isinf(lower)
    return {
        "kind": kind,
        "rows": n,
        "seed": seed,
        "estimator": name + (f", {reference}" if reference else ""),
        "covered": round(float(inside.mean()), 4),
        "width": round(float(np.median(upper - lower)), 4),
        "open": round(float(is_open.mean()), 4),
        "error": round(float(np.sqrt(np.mean((found - truth) ** 2))), 4),
        "seconds": round(time.process_time() - start, 2),
    }


def summary(lines):
    """Means over the seeds, and the spread of the coverage."""
    keys = {(each["kind"], each["rows"], each["estimator"]): None for each in lines}
    names = list(estimators())
    rows = []
    for kind, n, name in sorted(
        keys,
        key=lambda key: (
            PROBLEMS.index(key[0]),
            key[1],
            names.index(
                key[2].removesuffix(f", {SIMPLE}").removesuffix(f", {WEIGHTED}")
            ),
            key[2],
        ),
    ):
        each = [
            line
            for line in lines
            if (line["kind"], line["rows"], line["estimator"]) == (kind, n, name)
        ]
        covered = [line["covered"] for line in each]
        rows.append(
            {"kind": kind, "rows": n, "estimator": name, "seeds": len(each)}
            | {
                key: float(np.mean([line[key] for line in each]))
                for key in ("covered", "width", "open", "error", "seconds")
            }
            | {"least": min(covered), "most": max(covered)}
        )
        if rows[-1]["width"] == np.inf:
            rows[-1]["width"] = "open"
    return rows


HEADINGS = {
    "kind": ("problem", "{}"),
    "rows": ("rows a side", "{:,}"),
    "estimator": ("estimator", "{}"),
    "covered": ("covered", "{:.2f}"),
    "least": ("least", "{:.2f}"),
    "most": ("most", "{:.2f}"),
    "width": ("width, nats", "{:.2f}"),
    "open": ("open", "{:.3f}"),
    "error": ("error, nats", "{:.2f}"),
    "seeds": ("seeds", "{}"),
    "seconds": ("CPU s", "{:.1f}"),
}


def write_doc(paths):
    lines = [
        json.loads(line)
        for path in paths
        for line in Path(path).read_text().split("\n")
        if line
    ]
    rows = summary(lines)
    for kind in PROBLEMS:
        own = [each for each in rows if each["kind"] == kind]
        headings = {name: each for name, each in HEADINGS.items() if name != "kind"}
        _report.replace_block(PAGE, f"table {kind}", _report.markdown(own, headings))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--seeds", type=int, nargs=2, default=[100, 105])
    parser.add_argument("--kinds", nargs="+", default=PROBLEMS, choices=PROBLEMS)
    parser.add_argument("--only", nargs="+", default=None, choices=estimators())
    references = parser.add_mutually_exclusive_group()
    references.add_argument(
        "--simple",
        dest="reference",
        action="store_const",
        const=SIMPLE,
        help=f"by {SIMPLE}",
    )
    references.add_argument(
        "--weighted",
        dest="reference",
        action="store_const",
        const=WEIGHTED,
        help=f"{WEIGHTED} ensembles of networks, --only MLPRatio",
    )
    parser.add_argument("--write-doc", nargs="+", metavar="RESULTS")
    arguments = parser.parse_args()
    if arguments.reference == WEIGHTED and arguments.only != ["MLPRatio"]:
        parser.error("--weighted is of networks: --only MLPRatio")
    if arguments.write_doc:
        write_doc(arguments.write_doc)
        return
    for n in arguments.rows:
        for kind in arguments.kinds:
            for name in arguments.only or estimators():
                for seed in range(*arguments.seeds):
                    line = run(kind, n, seed, name, arguments.reference)
                    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
