"""FlowFeaturizer: densities and maps against oracles, bad input, training guards."""

import functools
import importlib
import pickle
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import zuko
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from scipy.integrate import trapezoid
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import scale
from skorch.callbacks import Callback

from skdre._nn.training import train
from skdre.datasets import make_warped_shift
from skdre.flows import FlowFeaturizer, _featurizer
from skdre.flows._flows import FLOWS
from skdre.flows._marginals import NOISE_SCALE

# Most flows here are trained as briefly as their test allows.
pytestmark = pytest.mark.filterwarnings("ignore:The held-out likelihood still rose")

WARPS = ["identity", "exp", "cubic", "banana", "funnel"]


def quick(**params):
    """A featurizer for tests that need a flow, but not a good one."""
    params = {"max_epochs": 10, "n_transforms": 2, "hidden_features": (16,)} | params
    return FlowFeaturizer(**{"random_state": 0} | params)


@functools.cache
def warped(warp, n_samples=500, n_features=2):
    return make_warped_shift(n_samples, n_features, warp=warp, random_state=0)


@functools.cache
def fitted(warp, marginals="auto"):
    X, y = warped(warp).pool()
    params = {"n_transforms": 2, "hidden_features": (16,), "learning_rate": 0.02}
    return FlowFeaturizer(marginals=marginals, random_state=0, **params).fit(X, y)


@functools.cache
def sketched(warp, marginals):
    """For what holds of any flow, however well it was trained."""
    return quick(marginals=marginals).fit(*warped(warp).pool())


# The density ------------------------------------------------------------------------


@pytest.mark.parametrize("marginals", ["standardize", "gaussianize"])
def test_density_of_one_feature_integrates_to_one(marginals):
    rng = np.random.default_rng(0)
    X = rng.gamma(2, size=(400, 1)) * 1e3
    flow = quick(marginals=marginals).fit(X)
    grid = np.linspace(-30_000, 60_000, 60_001)
    density = np.exp(flow.score_samples(grid[:, None]))
    assert trapezoid(density, grid) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("marginals", ["standardize", "gaussianize"])
def test_density_of_two_features_integrates_to_one(marginals):
    flow = sketched("banana", marginals)
    X = warped("banana").pool()[0]
    span = np.ptp(X, axis=0)
    axes = [
        np.linspace(low - s, high + s, 301)
        for low, high, s in zip(X.min(0), X.max(0), span, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    density = np.exp(flow.score_samples(grid.reshape(-1, 2))).reshape(301, 301)
    total = trapezoid(trapezoid(density, axes[1]), axes[0])
    assert total == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize("marginals", ["standardize", "gaussianize"])
def test_log_density_is_the_change_of_variables(warp, marginals):
    flow = sketched(warp, marginals)
    X = np.asarray(warped(warp).numerator)[:20]
    Z = flow.transform(X)
    log_det = log_det_by_differences(flow.transform, X, 1e-6 * np.abs(X))
    expected = stats.norm.logpdf(Z).sum(axis=1) + log_det
    assert_allclose(flow.score_samples(X), expected, atol=1e-3)
    assert flow.score(X) == pytest.approx(expected.mean(), abs=1e-3)


def log_det_by_differences(function, X, step):
    columns = [
        (function(X + h) - function(X - h)) / (2 * np.linalg.norm(h, axis=1))[:, None]
        for h in (step * unit for unit in np.eye(X.shape[1]))
    ]
    return np.linalg.slogdet(np.stack(columns, axis=-1))[1]


@pytest.mark.parametrize("warp", WARPS)
def test_density_is_near_the_true_one(warp):
    # In z the pool is half N(0, I), half N(mu, I), whose ratio is known.
    new = make_warped_shift(2000, 2, warp=warp, random_state=1)
    X = np.concatenate([new.numerator, new.denominator])
    Z = np.concatenate([new.latent_numerator, new.latent_denominator])
    ratio = np.exp(new.latent_log_ratio(Z))
    log_det = log_det_by_differences(new.inverse, X, 1e-6 * np.abs(X))
    true = stats.norm.logpdf(Z).sum(axis=1) + np.log((1 + ratio) / 2) + log_det
    lost = np.mean(true - fitted(warp).score_samples(X))
    assert -0.02 < lost < 0.15  # the Kullback-Leibler divergence, in nats

    flow = fitted(warp)
    Z = flow.transform(warped(warp).pool()[0])
    assert_allclose(Z.mean(axis=0), 0, atol=0.15)
    assert_allclose(np.cov(Z.T), np.eye(2), atol=0.2)
    for column in Z.T:
        assert stats.kstest(column, "norm").statistic < 0.06


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize("marginals", ["standardize", "gaussianize"])
def test_round_trip(warp, marginals):
    flow = sketched(warp, marginals)
    X = np.asarray(warped(warp).pool()[0])
    assert_allclose(flow.inverse_transform(flow.transform(X)), X, rtol=1e-4)
    Z = np.random.default_rng(0).normal(size=(200, 2))
    assert_allclose(flow.transform(flow.inverse_transform(Z)), Z, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("warp", ["exp", "banana"])
def test_sample_follows_the_density(warp):
    flow = fitted(warp)
    X = flow.sample(4000, random_state=0)
    assert X.shape == (4000, 2)
    # The cross-entropy of own samples is the entropy: compare with a quadrature-free
    # estimate from other samples, and the samples with the data, column by column.
    again = flow.score_samples(flow.sample(4000, random_state=1))
    own = flow.score_samples(X)
    error = np.hypot(own.std(), again.std()) / np.sqrt(4000)
    assert abs(own.mean() - again.mean()) < 4 * error
    data = np.asarray(warped(warp, 2000).pool()[0])
    for ours, theirs in zip(X.T, data.T, strict=True):
        assert stats.ks_2samp(ours, theirs).statistic < 0.06
    assert_array_equal(X, flow.sample(4000, random_state=0))
    assert not np.array_equal(X, flow.sample(4000, random_state=1))
    assert flow.sample().shape == (1, 2)
    with pytest.raises(ValueError, match="n_samples"):
        flow.sample(0)


def test_rows_far_away_stay_finite():
    flow = fitted("funnel")
    X = np.asarray(warped("funnel").pool()[0])
    directions = np.random.default_rng(0).normal(size=(200, 2)) * X.std(axis=0)
    for distance in (10, 100, 1e6, 1e12, 1e200):
        Z = flow.transform(distance * directions)
        assert np.isfinite(Z).all()
        assert np.isfinite(flow.score_samples(distance * directions)).all()


def test_rows_do_not_depend_on_each_other():
    flow = fitted("funnel")
    X = np.asarray(warped("funnel").pool()[0])
    whole = flow.transform(X)
    assert_allclose(np.vstack([flow.transform(x[None]) for x in X[:50]]), whole[:50])
    assert_allclose(flow.transform(X[::-1])[::-1], whole, rtol=1e-12, atol=1e-12)
    assert whole.dtype == np.float64


# The marginals ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("warp", "kind"),
    [("exp", "gaussianize"), ("cubic", "gaussianize"), ("banana", "standardize")],
)
def test_auto_keeps_the_better_marginals(warp, kind):
    flow = fitted(warp)
    assert set(flow.marginal_scores_) == {"standardize", "gaussianize"}
    assert flow.marginals_ == kind
    assert flow.best_validation_score_ == max(flow.marginal_scores_.values())
    # On new rows the kept kind is the better one too, and auto is that fit.
    new = np.asarray(make_warped_shift(2000, 2, warp=warp, random_state=1).pool()[0])
    scores = {k: fitted(warp, k).score(new) for k in flow.marginal_scores_}
    assert max(scores, key=scores.get) == kind
    assert flow.score(new) == scores[kind]


def test_both_marginals_see_the_training_rows_and_are_judged_by_the_others(monkeypatch):
    X, y = warped("exp").pool()
    seen, maps, held_out = [], [], []

    def spy_on(marginals):
        def spy(X, weight):
            seen.append(X)
            maps.append(marginals(X, weight))
            return maps[-1]

        return spy

    def spy_train(module, loss, rows, others, **params):
        held_out.append(others.tensors[0].numpy().astype(float))
        return train(module, loss, rows, others, **params)

    spies = {kind: spy_on(f) for kind, f in _featurizer.MARGINALS.items()}
    monkeypatch.setattr(_featurizer, "MARGINALS", spies)
    monkeypatch.setattr(_featurizer, "train", spy_train)
    quick(max_epochs=1).fit(X, y)
    assert len(seen) == 2
    assert_array_equal(*seen)
    for training, map_, others in zip(seen, maps, held_out, strict=True):
        assert len(others) == 0.1 * len(X)
        rows = np.concatenate([training, map_.inverse(others)])
        assert_allclose(np.sort(rows, axis=0), np.sort(X, axis=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("warp", ["exp", "funnel"])
def test_scores_are_mean_log_densities(warp):
    X, y = warped(warp).pool()
    flow = quick(validation_fraction=0.5, max_epochs=5).fit(X, y)
    assert flow.n_iter_ == len(flow.loss_curve_) == len(flow.validation_scores_) == 5
    assert flow.best_validation_score_ >= flow.validation_scores_.max() - 1e-6
    # All rows are training or held-out rows, half and half; the noise of training
    # and the last epoch's average blur it a little.
    both = (flow.best_validation_score_ - flow.loss_curve_[-1]) / 2
    assert flow.score(X) == pytest.approx(both, abs=0.3)


# The domains ------------------------------------------------------------------------


def test_two_labels_count_half_each():
    rng = np.random.default_rng(0)
    few, many = rng.normal(4, 1, size=(60, 1)), rng.normal(0, 1, size=(1500, 1))
    X, y = np.concatenate([few, many]), np.repeat(["few", "many"], [60, 1500])
    balanced = FlowFeaturizer(random_state=0, marginals="gaussianize").fit(X, y)
    plain = FlowFeaturizer(random_state=0, marginals="gaussianize").fit(X)
    share = {
        name: np.mean(flow.sample(4000, random_state=0) > 2)
        for name, flow in {"balanced": balanced, "plain": plain}.items()
    }
    assert share["balanced"] == pytest.approx(0.5, abs=0.06)
    assert share["plain"] == pytest.approx(60 / 1560 + 0.02, abs=0.03)


@pytest.mark.parametrize(
    "y",
    [
        np.zeros(300),
        np.arange(300) % 3,
        np.linspace(0, 1, 300),
        np.stack([np.arange(300) % 2] * 2, axis=1),
    ],
    ids=["one class", "three classes", "continuous", "multi-output"],
)
def test_other_targets_are_not_used(y):
    X = np.random.default_rng(0).normal(size=(300, 2))
    assert_array_equal(
        quick(max_epochs=2).fit(X, y).transform(X),
        quick(max_epochs=2).fit(X).transform(X),
    )


def test_labels_may_be_any_two_values():
    X, y = warped("exp").pool()
    expected = quick(max_epochs=2).fit(X, y).transform(X)
    for labels in (np.array(["a", "b"])[y], y == 1, y * 3.0 - 1, list(y)):
        assert_array_equal(quick(max_epochs=2).fit(X, labels).transform(X), expected)


# Hard input -------------------------------------------------------------------------


def hard_data():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 3))
    yield "scales", z * [1e-9, 1e9, 1]
    yield "offsets", z * [1e-9, 1, 1] + [1, 1e9, 0]
    yield "constant", np.column_stack([z, np.full(300, 3.0)])
    yield "all constant", np.ones((30, 2))
    yield "binary", np.column_stack([z, rng.integers(0, 2, 300)])
    yield "determined", np.column_stack([z, z[:, 0] > 0])
    yield "repeated column", np.column_stack([z, z[:, 0]])
    yield "repeated rows", np.repeat(z[:6], 50, axis=0)
    yield "heap", np.where(rng.random((300, 3)) < 0.6, 0, np.exp(z))
    yield "cauchy", rng.standard_cauchy((300, 3))
    yield "outlier", np.vstack([z, [[1e6, 0, 0]]])
    yield "one feature", np.exp(3 * z[:, :1])
    yield "more features than rows", rng.normal(size=(20, 30))
    yield "float32", z.astype(np.float32)
    yield "int", rng.integers(0, 5, size=(300, 2))
    yield "object", z.astype(object)
    for n_rows in (2, 3, 5, 20):
        yield f"{n_rows} rows", np.exp(z[:n_rows])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("X", [pytest.param(X, id=i) for i, X in hard_data()])
def test_hard_input(X):
    flow = quick(max_epochs=5).fit(X)
    numbers = np.asarray(X, dtype=float)
    Z = flow.transform(X)
    assert np.isfinite(Z).all()
    assert np.abs(np.median(Z, axis=0)).max() < 2
    size = np.maximum(np.abs(numbers), 1e-8 * np.abs(numbers).max(axis=0))
    error = np.abs(flow.inverse_transform(Z) - numbers)
    assert (error <= 1e-4 * size).all()
    assert np.isfinite(flow.score_samples(X)).all()
    assert np.isfinite(flow.score_samples(np.full((1, X.shape[1]), 1e300))).all()
    assert np.isfinite(flow.sample(50, random_state=0)).all()


@pytest.mark.parametrize("n_rows", [3, 5, 10, 19])
def test_few_rows_are_scaled_by_all_of_them(n_rows):
    X = np.random.default_rng(1).lognormal(size=(n_rows, 3))
    flow = quick(max_epochs=50).fit(X)
    assert flow.marginals_ == "standardize"
    assert np.abs(flow.transform(X)).max() < 5


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_scale_of_the_input_does_not_matter(factor):
    X = np.asarray(warped("banana").pool()[0])
    scaled = factor * (X + 3)
    ours = quick().fit(scaled).transform(scaled)
    assert_allclose(ours, quick().fit(X).transform(X), atol=1e-2)


@pytest.mark.parametrize("tie", ["row", "column", "label"])
def test_ties_do_not_make_the_likelihood_explode(tie):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    X = {
        "row": np.repeat(X[:4], 100, axis=0),
        "column": np.column_stack([X, X[:, 0]]),
        "label": np.column_stack([X, X[:, 0] > 0]),
    }[tie]
    flow = quick(max_epochs=60, patience=60, hidden_features=(64,))
    with warnings.catch_warnings():
        # the guard against divergence must not be what keeps it finite
        warnings.filterwarnings("error", message="The training loss was not finite")
        flow.fit(X)
    # Noise of scale s allows about log(1 / s) nats per degenerate direction above the
    # peak of a standard normal's density.
    allowed = -np.log(NOISE_SCALE) * X.shape[1]
    assert flow.score_samples(X).max() < allowed


def test_better_than_a_gaussian_on_real_data():
    X = scale(load_breast_cancer().data)
    order = np.random.default_rng(0).permutation(len(X))
    train, test = X[order[:450]], X[order[450:]]
    gaussian = stats.multivariate_normal(train.mean(0), np.cov(train.T))
    flow = FlowFeaturizer(random_state=0).fit(train)
    assert flow.score(test) > gaussian.logpdf(test).mean() + 1


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[0.0, 1.0], [np.nan, 2.0]], "NaN"),
        ([[0.0, 1.0], [np.inf, 2.0]], "infinity"),
        (sparse.csr_matrix(np.eye(3)), "[Ss]parse"),
        ([[1.0, 2.0]], "1 sample"),
        ([1.0, 2.0], "2D array"),
        ([["a", "b"], ["c", "d"]], "numeric|convert"),
    ],
)
def test_bad_rows(X, message):
    with pytest.raises((ValueError, TypeError), match=message):
        quick().fit(X)


def test_bad_labels():
    X = np.zeros((4, 2))
    with pytest.raises(ValueError, match="inconsistent"):
        quick().fit(X, [0, 1, 0])
    with pytest.raises(ValueError, match="NaN"):
        quick().fit(X, [0, 1, np.nan, 1])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"flow": "mfa"}, "'flow' parameter.*maf"),
        ({"marginals": "none"}, "'marginals' parameter"),
        ({"n_transforms": 0}, "'n_transforms'"),
        ({"hidden_features": (0,)}, "hidden_features must be"),
        ({"max_epochs": 0}, "'max_epochs'"),
        ({"batch_size": 0}, "'batch_size'"),
        ({"learning_rate": 0}, "'learning_rate'"),
        ({"weight_decay": -1.0}, "'weight_decay'"),
        ({"validation_fraction": 1.0}, "'validation_fraction'"),
        ({"patience": 0}, "'patience'"),
        ({"device": "gpu"}, "device must be"),
        ({"callbacks": 3}, "'callbacks'"),
    ],
)
def test_bad_parameters(params, message):
    flow = quick(**params)
    with pytest.raises(ValueError, match=message):
        flow.fit(np.eye(4))
    assert not hasattr(flow, "n_features_in_")


def test_known_flows_are_named():
    with pytest.raises(ValueError) as error:
        quick(flow="mfa").fit(np.eye(4))
    assert all(repr(name) in str(error.value) for name in FLOWS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu():
    with pytest.raises(ValueError, match="device='cuda' was asked for"):
        quick(device="cuda").fit(np.eye(4))


def test_not_fitted():
    for method in ("transform", "inverse_transform", "score_samples", "score"):
        with pytest.raises(NotFittedError):
            getattr(quick(), method)(np.eye(2))
    with pytest.raises(NotFittedError):
        quick().sample()


def test_features_of_fit_are_asked_for():
    flow = fitted("exp")
    for method in ("transform", "inverse_transform", "score_samples"):
        with pytest.raises(ValueError, match="3 features"):
            getattr(flow, method)(np.zeros((1, 3)))


# The flow ---------------------------------------------------------------------------


def test_callable_flow():
    X, y = warped("banana").pool()
    spline = functools.partial(zuko.flows.NSF, transforms=2, hidden_features=(16,))
    flow = quick(flow=spline, max_epochs=20).fit(X, y)
    assert isinstance(flow.flow_, zuko.flows.NSF)
    X = np.asarray(X)
    assert_allclose(flow.inverse_transform(flow.transform(X)), X, rtol=1e-4, atol=1e-6)
    assert flow.best_validation_score_ > flow.validation_scores_[0]
    with pytest.raises(TypeError, match=r"flow must be a callable.*Linear"):
        quick(flow=lambda n: torch.nn.Linear(n, n)).fit(X)


def test_a_flow_starts_at_the_identity():
    for n_features in (1, 3):
        flow = FLOWS["maf"].build(n_features, 3, (8,))
        u = torch.randn(5, n_features, generator=torch.Generator().manual_seed(0))
        z, log_det = flow().transform.call_and_ladj(u)
        assert torch.equal(z, u)
        assert torch.equal(log_det, torch.zeros(5))


# scikit-learn and skorch ------------------------------------------------------------


def test_repeats_to_the_bit_and_leaves_the_seeds_alone():
    X, y = warped("funnel").pool()
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = quick().fit(X, y)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    torch.rand(5), np.random.rand(5)  # noqa: NPY002
    second = quick().fit(X, y)
    assert_array_equal(first.transform(X), second.transform(X))
    assert_array_equal(first.loss_curve_, second.loss_curve_)
    other = quick(random_state=1).fit(X, y)
    assert not np.array_equal(first.transform(X), other.transform(X))


def test_pickle_and_clone():
    flow = fitted("funnel")
    X = warped("funnel").pool()[0]
    copy = pickle.loads(pickle.dumps(flow))
    assert_array_equal(copy.transform(X), flow.transform(X))
    assert_array_equal(copy.score_samples(X), flow.score_samples(X))
    assert not hasattr(clone(flow), "flow_")


def test_pickles_hold_no_tensor_of_a_gpu():
    # Stand in for a GPU with torch's "meta" device: what is pickled must be on the CPU.
    flow = quick(max_epochs=1).fit(np.eye(4))
    moved = []

    class Moved(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2, device="meta"))

        def cpu(self):
            moved.append(True)
            return "on the CPU"

        def __deepcopy__(self, memo):
            return self

    flow.flow_ = Moved()
    assert flow.__getstate__()["flow_"] == "on the CPU"
    assert moved
    assert isinstance(flow.flow_, Moved)


def test_memory_fits_once(tmp_path, monkeypatch):
    X, y = warped("exp").pool()
    trained = []
    monkeypatch.setattr(
        _featurizer, "train", lambda *a, **k: trained.append(1) or train(*a, **k)
    )
    ratios = []
    for C in (0.1, 1.0):
        steps = quick(marginals="standardize"), LogisticRegression(C=C)
        model = make_pipeline(*steps, memory=str(tmp_path)).fit(X, y)
        ratios.append(model.decision_function(X))
    assert len(trained) == 1
    assert not np.array_equal(*ratios)
    steps = quick(marginals="standardize", random_state=1), LogisticRegression()
    make_pipeline(*steps, memory=str(tmp_path)).fit(X, y)
    assert len(trained) == 2


def test_feature_names_and_set_output():
    X, y = warped("exp").pool()
    frame = pd.DataFrame(np.asarray(X), columns=["a", "b"])
    flow = quick().set_output(transform="pandas")
    Z = flow.fit_transform(frame, y)
    names = ["flowfeaturizer0", "flowfeaturizer1"]
    assert list(Z.columns) == list(flow.get_feature_names_out()) == names
    assert list(flow.feature_names_in_) == ["a", "b"]
    assert_array_equal(Z.to_numpy(), quick().fit(X, y).transform(X))
    with pytest.raises(ValueError, match="feature names"):
        flow.transform(frame.rename(columns={"b": "c"}))


def test_warm_start_goes_on():
    X, y = warped("banana").pool()
    flow = quick(warm_start=True, max_epochs=3).fit(X, y)
    scores, maps = [flow.best_validation_score_], flow.marginal_maps_
    for _ in range(6):
        scores.append(flow.fit(X, y).best_validation_score_)
    assert (np.diff(scores) >= -1e-6).all()
    cold = quick(max_epochs=3).fit(X, y).best_validation_score_
    assert scores[0] == cold
    assert scores[-1] > cold + 0.1
    assert flow.marginal_maps_ is maps
    assert list(flow.marginal_scores_) == [flow.marginals_]
    with pytest.raises(ValueError, match="3 features"):
        flow.fit(np.zeros((10, 3)))


def test_skorch_callbacks_and_verbose(capsys):
    epochs = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            epochs.append(net.history[-1, "valid_loss"])

    X, y = warped("exp").pool()
    flow = quick(marginals="standardize", callbacks=[Watch()], max_epochs=4)
    flow.fit(X, y)
    assert capsys.readouterr().out == ""
    assert len(epochs) == flow.n_iter_ == 4
    differences = flow.validation_scores_ + epochs
    assert_allclose(differences, differences[0], atol=1e-6)
    flow.set_params(verbose=1).fit(X, y)
    assert "valid_loss" in capsys.readouterr().out


def test_scikit_learn_callbacks():
    callback = pytest.importorskip("sklearn.callback")
    begun, ended, fits = [], [], []

    class Watch:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            fits.append("torn down")

        def on_fit_task_begin(self, estimator, context):
            begun.append(context.task_name)

        def on_fit_task_end(self, estimator, context, *, X, fitted_estimator=None):
            ended.append(context.task_name)
            if context.task_name == "epoch":
                fits.append(fitted_estimator.score(X))
                return context.task_id == 2
            return False

    assert isinstance(Watch(), callback.FitCallback)
    X, y = warped("banana").pool()
    flow = quick().set_callbacks(Watch()).fit(X, y)
    epochs = ["epoch"] * 3
    assert begun == ["fit", "standardize", *epochs, "gaussianize", *epochs]
    assert ended == [*epochs, "standardize", *epochs, "gaussianize", "fit"]
    assert flow.n_iter_ == 3
    assert fits[-1] == "torn down"
    kept = fits[:3] if flow.marginals_ == "standardize" else fits[3:6]
    assert kept[-1] == pytest.approx(flow.score(X), abs=1e-6)


def test_interrupt_keeps_the_best_flow():
    class Interrupt(Callback):
        def on_batch_begin(self, net, training=False, **kwargs):
            if training and len(net.history) == 8:
                raise KeyboardInterrupt

    X, y = warped("banana").pool()
    flow = quick(max_epochs=50, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 8"):
        flow.fit(X, y)
    assert flow.n_iter_ == 7
    assert list(flow.marginal_scores_) == ["standardize"]
    assert flow.score(X) > quick(max_epochs=1, marginals="standardize").fit(X).score(X)


def test_interrupt_between_two_trainings_keeps_the_first():
    class Interrupt(Callback):
        def on_train_begin(self, net, **kwargs):
            self.n_trainings = getattr(self, "n_trainings", 0) + 1
            if self.n_trainings == 2:
                raise KeyboardInterrupt

    X, y = warped("banana").pool()
    flow = quick(marginals="auto", max_epochs=2, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        flow.fit(X, y)
    assert list(flow.marginal_scores_) == ["standardize"]
    alone = quick(marginals="standardize", max_epochs=2).fit(X, y)
    assert_array_equal(flow.transform(X), alone.transform(X))


def test_running_out_of_epochs_is_said():
    X, y = warped("banana").pool()
    with pytest.warns(ConvergenceWarning, match=r"still rose.*max_epochs=10"):
        quick(marginals="standardize", learning_rate=0.02).fit(X, y)


def test_works_without_scikit_learns_callbacks(monkeypatch):
    """As in scikit-learn < 1.9: skdre imported anew, beside the one that is there."""
    ours = {name: each for name, each in sys.modules.items() if is_ours(name)}
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    try:
        for name in ours:
            del sys.modules[name]
        anew = importlib.import_module("skdre.flows").FlowFeaturizer
        assert anew is not FlowFeaturizer
        flow = anew(max_epochs=1, random_state=0).fit(np.eye(30)[:, :2])
        assert not hasattr(flow, "set_callbacks")
        assert flow.n_iter_ == 1
    finally:
        for name in filter(is_ours, list(sys.modules)):
            del sys.modules[name]
        sys.modules.update(ours)


def is_ours(module):
    return module.partition(".")[0] == "skdre"


def test_features_come_in_data_frames_when_asked():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"])
    flow = FlowFeaturizer("gaussian").set_output(transform="pandas")
    Z = flow.fit(X).transform(X)
    assert isinstance(Z, pd.DataFrame)
    assert list(Z.columns) == list(flow.get_feature_names_out())
