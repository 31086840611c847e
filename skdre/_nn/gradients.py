"""Values of a function of rows and their gradients by the rows, in numpy arrays."""

from collections.abc import Callable

import numpy as np
import torch

from skdre._core.types import Floats
from skdre._nn.settings import usual_torch

__all__ = ["TorchFunction", "value_and_gradient"]

# Rows that are differentiated at once, where the caller knows no better number.
_CHUNK_ROWS = 1024


def value_and_gradient(
    function: Callable[[torch.Tensor], torch.Tensor],
    X: Floats,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    n_rows: int = _CHUNK_ROWS,
) -> tuple[Floats, Floats]:
    """Values of shape (n,) at rows, and their gradients of the shape of X.

    The function takes a tensor of rows to one of shape (n,) or (n, 1), each value of
    its own row; it sees `n_rows` of them at a time.
    """
    values, gradients = [], []
    with usual_torch(grad=True):
        for start in range(0, len(X), n_rows):
            x = torch.as_tensor(X[start : start + n_rows], dtype=dtype, device=device)
            # A copy: the array may belong to the caller.
            x = x.clone().requires_grad_()
            value = function(x).reshape(len(x))
            (gradient,) = torch.autograd.grad(value.sum(), x)
            values.append(value.detach().double().cpu().numpy())
            gradients.append(gradient.double().cpu().numpy())
    return np.concatenate(values), np.concatenate(gradients)


class TorchFunction:
    """A function of tensors of rows as one of arrays, with its gradient.

    Parameters
    ----------
    function : callable
        Takes rows of shape (n, n_features) to values of shape (n,) or (n, 1). Of a
        module the rows get the dtype and the device; other functions get them in double
        precision, on the CPU.
    """

    def __init__(self, function):
        self.function = function
        self.options = {"device": "cpu", "dtype": torch.float64}
        if isinstance(function, torch.nn.Module):
            first = next(function.parameters(), None)
            if first is not None:
                self.options = {"device": first.device, "dtype": first.dtype}

    def __call__(self, X: Floats) -> Floats:
        """Values at the rows, of shape (n,)."""
        with usual_torch(grad=False):
            return (
                self.function(torch.as_tensor(X, **self.options)).double().cpu().numpy()
            )

    def value_and_gradient(self, X: Floats) -> tuple[Floats, Floats]:
        """Values and their gradients by the rows."""
        return value_and_gradient(self.function, X, **self.options)
