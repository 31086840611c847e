"""What the domain-adaptation experiments of this folder share.

The draws, one trial's pieces, and the way from trials to tables and curves.
"""

import json
import math
import warnings

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

from skdre import FlowFeaturizer
from skdre.datasets import load_breast_cancer_wisconsin
from skdre.weighting import effective_sample_size

METHODS = [
    "unweighted",
    "IW(x)",
    "IW(x) permuted",
    "IW(z)",
    "IW(z) permuted",
    "IW(true)",
]
BY_VALIDATION = "C by IWCV"
SVC_COLUMNS = {f"C={C:g}": C for C in (0.1, 1, 10, 100)}
SVCS = {name: SVC(gamma=0.1, C=C, cache_size=50) for name, C in SVC_COLUMNS.items()}
LOGISTIC = {"test error": LogisticRegression()}


# The draws. Each returns X_source, y_source, X_target, y_target.


def split_by_probability(probability, rng, *, target_fraction=0.75):
    """Positions of the source's rows and of the target's.

    The target is drawn at random; of the other rows, each is in the source with the
    probability given for it.
    """
    order = rng.permutation(probability.size)
    n_target = round(target_fraction * probability.size)
    target, rest = order[:n_target], order[n_target:]
    return rest[rng.random(rest.size) < probability[rest]], target


def split_by_label(y, rng, *, target_fraction=0.75, keep=(0.1, 0.9)):
    """As above, a row of label k with probability keep[k] (Appendix D.2)."""
    probability = np.asarray(keep)[y]
    return split_by_probability(probability, rng, target_fraction=target_fraction)


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


def error_rows(labels, weights, classifiers, source, target):
    """One row for each classifier."""
    size = effective_sample_size(weights)
    for name, classifier in classifiers.items():
        error = weighted_error(classifier, source, target, weights)
        yield {**labels, "classifier": name, "error": error, "effective_size": size}


def with_permutations(method, labels, weights, shuffles):
    """The weights, then the same permuted, each with its labels."""
    yield {**labels, "method": method, "permutation": 0}, weights
    for number, order in enumerate(shuffles):
        control = {"method": f"{method} permuted", "permutation": number}
        yield {**labels, **control}, weights[order]


def run_trial(protocols, experiment, trial, draw, settings, folder):
    """Compute a trial under all protocols, unless its file is there already."""
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
        for run in protocols
        for row in run(experiment, trial, drawn, settings)
    ]
    # Renamed when whole, so that a file cut short is never taken for a trial.
    unfinished = path.with_suffix(".part")
    pd.DataFrame(rows).to_csv(unfinished, index=False)
    unfinished.replace(path)
    print(f"{experiment}, trial {trial}: done", flush=True)
    return path


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


def run_all(protocols, draws, n_trials, settings, folder, n_jobs):
    """Run what is not there yet, then read all trials asked for."""
    check_settings(folder, settings)
    paths = Parallel(n_jobs=n_jobs)(
        delayed(run_trial)(protocols, experiment, trial, draw, settings, folder)
        for experiment, draw in draws.items()
        for trial in range(n_trials[experiment])
    )
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


# From all trials to the tables.


def per_trial(errors):
    """One error for each trial and method, the mean over a control's permutations."""
    keys = ["classifier", "method", "trial"]
    return errors.groupby(keys, sort=False)["error"].mean().unstack("trial")


def mean_and_standard_error(values):
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def methods_in(errors):
    """In the order of the tables."""
    return [method for method in METHODS if (errors["method"] == method).any()]


def error_table(errors, printed):
    """Rows of cells: mean ± standard deviation (standard error), the paper's beside.

    The standard deviation is over single runs, so that a control, which has several
    runs a trial, can be compared with the rest; the standard error is of the mean over
    trials.
    """
    trials = per_trial(errors)
    columns = list(dict.fromkeys(errors["classifier"]))
    rows = [["method", *columns]]
    for method in methods_in(errors):
        row = [method]
        for column in columns:
            runs = errors[(errors.method == method) & (errors.classifier == column)]
            mean, se = mean_and_standard_error(trials.loc[(column, method)])
            row.append(f"{mean:.3f} ± {runs.error.std(ddof=1):.3f} ({se:.3f})")
        rows.append(row)
    for method, values in printed.items():
        cells = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in values]
        cells += [""] * (len(columns) - len(cells))
        rows.append([f"paper: {method}", *cells])
    return rows


def difference_table(errors):
    """Rows of cells: paired difference of the error ± standard error; < 0 is a gain."""
    trials = per_trial(errors)
    columns = list(dict.fromkeys(errors["classifier"]))
    methods = methods_in(errors)
    pairs = [(method, "unweighted") for method in methods[1:]]
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


def standard_error_check(printed, n_trials):
    """Whether the printed spreads can be standard errors.

    An error rate lies in [0, 1], so the standard deviation of n of them is at most
    sqrt(m (1 - m) n / (n - 1)) at mean m, and their standard error that / sqrt(n).
    """
    cells = [cell for row in printed.values() for cell in row]
    possible = [math.sqrt(m * (1 - m) / (n_trials - 1)) for m, _ in cells]
    too_large = sum(
        spread > limit for (_, spread), limit in zip(cells, possible, strict=True)
    )
    return (
        f"{too_large} of the {len(cells)} spreads that the paper prints as standard "
        f"errors over {n_trials} runs are larger than any standard error of an error "
        "rate can be."
    )


def draw_curves(axes, printed, n_printed, reruns, constant_error):
    """Error against C of the SVC: as printed, then as each of the reruns has it.

    Parameters
    ----------
    axes : sequence of 1 + len(reruns) Axes
    printed : dict of str to list of (float, float)
        Means and spreads, which are drawn as standard deviations over `n_printed` runs.
    reruns : list of DataFrame
        Errors, a row for each trial, method, permutation and classifier.
    constant_error : float
        Error of the target's larger class for every row.
    """
    colours = {
        "unweighted": "0.3",
        "IW(x)": "tab:blue",
        "IW(z)": "tab:red",
        "IW(true)": "tab:green",
    }
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

    for method, cells in printed.items():
        means, spreads = zip(*cells, strict=True)
        draw(axes[0], method, means, np.array(spreads) / math.sqrt(n_printed))
    for axis, errors in zip(axes[1:], reruns, strict=True):
        trials = per_trial(errors)
        for method in methods_in(errors):
            cells = [
                mean_and_standard_error(trials.loc[(column, method)])
                for column in SVC_COLUMNS
            ]
            draw(axis, method, *zip(*cells, strict=True))
    constant = {"color": "0.6", "linestyle": ":", "zorder": 0}
    constant["label"] = "always the target's larger class"
    for axis in axes:
        axis.set(xscale="log", xlabel="C of the SVC")
        axis.axhline(constant_error, **constant)
