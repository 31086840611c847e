"""Normalising constants by annealing, on Gaussians whose constant is known.

Targets of 2, 16 and 64 columns with standard deviations from .2 to 2.5, rotated, their
mean .7 off in each column, from the base N(0, I)::

    python benchmarks/annealing.py --write-doc
    python benchmarks/annealing.py --runs 2 --columns 2 16

Finished runs are kept in results/annealing.csv and not run again. The table goes to the
screen; with --write-doc also to doc/densities_from_ratios.md.
"""

import argparse
import time
import warnings
from pathlib import Path

import _report
import numpy as np
from _finished import Runs

from skdre import annealed_importance_sampling, raise_bound
from skdre.density import HMC, EllipticalSlice

ROOT = Path(__file__).resolve().parent.parent
LOG_CONSTANT = 3.0
N_CHAINS, N_ROWS = 100, 100

# Name to kernel, steps, schedule and share below which chains are resampled.
SETTINGS = {
    "HMC, adaptive, 1,000 steps": (HMC(), 1000, "adaptive", 0.5),
    "HMC, adaptive, 100 steps": (HMC(), 100, "adaptive", 0.5),
    "HMC, linear, 100 steps, no resampling": (HMC(), 100, "linear", 0),
    "slices, adaptive, 1,000 steps": (EllipticalSlice(), 1000, "adaptive", 0.5),
    "slices, adaptive, 100 steps": (EllipticalSlice(), 100, "adaptive", 0.5),
    "slices, linear, 100 steps, no resampling": (EllipticalSlice(), 100, "linear", 0),
}
RESULTS = ["error", "standard_error", "above", "above_std", "evaluations", "seconds"]


class Gaussian:
    """A rotated Gaussian, and its log density plus a constant."""

    def __init__(self, n_columns, seed):
        rng = np.random.default_rng(seed)
        axes, _ = np.linalg.qr(rng.normal(size=(n_columns, n_columns)))
        scales = np.geomspace(0.2, 2.5, n_columns)
        self.mean = np.full(n_columns, 0.7)
        self.root = axes * scales
        self.precision = (axes / scales**2) @ axes.T
        self.log_top = LOG_CONSTANT - np.log(scales).sum()
        self.log_top -= n_columns / 2 * np.log(2 * np.pi)

    def log_density(self, X):
        e = X - self.mean
        return self.log_top - 0.5 * np.sum((e @ self.precision) * e, axis=1)

    def gradient(self, X):
        return -(X - self.mean) @ self.precision

    def draw(self, n_rows, rng):
        return self.mean + rng.normal(size=(n_rows, len(self.mean))) @ self.root.T


def measure(job):
    kernel, n_steps, schedule, below = SETTINGS[job["setting"]]
    target = Gaussian(job["columns"], 1000 + job["seed"])
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = annealed_importance_sampling(
            target.log_density,
            job["columns"],
            n_chains=N_CHAINS,
            n_steps=n_steps,
            schedule=schedule,
            kernel=kernel,
            gradient=target.gradient if isinstance(kernel, HMC) else None,
            resample_below=below,
            random_state=job["seed"],
        )
    seconds = time.process_time() - start
    bound = raise_bound(
        target.log_density,
        target.draw(N_ROWS, np.random.default_rng(job["seed"])),
        job["columns"],
        gradient=target.gradient if isinstance(kernel, HMC) else None,
        schedule=found,
        random_state=job["seed"],
    )
    values = [
        found.log_normalizer - LOG_CONSTANT,
        found.standard_error,
        bound.log_normalizer - LOG_CONSTANT,
        bound.log_normalizer_std,
        found.n_evaluations / N_CHAINS,
        seconds,
    ]
    return dict(zip(RESULTS, values, strict=True))


def tabulate(frame):
    lines = []
    for (columns, setting), runs in frame.groupby(["columns", "setting"], sort=False):
        low = runs.error - 2 * runs.standard_error
        high = runs.above + 2 * runs.above_std
        lines.append(
            {
                "columns": columns,
                "setting": setting,
                "rms": np.sqrt(np.mean(runs.error**2)),
                "worst": np.abs(runs.error).max(),
                "standard_error": runs.standard_error.median(),
                "within": np.mean(np.abs(runs.error) < 2 * runs.standard_error),
                "above": runs.above.mean(),
                "bracket": np.mean((low < 0) & (high > 0)),
                "evaluations": runs.evaluations.mean(),
                "seconds": runs.seconds.mean(),
            }
        )
    order = list(SETTINGS)
    return sorted(
        lines, key=lambda line: (line["columns"], order.index(line["setting"]))
    )


HEADINGS = {
    "columns": ("columns", "{}"),
    "setting": ("kernel and schedule", "{}"),
    "rms": ("rms error", "{:.2f}"),
    "worst": ("worst", "{:.2f}"),
    "standard_error": ("standard error", "{:.2f}"),
    "within": ("within 2", "{:.0%}"),
    "above": ("RAISE above", "{:.2f}"),
    "bracket": ("bracketed", "{:.0%}"),
    "evaluations": ("evaluations", "{:,.0f}"),
    "seconds": ("CPU s", "{:.1f}"),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--columns", type=int, nargs="+", default=[2, 16, 64])
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    runs = Runs(args.out / "annealing.csv", ["columns", "setting", "seed"], RESULTS)
    for seed in range(args.runs):
        for columns in args.columns:
            for setting in SETTINGS:
                job = {"columns": columns, "setting": setting, "seed": seed}
                if job not in runs:
                    runs.add(job | measure(job))
    text = _report.markdown(tabulate(runs.frame()), HEADINGS)
    text += f"\n\n{args.runs} runs each. {_report.machine(1)}"
    print(text)
    if args.write_doc:
        page = ROOT / "doc" / "densities_from_ratios.md"
        _report.replace_block(page, "annealing", text)


if __name__ == "__main__":
    main()
