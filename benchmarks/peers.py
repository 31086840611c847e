"""Environments of the peers that skdre is measured against.

Each peer gets a virtual environment of its own, ``.venv-peers/<name>`` (ignored by
git), with the released versions that ``benchmarks/peers/<name>.txt`` pins::

    python benchmarks/peers.py install          # all of them
    python benchmarks/peers.py install skada
    python benchmarks/peers.py list

The environment variable ``SKDRE_PEERS`` names another folder for them.

Only the standard library is used here.
"""

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = Path(os.environ.get("SKDRE_PEERS", HERE.parent / ".venv-peers"))
REQUIREMENTS = HERE / "peers"


def names():
    """Names of all peers."""
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def python(name):
    """Path of the interpreter of a peer's environment.

    Parameters
    ----------
    name : str
        A peer, or "skdre" for the interpreter that runs now.

    Returns
    -------
    path : Path

    Raises
    ------
    FileNotFoundError
        If the peer is not installed.
    """
    if name == "skdre":
        return Path(sys.executable)
    folder = "Scripts" if sys.platform == "win32" else "bin"
    path = ENVIRONMENTS / name / folder / "python"
    if not path.exists():
        raise FileNotFoundError(
            f"The peer {name!r} is not installed; run "
            f"`python benchmarks/peers.py install {name}` first."
        )
    return path


def install(name):
    """Create the environment of a peer and install its pinned requirements."""
    venv.create(ENVIRONMENTS / name, with_pip=True, clear=True)
    # The lists are complete, and without --no-deps adapt would add the whole of
    # tensorflow to tensorflow-cpu.
    command = [python(name), "-m", "pip", "install", "--no-deps", "--quiet", "-r"]
    subprocess.run([*command, REQUIREMENTS / f"{name}.txt"], check=True)
    print(f"{name}: {ENVIRONMENTS / name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=["install", "list"])
    parser.add_argument("peer", nargs="*", metavar="peer", help="default: all")
    args = parser.parse_args()
    unknown = sorted(set(args.peer) - set(names()))
    if unknown:
        parser.error(f"unknown peers {unknown}; there are {names()}")
    for name in args.peer or names():
        if args.action == "install":
            install(name)
        else:
            installed = (ENVIRONMENTS / name / "pyvenv.cfg").exists()
            print(name, "installed" if installed else "not installed")


if __name__ == "__main__":
    main()
