"""Instances of the public estimators for the common tests, and what they are fitted on.

The only list: a new estimator needs a line in its table if it has required parameters,
or if its defaults take more than a second on a few hundred rows, and none elsewhere.
"""

import inspect

import numpy as np
from sklearn.base import clone, is_regressor

from skdre import Dequantizer
from skdre.utils import all_estimators

__all__ = ["fit_arguments", "make_instances", "one_of_each", "without_networks"]


def _table():
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    from skdre import (
        ClassifierRatio,
        FlowFeaturizer,
        GaussianRatio,
        KMMRatio,
        LSIFRatio,
        MLPRatio,
    )

    kmm = KMMRatio(random_state=0)
    # Few steps, and large ones. No check looks at how well is chosen, only at the
    # choice being made: few folds, and no search in a search.
    steps = {"max_iter": 30, "learning_rate": 0.02}
    plug_in, lsif = GaussianRatio(shrink=False), LSIFRatio(gamma=1.0, ridge=0.1)
    network = {"hidden_features": (16, 16), "n_estimators": 2} | steps
    annealing = {"normalizer": "annealing", "n_chains": 20, "n_steps": 2}
    return {
        "AlignedClassifier": [{"estimator": LogisticRegression()}],
        "AutoRatio": [
            {
                "candidates": [
                    ("plug-in", plug_in),
                    (
                        "network",
                        MLPRatio(**steps, hidden_features=(8,), n_estimators=3),
                    ),
                ],
                "cv": 3,
            }
        ],
        # Neither depends on a seed or on the order of the rows: held to all digits.
        "ClassifierRatio": [{}, {"calibration": "sigmoid", "cv": 2}],
        "FlowClassifierRatio": [
            network
            | {"n_transforms": 1, "flow_hidden_features": (8,)}
            | {"marginals": "standardize", "batch_size": 64}
            | {"max_iter": 25, "learning_rate": 0.01}
        ],
        "FlowFeaturizer": [
            {"n_transforms": 1, "hidden_features": (8,), "max_epochs": 3},
            {"flow": "copula"},
            {"n_transforms": 1, "hidden_features": (8,), "max_epochs": 1}
            | {"flow": "auto", "marginals": "standardize"},
        ],
        "GaussianRatio": [{}, {"shrink": "james-stein"}, {"shrink": False}],
        "ImportanceWeighted": [
            {"estimator": LogisticRegression(), "ratio": kmm},
            {"estimator": Ridge(), "ratio": kmm},
        ],
        "JackknifeRatio": [
            {"estimator": plug_in, "n_folds": 3, "n_repeats": 2},
            {"estimator": lsif, "n_folds": 3, "n_repeats": 1},
        ],
        "KLIEPRatio": [
            {"n_components": 15, "cv": 2},
            {"gamma": 0.5, "intercept": False},
        ],
        # With its bandwidth given, KMMRatio depends on no seed: held to all digits.
        "KMMRatio": [{}, {"gamma": 0.5}, {"ridge": 0}],
        "LSIFRatio": [{}, {"alpha": 0.0}, {"gamma": 1.0, "ridge": 0.1}],
        "LikelihoodRatioAligner": [
            {},
            {
                "flow": "realnvp",
                "density": "realnvp",
                "n_transforms": 1,
                "hidden_features": (8,),
                "max_iter": 2,
            },
        ],
        "MLPRatio": [network],
        "MultinomialRatio": [network],
        "MutualInformation": [{"ratio": ClassifierRatio(), "cv": 2, "random_state": 0}],
        "Pipeline": [{"steps": [("scale", StandardScaler()), ("kmm", kmm)]}],
        "RatioDensity": [
            {"ratio": GaussianRatio()} | annealing,
            {"ratio": ClassifierRatio(), "base": FlowFeaturizer("copula")} | annealing,
        ],
        "TargetedSampler": [{"flow": FlowFeaturizer("gaussian"), "ratio": plug_in}],
        "WeightedConformalRegressor": [
            {"estimator": Ridge(), "ratio": kmm, "random_state": 0}
        ],
        "TelescopingRatio": [network, {"estimator": lsif, "n_bridges": 2}],
        "TimeScoreRatio": [
            # It starts from the Gaussian plug-in.
            {"hidden_features": (16, 16)}
            | steps
            | {"max_iter": 10, "learning_rate": 0.05}
        ],
    }


def make_instances(type_filter=None):
    """List instances of the public estimators, with the parameters of the table."""
    table = _table()
    return [
        # A clone, so that instances share no nested estimator.
        clone(estimator(**params))
        for name, estimator in all_estimators(type_filter)
        for params in table.get(name, [{}])
    ]


def one_of_each(type_filter=None):
    """Name of each public estimator to its first instance."""
    instances = reversed(make_instances(type_filter))
    return {type(each).__name__: each for each in instances}


def without_networks(instances):
    """Those ratio estimators among the instances that train no network, seeded."""
    found = []
    for each in instances:
        names = each.get_params()
        if not any(name.endswith(("device", "steps")) for name in names):
            seed = {"random_state": 0} if "random_state" in names else {}
            found.append(each.set_params(**seed))
    return found


def fit_arguments(estimator, X, y):
    """What the estimator's `fit` takes, made from rows X and their domains y."""
    parameters = inspect.signature(estimator.fit).parameters
    if "Y" in parameters:
        return {"X": X, "Y": np.sin(X) + 0.1 * X[::-1]}
    if isinstance(estimator, Dequantizer):
        return {"X": np.abs(np.round(9 * X))}
    if "X_target" in parameters:
        source = X[y == 0]
        target = source[:, 0] if is_regressor(estimator) else source[:, 0] > 0
        return {"X": source, "y": target.astype(float), "X_target": X[y == 1]}
    return {"X": X, "y": y}
