"""USPS to MNIST in the latent space of a shared autoencoder: Figure 11.

    python examples/papers/lrmf/digits.py --data FOLDER --out results/lrmf

FOLDER holds zip.test.gz of USPS and the t10k files of MNIST. An autoencoder is trained
on both, without labels; USPS's latent rows are moved onto MNIST's. A classifier that is
trained on MNIST's latent rows and labels is tested on USPS's, moved and not. The paper
has the latent space of a VAE-GAN, and prints no accuracy.
"""

import gzip
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import zoom
from sklearn.svm import SVC
from skorch import NeuralNetRegressor
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1] / "dre_infinity"))

from _runs import ROOT, Runs, argument_parser, markdown, mean_and_error, replace_block
from moons import Watch, at_state

from skdre import LikelihoodRatioAligner, pool
from skdre._nn.settings import seeded

HERE = Path(__file__).resolve().parent
OUT = Path("results/lrmf")
SIDE, LATENT, ROWS = 16, 8, 2000

KEYS = ["method", "seed"]
RESULTS = [
    "before",
    "after",
    "after_new",
    "initial_ratio",
    "log_likelihood_ratio",
    "converged",
    "seconds",
]
METHODS = {
    "affine, Gaussian family": {},
    "RealNVP": {"flow": "realnvp", "density": "realnvp"},
}


def load_usps(folder):
    """Images in [0, 1] of shape (n_images, 16 * 16), and labels."""
    table = np.loadtxt(folder / "zip.test.gz")
    return (table[:, 1:] + 1) / 2, table[:, 0].astype(int)


def load_mnist(folder):
    """The same of MNIST's test images, made as small as those of USPS."""
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    small = zoom(images / 255, (1, SIDE / 28, SIDE / 28), order=1)
    return small.reshape(len(images), -1), labels.astype(int)


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = (SIDE**2, 256, 64, LATENT)
        self.encode = self.layers(sizes)
        self.decode = self.layers(sizes[::-1])

    @staticmethod
    def layers(sizes):
        parts = []
        for inputs, outputs in pairwise(sizes):
            parts += [nn.Linear(inputs, outputs), nn.SiLU()]
        return nn.Sequential(*parts[:-1])

    def forward(self, images):
        return self.decode(self.encode(images))


def train_autoencoder(images, seed, max_epochs):
    images = images.astype(np.float32)
    with seeded(seed):
        net = NeuralNetRegressor(
            Autoencoder(),
            optimizer=torch.optim.Adam,
            lr=0.002,
            max_epochs=max_epochs,
            batch_size=128,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        ).fit(images, images)
    module = net.module_.eval().requires_grad_(False)

    def apply(part, rows):
        return part(torch.as_tensor(rows, dtype=torch.float32)).numpy().astype(float)

    return (lambda X: apply(module.encode, X)), (lambda Z: apply(module.decode, Z))


def make_task(data, seed, rows, max_epochs):
    """Latent rows and labels: source, target, other source rows; and the decoder."""
    (usps, usps_labels), (mnist, mnist_labels) = data
    rng = np.random.default_rng(seed)
    a, b = rng.permutation(len(usps)), rng.permutation(len(mnist))[:rows]
    a, new = np.split(a, [min(rows, 3 * len(usps) // 4)])
    both = np.concatenate([usps[a], mnist[b]])
    encode, decode = train_autoencoder(both, seed, max_epochs)
    parts = (usps[a], usps_labels[a]), (mnist[b], mnist_labels[b])
    parts += ((usps[new], usps_labels[new]),)
    return [(encode(X), y) for X, y in parts], decode


def run(method, seed, task, max_iter=None, callbacks=None):
    (source, labels), (target, target_labels), (new, new_labels) = task
    params = METHODS[method] | ({"max_iter": max_iter} if max_iter else {})
    aligner = LikelihoodRatioAligner(**params, random_state=seed, callbacks=callbacks)
    start = time.process_time()
    with warnings.catch_warnings():
        # What it says stands in the table.
        warnings.simplefilter("ignore")
        aligner.fit(*pool(numerator=target, denominator=source))
    seconds = time.process_time() - start
    classifier = SVC().fit(target, target_labels)
    result = {
        "method": method,
        "seed": seed,
        "before": classifier.score(source, labels),
        "after": classifier.score(aligner.transform(source), labels),
        "after_new": classifier.score(aligner.transform(new), new_labels),
        "initial_ratio": aligner.initial_log_likelihood_ratio_,
        "log_likelihood_ratio": aligner.log_likelihood_ratio_,
        "converged": int(aligner.converged_),
        "seconds": seconds,
    }
    return result, aligner


def plot(path, task, decode, aligner, states):
    """The same digits at times of the training, as Figure 11 (a), and the loss."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    (source, labels), _, _ = task
    shown = np.concatenate([np.flatnonzero(labels == digit)[:2] for digit in range(10)])
    times = np.unique(np.linspace(0, len(states) - 1, 6).astype(int))
    lines = [decode(source[shown])]
    lines += [
        decode(at_state(aligner, states[k]).transform(source[shown])) for k in times
    ]
    figure, (ax, curve) = plt.subplots(
        1, 2, figsize=(13, 3.2), width_ratios=(3, 1), layout="constrained"
    )
    grid = np.vstack([np.hstack(line.reshape(-1, SIDE, SIDE)) for line in lines])
    ax.imshow(grid, cmap="gray", vmin=0, vmax=1)
    names = ["USPS", *(f"step {25 * (k + 1)}" for k in times)]
    ax.set_yticks(SIDE * (np.arange(len(names)) + 0.5), names)
    ax.set_xticks([])
    curve.plot(25 * np.arange(1, len(states) + 1), aligner.loss_curve_)
    curve.axhline(0, color="tab:red")
    curve.set(xlabel="step", title="log-likelihood ratio")
    figure.savefig(path, dpi=75)
    plt.close(figure)


def report(runs):
    lines = []
    for method in METHODS:
        found = runs[runs["method"] == method]
        if found.empty:
            continue
        line = {"method": method, "seeds": len(found)}
        line |= {name: mean_and_error(found[name]) for name in RESULTS[:5]}
        line |= {"converged": found["converged"].sum()}
        lines.append(line | {"seconds": found["seconds"].mean()})
    headings = {
        "method": ("map", "{}"),
        "before": ("label transfer before", "{}"),
        "after": ("after", "{}"),
        "after_new": ("after, new rows", "{}"),
        "initial_ratio": ("log-likelihood ratio before", "{}"),
        "log_likelihood_ratio": ("after ", "{}"),
        "converged": ("converged", "{}"),
        "seconds": ("seconds", "{:.2g}"),
        "seeds": ("seeds", "{}"),
    }
    return markdown(lines, headings)


def main(arguments=None):
    parser = argument_parser(__doc__, seeds=3)
    parser.set_defaults(out=OUT)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    options = parser.parse_args(arguments)
    name, rows, epochs, max_iter = "digits", ROWS, 40, None
    if options.quick:
        # In a file of their own: quick runs are no results.
        name, rows, epochs, max_iter = "digits_quick", 200, 1, 25
        options.seeds = options.seeds[:1]
    data = load_usps(options.data), load_mnist(options.data)
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    picture = options.out / f"{name}.png"
    write_doc = options.write_doc and not options.quick
    if write_doc:
        picture = ROOT / "doc" / "images" / "lrmf_digits.png"
    for seed in options.seeds:
        missing = [m for m in METHODS if {"method": m, "seed": seed} not in runs]
        first = seed == options.seeds[0]
        if not missing and not (first and write_doc):
            continue
        task, decode = make_task(data, seed, rows, epochs)
        for method in METHODS:
            watch = Watch()
            redraw = first and method == "RealNVP"
            if method not in missing and not redraw:
                continue
            result, aligner = run(method, seed, task, max_iter, [watch])
            if method in missing:
                runs.add(result)
            if redraw:
                plot(picture, task, decode, aligner, watch.states)
    text = report(runs.frame())
    print(text)
    if write_doc:
        replace_block(HERE / "README.md", "digits", text)


if __name__ == "__main__":
    main()
