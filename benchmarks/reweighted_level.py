"""How often the test of weights rejects where the weights are right.

Two samples of 300 rows and three normal columns, of which the first has another mean or
another spread. `two_sample_test` with `reweight=` asks whether weights remove the
shift; with right ones it should reject 5 % of pairs of samples::

    python benchmarks/reweighted_level.py --write-doc
"""

import argparse
import time
import warnings
from pathlib import Path

import _report
import numpy as np
from sklearn.linear_model import LogisticRegression

from skdre import ClassifierRatio, GaussianRatio, KMMRatio, pool, two_sample_test

ROOT = Path(__file__).resolve().parent.parent
N_ROWS, N_RESAMPLES = 300, 99

# Name -> mean and standard deviation of the first column of the numerator.
SHIFTS = {"mean .5": (0.5, 1.0), "mean 1": (1.0, 1.0), "deviation .7": (0.0, 0.7)}


def true_weights(mean, deviation):
    def weights(X_p, X_q):
        z = (X_q[:, 0] - mean) / deviation
        return np.exp((X_q[:, 0] ** 2 - z**2) / 2) / deviation

    return weights


# Name -> function of mean and standard deviation, and the shifts that it can remove.
WEIGHTS = {
    "true ratio": (true_weights, list(SHIFTS)),
    "GaussianRatio": (lambda *_: GaussianRatio(), list(SHIFTS)),
    "logistic regression": (
        lambda *_: ClassifierRatio(LogisticRegression()),
        ["mean .5"],
    ),
    "KMMRatio": (lambda *_: KMMRatio(random_state=0), ["mean .5"]),
    "none": (lambda *_: lambda X_p, X_q: np.ones(len(X_q)), ["mean .5"]),
}


def run(name, shift, repeats):
    mean, deviation = SHIFTS[shift]
    reweight = WEIGHTS[name][0](mean, deviation)
    pvalues, start = [], time.process_time()
    for seed in range(repeats):
        rng = np.random.default_rng([seed, N_ROWS])
        q, p = rng.normal(size=(2, N_ROWS, 3))
        p[:, 0] = mean + deviation * p[:, 0]
        X, y = pool(numerator=p, denominator=q)
        result = two_sample_test(
            None,
            X,
            y,
            reweight=reweight,
            n_permutations=N_RESAMPLES,
            random_state=seed,
        )
        pvalues.append(result.pvalue)
    seconds = (time.process_time() - start) / repeats
    return np.mean(np.array(pvalues) <= 0.05), seconds


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = []
    for name, (_, shifts) in WEIGHTS.items():
        line = {"weights": name}
        for shift in shifts:
            line[shift], line["seconds"] = run(name, shift, args.repeats)
        lines.append(line)
        print(line, flush=True)
    headings = {"weights": ("weights", "{}")}
    headings |= {shift: (shift, "{:.2f}") for shift in SHIFTS}
    text = _report.markdown(lines, headings | {"seconds": ("seconds", "{:.1f}")})
    error = np.sqrt(0.05 * 0.95 / args.repeats)
    text += (
        f"\n\n{args.repeats} pairs of samples, {N_RESAMPLES} bootstrap samples each: a "
        f"share of .05 has a standard error of {error:.2f}. {_report.machine(1)}"
    )
    print(text)
    if args.write_doc:
        _report.replace_block(ROOT / "doc" / "drift.md", "level", text)


if __name__ == "__main__":
    main()
