"""skdre's flows, in its own training loop or in the bare one of all contenders."""

import sys
import time
from functools import partial

import torch
from _flow_job import maker, solve
from _serve import serve
from skorch.callbacks import Callback

from skdre import FlowFeaturizer
from skdre._nn.batches import TensorRows
from skdre._nn.training import train
from skdre.flows._featurizer import _mean_log_loss
from skdre.flows._flows import build_flow
from skdre.flows._likelihood import LogDensity, log_density, through


class Watch(Callback):
    """Notes test likelihoods at the best weights so far, off the clock."""

    def __init__(self, test):
        self.test = test

    def initialize(self):
        return self

    def start(self):
        self.curve, self.off = [], 0.0
        self.begin = time.process_time()
        return self

    def seconds(self):
        return time.process_time() - self.begin - self.off

    def on_epoch_end(self, net, **kwargs):
        spent = self.seconds()
        if net.keeper_.best_epoch_ == len(net.history):
            task = dict(net.callbacks_)["sklearn"]
            attributes = task.fitted_attributes(net)
            U, log_det = attributes["marginal_maps_"].forward(self.test)
            found = through(attributes["flow_"], log_density, U) + log_det
            self.curve.append((spent, float(found.mean())))
        self.off += self.seconds() - spent


class Flow:
    def __init__(self, own_loop, flow, n_features, n_transforms, hidden):
        self.flow = build_flow(
            flow, n_features, n_transforms=n_transforms, hidden_features=hidden
        )
        self.module = LogDensity(self.flow, [0.0] * n_features)
        self.parameters = self.module.parameters
        self.log_density = self.module
        if own_loop:
            self.loop = self._loop

    def _loop(self, rows, batch_size):
        """What fit does: clipping, averaging, looks at held-out rows."""
        rows = TensorRows(rows, torch.ones(len(rows)))
        held_out = TensorRows(*(tensor[: len(rows) // 10] for tensor in rows.tensors))
        train(
            self.module,
            _mean_log_loss,
            rows,
            held_out,
            max_epochs=1,
            batch_size=batch_size,
            learning_rate=1e-4,
            patience=1,
            seed=0,
        )

    def fit(self, train, test, epochs, seed):
        """What a user writes: the flow as it comes."""
        watch = Watch(test).start()
        flow = FlowFeaturizer(
            random_state=seed,
            device="cpu",
            callbacks=[("watch", watch)],
        ).fit(train)
        spent = watch.seconds()
        return [*watch.curve, (spent, flow.score(test))], spent

    def invert(self, z):
        return self.flow().transform.inv(z)


if __name__ == "__main__":
    serve(
        maker(partial(Flow, sys.argv[1] == "own loop")),
        solve,
        ["skdre", "zuko", "torch"],
    )
