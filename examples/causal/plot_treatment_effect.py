"""
The average effect of a treatment
=================================

Patients got a treatment more often when they needed it more, and those who need it more
fare worse without it. The difference of the mean outcomes mixes both. Weights that make
the treated and the untreated alike in all that was measured take the mixture apart: the
treated rows are the numerator of the density ratio, the controls its denominator, and
the ratio is the odds of the propensity score without the share of the treated.

The data are simulated, so the effect is known: it is 1 on average. The page checks the
overlap, weights, looks at the balance, and then combines the weights with a model of
the outcome (augmented inverse probability weighting, AIPW). Everything is cross-fitted
by scikit-learn: no row is judged by a model that has seen it. Mean of 200 draws::

    python examples/causal/plot_treatment_effect.py --draws 200

=========================  ============  ======  =========================
estimate                   bias          spread  95 % intervals that cover
=========================  ============  ======  =========================
difference of means        -1.01 ± .006    .088                       .00
weights of the propensity  +.046 ± .007    .102
balancing weights          +.006 ± .004    .051
AIPW                       +.013 ± .006    .080                      .975
=========================  ============  ======  =========================

Balancing weights do best here because the outcome is a sum of what is balanced: squares
of the columns and two of their products. Who does not know which products matter has
AIPW, and its intervals.
"""

# %%
# Data
# ----
# Severity and age decide both who is treated and how patients fare, and not in straight
# lines.

import argparse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skdre import (
    ClassifierRatio,
    balance_table,
    balance_weights,
    diagnose,
    treatment_weights,
)
from skdre.inspection import LovePlotDisplay

EFFECT = 1.0


def draw(seed, n=2000):
    """Patients, who was treated, and their outcomes."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "age": rng.normal(50, 10, n),
            "severity": rng.gamma(4, 0.5, n),
            "pressure": rng.normal(130, 15, n),
            "smoker": rng.random(n) < 0.3,
        }
    )
    age, severity = (X["age"] - 50) / 10, X["severity"] - 2
    odds = 0.8 * severity - 0.5 * age + 0.4 * age * severity + 0.3 * X["smoker"] - 0.3
    treated = (rng.random(n) < expit(odds)).to_numpy()
    without = -1.5 * severity - 0.5 * age**2 - 0.5 * X["smoker"] + 0.3 * age * severity
    effect = EFFECT + 0.3 * age
    outcome = without + effect * treated + rng.normal(0, 1, n)
    return X, treated, outcome.to_numpy()


# %%
# Do the groups overlap?
# ----------------------
# A ratio of the treated to the controls answers this before any outcome is looked at:
# :func:`skdre.diagnose` says whether some rows of one group have no counterparts in the
# other, and how many rows are left in effect. Logistic regression on products of the
# columns is flexible enough here; the calibration slope says so.

RATIO = ClassifierRatio(
    make_pipeline(
        StandardScaler(), PolynomialFeatures(2), LogisticRegression(C=1.0, max_iter=500)
    )
)


# %%
# Three estimates
# ---------------
# *Weights of the propensity*: cross-fitted log ratios become weights of the average
# treatment effect. *Balancing weights* meet the means, variances and products of the
# columns of all patients exactly. *AIPW* averages, over all patients, the difference of
# two predicted outcomes plus a weighted residual; it is right if either the propensity
# or the outcome model is, and its standard error is that of a mean.


def difference(outcome, treated, weights):
    means = (
        np.average(outcome[arm], weights=weights[arm]) for arm in (treated, ~treated)
    )
    return next(means) - next(means)


def with_products(X):
    """Balanced too: products of the numbers, since the confounding is in them."""
    scaled = (X.astype(float) - X.mean()) / X.std()
    return X.assign(
        age_severity=scaled["age"] * scaled["severity"],
        severity_smoker=scaled["severity"] * scaled["smoker"],
    )


def balanced_to_all(X, treated):
    """Weights of each group that give it the means of all patients."""
    X = with_products(X)
    weights = np.empty(len(X))
    for arm in (treated, ~treated):
        weights[arm] = balance_weights(X[arm], X, moments=2).weights
    return weights


def aipw(X, treated, outcome, log_ratio, seed):
    """Estimate and standard error."""
    model = HistGradientBoostingRegressor(
        max_iter=80, max_leaf_nodes=8, learning_rate=0.08, random_state=seed
    )
    propensity = expit(log_ratio + np.log(treated.mean() / (1 - treated.mean())))
    means = {arm: np.empty(len(X)) for arm in (True, False)}
    for train, test in KFold(5, shuffle=True, random_state=seed).split(X):
        for arm, mean in means.items():
            rows = train[treated[train] == arm]
            fitted = clone(model).fit(X.iloc[rows], outcome[rows])
            mean[test] = fitted.predict(X.iloc[test])
    residual = outcome - np.where(treated, means[True], means[False])
    inverse = np.where(treated, 1 / propensity, -1 / (1 - propensity))
    score = means[True] - means[False] + inverse * residual
    return score.mean(), score.std(ddof=1) / np.sqrt(len(score))


def estimates(seed, n=2000):
    X, treated, outcome = draw(seed, n)
    log_ratio = cross_val_predict(RATIO, X, treated, method="decision_function")
    arms = (outcome[treated], outcome[~treated])
    plain_error = np.sqrt(sum(arm.var(ddof=1) / len(arm) for arm in arms))
    weights = treatment_weights(treated, log_ratio=log_ratio)
    found = {
        "difference of means": (difference(outcome, treated, np.ones(n)), plain_error),
        "weights of the propensity": (difference(outcome, treated, weights), np.nan),
        "balancing weights": (
            difference(outcome, treated, balanced_to_all(X, treated)),
            np.nan,
        ),
        "AIPW": aipw(X, treated, outcome, log_ratio, seed),
    }
    return pd.DataFrame(found, index=["value", "error"]).T.assign(seed=seed)


# %%
# The picture
# -----------
# On the left the balance of one draw. On the right the estimates of all draws: the
# difference of means is wrong, and more rows would not help it.


def plot_balance(ax, X, treated, log_ratio):
    weights = {
        "weights of the propensity": treatment_weights(treated, log_ratio=log_ratio),
        "balancing weights": balanced_to_all(X, treated),
    }
    wide = with_products(X)
    tables = {
        name: balance_table(
            wide[treated],
            wide[~treated],
            each[treated],
            target_weight=each[~treated],
            scale_by="pooled",
        )
        for name, each in weights.items()
    }
    LovePlotDisplay.from_table(tables, ax=ax)


def plot_estimates(ax, runs):
    names = list(dict.fromkeys(runs.index))
    for place, name in enumerate(names):
        values = runs.loc[[name], "value"].to_numpy()
        spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else 0
        ax.scatter(values, place + spread, s=9, color="0.75")
        ax.plot(values.mean(), place, "o", color="C0")
    ax.axvline(EFFECT, color="k", linestyle=":", linewidth=1)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("estimated effect (dotted: the truth)")


def summary(runs):
    wrong = (runs["value"] - EFFECT).groupby(level=0, sort=False)
    covers = (runs["value"] - EFFECT).abs() < 1.96 * runs["error"]
    covered = covers.groupby(level=0, sort=False).mean()
    known = runs["error"].groupby(level=0, sort=False).count() > 0
    return pd.DataFrame(
        {
            "bias": wrong.mean(),
            "std. error": wrong.sem(),
            "spread": wrong.std(),
            "covered": covered.where(known),
        }
    )


def main(draws=20, n_samples=2000, save=None):
    X, treated, _ = draw(0, n_samples)
    print(diagnose(RATIO, X, treated, random_state=0))
    log_ratio = cross_val_predict(RATIO, X, treated, method="decision_function")
    runs = pd.concat([estimates(seed, n_samples) for seed in range(draws)])
    table = summary(runs)
    print(table.to_string(float_format="{:.3f}".format))

    figure, axes = plt.subplots(1, 2, figsize=(12, 3.8), layout="constrained")
    plot_balance(axes[0], X, treated, log_ratio)
    plot_estimates(axes[1], runs)
    if save:
        figure.savefig(save, dpi=100)
        plt.close(figure)
    else:
        plt.show()
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--samples", type=int, default=2000, help="patients a draw")
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.draws, options.samples, options.save)
