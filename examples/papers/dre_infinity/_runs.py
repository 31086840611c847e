"""What the scripts of this folder share: finished runs in a file, tables, seconds."""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
OUT = Path("results/dre_infinity")
HERE = Path(__file__).resolve().parent

# The benchmarks' files of runs, and tables in Markdown: one way to write them.
sys.path.append(str(ROOT / "benchmarks"))

from _finished import Runs  # noqa: E402
from _report import markdown, replace_block  # noqa: E402

__all__ = [
    "HERE",
    "ROOT",
    "Runs",
    "argument_parser",
    "fit_timed",
    "markdown",
    "mean_and_error",
    "replace_block",
    "squared_error",
]


def argument_parser(description, *, seeds):
    """A parser with the options that all scripts have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(seeds)))
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results")
    parser.add_argument(
        "--quick", action="store_true", help="tiny runs, to see that it works"
    )
    parser.add_argument(
        "--write-doc",
        action="store_true",
        help="put the tables and pictures into the documentation",
    )
    return parser


def fit_timed(model, X, y):
    """Fit, and give the processor seconds it took."""
    start = time.process_time()
    with warnings.catch_warnings():
        # Samples that hardly overlap, and too few steps with --quick, are meant.
        warnings.simplefilter("ignore")
        model.fit(X, y)
    return time.process_time() - start


def squared_error(estimate, truth, bound=np.inf):
    """Mean squared error, estimate and truth clipped at plus and minus `bound`."""
    difference = np.clip(estimate, -bound, bound) - np.clip(truth, -bound, bound)
    return float(np.mean(difference**2))


def mean_and_error(values):
    """Mean and standard error as text."""
    values = np.asarray(values, dtype=float)
    text = f"{values.mean():.3g}"
    if len(values) > 1:
        text += f" ± {values.std(ddof=1) / np.sqrt(len(values)):.1g}"
    return text
