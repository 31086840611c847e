"""Densities of MNIST from ratios: Table 1, Figures 8 and 9, and appendix F.4.

    python examples/papers/dre_infinity/mnist.py --data-dir data --size 14

`data` holds the four files of MNIST (train-images-idx3-ubyte.gz and so on); with
`--size 14` means of 2 by 2 pixels, in whole grey values, are taken. A cell, which is a
noise and a method, trains for `--minutes` of processor time (of the clock on a GPU),
keeps a checkpoint each minute, and is not trained again; one that was stopped is
"unfinished", and goes on from its checkpoint. `--stage train` trains the cells,
`--stage evaluate` computes the likelihoods of what is trained, and `--stage report`
prints the table.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _digits import (
    METHODS,
    NOISES,
    Cell,
    fit_noise,
    fit_ratio,
    load_digits,
)
from _runs import ROOT, markdown, replace_block
from sklearn.frozen import FrozenEstimator

import skdre
from skdre.density import HMC, annealed_importance_sampling, raise_bound
from skdre.time_score import RK45, GaussLegendre

IMAGES = ROOT / "doc" / "images"
PAGE = ROOT / "doc" / "benchmarks" / "mnist_densities.md"

# Rows of the two samples that a spline's flow maps: at its cost on a CPU.
FLOW_ROWS = 30_000

# What the paper's Table 1 has, at 28 by 28: noise, direct, RAISE, AIS.
PRINTED = {
    ("gaussian", "NCE"): (2.01, 1.96, 1.99, 2.01),
    ("gaussian", "TRE"): (2.01, 1.39, 1.35, 1.35),
    ("gaussian", "time score"): (2.01, 1.33, 1.33, 1.33),
    ("copula", "NCE"): (1.40, 1.33, 1.48, 1.45),
    ("copula", "TRE"): (1.40, 1.24, 1.23, 1.22),
    ("copula", "time score"): (1.40, 1.21, 1.21, 1.21),
    ("rq-nsf", "NCE"): (1.12, 1.09, 1.10, 1.10),
    ("rq-nsf", "TRE"): (1.12, 1.09, 1.09, 1.09),
    ("rq-nsf", "time score"): (1.12, 1.09, 1.08, 1.08),
}


def command_line():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/dre_infinity/mnist"))
    parser.add_argument("--size", type=int, choices=[14, 28], default=14)
    parser.add_argument("--noise", nargs="+", choices=NOISES, default=list(NOISES))
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--minutes", type=float, default=20, help="of a cell")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--stage", choices=["all", "train", "evaluate", "report"], default="all"
    )
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument("--steps", type=int, default=100, help="temperatures")
    parser.add_argument("--leapfrogs", type=int, default=4)
    parser.add_argument("--nodes", type=int, default=8, help="of the time's integral")
    parser.add_argument("--test-rows", type=int, default=2000)
    parser.add_argument("--raise-rows", type=int, default=100)
    parser.add_argument(
        "--quick", action="store_true", help="tiny runs, to see that it works"
    )
    parser.add_argument(
        "--write-doc", action="store_true", help="put the table into the documentation"
    )
    return parser


class Problem:
    """The images, dequantised, and the folder of the cells.

    Parameters
    ----------
    args : argparse.Namespace
    """

    def __init__(self, args):
        self.args, self.size = args, args.size
        self.folder = args.out / str(args.size)
        images, test = load_digits(args.data_dir, args.size)
        if args.quick:
            images, test = images[:500], test[:100]
        self.images = images
        self.pixels = skdre.Dequantizer(center=True, random_state=0).fit(images)
        self.test = self.pixels.transform(test[: args.test_rows])

    def training_rows(self, seed):
        """The images with a draw of the noise, less the mean of the first draw."""
        pixels = skdre.Dequantizer(center=True, random_state=seed).fit(self.images)
        return pixels.transform(self.images) + pixels.mean_ - self.pixels.mean_

    def noise(self, name):
        """The cell of a noise, trained."""
        cell = Cell(self.folder, name)
        if cell.record["state"] != "trained":
            model = fit_noise(
                cell,
                name,
                self.training_rows(0),
                size=self.size,
                minutes=self.args.minutes,
                device=self.args.device,
            )
            log_density = model.score_samples(self.test)
            bits = self.pixels.bits_per_dimension(self.test, log_density)
            cell.update(bits=float(bits.mean()), test_rows=len(bits))
        return cell

    def train(self, noise, method):
        """Train a cell, unless it is."""
        cell = Cell(self.folder, f"{noise} {method}")
        if cell.record["state"] == "trained":
            return
        base = self.noise(noise).load()
        rows = self.training_rows(1)
        if noise == "rq-nsf" and self.args.device == "cpu":
            rows = rows[:FLOW_ROWS]
        fit_ratio(
            cell,
            method,
            base.transform(rows),
            size=self.size,
            minutes=self.args.minutes,
            device=self.args.device,
        )


class InSingle(torch.nn.Module):
    """A network in single precision, for rows and results in double precision.

    Convolutions are several times faster so, and log ratios right to 1e-4 nats.
    """

    def __init__(self, network):
        super().__init__()
        self.network = network.float()

    def forward(self, *arguments):
        return self.network(*(each.float() for each in arguments)).double()

    def log_ratios_of(self, output):
        return self.network.log_ratios_of(output)


def in_single(ratio, device="cpu"):
    """Let a fitted ratio predict in single precision, on a device."""
    model = getattr(ratio, "model_", ratio)
    # What is loaded lies on the CPU.
    model.network_ = InSingle(model.network_).to(device)
    return ratio


def evaluate(problem, noise, method):
    """Likelihoods of a trained cell, and samples of its model; kept in its record."""
    args = problem.args
    cell, noise_cell = Cell(problem.folder, f"{noise} {method}"), problem.noise(noise)
    if not cell.model_path.exists() or "ais" in cell.record:
        return
    print(f"{cell.name}: likelihoods", flush=True)
    base, ratio = noise_cell.load(), cell.load()
    test, pixels = problem.test, problem.pixels
    if method == "time score":
        cell.update(prediction=prediction_cost(ratio, base.transform(test[:100])))
    ratio = in_single(ratio, args.device)
    clock = time.process_time()
    log_base, log_ratio = (
        base.score_samples(test),
        ratio.decision_function(base.transform(test)),
    )
    direct = pixels.bits_per_dimension(test, log_base + log_ratio)
    cell.update(
        noise_bits=float(pixels.bits_per_dimension(test, log_base).mean()),
        direct=float(direct.mean()),
        direct_std=float(direct.std() / np.sqrt(len(direct))),
        test_rows=len(test),
        direct_seconds=round(time.process_time() - clock, 1),
    )
    if method == "time score":
        ratio.integrator_ = GaussLegendre(args.nodes)
        check = ratio.decision_function(base.transform(test[:200]))
        error = np.abs(check - log_ratio[:200])
        cell.update(nodes=args.nodes, nodes_error=float(error.mean()))
    density = skdre.RatioDensity(
        FrozenEstimator(ratio), FrozenEstimator(base), normalizer=None
    ).fit(test)
    clock = time.process_time()
    forward = annealed_importance_sampling(
        density,
        n_chains=args.chains,
        n_steps=args.steps,
        kernel=HMC(args.leapfrogs),
        random_state=0,
    )
    nat = 1 / (test.shape[1] * np.log(2))
    cell.update(
        ais=float(direct.mean() + nat * forward.log_normalizer),
        ais_std=float(nat * forward.standard_error),
        log_normalizer=forward.log_normalizer,
        least_effective=float(forward.effective_sample_sizes.min()),
        acceptance=float(forward.acceptance.mean()),
        chains=args.chains,
        temperatures=args.steps,
        leapfrogs=args.leapfrogs,
        ais_seconds=round(time.process_time() - clock, 1),
    )
    _save_images(problem, f"{cell.name}.png", forward.particles)
    bound = raise_bound(
        density, test[: args.raise_rows], schedule=forward, random_state=0
    )
    cell.update(
        raise_bits=float(direct.mean() + nat * bound.log_normalizer),
        raise_std=float(nat * bound.log_normalizer_std),
        raise_rows=args.raise_rows,
        seconds_of_likelihoods=round(time.process_time() - clock, 1),
    )
    print(cell.record, flush=True)


def prediction_cost(ratio, Z):
    """Evaluations and seconds of a row's log ratio, by steps and at fixed nodes."""
    seen = []
    handle = ratio.network_.register_forward_pre_hook(
        lambda _, arguments: seen.append(len(arguments[0]))
    )
    rows, result = Z[:10], {"rows": 10}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {}
        for name, integrator in (
            ("steps", RK45(1e-5)),
            ("nodes", GaussLegendre(16)),
            ("finest", GaussLegendre(512)),
        ):
            seen.clear()
            start = time.process_time()
            found[name] = ratio.decision_function(rows, integrator=integrator)
            result[f"{name}_seconds"] = (time.process_time() - start) / len(rows)
            result[f"{name}_evaluations"] = sum(seen) / len(rows)
    handle.remove()
    for name in ("steps", "nodes"):
        result[f"{name}_error"] = float(np.abs(found[name] - found["finest"]).mean())
    return result


def _save_images(problem, name, rows, n_side=10):
    """A grid of images of rows, as a PNG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import image

    n, size = n_side**2, problem.size
    grey = problem.pixels.inverse_transform(rows[:n])
    grid = np.zeros((n, size + 1, size + 1))
    grid[: len(grey), :size, :size] = grey.reshape(-1, size, size)
    grid = grid.reshape(n_side, n_side, size + 1, size + 1).swapaxes(1, 2)
    grid = grid.reshape(n_side * (size + 1), -1)
    grid = np.kron(grid, np.ones((3, 3)))
    image.imsave(problem.folder / name, grid, cmap="gray_r", vmin=0, vmax=255)


def show_samples(folder, path):
    """Figures 8 and 9 in one picture: noise above, annealed samples below."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
    for column, noise in zip(axes.T, NOISES, strict=True):
        names = {
            f"noise_{noise}": f"{noise} noise",
            f"{noise}_time_score": "annealed, time score",
        }
        for ax, (name, title) in zip(column, names.items(), strict=True):
            file = folder / f"{name}.png"
            if file.exists():
                ax.imshow(plt.imread(file))
            ax.set_title(title if file.exists() else f"{title}: not yet")
            ax.axis("off")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def table(folder):
    """The lines of Table 1, as far as there are cells."""
    lines = []
    for noise in NOISES:
        for method in METHODS:
            record = Cell(folder, f"{noise} {method}").record
            if "bits" in (of_noise := Cell(folder, noise).record):
                record = {"noise_bits": of_noise["bits"]} | record
            line = {"noise": noise, "method": method, "state": record["state"]}
            line["paper"] = " ".join(f"{x:.2f}" for x in PRINTED[noise, method])
            for name, key in (
                ("of_noise", "noise_bits"),
                ("direct", "direct"),
                ("raise", "raise_bits"),
                ("ais", "ais"),
            ):
                if key not in record:
                    continue
                line[name] = f"{record[key]:.3f}"
                error = record.get(key.replace("_bits", "") + "_std")
                if name in ("raise", "ais") and error is not None:
                    line[name] += f" ± {error:.3f}"
            for key in ("steps", "seconds", "least_effective"):
                line[key] = record.get(key)
            lines.append(line)
    headings = {
        "noise": ("noise", "{}"),
        "method": ("method", "{}"),
        "of_noise": ("noise, bits", "{}"),
        "direct": ("direct", "{}"),
        "raise": ("RAISE", "{}"),
        "ais": ("AIS", "{}"),
        "steps": ("steps", "{:,}"),
        "seconds": ("seconds", "{:.0f}"),
        "least_effective": ("least ESS", "{:.0f}"),
        "state": ("training", "{}"),
        "paper": ("paper, 28 by 28", "{}"),
    }
    return markdown(lines, headings)


def cost_table(folder):
    """Appendix F.4: evaluations and seconds of a row at 1e-5, and of 16 nodes."""
    lines = []
    for noise in NOISES:
        cost = Cell(folder, f"{noise} time score").record.get("prediction")
        if cost:
            lines.append({"noise": noise, **cost})
    headings = {
        "noise": ("noise", "{}"),
        "steps_evaluations": ("evaluations at 1e-5", "{:.0f}"),
        "steps_seconds": ("seconds", "{:.2f}"),
        "steps_error": ("error, nats", "{:.1g}"),
        "nodes_evaluations": ("16 nodes, with their check", "{:.0f}"),
        "nodes_seconds": ("seconds", "{:.3f}"),
        "nodes_error": ("error, nats", "{:.1g}"),
    }
    return markdown(lines, headings)


def main():
    args = command_line().parse_args()
    if args.quick:
        args.minutes, args.steps, args.chains = 0.02, 4, 20
        args.leapfrogs = args.nodes = 2
        args.raise_rows = 5
    folder = args.out / str(args.size)
    if args.stage != "report":
        problem = Problem(args)
        for noise in args.noise:
            cell = problem.noise(noise)
            if not (folder / f"noise_{noise}.png").exists():
                samples = cell.load().sample(100, random_state=0)
                _save_images(problem, f"noise_{noise}.png", samples)
            for method in args.method:
                if args.stage in ("all", "train"):
                    problem.train(noise, method)
                if args.stage in ("all", "evaluate"):
                    evaluate(problem, noise, method)
    print(f"{args.size} by {args.size}, bits per dimension\n")
    print(table(folder))
    print()
    print(cost_table(folder))
    if args.write_doc:
        replace_block(PAGE, f"bits_{args.size}", table(folder))
        replace_block(PAGE, f"cost_{args.size}", cost_table(folder))
        if any(folder.glob("*.png")):
            show_samples(folder, IMAGES / f"dre_infinity_mnist_{args.size}.png")


if __name__ == "__main__":
    main()
