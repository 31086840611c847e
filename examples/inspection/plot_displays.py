"""
Looking at a density ratio
==========================

What :mod:`skdre.inspection` draws. The numerator is three lumps, the denominator a wide
Gaussian around them; the true log ratio is known, so that an estimate can be held
against it. In practice there is no truth, and the pictures after the first make do
without. All take new rows, for at the rows of its fit a ratio is too sure.

It takes some 30 seconds::

    python examples/inspection/plot_displays.py --save displays
"""

import argparse
import warnings

import matplotlib.pyplot as plt
from sklearn.exceptions import ConvergenceWarning

from skdre import (
    AutoRatio,
    KMMRatio,
    MLPRatio,
    TelescopingRatio,
    TimeScoreRatio,
    balance_table,
    balance_weights,
    drift_over_time,
)
from skdre.datasets import make_mixture_shift
from skdre.inspection import (
    BridgeLogRatiosDisplay,
    CandidatesDisplay,
    DriftDisplay,
    DriftHistoryDisplay,
    LogRatioBandDisplay,
    LogRatioHistogramDisplay,
    LogRatioScatterDisplay,
    LogRatioSurfaceDisplay,
    LovePlotDisplay,
    RatioCalibrationDisplay,
    TimeScoreDisplay,
    TrainingCurveDisplay,
    WeightConcentrationDisplay,
)

parser = argparse.ArgumentParser(description="Draw every Display.")
parser.add_argument("--samples", type=int, default=1000, help="rows a sample")
parser.add_argument("--steps", type=int, default=1000, help="of training, at most")
parser.add_argument("--save", help="start of the names of files to save to")
options, _ = parser.parse_known_args()

lumps = {
    "numerator_centers": [[-2, 0], [1, 1.8], [1, -1.8]],
    "numerator_scale": 0.6,
    "denominator_centers": [[0, 0]],
    "denominator_scale": 1.6,
}
shift = make_mixture_shift(options.samples, **lumps, random_state=0)
new = make_mixture_shift(options.samples, **lumps, random_state=1)
X_new, y_new = new.pool()

estimators = {
    "kmm": KMMRatio(random_state=0),
    "mlp": MLPRatio(max_iter=options.steps, random_state=0),
    "bridges": TelescopingRatio(max_iter=options.steps, random_state=0),
    "time score": TimeScoreRatio(max_iter=2 * options.steps, random_state=0),
    # Those that need no networks, for a quick picture.
    "auto": AutoRatio(AutoRatio.default_candidates()[:8], random_state=0),
}
with warnings.catch_warnings():
    # Fewer steps than by default, and some gain is left.
    warnings.simplefilter("ignore", ConvergenceWarning)
    for estimator in estimators.values():
        estimator.fit(*shift.pool())

# %%
# Against the truth
# -----------------
# Kernel mean matching makes weights: bounded ones, never below 0.01. The networks
# follow the truth to -5 or so; below there were no rows of the numerator to learn from.

truth = new.log_ratio(X_new)
figure, axes = plt.subplots(
    1, 3, figsize=(12, 4), layout="constrained", sharex=True, sharey=True
)
for ax, key in zip(axes, ("kmm", "mlp", "bridges"), strict=True):
    LogRatioScatterDisplay.from_estimator(estimators[key], X_new, truth, y=y_new, ax=ax)

# %%
# Without a truth
# ---------------
# On the left: where the two domains lie. On the right: whether a ratio that is said to
# be 10 is 10. Rows are put into bins by their predicted log ratio; the observed one
# compares the shares of the two domains that are in a bin, and the bars are its 95 %
# intervals. Kernel mean matching is too cautious here: what it calls a log ratio of
# -1.5 is one of -4. A bin with rows of one domain only would be drawn as a triangle,
# a bound.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
LogRatioHistogramDisplay.from_estimator(estimators["mlp"], X_new, y_new, ax=axes[0])
for key in ("kmm", "mlp", "bridges"):
    RatioCalibrationDisplay.from_estimator(
        estimators[key], X_new, y_new, n_bins=12, ax=axes[1]
    )

# %%
# Over the plane
# --------------
# The surface of the log ratio, with a line where p and q are equal. The same limit for
# all makes the colours comparable.

figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained", sharey=True)
for ax, key in zip(axes, ("kmm", "mlp", "bridges"), strict=True):
    display = LogRatioSurfaceDisplay.from_estimator(
        estimators[key], X_new, limit=4, colorbar=key == "bridges", ax=ax
    )
    for label, color in ((0, "k"), (1, "w")):
        ax.scatter(*X_new[y_new == label].T, s=2, color=color, alpha=0.5)
    ax.set_title(type(estimators[key]).__name__)
    ax.label_outer()

# %%
# How few rows carry the weight
# -----------------------------
# The denominator's rows, weighted to stand for the numerator. A square root of the
# ratio (``flattening=0.5``) leaves more of them in effect.

figure, ax = plt.subplots(figsize=(5, 4.2), layout="constrained")
for flattening in (1.0, 0.5):
    WeightConcentrationDisplay.from_estimator(
        estimators["mlp"],
        new.denominator,
        flattening=flattening,
        name=f"flattening {flattening:g}",
        ref_line=flattening == 1.0,
        ax=ax,
    )

# %%
# Inside an estimator
# -------------------
# Bridges: what each of them adds to the log ratio; the lumps come out in the last two.
# The time score, of infinitely many bridges: its integral is the log ratio. Training:
# the held-out loss has come to rest, so there were steps enough.

figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
BridgeLogRatiosDisplay.from_estimator(estimators["bridges"], X_new, y_new, ax=axes[0])
TimeScoreDisplay.from_estimator(estimators["time score"], X_new, y_new, ax=axes[1])
TrainingCurveDisplay.from_estimator(estimators["mlp"], ax=axes[2])

# %%
# Among candidates
# ----------------
# What `AutoRatio` tried: the loss at held-out rows, where less is better, and the
# weight in its answer.

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
CandidatesDisplay.from_estimator(estimators["auto"], ax=ax)

# %%
# How sure is it?
# ---------------
# The log ratio along the first column, the other one at its median. The interval holds
# the true one with a probability of 90 %, where the samples have rows.

figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
LogRatioBandDisplay.from_estimator(estimators["auto"], new.pool()[0], 0, ax=ax)

# %%
# Column by column
# ----------------
# How far the means of the weighted denominator lie from those of the numerator: the
# love plot of causal inference. :func:`skdre.balance_weights` starts from the ratio and
# meets means and second moments exactly.

figure, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
ratio = estimators["mlp"].predict_ratio(new.denominator)
samples = new.denominator, new.numerator
LovePlotDisplay.from_table(
    {
        "ratio": balance_table(*samples, ratio),
        "balanced": balance_weights(*samples, ratio, moments=2),
    },
    ax=ax,
)

# %%
# Drift of a table
# ----------------
# New rows of the numerator in three parts, each held against the denominator. On the
# left: the columns of the first part by what the ratio loses without them. On the
# right: the divergence of each part.

history = drift_over_time(
    shift.denominator,
    new.numerator,
    [f"part {1 + 3 * row // options.samples}" for row in range(options.samples)],
    estimators["kmm"],
    n_permutations=199,
    random_state=0,
)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
DriftDisplay.from_report(history.reports[0], ax=axes[0])
DriftHistoryDisplay.from_history(history, ax=axes[1])

# %%
# Each Display keeps its numbers and its artists: ``plot`` draws it again elsewhere, and
# ``ax_`` and ``figure_`` are there to be changed.

if options.save:
    for number in plt.get_fignums():
        plt.figure(number).savefig(f"{options.save}_{number}.png", dpi=80)
    plt.close("all")
else:
    plt.show()
