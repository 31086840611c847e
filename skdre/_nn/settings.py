"""What torch keeps for a process or a thread, which no fit reads or changes.

Random numbers come from generators of the fit's own. What can be had from torch's
global ones alone, the initial weights of layers and dropout, is drawn under a lock, and
the generators are given back as they were: fits in threads give what they give alone.
"""

import threading
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.modules import activation, batchnorm, container, linear, normalization

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
        There is a generator for it beside that of the CPU.
    """

    def __init__(self, seed=None, device="cpu"):
        self.generators = {}
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

    def rand(self, *shape, dtype=torch.float32, device="cpu"):
        """Numbers uniform on [0, 1)."""
        return torch.rand(*shape, dtype=dtype, **self._options(device))

    def randn(self, *shape, dtype=torch.float32, device="cpu"):
        """Standard normal numbers."""
        return torch.randn(*shape, dtype=dtype, **self._options(device))

    def randn_like(self, tensor):
        """Standard normal numbers of the shape, dtype and device of a tensor."""
        return self.randn(*tensor.shape, dtype=tensor.dtype, device=tensor.device)

    def randperm(self, n):
        """A permutation, on the CPU."""
        return torch.randperm(n, **self._options("cpu"))

    @contextmanager
    def as_global(self):
        """Let what draws from the global generators inside the block draw from these.

        The global ones are given back as they were, and other threads that ask for
        them have to wait.
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


# For draws outside a fit.
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
def seeded(seed, device="cpu"):
    """Build networks inside the block: torch's own draws come from a seed.

    Neither the global generators nor the default dtype, which is single precision
    inside, are changed after it.
    """
    with usual_torch(grad=True), Dice(seed, device).as_global():
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def usual_torch(*, grad):
    """Undo, inside the block, what a user may have set for their own networks.

    An inference mode, a default device and autocast are off, and gradients are as
    wanted. What is made inside has a dtype of its own: the default one belongs to all
    threads, so it is left alone.

    Parameters
    ----------
    grad : bool
        Whether gradients are recorded.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(grad))
        for kind in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(kind, enabled=False))
        # A mode for the device slows each operation down: only where there is one.
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


# Classes of these modules draw nothing when they are called, but for those named below.
_SILENT = {
    each.__name__ for each in (activation, batchnorm, container, linear, normalization)
}
_DRAWING = {"MultiheadAttention", "RReLU", "FFJTransform", "CNF", "Continuous"}


def _is_silent(cls):
    name = cls.__module__
    names = {each.__name__ for each in cls.__mro__}
    return not names & _DRAWING and (
        name in _SILENT or name.partition(".")[0] in ("skdre", "zuko")
    )


def draws_by_itself(module):
    """Whether calling a module may draw from torch's global generators, as dropout."""
    return not all(_is_silent(type(each)) for each in module.modules())


class _Threads:
    """How many fits keep torch to one thread, and what it had before the first."""

    lock = threading.Lock()
    n_fits = 0
    before = 1


@contextmanager
def one_thread(condition=True):
    """Keep torch to one thread inside the block, if the condition holds.

    The number is partly a thread's own and partly the process's. Of fits that run at
    once each keeps to one, and each gives its thread what there was before the first.
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


def resolve_device(device):
    """Device to train on.

    Parameters
    ----------
    device : str
        "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:<index>".

    Returns
    -------
    device : torch.device

    Raises
    ------
    ValueError
        If the name is unknown or this machine has no such device.
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
