"""USPS to MNIST in the latent space of a shared autoencoder: Figure 11.

    python examples/papers/lrmf/digits.py --data FOLDER --out results/lrmf

FOLDER holds zip.test.gz of USPS and the train files of MNIST. A variational
autoencoder is trained on both, without labels; USPS's latent rows are moved onto
MNIST's. A classifier that is trained on MNIST's latent rows and labels is tested on
USPS's, moved and not. The paper has the latent space of a VAE-GAN, and prints no
accuracy.
"""

import gzip
import sys
import time
import warnings
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import zoom
from sklearn.svm import SVC
from skorch import NeuralNet
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1] / "dre_infinity"))

from _runs import ROOT, Runs, argument_parser, markdown, mean_and_error, replace_block
from moons import Watch, at_state

from skdre import LikelihoodRatioAligner, pool
from skdre._nn.settings import seeded
from skdre.flows._flows import build_flow

HERE = Path(__file__).resolve().parent
OUT = Path("results/lrmf")
SIDE = 16
# Rows of MNIST's that the classifier of digits is trained on.
LABELLED = 5000

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


def small_family(n_features):
    """A family too small to overfit 1,505 rows by much."""
    return build_flow("realnvp", n_features, n_transforms=2, hidden_features=(32,))


_LARGE = {"flow": "realnvp", "density": "realnvp"}
_SMALL = {"flow": "realnvp", "density": small_family, "max_iter": 4000}
METHODS = {
    "affine, Gaussian family": {},
    "RealNVP, family as large": _LARGE,
    "RealNVP, small family": _SMALL,
    "RealNVP, small family, four coordinates": _SMALL,
}
# What a perfect map would read: as many rows of MNIST's in the place of USPS's.
_PERFECT = _SMALL | {"flow": "affine", "max_iter": 1000}
PERFECT = {
    "nothing to move, family as large": _LARGE | {"flow": "affine"},
    "nothing to move, small family": _PERFECT,
    "nothing to move, small family, four coordinates": _PERFECT,
}
SHOWN = "RealNVP, small family, four coordinates"


def n_coordinates(method):
    return 4 if method.endswith("four coordinates") else 8


def read_usps(folder):
    """Images in [0, 1] of shape (n_images, 16 * 16), and labels."""
    table = np.loadtxt(folder / "zip.test.gz")
    return (table[:, 1:] + 1) / 2, table[:, 0].astype(int)


def read_mnist(folder, part, rows=None):
    """Images in [0, 1] of shape (n_images, 28, 28), and labels, of MNIST's "train"."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images[:rows] / 255, labels[:rows].astype(int)


def small(images):
    """As rows, as small as those of USPS."""
    scale = SIDE / images.shape[1]
    return zoom(images, (1, scale, scale), order=1).reshape(len(images), -1)


class Autoencoder(nn.Module):
    """Means and log variances of latent rows, and the logits of their pixels."""

    def __init__(self, n_latent):
        super().__init__()
        sizes = (SIDE**2, 256, 64)
        self.encode = self.layers((*sizes, 2 * n_latent))
        self.decode = self.layers((n_latent, *sizes[::-1]))

    @staticmethod
    def layers(sizes):
        parts = []
        for inputs, outputs in pairwise(sizes):
            parts += [nn.Linear(inputs, outputs), nn.SiLU()]
        return nn.Sequential(*parts[:-1])

    def forward(self, images):
        mean, log_variance = self.encode(images).chunk(2, dim=1)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return self.decode(z), mean, log_variance


def evidence(found, images):
    """Minus the bound on the log likelihood."""
    logits, mean, log_variance = found
    pixels = nn.functional.binary_cross_entropy_with_logits(
        logits, images, reduction="sum"
    )
    surplus = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
    return (pixels + surplus) / len(images)


def train_autoencoder(images, n_latent, seed, max_epochs):
    images = images.astype(np.float32)
    with seeded(seed):
        net = NeuralNet(
            Autoencoder(n_latent),
            evidence,
            optimizer=torch.optim.Adam,
            lr=0.002,
            max_epochs=max_epochs,
            batch_size=256,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        )
        # skorch takes a function for one that makes the criterion.
        net.initialize_criterion = lambda: setattr(net, "criterion_", evidence)
        net.fit(images, images)
    module = net.module_.eval().requires_grad_(False)

    def encode(X):
        found = module.encode(torch.as_tensor(X, dtype=torch.float32))
        return found[:, :n_latent].numpy().astype(float)

    def decode(Z):
        return module.decode(torch.as_tensor(Z, dtype=torch.float32)).sigmoid().numpy()

    return encode, decode


def make_task(folder, n_latent, seed, rows, max_epochs):
    """Latent rows and labels: source, target, new source rows; and the decoder."""
    usps, usps_labels = read_usps(folder)
    mnist, mnist_labels = read_mnist(folder, "train", rows)
    mnist = small(mnist)
    rng = np.random.default_rng(seed)
    a, new = np.split(rng.permutation(len(usps)), [3 * len(usps) // 4])
    # A quarter of what the autoencoder sees is USPS.
    repeats = max(len(mnist) // (3 * len(a)), 1)
    both = np.concatenate([mnist, np.repeat(usps[a], repeats, axis=0)])
    encode, decode = train_autoencoder(both, n_latent, seed, max_epochs)
    parts = (
        (usps[a], usps_labels[a]),
        (mnist, mnist_labels),
        (usps[new], usps_labels[new]),
    )
    return [(encode(X), y) for X, y in parts], decode


def fit(params, source, target, seed, callbacks=None):
    aligner = LikelihoodRatioAligner(**params, random_state=seed, callbacks=callbacks)
    with warnings.catch_warnings():
        # What it says stands in the table.
        warnings.simplefilter("ignore")
        return aligner.fit(*pool(numerator=target, denominator=source))


def run(method, seed, task, max_iter=None, callbacks=None):
    (source, labels), (target, target_labels), (new, new_labels) = task
    params = (METHODS | PERFECT)[method]
    params = params | ({"max_iter": max_iter} if max_iter else {})
    classifier = SVC().fit(target[:LABELLED], target_labels[:LABELLED])
    if method in PERFECT:
        n = len(source)
        source, target = target[:n], target[n:]
    start = time.process_time()
    aligner = fit(params, source, target, seed, callbacks)
    seconds = time.process_time() - start
    result = {"method": method, "seed": seed, "seconds": seconds}
    result |= dict.fromkeys(("before", "after", "after_new"), np.nan)
    if method not in PERFECT:
        result["before"] = classifier.score(source, labels)
        result["after"] = classifier.score(aligner.transform(source), labels)
        result["after_new"] = classifier.score(aligner.transform(new), new_labels)
    result |= {
        "initial_ratio": aligner.initial_log_likelihood_ratio_,
        "log_likelihood_ratio": aligner.log_likelihood_ratio_,
        "converged": int(aligner.converged_),
    }
    return result, aligner


def plot(path, task, decode, aligner, states):
    """The same digits at times of the training, as Figure 11 (a), and the loss."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    source, labels = task[0]
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
    losses = aligner.loss_curve_
    curve.plot(25 * np.arange(1, len(losses) + 1), losses)
    curve.axvline(25 * len(states), color="grey", lw=0.5)
    curve.axhline(0, color="tab:red")
    curve.set(xlabel="step", title="log-likelihood ratio")
    figure.savefig(path, dpi=75)
    plt.close(figure)


def report(runs):
    lines = []
    for method in (*METHODS, *PERFECT):
        found = runs[runs["method"] == method]
        if found.empty:
            continue
        line = {"method": method, "seeds": len(found)}
        for name in RESULTS[:5]:
            known = found[name].notna().all()
            line[name] = mean_and_error(found[name]) if known else ""
        line |= {"converged": found["converged"].sum()}
        lines.append(line | {"seconds": found["seconds"].mean()})
    headings = {
        "method": ("map", "{}"),
        "before": ("label transfer before", "{}"),
        "after": ("label transfer after", "{}"),
        "after_new": ("at new rows", "{}"),
        "initial_ratio": ("log-likelihood ratio before", "{}"),
        "log_likelihood_ratio": ("log-likelihood ratio after", "{}"),
        "converged": ("converged", "{}"),
        "seconds": ("seconds", "{:.2g}"),
        "seeds": ("seeds", "{}"),
    }
    return markdown(lines, headings)


def main(arguments=None):
    parser = argument_parser(__doc__, seeds=3)
    parser.set_defaults(out=OUT)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    names = (*METHODS, *PERFECT)
    parser.add_argument("--methods", nargs="+", default=names, choices=names)
    options = parser.parse_args(arguments)
    name, rows, epochs, max_iter = "digits", None, 6, None
    if options.quick:
        # In a file of their own: quick runs are no results.
        name, rows, epochs, max_iter = "digits_quick", 2000, 1, 25
        options.seeds = options.seeds[:1]
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    picture = options.out / f"{name}.png"
    write_doc = options.write_doc and not options.quick
    if write_doc:
        picture = ROOT / "doc" / "images" / "lrmf_digits.png"
    for seed, n_latent in product(options.seeds, (8, 4)):
        missing = [
            m
            for m in options.methods
            if n_coordinates(m) == n_latent and {"method": m, "seed": seed} not in runs
        ]
        first = seed == options.seeds[0]
        if write_doc and first and n_latent == n_coordinates(SHOWN):
            missing = list(dict.fromkeys([*missing, SHOWN]))
        if not missing:
            continue
        task, decode = make_task(options.data, n_latent, seed, rows, epochs)
        for method in missing:
            watch = Watch()
            result, aligner = run(method, seed, task, max_iter, [watch])
            if {"method": method, "seed": seed} not in runs:
                runs.add(result)
            if method == SHOWN and first:
                plot(picture, task, decode, aligner, watch.states)
    text = report(runs.frame())
    print(text)
    if write_doc:
        replace_block(HERE / "README.md", "digits", text)


if __name__ == "__main__":
    main()
