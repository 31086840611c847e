"""
Conformal prediction under covariate shift
==========================================

Split conformal prediction puts an interval around the predictions of any model: the
quantile of the residuals at calibration rows. It covers 90 % of new rows when these are
drawn like the calibration rows. Under a covariate shift they are not; weighted by the
density ratio r = p_target / p_source the residuals are again those of the target, and
the quantile of the weighted residuals covers as promised (Tibshirani, Foygel Barber,
Candès, Ramdas, "Conformal Prediction Under Covariate Shift", NeurIPS 2019, Eq. 7 and
corollary 1). :class:`skdre.WeightedConformalRegressor` does this for any regressor and
any ratio.

Here the noise grows with the first feature, and so does the target. The ratio is
estimated from unlabelled rows; the true one, and the estimated one permuted over the
rows, are controls. Coverage of the target's rows, mean of 100 draws::

    python examples/weighting/plot_conformal_under_shift.py --draws 100

==================  ===========  ============  ========
weights             coverage     median width  infinite
==================  ===========  ============  ========
none                .697 ± .002           2.3      .000
estimated ratio     .903 ± .003           4.7      .001
true ratio          .903 ± .003           4.7      .000
permuted estimate   .700 ± .003           2.3      .001
==================  ===========  ============  ========
"""

# %%
# The estimator
# -------------
# Half of the source's rows fit the model, the other half give the residuals, each with
# the weight of its ratio. A new row counts too, at an infinite residual, for it may be
# the worst of all: where its own weight is a tenth of the whole, the interval is
# infinite, and a warning says so. Boosted trees are fitted without weights
# (``flattening=0``), which spares them the variance.

import argparse
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingRegressor

from skdre import ClassifierRatio, WeightedConformalRegressor
from skdre.base import DensityRatioMixin

COVERAGE = 0.9
SHIFT = np.array([1.2, 0.0, 0.0])


class TrueRatio(DensityRatioMixin, BaseEstimator):
    """The ratio of N(SHIFT, I) to N(0, I)."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return X @ SHIFT - SHIFT @ SHIFT / 2


class PermutedRatio(ClassifierRatio):
    """An estimated ratio whose values go to the wrong rows."""

    def decision_function(self, X):
        log_ratio = super().decision_function(X)
        return np.random.default_rng(len(X)).permutation(log_ratio)


RATIOS = {
    "none": None,
    "estimated ratio": ClassifierRatio(),
    "true ratio": TrueRatio(),
    "permuted estimate": PermutedRatio(),
}


# %%
# One draw
# --------
# The model sees labelled rows of the source and unlabelled ones of the target; the rows
# that are judged are others.


def draw(n_samples, mean, rng):
    X = rng.standard_normal((n_samples, 3)) + mean
    noise = rng.standard_normal(n_samples) * np.exp(0.6 * X[:, 0])
    return X, np.sin(X[:, 0]) + X[:, 1] + 0.5 * noise


def run_once(seed, n_samples=1000):
    rng = np.random.default_rng(seed)
    X, y = draw(2 * n_samples, 0, rng)
    X_target, _ = draw(n_samples, SHIFT, rng)
    X_new, y_new = draw(n_samples, SHIFT, rng)
    regressor = HistGradientBoostingRegressor(
        max_iter=30, max_leaf_nodes=8, random_state=seed
    )
    rows = []
    for name, ratio in RATIOS.items():
        model = WeightedConformalRegressor(
            regressor, ratio, flattening=0, random_state=seed
        )
        with warnings.catch_warnings():
            # Without target rows there are no weights, and some intervals are infinite.
            warnings.simplefilter("ignore", UserWarning)
            model.fit(X, y, X_target=None if name == "none" else X_target)
            low, high = model.predict_interval(X_new, COVERAGE).T
        rows.append(
            {
                "seed": seed,
                "weights": name,
                "coverage": np.mean((low <= y_new) & (y_new <= high)),
                "median width": np.median(high - low),
                "infinite": np.mean(np.isinf(high)),
                "effective rows": model.effective_sample_size_,
            }
        )
        if name == "estimated ratio":
            weights = np.exp(model.calibration_log_weight_)
            new_residuals = np.abs(y_new - model.predict(X_new))
            parts = model.calibration_scores_, new_residuals, weights
    return pd.DataFrame(rows), parts


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
