"""
Change points of a series
=========================

A series changes where the window before a point and the window after it come from
different distributions. The relative Pearson divergence of the two, by RuLSIF, is a
score of change that needs no model of the series (Liu, Yamada, Collier, Sugiyama,
"Change-point detection in time-series data by relative density-ratio estimation",
Neural Networks 43, 2013). The window before the point is the numerator, the one after
it the denominator, and then the other way round, for the divergence is not symmetric.

The changes are known here: of the mean, of the spread, and of the frequency, where mean
and spread stay as they are. How many of the three are found within 25 steps, mean of 10
series, beside `ruptures <https://centre-borelli.github.io/ruptures-docs/>`_ 1.1.10::

    python examples/monitoring/plot_change_points.py --repeats 10

=============================  ======================
score                          changes found, of 3
=============================  ======================
relative Pearson divergence    2.7 ± .15
ruptures, values               2.0 ± .00
ruptures, stretches of values  2.7 ± .15
=============================  ======================
"""

# %%
# The series
# ----------
# Four segments of noise: white, with another mean, with another spread, and one in
# which neighbours follow each other, of the same mean and spread as the one before.

import argparse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdre import LSIFRatio, pool

CHANGES = (200, 400, 600)


def draw_series(seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=200), rng.normal(1.5, 1, 200), 2.5 * rng.normal(size=200)]
    smooth = np.zeros(200)
    for t in range(1, 200):
        smooth[t] = 0.9 * smooth[t - 1] + np.sqrt(1 - 0.9**2) * rng.normal()
    return np.concatenate([*parts, 2.5 * smooth])


# %%
# The score
# ---------
# Rows are stretches of the series, `length` values each, so that an order in time can
# be seen. `n` of them lie before the point and `n` after it. The divergence is that of
# the relative ratio at the rows of its fit, as in the paper.

ALPHA = 0.1


def relative_divergence(p, q):
    ratio = LSIFRatio(alpha=ALPHA, n_components=50, random_state=0)
    ratio.fit(*pool(numerator=p, denominator=q))
    at_p, at_q = (ratio.predict_relative_ratio(each) for each in (p, q))
    squares = ALPHA * np.mean(at_p**2) + (1 - ALPHA) * np.mean(at_q**2)
    return np.mean(at_p) - squares / 2 - 0.5


def change_scores(series, n=50, length=8, step=10):
    """Points of the series, and the score of a change at each."""
    rows = np.lib.stride_tricks.sliding_window_view(series, length)
    points = np.arange(n + length, len(series) - n - length, step)
    scores = []
    for point in points:
        before = rows[point - length - n + 1 : point - length + 1]
        after = rows[point : point + n]
        scores.append(
            relative_divergence(before, after) + relative_divergence(after, before)
        )
    return points, np.array(scores)


# %%
# Where it peaks
# --------------
# The three highest peaks, no two of them closer than a window. Beside it stands what
# ruptures finds where that is installed: kernel change points, which are told how many
# there are, of the values and of the same stretches.


def peaks(points, scores, n_changes=3, distance=80):
    found, scores = [], scores.copy()
    for _ in range(n_changes):
        best = points[np.argmax(scores)]
        found.append(int(best))
        scores[np.abs(points - best) < distance] = -np.inf
    return sorted(found)


def by_ruptures(series, length):
    """Change points of kernel segmentation; None without ruptures."""
    try:
        import ruptures
    except ImportError:
        return None
    rows = np.lib.stride_tricks.sliding_window_view(series, length)
    found = ruptures.KernelCPD(kernel="rbf").fit(rows).predict(n_bkps=3)
    return [each + length // 2 for each in found[:-1]]


def n_found(points, tolerance=25):
    """How many of the true changes have a point near them."""
    return sum(
        min(abs(point - true) for point in points) <= tolerance for true in CHANGES
    )


def compare(repeats):
    lines = []
    for seed in range(repeats):
        series = draw_series(seed)
        found = {
            "relative Pearson divergence": peaks(*change_scores(series)),
            "ruptures, values": by_ruptures(series, 1),
            "ruptures, stretches": by_ruptures(series, 8),
        }
        lines.append(
            {name: n_found(each) for name, each in found.items() if each is not None}
        )
    runs = pd.DataFrame(lines)
    return pd.DataFrame({"changes found, of 3": runs.mean(), "error": runs.sem()})


# %%
# One series
# ----------


def main(repeats=1, save=None):
    series = draw_series(0)
    points, scores = change_scores(series)
    if repeats > 1:
        print(compare(repeats).to_string(float_format="{:.2f}".format))
    print("changes:", CHANGES, "found:", peaks(points, scores))
    figure, axes = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    axes[0].plot(series, linewidth=0.8)
    axes[0].set_ylabel("series")
    axes[1].plot(points, scores)
    axes[1].plot(peaks(points, scores), np.zeros(3), "^", label="found", clip_on=False)
    axes[1].set(xlabel="time", ylabel="score of change")
    for ax in axes:
        for change in CHANGES:
            ax.axvline(change, color="k", linestyle=":", linewidth=1)
    axes[1].legend(fontsize="small")
    if save:
        figure.savefig(save, dpi=80)
        plt.close(figure)
    else:
        plt.show()
    return points, scores


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=1, help="series to compare on")
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.repeats, options.save)
