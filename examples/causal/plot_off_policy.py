"""
Off-policy evaluation of a bandit
=================================

A shop has logged which of three offers each visitor saw, and who bought. What would
another rule of choosing offers have earned? The logged rule is not written down
anywhere. Three estimates, from the logs alone:

* **weighted**: the mean of w * reward, where w is the probability of the offer under
  the new rule divided by that under the old one (Horvitz and Thompson);
* **self-normalised**: the same divided by the mean of w, of smaller variance;
* **doubly robust**: a model's prediction of the reward under the new rule, plus the
  weighted mean of what the model got wrong (Dudík et al. 2011).

The weights are a density ratio of pairs (x, a): numerator the visitors with offers
drawn by the new rule, denominator the log. A ratio estimator learns it from these two
samples, and never needs the old rule. The data are simulated, so both the old rule and
the value of the new one are known. Mean of 200 draws::

    python examples/causal/plot_off_policy.py --draws 200

================================  =============  ======
estimate                          bias           spread
================================  =============  ======
mean of the log                   -.089 ± .001     .009
reward model alone                -.092 ± .001     .009
weighted, old rule known          +.000 ± .001     .016
weighted, estimated ratio         +.004 ± .001     .013
self-normalised, estimated ratio  +.001 ± .001     .013
doubly robust, estimated ratio    +.002 ± .001     .013
================================  =============  ======

The value of the new rule is .405. Estimated weights have less spread than the true
ones: they also take out what chance made of the log.
"""

# %%
# The log
# -------
# The old rule avoids offer 2 where the first column is large, which is where it sells
# best; the new one makes it there, and offer 0 where the second column is small.

import argparse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.preprocessing import PolynomialFeatures

from skdre import ClassifierRatio, pool
from skdre.weighting import effective_sample_size

N_OFFERS = 3
SLOPES_OLD = np.array([[0.0, 0.3], [0.0, 0.0], [-0.6, 0.3]])
SLOPES_NEW = np.array([[0.0, -1.0], [0.0, 0.0], [1.0, 0.0]])


def rule(X, slopes):
    """Probabilities of the offers, of shape (n_visitors, 3)."""
    return softmax(X @ slopes.T, axis=1)


def chosen(probability, rng):
    return (probability.cumsum(axis=1) < rng.random((len(probability), 1))).sum(axis=1)


def mean_reward(X, offer):
    """Probability of buying."""
    score = np.array([-1.0, -0.5, -0.8])[offer]
    taste = np.choose(offer, [-X[:, 1], X[:, 0] * X[:, 1], X[:, 0]])
    return expit(score + taste)


def draw_log(n, rng):
    X = rng.normal(size=(n, 2))
    offer = chosen(rule(X, SLOPES_OLD), rng)
    return X, offer, (rng.random(n) < mean_reward(X, offer)).astype(float)


def true_value():
    """Of the new rule, from a million visitors: to within .0002."""
    X = np.random.default_rng(0).normal(size=(1_000_000, 2))
    p = rule(X, SLOPES_NEW)
    rewards = [mean_reward(X, np.full(len(X), a)) for a in range(N_OFFERS)]
    return float((p * np.column_stack(rewards)).sum(axis=1).mean())


# %%
# The ratio of pairs
# ------------------
# Visitors are the same in both samples, so the ratio is one of the offers given the
# visitor: a slope for each offer, and a function of the visitor by which the ratios of
# the offers have the mean 1.


def pairs(X, offer):
    """Squares and products of the visitor's columns, and their products with offers."""
    made = np.eye(N_OFFERS)[offer]
    wide = (made[:, :, None] * X[:, None, :]).reshape(len(X), -1)
    return np.hstack([made, wide, PolynomialFeatures(3).fit_transform(X)])


def weights_of(X, offer, new_rule, fit_on, at, rng, repeats=5):
    """Ratio of the new rule to the old one, fitted on some rows and taken at others."""
    X_fit, p_fit = X[fit_on], new_rule[fit_on]
    drawn = np.concatenate([pairs(X_fit, chosen(p_fit, rng)) for _ in range(repeats)])
    logged = pairs(X_fit, offer[fit_on])
    ratio = ClassifierRatio(LogisticRegression(C=10.0, max_iter=1000))
    ratio.fit(*pool(numerator=drawn, denominator=logged))
    return ratio.predict_ratio(pairs(X[at], offer[at]))


def reward_model(X, offer, reward):
    """A reward model that is wrong: the visitor and the offer do not interact."""

    def columns(X, offer):
        return np.hstack([np.eye(N_OFFERS)[offer], X])

    fitted = LogisticRegression().fit(columns(X, offer), reward)

    def predict(X_new, offer_new):
        return fitted.predict_proba(columns(X_new, offer_new))[:, 1]

    return predict


def estimates(seed, n=3000):
    rng = np.random.default_rng(seed)
    X, offer, reward = draw_log(n, rng)
    new_rule = rule(X, SLOPES_NEW)
    weights, own, expected = np.empty(n), np.empty(n), np.empty(n)
    for train, test in KFold(5, shuffle=True, random_state=seed).split(X):
        weights[test] = weights_of(X, offer, new_rule, train, test, rng)
        predict = reward_model(X[train], offer[train], reward[train])
        own[test] = predict(X[test], offer[test])
        by_offer = [predict(X[test], np.full(len(test), a)) for a in range(N_OFFERS)]
        expected[test] = (new_rule[test] * np.column_stack(by_offer)).sum(axis=1)
    true = new_rule[np.arange(n), offer] / rule(X, SLOPES_OLD)[np.arange(n), offer]
    doubly_robust = expected + weights * (reward - own)
    return {
        "mean of the log": reward.mean(),
        "reward model alone": expected.mean(),
        "weighted, old rule known": np.mean(true * reward),
        "weighted, estimated ratio": np.mean(weights * reward),
        "self-normalised, estimated ratio": np.average(reward, weights=weights),
        "doubly robust, estimated ratio": doubly_robust.mean(),
        "effective rows": effective_sample_size(weights),
    }


# %%
# The picture
# -----------
# A point a draw. The log's own mean answers another question, and so does a reward
# model that is wrong; weights correct both.


def main(draws=30, n_samples=3000, save=None):
    truth = true_value()
    runs = pd.DataFrame([estimates(seed, n_samples) for seed in range(draws)])
    size = runs.pop("effective rows").mean()
    wrong = runs - truth
    table = pd.DataFrame(
        {"bias": wrong.mean(), "std. error": wrong.sem(), "spread": wrong.std()}
    )
    print(
        f"value of the new rule {truth:.4f}; {size:.0f} of {n_samples} rows in effect"
    )
    print(table.to_string(float_format="{:.4f}".format))

    figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for place, name in enumerate(runs):
        spread = np.linspace(-0.2, 0.2, len(runs)) if len(runs) > 1 else 0
        ax.scatter(runs[name], place + spread, s=9, color="0.75")
        ax.plot(runs[name].mean(), place, "o", color="C0")
    ax.axvline(truth, color="k", linestyle=":", linewidth=1)
    ax.set_yticks(range(runs.shape[1]), runs.columns)
    ax.invert_yaxis()
    ax.set_xlabel("estimated value of the new rule (dotted: the truth)")
    if save:
        figure.savefig(save, dpi=100)
        plt.close(figure)
    else:
        plt.show()
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--samples", type=int, default=3000, help="visitors a draw")
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.draws, options.samples, options.save)
