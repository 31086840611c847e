"""Rules by which AutoRatio may take or mix its candidates, and the errors they lead to.

On the kinds of shift of _kinds_of_shift.py; each candidate is fitted once, and what it
says of held-out and of new rows is stored, so that any rule can be looked at::

    OMP_NUM_THREADS=1 python benchmarks/tune_auto.py folder --rows 500 --seeds 1
    python benchmarks/tune_auto.py folder --write-doc

The second writes the table of doc/benchmarks/errors.md from it. Telescoping
is left out: tune_auto_far.py has it.
"""

import argparse
import pickle
import time
import warnings
from contextlib import nullcontext
from pathlib import Path

import _report
import numpy as np
from _kinds_of_shift import KINDS, clipped_error, draw
from sklearn.base import clone

from skdre import AutoRatio, MLPRatio
from skdre._core.seeds import give_seeds
from skdre.auto._candidates import NormalScoresRatio, default_candidates, normal_scores
from skdre.auto._combine import simplex_weights
from skdre.auto._cross_fit import Manner, cross_fit, mean_log_ratio
from skdre.auto._estimator import Forms, _pooled, _prepare, form_and_estimator
from skdre.auto._folds import deal
from skdre.base import check_pool

PAGE = Path(__file__).resolve().parent.parent / "doc" / "benchmarks" / "errors.md"
# In the order of default_candidates; networks of a member for each fold.
NETWORKS = [
    ("network5", MLPRatio(n_estimators=5)),
    ("network5 on ns", NormalScoresRatio(MLPRatio(n_estimators=5))),
]
ORDER = [
    name
    for name, _ in default_candidates()
    if "network" not in name and "telescoping" not in name
]


def store(kind, n, seed, path):
    """Fit all candidates, and keep their log ratios at held-out and at new rows."""
    X, y, new, truth = draw(kind, n, seed)
    given = check_pool(AutoRatio(), X, y, None)
    columns, rows, values = _prepare(given, X, None)
    shares, held_out = deal(rows, 5, given)
    coded = values[rows.index]
    marginals = normal_scores(_pooled(columns.drawn_in().plain(coded), rows))
    forms = Forms(columns, marginals)
    at_rows, at_new = forms(coded), forms(columns.coded(new))
    manner = Manner(lambda *_: nullcontext(), columns.categorical)
    found = {}
    for number, (name, each) in enumerate(
        [*(pair for pair in default_candidates() if pair[0] in ORDER), *NETWORKS]
    ):
        form, estimator = form_and_estimator(each)
        rng = np.random.RandomState(1000 * seed + number)
        estimator = give_seeds(clone(estimator), rng, replace=False)
        start = time.process_time()
        fit = cross_fit(estimator, at_rows[form], rows, shares, held_out, manner)
        seconds = time.process_time() - start
        told = mean_log_ratio(fit.models, at_new[form])
        found[name] = fit.log_ratio, told, seconds
    record = {"kind": kind, "n": n, "seed": seed, "held": held_out}
    path.write_bytes(pickle.dumps(record | {"truth": truth, "res": found}))


def errors_of_rules(record):
    """Error of each rule, over that of the candidate that is best by the truth."""
    held, found, truth = record["held"], record["res"], record["truth"]
    plain, normal = (
        min(held.loss(found[f"{name}{form}"][0]) for name in names)
        for names, form in (
            (("Gaussian plug-in", "RuLSIF"), ""),
            (("plug-in", "RuLSIF"), " on normal scores"),
        )
    )
    network = NETWORKS[int(normal < plain)][0]
    names = [name for name in [*ORDER, network] if name in found]
    F, new = (np.array([found[name][j] for name in names], float) for j in (0, 1))
    losses = np.array([held.losses(each) for each in F])
    errors = [clipped_error(truth, each) for each in new]
    best = int(np.argmin(losses @ held.balanced))
    mixture = simplex_weights(np.vstack([np.zeros(F.shape[1]), F]), held)[1:]
    mixed = clipped_error(truth, mixture @ new)
    gain, error = held.mean_and_error(losses[best] - held.losses(mixture @ F))

    def simplest(by):
        for k, each in enumerate(losses):
            behind, its_error = held.mean_and_error(each - losses[best])
            if k == best or behind <= by * its_error:
                return errors[k]

    rules = {"the least held-out loss": errors[best], "weights on a simplex": mixed}
    for by in (0.5, 1.0, 1.5):
        name = f"the simplest within {by:g} standard errors"
        rules[name] = simplest(by)
    for by in (1.5, 2.0, 3.0):
        name = f"within 0.5, or the mixture if better by {by:g}"
        rules[name] = mixed if gain > by * error else simplest(0.5)
    return {name: each / min(errors) for name, each in rules.items()}


def write_table(paths):
    records = [pickle.loads(path.read_bytes()) for path in paths]
    records = [each for each in records if not each["kind"].startswith("p =")]
    lines = []
    for n in sorted({each["n"] for each in records}):
        here = [each for each in records if each["n"] == n]
        found = [errors_of_rules(each) for each in here]
        for name in found[0]:
            factors = np.array([each[name] for each in found])
            lines.append(
                {
                    "rows": f"{n:,}",
                    "rule": name,
                    "mean": np.exp(np.log(factors).mean()),
                    "median": np.median(factors),
                    "worst": factors.max(),
                    "problems": len(factors),
                }
            )
    headings = {
        "rows": ("rows a side", "{}"),
        "rule": ("what is taken", "{}"),
        "mean": ("geometric mean", "{:.2f}"),
        "median": ("median", "{:.2f}"),
        "worst": ("worst", "{:.2f}"),
        "problems": ("problems", "{}"),
    }
    seeds = sorted({each["seed"] for each in records})
    text = _report.markdown(lines, headings) + f"\n\nSeeds: {seeds}."
    _report.replace_block(PAGE, "auto-rules", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--write-doc", action="store_true")
    args = parser.parse_args()
    if args.write_doc:
        write_table(sorted(args.folder.glob("*.pkl")))
        raise SystemExit
    args.folder.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")
    for seed in args.seeds:
        for kind in args.kinds:
            path = args.folder / f"{args.rows}_{seed}_{kind.replace(' ', '_')}.pkl"
            if not path.exists():
                store(kind, args.rows, seed, path)
                print(path.name, flush=True)
