"""Shifts with a known log ratio, shifts made from labelled data, and real data sets."""

from skdre.datasets._problems import (
    known_ratio_problems,
    make_known_ratio,
    make_mixture_shift,
    make_product_shift,
    make_ring_shift,
)
from skdre.datasets._real import (
    load_blood_transfusion,
    load_breast_cancer_wisconsin,
    load_white_wine_quality,
)
from skdre.datasets._shifts import (
    SelectionShift,
    Shift,
    make_selection_shift,
    make_warped_shift,
)

__all__ = [
    "SelectionShift",
    "Shift",
    "known_ratio_problems",
    "load_blood_transfusion",
    "load_breast_cancer_wisconsin",
    "load_white_wine_quality",
    "make_known_ratio",
    "make_mixture_shift",
    "make_product_shift",
    "make_ring_shift",
    "make_selection_shift",
    "make_warped_shift",
]
