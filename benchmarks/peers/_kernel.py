"""No solver: forms the kernel matrix once, which an exact solver cannot go below."""

import numpy as np
from _matching_job import solve
from _serve import serve
from sklearn.metrics.pairwise import rbf_kernel


def make(**options):
    def fit(Xp, Xq, gamma, B, eps):
        rbf_kernel(Xq, gamma=gamma)
        return np.ones(len(Xq))

    return fit


if __name__ == "__main__":
    serve(make, solve, ("scikit-learn", "numpy"))
