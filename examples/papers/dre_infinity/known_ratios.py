"""Every estimator of the package on problems whose log ratio is known.

    python examples/papers/dre_infinity/known_ratios.py --out results/dre_infinity

The judge is the mean squared error of the log ratio at new rows of both samples, 3,000
of each, estimate and truth clipped at plus and minus 15; and the processor seconds of
the fits. A finished run stands in known_ratios.csv and is not run again, so the script
can be stopped, run in pieces (--problems, --estimators, --sizes, --seeds), and go on
when an estimator is added. The tables are made of all runs in the file.
"""

from functools import partial

import numpy as np
import pandas as pd
from _runs import (
    ROOT,
    Runs,
    argument_parser,
    fit_timed,
    markdown,
    replace_block,
    squared_error,
)
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier

import skdre
from skdre.datasets import known_ratio_problems, make_known_ratio
from skdre.utils import all_estimators

BOUND = 15.0
NEW_ROWS = 3000
SIZES = [1000, 10_000]

ESTIMATORS = {
    "Gaussian": lambda seed: skdre.GaussianRatio(),
    "QDA": lambda seed: skdre.ClassifierRatio(QuadraticDiscriminantAnalysis()),
    "logistic": lambda seed: skdre.ClassifierRatio(),
    "boosting": lambda seed: skdre.ClassifierRatio(
        HistGradientBoostingClassifier(random_state=seed), calibration="sigmoid"
    ),
    "RuLSIF": lambda seed: skdre.LSIFRatio(alpha=0.1, random_state=seed),
    "LSIF": lambda seed: skdre.LSIFRatio(alpha=0, random_state=seed),
    "KLIEP": lambda seed: skdre.KLIEPRatio(random_state=seed),
    "KMM": lambda seed: skdre.KMMRatio(random_state=seed),
    "MLP": lambda seed: skdre.MLPRatio(random_state=seed),
    "TRE": lambda seed: skdre.TelescopingRatio(random_state=seed),
    "MDRE": lambda seed: skdre.MultinomialRatio(random_state=seed),
    "time score": lambda seed: skdre.TimeScoreRatio(random_state=seed),
    "CTSM": lambda seed: skdre.TimeScoreRatio("ctsm", path="bridge", random_state=seed),
    "joint score": lambda seed: skdre.TimeScoreRatio("joint", random_state=seed),
}
# Not an estimator to choose: it chooses among them.
AUTOMATIC = "AutoRatio"


def add_missing(estimators):
    """Add the package's other ratio estimators, as they are and by their own names."""
    present = {type(make(0)) for make in estimators.values()}
    for name, cls in all_estimators():
        # What answers as the estimator does that it is given has no line of its own.
        is_wrapper = cls is skdre.JackknifeRatio
        if is_wrapper or cls in present:
            continue
        if issubclass(cls, skdre.DensityRatioMixin):
            seeded = "random_state" in cls().get_params()
            estimators[name] = partial(_make, cls, seeded)


def _make(cls, seeded, seed):
    return cls(random_state=seed) if seeded else cls()


add_missing(ESTIMATORS)

KEYS = ["problem", "estimator", "rows", "seed"]
RESULTS = ["error", "seconds", "chosen"]


def run(problem, estimator, rows, seed, *, quick=False):
    """Fit one estimator on one sample, and judge it."""
    shift = make_known_ratio(problem, rows, random_state=seed)
    # Seeds of the rows that judge are never those of the rows that fit.
    X_new, _ = make_known_ratio(problem, NEW_ROWS, random_state=100_000 + seed).pool()
    model = ESTIMATORS[estimator](seed)
    if quick and "max_iter" in model.get_params():
        model.set_params(max_iter=30)
    seconds = fit_timed(model, *shift.pool())
    error = squared_error(model.decision_function(X_new), shift.log_ratio(X_new), BOUND)
    return {
        "problem": problem,
        "estimator": estimator,
        "rows": rows,
        "seed": seed,
        "error": error,
        "seconds": seconds,
        "chosen": getattr(model, "choice_", ""),
    }


def error_table(runs):
    """Mean errors, a line for each size and problem, and the seconds of each size.

    A last line for each size is the geometric mean, over the problems, of the error
    divided by the smallest of any single estimator; an error below .002, of which
    nobody has to know, counts as that.
    """
    lines, factors = [], []
    for rows, of_size in runs.groupby("rows"):
        head = {"rows": f"{rows:,}"}
        mean = of_size.pivot_table(index="problem", columns="estimator", values="error")
        mean = mean.reindex(
            index=[name for name in known_ratio_problems() if name in mean.index],
            columns=[name for name in ESTIMATORS if name in mean.columns],
        )
        for problem, errors in mean.iterrows():
            lines.append({**head, "problem": problem, **errors.dropna()})
        floored = mean.clip(lower=0.002)
        best = floored.drop(columns=AUTOMATIC, errors="ignore").min(axis=1)
        factor = floored.div(best, axis=0)
        factors.append(factor.assign(rows=rows))
        complete = factor.columns[factor.notna().all()]
        geometric = np.exp(np.log(factor[complete]).mean())
        lines.append({**head, "problem": "over the best", **geometric})
        seconds = of_size.groupby("estimator")["seconds"].agg(["mean", "max"])
        cells = {
            name: f"{each['mean']:.2g} ({each['max']:.2g})"
            for name, each in seconds.iterrows()
        }
        lines.append({**head, "problem": "seconds, mean (most)", **cells})
        seeds = of_size.groupby("estimator")["seed"].nunique()
        lines.append({**head, "problem": "seeds", **seeds})
    return lines, pd.concat(factors)


def automatic_table(factors):
    """How far the automatic choice is from the best single estimator."""
    lines = []
    for rows, of_size in factors.groupby("rows"):
        others = of_size.drop(columns=[AUTOMATIC, "rows"])
        for problem, factor in of_size[AUTOMATIC].dropna().items():
            lines.append(
                {
                    "rows": f"{rows:,}",
                    "problem": problem,
                    "best": others.loc[problem].idxmin(),
                    "factor": factor,
                }
            )
    return lines


def report(runs):
    """The tables in Markdown."""
    lines, _ = error_table(runs)
    names = [name for name in ESTIMATORS if name in set(runs["estimator"])]
    headings = {"rows": ("rows a side", "{}"), "problem": ("problem", "{}")}
    text = markdown(lines, headings | {name: (name, "{:.2g}") for name in names})
    # Held against the others on the same samples.
    automatic = runs.loc[runs["estimator"] == AUTOMATIC, "seed"]
    if len(automatic):
        _, factors = error_table(runs[runs["seed"].isin(automatic)])
        headings |= {
            "best": ("best single estimator", "{}"),
            "factor": ("automatic, over its error", "{:.2f}"),
        }
        text += "\n\n" + markdown(automatic_table(factors), headings)
    return text


def plot(runs, path):
    """Errors of all estimators, a panel for each size."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    sizes = sorted(runs["rows"].unique())
    names = [name for name in ESTIMATORS if name in set(runs["estimator"])]
    problems = [name for name in known_ratio_problems() if name in set(runs["problem"])]
    figure, axes = plt.subplots(
        len(sizes), 1, figsize=(11, 4 * len(sizes)), squeeze=False, layout="constrained"
    )
    styles = dict(zip(names, plt.get_cmap("tab20").colors, strict=False))
    for ax, rows in zip(axes[:, 0], sizes, strict=True):
        for name in names:
            these = runs[(runs["rows"] == rows) & (runs["estimator"] == name)]
            error = these.groupby("problem")["error"].mean().reindex(problems)
            ax.plot(error.to_numpy(), "o-", color=styles[name], label=name, lw=0.6)
        ax.set_yscale("log")
        ax.set_xticks(range(len(problems)), problems, rotation=40, ha="right")
        ax.set_ylabel(f"mean squared error\n{rows:,} rows a side")
        ax.grid(axis="y", color="0.9")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside right center", frameon=False)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def parse_args(arguments=None):
    parser = argument_parser(__doc__, seeds=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument(
        "--problems",
        nargs="+",
        default=known_ratio_problems("reported"),
        choices=known_ratio_problems(),
        metavar="NAME",
    )
    parser.add_argument(
        "--estimators", nargs="+", default=list(ESTIMATORS), choices=list(ESTIMATORS)
    )
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_args(arguments)
    name = "known_ratios"
    if options.quick:
        # In a file of their own: quick runs are no results.
        name, options.sizes, options.seeds = "known_ratios_quick", [200], [0]
        options.problems = options.problems[-2:]
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    for rows in options.sizes:
        for problem in options.problems:
            for estimator in options.estimators:
                for seed in options.seeds:
                    key = dict(zip(KEYS, (problem, estimator, rows, seed), strict=True))
                    if key in runs:
                        continue
                    runs.add(run(**key, quick=options.quick))
    finished = runs.frame()
    # Problems to tune on are run on demand, and are no results either.
    reported = finished[finished["problem"].isin(known_ratio_problems("reported"))]
    text = report(reported)
    print(text)
    plot(reported, options.out / f"{name}.png")
    if options.write_doc and not options.quick:
        replace_block(ROOT / "doc" / "benchmarks" / "errors.md", "known-ratios", text)
        plot(reported, ROOT / "doc" / "images" / "known_ratios.png")


if __name__ == "__main__":
    main()
