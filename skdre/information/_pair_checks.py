"""What vectors must be for their mutual information to mean something."""

import warnings

import numpy as np
from scipy.spatial import KDTree
from scipy.special import digamma
from scipy.stats import norm, rankdata

__all__ = ["check_columns", "check_functions", "check_neighbours"]

# Neighbours, pairs and columns of the estimate that a value is held against.
_NEIGHBOURS, _MOST_PAIRS, _MOST_COLUMNS = 3, 2000, 8
# How far it has to lie above: in nats, and beside that in standard errors.
_FAR_ABOVE, _ERRORS_ABOVE = 0.2, 3.0

# Columns with a larger share of repeated values are taken for discrete.
_MAX_REPEATED = 0.1


def _first_upper(words):
    return words[:1].upper() + words[1:]


def check_columns(X, name, called):
    """Reject constant columns, warn of discrete ones; `called` are their names."""
    n_rows = len(X)
    repeated = []
    for column, values in zip(called, X.T, strict=True):
        n_distinct = len(np.unique(values))
        if n_distinct == 1:
            raise ValueError(
                f"{_first_upper(column)} of {name} is constant, which carries no "
                "information: leave it out."
            )
        if n_distinct < (1 - _MAX_REPEATED) * n_rows:
            repeated.append(column)
    if repeated:
        warnings.warn(
            f"{name} repeats values in {', '.join(repeated[:5])}"
            f"{', ...' if len(repeated) > 5 else ''}, as continuous variables "
            "do not. If they are discrete, there may be no density ratio, and the "
            "result means nothing: use "
            "sklearn.feature_selection.mutual_info_classif. If rows stand twice, the "
            "same pair is fitted and held out, and the result is too large: leave the "
            "repeats out.",
            UserWarning,
            stacklevel=7,
        )


def check_functions(X, Y, called_X, called_Y):
    """Warn where a column of Y is a monotone function of one of X."""
    orders = {}
    for column, values in zip(called_X, X.T, strict=True):
        orders.setdefault(np.argsort(values, kind="stable").tobytes(), column)
    for column, values in zip(called_Y, Y.T, strict=True):
        for signed in (values, -values):
            same = orders.get(np.argsort(signed, kind="stable").tobytes())
            if same is not None:
                warnings.warn(
                    f"{_first_upper(column)} of Y is a monotone function of {same} of "
                    "X: the mutual information of continuous vectors is infinite then, "
                    "and the estimate only says how much the ratio can resolve.",
                    UserWarning,
                    stacklevel=7,
                )
                return


def neighbour_estimate(X, Y, n_neighbours=_NEIGHBOURS):
    """Mutual information of normal scores by nearest neighbours, and its error.

    The first estimator of A. Kraskov, H. Stoegbauer, P. Grassberger. "Estimating mutual
    information", Physical Review E 69, 2004, equation 8. Too small where columns are
    many or the dependence is strong, and hardly ever too large.
    """
    n = len(X)
    X, Y = (norm.ppf(rankdata(each, axis=0) / (n + 1)) for each in (X, Y))
    pairs = np.hstack([X, Y])
    distance = KDTree(pairs).query(pairs, n_neighbours + 1, p=np.inf)[0][:, -1]
    # Strictly nearer ones; each row is its own, as in the equation's n + 1.
    nearer = np.nextafter(distance, 0)
    of_x, of_y = (
        KDTree(each).query_ball_point(each, nearer, p=np.inf, return_length=True)
        for each in (X, Y)
    )
    local = digamma(n_neighbours) + digamma(n) - digamma(of_x) - digamma(of_y)
    return local.mean(), local.std(ddof=1) / np.sqrt(n)


def check_neighbours(X, Y, value, error, cluster=None):
    """Warn where nearest neighbours show far more information than the value."""
    if X.shape[1] + Y.shape[1] > _MOST_COLUMNS:
        return
    if cluster is not None:
        # Pairs of one group may be near each other for that alone.
        first = np.unique(cluster, return_index=True)[1]
        X, Y = X[first], Y[first]
    some = slice(None, None, -(-len(X) // _MOST_PAIRS))
    X, Y = X[some], Y[some]
    columns = *X.T, *Y.T
    if len(X) <= 2 * _NEIGHBOURS or any(len(np.unique(c)) < len(X) for c in columns):
        # Ties have no nearest neighbour.
        return
    other, own = neighbour_estimate(X, Y)
    if other - value > _FAR_ABOVE + _ERRORS_ABOVE * np.hypot(error, own):
        warnings.warn(
            f"Nearest neighbours of {len(X)} pairs show {other:.2f} nats, far more "
            f"than the {value:.2f} of the ratio: the dependence is sharper than the "
            "default can show. If a column is a function of others, without noise, "
            "the mutual information is infinite; otherwise give a `ratio` that suits "
            "the dependence.",
            UserWarning,
            stacklevel=6,
        )
