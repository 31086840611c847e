"""
Conformal prediction under covariate shift
==========================================

Split conformal prediction puts an interval around the predictions of any model: the
quantile of the residuals at calibration rows. It covers 90 % of new rows when these are
drawn like the calibration rows. Under a covariate shift they are not; weighted by the
density ratio r = p_target / p_source the residuals are again those of the target, and
the quantile of the weighted residuals covers as promised (Tibshirani, Foygel Barber,
Candès, Ramdas, "Conformal Prediction Under Covariate Shift", NeurIPS 2019, Eq. 7 and
corollary 1).

Here the noise grows with the first feature, and so does the target. The ratio is
estimated from unlabelled rows; the true one, and the estimated one permuted over the
rows, are controls. Coverage of the target's rows, mean of 60 draws::

    python examples/weighting/plot_conformal_under_shift.py --draws 60

==================  ===========  ============
weights             coverage     median width
==================  ===========  ============
none                .694 ± .002           2.3
estimated ratio     .905 ± .004           4.7
true ratio          .905 ± .004           4.7
permuted estimate   .695 ± .004           2.3
==================  ===========  ============
"""

# %%
# The weighted quantile
# ---------------------
# Each calibration row has the weight of its ratio, and the new row has its own, at an
# infinite residual: for all that is known it may be the worst of all.

import argparse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from skdre import ClassifierRatio, pool
from skdre.weighting import effective_sample_size

COVERAGE = 0.9
SHIFT = np.array([1.2, 0.0, 0.0])


def weighted_quantiles(residuals, weights, new_weights, level):
    """Quantile of the weighted residuals, for each new row.

    Parameters
    ----------
    residuals, weights : ndarray of shape (n_calibration,)
    new_weights : ndarray of shape (n_new,)
    level : float

    Returns
    -------
    quantiles : ndarray of shape (n_new,)
        Infinite where the new row's own weight leaves too little below.
    """
    order = np.argsort(residuals)
    carried = np.cumsum(weights[order])
    needed = level * (carried[-1] + new_weights)
    return np.append(residuals[order], np.inf)[np.searchsorted(carried, needed)]


# %%
# One draw
# --------
# Source rows with labels are split between the model and the calibration. The ratio
# sees the model's rows and as many unlabelled rows of the target.


def draw(n_samples, mean, rng):
    X = rng.standard_normal((n_samples, 3)) + mean
    noise = rng.standard_normal(n_samples) * np.exp(0.6 * X[:, 0])
    return X, np.sin(X[:, 0]) + X[:, 1] + 0.5 * noise


def run_once(seed, n_samples=1000):
    rng = np.random.default_rng(seed)
    X_train, y_train = draw(n_samples, 0, rng)
    X_calibration, y_calibration = draw(n_samples, 0, rng)
    X_unlabelled, _ = draw(n_samples, SHIFT, rng)
    X_new, y_new = draw(n_samples, SHIFT, rng)

    model = HistGradientBoostingRegressor(
        max_iter=30, max_leaf_nodes=8, random_state=seed
    ).fit(X_train, y_train)
    ratio = ClassifierRatio().fit(*pool(numerator=X_unlabelled, denominator=X_train))

    residuals = np.abs(y_calibration - model.predict(X_calibration))
    new_residuals = np.abs(y_new - model.predict(X_new))
    estimated = ratio.predict_ratio(X_calibration), ratio.predict_ratio(X_new)
    true = tuple(np.exp(X @ SHIFT - SHIFT @ SHIFT / 2) for X in (X_calibration, X_new))
    weights = {
        "none": (np.ones(n_samples), np.ones(n_samples)),
        "estimated ratio": estimated,
        "true ratio": true,
        "permuted estimate": tuple(map(rng.permutation, estimated)),
    }
    rows = []
    for name, (old, new) in weights.items():
        quantiles = weighted_quantiles(residuals, old, new, COVERAGE)
        rows.append(
            {
                "seed": seed,
                "weights": name,
                "coverage": np.mean(new_residuals <= quantiles),
                # Some are infinite: rows whose own weight is a tenth of the whole.
                "median width": 2 * np.median(quantiles),
                "infinite": np.mean(np.isinf(quantiles)),
                "effective rows": effective_sample_size(old),
            }
        )
    return pd.DataFrame(rows), (residuals, new_residuals, estimated[0])


# %%
# The picture
# -----------
# On the left coverage, a point a draw. On the right the residuals of one draw: those of
# the target are larger, and the weighted ones of the calibration rows are like them.


def plot_coverage(ax, runs):
    names = list(dict.fromkeys(runs["weights"]))
    for place, name in enumerate(names):
        coverage = runs.loc[runs["weights"] == name, "coverage"].to_numpy()
        spread = np.linspace(-0.2, 0.2, len(coverage)) if len(coverage) > 1 else 0
        ax.scatter(coverage, place + spread, s=9, color="0.75")
        ax.plot(coverage.mean(), place, "s" if "permuted" in name else "o", color="C0")
    ax.axvline(COVERAGE, color="k", linestyle=":", linewidth=1)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel="coverage of the target's rows", ylabel="weights")


def plot_residuals(ax, residuals, new_residuals, weights):
    for values, own, color, label in (
        (residuals, None, "0.5", "calibration rows"),
        (residuals, weights, "C0", "calibration rows, weighted"),
        (new_residuals, None, "C1", "rows of the target"),
    ):
        own = np.ones(len(values)) if own is None else own
        order = np.argsort(values)
        share = np.cumsum(own[order]) / own.sum()
        ax.step(values[order], share, where="post", color=color, label=label)
    ax.axhline(COVERAGE, color="k", linestyle=":", linewidth=1)
    ax.set(
        xlim=(0, np.quantile(new_residuals, 0.98)),
        xlabel="absolute residual",
        ylabel="share of the rows below",
    )
    ax.legend(loc="lower right")


def main(draws=20, n_samples=1000, save=None):
    runs, parts = [], []
    for seed in range(draws):
        run, residuals = run_once(seed, n_samples)
        runs.append(run)
        parts.append(residuals)
    runs = pd.concat(runs)
    grouped = runs.drop(columns="seed").groupby("weights", sort=False)
    table = grouped.mean()
    table.insert(1, "std. error", grouped["coverage"].sem())
    print(table.to_string(float_format="{:.3f}".format))

    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    plot_coverage(axes[0], runs)
    plot_residuals(axes[1], *parts[0])
    if save:
        figure.savefig(save, dpi=100)
        plt.close(figure)
    else:
        plt.show()
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--samples", type=int, default=1000, help="rows a sample")
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.draws, options.samples, options.save)
