"""The weights of a module, end to end in one tensor."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["Collector", "FlatWeights", "tell_held"]


class Collector:
    """Tells what adds to gradients whether something is there already.

    Attributes
    ----------
    turn : int
        Number of the last call of :meth:`FlatWeights.clear`.
    writers : list
        What writes gradients by itself, each with a method ``settle``, called when all
        gradients of the turn are there.
    written : set of int
        Identities of the parameters whose gradients they write.
    """

    def __init__(self):
        self.turn = 0
        self.writers = []
        self.written = set()

    def add(self, writer: object, *parameters: nn.Parameter) -> None:
        """Take on a writer: in each turn it first overwrites these gradients."""
        self.writers.append(writer)
        self.written |= set(map(id, parameters))


def tell_held(module: nn.Module, is_held: bool) -> None:
    """Tell those that ask for it whether the parameters are laid out."""
    for each in module.modules():
        if (held := getattr(each, "held", None)) is not None:
            held(is_held)  # type: ignore[operator] # torch takes it for a tensor


class FlatWeights:
    """Lay out a module's weights, and their gradients, in one tensor each.

    What is done to all weights alike (a step of the optimizer, the norm of the
    gradient, an average) is then one operation rather than one for each parameter,
    which small networks feel. A parameter that the loss does not reach has a gradient
    of 0, not None; :meth:`unreached` tells which these are.

    A module may have an attribute ``zeros``, masks by the names of parameters, of what
    it takes for zero whatever it is. Here it becomes zero, and stays so if
    :meth:`keep_zeros` follows each gradient. A module with a method ``held`` is told
    that its parameters are laid out, and that they are no more: in between the same
    tensors are changed in place, and each has an attribute ``collects``, a
    :class:`Collector`. A function with a gradient of its own may add to their ``grad``
    instead of handing it on.

    Parameters
    ----------
    module : torch.nn.Module
        Its parameters that require gradients, of one dtype and device, become views
        until :meth:`release`.

    Attributes
    ----------
    flat : torch.nn.Parameter of shape (n_weights,)
        For the optimizer.
    gradient : torch.Tensor of shape (n_weights,)
        Its ``grad``, which collects the gradients.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.sizes = [parameter.numel() for parameter in self.parameters]
        self.flat = nn.Parameter(
            torch.cat([parameter.detach().flatten() for parameter in self.parameters])
        )
        self.flat.grad = self.gradient = torch.zeros_like(self.flat.detach())
        self.collector = Collector()
        views = zip(
            self.parameters,
            self.views(self.flat.detach()),
            self.views(self.gradient),
            strict=True,
        )
        for parameter, values, gradient in views:
            parameter.data = values
            parameter.grad = gradient
            parameter.collects = self.collector  # type: ignore[attr-defined]
        self._gradients = self.views(self.gradient)
        self._unreached = list(range(len(self.parameters)))
        self._n_writers, self._to_clear = 0, [self.gradient]
        self._mask()
        tell_held(module, True)

    def _mask(self):
        """Set to zero what modules take for it, and note where that is."""
        self.mask = None
        zeros = {
            id(getattr(each, name)): mask
            for each in self._with_zeros()
            for name, mask in each.zeros.items()
        }
        if not zeros.keys() & set(map(id, self.parameters)):
            return
        # A product is far quicker than filling in, and so than a mask of bool.
        self.mask = torch.ones_like(self.flat.detach())
        for parameter, part in zip(self.parameters, self.views(self.mask), strict=True):
            if id(parameter) in zeros:
                part.masked_fill_(zeros[id(parameter)], 0)
        self.flat.data.mul_(self.mask)

    def _with_zeros(self):
        return [each for each in self.module.modules() if hasattr(each, "zeros")]

    def clear(self) -> None:
        """Forget the gradients, before others are collected."""
        self.collector.turn += 1
        if len(self.collector.writers) > self._n_writers:
            self._n_writers = len(self.collector.writers)
            self._to_clear = [
                gradient
                for parameter, gradient in zip(
                    self.parameters, self._gradients, strict=True
                )
                if id(parameter) not in self.collector.written
            ]
        for each in self._to_clear:
            each.zero_()

    def settle(self) -> None:
        """Set to zero what was to be overwritten since :meth:`clear`, and was not."""
        for each in self.collector.writers:
            each.settle()

    def keep_zeros(self) -> None:
        """Let no gradient move what is to stay zero."""
        if self.mask is not None:
            self.gradient.mul_(self.mask)

    def unreached(self) -> list[torch.Tensor]:
        """Values of the parameters whose gradients have all been zero so far."""
        # After a step or two there are none, and nothing is left to be looked at.
        self._unreached = [k for k in self._unreached if not self._gradients[k].any()]
        return [self.parameters[k].detach() for k in self._unreached]

    def views(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Split a tensor of shape (n_weights,) into views, one for each parameter."""
        return [
            part.view(parameter.shape)
            for part, parameter in zip(
                flat.split(self.sizes), self.parameters, strict=True
            )
        ]

    def state(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """State of the module whose weights are views of `flat`.

        Its buffers are the module's own.
        """
        views = dict(zip(map(id, self.parameters), self.views(flat), strict=True))
        # Not copies, for what has two names has to be one tensor.
        state = self.module.state_dict(keep_vars=True)
        for name, parameter in self.module.named_parameters(remove_duplicate=False):
            state[name] = views.get(id(parameter), state[name])
        return state

    @property
    def names(self) -> set[str]:
        """Those of the weights in the module's state."""
        known = set(map(id, self.parameters))
        named = self.module.named_parameters(remove_duplicate=False)
        return {name for name, parameter in named if id(parameter) in known}

    @contextmanager
    def replaced_by(self, views: Sequence[torch.Tensor]) -> Iterator[None]:
        """Let the module have the weights of another flat tensor inside the block.

        They come as its :meth:`views`.
        """
        own = [parameter.data for parameter in self.parameters]
        try:
            for parameter, values in zip(self.parameters, views, strict=True):
                parameter.data = values
            yield
        finally:
            for parameter, values in zip(self.parameters, own, strict=True):
                parameter.data = values

    def release(self) -> None:
        """Give each parameter its own memory again, without a gradient."""
        for parameter in self.parameters:
            parameter.data = parameter.data.clone()
            parameter.grad = None
            del parameter.collects  # type: ignore[attr-defined]
        tell_held(self.module, False)
