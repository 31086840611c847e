"""Flows a second: training and inverting, against nflows and normflows.

Each library builds the same flow (transforms, widths, activation), in a process and an
environment of its own, on one thread. They take turns of about a second, and the clock
is the processor's, so that what else the machine does falls on all of them alike::

    python benchmarks/peers.py install nflows normflows
    python benchmarks/flows.py --write-doc
    python benchmarks/flows.py --features 2 10 --flows maf
    python benchmarks/flows.py --features --write-doc  # what is there already

The peers have no training loop; theirs is the least that trains (loss, gradient, a
step of AdamW). skdre stands twice: in that loop, and in its own, which clips gradients,
averages weights and looks at held-out rows. The table goes to the screen and to
results/flows.csv, where it replaces the rows that are measured again; with --write-doc
also to doc/benchmarks/flows.md.
"""

import argparse
import csv
import statistics
from contextlib import ExitStack
from pathlib import Path

import _jobs
import _report

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Contender, environment, arguments of its script.
CONTENDERS = {
    "skdre": ("skdre", ["own loop"]),
    "skdre, bare loop": ("skdre", ["bare loop"]),
    "nflows": ("nflows", []),
    "normflows": ("normflows", []),
}
BATCH_SIZE = 256
N_BATCHES = 200
N_TRANSFORMS = 5


def hidden(n_features):
    return (512, 512) if n_features > 100 else (100, 100)


def inverse_rows(n_features):
    return 64 if n_features > 100 else 1000


def measure(workers, flow, n_features, args):
    """A row of rates for each of what is asked for."""
    job = {
        "options": {
            "flow": flow,
            "n_features": n_features,
            "n_transforms": N_TRANSFORMS,
            "hidden": hidden(n_features),
        },
        "batch_size": BATCH_SIZE,
        "n_batches": N_BATCHES,
        "inverse_rows": inverse_rows(n_features),
        "seconds": args.seconds,
    }
    rows = {
        what: {"flow": flow, "d": n_features, "what": what, "rates": {}}
        for what in args.what
    }
    for name, worker in workers.items():
        made = worker.ask(do="count", **job)
        for row in rows.values():
            row["rates"][name] = []
            row[f"{name} parameters"] = made.get("parameters")
            if "note" in made:
                print(f"{name}: {made['note']}")
    for what, row in rows.items():
        for _ in range(args.rounds):
            for name, worker in workers.items():
                if name == "skdre, bare loop" and what == "invert":
                    continue
                rates = row["rates"][name]
                # What takes far longer than its turn is timed once.
                if rates and rates[0] * args.seconds * 10 < inverse_rows(n_features):
                    continue
                reply = worker.ask(do=what, **job)
                if "note" in reply:
                    print(f"{name} {flow} {n_features}: {reply['note']}")
                else:
                    rates.append(reply["rate"])
        for name, rates in row.pop("rates").items():
            row[name] = statistics.median(rates) if rates else None
        best = max(row[name] or 0 for name in ("nflows", "normflows") if name in row)
        row["ahead"] = row["skdre"] / best if best else None
        shown = {name: row[name] and f"{row[name]:.3g}" for name in workers}
        print(flow, n_features, what, shown, flush=True)
    return list(rows.values())


def read_rows(path):
    """Rows that are there already, by flow, number of features and what is timed."""
    if not path.exists():
        return {}
    rows = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            row["d"] = int(row["d"])
            for name in (*CONTENDERS, "ahead"):
                row[name] = float(row[name]) if row[name] else None
            rows[row["flow"], row["d"], row["what"]] = row
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=int, nargs="*", default=[2, 10, 40, 784])
    flows = ["maf", "realnvp", "nsf"]
    parser.add_argument("--flows", nargs="+", choices=flows, default=flows)
    whats = ["train", "invert"]
    parser.add_argument("--what", nargs="+", choices=whats, default=whats)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()

    path = ROOT / "results" / "flows.csv"
    rows, versions = read_rows(path), {}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(
                _jobs.Worker(
                    environment, f"_{environment}_flow.py", *arguments, threads=1
                )
            )
            for name, (environment, arguments) in CONTENDERS.items()
        }
        for worker in workers.values():
            versions |= worker.versions
        for flow in args.flows:
            for n_features in args.features:
                for row in measure(workers, flow, n_features, args):
                    rows[row["flow"], row["d"], row["what"]] = row
                _report.write_csv(path, rows.values())
    rows = [rows[key] for key in sorted(rows)]
    headings = {"flow": ("flow", '"{}"'), "d": ("d", "{}")}
    headings |= {name: (name, "{:,.0f}") for name in CONTENDERS}
    headings["ahead"] = ("skdre / best peer", "{:.2f}")
    text = f"Rows a second of training, in batches of {BATCH_SIZE}:\n\n"
    text += _report.markdown([row for row in rows if row["what"] == "train"], headings)
    del headings["skdre, bare loop"]
    text += "\n\nRows a second of the inverse, which draws samples:\n\n"
    text += _report.markdown([row for row in rows if row["what"] == "invert"], headings)
    text += "\n\nMedians of {} turns. {} {}".format(
        args.rounds,
        _report.machine(1),
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
    )
    print(text)
    if args.write_doc:
        _report.replace_block(ROOT / "doc" / "benchmarks" / "flows.md", "flows", text)


if __name__ == "__main__":
    main()
