"""skada's reweighting adapters that give a density ratio at any row.

KLIEP gets the bandwidths of the problem (its gamma has no default; only a list is
searched). An adapter knows weights at rows marked as source; new rows are so marked to
ask for them. Density and Discriminator divide by the mean weight over the rows asked
for; here the mean over the source's rows of the fit is put back in its place.

DiscriminatorReweightAdapter of skada 0.6.0 returns (1 - c) / c with c the probability
of the target, which is source / target, not the target / source of its other adapters;
``inverted`` turns it back, and without that its rank correlation is negative.
"""

import numpy as np
import skada
from _ratio_job import Fitted, solve
from _serve import serve

RESCALED = ("DensityReweightAdapter", "DiscriminatorReweightAdapter")


def make(**options):
    name = options.pop("name")
    inverted = options.pop("inverted", False)
    is_kliep = name == "KLIEPReweightAdapter"

    def fit(Xp, Xq, gammas, seed):
        params = dict(options)
        if is_kliep:
            gamma = list(gammas) if np.ndim(gammas) else float(gammas)
            params |= {"gamma": gamma, "random_state": seed}
        model = getattr(skada, name)(**params)
        domain = np.repeat([1, -2], [len(Xq), len(Xp)])
        model.fit(np.concatenate([Xq, Xp]), sample_domain=domain)

        def predict(X):
            rows = np.concatenate([Xq, X])
            weights = model.compute_weights(rows, sample_domain=np.ones(len(rows)))
            if inverted:
                weights = 1 / weights
            if name in RESCALED:
                weights = weights / weights[: len(Xq)].mean()
            return weights[len(Xq) :]

        kernel = None
        if is_kliep:
            kernel = (model.centers_, model.alpha_, model.best_gamma_)
        return Fitted(predict, kernel=kernel)

    return fit


if __name__ == "__main__":
    serve(make, solve, ("skada", "scikit-learn", "scipy", "numpy"))
