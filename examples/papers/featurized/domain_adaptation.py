"""Domain adaptation in "Featurized density ratio estimation": Tables 8, 9, Figure 3.

    python examples/papers/featurized/domain_adaptation.py --trials 30 --jobs 2 \
        --data breast-cancer-wisconsin.data --out results/featurized

Each experiment runs under two protocols on the same draws: as the paper prints it, and
a sound one beside it. README.md in this folder says what each does and what came out.
A finished trial stands in a file of its own and is not computed again.
"""

import argparse
import json
import math
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skdre import FlowFeaturizer, KMMRatio, pool
from skdre.datasets import load_breast_cancer_wisconsin
from skdre.weighting import effective_sample_size, importance_weights

SETTINGS = {
    "gamma": [0.01, 0.1, 0.5, 1.0],
    "B": [1, 10, 100, 1000],
    "n_permutations": 5,
    "max_epochs": 200,
}
QUICK_SETTINGS = {
    "gamma": [0.01, 0.5],
    "B": [1, 1000],
    "n_permutations": 2,
    "max_epochs": 3,
}

METHODS = [
    "unweighted",
    "IW(x)",
    "IW(x) permuted",
    "IW(z)",
    "IW(z) permuted",
]
# The published method and the package's; the sound protocol runs the second alone.
RIDGES = {"published": 0, "ridge": "auto"}
BY_VALIDATION = "C by IWCV"

# Tables 8 and 9, KMM: mean and what the paper calls the standard error.
SVC_COLUMNS = {f"C={C:g}": C for C in (0.1, 1, 10, 100)}
PRINTED = {
    "breast cancer": {
        "unweighted": [(0.616, 0.0940), (0.537, 0.167), (0.591, 0.104), (0.587, 0.114)],
        "IW(x)": [(0.596, 0.116), (0.532, 0.198), (0.577, 0.120), (0.576, 0.118)],
        "IW(z)": [(0.630, 0.0766), (0.418, 0.221), (0.421, 0.232), (0.424, 0.230)],
    },
    "mixture": {
        "unweighted": [(0.236, 0.0456)],
        "IW(x)": [(0.163, 0.0615)],
        "IW(z)": [(0.0408, 0.0443)],
    },
}
PRINTED_TRIALS = {"breast cancer": 30, "mixture": 10}
CLASSIFIERS = {
    "breast cancer": {
        name: SVC(gamma=0.1, C=C, cache_size=50) for name, C in SVC_COLUMNS.items()
    },
    "mixture": {"test error": LogisticRegression()},
}


# The two draws. Each returns X_source, y_source, X_target, y_target.


def split_by_label(y, rng, *, target_fraction=0.75, keep=(0.1, 0.9)):
    """Positions of the source's rows, selected by their label, and of the target's.

    Of the rows that are not in the target, one with label k is in the source with
    probability keep[k] (Appendix D.2; 0 is benign, 1 malignant).
    """
    order = rng.permutation(y.size)
    n_target = round(target_fraction * y.size)
    target, rest = order[:n_target], order[n_target:]
    source = rest[rng.random(rest.size) < np.asarray(keep)[y[rest]]]
    return source, target


def draw_breast_cancer(trial, path):
    X, y = load_breast_cancer_wisconsin(path, return_X_y=True)
    source, target = split_by_label(y, np.random.default_rng(trial))
    return X[source], y[source], X[target], y[target]


def draw_mixture(trial, n_rare=10, n_common=990):
    """1 marks N((0, 0), I), rare in the source, and 0 marks N((3, 3), I)."""
    rng = np.random.default_rng(trial)

    def draw(n_origin, n_shifted):
        y = rng.permutation(np.repeat([1, 0], [n_origin, n_shifted]))
        return rng.standard_normal((y.size, 2)) + 3 * (y == 0)[:, None], y

    return *draw(n_rare, n_common), *draw(n_common, n_rare)


# One trial.


def standardize_apart(X_source, X_target):
    """Each domain by its own mean and variance, as the paper does."""
    return tuple(StandardScaler().fit_transform(X) for X in (X_source, X_target))


def standardize_together(X_source, X_target):
    scaler = StandardScaler().fit(np.vstack([X_source, X_target]))
    return scaler.transform(X_source), scaler.transform(X_target)


def featurize(X_source, X_target, y=None, **parameters):
    flow = FlowFeaturizer(**parameters)
    with warnings.catch_warnings():
        # Grades are integers: a flow gains likelihood there for as long as it is
        # trained, by closing in on the ties.
        warnings.filterwarnings("ignore", "The held-out likelihood", ConvergenceWarning)
        flow.fit(np.vstack([X_target, X_source]), y)
    return flow.transform(X_source), flow.transform(X_target)


def permutations(n_rows, trial, count):
    """The same for every gamma, B and space: the control searches like the method."""
    rng = np.random.default_rng([trial, n_rows])
    return [rng.permutation(n_rows) for _ in range(count)]


def weighted_error(classifier, source, target, weights):
    """Error on the target after a fit on the weighted source."""
    (X, y), (X_target, y_target) = source, target
    rows = weights > 0
    if np.unique(y[rows]).size == 1:
        # Without a ridge most weights are 0; SVC refuses what is left of one class.
        return float(np.mean(y_target != y[rows][0]))
    model = clone(classifier).fit(X[rows], y[rows], sample_weight=weights[rows])
    return float(np.mean(model.predict(X_target) != y_target))


def validated(grid, source, weights, trial):
    """The classifier chosen by importance-weighted cross-validation on the source.

    As ``importance_weighted_scorer(ratio)`` would choose it, but with the ratio's
    values given, so that permuted ones can be validated with too.
    """
    X, y = source
    n_splits = max(2, min(5, np.bincount(y).min()))
    folds = StratifiedKFold(n_splits, shuffle=True, random_state=trial)
    with config_context(enable_metadata_routing=True):
        svc = clone(next(iter(grid.values())))
        svc.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        values = [classifier.C for classifier in grid.values()]
        search = GridSearchCV(svc, {"C": values}, cv=folds, refit=False)
        search.fit(X, y, sample_weight=weights)
    return clone(svc).set_params(**search.best_params_)


def _rows(labels, weights, classifiers, source, target):
    """One row for each classifier."""
    size = effective_sample_size(weights)
    for name, classifier in classifiers.items():
        error = weighted_error(classifier, source, target, weights)
        yield {**labels, "classifier": name, "error": error, "effective_size": size}


def _with_permutations(method, labels, weights, shuffles):
    """The weights, then the same permuted, each with its labels."""
    yield {**labels, "method": method, "permutation": 0}, weights
    for number, order in enumerate(shuffles):
        control = {"method": f"{method} permuted", "permutation": number}
        yield {**labels, **control}, weights[order]


def run_paper(experiment, trial, draw, settings):
    """Errors for every gamma and B; the report chooses among them by these errors."""
    X, y, X_target, y_target = draw
    # Appendix D.2 standardises the breast cancer data only.
    if experiment == "breast cancer":
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

    labels = {"protocol": "paper", "method": "unweighted", "permutation": 0}
    yield from _rows(labels, np.ones(len(y)), classifiers, *domains)
    for kmm, ridge in RIDGES.items():
        for method, (Z, Z_target) in spaces.items():
            samples = pool(numerator=Z_target, denominator=Z)
            for gamma in settings["gamma"]:
                for B in settings["B"]:
                    ratio = KMMRatio(
                        gamma, B=B, ridge=ridge, standardize=False, random_state=trial
                    )
                    weights = ratio.fit(*samples).weights_
                    labels = {"protocol": "paper", "kmm": kmm, "gamma": gamma, "B": B}
                    for all_labels, w in _with_permutations(
                        method, labels, weights, shuffles
                    ):
                        yield from _rows(all_labels, w, classifiers, *domains)


def run_sound(experiment, trial, draw, settings):
    """One scaler, and no target label before the error is taken.

    gamma and B are chosen by the ratio's held-out score, which knows the domains only.
    """
    X, y, X_target, y_target = draw
    X, X_target = standardize_together(X, X_target)
    domain = np.repeat([1, 0], [len(X_target), len(X)])
    spaces = {
        "unweighted": None,
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
    grid = {name: settings[name] for name in ("gamma", "B")}
    for method, space in spaces.items():
        labels = {"protocol": "sound", "kmm": "ridge"}
        if space is None:
            labels |= {"method": method, "permutation": 0}
            candidates = [(labels, np.ones(len(y)))]
        else:
            Z, Z_target = space
            search = GridSearchCV(KMMRatio(random_state=trial), grid)
            search.fit(*pool(numerator=Z_target, denominator=Z))
            labels |= search.best_params_
            weights = importance_weights(search.decision_function(Z))
            candidates = _with_permutations(method, labels, weights, shuffles)
        for all_labels, w in candidates:
            classifiers = CLASSIFIERS[experiment]
            if experiment == "breast cancer":
                chosen = validated(classifiers, domains[0], w, trial)
                classifiers = {**classifiers, BY_VALIDATION: chosen}
            yield from _rows(all_labels, w, classifiers, *domains)


def run_trial(experiment, trial, draw, settings, folder):
    """Compute a trial under both protocols, unless its file is there already."""
    path = folder / f"{experiment.replace(' ', '_')}-{trial:03d}.csv"
    if path.exists():
        return path
    import torch

    torch.set_num_threads(1)
    drawn = draw(trial)
    labels = {
        "experiment": experiment,
        "trial": trial,
        "n_source": len(drawn[1]),
        "constant_error": 1 - np.bincount(drawn[3]).max() / len(drawn[3]),
    }
    rows = [
        {**labels, **row}
        for run in (run_paper, run_sound)
        for row in run(experiment, trial, drawn, settings)
    ]
    # Renamed when whole, so that a file cut short is never taken for a trial.
    unfinished = path.with_suffix(".part")
    pd.DataFrame(rows).to_csv(unfinished, index=False)
    unfinished.replace(path)
    print(f"{experiment}, trial {trial}: done", flush=True)
    return path


# From all trials to the tables.


def choose(errors, selection):
    """Take the best gamma and B by the error on the target, as the paper does.

    Parameters
    ----------
    errors : DataFrame
        A row for each trial, method, permutation, classifier and (gamma, B).
    selection : {"all trials", "each trial"}
        Choose for each method and classifier once, by the mean error over the trials,
        or again in each trial. A permuted control is chosen for in the same way, each
        permutation by itself.

    Returns
    -------
    errors : DataFrame
        A row for each trial, method, permutation and classifier.
    """
    # Methods without parameters have one candidate.
    errors = errors.fillna({"gamma": 0.0, "B": 0.0})
    group = ["method", "permutation", "classifier"]
    if selection == "each trial":
        group = [*group, "trial"]
    mean = errors.groupby([*group, "gamma", "B"], sort=False)["error"].mean()
    best = mean.groupby(group, sort=False).idxmin().to_frame("best")
    best[["gamma", "B"]] = [row[-2:] for row in best.pop("best")]
    return errors.merge(best.reset_index(), on=[*group, "gamma", "B"])


def per_trial(errors):
    """One error for each trial and method, the mean over a control's permutations."""
    keys = ["classifier", "method", "trial"]
    return errors.groupby(keys, sort=False)["error"].mean().unstack("trial")


def mean_and_standard_error(values):
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def error_table(errors, experiment):
    """Rows of cells: mean ± standard deviation (standard error), the paper's beside.

    The standard deviation is over single runs, so that a control, which has several
    runs a trial, can be compared with the rest; the standard error is of the mean over
    trials.
    """
    trials = per_trial(errors)
    columns = list(dict.fromkeys(errors["classifier"]))
    rows = [["method", *columns]]
    for method in METHODS:
        row = [method]
        for column in columns:
            runs = errors[(errors.method == method) & (errors.classifier == column)]
            mean, se = mean_and_standard_error(trials.loc[(column, method)])
            row.append(f"{mean:.3f} ± {runs.error.std(ddof=1):.3f} ({se:.3f})")
        rows.append(row)
    for method, values in PRINTED[experiment].items():
        cells = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in values]
        cells += [""] * (len(columns) - len(cells))
        rows.append([f"paper: {method}", *cells])
    return rows


def difference_table(errors):
    """Rows of cells: paired difference of the error ± standard error; < 0 is a gain."""
    trials = per_trial(errors)
    columns = list(dict.fromkeys(errors["classifier"]))
    pairs = [(method, "unweighted") for method in METHODS[1:]]
    pairs += [(method, f"{method} permuted") for method in ("IW(x)", "IW(z)")]
    pairs += [("IW(z)", "IW(x)")]
    rows = [["difference", *columns]]
    for first, second in pairs:
        row = [f"{first} - {second}"]
        for column in columns:
            difference = trials.loc[(column, first)] - trials.loc[(column, second)]
            mean, se = mean_and_standard_error(difference)
            row.append(f"{mean:+.3f} ± {se:.3f}")
        rows.append(row)
    return rows


def markdown(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(
        "| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines
    )


def standard_error_check(experiment):
    """Whether the printed spreads can be standard errors.

    An error rate lies in [0, 1], so the standard deviation of n of them is at most
    sqrt(m (1 - m) n / (n - 1)) at mean m, and their standard error that / sqrt(n).
    """
    n_trials = PRINTED_TRIALS[experiment]
    printed = [cell for row in PRINTED[experiment].values() for cell in row]
    possible = [math.sqrt(m * (1 - m) / (n_trials - 1)) for m, _ in printed]
    too_large = sum(
        spread > limit for (_, spread), limit in zip(printed, possible, strict=True)
    )
    return (
        f"{too_large} of the {len(printed)} spreads that the paper prints as standard "
        f"errors over {n_trials} runs are larger than any standard error of an error "
        "rate can be."
    )


VARIANTS = {
    "paper's protocol, gamma and B by target error over all trials": (
        "paper",
        "published",
        "all trials",
    ),
    "paper's protocol, gamma and B by target error in each trial": (
        "paper",
        "published",
        "each trial",
    ),
    "paper's protocol with the default ridge, gamma and B over all trials": (
        "paper",
        "ridge",
        "all trials",
    ),
    "sound protocol": ("sound", "ridge", None),
}


def select(errors, protocol, kmm, selection):
    """The rows of one table; the unweighted rows belong to every kind of KMM."""
    errors = errors[errors.protocol == protocol]
    errors = errors[(errors.kmm == kmm) | (errors.method == "unweighted")]
    return errors if selection is None else choose(errors, selection)


def report(all_errors):
    """Text of all tables, and the chosen errors, a row for each trial and method."""
    text, chosen = [], []
    for experiment, of_experiment in all_errors.groupby("experiment", sort=False):
        n_trials = of_experiment["trial"].nunique()
        text += [
            f"## {experiment}, {n_trials} trials",
            standard_error_check(experiment),
            "Predicting the target's larger class for every row has error "
            f"{of_experiment['constant_error'].mean():.3f}.",
        ]
        for title, variant in VARIANTS.items():
            errors = select(of_experiment, *variant)
            text += [f"### {experiment}: {title}"]
            text += [markdown(error_table(errors, experiment))]
            text += [markdown(difference_table(errors))]
            chosen.append(errors.assign(variant=title))
    return "\n\n".join(text), pd.concat(chosen)


def plot(all_errors, path):
    """Test error against C: as printed, and under both protocols."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    errors = all_errors[all_errors.experiment == "breast cancer"]
    figure, axes = plt.subplots(
        1, 3, figsize=(12, 4), sharey=True, layout="constrained"
    )
    colours = {"unweighted": "0.3", "IW(x)": "tab:blue", "IW(z)": "tab:red"}
    values = list(SVC_COLUMNS.values())
    # Curves that coincide are told apart by a small step to the side.
    steps = dict(zip(METHODS, np.geomspace(0.88, 1 / 0.88, len(METHODS)), strict=True))

    def draw(axis, method, means, bars):
        space = method.removesuffix(" permuted")
        permuted = method != space
        axis.errorbar(
            np.array(values) * steps[method],
            means,
            bars,
            label=method,
            color=colours[space],
            linestyle="--" if permuted else "-",
            marker="o",
            markerfacecolor="white" if permuted else colours[space],
            capsize=2,
        )

    printed = PRINTED["breast cancer"]
    n_printed = PRINTED_TRIALS["breast cancer"]
    for method, cells in printed.items():
        means, spreads = zip(*cells, strict=True)
        draw(axes[0], method, means, np.array(spreads) / math.sqrt(n_printed))
    axes[0].set_title("printed in the paper (Figure 3, Table 9)")
    titles = ["paper's protocol, run again", "sound protocol"]
    variants = [("paper", "published", "all trials"), ("sound", "ridge", None)]
    for axis, title, variant in zip(axes[1:], titles, variants, strict=True):
        trials = per_trial(select(errors, *variant))
        for method in METHODS:
            cells = [
                mean_and_standard_error(trials.loc[(column, method)])
                for column in SVC_COLUMNS
            ]
            draw(axis, method, *zip(*cells, strict=True))
        axis.set_title(title)
    constant = {"color": "0.6", "linestyle": ":", "zorder": 0}
    constant["label"] = "always the target's larger class"
    for axis in axes:
        axis.set(xscale="log", xlabel="C of the SVC", ylim=(0, None))
        axis.axhline(errors["constant_error"].mean(), **constant)
    axes[0].set_ylabel("error on the target")
    axes[1].legend(loc="lower left", fontsize="small")
    figure.suptitle(
        "Breast cancer Wisconsin, kernel mean matching; bars: standard error"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


# The command line.


def check_settings(folder, settings):
    """Refuse to mix trials of other settings with those of this run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "settings.json"
    if not path.exists():
        path.write_text(json.dumps(settings) + "\n")
    elif (found := json.loads(path.read_text())) != settings:
        raise SystemExit(
            f"{folder} holds trials of other settings, {found}: use another --out or "
            "delete that folder."
        )


def run_all(draws, n_trials, settings, folder, n_jobs):
    """Run what is not there yet, then read all trials asked for."""
    check_settings(folder, settings)
    paths = Parallel(n_jobs=n_jobs)(
        delayed(run_trial)(experiment, trial, draw, settings, folder)
        for experiment, draw in draws.items()
        for trial in range(n_trials[experiment])
    )
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def parse_args(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="breast-cancer-wisconsin.data of the UCI repository; fetched from OpenML "
        "if not given",
    )
    parser.add_argument("--trials", type=int, default=30, help="of breast cancer")
    parser.add_argument("--mixture-trials", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("results/featurized"))
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two trials and few settings, to see that it runs",
    )
    return parser.parse_args(arguments)


def main(arguments=None):
    args = parse_args(arguments)
    settings = QUICK_SETTINGS if args.quick else SETTINGS
    n_trials = {"breast cancer": args.trials, "mixture": args.mixture_trials}
    if args.quick:
        n_trials = dict.fromkeys(n_trials, 2)
    draws = {
        "breast cancer": partial(draw_breast_cancer, path=args.data),
        "mixture": draw_mixture,
    }
    name = "domain_adaptation_quick" if args.quick else "domain_adaptation"
    errors = run_all(draws, n_trials, settings, args.out / name, args.jobs)
    text, chosen = report(errors)
    print(text)
    (args.out / f"{name}.md").write_text(text + "\n")
    chosen.to_csv(args.out / f"{name}.csv", index=False)
    plot(errors, args.out / f"{name}.png")
    print(f"\nWritten to {args.out}: {name}.md, {name}.csv, {name}.png")


if __name__ == "__main__":
    main()
