"""
A flow and a classifier, trained together or apart
==================================================

Two Gaussians, N(0, I) over N((3, 3), I), hardly overlap, and a classifier is left to
guess how large the log ratio is where one of them has no rows. Choi, Liao and Ermon
(2021) put an invertible flow in front of it, and train the two in three ways (their
section 3.3, Figures 2 and 6):

* *separate*: the flow by maximum likelihood, then the classifier on its features;
* *joint*: both by alpha times the log loss and 1 - alpha times minus the log
  likelihood;
* *discriminative*: both by the log loss alone.

Above, the estimated log ratio at new rows against the truth; below, the features z that
the classifier sees. Likelihood makes them one round cloud, with the samples side by
side; the log loss alone keeps them two clouds, and pulls them apart.

The paper calls the separate flow the best of these and the smallest alpha the best
joint one, from a picture like this one. The features are here as it says, the errors
are not: with alpha = 0.9 the error is about that of the classifier in x, and with
smaller ones the log ratio is overshot, for in one round cloud the samples meet along a
steep edge. Seeds differ by a factor of four; for the means of several::

    python examples/flows/plot_flow_classifier.py --seeds 3 --save flow_classifier.png
"""

# %%
# All have a flow of five blocks and the same classifier; the first column is that
# classifier alone.

import argparse
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdre import FlowClassifierRatio, MLPRatio, pool
from skdre.metrics import log_ratio_mse, ratio_rank_correlation

ALPHAS = (0.01, 0.1, 0.5, 0.9)


def draw(n_samples, seed):
    rng = np.random.default_rng(seed)
    p = rng.normal(size=(n_samples, 2))
    X, y = pool(numerator=p, denominator=rng.normal(3.0, 1.0, size=(n_samples, 2)))
    return X, y, 9 - 3 * X.sum(axis=1)


def estimators(seed):
    flow = {"marginals": "standardize", "random_state": seed}
    joint = {
        f"joint, alpha = {alpha}": FlowClassifierRatio("joint", alpha=alpha, **flow)
        for alpha in ALPHAS
    }
    return {
        "classifier in x": MLPRatio(random_state=seed),
        "separate": FlowClassifierRatio("separate", **flow),
        **joint,
        "discriminative": FlowClassifierRatio("discriminative", **flow),
    }


def run(n_samples, seed):
    """Fitted estimators, and a table of their errors at new rows."""
    X, y, _ = draw(n_samples, seed)
    X_new, y_new, truth = draw(2000, 1000 + seed)
    fitted, rows = estimators(seed), []
    for name, ratio in fitted.items():
        with warnings.catch_warnings():
            # That the samples hardly overlap is the point here.
            warnings.filterwarnings("ignore", "separates the two samples")
            warnings.filterwarnings("ignore", "The held-out")
            ratio.fit(X, y)
        found = ratio.decision_function(X_new)
        rows.append(
            {
                "strategy": name,
                "seed": seed,
                "mean squared error": log_ratio_mse(truth, found),
                "rank correlation": ratio_rank_correlation(truth, found),
                "log loss": -ratio.score(X_new, y_new),
                "log likelihood": ratio.score_samples(X_new).mean()
                if hasattr(ratio, "score_samples")
                else np.nan,
            }
        )
    return fitted, pd.DataFrame(rows)


def plot(fitted, table, seed):
    X, y, truth = draw(1000, 1000 + seed)
    figure, axes = plt.subplots(
        2, len(fitted), figsize=(2.3 * len(fitted), 5), layout="constrained"
    )
    colors = np.array(["tab:blue", "tab:red"])[y]
    errors = table.set_index("strategy")["mean squared error"]
    for (name, ratio), (top, bottom) in zip(fitted.items(), axes.T, strict=True):
        found = ratio.decision_function(X)
        top.scatter(truth, found, s=3, c=colors, linewidths=0)
        top.plot([-22, 22], [-22, 22], color="0.4", linewidth=0.8)
        top.set(title=name, xlabel="true log ratio", xlim=(-22, 22), ylim=(-22, 22))
        top.text(0.05, 0.9, f"error {errors[name]:.1f}", transform=top.transAxes)
        Z = ratio.transform(X) if hasattr(ratio, "transform") else X - 1.5
        bottom.scatter(*Z.T, s=3, c=colors, linewidths=0)
        limit = max(5.5, 1.2 * np.quantile(np.abs(Z), 0.99))
        bottom.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect=1, xlabel="z")
    axes[0, 0].set_ylabel("estimated log ratio")
    axes[1, 0].set_xlabel("x, centred")
    return figure


# %%
# A gallery-sized run: one seed.


def main(n_samples=2000, seeds=1, save=None):
    runs = [run(n_samples, seed) for seed in range(seeds)]
    table = pd.concat([each for _, each in runs])
    summary = table.drop(columns="seed").groupby("strategy", sort=False).mean()
    print(summary.to_string(float_format="{:.3f}".format))
    figure = plot(*runs[0], seed=0)
    if save:
        figure.savefig(save, dpi=100)
    else:
        plt.show()
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.samples, options.seeds, options.save)
