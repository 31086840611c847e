"""What skdre uses of other packages without its being public: what broke, if it did.

Each test holds one use. If one fails after an upgrade, `skdre/_compat.py` is the place
to mend it.
"""

import os
from numbers import Integral, Real

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator

from skdre import _compat
from skdre._compat import (
    HasMethods,
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
    fit_context,
    make_constraint,
    num_samples,
    routing_enabled,
    safe_indexing,
    validate_parameter_constraints,
    validate_params,
)


class Checked(BaseEstimator):
    """An estimator of one parameter."""

    _parameter_constraints = {  # noqa: RUF012
        "tol": [Interval(Real, 0, None, closed="neither"), None]
    }

    def __init__(self, tol=1.0):
        self.tol = tol

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        self.seen_ = X
        return self


def test_fit_context_validates_parameters():
    assert Checked(0.5).fit(3).seen_ == 3
    with pytest.raises(InvalidParameterError, match="'tol' parameter of Checked"):
        Checked(0.0).fit(3)
    # skdre catches it as what it is promised to be.
    assert issubclass(InvalidParameterError, ValueError | TypeError)


def test_validate_params():
    @validate_params(
        {"kind": [StrOptions({"a", "b"})], "learner": [HasMethods(["fit"])]},
        prefer_skip_nested_validation=True,
    )
    def function(kind, learner):
        return kind

    assert function("a", Checked()) == "a"
    with pytest.raises(ValueError, match="'kind' parameter of"):
        function("c", Checked())
    with pytest.raises(ValueError, match="'learner' parameter of"):
        function("a", object())


def test_validate_parameter_constraints():
    constraints = {"n": [Interval(Integral, 1, 3, closed="left")]}
    validate_parameter_constraints(constraints, {"n": 2}, caller_name="predict")
    with pytest.raises(ValueError, match="'n' parameter of predict"):
        validate_parameter_constraints(constraints, {"n": 3}, caller_name="predict")


def test_constraints_tell_what_they_are():
    """The checks of estimators make other valid values from them."""
    assert make_constraint(None).is_satisfied_by(None)
    options = make_constraint(StrOptions({"a", "b"}))
    assert isinstance(options, Options)
    assert options.options == {"a", "b"}
    interval = make_constraint(Interval(Real, 0, 1, closed="left"))
    assert (interval.left, interval.right, interval.closed) == (0, 1, "left")


def test_rows_of_anything():
    pandas = pytest.importorskip("pandas")
    X = np.arange(6.0).reshape(3, 2)
    for table in (X, X.tolist(), pandas.DataFrame(X)):
        np.testing.assert_array_equal(
            np.asarray(safe_indexing(table, [2, 0])), X[[2, 0]]
        )
        assert num_samples(table) == 3


def test_weights_are_checked():
    X = np.zeros((3, 1))
    np.testing.assert_array_equal(_compat.check_sample_weight(None, X), np.ones(3))
    with pytest.raises(ValueError, match="sample_weight"):
        _compat.check_sample_weight(np.ones(2), X)
    zeros = np.zeros(3)
    with pytest.raises(ValueError, match="non-zero"):
        _compat.check_sample_weight(zeros, X)
    found = _compat.check_sample_weight(zeros, X, allow_all_zero_weights=True)
    np.testing.assert_array_equal(found, zeros)


def test_arrays_have_a_namespace_and_a_device():
    torch = pytest.importorskip("torch")
    if os.environ.get("SCIPY_ARRAY_API") != "1":
        pytest.skip("array API dispatch needs scipy 1.14")
    array = torch.ones(2)
    with config_context(array_api_dispatch=True):
        xp, is_array_api, device = _compat.get_namespace_and_device(array)
    assert is_array_api
    assert xp.__name__.endswith("torch")
    assert device == array.device
    assert xp.asarray([1.0], device=device, dtype=xp.float64).dtype == torch.float64


def test_routing_can_be_asked_for():
    assert not routing_enabled()
    with config_context(enable_metadata_routing=True):
        assert routing_enabled()


def test_what_a_module_of_torch_holds():
    """Networks are packed from it, with empty places and second names."""
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(2, 2, bias=False)
    module.again = module.weight
    module.register_buffer("kept", torch.ones(1))
    module.register_buffer("left_out", None, persistent=False)
    module.part = module.same_part = torch.nn.SiLU()
    module.register_module("nothing", None)
    parameters, buffers, modules, not_persistent = _compat.registered(module)
    weight, part = module.weight, module.part
    assert dict(parameters) == {"weight": weight, "bias": None, "again": weight}
    assert dict(buffers) == {"kept": module.kept, "left_out": None}
    assert dict(modules) == {"part": part, "same_part": part, "nothing": None}
    assert set(not_persistent) == {"left_out"}


def test_zuko_takes_transformations_of_our_own():
    """Of torch's kind: `call_and_ladj` is what zuko adds to them."""
    torch = pytest.importorskip("torch")
    zuko = pytest.importorskip("zuko")

    class Doubled(torch.distributions.Transform):
        domain = codomain = torch.distributions.constraints.real_vector
        bijective = True

        def _call(self, x):
            return 2 * x

        def _inverse(self, y):
            return y / 2

        def log_abs_det_jacobian(self, x, y):
            return torch.full(x.shape[:-1], x.shape[-1] * np.log(2))

    x = torch.ones(3, 2)
    y, log_det = zuko.transforms.ComposedTransform(Doubled(), Doubled()).call_and_ladj(
        x
    )
    assert (y == 4).all()
    np.testing.assert_allclose(log_det, 4 * np.log(2), rtol=1e-6)
    assert (Doubled().inv(x) == 0.5).all()


def test_continuous_flow_of_zuko_has_gradients_in_training():
    """Fisher scores train it for this, and ask for the exact trace."""
    torch = pytest.importorskip("torch")
    zuko = pytest.importorskip("zuko")
    flow = zuko.flows.CNF(2, hidden_features=(4,), exact=False).train()
    flow.transform.exact = True
    x = torch.ones(3, 2)
    log_density = flow().log_prob(x)
    assert torch.equal(log_density, flow().log_prob(x))
    gradients = torch.autograd.grad(log_density.sum(), list(flow.parameters()))
    assert all(each.abs().max() > 0 for each in gradients)
