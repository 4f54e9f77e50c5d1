"""What there is to see: the newest picture of each camera, who is followed, and the mosaic of it all.

The scene has no clock: whoever shows it says what time it is, by any clock that is always the same
(seconds that pass in the room for a window, capture time for a recording).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from services.viewer.drawing import draw
from services.viewer.lettering import BOLD, shortened, text_width, write
from services.viewer.mosaic import UNSEEN_SIZE, Mosaic, Rectangle, Tile
from services.viewer.pairing import Shown
from services.viewer.palette import ACCENT, ALERT, BACKGROUND, BAR, FAINT, INK, WHITE
from services.viewer.panel import Entry, clock_text, draw_panel, panel_width
from services.viewer.trail import TrailMemory
from shared.errors import MessageError
from shared.jpeg import read_header
from shared.messages import Buffer, Followed, LastSeen

SILENT_S = 3.0
"""A camera that sent nothing for this long has no signal."""

_TOGETHER_NS = 500_000_000
"""Cameras that saw a person within this of the last sighting are named together."""

_MOST_OLD_NS = 2_000_000_000
"""Last places older than a person's newest by more than this are of no interest."""

_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)


@dataclass(slots=True)
class _View:
    """One camera as it stands."""

    title: str
    trails: TrailMemory = field(default_factory=TrailMemory)
    shown: Shown | None = None
    shown_at_ns: int = 0
    ended: str = ""
    base: NDArray[np.uint8] | None = None
    base_of: tuple[int, int, int, int] | None = None


class Scene:
    """Collects frames, tracks and followed people, and gives the picture of a moment.

    titles: the cameras, in the order in which they are shown, and what an operator calls them.
    """

    def __init__(self, titles: Mapping[int, str]) -> None:
        self._views = {camera: _View(title) for camera, title in titles.items()}
        self._followed: tuple[LastSeen, ...] = ()
        self._last_ns: dict[int, dict[int, int]] = {}
        self._moment_ns = 0
        self._mosaic = Mosaic(())
        self._crosses: list[tuple[Rectangle, int]] = []
        self.undecodable = 0

    def show(self, shown: Shown, now_ns: int) -> None:
        """Take in a camera's next frame; frames of unknown cameras are left out."""
        stamp = shown.frame.stamp
        view = self._views.get(stamp.camera)
        if view is None:
            return
        view.shown, view.shown_at_ns, view.ended = shown, now_ns, ""
        self._moment_ns = max(self._moment_ns, shown.t_ns)
        if shown.tracks is None:
            return
        view.trails.update(shown.tracks)
        followed = {person.identity for person in self._followed}
        for identity, observed in zip(
            shown.tracks.identity_ids.tolist(), shown.tracks.observed.tolist(), strict=True
        ):
            if observed and identity in followed:
                self._saw(identity, stamp.camera, shown.t_ns)

    def follow(self, followed: Followed) -> None:
        """Take in who is followed from now on."""
        self._followed = followed.people
        kept = {person.identity for person in followed.people}
        self._last_ns = {i: places for i, places in self._last_ns.items() if i in kept}
        for person in followed.people:
            self._saw(person.identity, person.camera, person.t_ns)

    def end(self, camera: int, reason: str) -> None:
        """Take in that a camera has nothing more to send."""
        if camera in self._views:
            self._views[camera].ended = reason

    def _saw(self, identity: int, camera: int, t_ns: int) -> None:
        places = self._last_ns.setdefault(identity, {})
        places[camera] = max(places.get(camera, 0), t_ns)
        newest_ns = max(places.values())
        self._last_ns[identity] = {c: t for c, t in places.items() if t >= newest_ns - _MOST_OLD_NS}

    def picture(
        self,
        width: int,
        height: int,
        now_ns: int,
        *,
        keys: Sequence[tuple[str, str]] = (),
        selecting: bool = False,
        notice: str = "",
    ) -> NDArray[np.uint8]:
        """The mosaic and the panel as they are now: (height, width, 3) uint8 BGR, a new array.

        keys, selecting, notice: what the panel tells an operator; leave them out of a recording.
        """
        canvas = np.empty((height, width, 3), np.uint8)
        cv2.rectangle(canvas, (0, 0), (width, height), BACKGROUND, -1)
        side_px = panel_width(width)
        sources = {camera: _source_size(view) for camera, view in self._views.items()}
        self._mosaic = Mosaic.arrange(sources, width - side_px, height)
        for tile in self._mosaic.tiles:
            self._draw_tile(canvas, tile, self._views[tile.camera], now_ns)
        self._crosses = []
        if side_px:
            place = Rectangle(width - side_px, 0, side_px, height)
            self._crosses = draw_panel(
                canvas,
                place,
                self.entries(),
                self._moment_ns,
                keys=keys,
                selecting=selecting,
                notice=notice,
            )
        if selecting:
            cv2.rectangle(canvas, (0, 0), (width - side_px - 1, height - 1), ACCENT, 2)
        return canvas

    def camera_at(self, x: float, y: float) -> tuple[int, float, float] | None:
        """The camera under a point of the last picture, and the point in that camera's pixels."""
        return self._mosaic.to_camera(x, y)

    def point_of(self, camera: int, x: float, y: float) -> tuple[float, float] | None:
        """Where a point of a camera's frames lies in the last picture."""
        return self._mosaic.from_camera(camera, x, y)

    def cross_at(self, x: float, y: float) -> int | None:
        """The followed person whose cross in the panel lies under a point of the last picture."""
        return next((identity for place, identity in self._crosses if place.contains(x, y)), None)

    def entries(self) -> list[Entry]:
        """Who is followed, and where each was last seen."""
        entries = []
        for person in self._followed:
            places = self._last_ns[person.identity]
            newest_ns = max(places.values())
            cameras = sorted(c for c, t_ns in places.items() if t_ns >= newest_ns - _TOGETHER_NS)
            titles = tuple(self._title(camera) for camera in cameras)
            first = person.expected[0] if person.expected else None
            expected = None if first is None else (self._title(first.camera), first.probability)
            entries.append(Entry(person.identity, person.name, titles, newest_ns, person.sureness, expected))
        return entries

    def _title(self, camera: int) -> str:
        view = self._views.get(camera)
        return view.title if view else f"camera {camera}"

    def _draw_tile(self, canvas: NDArray[np.uint8], tile: Tile, view: _View, now_ns: int) -> None:
        silent = view.shown is None or now_ns - view.shown_at_ns > SILENT_S * 1e9
        image = canvas[tile.image.slices]
        base = self._base(view, tile)
        if base is None:
            cv2.rectangle(image, (0, 0), (tile.image.width, tile.image.height), INK, -1)
        else:
            image[:] = base
            self._draw_people(image, tile, view)
        if silent and not view.ended:
            cv2.convertScaleAbs(image, image, 0.35)
            _write_centred(image, "no signal")
        self._draw_bar(canvas[tile.bar.slices], view, silent)

    def _base(self, view: _View, tile: Tile) -> NDArray[np.uint8] | None:
        """The camera's picture at its tile's size, made once for each frame."""
        if view.shown is None:
            return None
        stamp = view.shown.frame.stamp
        key = (stamp.session, stamp.frame_index, tile.image.width, tile.image.height)
        if view.base_of != key:
            decoded = _decoded(view.shown.frame.jpeg, tile.scale)
            view.base_of = key
            if decoded is None:
                self.undecodable += 1
            else:
                size = (tile.image.width, tile.image.height)
                view.base = np.asarray(cv2.resize(decoded, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        if view.base is not None and view.base.shape[:2] != (tile.image.height, tile.image.width):
            return None
        return view.base

    def _draw_people(self, image: NDArray[np.uint8], tile: Tile, view: _View) -> None:
        if view.shown is None or view.shown.tracks is None:
            return
        draw(
            image,
            view.shown.tracks,
            scale=tile.scale,
            trails=view.trails.at(view.shown.t_ns),
            followed={person.identity for person in self._followed},
            names={person.identity: person.name for person in self._followed if person.name},
        )

    def _draw_bar(self, bar: NDArray[np.uint8], view: _View, silent: bool) -> None:
        height, width = bar.shape[:2]
        cv2.rectangle(bar, (0, 0), (width, height), BAR, -1)
        letters_px = max(9, round(height * 0.55))
        baseline = round(height * 0.5 + letters_px * 0.36)
        pad = letters_px // 2
        if view.ended:
            state, colour = f"ended ({view.ended})" if view.ended != "finished" else "ended", FAINT
        elif silent:
            state, colour = "no signal", ALERT
        else:
            state, colour = "", FAINT
        right = width - pad
        if view.shown is not None:
            clock = f"{clock_text(view.shown.t_ns)} UTC"
            right -= text_width(clock, letters_px)
            write(bar, clock, (right, baseline), letters_px, WHITE)
            right -= pad
        if state:
            right -= text_width(state, letters_px)
            if right > pad:
                write(bar, state, (right, baseline), letters_px, colour)
            right -= pad
        title = shortened(view.title, max(right - pad, 0), letters_px, BOLD)
        write(bar, title, (pad, baseline), letters_px, WHITE, weight=BOLD)


def _decoded(jpeg: Buffer, scale: float) -> NDArray[np.uint8] | None:
    """The picture, at the smallest of the sizes JPEG decodes to for less that is not below `scale`."""
    try:
        read_header(jpeg)
    except MessageError:
        return None
    flags = next((flag for by, flag in _REDUCED if scale * by <= 1), cv2.IMREAD_COLOR)
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)
    return None if decoded is None else np.asarray(decoded, np.uint8)


def _source_size(view: _View) -> tuple[int, int]:
    if view.shown is None:
        return UNSEEN_SIZE
    stamp = view.shown.frame.stamp
    return max(stamp.width, 1), max(stamp.height, 1)


def _write_centred(image: NDArray[np.uint8], text: str) -> None:
    height, width = image.shape[:2]
    letters_px = max(10, round(min(height, width) * 0.07))
    x = (width - text_width(text, letters_px)) // 2
    write(image, text, (max(x, 0), height // 2), letters_px, WHITE)
