"""The page on other packages, run against their releases: `make test-interop`.

Without a package its tests are skipped. The code is the page's; what it gives is held
against computations without the package.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from skdre import (
    FlowFeaturizer,
    GaussianRatio,
    ImportanceWeighted,
    KMMRatio,
    make_pipeline,
)
from skdre.datasets import make_warped_shift

PAGE = Path(__file__).parents[2] / "doc" / "interoperation.md"
SHIFT = np.array([1.2, 0.0])


def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def run(package, **data):
    """The names after the page's first block and the one that uses `package`."""
    names = {"np": np, **data}
    first, *others = blocks()
    exec(first, names)
    (block,) = (each for each in others if package in each)
    exec(block, names)
    return names


@pytest.fixture
def data():
    """Source and target, the labels a curve of the first column with some noise."""
    shift = make_warped_shift((250, 300), 2, mean_shift=1.2, random_state=0)
    rng = np.random.default_rng(0)
    X_source, X_target = shift.denominator, shift.numerator
    direction = X_target.mean(axis=0) - X_source.mean(axis=0)

    def labels(X):
        score = X @ direction
        return ((np.abs(score - 0.3) + 0.3 * rng.normal(size=len(X))) > 0.8).astype(int)

    return {
        "X_source": X_source,
        "y_source": labels(X_source),
        "X_target": X_target,
        "y_target": labels(X_target),
        "truth": np.exp(shift.log_ratio(X_source)),
    }


# -- skada ------------------------------------------------------------------------


@pytest.fixture
def in_skada(data):
    pytest.importorskip("skada")
    X = np.concatenate([data["X_source"], data["X_target"]])
    n_source, n_target = len(data["X_source"]), len(data["X_target"])
    # skada masks the labels of the target.
    y = np.concatenate([data["y_source"], np.full(n_target, -1)])
    sample_domain = np.repeat([1, -2], [n_source, n_target])
    # In any order: the domains need not stand one after the other.
    order = np.random.default_rng(1).permutation(len(X))
    return data | {
        "X_both": X[order],
        "y_both": y[order],
        "sample_domain": sample_domain[order],
    }


def test_a_ratio_is_an_adapter_of_skada(in_skada):
    data = in_skada
    names = run("skada", **data)
    weights = names["ratio"].predict_ratio(data["X_source"])
    alone = LogisticRegression().fit(
        data["X_source"], data["y_source"], sample_weight=weights
    )
    target = data["X_target"]
    found = names["model"].predict(target, sample_domain=np.full(len(target), -2))
    assert_array_equal(found, alone.predict(target))
    unweighted = LogisticRegression().fit(data["X_source"], data["y_source"])
    assert (found != unweighted.predict(target)).any()
    # The same as the package's own way, but for the scale of the weights.
    whole = ImportanceWeighted(LogisticRegression(C=1e6), GaussianRatio())
    whole.fit(data["X_source"], data["y_source"], X_target=target)
    model = clone(names["model"]).set_params(logisticregression__C=1e6)
    model.fit(data["X_both"], data["y_both"], sample_domain=data["sample_domain"])
    found = model.predict(target, sample_domain=np.full(len(target), -2))
    assert_array_equal(found, whole.predict(target))


@pytest.mark.parametrize(
    "ratio",
    [
        GaussianRatio(),
        make_pipeline(FlowFeaturizer("gaussian", random_state=0), KMMRatio(gamma=0.2)),
    ],
    ids=["plug-in", "pipeline"],
)
def test_weights_of_the_adapter(in_skada, ratio):
    data = in_skada
    names = run("skada", **data)
    adapter = names["RatioReweightAdapter"](ratio)
    X, domain = data["X_both"], data["sample_domain"]
    _, params = adapter.fit_transform(X, data["y_both"], sample_domain=domain)
    weights = params["sample_weight"]
    assert_array_equal(weights[domain < 0], 0)
    alone = clone(ratio).fit(X, domain < 0)
    assert_allclose(weights[domain > 0], alone.predict_ratio(X[domain > 0]))


def test_density_adapter_takes_a_flow(in_skada):
    from skada import DensityReweightAdapter

    data = in_skada
    X, domain = data["X_both"], data["sample_domain"]
    flow = FlowFeaturizer("gaussian", random_state=0)
    adapter = DensityReweightAdapter(clone(flow))
    _, params = adapter.fit_transform(X, data["y_both"], sample_domain=domain)
    log_ratio = FlowFeaturizer("gaussian").fit(X[domain < 0]).score_samples(
        X
    ) - FlowFeaturizer("gaussian").fit(X[domain > 0]).score_samples(X)
    wanted = np.where(domain > 0, np.exp(log_ratio), 0)
    wanted /= wanted[domain > 0].mean()
    assert_allclose(params["sample_weight"], wanted)


def test_discriminator_adapter_inverts_any_classifier(in_skada):
    """What the page says of skada 0.6.0; if this fails the page can be shorter."""
    from skada import DiscriminatorReweightAdapter

    data = in_skada
    X, domain = data["X_both"], data["sample_domain"]
    adapter = DiscriminatorReweightAdapter(GaussianRatio())
    _, params = adapter.fit_transform(X, data["y_both"], sample_domain=domain)
    ratio = GaussianRatio().fit(X, domain < 0).predict_ratio(X[domain > 0])
    assert_allclose(
        params["sample_weight"][domain > 0], (1 / ratio) / (1 / ratio).mean()
    )


# -- MAPIE ------------------------------------------------------------------------


def noisy(n_samples, mean, rng):
    X = rng.standard_normal((n_samples, 2)) + mean
    noise = rng.standard_normal(n_samples) * np.exp(0.6 * X[:, 0])
    return X, X[:, 1] + 0.5 * noise


def test_mapie_covers_under_the_shift():
    pytest.importorskip("mapie")
    pytest.importorskip("cvxpy")
    from mapie.regression import SplitConformalRegressor

    rng = np.random.default_rng(0)
    X_source, y_source = noisy(1500, 0, rng)
    X_target, y_target = noisy(2000, SHIFT, rng)
    X_calibration, y_calibration = noisy(800, 0, rng)
    X_new, y_new = X_target[:250], y_target[:250]
    regressor = LinearRegression().fit(X_source, y_source)
    names = run(
        "mapie",
        X_source=X_source,
        X_target=X_target,
        X_calibration=X_calibration,
        y_calibration=y_calibration,
        X_new=X_new,
        regressor=regressor,
    )

    def coverage(interval):
        return np.mean((interval[:, 0, 0] <= y_new) & (y_new <= interval[:, 1, 0]))

    assert_allclose(names["prediction"], regressor.predict(X_new))
    assert 0.84 < coverage(names["interval"]) < 0.96
    plain = SplitConformalRegressor(regressor, confidence_level=0.9, prefit=True)
    plain.conformalize(X_calibration, y_calibration)
    assert coverage(plain.predict_interval(X_new)[1]) < 0.78


# -- imbalanced-learn -------------------------------------------------------------


def test_imbalanced_learn_draws_rows_of_the_target(data):
    pytest.importorskip("imblearn")
    names = run("imblearn", **data)
    X, y = data["X_source"], data["y_source"]
    drawn, labels = names["sampler"].fit_resample(X, y)
    assert drawn.shape == X.shape
    # Rows keep their labels.
    known = {tuple(row): label for row, label in zip(X, y, strict=True)}
    assert all(
        known[tuple(row)] == label for row, label in zip(drawn, labels, strict=True)
    )
    # Their mean is the target's, up to sampling error; the source's is 1.2 away.
    assert np.linalg.norm(drawn.mean(axis=0) - data["X_target"].mean(axis=0)) < 0.35
    alone = KNeighborsClassifier().fit(drawn, labels)
    assert_array_equal(
        names["neighbors"].predict(data["X_target"]), alone.predict(data["X_target"])
    )


# -- POT --------------------------------------------------------------------------


def test_weights_are_marginals_of_pot(data):
    ot = pytest.importorskip("ot")
    names = run("ot.emd", **{k: data[k][:60] for k in ("X_source", "X_target")})
    a, b, cost, plan = (names[key] for key in ("a", "b", "cost", "plan"))
    assert_allclose(plan.sum(axis=1), a, atol=1e-9)
    assert_allclose(plan.sum(axis=0), b, atol=1e-9)
    # The linear programme itself.
    n, m = cost.shape
    sums = np.concatenate(
        [np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))]
    )
    best = linprog(cost.ravel(), A_eq=sums[:-1], b_eq=np.append(a, b)[:-1])
    assert (plan * cost).sum() == pytest.approx(best.fun, rel=1e-6)
    # Weighted the source lies nearer to the target.
    plain = ot.emd2(np.full(n, 1 / n), b, cost)
    assert (plan * cost).sum() < 0.7 * plain
