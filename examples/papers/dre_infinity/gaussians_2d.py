"""Two Gaussians in the plane, 5.7 standard deviations apart: Figures 2, 4 and 7.

    python examples/papers/dre_infinity/gaussians_2d.py --out results/dre_infinity

N((4, 4), I) is the numerator and N(0, I) the denominator, 10,000 rows of each. The log
ratio is judged at 10,000 new rows of each (Figures 2 and 7), and at 10,000 rows of
N(0, I) and of N((5, 5), I), "half the samples shifted by 1" (Figure 4). A finished run
stands in gaussians_2d.csv and is not run again.
"""

import time
from functools import partial

import numpy as np
from _runs import (
    HERE,
    ROOT,
    Runs,
    argument_parser,
    fit_timed,
    markdown,
    mean_and_error,
    replace_block,
    squared_error,
)

import skdre
from skdre.datasets import make_known_ratio

PROBLEM = "far_gaussians_d2"
ROWS = 10_000
EVALUATIONS = ("same", "shifted")


def _time_score(params, seed):
    return skdre.TimeScoreRatio(**params, random_state=seed)


METHODS = {
    "one classifier (NCE)": lambda seed: skdre.MLPRatio(random_state=seed),
    "TRE(4)": lambda seed: skdre.TelescopingRatio(n_bridges=4, random_state=seed),
    "TRE(9)": lambda seed: skdre.TelescopingRatio(n_bridges=9, random_state=seed),
    "MDRE(4)": lambda seed: skdre.MultinomialRatio(n_bridges=4, random_state=seed),
    **{
        name: partial(_time_score, params)
        for name, params in {
            "time score, network alone": {"base_score": None},
            "time score, as in the paper": {
                "base_score": None,
                "path": "vpsde",
                "center": False,
            },
            "joint, network alone": {"objective": "joint", "base_score": None},
            "joint, pathwise, network alone": {
                "objective": "joint",
                "base_score": None,
                "n_anchors": 4,
            },
            "time score": {},
            "joint": {"objective": "joint"},
            "joint, pathwise": {"objective": "joint", "n_anchors": 4},
            "CTSM, bridge": {"objective": "ctsm", "path": "bridge"},
        }.items()
    },
    "Gaussian plug-in": lambda seed: skdre.GaussianRatio(),
}
# Mean squared errors of Figures 2 and 7, and of Figure 4. That the last is pathwise is
# said in the paper's text only (section 6.1, appendix F.1).
PRINTED = {
    "one classifier (NCE)": (952.8, None),
    "TRE(4)": (1.1, 2.8),
    "TRE(9)": (0.63, 1.8),
    "time score, as in the paper": (0.58, 1.0),
    "joint, pathwise, network alone": (0.35, 0.6),
}

# In the picture.
SHOWN = (
    "one classifier (NCE)",
    "TRE(4)",
    "TRE(9)",
    "time score, as in the paper",
    "joint, pathwise, network alone",
    "time score",
    "Gaussian plug-in",
)

KEYS = ["method", "seed"]
RESULTS = ["error_same", "error_shifted", "fit_seconds", "predict_seconds"]


def evaluation_rows(seed, rows=ROWS):
    """New rows of both samples, and the same with the numerator's moved by 1."""
    shift = make_known_ratio(PROBLEM, rows, random_state=100_000 + seed)
    X_same, y = shift.pool()
    X_shifted = X_same + y[:, None]
    return {
        name: (X, shift.log_ratio(X))
        for name, X in zip(EVALUATIONS, (X_same, X_shifted), strict=True)
    }


def run(method, seed, *, rows=ROWS, max_iter=None):
    """Fit a method; its results, and the log ratios at each set of rows."""
    shift = make_known_ratio(PROBLEM, rows, random_state=seed)
    model = METHODS[method](seed)
    if max_iter is not None and "max_iter" in model.get_params():
        model.set_params(max_iter=max_iter)
    result = {"method": method, "seed": seed}
    result["fit_seconds"] = fit_timed(model, *shift.pool())
    log_ratios = {}
    start = time.process_time()
    for name, (X, truth) in evaluation_rows(seed, rows).items():
        log_ratios[name] = model.decision_function(X)
        result[f"error_{name}"] = squared_error(log_ratios[name], truth)
    result["predict_seconds"] = (time.process_time() - start) / len(EVALUATIONS)
    return result, log_ratios


def report(runs):
    """A line for each method, beside the paper's."""
    lines = []
    for method in METHODS:
        of_method = runs[runs["method"] == method]
        if of_method.empty:
            continue
        printed = PRINTED.get(method, (None, None))
        line = {"method": method, "seeds": len(of_method)}
        for name, paper in zip(EVALUATIONS, printed, strict=True):
            line[name] = mean_and_error(of_method[f"error_{name}"])
            line[f"paper_{name}"] = paper
        line["fit"] = of_method["fit_seconds"].mean()
        line["predict"] = of_method["predict_seconds"].mean()
        lines.append(line)
    headings = {
        "method": ("method", "{}"),
        "same": ("new rows", "{}"),
        "paper_same": ("paper, Figures 2 and 7", "{:g}"),
        "shifted": ("numerator's rows moved by 1", "{}"),
        "paper_shifted": ("paper, Figure 4", "{:g}"),
        "fit": ("seconds to fit", "{:.2g}"),
        "predict": ("to predict 20,000 rows", "{:.2g}"),
        "seeds": ("seeds", "{}"),
    }
    return markdown(lines, headings)


def plot(folder, seed, path, rows=ROWS):
    """Histograms as in the paper's figures, and the estimates over the truth."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    stored = {
        method: np.load(prediction_file(folder, method, seed))
        for method in SHOWN
        if prediction_file(folder, method, seed).exists()
    }
    truth = {name: true for name, (_, true) in evaluation_rows(seed, rows).items()}
    figure, axes = plt.subplots(
        3,
        len(stored),
        figsize=(2.2 * len(stored), 6.5),
        squeeze=False,
        sharex="row",
        sharey="row",
        layout="constrained",
    )
    span = 1.1 * np.abs(truth["shifted"]).max()
    bins = np.linspace(-span, span, 60)
    for column, (method, log_ratios) in zip(axes.T, stored.items(), strict=True):
        column[0].set_title(method.replace(", ", ",\n"), fontsize=9)
        for ax, name in zip(column[:2], EVALUATIONS, strict=True):
            # All that lies beyond the axis is counted in the last bar.
            estimate = np.clip(log_ratios[name], -span, span)
            ax.hist(truth[name], bins, color="0.75", label="truth")
            ax.hist(estimate, bins, histtype="step", color="tab:red", label="estimate")
            ax.set_yticks([])
        column[2].plot([-span, span], [-span, span], color="0.75")
        estimate = np.clip(log_ratios["shifted"], -span, span)
        column[2].plot(truth["shifted"][::10], estimate[::10], ",", color="tab:red")
        column[2].set(xlabel="log ratio", aspect=1)
    axes[0, 0].set_ylabel("new rows")
    axes[1, 0].set_ylabel("moved by 1")
    axes[2, 0].set_ylabel("estimate over truth,\nmoved by 1")
    axes[0, 0].legend(fontsize=7, loc="upper center", frameon=False)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def prediction_file(folder, method, seed):
    name = "".join(letter if letter.isalnum() else "_" for letter in method)
    return folder / f"{name}_{seed}.npz"


def parse_args(arguments=None):
    parser = argument_parser(__doc__, seeds=5)
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), choices=list(METHODS)
    )
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_args(arguments)
    name, rows, max_iter = "gaussians_2d", ROWS, None
    if options.quick:
        # In a file of their own: quick runs are no results.
        name, rows, max_iter = "gaussians_2d_quick", 200, 30
        options.seeds = options.seeds[:1]
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    predictions = options.out / f"{name}_log_ratios"
    predictions.mkdir(parents=True, exist_ok=True)
    for method in options.methods:
        for seed in options.seeds:
            if {"method": method, "seed": seed} in runs:
                continue
            result, log_ratios = run(method, seed, rows=rows, max_iter=max_iter)
            np.savez(prediction_file(predictions, method, seed), **log_ratios)
            runs.add(result)
    text = report(runs.frame())
    print(text)
    picture = options.out / f"{name}.png"
    if options.write_doc and not options.quick:
        replace_block(HERE / "README.md", "gaussians-2d", text)
        picture = ROOT / "doc" / "images" / "dre_infinity_gaussians_2d.png"
    plot(predictions, options.seeds[0], picture, rows)


if __name__ == "__main__":
    main()
