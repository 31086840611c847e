"""The paper's convolutional network, for classes and for ratios, in skorch."""

import numpy as np
import torch
from _dagan import SIDE
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn

__all__ = ["ConvClassifier", "ConvNet", "StepsLoader", "class_network", "ratio_network"]

# Batches between two looks at the held-out rows; their number is an epoch of skorch.
LOOK_EVERY = 100
BATCH_SIZE = 64
LEARNING_RATE = 1e-3


class ConvNet(nn.Module):
    """Table 7: four times convolution, batch normalisation, ReLU and pooling.

    Parameters
    ----------
    n_classes : int
    width : int, default=64
        Filters of each convolution.
    """

    def __init__(self, n_classes, width=64):
        super().__init__()
        blocks = []
        for n_in in (1, width, width, width):
            blocks += [
                nn.Conv2d(n_in, width, 3, padding=1),
                nn.BatchNorm2d(width),
                # The paper pools after the ReLU, which gives the same numbers.
                nn.MaxPool2d(2),
                nn.ReLU(inplace=True),
            ]
        layers = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(width, n_classes))
        # This and bfloat16 make a step three times as fast on a CPU.
        self.layers = layers.to(memory_format=torch.channels_last)

    def forward(self, image, weight=None):
        """Scores of rows of shape (n, 784); their weight is left to the loss."""
        image = image.float().view(-1, 1, SIDE, SIDE)
        image = image.to(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, dtype=torch.bfloat16):
            scores = self.layers(image)
        return scores.float()


class StepsLoader(torch.utils.data.DataLoader):
    """An epoch of as many batches as asked for, whatever the number of rows.

    So that unlike training sets get as many steps, and as many looks at the held-out
    rows. No row comes again before all have come, from one epoch to the next aside.
    """

    def __init__(self, dataset, batch_size, n_batches, **kwargs):
        sampler = torch.utils.data.RandomSampler(
            dataset, num_samples=n_batches * batch_size
        )
        super().__init__(dataset, batch_size=batch_size, sampler=sampler, **kwargs)


def _weighted(X, weight=None):
    """Rows with weights, in the form that the network takes."""
    X = np.asarray(X, dtype=np.float32)
    weight = np.ones(len(X)) if weight is None else weight
    return {"image": X, "weight": np.asarray(weight, dtype=np.float32)}


class ConvClassifier(NeuralNetClassifier):
    """skorch's classifier with a ``sample_weight``, and a seed of its own."""

    def __init__(self, module=ConvNet, *args, seed=0, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.seed = seed

    def fit(self, X, y, sample_weight=None):
        """Minimise the mean of weight times loss over the rows of each batch."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return super().fit(_weighted(X, sample_weight), np.asarray(y))

    def get_loss(self, y_pred, y_true, X, *args, **kwargs):
        loss = super().get_loss(y_pred, y_true, X, *args, **kwargs)
        return (X["weight"].to(loss.device) * loss).mean()


def _network(n_classes, keep_best, *, n_steps, width, seed, device, **params):
    n_looks = max(1, round(n_steps / LOOK_EVERY))
    n_batches = -(-n_steps // n_looks)
    schedule = LRScheduler(
        torch.optim.lr_scheduler.CosineAnnealingLR,
        T_max=n_looks * n_batches,
        step_every="batch",
    )
    return ConvClassifier(
        module__n_classes=n_classes,
        module__width=width,
        criterion=nn.CrossEntropyLoss,
        criterion__reduction="none",
        optimizer=torch.optim.Adam,
        lr=LEARNING_RATE,
        max_epochs=n_looks,
        batch_size=BATCH_SIZE,
        iterator_train=StepsLoader,
        iterator_train__n_batches=n_batches,
        iterator_valid__batch_size=500,
        callbacks=[("schedule", schedule), ("keep_best", keep_best)],
        classes=list(range(n_classes)),
        seed=seed,
        device=device,
        verbose=0,
        **params,
    )


def class_network(n_classes, held_out, *, n_steps, width=64, seed=0, device="cpu"):
    """A classifier of characters, as of its best look at the held-out rows.

    Adam and its learning rate are the paper's; the fall to zero along a cosine is not,
    it takes fewer steps.

    Parameters
    ----------
    n_classes : int
    held_out : tuple of ndarray
        Rows in [0, 1], and their classes.
    n_steps : int
        Batches to train on.
    width : int, default=64
        Filters of each convolution.
    seed : int, default=0
    device : str, default="cpu"

    Returns
    -------
    network : ConvClassifier
    """
    X, y = held_out
    keep_best = EarlyStopping(
        monitor="valid_acc", lower_is_better=False, patience=-1, load_best=True
    )
    return _network(
        n_classes,
        keep_best,
        n_steps=n_steps,
        width=width,
        seed=seed,
        device=device,
        train_split=predefined_split(Dataset(_weighted(X), y)),
    )


def ratio_network(*, n_steps, width=64, seed=0, device="cpu"):
    """The same with two classes, real or not, for :class:`skdre.ClassifierRatio`.

    A tenth of the rows is held out; what is kept are the weights with the least log
    loss there.
    """
    return _network(
        2,
        EarlyStopping(patience=5, load_best=True),
        n_steps=n_steps,
        width=width,
        seed=seed,
        device=device,
        train_split=ValidSplit(0.1, stratified=True, random_state=seed),
    )
