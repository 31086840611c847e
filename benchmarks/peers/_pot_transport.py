"""Exact optimal transport of a sample onto another, by POT.

    python _pot_transport.py INPUT.npz OUTPUT.npy

INPUT holds `source`, `target`, and the `rows` that are moved: those of the source by
the plan, others as their nearest neighbours in it.
"""

import sys

import numpy as np
import ot

with np.load(sys.argv[1]) as given:
    plan = ot.da.EMDTransport().fit(Xs=given["source"], Xt=given["target"])
    np.save(sys.argv[2], plan.transform(Xs=given["rows"]))
