"""What the scripts of this folder share: finished runs in a file, tables, seconds."""

import argparse
import csv
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[3]
OUT = Path("results/dre_infinity")
HERE = Path(__file__).resolve().parent

# The benchmarks' tables in Markdown: one way to write them.
sys.path.append(str(ROOT / "benchmarks"))

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


class Runs:
    """Rows of a CSV file, one for each finished run, which is not run again.

    Parameters
    ----------
    path : Path
        The file; it need not be there.
    keys : sequence of str
        Columns that name a run.
    columns : sequence of str
        Columns of its results.
    """

    def __init__(self, path, keys, columns):
        self.path, self.keys, self.columns = path, list(keys), list(columns)
        self._finished = set()
        if path.exists():
            found = pd.read_csv(path)
            expected = self.keys + self.columns
            if list(found.columns) != expected:
                raise ValueError(
                    f"{path} has columns {list(found.columns)}, and {expected} are "
                    "wanted: move it away, or give another folder with --out."
                )
            self._finished = set(map(tuple, found[self.keys].astype(str).to_numpy()))

    def _key(self, run):
        return tuple(str(run[name]) for name in self.keys)

    def __contains__(self, run):
        return self._key(run) in self._finished

    def add(self, run):
        """Append a run, a dict of all columns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.keys + self.columns)
            if is_new:
                writer.writeheader()
            writer.writerow(run)
        self._finished.add(self._key(run))

    def frame(self):
        """All runs as a DataFrame, with no rows where there are none."""
        if not self.path.exists():
            return pd.DataFrame(columns=self.keys + self.columns)
        return pd.read_csv(self.path)


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
