"""skdre.KMMRatio on rows that are left as they are, as the peers leave them."""

from _worker import main

from skdre import KMMRatio, pool


def make(options):
    def fit(Xp, Xq, gamma, B, eps):
        model = KMMRatio(gamma, B=B, eps=eps, standardize=False, **options)
        return model.fit(*pool(numerator=Xp, denominator=Xq)).weights_

    return fit


if __name__ == "__main__":
    main(make, ("skdre", "scikit-learn", "numpy"))
