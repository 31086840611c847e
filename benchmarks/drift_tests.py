"""Which tests see which drift of a mixed table: drift_report's beside others'.

A table of ten columns, 500 rows before and 500 now, that drifted in one respect. Each
rule says whether there is drift; the table has the share of pairs of tables in which it
does, the first column being that of false alarms::

    python benchmarks/drift_tests.py --write-doc

Rules whose package is not installed are left out: run the script once more, in an
environment with alibi-detect, for its rows. Every decision is appended to
results/drift_tests.csv, and a run goes on where the last one ended.
"""

import argparse
import csv
import time
import warnings
from pathlib import Path

import _report
import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "drift_tests.csv"
FIELDS = ["case", "rule", "seed", "drift", "cpu_seconds"]
LEVEL, N_ROWS = 0.05, 500


def draw(rng, case="no drift"):
    """Six numbers, one of which depends on another, a count and three categories."""
    Z = rng.normal(size=(N_ROWS, 6))
    if case == "mean":
        Z[:, 0] += 0.25
    if case == "spread":
        Z[:, 0] *= 1.3
    relation = 0.2 if case == "relation" else 0.5
    Z[:, 2] = relation * Z[:, 1] + np.sqrt(1 - relation**2) * Z[:, 2]
    if case == "all means":
        Z += 0.11
    table = pd.DataFrame(Z, columns=[f"number {j}" for j in range(6)])
    table["count"] = rng.poisson(2.0, N_ROWS)
    shares = [0.3, 0.3, 0.4] if case == "category" else [0.4, 0.3, 0.3]
    table["kind"] = pd.Categorical(rng.choice(["a", "b", "c"], N_ROWS, p=shares))
    table["flag"] = pd.Categorical(rng.choice(["yes", "no"], N_ROWS))
    table["region"] = pd.Categorical(rng.choice(list("NESW"), N_ROWS))
    missing = rng.uniform(size=N_ROWS) < (0.1 if case == "missing" else 0.05)
    table.loc[missing, "number 3"] = np.nan
    return table


CASES = (
    *("no drift", "mean", "all means", "spread", "category"),
    *("missing", "relation"),
)
WORDS = ["kind", "flag", "region"]


def by_report(reference, current, seed):
    """Both rules of one report; its ratio, which plays no part, is a constant."""
    from sklearn.base import BaseEstimator

    from skdre import DensityRatioMixin, drift_report

    class Constant(DensityRatioMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, X):
            return np.zeros(len(X))

    report = drift_report(
        reference,
        current,
        Constant(),
        cv=2,
        n_permutations=199,
        n_repeats=1,
        random_state=seed,
    )
    smallest = min(each.adjusted_pvalue for each in report)
    return {
        "drift_report, a column": smallest <= LEVEL,
        "drift_report, all columns": report.test.pvalue <= LEVEL,
    }


def univariate(reference, current):
    """scipy's p-value of each column, rows without a value left out."""
    found = []
    for name in reference:
        if name in WORDS:
            counts = [each[name].value_counts() for each in (reference, current)]
            table = pd.concat(counts, axis=1).fillna(0).to_numpy()
            found.append(chi2_contingency(table).pvalue)
        else:
            both = [each[name].dropna() for each in (reference, current)]
            found.append(ks_2samp(*both).pvalue)
    return np.array(found)


def by_scipy(reference, current, seed):
    """Bonferroni's correction, and evidently's rule for a column and for a table."""
    pvalues = univariate(reference, current)
    return {
        "scipy, Bonferroni": pvalues.min() * len(pvalues) <= LEVEL,
        "evidently's rule, a column": (pvalues < LEVEL).any(),
        "evidently's rule, half of the columns": np.mean(pvalues < LEVEL) >= 0.5,
    }


def by_alibi(reference, current, seed):
    """alibi-detect takes numbers only: codes, and medians for missing values."""
    from alibi_detect.cd import TabularDrift

    both = []
    for each in (reference, current):
        coded = each.fillna({"number 3": reference["number 3"].median()})
        for name in WORDS:
            coded[name] = coded[name].cat.codes
        both.append(coded.to_numpy(np.float64))
    words = {reference.columns.get_loc(name): None for name in WORDS}
    detector = TabularDrift(both[0], p_val=LEVEL, categories_per_feature=words)
    drift = detector.predict(both[1])["data"]["is_drift"]
    return {"alibi-detect, TabularDrift": bool(drift)}


# By the first of the names of what each decides.
RULES = {
    "drift_report, a column": by_report,
    "scipy, Bonferroni": by_scipy,
    "alibi-detect, TabularDrift": by_alibi,
}


def known():
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def measure(repeats):
    RESULTS.parent.mkdir(exist_ok=True)
    done = {(row["case"], row["rule"], row["seed"]) for row in known()}
    fresh = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        for seed in range(repeats):
            for case in CASES:
                rng = np.random.default_rng([seed, CASES.index(case)])
                reference, current = draw(rng), draw(rng, case)
                for first, rule in RULES.items():
                    if (case, first, str(seed)) in done:
                        continue
                    start = time.process_time()
                    try:
                        found = rule(reference, current, seed)
                    except ImportError:
                        continue
                    seconds = time.process_time() - start
                    for name, drift in found.items():
                        line = (case, name, seed, int(drift), seconds)
                        writer.writerow(dict(zip(FIELDS, line, strict=True)))
                file.flush()
            print(f"seed {seed}", flush=True)


def tabulate(rows):
    lines = []
    for name in dict.fromkeys(row["rule"] for row in rows):
        mine = [row for row in rows if row["rule"] == name]
        line = {"rule": name}
        for case in CASES:
            line[case] = float(
                np.mean([int(row["drift"]) for row in mine if row["case"] == case])
            )
        line["ms"] = 1000 * np.median([float(row["cpu_seconds"]) for row in mine])
        lines.append(line)
    headings = {"rule": ("rule", "{}")}
    headings |= {case: (case, "{:.2f}") for case in CASES}
    return _report.markdown(lines, headings | {"ms": ("ms", "{:.0f}")})


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    measure(args.repeats)
    rows = [row for row in known() if int(row["seed"]) < args.repeats]
    text = tabulate(rows)
    error = 0.5 / np.sqrt(args.repeats)
    text += (
        f"\n\n{args.repeats} pairs of tables in each column: a share of .5 has a "
        f"standard error of {error:.2f}. {_report.machine(1)}"
    )
    print(text)
    if args.write_doc:
        page = ROOT / "doc" / "benchmarks" / "drift_tests.md"
        _report.replace_block(page, "drift_tests", text)


if __name__ == "__main__":
    main()
