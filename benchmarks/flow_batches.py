"""Mini-batches sliced from tensors against PyTorch's per-row DataLoader.

Both train the same flow from the same weights with skorch's loop, one after the other
in one run; only the iterator differs. Prints the seconds of an epoch, of which the
iterator's own share is shown by passing over the batches without training.

    python benchmarks/flow_batches.py [--rows 20000] [--features 6] [--device cpu]
"""

import argparse
import copy
import time

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from skdre._nn.batches import TensorBatches, TensorRows
from skdre._nn.settings import Dice, resolve_device, seeded
from skdre._nn.training import train
from skdre.flows._featurizer import _mean_log_loss
from skdre.flows._flows import build_flow
from skdre.flows._likelihood import LogDensity


def seconds(function, n_repeats):
    """Least wall-clock seconds of a call, waiting for the device."""
    times = []
    for _ in range(n_repeats):
        start = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def data_loader(rows, batch_size, dice):
    """Torch's own batches of the rows."""
    generator = dice.generators["cpu"]
    rows = TensorDataset(*rows.tensors)
    return DataLoader(rows, batch_size, shuffle=True, generator=generator)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()

    device = resolve_device(args.device)
    X = np.random.default_rng(0).normal(size=(args.rows, args.features))
    X = torch.tensor(X, dtype=torch.float32, device=device)
    rows = TensorRows(X, torch.ones(len(X), device=device))
    with seeded(0):
        flow = build_flow("maf", args.features, n_transforms=5, hidden_features=(100,))
    start = LogDensity(flow, [0.0] * args.features).to(device)

    def pass_over(iterator):
        for _ in iterator(rows, batch_size=args.batch_size, dice=Dice(0)):
            pass

    def epoch(iterator):
        train(
            copy.deepcopy(start),
            _mean_log_loss,
            rows,
            TensorRows(*(tensor[:256] for tensor in rows.tensors)),
            max_epochs=1,
            batch_size=args.batch_size,
            learning_rate=0.005,
            patience=1,
            seed=0,
            iterator_train=iterator,
        )

    print(
        f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads; "
        f"{args.rows} rows of {args.features} features, batches of {args.batch_size}; "
        f"best of {args.repeats}"
    )
    print(f"{'seconds':<24}{'DataLoader':>12}{'TensorBatches':>15}{'ratio':>8}")
    for name, function in {"batches alone": pass_over, "training epoch": epoch}.items():
        slow, fast = (
            seconds(lambda i=iterator, f=function: f(i), args.repeats)
            for iterator in (data_loader, TensorBatches)
        )
        print(f"{name:<24}{slow:>12.4f}{fast:>15.4f}{slow / fast:>8.1f}")


if __name__ == "__main__":
    main()
