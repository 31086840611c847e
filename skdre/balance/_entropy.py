"""balance_weights: one sample weighted to have the means of another."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skdre._compat import Interval, validate_params
from skdre._core.types import Floats, Rows, Values
from skdre.balance._columns import paired_columns
from skdre.balance._dual import (
    least_slack,
    rows_on_face,
    smallest_tol,
    solve_dual,
)
from skdre.balance._table import BalanceTable, table_of, weight_of

__all__ = ["BalancedSample", "balance_weights"]

# A slack of the linear programme below this is rounding.
_MISSED = 1e-7
_POWERS = {1: "mean", 2: "second moment", 3: "third moment", 4: "fourth moment"}
# Where a few rows carry the weight, as for ImportanceWeighted.
_LOW_EFFECTIVE_SHARE = 0.05


@dataclass(frozen=True)
class BalancedSample:
    """What :func:`balance_weights` returns: weights, and the table of their effect.

    It prints as its balance table, and as HTML in a notebook.

    Attributes
    ----------
    weights : ndarray of shape (n_source,)
        Not negative, of mean 1: for ``sample_weight``.
    effective_sample_size : float
        Kish's, in rows.
    table : BalanceTable
        Mean differences and variance ratios, before and after.
    multipliers : dict of str to float
        The dual variable of each function that was balanced, by its name: how much its
        constraint costs. 0 where the tolerance suffices.
    n_iter : int
        Newton steps.
    """

    weights: Floats = field(repr=False)
    effective_sample_size: float
    table: BalanceTable
    multipliers: dict[str, float] = field(repr=False)
    n_iter: int

    def to_frame(self) -> Any:
        """The balance table as a pandas DataFrame.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_lines, 11)
            With the attributes of :class:`skdre.balance.BalanceRow` as columns.
        """
        return self.table.to_frame()

    def __str__(self) -> str:
        return str(self.table)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


@dataclass(frozen=True)
class _Function:
    """A function of a column, minus its mean in the target, in its units there."""

    name: str
    column: str
    values: np.ndarray
    is_missing: bool = False


def _function(name, column, source, target, weight):
    """Centred and scaled by the target; by the source where the target is constant."""
    total = weight.sum()
    mean = weight @ target / total
    scale = np.sqrt(weight @ (target - mean) ** 2 / total)
    # The rounding error of a constant is no spread.
    floor = 1e-12 * max(np.abs(target).max(initial=0), np.abs(source).max(initial=0))
    if not scale > floor:
        scale = np.std(source)
    return _Function(name, column, (source - mean) / (scale if scale > floor else 1.0))


def _of_numbers(pair, weight, powers, levels):
    """Functions of the observed numbers; 0 where they are missing.

    The share that is missing is balanced too, so a mean over all rows is one over the
    observed rows times their share in the target.
    """
    missing, missing_target = pair.missing
    if missing_target.all():
        return
    source, target = pair.source[~missing], pair.target[~missing_target]
    observed = weight[~missing_target].sum() / weight.sum()
    weight = weight[~missing_target]
    if not observed:
        return

    def at_all_rows(name, *parts):
        found = _function(name, pair.name, *parts, weight)
        values = np.zeros(len(pair.source))
        values[~missing] = found.values / observed
        return _Function(name, pair.name, values)

    # Powers of numbers near 0 and 1, so that they are not lost to rounding.
    first = _function("", pair.name, source, target, weight).values
    unit = _function("", pair.name, target, target, weight).values
    for power in range(1, powers + 1):
        name = f"{pair.name}: {_POWERS.get(power, f'moment {power}')}"
        yield at_all_rows(name, first**power, unit**power)
    order = np.argsort(target, kind="stable")
    share = np.cumsum(weight[order]) / weight.sum()
    for level in levels:
        place = target[order][np.searchsorted(share, level * (1 - 1e-12))]
        name = f"{pair.name}: share up to {place:.6g} (quantile {level:g})"
        yield at_all_rows(name, (source <= place) * 1.0, (target <= place) * 1.0)


def _functions(columns, weight, moments, quantiles):
    for pair in columns:
        if pair.is_category:
            for code, level in enumerate(pair.levels):
                parts = (pair.source == code) * 1.0, (pair.target == code) * 1.0
                name = f"{pair.name} = {level}"
                yield _function(name, pair.name, *parts, weight)
        else:
            powers, levels = moments[pair.name], quantiles[pair.name]
            yield from _of_numbers(pair, weight, powers, levels)
        missing, missing_target = pair.missing
        if missing.any() or missing_target.any():
            name = f"{pair.name} is missing"
            parts = missing * 1.0, missing_target * 1.0
            yield replace(_function(name, pair.name, *parts, weight), is_missing=True)


def _by_column(given, names, argument, default):
    """A value for each column, from one for all or a mapping."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    found = {str(name): value for name, value in given.items()}
    if unknown := sorted(found.keys() - set(names)):
        raise ValueError(
            f"{argument} names columns that are not there: {unknown}; there are "
            f"{list(names)}."
        )
    return dict.fromkeys(names, default) | found


def _check_moments(moments, names):
    moments = _by_column(moments, names, "moments", 1)
    for name, value in moments.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
            raise ValueError(
                f"moments must be whole numbers from 0 on, got {value!r} for column "
                f"{name!r}."
            )
    return moments


def _check_quantiles(quantiles, names):
    quantiles = _by_column(
        () if quantiles is None else quantiles, names, "quantiles", ()
    )
    for name, levels in quantiles.items():
        for level in np.ravel(levels):
            if not isinstance(level, Real) or not 0 < level < 1:
                raise ValueError(
                    "quantiles must be levels between 0 and 1, both excluded, got "
                    f"{level!r} for column {name!r}."
                )
    return {name: np.ravel(levels) for name, levels in quantiles.items()}


def _check_tol(tol, functions):
    """A tolerance for each function; a mapping has names of functions or columns."""
    if isinstance(tol, Mapping):
        known = {each.name for each in functions} | {each.column for each in functions}
        given = {str(name): value for name, value in tol.items()}
        if unknown := sorted(given.keys() - known):
            raise ValueError(
                f"tol names what is not balanced: {unknown}; there are "
                f"{[each.name for each in functions]}, and their columns."
            )
    else:
        given = dict.fromkeys((each.column for each in functions), tol)
    values = [
        given.get(f.name, 0.0 if f.is_missing else given.get(f.column, 0.0))
        for f in functions
    ]
    for value in values:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number or not np.isfinite(value) or value < 0:
            raise ValueError(f"tol must be finite and not negative, got {value!r}.")
    return np.array(values, dtype=float)


def _listed(functions, slack):
    order = np.argsort(-slack)
    named = [
        f"{functions[j].name!r} (by {slack[j]:.3g} standard deviations)"
        for j in order
        if slack[j] > _MISSED
    ]
    return ", ".join(named[:8]) + (", ..." if len(named) > 8 else "")


def _refuse_infeasible(functions, C, tol):
    """Say which constraints stand against each other, and what could be met."""
    # To leave what is missing as it is comes first: else all weight on such rows would
    # meet the constraints on the numbers.
    is_missing = np.array([each.is_missing for each in functions])
    slack = least_slack(C, tol, np.where(is_missing, 1e4, 1.0))
    words = "No weights on the source's rows meet all constraints."
    if np.isfinite(slack).all() and (slack > _MISSED).any():
        words += f" At the least these are missed: {_listed(functions, slack)}."
        nearest = smallest_tol(C, ~is_missing)
        if np.isfinite(nearest):
            # Weights at the very edge are 0 at most rows: a little beyond it.
            rounded = float(f"{1.05 * nearest:.2g}")
            words += (
                " The source may have no rows where the target has some: leave such "
                "rows of the target, or such columns, out, or allow differences. The "
                f"smallest that can be met by all is {nearest:.3g} standard "
                f"deviations: tol={max(rounded, nearest * 1.01):.3g}, or a dict with a "
                "tolerance for those named."
            )
    else:
        words += (
            " They can be met only by weights that are 0 at most rows: allow small "
            "differences, as with tol=0.01."
        )
    raise ValueError(words)


@validate_params(
    {
        "base_weight": ["array-like", None],
        "target_weight": ["array-like", None],
        "moments": [Interval(Integral, 0, None, closed="left"), Mapping],
        "quantiles": ["array-like", Mapping, None],
        "tol": [Interval(Real, 0, None, closed="left"), Mapping],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def balance_weights(
    X_source: Rows,
    X_target: Rows,
    base_weight: Values | None = None,
    *,
    target_weight: Values | None = None,
    moments: int | Mapping[str, int] = 1,
    quantiles: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    tol: float | Mapping[str, float] = 0.0,
    max_iter: int = 200,
) -> BalancedSample:
    r"""Weight one sample so that it has the means of another: entropy balancing.

    The weights are those nearest to the base weights, in Kullback-Leibler divergence,
    under which chosen moments, quantiles and shares of the source's columns are equal
    to the target's. With a density ratio target/source as base weights, its errors in
    these are repaired and nothing else is changed.

    Parameters
    ----------
    X_source : array-like or DataFrame of shape (n_source, n_features)
        The rows to weight. Columns of numbers, truth values, categories and words, also
        with missing values.
    X_target : array-like or DataFrame of shape (n_target, n_features)
        The rows whose means are to be met.
    base_weight : array-like of shape (n_source,), default=None
        Weights to start from, such as ``ratio.predict_ratio(X_source)`` or design
        weights. None is the same for all.
    target_weight : array-like of shape (n_target,), default=None
        Weights of the target's rows.
    moments : int or dict, default=1
        How many moments of each column of numbers: 1 balances means, 2 also second
        moments and so variances. A dict has a number for some columns, by name (``x0``,
        ``x1``, ... for arrays), and the others have 1. Categories are always balanced
        in the shares of all levels, and missing values in their share.
    quantiles : sequence of float or dict, default=None
        Levels between 0 and 1 of each column of numbers. The source's share up to the
        target's quantile is made equal to the target's share there. A dict has levels
        for some columns.
    tol : float or dict, default=0.0
        Difference that is allowed, in the target's standard deviations of what is
        balanced. A dict has values for some functions (``"age: mean"``) or columns
        (``"age"``), and 0 for others. The share of missing values is met exactly unless
        a dict names it (``"age is missing"``).
    max_iter : int, default=200
        Most Newton steps.

    Returns
    -------
    balanced : skdre.balance.BalancedSample
        With ``weights``, ``effective_sample_size`` and ``table``.

    Raises
    ------
    ValueError
        If no weights meet the constraints: the message names those that stand against
        it, and the smallest tolerance that can be met. Or if the tables have different
        columns, hold infinite values, or a parameter is out of its range.
    TypeError
        If only one of the two is a DataFrame, or one is sparse.

    Warns
    -----
    UserWarning
        If a few rows carry the weight: below 5 % of the source's rows in effect.
    ConvergenceWarning
        If the constraints are not met to a billionth of a standard deviation after
        `max_iter` steps.

    See Also
    --------
    balance_table : The same table for weights from elsewhere.
    treatment_weights : Weights from a propensity score.
    skdre.inspection.LovePlotDisplay : The table as a picture.

    Notes
    -----
    The dual problem has one variable for each function that is balanced; Newton's
    method solves it to rounding error, with any number of rows [1]_. With ``tol`` it is
    penalised by ``tol`` times the variable's absolute value, which gives the weights
    nearest to the base weights among those that keep within the tolerances [2]_.

    Numbers are balanced where they are observed, and so is how often they are missing.
    A level, or a missing value, that the target does not have gets the weight 0.

    Entropy balancing with equal base weights is also a logistic model of the
    propensity, fitted by moments, and an outcome that is linear in what is balanced is
    averaged without bias [3]_.

    References
    ----------
    .. [1] J. Hainmueller, "Entropy balancing for causal effects", Political Analysis
       20, 2012, Eq. 4-9.
    .. [2] Y. Wang, J. R. Zubizarreta, "Minimal dispersion approximately balancing
       weights", Biometrika 107, 2020.
    .. [3] Q. Zhao, D. Percival, "Entropy balancing is doubly robust", Journal of
       Causal Inference 5, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skdre import balance_weights
    >>> rng = np.random.default_rng(0)
    >>> source = pd.DataFrame({"age": rng.normal(40, 10, 500),
    ...                        "sex": rng.choice(["F", "M"], 500)})
    >>> target = pd.DataFrame({"age": rng.normal(45, 10, 300),
    ...                        "sex": rng.choice(["F", "M"], 300, p=[0.7, 0.3])})
    >>> balanced = balance_weights(source, target, moments=2)
    >>> mean = np.average(source["age"], weights=balanced.weights)
    >>> bool(np.isclose(mean, target["age"].mean()))
    True
    >>> round(balanced.table["sex = F"].difference_after, 6) + 0.0
    0.0
    """
    columns = paired_columns(X_source, X_target)
    n_source, n_target = len(columns[0].source), len(columns[0].target)
    base = weight_of(base_weight, n_source, "base_weight")
    target_weight = weight_of(target_weight, n_target, "target_weight")
    names = [each.name for each in columns]
    functions = list(
        _functions(
            columns,
            target_weight,
            _check_moments(moments, names),
            _check_quantiles(quantiles, names),
        )
    )
    tol = _check_tol(tol, functions)
    C = np.zeros((n_source, 0))
    if functions:
        C = np.column_stack([each.values for each in functions])

    kept = rows_on_face(C, base, tol)
    solution = solve_dual(C[kept], base[kept] / base[kept].sum(), tol, max_iter)
    if solution.status == "infeasible":
        _refuse_infeasible(functions, C[base > 0], tol)
    if solution.status == "max_iter":
        if solution.residual > 1e-3:
            _refuse_infeasible(functions, C[base > 0], tol)
        if solution.residual > 1e-6:
            warnings.warn(
                "balance_weights met the constraints to "
                f"{solution.residual:.2g} standard deviations after {solution.n_iter} "
                "steps only: allow differences by tol, or raise max_iter.",
                ConvergenceWarning,
                stacklevel=2,
            )
    weights = np.zeros(n_source)
    weights[kept] = solution.weights * n_source

    before = np.ones(n_source), target_weight
    table = table_of(columns, before, (weights, target_weight))
    size = table.effective_sample_size
    if size < max(_LOW_EFFECTIVE_SHARE * n_source, min(2, n_source / 2)):
        warnings.warn(
            f"The effective sample size of the weights is {size:.1f} of {n_source} "
            "source rows: a few rows carry the weight. Balance fewer functions, or "
            "allow differences by tol.",
            UserWarning,
            stacklevel=2,
        )
    multipliers = {
        each.name: float(value)
        for each, value in zip(functions, solution.multipliers, strict=True)
    }
    return BalancedSample(weights, size, table, multipliers, solution.n_iter)
