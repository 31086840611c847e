"""Held-out log-likelihood of every flow, beside a kernel density and Gaussian mixtures.

Four real data sets, each split at random into training and test rows, three times;
bandwidth and number of components are chosen on the training rows::

    python benchmarks/densities.py --data DIRECTORY --write-doc
    python benchmarks/densities.py --data DIRECTORY --models maf copula --splits 1

DIRECTORY holds transfusion.data and winequality-white.csv of the UCI repository;
without it they are fetched from OpenML. The table goes to the screen and to
results/densities.csv; with --write-doc also to doc/benchmarks/densities.md.
"""

import argparse
import time
import warnings
from pathlib import Path

import _report
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler

from skdre import FlowFeaturizer
from skdre.datasets import load_blood_transfusion, load_white_wine_quality

ROOT = Path(__file__).resolve().parent.parent
FLOWS = ["gaussian", "copula", "maf", "realnvp", "nsf", "ffjord"]
MODELS = ["kernel density", "Gaussian mixture", *FLOWS]
TRAINING_SHARE = 0.75
# A fit takes over a minute: first split only, on data of few columns.
SLOW = {"ffjord": 10}


def without_steps(X, rng):
    """Add uniform noise of one step to columns that are rounded to few values.

    Without it the density of rounded values has no upper bound, and the comparison
    is one of who comes closest to it.
    """
    X = np.array(X, dtype=float)
    for column in X.T:
        values = np.unique(column)
        if values.size < len(X) / 2:
            column += rng.uniform(0, np.diff(values).min(), size=len(X))
    return X


def data_sets(directory):
    """Name to rows, constant and determined columns and repeated rows left out."""

    def path(name):
        return None if directory is None else directory / name

    blood = load_blood_transfusion(path("transfusion.data")).data
    wine = load_white_wine_quality(path("winequality-white.csv")).data
    diabetes = load_diabetes(scaled=False).data
    return {
        # Without monetary, which is 250 times the frequency.
        "blood transfusion": np.asarray(blood)[:, [0, 1, 3]],
        # Without the sex, which is binary.
        "diabetes": np.delete(diabetes, 1, axis=1),
        "white wine": np.unique(np.asarray(wine), axis=0),
        "breast cancer": load_breast_cancer().data,
    }


def kernel_density(X, seed):
    grid = {"bandwidth": np.geomspace(0.05, 2, 20)}
    return GridSearchCV(KernelDensity(), grid, cv=5).fit(X).best_estimator_


def gaussian_mixture(X, seed):
    models = [
        GaussianMixture(k, covariance_type=kind, n_init=2, random_state=seed).fit(X)
        for k in range(1, 11)
        for kind in ("full", "diag")
    ]
    return min(models, key=lambda model: model.bic(X))


def log_densities(model, train, test, seed):
    """Log density of the test rows in nats, in the units of the data."""
    if model in FLOWS:
        flow = FlowFeaturizer(model, device="cpu", random_state=seed)
        return flow.fit(train).score_samples(test)
    scaler = StandardScaler().fit(train)
    fit = {"kernel density": kernel_density, "Gaussian mixture": gaussian_mixture}
    fitted = fit[model](scaler.transform(train), seed)
    return fitted.score_samples(scaler.transform(test)) - np.log(scaler.scale_).sum()


def measure(args):
    rows = []
    for name, X in data_sets(args.data).items():
        for split in range(args.splits):
            rng = np.random.default_rng(split)
            noisy = without_steps(X, rng)[rng.permutation(len(X))]
            n_train = min(int(TRAINING_SHARE * len(X)), args.rows)
            train, test = noisy[:n_train], noisy[n_train:]
            for model in args.models:
                if model in SLOW and (split or X.shape[1] > SLOW[model]):
                    continue
                start = time.process_time()
                log_density = log_densities(model, train, test, split)
                rows.append(
                    {
                        "data": name,
                        "split": split,
                        "n_train": n_train,
                        "n_test": len(test),
                        "n_features": X.shape[1],
                        "model": model,
                        "log_likelihood": log_density.mean(),
                        "cpu_seconds": time.process_time() - start,
                    }
                )
                print(
                    f"{name} {split} {model} {log_density.mean():.3f} "
                    f"{rows[-1]['cpu_seconds']:.1f} s",
                    flush=True,
                )
    return rows


def tabulate(rows, models):
    """A line a data set: means over the splits, and what is missing to the best."""
    lines = []
    for name in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == name]
        scores = {
            model: {
                row["split"]: row["log_likelihood"]
                for row in mine
                if row["model"] == model
            }
            for model in models
        }
        complete = [model for model in models if model not in SLOW] or models
        best = max(complete, key=lambda model: np.mean([*scores[model].values()]))
        n_train, n_features = mine[0]["n_train"], mine[0]["n_features"]
        line = {"data": f"{name}, {n_train:,} rows, {n_features} columns"}
        for model in models:
            if not scores[model]:
                continue
            text = f"{np.mean([*scores[model].values()]):.2f}"
            missing = [scores[best][k] - scores[model][k] for k in scores[model]]
            if model == best:
                text = f"**{text}**"
            elif len(missing) > 1:
                error = np.std(missing, ddof=1) / np.sqrt(len(missing))
                text += f" ({-np.mean(missing):.2f} ± {error:.2f})"
            else:
                text += f" ({-missing[0]:.2f})"
            line[model] = text
        lines.append(line)
    seconds = {
        model: [row["cpu_seconds"] for row in rows if row["model"] == model]
        for model in models
    }
    times = {model: f"{np.mean(each):.1f}" for model, each in seconds.items() if each}
    return [*lines, {"data": "CPU seconds of a fit, mean"} | times]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="directory of the UCI files")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2000, help="training rows, at most")
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)

    rows = measure(args)
    _report.write_csv(ROOT / "results" / "densities.csv", rows)
    headings = {"data": ("data", "{}")} | {
        model: (model if model not in FLOWS else f'"{model}"', "{}")
        for model in args.models
    }
    text = _report.markdown(tabulate(rows, args.models), headings)
    text += (
        f"\n\n{args.splits} random splits; ffjord has the first only, on up to "
        f"{SLOW['ffjord']} columns. {_report.machine(1)}"
    )
    print(text)
    if args.write_doc:
        page = ROOT / "doc" / "benchmarks" / "densities.md"
        _report.replace_block(page, "densities", text)


if __name__ == "__main__":
    main()
