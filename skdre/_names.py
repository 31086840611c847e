"""Where the public names stand: once, in ``skdre/__init__.pyi``."""

import ast
from pathlib import Path

import lazy_loader

__all__ = ["of_room"]


def of_room(package):
    """What a room's ``__init__`` offers: the public names that its files define.

    Each is imported when it is first used, for some load torch.

    Parameters
    ----------
    package : str
        Such as "skdre.kernel".

    Returns
    -------
    getattr, dir, all
        For the package's ``__getattr__``, ``__dir__`` and ``__all__``.
    """
    room = package.removeprefix("skdre.") + "."
    stub = ast.parse(Path(__file__).with_name("__init__.pyi").read_text("utf-8"))
    names = {
        node.module.removeprefix(room): [alias.name for alias in node.names]
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and f"{node.module}".startswith(room)
    }
    return lazy_loader.attach(package, submod_attrs=names)
