"""Rows that are images: their shape, and tensors of the layout that layers take."""

from collections.abc import Sequence
from numbers import Integral

import torch

__all__ = ["check_image_shape", "to_images", "to_rows"]


def check_image_shape(
    image_shape: Sequence[int] | None, n_features: int | None = None
) -> tuple[int, int, int]:
    """Height, width and number of channels, checked.

    Parameters
    ----------
    image_shape : sequence of int
        (height, width), or (height, width, channels): the shape that
        ``row.reshape(image_shape)`` makes an image with.
    n_features : int, default=None
        Columns of the rows, if they are known.

    Raises
    ------
    TypeError
        If the shape is not a sequence of integers.
    ValueError
        If it is not of two or three positive ones, or of another number of columns.
    """
    try:
        sizes = tuple(image_shape)  # type: ignore[arg-type] # None is an error as well
    except TypeError:
        sizes = (None,)  # type: ignore[assignment]
    if not all(isinstance(each, Integral) for each in sizes):
        raise TypeError(
            "image_shape must be (height, width) or (height, width, channels), "
            f"integers, got {image_shape!r}."
        )
    if len(sizes) not in (2, 3) or min(sizes) < 1:
        raise ValueError(
            "image_shape must be (height, width) or (height, width, channels), all "
            f"of them 1 or more, got {image_shape!r}."
        )
    height, width, channels = map(int, (*sizes, 1)[:3])
    n_pixels = height * width * channels
    if n_features is not None and n_features != n_pixels:
        raise ValueError(
            f"image_shape={image_shape!r} makes {n_pixels} columns, but the rows have "
            f"{n_features}."
        )
    return height, width, channels


def to_images(x: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Rows as images, of shape (n_rows, channels, height, width), contiguous."""
    height, width, channels = shape
    # The strides of a single channel would pass for those of "channels last".
    if channels == 1:
        return x.reshape(-1, 1, height, width)
    return x.reshape(-1, *shape).permute(0, 3, 1, 2).contiguous()


def to_rows(images: torch.Tensor) -> torch.Tensor:
    """Undo :func:`to_images`."""
    return images.permute(0, 2, 3, 1).flatten(1)
