"""balance's, hep_ml's and quapy's answers to the problems of ``by_task.py``."""

import numpy as np
from _serve import clock, serve


def balance_weights(method):
    import pandas as pd
    from balance import Sample

    def frame(X):
        table = pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
        return Sample.from_frame(table.assign(id=np.arange(len(X)).astype(str)))

    def answer(source, target):
        adjusted = frame(source).set_target(frame(target)).adjust(method=method)
        return np.asarray(adjusted.weight_series, dtype=float)

    return answer


def gb_reweighter(**options):
    from hep_ml.reweight import GBReweighter

    def answer(simulated, data, simulated_weight, data_weight, new):
        model = GBReweighter(gb_args={"random_state": 0}, **options)
        model.fit(simulated, data, simulated_weight, data_weight)
        return model.predict_weights(new)

    return answer


def prevalence(method):
    from quapy.method import aggregative
    from sklearn.linear_model import LogisticRegression

    def answer(X, y, new):
        model = getattr(aggregative, method)(LogisticRegression())
        model.fit(X, y.astype(int))
        return model.predict(new)

    return answer


KINDS = {
    "balance": balance_weights,
    "hep_ml": gb_reweighter,
    "quapy": prevalence,
}


def make(**options):
    return KINDS[options.pop("kind")](**options)


def solve(answer, job):
    with np.load(job["problem"]) as data:
        problem = dict(data)
    found, report = clock(lambda: answer(**problem), 1, 0)
    return report, {"found": found}


if __name__ == "__main__":
    serve(make, solve, ("balance", "hep_ml", "QuaPy", "scikit-learn"))
