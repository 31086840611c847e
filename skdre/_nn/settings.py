"""Random numbers, devices and threads: what torch keeps for a process or a thread.

No fit depends on it or changes it. Random numbers come from generators of the fit's
own. What torch draws from its global ones alone, initial weights and dropout, is drawn
under a lock, and they are restored: fits in threads give what they give alone.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.modules import (
    activation,
    batchnorm,
    container,
    conv,
    linear,
    normalization,
)

__all__ = [
    "GLOBAL_DICE",
    "Dice",
    "draws_by_itself",
    "one_thread",
    "resolve_device",
    "seeded",
    "usual_torch",
]

# Held while torch's global generators or its default dtype are borrowed.
_BORROWED = threading.RLock()


class Dice:
    """Random numbers of one fit.

    Parameters
    ----------
    seed : int or None
        None stands for torch's global generators.
    device : torch.device or str, default="cpu"
        Gets a generator of its own beside that of the CPU.
    """

    def __init__(
        self, seed: int | None = None, device: str | torch.device = "cpu"
    ) -> None:
        self.generators: dict[str, torch.Generator] = {}
        if seed is not None:
            for each in {"cpu", str(device)}:
                generator = torch.Generator(each).manual_seed(seed)
                self.generators[generator.device.type] = generator

    def __deepcopy__(self, memo):
        # A copy of a module that is trained draws on from the same numbers.
        return self

    def _options(self, device):
        device = torch.device(device)
        return {"device": device, "generator": self.generators.get(device.type)}

    def rand(
        self,
        *shape: int,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> torch.Tensor:
        """Numbers uniform on [0, 1)."""
        return torch.rand(*shape, dtype=dtype, **self._options(device))

    def randn(
        self,
        *shape: int,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> torch.Tensor:
        """Standard normal numbers."""
        return torch.randn(*shape, dtype=dtype, **self._options(device))

    def randn_like(self, tensor: torch.Tensor) -> torch.Tensor:
        """Standard normal numbers of the shape, dtype and device of a tensor."""
        return self.randn(*tensor.shape, dtype=tensor.dtype, device=tensor.device)

    def randperm(self, n: int) -> torch.Tensor:
        """A permutation, on the CPU."""
        return torch.randperm(n, **self._options("cpu"))

    @contextmanager
    def as_global(self) -> Iterator[None]:
        """Let torch's global generators give these numbers inside the block.

        They are restored after it; other threads that ask for them wait.
        """
        with _BORROWED:
            borrowed = []
            for own in self.generators.values():
                shared = _global_generator(own.device)
                borrowed.append((own, shared, shared.get_state()))
                shared.set_state(own.get_state())
            try:
                yield
            finally:
                for own, shared, state in borrowed:
                    own.set_state(shared.get_state())
                    shared.set_state(state)


# Torch's own generators, for draws outside a fit.
GLOBAL_DICE = Dice()


def _global_generator(device):
    if device.type == "cpu":
        return torch.default_generator
    index = device.index
    torch.cuda.init()
    return torch.cuda.default_generators[
        torch.cuda.current_device() if index is None else index
    ]


@contextmanager
def seeded(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Build networks of single precision inside the block, from a seed.

    The global generators and the default dtype are restored after it.
    """
    with usual_torch(grad=True), Dice(seed, device).as_global():
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def usual_torch(*, grad: bool) -> Iterator[None]:
    """Undo, inside the block, what users may have set for their own networks.

    Inference mode, default device and autocast are off; gradients are recorded or not.
    The default dtype belongs to all threads and is left alone: what is made inside
    names its own.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(grad))
        for kind in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(kind, enabled=False))
        # Only where a user has set a default device, for it slows all operations down.
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


# Classes of these modules draw nothing when they are called, except those named below.
_SILENT = {
    each.__name__
    for each in (activation, batchnorm, container, conv, linear, normalization)
}
_DRAWING = {"MultiheadAttention", "RReLU", "FFJTransform", "CNF", "Continuous"}


def _is_silent(cls):
    name = cls.__module__
    names = {each.__name__ for each in cls.__mro__}
    return not names & _DRAWING and (
        name in _SILENT or name.partition(".")[0] in ("skdre", "zuko")
    )


def draws_by_itself(module: torch.nn.Module) -> bool:
    """Whether calling a module may draw from torch's global generators, as dropout."""
    return not all(_is_silent(type(each)) for each in module.modules())


class _Threads:
    """How many fits keep torch to one thread, and how many it had before the first."""

    lock = threading.Lock()
    n_fits = 0
    before = 1


@contextmanager
def one_thread(condition: bool = True) -> Iterator[None]:
    """Keep torch to one thread inside the block, if the condition holds.

    The number of threads is partly a thread's own and partly the process's: of fits
    that run at once, each restores what there was before the first.
    """
    if not condition:
        yield
        return
    with _Threads.lock:
        if not _Threads.n_fits:
            _Threads.before = torch.get_num_threads()
        _Threads.n_fits += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _Threads.lock:
            _Threads.n_fits -= 1
            torch.set_num_threads(_Threads.before)


def resolve_device(device: str) -> torch.device:
    """Device to train on: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1".

    ValueError if the name is unknown or this machine has no such device.
    """
    has_cuda = torch.cuda.is_available()
    if device == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    name, _, index = str(device).partition(":")
    if name not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got {device!r}."
        )
    if name == "cuda":
        count = torch.cuda.device_count() if has_cuda else 0
        if int(index or 0) >= count:
            raise ValueError(
                f"device={device!r} was asked for, but torch {torch.__version__} sees "
                f"{count} CUDA devices here; use device='auto' or 'cpu'."
            )
    return torch.device(device)
