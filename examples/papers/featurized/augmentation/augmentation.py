"""Classification with weighted data augmentation: Table 3, on a part of Omniglot.

    python examples/papers/featurized/augmentation/augmentation.py \
        --data omniglot_small1.zip omniglot_small2.zip --out results/featurized

A conditional generator learns from ten drawings of each character to draw it anew. A
ratio of real to synthetic images, fitted to pixels (x) or to a flow's features (z),
weights the synthetic ones, and a small convolutional network learns from real and
weighted synthetic images together. Permuted weights are the control: the same weights,
on other rows.

A finished fit stands in augmentation.csv, ratios and the generator in files beside it;
none is done again.
"""

import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
# How finished runs are kept is that of the other paper's scripts.
sys.path += [str(HERE), str(HERE.parents[1] / "dre_infinity")]

from _dagan import (  # noqa: E402
    SIDE,
    Generator,
    generate,
    rendered,
    train_generator,
)
from _networks import class_network  # noqa: E402
from _omniglot import load_characters, split_by_drawer  # noqa: E402
from _ratios import WEIGHTINGS, make_ratio, unit_ink  # noqa: E402
from _runs import (  # noqa: E402
    ROOT,
    Runs,
    argument_parser,
    markdown,
    replace_block,
)
from sklearn.metrics import roc_auc_score  # noqa: E402

import skdre  # noqa: E402
from skdre.weighting import effective_sample_size  # noqa: E402


class Column(NamedTuple):
    """What a classifier is trained on.

    Attributes
    ----------
    paper : str
        Accuracy in Table 3, with a standard error; empty where it has none.
    real, synthetic : bool
        Which rows.
    space : {"x", "z", "z apart"} or None
        Of the ratio that weights synthetic rows; a key of SPACES.
    weighting : str
        A key of WEIGHTINGS.
    permuted : bool
        Whether the weights go to other rows, as a control.
    """

    paper: str = ""
    real: bool = True
    synthetic: bool = True
    space: str | None = None
    weighting: str = ""
    permuted: bool = False


# Table 3; a control for each weighting; and what the paper leaves open: whether it is
# the space that makes the difference, or that weights are flattened in one only, and
# what becomes of z when the ratio is fitted to drawings that the flow has not seen.
COLUMNS = {
    "Data-only": Column("0.756 ± 0.001", synthetic=False),
    "Synthetic-only": Column("0.557 ± 0.003", real=False),
    "Mixture-only": Column("0.767 ± 0.003"),
    "Mixture + IW(x)": Column("0.765 ± 0.005", True, True, "x", "self-normalised"),
    "Mixture + IW(x) permuted": Column("", True, True, "x", "self-normalised", True),
    "Mixture + IW(z)": Column("0.784 ± 0.007", True, True, "z", "flattened"),
    "Mixture + IW(z) permuted": Column("", True, True, "z", "flattened", True),
    "Mixture + IW(x) flattened": Column("", True, True, "x", "flattened"),
    "Mixture + IW(x) flattened, permuted": Column(
        "", True, True, "x", "flattened", True
    ),
    "Mixture + IW(z) self-normalised": Column("", True, True, "z", "self-normalised"),
    "Mixture + IW(z) apart": Column("", True, True, "z apart", "flattened"),
    "Mixture + IW(z) apart, permuted": Column(
        "", True, True, "z apart", "flattened", True
    ),
}
DIFFERENCES = [
    ("Mixture-only", "Data-only"),
    ("Mixture + IW(x)", "Mixture-only"),
    ("Mixture + IW(z)", "Mixture-only"),
    ("Mixture + IW(x)", "Mixture + IW(x) permuted"),
    ("Mixture + IW(z)", "Mixture + IW(z) permuted"),
    ("Mixture + IW(x) flattened", "Mixture + IW(x) flattened, permuted"),
    ("Mixture + IW(z) apart", "Mixture + IW(z) apart, permuted"),
    ("Mixture + IW(z)", "Mixture + IW(x)"),
    ("Mixture + IW(z)", "Mixture + IW(x) flattened"),
]
# Apart: the flow is fitted to every other drawer, the classifier to those between.
SPACES = ("x", "z", "z apart")
KEYS = ["column", "seed"]
RESULTS = ["accuracy", "validation_accuracy", "rows", "fit_seconds"]


@dataclass(frozen=True)
class Sizes:
    """What a run costs.

    Attributes
    ----------
    n_characters : int or None
        Of all that there are.
    per_class : int
        Synthetic rows of each class.
    generator_steps, ratio_steps, class_steps : int
        Batches that each network trains on, at most.
    flow_epochs : int
        At most.
    flow : tuple of int
        Blocks of the flow, and units of each block's hidden layer.
    width : int
        Filters of the convolutional networks.
    """

    n_characters: int | None = None
    per_class: int = 20
    generator_steps: int = 1000
    ratio_steps: int = 600
    class_steps: int = 1000
    flow_epochs: int = 30
    flow: tuple[int, int] = (5, 256)
    width: int = 64


QUICK = Sizes(
    n_characters=6,
    per_class=4,
    generator_steps=5,
    ratio_steps=5,
    class_steps=10,
    flow_epochs=2,
    flow=(1, 8),
    width=8,
)


class Rows(NamedTuple):
    """Images as rows, and their classes.

    Attributes
    ----------
    X : ndarray of uint8 of shape (n_samples, n_pixels)
        Ink from 0 to 255.
    y : ndarray of int of shape (n_samples,)
    """

    X: np.ndarray
    y: np.ndarray


def synthetic_rows(generator, real, per_class, seed):
    """Synthetic rows of each class, its real drawings taking turns as their source."""
    sources = np.concatenate(
        [np.resize(np.flatnonzero(real.y == k), per_class) for k in np.unique(real.y)]
    )
    return Rows(generate(generator, real.ink[sources], seed=seed), real.y[sources])


def fit_ratio(ratio, numerator, denominator, apart=False):
    """Fit a pipeline; or its features to every other row, its ratio to the rest."""
    if not apart:
        return ratio.fit(*skdre.pool(numerator=numerator, denominator=denominator))
    features = ratio[:-1].fit(
        *skdre.pool(numerator=numerator[::2], denominator=denominator[::2])
    )
    X, y = skdre.pool(numerator=numerator[1::2], denominator=denominator[1::2])
    ratio[-1].fit(features.transform(X), y)
    return ratio


class Experiment:
    """Everything up to the weights, each part done once and kept in a file.

    Parameters
    ----------
    parts : list of Drawings
        To train on, to validate and to test with.
    sizes : Sizes
    prefix : Path
        How the names of the files begin.
    device : str
    """

    def __init__(self, parts, sizes, prefix, device):
        self.drawings = parts[0]
        self.training, self.validation, self.test = (
            Rows(rendered(part.ink), part.y) for part in parts
        )
        self.sizes, self.prefix, self.device = sizes, prefix, device
        self.generator = self._generator()

    def _generator(self):
        path = self.prefix.with_name(f"{self.prefix.name}_generator.pt")
        if path.exists():
            generator = Generator(self.sizes.width // 2).to(self.device)
            generator.load_state_dict(torch.load(path, map_location=self.device))
            return generator.eval().requires_grad_(False)
        generator = train_generator(
            *self.drawings,
            n_steps=self.sizes.generator_steps,
            width=self.sizes.width // 2,
            device=self.device,
            report=_progress,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(generator.state_dict(), path)
        return generator

    def synthetic(self, seed, per_class=None):
        """Synthetic rows, others for each seed."""
        per_class = per_class or self.sizes.per_class
        return synthetic_rows(self.generator, self.drawings, per_class, seed)

    def ratio(self, space, seed):
        """The log ratio at the synthetic rows, and how good it is.

        The rows that the ratio is fitted on, those that are weighted, and those that
        it is judged by with the test rows are each drawn anew.

        Returns
        -------
        result : dict
            ``log_ratio`` of shape (n_synthetic,); ``score`` and ``auc`` at held-out
            rows; ``fit_seconds``.
        """
        name = f"{self.prefix.name}_ratio_{space.replace(' ', '_')}_{seed}.npz"
        path = self.prefix.with_name(name)
        if path.exists():
            with np.load(path) as saved:
                return dict(saved)
        ratio = make_ratio(
            space[0],
            n_steps=self.sizes.ratio_steps,
            width=self.sizes.width,
            max_epochs=self.sizes.flow_epochs,
            flow=self.sizes.flow,
            seed=seed,
            device=self.device,
        )
        start = time.process_time()
        with warnings.catch_warnings():
            # Where the samples hardly overlap, or epochs end early, the scores tell.
            warnings.simplefilter("ignore")
            fit_ratio(
                ratio,
                self.training.X,
                self.synthetic(1000 + seed).X,
                apart=space.endswith("apart"),
            )
        seconds = time.process_time() - start
        X, y = skdre.pool(
            numerator=self.test.X, denominator=self.synthetic(2000 + seed, 5).X
        )
        log_ratio = ratio.decision_function(X)
        result = {
            "log_ratio": ratio.decision_function(self.synthetic(seed).X),
            "score": -skdre.metrics.ratio_log_loss(y, log_ratio),
            "auc": roc_auc_score(y, log_ratio),
            "fit_seconds": seconds,
        }
        np.savez(path, **result)
        return result

    def weights(self, space, weighting, seed):
        """Weights of the synthetic rows."""
        return WEIGHTINGS[weighting](np.exp(self.ratio(space, seed)["log_ratio"]))

    def training_rows(self, column, seed):
        """Rows in [0, 1], classes and weights that a column of the table trains on."""
        column = COLUMNS[column]
        rows, weight = [], []
        if column.real:
            rows.append(self.training)
            # Not weighted in any column.
            weight.append(np.ones(len(self.training.y)))
        if column.synthetic:
            rows.append(self.synthetic(seed))
            weight.append(np.ones(len(rows[-1].y)))
        if column.space is not None:
            weight[-1] = self.weights(column.space, column.weighting, seed)
        if column.permuted:
            weight[-1] = np.random.default_rng(seed).permutation(weight[-1])
        X, y = map(np.concatenate, zip(*rows, strict=True))
        return unit_ink(X), y, np.concatenate(weight)

    def run(self, column, seed):
        """One row of the results: a classifier fitted, and its accuracy."""
        X, y, weight = self.training_rows(column, seed)
        network = class_network(
            len(np.unique(self.training.y)),
            (unit_ink(self.validation.X), self.validation.y),
            n_steps=self.sizes.class_steps,
            width=self.sizes.width,
            seed=seed,
            device=self.device,
        )
        start = time.process_time()
        network.fit(X, y, sample_weight=weight)
        seconds = time.process_time() - start
        accuracy = {
            name: float(np.mean(network.predict(unit_ink(rows.X)) == rows.y))
            for name, rows in (
                ("accuracy", self.test),
                ("validation_accuracy", self.validation),
            )
        }
        return (
            {"column": column, "seed": seed}
            | accuracy
            | {
                "rows": len(y),
                "fit_seconds": seconds,
            }
        )


def _progress(step, generator_loss, critic_loss):
    print(
        f"generator, step {step}: {generator_loss:.2f}, critic {critic_loss:.2f}",
        flush=True,
    )


def _difference(runs, one, other):
    """Mean and standard error over the seeds that both have."""
    table = runs.pivot(index="seed", columns="column", values="accuracy")
    if not {one, other} <= set(table.columns):
        return ""
    return signed((table[one] - table[other]).dropna())


def signed(values):
    """Mean with its sign, and standard error, as text."""
    if values.empty:
        return ""
    text = f"{values.mean():+.3f}"
    if len(values) > 1:
        text += f" ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"
    return text


def report(runs, ratios):
    """Table 3 beside the paper's, differences, and what the ratios are like.

    Parameters
    ----------
    runs : DataFrame of KEYS and RESULTS
    ratios : list of dict
        What `ratio_summary` gives.
    """
    lines = []
    for column, specification in COLUMNS.items():
        chosen = runs[runs["column"] == column]
        if chosen.empty:
            continue
        lines.append(
            {
                "column": column,
                "accuracy": accuracy(chosen["accuracy"]),
                "paper": specification.paper,
                "validation": accuracy(chosen["validation_accuracy"]),
                "rows": int(chosen["rows"].mean()),
                "seconds": chosen["fit_seconds"].mean(),
            }
        )
    headings = {
        "column": ("column", "{}"),
        "accuracy": ("accuracy", "{}"),
        "paper": ("the paper's", "{}"),
        "validation": ("validation", "{}"),
        "rows": ("training rows", "{:,}"),
        "seconds": ("seconds to fit", "{:.0f}"),
    }
    tables = [markdown(lines, headings)]
    lines = []
    for one, other in DIFFERENCES:
        if difference := _difference(runs, one, other):
            lines.append({"difference": f"{one} - {other}", "accuracy": difference})
    headings = {"difference": ("difference", "{}"), "accuracy": ("accuracy", "{}")}
    tables.append(markdown(lines, headings))
    headings = {
        "space": ("ratio in", "{}"),
        "seed": ("seed", "{}"),
        "score": ("score, nats", "{:.3f}"),
        "auc": ("AUC", "{:.3f}"),
        "mean_ratio": ("mean ratio", "{:.2g}"),
        "effective": ("effective rows", "{:,.0f}"),
        "effective_flattened": ("flattened", "{:,.0f}"),
        "of": ("of", "{:,}"),
        "mean_flattened": ("mean flattened weight", "{:.2f}"),
        "seconds": ("seconds to fit", "{:.0f}"),
    }
    tables.append(markdown(ratios, headings))
    return "\n\n".join(tables)


def accuracy(values):
    """Mean and standard error as text."""
    return signed(values).removeprefix("+")


def ratio_summary(experiment, space, seed):
    """A line of the table of ratios."""
    result = experiment.ratio(space, seed)
    ratio = np.exp(result["log_ratio"])
    flattened = WEIGHTINGS["flattened"](ratio)
    return {
        "space": space,
        "seed": seed,
        "score": float(result["score"]),
        "auc": float(result["auc"]),
        "mean_ratio": ratio.mean(),
        "effective": effective_sample_size(ratio),
        "effective_flattened": effective_sample_size(flattened),
        "of": len(ratio),
        "mean_flattened": flattened.mean(),
        "seconds": float(result["fit_seconds"]),
    }


def plot(experiment, spaces, seed, path, n_columns=20):
    """Real rows, and synthetic ones of the highest and the lowest weights."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    synthetic = experiment.synthetic(seed)
    some = np.random.default_rng(seed).permutation
    bands = {
        "real": experiment.training.X[some(len(experiment.training.y))],
        "synthetic": synthetic.X[some(len(synthetic.y))],
    }
    for space in spaces:
        order = np.argsort(experiment.ratio(space, seed)["log_ratio"])
        bands[f"highest in {space}"] = synthetic.X[order[::-1]]
        bands[f"lowest in {space}"] = synthetic.X[order]
    figure, axes = plt.subplots(
        len(bands), figsize=(9, 0.95 * len(bands)), layout="constrained"
    )
    for ax, (name, rows) in zip(axes, bands.items(), strict=True):
        n_rows = max(1, min(2, len(rows) // n_columns))
        images = rows[: n_rows * n_columns].reshape(n_rows, -1, SIDE, SIDE)
        ax.imshow(np.vstack([np.hstack(list(row)) for row in images]), cmap="Greys")
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
        ax.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=90)
    plt.close(figure)


def parse_args(arguments=None):
    parser = argument_parser(__doc__, seeds=3)
    parser.set_defaults(out=Path("results/featurized"))
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        help="omniglot_small1.zip and omniglot_small2.zip, or a folder with them",
    )
    parser.add_argument(
        "--columns", nargs="+", default=list(COLUMNS), choices=list(COLUMNS)
    )
    parser.add_argument("--device", help="by default CUDA where there is one")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_args(arguments)
    sizes, name = Sizes(), "augmentation"
    if options.quick:
        # In files of their own: quick runs are no results.
        sizes, name = QUICK, "augmentation_quick"
        options.seeds = options.seeds[:1]
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        # Another thread gains little on batches as small as these.
        torch.set_num_threads(1)
    ink, _ = load_characters(options.data)
    parts = split_by_drawer(ink[: sizes.n_characters])
    experiment = Experiment(parts, sizes, options.out / name, device)
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    for seed in options.seeds:
        for column in options.columns:
            if {"column": column, "seed": seed} not in runs:
                runs.add(experiment.run(column, seed))
    chosen = {COLUMNS[column].space for column in options.columns}
    spaces = [space for space in SPACES if space in chosen]
    ratios = [
        ratio_summary(experiment, space, seed)
        for space in spaces
        for seed in options.seeds
    ]
    text = report(runs.frame(), ratios)
    print(text)
    picture = options.out / f"{name}.png"
    if options.write_doc and not options.quick:
        replace_block(HERE.parent / "augmentation.md", "augmentation", text)
        picture = ROOT / "doc" / "images" / "featurized_augmentation.png"
    plot(experiment, spaces, options.seeds[0], picture)


if __name__ == "__main__":
    main()
