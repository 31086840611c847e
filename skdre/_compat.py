"""What is not public in other packages, and what older releases of them lack.

Nothing else in the package may import a private name of another package; what is used
here, and how, is held by ``tests/test_compat.py``, which names what a release broke.
"""

from contextlib import nullcontext
from inspect import signature

import numpy as np

# Parameters are validated as scikit-learn's own estimators validate theirs.
from sklearn.base import _fit_context as fit_context

# Rows of arrays, sparse matrices and frames of any library.
from sklearn.utils import _safe_indexing as safe_indexing

# Of an array, while array API dispatch is on.
from sklearn.utils._array_api import get_namespace_and_device
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
    make_constraint,
    validate_parameter_constraints,
    validate_params,
)
from sklearn.utils.metadata_routing import _routing_enabled as routing_enabled
from sklearn.utils.validation import _check_sample_weight
from sklearn.utils.validation import _num_samples as num_samples

__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "Options",
    "StrOptions",
    "check_sample_weight",
    "fit_context",
    "get_namespace_and_device",
    "make_constraint",
    "num_samples",
    "registered",
    "routing_enabled",
    "safe_indexing",
    "validate_parameter_constraints",
    "validate_params",
    "with_callbacks",
]


# Up to 1.8 it let weights that are all zero pass.
_REFUSES_ZEROS = "allow_all_zero_weights" in signature(_check_sample_weight).parameters


def check_sample_weight(
    sample_weight,
    X,
    *,
    dtype=None,
    ensure_non_negative=False,
    allow_all_zero_weights=False,
):
    """One weight for each row of X, ones for None; refused if all of them are zero."""
    allow = {"allow_all_zero_weights": allow_all_zero_weights}
    weight = _check_sample_weight(
        sample_weight,
        X,
        dtype=dtype,
        ensure_non_negative=ensure_non_negative,
        **(allow if _REFUSES_ZEROS else {}),
    )
    if not (_REFUSES_ZEROS or allow_all_zero_weights or np.any(weight)):
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def registered(module):
    """What a torch module holds of its own.

    Its parameters, buffers and modules by name, and the names of the buffers that are
    no part of its state. Torch lists them, but for empty places and second names.
    """
    return (
        module._parameters,
        module._buffers,
        module._modules,
        module._non_persistent_buffers_set,
    )


try:  # scikit-learn >= 1.9
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class _NoCallbackContext:
        """Context of a task that nobody listens to."""

        def subcontext(self, **kwargs):
            return self

        def call_on_fit_task_begin(self, **kwargs):
            return None

        def call_on_fit_task_end(self, **kwargs):
            return False

        def propagate_callback_context(self, sub_estimator):
            return nullcontext()

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand-in whose callback context does nothing."""

        def _init_callback_context(self, **kwargs):
            return _NoCallbackContext()

    def with_callbacks(method):
        return method
