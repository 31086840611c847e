"""
Label shift: when a ratio of x is the wrong tool
================================================

A classifier for a disease is trained where half of the patients have it, and used where
few have it. The patients of each class look the same in both places: p(x | y) is shared
and p(y) is not. This is a *label shift*. A covariate shift is the other case, with a
shared p(y | x), and only there do weights p_target(x) / p_source(x) repair a
classifier: they leave p(y | x) as it is in the source, and here that is what changed.

What is needed is the ratio of the labels, p_target(y) / p_source(y): one number for
each class. Two estimates of it need no label of the target and a few lines of
scikit-learn: *black-box shift estimation* solves for it with a confusion matrix
(Lipton, Wang, Smola 2018), and *EM* alternates between posteriors and shares (Saerens,
Latinne, Decaestecker 2002). Error of the share of the sick, and accuracy of a
classifier fitted with the weights, in the mean of 100 draws::

    python examples/weighting/plot_label_shift.py --draws 100

===========================  ==================  ===========
weights                      error of the share  accuracy
===========================  ==================  ===========
none                                       .399  .747 ± .002
ratio of x                                 .266  .748 ± .002
black-box shift estimation                 .034  .904 ± .001
EM                                         .022  .905 ± .001
true label ratio                           .000  .906 ± .001
===========================  ==================  ===========

For more than a few lines there is `quapy <https://github.com/HLT-ISTI/QuaPy>`_; the
benchmarks have both side by side.
"""

# %%
# Data
# ----
# Two classes that overlap. The source has them half and half, the target one in ten.

import argparse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from skdre import ClassifierRatio, pool

SOURCE_SHARE, TARGET_SHARE = 0.5, 0.1
NAMES = ("none", "ratio of x", "black-box shift estimation", "EM", "true label ratio")


def draw(n, share, rng):
    y = (rng.random(n) < share).astype(int)
    return rng.normal(size=(n, 2)) + y[:, None] * [1.2, 0.6], y


# %%
# Two estimates of the shares
# ---------------------------
# Black-box shift estimation: a share c of the target is predicted as sick. That is a
# mixture of how often the sick and the healthy are predicted as sick, which held-out
# source rows tell; the share in the mixture is what is looked for.


def black_box(X, y, X_target):
    held_out = cross_val_predict(LogisticRegression(), X, y)
    found = LogisticRegression().fit(X, y).predict(X_target).mean()
    if_healthy, if_sick = (held_out[y == k].mean() for k in (0, 1))
    return np.clip((found - if_healthy) / (if_sick - if_healthy), 0, 1)


# %%
# EM: the posteriors of the source are turned into those of other shares by Bayes' rule,
# and their mean over the target's rows is the next guess of the shares.


def expectation_maximization(X, y, X_target, n_steps=200):
    model = LogisticRegression().fit(X, y)
    posterior = model.predict_proba(X_target)
    prior = share = np.bincount(y) / len(y)
    for _ in range(n_steps):
        updated = posterior * (share / prior)
        share = (updated / updated.sum(axis=1, keepdims=True)).mean(axis=0)
    return share[1]


def label_weights(y, share):
    """p_target(y) / p_source(y) at the rows of the source."""
    return np.where(y == 1, share / y.mean(), (1 - share) / (1 - y.mean()))


# %%
# One draw
# --------
# Each kind of weights gives a share of the sick in the target, the weighted one of the
# source, and a classifier. The ratio of x is estimated well, and is of no use: its
# weights average p_source(sick | x) over the target's rows.


def run_once(seed, n_samples=1000):
    rng = np.random.default_rng(seed)
    X, y = draw(n_samples, SOURCE_SHARE, rng)
    X_target, y_target = draw(n_samples, TARGET_SHARE, rng)
    ratio = ClassifierRatio().fit(*pool(numerator=X_target, denominator=X))
    weights = {
        "none": np.ones(n_samples),
        "ratio of x": ratio.predict_ratio(X),
        "black-box shift estimation": label_weights(y, black_box(X, y, X_target)),
        "EM": label_weights(y, expectation_maximization(X, y, X_target)),
        "true label ratio": label_weights(y, TARGET_SHARE),
    }
    rows = []
    for name, weight in weights.items():
        share = np.average(y, weights=weight)
        model = LogisticRegression().fit(X, y, sample_weight=weight)
        rows.append(
            {
                "seed": seed,
                "weights": name,
                "share": share,
                "error of the share": abs(share - TARGET_SHARE),
                "accuracy": model.score(X_target, y_target),
            }
        )
    return pd.DataFrame(rows)


# %%
# The picture
# -----------
# On the left the shares, a point a draw; on the right the accuracy in the target.


def main(draws=40, n_samples=1000, save=None):
    runs = pd.concat([run_once(seed, n_samples) for seed in range(draws)])
    grouped = runs.groupby("weights", sort=False)
    table = grouped[["share", "error of the share", "accuracy"]].mean()
    table["std. error"] = grouped["accuracy"].sem()
    print(table.to_string(float_format="{:.4f}".format))

    figure, axes = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
    for ax, column in zip(axes, ("share", "accuracy"), strict=True):
        for place, name in enumerate(NAMES):
            values = runs.loc[runs["weights"] == name, column].to_numpy()
            spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else 0
            ax.scatter(values, place + spread, s=9, color="0.75")
            ax.plot(values.mean(), place, "o", color="C0")
        ax.set_yticks(range(len(NAMES)), NAMES)
        ax.invert_yaxis()
    axes[0].axvline(TARGET_SHARE, color="k", linestyle=":", linewidth=1)
    axes[0].set_xlabel("estimated share of the sick (dotted: the truth)")
    axes[1].set_yticklabels([])
    axes[1].set_xlabel("accuracy in the target")
    if save:
        figure.savefig(save, dpi=100)
        plt.close(figure)
    else:
        plt.show()
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--samples", type=int, default=1000, help="rows a sample")
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.draws, options.samples, options.save)
