"""Bridges: distributions between the denominator and the numerator.

Each name is imported when it is first used, for networks load torch and the paths do
not.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=["paths"],
    submod_attrs={
        "_multinomial": ["MultinomialRatio"],
        "_telescoping": ["TelescopingRatio"],
        "_time_score": ["TimeScoreRatio"],
    },
)
