"""skdre.KMMRatio on rows that are left as they are, as the peers leave them."""

from _matching_job import solve
from _serve import serve

from skdre import KMMRatio, pool


def make(**options):
    def fit(Xp, Xq, gamma, B, eps):
        model = KMMRatio(gamma, B=B, eps=eps, standardize=False, **options)
        return model.fit(*pool(numerator=Xp, denominator=Xq)).weights_

    return fit


if __name__ == "__main__":
    serve(make, solve, ("skdre", "scikit-learn", "numpy"))
