"""People whose truth can be read off what is stored: each has a place of his or her own in every camera.

What is tried is what is kept, not whom the tracker takes for whom: the places are ten heights apart, so that
nobody could have walked from one to the next while a camera was not looking, all look as different from one
another as six people can, and with `only_right_links` no two people are taken for one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np

from services.store.history import History
from services.tracker.evidence import Evidence, Scores
from shared.messages import FrameStamp, People
from tests.tracker.scene import people

PEOPLE = 6
SPACING_PX = 300.0
SIZE_PX = (1920, 1080)
FPS = 5.0
DIMENSIONS = 64

LOOKS = np.eye(PEOPLE, DIMENSIONS)
LOOKS[:, :PEOPLE] -= 1 / PEOPLE
LOOKS /= np.linalg.norm(LOOKS, axis=1, keepdims=True)
"""The corners of a simplex: of any two the cosine is -0.2."""


def frame_of(persons: Collection[int], *, camera: int, session: int, index: int, t_ns: int) -> People:
    """What a perfect detector tells of a frame in which these people stand, numbers from 0 to PEOPLE - 1."""
    here = sorted(persons)
    boxes = [[SPACING_PX * p + 144, 500, SPACING_PX * p + 156, 530] for p in here]
    noise = np.random.default_rng((camera, index)).normal(0, 0.1 / DIMENSIONS**0.5, (len(here), DIMENSIONS))
    vectors = (LOOKS[here] + noise).astype(np.float32)
    message = people(boxes, camera=camera, frame=index, vectors=vectors)
    return replace(message, stamp=FrameStamp(camera, session, index, t_ns, *SIZE_PX))


def person_at(x: float) -> int:
    """Whose place a pixel column is."""
    return int(x // SPACING_PX)


@contextmanager
def only_right_links() -> Iterator[None]:
    """Have trackers link the tracks of two people only where an operator has said that they are one."""
    judged = Evidence.scores

    def scores(evidence: Evidence, tracks: list[Any], tails: list[Any], *more: Any, **named: Any) -> Scores:
        found = judged(evidence, tracks, tails, *more, **named)
        rows = [person.tail for person in tails if person.tail is not None] + tracks
        for pair, (row, column) in enumerate(zip(found.rows.tolist(), found.columns.tolist(), strict=True)):
            one, other = rows[row], tracks[column]
            is_decided = other.pinned and (one.pinned or row < len(tails))
            if person_at(one.foot[0]) != person_at(other.foot[0]) and not is_decided:
                found.total[pair] = -np.inf
        return found

    with patch.object(Evidence, "scores", scores):
        yield


def persons_of_tracks(history: History) -> dict[int, set[int]]:
    """Who was in the boxes of every stored track."""
    found: dict[int, set[int]] = {}
    for track, x0 in history.select("SELECT DISTINCT track, x0 / 1000 * 1000 FROM observations"):
        found.setdefault(track, set()).add(person_at(x0 / 100))
    return found


def persons_of_identities(history: History) -> dict[int, set[int]]:
    """Who was in the boxes of every stored identity's tracks."""
    persons = persons_of_tracks(history)
    found: dict[int, set[int]] = {}
    for track, identity in history.select("SELECT track, identity FROM tracks WHERE identity IS NOT NULL"):
        found.setdefault(identity, set()).update(persons.get(track, set()))
    return found
