"""What AutoRatio is measured beside: the package's own estimators, and its peers.

xgboost, lightgbm and hep_ml are used where they can be imported; adapt and densratio
where their environments are installed (see peers.py). What is missing is left out, and
said once.
"""

import importlib.util
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import _jobs
import numpy as np
import peers
from scipy.spatial.distance import pdist
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split

from skdre import (
    ClassifierRatio,
    GaussianRatio,
    KLIEPRatio,
    KMMRatio,
    LSIFRatio,
    MLPRatio,
    TelescopingRatio,
    TimeScoreRatio,
)

__all__ = ["contenders"]

# Kinds of shift whose samples hardly overlap: where bridges are worth their time.
FAR = ("ring in a box", "cut support", "far mixtures", "Gaussians 3 apart")
# Seconds after which a peer in its own environment is given up.
PATIENCE = 200
# Of the median distance between rows.
BANDWIDTHS = 2.0 ** np.arange(-2, 3)


class EarlyStopped(ClassifierMixin, BaseEstimator):
    """A boosting of xgboost or lightgbm that a fifth of its rows stops."""

    def __init__(self, package="xgboost", seed=0):
        self.package = package
        self.seed = seed

    def fit(self, X, y, sample_weight=None):
        rows = np.arange(len(y))
        train, held_out = train_test_split(
            rows, test_size=0.2, stratify=y, random_state=self.seed
        )
        params = {"n_estimators": 1000, "learning_rate": 0.1, "n_jobs": 1}
        params |= {"random_state": self.seed}
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
        given = {"sample_weight": weight[train]}
        if self.package == "xgboost":
            from xgboost import XGBClassifier

            model = XGBClassifier(**params, early_stopping_rounds=20, max_depth=4)
            given["sample_weight_eval_set"] = [weight[held_out]]
            given["verbose"] = False
        else:
            from lightgbm import LGBMClassifier, early_stopping

            model = LGBMClassifier(**params, num_leaves=15, verbose=-1)
            given["eval_sample_weight"] = [weight[held_out]]
            given["callbacks"] = [early_stopping(20, verbose=False)]
        model.fit(X[train], y[train], eval_set=[(X[held_out], y[held_out])], **given)
        self.model_ = model
        self.classes_ = model.classes_
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)

    def predict(self, X):
        return self.model_.predict(X)


class Reweighter:
    """hep_ml's GBReweighter, whose weights of the denominator's rows are the ratio."""

    def __init__(self, seed):
        self.seed = seed

    def fit(self, X, y):
        from hep_ml.reweight import GBReweighter

        self.model_ = GBReweighter(gb_args={"random_state": self.seed})
        self.model_.fit(original=X[y == 0], target=X[y == 1])
        mean = self.model_.predict_weights(X[y == 0]).mean()
        self.log_scale_ = np.log(mean)
        return self

    def decision_function(self, X):
        return np.log(self.model_.predict_weights(X)) - self.log_scale_


class Elsewhere:
    """A peer in an environment of its own, which tells the log ratio at given rows."""

    def __init__(self, environment, script, options, seed):
        self.environment, self.script = environment, script
        self.options, self.seed = options, seed

    def fit(self, X, y):
        self.X_, self.y_ = X, y
        return self

    def log_ratio(self, new):
        """Log ratio at new rows, and the CPU seconds of the fit."""
        some = np.random.default_rng(self.seed).permutation(len(self.X_))[:500]
        gamma = 0.5 / np.median(pdist(self.X_[some])) ** 2
        with tempfile.TemporaryDirectory() as folder:
            problem = str(Path(folder) / "problem.npz")
            np.savez(
                problem,
                Xp=self.X_[self.y_ == 1],
                Xq=self.X_[self.y_ == 0],
                new=new,
                gammas=gamma / BANDWIDTHS**2,
                median_gamma=gamma,
                seed=self.seed,
            )
            answer = _worker(self.environment, self.script).ask(
                timeout=PATIENCE,
                options=self.options,
                problem=problem,
                gamma_factor=None,
                warm_up=False,
                repeats=1,
                budget=1,
            )
        if "note" in answer:
            _workers.pop((self.environment, self.script)).__exit__()
            raise RuntimeError(answer["note"])
        return answer["log_ratio"], float(answer["cpu_seconds"][0])


_workers = {}


def _worker(environment, script):
    key = environment, script
    if key not in _workers:
        _workers[key] = _jobs.Worker(environment, script, threads=1)
    return _workers[key]


def close():
    """End the processes of the peers."""
    for each in _workers.values():
        each.__exit__()
    _workers.clear()


@cache
def _is_there(package):
    found = importlib.util.find_spec(package) is not None
    if not found:
        print(f"without {package}, which is not installed", file=sys.stderr)
    return found


@cache
def _has_environment(name):
    try:
        peers.python(name)
    except FileNotFoundError as error:
        print(f"without {name}: {error}", file=sys.stderr)
        return False
    return True


def contenders(kind, seed, n_rows=1000):
    """Name and estimator of all but AutoRatio.

    Parameters
    ----------
    kind : str
        Of _kinds_of_shift.py; the slow ones are left out where samples overlap.
    seed : int
    n_rows : int, default=1000
        Of both samples; the slowest are left out, or made smaller, above 3,000.

    Returns
    -------
    contenders : dict of str to object
    """

    def calibrated(estimator=None):
        return ClassifierRatio(estimator, calibration="sigmoid")

    boosting = HistGradientBoostingClassifier(early_stopping=True, random_state=seed)
    many = n_rows > 3000
    forest = RandomForestClassifier(
        100 if many else 200, min_samples_leaf=3, random_state=seed
    )
    found = {
        "logistic regression": ClassifierRatio(),
        "logistic regression, calibrated": calibrated(),
        "boosting, calibrated": calibrated(boosting),
        "forest, calibrated": calibrated(forest),
        "GaussianRatio": GaussianRatio(),
        "LSIFRatio(alpha=0.1)": LSIFRatio(alpha=0.1, random_state=seed),
        "KLIEPRatio": KLIEPRatio(random_state=seed),
        "KMMRatio": KMMRatio(random_state=seed),
        "MLPRatio": MLPRatio(random_state=seed),
    }
    for package in ("xgboost", "lightgbm"):
        if _is_there(package):
            found[f"{package}, calibrated"] = calibrated(EarlyStopped(package, seed))
    if _is_there("hep_ml"):
        found["hep_ml GBReweighter"] = Reweighter(seed)
    if _has_environment("adapt"):
        for name, options in (("KLIEP", {}), ("RULSIF", {"alpha": 0.1})):
            found[f"adapt {name}"] = Elsewhere(
                "adapt", "_adapt_ratio.py", {"name": name, **options}, seed
            )
    if _has_environment("densratio"):
        options = {"method": "RuLSIF", "alpha": 0.1}
        found["densratio RuLSIF"] = Elsewhere(
            "densratio", "_densratio_ratio.py", options, seed
        )
    if kind in FAR:
        found["TelescopingRatio"] = TelescopingRatio(random_state=seed)
    if kind in FAR and not many:
        found["TimeScoreRatio"] = TimeScoreRatio(random_state=seed)
    return found


def fitted_log_ratios(estimator, X, y, *rows):
    """Fit, and tell the log ratio at sets of rows.

    Returns
    -------
    log_ratios : list of ndarray
    seconds : float
        CPU seconds of the fit.
    """
    start = time.process_time()
    estimator.fit(X, y)
    seconds = time.process_time() - start
    if isinstance(estimator, Elsewhere):
        joined, seconds = estimator.log_ratio(np.concatenate(rows))
        ends = np.cumsum([len(each) for each in rows])[:-1]
        return np.split(joined, ends), seconds
    return [estimator.decision_function(each) for each in rows], seconds
