"""Tracks drawn on a camera's picture: boxes, labels, trails, predicted paths.

All coordinates of tracks are pixels of the frame they were found in; `scale` carries them to a canvas of
another size, so that lines and letters are as sharp on a small tile as on the full picture.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.viewer.lettering import BOLD, REGULAR, text_width, write
from services.viewer.palette import INK, WHITE, Colour, identity_colour, ink_on, mixed
from services.viewer.trail import TRAIL_S, Trail
from shared.messages import Float32, Tracks

Image = NDArray[np.uint8]

STANDING_PX = 4.0
"""A predicted path shorter than this, on the canvas, is not drawn: the person stands."""

MOST_DOTS = 16
"""Dots of one predicted path."""

_SHIFT = 4  # binary places of the sub-pixel coordinates given to OpenCV
_UNIT_SIDE_PX = 400.0  # canvas height at which a line is about one pixel wide
_DASH_PX, _GAP_PX = 6.0, 6.0
_FAR = 3.0  # boxes are clipped to this many canvas sides around it


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes that follow from the canvas: thin on a thumbnail, bold on a full picture."""

    unit: float
    letters_px: int

    @classmethod
    def of(cls, canvas: Image) -> _Style:
        height, width = canvas.shape[:2]
        unit = max(1.0, min(height, width * 0.75) / _UNIT_SIDE_PX)
        return cls(unit, round(min(max(11 * unit**0.8, 11), 48)))

    def line(self, width: float) -> int:
        return max(1, round(width * self.unit))


def annotate(
    image: Image,
    tracks: Tracks,
    *,
    trails: Sequence[Trail] = (),
    followed: Collection[int] = (),
    names: Mapping[int, str] | None = None,
) -> Image:
    """A copy of a camera's picture with its tracks drawn on it.

    image: (H, W, 3) uint8 BGR, the frame `tracks` were found in.
    trails: what `TrailMemory.at` gives for this camera.
    followed: identities to highlight.  names: what to call identities, where they have a name.
    """
    canvas = image.copy()
    draw(canvas, tracks, trails=trails, followed=followed, names=names)
    return canvas


def draw(
    canvas: Image,
    tracks: Tracks,
    *,
    scale: float = 1.0,
    trails: Sequence[Trail] = (),
    followed: Collection[int] = (),
    names: Mapping[int, str] | None = None,
) -> None:
    """Draw tracks in place; as `annotate`, on a canvas `scale` times the size of the frame."""
    style = _Style.of(canvas)
    for trail in trails:
        _draw_trail(canvas, trail, scale, style, thick=trail.identity in followed)
    height, width = canvas.shape[:2]
    reach = np.array([width, height, width, height], np.float32)
    boxes = np.clip(tracks.boxes * scale, -_FAR * reach, (1 + _FAR) * reach)
    paths = np.clip(tracks.paths * scale, -_FAR * reach[:2], (1 + _FAR) * reach[:2])
    identities = tracks.identity_ids.tolist()
    # The undecided lie lowest, the followed on top of all; else the nearer (lower) hides the farther.
    order = sorted(range(len(boxes)), key=lambda row: (_rank(identities[row], followed), boxes[row, 3]))
    for row in order:
        _draw_path(canvas, boxes[row], paths[row], identity_colour(identities[row]), style)
    for row in order:
        colour, marked = identity_colour(identities[row]), identities[row] in followed
        _draw_box(canvas, boxes[row], colour, style, dashed=not tracks.observed[row], marked=marked)
    taken: list[tuple[int, int, int, int]] = []
    for row in reversed(order):
        identity = identities[row]
        text = label_of(identity, followed=identity in followed, name=(names or {}).get(identity, ""))
        colour, marked = identity_colour(identity), identity in followed
        _draw_label(canvas, boxes[row], text, colour, style, taken=taken, marked=marked)


def label_of(identity: int, *, followed: bool, name: str) -> str:
    """What stands on a person's plate: short for most, in full for who has a name or is followed."""
    if identity == 0:
        return "?"
    text = name or (f"Person {identity}" if followed else str(identity))
    return f"★ {text}" if followed else text


def _rank(identity: int, followed: Collection[int]) -> int:
    return 2 if identity in followed else int(identity != 0)


def _fixed(points: Float32) -> NDArray[np.int32]:
    """Points as OpenCV takes them with `_SHIFT` binary places."""
    return np.round(points * (1 << _SHIFT)).astype(np.int32)


def _draw_trail(canvas: Image, trail: Trail, scale: float, style: _Style, *, thick: bool) -> None:
    height, width = canvas.shape[:2]
    points = trail.points * scale
    inside = (points[:, 0] >= 0) & (points[:, 0] < width) & (points[:, 1] >= 0) & (points[:, 1] <= height + 1)
    pixels = points.astype(np.intp)
    opacities = (1 - trail.ages_s / TRAIL_S) * 0.85
    colour = identity_colour(trail.identity)
    fixed = _fixed(points).tolist()
    thickness = style.line(3.2 if thick else 1.8)
    for row in range(1, len(points)):
        if not (inside[row] and inside[row - 1]):
            continue
        x, y = pixels[row].tolist()
        # Steps are short, so the ground's colour at one end stands for the ground under all of it; this
        # costs a thousandth of blending whole pictures.
        ground = canvas[min(y, height - 1), x].tolist()
        shade = mixed(colour, (ground[0], ground[1], ground[2]), float(opacities[row]))
        cv2.line(canvas, fixed[row - 1], fixed[row], shade, thickness, cv2.LINE_AA, _SHIFT)


def _draw_path(canvas: Image, box: Float32, path: Float32, colour: Colour, style: _Style) -> None:
    if len(path) == 0:
        return
    foot = np.array([(box[0] + box[2]) / 2, box[3]], np.float32)
    way = np.vstack([foot[None], path])
    lengths = np.hypot(*np.diff(way, axis=0).T)
    total = float(lengths.sum())
    if not total >= STANDING_PX:
        return
    spacing = max(8.0 * style.unit, total / MOST_DOTS)
    along = np.arange(spacing, total, spacing)
    travelled = np.concatenate([[0.0], np.cumsum(lengths)])
    dots = np.column_stack([np.interp(along, travelled, way[:, axis]) for axis in (0, 1)])
    for dot, progress in zip(_fixed(dots.astype(np.float32)).tolist(), (along / total).tolist(), strict=True):
        radius = round((2.1 - 0.9 * progress) * style.unit * (1 << _SHIFT))
        cv2.circle(canvas, dot, radius + (1 << _SHIFT) // 2, INK, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, dot, radius, mixed(colour, WHITE, 0.75), -1, cv2.LINE_AA, _SHIFT)


def _draw_box(
    canvas: Image, box: Float32, colour: Colour, style: _Style, *, dashed: bool, marked: bool
) -> None:
    x0, y0, x1, y1 = np.round(box).astype(int).tolist()
    line = style.line(3.4 if marked else 1.6)
    if marked:
        # Drawn around the person, not over it.
        x0, y0, x1, y1 = x0 - line, y0 - line, x1 + line, y1 + line
        _frame(canvas, (x0, y0, x1, y1), INK, line + 2 * style.line(2.6), dashed=False)
        _frame(canvas, (x0, y0, x1, y1), WHITE, line + 2 * style.line(1.6), dashed=dashed)
    else:
        _frame(canvas, (x0, y0, x1, y1), INK, line + 2 * style.line(0.6), dashed=dashed)
    _frame(canvas, (x0, y0, x1, y1), colour, line, dashed=dashed)


def _frame(
    canvas: Image, corners: tuple[int, int, int, int], colour: Colour, line: int, *, dashed: bool
) -> None:
    x0, y0, x1, y1 = corners
    if dashed:
        dash = max(_DASH_PX, 2.0 * line)
        segments = [
            *_dashes((x0, y0), (x1, y0), dash),
            *_dashes((x1, y0), (x1, y1), dash),
            *_dashes((x1, y1), (x0, y1), dash),
            *_dashes((x0, y1), (x0, y0), dash),
        ]
        cv2.polylines(canvas, segments, False, colour, line)
    else:
        cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, line)


def _dashes(start: tuple[int, int], end: tuple[int, int], dash_px: float) -> list[NDArray[np.int32]]:
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    if length == 0:
        return []
    period = dash_px * (_DASH_PX + _GAP_PX) / _DASH_PX
    begins = np.arange(0, length, period)
    ends = np.minimum(begins + dash_px, length)
    shares = np.column_stack([begins, ends])[:, :, None] / length
    points = np.array(start) + shares * (np.array(end) - np.array(start))
    return list(np.round(points).astype(np.int32))


def _draw_label(
    canvas: Image,
    box: Float32,
    text: str,
    colour: Colour,
    style: _Style,
    *,
    taken: list[tuple[int, int, int, int]],
    marked: bool,
) -> None:
    height, width = canvas.shape[:2]
    x0, y0, x1, y1 = np.round(box).astype(int).tolist()
    if x1 < 0 or y1 < 0 or x0 >= width or y0 >= height:
        return
    letters_px = round(style.letters_px * (1.25 if marked else 1.0))
    weight = BOLD if marked else REGULAR + 100
    pad = max(2, round(letters_px * 0.3))
    plate_width = text_width(text, letters_px, weight) + 2 * pad
    plate_height = letters_px + pad
    edge = 2 * style.line(3.4) if marked else style.line(0.8)
    left = min(max(x0 - edge, 0), max(width - plate_width, 0))
    candidates = (y0 - edge - plate_height, max(y0 + edge, 0), y1 + edge, y0 - edge - 2 * plate_height)
    places = [(left, top, left + plate_width, top + plate_height) for top in candidates]
    fitting = [place for place in places if place[1] >= 0 and place[3] <= height] or [places[1]]
    free = [place for place in fitting if not any(_overlap(place, other) for other in taken)]
    place = (free or fitting)[0]
    taken.append(place)
    cv2.rectangle(canvas, place[:2], (place[2] - 1, place[3] - 1), colour, -1)
    baseline = place[3] - pad // 2 - round(letters_px * 0.18)
    write(canvas, text, (place[0] + pad, baseline), letters_px, ink_on(colour), weight=weight)


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
