"""Jobs that people come with, beside the packages that they use for them today.

Three jobs, each on simulated data whose answer is known:

* effect: the average effect of a treatment, beside ``balance`` and WeightIt's
  entropy balancing, whose published formula is minimised here by its own optimiser;
* simulator: a simulation reweighted to data, beside hep_ml's ``GBReweighter``, with
  weights of one sign and with negative ones;
* prevalence: shares of classes under label shift, beside quapy.

::

    python benchmarks/peers.py install by_task
    python benchmarks/by_task.py --write-doc
    python benchmarks/by_task.py --jobs prevalence --draws 5

Every result is appended to results/by_task.csv as it is found, and a run goes on where
the last one ended. The tables go to the screen, and with --write-doc to
doc/benchmarks/by_task.md.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import _finished
import _jobs
import _report
import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import cross_val_predict

from skdre import (
    AutoRatio,
    ClassifierRatio,
    GaussianRatio,
    LSIFRatio,
    balance_table,
    balance_weights,
    pool,
    treatment_weights,
)

ROOT = Path(__file__).resolve().parent.parent
DRAWS = {"effect": 40, "simulator": 5, "prevalence": 100}
# These take ten to a thousand times as long as the others.
SLOW = {
    "balance, cbps": 20,
    "balance, ipw": 3,
    "treatment_weights, AutoRatio": 10,
}


# --- the effect of a treatment ------------------------------------------------------

EFFECT = 1.0


def trial(seed, n=1000, d=5):
    """Rows, treatment, outcome; the effect is 1 + x_0 / 2, and 1 on average."""
    rng = np.random.default_rng([1, seed])
    X = rng.normal(size=(n, d))
    odds = 0.6 * X[:, 0] - 0.4 * X[:, 1] + 0.4 * X[:, 0] * X[:, 1] - 0.3
    treatment = rng.random(n) < expit(odds + 0.3 * (X[:, 2] ** 2 - 1))
    base = X[:, 0] + 0.5 * X[:, 1] ** 2 + np.sin(X[:, 2]) + X[:, 0] * X[:, 1]
    outcome = base + treatment * (EFFECT + X[:, 0] / 2) + rng.normal(size=n)
    return X, treatment, outcome


def weightit_ebal(source, target):
    """WeightIt's method="ebal", moments=1: its objective, and BFGS as in R's optim."""
    C = (source - target.mean(axis=0)) / target.std(axis=0, ddof=1)

    def loss(z):
        log_weight = -C @ z
        log_sum = logsumexp(log_weight)
        return log_sum, -np.exp(log_weight - log_sum) @ C

    found = minimize(loss, np.zeros(C.shape[1]), jac=True, method="BFGS", tol=1e-9)
    weights = np.exp(-C @ found.x)
    return weights / weights.mean()


def by_arms(weigh):
    """Weights of each arm to be like all rows."""

    def answer(X, treatment, outcome):
        weights = np.empty(len(X))
        for arm in (treatment, ~treatment):
            weights[arm] = weigh(X[arm], X)
        return weights

    return answer


def propensity_of(model):
    def answer(X, treatment, outcome):
        e = cross_val_predict(model, X, treatment, method="predict_proba")[:, 1]
        return treatment_weights(treatment, propensity=e, trim=0.01)

    return answer


def by_ratio(estimator):
    def answer(X, treatment, outcome):
        log_ratio = cross_val_predict(
            estimator, X, treatment, method="decision_function"
        )
        return treatment_weights(treatment, log_ratio=log_ratio)

    return answer


BOOSTING = HistGradientBoostingRegressor(max_iter=60, max_leaf_nodes=8, random_state=0)


def aipw(X, treatment, outcome):
    """Estimate and standard error of augmented inverse probability weighting."""
    e = cross_val_predict(
        HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=8, learning_rate=0.05, random_state=0
        ),
        X,
        treatment,
        method="predict_proba",
    )[:, 1].clip(0.01, 0.99)
    means = []
    for arm in (treatment, ~treatment):
        mean = np.empty(len(X))
        mean[arm] = cross_val_predict(BOOSTING, X[arm], outcome[arm])
        mean[~arm] = clone(BOOSTING).fit(X[arm], outcome[arm]).predict(X[~arm])
        means.append(mean)
    own = np.where(treatment, *means)
    sign = np.where(treatment, 1 / e, -1 / (1 - e))
    score = means[0] - means[1] + sign * (outcome - own)
    return score.mean(), score.std() / np.sqrt(len(X))


EFFECT_METHODS = {
    "no weights": lambda X, treatment, outcome: np.ones(len(X)),
    "WeightIt's ebal, by its formula": by_arms(weightit_ebal),
    "balance_weights": by_arms(lambda s, t: balance_weights(s, t).weights),
    "balance_weights, two moments": by_arms(
        lambda s, t: balance_weights(s, t, moments=2).weights
    ),
    "balance_weights, pairs too": by_arms(
        lambda s, t: balance_weights(_pairs(s), _pairs(t)).weights
    ),
    "treatment_weights, logistic": propensity_of(LogisticRegressionCV(cv=3)),
    "treatment_weights, GaussianRatio": by_ratio(GaussianRatio()),
    "treatment_weights, AutoRatio": by_ratio(AutoRatio(time_budget=10, random_state=0)),
    "balance, cbps": {"kind": "balance", "method": "cbps"},
    "balance, ipw": {"kind": "balance", "method": "ipw"},
}


def _pairs(X):
    i, j = np.triu_indices(X.shape[1])
    return np.column_stack([X, X[:, i] * X[:, j]])


def effect(method, seed, worker):
    X, treatment, outcome = trial(seed)
    start = time.process_time()
    error, seconds = np.nan, None
    if method == "AIPW":
        estimate, error = aipw(X, treatment, outcome)
        largest = np.nan
    else:
        answer = EFFECT_METHODS[method]
        if isinstance(answer, dict):
            seconds, weights = 0.0, np.empty(len(X))
            for arm in (treatment, ~treatment):
                reply = ask(worker, answer, source=X[arm], target=X)
                weights[arm], spent = reply
                seconds += spent
        else:
            weights = answer(X, treatment, outcome)
        seconds = time.process_time() - start if seconds is None else seconds
        w1, w0 = weights[treatment], weights[~treatment]
        estimate = np.average(outcome[treatment], weights=w1)
        estimate -= np.average(outcome[~treatment], weights=w0)
        largest = balance_table(
            X[treatment], X[~treatment], w1, target_weight=w0, scale_by="pooled"
        ).largest_difference
    seconds = time.process_time() - start if seconds is None else seconds
    return {
        "estimate": estimate,
        "error": error,
        "largest": largest,
        "cpu_seconds": seconds,
    }


# --- a simulation reweighted to data ------------------------------------------------

N_EVENTS = 10_000
SIMULATED = multivariate_normal(np.zeros(3), np.eye(3))
_DATA = [
    (0.7, multivariate_normal([0.3, -0.2, 0.0], 0.8)),
    (
        0.3,
        multivariate_normal(
            [1.0, 0.5, -0.6], [[0.6, 0.3, 0], [0.3, 0.6, 0], [0, 0, 0.6]]
        ),
    ),
]


def true_log_ratio(X):
    p = logsumexp([np.log(s) + d.logpdf(X) for s, d in _DATA], axis=0)
    return p - SIMULATED.logpdf(X)


def events(n, rng, signed):
    """Simulated events and their weights; negative ones are more frequent at the right.

    The weighted distribution is the same, N(0, I): where more events are negative there
    are more events.
    """
    X = rng.normal(size=(6 * n, 3))
    if not signed:
        return X[:n], np.ones(n)
    share = 0.35 * expit(2 * X[:, 0])
    X = X[rng.random(len(X)) < 0.3 / (1 - 2 * share)][:n]
    negative = rng.random(n) < 0.35 * expit(2 * X[:, 0])
    return X, np.where(negative, -1.0, 1.0)


def data_events(n, rng):
    kind = rng.random(n) < _DATA[1][0]
    first, second = (d.rvs(n, random_state=rng) for _, d in _DATA)
    return np.where(kind[:, None], second, first)


def weighted_auc(score_p, w_p, score_q, w_q):
    """P(score of p > score of q), ties half, under weights of any sign."""
    order = np.argsort(score_q, kind="stable")
    sorted_q, below = score_q[order], np.append(0, np.cumsum(w_q[order]))
    low, high = (np.searchsorted(sorted_q, score_p, side) for side in ("left", "right"))
    return w_p @ (below[low] + below[high]) / (2 * w_p.sum() * w_q.sum())


def closure(simulated, weight, data, seed):
    """AUC of a classifier of data against reweighted simulation, trained on halves.

    It is trained without the events of negative weight, which no log loss admits, and
    judged with all of them.
    """
    half = len(data) // 2
    positive = weight[:half] > 0
    X = np.concatenate([data[:half], simulated[:half][positive]])
    y = np.repeat([1, 0], [half, positive.sum()])
    w = np.concatenate([np.ones(half), weight[:half][positive]])
    w[half:] *= half / w[half:].sum()
    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=8, random_state=seed
    ).fit(X, y, sample_weight=w)
    scores = (model.decision_function(each[half:]) for each in (data, simulated))
    score_p, score_q = scores
    return weighted_auc(score_p, np.ones(len(score_p)), score_q, weight[half:])


def _fit_ratio(ratio, simulated, data, w_q, new):
    X, y = pool(numerator=data, denominator=simulated)
    ratio.fit(X, y, np.concatenate([np.ones(len(data)), w_q]))
    return ratio.predict_ratio(new)


TREES = HistGradientBoostingClassifier(
    max_iter=100, max_leaf_nodes=8, learning_rate=0.05, random_state=0
)


def by_three_classes(simulated, data, w_q, new):
    """Data, positive and negative events: a ratio from the odds of three classes."""
    X = np.concatenate([data, simulated])
    y = np.append(np.full(len(data), 2), np.where(w_q > 0, 1, 0))
    probability = clone(TREES).fit(X, y).predict_proba(new)
    if probability.shape[1] == 2:
        probability = np.column_stack([np.zeros(len(new)), probability])
    negative, positive, p = probability.T
    # Weights of +1 and -1: the simulation has the density of their difference.
    density = np.maximum(positive - negative, 0.05 * (positive + negative))
    return (p / len(data)) / (density / w_q.sum())


def signed_boosting(simulated, data, w_q, new):
    """scikit-learn's gradient boosting takes negative weights without a word."""
    X, y = pool(numerator=data, denominator=simulated)
    model = clone(TREES).fit(X, y, np.append(np.full(len(data), w_q.mean()), w_q))
    return np.exp(model.decision_function(new))


SIMULATOR_METHODS = {
    "no reweighting": lambda s, d, w, new: np.ones(len(new)),
    "true ratio": lambda s, d, w, new: np.exp(true_log_ratio(new)),
    "LSIFRatio, alpha=0": lambda s, d, w, new: _fit_ratio(
        LSIFRatio(alpha=0, allow_negative_weight=True, random_state=0), s, d, w, new
    ),
    "LSIFRatio, alpha=0.1": lambda s, d, w, new: _fit_ratio(
        LSIFRatio(alpha=0.1, allow_negative_weight=True, random_state=0), s, d, w, new
    ),
    "LSIFRatio, signs ignored": lambda s, d, w, new: _fit_ratio(
        LSIFRatio(alpha=0, random_state=0), s, d, np.abs(w), new
    ),
    "ClassifierRatio, boosted trees": lambda s, d, w, new: _fit_ratio(
        ClassifierRatio(clone(TREES)), s, d, w, new
    ),
    "ClassifierRatio, signs ignored": lambda s, d, w, new: _fit_ratio(
        ClassifierRatio(clone(TREES)), s, d, np.abs(w), new
    ),
    "boosted trees, signed weights": signed_boosting,
    "boosted trees, three classes": by_three_classes,
    "hep_ml, GBReweighter": {"kind": "hep_ml"},
    "hep_ml, GBReweighter, 100 trees": {
        "kind": "hep_ml",
        "n_estimators": 100,
        "learning_rate": 0.1,
        "min_samples_leaf": 100,
    },
}


def simulator(method, seed, worker, *, signed):
    rng = np.random.default_rng([2, seed])
    simulated, w = events(N_EVENTS, rng, signed)
    data = data_events(N_EVENTS, rng)
    new, new_w = events(N_EVENTS, rng, signed)
    new_data = data_events(N_EVENTS, rng)
    answer = SIMULATOR_METHODS[method]
    start = time.process_time()
    if isinstance(answer, dict):
        ratio, seconds = ask(
            worker,
            answer,
            simulated=simulated,
            data=data,
            simulated_weight=w,
            data_weight=np.ones(len(data)),
            new=new,
        )
    else:
        ratio = answer(simulated, data, w, new)
        seconds = time.process_time() - start
    truth = np.exp(true_log_ratio(new))
    # Where a fit has gone astray its ratios overflow.
    ratio = np.clip(ratio, 0, 1e6)
    weights = ratio * new_w
    ratio = ratio / np.average(ratio, weights=new_w) * np.average(truth, weights=new_w)
    # Where data are: errors of the ratio where it is next to nothing hardly matter.
    wrong = np.average(np.abs(ratio - truth), weights=None) / truth.mean()
    distance = 0.0
    for j in range(3):
        place = np.sort(new_data[:, j])[:: len(new_data) // 200]
        share = np.array([(weights * (new[:, j] <= x)).sum() for x in place])
        truth_share = np.searchsorted(np.sort(new_data[:, j]), place, "right")
        gap = np.abs(share / weights.sum() - truth_share / len(new_data)).max()
        distance = max(distance, gap)
    return {
        "auc": closure(new, weights, new_data, seed),
        "distance": distance,
        "ratio_error": wrong,
        "cpu_seconds": seconds,
    }


# --- shares of classes under label shift --------------------------------------------


def labelled(n, share, rng):
    y = (rng.random(n) < share).astype(int)
    return rng.normal(size=(n, 2)) + y[:, None] * [1.2, 0.6], y


def black_box(X, y, new):
    """Lipton et al. (2018): the confusion matrix, from held-out predictions."""
    model = LogisticRegression()
    held_out = cross_val_predict(model, X, y)
    confusion = np.array(
        [[np.mean(held_out[y == k] == j) for k in (0, 1)] for j in (0, 1)]
    )
    found = np.bincount(model.fit(X, y).predict(new), minlength=2) / len(new)
    share = np.linalg.lstsq(confusion, found, rcond=None)[0].clip(0)
    return share / share.sum()


def expectation_maximization(X, y, new):
    """Saerens et al. (2002): posteriors under new priors, until their mean is these."""
    prior = np.bincount(y) / len(y)
    posterior = LogisticRegression().fit(X, y).predict_proba(new)
    share = prior
    for _ in range(1000):
        updated = posterior * (share / prior)
        updated = (updated / updated.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(updated - share).max() < 1e-8:
            break
        share = updated
    return share


def by_covariate_ratio(X, y, new):
    """Weights of the ratio of x: what they average is p(y | x) of the source."""
    ratio = ClassifierRatio().fit(*pool(numerator=new, denominator=X)).predict_ratio(X)
    return np.bincount(y, ratio, 2) / ratio.sum()


PREVALENCE_METHODS = {
    "no shift assumed": lambda X, y, new: np.bincount(y) / len(y),
    "classify and count": lambda X, y, new: (
        np.bincount(LogisticRegression().fit(X, y).predict(new), minlength=2) / len(new)
    ),
    "ratio of x as weights": by_covariate_ratio,
    "black-box shift estimation": black_box,
    "EM": expectation_maximization,
    "quapy, ACC": {"kind": "quapy", "method": "ACC"},
    "quapy, PACC": {"kind": "quapy", "method": "PACC"},
    "quapy, EMQ": {"kind": "quapy", "method": "EMQ"},
}


def prevalence(method, seed, worker):
    rng = np.random.default_rng([3, seed])
    goal = rng.uniform(0.05, 0.95)
    X, y = labelled(1000, 0.5, rng)
    new, y_new = labelled(1000, goal, rng)
    answer = PREVALENCE_METHODS[method]
    start = time.process_time()
    if isinstance(answer, dict):
        found, seconds = ask(worker, answer, X=X, y=y, new=new)
    else:
        found = answer(X, y, new)
        seconds = time.process_time() - start
    return {"share_error": abs(found[1] - y_new.mean()), "cpu_seconds": seconds}


# --- running ------------------------------------------------------------------------

COLUMNS = [
    *("estimate", "error", "largest", "auc", "distance", "ratio_error"),
    *("share_error", "cpu_seconds"),
]


def ask(worker, options, **problem):
    """What a package answers, and the seconds of CPU that it took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, **problem)
        reply = worker.ask(options=options, problem=str(path))
    if "note" in reply:
        raise RuntimeError(reply["note"])
    return reply["found"], sum(reply["cpu_seconds"])


def simulator_signed(method, seed, worker):
    return simulator(method, seed, worker, signed=True)


def simulator_positive(method, seed, worker):
    return simulator(method, seed, worker, signed=False)


JOBS = {
    "effect": (effect, [*EFFECT_METHODS, "AIPW"]),
    "simulator": (simulator_positive, list(SIMULATOR_METHODS)),
    "simulator, signed": (simulator_signed, list(SIMULATOR_METHODS)),
    "prevalence": (prevalence, list(PREVALENCE_METHODS)),
}
# What signs change is measured where there are some.
LEFT_OUT = {
    "simulator": {
        *("LSIFRatio, signs ignored", "ClassifierRatio, signs ignored"),
        *("boosted trees, signed weights", "boosted trees, three classes"),
    },
    "simulator, signed": {"ClassifierRatio, boosted trees"},
}


def run(jobs, draws, runs):
    with _jobs.Worker("by_task", "_by_task.py", threads=1) as worker:
        print(worker.versions)
        for job in jobs:
            function, methods = JOBS[job]
            for method in methods:
                if method in LEFT_OUT.get(job, ()):
                    continue
                most = draws or DRAWS[job.partition(",")[0]]
                for seed in range(min(most, SLOW.get(method, most))):
                    key = {"job": job, "method": method, "seed": seed}
                    if key in runs:
                        continue
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        found = function(method, seed, worker)
                    runs.add(key | dict.fromkeys(COLUMNS, "") | found)
        return worker.versions


def tables(frame):
    """Each job's table in Markdown."""
    found = {}
    for job in JOBS:
        rows = []
        for method, part in frame[frame["job"] == job].groupby("method", sort=False):
            number = len(part)
            row = {"method": method, "draws": number}
            row["seconds"] = part["cpu_seconds"].mean()
            if job == "effect":
                wrong = part["estimate"] - EFFECT
                row["bias"] = f"{wrong.mean():+.3f} ± {wrong.sem():.3f}"
                row["rmse"] = np.sqrt((wrong**2).mean())
                row["largest"] = (
                    ""
                    if part["largest"].isna().all()
                    else f"{part['largest'].mean():.3f}"
                )
                covered = (wrong.abs() < 1.96 * part["error"]).mean()
                row["covered"] = "" if part["error"].isna().all() else f"{covered:.2f}"
            elif job == "prevalence":
                error = part["share_error"]
                row["share_error"] = f"{error.mean():.4f} ± {error.sem():.4f}"
            else:
                row["auc"] = f"{part['auc'].mean():.3f} ± {part['auc'].sem():.3f}"
                row["distance"] = part["distance"].mean()
                row["ratio_error"] = part["ratio_error"].mean()
            rows.append(row)
        found[job] = _report.markdown(rows, {"method": ("", "{}")} | HEADINGS[job])
    return found


_END = {"seconds": ("CPU seconds", "{:.2f}"), "draws": ("draws", "{}")}
HEADINGS = {
    "effect": {
        "bias": ("bias", "{}"),
        "rmse": ("root mean square error", "{:.3f}"),
        "largest": ("largest difference of means / SD", "{}"),
        "covered": ("95 % intervals that cover", "{}"),
    }
    | _END,
    "simulator": {
        "auc": ("closure AUC", "{}"),
        "distance": ("largest KS distance", "{:.3f}"),
        "ratio_error": ("error of the ratio", "{:.3f}"),
    }
    | _END,
    "prevalence": {"share_error": ("absolute error of the share", "{}")} | _END,
}
HEADINGS["simulator, signed"] = HEADINGS["simulator"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", nargs="*", choices=JOBS, default=list(JOBS))
    parser.add_argument("--draws", type=int, default=0, help="default: each job's own")
    parser.add_argument("--write-doc", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    args = parser.parse_args()
    runs = _finished.Runs(args.out / "by_task.csv", ["job", "method", "seed"], COLUMNS)
    versions = run(args.jobs, args.draws, runs)
    found = tables(runs.frame())
    for job, table in found.items():
        print(f"\n{job}\n{table}")
    if args.write_doc:
        page = ROOT / "doc" / "benchmarks" / "by_task.md"
        for job, table in found.items():
            _report.replace_block(page, job.replace(", ", "-"), table)
        listed = ", ".join(f"{name} {number}" for name, number in versions.items())
        _report.replace_block(page, "versions", f"{listed}. {_report.machine(1)}")


if __name__ == "__main__":
    main()
