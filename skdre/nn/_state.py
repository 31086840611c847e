"""Torch modules as plain data, which every format can store.

A module is a class, numbers and further modules. Stored as such, a fitted network needs
no pickle: :mod:`skops.io` saves and loads it, and what is left to be trusted are names.
"""

import copy
import importlib
import inspect

import numpy as np
import torch

from skdre.nn._settings import usual_torch

__all__ = ["pack_modules", "unpack_modules"]

_MODULE, _TENSOR = "torch.nn.Module", "torch.Tensor"


def _name(cls):
    return f"{cls.__module__}.{cls.__qualname__}"


# Classes that are made again by name. Others stay what they are: pickle knows them. A
# list and not a prefix, for what modules import lies below their names as well.
_OURS = {
    "skdre.bridges._time_networks.GaussianScore",
    "skdre.bridges._time_networks.SumOfScores",
    "skdre.bridges._time_networks.TimeMLP",
    "skdre.bridges._training.BridgeEnsemble",
    "skdre.flows._autoregressive.SpreadAutoregressive",
    "skdre.flows._flows._Bound",
    "skdre.flows._flows._ContinuousTransform",
    "skdre.flows._gaussian.GaussianFlow",
    "skdre.flows._gaussian._LazyAffine",
    "skdre.nn._networks.EnsembleLinear",
    "skdre.nn._networks.EnsembleMLP",
}
_OF_ZUKO = {
    f"zuko.{name}"
    for name in (
        "flows.autoregressive.MAF",
        "flows.autoregressive.MaskedAutoregressiveTransform",
        "flows.continuous.CNF",
        "flows.continuous.FFJTransform",
        "flows.coupling.GeneralCouplingTransform",
        "flows.coupling.NICE",
        "flows.coupling.RealNVP",
        "flows.gaussianization.ElementWiseTransform",
        "flows.gaussianization.GF",
        "flows.neural.MNN",
        "flows.neural.NAF",
        "flows.neural.UMNN",
        "flows.neural.UNAF",
        "flows.polynomial.BPF",
        "flows.polynomial.SOSPF",
        "flows.spline.NCSF",
        "flows.spline.NSF",
        "lazy.Flow",
        "lazy.LazyComposedTransform",
        "lazy.LazyInverse",
        "lazy.UnconditionalDistribution",
        "lazy.UnconditionalTransform",
        "mixtures.GMM",
        "nn.LayerNorm",
        "nn.Linear",
        "nn.MLP",
        "nn.MaskedLinear",
        "nn.MaskedMLP",
        "nn.MonotonicLinear",
        "nn.MonotonicMLP",
        "nn.Residual",
        "nn.TwoWayELU",
    )
}
_OF_TORCH = {
    _name(each)
    for each in vars(torch.nn).values()
    if inspect.isclass(each) and issubclass(each, torch.nn.Module)
}
_KNOWN = _OURS | _OF_ZUKO | _OF_TORCH

# What torch keeps for hooks and compilation, made anew by the constructor.
_OWN = set(vars(torch.nn.Module()))


def _is_known(module):
    # Hooks are functions of the user's, which are left to pickle too.
    hooked = any(getattr(module, each, None) for each in _OWN if "hooks" in each)
    return _name(type(module)) in _KNOWN and not hooked


def _pack_tensor(tensor):
    if tensor is None:
        return None
    return {
        # A copy: the estimator may go on to be trained.
        "values": tensor.detach().cpu().numpy().copy(),
        "requires_grad": bool(tensor.requires_grad),
    }


def _pack(value):
    if isinstance(value, torch.nn.Module):
        if not _is_known(value):
            on_device = any(each.device.type != "cpu" for each in value.parameters())
            return copy.deepcopy(value).cpu() if on_device else value
        return {
            _MODULE: {
                "module": type(value).__module__,
                "class": type(value).__qualname__,
                "training": value.training,
                "parameters": {
                    name: _pack_tensor(each) for name, each in value._parameters.items()
                },
                "buffers": {
                    name: _pack_tensor(each) for name, each in value._buffers.items()
                },
                "not_persistent": sorted(value._non_persistent_buffers_set),
                "modules": {name: _pack(each) for name, each in value._modules.items()},
                "attributes": {
                    name: _pack(each)
                    for name, each in vars(value).items()
                    if name not in _OWN
                },
            }
        }
    if isinstance(value, torch.Tensor):
        return {_TENSOR: _pack_tensor(value)}
    if type(value) in (list, tuple):
        return type(value)(_pack(each) for each in value)
    return value


def _unpack_tensor(packed, *, parameter):
    if packed is None:
        return None
    tensor = torch.from_numpy(np.array(packed["values"]))
    if parameter:
        return torch.nn.Parameter(tensor, requires_grad=packed["requires_grad"])
    return tensor.requires_grad_(packed["requires_grad"])


def _class_of(packed):
    name = f"{packed['module']}.{packed['class']}"
    # Looked up before anything is imported: a file could ask for anything.
    if name not in _KNOWN or "." in packed["class"]:
        raise ValueError(
            f"A file asks for a network of class {name!r}, which is not among the "
            "classes of skdre, zuko and torch that networks are made of."
        )
    return getattr(importlib.import_module(packed["module"]), packed["class"])


def _unpack(value):
    if type(value) in (list, tuple):
        return type(value)(_unpack(each) for each in value)
    if not isinstance(value, dict):
        return value
    if set(value) == {_TENSOR}:
        return _unpack_tensor(value[_TENSOR], parameter=False)
    if set(value) != {_MODULE}:
        return value
    value = value[_MODULE]
    cls = _class_of(value)
    module = cls.__new__(cls)
    torch.nn.Module.__init__(module)
    for name, each in value["attributes"].items():
        module.__dict__[name] = _unpack(each)
    for name, each in value["parameters"].items():
        module.register_parameter(name, _unpack_tensor(each, parameter=True))
    for name, each in value["buffers"].items():
        module.register_buffer(
            name,
            _unpack_tensor(each, parameter=False),
            persistent=name not in value["not_persistent"],
        )
    for name, each in value["modules"].items():
        module.add_module(name, _unpack(each))
    module.training = value["training"]
    return module


def pack_modules(state):
    """Replace the modules among the values of a state by what they are made of.

    Parameters
    ----------
    state : dict
        Attributes of an estimator.

    Returns
    -------
    packed : dict
        Of numbers, strings, arrays and dicts where there were modules of this package,
        of zuko and of torch, on any device. Others stay, on the CPU: those of other
        packages, and those with hooks.
    """
    return {name: _pack(value) for name, value in state.items()}


def unpack_modules(packed):
    """Undo :func:`pack_modules`; the modules lie on the CPU.

    Parameters
    ----------
    packed : dict
        As :func:`pack_modules` gives it.

    Returns
    -------
    state : dict

    Raises
    ------
    ValueError
        If a class that is asked for is not in the table of known ones.
    """
    with usual_torch(grad=False):
        return {name: _unpack(value) for name, value in packed.items()}
