"""adapt's KLIEP (Frank-Wolfe, its default), uLSIF and RuLSIF.

adapt has no grid of its own (gamma is 1 / n_features and lambda 1 unless lists are
given), so it gets the bandwidths of the problem and the ridges below. ``fit_weights``
takes the source, which is the denominator, first. RuLSIF gives the relative ratio and
nothing to turn it back with; this script does (see ``_relative.py``).
"""

import numpy as np
from _ratio_job import Fitted, solve
from _relative import ratio_of_relative
from _serve import serve
from adapt import instance_based

RIDGES = [10.0**power for power in range(-5, 2)]


def make(**options):
    name = options.pop("name")
    cls = getattr(instance_based, name)
    params = {"verbose": 0} | options
    if name != "KLIEP":
        params["lambdas"] = RIDGES

    def fit(Xp, Xq, gammas, seed):
        # uLSIF and RuLSIF have a random_state, and do not look at it.
        np.random.seed(seed)  # noqa: NPY002
        if not np.ndim(gammas):
            gammas = float(gammas)
        model = cls(gamma=gammas, random_state=seed, **params)
        model.fit_weights(Xq, Xp)

        def predict(X):
            return ratio_of_relative(model.predict_weights(X), params.get("alpha", 0))

        kernel = None
        if name == "KLIEP":
            best = model.best_params_["gamma"]
            kernel = (model.centers_, model.alphas_.ravel(), best)
        return Fitted(predict, kernel=kernel)

    return fit


if __name__ == "__main__":
    serve(make, solve, ("adapt", "scikit-learn", "scipy", "numpy"))
