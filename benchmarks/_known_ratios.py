"""Problems whose log ratio is known, and how estimates of it are judged.

No estimator of skdre or of a peer is used here, so all contenders are judged alike.
"""

import warnings

import numpy as np
from scipy.spatial.distance import cdist, pdist
from scipy.stats import rankdata

NEW_POINTS = 2000
# Log ratios beyond this are taken as this, true or estimated: a ratio of 0 is exp(-15).
BOUND = 15.0
# The smallest ratio that skdre's kernel estimators predict.
FLOOR = 0.01


def mean_shift(n, d, rng):
    """Unit Gaussians whose means lie 1 apart, the same in each column."""
    shift = np.full(d, 1 / np.sqrt(d))

    def draw(size):
        return rng.standard_normal((size, d)) + shift, rng.standard_normal((size, d))

    return draw(n), draw(NEW_POINTS // 2), lambda X: X @ shift - 0.5


def covariance_change(n, d, rng):
    """Centred Gaussians; in p the first two columns have deviations 0.7 and 1.5."""
    sd = np.ones(d)
    sd[:2] = 0.7, 1.5

    def draw(size):
        return rng.standard_normal((size, d)) * sd, rng.standard_normal((size, d))

    def log_ratio(X):
        return (X**2) @ (1 - sd**-2) / 2 - np.log(sd).sum()

    return draw(n), draw(NEW_POINTS // 2), log_ratio


SYNTHETIC = {"mean": mean_shift, "covariance": covariance_change}


def median_gamma(X, rng):
    """1 / (2 m^2), m the median distance between pairs of at most 1,000 rows."""
    rows = rng.permutation(len(X))[:1000]
    return 0.5 / np.median(pdist(X[rows])) ** 2


def _as_problem(Xp, Xq, new, truth, seed, rng):
    gamma = median_gamma(np.concatenate([Xp, Xq]), rng)
    return {
        "Xp": Xp,
        "Xq": Xq,
        "new": new,
        "truth": truth,
        "gammas": gamma * 2.0 ** np.arange(-7, 6),
        "median_gamma": gamma,
        "seed": seed,
    }


def make_problem(name, n, d, seed):
    """Two Gaussian samples of n rows, new rows of both, and the truth at these."""
    rng = np.random.default_rng([n, d, seed])
    (Xp, Xq), new, log_ratio = SYNTHETIC[name](n, d, rng)
    new = np.concatenate(new)
    return _as_problem(Xp, Xq, new, log_ratio(new), seed, rng)


def breast_cancer(seed):
    """scikit-learn's breast cancer data under a selection that is known.

    Rows are kept for the source with a chance that rises with the first principal
    component of the standardised columns; the others become the target. Columns are
    scaled by their standard deviations over the rows of the fit, for all contenders. A
    third of the rows of each sample is the new rows.
    """
    from sklearn.datasets import load_breast_cancer

    from skdre.datasets import make_selection_shift

    X, y = load_breast_cancer(return_X_y=True)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    score = np.linalg.svd(Z, full_matrices=False)[0][:, 0]
    score *= np.sign(score @ Z[:, 0])
    shift = make_selection_shift(X, y, score=score, strength=1.5, random_state=seed)
    rng = np.random.default_rng(seed)
    fit, new, truth = [], [], []
    for rows, log_ratio in (
        (shift.X_target, shift.target_log_ratio),
        (shift.X_source, shift.source_log_ratio),
    ):
        order = rng.permutation(len(rows))
        held, kept = np.split(order, [len(rows) // 3])
        fit.append(rows[kept])
        new.append(rows[held])
        truth.append(log_ratio[held])
    both = np.concatenate(fit)
    center, scale = both.mean(axis=0), both.std(axis=0)
    Xp, Xq, new = ((x - center) / scale for x in (*fit, np.concatenate(new)))
    return _as_problem(Xp, Xq, new, np.concatenate(truth), seed, rng)


def judge(truth, log_ratio):
    """Errors of an estimated log ratio at the new rows.

    Returns
    -------
    errors : dict
        error: mean squared error in nats squared, both clipped at +-15.
        floored: the same with every estimate at least log(0.01).
        rank: Spearman's rank correlation; below 0 the ratio is upside down.
        zeros, undefined: shares of rows with ratio 0, and with none.
    """
    undefined = np.isnan(log_ratio)
    # One value throughout has no ranks; a missing one says that nothing is known.
    log_ratio = np.clip(np.where(undefined, 0, log_ratio), -BOUND, BOUND)
    truth = np.clip(truth, -BOUND, BOUND)
    floored = np.maximum(log_ratio, np.log(FLOOR))
    rank = 0.0
    if np.ptp(log_ratio) > 0:
        rank = np.corrcoef(rankdata(log_ratio), rankdata(truth))[0, 1]
    return {
        "error": float(np.mean((log_ratio - truth) ** 2)),
        "floored": float(np.mean((floored - truth) ** 2)),
        "rank": float(rank),
        "zeros": float(np.mean(log_ratio == -BOUND)),
        "undefined": float(undefined.mean()),
    }


def kliep_gap(Xp, Xq, centers, coef, gamma):
    """Distance of KLIEP's coefficients from the optimum for their own centres.

    The problem is the maximum over alpha >= 0 of mean_p log(A alpha) under b'alpha = 1,
    A and b the kernels at the numerator's rows and their means over the denominator's.
    Clarabel solves it; the bound is that of Lagrangian duality at its solution, J + log
    max_k g_k with g the gradient with respect to b alpha.

    Returns
    -------
    objective, gap : float
        Mean log ratio at the numerator's rows, in nats, after scaling the coefficients
        so that the constraint holds; and the optimum's upper bound less it.
    """
    import cvxpy as cp

    A = np.exp(-gamma * cdist(Xp, centers, "sqeuclidean"))
    L = A / np.exp(-gamma * cdist(Xq, centers, "sqeuclidean")).mean(axis=0)
    pi = coef * (A / L)[0]
    objective = np.mean(np.log(L @ (pi / pi.sum())))
    best = cp.Variable(len(coef), nonneg=True)
    problem = cp.Problem(cp.Maximize(cp.sum(cp.log(L @ best))), [cp.sum(best) == 1])
    with warnings.catch_warnings():
        # The bound tells how accurate the solution is.
        warnings.simplefilter("ignore")
        problem.solve(solver=cp.CLARABEL)
    best = np.maximum(best.value, 0)
    best /= best.sum()
    density = L @ best
    bound = np.mean(np.log(density)) + np.log(np.mean(L / density[:, None], 0).max())
    return {"objective": float(objective), "gap": float(bound - objective)}
