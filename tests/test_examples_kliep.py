"""The pieces of examples/papers/featurized/kliep.py that can go wrong."""

import importlib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

pytest.importorskip("torch")

FOLDER = Path(__file__).parents[1] / "examples/papers/featurized"
TINY = {"sigma": [0.5, 1], "n_permutations": 1, "max_epochs": 1}


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module("kliep")


def test_rows_near_the_mean_are_selected_and_the_ratio_is_known(script):
    X = np.random.default_rng(0).normal([5, -3], [10, 0.1], size=(40_000, 2))
    X_source, y_source, X_target, y_target, log_ratio = script.draw_near_mean(
        X, X[:, 0], 0, sigma=0.25
    )
    assert len(X_target) == 30_000
    np.testing.assert_array_equal(y_source, X_source[:, 0])
    np.testing.assert_array_equal(y_target, X_target[:, 0])
    # A Gaussian of variance 1 times exp(-z^2 / 4) has variance 1 / 1.5 and mass
    # sqrt(1 / 1.5) in each column.
    z = (X_source - [5, -3]) / [10, 0.1]
    assert len(z) == pytest.approx(10_000 / 1.5, rel=0.03)
    np.testing.assert_allclose(z.var(axis=0), 1 / 1.5, rtol=0.05)
    true = (norm.logpdf(z) - norm.logpdf(z, scale=1.5**-0.5)).sum(axis=1)
    assert np.std(log_ratio - true) < 0.02
    assert np.std(true) > 0.2


def test_log_kernel_sum_is_the_ratio_where_that_has_no_floor(script):
    rng = np.random.default_rng(1)
    Z, Z_target = rng.normal(size=(80, 2)), rng.normal(0.5, 0.7, size=(90, 2))
    ratio = script.fit_published(Z, Z_target, 1.0, 0)
    log_ratio = script.log_kernel_sum(ratio, Z)
    floored = ratio.decision_function(Z)
    above = floored > floored.min() + 1e-9
    assert above.sum() > 70
    np.testing.assert_allclose(log_ratio[above], floored[above], rtol=1e-10)
    assert len(ratio.centers_) == 9
    assert ratio.gamma_ == 0.5
    # The constraint of KLIEP.
    assert np.exp(log_ratio).mean() == pytest.approx(1, abs=1e-6)
    assert script.log_kernel_sum(ratio, np.full((1, 2), 100.0)) < -4000


def test_sigma_by_held_out_likelihood(script):
    rng = np.random.default_rng(2)
    Z, Z_target = rng.normal(size=(120, 1)), rng.normal(1, 0.5, size=(200, 1))
    grid = [0.001, 0.01, 0.5, 50.0]
    assert script.choose_sigma(Z, Z_target, grid, 0, held_out=True) == 0.5
    # Narrow kernels fit best the rows that are centres: here all of them.
    tied = np.repeat(Z_target[:8].round(1), 25, axis=0)
    assert script.choose_sigma(Z, tied, grid, 0, held_out=False) < 0.5
    # None converges to a likelihood: the widest.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "log_kernel_sum", lambda *_: np.array([-np.inf]))
        assert script.choose_sigma(Z, tied, grid, 0, held_out=True) == 50


def test_rank_correlation_with_the_truth(script):
    values = np.array([0.1, 0.5, 2.0, 7.0])
    found = [
        script.rank_correlation(log_ratio, [values])["rank_correlation"]
        for log_ratio in (values**3, -values, np.ones(4))
    ]
    np.testing.assert_allclose(found, [1, -1, 0])
    assert np.isnan(script.rank_correlation(values, [])["rank_correlation"])


@pytest.fixture(scope="module")
def draws(script):
    X = np.random.default_rng(3).normal(size=(100, 2))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    return {
        "blood transfusion": partial(script.draw_near_mean, X, y),
        "mixture": partial(script.draw_mixture, n_rare=5, n_common=20),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trials")


@pytest.fixture(scope="module")
def errors(script, draws, folder):
    return script.run_all(draws, dict.fromkeys(draws, 2), TINY, folder, 1)


def test_every_method_runs_under_every_protocol(script, errors):
    methods = script._protocol.METHODS
    assert errors["error"].between(0, 1).all()
    mixture = errors[errors.experiment == "mixture"]
    assert set(mixture["method"]) == set(methods) - {"IW(true)"}
    blood = errors[errors.experiment == "blood transfusion"]
    for variant in script.VARIANTS.values():
        runs = script.select(blood, *variant).groupby("method").size()
        # 2 trials, 4 classifiers and "C by IWCV", one permutation.
        n_runs = 2 * (5 if variant[0] == "sound" else 4)
        assert runs.to_dict() == dict.fromkeys(methods, n_runs)
    # A control has the weights of its method in another order.
    sizes = blood.groupby(["protocol", "held_out", "trial", "method"], dropna=False)
    sizes = sizes["effective_size"].mean().unstack()
    for method in ("IW(x)", "IW(z)"):
        np.testing.assert_allclose(sizes[method], sizes[f"{method} permuted"])


def test_finished_trials_are_kept(script, draws, folder, errors, monkeypatch):
    monkeypatch.setattr(script, "run_paper", None)
    again = script.run_all(draws, dict.fromkeys(draws, 2), TINY, folder, 1)
    pd.testing.assert_frame_equal(again, errors)


def test_report_and_plot(script, errors, tmp_path):
    text, chosen = script.report(errors)
    assert text.count("### ") == 2 * len(script.VARIANTS)
    assert set(chosen["variant"]) == set(script.VARIANTS)
    runs = errors[errors.experiment == "blood transfusion"]
    runs = runs[(runs.protocol == "sound") & (runs.method == "IW(true)")]
    mean = runs[runs.classifier == "C=10"].error.mean()
    assert f"{mean:.3f} ±" in text.split("blood transfusion: sound")[1]

    pytest.importorskip("matplotlib")
    names = [name for name in script.PRINTED if name != "mixture"]
    runs = errors[errors.experiment == "blood transfusion"]
    every = pd.concat([runs.assign(experiment=name) for name in names])
    script.plot(every, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
