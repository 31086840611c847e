"""The optimizer of the training loop."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim.adamw import adamw

__all__ = ["FlatAdamW"]


class FlatAdamW:
    """AdamW (Loshchilov and Hutter, ICLR 2019) of one tensor, by torch's own function.

    The first of torch's optimizers that a process makes loads torch's compiler, which
    takes a second, longer than a small fit; and what one does at each step for many
    parameters takes longer than the step of a single one.

    Parameters
    ----------
    groups : sequence of dict
        One, with the tensor as its only "params".
    lr, weight_decay : float
        Later those of ``param_groups[0]``, as of torch's optimizers.
    """

    def __init__(
        self, groups: Sequence[dict[str, Any]], lr: float, weight_decay: float
    ) -> None:
        [group] = groups
        [self.weights] = group["params"]
        settings = {"lr": lr, "weight_decay": weight_decay}
        self.param_groups = [group | settings]
        self.state: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights, given their gradient."""
        if not self.state:
            self.state |= {
                "step": torch.zeros((), device=self.weights.device),
                "mean": torch.zeros_like(self.weights),
                "mean_square": torch.zeros_like(self.weights),
            }
        group = self.param_groups[0]
        adamw(
            [self.weights],
            [self.weights.grad],
            [self.state["mean"]],
            [self.state["mean_square"]],
            [],
            [self.state["step"]],
            foreach=False,
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
        )
