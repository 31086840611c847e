"""Density ratios from classifiers that tell the two samples apart.

Each name is imported when it is first used, for networks load torch and
:class:`ClassifierRatio` does not.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_classifier": ["ClassifierRatio"],
        "_gaussian": ["GaussianRatio"],
        "_mlp": ["MLPRatio"],
    },
)
