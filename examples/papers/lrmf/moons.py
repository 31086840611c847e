"""Aligning blobs and moons: Figures 8, 9 and 10, beside other methods.

    python examples/papers/lrmf/moons.py --out results/lrmf

The target is two moons of noise .05, 2,000 rows; the source are other moons, turned by
50 degrees. A classifier is trained on the target's rows and labels and tested on moved
rows of the source. A finished run stands in moons.csv and is not run again.
"""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

sys.path.append(str(Path(__file__).resolve().parents[1] / "dre_infinity"))

import _alternatives
from _runs import (
    ROOT,
    Runs,
    argument_parser,
    markdown,
    mean_and_error,
    replace_block,
)
from skorch.callbacks import Callback
from zuko.flows import Flow

from skdre import LikelihoodRatioAligner, pool
from skdre.flows._gaussian import GaussianFlow
from skdre.flows._transforms import Continuous, standard_normal

HERE = Path(__file__).resolve().parent
OUT = Path("results/lrmf")
ROWS = 2000
DEGREES = 50


def turned(X, degrees=DEGREES):
    a = np.deg2rad(degrees)
    return X @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def moons(seed, rows=ROWS):
    """Source and target, each with its labels."""
    source, source_labels = make_moons(rows, noise=0.05, random_state=1000 + seed)
    target, target_labels = make_moons(rows, noise=0.05, random_state=seed)
    return (turned(source), source_labels), (target, target_labels)


def blobs(seed, rows=ROWS):
    """Two Gaussians; the paper's parameters are not in its text."""
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(rows, 2)) @ [[1.0, 0.8], [0.0, 0.5]] + [-2.0, 1.0]
    target = rng.normal(size=(rows, 2)) @ [[0.5, -0.6], [0.0, 1.0]] + [2.0, -1.0]
    return (source, np.zeros(rows)), (target, np.zeros(rows))


def _affine_flow(n_features):
    return GaussianFlow(n_features)


def _continuous(n_features):
    """One hidden layer of 64 units moves faster than the paper's three of 16.

    A tolerance of .01 halves the seconds, until :class:`Finer` makes it smaller.
    """
    field = Continuous(n_features, (64,), tolerance=0.01)
    return Flow(field, standard_normal(n_features))


class Finer(Callback):
    """Solve the differential equation of a map finely from two thirds of the steps on.

    What is fitted is solved to 1e-7. A map that is trained to its end with coarse
    steps is another one then, up to a tenth of a standard deviation away.
    """

    def __init__(self, tolerance=0.001):
        self.tolerance = tolerance

    def on_epoch_begin(self, net, **kwargs):
        if 3 * len(net.history) > 2 * net.max_epochs:
            net.module_.transform.transform.tolerance = self.tolerance


LRMF = {
    "LRMF, affine, Gaussian family, closed form": {},
    "LRMF, affine, Gaussian family, trained": {
        "flow": _affine_flow,
        "max_iter": 500,
        "learning_rate": 0.02,
    },
    "LRMF, RealNVP": {"flow": "realnvp", "density": "realnvp"},
    "LRMF, FFJORD map, RealNVP family": {
        "flow": _continuous,
        "density": "realnvp",
        # A map that is slow to move must not be outrun by the shared density: with
        # fewer steps that has fewer before it, 120 in place of 200.
        "max_iter": 600,
        "learning_rate": 0.01,
        "callbacks": [Finer()],
    },
}


def lrmf(params, source, target, seed, callbacks=()):
    params = params | {"callbacks": [*params.get("callbacks", ()), *callbacks]}
    aligner = LikelihoodRatioAligner(**params, random_state=seed)
    return aligner.fit(*pool(numerator=target, denominator=source))


OTHERS = {
    "nothing": lambda source, target, seed: lambda X: X,
    "CORAL": _alternatives.coral,
    "optimal transport (POT)": _alternatives.transport,
    "back-to-back RealNVP": _alternatives.back_to_back,
    "RealNVP that minimises the MMD": _alternatives.mmd_map,
}
METHODS = (*OTHERS, *LRMF)

KEYS = ["method", "seed"]
RESULTS = [
    "accuracy",
    "accuracy_new",
    "domain_auc",
    "gaussian_ratio",
    "log_likelihood_ratio",
    "converged",
    "seconds",
]


_TRAINED = LRMF["LRMF, affine, Gaussian family, trained"]
PICTURES = {
    "moons": [
        ("affine, blobs", blobs, _TRAINED),
        ("affine, moons", moons, _TRAINED),
        ("RealNVP, moons", moons, LRMF["LRMF, RealNVP"]),
    ],
    "ffjord": [("FFJORD map, moons", moons, LRMF["LRMF, FFJORD map, RealNVP family"])],
}


class Watch(Callback):
    """Keeps states of the map and of the shared density as the training goes on."""

    def __init__(self):
        self.states = []

    def on_epoch_end(self, net, **kwargs):
        self.states.append({k: v.clone() for k, v in net.average_.items()})


def evaluate(move, seed, rows):
    """Label transfer at training rows and new ones, and what tells the domains."""
    (source, labels), (target, target_labels) = moons(seed, rows)
    (new, new_labels), (new_target, _) = moons(500 + seed, rows)
    classifier = SVC(gamma=2, C=10).fit(target, target_labels)
    moved = move(new)
    X, y = pool(numerator=new_target, denominator=moved)
    order = np.random.default_rng(seed).permutation(len(y))
    auc = cross_val_score(
        KNeighborsClassifier(30), X[order], y[order], scoring="roc_auc", cv=4
    )
    affine = LikelihoodRatioAligner().fit(X, y)
    return {
        "accuracy": classifier.score(move(source), labels),
        "accuracy_new": classifier.score(moved, new_labels),
        "domain_auc": auc.mean(),
        "gaussian_ratio": affine.initial_log_likelihood_ratio_,
    }


def run(method, seed, *, rows=ROWS, max_iter=None):
    (source, _), (target, _) = moons(seed, rows)
    start = time.process_time()
    result = {"method": method, "seed": seed}
    with warnings.catch_warnings():
        # What the warning says stands in the table.
        warnings.simplefilter("ignore")
        if method in LRMF:
            params = LRMF[method] | ({"max_iter": max_iter} if max_iter else {})
            fitted = lrmf(params, source, target, seed)
            result["log_likelihood_ratio"] = fitted.log_likelihood_ratio_
            result["converged"] = int(fitted.converged_)
            move = fitted.transform
        else:
            if max_iter and method in ("RealNVP that minimises the MMD",):
                move = _alternatives.mmd_map(source, target, seed, max_epochs=1)
            else:
                move = OTHERS[method](source, target, seed)
            result |= dict.fromkeys(("log_likelihood_ratio", "converged"), np.nan)
        result["seconds"] = time.process_time() - start
        return result | evaluate(move, seed, rows)


def report(runs):
    lines = []
    for method in METHODS:
        found = runs[runs["method"] == method]
        if found.empty:
            continue
        line = {"method": method, "seeds": len(found)}
        for name in RESULTS[:5]:
            line[name] = (
                mean_and_error(found[name]) if found[name].notna().all() else ""
            )
        line["converged"] = (
            f"{found['converged'].sum():.0f}"
            if found["converged"].notna().all()
            else ""
        )
        # POT works in a process of its own, whose seconds are not counted.
        is_apart = method == "optimal transport (POT)"
        line["seconds"] = "" if is_apart else f"{found['seconds'].mean():.2g}"
        lines.append(line)
    headings = {
        "method": ("source's rows moved by", "{}"),
        "accuracy": ("label transfer", "{}"),
        "accuracy_new": ("at new rows", "{}"),
        "domain_auc": ("AUC of the domain", "{}"),
        "gaussian_ratio": ("Gaussian log-likelihood ratio", "{}"),
        "log_likelihood_ratio": ("its own", "{}"),
        "converged": ("converged", "{}"),
        "seconds": ("seconds", "{}"),
        "seeds": ("seeds", "{}"),
    }
    return markdown(lines, headings)


def ellipse(ax, X, color):
    """Three standard deviations around the mean."""
    circle = np.stack([f(np.linspace(0, 2 * np.pi, 100)) for f in (np.cos, np.sin)])
    root = np.linalg.cholesky(np.cov(X.T))
    ax.plot(*(X.mean(axis=0)[:, None] + 3 * root @ circle), color=color)


def at_state(aligner, state):
    """The aligner with the map of an earlier state of the training."""
    import copy

    import torch

    early = copy.deepcopy(aligner)
    kept = {
        name.removeprefix("transform."): value.double()
        for name, value in state.items()
        if name.startswith("transform.")
    }
    with torch.no_grad():
        early.flow_.load_state_dict(kept)
    return early


def plot(path, rows, max_iter, names):
    """Lines of panels: the evolution, the loss, and for flows the vector field."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(names),
        6,
        figsize=(15, 2.6 * len(names)),
        squeeze=False,
        layout="constrained",
    )
    for line, (title, problem, params) in zip(axes, names, strict=True):
        (source, labels), (target, _) = problem(0, rows)
        watch = Watch()
        params = params | ({"max_iter": max_iter} if max_iter else {})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            aligner = lrmf(params, source, target, 0, callbacks=[watch])
        n = len(watch.states)
        colors = np.where(labels == 1, "darkcyan", "cyan")
        for ax, k in zip(line[:4], (0, n // 8, n // 3, n - 1), strict=True):
            moved = at_state(aligner, watch.states[k]).transform(source)
            ax.scatter(*source.T, s=1, color="tab:blue", alpha=0.3)
            ax.scatter(*target.T, s=1, color="tab:red", alpha=0.3)
            ax.scatter(*moved.T, s=1, color=colors)
            for X, color in ((source, "tab:blue"), (target, "tab:red"), (moved, "c")):
                ellipse(ax, X, color)
            ax.set(title=f"step {25 * (k + 1)}", xticks=[], yticks=[], aspect="equal")
        line[0].set_ylabel(title)
        losses = aligner.loss_curve_
        line[4].plot(25 * np.arange(1, len(losses) + 1), losses)
        # From here on the densities are trained, and the map rests.
        line[4].axvline(25 * n, color="grey", lw=0.5)
        line[4].axhline(0, color="tab:red")
        line[4].set(title=f"log-likelihood ratio, {aligner.log_likelihood_ratio_:.2g}")
        both = np.concatenate([source, target])
        low, high = both.min(axis=0) - 0.3, both.max(axis=0) + 0.3
        grid = np.stack(
            np.meshgrid(
                *(np.linspace(a, b, 20) for a, b in zip(low, high, strict=True))
            ),
            axis=-1,
        ).reshape(-1, 2)
        step = aligner.transform(grid) - grid
        line[5].scatter(*source.T, s=1, color="tab:blue", alpha=0.3)
        line[5].scatter(*target.T, s=1, color="tab:red", alpha=0.3)
        line[5].quiver(
            *grid.T, *step.T, np.hypot(*step.T), angles="xy", scale_units="xy", scale=2
        )
        line[5].set(title="T(x) - x, halved", xticks=[], yticks=[], aspect="equal")
        line[5].set_xlim(low[0], high[0])
        line[5].set_ylim(low[1], high[1])
    figure.savefig(path, dpi=75)
    plt.close(figure)


def main(arguments=None):
    parser = argument_parser(__doc__, seeds=5)
    parser.set_defaults(out=OUT)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--pictures", nargs="*", default=PICTURES, choices=PICTURES)
    options = parser.parse_args(arguments)
    name, rows, max_iter = "moons", ROWS, None
    if options.quick:
        # In a file of their own: quick runs are no results.
        name, rows, max_iter = "moons_quick", 200, 25
        options.seeds = options.seeds[:1]
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    for seed in options.seeds:
        for method in options.methods:
            if {"method": method, "seed": seed} not in runs:
                runs.add(run(method, seed, rows=rows, max_iter=max_iter))
    text = report(runs.frame())
    print(text)
    folder = options.out
    if options.write_doc and not options.quick:
        replace_block(HERE / "README.md", "moons", text)
        folder = ROOT / "doc" / "images"
    for picture in options.pictures:
        path = folder / f"lrmf_{picture}.png"
        plot(path, rows, max_iter, PICTURES[picture])


if __name__ == "__main__":
    main()
