"""On how many rows the bandwidth of LSIFRatio may be chosen.

Fits of 100,000 rows a side whose bandwidth is chosen at fewer of them, the ridge at all
as ever, on shifts whose ratio is known: which bandwidth, and the errors at new rows, of
the ratio (relative, at the denominator's) and of its logarithm::

    python benchmarks/search_rows.py

The table goes to the screen, to results/search_rows.csv, and with --write-doc into
doc/benchmarks/kmm.md.
"""

import argparse
from pathlib import Path
from unittest.mock import patch

import _known_ratios
import _report
import numpy as np

from skdre import LSIFRatio, pool
from skdre.datasets import make_warped_shift

ROOT = Path(__file__).resolve().parent.parent
PROBLEMS = [("warped", 2), ("warped", 5), ("mean", 10), ("covariance", 5)]
SIZES = [5_000, 20_000, None]


def draw(name, n, d, seed):
    """Pool, new rows of the denominator's distribution, and their log ratio."""
    if name == "warped":
        shift, new = (
            make_warped_shift(n, d, random_state=s) for s in (seed, 1000 + seed)
        )
        new = new.denominator[:10_000]
        return shift.pool(), new, shift.log_ratio(new)
    rng = np.random.default_rng([n, d, seed])
    (X_p, X_q), (_, new), log_ratio = _known_ratios.SYNTHETIC[name](n, d, rng)
    return pool(numerator=X_p, denominator=X_q), new, log_ratio(new)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    rows = []
    for name, d in PROBLEMS:
        for seed in range(args.seeds):
            (X, y), new, truth = draw(name, args.rows, d, seed)
            for size in SIZES:
                searched = size or args.rows
                with (
                    patch("skdre.kernel._search.SEARCH_ROWS", searched),
                    patch("skdre.kernel._lsif.SEARCH_ROWS", searched),
                ):
                    model = LSIFRatio(random_state=seed).fit(X, y)
                found = model.decision_function(new)
                error = np.exp(found) - np.exp(truth)
                rows.append(
                    {
                        "problem": name,
                        "d": d,
                        "seed": seed,
                        "searched": searched,
                        "gamma": float(model.gamma_ / model.gammas_[7]),
                        "ridge": model.ridge_,
                        "error": np.linalg.norm(error) / np.linalg.norm(np.exp(truth)),
                        "log_error": np.mean((found - truth) ** 2),
                    }
                )
                print(rows[-1], flush=True)
    _report.write_csv(ROOT / "results" / "search_rows.csv", rows)
    headings = {
        "problem": ("problem", "{}"),
        "d": ("d", "{}"),
        "seed": ("seed", "{}"),
        "searched": ("rows of the search", "{:,}"),
        "gamma": ("gamma, times the median's", "{:g}"),
        "ridge": ("ridge", "{:.1g}"),
        "error": ("relative error of the ratio", "{:.3f}"),
        "log_error": ("squared error of the log ratio", "{:.4f}"),
    }
    text = f"{_report.markdown(rows, headings)}\n\n{args.rows:,} rows a side."
    print(text)
    if args.write_doc:
        page = ROOT / "doc" / "benchmarks" / "kmm.md"
        _report.replace_block(page, "search-rows", text)


if __name__ == "__main__":
    main()
