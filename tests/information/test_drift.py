"""Drift reports: the tests of columns, what is held out, and what is shown."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, ks_2samp, mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from skdre import (
    ClassifierRatio,
    GaussianRatio,
    divergence,
    drift_over_time,
    drift_report,
    pool,
    shift_importance,
)
from skdre.information._drift import _auc
from skdre.information._drift_columns import drift_of_column, holm
from skdre.inspection import DriftDisplay, DriftHistoryDisplay

LINEAR = ClassifierRatio(LogisticRegression())


def mixed(n, rng, shifted=False):
    """Amount drifts, its missing values too, and the kind; age does not."""
    table = pd.DataFrame(
        {
            "age": rng.normal(size=n),
            "amount": rng.exponential(1.5 if shifted else 1.0, n),
            "visits": rng.poisson(1.0, n),
            "kind": pd.Categorical(
                rng.choice(list("abc"), n, p=[0.2, 0.2, 0.6] if shifted else None)
            ),
        }
    )
    table.loc[rng.uniform(size=n) < (0.3 if shifted else 0.1), "amount"] = np.nan
    return table


def test_mixed_types_by_name():
    rng = np.random.default_rng(0)
    reference, current = mixed(300, rng), mixed(300, rng, shifted=True)
    report = drift_report(
        reference, current, n_permutations=99, n_repeats=1, random_state=0
    )
    frame = report.to_frame()
    assert frame["test"].to_dict() == {
        "age": "Kolmogorov-Smirnov",
        "amount": "Kolmogorov-Smirnov",
        "visits": "Mann-Whitney",
        "kind": "chi-squared",
    }
    seen = [each["amount"].dropna() for each in (reference, current)]
    assert report["amount"].pvalue == pytest.approx(ks_2samp(*seen).pvalue)
    known = mannwhitneyu(current["visits"], reference["visits"]).pvalue
    assert report["visits"].pvalue == pytest.approx(known)
    counts = [each["kind"].value_counts(sort=False) for each in (reference, current)]
    assert report["kind"].pvalue == pytest.approx(chi2_contingency(counts).pvalue)
    missing = [each["amount"].isna().mean() for each in (reference, current)]
    found = frame.loc["amount", ["missing_reference", "missing_current"]]
    assert list(found) == pytest.approx(missing)
    assert set(frame.index[frame["adjusted_pvalue"] < 0.01]) == {"amount", "kind"}
    assert set(frame.index[:2]) == {"amount", "kind"}
    assert report.test.pvalue == 0.01
    assert report.auc > 0.6
    text, html = repr(report), report._repr_html_()
    for name in ("amount", "chi-squared", "<0.001"):
        assert name in text
    assert html.count("<tr>") == 5
    assert "&lt;0.001" in html


def test_the_whole_is_what_the_functions_say():
    rng = np.random.default_rng(1)
    reference, current = rng.normal(size=(2, 90, 2))
    current[:, 1] += 0.8
    kwargs = {"n_permutations": 19, "n_repeats": 2, "random_state": 0}
    report = drift_report(reference, current, LINEAR, kind="kl", **kwargs)
    X, y = pool(numerator=current, denominator=reference)
    known = divergence(LINEAR, X, y, cv=3, random_state=1)
    both = np.hypot(known.standard_error, report.divergence.standard_error)
    assert abs(float(known) - float(report.divergence)) < both
    log_ratio = np.concatenate([report.log_ratios, report.reference_log_ratios])
    assert report.auc == pytest.approx(roc_auc_score(y, log_ratio))
    assert report.rows[0] == np.argmax(report.log_ratios)
    assert (current[report.rows, 1] > np.median(current[:, 1])).all()
    assert [each.name for each in report] == ["x1", "x0"]
    with pytest.raises(KeyError):
        report["x2"]


def test_area_and_its_error():
    rng = np.random.default_rng(0)
    found = np.array(
        [
            _auc(*(rng.normal(m, 1, n) for m, n in ((1, 40), (0, 60))), (None, None))
            for _ in range(300)
        ]
    )
    assert found[:, 0].mean() == pytest.approx(0.7602, abs=0.01)  # norm.cdf(1 / 2**0.5)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.12)


def test_nothing_of_a_row_comes_from_its_own_fit():
    """Trees would know each row of their fit, and the area would be 1."""
    from sklearn.ensemble import RandomForestClassifier

    reference, current = np.random.default_rng(0).normal(size=(2, 80, 2))
    forest = ClassifierRatio(RandomForestClassifier(20, random_state=0))
    report = drift_report(
        reference, current, forest, n_permutations=19, n_repeats=1, random_state=0
    )
    assert abs(report.auc - 0.5) < 3 * report.auc_error


def test_a_constant_ratio_names_no_rows():
    reference, current = np.random.default_rng(0).normal(size=(2, 40, 2))
    report = drift_report(
        reference,
        current,
        GaussianRatio(),
        n_permutations=9,
        random_state=0,
    )
    assert np.ptp(report.log_ratios) == 0
    assert report.auc == 0.5
    assert len(report.rows) == 0
    assert "none, the ratio is constant" in repr(report)


def test_holm():
    adjusted = holm([0.01, np.nan, 0.04, 0.03])
    np.testing.assert_allclose(adjusted, [0.03, np.nan, 0.06, 0.06])


def test_columns_without_values():
    label = np.arange(20) < 8
    empty = drift_of_column("a", np.full(20, np.nan), np.ones(20, bool), label, None)
    assert (empty.kind, empty.pvalue, empty.missing_pvalue) == ("constant", 1, 1)
    in_one = drift_of_column(
        "a", np.where(label, np.nan, np.arange(20)), label, label, None
    )
    assert in_one.kind == "constant"
    assert in_one.missing_pvalue < 1e-4
    words = np.array([f"word {j}" for j in range(200)], object)
    many = drift_of_column("a", words, np.zeros(200, bool), np.arange(200) < 90, None)
    assert many.pvalue > 0.05


def test_groups():
    rng = np.random.default_rng(0)

    def visits(n_customers):
        mean = np.repeat(rng.normal(size=(n_customers, 3)), 8, axis=0)
        rows = mean + 0.2 * rng.normal(size=mean.shape)
        frame = pd.DataFrame(rows, columns=["a", "b", "c"])
        frame["few"] = (frame["b"] * 2).round()
        frame["kind"] = np.where(frame["c"] > 0, "x", "y")
        return frame

    reference, current = visits(12), visits(12)
    names = np.repeat(np.arange(12), 8), np.repeat(np.arange(12, 24), 8)
    kwargs = {"n_permutations": 99, "n_repeats": 1, "random_state": 0}
    encoded = [each.drop(columns="kind") for each in (reference, current)]
    plain = drift_report(*encoded, GaussianRatio(shrink=False), **kwargs)
    grouped = drift_report(
        *encoded, GaussianRatio(shrink=False), groups=names, **kwargs
    )
    assert plain.to_frame()["pvalue"].min() < 0.01
    assert grouped.to_frame()["adjusted_pvalue"].min() > 0.05
    assert grouped.test.pvalue > 0.01 >= plain.test.pvalue
    assert grouped.auc_error > 1.5 * plain.auc_error
    with pytest.raises(ValueError, match="rows of both samples"):
        drift_report(
            *encoded, GaussianRatio(shrink=False), groups=(names[0], names[0]), **kwargs
        )
    with pytest.raises(ValueError, match="must be a pair"):
        drift_report(*encoded, GaussianRatio(shrink=False), groups=names[0], **kwargs)
    with pytest.raises(ValueError, match="96 and 96 are wanted"):
        drift_report(*encoded, groups=(names[0], names[1][1:]), **kwargs)


def test_permuted_tests_of_columns_are_uniform():
    from skdre.information._aggregate import permuted_contrasts

    rng = np.random.default_rng(0)
    label, cluster = np.arange(20) < 8, np.repeat(np.arange(20), 3)
    small = {"continuous": 0, "discrete": 0, "category": 0}
    for _ in range(150):
        base = np.repeat(rng.normal(size=20), 3)
        columns = {
            "continuous": base + 0.01 * rng.normal(size=60),
            "discrete": np.clip(base.round(), -1, 1),
            "category": np.where(base > 0, "x", "y").astype(object),
        }
        contrasts = np.concatenate(list(permuted_contrasts(label, cluster, 39, rng)))
        missing = rng.uniform(size=60) < 0.1
        for kind, values in columns.items():
            found = drift_of_column(kind, values, missing, label[cluster], contrasts)
            assert found.kind == kind
            small[kind] += found.pvalue <= 0.2
    for count in small.values():
        assert 0.06 < count / 150 < 0.32


def months(rng):
    month = np.repeat(["2024-01", "2024-02", "2024-03"], 80)
    current = rng.normal(size=(240, 2))
    current[month == "2024-03", 0] += 1.2
    return rng.normal(size=(150, 2)), current, month


def test_over_time():
    reference, current, month = months(np.random.default_rng(0))
    kwargs = {"n_permutations": 99, "n_repeats": 1, "random_state": 0}
    history = drift_over_time(reference, current, month, LINEAR, **kwargs)
    frame = history.to_frame()
    assert list(frame.index) == list(history.periods) == sorted(set(month))
    assert (frame["adjusted_pvalue"] <= 0.05).tolist() == [False, False, True]
    assert frame["first_column"].iloc[2] == "x0"
    assert history["2024-03"].auc > 0.7
    assert history.columns_frame().shape == (3, 2)
    assert history.columns_frame("test").iloc[0, 0] == "Kolmogorov-Smirnov"
    assert "2024-02" in repr(history)
    assert history._repr_html_().count("<tr>") == 4
    with pytest.raises(ValueError, match="one entry for each of the 240 current rows"):
        drift_over_time(reference, current, month[1:], LINEAR)
    with pytest.raises(KeyError):
        history["2024-04"]


def test_pictures():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    reference, current, month = months(np.random.default_rng(0))
    kwargs = {"n_permutations": 99, "n_repeats": 1, "random_state": 0}
    history = drift_over_time(reference, current, month, LINEAR, **kwargs)
    display = DriftDisplay.from_report(history["2024-03"])
    assert display.names == ["x0", "x1"]
    assert [bar.get_fill() for bar in display.bars_] == [True, False]
    assert display.bars_[0].get_width() == history["2024-03"]["x0"].importance
    line = DriftHistoryDisplay.from_history(history)
    np.testing.assert_allclose(
        line.errorbar_.lines[0].get_ydata(), history.to_frame()["divergence"]
    )
    assert line.points_.get_offsets()[:, 0].tolist() == [2]
    image = DriftHistoryDisplay.from_history(history, what="columns")
    np.testing.assert_allclose(
        image.image_.get_array(), history.columns_frame()[image.columns].T
    )
    with pytest.raises(ValueError, match="what must be"):
        DriftHistoryDisplay.from_history(history, what="rows")
    plt.close("all")


def test_importances_have_names():
    rng = np.random.default_rng(0)
    reference, current = (pd.DataFrame(rng.normal(size=(60, 2))) for _ in "ab")
    reference.columns = current.columns = ["age", "income"]
    current["income"] += 1
    X, y = pool(numerator=current, denominator=reference)
    found = shift_importance(LINEAR, X, y, cv=2, n_repeats=2, random_state=0)
    frame = found.to_frame()
    assert list(frame.index) == ["income", "age"]
    assert frame.loc["age", "importance"] == found.importances_mean[0]
    assert frame.loc["income", "std"] == found["importances_std"][1]
