"""CPU seconds until a flow has learnt its data, beside nflows, normflows and zuko.

Each library trains a masked autoregressive flow of five transformations on the same
rows: the peers with two hidden layers of 100 and the loop that their documentation
shows (Adam at the learning rate given there, batches of 256) with early stopping, skdre
as ``FlowFeaturizer()`` comes. The clock counts training and looks at held-out rows; the
test rows are looked at off the clock. flows.py runs it::

    python benchmarks/flows.py --tables fits --write-doc

The goal is the test log likelihood of the best peer's run to its end, less 0.02 nats a
column. Lines go to results/flow_fits.jsonl as they come; what is there is not measured
again.
"""

import json
import statistics
from contextlib import ExitStack
from pathlib import Path

import _jobs
import _report
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, make_moons

from skdre import Dequantizer

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("nflows", "normflows", "zuko")
# Contender and environment.
CONTENDERS = {"skdre": "skdre", "nflows": "nflows", "normflows": "normflows"}
CONTENDERS["zuko"] = "skdre"
LEEWAY = 0.02


def power_like(n_rows, rng):
    """Six columns in smooth, skewed and cyclic relations, as of household power."""
    hour = rng.uniform(0, 2 * np.pi, n_rows)
    level = np.exp(0.6 * rng.normal(size=n_rows) + 0.7 * np.sin(hour))
    noise = rng.normal(size=(n_rows, 6))
    columns = [
        hour + 0.1 * noise[:, 0],
        np.log(level) + 0.1 * noise[:, 1],
        0.3 * np.sqrt(level) + 0.1 * noise[:, 2],
        -0.5 * level + 0.3 * noise[:, 3],
        np.where(noise[:, 4] > 0, level, 0.2) + 0.1 * rng.normal(size=n_rows),
        np.cos(hour) * level + 0.2 * noise[:, 5],
    ]
    return np.stack(columns, axis=1)


def hepmass_like(n_rows, rng):
    """21 columns of two kinds of events, correlated, some of them skewed."""
    mix = np.random.default_rng(0).normal(size=(2, 21, 21)) / np.sqrt(21)
    kind = rng.integers(2, size=n_rows)
    latent = rng.normal(size=(n_rows, 21))
    X = np.einsum("nij,nj->ni", mix[kind] + np.eye(21), latent) + kind[:, None]
    X[:, ::3] = np.exp(0.5 * X[:, ::3])
    return X


def data_sets(seed):
    """Name to training rows (held-out ones last) and test rows."""
    rng = np.random.default_rng(seed)
    digits = load_digits().data
    pixels = Dequantizer(17, alpha=0.05, random_state=seed).fit(digits)
    made = {
        "moons": make_moons(6000, noise=0.1, random_state=seed)[0],
        "POWER-like": power_like(6000, rng),
        "HEPMASS-like": hepmass_like(6000, rng),
        "breast cancer": load_breast_cancer().data,
        "digits": pixels.transform(digits),
    }
    for name, X in made.items():
        X = X[rng.permutation(len(X))]
        n_train = min(2000, int(0.7 * len(X)))
        train, test = X[:n_train], X[n_train:]
        mean, scale = train.mean(axis=0), train.std(axis=0)
        scale = np.where(scale > 0, scale, 1)
        # Columns that never change have no density.
        kept = train.std(axis=0) > 0
        yield (
            name,
            ((train - mean) / scale)[:, kept],
            ((test - mean) / scale)[:, kept],
        )


def seconds_to(row, goal):
    """Seconds at which the best weights so far first had the goal; None if never."""
    for seconds, value in row["curve"]:
        if value >= goal:
            return seconds
    return None


def table(rows):
    """A line a data set."""
    lines = []
    for name in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == name]
        line = {"data": f"{name}, {mine[0]['d']} columns"}
        times = {each: [] for each in CONTENDERS}
        for seed in {row["seed"] for row in mine}:
            of_seed = {row["contender"]: row for row in mine if row["seed"] == seed}
            goal = max(of_seed[each]["end"] for each in PEERS if each in of_seed)
            goal -= LEEWAY * mine[0]["d"]
            for each, row in of_seed.items():
                times[each].append(seconds_to(row, goal))
        for each, found in times.items():
            reached = [seconds for seconds in found if seconds is not None]
            ends = [row["end"] for row in mine if row["contender"] == each]
            if not ends:
                continue
            text = f"{statistics.median(reached):.1f} s" if reached else "never"
            if reached and len(reached) < len(found):
                text += f" in {len(reached)} of {len(found)}"
            whole = [row["seconds"] for row in mine if row["contender"] == each]
            line[each] = (
                f"{text} ({statistics.median(whole):.1f} s, "
                f"{statistics.mean(ends):.2f})"
            )
        lines.append(line)
    headings = {"data": ("data", "{}")} | {name: (name, "{}") for name in CONTENDERS}
    return _report.markdown(lines, headings)


def write(args):
    """Measure what is not there yet of the seeds and the data; print and write."""
    path = ROOT / "results" / "flow_fits.jsonl"
    path.parent.mkdir(exist_ok=True)
    rows = []
    if path.exists():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    done = {(row["contender"], row["data"], row["seed"]) for row in rows}
    versions = {}
    with ExitStack() as stack:
        folder = path.parent / "flow_fits"
        folder.mkdir(exist_ok=True)
        workers = {
            name: stack.enter_context(
                _jobs.Worker(environment, f"_{name}_flow.py", "own loop", threads=1)
            )
            for name, environment in CONTENDERS.items()
        }
        for worker in workers.values():
            versions |= worker.versions
        for seed in args.seeds:
            for name, train, test in data_sets(seed):
                if args.data and name not in args.data:
                    continue
                file = folder / "rows.npz"
                np.savez(file, train=train, test=test)
                for contender, worker in workers.items():
                    if (contender, name, seed) in done:
                        continue
                    reply = worker.ask(
                        do="fit",
                        options={
                            "flow": "maf",
                            "n_features": train.shape[1],
                            "n_transforms": 5,
                            "hidden": (100, 100),
                        },
                        rows=str(file),
                        # skdre as it comes.
                        epochs=None if contender == "skdre" else args.epochs,
                        seed=seed,
                    )
                    if "note" in reply:
                        print(contender, name, reply["note"], flush=True)
                        continue
                    row = {"contender": contender, "data": name, "seed": seed}
                    row |= {"d": train.shape[1]} | reply
                    rows.append(row)
                    print(contender, name, row["seconds"], row["end"], flush=True)
                    with path.open("a") as lines:
                        lines.write(json.dumps(row) + "\n")
    text = table(rows)
    text += (
        "\n\nCPU seconds to the goal; in brackets those of the whole fit, and the test "
        "log likelihood that it ends with, in nats; "
        f"{len({row['seed'] for row in rows})} split(s). {_report.machine(1)} "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    )
    print(text)
    if args.write_doc:
        _report.replace_block(ROOT / "doc" / "benchmarks" / "flows.md", "fits", text)
