"""Settings of the whole suite, and fits that tests share."""

import os
import random
import sys
from importlib.metadata import version

# Before numpy is imported by anything. Fits here are small: more threads than there are
# cores only wait for each other, and take many times the CPU time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

# Before scipy is imported by anything, or scikit-learn's checks of the array API are
# skipped. Older releases of scipy have no such support.
if tuple(map(int, version("scipy").split(".")[:2])) >= (1, 14):
    os.environ.setdefault("SCIPY_ARRAY_API", "1")

import pytest
from hypothesis import settings

# A busy machine is no fault of an example: without this a pause of 200 ms is one.
settings.register_profile("skdre", deadline=None)
settings.load_profile("skdre")

# These ask about the fit itself, or fit a fitted estimator again.
FIT_ANEW = {
    "check_fit_is_repeatable",
    "check_global_seeds",
    "check_failed_fit_changes_nothing",
}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """What draws without a seed draws the same, whichever tests ran before it."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.default_generator.manual_seed(0)


@pytest.fixture(scope="module")
def fits():
    """Fits of one estimator, by what they were given."""
    return {}


@pytest.fixture
def shared_fits(fits, request, monkeypatch):
    """Fit once what many checks fit alike; that fits repeat is a check of its own."""
    # Not above: the process that hands tests out would load all of it too.
    import numpy as np

    from skdre.utils import _check_tools, _weight_checks, estimator_checks
    from skdre.utils._check_tools import fit

    estimator, check = (request.getfixturevalue(n) for n in ("estimator", "check"))
    if check.__name__ in FIT_ANEW:
        return
    if fits.get("estimator") is not estimator:
        fits.clear()
        fits["estimator"] = estimator

    def shared(given, X, y, sample_weight=None, seed=0):
        if given is not estimator or not isinstance(X, np.ndarray):
            return fit(given, X, y, sample_weight, seed)
        weight = None if sample_weight is None else sample_weight.tobytes()
        key = X.shape, X.tobytes(), y.dtype, repr(y.tolist()), weight, seed
        if key not in fits:
            fits[key] = fit(given, X, y, sample_weight, seed)
        return fits[key]

    for module in (estimator_checks, _check_tools, _weight_checks):
        monkeypatch.setattr(module, "fit", shared)
