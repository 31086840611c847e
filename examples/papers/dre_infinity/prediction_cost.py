"""What a prediction costs: appendix F.4.

    python examples/papers/dre_infinity/prediction_cost.py --out results/dre_infinity

A fitted TimeScoreRatio predicts with Gauss-Legendre of several numbers of nodes and
with RK45 of several tolerances, TelescopingRatio with several numbers of bridges.
Counted are the rows that go through a network for each row predicted, and processor
seconds; the error of an integral is its distance from one with 256 nodes. Finished runs
stand in prediction_cost.csv and are not run again.
"""

import time
import warnings

import numpy as np
from _runs import HERE, ROOT, Runs, argument_parser, fit_timed, markdown, replace_block

import skdre
from skdre.datasets import make_known_ratio
from skdre.time_score import RK45, GaussLegendre

PROBLEMS = ("far_gaussians_d2", "far_moons", "mixture_d10")
ROWS = 10_000
# Rows of a prediction: the paper's batch, and many.
FEW, MANY = 100, 10_000

NODES = (4, 8, 16, 32)
TOLERANCES = (1e-2, 1e-3, 1e-5)
BRIDGES = (4, 9)
REFERENCE_NODES = 256

KEYS = ["problem", "seed", "prediction"]
RESULTS = ["evaluations", "seconds_few", "seconds_many", "error", "largest_error"]


def time_score_predictions():
    """Names of the predictions of one fitted model, and their integrators."""
    return {f"Gauss-Legendre, {n} nodes": GaussLegendre(n) for n in NODES} | {
        f"RK45, tolerance {tol:g}": RK45(tol) for tol in TOLERANCES
    }


class _Counter:
    """Counts the rows that go through a network."""

    def __init__(self, network):
        self.rows = 0
        self.handle = network.register_forward_pre_hook(self._count)

    def _count(self, _, arguments):
        self.rows += len(arguments[0])


def predict_timed(model, X, **params):
    """Log ratios, rows through the network for each row of X, and seconds."""
    counter = _Counter(model.network_)
    start = time.process_time()
    with warnings.catch_warnings():
        # That few nodes are not accurate is what is measured.
        warnings.simplefilter("ignore")
        log_ratio = model.decision_function(X, **params)
    seconds = time.process_time() - start
    counter.handle.remove()
    return log_ratio, counter.rows / len(X), seconds


def measure(model, X_few, X_many, **params):
    """The results of one prediction; `X_many` is None where that takes too long."""
    log_ratio, evaluations, seconds = predict_timed(model, X_few, **params)
    result = {"evaluations": evaluations, "seconds_few": seconds}
    if X_many is not None:
        _, result["evaluations"], result["seconds_many"] = predict_timed(
            model, X_many, **params
        )
    return log_ratio, result


def draw(problem, seed, rows):
    """Rows in equal parts of both samples, in any order."""
    X, _ = make_known_ratio(problem, rows // 2, random_state=100_000 + seed).pool()
    return np.random.default_rng(seed).permutation(X)


def run(problem, seed, *, rows=ROWS, many=MANY, max_iter=None):
    """Fit all models of one problem and seed; yield the results of each prediction."""
    steps = {} if max_iter is None else {"max_iter": max_iter}
    shift = make_known_ratio(problem, rows, random_state=seed)
    X_few, X_many = draw(problem, seed, FEW), draw(problem, seed, many)
    key = {"problem": problem, "seed": seed}

    model = skdre.TimeScoreRatio(random_state=seed, **steps)
    fit_timed(model, *shift.pool())
    reference, _, _ = predict_timed(
        model, X_few, integrator=GaussLegendre(REFERENCE_NODES)
    )
    for name, integrator in time_score_predictions().items():
        # RK45 goes row by row.
        many_rows = None if isinstance(integrator, RK45) else X_many
        log_ratio, result = measure(model, X_few, many_rows, integrator=integrator)
        error = np.abs(log_ratio - reference)
        result["error"] = np.sqrt(np.mean(error**2))
        result["largest_error"] = error.max()
        yield {**key, "prediction": name, **result}

    for n_bridges in BRIDGES:
        model = skdre.TelescopingRatio(n_bridges=n_bridges, random_state=seed, **steps)
        fit_timed(model, *shift.pool())
        _, result = measure(model, X_few, X_many)
        yield {**key, "prediction": f"TRE({n_bridges})", **result}


def report(runs):
    """A line for each prediction and problem, means over the seeds."""
    lines = []
    for (problem, name), each in runs.groupby(["problem", "prediction"], sort=False):
        mean = each.drop(columns=["problem", "prediction"]).mean()
        line = {"problem": problem, "prediction": name, **mean.dropna()}
        line["seeds"] = len(each)
        lines.append(line)
    headings = {
        "problem": ("problem", "{}"),
        "prediction": ("prediction", "{}"),
        "evaluations": ("evaluations a row", "{:.3g}"),
        "error": ("error of the integral, root mean square", "{:.1e}"),
        "largest_error": ("largest", "{:.1e}"),
        "seconds_few": (f"seconds, {FEW} rows", "{:.2g}"),
        "seconds_many": (f"seconds, {MANY:,} rows", "{:.2g}"),
        "seeds": ("seeds", "{}"),
    }
    return markdown(lines, headings)


def plot(runs, path):
    """Error of the integral over its evaluations."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    problems = list(dict.fromkeys(runs["problem"]))
    figure, axes = plt.subplots(
        1,
        len(problems),
        figsize=(3.4 * len(problems), 3.2),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for ax, problem in zip(axes[0], problems, strict=True):
        of_problem = runs[(runs["problem"] == problem) & runs["error"].notna()]
        for family, color in (("Gauss-Legendre", "tab:blue"), ("RK45", "tab:red")):
            these = of_problem[of_problem["prediction"].str.startswith(family)]
            # Below 1e-12 an error is that of adding up.
            error = these["error"].clip(lower=1e-12)
            ax.loglog(these["evaluations"], error, "o", color=color, label=family)
        ax.set(title=problem, xlabel="evaluations a row")
        ax.grid(color="0.9")
        ax.set_xticks([5, 10, 20, 50, 100, 200], [5, 10, 20, 50, 100, 200])
        ax.minorticks_off()
    axes[0, 0].set_ylabel("error of the integral (nats)")
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def parse_args(arguments=None):
    parser = argument_parser(__doc__, seeds=3)
    parser.add_argument(
        "--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS)
    )
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_args(arguments)
    name, sizes = "prediction_cost", {}
    if options.quick:
        # In a file of their own: quick runs are no results.
        name, sizes = (
            "prediction_cost_quick",
            {"rows": 200, "many": 200, "max_iter": 20},
        )
        options.seeds, options.problems = options.seeds[:1], options.problems[:1]
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    last = f"TRE({BRIDGES[-1]})"
    for problem in options.problems:
        for seed in options.seeds:
            if {"problem": problem, "seed": seed, "prediction": last} in runs:
                continue
            for result in run(problem, seed, **sizes):
                if result not in runs:
                    runs.add(result)
    finished = runs.frame()
    text = report(finished)
    print(text)
    picture = options.out / f"{name}.png"
    if options.write_doc and not options.quick:
        replace_block(HERE / "README.md", "prediction-cost", text)
        picture = ROOT / "doc" / "images" / "dre_infinity_prediction_cost.png"
    plot(finished, picture)


if __name__ == "__main__":
    main()
