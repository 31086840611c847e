"""The problem through cvxpy to Clarabel, at tight tolerances: a neutral answer."""

import cvxpy as cp
import numpy as np
from _matching_job import solve
from _serve import serve
from sklearn.metrics.pairwise import rbf_kernel


def make(**options):
    def fit(Xp, Xq, gamma, B, eps):
        n = len(Xq)
        K = rbf_kernel(Xq, gamma=gamma)
        kappa = n * rbf_kernel(Xq, Xp, gamma=gamma).mean(axis=1)
        w = cp.Variable(n)
        # Divided by n squared, the tolerances of the solver are relative ones.
        objective = (cp.quad_form(w, cp.psd_wrap(K)) / 2 - kappa @ w) / n**2
        band = [cp.sum(w) <= n * (1 + eps), cp.sum(w) >= n * (1 - eps)]
        problem = cp.Problem(cp.Minimize(objective), [w >= 0, w <= B, *band])
        tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-12)
        problem.solve(solver=cp.CLARABEL, **tolerances)
        return np.asarray(w.value)

    return fit


if __name__ == "__main__":
    serve(make, solve, ("cvxpy", "clarabel", "numpy"))
