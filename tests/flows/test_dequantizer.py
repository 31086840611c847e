"""Dequantizer: exact inverse, Jacobian by differences, codes of known length."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_param_validation

from skdre import Dequantizer, FlowClassifierRatio, FlowFeaturizer
from skdre._nn.classification import mean_log_ratio
from skdre._nn.networks import network_inputs

SETTINGS = [(2, 0.0), (17, 1e-6), (256, 1e-6), (256, 0.0), (256, 0.05), (65536, 0.4)]


def images(n_levels, n_samples=300, n_features=4, seed=0):
    X = np.random.default_rng(seed).integers(n_levels, size=(n_samples, n_features))
    X[0], X[1] = 0, n_levels - 1
    return X


@pytest.mark.parametrize(("n_levels", "alpha"), SETTINGS)
def test_inverse_is_exact(n_levels, alpha):
    X = images(n_levels, 5000)
    pixels = Dequantizer(n_levels, alpha=alpha, random_state=0).fit(X)
    Y = pixels.transform(X)
    assert np.isfinite(Y).all()
    assert_array_equal(pixels.inverse_transform(Y), X)


@pytest.mark.parametrize(("n_levels", "alpha"), SETTINGS)
def test_noise_is_uniform(n_levels, alpha):
    X = images(n_levels, 2000)
    Y = Dequantizer(n_levels, alpha=alpha, random_state=0).fit_transform(X)
    level = n_levels * (1 / (1 + np.exp(-Y)) - alpha) / (1 - 2 * alpha)
    noise = level - X
    assert -1e-6 < noise.min() < 0.01
    assert 0.99 < noise.max() < 1 + 1e-6
    assert stats.kstest(noise.ravel(), "uniform").pvalue > 0.01
    assert abs(np.corrcoef(noise.T) - np.eye(4)).max() < 0.1


@pytest.mark.parametrize(("n_levels", "alpha"), SETTINGS)
def test_log_determinant_by_brute_force(n_levels, alpha):
    # The transform of x + u, as it is written in the docstring.
    def y(level):
        share = alpha + (1 - 2 * alpha) * level / n_levels
        return np.log(share) - np.log1p(-share)

    level = np.random.default_rng(0).uniform(0.05, n_levels - 0.05, size=(20, 3))
    level[0], level[1] = 0.05, n_levels - 0.05
    pixels = Dequantizer(n_levels, alpha=alpha).fit(np.zeros((1, 3)))
    step = 1e-5
    for row, log_det in zip(level, pixels.log_det_jacobian(y(level)), strict=True):
        jacobian = [(y(row + h) - y(row - h)) / (2 * step) for h in step * np.eye(3)]
        assert log_det == pytest.approx(np.linalg.slogdet(jacobian)[1], abs=1e-4)


def test_the_uniform_distribution_takes_all_bits():
    # x + u uniform makes y logistic where alpha is 0.
    X = images(256, 50)
    pixels = Dequantizer(alpha=0, random_state=0).fit(X)
    Y = pixels.transform(X)
    bits = pixels.bits_per_dimension(Y, stats.logistic.logpdf(Y).sum(axis=1))
    assert_allclose(bits, 8)


def test_bits_of_a_known_distribution():
    # Two pixels of four levels, the second likely to equal the first.
    table = (0.1 * np.ones((4, 4)) / 16 + 0.9 * np.diag([0.4, 0.3, 0.2, 0.1])).ravel()
    entropy = stats.entropy(table, base=2) / 2
    rng = np.random.default_rng(0)
    X, new = (
        np.stack(np.unravel_index(rng.choice(16, size=1500, p=table), (4, 4)), axis=1)
        for _ in range(2)
    )
    pixels = Dequantizer(4, alpha=0.05, random_state=0).fit(X)
    Y = pixels.transform(new)

    # With the true density of y each row takes the bits of its own probability.
    share = (1 / (1 + np.exp(-Y)) - 0.05) / 0.9
    slope = 4 * 1 / (1 + np.exp(-Y)) / (1 + np.exp(Y)) / 0.9
    probability = table.reshape(4, 4)[tuple(new.T)]
    log_density = np.log(probability) + np.log(slope).sum(axis=1)
    assert ((share > 0) & (share < 1)).all()
    bits = pixels.bits_per_dimension(Y, log_density)
    assert_allclose(bits, -np.log2(probability) / 2)
    assert bits.mean() == pytest.approx(entropy, abs=0.05)

    # A fitted density takes more, by its divergence from the truth.
    Y_fit = pixels.transform(X)
    params = {"n_transforms": 2, "hidden_features": (16,), "random_state": 0}
    bits = {
        name: pixels.bits_per_dimension(Y, fit(name, params, Y_fit).score_samples(Y))
        for name in ("gaussian", "nsf")
    }
    assert entropy < bits["nsf"].mean() < bits["gaussian"].mean() < 2.1
    assert bits["nsf"].mean() < entropy + 0.35


def fit(name, params, Y):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The held-out likelihood still rose")
        return FlowFeaturizer(name, max_epochs=25, **params).fit(Y)


def test_samples_beyond_the_range_become_the_nearest_level():
    pixels = Dequantizer(alpha=0.05).fit(np.zeros((1, 2)))
    assert_array_equal(pixels.inverse_transform([[-40.0, 40.0]]), [[0, 255]])
    flow = make_pipeline(
        Dequantizer(17, random_state=0), FlowFeaturizer("copula", random_state=0)
    )
    X = load_digits().data[:300]
    flow.fit(X)
    digits = flow.inverse_transform(np.random.default_rng(0).normal(size=(50, 64)))
    assert set(np.unique(digits)) <= set(range(17))
    assert abs(digits.mean(axis=0) - X.mean(axis=0)).mean() < 1.5


def test_random_state():
    X = images(256)
    fixed = Dequantizer(random_state=0).fit(X)
    assert_array_equal(fixed.transform(X), fixed.transform(X))
    assert_array_equal(fixed.transform(X), clone(fixed).fit_transform(X))
    other = Dequantizer(random_state=1).fit_transform(X)
    assert not np.array_equal(fixed.transform(X), other)
    free = Dequantizer(random_state=np.random.RandomState(0)).fit(X)
    assert not np.array_equal(free.transform(X), free.transform(X))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[-1, 3]], "from 0 to 255.*from -1 to 3"),
        ([[0, 256]], "from 0 to 256.* set n_levels=257"),
        ([[0.5, 1.0]], r"some of them fractions.*multiplied by 255"),
        ([[0.5, 100.0]], r"some of them fractions\.$"),
        ([[np.nan, 1.0]], "NaN"),
        ([0, 1], "2D"),
        (np.zeros((2, 3, 3)), "dim 3"),
    ],
)
def test_bad_pixels(X, message):
    with pytest.raises(ValueError, match=message):
        Dequantizer().fit(X)
    pixels = Dequantizer()
    with pytest.raises(ValueError):
        pixels.fit(X)
    assert not hasattr(pixels, "n_features_in_")
    with pytest.raises(ValueError, match=message):
        Dequantizer().fit([[0, 1]]).transform(X)


@pytest.mark.parametrize(
    "params", [{"n_levels": 1}, {"n_levels": 2.0}, {"alpha": 0.5}, {"alpha": -0.1}]
)
def test_bad_parameters(params):
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter"):
        Dequantizer(**params).fit([[0, 1]])


def test_bad_calls():
    for method in ("transform", "inverse_transform", "log_det_jacobian"):
        with pytest.raises(NotFittedError):
            getattr(Dequantizer(), method)([[0.0]])
        with pytest.raises(ValueError, match="3 features"):
            getattr(Dequantizer().fit([[0, 1]]), method)(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="log_density must hold one value"):
        Dequantizer().fit([[0]]).bits_per_dimension(np.zeros((3, 1)), [0.0])


def test_as_a_transformer():
    check_param_validation("Dequantizer", Dequantizer())
    frame = pd.DataFrame(images(256), columns=list("abcd"))
    pixels = Dequantizer(random_state=0).set_output(transform="pandas").fit(frame)
    out = pixels.transform(frame)
    assert list(out.columns) == list(pixels.get_feature_names_out()) == list("abcd")
    copy = pickle.loads(pickle.dumps(pixels))
    assert_array_equal(copy.transform(frame), out)
    assert_array_equal(images(256).astype(np.uint8), pixels.inverse_transform(out))


def test_centering_is_by_the_rows_of_fit():
    X = images(256, 2000)
    centered = Dequantizer(center=True, random_state=0).fit(X)
    plain = Dequantizer(random_state=0).fit(X)
    assert_array_equal(plain.mean_, 0)
    Y = centered.transform(X)
    assert_allclose(Y.mean(axis=0), 0, atol=1e-9)
    new = images(256, 50, seed=1)[2:] // 2
    # Other rows keep their own mean.
    shifted = centered.transform(new)
    assert_allclose(shifted + centered.mean_, plain.transform(new))
    assert abs(shifted.mean()) > 0.5
    assert_array_equal(centered.inverse_transform(shifted), new)
    # A shift has no Jacobian: the code is that of the plain rows.
    log_density = stats.norm.logpdf(shifted).sum(axis=1)
    assert_allclose(
        centered.bits_per_dimension(shifted, log_density),
        plain.bits_per_dimension(plain.transform(new), log_density),
    )


# In a flow --------------------------------------------------------------------------


def digits(n_samples=150):
    """Digits of four pixels of the middle, with 17 levels."""
    return load_digits().data[:n_samples, [26, 27, 34, 35]]


def pixel_flow(flow="gaussian", **params):
    params = {"dequantizer": Dequantizer(17, alpha=0.01, random_state=0)} | params
    quick = {"n_transforms": 1, "hidden_features": (8,), "max_epochs": 4}
    return FlowFeaturizer(flow, random_state=0, **quick | params)


@pytest.mark.parametrize("flow", ["gaussian", "maf"])
@pytest.mark.filterwarnings("ignore:The held-out likelihood still rose")
def test_a_flow_of_pixels(flow):
    X = digits()
    fitted = pixel_flow(flow).fit(X)
    pixels = fitted.dequantizer_
    assert pixels is not fitted.dequantizer
    Z = fitted.transform(X)
    assert_array_equal(fitted.inverse_transform(Z), X)
    samples = fitted.sample(50, random_state=0)
    assert set(samples.ravel()) <= set(range(17))
    # The density is that of pixel and noise: bits per dimension follow without more.
    Y = pixels.transform(X)
    of_y = copy.copy(fitted)
    of_y.dequantizer_ = None
    bits = pixels.bits_per_dimension(Y, of_y.score_samples(Y))
    assert_allclose(-fitted.score_samples(X) / (4 * np.log(2)), bits)
    assert fitted.best_validation_score_ == pytest.approx(fitted.score(X), abs=1)
    again = pixel_flow(flow).fit(X)
    assert_array_equal(again.transform(X), Z)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(X), Z)


@pytest.mark.filterwarnings("ignore:The held-out likelihood still rose")
def test_every_pass_has_noise_of_its_own(monkeypatch):
    drawn = []
    draw = Dequantizer.draw

    def watched(self, X, rng):
        drawn.append((X, *draw(self, X, rng)))
        return drawn[-1][1:]

    monkeypatch.setattr(Dequantizer, "draw", watched)
    fitted = pixel_flow("maf", marginals="standardize").fit(digits())
    _, *passes = drawn
    assert len(passes) == fitted.n_iter_ == 4
    X, first, log_det = passes[0]
    assert len(X) < 150  # those of the training alone
    assert np.abs(first - passes[1][1]).max(axis=0).min() > 0
    assert_array_equal(fitted.dequantizer_.inverse_transform(first), X)
    assert_allclose(fitted.dequantizer_.log_det_jacobian(first), log_det)
    # Training and held-out scores are in the same units.
    assert abs(fitted.loss_curve_[-1] + fitted.validation_scores_[-1]) < 1


def test_flows_refuse_what_is_no_pixel_or_no_dequantizer():
    with pytest.raises(ValueError, match="whole numbers from 0 to 16"):
        pixel_flow().fit(digits() + 0.5)
    with pytest.raises(ValueError, match="dequantizer"):
        pixel_flow(dequantizer=17).fit(digits())
    fitted = pixel_flow().fit(digits())
    with pytest.raises(ValueError, match="whole numbers from 0 to 16"):
        fitted.transform(digits() - 1)


# In a flow with a classifier ----------------------------------------------------------


def pixel_ratio(**params):
    quick = {
        "n_transforms": 1,
        "flow_hidden_features": (16,),
        "hidden_features": (16,),
        "n_estimators": 2,
        "marginals": "standardize",
        "max_iter": 200,
        "dequantizer": Dequantizer(17, alpha=0.01, random_state=0),
    }
    return FlowClassifierRatio(random_state=0, **quick | params)


def two_samples():
    """Digits, and digits whose every second column has had one level added."""
    X = digits(600)
    X[300:, ::2] = np.minimum(X[300:, ::2] + 4, 16)
    return X, np.repeat([0, 1], 300)


@pytest.mark.parametrize("strategy", ["joint", "separate"])
@pytest.mark.filterwarnings(
    "ignore:The held-out l:sklearn.exceptions.ConvergenceWarning"
)
def test_a_ratio_of_pixels(strategy):
    X, y = two_samples()
    ratio = pixel_ratio(strategy=strategy).fit(X, y)
    log_ratio = ratio.decision_function(X)
    assert log_ratio[y == 1].mean() - log_ratio[y == 0].mean() > 0.3
    # A row's ratio is its own, whatever noise others draw.
    order = np.random.default_rng(0).permutation(len(X))
    assert_allclose(ratio.decision_function(X[order]), log_ratio[order], atol=1e-9)
    assert_allclose(ratio.decision_function(X[7:8]), log_ratio[7:8], atol=1e-9)
    # It is close to the mean over draws of the noise.
    drawn = []
    for seed in range(20):
        ratio.dequantizer_.random_state_ = seed
        Z = network_inputs(ratio.transform(X), 0, 1)
        drawn.append(mean_log_ratio(ratio.network_, Z))
    mean = np.mean(drawn, axis=0)
    assert np.corrcoef(mean, log_ratio)[0, 1] > 0.97
    assert set(ratio.sample(50, random_state=0).ravel()) <= set(range(17))
    assert_array_equal(ratio.inverse_transform(ratio.transform(X)), X)
    copied = pickle.loads(pickle.dumps(ratio))
    assert_array_equal(copied.decision_function(X), log_ratio)
    again = pixel_ratio(strategy=strategy).fit(X, y)
    assert_array_equal(again.decision_function(X), log_ratio)


@pytest.mark.filterwarnings(
    "ignore:The held-out l:sklearn.exceptions.ConvergenceWarning"
)
def test_a_ratio_of_pixels_goes_on_with_its_dequantizer():
    X, y = two_samples()
    ratio = pixel_ratio(warm_start=True, max_iter=25).fit(X, y)
    pixels = ratio.dequantizer_
    assert ratio.fit(X, y).dequantizer_ is pixels
    with pytest.raises(ValueError, match="whole numbers from 0 to 16"):
        ratio.fit(X + 0.5, y)
    assert ratio.dequantizer_ is pixels
    with pytest.raises(ValueError, match="whole numbers from 0 to 16"):
        ratio.decision_function(X + 20)


@pytest.mark.parametrize("estimator", ["featurizer", "classifier"])
@pytest.mark.filterwarnings(
    "ignore:The held-out l:sklearn.exceptions.ConvergenceWarning"
)
def test_new_noise_in_every_pass_is_overfitted_less(estimator):
    """Held-out images are likelier than under a flow that saw one draw of the noise."""
    images = load_digits().data
    train, test = images[:300], images[300:800]
    pixels = Dequantizer(17, alpha=0.05, random_state=0).fit(train)
    Y = pixels.transform(train)
    y = np.arange(len(train)) % 2
    if estimator == "featurizer":
        flow = FlowFeaturizer(
            marginals="standardize", n_transforms=2, max_epochs=60, random_state=0
        )
    else:
        flow = FlowClassifierRatio(
            "separate",
            marginals="standardize",
            n_transforms=2,
            hidden_features=(4,),
            n_estimators=1,
            max_iter=125,
            learning_rate=0.01,
            random_state=0,
        )
    one = clone(flow).fit(Y, y)
    anew = clone(flow).set_params(dequantizer=pixels).fit(train, y)
    Y = pixels.transform(test)
    bits_of_one = pixels.bits_per_dimension(Y, one.score_samples(Y)).mean()
    bits = -anew.score_samples(test).mean() / (test.shape[1] * np.log(2))
    assert bits < bits_of_one - 0.03
