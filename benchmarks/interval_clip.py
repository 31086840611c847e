"""What `ImportanceWeighted(clip="interval")` does to weighted means.

The means and mean squares of the target's columns, estimated from the source's rows
with each choice of `clip`. The error is the root mean square over samples, columns and
both moments, in standard deviations of the target, of the weighted means less those of
the target itself::

    python benchmarks/interval_clip.py --write-doc
"""

import argparse
import warnings

import _report
import numpy as np
from ratio_intervals import PAGE, draw
from sklearn.dummy import DummyRegressor

from skdre import GaussianRatio, ImportanceWeighted, JackknifeRatio, LSIFRatio

PROBLEMS = ("mean", "scale", "same", "t3_d5", "moons", "far_gaussians_d2")
RATIOS = {"GaussianRatio": GaussianRatio(), "LSIFRatio": LSIFRatio(alpha=0.1)}
CLIPS = {"none": None, "10": 10.0, "interval": "interval"}


def moments(X, weight=None):
    return np.average(np.hstack([X, X**2]), axis=0, weights=weight)


def errors(kind, n, seed, ratio):
    """Squared errors of the means, unweighted and for each clip."""
    X, y, *_ = draw(kind, n, seed)
    source, target = X[y == 0], X[y == 1]
    # Rows of the target that no estimate has seen.
    fresh_X, fresh_y, *_ = draw(kind, 20_000, 10_000 + seed)
    fresh = fresh_X[fresh_y == 1]
    # Scaled so that no moment outweighs the others.
    truth, scale = moments(fresh), np.hstack([fresh, fresh**2]).std(axis=0)
    found = {"unweighted": moments(source)}
    for name, clip in CLIPS.items():
        model = ImportanceWeighted(
            DummyRegressor(),
            JackknifeRatio(ratio, random_state=seed),
            clip=clip,
        ).fit(source, source[:, 0], X_target=target)
        found[name] = moments(source, model.sample_weight_)
    return {
        name: np.mean(((each - truth) / scale) ** 2) for name, each in found.items()
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = []
    for name, ratio in RATIOS.items():
        for kind in PROBLEMS:
            for n in args.rows:
                runs = [errors(kind, n, seed, ratio) for seed in range(args.seeds)]
                means = {
                    each: np.sqrt(np.mean([run[each] for run in runs]))
                    for each in runs[0]
                }
                lines.append({"ratio": name, "problem": kind, "rows": n} | means)
                print(lines[-1], flush=True)
    headings = {
        "ratio": ("ratio", "{}"),
        "problem": ("problem", "{}"),
        "rows": ("rows", "{:,}"),
        "unweighted": ("unweighted", "{:.3f}"),
    }
    headings |= {each: (f"clip {each}", "{:.3f}") for each in CLIPS}
    text = _report.markdown(lines, headings)
    text += f"\n\n{args.seeds} samples each."
    print(text)
    if args.write_doc:
        _report.replace_block(PAGE, "clip", text)


if __name__ == "__main__":
    main()
