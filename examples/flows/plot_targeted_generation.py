"""
Samples of one distribution from a flow of two
==============================================

A generative model needs many rows, and the target has few. Here it lies on the outer
turns of a spiral, 200 rows, and 2,000 rows of another sample cover all of it evenly. A
flow of the target's rows alone knows little of the spiral; a flow of both knows it
better, but draws from both. :class:`skdre.TargetedSampler` fits a flow to both, and a
ratio that tells which of its samples are the target's (Choi, Liao and Ermon, 2021,
section 5.3).

The weight of a sample is not the ratio r = p / q: the flow does not draw from q but
from the mixture h = (p + q) / 2, so it is p / h = 2 r / (r + 1). With r itself the
samples crowd where the ratio is largest, at the spiral's end.

All samples are held against 3,000 new rows of the target, whose distribution is known:
by the energy distance, which is 0 for equal distributions. With other seeds it is .01
to .04 for TargetedSampler, .15 to .21 for the flow of both, .11 to .18 with weights r,
and .01 to .09 for the flow of the target's rows alone, which is the better one when it
is lucky.
"""

# %%
# The two samples, and how far a sample is from the target.

import argparse

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import clone

from skdre import FlowFeaturizer, MLPRatio, TargetedSampler
from skdre.datasets import make_mixture_shift
from skdre.weighting import importance_weights, resample


def spiral(place):
    """Points of the spiral at places between 0, its centre, and 1, its end."""
    angle = 3 * np.pi * place
    return 4 * place[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def make_samples(n_target, n_source, seed):
    u = (np.arange(400) + 0.5) / 400
    return make_mixture_shift(
        (n_target, n_source),
        numerator_centers=spiral(u**0.25),
        denominator_centers=spiral(u),
        numerator_scale=0.15,
        denominator_scale=0.15,
        random_state=seed,
    )


def energy_distance(X, Y):
    """Squared energy distance of two samples (Székely and Rizzo, 2013)."""
    return 2 * cdist(X, Y).mean() - cdist(X, X).mean() - cdist(Y, Y).mean()


# %%
# Four ways to more rows of the target, from the same two samples.


def draw(n_target=200, n_source=2000, n_samples=1000, seed=0):
    """Name to samples; and the two samples that they were made from."""
    shift = make_samples(n_target, n_source, seed)
    flow = FlowFeaturizer("nsf", marginals="standardize", random_state=seed)
    alone = clone(flow).fit(shift.numerator)
    sampler = TargetedSampler(flow, MLPRatio(random_state=seed)).fit(*shift.pool())
    X = sampler.flow_.sample(10 * n_samples, random_state=seed)
    log_ratio = sampler.ratio_.decision_function(sampler.flow_.transform(X))
    by_ratio = resample(importance_weights(log_ratio), n_samples, random_state=seed)
    return shift, {
        "flow of the target's rows": alone.sample(n_samples, random_state=seed),
        "flow of both": X[:n_samples],
        "flow of both, weights r": X[by_ratio],
        "TargetedSampler": sampler.sample(n_samples, random_state=seed),
    }


# %%
# The samples, and their distances.


def main(n_samples=1000, seed=0, save=None, **sizes):
    shift, drawn = draw(n_samples=n_samples, seed=seed, **sizes)
    new = make_samples(3000, 1, seed + 1000).numerator
    drawn = {"new rows of the target": new[:n_samples]} | drawn
    others = make_samples(3000, 1, seed + 2000).numerator
    distances = {name: energy_distance(X, others) for name, X in drawn.items()}
    for name, distance in distances.items():
        print(f"{name:28}{distance:8.4f}")

    figure, axes = plt.subplots(
        2, 3, figsize=(9, 6.4), sharex=True, sharey=True, layout="constrained"
    )
    ax = axes[0, 0]
    ax.plot(*shift.denominator.T, ".", ms=2, color="0.75", label="other rows")
    ax.plot(*shift.numerator.T, ".", ms=6, color="C1", label="the target's")
    ax.set_title("what there is", fontsize=10)
    ax.legend(fontsize=8, loc="upper right")
    for ax, (name, X) in zip(axes.flat[1:], drawn.items(), strict=True):
        ax.plot(
            *X.T, ".", ms=2, color="C0" if name != "new rows of the target" else "k"
        )
        ax.set_title(f"{name}: {distances[name]:.4f}", fontsize=10)
    for ax in axes.flat:
        ax.set(xlim=(-5.5, 5.5), ylim=(-5.5, 5.5), aspect="equal", xticks=[], yticks=[])
    if save:
        figure.savefig(save, dpi=100)
    else:
        plt.show()
    return distances


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(seed=options.seed, save=options.save)
