"""KLIEP in "Featurized density ratio estimation": Tables 1, 8, 9, Figure 7.

    python examples/papers/featurized/kliep.py --data-dir PATH --trials 30 --jobs 2 \
        --out results/featurized_kliep

Each experiment runs under two protocols on the same draws: as the paper prints it, and
a sound one beside it. README.md in this folder says what each does and what came out.
A finished trial stands in a file of its own and is not computed again.
"""

import argparse
import warnings
from functools import partial
from pathlib import Path

import _protocol
import numpy as np
import pandas as pd
from _protocol import (
    BY_VALIDATION,
    LOGISTIC,
    SVCS,
    difference_table,
    draw_breast_cancer,
    draw_curves,
    draw_mixture,
    error_rows,
    error_table,
    featurize,
    markdown,
    methods_in,
    permutations,
    split_by_probability,
    standard_error_check,
    standardize_apart,
    standardize_together,
    validated,
    with_permutations,
)
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from skdre import KLIEPRatio, pool
from skdre.datasets import load_blood_transfusion, load_white_wine_quality
from skdre.weighting import importance_weights

SETTINGS = {
    # The bandwidths of pykliep, which the paper names as its code.
    "sigma": [0.01, 0.1, 0.25, 0.5, 0.75, 1],
    "n_permutations": 5,
    "max_epochs": 100,
}
QUICK_SETTINGS = {"sigma": [0.5, 1], "n_permutations": 2, "max_epochs": 3}

# Tables 1, 8 and 9, KLIEP: mean and what the paper calls the standard error.
PRINTED = {
    "breast cancer": {
        "unweighted": [(0.616, 0.0940), (0.537, 0.167), (0.591, 0.104), (0.587, 0.115)],
        "IW(x)": [(0.519, 0.214), (0.589, 0.121), (0.588, 0.114), (0.587, 0.115)],
        "IW(z)": [(0.650, 0.0109), (0.55, 0.177), (0.590, 0.126), (0.586, 0.119)],
    },
    "blood transfusion": {
        "unweighted": [
            (0.235, 0.0274),
            (0.235, 0.0274),
            (0.234, 0.0287),
            (0.234, 0.0285),
        ],
        "IW(x)": [(0.235, 0.0274), (0.235, 0.0274), (0.234, 0.0282), (0.233, 0.0284)],
        "IW(z)": [(0.235, 0.0274), (0.235, 0.0274), (0.234, 0.0283), (0.234, 0.0282)],
    },
    "wine quality": {
        "unweighted": [
            (0.302, 0.0274),
            (0.257, 0.0074),
            (0.262, 0.00863),
            (0.289, 0.0933),
        ],
        "IW(x)": [(0.304, 0.0123), (0.262, 0.0105), (0.266, 0.0113), (0.290, 0.0103)],
        "IW(z)": [
            (0.304, 0.0120),
            (0.260, 0.00937),
            (0.265, 0.00817),
            (0.290, 0.00987),
        ],
    },
    "mixture": {
        "unweighted": [(0.236, 0.0456)],
        "IW(x)": [(0.163, 0.0548)],
        "IW(z)": [(0.125, 0.0269)],
    },
}
PRINTED_TRIALS = {name: 10 if name == "mixture" else 30 for name in PRINTED}
CLASSIFIERS = {name: LOGISTIC if name == "mixture" else SVCS for name in PRINTED}


# The draws of Table 1; a fifth array is the true log ratio at the source's rows, up to
# a constant.


def draw_near_mean(X, y, trial, *, sigma=1 / 20):
    """Rows near the mean are in the source, P(s = 1 | x) = exp(-sigma |x - mean|^2).

    The distance is that of standardised columns: in the units of the file the blood
    donor nearest to the mean has a probability of exp(-737).
    """
    squared_distance = np.sum(StandardScaler().fit_transform(X) ** 2, axis=1)
    probability = np.exp(-sigma * squared_distance)
    source, target = split_by_probability(probability, np.random.default_rng(trial))
    log_ratio = sigma * squared_distance[source]
    return X[source], y[source], X[target], y[target], log_ratio


def draw_blood_transfusion(trial, path):
    return draw_near_mean(*load_blood_transfusion(path, return_X_y=True), trial)


def draw_wine_quality(trial, path):
    X, quality = load_white_wine_quality(path, return_X_y=True)
    # The paper has quality >= 5, which 96 % of the wines have: that rule errs on 4 %,
    # and the paper's errors of .26 to .30 belong to the next grade.
    return draw_near_mean(X, (quality >= 6).astype(int), trial)


# One trial.


def log_kernel_sum(ratio, Z):
    """Log of a fitted sum of kernels, without the floor of ``decision_function``."""
    rows = (Z - ratio.center_) / ratio.scale_
    squared_distance = cdist(rows, ratio.centers_, "sqeuclidean")
    return logsumexp(-ratio.gamma_ * squared_distance, axis=1, b=ratio.dual_coef_)


def fit_published(Z, Z_target, sigma, trial):
    """KLIEP as pykliep has it: a tenth of the target as centres, and no constant."""
    ratio = KLIEPRatio(
        1 / (2 * sigma**2),
        n_components=max(1, len(Z_target) // 10),
        intercept=False,
        standardize=False,
        random_state=trial,
    )
    with warnings.catch_warnings():
        # The narrowest kernels vanish at most rows; the likelihood tells.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return ratio.fit(*pool(numerator=Z_target, denominator=Z))


def choose_sigma(Z, Z_target, sigmas, trial, *, held_out):
    """Likelihood cross-validation in three folds of the target.

    Parameters
    ----------
    held_out : bool
        Fit on the other folds and score the fold, as Sugiyama et al. (2008) do.
        Otherwise fit and score the fold, as pykliep does.
    """
    folds = list(KFold(3, shuffle=True, random_state=trial).split(Z_target))

    def likelihood(sigma):
        scores = []
        for rest, fold in folds:
            fitted = Z_target[rest if held_out else fold]
            ratio = fit_published(Z, fitted, sigma, trial)
            converged = ratio.dual_gap_ <= ratio.tol
            score = log_kernel_sum(ratio, Z_target[fold]).mean()
            scores.append(score if converged else -np.inf)
        return np.mean(scores)

    # The widest of equals.
    return max(sorted(sigmas, reverse=True), key=likelihood)


def run_paper(experiment, trial, draw, settings):
    """sigma by likelihood cross-validation, held out as published and as coded."""
    X, y, X_target, y_target, *true = draw
    if experiment != "mixture":
        X, X_target = standardize_apart(X, X_target)
    spaces = {
        "IW(x)": (X, X_target),
        "IW(z)": featurize(
            X,
            X_target,
            marginals="standardize",
            max_epochs=settings["max_epochs"],
            random_state=trial,
        ),
    }
    classifiers = CLASSIFIERS[experiment]
    domains = (X, y), (X_target, y_target)
    shuffles = permutations(len(y), trial, settings["n_permutations"])

    labels = {"protocol": "paper", "permutation": 0}
    yield from unfitted_rows(labels, true, classifiers, *domains)
    for method, (Z, Z_target) in spaces.items():
        choices = {}
        for held_out in (True, False):
            sigma = choose_sigma(
                Z, Z_target, settings["sigma"], trial, held_out=held_out
            )
            choices.setdefault(sigma, []).append(held_out)
        for sigma, selections in choices.items():
            log_ratio = log_kernel_sum(fit_published(Z, Z_target, sigma, trial), Z)
            weights = importance_weights(log_ratio)
            labels = {"protocol": "paper", "gamma": 1 / (2 * sigma**2)}
            labels |= rank_correlation(log_ratio, true)
            for all_labels, w in with_permutations(method, labels, weights, shuffles):
                for row in error_rows(all_labels, w, classifiers, *domains):
                    for held_out in selections:
                        yield {**row, "held_out": held_out}


def run_sound(experiment, trial, draw, settings):
    """One scaler, KLIEPRatio as it is, and no target label before the error."""
    X, y, X_target, y_target, *true = draw
    X, X_target = standardize_together(X, X_target)
    domain = np.repeat([1, 0], [len(X_target), len(X)])
    spaces = {
        "IW(x)": (X, X_target),
        "IW(z)": featurize(
            X,
            X_target,
            domain,
            max_epochs=settings["max_epochs"],
            random_state=trial,
        ),
    }
    domains = (X, y), (X_target, y_target)
    shuffles = permutations(len(y), trial, settings["n_permutations"])

    def classifiers(weights):
        grid = CLASSIFIERS[experiment]
        if experiment == "mixture":
            return grid
        return {**grid, BY_VALIDATION: validated(grid, domains[0], weights, trial)}

    labels = {"protocol": "sound", "permutation": 0}
    yield from unfitted_rows(labels, true, classifiers, *domains)
    for method, (Z, Z_target) in spaces.items():
        ratio = KLIEPRatio(random_state=trial)
        ratio.fit(*pool(numerator=Z_target, denominator=Z))
        log_ratio = ratio.decision_function(Z)
        labels = {"protocol": "sound", "gamma": ratio.gamma_}
        labels |= rank_correlation(log_ratio, true)
        weights = importance_weights(log_ratio)
        for all_labels, w in with_permutations(method, labels, weights, shuffles):
            yield from error_rows(all_labels, w, classifiers(w), *domains)


def unfitted_rows(labels, true, classifiers, source, target):
    """Errors without weights, and with the true ones where they are known."""
    candidates = {"unweighted": np.ones(len(source[1]))}
    if true:
        candidates["IW(true)"] = importance_weights(true[0])
    for method, weights in candidates.items():
        of_weights = classifiers(weights) if callable(classifiers) else classifiers
        yield from error_rows(
            {**labels, "method": method}, weights, of_weights, source, target
        )


def rank_correlation(log_ratio, true):
    """With the true log ratio at the source's rows, where that is known."""
    # Without this flat weights, which have no ranks, would give NaN and a warning.
    if not true or np.ptp(log_ratio) == 0:
        return {"rank_correlation": 0.0 if true else np.nan}
    return {"rank_correlation": spearmanr(log_ratio, true[0]).statistic}


# From all trials to the tables.


VARIANTS = {
    "paper's protocol, sigma by held-out likelihood": ("paper", True),
    "paper's protocol, sigma by the likelihood of the rows fitted, as pykliep does": (
        "paper",
        False,
    ),
    "sound protocol": ("sound", None),
}


def select(errors, protocol, held_out):
    """The rows of one table."""
    errors = errors[errors.protocol == protocol]
    if held_out is None:
        return errors
    return errors[(errors.held_out == held_out) | errors.held_out.isna()]


def weight_table(errors):
    """Rows of cells: what the weights are like, means over the trials."""
    first = errors["classifier"].iloc[0]
    once = errors[(errors.classifier == first) & (errors.permutation == 0)]
    rows = [["method", "effective rows", "gamma (median)", "rank correlation"]]
    for method in methods_in(once):
        if method.endswith("permuted"):
            continue
        of_method = once[once.method == method]
        row = [method, f"{of_method.effective_size.mean():.0f}"]
        for value in (of_method.gamma.median(), of_method.rank_correlation.mean()):
            row.append("" if np.isnan(value) else f"{value:.2g}")
        rows.append(row)
    return rows


def report(all_errors):
    """Text of all tables, and the errors, a row for each trial and method."""
    text, chosen = [], []
    for experiment, of_experiment in all_errors.groupby("experiment", sort=False):
        n_trials = of_experiment["trial"].nunique()
        text += [
            f"## {experiment}, {n_trials} trials",
            standard_error_check(PRINTED[experiment], PRINTED_TRIALS[experiment]),
            f"Some {of_experiment['n_source'].mean():.0f} source rows. Predicting the "
            "target's larger class for every row has error "
            f"{of_experiment['constant_error'].mean():.3f} ± "
            f"{of_experiment.groupby('trial')['constant_error'].first().std():.3f}.",
        ]
        for title, variant in VARIANTS.items():
            errors = select(of_experiment, *variant)
            text += [f"### {experiment}: {title}"]
            text += [markdown(error_table(errors, PRINTED[experiment]))]
            text += [markdown(difference_table(errors))]
            text += [markdown(weight_table(errors))]
            chosen.append(errors.assign(variant=title))
    return "\n\n".join(text), pd.concat(chosen)


def plot(all_errors, path):
    """Test error against C: as printed, and under both protocols."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        3, 3, figsize=(12, 9), sharex=True, sharey="row", layout="constrained"
    )
    names = [name for name in PRINTED if name != "mixture"]
    for row, experiment in zip(axes, names, strict=True):
        errors = all_errors[all_errors.experiment == experiment]
        draw_curves(
            row,
            PRINTED[experiment],
            PRINTED_TRIALS[experiment],
            [select(errors, "paper", True), select(errors, "sound", None)],
            errors["constant_error"].mean(),
        )
        row[0].set_ylabel(f"{experiment}\nerror on the target")
        for axis in row:
            axis.label_outer()
    titles = [
        "printed in Tables 9 and 1",
        "paper's protocol, run again",
        "sound protocol",
    ]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    labelled = axes[-1, 1].get_legend_handles_labels()
    figure.legend(*labelled, loc="outside lower center", ncols=4)
    figure.suptitle("KLIEP; bars: standard error")
    figure.savefig(path, dpi=75)
    plt.close(figure)


# The command line.


def run_all(draws, n_trials, settings, folder, n_jobs):
    protocols = (run_paper, run_sound)
    return _protocol.run_all(protocols, draws, n_trials, settings, folder, n_jobs)


def parse_args(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="PATH",
        help="folder with breast-cancer-wisconsin.data, transfusion.data and "
        "winequality-white.csv of the UCI repository; fetched from OpenML if not given",
    )
    parser.add_argument(
        "--trials", type=int, default=30, help="of breast cancer and blood transfusion"
    )
    parser.add_argument("--wine-trials", type=int, default=10)
    parser.add_argument("--mixture-trials", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("results/featurized_kliep"))
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two trials and few settings, to see that it runs",
    )
    return parser.parse_args(arguments)


def main(arguments=None):
    args = parse_args(arguments)
    settings = QUICK_SETTINGS if args.quick else SETTINGS
    n_trials = {
        "breast cancer": args.trials,
        "blood transfusion": args.trials,
        "wine quality": args.wine_trials,
        "mixture": args.mixture_trials,
    }
    if args.quick:
        n_trials = dict.fromkeys(n_trials, 2)

    def path_of(name):
        return None if args.data_dir is None else args.data_dir / name

    wisconsin = path_of("breast-cancer-wisconsin.data")
    draws = {
        "breast cancer": partial(draw_breast_cancer, path=wisconsin),
        "blood transfusion": partial(
            draw_blood_transfusion, path=path_of("transfusion.data")
        ),
        "wine quality": partial(
            draw_wine_quality, path=path_of("winequality-white.csv")
        ),
        "mixture": draw_mixture,
    }
    name = "kliep_quick" if args.quick else "kliep"
    errors = run_all(draws, n_trials, settings, args.out / name, args.jobs)
    text, chosen = report(errors)
    print(text)
    (args.out / f"{name}.md").write_text(text + "\n")
    chosen.to_csv(args.out / f"{name}.csv", index=False)
    plot(errors, args.out / f"{name}.png")
    print(f"\nWritten to {args.out}: {name}.md, {name}.csv, {name}.png")


if __name__ == "__main__":
    main()
