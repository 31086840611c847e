"""Flows beside nflows, normflows and zuko: rows a second, and seconds to a likelihood.

Each library builds the same flow (transforms, widths, activation), in a process and an
environment of its own, on one thread. They take turns, and the clock is the
processor's, so that what else the machine does falls on all of them alike. Both tables
of doc/benchmarks/flows.md come from one command, about fifteen minutes of one core::

    python benchmarks/peers.py install nflows normflows
    python benchmarks/flows.py --write-doc
    python benchmarks/flows.py --tables rates --features 2 10 --flows maf

The peers have no training loop; theirs is the least that trains (loss, gradient, a
step of AdamW). skdre stands twice: in that loop, and in its own, which clips gradients,
averages weights and looks at held-out rows. The second table, of whole fits, is that of
flow_fits.py. Each turn is a line of results/flows.jsonl as soon as it is over; what is
there is not measured again, so remove the folder before a new run.
"""

import argparse
import json
import statistics
from contextlib import ExitStack
from pathlib import Path

import _jobs
import _report
import flow_fits

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = ROOT / "results" / "flows.jsonl"
# Contender, environment, arguments of its script.
CONTENDERS = {
    "skdre": ("skdre", ["own loop"]),
    "skdre, bare loop": ("skdre", ["bare loop"]),
    "nflows": ("nflows", []),
    "normflows": ("normflows", []),
}
PEERS = ("nflows", "normflows")
BATCH_SIZE = 256
N_BATCHES = 200
N_TRANSFORMS = 5
MANY_FEATURES = 100


def hidden(n_features):
    return (512, 512) if n_features > MANY_FEATURES else (100, 100)


def least_batches(flow, n_features):
    """Steps of a turn at least: the start of a fit is a small part of a fit."""
    if n_features < MANY_FEATURES:
        return 16
    return 8 if flow == "nsf" else 48


def job(flow, n_features, seconds):
    return {
        "options": {
            "flow": flow,
            "n_features": n_features,
            "n_transforms": N_TRANSFORMS,
            "hidden": hidden(n_features),
        },
        "batch_size": BATCH_SIZE,
        "n_batches": N_BATCHES,
        "least_batches": least_batches(flow, n_features),
        "inverse_rows": 64 if n_features > MANY_FEATURES else 1000,
        "seconds": seconds,
    }


def cases(args):
    """What is measured; the peers invert many columns in minutes, and are not asked."""
    for flow in args.flows:
        for n_features in args.features:
            yield flow, n_features, "train"
            if flow == "realnvp" or n_features < MANY_FEATURES:
                yield flow, n_features, "invert"


def contenders_of(what):
    return [each for each in CONTENDERS if what == "train" or "bare" not in each]


def measure_rates(args):
    """Lines of all turns, and the versions of what took them."""
    lines = []
    if RESULTS.exists():
        lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    keys = ("flow", "d", "what", "turn", "contender")
    done = {tuple(line[key] for key in keys) for line in lines}
    versions = {}
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
        for flow, d, what in cases(args):
            for turn in range(args.turns):
                for name in contenders_of(what):
                    case = (flow, d, what, turn, name)
                    if case in done:
                        continue
                    reply = workers[name].ask(do=what, **job(flow, d, args.seconds))
                    line = dict(zip(keys, case, strict=True)) | reply
                    print(*case, reply.get("rate", reply.get("note")), flush=True)
                    if "rate" in reply:
                        lines.append(line)
                        with RESULTS.open("a") as file:
                            file.write(json.dumps(line) + "\n")
    return lines, versions


def rates(lines, what):
    """A row of the table for each flow and number of columns."""
    rows = []
    for flow, d in dict.fromkeys(
        (line["flow"], line["d"]) for line in lines if line["what"] == what
    ):
        mine = [
            line
            for line in lines
            if (line["flow"], line["d"], line["what"]) == (flow, d, what)
        ]
        row = {"flow": flow, "d": d}
        for name in contenders_of(what):
            found = [line["rate"] for line in mine if line["contender"] == name]
            row[name] = statistics.median(found) if found else None
        # In each turn beside those of the same turn.
        ratios = []
        for turn in {line["turn"] for line in mine}:
            of = {x["contender"]: x["rate"] for x in mine if x["turn"] == turn}
            if of.keys() >= {"skdre", *PEERS}:
                ratios.append(of["skdre"] / max(of[name] for name in PEERS))
        row["ahead"] = statistics.median(ratios) if ratios else None
        rows.append(row)
    return sorted(rows, key=lambda row: (row["flow"], row["d"]))


def write_rates(args):
    lines, versions = measure_rates(args)
    headings = {"flow": ("flow", '"{}"'), "d": ("d", "{}")}
    headings |= {name: (name, "{:,.0f}") for name in CONTENDERS}
    headings["ahead"] = ("skdre / best peer", "{:.2f}")
    text = f"Rows a second of training, in batches of {BATCH_SIZE}:\n\n"
    text += _report.markdown(rates(lines, "train"), headings)
    del headings["skdre, bare loop"]
    text += "\n\nRows a second of the inverse, which draws samples:\n\n"
    text += _report.markdown(rates(lines, "invert"), headings)
    text += "\n\nMedians of {} turns, ratios within a turn. {} {}".format(
        args.turns,
        _report.machine(1),
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
    )
    print(text)
    if args.write_doc:
        _report.replace_block(ROOT / "doc" / "benchmarks" / "flows.md", "flows", text)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = ["fits", "rates"]
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables)
    parser.add_argument("--features", type=int, nargs="*", default=[2, 10, 40, 784])
    flows = ["maf", "realnvp", "nsf"]
    parser.add_argument("--flows", nargs="+", choices=flows, default=flows)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11])
    parser.add_argument("--data", nargs="+", help="of the fits; default: all")
    parser.add_argument("--epochs", type=int, default=200, help="of a peer, at most")
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    if "fits" in args.tables:
        flow_fits.write(args)
    if "rates" in args.tables:
        write_rates(args)


if __name__ == "__main__":
    main()
