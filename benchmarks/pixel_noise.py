"""How much a flow overfits images: one draw of the noise, or a new one in each pass.

Bits per dimension of held-out digits (8 by 8, 17 levels) under flows that are fitted to
1,200 others, behind a ``Dequantizer`` (one draw of the noise) and with
``FlowFeaturizer(dequantizer=...)`` (a new one for every batch)::

    python benchmarks/pixel_noise.py --write-doc

Each line goes to results/pixel_noise.jsonl when it is there; what is there already is
not measured again.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import _report
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skdre import Dequantizer, FlowFeaturizer

ROOT = Path(__file__).resolve().parent.parent
N_TRAIN, N_DRAWS = 1200, 5
WAYS = {"one draw": "one draw of the noise", "new draws": "new draws"}


def bits(flow, pixels, X, way):
    """Mean bits per dimension of images, over draws of the noise."""
    values = []
    for seed in range(N_DRAWS):
        if way == "one draw":
            Y = pixels.set_params(random_state=seed).fit(X).transform(X)
            values.append(pixels.bits_per_dimension(Y, flow.score_samples(Y)).mean())
        else:
            flow.dequantizer_.random_state_ = seed
            values.append(-flow.score_samples(X).mean() / (X.shape[1] * np.log(2)))
    return float(np.mean(values))


def measure(way, name, seed):
    X = load_digits().data
    order = np.random.default_rng(seed).permutation(len(X))
    train, test = X[order[:N_TRAIN]], X[order[N_TRAIN:]]
    pixels = Dequantizer(17, alpha=0.05, random_state=seed)
    start = time.process_time()
    if way == "one draw":
        flow = FlowFeaturizer(name, device="cpu", random_state=seed)
        flow.fit(pixels.fit(train).transform(train))
    else:
        flow = FlowFeaturizer(
            name, dequantizer=pixels, device="cpu", random_state=seed
        ).fit(train)
    return {
        "way": way,
        "flow": name,
        "seed": seed,
        "seconds": time.process_time() - start,
        "epochs": flow.n_iter_,
        "train": bits(flow, pixels, train, way),
        "test": bits(flow, pixels, test, way),
    }


def table(rows, flows, seeds):
    lines = []
    for name in flows:
        for way, text in WAYS.items():
            mine = [row for row in rows if row["way"] == way and row["flow"] == name]
            line = {"flow": f'"{name}"', "noise": text}
            for what in ("train", "test"):
                values = [row[what] for row in mine]
                spread = statistics.stdev(values) if len(values) > 1 else 0
                line[what] = f"{statistics.mean(values):.3f} ± {spread:.3f}"
            for what in ("epochs", "seconds"):
                line[what] = f"{statistics.mean(row[what] for row in mine):.0f}"
            lines.append(line)
    headings = {
        "flow": ("flow", "{}"),
        "noise": ("noise in training", "{}"),
        "train": ("bits, images of fit", "{}"),
        "test": ("bits, held-out images", "{}"),
        "epochs": ("epochs", "{}"),
        "seconds": ("CPU seconds", "{}"),
    }
    text = _report.markdown(lines, headings)
    return f"{text}\n\nMeans and standard deviations of {seeds} splits."


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flows", nargs="+", default=["maf", "realnvp"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)

    path = ROOT / "results" / "pixel_noise.jsonl"
    path.parent.mkdir(exist_ok=True)
    rows = []
    if path.exists():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    done = {(row["way"], row["flow"], row["seed"]) for row in rows}
    for seed in range(args.seeds):
        for name in args.flows:
            for way in WAYS:
                if (way, name, seed) in done:
                    continue
                rows.append(measure(way, name, seed))
                print(rows[-1], flush=True)
                with path.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    text = table(rows, args.flows, args.seeds)
    print(text)
    if args.write_doc:
        _report.replace_block(ROOT / "doc" / "flow_features.md", "pixel noise", text)


if __name__ == "__main__":
    main()
