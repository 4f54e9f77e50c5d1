"""People whose truth can be read off what is stored: each has a place of his or her own in every camera."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from services.store.history import History
from shared.messages import FrameStamp, People
from tests.tracker.scene import look, people

PEOPLE = 6
SPACING_PX = 100.0
FPS = 5.0


def frame_of(persons: Collection[int], *, camera: int, session: int, index: int, t_ns: int) -> People:
    """What a perfect detector tells of a frame in which these people stand, numbers from 0 to PEOPLE - 1."""
    here = sorted(persons)
    boxes = [[SPACING_PX * p + 5, 200, SPACING_PX * p + 55, 380] for p in here]
    vectors = np.array([look(p, noise=0.1, seed=index) for p in here]).reshape(-1, 64)
    message = people(boxes, camera=camera, frame=index, vectors=vectors)
    stamp = FrameStamp(camera, session, index, t_ns, message.stamp.width, message.stamp.height)
    return replace(message, stamp=stamp)


def person_at(x: float) -> int:
    """Whose place a pixel column is."""
    return int(x // SPACING_PX)


def persons_of_tracks(history: History) -> dict[int, set[int]]:
    """Who was in the boxes of every stored track."""
    found: dict[int, set[int]] = {}
    for track, x0 in history.select("SELECT DISTINCT track, x0 / 1000 * 1000 FROM observations"):
        found.setdefault(track, set()).add(person_at(x0 / 100 + 10))
    return found


def persons_of_identities(history: History) -> dict[int, set[int]]:
    """Who was in the boxes of every stored identity's tracks."""
    persons = persons_of_tracks(history)
    found: dict[int, set[int]] = {}
    for track, identity in history.select("SELECT track, identity FROM tracks WHERE identity IS NOT NULL"):
        found.setdefault(identity, set()).update(persons.get(track, set()))
    return found
