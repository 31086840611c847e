"""GLOW on images of digits, where a small ratio is no alignment: section 8.3.

    python examples/papers/lrmf/glow.py --data FOLDER --out results/lrmf --device cpu

USPS at 8 by 8 is moved onto scikit-learn's digits, and at 14 by 14 onto MNIST. FOLDER
holds zip.test.gz of USPS and the train files of MNIST. The map is two GLOWs back to
back, the densities are GLOWs, as in the supplement, but for the width of the networks:
16 channels in place of 512, so that a run takes minutes on a processor. 14 can be
halved once, so there is one scale at 14 by 14.
"""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parents[1] / "dre_infinity"))

from _runs import ROOT, Runs, argument_parser, markdown, mean_and_error, replace_block
from digits import read_mnist, read_usps
from moons import Watch, at_state

from skdre import LikelihoodRatioAligner, pool
from skdre._nn.images import to_images
from skdre.flows._alignment_certificate import certificate
from skdre.flows._gaussian import GaussianFlow
from skdre.flows._marginals import noise_scale

HERE = Path(__file__).resolve().parent
OUT = Path("results/lrmf")
ROWS = 1500
# Grey values are multiples of a sixteenth in scikit-learn's digits. Noise of that size
# makes densities of them, and of the others, finite.
STEP = 1 / 16

TASKS = {
    "8 by 8": {"side": 8, "n_levels": 3},
    "14 by 14": {"side": 14, "n_levels": 1},
}
PARAMS = {
    "flow": "glow",
    "density": "glow",
    "n_transforms": 8,
    "hidden_features": (16, 16),
    "batch_size": 64,
    "max_iter": 300,
    "learning_rate": 0.002,
}
KEYS = ["task", "seed"]
RESULTS = [
    "before",
    "after",
    "auc_before",
    "auc_after",
    "unmoved_ratio",
    "log_likelihood_ratio",
    "converged",
    "seconds",
]


def resized(images, side):
    """Square images of another size, as rows."""
    scale = side / images.shape[1]
    # Blurred first where they become smaller, as a camera would.
    small = zoom(images, (1, scale, scale), order=1, grid_mode=True, mode="nearest")
    return small.reshape(len(images), -1)


def make_task(task, seed, data, rows):
    """Noisy images and labels: of the source, the target, and new ones of both."""
    side = TASKS[task]["side"]
    usps, usps_labels = read_usps(data)
    source = resized(usps.reshape(-1, 16, 16), side), usps_labels
    if side == 8:
        images, labels = load_digits(return_X_y=True)
        target = images / 16, labels
    else:
        # To the frame of USPS, whose digits fill theirs.
        images, labels = read_mnist(data, "train", rows=4 * rows)
        target = resized(images[:, 4:24, 4:24], side), labels
    rng = np.random.default_rng(seed)
    parts = []
    for images, labels in (source, target):
        order = rng.permutation(len(images))
        noisy = np.clip(images, 0, 1) + rng.uniform(0, STEP, size=images.shape)
        n = min(rows, 3 * len(images) // 4)
        first, new = order[:n], order[n : n + 500]
        parts += [(noisy[first], labels[first]), (noisy[new], labels[new])]
    source, new_source, target, new_target = parts
    return source, target, new_source, new_target


def judge(move, parts):
    """Label transfer, and how well new moved rows can be told from the target."""
    (target, target_labels), (new, new_labels), (new_target, _) = parts[1:]
    moved = move(new)
    X, y = pool(numerator=new_target, denominator=moved)
    order = np.random.default_rng(0).permutation(len(y))
    auc = cross_val_score(SVC(), X[order], y[order], scoring="roc_auc", cv=3)
    classifier = SVC().fit(target, target_labels)
    return classifier.score(moved, new_labels), auc.mean()


def unmoved_ratio(aligner, parts, seed):
    """What the images are judged by, of images that nothing has moved."""
    samples = [aligner.marginal_maps_.forward(X)[0] for X, _ in parts[:2]]
    d = samples[0].shape[1]
    names = ("max_iter", "batch_size", "learning_rate", "patience", "gradient_tol")
    found = certificate(
        GaussianFlow(d).double(),
        aligner.density_,
        aligner.density_,
        samples,
        [np.ones(len(U)) for U in samples],
        noise_scale(aligner.marginal_maps_),
        device=torch.device("cpu"),
        seed=seed,
        **{name: getattr(aligner, name) for name in names},
    )
    return found.ratio


def run(task, seed, parts, device, callbacks, **changes):
    size = TASKS[task]
    aligner = LikelihoodRatioAligner(
        **PARAMS | changes,
        image_shape=(size["side"], size["side"]),
        n_levels=size["n_levels"],
        device=device,
        random_state=seed,
        callbacks=callbacks,
    )
    (source, _), (target, _) = parts[:2]
    start = time.process_time()
    with warnings.catch_warnings():
        # What it says stands in the table.
        warnings.simplefilter("ignore")
        aligner.fit(*pool(numerator=target, denominator=source))
    seconds = time.process_time() - start
    before, after = judge(lambda X: X, parts), judge(aligner.transform, parts)
    result = {
        "task": task,
        "seed": seed,
        "before": before[0],
        "after": after[0],
        "auc_before": before[1],
        "auc_after": after[1],
        "unmoved_ratio": unmoved_ratio(aligner, parts, seed),
        "log_likelihood_ratio": aligner.log_likelihood_ratio_,
        "converged": int(aligner.converged_),
        "seconds": seconds,
    }
    return result, aligner


def by_scale(lazy, rows, side):
    """Mean log density of the features that each scale ends with, fine ones first.

    `lazy` is the multi-scale transform of a density, rows are standardised.
    """
    levels, found = lazy().levels, []
    h = to_images(torch.as_tensor(rows), (side, side, 1))
    with torch.no_grad():
        for k, level in enumerate(levels):
            h, total = functional.pixel_unshuffle(h, 2), 0.0
            for layer in level:
                h, log_det = layer(h)
                total = total + log_det
            done = h
            if k + 1 < len(levels):
                done, h = h.chunk(2, dim=1)
            normal = torch.distributions.Normal(0.0, 1.0).log_prob(done)
            found.append(float((normal.sum(dim=(1, 2, 3)) + total).mean()))
    return np.array(found)


def ratio_by_scale(aligner, parts, side):
    """The terms of the log-likelihood ratio, scale by scale."""
    source, target = (aligner.marginal_maps_.forward(X)[0] for X, _ in parts[:2])
    with torch.no_grad():
        moved = aligner.flow_().transform(torch.as_tensor(source))
    # The source's own density is the map, then that of moved rows.
    of_moved = aligner.source_density_.transform.transforms[-1]
    shared = aligner.density_.transform
    return (
        by_scale(of_moved, moved, side)
        + by_scale(aligner.target_density_.transform, target, side)
        - by_scale(shared, moved, side)
        - by_scale(shared, target, side)
    )


def plot(path, runs_of):
    """For each task: the pictures, the loss, and what the loss does not see."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(runs_of),
        4,
        figsize=(14, 3.3 * len(runs_of)),
        width_ratios=(2.2, 1, 1, 1),
        squeeze=False,
        layout="constrained",
    )
    for line, (task, parts, aligner, states) in zip(axes, runs_of, strict=True):
        side = TASKS[task]["side"]
        (source, labels), (target, target_labels) = parts[:2]
        first = [np.flatnonzero(labels == digit)[0] for digit in range(10)]
        like = [np.flatnonzero(target_labels == digit)[0] for digit in range(10)]
        times = np.linspace(0, len(states) - 1, 4).astype(int)
        moved = [at_state(aligner, states[k]) for k in times]
        rows = [source[first], *(each.transform(source[first]) for each in moved)]
        rows.append(target[like])
        grid = np.vstack([np.hstack(each.reshape(-1, side, side)) for each in rows])
        line[0].imshow(grid, cmap="gray", vmin=0, vmax=1 + STEP)
        names = ["source", *(f"step {25 * (k + 1)}" for k in times), "target"]
        line[0].set_yticks(side * (np.arange(len(names)) + 0.5), names)
        line[0].set(xticks=[], title=f"USPS moved, {task}")
        curve = aligner.loss_curve_
        line[1].plot(25 * np.arange(1, len(curve) + 1), curve)
        line[1].axvline(25 * len(states), color="grey", lw=0.5)
        line[1].axhline(0, color="tab:red")
        line[1].set(title="log-likelihood ratio, nats", xlabel="step")
        line[1].set_ylim(-1, 1.05 * curve.max())
        seen = [judge(lambda X: X, parts)]
        seen += [judge(each.transform, parts) for each in moved]
        steps = [0, *(25 * (k + 1) for k in times)]
        for values, name in zip(
            np.transpose(seen), ("labels transferred", "AUC of the domain"), strict=True
        ):
            line[2].plot(steps, values, marker=".", label=name)
        line[2].set(ylim=(0, 1.02), xlabel="step", title="what a classifier sees")
        line[2].legend(loc="lower right")
        found = ratio_by_scale(aligner, parts, side)
        names = [f"{side // 2 ** (k + 1)} by {side // 2 ** (k + 1)}" for k in range(3)]
        line[3].bar(names[: len(found)], found)
        line[3].axhline(0, color="black", lw=0.5)
        line[3].set(title="what is left, by scale, nats")
    figure.savefig(path, dpi=75)
    plt.close(figure)


def report(runs):
    lines = []
    for task in TASKS:
        found = runs[runs["task"] == task]
        if found.empty:
            continue
        line = {"task": task, "seeds": len(found)}
        line |= {name: mean_and_error(found[name]) for name in RESULTS[:6]}
        line |= {"converged": found["converged"].sum()}
        lines.append(line | {"seconds": found["seconds"].mean()})
    headings = {
        "task": ("USPS onto", "{}"),
        "before": ("label transfer before", "{}"),
        "after": ("label transfer after", "{}"),
        "auc_before": ("AUC of the domain before", "{}"),
        "auc_after": ("AUC of the domain after", "{}"),
        "unmoved_ratio": ("log-likelihood ratio, not moved", "{}"),
        "log_likelihood_ratio": ("log-likelihood ratio, moved", "{}"),
        "converged": ("converged", "{}"),
        "seconds": ("seconds", "{:.3g}"),
        "seeds": ("seeds", "{}"),
    }
    return markdown(lines, headings)


def main(arguments=None):
    parser = argument_parser(__doc__, seeds=2)
    parser.set_defaults(out=OUT)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    parser.add_argument("--device", default="cpu", help="as torch names it")
    options = parser.parse_args(arguments)
    name, rows, changes = "glow", ROWS, {}
    if options.quick:
        # In a file of their own: quick runs are no results.
        name, rows = "glow_quick", 300
        changes = {"max_iter": 25, "n_transforms": 1}
        options.seeds = options.seeds[:1]
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    for_plot = []
    for seed in options.seeds:
        for task in TASKS:
            first = seed == options.seeds[0]
            if {"task": task, "seed": seed} in runs and not first:
                continue
            parts, watch = make_task(task, seed, options.data, rows), Watch()
            result, aligner = run(task, seed, parts, options.device, [watch], **changes)
            if {"task": task, "seed": seed} not in runs:
                runs.add(result)
            if first:
                for_plot.append((task, parts, aligner, watch.states))
    text = report(runs.frame())
    print(text)
    picture = options.out / f"{name}.png"
    if options.write_doc and not options.quick:
        replace_block(HERE / "README.md", "glow", text)
        picture = ROOT / "doc" / "images" / "lrmf_glow.png"
    plot(picture, for_plot)


if __name__ == "__main__":
    main()
