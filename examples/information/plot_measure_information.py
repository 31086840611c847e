"""
How much blocks of measurements tell of each other
==================================================

Each tumour of the breast-cancer data has ten properties of its cell nuclei, measured as
a mean over the nuclei, as a standard error and as the mean of the three worst. How much
does one block know of another? The numerator is the joint law of the two blocks, the
denominator that of blocks of two unrelated tumours; the mutual information is the mean
of the log ratio over the numerator, in nats.

A case with known truth comes first: without one there is no telling whether an estimate
from so few rows of so many columns means anything.
"""

# %%
# Known truth
# -----------
# As many rows as the data has. Two vectors of five columns, correlated in two pairs of
# columns, seen through a map of each column, which changes no information.

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer

from skdre import mutual_information

rng = np.random.default_rng(0)
n, rho = 569, 0.8
X, noise = rng.normal(size=(2, n, 5))
Y = noise.copy()
Y[:, :2] = rho * X[:, :2] + np.sqrt(1 - rho**2) * noise[:, :2]
truth = -np.log(1 - rho**2)
known = mutual_information(np.exp(X), Y**3, cv=3, random_state=0)
print(f"known truth: {truth:.2f} nats, estimate {known}")

# %%
# Blocks of measurements
# ----------------------
# Size (radius and texture; perimeter and area are all but functions of the radius, and
# the information of functions of each other is infinite) and shape (smoothness,
# concavity, symmetry). Variables must be continuous: the few tumours whose concavity is
# 0 are left out, and what was rounded off is put back at random.

data = load_breast_cancer(as_frame=True).data
data = data[data["mean concavity"] > 0]
size, shape = ["radius", "texture"], ["smoothness", "concavity", "symmetry"]


rng = np.random.default_rng(1)


def block(prefix, names):
    values = data[[f"{prefix} {name}" for name in names]].to_numpy()
    digit = [np.diff(np.unique(each)).min() for each in values.T]
    return values + rng.uniform(-0.5, 0.5, values.shape) * digit


blocks = {
    "mean size, worst size": (block("mean", size), block("worst", size)),
    "mean shape, worst shape": (block("mean", shape), block("worst", shape)),
    "mean size, mean shape": (block("mean", size), block("mean", shape)),
    "mean size, shape of others": (
        block("mean", size),
        rng.permutation(block("mean", shape)),
    ),
}
found = {
    name: mutual_information(*pair, cv=3, random_state=0)
    for name, pair in blocks.items()
}
for name, estimate in found.items():
    print(f"{name:28} {estimate}")

# %%
# The same property in the mean and in the worst nuclei is nearly one number. Size and
# shape share little, and blocks of unrelated tumours share nothing, as they must. The
# bars are 95 % intervals. They know of chance only, not of a kind of dependence that
# every candidate missed: such an estimate is too small.

labels = ["known truth", *found]
estimates = [known, *found.values()]
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
halves = [1.96 * each.standard_error for each in estimates]
ax.barh(labels, [each.value for each in estimates], xerr=halves, color="C0")
ax.plot([truth], ["known truth"], "kd", label="truth")
ax.invert_yaxis()
ax.set_xlabel("mutual information in nats")
ax.legend()
plt.show()
