"""Other ways to move one sample onto another, which the paper names."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import pairwise_distances
from skorch import NeuralNet

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))

import peers

from skdre import FlowFeaturizer
from skdre._nn.settings import seeded
from skdre.flows._flows import build_flow

__all__ = ["back_to_back", "coral", "maximum_mean_discrepancy", "mmd_map", "transport"]

# Bandwidths of the kernel, in units of the median distance.
_WIDTHS = (0.1, 0.3, 1.0)


def coral(source, target, seed):
    """Sun, Feng, Saenko, 2016: whiten the source, colour it as the target."""
    (m_a, S_a), (m_b, S_b) = (
        (X.mean(axis=0), np.cov(X.T) + 1e-9 * np.eye(X.shape[1]))
        for X in (source, target)
    )

    def root(S, power):
        size, axes = np.linalg.eigh(S)
        return axes * size**power @ axes.T

    M = root(S_a, -0.5) @ root(S_b, 0.5)
    return lambda X: m_b + (X - m_a) @ M


def transport(source, target, seed):
    """Exact optimal transport, and the displacement of the nearest row elsewhere.

    POT has an environment of its own: ``python benchmarks/peers.py install pot``.
    """
    interpreter = peers.python("pot")

    def move(X):
        with tempfile.TemporaryDirectory() as folder:
            given, moved = Path(folder) / "given.npz", Path(folder) / "moved.npy"
            np.savez(given, source=source, target=target, rows=X)
            worker = peers.HERE / "peers" / "_pot_transport.py"
            subprocess.run([interpreter, worker, given, moved], check=True)
            return np.load(moved)

    return move


def back_to_back(source, target, seed):
    """A flow of the source to a normal, and one of the target back from it."""
    forward, back = (
        FlowFeaturizer("realnvp", n_transforms=4, random_state=seed + k).fit(X)
        for k, X in enumerate((source, target))
    )
    return lambda X: back.inverse_transform(forward.transform(X))


def maximum_mean_discrepancy(X, Y, scale):
    """Squared discrepancy of two samples, as tensors; the biased estimate."""

    def kernel(a, b):
        squares = torch.cdist(a, b).square() / scale**2
        return sum(torch.exp(-squares / (2 * w**2)) for w in _WIDTHS) / len(_WIDTHS)

    return kernel(X, X).mean() + kernel(Y, Y).mean() - 2 * kernel(X, Y).mean()


class _Pairs(torch.nn.Module):
    """Moves the first half of the columns, the source's, and leaves the target's."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow.requires_grad_()

    def forward(self, rows):
        source, target = rows.chunk(2, dim=1)
        return self.flow().transform(source), target


def mmd_map(source, target, seed, *, max_epochs=125):
    """A RealNVP, as that of the LRMF, that minimises the discrepancy of batches."""
    both = np.concatenate([source, target])
    center, scale = both.mean(axis=0), both.std(axis=0)
    standard = [((X - center) / scale).astype(np.float32) for X in (source, target)]
    width = float(np.median(pairwise_distances(np.concatenate(standard)[::7])))
    with seeded(seed):
        flow = build_flow("realnvp", 2, n_transforms=4, hidden_features=(64, 64))
        net = NeuralNet(
            _Pairs(flow),
            lambda pair, _: maximum_mean_discrepancy(*pair, width),
            optimizer=torch.optim.Adam,
            lr=0.001,
            max_epochs=max_epochs,
            batch_size=250,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        )
        net.initialize_criterion = lambda: setattr(net, "criterion_", net.criterion)
        net.fit(np.hstack(standard), np.zeros(len(source), np.float32))
    flow = net.module_.flow

    def move(X):
        with torch.no_grad():
            u = torch.as_tensor((X - center) / scale, dtype=torch.float32)
            return center + scale * flow().transform(u).numpy()

    return move
