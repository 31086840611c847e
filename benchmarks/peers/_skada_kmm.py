"""skada.KMMReweightAdapter: Frank-Wolfe (its default) or scipy's SLSQP.

Same kernel, kappa and band as ours. Frank-Wolfe takes ``max_iter`` steps of fixed
length, looks at no tolerance and ignores B; SLSQP knows the whole problem.
"""

import numpy as np
from _matching_job import solve
from _serve import serve
from skada import KMMReweightAdapter


def make(**options):
    def fit(Xp, Xq, gamma, B, eps):
        X = np.concatenate([Xq, Xp])
        domain = np.repeat([1, -2], [len(Xq), len(Xp)])
        model = KMMReweightAdapter(gamma=gamma, B=B, eps=eps, **options)
        return model.fit(X, sample_domain=domain).source_weights_

    return fit


if __name__ == "__main__":
    serve(make, solve, ("skada", "scipy", "numpy"))
