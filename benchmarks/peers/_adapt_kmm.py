"""adapt.instance_based.KMM: the whole quadratic programme by cvxopt's interior point.

Its problem is ours to the letter (same kernel, kappa, box and band). It allows no other
eps than a number or its own default, which is ours. ``max_size`` is 1,000 by default:
above that it splits the denominator at random and matches every part by itself, which
is another problem; ``exact`` lifts it.
"""

from _matching_job import solve
from _serve import serve
from adapt.instance_based import KMM


def make(**options):
    exact = options.pop("exact")

    def fit(Xp, Xq, gamma, B, eps):
        size = {"max_size": len(Xq)} if exact else {}
        # A part has its own band; None lets adapt compute it from the part's size.
        eps = eps if exact else None
        model = KMM(gamma=gamma, B=B, eps=eps, verbose=0, **size, **options)
        return model.fit_weights(Xq, Xp)

    return fit


if __name__ == "__main__":
    serve(make, solve, ("adapt", "cvxopt", "numpy"))
