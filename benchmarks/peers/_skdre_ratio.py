"""skdre's direct estimators, as they come."""

from importlib.util import find_spec

from _ratio_job import Fitted, solve
from _serve import serve
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

import skdre
from skdre import pool

# What JSON cannot hold.
INNER = {
    "QDA": QuadraticDiscriminantAnalysis(),
    "shrunk QDA": QuadraticDiscriminantAnalysis(solver="eigen", shrinkage="auto"),
}


def make(**options):
    name = options.pop("name")
    search = options.pop("search", False)
    if "estimator" in options:
        options["estimator"] = INNER[options["estimator"]]
    cls = getattr(skdre, name)

    def fit(Xp, Xq, gammas, seed):
        params = dict(options)
        if "random_state" in cls().get_params():
            params["random_state"] = seed
        if search:
            params["gamma"] = gammas
        model = cls(**params).fit(*pool(numerator=Xp, denominator=Xq))
        kernel = None
        if name == "KLIEPRatio" and not model.standardize:
            kernel = (model.centers_, model.dual_coef_, model.gamma_)
        return Fitted(model.decision_function, logarithmic=True, kernel=kernel)

    return fit


if __name__ == "__main__":
    packages = ["skdre", "scikit-learn", "scipy", "numpy"]
    serve(make, solve, packages + ["torch"] * bool(find_spec("torch")))
