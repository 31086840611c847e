"""Mutual information in 40 dimensions, in x and in flow space: Figures 4 and 9.

    python examples/papers/featurized/mutual_information.py --out results/featurized

Two Gaussian vectors of 20 columns each, partners of correlation 0.9. The truth is
-10 log(1 - 0.9^2) = 16.607 nats; the paper prints 16.67. Ratios are fitted on 20,000
joint rows and as many with permuted partners (the paper has 80,000), and averaged over
10,000 new joint rows. A finished run stands in mutual_information.csv and is not run
again.
"""

import sys
from pathlib import Path

import skdre

HERE = Path(__file__).resolve().parent
# The problem, and how finished runs are kept, are those of Figure 5 of DRE-infinity.
sys.path.append(str(HERE.parent / "dre_infinity"))

from _correlated import (  # noqa: E402
    RESULTS,
    TEST_ROWS,
    CorrelatedGaussians,
    evaluate,
)
from _runs import (  # noqa: E402
    ROOT,
    Runs,
    argument_parser,
    markdown,
    mean_and_error,
    replace_block,
)

PROBLEM = CorrelatedGaussians(20, 0.9)
ROWS = 20_000


def classifier(seed):
    """The network of the paper's appendix E.2: 40-200-200-200-1, batches of 128."""
    return skdre.MLPRatio((200, 200, 200), n_estimators=1, random_state=seed)


RATIOS = {
    "paper's classifier": classifier,
    "MLPRatio": lambda seed: skdre.MLPRatio(random_state=seed),
    "TRE(4)": lambda seed: skdre.TelescopingRatio(random_state=seed),
    "Gaussian plug-in": lambda seed: skdre.GaussianRatio(),
}


def in_flow_space(make):
    """The same behind a flow that is fitted to both samples together (section 3.3)."""
    return lambda seed: skdre.make_pipeline(
        skdre.FlowFeaturizer(random_state=seed), make(seed)
    )


METHODS = {f"{name}, in x": make for name, make in RATIOS.items()} | {
    f"{name}, in flow space": in_flow_space(RATIOS[name])
    for name in ("paper's classifier", "MLPRatio")
}

KEYS = ["method", "seed"]


def run(method, seed, make, *, rows=ROWS, test_rows=TEST_ROWS, quick=False):
    """One row of the table."""
    model = make(seed)
    if quick:
        tiny = {"max_iter": 20, "max_epochs": 2}
        params = model.get_params()
        model.set_params(
            **{
                name: tiny[name.rpartition("__")[2]]
                for name in params
                if name.rpartition("__")[2] in tiny
            }
        )
    result = evaluate(model, PROBLEM, seed, rows=rows, test_rows=test_rows)
    return {"method": method, "seed": seed} | result


def report(runs, methods):
    lines = []
    for method in methods:
        chosen = runs[runs["method"] == method]
        if chosen.empty:
            continue
        off = 100 * (chosen["estimate"] / chosen["true_mean"] - 1)
        lines.append(
            {
                "method": method,
                "estimate": mean_and_error(chosen["estimate"]),
                "off": off.mean(),
                "error_joint": chosen["error_joint"].mean(),
                "error_permuted": chosen["error_permuted"].mean(),
                "seconds": chosen["fit_seconds"].mean(),
            }
        )
    lines.append({"method": "truth", "estimate": f"{PROBLEM.information:.4g}"})
    headings = {
        "method": ("ratio", "{}"),
        "estimate": ("estimate, nats", "{}"),
        "off": ("per cent off", "{:+.1f}"),
        "error_joint": ("squared error of log r, joint rows", "{:.2g}"),
        "error_permuted": ("permuted rows", "{:.2g}"),
        "seconds": ("seconds to fit", "{:.0f}"),
    }
    return markdown(lines, headings)


def plot(runs, path, methods):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
    present = [method for method in methods if (runs["method"] == method).any()]
    for place, method in enumerate(reversed(present)):
        estimates = runs[runs["method"] == method]["estimate"]
        color = "tab:orange" if "flow" in method else "tab:blue"
        ax.plot(estimates, [place] * len(estimates), "o", color=color, alpha=0.7)
    ax.axvline(PROBLEM.information, color="black", linewidth=1, label="truth")
    ax.axvline(16.67, color="black", linewidth=1, linestyle=":", label="paper's truth")
    ax.set_yticks(range(len(present)), labels=present[::-1])
    ax.set_xlabel("mutual information, nats")
    ax.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def main(arguments=None, *, methods=METHODS, name="mutual_information", doc=__doc__):
    parser = argument_parser(doc, seeds=3)
    parser.set_defaults(out=Path("results/featurized"))
    parser.add_argument(
        "--methods", nargs="+", default=list(methods), choices=list(methods)
    )
    options = parser.parse_args(arguments)
    file_name, sizes = name, {}
    if options.quick:
        # In a file of their own: quick runs are no results.
        file_name = f"{name}_quick"
        sizes = {"rows": 300, "test_rows": 100, "quick": True}
        options.seeds = options.seeds[:1]
    runs = Runs(options.out / f"{file_name}.csv", KEYS, RESULTS)
    for seed in options.seeds:
        for method in options.methods:
            if {"method": method, "seed": seed} not in runs:
                runs.add(run(method, seed, methods[method], **sizes))
    text = report(runs.frame(), methods)
    print(text)
    picture = options.out / f"{file_name}.png"
    if options.write_doc and not options.quick:
        replace_block(HERE / f"{name}.md", name.replace("_", "-"), text)
        picture = ROOT / "doc" / "images" / f"featurized_{name}.png"
    plot(runs.frame(), picture, methods)


if __name__ == "__main__":
    main()
