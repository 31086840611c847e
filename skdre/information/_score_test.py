"""The score test: one model of both samples, and its gradient at each of them."""

from dataclasses import replace
from numbers import Integral

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone
from sklearn.covariance import ledoit_wolf
from sklearn.random_projection import SparseRandomProjection
from sklearn.utils import check_random_state

from skdre._compat import HasMethods, Interval, StrOptions, validate_params
from skdre._core.columns import as_matrix
from skdre._core.docs import shared_docs
from skdre._core.groups import group_codes, joined_groups, sums_over
from skdre._core.rows import observations
from skdre._core.scales import column_scales
from skdre._core.seeds import draw_seed
from skdre._core.types import RandomState, Values
from skdre.base import check_pool
from skdre.information._permutation import (
    ShiftTest,
    check_one_label,
    permutation_pvalue,
    permuted_sums,
)

__all__ = ["gaussian_features", "gaussian_scores", "score_test", "studentized"]

# More scores than this are projected at random to as many.
_MAX_SCORES = 2000

# Scores that are computed at once before they are projected.
_CHUNK = 2**23


def gaussian_scores(Z):
    """Gradients of a Gaussian's log density by its mean and covariance.

    Of rows Z in coordinates in which it is standard normal, of shape (n_rows,
    n_features): z, then z_i z_j for i < j and (z_i^2 - 1) / sqrt(2) for i = j. Under
    the model they have mean 0 and covariance I.
    """
    i, j = np.triu_indices(Z.shape[1])
    products = Z[:, i] * Z[:, j]
    products[:, i == j] = (products[:, i == j] - 1) / np.sqrt(2)
    return np.hstack([Z, products])


def _whitened(X):
    """Rows in the coordinates of a Gaussian fitted to them, its covariance shrunk.

    With more columns than rows the sample covariance would make all rows alike.
    """
    X = X - X.mean(axis=0)
    size = np.abs(X).max(axis=0)
    X = X[:, size > 0] / size[size > 0]
    if not X.shape[1]:
        return X
    X = X / X.std(axis=0)
    covariance, _ = ledoit_wolf(X, assume_centered=True)
    variance, axes = np.linalg.eigh(covariance)
    # Rounding, where columns determine each other.
    kept = variance > 1e-10 * variance[-1]
    return X @ (axes[:, kept] / np.sqrt(variance[kept]))


def _chunked(function, X, n_scores):
    n_rows = max(_CHUNK // n_scores, 1)
    for start in range(0, len(X), n_rows):
        yield function(X[start : start + n_rows])


def _standardized(function, X, rng):
    """Scores of mean 0 and variance 1, projected at random if they are many."""
    n_scores = function(X[:1]).shape[1]
    if n_scores <= _MAX_SCORES:
        scores = np.concatenate(list(_chunked(function, X, n_scores)))
        scale = scores.std(axis=0)
        varies = scale > 1e-10 * np.abs(scores).max(axis=0)
        return (scores[:, varies] - scores[:, varies].mean(axis=0)) / scale[varies]
    total, square = np.zeros(n_scores), np.zeros(n_scores)
    for part in _chunked(function, X, n_scores):
        total += part.sum(axis=0)
        square += (part**2).sum(axis=0)
    mean = total / len(X)
    scale = np.sqrt(np.maximum(square / len(X) - mean**2, 0))
    scale[scale <= 1e-8 * np.sqrt(square / len(X))] = np.inf
    projection = SparseRandomProjection(_MAX_SCORES, random_state=rng)
    projection.fit(np.zeros((1, n_scores)))
    return np.concatenate(
        [
            projection.transform((part - mean) / scale)
            for part in _chunked(function, X, n_scores)
        ]
    )


def studentized(scores):
    """Scores in the coordinates where their covariance, shrunk, is the identity.

    Ledoit and Wolf's shrinkage towards a multiple of the identity, without which the
    covariance of more scores than rows has no inverse. Scores of mean 0 and shape
    (n_rows, n_scores) give (n_rows, min(n_rows, n_scores)) coordinates, whose products
    are those of the scores with the inverse of the shrunk covariance between them.
    """
    n, k = scores.shape
    wide = k > n
    gram = (scores @ scores.T if wide else scores.T @ scores) / n
    variance, axes = np.linalg.eigh(gram)
    variance = np.maximum(variance, 0)
    size = variance.sum() / k
    spread = np.sum(variance**2)
    distance = spread - k * size**2
    lengths = np.einsum("ij,ij->i", scores, scores)
    noise = (np.sum(lengths**2) / n - spread) / n
    share = 1.0 if distance <= 0 else float(np.clip(noise / distance, 0, 1))
    shrunk = np.sqrt((1 - share) * variance + share * size)
    if wide:
        return axes * (np.sqrt(n * variance) / shrunk)
    return scores @ (axes / shrunk)


def gaussian_features(X, rng):
    """Studentized scores of a Gaussian, of whose sums the score test is a square."""
    return studentized(_standardized(gaussian_scores, _whitened(X), rng))


def _log_density_scores(model, X):
    """The rows that scores are computed at, and the function that does it."""
    if isinstance(model, str):
        Z = _whitened(X)
        if not Z.shape[1]:
            raise ValueError("X has constant columns only: there is nothing to test.")
        return Z, gaussian_scores
    fitted = clone(model).fit(X)

    def function(rows):
        scores = np.asarray(fitted.fisher_scores(rows), dtype=np.float64)
        if (
            scores.ndim != 2
            or len(scores) != len(rows)
            or not np.isfinite(scores).all()
        ):
            raise ValueError(
                f"model={model!r} must give a finite score for each row and parameter, "
                "but its fisher_scores gave NaN, infinity or the shape "
                f"{scores.shape} for {len(rows)} rows."
            )
        return scores

    return X, function


@shared_docs
@validate_params(
    {
        "X": ["array-like"],
        "y": ["array-like"],
        "model": [StrOptions({"gaussian"}), HasMethods(["fit", "fisher_scores"])],
        "groups": ["array-like", None],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def score_test(
    X: npt.ArrayLike,
    y: Values,
    model: str | BaseEstimator = "gaussian",
    *,
    groups: Values | None = None,
    n_permutations: int = 999,
    random_state: RandomState = None,
) -> ShiftTest:
    r"""Test whether one model fits two samples equally well everywhere.

    A model is fitted to the rows of both samples by maximum likelihood, without their
    labels. The gradient of its log likelihood then vanishes over all rows, but over
    those of one sample only if the model cannot tell the samples apart.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features) or (n_samples,)
        Rows of both samples, see :func:`skdre.pool`; one dimension is a single column.
    %(y)
    model : "gaussian" or estimator, default="gaussian"
        The family of densities: one Gaussian, whose scores are the first two moments,
        in closed form; or an estimator with ``fit(X)`` and ``fisher_scores(X)``, such
        as :class:`skdre.FlowFeaturizer`, of which a clone is fitted.
    groups : array-like of shape (n_samples,), default=None
        What rows belong to that are no observations of their own, such as a customer, a
        day or an event. The labels of whole groups are permuted, so each must lie in
        one sample.
    n_permutations : int, default=999
        Permutations of the labels; none needs a new fit. The smallest possible p-value
        is 1 / (n_permutations + 1).
    random_state : int, RandomState instance or None, default=None
        Draws the permutations, and a projection where there are more than 2000 scores;
        a model keeps its own.

    Returns
    -------
    result : skdre.information.ShiftTest
        With ``statistic``, ``pvalue`` and ``null_distribution``.

    Raises
    ------
    ValueError
        If y does not name two domains, X is not finite or constant, a group has rows of
        both samples, a score is not finite, or a parameter is not as described.

    See Also
    --------
    two_sample_test : By a density ratio.

    Notes
    -----
    With :math:`s_i = \nabla_\theta \log p(x_i; \hat\theta)` and their means
    :math:`\bar s_p, \bar s_q` over the two samples, the statistic is

    .. math:: \frac{n_p n_q}{n_p + n_q}
        (\bar s_p - \bar s_q)^\top \hat C^{-1} (\bar s_p - \bar s_q),

    where C is the covariance of the scores at all rows, shrunk as Ledoit and Wolf do,
    for a model may have more parameters than there are rows. It is Rao's score test of
    equal parameters [1]_, in [2]_ the Taylor expansion of the likelihood ratio that an
    alignment minimises. With many rows it is distributed as chi-squared with a degree
    of freedom for each parameter, but the p-value does not rest on that: the model
    knows no labels, so under the null hypothesis all labellings are equally likely,
    whether or not it has converged.

    The family decides what is seen. A Gaussian sees means and covariances, and two
    samples that agree in these are the same to it. A flow has thousands of scores and
    sees more kinds of shift, each of them less.

    References
    ----------
    .. [1] C. R. Rao. "Large sample tests of statistical hypotheses concerning several
       parameters with applications to problems of estimation", Proc. Cambridge Phil.
       Soc. 44, 1948.
    .. [2] B. Usman, A. Sud, N. Dufour, K. Saenko. "Log-Likelihood Ratio Minimizing
       Flows: Towards Robust and Quantifiable Neural Distribution Alignment", NeurIPS
       2020, supplement, section 8.4.

    Examples
    --------
    Equal means, unequal correlations:

    >>> import numpy as np
    >>> from skdre import pool, score_test
    >>> p, q = np.random.default_rng(0).normal(size=(2, 200, 2))
    >>> p[:, 1] += 0.5 * p[:, 0]
    >>> X, y = pool(numerator=p, denominator=q)
    >>> score_test(X, y, random_state=0).pvalue
    0.001
    """
    rng = check_random_state(random_state)
    caller = type("score_test", (), {})()
    rows = check_pool(caller, as_matrix(X), y)
    # Copies of a row would make the test see a shift: each row is tested once.
    observation = observations(rows.X, rows.is_numerator)
    first = np.unique(observation)
    if groups is not None:
        codes = group_codes(groups, len(observation))
        cluster = joined_groups(codes, observation)[first]
    rows = replace(rows, X=rows.X[first], is_numerator=rows.is_numerator[first])
    if isinstance(model, str):
        # Of all rows together, for the labels must not matter.
        part = rows.X, np.ones(len(rows.X))
        rows = replace(rows, X=column_scales((part, part)).draw_in(rows.X))
    points, function = _log_density_scores(model, rows.X)
    scores = studentized(_standardized(function, points, rng))
    n_rows = len(scores)
    generator = np.random.default_rng(draw_seed(rng))

    def statistic(sums):
        """Of sums over the numerator's rows, of the scores and of 1."""
        n_numerator = sums[..., -1]
        factor = n_rows / (n_numerator * (n_rows - n_numerator))
        return factor * np.sum(sums[..., :-1] ** 2, axis=-1)

    values = np.column_stack([scores, np.ones(n_rows)])
    n_labels = int(rows.is_numerator.sum())
    value = float(statistic(values[rows.is_numerator].sum(axis=0)))
    if groups is not None:
        check_one_label(cluster, rows.is_numerator)
        n_labels = len(np.unique(cluster[rows.is_numerator]))
        values = np.column_stack([sums_over(cluster, each) for each in values.T])
    null = statistic(permuted_sums(values, n_labels, n_permutations, generator))
    return ShiftTest(value, permutation_pvalue(value, null), null)
