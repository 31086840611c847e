"""Torch modules as plain data, which every format can store.

A module is a class, numbers and further modules. Stored as such, a fitted network needs
no pickle: :mod:`skops.io` saves and loads it, and what is left to be trusted are names.
"""

import copy
import importlib
import inspect
from typing import Any

import numpy as np
import torch

from skdre._compat import registered
from skdre._nn.settings import usual_torch

__all__ = ["pack_modules", "unpack_modules"]

_MODULE, _TENSOR = "torch.nn.Module", "torch.Tensor"

# Refers to a tensor or module that was packed before, by its number.
_SAME_AS = "same as"


def _name(cls):
    return f"{cls.__module__}.{cls.__qualname__}"


# Classes that are made again by name. Others are left to pickle. A list and not a
# prefix, for what modules import lies below their names as well.
_OURS = {
    "skdre.time_score._networks.GaussianScore",
    "skdre.time_score._networks.SumOfScores",
    "skdre.time_score._networks.TimeMLP",
    "skdre.waymarks._networks.BridgeEnsemble",
    "skdre.waymarks._networks.ClassEnsemble",
    "skdre.flows._autoregressive.MaskedLinear",
    "skdre.flows._autoregressive.SpreadAutoregressive",
    "skdre.flows._gaussian.GaussianFlow",
    "skdre.flows._gaussian._LazyAffine",
    "skdre.flows._images.ImageFlow",
    "skdre.flows._images._LazyMultiScale",
    "skdre.flows._images._Rotation",
    "skdre.flows._images._Step",
    "skdre.flows._transforms.Bound",
    "skdre.flows._transforms.Chain",
    "skdre.flows._transforms.Continuous",
    "skdre.flows._transforms.Coupling",
    "skdre._nn.networks.EnsembleLinear",
    "skdre._nn.networks.EnsembleMLP",
    "skdre._nn.networks.OneMember",
    "skdre._nn.unet.UNet",
    "skdre._nn.unet._Block",
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
# A part of MultiheadAttention.
_OF_TORCH.add("torch.nn.modules.linear.NonDynamicallyQuantizableLinear")
_KNOWN = _OURS | _OF_ZUKO | _OF_TORCH

# What torch keeps for hooks and compilation, made by the constructor.
_OWN = set(vars(torch.nn.Module()))


def _is_known(module):
    # Hooks are the user's functions, which are left to pickle too.
    hooked = any(getattr(module, each, None) for each in _OWN if "hooks" in each)
    return _name(type(module)) in _KNOWN and not hooked


def _attributes(module):
    # Recurrent layers leave out what no format stores; object has no such method in
    # Python 3.10.
    return module.__getstate__() if hasattr(module, "__getstate__") else vars(module)


class _Packer:
    """Packs the values of one state; what stands in several places stays one thing."""

    def __init__(self):
        # Tensors and modules by identity, with their numbers. They are kept alive, for
        # identities are used again.
        self.seen = {}

    def number(self, value):
        """Number of a tensor or module, and whether it is new."""
        is_new = id(value) not in self.seen
        number, _ = self.seen.setdefault(id(value), (len(self.seen), value))
        return number, is_new

    def tensor(self, tensor):
        if tensor is None:
            return None
        number, is_new = self.number(tensor)
        if not is_new:
            return {_SAME_AS: number}
        return {
            "number": number,
            # A copy: the estimator may go on to be trained.
            "values": tensor.detach().cpu().numpy().copy(),
            "requires_grad": bool(tensor.requires_grad),
            "parameter": isinstance(tensor, torch.nn.Parameter),
        }

    def module(self, module):
        number, is_new = self.number(module)
        if not is_new:
            return {_SAME_AS: number}
        parameters, buffers, modules, not_persistent = registered(module)
        return {
            "number": number,
            "module": type(module).__module__,
            "class": type(module).__qualname__,
            "training": module.training,
            "parameters": {n: self.tensor(each) for n, each in parameters.items()},
            "buffers": {n: self.tensor(each) for n, each in buffers.items()},
            "not_persistent": sorted(not_persistent),
            "modules": {n: self(each) for n, each in modules.items()},
            "attributes": {
                name: self(each)
                for name, each in _attributes(module).items()
                if name not in _OWN
            },
        }

    def __call__(self, value):
        if isinstance(value, torch.nn.Module):
            # With an unknown part it stays as a whole, and what is shared stays so.
            if all(_is_known(each) for each in value.modules()):
                return {_MODULE: self.module(value)}
            on_device = any(each.device.type != "cpu" for each in value.parameters())
            return copy.deepcopy(value).cpu() if on_device else value
        if isinstance(value, torch.Tensor):
            return {_TENSOR: self.tensor(value)}
        if type(value) in (list, tuple):
            return type(value)(self(each) for each in value)
        return value


def _class_of(packed):
    name = f"{packed['module']}.{packed['class']}"
    # Looked up before anything is imported: a file could ask for anything.
    if name not in _KNOWN or "." in packed["class"]:
        raise ValueError(
            f"A file asks for a network of class {name!r}, which is not among the "
            "classes of skdre, zuko and torch that networks are made of."
        )
    return getattr(importlib.import_module(packed["module"]), packed["class"])


class _Unpacker:
    """Undoes a :class:`_Packer`, in the same order."""

    def __init__(self):
        self.made = {}

    def tensor(self, packed):
        if packed is None:
            return None
        if set(packed) == {_SAME_AS}:
            return self.made[packed[_SAME_AS]]
        tensor = torch.from_numpy(np.array(packed["values"]))
        if packed["parameter"]:
            tensor = torch.nn.Parameter(tensor, requires_grad=packed["requires_grad"])
        else:
            tensor.requires_grad_(packed["requires_grad"])
        self.made[packed["number"]] = tensor
        return tensor

    def module(self, packed):
        if set(packed) == {_SAME_AS}:
            return self.made[packed[_SAME_AS]]
        cls = _class_of(packed)
        module = cls.__new__(cls)
        torch.nn.Module.__init__(module)
        self.made[packed["number"]] = module
        for name, each in packed["parameters"].items():
            module.register_parameter(name, self.tensor(each))
        for name, each in packed["buffers"].items():
            persistent = name not in packed["not_persistent"]
            module.register_buffer(name, self.tensor(each), persistent=persistent)
        for name, each in packed["modules"].items():
            module.add_module(name, self(each))
        for name, each in packed["attributes"].items():
            module.__dict__[name] = self(each)
        module.training = packed["training"]
        # Recurrent layers find their weights again.
        module.__setstate__(dict(vars(module)))
        return module

    def __call__(self, value):
        if type(value) in (list, tuple):
            return type(value)(self(each) for each in value)
        if not isinstance(value, dict):
            return value
        if set(value) == {_TENSOR}:
            return self.tensor(value[_TENSOR])
        if set(value) == {_MODULE}:
            return self.module(value[_MODULE])
        return value


def pack_modules(state: dict[str, Any]) -> dict[str, Any]:
    """Replace the modules among an estimator's attributes by what they are made of.

    Modules of this package, of zuko and of torch, on any device, become dicts of
    numbers, strings and arrays; a tensor or module that stands in several places is
    packed once. Modules of other packages, and those with hooks, stay, on the CPU.
    """
    pack = _Packer()
    return {name: pack(value) for name, value in state.items()}


def unpack_modules(packed: dict[str, Any]) -> dict[str, Any]:
    """Undo :func:`pack_modules`; the modules lie on the CPU.

    ValueError if a class is asked for that is not in the table of known ones.
    """
    with usual_torch(grad=False):
        unpack = _Unpacker()
        return {name: unpack(value) for name, value in packed.items()}
