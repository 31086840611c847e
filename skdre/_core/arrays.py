"""Where arrays live: their library and their device.

Under ``sklearn.config_context(array_api_dispatch=True)`` results follow the library and
the device of the rows: NumPy, PyTorch, CuPy and others of the array API standard.
Without it everything is NumPy, and nothing here does anything.

What is small, or sorts, is done in NumPy on the host; sums over rows and predictions
are formed where the rows are. The two meet in :class:`Place`: ``place.put`` moves what
NumPy has found to the rows, :func:`to_numpy` brings sums back.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import wraps
from importlib import import_module
from typing import Any

import numpy as np

__all__ = [
    "HOST",
    "ArrayAPIMixin",
    "Place",
    "check_same_place",
    "follows_rows",
    "number",
    "on_host",
    "place_of",
    "to_host",
    "to_numpy",
]

# Libraries whose arrays are known by their type; those of others have a namespace.
_LIBRARIES = ("torch", "cupy", "dpnp")

# Functions of the standard that are called here and there. A library may lack some.
_NEEDED = (
    *("abs", "all", "any", "asarray", "astype", "clip", "concat", "exp", "isfinite"),
    *("isinf", "isnan", "log", "log1p", "logaddexp", "matmul", "max", "maximum", "min"),
    *("minimum", "ones", "sqrt", "stack", "sum", "take", "where", "zeros"),
)


@dataclass(frozen=True)
class Place:
    """A library of arrays and a device of it.

    Attributes
    ----------
    xp : module
        Namespace of the array API, or NumPy itself.
    device : object
        As the library names it; None for NumPy.
    dtype : dtype
        The most precise floats there: double precision, but for devices without it.

    Examples
    --------
    >>> from skdre._core.arrays import HOST, place_of
    >>> place_of([[1.0], [2.0]]) is HOST
    True
    """

    xp: Any
    device: Any
    dtype: Any

    @property
    def is_host(self) -> bool:
        """Whether arrays are NumPy's."""
        return self.xp is np

    @property
    def is_accelerator(self) -> bool:
        """Whether arrays are on a device that is at its best with large ones."""
        return not self.is_host and "cpu" not in str(self.device).lower()

    def is_that_of(self, other: "Place") -> bool:
        return self.xp is other.xp and bool(self.device == other.device)

    def __str__(self) -> str:
        if self.is_host:
            return "an array of numpy"
        name = self.xp.__name__.rpartition("array_api_compat.")[2]
        return f"an array of {name} on the device {self.device}"

    def put(self, values: Any) -> Any:
        """Array, number or dataclass of arrays here, floats as the most precise ones.

        Numbers and None stay what they are, and what is here already is not copied.
        """
        if is_dataclass(values) and not isinstance(values, type):
            changed = {
                each.name: self.put(getattr(values, each.name))
                for each in fields(values)
            }
            return replace(values, **changed)
        if isinstance(values, tuple):
            return tuple(map(self.put, values))
        if not (isinstance(values, np.ndarray) or is_foreign(values)):
            return values
        if self.is_host:
            return to_numpy(values)
        if is_foreign(values) and place_of(values).is_that_of(self):
            if _is_float(values, self.xp) and values.dtype != self.dtype:
                return self.xp.astype(values, self.dtype)
            return values
        return self._from_numpy(to_numpy(values))

    def _from_numpy(self, values):
        # Not every library takes arrays of negative strides, or that are read-only.
        if not values.flags.c_contiguous or not values.flags.writeable:
            values = np.array(values, order="C")
        dtype = self.dtype if values.dtype.kind == "f" else None
        return self.xp.asarray(values, dtype=dtype, device=self.device)

    def float_of(self, dtype: Any) -> Any:
        """Type of floats here that NumPy's stands for."""
        return self.xp.float32 if np.dtype(dtype) == np.float32 else self.dtype

    def cast(self, arrays: tuple[Any, ...], dtype: Any) -> tuple[Any, ...]:
        """Arrays here as floats of a type."""
        if self.is_host:
            return tuple(each.astype(dtype) for each in arrays)
        return tuple(self.xp.astype(each, dtype, copy=False) for each in arrays)

    def full(self, shape: Any, value: float) -> Any:
        """Array of one value."""
        if self.is_host:
            return np.full(shape, value, self.dtype)
        return self.xp.full(shape, value, dtype=self.dtype, device=self.device)


HOST = Place(np, None, np.float64)


def is_dispatching() -> bool:
    """Whether array API dispatch is on, without loading scikit-learn to ask."""
    sklearn = sys.modules.get("sklearn")
    return sklearn is not None and sklearn.get_config()["array_api_dispatch"]


def is_foreign(values: Any) -> bool:
    """Whether values are an array of a library other than NumPy.

    Lists and frames are none, nor are collections of chunks.
    """
    if isinstance(values, np.ndarray | np.generic):
        return False
    library = type(values).__module__.partition(".")[0]
    if library in _LIBRARIES:
        return hasattr(values, "shape") and hasattr(values, "dtype")
    return library != "dask" and hasattr(type(values), "__array_namespace__")


def _is_float(values, xp):
    return xp.isdtype(values.dtype, "real floating")


def to_numpy(values: Any) -> Any:
    """An array of any library and device in NumPy; anything else as it is.

    Examples
    --------
    >>> import torch
    >>> from skdre._core.arrays import to_numpy
    >>> to_numpy(torch.ones(2))
    array([1., 1.], dtype=float32)
    """
    if not is_foreign(values):
        return values
    if hasattr(values, "detach"):  # torch
        values = values.detach().cpu()
        # NumPy does not know all of its types.
        return (values.float() if "bfloat" in str(values.dtype) else values).numpy()
    if hasattr(values, "get"):  # CuPy
        return values.get()
    if hasattr(values, "asnumpy"):  # dpnp
        return values.asnumpy()
    xp = values.__array_namespace__()
    if hasattr(xp, "Device"):  # array-api-strict, whose other devices are pretended
        values = values.to_device(xp.Device("CPU_DEVICE"))
    return np.asarray(values)


def number(value: Any) -> Any:
    """A number of NumPy from an array of any library without dimensions.

    Examples
    --------
    >>> import torch
    >>> from skdre._core.arrays import number
    >>> number(torch.tensor(2.0)).item()
    2.0
    """
    return to_numpy(value)[()]


def to_host(values: Any) -> Any:
    """:func:`to_numpy` where array API dispatch is on; otherwise as they came.

    Raises
    ------
    TypeError
        If it is off and NumPy cannot read the array, which is on a device of its own.
    """
    if is_dispatching():
        return to_numpy(values)
    if is_foreign(values):
        try:
            np.asarray(values)
        except (TypeError, RuntimeError, ValueError) as error:
            kind = f"{type(values).__module__}.{type(values).__qualname__}"
            raise TypeError(
                f"NumPy cannot read an array of type {kind} on the device "
                f"{getattr(values, 'device', None)}: {error} To let results follow "
                "such arrays turn array API dispatch on, "
                "sklearn.set_config(array_api_dispatch=True); or convert them, as with "
                "X.cpu() for PyTorch."
            ) from error
    return values


def place_of(values: Any) -> Place:
    """Where an array lives, if results shall follow it.

    Parameters
    ----------
    values : array-like

    Returns
    -------
    place : Place
        :data:`HOST` for what is no array of another library, and for all there is where
        array API dispatch is off.

    Raises
    ------
    TypeError
        If the library lacks functions that are needed.
    """
    if not is_dispatching() or not is_foreign(values):
        return HOST
    # Here, for weights and losses are light: they load NumPy alone.
    from skdre._compat import get_namespace_and_device

    try:
        xp, _, device = get_namespace_and_device(values)
        missing = [name for name in _NEEDED if not hasattr(xp, name)]
    except TypeError as error:
        missing = [str(error)]
    if missing:
        kind = f"{type(values).__module__}.{type(values).__qualname__}"
        raise TypeError(
            f"Arrays of type {kind} cannot be computed with, as their library lacks "
            f"functions of the array API: {', '.join(missing)}. Take PyTorch or CuPy, "
            "or convert the arrays with numpy.asarray."
        )
    return Place(xp, device, _most_precise(xp, device))


def _most_precise(xp, device):
    if not hasattr(xp, "__array_namespace_info__"):
        return xp.float64
    found = xp.__array_namespace_info__().dtypes(kind="real floating", device=device)
    return found.get("float64", xp.float32)


def on_host(X: Any, *others: Any) -> tuple[Any, ...]:
    """Where the rows live, and everything in NumPy.

    Labels and weights of any library and device go with the rows.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    *others : array-like of shape (n_samples,) or None

    Returns
    -------
    place : Place
    X, *others : array-like
        As they came where array API dispatch is off.

    Examples
    --------
    >>> from skdre._core.arrays import on_host
    >>> place, X, y = on_host([[1.0], [2.0]], [0, 1])
    >>> place.is_host, X
    (True, [[1.0], [2.0]])
    """
    return (place_of(X), *map(to_host, (X, *others)))


def follows_rows(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a method of rows that computes elsewhere: results go to the rows.

    Parameters
    ----------
    method : function
        Its arguments are the estimator and rows; it gives an array for NumPy's rows.

    Returns
    -------
    decorated : function
        With the signature and the docstring of `method`. For rows of another library,
        under array API dispatch, results are of this library and on the device of the
        rows.
    """

    @wraps(method)
    def method_of_rows(self, X, *args, **kwargs):
        place = place_of(X)
        if place.is_host:
            return method(self, X, *args, **kwargs)
        return place.put(method(self, to_numpy(X), *args, **kwargs))

    return method_of_rows


def check_same_place(estimator: Any, X: Any, method: str) -> None:
    """Refuse rows that live elsewhere than those that an estimator was fitted to.

    Parameters
    ----------
    estimator : estimator
        Fitted, with a method ``_reference_array``; others take rows from anywhere.
    X : array-like of shape (n_samples, n_features)
    method : str
        That was called.

    Raises
    ------
    ValueError
        If the library or the device is another, and array API dispatch is on.
    """
    if not (is_dispatching() and hasattr(estimator, "_reference_array")):
        return
    here, there = place_of(X), place_of(estimator._reference_array())
    if here.is_that_of(there):
        return
    remedy = f"as with xp.asarray(X, device={there.device!r})"
    if there.is_host:
        remedy = "as with numpy.asarray(X)"
    raise ValueError(
        f"Inputs passed to {type(estimator).__name__}.{method}() must use the same "
        "namespace and the same device as those passed to fit(): it was fitted to "
        f"{there}, and X is {here}. Move X there, {remedy}, or fit "
        "again where X is. With array_api_dispatch=False rows of NumPy are taken "
        "whatever the fit was on."
    )


# Fitted arrays that may hold words.
_WORDS = ("classes_", "feature_names_in_")


def _name_of_place(array):
    """Library and device of an array in words, which can be saved."""
    library = type(array).__module__.partition(".")[0]
    if library == "torch":
        return library, str(array.device)
    if library == "array_api_strict":
        return library, str(array.device).split("'")[1]
    return library, None


def _named_place(library, device):
    """The place of these names; None where it is not at hand."""
    if library not in (*_LIBRARIES, "array_api_strict"):
        return None
    try:
        xp = import_module(library)
        if hasattr(xp, "Device"):
            device = xp.Device(device)
        # Arrays keep their precision.
        place = _Anew(xp, device, None)
        place.put(np.zeros(1))
    except (ImportError, RuntimeError, AssertionError, TypeError, ValueError):
        return None
    return place


class _Anew(Place):
    """A place that arrays are taken to whatever the settings."""

    def put(self, values):
        return super().put(HOST.put(values))

    def _from_numpy(self, values):
        if self.device is None:
            return self.xp.asarray(values)
        return super()._from_numpy(values)


class ArrayAPIMixin:
    """For estimators whose results follow the library and the device of the rows.

    Fitted arrays are of the library and on the device of the rows of the fit, except
    the labels. A subclass defines ``_reference_array()``, one of them. A saved
    estimator holds NumPy's arrays, and takes them back to the library and the device
    when it is loaded, if they are there.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from skdre.base import ArrayAPIMixin
    >>> class Mean(ArrayAPIMixin, BaseEstimator):
    ...     def fit(self, X, y=None):
    ...         self.mean_ = sum(X) / len(X)
    ...         return self
    ...     def _reference_array(self):
    ...         return self.mean_
    >>> Mean().__sklearn_tags__().array_api_support
    True
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags

    def __getstate__(self):
        state = super().__getstate__()
        try:
            array = self._reference_array()
        except AttributeError:  # not fitted
            return state
        if not is_foreign(array):
            return state
        state = {name: HOST.put(value) for name, value in state.items()}
        return state | {"_saved_from": _name_of_place(array)}

    def __setstate__(self, state):
        state = dict(state)
        name = state.pop("_saved_from", None)
        super().__setstate__(state)
        if name is not None and (place := _named_place(*name)) is not None:
            self._move_results(place)

    def _move_results(self, place):
        """Move fitted arrays to a place; the labels stay in NumPy, which has words."""
        for name, value in list(vars(self).items()):
            if name.endswith("_") and name not in _WORDS:
                setattr(self, name, place.put(value))
