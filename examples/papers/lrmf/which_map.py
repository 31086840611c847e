"""Maps that the ratio cannot tell apart: what USPS to MNIST says of labels.

    python examples/papers/lrmf/which_map.py --data FOLDER --out results/lrmf

The task of digits.py in four latent coordinates, with MNIST as it is and cut to the
frame of USPS, whose digits fill theirs. The map starts at three places:

* the identity;
* the affine map that matches moments;
* "classes": a map that was trained with the labels of both samples, which moves each
  digit of USPS onto the same digit of MNIST. No aligner has these labels.

From there LRMF goes on without labels. If its ratio were to find the classes, it would
be lower from "classes" than from elsewhere. Each start is judged before and after. A
finished run stands in which_map.csv and is not run again.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from sklearn.svm import SVC
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

sys.path.append(str(Path(__file__).resolve().parents[1] / "dre_infinity"))

import digits
from _runs import ROOT, Runs, argument_parser, markdown, mean_and_error, replace_block
from digits import LABELLED, read_mnist, read_usps, small, train_autoencoder

from skdre import LikelihoodRatioAligner, pool
from skdre._nn.settings import seeded
from skdre.flows._flows import build_flow

HERE = Path(__file__).resolve().parent
OUT = Path("results/lrmf")
N_LATENT = 4
STEPS = 1500
# The autoencoder is one for all seeds, which are those of the maps.
TASK_SEED = 0

FRAMES = {"MNIST as it is": slice(None), "MNIST cut to USPS's frame": slice(4, 24)}
STARTS = ("identity", "affine", "classes")
KEYS = ["frame", "start", "seed"]
RESULTS = [
    "first",
    "first_new",
    "first_ratio",
    "last",
    "last_new",
    "last_ratio",
    "converged",
    "distance",
    "seconds",
]
# Latent spaces that are looked at without a flow.
SPACES = [
    {"frame": frame, "of": of, "n_latent": n_latent}
    for frame in FRAMES
    for of in ("both", "MNIST")
    for n_latent in (4, 8, 16)
]
LIMITS = ["unmoved", "affine", "of_target", "of_source", "shares"]


def make_task(folder, frame, rows, max_epochs, n_latent=N_LATENT, of="both"):
    """Latent rows, standardised together, and labels: source, new source, target."""
    usps, usps_labels = read_usps(folder)
    mnist, mnist_labels = read_mnist(folder, "train", rows)
    cut = FRAMES[frame]
    mnist = small(mnist[:, cut, cut])
    rng = np.random.default_rng(TASK_SEED)
    a, new = np.split(rng.permutation(len(usps)), [3 * len(usps) // 4])
    repeats = max(len(mnist) // (3 * len(a)), 1)
    both = np.concatenate([mnist, np.repeat(usps[a], repeats, axis=0)])
    seen = both if of == "both" else mnist
    encode, _ = train_autoencoder(seen, n_latent, TASK_SEED, max_epochs)
    Z, target = encode(usps), encode(mnist)
    halves = Z[a], target
    center = np.mean([each.mean(axis=0) for each in halves], axis=0)
    squares = [((each - center) ** 2).mean(axis=0) for each in halves]
    Z, target = (
        (each - center) / np.mean(squares, axis=0) ** 0.5 for each in (Z, target)
    )
    return (Z[a], usps_labels[a]), (Z[new], usps_labels[new]), (target, mnist_labels)


def class_density(Z, seed):
    rows = GaussianMixture(5, random_state=seed).fit(Z[:3000])
    weights, means, covariances = (
        torch.as_tensor(each, dtype=torch.float32)
        for each in (rows.weights_, rows.means_, rows.covariances_)
    )
    return MixtureSameFamily(
        Categorical(weights), MultivariateNormal(means, covariances)
    )


def map_of_classes(source, labels, target, target_labels, seed, steps):
    """A RealNVP that makes digits of the source likely among the target's same ones."""
    classes = [class_density(target[target_labels == k], seed) for k in range(10)]
    X, y = torch.as_tensor(source, dtype=torch.float32), torch.as_tensor(labels)
    with seeded(seed):
        flow = build_flow("realnvp", N_LATENT, n_transforms=4, hidden_features=(64, 64))
        optimizer = torch.optim.Adam(flow.requires_grad_().parameters(), lr=0.005)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            batch = torch.randint(len(X), (256,))
            moved, log_det = flow().transform.call_and_ladj(X[batch])
            log_densities = torch.stack([each.log_prob(moved) for each in classes])
            of_own = log_densities.gather(0, y[batch][None])[0]
            optimizer.zero_grad()
            (-(of_own + log_det).mean()).backward()
            optimizer.step()
            schedule.step()

    def move(Z):
        with torch.no_grad():
            rows = torch.as_tensor(Z, dtype=torch.float32)
            return flow().transform(rows).numpy().astype(float)

    return move


def started(start, parts, seed, steps):
    (source, labels), _, (target, target_labels) = parts
    if start == "classes":
        return map_of_classes(source, labels, target, target_labels, seed, steps)
    if start == "affine":
        affine = LikelihoodRatioAligner(random_state=seed)
        return affine.fit(*pool(numerator=target, denominator=source)).transform
    return lambda Z: Z


def run(frame, start, seed, parts, steps):
    """Label transfer and ratio of a start, and of what LRMF makes of it."""
    (source, labels), (new, new_labels), (target, target_labels) = parts
    classifier = SVC().fit(target[:LABELLED], target_labels[:LABELLED])
    begin = time.process_time()
    move = started(start, parts, seed, steps)
    first, first_new = move(source), move(new)
    params = {"flow": "realnvp", "density": digits.small_family, "max_iter": steps}
    aligner = digits.fit(params, first, target, seed)
    moved, moved_new = aligner.transform(first), aligner.transform(first_new)
    return {
        "frame": frame,
        "start": start,
        "seed": seed,
        "first": classifier.score(first, labels),
        "first_new": classifier.score(first_new, new_labels),
        "first_ratio": aligner.initial_log_likelihood_ratio_,
        "last": classifier.score(moved, labels),
        "last_new": classifier.score(moved_new, new_labels),
        "last_ratio": aligner.log_likelihood_ratio_,
        "converged": int(aligner.converged_),
        "distance": np.sqrt(((moved - source) ** 2).sum(axis=1)).mean(),
        "seconds": time.process_time() - begin,
    }


def limits(space, parts):
    """What a classifier could have, and what shares of classes forbid."""
    (source, labels), (new, new_labels), (target, target_labels) = parts
    shares = [np.bincount(y, minlength=10) / len(y) for y in (labels, target_labels)]
    rest = slice(-LABELLED, None)
    classifier = SVC().fit(target[:LABELLED], target_labels[:LABELLED])
    affine = LikelihoodRatioAligner(random_state=TASK_SEED)
    affine.fit(*pool(numerator=target, denominator=source))
    return space | {
        "unmoved": classifier.score(source, labels),
        "affine": classifier.score(affine.transform(source), labels),
        "of_target": classifier.score(target[rest], target_labels[rest]),
        "of_source": SVC().fit(source, labels).score(new, new_labels),
        "shares": 1 - np.abs(shares[0] - shares[1]).sum() / 2,
    }


def report(runs):
    lines = []
    for (frame, start), found in runs.groupby(["frame", "start"], sort=False):
        line = {"frame": frame, "start": start, "seeds": len(found)}
        line |= {name: mean_and_error(found[name]) for name in RESULTS[:-1]}
        low, high = found["last_ratio"].min(), found["last_ratio"].max()
        line |= {"range": f"{low:.3f} to {high:.3f}"}
        lines.append(line | {"converged": found["converged"].sum()})
    headings = {
        "frame": ("digits", "{}"),
        "start": ("start of the map", "{}"),
        "first": ("label transfer at the start", "{}"),
        "first_ratio": ("log-likelihood ratio at the start, at most", "{}"),
        "last": ("label transfer at the end", "{}"),
        "last_new": ("at new rows", "{}"),
        "range": ("log-likelihood ratio at the end", "{}"),
        "converged": ("converged", "{}"),
        "distance": ("mean distance moved", "{}"),
        "seeds": ("seeds", "{}"),
    }
    return markdown(lines, headings)


def report_limits(found):
    headings = {
        "frame": ("digits", "{}"),
        "of": ("autoencoder of", "{}"),
        "n_latent": ("coordinates", "{}"),
        "unmoved": ("label transfer, not moved", "{:.3f}"),
        "affine": ("by the affine map", "{:.3f}"),
        "of_target": ("accuracy on MNIST itself", "{:.3f}"),
        "of_source": ("on USPS, of its own labels", "{:.3f}"),
        "shares": ("label transfer that shares of classes allow", "{:.3f}"),
    }
    return markdown(found.to_dict("records"), headings)


def plot(path, runs, bounds):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    frames = [frame for frame in FRAMES if frame in set(runs["frame"])]
    figure, axes = plt.subplots(
        1, len(frames), figsize=(5 * len(frames), 3.6), squeeze=False, sharey=True
    )
    for ax, frame in zip(axes[0], frames, strict=True):
        for start, color in zip(STARTS, ("C0", "C1", "C2"), strict=True):
            found = runs[(runs["frame"] == frame) & (runs["start"] == start)]
            ax.scatter(found["last_ratio"], found["last"], color=color, label=start)
            if start == "classes":
                ax.scatter(
                    found["first_ratio"],
                    found["first"],
                    facecolors="none",
                    edgecolors=color,
                    label="classes, before LRMF",
                )
        same = (bounds["frame"] == frame) & (bounds["of"] == "both")
        unmoved = bounds[same & (bounds["n_latent"] == N_LATENT)]["unmoved"].iloc[0]
        ax.axhline(unmoved, color="grey", lw=0.8, ls=":", label="not moved")
        ax.axvline(0.1, color="tab:red", lw=0.8)
        ax.set(title=frame, xlabel="log-likelihood ratio, nats", xlim=(0, 0.12))
        ax.set_ylim(0, 1)
    axes[0, 0].set_ylabel("label transfer")
    axes[0, 0].legend(fontsize="small", loc="upper right")
    figure.tight_layout()
    figure.savefig(path, dpi=75)
    plt.close(figure)


def main(arguments=None):
    parser = argument_parser(__doc__, seeds=5)
    parser.set_defaults(out=OUT)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    options = parser.parse_args(arguments)
    name, rows, epochs, steps, frames = "which_map", None, 6, STEPS, list(FRAMES)
    if options.quick:
        # In a file of their own: quick runs are no results.
        name, rows, epochs, steps, frames = "which_map_quick", 2000, 1, 25, frames[:1]
        options.seeds = options.seeds[:1]
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    bounds = Runs(options.out / f"{name}_spaces.csv", list(SPACES[0]), LIMITS)
    for space in SPACES[:1] if options.quick else SPACES:
        if space not in bounds:
            parts = make_task(options.data, **space, rows=rows, max_epochs=epochs)
            bounds.add(limits(space, parts))
    for frame in frames:
        missing = [
            (start, seed)
            for seed in options.seeds
            for start in STARTS
            if {"frame": frame, "start": start, "seed": seed} not in runs
        ]
        if missing:
            parts = make_task(options.data, frame, rows, epochs)
        for start, seed in missing:
            runs.add(run(frame, start, seed, parts, steps))
    text, of_limits = report(runs.frame()), report_limits(bounds.frame())
    print(text, of_limits, sep="\n\n")
    picture = options.out / f"{name}.png"
    if options.write_doc and not options.quick:
        replace_block(HERE / "README.md", "which-map", text)
        replace_block(HERE / "README.md", "which-map-limits", of_limits)
        picture = ROOT / "doc" / "images" / "lrmf_which_map.png"
    plot(picture, runs.frame(), bounds.frame())


if __name__ == "__main__":
    main()
