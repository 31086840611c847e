"""Balancing weights: against the primal problem, closed forms, and refitted truths."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq, minimize
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from skdre import balance_table, balance_weights
from skdre.balance._dual import least_slack, smallest_tol, solve_dual
from skdre.weighting import effective_sample_size


def samples(seed=0, n=(300, 200), d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n[0], d)), 0.8 * rng.normal(size=(n[1], d)) + 0.4


def primal(C, base, tol):
    """The weights by a general solver of convex problems."""
    cp = pytest.importorskip("cvxpy")
    w = cp.Variable(len(base))
    problem = cp.Problem(
        cp.Minimize(cp.sum(cp.kl_div(w, base))),
        [cp.sum(w) == 1, cp.abs(C.T @ w) <= tol],
    )
    tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-10)
    problem.solve(solver=cp.CLARABEL, **tight)
    return w.value


@pytest.mark.parametrize("tol", [0.0, 0.1, [0.0, 0.05, 0.5]])
def test_the_dual_solves_the_primal_problem(tol):
    source, target = samples(n=(60, 200))
    C = (source - target.mean(axis=0)) / target.std(axis=0)
    base = np.random.default_rng(1).uniform(0.2, 1, len(C))
    base /= base.sum()
    tol = np.broadcast_to(np.asarray(tol, float), 3)
    found = solve_dual(C, base, tol, 100)
    assert found.status == "converged"
    assert_allclose(found.weights, primal(C, base, tol), atol=2e-6)
    # Within the tolerances, and at its edge where a multiplier is not 0.
    means = np.abs(found.weights @ C)
    assert (means <= tol + 1e-8).all()
    assert_allclose(
        means[found.multipliers != 0], tol[found.multipliers != 0], atol=1e-8
    )


def test_tolerances_hold_for_the_observed_numbers():
    source, target = frames()
    table = balance_weights(source, target, tol={"age": 0.05}).table
    # The tolerance is in standard deviations of degree 0.
    row, n = table["age"], target["age"].count()
    assert_allclose(abs(row.difference_after), 0.05 * np.sqrt((n - 1) / n), rtol=1e-6)
    assert abs(table["age is missing"].difference_after) < 1e-8


def test_one_mean_in_closed_form():
    """The tilt of one column, by bisection of its mean."""
    source, target = samples(d=1)
    x, goal = source.ravel(), target.mean()

    def mean(slope):
        return np.average(x, weights=np.exp(slope * x)) - goal

    slope = brentq(mean, -20, 20, xtol=1e-13)
    expected = np.exp(slope * x)
    balanced = balance_weights(source, target)
    assert_allclose(balanced.weights, expected / expected.mean(), rtol=1e-6)
    # The multiplier is in the target's standard deviations.
    assert_allclose(balanced.multipliers["x0: mean"], slope * target.std(), rtol=1e-6)
    assert_allclose(
        balanced.effective_sample_size, effective_sample_size(expected), rtol=1e-6
    )


def test_the_weights_of_weightit_by_its_formula():
    """Its objective for method="ebal", minimised by BFGS as there: bw exp(-C Z)."""
    source, target = samples(d=5)
    base = np.random.default_rng(3).uniform(0.5, 2, 300)
    C = (source - target.mean(axis=0)) / target.std(axis=0, ddof=1)

    def loss(Z):
        weights = base * np.exp(-C @ Z)
        return np.log(weights.sum()), -(weights / weights.sum()) @ C

    Z = minimize(loss, np.zeros(5), jac=True, method="BFGS", tol=1e-10).x
    expected = base * np.exp(-C @ Z)
    balanced = balance_weights(source, target, base)
    assert_allclose(balanced.weights, expected / expected.mean(), rtol=1e-6)


def test_moments_and_quantiles_are_met():
    source, target = samples()
    balanced = balance_weights(source, target, moments=3, quantiles={"x1": [0.25, 0.5]})
    w = balanced.weights / len(source)
    for power in (1, 2, 3):
        assert_allclose(w @ source**power, np.mean(target**power, axis=0), atol=1e-7)
    for level in (0.25, 0.5):
        place = np.quantile(target[:, 1], level, method="inverted_cdf")
        assert_allclose(w @ (source[:, 1] <= place), level, atol=1e-8)
    assert_allclose(balanced.weights.mean(), 1)
    # One moment does not give the second.
    once = balance_weights(source, target).table
    assert max(abs(row.variance_ratio_after - 1) for row in once) > 0.05
    assert max(abs(row.variance_ratio_after - 1) for row in balanced.table) < 0.02


def test_base_weights_that_balance_are_kept():
    source, target = samples()
    target = target[:, :2]
    source = source[:, :2]
    base = balance_weights(source, target, moments=2).weights
    again = balance_weights(source, target, base, moments=2)
    assert_allclose(again.weights, base, rtol=1e-6)
    assert again.n_iter == 0
    # And they matter: the answer stays near to them.
    tilted = balance_weights(source, target, np.exp(0.2 * source[:, 0] ** 2))
    plain = balance_weights(source, target)
    spread = [np.cov(s.weights, source[:, 0] ** 2)[0, 1] for s in (tilted, plain)]
    assert spread[0] > spread[1] + 0.05


def test_the_true_ratio_as_base_weights():
    """A quantity that is not balanced: the base weights carry it."""
    errors = []
    for seed in range(20):
        source, target = samples(seed, n=(1000, 1000), d=2)
        log_ratio = -0.5 * ((source - 0.4) ** 2 / 0.64 - source**2).sum(axis=1)
        goal = np.cos(2 * target).mean()
        for base in (None, np.exp(log_ratio)):
            w = balance_weights(source, target, base).weights
            errors.append(np.average(np.cos(2 * source).mean(axis=1), weights=w) - goal)
    without, with_ratio = np.abs(np.reshape(errors, (-1, 2))).mean(axis=0)
    assert with_ratio < 0.5 * without


def frames(seed=0):
    rng = np.random.default_rng(seed)

    def frame(n, shift):
        age = rng.normal(40 + 5 * shift, 10, n)
        age[rng.random(n) < 0.1 + 0.1 * shift] = np.nan
        levels = ["a", "b", "c"]
        return pd.DataFrame(
            {
                "age": age,
                "grade": pd.Categorical(
                    rng.choice(levels, n, p=[0.2 + 0.2 * shift, 0.5, 0.3 - 0.2 * shift])
                ),
                "town": np.where(rng.random(n) < 0.05, None, rng.choice(["x", "y"], n)),
                "member": rng.random(n) < 0.3 + 0.3 * shift,
                "visits": pd.array(rng.poisson(2, n), dtype="Int64"),
            }
        )

    return frame(400, 0), frame(300, 1)


def polars_frame(pl, frame):
    """Without pyarrow, which polars needs for nullable columns of pandas."""
    columns = {
        name: [None if pd.isna(each) else each for each in values]
        for name, values in frame.items()
    }
    return pl.DataFrame(columns).with_columns(pl.col("grade").cast(pl.Categorical))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_mixed_frames_with_missing_values(library):
    source, target = frames()
    as_given = source, target
    if library == "polars":
        pl = pytest.importorskip("polars")
        as_given = tuple(polars_frame(pl, each) for each in as_given)
    balanced = balance_weights(*as_given, moments={"age": 2})
    w = balanced.weights
    seen = source["age"].notna()
    for power in (1, 2):
        assert_allclose(
            np.average(source["age"][seen] ** power, weights=w[seen]),
            (target["age"] ** power).mean(),
            rtol=1e-7,
        )
    shares = {
        "age is missing": (source["age"].isna(), target["age"].isna()),
        "town is missing": (source["town"].isna(), target["town"].isna()),
        "member": (source["member"], target["member"]),
        **{
            f"grade = {level}": (source["grade"] == level, target["grade"] == level)
            for level in "abc"
        },
    }
    for name, (left, right) in shares.items():
        assert_allclose(np.average(left, weights=w), right.mean(), atol=1e-8)
        assert abs(balanced.table[name].difference_after) < 1e-8
        assert_allclose(balanced.table[name].before, left.mean())
    assert balanced.table.largest_difference < 1e-7
    frame = balanced.to_frame()
    assert list(frame.index) == [row.name for row in balanced.table]
    assert {"target", "difference_after", "variance_ratio_after"} <= set(frame)


def test_levels_that_the_target_does_not_have():
    source, target = frames()
    target = target[target["grade"] != "c"]
    balanced = balance_weights(source, target)
    assert (balanced.weights[source["grade"] == "c"] == 0).all()
    assert (balanced.weights[source["grade"] != "c"] > 0).all()
    assert balanced.table.largest_difference < 1e-7


@pytest.mark.parametrize("dtype", ["U1", object])
def test_arrays_of_words(dtype):
    rng = np.random.default_rng(0)
    source = rng.choice(list("abc"), (100, 2)).astype(dtype)
    target = rng.choice(list("aabc"), (80, 2)).astype(dtype)
    w = balance_weights(source, target).weights
    assert_allclose(
        np.average(source[:, 0] == "a", weights=w), (target[:, 0] == "a").mean()
    )


def test_dates_and_sparse_matrices_are_refused():
    dates = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=3)})
    with pytest.raises(ValueError, match="dates in column 'day'"):
        balance_weights(dates, dates)
    with pytest.raises(TypeError, match="X_source"):
        balance_weights(csr_array(np.eye(3)), np.eye(3))
    twice = pd.DataFrame(np.eye(3), columns=["a", "b", "a"])
    with pytest.raises(ValueError, match=r"a column twice, got \['a'\]"):
        balance_weights(twice, twice)


def test_a_single_target_row():
    source, _ = samples()
    balanced = balance_weights(source, [[0.3, -0.2, 0.1]])
    assert_allclose(balanced.weights @ source / 300, [0.3, -0.2, 0.1], atol=1e-8)


def test_what_cannot_be_met_is_named():
    source, target = frames()
    target["age"] += 100
    with pytest.raises(
        ValueError, match=r"these are missed: 'age: mean' \(by"
    ) as found:
        balance_weights(source, target)
    assert "grade" not in str(found.value).partition("missed")[2].partition(".")[0]
    # What the message offers works.
    offered = float(str(found.value).partition("tol=")[2].partition(",")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        balanced = balance_weights(source, target, tol=offered)
        assert balanced.table.largest_difference < 1.1 * offered
        assert balance_weights(source, target, tol={"age": 2 * offered})
    # A level that the source does not have.
    target = frames()[1]
    target["town"] = target["town"].mask(np.arange(len(target)) % 7 == 0, "z")
    with pytest.raises(ValueError, match="'town = z'"):
        balance_weights(source, target)


def test_the_linear_programmes():
    C = np.array([[1.0, -1.0], [2.0, 1.0], [3.0, 0.5]])
    # The least mean of the first column is 1, with the second at -1.
    assert_allclose(smallest_tol(C), 1.0)
    assert_allclose(least_slack(C, np.array([0.0, 1.0])), [1.0, 0.0], atol=1e-9)
    assert_allclose(least_slack(C - C[1], np.zeros(2)), 0, atol=1e-9)


def test_many_collinear_functions():
    """Levels sum to 1, and a column stands twice."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 2000, 5))
    target[:, 0] += 0.5
    source, target = (
        np.column_stack([X, X[:, 0], 2 * X[:, 1] + 1]) for X in (source, target)
    )
    balanced = balance_weights(source, target, moments=2, quantiles=[0.1, 0.5, 0.9])
    assert balanced.table.largest_difference < 1e-7
    assert balanced.n_iter < 30


def test_nothing_to_balance():
    source, target = samples()
    assert_allclose(balance_weights(source, target, moments=0).weights, 1)


def test_weights_stand_for_repetition():
    source, target = samples(n=(50, 40))
    counts = np.random.default_rng(0).integers(0, 4, 50)
    twice = np.random.default_rng(1).integers(1, 3, 40)
    one = balance_weights(source, target, counts, target_weight=twice)
    other = balance_weights(np.repeat(source, counts, 0), np.repeat(target, twice, 0))
    assert_allclose(
        np.repeat(one.weights / counts.clip(1), counts) / 50,
        other.weights / counts.sum(),
        rtol=1e-6,
    )


def test_units_do_not_matter():
    source, target = samples()
    one = balance_weights(source, target, moments=2, tol=0.02).weights
    scale, shift = np.array([1e6, 1e-6, 1.0]), np.array([1e8, 0.0, -5.0])
    other = balance_weights(
        source * scale + shift, target * scale + shift, moments=2, tol=0.02
    )
    assert_allclose(other.weights, one, rtol=1e-5)


def test_few_rows_are_warned_of():
    source, target = samples()
    with pytest.warns(UserWarning, match="effective sample size of the weights"):
        balance_weights(source, target + 0.7)


def test_steps_that_run_out():
    source, target = samples()
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        balance_weights(source, target + 0.2, max_iter=3)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"X_target": np.zeros((5, 2))}, ValueError, "columns of X_source"),
        ({"X_target": pd.DataFrame(np.zeros((5, 3)))}, TypeError, "two DataFrames"),
        ({"X_target": [[np.inf, 0, 0]]}, ValueError, "X_target contains infinity"),
        ({"base_weight": np.ones(3)}, ValueError, "base_weight must hold one weight"),
        ({"base_weight": -np.ones(300)}, ValueError, "base_weight: Negative"),
        ({"base_weight": np.zeros(300)}, ValueError, "base_weight: .*non-zero"),
        ({"target_weight": np.full(200, np.nan)}, ValueError, "target_weight: .*NaN"),
        ({"moments": -1}, ValueError, "'moments' parameter"),
        ({"moments": {"x0": 1.5}}, ValueError, "whole numbers"),
        ({"moments": {"height": 2}}, ValueError, "not there: \\['height'\\]"),
        ({"quantiles": [0.5, 1.0]}, ValueError, "between 0 and 1"),
        ({"tol": -0.1}, ValueError, "'tol' parameter"),
        ({"tol": {"height": 1}}, ValueError, "tol names what is not balanced"),
        ({"tol": {"x0": -1}}, ValueError, "tol must be finite"),
        ({"max_iter": 0}, ValueError, "'max_iter' parameter"),
    ],
)
def test_bad_input(change, error, match):
    source, target = samples()
    with pytest.raises(error, match=match):
        balance_weights(**{"X_source": source, "X_target": target} | change)


# --- the table ---------------------------------------------------------------------


def test_the_table_by_hand():
    source, target = frames()
    rng = np.random.default_rng(5)
    w, v = rng.uniform(size=400), rng.uniform(size=300)
    table = balance_table(source, target, w, target_weight=v, scale_by="pooled")
    row = table["age"]
    x, y = source["age"], target["age"]
    sd = np.sqrt((x.var() + y.var()) / 2)
    mean_x = np.average(x[x.notna()], weights=w[x.notna()])
    mean_y = np.average(y[y.notna()], weights=v[y.notna()])
    assert_allclose(row.difference_before, (x.mean() - y.mean()) / sd)
    assert_allclose(row.difference_after, (mean_x - mean_y) / sd)
    assert_allclose(row.variance_ratio_before, x.var() / y.var())
    row = table["grade = a"]
    assert_allclose(row.after, np.average(source["grade"] == "a", weights=w))
    assert_allclose(row.ks_before, abs(row.before - (target["grade"] == "a").mean()))
    assert_allclose(table.effective_sample_size, effective_sample_size(w))
    plain = balance_table(source, target)["age"]
    assert_allclose(plain.difference_before, (x.mean() - y.mean()) / y.std())
    assert plain.difference_before == plain.difference_after


def test_whole_weights_count_rows():
    source, target = samples(n=(40, 30))
    counts = np.random.default_rng(0).integers(1, 4, 40)
    row = balance_table(source, target, counts)["x0"]
    repeated = np.repeat(source[:, 0], counts)
    assert_allclose(row.after, repeated.mean())
    from scipy.stats import ks_2samp

    assert_allclose(row.ks_after, ks_2samp(repeated, target[:, 0]).statistic)


def test_constants_in_the_table():
    row = balance_table([[1.0], [1.0]], [[1.0], [1.0]])["x0"]
    assert row.difference_after == 0
    row = balance_table([[1.0], [1.0]], [[2.0], [2.0]])["x0"]
    assert row.difference_after == -np.inf


def test_the_table_is_text_and_html():
    table = balance_table(*frames(), np.ones(400))
    text = str(table)
    assert text.startswith("400 source rows, 400.0 in effect, and 300 target rows")
    assert "variance ratio" in text
    assert "grade = a" in text
    assert max(map(len, text.splitlines())) <= 88
    html = table._repr_html_()
    assert html.count("<tr>") == len(table) + 2
    with pytest.raises(KeyError):
        table["height"]
