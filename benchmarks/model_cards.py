"""A card of each ratio estimator: seconds, memory, errors, needs and failures.

Every public ratio estimator, with its defaults, is fitted on problems whose log ratio
is known, each time in a process of its own with one thread::

    python benchmarks/model_cards.py --write-doc
    python benchmarks/model_cards.py --estimators KMMRatio --quick

Times and memory are of one problem at three sizes, errors of several at one. A
finished run stands in results/model_cards.csv and is not run again, so the script can
be stopped and go on, and an estimator that is new only adds its own runs. With
--write-doc the table goes to doc/model_cards.md. The words in it stand here.
"""

import argparse
import multiprocessing
import os
import time
import warnings
from functools import cache
from multiprocessing import forkserver
from pathlib import Path

import _report
import numpy as np
from _finished import Runs

import skdre

ROOT = Path(__file__).resolve().parent.parent

SIZES = [500, 2000, 10_000]
# Ten columns, far from Gaussian, overlapping: nobody is done at once.
TIMED = "clusters_d10"
JUDGED_SIZE = 2000
JUDGED = {
    "exp_d6": "skewed columns",
    "moons": "half circles",
    TIMED: "clusters in ten columns",
    "far_gaussians_d2": "far Gaussians",
}
NEW_ROWS = 2000
# As in the table of all problems: beyond it nobody needs to know the log ratio.
BOUND = 15.0

# What each needs, and where it fails: from the docstrings and doc/choosing.md.
WORDS = {
    "AutoRatio": (
        "nothing has to be set; takes categories, words and missing values",
        "where bounded weights are wanted; samples of some ten rows, of which none "
        "can be held out with profit",
    ),
    "ClassifierRatio": (
        "a classifier that fits the log odds (default: logistic regression); "
        "`calibration` for one that is over-confident",
        "where the classifier does: the default on anything but a linear log ratio; "
        "samples that hardly overlap",
    ),
    "FlowClassifierRatio": (
        "continuous columns, some thousands of rows; takes skewed columns as they are; "
        "for the features and the density too",
        "few rows; samples that hardly overlap",
    ),
    "GaussianRatio": (
        "two Gaussians, or nearly; few rows do, even fewer than columns",
        "whatever the first two moments do not show",
    ),
    "KLIEPRatio": (
        "round data, three columns at most; standardises columns itself",
        "ten columns and more, where it may be constant; log ratios below log(0.0001); "
        "far samples",
    ),
    "KMMRatio": (
        "round data; for weights of training rows, up to a million",
        "the size of small and large ratios; columns of unlike shape, unless behind "
        "`FlowFeaturizer`",
    ),
    "LSIFRatio": (
        "round data, some 20 columns at most",
        "small ratios; far samples; columns of unlike shape",
    ),
    "MLPRatio": (
        "a thousand rows; no assumption about the shape",
        "samples that hardly overlap: it warns, and the size of the log ratio is too "
        "small",
    ),
    "MultinomialRatio": (
        "columns of one scale; time",
        "extreme tails, unless columns are made normal first",
    ),
    "TelescopingRatio": (
        "columns of one scale; time; more bridges the further the samples lie apart",
        "extreme tails, unless columns are made normal first; half moons far apart",
    ),
    "TimeScoreRatio": (
        "columns of one scale; the most time",
        "extreme tails; thin curved shapes (it is best near Gaussians)",
    ),
}


def estimator_classes():
    from skdre.utils import all_estimators

    return dict(all_estimators("ratio"))


# -- one run, in a process of its own ------------------------------------------------


def _memory(key):
    """A figure of /proc/self/status in MiB, NaN where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def _forget_peak():
    """From here on the peak of the memory counts anew (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def work(problem, estimator, rows, seed, quick=False):
    """Fit one estimator on one sample; what it took, and how far off it is."""
    from skdre.datasets import make_known_ratio

    # By its name: the list of all estimators loads all their libraries.
    cls = getattr(skdre, estimator)
    model = cls()
    if "random_state" in model.get_params():
        model.set_params(random_state=seed)
    if quick and "max_iter" in model.get_params():
        model.set_params(max_iter=30)
    X, y = make_known_ratio(problem, rows, random_state=seed).pool()
    # Seeds of the rows that judge are never those of the rows that fit.
    same, new = (
        make_known_ratio(problem, n, random_state=100_000 + seed)
        for n in (rows, NEW_ROWS)
    )
    X_same, _ = same.pool()
    X_new, _ = new.pool()
    with warnings.catch_warnings():
        # Samples that hardly overlap, and classifiers of the wrong form, are meant.
        warnings.simplefilter("ignore")
        _warm_up(cls)
        before, counts = _memory("VmRSS"), _forget_peak()
        start = time.process_time()
        model.fit(X, y)
        fit_seconds = time.process_time() - start
        peak = _memory("VmHWM") - before if counts else float("nan")
        start = time.process_time()
        model.decision_function(X_same)
        predict_seconds = time.process_time() - start
        log_ratio = model.decision_function(X_new)
    found, truth = (
        np.clip(each, -BOUND, BOUND) for each in (log_ratio, new.log_ratio(X_new))
    )
    return {
        "fit_seconds": fit_seconds,
        "predict_seconds": predict_seconds,
        "memory": max(peak, 0.0),
        "error": float(np.mean((found - truth) ** 2)),
    }


def _warm_up(cls):
    """A fit in no time: what is loaded or compiled once is no part of another fit."""
    from skdre.datasets import make_known_ratio

    X, y = make_known_ratio(TIMED, 20, random_state=0).pool()
    model = cls()
    known = model.get_params()
    if "near" in known:  # chooses among others, which have no limit of their own
        model = skdre.MLPRatio()
        known = model.get_params()
    short = {"max_iter": 2, "n_estimators": 2, "hidden_features": (4,)}
    model.set_params(**{key: short[key] for key in short if key in known})
    model.fit(X, y).decision_function(X)


@cache
def _processes():
    """Processes forked off one that has the libraries, and nothing else, loaded."""
    context = multiprocessing.get_context("forkserver")
    rooms = ("auto", "bridges", "classification", "datasets", "flows", "kernel")
    context.set_forkserver_preload(["pandas", *(f"skdre.{room}" for room in rooms)])
    # Read when the libraries are loaded, there and not here.
    own = dict(os.environ)
    os.environ.update(_report.threads(1), CUDA_VISIBLE_DEVICES="")
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(own)
    return context


def _report_work(connection, job):
    try:
        found = work(**job)
    except Exception as error:  # whatever an estimator raises is a result
        found = {"reason": f"{type(error).__name__}: {error}"}
    connection.send(found)


def run(job, timeout):
    """The figures of one run, or the reason why there are none."""
    receiver, sender = _processes().Pipe(duplex=False)
    process = _processes().Process(target=_report_work, args=(sender, job))
    process.start()
    sender.close()
    found = {"reason": f"over {timeout:g} s"}
    if receiver.poll(timeout):
        try:
            found = receiver.recv()
        except EOFError:
            found = {"reason": "killed"}
    process.kill()
    process.join()
    return found


def jobs(estimators, sizes, quick):
    """Every run, the quick ones first so that a stopped script leaves whole lines."""
    judged = [(name, min(JUDGED_SIZE, max(sizes))) for name in JUDGED]
    timed = [(TIMED, size) for size in sizes]
    for name in estimators:
        for problem, rows in dict.fromkeys(timed + judged):
            yield {
                "problem": problem,
                "estimator": name,
                "rows": rows,
                "seed": 0,
                **({"quick": True} if quick else {}),
            }


# -- the table -----------------------------------------------------------------------


def _short(value):
    if value < 0.0005:
        return "<.001"
    if value < 0.01:
        return f"{value:.3f}".lstrip("0")
    return f"{value:.2g}".removeprefix("0") if value < 100 else f"{value:.0f}"


def _memory_of(value):
    return "<1" if value < 1 else f"{value:.0f}"


def cells(runs, name, sizes):
    """The line of one estimator."""
    own = runs[runs["estimator"] == name].drop_duplicates(["problem", "rows"])
    own = own.set_index(["problem", "rows"])

    def figure(key, column, form):
        if key not in own.index:
            return "?"
        value = own.loc[key, column]
        return "-" if np.isnan(value) else form(value)

    def over_sizes(column, form):
        return " / ".join(figure((TIMED, size), column, form) for size in sizes)

    needs, fails = WORDS[name]
    line = {
        "estimator": f"`{name}`",
        "fit": over_sizes("fit_seconds", _short),
        "predict": over_sizes("predict_seconds", _short),
        "memory": over_sizes("memory", _memory_of),
    }
    judged_at = min(JUDGED_SIZE, max(sizes))
    for problem in JUDGED:
        line[problem] = figure((problem, judged_at), "error", _short)
    return line | {"needs": needs, "fails": fails}


def table(runs, sizes):
    names = [name for name in estimator_classes() if name in set(runs["estimator"])]
    headings = {
        "estimator": ("estimator", "{}"),
        "fit": ("fit, s", "{}"),
        "predict": ("predict, s", "{}"),
        "memory": ("memory, MiB", "{}"),
        **{name: (words, "{}") for name, words in JUDGED.items()},
        "needs": ("what it needs", "{}"),
        "fails": ("where it fails", "{}"),
    }
    lines = [cells(runs, name, sizes) for name in names]
    return _report.markdown([*lines, truth_line()], headings)


PAGE = """# Model cards

Every ratio estimator with its defaults, made by
[benchmarks/model_cards.py](../benchmarks/model_cards.py). Which one to take is said in
words, with more problems and more estimators inside `ClassifierRatio`, in
[choosing.md](choosing.md).

* **fit, predict**: seconds of one core at {sizes} rows a side, in {columns}
  columns (`{timed}`); a fit includes the search for its parameters where there is one;
  predictions are for as many new rows of both samples.
* **memory**: the most that the fit took beyond what was there before it, the data and
  the loaded libraries, at the same sizes.
* The other figures are mean squared errors of the log ratio, in squared nats, fitted on
  {judged:,} rows a side, at {new_rows:,} new ones, estimate and truth clipped at
  ±{bound:g}; one sample each (seed 0) of `make_known_ratio`: {problems}.
  The last line is a ratio of 1 everywhere.

{table}

{machine}
"""


def truth_line():
    """The errors of a ratio of 1 everywhere, which knows nothing."""
    from skdre.datasets import make_known_ratio

    line = {"estimator": "(log r = 0)"}
    for problem in JUDGED:
        new = make_known_ratio(problem, NEW_ROWS, random_state=100_000)
        truth = np.clip(new.log_ratio(new.pool()[0]), -BOUND, BOUND)
        line[problem] = _short(np.mean(truth**2))
    return line


def page(runs, sizes):
    from skdre.datasets import make_known_ratio

    load = runs["load"].astype(float)
    machine = (
        f"Measured on {_report.machine('one')[:-2]}. Other work ran on it: the "
        f"load average was {load.mean():.1f} ({load.min():.1f} to {load.max():.1f}). "
        "The seconds are of processor time, and rather too many than too few."
    )
    return PAGE.format(
        sizes=", ".join(f"{size:,}" for size in sizes[:-1]) + f" and {sizes[-1]:,}",
        columns=make_known_ratio(TIMED, 2).numerator.shape[1],
        timed=TIMED,
        new_rows=NEW_ROWS,
        judged=min(JUDGED_SIZE, max(sizes)),
        bound=BOUND,
        problems=", ".join(f"`{name}`" for name in JUDGED),
        table=table(runs, sizes),
        machine=machine,
    )


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--estimators", nargs="+", help="by name; all by default")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--timeout", type=float, default=300, help="seconds a run")
    parser.add_argument("--minutes", type=float, default=np.inf, help="then stop")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--quick", action="store_true", help="few steps, small sizes")
    parser.add_argument("--write-doc", action="store_true")
    parser.add_argument("--doc", type=Path, default=ROOT / "doc" / "model_cards.md")
    args = parser.parse_args(argv)
    sizes = [20, 40, 60] if args.quick else args.sizes
    known = list(estimator_classes())
    if unknown := set(args.estimators or ()) - set(known):
        parser.error(f"unknown estimators {sorted(unknown)}; there are {known}")

    results = ["fit_seconds", "predict_seconds", "memory", "error", "load", "reason"]
    runs = Runs(
        args.out / "model_cards.csv", ["problem", "estimator", "rows", "seed"], results
    )
    stop = time.monotonic() + 60 * args.minutes
    for job in jobs(args.estimators or known, sizes, args.quick):
        if job in runs or time.monotonic() > stop:
            continue
        found = run(job, args.timeout)
        job.pop("quick", None)
        row = dict.fromkeys(results, "") | {"load": os.getloadavg()[0]} | job | found
        runs.add(row)
        print(job["estimator"], job["problem"], job["rows"], found, flush=True)
    frame = runs.frame()
    print(table(frame, sizes))
    if args.write_doc:
        args.doc.write_text(page(frame, sizes))


if __name__ == "__main__":
    main()
