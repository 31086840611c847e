"""
A density of digits, and whether to believe it
==============================================

A base density times the ratio of the data to it is a better density, if the ratio is
right. Here the data are scikit-learn's digits, 8 by 8 pixels; the base is a Gaussian
copula, and the ratio comes from a network, from boosted trees, or from bridges between
the base and the digits, each fitted in the base's latent space, where the base is
N(0, I).

There are four code lengths, in bits per dimension; lower is better. That of the base;
the *direct* one, which takes the ratio as it is; and two that first find the constant
which makes it a density. Annealed importance sampling (AIS) goes from the base to the
model, and tends to say too few bits. Reverse annealing (RAISE) goes from the test
digits to the base, and tends to say too many. Where the two agree the constant is
known; where the direct length differs from both, the ratio is off by that constant.
"""

# %%
# Pixels get uniform noise and the logit transform. There are few images, so each comes
# with five draws of the noise.

import argparse
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skdre import (
    ClassifierRatio,
    Dequantizer,
    FlowFeaturizer,
    MLPRatio,
    RatioDensity,
    TelescopingRatio,
)
from skdre.density import annealed_importance_sampling, raise_bound

N_DRAWS = 5

RATIOS = {
    "network": MLPRatio((64, 64), n_estimators=4, max_iter=1000, random_state=0),
    "boosted trees": ClassifierRatio(
        HistGradientBoostingClassifier(
            max_iter=150, max_leaf_nodes=15, early_stopping=False, random_state=0
        )
    ),
    "bridges": TelescopingRatio(
        path="vpsde",
        hidden_features=(64, 64),
        n_estimators=2,
        max_iter=800,
        random_state=0,
    ),
}


def load_images(n_images=None):
    """Dequantised digits to train and to test with, and the transformer."""
    train, test = train_test_split(load_digits().data, test_size=0.25, random_state=0)
    train = train[:n_images].repeat(N_DRAWS, axis=0)
    pixels = Dequantizer(n_levels=17, alpha=0.05, center=True, random_state=0)
    pixels.fit(train)
    return pixels.transform(train), pixels.transform(test), pixels


# %%
# Trees have no gradients, so their chains move by elliptical slice sampling; those of
# networks move by Hamiltonian Monte Carlo.


def code_lengths(density, test, pixels, *, n_steps, n_chains):
    """Bits per dimension of a fitted density, and samples of it."""
    forward = annealed_importance_sampling(
        density, n_steps=n_steps, n_chains=n_chains, random_state=0
    )
    bound = raise_bound(density, test[:100], schedule=forward, random_state=0)
    bits_of_a_nat = 1 / (test.shape[1] * np.log(2))
    direct = pixels.bits_per_dimension(test, density.score_samples(test)).mean()
    lengths = {
        "direct": direct,
        "RAISE": direct + bits_of_a_nat * bound.log_normalizer,
        "AIS": direct + bits_of_a_nat * forward.log_normalizer,
    }
    return lengths, forward.particles


def show(table, samples, pixels):
    figure, axes = plt.subplots(
        1, 1 + len(samples), figsize=(13, 2.8), layout="constrained"
    )
    ax, *others = axes
    for name, mark in {"direct": "o", "RAISE": "v", "AIS": "^"}.items():
        ax.plot(table[name], np.arange(len(table)), mark, label=name, alpha=0.8)
    ax.axvline(table["base"].iloc[0], color="0.5", label="base")
    ax.set_yticks(np.arange(len(table)), table.index)
    ax.invert_yaxis()
    ax.set(xlabel="bits per dimension")
    ax.legend(fontsize=8, frameon=False)
    for ax, (name, rows) in zip(others, samples.items(), strict=True):
        grid = np.zeros((36, 9, 9))
        images = pixels.inverse_transform(rows[:36]).reshape(-1, 8, 8)
        grid[: len(images), :8, :8] = images
        grid = grid.reshape(6, 6, 9, 9).swapaxes(1, 2).reshape(54, 54)
        ax.imshow(grid, cmap="gray_r", vmin=0, vmax=16)
        ax.set(title=name)
        ax.axis("off")
    return figure


# %%
# Bits per dimension, and digits: those of the base, and what annealing has made of them
# under each density.


def main(n_images=None, n_steps=150, n_chains=100, save=None):
    train, test, pixels = load_images(n_images)
    base = FlowFeaturizer("copula", random_state=0).fit(train)
    of_base = pixels.bits_per_dimension(test, base.score_samples(test)).mean()
    lines, samples = {}, {"base": base.sample(36, random_state=0)}
    for name, ratio in RATIOS.items():
        start = time.process_time()
        density = RatioDensity(
            ratio, FrozenEstimator(base), normalizer=None, random_state=0
        )
        with warnings.catch_warnings():
            # That the held-out loss still falls, and fell while chains were few.
            warnings.simplefilter("ignore")
            density.fit(train)
            lengths, samples[name] = code_lengths(
                density, test, pixels, n_steps=n_steps, n_chains=n_chains
            )
        seconds = time.process_time() - start
        lines[name] = {"base": of_base, **lengths, "seconds": seconds}
    table = pd.DataFrame(lines).T
    print(table.round(3).to_string())
    figure = show(table, samples, pixels)
    if save:
        figure.savefig(save, dpi=80)
        plt.close(figure)
    else:
        plt.show()
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--images", type=int, help="images to train with; all")
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.images, save=options.save)
