"""Arrays that would silently be taken for what they are not."""

import numpy as np

__all__ = ["refuse_complex", "refuse_masked"]


def refuse_masked(values, name):
    """Refuse masked entries, whose data would be taken for values."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ValueError(
            f"{name} is a masked array with {np.ma.count_masked(values)} masked "
            "entries, which would count with the data under the mask: fill them, as "
            f"with {name}.astype(float).filled(numpy.nan), and impute, or leave them "
            "out."
        )


def refuse_complex(values, name):
    """Refuse complex numbers, of which the imaginary part would be dropped."""
    if np.asarray(values).dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} must hold real numbers, got complex "
            "ones."
        )
