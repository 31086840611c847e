"""Characters of Omniglot from the archives of its authors, split by drawer."""

import io
import re
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

__all__ = ["Drawings", "load_characters", "split_by_drawer"]

_MEMBER = re.compile(r"[^/]+/([^/]+/[^/]+)/\d+_(\d+)\.png")


class Drawings(NamedTuple):
    """Drawings and the characters that they show.

    Attributes
    ----------
    ink : ndarray of bool of shape (n_samples, 105, 105)
    y : ndarray of int of shape (n_samples,)
        Classes.
    """

    ink: np.ndarray
    y: np.ndarray


def _archives(paths):
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(path.glob("omniglot_*.zip"))
            if not found:
                raise ValueError(f"{path} holds no omniglot_*.zip.")
            yield from found
        else:
            yield path


def load_characters(paths):
    """Read the characters of archives that may share some.

    Parameters
    ----------
    paths : sequence of path-like
        Archives as on https://github.com/brendenlake/omniglot, a folder a character, or
        folders with archives named omniglot_*.zip.

    Returns
    -------
    ink : ndarray of bool of shape (n_characters, n_drawers, 105, 105)
    names : list of str
        Alphabet and character.
    """
    files = defaultdict(dict)
    for path in _archives(paths):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if match := _MEMBER.fullmatch(name):
                    # A drawing that stands in two archives is counted once.
                    character, drawer = match.groups()
                    files[character][drawer] = archive.read(name)
    if not files:
        raise ValueError(f"{[str(path) for path in paths]} hold no characters.")
    names = sorted(files)
    counts = {len(files[name]) for name in names}
    if len(counts) > 1:
        raise ValueError(
            f"Every character must have as many drawers, got from {min(counts)} to "
            f"{max(counts)}."
        )
    ink = [[_ink(files[name][key]) for key in sorted(files[name])] for name in names]
    return np.array(ink), names


def _ink(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("L")) < 128


def split_by_drawer(ink, counts=(10, 5, 5)):
    """Training, validation and test drawings, by the order of the drawers.

    Parameters
    ----------
    ink : ndarray of bool of shape (n_characters, n_drawers, height, width)
    counts : sequence of int
        Drawers of each part.

    Returns
    -------
    parts : list of Drawings
        The class of a drawing is the position of its character.
    """
    parts, start = [], 0
    for count in counts:
        part = ink[:, start : start + count]
        y = np.repeat(np.arange(len(part)), part.shape[1])
        parts.append(Drawings(part.reshape(-1, *ink.shape[2:]), y))
        start += count
    return parts
