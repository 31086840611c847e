"""
Moving the data or weighting it
===============================

The source's digits have labels, the target's have none, and the source was taken by
another camera: blurred, with less contrast, on a grey ground. No image of the source
looks like one of the target, so there is nothing to weight: importance weights need
source rows wherever the target has some. But the digits are the same, and a map brings
them over. :class:`skdre.AlignedClassifier` finds it without labels, on the first
principal components of both samples, and trains the classifier on moved digits.

The map is affine: it matches means and covariances, and moves rows as little as it can,
which is why a 3 stays a 3. Its log-likelihood ratio falls to 0: Gaussians cannot tell
the samples apart any more. When the other camera also looks one pixel lower the nearest
map of these moments mixes up some digits, and the ratio is 0 all the same: whether
classes fall on classes it cannot know.
"""

# %%
# Two halves of the digits; one goes through the other camera.

import argparse
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter, shift
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from skdre import (
    AlignedClassifier,
    GaussianRatio,
    ImportanceWeighted,
    LikelihoodRatioAligner,
)

N_COMPONENTS = 16


def other_camera(X, pixels=0):
    images = gaussian_filter(X.reshape(-1, 8, 8), (0, 0.7, 0.7))
    images = shift(images, (0, pixels, 0), order=1)
    return (3 + images / 2).reshape(len(X), -1)


def make_task(seed, pixels=0):
    X, y = load_digits(return_X_y=True)
    source, target, y_source, y_target = train_test_split(
        X, y, test_size=0.5, random_state=seed
    )
    return other_camera(source, pixels), y_source, target, y_target


# %%
# Components are lengths in pixel space, all in the same units: the map shall move rows
# least in these, so nothing is standardised. With few rows of a class the components
# keep the covariances regular.


def models():
    aligner = LikelihoodRatioAligner(standardize=False)
    return {
        "as they are": None,
        "weighted": ImportanceWeighted(SVC(), GaussianRatio()),
        "moved": AlignedClassifier(SVC(), aligner),
    }


def run_once(seed, pixels=0):
    source, y_source, target, y_target = make_task(seed, pixels)
    pca = PCA(N_COMPONENTS, random_state=0).fit(np.concatenate([source, target]))
    Z_source, Z_target = pca.transform(source), pca.transform(target)
    scores, moved = {}, None
    for name, model in models().items():
        if model is None:
            model = SVC().fit(Z_source, y_source)
        else:
            with warnings.catch_warnings():
                # ImportanceWeighted warns: a dozen source rows have all the weight.
                warnings.simplefilter("ignore", UserWarning)
                model.fit(Z_source, y_source, X_target=Z_target)
        scores[name] = np.mean(model.predict(Z_target) == y_target)
        if name == "moved":
            moved = pca.inverse_transform(model.aligner_.transform(Z_source))
            ratios = (
                model.aligner_.initial_log_likelihood_ratio_,
                model.aligner_.log_likelihood_ratio_,
            )
    return scores, ratios, (source, moved, target, y_source, y_target)


def show_images(axes, images, titles):
    source, moved, target, y_source, y_target = images
    columns = [np.flatnonzero(y_source == digit)[0] for digit in range(10)]
    others = [np.flatnonzero(y_target == digit)[0] for digit in range(10)]
    for line, rows, title in zip(
        axes, (source[columns], moved[columns], target[others]), titles, strict=True
    ):
        for ax, row in zip(line, rows, strict=True):
            ax.imshow(row.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(title, rotation=0, ha="right", va="center")


# %%
# Accuracy on the target's rows, with no label of theirs used.


def main(repeats=5, save=None):
    rows = []
    for pixels in (0, 1):
        for seed in range(repeats):
            scores, ratios, images = run_once(seed, pixels)
            camera = "blurred" if pixels == 0 else "blurred, one pixel lower"
            rows.append({"source": camera, **scores, "ratio before": ratios[0]})
            if (pixels, seed) == (0, 0):
                shown = images
    table = pd.DataFrame(rows).groupby("source").mean()
    print(table.round(3).to_string())

    figure = plt.figure(figsize=(10, 3.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(2, 1))
    show_images(left.subplots(3, 10), shown, ("source", "moved", "target"))
    ax = right.subplots()
    table[["as they are", "weighted", "moved"]].T.plot.barh(ax=ax, legend=False)
    ax.set(xlim=(0, 1), xlabel="accuracy on the target")
    ax.axvline(0.1, color="0.5", linestyle=":")
    ax.invert_yaxis()
    ax.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1))
    if save:
        figure.savefig(save, dpi=80)
        plt.close(figure)
    else:
        plt.show()
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="splits of the digits")
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.repeats, options.save)
