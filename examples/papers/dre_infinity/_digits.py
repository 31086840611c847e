"""MNIST digits, and the noises and ratios of Table 1: what a cell is, its training."""

import gzip
import json
import pickle
import time
import warnings

import numpy as np
import torch
from skorch.callbacks import Callback

import skdre
from skdre.networks import UNet

__all__ = [
    "METHODS",
    "NOISES",
    "Cell",
    "fit_noise",
    "fit_ratio",
    "load_digits",
    "standard_normal_rows",
    "two_by_two_means",
]

NOISES = ("gaussian", "copula", "rq-nsf")
METHODS = ("NCE", "TRE", "time score")

# Channels of the U-Net, steps and channels of the flow, by the side of an image.
CHANNELS = {14: (16, 32, 64), 28: (16, 32, 64, 128), 8: (16, 32)}
N_LEVELS = {14: 1, 28: 2, 8: 1}
N_BRIDGES = 10
# On a GPU there is time for the paper's sizes.
PAPER_CHANNELS = (64, 128, 256, 512)

LEARNING_RATE = {"rq-nsf": 0.001, "NCE": 0.001, "TRE": 0.001, "time score": 0.003}
# Looks at the held-out rows take about this much beside the steps.
_OVERHEAD = 1.3
BATCH_SIZE = 128
# Without patience a cell trains until its time is over.
FOREVER = 10**9


def two_by_two_means(images):
    """Images of half the side, means of 2 by 2 pixels in whole grey values."""
    n, height, width = images.shape
    cells = images.reshape(n, height // 2, 2, width // 2, 2).astype(float)
    return np.rint(cells.mean(axis=(2, 4)))


def load_digits(folder, size):
    """Training and test images as rows of whole grey values from 0 to 255."""
    parts = []
    for part in ("train", "t10k"):
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16)
        images = pixels.reshape(-1, 28, 28).astype(float)
        if size == 14:
            images = two_by_two_means(images)
        parts.append(images.reshape(len(images), -1))
    return parts


def standard_normal_rows(n_features, rng):
    """Twice n_features rows whose mean is 0 and whose covariance is the identity.

    ``TimeScoreRatio(denominator="gaussian")`` takes the moments of the denominator's
    rows and draws from that Gaussian: here N(0, I) itself, without sampling error.
    """
    rows, _ = np.linalg.qr(rng.standard_normal((n_features, n_features)))
    return np.sqrt(n_features) * np.vstack([rows, -rows])


class Cell:
    """A cell of the table: its files, and how far it has come.

    Parameters
    ----------
    folder : Path
    name : str
        Of the noise, or of a noise and a method.
    """

    def __init__(self, folder, name):
        self.name = name.replace(" ", "_")
        self.model_path = folder / f"{self.name}.pkl"
        self.record_path = folder / f"{self.name}.json"
        self.checkpoint_path = folder / f"{self.name}.checkpoint"
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def record(self):
        """What is known of it; "state" is "none", "unfinished" or "trained"."""
        if not self.record_path.exists():
            return {"state": "none"}
        return json.loads(self.record_path.read_text())

    def update(self, **values):
        """Add to the record."""
        temporary = self.record_path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.record | values, indent=1))
        temporary.replace(self.record_path)

    def load(self):
        """The fitted model."""
        return pickle.loads(self.model_path.read_bytes())

    def save(self, model):
        """Keep the fitted model."""
        temporary = self.model_path.with_suffix(".tmp")
        temporary.write_bytes(pickle.dumps(model))
        temporary.replace(self.model_path)


class Deadline(Callback):
    """Stop after some processor seconds (of the clock on a GPU), with checkpoints.

    Parameters
    ----------
    cell : Cell
    seconds : float
    clock : callable
    """

    def __init__(self, cell, seconds, clock):
        self.cell, self.seconds, self.clock = cell, seconds, clock

    def on_train_begin(self, net, **kwargs):
        self.start = self.saved = self.clock()

    def on_epoch_end(self, net, **kwargs):
        now = self.clock()
        if now - self.start >= self.seconds:
            net.stop_ = True
        if now - self.saved > 60:
            self.saved = now
            state = {name: each.clone() for name, each in net.average_.items()}
            torch.save(state, self.cell.checkpoint_path)
            self.cell.update(state="unfinished", steps=net.n_steps_)


class Stopwatch(Callback):
    """Seconds of a training step, once the first is over.

    Parameters
    ----------
    clock : callable
    """

    def __init__(self, clock):
        self.clock = clock

    def on_train_begin(self, net, **kwargs):
        self.times = []

    def on_batch_end(self, net, training=True, **kwargs):
        if training:
            self.times.append(self.clock())

    @property
    def seconds(self):
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)


def _clock(device):
    return time.perf_counter if device.startswith("cuda") else time.process_time


def _fit_timed(cell, model, minutes, clock, fit):
    """Fit, and keep the model also when Ctrl-C comes, with what is known of it."""
    cell.update(state="unfinished", minutes=minutes)
    start, state, steps = clock(), "trained", None
    wall = time.perf_counter()
    try:
        with warnings.catch_warnings():
            # That time runs out while the loss falls is what the table says.
            warnings.simplefilter("ignore")
            fit(model)
    except KeyboardInterrupt:
        state = "unfinished"
    if hasattr(model, "n_iter_"):
        steps = int(model.n_iter_)
        cell.save(model)
    cell.update(
        state=state,
        steps=steps,
        seconds=round(clock() - start, 1),
        wall_seconds=round(time.perf_counter() - wall, 1),
    )
    if state == "unfinished":
        raise KeyboardInterrupt(f"{cell.name} is unfinished, and says so.")
    return model


def fit_noise(cell, noise, Y, *, size, minutes, device, seed=0):
    """Fit one of the noise distributions to the rows Y."""
    clock = _clock(device)
    if noise != "rq-nsf":
        model = skdre.FlowFeaturizer(noise, device=device, random_state=seed)
        return _fit_timed(cell, model, minutes, clock, lambda model: model.fit(Y))
    params = {
        "image_shape": (size, size),
        "n_levels": N_LEVELS[size],
        "n_transforms": 8,
        "hidden_features": (64, 64) if device.startswith("cuda") else (32, 32),
        "marginals": "gaussianize",
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE["rq-nsf"],
        "patience": FOREVER,
        "device": device,
        "random_state": seed,
    }
    # A trial tells how many epochs there is time for.
    watch = Stopwatch(clock)
    trial = skdre.FlowFeaturizer(
        "conv-nsf", **params | {"max_epochs": 1}, callbacks=[("watch", watch)]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial.fit(Y[: 10 * BATCH_SIZE])
    per_epoch = watch.seconds * _OVERHEAD * len(Y) / BATCH_SIZE
    model = skdre.FlowFeaturizer(
        "conv-nsf",
        **params,
        # The learning rate falls over the epochs that there is time for.
        max_epochs=max(round(60 * minutes / per_epoch), 1),
        callbacks=[("deadline", Deadline(cell, 60 * minutes, clock))],
    )
    cell.update(epochs_planned=model.max_epochs)
    return _fit_timed(cell, model, minutes, clock, lambda model: model.fit(Y))


def _network(method, size, device):
    shape = (size, size)
    channels = PAPER_CHANNELS if device.startswith("cuda") else CHANNELS[size]
    if method == "NCE":
        return UNet(shape, channels=channels, time_features=None)
    if method == "TRE":
        return UNet(shape, N_BRIDGES, channels=channels, time_features=None)
    return UNet(shape, channels=channels)


def new_ratio(method, network, *, max_iter, device, seed, callbacks=()):
    """The estimator of a method, with a network."""
    params = {
        "network": network,
        "max_iter": max_iter,
        "learning_rate": LEARNING_RATE[method],
        "patience": FOREVER,
        "device": device,
        "callbacks": list(callbacks),
        "random_state": seed,
    }
    if method == "NCE":
        return skdre.MLPRatio(batch_size=2 * BATCH_SIZE, **params)
    if method == "TRE":
        return skdre.TelescopingRatio(
            n_bridges=N_BRIDGES,
            path="vpsde",
            batch_size=BATCH_SIZE // 4,
            **params,
        )
    return skdre.TimeScoreRatio(
        "velocity",
        path="vpsde",
        center=False,
        denominator="gaussian",
        batch_size=BATCH_SIZE,
        **params,
    )


_PREFIX = {"NCE": "network.", "TRE": "network.network.", "time score": "score."}


def _from_checkpoint(cell, method, network):
    if not cell.checkpoint_path.exists():
        return network
    state = torch.load(cell.checkpoint_path, map_location="cpu")
    prefix = _PREFIX[method]
    own = {
        name.removeprefix(prefix): value
        for name, value in state.items()
        if name.startswith(prefix)
    }
    network.load_state_dict(own)
    print(f"{cell.name}: goes on from its checkpoint")
    return network


def fit_ratio(cell, method, Z, *, size, minutes, device, seed=0):
    """Fit a ratio of the latent rows Z, the numerator, to N(0, I)."""
    clock = _clock(device)
    rng = np.random.default_rng(seed)
    if method == "time score":
        denominator = standard_normal_rows(Z.shape[1], rng)
    else:
        denominator = rng.standard_normal(Z.shape)
    torch.manual_seed(seed)
    network = _from_checkpoint(cell, method, _network(method, size, device))

    def fit(model, n_rows=None):
        numerator = Z[:n_rows]
        return model.fit(
            *skdre.pool(numerator=numerator, denominator=denominator[:n_rows])
        )

    # A trial tells how many steps there is time for: the learning rate falls over them.
    watch = Stopwatch(clock)
    trial = new_ratio(
        method,
        network,
        max_iter=10,
        device=device,
        seed=seed,
        callbacks=[("watch", watch)],
    )
    n_rows = None if method == "time score" else 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial.fit(*skdre.pool(numerator=Z[:1000], denominator=denominator[:n_rows]))
    per_step = watch.seconds * _OVERHEAD
    max_iter = max(int(60 * minutes / per_step), 100)
    cell.update(steps_planned=max_iter, rows=len(Z))
    model = new_ratio(
        method,
        network,
        max_iter=max_iter,
        device=device,
        seed=seed,
        callbacks=[("deadline", Deadline(cell, 60 * minutes, clock))],
    )
    return _fit_timed(cell, model, minutes, clock, fit)
