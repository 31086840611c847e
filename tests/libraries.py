"""Array libraries and their devices, for tests of array API dispatch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

LIBRARIES = (
    ("numpy", None),
    # Its devices are pretended, and it refuses to mix them.
    ("array_api_strict", "device1"),
    ("torch", "cpu"),
    ("torch", "cuda"),
    ("cupy", None),
)


@dataclass(frozen=True)
class Library:
    """A library of arrays, and one of its devices."""

    name: str
    xp: Any
    device: Any

    def put(self, values, dtype=None):
        """NumPy's array there."""
        values = np.asarray(values, dtype)
        if self.name == "numpy":
            return values
        return self.xp.asarray(values, device=self.device)

    def holds(self, array):
        """Whether an array is of the library and on the device."""
        if self.name == "numpy":
            return isinstance(array, np.ndarray)
        if self.name == "torch":
            is_there = str(array.device).partition(":")[0] == self.device
            return isinstance(array, self.xp.Tensor) and is_there
        return type(array) is type(self.put([0.0])) and (
            self.device is None or array.device == self.device
        )

    def get(self, array):
        """An array from there, in NumPy."""
        assert self.holds(array), type(array)
        if self.name == "torch":
            return array.cpu().numpy()
        if self.name == "array_api_strict":
            return np.asarray(array.to_device(self.xp.Device("CPU_DEVICE")))
        return array.get() if self.name == "cupy" else array


def library(name, device):
    """The library, or a skip where it or the device is not at hand."""
    if name == "numpy":
        return Library(name, np, None)
    xp = pytest.importorskip(name)
    if device == "cuda" and not xp.cuda.is_available():
        pytest.skip("no CUDA device")
    if name == "cupy" and xp.cuda.runtime.getDeviceCount() == 0:
        pytest.skip("no CUDA device")
    return Library(name, xp, xp.Device(device) if hasattr(xp, "Device") else device)
