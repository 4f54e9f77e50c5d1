"""The geometry of many cameras in one picture: a grid of tiles, and the way from a point to a camera.

Rectangles are whole pixels of the picture; points are floats, x to the right, y down, from its top left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

UNSEEN_SIZE = (1280, 720)
"""Width and height assumed of a camera that has not sent anything yet."""

_GAP_PX = 4


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Left, top, width and height in pixels."""

    x: int
    y: int
    width: int
    height: int

    def contains(self, x: float, y: float) -> bool:
        """Whether a point lies in it; its right and lower edges do not."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of an array that holds the picture."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


@dataclass(frozen=True, slots=True)
class Tile:
    """One camera's place: its title bar, below it its image.

    source: width and height of the camera's own frames.
    """

    camera: int
    bar: Rectangle
    image: Rectangle
    source: tuple[int, int]

    @property
    def scale(self) -> float:
        """Pixels of the picture for each pixel of the camera's frame."""
        return self.image.width / self.source[0]


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Where each camera is drawn; a camera for which not a pixel is left has no tile."""

    tiles: tuple[Tile, ...]

    @classmethod
    def arrange(cls, sources: Mapping[int, tuple[int, int]], width: int, height: int) -> Mosaic:
        """Cameras, in the order given, on the grid that shows most of them.

        sources: width and height of each camera's frames, pixels.  width, height: of the picture.
        """
        if not sources:
            return cls(())
        grids = [(columns, math.ceil(len(sources) / columns)) for columns in range(1, len(sources) + 1)]
        candidates = [_grid(sources, columns, rows, width, height) for columns, rows in grids]
        return cls(max(candidates, key=lambda tiles: sum(t.image.width * t.image.height for t in tiles)))

    def tile_of(self, camera: int) -> Tile | None:
        """The tile of a camera."""
        return next((tile for tile in self.tiles if tile.camera == camera), None)

    def to_camera(self, x: float, y: float) -> tuple[int, float, float] | None:
        """The camera under a point, and the point in pixels of that camera's frames."""
        for tile in self.tiles:
            if tile.image.contains(x, y):
                return (
                    tile.camera,
                    (x - tile.image.x) * tile.source[0] / tile.image.width,
                    (y - tile.image.y) * tile.source[1] / tile.image.height,
                )
        return None

    def from_camera(self, camera: int, x: float, y: float) -> tuple[float, float] | None:
        """Where a point of a camera's frames lies in the picture."""
        tile = self.tile_of(camera)
        if tile is None:
            return None
        return (
            tile.image.x + x * tile.image.width / tile.source[0],
            tile.image.y + y * tile.image.height / tile.source[1],
        )


def _grid(
    sources: Mapping[int, tuple[int, int]], columns: int, rows: int, width: int, height: int
) -> tuple[Tile, ...]:
    bar = round(min(max(height / rows * 0.06, 14), 30))
    tiles = []
    for place, (camera, source) in enumerate(sources.items()):
        row, column = divmod(place, columns)
        # Edges are computed, not sizes, so that rounding leaves no seam and no overlap.
        left, right = column * width // columns, (column + 1) * width // columns
        top, bottom = row * height // rows, (row + 1) * height // rows
        room_x = right - left - _GAP_PX
        room_y = bottom - top - _GAP_PX - bar
        if room_x < 1 or room_y < 1:
            continue
        scale = min(room_x / source[0], room_y / source[1])
        image_width = min(max(round(source[0] * scale), 1), room_x)
        image_height = min(max(round(source[1] * scale), 1), room_y)
        x = left + (right - left - image_width) // 2
        y = top + (bottom - top - bar - image_height) // 2
        tiles.append(
            Tile(
                camera,
                Rectangle(x, y, image_width, bar),
                Rectangle(x, y + bar, image_width, image_height),
                source,
            )
        )
    return tuple(tiles)
