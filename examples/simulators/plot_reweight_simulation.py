"""
Reweighting a simulation to data
================================

Simulated events never look quite like measured ones. Weights data/simulation repair
what can be seen, and the weighted simulation then stands in for data where these cannot
be had. The data are the numerator of the ratio and the simulation its denominator.

Some generators give negative weights to a part of their events, which cancel others.
The least-squares fit of :class:`skdre.LSIFRatio` sees weights as means alone, so it
takes them as they are (``allow_negative_weight=True``). A classifier does not: where
the weights in a leaf sum to less than 0, its log loss has no minimum.

A **closure test** says whether it worked, without knowing the true ratio: at new events
a classifier tries to tell data from reweighted simulation. An AUC of 0.5 means that it
cannot. Here the truth is known as well. Means of 10 draws of 10,000 events::

    python examples/simulators/plot_reweight_simulation.py --draws 10 --samples 10000

======================  ===========  ==================
weights                 closure AUC  error of the ratio
======================  ===========  ==================
none                    .657 ± .003                .466
LSIF, signed            .513 ± .005                .123
LSIF, signs ignored     .565 ± .005                .303
boosted trees, ignored  .574 ± .003                .320
true ratio              .502 ± .006                .000
======================  ===========  ==================
"""

# %%
# Events
# ------
# The simulation is N(0, I) in three columns. Up to a third of its events are negative
# where the first column is large, and there are more events there to make up for it.
# The data are a mixture of two Gaussians.

import argparse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal
from sklearn.ensemble import HistGradientBoostingClassifier

from skdre import ClassifierRatio, LSIFRatio, pool

SIMULATION = multivariate_normal(np.zeros(3), np.eye(3))
CORRELATED = [[0.6, 0.3, 0.0], [0.3, 0.6, 0.0], [0.0, 0.0, 0.6]]
DATA = [
    (0.7, multivariate_normal([0.3, -0.2, 0.0], 0.8)),
    (0.3, multivariate_normal([1.0, 0.5, -0.6], CORRELATED)),
]


def share_negative(X):
    return 0.35 * expit(2 * X[:, 0])


def simulate(n, rng):
    """Events and their weights, 1 or -1."""
    X = rng.normal(size=(6 * n, 3))
    kept = rng.random(len(X)) < 0.3 / (1 - 2 * share_negative(X))
    X = X[kept][:n]
    return X, np.where(rng.random(n) < share_negative(X), -1.0, 1.0)


def measure(n, rng):
    second = rng.random(n) < DATA[1][0]
    parts = (part.rvs(n, random_state=rng) for _, part in DATA)
    return np.where(second[:, None], *reversed(list(parts)))


def true_ratio(X):
    log_p = logsumexp([np.log(s) + part.logpdf(X) for s, part in DATA], axis=0)
    return np.exp(log_p - SIMULATION.logpdf(X))


# %%
# The closure test
# ----------------
# Half of the new events train the classifier, the other half judge it. It is trained
# without the negative events, which its loss does not admit, and judged with all. The
# AUC is a mean over pairs of events, so weights of any sign may enter.


def weighted_auc(score, weight, score_data):
    """Share of pairs in which the data have the greater score."""
    order = np.argsort(score)
    below = np.append(0, np.cumsum(weight[order]))
    place = np.searchsorted(score[order], score_data)
    return below[place].mean() / weight.sum()


def closure_auc(simulated, weight, data):
    half = len(data) // 2
    positive = np.flatnonzero(weight[:half] > 0)
    X, y = pool(numerator=data[:half], denominator=simulated[positive])
    own = weight[positive] * half / weight[positive].sum()
    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=8, random_state=0
    ).fit(X, y, sample_weight=np.concatenate([np.ones(half), own]))
    score, score_data = (
        model.decision_function(each[half:]) for each in (simulated, data)
    )
    return weighted_auc(score, weight[half:], score_data)


# %%
# Fits
# ----
# Boosted trees get the sizes of the weights, since they cannot have the signs.

TREES = HistGradientBoostingClassifier(
    max_iter=100, max_leaf_nodes=8, learning_rate=0.05, random_state=0
)


def ratios(simulated, weight, data, new):
    """The ratio at new events, by each method."""
    X, y = pool(numerator=data, denominator=simulated)
    signed = np.concatenate([np.ones(len(data)), weight])
    lsif = LSIFRatio(alpha=0.1, allow_negative_weight=True, random_state=0)
    ignoring = LSIFRatio(alpha=0.1, random_state=0).fit(X, y, np.abs(signed))
    trees = ClassifierRatio(TREES).fit(X, y, np.abs(signed))
    return {
        "none": np.ones(len(new)),
        "LSIF, signed": lsif.fit(X, y, signed).predict_ratio(new),
        "LSIF, signs ignored": ignoring.predict_ratio(new),
        "boosted trees, ignored": trees.predict_ratio(new),
        "true ratio": true_ratio(new),
    }


def run_once(seed, n_samples=4000):
    rng = np.random.default_rng(seed)
    simulated, weight = simulate(n_samples, rng)
    data = measure(n_samples, rng)
    new, new_weight = simulate(n_samples, rng)
    new_data = measure(n_samples, rng)
    found = ratios(simulated, weight, data, new)
    truth, rows = found["true ratio"], []
    for name, ratio in found.items():
        # Of one total: the normalisation is not in question.
        scaled = ratio * (truth @ new_weight) / (ratio @ new_weight)
        rows.append(
            {
                "weights": name,
                "closure AUC": closure_auc(new, ratio * new_weight, new_data),
                "error of the ratio": np.abs(scaled - truth).mean() / truth.mean(),
            }
        )
    return pd.DataFrame(rows), (new, new_weight, new_data, found)


# %%
# The picture
# -----------
# The first column, which the negative events are about, before and after.


def plot_column(ax, new, new_weight, new_data, found):
    bins = np.linspace(-3, 3.5, 24)
    ax.hist(new_data[:, 0], bins, density=True, color="0.85", label="data")
    for name, color in (
        ("none", "0.5"),
        ("LSIF, signed", "C0"),
        ("LSIF, signs ignored", "C1"),
    ):
        weight = found[name] * new_weight
        height = np.histogram(new[:, 0], bins, weights=weight)[0]
        height = height / weight.sum() / np.diff(bins)
        ax.stairs(height, bins, color=color, label=f"simulation, weights: {name}")
    ax.set(xlabel="first column", ylabel="density")
    ax.set_ylim(0, 1.6 * ax.get_ylim()[1])
    ax.legend(fontsize="small", loc="upper left")


def main(draws=4, n_samples=4000, save=None):
    runs, parts = zip(
        *(run_once(seed, n_samples) for seed in range(draws)), strict=True
    )
    grouped = pd.concat(runs).groupby("weights", sort=False)
    table = grouped.mean()
    table.insert(1, "std. error", grouped["closure AUC"].sem())
    print(table.to_string(float_format="{:.3f}".format))

    figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    plot_column(axes[0], *parts[0])
    for place, (_, values) in enumerate(grouped["closure AUC"]):
        spread = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else 0
        axes[1].scatter(values, place + spread, s=12, color="0.75")
        axes[1].plot(values.mean(), place, "o", color="C0")
    axes[1].axvline(0.5, color="k", linestyle=":", linewidth=1)
    axes[1].set_yticks(range(len(table)), table.index)
    axes[1].invert_yaxis()
    axes[1].set_xlabel("closure AUC (dotted: not told apart)")
    if save:
        figure.savefig(save, dpi=100)
        plt.close(figure)
    else:
        plt.show()
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--samples", type=int, default=4000, help="events a sample")
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.draws, options.samples, options.save)
