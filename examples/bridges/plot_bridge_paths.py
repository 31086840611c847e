"""
Paths between two samples
=========================

Where two samples lie far apart a classifier tells them apart without error and learns
nothing about the size of the ratio. Distributions in between repair that. A path makes
them: it turns a row of the denominator, a row of the numerator and, on some paths,
noise into a row x_t = a(t) x_0 + b(t) x_1 + s(t) z. At t = 0 that is the denominator,
at t = 1 the numerator.

Each line of the picture is a path: its coefficients, and the same pairs of rows (two
half circles) at five times. Crosses are means, and the grey line is the straight way
between those of the two samples. The variance-preserving paths, whose coefficients lie
on a circle, keep the spread of the samples but take the mean on a detour, for
a + b > 1; with ``centers`` it goes straight. The linear path has half of the variance
halfway. The diffusion path (VPSDE) stays with the denominator for half of the way: it
is made for one that is noise. The bridge's noise smooths the samples out in between.
"""

# %%
# Pairs are drawn once, the same for all paths.

import argparse

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from skdre.datasets import make_known_ratio
from skdre.paths import (
    ArithmeticPath,
    BridgePath,
    LinearPath,
    TrigonometricPath,
    VPSDEPath,
)

PATHS = {
    "trigonometric, centred": TrigonometricPath(),
    "trigonometric": TrigonometricPath(),
    "arithmetic": ArithmeticPath(),
    "VPSDE": VPSDEPath(),
    "linear": LinearPath(),
    "bridge, sigma = 1": BridgePath(sigma=1.0),
}
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)


def plot_coefficients(ax, path):
    # The derivative of a coefficient may be infinite at an end, its value is not.
    t = np.linspace(0, 1, 201)
    a, b, s = path.coefficients(t)
    ax.plot(t, a, color="tab:blue", label="a, of the denominator's row")
    ax.plot(t, b, color="tab:red", label="b, of the numerator's row")
    if path.is_noisy:
        ax.plot(t, s, color="0.4", linestyle="--", label="s, of the noise")
    ax.set_ylim(-0.05, 1.05)
    ax.set_xticks([0, 0.5, 1])


def plot_rows(axes, path, x0, x1, noise, *, centered):
    means = x0.mean(axis=0), x1.mean(axis=0)
    color = LinearSegmentedColormap.from_list("path", ["tab:blue", "tab:red"])
    for ax, t in zip(axes, TIMES, strict=True):
        rows = path.interpolate(x0, x1, t, noise, centers=means if centered else None)
        ax.scatter(*rows.T, s=3, color=color(t), linewidths=0)
        ax.plot(*np.transpose(means), color="0.5")
        ax.plot(*rows.mean(axis=0), "k+", markersize=9)
        ax.set(xlim=(-0.5, 6), ylim=(-3, 2.5), xticks=[], yticks=[], aspect=1)


def main(n_samples=600, save=None):
    shift = make_known_ratio("far_moons", n_samples, random_state=0)
    # Away from the origin, which most paths bend around.
    x0, x1 = (x + np.array([2.0, 0.0]) for x in (shift.denominator, shift.numerator))
    noise = np.random.default_rng(0).standard_normal(x0.shape)

    figure, axes = plt.subplots(
        len(PATHS), 1 + len(TIMES), figsize=(12, 11), layout="constrained"
    )
    for line, (name, path) in zip(axes, PATHS.items(), strict=True):
        plot_coefficients(line[0], path)
        line[0].set_ylabel(name)
        centered = name.endswith("centred")
        plot_rows(line[1:], path, x0, x1, noise, centered=centered)
    axes[0, 0].set_title("coefficients")
    axes[-1, 0].set_xlabel("t")
    for ax, t in zip(axes[0, 1:], TIMES, strict=True):
        ax.set_title(f"t = {t:g}")
    figure.legend(
        *axes[-1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3
    )
    if save:
        figure.savefig(save, dpi=80)
        plt.close(figure)
    else:
        plt.show()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--samples", type=int, default=600, help="rows a sample")
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.samples, options.save)
