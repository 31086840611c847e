"""Mutual information of Gaussian vectors in up to 320 dimensions: Figure 5.

    python examples/papers/dre_infinity/mutual_information.py --out results/dre_infinity

d is the number of columns of both vectors together; each of the d / 2 columns of one
has a partner in the other of correlation 0.8, as in the code of TRE, and the truth is
-d / 4 log(1 - 0.8^2) = 0.2554 d nats. A ratio is fitted on 100,000 joint rows and as
many with permuted partners, and averaged over 10,000 new joint rows. A finished run
stands in mutual_information.csv and is not run again.
"""

import numpy as np
from _correlated import RESULTS, TEST_ROWS, CorrelatedGaussians, evaluate
from _gaussian_score import GaussianScore
from _runs import (
    HERE,
    ROOT,
    Runs,
    argument_parser,
    markdown,
    mean_and_error,
    replace_block,
)

import skdre

RHO = 0.8
ROWS = 100_000
DIMS = (40, 80, 160, 320)

# Appendix F.2: "{2, 4, 6, 8} bridge distributions".
N_BRIDGES = {40: 2, 80: 4, 160: 6, 320: 8}


def n_bridges(d):
    return N_BRIDGES.get(d, 2)


def quadratic_forms(d, seed):
    """A quadratic form of x for each bridge, as in TRE's code for this experiment.

    They start from those of Gaussian waymarks, which here are the right ones.
    """
    return skdre.TelescopingRatio(
        n_bridges=n_bridges(d),
        head="quadratic",
        hidden_features=(),
        n_estimators=1,
        batch_size=256,
        max_iter=1000,
        random_state=seed,
    )


def remaining_time(t):
    """lambda(t) = 1 - t^2, the weight of appendix F.2."""
    return 1 - t**2


def parametric_score(d, seed, learn_from_time):
    return skdre.TimeScoreRatio(
        "joint",
        # The path of F.2. Its denominator is N(0, I), known but for the moments.
        path="arithmetic",
        denominator="gaussian",
        network=GaussianScore(d, learn_from_time=learn_from_time),
        base_score=None,
        weighting=remaining_time,
        batch_size=1024,
        learning_rate=0.006,
        weight_decay=0.0,
        max_iter=800,
        random_state=seed,
    )


METHODS = {
    "one classifier": lambda d, seed: skdre.MLPRatio(random_state=seed),
    "TRE, networks": lambda d, seed: skdre.TelescopingRatio(
        n_bridges=n_bridges(d), random_state=seed
    ),
    "TRE, quadratic forms": quadratic_forms,
    "time score, network alone": lambda d, seed: skdre.TimeScoreRatio(
        base_score=None, random_state=seed
    ),
    "time score, default": lambda d, seed: skdre.TimeScoreRatio(random_state=seed),
    "parametric score": lambda d, seed: parametric_score(d, seed, False),
    "parametric score, joint": lambda d, seed: parametric_score(d, seed, True),
    "Gaussian plug-in": lambda d, seed: skdre.GaussianRatio(),
}

KEYS = ["method", "d", "seed"]


def run(method, d, seed, *, rows=ROWS, test_rows=TEST_ROWS, max_iter=None):
    """One row of the table."""
    model = METHODS[method](d, seed)
    if max_iter is not None and "max_iter" in model.get_params():
        model.set_params(max_iter=max_iter)
    problem = CorrelatedGaussians(d // 2, RHO)
    result = evaluate(model, problem, seed, rows=rows, test_rows=test_rows)
    return {"method": method, "d": d, "seed": seed} | result


def per_cent(frame):
    """How far the estimates are off the truth, at the same rows."""
    return 100 * (frame["estimate"] / frame["true_mean"] - 1)


def report(runs):
    """Estimates in nats by dimension; then errors, in per cent and of the log ratio."""
    dims = sorted(runs["d"].unique())
    tables = []
    for heading, cell in (
        ("estimate, nats", lambda each: mean_and_error(each["estimate"])),
        (
            "per cent off; mean squared error of the log ratio at joint rows; "
            "seconds to fit",
            lambda each: (
                f"{per_cent(each).mean():+.1f}; {each['error_joint'].mean():.2g}; "
                f"{each['fit_seconds'].mean():.0f}"
            ),
        ),
    ):
        lines = []
        for method in METHODS:
            line = {"method": method}
            for d in dims:
                chosen = runs[(runs["method"] == method) & (runs["d"] == d)]
                if not chosen.empty:
                    line[str(d)] = cell(chosen)
            if len(line) > 1:
                lines.append(line)
        truth = {
            str(d): f"{CorrelatedGaussians(d // 2, RHO).information:.2f}" for d in dims
        }
        if not tables:
            lines.append({"method": "truth"} | truth)
        headings = {"method": (heading, "{}")}
        headings |= {str(d): (f"d = {d}", "{}") for d in dims}
        tables.append(markdown(lines, headings))
    return "\n\n".join(tables)


def plot(runs, path):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    dims = np.array(sorted(runs["d"].unique()))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    truth = [CorrelatedGaussians(d // 2, RHO).information for d in dims]
    axes[0].plot(dims, truth, color="black", linewidth=4, alpha=0.3, label="truth")
    axes[1].axhspan(-2, 2, color="black", alpha=0.1)
    present = [method for method in METHODS if (runs["method"] == method).any()]
    for number, method in enumerate(present):
        rows = runs[runs["method"] == method]
        chosen = rows.groupby("d")
        style = {"marker": "osv^D<>PX"[number], "markersize": 4, "linewidth": 1}
        mean, spread = chosen["estimate"].mean(), chosen["estimate"].std(ddof=0)
        axes[0].errorbar(mean.index, mean, spread, label=method, **style)
        off = per_cent(rows).groupby(rows["d"]).mean()
        axes[1].plot(off.index, off, **style)
    axes[0].set(xlabel="d", ylabel="mutual information, nats", xscale="log")
    axes[1].set(xlabel="d", ylabel="per cent off the truth", xscale="log")
    axes[1].set_yscale("symlog", linthresh=2)
    for ax in axes:
        ax.set_xticks(dims, labels=dims)
        ax.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right", fontsize=8)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def parse_args(arguments=None):
    parser = argument_parser(__doc__, seeds=3)
    parser.add_argument("--dims", type=int, nargs="+", default=list(DIMS))
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), choices=list(METHODS)
    )
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_args(arguments)
    name, sizes = "mutual_information", {}
    if options.quick:
        # In a file of their own: quick runs are no results.
        name = "mutual_information_quick"
        sizes = {"rows": 300, "test_rows": 100, "max_iter": 20}
        options.seeds, options.dims = options.seeds[:1], [4, 8]
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    for d in options.dims:
        for method in options.methods:
            for seed in options.seeds:
                if {"method": method, "d": d, "seed": seed} not in runs:
                    runs.add(run(method, d, seed, **sizes))
    text = report(runs.frame())
    print(text)
    picture = options.out / f"{name}.png"
    if options.write_doc and not options.quick:
        replace_block(HERE / "mutual_information.md", "mutual-information", text)
        picture = ROOT / "doc" / "images" / "dre_infinity_mutual_information.png"
    plot(runs.frame(), picture)


if __name__ == "__main__":
    main()
