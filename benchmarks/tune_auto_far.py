"""What held-out losses know of networks and of telescoping where samples lie apart.

    OMP_NUM_THREADS=1 python benchmarks/tune_auto_far.py --rows 500 --seeds 1

fits AutoRatio's networks and telescoping on the columns as they are and on normal
scores, whatever its rules say. It prints for each the held-out log loss, the error of
the log ratio at new rows (mean squared, clipped at +-15) and the seconds of the fit;
for telescoping also by how many standard errors it is better than the plug-in on the
bridges, and than the best network by log loss. The rules of skdre.auto._decide for such
samples were chosen by this, on problems whose role is "tuning" and on kinds of shift
with odd seeds.
"""

import argparse
import json
import warnings

import numpy as np
from _kinds_of_shift import KINDS, clipped_error, draw

from skdre import AutoRatio, GaussianRatio, TelescopingRatio
from skdre._core.samples import PooledRows
from skdre.auto import _estimator
from skdre.auto._bridges import bridge_comparison
from skdre.auto._cross_fit import mean_log_ratio
from skdre.datasets import make_known_ratio

PROBLEMS = [
    *("lumps_d1", "spirals", "checkerboard", "cubic_d3", "banana_d4", "shell_d5"),
    *("far_funnel_d10", "far_clusters_d20", "far_gaussians_d30"),
    *("ring in a box", "cut support", "far mixtures"),
]


def data(problem, n, seed):
    """Rows, labels, new rows and their true log ratio."""
    if problem in KINDS:
        return draw(problem, n, seed)
    shift = make_known_ratio(problem, n, random_state=seed)
    new, _ = make_known_ratio(problem, 1500, random_state=1000 + seed).pool()
    return *shift.pool(), new, shift.log_ratio(new)


def run(problem, n, seed):
    """Lines of the candidates."""
    X, y, new, truth = data(problem, n, seed)
    seen = []

    def decide(*args):
        seen.append(args)
        return rule(*args)

    rule, _estimator.decide = _estimator.decide, decide
    is_worth, _estimator.is_worth_a_try = _estimator.is_worth_a_try, lambda *_: True
    kept = ("Gaussian", "plug-in", "network", "telescoping")
    candidates = [
        each for each in AutoRatio.default_candidates() if each[0].startswith(kept)
    ]
    try:
        ratio = AutoRatio(candidates, random_state=seed).fit(X, y)
    finally:
        _estimator.decide, _estimator.is_worth_a_try = rule, is_worth
    trials, held_out, (forms, rows, shares, _) = seen[-1]
    inputs = ratio._forms(ratio._forms.columns.coded(new))
    losses = {each.name: held_out.losses(each.fit.log_ratio) for each in trials}
    networks = [losses[name] for name in losses if name.startswith("network")]
    best = min(networks, key=lambda each: held_out.balanced @ each)
    for each in trials:
        found = mean_log_ratio(each.fit.models, inputs[each.form])
        line = {
            "problem": problem,
            "rows": n,
            "seed": seed,
            "candidate": each.name,
            "error": round(clipped_error(truth, found), 3),
            "loss": round(float(held_out.balanced @ losses[each.name]), 5),
            "seconds": round(each.seconds, 2),
        }
        if isinstance(each.estimator, TelescopingRatio):
            (plug_in,) = (
                t
                for t in trials
                if isinstance(t.estimator, GaussianRatio) and t.form == each.form
            )
            n_q = int((~rows.is_numerator).sum())
            line["better than the plug-in"] = round(
                bridge_comparison(
                    PooledRows(forms[each.form], rows.weight, rows.is_atom, n_q),
                    shares,
                    plug_in.fit.models,
                    each.fit.models,
                    np.random.RandomState(0),
                ),
                1,
            )
            gain, error = held_out.mean_and_error(best - losses[each.name])
            line["better than a network"] = round(gain / error, 1)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--problems", nargs="+", default=PROBLEMS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for n in args.rows:
        for seed in args.seeds:
            for problem in args.problems:
                run(problem, n, seed)
