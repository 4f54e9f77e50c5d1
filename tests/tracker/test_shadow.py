from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from services.tracker.core import TrackerCore
from services.tracker.shadow import OWN_S, tell_apart
from services.tracker.track import Track
from shared.config import Config
from shared.messages import Tracks
from tests.tracker.scene import START_NS, look, people

BODY = np.array([300.0, 200.0, 360.0, 380.0])
PART = np.array([305.0, 210.0, 355.0, 300.0])
BESIDE = np.array([330.0, 200.0, 390.0, 380.0])


def after(boxes: np.ndarray, seen: Iterable[tuple[bool, bool]], fps: float = 10.0) -> list[float]:
    """How long each of two tracks was its own; seen: in each frame, whether it was detected."""
    tracks = [Track(number, 1, START_NS) for number in (1, 2)]
    for frame, there in enumerate(seen, 1):
        t_ns = START_NS + round(frame / fps * 1e9)
        for track, detected in zip(tracks, there, strict=True):
            if detected:
                track.observe(t_ns, [t_ns * 1e-9, 0.0, 0.0, 0.0, 0.0, 1.0])
        tell_apart(tracks, boxes, t_ns)
    return [track.own_s for track in tracks]


def test_who_walks_beside_another_is_somebody_at_once() -> None:
    assert min(after(np.stack([BODY, BESIDE]), [(True, True)] * 3)) >= OWN_S


@pytest.mark.parametrize("box", [PART, BODY + 5])
def test_a_box_on_another_that_takes_turns_with_it_is_nobody(box: np.ndarray) -> None:
    first, second = after(np.stack([BODY, box]), [(n % 2 == 0, n % 2 == 1) for n in range(40)])
    assert first >= OWN_S
    assert second == 0


def test_two_detected_one_behind_the_other_for_long_are_two() -> None:
    boxes = np.stack([BODY, BODY + 5])
    assert after(boxes, [(True, True)] * 5)[1] < OWN_S
    assert after(boxes, [(True, True)] * 12)[1] >= OWN_S


def test_where_a_track_has_ended_its_place_is_free() -> None:
    seen = [(True, False)] * 3 + [(False, True)] * 10
    assert after(np.stack([BODY, BODY]), seen)[1] >= OWN_S


def test_rare_frames_do_not_make_somebody_wait() -> None:
    assert min(after(np.stack([BODY, BESIDE]), [(True, True)] * 2, fps=2.0)) >= OWN_S


def test_a_second_box_on_one_body_gets_no_identity() -> None:
    core, results = TrackerCore(Config()), list[Tracks]()
    for frame in range(60):
        x = 100.0 + 4 * frame
        whole, part = [x, 150, x + 80, 400], [x + 8, 160, x + 60, 280]
        turn = frame > 10 and frame % 4 < 2
        boxes = [part] if turn else [whole]
        results.append(core.process(people(boxes, frame=frame, vectors=[look(1, seed=frame)], scores=[0.95])))
    given = {identity for each in results for identity in each.identity_ids.tolist()} - {0}
    given |= {identity for each in results for _, identity in each.assignments.tolist()} - {0}
    assert len({track for each in results for track in each.track_ids.tolist()}) > 1, "a track of its own"
    assert given == {1}
