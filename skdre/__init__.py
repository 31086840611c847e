"""Density-ratio estimation for scikit-learn.

The public names stand in ``__init__.pyi``; each is imported when it is first used, so
that ``import skdre`` and the kernel estimators load neither torch nor cvxpy nor
matplotlib (SPEC 1, Scientific Python).
"""

import lazy_loader as _lazy

from skdre._version import __version__

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
__all__ += ["__version__"]
