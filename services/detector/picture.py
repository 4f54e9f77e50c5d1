"""A decoded picture, wherever its pixels are: in this process's memory, or on torch's device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""A picture in memory, uint8 (H, W, 3) BGR, as OpenCV has them."""


class RemotePicture(Protocol):
    """A picture, or a part of one, whose pixels are on a device."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and 3, as an array in memory has it."""

    def pixels(self) -> Image:
        """The same picture in memory; takes time, for it is copied or decoded again."""

    def part(self, x0: int, y0: int, x1: int, y1: int) -> RemotePicture:
        """The part between these columns and rows of this picture; nothing is copied."""

    def relit(self) -> RemotePicture:
        """The same picture in the light that networks know, as `light.relit` has it; nothing is computed yet.

        Of a whole picture; its parts are then in that light too.
        """

    def sharpness(self, crops: Sequence[Any], size: tuple[int, int]) -> NDArray[np.float32]:
        """(N,) the variance of the Laplacian of each crop's lightness, scaled to `size`, width and height.

        crops: of this picture's kind; one call for many, because each one waits for the device.
        """


Picture: TypeAlias = Image | RemotePicture


def pixels(picture: Picture) -> Image:
    """The picture in memory."""
    return picture if isinstance(picture, np.ndarray) else picture.pixels()
