"""Weights of synthetic rows, from a ratio of real to synthetic, in x and in z."""

import numpy as np
from _networks import ratio_network
from sklearn.preprocessing import FunctionTransformer

import skdre
from skdre.weighting import flatten, self_normalize

__all__ = ["WEIGHTINGS", "make_ratio", "unit_ink"]

# Appendix D.5: the first "worked best" in x, the second in z.
WEIGHTINGS = {
    "self-normalised": lambda ratio: self_normalize(ratio, total="n_samples"),
    "flattened": lambda ratio: flatten(ratio, 0.2),
}


def unit_ink(X):
    """Ink in [0, 1]."""
    return np.asarray(X, dtype=np.float32) / 255


def make_ratio(
    space, *, n_steps, width=64, max_epochs=30, flow=(5, 256), seed=0, device="cpu"
):
    """A ratio of images by the paper's network, of pixels or of a flow's features.

    Parameters
    ----------
    space : {"x", "z"}
    n_steps : int
        Most batches of the classifier.
    width : int, default=64
        Its filters.
    max_epochs : int, default=30
        Most of the flow.
    flow : tuple of int, default=(5, 256)
        Its blocks, as many as in the paper, and the units of each block's one hidden
        layer, a quarter of the paper's.
    seed : int, default=0
    device : str, default="cpu"

    Returns
    -------
    ratio : skdre.Pipeline
    """
    classifier = skdre.ClassifierRatio(
        ratio_network(n_steps=n_steps, width=width, seed=seed, device=device)
    )
    if space == "x":
        return skdre.make_pipeline(FunctionTransformer(unit_ink), classifier)
    return skdre.make_pipeline(
        skdre.Dequantizer(random_state=seed),
        skdre.FlowFeaturizer(
            n_transforms=flow[0],
            hidden_features=flow[1:],
            # A pixel that is white in all training images and not in a new one is
            # beyond anything that Gaussianised columns can express.
            marginals="standardize",
            max_epochs=max_epochs,
            patience=5,
            device=device,
            random_state=seed,
        ),
        classifier,
    )
