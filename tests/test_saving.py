"""Fitted estimators saved and loaded, by pickle and without it."""

import inspect
import io
import json
import pickle
import sys
import zipfile
from functools import cache
from importlib import import_module

import numpy as np
import pytest
import torch
from instances import fit_arguments, make_instances
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from torch import nn

from skdre import (
    AutoRatio,
    ClassifierRatio,
    FlowFeaturizer,
    GaussianRatio,
    KMMRatio,
    MLPRatio,
    MultinomialRatio,
    TelescopingRatio,
    TimeScoreRatio,
)
from skdre._nn.saving import _KNOWN, pack_modules, unpack_modules
from skdre.auto._pair_models import fit_t
from skdre.auto._pair_network import fit_network
from skdre.auto._pair_ratio import PairRatio
from skdre.auto._pair_trees import fit_trees
from skdre.datasets import make_warped_shift
from skdre.paths import PATHS
from skdre.time_score import RK45
from skdre.utils import all_estimators, trusted_types

X, Y = make_warped_shift(60, 2, random_state=0).pool()

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*still (fell|rose):Warning"),
    pytest.mark.filterwarnings("ignore:.*separates"),
    pytest.mark.filterwarnings("ignore:.*effective sample size"),
]

FLOWS = [
    FlowFeaturizer(name, n_transforms=1, hidden_features=(4,), max_epochs=1)
    for name in ("nsf", "realnvp", "ffjord", "gaussianization")
]
TINY_SCORE = {"hidden_features": (4,), "max_iter": 2}
BRIDGES = [
    *(TimeScoreRatio(path=path(), **TINY_SCORE) for path in PATHS.values()),
    TimeScoreRatio(base_score="gaussian", **TINY_SCORE),
    TimeScoreRatio(integrator=RK45(1e-2), **TINY_SCORE),
    TelescopingRatio(GaussianRatio(), n_bridges=1, path=PATHS["bridge"]()),
    MultinomialRatio(LogisticRegression(), n_bridges=1),
]
STUMPS = HistGradientBoostingClassifier(max_depth=1, max_iter=5, early_stopping=False)
CHOICE = AutoRatio([("stumps", ClassifierRatio(STUMPS))])
INSTANCES = [*make_instances(), *FLOWS, *BRIDGES, CHOICE]
each_estimator = pytest.mark.parametrize(
    "index", range(len(INSTANCES)), ids=[str(each)[:60] for each in INSTANCES]
)


@cache
def fitted(index):
    estimator = clone(INSTANCES[index])
    return estimator.fit(**fit_arguments(estimator, X, Y))


def outputs(estimator):
    """What the estimator gives, where no dice are thrown."""
    name = type(estimator).__name__
    if name == "MutualInformation":
        return [estimator.pointwise(X, np.sin(X))]
    if name == "Dequantizer":
        return [estimator.get_feature_names_out()]
    parts = [getattr(estimator, part, None) for part in ("flow_", "ratio_")]
    methods = ("decision_function", "predict", "score_samples", "transform")
    found = [
        getattr(each, method)(X[:7])
        for each in (estimator, *parts)
        if isinstance(each, BaseEstimator)
        for method in methods
        if hasattr(each, method)
    ]
    assert found
    return found


def assert_same(one, other):
    for before, after in zip(outputs(one), outputs(other), strict=True):
        assert_array_equal(before, after)


@each_estimator
def test_skops_loads_what_it_is_told_to_trust(index):
    sio = pytest.importorskip("skops.io")
    for estimator in (clone(INSTANCES[index]), fitted(index)):
        again = sio.loads(sio.dumps(estimator), trusted=trusted_types())
        assert str(again) == str(estimator)
    assert_same(fitted(index), again)


@cache
def fitted_pairs():
    """What the default of mutual information holds, all of its candidates."""
    rng = np.random.RandomState(0)
    x = rng.normal(size=(120, 1))
    y = x + rng.normal(size=x.shape)
    partners = np.roll(np.arange(120), -7)[:, None]
    models = {
        "t": fit_t(x, y),
        "trees": fit_trees(x, y, partners, 0),
        "network": fit_network(x, y, None, 0),
    }
    ratio = PairRatio(models, dict.fromkeys(models, 1 / 3))
    ratio.classes_, ratio.n_features_in_ = np.array([0, 1]), 2
    return ratio


def test_pairs_are_saved():
    sio = pytest.importorskip("skops.io")
    again = sio.loads(sio.dumps(fitted_pairs()), trusted=trusted_types())
    pairs = np.random.default_rng(1).normal(size=(50, 2))
    found = fitted_pairs().decision_function(pairs)
    assert_array_equal(again.decision_function(pairs), found)
    assert np.corrcoef(found, pairs.prod(axis=1))[0, 1] > 0.3


def test_what_is_trusted_is_made_of_ours_and_no_more():
    sio = pytest.importorskip("skops.io")
    needed = {f"{cls.__module__}.{cls.__name__}" for _, cls in all_estimators()}
    for index in range(len(INSTANCES)):
        needed.update(sio.get_untrusted_types(data=sio.dumps(fitted(index))))
    needed.update(sio.get_untrusted_types(data=sio.dumps(fitted_pairs())))
    assert trusted_types() == sorted(needed)
    for name in trusted_types():
        module, _, attribute = name.rpartition(".")
        value = getattr(import_module(module), attribute)
        assert inspect.isclass(value) or inspect.isfunction(value)
        assert (value.__module__, value.__qualname__) == (module, attribute)
        assert name.split(".")[0] in ("skdre", "zuko", "sklearn")


def forged(sio, **node):
    """The file of an estimator that has another node in place of a parameter."""
    original = io.BytesIO(sio.dumps(KMMRatio(gamma=0.5)))
    with zipfile.ZipFile(original) as archive:
        schema = json.loads(archive.read("schema.json"))
    state = schema["content"]["content"]
    state["gamma"] = node | {"__id__": 1}
    altered = io.BytesIO()
    with zipfile.ZipFile(altered, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    return altered.getvalue()


def test_a_file_that_runs_code_under_a_name_of_ours_is_refused(tmp_path, monkeypatch):
    """What our modules import has names that begin with ours."""
    pytest.importorskip("skops", minversion="0.16")  # whose files it writes by hand
    sio = pytest.importorskip("skops.io")
    exceptions = pytest.importorskip("skops.io.exceptions")
    marker = tmp_path / "ran"
    (tmp_path / "not_ours.py").write_text(f"open({str(marker)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "not_ours", raising=False)
    argument = {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "content": '"not_ours"',
        "is_json": True,
    }
    arguments = {
        "__class__": "tuple",
        "__module__": "builtins",
        "__loader__": "TupleNode",
        "content": [argument | {"__id__": 2}],
        "__id__": 3,
    }
    data = forged(
        sio,
        __class__="import_module",
        __module__="skdre.utils",
        __loader__="ConstructorFromReduceNode",
        content=arguments,
    )
    with pytest.raises(exceptions.UntrustedTypesFoundException, match="import_module"):
        sio.loads(data, trusted=trusted_types())
    assert not marker.exists()
    # It is dangerous indeed, and a look at the beginnings of names does not help.
    names = sio.get_untrusted_types(data=data)
    assert all(name.startswith(("skdre.", "zuko.")) for name in names)
    sio.loads(data, trusted=names)
    assert marker.exists()


@each_estimator
def test_pickle(index):
    assert_same(fitted(index), pickle.loads(pickle.dumps(fitted(index))))


# --- torch modules as plain data --------------------------------------------------


def arrays_only(value):
    """Whether a packed state holds what any format can store."""
    if isinstance(value, dict):
        return all(map(arrays_only, value.values()))
    if isinstance(value, list | tuple):
        return all(map(arrays_only, value))
    return value is None or isinstance(
        value, np.ndarray | np.generic | str | int | float
    )


def test_a_network_is_stored_as_arrays_and_numbers():
    ratio = MLPRatio(hidden_features=(4,), n_estimators=2, max_iter=25).fit(X, Y)
    state = ratio.__getstate__()
    assert arrays_only(state)
    network = unpack_modules(state)["network_"]
    expected = ratio.network_.state_dict()
    assert list(network.state_dict()) == list(expected)
    for name, value in network.state_dict().items():
        assert value.dtype == expected[name].dtype
        assert_array_equal(value, expected[name])
    assert not any(each.requires_grad for each in network.parameters())
    assert network.training == ratio.network_.training
    # The copy is its own: training on does not change what was saved.
    before = ratio.decision_function(X)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    assert_array_equal(ratio.decision_function(X), before)


def test_modules_of_torch_are_rebuilt():
    module = nn.Sequential(
        torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5)
    ).double()
    module.register_buffer("kept", torch.arange(3))
    module.register_buffer("dropped", torch.ones(1), persistent=False)
    module.register_parameter("none", None)
    module[0].weight.requires_grad_(False)
    module.eval()
    packed = pack_modules({"module": module, "other": (1, torch.ones(2)), "plain": {}})
    assert arrays_only(packed)
    again = unpack_modules(packed)
    assert again["plain"] == {}
    assert_array_equal(again["other"][1], np.ones(2))
    rebuilt = again["module"]
    assert str(rebuilt) == str(module)
    assert list(rebuilt.state_dict()) == list(module.state_dict())
    assert list(dict(rebuilt.named_buffers())) == list(dict(module.named_buffers()))
    flags = [each.requires_grad for each in rebuilt.parameters()]
    assert flags == [each.requires_grad for each in module.parameters()]
    x = torch.randn(5, 2, dtype=torch.float64)
    assert_array_equal(rebuilt(x).detach(), module(x).detach())
    rebuilt.train()
    rebuilt(x).sum().backward()


def round_trips(module):
    """The module after each of the ways of saving."""
    state = {"module": module}
    yield unpack_modules(pack_modules(state))["module"]
    yield unpack_modules(pickle.loads(pickle.dumps(pack_modules(state))))["module"]
    sio = pytest.importorskip("skops.io")
    yield unpack_modules(sio.loads(sio.dumps(pack_modules(state))))["module"]


def test_what_is_shared_stays_shared():
    linear, other, norm = nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2)
    other.weight = linear.weight
    other_norm = nn.BatchNorm1d(2)
    other_norm.running_mean = norm.running_mean
    module = nn.Sequential(linear, nn.SiLU(), linear, other, norm, other_norm)
    module.kept = [linear, linear.weight, norm.running_mean]
    names = [name for name, _ in module.named_parameters()]
    x = torch.ones(3, 2)
    for again in round_trips(module):
        assert [name for name, _ in again.named_parameters()] == names
        assert again[0] is again[2]
        assert again[3].weight is again[0].weight
        assert again[4].running_mean is again[5].running_mean
        assert again.kept[0] is again[0]
        assert again.kept[1] is again[0].weight
        assert again.kept[2] is again[4].running_mean
        assert_array_equal(again.eval()(x).detach(), module.eval()(x).detach())


def test_what_attributes_share_stays_shared():
    linear = nn.Linear(2, 1)
    again = unpack_modules(pack_modules({"a": linear, "b": [nn.Sequential(linear)]}))
    assert again["b"][0][0] is again["a"]


class Tied(nn.Module):
    """A network of the user's own whose two layers share a weight and a buffer."""

    def __init__(self, layer=nn.Linear):
        super().__init__()
        self.first, self.second, self.last = layer(3, 3), layer(3, 3), layer(3, 1)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.ones(1))
        self.first.register_buffer("scale", self.scale)

    def forward(self, x, t):
        h = torch.cat([x, t], dim=1) * self.scale
        return self.last(self.second(torch.tanh(self.first(h))))


def test_networks_with_shared_parts_are_trained_and_saved():
    ratio = TimeScoreRatio(network=Tied(), max_iter=4, random_state=0).fit(X, Y)
    assert len(list(ratio.network_.parameters())) == 5
    again = pickle.loads(pickle.dumps(ratio))
    assert len(list(again.network_.parameters())) == 5
    assert_array_equal(again.decision_function(X), ratio.decision_function(X))
    # Beside layers of torch's, which alone would be saved by name.
    tied = Tied()
    beside = unpack_modules(pack_modules({"m": nn.Sequential(tied, tied.first)}))["m"]
    assert beside[1] is beside[0].first


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(2, 3, num_layers=2, bidirectional=True),
        nn.MultiheadAttention(2, 1),
        nn.Sequential(nn.Conv1d(2, 2, 1), nn.PReLU(), nn.LayerNorm(3)),
        nn.ParameterList([torch.ones(2), torch.zeros(1)]),
        nn.ModuleDict({"a": nn.Bilinear(2, 2, 1)}),
        nn.Embedding(3, 2),
    ],
    ids=lambda module: type(module).__name__,
)
def test_layers_of_torch(module):
    for again in round_trips(module.eval()):
        assert str(again) == str(module)
        state = again.state_dict()
        assert list(state) == list(module.state_dict())
        for name, value in module.state_dict().items():
            assert_array_equal(state[name], value)
        if isinstance(module, nn.LSTM):
            x = torch.ones(4, 2)
            assert_array_equal(again(x)[0].detach(), module(x)[0].detach())
            assert again._flat_weights[0] is again.weight_ih_l0


class Shift(nn.Module):
    """A network of the user's own: the class is theirs, and pickle finds it."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(2))

    def forward(self, x, t):
        return (x - self.mean).sum(-1)


def test_modules_of_others_stay():
    module = Shift()
    assert pack_modules({"network": module})["network"] is module
    ratio = TimeScoreRatio(network=module)
    again = pickle.loads(pickle.dumps(ratio))
    assert_array_equal(again.network.mean.detach(), np.zeros(2))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("torch.hub", "load"),
        ("torch.nn", "Linear"),  # known by the name of the module that defines it only
        ("torch.nn.modules.linear", "torch.nn.Linear"),
        ("torch.nn.modules", "linear.Linear"),
        ("skdre._nn.training", "train"),
        ("skdre._nn.training", "TrainingNet"),
        ("skdre._nn.saving.importlib.os", "system"),
        ("skdre.not_ours", "Linear"),
        ("zuko.utils", "Partial"),
    ],
)
def test_only_known_classes_are_made_by_name(module, name, monkeypatch):
    packed = pack_modules({"network": torch.nn.Identity()})
    packed["network"]["torch.nn.Module"] |= {"module": module, "class": name}

    def import_nothing(name):
        raise AssertionError(name)

    monkeypatch.setattr("skdre._nn.saving.importlib.import_module", import_nothing)
    with pytest.raises(ValueError, match=f"class '{module}.{name}', which is not"):
        unpack_modules(packed)


def test_the_known_classes_are_modules():
    for name in _KNOWN:
        module, _, attribute = name.rpartition(".")
        assert issubclass(getattr(import_module(module), attribute), torch.nn.Module)


def test_a_module_with_a_hook_stays():
    module = torch.nn.Linear(2, 1)
    module.register_forward_hook(print)
    assert pack_modules({"network": module})["network"] is module


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_networks_on_a_gpu_are_saved_on_the_cpu():
    module = torch.nn.Linear(2, 1)
    expected = module.weight.detach().clone()
    again = unpack_modules(pack_modules({"module": module.cuda()}))["module"]
    assert again.weight.device.type == "cpu"
    assert_array_equal(again.weight.detach(), expected)
    theirs = pack_modules({"module": Shift().cuda()})["module"]
    assert theirs.mean.device.type == "cpu"
