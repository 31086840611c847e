"""The weights of a module, end to end in one tensor."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["FlatWeights", "tell_held"]


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
    tensors are changed in place, and each has an attribute ``collects``. A function
    with a gradient of its own may add to their ``grad`` instead of handing it on.

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
        views = zip(
            self.parameters,
            self.views(self.flat.detach()),
            self.views(self.gradient),
            strict=True,
        )
        for parameter, values, gradient in views:
            parameter.data = values
            parameter.grad = gradient
            parameter.collects = True  # type: ignore[attr-defined]
        self._gradients = self.views(self.gradient)
        self._unreached = list(range(len(self.parameters)))
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

    @contextmanager
    def replaced_by(self, flat: torch.Tensor) -> Iterator[None]:
        """Let the module have the weights of another flat tensor inside the block."""
        own = self.flat.detach()
        kept = own.clone()
        own.copy_(flat)
        try:
            yield
        finally:
            own.copy_(kept)

    def release(self) -> None:
        """Give each parameter its own memory again, without a gradient."""
        for parameter in self.parameters:
            parameter.data = parameter.data.clone()
            parameter.grad = None
            del parameter.collects  # type: ignore[attr-defined]
        tell_held(self.module, False)
