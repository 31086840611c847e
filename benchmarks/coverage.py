"""How often intervals of divergences and of mutual information hold the truth.

Samples of normal columns, whose divergences are known; `GaussianRatio` is a correct
model of them. The share of samples whose nominal 95 % interval holds the truth goes to
doc/information.md::

    python benchmarks/coverage.py --write-doc
    python benchmarks/coverage.py --default --repeats 60 --write-doc

The second is the default of `mutual_information`, some seconds of CPU each.
"""

import argparse
import time
import warnings
from pathlib import Path

import _report
import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

from skdre import GaussianRatio, divergence, mutual_information, pool

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("kl", "reverse_kl", "pearson", "jensen_shannon", "total_variation")
# Rows a side, columns, difference of the means of the first one.
DESIGNS = [(300, 2, 0.5), (1000, 5, 0.5), (1000, 5, 1.0)]
# Pairs, columns of each vector, correlation of each pair of columns.
PAIRS = [(300, 1, 0.8), (1000, 3, 0.5), (1000, 1, 0.0)]


def truth(kind, shift):
    """Divergence of N(shift, 1) from N(0, 1)."""
    if kind in ("kl", "reverse_kl"):
        return shift**2 / 2
    if kind == "pearson":
        return np.exp(shift**2) - 1
    if kind == "total_variation":
        return 2 * norm.cdf(shift / 2) - 1

    def integrand(x):
        p, q = norm.pdf(x, shift), norm.pdf(x)
        return (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))) / 2

    return quad(integrand, -12, 12 + shift)[0]


def of_divergence(kind, design, seed):
    n, d, shift = design
    q, p = np.random.default_rng([seed, n, d]).normal(size=(2, n, d))
    p[:, 0] += shift
    X, y = pool(numerator=p, denominator=q)
    return divergence(GaussianRatio(), X, y, kind=kind, random_state=seed)


def of_pairs(ratio, design, seed):
    n, d, rho = design
    X, noise = np.random.default_rng([seed, n, d]).normal(size=(2, n, d))
    Y = rho * X + np.sqrt(1 - rho**2) * noise
    return mutual_information(X, Y, ratio, random_state=seed)


def coverage(estimate_of, true, repeats):
    """Share of intervals that hold the truth, bias, spread and mean error."""
    start = time.process_time()
    found = [estimate_of(seed) for seed in range(repeats)]
    values = np.array([each.value for each in found])
    errors = np.array([each.standard_error for each in found])
    return {
        "coverage": np.mean(np.abs(values - true) <= norm.ppf(0.975) * errors),
        "bias": values.mean() - true,
        "spread": values.std(ddof=1),
        "error": errors.mean(),
        "seconds": (time.process_time() - start) / repeats,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--default", action="store_true", help="of the default alone")
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = []
    for kind in () if args.default else KINDS:
        for n, d, shift in DESIGNS:
            true = truth(kind, shift)
            found = coverage(
                lambda seed, kind=kind, each=(n, d, shift): of_divergence(
                    kind, each, seed
                ),
                true,
                args.repeats,
            )
            case = f"{n:,} rows a side, {d} columns, means {shift} apart"
            lines.append({"what": kind, "case": case, "truth": true} | found)
            print(lines[-1], flush=True)
    name, ratio = "MI, `GaussianRatio`", GaussianRatio()
    if args.default:
        name, ratio = "MI, default", None
    for n, d, rho in PAIRS:
        true = 0.0 - d / 2 * np.log(1 - rho**2)
        found = coverage(
            lambda seed, each=(n, d, rho): of_pairs(ratio, each, seed),
            true,
            args.repeats,
        )
        case = f"{n:,} pairs, {d} + {d} columns, correlations {rho}"
        lines.append({"what": name, "case": case, "truth": true} | found)
        print(lines[-1], flush=True)
    headings = {
        "what": ("", "{}"),
        "case": ("samples", "{}"),
        "truth": ("truth", "{:.3f}"),
        "coverage": ("covered", "{:.2f}"),
        "bias": ("bias", "{:+.3f}"),
        "spread": ("spread", "{:.3f}"),
        "error": ("mean error", "{:.3f}"),
    }
    text = _report.markdown(lines, headings)
    spread = np.sqrt(0.95 * 0.05 / args.repeats)
    text += (
        f"\n\n{args.repeats} samples each: a share of .95 has a standard error of "
        f"{spread:.3f}. "
        "'spread' is the standard deviation of the estimates, 'mean error' the mean of "
        "the standard errors."
    )
    print(text)
    if args.write_doc:
        block = "coverage-default" if args.default else "coverage"
        _report.replace_block(ROOT / "doc" / "information.md", block, text)


if __name__ == "__main__":
    main()
