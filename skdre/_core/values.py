"""Arrays that would silently be taken for what they are not."""

import numpy as np

__all__ = ["refuse_complex", "refuse_masked"]


def refuse_masked(values, name):
    """Refuse a masked array with masked entries, whose data would be taken for values.

    Parameters
    ----------
    values : object
    name : str
        What it is called in the message.

    Raises
    ------
    ValueError
        If an entry is masked.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ValueError(
            f"{name} is a masked array with {np.ma.count_masked(values)} masked "
            "entries, which would count with the data under the mask: fill them, as "
            f"with {name}.astype(float).filled(numpy.nan), and impute, or leave them "
            "out."
        )


def refuse_complex(values, name):
    """Refuse complex numbers, of which the imaginary part would be dropped.

    Parameters
    ----------
    values : object
    name : str
        What it is called in the message.

    Raises
    ------
    ValueError
        If they are complex.
    """
    if np.asarray(values).dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} must hold real numbers, got complex "
            "ones."
        )
