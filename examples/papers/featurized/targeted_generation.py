"""Digits of the wanted kind from a flow fitted to two kinds: Table 2.

    python examples/papers/featurized/targeted_generation.py --data FOLDER

Section 5.3 and appendices D.4, E and F.6. FOLDER holds the 10,000 test digits of MNIST,
t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz. Two tasks:

* diff-digits: the larger sample holds the digits 1 and 2, the target 0 and 7;
* diff-background: white digits on black, and the target the same with colours flipped.

The target has `perc` times as many rows. A masked autoregressive flow is fitted to all
rows without their labels. Of its samples a network, the judge, which was trained on
other images, says how many are of the target: of samples as they are, and of samples
resampled by weights from a ratio of the images, IW(x), or of the features, IW(z). The
judge of features, trained on the features of the judge's images, says the same of the
samples' features.

A finished run stands in targeted_generation.csv and is not run again.
"""

import gzip
import math
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from skdre import Dequantizer, FlowFeaturizer, MLPRatio, TargetedSampler, pool

HERE = Path(__file__).resolve().parent
# How finished runs are kept is one thing for all papers.
sys.path.append(str(HERE.parent / "dre_infinity"))

from _runs import (  # noqa: E402
    ROOT,
    Runs,
    argument_parser,
    markdown,
    mean_and_error,
    replace_block,
)

NAME = "targeted_generation"
METHODS = ["IW(z)", "IW(x)", "regular"]
PERCS = [0.1, 0.25, 0.5, 1.0]
# Rows of the larger sample; what is left trains the judge.
ROWS = {"diff-digits": 1300, "diff-background": 2000}
SAMPLES = 1000
CANDIDATES_PER_SAMPLE = 20
# Images of a side of a grid.
GRID = 6

# Table 2 of the paper.
PAPER = {
    "diff-digits": {
        "IW(z)": [0.447, 0.518, 0.777, 0.860],
        "IW(x)": [0.441, 0.528, 0.639, 0.754],
        "regular": [0.406, 0.457, 0.596, 0.720],
    },
    "diff-background": {
        "IW(z)": [0.186, 0.377, 0.580, 0.732],
        "IW(x)": [0.085, 0.202, 0.345, 0.528],
        "regular": [0.084, 0.196, 0.304, 0.493],
    },
}

KEYS = ["side", "dataset", "perc", "method", "seed"]
RESULTS = [
    "fraction",
    "fraction_in_features",
    "effective_size",
    "ratio_score",
    "judge_accuracy",
    "bits_per_dimension",
    "epochs",
    "seconds",
]


def load_digits(folder, side=28):
    """Images of shape (10000, side**2), whole numbers from 0 to 255, and labels."""
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    # Means of so many pixels by as many.
    step = 28 // side
    images = images.reshape(-1, side, step, side, step).mean(axis=(2, 4))
    return np.rint(images).reshape(-1, side**2), labels


def two_samples(dataset, images, labels, n_rows, rng):
    """The target's images and the larger sample's, for the flow and for the judge.

    Returns
    -------
    for_flow, for_judge : tuple of ndarray
        Target and other; no image is in both, in whatever colours.
    """
    if dataset == "diff-digits":
        target, other = (
            rng.permutation(np.flatnonzero(np.isin(labels, digits)))
            for digits in ([0, 7], [1, 2])
        )
        target, other = images[target], images[other]
    else:
        other = images[rng.permutation(len(images))]
        target = 255 - other
    return (
        (target[:n_rows], other[:n_rows]),
        (target[n_rows : 2 * n_rows], other[n_rows : 2 * n_rows]),
    )


class Judge:
    """A small convolutional network that tells the target's images."""

    def __init__(self, device, seed):
        self.device, self.seed = device, seed

    @staticmethod
    def _network(side):
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * (side // 4) ** 2, 2),
        )

    @staticmethod
    def _inputs(images):
        side = math.isqrt(images.shape[1])
        return (images / 255).reshape(-1, 1, side, side).astype(np.float32)

    def fit(self, X, y, *, max_epochs=20):
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.net = NeuralNetClassifier(
                self._network(math.isqrt(X.shape[1])),
                criterion=nn.CrossEntropyLoss,
                optimizer=torch.optim.Adam,
                lr=0.002,
                max_epochs=max_epochs,
                batch_size=64,
                iterator_train__shuffle=True,
                train_split=None,
                device=self.device,
                verbose=0,
            ).fit(self._inputs(X), y.astype(np.int64))
        return self

    def is_target(self, X):
        return self.net.predict(self._inputs(X)) == 1


def samplers(quick, device, seed):
    """The two samplers of the table; the second takes the first one's flow."""
    flow = FlowFeaturizer(
        n_transforms=1 if quick else 5,
        hidden_features=(16 if quick else 256,),
        marginals="standardize",
        max_epochs=2 if quick else 60,
        batch_size=256,
        learning_rate=0.001,
        patience=8,
        device=device,
        random_state=seed,
    )
    ratio = MLPRatio(max_iter=30 if quick else 2000, device=device, random_state=seed)
    in_z = TargetedSampler(
        flow,
        ratio,
        share="proportional",
        candidates_per_sample=2 if quick else CANDIDATES_PER_SAMPLE,
    )
    return in_z, clone(in_z).set_params(space="data")


def run(dataset, perc, seed, digits, *, device="cpu", quick=False):
    """Rows of the table for the three methods, and the images that were drawn.

    Returns
    -------
    rows : list of dict
    pictures : dict of str to ndarray of uint8 of shape (n_samples, side**2)
        Method to images of whole numbers.
    """
    rng = np.random.RandomState(seed)
    n_rows = 100 if quick else ROWS[dataset]
    n_samples = GRID**2 if quick else SAMPLES
    (target, other), new = two_samples(dataset, *digits, n_rows, rng)
    X_new, y_new = pool(numerator=new[0], denominator=new[1])
    judge = Judge(device, seed).fit(X_new, y_new, max_epochs=1 if quick else 20)
    X, y = pool(numerator=target, denominator=other)
    accuracy = np.mean(judge.is_target(X) == (y == 1))

    # The target's first rows are those of the smaller percentages too.
    X, y = pool(numerator=target[: round(perc * n_rows)], denominator=other)
    pixels = Dequantizer(random_state=seed).fit(X)
    X, X_new = pixels.transform(X), pixels.transform(X_new)

    start = time.process_time()
    in_z, in_x = samplers(quick, device, seed)
    with warnings.catch_warnings():
        # That the samples are told apart without an error is meant.
        warnings.simplefilter("ignore")
        flow = in_z.fit(X, y).flow_
        in_x.set_params(flow=FrozenEstimator(flow)).fit(X, y)
        drawn = {
            "IW(z)": in_z.sample(n_samples, seed, return_effective_size=True),
            "IW(x)": in_x.sample(n_samples, seed, return_effective_size=True),
            "regular": (flow.sample(n_samples, seed), np.nan),
        }
    seconds = time.process_time() - start

    Z_new = flow.transform(X_new)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge_of_features = clone(in_z.ratio).fit(Z_new, y_new)

    # The ratios and the flow on images that only the judge has seen.
    scores = {
        "IW(z)": in_z.ratio_.score(Z_new, y_new),
        "IW(x)": in_x.ratio_.score(X_new, y_new),
        "regular": np.nan,
    }
    bits = pixels.bits_per_dimension(X_new, flow.score_samples(X_new))
    weight = np.where(y_new == 1, perc, 1.0)
    rows, pictures = [], {}
    for method, (sample, size) in drawn.items():
        images = pixels.inverse_transform(sample)
        pictures[method] = images.astype(np.uint8)
        rows.append(
            {
                "side": math.isqrt(images.shape[1]),
                "dataset": dataset,
                "perc": perc,
                "method": method,
                "seed": seed,
                "fraction": judge.is_target(images).mean(),
                "fraction_in_features": np.mean(
                    judge_of_features.predict(flow.transform(sample)) == 1
                ),
                "effective_size": size,
                "ratio_score": scores[method],
                "judge_accuracy": accuracy,
                "bits_per_dimension": np.average(bits, weights=weight),
                "epochs": flow.n_iter_,
                "seconds": seconds,
            }
        )
    return rows, pictures


def report(runs):
    """A table for each data set and resolution, beside the paper's, in Markdown."""
    parts = []
    for (dataset, side), of_set in runs.groupby(["dataset", "side"], sort=False):
        lines = []
        for method in METHODS:
            line = {"method": method}
            for perc, printed in zip(PERCS, PAPER[dataset][method], strict=True):
                cell = of_set[(of_set["method"] == method) & (of_set["perc"] == perc)]
                if len(cell):
                    line[str(perc)] = mean_and_error(cell["fraction"])
                line[f"paper {perc}"] = f"{printed:.3f}"
            lines.append(line)
        shares = {str(perc): f"{perc / (1 + perc):.3g}" for perc in PERCS}
        lines.append({"method": "share of the flow's rows"} | shares)
        for name, column, form in (
            ("by the judge of features", "fraction_in_features", "{:.3f}"),
            ("effective candidates", "effective_size", "{:.0f}"),
            ("score on new images", "ratio_score", "{:.2g}"),
        ):
            for method in METHODS:
                mean = of_set[of_set["method"] == method].groupby("perc")[column].mean()
                mean = mean.dropna()
                cells = {str(perc): form.format(value) for perc, value in mean.items()}
                if cells:
                    lines.append({"method": f"{method}, {name}"} | cells)
        headings = {"method": (f"{dataset}, {side} by {side}", "{}")}
        headings |= {str(perc): (f"perc={perc}", "{}") for perc in PERCS}
        headings |= {f"paper {perc}": (f"paper: {perc}", "{}") for perc in PERCS}
        seeds = of_set.groupby("perc")["seed"].nunique()
        mean = of_set.mean(numeric_only=True)
        parts.append(
            f"{markdown(lines, headings)}\n\n"
            f"Seeds for each column: {', '.join(map(str, seeds))}. The judge is right "
            f"about {mean['judge_accuracy']:.1%} of the images it was not trained on; "
            f"the flow has {mean['bits_per_dimension']:.2f} bits per dimension of new "
            f"images, after {mean['epochs']:.0f} epochs; {mean['seconds']:.0f} "
            "processor seconds for a column."
        )
    return "\n\n".join(parts)


def plot(pictures, path):
    """Grids of images, a row for each method and a column for each percentage.

    Parameters
    ----------
    pictures : dict of tuple to ndarray
        (method, perc) to images of shape (at least GRID**2, side**2).
    path : Path
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    percs = sorted({perc for _, perc in pictures})
    figure, axes = plt.subplots(
        len(METHODS),
        len(percs),
        figsize=(2.2 * len(percs) + 0.4, 2.2 * len(METHODS) + 0.3),
        squeeze=False,
        layout="constrained",
    )
    for method, row in zip(METHODS, axes, strict=True):
        for perc, ax in zip(percs, row, strict=True):
            images = pictures[method, perc][: GRID**2]
            side = math.isqrt(images.shape[1])
            sheet = images.reshape(GRID, GRID, side, side).transpose(0, 2, 1, 3)
            ax.imshow(sheet.reshape(side * GRID, side * GRID), cmap="gray")
            ax.set(xticks=[], yticks=[])
            if method == METHODS[0]:
                ax.set_title(f"perc={perc}", fontsize=10)
        row[0].set_ylabel(method)
    figure.savefig(path, dpi=60, pil_kwargs={"optimize": True})
    plt.close(figure)


def pictures_of(folder, dataset, seed, side):
    """What :func:`keep_pictures` kept: (method, perc) to images."""
    found = {}
    for perc in PERCS:
        path = folder / f"{dataset}_{side}_{perc}_{seed}.npz"
        if path.exists():
            with np.load(path) as file:
                found |= {(method, perc): file[method] for method in METHODS}
    return found


def keep_pictures(folder, pictures, *, dataset, perc, seed, side):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{dataset}_{side}_{perc}_{seed}.npz", **pictures)


def main(arguments=None):
    parser = argument_parser(__doc__, seeds=3)
    parser.set_defaults(out=Path("results/featurized"))
    parser.add_argument("--data", type=Path, required=True, help="folder of the digits")
    parser.add_argument("--device", help="default: cuda where there is one, else cpu")
    parser.add_argument("--datasets", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--percs", type=float, nargs="+", default=PERCS, choices=PERCS)
    parser.add_argument(
        "--side", type=int, default=14, choices=[14, 28], help="pixels of a side"
    )
    options = parser.parse_args(arguments)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    name = NAME
    if options.quick:
        # In files of their own: quick runs are no results.
        name, options.seeds, options.percs = f"{NAME}_quick", [0], [0.25, 1.0]
    digits = load_digits(options.data, options.side)
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    folder = options.out / name
    for seed in options.seeds:
        for dataset in options.datasets:
            for perc in options.percs:
                keys = {"dataset": dataset, "perc": perc, "seed": seed}
                keys |= {"side": options.side}
                if all(keys | {"method": method} in runs for method in METHODS):
                    continue
                rows, pictures = run(
                    dataset, perc, seed, digits, device=device, quick=options.quick
                )
                if seed == options.seeds[0]:
                    keep_pictures(folder, pictures, **keys)
                for row in rows:
                    if row not in runs:
                        runs.add(row)
    text = report(runs.frame())
    print(text)
    write_doc = options.write_doc and not options.quick
    if write_doc:
        replace_block(HERE / f"{NAME}.md", "targeted-generation", text)
    for dataset in options.datasets:
        pictures = pictures_of(folder, dataset, options.seeds[0], options.side)
        if len(pictures) == len(METHODS) * len(options.percs):
            picture = f"{name}_{dataset.replace('-', '_')}.png"
            plot(pictures, options.out / picture)
            if write_doc:
                plot(pictures, ROOT / "doc" / "images" / f"featurized_{picture}")


if __name__ == "__main__":
    main()
