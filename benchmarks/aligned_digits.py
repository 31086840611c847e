"""Accuracy on digits of another camera: as they are, weighted, and moved.

The problem is that of examples/alignment/plot_align_digits.py::

    python benchmarks/aligned_digits.py --write-doc

The table goes to the screen, and with --write-doc to doc/alignment.md.
"""

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
from _report import markdown, replace_block

ROOT = Path(__file__).resolve().parent.parent

matplotlib.use("agg")
sys.path.append(str(ROOT / "examples" / "alignment"))

from plot_align_digits import models, run_once  # noqa: E402

CAMERAS = {"blurred, less contrast": 0, "and one pixel lower": 1}


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="splits of the digits")
    parser.add_argument("--write-doc", action="store_true")
    options = parser.parse_args(arguments)
    lines = []
    for camera, pixels in CAMERAS.items():
        runs = [run_once(seed, pixels) for seed in range(options.repeats)]
        line = {"camera": camera, "splits": len(runs)}
        for name in models():
            found = np.array([scores[name] for scores, _, _ in runs])
            error = found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else 0.0
            line[name] = f"{found.mean():.3f} ± {error:.3f}"
        for k, name in enumerate(("before", "after")):
            line[name] = f"{abs(np.mean([ratios[k] for _, ratios, _ in runs])):.2g}"
        lines.append(line)
    names = ("camera", *models(), "before", "after", "splits")
    headings = {name: (name, "{}") for name in names}
    headings |= {
        "camera": ("source's camera", "{}"),
        "before": ("log-likelihood ratio before", "{}"),
        "after": ("after", "{}"),
    }
    text = markdown(lines, headings)
    print(text)
    if options.write_doc:
        replace_block(ROOT / "doc" / "alignment.md", "aligned-digits", text)


if __name__ == "__main__":
    main()
