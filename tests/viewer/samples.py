"""Made-up frames and tracks whose places and times are known."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from services.viewer.pairing import Shown
from shared.messages import Frame, FrameStamp, Tracks

START_NS = 1_764_000_000 * 10**9
FRAME_NS = 100_000_000

GROUND = (90, 110, 100)

Box = tuple[float, float, float, float]


def stamp(
    camera: int = 1,
    index: int = 0,
    *,
    size: tuple[int, int] = (320, 240),
    t_ns: int | None = None,
    session: int = 1,
) -> FrameStamp:
    at_ns = START_NS + index * FRAME_NS if t_ns is None else t_ns
    return FrameStamp(camera, session, index, at_ns, *size)


def picture(size: tuple[int, int] = (320, 240), colour: tuple[int, int, int] = GROUND) -> NDArray[np.uint8]:
    image = np.empty((size[1], size[0], 3), np.uint8)
    image[:] = colour
    return image


def frame(of: FrameStamp, colour: tuple[int, int, int] = GROUND) -> Frame:
    image = picture((of.width, of.height), colour)
    return Frame(of, cv2.imencode(".jpg", image)[1].tobytes())


def tracks(
    of: FrameStamp,
    boxes: Sequence[Box] = (),
    identities: Sequence[int] = (),
    *,
    track_ids: Sequence[int] | None = None,
    observed: Sequence[bool] | None = None,
    paths: Sequence[Sequence[tuple[float, float]]] | None = None,
    assignments: Sequence[tuple[int, int]] = (),
) -> Tracks:
    n = len(boxes)
    return Tracks(
        stamp=of,
        track_ids=np.array(range(1, n + 1) if track_ids is None else track_ids, np.int64),
        identity_ids=np.array(identities or [0] * n, np.int64),
        boxes=np.array(boxes, np.float32).reshape(n, 4),
        scores=np.ones(n, np.float32),
        observed=np.array([True] * n if observed is None else observed, np.bool_),
        velocities=np.zeros((n, 2), np.float32),
        paths=np.zeros((n, 0, 2), np.float32) if paths is None else np.array(paths, np.float32),
        assignments=np.array(assignments, np.int64).reshape(-1, 2),
    )


def shown(
    camera: int,
    index: int,
    boxes: Sequence[Box] = (),
    identities: Sequence[int] = (),
    *,
    size: tuple[int, int] = (320, 240),
    colour: tuple[int, int, int] = GROUND,
    t_ns: int | None = None,
) -> Shown:
    of = stamp(camera, index, size=size, t_ns=t_ns)
    return Shown(frame(of, colour), tracks(of, boxes, identities))


def near(image: NDArray[np.uint8], colour: tuple[int, int, int], within: int = 30) -> NDArray[np.bool_]:
    """Where an image has nearly this colour."""
    return np.asarray(np.abs(image.astype(int) - np.array(colour)).max(axis=-1) <= within)
